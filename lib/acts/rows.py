"""Rows of one dataset of a store, mapped where they lie on disk: in one file, or in the shards of a joined store."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np


class Rows:
    """Rows of one site that lie in several files, in their order: indexed by row like one array [token, d], read-only."""

    def __init__(self, parts: list[np.ndarray]):
        self.parts, self.dtype, self.ndim = parts, parts[0].dtype, 2
        self.bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        self.shape = (int(self.bounds[-1]), parts[0].shape[1])

    @property
    def offset(self) -> int:
        raise ValueError("the activations of a joined store lie in several files: there is no one offset")

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key) -> np.ndarray:
        if isinstance(key, tuple):
            rows = self[key[0]]
            return rows[key[1:] if np.ndim(key[0]) == 0 and not isinstance(key[0], slice) else (slice(None), *key[1:])]
        if isinstance(key, slice):
            low, high, step = key.indices(len(self))
            if step != 1:
                return self[np.arange(low, high, step)]
            return self._span(low, max(low, high))
        key = np.asarray(key)
        if key.dtype == bool:
            if key.shape != (len(self),):
                raise IndexError(f"a mask of shape {key.shape} for {len(self)} rows")
            key = np.flatnonzero(key)
        if key.ndim == 0:
            return self[key[None]][0]
        return self._take(key)

    def _span(self, low: int, high: int) -> np.ndarray:
        slices = [part[max(low - a, 0) : high - a] for part, a, b in zip(self.parts, self.bounds, self.bounds[1:])
                  if low < b and high > a]  # fmt: skip
        return slices[0] if len(slices) == 1 else np.concatenate([np.empty((0, self.shape[1]), self.dtype), *slices])

    def _take(self, rows: np.ndarray) -> np.ndarray:
        flat = np.where(rows < 0, rows + len(self), rows).astype(np.int64).ravel()
        if len(flat) and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        out = np.empty((len(flat), self.shape[1]), self.dtype)
        part_of = np.searchsorted(self.bounds, flat, side="right") - 1
        for number in np.unique(part_of):
            in_part = part_of == number
            out[in_part] = self.parts[number][flat[in_part] - self.bounds[number]]
        return out.reshape(*rows.shape, self.shape[1])


def read_rows(array: np.ndarray | Rows, low: int, high: int, what: str) -> np.ndarray:
    """Rows low to high of what `map_dataset` mapped, by file reads."""
    parts = array.parts if isinstance(array, Rows) else [array]
    out, start = np.empty((high - low, *array.shape[1:]), dtype=array.dtype), 0
    for part in parts:
        a, b = max(low, start), min(high, start + len(part))
        if a < b:
            with open(part.filename, "rb") as handle:
                handle.seek(part.offset + (a - start) * out.strides[0])
                if handle.readinto(out[a - low : b - low]) != (b - a) * out.strides[0]:
                    raise ValueError(f"{part.filename}: {what}: the file has become shorter")
        start += len(part)
    return out


def map_dataset(path: Path, dataset: h5py.Dataset, mode: str) -> np.ndarray | Rows:
    """A contiguous dataset of an HDF5 file, mapped; of a joined store, its shards'. Raises ValueError for one cut short."""
    if dataset.is_virtual:
        return Rows([_map_source(path, source, dataset, mode) for source in dataset.virtual_sources()])
    offset = dataset.id.get_offset()
    if dataset.size == 0:
        return np.empty(dataset.shape, dataset.dtype)
    if offset is None or offset + dataset.nbytes > path.stat().st_size:
        raise ValueError(f"{path}: {dataset.name} is cut short: the file ends before its {dataset.nbytes} bytes do")
    return np.memmap(path, dtype=dataset.dtype, mode=mode, offset=offset, shape=dataset.shape)


def _map_source(path: Path, source, dataset: h5py.Dataset, mode: str) -> np.ndarray:
    """One shard of a joined store. HDF5 itself would read a shard that is gone as zeros."""
    shard = path.parent / source.file_name
    if not shard.is_file():
        raise ValueError(f"{path}: its shard {shard} is gone")
    if mode != "r":
        raise ValueError(f"{path}: a joined store is not written to")
    low, high = source.vspace.get_regular_hyperslab()[0][0], source.vspace.get_select_bounds()[1][0] + 1
    wanted = (high - low, *dataset.shape[1:])
    try:
        with h5py.File(shard, "r") as f:
            if source.dset_name not in f or f[source.dset_name].shape != wanted:
                raise ValueError(f"{path}: its shard {shard} has no {source.dset_name} of shape {wanted}")
            return map_dataset(shard, f[source.dset_name], mode)
    except OSError as error:
        raise ValueError(f"{path}: its shard {shard} is not a whole HDF5 file: {error}") from error
