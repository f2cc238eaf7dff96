"""Confounders as codes, and the strata of tokens that they make."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.annotate import composition


def confounder_codes(traits: dict[str, pd.DataFrame], n_bins: int = 4) -> dict[str, dict[str, np.ndarray]]:
    """Codes of the confounders, the same for all parts: part -> name -> [token]; numbers in quantile bins, texts by value.

    traits: part -> table, one row a token, of the same columns in each.
    """
    whole, first = pd.concat(traits.values(), ignore_index=True), 0
    numbers = [name for name in whole if pd.api.types.is_numeric_dtype(whole[name])]
    codes = {name: composition.quantile_codes(whole[name], n_bins) for name in numbers}
    codes |= {name: np.unique(whole[name].to_numpy(dtype=str), return_inverse=True)[1] for name in whole if name not in numbers}
    out = {}
    for part, table in traits.items():
        out[part] = {name: values[first : first + len(table)] for name, values in codes.items()}
        first += len(table)
    return out


def strata_of(codes: dict[str, np.ndarray]) -> np.ndarray:
    """One number for each combination of codes that occurs. codes: name -> [token]. Returns [token]."""
    return np.unique(np.column_stack(list(codes.values())), axis=0, return_inverse=True)[1].ravel()
