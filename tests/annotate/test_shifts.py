"""The circular-shift null: its numbers as np.roll gives them, its level on tracks that share structure and nothing else,
and the ways of testing that do produce false claims there."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import gammainc
from scipy.stats import norm

from lib.annotate import pairs, shifts
from lib.stats import multiplicity
from tests import null_tracks


def test_offsets_stay_away_from_home_and_say_where_they_cannot():
    block = np.repeat([4, 1, 9], [1000, 130, 12])
    drawn = shifts.draw(block, least=100, n_shifts=500, seed=0)
    assert drawn.first.tolist() == [0, 1000, 1130] and drawn.length.tolist() == [1000, 130, 12]
    assert drawn.short.tolist() == [False, True, True] and drawn.least.tolist() == [100, 6, 0]
    low, high = drawn.offsets.min(0), drawn.offsets.max(0)
    assert low[0] in (100, 101, 102) and high[0] in (897, 898, 899) and (low[1], high[1]) == (6, 123)
    assert drawn.table()["too_short"].tolist() == [False, True, True]
    np.testing.assert_array_equal(drawn.offsets, shifts.draw(block, 100, 500, 0).offsets)
    with pytest.raises(ValueError, match="2 blocks in 3 pieces"):
        shifts.draw(np.array([0, 0, 1, 0]), 1)


def test_the_rule_is_10_kb_or_20_windows():
    tokens = pd.DataFrame({"unit": np.repeat(np.arange(30), 50), "ref_start": np.arange(1500) * 6})
    tokens["ref_end"] = tokens["ref_start"] + 6
    assert shifts.least_offset(tokens) == 1000  # 20 windows of 50 tokens; 10 kb would be 1,667 tokens of 6 bp
    assert shifts.least_offset(tokens, bp=3000) == 500


def test_every_number_equals_rolled_tracks():
    rng = np.random.default_rng(1)
    where = null_tracks.track(rng, 600, 3)
    latents, concepts = null_tracks.latents(rng, where, 4, (5, 30)), null_tracks.concepts(rng, where, 3, (5, 30))
    drawn = shifts.draw(where.block, 20, 40, 2)
    latent, concept = np.divmod(np.arange(12), 3)
    limit = np.array([0, 0.1, 0.5, 9.0])[latent]  # the last fires nowhere
    got = shifts.shift_null(latents, concepts, latent, concept, limit, drawn, where.strata, where.unit)
    dense, member = latents.toarray(), concepts.tokens.toarray() > 0
    for pair in range(12):
        on, inside = dense[:, latent[pair]] > np.float32(limit[pair]), member[:, concept[pair]]
        mean = pd.Series(inside.astype(float)).groupby(where.strata).transform("mean").to_numpy()
        excess = []
        for offsets in [[0, 0, 0], *drawn.offsets]:
            rolled = np.concatenate([np.roll(on[where.block == b], by) for b, by in enumerate(offsets)])
            sd = np.sqrt((mean * (1 - mean))[rolled].sum())
            excess.append((inside[rolled].sum() - mean[rolled].sum()) / sd if sd > 0 else 0.0)
        row, null = got.iloc[pair], np.array(excess[1:])
        hits, expected = (on & inside).sum(), mean[on].sum()
        np.testing.assert_allclose([row["expected"], row["excess"]], [expected, excess[0]], atol=1e-9)
        np.testing.assert_allclose([row["null_mean"], row["null_sd"]], [null.mean(), null.std(ddof=1)], atol=1e-9)
        if hits == 0:
            assert (row[["p", "p_shift", "p_tail"]] == 1).all()
            continue
        b = (null >= excess[0] - 1e-9).sum()
        assert row["z"] == pytest.approx((excess[0] - null.mean()) / null.std(ddof=1))
        assert row["p_shift"] == (b + 1) / 41
        by_unit = pd.Series((inside - mean)[on]).groupby(where.unit[on]).sum()
        variance = (mean * (1 - mean))[on].sum()
        dispersion = max(variance / expected * max(null.var(ddof=1), 1), (by_unit**2).sum() / hits)
        tail = gammainc(hits / dispersion, expected / dispersion)
        np.testing.assert_allclose([row["dispersion"], row["p_tail"]], [dispersion, tail], rtol=1e-9)
        assert row["p"] == pytest.approx(max(tail, row["p_shift"]) if b else tail)
    assert (got["p"] < 1).sum() >= 4


def null_p(seeds, n_latents=24, n_concepts=24, n_shifts=300, slope=0.0, adjust=True, **kw) -> pd.DataFrame:
    """p-values of unrelated latents and concepts, every pair, over several genomes. kw: as `null_tracks.latents`."""
    parts = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        where = null_tracks.track(rng, 6000)
        latents = null_tracks.latents(rng, where, n_latents, slope=slope, **kw)
        concepts = null_tracks.concepts(rng, where, n_concepts, slope=slope, **kw)
        latent, concept = np.divmod(np.arange(n_latents * n_concepts), n_concepts)
        drawn, strata = shifts.draw(where.block, 300, n_shifts, seed), where.strata if adjust else None
        parts.append(shifts.shift_null(latents, concepts, latent, concept, np.zeros(len(latent)), drawn, strata, where.unit))
    return pd.concat(parts)


@pytest.mark.parametrize(
    "name, kw",
    [
        ("clusters", {}),
        ("clusters that share composition", {"slope": 0.7}),
        ("long runs that share composition", {"slope": 0.7, "mean_length": 10.0, "n_runs": (5, 100)}),
        ("a handful of firings", {"n_runs": (1, 8), "mean_length": 4.0}),
        ("single tokens", {"mean_length": 1.0}),
    ],
)
def test_level_on_tracks_that_share_nothing_but_structure(name, kw):
    got = null_p(range(16), **kw)  # 9,216 pairs
    for level, at_most in ((0.05, 1.3), (0.01, 1.3), (1e-3, 1.3)):
        assert (got["p"] < level).mean() <= at_most * level, (level, (got["p"] < level).mean())
    assert got["p"].min() > 1e-6  # of 9,216


def test_empirical_p_is_uniform_where_it_should_be():
    """Plain clusters and counts large enough: each level is met, neither exceeded nor missed."""
    got = null_p(range(16), n_runs=(60, 300))["p_shift"]
    for level in (0.5, 0.05, 0.01):
        assert 0.75 * level < (got < level).mean() < 1.25 * level


def test_shared_composition_passes_for_a_match_when_nobody_adjusts():
    raw, adjusted = (null_p(range(4), slope=1.0, n_runs=(60, 300), adjust=way) for way in (False, True))
    assert (raw["p"] < 1e-3).mean() > 0.05  # 50 times the level
    assert (adjusted["p"] < 1e-3).mean() < 2e-3


def test_z_alone_calls_luck_a_finding():
    """One chance hit of a rare latent on a rare concept is many standard deviations away; p knows that it is one hit."""
    got = null_p(range(8), n_runs=(1, 4), mean_length=2.0)
    assert (norm.sf(got["z"].fillna(0)) < 1e-5).sum() > 10 * len(got) * 1e-5
    assert (got["p"] < 1e-4).mean() < 5e-4


def test_p_reaches_below_what_shifts_can_count_and_a_matched_shift_bounds_it():
    rng = np.random.default_rng(0)
    where = null_tracks.track(rng, 6000)
    concepts = null_tracks.concepts(rng, where, 2, (150, 151))
    dense = null_tracks.latents(rng, where, 2, (60, 61)).toarray()
    planted = concepts.tokens[:, [0]].toarray().ravel() > 0
    dense[planted & (rng.random(6000) < 0.7), 0] = 1
    got = shifts.shift_null(sparse.csr_matrix(dense), concepts, np.array([0, 1]), np.array([0, 0]), np.zeros(2),
                            shifts.draw(where.block, 300, 1000, 0), where.strata, where.unit)  # fmt: skip
    assert got["p_shift"][0] == 1 / 1001 and got["p"][0] < 1e-12
    assert got["p"][1] >= got["p_shift"][1] > 0.01
    # the family of a real run: 4,096 latents x 2,038 concepts; counting shifts alone could claim nothing in it
    family = 4096 * 2038
    assert multiplicity.benjamini_hochberg(got["p"].to_numpy(), family)[0] < 1e-5
    assert multiplicity.benjamini_hochberg(got["p_shift"].to_numpy(), family)[0] == 1


def test_no_p_lies_below_the_share_of_shifts_that_did_as_well():
    got = null_p(range(4), slope=1.0, n_runs=(60, 300))
    met = got["p_shift"] > 1 / 301
    assert (got["p_tail"] < got["p_shift"])[met].sum() > 100
    assert (got["p"] >= got["p_shift"])[met].all() and (got["p"] == got["p_tail"])[~met].all()


# Known wrong ways: the same p-values, which hold their level, put to wrong use ----------------------------------


def p_by_threshold(seed, n_latents=5, n_concepts=4, n_runs=(40, 300)) -> tuple[np.ndarray, np.ndarray]:
    """p_shift [threshold, latent, concept] of unrelated tracks, and hits alike."""
    rng = np.random.default_rng(seed)
    where = null_tracks.track(rng, 4000)
    latents, concepts = null_tracks.latents(rng, where, n_latents, n_runs), null_tracks.concepts(rng, where, n_concepts, n_runs)
    latent, concept = np.divmod(np.arange(n_latents * n_concepts), n_concepts)
    largest, drawn = pairs.largest_of(latents), shifts.draw(where.block, 200, 1000, seed)
    p = [
        shifts.shift_null(latents, concepts, latent, concept, limit[latent], drawn, where.strata, where.unit)["p_shift"]
        for limit in pairs.limits_of(largest).T
    ]
    hits = pairs.score_pairs(latents, concepts).hits
    shape = (-1, n_latents, n_concepts)
    return np.array(p).reshape(shape), hits.transpose(2, 1, 0)


def false_claims(p: np.ndarray) -> bool:
    return bool((multiplicity.benjamini_hochberg(p.ravel()) < 0.05).any())


def test_choosing_the_threshold_or_the_pair_on_test_makes_false_claims():
    frozen, best_threshold, best_pair = [], [], []
    for seed in range(120):
        p, _ = p_by_threshold(seed)
        frozen.append(false_claims(p[seed % 5]))  # any rule that does not look at these tokens
        best_threshold.append(false_claims(p.min(0)))
        best_pair.append(false_claims(p[0].min(1)))  # each latent's best concept, corrected over latents
    assert np.mean(frozen) <= 0.09  # .05 and two standard errors of 120 runs
    assert np.mean(best_threshold) >= 0.15
    assert np.mean(best_pair) >= 0.15


def test_correcting_over_pairs_with_a_hit_makes_false_claims():
    every, hit_only = [], []
    for seed in range(60):
        p, hits = p_by_threshold(seed, 8, 6, n_runs=(3, 15))
        every.append(false_claims(p[0]))
        hit_only.append(false_claims(p[0][hits[0] > 0]) if (hits[0] > 0).any() else False)
    assert np.mean(every) <= 0.11 and np.mean(hit_only) >= 0.4
