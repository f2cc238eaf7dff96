"""Transcription-factor motifs from JASPAR 2026, as probability matrices and as per-base scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

RELEASE = "JASPAR2026"
BASES = "ACGT"


@dataclass(frozen=True)
class Motif:
    """One JASPAR profile. pwm: [4, width], rows A C G T, columns sum to 1."""

    matrix_id: str
    name: str
    family: str
    pwm: np.ndarray

    @property
    def width(self) -> int:
        return self.pwm.shape[1]

    @property
    def information(self) -> np.ndarray:
        """Bits per column against a uniform background. [width]"""
        return 2.0 + (self.pwm * np.log2(self.pwm)).sum(0)

    def reverse_complement(self) -> np.ndarray:
        return self.pwm[::-1, ::-1]


def _motif(record, pseudocount: float = 0.8) -> Motif:
    counts = np.array([record.counts[base] for base in BASES], dtype=float)
    pwm = (counts + pseudocount / 4) / (counts.sum(0) + pseudocount)
    family = "::".join(sorted(set(record.tf_family or []))) or "unclassified"
    return Motif(record.matrix_id, record.name.upper(), family, pwm)


@lru_cache(maxsize=2)
def vertebrate_motifs(release: str = RELEASE) -> tuple[Motif, ...]:
    """Latest version of every CORE vertebrate profile (1,019 in JASPAR 2026), read from the pyjaspar wheel."""
    from pyjaspar import jaspardb

    database = jaspardb(release=release)
    records = database.fetch_motifs(collection="CORE", tax_group=["vertebrates"], all_versions=False)
    return tuple(_motif(r) for r in sorted(records, key=lambda r: r.matrix_id))


def motifs_by_id(matrix_ids: list[str], release: str = RELEASE) -> list[Motif]:
    """The named profiles, in the order asked for. Raises KeyError naming what JASPAR does not hold."""
    from pyjaspar import jaspardb

    database = jaspardb(release=release)
    records = {m: database.fetch_motif_by_id(m) for m in matrix_ids}
    missing = [m for m, record in records.items() if record is None]
    if missing:
        raise KeyError(f"{release} has no profile {', '.join(missing)}")
    return [_motif(records[m]) for m in matrix_ids]


def columns_shuffled(motif: Motif, rng: np.random.Generator, tries: int = 20) -> Motif:
    """The profile with its columns in another order: the same composition and information, another word.

    Of so many orders the one least like the profile and its reverse complement, by the mean over columns of the chance that a base
    drawn from each is the same.
    """
    def alike(pwm: np.ndarray) -> float:
        return max((pwm * own).sum(0).mean() for own in (motif.pwm, motif.reverse_complement()))

    orders = [motif.pwm[:, rng.permutation(motif.width)] for _ in range(tries)]
    return replace(motif, pwm=min(orders, key=alike))


def log_odds(pwm: np.ndarray) -> np.ndarray:
    """log2(p / 0.25) per base and column: the score FIMO sums over a site. pwm: [4, width]."""
    return np.log2(pwm / 0.25)


def score_threshold(pwm: np.ndarray, p_value: float = 1e-4, bins_per_bit: int = 20) -> float:
    """Lowest log-odds score whose chance under uniform bases is at most `p_value`.

    The exact score distribution of independent uniform bases, by convolution over columns on a grid of
    1/bins_per_bit bits. Returns bits. Source: Staden 1989, as in FIMO (Grant 2011).
    """
    scores = np.round(log_odds(pwm) * bins_per_bit).astype(int)
    low = scores.min(0)
    distribution = np.ones(1)
    for column, shift in zip(scores.T, low, strict=True):
        wider = np.zeros(len(distribution) + (column - shift).max())
        for step in column - shift:
            wider[step : step + len(distribution)] += distribution / 4
        distribution = wider
    tail = distribution[::-1].cumsum()[::-1]
    reached = np.flatnonzero(tail <= p_value)
    if not len(reached):
        raise ValueError(f"no score of this motif is rarer than p = {p_value}: it is too short or too flat")
    return (reached[0] + low.sum()) / bins_per_bit


def scan(codes: np.ndarray, pwm: np.ndarray) -> np.ndarray:
    """Log-odds score of the site that starts at each position. codes: [length], 0-3 for A C G T, 4 for N.

    Returns [length - width + 1] bits; -inf where the site holds an N. Forward strand only.
    """
    table = np.vstack([log_odds(pwm), np.full(pwm.shape[1], -np.inf)])
    n_starts = len(codes) - pwm.shape[1] + 1
    total = np.zeros(max(n_starts, 0), dtype=np.float32)
    for column in range(pwm.shape[1]):
        total += table[codes[column : column + n_starts], column]
    return total
