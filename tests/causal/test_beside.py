"""What stands beside the verdict, in a world whose scores are sums of weights times activity (as in test_rule)."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.causal import beside, rule
from lib.outcome import probe, validate
from lib.outcome.null import null_target
from tests.causal.test_rule import LATENTS, N_FOLDS, SETTINGS, N, Y, fitted, noise, signal, world


def planted():
    """Latents 0 and 1 carry the label together; the others are noise of small weight."""
    activity, weight = noise()
    activity[:, 0], activity[:, 1] = signal(1), signal(2)
    weight[:2] = 1.0
    sets = {"latent": {str(i): np.array([i]) for i in range(7)}, "closure": {"A": np.array([0, 1]), "B": np.array([2, 3])}}
    return activity, weight, world(activity, weight, sets)


def auroc(score):
    cases, controls = score[Y == 1], score[Y == 0]
    return (cases[:, None] > controls).mean()


def test_the_largest_are_of_one_kind_and_in_order():
    table = pd.DataFrame({"kind": ["latent"] * 3 + ["closure"], "name": ["a", "b", "c", "d"], "delta": [0.1, 0.3, 0.2, 0.9]})
    assert beside.largest(table, "latent", 2) == ["b", "c"] and beside.largest(table[:0].astype({"delta": float}), "latent", 2) == []


def test_nothing_is_left_when_every_latent_is_ablated():
    _, _, evidence = planted()
    row = beside.total(evidence, 0)
    assert row["auroc_full"] > 0.85 and row["auroc_all_ablated"] == pytest.approx(0.5, abs=0.06)  # what is left is rounding
    assert row["low"] <= row["auroc_all_ablated"] <= row["high"] and row["n"] == N


def test_a_refit_without_any_latent_reads_the_dictionarys_error_where_that_tells_the_label():
    activity, _, evidence = planted()
    evidence = fitted(activity, evidence.sets)
    alone = beside.total(evidence, 0)
    assert alone["refit"] > 0.3 and alone["refit_low"] > 0.2
    X = evidence.refit.X.copy()
    X[:, LATENTS] = 0.01 * activity[:, :2].sum(1)  # a ten-thousandth of the variance, at the part where no latent moves
    told = beside.total(replace(evidence, refit=replace(evidence.refit, X=X)), 0)
    assert told["refit"] < 0.1 and told["auroc_all_ablated"] == alone["auroc_all_ablated"]
    assert np.isnan(beside.total(replace(evidence, refit=None), 0)["refit"])


def test_modes_by_hand():
    _, _, evidence = planted()
    same = np.zeros_like(evidence.moved)
    names = {"latent": ["0", "2"], "closure": ["A"], "family": []}
    table = beside.by_mode(evidence, {"reference": evidence.moved, "as it is": same}, names)
    assert table["name"].tolist() == ["0", "2", "A"] * 2 and (table["delta"][3:] == 0).all()
    own = evidence.first_falls(evidence.first_change)
    assert table["delta"][:2].tolist() == pytest.approx([own[0], own[2]], abs=1e-9)
    assert table["delta"][2] > table["delta"][0] > 0.02


def test_what_suffices_is_named():
    _, _, evidence = planted()
    table = beside.sufficiency(evidence, ["A", "B"]).set_index("closure")
    assert table.loc["A", "recovered"] > 0.9 and table.loc["B", "recovered"] < 0.4
    assert table["n"].tolist() == [2, 2] and (table["arm"] == "arm").all()
    assert len(beside.sufficiency(evidence, [])) == 0


def test_the_curve_falls_at_once_in_its_own_order():
    _, _, evidence = planted()
    curve = beside.set_curve(evidence, np.arange(7), 20, 0).set_index("k")
    assert curve.index[0] == 0 and curve.index[-1] == 7
    assert curve.loc[2, "auroc"] < curve.loc[2, "low"] and curve.loc[0, "auroc"] == pytest.approx(auroc(evidence.run.score[0]), abs=1e-9)


def test_without_takes_the_latents_out_of_the_features():
    rng = np.random.default_rng(0)
    X, moved, decoder = rng.normal(size=(5, 6)), rng.normal(size=(5, 2, 4)), rng.normal(size=(4, 3))
    other = X.copy()
    for part in range(2):
        for latent in (1, 3):
            other[:, 3 * part : 3 * part + 3] += moved[:, part, latent][:, None] * decoder[latent]
    assert np.allclose(rule.without(X, moved, decoder, np.array([1, 3])), other)


def test_a_refit_finds_what_is_redundant_and_the_frozen_probe_does_not():
    activity, _, evidence = planted()
    activity[:, 1] = activity[:, 0]  # a twin: the refit loses nothing without one of the two
    evidence = fitted(activity, evidence.sets)
    table = beside.refitted(evidence, {"latent": ["0"], "family": [], "closure": ["A"]}, 300, 0).set_index("name")
    assert abs(table.loc["0", "refit"]) < 0.01 and table.loc["0", "frozen"] > 0.03
    assert table.loc["A", "refit"] > 0.2 and table.loc["A", "frozen"] > 0.2
    assert table["kind"].tolist() == ["latent", "closure"] and (table["refit_low"] < table["refit"]).all()
    assert (table["n"] == N).all()


def test_a_target_without_effect_is_seldom_needed_and_the_planted_one_is():
    activity, _, evidence = planted()
    X = np.concatenate([activity, np.zeros((N, LATENTS))], axis=1)

    def verdicts(y):
        run = validate.repeated(X, y, None, N_FOLDS, 1, [0.1], 0)
        return beside.null_verdicts(3, y, run, evidence, SETTINGS, n_boot=300).set_index("kind")

    null = verdicts(null_target(N, 0.5, 7))
    assert null["tested"].to_dict() == {"latent": 7, "closure": 2} and (null["draw"] == 3).all()
    assert null["needed"].sum() == 0 and null["auroc"].iloc[0] == pytest.approx(0.5, abs=0.1)
    assert verdicts(Y)["needed"].tolist() == [2, 1]
    assert list(null.reset_index().columns) == ["kind", *[c for c in beside.NULL_COLUMNS if c != "kind"]]


def test_tables_without_a_row_do_not_change_numbers():
    some, none = pd.DataFrame({"n": [3], "x": [0.5]}), pd.DataFrame(columns=["n", "x"])
    assert beside.stacked([none, some])["n"].dtype == int and list(beside.stacked([none, none]).columns) == ["n", "x"]


def test_a_catalogue_says_stopped_where_something_is():
    table = pd.DataFrame({"kind": ["latent", "latent", "closure"], "name": ["0", "2", "A"], "needed": [True, False, True],
                          "necessary": [False, False, True], "delta": [0.1, 0.0, 0.2], "low": [0.05, -0.1, 0.1],
                          "high": [0.2, 0.1, 0.3], "p_max_t": [0.01, 1.0, 0.01]})  # fmt: skip
    features = pd.DataFrame({"latent": np.arange(4)})
    of = {"latent": {"0": np.array([0]), "2": np.array([2])}, "closure": {"A": np.array([0, 1])}, "family": {}}
    for stopped, faithful in ((False, ["necessary closure", "necessary closure", "", ""]), (True, ["stopped", "stopped", "", ""])):
        catalogue = rule.catalogue(features, table, of, 4, stopped)
        assert catalogue["faithful"].tolist() == faithful
        assert catalogue["delta"].isna().tolist() == [False, True, False, True] and catalogue["delta_low"][2] == -0.1


def test_the_final_probe_is_that_of_the_chosen_strength():
    activity, _, _ = planted()
    C = probe.choose_C(activity, Y, [0.01, 1.0], 0)[0]
    final = probe.final(activity, Y, [0.01, 1.0], 0)
    assert final.C == C and np.array_equal(final.coef, probe.fit(activity, Y, C).coef)
