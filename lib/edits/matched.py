"""Matched controls of case variants, and whether the effects of the cases exceed those of their controls.

Each case draws its controls from a pool without replacement, from its own bin of the columns that are matched; where that bin is
empty, from the nearest ones, which is counted and whose cost `Matched.balance` shows. A case and its controls are a set: under the
null the case could be any member of it, so its rank among them is all that the test asks, whatever the effects' distribution.
Cases of one cluster (a locus in linkage disequilibrium) are no independent sets: see `exceeds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lib.stats import estimates

COLUMNS = ["name", "value", "low", "high", "p", "p_flips", "n", "n_clusters"]


@dataclass(frozen=True)
class Matched:
    """case: [set] rows of the cases; control: [set, k] rows of the pool, each at most once; steps: [set, k] by how many bins a control
    is off, 0 within the case's own; left_out: rows of the cases that no k controls are left for within reach; near: how many of the pool
    were too near a case; balance: one row a matched column: column, cases, controls and pool (means), difference and difference_pool
    (cases less controls, and less pool, in standard deviations of cases and pool, sqrt of the mean variance)."""

    case: np.ndarray
    control: np.ndarray
    steps: np.ndarray
    left_out: np.ndarray
    near: int
    balance: pd.DataFrame

    def summary(self) -> dict[str, int]:
        """Counts: cases, matched, left_out, controls, controls_of_other_bins, pool_near_a_case."""
        n = len(self.case) + len(self.left_out)
        return {"cases": n, "matched": len(self.case), "left_out": len(self.left_out), "controls": self.control.size,
                "controls_of_other_bins": int((self.steps > 0).sum()), "pool_near_a_case": self.near}  # fmt: skip


def matched(
    cases: pd.DataFrame, pool: pd.DataFrame, columns: Sequence[str], k: int, n_bins: int = 5, apart: int = 0, reach: int = 2,
    seed: int = 0,
) -> Matched:  # fmt: skip
    """k controls for each case, from its own bin of `columns` or from the nearest.

    cases, pool: contig, pos and the columns matched, numbers. Bins: quantiles of the cases, n_bins a column, ties together; those at
    the ends are open. A variant of the pool within `apart` positions of any case is no control (0: at its very place). All cases draw
    from their own bins, one control a round in an order drawn anew, before any draws from bins one step off (a step: one bin of one
    column), and so on up to `reach` steps. Where not all can have k, cases are left out by lot until the rest can.
    Raises ValueError for an absent column, a value that is not finite, no case, and k, n_bins below 1 or apart, reach below 0.
    Source: difference in standard deviations, Austin 2009 (Stat Med 28:3083), who takes .1 for balance.
    """
    for name, value, least in (("k", k, 1), ("n_bins", n_bins, 1), ("apart", apart, 0), ("reach", reach, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}, wanted {least} or more")
    values, others = _values(cases, columns, "cases"), _values(pool, columns, "pool")
    if not len(values):
        raise ValueError("cases has no row, wanted one or more")
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1])) for column in values.T]
    of_case, of_pool = (np.stack([np.searchsorted(e, column, side="right") for e, column in zip(edges, table.T)], 1)
                        for table in (values, others))  # fmt: skip
    far = np.flatnonzero(~_near(cases, pool, apart))
    rng = np.random.default_rng(seed)
    drawn = _draw(of_case, of_pool, far, k, reach, rng)
    full = np.array([len(one) == k for one in drawn])
    control, steps = (np.array([[each[at] for each in one] for one in drawn if one], int).reshape(-1, k) for at in (1, 2))
    balance = _balance(columns, values[full], others[control.ravel()], others)
    return Matched(np.flatnonzero(full), control, steps, np.flatnonzero(~full), len(pool) - len(far), balance)


def exceeds(
    case: np.ndarray, control: np.ndarray, cluster: np.ndarray, n_draws: int = 10_000, n_boot: int = 1000, seed: int = 0
) -> pd.DataFrame:  # fmt: skip
    """Do the cases' effects exceed those of their own controls? Two rows, "percentile" and "difference"; columns COLUMNS.

    case: [set]; control: [set, k]; cluster: [set], of the case. percentile: mean over sets of the share of a set's controls below its
    case, ties half (1/2: no more than they); difference: mean of case less the mean of its controls, in units of the effect. low, high:
    95 %, bootstrap over whole clusters, NaN with one. n: sets.

    p: one-sided, (1 + draws at least as large) / (1 + n_draws). A draw lets another member of each set, the case among them, stand for
    the case: the member of a rank that one uniform number chooses for all sets of a cluster. Each member of a set is as likely as
    any other, so with one set a cluster this is the exact permutation test, ties included; sets of one cluster rise and fall together
    as far as they can, so p holds however much cases of one cluster have in common, at most as if they were one case. Where they have
    little in common it is too large: p_flips, of the percentile alone, lets each cluster's sum of percentile - 1/2 change its sign as
    a whole. That takes such sums as symmetric under the null, which they are not where many effects tie at their largest. p decides.
    Controls are taken as independent of each other: reduce a locus to one case first where its controls are not.
    Raises ValueError for unlike lengths, no set, no control, and effects that are not finite.
    Source: comonotone sums are the most spread of given margins, Dhaene et al. 2002 (Insur Math Econ 31:3).
    """
    case, control, code = _checked(case, control, cluster)
    n, k = control.shape
    members = np.column_stack([case, control])
    # what each member would score in the case's place, members in order of effect: [set, k + 1]
    members.sort(axis=1)
    percentile = (rankdata(members, axis=1) - 1) / k
    difference = members - (members.sum(1, keepdims=True) - members) / k
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, k + 1, (n_draws, code.max() + 1))
    own = np.array([np.searchsorted(row, value) for row, value in zip(members, case)])
    rows = []
    for name, scores in {"percentile": percentile, "difference": difference}.items():
        real = scores[np.arange(n), own]
        # sum over the sets of each cluster, by the rank chosen: [cluster, k + 1]
        by_rank = np.stack([np.bincount(code, weights=column) for column in scores.T], 1)
        drawn = by_rank[np.arange(len(by_rank)), chosen].sum(1)
        p = (1 + np.sum(drawn >= real.sum() - 1e-9 * max(np.abs(scores).max() * n, 1e-300))) / (1 + n_draws)
        value = estimates.mean_interval(real, n_boot, seed, code)
        ends = (value.low, value.high) if len(by_rank) > 1 else (np.nan, np.nan)
        flips = _flips(np.bincount(code, weights=real - 0.5), n_draws, rng) if name == "percentile" else np.nan
        rows.append((name, value.value, *ends, p, flips, n, len(by_rank)))
    return pd.DataFrame(rows, columns=COLUMNS)


def percentiles(case: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Of each set the share of its controls whose effect lies below the case's, ties half. case: [set]; control: [set, k]. [set]"""
    case = np.asarray(case, dtype=float)[:, None]
    return ((control < case).sum(1) + 0.5 * (control == case).sum(1)) / np.shape(control)[1]


def _flips(sums: np.ndarray, n_draws: int, rng: np.random.Generator) -> float:
    """p of the sum over clusters when each may change its sign."""
    drawn = rng.choice([-1.0, 1.0], (n_draws, len(sums))) @ sums
    return float((1 + np.sum(drawn >= sums.sum() - 1e-9)) / (1 + n_draws))


def _values(table: pd.DataFrame, columns: Sequence[str], name: str) -> np.ndarray:
    """The matched columns, float64 [variant, column]."""
    if not len(columns):
        raise ValueError("columns is empty, wanted one or more to match on")
    if absent := [column for column in ("contig", "pos", *columns) if column not in table]:
        raise ValueError(f"{name} has no column {', '.join(absent)}")
    if (lacking := np.flatnonzero(table[["contig", "pos"]].isna().any(axis=1))).size:
        raise ValueError(f"{name}, row {lacking[0]}: no contig or no pos ({len(lacking)} such rows), wanted both")
    values = table[list(columns)].to_numpy(float)
    if (bad := np.argwhere(~np.isfinite(values))).size:
        row, column = bad[0]
        raise ValueError(f"{name}, row {row}: {columns[column]} is {values[row, column]}, wanted a finite number ({len(bad)} such values)")
    return values


def _near(cases: pd.DataFrame, pool: pd.DataFrame, apart: int) -> np.ndarray:
    """Which of the pool lie within `apart` positions of a case of their contig. [pool] bool."""
    near, at = np.zeros(len(pool), bool), pool["pos"].to_numpy()
    places = cases.groupby("contig")["pos"]
    for contig, rows in pool.groupby("contig").indices.items():
        if contig in places.groups:
            taken = np.sort(places.get_group(contig).to_numpy())
            first = np.searchsorted(taken, at[rows] - apart)
            near[rows] = (first < len(taken)) & (taken[np.minimum(first, len(taken) - 1)] <= at[rows] + apart)
    return near


def _draw(
    of_case: np.ndarray, of_pool: np.ndarray, far: np.ndarray, k: int, reach: int, rng: np.random.Generator
) -> list[list[tuple[int, int, int]]]:  # fmt: skip
    """What each case drew: of each control its bin, row of the pool and steps; k of them, or none for a case that is left out.

    of_case, of_pool: bins, [variant, column]; far: rows of the pool that may be drawn.
    """
    bins, member = np.unique(of_pool[far], axis=0, return_inverse=True)
    order = rng.permutation(len(far))
    left = [far[order][member.ravel()[order] == b].tolist() for b in range(len(bins))]
    own, which = np.unique(of_case, axis=0, return_inverse=True)
    off = np.abs(own[:, None] - bins[None]).sum(2)  # [bin of cases, bin of the pool]
    near = [[np.flatnonzero(row == step).tolist() for row in off] for step in range(reach + 1)]
    drawn: list[list[tuple[int, int, int]]] = [[] for _ in of_case]
    short = rng.permutation(len(of_case)).tolist()
    while short:
        for step, of_bin in enumerate(near):
            _fill(drawn, short, [of_bin[b] for b in which.ravel()[short]], left, k, step, rng)
        short = [case for case in short if len(drawn[case]) < k]
        freed, wanted = 0, sum(k - len(drawn[case]) for case in short)
        while short and freed < wanted:  # the first ones give up what the rest lack
            case = short.pop(0)
            freed, wanted = freed + len(drawn[case]), wanted - (k - len(drawn[case]))
            for b, row, _ in drawn[case]:
                left[b].append(row)
            drawn[case] = []
    return drawn


def _fill(drawn: list, short: list[int], near: list[list[int]], left: list[list[int]], k: int, step: int, rng: np.random.Generator) -> None:
    """Rounds of one control for each short case, from the bins that are near it, until none can draw. near: [short]"""
    waiting = list(zip(short, near))
    while waiting:
        waiting = [waiting[at] for at in rng.permutation(len(waiting)) if len(drawn[waiting[at][0]]) < k]
        able = []
        for case, bins in waiting:
            sizes = np.array([len(left[b]) for b in bins])
            if sizes.sum():
                b = bins[rng.choice(len(bins), p=sizes / sizes.sum())]
                drawn[case].append((b, left[b].pop(), step))
                able.append((case, bins))
        waiting = able


def _balance(columns: Sequence[str], cases: np.ndarray, controls: np.ndarray, pool: np.ndarray) -> pd.DataFrame:
    """Means and differences in standard deviations, one row a column; NaN without cases, 0 where nothing varies."""
    if not len(cases):
        return pd.DataFrame({"column": list(columns)}).assign(
            cases=np.nan, controls=np.nan, pool=pool.mean(0) if len(pool) else np.nan, difference=np.nan, difference_pool=np.nan)
    scale = np.sqrt((cases.var(0) + pool.var(0)) / 2)
    means = [table.mean(0) for table in (cases, controls, pool)]
    apart = [np.divide(means[0] - mean, scale, out=np.zeros(len(scale)), where=scale > 0) for mean in means[1:]]
    return pd.DataFrame({"column": list(columns), "cases": means[0], "controls": means[1], "pool": means[2], "difference": apart[0],
                         "difference_pool": apart[1]})  # fmt: skip


def _checked(case: np.ndarray, control: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects as float64, and clusters as codes."""
    case, control = np.asarray(case, dtype=float), np.asarray(control, dtype=float)
    if case.ndim != 1 or control.ndim != 2 or control.shape[0] != len(case) or np.shape(cluster) != case.shape or not control.size:
        raise ValueError(f"case has shape {case.shape}, control {control.shape} and cluster {np.shape(cluster)}, wanted [set], "
                         "[set, k] and [set], with one or more sets and controls")
    if (bad := np.flatnonzero(~(np.isfinite(case) & np.isfinite(control).all(1)))).size:
        raise ValueError(f"set {bad[0]} has an effect that is not finite ({bad.size} of {len(case)} sets)")
    if (absent := np.flatnonzero(pd.isna(cluster))).size:
        raise ValueError(f"cluster of set {absent[0]} is missing ({absent.size} of {len(case)}), wanted one for each")
    return case, control, np.unique(cluster, return_inverse=True)[1]
