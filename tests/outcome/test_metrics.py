"""R2, Spearman and macro AUROC with their falls: by hand, against loops over scikit-learn and scipy, and as tests and intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, spearmanr
from sklearn.metrics import r2_score, roc_auc_score

from lib.causal import necessity
from lib.causal.falls import bootstrap, jackknife
from lib.outcome import auroc, macro, metrics, r2
from lib.outcome.metrics import BINARY, CLASS, CONTINUOUS, SPEARMAN
from lib.stats import estimates


def numbers(n=40, n_latents=4, n_repeats=2, seed=0):
    rng = np.random.default_rng(seed)
    y = 10 + rng.normal(size=n).round(1)
    full = y + rng.normal(size=(n_repeats, n)).round(1)
    return y, full, rng.normal(scale=0.5, size=(n_repeats, n_latents, n)).round(1).astype(np.float32)


def classes(n=45, n_classes=3, n_latents=4, n_repeats=2, seed=0):
    """Scores on a coarse grid, so that people tie; classes of unequal size."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.minimum(np.arange(n) % (n_classes + 1), n_classes - 1))
    full = (rng.normal(size=(n_repeats, n_classes, n)) + (y == np.arange(n_classes)[:, None])).round(1)
    return y, full, rng.normal(scale=0.5, size=(n_repeats, n_latents, n_classes, n)).round(1).astype(np.float32)


def slow_macro(y, score, weight=None):
    return roc_auc_score(y[:, None] == np.arange(len(score)), score.T, average="macro", sample_weight=weight)


def slow_value(metric, y, score, weight=None):
    """One score by the library that everyone knows, people repeated as often as weights say."""
    if metric is CLASS:
        return slow_macro(y, score, weight)
    people = np.arange(len(y)) if weight is None else np.repeat(np.arange(len(y)), weight)
    if metric is SPEARMAN:
        return spearmanr(y[people], score[people]).statistic
    return (r2_score if metric is CONTINUOUS else roc_auc_score)(y[people], score[people])


def slow_falls(metric, y, full, change, weight=None):
    falls = [[slow_value(metric, y, s, weight) - slow_value(metric, y, s + c, weight) for c in moves] for s, moves in zip(full, change)]
    return np.mean(falls, axis=0)


CASES = pytest.mark.parametrize("metric, make", [(CONTINUOUS, numbers), (CLASS, classes)], ids=["continuous", "class"])


def test_r2_and_its_falls_by_hand():
    # y 0 2 4, mean 2, squares about it 8; scores 0 2 2 leave 4: R2 = 1/2. Latent 0 makes them 1 2 2, which leave 5: 3/8;
    # latent 1 makes them 0 2 3, which leave 1: 7/8
    y, full, change = np.array([0.0, 2, 4]), np.array([[0.0, 2, 2]]), np.array([[[1.0, 0, 0], [0, 0, 1]]])
    assert r2.value(y, full)[0] == 0.5
    np.testing.assert_allclose(r2.fall(y, full, change), [1 / 8, -3 / 8])
    # the draw 0 0 2 has mean 2/3 and squares 8/3 about it; latent 0 adds 1 to both zeros: 2 / (8/3). About the mean of all, 2 / 8
    np.testing.assert_allclose(r2.drawn(y, full, change, np.array([[2], [1], [0]], np.uint8))[:, 0], [3 / 4, 0])
    # without the last person y is 0 2, squares 2 about mean 1: 1/2; without the first 2 4: 0 and -3/2
    np.testing.assert_allclose(r2.without(y, full, change, np.arange(3))[:, [2, 0]], [[1 / 2, 0], [0, -3 / 2]])


def test_spearman_by_hand():
    # ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6; Pearson's of the values is lower
    assert r2.spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 100, 3])) == pytest.approx(0.6)
    # the second person twice: y ranks 1 2.5 2.5 4 5, scores 1 1 2 3 100 ranked 3 1.5 1.5 5 4: sums 10.5 of squares 9.5 each,
    # products (-2)(0) + 2 (-.5)(-1.5) + (1)(2) + (2)(1) = 5.5
    got = r2.resampled_spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 100, 3]), np.array([[1], [2], [1], [1]], np.uint8))
    assert got[0, 0] == pytest.approx(5.5 / 9.5)
    assert r2.spearman(np.array([1.0, 2, 3]), np.ones(3)) == 0


def test_macro_auroc_by_hand():
    # class 0 above the rest in 2 of 2 pairs, class 1 in 1 of 2, class 2 in 0 of 2: mean 1/2. Weighted by nothing else
    y, score = np.array([0, 1, 2]), np.array([[3.0, 1, 2], [1, 2, 3], [3, 2, 1]])
    assert macro.value(y, score) == 0.5
    # latent 0 lifts the class-2 score of person 2 above all: 1 for class 2, so the macro rises by 1/3
    change = np.zeros((1, 2, 3, 3))
    change[0, 0, 2, 2] = 5
    np.testing.assert_allclose(macro.fall(y, score[None], change), [-1 / 3, 0])


def test_macro_auroc_is_scikit_learns_one_against_the_rest():
    rng = np.random.default_rng(0)
    y, p = np.arange(60) % 4, rng.dirichlet(np.ones(4), size=60)
    assert macro.value(y, p.T) == pytest.approx(roc_auc_score(y, p, multi_class="ovr", average="macro"))
    with pytest.raises(ValueError, match="scores of 4 classes differ in class 3"):
        macro.value(y[y < 3], p[y < 3].T)


@CASES
def test_values_and_falls_in_every_draw_are_those_of_a_loop(metric, make):
    y, full, change = make()
    weights = estimates.draws(y, None, 30, 0, metric.target)
    drawn = metric.falls.drawn(y, full, change, weights)
    assert drawn.dtype == np.float32 and drawn.shape == (4, 30)
    np.testing.assert_allclose(metric.falls.fall(y, full, change), slow_falls(metric, y, full, change), atol=1e-12)
    for one in [m for m in (metric, metric.second) if m]:
        np.testing.assert_allclose(one.value(y, full), [slow_value(one, y, s) for s in full])
        got = one.resampled(y, full, weights)
        for b in range(30):
            np.testing.assert_allclose(got[:, b], [slow_value(one, y, s, weights[:, b]) for s in full], atol=1e-6)
        np.testing.assert_allclose(one.resampled(y, full[0], weights), got[:1])
    for b in range(30):
        np.testing.assert_allclose(drawn[:, b], slow_falls(metric, y, full, change, weights[:, b]), atol=1e-6)


def test_draws_beyond_one_block():
    y, full, change = numbers(20)
    weights = estimates.draws(y, None, r2.BLOCK + 2, 0, "continuous")
    for b in (0, r2.BLOCK - 1, r2.BLOCK, r2.BLOCK + 1):
        np.testing.assert_allclose(
            r2.drawn(y, full, change, weights)[:, b], slow_falls(CONTINUOUS, y, full, change, weights[:, b]), rtol=1e-4
        )
        assert r2.resampled_spearman(y, full[0], weights)[0, b] == pytest.approx(slow_value(SPEARMAN, y, full[0], weights[:, b]))


@CASES
@pytest.mark.parametrize("groups", [None, np.arange(45) // 3, np.arange(45) % 6])
def test_the_jackknife_leaves_out_one_group(metric, make, groups):
    y, full, change = make(45, n_latents=2)
    own = np.arange(45) if groups is None else groups
    without = np.stack([slow_falls(metric, y[own != g], full[..., own != g], change[..., own != g]) for g in np.unique(own)], 1)
    np.testing.assert_allclose(metric.falls.without(y, full, change, own), without, atol=1e-12)
    wanted, kinds = np.empty_like(without), [str(np.unique(y[own == g])) for g in np.unique(own)]
    if metric is CONTINUOUS:
        kinds = ["one"] * len(kinds)
    kinds = np.array([kind if len(kind) == 3 else "several" for kind in kinds])  # "[2]" is three letters
    for kind in np.unique(kinds):
        n = (kinds == kind).sum()
        rest = without[:, kinds == kind]
        wanted[:, kinds == kind] = (n - 1) / n * (rest.mean(1, keepdims=True) - rest)
    np.testing.assert_allclose(jackknife(y, full, change, groups, metric), wanted, atol=1e-12)


def test_two_classes_are_a_binary_target():
    y, s, c = classes(40, 2)[0], *(a[..., 1, :] for a in classes(40, 2)[1:])
    both = np.stack([-s, s], 1), np.stack([-c, c], 2)
    families = np.arange(40) // 3
    for groups in (None, families):
        weights = estimates.draws(y, groups, 25, 3)
        np.testing.assert_array_equal(estimates.draws(y, groups, 25, 3, "class"), weights)
    for name, rest in (("fall", ()), ("drawn", (weights,)), ("without", (families,)), ("error", ())):
        np.testing.assert_allclose(getattr(macro, name)(y, *both, *rest), getattr(auroc, name)(y, s, c, *rest), rtol=1e-6, atol=1e-9)


def test_draws_of_classes_keep_each_class_and_those_of_numbers_do_not_look_at_y():
    y = classes()[0]
    weights = estimates.draws(y, None, 200, 0, "class")
    assert all((weights[y == k].sum(0) == (y == k).sum()).all() for k in range(3))
    number = estimates.draws(y, None, 200, 0, "continuous")
    assert (number.sum(0) == len(y)).all() and number[y == 0].sum(0).std() > 0
    families = np.arange(45) // 3
    for target in ("class", "continuous"):
        whole = estimates.draws(y, families, 200, 0, target).reshape(15, 3, 200)
        kind = estimates.clusters(y, families, target)[1]
        alone = np.bincount(kind)[kind] == 1  # the only one of its kind is in every draw
        assert (whole == whole[:, :1]).all() and ((whole.std(2) > 0).T == ~alone).all() and alone.sum() < 3


def test_groups_that_each_hold_another_set_of_classes_still_vary_and_no_draw_lacks_a_class():
    # six donors, of classes 01, 01, 01, 12, 01, 012: the only one of its pattern would be in each draw. Class 2 is in two of
    # them, so that one draw in eleven, (4 / 6) ** 6, lacks it at first
    y = np.array([0, 1, 0, 1, 0, 1, 1, 2, 0, 1, 0, 1, 2])
    donor = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5])
    weights = estimates.draws(y, donor, 500, 0, "class")
    assert (weights[np.isin(donor, [3, 5])].std(1) > 0).all()
    assert all((weights[y == k].sum(0) > 0).all() for k in range(3))


@pytest.mark.parametrize("y, groups, target, message", [
    ([0, 1, 2, 0, 1], None, "class", "people of class 2 are in 1 group, wanted 2 or more"),
    ([0, 1, 2, 3], np.zeros(4), "continuous", "all people are in 1 group, wanted 2 or more"),
    ([0, 1, 2, 0, 1, 2], None, "binary", "wanted 0 and 1"),
])  # fmt: skip
def test_what_cannot_be_resampled_is_refused(y, groups, target, message):
    with pytest.raises(ValueError, match=message):
        estimates.draws(np.array(y), groups, 10, 0, target)


def test_a_draw_in_which_y_does_not_vary_is_refused():
    y, full, change = np.array([0.0, 0, 1, 1]), np.zeros((1, 4)), np.zeros((1, 1, 4))
    weights = estimates.draws(y, [0, 0, 1, 1], 20, 0, "continuous")  # one group twice has one value
    with pytest.raises(ValueError, match=r"y does not vary in \d+ of 20 samples"):
        r2.drawn(y, full, change, weights)
    with pytest.raises(ValueError, match="y does not vary in 1 of 1 samples"):
        r2.value(np.ones(4), np.zeros(4))


@pytest.mark.parametrize("metric, y, message", [
    (BINARY, [0, 1, 2], r"a binary y holds \[0, 1, 2\], wanted all of \[0, 1\]"),
    (BINARY, [1, 1], r"wanted all of \[0, 1\]"),
    (CLASS, [0, 2, 2], r"a class y holds \[0, 2\], wanted all of \[0, 1\]"),
    (CLASS, ["a", "b"], "a class y holds"),
    (CLASS, [0, 0], "a class y holds"),
    (CONTINUOUS, [0.5, np.nan], "a continuous y holds .* wanted finite numbers that vary"),
    (CONTINUOUS, [0.5, 0.5], "wanted finite numbers that vary"),
    (CONTINUOUS, ["1", "2"], "wanted finite numbers that vary"),
])  # fmt: skip
def test_a_target_of_another_type_is_refused(metric, y, message):
    with pytest.raises(ValueError, match=message):
        metrics.check_target(np.array(y), metric)


def test_targets_of_their_type_are_taken():
    metrics.check_target(np.array([True, False]), BINARY)
    metrics.check_target(np.array([2, 0, 1]), CLASS)
    metrics.check_target(np.array([3, 4]), CONTINUOUS)
    assert {target: metric.target for target, metric in metrics.METRICS.items()} == {t: t for t in ("binary", "class", "continuous")}


@pytest.mark.parametrize("change, message", [
    (lambda y, full, change: (y, full[:, 0], change), r"full has shape \(2, 45\), wanted \[repeat, 3, 45\]"),
    (lambda y, full, change: (y, full, change[:, :, :2]), r"change has shape .* wanted \[2, latent, 3, 45\]"),
    (lambda y, full, change: (y, full * np.nan, change), "missing or infinite"),
])  # fmt: skip
def test_scores_of_another_shape_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        macro.fall(*change(*classes()))


def test_rounding_of_float32_is_no_fall():
    y, full, change = numbers()
    change[:, 0] = 0
    change[:, 1] = 1e-8
    delta, drawn = bootstrap(y, full, change, estimates.draws(y, None, 50, 0, "continuous"), CONTINUOUS)
    assert (delta[:2] == 0).all() and (drawn[:2] == 0).all() and (delta[2:] != 0).all()
    assert (necessity.max_t(delta, drawn)[:2] == 1).all()


def test_standard_errors_are_those_of_the_bootstrap():
    for metric, make in ((CONTINUOUS, numbers), (CLASS, classes)):
        y, full, change = make(600)
        error = metric.falls.error(y, full, change)
        drawn = metric.falls.drawn(y, full, change, estimates.draws(y, None, 2000, 0, metric.target))
        np.testing.assert_allclose(error, drawn.std(1), rtol=0.1)


# Intervals that cover, tests that keep their error ------------------------------------------------------------


def half_known(rng, n, group=None):
    """y = s + e of variance 2; full = s; ablated = s / 2 + u, u of variance 0.04. The fall is E c^2 / 2 = (1/4 + 0.04) / 2."""
    of = np.arange(n) if group is None else group
    s, e, u = rng.normal(size=(3, of.max() + 1))[:, of]
    return s + e, s[None], (-s / 2 + 0.2 * u)[None, None]


@pytest.mark.parametrize("group", [None, np.arange(400) // 4], ids=["people", "families"])
def test_bca_and_the_delta_method_cover_a_known_fall_of_r2(group):
    rng, covered, n, runs = np.random.default_rng(0), np.zeros(2), 100 if group is None else 400, 300
    for seed in range(runs):
        y, full, change = half_known(rng, n, group)
        delta, drawn = bootstrap(y, full, change, estimates.draws(y, group, 600, seed, "continuous"), CONTINUOUS)
        low, high = necessity.bca(delta, drawn, jackknife(y, full, change, group, CONTINUOUS))
        _, a, b = necessity.linearised(y, full, change, CONTINUOUS)
        covered += [low[0] <= 0.145 <= high[0], a[0] <= 0.145 <= b[0]]
    assert 0.92 * runs <= covered[0] <= 0.98 * runs, covered / runs
    if group is None:
        assert 0.91 * runs <= covered[1] <= 0.98 * runs, covered / runs
    else:  # families of four alike, taken for people, are four times too many
        assert covered[1] < 0.8 * runs, covered / runs


def test_bca_and_delong_cover_a_known_fall_of_macro_auroc():
    rng, covered, runs, y = np.random.default_rng(0), np.zeros(2), 200, np.arange(150) % 3
    true = norm.cdf(1 / np.sqrt(2)) - norm.cdf(0.6 / np.sqrt(2))
    own, weights = y == np.arange(3)[:, None], estimates.draws(y, None, 500, 0, "class")
    for _ in range(runs):
        a, b = rng.normal(size=(2, 3, 150))
        full = (a + own)[None]
        change = (0.8 * a + 0.6 * b + 0.6 * own)[None, None] - full[:, None]
        delta, drawn = bootstrap(y, full, change, weights, CLASS)
        low, high = necessity.bca(delta, drawn, jackknife(y, full, change, None, CLASS))
        _, c, d = necessity.linearised(y, full, change, CLASS)
        covered += [low[0] <= true <= high[0], c[0] <= true <= d[0]]
    assert (covered >= 0.9 * runs).all() and (covered <= 0.985 * runs).all(), covered / runs


def test_max_t_keeps_its_family_error_on_r2():
    """Before and after, the error of the prediction has one law, so no fall is real; latents correlate."""
    rng, errors, runs, n = np.random.default_rng(0), 0, 200, 200
    for seed in range(runs):
        s, u, shared = rng.normal(size=(3, n))
        after = 0.9 * u + np.sqrt(0.19) * (0.8 * shared + 0.6 * rng.normal(size=(20, n)))
        y, full, change = s + rng.normal(size=n), (s + u)[None], (after - u)[None]
        delta, drawn = bootstrap(y, full, change, estimates.draws(y, None, 400, seed, "continuous"), CONTINUOUS)
        errors += necessity.max_t(delta, drawn).min() < 0.05
    assert binomtest(errors, runs, 0.05, alternative="greater").pvalue > 0.01, errors / runs
    assert errors  # nor is it empty
