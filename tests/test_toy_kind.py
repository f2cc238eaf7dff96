"""The house serves another kind: dice, in a door, a module and params outside `lib`, through the shared notebooks as they are."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests/dice"
STAGES = ["00_dice", "01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation"]
HEADER = "# ---\n# jupyter:\n#   jupytext:\n#     formats: ipynb,py:percent\n#   kernelspec:\n#     display_name: Python 3\n#     language: python\n#     name: python3\n# ---\n\n"


def plant(tree: Path) -> Path:
    """A copy of the shared house, with dice beside it and none of its own notebooks of DNA."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "0?_dna.*")
    for name in ("lib", "notebooks"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("Snakefile", "requirements.txt"):
        shutil.copy(ROOT / name, tree / name)
    door = tree / "notebooks/00_dice.py"
    door.write_text(HEADER + (TOY / "00_dice.py").read_text())
    jupytext.write(jupytext.read(door), door.with_suffix(".ipynb"))
    (tree / "dice").mkdir()
    shutil.copy(TOY / "kind.py", tree / "dice/kind.py")
    shutil.copytree(TOY / "params", tree / "params/dice")
    return tree


def call(tree: Path, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAE_DNA")}
    environment |= {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = plant(tmp_path_factory.mktemp("toy"))
    for stage in STAGES:
        start = time.monotonic()
        call(tree, "lib.run", "dice", stage)
        print(stage, round(time.monotonic() - start, 1))
    return tree


def table(tree: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(tree / "outputs/dice" / name, keep_default_na=False, na_values=[""])


def test_x(tree):
    print(tree)
