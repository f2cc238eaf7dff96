"""Measured effects: a made table by hand and with every fault; the real one against the genome and its published counts."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lib.dna import labelled, mpra
from lib.dna.reference import Reference
from tests.helpers import DATA_DIR

HEADER = "Chrom\tPos\tRef\tAlt\tBarcodes\tDNA\tRNA\tCoefficient\tpValue\tElement\tRelease"
#: chr1 of the made genome is known from 4 to 16 (0-based) but for N at 8; it has no 9.
CHR1 = "NNNNACGTNCCCATGANNNN"
#: Element A is 5 to 14 of chr1 (CGT?CCCAT): its N is told by no row. A-2 shares its bases. B lies on 9, which the genome lacks.
ROWS = """1\t6\tC\tA\t20\t1\t1\t0.5\t0.01\tA-1\tGRCh38
1\t6\tC\t-\t20\t1\t1\t-0.5\t0.01\tA-1\tGRCh38
1\t7\tG\tA\t20\t1\t1\t0.1\t1\tA-1\tGRCh38
1\t8\tT\tA\t9\t1\t1\t0.1\t0\tA-1\tGRCh38
1\t10\tC\t-\t20\t1\t1\t0.2\t0.5\tA-1\tGRCh38
1\t11\tC\t-\t20\t1\t1\t0.3\t0.5\tA-1\tGRCh38
1\t12\tC\tG\t20\t1\t1\t0.3\t0.5\tA-1\tGRCh38
1\t13\tA\tC\t20\t1\t1\t0.3\t0.5\tA-1\tGRCh38
1\t14\tT\t-\t20\t1\t1\t1e-1\t0.5\tA-1\tGRCh38
1\t13\tA\tC\t20\t1\t1\t0.4\t0.5\tA-2\tGRCh38
9\t3\tG\tT\t20\t1\t1\t0.4\t0.5\tGP1BA\tGRCh38
9\t4\tG\tA\t20\t1\t1\t0.4\t0.5\tGP1BA\tGRCh38
NA\tNA\tNA\tNA\t20\t1\t1\t0.4\t0.5\tA-1\tGRCh38
1\t1\tC\tA\t20\t1\t1\t0.5\t0.01\tA-1\tGRCh37
""".splitlines()  # fmt: skip


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(f">chr1\n{CHR1}\n>chr2\nACGTACGTAC\n")
    (tmp_path / "g.fa.fai").write_text("chr1\t20\t6\t20\t21\nchr2\t10\t33\t10\t11\n")
    return Reference(tmp_path / "g.fa")


def read(tmp_path, genome, rows=ROWS, min_barcodes=10, report=None):
    (tmp_path / "m.tsv").write_text("\n".join([HEADER, *rows]) + "\n")
    return mpra.read(tmp_path / "m.tsv", genome, min_barcodes, Counter() if report is None else report)


def test_rows_become_variants_by_hand(tmp_path, genome):
    table, elements = read(tmp_path, genome)
    assert table[["contig", "pos", "ref", "alt", "element", "place", "change"]].values.tolist() == [
        ["chr1", 5, "C", "A", "A-1", 5, "C>A"],
        ["chr1", 5, "CG", "G", "A-1", 5, "C>-"],  # the element's first base: the next is the anchor
        ["chr1", 6, "G", "A", "A-1", 6, "G>A"],
        ["chr1", 9, "CC", "C", "A-1", 9, "C>-"],  # the base before it is N: again the next
        ["chr1", 9, "CC", "C", "A-1", 10, "C>-"],  # the same molecule as the row before
        ["chr1", 11, "C", "G", "A-1", 11, "C>G"],
        ["chr1", 12, "A", "C", "A-1", 12, "A>C"],
        ["chr1", 12, "AT", "A", "A-1", 13, "T>-"],
        ["chr1", 12, "A", "C", "A-2", 12, "A>C"],
        ["chr9", 2, "G", "T", "GP1BB", 2, "G>T"],
        ["chr9", 3, "G", "A", "GP1BB", 3, "G>A"],
    ]
    other, complement = "other transversion", "transversion to the complement"
    assert table["kind"].tolist() == [other, "deletion", "transition", "deletion", "deletion", complement, other, "deletion", other, other,
                                      "transition"]  # fmt: skip
    assert table["effect"].tolist() == [0.5, -0.5, 0.1, 0.2, 0.3, 0.3, 0.3, 0.1, 0.4, 0.4, 0.4] and table["barcodes"].eq(20).all()
    assert table["locus"].tolist() == ["A"] * 9 + ["GP1BB"] * 2
    assert elements.values.tolist() == [["A-1", "A", "chr1", 5, 14, "CGTNCCCAT", 0, 1], ["A-2", "A", "chr1", 12, 13, "A", 0, 0],
                                        ["GP1BB", "GP1BB", "chr9", 2, 4, "GG", 0, 0]]  # fmt: skip


def test_what_is_left_out_or_read_otherwise_is_counted(tmp_path, genome):
    report = Counter()
    read(tmp_path, genome, report=report)
    assert {(what, done): n for (file, what, done), n in report.items() if n and file == "m.tsv"} == {
        ("rows of release GRCh37", "left out"): 1,
        ("rows without a place (NA)", "left out"): 1,
        ("rows of element GP1BA", "read as GP1BB"): 2,
        ("rows whose REF the genome has too", "read"): 10,
        ("rows where the genome has N or no such contig", "read; REF held to the table's own"): 2,
        ("bases of elements that neither a row nor the genome tells", "read as N"): 1,
        ("rows of fewer than 10 barcodes", "left out"): 1,
        ("deletions at an element's start, or after N", "anchored on the base after"): 2,
        ("deletions that make the same sequence as another of the element", "kept"): 1,
    }


def test_a_gap_is_filled_from_a_genome_that_has_it_and_a_place_with_too_few_barcodes_is_no_gap(tmp_path, genome):
    rows = [row for row in ROWS if "\t11\t" not in row]
    _, elements = read(tmp_path, genome, rows, min_barcodes=20)  # T at 8 has a row of 9 barcodes
    assert elements.loc[0, ["sequence", "n_filled", "n_unknown"]].tolist() == ["CGTNCCCAT", 1, 1]
    assert mpra.sequences(mpra.rows(tmp_path / "m.tsv", genome, Counter())).loc[0, "sequence"] == "CGTNCNCAT"


def test_a_deletion_between_two_unknown_bases_is_left_out(tmp_path, genome):
    rows = [f"9\t{p}\tG\t{alt}\t20\t1\t1\t0.1\t0.5\tB\tGRCh38" for p, alt in ((3, "A"), (5, "-"), (7, "A"), (8, "A"))]
    report = Counter()
    table, elements = read(tmp_path, genome, rows, report=report)
    assert elements["sequence"].tolist() == ["GNGNGG"] and table["place"].tolist() == [2, 6, 7]
    assert report["m.tsv", "deletions between unknown bases", "left out"] == 1


@pytest.mark.parametrize("row, fault", [
    ("1\t7\tG\tA\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: this change of A-1 is in line 4 already, wanted once"),
    ("1\t7\tA\tG\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: REF A, in line 4 it is G, wanted one"),
    ("9\t3\tA\tG\t20\t1\t1\t0.1\t1\tX\tGRCh38", "line 12: REF A, in line 11 it is G, wanted one"),
    ("1\t15\tT\tG\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: chr1:15 REF is T, the genome has G"),
    ("1\t21\tT\tG\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Pos '21', wanted at most 20"),
    ("2\t1\tA\tG\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: element A-1 on chr2, in line 2 on chr1, wanted one"),
    ("1\t0\tG\tT\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Pos '0', wanted a place from 1"),
    ("1\t1.5\tG\tT\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Pos '1.5', wanted a place"),
    ("1\tNA\tG\tT\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Pos 'NA', wanted a place"),
    ("NA\t7\tG\tT\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Chrom 'NA', wanted a contig"),
    ("1\t7\tN\tT\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Ref 'N', wanted one of A C G T"),
    ("1\t7\tGT\tT\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Ref 'GT', wanted one of A C G T"),
    ("1\t7\tG\tt\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Alt 't', wanted one of A C G T -"),
    ("1\t7\tG\tG\t20\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Alt 'G', wanted another allele than REF"),
    ("1\t7\tG\tT\t0\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Barcodes '0', wanted a whole number from 1"),
    ("1\t7\tG\tT\t1e2\t1\t1\t0.1\t1\tA-1\tGRCh38", "line 12: Barcodes '1e2', wanted a whole number"),
    ("1\t7\tG\tT\t20\t1\t1\tinf\t1\tA-1\tGRCh38", r"line 12: Coefficient 'inf', wanted a finite number \(log2\)"),
    ("1\t7\tG\tT\t20\t1\t1\tNA\t1\tA-1\tGRCh38", "line 12: Coefficient 'NA', wanted a finite number"),
    ("1\t7\tG\tT\t20\t1\t1\t0.1\t1.1\tA-1\tGRCh38", "line 12: pValue '1.1', wanted a number from 0 to 1"),
    ("1\t7\tG\tT\t20\t1\t1\t0.1\t1\t\tGRCh38", "line 12: Element '', wanted a name"),
    ("1\t7\tG\tT\t20\t1\t1\t0.1\t1\tA-1", "line 12: 10 fields, wanted 11"),
    ("9\t90\tA\tG\t20\t1\t1\t0.1\t1\tGP1BA\tGRCh38", "lines 11 and 12: element GP1BB has rows for 2 of the 88 bases from 3 to 90"),
    ("9\t5\tA\tG\t20\t1\t1\t0.1\t1\tGP1BB\tGRCh38", "line 12: Element 'GP1BB', wanted GP1BB alone, for GP1BA is read as GP1BB"),
])  # fmt: skip
def test_every_fault_names_its_line(tmp_path, genome, row, fault):
    rows = [r for r in ROWS[:11] if "A-2" not in r]
    read(tmp_path, genome, rows)
    with pytest.raises(ValueError, match=f"m.tsv, {fault}"):
        read(tmp_path, genome, [*rows, row])


def test_faults_of_the_whole_file_are_refused(tmp_path, genome):
    with pytest.raises(ValueError, match=r"m.tsv: no row of release 'GRCh38'; found \['GRCh37'\]"):
        read(tmp_path, genome, ROWS[-1:])
    with pytest.raises(ValueError, match="min_barcodes 0: wanted 1 or more"):
        read(tmp_path, genome, min_barcodes=0)
    (tmp_path / "m.tsv").write_text("Chrom\tPos\n1\t2\n")
    with pytest.raises(ValueError, match="m.tsv: no column"):
        mpra.read(tmp_path / "m.tsv", genome, 1, Counter())
    with pytest.raises(FileNotFoundError):
        mpra.read(tmp_path / "none.tsv", genome, 1, Counter())


def test_loci_whose_elements_begin_alike_keep_names_apart(tmp_path, genome):
    rows = [f"9\t{p}\tG\tA\t20\t1\t1\t0.1\t0.5\t{e}\tGRCh38" for p, e in ((3, "E-1"), (3, "E-2"), (5, "E"), (7, "x"), (7, "y"))]
    table, _ = read(tmp_path, genome, rows)
    assert table["locus"].tolist() == ["E-1+E-2", "E-1+E-2", "E", "x+y", "x+y"]


def test_every_base_has_one_change_of_each_kind(tmp_path, genome):
    rows = [f"9\t{p}\t{b}\t{alt}\t20\t1\t1\t0.1\t0.5\tE\tGRCh38" for p, b in enumerate("ACGT", 1) for alt in "ACGT-" if alt != b]
    table, _ = read(tmp_path, genome, rows)
    complement = dict(zip("ACGT", "TGCA"))
    for v in table.itertuples():
        base, alt = v.change.split(">")
        purines = (base in "AG") + (alt in "AG")
        want = "deletion" if alt == "-" else "transition" if purines != 1 else transversion(alt == complement[base])
        assert v.kind == want
    assert (table.groupby("place")["kind"].nunique() == 4).all() and len(table) == 16


def transversion(to_complement: bool) -> str:
    return "transversion to the complement" if to_complement else "other transversion"


def test_windows_by_hand(tmp_path, genome):
    table, elements = read(tmp_path, genome)
    cut = mpra.windows(table, elements, 4).set_index(["element", "place", "change"])
    columns = ["start", "offset", "ref_sequence", "alt_sequence"]
    # A-1 is CGTNCCCAT from 5
    assert cut.loc[("A-1", 6, "G>A"), columns].tolist() == [5, 1, "CGT", "CAT"]  # CGTN, its N cut off
    assert cut.loc[("A-1", 5, "C>-"), columns].tolist() == [5, 0, "CGT", "GTNC"]
    assert cut.loc[("A-1", 9, "C>-"), columns].tolist() == [7, 2, "TNCC", "TNCC"]  # one of three: the window ends in their run
    assert cut.loc[("A-1", 13, "T>-"), columns].tolist() == [10, 2, "CCAT", "CCA"]  # the last base has nothing behind it
    assert cut.loc[("GP1BB", 2, "G>T"), columns].tolist() == [2, 0, "GG", "TG"]  # shorter than a window: whole
    further = mpra.windows(table, elements, 4, genome).set_index(["element", "place", "change"])
    assert further.loc[("A-1", 13, "T>-"), columns].tolist() == [10, 2, "CCAT", "CCAG"]  # CATGA: the genome's G behind it
    assert further.loc[("A-1", 5, "C>A"), columns].tolist() == [4, 1, "ACGT", "AAGT"]  # A before it, and then N
    assert further.loc[("GP1BB", 2, "G>T"), columns].tolist() == [2, 0, "GG", "TG"]


@pytest.fixture(scope="module")
def real():
    path, genome = DATA_DIR / "variants/kircher2019_mpra_saturation.tsv.gz", DATA_DIR / "GRCh38_loci.fa.gz"
    if not (path.is_file() and genome.is_file()):
        pytest.skip(f"no {path}")
    report, genome = Counter(), Reference(genome)
    return genome, report, *mpra.read(path, genome, 1, report)


IN_LOCI = {"F9": 984, "GP1BB": 1268, "HNF4A": 977, "PKLR-24h": 1776, "PKLR-48h": 1794, "TERT-GAa": 974, "TERT-GBM": 973, "TERT-GSc": 974,
           "TERT-HEK": 975}  # fmt: skip


def test_the_real_table_has_the_counts_of_its_paper(real):
    _, report, table, elements = real
    counted = {what: n for (_, what, _), n in report.items()}
    assert len(table) + counted["rows without a place (NA)"] == 44_658 == counted["rows of release GRCh37"]
    assert counted["rows without a place (NA)"] == 11 and counted["rows of element GP1BA"] == 1268
    assert counted["rows whose REF the genome has too"] == 10_695 == sum(IN_LOCI.values())
    assert table["element"].value_counts()[list(IN_LOCI)].to_dict() == IN_LOCI
    hnf4a = table[table["element"] == "HNF4A"]
    assert (hnf4a["kind"] != "deletion").sum() == 855
    assert ((hnf4a["p_value"] < 1e-5) & (hnf4a["barcodes"] >= 10)).sum() == 119
    assert elements["locus"].nunique() == 21 and len(elements) == 29
    shared = elements.groupby("locus")["element"].agg(set)[lambda of: of.map(len) > 1].to_dict()
    assert shared == {
        "LDLR": {"LDLR", "LDLR.2"}, "PKLR": {"PKLR-24h", "PKLR-48h"}, "SORT1": {"SORT1", "SORT1.2", "SORT1-flip"},
        "TERT": {"TERT-GAa", "TERT-GBM", "TERT-GSc", "TERT-HEK"}, "ZRSh-13": {"ZRSh-13", "ZRSh-13h2"},
    }  # fmt: skip
    named = hnf4a[(hnf4a["pos"] == 44_355_643) & (hnf4a["alt"] == "A")].iloc[0]  # C>A of the research notes
    assert (named["ref"], named["barcodes"], round(named["effect"], 2)) == ("C", 360, -0.29) and named["p_value"] < 1e-15


def test_sequences_of_the_real_table_are_the_genomes_and_have_one_gap(real):
    genome, _, _, elements = real
    known = elements[elements["element"].isin(IN_LOCI)]
    assert known["sequence"].tolist() == [genome.fetch(e.contig, e.start, e.end) for e in known.itertuples()]
    assert set("".join(known["sequence"])) == set("ACGT")
    gap = elements[elements["n_unknown"] > 0]
    assert gap[["element", "n_unknown", "n_filled"]].values.tolist() == [["TCF7L2", 1, 0]] and gap["sequence"].iloc[0][11] == "N"
    length = elements["sequence"].str.len()
    assert (length == elements["end"] - elements["start"]).all() and (length.min(), length.max()) == (187, 601)


def test_real_variants_change_their_element_as_the_table_says(real):
    _, _, table, elements = real
    own = elements.set_index("element")
    for v in table.iloc[::97].itertuples():
        start, text = own.at[v.element, "start"], own.at[v.element, "sequence"]
        i, at = v.place - start, v.pos - start
        want = text[:i] + v.change.split(">")[1].replace("-", "") + text[i + 1 :]
        assert text[at : at + len(v.ref)] == v.ref and text[:at] + v.alt + text[at + len(v.ref) :] == want
    assert (table[table["kind"] == "deletion"]["ref"].str.len() == 2).all()
    assert not table.duplicated(["element", "place", "kind"]).any()  # one row an element, place and kind, as the null wants


def test_windows_of_the_real_table_stay_in_their_elements(real):
    _, _, table, elements = real
    some = table.iloc[::31].reset_index(drop=True)
    for bp in (128, 256):
        own = elements[["element", "start", "end", "sequence"]]
        cut = mpra.windows(some, elements, bp).merge(own, on="element", suffixes=("", "_element"))
        for w in cut.itertuples():
            first = w.start - w.start_element
            assert first >= 0 and w.sequence[first : first + len(w.ref_sequence)] == w.ref_sequence
            assert w.ref_sequence[w.offset : w.offset + len(w.ref)] == w.ref and w.start + w.offset == w.pos
            after = w.sequence[first + w.offset + len(w.ref) :]
            assert w.alt_sequence == (w.ref_sequence[: w.offset] + w.alt + after)[: len(w.alt_sequence)]
        span = cut["end"] - cut["start_element"]
        short = cut["ref_sequence"].str.len() < np.minimum(bp, span)
        assert set(cut["element"][short]) <= {"TCF7L2"}  # its N at the end of a window is cut off


def test_windows_that_read_on_are_those_of_the_genome(real):
    genome, _, table, elements = real
    some = table[table["element"].isin(IN_LOCI)].iloc[::41].reset_index(drop=True)
    for bp in (128, 512):
        want = labelled.windows(some, genome, bp)
        pd.testing.assert_frame_equal(mpra.windows(some, elements, bp, genome), want)
