"""A ROC curve that shows no single person."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.publish.suppress import THRESHOLD

ROC_STEPS = 100


def thin_roc(y: np.ndarray, score: np.ndarray, threshold: int = THRESHOLD) -> pd.DataFrame:
    """A ROC curve whose every step is of more than threshold cases and more than threshold controls, at most 100 steps.

    y: [n] 0 or 1; score: [n]. Returns rows of fpr and tpr from (0, 0) to (1, 1), all of them points of the whole curve. Who stands where
    inside a step does not follow, nor a count of threshold or fewer; few people have few steps.
    Raises ValueError when y holds anything else or a class has no more than threshold people.
    """
    y, score = np.asarray(y), np.asarray(score)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y holds {sorted(set(y.tolist()))[:5]}, wanted 0 and 1")
    n = np.array([(y == 0).sum(), (y == 1).sum()])
    if n.min() <= threshold:
        raise ValueError(f"{n[1]} cases and {n[0]} controls, wanted more than {threshold} of each")
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.append(np.diff(score[order]) != 0, True)
    reached = np.stack([np.cumsum(y[order] == c)[last_of_ties] for c in (0, 1)], axis=1)  # [vertex, class], people
    step = np.array([max(threshold + 1, int(np.ceil(n[0] / ROC_STEPS))), threshold + 1])
    kept = [np.zeros(2, dtype=int)]
    for vertex in reached:
        if (vertex - kept[-1] >= step).all() and (n - vertex >= step).all():
            kept.append(vertex)
    return pd.DataFrame(np.array([*kept, n]) / n, columns=["fpr", "tpr"])
