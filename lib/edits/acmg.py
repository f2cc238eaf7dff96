"""PP3 and BP4: which scores are computational evidence for or against pathogenicity, and how strong.

A local posterior is read off variants with known labels in a window around each candidate threshold; a threshold is the
last score, from the extreme inwards, before that posterior first falls below what a strength asks for.
Source: Pejaver et al. 2022 (Am J Hum Genet 109:2163) and its MIT code vpejaver/clingen-svi-comp_calibration; levels from
Tavtigian et al. 2018, points from Tavtigian et al. 2020. The framework is made for Mendelian variants: research use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

#: Points of each strength. "+3" has no word in the guidelines; the others do.
STRENGTHS = {"Supporting": 1, "Moderate": 2, "+3": 3, "Strong": 4, "Very strong": 8}
CODES = {"pathogenic": "PP3", "benign": "BP4"}
#: Odds of very strong evidence as published for these priors: Pejaver 2022, Tavtigian 2018.
_PUBLISHED = {0.0441: 1124.0, 0.10: 350.0}
_ONE_SIDED = 0.05  # share of bootstrap runs that may say otherwise
_EDGE = 1e-9  # of an increment: k * increment is not exact, and a score on a window's edge belongs to it


@dataclass(frozen=True)
class Calibration:
    """Thresholds of a score (high = pathogenic), one row of `table` a direction and strength.

    table: direction, code, strength, points, likelihood_ratio, level (posterior of that direction wanted), threshold (point
    estimate), threshold_conservative (one-sided 5 % of the bootstrap), n_window and half_width (labelled variants in the
    point threshold's window), invalid (share of bootstrap runs that never reach the level), status: "met", "not met", or
    "not calibrated". PP3 holds at or above a threshold, BP4 at or below. NaN: no such threshold.
    """

    status: str  # "calibrated", or "not calibrated: " and why
    table: pd.DataFrame
    alpha: float  # prior probability of pathogenicity
    increment: float  # of a window's half-width, score units
    n_pathogenic: int
    n_benign: int
    n_population: int
    n_boot: int


@dataclass(frozen=True)
class Classification:
    """Sum of evidence points, its odds and posterior of pathogenicity, and the category that the points fall in."""

    points: int
    odds: float
    posterior: float
    category: str


def odds_constant(alpha: float) -> float:
    """Odds of pathogenicity c of very strong evidence at a prior alpha; k points of evidence have odds c^(k/8).

    Published values at the priors .0441 (1124) and .10 (350). At others c = (9 (1 - alpha) / alpha)^(4/3), which puts six
    points, the least that make "likely pathogenic", at a posterior of .90; it gives 1131 and 350.5 at the two (the 1124
    lets .8995 count as .90). Raises ValueError for a prior of .9 and more, which needs no evidence.
    """
    if not 0 < alpha < 0.9:
        raise ValueError(f"prior {alpha}: wanted a probability above 0 and below 0.9")
    return _PUBLISHED.get(alpha, (9 * (1 - alpha) / alpha) ** (4 / 3))


def levels(alpha: float = 0.0441) -> pd.DataFrame:
    """What each strength asks for at a prior, weakest first: strength, points, likelihood_ratio, pathogenic, benign.

    likelihood_ratio: c^(points/8), the window's share of pathogenic over its share of benign variants; pathogenic, benign:
    posteriors LR a / ((LR - 1) a + 1), a the prior of that class.
    """
    points = np.array(list(STRENGTHS.values()))
    ratio = odds_constant(alpha) ** (points / 8)
    posterior = [ratio * a / ((ratio - 1) * a + 1) for a in (alpha, 1 - alpha)]
    return pd.DataFrame({
        "strength": list(STRENGTHS), "points": points, "likelihood_ratio": ratio, "pathogenic": posterior[0],
        "benign": posterior[1],
    })  # fmt: skip


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
    score, label, population = _checked(score, pathogenic, population, min_labelled, min_population)
    if why := _too_few(label, min_labelled, 0):
        raise ValueError(why)
    thresholds = candidate_thresholds(score, population)
    at = thresholds if at is None else _finite("at", at)
    low, high = thresholds[[0, -1]]
    if len(at) and not (low <= at.min() and at.max() <= high):
        raise ValueError(f"scores from {at.min()} to {at.max()}: the thresholds go from {low} to {high}")
    rule = _Rule(low, high, _increment(increment, thresholds), min_labelled, min_population)
    steps, inside = _windows(at, _ordered(score, label, population), rule)
    return pd.DataFrame({
        "score": at, "posterior": _posterior(inside, _weight(label, alpha)), "half_width": steps * rule.increment,
        "n_pathogenic": inside[0], "n_benign": inside[1], "n_population": inside[2],
    })  # fmt: skip


def calibrate(
    score: np.ndarray, pathogenic: np.ndarray, population: np.ndarray, alpha: float = 0.0441, increment: float | None = None,
    min_labelled: int = 100, min_population: float = 0.03, min_expected: float = 15, n_boot: int = 10_000, seed: int = 0,
) -> Calibration:  # fmt: skip
    """Thresholds of PP3 and BP4 for one score in one class of regions, with `local_posterior`'s windows.

    A threshold is the last candidate, walking from the direction's extreme, before the posterior first falls below the
    level; there is none where it is below at once, or never falls. Labelled and population scores are then drawn again
    n_boot times, thresholds and w kept. A strength is "not met" where more than 5 % of runs have no threshold; else its
    conservative threshold is the run's at place floor(.05 n_boot) - (runs without) + 1 from the extreme.

    Arguments as in `local_posterior`. "Not calibrated": fewer than min_labelled labelled variants, or fewer than
    min_expected of the rarer label expected in a window of min_labelled. The paper has no such second rule, but where a
    window is likely to lack a label altogether its posterior is 0 or 1: random scores of 10 variants of one label and 990
    of the other earned "Very strong" in half of the runs here. More min_labelled, or fewer of the commoner label, helps.
    Raises ValueError for NaN, labels other than 0 and 1, no population, an increment or n_boot that is not positive.
    """
    score, label, population = _checked(score, pathogenic, population, min_labelled, min_population)
    if n_boot < 1:
        raise ValueError(f"n_boot {n_boot}: wanted at least 1")
    wanted, thresholds = levels(alpha), candidate_thresholds(score, population)
    rule = _Rule(*thresholds[[0, -1]], _increment(increment, thresholds), min_labelled, min_population)
    rest = alpha, rule.increment, int(label.sum()), int((~label).sum()), len(population), n_boot
    if why := _too_few(label, min_labelled, min_expected):
        return Calibration(f"not calibrated: {why}", _table(wanted), *rest)
    weight, rng = _weight(label, alpha), np.random.default_rng(seed)
    steps, inside = _windows(thresholds, _ordered(score, label, population), rule)
    point = _last_before_falling(_posterior(inside, weight), wanted)
    draws = np.empty((n_boot, *point.shape))
    for run in range(n_boot):
        a, b = rng.integers(0, len(score), len(score)), rng.integers(0, len(population), len(population))
        _, drawn = _windows(thresholds, _ordered(score[a], label[a], population[b]), rule)
        draws[run] = _at(thresholds, _last_before_falling(_posterior(drawn, weight), wanted))
    bound = np.stack([_conservative(draws[:, 0], from_top=True), _conservative(draws[:, 1], from_top=False)])
    return Calibration("calibrated", _table(
        wanted, threshold=_at(thresholds, point), threshold_conservative=bound,
        n_window=np.where(point < 0, 0, inside[:2].sum(0)[point]), half_width=_at(steps * rule.increment, point),
        invalid=np.isnan(draws).mean(0), status=np.where(np.isnan(bound), "not met", "met"),
    ), *rest)  # fmt: skip


def assign(calibration: Calibration, score: np.ndarray) -> np.ndarray:
    """Evidence points of scores by the conservative thresholds: above 0 for PP3, below 0 for BP4, else 0. [n] int.

    A score that both directions claim gets 0. score: [n], the calibrated score.
    """
    score = _finite("score", score)
    out = {direction: np.zeros(len(score), dtype=int) for direction in CODES}
    for row in calibration.table[calibration.table["status"] == "met"].itertuples():
        beyond = score >= row.threshold_conservative if row.code == "PP3" else score <= row.threshold_conservative
        out[row.direction] = np.where(beyond, np.maximum(out[row.direction], row.points), out[row.direction])
    both = (out["pathogenic"] > 0) & (out["benign"] > 0)
    return np.where(both, 0, out["pathogenic"] - out["benign"])


def points(pathogenic: Sequence[str] = (), benign: Sequence[str] = (), alpha: float = 0.10) -> Classification:
    """Combine strengths of independent evidence: each adds its points, benign evidence subtracts them.

    pathogenic, benign: keys of STRENGTHS. Pathogenic from 10 points, likely pathogenic 6 to 9, uncertain 0 to 5, likely
    benign -6 to -1, benign from -7 down. odds = c^(points/8). BA1 stands alone and has no points. Source: Tavtigian 2020.
    """
    for name, given in (("pathogenic", pathogenic), ("benign", benign)):
        if isinstance(given, str) or (unknown := set(given) - set(STRENGTHS)):
            wrong = given if isinstance(given, str) else sorted(unknown)
            raise ValueError(f"{name} {wrong}: wanted a list of {', '.join(STRENGTHS)}")
    total = sum(STRENGTHS[s] for s in pathogenic) - sum(STRENGTHS[s] for s in benign)
    bounds = [(10, "pathogenic"), (6, "likely pathogenic"), (0, "uncertain significance"), (-6, "likely benign")]
    category = next((name for least, name in bounds if total >= least), "benign")
    odds = odds_constant(alpha) ** (total / 8)
    return Classification(total, odds, odds * alpha / ((odds - 1) * alpha + 1), category)


def candidate_thresholds(score: np.ndarray, population: np.ndarray) -> np.ndarray:
    """All distinct scores, and the whole numbers below the least and above the largest, ascending."""
    both = np.concatenate([score, population])
    return np.unique([*both, np.floor(both.min()), np.ceil(both.max())])


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        actual = f"shape {values.shape}, {(~np.isfinite(values)).sum()} not finite"
        raise ValueError(f"{name}: {actual}; wanted one row of finite numbers")
    return values


def _checked(
    score, pathogenic, population, min_labelled: int, min_population: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score, label, population = _finite("score", score), np.asarray(pathogenic), _finite("population", population)
    if label.shape != score.shape:
        raise ValueError(f"pathogenic has shape {label.shape}, expected {score.shape}")
    if not np.isin(label, [0, 1]).all():
        raise ValueError(f"pathogenic holds {np.unique(label[~np.isin(label, [0, 1])])[:5].tolist()}, wanted 0 or 1")
    if not len(population):
        raise ValueError("population is empty, wanted scores of unlabelled variants")
    if min_labelled < 1 or not 0 <= min_population <= 1:
        raise ValueError(f"min_labelled {min_labelled}, min_population {min_population}: wanted at least 1, and a share")
    return score, label.astype(bool), population


def _too_few(label: np.ndarray, min_labelled: int, min_expected: float) -> str:
    n1, n0 = int(label.sum()), int((~label).sum())
    actual = f"{n1} pathogenic and {n0} benign variants"
    if n1 + n0 < min_labelled or not min(n1, n0):
        return f"{actual}, wanted {min_labelled} together and some of each"
    if (expected := min_labelled * min(n1, n0) / (n1 + n0)) < min_expected:
        return f"{actual}, so that a window of {min_labelled} expects {expected:.1f} of the rarer, wanted {min_expected:g}"
    return ""


def _increment(increment: float | None, thresholds: np.ndarray) -> float:
    if increment is None:
        increment = (thresholds[-1] - thresholds[0]) / 1000 or 1.0  # one score only: no window needs to grow
    if not 0 < increment < math.inf:
        raise ValueError(f"increment {increment}: wanted a positive number, in score units")
    return float(increment)


def _weight(label: np.ndarray, alpha: float) -> float:
    """Of one benign variant, so that the labelled set has the prior."""
    return (1 - alpha) * label.sum() / (alpha * (~label).sum())


class _Rule(NamedTuple):
    """How windows grow: low, high (range of thresholds) and increment in score units."""

    low: float
    high: float
    increment: float
    min_labelled: int
    min_population: float


def _ordered(score: np.ndarray, label: np.ndarray, population: np.ndarray) -> list[np.ndarray]:
    """Sorted scores of the pathogenic, the benign and the unlabelled variants."""
    return [np.sort(score[label]), np.sort(score[~label]), np.sort(population)]


def _windows(at: np.ndarray, ordered: list[np.ndarray], rule: _Rule) -> tuple[np.ndarray, np.ndarray]:
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


def _holds_enough(at: np.ndarray, steps: np.ndarray, ordered: list[np.ndarray], rule: _Rule) -> np.ndarray:
    reach, width = steps * rule.increment, np.maximum(2 * steps, 1) * rule.increment
    past_top = steps > np.floor((rule.high - at) / rule.increment + _EDGE)
    past_bottom = steps > np.floor((at - rule.low) / rule.increment + _EDGE)
    in_range = np.where(past_top, rule.high - at + reach, np.where(past_bottom, at - rule.low + reach, width)) / width
    pathogenic, benign, unlabelled = _inside(at, steps, ordered, rule)
    labelled_enough = pathogenic + benign >= in_range * rule.min_labelled
    return labelled_enough & (unlabelled >= rule.min_population * in_range * len(ordered[2]))


def _inside(at: np.ndarray, steps: np.ndarray, ordered: list[np.ndarray], rule: _Rule) -> np.ndarray:
    """How many of each group lie within so many steps of a score, both ends included: [3, k]."""
    reach = (steps + _EDGE) * rule.increment
    return np.stack([np.searchsorted(s, at + reach, side="right") - np.searchsorted(s, at - reach) for s in ordered])


def _posterior(inside: np.ndarray, weight: float) -> np.ndarray:
    return inside[0] / (inside[0] + weight * inside[1])


def _last_before_falling(posterior: np.ndarray, wanted: pd.DataFrame) -> np.ndarray:
    """Place of the last candidate before its posterior first falls below each level, else -1: [direction, strength].

    posterior: [candidate], ascending scores; pathogenic levels are walked from the top, benign from the bottom.
    """
    from_top = (posterior[::-1, None] < wanted["pathogenic"].to_numpy()).argmax(0)  # 0 also where it never falls
    from_bottom = (1 - posterior[:, None] < wanted["benign"].to_numpy()).argmax(0)
    return np.stack([np.where(from_top > 0, len(posterior) - from_top, -1), from_bottom - 1])


def _at(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """values[place], NaN at place -1."""
    return np.where(place < 0, np.nan, values[place])


def _conservative(draws: np.ndarray, from_top: bool) -> np.ndarray:
    """One-sided bound of each threshold, NaN where more runs than the allowed share have none: [strength].

    draws: [run, strength]. Runs without a threshold lie beyond the extreme, so the place of the bound is that of all runs.
    """
    sign = -1 if from_top else 1
    ordered = np.sort(np.where(np.isnan(draws), -np.inf, sign * draws), axis=0)
    bound = ordered[math.floor(_ONE_SIDED * len(draws) + 1e-9)]
    return np.where(np.isinf(bound), np.nan, sign * bound)


def _table(wanted: pd.DataFrame, **columns: np.ndarray) -> pd.DataFrame:
    """The rows of `Calibration.table`. columns: each [direction, strength]; none where not calibrated."""
    columns = {"threshold": np.nan, "threshold_conservative": np.nan, "n_window": 0, "half_width": np.nan, "invalid": np.nan,
               "status": "not calibrated"} | columns  # fmt: skip
    rows = pd.concat([
        wanted[["strength", "points", "likelihood_ratio"]].assign(direction=direction, code=code, level=wanted[direction])
        for direction, code in CODES.items()
    ], ignore_index=True)  # fmt: skip
    ordered = rows[["direction", "code", "strength", "points", "likelihood_ratio", "level"]]
    return ordered.assign(**{name: np.broadcast_to(value, (2, len(wanted))).ravel() for name, value in columns.items()})
