"""Score interval of the odds ratio of a pair, common to all strata: it holds where cells are empty or nearly so.

The interval holds the ratios that a score test does not refuse: psi with |a - sum A(psi)| <= z sqrt(sum V(psi)), where a
counts the firing tokens in the concept and A(psi) is what a stratum's margins give at ratio psi. At psi = 1 this is the
Mantel-Haenszel test, so the interval leaves 1 out exactly when that test does. The interval of Robins, Breslow and
Greenland has no such bond: a pair with 108 of 109 firing tokens in its concept got a lower end of 0.14 from it here.
Source: Gart 1970, with the exact conditional mean and variance in small strata.
"""

from __future__ import annotations

import numba
import numpy as np
from scipy import sparse

from lib.annotate.pairs import dense_codes, members_by_stratum

_NORMAL_95 = 1.959963984540054
_WIDEST = 25.0  # log odds ratios beyond this are 0 or infinite
_STEPS = 40  # of bisection
_EXACT = 64  # strata with at most so many more possible counts are summed term by term


def score_intervals(
    latents: sparse.csc_matrix, tokens: sparse.csc_matrix, latent: np.ndarray, concept: np.ndarray, limit: np.ndarray,
    strata: np.ndarray | None = None, z: float = _NORMAL_95,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Low and high end of each pair's odds ratio over strata, at z standard errors (95 %). [pair], [pair]

    latents: CSC [token, latent], each entry once; tokens: bool CSC [token, concept]; latent, concept, limit: [pair], a
    latent fires where its activation > limit; strata: [token]. Tokens count as independent. 0 and infinity where the
    data set no end; NaN where no stratum has both a firing and a silent token, and both in and outside the concept.
    """
    stratum, n_strata = dense_codes(strata, latents.shape[0])
    size = np.bincount(stratum, minlength=n_strata).astype(float)
    members = members_by_stratum(tokens, stratum, n_strata)
    return _intervals(
        latents.indptr, latents.indices, latents.data, tokens.indptr, tokens.indices, np.asarray(latent), np.asarray(concept),
        np.asarray(limit, dtype=np.float32), stratum, size, members, z,
    )  # fmt: skip


@numba.njit(parallel=True, cache=True)
def _intervals(latent_ptr, latent_token, activation, concept_ptr, concept_token, latent, concept, limit, stratum, size, members, z):
    low, high = np.full(len(latent), np.nan), np.full(len(latent), np.nan)
    for pair in numba.prange(len(latent)):
        inside = np.zeros(len(stratum), np.bool_)
        for token in concept_token[concept_ptr[concept[pair]] : concept_ptr[concept[pair] + 1]]:
            inside[token] = True
        fired, hits = np.zeros(len(size)), 0.0
        for at in range(latent_ptr[latent[pair]], latent_ptr[latent[pair] + 1]):
            if activation[at] > limit[pair]:
                s = stratum[latent_token[at]]
                fired[s] += 1
                hits += inside[latent_token[at]]
        in_concept = members[concept[pair]]
        known = (fired > 0) & (fired < size) & (in_concept > 0) & (in_concept < size)
        if not known.any():
            continue
        # strata whose margins leave no choice
        settled = np.where(fired == size, in_concept, np.where(in_concept == size, fired, 0.0)).sum()
        low[pair] = _end(hits - settled, size[known], in_concept[known], fired[known], z)
        high[pair] = _end(hits - settled, size[known], in_concept[known], fired[known], -z)
    return low, high


@numba.njit(cache=True)
def _end(hits, size, members, fired, z):
    """The ratio at which hits lie z standard errors above (z > 0, the low end) or below (z < 0) what it gives."""
    if z > 0 and _score(hits, size, members, fired, -_WIDEST) < z:
        return 0.0
    if z < 0 and _score(hits, size, members, fired, _WIDEST) > z:
        return np.inf
    a, b = -_WIDEST, _WIDEST  # the score falls as the ratio grows
    for _ in range(_STEPS):
        middle = (a + b) / 2
        if _score(hits, size, members, fired, middle) > z:
            a = middle
        else:
            b = middle
    return np.exp((a + b) / 2)


@numba.njit(cache=True)
def _score(hits, size, members, fired, log_ratio):
    """(hits - sum A) / sqrt(sum V) at a ratio, A and V the mean and variance of a stratum's count given its margins."""
    ratio, expected, variance = np.exp(log_ratio), 0.0, 0.0
    for s in range(len(size)):
        n, n1, m1 = size[s], members[s], fired[s]
        least, most = max(0.0, n1 + m1 - n), min(n1, m1)
        mean, spread = _exact(n, n1, m1, least, most, ratio) if most - least <= _EXACT else _large(n, n1, m1, least, most, ratio)
        expected += mean
        variance += spread
    if variance <= 0:  # the margins leave no choice at this ratio
        return 0.0 if abs(hits - expected) < 1e-9 else np.inf * (hits - expected)
    return (hits - expected) / np.sqrt(variance)


@numba.njit(cache=True)
def _exact(n, n1, m1, least, most, ratio):
    """Mean and variance of the non-central hypergeometric distribution, by its terms."""
    w, total, first, second = 1.0, 0.0, 0.0, 0.0
    for k in range(int(most - least) + 1):  # counts above the least
        total, first, second = total + w, first + k * w, second + k * k * w
        a = least + k
        w *= ratio * (n1 - a) * (m1 - a) / ((a + 1) * (n - n1 - m1 + a + 1))
        if w > 1e100:
            w, total, first, second = w * 1e-100, total * 1e-100, first * 1e-100, second * 1e-100
    mean = first / total
    return least + mean, max(second / total - mean * mean, 0.0)


@numba.njit(cache=True)
def _large(n, n1, m1, least, most, ratio):
    """The same for large tables: A (n - n1 - m1 + A) = ratio (n1 - A)(m1 - A), and the variance of its four cells."""
    if abs(ratio - 1) < 1e-9:
        a = n1 * m1 / n
    else:
        b = n - n1 - m1 + ratio * (n1 + m1)
        a = 2 * ratio * n1 * m1 / (b + np.sqrt(max(b * b + 4 * (1 - ratio) * ratio * n1 * m1, 0.0)))
    a = min(max(a, least + 1e-9), most - 1e-9)
    return a, n / (n - 1) / (1 / a + 1 / (n1 - a) + 1 / (m1 - a) + 1 / (n - n1 - m1 + a))
