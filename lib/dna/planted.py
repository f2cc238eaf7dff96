"""Simulated DNA whose truth is known: human-like background with transcription-factor sites planted in it."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd

from lib.dna import motifs as mt
from lib.models import sequence as sq

#: Gut and immune factors, one profile per family, each of at least 12 bits, so that chance matches stay rare.
GUT_IMMUNE = {
    "HNF4A": "MA1494.2", "HNF1A": "MA0046.3", "NFKB1": "MA0105.4", "STAT3": "MA0144.3",
    "IRF8": "MA0652.2", "SPI1": "MA0080.7", "BACH2": "MA1101.3", "CEBPB": "MA0466.4",
    "XBP1": "MA0844.2", "RFX5": "MA0510.3", "CTCF": "MA0139.2", "KLF5": "MA0599.1",
    "CDX1": "MA0878.3", "TCF7L2": "MA0523.2", "RXRA::VDR": "MA0074.1", "SMAD3": "MA0795.1",
}  # fmt: skip
#: A planted site scores at least as high as one uniform random site in 20,000; so does a chance match we count.
SITE_P = 5e-5


def gut_immune_motifs() -> list[mt.Motif]:
    """The 16 planted motifs, in a fixed order."""
    return mt.motifs_by_id(list(GUT_IMMUNE.values()))


def human_order3() -> np.ndarray:
    """P(next base | three bases before): [64, 4], counted on both strands of 39 Mb of GRCh38 at 644 genes."""
    table = pd.read_csv(files("lib.dna") / "human_order3.csv").iloc[:, 1:].to_numpy(float)
    return table / table.sum(1, keepdims=True)


def background(length: int, rng: np.random.Generator, lanes: int = 2048) -> np.ndarray:
    """Human-like sequence from an order-3 Markov chain. Returns codes [length], uint8."""
    cumulative = human_order3().cumsum(1)
    lanes = min(lanes, max(1, length // 64))
    steps = -(-length // lanes) + 64  # 64 warm-up bases a lane, so that the chain forgets its start
    out = np.empty((steps, lanes), dtype=np.uint8)
    context = rng.integers(0, 64, lanes)
    for step in range(steps):
        base = (rng.random(lanes)[:, None] > cumulative[context, :3]).sum(1)
        out[step] = base
        context = (context % 16) * 4 + base
    return np.ascontiguousarray(out[64:].T).ravel()[:length]


def sample_sites(motif: mt.Motif, n: int, rng: np.random.Generator, p_value: float = SITE_P) -> np.ndarray:
    """n sites drawn from the profile, each scoring at least the p_value threshold. [n, width] codes."""
    threshold = mt.score_threshold(motif.pwm, p_value)
    table = mt.log_odds(motif.pwm)
    columns = np.arange(motif.width)
    cumulative = motif.pwm.cumsum(0)[:3].T  # [width, 3]
    kept = np.empty((0, motif.width), dtype=np.uint8)
    while len(kept) < n:
        draw = (rng.random((2 * n + 16, motif.width, 1)) > cumulative).sum(2).astype(np.uint8)
        kept = np.concatenate([kept, draw[table[draw, columns].sum(1) >= threshold]])
    return kept[:n]


def draw_sites(
    start: int, end: int, density: float, motifs: list[mt.Motif], rng: np.random.Generator
) -> pd.DataFrame:
    """Non-overlapping places for sites of random motif, strand and spacing; `density` of bases lie inside one.

    density: a fraction, above 0 and below 1. Returns start, end (0-based, half-open), motif (index), strand.
    """
    widths = np.array([m.width for m in motifs])
    mean_gap = max(widths.mean() * (1 - density) / density, 1.0)
    n_drawn = int((end - start) / (widths.mean() + mean_gap) * 1.3) + 20
    which = rng.integers(0, len(motifs), n_drawn)
    gaps = rng.geometric(1 / mean_gap, n_drawn)
    site_start = start + np.cumsum(gaps) + np.concatenate([[0], np.cumsum(widths[which])[:-1]])
    table = pd.DataFrame({"start": site_start, "end": site_start + widths[which], "motif": which})
    table["strand"] = np.where(rng.integers(0, 2, n_drawn) == 1, "-", "+")
    return table[table.end <= end].reset_index(drop=True)


def write_sites(
    codes: np.ndarray, sites: pd.DataFrame, motifs: list[mt.Motif], rng: np.random.Generator
) -> None:
    """Overwrite `codes`, in place, with a fresh instance of each site's motif."""
    start, which = sites.start.to_numpy(), sites.motif.to_numpy()
    reverse = (sites.strand == "-").to_numpy()
    for index, motif in enumerate(motifs):
        rows = np.flatnonzero(which == index)
        if len(rows):
            instance = sample_sites(motif, len(rows), rng)
            instance = np.where(reverse[rows, None], sq.reverse_complement(instance), instance)
            codes[start[rows, None] + np.arange(motif.width)] = instance


def mosaic(
    length: int,
    motifs: list[mt.Motif],
    rng: np.random.Generator,
    density: float = 0.55,
    active: float = 0.8,
    segment: int = 512,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Background in which a share `active` of the `segment`-base segments holds sites at `density`.

    Returns codes [length] and the table of planted sites.
    """
    codes = background(length, rng)
    sites = draw_sites(0, length, density, motifs, rng)
    on = rng.random(-(-length // segment)) < active
    sites = sites[on[sites.start // segment] & on[(sites.end - 1) // segment]].reset_index(drop=True)
    write_sites(codes, sites, motifs, rng)
    return codes, sites


def chance_sites(codes: np.ndarray, motifs: list[mt.Motif], p_value: float = SITE_P) -> pd.DataFrame:
    """Every site, planted or by chance, scoring at least the p_value threshold on either strand.

    Returns one row per site: start, end, motif (index), strand, score (bits).
    """
    tables = []
    for index, motif in enumerate(motifs):
        threshold = mt.score_threshold(motif.pwm, p_value)
        for strand, pwm in (("+", motif.pwm), ("-", motif.reverse_complement())):
            score = mt.scan(codes, pwm)
            at = np.flatnonzero(score >= threshold)
            frame = pd.DataFrame({"start": at, "end": at + motif.width, "motif": index})
            tables.append(frame.assign(strand=strand, score=score[at]))
    return pd.concat(tables, ignore_index=True).sort_values(["start", "motif", "strand"], ignore_index=True)
