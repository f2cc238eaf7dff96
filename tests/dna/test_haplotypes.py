import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import windows
from lib.dna.genotypes import Genotypes, read_genotypes
from lib.dna.haplotypes import build_units, trim, unit_id
from lib.dna.reference import Reference

DATA = Path(os.environ.get("DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
BASES = "ACGTTGCAAC" + "GGATCCTTAA"  # position:  0 A 1 C 2 G 3 T 4 T 5 G 6 C 7 A 8 A 9 C | 10 G 11 G 12 A ...


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(f">c\n{BASES}\n")
    pysam.faidx(str(path))
    return Reference(path)


def tiles(size=10, end=20):
    return windows.tile(pd.DataFrame({"contig": ["c"], "start": [0], "end": [end], "locus": ["x"]}), size)


def genotypes(*rows, n_people=1):
    """rows: (pos, ref, alt, [call per person]), a call written as in a VCF; -1 is '.', a haploid call '1'."""
    alleles, phased = [], []
    for _, _, _, calls in rows:
        parts = [c.replace("|", "/").split("/") for c in calls]
        alleles.append(
            [[-1 if p == "." else int(p) for p in (x if len(x) == 2 else [x[0], "-2"])] for x in parts]
        )
        phased.append(["|" in c or "/" not in c for c in calls])
    table = pd.DataFrame(
        [("c", p, r, a, "") for p, r, a, _ in rows], columns=["contig", "pos", "ref", "alt", "id"]
    )
    return Genotypes(
        table, np.array(alleles, dtype=np.int8), np.array(phased), [f"p{i}" for i in range(len(calls))]
    )


def carried(units, window=0, person="p0"):
    """Sequences of haplotypes 0 and 1 of a person in a window."""
    rows = units.carriers.query("window == @window and sample == @person").sort_values("haplotype")
    return [units.sequences[u] for u in rows.unit]


def test_without_genotypes_every_window_is_its_reference(reference):
    units = build_units(tiles(), reference)
    assert units.sequences == [BASES[:10], BASES[10:]]
    assert units.units.is_reference.all() and units.n_units == 2 and len(units.carriers) == 0
    assert units.ref_pos(1).tolist() == list(range(10, 20))
    assert units.units.unit_id[1] == unit_id("c", 10, 20, BASES[10:])


# By hand, on ACGTTGCAAC: the ALT haplotype, and the reference position of each of its bases.
BY_HAND = {
    "snv": ((4, "T", "A"), "ACGTAGCAAC", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    "insertion": ((4, "T", "TCC"), "ACGTTCCGCAAC", [0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9]),
    "deletion": ((4, "TGC", "T"), "ACGTTAAC", [0, 1, 2, 3, 4, 7, 8, 9]),
    "substitution of two": ((4, "TG", "AA"), "ACGTAACAAC", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    "insertion at the window's last base": ((9, "C", "CT"), "ACGTTGCAACT", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]),
    "deletion up to the window's end": ((7, "AAC", "A"), "ACGTTGCA", [0, 1, 2, 3, 4, 5, 6, 7]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_one_allele_by_hand(reference, name):
    allele, sequence, positions = BY_HAND[name]
    units = build_units(tiles(), reference, genotypes((*allele, ["0/1"])))
    assert carried(units) == [BASES[:10], sequence]
    assert carried(units, window=1) == [BASES[10:]] * 2
    assert units.sequences[1] == sequence and units.ref_pos(1).tolist() == positions
    row = units.units.iloc[1]
    assert (row.n_alt, row.length, row.is_reference, row.window) == (1, len(sequence), False, 0)
    assert (units.n_clipped, units.n_overlapping_dropped) == (0, 0)


def test_trim():
    assert trim(7, "GCC", "G") == (8, "CC", "")
    assert trim(7, "G", "GC") == (8, "", "C")
    assert trim(7, "A", "T") == (7, "A", "T")


def test_unphased_heterozygotes_go_together_on_haplotype_1(reference):
    units = build_units(tiles(), reference, genotypes((1, "C", "T", ["0/1"]), (6, "C", "G", ["0/1"])))
    assert carried(units) == ["ACGTTGCAAC", "ATGTTGGAAC"]


def test_phased_heterozygotes_stay_where_they_are(reference):
    units = build_units(tiles(), reference, genotypes((1, "C", "T", ["1|0"]), (6, "C", "G", ["0|1"])))
    assert carried(units) == ["ATGTTGCAAC", "ACGTTGGAAC"]


def test_homozygous_on_both_and_missing_is_reference(reference):
    units = build_units(tiles(), reference, genotypes((1, "C", "T", ["1/1"]), (6, "C", "G", ["./."])))
    assert carried(units) == ["ATGTTGCAAC"] * 2
    assert units.sequences[0] == BASES[:10] and units.units.is_reference.tolist() == [True, False, True]


def test_two_different_alts_keep_their_order(reference):
    rows = [(1, "C", "T", ["1/0"]), (1, "C", "G", ["0/1"]), (6, "C", "G", ["0/1"])]  # the VCF said 1/2
    assert carried(build_units(tiles(), reference, genotypes(*rows))) == ["ATGTTGCAAC", "AGGTTGGAAC"]


def test_overlap_keeps_the_first_and_is_counted(reference):
    # p0 carries the deletion of 2-4 and the SNV at 3 on one haplotype; p1 the SNV only
    rows = [(1, "CGTT", "C", ["0|1", "0/0"]), (3, "T", "A", ["0|1", "0/1"])]
    units = build_units(tiles(), reference, genotypes(*rows))
    assert carried(units) == ["ACGTTGCAAC", "ACGCAAC"]
    assert carried(units, person="p1") == ["ACGTTGCAAC", "ACGATGCAAC"]
    assert units.n_overlapping_dropped == 1
    assert units.ref_pos(carried_unit(units, "p0")).tolist() == [0, 1, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("deletion, snv, want", [
    ("0/1", "0/1", ["ACGCAAC", "ACGATGCAAC"]),  # one haplotype cannot carry both, so each has one
    ("0|1", "0/1", ["ACGATGCAAC", "ACGCAAC"]),  # the phased one stays
    ("0/1", "0|1", ["ACGCAAC", "ACGATGCAAC"]),
    ("0/1", "1|0", ["ACGATGCAAC", "ACGCAAC"]),
    ("1/1", "0/1", ["ACGCAAC", "ACGCAAC"]),  # three copies of two places: the second is dropped
])  # fmt: skip
def test_unphased_alleles_that_overlap_go_on_different_haplotypes(reference, deletion, snv, want):
    units = build_units(tiles(), reference, genotypes((1, "CGTT", "C", [deletion]), (3, "T", "A", [snv])))
    assert carried(units) == want
    assert units.n_overlapping_dropped == (deletion == "1/1") == sum(units.report.values())


def test_split_or_not_a_call_of_two_alts_gives_the_same_haplotypes(reference):
    other = (6, "C", "G", ["0/1"])  # unphased beside it: with the second ALT, on haplotype 1
    whole = [(1, "C", "T", ["1/0"]), (1, "C", "G", ["0/1"]), other]  # 1/2, as the reader gives it
    split = [(1, "C", "T", ["0/1"]), (1, "C", "G", ["0/1"]), other]
    one, two = (build_units(tiles(), reference, genotypes(*rows)) for rows in (whole, split))
    assert carried(one) == carried(two) == ["ATGTTGCAAC", "AGGTTGGAAC"]
    assert genotypes(*split).dosage.tolist() == [[1], [1], [1]]


def test_calls_of_a_second_phase_set_are_unphased(reference):
    rows = [(1, "C", "T", ["1|0"]), (3, "T", "A", ["1|0"]), (6, "C", "G", ["1|0"]), (12, "A", "C", ["1|0"])]
    sets = np.array([[7], [8], [7], [8]])
    units = build_units(tiles(), reference, replace(genotypes(*rows), phase_set=sets))
    assert carried(units) == ["ATGTTGGAAC", "ACGATGCAAC"]  # of the second set: on haplotype 1
    assert carried(units, window=1) == ["GGCTCCTTAA", BASES[10:]]  # the only set of its window
    assert list(units.report.items()) == [(("", "ALT alleles of a window's second phase set", "unphased there"), 1)]
    assert carried(build_units(tiles(), reference, genotypes(*rows)))[0] == "ATGATGGAAC"


def carried_unit(units, person):
    return int(units.carriers.query("sample == @person and haplotype == 1 and window == 0").unit.iat[0])


def test_snv_on_the_anchor_of_an_indel_is_no_overlap(reference):
    rows = [(4, "T", "A", ["0/1"]), (4, "TGC", "T", ["0/1"]), (8, "A", "AGG", ["0/1"])]
    units = build_units(tiles(), reference, genotypes(*rows))
    assert carried(units)[1] == "ACGTA" + "AA" + "GG" + "C"
    assert units.ref_pos(1).tolist() == [0, 1, 2, 3, 4, 7, 8, 8, 8, 9]
    assert units.n_overlapping_dropped == 0


def test_two_insertions_at_one_place(reference):
    rows = [(4, "T", "TA", ["0|1"]), (4, "T", "TC", ["0|1"])]
    units = build_units(tiles(), reference, genotypes(*rows))
    assert carried(units)[1] == "ACGTTAGCAAC" and units.n_overlapping_dropped == 1


def test_allele_over_the_window_end_is_clipped(reference):
    # deletes 9 and 10: one base of each window, so it is skipped, and counted, in both
    units = build_units(tiles(), reference, genotypes((8, "ACG", "A", ["0/1"])))
    assert units.n_units == 2 and units.n_clipped == 2
    # deletes 10 and 11: its anchor is the last base of window 0, its bases are all in window 1
    units = build_units(tiles(), reference, genotypes((9, "CGG", "C", ["0/1"])))
    assert carried(units, window=1)[1] == BASES[12:] and units.n_clipped == 0
    # deletes all of a window of two bases
    units = build_units(tiles(2, 10), reference, genotypes((1, "CGT", "C", ["0/1"])))
    assert units.n_units == 5 and units.n_clipped == 1


def test_haploid_person_has_one_haplotype(reference):
    units = build_units(tiles(), reference, genotypes((1, "C", "T", ["1", "0/1"])))
    assert carried(units) == ["ATGTTGCAAC"]
    assert carried(units, person="p1") == ["ACGTTGCAAC", "ATGTTGCAAC"]
    assert units.n_person_haplotype_windows == len(units.carriers) == 2 * 3  # in both windows of the locus


def test_same_sequence_is_one_unit_whoever_and_however(reference):
    # deleting either T of TT gives the same bases
    rows = [(2, "GT", "G", ["0/1", "0/0", "1/1"]), (3, "TT", "T", ["0/0", "0/1", "0/0"])]
    units = build_units(tiles(), reference, genotypes(*rows))
    assert units.sequences == [BASES[:10], "ACGTGCAAC", BASES[10:]]
    assert units.carriers.groupby("window").unit.nunique().tolist() == [2, 1]


def test_unit_ids_depend_on_place_and_bases_only(reference):
    one = build_units(tiles(), reference, genotypes((1, "C", "T", ["0/1"])))
    two = build_units(
        tiles(), reference, genotypes((1, "C", "T", ["0/1", "1/1"]), (6, "C", "G", ["0/0", "0/1"]))
    )
    assert set(one.units.unit_id) < set(two.units.unit_id)
    assert one.units.unit_id.is_unique and one.units.unit_id.str.len().eq(16).all()


def test_windows_twice_are_refused(reference):
    with pytest.raises(ValueError, match="window 0: c:0-10 is a window already"):
        build_units(pd.concat([tiles(), tiles()], ignore_index=True), reference)


def test_round_trip_of_random_variants(tmp_path):
    """Each base is the reference base at its ref_pos, or was put there by an edit that says so."""
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACGT"), 600))
    (tmp_path / "r.fa").write_text(f">c\n{text}\n")
    pysam.faidx(str(tmp_path / "r.fa"))
    rows = []
    for pos in sorted(rng.choice(590, 80, replace=False)):
        n_ref, n_alt = [(1, 1), (1, 4), (3, 1), (2, 2)][rng.integers(4)]
        ref = text[pos : pos + n_ref]
        alt = (
            ref[0] + "".join(rng.choice(list("ACGT"), n_alt - 1))
            if (n_ref, n_alt) != (1, 1)
            else "ACGT"["CGTA".index(ref)]
        )
        if alt != ref:
            rows.append((int(pos), ref, alt, list(rng.choice(["0/0", "0|1", "1|0", "0/1", "1/1"], 6))))
    reference = Reference(tmp_path / "r.fa")
    units = build_units(tiles(100, 600), reference, genotypes(*rows))
    assert units.n_units > 40 and units.n_overlapping_dropped > 0
    for i, sequence in enumerate(units.sequences):
        positions = units.ref_pos(i)
        assert len(positions) == len(sequence) == units.units.length[i]
        assert (np.diff(positions) >= 0).all()
        own = units.edits[units.edits.unit == i]
        edited = {p for e in own.itertuples() for p in range(e.pos, e.pos + len(e.ref))}
        inserted = np.diff(positions, prepend=-1) == 0
        for base, position, extra in zip(sequence, positions, inserted, strict=True):
            assert extra or position in edited or base == text[position]
        assert len(sequence) == 100 + sum(len(e.alt) - len(e.ref) for e in own.itertuples())


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data not found: set DATA_DIR (looked in {DATA})")
def test_real_cohort_numbers():
    """47 loci, windows of 1 kb, 405 people. Counted independently beforehand on whole windows: 7,607 carried."""
    reference = Reference(DATA / "GRCh38_loci.fa.gz")
    loci = windows.read_bed(DATA / "ibd_loci.bed", reference)
    cohort = read_genotypes(DATA / "cohort_1kg_eur.vcf.gz", reference, loci)
    tiled = windows.tile(loci, 1000)
    whole = tiled[tiled.end - tiled.start == 1000]
    units = build_units(whole, reference, cohort)
    assert len(whole) == 1872 and units.n_person_haplotype_windows == 405 * 2 * 1872 == 1_516_320
    assert units.carriers.unit.nunique() == 7607
    assert units.n_units == 7607 + 26  # 26 windows whose reference haplotype nobody carries
    units = build_units(tiled, reference, cohort)  # with the 47 remainders
    assert (len(tiled), units.n_person_haplotype_windows, units.n_units) == (1919, 1_554_390, 7737)
