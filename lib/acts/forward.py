"""Batches of like length, and the pass over them."""

from __future__ import annotations

import numpy as np


def plan(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Batches of records of like length, each at most `token_budget` tokens with padding. lengths: [record]."""
    order = np.argsort(lengths, kind="stable")[::-1]
    batches, current = [], []
    for unit in order:
        widest = lengths[current[0]] if current else lengths[unit]
        if current and widest * (len(current) + 1) > token_budget:
            batches.append(np.array(current))
            current = []
        current.append(unit)
    return [*batches, np.array(current)] if current else batches
