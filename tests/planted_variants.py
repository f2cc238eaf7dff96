"""The simulated variants: those that destroy a planted site, the causal ones among them, neutral ones; and who carries them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.dna import motifs as mt
from lib.dna import planted
from lib.models import sequence as sq

#: Losing a site of the first raises the odds of disease; losing one of the last lowers them. Two, since a family can only be
#: found necessary if its loss costs enough: of k equal families that costs about .08 (k 2), .05 (k 3), .02 (k 6) of AUROC.
CAUSAL_MOTIFS = ["SMAD3", "NFKB1"]


def draw_variants(
    genome: dict[str, np.ndarray], loci: pd.DataFrame, sites: pd.DataFrame, motifs: list[mt.Motif], n: int, n_destroying: int,
    n_causal: int, effect: float, rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """n variants of the loci, n_destroying of them on planted sites, n_causal of these with a log odds of ±effect per copy."""
    candidates = _destroying_variants(genome, loci, sites, motifs)
    variants = _choose_destroying(candidates, n_destroying, n_causal, effect, rng)
    variants = _add_neutral(variants, genome, loci, n - n_destroying, rng)
    return _score_drops(variants, genome, sites, motifs)


def _destroying_variants(
    genome: dict[str, np.ndarray],
    loci: pd.DataFrame,
    sites: pd.DataFrame,
    motifs: list[mt.Motif],
) -> pd.DataFrame:
    """For each planted site of a locus its worst substitution, where that is enough to lose the site."""
    rows = []
    planted_sites = sites[sites.planted]
    for locus in loci.itertuples():
        own = planted_sites[planted_sites.contig == locus.contig]
        own = own[(own.start >= locus.start) & (own.end <= locus.end)]
        for site in own.itertuples():
            pos, alt, drop = _worst_substitution(genome[locus.contig][site.start : site.end], site, motifs)
            if site.score - drop < mt.score_threshold(motifs[site.motif].pwm, planted.SITE_P):
                ref = sq.ALPHABET[genome[locus.contig][pos]]
                rows.append((locus.contig, pos, ref, alt, motifs[site.motif].name, locus.locus))
    table = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "target", "locus"])
    return table.drop_duplicates(["contig", "pos"], ignore_index=True)


def _worst_substitution(codes: np.ndarray, site, motifs: list[mt.Motif]) -> tuple[int, str, float]:
    """Position, base and score drop (bits) of the substitution that costs the site most."""
    motif = motifs[site.motif]
    table = mt.log_odds(motif.pwm if site.strand == "+" else motif.reverse_complement())
    drop = table[codes, np.arange(motif.width)] - table
    alt, column = np.unravel_index(drop.argmax(), drop.shape)
    return int(site.start + column), sq.ALPHABET[alt], float(drop.max())


def _choose_destroying(
    candidates: pd.DataFrame, n: int, n_causal: int, effect: float, rng: np.random.Generator
) -> pd.DataFrame:
    """n of the candidates: first n_causal that are causal, the causal motifs in turn, then any others."""
    order = rng.permutation(len(candidates))
    targets = candidates.target.to_numpy()[order]
    queues = [list(order[targets == name]) for name in CAUSAL_MOTIFS]
    n_possible = sum(map(len, queues))
    if not n_causal <= n <= len(candidates) or n_causal > n_possible:
        raise ValueError(
            f"n_destroying {n} and n_causal {n_causal}: the loci have {len(candidates)} planted sites that one "
            f"base can destroy, {n_possible} of them of causal motifs; wanted n_causal <= n_destroying <= those"
        )
    turns = [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
    causal = np.array(turns[:n_causal], dtype=int)
    others = order[~np.isin(order, causal)][: n - n_causal]
    rows = np.sort(np.concatenate([causal, others]))
    chosen = candidates.iloc[rows].assign(causal=np.isin(rows, causal)).reset_index(drop=True)
    sign = np.where(chosen.target == CAUSAL_MOTIFS[-1], -1.0, 1.0)
    chosen["beta"] = np.where(chosen.causal, sign * effect, 0.0)
    chosen["frequency"] = rng.uniform(0.25, 0.5, n)
    return chosen


def _add_neutral(
    variants: pd.DataFrame,
    genome: dict[str, np.ndarray],
    loci: pd.DataFrame,
    n: int,
    rng: np.random.Generator,
    indel_share: float = 0.07,
    distance: int = 6,
) -> pd.DataFrame:
    """Add n variants anywhere in the loci, some of them indels of 1 to 4 bases, none within `distance` of another."""
    taken = {contig: np.zeros(len(codes) + distance, dtype=bool) for contig, codes in genome.items()}
    for row in variants.itertuples():
        taken[row.contig][row.pos - distance : row.pos + distance] = True
    rows = []
    for _ in range(max(n, 0)):
        locus = loci.iloc[rng.integers(len(loci))]
        free = np.flatnonzero(~taken[locus.contig][locus.start + 1 : locus.end - distance]) + locus.start + 1
        if not len(free):
            continue
        pos = int(rng.choice(free))
        taken[locus.contig][pos - distance : pos + distance] = True
        ref, alt = _random_alleles(genome[locus.contig][pos : pos + 5], rng.random() < indel_share, rng)
        rows.append((locus.contig, pos, ref, alt, "", locus.locus, False, 0.0, np.nan))
    columns = ["contig", "pos", "ref", "alt", "target", "locus", "causal", "beta", "frequency"]
    table = pd.DataFrame([*variants[columns].itertuples(index=False, name=None), *rows], columns=columns)
    return table.sort_values(["contig", "pos"], ignore_index=True)


def _random_alleles(codes: np.ndarray, indel: bool, rng: np.random.Generator) -> tuple[str, str]:
    """REF and ALT at the first of five bases: a substitution, or an insertion or deletion after it."""
    text = sq.decode(codes)
    if not indel:
        return text[0], sq.ALPHABET[(codes[0] + rng.integers(1, 4)) % 4]
    size = int(rng.integers(1, 5))
    if rng.random() < 0.5:
        return text[: size + 1], text[0]
    return text[0], text[0] + sq.decode(rng.integers(0, 4, size))


def _score_drops(
    variants: pd.DataFrame, genome: dict[str, np.ndarray], sites: pd.DataFrame, motifs: list[mt.Motif]
) -> pd.DataFrame:
    """destroys_site: motif of the planted site lost, the largest drop first; score_drop: bits, 0 if none is lost."""
    planted_sites = dict(list(sites[sites.planted].groupby("contig")))
    names, drops = [], []
    for row in variants.itertuples():
        own = planted_sites[row.contig]
        near = own[(own.start < row.pos + len(row.ref)) & (own.end > row.pos)]
        lost = [
            (site.score - _score_after(row, site, genome[row.contig], motifs), site)
            for site in near.itertuples()
        ]
        lost = [
            (drop, motifs[site.motif].name) for drop, site in lost
            if site.score - drop < mt.score_threshold(motifs[site.motif].pwm, planted.SITE_P)
        ]  # fmt: skip
        drop, name = max(lost, default=(0.0, ""))
        names.append(name)
        drops.append(drop)
    return variants.assign(destroys_site=names, score_drop=np.round(drops, 4))


def _score_after(row, site, codes: np.ndarray, motifs: list[mt.Motif]) -> float:
    """Best score of the site's motif where the site was, once the allele is in: its left end, or its right end, kept."""
    motif = motifs[site.motif]
    table = mt.log_odds(motif.pwm if site.strand == "+" else motif.reverse_complement())
    alt = np.concatenate([codes[: row.pos], sq.encode(row.alt), codes[row.pos + len(row.ref) :]])
    starts = {site.start, site.start + len(row.alt) - len(row.ref)}
    return max(float(table[alt[s : s + motif.width], np.arange(motif.width)].sum()) for s in starts)


def draw_genotypes(variants: pd.DataFrame, n_people: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Allele copies [n_variant, n_people, 2] in Hardy-Weinberg proportions, each ALT carried at least once.

    Frequencies that are not set follow the neutral spectrum, density 1/x from 1/(2 n_people) to 0.5.
    """
    low = 1 / (2 * n_people)
    neutral = low * (0.5 / low) ** rng.random(len(variants))
    variants = variants.assign(frequency=variants.frequency.fillna(pd.Series(neutral, index=variants.index)))
    copies = rng.random((len(variants), n_people, 2)) < variants.frequency.to_numpy()[:, None, None]
    empty = np.flatnonzero(~copies.any((1, 2)))
    copies[empty, rng.integers(0, n_people, len(empty)), 0] = True
    return copies.astype(np.int8), variants
