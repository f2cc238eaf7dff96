"""Latents and concepts that have nothing to do with each other, but share a genome's structure: both come in clusters,
and both may prefer the same slowly varying composition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.signal import lfilter

from lib.annotate.concepts import Concepts

WINDOW = 50  # tokens


@dataclass(frozen=True)
class Track:
    """Tokens of one read: block (contig), unit (window) and composition of each. [token]"""

    block: np.ndarray
    unit: np.ndarray
    gc: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """Ten bins of composition."""
        return np.searchsorted(np.quantile(self.gc, np.arange(1, 10) / 10), self.gc)


def track(rng: np.random.Generator, n: int = 12_000, n_blocks: int = 2, reach: float = 200) -> Track:
    """Composition: a standard normal with autocorrelation exp(-distance / reach)."""
    rho = np.exp(-1 / reach)
    gc = lfilter([np.sqrt(1 - rho**2)], [1, -rho], rng.standard_normal(n + 2000))[2000:]
    return Track(np.arange(n) * n_blocks // n, np.arange(n) // WINDOW, gc)


def runs(rng: np.random.Generator, where: Track, n_runs: int, mean_length: float, slope: float) -> list[tuple[int, int]]:
    """Runs of tokens, starts with probability proportional to exp(slope x composition), geometric lengths."""
    n = len(where.gc)
    weight = np.exp(slope * where.gc)
    start = np.sort(rng.choice(n, n_runs, p=weight / weight.sum()))
    return [(s, min(s + k, n)) for s, k in zip(start, rng.geometric(1 / mean_length, n_runs))]


def latents(rng, where: Track, n_latents: int, n_runs=(10, 300), mean_length: float = 3, slope: float = 0) -> sparse.csr_matrix:
    """CSR [token, latent]: a run shares one height, its tokens vary a little; numbers of runs log-uniform in n_runs."""
    dense = np.zeros((len(where.gc), n_latents), dtype=np.float32)
    for latent, count in enumerate(np.exp(rng.uniform(*np.log(n_runs), n_latents)).astype(int)):
        for s, e in runs(rng, where, count, mean_length, slope):
            dense[s:e, latent] = rng.exponential() * rng.uniform(0.7, 1, e - s)
    return sparse.csr_matrix(dense)


def concepts(rng, where: Track, n_concepts: int, n_runs=(10, 300), mean_length: float = 3, slope: float = 0) -> Concepts:
    count = np.exp(rng.uniform(*np.log(n_runs), n_concepts)).astype(int)
    return lay([runs(rng, where, k, mean_length, slope) for k in count], len(where.gc))


def lay(spans_of: list[list[tuple[int, int]]], n: int) -> Concepts:
    """Concepts given as spans of token rows; every span is an instance."""
    concept_of = np.repeat(np.arange(len(spans_of)), [len(spans) for spans in spans_of])
    spans = np.array([span for spans in spans_of for span in spans], dtype=int).reshape(-1, 2)
    length = spans[:, 1] - spans[:, 0]
    token = np.concatenate([np.arange(s, e) for s, e in spans]) if len(spans) else np.empty(0, int)
    ones = np.ones(len(token), dtype=np.float32)
    instances = sparse.csr_matrix((ones, token, np.concatenate([[0], np.cumsum(length)])), shape=(len(spans), n))
    tokens = sparse.csc_matrix((ones, (token, np.repeat(concept_of, length))), shape=(n, len(spans_of)))
    tokens.data[:] = 1
    table = pd.DataFrame({
        "concept": [f"c{i}" for i in range(len(spans_of))], "kind": "motif", "family": [f"f{i // 2}" for i in range(len(spans_of))],
        "source": "s", "n_instances": np.bincount(concept_of, minlength=len(spans_of)), "n_tokens": np.diff(tokens.indptr),
    })  # fmt: skip
    return Concepts(table, tokens, instances, concept_of)
