"""The rule: what is planted is named, and each criterion alone keeps a set from being called needed.

In `world` the decoder's rows are unit vectors, so that the probe's weight along a latent is `weight`, and the score is
the sum of weight times activity. What a latent adds is known, and so is what its ablation takes away.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.causal import rule
from lib.outcome import probe as probes
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


def frozen(weight, folds):
    """A refit that keeps the weights: what it loses is what the frozen probe loses."""
    probe = Probe(np.concatenate([weight, weight]), 0.0, 1.0)
    return lambda X: repeats(probe.score(X), probe, folds[:1])


def world(activity, weight, sets=None, folds=None, seed=0):
    """Evidence on activity [subject, latent] at one part of two; nothing moves at the other. Every rate is the same."""
    rng = np.random.default_rng(seed)
    moved = np.zeros((N, 2, LATENTS), dtype=np.float32)
    moved[:, 0] = -activity
    folds = np.stack([rng.permutation(N) % N_FOLDS for _ in range(2)]) if folds is None else folds
    run = repeats(activity @ weight, Probe(np.concatenate([weight, weight]), 0.0, 1.0), folds)
    sets = {"latent": TESTED} if sets is None else sets
    same, X = np.ones(LATENTS), np.concatenate([activity, np.zeros((N, LATENTS))], axis=1)
    refit = rule.Refit(X, frozen(weight, folds), lambda X: run.probes[0][0])
    return rule.Evidence("arm", Y, None, run, moved, np.eye(LATENTS), 0.1 * same, same, sets, refit=refit)


def fitted(activity, sets):
    """As `world`, with probes fitted on the activity, and anew on what is left of it."""
    evidence = world(activity, np.zeros(LATENTS), sets)
    refit = rule.refit(evidence.refit.X, 2, Y, None, N_FOLDS, [1.0], 0)
    return replace(evidence, run=refit.again(evidence.refit.X), refit=refit)


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
    assert row["random_99"] < row["first_repeat"] < row["rate_matched_99"] == row["nearest_99"]
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


# The refit -----------------------------------------------------------------------------------------------


def carriers(redundant):
    """Latent 3 carries the label, and the frozen probe reads it alone; latent 20, which is not tested, carries the same, or noise."""
    activity, weight = noise()
    activity *= 0.01  # so small that no probe overfits it
    activity[:, 3], weight[3] = signal(1, 2.0), 1.0
    if redundant:
        activity[:, 20], weight[20] = activity[:, 3], 0.0
    evidence = world(activity, weight, {"latent": TESTED, "group": {"both": np.array([3, 20]), "others": np.array([5, 6])}})
    return replace(evidence, refit=rule.refit(evidence.refit.X, 2, Y, None, N_FOLDS, [1.0], 0))


def test_what_is_needed_frozen_and_redundant_on_refit_is_not_needed():
    row = judged(carriers(redundant=True)).loc["3"]
    assert row["low"] > SETTINGS.bar and row["p_max_t"] < SETTINGS.alpha / 2 and row["same_sign"] >= 4
    assert row["first_repeat"] > row[["rate_matched_99", "nearest_99", "random_99"]].max()
    assert abs(row["refit"]) < 0.01 and row["refit_low"] <= 0
    assert not row["needed"] and not row["necessary"]
    both = judged(carriers(redundant=True), kind="group").loc["both"]
    assert both["strongly_necessary"] and both["refit"] > 0.3  # all that carry it together


def test_the_sole_carrier_is_necessary():
    activity, _ = noise()
    activity[:, 3] = signal(1, 2.0)
    evidence = fitted(activity, {"latent": TESTED})
    table = judged(evidence)
    assert names(table, "strongly_necessary") == names(table) == ["3"]
    X = rule.without(evidence.refit.X, evidence.moved, evidence.decoder, np.array([3]))
    scratch = validate.repeated(X, Y, None, N_FOLDS, 1, [1.0], 0).score[0]
    fall = estimates.auroc(Y, evidence.run.score[0]) - estimates.auroc(Y, scratch)
    row = table.loc["3"]
    assert row["refit"] == pytest.approx(fall, abs=1e-6) and row["refit_low"] < fall < row["refit_high"]


def test_only_what_passes_all_else_is_refitted():
    evidence, asked = carriers(redundant=True), []

    def counted(X):
        asked.append(X)
        return evidence.refit.again(X)

    table = rule.judge(replace(evidence, refit=replace(evidence.refit, again=counted)), SETTINGS)
    assert len(asked) == table["refit"].notna().sum() == 2 and set(table["name"][table["refit"].notna()]) == {"3", "both"}


def test_without_a_refit_nothing_is_needed(planted):
    table = judged(replace(planted, refit=None))
    assert names(table) == [] and table["refit"].isna().all()


@pytest.mark.parametrize("metric", [BINARY, CLASS, CONTINUOUS], ids=["binary", "class", "continuous"])
def test_a_refit_is_a_fit_from_scratch_on_the_same_folds(metric):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(N, 6)) @ rng.normal(size=(6, 30))  # parts of few dimensions, one of none
    X = np.concatenate([low[:, :15], np.ones((N, 15)), low[:, 15:]], axis=1) + 3
    y = {"binary": Y, "class": np.arange(N) % 3, "continuous": low[:, 0] + rng.normal(size=N)}[metric.target]
    groups, grid = np.arange(N) // 6, [0.1, 10.0]
    again = rule.refit(X, 3, y, groups, N_FOLDS, grid, 4, metric)
    scratch = validate.repeated(X, y, groups, N_FOLDS, 2, grid, 4, metric)
    run, final = again.again(X), again.final(X)
    assert np.array_equal(run.folds[0], scratch.folds[0])
    assert np.abs(run.score[0] - scratch.score[0]).max() < 1e-6
    assert np.abs(final.score(X) - probes.final(X, y, grid, 4, groups, metric).score(X)).max() < 1e-6


def test_a_refit_does_not_read_the_rounding_of_what_was_taken_away():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(N, 20)) + Y[:, None]).astype(np.float32).astype(float)
    refit = rule.refit(X, 2, Y, None, N_FOLDS, [10.0], 0)
    moved = np.float32(-X.reshape(N, 2, 10) * (1 + 1e-6))  # all is taken away but a millionth, which still tells the label
    left = rule.without(X, moved, np.eye(10), np.arange(10))
    assert estimates.auroc(Y, refit.again(X).score[0]) > 0.9
    assert estimates.auroc(Y, validate.repeated(left, Y, None, N_FOLDS, 1, [10.0], 0).score[0]) > 0.9  # which a probe reads
    assert estimates.auroc(Y, refit.again(left).score[0]) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("elsewhere, necessary", [(0.0, True), (6.0, False)])
def test_a_refitted_probe_has_to_fall_in_the_second_cohort_too(elsewhere, necessary):
    """Latent 20 shares the noise of 3, so that the full probe takes it off and one without 3 reads it: where 20 has the label of
    the second cohort, that probe does better there than the full one."""
    activity, _ = noise()
    activity[:, 20] = 0.5 * activity[:, 3] + 0.5 * Y + 0.5 * activity[:, 20]
    activity[:, 3] += 2 * Y
    evidence = fitted(activity, {"latent": TESTED})
    other, _ = noise(5)
    other[:, 3], other[:, 20] = signal(6, 1.0), signal(7, elsewhere)
    moved = np.zeros_like(evidence.moved)
    moved[:, 0] = -other
    X = np.concatenate([other, np.zeros((N, LATENTS))], axis=1)
    final = evidence.refit.final(evidence.refit.X)
    row = judged(replace(evidence, second=rule.SecondCohort(Y, final.score(X), final, moved, X))).loc["3"]
    taken = np.array([3])
    left = evidence.refit.final(rule.without(evidence.refit.X, evidence.moved, evidence.decoder, taken))
    score = left.score(rule.without(X, moved, evidence.decoder, taken))
    assert row["refit_second"] == pytest.approx(estimates.auroc(Y, final.score(X)) - estimates.auroc(Y, score), abs=1e-9)
    assert row["needed"] and (row["refit_second"] > 0) == row["necessary"] == necessary


# The nulls -----------------------------------------------------------------------------------------------


def test_strict_controls_are_within_a_tenth_in_rate_and_norm_and_the_larger_null_counts(planted):
    """Latent 4 costs more than 3 and fires as often: with another norm it is among the nearest, and no strict control."""
    evidence = rivals()
    size = np.where(np.arange(LATENTS) == 4, 1.2, 1.0)
    row = judged(replace(evidence, size=size)).loc["3"]
    assert row["rate_matched_99"] < row["first_repeat"] < row["nearest_99"] and not row["needed"]
    assert (row["n_rate_matched"], row["n_nearest"]) == (LATENTS - 2, LATENTS - 1)
    table = judged(replace(planted, size=np.where(np.arange(LATENTS) < 9, 1.0, 2.0)))  # eight others have that norm
    assert table["rate_matched_99"].isna().all() and (table["n_rate_matched"] == 8).all()
    assert table["nearest_99"].notna().all() and names(table) == ["3"]


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
    theirs = replace(first, coef=np.where(first.coef == 1, 0.4, first.coef))  # another weight of latent 3, at both parts
    score = activity @ theirs.coef[:LATENTS]
    table = judged(replace(planted, second=rule.SecondCohort(Y, score, theirs, moved)))
    assert table["needed"]["3"] == needed
    without = score - 0.4 * activity[:, 3]
    assert table["external"]["3"] == pytest.approx(estimates.auroc(Y, score) - estimates.auroc(Y, without))
    assert "external" not in judged(planted)


def test_the_bar_tells_needed_from_necessary_and_its_bound_from_strongly(planted):
    row = judged(planted).loc["3"]
    delta, low = row[["delta", "refit"]].min(), row[["low", "refit_low"]].min()
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
    assert np.isnan(row["rate_matched_99"]) and np.isnan(row["nearest_99"]) and row["n_rate_matched"] == LATENTS - 1 and not row["needed"]


def test_a_set_of_more_than_half_of_the_dictionary_has_no_null(planted):
    most = np.arange(LATENTS // 2 + 1)
    table = judged(replace(planted, sets={"group": {"most": most, "half": most[:-1]}}), kind="group")
    assert table[["rate_matched_99", "nearest_99", "random_99"]].isna().all(axis=1).tolist() == [True, False]
    assert names(table) == ["half"] and (table.loc["most", ["n_rate_matched", "n_nearest"]] == 0).all()


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
    sets["group"] = {"pair": np.array([0, 5]), "others": np.array([6, 7]), "most": np.arange(1, 8)}
    moved = -activity[:, None].astype(np.float32)
    refit = rule.refit(activity @ decoder, 1, y, groups, N_FOLDS, [1.0, 100.0], 0, metric)
    evidence = rule.Evidence("arm", y, groups, run, moved, decoder, same, same, sets, metric=metric, refit=refit)
    table = rule.judge(evidence, SETTINGS)
    assert table.loc[table["strongly_necessary"], "name"].tolist() == ["0", "pair"]
    assert table.loc[table["needed"], "name"].tolist() == ["0", "pair"]
    most = table["name"] == "most"  # of more than half of the latents: none is left to deal
    assert (table.loc[~most, "random_99"] == 0).all()  # of one part a direction is one number, and dealt rows say nothing
    assert table.loc[most, "random_99"].isna().all()
