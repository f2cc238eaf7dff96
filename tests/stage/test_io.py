"""An output appears whole or not at all, and tables come back as they were written."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lib.stage import durable, io, locks
from lib.stage.claims import CLAIM_COLUMNS

STAGE = "01_extraction"


class Killed(BaseException):
    """Stands for the process ending here."""


def write(value: str, private: bool = True, figures: bool = True) -> None:
    """A whole stage whose every file holds `value`."""
    stage = io.open_stage("toy", STAGE)
    stage.write_text("layer_00/a.txt", value)
    if private:
        stage.private_path("p.txt").write_text(value)
    if figures:
        stage.figure_path("f.txt").write_text(value)
    stage.headline(value=value)
    stage.finish()


def content(root) -> dict[str, str]:
    """What each of the three places holds."""
    places = {"outputs": root / "outputs/toy" / STAGE / "layer_00/a.txt",
              "private": root / "outputs/toy/private" / STAGE / "p.txt", "figures": root / "figures/toy/f.txt"}
    return {kind: path.read_text() for kind, path in places.items() if path.exists()}


def hidden(root) -> list[str]:
    return sorted(p.name for p in root.rglob(".*") if p.is_dir())


def test_nothing_shows_before_finish_and_everything_after(root):
    stage = io.open_stage("toy", STAGE)
    stage.write_text("a.txt", "x")
    with pytest.raises(FileNotFoundError, match=f"run `python -m lib.run toy {STAGE}`"):
        io.stage_path("toy", STAGE, "a.txt")
    stage.finish()
    assert io.stage_path("toy", STAGE, "a.txt").read_text() == "x"
    manifest = io.read_manifest("toy", STAGE)
    assert manifest["fingerprint"] == "interactive"
    assert set(manifest["files"]) == {"a.txt", "claims.csv", "headline.json"}
    assert hidden(root) == []


def test_under_the_runner_finish_leaves_the_commit_to_it(root, monkeypatch):
    monkeypatch.setenv("SAE_DNA_RUNNER", "1")
    write("x")
    assert content(root) == {}
    assert (io.partial_dir("toy", STAGE) / "claims.csv").exists()


@pytest.mark.parametrize("first", [None, {}, {"private": False, "figures": False}])
def test_killed_anywhere_in_the_commit_leaves_the_old_output_or_none(root, monkeypatch, first):
    """Every rename and removal in turn is the last thing the process does."""
    survived = 0
    for last in range(30):
        if first is not None:
            write("old", **first)
        before = content(root)
        steps = iter(range(last))

        def dying(function, steps=steps):
            def step(*arguments, **options):
                if next(steps, None) is None:
                    raise Killed
                return function(*arguments, **options)
            return step

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying(os.replace))
            patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
            patch.setattr(io, "recover", dying(io.recover))
            try:
                write("new")
                done = True
            except Killed:
                done = False
        has_manifest = (root / "outputs/toy" / STAGE / "manifest.json").exists()
        if has_manifest:                      # a manifest vouches for whole outputs: all old, or all new
            assert content(root)["outputs"] == "old" or set(content(root).values()) == {"new"}
        io.recover("toy", STAGE)
        now = content(root)
        assert now == before or now == dict.fromkeys(("outputs", "private", "figures"), "new")
        assert bool(now) == (root / "outputs/toy" / STAGE / "manifest.json").exists()
        survived += now == before
        io.discard_partial("toy", STAGE)
        assert hidden(root) == []
        for path in ("outputs", "figures"):
            subprocess.run(["rm", "-rf", root / path], check=True)
        locks.let_go_of_all()
        if done:
            break
    assert done and survived > 4


def test_a_killed_stage_is_tidied_at_the_next_start(root):
    write("old")
    io.open_stage("toy", STAGE).write_text("half.txt", "…")
    write("new")
    assert set(content(root).values()) == {"new"}
    assert not (root / "outputs/toy" / STAGE / "half.txt").exists()


def test_figures_belong_to_one_stage_and_are_swapped_whole(root):
    write("old")
    durable.atomic_write(root / "figures/toy/stale.pdf", "drawn by an earlier version")
    write("new")
    assert [p.name for p in (root / "figures/toy").iterdir()] == ["f.txt"]
    with pytest.raises(ValueError, match=f"figures/toy belongs to {STAGE}"):
        io.open_stage("toy", "02_layer_hunting").figure_path("g.pdf")


def test_two_processes_cannot_write_one_stage(root):
    code = (f"from lib.stage import io; io.open_stage('toy', '{STAGE}'); print('open', flush=True); input()")
    environment = os.environ | {"SAE_DNA_ROOT": str(root)}
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True, env=environment)
    try:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(io.Busy, match=f"toy/{STAGE} is being written by process {other.pid}"):
            io.open_stage("toy", STAGE)
    finally:
        other.communicate("\n")
    io.open_stage("toy", STAGE)
    io.open_stage("toy", STAGE)               # the same notebook may run its cell again


def test_tables_come_back_exactly_and_bytes_do_not_depend_on_the_platform(root):
    table = pd.DataFrame({"gene": ["NOD2", "a,b"], "x": [0.1 + 0.2, 1e-300], "n": [1, 2],
                          "y": np.array([0.1, np.nan], dtype=np.float32)})
    stage = io.open_stage("toy", STAGE)
    path = stage.write_table("layers", table)
    assert path.read_bytes() == b'gene,x,n,y\nNOD2,0.30000000000000004,1,0.1\n"a,b",1e-300,2,\n'
    stage.write_table("people", table, private=True)
    stage.finish()
    back = io.read_table("toy", STAGE, "layers")
    assert (back.x == table.x).all()
    assert io.private_path("toy", STAGE, "people.csv").exists()
    assert not (root / "outputs/toy" / STAGE / "people.csv").exists()
    with pytest.raises(FileNotFoundError, match="is finished but has no outputs file nosuch.csv"):
        io.read_table("toy", STAGE, "nosuch")


def test_claims_record_their_verdicts(root):
    stage = io.open_stage("toy", STAGE)
    stage.claim("topk_over_pca", 0.2, 0.1, 0.3, 50, "0", holds=np.bool_(True), note="95% bootstrap", of="windows", rule="above 0")
    stage.claim("planted_found", 0.1, -0.1, 0.3, 50, 0, holds=False, of="motifs", rule="above 0")
    stage.claim("with_another_seed", None, None, None, 0, 0, False, of="pairs", rule="above 0", because="one seed")
    stage.finish()
    claims = io.read_table("toy", STAGE, "claims")
    assert list(claims.columns) == CLAIM_COLUMNS
    assert list(claims.verdict) == ["holds", "does not hold", "could not be tested"]
    assert list(claims.of) == ["windows", "motifs", "pairs"] and claims.note[2] == "because one seed"


def test_a_claim_counts_in_the_words_of_its_corpus(root):
    stage = io.open_stage("toy", STAGE)
    with pytest.raises(ValueError, match="counts 'players', wanted one of people"):
        stage.claim("c", 1, 1, 1, 5, 0, True, of="players", rule="above 0")
    corpus = {"words": {"subject": "player", "subjects": "players"}, "concept_kinds": {"run": "planted"}}
    durable.atomic_write(root / "outputs/toy/00_dice/corpus.json", json.dumps(corpus))
    for of in ("players", "run families", "people"):
        stage.claim("c", 1, 1, 1, 5, 0, True, of=of, rule="above 0")
    with pytest.raises(ValueError, match="counts 'runs of luck', wanted one of .*players, run families"):
        stage.claim("c", 1, 1, 1, 5, 0, True, of="runs of luck", rule="above 0")


def test_json_and_yaml_take_numpy_and_write_missing_as_null(root):
    stage = io.open_stage("toy", STAGE)
    value = {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": (np.int64(3), True)}
    assert json.loads(stage.write_json("v.json", value).read_text()) == {
        "a": 0.5, "b": [0, 1], "c": None, "d": [3, True]}
    assert stage.write_yaml("v.yaml", value).read_text() == "a: 0.5\nb:\n- 0\n- 1\nc: null\nd:\n- 3\n- true\n"


def test_data_path(root, monkeypatch):
    durable.atomic_write(root / "data/x.bed", "")
    assert io.data_path("data/x.bed") == root / "data/x.bed"
    assert io.data_path(str(root / "data")) == root / "data"
    monkeypatch.setenv("DATA_DIR", str(root / "data"))
    assert io.data_path("$DATA_DIR/x.bed") == root / "data/x.bed"
    with pytest.raises(FileNotFoundError, match=r"\$DATA_DIR/y.bed: .*y.bed does not exist; set .* DATA_DIR"):
        io.data_path("$DATA_DIR/y.bed")
    monkeypatch.setenv("DATA_DIR", str(root / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no data folder .*nowhere; set the environment variable"):
        io.data_path("$DATA_DIR/x.bed")
    monkeypatch.delenv("DATA_DIR")
    monkeypatch.setattr(io, "ROOT", root / "project")
    durable.atomic_write(root / "shared/data/z.bed", "")
    assert io.data_path("$DATA_DIR/z.bed").read_text() == ""


def test_importing_io_is_quick():
    code = "import sys; from lib.stage import io; print('pandas' in sys.modules, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=io.ROOT, check=True)
    assert out.stdout.split() == ["False", "False"]
