"""Arrays, built value by value: HDF5, Parquet, safetensors and bigWig files hold what is copied into a new file here, and nothing else.

No attribute, note, userblock, link, type with names, or byte between datasets comes along. Floats of 32 bits and more keep 16 bits
of their mantissa, so that none of the last bits can say anything; what is lost is 1 in 100,000.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pybigtools
from safetensors import safe_open
from safetensors.numpy import save_file

from lib.publish import words as words_
from lib.publish.typed import FORMS, Untyped
from lib.publish.words import Words

BLOCK = 1 << 24  # bytes that are copied at once
KEPT_BITS = 16  # of a mantissa
TENSORS = {"W_enc": ("d_in", "d_sae"), "W_dec": ("d_sae", "d_in"), "W_gate": ("d_in", "d_sae"), "b_dec": ("d_in",), "b_enc": ("d_sae",),
           "b_gate": ("d_sae",), "b_mag": ("d_sae",), "r_mag": ("d_sae",), "threshold": ("d_sae",), "log_threshold": ("d_sae",),
           "kernel": ("d_sae", None)}  # fmt: skip
ALLELE = re.compile(rf"[\w.]{{1,32}}:\d{{1,9}}:{FORMS['alleles']}>{FORMS['alleles']}", re.ASCII)


def shortened(values: np.ndarray) -> np.ndarray:
    """Numbers without the last bits of their mantissa; whole numbers and half precision as they are. The same type and shape."""
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        return values
    whole, mantissa = (np.uint32, 23) if values.dtype.itemsize == 4 else (np.uint64, 52)
    drop = mantissa - KEPT_BITS
    bits = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("=")).view(whole)
    cut = (bits >> whole(drop)) << whole(drop)
    cut = np.where(np.isnan(values), np.asarray(np.nan, values.dtype.newbyteorder("=")).view(whole), cut)  # a NaN has bits of its own
    return cut.view(values.dtype.newbyteorder("=")).astype(values.dtype).reshape(values.shape)


def hdf5(source: Path, target: Path, schema: dict, known: Words, n_units: int | None) -> None:
    """Write an HDF5 file's listed datasets, and the attributes that the schema lists, into a new file.

    n_units: of the reference; None where there are no people. Raises Untyped for a link, a type that is no number, a name that no
    vocabulary knows, more units than the reference has.
    """
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        for name, value in _attributes(old, schema, known):
            new.attrs[name] = value
        for name, data in _datasets(old):
            if known.shown(name.replace("/", " ")) != name.replace("/", " "):
                raise Untyped("the name of a dataset holds what no vocabulary knows")
            if name in schema.get("alleles", []):
                new.create_dataset(name, data=np.array([_allele(text, known) for text in data[:]], dtype="S"), track_times=False)
                continue
            if data.dtype.kind not in "fiub" or data.dtype.names or h5py.check_enum_dtype(data.dtype) is not None:
                raise Untyped(f"dataset {name!r} is of {data.dtype}, wanted plain numbers")
            _check_units(name, data, schema, n_units)
            made = new.create_dataset(name, shape=data.shape, dtype=data.dtype, track_times=False)
            for rows in _blocks(data):
                made[rows] = shortened(data[rows])


def _datasets(file: h5py.File, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset that lies in the file itself. Raises Untyped for anything else."""
    group = file[prefix] if prefix else file
    for name in group:
        link, path = group.get(name, getlink=True), f"{prefix}/{name}" if prefix else name
        if type(link) is not h5py.HardLink:
            raise Untyped("a link, wanted datasets alone")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _datasets(file, path)
        elif not isinstance(item, h5py.Dataset) or item.is_virtual or item.external or item.shape is None:
            raise Untyped("what is no dataset of the file's own")
        else:
            yield path, item


def _attributes(file: h5py.File, schema: dict, known: Words) -> Iterator[tuple[str, object]]:
    """The attributes that readers need, built from words and numbers; all others stay behind."""
    for name in schema.get("attributes", []):
        value = file.attrs.get(name)
        if isinstance(value, str):
            shown: object = known.shown(value)
        elif isinstance(value, np.ndarray):
            shown = [known.shown(str(text)) for text in value]
        else:
            shown = None if value is None else int(value)
        if shown is None or (isinstance(shown, list) and None in shown):
            raise Untyped(f"attribute {name!r} holds what no vocabulary knows, or is not there")
        yield name, shown


def _check_units(name: str, data: h5py.Dataset, schema: dict, n_units: int | None) -> None:
    """A dataset of units has a row a unit of the reference; one of unit numbers names no other."""
    if n_units is None:
        return
    if any(re.fullmatch(pattern, name) for pattern in schema.get("per_unit", [])) and len(data) != n_units:
        raise Untyped(f"dataset {name!r} is of {len(data)} units, the reference has {n_units}")
    if name.rpartition("/")[2] == "unit":
        for rows in _blocks(data):
            if len(block := data[rows]) and (block.min() < 0 or block.max() >= n_units):
                raise Untyped(f"dataset {name!r} names units that are not the reference's")


def _allele(text: bytes, known: Words) -> bytes:
    shown = text.decode("ascii", "replace")
    if not ALLELE.fullmatch(shown) or known.shown(shown.split(":")[0]) is None:
        raise Untyped("a name of a variant is none")
    return text


def _blocks(data: h5py.Dataset) -> Iterator[tuple]:
    """Slices of the first axis, of BLOCK bytes each; of a scalar the whole."""
    if not data.shape:
        yield ()
        return
    step = max(1, BLOCK // max(1, data.dtype.itemsize * int(np.prod(data.shape[1:]))))
    for low in range(0, data.shape[0], step):
        yield (slice(low, low + step),)


def values_of(path: Path) -> Iterator[np.ndarray]:
    """Every block of numbers of an HDF5 or safetensors file, for a scan. Raises Untyped as `hdf5` does."""
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            for _, data in _datasets(file):
                yield from (data[rows] for rows in _blocks(data) if data.dtype.kind in "fiu")
    else:
        with safe_open(path, "numpy") as file:
            yield from (file.get_tensor(name) for name in file.keys())  # noqa: SIM118


def parquet(path: Path, table: pd.DataFrame, source: Path) -> None:
    """Write a table of `typed.table` as Parquet: numbers as the source has them, texts as texts, and no note of who wrote it."""
    types = {field.name: field.type for field in pq.ParquetFile(source).schema_arrow}
    columns = {}
    for name in table:
        kind = types.get(name, pa.string())
        blank = table[name] == ""
        if pa.types.is_boolean(kind):
            columns[name] = pa.array([None if b else text == "True" for text, b in zip(table[name], blank, strict=True)], pa.bool_())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            numbers = [None if b else float(text) for text, b in zip(table[name], blank, strict=True)]
            columns[name] = pa.array(numbers, pa.float64()).cast(kind if not (pa.types.is_integer(kind) and any(blank)) else pa.float64())
        else:
            columns[name] = pa.array([None if b else text for text, b in zip(table[name], blank, strict=True)], pa.string())
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)


def safetensors(source: Path, target: Path) -> None:
    """Write a dictionary's weights tensor by tensor, each of a known name and of the shape that cfg.json beside it says. Raises Untyped."""
    sizes = json.loads((source.parent / "cfg.json").read_text(encoding="utf-8"))
    tensors = {}
    with safe_open(source, "numpy") as file:
        for name in file.keys():  # noqa: SIM118
            value, wanted = file.get_tensor(name), [sizes.get(axis) for axis in TENSORS.get(name, ())]
            if name not in TENSORS or value.dtype != np.float32:
                raise Untyped("a tensor that is no part of a dictionary")
            if value.ndim != len(wanted) or any(w is not None and n != w for n, w in zip(value.shape, wanted, strict=True)):
                raise Untyped(f"tensor {name!r} is of {value.shape}, wanted {wanted}")
            tensors[name] = np.ascontiguousarray(shortened(value))
    save_file(tensors, target)


def bigwig(source: Path, target: Path, known: Words) -> None:
    """Write a bigWig's intervals into a new one, on chromosomes that the vocabulary knows. Raises Untyped."""
    old = pybigtools.open(str(source))
    lengths = old.chroms()
    if any(known.shown(name) != name for name in lengths):
        raise Untyped("a chromosome that no vocabulary knows")
    rows = [(name, start, end, float(words_.number(str(value)))) for name in sorted(lengths)
            for start, end, value in old.records(name, 0, lengths[name])]  # fmt: skip
    writer = pybigtools.open(str(target), "w")
    writer.write(dict(sorted(lengths.items())), iter(rows))
    writer.close()
