"""Does a probe hold in a group that it never saw, and in other subjects?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.outcome import calibration, probe
from lib.outcome.metrics import BINARY, Metric
from lib.outcome.validate import estimate
from lib.stats import estimates
from lib.stats.estimates import Estimate

MOST_LOST = 0.05  # of the AUROC, or R2, at home, by which one elsewhere may be lower and the probe still transports
LEAST = {"binary": 2, "continuous": 10}  # families of each class, or of a continuous target, of which a metric can be resampled


@dataclass(frozen=True)
class Transport:
    """A frozen probe in another cohort. external: its AUROC, or other metric; fall: that at home less it, of people who share nobody;
    slope: its calibration slope, NaN where the score is constant or separates the classes; holds: whether it transports."""

    external: Estimate
    fall: Estimate
    slope: float
    holds: bool

    def row(self) -> dict[str, float]:
        """The numbers of `external.csv`: value, low, high and n of the metric, slope, and the fall with its interval."""
        fall = {"fall": self.fall.value, "fall_low": self.fall.low, "fall_high": self.fall.high}
        return {**self.external._asdict(), "slope": self.slope, **fall}


def left_out_groups(
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    nested: np.ndarray,
    grid: list[float],
    n_boot: int,
    seed: int,
    families: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> pd.DataFrame:
    """Does the probe hold within a group, and in one that it never saw? A row a group whose cases, and controls,
    are in two families or more; none when fewer than two groups are such, or when without one of them fewer than three
    families of cases or of controls are left to fit on. Of a continuous y a group has ten families or more, and y varies in it.

    group, n; within: AUROC, or other metric, among its people of the nested scores [repeat, person]; left_out: that of a probe fitted
    on the other groups' people; each with _low and _high. X: [person, feature]; groups, families: [person];
    families are resampled whole.
    """
    names, number = np.unique(groups, return_inverse=True)
    columns = ["group", "n", *(k + end for k in ("within", "left_out") for end in ("", "_low", "_high"))]
    family = np.arange(len(y)) if families is None else families
    enough = [_enough(y[number == i], family[number == i], metric) for i in range(len(names))]
    mixed = np.flatnonzero(enough).tolist()
    kept = np.isin(number, mixed)
    classes = [np.ones(len(y), bool)] if metric.target == "continuous" else [y == c for c in (0, 1)]
    left = [len(np.unique(family[kept & (number != i) & c])) for i in mixed for c in classes]  # whom a probe is fitted on without a group
    if len(mixed) < 2 or min(left) < 3:
        return pd.DataFrame(columns=columns)
    unseen = np.zeros(len(y))
    unseen[kept] = probe.cross_validate(X[kept], y[kept], number[kept], grid, seed, family[kept], metric).score
    rows = []
    for i in mixed:
        in_group, name = number == i, names[i]
        row = {"group": name, "n": int(in_group.sum())}
        for kind, score in (("within", nested[:, in_group]), ("left_out", unseen[in_group])):
            e = estimate(y[in_group], score, n_boot, seed, family[in_group], metric)
            row |= {kind: e.value, f"{kind}_low": e.low, f"{kind}_high": e.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def _enough(y: np.ndarray, family: np.ndarray, metric: Metric) -> bool:
    """Whether people are in as many families of each class as `LEAST` asks; of a continuous y, in as many, and y varies."""
    if metric.target == "continuous":
        return bool(len(np.unique(family)) >= LEAST["continuous"] and np.ptp(y) > 0)
    return all(len(np.unique(family[y == c])) >= LEAST["binary"] for c in (0, 1))


def transport(
    inside: Estimate,
    y: np.ndarray,
    log_odds: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> Transport:
    """A frozen probe in another cohort, and whether it transports.

    It does when both AUROCs' intervals lie above 0.5 (R2 above 0), and that of the fall, home less elsewhere, lies below MOST_LOST. That
    two intervals overlap would be no rule: the fewer people, the wider they are, and the surer they overlap. Here few people have to be
    better than at home, or nothing is shown. With fewer than 2 people of a class elsewhere, or 10 of a continuous y, or one that does not
    vary, nothing can be said of it: NOTHING, NaN, False.
    inside: the nested metric at home. y, log_odds: [person] of the other cohort, of a continuous y its predictions; groups: [person],
    resampled whole.
    """
    if not _enough(y, np.arange(len(y)), metric):
        return Transport(estimates.NOTHING, estimates.NOTHING, np.nan, False)
    external = estimate(y, log_odds, n_boot, seed, groups, metric)
    fall = estimates.fall(inside, external)
    try:
        slope = calibration.line(y, log_odds)["slope"] if metric.target == "continuous" else calibration.platt(log_odds, y)[0]
    except ValueError:
        slope = np.nan
    return Transport(external, fall, slope, min(external.low, inside.low) > metric.chance and fall.high < MOST_LOST)
