"""Linear probes: does a layer, read per locus, predict the phenotype of people it was not fitted on?

The head follows the target of the metric: L2 logistic regression for 0 and 1, one a class against the rest for classes, ridge
for a continuous y. Where a score is [person], that of classes is [class, person].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from lib.corpus import splits
from lib.outcome.metrics import BINARY, Metric, check_target


@dataclass(frozen=True)
class Probe:
    """score = X @ coef + intercept, log odds, or y of a continuous target. coef: [feature]; of classes [class, feature]."""

    coef: np.ndarray
    intercept: float | np.ndarray
    C: float

    def score(self, X: np.ndarray) -> np.ndarray:
        """[person], or [class, person]. X: [person, feature]."""
        return (X @ self.coef.T + self.intercept).T


@dataclass(frozen=True)
class Span:
    """People in their own span: X - centre = coords @ basis. coords [person, r], orthogonal columns; basis [r, feature]."""

    centre: np.ndarray
    coords: np.ndarray
    basis: np.ndarray

    def part(self, people: np.ndarray) -> Span:
        """The same span, of some of the people."""
        return Span(self.centre, self.coords[people], self.basis)


def span(X: np.ndarray, floor: float = 0.0) -> Span:
    """Coordinates of the people in their own span. X: [person, feature].

    The smaller of the two Gram matrices is decomposed, so that many features or many people are both quick. floor: sum of squares
    along a direction up to which it counts as rounding, for features of which something was taken away.
    """
    centre = X.mean(0)
    Z = np.asarray(X - centre, dtype=np.float64)
    values, vectors = np.linalg.eigh(Z @ Z.T if len(Z) < Z.shape[1] else Z.T @ Z)
    keep = values > max(values.max(initial=0) * 1e-9, floor)
    if len(Z) < Z.shape[1]:
        length = np.sqrt(values[keep])
        return Span(centre, vectors[:, keep] * length, (vectors[:, keep] / length).T @ Z)
    return Span(centre, Z @ vectors[:, keep], vectors[:, keep].T)


def span_by_part(X: np.ndarray, n_parts: int, floor: float = 0.0) -> Span:
    """`span` of features [person, part * d], each part's own taken first: the same, and quick where parts hold few different units.

    A direction that `span` keeps is kept by its part: what is negligible there is negligible beside all parts.
    """
    centre = X.mean(0)
    parts = [span(part, floor) for part in np.split(X - centre, n_parts, axis=1)]
    whole = span(np.concatenate([part.coords for part in parts], axis=1), floor)
    own = np.split(whole.basis, np.cumsum([len(part.basis) for part in parts])[:-1], axis=1)
    return Span(centre, whole.coords, np.concatenate([mix @ part.basis for mix, part in zip(own, parts, strict=True)], axis=1))


def fit(X: np.ndarray | Span, y: np.ndarray, C: float, metric: Metric = BINARY) -> Probe:
    """L2 logistic or ridge regression, solved in the people's own span, which is exact for an L2 penalty.

    X: [person, feature], or its `span` when several C are tried; y: [person] of the metric's target. Features are divided
    by one common scale, the root mean squared distance from the mean: this keeps the embedding's own geometry, where
    scaling each would enlarge near-constant features. Minimises C * log loss + |coef * scale|^2 / 2; ridge has half the
    sum of squares for the log loss.
    """
    s = X if isinstance(X, Span) else span(X)
    weights = next(_path(s.coords, y, [C], metric))
    coef = weights[..., :-1] @ s.basis
    return Probe(coef, weights[..., -1] - s.centre @ coef.T, C)


def _path(Z: np.ndarray, y: np.ndarray, grid: list[float], metric: Metric) -> Iterator[np.ndarray]:
    """Weights of Z [person, r], and last the intercept, for each C: [r + 1], or [class, r + 1]."""
    if metric.target == "continuous":
        yield from _ridge(Z, y, grid)
    elif metric.target == "class":
        each = [_logistic(Z, (y == k).astype(int), grid) for k in range(int(y.max()) + 1)]
        yield from (np.stack(weights) for weights in zip(*each))
    else:
        yield from _logistic(Z, y, grid)


def _logistic(Z: np.ndarray, y: np.ndarray, grid: list[float]) -> Iterator[np.ndarray]:
    """From no weight and the base rate; then from those of the last C, which saves steps and changes no optimum."""
    weights = np.append(np.zeros(Z.shape[1]), np.log(y.mean() / (1 - y.mean())))
    for C in grid:
        weights = _solve(Z, y, C, weights)
        yield weights


def _ridge(Z: np.ndarray, y: np.ndarray, grid: list[float]) -> Iterator[np.ndarray]:
    """Closed form, one decomposition for all C."""
    mean = Z.mean(0)
    values, vectors = np.linalg.eigh((Z - mean).T @ (Z - mean))
    along = vectors.T @ ((Z - mean).T @ (y - y.mean()))
    for C in grid:
        w = vectors @ (along / (values.clip(0) + _penalty(Z, C)))
        yield np.append(w, y.mean() - mean @ w)


def _penalty(Z: np.ndarray, C: float) -> float:
    """scale^2 / C."""
    return max(Z.var(0).sum(), 1e-300) / C


def _solve(Z: np.ndarray, y: np.ndarray, C: float, start: np.ndarray) -> np.ndarray:
    """Weights of Z [person, r], and last the intercept, which has no penalty. L-BFGS, divided by the curvature's diagonal."""
    penalty = _penalty(Z, C)
    root = 1 / np.sqrt(np.append(0.2 * (Z * Z).sum(0) + penalty, 0.2 * len(Z)))

    def loss(u: np.ndarray) -> tuple[float, np.ndarray]:
        w = root * u
        eta = Z @ w[:-1] + w[-1]
        wrong = expit(eta) - y
        gradient = np.append(wrong @ Z + penalty * w[:-1], wrong.sum())
        return np.logaddexp(0, eta).sum() - eta @ y + penalty / 2 * (w[:-1] @ w[:-1]), root * gradient

    options = {"gtol": 1e-4, "ftol": 0.0, "maxiter": 500, "maxcor": 20}
    return root * minimize(loss, start / root, jac=True, method="L-BFGS-B", options=options).x


def balanced_folds(
    y: np.ndarray, groups: np.ndarray | None, n_folds: int, seed: int, metric: Metric = BINARY
) -> np.ndarray:
    """Fold of each person: [person] int. `splits.stratified_folds` by class, or by fifths of a continuous y.

    Fewer bins than five where a bin would hold fewer people than there are folds. Raises ValueError as it does, and for
    a class that whole groups leave out of a fold.
    """
    strata = y
    if metric.target == "continuous":
        n_bins = max(min(5, len(y) // n_folds), 1)
        strata = ((rankdata(y, "ordinal") - 1) * n_bins // len(y)).astype(int)
    folds = splits.stratified_folds(strata, groups, n_folds, seed)
    if metric.target == "class":
        for fold in np.unique(folds):
            if len(lacking := np.setdiff1d(y, y[folds == fold])):
                raise ValueError(f"fold {fold} of {n_folds} holds nobody of class {lacking[0]}: wanted it in more groups, or left out")
    return folds


def choose_C(
    X: np.ndarray | Span,
    y: np.ndarray,
    grid: list[float],
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> tuple[float, float, np.ndarray]:
    """Inner 3-fold cross-validation on the training people only, groups kept whole.

    Returns the best C, its mean AUROC, or other metric, and its out-of-fold log odds, or predictions [person].
    """
    s = X if isinstance(X, Span) else span(X)
    folds, values = balanced_folds(y, groups, 3, seed, metric), []
    scores = np.zeros((len(grid), *_shape(y, metric)))
    for fold in range(3):
        train = folds != fold
        for i, weights in enumerate(_path(s.coords[train], y[train], grid, metric)):
            scores[i][..., ~train] = (s.coords[~train] @ weights[..., :-1].T + weights[..., -1]).T
        values.append(metric.value(y[~train], scores[..., ~train]))
    means = np.mean(values, axis=0)
    best = int(np.argmax(means))
    return grid[best], float(means[best]), scores[best]


def final(
    X: np.ndarray | Span, y: np.ndarray, grid: list[float], seed: int, groups: np.ndarray | None = None, metric: Metric = BINARY
) -> Probe:
    """The probe fitted on everybody, of the C that inner cross-validation chooses; for subjects that no fold holds."""
    return fit(X, y, choose_C(X, y, grid, seed, groups, metric)[0], metric)


def _shape(y: np.ndarray, metric: Metric) -> tuple[int, ...]:
    """Of a score: (person,), or (class, person)."""
    return (int(y.max()) + 1, len(y)) if metric.target == "class" else (len(y),)


@dataclass(frozen=True)
class CrossValidated:
    """Out-of-fold scores [person] on the log-odds scale, centred per fold, and the probe of each fold.

    fold_auroc: [fold] on the held-out people; inner_auroc: [fold] on the training people, by inner cross-validation:
    the one that a choice between layers may look at; both are values of the metric, whichever it is. log_odds: [person],
    the scores before centring; inner_log_odds: [fold, person] of the training people, out of inner folds, nan for the
    held-out. Of a continuous target score and log_odds are the predictions, in units of y: R2 compares them with y itself.
    """

    score: np.ndarray
    probes: list[Probe]
    fold_auroc: np.ndarray
    inner_auroc: np.ndarray
    log_odds: np.ndarray
    inner_log_odds: np.ndarray


#: Features [person, feature], their span, or a function of the training people [person] bool that gives features.
Features = np.ndarray | Span | Callable[[np.ndarray], np.ndarray]


def cross_validate(
    X: Features,
    y: np.ndarray,
    folds: np.ndarray,
    grid: list[float],
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> CrossValidated:
    """Fit on the other folds, score the held-out one. folds: [person] int; groups: [person], kept whole inside too.

    Each fold's scores are centred by the training people's mean, so that pooling folds compares like with like.
    The span of all people serves every fold: it holds the span of each fold's, so an L2 fit there is the same fit.
    One BLAS thread: these matrices are small, and threads that wait for each other cost 10x on a busy machine.
    Raises ValueError when y is not of the metric's target.
    """
    check_target(y, metric)
    with threadpool_limits(1):
        whole = X if callable(X) or isinstance(X, Span) else span(X)
        shape, names = _shape(y, metric), np.unique(folds)
        score, log_odds, probes, per_fold, inner = np.zeros(shape), np.zeros(shape), [], [], []
        inside = np.full((len(names), *shape), np.nan)
        for i, fold in enumerate(names):
            train, test = folds != fold, folds == fold
            s = span(whole(train)) if callable(whole) else whole
            part = s.part(train)
            C, value, inside[i][..., train] = choose_C(
                part, y[train], grid, seed, None if groups is None else groups[train], metric
            )
            probe = fit(part, y[train], C, metric)
            w, origin = s.basis @ probe.coef.T, probe.intercept + s.centre @ probe.coef.T
            log_odds[..., test] = (s.coords[test] @ w + origin).T
            centre = 0.0 if metric.target == "continuous" else (part.coords @ w + origin).mean(0)
            score[..., test] = (log_odds[..., test].T - centre).T
            probes.append(probe)
            inner.append(value)
            per_fold.append(metric.value(y[test], score[..., test]))
    return CrossValidated(score, probes, np.array(per_fold), np.array(inner), log_odds, inside)
