"""R2 of a prediction and its falls, in closed form from one part a person; Spearman's correlation beside it.

R2 = 1 - sum w (y - s)^2 / sum w (y - mean y)^2, w how often a draw takes each person, mean y that of the draw. With c what
ablation adds to s, the fall is sum w part / sum w (y - mean y)^2, part = (y - s - c)^2 - (y - s)^2 = c (c - 2 (y - s)), mean
over repeats. Shapes: y [person]; score [..., person] in units of y; full [repeat, person]; change [repeat, latent, person].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata

from lib.outcome import shapes

BLOCK = 1024  # draws at a time: weights of 2,000 people take 16 MB
TINY = 1e-6  # changes below this share of y's spread are the rounding of float32, and count as none


def value(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """R2 of each row: [...]; 1 is perfect, 0 the mean, below 0 worse than the mean. Raises ValueError for a constant y."""
    return 1 - ((y - score) ** 2).sum(-1) / _total(y)


def resampled(y: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R2 of each row of score in each draw: [k, n_boot]. score: [k, person] or [person]; weights: [person, n_boot]."""
    lost = (y - np.atleast_2d(score)) ** 2
    return np.concatenate([1 - lost @ w / _totals(y, w) for w in _blocks(weights)], axis=1)


def parts(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Squared error that ablating each latent adds to each person, mean over repeats: [latent, person]."""
    shapes.check(y, full, change)
    out, least = np.zeros(change.shape[1:]), TINY * np.std(y)
    for s, moves in zip(full, change):
        c = np.where(np.abs(moves) > least, moves, 0).astype(np.float64)
        out += c * (c - 2 * (y - s))
    return out / len(full)


def fall(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Fall of each latent: [latent]. A latent that moves nobody has 0 exactly."""
    return parts(y, full, change).sum(1) / _total(y)


def drawn(y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fall in each bootstrap draw: float32 [latent, n_boot]. weights: uint8 [person, n_boot] from `estimates.draws`."""
    shapes.check(y, full, change, weights)
    part = parts(y, full, change)
    return np.concatenate([(part @ w / _totals(y, w)).astype(np.float32) for w in _blocks(weights)], axis=1)


def without(y: np.ndarray, full: np.ndarray, change: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Fall among the people outside each group: [latent, group]. group: [person], numbers from 0."""
    part = parts(y, full, change)
    lost = np.zeros((len(part), int(group.max()) + 1))
    np.add.at(lost.T, group, part.T)
    moments = _moments(y)
    outside = moments.sum(1, keepdims=True) - np.stack([np.bincount(group, weights=m) for m in moments])
    return (part.sum(1, keepdims=True) - lost) / _spread(*outside)


def error(y: np.ndarray, full: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Standard error of each fall as a ratio of two means, people independent: [latent]. The delta method."""
    part, square = parts(y, full, change), (y - np.mean(y)) ** 2
    off = part - part.sum(1, keepdims=True) / square.sum() * square
    return np.sqrt((off**2).sum(1) * len(y) / (len(y) - 1)) / square.sum()


def spearman(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Correlation of ranks, those of ties averaged: [...]; 0 for a constant score. score: [..., person]."""
    return _correlation(rankdata(y), rankdata(score, axis=-1), np.ones(len(y)))


def resampled_spearman(y: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman of each row of score in each draw: [k, n_boot]. As if each person were there as often as drawn."""
    out = []
    for w in _blocks(weights):
        of_y = _ranks(y, w)
        out.append(np.stack([_correlation(of_y, _ranks(s, w), w.T) for s in np.atleast_2d(score)]))
    return np.concatenate(out, axis=1)


def _ranks(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average rank of each person's value among those of each draw: [n_boot, person]. Less 1/2, which no correlation sees."""
    level = np.unique(x, return_inverse=True)[1]
    at_level = np.zeros((level.max() + 1, weights.shape[1]))
    np.add.at(at_level, level, weights)
    return (at_level.cumsum(0) - at_level / 2)[level].T


def _correlation(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis with weights w; 0 where a or b does not vary."""
    n = w.sum(-1, keepdims=True)
    a, b = (x - (w * x).sum(-1, keepdims=True) / n for x in (a, b))
    spread = np.sqrt((w * a * a).sum(-1) * (w * b * b).sum(-1))
    return np.divide((w * a * b).sum(-1), spread, out=np.zeros(spread.shape), where=spread > 0)


def _blocks(weights: np.ndarray) -> Iterator[np.ndarray]:
    """Draws, a block at a time: float64 [person, at most BLOCK]."""
    for start in range(0, weights.shape[1], BLOCK):
        yield weights[:, start : start + BLOCK].astype(np.float64)


def _total(y: np.ndarray) -> float:
    """sum (y - mean y)^2. Raises ValueError when it is 0."""
    return float(_spread(*_moments(y).sum(1, keepdims=True))[0])


def _totals(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum w (y - mean y)^2 in each draw, mean y its own: [n_boot]. Raises ValueError where y does not vary."""
    return _spread(*(_moments(y) @ weights))


def _moments(y: np.ndarray) -> np.ndarray:
    """Each person's part in sum (y - m)^2, sum (y - m) and n, m the mean of all, for accuracy: [3, person]."""
    off = np.asarray(y, dtype=np.float64) - np.mean(y)
    return np.stack([off**2, off, np.ones(len(off))])


def _spread(square: np.ndarray, linear: np.ndarray, n: np.ndarray) -> np.ndarray:
    total = square - linear**2 / n
    if flat := int((total <= 1e-12 * square).sum()):
        raise ValueError(f"y does not vary in {flat} of {len(total)} samples, so R2 is undefined: wanted more people or groups")
    return total
