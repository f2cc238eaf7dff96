"""15 IBD genes, against four files that were made without the one the bounds came from."""

import gzip
from pathlib import Path

import bioframe
import pandas as pd
import pysam
import pytest

from lib.dna.demo_genome import GENES
from lib.dna.reference import Reference
from lib.dna.windows import read_bed
from tests.helpers import DATA_DIR

BED = Path(__file__).parents[2] / "params" / "ibd-nt" / "genes.bed"
COLUMNS = ["contig", "start", "end", "gene", "score", "strand"]
SPACE = ("contig", "start", "end")


@pytest.fixture(scope="module")
def genes() -> pd.DataFrame:
    return pd.read_csv(BED, sep="\t", comment="#", names=[*COLUMNS, "transcripts"])


def shared(name: str) -> Path:
    if not (DATA_DIR / name).is_file():
        pytest.skip(f"NO REAL DATA at {DATA_DIR / name}: set DATA_DIR to the folder of shared data")
    return DATA_DIR / name


def lost(genes: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a table of the genes' own features that no gene's interval holds whole."""
    pairs = table.merge(genes, on="gene", suffixes=("", "_gene"))
    held = (pairs.contig == pairs.contig_gene) & (pairs.start >= pairs.start_gene) & (pairs.end <= pairs.end_gene)
    if "strand" in table:
        held &= pairs.strand == pairs.strand_gene
    return pairs[~held]


def test_the_15_genes_of_the_plan_are_there_in_order_and_apart(genes):
    assert sorted(genes.gene) == sorted(GENES) and len(genes) == 15
    number = genes.contig.str.removeprefix("chr").astype(int)
    assert (genes.assign(number=number).sort_values(["number", "start"]).index == genes.index).all()
    assert (bioframe.count_overlaps(genes, genes, cols1=SPACE, cols2=SPACE)["count"] == 1).all()  # only itself
    assert genes.transcripts.str.fullmatch(r"NM_\d+\.\d+(,NM_\d+\.\d+)?").all()


def test_the_genome_of_the_data_folder_has_the_contigs(genes):
    loci = read_bed(BED, Reference(shared("GRCh38_loci.fa.gz")))
    assert loci.locus.tolist() == genes.gene.tolist() and loci.end.tolist() == genes.end.tolist()


def test_promoters_of_epdnew_lie_inside(genes):
    table = pd.read_csv(shared("regulatory/epdnew_human_hg38.bed"), sep="\t", header=None, names=COLUMNS)
    table["gene"] = table.gene.str.replace(r"_\d+$", "", regex=True)
    table = table[table.gene.isin(GENES)]
    assert set(table.gene) == set(GENES) and lost(genes, table).empty
    first = table.groupby("gene").agg(low=("start", "min"), high=("end", "max")).loc[genes.gene].reset_index()
    plus = (genes.strand == "+").to_numpy()
    upstream = (first.low - genes.start).where(plus, genes.end - first.high)
    assert upstream.between(4_000, 7_000).sum() >= 12  # 5,000 before a transcript, and promoters at its start


def test_exons_of_the_lrg_records_lie_inside(genes):
    with gzip.open(shared("lrg_exons.bed.gz"), "rt") as handle:
        table = pd.read_csv(handle, sep="\t", header=None, names=COLUMNS)
    table["gene"] = table.gene.str.split("|").str[0]
    table = table[table.gene.isin(GENES)]
    assert table.gene.nunique() == 8 and lost(genes, table).empty


def test_clinvar_puts_its_variants_of_the_genes_inside(genes):
    rows = []
    for record in pysam.VariantFile(str(shared("clinvar_loci.vcf.gz"))):
        named = record.info.get("GENEINFO") or ()
        rows += [(record.chrom, record.start, record.stop, gene) for gene in named if gene in GENES]
    table = pd.DataFrame(rows, columns=["contig", "start", "end", "gene"])
    assert len(table) > 100 and lost(genes, table).empty


def test_the_gwas_catalog_maps_its_hits_in_the_genes_inside(genes):
    table = pd.read_csv(shared("gwas/ibd_gwas_hits_GRCh38.tsv"), sep="\t", dtype=str)
    table = table[table.MAPPED_GENE.isin(GENES) & (table.INTERGENIC == "0") & table.chr38.notna()]
    place = table.pos38.astype(int)
    spots = pd.DataFrame({"contig": "chr" + table.chr38, "start": place - 1, "end": place, "gene": table.MAPPED_GENE})
    assert spots.gene.nunique() >= 8 and lost(genes, spots).empty
