"""AUROC, its bootstrap, and corrections for many tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile bootstrap interval; n counts the resampled units."""

    value: float
    low: float
    high: float
    n: int


def auroc(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """P(score of a case > score of a control), ties counted half. y: [n] 0/1; score: [..., n]. Returns [...]."""
    y = np.asarray(y, dtype=bool)
    n1, n0 = int(y.sum()), int((~y).sum())
    if n1 == 0 or n0 == 0:
        raise ValueError("AUROC needs both classes")
    ranks = rankdata(score, axis=-1)
    return (ranks[..., y].sum(-1) - n1 * (n1 + 1) / 2) / (n1 * n0)


def _kernel(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """[case, control]: 1 where the case scores higher, 0.5 on a tie."""
    case, control = score[y == 1][:, None], score[y == 0][None, :]
    return (case > control).astype(np.float32) + 0.5 * (case == control)


def _stratified_weights(y: np.ndarray, n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap multiplicities, resampled inside each class: [n_boot, case], [n_boot, control]; rows sum to 1."""
    rng = np.random.default_rng(seed)
    out = []
    for n in (int((y == 1).sum()), int((y == 0).sum())):
        out.append(rng.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(np.float32) / n)
    return out[0], out[1]


def bootstrap_auroc(y: np.ndarray, scores: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """AUROC of each score row on the same class-stratified resamples of people. scores: [k, n]. Returns [k, n_boot].

    Exact, ties included: with multiplicities w, AUROC = w_case' K w_control, K the case-by-control comparison.
    """
    y = np.asarray(y)
    w1, w0 = _stratified_weights(y, n_boot, seed)
    return np.stack([((w1 @ _kernel(y, s)) * w0).sum(1) for s in np.atleast_2d(scores)])


def auroc_interval(y: np.ndarray, score: np.ndarray, n_boot: int = 1000, seed: int = 0) -> Estimate:
    """AUROC with its bootstrap interval over people. score: [n]."""
    draws = bootstrap_auroc(y, score, n_boot, seed)[0]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(auroc(y, score)), float(low), float(high), len(y))


def auroc_drop(
    y: np.ndarray, full: np.ndarray, ablated: np.ndarray, n_boot: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUROC(full) - AUROC(ablated), paired over people. full: [n]; ablated: [k, n]. Returns value, low, high: [k]."""
    draws = bootstrap_auroc(y, full, n_boot, seed) - bootstrap_auroc(y, ablated, n_boot, seed)
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    return auroc(y, full) - auroc(y, ablated), low, high


def mean_interval(values: np.ndarray, n_boot: int = 1000, seed: int = 0) -> Estimate:
    """Mean of independent units with its percentile bootstrap interval; NaN without units. values: [n]."""
    rng = np.random.default_rng(seed)
    values = np.asarray(values, dtype=float)
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan, 0)
    draws = values[rng.integers(0, len(values), (n_boot, len(values)))].mean(1)
    return Estimate(float(values.mean()), *np.quantile(draws, [0.025, 0.975]).tolist(), len(values))


def ratio_interval(part: np.ndarray, whole: np.ndarray, n_boot: int = 1000, seed: int = 0) -> Estimate:
    """1 - sum(part) / sum(whole) with its bootstrap over units: explained variance from per-unit sums. [n], [n]."""
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, len(part), (n_boot, len(part)))
    draws = 1 - part[pick].sum(1) / whole[pick].sum(1)
    return Estimate(float(1 - part.sum() / whole.sum()), *np.quantile(draws, [0.025, 0.975]).tolist(), len(part))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values. p: [n]."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, method="fdr_bh")[1] if len(p) else np.asarray(p, dtype=float)
