"""A simulated study over DNA with a grammar: genome, two cohorts, diseases of broken pairs, and diseases that no pair causes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lib.dna import demo_files, demo_genome, grammar, grammar_genome, planted
from lib.dna import grammar_variants as gv
from lib.dna.phenotypes import simulate_phenotype

#: The diseases, each of four pairs: with all eight in one, losing a pair wholly would cost .03 of AUROC at most.
DISEASES = {"pairs 1 to 4": (0, 1, 2, 3), "pairs 5 to 8": (4, 5, 6, 7)}
#: What else causes a disease in turn, in which nothing may be called needed.
NULLS = ("decoys", "neutral", "nothing")
#: Neutral variants that cause a disease of that name.
N_NEUTRAL = 12

README = """Everything in this folder is simulated: sequence, genotypes, diseases. Nothing comes from a person.
Effects are enlarged (log odds {effect} per haplotype with a broken pair; published ones are mostly below 0.3).
Seed {seed}. Coordinates are 0-based, half-open. The grammar is that of lib/dna/grammar.py.

units.csv      every planted unit: its site, partner and marker, its pair, what kind it is, whether it has a marker
sites.csv      every site of the {n_motifs} motifs that scores at least the planting threshold, planted or by chance
variants.csv   each variant of either cohort: the unit and motif it breaks, whether it is causal (the unit is functional), beta
genetic.csv    per person of the first cohort: the genetic part (log odds) of each disease, a column each
elements.bed   promoters and enhancers: where units were planted
annotation/    promoters, enhancers (by element)
"""


def simulate_grammar(
    out_dir: str | Path, seed: int, n_people: int = 600, n_external: int = 600, n_loci: int = 15, locus_bp: int = 1024,
    n_contigs: int = 8, n_background: int = 8, background_bp: int = 49_152, n_neutral: int = 60, effect_log_odds: float = 2.0,
    case_share: float = 0.5, n_nulls: int = 20,
) -> Path:  # fmt: skip
    """Write a small disease study over a grammar into out_dir; the same seed gives the same bytes.

    Files: genome.fa (+ .fai), loci.bed, background.bed, cohort.vcf.gz and external.vcf.gz (+ .tbi; unphased), and truth/. The second
    cohort has other breaking alleles, none of the first's, other frequencies and other linkage. phenotype.csv and external_phenotype.csv
    have a column a disease (DISEASES), and n_nulls columns each of diseases that broken decoys, neutral variants and nothing cause
    ("decoys 01", ...). locus_bp, background_bp: multiples of `grammar_genome.STRETCH`. effect_log_odds: of a haplotype with a broken
    pair; the pairs of a disease raise and lower its odds in turn. Raises ValueError when there are more loci than names.
    """
    if not 1 <= n_loci <= len(demo_genome.GENES):
        raise ValueError(f"n_loci is {n_loci}, wanted 1 to {len(demo_genome.GENES)}")
    out = Path(out_dir)
    (out / "truth" / "annotation").mkdir(parents=True, exist_ok=True)
    rng, motifs = np.random.default_rng(seed), planted.gut_immune_motifs()
    regions = demo_genome.layout(n_loci, locus_bp, n_contigs, n_background, background_bp)
    loci = regions[regions.kind == "locus"].reset_index(drop=True)
    genome, units, elements = grammar_genome.write(regions, rng)
    demo_files.write_genome(out / "genome.fa", genome)
    demo_files.write_bed(out / "loci.bed", loci)
    demo_files.write_bed(out / "background.bed", regions[regions.kind == "background"])
    in_loci = units[units.locus.isin(loci.locus)]
    breaking = gv.dealt(gv.breaking_alleles(genome, in_loci), rng)
    tables, genetic = [], None
    for name, prefix, n, own in zip(("SIM", "EXT"), ("", "external_"), (n_people, n_external), breaking, strict=True):
        if n:
            cohort = gv.people(own, gv.neutral(genome, loci, _motifs_of(in_loci), n_neutral, rng), len(units), n, rng)
            effects = Effects(units, cohort, effect_log_odds, n_nulls, rng)
            samples = [f"{name}{i + 1:05d}" for i in range(n)]
            demo_files.write_vcf(out / f"{prefix.rstrip('_') or 'cohort'}.vcf", cohort.variants, cohort.copies, samples, genome, seed)
            phenotypes, scores = effects.diseases(case_share, rng)
            genetic = scores.assign(sample=samples) if genetic is None else genetic
            phenotypes.assign(sample=samples).to_csv(out / f"{prefix}phenotype.csv", index=False, columns=["sample", *phenotypes])
            tables.append(effects.of_variants().assign(cohort=prefix.rstrip("_") or "cohort"))
    sites = grammar_genome.sites(genome, units, elements, motifs)
    _write_truth(out / "truth", units, sites, elements, pd.concat(tables), genetic, motifs)
    text = README.format(effect=effect_log_odds, seed=seed, n_motifs=len(motifs))
    (out / "truth" / "README.md").write_text(text)
    return out


class Effects:
    """What causes which disease in one cohort. beta: [unit], log odds of a haplotype in which a unit of a pair is broken."""

    def __init__(self, units: pd.DataFrame, cohort: gv.Cohort, effect: float, n_nulls: int, rng: np.random.Generator):
        self.units, self.cohort, self.effect, self.n_nulls, self.rng = units, cohort, effect, n_nulls, rng
        self.works = units.kind.eq("functional").to_numpy()
        self.beta = effect * np.where(units.pair % 2, -1.0, 1.0)

    def diseases(self, case_share: float, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """0 or 1 of each person, a column a disease and null; and the genetic part (log odds), a column a disease."""
        columns, genetic = {}, {}
        for name, pairs in DISEASES.items():
            own = self.beta * (self.works & self.units.pair.isin(pairs).to_numpy())
            made = simulate_phenotype(self.cohort.broken, own, case_share, int(rng.integers(2**31)))
            columns[name] = made.phenotype
            genetic[name] = made.genetic
        for null in NULLS:
            for number in range(1, self.n_nulls + 1):
                dosage, beta = self.null(null)
                columns[f"{null} {number:02d}"] = simulate_phenotype(dosage, beta, case_share, int(rng.integers(2**31))).phenotype
        return pd.DataFrame(columns), pd.DataFrame(genetic)

    def null(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Dosage [row, person] and log odds [row] of a disease that no functional pair causes."""
        if kind == "decoys":
            return self.cohort.broken, self.beta * ~self.works
        plain = np.flatnonzero(self.cohort.variants.unit < 0)
        some = self.rng.permutation(plain)[: N_NEUTRAL * (kind == "neutral")]
        return self.cohort.copies[some].sum(2), self.effect * np.where(np.arange(len(some)) % 2, -1.0, 1.0)

    def of_variants(self) -> pd.DataFrame:
        """The cohort's variants with pair, destroys_site (motif), causal and beta (log odds in its disease, 0 if not causal)."""
        table = self.cohort.variants
        unit = table.unit.to_numpy()
        known = unit >= 0
        of_unit = self.units.iloc[np.maximum(unit, 0)].reset_index(drop=True)
        motif = np.where(table.target == "site", [grammar.PAIRS[pair].site for pair in of_unit.pair], of_unit.partner)
        causal = known & self.works[np.maximum(unit, 0)]
        return table.assign(
            pair=np.where(known, of_unit.pair, -1), destroys_site=np.where(known, motif, ""), causal=causal,
            beta=np.where(causal, self.beta[np.maximum(unit, 0)], 0.0),
        )  # fmt: skip


def _motifs_of(units: pd.DataFrame) -> pd.DataFrame:
    """Sites and partners of units, as contig, start, end."""
    partners = units[["contig", "partner_start", "partner_end"]].set_axis(["contig", "start", "end"], axis=1)
    return pd.concat([units[["contig", "start", "end"]], partners], ignore_index=True)


def _write_truth(folder: Path, units, sites, elements, variants, genetic, motifs) -> None:
    index = sites.motif.to_numpy()
    table = sites.assign(
        motif=np.array([m.name for m in motifs])[index], matrix_id=np.array([m.matrix_id for m in motifs])[index],
        family=np.array([m.family for m in motifs])[index], score=sites.score.round(4),
    )  # fmt: skip
    columns = ["contig", "start", "end", "motif", "matrix_id", "family", "strand", "score", "planted", "element"]
    table[[*columns, "unit", "role", "functional"]].to_csv(folder / "sites.csv", index=False)
    units.rename_axis("unit").reset_index().to_csv(folder / "units.csv", index=False)
    named = variants.assign(frequency=variants.frequency.round(6), id=[demo_files.name_of(v) for v in variants.itertuples()])
    columns = ["contig", "pos", "ref", "alt", "id", "locus", "cohort", "frequency", "unit", "pair", "target"]
    named[[*columns, "destroys_site", "causal", "beta"]].to_csv(folder / "variants.csv", index=False)
    genetic[["sample", *DISEASES]].round(6).to_csv(folder / "genetic.csv", index=False)
    demo_files.write_bed(folder / "elements.bed", elements)
    for kind in ("promoter", "enhancer"):
        demo_files.write_bed(folder / "annotation" / f"{kind}s.bed", elements[elements.kind == kind])
