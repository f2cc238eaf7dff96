"""Linear probes against scikit-learn, against noise, and the person-by-locus average by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score

from lib.corpus import corpus
from lib.dna import kmers
from lib.outcome import probe
from lib.outcome.metrics import BINARY, CLASS, CONTINUOUS
from lib.stats import estimates
from tests.subjects import people, targets


@pytest.mark.parametrize("n", [80, 12])  # more people than a part has features, and fewer
def test_a_span_taken_part_by_part_is_the_span(n):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(n, 3)) @ rng.normal(size=(3, 20)), np.ones((n, 20)), 5 * rng.normal(size=(n, 20))], axis=1)
    whole, by_part = probe.span(X), probe.span_by_part(X, 3)
    assert whole.coords.shape == by_part.coords.shape
    np.testing.assert_allclose(by_part.centre + by_part.coords @ by_part.basis, X, atol=1e-9)
    np.testing.assert_allclose(by_part.coords @ by_part.coords.T, whole.coords @ whole.coords.T, atol=1e-8)
    assert probe.span_by_part(X, 3, floor=1e9).coords.shape == (n, 0)  # all of it counts as rounding


@pytest.mark.parametrize("n, d", [(80, 10), (30, 200)])  # more people than features, and fewer
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_fit_is_scikit_learns_on_the_equally_scaled_data(n, d, C):
    X, y = people(n, d, 1.5)
    X = X * np.linspace(0.1, 3, d) + 5  # unequal scales, which one common scale keeps
    scale = np.sqrt(X.var(0).sum())  # root mean squared distance from the mean
    model = LogisticRegression(C=C, tol=1e-10, max_iter=20000).fit((X - X.mean(0)) / scale, y)
    fitted = probe.fit(X, y, C)
    new = np.random.default_rng(1).standard_normal((20, d)) + 5
    np.testing.assert_allclose(fitted.score(X), model.decision_function((X - X.mean(0)) / scale), atol=1e-4)
    np.testing.assert_allclose(fitted.coef * scale, model.coef_[0], atol=1e-4)
    if d < n:
        np.testing.assert_allclose(
            fitted.score(new), model.decision_function((new - X.mean(0)) / scale), atol=1e-4
        )


def test_features_without_variance_give_the_base_rate():
    fitted = probe.fit(np.ones((10, 3)), np.array([1, 1] + [0] * 8), 1.0)
    np.testing.assert_allclose(fitted.score(np.zeros((2, 3))), np.log(0.2 / 0.8))


def folds(y, seed=0):
    return np.random.default_rng(seed).permutation(len(y)) % 5


def test_noise_stays_at_one_half_and_a_planted_signal_is_found():
    noise = [estimates.auroc(y, probe.cross_validate(X, y, folds(y), [0.1], 0).score)
             for X, y in (people(60, 6, seed=s) for s in range(10))]  # fmt: skip
    assert abs(np.mean(noise) - 0.5) < 0.08
    X, y = people(80, 10, strength=4.0)
    fitted = probe.cross_validate(X, y, folds(y), [0.01, 1.0], 0)
    assert estimates.auroc(y, fitted.score) > 0.85
    assert len(fitted.probes) == len(fitted.fold_auroc) == 5
    assert all(np.argmax(np.abs(p.coef)) == 0 for p in fitted.probes)


def test_the_held_out_fold_is_never_fitted_on():
    X, y = people(80, 10, strength=1.0)
    f = folds(y)
    before = probe.cross_validate(X, y, f, [1.0], 0)
    other = y.copy()
    other[f == 2] = 1 - other[f == 2]
    after = probe.cross_validate(X, other, f, [1.0], 0)
    np.testing.assert_array_equal(before.score[f == 2], after.score[f == 2])
    assert (before.score[f != 2] != after.score[f != 2]).all()
    want = before.probes[2].score(X[f == 2]) - before.probes[2].score(X[f != 2]).mean()
    np.testing.assert_allclose(before.score[f == 2], want)


def test_choose_C_takes_the_better_of_the_grid():
    from sklearn.model_selection import StratifiedKFold

    X, y = people(90, 40, 2.0, seed=3)
    grid = [1e-4, 1e-2, 1.0, 100.0]
    splits = list(StratifiedKFold(3, shuffle=True, random_state=7).split(X, y))
    means = [
        np.mean([estimates.auroc(y[v], probe.fit(X[t], y[t], C).score(X[v])) for t, v in splits]) for C in grid
    ]
    assert len(set(means)) > 1
    best, inside, out_of_fold = probe.choose_C(X, y, grid, 7)
    assert best == grid[int(np.argmax(means))]
    np.testing.assert_allclose(inside, max(means), atol=1e-3)  # a pair of people may swap within the solver's tolerance
    want = np.zeros(len(y))
    for t, v in splits:
        want[v] = probe.fit(X[t], y[t], best).score(X[v])
    np.testing.assert_allclose(out_of_fold, want, atol=1e-3)


@pytest.mark.parametrize("n, d", [(80, 10), (30, 200)])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_ridge_is_scikit_learns_on_the_equally_scaled_data(n, d, C):
    X, y = targets(CONTINUOUS, n, d)
    X = X * np.linspace(0.1, 3, d) + 5
    scale = np.sqrt(X.var(0).sum())
    model = Ridge(alpha=1 / C).fit((X - X.mean(0)) / scale, y)
    fitted = probe.fit(X, y, C, CONTINUOUS)
    new = np.random.default_rng(1).standard_normal((20, d)) + 5
    np.testing.assert_allclose(fitted.coef * scale, model.coef_, atol=1e-8)
    np.testing.assert_allclose(fitted.score(new), model.predict((new - X.mean(0)) / scale), atol=1e-8)


def test_a_probe_of_classes_is_one_logistic_against_the_rest_each():
    X, y = targets(CLASS, 90, 10)
    fitted = probe.fit(X, y, 0.5, CLASS)
    assert fitted.coef.shape == (3, 10) and fitted.score(X).shape == (3, 90)
    for k in range(3):
        one = probe.fit(X, (y == k).astype(int), 0.5)
        np.testing.assert_allclose(fitted.coef[k], one.coef)
        np.testing.assert_allclose(fitted.score(X)[k], one.score(X))


def test_features_without_variance_give_the_mean_of_a_continuous_y():
    fitted = probe.fit(np.ones((4, 3)), np.array([1.0, 2, 3, 6]), 1.0, CONTINUOUS)
    np.testing.assert_allclose(fitted.score(np.zeros((2, 3))), 3)


@pytest.mark.parametrize("metric", [CLASS, CONTINUOUS], ids=["class", "continuous"])
def test_nested_cross_validation_is_that_of_a_loop(metric):
    """Every fit anew on its own people, no span shared, no path of C: as one would write it by hand."""
    X, y = targets(metric, 75, 20)
    grid, outer = [1e-3, 0.1, 10.0], probe.balanced_folds(y, None, 4, 1, metric)
    run = probe.cross_validate(X, y, outer, grid, 3, None, metric)
    for f in range(4):
        train, test = outer != f, outer == f
        A, b = X[train], y[train]
        inner = probe.balanced_folds(b, None, 3, 3, metric)
        values = [np.mean([metric.value(b[inner == i], probe.fit(A[inner != i], b[inner != i], C, metric).score(A[inner == i]))
                           for i in range(3)]) for C in grid]  # fmt: skip
        fitted = probe.fit(A, b, grid[int(np.argmax(values))], metric)
        assert run.probes[f].C == fitted.C
        np.testing.assert_allclose(run.inner_auroc[f], max(values), atol=2e-3)
        np.testing.assert_allclose(run.log_odds[..., test], fitted.score(X[test]), atol=2e-3)
        centre = fitted.score(A).mean(-1, keepdims=True) if metric is CLASS else 0
        np.testing.assert_allclose(run.score[..., test], fitted.score(X[test]) - centre, atol=2e-3)
        assert run.fold_auroc[f] == metric.value(y[test], run.score[..., test])
        np.testing.assert_array_equal(np.isnan(run.inner_log_odds[f]).reshape(-1, 75).all(0), test)


@pytest.mark.parametrize("metric", [CLASS, CONTINUOUS], ids=["class", "continuous"])
def test_the_held_out_fold_is_never_fitted_on_whatever_the_target(metric):
    X, y = targets(metric, 90, 10)
    f = probe.balanced_folds(y, None, 5, 0, metric)
    before = probe.cross_validate(X, y, f, [0.1, 1.0], 0, None, metric)
    other = y.copy()
    other[f == 2] = y[f == 2][::-1]
    after = probe.cross_validate(X, other, f, [0.1, 1.0], 0, None, metric)
    np.testing.assert_array_equal(before.score[..., f == 2], after.score[..., f == 2])
    assert (before.score[..., f != 2] != after.score[..., f != 2]).all()


@pytest.mark.parametrize("metric, chance", [(CLASS, 0.5), (CONTINUOUS, 0.0)], ids=["class", "continuous"])
def test_noise_stays_at_chance_and_a_signal_above_it(metric, chance):
    noise = []
    for seed in range(10):
        X, y = targets(metric, 60, 100, 0.0, seed)
        f = probe.balanced_folds(y, None, 5, seed, metric)
        noise.append(metric.value(y, probe.cross_validate(X, y, f, [1e-3, 0.1, 10.0], 0, None, metric).score))
    assert np.mean(noise) < chance + 0.03  # R2 of noise is below 0: its predictions are worse than the mean
    X, y = targets(metric, 200, 10, 3.0)
    run = probe.cross_validate(X, y, probe.balanced_folds(y, None, 5, 0, metric), [0.1, 10.0], 0, None, metric)
    assert metric.value(y, run.score) > 0.8
    if metric is CONTINUOUS:
        assert metric.value(y, run.score) == pytest.approx(r2_score(y, run.log_odds)) and np.corrcoef(y, run.score)[0, 1] > 0.9


def test_folds_of_numbers_hold_each_fifth_evenly_and_families_whole():
    y = np.random.default_rng(0).exponential(size=100)
    folds = probe.balanced_folds(y, None, 5, 0, CONTINUOUS)
    fifth = np.argsort(np.argsort(y)) // 20
    assert (np.histogram2d(folds, fifth, bins=5)[0] == 4).all()
    family = np.arange(100) // 4
    whole = probe.balanced_folds(y, family, 5, 0, CONTINUOUS).reshape(25, 4)
    assert (whole == whole[:, :1]).all() and len(np.unique(whole)) == 5
    assert len(np.unique(probe.balanced_folds(y[:6], None, 5, 0, CONTINUOUS))) == 5  # too few for bins
    np.testing.assert_array_equal(probe.balanced_folds(y > 1, None, 5, 0), probe.balanced_folds((y > 1) * 1, None, 5, 0, CLASS))


def test_a_class_that_whole_groups_leave_out_of_a_fold_is_named():
    y, group = np.array([0, 1, 0, 1, 2, 2, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 2, 3, 3, 2, 2])
    with pytest.raises(ValueError, match="fold . of 3 holds nobody of class .: wanted it in more groups, or left out"):
        probe.balanced_folds(y, group, 3, 0, CLASS)


def test_a_target_of_another_type_is_refused_before_any_fit():
    with pytest.raises(ValueError, match="a binary y holds"):
        probe.cross_validate(np.eye(6), np.arange(6) / 2, np.arange(6) % 2, [1.0], 0, None, BINARY)


def test_person_locus_map_by_hand():
    # locus a: windows 0 (units 0, 1) and 1 (units 2, 3); locus b: window 2 (unit 4)
    units = pd.DataFrame({"unit": range(5), "locus": ["a", "a", "a", "a", "b"], "window": [0, 0, 1, 1, 2]})
    rows = [
        ("p", 0, 0, 0), ("p", 0, 1, 1), ("p", 1, 0, 2), ("p", 1, 1, 2), ("p", 2, 0, 4), ("p", 2, 1, 4),
        ("q", 0, 0, 1), ("q", 0, 1, 1), ("q", 1, 0, 3), ("q", 1, 1, 3), ("q", 2, 0, 4),  # q is haploid in b
    ]  # fmt: skip
    carriers = pd.DataFrame(rows, columns=["sample", "window", "haplotype", "unit"])
    # a person of the cohort who carries nothing here, as in a subset of a categorical column
    carriers["sample"] = pd.Categorical(carriers["sample"], categories=["zero", "q", "p"])
    locus_map, names, loci = corpus.person_locus_map(carriers, units)
    assert names == ["p", "q"] and loci == ["a", "b"]
    want = [[0.25, 0.25, 0.5, 0, 0], [0, 0, 0, 0, 1], [0, 0.5, 0, 0.5, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_allclose(locus_map.toarray(), want)
    values = np.array([[0.0, 0], [4, 1], [8, 2], [16, 3], [1, 9]])
    # p in a: (0 + 4 + 8 + 8) / 4 = 5; q in a: (4 + 4 + 16 + 16) / 4 = 10
    np.testing.assert_allclose(corpus.features(locus_map, 2, values), [[5, 1.25, 1, 9], [10, 2, 1, 9]])


def test_kmer_frequencies_by_hand():
    # 2-mers of AACNG: AA, AC (CN and NG hold an N); of ACAC: AC twice, CA once
    got = kmers.kmer_frequencies(["AACNG", "ACAC", "NNN"], 2)
    want = np.zeros((3, 16))
    want[0, 0] = want[0, 1] = 1 / 2  # AA = 0, AC = 1
    want[1, 1], want[1, 4] = 2 / 3, 1 / 3  # CA = 4
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_function_of_the_training_people_is_called_for_each_fold_with_them_alone():
    X, y = people(60, 6, 1.0)
    f, seen = folds(y), []

    def make(train):
        seen.append(train)
        return X * 2

    got = probe.cross_validate(make, y, f, [0.1, 1.0], 0)
    np.testing.assert_array_equal(seen, [f != k for k in range(5)])
    np.testing.assert_allclose(got.score, probe.cross_validate(X, y, f, [0.1, 1.0], 0).score, atol=1e-3)  # one scale


def test_log_odds_are_the_probes_own_and_inner_ones_leave_the_held_out_fold_empty():
    X, y = people(60, 6, 1.0)
    X, f = X + 3, folds(y)
    run = probe.cross_validate(X, y, f, [1.0], 0)
    for k, p in enumerate(run.probes):
        np.testing.assert_allclose(run.log_odds[f == k], p.score(X[f == k]))
        np.testing.assert_array_equal(np.isnan(run.inner_log_odds[k]), f == k)
        inside = probe.choose_C(X[f != k], y[f != k], [1.0], 0)[2]
        np.testing.assert_allclose(run.inner_log_odds[k, f != k], inside, atol=1e-3)


def test_families_stay_whole_in_the_inner_folds_too():
    # twins with one label: a probe that has seen the twin knows the answer, one that has not knows nothing
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((60, 200)), 2, axis=0)
    y, family = np.repeat(rng.permutation(60) % 2, 2), np.repeat(np.arange(60), 2)
    apart, together = (probe.choose_C(X, y, [1.0], 0, groups)[1] for groups in (None, family))
    assert apart > 0.85 and together < 0.65
    outer = family % 5
    run = probe.cross_validate(X, y, outer, [1.0], 0, family)
    assert run.inner_auroc.mean() < 0.65 < probe.cross_validate(X, y, outer, [1.0], 0).inner_auroc.mean()
