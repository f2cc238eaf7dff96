"""Repeated nested cross-validation, the choice of a layer inside folds, and its estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from lib.outcome import calibration, probe
from lib.outcome.metrics import BINARY, Metric
from lib.stats import estimates
from lib.stats.estimates import Estimate


@dataclass(frozen=True)
class Repeated:
    """Cross-validation repeated over random folds.

    score: [repeat, person] out-of-fold, centred by the training people. folds: [repeat, person] int. probes: the one
    of each fold, in a list a repeat. fold_auroc, inner_auroc: [repeat, fold], on held-out people and inside the
    training people. log_odds: [repeat, person], score before centring. inner_log_odds: [repeat, fold, person] float32,
    of the training people out of inner folds, nan for the held-out. As in `probe.CrossValidated`, for classes [class,
    person] stands where [person] does, fold_auroc and inner_auroc are of the metric, and a continuous score is uncentred.
    """

    score: np.ndarray
    folds: np.ndarray
    probes: list[list[probe.Probe]]
    fold_auroc: np.ndarray
    inner_auroc: np.ndarray
    log_odds: np.ndarray
    inner_log_odds: np.ndarray


def repeated(
    X: probe.Features,
    y: np.ndarray,
    groups: np.ndarray | None,
    n_folds: int,
    n_repeats: int,
    grid: list[float],
    seed: int,
    metric: Metric = BINARY,
) -> Repeated:
    """Nested cross-validation of an L2 probe, `n_repeats` times; repeat r has the folds of seed + r.

    The strength is chosen by inner 3-fold cross-validation, and nothing is fitted outside its fold; groups stay whole
    in both. Equal y, groups and seed give equal folds, so that predictors are compared on the same ones.
    X: [person, feature], its span, or a function of the training people (bool mask) that gives features for all.
    y: [person] of the metric's target; groups: [person] or None. Raises ValueError for fewer people of a class, or
    groups, than folds.
    """
    folds = np.stack([probe.balanced_folds(y, groups, n_folds, seed + r, metric) for r in range(n_repeats)])
    whole = X if callable(X) or isinstance(X, probe.Span) else probe.span(X)
    runs = [probe.cross_validate(whole, y, f, grid, seed + r, groups, metric) for r, f in enumerate(folds)]
    return Repeated(
        score=np.stack([run.score for run in runs]),
        folds=folds,
        probes=[run.probes for run in runs],
        fold_auroc=np.stack([run.fold_auroc for run in runs]),
        inner_auroc=np.stack([run.inner_auroc for run in runs]),
        log_odds=np.stack([run.log_odds for run in runs]),
        inner_log_odds=np.stack([run.inner_log_odds for run in runs]).astype(np.float32),
    )


def hunt(features: dict[str, probe.Features], *arguments, n_jobs: int = -1) -> dict[str, Repeated]:
    """`repeated` for several predictors on the same folds, one process each. n_jobs: -1 for all cores."""
    jobs = (delayed(repeated)(X, *arguments) for X in features.values())
    return dict(zip(features, Parallel(n_jobs)(jobs), strict=True))


def chosen(runs: dict[str, Repeated]) -> tuple[list[list[str]], Repeated]:
    """Each fold's choice between predictors, by its training people alone, and the run that these choices make.

    Returns names, a list of folds a repeat, and the honest estimate when the layer is hunted too.
    Raises ValueError unless all have the same folds.
    """
    names, every = list(runs), list(runs.values())
    folds = every[0].folds
    if not all(np.array_equal(run.folds, folds) for run in every):
        raise ValueError(f"{', '.join(names)} were cross-validated on different folds")
    best = np.stack([run.inner_auroc for run in every]).argmax(0)  # [repeat, fold]
    n_repeats, n_folds = best.shape
    row, fold = np.arange(n_repeats)[:, None], np.arange(n_folds)
    winner, person = np.take_along_axis(best, folds, axis=1), np.arange(folds.shape[1])

    def of_winner(scores: list[np.ndarray]) -> np.ndarray:
        by_person = np.moveaxis(np.stack(scores), -1, 2)  # classes, where there are, last
        return np.moveaxis(by_person[winner, row, person], 1, -1)

    run = Repeated(
        score=of_winner([run.score for run in every]),
        folds=folds,
        probes=[[every[b].probes[r][f] for f, b in enumerate(best[r])] for r in range(n_repeats)],
        fold_auroc=np.stack([run.fold_auroc for run in every])[best, row, fold],
        inner_auroc=np.stack([run.inner_auroc for run in every])[best, row, fold],
        log_odds=of_winner([run.log_odds for run in every]),
        inner_log_odds=np.stack([run.inner_log_odds for run in every])[best, row, fold],
    )
    return [[names[b] for b in picks] for picks in best], run


def shuffled(
    layers: dict[str, probe.Features],
    y: np.ndarray,
    groups: np.ndarray | None,
    n_folds: int,
    grid: list[float],
    n_shuffles: int,
    seed: int,
    n_jobs: int = -1,
    metric: Metric = BINARY,
) -> np.ndarray:
    """AUROC, or other metric, [n_shuffles] of the whole hunt, layer chosen inside folds, on permuted labels: one repeat each."""

    def once(permuted: np.ndarray) -> float:
        runs = {name: repeated(X, permuted, groups, n_folds, 1, grid, seed, metric) for name, X in layers.items()}
        return float(metric.value(permuted, chosen(runs)[1].score[0]))

    rng = np.random.default_rng(seed)
    return np.array(Parallel(n_jobs)(delayed(once)(rng.permutation(y)) for _ in range(n_shuffles)))


def estimate(
    y: np.ndarray,
    score: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> Estimate:
    """Mean over repeats of the AUROC, or other metric, with its interval over people.

    score: [repeat, person] or [person]; of classes [repeat, class, person] or [class, person]. The bootstrap resamples
    people inside each class, or groups [person] whole, the same ones in every repeat: repeats narrow the error of random
    folds but not that of having n people. Raises ValueError as `estimates.draws` does; so do all below that take groups.
    """
    drawn = metric.resampled(y, score, estimates.draws(y, groups, n_boot, seed, metric.target)).mean(0)
    return Estimate(float(metric.value(y, score).mean()), *np.quantile(drawn, [0.025, 0.975]).tolist(), len(y))


def estimates_of(
    y: np.ndarray, score: np.ndarray, n_boot: int, seed: int, groups: np.ndarray | None = None, metric: Metric = BINARY
) -> dict[str, float]:  # fmt: skip
    """`estimate` as columns value, low, high and n; and of the metric reported beside it, where there is one, <key>, <key>_low, _high."""
    columns = estimate(y, score, n_boot, seed, groups, metric)._asdict()
    if second := metric.second:
        value, low, high, _ = estimate(y, score, n_boot, seed, groups, second)
        columns |= {second.key: value, f"{second.key}_low": low, f"{second.key}_high": high}
    return columns


def difference(
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> Estimate:
    """Mean AUROC, or other metric, of a minus that of b, paired over people or groups. a, b: as score of `estimate`."""
    weights = estimates.draws(y, groups, n_boot, seed, metric.target)
    drawn = np.subtract(*(metric.resampled(y, s, weights).mean(0) for s in (a, b)))
    value = metric.value(y, a).mean() - metric.value(y, b).mean()
    return Estimate(float(value), *np.quantile(drawn, [0.025, 0.975]).tolist(), len(y))


def calibrated(y: np.ndarray, run: Repeated) -> np.ndarray:
    """Out-of-fold log odds of a binary y after Platt scaling, fitted in each fold on its training people's inner log odds.

    Returns [repeat, person]. Raises ValueError as `calibration.platt` does.
    """
    out = np.zeros_like(run.log_odds)
    for r, folds in enumerate(run.folds):
        for i, fold in enumerate(np.unique(folds)):
            train, test = folds != fold, folds == fold
            slope, intercept = calibration.platt(run.inner_log_odds[r, i, train], y[train])
            out[r, test] = slope * run.log_odds[r, test] + intercept
    return out
