"""Which token of the reference stands for each token of the other units of its window."""

from __future__ import annotations

import numpy as np
import pandas as pd


def aligned(tokens: dict[str, np.ndarray], units: pd.DataFrame) -> np.ndarray:
    """For each token, the row of the reference unit's token over the same reference base. [token] int64.

    tokens: the store's token table, rows in unit order. units: unit, window, is_reference. A token on bases that
    the reference lacks (an insertion) takes the token over its anchor base.
    """
    unit, ref_start = np.asarray(tokens["unit"]), np.asarray(tokens["ref_start"])
    n_units = int(unit.max()) + 1
    first = np.searchsorted(unit, np.arange(n_units + 1))
    reference = units[units["is_reference"]].set_index("window")["unit"]
    reference_unit = reference.loc[units.set_index("unit")["window"].loc[np.arange(n_units)]].to_numpy()
    out = np.empty(len(unit), dtype=np.int64)
    for u in range(n_units):
        rows = slice(first[u], first[u + 1])
        r = reference_unit[u]
        theirs = ref_start[first[r] : first[r + 1]]
        place = np.searchsorted(theirs, ref_start[rows], side="right") - 1
        out[rows] = first[r] + np.clip(place, 0, len(theirs) - 1)
    return out
