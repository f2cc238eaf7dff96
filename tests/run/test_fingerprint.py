"""Changes to a small real project: those that must make a stage run again are named, the others make none."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lib.check import whole
from lib.publish import gate
from lib.run import notebook, stale, verify
from lib.stage import durable, hashes, io
from lib.stage.manifest import seal
from tests.projects import copy_lib, toy_stages, write_pair, write_params

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"01_extraction": [], "02_layer_hunting": ["01_extraction"]}
LARGE, BLOCK = 100_000, 512  # bytes, in these tests

FIRST = """# %% [markdown]
# # Why?

# %% tags=["parameters"]
study = "toy"
rate = 0.5          # per step
whole = 1.0
scales = [0.5]
n = 3
layers = [0, 1]
model_path = "models/a"
genome_path = ""
vcf_path = ""
interval_paths = []
truth_path = "simulated:truth.csv"
large_path = ""

# %%
from lib import sums
from lib.stage import io

# %%
stage = io.open_stage(study, "01_extraction")
stage.write_text("t.txt", str(sums.add(rate, n)))
stage.path("a.h5").write_bytes(bytes(range(256)) * 4)
stage.path("large.h5").write_bytes(bytes(100_000))
stage.private_path("people.txt").write_text("p")
stage.figure_path("f.csv").write_text("1")
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
stage.write_text("u.csv", "auroc\\n0.61\\n")
stage.finish()
"""

FILES = {
    "lib/sums.py": '"""Sums."""\n\ndef add(a, b):\n    return a + b\n',
    "lib/other.py": 'SCHEMA = "other.yaml"\n',
    "lib/other.yaml": "a: 1\n",
    "lib/dna/__init__.py": "",
    "lib/dna/motifs.py": "'unread.csv'\n\ndef load():\n    from . import tables\n    return tables\n",
    "lib/dna/tables.py": 'from importlib.resources import files\n\nN = 1\nTABLE = files("lib.dna") / "table.csv"\n'
                            'RULES = "rules/strict.yaml"\n',
    "lib/dna/table.csv": "a\n1\n",
    "lib/dna/rules/strict.yaml": "limit: 1\n",
    "lib/dna/unread.csv": "b\n1\n",
    "models/a/config.json": "{}",
    "models/a/model.safetensors": "weights",
    "models/a/.cache/note": "x",
    "data/g.fa": ">1\nACGT\n",
    "data/g.fa.fai": "1\t4\t3\t4\t5\n",
    "data/v.vcf.gz": "variants",
    "data/v.vcf.gz.tbi": "index",
    "data/one.bed": "chr1\t0\t1\n",
    "data/two.bed": "chr1\t5\t6\n",
}
FIRST_PARAMS = ("rate: 0.25\ngenome_path: data/g.fa\nvcf_path: data/v.vcf.gz\ninterval_paths: [data/one.bed, data/two.bed]\n"
                "large_path: data/large.vcf\nwhole: 2.0\nscales: [1.0, 2.0]\n")
YAML, SECOND_YAML = "params/toy/01_extraction.yaml", "params/toy/02_layer_hunting.yaml"
OUT = "outputs/toy/01_extraction"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The toy project after both stages ran: two kernels for all tests below that copy it."""
    root = tmp_path_factory.mktemp("finished")
    copy_lib(root)
    for name, text in FILES.items():
        durable.atomic_write(root / name, text)
    durable.atomic_write(root / "data/large.vcf", bytes(2 * LARGE))
    write_pair(root, "01_extraction", FIRST)
    write_pair(root, "02_layer_hunting", SECOND)
    write_params(root, "01_extraction", FIRST_PARAMS)
    write_params(root, "02_layer_hunting", "k: 3\n")
    with pytest.MonkeyPatch.context() as patch, toy_stages(STAGES):
        patch.setattr(io, "ROOT", root)
        patch.setattr(hashes, "LARGE", LARGE)
        patch.setattr(hashes, "BLOCK", BLOCK)
        assert notebook.run_stage("toy", "01_extraction") and notebook.run_stage("toy", "02_layer_hunting")
    return root


@pytest.fixture
def project(finished, tmp_path, monkeypatch) -> Path:
    """A copy of the finished toy project, times kept, taken for the real one."""
    copy = tmp_path / "project"
    shutil.copytree(finished, copy)
    monkeypatch.setattr(io, "ROOT", copy)
    monkeypatch.setattr(hashes, "LARGE", LARGE)
    monkeypatch.setattr(hashes, "BLOCK", BLOCK)
    with toy_stages(STAGES):
        yield copy


def dry(capsys) -> dict[str, list[str]]:
    """What `make dry` says of each stage."""
    capsys.readouterr()
    stale.main(["toy"])
    said: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        stage, _, what = line.partition("  ")
        said.setdefault(stage.strip(), []).append(what.strip())
    return said


FRESH = {"01_extraction": ["up to date"], "02_layer_hunting": ["up to date"]}


def swap(file, old, new):
    """Replace text in a file."""
    def change(root):
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))
    return change


def swap_pair(old, new, stage="01_extraction"):
    """In both files of a notebook's pair."""
    def change(root):
        swap(f"notebooks/{stage}.py", old, new)(root)
        text = (root / f"notebooks/{stage}.py").read_text()
        write_pair(root, stage, text.partition("# ---\n\n")[2])
    return change


def put(file, text):
    """Write a file, there or not."""
    return lambda root: durable.atomic_write(root / file, text)


def remove(file):
    return lambda root: (root / file).unlink()


def touch(file):
    return lambda root: os.utime(root / file, ns=(1, 1))


def flip(file, at, keep_time=True):
    """Another byte, size kept; the time of modification is set back as an editor by hand would."""
    def change(root):
        path = root / file
        before = path.stat()
        with path.open("r+b") as handle:
            handle.seek(at)
            old = handle.read(1)
            handle.seek(at)
            handle.write(bytes([old[0] ^ 1]))
        if keep_time:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return change


def truncate(file, n):
    return lambda root: os.truncate(root / file, n)


def module_to_package(root):
    (root / "lib/sums").mkdir()
    (root / "lib/sums.py").rename(root / "lib/sums/__init__.py")


def gap(root) -> int:
    """A place of the large file that no sample covers."""
    size = (root / "data/large.vcf").stat().st_size
    places = hashes.random.Random(size)
    last = size - hashes.BLOCK
    starts = {0, last, *(places.randint(0, last) for _ in range(hashes.INSIDE))}
    return next(at for at in range(size) if not any(s <= at < s + hashes.BLOCK for s in starts))


def flip_in_the_gap(root):
    flip("data/large.vcf", gap(root), keep_time=False)(root)


BOTH = ("01_extraction", "02_layer_hunting")
ONE, TWO = ("01_extraction",), ("02_layer_hunting",)
MUST = {
    "a value": (swap(YAML, "0.25", "0.75"), BOTH, "parameter rate was 0.25, is 0.75"),
    "a value back to the default": (swap(YAML, "rate: 0.25\n", ""), BOTH, "parameter rate was 0.25, is 0.5"),
    "a default": (swap_pair("n = 3", "n = 4"), BOTH, "parameter n was 3, is 4"),
    "a value of a later stage": (swap(SECOND_YAML, "3", "4"), TWO, "parameter k was 3, is 4"),
    "a longer list": (swap(YAML, "data/two.bed]", "data/two.bed, data/one.bed]"), BOTH, "parameter interval_paths was ["),
    "weights of a default model": (put("models/a/model.safetensors", "Weights"), BOTH, "file models/a/model.safetensors changed"),
    "a new file of the model": (put("models/a/vocab.txt", "A"), BOTH, "file models/a/vocab.txt is new"),
    "a file gone from the model": (remove("models/a/config.json"), BOTH, "file models/a/config.json is gone"),
    "a .fai": (put("data/g.fa.fai", "1\t4\t3\t4\t6\n"), BOTH, "file data/g.fa.fai changed"),
    "a new .gzi": (put("data/g.fa.gzi", "x"), BOTH, "file data/g.fa.gzi is new"),
    "a .tbi": (put("data/v.vcf.gz.tbi", "another"), BOTH, "file data/v.vcf.gz.tbi changed"),
    "a new .csi": (put("data/v.vcf.gz.csi", "x"), BOTH, "file data/v.vcf.gz.csi is new"),
    "a file of a list": (flip("data/two.bed", 5), BOTH, "file data/two.bed changed"),
    "the head of a large file": (flip("data/large.vcf", 3), BOTH, "file data/large.vcf changed"),
    "a large file between samples": (flip_in_the_gap, BOTH, "file data/large.vcf changed"),
    "a module": (swap("lib/sums.py", "a + b", "b + a"), BOTH, "module lib/sums.py changed"),
    "a module that is a package now": (module_to_package, BOTH, "module lib/sums.py is gone"),
    "a module imported in a function": (swap("lib/dna/tables.py", "N = 1", "N = 2"), TWO, "module lib/dna/tables.py changed"),
    "a table beside a module": (put("lib/dna/table.csv", "a\n2\n"), TWO, "module lib/dna/table.csv changed"),
    "a schema in a folder": (put("lib/dna/rules/strict.yaml", "limit: 2\n"), TWO, "module lib/dna/rules/strict.yaml changed"),
    "notebook code": (swap_pair("0.61", "0.62", "02_layer_hunting"), TWO, "notebook notebooks/02_layer_hunting.py changed"),
    "a truncated store": (truncate(f"{OUT}/a.h5", 512), ONE, "output a.h5 was edited"),
    "a reversed array": (lambda r: (r / OUT / "a.h5").write_bytes((r / OUT / "a.h5").read_bytes()[::-1]), ONE, "output a.h5 was edited"),
    "an AUROC of .99": (swap("outputs/toy/02_layer_hunting/u.csv", "0.61", "0.99"), TWO, "output u.csv was edited"),
    "a large output": (flip(f"{OUT}/large.h5", 99_999), ONE, "output large.h5 was edited"),
    "a per-person file that is gone": (remove("outputs/toy/private/01_extraction/people.txt"), ONE, "output private/people.txt is missing"),
    "a figure's numbers": (put("figures/toy/f.csv", "2"), ONE, "output figures/f.csv was edited"),
}  # fmt: skip


def same_bytes_elsewhere(root):
    """Another inode and time, the same content."""
    shutil.copyfile(root / "data/one.bed", root / "data/copy")
    os.replace(root / "data/copy", root / "data/one.bed")


def same_large_bytes_elsewhere(root):
    shutil.copyfile(root / "data/large.vcf", root / "data/copy")
    os.replace(root / "data/copy", root / "data/large.vcf")


NOT = {
    "a comment in the params": swap(YAML, "rate: 0.25", "rate: 0.25   # why"),
    "params in another order": lambda r: (r / YAML).write_text("".join(sorted((r / YAML).read_text().splitlines(True)))),
    "a default written out": swap(YAML, "rate: 0.25\n", 'rate: 0.25\nn: 3\nlayers: [0, 1]\nmodel_path: models/a\n'),
    "a whole number for a float": swap(YAML, "scales: [1.0, 2.0]", "scales: [1, 2.0]"),
    "a whole number for a float alone": swap(YAML, "whole: 2.0", "whole: 2"),
    "the study's name written out": swap(YAML, "rate", "study: toy\nrate"),
    "a default that the params set": swap_pair("rate = 0.5 ", "rate = 0.6 "),
    "a comment beside a default": swap_pair("# per step", "# per token"),
    "prose in a notebook": swap_pair("# # Why?", "# # How?"),
    "a comment in a cell": swap_pair("from lib.stage import io", "# why\nfrom lib.stage import io", "02_layer_hunting"),
    "a comment in a module": swap("lib/sums.py", "return a + b", "# why\n    return a + b"),
    "a docstring": swap("lib/sums.py", '"""Sums."""', '"""Sums of two."""'),
    "layout": swap("lib/dna/tables.py", "N = 1", "N  =  (1)"),
    "a module that no notebook imports": put("lib/other.py", "SCHEMA = 'x'\n"),
    "a schema that only that module names": put("lib/other.yaml", "a: 2\n"),
    "a table that only a docstring names": put("lib/dna/unread.csv", "b\n2\n"),
    "a new module": put("lib/dna/more.py", "M = 1\n"),
    "the runner": swap("lib/run/notebook.py", "signal.SIGTERM", "signal.SIGINT"),
    "a touched data file": touch("data/one.bed"),
    "a touched large file": touch("data/large.vcf"),
    "the same large file, copied": same_large_bytes_elsewhere,
    "touched weights": touch("models/a/model.safetensors"),
    "the same data in another file": same_bytes_elsewhere,
    "a hidden file of the model": put("models/a/.cache/note", "y"),
    "data of nobody": put("data/three.bed", "chr1\t7\t8\n"),
    "params of another study": put("params/other/01_extraction.yaml", "n: 9\n"),
    "a touched output": touch(f"{OUT}/a.h5"),
    "a touched large output": touch(f"{OUT}/large.h5"),
    "the executed notebook": put(f"{OUT}/01_extraction.ipynb", "{}"),
    "no kept hashes": lambda r: (r / "outputs/.hashes.json").unlink(missing_ok=True),
    "damaged hashes": put("outputs/.hashes.json", '{"/a": '),
    "hashes of another form": put("outputs/.hashes.json", '["a"]'),
}  # fmt: skip


def test_an_untouched_study_is_up_to_date(project, capsys):
    assert dry(capsys) == FRESH


@pytest.mark.parametrize("case", MUST)
def test_a_change_that_must_rerun_is_named(project, capsys, case):
    change, stages, cause = MUST[case]
    assert dry(capsys) == FRESH                      # and the hashes are kept from here on
    change(project)
    said = dry(capsys)
    for stage in STAGES:
        assert (said[stage] != ["up to date"]) == (stage in stages)
    assert said[stages[0]][0].startswith(f"would run: {cause}")
    if len(stages) == 2:
        assert said["02_layer_hunting"] == ["would run: stage 01_extraction changed"]
    notebook.sync_flags("toy")
    left = {p.name for p in (project / "outputs/toy/.done").glob("*")}
    assert left == set(STAGES) - set(stages)


@pytest.mark.parametrize("case", NOT)
def test_a_change_that_must_not_rerun(project, capsys, case):
    NOT[case](project)
    assert dry(capsys) == FRESH


def test_hashes_are_kept_only_for_files_at_rest_and_trust_no_time_set_by_hand(tmp_path, monkeypatch):
    file, store = tmp_path / "a", tmp_path / ".hashes.json"
    file.write_text("one")
    kept = hashes.Hashes(store)
    first = kept.whole(file)
    kept.save()
    assert not store.exists()                        # changed a moment ago: a coarse clock could hide another change
    monkeypatch.setattr(hashes, "SETTLED", -1e9)
    assert kept.whole(file) == first
    kept.save()
    monkeypatch.setattr(hashes, "sha256", lambda path: "hashed again")
    assert hashes.Hashes(store).whole(file) == first
    before = file.stat()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes.Hashes(store).whole(file) == "hashed again"


def test_samples_tell_large_files_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "LARGE", LARGE)
    file = tmp_path / "a"
    file.write_bytes(bytes(LARGE))
    look = hashes.Hashes(tmp_path / "none")
    first = look.quick(file)
    assert first.startswith(f"sampled:{LARGE}:{file.stat().st_mtime_ns}:")
    for at in (0, LARGE - 1):
        flip("a", at)(tmp_path)
        assert look.quick(file) != first
        flip("a", at)(tmp_path)
        assert look.quick(file) == first
    os.truncate(file, LARGE - 1)
    assert look.quick(file) == hashes.sha256(file)


# What lies there, byte by byte ---------------------------------------------------------------------------


def test_a_touched_large_input_is_hashed_whole_once_and_the_stages_stay(project, capsys, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", -1e9)
    touch("data/large.vcf")(project)
    whole, sha256 = [], hashes.sha256
    monkeypatch.setattr(hashes, "sha256", lambda path: whole.append(path.name) or sha256(path))
    assert not notebook.run_stage("toy", "01_extraction") and not notebook.run_stage("toy", "02_layer_hunting")
    assert whole.count("large.vcf") == 1
    flip("data/large.vcf", gap(project))(project)                # after a touch, a change between the samples still shows
    assert dry(capsys)["01_extraction"] == ["would run: file data/large.vcf changed"]


@pytest.mark.parametrize("left, said", [({"config.json"}, "input models/a/model.safetensors is missing"),
                                        (set(), "input models/a/config.json is missing")])
def test_verify_misses_the_files_of_a_model_folder(project, capsys, left, said):
    """Its only input, so that an emptied folder leaves nothing to compare with."""
    stage = io.open_stage("toy", "01_extraction")
    stage.headline()
    inputs = {f"models/a/{name}": hashes.sha256(project / "models/a" / name) for name in ("config.json", "model.safetensors")}
    io.commit(
        "toy", "01_extraction", {"stage": "01_extraction", "fingerprint": "x", "params": {"model_path": "models/a"}, "inputs": inputs}
    )
    io.unlock("toy", "01_extraction", kind="kernel")
    assert verify.main(["toy"]) == 0
    for name in {"config.json", "model.safetensors"} - left:
        remove(f"models/a/{name}")(project)
    assert verify.main(["toy"]) == 1
    assert said in capsys.readouterr().out


def test_verify_finds_what_samples_miss_and_what_no_manifest_lists(project, capsys):
    assert verify.main(["toy"]) == 0
    assert "01_extraction: 16 files hashed whole, 0 differences" in capsys.readouterr().out
    flip("data/large.vcf", gap(project))(project)                              # time set back, and no sample there
    put(f"{OUT}/layer_00/extra.csv", "a\n")(project)
    put("outputs/toy/private/01_extraction/more.txt", "a\n")(project)
    swap("outputs/toy/02_layer_hunting/u.csv", "0.61", "0.99")(project)
    remove("data/g.fa.fai")(project)
    assert stale.main(["toy"]) == 0
    assert verify.main(["toy"]) == 1
    out = capsys.readouterr().out
    assert "01_extraction: input data/large.vcf differs: found " in out
    assert "01_extraction: output layer_00/extra.csv is in no manifest" in out
    assert "01_extraction: output private/more.txt is in no manifest" in out
    assert "01_extraction: input data/g.fa.fai is missing" in out
    assert "02_layer_hunting: output u.csv differs" in out
    shutil.rmtree(project / "outputs/toy")
    assert verify.main(["toy"]) == 2


def test_an_edited_output_is_made_again(project, capsys):
    swap("outputs/toy/02_layer_hunting/u.csv", "0.61", "0.99")(project)
    assert notebook.run_stage("toy", "02_layer_hunting")
    assert "02_layer_hunting: running: output u.csv was edited" in capsys.readouterr().err
    assert "0.61" in io.stage_path("toy", "02_layer_hunting", "u.csv").read_text()
    assert dry(capsys) == FRESH


EMPTY = {"stage": "01_extraction", "fingerprint": "x", "files": {}}


@pytest.mark.parametrize("content, said", [
    ("", "manifest.json is empty"),
    ('{"stage": "01_extraction", "files": {', "manifest.json is no JSON: "),
    ('["a"]', "manifest.json lacks ['stage', 'fingerprint', 'files']"),
    ("[" * 100_000, "manifest.json is no JSON: "),
    ('{"a": ' * 3_000 + "1" + "}" * 3_000, "manifest.json is no JSON: "),
    ('{"stage": "01_extraction", "fingerprint": "x", "files": []}', "manifest.json has files '[]', wanted a table"),
    *((json.dumps(EMPTY | {part: value}), f"manifest.json has {part} {str(value)!r}, wanted a table")
      for part, value in [("modules", []), ("params", None), ("inputs", "x"), ("upstream", None), ("files_sampled", None),
                          ("files_sampled", ["a"]), ("inputs_whole", 3), ("headline", None)]),
    *((json.dumps(EMPTY | {part: {"a": value}}), f"manifest.json has {part} whose values are no texts")
      for part, value in [("files", None), ("files_sampled", 1), ("modules", {}), ("upstream", ["x"])]),
    *((json.dumps(EMPTY | {part: {key: "x"}}), f"manifest.json lists the file {key!r}, wanted one of the stage's own")
      for part, key in [("files", "../../../secret"), ("files", "/etc/passwd"), ("files", "private/../../secret"), ("files", ""),
                        ("files_sampled", "figures/../../secret")]),
    ('{"stage": "01_extraction", "fingerprint": "x", "files": {"a": "x"}, "files": {}}', "manifest.json is no JSON: one of "),
])
def test_a_damaged_manifest_is_named_and_its_stage_not_finished(project, capsys, content, said):
    put(f"{OUT}/manifest.json", content)(project)
    assert dry(capsys)["01_extraction"][0].startswith(f"would run: {OUT}/{said}")
    assert notebook.main(["toy", "02_layer_hunting"]) == 0          # up to date: made from what 01 would make again
    with pytest.raises(FileNotFoundError, match=r"toy has no finished 01_extraction \(outputs/toy/01_extraction/manifest"):
        io.stage_path("toy", "01_extraction", "a.h5")
    assert verify.main(["toy"]) == 1
    notebook.sync_flags("toy")
    assert [p.name for p in (project / "outputs/toy/.done").iterdir()] == ["02_layer_hunting"]


def test_an_older_or_hand_made_manifest_is_told_apart(project, capsys):
    manifest = project / OUT / "manifest.json"
    whole = json.loads(manifest.read_text())
    for change, said in [({"fingerprint": "interactive"}, "would run: its output was made in an open notebook, not by the runner"),
                         ({"fingerprint": "x"}, "would run: manifest.json was edited: its fingerprint is not that of its parts")]:
        changed = whole | change
        manifest.write_text(json.dumps(changed | {"sha256": seal(changed)}))
        assert dry(capsys)["01_extraction"] == [said]
    for absent in ("modules", "sha256"):
        less = {k: v for k, v in whole.items() if k != absent}
        manifest.write_text(json.dumps(less | ({"sha256": seal(less)} if absent == "modules" else {})))
        assert dry(capsys)["01_extraction"] == ["would run: its output was made by an earlier version of the runner, which noted less"]


@pytest.mark.parametrize("change", [
    {"files": {}}, {"files_sampled": {}}, {"headline": {"auroc": 0.99}}, {"seed": 7}, {"stage": "02_layer_hunting"}, {"study": "other"},
    {"inputs_whole": {}}, {"git": {"commit": "0", "dirty": False}}, {"sha256": "0"}, {"more": 1},
])
def test_a_manifest_edited_by_hand_is_named(project, capsys, change):
    manifest = project / OUT / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change, indent=2))
    put(f"{OUT}/t.txt", "another number")(project)
    assert dry(capsys) == FRESH | {"01_extraction": [f"would run: {OUT}/manifest.json was edited: its sha256 is not that of the rest"]}
    assert verify.main(["toy"]) == 1 and "manifest.json was edited" in capsys.readouterr().out


@pytest.mark.parametrize("end", [".py", ".ipynb"])
def test_a_notebook_changed_in_one_file_of_its_pair_is_said_and_does_not_run(project, capsys, end):
    assert dry(capsys) == FRESH
    swap(f"notebooks/01_extraction{end}", "n = 3", "n = 4")(project)
    assert stale.main(["toy"]) == 2
    said = "cannot run: notebooks/01_extraction.py and 01_extraction.ipynb disagree from cell 2 on: jupytext --sync"
    assert capsys.readouterr().out.count(said) == 2
    notebook.sync_flags("toy")
    assert list((project / "outputs/toy/.done").glob("*")) == []
    assert notebook.main(["toy", "01_extraction"]) == 2 and "disagree" in capsys.readouterr().err


def test_a_pair_is_compared_once(project, capsys, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", -1e9)
    assert dry(capsys) == FRESH
    monkeypatch.setattr("lib.run.fingerprint.check_pair", lambda notebook: pytest.fail("compared again"))
    assert dry(capsys) == FRESH


def test_a_missing_input_is_said_for_every_stage_that_needs_it(project, capsys):
    remove("data/one.bed")(project)
    assert stale.main(["toy"]) == 2
    out = capsys.readouterr().out
    assert "01_extraction     cannot run: data/one.bed: " in out and "02_layer_hunting  cannot run: data/one.bed: " in out
    notebook.sync_flags("toy")
    assert list((project / "outputs/toy/.done").glob("*")) == []


@pytest.mark.parametrize(
    "file, old, new, place",
    [
        ("lib/sums.py", "def ", "def def ", "lib/sums.py, line "),
        (
            "notebooks/01_extraction.py",
            "from lib import sums",
            "from lib import sums,,",
            "notebooks/01_extraction.py and 01_extraction.ipynb disagree from cell 3 on",
        ),
        ("notebooks/01_extraction.ipynb", "rate = 0.5", "rate = = 0.5", "notebooks/01_extraction.ipynb, parameters cell, line 2: "),
        ("notebooks/01_extraction.ipynb", "{", "", "notebooks/01_extraction.ipynb is no JSON: "),
    ],
)
def test_code_that_does_not_parse_is_named(project, capsys, file, old, new, place):
    swap(file, old, new)(project)
    assert dry(capsys)["01_extraction"][0].startswith(f"cannot run: {place}")
    assert notebook.main(["toy", "01_extraction"]) == 2
    assert f"refused: {file}" in capsys.readouterr().err
    notebook.sync_flags("toy")
    assert not (project / "outputs/toy/.done/01_extraction").exists()


# Names, and where things are written ---------------------------------------------------------------------


@pytest.mark.parametrize("study", ["../../evil", "/tmp/evil", ".hidden", "a/b", "a b", "x; touch X", "", "-x", "a\n", "010", "1e3",
                                   "1_000", "nan", "True", "a" * 101, "$(touch X)"])
def test_what_is_no_name_is_refused_and_nothing_written(root, capsys, study):
    assert notebook.main(["--", study, "01_extraction"]) == 2 and stale.main(["--", study]) == 2 and verify.main(["--", study]) == 2
    assert capsys.readouterr().err.count("is no name of a study") == 3
    with pytest.raises(ValueError, match="is no name of a study"):
        io.open_stage(study, "01_extraction")
    with pytest.raises(ValueError, match="is no name of a stage"):
        io.open_stage("toy", study)
    assert [p for p in root.rglob("*") if p.is_file()] == []
    assert not any(p.exists() for p in (root.parent.parent / "evil", Path("/tmp/evil"), root / "X"))


@pytest.mark.parametrize("study", ["demo", "demo-1", "ibd_1kg", "1kg", "a.b", "smoke@scratch", "_x"])
def test_names(root, study):
    assert io.study_dir(study) == root / "outputs" / study


def test_outputs_may_be_a_link_and_a_study_may_not(root, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (root / "outputs").symlink_to(disk)
    assert io.study_dir("toy") == root / "outputs/toy"
    (disk / "evil").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ValueError, match="outputs/evil is a link to .*: only the folder outputs as a whole may lie elsewhere"):
        io.study_dir("evil")


@pytest.mark.parametrize("link", ["outputs/toy/private", "figures/toy"])
def test_no_folder_of_a_study_is_a_link_out_of_the_project(root, capsys, tmp_path_factory, link):
    (root / link).parent.mkdir(parents=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / link).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"{link} is a link to .*: only the folder {link.partition('/')[0]} as a whole"):
        io.open_stage("toy", "01_extraction")
    assert stale.main(["toy"]) == notebook.main(["toy", "01_extraction"]) == verify.main(["toy"]) == 2
    assert capsys.readouterr().err.count(f"refused: {link} is a link to ") == 3
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("file", ["outputs", "outputs/toy", "outputs/toy/private", "figures"])
def test_a_file_where_a_folder_has_to_be(project, capsys, file):
    path = project / file
    shutil.rmtree(path)
    path.write_text("a note")
    for status in (stale.main(["toy"]), notebook.main(["toy", "01_extraction"]), whole.main(["toy"])):
        assert status == 2
    assert capsys.readouterr().err.splitlines() == [f"refused: {file} is no folder, wanted one to write to: move it away"] * 3
    with pytest.raises(ValueError, match="is no folder"):
        notebook.sync_flags("toy")


def test_outputs_that_cannot_be_written_end_in_one_line(finished, monkeypatch, capsys):
    """As another user where this one may write anywhere."""
    with tempfile.TemporaryDirectory() as folder, toy_stages(STAGES):
        root = Path(folder) / "project"
        shutil.copytree(finished, root)
        monkeypatch.setattr(hashes, "LARGE", LARGE)
        monkeypatch.setattr(hashes, "BLOCK", BLOCK)
        monkeypatch.setattr(io, "ROOT", root)
        shutil.rmtree(root / "outputs/toy/02_layer_hunting")
        for path in (root / "outputs", root / "outputs/toy", root, root.parent):
            path.chmod(0o555)
        if me := not os.geteuid():
            os.seteuid(65534)
        try:
            status = notebook.main(["toy", "02_layer_hunting"])
            stale.main(["toy"])
            with pytest.raises(OSError, match=r"^outputs/toy cannot be written \(Permission denied\): make room there"):
                notebook.sync_flags("toy")
        finally:
            if me:
                os.seteuid(0)
            for path in (root.parent, root, root / "outputs", root / "outputs/toy"):
                path.chmod(0o755)
    said = capsys.readouterr()
    assert status == 1 and len(said.err.splitlines()) == 1
    assert "toy/02_layer_hunting stopped, no output was changed: [Errno 13] Permission denied: " in said.err
    assert "01_extraction     up to date" in said.out            # looking needs no writing


# make ----------------------------------------------------------------------------------------------------


SHELL = ["smoke; touch X #", "$(touch X)", "`touch X`", "$(shell touch X)", "a' ; touch X ; '", 'a" ; touch X ; "']


def make(where: Path, venv: Path, target: str, *, said_by: str = "command", **values: str) -> subprocess.CompletedProcess:
    """Run make in a folder that holds its own copy of what it reads.

    said_by: where the values are given: "command", its line; "environment"; or "-e", an environment that wins.
    """
    for name in ("Makefile", "Snakefile"):
        shutil.copy(ROOT / name, where)
    shutil.copytree(ROOT / "lib", where / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    values = {"VENV": str(venv)} | values
    command, environment = ["make", target], dict(os.environ)
    if said_by == "command":
        command += [f"{name}={value}" for name, value in values.items()]
    else:
        command, environment = [*command, *["-e"] * (said_by == "-e")], environment | values
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target, value", [*(("dry", value) for value in SHELL), ("verify", SHELL[0]), ("study", SHELL[0]),
                                           ("study", "../../evil"), ("figures", SHELL[3])])
def test_a_study_given_to_make_is_no_shell_text(tmp_path, target, value):
    done = make(tmp_path, Path(sys.executable).parent.parent, target, STUDY=value)
    assert done.returncode == 2 and "no name of a study" in done.stdout + done.stderr
    assert not (tmp_path / "X").exists() and not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("target, name, option", [
    ("publish", "STUDY", "--study={}"), ("publish", "OUT", "--out={}"), ("check-model", "MODEL", "{}"),
    ("check-model", "REVISION", "--revision={}"), ("check-model", "RECORDS", "--records={}"), ("study", "CORES", "{}"),
    ("study", "PROFILE", "{}"), ("new", "GENOME", "GENOME={}"), ("check", "STUDY", "STUDY={}"), ("data", "STUDY", "STUDY={}"),
    ("import-sae", "FROM", "--from={}"), ("export-sae", "AS", "--as={}"),
])
@pytest.mark.parametrize("value, said_by", [*((value, "command") for value in SHELL), (SHELL[1], "environment"),
                                            (SHELL[3], "environment"), (SHELL[3], "-e")])
def test_a_value_given_to_make_arrives_as_it_is(tmp_path, target, name, option, value, said_by):
    venv = recorders(tmp_path / "venv")
    done = make(tmp_path, venv, target, said_by=said_by, **({"OUT": "out", "MODEL": "model"} | {name: value}))
    assert done.returncode == 0, done.stderr
    assert option.format(value) in done.stdout.splitlines()
    assert not (tmp_path / "X").exists()


def recorders(venv: Path) -> Path:
    """An environment whose programs only write down what they were given."""
    (venv / "bin").mkdir(parents=True)
    for program in ("python", "snakemake"):
        recorder = venv / "bin" / program
        recorder.write_text("#!/bin/sh\nfor given in \"$@\" \"GENOME=$GENOME\" \"STUDY=$STUDY\"; do printf '%s\\n' \"$given\"; done\n")
        recorder.chmod(0o755)
    return venv


@pytest.mark.parametrize("said_by", ["command", "environment", "-e"])
@pytest.mark.parametrize("name", ["READY", "BIN", "PEERS", "NAMED", "SNAKEMAKE", "PYTHON", "VENV"])
def test_no_name_of_the_makefile_runs_what_it_is_set_to(tmp_path, name, said_by):
    make(tmp_path, recorders(tmp_path / "venv"), "study", said_by=said_by, **{name: "$(shell touch X)$(shell touch${IFS}X)`touch${IFS}X`"})
    assert not (tmp_path / "X").exists()


def test_an_environment_with_a_space_in_its_path_is_refused(tmp_path):
    done = make(tmp_path, recorders(tmp_path / "my venv"), "dry")
    assert done.returncode == 2 and 'my venv", wanted the path of an environment without spaces' in done.stderr


@pytest.mark.parametrize("said_by, study", [("command", "other"), ("environment", "demo")])
def test_results_is_the_demo_study_unless_its_command_says_another(tmp_path, said_by, study):
    done = make(tmp_path, recorders(tmp_path / "venv"), "results", said_by=said_by, STUDY="other")
    assert {f"study={study}", f"STUDY={study}"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize("out", ["outputs/toy/private/copy", "outputs/copy", "outputs/../outputs/x"])
def test_nothing_is_published_into_outputs(root, capsys, monkeypatch, out):
    monkeypatch.chdir(root)
    assert gate.main(["--study", "toy", "--out", out]) == 4
    assert "is inside outputs, which holds what must not leave" in capsys.readouterr().err
    assert gate.main(["--study", "../toy", "--out", "out"]) == 4
    assert list(root.iterdir()) == []
