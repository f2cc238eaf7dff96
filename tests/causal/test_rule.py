"""The rule: what is planted is named, and each criterion alone keeps a set from being called needed.

In `world` the decoder's rows are unit vectors, so that the probe's weight along a latent is `weight`, and the score is
the sum of weight times activity. What a latent adds is known, and so is what its ablation takes away.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.causal import rule
from lib.outcome import validate
from lib.outcome.metrics import BINARY, CLASS, CONTINUOUS
from lib.outcome.probe import Probe
from lib.stats import estimates

N, LATENTS, N_FOLDS = 400, 24, 5
TESTED = {str(i): np.array([i]) for i in range(7)}  # the others are controls
Y = np.arange(N) % 2
SETTINGS = rule.Settings(bar=0.03, n_boot=300, n_matched=50, least_matched=10)


def repeats(score, probe, folds):
    """A frozen probe as if it had been fitted in every fold; scores centred by the people outside the fold."""
    centred = np.stack([score - np.array([score[f != k].mean() for k in range(N_FOLDS)])[f] for f in folds])
    unused = np.empty(0)
    return validate.Repeated(
        centred, folds, [[probe] * N_FOLDS for _ in folds], unused, unused, centred, unused
    )


def world(activity, weight, sets=None, folds=None, seed=0):
    """Evidence on activity [subject, latent] at one part of two; nothing moves at the other. Every rate is the same."""
    rng = np.random.default_rng(seed)
    moved = np.zeros((N, 2, LATENTS), dtype=np.float32)
    moved[:, 0] = -activity
    folds = np.stack([rng.permutation(N) % N_FOLDS for _ in range(2)]) if folds is None else folds
    run = repeats(activity @ weight, Probe(np.concatenate([weight, weight]), 0.0, 1.0), folds)
    sets = {"latent": TESTED} if sets is None else sets
    same = np.ones(LATENTS)
    return rule.Evidence("arm", Y, None, run, moved, np.eye(LATENTS), 0.1 * same, same, sets)


def noise(seed=0):
    """Activity without a label in it [subject, latent], and small weights of either sign [latent]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, LATENTS)), 0.05 * rng.choice([-1.0, 1.0], LATENTS)


def signal(seed, size=1.2):
    """[subject] of mean `size` in cases and 0 in controls, standard deviation 1."""
    return size * Y + np.random.default_rng(seed).normal(size=N)


def judged(evidence, settings=SETTINGS, kind="latent"):
    """The rows of a kind by name."""
    table = rule.judge(evidence, settings)
    return table[table["kind"] == kind].set_index("name")


def names(table, word="needed"):
    return table.index[table[word]].tolist()


# What is planted -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """Latent 3 carries the prediction, the others none of it."""
    activity, weight = noise()
    activity[:, 3], weight[3] = signal(1), 1.0
    return world(activity, weight)


def test_a_necessary_latent_is_named_and_bystanders_are_not(planted):
    table = judged(planted)
    assert names(table) == names(table, "necessary") == names(table, "strongly_necessary") == ["3"]
    score = planted.run.score[0]
    fall = estimates.auroc(Y, score) - estimates.auroc(Y, score + planted.first_change[0, 3])
    assert table["first_repeat"]["3"] == pytest.approx(fall) and fall > 0.25
    assert (table["n_rate_matched"] == LATENTS - 1).all() and (table["movers"] == N).all()
    assert table["share"]["3"] == pytest.approx(table["delta"]["3"] / (table["auroc_full"]["3"] - 0.5))


def test_a_redundant_pair_is_needed_and_neither_latent_is():
    """Both carry the same signal with half the weight: without one the ranking stays, but for the bystanders'."""
    activity, weight = noise()
    activity[:, 4] = activity[:, 3] = signal(1)
    weight[[3, 4]] = 0.5
    sets = {"latent": TESTED, "group": {"pair": np.array([3, 4]), "bystanders": np.array([5, 6])}}
    evidence = world(activity, weight, sets)
    assert names(judged(evidence)) == []
    pair = judged(evidence, kind="group")
    assert names(pair, "strongly_necessary") == names(pair) == ["pair"]
    assert pair["latents"].tolist() == [2, 2]


def rivals():
    """Latent 3 adds a signal; latent 4 another that costs more. Its weight is negative, so that neither latent's activity
    would do harm along the other's row of the decoder: their dealt directions cost little."""
    activity, weight = noise()
    activity[:, 3], weight[3] = signal(1), 1.0
    activity[:, 4], weight[4] = -signal(2, 2.0), -1.4
    return world(activity, weight)


def test_an_impostor_costs_no_more_than_its_rate_matched_controls():
    evidence = rivals()
    row = judged(evidence).loc["3"]
    assert row["low"] > 0 and row["p_max_t"] < SETTINGS.alpha
    assert row["random_99"] < row["first_repeat"] < row["rate_matched_99"]
    assert not row["needed"]
    apart = np.where(
        np.arange(LATENTS) == 4, 0.5, evidence.rate
    )  # the rival fires at another rate: it is no control
    row = judged(replace(evidence, rate=apart)).loc["3"]
    assert row["rate_matched_99"] < row["first_repeat"] and row["necessary"]


@pytest.mark.parametrize("kind, needed", [("latent", ["4"]), ("family", ["3", "4"])])
def test_what_is_established_is_no_control_for_other_sets(kind, needed):
    """The impostor, as a family of one: the rival is established first, and hides it no longer."""
    sets = {kind: {str(i): np.array([i]) for i in (3, 4, 5, 6)}}
    table = judged(replace(rivals(), sets=sets), replace(SETTINGS, n_matched=100), kind)
    assert names(table) == needed
    hidden = table.loc["3"]
    assert hidden["first_repeat"] < hidden["rate_matched_99_all"]
    assert (hidden["rate_matched_99"] < hidden["rate_matched_99_all"]) == (kind == "family")


def two_pairs():
    """Latents 3 and 4, and 5 and 6, each with a signal of its own: half of a pair costs less than the other pair, but more than
    noise. The signs are those of `rivals`, for the same reason."""
    activity, weight = noise()
    for latent, sign in [(3, 1), (4, 1), (5, -1), (6, -1)]:
        activity[:, latent], weight[latent] = sign * signal(latent), sign
    return world(activity, weight, {"family": {"one": np.array([3, 4]), "two": np.array([5, 6]), "bystanders": np.array([7, 8])}})


def test_what_is_established_is_held_to_the_strict_null_itself():
    """Without the other pair's latents as controls its limit would be as low as that of the bystanders."""
    table = judged(two_pairs(), kind="family")
    assert names(table) == ["one", "two"]
    strict, relaxed = table.loc[["one", "two"]], table.loc["bystanders"]
    assert relaxed["rate_matched_99"] < relaxed["rate_matched_99_all"]
    assert (strict["rate_matched_99_all"] > relaxed["rate_matched_99"] + 0.02).all()
    assert strict["rate_matched_99"].tolist() == strict["rate_matched_99_all"].tolist()


@pytest.mark.parametrize("kind", ["latent", "family"])
def test_a_direction_that_any_row_of_the_decoder_would_do_is_not_needed(kind):
    """Latent 4 hardly moves anybody, but the probe reads its row twice as strongly as that of latent 3."""
    activity, weight = noise()
    activity[:, 3], weight[3] = signal(1), 1.0
    activity[:, 4] *= 0.01
    weight[4] = 2.0
    sets = {kind: {str(i): np.array([i]) for i in (3, 5)}}
    row = judged(world(activity, weight, sets), kind=kind).loc["3"]
    assert row["low"] > 0 and row["p_max_t"] < SETTINGS.alpha
    assert row["rate_matched_99"] < row["first_repeat"] < row["random_99"]
    assert not row["needed"]
    weight[4] = 0.5
    assert judged(world(activity, weight, sets), kind=kind)["needed"]["3"]


# Each criterion ------------------------------------------------------------------------------------------


def test_the_lower_bound_is_above_0():
    """A weak latent alone: alpha 1 lets any p pass, and no rival is left to be compared with."""
    activity, weight = np.zeros((N, LATENTS)), np.zeros(LATENTS)
    activity[:, 3], weight[3] = signal(10, size=0.1), 1.0
    row = judged(world(activity, weight), replace(SETTINGS, alpha=1.0)).loc["3"]
    assert row["low"] <= 0 < row["first_repeat"] and row["p_max_t"] < 1 and row["same_sign"] >= 4
    assert row["first_repeat"] > max(row["rate_matched_99"], row["random_99"]) and not row["needed"]


def test_alpha_is_split_over_the_kinds_with_sets_or_without(planted):
    settings = replace(SETTINGS, alpha=1.5 / (1 + SETTINGS.n_boot))  # p is at least 1 / (1 + n_boot)
    assert names(judged(planted, settings)) == ["3"]
    two_kinds = replace(planted, sets=planted.sets | {"group": {}})
    assert names(judged(two_kinds, settings)) == []


def test_the_fall_is_of_one_sign_in_four_folds_of_five():
    """All of the signal is in two folds of five, a little of the opposite in the rest."""
    folds = np.stack([np.arange(N) // 2 % N_FOLDS] * 2)
    activity, weight = noise()
    inside = np.where(folds[0] < 2, 3.0, -0.5)
    activity[:, 3], weight[3] = signal(1, size=inside), 1.0
    row = judged(world(activity, weight, folds=folds)).loc["3"]
    assert row["low"] > SETTINGS.bar and row["same_sign"] < 4 and not row["needed"]
    mixed = np.stack([np.random.default_rng(0).permutation(N) % N_FOLDS] * 2)
    assert judged(world(activity, weight, folds=mixed))["needed"]["3"]


@pytest.mark.parametrize("size, needed", [(1.2, True), (-1.2, False)])
def test_the_second_cohort_has_to_agree(planted, size, needed):
    activity, _ = noise(5)
    activity[:, 3] = signal(6, size)
    moved = np.zeros_like(planted.moved)
    moved[:, 0] = -activity
    first = planted.run.probes[0][0]
    frozen = replace(first, coef=np.where(first.coef == 1, 0.4, first.coef))  # another weight of latent 3, at both parts
    score = activity @ frozen.coef[:LATENTS]
    table = judged(replace(planted, second=rule.SecondCohort(Y, score, frozen, moved)))
    assert table["needed"]["3"] == needed
    without = score - 0.4 * activity[:, 3]
    assert table["external"]["3"] == pytest.approx(estimates.auroc(Y, score) - estimates.auroc(Y, without))
    assert "external" not in judged(planted)


def test_the_bar_tells_needed_from_necessary_and_its_bound_from_strongly(planted):
    delta, low = judged(planted).loc["3", ["delta", "low"]]
    for bar, grade in [
        (low - 1e-6, [True, True]),
        ((low + delta) / 2, [True, False]),
        (delta + 1e-6, [False, False]),
    ]:
        row = judged(planted, replace(SETTINGS, bar=bar)).loc["3"]
        assert row["needed"] and [row["necessary"], row["strongly_necessary"]] == grade


def test_a_latent_with_few_rate_matched_ones_has_no_null(planted):
    settings = replace(SETTINGS, least_matched=LATENTS)
    row = judged(planted, settings).loc["3"]
    assert np.isnan(row["rate_matched_99"]) and row["n_rate_matched"] == LATENTS - 1 and not row["needed"]


def test_a_set_of_more_than_half_of_the_dictionary_has_no_null(planted):
    most = np.arange(LATENTS // 2 + 1)
    table = judged(replace(planted, sets={"group": {"most": most, "half": most[:-1]}}), kind="group")
    assert table[["rate_matched_99", "random_99"]].isna().all(axis=1).tolist() == [True, False]
    assert names(table) == ["half"] and table["n_rate_matched"]["most"] == 0


def test_groups_are_resampled_whole():
    """Everybody twice over: the interval is as wide as that of half the people, by the square root of 2."""
    twice = np.arange(N) // 4 * 2 + np.arange(N) % 2
    activity, weight = noise()
    activity[:, 3], weight[3] = signal(1), 1.0
    evidence = world(activity[twice], weight, {"latent": {"3": np.array([3])}})
    alone, pairs = (judged(replace(evidence, groups=groups)).loc["3"] for groups in (None, twice))
    assert pairs["delta"] == alone["delta"]
    assert (pairs["high"] - pairs["low"]) / (alone["high"] - alone["low"]) == pytest.approx(2**0.5, rel=0.15)


# The table -----------------------------------------------------------------------------------------------


def test_no_set_at_all_is_an_empty_table(planted):
    table = rule.judge(replace(planted, sets={"latent": {}, "group": {}}), SETTINGS)
    assert table.empty and {"arm", "kind", "name", "needed", "share"} < set(table)


def test_a_share_of_no_prediction_is_no_number():
    evidence = world(*noise(4))
    assert rule.whole(evidence, 0).low <= 0.5
    assert judged(evidence)["share"].isna().all()


def test_grades_say_the_best_of_each_latent():
    of = {"latent": {"0": np.array([0]), "1": np.array([1])}}
    of |= {"family": {"ETS": np.array([1, 2])}, "closure": {"SMAD": np.arange(5)}}
    table = pd.DataFrame({
        "kind": ["latent", "latent", "family", "closure"], "name": ["0", "1", "ETS", "SMAD"],
        "needed": [True] * 4, "necessary": [True, False, True, False],
    })  # fmt: skip
    graded = rule.grades(table, of, 6).tolist()
    assert graded == ["necessary", *["necessary family"] * 2, *["needed closure"] * 2, ""]


def test_evidence_that_does_not_fit_is_refused(planted):
    with pytest.raises(ValueError, match="arm 'arm': latents differ in number: .*'rate': 23"):
        replace(planted, rate=planted.rate[1:])
    with pytest.raises(ValueError, match=r"one latent each, not so \['pair'\]"):
        replace(planted, sets={"latent": {"pair": np.array([0, 1])}})


# From activations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [BINARY, CLASS, CONTINUOUS], ids=["binary", "class", "continuous"])
def test_a_fitted_probe_of_any_metric_names_what_is_planted(metric):
    """y follows latent 0: its sign, which third of its range it is in, or its value, each with noise."""
    rng = np.random.default_rng(0)
    activity, decoder = rng.normal(size=(N, 12)), np.linalg.qr(rng.normal(size=(12, 12)))[0]
    carried = 2 * activity[:, 0] + 0.5 * rng.normal(size=N)
    y = {"binary": (carried > 0).astype(int), "class": np.digitize(carried, [-1, 1]), "continuous": carried}[
        metric.target
    ]
    run = validate.repeated(activity @ decoder, y, np.arange(N) // 2, N_FOLDS, 2, [1.0, 100.0], 0, metric)
    same, groups = np.ones(12), np.arange(N) // 2
    sets = {"latent": {str(i): np.array([i]) for i in range(12)}}
    sets["group"] = {"pair": np.array([0, 5]), "others": np.array([6, 7])}
    moved = -activity[:, None].astype(np.float32)
    evidence = rule.Evidence("arm", y, groups, run, moved, decoder, same, same, sets, metric=metric)
    table = rule.judge(evidence, SETTINGS)
    assert table.loc[table["strongly_necessary"], "name"].tolist() == ["0", "pair"]
    assert table.loc[table["needed"], "name"].tolist() == ["0", "pair"]
