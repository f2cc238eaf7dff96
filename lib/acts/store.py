"""The activation store: one HDF5 file, one contiguous float16 dataset a site, rows aligned with the token table.

Contiguous and uncompressed, so that readers can map it and read at memory speed. Stores of neighbouring units are joined
by `join` into one whose activations stay where they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from lib.acts.rows import Rows, map_dataset, read_rows

TOKEN_COLUMNS = {
    "unit": np.int32,  # row of units.csv
    "index": np.int32,  # order among the kept tokens of the unit (and frame)
    "start": np.int32,  # offset in the unit's sequence, 0-based
    "end": np.int32,  # half-open
    "ref_start": np.int64,  # reference position of the first base
    "ref_end": np.int64,  # reference position after the last base
    "token_id": np.int32,
}
FLOAT16_MAX = 65504.0
READ_BYTES = 8 << 20  # of a site, at a time, wherever a whole store is gone through


def create(
    path: Path,
    sites: dict[str, int],
    n_tokens: int,
    attributes: dict[str, str],
    columns: dict[str, np.dtype] | None = None,
    n_reads: int = 0,
) -> None:
    """Make an empty store. The space on disk is taken at once, so a full disk fails here (OSError).

    sites: name -> width. columns: what is known of a token beside `TOKEN_COLUMNS`, name -> type. n_reads: rows of the
    table of what was read (`Store.reads`), 0 for none.
    """
    with h5py.File(path, "w", libver="v110") as f:
        for key, value in attributes.items():
            f.attrs[key] = value
        tokens = f.create_group("tokens", track_order=True)
        for name, dtype in (TOKEN_COLUMNS | (columns or {})).items():
            early(tokens, name, (n_tokens,), dtype)
        if n_reads:
            reads = f.create_group("reads")
            for name, (dtype, *more) in READS.items():
                early(reads, name, (n_reads, *more), dtype)
        acts = f.create_group("acts", track_order=True)
        for name, dim in sites.items():
            early(acts, name, (n_tokens, dim), np.float16)
    _take_space(path)


def _take_space(path: Path) -> None:
    """Have the file's bytes on the disk, where the file system can; a file with holes fails when they are filled."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as handle:
            try:
                os.posix_fallocate(handle.fileno(), 0, os.fstat(handle.fileno()).st_size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise


#: One row a forward of one unit: unit, tokens kept, and a hash of all that the model saw.
READS = {"unit": (np.int32,), "n_tokens": (np.int32,), "content": (np.uint64, 2)}


def early(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: type) -> None:
    """A contiguous dataset whose place is fixed now, so that it can be mapped; no time stamp, so equal runs are equal."""
    space = h5py.h5s.create_simple(shape)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, properties)


class Writer:
    """Writes rows of an existing store's datasets with plain file writes: a full disk is an OSError, memory stays flat."""

    def __init__(self, path: Path):
        self.path, self._place = Path(path), {}
        with h5py.File(path, "r") as f:
            f.visititems(self._note)
        self._file = os.open(path, os.O_RDWR)

    def _note(self, name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            row = item.dtype.itemsize * int(np.prod(item.shape[1:]))
            self._place[name] = item.id.get_offset(), row, item.dtype, len(item)

    def write(self, name: str, row: int, values: np.ndarray) -> None:
        """Rows `row` and following of a dataset ("acts/resid_post.3"). Raises ValueError for rows it has not."""
        offset, size, dtype, n = self._place[name]
        values = np.ascontiguousarray(values, dtype=dtype)
        if row < 0 or row + len(values) > n or values.nbytes != size * len(values):
            raise ValueError(f"{self.path}: {name}: rows {row}-{row + len(values)} of {values.shape[1:]} do not fit")
        left, at = memoryview(values).cast("B") if values.size else b"", offset + row * size
        while len(left):
            done = os.pwrite(self._file, left, at)
            left, at = left[done:], at + done

    def to_disk(self) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def to_float16(x: np.ndarray, where: str) -> np.ndarray:
    """Cast, after checking that nothing is beyond float16's range. Raises ValueError naming `where`."""
    check_range(float(np.abs(x).max(initial=0.0)), where)
    return x.astype(np.float16)


def check_range(largest: float, where: str) -> None:
    """Raise ValueError naming `where` unless the largest absolute value fits float16."""
    if not largest <= FLOAT16_MAX:
        raise ValueError(f"{where}: largest activation {largest:g} does not fit float16 (limit {FLOAT16_MAX:g})")


@dataclass(frozen=True)
class Store:
    """A mapped store. tokens: column -> [token]; acts: site -> [token, d] float16; attributes: provenance.

    reads: column of `READS` -> [read], one row for each forward of one unit, in row order; empty where not known.
    """

    path: Path
    tokens: dict[str, np.ndarray]
    acts: dict[str, np.ndarray | Rows]
    attributes: dict[str, str]
    reads: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_tokens(self) -> int:
        return len(self.tokens["unit"])

    def read(self, site: str, low: int, high: int) -> np.ndarray:
        """Rows low to high of a site, read and not mapped: [high - low, d] float16. Memory is that of the rows."""
        return read_rows(self.acts[site], low, high, site)

    def blocks(self, site: str) -> Iterator[tuple[int, np.ndarray]]:
        """All rows of a site in order, READ_BYTES at a time: (first row, [row, d] float16)."""
        n = max(READ_BYTES // max(2 * self.acts[site].shape[1], 1), 1)
        for low in range(0, self.n_tokens, n):
            yield low, self.read(site, low, min(low + n, self.n_tokens))


def open_store(path: Path, mode: str = "r") -> Store:
    """Map a store. mode: "r", or "r+" to fill it. Raises ValueError when the file is cut short or not a store."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no activation store: run 01_extraction first")
    try:
        with h5py.File(path, "r") as f:
            if "tokens" not in f or "acts" not in f:
                raise ValueError(f"{path}: not an activation store: no groups 'tokens' and 'acts'")
            if lacking := [name for name in TOKEN_COLUMNS if name not in f["tokens"]]:
                raise ValueError(f"{path}: not an activation store: no token columns {', '.join(lacking)}")
            names = [*TOKEN_COLUMNS, *(name for name in f["tokens"] if name not in TOKEN_COLUMNS)]
            tokens = {name: map_dataset(path, f["tokens"][name], mode) for name in names}
            acts = {name: map_dataset(path, f["acts"][name], mode) for name in f["acts"]}
            reads = {name: map_dataset(path, f["reads"][name], mode) for name in f.get("reads", ())}
            return Store(path, tokens, acts, dict(f.attrs), reads)
    except OSError as error:
        raise ValueError(f"{path}: not a whole HDF5 file: {error}") from error


def check(path: Path) -> dict[str, dict[str, float]]:
    """Go through every value of a store: site -> {"max_abs", "n_zero": rows of nothing but zeros}.

    Raises ValueError naming file, site and row for a value that is not finite, and as `open_store`.
    """
    whole, summary = open_store(path), {}
    for site in whole.acts:
        max_bits, n_zero = 0, 0
        for low, x in whole.blocks(site):
            largest = (x.view(np.uint16) & 0x7FFF).max(axis=1)  # float16 without its sign orders like an integer
            if (wrong := np.flatnonzero(largest >= 0x7C00)).size:
                raise ValueError(f"{path}: {site}, row {low + wrong[0]}: not finite")
            max_bits, n_zero = max(max_bits, int(largest.max())), n_zero + int((largest == 0).sum())
        summary[site] = {"max_abs": float(np.uint16(max_bits).view(np.float16)), "n_zero": n_zero}
    return summary


def subset(source: Path, path: Path, units: np.ndarray) -> None:
    """Write a small store with the tokens of some units only; unit numbers stay those of the source."""
    whole = open_store(source)
    rows = np.flatnonzero(np.isin(whole.tokens["unit"], units))
    extra = {name: column.dtype for name, column in whole.tokens.items() if name not in TOKEN_COLUMNS}
    create(path, {name: a.shape[1] for name, a in whole.acts.items()}, len(rows), whole.attributes, extra)
    with Writer(path) as out:
        for name, column in whole.tokens.items():
            out.write(f"tokens/{name}", 0, column[rows])
        for name, a in whole.acts.items():
            out.write(f"acts/{name}", 0, a[rows])


def join(paths: list[Path], out: Path) -> None:
    """One store of stores whose units follow each other: activations as HDF5 virtual datasets, not copied.

    The token table, under a hundredth of the bytes, is copied. Shards are found by their path from `out`, so move them
    together. Raises ValueError naming the file for shards that differ in sites, columns or attributes, whose units
    overlap or leave a gap, or that know not what they read.
    """
    shards = [open_store(path) for path in paths]
    _check_joinable(shards)
    first, n_tokens = shards[0], sum(shard.n_tokens for shard in shards)
    extra = {name: column.dtype for name, column in first.tokens.items() if name not in TOKEN_COLUMNS}
    n_reads = sum(len(shard.reads["unit"]) for shard in shards)
    create(out, {}, n_tokens, first.attributes, extra, n_reads)
    with Writer(out) as writer:
        for group in ("tokens", "reads"):
            for name in getattr(first, group):
                row = 0
                for shard in shards:
                    column = getattr(shard, group)[name]
                    writer.write(f"{group}/{name}", row, column)
                    row += len(column)
    with h5py.File(out, "r+", libver="v110") as f:
        for site, acts in first.acts.items():
            layout, row = h5py.VirtualLayout((n_tokens, acts.shape[1]), np.float16), 0
            for shard in shards:
                n = shard.n_tokens
                source = os.path.relpath(shard.path, Path(out).parent)
                layout[row : row + n] = h5py.VirtualSource(source, f"acts/{site}", (n, acts.shape[1]), np.float16)
                row += n
            f["acts"].create_virtual_dataset(site, layout)


def _check_joinable(shards: list[Store]) -> None:
    if not shards:
        raise ValueError("no stores to join")
    first, after = shards[0], None
    for shard in shards:
        for what, actual, wanted in (
            ("sites", {k: v.shape[1] for k, v in shard.acts.items()}, {k: v.shape[1] for k, v in first.acts.items()}),
            ("token columns", {k: v.dtype for k, v in shard.tokens.items()}, {k: v.dtype for k, v in first.tokens.items()}),
            ("attributes", shard.attributes, first.attributes),
        ):
            if actual != wanted:
                raise ValueError(f"{shard.path}: {what} {actual}, wanted those of {first.path}: {wanted}")
        units = shard.reads.get("unit", np.empty(0, np.int32))
        if not len(units):
            raise ValueError(f"{shard.path}: has no table of what was read, so it cannot be joined")
        if after is not None and units[0] != after:
            raise ValueError(f"{shard.path}: begins with unit {units[0]}, wanted {after}")
        after = int(units[-1]) + 1
