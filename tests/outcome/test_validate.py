"""The hunt: folds and choices against their parts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.dna import phenotypes
from lib.models import adapter
from lib.outcome import attention, probe, validate, views
from lib.outcome.metrics import CLASS, CONTINUOUS, SPEARMAN
from lib.stage import io
from lib.stats import estimates
from tests.subjects import people, targets


def run(X, y, groups=None, n_repeats=2, grid=(0.1, 1.0)):
    return validate.repeated(X, y, groups, 5, n_repeats, list(grid), 0)


def test_a_repeat_is_one_cross_validation_on_its_own_folds():
    X, y = people(160, 12, strength=1.0)
    got = run(X, y)
    assert got.score.shape == got.folds.shape == got.log_odds.shape == (2, 160)
    assert got.fold_auroc.shape == got.inner_auroc.shape == (2, 5) and got.inner_log_odds.shape == (2, 5, 160)
    assert (got.folds[0] != got.folds[1]).any()
    for r in range(2):
        want = probe.cross_validate(X, y, got.folds[r], [0.1, 1.0], r)
        np.testing.assert_allclose(got.score[r], want.score)
        np.testing.assert_allclose(got.inner_auroc[r], want.inner_auroc)
        np.testing.assert_allclose([p.coef for p in got.probes[r]], [p.coef for p in want.probes])


def test_families_are_never_split():
    X, y = people(160, 12)
    family = np.arange(160) // 4
    for folds in run(X, y, family).folds:
        assert (folds.reshape(40, 4) == folds.reshape(40, 4)[:, :1]).all()


def test_hunt_gives_each_predictor_the_same_folds():
    X, y = people(160, 12, strength=4.0)
    both = validate.hunt({"a": X, "b": X[:, ::-1]}, y, None, 5, 2, [1.0], 0, n_jobs=1)
    np.testing.assert_array_equal(both["a"].folds, both["b"].folds)
    np.testing.assert_allclose(both["a"].score, both["b"].score, atol=1e-3)  # the same columns, turned round
    for name, signal in (("a", 0), ("b", 11)):
        assert all(np.argmax(p.coef) == signal for repeat in both[name].probes for p in repeat)


def test_chosen_takes_score_probe_and_inner_odds_from_each_folds_winner():
    X, y = people(160, 12, strength=2.0)
    runs = {
        "signal": run(X, y),
        "half": run(X[:, :1] + np.random.default_rng(1).standard_normal((160, 1)), y),
    }
    picked, got = validate.chosen(runs)
    best = np.stack([r.inner_auroc for r in runs.values()]).argmax(0)
    assert 0 < best.mean() < 1 or len(set(best.ravel())) == 1
    for r in range(2):
        for f in range(5):
            winner, held_out = runs[picked[r][f]], got.folds[r] == f
            assert winner.inner_auroc[r, f] == max(x.inner_auroc[r, f] for x in runs.values())
            assert got.probes[r][f] is winner.probes[r][f]
            np.testing.assert_array_equal(got.score[r, held_out], winner.score[r, held_out])
            np.testing.assert_array_equal(got.log_odds[r, held_out], winner.log_odds[r, held_out])
            np.testing.assert_array_equal(got.inner_log_odds[r, f], winner.inner_log_odds[r, f])


def test_chosen_refuses_other_folds():
    X, y = people(160, 12)
    other = validate.repeated(X, y, None, 5, 2, [1.0], 9)
    with pytest.raises(ValueError, match="a, b were cross-validated on different folds"):
        validate.chosen({"a": run(X, y), "b": other})


OTHERS = pytest.mark.parametrize("metric", [CLASS, CONTINUOUS], ids=["class", "continuous"])


@OTHERS
def test_chosen_takes_the_winners_scores_whatever_the_target(metric):
    X, y = targets(metric, 120, 12)
    noisy = X + np.random.default_rng(1).standard_normal((2, *X.shape))
    runs = {name: validate.repeated(F, y, None, 5, 2, [0.1, 10.0], 0, metric) for name, F in zip("ab", noisy)}
    picked, got = validate.chosen(runs)
    assert {name for picks in picked for name in picks} == {"a", "b"}
    assert got.score.shape == got.log_odds.shape == runs["a"].score.shape
    for r in range(2):
        for f in range(5):
            held_out, winner = got.folds[r] == f, runs[picked[r][f]]
            assert winner.inner_auroc[r, f] == max(x.inner_auroc[r, f] for x in runs.values())
            np.testing.assert_array_equal(got.score[r][..., held_out], winner.score[r][..., held_out])
            np.testing.assert_array_equal(got.log_odds[r][..., held_out], winner.log_odds[r][..., held_out])
            np.testing.assert_array_equal(got.inner_log_odds[r, f], winner.inner_log_odds[r, f])


@pytest.mark.parametrize("metric", [CLASS, CONTINUOUS, SPEARMAN], ids=["class", "continuous", "spearman"])
def test_estimates_and_differences_are_of_the_metric_and_paired(metric):
    X, y = targets(CLASS if metric is CLASS else CONTINUOUS, 120, 12)
    of = CLASS if metric is CLASS else CONTINUOUS
    a, b = (validate.repeated(F, y, None, 5, 2, [1.0], 0, of).score for F in (X, X[:, 1:]))
    family = np.arange(120) // 2
    weights = estimates.draws(y, family, 300, 4, metric.target)
    values = [metric.resampled(y, s, weights).mean(0) for s in (a, b)]
    e = validate.estimate(y, a, 300, 4, family, metric)
    assert e.value == pytest.approx(np.mean([metric.value(y, s) for s in a])) and e.low < e.value < e.high and e.n == 120
    np.testing.assert_allclose([e.low, e.high], np.quantile(values[0], [0.025, 0.975]))
    over = validate.difference(y, a, b, 300, 4, family, metric)
    assert over.value == pytest.approx(e.value - np.mean([metric.value(y, s) for s in b]))
    np.testing.assert_allclose([over.low, over.high], np.quantile(values[0] - values[1], [0.025, 0.975]))
    assert over.low > 0 and validate.difference(y, a, a, 300, 4, family, metric)[:3] == (0, 0, 0)


@OTHERS
def test_the_hunt_on_a_permuted_target_finds_nothing_where_it_had_a_signal(metric):
    X, y = targets(metric, 80, 60, 4.0)
    layers = {"signal": X, "noise": np.random.default_rng(1).standard_normal((80, 100))}
    runs = {name: validate.repeated(F, y, None, 4, 1, [1e-4, 0.1, 10.0], 0, metric) for name, F in layers.items()}
    assert metric.value(y, validate.chosen(runs)[1].score[0]) > metric.chance + 0.2
    null = validate.shuffled(layers, y, None, 4, [1e-4, 0.1, 10.0], 8, 0, n_jobs=1, metric=metric)
    assert null.mean() < metric.chance + 0.065  # 150 shuffles of classes have the mean 0.499 and the deviation 0.06: 3 errors of 8
    if metric is CONTINUOUS:
        assert null.mean() <= 0 and null.max() < 0.15


def test_the_hunt_on_permuted_labels_finds_nothing_where_the_labels_had_a_signal():
    X, y = people(160, 12, strength=4.0)
    layers = {"a": X, "b": X + np.random.default_rng(1).standard_normal(X.shape)}
    values = validate.shuffled(layers, y, None, 5, [0.1, 1.0], 10, 0, n_jobs=1)
    assert values.shape == (10,) and abs(values.mean() - 0.5) < 0.06 and values.std() > 0
    assert estimates.auroc(y, run(X, y).score).mean() > 0.85


# Phenotype arms ------------------------------------------------------------------------------------------

ARMS = {"arms": ["a", "b"], "arm_kinds": ["additive", "null"], "effect_scales": [1.0, 1.0], "germline_limits": [0.0, 0.8],
        "phenotype_path": "", "genetic_path": "", "match_published": True}  # fmt: skip
REAL = {"arms": ["a"], "arm_kinds": ["null"], "effect_scales": [1.0], "germline_limits": [0.8], "phenotype_path": "y.csv",
        "match_published": False}  # fmt: skip


@pytest.mark.parametrize("change, message", [
    ({"arm_kinds": ["additive"]}, "arm_kinds has 1 values, wanted 2"),
    ({"effect_scales": [1.0] * 3}, "effect_scales has 3 values, wanted 2"),
    ({"germline_limits": []}, "germline_limits has 0 values, wanted 2"),
    ({"arms": ["a", "b/c"]}, "arms has 'b/c', wanted names without '/'"),
    ({"match_published": False}, "phenotype_path is '' with match_published false, wanted a table"),
    ({"germline_limits": [0.0, 0.0]}, "germline_limits has 0 for 'b', .* wanted an AUROC"),
    (REAL | {"germline_limits": [0.0]}, "germline_limits has 0 for 'a'"),
    ({"arms": ["null", *ARMS["arms"][1:]]}, "arms has 'null'.*missing value"),
])  # fmt: skip
def test_arms_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        phenotypes.check_arms(**(ARMS | change))


SEVERAL = {"phenotype_path": "y.csv", "germline_limits": [0.7, 0.8]}


@pytest.mark.parametrize("change", [{}, REAL, SEVERAL, REAL | {"germline_limits": [0.0], "genetic_path": "truth.csv"}])
def test_arms_that_fit_are_taken(change):
    phenotypes.check_arms(**(ARMS | change))


# Estimates -----------------------------------------------------------------------------------------------


def test_estimate_is_the_mean_over_repeats_and_repeats_do_not_count_as_people():
    y = np.array([0, 0, 1, 1] * 20)
    a, b = np.random.default_rng(0).standard_normal((2, 80))
    both = validate.estimate(y, np.stack([a, b]), 500, 0)
    assert both.value == np.mean([estimates.auroc(y, a), estimates.auroc(y, b)]) and both.n == 80
    one, twenty = (validate.estimate(y, np.stack([a] * k), 500, 0) for k in (1, 20))
    assert (one.low, one.high) == pytest.approx((twenty.low, twenty.high))


def test_difference_is_paired_over_people():
    _, y = people(200, 12)
    a = y + np.random.default_rng(2).standard_normal(200)
    near = a + 1e-3 * np.random.default_rng(3).standard_normal(200)
    gap = validate.difference(y, a, near, 500, 0)
    e = validate.estimate(y, a, 500, 0)
    assert gap.high - gap.low < 0.1 * (e.high - e.low)
    assert validate.difference(y, a, np.stack([a, a]), 500, 0).value == pytest.approx(0)


def test_intervals_over_families_are_wider_where_members_are_alike():
    y, family, rng = np.repeat(np.arange(60) % 2, 5), np.repeat(np.arange(60), 5), np.random.default_rng(0)
    a, b = (np.repeat(rng.standard_normal(60) + k * y[::5], 5) for k in (1.0, 0.5))
    for of in (
        lambda g: validate.estimate(y, a, 500, 0, g),
        lambda g: validate.difference(y, a, b, 500, 0, g),
    ):
        alone, whole = of(None), of(family)
        assert whole.value == alone.value and whole.n == alone.n == 300
        assert whole.high - whole.low > 1.7 * (alone.high - alone.low)


def test_platt_inside_folds_repairs_log_odds_that_are_three_times_too_extreme():
    X, y = people(1000, 3, 1.0)
    fair = run(X, y, n_repeats=1, grid=[10.0])
    wild = validate.Repeated(
        **{**vars(fair), "log_odds": 3 * fair.log_odds, "inner_log_odds": 3 * fair.inner_log_odds}
    )
    slope = {name: np.polyfit(fair.log_odds[0], x[0], 1)[0]
             for name, x in (("before", wild.log_odds), ("after", validate.calibrated(y, wild)))}  # fmt: skip
    assert slope["before"] == pytest.approx(3)
    assert 0.7 < slope["after"] < 1.3


def test_platt_never_sees_the_held_out_labels():
    X, y = people(200, 3, 1.0)
    r = run(X, y, n_repeats=1)
    held_out = r.folds[0] == 2
    other = np.where(held_out, 1 - y, y)
    before, after = validate.calibrated(y, r), validate.calibrated(other, r)
    np.testing.assert_array_equal(before[0, held_out], after[0, held_out])
    assert (before[0, ~held_out] != after[0, ~held_out]).all()


# Views of a person ---------------------------------------------------------------------------------------


def test_reference_difference_by_hand_and_not_a_shift_of_the_mean():
    # window 0: reference unit 0, two haplotypes that depart by +3 and by -3; window 1: reference unit 3 alone
    units = pd.DataFrame(
        {"unit": range(4), "window": [0, 0, 0, 1], "is_reference": [True, False, False, True]}
    )
    pooled = np.array([[1.0, 0], [4, 0], [-2, 1], [7, 7]])
    got = views.reference_difference(pooled, units)
    np.testing.assert_array_equal(got, [[0, 0], [3, 0], [3, 1], [0, 0]])
    # a carrier of both has the reference's mean, and is as far from it as can be
    assert pooled[[1, 2]].mean(0)[0] == pooled[0, 0] and got[[1, 2]].mean(0)[0] == 3


def test_reference_difference_refuses_a_window_without_reference():
    units = pd.DataFrame({"unit": [0, 1], "window": [0, 5], "is_reference": [True, False]})
    with pytest.raises(ValueError, match="window 5 has no reference unit"):
        views.reference_difference(np.zeros((2, 3)), units)


def test_without_composition_a_signal_that_is_composition_vanishes_and_another_stays():
    X, y = people(400, 12, 2.0)
    composition = np.random.default_rng(1).standard_normal((400, 3))
    mixed = X + composition @ np.random.default_rng(2).standard_normal((3, 12))
    of = {"signal is composition": X[:, :1], "unrelated": composition}
    auroc = {
        name: estimates.auroc(y, run(views.without(mixed, K), y, n_repeats=1).score[0])
        for name, K in of.items()
    }
    plain = estimates.auroc(y, run(mixed, y, n_repeats=1).score[0])
    assert plain > 0.7 and auroc["unrelated"] > 0.75
    assert auroc["signal is composition"] < 0.58


def test_without_composition_is_fitted_on_the_training_people_only():
    X, _ = people(60, 4)
    K = np.random.default_rng(1).standard_normal((60, 2))
    train = np.arange(60) < 40
    before = views.without(X, K)(train)
    X2 = X.copy()
    X2[50] += 100
    after = views.without(X2, K)(train)
    np.testing.assert_array_equal(np.delete(before, 50, 0), np.delete(after, 50, 0))
    centred = K[train] - K[train].mean(0)
    np.testing.assert_allclose(centred.T @ before[train], 0, atol=1e-8)


def test_standardised_uses_the_training_peoples_mean_and_spread():
    X = np.array([[0.0, 5], [2, 5], [100, 9]])
    got = views.standardised(lambda train: X)(np.array([True, True, False]))
    np.testing.assert_array_equal(
        got, [[-1, 0], [1, 0], [99, 4]]
    )  # mean 1, sd 1; a constant column is only centred


def test_pooled_at_is_the_mean_of_what_the_model_gives_and_the_twin_differs():
    folder = io.ROOT / Path("tests/planted_model")
    model, twin = adapter.load(folder), adapter.load(folder, random_init=True, seed=0)
    sequences = ["ACGTTGCAAC" * 6, "GGGTACCATT" * 5]
    got = views.pooled_at(model, sequences, ["embed", "resid_post.1"], 64, chunk=1)
    for i, text in enumerate(sequences):
        batch = model.encode([text])
        for site, x in model.run(batch, ["embed", "resid_post.1"]).items():
            np.testing.assert_allclose(got[site][i], x.mean(0).numpy(), atol=5e-3)  # float16 rows
    other = views.pooled_at(twin, sequences, ["resid_post.1"], 64)["resid_post.1"]
    assert other.shape == got["resid_post.1"].shape and np.abs(other - got["resid_post.1"]).max() > 0.1


def test_attention_finds_a_signal_in_one_locus_and_none_in_noise():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5, 6))
    y = (X[:, 3, 0] + 0.3 * rng.standard_normal(300) > 0).astype(int)
    folds = np.arange(300) % 3
    scores = attention.attention(X, y, folds, 2, 60, 0)
    assert scores.shape == (2, 300) and (scores[0] != scores[1]).any()
    assert (estimates.auroc(y, scores) > 0.7).all()
    permuted = rng.permutation(y)
    assert (estimates.auroc(permuted, attention.attention(X, permuted, folds, 2, 60, 0)) < 0.6).all()
    np.testing.assert_array_equal(attention.attention(X, y, folds, 2, 60, 0), scores)


def test_attention_reads_a_number_in_its_units_and_none_in_noise():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5, 6))
    y = 50 + 20 * (X[:, 3, 0] + 0.3 * rng.standard_normal(300))
    folds = np.arange(300) % 3
    scores = attention.attention(X, y, folds, 2, 60, 0, metric=CONTINUOUS)
    assert (CONTINUOUS.value(y, scores) > 0.5).all() and scores.mean() == pytest.approx(50, abs=3)
    permuted = rng.permutation(y)
    assert (CONTINUOUS.value(permuted, attention.attention(X, permuted, folds, 2, 60, 0, metric=CONTINUOUS)) < 0.1).all()


def test_estimates_of_a_number_have_spearman_beside_r2_and_those_of_a_class_nothing():
    X, y = targets(CONTINUOUS, 200, 3)
    got = validate.estimates_of(y, X[:, 0], 100, 0, metric=CONTINUOUS)
    assert list(got) == ["value", "low", "high", "n", "spearman", "spearman_low", "spearman_high"]
    assert got["value"] < 0 < got["spearman_low"] < got["spearman"] < got["spearman_high"]  # ranks are right, units are not
    assert list(validate.estimates_of(y > 5, X[:, 0], 100, 0)) == ["value", "low", "high", "n"]
