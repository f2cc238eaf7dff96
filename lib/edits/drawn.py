"""Windows of `lib.edits.posterior` in each of many draws: the numbers of growing each one anew, without sorting a draw.

A draw only says how often each variant is in it, so counts in a window are differences of running sums over the scores as they were
sorted once; and the windows of neighbouring scores are nearly the same, so each is looked for from the one before.
"""

from __future__ import annotations

import numba
import numpy as np


class Sorted:
    """Scores of the pathogenic, the benign and the unlabelled variants, sorted once, and who stands where.

    sample: `posterior.Sample`. `cumulated` turns a draw, times each labelled and each unlabelled variant is in it, into running sums.
    """

    def __init__(self, sample) -> None:
        own = [np.flatnonzero(sample.label), np.flatnonzero(~sample.label)]
        self.order = [rows[np.argsort(sample.score[rows], kind="stable")] for rows in own]
        self.order.append(np.argsort(sample.population, kind="stable"))
        self.scores = [sample.score[self.order[0]], sample.score[self.order[1]], sample.population[self.order[2]]]

    def cumulated(self, labelled: np.ndarray, unlabelled: np.ndarray) -> list[np.ndarray]:
        """How many of each group of a draw lie before each place of its sorted scores: three int64, one longer than the group."""
        times = labelled[self.order[0]], labelled[self.order[1]], unlabelled[self.order[2]]
        return [np.concatenate([[0], np.cumsum(some)]).astype(np.int64) for some in times]

    def inside(self, at: np.ndarray, drawn: list[np.ndarray], rule, edge: float) -> np.ndarray:
        """How many of each group the smallest window around each score holds that is large enough in this draw: [3, k].

        at: [k], best ascending; drawn: of `cumulated`; rule: `posterior.Rule`; edge: share of an increment that a window's ends reach on.
        """
        return _inside(at, *self.scores, *drawn, rule.low, rule.high, rule.increment, rule.min_labelled, rule.min_population, edge)


@numba.njit(cache=True)
def _inside(at, first, second, third, cum_1, cum_2, cum_3, low, high, increment, min_labelled, min_population, edge):
    out, place = np.zeros((3, len(at)), np.int64), np.zeros((3, 2), np.int64)
    widest, steps = int((high - low) / increment) + 2, 0
    n_third = cum_3[-1]
    for i in range(len(at)):
        x = at[i]
        short, enough, jump = -1, -1, 1  # largest known to be too small, smallest known to hold enough
        while enough - short != 1 or enough < 0:
            reach = (steps + edge) * increment
            counts_1 = _count(first, cum_1, x - reach, x + reach, place[0])
            counts_2 = _count(second, cum_2, x - reach, x + reach, place[1])
            counts_3 = _count(third, cum_3, x - reach, x + reach, place[2])
            share = _in_range(x, steps, low, high, increment, edge)
            if steps == widest or (counts_1 + counts_2 >= share * min_labelled and counts_3 >= min_population * share * n_third):
                enough, out[0, i], out[1, i], out[2, i] = steps, counts_1, counts_2, counts_3
            else:
                short = steps
            if enough < 0:  # from the last window outwards, by jumps that double
                steps, jump = min(steps + jump, widest), 2 * jump
            elif short < 0 and enough > 0:
                steps, jump = max(steps - jump, 0), 2 * jump
            elif enough - short > 1:
                steps = (short + enough) // 2
        steps = enough
    return out


@numba.njit(cache=True)
def _in_range(x, steps, low, high, increment, edge):
    """The share of a window that counts: where it reaches past the range of thresholds, what lies in range."""
    reach, width = steps * increment, max(2 * steps, 1) * increment
    if steps > np.floor((high - x) / increment + edge):
        return (high - x + reach) / width
    if steps > np.floor((x - low) / increment + edge):
        return (x - low + reach) / width
    return width / width


@numba.njit(cache=True)
def _count(scores, cum, start, end, place):
    """How many lie from start to end, both included; place: where both ends were last, moved from there."""
    a, b, n = place[0], place[1], len(scores)
    while a < n and scores[a] < start:
        a += 1
    while a > 0 and scores[a - 1] >= start:
        a -= 1
    while b < n and scores[b] <= end:
        b += 1
    while b > 0 and scores[b - 1] > end:
        b -= 1
    place[0], place[1] = a, b
    return cum[b] - cum[a]
