"""Which latents does the prediction need? Intervals, tests and verdicts for what the metric falls under ablation.

delta = metric(full) - metric(full + change) on out-of-fold scores, pooled inside each repeat and averaged over repeats.
A person has one row of scores a repeat; what is resampled, and left out by the jackknife, is a person or a whole group.

Shapes throughout: y [person], of the metric's target; groups [person], the family or population of each person, or None
when everyone stands alone; full [repeat, person]; change [repeat, latent, person], what ablating that latent alone adds
to `full`; folds [repeat, person]. For classes, [class, person] stands where [person] does in full and change. Scores are
in units of the probe, deltas in those of the metric: AUROC, between -1 and 1, unless another is given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm as normal

from lib.causal.falls import bootstrap, deltas, fold_deltas, jackknife
from lib.causal.sets import set_change
from lib.outcome.metrics import BINARY, Metric
from lib.stats import estimates, multiplicity
from lib.stats.estimates import draws


def bca(delta: np.ndarray, drawn: np.ndarray, influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % bias-corrected and accelerated interval of each latent's delta: low, high, both [latent].

    delta: [latent]; drawn: [latent, n_boot]; influence: [latent, group] from `jackknife`. Draws equal to delta count
    half in the bias. Where all draws are equal the interval is that value. Source: Efron 1987.
    """
    n_boot = drawn.shape[1]
    z = normal.ppf([0.025, 0.975])
    spread = (influence**2).sum(1) ** 1.5
    acceleration = (influence**3).sum(1) / (6 * np.where(spread > 0, spread, 1))
    bounds = np.empty((len(delta), 2))
    for k, row in enumerate(drawn):
        value = np.float32(delta[k])
        share = ((row < value).sum() + (row == value).sum() / 2) / n_boot
        bias = normal.ppf(np.clip(share, 0.5 / n_boot, 1 - 0.5 / n_boot))
        level = normal.cdf(bias + (bias + z) / (1 - acceleration[k] * (bias + z)))
        bounds[k] = np.quantile(row, level)
    return bounds[:, 0], bounds[:, 1]


def linearised(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, metric: Metric = BINARY
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """delta with a normal 95 % interval, a cross-check: delta, low, high, each [latent]. DeLong's for AUROC.

    Takes people as independent, whatever their groups. An interval only: the test does not hold between nested models
    (Demler 2012).
    """
    delta = deltas(y, full, change, metric)
    half = normal.ppf(0.975) * metric.falls.error(y, full, change)
    return delta, delta - half, delta + half


def _studentised(delta: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """delta over its bootstrap standard error, 0 where that is 0, and the error. Both [latent]."""
    error = np.array([row.std(dtype=np.float64) for row in drawn])
    error[drawn.min(1) == drawn.max(1)] = 0  # not rounding
    return np.divide(delta, error, out=np.zeros(len(delta)), where=error > 0), error


def max_t(delta: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Two-sided p of "delta is 0", adjusted for all latents by step-down maxT: [latent].

    The null is the joint bootstrap centred on delta and studentised by its standard error, so that dependence between
    latents is kept. p = (1 + draws whose maximum over this and all smaller t reaches |t|) / (1 + n_boot), made
    monotone; 1 where no draw differs. Source: Westfall and Young 1993, algorithm 2.8.
    """
    t, error = _studentised(delta, drawn)
    p, largest = np.ones(len(t)), np.zeros(drawn.shape[1])
    rising = np.argsort(np.abs(t), kind="stable")
    for k in rising[error[rising] > 0]:
        largest = np.maximum(largest, np.abs(drawn[k] - delta[k]) / error[k])
        p[k] = (1 + (largest >= np.abs(t[k])).sum()) / (1 + drawn.shape[1])
    p[rising] = np.maximum.accumulate(p[rising][::-1])[::-1]
    return p


def q_values(delta: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q of each latent, for the exploratory list: [latent].

    From two-sided normal p of delta over its bootstrap error, since draws cannot count tails as small as thousands of
    tests need; p is 1 where no draw differs.
    """
    t, _ = _studentised(delta, drawn)
    return multiplicity.benjamini_hochberg(2 * normal.sf(np.abs(t)), len(t))


def same_sign(by_fold: np.ndarray) -> np.ndarray:
    """In how many outer folds delta is above 0, averaged over repeats, whose folds are not the same people. [latent]."""
    return (by_fold > 0).sum(1).mean(0)


def beats(delta: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """99th percentile of each candidate's null deltas, and whether delta is above it: both [candidate].

    null: [candidate, n], NaN where missing, of matched latents or of random directions with the candidate's activity
    and norm. The percentile is a value of the null, never below it: among 100 or fewer, their maximum. A candidate
    without any has NaN and beats nothing.
    """
    limit, some = np.full(len(delta), np.nan), np.isfinite(null).any(1)
    limit[some] = np.nanquantile(null[some], 0.99, axis=1, method="higher")
    return limit, delta > limit


def measure(
    y: np.ndarray, groups: np.ndarray | None, full: np.ndarray, change: np.ndarray, folds: np.ndarray,
    n_boot: int = 10_000, seed: int = 0, metric: Metric = BINARY,
) -> pd.DataFrame:  # fmt: skip
    """One row a latent: latent, auroc_full, delta, low, high (BCa), delong_low, delong_high, p_max_t, q, same_sign.

    Of another metric: its key for auroc, its interval for delong; and spearman_full, spearman_delta beside R2.
    """
    key, other = metric.key, metric.falls.interval
    delta, drawn = bootstrap(y, full, change, draws(y, groups, n_boot, seed, metric.target), metric)
    low, high = bca(delta, drawn, jackknife(y, full, change, groups, metric))
    _, other_low, other_high = linearised(y, full, change, metric)
    table = pd.DataFrame(
        {"latent": np.arange(len(delta)), f"{key}_full": metric.value(y, full).mean(), "delta": delta}
        | {"low": low, "high": high, f"{other}_low": other_low, f"{other}_high": other_high}
        | {"p_max_t": max_t(delta, drawn), "q": q_values(delta, drawn)}
        | {"same_sign": same_sign(fold_deltas(y, full, change, folds, metric))}
    )
    if second := metric.second:
        whole = second.value(y, full).mean()
        left = np.mean([second.value(y, scores + moves) for scores, moves in zip(full, change)], axis=0)
        table = table.assign(**{f"{second.key}_full": whole, f"{second.key}_delta": whole - left})
    return table


#: Of the two sorts of rate-matched controls, strict and nearest: the column of their 99th percentile, and of their number.
MATCHED = {"rate_matched_99": "n_rate_matched", "nearest_99": "n_nearest"}


def matched(table: pd.DataFrame) -> pd.Series:
    """The rate-matched null of each row: the larger of those that there are, NaN without any."""
    return table[[name for name in MATCHED if name in table]].astype(float).max(axis=1)


def passes(table: pd.DataFrame, n_folds: int = 5, alpha: float = 0.05) -> pd.Series:
    """Whether each row is needed as far as the probes as they are can tell: all of *needed* but the refit. table: as in `verdict`."""
    bounded = table["first_repeat"] if "first_repeat" in table else table["delta"]
    needed = (table["low"] > 0) & (table["p_max_t"] < alpha) & (table["same_sign"] >= 0.8 * n_folds)
    needed &= (bounded > matched(table)) & (bounded > table["random_99"])
    return needed & (table["external"] > 0) if "external" in table else needed


def verdict(
    table: pd.DataFrame, bar: float = 0.03, n_folds: int = 5, alpha: float = 0.05, metric: Metric = BINARY
) -> pd.DataFrame:
    """The table with `share`, `needed`, `necessary` and `strongly_necessary`.

    table: columns of `measure`, with rate_matched_99, n_rate_matched and random_99, and of `refits.falls`; nearest_99, where given: of
    the nearest controls; external, where given: delta in another cohort; refit_second: the refitted probe's there. first_repeat, where
    given: the fall that the nulls bound, if they are of one repeat. share = delta / (auroc_full - 0.5), of another metric its full value
    less its chance, NaN where the scores do no better than chance.
    needed: low > 0, p_max_t < alpha, delta above the larger rate-matched percentile and that of dealt rows, above 0 in at least 4 of 5
    outer folds and in the other cohort, and refit_low > 0. necessary: needed, delta and refit >= bar, refit_second > 0.
    strongly_necessary: necessary, low and refit_low >= bar.
    """
    whole, other = f"{metric.key}_full", metric.falls.interval
    wanted = ["delta", "low", "high", "p_max_t", "q", "rate_matched_99", "n_rate_matched", "random_99", "same_sign", "refit", "refit_low"]
    if missing := sorted({whole, f"{other}_low", f"{other}_high", *wanted} - set(table.columns)):
        raise ValueError(f"table lacks {missing}")
    needed = passes(table, n_folds, alpha) & (table["refit_low"] > 0)
    above = table[whole] - metric.chance
    necessary = needed & (table[["delta", "refit"]].min(axis=1) >= bar)
    if "refit_second" in table:
        necessary &= table["refit_second"] > 0
    return table.assign(
        share=(table["delta"] / above).where(above > 0), needed=needed, necessary=necessary,
        strongly_necessary=necessary & (table[["low", "refit_low"]].min(axis=1) >= bar),
    )  # fmt: skip


def set_curve(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, order: np.ndarray, n_random: int = 100, n_points: int = 30,
    seed: int = 0, metric: Metric = BINARY,
) -> pd.DataFrame:  # fmt: skip
    """AUROC after ablating the first k latents of `order`: columns k, auroc (the metric's key), and low, high of random orders.

    k runs from 0 to len(order) over at most `n_points` + 1 values, evenly on a log scale. The band is the central 95 %
    over `n_random` orders of all latents of `change`.
    """
    steps = np.geomspace(1, len(order), n_points).round() if len(order) else []
    k = np.unique(np.concatenate([[0], steps])).astype(int)
    rng = np.random.default_rng(seed)
    value = _curve(y, full, change, np.asarray(order), k, metric)
    band = [_curve(y, full, change, rng.permutation(change.shape[1]), k, metric) for _ in range(n_random)]
    low, high = np.quantile(band, [0.025, 0.975], axis=0)
    return pd.DataFrame({"k": k, metric.key: value, "low": low, "high": high})


def _curve(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, order: np.ndarray, k: np.ndarray, metric: Metric
) -> np.ndarray:
    steps = set_change(change, [order[a:b] for a, b in zip(np.concatenate([[0], k[:-1]]), k)])
    return metric.value(y, full[:, None] + steps.cumsum(1)).mean(0)


def sufficiency(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, members: list[np.ndarray], metric: Metric = BINARY
) -> pd.DataFrame:
    """Does a set carry the prediction alone? AUROC with everything else ablated, one row a set; no row without a set.

    Columns: n (latents), auroc_full, auroc_none (all ablated), auroc (only the set kept), recovered =
    (auroc - auroc_none) / (auroc_full - auroc_none), NaN where nothing was lost. Of another metric: its key for auroc.
    """
    total = change.sum(1, dtype=np.float64)
    kept = full[:, None] + total[:, None] - set_change(change, members)
    whole, none = metric.value(y, full).mean(), metric.value(y, full + total).mean()
    alone = metric.value(y, kept).mean(0)
    recovered = (alone - none) / (whole - none) if whole != none else np.nan
    size = [len(np.arange(change.shape[1])[m]) for m in members]
    key = metric.key
    return pd.DataFrame(
        {"n": size, f"{key}_full": whole, f"{key}_none": none, key: alone, "recovered": recovered}
    )


#: Columns of `measure` and `verdict`, and of what `rule.judge` adds, for a study in which no set can be tested.
NUMBERS = [
    "auroc_full", "delta", "low", "high", "delong_low", "delong_high", "p_max_t", "q", "same_sign", "first_repeat",
    "latents", "movers", "rate_matched_99", "rate_matched_99_all", "n_rate_matched", "nearest_99", "nearest_99_all", "n_nearest",
    "random_99", "refit", "refit_low", "refit_high", "share",
]  # fmt: skip


def verdicts(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of `verdict` as one, with arm, kind and name; with the same columns and no row when there is none."""
    tables = [table for table in tables if len(table)]
    if tables:
        return pd.concat(tables, ignore_index=True)
    words = dict.fromkeys(["arm", "kind", "name"], object)
    flags = dict.fromkeys(["needed", "necessary", "strongly_necessary"], bool)
    columns = dict.fromkeys(NUMBERS, float) | words | flags
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def strongest(table: pd.DataFrame, subjects: str = "subjects", metric: Metric = BINARY) -> tuple[estimates.Estimate, float, str]:
    """The row that speaks for its kind, of those needed the one of largest fall, else the largest fall that could be tested: the fall
    with its interval, the largest of its nulls' 99th percentiles (rounded to 5 digits), and a note. n: sets that have every null. table:
    rows of `verdict`; subjects: what the field calls them."""
    if table.empty:
        return estimates.NOTHING, np.nan, ""
    table = table.sort_values("delta", ascending=False, ignore_index=True)
    limits = table.assign(matched=matched(table))[["matched", "random_99"]].astype(float)
    tested = limits.notna().all(axis=1)
    best = next(part.iloc[0] for part in (table[table["needed"]], table[tested], table) if len(part))
    limit = float(limits.loc[best.name].max())  # NaN only where all are
    note = (
        f"{best['name']}: {int(table['needed'].sum())} needed, {int(table['necessary'].sum())} necessary of {int(tested.sum())} tested; "
        f"fall of {metric.name}, BCa over {subjects}, maxT p {best['p_max_t']:.4f}; " + _refitted(best)
        + "; null: the largest 99th percentile of strict and nearest rate-matched controls and dealt directions"
    )
    if untried := int((~tested).sum()):
        note += f"; {untried} more could not be tested, for want of a null"
    return estimates.Estimate(best["delta"], best["low"], best["high"], int(tested.sum())), round(limit, 5), note


def _refitted(row: pd.Series) -> str:
    if np.isnan(row["refit"]):
        return "not refitted, since it fails without that"
    return f"refitted {row['refit']:.4f} ({row['refit_low']:.4f} to {row['refit_high']:.4f})"


#: Why a kind may have no set.
_MOVES = "is off its reference value in as many {subjects} as least_moved asks"
NO_SET = {
    "latent": "no latent " + _MOVES,
    "family": "no latent that 04 names " + _MOVES,
    "closure": "no latent that 04 names " + _MOVES,
    "group": f"no two latents of which each {_MOVES} move together",
}


def untested(table: pd.DataFrame, kind: str, subjects: str = "subjects") -> str:
    """Why the rule could not be tried on the sets of a kind, or "". table: their rows of `verdict`."""
    if table.empty:
        return NO_SET[kind].format(subjects=subjects)
    if matched(table).isna().all():
        return f"no {kind} has enough rate-matched latents outside it for a null"
    if table["random_99"].isna().all():
        return f"every {kind} holds more than half of the dictionary, too many for dealt directions"
    return ""
