import numpy as np
import pytest
from scipy.special import expit, logit

from lib.outcome import calibration


def calibrated(n, seed, sd=1.0):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, sd, n)
    return rng.binomial(1, expit(log_odds)), log_odds


def test_calibrated_scores():
    y, log_odds = calibrated(50_000, 0)
    summary = calibration.summary(y, log_odds)
    assert abs(summary["slope"] - 1) < 0.03 and abs(summary["intercept"]) < 0.03
    p = expit(log_odds)  # a calibrated score's expected Brier and log loss, from the predictions alone
    np.testing.assert_allclose(summary["brier"], np.mean(p * (1 - p)), rtol=0.02)
    np.testing.assert_allclose(
        summary["log_loss"], -np.mean(p * np.log(p) + (1 - p) * np.log(1 - p)), rtol=0.02
    )


def test_halved_scores_have_slope_two_and_shifted_ones_an_intercept():
    y, log_odds = calibrated(50_000, 1)
    summary = calibration.summary(y, log_odds / 2)
    assert abs(summary["slope"] - 2) < 0.06 and abs(summary["intercept"]) < 0.03
    slope, intercept = calibration.platt(log_odds - 1, y)
    assert abs(slope - 1) < 0.03 and abs(intercept - 1) < 0.05
    again = calibration.summary(y, slope * (log_odds - 1) + intercept)
    np.testing.assert_allclose([again["slope"], again["intercept"]], [1, 0], atol=1e-6)


def test_debiased_error_of_calibrated_people_is_near_zero_and_the_naive_is_not():
    # by bin, mean y - mean p has variance p(1 - p)/27 here, so the naive error is near sqrt(0.2/27) = 0.09
    people = [calibrated(405, seed) for seed in range(60)]
    squared = [
        np.mean([calibration.calibration_error(y, s, debiased=d) ** 2 for y, s in people])
        for d in (True, False)
    ]
    assert np.sqrt(squared[1]) > 0.08
    assert np.sqrt(squared[0]) < np.sqrt(squared[1]) / 2
    assert np.median([calibration.calibration_error(y, s) for y, s in people]) < 0.03


def test_true_miscalibration_is_found_by_both():
    rng = np.random.default_rng(0)
    y = rng.binomial(1, 0.6, 50_000)  # told 0.5 give or take nothing much, so the error is 0.1
    log_odds = rng.normal(0, 1e-3, 50_000)
    for debiased in (True, False):
        assert abs(calibration.calibration_error(y, log_odds, debiased=debiased) - 0.1) < 0.01


def test_calibration_error_by_hand():
    # bins {1, 0, 0} told 0.2 and {1, 1, 0} told 0.7: observed 1/3 and 2/3, each with variance 2/9 / (3 - 1) = 1/9
    y = np.array([1, 0, 0, 1, 1, 0])
    log_odds = logit([0.2, 0.2, 0.2, 0.7, 0.7, 0.7])
    squared = ((1 / 3 - 0.2) ** 2 + (0.7 - 2 / 3) ** 2) / 2
    np.testing.assert_allclose(
        calibration.calibration_error(y, log_odds, 2, debiased=False), np.sqrt(squared)
    )
    assert calibration.calibration_error(y, log_odds, 2) == 0  # below the sampling variance
    wrong = logit([0.9, 0.9, 0.9, 0.1, 0.1, 0.1])
    squared = ((1 / 3 - 0.9) ** 2 + (0.1 - 2 / 3) ** 2) / 2 - 1 / 9
    np.testing.assert_allclose(calibration.calibration_error(y, wrong, 2), np.sqrt(squared))


def test_ties_share_a_bin_whatever_the_order_of_people():
    y = np.repeat([1, 0], 50)
    log_odds = np.zeros(100)
    assert calibration.calibration_error(y, log_odds, debiased=False) == 0
    assert len(calibration.curve(y, log_odds, 10)) == 1


def test_curve_by_hand():
    y = np.array([0, 0, 0, 1, 1, 0, 1, 1])
    log_odds = logit([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    table = calibration.curve(y[::-1], log_odds[::-1], 2)
    assert table.columns.tolist() == ["predicted", "observed", "low", "high", "n"]
    np.testing.assert_allclose(table[["predicted", "observed", "n"]], [[0.25, 0.25, 4], [0.65, 0.75, 4]])
    z2, p, n = 1.959964**2, 0.25, 4  # Wilson 1927
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    middle = p + z2 / (2 * n)
    expected = [(middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)]
    np.testing.assert_allclose(table.loc[0, ["low", "high"]].astype(float), expected, rtol=1e-5)


def test_bins_of_equal_mass():
    y, log_odds = calibrated(1000, 3)
    n = calibration.curve(y, log_odds, 15).n
    assert len(n) == 15 and n.sum() == 1000 and n.max() - n.min() <= 1
    assert len(calibration.curve(y[:20], log_odds[:20], 15)) == 10  # two people in a bin, at least


@pytest.mark.parametrize(
    "y, log_odds, message",
    [
        ([0, 1, 0], [0.0, 1.0], r"y .3,. and log_odds .2,., wanted .person. and .person."),
        ([0, 1, 0], [0.0, 1.0, np.nan], "1 of 3 log_odds are not finite"),
        ([0, 1, 2], [0.0, 1.0, 2.0], r"y has values \[0.0, 1.0, 2.0\], wanted both 0 and 1"),
        ([1, 1, 1], [0.0, 1.0, 2.0], r"y has values \[1.0\]"),
        ([0, 1, 0], [1.0, 1.0, 1.0], "constant or separates"),
        ([0, 1, 1], [0.0, 1.0, 2.0], "constant or separates"),
        ([1, 0, 0], [0.0, 1.0, 2.0], "constant or separates"),
    ],
)
def test_bad_input_is_refused(y, log_odds, message):
    with pytest.raises(ValueError, match=message):
        calibration.summary(np.array(y), np.array(log_odds))


def test_the_line_of_a_number_on_its_prediction():
    rng = np.random.default_rng(0)
    predicted = rng.normal(3, 2, 20_000)
    y = predicted + rng.normal(0, 0.5, 20_000)
    line = calibration.line(y, predicted)
    np.testing.assert_allclose([line["slope"], line["intercept"], line["rmse"]], [1, 0, 0.5], atol=0.02)
    extreme = calibration.line(y, 3 + 2 * (predicted - 3))  # twice too far from the mean
    np.testing.assert_allclose([extreme["slope"], extreme["intercept"]], [0.5, 1.5], atol=0.02)
    curve = calibration.line_curve(y, predicted, 10)
    assert curve.n.tolist() == [2000] * 10 and ((curve.low < curve.prediction) & (curve.prediction < curve.high)).sum() >= 7
    np.testing.assert_allclose(curve["mean"], curve.prediction, atol=0.06)


def test_a_bin_of_one_has_no_interval_and_a_constant_prediction_no_line():
    curve = calibration.line_curve(np.array([1.0, 2.0, 5.0]), np.array([0.0, 1.0, 2.0]), 9)
    assert curve.n.tolist() == [3] and curve["mean"][0] == pytest.approx(8 / 3)
    spread = np.std([1, 2, 5], ddof=1) / 3**0.5
    assert curve.high[0] - curve["mean"][0] == pytest.approx(4.302652729911275 * spread)  # t of 2 degrees of freedom
    with pytest.raises(ValueError, match="constant"):
        calibration.line(np.arange(3.0), np.ones(3))
    with pytest.raises(ValueError, match="missing or infinite"):
        calibration.line(np.array([1.0, np.nan]), np.arange(2.0))
    with pytest.raises(ValueError, match="wanted"):
        calibration.line(np.arange(3.0), np.arange(2.0))
