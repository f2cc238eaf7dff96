"""The check before a run: wrong values and broken files are each named with what to change; good studies pass."""

import gzip
import importlib.util
import random
import re
import shutil
import string
import sys
from pathlib import Path

import pysam
import pytest
import torch
import yaml

import lib
from lib.check import every_line, whole
from lib.check.study import EXPLAINED, RULE, SECOND
from lib.dna import new
from lib.dna.checks import data as data_checks
from lib.run import notebook
from lib.stage import io, params, ranges
from tests import helpers, own_data
from tests.projects import write_pair
from tests.zoo import ZOO

#: where a value is, and the text that stands there in YAML: all wrong for the study of `own_data`
WRONG = [
    ("00_dna", "simulate", "maybe"), ("00_dna", "simulate", "1"), ("00_dna", "window_bp", "100000"),
    ("00_dna", "window_bp", "-128"), ("00_dna", "window_bp", "010"), ("00_dna", "window_bp", "1:30"),
    ("00_dna", "window_bp", "128.5"), ("00_dna", "overlap_bp", "100000"), ("01_extraction", "token_budget", "-1"),
    ("01_extraction", "token_budget", "0"), ("01_extraction", "audit_share", "-1.0"), ("01_extraction", "audit_share", ".nan"),
    ("01_extraction", "sites", "[]"), ("01_extraction", "sites", "[resid_post.1, resid_post.1, resid_post.3]"),
    ("01_extraction", "sites", "[resid_post.9, resid_post.2, resid_post.3]"), ("01_extraction", "frames", "[1]"),
    ("00_dna", "genome_path", "/data/genome #1.fa"), ("00_dna", "genome_path", "nowhere.fa"),
    ("00_dna", "vcf_path", '""'), ("00_dna", "vcf_path", "no"), ("00_dna", "loci_path", "2024-01-01"),
    ("00_dna", "model_path", "params/demo"), ("00_dna", "background_path", "simulated:background.bed"),
    ("01_extraction", "seed", "-1"), ("01_extraction", "seed", "0x1F"), ("00_dna", "max_background_windows", "-5"),
    ("01_extraction", "subset_units", "1e3"),
    ("02_layer_hunting", "n_folds", "0"), ("02_layer_hunting", "n_folds", "30"), ("02_layer_hunting", "n_boot", "0"),
    ("02_layer_hunting", "C_grid", "[-1.0]"), ("02_layer_hunting", "C_grid", "[]"), ("00_dna", "kmer_k", "40"),
    ("00_dna", "case_share", "1.0"), ("00_dna", "n_components", "39"), ("02_layer_hunting", "n_bins", "1"),
    ("00_dna", "arms", "[a/b]"), ("00_dna", "arm_kinds", "[dominant]"),
    ("00_dna", "effect_scales", "[1.0, 3.0]"), ("00_dna", "germline_limits", "[0.0]"),
    ("00_dna", "match_published", "true"), ("02_layer_hunting", "matched_repeats", "200"),
    ("00_dna", "genetic_path", "simulated:truth/liability.csv"),
    ("03_sae_training", "steps", "0"), ("03_sae_training", "run_sparsities", "[16.0]"), ("03_sae_training", "device", "gpu"),
    pytest.param("03_sae_training", "device", "mps", marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="a Mac has it")),
    ("01_extraction", "sites", "every"), ("01_extraction", "sites", "top5"), ("01_extraction", "sites", "[top5]"),
    ("01_extraction", "sites", "[all, resid_post.2, resid_post.3]"), ("03_sae_training", "layer_sites", "best"),
    ("03_sae_training", "layer_sites", "[top5, resid_post.2]"), ("03_sae_training", "run_architectures", "topk"),
    ("03_sae_training", "sae_site", "all"), ("03_sae_training", "sae_site", "resid_post.7"),
    ("03_sae_training", "sae_site", "mlp_out.2"), ("03_sae_training", "layer_sites", "[resid_post.2, resid_post.8]"),
    ("00_dna", "validation_contigs", "[chr77]"), ("03_sae_training", "batch", "900000"),
    ("03_sae_training", "lr", "-0.1"), ("03_sae_training", "log_to", "mlflow"),
    ("03_sae_training", "run_architectures", "[topk, topk, topk, topk, topk, topk, topk, topk, topk9]"),
    ("00_dna", "test_contigs", "[chr6, chr6]"), ("00_dna", "fimo_p", "0.0"), ("04_annotation", "f1_floor", "1.5"),
    ("00_dna", "exon_path", "exons.bed"), ("04_annotation", "n_shifts", "true"),
    (EXPLAINED, "patch_site", "resid_post.0"), (RULE, "least_moved", "500"), (EXPLAINED, "n_checked", "5000"),
    (EXPLAINED, "ism_span", "4000"), (SECOND, "second_site", "resid_post.1"), ("00_dna", "hit_p", "2.0"),
    ("00_dna", "test_contigs", "[chr77]"), ("08_dna", "radius_bp", "0"), ("08_dna", "radius_bp", "2500"),
    ("08_dna", "split_exons", "1"), ("00_dna", "model_path", "params/demo/other"),
    ("00_dna", "external_phenotype_path", "params/demo/model"),
    ("09_paper_figures", "seed", "first"), ("00_dna", "has_people", "false"),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with one study of its own data, which has no fault."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("made")
        data = own_data.write(folder / "data")
        root = own_data.project(folder / "project", patch)
        given = new.Given("params/demo/model", *(str(data / name) for name in ("genome.fa", "cohort.vcf.gz", "loci.bed", "phenotype.tsv")))
        new.new("own", given)
    return root


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A copy of that project, taken for the real one; its data are a copy too."""
    shutil.copytree(made.parent / "data", tmp_path / "data")
    root = own_data.project(tmp_path / "project", monkeypatch)
    shutil.copytree(made / "params/own", root / "params/own")
    for file in (root / "params/own").glob("*.yaml"):
        file.write_text(file.read_text().replace(str(made.parent / "data"), str(tmp_path / "data")))
    return root


def put(root, stage, name, text):
    """Give a parameter another text in its params file."""
    file = root / f"params/own/{stage}.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}:")]
    file.write_text("\n".join([*lines, f"{name}: {text}", ""]))


def faults_of(name):
    return [fault for fault in whole.check("own").faults if fault.change.startswith(f"{name} ")]


@pytest.mark.parametrize("stage, name, text", WRONG)
def test_a_wrong_value_is_named(root, stage, name, text):
    """File, line, found, wanted and parameter; and the first stage refuses to start."""
    put(root, stage, name, text)
    faults = faults_of(name)
    assert any(f"params/own/{stage}.yaml, line" in fault.change for fault in faults)
    assert all(fault.actual and fault.wanted and fault.file for fault in faults)
    with pytest.raises(params.Refused, match=name):
        whole.refuse("own")


def test_a_good_study_has_no_fault(root):
    of = whole.check("own")
    assert of.faults == [] and any(note.startswith("estimate: ") for note in of.notes)
    whole.refuse("own")


@pytest.mark.parametrize("sites", ["all", "[all]", "[resid_post.1, resid_post.4, resid_post.5]"])
@pytest.mark.parametrize("layers", ["all", "[all]", "top5", "[top5]", "[]"])
def test_sites_may_be_said_by_a_word(root, sites, layers):
    put(root, "01_extraction", "sites", sites)
    put(root, "03_sae_training", "layer_sites", layers)
    assert whole.check("own").faults == []


def test_what_a_word_stands_for_is_still_asked(root):
    """Behind `all` a site has to be a block of the model's, and costs what it costs in a list; `top5` needs the stage that ranks layers."""
    every = "[resid_post.0, resid_post.1, resid_post.2, resid_post.3, resid_post.4, resid_post.5]"
    put(root, "01_extraction", "sites", every)
    put(root, "03_sae_training", "layer_sites", every)
    listed = [note for note in whole.check("own").notes if note.startswith("estimate: ")]
    put(root, "01_extraction", "sites", "all")
    put(root, "03_sae_training", "layer_sites", "all")
    assert listed and [note for note in whole.check("own").notes if note.startswith("estimate: ")] == listed
    put(root, "03_sae_training", "sae_site", "mlp_out.2")
    assert 'stores: resid_post.k of every block, or "best"' in " ".join(fault.wanted for fault in faults_of("sae_site"))
    put(root, "03_sae_training", "sae_site", "resid_post.9")
    assert [fault.wanted.split(":")[0] for fault in faults_of("sae_site")] == ["one of the model's"]
    put(root, "03_sae_training", "sae_site", "resid_post.2")
    put(root, "03_sae_training", "layer_sites", "top5")
    (root / "params/own/02_layer_hunting.yaml").unlink()
    assert [fault.actual for fault in faults_of("layer_sites")] == ["top5, which 02_layer_hunting ranks, without 02_layer_hunting.yaml"]


def test_all_faults_come_at_once(root, capsys):
    for stage, name, text in (("00_dna", "window_bp", "010"), ("03_sae_training", "steps", "0"), (EXPLAINED, "patch_site", "x")):
        put(root, stage, name, text)
    (root.parent / "data/phenotype.tsv").write_text("sample\tphenotype\n" + "".join(f"{p}\t2\n" for p in own_data.PEOPLE[:3]))
    assert whole.main(["own"]) == 1
    said = capsys.readouterr().out
    assert all(name in said for name in ("window_bp (params", "steps (params", "patch_site (params", "phenotype_path (params"))
    assert [int(n) for n in re.findall(r"phenotype.tsv, line (\d)", said)] == [2, 3, 4]  # every faulty line, each by its number


def test_the_front_door_does_not_start_before_every_stage_is_right(root, capsys):
    put(root, "03_sae_training", "steps", "0")
    assert notebook.main(["own", "00_dna"]) == 2
    assert "steps (params/own/03_sae_training.yaml, line" in capsys.readouterr().err
    assert not list(root.glob("outputs/own/*/manifest.json"))


@pytest.mark.parametrize("text, actual, wanted", [
    ("window_bp: 128\nwindow_bp: 64\n", "window_bp there twice, first in line 1", "one line a name"),
    ("window: 128\n", "window no parameter of", "window_bp, if that was meant; known: study, "),
    ("window_bp:\t128\n", "not YAML", "spaces, not tabs"),
    ("arms: &a [x]\nlayer: *a\n", "an anchor, &a", "the value without it"),
    ("arms: [[x]]\n", "a list or mapping inside another", "one list"),
    ("arms: {a: 1}\n", "a mapping", "a list"),
    ("window_bp: !!int 3\n", "a tag", "without it"),
    ("window_bp:\n", "None (NoneType)", "int like the default"),
    ("window_bp: 1_000\n", "1_000, which YAML reads as 1000", "plain decimal"),
    ("- window_bp\n", "a list", "lines of `name: value`"),
    ("[" * 3000, "a list or mapping inside another", "one list"),
])
def test_yaml_that_means_other_than_it_looks(root, text, actual, wanted):
    (root / "params/own/00_dna.yaml").write_text(text)
    faults = [fault for fault in whole.check("own").faults if fault.file == "params/own/00_dna.yaml"]
    assert any(actual in fault.actual and wanted in fault.wanted and fault.record.startswith("line ") for fault in faults)


def test_text_that_is_not_utf_8(root):
    (root / "params/own/00_dna.yaml").write_bytes(b"seed: 0\nmodel_path: \xff\xfe\n")
    assert ("line 2", "a text file in UTF-8") in [(fault.record, fault.wanted) for fault in whole.check("own").faults]


def test_a_good_file_of_yaml_keeps_its_values(root):
    put(root, "01_extraction", "token_budget", "512   # a comment")
    put(root, "00_dna", "model_path", '"params/demo/model" # quoted')
    assert whole.check("own").faults == []


@pytest.mark.parametrize("file, text, name, record", [
    ("loci.bed", "chr1\t500\t200\tA\n", "loci_path", "line 1"),
    ("loci.bed", "chr9\t5\t200\tA\n", "loci_path", "line 1"),
    ("loci.bed", "", "loci_path", ""),
    ("genome.fa.fai", None, "genome_path", ""),
    ("cohort.vcf.gz.tbi", None, "vcf_path", ""),
    ("phenotype.tsv", "sample\tphenotype\n" + "".join(f"{p}\t1\n" for p in own_data.PEOPLE), "phenotype_path", ""),
    ("phenotype.tsv", "person\tphenotype\nP00\t1\n", "phenotype_path", ""),
])
def test_a_broken_file_is_named_with_its_parameter(root, file, text, name, record):
    path = root.parent / "data" / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    faults = faults_of(name)
    assert faults and any(fault.record == record for fault in faults)


def test_faulty_lines_of_a_bed_file_are_all_named(root):
    """Lines 2 and 4 are wrong; the lines between keep their numbers."""
    (root.parent / "data/loci.bed").write_text("chr1\t200\t800\tA\nchr1\t9\t3\tB\nchr2\t400\t1000\tC\nchrQ\t1\t2\tD\n")
    assert [fault.record for fault in faults_of("loci_path")] == ["line 2", "line 4"]


@pytest.mark.parametrize("text, records", [
    ("chr1\t200\t800\tA\x0cx\nchr1\t9\t3\tB\x85\u2028\nchr2\t400\t1000\tC\nchr4\t5\t2\tD\n", ["line 2", "line 4"]),  # ends of no line
    (f"chr1\t9\t3\tB\n{'#' * every_line.LARGE}\nchr4\t5\t2\tD\n", ["line 1"]),  # too large to be read again
])
@pytest.mark.parametrize("name", ["loci.bed", "loci.bed.gz", "loci.dat"])
def test_faulty_lines_are_counted_as_the_readers_count_them(root, text, records, name):
    """The name does not tell whether a file is gzip."""
    path = root.parent / "data" / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith((".gz", ".dat")) else text.encode())
    put(root, "00_dna", "loci_path", str(path))
    faults = faults_of("loci_path")
    assert [fault.record for fault in faults] == records
    assert ("the lines after it were not looked at" in faults[0].wanted + faults[0].actual) == (len(records) == 1)


def test_one_region_under_two_names(root):
    """Both files would give the model a window twice: said with both names, as 01 says it."""
    data = root.parent / "data"
    (data / "loci.bed").write_text("chr1\t200\t800\tA\nchr2\t400\t1000\tB\nchr1\t200\t800\tagain\n")
    assert any("locus 'again', chr1:200-800: its chr1:200-" in fault.actual and "part of locus 'A', chr1:200-800" in fault.actual
               for fault in faults_of("loci_path"))
    (data / "loci.bed").write_text("chr1\t200\t800\tA\n")
    (data / "background.bed").write_text("".join(f"chr{i}\t1000\t3000\tr{i}\n" for i in (1, 2, 3)) + "chr2\t1000\t3000\ttwin\n")
    put(root, "00_dna", "background_path", str(data / "background.bed"))
    assert any(
        "background region 'twin', chr2:1000-3000" in fault.actual and "'r2'" in fault.actual for fault in faults_of("background_path")
    )


def spoil(path, line, old, new):
    """Put other letters of the same number into a line of a FASTA file, counted from 0."""
    lines = path.read_text().split("\n")
    lines[line] = old(lines[line]) if callable(old) else lines[line].replace(old, new, 1)
    path.write_text("\n".join(lines))


def test_a_letter_that_is_no_base_in_the_background(root):
    """Line 12 of the file is chr6, which has no locus."""
    spoil(root.parent / "data/genome.fa", 11, lambda text: "J" * len(text), "")
    faults = whole.check("own").faults
    assert any(fault.change.startswith("genome_path") and "letter 'J'" in fault.actual for fault in faults)
    with pytest.raises(params.Refused, match="letter 'J'"):
        whole.refuse("own")


def test_a_check_that_falls_hides_no_other(root, monkeypatch):
    """A refusal that no check expected is a fault; people and sites after it are looked at all the same."""
    def falls(study, data):
        raise OSError("disk gone")

    monkeypatch.setattr(data_checks, "genome", falls)
    put(root, "02_layer_hunting", "n_folds", "30")
    faults = whole.check("own").faults
    assert any(fault.actual == "disk gone" for fault in faults) and any(fault.change.startswith("n_folds ") for fault in faults)


def test_a_model_of_text_is_named(root, tmp_path):
    """A vocabulary of bytes reads ACGT too; `make check-model` calls it text, and so does the check."""
    put(root, "00_dna", "model_path", str(ZOO["gpt2_text"].save(tmp_path / "text", seed=0)))
    assert [fault.actual for fault in faults_of("model_path") if "model of" in fault.wanted] == ["a model of text, by its tokenizer"]


def test_a_second_cohort_of_the_same_people(root):
    put(root, "00_dna", "external_vcf_path", str(root.parent / "data/cohort.vcf.gz"))
    assert "40 of its 40 samples are in vcf_path too" in [fault.actual for fault in faults_of("external_vcf_path")]


def test_a_phenotype_of_a_second_cohort_that_is_not_there(root):
    put(root, "00_dna", "external_phenotype_path", str(root.parent / "data/phenotype.tsv"))
    assert faults_of("external_phenotype_path")


def test_genetic_scores_that_are_no_numbers(root):
    path = root.parent / "data/genetic.csv"
    path.write_text("sample,genetic\n" + "".join(f"{p},{'nan' if i in (4, 7) else 0.5}\n" for i, p in enumerate(own_data.PEOPLE)))
    put(root, "00_dna", "genetic_path", str(path))
    assert [fault.record for fault in faults_of("genetic_path")] == ["line 6", "line 9"]


def test_few_families_set_the_folds(root):
    (root.parent / "data/people.tsv").write_text("sample\tfamily\n" + "".join(f"{p}\tF{i % 3}\n" for i, p in enumerate(own_data.PEOPLE)))
    put(root, "00_dna", "people_path", str(root.parent / "data/people.tsv"))
    assert [fault.wanted for fault in faults_of("n_folds")] == ["at most 3: there are 3 families"]


def test_all_cases_in_one_family_cannot_be_resampled(root):
    rows = [row.split("\t") for row in (root.parent / "data/phenotype.tsv").read_text().split("\n")[1:-1]]
    family = {person: "F0" if label == "1" else person for person, label in rows}
    (root.parent / "data/people.tsv").write_text("sample\tfamily\n" + "".join(f"{p}\t{f}\n" for p, f in family.items()))
    put(root, "00_dna", "people_path", str(root.parent / "data/people.tsv"))
    assert [(fault.actual, fault.wanted) for fault in faults_of("people_path")] == [
        ("all cases in one family", "two families of each class or more, to resample")]


def test_a_mistyped_genome_is_one_fault(root):
    """It is said once."""
    good = whole.check("own").values["00_dna"]["genome_path"]
    put(root, "00_dna", "genome_path", good.replace("genome.fa", "genom.fa"))
    assert [(fault.change.partition(" ")[0], fault.change.split("/")[-1][:6]) for fault in whole.check("own").faults] == [
        ("genome_path", "00_dna")]


def test_chromosomes_to_validate_and_to_test_on_are_different_ones(root):
    test = whole.check("own").values["00_dna"]["test_contigs"]
    put(root, "00_dna", "validation_contigs", f"[{test[0]}]")
    assert f"{test[0]}, also in test_contigs" in [fault.actual for fault in faults_of("validation_contigs")]


def test_exons_to_split_variants_by_have_to_be_there(root):
    """An error of 08, hours later, unless it is said here."""
    (root.parent / "data/variants.csv").write_text("contig,pos,ref,alt,gene,label\n")
    put(root, "08_dna", "split_exons", "true")
    assert not faults_of("split_exons")  # there are no variants
    put(root, "00_dna", "variant_path", str(root.parent / "data/variants.csv"))
    assert [(fault.actual, fault.wanted) for fault in faults_of("split_exons")] == [
        ("true, without exons", "false, or exon_path of 00_dna")]


def test_domains_need_exons_to_lie_on(root):
    (root.parent / "data/domains.csv").write_text("gene,domain,first,last\nG,d,9,5\n")
    put(root, "00_dna", "domain_path", str(root.parent / "data/domains.csv"))
    assert [fault.actual for fault in faults_of("exon_path")] == ["no exons"]


# Stages and kinds ----------------------------------------------------------------------------------------


def folder_faults():
    return [(fault.actual, fault.wanted) for fault in whole.check("own").faults if fault.file == "params/own"]


def test_a_study_without_a_front_door_is_told_what_it_has(root):
    (root / "params/own/00_dna.yaml").unlink()
    faults = folder_faults()
    assert len(faults) == 1 and faults[0][0].startswith("01_extraction.yaml, 02_layer_hunting.yaml, ") and "00_<kind>.yaml" in faults[0][1]
    with pytest.raises(params.Refused, match="00_<kind>.yaml"):
        whole.refuse("own")


def test_a_study_with_two_front_doors_is_told_both(root, capsys):
    shutil.copy(root / "params/own/00_dna.yaml", root / "params/own/00_toy.yaml")
    assert folder_faults() == [("00_dna.yaml and 00_toy.yaml, both of number 00", "one of them: a study has one stage of a number")]
    assert whole.main(["own"]) == 1 and "00_dna.yaml and 00_toy.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("gone, asking", [
    ("01_extraction", ["02", "03", "04", "05", "08", "09"]), ("02_layer_hunting", ["05", "08", "09"]),
    ("03_sae_training", ["04", "05", "08", "09"]), ("04_annotation", ["05", "08", "09"]),
    ("05_validation", ["06", "07", "08", "09"]), ("06_explanations", ["09"]), ("08_dna", []), ("09_paper_figures", []),
])
def test_a_stage_without_one_that_it_needs_is_named(root, gone, asking):
    (root / f"params/own/{gone}.yaml").unlink()
    assert {what[:2] for what, wanted in folder_faults() if wanted.startswith(f"{gone[:2]}_<name>.yaml")} == set(asking)


def test_the_best_site_is_known_only_where_layers_are_hunted(root):
    for stage in ("02_layer_hunting", RULE, EXPLAINED, SECOND, "08_dna", "09_paper_figures"):
        (root / f"params/own/{stage}.yaml").unlink(missing_ok=True)
    assert whole.check("own").faults == []
    put(root, "03_sae_training", "sae_site", "best")
    assert ["best" in fault.actual and "02_layer_hunting" in fault.actual for fault in faults_of("sae_site")] == [True]


def of_a_kind(root, monkeypatch, source):
    """The study with a front door of another kind, lib.toys; source: of its lib/toys/check.py, None for none."""
    notebook = root / "notebooks"
    real = notebook.resolve()
    notebook.unlink()
    notebook.mkdir()
    for file in real.glob("0[1-9]*"):
        (notebook / file.name).symlink_to(file)
    write_pair(root, "00_toys", '# %% tags=["parameters"]\nstudy = "own"\nmodel_path = "params/demo/model"\nletters_path = "" \n')
    for stage in ("00_dna", "08_dna"):
        (root / f"params/own/{stage}.yaml").unlink()
    (root / "params/own/00_toys.yaml").write_text("study: own\n")
    if source is not None:
        package = root / "kinds/toys"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "check.py").write_text(source)
        monkeypatch.setattr(lib, "__path__", [*lib.__path__, str(root / "kinds")])
        for name in ("lib.toys", "lib.toys.check"):
            monkeypatch.setitem(sys.modules, name, None)  # so that what is imported is taken back
            del sys.modules[name]


def test_the_check_of_the_kind_is_that_of_the_front_doors_name(root, monkeypatch):
    """What every study may get wrong is looked for too, and a kind has its own word for the rest."""
    of_a_kind(root, monkeypatch, "def check(study):\n    study.fault(study.door, 'letters_path', 'three', 'four')\n")
    put(root, "03_sae_training", "layer_sites", "[resid_post.8]")
    assert [fault.change.partition(" ")[0] for fault in whole.check("own").faults] == ["layer_sites", "layer_sites", "letters_path"]
    assert whole.check("own").faults[-1].change.startswith("letters_path (params/own/00_toys.yaml")


def test_a_kind_without_a_check_is_checked_for_what_every_study_has(root, monkeypatch):
    of_a_kind(root, monkeypatch, None)
    assert whole.check("own").faults == []
    put(root, "00_toys", "model_path", "params/demo")
    assert faults_of("model_path") and faults_of("model_path")[0].change == "model_path (params/own/00_toys.yaml, line 2)"
    put(root, "00_toys", "letters_path", "simulated:letters")
    assert [fault.wanted for fault in faults_of("letters_path")] == ['a file of yours, or "" for none: 00_toys simulates none']


@pytest.mark.parametrize("door", ["00_dna", "00_dna2", "00_no-name", "00_x.y", "00_corpus", "00_dna.checks"])
def test_only_a_kind_of_lib_has_a_check(door):
    assert (whole.checker(door) is not None) == (door == "00_dna")


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_package_to_follow_the_training_with_is_there(root, name):
    """Neither is a dependency of ours; where one is installed it is no fault."""
    put(root, "03_sae_training", "log_to", name)
    assert bool(faults_of("log_to")) == (importlib.util.find_spec(name) is None)


@pytest.mark.parametrize("change", ["filtered", "elsewhere", "one alike"])
def test_a_cohort_without_a_variant_that_varies_is_named_by_its_file(root, change):
    vcf = whole.check("own").values["00_dna"]["vcf_path"]
    lines = pysam.BGZFile(vcf).read().decode().splitlines()
    head, records = [x for x in lines if x.startswith("#")], [x.split("\t") for x in lines if not x.startswith("#")]
    if change == "filtered":
        head.insert(1, '##FILTER=<ID=low,Description="x">')
        records = [[*r[:6], "low", *r[7:]] for r in records]
    elif change == "one alike":
        records = [[*r[:9], *["0|0"] * len(r[9:])] for r in records]
    else:
        loci = whole.check("own").values["00_dna"]["loci_path"]
        Path(loci).write_text("".join(f"{contig}\t2000\t2600\t{name}\n" for contig, _, _, name in own_data.LOCI))
    with pysam.BGZFile(vcf, "w") as file:
        file.write("\n".join([*head, *("\t".join(r) for r in records), ""]).encode())
    pysam.tabix_index(vcf, preset="vcf", force=True)
    faults = whole.check("own").faults
    assert not [fault for fault in faults if fault.change.startswith("n_components")]
    assert any(fault.change.startswith("vcf_path") and "0 of which differ between people" in fault.actual for fault in faults), faults


def test_an_index_that_is_not_there_keeps_its_name(root):
    for index in (root.parent / "data").glob("genome.fa.*"):
        index.unlink()
    fault = faults_of("genome_path")[0]
    assert fault.actual.startswith(str(root.parent / "data/genome.fa.fai")), fault


def test_a_blank_phenotype_asks_for_a_phenotype(root):
    put(root, "00_dna", "phenotype_path", '""')
    assert faults_of("phenotype_path") and not faults_of("match_published")


def test_params_that_are_a_folder(root):
    file = root / "params/own/04_annotation.yaml"
    file.unlink()
    file.mkdir()
    assert [(f.file, f.actual) for f in whole.check("own").faults] == [
        ("params/own/04_annotation.yaml", "what cannot be read (Is a directory)")]


def test_a_study_that_is_not_there(root, capsys):
    assert whole.main(["other"]) == 2
    assert "unknown study 'other'" in capsys.readouterr().err


@pytest.mark.parametrize("name", [".", "..", "../params/own", "true"])
def test_a_name_that_no_study_can_have(root, name, capsys):
    assert whole.main([name]) == 2
    assert "is no name of a study" in capsys.readouterr().err


@pytest.mark.parametrize("study", ["demo", "demo-1", "smoke"])
def test_committed_studies_that_need_no_data_pass(study):
    assert whole.check(study).faults == []


@pytest.mark.skipif(not helpers.DATA_DIR.is_dir(), reason=f"NO REAL DATA at {helpers.DATA_DIR}: set DATA_DIR to the folder of shared data")
def test_the_real_study_passes_and_the_one_to_fill_in_says_so():
    assert whole.check("ibd-1kg").faults == []
    missing = {fault.change.split(" ")[0] for fault in whole.check("ibd-nt").faults}
    assert {"genome_path", "vcf_path", "background_path", "model_path", "phenotype_path"} <= missing


# Ranges --------------------------------------------------------------------------------------------------


def parameters():
    for stage in params.stages("demo"):
        notebook = params.notebook_path(stage)
        allowed = params.parameter_ranges(notebook)
        for name, default in params.parameter_defaults(notebook).items():
            yield stage, name, default, allowed[name]


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_every_number_has_a_range_that_its_default_is_in():
    for stage, name, default, allowed in parameters():
        elements = default if isinstance(default, list) else [default]
        if any(map(is_number, elements)):
            assert allowed.interval is not None, f"{stage}: {name} has no range"
        assert not [allowed.wanted(element) for element in elements if allowed.wanted(element)], f"{stage}: {name}"


def test_committed_studies_are_in_their_ranges():
    for folder in sorted(path for path in (io.ROOT / "params").iterdir() if path.is_dir()):
        for stage in params.stages(folder.name):
            assert params.read_params(params.notebook_path(stage), folder / f"{stage}.yaml")[1] == []


@pytest.mark.parametrize("comment, inside, outside", [
    ("[1, 1e6] resamples", [1, 1_000_000], [0, 1_000_001, float("nan"), float("inf")]),
    ("(0, 1] share", [0.001, 1], [0, 1.001]),
    ("[0, 1) share", [0, 0.999], [1, -0.001]),
    ("(0, 1) share", [0.5], [0, 1]),
    ("[-2.5, -1e-3] x", [-2.5, -0.001], [-2.6, 0]),
    ('{"", cpu, cuda} where', ["", "cpu"], ["gpu", "cp"]),
    ("bases, [1, 2] is no range here", [0, 7], [float("inf")]),
])
def test_what_a_comment_allows(comment, inside, outside):
    allowed = ranges.of_comment(comment)
    assert [allowed.wanted(value) for value in inside] == [""] * len(inside)
    assert all(allowed.wanted(value) for value in outside)


def test_a_comment_belongs_to_its_own_line():
    allowed = ranges.of_source('a = 1  # [0, 2] x\n# [5, 6] prose\nb = [\n    3,\n]  # [3, 4] y; as many as a, one or more\nc = "#"\n')
    assert allowed["a"].interval[1:3] == (0, 2) and allowed["b"].interval[1:3] == (3, 4)
    assert allowed["b"].as_many == "a" and allowed["b"].filled and allowed["c"] == ranges.Range()


def test_a_word_for_a_list_is_one_value_however_it_is_written(root):
    allowed = ranges.of_comment("{all, top5, ...} where; none twice")
    assert allowed.words == ("all", "top5") and allowed.choices is None and ranges.of_comment("{a, b} x").words == ()
    for text in ("all", "[all]"):
        put(root, "01_extraction", "sites", text)
        assert params.stage_params("own", "01_extraction")["sites"] == ["all"]
    put(root, "01_extraction", "sites", "every")
    assert re.search(r"wanted a list like \[.*\], or all$", params.sentence(root, params.read_params(
        params.notebook_path("01_extraction"), root / "params/own/01_extraction.yaml")[1][0]))


# Params by grammar ---------------------------------------------------------------------------------------

GOOD = [p for p in parameters() if is_number(p[2]) or isinstance(p[2], list | bool) or p[3].choices]


def drawn(rng):
    """A parameter with a text in YAML that fits it, or one that does not: stage, name, text, whether it fits."""
    stage, name, default, allowed = rng.choice(GOOD)
    fits = rng.random() < 0.5
    if isinstance(default, list):
        element = default[0] if default else "text"
        value = [_element(rng, element, allowed, True, True) for _ in default or [0]]
        if not fits:
            value[rng.randrange(len(value))] = _element(rng, element, allowed, False, True)
        return stage, name, "[" + ", ".join(dict.fromkeys(value) if allowed.distinct else value) + "]", fits
    return stage, name, _element(rng, default, allowed, fits), fits


def _element(rng, default, allowed, fits, listed=False):
    wrong_type = {bool: ["1", "maybe", "yes"], int: ["1.5", "true", "many", "1_0", "0o7", "0x1", "1:30", ".inf", "", "2020-02-02"],
                  float: ["true", "much", "1e-3", ".nan", "-.inf", "1:30.5", "~"],
                  str: ["1", "true", "off", "2020-02-02", "x #y", "{a: b}", "null"]}  # fmt: skip
    if listed:
        wrong_type[str] = [text for text in wrong_type[str] if not re.search("[#{]", text)]  # those end the list itself
        wrong_type[int].remove("")  # nor is nothing between two commas YAML
    if not fits and (isinstance(default, bool) or rng.random() < 0.5 or not (allowed.interval or allowed.choices)):
        return rng.choice(wrong_type[type(default)])
    if isinstance(default, bool):
        return rng.choice(["true", "false"])
    if allowed.choices:
        return f'"{rng.choice(allowed.choices)}"' if fits else "not-" + "".join(rng.sample(string.ascii_letters, 5))
    if isinstance(default, str):
        return "".join(rng.sample(string.ascii_letters, 8)) + ".x"
    return _number(rng, allowed.interval, isinstance(default, int), fits)


def _number(rng, interval, whole, fits):
    _, low, high, *_ = interval
    if fits:
        value = rng.uniform(low + (high - low) * 1e-3, high - (high - low) * 1e-3)
        return str(min(int(high), max(int(low) + 1, int(value)))) if whole else f"{value:.12f}"
    value = rng.choice([low - rng.uniform(1e-6, 1e6), high + rng.uniform(1e-3, 1e6) * max(1, high)])
    return str(int(low) - 1 - rng.randrange(99) if value < low else int(high) + 1 + rng.randrange(99)) if whole else f"{value:.12f}"


def agrees(root, seed):
    """Whether one drawn text is named, with its line, exactly when it does not fit; and then reads as YAML reads it."""
    stage, name, text, fits = drawn(random.Random(seed))
    file = root / "drawn.yaml"
    file.write_text(f"# drawn\n{name}: {text}\n")
    entries, problems = params.read_params(params.notebook_path(stage), file)
    if fits:
        assert not problems and entries[0].value == yaml.safe_load(file.read_text())[name], (seed, stage, name, text, problems)
    else:
        assert [(p.line, p.name) for p in problems] == [(2, name)] and problems[0].actual and problems[0].wanted, (seed, stage, name, text)


@pytest.mark.parametrize("seed", range(40))
def test_params_by_grammar(tmp_path, seed):
    agrees(tmp_path, seed)


@pytest.mark.long
def test_two_thousand_params_by_grammar(tmp_path):
    for seed in range(2000):
        agrees(tmp_path, 1000 + seed)


def test_loci_of_nothing_but_n(root):
    data = root.parent / "data"
    head, last, _ = (data / "genome.fa").read_text().partition(">chr6\n")
    (data / "genome.fa").write_text(head + last + "N" * own_data.LENGTH + "\n")
    (data / "loci.bed").write_text("chr6\t0\t500\tgap\n")
    assert any("locus 'gap', chr6:0-500: most bases of each of its windows are N" in fault.actual for fault in faults_of("loci_path"))


def test_exons_may_be_gff3(root):
    file, row = root.parent / "data/exons.gff3", "chr1\tx\texon\t{}\t{}\t.\t+\t.\tParent=t\n"
    put(root, "00_dna", "exon_path", file)
    file.write_text(row.format(251, 300))
    assert faults_of("exon_path") == []
    file.write_text(row.format(251, 300) + row.format(301, 9000))
    assert [(fault.file[-16:], fault.record) for fault in faults_of("exon_path")] == [("/data/exons.gff3", "line 2")]
