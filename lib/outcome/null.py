"""Targets that nothing causes, on which a rule may not fire."""

from __future__ import annotations

import numpy as np


def null_target(n: int, share: float, seed: int) -> np.ndarray:
    """A target of 0 and 1 without any effect: the `share` of n subjects of highest logistic noise are 1. [subject] int."""
    return highest(np.random.default_rng(seed).logistic(size=n), share)


def dealt(y: np.ndarray, seed: int) -> np.ndarray:
    """A continuous target without any effect: the numbers of a real one, dealt to subjects anew. [subject]; y: [subject]."""
    return np.random.default_rng(seed).permutation(y)


def highest(liability: np.ndarray, share: float) -> np.ndarray:
    """1 for the `share` of highest liability, 0 for the others: [subject] int; ties go to those that come first.

    Raises ValueError when that leaves nobody on one side.
    """
    n = len(liability)
    n_cases = round(share * n)
    if not 0 < n_cases < n:
        raise ValueError(f"case_share {share} of {n} people gives {n_cases} cases")
    target = np.zeros(n, dtype=int)
    target[np.argsort(-liability, kind="stable")[:n_cases]] = 1
    return target
