"""Residues on the genome: by hand on both strands, and where the three alleles of NOD2 lie."""

from collections import Counter

import pandas as pd
import pytest

from lib.dna import domains, genes
from lib.dna.reference import Reference
from tests import helpers

CDS = pd.DataFrame([("c", 10, 20, "+"), ("c", 30, 37, "+")], columns=["contig", "start", "end", "strand"])


def table(strand="+", gene="G"):
    return CDS.assign(strand=strand, gene=gene, transcript="t", feature="CDS", phase=0)


def laid(strand, first, last):
    asked = pd.DataFrame([("G", "d", first, last)], columns=domains.COLUMNS)
    return domains.intervals(asked, table(strand), Counter())[["start", "end"]].values.tolist()


def test_residues_by_hand_on_both_strands():
    assert laid("+", 1, 3) == [[10, 19]] and laid("+", 4, 4) == [[19, 20], [30, 32]] and laid("+", 5, 5) == [[32, 35]]
    assert laid("-", 1, 2) == [[31, 37]] and laid("-", 3, 3) == [[30, 31], [18, 20]] and laid("-", 1, 5) == [[30, 37], [12, 20]]


def test_a_domain_that_no_transcript_holds_is_counted():
    counted = Counter()
    asked = pd.DataFrame([("G", "d", 1, 6), ("H", "d", 1, 2), ("G", "e", 1, 2)], columns=domains.COLUMNS)
    got = domains.intervals(asked, table(), counted)
    assert got["concept"].tolist() == ["domain: G e"] and got["family"].tolist() == ["e"] and sum(counted.values()) == 2


@pytest.mark.parametrize("row", ["NOD2,x,0,5", "NOD2,x,9,5", "NOD2,x,a,5"])
def test_wrong_residues_are_named(tmp_path, row):
    path = tmp_path / "d.csv"
    path.write_text(f"gene,domain,first,last\nNOD2,x,1,5\n{row}\n")
    with pytest.raises(ValueError, match=r"d\.csv, line 3: residues '.' to '5', wanted 1 <= first <= last"):
        domains.read(path)


def test_of_the_three_alleles_of_nod2_two_lie_in_the_repeats():
    path = helpers.DATA_DIR / "lrg_exons.bed.gz"
    if not path.is_file():
        pytest.skip(f"{path}: not here")
    known = genes.read(path, Reference(helpers.DATA_DIR / "GRCh38_loci.fa.gz"), Counter())
    counted = Counter()
    got = domains.intervals(domains.read(domains.OWN), known, counted)
    assert not counted and set(got["contig"]) == {"chr16"} and len(got) > 3
    inside = [((got["start"] <= pos - 1) & (pos - 1 < got["end"])).any() for pos in (50712015, 50722629, 50729867)]
    assert inside == [False, True, True]  # R702W, G908R, L1007fs (rs2066844, rs2066845, rs2066847)
    one = got.drop_duplicates(["start", "end"])
    assert (one["end"] - one["start"]).sum() == 3 * (1040 - 744 + 1)
