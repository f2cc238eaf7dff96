"""From screen to claim: thresholds frozen, the whole family counted, no claim on unrelated tracks, planted ones found."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from lib.annotate import association, concepts, odds, pairs, shifts
from lib.dna import intervals, motifs
from lib.stats import multiplicity
from tests import null_tracks
from tests.null_tracks import lay


def random_case(n=120, n_latents=7, seed=0):
    rng = np.random.default_rng(seed)
    spans = [[(s, s + rng.integers(1, 5)) for s in rng.choice(n - 5, count)] for count in (6, 3, 10)]
    dense = (rng.random((n, n_latents)) * (rng.random((n, n_latents)) < 0.2)).astype(np.float32)
    dense[:, 3] = 0  # a dead latent
    return lay(spans, n), dense


def both_halves(seed, n_latents=20, n_concepts=15, slope=0.7, planted=0.0, n=6000):
    """Validation and test of one genome: latents, concepts and structure; latent 0 covers a share of concept 0."""
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(2):
        where = null_tracks.track(rng, n)
        laid = null_tracks.concepts(rng, where, n_concepts, (30, 200), slope=slope)
        dense = null_tracks.latents(rng, where, n_latents, (30, 200), slope=slope).toarray()
        sites = laid.instances[np.flatnonzero(laid.concept_of == 0)]
        kept = sites[np.flatnonzero(rng.random(sites.shape[0]) < planted)]
        dense[np.asarray(kept.sum(0)).ravel() > 0, 0] = 2 * dense.max()
        halves.append((sparse.csr_matrix(dense), laid, where))
    return halves


def run(halves, floor, seed=0, n_shifts=300) -> association.Reading:
    (chosen_on, known, _), (latents, on_test, where) = halves
    screened = association.screen(chosen_on, known)
    drawn = shifts.draw(where.block, 300, n_shifts, seed)
    return association.read_pairs(latents, on_test, screened, drawn, where.strata, where.unit, floor)


def test_screen_keeps_the_best_of_all_thresholds():
    known, dense = random_case()
    screened = association.screen(sparse.csr_matrix(dense), known)
    every = pairs.score_pairs(sparse.csr_matrix(dense), known).f1
    np.testing.assert_array_equal(screened.f1, every.max(-1))
    for (c, latent), threshold in np.ndenumerate(screened.threshold):
        levels = every[c, latent]
        assert threshold == np.float32(pairs.THRESHOLDS[np.flatnonzero(levels == levels.max())[0]])  # the lowest, on ties
    above = screened.above(0.2)
    assert len(above) == (screened.f1 >= 0.2).sum() > 3 and above["f1_validation"].is_monotonic_decreasing
    np.testing.assert_array_equal(above["f1_validation"], screened.f1[above["concept_row"], above["latent"]])


def test_reading_is_frozen_and_every_number_is_a_loops():
    known, dense = random_case()
    others, test = random_case(seed=1)
    test = 10 * test  # other tokens, activations ten times as large: the cut stays at threshold x validation maximum
    strata, unit = np.arange(120) % 3, np.arange(120) // 20
    screened = association.screen(sparse.csr_matrix(dense), known)
    drawn = shifts.draw(unit // 3, 5, 50, 0)
    reading = association.read_pairs(sparse.csr_matrix(test), others, screened, drawn, strata, unit, floor=0.05)
    table = reading.pairs
    assert reading.n_tests == 21 and 5 < len(table) < 21
    assert table[["latent", "concept_row", "threshold", "largest"]].equals(
        screened.above(0.05)[["latent", "concept_row", "threshold", "largest"]])  # fmt: skip
    member = others.tokens.toarray() > 0
    for row in table.itertuples():
        assert row.largest == dense[:, row.latent].max()
        on, inside = test[:, row.latent] > np.float32(row.threshold) * np.float32(row.largest), member[:, row.concept_row]
        hit_instances = [on[i.indices].any() for i in others.instances[np.flatnonzero(others.concept_of == row.concept_row)]]
        precision, recall = inside[on].mean() if on.any() else 0, np.mean(hit_instances)
        assert (row.n_fired, row.hits) == (on.sum(), (on & inside).sum())
        assert row.f1 == pytest.approx(2 * precision * recall / max(precision + recall, 1e-12), abs=1e-6)
        assert row.auroc == pytest.approx(roc_auc_score(inside, test[:, row.latent]), rel=1e-6)
        alone = pairs.score_pairs(sparse.csr_matrix(on[:, None].astype(np.float32)), others, np.ones(1), strata, (0.5,))
        at = (row.concept_row, 0, 0)
        np.testing.assert_allclose(row.odds_ratio, np.exp(alone.log_odds[at]), rtol=1e-5)
        ends = odds.score_intervals(sparse.csc_matrix(on[:, None].astype(np.float32)), others.tokens.tocsc(), np.array([0]),
                                    np.array([row.concept_row]), np.array([0.5]), strata)  # fmt: skip
        np.testing.assert_allclose([row.or_low, row.or_high], np.ravel(ends), rtol=1e-9)
    null = shifts.shift_null(sparse.csr_matrix(test), others, table["latent"].to_numpy(), table["concept_row"].to_numpy(),
                             (table["threshold"] * table["largest"]).to_numpy(), drawn, strata, unit)  # fmt: skip
    pd.testing.assert_frame_equal(table[null.columns], null)
    np.testing.assert_allclose(table["q"], multiplicity.benjamini_hochberg(table["p"].to_numpy(), 21))
    for row in reading.latents.itertuples():
        of_latent = table[table["latent"] == row.latent]
        assert row.p == multiplicity.simes(of_latent["p"].to_numpy(), 3) and (of_latent["q_latent"] == row.q).all()
    np.testing.assert_allclose(reading.latents["q"], multiplicity.benjamini_hochberg(reading.latents["p"].to_numpy(), 7))
    with pytest.raises(ValueError, match="not those screened"):
        other_order = concepts.Concepts(others.table[::-1], others.tokens, others.instances, others.concept_of)
        association.read_pairs(sparse.csr_matrix(test), other_order, screened, drawn, strata, unit)


def test_blocks_of_columns_read_as_one_matrix():
    """Also with a latent silent on test, and a block without a pair above the floor."""
    halves = both_halves(3, planted=0.8)
    (first, known, where), (second, on_test, where_on_test) = halves
    second = sparse.csr_matrix(second.toarray() * (np.arange(20) != 5))
    whole = run([(first, known, where), (second, on_test, where_on_test)], 0.02)

    def blocks(latents):
        return [latents[:, :1], latents[:, 1:7], latents[:, 7:7], latents[:, 7:]]

    parts = run([(blocks(first), known, where), (blocks(second), on_test, where_on_test)], 0.02)
    key = ["latent", "concept_row"]
    pd.testing.assert_frame_equal(whole.pairs.sort_values(key, ignore_index=True), parts.pairs.sort_values(key, ignore_index=True))
    pd.testing.assert_frame_equal(whole.latents, parts.latents)
    assert whole.n_tests == parts.n_tests == 300
    assert (whole.pairs.loc[whole.pairs["latent"] == 5, "p"] == 1).all()


def test_no_pair_above_the_floor_is_an_empty_reading():
    reading = run(both_halves(0), floor=0.99)
    assert len(reading.pairs) == len(reading.latents) == 0 and reading.n_tests == 300
    assert not association.claimed(reading.pairs).any()


def test_a_planted_pair_is_found_and_nothing_else():
    perfect = 0
    for seed in range(5):
        table = run(both_halves(seed, planted=0.7), floor=0.02).pairs
        significant = table["q"] < 0.05
        assert table.loc[significant, ["latent", "concept_row"]].drop_duplicates().to_numpy().tolist() == [[0, 0]]
        best = table[significant].iloc[0]
        assert best["f1"] > 0.5 and 1 < best["or_low"] < np.inf and best["q_latent"] < 0.05
        perfect += best["odds_ratio"] == best["or_high"] == np.inf  # above its cut it fires nowhere else
        claim = association.claimed(table)
        assert claim.sum() == 1 and claim[significant].all()
        assert not association.claimed(table, rival=pd.Series({"c0": best["f1"] - 0.04})).any()
        assert association.claimed(table, rival=pd.Series({"c0": best["f1"] - 0.06})).sum() == 1
    assert perfect


def test_family_error_on_unrelated_latents_that_share_composition():
    """Share of runs with any pair at q < 0.05, all 300 pairs read: no more than 0.05, with two standard errors."""
    errors, latents = [], []
    for seed in range(80):
        reading = run(both_halves(seed), floor=0.0)
        assert len(reading.pairs) == 300
        errors.append((reading.pairs["q"] < 0.05).any())
        latents.append((reading.latents["q"] < 0.05).any())
    assert np.mean(errors) <= 0.1 and np.mean(latents) <= 0.1


def planted_motif(seed: int, matrix_id: str = "MA0114.5", n_windows: int = 100, length: int = 300):
    """Windows of random sequence, half with a draw from the profile at a random offset of its forward strand."""
    rng = np.random.default_rng(seed)
    pwm = motifs.motifs_by_id([matrix_id])[0].pwm
    codes, spans = rng.integers(0, 4, (n_windows, length)), []
    for window in range(0, n_windows, 2):
        at = rng.integers(0, length - pwm.shape[1])
        codes[window, at : at + pwm.shape[1]] = [rng.choice(4, p=column) for column in pwm.T]
        spans.append((window, at, at + pwm.shape[1]))
    texts = ["".join("ACGT"[b] for b in row) for row in codes]
    starts = np.tile(np.arange(0, length, 6), n_windows)
    window = np.repeat(np.arange(n_windows), length // 6)
    tokens = pd.DataFrame({"contig": "c", "ref_start": window * 1000 + starts, "ref_end": window * 1000 + starts + 6})
    units = pd.DataFrame({"contig": "c", "start": np.arange(n_windows) * 1000})
    latent = np.zeros(len(tokens), np.float32)
    for w, s, e in spans:
        latent[(window == w) & (starts < e) & (starts + 6 > s)] = 1
    return units, texts, tokens, sparse.csr_matrix(latent[:, None]), window


def test_hnf4_planted_under_six_mer_jitter_is_ranked_first():
    every = motifs.vertebrate_motifs()
    scanned = [m for m in every if "HNF4" in m.name] + [m for m in every if "HNF4" not in m.name][::10]
    laid, latents, window = {}, {}, {}
    for part, seed in (("validation", 0), ("test", 1)):
        units, texts, tokens, latents[part], window[part] = planted_motif(seed)
        laid[part] = concepts.lay(tokens, intervals.motif_hits(units, texts, tuple(scanned)), "motif", "FIMO", 3)
    known, on_test = concepts.shared(laid["validation"], laid["test"])
    assert len(on_test.table) > 30
    reading = run([(latents["validation"], known, None), (latents["test"], on_test, null_tracks.Track(
        window["test"] // 50, window["test"], np.random.default_rng(0).random(len(window["test"]))))], 0.1)  # fmt: skip
    ranked = reading.pairs.sort_values("f1", ascending=False)
    assert "HNF4" in ranked["concept"].iloc[0] and ranked["q"].iloc[0] < 1e-6
    assert ranked["concept"].iloc[0].endswith("+")
    claims = ranked[association.claimed(ranked)].drop_duplicates(["latent", "family"])
    assert claims["family"].iloc[0] == ranked["family"].iloc[0] and len(claims) <= 2


def test_overlapping_windows_are_read_once():
    units = pd.DataFrame({"unit": [0, 1, 2, 3], "contig": ["a", "a", "a", "b"], "start": [0, 5, 10, 3], "end": [10, 15, 20, 9]})
    assert concepts.disjoint_units(units).tolist() == [0, 2, 3]
