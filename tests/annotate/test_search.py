"""One search for all methods, and what figures need of single pairs: loops, scikit-learn and planted pairs."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import precision_recall_curve

from lib.annotate import association, search
from lib.models import shuffle
from tests import null_tracks
from tests.null_tracks import lay

# ---- the search -------------------------------------------------------------------------------------------------


def part(seed: int, n: int = 3000):
    """Unrelated latents and concepts, but for latent 4, which fires on most of concept c2: latents, concepts, tokens, strata."""
    rng = np.random.default_rng(seed)
    where = null_tracks.track(rng, n)
    known = null_tracks.concepts(rng, where, 6, (30, 80))
    dense = null_tracks.latents(rng, where, 9, (30, 80)).toarray()
    inside = known.tokens[:, [2]].toarray().ravel() > 0
    dense[:, 4] += 5 * (inside & (rng.random(n) < 0.9))
    known.table["kind"] = ["motif"] * 3 + ["repeat"] * 3
    tokens = pd.DataFrame({"contig": where.block, "unit": where.unit, "ref_start": 2 * np.arange(n), "ref_end": 2 * np.arange(n) + 2})
    return sparse.csr_matrix(dense.astype(np.float32)), known, tokens, where.strata


@pytest.fixture(scope="module")
def searched():
    parts = dict(zip(search.PARTS, (part(0), part(1))))
    latents, laid, tokens, strata = ({name: p[i] for name, p in parts.items()} for i in range(4))
    ground = search.Ground({}, tokens, laid, strata, [], shuffle.shuffled_texts, n_shifts=200, pair_floor=0.05, f1_floor=0.5, seed=0)
    return search.search({"SAE": latents, "label shuffle": latents}, ground)


def test_the_planted_pair_is_claimed_for_the_latents_and_not_for_shuffled_labels(searched):
    for table in searched:
        claimed = table.loc[table["claimed"], ["method", "kind", "latent", "concept"]]
        assert claimed.to_numpy().tolist() == [["SAE", "motif", 4, "c2"]]


def test_every_concept_has_a_best_unit_for_each_method_and_kinds_are_families_of_their_own(searched):
    read, best = searched
    assert best.groupby("method", sort=False)["concept"].agg(list).tolist() == [[f"c{i}" for i in range(6)]] * 2
    assert best["kind"].tolist() == 2 * (["motif"] * 3 + ["repeat"] * 3)
    assert (read["n_tests"] == 9 * 3).all() and len(read) > 2


def test_nothing_is_claimed_at_or_below_the_floor_of_f1(searched):
    read, _ = searched
    planted = read[read["claimed"]].iloc[0]
    parts = dict(zip(search.PARTS, (part(0), part(1))))
    latents, laid, tokens, strata = ({name: p[i] for name, p in parts.items()} for i in range(4))
    ground = search.Ground(
        {}, tokens, laid, strata, [], shuffle.shuffled_texts, n_shifts=200, pair_floor=0.05, f1_floor=planted["f1"], seed=0
    )
    again, _ = search.search({"SAE": latents}, ground)
    assert association.claimed(again).any() and not again["claimed"].any()


# ---- single pairs -----------------------------------------------------------------------------------------------


def small_case():
    """Four windows of six tokens; two concepts; latent 0 follows the second, and its first instance lies in two windows."""
    known = lay([[(2, 4), (20, 22)], [(4, 8), (13, 15), (19, 20), (22, 23)]], 24)
    dense = np.zeros((24, 2), np.float32)
    dense[[5, 6, 9, 13, 16, 22, 23], 0] = [4, 3, 2, 1, 3, 2, 0.5]
    dense[[2, 3, 7], 1] = [1, 2, 3]
    return known, dense, np.arange(24) // 6


def test_bootstrap_of_f1_is_a_loop_over_windows_drawn():
    """Each draw's tokens and instances laid out anew: an instance belongs to the window of its first token."""
    known, dense, unit = small_case()
    best = pd.DataFrame({"latent": [0, 1], "concept": ["c1", "c0"], "threshold": [0.4, 0.0], "largest": [4.0, 3.0]})
    got = search.f1_intervals(best, sparse.csr_matrix(dense), known, unit, n_boot=300, seed=5)
    picks = np.random.default_rng(5).multinomial(4, np.full(4, 1 / 4), 300)
    for pair in got.itertuples():
        on = dense[:, pair.latent] > pair.threshold * pair.largest
        row = int(pair.concept[1])
        inside = known.tokens[:, [row]].toarray().ravel() > 0
        of_concept = [i.indices for i in known.instances[np.flatnonzero(known.concept_of == row)]]
        drawn = []
        for times in picks:
            windows = np.repeat(np.arange(4), times)
            hits = [inside[t] for w in windows for t in np.flatnonzero(unit == w) if on[t]]
            hit_instances = [on[i].any() for w in windows for i in of_concept if unit[i.min()] == w]
            p, r = np.mean(hits) if hits else 0, np.mean(hit_instances) if hit_instances else 0
            drawn.append(2 * p * r / (p + r) if p + r else 0)
        np.testing.assert_allclose([pair.low, pair.high], np.quantile(drawn, [0.025, 0.975]), atol=1e-6)
    assert (got["low"] < got["high"]).all()


def test_bootstrap_intervals_hold_the_f1_of_an_endless_genome():
    """Windows of 20 tokens; instances of one token; precision and recall of the process are .6 and .75, so F1 is 2/3."""
    held, n_runs, n = 0, 200, 80
    best = pd.DataFrame({"latent": [0], "concept": ["c0"], "threshold": [0.0], "largest": [1.0]})
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        inside = rng.random(20 * n) < 0.2
        on = np.where(inside, rng.random(20 * n) < 0.75, rng.random(20 * n) < 0.125)  # .15 and .10 of all tokens
        known = lay([[(t, t + 1) for t in np.flatnonzero(inside)]], 20 * n)
        latents = sparse.csr_matrix(on[:, None].astype(np.float32))
        got = search.f1_intervals(best, latents, known, np.arange(20 * n) // 20, n_boot=200, seed=seed).iloc[0]
        held += got["low"] <= 2 / 3 <= got["high"]
    assert 0.90 <= held / n_runs <= 0.99


def test_precision_and_recall_of_single_tokens_are_scikit_learns():
    rng = np.random.default_rng(0)
    inside = rng.random(400) < 0.2
    value = (rng.permutation(400) + 1 + 200 * inside).astype(np.float32)
    known = lay([[(t, t + 1) for t in np.flatnonzero(inside)]], 400)
    best = pd.DataFrame({"latent": [0], "concept": ["c0"]})
    got = search.precision_recall(best, sparse.csr_matrix(value[:, None]), known, n_levels=20)
    precision, recall, threshold = precision_recall_curve(inside, value)
    cut = [np.quantile(value, 1 - kept) for kept in got["level"]]
    at = np.searchsorted(threshold, cut)
    np.testing.assert_allclose(got["precision"], precision[at])
    np.testing.assert_allclose(got["recall"], recall[at])
    assert len(got) == 20 and got["level"].iloc[-1] == 1 and got["recall"].iloc[-1] == 1


def test_precision_counts_tokens_and_recall_instances():
    """By hand, all firing tokens kept: 4 of 7 lie in c1, three of whose four instances hold one of them."""
    known, dense, _ = small_case()
    dense[:, 1] = 0
    best = pd.DataFrame({"latent": [0, 1], "concept": ["c1", "c0"]})
    got = search.precision_recall(best, sparse.csr_matrix(dense), known, n_levels=7)
    assert got["concept"].tolist() == ["c1"] * 7  # a latent that never fires has no curve
    assert got["recall"].is_monotonic_increasing
    np.testing.assert_allclose(got[["level", "precision", "recall"]].iloc[[0, -1]], [[1 / 7, 1, 1 / 4], [1, 4 / 7, 3 / 4]])
