"""Score intervals of stratified odds ratios: the Mantel-Haenszel test, scipy's exact interval, coverage, and nearly empty cells."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats.contingency import odds_ratio
from statsmodels.stats.contingency_tables import StratifiedTable

from lib.annotate import odds


def intervals(on, member, strata=None):
    """on, member: [token] bool."""
    columns = [sparse.csc_matrix(np.asarray(x)[:, None].astype(np.float32)) for x in (on, member)]
    low, high = odds.score_intervals(*columns, np.array([0]), np.array([0]), np.array([0.5]), strata)
    return low[0], high[0]


def tokens(tables):
    """on, member, stratum of 2 x 2 tables [[both, on only], [member only, neither]]."""
    parts = [(np.repeat([1, 1, 0, 0], t), np.repeat([1, 0, 1, 0], t), np.full(sum(t), s)) for s, t in enumerate(tables)]
    return (np.concatenate(x) for x in zip(*parts))


@pytest.mark.parametrize("seed", range(20))
def test_one_is_left_out_exactly_when_the_mantel_haenszel_test_refuses_it(seed):
    rng = np.random.default_rng(seed)
    tables = [rng.integers(1, 12, 4) for _ in range(4)]
    on, member, strata = tokens(tables)
    test = StratifiedTable([np.array(t).reshape(2, 2) for t in tables]).test_null_odds()
    low, high = intervals(on, member, strata)
    assert (not low <= 1 <= high) == (test.pvalue < 0.05)


def test_in_one_large_table_it_is_the_exact_interval_nearly():
    table = [60, 140, 90, 710]
    exact = odds_ratio(np.array(table).reshape(2, 2)).confidence_interval(0.95)
    np.testing.assert_allclose(intervals(*list(tokens([table]))[:2]), [exact.low, exact.high], rtol=0.04)


def test_it_covers_as_often_as_it_says_with_sparse_strata():
    """200 strata of 12 tokens, common odds ratio 3: few cells above 2."""
    rng, ratio, covered = np.random.default_rng(0), 3.0, 0
    for _ in range(400):
        base = rng.uniform(0.05, 0.4, 200)
        strata = np.repeat(np.arange(200), 12)
        on = rng.random(2400) < 0.2
        logit = np.log(base / (1 - base))[strata] + np.log(ratio) * on
        low, high = intervals(on, rng.random(2400) < 1 / (1 + np.exp(-logit)), strata)
        covered += low <= ratio <= high
    assert 0.925 <= covered / 400 <= 0.975


def test_a_pair_with_one_token_against_it_is_bounded_well_above_one():
    """108 of 109 firing tokens inside, the one outside in a stratum with few members: other intervals reach 0.1 here."""
    on, member, strata = tokens([[60, 0, 20, 100], [48, 0, 10, 100], [0, 1, 1, 4000]])
    low, high = intervals(on, member, strata)
    assert low > 10 and high > low
    assert StratifiedTable([np.array(t).reshape(2, 2) for t in ([60, 0, 20, 100], [48, 0, 10, 100], [0, 1, 1, 4000])]).oddsratio_pooled > 10


def test_ends_that_the_data_do_not_set():
    on, member, strata = tokens([[10, 0, 3, 50], [10, 0, 2, 50]])  # nothing speaks against it
    low, high = intervals(on, member, strata)
    assert low > 5 and high == np.inf
    on, member, strata = tokens([[0, 20, 30, 50]])
    low, high = intervals(on, member, strata)
    assert low == 0 and high < 1
    assert np.isnan(intervals(np.ones(10, bool), np.arange(10) < 5)).all()  # a latent that always fires says nothing


def test_strata_without_a_choice_change_nothing():
    some = [[10, 5, 8, 40], [6, 9, 7, 30]]
    all_fire = [4, 6, 0, 0]  # every token fires: margins leave no choice
    on, member, strata = tokens(some)
    with_more = tokens([*some, all_fire])
    np.testing.assert_allclose(intervals(on, member, strata), intervals(*with_more), rtol=1e-9)
