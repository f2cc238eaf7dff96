"""The simulated study as the files that real data come in, and the truth beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from lib.dna import motifs as mt
from lib.dna import planted
from lib.models import sequence as sq

README = """Everything in this folder is simulated: sequence, genotypes, phenotype. Nothing comes from a person.
Effects are enlarged (log odds {effect} per allele; published ones are mostly below 0.3).
Seed {seed}. Coordinates are 0-based, half-open.

sites.csv      every site of the {n_motifs} motifs that scores at least the planting threshold
               (chance {p:g} per uniform base), planted or by chance; element it starts in, if any
elements.bed   promoters and enhancers: where sites were planted
variants.csv   each variant: the planted motif it destroys, score drop (bits), causal or not, beta (log odds)
liability.csv  per person: genetic part and liability (log odds)
annotation/    promoters, enhancers (by element), exons (simulated intervals outside elements, no signal)
"""


def write_genome(path: Path, genome: dict[str, np.ndarray], width: int = 60) -> None:
    with path.open("w") as handle:
        for contig, codes in genome.items():
            text = sq.decode(codes)
            lines = [text[i : i + width] for i in range(0, len(text), width)]
            handle.write("\n".join([f">{contig}", *lines, ""]))
    Path(f"{path}.fai").unlink(missing_ok=True)
    pysam.faidx(str(path))


def write_bed(path: Path, table: pd.DataFrame) -> None:
    rows = table.assign(score=0, strand=".")[["contig", "start", "end", "locus", "score", "strand"]]
    rows.to_csv(path, sep="\t", header=False, index=False)


def write_vcf(
    path: Path,
    variants: pd.DataFrame,
    copies: np.ndarray,
    samples: list[str],
    genome: dict[str, np.ndarray],
    seed: int,
) -> None:
    """cohort.vcf.gz and its index; heterozygotes are written 0/1 whichever copy carries the ALT."""
    header = ["##fileformat=VCFv4.2", f"##source=SIMULATED by lib.dna.demo, seed {seed}: no real person"]
    header += ['##FILTER=<ID=PASS,Description="All filters passed">']
    header += [f"##contig=<ID={contig},length={len(codes)}>" for contig, codes in genome.items()]
    header += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype (simulated, unphased)">']
    header += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])]
    calls = np.array(["0/0", "0/1", "1/1"])[copies.sum(2)]
    lines = [
        "\t".join([v.contig, str(v.pos + 1), name_of(v), v.ref, v.alt, ".", "PASS", ".", "GT", *call])
        for v, call in zip(variants.itertuples(), calls, strict=True)
    ]
    path.write_text("\n".join([*header, *lines, ""]))
    pysam.tabix_compress(str(path), f"{path}.gz", force=True)
    pysam.tabix_index(f"{path}.gz", preset="vcf", force=True)
    path.unlink()


def name_of(variant) -> str:
    return f"{variant.contig}:{variant.pos + 1}:{variant.ref}>{variant.alt}"


def write_truth(
    folder: Path,
    sites: pd.DataFrame,
    elements: pd.DataFrame,
    exons: pd.DataFrame,
    variants: pd.DataFrame,
    motifs: list[mt.Motif],
    people: pd.DataFrame,
    effect: float,
    seed: int,
) -> None:
    """What is true of the study, as the README in the same folder says; people: sample, genetic, liability."""
    index = sites.motif.to_numpy()
    table = sites.assign(
        motif=np.array([m.name for m in motifs])[index],
        matrix_id=np.array([m.matrix_id for m in motifs])[index],
        family=np.array([m.family for m in motifs])[index],
        score=sites.score.round(4),
    )
    columns = ["contig", "start", "end", "motif", "matrix_id", "family", "strand"]
    columns += ["score", "planted", "element"]
    table[columns].to_csv(folder / "sites.csv", index=False)
    named = variants.assign(
        id=[name_of(v) for v in variants.itertuples()], frequency=variants.frequency.round(6)
    )
    columns = ["contig", "pos", "ref", "alt", "id", "locus", "frequency"]
    columns += ["destroys_site", "score_drop", "causal", "beta"]
    named[columns].to_csv(folder / "variants.csv", index=False)
    write_bed(folder / "elements.bed", elements)
    write_bed(folder / "annotation" / "promoters.bed", elements[elements.kind == "promoter"])
    write_bed(folder / "annotation" / "enhancers.bed", elements[elements.kind == "enhancer"])
    write_bed(folder / "annotation" / "exons.bed", exons)
    people[["sample", "genetic", "liability"]].round(6).to_csv(folder / "liability.csv", index=False)
    text = README.format(effect=effect, seed=seed, n_motifs=len(motifs), p=planted.SITE_P)
    (folder / "README.md").write_text(text)
