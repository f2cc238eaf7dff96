"""Bad and odd inputs, one a row: each gives the right result, or an error that names the file and the record."""

import gzip
import os
from collections import Counter

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.corpus import corpus, splits
from lib.dna import genes, intervals, labelled, people, report, tracks, windows
from lib.dna.genotypes import read_genotypes, read_sites
from lib.dna.reference import Reference
from lib.stage import io

GENOME = ">chr2\nACGTACGTACGTACGTACGT\nAAAAACGCGCGTTTTTACGT\n>chr3 a note\nACGTRCGTNNNNNNNNNNNN\n"
# chr2: base at 0-based p is "ACGT"[p % 4] below 20; A at 20 to 24, C 25 G C G C G 30, T at 31 to 35
LOCI = pd.DataFrame({"contig": ["chr2"], "start": [0], "end": [40], "locus": ["x"]})
HEAD = """##fileformat=VCFv4.2
##contig=<ID=chr2,length=40>
##contig=<ID=chr3,length=20>
##FILTER=<ID=LowQual,Description="x">
##INFO=<ID=SIG,Number=.,Type=String,Description="x">
##INFO=<ID=AF,Number=A,Type=Float,Description="x">
##FORMAT=<ID=GT,Number=1,Type=String,Description="x">
##FORMAT=<ID=PS,Number=1,Type=Integer,Description="x">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	a	b
"""


@pytest.fixture
def genome(tmp_path):
    return Reference(fasta(tmp_path, GENOME))


def fasta(folder, text, name="g.fa"):
    (folder / name).write_text(text)
    pysam.faidx(str(folder / name))
    return folder / name


def vcf(folder, *rows, head=HEAD, index=True, tail="\n"):
    """rows: "POS REF ALT calls", or with FILTER=..., or a whole line with tabs."""
    lines = []
    for row in rows:
        if "\t" not in row:
            given = dict(part.split("=") for part in row.split() if "=" in part and part[0].isupper())
            pos, ref, alt, *calls = [part for part in row.split() if not ("=" in part and part[0].isupper())]
            row = "\t".join([given.get("CHROM", "chr2"), pos, ".", ref, alt, ".", given.get("FILTER", "."), ".",
                             given.get("FORMAT", "GT"), *calls])  # fmt: skip
        lines.append(row)
    path = folder / "v.vcf.gz"
    with pysam.BGZFile(str(path), "w") as handle:
        handle.write((head + "\n".join(lines) + (tail if lines else "")).encode("latin-1"))
    if index:
        pysam.tabix_index(str(path), preset="vcf", force=True)
    return path


def haplotypes(genotypes, genome, person):
    from lib.dna.haplotypes import build_units

    units = build_units(windows.tile(LOCI, 40), genome, genotypes)
    rows = units.carriers[units.carriers["sample"] == person].sort_values("haplotype")
    return [units.sequences[u] for u in rows.unit]


def said(genotypes):
    """What the report says, without the file."""
    return {what: n for (_, what, _), n in genotypes.report.items()}


# ---- VCF: refused -----------------------------------------------------------------------------------------------

REFUSED = {
    "allele beyond the ALTs": (["2 C T 0/5 0/0"], r"v\.vcf\.gz, chr2:2, sample 'a': genotype '0/5' has allele 5, wanted 0 to 1"),
    "allele beyond the ALTs, second sample": (["2 C T,G 0/2 3|0"], r"chr2:2, sample 'b': genotype '3\|0' has allele 3, wanted 0 to 2"),
    "ALT is REF": (["2 C C 0/1 0/0"], r"chr2:2: ALT C is REF"),
    "ALT is REF in lower case": (["2 C c 0/1 0/0"], r"chr2:2: ALT c is REF"),
    "one of two ALTs is REF": (["2 C T,C 0/1 0/2"], r"chr2:2: ALT C is REF"),
    "REF is another IUPAC code than the genome's": (["CHROM=chr3 5 Y A 0/1 0/0"], r"chr3:5: REF Y, but .*g\.fa has R"),
    "REF is N where the genome has a base": (["2 N T 0/1 0/0"], r"chr2:2: REF N, but .*g\.fa has C"),
    "REF of another build": (["3 C T 0/1 0/0"], r"chr2:3: REF C, but .*g\.fa has G: another genome build\?"),
    "REF beyond the contig": (["39 GTA G 0/1 0/0"], r"chr2:39: REF GTA runs off the end of chr2"),
    "REF is no base": (["2 Q T 0/1 0/0"], r"chr2:2: REF Q: letter 'Q' at offset 0"),
    "REF is empty": (["chr2\t2\t.\t\tT\t.\t.\t.\tGT\t0/1\t0/0"], r"chr2:2: REF is empty, wanted bases"),
    "a call of more fields than FORMAT": (["2 C T 0/1:7 0/0"], r"chr2:2: call '0/1:7' has more fields than FORMAT 'GT'"),
    "a call of more fields than FORMAT, with PS": (["2 C T 0/1:7:9 0/0:1 FORMAT=GT:PS"], r"call '0/1:7:9' has more fields than FORMAT"),
    "REF is a dot": (["2 . T 0/1 0/0"], r"chr2:2: REF \.: letter '\.'"),
    "ALT is no base": (["2 C J 0/1 0/0"], r"chr2:2: ALT J: letter 'J'"),
    "ALT with a digit": (["2 C T1 0/1 0/0"], r"chr2:2: ALT 'T1', wanted bases, \*, <a symbol> or a breakend"),
    "ALT with an empty allele": (["2 C T, 0/1 0/0"], r"chr2:2: ALT '', wanted bases"),
    "ALT half a symbol": (["2 C <DEL 0/1 0/0"], r"chr2:2: ALT '<DEL', wanted bases"),
    "ALT twice in a record": (["2 C T,T 0/1 0/2"], r"chr2:2: ALT T,T: allele T listed twice"),
    "two IUPAC ALTs that are both N": (["2 C R,Y 0/1 0/2"], r"chr2:2: allele C>N listed twice"),
    "a record twice": (["2 C T 0/1 0/0", "2 C T 0/1 0/0"], r"chr2:2: allele C>T listed twice"),
    "a deletion at both ends of its run": (["20 TA T 0/1 0/0", "24 AA A 0/1 0/0"],
                                           r"chr2:24: allele AA>A is chr2:20 TA>T in another spelling"),
    "an insertion at both ends of its run": (["20 T TA 0/1 0/0", "25 A AA 0/1 0/0"], r"chr2:25: allele A>AA is chr2:20 T>TA"),
    "an SNV with padding": (["2 CG CT 0/1 0/0", "3 G T 0/0 0/1"], r"chr2:3: allele G>T is chr2:2 CG>CT in another spelling"),
    "a deletion of a repeated pair": (["25 ACG A 0/1 0/0", "29 GCG G 0/1 0/0"], r"chr2:29: .* is chr2:25 ACG>A"),
    "a deletion with a long tail": (["20 TA T 0/1 0/0", "20 TAAAAA TAAAA 0/1 0/0"], r"chr2:20: .* is chr2:20 TA>T"),
    "a row too short": (["chr2\t2\t.\tC\tT\t.\t.\t.\tGT\t0/1"], r"chr2:2: 10 columns, wanted 11 for 2 samples"),
    "a row too long": (["2 C T 0/1 0/0 1/1"], r"chr2:2: 12 columns, wanted 11 for 2 samples"),
    "a row of sites only": (["chr2\t2\t.\tC\tT\t.\t.\t."], r"chr2:2: 8 columns, wanted 11"),
    "a row that ends in a tab": (["chr2\t2\t.\tC\tT\t.\t.\t.\tGT\t0/1\t0/0\t"], r"chr2:2: 12 columns, wanted 11"),
    "POS 0": (["0 C T 0/1 0/0", "2 C T 0/1 0/0"], r"v\.vcf\.gz, chr2:0: POS '0', wanted a number from 1"),
    "genotype of letters": (["2 C T 0/x 0/0"], r"chr2:2, sample 'a': genotype '0/x', wanted allele numbers or \."),
    "genotype of bases": (["2 C T C/T C/C"], r"chr2:2, sample 'a': genotype 'C/T'"),
    "genotype empty": (["chr2\t2\t.\tC\tT\t.\t.\t.\tGT\t\t0/0"], r"chr2:2, sample 'a': genotype ''"),
    "genotype with a minus": (["2 C T 0/-1 0/0"], r"genotype '0/-1'"),
    "genotype that ends in a slash": (["2 C T 0/ 0/0"], r"genotype '0/'"),
    "three copies": (["2 C T 0/0/1 0/0"], r"chr2:2, sample 'a': genotype '0/0/1' has 3 copies"),
    "GT not first": (["2 C T 3:0/1 4:0/0 FORMAT=DP:GT"], r"chr2:2: FORMAT 'DP:GT', wanted GT first"),
    "no GT": (["2 C T 0.5 0.1 FORMAT=DS"], r"chr2:2: FORMAT 'DS', wanted GT first"),
    "FORMAT a dot": (["2 C T . . FORMAT=."], r"chr2:2: FORMAT '\.', wanted GT first"),
    "a sample without any call": (["2 C T 0/1 ./.", "6 C T 0/0 ."], r"v\.vcf\.gz: sample 'b' has no call in any of the 2 records"),
    "nobody called": (["2 C T ./. ./."], r"sample 'a' has no call in any of the 1 records of the loci, nor have 1 more"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_vcf_is_refused_by_record(tmp_path, genome, name):
    rows, message = REFUSED[name]
    both = pd.DataFrame({"contig": ["chr2", "chr3"], "start": [0, 0], "end": [40, 8]})
    with pytest.raises(ValueError, match=message) as error:
        read_genotypes(vcf(tmp_path, *rows), genome, both)
    assert "v.vcf.gz" in str(error.value)


HEADERS = {
    "contig in capitals": ({"chr2": "Chr2"}, r"no contig 'chr2' with records, .*spelled 'Chr2' there"),
    "contig all capitals": ({"chr2": "CHR2"}, r"spelled 'CHR2' there"),
    "contig of RefSeq": ({"chr2": "NC_000002.12"}, r"spelled 'NC_000002.12' there"),
    "contig of GenBank": ({"chr2": "CM000664.2"}, r"spelled 'CM000664.2' there"),
    "contig without chr": ({"chr2": "2"}, r"spelled '2' there: the two differ in the 'chr' prefix"),
    "another contig length": ({"length=40": "length=41"}, r"header says chr2 has 41 bases, .* has 40: another genome build"),
    "a sample twice": ({"\ta\tb": "\ta\ta"}, "duplicate sample a in the header"),
    "a sample without a name": ({"\ta\tb": "\ta\t"}, "line 9: a sample without a name"),
    "columns by blanks": ({"#CHROM\tPOS": "#CHROM POS"}, r"line 9: columns .*wanted #CHROM POS ID"),
    "no FORMAT column": ({"\tFORMAT\ta\tb": "\ta\tb\tc"}, "line 9: columns"),
    "Latin-1 in the header": ({'Description="x">\n#': 'Description="caf\u00e9">\n#'}, r"line 4: byte 0xe9 is not UTF-8"),
    "FORMAT and no sample": ({"\ta\tb": ""}, "not a readable VCF .*valid header"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_header_is_refused(tmp_path, genome, name):
    change, message = HEADERS[name]
    head, row = HEAD, "chr2\t2\t.\tC\tT\t.\t.\t.\tGT\t0/1\t0/0"
    for old, new in change.items():
        head, row = head.replace(old, new), row.replace(old, new) if old == "chr2" else row
    with pytest.raises(ValueError, match=rf"v\.vcf\.gz.*{message}"):
        read_genotypes(vcf(tmp_path, row, head=head), genome, LOCI)


def test_header_names_one_spelling_and_records_another(tmp_path, genome):
    path = vcf(tmp_path, "CHROM=2 2 C T 0/1 0/0", head=HEAD.replace("##FILTER", "##contig=<ID=2,length=40>\n##FILTER"))
    with pytest.raises(ValueError, match="no contig 'chr2' with records.*spelled '2' there"):
        read_genotypes(path, genome, LOCI)


# ---- VCF: files and indices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how, message", [("written anew", "points at places"), ("blocks added", "the file goes on .*, with chr3:2")])
def test_a_contig_added_after_the_index_was_made(tmp_path, genome, how, message):
    path, row = vcf(tmp_path, "2 C T 0/1 0/0"), "chr3\t2\t.\tC\tT\t.\t.\t.\tGT\t0/1\t0/0"
    index, old = path.with_name("v.vcf.gz.tbi"), path.read_bytes()
    known = index.read_bytes()
    if how == "written anew":
        vcf(tmp_path, "2 C T 0/1 0/0", row)
    else:
        more = vcf(tmp_path, head=row + "\n", index=False)
        path.write_bytes(old[:-28] + more.read_bytes())
    index.write_bytes(known)  # newer than the file, so that only its content tells
    with pytest.raises(ValueError, match=rf"v\.vcf\.gz\.tbi: {message}.*tabix -f -p vcf"):
        read_genotypes(path, genome, LOCI)


@pytest.mark.parametrize("rows", [["2 C T 0/1 0/0", "6 C T 0/1 0/0"], ["2 C T 0/1 0/0"], ["CHROM=chr3 2 C T 0/1 0/0"]])
@pytest.mark.parametrize("csi", [False, True])
def test_an_index_of_another_file(tmp_path, genome, rows, csi):
    other = vcf(tmp_path, "2 C T 0/1 0/0", "6 C T 0/1 0/0", "10 C T 0/1 0/0", index=False)
    pysam.tabix_index(str(other), preset="vcf", force=True, csi=csi)
    path = vcf(tmp_path, *rows, index=False)
    now = path.stat().st_mtime_ns + 10**9
    for index in tmp_path.glob("v.vcf.gz.*"):
        os.utime(index, ns=(now, now))
    with pytest.raises(ValueError, match=r"v\.vcf\.gz\.(tbi|csi): .*make it again"):
        read_genotypes(path, genome, LOCI)


def test_an_older_index_of_the_same_length_is_compared(tmp_path, genome):
    path = vcf(tmp_path, "2 C T 0/1 0/0", head=HEAD.replace("=40", "=40000000"))
    index = path.with_name("v.vcf.gz.tbi")
    old = index.read_bytes()
    assert read_genotypes(vcf(tmp_path, "2 C T 0/1 0/0"), genome, LOCI).variants.pos.tolist() == [1]
    os.utime(index, ns=(1, 1))  # older, but the same: copying changes times
    assert len(read_genotypes(path, genome, LOCI).variants) == 1
    index.write_bytes(old)
    os.utime(index, ns=(1, 1))
    with pytest.raises(ValueError, match=r"v\.vcf\.gz\.tbi: "):
        read_genotypes(path, genome, LOCI)


FILES = {
    "index cut short": (lambda p: p.with_name(p.name + ".tbi").write_bytes(p.with_name(p.name + ".tbi").read_bytes()[:40]),
                        r"v\.vcf\.gz\.tbi: not a whole index .*make it again"),
    "index is text": (lambda p: p.with_name(p.name + ".tbi").write_text("hello"), r"tbi: not a whole index"),
    "index of a BAM": (lambda p: p.with_name(p.name + ".tbi").write_bytes(gzip.compress(b"BAI\1" + bytes(40))),
                       "not a whole index .no tabix or CSI index"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-20]), r"v\.vcf\.gz: truncated"),
    "plain gzip": (lambda p: p.write_bytes(gzip.compress(gzip.decompress(p.read_bytes()))), r"v\.vcf\.gz: plain gzip, wanted bgzip"),
    "not compressed": (lambda p: p.write_bytes(gzip.decompress(p.read_bytes())), r"v\.vcf\.gz: not compressed.*bgzip"),
    "UTF-16": (lambda p: p.write_bytes(HEAD.encode("utf-16")), r"v\.vcf\.gz: UTF-16 text"),
    "empty": (lambda p: p.write_bytes(b""), r"v\.vcf\.gz: not compressed"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_vcf_file_is_refused(tmp_path, genome, name):
    path = vcf(tmp_path, "2 C T 0/1 0/0")
    spoil, message = FILES[name]
    spoil(path)
    with pytest.raises(ValueError, match=message):
        read_genotypes(path, genome, LOCI)


def test_a_line_that_is_not_utf_8(tmp_path, genome):
    path = vcf(tmp_path, "chr2\t2\trs\u00e9\tC\tT\t.\t.\t.\tGT\t0/1\t0/0")
    with pytest.raises(ValueError, match=r"v\.vcf\.gz: the line after chr2:0 cannot be read .*utf-8"):
        read_genotypes(path, genome, LOCI)


# ---- VCF: read right, and counted -------------------------------------------------------------------------------


def test_failed_filters_are_left_out_and_counted(tmp_path, genome):
    rows = ["2 C T 0/1 0/0 FILTER=LowQual", "6 C T 0/1 0/0 FILTER=PASS", "10 C T 0/1 0/0", "14 C T 1/1 0/0 FILTER=q10;LowQual"]
    read = read_genotypes(vcf(tmp_path, *rows), genome, LOCI)
    assert read.variants.pos.tolist() == [5, 9]
    counts = said(read)
    assert (counts["records of FILTER LowQual"], counts["records of FILTER q10;LowQual"], counts["records in the loci"]) == (1, 1, 2)


def test_alleles_without_bases_are_left_out_by_sort(tmp_path, genome):
    rows = ["2 C <DEL> 0/1 0/0", "3 G G[chr2:9[ 0/1 0/0", "4 T .A 0/1 0/0", "5 A ]chr2:9]A 0/1 0/0", "6 C *,T 1/2 0/0",
            "7 G <NON_REF> 0/0 0/0", "8 T . 0/0 0/0", "9 A M 0/1 0/0"]  # fmt: skip
    read = read_genotypes(vcf(tmp_path, *rows), genome, LOCI)
    assert read.variants[["pos", "alt"]].values.tolist() == [[5, "T"], [8, "N"]]
    assert read.alleles[0, 0].tolist() == [0, 1]
    counts = said(read)
    assert counts["ALT alleles, symbolic"] == 2 and counts["ALT alleles, breakend"] == 3
    assert counts["ALT alleles, * (deleted by another record)"] == counts["records without an ALT allele"] == 1
    assert counts["ALT alleles with IUPAC codes"] == 1 and counts["ALT alleles"] == 2


def test_calls_are_counted_by_record(tmp_path, genome):
    rows = ["2 C T 0/1 ./.", "6 C T ./. ./.", "10 C T ./1 0|0", "14 C T 1 0", "18 C T 0|1 .|."]
    read = read_genotypes(vcf(tmp_path, *rows), genome, LOCI)
    counts = said(read)
    wanted = {"records with missing calls": 2, "records without any call": 1, "records with half calls": 1,
              "records with haploid calls": 1, "records with unphased heterozygotes": 1}  # fmt: skip
    assert {what: counts[what] for what in wanted} == wanted
    np.testing.assert_array_equal(read.dosage[:, 0], [1, np.nan, np.nan, 1, 1])
    assert haplotypes(read, genome, "a")[1][9] == "T"  # the half call's copy is in the sequence


def test_over_127_alts(tmp_path, genome):
    alts = ",".join("T" + "".join("ACGT"[i >> 2 * k & 3] for k in range(4)) for i in range(200))
    read = read_genotypes(vcf(tmp_path, f"2 C {alts} 0/200 150/130"), genome, LOCI)
    assert read.alleles.shape == (200, 2, 2)
    assert np.argwhere(read.alleles == 1).tolist() == [[129, 1, 1], [149, 1, 0], [199, 0, 1]]


@pytest.mark.parametrize("rows", [
    ["2 C T,G 1/2 0/2"],  # one record
    ["2 C T 0/1 0/0", "2 C G 0/1 0/1"],  # split by a tool that forgets which copy
    ["2 C T 1/0 0/0", "2 C G 0/1 0/1"],  # split as bcftools norm -m- does
])  # fmt: skip
def test_split_multi_allelic_calls(tmp_path, genome, rows):
    read = read_genotypes(vcf(tmp_path, *rows), genome, LOCI)
    assert read.dosage.tolist() == [[1, 0], [1, 1]]
    assert [text[:4] for text in haplotypes(read, genome, "a")] == ["ATGT", "AGGT"]
    assert [text[:4] for text in haplotypes(read, genome, "b")] == ["ACGT", "AGGT"]


def test_phase_sets_are_honoured(tmp_path, genome):
    rows = ["2 C T 1|0:5 0|0:. FORMAT=GT:PS", "6 C T 1|0:5 1|0:7 FORMAT=GT:PS", "10 C T 1|0:8 1|0:7 FORMAT=GT:PS", "14 C T 1|0 0|0"]
    read = read_genotypes(vcf(tmp_path, *rows), genome, LOCI)
    five, also, eight, none = read.phase_set[:, 0].tolist()
    assert five == also != eight and none == -1 not in (five, eight) and said(read)["records with phase sets"] == 3
    first, second = haplotypes(read, genome, "a")
    assert [first[p] for p in (1, 5, 9, 13)] == list("TTCC") and [second[p] for p in (1, 5, 9, 13)] == list("CCTT")
    assert [haplotypes(read, genome, "b")[0][p] for p in (1, 5, 9, 13)] == list("CTTC")


def test_odd_but_right(tmp_path, genome):
    """CRLF, no last newline, a locus without records on a contig that the file lacks."""
    want = [[1, "C", "T"]]
    for head, tail in ((HEAD.replace("\n", "\r\n"), "\r\n"), (HEAD, "")):
        read = read_genotypes(vcf(tmp_path, "2 c t 0/1 0/0", head=head, tail=tail), genome, LOCI)
        assert read.variants[["pos", "ref", "alt"]].values.tolist() == want and read.samples == ["a", "b"]
    both = pd.concat([LOCI, LOCI.assign(contig="chr3", end=8)])
    counts = said(read_genotypes(vcf(tmp_path, "2 C T 0/1 0/0"), genome, both))
    assert counts["loci on contigs without a record"] == 1


def test_bcf_gives_the_same(tmp_path, genome):
    path = vcf(tmp_path, "2 C T,G 1|2:5 0/.:7 FORMAT=GT:PS", "6 C * 0/1 0/0", "10 C T 1/1 0/0 FILTER=LowQual")
    with pysam.VariantFile(str(path)) as source, pysam.VariantFile(str(tmp_path / "v.bcf"), "wb", header=source.header) as out:
        for record in source:
            out.write(record)
    pysam.tabix_index(str(tmp_path / "v.bcf"), preset="bcf", force=True)
    one, two = (read_genotypes(p, genome, LOCI) for p in (path, tmp_path / "v.bcf"))
    pd.testing.assert_frame_equal(one.variants, two.variants)
    np.testing.assert_array_equal(one.alleles, two.alleles)
    np.testing.assert_array_equal(one.phase_set, two.phase_set)
    assert said(one) == said(two)


def test_sites_with_values_of_another_type_or_number(tmp_path, genome):
    head = HEAD.replace("\tFORMAT\ta\tb", "")
    row = "chr2\t2\t.\tC\tT,G\t.\t.\tAF=0.5,0.25;SIG=a,b"
    table = read_sites(vcf(tmp_path, row, head=head), genome, LOCI, ["AF", "SIG"])
    assert table[["alt", "AF", "SIG"]].values.tolist() == [["T", 0.5, "a,b"], ["G", 0.25, "a,b"]]
    for new, message in (("AF=0.5", "INFO AF=0.5 has 1 values, wanted one per ALT"), ("AF=0.5,high", "INFO AF=high, wanted Float")):
        with pytest.raises(ValueError, match=rf"v\.vcf\.gz, chr2:2: {message}"):
            read_sites(vcf(tmp_path, row.replace("AF=0.5,0.25", new), head=head), genome, LOCI, ["AF", "SIG"])


# ---- FASTA ------------------------------------------------------------------------------------------------------

GENOMES = {
    "a contig twice": (">c\nACGT\n>c\nGGGG\n", None, r"after contig 'c', the index's last, comes contig 'c': a contig twice"),
    "a contig twice, not in a row": (">c\nACGT\n>d\nGG\n>c\nGGGG\n>e\nA\n", None, r"after contig 'd' comes contig 'e'|comes contig 'c'"),
    "a contig added later": (">c\nACGT\n", ">c\nACGT\n>d\nACGT\n", r"comes contig 'd': a contig twice, or an index older"),
    "bases added later": (">c\nACGT\n>d\nACGT\n", ">c\nACGTA\n>d\nACGT\n", r"after contig 'c' comes .*its index says 'd'"),
    "bases removed later": (">c\nACGTACGT\n>d\nACGT\n", ">c\nACGT\n>d\nACGT\n", r"its index says 'd'"),
    "a contig renamed": (">c\nACGT\n", ">d\nACGT\n", r"after the file's start comes contig 'd', its index says 'c'"),
    "an empty contig first": (">c\n>d\nACGT\n", None, r"contig 'c' has no bases, wanted one at least; take its line out"),
    "an empty contig between": (">c\nACGT\n>d a note\n\n>e\nACGT\n", None, r"contig 'd' has no bases"),
    "a line of text at the end": (">c\nACGT\n", ">c\nACGT\n\nthe end\n", r"comes b'the end'"),
}  # fmt: skip


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", GENOMES)
def test_genome_is_refused(tmp_path, name, compress):
    text, later, message = GENOMES[name]
    path = fasta(tmp_path, text)
    if compress:
        pysam.tabix_compress(str(path), f"{path}.gz", force=True)
        path = tmp_path / "g.fa.gz"
        pysam.faidx(str(path))
    if later:
        (tmp_path / "g.fa").write_text(later)
        if compress:
            pysam.tabix_compress(str(tmp_path / "g.fa"), str(path), force=True)
    with pytest.raises(ValueError, match=rf"g\.fa.*({message})"):
        Reference(path)


def test_genome_files_that_are_none(tmp_path):
    path = tmp_path / "g.fa"
    path.write_bytes(">c\nACGT\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"g\.fa: UTF-16 text"):
        Reference(path)
    path.write_text(">c\nACGT\n")
    for text, message in (("c\t4\t3\n", r"g\.fa\.fai, line 1: .*wanted a name and four numbers"), ("", r"g\.fa: no contig")):
        path.with_name("g.fa.fai").write_text(text)
        with pytest.raises(ValueError, match=message):
            Reference(path)


def test_odd_genomes_that_are_right(tmp_path):
    """Blank lines between contigs, notes after names, an empty contig, CRLF."""
    path = fasta(tmp_path, ">c one\nACGT\nAC\n\n>d two words\nGG\n")
    assert Reference(path).lengths == {"c": 6, "d": 2}
    (tmp_path / "g.fa").write_bytes(b">c\r\nACGT\r\nAC\r\n>d\r\nGG\r\n")
    pysam.faidx(str(path))
    assert Reference(path).fetch("c", 2, 6) == "GTAC" and Reference(path).fetch("d", 0, 2) == "GG"


def test_the_report_of_a_genome(tmp_path):
    genome = Reference(fasta(tmp_path, ">c\nACgtNNRyA\n"))
    table = report.table(report.of_genome(genome, pd.DataFrame({"contig": ["c"], "start": [0], "end": [9]})))
    counts = dict(zip(table.what.str.removeprefix("bases of the loci").str.strip(), table["count"]))
    assert counts == {"": 9, "that are N": 2, "that are IUPAC codes": 2, "in lower case": 3}
    assert set(table.file) == {"g.fa"}


@pytest.mark.parametrize("a, b", [("chr2", "2"), ("Chr2", "chr2"), ("NC_000002.12", "chr2"), ("CM000664.2", "2"), ("chrM", "MT"),
                                  ("NC_000023.11", "chrX"), ("NC_012920.1", "chrM"), ("CM000685.2", "X")])  # fmt: skip
def test_spellings_of_one_contig(a, b):
    from lib.dna.reference import bare_name, other_spelling

    assert bare_name(a) == bare_name(b) and other_spelling(a, ["chr1", b]) == b
    assert other_spelling(a, ["chr1", "chr22", "HLA-A*01"]) is None


# ---- loci -------------------------------------------------------------------------------------------------------

BED = {
    "a start with underscores": ("chr2\t1_0\t20\tx", r"l\.bed, line 1: start '1_0' and end '20', wanted integer"),
    "an Arabic digit": ("chr2\t\u0661\t20\tx", r"line 1: start .*wanted integer"),
    "a float": ("chr2\t1e1\t20\tx", r"line 1: start '1e1'"),
    "an end of 5,000 digits": ("chr2\t1\t" + "9" * 5000 + "\tx", r"line 1: start '1' and end '9{40}', wanted integer"),
    "score nan": ("chr2\t1\t20\tx\tnan", r"line 1: score 'nan', wanted a number as score"),
    "blanks for tabs": ("chr2 1 20 x", r"line 1: 1 tab-separated columns"),
    "commas for tabs": ("chr2,1,20,x", r"line 1: 1 tab-separated columns"),
    "no name in its column": ("chr2\t1\t20\t\t0", r"line 1: the name, in column 4, is empty"),
    "a header": ("chrom\tstart\tend\nchr2\t1\t20", r"line 1: contig 'chrom' is not in"),
    "a contig that begins as track does": ("tracked\t1\t20", r"line 1: contig 'tracked' is not in .*g\.fa"),
    "contig in capitals": ("CHR2\t1\t20", r"line 1: contig 'CHR2' .*spelled 'chr2' there"),
    "contig of RefSeq": ("NC_000002.12\t1\t20", r"line 1: contig 'NC_000002.12' .*spelled 'chr2' there"),
    "a closed interval of one base": ("chr2\t5\t5", r"line 1: start 5 is not below end 5"),
    "ends swapped": ("chr2\t20\t5", r"line 1: start 20 is not below end 5"),
    "UTF-16": ("chr2\t1\t20".encode("utf-16"), r"l\.bed: UTF-16 text, wanted UTF-8"),
    "UTF-16 without its mark": ("chr2\t1\t20".encode("utf-16-le"), r"l\.bed, line 1: a NUL byte"),
    "Latin-1": ("chr2\t1\t20\tg\u00e8ne".encode("latin-1"), r"l\.bed, line 1: byte 0xe8 is not UTF-8"),
    "gzip cut short": (gzip.compress(b"chr2\t1\t20\tx\n", mtime=0)[:-9], r"l\.bed: damaged gzip"),
    "an Excel file": (b"PK\x03\x04" + bytes(30), r"l\.bed: a zip archive or Excel file"),
    "only comments": ("#chr2\t1\t20\ntrack name=x\nbrowser hide\n", r"l\.bed: no locus in the file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BED)
def test_bed_is_refused_by_line(tmp_path, genome, name):
    text, message = BED[name]
    (tmp_path / "l.bed").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        windows.read_bed(tmp_path / "l.bed", genome)


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfchr2\t1\t20\tx\r\n", gzip.compress(b"chr2\t1\t20\tx\n", mtime=0), b"track\nchr2\t1\t20\tx\t.\t+\textra"]
)
def test_odd_bed_that_is_right(tmp_path, genome, data):
    (tmp_path / "l.bed").write_bytes(data)
    assert windows.read_bed(tmp_path / "l.bed", genome).values.tolist()[0][:4] == ["chr2", 1, 20, "x"]


def test_loci_of_nothing_but_n_are_refused(tmp_path, genome):
    loci = pd.concat([LOCI, pd.DataFrame({"contig": ["chr3"], "start": [8], "end": [20], "locus": ["gap"]})])
    with pytest.raises(ValueError, match=r"locus 'gap', chr3:8-20: .* N in .*g\.fa"):
        windows.of_loci(loci, genome, 10)
    with pytest.raises(ValueError, match=r"locus 'gap', .* so are those of 0 more loci"):
        windows.of_loci(loci[loci.locus == "gap"], genome, 10)  # no window at all is left
    assert windows.of_loci(LOCI, genome, 10).equals(windows.drop_gaps(windows.tile(LOCI, 10), genome))


# ---- annotation -------------------------------------------------------------------------------------------------

GFF = "chr9\tx\texon\t1\t5\t.\t+\t.\tParent=t\nchr2\tx\texon\t1\t5\t.\t+\t.\tParent=t\nchrUn\tx\texon\t1\t5\t.\t+\t.\tParent=t\n"
ANNOTATION = {
    "a.bed": ("chr9\t1\t5\tx\nchr2\t1\t5\tx\nchrUn\t1\t5\tx\n", lambda p, g, r: tracks.read(p, g, r)),
    "a.gff3": (GFF, lambda p, g, r: genes.read_gff3(p, g, r)),
    "a.tsv": ("chr38\tpos38\n9\t3\n2\t3\nUn\t4\n", lambda p, g, r: intervals.gwas_intervals(p, g, r)),
    "exons.bed": ("chr9\t1\t5\tx\nchr2\t1\t5\tx\nchrUn\t1\t5\tx\n", lambda p, g, r: intervals.gene_intervals(p, g, r)),
}


@pytest.mark.parametrize("name", ANNOTATION)
def test_annotation_off_the_genome_is_left_out_and_counted(tmp_path, genome, name):
    text, read = ANNOTATION[name]
    (tmp_path / name).write_text(text)
    counts = Counter()
    assert read(tmp_path / name, genome, counts).contig.tolist() == ["chr2"]
    assert counts == {(name, "intervals on contigs that the genome lacks", "left out"): 2}
    (tmp_path / name).write_text(text.replace("chr2", "Chr2").replace("\n2\t", "\nchr2\t"))
    if name != "a.tsv":  # a contig in another spelling: all of the file would be left out
        with pytest.raises(ValueError, match=rf"{name}, line 2: contig 'Chr2' .*spelled 'chr2' there"):
            read(tmp_path / name, genome, counts)


@pytest.mark.parametrize("text, message", [
    ("chr38\tpos38\n2\tx\n", r"line 2: pos38 'x', wanted a position from 1 to 40"),
    ("chr38\tpos38\n2\t41\n", r"line 2: pos38 '41', wanted"),
    ("chr38\tpos38\n2\t0\n", r"line 2: pos38 '0', wanted"),
    ("chr38\tpos38\n2\t\u0663\n", r"line 2: pos38 '\u0663', wanted"),
    ("chr38\tpos38\n2\t" + "9" * 5000 + "\n", r"line 2: pos38 '9{40}', wanted"),
    ("chr38\tpos38\n9\t3\n\t4\n", r"no lead SNP in the file that is on .*g\.fa"),
    ("chr38\tpos38\n", r"no lead SNP in the file"),
    ("chr38\tpos38\n2\n", r"line 2: 1 fields, wanted 2"),
    ("chr38\tpos\n2\t3\n", r"no column \['pos38'\]"),
])  # fmt: skip
def test_gwas_table_is_refused_by_line(tmp_path, genome, text, message):
    (tmp_path / "g.tsv").write_text(text)
    with pytest.raises(ValueError, match=rf"g\.tsv.*{message}"):
        intervals.gwas_intervals(tmp_path / "g.tsv", genome, Counter())


LABELLED = {
    "a position that is no number": ("chr2,x,A,G,g,1", r"line 3: pos 'x', wanted 0 to 39 \(0-based\)"),
    "an empty position": ("chr2,,A,G,g,1", r"line 3: pos '', wanted 0 to 39"),
    "a position with a point": ("chr2,4.0,A,G,g,1", r"line 3: pos '4\.0', wanted"),
    "a position off the contig": ("chr2,40,A,G,g,1", r"line 3: pos '40', wanted 0 to 39"),
    "a negative position": ("chr2,-1,A,G,g,1", r"line 3: pos '-1', wanted"),
    "an empty REF": ("chr2,4,,G,g,1", r"line 3: REF '', wanted letters A C G T"),
    "an empty ALT": ("chr2,4,A,,g,1", r"line 3: ALT '', wanted letters"),
    "ALT in lower case": ("chr2,4,A,g,g,1", r"line 3: ALT 'g', wanted letters"),
    "a deletion as a sign": ("chr2,4,A,-,g,1", r"line 3: ALT '-', wanted letters"),
    "another REF": ("chr2,4,C,G,g,1", r"line 3: chr2:5 REF is C, the genome has A"),
    "REF over the end": ("chr2,39,TA,T,g,1", r"line 3: chr2:40 REF is TA, the genome has T"),
    "ALT is REF": ("chr2,4,A,A,g,1", r"line 3: chr2:5 ALT A is REF"),
    "the same under another label": ("chr2,0,A,G,g,", r"line 3: chr2:0 A>G has label 0, in line 2 1, wanted one"),
    "another contig": ("chr9,4,A,G,g,1", r"line 3: contig 'chr9' is not in .*g\.fa"),
    "a contig in another spelling": ("2,4,A,G,g,1", r"line 3: contig '2' .*spelled 'chr2' there"),
    "a field too few": ("chr2,4,A,G,g", r"line 3: 5 fields, wanted 6"),
}


@pytest.mark.parametrize("name", LABELLED)
def test_labelled_variants_are_refused_by_line(tmp_path, genome, name):
    row, message = LABELLED[name]
    (tmp_path / "v.csv").write_text(f"contig,pos,ref,alt,gene,hit\nchr2,0,A,G,g,1\n{row}\n")
    with pytest.raises(ValueError, match=rf"v\.csv, {message}"):
        labelled.read_table(tmp_path / "v.csv", genome, "hit", Counter())


def test_labelled_variants_that_are_odd_but_right(tmp_path, genome):
    (tmp_path / "v.tsv.gz").write_bytes(
        gzip.compress(b"hit\tgene\tlocus\tcontig\tpos\tref\talt\r\n\r\n1\tg\tx\tchr2\t038\tGT\tG\r\n\tg\tx\tchr2\t0\tA\tACC\r\n")
    )
    table = labelled.read_table(tmp_path / "v.tsv.gz", genome, "hit", Counter())
    assert table.values.tolist() == [["chr2", 38, "GT", "G", "g", 1], ["chr2", 0, "A", "ACC", "g", 0]]
    assert list(table.columns) == ["contig", "pos", "ref", "alt", "gene", "label"]


def test_a_labelled_variant_of_two_cohorts_is_read_once_and_counted(tmp_path, genome):
    (tmp_path / "v.csv").write_text("contig,pos,ref,alt,gene,hit\nchr2,0,A,G,g,1\nchr2,0,A,C,g,\nchr2,00,A,G,g,TAL\nchr2,0,A,C,g,0\n")
    counts = Counter()
    table = labelled.read_table(tmp_path / "v.csv", genome, "hit", counts)
    assert table.values.tolist() == [["chr2", 0, "A", "G", "g", 1], ["chr2", 0, "A", "C", "g", 0]]
    assert counts == {("v.csv", "labelled alleles that come again", "left out"): 2}


@pytest.mark.parametrize(
    "contig, spellings", [("2", ["2", "chr2", "2.0"]), ("chr2", ["2", "Chr2", "NC_000002.12"]), ("NC_000002.12", ["2"]), ("chrX", ["X"])]
)
def test_lead_snps_on_a_genome_of_any_spelling(tmp_path, contig, spellings):
    genome = Reference(fasta(tmp_path, f">{contig}\nACGTACGT\n"))
    (tmp_path / "g.tsv").write_text(
        "chr38\tpos38\n" + "".join(f"{s}\t{i + 1}\n" for i, s in enumerate(spellings)) + "5\t1\n2;3\t1;4\n6 x 7\t1 x 2\nNA\t1\n"
    )
    counts = Counter()
    table = intervals.gwas_intervals(tmp_path / "g.tsv", genome, counts)
    assert table[["contig", "start", "end"]].values.tolist() == [[contig, i, i + 1] for i in range(len(spellings))]
    assert {what: n for (_, what, _), n in counts.items()} == {
        "intervals on contigs that the genome lacks": 1, "lead SNPs of several places": 2, "lead SNPs without a place": 1}  # fmt: skip


def test_clinvar_off_the_panel_is_counted(tmp_path, genome):
    path = vcf(tmp_path, "chr3\t2\t.\tC\tT\t.\t.\t.", head=HEAD.replace("\tFORMAT\ta\tb", "").replace("##contig=<ID=chr2,length=40>\n", ""))
    counts = Counter()
    assert read_sites(path, genome, LOCI, ["SIG"], counts).empty
    assert counts[("v.vcf.gz", "loci on contigs without a record", "read as the reference")] == 1


CLINVAR = HEAD.replace("\tFORMAT\ta\tb", "").replace(
    "##INFO=<ID=SIG,", '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="x">\n'
    '##INFO=<ID=GENEINFO,Number=1,Type=String,Description="x">\n##INFO=<ID=SIG,')  # fmt: skip


def clinvar(folder, genome, *rows):
    """rows: "POS REF ALT INFO". The alleles read, as "pos ref>alt label gene", and what was left out."""

    lines = ["chr2\t{}\t.\t{}\t{}\t.\t.\t{}".format(*row.split()) for row in rows]
    path, counts = vcf(folder, *lines, head=CLINVAR), Counter()
    table = labelled.read_clinvar(path, genome, LOCI, counts)
    spans = intervals.clinvar_intervals(path, genome, LOCI, Counter())
    assert spans.start.tolist() == table.pos.tolist() and (spans.concept == table.label.map({0: "ClinVar B/LB", 1: "ClinVar P/LP"})).all()
    left_out = {what: n for (_, what, done), n in counts.items() if done == "left out" and n}
    return [f"{v.pos + 1} {v.ref}>{v.alt} {v.label} {v.gene}" for v in table.itertuples()], left_out


TWO = "labelled alleles with conflicting labels"
CLINVAR_ROWS = {
    "both labels": (["2 C T CLNSIG=Benign;GENEINFO=A", "2 C T CLNSIG=Pathogenic;GENEINFO=A", "6 C T CLNSIG=Benign;GENEINFO=A"],
                    ["6 C>T 0 A"], {TWO: 2}),
    "both labels in two spellings": (["20 TA T CLNSIG=Benign;GENEINFO=A", "24 AA A CLNSIG=Likely_pathogenic;GENEINFO=A",
                                      "26 C T CLNSIG=Benign;GENEINFO=A"], ["26 C>T 0 A"], {TWO: 2}),
    "one label in two spellings": (["20 TA T CLNSIG=Benign;GENEINFO=A", "24 AA A CLNSIG=Likely_benign;GENEINFO=A"], ["20 TA>T 0 A"],
                                   {"labelled alleles that come again": 1}),
    "other significance beside a label": (["2 C T CLNSIG=Benign;GENEINFO=A", "2 C T CLNSIG=not_provided;GENEINFO=A", "6 C T GENEINFO=A"],
                                          ["2 C>T 0 A"],
                                          {"alleles of significance not_provided": 1, "alleles of significance not given": 1}),
    "no gene": (["2 C T CLNSIG=Benign", "6 C T CLNSIG=Pathogenic;GENEINFO=.", "6 C G CLNSIG=Benign;GENEINFO=",
                 "10 C T CLNSIG=Benign;GENEINFO=A"],
                ["2 C>T 0 chr2:2", "6 C>T 1 chr2:6", "6 C>G 0 chr2:6", "10 C>T 0 A"], {}),
    "nothing of use": (["2 C T CLNSIG=not_provided;GENEINFO=A"], [], {"alleles of significance not_provided": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CLINVAR_ROWS)
def test_clinvar_alleles_have_one_label_and_a_gene(tmp_path, genome, name):
    rows, wanted, left_out = CLINVAR_ROWS[name]
    assert clinvar(tmp_path, genome, *rows) == (wanted, left_out)


def test_clinvar_with_two_values_of_one_key_is_refused(tmp_path, genome):
    with pytest.raises(ValueError, match=r"v\.vcf\.gz, chr2:2: INFO has CLNSIG 2 times, wanted once"):
        clinvar(tmp_path, genome, "2 C T CLNSIG=Benign;CLNSIG=Pathogenic;GENEINFO=A")


# ---- tables of people -------------------------------------------------------------------------------------------

PHENOTYPE = {
    "phenotype twice": ("sample,phenotype,phenotype\na,1,0\nb,0,1\n", r"line 1: column 'phenotype' is there 2 times"),
    "sample twice": ("sample,sample,phenotype\na,b,0\nb,a,1\n", r"line 1: column 'sample' is there 2 times"),
    "a row one longer": ("sample,phenotype\na,1\nb,0,1\n", r"line 3: 3 fields, wanted 2"),
    "all rows one longer": ("sample,phenotype\n0,a,1\n1,b,0\n", r"line 2: 3 fields, wanted 2"),
    "a row one shorter": ("sample,phenotype\na,1\nb\n", r"line 3: 1 fields, wanted 2"),
    "a quotation mark left open": ('sample,phenotype\n"a,1\nb,0\n', r"line 2: .*wanted fields separated by ','"),
    "semicolons": ("sample;phenotype\na;1\nb;0\n", r"no column \['phenotype', 'sample'\]; found \['sample;phenotype'\]"),
    "blanks": ("sample phenotype\na 1\nb 0\n", r"no column"),
    "a title before the header": ("My cohort\nsample,phenotype\na,1\nb,0\n", r"no column .*found \['My cohort'\]"),
    "capitals": ("Sample,Phenotype\na,1\nb,0\n", r"no column"),
    "UTF-16": ("sample,phenotype\na,1\nb,0\n".encode("utf-16"), r"p\.csv: UTF-16 text"),
    "Latin-1": ("sample,phenotype\na,1\nb\u00e9,0\n".encode("latin-1"), r"p\.csv, line 3: byte 0xe9 is not UTF-8"),
    "gzip cut short": (gzip.compress(b"sample,phenotype\na,1\nb,0\n", mtime=0)[:20], r"p\.csv: damaged gzip"),
    "1.0 and 0.0": ("sample,phenotype\na,1.0\nb,0.0\n", r"line 2, sample 'a': phenotype '1.0', wanted 0 or 1"),
    "1 and 2, as PLINK": ("sample,phenotype\na,1\nb,2\n", r"line 3, sample 'b': phenotype '2', wanted 0 or 1"),
    "a blank after the name": ("sample,phenotype\na ,1\nb,0\n", r"line 2: sample 'a ' is not in the VCF"),
    "empty": ("", r"p\.csv: no column"),
    "a blank line counts": ("sample,phenotype\n\na,1\nb,3\n", r"line 4, sample 'b': phenotype '3'"),
}  # fmt: skip


@pytest.mark.parametrize("name", PHENOTYPE)
def test_phenotype_is_refused_by_line(tmp_path, name):
    text, message = PHENOTYPE[name]
    (tmp_path / "p.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"p\.csv.*{message}|{message}") as error:
        people.read_phenotype(tmp_path / "p.csv", ["a", "b"])
    assert "p.csv" in str(error.value)


@pytest.mark.parametrize("data", [
    gzip.compress(b"sample,phenotype\nb,0\na,1\n", mtime=0), b"\xef\xbb\xbfsample,phenotype\r\na,1\r\nb,0\r\n",
    b'"sample"\t"phenotype"\n"a"\t"1"\n"b"\t"0"\n', b'sample,note,phenotype\na,"x, y",1\nb,,0\n\n',
])  # fmt: skip
def test_odd_phenotype_that_is_right(tmp_path, data):
    (tmp_path / "p.csv").write_bytes(data)
    assert people.read_phenotype(tmp_path / "p.csv", ["a", "b"]).tolist() == [1, 0]


@pytest.mark.parametrize("text, message", [
    ("sample,genetic\na,1\nb,\n", r"line 3, sample 'b': genetic '', wanted a number"),
    ("sample,genetic\na,nan\nb,1\n", r"line 2, sample 'a': genetic 'nan'"),
    ("sample,genetic\na,high\nb,1\n", r"line 2, sample 'a': genetic 'high'"),
    ("sample,genetic\na,inf\nb,1\n", r"line 2, sample 'a': genetic 'inf'"),
    ("sample,genetic\na,1\nb,2\na,3\n", r"line 4: sample 'a' a second time"),
    ("sample,genetic\na,1\n", r"no row for 1 VCF samples: b"),
    ("sample,genetic\na,1\nb,2\nc,2\n", r"line 4: sample 'c' is not in the VCF"),
    ("sample,score\na,1\nb,2\n", r"no column \['genetic'\]"),
])  # fmt: skip
def test_genetic_is_refused_by_line(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"s\.csv.*{message}"):
        people.read_genetic(tmp_path / "s.csv", ["a", "b"])


def test_genetic_in_the_order_of_the_vcf(tmp_path):
    (tmp_path / "s.csv").write_text("genetic,sample\n-1e-3,b\n2.5,a\n")
    assert people.read_genetic(tmp_path / "s.csv", ["a", "b"]).tolist() == [2.5, -0.001]


@pytest.mark.parametrize("text, message", [
    ("sample,population\na,NA\nb,x\n", r"line 2, sample 'a': population is empty or missing: 'NA'"),
    ("sample,sex\na,.\nb,male\n", r"line 2, sample 'a': sex is empty or missing: '.'"),
    ("sample,sex\na,M\nb,male\n", r"line 2, sample 'a': sex 'M', wanted male or female"),
    ("sample,family\na,1\nb,1 \n", r"line 3, sample 'b': family '1 ' has blanks around it, wanted none"),
    ("sample,population\na,?\nb,x\n", r"population is empty or missing: '\?'"),
    ("sample,population\na,-\nb,x\n", r"population is empty or missing: '-'"),
    ("sample,population\na,<NA>\nb,x\n", r"population is empty or missing: '<NA>'"),
    ("sample,population\na,#N/A\nb,x\n", r"population is empty or missing: '#N/A'"),
    ("sample,site\na,Unknown\nb,x\n", r"site is empty or missing: 'Unknown'"),
    ("sample,family\na,0\nb,0\n", r"line 2, sample 'a': family '0', which in PLINK's files says none"),
    ("sample,family,family\na,1,2\nb,1,2\n", r"line 1: column 'family' is there 2 times"),
    ("sample,site\na,1,2\nb,1\n", r"line 2: 3 fields, wanted 2"),
])  # fmt: skip
def test_people_are_refused_by_line(tmp_path, text, message):
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"q\.csv.*{message}"):
        people.read_people(tmp_path / "q.csv", ["a", "b"])


def test_sample_names_in_any_script(tmp_path):
    samples = ["Åsa", "李", "b 1"]
    carriers = pd.DataFrame({"sample": samples, "window": 0, "haplotype": 0, "unit": range(3)})
    people.write_cohort(tmp_path / "c.h5", samples, np.zeros((1, 3)), carriers)
    read, _, again = people.read_cohort(tmp_path / "c.h5")
    assert read == samples == again["sample"].tolist()


# ---- names that look like numbers, or like missing values ---------------------------------------------------------

NAMES = ("1", "01", "NA", "null", "1e5", "nan")


def test_names_come_back_from_tables_as_they_are(root):
    """Genomes may call their contigs 1, 2, ...; loci and people are called what they are called."""
    stage = io.open_stage("toy", "01_extraction")
    contigs = [str(i + 1) for i in range(6)]
    units = pd.DataFrame({"unit": range(6), "locus": NAMES, "contig": contigs, "start": 0})
    scores = pd.DataFrame({"sample": NAMES, "group": NAMES, "null/phenotype": [0, 1] * 3, "gap": [1 / 3] + [np.nan] * 5})
    stage.write_table("units", units)
    stage.write_table("scores", scores, private=True)
    stage.finish()
    units = io.read_table("toy", "01_extraction", "units")
    carriers = pd.DataFrame({"sample": "a", "window": range(6), "haplotype": 0, "unit": range(6)})
    locus_map, _, loci = corpus.person_locus_map(carriers, units)
    assert loci == list(NAMES) and np.array_equal(locus_map.toarray(), np.eye(6))
    parts = splits.split_rows(units, np.arange(6), ["4"], ["6"])
    assert {part: rows.tolist() for part, rows in parts.items()} == {"train": [0, 1, 2, 4], "validation": [3], "test": [5]}
    pd.testing.assert_frame_equal(io.read_csv(io.private_path("toy", "01_extraction", "scores.csv")), scores)


def test_an_empty_cell_is_missing_whatever_the_column(tmp_path):
    (tmp_path / "t.csv").write_text("concept,f1\nNA,1\n,\n")
    table = io.read_csv(tmp_path / "t.csv")
    assert table.concept.isna().tolist() == table.f1.isna().tolist() == [False, True]
    assert table.concept[0] == "NA"
