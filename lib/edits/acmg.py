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

import numpy as np
import pandas as pd

from lib.edits import posterior as local

#: Points of each strength. "+3" has no word in the guidelines; the others do.
STRENGTHS = {"Supporting": 1, "Moderate": 2, "+3": 3, "Strong": 4, "Very strong": 8}
CODES = {"pathogenic": "PP3", "benign": "BP4"}
#: Odds of very strong evidence as published for these priors: Pejaver 2022, Tavtigian 2018.
_PUBLISHED = {0.0441: 1124.0, 0.10: 350.0}


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


def calibrate(
    score: np.ndarray, pathogenic: np.ndarray, population: np.ndarray, alpha: float = 0.0441, increment: float | None = None,
    min_labelled: int = 100, min_population: float = 0.03, min_expected: float = 15, n_boot: int = 10_000, seed: int = 0,
    groups: np.ndarray | None = None,
) -> Calibration:  # fmt: skip
    """Thresholds of PP3 and BP4 for one score in one class of regions, with `local_posterior`'s windows.

    A threshold is the last candidate, walking from the direction's extreme, before the posterior first falls below the
    level; there is none where it is below at once, or never falls. Labelled and population scores are then drawn again
    n_boot times, thresholds and w kept. A strength is "not met" where more than 5 % of runs have no threshold; else its
    conservative threshold is the run's at place floor(.05 n_boot) - (runs without) + 1 from the extreme.

    Arguments as in `local_posterior`. groups: [variant], the gene of each: whole genes are drawn, each draw with its own w, and a draw
    that lacks a label has no threshold (`posterior.resamples`). "Not calibrated": fewer than min_labelled labelled variants, or fewer
    than min_expected of the rarer label expected in a window of min_labelled. The paper has no such second rule, but where a
    window is likely to lack a label altogether its posterior is 0 or 1: random scores of 10 variants of one label and 990
    of the other earned "Very strong" in half of the runs here. More min_labelled, or fewer of the commoner label, helps.
    Raises ValueError for NaN, labels other than 0 and 1, no population, an increment or n_boot that is not positive.
    """
    sample = local.checked(score, pathogenic, population, groups)
    if n_boot < 1:
        raise ValueError(f"n_boot {n_boot}: wanted at least 1")
    rule, wanted = local.rule_of(sample, increment, min_labelled, min_population), levels(alpha)
    thresholds, label = local.candidate_thresholds(sample.score, sample.population), sample.label
    rest = alpha, rule.increment, int(label.sum()), int((~label).sum()), len(sample.population), n_boot
    if why := local.too_few(label, min_labelled, min_expected):
        return Calibration(f"not calibrated: {why}", _table(wanted), *rest)
    steps, inside = local.windows(thresholds, local.ordered(*sample[:3]), rule)
    point = _last_before_falling(local.posterior(inside, local.weight(label, alpha)), wanted)
    draws = np.empty((n_boot, *point.shape))
    for run, curve in enumerate(local.drawn_posterior(thresholds, sample, rule, alpha, n_boot, seed)):
        draws[run] = _at(thresholds, _last_before_falling(curve, wanted))
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
    score = local.finite("score", score)
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
    bound = ordered[math.floor(local.ONE_SIDED * len(draws) + 1e-9)]
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
