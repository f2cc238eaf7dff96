"""AUROC, its bootstrap, and corrections for many tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata


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


def draws(
    y: np.ndarray, groups: np.ndarray | None, n_boot: int, seed: int, target: str = "binary"
) -> np.ndarray:
    """How often each bootstrap draw takes each person: uint8 [person, n_boot].

    Groups are drawn whole, with replacement, among those of their kind: of one class only, or of several. With everyone
    alone this is the bootstrap stratified by class. Every draw holds all classes: one that does not is drawn again. Numbers
    of cases and controls vary where groups differ in size. The only group of its kind is in every draw, once. For target
    "continuous" all groups are of one kind, "class": y is 0, 1, 2, ...
    Raises ValueError when all people of a class, or all of a continuous y, are in one group.
    """
    group, kind = clusters(y, groups, target)
    rng = np.random.default_rng(seed)
    times = _taken(kind, n_boot, rng)
    if target == "class":
        has = _classes_held(np.asarray(y), group, np.unique(y)).astype(np.float32)
        for _ in range(1000):
            lacking = (has @ times == 0).any(0)
            if not lacking.any():
                break
            times[:, lacking] = _taken(kind, int(lacking.sum()), rng)
        else:
            raise ValueError(f"{lacking.sum()} of {n_boot} draws of groups lack a class after 1000 tries: wanted more groups a class")
    return times[group]


def _taken(kind: np.ndarray, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """How often each draw takes each group, among those of its kind: uint8 [group, n_boot]."""
    times = np.zeros((len(kind), n_boot), dtype=np.uint8)
    for one in np.unique(kind):
        members = np.flatnonzero(kind == one)
        times[members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_boot).T
    return times


def clusters(
    y: np.ndarray, groups: np.ndarray | None, target: str = "binary"
) -> tuple[np.ndarray, np.ndarray]:
    """Number of each person's group, [person], and each group's kind, [group]: 1 cases only, 2 controls only, 3 both.

    For classes 0 to K - 1: K - k where it holds class k only, K + 1 where it holds several; for a continuous y all are 1.
    Raises ValueError as `draws` does.
    """
    y = np.asarray(y)
    if target == "binary" and not np.isin(y, (0, 1)).all():
        raise ValueError(f"y holds {np.unique(y)[:5]}, wanted 0 and 1")
    if groups is not None and len(groups) != len(y):
        raise ValueError(f"groups of {len(groups)} people, wanted {len(y)}")
    group = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if target == "continuous":
        if group.max() == 0:
            raise ValueError("all people are in 1 group, wanted 2 or more to resample")
        return group, np.ones(group.max() + 1, dtype=int)
    classes = np.array([0, 1]) if target == "binary" else np.unique(y)
    names = ["controls", "cases"] if target == "binary" else [f"people of class {c}" for c in classes]
    has = _classes_held(y, group, classes)
    for name, those in zip(names[::-1], has[::-1]):
        if those.sum() < 2:
            raise ValueError(f"{name} are in {those.sum()} group, wanted 2 or more to resample")
    return group, np.where(has.sum(0) > 1, len(classes) + 1, len(classes) - has.argmax(0))


def _classes_held(y: np.ndarray, group: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Whether a group holds anyone of a class: bool [class, group]."""
    return np.stack([np.bincount(group, weights=y == c, minlength=group.max() + 1) > 0 for c in classes])


def _kernel(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """[case, control]: 1 where the case scores higher, 0.5 on a tie."""
    case, control = score[y == 1][:, None], score[y == 0][None, :]
    return (case > control).astype(np.float32) + 0.5 * (case == control)


def resampled_auroc(y: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """AUROC of each score row in each draw: [k, n_boot]. scores: [k, n] or [n]; times: [n, n_boot] from `draws`.

    Exact, ties included: with multiplicities w, AUROC = w_case' K w_control / (sum w_case sum w_control), K the
    case-by-control comparison.
    """
    y = np.asarray(y)
    w1, w0 = (times[y == c].T.astype(np.float32) for c in (1, 0))
    wins = np.stack([((w1 @ _kernel(y, s)) * w0).sum(1, dtype=np.float64) for s in np.atleast_2d(scores)])
    return wins / (w1.sum(1, dtype=np.float64) * w0.sum(1))


def mean_interval(values: np.ndarray, n_boot: int = 1000, seed: int = 0, groups: np.ndarray | None = None) -> Estimate:
    """Mean of units with its percentile bootstrap interval; NaN without units. values: [n]; groups: [n], drawn whole, in the order of
    their first units; None where all units are independent."""
    rng = np.random.default_rng(seed)
    values = np.asarray(values, dtype=float)
    if not len(values):
        return NOTHING
    sums, sizes = values, np.ones(len(values))
    if groups is not None:
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        group = np.argsort(np.argsort(first))[group]
        sums, sizes = np.bincount(group, values), np.bincount(group)
    pick = rng.integers(0, len(sums), (n_boot, len(sums)))
    means = sums[pick].mean(1) / sizes[pick].mean(1)
    return Estimate(float(values.mean()), *np.quantile(means, [0.025, 0.975]).tolist(), len(values))


def share(count: int, n: int) -> Estimate:
    """count of n as a share with its 95 % Wilson interval; NOTHING of none."""
    from statsmodels.stats.proportion import proportion_confint

    return Estimate(count / n, *proportion_confint(count, n, method="wilson"), int(n)) if n else NOTHING


def fall(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two samples that share nobody, with the interval that their own two make; n: that of b.

    Each end of an interval is as far from its value as its sampling error goes that way, and errors of independent samples add by
    squares: high - (a - b) = sqrt((a.high - a)^2 + (b - b.low)^2), the low end likewise. NaN where one of the two is.
    Source: Zou and Donner 2008, Statistics in Medicine 27:1693, after Newcombe's interval of two proportions.
    """
    value = a.value - b.value
    below, above = np.hypot(a.value - a.low, b.high - b.value), np.hypot(a.high - a.value, b.value - b.low)
    return Estimate(float(value), float(value - below), float(value + above), b.n)


def too_few(e: Estimate, bar: float, what: str, at_most: bool = False) -> str:
    """Why a share cannot be held to a bar by its whole interval, or "": of so few not even all show at least the bar (at_most: not even
    none shows at most it) by Wilson's interval. One whose own interval lies beyond the bar has failed, however few there are.

    e: the share, of n; what: what n counts, in words. Of n = 0, "no <what>".
    """
    if not e.n:
        return f"no {what}"
    failed = e.low > bar if at_most else e.high < bar
    passable = share(0, e.n).high <= bar if at_most else share(e.n, e.n).low >= bar
    said = "not even none shows at most" if at_most else "not even all show at least"
    return "" if failed or passable else f"of {e.n} {what} {said} {bar:g}"


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
