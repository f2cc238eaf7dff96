"""Telling instances of a concept from instances that look the same: functional sites from lone decoys, say.

A *contrast* is a group of instances, some of them positive. What a method offers is a number of scores for each instance (the
largest activation of each latent over it). The score and its threshold are chosen by F1 on validation, and read on test.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import sparse

PARTS = ("validation", "test")


def peaks(latents: sparse.csr_matrix | Iterable[sparse.csr_matrix], first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Largest activation of each latent over the tokens of each instance: [instance, latent] float32.

    latents: CSR [token, latent], at least 0, or blocks of its columns; first, last: rows of each instance, half-open, not empty.
    """
    blocks = [latents] if sparse.issparse(latents) else latents
    return np.hstack([_block_peaks(block.tocsr(), first, last) for block in blocks])


def _block_peaks(block: sparse.csr_matrix, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    out = np.zeros((len(first), block.shape[1]), np.float32)
    for i, (a, b) in enumerate(zip(first, last, strict=True)):
        entries = slice(block.indptr[a], block.indptr[b])
        np.maximum.at(out[i], block.indices[entries], block.data[entries])
    return out


def best_cuts(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each score the threshold of largest F1, and that F1: [score], [score]. A row is called positive at or above it.

    scores: [instance, score]; positive: [instance] bool. Of equal F1 the higher threshold.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    hits = positive[order].cumsum(0)
    f1 = 2 * hits / (np.arange(1, len(scores) + 1)[:, None] + positive.sum())
    f1[:-1][ranked[1:] == ranked[:-1]] = -1  # equal scores are taken together
    at = f1.argmax(0)
    columns = np.arange(scores.shape[1])
    return ranked[at, columns], f1[at, columns]


def told_apart(
    scores: dict[str, dict[str, np.ndarray]], instances: dict[str, pd.DataFrame], n_boot: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well each method tells the positive instances of each group.

    scores: method -> part of PARTS -> [instance, score]; instances: part -> group, positive, unit. First table, a row a method and
    group: score (its column), cut, f1_validation, f1, n_positive, n (of test). Second, a row a method: f1, the mean over groups,
    with low and high of draws over units; gain, gain_low, gain_high, the first method's mean less that of this one, paired.
    A group without both on both parts is left out. Raises ValueError where none is left.
    """
    groups = [g for g in dict.fromkeys(instances["test"].group) if all(_both(instances[part], g) for part in PARTS)]
    if not groups:
        raise ValueError("no group has positive and other instances on validation and on test")
    rows, called = [], {}
    for method, of_part in scores.items():
        said = np.zeros(len(instances["test"]), bool)
        for group in groups:
            fit, test = (np.flatnonzero(instances[part].group == group) for part in PARTS)
            cuts, f1s = best_cuts(of_part["validation"][fit], instances["validation"].positive.to_numpy()[fit])
            best = int(f1s.argmax())
            said[test] = of_part["test"][test, best] >= cuts[best]
            positive = instances["test"].positive.to_numpy()[test]
            rows.append((method, group, best, cuts[best], f1s[best], _f1(said[test], positive), int(positive.sum()), len(test)))
        called[method] = said
    columns = ["method", "group", "score", "cut", "f1_validation", "f1", "n_positive", "n"]
    return pd.DataFrame(rows, columns=columns), _means(called, instances["test"], groups, n_boot, seed)


def _both(table: pd.DataFrame, group: str) -> bool:
    return table.positive[table.group == group].nunique() == 2


def _f1(said: np.ndarray, positive: np.ndarray) -> float:
    return float(2 * (said & positive).sum() / max(said.sum() + positive.sum(), 1))


def _means(called: dict[str, np.ndarray], test: pd.DataFrame, groups: list, n_boot: int, seed: int) -> pd.DataFrame:
    """Mean F1 over groups of each method, and the first method's less it, with intervals of the same draws over units."""
    units, unit = np.unique(test.unit, return_inverse=True)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), n_boot)
    weights = np.vstack([np.ones(len(units)), weights])[:, unit]  # the first row: as it is
    drawn = {method: _drawn(said, test, groups, weights) for method, said in called.items()}
    first, rows = next(iter(drawn.values())), []
    for method, values in drawn.items():
        rows.append((method, *_estimate(values), *_estimate(first - values)))
    return pd.DataFrame(rows, columns=["method", "f1", "low", "high", "gain", "gain_low", "gain_high"]).assign(n_groups=len(groups))


def _drawn(said: np.ndarray, test: pd.DataFrame, groups: list, weights: np.ndarray) -> np.ndarray:
    """Mean F1 over groups under each row of weights [draw, instance]; a group without any in a draw is left out of that mean."""
    positive = test.positive.to_numpy()
    total = []
    for group in groups:
        rows = (test.group == group).to_numpy()
        hits = weights[:, rows & said & positive].sum(1)
        sizes = weights[:, rows & said].sum(1) + weights[:, rows & positive].sum(1)
        total.append(np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), np.nan))
    return np.nanmean(total, axis=0)


def _estimate(values: np.ndarray) -> tuple[float, float, float]:
    """Value, low and high. values: [1 + draw], the first as it is."""
    return float(values[0]), *np.nanquantile(values[1:], [0.025, 0.975]).tolist()
