"""Seed stability by function: which latents of two SAEs fire on the same tokens, whatever their directions.

Directions of two latents may differ where activations seldom tell them apart. Here a latent is *shared* when its one-to-one
partner, with the largest sum of correlations, correlates with it above `stability.SHARED` over the same tokens.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from lib.sae.stability import SHARED


def correlation(a: sparse.csr_matrix, b: sparse.csr_matrix) -> np.ndarray:
    """Pearson correlation over tokens of each latent of a with each of b: [n_a, n_b] float64, 0 for one that never varies.

    a, b: CSR [token, latent], at least 0, of the same tokens. Raises ValueError where these differ in number.
    """
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"latents of {a.shape[0]} and {b.shape[0]} tokens: wanted the same tokens")
    (mean_a, sd_a), (mean_b, sd_b) = _moments(a), _moments(b)
    covariance = np.asarray((a.T.astype(np.float64) @ b.astype(np.float64)).todense()) / a.shape[0] - np.outer(mean_a, mean_b)
    return covariance / np.where(np.outer(sd_a, sd_b) > 0, np.outer(sd_a, sd_b), np.inf)


def match(a: sparse.csr_matrix, b: sparse.csr_matrix) -> pd.DataFrame:
    """Partners in b of the live latents of a: latent, partner (-1: none), r (NaN there), shared."""
    live_a, live_b = (np.flatnonzero(_moments(x)[1] > 0) for x in (a, b))
    r = correlation(a[:, live_a], b[:, live_b])
    row, column = linear_sum_assignment(-r)
    partner, value = np.full(len(live_a), -1), np.full(len(live_a), np.nan)
    partner[row], value[row] = live_b[column], r[row, column]
    return pd.DataFrame({"latent": live_a, "partner": partner, "r": value, "shared": value > SHARED})


def pairwise(latents: dict[str, sparse.csr_matrix], seed: int = 0, within: int = 0, unit: np.ndarray | None = None) -> pd.DataFrame:
    """A row a pair of SAEs: a, b, n_a, n_b (live latents), r (mean over pairs), shared, 2 m / (n_a + n_b) with m the pairs that are,
    null_r and null_shared, the same with b's latents `turned`.

    latents: name -> CSR [token, latent] of the same tokens; within: latents are `spread` by so many tokens first, for codes that
    stand for a window; unit: [token], then needed. Raises ValueError on fewer than two.
    """
    if len(latents) < 2:
        raise ValueError(f"seed stability needs at least two SAEs, found {len(latents)}")
    latents = {name: spread(x, unit, within) if within else x for name, x in latents.items()}
    rows = []
    for one, two in combinations(latents, 2):
        a, b = latents[one], latents[two]
        sizes = [int((_moments(x)[1] > 0).sum()) for x in (a, b)]
        seen, null = match(a, b), match(a, turned(b, seed))
        shares = [2 * int(table.shared.sum()) / max(sum(sizes), 1) for table in (seen, null)]
        rows.append((one, two, *sizes, seen.r.mean(), shares[0], null.r.mean(), shares[1]))
    return pd.DataFrame(rows, columns=["a", "b", "n_a", "n_b", "r", "shared", "null_r", "null_shared"])


def turned(latents: sparse.csr_matrix, seed: int) -> sparse.csr_matrix:
    """The null: each latent's track turned round the tokens by a place of its own; density, values and runs stay."""
    columns, n = latents.tocsc(copy=True), latents.shape[0]
    shift = np.random.default_rng(seed).integers(0, n, latents.shape[1])
    of = np.repeat(np.arange(latents.shape[1]), np.diff(columns.indptr))
    place = (columns.indices + shift[of]) % n
    return sparse.csr_matrix((columns.data, (place, of)), shape=latents.shape)


def spread(latents: sparse.csr_matrix, unit: np.ndarray, within: int) -> sparse.csr_matrix:
    """Each latent summed over the tokens at most `within` away in its unit: two codes of one event at two places then agree."""
    entries = latents.tocoo()
    parts = []
    for step in range(-within, within + 1):
        to = entries.row + step
        inside = (to >= 0) & (to < latents.shape[0])
        inside[inside] = unit[to[inside]] == unit[entries.row[inside]]
        parts.append((entries.data[inside], to[inside], entries.col[inside]))
    data, row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    return sparse.csr_matrix((data, (row, column)), shape=latents.shape)


def _moments(latents: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over tokens of each latent."""
    n = max(latents.shape[0], 1)
    values = latents.astype(np.float64)
    mean = np.asarray(values.sum(0)).ravel() / n
    square = np.asarray(values.multiply(values).sum(0)).ravel() / n
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-12 * square, variance, 0))
