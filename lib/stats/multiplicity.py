"""Corrections when most tests were never worth computing: they count as tests, with p = 1."""

from __future__ import annotations

import numpy as np
import pandas as pd


def benjamini_hochberg(p: np.ndarray, n_tests: int | None = None) -> np.ndarray:
    """q-values of the given p-values [n], in a family of n_tests (default: n) of which the others have p = 1.

    Raises ValueError for a family smaller than what it holds. Source: Benjamini and Hochberg 1995.
    """
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p, dtype=float)
    n_tests = len(p) if n_tests is None else n_tests
    if n_tests < len(p):
        raise ValueError(f"a family of {n_tests} tests cannot hold {len(p)} p-values")
    return np.minimum(multipletests(p, method="fdr_bh")[1] * (n_tests / len(p)), 1.0) if len(p) else p


def simes(p: np.ndarray, n_tests: int) -> float:
    """p of "no null among n_tests is false" from those given, the others having p = 1: min over k of n p_(k) / k."""
    p = np.sort(p)
    return float(min(1.0, (n_tests * p / np.arange(1, len(p) + 1)).min(initial=1.0)))


def two_stage(latent: np.ndarray, p: np.ndarray, n_latents: int, n_concepts: int) -> tuple[np.ndarray, pd.DataFrame]:
    """q of each pair over all n_latents x n_concepts, and one row a tested latent: p by Simes, q over all latents.

    latent, p: [pair], the pairs tested; every other has p = 1. Source: Benjamini and Hochberg 1995; Simes 1986.
    """
    q = benjamini_hochberg(p, n_latents * n_concepts)
    by_latent = pd.Series(p).groupby(np.asarray(latent)).agg(lambda of_latent: simes(of_latent.to_numpy(), n_concepts))
    table = pd.DataFrame({"latent": by_latent.index, "p": by_latent.to_numpy(dtype=float)})
    return q, table.assign(q=benjamini_hochberg(table["p"].to_numpy(), n_latents))
