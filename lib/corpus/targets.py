"""What is predicted of subjects, checked where it comes in: 0 and 1, or a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

#: Types of target that the notebooks read.
BINARY, CONTINUOUS = TYPES = ("binary", "continuous")


def type_of(values: np.ndarray) -> str:
    """Of a column that nothing declares: "binary" if it holds 0 and 1 alone, else "continuous". values: [subject]."""
    return BINARY if np.isin(values, (0, 1)).all() else CONTINUOUS


def check_targets(
    name: str, table: pd.DataFrame, types: Mapping[str, str], null_targets: Iterable[str] = (), second: bool = False
) -> None:  # fmt: skip
    """Raises ValueError, naming table, target and subject, for what no probe can be fitted on, or another than the declared type.

    Wanted of every subject: a finite number; 0 or 1 of a binary target; of a continuous one three different values or more among all.
    Both classes are asked of the first cohort alone, and so is that a number varies: of a `second` nothing is fitted.
    name: of the file; table: subject, and a column a target; types: target -> of `TYPES`; null_targets: columns of any type.
    """
    given = {**types, **{target: "" for target in null_targets}}
    if missing := [target for target in given if target not in table]:
        raise ValueError(f"{name}: no column {missing[0]!r}, wanted one of each target, found {', '.join(table.columns)}")
    for target, of in given.items():
        at, values = f"{name}: target {target!r}", table[target]
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
        _all(table, np.isfinite(numbers), values, at, "a finite number")
        of = of or type_of(numbers)
        if of == BINARY:
            hint = "" if np.isin(numbers, (0, 1)).mean() > 0.5 else f"; of {len(np.unique(numbers))} values: declare it continuous?"
            _all(table, np.isin(numbers, (0, 1)), values, at, f"0 or 1 of a binary target{hint}")
        if not pd.api.types.is_numeric_dtype(values):
            raise ValueError(f"{at} is {values.dtype}, wanted numbers")
        if not second:
            _varies(numbers, of, at)


def _varies(numbers: np.ndarray, of: str, at: str) -> None:
    held = np.unique(numbers)
    if of == BINARY and len(held) < 2:
        raise ValueError(f"{at} is {held[0]:g} of all {len(numbers)} subjects, wanted some of 0 and some of 1")
    if of == CONTINUOUS and len(held) < 3:
        said = " and ".join(f"{value:g}" for value in held)
        raise ValueError(f"{at} is {said} of all {len(numbers)} subjects, wanted three values or more of a continuous target")


def _all(table: pd.DataFrame, good: np.ndarray, values: pd.Series, at: str, wanted: str) -> None:
    """Raises ValueError with the first subject that is not good."""
    if not good.all():
        first, n = int(np.flatnonzero(~good)[0]), int((~good).sum())
        subject = table["subject"].iloc[first] if "subject" in table else f"row {first}"
        more = f", the first of {n}," if n > 1 else ""
        raise ValueError(f"{at}: {subject}{more} has {values.iloc[first]}, wanted {wanted}")
