"""AUROC, its bootstrap, and corrections, against hand work, explicit loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib.stats import estimates, multiplicity


def labels(n, seed):
    y = np.random.default_rng(seed).integers(0, 2, n)
    y[:2] = 0, 1
    return y


def bootstrap(y, scores, n_boot, seed, groups=None):
    return estimates.resampled_auroc(y, scores, estimates.draws(y, groups, n_boot, seed))


def test_auroc_by_hand():
    # cases 2, 1; controls 1, 0: pairs 2>1, 2>0, 1=1 (half), 1>0 -> 3.5 / 4
    assert estimates.auroc([1, 1, 0, 0], np.array([2.0, 1.0, 1.0, 0.0])) == 0.875


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_auroc_is_scikit_learns_ties_included(levels):
    y = labels(60, 0)
    score = np.random.default_rng(1).integers(0, levels, (3, 4, 60)).astype(float)
    want = [[roc_auc_score(y, s) for s in row] for row in score]
    np.testing.assert_allclose(estimates.auroc(y, score), want, rtol=1e-12)


def test_auroc_of_one_class_raises():
    with pytest.raises(ValueError, match="both classes"):
        estimates.auroc([1, 1], np.array([0.0, 1.0]))


def test_bootstrap_equals_explicit_resampling():
    """Repeat each person as often as the multiplicities say, and score the copies with scikit-learn."""
    y, n_boot, seed = labels(24, 2), 30, 5
    scores = np.random.default_rng(3).integers(0, 6, (2, 24)).astype(float)
    got = bootstrap(y, scores, n_boot, seed)
    families = np.arange(24) // 3
    whole = bootstrap(y, scores, n_boot, seed, families)
    for groups, drawn in ((None, got), (families, whole)):
        times = estimates.draws(y, groups, n_boot, seed)
        for b in range(n_boot):
            people = np.repeat(np.arange(24), times[:, b])
            want = [roc_auc_score(y[people], s[people]) for s in scores]
            np.testing.assert_allclose(drawn[:, b], want, atol=1e-6)


def test_draws_take_families_whole_and_classes_as_they_are_without_them():
    y = labels(24, 2)
    times = estimates.draws(y, np.arange(24) // 3, 30, 5).reshape(8, 3, 30)
    assert (times == times[:, :1]).all() and (times.std(0) > 0).any()
    assert (estimates.draws(y, None, 30, 5)[y == 1].sum(0) == y.sum()).all()
    with pytest.raises(ValueError, match="cases are in 1 group, wanted 2 or more"):
        estimates.draws(y, np.where(y == 1, 0, np.arange(24)), 30, 5)


def test_interval_over_families_is_wider_where_members_are_alike():
    # 40 families of 5 copies: the error is that of 40 people, not of 200, and so 5 ** 0.5 times as large
    y, rng = np.repeat(np.arange(40) % 2, 5), np.random.default_rng(0)
    s, family = np.repeat(rng.standard_normal(40) + y[::5], 5), np.repeat(np.arange(40), 5)
    alone, whole = (bootstrap(y, s, 2000, 0, g)[0].std() for g in (None, family))
    assert whole == pytest.approx(5**0.5 * alone, rel=0.1)


def test_scores_share_resamples_so_differences_are_paired():
    y = labels(40, 0)
    s = np.random.default_rng(0).standard_normal(40)
    draws = bootstrap(y, np.stack([s, 2 * s + 1, -s]), 50, 0)
    np.testing.assert_array_equal(draws[0], draws[1])  # a monotone change of the score changes nothing
    np.testing.assert_allclose(draws[0] + draws[2], 1, atol=1e-6)


def test_same_seed_same_interval():
    y, s = labels(40, 0), np.random.default_rng(0).standard_normal(40)
    one, again, other = (bootstrap(y, s, 100, seed) for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).any()


def test_intervals_cover_about_as_often_as_they_say():
    # scores N(1, 1) for cases, N(0, 1) for controls: AUROC = Phi(1 / sqrt 2) = 0.76025
    y = np.repeat([0, 1], 40)
    auroc = mean = 0
    for seed in range(200):
        s = np.random.default_rng(seed).standard_normal(80) + y
        low, high = np.quantile(bootstrap(y, s, 300, seed)[0], [0.025, 0.975])
        auroc += low <= 0.76025 <= high
        m = estimates.mean_interval(s[:40], 300, seed)
        mean += m.low <= 0 <= m.high
        assert m.n == 40
    assert 0.89 <= auroc / 200 <= 0.99 and 0.89 <= mean / 200 <= 0.99


def test_groups_are_drawn_whole():
    values = np.random.default_rng(0).standard_normal(20)
    alone = estimates.mean_interval(values, 300, 0)
    assert estimates.mean_interval(values, 300, 0, np.arange(20)[::-1]) == alone
    copied = estimates.mean_interval(np.tile(values, 5), 300, 0, np.tile(np.arange(20)[::-1], 5))
    assert copied.n == 100 and copied[:3] == pytest.approx(alone[:3])
    # one group has the 1, the other both 0: means of draws of two groups are 1, 1 / 3 and 0, each a quarter but the second a half
    got = estimates.mean_interval(np.array([1.0, 0, 0]), 2000, 0, np.array(["a", "b", "b"]))
    assert (got.value, got.low, got.high) == (pytest.approx(1 / 3), 0, 1)


def test_ratio_interval_is_a_ratio_of_sums():
    # 1 - (1 + 9) / (2 + 90) = 0.8913; the mean of ratios would be 1 - (0.5 + 0.1) / 2 = 0.7
    e = estimates.ratio_interval(np.array([1.0, 9.0]), np.array([2.0, 90.0]), 500, 0)
    assert e.value == pytest.approx(1 - 10 / 92) and e.n == 2
    # a resample is (first, first), (second, second) or one of each: 0.5, 0.9, 0.8913
    assert e.low == pytest.approx(0.5) and e.high == pytest.approx(0.9)
    part, whole = np.random.default_rng(0).random((2, 12)) + [[0.1], [1.0]]
    e = estimates.ratio_interval(part, whole, 400, 3)
    draws = [1 - part[p].sum() / whole[p].sum() for p in np.random.default_rng(3).integers(0, 12, (400, 12))]
    np.testing.assert_allclose([e.low, e.high], np.quantile(draws, [0.025, 0.975]))


def test_benjamini_hochberg_by_hand():
    # sorted p .01 .02 .03 .5 times 4 / rank: .04 .04 .04 .5, each the least of itself and those after it
    q = multiplicity.benjamini_hochberg(np.array([0.5, 0.01, 0.03, 0.02]))
    np.testing.assert_allclose(q, [0.5, 0.04, 0.04, 0.04])
    # .01 .04 .045 .5 -> .04 .08 .06 .5 -> the second takes the third's .06
    np.testing.assert_allclose(
        multiplicity.benjamini_hochberg(np.array([0.01, 0.04, 0.045, 0.5])), [0.04, 0.06, 0.06, 0.5]
    )
    assert len(multiplicity.benjamini_hochberg(np.array([]))) == 0


def test_a_bar_that_no_share_of_so_few_can_keep_to_is_said():
    # Wilson, z = 1.96: of n in n the lower end is n / (n + z²), of 0 in n the upper end is z² / (n + z²)
    assert estimates.too_few(estimates.share(12, 16), 0.8, "motifs") == "" and 16 / (16 + 1.96**2) > 0.8
    assert estimates.too_few(estimates.share(12, 15), 0.8, "motifs") == "of 15 motifs not even all show at least 0.8"
    assert estimates.too_few(estimates.share(3, 15), 0.8, "motifs") == ""  # its upper end is .45: it has failed
    assert estimates.too_few(estimates.share(2, 73), 0.05, "pairs", at_most=True) == ""
    assert estimates.too_few(estimates.share(2, 72), 0.05, "pairs", at_most=True) == "of 72 pairs not even none shows at most 0.05"
    assert estimates.too_few(estimates.share(20, 72), 0.05, "pairs", at_most=True) == ""
    assert estimates.too_few(estimates.share(0, 0), 0.8, "motifs") == "no motifs"


def test_a_fall_has_the_errors_of_both_samples_each_in_its_direction():
    """By hand: errors 0.03 and 0.04 make 0.05 upwards, 0.05 and 0.12 make 0.13 downwards."""
    e = estimates.fall(estimates.Estimate(0.8, 0.75, 0.83, 100), estimates.Estimate(0.7, 0.66, 0.82, 40))
    np.testing.assert_allclose(e, (0.1, 0.1 - 0.13, 0.1 + 0.05, 40), rtol=1e-12)
    assert np.isnan(estimates.fall(estimates.NOTHING, e).high)


def test_a_fall_between_two_samples_is_covered_as_often_as_said():
    """Means of 40 and of 60 draws, 0.3 apart: their difference lies inside the interval in 95 %."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        a, b = (estimates.mean_interval(rng.normal(mean, 1, n), 400, 0) for mean, n in ((0.3, 40), (0.0, 60)))
        low, high = estimates.fall(a, b)[1:3]
        inside += low < 0.3 < high
    assert 0.91 * 300 < inside < 0.98 * 300
