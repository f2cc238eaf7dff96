"""What goes into a fall under ablation: one shape for all targets, checked at the door."""

from __future__ import annotations

import numpy as np


def check(y: np.ndarray, full: np.ndarray, change: np.ndarray, weights: np.ndarray | None = None, n_classes: int = 0) -> None:
    """Raises ValueError naming the argument, its shape and the one wanted, and for scores that are not finite.

    y: [person]; full: [repeat, person]; change: [repeat, latent, person]; weights: uint8 [person, n_boot]. With n_classes,
    full is [repeat, class, person] and change [repeat, latent, class, person].
    """
    n, one = len(y), f"{n_classes}, " if n_classes else ""
    inner = (n_classes, n) if n_classes else (n,)
    if full.ndim != len(inner) + 1 or full.shape[1:] != inner:
        raise ValueError(f"full has shape {full.shape}, wanted [repeat, {one}{n}]")
    if change.ndim != len(inner) + 2 or (len(change), *change.shape[2:]) != full.shape:
        raise ValueError(f"change has shape {change.shape}, wanted [{len(full)}, latent, {one}{n}]")
    if weights is not None and (weights.dtype != np.uint8 or weights.ndim != 2 or len(weights) != n):
        raise ValueError(f"weights are {weights.dtype} {weights.shape}, wanted uint8 [{n}, n_boot]")
    if not (np.isfinite(full).all() and all(np.isfinite(c).all() for c in change)):
        raise ValueError("scores or their changes are missing or infinite")
