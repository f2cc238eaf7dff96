"""Linear probes: does a layer, read per locus, predict the phenotype of people it was not fitted on?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from lib import cohort, stats


def person_locus_map(
    carriers: pd.DataFrame, units: pd.DataFrame
) -> tuple[sparse.csr_matrix, list[str], list[str]]:
    """Average over windows and haplotypes: features[person, locus] = M @ unit values.

    carriers: sample, window, haplotype, unit. units: unit, locus. Returns M [person x locus, unit] (locus fastest),
    the people and the loci. Every weight is 1 / (number of the person's haplotype windows at that locus).
    """
    people = list(dict.fromkeys(carriers["sample"]))
    loci = list(dict.fromkeys(units["locus"]))
    locus_of = units.set_index("unit")["locus"].map({name: i for i, name in enumerate(loci)})
    person_of = {name: i for i, name in enumerate(people)}
    row = carriers["sample"].map(person_of).to_numpy() * len(loci) + locus_of.loc[carriers["unit"]].to_numpy()
    shape = (len(people) * len(loci), int(units["unit"].max()) + 1)
    counts = sparse.csr_matrix((np.ones(len(row)), (row, carriers["unit"].to_numpy())), shape=shape)
    total = np.asarray(counts.sum(1)).ravel()
    return sparse.diags(1 / np.maximum(total, 1)) @ counts, people, loci


def features(locus_map: sparse.csr_matrix, n_people: int, values: np.ndarray) -> np.ndarray:
    """values: [unit, d] -> [person, locus * d], the concatenation of per-locus means."""
    return (locus_map @ values).reshape(n_people, -1)


@dataclass(frozen=True)
class Probe:
    """score = X @ coef + intercept, log odds. coef: [feature]."""

    coef: np.ndarray
    intercept: float
    C: float

    def score(self, X: np.ndarray) -> np.ndarray:
        return X @ self.coef + self.intercept


@dataclass(frozen=True)
class Span:
    """People in their own span: X - centre = coords @ basis. coords [person, r], orthogonal columns; basis [r, feature]."""

    centre: np.ndarray
    coords: np.ndarray
    basis: np.ndarray

    def part(self, people: np.ndarray) -> Span:
        """The same span, of some of the people."""
        return Span(self.centre, self.coords[people], self.basis)


def span(X: np.ndarray) -> Span:
    """Coordinates of the people in their own span. X: [person, feature].

    The smaller of the two Gram matrices is decomposed, so that many features or many people are both quick.
    """
    centre = X.mean(0)
    Z = np.asarray(X - centre, dtype=np.float64)
    values, vectors = np.linalg.eigh(Z @ Z.T if len(Z) < Z.shape[1] else Z.T @ Z)
    keep = values > max(values[-1], 0) * 1e-9
    if len(Z) < Z.shape[1]:
        length = np.sqrt(values[keep])
        return Span(centre, vectors[:, keep] * length, (vectors[:, keep] / length).T @ Z)
    return Span(centre, Z @ vectors[:, keep], vectors[:, keep].T)


def fit(X: np.ndarray | Span, y: np.ndarray, C: float) -> Probe:
    """L2 logistic regression, solved in the people's own span, which is exact for an L2 penalty.

    X: [person, feature], or its `span` when several C are tried; y: [person] 0/1. Features are divided by one
    common scale, the root mean squared distance from the mean: this keeps the embedding's own geometry, where
    scaling each would enlarge near-constant features. Minimises C * log loss + |coef * scale|^2 / 2.
    """
    s = X if isinstance(X, Span) else span(X)
    weights = _solve(s.coords, y, C, _start(s, y))
    coef = weights[:-1] @ s.basis
    return Probe(coef, float(weights[-1] - s.centre @ coef), C)


def _start(s: Span, y: np.ndarray) -> np.ndarray:
    """No weight, and the base rate as intercept."""
    return np.append(np.zeros(s.coords.shape[1]), np.log(y.mean() / (1 - y.mean())))


def _solve(Z: np.ndarray, y: np.ndarray, C: float, start: np.ndarray) -> np.ndarray:
    """Weights of Z [person, r], and last the intercept, which has no penalty. L-BFGS, divided by the curvature's diagonal."""
    penalty = max(Z.var(0).sum(), 1e-300) / C
    root = 1 / np.sqrt(np.append(0.2 * (Z * Z).sum(0) + penalty, 0.2 * len(Z)))

    def loss(u: np.ndarray) -> tuple[float, np.ndarray]:
        w = root * u
        eta = Z @ w[:-1] + w[-1]
        wrong = expit(eta) - y
        gradient = np.append(wrong @ Z + penalty * w[:-1], wrong.sum())
        return np.logaddexp(0, eta).sum() - eta @ y + penalty / 2 * (w[:-1] @ w[:-1]), root * gradient

    options = {"gtol": 1e-4, "ftol": 0.0, "maxiter": 500, "maxcor": 20}
    return root * minimize(loss, start / root, jac=True, method="L-BFGS-B", options=options).x


def choose_C(
    X: np.ndarray | Span, y: np.ndarray, grid: list[float], seed: int, groups: np.ndarray | None = None
) -> tuple[float, float, np.ndarray]:
    """Inner 3-fold cross-validation on the training people only, groups kept whole.

    Returns the best C, its mean AUROC and its out-of-fold log odds [person].
    """
    s = X if isinstance(X, Span) else span(X)
    folds, values, scores = cohort.stratified_folds(y, groups, 3, seed), [], np.zeros((len(grid), len(y)))
    for fold in range(3):
        train = folds != fold
        Z, weights = s.coords[train], _start(s, y[train])
        for i, C in enumerate(grid):  # a start from the last C saves steps and changes no optimum
            weights = _solve(Z, y[train], C, weights)
            scores[i, ~train] = s.coords[~train] @ weights[:-1] + weights[-1]
        values.append(stats.auroc(y[~train], scores[:, ~train]))
    means = np.mean(values, axis=0)
    best = int(np.argmax(means))
    return grid[best], float(means[best]), scores[best]


@dataclass(frozen=True)
class CrossValidated:
    """Out-of-fold scores [person] on the log-odds scale, centred per fold, and the probe of each fold.

    fold_auroc: [fold] on the held-out people; inner_auroc: [fold] on the training people, by inner cross-validation:
    the one that a choice between layers may look at. log_odds: [person], the scores before centring;
    inner_log_odds: [fold, person] of the training people, out of inner folds, nan for the held-out.
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
) -> CrossValidated:
    """Fit on the other folds, score the held-out one. folds: [person] int; groups: [person], kept whole inside too.

    Each fold's scores are centred by the training people's mean, so that pooling folds compares like with like.
    The span of all people serves every fold: it holds the span of each fold's, so an L2 fit there is the same fit.
    One BLAS thread: these matrices are small, and threads that wait for each other cost 10x on a busy machine.
    """
    with threadpool_limits(1):
        whole = X if callable(X) or isinstance(X, Span) else span(X)
        score, log_odds, probes, per_fold, inner = np.zeros(len(y)), np.zeros(len(y)), [], [], []
        names = np.unique(folds)
        inside = np.full((len(names), len(y)), np.nan)
        for i, fold in enumerate(names):
            train, test = folds != fold, folds == fold
            s = span(whole(train)) if callable(whole) else whole
            mine = s.part(train)
            C, value, inside[i, train] = choose_C(
                mine, y[train], grid, seed, None if groups is None else groups[train]
            )
            probe = fit(mine, y[train], C)
            w, origin = s.basis @ probe.coef, probe.intercept + s.centre @ probe.coef
            log_odds[test] = s.coords[test] @ w + origin
            score[test] = log_odds[test] - (mine.coords @ w + origin).mean()
            probes.append(probe)
            inner.append(value)
            per_fold.append(stats.auroc(y[test], score[test]))
    return CrossValidated(score, probes, np.array(per_fold), np.array(inner), log_odds, inside)


def kmer_frequencies(sequences: list[str], k: int) -> np.ndarray:
    """Share of each k-mer in each sequence, k-mers with N left out: [sequence, 4**k]."""
    from lib.genome import sequence as sq

    out = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, text in enumerate(sequences):
        codes = sq.encode(text).astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(codes, k)
        windows = windows[(windows < 4).all(1)]
        counts = np.bincount(windows @ (4 ** np.arange(k)[::-1]), minlength=4**k)
        out[row] = counts / max(counts.sum(), 1)
    return out
