"""A simulated genome, cohort and phenotype with known truth, written as the files that real data come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lib.dna import demo_files, demo_genome, planted
from lib.dna.demo_variants import draw_genotypes, draw_variants
from lib.dna.phenotypes import simulate_phenotype


def simulate_demo(
    out_dir: str | Path, seed: int, n_people: int = 300, n_external: int = 0, n_loci: int = 15, locus_bp: int = 1024,
    n_contigs: int = 8, n_background: int = 8, background_bp: int = 60_000, density: float = 0.55, element_share: float = 0.6,
    variant_bp: int = 75, n_destroying: int = 60, n_causal: int = 12, effect_log_odds: float = 1.3, case_share: float = 0.5,
) -> Path:  # fmt: skip
    """Write a small disease study whose truth is known into out_dir; the same seed gives the same bytes.

    Files: genome.fa (+ .fai), loci.bed, background.bed, cohort.vcf.gz (+ .tbi; unphased), phenotype.csv,
    the same of n_external other people (external.vcf.gz, external_phenotype.csv; none when 0), and truth/ (see
    truth/README.md). Loci and background share contigs sim1, sim2, ..., so that a whole
    contig can be held out.

    locus_bp, background_bp: bases per locus and per background region. density: share of the bases of an
    element that lie in a planted site. element_share: share of a locus within its promoter (half of it) and
    two enhancers. variant_bp: mean bases per variant. n_destroying: variants that take a planted site below
    the planting threshold, all with allele frequency 0.25 to 0.5, so that frequency does not tell which matter;
    n_causal of them, on motifs in `demo_variants.CAUSAL_MOTIFS`, drive the phenotype, ±effect_log_odds per copy. case_share: share of
    people who are cases. Raises ValueError when there are more loci than names, or too few sites for the variants asked for.
    """
    if not 1 <= n_loci <= len(demo_genome.GENES):
        raise ValueError(f"n_loci is {n_loci}, wanted 1 to {len(demo_genome.GENES)}")
    out = Path(out_dir)
    (out / "truth" / "annotation").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    motifs = planted.gut_immune_motifs()

    regions = demo_genome.layout(n_loci, locus_bp, n_contigs, n_background, background_bp)
    elements, exons = demo_genome.elements_of(regions, element_share, rng)
    genome, sites = demo_genome.write_bases(regions, elements, motifs, density, rng)
    loci = regions[regions.kind == "locus"].reset_index(drop=True)
    n_variants = int(loci.end.sub(loci.start).sum() / variant_bp)
    variants = draw_variants(genome, loci, sites, motifs, n_variants, n_destroying, n_causal, effect_log_odds, rng)
    copies, variants = draw_genotypes(variants, n_people, rng)

    demo_files.write_genome(out / "genome.fa", genome)
    demo_files.write_bed(out / "loci.bed", loci)
    demo_files.write_bed(out / "background.bed", regions[regions.kind == "background"])
    people = _write_people(out, "", "SIM", variants, copies, case_share, genome, seed, rng)
    if n_external:
        others, _ = draw_genotypes(variants, n_external, rng)
        _write_people(out, "external_", "EXT", variants, others, case_share, genome, seed, rng)
    demo_files.write_truth(out / "truth", sites, elements, exons, variants, motifs, people, effect_log_odds, seed)
    return out


def _write_people(
    out: Path, prefix: str, name: str, variants: pd.DataFrame, copies: np.ndarray, case_share: float,
    genome: dict[str, np.ndarray], seed: int, rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Genotypes and phenotypes of a cohort. Returns sample, phenotype, genetic, liability."""
    phenotype = simulate_phenotype(copies.sum(2), variants.beta, case_share, int(rng.integers(2**31)))
    samples = [f"{name}{i + 1:05d}" for i in range(copies.shape[1])]
    demo_files.write_vcf(out / f"{prefix.rstrip('_') or 'cohort'}.vcf", variants, copies, samples, genome, seed)
    people = phenotype.assign(sample=samples)
    people[["sample", "phenotype"]].to_csv(out / f"{prefix}phenotype.csv", index=False)
    return people
