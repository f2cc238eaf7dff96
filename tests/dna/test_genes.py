"""Parts of genes: by hand on a made gene, and on real genes by what the genome says there."""

import gzip
from collections import Counter

import pandas as pd
import pytest

from lib.dna import genes, labelled, windows
from lib.dna.reference import Reference
from lib.models import sequence as sq
from tests import helpers

# plus strand: exons 10-20, 30-40, 50-60; coding from 15 to 55: 5 + 10 + 5 bases
BED = pd.DataFrame(
    [("c", a, b, f"G|T{s}|{f}|{n}", 0.0, s) for s in "+-" for a, b, f, n in
     ((10, 20, "exon", 1), (30, 40, "exon", 2), (50, 60, "exon", 3), (15, 55, "coding_region", ""))],
    columns=windows.COLUMNS,
)  # fmt: skip


def intervals(table, concept):
    rows = table[table["concept"] == concept].sort_values("start")
    return list(zip(rows["start"], rows["end"]))


def test_parts_of_a_gene_by_hand():
    table = genes.parts(genes.from_bed(BED))
    assert intervals(table, "exon") == [(10, 20), (30, 40), (50, 60)]  # once, though two transcripts have them
    for strand in "+-":
        assert intervals(table, f"CDS {strand}") == [(15, 20), (30, 40), (50, 55)]
    assert intervals(table, "5' UTR +") == intervals(table, "3' UTR -") == [(10, 15)]
    assert intervals(table, "3' UTR +") == intervals(table, "5' UTR -") == [(55, 60)]
    # donors: 3 exonic, 6 intronic bases, at the exon's end on plus and at its start on minus
    assert intervals(table, "splice donor +") == [(17, 26), (37, 46)]
    assert intervals(table, "splice donor -") == [(24, 33), (44, 53)]
    # acceptors: 20 intronic, 3 exonic bases
    assert intervals(table, "splice acceptor +") == [(10, 33), (30, 53)]
    assert intervals(table, "splice acceptor -") == [(17, 40), (37, 60)]
    assert intervals(table, "intron +") == intervals(table, "intron -") == [(20, 30), (40, 50)]
    assert set(table["family"]) == {"exon", "CDS", "5' UTR", "3' UTR", "intron", "splice donor", "splice acceptor"}


def test_phase_counts_from_the_first_coding_base_of_each_strand():
    table = genes.from_bed(BED)
    phase = table[table["feature"] == "CDS"].sort_values(["strand", "start"])
    # plus: 5, 10, 5 bases before each part: 0, 5, 15; skipped to the next codon: 0, 1, 0
    assert phase[phase["strand"] == "+"]["phase"].tolist() == [0, 1, 0]
    assert phase[phase["strand"] == "-"]["phase"].tolist() == [0, 1, 0]


def test_codon_bases_by_hand_and_disagreeing_bases_left_out():
    one = genes.codon_phase(genes.from_bed(BED[BED["strand"] == "+"]))
    assert intervals(one, "codon base 1 +") == [(p, p + 1) for p in (15, 18, 31, 34, 37, 50, 53)]
    both = genes.codon_phase(genes.from_bed(BED))
    assert both.empty  # every base is coding on both strands here: nothing to say


def test_names_of_another_form_are_refused():
    with pytest.raises(ValueError, match="gene|transcript|exon|1 wanted, found 'x'"):
        genes.from_bed(BED.assign(locus="x"))


def test_real_genes_start_with_atg_end_with_stop_and_splice_at_gt_ag():
    path = helpers.DATA_DIR / "lrg_exons.bed.gz"
    if not path.is_file():
        pytest.skip(f"NO REAL GENES at {path}: set DATA_DIR to the folder of shared data")
    genome = Reference(helpers.DATA_DIR / "GRCh38_loci.fa.gz")
    table = genes.from_bed(windows.read_bed(path, genome, "exon", unique=False))

    def read(row):
        text = genome.fetch(row.contig, row.start, row.end)
        return sq.decode(sq.reverse_complement(sq.encode(text))) if row.strand == "-" else text

    cds = table[table["feature"] == "CDS"]
    ordered = cds.assign(key=cds["start"].where(cds["strand"] != "-", -cds["start"])).sort_values("key")
    spliced = {name: "".join(map(read, rows.itertuples())) for name, rows in ordered.groupby("transcript")}
    assert len(spliced) > 700
    assert sum(t.startswith("ATG") for t in spliced.values()) > 0.97 * len(spliced)
    assert sum(t[-3:] in ("TAA", "TAG", "TGA") for t in spliced.values()) > 0.97 * len(spliced)
    table = genes.parts(table)
    for concept, at, word in (("splice donor", 3, "GT"), ("splice acceptor", 18, "AG")):
        rows = table[table["family"] == concept]
        words = [read(r)[at : at + 2] for r in rows.assign(strand=rows["concept"].str[-1]).head(800).itertuples()]
        assert pd.Series(words).eq(word).mean() > 0.95


GFF = """##gff-version 3
chr1\tx\tgene\t1\t60\t.\t+\t.\tID=g
chr1\tx\texon\t11\t20\t.\t+\t.\tID=e1;Parent=t1,t2;gene=G
chr1\tx\tCDS\t16\t20\t.\t+\t0\tID=c;Parent=t1
"""


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGT" * 25 + "\n>chr2\nACGT\n")
    (tmp_path / "g.fa.fai").write_text("chr1\t100\t6\t100\t101\nchr2\t4\t113\t4\t5\n")
    return Reference(tmp_path / "g.fa")


@pytest.mark.parametrize("name", ["a.gff3", "a.gff3.gz"])
def test_gff3_by_hand(tmp_path, genome, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(GFF.encode()) if name.endswith("gz") else GFF.encode())
    table = genes.read_gff3(path, genome, Counter())
    assert table[["start", "end", "transcript", "feature", "phase"]].values.tolist() == [
        [10, 20, "t1", "exon", -1], [10, 20, "t2", "exon", -1], [15, 20, "t1", "CDS", 0],
    ]  # fmt: skip
    assert set(table["gene"]) == {"G", "t1"}


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("\t11\t20\t.\t+\t.\tID=e1;Parent=t1,t2", "\t11\t20\t.\t+\t.\tID=e1", "line 3: exon without Parent"),
        ("\t11\t20", "\t11\t200", "line 3: chr1:11-200, wanted 1 <= start <= end <= 100"),
        ("\t11\t20", "\t0\t20", "line 3: chr1:0-20"),
        ("20\t.\t+\t0", "20\t.\t+\t.", "line 4: CDS with phase '.'"),
        ("20\t.\t+\t0", "20\t.\t?\t0", "line 4: strand '\\?'"),
        ("chr1\tx\tCDS", "1\tx\tCDS", "line 4: contig '1' is not in"),
        ("\tx\tgene", "", "line 2: 7 tab-separated columns"),
        ("exon", "region", "no exon in the file"),
        ("Parent=t1,t2", "Parent=t1, t2", "line 3: Parent in '.*', wanted it once, names apart by commas, none empty or with blanks"),
        ("Parent=t1,t2", "Parent=", "line 3: Parent in"),
        ("Parent=t1,t2", "Parent=t1,,t2", "line 3: Parent in"),
        ("Parent=t1,t2", "Parent=t1;Parent=t2", "line 3: Parent in"),
        ("Parent=t1,t2", "Parent=t1,t1", "line 3: exon chr1:11-20 is there twice in transcript 't1', wanted exons apart"),
        ("\t11\t20", "\t11\t\u0662\u0660", "line 3: chr1:11-\u0662\u0660, wanted"),
        ("\t11\t20", "\t11\t" + "9" * 5000, "line 3: chr1:11-9{40}, wanted"),
    ],
)
def test_gff3_refuses_bad_rows_by_line(tmp_path, genome, old, new, said):
    (tmp_path / "a.gff3").write_text(GFF.replace(old, new))
    with pytest.raises(ValueError, match=said):
        genes.read_gff3(tmp_path / "a.gff3", genome, Counter())


@pytest.mark.parametrize("row, said", [
    ("exon\t11\t20\t.\t+", "line 5: exon chr1:11-20 is there twice in transcript 't1', wanted exons apart"),
    ("exon\t20\t25\t.\t+", "line 5: exon chr1:20-25 overlaps chr1:11-20 in transcript 't1'"),
    ("exon\t1\t60\t.\t+", "line 5: exon chr1:1-60 overlaps chr1:11-20 in transcript 't1'"),
    ("exon\t31\t40\t.\t-", "line 5: transcript 't1' is on chr1 -, before on chr1 \\+; wanted one contig and strand"),
    ("CDS\t31\t40\t.\t-", "line 5: transcript 't1' is on chr1 -"),
    ("exon\t2\t4\t.\t+", "line 5: transcript 't1' is on chr2 \\+, before on chr1 \\+"),
])  # fmt: skip
def test_gff3_refuses_transcripts_that_would_make_false_splice_sites(tmp_path, genome, row, said):
    contig = "chr2" if "chr2" in said else "chr1"
    (tmp_path / "a.gff3").write_text(GFF + f"{contig}\tx\t{row}\t0\tParent=t1\n")
    with pytest.raises(ValueError, match=rf"a\.gff3, {said}"):
        genes.read(tmp_path / "a.gff3", genome, Counter())


EXONS = "chr1\t10\t20\tG|T|exon|1\t0\t+\nchr1\t30\t40\tG|T|exon|2\t0\t+\n"


@pytest.mark.parametrize("row, said", [
    ("chr1\t10\t20\tG|T|exon|3\t0\t+", "G|T|exon at chr1:10: exon chr1:11-20 is there twice in transcript 'T'"),
    ("chr1\t15\t25\tG|T|exon|3\t0\t+", "G|T|exon at chr1:15: exon chr1:16-25 overlaps chr1:11-20"),
    ("chr1\t50\t60\tG|T|exon|3\t0\t-", "G|T|exon at chr1:50: transcript 'T' is on chr1 -, before on chr1 \\+"),
    ("chr2\t1\t3\tG|T|exon|3\t0\t+", "G|T|exon at chr2:1: transcript 'T' is on chr2"),
    ("chr1\t50\t60\tG|U|exon|3\t0\t.", "G|U|exon at chr1:50: strand '.', wanted"),
    ("chr1\t50\t60\tG|U|exon|3", "G|U|exon at chr1:50: strand '.', wanted"),
    ("chr1\t50\t60\tG||exon|3\t0\t+", "G||exon at chr1:50: no transcript in the name"),
])  # fmt: skip
def test_bed_refuses_transcripts_that_would_make_false_splice_sites(tmp_path, genome, row, said):
    (tmp_path / "e.bed").write_text(EXONS + row + "\n")
    with pytest.raises(ValueError, match=r"e\.bed, " + said.replace("|", "\\|")):
        genes.read(tmp_path / "e.bed", genome, Counter())


def test_bed_rows_with_other_names_are_counted_and_another_bed_is_of_exons(tmp_path, genome):
    (tmp_path / "e.bed").write_text(EXONS + "chr1\t50\t60\tG|T|intron|1\nchr1\t70\t80\tpeak\n")
    counts = Counter()
    assert genes.read(tmp_path / "e.bed", genome, counts).start.tolist() == [10, 30]
    assert counts == {("e.bed", "rows whose name says neither exon nor coding_region", "left out"): 2}
    (tmp_path / "p.bed").write_text("chr1\t10\t20\tpeak\n" * 2)
    assert genes.read(tmp_path / "p.bed", genome, Counter())[["start", "transcript", "feature"]].values.tolist() == [[10, "", "exon"]] * 2


def test_exons_that_touch_have_no_splice_site_between_them():
    touching = BED[BED["strand"] == "+"].replace({"end": {20: 30}})
    assert intervals(genes.parts(genes.from_bed(touching)), "splice donor +") == [(37, 46)]


SPANS = "chr1\t10\t20\tG|t|exon|1\t0\t+\nchr1\t40\t50\tG|t|coding_region|\t0\t+\n"


@pytest.mark.parametrize("name, text", [("a.gff3", GFF), ("a.bed", "chr1\t10\t20\n"), ("a.bed", SPANS)])
def test_variants_are_in_exons_of_either_format(tmp_path, genome, name, text):
    """Not in the gene's rows, nor its coding sequence's: exons alone."""
    (tmp_path / name).write_text(text.replace("CDS\t16\t20", "CDS\t41\t50"))
    at = pd.DataFrame({"contig": "chr1", "pos": [9, 10, 19, 20, 45], "ref": "A"})
    assert labelled.region(at, tmp_path / name, genome, Counter()).tolist() == ["other", "exon", "exon", "other", "other"]
