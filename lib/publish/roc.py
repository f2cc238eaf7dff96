"""A ROC curve that shows no single person."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.publish.suppress import THRESHOLD

ROC_POINTS = 101


def thin_roc(y: np.ndarray, score: np.ndarray, threshold: int = THRESHOLD) -> pd.DataFrame:
    """A ROC curve that shows no single person: fpr 0, 0.01, …, 1, and tpr, the most reached at no more than that fpr.

    y: [n] 0 or 1; score: [n]. tpr is rounded to 0.01 below 100 cases. Returns [101] rows of fpr, tpr.
    Raises ValueError when y holds anything else or a class has no more than threshold people.
    """
    from sklearn.metrics import roc_curve

    y = np.asarray(y)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y holds {sorted(set(y.tolist()))[:5]}, wanted 0 and 1")
    n_cases, n_controls = int((y == 1).sum()), int((y == 0).sum())
    if min(n_cases, n_controls) <= threshold:
        raise ValueError(f"{n_cases} cases and {n_controls} controls, wanted more than {threshold} of each")
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    grid = np.linspace(0, 1, ROC_POINTS)
    reached = tpr[np.searchsorted(fpr, grid + 1e-9, side="right") - 1]
    return pd.DataFrame({"fpr": grid, "tpr": np.round(reached, 2) if n_cases < 100 else reached})
