"""All pairs at once against loops over tokens, scikit-learn's AUROC and statsmodels' stratified tables: every number."""

import warnings

import numba
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import StratifiedTable

from lib.annotate import pairs
from lib.annotate.concepts import Concepts
from tests.null_tracks import lay

N = 90


def case(seed: int, levels: int = 0):
    """Latent 3 silent, latent 4 always on, latent 5 of one height; concept 3 without tokens, concept 4 everywhere.

    levels: activations take so many values, so that ranks tie; 0: as they come.
    """
    rng = np.random.default_rng(seed)
    spans = [[(s, s + rng.integers(1, 5)) for s in rng.choice(N - 5, count)] for count in (6, 3, 15)]
    concepts = lay([*spans, [], [(0, 50), (40, N)]], N)
    dense = (rng.random((N, 7)) * (rng.random((N, 7)) < 0.3)).astype(np.float32)
    if levels:
        dense = np.ceil(dense * levels).astype(np.float32) / levels
    dense[:, 3] = 0
    dense[:, 4] += 0.1
    dense[:, 5] = dense[:, 5] > 0
    dense[:, 6] *= concepts.tokens[:, [0]].toarray().ravel()  # fires inside concept 0 only
    return concepts, dense, rng.integers(0, 4, N) * 10


def reference(on: np.ndarray, member: np.ndarray, strata: np.ndarray) -> float:
    """Mantel-Haenszel log odds ratio by the textbook sums, one stratum after another."""
    r = s = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        a, b = (on & member & here).sum(), (~on & member & here).sum()
        c, d = (on & ~member & here).sum(), (~on & ~member & here).sum()
        n = here.sum()
        r, s = r + a * d / n, s + b * c / n
    if r == 0 or s == 0:
        return np.nan if r == s else np.inf if r > 0 else -np.inf
    return np.log(r / s)


@pytest.mark.parametrize("seed, levels, one_stratum", [(0, 0, False), (1, 3, False), (2, 1, True), (3, 2, False)])
def test_every_number_equals_a_loop(seed, levels, one_stratum):
    concepts, dense, strata = case(seed, levels)
    strata = np.zeros(N, int) if one_stratum else strata
    got = pairs.score_pairs(sparse.csr_matrix(dense), concepts, strata=None if one_stratum else strata)
    assert got.hits.shape == (5, 7, 5)
    member, instances = concepts.tokens.toarray() > 0, concepts.instances.toarray() > 0
    largest = dense.max(0)
    finite = 0
    for t, threshold in enumerate(pairs.THRESHOLDS):
        for latent in range(7):
            on = dense[:, latent] > np.float32(threshold) * largest[latent]
            assert got.n_fired[latent, t] == on.sum()
            for c in range(5):
                hit_instances = sum((on & row).any() for row in instances[concepts.concept_of == c])
                n_instances = (concepts.concept_of == c).sum()
                hits = (on & member[:, c]).sum()
                at = (c, latent, t)
                assert (got.hits[at], got.hit_instances[at], got.n_instances[c], got.n_tokens[c]) == (
                    hits, hit_instances, n_instances, member[:, c].sum())  # fmt: skip
                precision = hits / on.sum() if on.any() else 0
                recall = hit_instances / n_instances if n_instances else 0
                f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
                np.testing.assert_allclose([got.precision[at], got.recall[at], got.f1[at]], [precision, recall, f1], rtol=1e-6)
                want = reference(on, member[:, c], strata)
                np.testing.assert_allclose(got.log_odds[at], want, rtol=1e-5, atol=1e-6)
                finite += np.isfinite(want)
    assert finite > 30
    for c in range(5):
        for latent in range(7):
            if c in (3, 4):
                assert np.isnan(got.auroc[c, latent])
            else:
                want = roc_auc_score(member[:, c], dense[:, latent])
                assert got.auroc[c, latent] == pytest.approx(want, rel=1e-6)


def test_odds_ratio_is_statsmodels():
    concepts, dense, strata = case(5)
    got = pairs.score_pairs(sparse.csr_matrix(dense), concepts, strata=strata)
    for latent in (0, 1, 2):
        on, member = dense[:, latent] > 0, concepts.tokens[:, [2]].toarray().ravel() > 0
        tables = [pd.crosstab(on[strata == s], member[strata == s]).to_numpy()[::-1, ::-1] for s in np.unique(strata)]
        theirs = StratifiedTable(tables)
        assert got.log_odds[2, latent, 0] == pytest.approx(theirs.logodds_pooled, rel=1e-5)


def test_strata_take_a_confounder_out():
    """Latent and concept both prefer stratum 1 and are independent inside each: crude odds far above 1, adjusted 1."""
    rng = np.random.default_rng(0)
    n = 20_000
    strata = np.repeat([0, 1], n // 2)
    rate = np.where(strata == 1, 0.4, 0.05)
    member, on = rng.random(n) < rate, rng.random(n) < rate
    concepts = Concepts(pd.DataFrame({"concept": ["c"]}), sparse.csc_matrix(member[:, None].astype(np.float32)),
                        sparse.csr_matrix((1, n), dtype=np.float32), np.array([0]))  # fmt: skip
    latents = sparse.csr_matrix(on[:, None].astype(np.float32))
    crude = pairs.score_pairs(latents, concepts)
    adjusted = pairs.score_pairs(latents, concepts, strata=strata)
    # pooled, 0.08125 of tokens in both, 0.14375 in either alone: log odds 0.91, with an error near 0.04
    assert crude.log_odds[0, 0, 0] == pytest.approx(0.91, abs=0.12)
    assert abs(adjusted.log_odds[0, 0, 0]) < 0.1


def test_many_strata_and_a_perfect_latent_stay_exact():
    """A latent that is the concept has no token against it in any of 300 strata: infinite, not a rounding residue."""
    rng = np.random.default_rng(0)
    n = 3000
    strata = rng.permutation(np.repeat(np.arange(300), 10))
    member = rng.random(n) < 0.3
    concepts = lay([[(i, i + 1) for i in np.flatnonzero(member)]], n)
    dense = np.stack([member, ~member, rng.random(n) < 0.3], axis=1).astype(np.float32)
    got = pairs.score_pairs(sparse.csr_matrix(dense), concepts, strata=strata, thresholds=(0.0,))
    assert got.log_odds[0, 0, 0] == np.inf and got.log_odds[0, 1, 0] == -np.inf
    want = reference(dense[:, 2] > 0, member, strata)
    np.testing.assert_allclose(got.log_odds[0, 2, 0], want, rtol=1e-5)


def test_explicit_zeros_float16_and_other_thread_counts_change_nothing():
    concepts, dense, strata = case(1, 8)  # eighths are exact in float16
    latents = sparse.csr_matrix(dense)
    padded = sparse.csr_matrix(np.where(dense == 0, 9, dense))
    padded.data[padded.data == 9] = 0
    half = sparse.csr_matrix((dense[dense > 0].astype(np.float16), latents.indices, latents.indptr), shape=dense.shape)
    want = pairs.score_pairs(latents, concepts, dense.max(0), strata)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = pairs.score_pairs(latents, concepts, dense.max(0), strata)
    finally:
        numba.set_num_threads(threads)
    for other in (pairs.score_pairs(padded, concepts, dense.max(0), strata), alone, pairs.score_pairs(half, concepts, strata=strata)):
        for name in ("hits", "hit_instances", "n_fired", "auroc", "log_odds"):
            np.testing.assert_array_equal(getattr(other, name), getattr(want, name))


def test_bad_input_is_refused():
    concepts, dense, strata = case(0)
    with pytest.raises(ValueError, match="not negative"):
        pairs.score_pairs(sparse.csr_matrix(dense - 0.5), concepts)
    with pytest.raises(ValueError, match="finite"):
        pairs.score_pairs(sparse.csr_matrix(np.where(dense > 0, np.inf, 0)), concepts)
    with pytest.raises(ValueError, match="90 tokens.*scales for latents"):
        pairs.score_pairs(sparse.csr_matrix(dense[:50]), concepts)
    with pytest.raises(ValueError, match="89 codes for 90 tokens"):
        pairs.score_pairs(sparse.csr_matrix(dense), concepts, strata=strata[:-1])
    with pytest.raises(ValueError, match="ascending"):
        pairs.score_pairs(sparse.csr_matrix(dense), concepts, thresholds=(0.5, 0.2))


def test_nothing_to_score_is_no_warning():
    concepts = case(0)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = pairs.score_pairs(sparse.csr_matrix((N, 3), dtype=np.float32), concepts)
        assert not got.hits.any() and not got.f1.any() and np.isnan(got.log_odds).all()
        assert (got.auroc[:3] == 0.5).all()
