"""The kind's module, which shared notebooks import by the name in corpus.json, is part of what they were made from."""

import shutil

import pytest

from lib.run import notebook, stale
from lib.run.fingerprint import PARTS, Look
from lib.stage import durable, io, params
from tests.projects import write_pair, write_params

DOOR = '# %% tags=["parameters"]\nstudy = "x"\nn = 1\n'
SHARED = '# %% tags=["parameters"]\nstudy = "x"\nk = 2\n\n# %%\nfrom lib import reader\n'
FILES = {
    "lib/__init__.py": "",
    "lib/reader.py": "from importlib import import_module\n\ndef kind(name):\n    return import_module(name)\n",
    "lib/dna/__init__.py": "",
    "lib/dna/kind.py": "from lib.dna import words\n\nRIVAL = words.RIVAL\n",
    "lib/dna/words.py": "RIVAL = 'k-mer'\nTABLE = 'table.csv'\n",
    "lib/dna/table.csv": "a\n1\n",
    "lib/dna/other.py": "N = 1\n",
    "toys/__init__.py": "",
    "toys/kind.py": "from toys.words import RIVAL\n",
    "toys/words.py": "RIVAL = 'word'\n",
}
STUDIES = {"genomes": ("00_dna", "lib.dna.kind"), "boxes": ("00_toys", "toys.kind")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two studies of two kinds, one of them outside lib, whose door and shared stage are finished."""
    monkeypatch.setattr(io, "ROOT", tmp_path)
    for name, text in FILES.items():
        durable.atomic_write(tmp_path / name, text)
    write_pair(tmp_path, "01_extraction", SHARED)
    for study, (door, kind) in STUDIES.items():
        write_pair(tmp_path, door, DOOR)
        write_params(tmp_path, door, "n: 1\n", study)
        write_params(tmp_path, "01_extraction", "k: 2\n", study)
        finish(study, door, kind)
        finish(study, "01_extraction")
    return tmp_path


def finish(study, stage, kind=None):
    """What a finished run leaves, without running."""
    opened = io.open_stage(study, stage)
    if kind:
        opened.write_json("corpus.json", {"study": study, "door": stage, "kind": kind})
    opened.headline()
    look = Look(study)
    manifest = {"stage": stage, "fingerprint": look.fingerprint(stage)} | {name: look.parts(stage)[name] for name in PARTS}
    io.commit(study, stage, manifest)
    io.unlock(study, stage, kind="kernel")


def why(study):
    """Stage -> why it would run."""
    look = Look(study)
    return {stage: stale.reasons(look, stage) for stage in look.stages}


def swap(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_finished_stages_are_up_to_date(project):
    assert all(not reasons for study in STUDIES for reasons in why(study).values())


@pytest.mark.parametrize("study, file", [
    ("genomes", "lib/dna/kind.py"), ("genomes", "lib/dna/words.py"), ("genomes", "lib/dna/table.csv"), ("boxes", "toys/kind.py"),
    ("boxes", "toys/words.py"),
])
def test_an_edit_of_the_kind_reaches_the_stages_of_its_studies_alone(project, study, file):
    """Also of what the kind imports, and of a table that this names. The door does not import its kind's module: it stays."""
    (project / file).write_text((project / file).read_text() + ("b\n" if file.endswith("csv") else "\nMORE = 1\n"))
    door, other = STUDIES[study][0], next(name for name in STUDIES if name != study)
    assert why(study) == {door: [], "01_extraction": [f"module {file} changed"]}
    assert not any(why(other).values())


@pytest.mark.parametrize("file, text", [
    ("lib/dna/kind.py", "# a comment\n"), ("lib/dna/other.py", "M = 2\n"), ("toys/unread.py", "N = 1\n"),
])
def test_a_comment_or_a_module_that_no_kind_reads_changes_nothing(project, file, text):
    before = (project / file).read_text() if (project / file).exists() else ""
    (project / file).write_text(text + before)
    assert not any(reasons for study in STUDIES for reasons in why(study).values())


def test_before_the_door_ran_no_kind_is_known_and_its_stage_waits(project):
    shutil.rmtree(project / "outputs/genomes/00_dna")
    said = why("genomes")
    assert said["00_dna"] and "module lib/dna/kind.py is gone" in said["01_extraction"]
    with pytest.raises(params.Refused, match="genomes/01_extraction needs 00_dna, which is missing or out of date"):
        notebook.run_stage("genomes", "01_extraction")


def test_a_kind_that_is_not_there_is_refused_in_a_sentence(project, capsys):
    shutil.rmtree(project / "toys")
    assert stale.main(["boxes"]) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "00_toys        up to date" and said[1].startswith(
        "01_extraction  cannot run: 00_toys of boxes names a kind that is not there: toys.kind is no module below ")
    assert notebook.main(["boxes", "01_extraction"]) == 2 and "names a kind that is not there" in capsys.readouterr().err
    assert not any(why("genomes").values())


def test_a_kind_that_is_no_python_is_refused_by_its_line(project, capsys):
    swap(project / "toys/words.py", "RIVAL =", "RIVAL = =")
    assert stale.main(["boxes"]) == 2
    assert "cannot run: toys/words.py, line 1: " in capsys.readouterr().out


def test_another_kind_named_by_the_door_is_another_corpus(project):
    """corpus.json is an output: edited by hand, its stage is out of date, and so is what was made with the other kind."""
    swap(project / "outputs/boxes/00_toys/corpus.json", "toys.kind", "lib.dna.kind")
    said = why("boxes")
    assert said["00_toys"] == ["output corpus.json was edited"]
    assert "module lib/dna/kind.py is new" in said["01_extraction"] and "module toys/kind.py is gone" in said["01_extraction"]
