"""Matched controls and their test: sets by hand, exact p values, and labels that mean nothing though a locus is one witness."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from lib.edits.matched import COLUMNS, exceeds, matched


def variants(rng: np.random.Generator, n: int, shift: float = 0.0) -> pd.DataFrame:
    """Variants of two contigs with three columns, those of cases higher."""
    return pd.DataFrame({
        "contig": rng.choice(["one", "two"], n), "pos": rng.integers(0, 200_000, n), "frequency": rng.beta(2, 5, n),
        "distance": rng.normal(shift, 1, n), "proxies": rng.poisson(3 + 2 * shift, n),
    })  # fmt: skip


def bins(table: pd.DataFrame, cases: pd.DataFrame, n_bins: int) -> np.ndarray:
    """The bins of a table, by pandas."""
    out = []
    for name in ("frequency", "distance", "proxies"):
        inner = np.unique(np.quantile(cases[name], np.linspace(0, 1, n_bins + 1)[1:-1]))
        out.append(pd.cut(table[name], [-np.inf, *inner, np.inf], right=False, labels=False))
    return np.stack(out, 1)


NAMES = ["frequency", "distance", "proxies"]


def test_controls_are_of_the_case_s_bin_far_from_all_cases_and_used_once():
    rng = np.random.default_rng(0)
    cases, pool = variants(rng, 60, 0.5), variants(rng, 8000)
    got = matched(cases, pool, NAMES, 5, n_bins=3, apart=300, reach=0)
    assert got.case.tolist() == list(range(60)) and not got.left_out.size and got.control.shape == (60, 5)
    assert len(set(got.control.ravel())) == 300 and (got.steps == 0).all()
    own, others = bins(cases, cases, 3), bins(pool, cases, 3)
    assert (others[got.control] == own[:, None]).all()
    away = [np.where(pool.contig == case.contig, np.abs(pool.pos - case.pos), np.inf) for case in cases.itertuples()]
    near = np.min(away, axis=0) <= 300
    assert got.near == near.sum() > 0 and not near[got.control].any()
    # matching takes most of the difference away that the pool had
    assert (got.balance.difference.abs() < 0.25).all() and got.balance.difference_pool[1] > 0.4
    spread = np.sqrt((cases.distance.var(ddof=0) + pool.distance.var(ddof=0)) / 2)
    assert got.balance.difference_pool[1] == pytest.approx((cases.distance.mean() - pool.distance.mean()) / spread)
    assert got.balance.difference[1] == pytest.approx((cases.distance.mean() - pool.distance[got.control.ravel()].mean()) / spread)
    again, other = matched(cases, pool, NAMES, 5, 3, 300, 0), matched(cases, pool, NAMES, 5, 3, 300, 0, seed=1)
    assert (again.control == got.control).all() and (other.control != got.control).any()


def one_column(cases: list[float], pool: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Far from each other, with one column."""
    return (pd.DataFrame({"contig": "one", "pos": np.arange(len(cases)), "x": cases}),
            pd.DataFrame({"contig": "two", "pos": np.arange(len(pool)), "x": pool}))  # fmt: skip


def test_the_nearest_bin_helps_out_and_is_counted():
    # edges at the cases' quartiles: bins 0 to 3, a case in each
    cases, pool = one_column([0, 1, 2, 3], [0, 0, 0, 1, 1, 3, 3, 3, 3])
    got = matched(cases, pool, ["x"], 2, n_bins=4, reach=1)
    # the case at 2 has no bin of its own: one of the neighbours that are left, 0 being two steps off
    assert got.case.tolist() == [0, 1, 2, 3] and got.steps.tolist() == [[0, 0], [0, 0], [1, 1], [0, 0]]
    assert set(pool.x[got.control[2]]) == {3}
    assert got.summary() == {"cases": 4, "matched": 4, "left_out": 0, "controls": 8, "controls_of_other_bins": 2, "pool_near_a_case": 0}
    alone = matched(cases, pool, ["x"], 2, n_bins=4, reach=0)
    assert alone.left_out.tolist() == [2] and alone.case.tolist() == [0, 1, 3]


def test_where_not_all_can_be_matched_as_many_are_as_can_be():
    cases, pool = one_column([1.0] * 10, [1.0] * 31)
    picks = [matched(cases, pool, ["x"], 9, reach=3, seed=seed) for seed in range(20)]
    assert all(len(got.case) == 3 and len(got.left_out) == 7 and len(set(got.control.ravel())) == 27 for got in picks)
    assert len({tuple(got.case) for got in picks}) > 10  # by lot
    nobody = matched(cases, pool, ["x"], 32)
    assert not nobody.case.size and nobody.control.shape == (0, 32) and nobody.balance.difference.isna().all()
    assert matched(cases, pool[:0], ["x"], 1).left_out.tolist() == list(range(10))


def test_every_control_of_a_bin_is_as_likely():
    cases, pool = one_column([0.0, 0.0], [0.0] * 8)
    times = np.bincount(np.concatenate([matched(cases, pool, ["x"], 1, seed=s).control.ravel() for s in range(200)]), minlength=8)
    assert binom.cdf(times.min(), 200, 0.25) > 1e-4 and binom.sf(times.max(), 200, 0.25) > 1e-4


def test_only_places_within_the_distance_are_near():
    cases = pd.DataFrame({"contig": ["one", "one"], "pos": [100, 500], "x": 0.0})
    pool = pd.DataFrame({"contig": ["one"] * 6 + ["two"], "pos": [89, 90, 110, 111, 300, 510, 100], "x": 0.0})
    got = matched(cases, pool, ["x"], 1, apart=10, reach=0)
    assert got.near == 3 and set(got.control.ravel()) <= {0, 3, 4, 6}
    assert matched(cases, pool, ["x"], 1).near == 0 and matched(cases.assign(pos=[300, 510]), pool, ["x"], 1).near == 2


def test_p_is_the_share_of_all_choices_of_a_member_ties_included():
    # each set its own cluster: 4 x 4 x 4 choices
    case, control = np.array([3.0, 1.0, 2.0]), np.array([[0.0, 0, 3], [0, 1, 5], [2, 2, -1]])
    got = exceeds(case, control, np.arange(3), 200_000).set_index("name")
    members = np.column_stack([case, control])

    def scores(one: np.ndarray, at: int) -> tuple[float, float]:
        rest = np.delete(one, at)
        return (rest < one[at]).mean() + (rest == one[at]).mean() / 2, one[at] - rest.mean()

    every = np.array([np.sum([scores(one, at) for one, at in zip(members, choice)], 0) for choice in itertools.product(range(4), repeat=3)])
    real = np.sum([scores(one, 0) for one in members], 0)
    assert got.value.tolist() == pytest.approx((real / 3).tolist())
    assert got.p.tolist() == pytest.approx((every >= real - 1e-9).mean(0).tolist(), abs=0.005)
    assert got.n.tolist() == [3, 3] and list(exceeds(case, control, np.arange(3), 9)) == COLUMNS


def test_a_cluster_is_one_witness():
    # 20 cases of one locus, each above its 4 controls: what one case above its 4 controls says
    case, control = np.ones(20), np.zeros((20, 4)) + np.arange(4) / 10
    got = exceeds(case, control, np.zeros(20), 100_000).set_index("name")
    assert got.value["percentile"] == 1 and got.p["percentile"] == pytest.approx(1 / 5, abs=0.01)
    assert got[["low", "high"]].isna().all(axis=None) and got.n_clusters.tolist() == [1, 1]
    assert exceeds(case, control, np.arange(20), 1000).p.tolist() == [1 / 1001] * 2


def study(rng: np.random.Generator, effect: float, share: float) -> tuple[np.ndarray, ...]:
    """case, control, cluster of 120 sets in 30 loci of unlike sizes; effects skewed; share: of a case's variance that is its locus'."""
    cluster = np.sort(rng.integers(0, 30, 120))
    normal = np.sqrt(share) * rng.standard_normal(30)[cluster] + np.sqrt(1 - share) * rng.standard_normal(120)
    return np.exp(normal + effect), np.exp(rng.standard_normal((120, 5))), cluster


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_p_holds_where_cases_are_no_other_than_controls(share):
    rng = np.random.default_rng(2)
    runs = [study(rng, 0, share) for _ in range(400)]
    whole = np.array([exceeds(*run, 199, 2, seed)[["p", "p_flips"]].to_numpy().ravel()[:3] for seed, run in enumerate(runs)])
    for alpha in (0.05, 0.2):
        assert (np.mean(whole <= alpha, 0) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 400)).all()
    alone = np.mean([exceeds(case, control, np.arange(120), 199, 2, seed).p[0] <= 0.05 for seed, (case, control, _) in enumerate(runs)])
    # sets of one locus taken for independent ones: right only where they are
    assert alone > 0.12 if share else 0.02 < alone < 0.083


def test_a_planted_effect_is_recovered_and_flips_see_smaller_ones():
    rng = np.random.default_rng(2)
    got = [exceeds(*study(rng, 1.0, 0.5), 999, 200).iloc[0] for _ in range(20)]
    assert np.mean([one.p <= 0.05 for one in got]) > 0.9 and np.mean([one.low > 0.5 for one in got]) > 0.9
    # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    assert np.mean([one.value for one in got]) == pytest.approx(0.760, abs=0.03)
    small = [exceeds(*study(rng, 0.4, 0.0), 199, 2).iloc[0] for _ in range(30)]
    assert np.mean([one.p_flips <= 0.05 for one in small]) > 0.9 > np.mean([one.p <= 0.05 for one in small])


def test_flips_of_few_clusters_are_all_their_signs():
    case, control, cluster = np.array([5.0, 5, 5, -1]), np.tile(np.arange(4.0), (4, 1)), np.array([0, 0, 1, 2])
    # sums of percentile - 1/2: 1, 1/2 and -1/2; their sum, 1, is reached by (+ + -), (+ - +), (+ + +): 3 of 8
    assert exceeds(case, control, cluster, 100_000).p_flips[0] == pytest.approx(3 / 8, abs=0.01)
    assert np.isnan(exceeds(case, control, cluster, 9).p_flips[1])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    tables = [exceeds(*study(rng, 0, 0.7), 9, 300, seed).iloc[0] for seed in range(150)]
    assert 0.86 <= np.mean([one.low <= 0.5 <= one.high for one in tables]) <= 0.99


CASES, POOL = one_column([0.0, 1.0], [0.0, 1.0, 2.0])


@pytest.mark.parametrize("call, message", [
    (lambda: matched(CASES, POOL, ["y"], 1), "cases has no column y"),
    (lambda: matched(CASES, POOL.drop(columns="pos"), ["x"], 1), "pool has no column pos"),
    (lambda: matched(CASES, POOL.assign(x=[0, np.nan, 1]), ["x"], 1), "pool, row 1: x is nan, wanted a finite number"),
    (lambda: matched(CASES.assign(contig=[None, "a"]), POOL, ["x"], 1), "cases, row 0: no contig or no pos"),
    (lambda: matched(CASES, POOL, [], 1), "columns is empty"),
    (lambda: matched(CASES[:0], POOL, ["x"], 1), "cases has no row"),
    (lambda: matched(CASES, POOL, ["x"], 0), "k is 0, wanted 1"),
    (lambda: matched(CASES, POOL, ["x"], 1, apart=-1), "apart is -1, wanted 0"),
    (lambda: exceeds(np.ones(2), np.ones((3, 2)), np.arange(2)), r"control \(3, 2\)"),
    (lambda: exceeds(np.ones(2), np.ones((2, 0)), np.arange(2)), "one or more sets and controls"),
    (lambda: exceeds(np.array([1, np.nan]), np.ones((2, 1)), np.arange(2)), "set 1 has an effect that is not finite"),
    (lambda: exceeds(np.ones(2), np.ones((2, 1)), np.array(["a", None])), "cluster of set 1 is missing"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
