"""Means of stored activations over units, and any other pooling of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from lib.acts.rows import read_rows
from lib.acts.store import Store, Writer, early, open_store


def pool(whole: Store, site: str, groups: np.ndarray, how: str = "mean", n_groups: int | None = None) -> np.ndarray:
    """Mean or max of a site over groups of tokens, of any kind (unit, gene, exon, codon, cell): [group, d] float32.

    groups: [token] integer group of each row, negative for none; in any order. n_groups: the largest group + 1 if not
    given. A group without tokens is NaN. Goes through the rows once; memory is that of the result, in float64.
    Raises ValueError when groups are not one a row, or `how` is unknown.
    """
    groups = np.asarray(groups)
    if groups.shape != (whole.n_tokens,) or groups.dtype.kind not in "iu":
        raise ValueError(f"{whole.path}: groups {groups.shape} {groups.dtype}: wanted one integer a token, ({whole.n_tokens},)")
    if how not in ("mean", "max"):
        raise ValueError(f"pooling {how!r}: wanted mean or max")
    n_groups = int(groups.max(initial=-1)) + 1 if n_groups is None else n_groups
    ufunc, start = (np.add, 0.0) if how == "mean" else (np.maximum, -np.inf)
    total = np.full((n_groups, whole.acts[site].shape[1]), start)
    count = np.zeros(n_groups, dtype=np.int64)
    for low, x in whole.blocks(site):
        _pool_block(ufunc, x, groups[low : low + len(x)], total, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = total / count[:, None] if how == "mean" else np.where(count[:, None] > 0, total, np.nan)
    return result.astype(np.float32)


def _pool_block(ufunc: np.ufunc, x: np.ndarray, groups: np.ndarray, total: np.ndarray, count: np.ndarray) -> None:
    if len(groups) and (groups[0] < 0 or (np.diff(groups) < 0).any()):
        rows = np.flatnonzero(groups >= 0)
        rows = rows[np.argsort(groups[rows], kind="stable")]
        x, groups = x[rows], groups[rows]
    if not len(groups):
        return
    first = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    unique = groups[first]
    total[unique] = ufunc(total[unique], ufunc.reduceat(x.astype(np.float64), first, axis=0))
    count[unique] += np.diff(np.append(first, len(groups)))


def pool_units(source: Path, path: Path) -> None:
    """Write the mean over each unit's tokens: `path`, read by `read_pooled`. Needs a store in unit order; memory is flat.

    A site has a dataset of its own, [unit, d] float32; row 0 is the store's first unit.
    """
    whole = open_store(source)
    unit = whole.tokens["unit"]
    low, high = (int(unit[0]), int(unit[-1]) + 1) if len(unit) else (0, 0)
    with h5py.File(path, "w", libver="v110") as f:
        for site, acts in whole.acts.items():
            early(f, site, (high - low, acts.shape[1]), np.float32)
        f.attrs["sites"] = list(whole.acts)
    with Writer(path) as out:
        for site in whole.acts:
            for first, mean in _unit_means(whole, site):
                out.write(site, first - low, mean)


def _unit_means(whole: Store, site: str) -> Iterator[tuple[int, np.ndarray]]:
    """Means over the units, some at a time: (first unit, [unit, d]). A unit without tokens is NaN."""
    column, begun, total, count = whole.tokens["unit"], 0, None, None
    for low, x in whole.blocks(site):
        unit = read_rows(column, low, low + len(x), "unit")
        first = begun if total is not None else int(unit[0])
        n = int(unit[-1]) + 1 - first
        held, number = np.zeros((n, x.shape[1])), np.zeros(n, dtype=np.int64)
        if total is not None:
            held[0], number[0] = total, count
        _pool_block(np.add, x, unit - first, held, number)
        if n > 1:
            yield first, _divided(held[:-1], number[:-1])
        begun, total, count = first + n - 1, held[-1], number[-1]
    if total is not None:
        yield begun, _divided(total[None], count[None])


def _divided(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (total / count[:, None]).astype(np.float32)


def read_pooled(path: Path, sites: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Mean-pooled activations [unit, site, d] float32 and the site names. sites: those wanted, by default all.

    Raises ValueError on a damaged file, a site that it lacks, and sites of unlike width: then ask for some.
    """
    try:
        with h5py.File(path, "r") as f:
            held = [str(s) for s in f.attrs["sites"]]
            sites = held if sites is None else sites
            if lacking := [s for s in sites if s not in held]:
                raise ValueError(f"{path}: no site {', '.join(lacking)}: it has {', '.join(held)}")
            if len(widths := {s: f[s].shape[1] for s in sites}) and len(set(widths.values())) > 1:
                raise ValueError(f"{path}: sites of unlike width {widths}: name those wanted, of one width")
            return np.stack([f[s][:] for s in sites], axis=1), sites
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not a whole file of pooled embeddings: {error}") from error
