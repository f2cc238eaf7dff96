"""What the door makes of two people by hand: records, the map to people, targets and concepts."""

from collections import Counter

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.corpus.corpus import Target
from lib.dna import door, haplotypes, windows
from lib.dna.genotypes import Genotypes
from lib.dna.reference import Reference

LOCI = pd.DataFrame({"contig": ["c1", "c2"], "start": [0, 0], "end": [8, 8], "locus": ["A", "B"]})
GENOME = {"c1": "ACGTACGT", "c2": "TTTTGGGG"}
SAMPLES = ["ann", "bea"]


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in GENOME.items()))
    pysam.faidx(str(path))
    return Reference(path)


@pytest.fixture
def part(genome):
    """Windows of four bases. ann carries c1:1 C>T and c1:2 G>GA on one haplotype, bea is the reference everywhere."""
    variants = pd.DataFrame({"contig": ["c1", "c1"], "pos": [1, 2], "ref": ["C", "G"], "alt": ["T", "GA"], "id": ["snv", "ins"]})
    alleles = np.array([[[0, 1], [0, 0]], [[0, 1], [0, 0]]], np.int8)
    return haplotypes.build_units(windows.tile(LOCI, 4), genome, Genotypes(variants, alleles, np.ones((2, 2), bool), SAMPLES))


def test_records_are_haplotypes_with_the_place_of_each_base(part):
    """The inserted A stands at the place of its anchor, 2. Windows: ACGT, ACGT of c1, TTTT and GGGG of c2."""
    got = door.records(part)
    assert got.texts == ["ACGT", "ATGAT", "ACGT", "TTTT", "GGGG"] and got.own is None
    assert [p.tolist() for p in got.positions] == [[0, 1, 2, 3], [0, 1, 2, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_what_is_a_windows_own_is_given_by_window(part):
    own = pd.DataFrame({"own_start": [0, 4, 0, 4], "own_end": [4, 8, 4, 8]}, index=[0, 1, 2, 3])
    assert door.records(part, own).own.tolist() == [[0, 4], [0, 4], [4, 8], [0, 4], [4, 8]]


def test_the_readout_is_the_mean_over_haplotype_windows(part):
    """ann in A: units 0, 1 once each and unit 2 twice, of four; in B: units 3 and 4 twice each. bea in A: unit 0 twice."""
    got = door.readout(SAMPLES, part)
    assert got.subjects == SAMPLES and got.parts == ["A", "B"]
    assert got.weights.toarray().tolist() == [[0.25, 0.25, 0.5, 0, 0], [0, 0, 0, 0.5, 0.5], [0.5, 0, 0.5, 0, 0], [0, 0, 0, 0.5, 0.5]]


def test_a_readout_over_the_genome_has_one_part(part):
    got = door.readout(SAMPLES, part, "genome")
    wanted = np.array([[1, 1, 2, 2, 2], [2, 0, 2, 2, 2]]) / 8
    assert got.parts == ["all loci"] and np.allclose(got.weights.toarray(), wanted)


def test_people_in_another_order_than_the_genotypes_are_refused(part):
    with pytest.raises(ValueError, match=r"carriers name \['ann', 'bea'\]…, the genotypes \['bea', 'ann'\]…: wanted the same people"):
        door.readout(SAMPLES[::-1], part)


# Targets -------------------------------------------------------------------------------------------------


def cohort(n=40):
    """One variant of which the first half carries two copies."""
    variants = pd.DataFrame({"contig": ["c1"], "pos": [1], "ref": ["C"], "alt": ["T"], "id": ["snv"]})
    alleles = np.zeros((1, n, 2), np.int8)
    alleles[0, : n // 2] = 1
    return Genotypes(variants, alleles, np.ones((1, n), bool), [f"P{i:02}" for i in range(n)])


def arms(**change):
    given = {"names": ["one"], "kinds": ["additive"], "scales": [1.0], "limits": [0.0], "case_share": 0.5, "phenotype_path": "",
             "phenotype_file": None, "genetic_file": None}  # fmt: skip
    return door.Arms(**given | change)


def test_a_given_phenotype_is_the_target_and_its_true_score_stands_beside_it(tmp_path):
    """The tables are in another order than the genotypes."""
    of = cohort(4)
    (tmp_path / "y.csv").write_text("sample,phenotype\nP03,1\nP02,0\nP01,1\nP00,0\n")
    (tmp_path / "g.csv").write_text("sample,genetic\nP01,1\nP00,0\nP03,3\nP02,2\n")
    known = pd.DataFrame({"sample": of.samples, "family": ["f", "f", "g", "h"], "site": ["x", "x", "y", "y"]})
    wanted = arms(phenotype_path="y.csv", phenotype_file=tmp_path / "y.csv", genetic_file=tmp_path / "g.csv", limits=[0.8])
    made, table = door.targets(wanted, of, None, known, 0)
    assert made == [Target("one", limit=0.8, simulated=False, enlarged=False, scores={"true genetic score": "oracle"})]
    assert table.to_dict("list") == {"subject": of.samples, "group": ["f", "f", "g", "h"], "stratum": ["x", "x", "y", "y"],
                                     "one": [0, 1, 0, 1], "one/true genetic score": [0, 1, 2, 3]}  # fmt: skip


def test_a_population_comes_before_a_site_and_without_either_there_is_no_stratum(tmp_path):
    of = cohort(4)
    (tmp_path / "y.csv").write_text("sample,phenotype\n" + "".join(f"{p},{i % 2}\n" for i, p in enumerate(of.samples)))
    wanted = arms(phenotype_path="y.csv", phenotype_file=tmp_path / "y.csv")
    both = pd.DataFrame({"sample": of.samples, "site": list("xxyy"), "population": list("aabb")})
    assert door.targets(wanted, of, None, both, 0)[1].stratum.tolist() == list("aabb")
    assert list(door.targets(wanted, of, None, both[["sample"]], 0)[1]) == ["subject", "one"]


def test_simulated_arms_have_the_published_score_and_a_true_one_where_it_varies():
    """Effect 2 a copy, of 20 people who carry two: scores 4 and 0. Nothing varies in the null arm, so it has no true score."""
    of = cohort()
    effects = pd.DataFrame({"status": ["present", "absent"], "variant": [0, -1], "beta_alt": [2.0, 9.0], "gene": ["G", "H"],
                            "rsid": ["rs1", "rs2"]})  # fmt: skip
    wanted = arms(names=["one", "none"], kinds=["additive", "null"], scales=[3.0, 1.0], limits=[0.0, 0.8])
    made, table = door.targets(wanted, of, effects, pd.DataFrame({"sample": of.samples}), 0)
    published = {"published polygenic score": "score"}
    assert [t.scores for t in made] == [published | {"true genetic score": "oracle"}, published]
    assert [(t.simulated, t.enlarged, t.null) for t in made] == [(True, True, False), (True, False, True)]
    assert table["one/published polygenic score"].tolist() == [4.0] * 20 + [0.0] * 20
    assert np.ptp(table["one/true genetic score"]) == pytest.approx(3 * 4)  # enlarged
    assert table.one.sum() == table.none.sum() == 20 and table.one[:20].mean() > 0.8


def test_the_second_cohorts_one_phenotype_answers_every_target(tmp_path):
    (tmp_path / "y.csv").write_text("sample,phenotype\nQ1,0\nQ0,1\n")
    table = door.second_targets(tmp_path / "y.csv", ["Q0", "Q1"], [Target("one"), Target("two")], ["one", "two"], False)
    assert table.to_dict("list") == {"subject": ["Q0", "Q1"], "one": [1, 0], "two": [1, 0]}


def test_null_arms_are_further_columns_of_the_table_and_are_declared_null(tmp_path):
    of = cohort(4)
    (tmp_path / "y.csv").write_text("sample,phenotype,decoys\nP00,0,1\nP01,0,1\nP02,1,0\nP03,1,1\n")
    wanted = arms(phenotype_path="y.csv", phenotype_file=tmp_path / "y.csv", limits=[0.8], null_arms=["decoys"])
    made, table = door.targets(wanted, of, None, pd.DataFrame({"sample": of.samples}), 0)
    assert [(t.name, t.null, t.limit) for t in made] == [("one", False, 0.8), ("decoys", True, 1.0)]
    assert table.to_dict("list") == {"subject": of.samples, "one": [0, 0, 1, 1], "decoys": [1, 1, 0, 1]}
    second = door.second_targets(tmp_path / "y.csv", of.samples, made, ["one"], True)
    assert second.to_dict("list") == table.to_dict("list")
    with pytest.raises(ValueError, match="neutral"):
        door.targets(wanted._replace(null_arms=["neutral"]), of, None, pd.DataFrame({"sample": of.samples}), 0)


def test_null_targets_are_columns_that_fit_a_pattern_and_are_no_arms(tmp_path):
    of, path = cohort(4), tmp_path / "y.csv"
    path.write_text("sample,phenotype,decoys 1,decoys 2,nothing 1\nP00,0,1,0,1\nP01,0,1,1,0\nP02,1,0,1,0\nP03,1,1,0,1\n")
    names = door.named_columns(path, ["decoys *", "nothing 1"], ["phenotype", "decoys 2"])
    assert names == ["decoys 1", "nothing 1"] and door.named_columns(None, [], []) == []
    wanted = arms(phenotype_path="y.csv", phenotype_file=path, limits=[0.8], null_targets=names)
    made, table = door.targets(wanted, of, None, pd.DataFrame({"sample": of.samples}), 0)
    assert [t.name for t in made] == ["one"] and table["nothing 1"].tolist() == [1, 0, 0, 1]
    second = door.second_targets(path, of.samples, made, ["one"], True, names)
    assert second.columns.tolist() == ["subject", "one", *names]
    with pytest.raises(ValueError, match="no column fits null_targets 'neutral"):
        door.named_columns(path, ["neutral *"], [])
    with pytest.raises(ValueError, match="without a table"):
        door.named_columns(None, ["neutral *"], [])


def test_a_missing_call_is_the_variants_mean():
    assert door.filled(np.array([[0.0, np.nan, 2.0], [1.0, 1.0, np.nan]])).tolist() == [[0, 1], [1, 1], [2, 1]]


# Concepts ------------------------------------------------------------------------------------------------


def test_concepts_are_hits_intervals_and_true_sites_each_with_its_kind():
    row = {"contig": "c1", "start": 2, "end": 6, "family": "f"}
    hits, spans = pd.DataFrame([row | {"concept": "M +", "p": 1e-5}]), pd.DataFrame([row | {"concept": "exon"}])
    planted = pd.DataFrame([row | {"motif": "M", "strand": "-"}])
    got = door.concepts(hits, spans, planted)
    assert list(got) == ["contig", "start", "end", "concept", "family", "kind"]
    assert got[["concept", "kind"]].to_numpy().tolist() == [["M +", "motif"], ["exon", "interval"], ["site M -", "true site"]]
    assert door.concepts(hits, spans, None).kind.tolist() == ["motif", "interval"]


def test_intervals_are_repeats_and_what_the_files_say(genome, part, tmp_path):
    """A promoter widened by one base on each side; rows off the genome are counted, none is lost in silence."""
    (tmp_path / "exons.bed").write_text("c1\t1\t3\te1\nc9\t0\t5\te2\n")
    (tmp_path / "mine.bed").write_text("c2\t4\t8\tmine\n")
    repeats = pd.DataFrame({"contig": ["c2"], "start": [0], "end": [4], "concept": ["homopolymer"], "family": ["homopolymer"]})
    starts = pd.DataFrame({"contig": ["c1"], "start": [4], "end": [5]})
    counted = Counter()
    files = door.Annotation(tmp_path / "exons.bed", starts, 1, [tmp_path / "mine.bed"], None, None, [], None, None)
    got = door.intervals(files, repeats, genome, part.units, counted)
    places = {(row.concept, row.contig, row.start, row.end) for row in got.itertuples()}
    assert {("homopolymer", "c2", 0, 4), ("promoter", "c1", 3, 6), ("mine", "c2", 4, 8), ("exon", "c1", 1, 3)} <= places
    assert not (got.contig == "c9").any()
    assert {what: n for (file, what, _), n in counted.items() if file == "exons.bed"}["intervals on contigs that the genome lacks"] == 1
    nothing = door.Annotation(None, None, 0, [], None, None, [], None, None)
    assert door.intervals(nothing, repeats, genome, part.units, counted).equals(repeats)
