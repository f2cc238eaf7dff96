"""Calibration: do predicted log odds of disease, or predicted numbers, mean what they say?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import rankdata


def summary(y: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    """Calibration of predicted log odds, one number each: slope, intercept, brier, log_loss, ece.

    slope, intercept: of `platt`; 1 and 0 when calibrated, a slope below 1 means predictions too extreme.
    brier: mean (p - y)^2. log_loss: nats per person. ece: `calibration_error`, debiased.
    y: [person] 0/1; log_odds: [person], of people the score was not fitted on.
    Raises ValueError as `platt` does.
    """
    slope, intercept = platt(log_odds, y)
    y, log_odds = _checked(y, log_odds)
    return {
        "slope": slope,
        "intercept": intercept,
        "brier": float(np.mean((expit(log_odds) - y) ** 2)),
        "log_loss": float(np.logaddexp(0, (1 - 2 * y) * log_odds).mean()),
        "ece": calibration_error(y, log_odds),
    }


def line(y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Calibration of a predicted number: slope, intercept of the least-squares line of y on it (1 and 0 when calibrated, a slope below 1:
    too extreme), and rmse, in units of y.

    y, predicted: [person]. Raises ValueError for shapes that differ, values that are not finite, and a constant prediction.
    """
    y, predicted = np.asarray(y, dtype=float), np.asarray(predicted, dtype=float)
    if y.ndim != 1 or y.shape != predicted.shape:
        raise ValueError(f"y {y.shape} and predicted {predicted.shape}, wanted [person] and [person]")
    if not (np.isfinite(y).all() and np.isfinite(predicted).all()):
        raise ValueError("y or predicted is missing or infinite")
    if np.ptp(predicted) <= 1e-12 * max(np.abs(predicted).max(), 1e-300):
        raise ValueError("predicted is constant, so its calibration slope is undefined")
    off = predicted - predicted.mean()
    slope = float(off @ (y - y.mean()) / (off @ off))
    rmse = float(np.sqrt(np.mean((y - predicted) ** 2)))
    return {"slope": slope, "intercept": float(y.mean() - slope * predicted.mean()), "rmse": rmse}


def line_curve(y: np.ndarray, predicted: np.ndarray, n_bins: int) -> pd.DataFrame:
    """Mean of a number against its prediction over bins of equal mass, one row per bin, from low to high.

    prediction, mean (of y); low, high: its 95 % t interval, NaN in a bin of one or without spread; n. y, predicted: [person].
    At most n/2 bins; ties share a bin. Raises ValueError as `line` does.
    """
    from scipy.stats import t

    line(y, predicted)
    number = _bin(predicted, n_bins)
    by_bin = pd.DataFrame({"prediction": predicted, "mean": y}).groupby(number)
    n, sd = by_bin.size(), by_bin["mean"].std()
    half = t.ppf(0.975, (n - 1).where(n > 1)) * sd.where(sd > 0) / np.sqrt(n)
    table = by_bin.mean().assign(n=n)
    table = table.assign(low=table["mean"] - half, high=table["mean"] + half)
    return table[["prediction", "mean", "low", "high", "n"]].reset_index(drop=True)


def platt(log_odds: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of y on log_odds: slope * log_odds + intercept is recalibrated.

    By maximum likelihood, without Platt's smoothing of the labels. log_odds: [person]; y: [person] 0/1.
    Raises ValueError for shapes that differ, values that are not finite or not 0 and 1, one class only, a constant
    score, and a score that separates the classes, where the slope is infinite.
    """
    import statsmodels.api as sm

    y, log_odds = _checked(y, log_odds)
    case, control = log_odds[y == 1], log_odds[y == 0]
    if case.min() >= control.max() or case.max() <= control.min():
        raise ValueError(
            "log_odds is constant or separates the classes, so its calibration slope is undefined"
        )
    fit = sm.Logit(y, sm.add_constant(log_odds)).fit(disp=False)
    return float(fit.params[1]), float(fit.params[0])


def calibration_error(y: np.ndarray, log_odds: np.ndarray, n_bins: int = 15, debiased: bool = True) -> float:
    """Root mean square calibration error over bins of equal mass, a probability; 0 when calibrated.

    sqrt(sum over bins of n_b/n [(mean p - mean y)^2 - mean y (1 - mean y)/(n_b - 1)]), 0 where that sum is negative.
    The second term is the sampling variance of mean y, without which a calibrated score seems miscalibrated: leave
    it out with debiased=False. At most n/2 bins; ties share a bin.

    y: [person] 0/1; log_odds: [person]. Raises ValueError as `platt` does, but takes any score that is finite.
    Source: Kumar, Liang and Ma 2019, Verified Uncertainty Calibration (the l2 error, debiased estimator).
    """
    bins = _bins(y, log_odds, n_bins)
    error = (bins.predicted - bins.observed) ** 2
    if debiased:
        error -= bins.observed * (1 - bins.observed) / (bins.n - 1).clip(lower=1)
    return float(np.sqrt(max(np.average(error, weights=bins.n), 0)))


def curve(y: np.ndarray, log_odds: np.ndarray, n_bins: int) -> pd.DataFrame:
    """Reliability curve over bins of equal mass, one row per bin, from low to high.

    predicted: mean predicted probability; observed: share of cases, with its 95 % Wilson interval low, high; n.
    y: [person] 0/1; log_odds: [person]. At most n/2 bins; ties share a bin.
    """
    from statsmodels.stats.proportion import proportion_confint

    bins = _bins(y, log_odds, n_bins)
    low, high = proportion_confint(bins.observed * bins.n, bins.n, method="wilson")
    return bins.assign(low=low, high=high)[["predicted", "observed", "low", "high", "n"]]


def _bins(y: np.ndarray, log_odds: np.ndarray, n_bins: int) -> pd.DataFrame:
    """One row per bin of equal mass: predicted, observed, n."""
    y, log_odds = _checked(y, log_odds)
    table = pd.DataFrame({"predicted": expit(log_odds), "observed": y})
    by_bin = table.groupby(_bin(log_odds, n_bins))
    return by_bin.mean().assign(n=by_bin.size()).reset_index(drop=True)


def _bin(score: np.ndarray, n_bins: int) -> np.ndarray:
    """Number of each person's bin of equal mass: [person]. At most half as many as people."""
    n_bins = max(min(n_bins, len(score) // 2), 1)
    return ((rankdata(score) - 0.5) / len(score) * n_bins).astype(int)


def _checked(y: np.ndarray, log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, log_odds = np.asarray(y, dtype=float), np.asarray(log_odds, dtype=float)
    if y.ndim != 1 or y.shape != log_odds.shape:
        raise ValueError(f"y {y.shape} and log_odds {log_odds.shape}, wanted [person] and [person]")
    if not np.isfinite(log_odds).all():
        raise ValueError(f"{(~np.isfinite(log_odds)).sum()} of {len(y)} log_odds are not finite")
    if set(np.unique(y)) != {0, 1}:
        raise ValueError(f"y has values {np.unique(y)[:5].tolist()}, wanted both 0 and 1")
    return y, log_odds
