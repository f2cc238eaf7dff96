"""Sets of latents: groups that move together, closures, and controls that match a latent or a set."""

import numpy as np
import pandas as pd
from scipy import sparse

from lib.causal import sets


def test_moving_latents_are_off_the_reference_in_enough_subjects():
    moved = np.zeros((4, 2, 3))
    moved[:3, 0, 1], moved[0, :, 2] = -1.0, 1.0  # latent 1 in three subjects; 2 in one, in both parts
    assert sets.moving(moved, 1).tolist() == [1, 2] and sets.moving(moved, 3).tolist() == [1] and not len(sets.moving(moved, 4))


def test_rate_and_norm_of_latents_when_they_fire():
    active = sparse.csr_matrix([[2.0, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    rate, norm = sets.rate_and_norm(active, np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 1.0]]))
    assert rate.tolist() == [0.5, 0.25, 0] and norm.tolist() == [15, 2, 0]


def test_rate_matched_controls_are_near_in_rate_then_in_norm():
    rate = np.array([0.20, 0.21, 0.19, 0.23, 0.20, 0.0])
    norm_ = np.array([1.0, 3.0, 1.1, 1.0, 0.5, 1.0])
    index, n_controls = sets.rate_matched(np.array([0, 3]), rate, norm_, n=2)
    np.testing.assert_array_equal(index[0], [2, 4])  # 3 is too frequent, 1 is farther in norm
    np.testing.assert_array_equal(index[1], [1, -1])
    np.testing.assert_array_equal(n_controls, [2, 1])
    null = sets.matched_deltas(np.arange(6.0), index)
    np.testing.assert_array_equal(null, [[2, 4], [1, np.nan]])


def test_strict_controls_are_all_within_a_tenth_of_rate_and_norm_and_no_other():
    rng = np.random.default_rng(0)
    rate, norm = rng.uniform(0.1, 0.2, 300), rng.uniform(1, 2, 300)
    rate[:4], norm[:4] = [0.15, 0.15 * 1.099, 0.15 * 1.101, 0.15], [1.5, 1.5 * 0.901, 1.5, 1.5 * 1.101]
    index, n_controls = sets.rate_matched(np.array([0]), rate, norm, 300, near_norm=sets.NEAR)
    near = (np.abs(rate - 0.15) <= 0.1 * 0.15) & (np.abs(norm - 1.5) <= 0.1 * 1.5)
    near[0] = False
    assert sorted(index[0][index[0] >= 0]) == np.flatnonzero(near).tolist() and n_controls[0] == near.sum()
    assert near[1] and not near[2] and not near[3]


def test_what_never_fires_has_no_control_and_is_none():
    rate, norm = np.array([0.0, 0.0, 0.1, 0.1]), np.array([0.0, 0.0, 1.0, 1.0])
    assert sets.rate_matched(np.array([0, 2]), rate, norm, 3)[1].tolist() == [0, 1]
    assert len(sets.strict_sets(np.array([0]), rate, norm, 3, 0)) == 0


def test_strict_sets_are_near_member_by_member_outside_and_all_different():
    rng = np.random.default_rng(0)
    rate, norm = rng.uniform(0.1, 0.2, 300), rng.uniform(1, 2, 300)
    members, left_out = np.array([5, 9, 40]), np.arange(100, 200)
    drawn = sets.strict_sets(members, rate, norm, 80, 0, left_out)
    assert drawn.shape == (80, 3) and not np.isin(drawn, [*members, *left_out]).any()
    assert (np.abs(rate[drawn] - rate[members]) <= 0.1 * rate[members]).all()
    assert (np.abs(norm[drawn] - norm[members]) <= 0.1 * norm[members]).all()
    assert all(len(set(row)) == 3 for row in drawn) and len({tuple(sorted(row)) for row in drawn}) == 80


def test_strict_sets_that_there_are_few_of_are_all_drawn_and_a_member_without_any_has_none():
    rate, norm = np.array([0.1, 0.1, 0.1, 0.1, 0.5]), np.ones(5)
    assert sorted(map(sorted, sets.strict_sets(np.array([0]), rate, norm, 100, 0).tolist())) == [[1], [2], [3]]
    assert sorted(map(sorted, sets.strict_sets(np.array([0, 1]), rate, norm, 100, 0).tolist())) == [[2, 3]]
    assert sets.strict_sets(np.array([0, 4]), rate, norm, 100, 0).shape == (0, 2)  # nothing fires as often as the second
    assert sets.strict_sets(np.array([0, 1, 2]), rate, norm, 100, 0).shape == (0, 3)  # one latent is left for three


def test_set_changes_add():
    change = np.random.default_rng(0).normal(scale=0.5, size=(2, 5, 20)).astype(np.float32)
    mask = np.array([True, False, True, False, False])
    got = sets.set_change(change, [np.array([0, 2]), mask, np.arange(5), np.array([], dtype=int)])
    assert got.shape == (2, 4, 20)
    np.testing.assert_allclose(got[:, 0], change[:, 0].astype(float) + change[:, 2])
    np.testing.assert_array_equal(got[:, 0], got[:, 1])
    np.testing.assert_allclose(got[:, 2] - got[:, 0], change[:, [1, 3, 4]].sum(1), atol=1e-6)
    assert (got[:, 3] == 0).all()


def test_redundancy_groups_find_the_planted_pair():
    rng = np.random.default_rng(0)
    change = rng.normal(size=(2, 8, 200)).astype(np.float32)
    change[:, 5] = -2 * change[:, 2] + 0.3 * rng.normal(size=(2, 200))  # the same people, the other way
    change[:, [3, 6]] = 0
    change[:, 6] += np.float32(0.7)  # everybody alike
    group = sets.redundancy_groups(change)
    assert group[2] == group[5] and len(np.unique(group)) == 7
    strict = sets.redundancy_groups(change, at_least=0.999)
    assert len(np.unique(strict)) == 8


def test_a_closure_takes_whole_groups_for_the_family_that_moves_most_in_them():
    groups = np.array([0, 0, 0, 1, 1, 2, 3])
    family = pd.Series({0: "ETS", 1: "SMAD", 3: "SMAD", 6: "ETS"})
    closed = sets.closures(groups, family, np.array([1.0, 3, 9, 1, 1, 5, 1]))
    assert {name: list(latents) for name, latents in closed.items()} == {"ETS": [6], "SMAD": [0, 1, 2, 3, 4]}


def test_the_sets_of_each_kind_hold_tested_latents_only():
    """Latents 0, 1, 2 move together, as do 5 and 6; 3 moves alone; 4 moves with 0, but is not tested."""
    rng = np.random.default_rng(0)
    moved = rng.normal(size=(200, 2, 8)).astype(np.float32)  # [subject, part, latent]
    moved[:, :, [1, 2, 4]] = moved[:, :, [0]] * np.array([2, -1, 3], dtype=np.float32)
    moved[:, :, 6] = moved[:, :, 5]
    family = pd.Series({0: "SMAD", 3: "ETS", 4: "KLF", 7: "ETS"})
    made = sets.by_kind(moved, np.array([0, 1, 2, 3, 5, 6]), family, at_least=0.9)
    listed = {kind: {name: list(latents) for name, latents in of.items()} for kind, of in made.items()}
    assert listed["latent"] == {str(i): [i] for i in (0, 1, 2, 3, 5, 6)}
    assert listed["family"] == {"ETS": [3], "SMAD": [0]}
    assert listed["closure"] == {"ETS": [3], "SMAD": [0, 1, 2]}
    assert sorted(listed["group"].values()) == [[0, 1, 2], [5, 6]] and list(listed) == [
        "latent",
        "family",
        "closure",
        "group",
    ]
    none = sets.by_kind(moved, np.empty(0, int), family, at_least=0.9)
    assert none == {"latent": {}, "family": {}, "closure": {}, "group": {}}


def test_matched_sets_lie_outside_the_set_at_its_rates_and_hold_nothing_twice():
    rng = np.random.default_rng(0)
    rate = np.concatenate([np.full(60, 0.1), np.full(60, 0.4), [0.0]])
    members = np.array([3, 4, 70, 71])
    drawn = sets.matched_sets(members, rate, rng.uniform(1, 2, 121), 200, 0, n_near=30)
    assert drawn.shape == (200, 4) and not np.isin(drawn, [*members, 120]).any()
    assert (rate[drawn[:, :2]] == 0.1).all() and (rate[drawn[:, 2:]] == 0.4).all()
    assert all(len(set(row)) == 4 for row in drawn) and len(np.unique(drawn[:, 0])) > 20
    assert (sets.matched_sets(members, rate, np.ones(121), 50, 0, left_out=range(30))[:, :2] >= 30).all()
    too_large = sets.matched_sets(np.array([0, 1]), np.array([0.1, 0.1, 0.1, 0]), np.ones(4), 2, 0)
    assert too_large.shape == (0, 2)  # one latent fires outside a set of two


def test_matched_sets_prefer_the_norm_too():
    norm = np.exp(np.linspace(0, 5, 100))
    drawn = sets.matched_sets(np.array([50]), np.full(100, 0.2), norm, 50, 0, n_near=10)
    assert np.abs(drawn - 50).max() <= 5


def test_a_derangement_moves_everything():
    for seed in range(20):
        order = sets.derangement(7, np.random.default_rng(seed))
        assert sorted(order) == list(range(7)) and (order != np.arange(7)).all()


def test_dealt_orders_lie_outside_and_a_set_beyond_half_has_none():
    orders = sets.dealt_orders(np.array([0, 1, 2]), 6, 50, np.random.default_rng(0))
    assert (
        orders.shape == (50, 3)
        and (np.sort(orders, axis=1) == [3, 4, 5]).all()
        and len(np.unique(orders, axis=0)) == 6
    )
    assert sets.dealt_orders(np.arange(4), 6, 50, np.random.default_rng(0)).shape == (0, 4)


def test_no_sets_change_nothing():
    assert sets.set_change(np.ones((2, 3, 5), np.float32), []).shape == (2, 0, 5)
    assert sets.set_change(np.ones((2, 3, 4, 5), np.float32), []).shape == (2, 0, 4, 5)
