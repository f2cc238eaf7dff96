"""A probe in a group that it never saw, and in other people."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.outcome import probe, transfer, validate
from lib.outcome.metrics import CONTINUOUS
from lib.stats import estimates
from tests.subjects import people, targets


def test_a_left_out_group_is_scored_by_the_others_probe_and_one_of_a_single_class_is_left_out():
    X, y = people(300, 4, 2.0)
    group = np.repeat(["a", "b", "c"], 100)
    y[group == "c"] = 1
    table = transfer.left_out_groups(X, y, group, X[:, :1].T, [1.0], 100, 0)
    assert table.group.tolist() == ["a", "b"]
    own = probe.fit(X[group == "b"], y[group == "b"], 1.0).score(X[group == "a"])
    assert table.left_out[0] == pytest.approx(estimates.auroc(y[group == "a"], own))
    one = np.where(
        (group == "b") & (y == 1), -1, np.arange(300)
    )  # all cases of b are one family: nothing to resample
    assert transfer.left_out_groups(X, y, group, X[:, :1].T, [1.0], 100, 0, one).empty
    y[group == "b"] = 0
    assert transfer.left_out_groups(X, y, group, X[:, :1].T, [1.0], 100, 0).empty
    y[group == "b"] = people(300, 4, 2.0)[1][group == "b"]
    assert table.within[0] == estimates.auroc(y[group == "a"], X[group == "a", 0])


def test_a_frozen_probe_transports_to_the_same_effect_and_not_to_the_opposite_one():
    X, y = people(2400, 4, 1.5)
    inside = validate.estimate(y, validate.repeated(X, y, None, 5, 2, [0.1, 1.0], 0).score, 300, 0)
    frozen = probe.fit(X, y, 1.0)
    same, other = people(2400, 4, 1.5, seed=1), people(2400, 4, -1.5, seed=2)
    moved = transfer.transport(inside, same[1], frozen.score(same[0]), 300, 0)
    assert moved.holds and 0.5 < moved.slope < 2 and moved.external.n == moved.fall.n == 2400
    assert moved.fall.value == inside.value - moved.external.value and moved.fall.high < transfer.MOST_LOST
    assert moved.row()["fall_high"] == moved.fall.high and moved.row()["value"] == moved.external.value
    assert not transfer.transport(inside, other[1], frozen.score(other[0]), 300, 0).holds


def test_wide_intervals_do_not_transport_and_a_separating_score_has_no_slope():
    y = np.arange(20) % 2
    weak = 0.3 * y + np.random.default_rng(1).standard_normal(20)
    moved = transfer.transport(estimates.Estimate(0.7, 0.6, 0.8, 600), y, weak, 300, 0)
    assert moved.external.low < 0.5 < moved.external.value and moved.external.high > 0.6 and not moved.holds
    strong = transfer.transport(estimates.Estimate(0.9, 0.4, 1.0, 20), y, y * 1.0, 300, 0)
    assert np.isnan(strong.slope) and not strong.holds  # chance at home is not excluded
    assert transfer.transport(estimates.Estimate(0.9, 0.8, 1.0, 20), y, y * 1.0, 300, 0).holds


def test_intervals_that_overlap_are_not_enough_and_a_fall_that_is_surely_small_is():
    """Home 0.8; elsewhere 0.7 with an interval that overlaps and lies above 0.5; and the same AUROC as at home of few and of many."""
    y = np.arange(200) % 2
    score = y * 0.75 + np.random.default_rng(1).standard_normal(200)
    weaker = transfer.transport(estimates.Estimate(0.8, 0.74, 0.86, 300), y, score, 300, 0)
    assert 0.5 < weaker.external.low < 0.74 < weaker.external.high and 0.05 < weaker.fall.value and not weaker.holds
    few, many = (transfer.transport(estimates.Estimate(x.value, x.low, x.high, 1), *x.people, 300, 0) for x in (_alike(60), _alike(6000)))
    assert few.fall.value == many.fall.value == 0 and few.external.low > 0.5
    assert not few.holds and many.holds and few.fall.high > transfer.MOST_LOST > many.fall.high > 0


def _alike(n):
    """People, half of them cases, and the estimate of their AUROC."""
    y = np.arange(n) % 2
    score = 1.2 * y + np.random.default_rng(2).standard_normal(n)
    return SimpleNamespace(people=(y, score), **validate.estimate(y, score, 300, 0)._asdict())


def test_a_second_cohort_with_a_single_case_says_nothing():
    y = np.array([1, 0, 0, 0, 0, 0])
    moved = transfer.transport(estimates.Estimate(0.9, 0.8, 1.0, 20), y, np.arange(6.0), 300, 0)
    assert np.isnan(moved.external.value) and moved.external.n == 0 and np.isnan(moved.slope) and not moved.holds
    assert np.isnan(moved.row()["fall"])


def test_groups_that_leave_too_few_people_to_fit_on_are_no_rows():
    X, y = people(300, 4, 2.0)
    group = np.repeat(["a", "b"], 150)
    y[group == "a"] = 0
    y[:2] = 1  # without b, two cases are left to fit on, and the strength is chosen in three folds
    assert transfer.left_out_groups(X, y, group, X[:, :1].T, [1.0], 100, 0).empty
    y[:3] = 1
    assert len(transfer.left_out_groups(X, y, group, X[:, :1].T, [1.0], 100, 0)) == 2


def test_the_interval_of_a_transported_probe_over_families_is_wider_where_members_are_alike():
    y, family, rng = np.repeat(np.arange(60) % 2, 5), np.repeat(np.arange(60), 5), np.random.default_rng(0)
    a = np.repeat(rng.standard_normal(60) + y[::5], 5)
    alone, whole = (transfer.transport(estimates.Estimate(0.7, 0.6, 0.8, 9), y, a, 500, 0, g).external for g in (None, family))
    assert whole.value == alone.value and whole.n == alone.n == 300
    assert whole.high - whole.low > 1.7 * (alone.high - alone.low)


def test_a_number_transports_by_r2_and_a_few_or_one_value_cannot_be_asked():
    X, y = targets(CONTINUOUS, 800, 4)
    inside = validate.estimate(y, validate.repeated(X, y, None, 5, 1, [0.1, 1.0], 0, CONTINUOUS).score, 300, 0, metric=CONTINUOUS)
    frozen = probe.final(X, y, [0.1, 1.0], 0, metric=CONTINUOUS)
    same, other = targets(CONTINUOUS, 2400, 4, seed=1), targets(CONTINUOUS, 800, 4, -2.0, seed=2)
    moved = transfer.transport(inside, same[1], frozen.score(same[0]), 300, 0, metric=CONTINUOUS)
    assert moved.holds and moved.slope == pytest.approx(1, abs=0.05) and moved.external.value > 0.7
    away = transfer.transport(inside, other[1], frozen.score(other[0]), 300, 0, metric=CONTINUOUS)
    assert away.external.value < 0 and not away.holds
    for few in (slice(0, 9), np.zeros(20, int)):
        got = transfer.transport(inside, same[1][few], frozen.score(same[0][few]), 50, 0, metric=CONTINUOUS)
        assert got.external.n == 0 and np.isnan(got.slope) and not got.holds


def test_a_number_in_a_left_out_group():
    X, y = targets(CONTINUOUS, 300, 4)
    group = np.repeat(["a", "b", "c"], [145, 146, 9])  # of nine nothing is said
    table = transfer.left_out_groups(X, y, group, y[None] + 0.1, [1.0], 100, 0, metric=CONTINUOUS)
    assert table.group.tolist() == ["a", "b"] and table.left_out.gt(0.6).all() and table.within.gt(0.95).all()
    own = probe.fit(X[group == "b"], y[group == "b"], 1.0, CONTINUOUS).score(X[group == "a"])
    assert table.left_out[0] == pytest.approx(CONTINUOUS.value(y[group == "a"], own))
