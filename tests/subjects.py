"""Simulated subjects: features of which the first ones decide the target."""

import numpy as np

from lib.outcome.metrics import CONTINUOUS


def people(n, d, strength=0.0, seed=0):
    """Gaussian features [n, d]; the label, 0 or 1, follows the first one with the given log odds."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (rng.random(n) < 1 / (1 + np.exp(-strength * X[:, 0]))).astype(int)


def targets(metric, n, d, strength=2.0, seed=0):
    """Gaussian features [n, d]; a number follows the first one, a class is the largest of the first three."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if metric is CONTINUOUS:
        return X, 5 + strength * X[:, 0] + rng.standard_normal(n)
    return X, (strength * X[:, :3] + rng.gumbel(size=(n, 3))).argmax(1)
