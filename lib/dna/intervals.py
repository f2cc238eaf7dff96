"""Intervals of the genome that a latent may respond to: motif hits, genes, BED, ClinVar and GWAS."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from lib.dna import genes, labelled
from lib.dna.motifs import Motif
from lib.dna.reference import Reference, bare_name
from lib.dna.report import on_genome
from lib.models import sequence as sq
from lib.stage import compiled, lines


def motif_hits(
    windows: pd.DataFrame, sequences: list[str], motifs: tuple[Motif, ...], p_value: float = 1e-4, most: dict[str, int] | None = None
) -> pd.DataFrame:
    """FIMO hits (memelite) on both strands, each strand a concept of its own: a model reads one strand, and the two of a
    motif that is not its own reverse complement are different words.

    windows: contig, start, end, one row per sequence. Returns contig, start, end, concept (matrix id, name and strand),
    family; one row per hit, whole inside its window. most: concept -> how many hits to keep at most, the best ones; None keeps all.
    """
    import memelite

    compiled.keep("memelite.fimo")
    length = np.array([len(s) for s in sequences])
    longest = length.max()
    codes = np.full((len(sequences), longest), 4, dtype=np.uint8)
    for row, text in enumerate(sequences):
        codes[row, : len(text)] = sq.encode(text)
    names = {f"{m.matrix_id} {m.name}": m for m in motifs}
    by_motif = memelite.fimo({n: m.pwm for n, m in names.items()}, sq.one_hot(codes), threshold=p_value)
    contig, offset = windows["contig"].to_numpy(), windows["start"].to_numpy()
    parts = []
    for name, hits in zip(names, by_motif, strict=True):
        row, start = hits["sequence_name"].to_numpy(int), hits["start"].to_numpy(int)
        width = names[name].width
        whole = start + width <= length[row]  # a short sequence is padded, and a flat motif would hit the padding
        if most is not None:
            called = (f"{name} " + hits["strand"].astype(object)).where(whole)
            rank = hits["score"].groupby(called).rank(ascending=False, method="first")
            whole &= (rank <= called.map(most).fillna(0)).to_numpy()
        row, start, strand = row[whole], start[whole], hits["strand"].to_numpy()[whole]
        parts.append(pd.DataFrame({"contig": contig[row], "start": offset[row] + start,
                                   "end": offset[row] + start + width, "concept": f"{name} " + pd.Series(strand, dtype=object),
                                   "family": names[name].family}))  # fmt: skip
    return pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)


def codes_of(texts: list[str]) -> list[np.ndarray]:
    """Each text as small integers, see `sequence.encode`."""
    return [sq.encode(text) for text in texts]


def gene_intervals(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """Parts of genes with their strands, and codon bases, from a GFF3 file or a BED file whose names are gene|transcript|exon|number;
    another BED file gives "exon" alone. Returns contig, start, end, concept, family. report: see `lib.dna.report`."""
    table = genes.read(path, genome, report)
    if not table["transcript"].any():
        return bed_intervals(table, "exon")
    return pd.concat([genes.parts(table), genes.codon_phase(table)], ignore_index=True)


def bed_intervals(bed: pd.DataFrame, concept: str, flank_bp: int = 0) -> pd.DataFrame:
    """Intervals of one concept from a BED table, exact repeats dropped. flank_bp: widen both sides."""
    table = bed[["contig", "start", "end"]].drop_duplicates(ignore_index=True)
    start = (table["start"] - flank_bp).clip(lower=0)
    return table.assign(start=start, end=table["end"] + flank_bp, concept=concept, family=concept)


def clinvar_intervals(path: Path, genome: Reference, units: pd.DataFrame, report: Counter) -> pd.DataFrame:
    """ClinVar alleles on the background windows: "ClinVar P/LP" and "ClinVar B/LB", one interval an allele.
    report: see `lib.dna.report`."""

    sites = labelled.clinvar_alleles(path, genome, units[["contig", "start", "end"]], [], report)
    sites = sites.assign(concept=sites["label"].map({1: "ClinVar P/LP", 0: "ClinVar B/LB"}))
    sites = sites.assign(start=sites["pos"], end=sites["pos"] + sites["ref"].str.len(), family="ClinVar")
    return sites[["contig", "start", "end", "concept", "family"]].drop_duplicates(ignore_index=True)


def gwas_intervals(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """GWAS Catalog lead SNPs, one base each. Columns chr38 and pos38 (1-based), the contig in any spelling (2, chr2).

    Rows without a place, with several (2;3), and on contigs that the genome lacks, are left out and counted, see
    `lib.dna.report`. Raises ValueError with the line for a position that is no number or off the contig, for what
    `lib.stage.lines.table` refuses, and when no row is left.
    """
    rows, name = [], Path(path).name
    contigs = {bare_name(contig): contig for contig in genome.lengths}
    for row in lines.table(path, "chr38", "pos38").itertuples():
        where = f"{path}, line {row.Index}"
        given, pos = row.chr38.strip().removesuffix(".0"), row.pos38.strip().removesuffix(".0")
        if {given.upper(), pos.upper()} & {"", ".", "NA", "NAN"}:
            report[name, "lead SNPs without a place", "left out"] += 1
            continue
        if re.search(r";| x ", f"{given} {pos}"):
            report[name, "lead SNPs of several places", "left out"] += 1
            continue
        contig = given if given in genome.lengths else contigs.get(bare_name(given), given)
        if not on_genome(genome, contig, path, where, report):
            continue
        end = lines.integer(pos)
        if end is None or not 1 <= end <= genome.lengths[contig]:
            raise ValueError(f"{where}: pos38 {row.pos38[:40]!r}, wanted a position from 1 to {genome.lengths[contig]}")
        rows.append((contig, end - 1, end))
    if not rows:
        raise ValueError(f"{path}: no lead SNP in the file that is on {genome.path}")
    rows = list(dict.fromkeys(rows))
    return pd.DataFrame(rows, columns=["contig", "start", "end"]).assign(concept="GWAS lead SNP", family="GWAS")
