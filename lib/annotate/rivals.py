"""The null ladder: rivals that pass through the same screen and reading as the latents of a trained dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate.concepts import Concepts


def shuffle_labels(concepts: Concepts, strata: np.ndarray, block: np.ndarray, seed: int = 0) -> Concepts:
    """Concepts whose instances are moved whole, each to another place of its block and stratum: what a leak would still find.

    An instance keeps its tokens' number and neighbourhood, as a latent's runs do: scattered, it would be met by many more of them, and
    recall would rise without any association. Its middle token goes to one of the same stratum, moved inward where the block ends;
    one permutation serves all concepts, so that instances with one middle stay together. strata, block: [token], blocks contiguous.
    """
    code, rng = pd.factorize(block)[0], np.random.default_rng(seed)
    within = code * (strata.max() + 1) + strata
    to = np.empty(len(within), dtype=int)
    to[np.argsort(within, kind="stable")] = np.lexsort((rng.random(len(within)), within))
    edge = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1], [True]]))
    instances = concepts.instances.tocsr().sorted_indices()
    count = np.diff(instances.indptr)
    first, last = instances.indices[instances.indptr[:-1]], instances.indices[instances.indptr[1:] - 1]
    middle = instances.indices[instances.indptr[:-1] + count // 2]
    at = np.searchsorted(edge, middle, side="right")
    by = np.clip(to[middle] - middle, edge[at - 1] - first, edge[at] - 1 - last)
    moved = sparse.csr_matrix((instances.data, instances.indices + np.repeat(by, count), instances.indptr), shape=instances.shape)
    shape = len(by), len(concepts.table)
    tokens = (moved.T @ sparse.csr_matrix((np.ones(len(by), np.float32), (np.arange(len(by)), concepts.concept_of)), shape)).tocsc()
    tokens.data[:] = 1
    return replace(concepts, table=concepts.table.assign(n_tokens=np.diff(tokens.indptr)), tokens=tokens, instances=moved)


@dataclass(frozen=True)
class Directions:
    """Dense directions as rival latents, both signs, in blocks of columns: iterate for CSR [token, <= width].

    Columns are the positive parts of all directions, then their negative parts. acts: [token, d], array or memory
    map; rows: the tokens to read; mean: [d]; axes: [d, direction], by default the dimensions themselves. Never more
    than `width` columns of all tokens are held, 8 bytes an entry.
    """

    acts: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    axes: np.ndarray | None = None
    width: int = 64

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), 2 * (self.acts.shape[1] if self.axes is None else self.axes.shape[1])

    def at(self, keep: np.ndarray) -> Directions:
        """The same on some of the tokens. keep: [token] bool."""
        return replace(self, rows=self.rows[keep])

    def __iter__(self) -> Iterator[sparse.csr_matrix]:
        half = self.shape[1] // 2
        for sign in (1, -1):
            for first in range(0, half, self.width):
                yield self._block(sign, slice(first, min(first + self.width, half)))

    def _block(self, sign: int, columns: slice, chunk: int = 16384) -> sparse.csr_matrix:
        parts = []
        for s in range(0, len(self.rows), chunk):
            rows = self.rows[s : s + chunk]
            if self.axes is None:
                x = np.asarray(self.acts[rows, columns], dtype=np.float32) - self.mean[columns]
            else:
                x = (np.asarray(self.acts[rows], dtype=np.float32) - self.mean) @ self.axes[:, columns]
            parts.append(sparse.csr_matrix(np.maximum(sign * x, 0, dtype=np.float32)))
        return sparse.vstack(parts, format="csr")


def principal_axes(acts: np.ndarray, rows: np.ndarray, n_axes: int, chunk: int = 16384) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and the leading principal axes [d, n_axes] of acts[rows], float32, for `Directions`. Fit on training rows.

    The sign of an axis is such that its largest entry is positive.
    """
    total, square = np.zeros(acts.shape[1]), np.zeros((acts.shape[1],) * 2)
    for s in range(0, len(rows), chunk):
        x = np.asarray(acts[rows[s : s + chunk]], dtype=np.float64)
        total += x.sum(0)
        square += x.T @ x
    mean = total / len(rows)
    axes = np.linalg.eigh(square / len(rows) - np.outer(mean, mean))[1][:, ::-1][:, :n_axes]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    return mean.astype(np.float32), axes.astype(np.float32)


def moved_latents(latents: sparse.csr_matrix, unit: np.ndarray, seed: int = 0) -> sparse.csr_matrix:
    """Each latent's windows dealt to other windows of the same number of tokens and turned round inside: a random
    track with the density, values and clustering of each latent. unit: [token], contiguous; CSR [token, latent].

    A latent's permutation of windows and its turn inside each are its own, so latents do not move together.
    """
    rng = np.random.default_rng(seed)
    first = np.flatnonzero(np.concatenate([[True], unit[1:] != unit[:-1]]))
    length = np.diff(np.append(first, len(unit)))
    of = np.repeat(np.arange(len(first)), length)
    alike = [np.flatnonzero(length == size) for size in np.unique(length)]
    columns, place = latents.tocsc(), []
    for latent in range(latents.shape[1]):
        token = columns.indices[columns.indptr[latent] : columns.indptr[latent + 1]]
        to, turn = np.empty(len(first), dtype=int), rng.integers(0, length)
        for group in alike:
            to[group] = rng.permutation(group)
        window = of[token]
        place.append(first[to[window]] + (token - first[window] + turn[window]) % length[window])
    place = np.concatenate(place) if place else np.empty(0, int)
    return sparse.csc_matrix((columns.data, place, columns.indptr), shape=latents.shape).tocsr()
