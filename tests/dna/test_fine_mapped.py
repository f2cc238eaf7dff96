"""Fine-mapped variants and regions: what is read by hand, what is left out, and what is refused."""

from collections import Counter

import pytest

from lib.dna import fine_mapped
from lib.dna.reference import Reference
from tests.dna.test_lift import CHAIN


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGT" * 25 + "\n>chr2\n" + "ACGT" * 10 + "\n")
    (tmp_path / "g.fa.fai").write_text("chr1\t100\t6\t100\t101\nchr2\t40\t113\t40\t41\n")
    return Reference(tmp_path / "g.fa")


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "a_to_b.chain").write_text(CHAIN)
    return tmp_path / "a_to_b.chain"


def row(snp: str, probability: str = "0.5") -> str:
    return f"chr1:1:A:G\t{snp}\t-\t0.9\tA,A\t{probability}\t8.1\n"


def variants(tmp_path, chain, genome, text, report=None):
    (tmp_path / "ibd.pics").write_text(text)
    return fine_mapped.read(tmp_path / "ibd.pics", chain, genome, Counter() if report is None else report)


def test_likely_single_bases_are_lifted_and_the_rest_is_counted(tmp_path, chain, genome):
    # base 3 (0-based 2) of the other assembly's 1 lies at 12 here, an A; 62 (61) at 51, a T
    text = (row("chr1:3:A:G") + row("1:62:C:T") + row("chr1:3:G:A", "0.0999") + row("chr1:3:A:AT") + row("chr1:50:A:G") + row("chr1:4:A:G")
            + row("chr1:3:A:G", "1"))  # fmt: skip
    report = Counter()
    table = variants(tmp_path, chain, genome, text, report)
    assert table.values.tolist() == [["chr1", 12, 13, "fine-mapped variant"], ["chr1", 51, 52, "fine-mapped variant"]]
    assert {what: n for (_, what, _), n in report.items()} == {
        "variants of a probability below 0.1": 1, "fine-mapped variants that are no single bases": 1,
        "fine-mapped variants that do not lift to the genome": 1,
        "fine-mapped variants of which no allele is the genome's base": 1}  # fmt: skip


def test_positions_of_another_assembly_are_told_by_their_alleles(tmp_path, chain, genome):
    right = "".join(row(f"chr1:{3 + 4 * i}:A:G") for i in range(8))  # every fourth base is an A
    assert len(variants(tmp_path, chain, genome, right + row("chr1:4:A:G") * 2)) == 8
    with pytest.raises(ValueError, match=r"ibd.pics: of 11 variants 3 have no allele that is the genome's base .*GRCh37"):
        variants(tmp_path, chain, genome, right + row("chr1:4:A:G") * 3)


@pytest.mark.parametrize("text, message", [
    (row("chr1:3:A:G") + "chr1:3:A:G\t0.5\n", r"line 2: 2 columns, wanted 7"),
    (row("chr1:x:A:G"), r"line 1: 'chr1:x:A:G', wanted chr:position:allele:allele"),
    (row("chr1:3:A"), r"line 1: 'chr1:3:A', wanted chr"),
    (row("chr1:0:A:G"), r"line 1: 'chr1:0:A:G', wanted"),
    (row("chr1:3:A:G", "1.5"), r"line 1: probability '1\.5', wanted a number from 0 to 1"),
    (row("chr1:3:A:G", "nan"), r"line 1: probability 'nan', wanted"),
    (row("chr1:3:A:G", "x"), r"line 1: probability 'x', wanted"),
    (row("chr1:3:A:G", "0.01"), r"no variant or region in the file that is on .*g\.fa"),
])  # fmt: skip
def test_a_list_is_refused_by_line(tmp_path, chain, genome, text, message):
    with pytest.raises(ValueError, match=rf"ibd\.pics.*{message}"):
        variants(tmp_path, chain, genome, text)


def test_a_list_without_a_chain_and_a_file_of_another_kind_are_refused(tmp_path, genome):
    with pytest.raises(ValueError, match=r"a\.pics: a PICS list is of GRCh37, wanted a chain file .*lift_path"):
        fine_mapped.read(tmp_path / "a.pics", None, genome, Counter())
    with pytest.raises(ValueError, match=r"a\.bed: wanted a PICS list \(\.pics\) or a table of regions \(\.csv\)"):
        fine_mapped.read(tmp_path / "a.bed", None, genome, Counter())


HEAD = "# from a table\nHD,chr,region_start_hg38,region_end_hg38\n"


def test_regions_count_from_one_and_what_has_no_place_is_counted(tmp_path, genome):
    (tmp_path / "r.csv").write_text(HEAD + "1,1,11,20\n2,chr2,1,40\n3,7,1,9\n4,1,NA,NA\n")
    report = Counter()
    table = fine_mapped.read(tmp_path / "r.csv", None, genome, report)
    assert table.values.tolist() == [["chr1", 10, 20, "fine-mapped region"], ["chr2", 0, 40, "fine-mapped region"]]
    assert {what: n for (_, what, _), n in report.items()} == {
        "fine-mapped regions on contigs that the genome lacks": 1, "fine-mapped regions without a place": 1}  # fmt: skip


@pytest.mark.parametrize("text, message", [
    ("HD,chr,start,end\n", r"line 1: columns HD, chr, start, end, wanted chr, region_start_hg38, region_end_hg38"),
    (HEAD + "1,1,20,11\n", r"line 3: start 20 is not below end 11"),
    (HEAD + "1,1,0,11\n", r"line 3: chr1:0-11, wanted positions from 1 to 100"),
    (HEAD + "1,1,5,101\n", r"line 3: chr1:5-101, wanted positions from 1 to 100"),
    (HEAD + "1,1,5\n", r"line 3: 3 columns, wanted at least 4"),
    (HEAD, r"no variant or region in the file"),
])  # fmt: skip
def test_a_table_of_regions_is_refused_by_line(tmp_path, genome, text, message):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"r\.csv.*{message}"):
        fine_mapped.read(tmp_path / "r.csv", None, genome, Counter())
