"""Cells, the records of the single-cell models: expression rows with Ensembl ids and raw counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from lib.models.h5ad import H5ad, InMemory

ENSEMBL = re.compile(r"(ENS[A-Z]*G\d+)(\.\d+)?")
#: Columns that hold Ensembl ids in the wild, in the order in which they are tried; then the others.
USUAL = ("ensembl_id", "gene_ids", "gene_id", "feature_id", "ensembl", "index")
MOST = 1 << 24  # above it float32, which counts are read as, leaves out whole numbers


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell's nonzero entries.

    genes: [gene] str, Ensembl ids without version (a gene that has none keeps its own name); counts: [gene] float32, raw
    counts above 0. drug: what the cell was treated with, "" for nothing or unknown. Raises ValueError.
    """

    id: str
    genes: np.ndarray
    counts: np.ndarray
    drug: str = ""

    def __post_init__(self):
        if np.ndim(self.genes) != 1 or np.shape(self.genes) != np.shape(self.counts):
            shapes = np.shape(self.genes), np.shape(self.counts)
            raise ValueError(f"cell {self.id}: genes and counts have shapes {shapes}, wanted [gene] twice")
        if len(self.genes) == 0:
            raise ValueError(f"cell {self.id}: no gene has a count: leave empty cells out")
        if not (self.counts > 0).all():
            raise ValueError(f"cell {self.id}: a count of {self.counts.min():g}: wanted the entries above 0 only")

    def __len__(self) -> int:
        return len(self.genes)


def read_cells(
    source: str | Path | object,
    gene_ids: str | None = None,
    layer: str | None = None,
    drug: str | None = None,
    duplicates: str = "error",
) -> Iterator[Cell]:
    """The cells of a .h5ad file or an AnnData object, one after another; a file is read a block of cells at a time.

    gene_ids: the var column of Ensembl ids, "index" for the var index; None takes the first in which most are. layer: where
    raw counts are: None for X, "raw", or a layer's name. drug: an obs column. duplicates: "error", or "sum" to add up
    columns of one gene. A gene without an Ensembl id keeps its name of the var index: it counts towards a cell's total,
    and no vocabulary knows it (see `genes.coverage`). Raises ValueError with the file, the cell, and the gene.
    """
    if duplicates not in ("error", "sum"):
        raise ValueError(f"duplicates is {duplicates!r}: wanted 'error' or 'sum'")
    table = InMemory(source, layer) if hasattr(source, "obs_names") else H5ad(Path(source), layer)
    genes = _gene_names(table, gene_ids)
    names, column = np.unique(genes, return_inverse=True)
    if len(names) < len(genes) and duplicates == "error":
        twice = names[np.bincount(column) > 1]
        raise ValueError(
            f"{table.name}: {len(twice)} genes have more than one column ({', '.join(twice[:3])}): "
            "duplicates='sum' adds them up"
        )
    if len(set(table.cells)) < len(table.cells):
        raise ValueError(f"{table.name}: the obs index names {len(table.cells)} cells by {len(set(table.cells))} ids")
    drugs = table.cell_column(drug) if drug else None
    return _cells(table, genes, names, column, drugs)


def _gene_names(table: H5ad | InMemory, wanted: str | None) -> np.ndarray:
    """[gene] str: the Ensembl id without version, or the var index where there is none."""
    seen = {}
    order = sorted(table.columns, key=lambda c: USUAL.index(c) if c in USUAL else len(USUAL))
    for name in [wanted] if wanted else order:
        values = table.gene_column(name)
        matches = [ENSEMBL.fullmatch(value) for value in values]
        known = sum(m is not None for m in matches)
        if known and (wanted or 2 * known >= np.count_nonzero(values != "")):
            index = table.gene_column("index")
            return np.array([m[1] if m else i for m, i in zip(matches, index)], dtype=object)
        seen[name] = values[0] if len(values) else ""
    raise ValueError(
        f"{table.name}: no Ensembl ids (ENSG00000141510) in var {'column' if wanted else 'columns'} "
        + ", ".join(f"{name} ({first!r}, ...)" for name, first in seen.items())
    )


def _cells(table, genes, names, column, drugs) -> Iterator[Cell]:
    """names: [unique gene], sorted; column: [gene] its place in names."""
    merge = None
    if len(names) < len(genes):
        merge = sparse.csr_matrix((np.ones(len(genes)), (np.arange(len(genes)), column)))
    row = 0
    for block in table.blocks():
        _check_counts(table, block, row, genes)
        block = block if merge is None else sparse.csr_matrix(block @ merge)
        block.sum_duplicates()
        block.eliminate_zeros()
        for i in range(block.shape[0]):
            part = slice(block.indptr[i], block.indptr[i + 1])
            cell_genes, counts = (genes if merge is None else names)[block.indices[part]], block.data[part].astype(np.float32)
            try:
                cell = Cell(table.cells[row], cell_genes, counts, "" if drugs is None else drugs[row])
            except ValueError as error:
                raise ValueError(f"{table.name}: {error}") from error
            yield cell
            row += 1


def _check_counts(table, block: sparse.csr_matrix, row: int, genes: np.ndarray) -> None:
    if block.dtype.kind not in "biuf":
        raise ValueError(f"{table.name}: counts are of type {block.dtype}, wanted numbers")
    bad = np.flatnonzero(~((block.data >= 0) & (block.data == np.round(block.data)) & (block.data <= MOST)))
    if len(bad):
        cell = table.cells[row + int(np.searchsorted(block.indptr, bad[0], side="right")) - 1]
        gene = genes[block.indices[bad[0]]]
        others = f"; other layers here: {', '.join(table.layers)}" if table.layers else ""
        raise ValueError(
            f"{table.name}: cell {cell}, gene {gene}: {block.data[bad[0]]:g} is no raw count (a whole number from 0 to {MOST}){others}"
        )
