"""Falls of AUROC, or another metric, under ablation, exact and resampled, and the influence of each person."""

from __future__ import annotations

import numpy as np

from lib.outcome.metrics import BINARY, Metric
from lib.stats.estimates import clusters


def bootstrap(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray, metric: Metric = BINARY
) -> tuple[np.ndarray, np.ndarray]:
    """delta of each latent, [latent], and in each draw, float32 [latent, n_boot].

    weights: [person, n_boot] from `draws`, the same for all latents. A latent that changes nothing (no rank; no
    prediction) has 0 exactly.
    """
    drawn = metric.falls.drawn(y, full, change, weights)
    return deltas(y, full, change, metric), drawn


def deltas(y: np.ndarray, full: np.ndarray, change: np.ndarray, metric: Metric = BINARY) -> np.ndarray:
    """delta of each latent: [latent]."""
    return metric.falls.fall(y, full, change)


def jackknife(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, groups: np.ndarray | None, metric: Metric = BINARY
) -> np.ndarray:
    """Influence of each group on delta, from delta without that group: [latent, group], groups in sorted order.

    (n - 1) / n (mean over groups of the kind of delta without one - delta without this one), n the groups of its kind:
    the terms of BCa's acceleration for a stratified bootstrap. Source: Davison and Hinkley 1997, 5.3.2.
    """
    group, kind = clusters(y, groups, metric.target)
    without = metric.falls.without(y, full, change, group)
    for one in np.unique(kind):
        alike = kind == one
        n = alike.sum()
        without[:, alike] = (n - 1) / n * (without[:, alike].mean(1, keepdims=True) - without[:, alike])
    return without


def fold_deltas(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, folds: np.ndarray, metric: Metric = BINARY
) -> np.ndarray:
    """delta inside each outer fold: [repeat, fold, latent], folds in sorted order. NaN in a fold that lacks a class."""
    names = np.unique(folds)
    wanted = 2 if metric.target == "continuous" else len(np.unique(y))
    out = np.full((len(full), len(names), change.shape[1]), np.nan)
    for r, scores in enumerate(full):
        for f, name in enumerate(names):
            inside = folds[r] == name
            if len(np.unique(y[inside])) >= wanted:
                out[r, f] = deltas(y[inside], scores[None, ..., inside], change[r : r + 1, ..., inside], metric)
    return out
