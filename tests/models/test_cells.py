"""Cells from files and objects: the same whatever the layout, and refused by name."""

import re
import tracemalloc
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.models import genes, h5ad
from lib.models.cells import Cell, read_cells
from tests.cell_models import GENES, PUBLISHED_COUNTS, ask_published, random_cell, write_h5ad
from tests.helpers import DATA_DIR

COUNTS = np.random.default_rng(0).poisson(0.6, (11, 7)) + np.eye(11, 7, dtype=int) + (np.arange(7) == 2)
IDS = GENES[:7]
VAR = {"index": [f"SYM{i}" for i in range(7)], "ensembl_id": IDS}
KINDS = ("csr", "csc", "dense")


def as_dict(cells) -> dict:
    return {c.id: dict(zip(c.genes, c.counts.tolist(), strict=True)) for c in cells}


def expected(counts=COUNTS, names=IDS) -> dict:
    """What the cells are, entry by entry."""
    return {
        f"cell{i}": {names[j]: float(counts[i, j]) for j in range(counts.shape[1]) if counts[i, j]}
        for i in range(len(counts))
    }


# Layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "entries"), [(1024, 1 << 22), (3, 7), (1, 1)])
def test_every_layout_gives_the_same_cells_in_order(tmp_path, monkeypatch, kind, rows, entries):
    monkeypatch.setattr(h5ad, "ROWS", rows)
    monkeypatch.setattr(h5ad, "ENTRIES", entries)
    cells = list(read_cells(write_h5ad(tmp_path / "a.h5ad", COUNTS.astype(np.float32), VAR, kind)))
    assert [c.id for c in cells] == [f"cell{i}" for i in range(11)]
    assert as_dict(cells) == expected()
    assert all(c.counts.dtype == np.float32 and (np.diff([IDS.index(g) for g in c.genes]) > 0).all() for c in cells)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_flat_while_reading(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(h5ad, "ROWS", 20)
    monkeypatch.setattr(h5ad, "ENTRIES", 3000)
    counts = np.random.default_rng(1).poisson(1.0, (500, 200)).astype(np.float64) + (np.arange(200) == 0)
    path = write_h5ad(tmp_path / "a.h5ad", counts, {"index": [f"ENSG{i:011d}" for i in range(200)]}, kind)
    tracemalloc.start()
    n = sum(len(cell) for cell in read_cells(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == np.count_nonzero(counts)
    assert peak < 0.4 * n * 12, f"{peak} bytes for {n * 12} of entries"


def test_a_stored_zero_is_no_entry_and_order_does_not_matter(tmp_path):
    path = spoiled(tmp_path, data=[2.0, 0.0, 1.0], indices=[2, 1, 0], indptr=[0, 2, 3])
    assert as_dict(read_cells(path)) == {"cell0": {GENES[2]: 2.0}, "cell1": {GENES[0]: 1.0}}


@pytest.mark.parametrize("encoding, parts, said", [
    ("csr_matrix", {"data": [2.0, 3.0, 1.0], "indices": [2, 2, 0], "indptr": [0, 2, 3]}, "cell cell0: 2 entries of gene column 2"),
    ("csr_matrix", {"indices": [-1, 0], "data": [1.0, 1.0], "indptr": [0, 1, 2]}, r"X/indices, entry 0: -1, wanted 0 to 2"),
    ("csr_matrix", {"indices": [0, 3], "data": [1.0, 1.0], "indptr": [0, 1, 2]}, r"X/indices, entry 1: 3, wanted 0 to 2"),
    ("csr_matrix", {"indices": [0, 1], "data": [1.0, 1.0], "indptr": [0, 2]}, r"X/indptr has 2 bounds, wanted 3"),
    ("csr_matrix", {"indices": [0, 1], "data": [1.0, 1.0], "indptr": [0, 3, 2]}, r"X/indptr .*none smaller than the one before"),
    ("csr_matrix", {"indices": [0, 1], "data": [1.0, 1.0], "indptr": [0, 1, 3]}, "promises 3 entries and holds 2"),
    ("csc_matrix", {"indices": [0, -1], "data": [1.0, 1.0], "indptr": [0, 1, 2, 2]}, r"X/indices, entry 1: -1, wanted 0 to 1"),
    ("csc_matrix", {"indices": [0, 2], "data": [1.0, 1.0], "indptr": [0, 1, 2, 2]}, r"X/indices, entry 1: 2, wanted 0 to 1"),
    ("csc_matrix", {"indices": [1, 1], "data": [1.0, 1.0], "indptr": [0, 0, 2, 2]}, r"2 entries of cell 1, gene column 1"),
])  # fmt: skip
def test_entries_that_point_nowhere_or_twice_are_refused(tmp_path, encoding, parts, said):
    with pytest.raises(ValueError, match=rf"a\.h5ad: .*{said}"):
        list(read_cells(spoiled(tmp_path, encoding, **parts)))


def spoiled(tmp_path, encoding="csr_matrix", **parts):
    """Two cells and three genes, the parts of the matrix as given."""
    path = write_h5ad(tmp_path / "a.h5ad", np.eye(2, 3), {"index": GENES[:3]})
    with h5py.File(path, "a") as f:
        f["X"].attrs["encoding-type"] = encoding
        for name, values in parts.items():
            del f["X"][name]
            f["X"][name] = np.array(values)
    return path


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_an_object_in_memory_gives_the_same_cells(monkeypatch, form):
    monkeypatch.setattr(h5ad, "ROWS", 3)
    var = pd.DataFrame({"ensembl_id": pd.Categorical(IDS)}, index=VAR["index"])
    obs = pd.DataFrame({"drug": pd.Categorical(["aspirin"] + [None] * 10)}, index=[f"cell{i}" for i in range(11)])
    data = SimpleNamespace(
        X=form(COUNTS * 0.5), layers={"counts": form(COUNTS)}, raw=None, var=var, obs=obs, obs_names=obs.index
    )
    cells = list(read_cells(data, layer="counts", drug="drug"))
    assert as_dict(cells) == expected() and [c.drug for c in cells] == ["aspirin"] + [""] * 10
    with pytest.raises(ValueError, match="0.5 is no raw count .*other layers here: counts"):
        list(read_cells(data))
    data.layers["phased"] = form(COUNTS + 0j)
    with pytest.raises(ValueError, match="SimpleNamespace: counts are of type complex128, wanted numbers"):
        list(read_cells(data, layer="phased"))
    del data.layers["phased"]
    with pytest.raises(ValueError, match=r"no layer 'raw': it has \['counts'\]"):
        read_cells(data, layer="raw")
    with pytest.raises(ValueError, match="obs has no column 'dose': it has drug"):
        read_cells(data, layer="counts", drug="dose")


# Gene names ------------------------------------------------------------------------------------------------


def test_genes_come_from_the_column_that_holds_ensembl_ids(tmp_path):
    categorical = (np.array([1, 0, 2, 3, 4, 5, -1], dtype=np.int8), [IDS[1], IDS[0], *IDS[2:6]])
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, {"index": VAR["index"], "biotype": ["x"] * 7, "feature": categorical})
    assert as_dict(read_cells(path)) == expected(names=[*IDS[:6], "SYM6"])  # a gene without id keeps its own name
    versions = [f"{g}.{i}" for i, g in enumerate(IDS)]
    path = write_h5ad(tmp_path / "b.h5ad", COUNTS, {"index": versions, "n_cells": np.arange(7)})
    assert as_dict(read_cells(path)) == expected()
    path = write_h5ad(tmp_path / "c.h5ad", COUNTS, {"index": IDS, "other": GENES[7:14]})
    assert as_dict(read_cells(path)) == expected()
    assert as_dict(read_cells(path, gene_ids="other")) == expected(names=GENES[7:14])
    mixed = [IDS[0], *(f"SYM{i}" for i in range(1, 7))]  # one in seven is no column of ids, unless it is asked for
    path = write_h5ad(tmp_path / "d.h5ad", COUNTS, {"index": mixed})
    with pytest.raises(ValueError, match=r"d.h5ad: no Ensembl ids \(ENSG00000141510\) in var columns index \('ENSG"):
        read_cells(path)
    assert as_dict(read_cells(path, gene_ids="index")) == expected(names=mixed)


def test_categories_of_anndata_0_7_and_masked_strings_are_read(tmp_path):
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, VAR)
    with h5py.File(path, "a") as f:
        del f["var/ensembl_id"]
        f["var/__categories/ensembl_id"] = IDS[:6]
        f["var/ensembl_id"] = np.array([0, 1, 2, 3, 4, 5, -1], dtype=np.int8)
        f["var/ensembl_id"].attrs["categories"] = f["var/__categories/ensembl_id"].ref
    assert as_dict(read_cells(path)) == expected(names=[*IDS[:6], "SYM6"])
    with h5py.File(path, "a") as f:
        del f["var/ensembl_id"], f["var/__categories"]
        f["var/ensembl_id/values"], f["var/ensembl_id/mask"] = IDS, np.arange(7) == 6
    assert as_dict(read_cells(path)) == expected(names=[*IDS[:6], "SYM6"])


def test_columns_of_one_gene_are_refused_or_added_up(tmp_path):
    twice = [*IDS[:6], f"{IDS[0]}.7"]
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, {"index": twice})
    with pytest.raises(ValueError, match=rf"a.h5ad: 1 genes have more than one column \({IDS[0]}\): duplicates='sum'"):
        read_cells(path)
    summed = COUNTS[:, :6].copy()
    summed[:, 0] += COUNTS[:, 6]
    assert as_dict(read_cells(path, duplicates="sum")) == expected(summed, IDS[:6])
    with pytest.raises(ValueError, match="duplicates is 'first'"):
        read_cells(path, duplicates="first")


# Refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_what_is_no_raw_count_is_refused_by_cell_and_gene(tmp_path, monkeypatch, kind, value):
    monkeypatch.setattr(h5ad, "ROWS", 4)
    counts = COUNTS.astype(np.float32)
    counts[6, 3] = value
    path = write_h5ad(tmp_path / "a.h5ad", counts, VAR, kind, layers={"counts": COUNTS})
    text = re.escape(f"a.h5ad: cell cell6, gene {IDS[3]}: {value:g} is no raw count")
    with pytest.raises(ValueError, match=text + ".*other layers here: counts"):
        list(read_cells(path))
    assert as_dict(read_cells(path, layer="counts")) == expected()


@pytest.mark.parametrize("kind", KINDS)
def test_counts_go_as_far_as_float32_counts(tmp_path, kind):
    """2^24 + 1 would be read as 2^24."""
    counts = COUNTS.astype(np.float64)
    counts[6, 3] = 2**24
    path = write_h5ad(tmp_path / "a.h5ad", counts, VAR, kind)
    assert as_dict(read_cells(path))["cell6"][IDS[3]] == 2**24
    counts[6, 3] += 1
    with pytest.raises(ValueError, match=f"cell cell6, gene {IDS[3]}: 1.67772e\\+07 is no raw count .a whole number from 0 to 16777216"):
        list(read_cells(write_h5ad(tmp_path / "a.h5ad", counts, VAR, kind)))


def put(f, name, value):
    if name in f:
        del f[name]
    f[name] = value


def in_categories(f, codes, **parts):
    put(f, "obs/drug/codes", codes)
    for name, value in ({"categories": ["x", "y"]} | parts).items():
        put(f, f"obs/drug/{name}", value)


#: what is done to a file of cells, and what is said of it
FILES = {
    "indices of floats": (lambda f: put(f, "X/indices", f["X/indices"][:] + 0.0), "/X/indices is of type float64, wanted whole numbers"),
    "indptr of floats": (lambda f: put(f, "X/indptr", f["X/indptr"][:] + 0.0), "/X/indptr is of type float64, wanted whole numbers"),
    "counts of complex numbers": (lambda f: put(f, "X/data", f["X/data"][:] + 0j), "/X/data is of type complex128, wanted numbers"),
    "counts of text": (lambda f: put(f, "X/data", ["1"] * len(f["X/data"])), "/X/data is of type object, wanted numbers"),
    "dense counts of complex numbers": (lambda f: put(f, "X", COUNTS + 0j), "/X is of type complex128, wanted numbers"),
    "no indptr": (lambda f: f.pop("X/indptr"), "/X has no indptr: it has data, indices"),
    "no data": (lambda f: f.pop("X/data"), "/X has no data: it has indices, indptr"),
    "indptr a folder": (lambda f: (f.pop("X/indptr"), f.create_group("X/indptr")), "/X/indptr is no list, wanted one of whole numbers"),
    "X in another file": (
        lambda f: put(f, "X", h5py.ExternalLink("other.h5ad", "/X")), "/X is a link to .*other.h5ad, wanted all of the data in one file"),
    "data in another file": (lambda f: put(f, "X/data", h5py.ExternalLink("other.h5ad", "/X/data")), "/X/data is a link to .*other.h5ad"),
    "X in a file that is gone": (lambda f: put(f, "X", h5py.ExternalLink("gone.h5ad", "/X")), "/X is a link that leads nowhere"),
    "a soft link to a link": (
        lambda f: (put(f, "e", h5py.ExternalLink("other.h5ad", "/X")), put(f, "X", h5py.SoftLink("/e"))), "/X is a link to .*other"),
    "links in a circle": (
        lambda f: (put(f, "obs", h5py.SoftLink("/b")), put(f, "b", h5py.SoftLink("/obs"))), "/obs is a link that leads nowhere"),
    "a link to itself": (lambda f: put(f, "X/data", h5py.SoftLink("/X/data")), "/X/data is a link that leads nowhere"),
    "a code beyond the categories": (
        lambda f: in_categories(f, [0, 2] + [1] * 9), "/obs/drug has code 2, wanted less than 2, the number of its categories"),
    "codes of floats": (lambda f: in_categories(f, [0.0] * 11), "/obs/drug/codes is of type float64, wanted whole numbers"),
    "no categories": (lambda f: (in_categories(f, [0] * 11), f.pop("obs/drug/categories")), "/obs/drug has no categories: it has codes"),
    "categories of categories": (lambda f: in_categories(f, [0] * 11, categories=f["obs/drug"]), "/obs/drug/?.* is of an unknown encoding"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_in_words(tmp_path, name):
    change, said = FILES[name]
    write_h5ad(tmp_path / "other.h5ad", COUNTS, VAR)
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, VAR)
    with h5py.File(path, "a") as f:
        f.create_group("obs/drug")
        in_categories(f, [0, 1, -1] + [0] * 8)
    assert [cell.drug for cell in read_cells(path, drug="drug")][:3] == ["x", "y", ""]
    with h5py.File(path, "a") as f:
        change(f)
    with pytest.raises(ValueError, match=rf"a\.h5ad: {said}"):
        list(read_cells(path, drug="drug"))


def test_an_empty_cell_is_refused(tmp_path):
    counts = COUNTS.copy()
    counts[4] = 0
    with pytest.raises(ValueError, match="a.h5ad: cell cell4: no gene has a count: leave empty cells out"):
        list(read_cells(write_h5ad(tmp_path / "a.h5ad", counts, VAR)))


def test_files_that_are_none_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.h5ad: no such file"):
        read_cells(tmp_path / "gone.h5ad")
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, VAR)
    for layer, text in (("counts", "no layers/counts .*layers here"), ("raw", "no raw/X")):
        with pytest.raises(ValueError, match=text):
            read_cells(path, layer=layer)
    for column in ("gene_ids", "drug"):
        with pytest.raises(ValueError, match="a.h5ad: /(var|obs) has no column 'x': it has .*_index"):
            read_cells(path, **{column: "x"})
    data = path.read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cut.h5ad: not an HDF5 file, or cut short"):
        read_cells(tmp_path / "cut.h5ad")

    def damaged(change) -> str:
        other = write_h5ad(tmp_path / "b.h5ad", COUNTS, VAR)
        with h5py.File(other, "a") as f:
            change(f)
        with pytest.raises(ValueError) as error:
            list(read_cells(other))
        return str(error.value)

    assert "no obs (X, obs and var wanted" in damaged(lambda f: f.pop("obs"))
    assert "X is (11, 9), but obs and var hold (11, 7)" in damaged(lambda f: f["X"].attrs.modify("shape", (11, 9)))
    assert "X is 'coo'" in damaged(lambda f: f["X"].attrs.modify("encoding-type", "coo_matrix"))
    assert "format before anndata 0.7" in damaged(lambda f: f["var"].attrs.pop("_index"))
    twice = np.array(["cell1"] + [f"cell{i}" for i in range(1, 11)], dtype=object)
    assert "names 11 cells by 10 ids" in damaged(lambda f: f["obs/_index"].write_direct(twice))

    def shorten(f):
        values = f["X/indices"][:-1]
        del f["X/indices"]
        f["X/indices"] = values

    assert "entries and holds" in damaged(shorten)

    def strange(f):
        del f["var/ensembl_id"]
        f.create_group("var/ensembl_id/parts").parent.attrs["encoding-type"] = "awkward-array"

    assert "/var/ensembl_id is of an unknown encoding 'awkward-array'" in damaged(strange)


def test_a_cell_holds_what_it_says():
    names = np.array(GENES[:2], dtype=object)
    assert len(Cell("a", names, np.array([1.0, 2.0]))) == 2
    for counts, text in (([1.0], "shapes"), ([1.0, 0.0], "a count of 0"), ([1.0, np.nan], "a count of nan")):
        with pytest.raises(ValueError, match=f"cell a: .*{text}"):
            Cell("a", names, np.array(counts))
    with pytest.raises(ValueError, match="cell a: no gene has a count"):
        Cell("a", names[:0], np.zeros(0))


# What a vocabulary knows -----------------------------------------------------------------------------------


def test_coverage_counts_what_is_unknown_and_what_is_beyond_the_context():
    tokenizer = genes.RankTokenizer({"<pad>": 0} | {g: i for i, g in enumerate(GENES, 1)}, dict.fromkeys(GENES, 1.0), 10)
    cell = Cell("a", np.array([*GENES[:12], "X", "Y"], dtype=object), np.arange(14, 0, -1).astype(np.float32))
    small = random_cell(5, 0, unknown=0)
    table = genes.coverage(tokenizer, [cell, small])
    assert table.n_genes.tolist() == [14, 5] and table.n_unknown.tolist() == [2, 0] and table.n_beyond.tolist() == [2, 0]
    assert table.count_share.tolist() == pytest.approx([sum(range(5, 15)) / sum(range(1, 15)), 1])


def test_a_cell_that_the_vocabulary_does_not_know_is_refused():
    tokenizer = genes.GeneTokenizer({"<pad>": 0, GENES[0]: 1})
    with pytest.raises(ValueError, match=r"cell a: none of its 2 genes \(ENSMUSG00000000001, ...\) is in the vocabulary of 2"):
        tokenizer.known(Cell("a", np.array(["ENSMUSG00000000001", "<pad>x"], dtype=object), np.ones(2)))
    with pytest.raises(ValueError, match="cell a: a gene stands in its row twice"):
        tokenizer.known(Cell("a", np.array([GENES[0]] * 2, dtype=object), np.ones(2)))


# Files of anndata ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_that_anndata_writes_are_read(tmp_path_factory):
    work, counts, ids = ask_published(tmp_path_factory.getbasetemp()), PUBLISHED_COUNTS, GENES[:40]
    for name in KINDS:
        assert as_dict(read_cells(work / f"{name}.h5ad")) == expected(counts, ids), name
    assert as_dict(read_cells(work / "categorical.h5ad")) == expected(counts, [*ids[:39], "SYM39"])
    scaled = work / "scaled.h5ad"  # every other gene, log counts in X
    assert as_dict(read_cells(scaled, layer="counts")) == expected(counts[:, ::2], ids[::2])
    assert as_dict(read_cells(scaled, layer="raw")) == expected(counts, ids)
    with pytest.raises(ValueError, match="is no raw count .*other layers here: counts, raw"):
        list(read_cells(scaled))


# Real cells ------------------------------------------------------------------------------------------------


def test_real_blood_cells():
    path = DATA_DIR / "cells/pbmc3k_500cells_counts.h5ad"
    if not path.is_file():
        pytest.skip(f"NO REAL CELLS at {path}: set DATA_DIR to the folder of shared data")
    cells = list(read_cells(path))
    with h5py.File(path) as f:
        data, indptr = f["X/data"][:], f["X/indptr"][:]
        types = f["obs/cell_type_unified_ensemble/categories"].asstr()[:]
        types = types[f["obs/cell_type_unified_ensemble/codes"][:]]
    assert [len(c) for c in cells] == np.diff(indptr).tolist() and sum(c.counts.sum() for c in cells) == data.sum()
    known = sum(str(g).startswith("ENSG") for c in cells for g in c.genes)
    assert 0.9 < known / len(data) < 1  # the others have no Ensembl id, and keep their symbol

    def share(gene: str) -> np.ndarray:
        return np.array([c.counts[c.genes == gene].sum() / c.counts.sum() for c in cells])

    # Three markers that a shifted column would lose: MS4A1 of B cells, LYZ of monocytes, PPBP of platelets.
    for gene, kind in (("ENSG00000156738", "B"), ("ENSG00000090382", "CD14+ Mono"), ("ENSG00000163736", "Platelet")):
        value = share(gene)
        assert value[types == kind].mean() > 5 * value[types == "Naive CD4 T"].mean(), gene
