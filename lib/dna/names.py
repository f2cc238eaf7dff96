"""Names that studies of DNA may publish, since public sources hold them: profiles, chromosomes, loci, genes, intervals."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lib.dna import motifs

#: Parameters of 00_dna whose files name places and genes, never people.
SOURCES = ("loci_path", "background_path", "exon_path", "domain_path", "promoter_path", "interval_paths", "lifted_paths", "variant_path",
           "gwas_path", "fine_mapped_paths", "mpra_path", "truth_path", "truth_variants_path")  # fmt: skip
#: Columns of tables that are such names.
COLUMNS = {"gene", "domain", "locus", "element", "name", "motif", "partner", "target", "concept", "family", "pair", "region", "contig",
           "label", "chrom", "destroys_site", "word", "kind", "site"}  # fmt: skip
OF_GFF = re.compile(r"(?:gene_name|gene|Name|transcript_id|ID|gene_type)[= ]\"?([\w.:-]+)")
OF_VCF = re.compile(r"GENEINFO=([^;\t]+)")
CHROMOSOMES = [*(f"chr{n}" for n in (*range(1, 23), "X", "Y", "M", "MT")), *(str(n) for n in range(1, 23)), "X", "Y"]


def names(params: dict[str, Any], find: Callable[[str], Path]) -> Iterator[str]:
    """Texts whose words are public names. params: of 00_dna; find: from a parameter's path to the file. Files that are gone are left out,
    and so are their names: what they alone name is then refused."""
    yield from CHROMOSOMES
    for motif in motifs.vertebrate_motifs():
        yield f"{motif.matrix_id} {motif.name} {motif.family}"
    for name in SOURCES:
        for text in params[name] if isinstance(params.get(name), list) else [params.get(name)]:
            if text:
                yield from _of_file(find(text))
    if params.get("genome_path"):
        index = find(params["genome_path"])
        yield from _lines(index.with_name(index.name + ".fai"), lambda line: line.split("\t")[0])


def _of_file(path: Path) -> Iterator[str]:
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind == "bed":
        yield from _lines(path, lambda line: " ".join(line.rstrip().split("\t")[3:4]))
    elif kind in ("gff3", "gff", "gtf"):
        yield from _lines(path, lambda line: " ".join(OF_GFF.findall(line)))
    elif kind == "vcf":
        yield from _lines(path, lambda line: " ".join(OF_VCF.findall(line)))
    elif kind in ("csv", "tsv") and path.is_file():
        with _open(path) as file:
            for row in csv.DictReader(file, delimiter="\t" if kind == "tsv" else ","):
                yield " ".join(str(value) for column, value in row.items() if column in COLUMNS)


def _lines(path: Path, name: Callable[[str], str]) -> Iterator[str]:
    if path.is_file():
        with _open(path) as file:
            yield from {name(line) for line in file}


def _open(path: Path):
    return gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8")
