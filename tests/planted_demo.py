"""A simulated genome without a grammar, its cohort and phenotype with known truth, as the files that real data come in: a fixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lib.dna import demo_files, demo_genome, planted
from lib.dna import motifs as mt
from lib.dna.phenotypes import simulate_phenotype
from tests.planted_variants import draw_genotypes, draw_variants

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
    n_causal of them, on motifs in `planted_variants.CAUSAL_MOTIFS`, drive the phenotype, ±effect_log_odds per copy. case_share: share of
    people who are cases. Raises ValueError when there are more loci than names, or too few sites for the variants asked for.
    """
    if not 1 <= n_loci <= len(demo_genome.GENES):
        raise ValueError(f"n_loci is {n_loci}, wanted 1 to {len(demo_genome.GENES)}")
    out = Path(out_dir)
    (out / "truth" / "annotation").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    motifs = planted.gut_immune_motifs()

    regions = demo_genome.layout(n_loci, locus_bp, n_contigs, n_background, background_bp)
    elements, exons = elements_of(regions, element_share, rng)
    genome, sites = write_bases(regions, elements, motifs, density, rng)
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
    write_truth(out / "truth", sites, elements, exons, variants, motifs, people, effect_log_odds, seed)
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


def elements_of(
    regions: pd.DataFrame, element_share: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Promoters and enhancers of each region, and exons in the gaps between them."""
    elements, exons = [], []
    for region in regions.itertuples():
        if region.kind == "locus":
            pieces = _locus_elements(region.end - region.start, element_share)
        else:
            pieces = _background_elements(region.end - region.start, rng)
        elements += [
            (region.contig, region.start + a, region.start + b, f"{region.locus}_{kind}{i}", kind)
            for i, (a, b, kind) in enumerate(pieces)
        ]
        bounds = [0, *(x for a, b, _ in pieces for x in (a, b)), region.end - region.start]
        gaps = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b - a >= 60]
        gaps = [
            (region.start + a, (b - a) // 4, region.start + b) for a, b in gaps
        ]  # an exon is its middle half
        exons += [
            (region.contig, a + quarter, b - quarter, f"{region.locus}_exon{i}")
            for i, (a, quarter, b) in enumerate(gaps)
        ]
    columns = ["contig", "start", "end", "locus"]
    return pd.DataFrame(elements, columns=[*columns, "kind"]), pd.DataFrame(exons, columns=columns)


def _locus_elements(length: int, share: float) -> list[tuple[int, int, str]]:
    """A promoter with half of the element bases and two enhancers with a quarter each, evenly spaced."""
    widths = [int(length * share / 2), int(length * share / 4), int(length * share / 4)]
    gap = (length - sum(widths)) // 4
    starts = gap + np.cumsum([0, widths[0] + gap, widths[1] + gap])
    kinds = ["promoter", "enhancer", "enhancer"]
    return [(int(a), int(a) + w, k) for a, w, k in zip(starts, widths, kinds, strict=True)]


def _background_elements(
    length: int, rng: np.random.Generator, segment: int = 512, active: float = 0.8, promoters: float = 0.2
) -> list[tuple[int, int, str]]:
    """Of the whole segments a share `active` are elements, and of these a share `promoters` are promoters."""
    on, promoter = rng.random((2, length // segment)) < np.array([[active], [promoters]])
    names = np.where(promoter, "promoter", "enhancer")
    return [(int(i) * segment, int(i + 1) * segment, str(names[i])) for i in np.flatnonzero(on)]


def write_bases(
    regions: pd.DataFrame,
    elements: pd.DataFrame,
    motifs: list[mt.Motif],
    density: float,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Codes of each contig, and all of its sites: planted ones and chance ones, with the element they start in."""
    genome, tables = {}, []
    for contig, rows in regions.groupby("contig"):
        codes = planted.background(int(rows.end.max()) + demo_genome.SPACER, rng)
        own = elements[elements.contig == contig]
        drawn = pd.concat(
            [planted.draw_sites(e.start, e.end, density, motifs, rng) for e in own.itertuples()],
            ignore_index=True,
        )
        planted.write_sites(codes, drawn, motifs, rng)
        keys = ["start", "end", "motif", "strand"]
        sites = planted.chance_sites(codes, motifs).merge(
            drawn[keys].assign(planted=True), on=keys, how="left"
        )
        sites["planted"] = sites.planted.eq(True)
        inside = np.searchsorted(own.start, sites.start, side="right") - 1
        ends = own.end.to_numpy()[np.maximum(inside, 0)]
        kinds = own.kind.to_numpy()[np.maximum(inside, 0)]
        sites["element"] = np.where((inside >= 0) & (sites.start < ends), kinds, "")
        genome[contig] = codes
        tables.append(sites.assign(contig=contig))
    return genome, pd.concat(tables, ignore_index=True)


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
        id=[demo_files.name_of(v) for v in variants.itertuples()], frequency=variants.frequency.round(6)
    )
    columns = ["contig", "pos", "ref", "alt", "id", "locus", "frequency"]
    columns += ["destroys_site", "score_drop", "causal", "beta"]
    named[columns].to_csv(folder / "variants.csv", index=False)
    demo_files.write_bed(folder / "elements.bed", elements)
    demo_files.write_bed(folder / "annotation" / "promoters.bed", elements[elements.kind == "promoter"])
    demo_files.write_bed(folder / "annotation" / "enhancers.bed", elements[elements.kind == "enhancer"])
    demo_files.write_bed(folder / "annotation" / "exons.bed", exons)
    people[["sample", "genetic", "liability"]].round(6).to_csv(folder / "liability.csv", index=False)
    text = README.format(effect=effect, seed=seed, n_motifs=len(motifs), p=planted.SITE_P)
    (folder / "README.md").write_text(text)
