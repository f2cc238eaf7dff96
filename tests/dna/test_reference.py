import gzip

import pysam
import pytest

from lib.dna.reference import Reference


def fasta(tmp_path, text=">chr1\nACGTACGTAC\nACGT\n", compress=False):
    path = tmp_path / "g.fa"
    path.write_text(text)
    if compress:
        pysam.tabix_compress(str(path), f"{path}.gz")
        path = tmp_path / "g.fa.gz"
    pysam.faidx(str(path))
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_fetch_is_half_open_and_crosses_lines(tmp_path, compress):
    reference = Reference(fasta(tmp_path, compress=compress))
    assert reference.lengths == {"chr1": 14}
    assert reference.fetch("chr1", 8, 12) == "ACAC"


def test_lower_case_iupac_and_n(tmp_path):
    reference = Reference(fasta(tmp_path, ">chr1\nacgtNRyA\n"))
    assert reference.fetch("chr1", 0, 8) == "ACGTNNNA"
    assert reference.letters("chr1", 0, 8) == "acgtNRyA"


def test_other_letter_names_file_and_region(tmp_path):
    reference = Reference(fasta(tmp_path, ">chr1\nACGUA\n"))
    with pytest.raises(ValueError, match=r"g\.fa, region chr1:1-5.*'U'"):
        reference.fetch("chr1", 1, 5)


def test_chr_prefix_hint(tmp_path):
    reference = Reference(fasta(tmp_path, ">chr16\nACGT\n"))
    with pytest.raises(ValueError, match=r"loci\.bed, line 3: contig '16'.*'chr16'.*prefix"):
        reference.check_contig("16", "loci.bed, line 3")
    with pytest.raises(ValueError, match="known: chr16"):
        reference.check_contig("chr9", "x")


@pytest.mark.parametrize("start, end", [(10, 15), (-1, 3), (5, 5)])
def test_region_off_the_contig(tmp_path, start, end):
    with pytest.raises(ValueError, match=rf"chr1:{start}-{end}.*g\.fa has chr1 from 0 to 14"):
        Reference(fasta(tmp_path)).fetch("chr1", start, end)


def test_missing_file_and_missing_index(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.fa: no such file"):
        Reference(tmp_path / "no.fa")
    path = fasta(tmp_path)
    path.with_name("g.fa.fai").unlink()
    with pytest.raises(FileNotFoundError, match=r"g\.fa\.fai: no index.*samtools faidx"):
        Reference(path)
    assert not path.with_name("g.fa.fai").exists()  # nothing was made behind the user's back


def test_missing_gzi(tmp_path):
    path = fasta(tmp_path, compress=True)
    path.with_name("g.fa.gz.gzi").unlink()
    with pytest.raises(FileNotFoundError, match=r"gzi: no index"):
        Reference(path)


def test_truncated_bgzip(tmp_path):
    path = fasta(tmp_path, compress=True)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"g\.fa\.gz: truncated"):
        Reference(path)


def test_truncated_plain(tmp_path):
    path = fasta(tmp_path)
    path.write_text(path.read_text()[:-4])  # loses "CGT\n"
    with pytest.raises(ValueError, match=r"g\.fa: truncated, contig chr1"):
        Reference(path)


def test_plain_without_last_newline_is_complete(tmp_path):
    assert Reference(fasta(tmp_path, ">chr1\nACGT")).fetch("chr1", 0, 4) == "ACGT"


def test_plain_gzip(tmp_path):
    path = tmp_path / "g.fa.gz"
    path.write_bytes(gzip.compress(b">chr1\nACGT\n"))
    with pytest.raises(ValueError, match=r"g\.fa\.gz: plain gzip, wanted bgzip"):
        Reference(path)
