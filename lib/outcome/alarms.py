"""Alarms that stop a claim: leaks, confounders, ceilings; and whether a probe transports."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.outcome import calibration, probe
from lib.outcome.validate import difference, estimate
from lib.stats import estimates
from lib.stats.estimates import Estimate

EXEMPT = "exempt: above 0.5, as components of a few loci carry causal alleles, but dosage and the layer are above it"
NO_CEILING = "no limit is given, and nothing in this cohort has a true genetic effect"


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
) -> pd.DataFrame:
    """What would betray a leak or a confounder, a row each: alarm, value, low, high, n, limit, fired, note.

    label shuffle             the mean AUROC of the shuffles leaves 0.45 to 0.55; low, high: their 95 % quantiles
    principal components      AUROC interval above 0.5, unless all genotypes (dosage), which hold ancestry and everything
                              else, and the layer (nested) are both significantly above it; the note then says so
    any other confounder      AUROC interval above 0.5
    probe minus dosage        AUROC difference above 0.05 with an interval above 0
    germline ceiling          AUROC above the limit, a number; or, where the true genetic score [person] is given,
                              significantly above its AUROC (paired); None: cannot fire, and the note says why

    Scores are [repeat, person] or [person]; a confounder of no column is None and cannot fire. shuffles: [n_shuffles];
    groups: [person], resampled whole.
    """
    resampling = (n_boot, seed, groups)
    rows = [("label shuffle", Estimate(float(shuffles.mean()), *np.quantile(shuffles, [0.025, 0.975]), len(shuffles)),
             "0.45-0.55", not 0.45 <= shuffles.mean() <= 0.55, "")]  # fmt: skip
    for name, score in confounders.items():
        e = Estimate(0.5, 0.5, 0.5, len(y)) if score is None else estimate(y, score, *resampling)
        fired, limit, note = e.low > 0.5, 0.5, ""
        if name == "principal components":
            limit = "0.5, or dosage above it"
            if fired and all(difference(y, s, score, *resampling).low > 0 for s in (dosage, nested)):
                fired, note = False, EXEMPT
        rows.append((name, e, limit, fired, note))
    gap = difference(y, nested, dosage, *resampling)
    rows.append(("probe minus dosage", gap, 0.05, gap.value > 0.05 and gap.low > 0, ""))
    reached = estimate(y, nested, *resampling)
    if germline_limit is None:
        limit, fired = None, False
    elif np.ndim(germline_limit):
        limit = float(estimates.auroc(y, germline_limit))
        fired = difference(y, nested, germline_limit, *resampling).low > 0
    else:
        limit, fired = germline_limit, reached.value > germline_limit
    rows.append(("germline ceiling", reached, limit, fired, NO_CEILING if limit is None else ""))
    return pd.DataFrame([
        {"alarm": name, **e._asdict(), "limit": limit, "fired": bool(fired), "note": note}
        for name, e, limit, fired, note in rows
    ])  # fmt: skip


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


def left_out_groups(
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    nested: np.ndarray,
    grid: list[float],
    n_boot: int,
    seed: int,
    families: np.ndarray | None = None,
) -> pd.DataFrame:
    """Does the probe hold within a group, and in one that it never saw? A row a group whose cases, and controls,
    are in two families or more; none when fewer than two groups are such, or when without one of them fewer than three
    families of cases or of controls are left to fit on.

    group, n; within: AUROC among its people of the nested scores [repeat, person]; left_out: AUROC of a probe fitted
    on the other groups' people; each with _low and _high. X: [person, feature]; groups, families: [person];
    families are resampled whole.
    """
    names, number = np.unique(groups, return_inverse=True)
    columns = ["group", "n", *(k + end for k in ("within", "left_out") for end in ("", "_low", "_high"))]
    family = np.arange(len(y)) if families is None else families
    mixed = [
        i
        for i in range(len(names))
        if all(len(np.unique(family[(number == i) & (y == c)])) > 1 for c in (0, 1))
    ]
    kept = np.isin(number, mixed)
    left = [
        len(np.unique(family[kept & (number != i) & (y == c)])) for i in mixed for c in (0, 1)
    ]  # whom a probe is fitted on when a group is left out
    if len(mixed) < 2 or min(left) < 3:
        return pd.DataFrame(columns=columns)
    unseen = np.zeros(len(y))
    unseen[kept] = probe.cross_validate(X[kept], y[kept], number[kept], grid, seed, family[kept]).score
    rows = []
    for i in mixed:
        mine, name = number == i, names[i]
        row = {"group": name, "n": int(mine.sum())}
        for kind, score in (("within", nested[:, mine]), ("left_out", unseen[mine])):
            e = estimate(y[mine], score, n_boot, seed, family[mine])
            row |= {kind: e.value, f"{kind}_low": e.low, f"{kind}_high": e.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def transport(
    inside: Estimate,
    y: np.ndarray,
    log_odds: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> tuple[Estimate, float, bool]:
    """A frozen probe in another cohort: its AUROC there, its calibration slope, and whether it transports.

    It does when the AUROC's interval overlaps the one at home and both lie above 0.5. The slope is NaN where the
    score is constant or separates the classes. With fewer than 2 people of a class there, nothing can be said of it:
    stats.NOTHING, NaN, False.
    inside: the nested AUROC at home. y, log_odds: [person] of the other cohort; groups: [person], resampled whole.
    """
    if min(np.sum(y == 1), np.sum(y == 0)) < 2:
        return estimates.NOTHING, np.nan, False
    there = estimate(y, log_odds, n_boot, seed, groups)
    overlap = there.low <= inside.high and inside.low <= there.high
    try:
        slope = calibration.platt(log_odds, y)[0]
    except ValueError:
        slope = np.nan
    return there, slope, bool(overlap and min(there.low, inside.low) > 0.5)
