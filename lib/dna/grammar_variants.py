"""Simulated alleles and haplotypes over a genome with a grammar: two cohorts that share sites, and no breaking allele."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.dna import grammar, planted
from lib.models import sequence as sq

#: Breaking alleles of a unit in each cohort, at most.
ALLELES = 4
#: Share of haplotypes in which a unit carries a breaking allele, and of these the share that carries one in both of its motifs.
BROKEN, TWICE = 0.15, 0.1
#: Founder haplotypes of a locus in a cohort: linkage of its neutral variants.
FOUNDERS = 6


@dataclass(frozen=True)
class Cohort:
    """variants: contig, pos, ref, alt, locus, unit (-1: none), target ("site", "partner" or ""), frequency; copies: [variant,
    person, 2]; broken: [unit, person], haplotypes in which the unit has lost a motif that was whole, 0 to 2."""

    variants: pd.DataFrame
    copies: np.ndarray
    broken: np.ndarray


def breaking_alleles(genome: dict[str, np.ndarray], units: pd.DataFrame) -> pd.DataFrame:
    """Every substitution that breaks a whole motif of a unit: contig, pos, ref, alt, locus, unit, target."""
    motifs, rows = {motif.name: motif for motif in planted.gut_immune_motifs()}, []
    for unit in units.itertuples():
        for target, name, start, end in (
            ("site", grammar.PAIRS[unit.pair].site, unit.start, unit.end),
            ("partner", unit.partner, unit.partner_start, unit.partner_end),
        ):
            if end == start or unit.kind == f"{target} broken":
                continue
            letters = genome[unit.contig][start:end]
            forward = (unit.strand == "+") != (target == "partner" and unit.kind == "turned")
            breaks = grammar.breaking(motifs[name], letters if forward else 3 - letters[::-1])
            for column, alt in zip(*np.nonzero(breaks if forward else breaks[::-1, ::-1]), strict=True):
                ref = sq.ALPHABET[letters[column]]
                rows.append((unit.contig, int(start + column), ref, sq.ALPHABET[alt], unit.locus, unit.Index, target))
    return pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "locus", "unit", "target"])


def dealt(alleles: pd.DataFrame, rng: np.random.Generator, n_cohorts: int = 2, most: int = ALLELES) -> list[pd.DataFrame]:
    """The breaking alleles of each cohort: no allele in two of them, one allele a position in each, at most `most` a unit."""
    mixed = alleles.iloc[rng.permutation(len(alleles))]
    turn = mixed.groupby(["unit", "target"]).cumcount().to_numpy() % n_cohorts
    out = []
    for cohort in range(n_cohorts):
        own = mixed[turn == cohort].drop_duplicates(["contig", "pos"])
        out.append(own.groupby("unit").head(most).sort_values(["contig", "pos"], ignore_index=True))
    return out


def neutral(genome: dict[str, np.ndarray], loci: pd.DataFrame, taken: pd.DataFrame, n: int, rng: np.random.Generator,
            distance: int = 6) -> pd.DataFrame:  # fmt: skip
    """n substitutions of the loci, none within `distance` bases of a motif of a unit or of another: as `breaking_alleles`, of no unit.

    taken: contig, start, end of what is left alone.
    """
    free = {contig: np.zeros(len(codes), bool) for contig, codes in genome.items()}
    for locus in loci.itertuples():
        free[locus.contig][locus.start : locus.end] = True
    for row in taken.itertuples():
        free[row.contig][max(0, row.start - distance) : row.end + distance] = False
    rows = []
    for _ in range(n):
        locus = loci.iloc[rng.integers(len(loci))]
        places = np.flatnonzero(free[locus.contig][locus.start : locus.end]) + locus.start
        if len(places):
            pos = int(rng.choice(places))
            free[locus.contig][max(0, pos - distance) : pos + distance + 1] = False
            ref = int(genome[locus.contig][pos])
            rows.append((locus.contig, pos, sq.ALPHABET[ref], sq.ALPHABET[(ref + rng.integers(1, 4)) % 4], locus.locus, -1, ""))
    return pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "locus", "unit", "target"])


def people(breaking: pd.DataFrame, plain: pd.DataFrame, n_units: int, n_people: int, rng: np.random.Generator) -> Cohort:
    """A cohort: private breaking alleles dealt over haplotypes, neutral ones linked through the founders of each locus.

    Each variant is carried at least once. A unit counts as broken once a haplotype, however many alleles broke it there.
    """
    variants = pd.concat([breaking, plain], ignore_index=True)
    carried = np.zeros((len(variants), 2 * n_people), bool)
    for _, own in breaking.groupby("unit"):
        _deal_breaks(carried, own, rng)
    for _, own in variants[variants.unit < 0].groupby("locus"):
        founder = rng.integers(0, FOUNDERS, 2 * n_people)
        frequency = np.exp(rng.uniform(np.log(1 / FOUNDERS), np.log(0.5), len(own)))
        carried[own.index] = (rng.random((len(own), FOUNDERS)) < frequency[:, None])[:, founder]
    empty = np.flatnonzero(~carried.any(1))
    carried[empty, rng.integers(0, 2 * n_people, len(empty))] = True
    broken = np.zeros((n_units, 2 * n_people), bool)
    for unit, rows in variants[variants.unit >= 0].groupby("unit").groups.items():
        broken[unit] = carried[rows].any(0)
    order = variants.sort_values(["contig", "pos"]).index.to_numpy()
    variants = variants.assign(frequency=carried.mean(1)).loc[order].reset_index(drop=True)
    return Cohort(variants, carried[order].reshape(len(variants), n_people, 2).astype(np.int8), broken.reshape(n_units, n_people, 2).sum(2))


def _deal_breaks(carried: np.ndarray, own: pd.DataFrame, rng: np.random.Generator) -> None:
    """Give BROKEN of the haplotypes one of a unit's alleles, TWICE of those a second one in the other motif; in place."""
    n = carried.shape[1]
    hit = np.flatnonzero(rng.random(n) < BROKEN)
    carried[own.index[rng.integers(0, len(own), len(hit))], hit] = True
    other = {target: rows.index.to_numpy() for target, rows in own.groupby("target")}
    if len(other) == 2:
        for h in hit[rng.random(len(hit)) < TWICE]:
            carried[[rng.choice(rows) for rows in other.values()], h] = True
