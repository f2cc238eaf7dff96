"""Falls of AUROC under ablation: exact counts of pairs, ties counted half, for every latent and every bootstrap draw.

The fall of a latent is AUROC(full) - AUROC(full + change), averaged over repeats. Shapes: y [person] 0/1; full [repeat,
person], scores; change [repeat, latent, person], what ablating that latent alone adds to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numba
import numpy as np
import pandas as pd

from lib.outcome import shapes

CHUNK, BLOCK = 128, 512  # latents sorted at a time; draws whose weights for 2,000 people fit a core's cache


def fall(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Fall of each latent: [latent]. A latent that moves nobody's rank has 0 exactly."""
    return placements(y, full, change)[:, np.asarray(y) == 1].mean(1)


def drawn(y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fall in each bootstrap draw: float32 [latent, n_boot]. weights: uint8 [person, n_boot] from `estimates.draws`."""
    shapes.check(y, full, change, weights)
    case = np.asarray(y) == 1
    total = [weights[c].sum(0, dtype=np.int64) for c in (case, ~case)]
    pairs = 2 * len(full) * total[0] * total[1]
    out = np.empty((change.shape[1], weights.shape[1]), dtype=np.float32)
    for rows, lost in _falls(full, change, lambda scores: _weighted_wins(*_sorted(scores), case, weights)):
        out[rows] = lost / pairs
    return out


def placements(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Each person's part in the fall: [latent, person], whose mean over cases, or over controls, is the fall.

    A case's placement is the share of controls below it, a control's the share of cases above it, ties counted half;
    here full minus ablated, averaged over repeats. Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    shapes.check(y, full, change)
    case = np.asarray(y) == 1
    others = np.where(case, (~case).sum(), case.sum())
    out = np.empty(change.shape[1:], dtype=np.float64)
    for rows, lost in _falls(full, change, lambda scores: _wins(*_sorted(scores), case)):
        out[rows] = lost / (2 * len(full) * others)
    return out


def error(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Standard error of each fall, people independent: [latent].

    Source: DeLong, DeLong and Clarke-Pearson 1988, paired, with placements averaged over repeats.
    """
    part, case = placements(y, full, change), np.asarray(y) == 1
    return np.sqrt(sum(part[:, c].var(1, ddof=1) / c.sum() for c in (case, ~case)))


def without(y: np.ndarray, full: np.ndarray, change: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Fall among the people outside each group: [latent, group]. group: [person], numbers from 0."""
    case, n_groups = np.asarray(y) == 1, int(group.max()) + 1
    part = placements(y, full, change)
    n1, n0 = case.sum(), (~case).sum()
    m1, m0 = (np.bincount(group, weights=c, minlength=n_groups) for c in (case, ~case))
    pairs = part * np.where(case, n0, n1)  # pairs of this person that ablation loses
    lost = np.zeros((len(pairs), n_groups))
    np.add.at(lost.T, group, pairs.T)
    inside = _pairs_inside(case, group)
    if len(inside[0]):
        lost -= _lost_inside(full, change, *inside, n_groups)  # counted from both sides
    return (pairs[:, case].sum(1, keepdims=True) - lost) / ((n1 - m1) * (n0 - m0))


def _falls(full: np.ndarray, change: np.ndarray, count: Callable) -> Iterator[tuple[slice, np.ndarray]]:
    """Latents, a chunk at a time, with the sum over repeats of count(full) - count(full + change): integers, exact."""
    base = [count(scores[None])[0] for scores in full]
    for start in range(0, change.shape[1], CHUNK):
        rows = slice(start, start + CHUNK)
        lost = np.zeros((change[0, rows].shape[0], len(base[0])), dtype=np.int64)
        for scores, before, moves in zip(full, base, change):
            ablated = scores + moves[rows]
            moved = _reordered(scores, ablated)
            lost[moved] += before - count(ablated[moved])
        yield rows, lost


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
