"""Params written for a user's own data: they pass the check, and every choice has its reason."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pysam
import pytest
import yaml

from lib.check import whole
from lib.check.study import EXPLAINED
from lib.dna import background, choices, new, reference
from lib.stage import io
from tests import own_data

DATA = Path(os.environ.get("DATA_DIR") or own_data.REPO.parent / "shared/data")
MISTRAL = DATA / "models/mistral-dna-1m-hg38-causal"


@pytest.fixture
def root(tmp_path, monkeypatch):
    own_data.write(tmp_path / "data")
    for name in ("MODEL", "GENOME", "VCF", "LOCI", "PHENOTYPE", "BACKGROUND", "PEOPLE", "EXONS", "VARIANTS", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return own_data.project(tmp_path / "project", monkeypatch)


def options(root, model="params/demo/model", **more):
    data = root.parent / "data"
    given = {"model": model, "genome": data / "genome.fa", "vcf": data / "cohort.vcf.gz", "loci": data / "loci.bed",
             "phenotype": data / "phenotype.tsv", **more}  # fmt: skip
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def values(root, stage):
    return yaml.safe_load((root / f"params/own/{stage}.yaml").read_text())


@pytest.mark.parametrize("model", ["params/demo/model", pytest.param(MISTRAL, marks=pytest.mark.skipif(
    not MISTRAL.is_dir(), reason=f"NO REAL MODEL at {MISTRAL}: set DATA_DIR to the folder of shared data"))])
def test_what_is_written_passes_the_check(root, model, capsys):
    assert new.main(["own", *options(root, model, people=root.parent / "data/people.tsv", exons=root.parent / "data/exons.bed")]) == 0
    assert "study own: nothing wrong" in capsys.readouterr().out
    assert {p.stem for p in (root / "params/own").glob("*.yaml")} == {p.stem for p in (root / "notebooks").glob("*.py")}
    door, first, third = (values(root, stage) for stage in ("00_dna", "01_extraction", "03_sae_training"))
    n = 4 if model == MISTRAL else 6
    assert first["sites"] == [f"resid_post.{k}" for k in range(n)] and third["sae_site"] == f"resid_post.{n - 2}"
    assert values(root, EXPLAINED)["patch_site"] == f"resid_post.{n - 1}"
    held_out = door["validation_contigs"] + door["test_contigs"]
    assert len(held_out) == len(set(held_out)) and set(held_out) < set(own_data.CONTIGS)
    assert door["simulate"] is False and door["variant_path"] == door["label_column"] == ""


def test_every_choice_has_its_reason(root):
    assert new.main(["own", *options(root)]) == 0
    for file in (root / "params/own").glob("*.yaml"):
        for line in file.read_text().splitlines():
            plain = line.startswith(("#", "seed:")) or re.match(r"\w+_path: [^\"]", line)  # a path is the user's
            assert plain or "   # " in line, f"{file.name}: {line}"


def test_the_window_is_the_largest_that_fits(root):
    """The demo's model reads 290 tokens, a base each and two around them, so 280 fit and 290, the next tens, do not."""
    new.main(["own", *options(root)])
    window_bp = values(root, "00_dna")["window_bp"]
    assert window_bp % 10 == 0 and window_bp <= 288
    file = root / "params/own/00_dna.yaml"
    file.write_text(file.read_text().replace(f"window_bp: {window_bp}", f"window_bp: {window_bp + 10}"))
    assert [fault for fault in whole.check("own").faults if fault.change.startswith("window_bp ")]


def test_a_study_that_is_there_is_not_overwritten(root, capsys):
    (root / "params/own").mkdir()
    (root / "params/own/note.txt").write_text("mine")
    assert new.main(["own", *options(root)]) == 2
    assert "params/own is there already" in capsys.readouterr().err
    assert [p.name for p in (root / "params/own").iterdir()] == ["note.txt"]


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".x", "a b; touch y", "true", "010", "1e3"])
def test_a_name_that_is_no_name_is_refused(root, name, capsys):
    before = sorted(p.name for p in root.rglob("*"))
    try:
        status = new.main([name, *options(root)])
    except SystemExit as error:
        status = error.code
    assert status == 2 and sorted(p.name for p in root.rglob("*")) == before


def test_what_is_wrong_with_every_file_is_said_at_once(root, capsys):
    data = root.parent / "data"
    (data / "phenotype.tsv").write_text("sample\tphenotype\nP00\t2\n")
    assert new.main(["own", *options(root, model="no/model", phenotype=data / "phenotype.tsv")]) == 2
    said = capsys.readouterr().err
    assert "no/model" in said and "phenotype '2', wanted 0 or 1" in said
    assert not (root / "params/own").exists() and not list((root / "params").glob(".*"))


def test_options_come_from_the_environment(root, monkeypatch):
    given = options(root)
    for name, value in zip(given[::2], given[1::2]):
        monkeypatch.setenv(name.removeprefix("--").upper(), value)
    monkeypatch.setenv("STUDY", "own")
    assert new.main([]) == 0
    assert values(root, "00_dna")["phenotype_path"] == str(root.parent / "data/phenotype.tsv")


def test_a_copied_folder_needs_no_other_name(root):
    new.main(["own", *options(root)])
    shutil.copytree(root / "params/own", root / "params/copy")
    assert whole.check("copy").faults == []


def test_paths_inside_the_project_and_the_data_folder_are_written_short(root, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(root.parent / "data"))
    monkeypatch.chdir(root)
    assert new._as_param("params/demo/model") == "params/demo/model"
    assert new._as_param(str(root / "x.bed")) == "x.bed"
    assert new._as_param(str(root.parent / "data/genome.fa")) == "$DATA_DIR/genome.fa"
    assert new._as_param("/elsewhere/x.fa") == "/elsewhere/x.fa"
    monkeypatch.delenv("DATA_DIR")
    assert new._as_param(str(root.parent / "shared/data/genome.fa")) == "$DATA_DIR/genome.fa"


def test_splits_are_by_bases_smallest_first():
    """Of 100 bases: test takes 5 + 7 + 8 = 20, validation 10, training the rest."""
    bp = pd.Series({"c1": 40, "c2": 30, "c3": 10, "c4": 8, "c5": 7, "c6": 5})
    assert choices.split(bp) == (["c3"], ["c6", "c5", "c4"])
    assert choices.split(pd.Series({"a": 1, "b": 1, "c": 98})) == (["b"], ["a"])
    with pytest.raises(ValueError, match="background on 2 chromosomes .*wanted three or more"):
        choices.split(pd.Series({"a": 1, "b": 1}))


def test_background_is_known_sequence_outside_the_loci(root):
    genome = reference.Reference(root.parent / "data/genome.fa")
    loci = pd.DataFrame([row[:3] for row in own_data.LOCI], columns=["contig", "start", "end"])
    drawn = background.draw(genome, loci, 100, 60, seed=0)
    assert drawn.equals(background.draw(genome, loci, 100, 60, seed=0))
    for row in drawn.itertuples():
        near = loci[loci.contig == row.contig]
        assert not ((near.start < row.end) & (near.end > row.start)).any()
        assert (row.end - row.start) % 100 == 0 and "N" not in genome.fetch(row.contig, row.start, row.end)
    assert n_windows(drawn) == dict.fromkeys(own_data.CONTIGS, 10)
    assert n_windows(background.draw(genome, loci, 100, 18, seed=0)) == dict.fromkeys(own_data.CONTIGS, 3)  # less than a stretch
    assert io.ROOT == root


def n_windows(drawn):
    return ((drawn.end - drawn.start) // 100).groupby(drawn.contig).sum().to_dict()


def islands(path, n_pieces, known_bp, every):
    """chr1 of so many pieces of 10,000 bases, N but for the start of every so-many-th; chr2 and chr3 of N alone."""
    known = "ACGTTGCAAC" * (known_bp // 10)
    pieces = [(known * (i % every == 0)).ljust(10_000, "N") for i in range(n_pieces)]
    path.write_text(f">chr1\n{''.join(pieces)}\n>chr2\n{'N' * 20_000}\n>chr3\n{'N' * 20_000}\n")
    pysam.faidx(str(path))
    return reference.Reference(path)


NOWHERE = pd.DataFrame({"contig": ["chr2"], "start": [0], "end": [10]})


@pytest.mark.parametrize("n_pieces, known_bp, every, share, looked_at", [
    (60, 5_000, 1, 300, 30),    # 50 windows a piece, at first one stretch of 10 from each: 30 pieces
    (60, 5_000, 1, 303, 31),    # the last stretch is cut
    (60, 10_000, 3, 1_000, 60),  # 20 pieces of 100, at first 40 from each, 800; then the rest
    (100, 5_000, 1, 900, 32),   # at first 20 from each of 32 pieces, 640, and they have 1,600: no more are looked at
    (60, 600, 1, 500, 60),      # 6 a piece, 360 in all: every piece
    (60, 90, 1, 500, 60),       # none
])
def test_a_contig_gives_its_share_wherever_it_has_it(tmp_path, monkeypatch, n_pieces, known_bp, every, share, looked_at):
    """Exactly the share where the contig has so much, all that it has where not; and it is not read whole without need."""
    monkeypatch.setattr(background, "PIECE_BP", 10_000)
    genome, seen = islands(tmp_path / "g.fa", n_pieces, known_bp, every), []
    letters = genome.letters
    monkeypatch.setattr(genome, "letters", lambda *place: seen.append(place) or letters(*place))
    wanted = min(share, n_pieces // every * (known_bp // 100))
    if not wanted:
        with pytest.raises(ValueError, match="no 100 known bases in a row"):
            background.draw(genome, NOWHERE, 100, 3 * share, seed=0)
        return
    drawn = background.draw(genome, NOWHERE, 100, 3 * share, seed=0)
    assert n_windows(drawn) == {"chr1": wanted} and "N" not in "".join(genome.fetch(*row) for row in drawn.itertuples(index=False))
    assert (drawn.end[:-1].to_numpy() <= drawn.start[1:].to_numpy()).all()
    assert len({place for place in seen if place[0] == "chr1" and place[2] - place[1] == 10_000}) == looked_at


def test_the_reason_of_a_ceiling_gives_its_value(root):
    """0.75 as published and 0.05 above it."""
    new.main(["own", *options(root)])
    line = next(x for x in (root / "params/own/00_dna.yaml").read_text().splitlines() if x.startswith("germline_limits"))
    assert line.startswith("germline_limits: [0.8]   # ") and "0.75" in line and "0.05" in line


def test_a_region_under_two_names_is_refused(root, capsys):
    data = root.parent / "data"
    (data / "loci.bed").write_text("chr1\t200\t800\tA\nchr2\t400\t1000\tB\nchr1\t200\t800\tagain\n")
    assert new.main(["own", *options(root)]) == 2
    assert "locus 'again', chr1:200-800: its chr1:200-" in capsys.readouterr().err
    assert not (root / "params/own").exists()


def test_background_is_found_on_a_contig_that_is_mostly_n(tmp_path):
    path = tmp_path / "gaps.fa"
    known = "ACGTTGCAAC" * 100
    text = "N" * 2_000_000 + known + "N" * 500_000 + known
    path.write_text("".join(f">chr{i}\n{text}\n" for i in (1, 2, 3)))
    pysam.faidx(str(path))
    loci = pd.DataFrame({"contig": ["chr1"], "start": [2_000_000], "end": [2_001_000]})
    drawn = background.draw(reference.Reference(path), loci, 100, 60, seed=0)
    assert drawn.start.dtype == int
    assert drawn.groupby("contig").size().to_dict() == {"chr1": 1, "chr2": 2, "chr3": 2}
