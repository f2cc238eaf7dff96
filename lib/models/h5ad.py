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
            self.layers = [*f.get("layers", ()), *(["raw"] if "raw" in f else [])]
            for part in (where, "obs", "raw/var" if layer == "raw" else "var"):
                if part not in f:
                    raise ValueError(f"{path}: no {part} (X, obs and var wanted; layers here: {self.layers})")
            self.matrix, self.var = where, "raw/var" if layer == "raw" else "var"
            for table in ("obs", self.var):
                if "_index" not in f[table].attrs:
                    raise ValueError(f"{path}: {table} is of a format before anndata 0.7: read and write it again")
            self.cells = self._column(f["obs"], "index")
            self.n_genes = len(self._column(f[self.var], "index"))
            columns = [n for n in f[self.var] if n not in (f[self.var].attrs.get("_index"), "__categories")]
            self.columns = ["index", *columns]
            if (shape := _shape(f[where])) != (len(self.cells), self.n_genes):
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
        if key not in table:
            raise ValueError(f"{self.path}: {table.name} has no column {name!r}: it has {', '.join(table)}")
        return _strings(table[key])

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """The cells in order, some rows at a time: [rows, gene]."""
        with self._open() as f:
            matrix = f[self.matrix]
            kind = "dense" if isinstance(matrix, h5py.Dataset) else _sparse_kind(matrix)
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


def _strings(node: h5py.Group | h5py.Dataset) -> np.ndarray:
    """A column as strings, "" where missing: an array, a categorical, or values with a mask."""
    parts = node if isinstance(node, h5py.Group) else ()
    if "codes" in parts:
        codes, categories = node["codes"][:], _strings(node["categories"])
        return np.where(codes < 0, "", categories[codes]).astype(object)
    if "mask" in parts:
        return np.where(node["mask"][:], "", _strings(node["values"])).astype(object)
    if parts:
        raise ValueError(f"{node.file.filename}: {node.name} is of an unknown encoding {node.attrs.get('encoding-type')!r}")
    if "categories" in node.attrs:  # anndata 0.7
        codes, categories = node[:], _strings(node.file[node.attrs["categories"]])
        return np.where(codes < 0, "", categories[codes]).astype(object)
    text = h5py.check_string_dtype(node.dtype) is not None or node.dtype.kind == "S"
    return (node.asstr()[:] if text else node[:].astype(str)).astype(object)


def _sparse_kind(group: h5py.Group) -> str:
    kind = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "")))[:3]
    if kind not in ("csr", "csc"):
        raise ValueError(f"{group.file.filename}: {group.name} is {kind!r}: wanted a dense, CSR or CSC matrix")
    where, indptr = f"{group.file.filename}: {group.name}", group["indptr"][:].astype(np.int64)
    lines = _shape(group)[kind == "csc"]
    if len(indptr) != lines + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError(f"{where}/indptr has {len(indptr)} bounds, wanted {lines + 1} from 0, none smaller than the one before")
    entries = int(indptr[-1])
    if len(group["data"]) != entries or len(group["indices"]) != entries:
        raise ValueError(f"{where} promises {entries} entries and holds {len(group['data'])}")
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
            mine = np.flatnonzero((index >= first) & (index < last))
            rows.append((index[mine] - first).astype(np.int32))
            columns.append((np.searchsorted(indptr, mine + low, side="right") - 1).astype(np.int32))
            values.append(group["data"][low:high][mine])
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
