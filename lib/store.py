"""The activation store: one HDF5 file, one contiguous float16 dataset a site, rows aligned with the token table.

Contiguous and uncompressed, so that readers can map it and read at memory speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

TOKEN_COLUMNS = {
    "unit": np.int32,  # row of units.csv
    "index": np.int32,  # order among the unit's kept tokens
    "start": np.int32,  # offset in the unit's sequence, 0-based
    "end": np.int32,  # half-open
    "ref_start": np.int64,  # reference position of the first base
    "ref_end": np.int64,  # reference position after the last base
    "token_id": np.int32,
}
FLOAT16_MAX = 65504.0


def create(path: Path, sites: dict[str, int], n_tokens: int, attributes: dict[str, str]) -> None:
    """Make an empty store. sites: name -> d_model. The space on disk is taken at once, so a full disk fails here."""
    with h5py.File(path, "w", libver="v110") as f:
        for key, value in attributes.items():
            f.attrs[key] = value
        tokens = f.create_group("tokens")
        for name, dtype in TOKEN_COLUMNS.items():
            _early(tokens, name, (n_tokens,), dtype)
        acts = f.create_group("acts")
        for name, dim in sites.items():
            _early(acts, name, (n_tokens, dim), np.float16)


def _early(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: type) -> None:
    """A contiguous dataset whose bytes exist now, so that it can be mapped; no time stamp, so equal runs are equal."""
    space = h5py.h5s.create_simple(shape)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_obj_track_times(False)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, properties)


def _map(path: Path, dataset: h5py.Dataset, mode: str) -> np.ndarray:
    offset = dataset.id.get_offset()
    if dataset.size == 0:
        return np.empty(dataset.shape, dataset.dtype)
    if offset is None or offset + dataset.nbytes > path.stat().st_size:
        raise ValueError(f"{path}: {dataset.name} is cut short: the file ends before its {dataset.nbytes} bytes do")
    return np.memmap(path, dtype=dataset.dtype, mode=mode, offset=offset, shape=dataset.shape)


@dataclass(frozen=True)
class Store:
    """A mapped store. tokens: column -> [token]; acts: site -> [token, d_model] float16; attributes: provenance."""

    path: Path
    tokens: dict[str, np.ndarray]
    acts: dict[str, np.ndarray]
    attributes: dict[str, str]

    @property
    def n_tokens(self) -> int:
        return len(self.tokens["unit"])


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
            tokens = {name: _map(path, f["tokens"][name], mode) for name in TOKEN_COLUMNS}
            acts = {name: _map(path, f["acts"][name], mode) for name in f["acts"]}
            return Store(path, tokens, acts, dict(f.attrs))
    except OSError as error:
        raise ValueError(f"{path}: not a whole HDF5 file: {error}") from error


def to_float16(x: np.ndarray, where: str) -> np.ndarray:
    """Cast, after checking that nothing is beyond float16's range. Raises ValueError naming `where`."""
    largest = float(np.abs(x).max(initial=0.0))
    if not largest <= FLOAT16_MAX:
        raise ValueError(f"{where}: largest activation {largest:g} does not fit float16 (limit {FLOAT16_MAX:g})")
    return x.astype(np.float16)


def subset(source: Path, path: Path, units: np.ndarray) -> None:
    """Write a small store with the tokens of some units only; unit numbers stay those of the source."""
    whole = open_store(source)
    rows = np.flatnonzero(np.isin(whole.tokens["unit"], units))
    create(path, {name: a.shape[1] for name, a in whole.acts.items()}, len(rows), whole.attributes)
    out = open_store(path, "r+")
    for name, column in whole.tokens.items():
        out.tokens[name][:] = column[rows]
    for name, a in whole.acts.items():
        out.acts[name][:] = a[rows]


def split_rows(units, unit: np.ndarray, validation: list[str], test: list[str]) -> dict[str, np.ndarray]:
    """Rows of tokens by chromosome: "train", "validation", "test". unit: [token] unit of each token.

    Raises ValueError when a held-out contig is not among the units, or a split is empty.
    """
    known = set(units["contig"])
    if missing := [c for c in [*validation, *test] if c not in known]:
        raise ValueError(f"held-out contigs {', '.join(missing)} hold no unit; known: {sorted(known)}")
    part = np.where(units["contig"].isin(test), 2, np.where(units["contig"].isin(validation), 1, 0))
    of_token = part[unit]
    rows = {name: np.flatnonzero(of_token == i) for i, name in enumerate(("train", "validation", "test"))}
    if empty := [name for name, r in rows.items() if not len(r)]:
        raise ValueError(f"no tokens to use as {', '.join(empty)}")
    return rows


def write_pooled(path: Path, pooled: np.ndarray, sites: list[str]) -> None:
    """pooled: [unit, site, d_model] float32."""
    with h5py.File(path, "w", track_order=False) as f:
        f.create_dataset("pooled", data=pooled, track_times=False)
        f.attrs["sites"] = sites


def read_pooled(path: Path) -> tuple[np.ndarray, list[str]]:
    """Mean-pooled activations [unit, site, d_model] and the site names. Raises ValueError on a damaged file."""
    try:
        with h5py.File(path, "r") as f:
            return f["pooled"][:], [str(s) for s in f.attrs["sites"]]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not a whole file of pooled embeddings: {error}") from error
