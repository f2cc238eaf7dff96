"""The best that bases next to a base say of it: a two-sided Markov model, the rival of a masked language model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lib.models import sequence as sq

#: Bases on each side, at most, and how much a context is drawn to the next shorter one, in counts: what `chosen` chooses among.
LONGEST = 6
SHRINK = (1, 3, 10, 30, 100, 300)


def counts(stretches: Iterable[np.ndarray], longest: int = LONGEST) -> list[np.ndarray]:
    """How often each base stands in each context of k bases on each side, on both strands: for k = 0 to longest, [16^k, 4] uint32.

    stretches: codes, 0 to 3, 4 for N; places with an N within `longest` bases are left out, as are the ends. Counting six
    takes 0.3 GB.
    """
    table = np.zeros(16**longest * 4, np.uint32)
    for codes in stretches:
        for strand in (codes, sq.reverse_complement(codes)):
            context, base, known = _contexts(strand[None], longest)
            np.add.at(table, (context * 4 + base)[known], 1)
    out = [table.reshape(-1, 4)]
    for k in range(longest, 0, -1):
        out.append(out[-1].reshape(16, 16 ** (k - 1), 4).sum(0, dtype=np.uint32))  # the outermost pair is the leading digit
    return out[::-1]


def losses(tables: list[np.ndarray], codes: np.ndarray, k: int, shrink: float) -> np.ndarray:
    """Minus the log probability (nats) of each base given k bases on each side: [n, base] float64, NaN where these are not all there.

    A context's counts are added to `shrink` times what the next shorter context says, down to the bases' own frequencies. tables: of
    `counts`, of which the longest says which places are left out at the ends of a row; codes: [n, base].
    """
    longest = len(tables) - 1
    context, base, known = _contexts(codes, longest)
    context, base = context[known], base[known]
    chance = np.full(len(base), 0.25)
    for level in range(k + 1):
        own = tables[level][context % 16**level].astype(np.float64)
        chance = (own[np.arange(len(base)), base] + shrink * chance) / (own.sum(1) + shrink)
    out = np.full(codes.shape, np.nan)
    inner = np.full(known.shape, np.nan)
    inner[known] = -np.log(chance)
    out[:, longest : codes.shape[1] - longest] = inner
    return out


def chosen(tables: list[np.ndarray], codes: np.ndarray) -> tuple[int, float]:
    """The number of bases on each side, and the shrinkage, of the smallest mean loss on windows: [n, base] codes of validation."""
    means = {(k, shrink): np.nanmean(losses(tables, codes, k, shrink)) for k in range(len(tables)) for shrink in SHRINK}
    return min(means, key=means.get)


def _contexts(codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each base with k bases on each side: its context as a number of base 16, the nearest pair the last digit, the base, and whether
    all of them are known. codes: [n, base]; each [n, base - 2k]."""
    n = max(0, codes.shape[1] - 2 * k)
    base = codes[:, k : k + n].astype(np.int64)
    context, known = np.zeros(base.shape, np.int64), base < 4
    for j in range(1, k + 1):
        left, right = codes[:, k - j : k - j + n].astype(np.int64), codes[:, k + j : k + j + n].astype(np.int64)
        context += (left * 4 + right) * 16 ** (j - 1)
        known &= (left < 4) & (right < 4)
    return context, base, known
