"""Necessity: exact resampled AUROC, intervals that cover, tests that keep their error, verdicts."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm, spearmanr
from sklearn.metrics import roc_auc_score

from lib.causal import ablation, necessity
from lib.causal.falls import bootstrap, fold_deltas, jackknife
from lib.outcome import auroc, r2, validate
from lib.outcome.metrics import BINARY, CLASS, CONTINUOUS
from lib.stats import estimates


def cohort(n=60, n_latents=4, n_repeats=2, seed=0, decimals=1):
    """Scores on a coarse grid, so that people tie, before ablation and after."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    full = (rng.normal(size=(n_repeats, n)) + y).round(decimals)
    change = rng.normal(scale=0.5, size=(n_repeats, n_latents, n)).round(decimals).astype(np.float32)
    return y, full, change


def slow_delta(y, full, change, weight=None):
    """delta by scikit-learn: [latent]."""
    falls = [
        [
            roc_auc_score(y, f, sample_weight=weight) - roc_auc_score(y, f + c, sample_weight=weight)
            for c in moves
        ]
        for f, moves in zip(full, change)
    ]
    return np.mean(falls, axis=0)


def test_weighted_auroc_is_that_of_scikit_learn_with_ties():
    y, full, change = cohort(decimals=0)
    assert len(np.unique(full[0] + change[0, 0])) < len(y) / 3  # many tie
    weights = necessity.draws(y, None, 40, seed=0)
    delta, drawn = bootstrap(y, full, change, weights)
    np.testing.assert_allclose(delta, slow_delta(y, full, change), atol=1e-12)
    assert drawn.dtype == np.float32 and drawn.shape == (4, 40)
    for b in range(40):
        np.testing.assert_allclose(drawn[:, b], slow_delta(y, full, change, weights[:, b]), atol=1e-6)


def test_draws_beyond_one_block_and_latents_beyond_one_chunk():
    n_latents, n_boot = auroc.CHUNK + 3, auroc.BLOCK + 3
    y, full, change = cohort(30, n_latents, 1)
    weights = necessity.draws(y, None, n_boot, seed=0)
    _, drawn = bootstrap(y, full, change, weights)
    for b in (0, auroc.BLOCK - 1, auroc.BLOCK, n_boot - 1):
        np.testing.assert_allclose(drawn[:, b], slow_delta(y, full, change, weights[:, b]), atol=1e-6)


def test_draws_keep_the_number_of_cases_and_of_controls():
    y = np.array([1, 1, 1, 0, 0, 0, 0])
    weights = necessity.draws(y, None, 500, seed=1)
    assert weights.shape == (7, 500) and weights.dtype == np.uint8
    assert (weights[y == 1].sum(0) == 3).all() and (weights[y == 0].sum(0) == 4).all()
    assert abs(weights.mean() - 1) < 1e-12 and len(np.unique(weights[0])) > 2
    assert (weights == necessity.draws(y, None, 500, seed=1)).all()


def test_draws_take_groups_whole_among_those_of_their_kind():
    y = np.array([1, 1, 0, 0, 1, 0, 1, 0, 1, 0])
    groups = np.array(list("aabbccddef"))  # a, e cases only; b, f controls only; c, d both
    weights = necessity.draws(y, groups, 300, seed=0)
    for g in "abcd":
        pair = weights[groups == g]
        assert (pair[0] == pair[1]).all() and pair.max() == 2
    first = {g: weights[groups == g][0].astype(int) for g in "abcdef"}
    for one, other in ("ae", "bf", "cd"):
        assert (first[one] + first[other] == 2).all()
    with pytest.raises(ValueError, match="cases are in 1 group"):
        necessity.draws(y, np.where(y == 1, "one", groups), 10, 0)


def test_no_change_of_rank_is_exactly_no_delta():
    y, full, change = cohort(decimals=3)
    change[:, 0] = 0
    change[:, 1] = 0.25  # everybody alike
    delta, drawn = bootstrap(y, full, change, necessity.draws(y, None, 200, 0))
    assert (delta[:2] == 0).all() and (drawn[:2] == 0).all() and (delta[2:] != 0).all()
    assert (necessity.max_t(delta, drawn)[:2] == 1).all() and (
        necessity.q_values(delta, drawn)[:2] == 1
    ).all()
    low, high = necessity.bca(delta, drawn, jackknife(y, full, change, None))
    assert (low[:2] == 0).all() and (high[:2] == 0).all() and (low[2:] < high[2:]).all()


@pytest.mark.parametrize("groups", [None, np.arange(24) // 3, np.arange(24) % 4])
def test_jackknife_leaves_out_one_group(groups):
    y, full, change = cohort(24, 3)
    own = np.arange(24) if groups is None else groups
    without = np.stack(
        [slow_delta(y[own != g], full[:, own != g], change[..., own != g]) for g in np.unique(own)], 1
    )
    kind = np.array([10 * y[own == g].any() + (1 - y[own == g]).any() for g in np.unique(own)])
    wanted = np.empty_like(without)
    for k in np.unique(kind):
        n = (kind == k).sum()
        wanted[:, kind == k] = (
            (n - 1) / n * (without[:, kind == k].mean(1, keepdims=True) - without[:, kind == k])
        )
    np.testing.assert_allclose(jackknife(y, full, change, groups), wanted, atol=1e-12)


def test_bca_is_that_of_scipy_for_one_sample():
    """For a mean, draws and influence are known: scipy's interval from the same draws is the answer."""
    from scipy.stats import bootstrap

    x = np.random.default_rng(0).exponential(size=40)
    wanted = bootstrap((x,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(1))
    drawn = wanted.bootstrap_distribution[None].astype(np.float32)
    without = (x.sum() - x) / 39
    low, high = necessity.bca(np.array([x.mean()]), drawn, (without.mean() - without)[None])
    got = (low[0], high[0])
    np.testing.assert_allclose(got, wanted.confidence_interval, atol=2e-3)
    plain = np.quantile(drawn, [0.025, 0.975])
    assert abs(got - plain).max() > 0.02  # the percentile interval is another


def binormal(rng, n, full_shift, ablated_shift, rho=0.8):
    """y, full [1, person] and change [1, 1, person]; AUROC of each score is Phi(shift / sqrt 2)."""
    y = np.arange(n) % 2
    noise = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], n).T
    full, ablated = noise[0] + full_shift * y, noise[1] + ablated_shift * y
    return y, full[None], (ablated - full)[None, None]


def test_bca_and_delong_cover_the_true_delta():
    rng = np.random.default_rng(0)
    true = norm.cdf(1 / np.sqrt(2)) - norm.cdf(0.6 / np.sqrt(2))
    covered, weights = np.zeros(2), necessity.draws(np.arange(300) % 2, None, 1000, seed=0)
    for _ in range(500):
        y, full, change = binormal(rng, 300, 1.0, 0.6)
        delta, drawn = bootstrap(y, full, change, weights)
        low, high = necessity.bca(delta, drawn, jackknife(y, full, change, None))
        _, delong_low, delong_high = necessity.linearised(y, full, change)
        covered += [low[0] <= true <= high[0], delong_low[0] <= true <= delong_high[0]]
    assert (covered >= 0.93 * 500).all() and (covered <= 0.97 * 500).all(), covered / 500


def test_delong_is_that_of_every_pair():
    """Structural components, person by person, and their covariances, as the paper writes them."""
    y, full, change = cohort(40, 3, 1, decimals=0)
    case, control = np.flatnonzero(y == 1), np.flatnonzero(y == 0)

    def components(score):
        psi = [
            [1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0 for j in control]
            for i in case
        ]
        return np.mean(psi, axis=1), np.mean(psi, axis=0)

    delta, low, high = necessity.linearised(y, full, change)
    for k in range(3):
        (a1, a0), (b1, b0) = components(full[0]), components(full[0] + change[0, k])
        s = np.cov(a1, b1) / len(case) + np.cov(a0, b0) / len(control)
        half = 1.959963984540054 * np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
        np.testing.assert_allclose(
            [delta[k], low[k], high[k]], a1.mean() - b1.mean() + np.array([0, -half, half])
        )


def test_families_widen_the_interval_of_clustered_people():
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(50), 6)
    y = (family % 2).astype(int)
    shared = rng.normal(size=(2, 50))[:, family]
    full = (y + shared[0] + 0.3 * rng.normal(size=300))[None]
    change = (0.7 * shared[1] - 0.3 * y + 0.1 * rng.normal(size=300))[None, None]
    width = {}
    for name, groups in {"alone": None, "families": family}.items():
        delta, drawn = bootstrap(y, full, change, necessity.draws(y, groups, 1000, 0))
        low, high = necessity.bca(delta, drawn, jackknife(y, full, change, groups))
        width[name] = (high - low)[0]
    assert width["families"] > 1.5 * width["alone"]


def null_cohort(rng, n=200, n_latents=20):
    """Latents that copy a share of the noise back and forth: AUROC is the same before and after, and they correlate."""
    y = np.arange(n) % 2
    full, shared = rng.normal(size=n) + y, rng.normal(size=n)
    own = 0.8 * shared + 0.6 * rng.normal(size=(n_latents, n))
    ablated = 0.9 * (full - y) + np.sqrt(1 - 0.81) * own + y  # the same law as `full`
    return y, full[None], (ablated - full)[None]


def test_max_t_keeps_its_family_error():
    rng, errors, runs = np.random.default_rng(0), 0, 200
    weights = necessity.draws(np.arange(200) % 2, None, 500, seed=0)
    for _ in range(runs):
        y, full, change = null_cohort(rng)
        delta, drawn = bootstrap(y, full, change, weights)
        errors += necessity.max_t(delta, drawn).min() < 0.05
    assert binomtest(errors, runs, 0.05, alternative="greater").pvalue > 0.01, errors / runs
    assert errors  # nor is it empty


def test_max_t_by_hand():
    """Two latents, four draws. t = 3 and 1 after standard errors of 1; centred draws are +-1.

    Latent 0: maxima over both are 1, never 3: p = 1/5. Latent 1: its own draws reach 1 in all four: p = 5/5.
    """
    p = necessity.max_t(np.array([3.0, 1.0]), np.array([[2, 4, 2, 4], [0, 0, 2, 2]], dtype=np.float32))
    np.testing.assert_allclose(p, [1 / 5, 1])


def test_max_t_is_monotone():
    """t = 2 and 1.5. Two of eight maxima reach 2: p = 3/9. None of the second's own reach 1.5, 1/9, raised to 3/9."""
    centred = np.array([[2, -2, 0, 0, 0, 0, 0, 0], [1, -1, 1, -1, 1, -1, 1, -1]], dtype=np.float32)
    delta = np.array([2.0, 1.5])
    np.testing.assert_allclose(
        necessity.max_t(delta, centred + delta[:, None].astype(np.float32)), [3 / 9, 3 / 9]
    )


def test_max_t_steps_down():
    noise = np.random.default_rng(0).normal(size=(50, 999)).astype(np.float32)
    delta = np.concatenate([[4.0, 3.2], np.zeros(48)])
    drawn = noise + delta[:, None].astype(np.float32)
    p, alone = necessity.max_t(delta, drawn), necessity.max_t(delta[1:], drawn[1:])
    assert p[0] <= p[1] < 0.3 and p[1] == alone[0]  # once the first is rejected it no longer counts


def test_fold_deltas_are_those_of_each_fold():
    y, full, change = cohort(60, 3)
    folds = np.stack([np.arange(60) // 20, np.arange(60) % 3])
    by_fold = fold_deltas(y, full, change, folds)
    assert by_fold.shape == (2, 3, 3)
    for r, f in itertools.product(range(2), range(3)):
        in_fold = folds[r] == f
        np.testing.assert_allclose(
            by_fold[r, f], slow_delta(y[in_fold], full[r : r + 1, in_fold], change[r : r + 1, :, in_fold]), atol=1e-12
        )
    np.testing.assert_array_equal(
        necessity.same_sign(np.array([[[1.0], [2]], [[0], [3]]])), [1.5]
    )  # 2 of 2, 1 of 2
    one_class = fold_deltas(y, full, change, np.stack([y, y]))
    assert np.isnan(one_class).all() and (necessity.same_sign(one_class) == 0).all()  # nothing to compare, so no sign


def test_beats_takes_a_value_of_the_null():
    null = np.stack([np.arange(100.0), np.full(100, np.nan), np.where(np.arange(100) < 2, 5.0, np.nan)])
    limit, beaten = necessity.beats(np.array([99.0, 1, 5.5]), null)
    np.testing.assert_array_equal(limit, [99, np.nan, 5])
    np.testing.assert_array_equal(beaten, [False, False, True])
    thousand, _ = necessity.beats(np.zeros(1), np.arange(1001.0)[None])
    assert thousand[0] == 990


GOOD = {
    "auroc_full": 0.7, "delta": 0.05, "low": 0.035, "high": 0.065, "delong_low": 0.03, "delong_high": 0.07,
    "p_max_t": 0.001, "q": 0.001, "rate_matched_99": 0.01, "n_rate_matched": 100, "random_99": 0.02, "same_sign": 5.0,
    "refit": 0.04, "refit_low": 0.032,
}  # fmt: skip


def rows(*changes):
    """A table of a row that meets every condition, with each of these changes made to it."""
    return pd.DataFrame([GOOD | change for change in changes])


def test_verdict_needs_each_condition():
    bad = [
        {"low": -0.01}, {"p_max_t": 0.05}, {"rate_matched_99": 0.06}, {"rate_matched_99": np.nan}, {"random_99": 0.06},
        {"same_sign": 3.8}, {"refit_low": 0.0}, {"refit": np.nan, "refit_low": np.nan},
    ]  # fmt: skip
    out = necessity.verdict(rows({}, *bad))
    assert out["needed"].tolist() == [True] + [False] * len(bad)
    assert out["share"].iloc[0] == pytest.approx(0.25)
    weaker = [{"low": 0.02}, {"delta": 0.029, "low": 0.02}, {"refit": 0.029, "refit_low": 0.02}, {"refit_low": 0.02}]
    graded = necessity.verdict(rows({}, *weaker))
    assert graded["needed"].all()
    assert graded["necessary"].tolist() == [True, True, False, False, True]
    assert graded["strongly_necessary"].tolist() == [True, False, False, False, False]
    abroad = necessity.verdict(rows({}, {}, {}).assign(external=[0.01, -0.01, np.nan]))
    assert abroad["needed"].tolist() == abroad["necessary"].tolist() == [True, False, False]
    again_abroad = necessity.verdict(rows({}, {}, {}).assign(refit_second=[0.01, -0.01, np.nan]))
    assert again_abroad["needed"].all() and again_abroad["necessary"].tolist() == [True, False, False]
    assert np.isnan(necessity.verdict(rows({"auroc_full": 0.5}))["share"].iloc[0])
    with pytest.raises(ValueError, match="random_99"):
        necessity.verdict(rows({}).drop(columns="random_99"))


def test_a_fall_is_held_to_the_larger_of_the_rate_matched_nulls_that_there_are():
    strict, near = [0.01, 0.06, np.nan, 0.01, np.nan], [0.01, 0.01, 0.01, 0.06, np.nan]
    table = rows(*[{"rate_matched_99": a, "nearest_99": b} for a, b in zip(strict, near)])
    assert necessity.matched(table).fillna(-1).tolist() == [0.01, 0.06, 0.01, 0.06, -1]
    assert necessity.verdict(table)["needed"].tolist() == [True, False, True, False, False]
    assert necessity.passes(table.assign(refit_low=np.nan)).tolist() == [True, False, True, False, False]


def test_a_planted_latent_is_named_and_its_neighbours_are_not():
    rng = np.random.default_rng(0)
    n, y = 400, np.arange(400) % 2
    carried = 1.2 * y + rng.normal(size=n)
    full = np.stack([carried + 0.5 * rng.normal(size=n) for _ in range(2)])
    change = rng.normal(scale=0.1, size=(2, 30, n)).astype(np.float32)
    change[:, 7] = -carried
    folds = np.stack([rng.permutation(n) % 5 for _ in range(2)])
    table = necessity.measure(y, None, full, change, folds, n_boot=500)
    table = table.assign(rate_matched_99=0.01, n_rate_matched=29, random_99=0.01, refit=1.0, refit_low=1.0)
    np.testing.assert_array_equal(np.flatnonzero(necessity.verdict(table)["strongly_necessary"]), [7])
    assert ((table["low"] <= table["delta"]) & (table["delta"] <= table["high"])).all()


def planted(metric, n=400, seed=0):
    """Six latents write their own directions; y follows latent 0, classes the largest of latents 0 to 2."""
    rng = np.random.default_rng(seed)
    activity, decoder = rng.exponential(size=(n, 6)), rng.normal(size=(6, 8))
    X = activity @ decoder + 0.1 * rng.normal(size=(n, 8))
    if metric is CLASS:
        return X, (3 * activity[:, :3] + rng.gumbel(size=(n, 3))).argmax(1), activity, decoder, [0, 1, 2]
    y = 4 + activity[:, 0] + rng.normal(scale=0.5, size=n)
    return X, (y > np.median(y)).astype(int) if metric is BINARY else y, activity, decoder, [0]


TYPES = pytest.mark.parametrize("metric", [BINARY, CLASS, CONTINUOUS], ids=["binary", "class", "continuous"])


@TYPES
@pytest.mark.parametrize("groups", [None, np.arange(400) // 2], ids=["people", "pairs"])
def test_from_activations_to_verdict_a_planted_latent_is_named_and_a_bystander_is_not(metric, groups):
    X, y, activity, decoder, wanted = planted(metric)
    run = validate.repeated(X, y, groups, 5, 2, [1.0, 100.0, 1e4], 0, metric)
    change = ablation.repeated_change(-activity[:, None, :], decoder, run.probes, run.folds)
    table = necessity.measure(y, groups, run.score, change, run.folds, 1000, metric=metric)
    assert (table[f"{metric.key}_full"] > metric.chance + 0.25).all()
    table = table.assign(rate_matched_99=0.005, n_rate_matched=5, random_99=0.005, refit=1.0, refit_low=1.0)
    out = necessity.verdict(table, bar=0.03, metric=metric)
    np.testing.assert_array_equal(np.flatnonzero(out["strongly_necessary"]), wanted)
    np.testing.assert_array_equal(np.flatnonzero(out["needed"]), wanted)
    np.testing.assert_allclose(out["share"], out["delta"] / (out[f"{metric.key}_full"] - metric.chance))
    frozen = run.probes[0][1]  # the closed form is the score without the latent's part of x, for each class
    held_out = run.folds[0] == 1
    for k in range(6):
        left = frozen.score(X - np.outer(activity[:, k], decoder[k]))
        centre = left[..., ~held_out].mean(-1, keepdims=True)
        if metric is CONTINUOUS:  # which keeps the mean of the predictions
            centre = centre - frozen.score(X[~held_out]).mean()
        got = (run.score[0] + change[0, k])[..., held_out]
        np.testing.assert_allclose(got, (left - centre)[..., held_out], atol=1e-5)


@TYPES
def test_curves_and_sufficiency_are_of_the_metric(metric):
    X, y, activity, decoder, wanted = planted(metric, 120)
    run = validate.repeated(X, y, None, 3, 2, [100.0], 0, metric)
    change = ablation.repeated_change(-activity[:, None, :], decoder, run.probes, run.folds)
    rest = [k for k in range(6) if k not in wanted]
    order = np.array(wanted + rest)
    curve = necessity.set_curve(y, run.score, change, order, n_random=10, metric=metric)
    for k, value in zip(curve["k"], curve[metric.key]):
        assert value == pytest.approx(metric.value(y, run.score + change[:, order[:k]].sum(1, dtype=float)).mean())
    assert curve[metric.key].iloc[len(wanted)] < curve[metric.key].iloc[0] - 0.1
    table = necessity.sufficiency(y, run.score, change, [np.array(wanted), np.array(rest)], metric)
    key = metric.key
    assert table[f"{key}_full"].iloc[0] == metric.value(y, run.score).mean()
    np.testing.assert_allclose(table[key].iloc[1], metric.value(y, run.score + change[:, wanted].sum(1, dtype=float)).mean())
    assert table["recovered"].iloc[0] > 0.9 and table["recovered"].iloc[1] < 0.2


def test_spearman_stands_beside_r2():
    X, y, activity, decoder, _ = planted(CONTINUOUS, 120)
    run = validate.repeated(X, y, None, 3, 2, [100.0], 0, CONTINUOUS)
    change = ablation.repeated_change(-activity[:, None, :], decoder, run.probes, run.folds)
    table = necessity.measure(y, None, run.score, change, run.folds, 100, metric=CONTINUOUS)
    assert {"r2_full", "delta_method_low", "delta_method_high"} < set(table) and "auroc_full" not in table
    assert table["spearman_full"].iloc[0] == np.mean([r2.spearman(y, s) for s in run.score])
    left = np.mean([spearmanr(y, s + c[0]).statistic for s, c in zip(run.score, change)])
    np.testing.assert_allclose(table["spearman_delta"].iloc[0], table["spearman_full"].iloc[0] - left)
    with pytest.raises(ValueError, match="table lacks .*auroc_full"):
        necessity.verdict(table)


def test_fold_deltas_of_numbers_and_classes_and_a_fold_that_lacks_one():
    X, y, activity, decoder, _ = planted(CLASS, 60)
    run = validate.repeated(X, y, None, 3, 1, [100.0], 0, CLASS)
    change = ablation.repeated_change(-activity[:, None, :], decoder, run.probes, run.folds)
    by_fold = fold_deltas(y, run.score, change, run.folds, CLASS)
    inside = run.folds[0] == 2
    want = CLASS.value(y[inside], run.score[0][:, inside]) - CLASS.value(y[inside], (run.score[0] + change[0, 4])[:, inside])
    assert by_fold.shape == (1, 3, 6) and by_fold[0, 2, 4] == pytest.approx(want)
    assert np.isnan(fold_deltas(y, run.score, change, np.minimum(y, 1)[None], CLASS)).all()  # never all three
    number = np.repeat([1.0, 2.0, 3.0], 20)
    folds = np.concatenate([np.zeros(20, int), np.ones(40, int)])[None]  # the first of one value, the second of two
    numbers = fold_deltas(number, number[None], change[:, :, 0], folds, CONTINUOUS)
    assert np.isnan(numbers[0, 0]).all() and np.isfinite(numbers[0, 1]).all()


def test_set_curve_ablates_the_first_k():
    y, full, change = cohort(60, 6, decimals=6)
    order = np.array([4, 1, 0, 5, 2, 3])
    curve = necessity.set_curve(y, full, change, order, n_random=20)
    assert curve["k"].iloc[[0, -1]].tolist() == [0, 6]
    for k, value in zip(curve["k"], curve["auroc"]):
        ablated = full + change[:, order[:k]].sum(1)
        assert value == pytest.approx(np.mean([roc_auc_score(y, a) for a in ablated]))
    ends = curve.iloc[[0, -1]]
    np.testing.assert_allclose(
        ends[["low", "high"]], np.column_stack([ends["auroc"]] * 2)
    )  # every order, every latent
    assert (curve["low"] < curve["high"])[1:-1].all()


def test_sufficiency_keeps_only_the_set():
    """The score is what three latents carry and a rest that no latent does; only latent 0 knows the class."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    parts, rest = 0.1 * rng.normal(size=(3, 80)), 0.1 * rng.normal(size=80)
    parts[0] += y
    full, change = (parts.sum(0) + rest)[None], -parts[None]
    table = necessity.sufficiency(y, full, change, [np.array([0]), np.array([1, 2]), np.arange(3)])
    assert table["n"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["auroc_none"], estimates.auroc(y, rest))
    np.testing.assert_allclose(
        table["auroc"], [estimates.auroc(y, rest + parts[m].sum(0)) for m in ([0], [1, 2], [0, 1, 2])]
    )
    assert table["recovered"].iloc[0] > 0.9 and table["recovered"].iloc[1] < 0.3
    assert table["recovered"].iloc[2] == pytest.approx(1)


def test_bad_input_is_named():
    y, full, change = cohort()
    weights = necessity.draws(y, None, 10, 0)
    for args, message in [
        ((y, full[0], change, weights), "full has shape"),
        ((y, full, change[:1], weights), r"change has shape .* wanted \[2, latent, 60\]"),
        ((y, full, change, weights.T), "wanted uint8"),
        ((y, full + np.nan, change, weights), "missing or infinite"),
    ]:
        with pytest.raises(ValueError, match=message):
            bootstrap(*args)
    with pytest.raises(ValueError, match="wanted 0 and 1"):
        necessity.draws(y + 1, None, 10, 0)
    with pytest.raises(ValueError, match="groups of 3 people, wanted 60"):
        necessity.draws(y, np.arange(3), 10, 0)


ROW = {"arm": "a", "kind": "closure", "name": "ETS", "delta": 0.02, "low": -0.01, "high": 0.05, "rate_matched_99": 0.01, "random_99": 0.015,
       "refit": np.nan, "refit_low": np.nan, "refit_high": np.nan, "p_max_t": 0.2, "needed": False, "necessary": False}  # fmt: skip


def test_the_strongest_row_is_needed_first_and_largest_second():
    table = pd.DataFrame([ROW, ROW | {"name": "SMAD", "delta": 0.01, "needed": True}, ROW | {"name": "KLF", "delta": 0.03}])
    e, limit, note = necessity.strongest(table)
    assert (e.value, limit) == (0.01, 0.015) and note.startswith("SMAD: 1 needed, 0 necessary of 3")
    e, _, note = necessity.strongest(table.assign(needed=False))
    assert "not refitted" in note
    _, _, note = necessity.strongest(table.assign(refit=0.02, refit_low=0.01, refit_high=0.03))
    assert "refitted 0.0200 (0.0100 to 0.0300)" in note
    e, limit, note = necessity.strongest(table.assign(needed=False, nearest_99=0.5))
    assert limit == 0.5 and e.value == 0.03 and note.startswith("KLF") and "could not be tested" not in note


@pytest.mark.parametrize("rate_matched, dealt, why", [
    (0.01, 0.01, ""), (np.nan, 0.01, "no closure has enough rate-matched latents"), (0.01, np.nan, "more than half of the dictionary"),
])  # fmt: skip
def test_sets_too_large_for_their_null_could_not_be_tested(rate_matched, dealt, why):
    table = pd.DataFrame([ROW | {"rate_matched_99": rate_matched, "random_99": dealt}] * 2)
    assert why in necessity.untested(table, "closure") and bool(why) == bool(necessity.untested(table, "closure"))
    some = pd.concat([table, pd.DataFrame([ROW])])
    assert necessity.untested(some, "closure") == ""  # one set has its null: the others are counted in the note
    assert ("2 more could not be tested" in necessity.strongest(some)[2]) == bool(why)


def test_no_set_at_all_is_an_empty_table_with_every_column():
    empty = necessity.verdicts([])
    assert "as least_moved asks" in necessity.untested(empty, "latent")
    e, limit, note = necessity.strongest(empty)
    assert np.isnan([e.value, limit]).all() and note == "" and e.n == 0
    assert len(empty.nlargest(3, "delta")) == 0 and not empty.needed.any()
    some = necessity.verdicts([pd.DataFrame([ROW]), empty])
    assert len(some) == 1 and list(some.columns) == list(ROW)


def test_a_curve_of_no_latent_is_the_full_score():
    y, full, change = cohort(60, 3)
    curve = necessity.set_curve(y, full, change, np.empty(0, int), 5)
    assert list(curve.k) == [0] and curve.auroc[0] == pytest.approx(estimates.auroc(y, full).mean())
