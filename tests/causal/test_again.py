"""Closures in further seeds, each with its own dictionary and names."""

import numpy as np
import pandas as pd
import pytest

from lib.causal import ablation, again, necessity
from lib.stats import estimates
from tests.causal.test_rule import LATENTS, Y, noise, signal, world


def seed_of(order, size=1.2):
    """A dictionary whose latents are in another order, with what they cost, and where its latents 0 and 1 went."""
    activity, weight = noise()
    activity[:, 0], activity[:, 1] = signal(1, size), signal(1, size)  # they move together
    weight[:2] = 1.0
    evidence = world(activity, weight)
    target = again.Target(evidence.y, None, evidence.run, n_boot=200)
    moved, decoder = evidence.moved[:, :, order], evidence.decoder[order]
    return target, again.cost(moved, decoder, target), [int(np.flatnonzero(order == i)[0]) for i in (0, 1)]


def test_a_cost_is_the_fall_of_the_first_repeat():
    order = np.arange(LATENTS)
    target, one, _ = seed_of(order)
    change = ablation.repeated_change(one.moved, np.eye(LATENTS), target.run.probes[:1], target.run.folds[:1])
    assert np.array_equal(one.change, change) and len(one.table) == LATENTS
    full = target.run.score[0]
    assert one.table["delta"][0] == pytest.approx(estimates.auroc(Y, full) - estimates.auroc(Y, full + change[0, 0]))
    pd.testing.assert_frame_equal(one.table, necessity.measure(Y, None, target.run.score[:1], change, target.run.folds[:1], 200, 0))


def test_a_closure_comes_again_under_its_name_only():
    target, own, _ = seed_of(np.arange(LATENTS))
    _, other, (a, b) = seed_of(np.random.default_rng(5).permutation(LATENTS))
    row = target.measure(own.change[:, :2].sum(1, keepdims=True)).drop(columns="latent")
    asked = pd.concat([row.assign(name=name, kind="closure", latents=2) for name in ("SMAD", "TAL")], ignore_index=True)
    rows = [("s1", a, "SMAD", 0.01), ("s1", 7, "ETS", 0.01), ("s2", a, "SMAD", 0.2), ("s2", b, "TAL", 0.2)]
    named = pd.DataFrame(rows, columns=["seed", "latent", "family", "q"])
    table = again.closures(asked, "s0", {"s1": other, "s2": other}, named, target, 5, 0.9)
    # s1 names one of the two latents, and its twin comes along; in s2 no name holds, and ETS was not asked about
    assert table[["family", "seed", "latents"]].values.tolist() == [["SMAD", "s0", 2], ["TAL", "s0", 2], ["SMAD", "s1", 2]]
    assert np.allclose(table["delta"], table["delta"].iloc[0], atol=1e-6)
    assert again.times_seen(table, ["SMAD", "TAL"], "s0", 0.05).to_dict() == {"SMAD": 1, "TAL": 0}
    own_low = float(table["low"].iloc[2])  # the fall reaches this bar, its lower bound does not
    assert again.times_seen(table, ["SMAD"], "s0", own_low + 1e-6).to_dict() == {"SMAD": 0} and table["delta"].iloc[2] > own_low + 1e-6
    assert again.times_seen(table, ["SMAD", "TAL"], "s0", 0.9).to_dict() == {"SMAD": 0, "TAL": 0}


def test_latents_that_move_too_few_are_in_no_closure():
    target, own, _ = seed_of(np.arange(LATENTS))
    asked = target.measure(own.change[:, :1]).drop(columns="latent").assign(name="SMAD", latents=1)
    named = pd.DataFrame({"seed": ["s1"], "latent": [0], "family": ["SMAD"], "q": [0.01]})
    assert len(again.closures(asked, "s0", {"s1": own}, named, target, 401, 0.9)) == 1  # of 400
