"""Which latents does the prediction need? Intervals, tests, controls and sets for the fall of AUROC under ablation.

delta = AUROC(full) - AUROC(full + change) on out-of-fold scores, pooled inside each repeat and averaged over repeats.
A person has one row of scores a repeat; what is resampled, and left out by the jackknife, is a person or a whole group.

Shapes throughout: y [person] 0/1; groups [person], the family or population of each person, or None when everyone
stands alone; full [repeat, person]; change [repeat, latent, person], what ablating that latent alone adds to `full`;
folds [repeat, person]. Scores are in units of the probe, deltas in AUROC, between -1 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numba
import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import norm as normal

from lib import stats
from lib.annotate import multiplicity
from lib.stats import BOTH, clusters, draws

CHUNK, BLOCK = 128, 512  # latents sorted at a time; draws whose weights for 2,000 people fit a core's cache


def bootstrap(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """delta of each latent, [latent], and in each draw, float32 [latent, n_boot]; exact, ties counted half.

    weights: [person, n_boot] from `draws`, the same for all latents. A latent that moves nobody's rank has 0 exactly.
    """
    _check(y, full, change, weights)
    case = np.asarray(y) == 1
    total = [weights[c].sum(0, dtype=np.int64) for c in (case, ~case)]
    pairs = 2 * len(full) * total[0] * total[1]
    drawn = np.empty((change.shape[1], weights.shape[1]), dtype=np.float32)
    for rows, fall in _falls(full, change, lambda scores: _weighted_wins(*_sorted(scores), case, weights)):
        drawn[rows] = fall / pairs
    return deltas(y, full, change), drawn


def deltas(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """delta of each latent: [latent]."""
    return placements(y, full, change)[:, np.asarray(y) == 1].mean(1)


def placements(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Each person's part in delta: [latent, person], whose mean over cases, or over controls, is delta.

    A case's placement is the share of controls below it, a control's the share of cases above it, ties counted half;
    here full minus ablated, averaged over repeats. Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    _check(y, full, change)
    case = np.asarray(y) == 1
    others = np.where(case, (~case).sum(), case.sum())
    out = np.empty(change.shape[1:], dtype=np.float64)
    for rows, fall in _falls(full, change, lambda scores: _wins(*_sorted(scores), case)):
        out[rows] = fall / (2 * len(full) * others)
    return out


def _check(y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray | None = None) -> None:
    n = len(y)
    if full.ndim != 2 or full.shape[1] != n:
        raise ValueError(f"full has shape {full.shape}, wanted [repeat, {n}]")
    if change.ndim != 3 or (len(change), change.shape[2]) != full.shape:
        raise ValueError(f"change has shape {change.shape}, wanted [{len(full)}, latent, {n}]")
    if weights is not None and (weights.dtype != np.uint8 or weights.ndim != 2 or len(weights) != n):
        raise ValueError(f"weights are {weights.dtype} {weights.shape}, wanted uint8 [{n}, n_boot]")
    if not (np.isfinite(full).all() and all(np.isfinite(c).all() for c in change)):
        raise ValueError("scores or their changes are missing or infinite")


def _falls(full: np.ndarray, change: np.ndarray, count: Callable) -> Iterator[tuple[slice, np.ndarray]]:
    """Latents, a chunk at a time, with the sum over repeats of count(full) - count(full + change): integers, exact."""
    base = [count(scores[None])[0] for scores in full]
    for start in range(0, change.shape[1], CHUNK):
        rows = slice(start, start + CHUNK)
        fall = np.zeros((change[0, rows].shape[0], len(base[0])), dtype=np.int64)
        for scores, mine, moves in zip(full, base, change):
            ablated = scores + moves[rows]
            moved = _reordered(scores, ablated)
            fall[moved] += mine - count(ablated[moved])
        yield rows, fall


def _reordered(scores: np.ndarray, ablated: np.ndarray) -> np.ndarray:
    """Whether each row ranks people otherwise than `scores` does, ties included. [row] bool."""
    order = np.argsort(scores)
    return (np.sign(np.diff(ablated[:, order])) != np.sign(np.diff(scores[order]))).any(1)


def _sorted(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """People by rising score, and whether each is the last of those tied with it. Both [row, person]."""
    order = np.argsort(scores, axis=1)
    last = np.ones(scores.shape, dtype=bool)
    last[:, :-1] = np.diff(np.take_along_axis(scores, order, axis=1)) > 0
    return order.astype(np.int32), last


@numba.njit(parallel=True, cache=True)
def _weighted_wins(order, last, case, weights):
    """Twice the weight of pairs in which the case scores higher, ties once: int64 [row, draw]."""
    n_rows, n = order.shape
    n_boot = weights.shape[1]
    out = np.zeros((n_rows, n_boot), dtype=np.int64)
    for first in range(0, n_boot, BLOCK):
        block = np.ascontiguousarray(weights[:, first : first + BLOCK])
        for row in numba.prange(n_rows):
            below = np.zeros(block.shape[1], dtype=np.int32)  # weight of controls passed so far
            wins = np.zeros(block.shape[1], dtype=np.int64)
            start = 0
            for i in range(n):
                if not last[row, i]:
                    continue
                tied = order[row, start : i + 1]
                times = 2 if len(tied) == 1 else 1
                for p in tied:
                    if case[p]:
                        _add_product(wins, block[p], below, times)
                for p in tied:
                    if not case[p]:
                        for b in range(len(below)):
                            below[b] += block[p, b]
                if times == 1:
                    for p in tied:
                        if case[p]:
                            _add_product(wins, block[p], below, 1)
                start = i + 1
            out[row, first : first + BLOCK] = wins
    return out


@numba.njit(cache=True)
def _add_product(total, a, b, times):
    for i in range(len(total)):
        total[i] += times * (np.int32(a[i]) * b[i])


@numba.njit(parallel=True, cache=True)
def _wins(order, last, case):
    """Twice the people of the other class that a case is above, or a control below, ties once: int64 [row, person]."""
    n_rows, n = order.shape
    n_cases = case.sum()
    out = np.zeros((n_rows, n), dtype=np.int64)
    for row in numba.prange(n_rows):
        below, start = np.zeros(2, dtype=np.int64), 0  # controls and cases passed so far
        for i in range(n):
            if not last[row, i]:
                continue
            tied = order[row, start : i + 1]
            cases = case[tied].sum()
            controls = len(tied) - cases
            for p in tied:
                out[row, p] = 2 * below[0] + controls if case[p] else 2 * (n_cases - below[1]) - cases
            below[0] += controls
            below[1] += cases
            start = i + 1
    return out


def jackknife(y: np.ndarray, full: np.ndarray, change: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Influence of each group on delta, from delta without that group: [latent, group], groups in sorted order.

    (n - 1) / n (mean over groups of the kind of delta without one - delta without this one), n the groups of its kind:
    the terms of BCa's acceleration for a stratified bootstrap. Source: Davison and Hinkley 1997, 5.3.2.
    """
    group, kind = clusters(y, groups)
    case = np.asarray(y) == 1
    part = placements(y, full, change)
    n1, n0 = case.sum(), (~case).sum()
    m1, m0 = (np.bincount(group, weights=c, minlength=len(kind)) for c in (case, ~case))
    pairs = part * np.where(case, n0, n1)  # pairs of this person that ablation loses
    lost = np.zeros((len(pairs), len(kind)))
    np.add.at(lost.T, group, pairs.T)
    if (kind == BOTH).any():
        lost -= _lost_inside(full, change, *_pairs_inside(case, group), len(kind))  # counted from both sides
    without = (pairs[:, case].sum(1, keepdims=True) - lost) / ((n1 - m1) * (n0 - m0))
    for one in np.unique(kind):
        mine = kind == one
        n = mine.sum()
        without[:, mine] = (n - 1) / n * (without[:, mine].mean(1, keepdims=True) - without[:, mine])
    return without


def _pairs_inside(case: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Case, control and group of every pair of a case and a control of one group."""
    people = pd.DataFrame({"group": group, "person": np.arange(len(group))})
    both = people[case].merge(people[~case], on="group")
    return tuple(both[c].to_numpy() for c in ("person_x", "person_y", "group"))


@numba.njit(parallel=True, cache=True)
def _lost_inside(full, change, case, control, group, n_groups):
    """Pairs won before ablation less those won after, inside each group, mean over repeats. [latent, group]."""
    n_repeats, n_latents, _ = change.shape
    out = np.zeros((n_latents, n_groups))
    for k in numba.prange(n_latents):
        for r in range(n_repeats):
            for i in range(len(group)):
                a, b = case[i], control[i]
                before = np.sign(full[r, a] - full[r, b])
                after = np.sign((full[r, a] + change[r, k, a]) - (full[r, b] + change[r, k, b]))
                out[k, group[i]] += (before - after) / (2 * n_repeats)
    return out


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


def delong(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """delta with DeLong's 95 % interval of a paired difference, a cross-check: delta, low, high, each [latent].

    Takes people as independent, whatever their groups. An interval only: the test does not hold between nested models
    (Demler 2012). Source: DeLong, DeLong and Clarke-Pearson 1988, with placements averaged over repeats.
    """
    part, case = placements(y, full, change), np.asarray(y) == 1
    delta = part[:, case].mean(1)
    half = normal.ppf(0.975) * np.sqrt(sum(part[:, c].var(1, ddof=1) / c.sum() for c in (case, ~case)))
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


def fold_deltas(y: np.ndarray, full: np.ndarray, change: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """delta inside each outer fold: [repeat, fold, latent], folds in sorted order. NaN in a fold of one class."""
    _check(y, full, change)
    names = np.unique(folds)
    out = np.full((len(full), len(names), change.shape[1]), np.nan)
    for r, scores in enumerate(full):
        for f, name in enumerate(names):
            mine = folds[r] == name
            if len(np.unique(y[mine])) == 2:
                out[r, f] = deltas(y[mine], scores[None, mine], change[r : r + 1, :, mine])
    return out


def same_sign(by_fold: np.ndarray) -> np.ndarray:
    """In how many outer folds delta is above 0, averaged over repeats, whose folds are not the same people. [latent]."""
    return (by_fold > 0).sum(1).mean(0)


def rate_matched(
    candidate: np.ndarray, rate: np.ndarray, norm: np.ndarray, n: int = 100, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Control latents for each candidate: index int64 [candidate, n], padded by -1, and how many were found.

    Other latents within 10 % of the candidate's firing rate; of these the n nearest in log norm, ties at random.
    rate, norm: [latent], firing rate (fraction) and mean norm of f_i d_i.
    """
    rng, index = np.random.default_rng(seed), np.full((len(candidate), n), -1)
    size = np.log(np.maximum(norm, np.finfo(float).tiny))
    for row, c in enumerate(candidate):
        near = rng.permutation(np.flatnonzero(np.abs(rate - rate[c]) <= 0.1 * rate[c]))
        near = near[near != c]
        near = near[np.argsort(np.abs(size[near] - size[c]), kind="stable")][:n]
        index[row, : len(near)] = near
    return index, (index >= 0).sum(1)


def matched_deltas(delta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Deltas of the controls from `rate_matched`: [candidate, n], NaN where there is none."""
    return np.where(index >= 0, delta[index], np.nan)


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
    n_boot: int = 10_000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row a latent: latent, auroc_full, delta, low, high (BCa), delong_low, delong_high, p_max_t, q, same_sign."""
    delta, drawn = bootstrap(y, full, change, draws(y, groups, n_boot, seed))
    low, high = bca(delta, drawn, jackknife(y, full, change, groups))
    _, delong_low, delong_high = delong(y, full, change)
    return pd.DataFrame(
        {"latent": np.arange(len(delta)), "auroc_full": stats.auroc(y, full).mean(), "delta": delta}
        | {"low": low, "high": high, "delong_low": delong_low, "delong_high": delong_high}
        | {"p_max_t": max_t(delta, drawn), "q": q_values(delta, drawn)}
        | {"same_sign": same_sign(fold_deltas(y, full, change, folds))}
    )


def verdict(
    table: pd.DataFrame, bar: float = 0.03, external: np.ndarray | None = None, n_folds: int = 5, alpha: float = 0.05
) -> pd.DataFrame:
    """The table with `share`, `needed`, `necessary` and `strongly_necessary`, and `external` where given.

    table: columns of `measure`, with rate_matched_99, n_rate_matched and random_99; external: [row], delta in another
    cohort. first_repeat, where given: the fall that the nulls bound, if they are of one repeat. share = delta / (auroc_full - 0.5), NaN where the scores do no better than chance.
    needed: low > 0, p_max_t < alpha, delta above both null percentiles and above 0 in at least 4 of 5 outer folds, and in
    the other cohort. necessary: needed, delta >= bar. strongly_necessary: necessary, low >= bar.
    """
    wanted = "auroc_full delta low high delong_low delong_high p_max_t q rate_matched_99 n_rate_matched random_99 same_sign"
    if missing := sorted(set(wanted.split()) - set(table.columns)):
        raise ValueError(f"table lacks {missing}")
    if external is not None:
        table = table.assign(external=np.asarray(external, dtype=float))
    needed = (table["low"] > 0) & (table["p_max_t"] < alpha) & (table["same_sign"] >= 0.8 * n_folds)
    bounded = table["first_repeat"] if "first_repeat" in table else table["delta"]
    needed &= (bounded > table["rate_matched_99"]) & (bounded > table["random_99"])
    if external is not None:
        needed &= table["external"] > 0
    above = table["auroc_full"] - 0.5
    necessary = needed & (table["delta"] >= bar)
    return table.assign(
        share=(table["delta"] / above).where(above > 0), needed=needed, necessary=necessary,
        strongly_necessary=necessary & (table["low"] >= bar),
    )  # fmt: skip


def set_change(change: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Change of scores when all latents of a set are ablated, the sum of theirs under a linear probe.

    members: latents of each set, as indices or as a mask. Returns [repeat, set, person].
    """
    if not len(members):
        return np.zeros((len(change), 0, change.shape[2]))
    return np.stack([change[:, m].sum(1, dtype=np.float64) for m in members], axis=1)


def set_curve(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, order: np.ndarray, n_random: int = 100, n_points: int = 30,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """AUROC after ablating the first k latents of `order`: columns k, auroc, and low, high of random orders.

    k runs from 0 to len(order) over at most `n_points` + 1 values, evenly on a log scale. The band is the central 95 %
    over `n_random` orders of all latents of `change`.
    """
    steps = np.geomspace(1, len(order), n_points).round() if len(order) else []
    k = np.unique(np.concatenate([[0], steps])).astype(int)
    rng = np.random.default_rng(seed)
    auroc = _curve(y, full, change, np.asarray(order), k)
    band = [_curve(y, full, change, rng.permutation(change.shape[1]), k) for _ in range(n_random)]
    low, high = np.quantile(band, [0.025, 0.975], axis=0)
    return pd.DataFrame({"k": k, "auroc": auroc, "low": low, "high": high})


def _curve(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, order: np.ndarray, k: np.ndarray
) -> np.ndarray:
    steps = set_change(change, [order[a:b] for a, b in zip(np.concatenate([[0], k[:-1]]), k)])
    return stats.auroc(y, full[:, None] + steps.cumsum(1)).mean(0)


def sufficiency(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, members: list[np.ndarray]
) -> pd.DataFrame:
    """Does a set carry the prediction alone? AUROC with everything else ablated, one row a set; no row without a set.

    Columns: n (latents), auroc_full, auroc_none (all ablated), auroc (only the set kept), recovered =
    (auroc - auroc_none) / (auroc_full - auroc_none), NaN where nothing was lost.
    """
    total = change.sum(1, dtype=np.float64)
    kept = full[:, None] + total[:, None] - set_change(change, members)
    auroc_full, none = stats.auroc(y, full).mean(), stats.auroc(y, full + total).mean()
    auroc = stats.auroc(y, kept).mean(0)
    recovered = (auroc - none) / (auroc_full - none) if auroc_full != none else np.nan
    size = [len(np.arange(change.shape[1])[m]) for m in members]
    return pd.DataFrame(
        {"n": size, "auroc_full": auroc_full, "auroc_none": none, "auroc": auroc, "recovered": recovered}
    )


def redundancy_groups(change: np.ndarray, at_least: float = 0.5) -> np.ndarray:
    """Group number of each latent: those that move together over people, which may matter only together. [latent].

    change: [part, latent, person], of activity by locus (no label in it) or of scores by repeat. Average linkage on
    1 - |r|, r the correlation over people inside each part; groups are cut where the mean |r| between two falls below
    `at_least`. A latent that moves nobody is alone.
    """
    rows = change.transpose(1, 0, 2).astype(np.float64)
    rows = (rows - rows.mean(2, keepdims=True)).reshape(len(rows), -1)
    length = np.linalg.norm(rows, axis=1)
    moving = np.flatnonzero(length > 0)
    out = np.arange(len(rows))
    if len(moving) > 1:
        rows = rows[moving] / length[moving, None]
        distance = 1 - np.abs(rows @ rows.T).clip(0, 1)
        np.fill_diagonal(distance, 0)
        tree = linkage(squareform(distance, checks=False), method="average")
        out[moving] = len(out) + fcluster(tree, 1 - at_least, criterion="distance")
    return pd.factorize(out)[0]


def closures(groups: np.ndarray, family: pd.Series, mass: np.ndarray) -> dict[str, np.ndarray]:
    """Latents of each family, with all that move together with them: family -> latents.

    groups: [latent] from `redundancy_groups`; family: indexed by latent, those that have a name; mass: [latent], how much
    each moves. A group belongs to the family with the largest mass among its named members; a group without any to none.
    """
    table = pd.DataFrame({"group": groups, "mass": mass, "family": family.reindex(np.arange(len(groups)))})
    share = table.dropna().groupby(["group", "family"])["mass"].sum().reset_index()
    owner = share.sort_values("mass", ascending=False, kind="stable").drop_duplicates("group").set_index("group")["family"]
    of = table["group"].map(owner)
    return {str(name): rows.index.to_numpy() for name, rows in table.groupby(of)}


def matched_sets(
    members: np.ndarray, rate: np.ndarray, norm: np.ndarray, n: int, seed: int, left_out: Sequence[int] = (), n_near: int = 50
) -> np.ndarray:  # fmt: skip
    """Control sets of a set's size: int64 [n, member]. Each member is replaced by one of the n_near latents outside the set
    that are nearest in log rate and log norm (both in their standard deviations); no latent twice in a set. No set at all,
    [0, member], when fewer latents fire outside the set than it has members: it is too large to be matched.

    rate, norm: [latent], firing rate and mean norm of f_i d_i when it fires; latents of rate 0, and those left_out, are no
    controls.
    """
    rng, live = np.random.default_rng(seed), np.flatnonzero(rate > 0)
    outside = np.setdiff1d(live, np.union1d(members, np.asarray(left_out, dtype=int)))
    if len(outside) < len(members):
        return np.empty((0, len(members)), dtype=np.int64)
    place = np.log(np.stack([np.maximum(rate, rate[live].min()), np.maximum(norm, norm[live].min())], axis=1))
    place /= np.maximum(place[live].std(0), 1e-12)
    distance = ((place[members][:, None] - place[outside]) ** 2).sum(2)
    nearest = np.argsort(distance, axis=1, kind="stable")
    out = np.empty((n, len(members)), dtype=np.int64)
    for i in range(n):
        free = np.ones(len(outside), dtype=bool)
        for j in rng.permutation(len(members)):
            near = nearest[j][free[nearest[j]]][:n_near]
            out[i, j] = pick = near[rng.integers(len(near))]
            free[pick] = False
    return outside[out]


def dealt_orders(members: np.ndarray, n_latents: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Latents outside a set whose decoder rows its members take in their stead: int64 [n, member].

    No order at all, [0, member], when fewer than that many lie outside.
    """
    outside = np.setdiff1d(np.arange(n_latents), members)
    if len(outside) < len(members):
        return np.empty((0, len(members)), dtype=np.int64)
    return np.stack([rng.permutation(outside)[: len(members)] for _ in range(n)])


def null_falls(y: np.ndarray, full: np.ndarray, changes: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Falls of the controls of each set: [set, n], NaN where a set has fewer.

    changes: one [control, person] a set, the change of scores by each of its controls; full: [1, person].
    """
    rows = [deltas(y, full, change[None]) if len(change) else np.empty(0) for change in changes]
    return np.stack([np.pad(row, (0, n - len(row)), constant_values=np.nan) for row in rows])


#: Columns of `measure` and `verdict`, and of what 05 adds, for a study in which no set can be tested.
NUMBERS = [
    "auroc_full", "delta", "low", "high", "delong_low", "delong_high", "p_max_t", "q", "same_sign", "first_repeat",
    "latents", "movers", "rate_matched_99", "rate_matched_99_all", "random_99", "n_rate_matched", "share",
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


def strongest(table: pd.DataFrame) -> tuple[stats.Estimate, float, str]:
    """The row that speaks for its kind, of those needed the one of largest fall, else the largest fall: the fall with its
    interval, the larger of its nulls' 99th percentiles (rounded to 5 digits), and a note. table: rows of `verdict`."""
    if table.empty:
        return stats.NOTHING, np.nan, ""
    table = table.sort_values("delta", ascending=False)
    best = (table[table["needed"]] if table["needed"].any() else table).iloc[0]
    limit = float(best[["rate_matched_99", "random_99"]].astype(float).max())  # NaN only where both are
    note = (
        f"{best['name']}: {int(table['needed'].sum())} needed, {int(table['necessary'].sum())} necessary of {len(table)}; fall of AUROC, BCa over "
        f"people, maxT p {best['p_max_t']:.4f}; null: the larger 99th percentile of rate-matched sets and dealt directions"
    )
    if too_large := int(table[["rate_matched_99", "random_99"]].isna().any(axis=1).sum()):
        note += f"; {too_large} of them could not be tested, for want of a null"
    return stats.Estimate(best["delta"], best["low"], best["high"], len(table)), round(limit, 5), note


#: Why a kind may have no set.
_MOVES = "is off its reference value in as many people as least_moved asks"
NO_SET = {
    "latent": f"no latent {_MOVES}",
    "family": f"no latent that 04 names {_MOVES}",
    "closure": f"no latent that 04 names {_MOVES}",
    "group": f"no two latents of which each {_MOVES} move together",
}


def untested(table: pd.DataFrame, kind: str) -> str:
    """Why the rule could not be tried on the sets of a kind, or "". table: their rows of `verdict`."""
    if table.empty:
        return NO_SET[kind]
    if table["rate_matched_99"].isna().all():
        return f"no {kind} has enough rate-matched latents outside it for a null"
    if table["random_99"].isna().all():
        return f"every {kind} holds more than half of the dictionary, too many for dealt directions"
    return ""


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of n in which nothing keeps its place: [n] int64. (A single random cycle.)"""
    order, out = rng.permutation(n), np.empty(n, dtype=np.int64)
    out[order] = np.roll(order, 1)
    return out
