"""Rivals go through the rule as a dictionary does, and a claim over them holds only where they carry less (world of test_rule)."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.acts.counterparts import aligned
from lib.causal import rivals, rule, sets
from lib.stats import estimates
from tests.causal.test_rule import LATENTS, SETTINGS, N, Y, fitted, noise, signal


def test_a_shift_is_the_mean_difference_from_the_reference_by_hand():
    unit, start = np.array([0, 0, 1, 1, 1]), np.array([5, 6, 5, 6, 6])  # the last is an insertion
    units = pd.DataFrame({"unit": [0, 1], "window": [0, 0], "is_reference": [True, False]})
    acts = np.array([[1.0, 2], [3, 4], [1, 2], [5, 4], [3, 7]], dtype=np.float16)
    counterpart = aligned({"unit": unit, "ref_start": start}, units)
    for chunk in (2, 3, 100):
        got = rivals.shift(acts, unit, counterpart, chunk)
        np.testing.assert_allclose(got, [[0, 0], [(0 - 2 + 0) / 3, (0 + 0 - 3) / 3]], atol=1e-6)
        assert (got[0] == 0).all()


def test_components_are_orthonormal_and_the_largest_first():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(500, 4)) * [1, 5, 2, 0.1] + 7
    found = rivals.components(tokens, 3)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-9)
    assert np.abs(found).argmax(1).tolist() == [1, 2, 0] and rivals.components(tokens, 9).shape == (4, 4)


def test_coordinates_by_hand():
    """Neurons: a rate is the share beyond one standard deviation, a size the mean distance from the mean there."""
    tokens = np.array([[0.0, 1], [0, 1], [0, -1], [8, -1]])
    shifted = np.arange(12.0).reshape(3, 2, 2)
    rival = rivals.coordinates(np.eye(2), tokens, shifted)
    assert rival.rate.tolist() == [0.25, 0] and rival.size.tolist() == [6, 0] and rival.second is None
    np.testing.assert_array_equal(rival.moved, shifted)
    turned = rivals.coordinates(np.array([[0.6, 0.8]]), tokens, shifted, shifted[:1])
    np.testing.assert_allclose(turned.moved[1, 0], 0.6 * 4 + 0.8 * 5, rtol=1e-6)
    assert turned.moved.shape == (3, 2, 1) and turned.second.shape == (1, 2, 1)


def test_taking_away_every_component_leaves_nothing_but_the_reference():
    rng = np.random.default_rng(0)
    X, reference = rng.normal(size=(5, 2, 3)), rng.normal(size=(2, 3))
    rival = rivals.coordinates(rivals.components(rng.normal(size=(50, 3)), 3), rng.normal(size=(50, 3)), reference - X)
    left = rule.without(X.reshape(5, 6), rival.moved, rival.decoder, np.arange(3))
    np.testing.assert_allclose(left, np.tile(reference.ravel(), (5, 1)), atol=1e-6)


def sole():
    """A dictionary whose latent 3 alone carries the label, and that evidence judged."""
    activity, _ = noise()
    activity[:, 3] = signal(1, 2.0)
    evidence = fitted(activity, {"latent": {str(i): np.array([i]) for i in range(7)}, "family": {}, "closure": {}, "group": {}})
    return evidence, rule.judge(evidence, SETTINGS)


def turned(evidence, mix):
    """A rival whose units are `mix` [unit, latent] of the latents' directions."""
    moved = (evidence.moved @ mix.T).astype(np.float32)
    same = np.ones(len(mix))
    return rivals.evidence(evidence, rivals.Rival(moved, mix, 0.1 * same, same), 21, 0.5)


def spread(seed=0):
    """An orthonormal basis in which the label's direction lies in no axis."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(LATENTS, LATENTS)))[0].T


def test_a_rival_has_latents_and_groups_and_no_name():
    evidence, _ = sole()
    rival = turned(evidence, np.eye(LATENTS))
    assert list(rival.sets) == list(evidence.sets) and rival.sets["family"] == rival.sets["closure"] == {}
    assert list(rival.sets["latent"]) == [str(i) for i in range(LATENTS)]
    assert rival.change is not evidence.change and np.allclose(rival.change, evidence.change, atol=1e-6)


def test_a_claim_over_a_rival_that_carries_the_same_does_not_hold():
    own = sole()
    alike = turned(own[0], np.eye(LATENTS))
    table = rivals.gains(own, {"neurons": (alike, rule.judge(alike, SETTINGS))}, SETTINGS)
    row = table.iloc[0]
    assert len(table) == 1 and (row["kind"], row["name"], row["rival_name"]) == ("latent", "3", "3")
    assert row["needed"] and row["rival_needed"]
    assert row["gain"] == row["low"] == 0 and row["rival_removed"] == pytest.approx(row["removed"], rel=1e-5)


def test_a_claim_over_rivals_whose_units_each_hold_a_little_holds_by_the_paired_interval():
    own = sole()
    others = {f"rival {k}": turned(own[0], spread(k)) for k in range(2)}
    table = rivals.gains(own, {name: (one, rule.judge(one, SETTINGS)) for name, one in others.items()}, SETTINGS)
    assert table["method"].tolist() == ["rival 0", "rival 1"] and (table["low"] > 0).all() and (table["low"] < table["gain"]).all()
    assert table["gain"].tolist() == pytest.approx((table["refit"] - table["rival_refit"]).tolist())
    assert (table["n"] == N).all() and table["units"].tolist() == [1, 1]
    full = estimates.auroc(Y, own[0].run.score[0])
    assert table["refit"].iloc[0] == pytest.approx(full - estimates.auroc(Y, own[0].refit.again(
        rule.without(own[0].refit.X, own[0].moved, own[0].decoder, np.array([3]))).score[0]))  # fmt: skip


def test_a_block_that_is_too_large_to_be_tested_is_no_contender():
    evidence, table = sole()
    most = replace(evidence, sets=evidence.sets | {"group": {"most": np.arange(LATENTS - 2), "few": np.array([1, 2])}})
    judged = rule.judge(most, SETTINGS)
    assert rivals.contender(most, judged, "group").name == "few"
    assert rivals.contender(evidence, table, "group") is None and rivals.gains((evidence, table), {}, SETTINGS).empty


def test_the_dictionary_speaks_by_what_is_needed_and_a_rival_by_whatever_falls_most():
    evidence, table = sole()
    marked = table.assign(needed=table["name"] == "5")
    assert rivals.contender(evidence, marked, "latent", of_needed=True).name == "5"
    assert rivals.contender(evidence, marked, "latent").name == "3"


def test_the_largest_rival_of_an_arm_and_kind():
    _, table = sole()
    weak = table.assign(method="weak", delta=table["delta"] / 2)
    untested = table.assign(method="too large", delta=1.0, random_99=np.nan)  # of more than half of the units
    best = rivals.largest([weak, untested, table.assign(method="strong")])
    assert best["method"].tolist() == ["strong"] and best["name"].tolist() == ["3"]


def test_groups_of_a_rival_are_those_of_the_dictionarys_rule():
    evidence, _ = sole()
    rival = turned(evidence, spread())
    again = sets.by_kind(rival.moved, sets.moving(rival.moved, 21), pd.Series(dtype=object), 0.5)
    assert {k: list(v) for k, v in rival.sets.items()} == {k: list(v) for k, v in again.items()}

