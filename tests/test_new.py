"""Params written for a user's own data: they pass the check, and every choice has its reason."""

import os
import re
import shutil
from pathlib import Path

import own_data
import pandas as pd
import pysam
import pytest
import yaml

from lib import check, io, new, params
from lib.genome import background, reference

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
    not MISTRAL.is_dir(), reason="the real model is not in DATA_DIR"))])
def test_what_is_written_passes_the_check(root, model, capsys):
    assert new.main(["own", *options(root, model, people=root.parent / "data/people.tsv", exons=root.parent / "data/exons.bed")]) == 0
    assert "study own: nothing wrong" in capsys.readouterr().out
    assert {p.stem for p in (root / "params/own").glob("*.yaml")} == set(params.STAGES)
    first, third = values(root, "01_extraction"), values(root, "03_sae_training")
    assert first["sites"] == [f"resid_post.{k}" for k in range(4)] and third["sae_site"] == "resid_post.2"
    assert values(root, "05_validation")["patch_site"] == "resid_post.3"
    held_out = third["validation_contigs"] + third["test_contigs"]
    assert len(held_out) == len(set(held_out)) and set(held_out) < set(own_data.CONTIGS)
    assert first["window_bp"] == values(root, "06_variants")["window_bp"]


def test_every_choice_has_its_reason(root):
    assert new.main(["own", *options(root)]) == 0
    for file in (root / "params/own").glob("*.yaml"):
        for line in file.read_text().splitlines():
            plain = line.startswith(("#", "seed:")) or re.match(r"\w+_path: [^\"]", line)  # a path is the user's
            assert plain or "   # " in line, f"{file.name}: {line}"


def test_the_window_is_the_largest_that_fits(root):
    """The demo's model reads 160 tokens, a base each and two around them, so 158 fit and 160, the next tens, do not."""
    new.main(["own", *options(root)])
    window_bp = values(root, "01_extraction")["window_bp"]
    assert window_bp % 10 == 0 and window_bp <= 160
    file = root / "params/own/01_extraction.yaml"
    file.write_text(file.read_text().replace(f"window_bp: {window_bp}", f"window_bp: {window_bp + 10}"))
    assert [fault for fault in check.check("own").faults if fault.change.startswith("window_bp ")]


def test_a_study_that_is_there_is_not_overwritten(root, capsys):
    (root / "params/own").mkdir()
    (root / "params/own/note.txt").write_text("mine")
    assert new.main(["own", *options(root)]) == 2
    assert "params/own is there already" in capsys.readouterr().err
    assert [p.name for p in (root / "params/own").iterdir()] == ["note.txt"]


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".x", "a b; touch y"])
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
    assert values(root, "02_layer_hunting")["phenotype_path"] == str(root.parent / "data/phenotype.tsv")


def test_a_copied_folder_needs_no_other_name(root):
    new.main(["own", *options(root)])
    shutil.copytree(root / "params/own", root / "params/copy")
    assert check.check("copy").faults == []


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
    assert new.split(bp) == (["c3"], ["c6", "c5", "c4"])
    assert new.split(pd.Series({"a": 1, "b": 1, "c": 98})) == (["b"], ["a"])
    with pytest.raises(ValueError, match="background on 2 chromosomes .*wanted three or more"):
        new.split(pd.Series({"a": 1, "b": 1}))


def test_background_is_known_sequence_outside_the_loci(root):
    genome = reference.Reference(root.parent / "data/genome.fa")
    loci = pd.DataFrame([row[:3] for row in own_data.LOCI], columns=["contig", "start", "end"])
    drawn = background.draw(genome, loci, 100, 60, seed=0)
    assert drawn.equals(background.draw(genome, loci, 100, 60, seed=0))
    for row in drawn.itertuples():
        near = loci[loci.contig == row.contig]
        assert not ((near.start < row.end) & (near.end > row.start)).any()
        assert (row.end - row.start) % 100 == 0 and "N" not in genome.fetch(row.contig, row.start, row.end)
    windows = ((drawn.end - drawn.start) // 100).groupby(drawn.contig).sum()
    assert set(windows.index) == set(own_data.CONTIGS) and windows.min() >= 10
    assert io.ROOT == root


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
