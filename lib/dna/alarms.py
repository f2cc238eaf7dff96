"""Alarms that stop a claim about people: leaks, confounders, ceilings.

An alarm speaks against us, so that where its bound is a number, the estimate beyond it sets it off. To wait until the interval lies
beyond would let a leak pass where people are few; to ask that it lies within would sound the alarm wherever they are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.outcome.metrics import BINARY, Metric
from lib.outcome.validate import difference, estimate
from lib.stats.estimates import Estimate

EXEMPT = "exempt: above 0.5, as components of a few loci carry causal alleles, but dosage and the layer are above it"
NO_CEILING = "no limit is given, and nothing in this cohort has a true genetic effect"
NO_LIMIT = "the limit is an AUROC of 1, which nothing passes"
NO_COLUMN = "nothing is known of it in this cohort, so that it cannot go off"


def alarms(
    y: np.ndarray,
    nested: np.ndarray,
    dosage: np.ndarray,
    shuffles: np.ndarray,
    confounders: dict[str, np.ndarray],
    germline_limit: float | np.ndarray | None,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> pd.DataFrame:
    """What would betray a leak or a confounder, a row each: alarm, value, low, high, n, limit, fired, note.

    label shuffle             the mean AUROC of the shuffles leaves 0.45 to 0.55; low, high: their 95 % quantiles
    principal components      AUROC interval above 0.5, unless all genotypes (dosage), which hold ancestry and everything
                              else, and the layer (nested) are both significantly above it; the note then says so
    any other confounder      AUROC interval above 0.5
    probe minus dosage        AUROC difference above 0.05 with an interval above 0
    germline ceiling          AUROC above the limit, a number; or, where the true genetic score [person] is given,
                              significantly above its AUROC (paired); None, or 1, which nothing passes: cannot
                              fire, and the note says why

    Of another metric its own chance for 0.5, and 0.05 about it: of R2 the shuffles' mean may lie below 0, as that of any that fit noise.
    Scores are [repeat, person] or [person]; a confounder of no column is None and cannot fire. shuffles: [n_shuffles];
    groups: [person], resampled whole.
    """
    resampling, chance = (n_boot, seed, groups, metric), metric.chance
    low, high = (-np.inf if metric.target == "continuous" else round(chance - 0.05, 2)), round(chance + 0.05, 2)
    rows = [("label shuffle", Estimate(float(shuffles.mean()), *np.quantile(shuffles, [0.025, 0.975]), len(shuffles)),
             f"{low}-{high}" if np.isfinite(low) else high, not low <= shuffles.mean() <= high, "")]  # fmt: skip
    for name, score in confounders.items():
        e = Estimate(*[chance] * 3, len(y)) if score is None else estimate(y, score, *resampling)
        fired, limit, note = e.low > chance, chance, ""
        if score is None:
            limit, note = None, NO_COLUMN
        elif name == "principal components":
            limit = f"{chance:g}, or dosage above it"
            if fired and all(difference(y, s, score, *resampling).low > 0 for s in (dosage, nested)):
                fired, note = False, EXEMPT
        rows.append((name, e, limit, fired, note))
    gap = difference(y, nested, dosage, *resampling)
    rows.append(("probe minus dosage", gap, 0.05, gap.value > 0.05 and gap.low > 0, ""))
    rows.append(("germline ceiling", *_ceiling(y, nested, germline_limit, resampling)))
    return pd.DataFrame([
        {"alarm": name, **e._asdict(), "limit": limit, "fired": bool(fired), "note": note}
        for name, e, limit, fired, note in rows
    ])  # fmt: skip


def _ceiling(y: np.ndarray, nested: np.ndarray, limit: float | np.ndarray | None, resampling: tuple) -> tuple:
    """The AUROC reached, the limit, whether it is passed, and why it cannot be."""
    reached = estimate(y, nested, *resampling)
    if limit is None:
        return reached, None, False, NO_CEILING
    if np.ndim(limit):
        return reached, float(resampling[-1].value(y, limit)), difference(y, nested, limit, *resampling).low > 0, ""
    return (reached, None, False, NO_LIMIT) if limit >= 1 else (reached, limit, reached.value > limit, "")


#: When each alarm goes off, in words; of any other confounder, as of population.
ALARM_RULES = {
    "label shuffle": "the mean AUROC of the shuffles lies within 0.45 to 0.55",
    "principal components": "the AUROC interval reaches 0.5, or dosage and the layer are both significantly above them",
    "probe minus dosage": "the AUROC difference is at most 0.05, or its interval reaches 0",
    "germline ceiling": "the AUROC is at most the limit, or not significantly above the true genetic score",
}


def alarm_rule(alarm: str) -> str:
    """In words, when an alarm stays silent."""
    return ALARM_RULES.get(alarm, "the AUROC interval reaches 0.5")
