"""A simulated study as the files that real data come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from lib.models import sequence as sq


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
    header = ["##fileformat=VCFv4.2", f"##source=SIMULATED by lib.dna, seed {seed}: no real person"]
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
