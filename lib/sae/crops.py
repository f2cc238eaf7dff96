"""How the rows of a block are cut into the pieces that a training shuffles: single tokens, or crops of consecutive ones."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Cut(Protocol):
    """length: rows of a piece."""

    length: int

    def epoch(self, at: int) -> tuple[int, int]:
        """The epoch in which piece `at` of the stream comes, and how many of that epoch come before it."""

    def counts(self, epoch: int) -> np.ndarray:
        """Pieces of each block: [block]."""

    def starts(self, epoch: int, blocks: np.ndarray) -> np.ndarray:
        """First rows of the pieces of some blocks, rows numbered through these blocks: [piece]."""


class Tokens:
    """Every row alone. sizes: [block] rows."""

    length = 1

    def __init__(self, sizes: np.ndarray):
        self._sizes = sizes

    def epoch(self, at: int) -> tuple[int, int]:
        return divmod(at, int(self._sizes.sum()))

    def counts(self, epoch: int) -> np.ndarray:
        return self._sizes

    def starts(self, epoch: int, blocks: np.ndarray) -> np.ndarray:
        return np.arange(self._sizes[blocks].sum())


class Crops:
    """Runs of `crop` consecutive rows of one unit.

    Each epoch lays crops end to end over each unit from an offset drawn anew, the first one beginning less than a crop before
    the unit; a crop that would stick out is moved inside. So every row comes at least once an epoch, and one within a crop of
    its unit's ends up to twice. A unit shorter than a crop has none, and is left out.
    lengths: [block] of [unit], rows of each unit.
    Raises ValueError without lengths, where no unit is as long as a crop, or where a batch is no whole number of crops.
    """

    def __init__(self, lengths: list[np.ndarray] | None, crop: int, batch: int, seed: int):
        if crop < 1 or batch % crop:
            raise ValueError(f"a batch of {batch} tokens holds no whole number of crops of {crop}")
        if lengths is None:
            raise ValueError("crops are of one unit each: give the source the unit of each token")
        self.length, self._seed, self._n_blocks = crop, seed, len(lengths)
        self._block = np.repeat(np.arange(len(lengths)), [len(part) for part in lengths])
        self._lengths = np.concatenate([*lengths, np.empty(0, dtype=np.int64)]).astype(np.int64)
        if not (self._lengths >= crop).any():
            raise ValueError(f"no unit has the {crop} tokens of a crop, the longest has {self._lengths.max(initial=0)}")

    def epoch(self, at: int) -> tuple[int, int]:
        number = 0
        while at >= (held := int(self.counts(number).sum())):
            number, at = number + 1, at - held
        return number, at

    def counts(self, epoch: int) -> np.ndarray:
        return np.bincount(self._block, self._of_units(epoch)[1], self._n_blocks).astype(np.int64)

    def starts(self, epoch: int, blocks: np.ndarray) -> np.ndarray:
        offset, n = self._of_units(epoch)
        unit = np.concatenate([np.flatnonzero(self._block == block) for block in blocks])
        offset, n, length = offset[unit], n[unit], self._lengths[unit]
        place = np.repeat(offset, n) + self.length * (np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n))
        return np.repeat(np.cumsum(length) - length, n) + np.clip(place, 0, np.repeat(length - self.length, n))

    def _of_units(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each unit's first crop would begin, from 1 - crop to 0, and how many it has: [unit] each."""
        offset = -np.random.default_rng([self._seed, epoch, 2**31]).integers(0, self.length, len(self._lengths))
        offset[self._lengths == self.length] = 0  # or its one crop would come twice
        return offset, np.where(self._lengths < self.length, 0, -(-(self._lengths - offset) // self.length))


def by_unit(rows: np.ndarray, unit: np.ndarray, block: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Blocks of whole units of about `block` rows: where they begin, and the end, [block + 1], and the rows of each unit of each
    block. rows: sorted; unit: [token]. A unit whose rows are not adjacent counts as several."""
    cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(unit[rows]) != 0)) + 1
    ends = np.append(cuts, len(rows)) if len(rows) else cuts
    lengths = np.diff(ends, prepend=0)
    last = np.flatnonzero(np.diff((ends - lengths) // block, append=-1) != 0)  # a block takes the units that begin in it
    return np.concatenate([[0], ends[last]]), np.split(lengths, last[:-1] + 1)
