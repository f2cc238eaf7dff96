"""How large an effect is beside edits of the same sort: its percentile among matched background edits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.stats import estimates

COLUMNS = ["percentile", "low", "high", "n", "matched_on"]


def percentiles(
    score: np.ndarray, keys: pd.DataFrame, background: np.ndarray, background_keys: pd.DataFrame, levels: Sequence[Sequence[str]],
    least: int = 100,
) -> pd.DataFrame:  # fmt: skip
    """Of each edit the share of background edits of its own sort that score lower, ties counted half: COLUMNS, a row an edit.

    levels: sets of columns of the keys that have to be equal, the finest first; an edit takes the first that leaves at least `least`
    background edits with a finite score, and `matched_on` says which, joined by " + ". low, high: Wilson, of n. An edit without a score
    or with too few of its own sort at every level has NaN and "". score: [edit]; background: [edit of the background], as its keys.
    Raises ValueError for keys that do not fit the scores, and for a level's column that they lack.
    """
    for values, table, name in ((score, keys, "keys"), (background, background_keys, "background_keys")):
        if len(values) != len(table):
            raise ValueError(f"{name} has {len(table)} rows, wanted {len(values)}, one a score")
        if missing := {column for level in levels for column in level} - set(table.columns):
            raise ValueError(f"{name} has no column {', '.join(sorted(missing))}")
    score, known = np.asarray(score, float), np.isfinite(background)
    out = pd.DataFrame({name: np.nan for name in COLUMNS[:3]}, index=range(len(score))).assign(n=0, matched_on="")
    open_ = np.isfinite(score)
    for level in levels:
        sorts = _sorts(np.asarray(background, float)[known], background_keys[known], level)
        for key, rows in _groups(keys, level).items():
            own = sorts.get(key)
            rows = rows[open_[rows]]
            if own is not None and len(own) >= least and len(rows):
                out.loc[rows, COLUMNS[:3]] = [_share(own, value) for value in score[rows]]
                out.loc[rows, "n"], out.loc[rows, "matched_on"] = len(own), " + ".join(level)
                open_[rows] = False
    return out[COLUMNS]


def _groups(keys: pd.DataFrame, level: Sequence[str]) -> dict[tuple, np.ndarray]:
    rows = keys.reset_index(drop=True).groupby(list(level), sort=False).indices
    return {key if isinstance(key, tuple) else (key,): at for key, at in rows.items()}


def _sorts(score: np.ndarray, keys: pd.DataFrame, level: Sequence[str]) -> dict[tuple, np.ndarray]:
    return {key: np.sort(score[at]) for key, at in _groups(keys, level).items()}


def _share(ordered: np.ndarray, value: float) -> tuple[float, float, float]:
    below, upto = np.searchsorted(ordered, value), np.searchsorted(ordered, value, side="right")
    count = (below + upto) / 2
    return tuple(estimates.share(count, len(ordered))[:3])
