"""Splits: rows by contig, people by fold with groups kept whole."""

from __future__ import annotations

import numpy as np


def stratified_folds(y: np.ndarray, groups: np.ndarray | None, n_folds: int, seed: int) -> np.ndarray:
    """Fold number of each person, [n_sample] int: cases spread evenly, and a group (family, site) never split.

    Raises ValueError when a class, or the groups, are fewer than the folds.
    Source: scikit-learn StratifiedGroupKFold; StratifiedKFold without groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    y = np.asarray(y)
    smallest = np.unique(y, return_counts=True)[1].min()
    n_groups = len(y) if groups is None else len(np.unique(groups))
    if min(smallest, n_groups) < n_folds:
        raise ValueError(f"{n_folds} folds from {n_groups} groups and a smallest class of {smallest} people")
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    fold = np.empty(len(y), dtype=int)
    splits = splitter(n_folds, shuffle=True, random_state=seed).split(np.zeros((len(y), 1)), y, groups)
    for number, (_, held_out) in enumerate(splits):
        fold[held_out] = number
    return fold


def split_rows(units, unit: np.ndarray, validation: list[str], test: list[str]) -> dict[str, np.ndarray]:
    """Rows of tokens by chromosome: "train", "validation", "test". unit: [token] unit of each token.

    Raises ValueError when a held-out contig is not among the units, or a split is empty.
    """
    known = set(units["contig"])
    if missing := [c for c in [*validation, *test] if c not in known]:
        raise ValueError(f"held-out contigs {', '.join(missing)} hold no unit; known: {sorted(known)}")
    part = np.where(units["contig"].isin(test), 2, np.where(units["contig"].isin(validation), 1, 0))
    of_token = part[unit]
    rows = {name: np.flatnonzero(of_token == i) for i, name in enumerate(("train", "validation", "test"))}
    if empty := [name for name, r in rows.items() if not len(r)]:
        raise ValueError(f"no tokens to use as {', '.join(empty)}")
    return rows
