"""PP3 and BP4: published constants, the windows against growing them by hand, two normals whose likelihood ratio is known."""

import dataclasses

import numpy as np
import pytest

from lib.edits import acmg, posterior

ALPHA = 0.0441


def two_normals(n: int, n_population: int, seed: int, distance: float = 2.0):
    """n benign scores around 0, n pathogenic around `distance`, and a population with 4.41 % of the latter; sd 1."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], n)
    score = rng.standard_normal(2 * n) + distance * label
    return score, label, rng.standard_normal(n_population) + distance * (rng.random(n_population) < ALPHA)


def literal_posterior(x, y, g, thresholds, weight, min_labelled, share, increment):
    """The paper's loop: every window grown from nothing by one increment at a time."""
    top, bottom, posterior, half = thresholds.max(), thresholds.min(), [], []
    for t in thresholds:
        h = 0.0
        while True:
            low, high = t - h, t + h
            c = (top - low) / (high - low) if high > top else (high - bottom) / (high - low) if low < bottom else 1.0
            inside = (x >= low) & (x <= high)
            if inside.sum() >= c * min_labelled and ((g >= low) & (g <= high)).sum() >= share * c * len(g):
                break
            h += increment
        p, n = (y[inside] == 1).sum(), (y[inside] == 0).sum()
        posterior.append(p / (p + weight * n))
        half.append(h)
    return np.array(posterior), np.array(half)


def last_before_falling(posterior, thresholds, level):
    below = np.flatnonzero(posterior < level)
    return thresholds[below[0] - 1] if len(below) and below[0] > 0 else np.nan


def grid_data(seed: int, distance: float = 3.0, n: int = 90, n_population: int = 70):
    """Scores on a grid of 1/16, with ties, so that a literal loop's steps of 1/16 are exact."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    x = np.round((rng.standard_normal(n) + distance * y) * 16) / 16
    return x, y, np.round((rng.standard_normal(n_population) * 1.5 + 0.5) * 16) / 16


def test_constants_are_the_published_ones_to_the_printed_digits():
    table = acmg.levels(0.0441)
    assert table["points"].tolist() == [1, 2, 3, 4, 8] and acmg.odds_constant(0.0441) == 1124
    for column, printed, digits in (
        ("likelihood_ratio", [2.406, 5.790, 13.93, 33.53, 1124], [3, 3, 2, 2, 0]),
        ("pathogenic", [0.0999, 0.2108, 0.3913, 0.6073, 0.9811], [4] * 5),
        ("benign", [0.98119, 0.99210, 0.99670, 0.99863, 0.99996], [5] * 5),
    ):
        assert [round(v, d) for v, d in zip(table[column], digits)] == printed
    share = table["likelihood_ratio"] / (1 + table["likelihood_ratio"])  # pathogenic, in a window of a balanced set
    assert share.round(3).tolist() == [0.706, 0.853, 0.933, 0.971, 0.999]
    ratios = acmg.levels(0.10)["likelihood_ratio"].to_numpy()[[0, 1, 3, 4]]
    assert [round(v, d) for v, d in zip(ratios, [2, 2, 1, 0])] == [2.08, 4.33, 18.7, 350]


@pytest.mark.parametrize("alpha", [0.01, 0.0440999, 0.0999999, 0.2, 0.5])
def test_six_points_make_a_posterior_of_nine_tenths_at_any_prior(alpha):
    odds = acmg.odds_constant(alpha) ** (6 / 8) * alpha / (1 - alpha)
    assert odds / (1 + odds) == pytest.approx(0.9, rel=1e-12)
    if alpha in (0.0440999, 0.0999999):  # beside the published ones
        assert acmg.odds_constant(alpha) == pytest.approx(acmg.odds_constant(round(alpha, 4)), rel=0.01)


@pytest.mark.parametrize("alpha", [0, 0.9, 1, -1, np.nan])
def test_priors_without_a_constant_are_refused(alpha):
    with pytest.raises(ValueError, match="wanted a probability above 0 and below 0.9"):
        acmg.odds_constant(alpha)


@pytest.mark.parametrize(
    "pathogenic, benign, want",
    [
        (["Very strong", "Moderate"], [], (10, "pathogenic")),  # PVS1 with one moderate
        (["Strong", "Strong"], [], (8, "likely pathogenic")),
        (["Strong", "Supporting", "Supporting"], [], (6, "likely pathogenic")),
        (["Strong", "Supporting"], [], (5, "uncertain significance")),
        (["Moderate"], ["Moderate"], (0, "uncertain significance")),
        ([], ["Supporting"], (-1, "likely benign")),
        ([], ["Strong", "Moderate"], (-6, "likely benign")),
        ([], ["Strong", "+3"], (-7, "benign")),
    ],
)
def test_points_combine_as_in_the_table_of_2020(pathogenic, benign, want):
    got = acmg.points(pathogenic, benign)
    assert (got.points, got.category) == want
    bounds = {  # posteriors at prior .10 of each category
        "pathogenic": (0.99, 1), "likely pathogenic": (0.8995, 0.99), "uncertain significance": (0.09, 0.8995),
        "likely benign": (0.001, 0.09), "benign": (0, 0.001),
    }[got.category]  # fmt: skip
    assert bounds[0] <= got.posterior < bounds[1] and got.odds == pytest.approx(350 ** (want[0] / 8))


def test_points_refuse_words_they_do_not_know():
    with pytest.raises(ValueError, match=r"benign \['Stand-alone'\]: wanted a list of Supporting, "):
        acmg.points([], ["Stand-alone"])
    with pytest.raises(ValueError, match="pathogenic Strong: wanted a list"):
        acmg.points("Strong")


def test_a_window_by_hand():
    """Labelled 0 0 1 2 3 and population 0 1 2 3, increment 1, three labelled and half of the population wanted.

    Around 1: [1, 1] holds one; [0, 2] holds 0 0 1 2 of the labelled and three of the population: enough.
    Around 3, the top: [2, 4] is half in range, so 1.5 labelled and one of the population are enough: it holds 2 3, and 2 3.
    Around 0: [0, 0] holds two of three; [-1, 1] is half in range and holds 0 0 1.
    """
    got = posterior.local_posterior(
        np.array([0, 0, 1, 2, 3]), np.array([0, 1, 0, 1, 1]), np.arange(4), np.array([0, 1, 3]), ALPHA, 1.0, 3, 0.5
    )
    assert got["half_width"].tolist() == [1, 1, 1]
    assert got[["n_pathogenic", "n_benign", "n_population"]].to_numpy().tolist() == [[1, 2, 2], [2, 2, 3], [2, 0, 2]]
    w = (1 - ALPHA) * 3 / (ALPHA * 2)
    np.testing.assert_allclose(got["posterior"], [1 / (1 + 2 * w), 2 / (2 + 2 * w), 1])


@pytest.mark.parametrize("min_labelled, share", [(20, 0.03), (1, 0.3), (60, 0.0), (90, 0.03), (31, 0.15)])
def test_windows_are_those_of_growing_them_step_by_step(min_labelled, share):
    for seed in range(6):
        x, y, g = grid_data(seed)
        if seed == 5:
            g = g[g > 1]  # the population at one end: windows that reach past both ends of the range
        thresholds = posterior.candidate_thresholds(x, g)
        weight = (1 - ALPHA) * (y == 1).sum() / (ALPHA * (y == 0).sum())
        want, half = literal_posterior(x, y, g, thresholds, weight, min_labelled, share, 1 / 16)
        got = posterior.local_posterior(x, y, g, None, ALPHA, 1 / 16, min_labelled, share)
        np.testing.assert_array_equal(got["score"], thresholds)
        np.testing.assert_array_equal(got["half_width"], half)
        np.testing.assert_allclose(got["posterior"], want, rtol=1e-12)
        assert half.max() > 1 and len(np.unique(half)) >= 5


def test_scores_on_a_windows_edge_belong_to_it_whatever_the_rounding():
    """.7 + .1 is below .8 in binary: windows of decimal scores have to be those of the same scores as whole numbers."""
    rng = np.random.default_rng(0)
    x, y, g = rng.integers(0, 1001, 300), rng.integers(0, 2, 300), rng.integers(0, 1001, 200)
    x[:2], g[:2] = [0, 1000], [0, 1000]
    whole = posterior.local_posterior(x, y, g, None, ALPHA, 1.0, 30)
    parts = posterior.local_posterior(x / 1000, y, g / 1000, None, ALPHA, 0.001, 30)
    np.testing.assert_allclose(parts["half_width"] * 1000, whole["half_width"], rtol=1e-9)
    np.testing.assert_array_equal(parts["posterior"], whole["posterior"])
    assert 0.7 + 0.1 < 0.8


def test_calibrate_is_the_papers_loop_over_the_same_resamples():
    n_boot, seed = 70, 3
    x, y, g = grid_data(1, distance=2.0)
    got = acmg.calibrate(x, y, g, ALPHA, 1 / 16, min_labelled=20, min_expected=0, n_boot=n_boot, seed=seed)
    thresholds = posterior.candidate_thresholds(x, g)[::-1]
    weight = (1 - ALPHA) * (y == 1).sum() / (ALPHA * (y == 0).sum())
    rng = np.random.default_rng(seed)
    curves = [literal_posterior(x, y, g, thresholds, weight, 20, 0.03, 1 / 16)[0]]
    for _ in range(n_boot):
        a, b = rng.integers(0, len(x), len(x)), rng.integers(0, len(g), len(g))
        curves.append(literal_posterior(x[a], y[a], g[b], thresholds, weight, 20, 0.03, 1 / 16)[0])
    n_met = 0
    for row in got.table.itertuples():
        up = row.direction == "benign"
        at = np.array([last_before_falling(*((1 - c)[::-1], thresholds[::-1]) if up else (c, thresholds), row.level) for c in curves])
        valid = np.sort(at[1:][~np.isnan(at[1:])])
        invalid = n_boot - len(valid)
        np.testing.assert_array_equal(row.threshold, at[0])
        assert row.invalid == invalid / n_boot
        if invalid > 0.05 * n_boot:
            assert row.status == "not met" and np.isnan(row.threshold_conservative)
        else:  # place floor(3.5) - invalid + 1, counted from 1
            assert row.status == "met" and row.threshold_conservative == (valid if up else valid[::-1])[3 - invalid]
            n_met += 1
    assert 3 <= n_met < 10  # both outcomes are there


def test_calibrate_by_genes_is_the_papers_loop_over_whole_genes():
    n_boot, seed = 60, 3
    x, y, g = grid_data(1, distance=2.0)
    gene = np.random.default_rng(9).integers(0, 15, len(x))
    got = acmg.calibrate(x, y, g, ALPHA, 1 / 16, 20, min_expected=0, n_boot=n_boot, seed=seed, groups=np.char.add("g", gene.astype(str)))
    thresholds, names = posterior.candidate_thresholds(x, g)[::-1], list(dict.fromkeys(gene))  # genes in the order of their first variant
    rng, curves = np.random.default_rng(seed), []
    for _ in range(n_boot):
        a = [i for k in rng.integers(0, len(names), len(names)) for i in range(len(x)) if gene[i] == names[k]]
        b = rng.integers(0, len(g), len(g))
        weight = (1 - ALPHA) * (y[a] == 1).sum() / (ALPHA * (y[a] == 0).sum())  # each draw's own
        curves.append(literal_posterior(x[a], y[a], g[b], thresholds, weight, 20, 0.03, 1 / 16)[0])
    met = 0
    for row in got.table.itertuples():
        up = row.direction == "benign"
        at = np.array([last_before_falling(*((1 - c)[::-1], thresholds[::-1]) if up else (c, thresholds), row.level) for c in curves])
        valid = np.sort(at[~np.isnan(at)])
        invalid = n_boot - len(valid)
        assert row.invalid == invalid / n_boot
        assert (row.status == "not met") == (invalid > 3)
        if invalid <= 3:
            assert row.threshold_conservative == (valid if up else valid[::-1])[3 - invalid]
            met += 1
    assert 3 <= met < 10


def test_draws_of_genes_that_lack_a_label_have_no_threshold():
    """All pathogenic variants in one of 20 genes: 36 % of draws lack it, and no strength is met."""
    score, label, population = two_normals(200, 300, 0)
    gene = np.where(label == 1, 0, 1 + np.arange(len(label)) % 19)
    got = acmg.calibrate(score, label, population, n_boot=100, groups=gene).table
    assert (got["status"] == "not met").all() and got["invalid"].between(0.2, 0.6).sum() >= 5


def test_the_seed_moves_the_bootstrap_alone():
    data = two_normals(150, 300, 0)
    one, same, other = (acmg.calibrate(*data, n_boot=50, seed=seed).table for seed in (4, 4, 5))
    assert same.equals(one)
    assert not other["threshold_conservative"].equals(one["threshold_conservative"])
    assert other["threshold"].equals(one["threshold"])


def test_two_normals_give_the_thresholds_of_their_likelihood_ratio():
    """log LR of a score s is 2 s - 2, so an LR of L is reached at (log L + 2) / 2, and BP4 at (2 - log L) / 2; sd 1.

    Weak strengths only: the population's 3 % widen the windows of the tails, where strong ones are.
    """
    ratio = np.log(acmg.levels()["likelihood_ratio"].to_numpy()[:2])
    thresholds = {"pathogenic": [], "benign": []}
    for seed in range(8):
        table = acmg.calibrate(*two_normals(1000, 5000, seed), increment=0.01, n_boot=1).table
        for direction, rows in thresholds.items():
            rows.append(table[table["direction"] == direction]["threshold"].to_numpy()[:2])
    np.testing.assert_allclose(np.mean(thresholds["pathogenic"], axis=0), (2 + ratio) / 2, atol=0.15)
    np.testing.assert_allclose(np.mean(thresholds["benign"], axis=0), (2 - ratio) / 2, atol=0.15)


def test_conservative_thresholds_are_on_the_safe_side_and_points_are_not():
    at = (2 + np.log(acmg.levels()["likelihood_ratio"][0])) / 2
    point, safe = [], []
    for seed in range(20):
        row = acmg.calibrate(*two_normals(300, 600, seed), n_boot=100, seed=seed).table.iloc[0]
        point.append(row["threshold"] >= at)
        safe.append(row["status"] == "not met" or row["threshold_conservative"] >= at)
    assert np.mean(safe) >= 0.95 and np.mean(point) < 0.9


def test_points_of_scores_follow_the_conservative_thresholds():
    score, label, population = two_normals(600, 1000, 0)
    got = acmg.calibrate(score, label, population, n_boot=200)
    met = got.table[got.table["status"] == "met"].set_index(["code", "points"])["threshold_conservative"]
    assert {("PP3", 1), ("PP3", 2), ("BP4", 1)} <= set(met.index)
    one, two, low = met["PP3", 1], met["PP3", 2], met["BP4", 1]
    assert low < one < two
    at = np.array([one, np.nextafter(one, -9), two, np.nextafter(two, -9), low, np.nextafter(low, 9)])
    assert acmg.assign(got, at).tolist() == [1, 0, 2, 1, -1, 0]
    overlapping = dataclasses.replace(got, table=got.table.assign(threshold_conservative=0.0))  # every score is beyond one
    assert acmg.assign(overlapping, np.array([-1.0, 0, 1])).tolist() == [-met["BP4"].index.max(), 0, met["PP3"].index.max()]
    earned = acmg.assign(got, score)
    assert earned.max() == met["PP3"].index.max() and earned.min() == -met["BP4"].index.max()
    assert (label[earned >= 2] == 1).mean() > 0.853 > (label[earned >= 1] == 1).mean() - 0.147  # moderate: 85.3 % of a balanced set
    # the table's window is the one at the point threshold
    row = got.table.iloc[0]
    near = posterior.local_posterior(score, label, population, np.array([row["threshold"]]), increment=got.increment).iloc[0]
    assert row["n_window"] == near["n_pathogenic"] + near["n_benign"] >= 100 and row["half_width"] == near["half_width"]
    assert near["posterior"] >= row["level"]


@pytest.mark.parametrize("distance", [0.0, -2.0])
def test_a_useless_or_a_turned_score_earns_nothing(distance):
    got = acmg.calibrate(*two_normals(300, 600, 0, distance), n_boot=200)
    assert (got.table["status"] == "not met").all() and got.table["threshold_conservative"].isna().all()
    assert (acmg.assign(got, np.linspace(-5, 5, 20)) == 0).all()
    assert (acmg.calibrate(*two_normals(300, 600, 0), n_boot=200).table["status"] == "met").any()  # as a good one does


def test_too_few_labelled_variants_are_not_calibrated():
    got = acmg.calibrate(*two_normals(49, 200, 0), n_boot=20)
    assert got.status == "not calibrated: 49 pathogenic and 49 benign variants, wanted 100 together and some of each"
    assert (got.table["status"] == "not calibrated").all() and len(got.table) == 10
    assert got.table[["threshold", "threshold_conservative", "invalid"]].isna().all(axis=None)
    assert (acmg.assign(got, np.array([-9.0, 9.0])) == 0).all()
    score, label, population = two_normals(200, 200, 0)
    assert acmg.calibrate(score[:200], label[:200], population, n_boot=20).status.startswith("not calibrated: 0 pathogenic and 200")
    assert acmg.calibrate(*two_normals(50, 200, 0), n_boot=20).status == "calibrated"
    with pytest.raises(ValueError, match="0 pathogenic and 200 benign"):
        posterior.local_posterior(score[:200], label[:200], population)


def test_windows_that_may_lack_a_label_by_chance_are_not_calibrated():
    """Random scores, 10 benign of 1,000: without the rule, windows without any benign variant look certain."""

    def outcome(seed, **rule):
        rng = np.random.default_rng(seed)
        label = (np.arange(1000) >= 10).astype(int)
        return acmg.calibrate(rng.random(1000), label, rng.random(500), n_boot=50, seed=seed, **rule)

    fooled = [(outcome(seed, min_expected=0).table["status"] == "met").any() for seed in range(12)]
    assert np.mean(fooled) > 0.25
    assert outcome(0).status.endswith("so that a window of 100 expects 1.0 of the rarer, wanted 15")
    wide = outcome(0, min_labelled=1000, min_expected=10)  # windows large enough are calibrated, and earn nothing
    assert wide.status == "calibrated" and (wide.table["status"] == "not met").all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"score": [np.nan] * 4}, "score: shape .4,., 4 not finite"),
        ({"population": [0.1, np.inf]}, "population: shape .2,., 1 not finite"),
        ({"population": []}, "population is empty"),
        ({"pathogenic": [0, 1]}, "pathogenic has shape .2,., expected .4,."),
        ({"pathogenic": [0, 1, 2, 1]}, r"pathogenic holds \[2\], wanted 0 or 1"),
        ({"increment": 0}, "increment 0: wanted a positive number"),
        ({"min_labelled": 0}, "min_labelled 0, min_population 0.03"),
        ({"n_boot": 0}, "n_boot 0: wanted at least 1"),
        ({"groups": ["a", "b"]}, "groups have shape .2,., 0 missing; expected .4,., none missing"),
        ({"groups": ["a", None, "b", "b"]}, "groups have shape .4,., 1 missing"),
        ({"alpha": 0.95}, "prior 0.95"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"score": [0.1, 0.2, 0.3, 0.4], "pathogenic": [0, 1, 0, 1], "population": [0.2, 0.3], "n_boot": 2}
    with pytest.raises(ValueError, match=message):
        acmg.calibrate(**{k: np.asarray(v) if isinstance(v, list) else v for k, v in (good | change).items()})


def test_scores_outside_the_thresholds_have_no_posterior():
    data = two_normals(100, 200, 0)
    with pytest.raises(ValueError, match="scores from 99.0 to 99.0: the thresholds go from"):
        posterior.local_posterior(*data, at=np.array([99.0]))
    assert len(posterior.local_posterior(*data, at=np.array([]))) == 0
