"""Macro AUROC, each class against the rest, and its falls: the means over classes of `auroc`'s, on the same people and draws.

y: [person], the classes 0, 1, 2, ...; score: [..., class, person]; full [repeat, class, person] and change [repeat, latent,
class, person], the scores of each class and what ablating a latent alone adds to them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lib.outcome import auroc, shapes
from lib.stats import estimates


def value(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Mean over classes of P(score of one of the class > score of another): [...]. Raises ValueError for a missing class."""
    n = _n_classes(y, score.shape[-2])
    return np.mean([estimates.auroc(y == k, score[..., k, :]) for k in range(n)], axis=0)


def resampled(y: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Value of each row of score in each draw: [k, n_boot]. score: [k, class, person] or [class, person]."""
    n = _n_classes(y, score.shape[-2])
    return np.mean([estimates.resampled_auroc(y == k, score[..., k, :], weights) for k in range(n)], axis=0)


def fall(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Fall of each latent: [latent]."""
    return _mean(auroc.fall, y, full, change)


def drawn(y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fall in each bootstrap draw: float32 [latent, n_boot]. weights: uint8 [person, n_boot], all classes in each draw."""
    return _mean(auroc.drawn, y, full, change, weights).astype(np.float32)


def without(y: np.ndarray, full: np.ndarray, change: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Fall among the people outside each group: [latent, group]. group: [person], numbers from 0."""
    return _mean(auroc.without, y, full, change, group)


def error(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Standard error of each fall, people independent: [latent].

    A person is a case of one class and a control of the others: their part is the mean over classes of their placement,
    divided by the number of cases there, or controls; parts vary inside each class. DeLong's for two classes.
    """
    sizes = np.bincount(y)

    def part(case: np.ndarray, *scores: np.ndarray) -> np.ndarray:
        return auroc.placements(case, *scores) / np.where(case, case.sum(), (~case).sum())

    parts = _mean(part, y, full, change)
    return np.sqrt(sum(n * parts[:, y == k].var(1, ddof=1) for k, n in enumerate(sizes)))


def _mean(of_class: Callable, y: np.ndarray, full: np.ndarray, change: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    """Mean over classes of a function of one class against the rest: float64."""
    shapes.check(y, full, change, n_classes=int(np.max(y)) + 1)
    n = _n_classes(y, full.shape[-2])
    total = 0.0
    for k in range(n):
        one = np.ascontiguousarray(full[:, k]), np.ascontiguousarray(change[:, :, k])
        total = total + of_class(y == k, *one, *rest).astype(np.float64)
    return total / n


def _n_classes(y: np.ndarray, n: int) -> int:
    if missing := sorted(set(range(n)) ^ set(np.unique(y).tolist())):
        raise ValueError(f"{len(y)} people and scores of {n} classes differ in class {missing[0]}, wanted the same classes")
    return n
