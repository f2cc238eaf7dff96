"""Diagnostics of a family of statistics: by hand, on a true shift, and on an artefact of dispersion, which has to be refused."""

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu

from lib.edits import diagnostics
from lib.edits.diagnostics import COLUMNS, mirror_fdr, scaling, shift, tail_symmetry, tails


def readings(real: np.ndarray, null: np.ndarray) -> list[str]:
    """What the three diagnostics of one family say."""
    return [table.reading[table.reading != ""].item() for table in (shift(real, null, 200), tail_symmetry(real, null),
                                                                     mirror_fdr(real, null))]  # fmt: skip


YES = ["shifted up", "more in the upper tail", "passing at the level"]
NO = ["not shifted", "as many in both tails", "none at the level"]


def test_a_true_shift_passes_and_a_wider_spread_does_not():
    rng = np.random.default_rng(0)
    null = rng.standard_normal((200, 2000))
    shifted = rng.standard_normal(2000)
    shifted[:400] += 4
    wide = 2.5 * rng.standard_normal(2000)
    assert readings(shifted, null) == YES
    assert readings(wide, null) == NO
    assert readings(null[0], null[1:]) == NO
    # yet a threshold of 5 % lets half of the artefact pass, in this tail or that
    passed = tail_symmetry(wide, null).set_index("name").value
    assert passed["upper tail"] > 400 < passed["lower tail"] and passed["upper tail"] > tail_symmetry(wide, null).high[0]


def test_few_true_latents_among_many_are_seen_by_the_mirror_alone():
    rng = np.random.default_rng(1)
    null, real = rng.standard_normal((200, 4000)), rng.standard_normal(4000)
    real[:40] += 6
    assert readings(real, null) == [NO[0], NO[1], YES[2]]
    assert 36 <= mirror_fdr(real, null).value[1] <= 60


def test_latents_that_go_together_do_not_pass_for_a_shift():
    """One factor moves all latents: a draw is up or down as a whole, and 250 latents are no 250 witnesses."""
    rng = np.random.default_rng(2)

    def draws(n: int) -> np.ndarray:
        return rng.standard_normal((n, 1)) * np.sqrt(0.3) + rng.standard_normal((n, 250)) * np.sqrt(0.7)

    null = draws(150)
    said = [readings(real, null) for spread in (1, 2) for real in spread * draws(30)]
    alarms = [np.mean([one[at] == YES[at] for one in said]) for at in range(3)]
    assert max(alarms) <= 0.1, alarms
    # intervals over latents alone would have called more than one in five shifted, and as many shifted down
    assert np.mean([shift(real, null, 200).low[0] > 0.5 for real in draws(40)]) > 0.2


def test_shift_by_hand_and_as_the_mean_of_u_statistics():
    real, null = np.array([2.0, 0.0]), np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [0.0, -1.0]])
    # latent 0: 2 of 4 below and one tie; latent 1: one below and two ties
    got = shift(real, null)
    assert list(got) == COLUMNS and got.value[0] == pytest.approx((2.5 / 4 + 2 / 4) / 2) and got.n[0] == 2
    assert got.value[1] == pytest.approx(0.5) and got.n[1] == 4
    rng = np.random.default_rng(3)
    real, null = rng.integers(0, 5, 30).astype(float), rng.integers(0, 5, (50, 30)).astype(float)
    each = [mannwhitneyu([r], column).statistic / 50 for r, column in zip(real, null.T)]
    assert shift(real, null).value[0] == pytest.approx(np.mean(each))


def test_shift_of_each_null_draw_against_the_others():
    rng = np.random.default_rng(4)
    null = rng.integers(0, 4, (7, 9)).astype(float)
    others = [shift(null[j], np.delete(null, j, axis=0), 2).value[0] for j in range(7)]
    got = shift(null[0], null)
    assert got.value[1] == pytest.approx(np.mean(others))
    assert [got.low[1], got.high[1]] == pytest.approx(np.quantile(others, [0.025, 0.975]).tolist())


def test_null_draws_are_as_wide_as_what_they_are_shown_beside():
    """A draw that lies a little high by chance lies far high when it is three times as wide: that is no shift of the wide one."""
    rng = np.random.default_rng(11)
    null = 5 + rng.standard_normal((60, 200)) * rng.uniform(1, 9, 200)
    real = null.mean(0) + 3 * (rng.standard_normal(200) * null.std(0, ddof=1))
    z = [(values - null.mean(0)) / null.std(0, ddof=1) for values in (real, null)]
    ratio = np.divide(*(np.quantile(values, 0.75) - np.quantile(values, 0.25) for values in z))
    wide = null.mean(0) + ratio * (null - null.mean(0))
    others = [(np.delete(null, j, axis=0) < wide[j]).mean() for j in range(60)]
    got = shift(real, null)
    assert 2 < ratio < 4 and [got.low[1], got.high[1]] == pytest.approx(np.quantile(others, [0.025, 0.975]).tolist())
    narrow = shift(null[0], null)
    assert got.high[1] - got.low[1] > 1.2 * (narrow.high[1] - narrow.low[1])


def test_tails_count_latents_as_empirical_p_values_do():
    rng = np.random.default_rng(5)
    null = rng.standard_normal((99, 300))
    real = rng.standard_normal(300) + 1.5
    up = sum((1 + (null[:, i] >= real[i]).sum()) / 100 <= 0.05 for i in range(300))
    down = sum((1 + (null[:, i] <= real[i]).sum()) / 100 <= 0.05 for i in range(300))
    got = tail_symmetry(real, null)
    assert got.value.tolist() == [up, down, pytest.approx(up / (up + down))] and got.n.tolist() == [300, 300, up + down]
    assert got.low[0] <= 15 <= got.high[0] and got.low[1] <= 15 <= got.high[1]
    drawn = [tail_symmetry(null[j], np.delete(null, j, axis=0), 0.05).value[0] for j in range(99)]
    # of 98 others at 5 %, (1 + 3) / 99 passes as (1 + 3) / 99 does of all 99
    assert [got.low[0], got.high[0]] == np.quantile(drawn, [0.025, 0.975]).tolist()
    wilson = binomtest(up, up + down).proportion_ci(method="wilson")
    assert got.low[2] <= wilson.low + 1e-9 and got.high[2] >= wilson.high - 1e-9
    assert got.reading[2] == "more in the upper tail" and tail_symmetry(-real, -null).reading[2] == "more in the lower tail"


def test_no_latent_in_a_tail_says_nothing():
    null = np.arange(40.0).repeat(3).reshape(40, 3)
    got = tail_symmetry(np.full(3, 20.0), null)
    assert got.value[:2].tolist() == [0, 0] and np.isnan(got.value[2]) and got.reading[2] == "as many in both tails"


def test_mirror_threshold_by_hand():
    z = np.array([5, 4, 3.5, 3, 2.5, 2, 1, -0.5, -1, -2, 2, 0])
    # at t = 2: 7 above, 1 below: 2 / 7. at 2.5: 5 above, none below: 1 / 5. at 1: (1 + 2) / 8. at 4: 1 / 2
    assert diagnostics._mirror(z, 0.3) == (2, 7, pytest.approx(2 / 7))
    assert diagnostics._mirror(z, 0.2) == (2.5, 5, 0.2)
    assert diagnostics._mirror(z, 0.1)[1:] == (0, 0.2) and np.isnan(diagnostics._mirror(z, 0.1)[0])
    assert diagnostics._mirror(-np.ones(4), 0.1)[1:] == (0, 1.0)


def test_mirror_keeps_its_rate_whatever_the_spread_and_wherever_the_null_lies():
    rng = np.random.default_rng(6)
    false, called = [], []
    for _ in range(60):
        width, centre = rng.uniform(0.5, 3, 1000), rng.uniform(-5, 5, 1000)
        null = centre + width * rng.standard_normal((100, 1000))
        real = centre + 1.7 * width * rng.standard_normal(1000)  # all wider than their null
        real[:100] += 8 * width[:100]
        z = diagnostics.standardised(real, null)
        got = mirror_fdr(real, null, 0.1)
        passed = z >= got.value[0]
        assert passed.sum() == got.value[1] and got.value[2] <= 0.1
        false.append(passed[100:].sum() / max(passed.sum(), 1))
        called.append(passed[:100].mean())
    assert np.mean(false) <= 0.1 and np.mean(called) > 0.8


def test_each_draw_is_standardised_by_the_others():
    rng = np.random.default_rng(7)
    null = rng.standard_normal((6, 5)) + 100
    want = [diagnostics.standardised(null[j], np.delete(null, j, axis=0)) for j in range(6)]
    np.testing.assert_allclose(diagnostics._each_standardised(null), want, rtol=1e-8)
    one = np.zeros((5, 1))
    one[2] = 1.0  # the others of the third are alike
    assert diagnostics._each_standardised(one)[2] == np.inf


def test_an_artefact_grows_as_size_does_and_a_set_of_mechanisms_does_not():
    rng = np.random.default_rng(8)
    wide, few = {}, {}
    for width in (250, 1000, 4000):
        null = rng.standard_normal((100, width))
        wide[width] = (2 * rng.standard_normal(width), null)
        few[width] = (np.where(np.arange(width) < 150, 5.0, -1.0), null)
    got = scaling(wide).set_index("name")
    assert got.reading["slope"] == "as size alone" and got.low["slope"] < 1 < got.high["slope"]
    assert got.value["slope of subsets"] == pytest.approx(1, abs=0.1)
    assert got.value["passing at 250"] == tail_symmetry(*wide[250]).value[0] and got.n["passing at 4000"] == 4000
    got = scaling(few).set_index("name")
    assert got.reading["slope"] == "flatter than size alone" and got.value["slope"] == pytest.approx(0, abs=0.01)
    steep = {250: (np.full(250, -1.0), wide[250][1]), 1000: wide[1000]}
    assert scaling(steep).set_index("name").reading["slope"] == "steeper than size alone"


def test_the_slope_is_that_of_a_line():
    sizes = np.array([100, 400, 1600])
    assert diagnostics._slope(np.array([[9.5, 39.5, 159.5], [7, 7, 7]]), sizes) == pytest.approx([1, 0])
    assert diagnostics._slope(np.array([[3, 8, 11]]), sizes)[0] == pytest.approx(np.polyfit(np.log(sizes), np.log([3.5, 8.5, 11.5]), 1)[0])


def test_the_same_seed_gives_the_same_table():
    rng = np.random.default_rng(9)
    families = {width: (rng.standard_normal(width), rng.standard_normal((30, width))) for width in (50, 100)}
    assert scaling(families, seed=1).equals(scaling(families, seed=1)) and not scaling(families, seed=1).equals(scaling(families, seed=2))
    assert shift(*families[50], seed=1).equals(shift(*families[50], seed=1))


@pytest.mark.parametrize("call, message", [
    (lambda r, n: shift(r, n[:, :2]), r"null \(30, 2\), wanted \[latent\] and \[null, latent\]"),
    (lambda r, n: shift(r, n[:2]), "null holds 2 draws, wanted 3"),
    (lambda r, n: mirror_fdr(np.array([1, np.inf, 0]), n), "latent 1 has a statistic or a null draw that is not finite"),
    (lambda r, n: mirror_fdr(r, n * [1, 0, 1]), "null draws of latent 1 are all alike"),
    (lambda r, n: tail_symmetry(r, n, 0.01), "30 null draws cannot give p <= 0.01: wanted 100"),
    (lambda r, n: scaling({3: (r, n)}), "families of 1 width"),
    (lambda r, n: scaling({3: (r, n), 4: (r, n)}), "all widths have 3 latents"),
    (lambda r, n: scaling({3: (r, n), 4: (r[:2], n[:, :2])}), "width 4 has 2 latents, fewer than another of 3"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    rng = np.random.default_rng(10)
    with pytest.raises(ValueError, match=message):
        call(rng.standard_normal(3), rng.standard_normal((30, 3)))


def test_tails_count_both_sides_at_each_threshold():
    null = np.array([[-1.0, -1, -1, -1], [0, 0, 0, 0], [1, 1, 1, 1]])  # mean 0, standard deviation 1
    got = tails(np.array([2.0, 1.0, -1.0, 0.5]), null, n=5)
    assert got.t.tolist() == [0, 0.5, 1, 1.5, 2] and (got.n == 4).all()
    assert got.upper.tolist() == [3, 3, 2, 1, 1] and got.lower.tolist() == [1, 1, 1, 0, 0]
    rng = np.random.default_rng(0)
    wide = tails(3 * rng.normal(size=400), rng.normal(size=(200, 400)))
    at = (wide.t - 3).abs().idxmin()  # a wider spread passes on both sides alike, beyond what draws give
    assert wide.upper[at] > 3 * wide.null_high[at] and abs(wide.upper[at] - wide.lower[at]) < 0.3 * wide.upper[at]
