"""What a prediction is worth, by the type of its target: AUROC, macro AUROC or R2, and how each falls under ablation.

The notebooks read binary targets and numbers (`lib.corpus.targets`); classes are for the kinds to come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.outcome import auroc, macro, r2
from lib.stats import estimates


@dataclass(frozen=True)
class Falls:
    """value(full) - value(full + change) of each latent, mean over repeats; arguments as in `lib.outcome.auroc`.

    fall: [latent]. drawn: float32 [latent, n_boot]. without: [latent, group], outside each group. error: [latent], the
    standard error of people taken one by one, by the method that interval names in columns.
    """

    fall: Callable[..., np.ndarray]
    drawn: Callable[..., np.ndarray]
    without: Callable[..., np.ndarray]
    error: Callable[..., np.ndarray]
    interval: str


@dataclass(frozen=True)
class Metric:
    """target: the type of y. name: on an axis; key: in a column. chance: of a score that knows nothing.

    value(y, score): score [..., person], or [..., class, person] for classes, to [...]. resampled(y, score, weights): [k,
    n_boot], the value in each draw of `estimates.draws`. falls: None for one that is only reported. second: reported beside it.
    """

    target: str
    name: str
    key: str
    chance: float
    value: Callable[..., np.ndarray]
    resampled: Callable[..., np.ndarray]
    falls: Falls | None = None
    second: Metric | None = None


BINARY = Metric(
    "binary", "AUROC", "auroc", 0.5, estimates.auroc, estimates.resampled_auroc,
    Falls(auroc.fall, auroc.drawn, auroc.without, auroc.error, "delong"),
)  # fmt: skip
CLASS = Metric(
    "class", "macro AUROC", "macro_auroc", 0.5, macro.value, macro.resampled,
    Falls(macro.fall, macro.drawn, macro.without, macro.error, "delong"),
)  # fmt: skip
SPEARMAN = Metric("continuous", "Spearman correlation", "spearman", 0.0, r2.spearman, r2.resampled_spearman)
CONTINUOUS = Metric(
    "continuous", "R²", "r2", 0.0, r2.value, r2.resampled,
    Falls(r2.fall, r2.drawn, r2.without, r2.error, "delta_method"), SPEARMAN,
)  # fmt: skip

#: The metric of each type of target.
METRICS = {metric.target: metric for metric in (BINARY, CLASS, CONTINUOUS)}


def check_target(y: np.ndarray, metric: Metric) -> None:
    """Raises ValueError unless y [person] is of the metric's type: 0 and 1; 0, 1, 2, ...; finite numbers that vary."""
    values = np.unique(y)
    if metric.target == "continuous":
        if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all() or len(values) < 2:
            raise ValueError(f"a continuous y holds {values[:5].tolist()}, wanted finite numbers that vary")
        return
    wanted = list(range(2 if metric.target == "binary" else max(2, len(values))))
    if values.tolist() != wanted:
        raise ValueError(f"a {metric.target} y holds {values[:5].tolist()}, wanted all of {wanted[:5]}")
