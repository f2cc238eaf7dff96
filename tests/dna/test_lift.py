"""Intervals of another assembly: where a chain takes them by hand, what it loses, and a real one."""

import os
from collections import Counter
from pathlib import Path

import pytest

from lib.dna import lift
from lib.dna.reference import Reference

#: Bases 0 to 40 of the other assembly's 1 lie 10 further on, 40 to 60 are gone, 60 to 90 lie at 50; 2 is turned round.
CHAIN = """chain 1000 1 90 + 0 90 chr1 100 + 10 80 1
40 20 0
30

chain 900 2 40 + 0 40 chr2 40 - 0 40 2
40
"""


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGT" * 25 + "\n>chr2\n" + "ACGT" * 10 + "\n")
    (tmp_path / "g.fa.fai").write_text("chr1\t100\t6\t100\t101\nchr2\t40\t113\t40\t41\n")
    return Reference(tmp_path / "g.fa")


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "a_to_b.chain").write_text(CHAIN)
    return tmp_path / "a_to_b.chain"


def read(tmp_path, chain, genome, text, report=None):
    (tmp_path / "peaks.bed").write_text(text)
    return lift.read(tmp_path / "peaks.bed", chain, genome, Counter() if report is None else report)


def test_by_hand(tmp_path, chain, genome):
    report = Counter()
    rows = "chr1\t0\t5\tCTCF\n1\t60\t70\tTBP\n1\t45\t50\tgone\n1\t35\t65\tacross\n2\t0\t10\tturned\n7\t1\t2\tunknown\n"
    table = read(tmp_path, chain, genome, rows, report)
    assert table.values.tolist() == [["chr1", 10, 15, "CTCF", "CTCF"], ["chr1", 50, 60, "TBP", "TBP"], ["chr2", 30, 40, "turned", "turned"]]
    assert report["peaks.bed", lift.LIFTED, "lifted by a_to_b.chain"] == 3 and report["peaks.bed", lift.LOST, "left out"] == 3


def test_a_row_without_a_name_is_called_by_its_file(tmp_path, chain, genome):
    assert read(tmp_path, chain, genome, "1\t0\t5\n").concept.tolist() == ["peaks"]


def test_what_is_no_interval_no_chain_and_another_assembly_is_refused(tmp_path, chain, genome):
    with pytest.raises(ValueError, match=r"peaks.bed, line 2: start 9 is not below end 9"):
        read(tmp_path, chain, genome, "1\t0\t5\n1\t9\t9\n")
    with pytest.raises(ValueError, match="none of 1 intervals lifts by .*: wanted those of the assembly"):
        read(tmp_path, chain, genome, "1\t45\t50\n")
    chain.write_text("no chain at all\n")
    with pytest.raises(ValueError, match="a_to_b.chain: not a chain file"):
        read(tmp_path, chain, genome, "1\t0\t5\n")


def test_a_known_variant_lifts_to_its_place(tmp_path):
    """rs2066847 of NOD2: chr16:50763778 in GRCh37, chr16:50729867 in GRCh38 (dbSNP, 1-based)."""
    data = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parents[3] / "shared/data")
    chain = data / "regulatory/GRCh37_to_GRCh38.chain.gz"
    if not chain.is_file():
        pytest.skip(f"no {chain}: real data is not at hand")
    genome = Reference(data / "GRCh38_loci.fa.gz")
    table = read(tmp_path, chain, genome, "16\t50763777\t50763778\trs2066847\n")
    assert table.values.tolist() == [["chr16", 50729866, 50729867, "rs2066847", "rs2066847"]]
