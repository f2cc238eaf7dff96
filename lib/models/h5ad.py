"""Expression tables, cell rows by gene columns: .h5ad files read a block at a time, and AnnData objects in memory.

The files are read by h5py: what is needed of the format (a matrix, two tables of names) is small, and anndata would bring a
dozen packages. An AnnData object is used as it is, by its own attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

ROWS = 1024  # cells in a block
ENTRIES = 1 << 22  # nonzero entries held at once of a matrix stored by column, about 60 bytes each
INTEGERS, NUMBERS, FLAGS = ("iu", "whole numbers"), ("biuf", "numbers"), ("b", "true or false")  # numpy's kinds, and in words


class H5ad:
    """A .h5ad file. layer: None for X, "raw" for raw/X with its own genes, else a name in layers.

    cells: [cell] str, the obs index. columns: the var columns that can name genes, "index" first. Raises
    FileNotFoundError, or ValueError with what is there instead.
    """

    def __init__(self, path: Path, layer: str | None = None):
        self.name, self.path = str(path), path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        where = {None: "X", "raw": "raw/X"}.get(layer, f"layers/{layer}")
        with self._open() as f:
            self.layers = [*(_part(f, "layers") if "layers" in f else ()), *(["raw"] if "raw" in f else [])]
            self.matrix, self.var = where, "raw/var" if layer == "raw" else "var"
            try:
                matrix, obs, var = (_part(f, part) for part in (where, "obs", self.var))
            except KeyError as error:
                raise ValueError(f"{path}: no {error.args[0]} (X, obs and var wanted; layers here: {self.layers})") from error
            for table in (obs, var):
                if "_index" not in table.attrs or not isinstance(table, h5py.Group):
                    raise ValueError(f"{path}: {table.name[1:]} is of a format before anndata 0.7: read and write it again")
            self.cells = self._column(obs, "index")
            self.n_genes = len(self._column(var, "index"))
            self.columns = ["index", *(name for name in var if name not in (var.attrs["_index"], "__categories"))]
            if (shape := _shape(matrix)) != (len(self.cells), self.n_genes):
                raise ValueError(f"{path}: {where} is {shape}, but obs and var hold {(len(self.cells), self.n_genes)}")

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path}: not an HDF5 file, or cut short: {error}") from error

    def gene_column(self, name: str) -> np.ndarray:
        """A var column: [gene] str, "" where missing."""
        with self._open() as f:
            return self._column(f[self.var], name)

    def cell_column(self, name: str) -> np.ndarray:
        """An obs column: [cell] str, "" where missing."""
        with self._open() as f:
            return self._column(f["obs"], name)

    def _column(self, table: h5py.Group, name: str) -> np.ndarray:
        key = table.attrs.get("_index", "_index") if name == "index" else name
        if key not in list(table):
            raise ValueError(f"{self.path}: {table.name} has no column {name!r}: it has {', '.join(table)}")
        return _strings(_part(table, key))

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """The cells in order, some rows at a time: [rows, gene]."""
        with self._open() as f:
            matrix = f[self.matrix]
            kind = "dense" if isinstance(matrix, h5py.Dataset) else _sparse_kind(matrix)
            if kind == "dense":
                _refuse_type(matrix, NUMBERS)
            first = 0
            for block in {"dense": _dense, "csr": _by_row, "csc": _by_column}[kind](matrix):
                _refuse_twice(block, self, first)
                yield block
                first += block.shape[0]


class InMemory:
    """An AnnData object, by its attributes; what H5ad says holds here too."""

    def __init__(self, data, layer: str | None = None):
        self.name, self.data = type(data).__name__, data
        self.layers = [*data.layers, *([] if data.raw is None else ["raw"])]
        if layer is not None and layer not in self.layers:
            raise ValueError(f"{self.name}: no layer {layer!r}: it has {self.layers}")
        source = data.raw if layer == "raw" else data
        self.matrix = source.X if layer in (None, "raw") else data.layers[layer]
        self.var, self.cells = source.var, np.array(data.obs_names, dtype=object)
        self.n_genes, self.columns = len(self.var), ["index", *self.var.columns]

    def gene_column(self, name: str) -> np.ndarray:
        return _series(self.var, name)

    def cell_column(self, name: str) -> np.ndarray:
        if name not in self.data.obs:
            raise ValueError(f"{self.name}: obs has no column {name!r}: it has {', '.join(self.data.obs)}")
        return _series(self.data.obs, name)

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        rows = self.matrix.tocsr() if sparse.issparse(self.matrix) else self.matrix
        for start in range(0, len(self.cells), ROWS):
            block = sparse.csr_matrix(rows[start : start + ROWS])
            _refuse_twice(block, self, start)
            yield block


def _refuse_twice(block: sparse.csr_matrix, table: H5ad | InMemory, first: int) -> None:
    """A cell has one count of a gene: two entries of one place would be added up. first: number of the block's first cell."""
    if block.has_canonical_format:  # sorted, and each place once
        return
    for cell, (low, high) in enumerate(pairwise(block.indptr)):
        columns, n = np.unique(block.indices[low:high], return_counts=True)
        if len(columns) < high - low:
            gene = columns[n > 1][0]
            raise ValueError(
                f"{table.name}: cell {table.cells[first + cell]}: {n.max()} entries of gene column {gene} "
                f"({table.gene_column('index')[gene]}), wanted one"
            )


def _series(table, name: str) -> np.ndarray:
    column = table.index.to_series() if name == "index" else table[name]
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)


def _part(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What lies at `path`. Raises KeyError where nothing does, ValueError for a link that leads nowhere or to another file."""
    node = group
    for name in path.split("/"):
        if not isinstance(node, h5py.Group) or name not in list(node):  # `in node` is False for a link that leads nowhere
            raise KeyError(path)
        where = f"{group.file.filename}: {node.name.rstrip('/')}/{name}"
        try:
            node = node[name]
        except (KeyError, OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise ValueError(f"{where} is a link that leads nowhere, wanted all of the data in one file") from error
        if node.file.filename != group.file.filename:
            raise ValueError(f"{where} is a link to {node.file.filename}, wanted all of the data in one file")
    return node


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What is called `name` in a group that has to have it. Raises ValueError."""
    if name not in list(group):
        raise ValueError(f"{group.file.filename}: {group.name} has no {name}: it has {', '.join(group)}")
    return _part(group, name)


def _array(group: h5py.Group, name: str, kinds: tuple[str, str]) -> h5py.Dataset:
    """The list of numbers called `name`. Raises ValueError where there is none, or one of another type."""
    node = _child(group, name)
    if len(getattr(node, "shape", ())) != 1:
        raise ValueError(f"{node.file.filename}: {node.name} is no list, wanted one of {kinds[1]}")
    _refuse_type(node, kinds)
    return node


def _refuse_type(node: h5py.Dataset, kinds: tuple[str, str]) -> None:
    if node.dtype.kind not in kinds[0]:
        raise ValueError(f"{node.file.filename}: {node.name} is of type {node.dtype}, wanted {kinds[1]}")


def _strings(node: h5py.Group | h5py.Dataset) -> np.ndarray:
    """A column as strings, "" where missing: an array, a categorical, or values with a mask."""
    if isinstance(node, h5py.Group) and "codes" in node:
        return _categories(node, _array(node, "codes", INTEGERS)[:], _child(node, "categories"))
    if "categories" in node.attrs:  # anndata 0.7
        return _categories(node, node[:], node.file[node.attrs["categories"]])
    return _values(node)


def _categories(node: h5py.Group | h5py.Dataset, codes: np.ndarray, categories: h5py.Group | h5py.Dataset) -> np.ndarray:
    names = _values(categories)
    if len(codes) and codes.max() >= len(names):
        raise ValueError(
            f"{node.file.filename}: {node.name} has code {codes.max()}, wanted less than {len(names)}, the number of its categories"
        )
    return np.append(names, "")[np.where(codes < 0, len(names), codes)]


def _values(node: h5py.Group | h5py.Dataset) -> np.ndarray:
    """Strings of an array, or of values with a mask."""
    if isinstance(node, h5py.Group):
        values = _part(node, "values") if {"mask", "values"} <= set(node) else node
        if not isinstance(values, h5py.Dataset):
            unknown = node.attrs.get("encoding-type")
            raise ValueError(f"{node.file.filename}: {node.name} is of an unknown encoding {unknown!r}")  # noqa: TRY004
        return np.where(_array(node, "mask", FLAGS)[:], "", _values(values)).astype(object)
    text = h5py.check_string_dtype(node.dtype) is not None or node.dtype.kind == "S"
    return (node.asstr()[:] if text else node[:].astype(str)).astype(object)


def _sparse_kind(group: h5py.Group) -> str:
    kind = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "")))[:3]
    if kind not in ("csr", "csc"):
        raise ValueError(f"{group.file.filename}: {group.name} is {kind!r}: wanted a dense, CSR or CSC matrix")
    where, indptr = f"{group.file.filename}: {group.name}", _array(group, "indptr", INTEGERS)[:].astype(np.int64)
    data, indices = _array(group, "data", NUMBERS), _array(group, "indices", INTEGERS)
    lines = _shape(group)[kind == "csc"]
    if len(indptr) != lines + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError(f"{where}/indptr has {len(indptr)} bounds, wanted {lines + 1} from 0, none smaller than the one before")
    entries = int(indptr[-1])
    if len(data) != entries or len(indices) != entries:
        raise ValueError(f"{where} promises {entries} entries and holds {len(data)} counts and {len(indices)} indices")
    return kind


def _indices(group: h5py.Group, low: int, high: int, n: int) -> np.ndarray:
    """Entries low to high of the indices, each checked to be 0 to n - 1."""
    values = group["indices"][low:high]
    wrong = np.flatnonzero((values < 0) | (values >= n))
    if len(wrong):
        raise ValueError(
            f"{group.file.filename}: {group.name}/indices, entry {low + wrong[0]}: {values[wrong[0]]}, wanted 0 to {n - 1}"
        )
    return values


def _shape(matrix: h5py.Group | h5py.Dataset) -> tuple[int, ...]:
    if isinstance(matrix, h5py.Dataset):
        return matrix.shape
    return tuple(int(n) for n in matrix.attrs.get("shape", matrix.attrs.get("h5sparse_shape", ())))


def _dense(matrix: h5py.Dataset) -> Iterator[sparse.csr_matrix]:
    for start in range(0, len(matrix), ROWS):
        yield sparse.csr_matrix(matrix[start : start + ROWS])


def _by_row(group: h5py.Group) -> Iterator[sparse.csr_matrix]:
    n_rows, n_columns = _shape(group)
    indptr = group["indptr"][:]
    for start in range(0, n_rows, ROWS):
        bounds = indptr[start : start + ROWS + 1]
        part = slice(bounds[0], bounds[-1])
        shape = (len(bounds) - 1, n_columns)
        indices = _indices(group, part.start, part.stop, n_columns)
        yield sparse.csr_matrix((group["data"][part], indices, bounds - bounds[0]), shape=shape)


def _by_column(group: h5py.Group) -> Iterator[sparse.csr_matrix]:
    """Rows of a matrix stored by column: one reading of the file for every ENTRIES nonzero entries."""
    n_rows, n_columns = _shape(group)
    indptr = group["indptr"][:]
    spans = list(pairwise([*range(0, int(indptr[-1]), ENTRIES), int(indptr[-1])]))
    held = np.zeros(n_rows, dtype=np.int64)
    for low, high in spans:
        held += np.bincount(_indices(group, low, high, n_rows), minlength=n_rows)
    passes = np.flatnonzero(np.diff(np.cumsum(held) // ENTRIES, prepend=-1))
    for first, last in pairwise([*passes, n_rows]):
        rows, columns, values = [], [], []
        for low, high in spans:
            index = group["indices"][low:high]
            entries = np.flatnonzero((index >= first) & (index < last))
            rows.append((index[entries] - first).astype(np.int32))
            columns.append((np.searchsorted(indptr, entries + low, side="right") - 1).astype(np.int32))
            values.append(group["data"][low:high][entries])
        value, row, column = (np.concatenate(p) if p else np.zeros(0, np.int32) for p in (values, rows, columns))
        block = sparse.csr_matrix((value, (row, column)), shape=(last - first, n_columns))
        if block.nnz < len(value):  # scipy has added up what is there twice
            places, n = np.unique(column.astype(np.int64) * n_rows + row, return_counts=True)
            place = places[n > 1][0]
            raise ValueError(
                f"{group.file.filename}: {group.name}: {n.max()} entries of cell {first + place % n_rows}, "
                f"gene column {place // n_rows}, wanted one"
            )
        yield block
