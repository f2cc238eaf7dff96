"""Small but legitimate studies run to their end: what cannot be tested is a row that says why, and every figure is made."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_chain import copy_tree

from lib.stage import io, params
from lib.stage.claims import COUNTED, VERDICTS
from tests.small_studies import STUDIES, write

DATA = Path(os.environ.get("DATA_DIR") or io.ROOT.parent / "shared/data")


@pytest.fixture(scope="module", params=STUDIES)
def tree(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    study = request.param
    if "$DATA_DIR" in str(STUDIES[study]) and not (DATA / "models").is_dir():
        pytest.skip(f"NO REAL MODEL in {DATA}: set DATA_DIR to the folder of shared data")
    tree = copy_tree(tmp_path_factory.mktemp(study))
    write(tree, study)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAE_DNA")}
    environment |= {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "PASSIVE", "DATA_DIR": str(DATA)}
    for stage in params.stages("smoke"):
        command = [sys.executable, "-m", "lib.run", study, stage]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        write(tree, study, later=True)
    return study, tree


#: study -> what its claims could not test: words of the claim -> words of the reason.
UNTESTED = {
    "tiny": {
        "some latent is needed": "as least_moved asks", "some closure is needed": "as least_moved asks",
        "anything is called needed": "no set of latents", "latents match motif concepts better than PCA": "instances on validation",
        "finalists fire": "for a motif on validation", "come back with another": "one seed", "come again in other seeds": "one seed",
        "steering a latent": "no latent tested", "latent change separates": "no region holds",
    },
    "headless": {
        "the language model loses less": "no language-model head",
        "some group is needed": "enough rate-matched latents", "some closure is needed": "no latent that 04 names",
    },
}  # fmt: skip


@pytest.mark.long
def test_what_cannot_be_tested_is_a_row_and_every_figure_is_made(tree: tuple[str, Path]) -> None:
    study, root = tree
    assert len(list((root / "figures" / study).glob("fig*.pdf"))) == 10
    claims = pd.read_csv(root / "figures" / study / "claims.csv")
    assert set(claims.verdict) <= set(VERDICTS) and set(claims.of) <= set(COUNTED)
    for words, reason in UNTESTED[study].items():
        rows = claims[claims.claim.str.contains(words, regex=False)]
        assert len(rows) and (rows.verdict == "could not be tested").all(), words
        assert rows.note.str.contains(reason, regex=False).all(), rows.note.tolist()
    assert not claims.verdict[claims.stage.isin(["04_annotation", "08_dna"])].eq("holds").any()  # 03 said no-go


@pytest.mark.long
def test_the_gate_publishes_a_small_study_whole(tree: tuple[str, Path], tmp_path: Path) -> None:
    """Every table, notebook and figure that a stage made is there again, built, and its figures are drawn of what is blank too."""
    study, root = tree
    environment = dict(os.environ, PYTHONPATH=str(root), DATA_DIR=str(DATA))
    command = [sys.executable, "-m", "lib.publish", "--study", study, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, check=False, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {p.relative_to(root / "outputs" / study).as_posix() for p in (root / "outputs" / study).rglob("*") if p.is_file()}
    made = {name for name in made if not name.startswith(("private/", ".", "progress.md"))}
    made |= {f"figures/{p.name}" for p in (root / "figures" / study).iterdir()}
    left = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {name.partition("/")[2] for name in made - left} == {"corpus.json", "records.parquet", "concepts.parquet", "repeats.parquet",
                                                                  "starts.parquet"} & {n.partition("/")[2] for n in made}  # fmt: skip
    assert left - made == {"published.json"}
