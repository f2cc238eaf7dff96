"""The circular-shift null: does a latent fire on a concept more often than the same track moved along the sequence?

A shift moves the whole activation track inside each contiguous block, so its own clustering stays and its place is lost.
Composition must not pass for a match, so what is shifted is the excess over strata: hits less those expected of the
strata (GC, CpG, repeat class, distance to a start site) on which the track fires, in units of the standard deviation
that independent tokens would have. Under shifts that number has mean near 0 and a spread above 1, the more the
clustering: z and the tail probability are taken against that spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammainc

from lib.annotate.concepts import Concepts
from lib.annotate.pairs import checked, dense_codes, members_by_stratum


@dataclass(frozen=True)
class Shifts:
    """Offsets of circular shifts inside blocks of tokens. All arrays [block], `offsets` [shift, block], in tokens.

    A block is `first` to `first + length`. `least` is the smallest offset drawn in either direction; `short` marks
    blocks that do not allow the offset asked for, where it is 1/20 of the block.
    """

    first: np.ndarray
    length: np.ndarray
    least: np.ndarray
    short: np.ndarray
    offsets: np.ndarray

    def table(self) -> pd.DataFrame:
        """One row a block: first token, tokens, smallest offset, and whether the block is too short for the rule."""
        return pd.DataFrame({"first": self.first, "tokens": self.length, "least_offset": self.least, "too_short": self.short})


def least_offset(tokens: pd.DataFrame, bp: int = 10_000, windows: int = 20) -> int:
    """Tokens in 10 kb or in 20 windows, whichever is fewer. tokens: unit, ref_start, ref_end, one row a token."""
    span = (tokens["ref_end"] - tokens["ref_start"]).mean()
    per_window = len(tokens) / tokens["unit"].nunique()
    return int(np.ceil(min(bp / span, windows * per_window)))


def draw(block: np.ndarray, least: int, n_shifts: int = 1000, seed: int = 0) -> Shifts:
    """Random offsets, uniform over those at least `least` tokens away in either direction around the block.

    block: [token] code of the contig or other contiguous stretch; the tokens of one must follow each other. A block
    shorter than 4 x least allows too few places and takes 1/20 of its length instead. Raises ValueError on a block
    in pieces.
    """
    block = np.asarray(block)
    first = np.flatnonzero(np.concatenate([[True], block[1:] != block[:-1]])) if len(block) else np.empty(0, int)
    if len(np.unique(block)) != len(first):
        raise ValueError(f"{len(np.unique(block))} blocks in {len(first)} pieces: the tokens of a block must be contiguous")
    length = np.diff(np.append(first, len(block)))
    short = length < 4 * least
    bound = np.where(short, length // 20, least)
    rng = np.random.default_rng(seed)
    offsets = np.stack([rng.integers(m, n - m + (m == 0), n_shifts) for m, n in zip(bound, length)], axis=1)
    return Shifts(first, length, bound, short, offsets)


def shift_null(
    latents: sparse.csr_matrix, concepts: Concepts, latent: np.ndarray, concept: np.ndarray, limit: np.ndarray, shifts: Shifts,
    strata: np.ndarray | None = None, unit: np.ndarray | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Shift null of each pair: the latent fires where its activation > limit. latent, concept, limit: [pair].

    strata, unit: [token] codes; a unit is a stretch of tokens the model read together. One row a pair:
    expected (hits by strata), sd_independent (of hits, were tokens independent), excess ((hits - expected) /
    sd_independent), null_mean and null_sd of the excess over shifts, z, dispersion, p_shift = (b + 1) / (n + 1), p_tail and p. p_tail is
    the upper tail of a gamma-extended Poisson, gammainc(hits / D, expected / D), whose dispersion D is the largest of the shifts' own
    variance and the clumping of the observed hits within units; it reaches below 1 / n. p: p_tail, but never below p_shift where a shift
    did as well, so one run of firing tokens is not taken for many hits. A pair without hits has p = 1.
    """
    n = latents.shape[0]
    stratum, n_strata = dense_codes(strata, n)
    unit = np.zeros(n, np.int32) if unit is None else dense_codes(unit, n)[0]
    if shifts.length.sum() != n or concepts.tokens.shape[0] != n:
        raise ValueError(f"{n} tokens of latents, {concepts.tokens.shape[0]} of concepts, {shifts.length.sum()} in blocks")
    used, latent = np.unique(np.asarray(latent, dtype=int), return_inverse=True)
    tokens, columns = concepts.tokens.tocsc(), checked(latents[:, used]).tocsc()
    share = members_by_stratum(tokens, stratum, n_strata) / np.bincount(stratum, minlength=n_strata)
    observed, null = _shift(
        columns.indptr, columns.indices, columns.data, tokens.indptr, tokens.indices, latent.ravel(),
        np.ascontiguousarray(concept, dtype=int), np.ascontiguousarray(limit, dtype=np.float32),
        stratum, unit, share, shifts.first, shifts.length, shifts.offsets,
    )  # fmt: skip
    hits, expected, variance, clump = observed.T
    excess = _over(hits - expected, np.sqrt(variance))
    mean, sd = null.mean(1), null.std(1, ddof=1)
    p_shift = (1 + (null >= excess[:, None] - 1e-9).sum(1)) / (1 + null.shape[1])
    dispersion = np.maximum(_over(variance, expected) * np.maximum(sd**2, 1), clump)
    p_tail = np.where(hits > 0, gammainc(np.maximum(hits, 1) / np.maximum(dispersion, 1e-9), expected / np.maximum(dispersion, 1e-9)), 1.0)
    matched = p_shift > 1.5 / (1 + null.shape[1])
    return pd.DataFrame({
        "expected": expected, "sd_independent": np.sqrt(variance), "excess": excess, "null_mean": mean, "null_sd": sd,
        "z": _over(excess - mean, sd, np.nan), "dispersion": dispersion, "p_shift": np.where(hits > 0, p_shift, 1.0), "p_tail": p_tail,
        "p": np.where(hits > 0, np.where(matched, np.maximum(p_tail, p_shift), p_tail), 1.0),
    })  # fmt: skip


def _over(top: np.ndarray, bottom: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), empty, dtype=float), where=bottom > 0)


@numba.njit(parallel=True, cache=True)
def _shift(
    latent_ptr, latent_token, activation, concept_ptr, concept_token, latent, concept, limit, stratum, unit, share, first, length,
    offsets,
):  # fmt: skip
    """Per pair: hits, expected, variance, clump; and the excess under each shift. [pair, 4], [pair, shift]."""
    n_shifts, n_blocks = offsets.shape
    observed, null = np.zeros((len(latent), 4)), np.zeros((len(latent), n_shifts))
    for pair in numba.prange(len(latent)):
        s, e = latent_ptr[latent[pair]], latent_ptr[latent[pair] + 1]
        on = np.sort(latent_token[s:e][activation[s:e] > limit[pair]])
        cell = stratum * 2  # stratum and, in the lowest bit, membership: one look-up a token
        for token in concept_token[concept_ptr[concept[pair]] : concept_ptr[concept[pair] + 1]]:
            cell[token] += 1
        mean = share[concept[pair]]
        block_of = np.searchsorted(on, first)
        count = np.zeros(2 * len(mean), np.int64)
        for shift in range(-1, n_shifts):  # -1: as observed
            count[:] = 0
            for b in range(n_blocks):
                by = offsets[shift, b] if shift >= 0 else 0
                end = block_of[b + 1] if b + 1 < n_blocks else len(on)
                for token in on[block_of[b] : end]:
                    to = token + by
                    if to >= first[b] + length[b]:
                        to -= length[b]
                    count[cell[to]] += 1
            hits, expected, variance = 0, 0.0, 0.0
            for k in range(len(mean)):
                here = count[2 * k] + count[2 * k + 1]
                hits += count[2 * k + 1]
                expected += here * mean[k]
                variance += here * mean[k] * (1 - mean[k])
            if shift >= 0:
                null[pair, shift] = (hits - expected) / np.sqrt(variance) if variance > 0 else 0.0
            else:
                observed[pair, 0], observed[pair, 1], observed[pair, 2] = hits, expected, variance
        observed[pair, 3] = _clump(on, cell, mean, unit) / max(observed[pair, 0], 1)
    return observed, null


@numba.njit(cache=True)
def _clump(on, cell, mean, unit):
    """Sum over units of (hits - expected) squared."""
    total, excess = 0.0, 0.0
    for i in range(len(on)):
        if i and unit[on[i]] != unit[on[i - 1]]:
            total += excess * excess
            excess = 0.0
        excess += (cell[on[i]] & 1) - mean[cell[on[i]] >> 1]
    return total + excess * excess
