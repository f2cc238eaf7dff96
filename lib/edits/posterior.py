"""Local posterior of pathogenicity: labelled variants in a window around a score, as evidence near that score.

Source: Pejaver et al. 2022 (Am J Hum Genet 109:2163) and its MIT code vpejaver/clingen-svi-comp_calibration. Bootstraps draw variants,
as the paper does, or whole groups of them (genes), whose labels and scores may go together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import beta

from lib.edits.drawn import Sorted

ONE_SIDED = 0.05  # share of bootstrap runs that may say otherwise
_EDGE = 1e-9  # of an increment: k * increment is not exact, and a score on a window's edge belongs to it


class Sample(NamedTuple):
    """Scores of labelled variants (high = pathogenic), whether each is pathogenic, scores of unlabelled variants, and a number for each
    labelled variant's group, None where all are independent."""

    score: np.ndarray
    label: np.ndarray
    population: np.ndarray
    group: np.ndarray | None = None


class Rule(NamedTuple):
    """How windows grow: low, high (range of thresholds) and increment in score units."""

    low: float
    high: float
    increment: float
    min_labelled: int
    min_population: float


def local_posterior(
    score: np.ndarray, pathogenic: np.ndarray, population: np.ndarray, at: np.ndarray | None = None, alpha: float = 0.0441,
    increment: float | None = None, min_labelled: int = 100, min_population: float = 0.03,
) -> pd.DataFrame:  # fmt: skip
    """Posterior probability of pathogenicity near each score: positives / (positives + w negatives) in a window around it.

    w = (1 - alpha) n_pathogenic / (alpha n_benign) lets the labelled set have the prior. The window grows by `increment`
    on both sides, from a half-width of 0, until it holds min_labelled labelled scores and the share min_population of the
    population's; where it reaches past the range of thresholds, both minima shrink to the share of it in range (where it
    reaches past both ends, to the share below the top).

    score, pathogenic: [variant], scores with high = pathogenic, and 0 or 1; population: [variant] scores of unlabelled
    variants; at: [k] scores, default all candidate thresholds, ascending; increment: score units, default a thousandth of
    the range of thresholds. Returns score, posterior, half_width, n_pathogenic, n_benign, n_population, one row each.
    Raises ValueError for NaN, other labels, too few labelled variants, and scores outside the range of thresholds.
    """
    sample = checked(score, pathogenic, population)
    rule = rule_of(sample, increment, min_labelled, min_population)
    if why := too_few(sample.label, min_labelled, 0):
        raise ValueError(why)
    at = candidate_thresholds(sample.score, sample.population) if at is None else finite("at", at)
    if len(at) and not (rule.low <= at.min() and at.max() <= rule.high):
        raise ValueError(f"scores from {at.min()} to {at.max()}: the thresholds go from {rule.low} to {rule.high}")
    steps, inside = windows(at, ordered(*sample[:3]), rule)
    return pd.DataFrame({
        "score": at, "posterior": posterior(inside, weight(sample.label, alpha)), "half_width": steps * rule.increment,
        "n_pathogenic": inside[0], "n_benign": inside[1], "n_population": inside[2],
    })  # fmt: skip


def likelihood_ratio(sample: Sample, at: np.ndarray, rule: Rule, alpha: float, n_boot: int, seed: int) -> pd.DataFrame:
    """`local_posterior` with the likelihood ratio of its window, and a one-sided 5 % bound of that on either side, low and high.

    The ratio is the window's share of pathogenic over its share of benign variants, infinite in a window without benign ones. A
    bound is the wider of two: over `resamples`, one without a label counting as the worst, and `exact_bounds`.
    at: [k] scores; one past the range of thresholds is read at its end. Holds n_boot x k numbers.
    """
    at = np.clip(finite("at", at), rule.low, rule.high)
    steps, inside = windows(at, ordered(*sample[:3]), rule)
    w = weight(sample.label, alpha)
    prior_odds, draws, by_score = alpha / (1 - alpha), np.empty((n_boot, len(at))), Sorted(sample)
    for run, (labelled, unlabelled, of_draw) in enumerate(resamples(sample, alpha, n_boot, seed)):
        inside_draw = by_score.inside(at, by_score.cumulated(labelled, unlabelled), rule, _EDGE)
        draws[run] = _odds(inside_draw) / (of_draw * prior_odds)
    place = math.floor(ONE_SIDED * n_boot + 1e-9)
    low, high = (np.sort(np.where(np.isnan(draws), worst, draws), axis=0) for worst in (0, math.inf))
    exact = exact_bounds(inside, w * prior_odds)
    return pd.DataFrame({
        "score": at, "likelihood_ratio": _odds(inside) / (w * prior_odds), "low": np.minimum(low[place], exact[0]),
        "high": np.maximum(high[n_boot - 1 - place], exact[1]), "posterior": posterior(inside, w),
        "half_width": steps * rule.increment, "n_pathogenic": inside[0], "n_benign": inside[1],
    })  # fmt: skip


def exact_bounds(inside: np.ndarray, odds: float) -> np.ndarray:
    """One-sided 5 % bounds, low and high, of the likelihood ratio of windows that hold [pathogenic, benign, ...]: [2, k].

    Clopper and Pearson's bounds of the share of pathogenic variants, as odds, over `odds` of all labelled variants. They take variants
    for independent, and know what no resample can: that a window without a benign variant may have missed one.
    """
    p, b = inside[:2]
    least = np.where(p > 0, beta.ppf(ONE_SIDED, np.maximum(p, 1), b + 1), 0.0)  # beta has no parameter 0
    most = np.where(b > 0, beta.ppf(1 - ONE_SIDED, p + 1, np.maximum(b, 1)), 1.0)
    with np.errstate(divide="ignore"):
        return np.stack([least / (1 - least), most / (1 - most)]) / odds


def resamples(sample: Sample, alpha: float, n_boot: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """n_boot times: how often each labelled and each unlabelled variant is drawn, with replacement, and w.

    Without groups w is kept, as the paper keeps it. Groups are drawn whole: then the numbers of both labels, which w is made of, vary
    with the groups, and w is that of the draw; NaN where it lacks a label. Unlabelled variants only set how wide windows are: they are
    drawn one by one.
    """
    rng, n, kept = np.random.default_rng(seed), len(sample.score), weight(sample.label, alpha)
    n_groups = 0 if sample.group is None else sample.group.max() + 1
    for _ in range(n_boot):
        if n_groups:
            times = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)[sample.group]
        else:
            times = np.bincount(rng.integers(0, n, n), minlength=n)
        b = rng.integers(0, len(sample.population), len(sample.population))
        yield times, np.bincount(b, minlength=len(sample.population)), weight(sample.label, alpha, times) if n_groups else kept


def candidate_thresholds(score: np.ndarray, population: np.ndarray) -> np.ndarray:
    """All distinct scores, and the whole numbers below the least and above the largest, ascending."""
    both = np.concatenate([score, population])
    return np.unique([*both, np.floor(both.min()), np.ceil(both.max())])


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """values as float [n]. Raises ValueError for another shape, NaN and infinities."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        actual = f"shape {values.shape}, {(~np.isfinite(values)).sum()} not finite"
        raise ValueError(f"{name}: {actual}; wanted one row of finite numbers")
    return values


def checked(score: np.ndarray, pathogenic: np.ndarray, population: np.ndarray, groups: np.ndarray | None = None) -> Sample:
    """The sample. Raises ValueError for NaN, labels other than 0 and 1, groups of another length, and no population."""
    score, label, population = finite("score", score), np.asarray(pathogenic), finite("population", population)
    if label.shape != score.shape:
        raise ValueError(f"pathogenic has shape {label.shape}, expected {score.shape}")
    if not np.isin(label, [0, 1]).all():
        raise ValueError(f"pathogenic holds {np.unique(label[~np.isin(label, [0, 1])])[:5].tolist()}, wanted 0 or 1")
    if not len(population):
        raise ValueError("population is empty, wanted scores of unlabelled variants")
    if groups is None:
        return Sample(score, label.astype(bool), population)
    names = pd.Series(groups)
    if names.shape != score.shape or names.isna().any():
        raise ValueError(f"groups have shape {names.shape}, {names.isna().sum()} missing; expected {score.shape}, none missing")
    return Sample(score, label.astype(bool), population, pd.factorize(names)[0])


def too_few(label: np.ndarray, min_labelled: int, min_expected: float) -> str:
    """Why windows of min_labelled cannot be read, or ""."""
    n1, n0 = int(label.sum()), int((~label).sum())
    actual = f"{n1} pathogenic and {n0} benign variants"
    if n1 + n0 < min_labelled or not min(n1, n0):
        return f"{actual}, wanted {min_labelled} together and some of each"
    if (expected := min_labelled * min(n1, n0) / (n1 + n0)) < min_expected:
        return f"{actual}, so that a window of {min_labelled} expects {expected:.1f} of the rarer, wanted {min_expected:g}"
    return ""


def rule_of(sample: Sample, increment: float | None, min_labelled: int = 100, min_population: float = 0.03) -> Rule:
    """How windows of a sample grow. Raises ValueError for an increment that is not positive, no labelled variant, and no share."""
    if min_labelled < 1 or not 0 <= min_population <= 1:
        raise ValueError(f"min_labelled {min_labelled}, min_population {min_population}: wanted at least 1, and a share")
    low, high = candidate_thresholds(sample.score, sample.population)[[0, -1]]
    if increment is None:
        increment = (high - low) / 1000 or 1.0  # one score only: no window needs to grow
    if not 0 < increment < math.inf:
        raise ValueError(f"increment {increment}: wanted a positive number, in score units")
    return Rule(low, high, float(increment), min_labelled, min_population)


def weight(label: np.ndarray, alpha: float, times: np.ndarray | int = 1) -> float:
    """Of one benign variant, so that the labelled set has the prior; NaN where a label is missing. times: each variant is in the set."""
    n1, n0 = (label * times).sum(), (~label * times).sum()
    return (1 - alpha) * n1 / (alpha * n0) if n1 and n0 else math.nan


def ordered(score: np.ndarray, label: np.ndarray, population: np.ndarray) -> list[np.ndarray]:
    """Sorted scores of the pathogenic, the benign and the unlabelled variants."""
    return [np.sort(score[label]), np.sort(score[~label]), np.sort(population)]


def drawn_posterior(at: np.ndarray, sample: Sample, rule: Rule, alpha: float, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    """The posterior at each score, [k], in each of `resamples`."""
    by_score = Sorted(sample)
    for labelled, unlabelled, w in resamples(sample, alpha, n_boot, seed):
        yield posterior(by_score.inside(at, by_score.cumulated(labelled, unlabelled), rule, _EDGE), w)


def windows(at: np.ndarray, ordered: list[np.ndarray], rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Half-width in increments of the smallest window around each score, and how many of each group it holds: [k], [3, k].

    The smallest that is large enough, as growing it step by step would find it, but by halving: a step holds no fewer and
    asks for no more, until a window spans the whole range and holds all, which is enough.
    """
    short, enough = np.zeros(len(at), dtype=int), np.full(len(at), int((rule.high - rule.low) / rule.increment) + 2)
    while (short < enough).any():
        steps = (short + enough) // 2
        holds = _holds_enough(at, steps, ordered, rule)
        short, enough = np.where(holds, short, steps + 1), np.where(holds, steps, enough)
    return enough, _inside(at, enough, ordered, rule)


def _holds_enough(at: np.ndarray, steps: np.ndarray, ordered: list[np.ndarray], rule: Rule) -> np.ndarray:
    reach, width = steps * rule.increment, np.maximum(2 * steps, 1) * rule.increment
    past_top = steps > np.floor((rule.high - at) / rule.increment + _EDGE)
    past_bottom = steps > np.floor((at - rule.low) / rule.increment + _EDGE)
    in_range = np.where(past_top, rule.high - at + reach, np.where(past_bottom, at - rule.low + reach, width)) / width
    pathogenic, benign, unlabelled = _inside(at, steps, ordered, rule)
    labelled_enough = pathogenic + benign >= in_range * rule.min_labelled
    return labelled_enough & (unlabelled >= rule.min_population * in_range * len(ordered[2]))


def _inside(at: np.ndarray, steps: np.ndarray, ordered: list[np.ndarray], rule: Rule) -> np.ndarray:
    """How many of each group lie within so many steps of a score, both ends included: [3, k]."""
    reach = (steps + _EDGE) * rule.increment
    return np.stack([np.searchsorted(s, at + reach, side="right") - np.searchsorted(s, at - reach) for s in ordered])


def posterior(inside: np.ndarray, weight: float) -> np.ndarray:
    """Of windows that hold [pathogenic, benign, ...]: [k]."""
    return inside[0] / (inside[0] + weight * inside[1])


def _odds(inside: np.ndarray) -> np.ndarray:
    """Pathogenic over benign variants of each window: infinite without the latter, NaN without either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return inside[0] / inside[1]
