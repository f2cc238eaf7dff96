"""k-mers: their frequencies in sequences, and as the surface rival of latents."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.models import sequence as sq


def kmer_latents(tokens: pd.DataFrame, texts: list[str], k: int, covering: bool = False) -> sparse.csr_matrix:
    """Presence of each k-mer at each token: CSR [token, 4^k] of ones, columns in ACGT order. What sequence alone gives.

    tokens: unit, start, end (in the unit's text). By default the k-mers whose last base lies in the token, so no later
    base is used; covering: all that share a base with it. K-mers with a letter other than A C G T are left out.
    """
    row, code = [], []
    for unit, in_unit in tokens.reset_index(drop=True).groupby("unit", sort=False):
        at = kmer_codes(sq.encode(texts[unit]), k)  # by first base
        low = np.maximum(in_unit["start"].to_numpy() - k + 1, 0)
        high = np.minimum(in_unit["end"].to_numpy() - (0 if covering else k - 1), len(at))
        count = np.maximum(high - low, 0)
        first = np.repeat(low, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        here, codes = np.repeat(in_unit.index.to_numpy(), count), at[first]
        row.append(here[codes >= 0])
        code.append(codes[codes >= 0])
    row, code = (np.concatenate(part) if part else np.empty(0, int) for part in (row, code))
    latents = sparse.csr_matrix((np.ones(len(row), np.float32), (row, code)), shape=(len(tokens), 4**k))
    latents.data[:] = 1
    return latents


def kmer_codes(codes: np.ndarray, k: int) -> np.ndarray:
    """Number of the k-mer that starts at each base, -1 where a letter is not A C G T. codes: [base], 4 = other."""
    if len(codes) < k:
        return np.empty(0, dtype=int)
    words = np.lib.stride_tricks.sliding_window_view(codes.astype(int), k)
    return np.where((words < 4).all(1), words @ 4 ** np.arange(k - 1, -1, -1), -1)


def kmer_frequencies(sequences: list[str], k: int) -> np.ndarray:
    """Share of each k-mer in each sequence, k-mers with N left out: [sequence, 4**k]."""
    from lib.models import sequence as sq

    out = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, text in enumerate(sequences):
        codes = sq.encode(text).astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(codes, k)
        windows = windows[(windows < 4).all(1)]
        counts = np.bincount(windows @ (4 ** np.arange(k)[::-1]), minlength=4**k)
        out[row] = counts / max(counts.sum(), 1)
    return out
