"""The door for variants that a user asks about: every fault on a made file, a build that is not the genome's, and real files."""

import gzip
from collections import defaultdict

import helpers
import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import user_variants, vcf_lines
from lib.dna.reference import Reference

#: 1-based: C at 2, TACG at 4 to 7, N at 13 and 14, R (IUPAC) at 15, the last base T at 24
GENOME = {"chr1": "ACGTACGTACGTNNRTACGTACGT", "chr2": "ACGT" * 100}
DATA = helpers.DATA_DIR
real = pytest.mark.skipif(not (DATA / "clinvar_loci.vcf.gz").is_file(), reason=f"NO REAL DATA in {DATA}: set DATA_DIR")


def genome(folder, contigs=GENOME) -> Reference:
    path = folder / "g.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in contigs.items()))
    pysam.faidx(str(path))
    return Reference(path)


@pytest.fixture
def reference(tmp_path):
    return genome(tmp_path)


def made(folder, records, samples=(), meta=(), name="v.vcf"):
    """A VCF of records (contig, POS, ID, REF, ALT, INFO), each sample 0/1."""
    head = ["##fileformat=VCFv4.2", *meta]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", *(["FORMAT", *samples] if samples else [])]
    calls = ["GT", *["0/1"] * len(samples)] if samples else []
    rows = [[contig, str(pos), given, ref, alt, ".", "PASS", info, *calls] for contig, pos, given, ref, alt, info in records]
    path = folder / name
    path.write_text("\n".join([*head, *("\t".join(row) for row in [columns, *rows])]) + "\n")
    return path


def snvs(bases, positions, shift=0):
    """Records on chr2 whose REF is `bases` at the 0-based positions; POS is moved by `shift`."""
    return [("chr2", p + 1 + shift, ".", bases[p], "A" if bases[p] != "A" else "C", ".") for p in positions]


# ---- one variant as text

@pytest.mark.parametrize("text", ["chr1:2:C:A", "chr1-2-C-A", "1:2:C:A", "1-2-c-a", "Chr1:2:C:A", "  chr1:2:C:A\n"])
def test_a_variant_in_each_spelling(reference, text):
    asked = user_variants.parse(text, reference)
    assert asked.variants.drop(columns="af").values.tolist() == [[1, 1, "chr1", 1, "C", "A", "chr1:2:C>A"]]
    assert np.isnan(asked.variants.af[0])
    assert asked.left_out.empty
    said = [done for _, _, done in asked.report if "genome spells" in done]
    assert said == ([] if text.strip().startswith("chr1") else ["read as chr1, as the genome spells it"])


def test_a_genome_without_chr_reads_a_variant_with_it(tmp_path):
    asked = user_variants.parse("chr7:3:G:T", genome(tmp_path, {"7": "ACGT"}))
    assert asked.variants.contig.tolist() == ["7"]


def test_a_contig_with_the_separator_in_its_name(tmp_path):
    asked = user_variants.parse("HLA-A*01:01:3:G:T", genome(tmp_path, {"HLA-A*01:01": "ACGT"}))
    assert asked.variants[["contig", "pos"]].values.tolist() == [["HLA-A*01:01", 2]]


@pytest.mark.parametrize("text, said", [
    ("rs123", "wanted contig:position:REF:ALT"),
    ("chr1:2:C", "wanted contig:position:REF:ALT"),
    ("chr1:2-C-A", "wanted contig:position:REF:ALT"),
    ("chr1:2,000:C:A", "wanted digits alone"),
    ("chr9:2:C:A", "contig 'chr9' is not in"),
    ("NC_000001.10:2:C:A", "spelled 'chr1' there"),  # an accession of another build is not translated
    ("chr1:2:G:A", "REF is G, the genome has C"),
    ("chr1:2:A:C", "the genome has C, which is ALT"),
    ("chr1:0:C:A", "position off the contig: chr1 has positions 1 to 24"),
    ("chr1:25:C:A", "position off the contig"),
    ("chr1:24:TT:A", "REF runs off the contig: it ends at 25, chr1 at 24"),
    ("chr1:13:A:C", "genome unknown there"),
    ("chr1:15:A:C", "genome unknown there"),
    ("chr1:2:C:R", "letters other than A C G T: ALT R"),
    ("chr1:2:C:A,G", "letters other than A C G T"),
    ("chr1:2:C:C", "ALT is REF"),
    ("chr1:2:C:<DEL>", "symbolic allele"),
    ("chr1:2:C:*", "deleted by another record"),
    ("chr1:2:C:.", "no ALT allele"),
])  # fmt: skip
def test_a_variant_that_cannot_be_read_is_refused_with_what_was_wanted(reference, text, said):
    with pytest.raises(ValueError, match="variant ") as error:
        user_variants.parse(text, reference)
    assert said in str(error.value) and repr(text) in str(error.value)


# ---- a whole VCF

FAULTS = [
    (("chr1", 0, ".", "A", "C"), user_variants.OFF),
    (("chr1", 2, ".", "G", "A"), user_variants.MISMATCH),
    (("chr1", 2, ".", "C", "<DEL>"), "symbolic allele"),
    (("chr1", 2, ".", "C", "*"), "* (deleted by another record)"),
    (("chr1", 2, ".", "C", "."), user_variants.NO_ALT),
    (("chr1", 2, ".", "C", "C[chr2:9["), "breakend"),
    (("chr1", 2, ".", "C", "C."), "breakend"),
    (("chr1", 2, ".", "C", "C"), user_variants.SAME),
    (("chr1", 2, ".", "C", "c"), user_variants.SAME),
    (("chr1", 2, ".", "C", "Y"), user_variants.LETTERS),
    (("chr1", 2, ".", "C", "N"), user_variants.LETTERS),
    (("chr1", 2, ".", "C", "-"), user_variants.LETTERS),
    (("chr1", 2, ".", "M", "A"), user_variants.LETTERS),
    (("chr1", 12, ".", "TN", "T"), user_variants.UNKNOWN),
    (("chr1", 13, ".", "N", "A"), user_variants.UNKNOWN),
    (("chr1", 15, ".", "R", "A"), user_variants.UNKNOWN),
    (("chr1", 20, ".", "TACGT", "T"), user_variants.READS_OFF),  # 4 bases go, none is behind them
    (("chr1", 24, ".", "TA", "T"), user_variants.REF_OFF),
    (("chr1", 25, ".", "A", "T"), user_variants.OFF),
    (("chrUn", 25, ".", "A", "T"), user_variants.LACKING),
]  # fmt: skip


def test_every_fault_is_left_out_with_its_reason_and_the_rest_is_read(tmp_path, reference):
    records = [(*record, ".") for record, _ in FAULTS]
    records.insert(2, ("chr1", 2, "rs1", "c", "a", "."))
    asked = user_variants.read(made(tmp_path, records), reference)
    assert asked.left_out.reason.tolist() == [reason for _, reason in FAULTS]
    assert asked.left_out.record.tolist() == [1, 2, *range(4, len(FAULTS) + 2)]
    assert asked.left_out.pos.tolist() == [record[1] - 1 for record, _ in FAULTS]
    assert asked.variants.drop(columns="af").values.tolist() == [[3, 1, "chr1", 1, "C", "A", "rs1"]]
    counts = {what: n for (_, what, _), n in asked.report.items()}
    assert counts["records"] == len(FAULTS) + 1 and counts["ALT alleles"] == 1
    assert sum(n for what, n in counts.items() if what.startswith("ALT alleles, ")) == len(FAULTS)


def test_a_deletion_with_as_many_bases_behind_it_as_it_takes_is_read(tmp_path, reference):
    """Of TACGT at 16 to 20 four go, and four follow; a base on, three do."""
    asked = user_variants.read(made(tmp_path, [("chr1", 16, ".", "TACGT", "T", "."), ("chr1", 17, ".", "ACGTA", "A", ".")]), reference)
    assert asked.variants.pos.tolist() == [15]
    assert asked.left_out.detail.tolist() == ["4 bases wanted behind it, so that a window stays as long as it was, chr1 has 3"]


def test_a_multi_allelic_record_is_split_and_its_frequencies_with_it(tmp_path, reference):
    records = [("chr1", 2, "rs1", "C", "A,<DEL>,T,a", "DP=3;AF=0.25,.,1e-3,0"), ("chr1", 6, ".", "C", "G", "AF=.")]
    asked = user_variants.read(made(tmp_path, records), reference)
    assert asked.variants[["record", "allele", "alt", "id"]].values.tolist() == [
        [1, 1, "A", "rs1"], [1, 3, "T", "rs1"], [2, 1, "G", "chr1:6:C>G"]]  # fmt: skip
    np.testing.assert_array_equal(asked.variants.af, [0.25, 0.001, np.nan])
    assert asked.left_out[["record", "allele", "reason"]].values.tolist() == [[1, 2, "symbolic allele"], [1, 4, user_variants.TWICE]]
    assert asked.report["v.vcf", "multi-allelic records", "split, one row an allele"] == 1


def test_a_filter_does_not_leave_a_record_out_and_is_counted(tmp_path, reference):
    path = made(tmp_path, [("chr1", 2, ".", "C", "A", ".")])
    path.write_text(path.read_text().replace("PASS", "LowQual"))
    asked = user_variants.read(path, reference)
    assert len(asked.variants) == 1
    assert asked.report["v.vcf", "records of FILTER other than PASS", "read all the same"] == 1


def test_each_packing_gives_the_same(tmp_path, reference):
    path = made(tmp_path, [("chr1", 2, ".", "C", "A", "."), ("chr2", 2, ".", "C", "T", ".")], ["ann"])
    pysam.tabix_compress(str(path), f"{path}.gz")
    (tmp_path / "p.vcf.gz").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "crlf.vcf").write_text(path.read_text().replace("\n", "\r\n") + "\r\n")
    tables = [user_variants.read(tmp_path / name, reference).variants for name in ("v.vcf", "v.vcf.gz", "p.vcf.gz", "crlf.vcf")]
    assert len(tables[0]) == 2
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_a_file_without_records_gives_empty_tables(tmp_path, reference):
    asked = user_variants.read(made(tmp_path, []), reference)
    assert list(asked.variants) == user_variants.COLUMNS and list(asked.left_out) == user_variants.LEFT_OUT
    assert asked.variants.empty and asked.left_out.empty


GOOD = ("chr1", 2, ".", "C", "A", ".")


@pytest.mark.parametrize("records, said", [
    ([("1", 2, ".", "C", "A", ".")], "record 1 (1:2): contig '1' is not in"),
    ([("NC_000001.11", 2, ".", "C", "A", ".")], "spelled 'chr1' there"),
    ([("chr1", 6, ".", "C", "A", "."), GOOD], "record 2 (chr1:2): unsorted, it comes after chr1:6"),
    ([GOOD, ("chr2", 2, ".", "C", "A", "."), ("chr1", 6, ".", "C", "A", ".")], "record 3 (chr1:6): unsorted"),
    ([("chr1", "x", ".", "C", "A", ".")], "line 3: POS 'x', wanted a number"),
    ([("chr1", 2, ".", "", "A", ".")], "REF is empty"),
    ([("chr1", 2, ".", "C", "A,", ".")], "ALT is empty"),
    ([("chr1", 2, ".", "C", "A,G", "AF=0.1")], "INFO AF=0.1 has 1 values, wanted one per ALT allele, 2"),
    ([("chr1", 2, ".", "C", "A", "AF=0.1;AF=0.2")], "AF 2 times, wanted once"),
    ([("chr1", 2, ".", "C", "A", "AF=12")], "AF=12, wanted shares from 0 to 1"),
    ([("chr1", 2, ".", "C", "A", "AF=rare")], "AF=rare, wanted shares from 0 to 1"),
])  # fmt: skip
def test_a_file_with_a_fault_of_form_is_refused_by_record(tmp_path, reference, records, said):
    with pytest.raises(ValueError) as error:
        user_variants.read(made(tmp_path, records), reference)
    assert said in str(error.value) and "v.vcf" in str(error.value)


@pytest.mark.parametrize("change, said", [
    (lambda text: text.replace("#CHROM", "CHROM"), "column 1 is another; wanted #CHROM POS"),
    (lambda text: text.replace("\tFORMAT", ""), "column 9 is another"),
    (lambda text: text.replace("\t", " "), "column 1 is another"),
    (lambda text: text.split("#CHROM")[0], "no #CHROM header line"),
    (lambda text: text.rstrip("\n") + "\t0/1\n", "11 columns, wanted 10"),
    (lambda text: text.replace("\tGT\t0/1", ""), "8 columns, wanted 10"),
    (lambda text: text + text, "two files in one"),
])  # fmt: skip
def test_a_file_of_another_form_is_refused_and_nobody_is_named(tmp_path, reference, change, said):
    path = made(tmp_path, [GOOD], ["anna_smith"])
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError) as error:
        user_variants.read(path, reference)
    assert said in str(error.value) and "anna_smith" not in str(error.value)


def test_truncated_bgzip_gzip_and_bcf_are_refused(tmp_path, reference):
    path = made(tmp_path, [GOOD] * 1000)
    pysam.tabix_compress(str(path), f"{path}.gz")
    whole = (tmp_path / "v.vcf.gz").read_bytes()
    (tmp_path / "a.vcf.gz").write_bytes(whole[:-28])
    (tmp_path / "b.vcf.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    text = pysam.VariantFile(str(made(tmp_path, [], meta=["##contig=<ID=chr1,length=24>"], name="c.vcf")))
    pysam.VariantFile(str(tmp_path / "c.bcf"), "wb", header=text.header).close()
    for name, said in (("a.vcf.gz", "closing bgzip block is missing"), ("b.vcf.gz", "damaged gzip"), ("c.bcf", "wanted VCF text")):
        with pytest.raises(ValueError, match=said):
            user_variants.read(tmp_path / name, reference)
    with pytest.raises(FileNotFoundError):
        user_variants.read(tmp_path / "none.vcf", reference)


def test_samples_and_calls_never_leave_the_reader(tmp_path, reference):
    path = made(tmp_path, [("chr1", 2, ".", "C", "A", ".")], ["anna_smith", "bob_jones"])
    vcf = vcf_lines.TextVcf(path)
    line = next(iter(vcf))
    assert len(line.fields) == 8 and "0/1" not in str(line)
    asked = user_variants.read(path, reference)
    shown = asked.variants.to_csv() + asked.left_out.to_csv() + str(asked.report)
    assert "anna" not in shown and "bob" not in shown and "0/1" not in shown


# ---- another build

def test_a_wrong_build_is_told_at_ten_snvs_and_above_a_fifth(tmp_path):
    bases = helpers.random_dna(400, 1)
    reference = genome(tmp_path, {"chr2": bases})
    other = bases[:100] + "".join({"A": "C", "C": "A", "G": "T", "T": "G"}[b] for b in bases[100:])  # no base as it was from 100 on
    for right, wrong, refused in ((8, 2, False), (8, 3, True), (6, 3, False), (0, 9, False), (0, 10, True), (800, 200, False)):
        right = snvs(other, sorted([*range(100)] * 8)[:right])
        path = made(tmp_path, right + snvs(other, range(100, 100 + wrong)))
        if refused:
            with pytest.raises(ValueError, match=f"REF of {wrong} of the first {len(right) + wrong} SNVs on known bases"):
                user_variants.read(path, reference)
        else:
            assert (user_variants.read(path, reference).left_out.reason == user_variants.MISMATCH).sum() == wrong


def test_only_the_first_thousand_snvs_judge_and_a_wrong_file_ends_at_them(tmp_path):
    bases = helpers.random_dna(4000, 2)
    other = bases[:2000].translate(str.maketrans("ACGT", "CATG")) + bases[2000:]
    records = snvs(other, range(4000))
    with pytest.raises(ValueError, match=r"1000 of the first 1000 .*100.0%"):
        user_variants.read(made(tmp_path, [*records, ("chr2", 1, ".", "A", "C", ".")]), genome(tmp_path, {"chr2": bases}))
    later = genome(tmp_path, {"chr2": bases[::-1]})  # its first half fits, and the second not
    asked = user_variants.read(made(tmp_path, snvs(other[::-1], range(4000))), later)
    assert len(asked.variants) == len(asked.left_out) == 2000


def test_indels_and_unknown_bases_do_not_judge(tmp_path):
    reference = genome(tmp_path, {"chr2": "N" * 30 + "ACGT" * 10})
    records = snvs("A" * 70, range(30)) + [("chr2", p, ".", "GG", "G", ".") for p in range(31, 60)]
    assert user_variants.read(made(tmp_path, records), reference).variants.empty


@pytest.mark.parametrize("how, said", [
    ("shifted", "POS counts from 0"), ("swapped", "REF and ALT are swapped"), ("other", "another genome build"),
])  # fmt: skip
def test_a_mistake_that_explains_it_all_is_called_by_its_name(tmp_path, how, said):
    bases = helpers.random_dna(400, 3)
    records = snvs(bases, range(1, 300), shift=-1 if how == "shifted" else 0)
    if how == "swapped":
        records = [(c, p, i, alt, ref, info) for c, p, i, ref, alt, info in records]
    if how == "other":
        records = snvs(helpers.random_dna(400, 4), range(300))
    with pytest.raises(ValueError, match="SNVs on known bases") as error:
        user_variants.read(made(tmp_path, records), genome(tmp_path, {"chr2": bases}))
    assert said in str(error.value)


def test_another_contig_length_in_the_header_is_refused(tmp_path, reference):
    meta = ["##contig=<ID=chr2,length=400>", '##contig=<ID=chr1,assembly="x",length=23>', "##contig=<ID=chr7,length=1>"]
    with pytest.raises(ValueError, match=r"record 1 \(chr1:2\): the header says chr1 has 23 bases, .* has 24: another genome build"):
        user_variants.read(made(tmp_path, [GOOD], meta=meta), reference)
    assert len(user_variants.read(made(tmp_path, [("chr2", 2, ".", "C", "A", ".")], meta=meta), reference).variants) == 1


def test_builds_are_told_by_chromosome_lengths():
    """Lengths of chromosome 20: UCSC's hg19 and hg38, as the chain file between them has them, too."""
    assert user_variants.build_of({"20": 63025520, "chrUn": 5}) == "hg19"
    assert user_variants.build_of({"chr20": 64444167, "chrM": 16571}) == "hg38"
    assert user_variants.build_of({"chr20": 64444167, "chr1": 249250621}) == ""
    assert user_variants.build_of({"chrM": 16569}) == user_variants.build_of({}) == ""


# ---- real files

@pytest.fixture(scope="module")
def grch38():
    return Reference(DATA / "GRCh38_loci.fa.gz")


@real
@pytest.mark.parametrize("name", ["clinvar_loci.vcf.gz", "cohort_1kg_eur.vcf.gz"])
def test_real_files_pass_the_door_whole(grch38, name):
    asked = user_variants.read(DATA / name, grch38)
    with pysam.VariantFile(str(DATA / name)) as file:
        wanted = [(n, k, r.contig, r.start, r.ref, alt, r.info["AF"][k - 1] if "AF" in r.info else np.nan)
                  for n, r in enumerate(file, 1) for k, alt in enumerate(r.alts, 1)]  # fmt: skip
    assert asked.left_out.empty and len(wanted) == {"clinvar_loci.vcf.gz": 36459, "cohort_1kg_eur.vcf.gz": 9566}[name]
    assert asked.variants[["record", "allele", "contig", "pos", "ref", "alt"]].values.tolist() == [list(row[:6]) for row in wanted]
    np.testing.assert_allclose(asked.variants.af, [row[6] for row in wanted], rtol=1e-6)


@real
def test_a_real_variant_asked_as_text(grch38):
    asked = user_variants.parse("20-44355644-C-A", grch38)
    assert asked.variants[["contig", "pos", "ref", "alt"]].values.tolist() == [["chr20", 44355643, "C", "A"]]


@pytest.fixture(scope="module")
def at_hg19(grch38) -> list[tuple]:
    """ClinVar's alleles taken back to GRCh37 by the blocks of the real chain that lie forward on the same chromosome."""
    blocks, keep = defaultdict(list), False
    with gzip.open(DATA / "regulatory/GRCh37_to_GRCh38.chain.gz", "rt") as text:
        for fields in (line.split() for line in text):
            if fields[:1] == ["chain"]:
                contig, keep = fields[2], fields[2] == fields[7] and fields[4] == fields[9] == "+"
                old, new = int(fields[5]), int(fields[10])
            elif fields and keep:
                size, *gaps = map(int, fields)
                blocks[contig.removeprefix("chr")].append((new, old, size))
                if gaps:
                    old, new = old + size + gaps[0], new + size + gaps[1]
    arrays, moved = {contig: np.array(sorted(rows)) for contig, rows in blocks.items()}, []
    for v in user_variants.read(DATA / "clinvar_loci.vcf.gz", grch38).variants.itertuples():
        rows = arrays[v.contig.removeprefix("chr")]
        new, old, size = rows[np.searchsorted(rows[:, 0], v.pos, side="right") - 1].tolist()
        if v.pos + len(v.ref) <= new + size:
            moved.append((v.contig, old + v.pos - new + 1, ".", v.ref, v.alt, "."))
    order = {contig: n for n, contig in enumerate(dict.fromkeys(row[0] for row in moved))}
    return sorted(moved, key=lambda row: (order[row[0]], row[1]))


@real
@pytest.mark.parametrize("header", [True, False])
def test_real_variants_at_their_hg19_places_are_refused(tmp_path, grch38, at_hg19, header):
    """Told by the header's lengths, and without them by REF, where a place of hg19 happens to lie in a locus."""
    assert len(at_hg19) > 36000
    meta = ["##contig=<ID=chr1,length=249250621>"] if header else []
    with pytest.raises(ValueError, match="another genome build") as error:
        user_variants.read(made(tmp_path, at_hg19, meta=meta), grch38)
    assert "GRCh37 (hg19)" in str(error.value) and "the genome is GRCh38 (hg38)" in str(error.value)
    assert ("the header says chr1 has 249250621 bases" if header else "SNVs on known bases") in str(error.value)
    print(error.value)
