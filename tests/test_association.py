"""Latents against concepts: scores as loops would give them, thresholds frozen, and a null that is one."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from lib import stats
from lib.annotate import association, features
from lib.annotate.concepts import Concepts


def lay(spans_of: list[list[tuple[int, int]]], n: int) -> Concepts:
    """Concepts given as spans of token rows; every span is an instance."""
    instances, concept_of = [], []
    for concept, spans in enumerate(spans_of):
        for s, e in spans:
            row = np.zeros(n, dtype=np.float32)
            row[s:e] = 1
            instances.append(row)
            concept_of.append(concept)
    instances, concept_of = np.array(instances), np.array(concept_of)
    members = np.stack([instances[concept_of == c].max(0) for c in range(len(spans_of))], axis=1)
    table = pd.DataFrame({
        "concept": [f"c{i}" for i in range(len(spans_of))], "kind": "motif", "family": "f", "source": "s",
        "n_instances": np.bincount(concept_of), "n_tokens": members.sum(0).astype(int),
    })  # fmt: skip
    return Concepts(table, sparse.csc_matrix(members), sparse.csr_matrix(instances), concept_of)


def random_case(n=120, n_latents=7, seed=0):
    rng = np.random.default_rng(seed)
    spans = [[(s, s + rng.integers(1, 5)) for s in rng.choice(n - 5, count)] for count in (6, 3, 10)]
    dense = (rng.random((n, n_latents)) * (rng.random((n, n_latents)) < 0.2)).astype(np.float32)
    dense[:, 3] = 0  # a dead latent
    return lay(spans, n), dense


@pytest.mark.parametrize("threshold", association.THRESHOLDS)
def test_scores_equal_a_loop(threshold):
    concepts, dense = random_case()
    largest = dense.max(0)
    got = association.score_pairs(association.fires(sparse.csr_matrix(dense), largest, threshold), concepts)
    member, instances = concepts.tokens.toarray() > 0, concepts.instances.toarray() > 0
    for latent in range(dense.shape[1]):
        on = dense[:, latent] > threshold * largest[latent]
        for c in range(3):
            precision = (on & member[:, c]).sum() / on.sum() if on.any() else 0
            found = [(on & row).any() for row in instances[concepts.concept_of == c]]
            recall = np.mean(found)
            f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
            want = np.array([precision, recall, f1])
            at = (latent, c)
            np.testing.assert_allclose([got.precision[at], got.recall[at], got.f1[at]], want, rtol=1e-5)


def test_choice_is_the_best_of_all_and_read_keeps_it_frozen():
    concepts, dense = random_case()
    chosen = association.choose(sparse.csr_matrix(dense), concepts)
    every = np.stack([
        association.score_pairs(association.fires(sparse.csr_matrix(dense), dense.max(0), t), concepts).f1
        for t in association.THRESHOLDS
    ])  # fmt: skip
    np.testing.assert_allclose(chosen["f1_validation"], every.max((0, 2)), rtol=1e-6)
    np.testing.assert_allclose(chosen["largest"], dense.max(0))
    # other tokens, activations ten times as large: the cut stays at threshold x validation maximum
    others, test = random_case(seed=1)
    test = 10 * test
    table = association.read(sparse.csr_matrix(test), others, chosen, 50, 0)
    assert table[["concept", "threshold", "largest"]].equals(chosen[["concept", "threshold", "largest"]])
    member = others.tokens.toarray() > 0
    for row in table.itertuples():
        on = test[:, row.latent] > row.threshold * row.largest
        assert row.n_fired == on.sum()
        assert row.precision == pytest.approx(member[on, row.concept_row].mean() if on.any() else 0)
        if member[:, row.concept_row].any():
            assert row.auroc == pytest.approx(roc_auc_score(member[:, row.concept_row], test[:, row.latent]))
    dead = table.iloc[3]
    assert dead["n_fired"] == 0 and dead["p"] == 1 and dead["q"] == 1
    alive = table["n_fired"] > 0
    np.testing.assert_allclose(table["q"][alive], stats.benjamini_hochberg(table["p"][alive].to_numpy()))
    again = association.read(sparse.csr_matrix(test), others, chosen, 50, 0)
    pd.testing.assert_frame_equal(table, again)


@pytest.mark.parametrize("levels", [3, 1000])
def test_sparse_auroc_is_scikit_learns(levels):
    rng = np.random.default_rng(0)
    value = rng.integers(1, levels, 300) * (rng.random(300) < 0.2)
    member = rng.random(300) < 0.1 + 0.3 * (value > 0)
    at = np.flatnonzero(value)
    got = association._sparse_auroc(at, value[at], member)
    assert got == pytest.approx(roc_auc_score(member, value), rel=1e-12)
    assert association._sparse_auroc(np.empty(0, int), np.empty(0), member) == 0.5
    assert np.isnan(association._sparse_auroc(at, value[at], np.zeros(300, bool)))


N, SHIFTS = 4000, 200


def clustered(rng, n_sites, width=4):
    start = rng.choice(N // width, n_sites, replace=False) * width
    return [(s, s + width) for s in start]


def null_p(rng, concepts, n_latents, n_fired):
    """p of latents that fire at random in runs of 3, read against concept 0."""
    dense = np.zeros((N, n_latents), dtype=np.float32)
    for latent in range(n_latents):
        for s in rng.choice(N - 3, max(n_fired // 3, 1), replace=False):
            dense[s : s + min(3, n_fired), latent] = 1
    chosen = pd.DataFrame({"latent": range(n_latents), "concept_row": 0, "threshold": 0.0, "largest": 1.0})
    return association.read(sparse.csr_matrix(dense), concepts, chosen, SHIFTS, 0, tested_f1=0.0)


def test_the_null_flags_a_planted_latent_and_no_random_one():
    rng = np.random.default_rng(0)
    sites = clustered(rng, 40)
    concepts = lay([sites], N)
    dense = np.zeros((N, 2), dtype=np.float32)
    for s, e in sites[:30]:  # three quarters of the sites, and as many tokens elsewhere
        dense[s:e, 0] = rng.random(e - s) + 0.5
    dense[rng.choice(N, 120), 0] = 0.7
    dense[rng.choice(N, 240), 1] = 0.7
    chosen = pd.DataFrame({"latent": [0, 1], "concept_row": 0, "threshold": 0.0, "largest": 1.5})
    table = association.read(sparse.csr_matrix(dense), concepts, chosen, SHIFTS, 0, tested_f1=0.0)
    assert table["p"][0] == 1 / (SHIFTS + 1) and table["z"][0] > 6 and table["q"][1] > 0.05
    assert table["precision_null"][0] == pytest.approx(0.04, abs=0.01)  # 160 of 4,000 tokens


@pytest.mark.parametrize("n_fired, n_sites", [(150, 100), (30, 20), (1, 20), (2, 5)])
def test_p_of_random_latents_is_no_smaller_than_uniform(n_fired, n_sites):
    p = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        p.append(null_p(rng, lay([clustered(rng, n_sites)], N), 60, n_fired)["p"].to_numpy())
    p = np.concatenate(p)  # 600 latents
    if n_fired == 150:
        assert 0.4 < p.mean() < 0.6 and 0.02 < (p < 0.05).mean() < 0.09
    assert (p < 0.05).mean() < 0.09 and (p < 0.005).mean() < 0.015
    # a handful of firings in a rare concept is luck, however many standard deviations it is away
    assert p.min() > 1e-5, p.min()


def test_raw_dimensions_as_latents():
    got = association.dense_to_latents(np.array([[1.0, 5], [3, 2]]), np.array([2.0, 2])).toarray()
    assert got.tolist() == [[0, 3, 1, 0], [1, 0, 0, 0]]


def test_overlapping_windows_are_read_once():
    units = pd.DataFrame({"unit": [0, 1, 2, 3], "contig": ["a", "a", "a", "b"], "start": [0, 5, 10, 3], "end": [10, 15, 20, 9]})
    assert features.disjoint_units(units).tolist() == [0, 2, 3]
