"""A stage runs when something it depends on changed, and only a finished run leaves an output."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import pytest

from lib.run import notebook
from lib.run.fingerprint import Look
from lib.stage import durable, io, params
from lib.stage.hashes import sha256
from tests.projects import copy_lib, toy_stages, write_pair, write_params

TOY_STAGES = {"01_extraction": [], "02_layer_hunting": ["01_extraction"], "03_sae_training": []}

FIRST = """# %% tags=["parameters"]
study = "toy"
rate = 0.5          # per step
n = 3
layers = [0, 1]
bed_path = ""
fail = ""
seed = 0

# %%
import os, time
from pathlib import Path
import pandas as pd
from lib import sums
from lib.stage import io

# %%
stage = io.open_stage(study, "01_extraction")
stage.write_text("half.txt", "written before anything goes wrong")
stage.private_path("people.txt").write_text("p")
while Path("slow").exists():
    time.sleep(0.05)
if fail == "error":
    raise ValueError("the third cell did this")
if fail == "full disk":
    os.symlink("/dev/full", stage.path("t.csv"))

# %%
stage.write_table("t", pd.DataFrame({"x": [sums.add(rate, n) * 1.1] * 3000}))
stage.figure_path("f.csv").write_text("1")
stage.claim("c", 1.0, 0.5, 1.5, n, 0, holds=True, of="people", rule="above 0")
stage.headline(rows=3000)
stage.finish()
"""

SECOND = """# %% tags=["parameters"]
study = "toy"
k = 2

# %%
from lib.stage import io
from lib.dna import motifs

# %%
stage = io.open_stage(study, "02_layer_hunting")
stage.write_table("u", io.read_table(study, "01_extraction", "t") * k)
stage.finish()
"""


def toy(root: Path) -> Path:
    """A toy project of two stages; each imports one module of its own."""
    copy_lib(root)
    durable.atomic_write(root / "lib/sums.py", '"""Sums."""\n\ndef add(a, b):\n    return a + b\n')
    durable.atomic_write(root / "lib/dna/__init__.py", "")
    durable.atomic_write(root / "lib/dna/motifs.py", "def load():\n    from . import tables\n    return tables\n")
    durable.atomic_write(root / "lib/dna/tables.py", "N = 1\n")
    durable.atomic_write(root / "lib/dna/table.csv", "a\n1\n")
    write_pair(root, "01_extraction", FIRST)
    write_pair(root, "02_layer_hunting", SECOND)
    write_params(root, "01_extraction", "study: toy\nrate: 0.25\nbed_path: data/x.bed\n")
    durable.atomic_write(root / "data/x.bed", "chr1\t0\t1\n")
    write_params(root, "02_layer_hunting", "study: toy\nk: 3\n")
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The toy project after both stages ran: two kernels for all tests below that copy it."""
    with pytest.MonkeyPatch.context() as patch, toy_stages(TOY_STAGES):
        project = toy(tmp_path_factory.mktemp("finished"))
        patch.setattr(io, "ROOT", project)
        assert notebook.run_stage("toy", "01_extraction")
        assert notebook.run_stage("toy", "02_layer_hunting")
    return project


@pytest.fixture
def project(finished, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the finished toy project, taken for the real one."""
    copy = tmp_path / "project"
    shutil.copytree(finished, copy)
    monkeypatch.setattr(io, "ROOT", copy)
    with toy_stages(TOY_STAGES):
        yield copy


def fresh() -> list[bool]:
    look = Look("toy")
    return [notebook.is_fresh(look, stage) for stage in ("01_extraction", "02_layer_hunting")]


def leftovers(root: Path) -> list[str]:
    return [p.name for p in root.rglob(".*.partial")] + [p.name for p in root.rglob(".*.running.ipynb")]


# Params --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "ratee: 0.5",
            r"toy/01_extraction.yaml, line 1: ratee is no parameter of 01_extraction.ipynb, wanted rate, if that was meant; known: study, ",
        ),
        ("n: 3\nrate: fast", r"line 2: rate is 'fast' \(str\) \(text\), wanted float like the default 0.5"),
        ("rate: 1e-3", r"line 1: rate is '1e-3' \(str\) \(YAML reads 1e-3 as text: write 1.0e-3\), wanted float"),
        ("n: 3.0", r"n is 3.0 \(float\), wanted int"),
        ("n: true", r"n is True \(bool\), wanted int"),
        ("rate: true", r"rate is True \(bool\), wanted float"),
        ("n:", r"n is None \(NoneType\), wanted int"),
        ("study: no", "study is no, which YAML reads as false, wanted true or false, or the word in quotes"),
        ("layers: every", r"layers is 'every' \(str\), wanted a list like \[0, 1\]$"),
        ("layers: 2", r"layers is 2 \(int\), wanted a list like \[0, 1\]"),
        ("layers: [0, x]", r"layers is a list with element 2 'x' \(str\) \(text\), wanted int"),
        ("n: 3\nrate: 0.5\nn: 4", r"line 3: n is there twice, first in line 1"),
        ("- n", r"found a list, wanted lines of `name: value`"),
        ("n: [", r"is not YAML"),
        ("study: other", r"study is 'other', wanted 'toy', the folder's name"),
    ],
)
def test_params_that_do_not_fit_are_refused(root, text, message):
    write_pair(root, "01_extraction", FIRST)
    write_params(root, "01_extraction", text)
    with pytest.raises(params.Refused, match=message):
        params.stage_params("toy", "01_extraction")


def test_params_that_fit(root):
    write_pair(root, "01_extraction", FIRST)
    defaults = {"study": "toy", "rate": 0.5, "n": 3, "layers": [0, 1], "bed_path": "", "fail": "", "seed": 0}
    write_params(root, "01_extraction", "study: toy\nrate: 1\nlayers: [3]\n")
    assert params.stage_params("toy", "01_extraction") == defaults | {"rate": 1, "layers": [3]}
    write_params(root, "01_extraction", "rate: 1.0e-3\n", study="copy")           # the folder's name is the study
    assert params.stage_params("copy", "01_extraction") == defaults | {"rate": 0.001, "study": "copy"}


@pytest.mark.parametrize("old, new, message", [
    ('# %% tags=["parameters"]', "# %%", "has 0 cells tagged `parameters`, wanted one"),
    ("n = 3", "n = int(3)", r"line 3: found `n = int\(3\)`, wanted `name = literal`"),
    ("n = 3", "import os", "line 3: found `import os`, wanted `name = literal`"),
])
def test_a_parameters_cell_that_cannot_be_checked_is_refused(root, old, new, message):
    notebook = write_pair(root, "01_extraction", FIRST.replace(old, new))
    with pytest.raises(params.Refused, match=message):
        params.parameter_defaults(notebook)


def test_what_is_missing_is_named(root):
    write_pair(root, "01_extraction", FIRST)
    write_params(root, "02_layer_hunting", "k: 1")
    for study, stage, message in [("nosuch", "01_extraction", "unknown study 'nosuch'.*studies: toy"),
                                  ("toy", "09_x", "unknown stage '09_x'"),
                                  ("toy", "01_extraction", "there is no params/toy/01_extraction.yaml"),
                                  ("toy", "02_layer_hunting", "no notebook notebooks/02_layer_hunting.ipynb")]:
        with pytest.raises(params.Refused, match=message):
            notebook.run_stage(study, stage)
    assert not (root / "outputs").exists()


# What makes a stage run again ----------------------------------------------------------------------------


def test_a_finished_run_says_what_it_was(project):
    first = io.read_manifest("toy", "01_extraction")
    assert first["params"] == {"study": "toy", "rate": 0.25, "n": 3, "layers": [0, 1], "bed_path": "data/x.bed",
                               "fail": "", "seed": 0}
    assert first["seed"] == 0
    assert first["headline"] == {"rows": 3000} and first["import_seconds"] >= 0
    assert first["git"]["commit"] == "unknown" and first["peak_memory_mb"] > 20
    assert set(first["files"]) == {"half.txt", "t.csv", "claims.csv", "headline.json", "private/people.txt",
                                   "figures/f.csv"}
    assert first["files"]["t.csv"] == sha256(io.stage_path("toy", "01_extraction", "t.csv"))
    assert io.read_manifest("toy", "02_layer_hunting")["upstream"] == {"01_extraction": first["fingerprint"]}
    output = project / "outputs/toy/01_extraction"
    assert (output / "manifest.json").stat().st_mtime_ns == max(p.stat().st_mtime_ns for p in output.iterdir())
    assert (output / "01_extraction.ipynb").exists()
    lines = (project / "outputs/toy/progress.md").read_text().splitlines()
    assert len(lines) == 4 and "| 01_extraction |" in lines[2] and lines[2].endswith("| rows 3000 |")
    assert leftovers(project) == []
    assert io.read_table("toy", "02_layer_hunting", "u").x[0] == pytest.approx(3.25 * 1.1 * 3)


def test_unchanged_stages_are_not_run_again(project, capsys):
    before = (project / "outputs/toy/01_extraction/manifest.json").stat().st_mtime_ns
    assert notebook.run_stage("toy", "01_extraction") is False
    assert "toy/01_extraction: up to date" in capsys.readouterr().out
    assert (project / "outputs/toy/01_extraction/manifest.json").stat().st_mtime_ns == before


def test_a_missing_output_file_or_an_interactive_run_is_not_up_to_date(project):
    io.output_file("toy", "01_extraction", "private/people.txt").unlink()
    assert fresh() == [False, True]
    manifest = io.read_manifest("toy", "02_layer_hunting")
    durable.atomic_write(io.stage_path("toy", "02_layer_hunting", "manifest.json"),
                    json.dumps(manifest | {"fingerprint": "interactive"}))
    assert fresh() == [False, False]


def test_flags_follow_the_manifests(project, monkeypatch):
    done = project / "outputs/toy/.done"
    notebook.sync_flags("toy")
    assert sorted(p.name for p in done.iterdir()) == ["01_extraction", "02_layer_hunting"]
    write_params(project, "02_layer_hunting", "study: toy\nk: 5\n")
    notebook.sync_flags("toy")
    assert [p.name for p in done.iterdir()] == ["01_extraction"]


def test_a_stage_waits_for_the_stages_before_it(project):
    write_params(project, "01_extraction", "study: toy\nrate: 0.75\n")
    with pytest.raises(params.Refused, match="02_layer_hunting needs 01_extraction, which is missing or out of"):
        notebook.run_stage("toy", "02_layer_hunting")


def test_a_pair_that_disagrees_is_refused(project):
    script = project / "notebooks/01_extraction.py"
    script.write_text(script.read_text().replace("n = 3", "n = 4"))
    with pytest.raises(params.Refused, match="01_extraction.ipynb disagree from cell 1 on: jupytext --sync"):
        notebook.run_stage("toy", "01_extraction")


# Runs that do not finish ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fail, message", [("error", "ValueError: the third cell did this"),
                                           ("full disk", "OSError: [Errno 28] No space left on device")])
def test_a_failing_cell_leaves_the_notebook_and_no_half_output(project, monkeypatch, capsys, fail, message):
    """One of the two has an older complete output, which stays and is out of date; the other has none."""
    if fail == "full disk":
        shutil.rmtree(project / "outputs/toy/01_extraction")
    before = {p: p.read_bytes() for p in (project / "outputs/toy/01_extraction").rglob("*.*")}
    monkeypatch.setenv("PYTHONPATH", "")
    write_params(project, "01_extraction", f"study: toy\nfail: {fail}\n")
    assert notebook.main(["toy", "01_extraction"]) == 1
    error = capsys.readouterr().err.splitlines()[-5:]
    assert error[0].startswith("toy/01_extraction failed in cell [")
    assert message in error[2] and "outputs/toy/01_extraction.failed.ipynb" in error[3]
    left = jupytext.read(project / "outputs/toy/01_extraction.failed.ipynb")
    assert any(output.output_type == "error" for cell in left.cells for output in cell.get("outputs", []))
    assert {p: p.read_bytes() for p in (project / "outputs/toy/01_extraction").rglob("*.*")} == before
    assert leftovers(project) == [] and fresh()[0] is False
    assert len((project / "outputs/toy/progress.md").read_text().splitlines()) == 4


def test_a_full_disk_at_the_commit_changes_nothing(project, monkeypatch):
    partial = io.partial_dir("toy", "01_extraction")
    before = (project / "outputs/toy/01_extraction/manifest.json").read_bytes()

    def executed(*_):
        partial.mkdir()
        (partial / "headline.json").write_text("{}")
        (partial / "manifest.json.new").symlink_to("/dev/full")
        return jupytext.reads("", fmt="py:percent")
    monkeypatch.setattr(notebook, "_execute", executed)
    with pytest.raises(OSError, match="No space left"):
        notebook.run_stage("toy", "01_extraction", force=True)
    assert (project / "outputs/toy/01_extraction/manifest.json").read_bytes() == before
    assert leftovers(project) == []


def test_killed_in_mid_stage_then_run_again_gives_the_same_bytes(project):
    expected = io.read_manifest("toy", "01_extraction")["files"]
    shutil.rmtree(project / "outputs/toy")
    (project / "slow").touch()
    command = [sys.executable, "-m", "lib.run", "toy", "01_extraction"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    half = io.partial_dir("toy", "01_extraction") / "half.txt"
    with subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as killed:
        give_up = time.monotonic() + 40
        while not half.exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert half.exists()
        with pytest.raises(io.Busy, match=f"being written by process {killed.pid}"):
            notebook.run_stage("toy", "01_extraction")
        killed.send_signal(signal.SIGKILL)
    with pytest.raises(FileNotFoundError, match="no finished 01_extraction"):
        io.read_manifest("toy", "01_extraction")
    (project / "slow").unlink()
    assert notebook.run_stage("toy", "01_extraction")
    assert io.read_manifest("toy", "01_extraction")["files"] == expected
    assert leftovers(project) == []


def test_plain_papermill_works_and_the_runner_runs_it_again(project):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SAE_DNA_RUNNER")}
    shutil.rmtree(project / "outputs/toy/01_extraction")
    command = ["-m", "papermill", "notebooks/01_extraction.ipynb", "out.ipynb", "-f",
               "params/toy/01_extraction.yaml", "--no-progress-bar"]
    subprocess.run([sys.executable, *command], cwd=project, env=environment, check=True, capture_output=True)
    manifest = io.read_manifest("toy", "01_extraction")
    assert manifest["fingerprint"] == "interactive" and manifest["headline"] == {"rows": 3000}
    assert io.read_table("toy", "01_extraction", "t").x[0] == 3.25 * 1.1
    assert fresh()[0] is False
