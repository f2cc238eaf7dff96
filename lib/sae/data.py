"""Shuffled batches of activations, from the store or straight from the model, in constant memory.

A seed fixes one endless stream of rows: epoch after epoch, the blocks of an epoch in random order,
`buffer_blocks` of them in memory at a time, the rows of such a buffer in random order. Batch i is rows
i x batch to (i + 1) x batch of the stream, so a run can go on at any batch without reading those before it.
The stream may be one of crops, runs of consecutive tokens of one unit, in place of single rows (`lib.sae.crops`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch

from lib.acts import store
from lib.models import forward
from lib.models.adapter import Adapter
from lib.sae import crops

PIECE_BYTES = 1 << 20  # stored rows cast to float32 at a time, so that they stay in the cache
DENSE = 1 / 4  # share of wanted rows from which a span is read whole


class Source(Protocol):
    """Activations in blocks that can be read in any order.

    sizes: [block] int64, tokens. targets: None, or one number a token. read_ahead: whether blocks may be read
    in a thread of their own. lengths: for crops, the tokens of each unit of each block, in order.
    """

    d_in: int
    sizes: np.ndarray
    targets: np.ndarray | None
    read_ahead: bool
    lengths: list[np.ndarray] | None

    def read(self, block: int, out: np.ndarray | None = None) -> np.ndarray:
        """float32 [sizes[block], d_in], in `out` when given."""

    def read_targets(self, block: int) -> np.ndarray:
        """float32 [sizes[block]]."""


def batches(
    source: Source, batch: int, seed: int, start: int = 0, buffer_blocks: int = 8, crop: int = 0
) -> Iterator[np.ndarray] | Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless shuffled float32 batches [batch, d_in], from batch `start` on.

    Every row comes once an epoch. Rows that do not fill a batch go first into the next one, also at the end
    of an epoch, so nothing is left out and one batch may hold rows of two epochs. crop: above 0, a batch is made of crops of so
    many consecutive tokens of a unit, cut anew each epoch (`crops.Crops`), in place of single rows.
    Where the source has targets, gives (batch, targets [batch]). Each batch is a new array.
    Memory: one buffer of buffer_blocks blocks, two where the source reads ahead, and one batch. A source that
    fits one buffer is read once.
    Raises ValueError when the source or the buffer holds fewer rows than a batch, or when batch, start, seed
    or buffer_blocks is out of range. What source.read raises, next raises.
    """
    rows = source.sizes
    cut = crops.Crops(source.lengths, crop, batch, seed) if crop else crops.Tokens(rows)
    if batch < 1:
        raise ValueError(f"a batch of {batch} tokens: wanted at least 1")
    if start < 0 or seed < 0 or buffer_blocks < 1:
        raise ValueError(f"start {start}, seed {seed} or buffer_blocks {buffer_blocks} is below 0, 0 or 1")
    if (total := int(rows.sum())) < batch:
        raise ValueError(f"{total} tokens are fewer than one batch of {batch}")
    n_buffers = math.ceil(len(rows) / buffer_blocks)
    largest = np.sort(rows)[-math.ceil(len(rows) / n_buffers) :]
    capacity = int(largest.sum())
    if capacity < batch:
        raise ValueError(
            f"the shuffling buffer holds {capacity} rows, fewer than one batch of {batch}: use larger blocks"
        )
    fills = _fills(cut, seed, n_buffers, start * batch // cut.length)
    if source.read_ahead and n_buffers > 1:
        filled = _read_ahead(source, (_Buffer(source, capacity), _Buffer(source, capacity)), fills)
    else:
        filled = _read_in_turn(source, _Buffer(source, capacity), fills)
    return _serve(filled, batch, cut)


# What a buffer holds for a while: blocks in file order, seed of the order of its pieces, pieces passed over at first.
Fill = tuple[np.ndarray, tuple[int, int, int], int]


def _fills(cut: crops.Cut, seed: int, n_buffers: int, at: int) -> Iterator[Fill]:
    """What the buffer holds in turn, from piece `at` of the stream on: a row, or a crop."""
    epoch, skip = cut.epoch(at)
    while True:
        counts = cut.counts(epoch)
        order = np.random.default_rng([seed, epoch, 0]).permutation(len(counts))
        for number, blocks in enumerate(np.array_split(order, n_buffers)):
            if skip < (held := int(counts[blocks].sum())):
                yield np.sort(blocks), (seed, epoch, 1 + number), skip
            skip = max(skip - held, 0)
        epoch += 1


class _Buffer:
    """Room for the rows of some blocks, used again and again."""

    def __init__(self, source: Source, capacity: int):
        self.x = np.empty((capacity, source.d_in), dtype=np.float32)
        self.targets = None if source.targets is None else np.empty(capacity, dtype=np.float32)
        self.blocks = np.empty(0, dtype=np.int64)
        self.n_rows = 0

    def arrays(self) -> list[np.ndarray]:
        return [self.x] if self.targets is None else [self.x, self.targets]

    def jobs(self, source: Source, blocks: np.ndarray) -> list[Callable[[], None]]:
        """Calls that fill the buffer with these blocks, one a block; none when it holds them already."""
        if np.array_equal(blocks, self.blocks):
            return []
        bounds = np.concatenate([[0], np.cumsum(source.sizes[blocks])])
        self.blocks, self.n_rows = blocks, int(bounds[-1])
        parts = [slice(*ends) for ends in pairwise(bounds)]
        return [partial(self._read, source, block, rows) for block, rows in zip(blocks.tolist(), parts)]

    def _read(self, source: Source, block: int, rows: slice) -> None:
        source.read(block, out=self.x[rows])
        if self.targets is not None:
            self.targets[rows] = source.read_targets(block)


def _read_in_turn(source: Source, buffer: _Buffer, fills: Iterator[Fill]) -> Iterator[tuple[_Buffer, Fill]]:
    for fill in fills:
        for job in buffer.jobs(source, fill[0]):
            job()
        yield buffer, fill


def _read_ahead(
    source: Source, buffers: tuple[_Buffer, _Buffer], fills: Iterator[Fill]
) -> Iterator[tuple[_Buffer, Fill]]:
    """One thread fills a buffer while the other is served; it ends with the generator, after its block."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="read_ahead")
    turns = zip(cycle(buffers), fills)

    def begin(buffer: _Buffer, fill: Fill):
        return buffer, fill, [pool.submit(job) for job in buffer.jobs(source, fill[0])]

    try:
        waiting = begin(*next(turns))
        for turn in turns:
            buffer, fill, jobs = waiting
            for job in jobs:
                job.result()
            waiting = begin(*turn)  # the buffer served before, which nobody reads any more
            yield buffer, fill
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _serve(filled: Iterator[tuple[_Buffer, Fill]], batch: int, cut: crops.Cut) -> Iterator:
    out, n = None, 0
    with closing(filled):
        for buffer, (blocks, key, skip) in filled:
            starts = cut.starts(key[1], blocks)
            order = np.random.default_rng(key).permutation(len(starts))
            while skip < len(order):
                out = out or [np.empty((batch, *a.shape[1:]), dtype=np.float32) for a in buffer.arrays()]
                some = order[skip : skip + (batch - n) // cut.length]
                taken = (starts[some][:, None] + np.arange(cut.length)).ravel()
                for a, b in zip(buffer.arrays(), out):
                    np.take(a, taken, axis=0, out=b[n : n + len(taken)], mode="clip")  # "raise" copies twice
                skip, n = skip + len(some), n + len(taken)
                if n == batch:
                    yield out[0] if len(out) == 1 else tuple(out)
                    out, n = None, 0


class StoreSource:
    """Token rows of one site of an activation store, read from the file when asked for; it is never mapped.

    rows: sorted row numbers [n]. block: tokens a block. targets: [token] of the whole store, kept as float32. unit: [token]
    of the whole store, for crops; blocks then hold whole units.
    Raises FileNotFoundError, or ValueError when the file is not a whole store, lacks the site, or rows or
    targets do not fit it.
    """

    read_ahead = True

    def __init__(
        self, path: Path, site: str, rows: np.ndarray, block: int = 8192, targets: np.ndarray | None = None,
        unit: np.ndarray | None = None,
    ):  # fmt: skip
        self.path, self.site = Path(path), site
        rows = np.asarray(rows)
        if block < 1 or rows.ndim != 1:
            raise ValueError(f"block {block}, rows {rows.shape}: wanted at least 1, and [n]")
        acts = store.open_store(self.path).acts  # checks that the file is whole
        if site not in acts:
            raise ValueError(f"{path}: no site {site!r}: this store has {', '.join(acts)}")
        n_tokens, self.d_in = acts[site].shape
        self._offset, self._dtype = getattr(acts[site], "offset", 0), acts[site].dtype
        self._row_bytes = self.d_in * self._dtype.itemsize
        self._n = rows.size
        self._cuts, self._shift = _ranges(rows, f"{path}: {site}")
        if self._n and not 0 <= rows[0] <= rows[-1] < n_tokens:
            raise ValueError(f"{path}: rows {rows[0]} to {rows[-1]} wanted, there are {n_tokens}")
        if targets is not None and np.shape(targets) != (n_tokens,):
            raise ValueError(f"targets have shape {np.shape(targets)}, wanted one a token: ({n_tokens},)")
        self.targets = None if targets is None else np.asarray(targets, dtype=np.float32)
        self._first, self.lengths = np.append(np.arange(0, self._n, block), self._n), None
        if unit is not None:
            self._first, self.lengths = crops.by_unit(rows, np.asarray(unit), block)
        self.sizes = np.diff(self._first)

    def rows(self, block: int) -> np.ndarray:
        """Row numbers of a block's tokens: [sizes[block]] int64."""
        place = np.arange(self._first[block], self._first[block + 1])
        return place + self._shift[np.searchsorted(self._cuts, place, side="right") - 1]

    def read(self, block: int, out: np.ndarray | None = None) -> np.ndarray:
        """A block's activations: float32 [sizes[block], d_in], in `out` when given.

        Raises ValueError naming file, site and block when a value is not finite or the file became shorter.
        """
        rows = self.rows(block)
        where = f"{self.path}: {self.site}, block {block} (rows {rows[0]}-{rows[-1]})"
        out = np.empty((len(rows), self.d_in), dtype=np.float32) if out is None else out
        piece = max(PIECE_BYTES // self._row_bytes, 1)
        scratch = np.empty((math.ceil(piece / DENSE), self.d_in), dtype=self._dtype)
        with self.path.open("rb") as handle:
            for s in range(0, len(rows), piece):
                raw = self._read_rows(handle, rows[s : s + piece], scratch, where)
                x = out[s : s + piece]
                torch.from_numpy(x).copy_(torch.from_numpy(raw))  # faster than NumPy's cast
                _check_finite(x, where)
        return out

    def _read_rows(self, handle: BinaryIO, rows: np.ndarray, scratch: np.ndarray, where: str) -> np.ndarray:
        """Rows as stored: [row, d_in], in `scratch` or new. Dense rows are one read, others one a stretch."""
        low, n = int(rows[0]), int(rows[-1]) + 1 - int(rows[0])
        if len(rows) >= DENSE * n:
            self._read_span(handle, low, scratch[:n], where)
            return scratch[:n] if len(rows) == n else scratch[rows - low]
        cuts = np.flatnonzero(np.diff(rows) > 1) + 1
        for s, e in pairwise([0, *cuts.tolist(), len(rows)]):
            self._read_span(handle, int(rows[s]), scratch[s:e], where)
        return scratch[: len(rows)]

    def _read_span(self, handle: BinaryIO, low: int, out: np.ndarray, where: str) -> None:
        handle.seek(self._offset + low * self._row_bytes)
        if handle.readinto(out) != out.nbytes:
            raise ValueError(f"{where}: the file has become shorter")

    def read_targets(self, block: int) -> np.ndarray:
        """Targets of a block's tokens: float32 [sizes[block]]."""
        return self.targets[self.rows(block)]


def _ranges(rows: np.ndarray, where: str, piece: int = 1 << 20) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers as stretches of adjacent rows: (cuts, shift), rows[i] = i + shift[last cut at or before i].

    Takes far less memory than the rows, which are as many as the tokens, where stretches are long.
    Raises ValueError when rows do not increase.
    """
    cuts = [np.zeros(min(len(rows), 1), dtype=np.int64)]
    for s in range(1, len(rows), piece):
        step = np.diff(rows[s - 1 : s + piece])
        if (step <= 0).any():
            raise ValueError(f"{where}: row numbers must increase")
        cuts.append(s + np.flatnonzero(step != 1))
    cuts = np.concatenate(cuts)
    return cuts, rows[cuts] - cuts


def _check_finite(x: np.ndarray, where: str) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"{where}: {np.count_nonzero(~np.isfinite(x))} activations are not finite")


class ModelSource:
    """Activations of one site, computed when asked for and never stored: the rows that extraction stores.

    sequences: one a unit. units_a_block: units of a block, in their order. token_budget: tokens of a forward
    pass, padding included. targets: [kept token], in unit order, kept as float32.
    The model runs in the caller's thread, since its sites are read by hooks.
    Raises ValueError when a unit has no known token or is longer than the model reads, or targets do not fit.
    """

    read_ahead = False

    def __init__(
        self, adapter: Adapter, site: str, sequences: Sequence[str], units_a_block: int = 64,
        token_budget: int = 8192, targets: np.ndarray | None = None,
    ):  # fmt: skip
        if units_a_block < 1:
            raise ValueError(f"units_a_block {units_a_block} must be at least 1")
        self.adapter, self.site, self.d_in = adapter, site, adapter.site(site).dim
        self._sequences, self._token_budget = sequences, token_budget
        kept = np.array([adapter.encode_one(s).keep.sum() for s in sequences], dtype=np.int64)
        if (kept == 0).any():
            raise ValueError(f"unit {int(np.flatnonzero(kept == 0)[0])} has no known token: is it all N?")
        self._first = np.concatenate([[0], np.cumsum(kept)])
        if targets is not None and np.shape(targets) != (kept.sum(),):
            raise ValueError(f"targets have shape {np.shape(targets)}, wanted one a token: ({kept.sum()},)")
        self.targets = None if targets is None else np.asarray(targets, dtype=np.float32)
        self._units_a_block = units_a_block
        starts = np.arange(0, len(kept), units_a_block)
        self.sizes = np.add.reduceat(kept, starts) if len(kept) else kept
        self.lengths = [kept[s : s + units_a_block] for s in starts]

    def _units(self, block: int) -> range:
        return range(len(self._sequences))[block * self._units_a_block : (block + 1) * self._units_a_block]

    def rows(self, block: int) -> np.ndarray:
        """A block's tokens, as numbers among all kept tokens in unit order: [sizes[block]] int64."""
        units = self._units(block)
        return np.arange(self._first[units.start], self._first[units.stop])

    def read(self, block: int, out: np.ndarray | None = None) -> np.ndarray:
        """A block's activations: float32 [sizes[block], d_in], in `out` when given.

        Raises ValueError naming site and block when a value is not finite.
        """
        units = self._units(block)
        encoded = [self.adapter.encode_one(self._sequences[u]) for u in units]
        first = self._first[units.start : units.stop + 1] - self._first[units.start]
        x = np.empty((first[-1], self.d_in), dtype=np.float32)
        plan = forward.plan(np.array([len(e.ids) for e in encoded]), self._token_budget)
        for members, batch in forward.batches(self.adapter, encoded, plan):
            got = self.adapter.run(batch, [self.site])[self.site].float().cpu().numpy()
            x[np.concatenate([np.arange(first[k], first[k + 1]) for k in members])] = got
        rows = self.rows(block) - self._first[units.start]
        out = np.empty((len(rows), self.d_in), dtype=np.float32) if out is None else out
        np.take(x, rows, axis=0, out=out, mode="clip")
        _check_finite(out, f"{self.site}, block {block} (units {units.start}-{units.stop - 1})")
        return out

    def read_targets(self, block: int) -> np.ndarray:
        """Targets of a block's tokens: float32 [sizes[block]]."""
        return self.targets[self.rows(block)]
