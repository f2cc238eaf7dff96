"""Telling instances of a concept from instances that look the same: functional sites from lone decoys, say.

A *contrast* is a group of instances, some of them positive. What a method offers is a number of scores for each instance (the
largest activation of each latent over it). The score and its threshold are chosen by F1 on validation, and read on test.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate import ladder
from lib.stats import estimates

PARTS = ("validation", "test")
MEANS = ["method", "f1", "low", "high", "gain", "gain_low", "gain_high", "always", "n_groups", "n_units"]
#: Nulls of `search.latents_and_rivals` that tear latents from their places, or concepts from theirs: there is no instance to read them on.
PLACELESS = ("rate-matched", "label shuffle", "shuffled sequence")


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


def peaks_of(latents: dict, instances: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """`peaks` of each part over its instances. latents: part -> as of `peaks`; instances: part -> first, last, of none for no part."""
    return {part: peaks(latents[part], table["first"].to_numpy(), table["last"].to_numpy()) for part, table in instances.items()}


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
    with low and high of draws over units; gain, gain_low, gain_high, the first method's mean less that of this one, paired; always, the
    mean of calling every instance positive; n_groups, n_units. A group without both on both parts is left out; where none is left,
    or where nothing is to be told (no part), both tables are empty.
    """
    groups = [g for g in dict.fromkeys(instances["test"].group) if all(_both(instances[part], g) for part in PARTS)] if instances else []
    rows, called = [], {}
    for method, of_part in scores.items() if groups else ():
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
    means = _means(called, instances["test"], groups, n_boot, seed) if groups else pd.DataFrame(columns=MEANS)
    return pd.DataFrame(rows, columns=columns), means


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
    always = float(_drawn(np.ones(len(test), bool), test, groups, weights[:1])[0])
    return pd.DataFrame([(*row, always, len(groups), len(units)) for row in rows], columns=MEANS)


def _drawn(said: np.ndarray, test: pd.DataFrame, groups: list, weights: np.ndarray) -> np.ndarray:
    """Mean F1 over groups under each row of weights [draw, instance]; a group without any in a draw is left out of that mean."""
    positive = test.positive.to_numpy()
    total = []
    for group in groups:
        rows = (test.group == group).to_numpy()
        hits = weights[:, rows & said & positive].sum(1)
        sizes = weights[:, rows & said].sum(1) + weights[:, rows & positive].sum(1)
        total.append(np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), np.nan))
    known = np.isfinite(total)
    return np.where(known.any(0), np.where(known, total, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def _estimate(values: np.ndarray) -> tuple[float, float, float]:
    """Value, low and high. values: [1 + draw], the first as it is."""
    return float(values[0]), *np.nanquantile(values[1:], [0.025, 0.975]).tolist()


# ---- what is said of it ---------------------------------------------------------------------------------------------


def gains(means: pd.DataFrame, methods: Iterable[str]) -> dict[str, estimates.Estimate]:
    """Gain of the first method over each of the others, n units: method -> estimate, NOTHING of those that `means` lacks."""
    rows = means.set_index("method")
    return {m: _of(rows.loc[m], "gain", "gain_low", "gain_high") if m in rows.index else estimates.NOTHING for m in methods}


def mean_f1(means: pd.DataFrame, method: str) -> estimates.Estimate:
    """Mean F1 of a method over groups, n units; NOTHING where it has no row."""
    rows = means[means["method"] == method]
    return _of(rows.iloc[0], "f1", "low", "high") if len(rows) else estimates.NOTHING


def _of(row: pd.Series, *names: str) -> estimates.Estimate:
    return estimates.Estimate(*(float(row[name]) for name in names), int(row["n_units"]))


def recovered(read: pd.DataFrame, floor: float) -> dict[str, estimates.Estimate]:
    """Share of contrasts that a method tells: F1 of at least `floor` in a group of its name, which may end in an orientation
    (" +", " -"). method -> share with its 95 % Wilson interval, n contrasts. read: the first table of `told_apart`."""
    best = read.assign(name=ladder.profile(read["group"])).groupby(["method", "name"], sort=False)["f1"].max()
    return {method: estimates.share(int((f1 >= floor).sum()), len(f1)) for method, f1 in best.groupby("method", sort=False)}


def tells(read: pd.DataFrame, method: str) -> dict[int, str]:
    """Latent -> the groups for which `method` chose it, joined by "; ". read: the first table of `told_apart`."""
    own = read[read["method"] == method]
    return {int(score): "; ".join(groups) for score, groups in own.groupby("score")["group"]}
