"""Confounders as codes, and the strata of tokens that they make."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.annotate import composition


def confounder_codes(traits: dict[str, pd.DataFrame], n_bins: int = 4) -> dict[str, dict[str, np.ndarray]]:
    """Codes of the confounders, the same for all parts: part -> gc, cpg, position, log_tss (in quantile bins), repeat.

    traits: part -> table of `confounders.of_tokens`.
    """
    whole, first = pd.concat(traits.values(), ignore_index=True), 0
    codes = {name: composition.quantile_codes(whole[name], n_bins) for name in ("gc", "cpg", "position", "log_tss")}
    codes["repeat"] = np.unique(whole["repeat"].to_numpy(dtype=str), return_inverse=True)[1]
    out = {}
    for part, table in traits.items():
        out[part] = {name: values[first : first + len(table)] for name, values in codes.items()}
        first += len(table)
    return out


def strata_of(codes: dict[str, np.ndarray]) -> np.ndarray:
    """One number for each combination of codes that occurs. codes: name -> [token]. Returns [token]."""
    return np.unique(np.column_stack(list(codes.values())), axis=0, return_inverse=True)[1].ravel()
