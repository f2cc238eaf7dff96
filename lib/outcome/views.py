"""Views of a subject: differences from the reference, features without a nuisance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.acts import pool


def reference_difference(pooled: np.ndarray, units: pd.DataFrame) -> np.ndarray:
    """Distance of each unit's mean activation from its window's reference, per dimension: |x - x_ref|, [unit, d].

    Averaged over a person's haplotypes, this counts departures whichever way they go; without the absolute value it
    would be the mean activation itself less a constant. pooled: [unit, d]; units: unit, window, is_reference.
    Raises ValueError naming a window without a reference unit.
    """
    reference = units[units.is_reference].drop_duplicates("window").set_index("window").unit
    at = units.window.map(reference)
    if at.isna().any():
        raise ValueError(f"window {units.window[at.isna()].iloc[0]} has no reference unit")
    out = np.zeros_like(pooled)
    out[units.unit] = np.abs(pooled[units.unit] - pooled[at.astype(int)])
    return out


def without(X: np.ndarray, composition: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Features less what composition explains of them, by least squares fitted on the training people.

    X: [person, feature]; composition: [person, k], such as k-mer frequencies. For `repeated`.
    """

    def residual(train: np.ndarray) -> np.ndarray:
        K = composition - composition[train].mean(0)
        return X - K @ np.linalg.lstsq(K[train], X[train] - X[train].mean(0), rcond=1e-6)[0]

    return residual


def standardised(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Columns of unlike units, each divided by its standard deviation in the training people. For `repeated`."""

    def scaled(train: np.ndarray) -> np.ndarray:
        X = make(train)
        sd = X[train].std(0)
        return (X - X[train].mean(0)) / np.where(sd > 0, sd, 1)

    return scaled


def pooled_at(
    model, sequences: list[str], sites: Sequence[str], token_budget: int, chunk: int = 2048
) -> dict[str, np.ndarray]:
    """Mean over the tokens of each sequence, of a model that no store holds: site -> [sequence, d] float32.

    `chunk` sequences at a time, so that the disk never holds more activations than theirs.
    """
    from lib.acts import extract

    parts = []
    for start in range(0, len(sequences), chunk):
        with tempfile.TemporaryDirectory() as folder:
            acts, pooled = Path(folder) / "activations.h5", Path(folder) / "pooled.h5"
            extract.extract(model, sequences[start : start + chunk], None, sites, acts, pooled, token_budget)
            parts.append({site: pool.read_pooled(pooled, [site])[0][:, 0] for site in sites})
    return {site: np.concatenate([part[site] for part in parts]) for site in sites}
