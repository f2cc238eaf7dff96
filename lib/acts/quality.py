"""Whether stored activations look as those of a healthy model do: their norms, their directions, their outliers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.acts.store import Store

OUTLIER = 10.0  # medians of the norm


def norms(store: Store, max_abs: dict[str, float], n: int, seed: int) -> pd.DataFrame:
    """A row a site, over at most n rows drawn from `seed`: site, norm_median, norm_max, max_abs (of all rows, as given), anisotropy
    (mean cosine of rows paired at random), outlier_share (norm above OUTLIER medians), n_tokens."""
    sample = np.sort(np.random.default_rng(seed).choice(store.n_tokens, min(n, store.n_tokens), replace=False))
    rows = []
    for site, largest in max_abs.items():
        x = store.acts[site][sample].astype(np.float32)
        norm = np.linalg.norm(x, axis=1)
        direction, pairs = x / norm[:, None], np.random.default_rng(seed).permutation(len(x))
        rows.append({"site": site, "norm_median": np.median(norm), "norm_max": norm.max(), "max_abs": largest,
                     "anisotropy": (direction * direction[pairs]).sum(1).mean(),
                     "outlier_share": (norm > OUTLIER * np.median(norm)).mean(), "n_tokens": len(x)})  # fmt: skip
    return pd.DataFrame(rows)
