import os
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import windows
from lib.dna.genotypes import read_genotypes, read_sites
from lib.dna.reference import Reference

GENOME = ">chr16\nACGTACGTACGTACGTACGT\n"  # base at 0-based p is "ACGT"[p % 4]
REGION = pd.DataFrame({"contig": ["chr16"], "start": [0], "end": [20]})
DATA = Path(os.environ.get("DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(GENOME)
    pysam.faidx(str(path))
    return Reference(path)


def vcf(tmp_path, records, samples="a b c", contig="chr16", length=20, index=True, fmt="GT", info="."):
    """records: (pos 1-based, ref, alt, 'GT GT GT')."""
    head = "##fileformat=VCFv4.2\n##INFO=<ID=AF,Number=A,Type=Float,Description=x>\n"
    head += "##INFO=<ID=SIG,Number=.,Type=String,Description=x>\n"
    head += f'##contig=<ID={contig},length={length}>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n'
    head += '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="x">\n##FILTER=<ID=PASS,Description="x">\n'
    columns = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    columns += ["FORMAT", *samples.split()] if samples else []
    lines = ["#" + "\t".join(columns)]
    for pos, ref, alt, calls in records:
        fields = [contig, str(pos), ".", ref, alt, ".", "PASS", info]
        lines.append("\t".join(fields + ([fmt, *calls.split()] if samples else [])))
    path = tmp_path / "v.vcf"
    path.write_text(head + "\n".join(lines) + "\n")
    pysam.tabix_compress(str(path), f"{path}.gz", force=True)
    path.unlink()
    if index:
        pysam.tabix_index(f"{path}.gz", preset="vcf", force=True)
    return tmp_path / "v.vcf.gz"


def test_snv_insertion_deletion(tmp_path, reference):
    records = [(2, "C", "T", "0/0 0/1 1/1"), (4, "T", "TGG", "0|1 1|0 0|0"), (6, "CGT", "C", "./. 0/. 0/0")]
    g = read_genotypes(vcf(tmp_path, records), reference, REGION)
    assert g.samples == ["a", "b", "c"]
    assert g.variants.pos.tolist() == [1, 3, 5]
    assert g.variants.id.tolist() == ["chr16:2:C>T", "chr16:4:T>TGG", "chr16:6:CGT>C"]
    assert g.alleles[0].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert g.alleles[1].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert g.alleles[2].tolist() == [[-1, -1], [0, -1], [0, 0]]
    assert g.phased.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    np.testing.assert_array_equal(g.dosage, [[0, 1, 2], [1, 1, 0], [np.nan, np.nan, 0]])


def test_multi_allelic_is_split(tmp_path, reference):
    g = read_genotypes(vcf(tmp_path, [(2, "C", "T,G", "1/2 0/2 1/1")]), reference, REGION)
    assert g.variants.alt.tolist() == ["T", "G"]
    assert g.alleles.tolist() == [[[1, 0], [0, 0], [1, 1]], [[0, 1], [0, 1], [0, 0]]]


def test_haploid_has_one_copy_and_dot_is_missing(tmp_path, reference):
    g = read_genotypes(vcf(tmp_path, [(2, "C", "T", "1 0 ."), (6, "C", "T", "1 0 1")]), reference, REGION)
    assert g.alleles[0].tolist() == [[1, -2], [0, -2], [-1, -1]]
    np.testing.assert_array_equal(g.dosage[0], [1, 0, np.nan])
    assert g.phased[0, :2].all()


def test_symbolic_alts_are_counted(tmp_path, reference):
    records = [
        (2, "C", "<DEL>", "0/1 0/0 0/0"),
        (3, "G", "A,*", "0/2 0/1 0/0"),
        (5, "A", "A[chr16:9[", "0/1 0/0 0/0"),
    ]
    g = read_genotypes(vcf(tmp_path, records), reference, REGION)
    left_out = {what.removeprefix("ALT alleles, "): n for (_, what, done), n in g.report.items() if "left out" in done}
    assert left_out == {"symbolic": 1, "* (deleted by another record)": 1, "breakend": 1}
    assert g.alleles.tolist() == [[[0, 0], [0, 1], [0, 0]]]


def test_other_format_fields_and_lower_case(tmp_path, reference):
    g = read_genotypes(vcf(tmp_path, [(2, "c", "t", "0/1:7 1/1:. 0/0:3")], fmt="GT:DP"), reference, REGION)
    assert g.variants[["ref", "alt"]].values.tolist() == [["C", "T"]]
    assert g.dosage.tolist() == [[1, 2, 0]]


def test_overlapping_regions_read_a_record_once(tmp_path, reference):
    regions = pd.DataFrame({"contig": "chr16", "start": [6, 0, 10], "end": [9, 5, 12]})
    path = vcf(tmp_path, [(4, "TACGTACGT", "T", "0/1 0/0 0/0"), (7, "G", "A", "0/1 0/0 0/0")])
    assert read_genotypes(path, reference, regions).variants.pos.tolist() == [3, 6]


def test_no_variants_in_the_region(tmp_path, reference):
    regions = REGION.assign(start=10)
    g = read_genotypes(vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")]), reference, regions)
    assert g.alleles.shape == (0, 3, 2) and g.dosage.shape == (0, 3)


def refuses(path, reference, message, error=ValueError):
    with pytest.raises(error, match=rf"v\.vcf\.gz.*{message}"):
        read_genotypes(path, reference, REGION)


def test_ref_mismatch(tmp_path, reference):
    refuses(vcf(tmp_path, [(2, "A", "T", "0/0 0/1 1/1")]), reference, r"chr16:2: REF A, but .*g\.fa has C")


def test_contig_naming(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")], contig="16")
    refuses(path, reference, r"no contig 'chr16'.*'16'.*prefix")


def test_other_build_by_contig_length(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")], length=25)
    refuses(path, reference, "chr16 has 25 bases.* has 20.*build")


def test_missing_file(tmp_path, reference):
    refuses(tmp_path / "v.vcf.gz", reference, "no such file", FileNotFoundError)


def test_truncated(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")])
    path.write_bytes(path.read_bytes()[:-5])
    refuses(path, reference, "truncated")


def test_no_index(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")], index=False)
    refuses(path, reference, "no index.*tabix -p vcf", FileNotFoundError)


def test_unsorted_without_index(tmp_path, reference):
    records = [(6, "C", "T", "0/0 0/1 1/1"), (2, "C", "T", "0/0 0/1 1/1")]
    path = vcf(tmp_path, records, index=False)
    refuses(path, reference, "unsorted: chr16:2 comes after chr16:6", FileNotFoundError)


def test_unsorted_behind_an_old_index(tmp_path, reference):
    records = [(2, "C", "T", "0/0 0/1 1/1"), (6, "C", "T", "0/0 0/1 1/1")]
    vcf(tmp_path, records)
    path = vcf(tmp_path, records[::-1], index=False)
    refuses(path, reference, "unsorted: chr16:2 comes after chr16:6")


def test_duplicate_sample(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")], samples="a b a")
    refuses(path, reference, "duplicate sample a")


def test_no_samples(tmp_path, reference):
    refuses(vcf(tmp_path, [(2, "C", "T", "")], samples=""), reference, "no samples")


def test_allele_listed_twice(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T", "0/0 0/1 1/1")] * 2)
    refuses(path, reference, "chr16:2: allele C>T listed twice")


def test_three_copies_and_no_gt(tmp_path, reference):
    refuses(vcf(tmp_path, [(2, "C", "T", "0/0/1 0/1 1/1")]), reference, "'0/0/1' has 3 copies")
    refuses(vcf(tmp_path, [(2, "C", "T", "3 4 5")], fmt="DP"), reference, "chr16:2: FORMAT 'DP', wanted GT")


def test_read_sites(tmp_path, reference):
    path = vcf(tmp_path, [(2, "C", "T,G", "")], samples="", info="AF=0.25,0.5;SIG=Benign,other")
    table = read_sites(path, reference, REGION, ["AF", "SIG"])
    assert table.columns.tolist() == ["contig", "pos", "ref", "alt", "id", "AF", "SIG"]
    assert table[["pos", "alt", "AF", "SIG"]].values.tolist() == [
        [1, "T", 0.25, "Benign,other"],
        [1, "G", 0.5, "Benign,other"],
    ]
    with pytest.raises(ValueError, match=r"v\.vcf\.gz: no INFO key 'CLNSIG'; found AF"):
        read_sites(path, reference, REGION, ["CLNSIG"])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data not found: set DATA_DIR (looked in {DATA})")
def test_real_cohort_and_clinvar():
    reference = Reference(DATA / "GRCh38_loci.fa.gz")
    loci = windows.read_bed(DATA / "loci.bed", reference)
    g = read_genotypes(DATA / "cohort_1kg_eur.vcf.gz", reference, loci)
    assert g.alleles.shape == (9566, 405, 2)
    assert g.dosage.sum() == 345_626 + 2 * 157_711  # 0/1 and 1/1 calls counted in the text of the file
    sites = read_sites(DATA / "clinvar_loci.vcf.gz", reference, loci, ["CLNSIG"])
    assert len(sites) == 36_459
