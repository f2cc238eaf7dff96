"""AUROC, its bootstrap, and corrections for many tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

BOTH = 3  # the kind of a group with cases and controls; 1 has cases only, 2 has controls only


class Estimate(NamedTuple):
    """A value with its 95 % percentile bootstrap interval; n counts the units, or the people of resampled groups."""

    value: float
    low: float
    high: float
    n: int


#: What is left to say where nothing could be measured.
NOTHING = Estimate(np.nan, np.nan, np.nan, 0)


def auroc(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """P(score of a case > score of a control), ties counted half. y: [n] 0/1; score: [..., n]. Returns [...]."""
    y = np.asarray(y, dtype=bool)
    n1, n0 = int(y.sum()), int((~y).sum())
    if n1 == 0 or n0 == 0:
        raise ValueError("AUROC needs both classes")
    ranks = rankdata(score, axis=-1)
    return (ranks[..., y].sum(-1) - n1 * (n1 + 1) / 2) / (n1 * n0)


def draws(y: np.ndarray, groups: np.ndarray | None, n_boot: int, seed: int) -> np.ndarray:
    """How often each bootstrap draw takes each person: uint8 [person, n_boot].

    Groups are drawn whole, with replacement, among those of their kind: of cases only, of controls only, of both.
    With everyone alone this is the bootstrap stratified by class. Every draw holds both classes; its numbers of cases
    and controls vary where groups differ in size. The only group of its kind is in every draw, once.
    Raises ValueError when all cases, or all controls, are in one group.
    """
    group, kind = clusters(y, groups)
    rng, times = np.random.default_rng(seed), np.zeros((len(kind), n_boot), dtype=np.uint8)
    for one in np.unique(kind):
        members = np.flatnonzero(kind == one)
        times[members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_boot).T
    return times[group]


def clusters(y: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Number of each person's group, [person], and each group's kind, [group]. Raises ValueError as `draws` does."""
    y = np.asarray(y)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y holds {np.unique(y)[:5]}, wanted 0 and 1")
    if groups is not None and len(groups) != len(y):
        raise ValueError(f"groups of {len(groups)} people, wanted {len(y)}")
    group = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    has = [np.bincount(group, weights=y == c, minlength=group.max() + 1) > 0 for c in (1, 0)]
    for name, those in zip(("cases", "controls"), has):
        if those.sum() < 2:
            raise ValueError(f"{name} are in {those.sum()} group, wanted 2 or more to resample")
    return group, has[0] + 2 * has[1]


def _kernel(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """[case, control]: 1 where the case scores higher, 0.5 on a tie."""
    case, control = score[y == 1][:, None], score[y == 0][None, :]
    return (case > control).astype(np.float32) + 0.5 * (case == control)


def bootstrap_auroc(
    y: np.ndarray, scores: np.ndarray, n_boot: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """AUROC of each score row on the same resamples of people, from `draws`. scores: [k, n]. Returns [k, n_boot].

    groups: [n], resampled whole; None: everyone alone, stratified by class.
    Exact, ties included: with multiplicities w, AUROC = w_case' K w_control / (sum w_case sum w_control), K the
    case-by-control comparison.
    """
    y, times = np.asarray(y), draws(y, groups, n_boot, seed)
    w1, w0 = (times[y == c].T.astype(np.float32) for c in (1, 0))
    wins = np.stack([((w1 @ _kernel(y, s)) * w0).sum(1, dtype=np.float64) for s in np.atleast_2d(scores)])
    return wins / (w1.sum(1, dtype=np.float64) * w0.sum(1))


def mean_interval(values: np.ndarray, n_boot: int = 1000, seed: int = 0) -> Estimate:
    """Mean of independent units with its percentile bootstrap interval; NaN without units. values: [n]."""
    rng = np.random.default_rng(seed)
    values = np.asarray(values, dtype=float)
    if not len(values):
        return NOTHING
    means = values[rng.integers(0, len(values), (n_boot, len(values)))].mean(1)
    return Estimate(float(values.mean()), *np.quantile(means, [0.025, 0.975]).tolist(), len(values))


def share(count: int, n: int) -> Estimate:
    """count of n as a share with its 95 % Wilson interval; NOTHING of none."""
    from statsmodels.stats.proportion import proportion_confint

    return Estimate(count / n, *proportion_confint(count, n, method="wilson"), int(n)) if n else NOTHING


def ratio_interval(part: np.ndarray, whole: np.ndarray, n_boot: int = 1000, seed: int = 0) -> Estimate:
    """1 - sum(part) / sum(whole) with its bootstrap over units: explained variance from per-unit sums. [n], [n].

    NOTHING without units.
    """
    if not len(part):
        return NOTHING
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, len(part), (n_boot, len(part)))
    shares = 1 - part[pick].sum(1) / whole[pick].sum(1)
    return Estimate(
        float(1 - part.sum() / whole.sum()), *np.quantile(shares, [0.025, 0.975]).tolist(), len(part)
    )


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values. p: [n]."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, method="fdr_bh")[1] if len(p) else np.asarray(p, dtype=float)
