"""Figures and notebooks, made anew: figures by the project's own notebook from what may be published, and nothing copied.

The figure notebook runs in a process of its own whose project holds the built tables alone: no private folder, no source file, no stored
figure or output. `lib.figures.style.save` writes figures with fixed metadata.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pandas as pd

from lib.publish.typed import Untyped
from lib.publish.words import ROOT

SAVED = re.compile(r"""style\.save\(\s*stage,\s*["'](\w+)["']""")
ANCHORS = re.compile(r"!\[[^\]]*\]\((?:attachment|data):[^)]*\)")
PATHS = ("_path", "_paths")  # ends of the names of parameters that are places on a machine
DRIVER = """
import sys
import jupytext
import matplotlib
matplotlib.use("Agg")
import yaml
script, params = sys.argv[1:]
space = {}
for cell in jupytext.read(script).cells:
    if cell.cell_type == "code":
        exec(compile(cell.source, "notebook", "exec"), space)
    if "parameters" in cell.metadata.get("tags", []):
        space |= yaml.safe_load(open(params, encoding="utf-8")) or {}
"""


def draw(root: Path, study: str, stage: str, script: Path, project: Path) -> Path:
    """Run a figure notebook in `root`, a project that holds what may be published, and return the folder of what it drew.

    script: the notebook's .py; project: where the study's own kind may be imported from. Raises Untyped with the last line of its error.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "MPLCONFIGDIR", "LD_LIBRARY_PATH") if name in os.environ}
    environment = kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{project}", "SAE_DNA_ROOT": str(root), "SAE_DNA_RUNNER": "1",
                          "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-c", DRIVER, str(script), str(root / f"params/{study}/{stage}.yaml")]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    drawn = root / f"figures/.{study}.{stage}.partial"
    if done.returncode or not drawn.is_dir():
        said = (done.stderr.strip().splitlines() or ["nothing was drawn"])[-1]
        raise Untyped(f"the figures cannot be drawn from what may be published: {said[:200]}")
    return drawn


def notebook(script: Path, params: dict[str, Any], headline: dict[str, Any], claims: pd.DataFrame, figures: Path | None) -> str:
    """A stage's notebook for readers: the project's own prose and code, the study's parameters, figures drawn anew below the cells that
    draw them, and last what the published tables say. params, headline, claims: typed; figures: folder of PNG files, or None."""
    cells = []
    for source in jupytext.read(script).cells:
        tags = [tag for tag in source.metadata.get("tags", []) if tag == "parameters"]
        code = source.cell_type == "code"
        text = source.source if code else ANCHORS.sub("", source.source)
        cells.append((nbformat.v4.new_code_cell if code else nbformat.v4.new_markdown_cell)(text, metadata={"tags": tags} if tags else {}))
        if tags and params:
            lines = [f"{name} = {value!r}" for name, value in params.items()]
            cells.append(nbformat.v4.new_code_cell("\n".join(["# Parameters", *lines]), metadata={"tags": ["injected-parameters"]}))
        if code and figures and (saved := SAVED.search(text)) and (figure := figures / f"{saved[1]}.png").is_file():
            image = base64.b64encode(figure.read_bytes()).decode()
            cells[-1].outputs = [nbformat.v4.new_output("display_data", {"image/png": image, "text/plain": saved[1]})]
    cells.append(nbformat.v4.new_markdown_cell(_said(headline, claims)))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})) + "\n"


def _said(headline: dict[str, Any], claims: pd.DataFrame) -> str:
    """The published numbers of a stage, as prose."""
    lines = ["## What this study's run said", "", *(f"- {name}: {value}" for name, value in headline.items())]
    if len(claims):
        columns = [c for c in ("claim", "value", "low", "high", "n", "of", "null", "verdict") if c in claims]
        rows = [columns, ["---"] * len(columns), *claims[columns].to_numpy().tolist()]
        lines += ["", *("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)]
    return "\n".join(lines)
