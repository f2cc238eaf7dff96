"""Linear probes: does a layer, read per locus, predict the phenotype of people it was not fitted on?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lib import stats


def person_locus_map(carriers: pd.DataFrame, units: pd.DataFrame) -> tuple[sparse.csr_matrix, list[str], list[str]]:
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
    """Centred people, divided by one common scale, in their own span: (X - centre) / scale = coords @ basis."""

    centre: np.ndarray
    scale: float
    coords: np.ndarray
    basis: np.ndarray


def span(X: np.ndarray) -> Span:
    """Coordinates of the people in their own span, at most as many as people. X: [person, feature].

    One scale for all features keeps the embedding's own geometry: scaling each would enlarge near-constant ones.
    The Gram matrix is decomposed, which is quick when features are many.
    """
    centre = X.mean(0)
    scale = float(np.sqrt(((X - centre) ** 2).sum(1).mean())) or 1.0
    Z = np.asarray((X - centre) / scale, dtype=np.float64)
    values, vectors = np.linalg.eigh(Z @ Z.T)
    keep = values > max(values[-1], 0) * 1e-9
    if values[-1] <= 0:
        return Span(centre, scale, np.zeros((len(X), 0)), np.zeros((0, X.shape[1])))
    length = np.sqrt(values[keep])
    return Span(centre, scale, vectors[:, keep] * length, (vectors[:, keep] / length).T @ Z)


def compact(X: np.ndarray) -> np.ndarray:
    """The same people in at most as many coordinates: distances and inner products, so L2 fits, are unchanged.

    X: [person, feature], more features than people. Uses no label; a fold's fit still sees its own people only.
    """
    s = span(X)
    return s.coords * s.scale


def fit(X: np.ndarray | Span, y: np.ndarray, C: float) -> Probe:
    """L2 logistic regression, solved in the people's own span, which is exact for an L2 penalty.

    X: [person, feature], or its `span` when several C are tried; y: [person] 0/1.
    """
    s = X if isinstance(X, Span) else span(X)
    if not s.coords.shape[1]:
        return Probe(np.zeros(len(s.centre)), float(np.log(y.mean() / (1 - y.mean()))), C)
    model = LogisticRegression(C=C, solver="newton-cholesky", max_iter=200).fit(s.coords, y)
    coef = (model.coef_[0] @ s.basis) / s.scale
    return Probe(coef, float(model.intercept_[0] - s.centre @ coef), C)


def choose_C(X: np.ndarray, y: np.ndarray, grid: list[float], seed: int) -> tuple[float, float]:
    """Inner 3-fold cross-validation on the training people only. Returns the best C and its mean AUROC."""
    from sklearn.model_selection import StratifiedKFold

    values = []
    for train, validation in StratifiedKFold(3, shuffle=True, random_state=seed).split(X, y):
        s = span(X[train])
        values.append([stats.auroc(y[validation], fit(s, y[train], C).score(X[validation])) for C in grid])
    means = np.mean(values, axis=0)
    best = int(np.argmax(means))
    return grid[best], float(means[best])


@dataclass(frozen=True)
class CrossValidated:
    """Out-of-fold scores [person] on the log-odds scale, centred per fold, and the probe of each fold.

    fold_auroc: [fold] on the held-out people; inner_auroc: [fold] on the training people, by inner cross-validation:
    the one that a choice between layers may look at.
    """

    score: np.ndarray
    probes: list[Probe]
    fold_auroc: np.ndarray
    inner_auroc: np.ndarray


def cross_validate(X: np.ndarray, y: np.ndarray, folds: np.ndarray, grid: list[float], seed: int) -> CrossValidated:
    """Fit on the other folds, score the held-out one. X: [person, feature]; folds: [person] int.

    Each fold's scores are centred by the training people's mean, so that pooling folds compares like with like.
    One BLAS thread: these matrices are small, and threads that wait for each other cost 10x on a busy machine.
    """
    with threadpool_limits(1):
        return _cross_validate(X, y, folds, grid, seed)


def _cross_validate(X: np.ndarray, y: np.ndarray, folds: np.ndarray, grid: list[float], seed: int) -> CrossValidated:
    score, probes, per_fold, inner = np.zeros(len(y)), [], [], []
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        C, inside = choose_C(X[train], y[train], grid, seed)
        probe = fit(X[train], y[train], C)
        probes.append(probe)
        inner.append(inside)
        score[test] = probe.score(X[test]) - probe.score(X[train]).mean()
        per_fold.append(stats.auroc(y[test], score[test]))
    return CrossValidated(score, probes, np.array(per_fold), np.array(inner))


def nested_choice(runs: dict[str, CrossValidated], folds: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The candidate each fold would choose from its training people alone, and the scores that choice gives.

    Returns one name a fold, and [person] out-of-fold scores: the honest estimate when the layer is hunted too.
    """
    names = list(runs)
    inner = np.stack([runs[n].inner_auroc for n in names])
    picked = [names[i] for i in inner.argmax(0)]
    score = np.zeros(len(folds))
    for fold, name in zip(np.unique(folds), picked, strict=True):
        score[folds == fold] = runs[name].score[folds == fold]
    return picked, score


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
