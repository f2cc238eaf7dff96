"""Does the size of a change separate labels?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.stats import estimates


def blocked_draws(
    label: np.ndarray, scores: np.ndarray, block: np.ndarray, n_boot: int, seed: int
) -> np.ndarray:
    """AUROC of every score on the same resamples of whole blocks (genes), since a label follows its gene.

    label, block: [variant]; scores: [score, variant]. Returns [score, draw]; a draw without both classes is left out,
    and with a single block, which cannot be resampled, there is none.
    """
    rng = np.random.default_rng(seed)
    blocks, code = np.unique(block, return_inverse=True)
    members = [np.flatnonzero(code == b) for b in range(len(blocks))]
    draws = [np.empty((len(scores), 0))]
    for _ in range(n_boot if len(blocks) > 1 else 0):
        rows = np.concatenate([members[b] for b in rng.integers(0, len(blocks), len(blocks))])
        if 0 < label[rows].sum() < len(rows):
            draws.append(estimates.auroc(label[rows], scores[:, rows])[:, None])
    return np.concatenate(draws, axis=1)


def separation(table: pd.DataFrame, scores: dict[str, str], n_boot: int, seed: int) -> pd.DataFrame:
    """How well each score tells label 1 from label 0, alone and against the first score, over one set of resamples.

    table: label, gene and the columns of scores; scores: method -> column. One row a method: AUROC value, low, high;
    gain, gain_low, gain_high: AUROC of the first method minus this one's, paired by resample; n, n_positive, n_genes.
    Bounds are NaN when all variants lie in one gene.
    """
    label, values = table["label"].to_numpy(), table[list(scores.values())].to_numpy().T
    auroc, draws = estimates.auroc(label, values), blocked_draws(label, values, table["gene"].to_numpy(), n_boot, seed)
    gain = draws[:1] - draws

    def bounds(x: np.ndarray) -> np.ndarray:
        return np.quantile(x, [0.025, 0.975], axis=1) if x.shape[1] else np.full((2, len(x)), np.nan)

    (low, high), (gain_low, gain_high) = bounds(draws), bounds(gain)
    return pd.DataFrame({
        "method": list(scores), "value": auroc, "low": low, "high": high, "gain": auroc[0] - auroc, "gain_low": gain_low,
        "gain_high": gain_high, "n": len(table), "n_positive": int((label == 1).sum()), "n_genes": table["gene"].nunique(),
    })  # fmt: skip
