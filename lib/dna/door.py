"""What the front door of DNA makes of its files: records, targets, concepts, in the contract of `lib.corpus.corpus`."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.annotate.concepts import disjoint_units
from lib.corpus.corpus import Readout, Records, Target, person_locus_map
from lib.dna import alu, confounders, domains, genes, lift, motifs, tracks
from lib.dna import repeats as repeats_
from lib.dna.genotypes import Genotypes
from lib.dna.haplotypes import UnitSet
from lib.dna.intervals import (
    bed_intervals,
    clinvar_intervals,
    codes_of,
    gene_intervals,
    gwas_intervals,
    motif_hits,
)
from lib.dna.people import read_genetic, read_phenotype, read_rows
from lib.dna.phenotypes import ibd_effects, match_effects, simulate_arm
from lib.dna.reference import Reference
from lib.stage.inputs import SIMULATED

#: what the shared notebooks call things, by their own word
WORDS = {"unit": "window", "units": "windows", "subject": "person", "subjects": "people", "group": "family", "groups": "families",
         "part": "locus", "parts": "loci", "stratum": "population", "space": "chromosome", "spaces": "chromosomes",
         "reference": "reference haplotype", "target": "phenotype", "targets": "phenotypes", "reading": "person-haplotype windows",
         "letter": "base", "letters": "bases", "variant": "haplotype"}  # fmt: skip
POLYGENIC, TRUE_SCORE = "published polygenic score", "true genetic score"


def records(part: UnitSet, own: pd.DataFrame | None = None) -> Records:
    """Sequences with the reference position of each base. own: window -> own_start, own_end, where windows overlap."""
    return Records(
        part.sequences, [part.ref_pos(i) for i in range(part.n_units)], None if own is None else own.loc[part.units.window].to_numpy()
    )


def readout(samples: list[str], part: UnitSet, pooled_over: str = "locus") -> Readout:
    """From haplotype windows to people, by locus, or over the whole "genome": then a probe has one weight a dimension for all loci.

    Raises ValueError where carriers and genotypes name people in another order.
    """
    units = part.units if pooled_over == "locus" else part.units.assign(locus="all loci")
    weights, people, places = person_locus_map(part.carriers, units)
    if people != samples:
        raise ValueError(f"carriers name {people[:3]}…, the genotypes {samples[:3]}…: wanted the same people in the same order")
    return Readout(weights, people, places)


# ---- targets ------------------------------------------------------------------------------------------------------


class Arms(NamedTuple):
    """How targets are made: as the parameters of the same names; phenotype_file and genetic_file are files or None; null_arms: further
    columns of the phenotype file, targets of which nothing may be needed; null_targets: more of these, of which 05 alone makes use."""

    names: list[str]
    kinds: list[str]
    scales: list[float]
    limits: list[float]
    case_share: float
    phenotype_path: str
    phenotype_file: Path | None
    genetic_file: Path | None
    null_arms: Sequence[str] = ()
    null_targets: Sequence[str] = ()


#: Simulated arms in which nothing in the genome causes the target.
NOTHING_CAUSES = ("null", "structure")


def published(genotypes: Genotypes, genome: Reference) -> pd.DataFrame:
    """Published effects of IBD, matched to the variants of these genotypes."""
    effects = match_effects(ibd_effects(), genotypes, genome)
    present = effects[effects.status == "present"]
    print(f"{len(present)} of {len(effects)} published variants are in this cohort: {', '.join(present.gene)}")
    return effects


def filled(dosage: np.ndarray) -> np.ndarray:
    """Dosage with the mean where a call is missing: [variant, person] -> [person, variant]."""
    return np.where(np.isnan(dosage), np.nanmean(dosage, axis=1, keepdims=True), dosage).T


def targets(
    arms: Arms, genotypes: Genotypes, effects: pd.DataFrame | None, people: pd.DataFrame, seed: int
) -> tuple[list[Target], pd.DataFrame]:
    """The targets, and the table of them: subject, group and stratum where known, y of each, and scores beside it.

    effects: of `published`; people: of `read_people`. Scores: the published polygenic score, where effects are matched, and
    the true genetic score, where it is known and not constant. Last the null arms: nobody knows how well they can be predicted, so
    that their limit is 1.
    """
    population = next((people[name] for name in ("population", "site") if name in people), None)
    table = pd.DataFrame({"subject": genotypes.samples})
    if "family" in people:
        table["group"] = people.family.to_numpy()
    if population is not None:
        table["stratum"] = population.to_numpy()
    present = None if effects is None else effects[effects.status == "present"]
    polygenic = None
    if present is not None and len(present):
        polygenic = filled(genotypes.dosage)[:, present.variant] @ present.beta_alt.to_numpy()
    said, made = said_of(arms), []
    for i, arm in enumerate(arms.names):
        y, genetic = _arm(arms, i, genotypes, present, table.get("stratum"), seed)
        scores = {POLYGENIC: polygenic, TRUE_SCORE: genetic}
        table[arm] = y
        table = table.assign(**{f"{arm}/{name}": score for name, score in scores.items() if score is not None})
        kinds = {POLYGENIC: "score", TRUE_SCORE: "oracle"}
        of = {name: kinds[name] for name in scores if scores[name] is not None}
        nothing = not arms.phenotype_file and arms.kinds[i] in NOTHING_CAUSES
        made.append(Target(arm, limit=arms.limits[i], **said[arm], scores=of, null=nothing))
    for arm in arms.null_arms:
        table[arm] = read_phenotype(arms.phenotype_file, genotypes.samples, arm)
        made.append(Target(arm, limit=1.0, **said[arms.names[0]], null=True))
    more = {name: read_phenotype(arms.phenotype_file, genotypes.samples, name) for name in arms.null_targets}
    return made, table.assign(**more)


def named_columns(path: Path | None, patterns: list[str], without: Sequence[str]) -> list[str]:
    """Columns of a table that fit one of the patterns ("decoys *"), in the table's order, those named in `without` left out.

    Raises ValueError for a pattern that fits none, and where there is no table.
    """
    if not patterns:
        return []
    if path is None:
        raise ValueError(f"null_targets are {patterns} without a table of phenotypes, wanted one with a column of each")
    columns = list(read_rows(path).columns)
    if lacking := [pattern for pattern in patterns if not fnmatch.filter(columns, pattern)]:
        raise ValueError(f"{path}: no column fits null_targets {lacking[0]!r}, found {', '.join(columns)}")
    return [name for name in columns if name not in without and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def said_of(arms: Arms) -> dict[str, dict[str, bool]]:
    """Of each target: simulated, and with effects enlarged beyond published ones.

    The phenotype that the door simulates has enlarged effects; a table of the user's is not simulated here. Otherwise it is
    simulated from published effects, enlarged where these are multiplied by more than 1.
    """
    if arms.phenotype_path:
        made = arms.phenotype_path.startswith(SIMULATED)
        return {arm: {"simulated": made, "enlarged": made} for arm in arms.names}
    return {arm: {"simulated": True, "enlarged": kind in ("additive", "nod2") and scale > 1}
            for arm, kind, scale in zip(arms.names, arms.kinds, arms.scales, strict=True)}


def _arm(arms: Arms, i: int, genotypes: Genotypes, present, stratum, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Phenotype and true score of an arm; None where it is not known, or constant."""
    if arms.phenotype_file:
        y = read_phenotype(arms.phenotype_file, genotypes.samples, column(arms.names, arms.names[i], "phenotype"))
        name = column(arms.names, arms.names[i], "genetic")
        return y, read_genetic(arms.genetic_file, genotypes.samples, name) if arms.genetic_file else None
    groups = None if stratum is None else stratum.to_numpy()
    simulated = simulate_arm(genotypes.dosage, present, arms.kinds[i], arms.scales[i], arms.case_share, seed, groups)
    return simulated.phenotype.to_numpy(), simulated.genetic.to_numpy() if np.ptp(simulated.genetic) > 0 else None


def second_targets(
    path: Path, samples: list[str], made: list[Target], arms: list[str], of_table: bool, null_targets: Sequence[str] = ()
) -> pd.DataFrame:
    """Targets of the second cohort. of_table: the first's come from a table too, whose columns are then those here; else there is one
    phenotype, which stands under the name of every arm. Null arms and null targets have columns of their own."""
    names = {name: name for name in (*(target.name for target in made), *null_targets)}
    names |= {arm: column(arms, arm, "phenotype") if of_table else "phenotype" for arm in arms}
    return pd.DataFrame({"subject": samples} | {name: read_phenotype(path, samples, of) for name, of in names.items()})


def column(arms: list[str], arm: str, alone: str) -> str:
    """The column of a table that holds an arm: `alone` where there is one arm, else one of the arm's name."""
    return alone if len(arms) == 1 else arm


# ---- concepts -----------------------------------------------------------------------------------------------------


class Annotation(NamedTuple):
    """Files of intervals, None for none. starts: a table of promoters or start sites; lifted: files of another assembly, which `chain`
    leads from; domains: of proteins, which `exons` lead from."""

    exons: Path | None
    starts: pd.DataFrame | None
    promoter_flank_bp: int
    intervals: list[Path]
    variants: Path | None
    gwas: Path | None
    lifted: list[Path]
    chain: Path | None
    domains: Path | None


def repeats(part: UnitSet, genome: Reference) -> pd.DataFrame:
    """Repeats and CpG islands, read from the sequences themselves, lower case first: contig, start, end, concept, family."""
    own = confounders.sequence_concepts(part.units, part.sequences, confounders.KmerCounts(codes_of(part.sequences)))
    return pd.concat([repeats_.soft_masked(part.units, genome), own, alu.intervals(part.units, part.sequences)], ignore_index=True)


def intervals(files: Annotation, repeats: pd.DataFrame, genome: Reference, units: pd.DataFrame, counted: Counter) -> pd.DataFrame:
    """Repeats, and all that the files say: contig, start, end, concept, family. counted: see `lib.dna.report`."""
    parts = [repeats]
    if files.exons:
        parts.append(gene_intervals(files.exons, genome, counted))
    if files.domains:
        parts.append(domains.intervals(domains.read(files.domains), genes.read(files.exons, genome, Counter()), counted))
    if files.starts is not None:
        parts.append(bed_intervals(files.starts, "promoter", files.promoter_flank_bp))
    parts += [tracks.read(path, genome, counted) for path in files.intervals]
    parts += [lift.read(path, files.chain, genome, counted) for path in files.lifted]
    if files.variants:
        parts.append(clinvar_intervals(files.variants, genome, units, counted))
    if files.gwas:
        parts.append(gwas_intervals(files.gwas, genome, counted))
    return pd.concat(parts, ignore_index=True)


def hits(part: UnitSet, validation: list[str], test: list[str], fimo_p: float) -> pd.DataFrame:
    """FIMO hits of all JASPAR profiles on the held-out units, where no two of them overlap."""
    once = part.units.loc[np.sort(disjoint_units(part.units))]
    tables = []
    for contigs in (validation, test):
        held_out = once[once.contig.isin(contigs)]
        tables.append(motif_hits(held_out, [part.sequences[u] for u in held_out.unit], motifs.vertebrate_motifs(), fimo_p))
    return pd.concat(tables, ignore_index=True)


def concepts(hits: pd.DataFrame, intervals: pd.DataFrame, planted: pd.DataFrame | None) -> pd.DataFrame:
    """All that a latent may respond to: contig, start, end, concept, family, kind. planted: true sites, or as strong by chance."""
    tables = [hits.assign(kind="motif"), intervals.assign(kind="interval")]
    if planted is not None:
        tables.append(planted.assign(concept="site " + planted.motif + " " + planted.strand, kind="true site"))
    return pd.concat([t[["contig", "start", "end", "concept", "family", "kind"]] for t in tables], ignore_index=True)
