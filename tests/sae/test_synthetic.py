"""Planted truth: samples have the moments stated, and scores have the values worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from lib.sae import evaluate
from lib.sae.model import SAE, SAEConfig
from tests import synthetic
from tests.synthetic import PlantedDictionary, plant


def relu_sae(decoder, encoder=None) -> SAE:
    """A ReLU SAE with biases 0. decoder: [d_sae, d_in]; encoder: rows that read, the decoder by default."""
    sae = SAE(SAEConfig("standard", np.shape(decoder)[1], len(decoder)))
    with torch.no_grad():
        sae.W_dec.copy_(torch.as_tensor(decoder))
        sae.W_enc.copy_(torch.as_tensor(decoder if encoder is None else encoder).T)
    return sae.eval()


def rotate_pairs(rows, angle):
    """Rows 0 and 1, 2 and 3, ... rotated in the plane they span."""
    out, even, odd = rows.copy(), rows[::2], rows[1::2]
    out[::2] = np.cos(angle) * even + np.sin(angle) * odd
    out[1::2] = np.cos(angle) * odd - np.sin(angle) * even
    return out


def axes(n=8, p=0.3, **settings) -> PlantedDictionary:
    """Directions along the axes: products with them are exact in any precision."""
    return PlantedDictionary(np.eye(n), np.full(n, p), **settings)


def scores(sae, planted, n=2000, seed=0):
    return synthetic.score(sae, planted, *planted.sample(n, seed))


# The truth ------------------------------------------------------------------------------------------------


def test_x_is_the_sum_of_the_truth():
    planted = plant(40, 12, 3.0, seed=0)
    x, truth = planted.sample(3000, seed=1)
    assert x.dtype == truth.dtype == np.float32 and truth.shape == (3000, 40)
    np.testing.assert_allclose(x, truth @ planted.directions, atol=1e-5)
    assert truth.data.min() >= 1 and truth.data.max() <= 2
    assert truth.data.mean() == pytest.approx(1.5, abs=0.02)
    again, other = planted.sample(3000, seed=1)[0], planted.sample(3000, seed=2)[0]
    assert (again == x).all() and not (other == x).all()


def test_sample_is_whole_across_its_chunks():
    planted = plant(2**20, 2, 3.0, seed=0, noise=0.1)  # four tokens a chunk
    x, truth = planted.sample(10, seed=0)
    assert truth.shape == (10, 2**20) and x.shape == (10, 2)
    assert np.abs(x - truth @ planted.directions).max() < 1 and 10 < truth.nnz < 60
    assert len(np.unique(x, axis=0)) == 10


def test_zipf_probabilities_sum_to_l0_and_are_capped():
    p = plant(100, 10, 4.0, seed=0).probability
    assert p.sum() == pytest.approx(4) and p[0] == 0.5
    free = p[p < 0.5]
    rank = np.arange(1, 101)[p < 0.5]
    np.testing.assert_allclose(free * rank, (free * rank)[0])
    np.testing.assert_allclose(plant(100, 10, 4.0, seed=0, zipf=0.0).probability, 0.04)


STRUCTURES = {"independent": {}, "tree": {"branches": 2}, "groups": {"n_groups": 5, "correlation": 0.8}}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_keeps_the_probabilities_and_the_variance(structure):
    settings = {"orthonormal": True, "noise": 0.2, "low": 0.5, "high": 3.0} | STRUCTURES[structure]
    planted = plant(20, 24, 3.0, seed=0, **settings)
    x, truth = planted.sample(60_000, seed=1)
    frequency = (truth != 0).mean(0).A1
    sd = np.sqrt(planted.probability * (1 - planted.probability) / 60_000)
    assert (np.abs(frequency - planted.probability) < 4.5 * sd).all()
    assert truth.nnz / 60_000 == pytest.approx(planted.l0, rel=0.02)
    assert x.var(0, dtype=float).sum() == pytest.approx(planted.total_variance, rel=0.02)
    assert planted.independent == (structure == "independent") and planted.orthogonal


def test_variance_by_hand():
    # p 0.5, magnitude 2: E a^2 = 2, (E a)^2 = 1, so 1 a feature; two of them, and noise 0.1^2 in 3 dimensions
    planted = PlantedDictionary(np.eye(3)[:2], np.full(2, 0.5), low=2.0, high=2.0, noise=0.1)
    assert planted.total_variance == pytest.approx(2.03)
    # uniform in 1 .. 4: E m^2 = (1 + 4 + 16) / 3
    assert axes(low=1.0, high=4.0).second_moment == pytest.approx(7)
    oblique = plant(30, 5, 2.0, seed=0)
    x, _ = oblique.sample(100_000, seed=0)
    assert x.var(0, dtype=float).sum() == pytest.approx(oblique.total_variance, rel=0.02)
    with pytest.raises(ValueError, match="no closed form"):
        _ = plant(30, 5, 2.0, seed=0, branches=2).total_variance


def test_children_fire_only_with_their_parents():
    planted = plant(30, 10, 4.0, seed=0, branches=3)
    assert planted.parent[:8].tolist() == [-1, -1, -1, 0, 0, 0, 1, 1]
    firing = planted.sample(5000, seed=0)[1].toarray() > 0
    child = np.flatnonzero(planted.parent >= 0)
    assert not (firing[:, child] & ~firing[:, planted.parent[child]]).any() and firing[:, child].sum() > 500


def test_correlated_firing_is_the_bivariate_normal():
    planted = PlantedDictionary(
        np.eye(4), np.array([0.2, 0.3, 0.2, 0.3]), group=np.array([7, 7, 2, 4]), correlation=0.6
    )
    firing = planted.sample(100_000, seed=0)[1].toarray() > 0
    together = multivariate_normal.cdf(norm.ppf([0.2, 0.3]), cov=[[1, 0.6], [0.6, 1]])
    assert together > 0.11  # far from 0.06
    assert (firing[:, 0] & firing[:, 1]).mean() == pytest.approx(together, abs=0.004)
    for i, j in ((0, 3), (1, 2), (2, 3)):  # other groups: independent
        assert (firing[:, i] & firing[:, j]).mean() == pytest.approx(
            planted.probability[i] * planted.probability[j], abs=0.004
        )


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"directions": 2 * np.eye(3)}, "unit rows"),
        ({"probability": np.array([0.1, 0, 0.1])}, "probability"),
        ({"probability": np.full(2, 0.1)}, r"probability has shape \(2,\), expected \(3,\)"),
        ({"low": 0.0}, "low"),
        ({"low": 3.0}, "low"),
        ({"noise": -1.0}, "noise"),
        ({"correlation": 1.5}, "correlation"),
        ({"parent": np.array([1, -1, -1])}, "an earlier feature"),
        ({"parent": np.array([-1, 0, -1]), "probability": np.array([0.1, 0.2, 0.1])}, "at least as often"),
        ({"parent": np.full(3, -1), "group": np.zeros(3, int)}, "exclude each other"),
    ],
)
def test_impossible_truths_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PlantedDictionary(**({"directions": np.eye(3), "probability": np.full(3, 0.1)} | wrong))


def test_plant_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="20 orthonormal directions do not fit in 10"):
        plant(20, 10, 2.0, 0, orthonormal=True)
    with pytest.raises(ValueError, match="less than n_features / 2 = 10"):
        plant(20, 10, 10.0, 0)


# Scores with a known value --------------------------------------------------------------------------------


def test_the_true_directions_score_one_exactly():
    planted = axes()
    order = np.random.default_rng(0).permutation(8)
    s = scores(relu_sae(np.eye(8)[order]), planted)
    assert (s.mcc, s.mmcs, s.uniqueness, s.f1, s.explained_variance, s.shrinkage) == (1, 1, 1, 1, 1, 1)
    assert s.l0 == s.true_l0 == planted.sample(2000, 0)[1].nnz / 2000 and s.dead_share == 0
    assert s.features["latent"].tolist() == np.argsort(order).tolist()
    assert (s.features[["cosine", "precision", "recall", "f1", "shrinkage"]] == 1).all(axis=None)


def test_the_oracle_is_exact_in_any_orthonormal_frame():
    planted = plant(20, 32, 3.0, seed=3, orthonormal=True)
    s = scores(synthetic.oracle(planted), planted)
    assert (s.uniqueness, s.f1) == (1, 1) and s.l0 == s.true_l0
    assert (s.mcc, s.explained_variance, s.shrinkage) == pytest.approx((1, 1, 1), abs=1e-6)


@pytest.mark.parametrize("degrees", [0, 20, 44, 60, 90, 150])
def test_mcc_of_a_rotated_dictionary(degrees):
    """Each direction rotated in the plane of a pair: |cosine| |cos a| with its own row, |sin a| with its
    partner's, 0 with all others, so the best matching has max(|cos a|, |sin a|)."""
    planted = plant(10, 16, 2.0, seed=0, orthonormal=True)
    angle = np.deg2rad(degrees)
    expected = max(abs(np.cos(angle)), abs(np.sin(angle)))
    s = scores(relu_sae(rotate_pairs(planted.directions, angle)), planted, n=200)
    assert s.mcc == pytest.approx(expected, abs=1e-6) and s.mmcs == pytest.approx(expected, abs=1e-6)
    swapped = abs(np.sin(angle)) > abs(np.cos(angle))
    assert s.features["latent"].tolist() == [i ^ swapped for i in range(10)]


def test_mcc_matches_one_to_one_where_mmcs_does_not():
    # both are nearest row 0, at cosine 0.8 and 0.6; row 1 lies outside. MMCS 0.7; MCC (0.8 + 0) / 2
    planted = PlantedDictionary(np.eye(3)[:2], np.full(2, 0.3))
    s = scores(relu_sae([[0.8, 0.6, 0], [0, 0, 1.0]]), planted)
    assert s.mmcs == pytest.approx(0.7) and s.mcc == pytest.approx(0.4) and s.uniqueness == 0


@pytest.mark.parametrize("c", [0.5, 0.9, 1.2])
def test_a_scaled_encoder_shrinks_by_its_factor(c):
    """x_hat = c x: EV = 1 - (1 - c)^2 sum E a^2 / total variance; firing and directions stay right."""
    planted = axes()
    s = scores(relu_sae(np.eye(8), c * np.eye(8)), planted, n=50_000)
    assert s.shrinkage == pytest.approx(c, abs=1e-6) and (s.mcc, s.f1) == (1, 1)
    lost = (1 - c) ** 2 * planted.l0 * planted.second_moment
    assert s.explained_variance == pytest.approx(1 - lost / planted.total_variance, abs=0.01)
    np.testing.assert_allclose(s.features["shrinkage"], c, rtol=1e-6)


def test_a_subtracted_constant_is_shrinkage_too():
    """An L1 penalty takes the same off every magnitude: the slope through the origin is 1 - E m / (2 E m^2),
    where one with an intercept would say 1."""
    sae, planted = relu_sae(np.eye(8)), axes()
    with torch.no_grad():
        sae.b_enc.fill_(-0.5)
    s = scores(sae, planted, n=20_000)
    assert s.shrinkage == pytest.approx(1 - 0.5 * 1.5 / (7 / 3), abs=2e-3) and s.f1 == 1


def test_the_opposite_direction_matches_and_never_fires():
    decoder = np.eye(8)
    decoder[0] *= -1
    s = scores(relu_sae(decoder), axes())
    assert s.mcc == 1 and s.f1 == pytest.approx(7 / 8)
    first = s.features.iloc[0]
    assert (first.precision, first.recall, first.f1, first.n_latent) == (0, 0, 0, 0)
    assert np.isnan(first.shrinkage)
    assert s.dead_share == 1 / 8


def test_firing_scores_by_hand():
    # latent 0 fires on everything: precision p, recall 1; latent 1 needs magnitude above 1.5: recall 1/2
    sae = relu_sae(np.eye(2))
    with torch.no_grad():
        sae.b_enc.copy_(torch.tensor([1.0, -1.5]))
    planted = PlantedDictionary(np.eye(2), np.array([0.25, 0.4]))
    x, truth = planted.sample(50_000, 0)
    s = synthetic.score(sae, planted, x, truth)
    a, b = s.features.iloc[0], s.features.iloc[1]
    assert (a.precision, a.recall) == (pytest.approx((truth[:, 0] != 0).mean()), 1)
    assert a.f1 == pytest.approx(2 * a.precision / (1 + a.precision)) and a.n_latent == 50_000
    assert b.precision == 1 and b.recall == pytest.approx(0.5, abs=0.02)
    assert b.recall == pytest.approx((truth[:, 1] > 1.5).sum() / b.n_true)
    assert b.f1 == pytest.approx(2 * b.recall / (1 + b.recall))
    assert s.f1 == pytest.approx((a.f1 + b.f1) / 2)
    assert s.l0 == pytest.approx(1 + b.n_latent / 50_000) and s.true_l0 == truth.nnz / 50_000


def test_a_merged_pair_is_not_unique():
    # one latent along (d0 + d1) / sqrt 2, its twin outside: 6 of 8 features have a latent of their own
    rows = np.eye(9)[:8].copy()
    rows[0] = (np.eye(9)[0] + np.eye(9)[1]) / np.sqrt(2)
    rows[1] = np.eye(9)[8]
    planted = PlantedDictionary(np.eye(9)[:8], np.full(8, 0.3))
    s = scores(relu_sae(rows), planted)
    assert s.uniqueness == 6 / 8
    assert s.mmcs == pytest.approx((6 + 2 * np.sqrt(0.5)) / 8)
    assert s.mcc == pytest.approx((6 + np.sqrt(0.5)) / 8)


def test_more_latents_than_features_and_fewer():
    planted = axes()
    wide = np.vstack([np.eye(8), np.random.default_rng(0).standard_normal((20, 8))])
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    encoder = np.where(np.arange(28)[:, None] < 8, wide, 0)  # the other latents never fire
    s = scores(relu_sae(wide, encoder), planted)
    assert (s.mcc, s.f1, s.explained_variance) == (1, 1, 1) and s.dead_share == 20 / 28
    # two features have no latent: the pairs are perfect, EV says the rest
    s = scores(relu_sae(np.eye(8)[2:]), planted)
    assert (s.mcc, s.f1) == (1, 1) and s.features["latent"].tolist() == [-1, -1, 0, 1, 2, 3, 4, 5]
    assert s.features.loc[:1, ["cosine", "precision", "recall", "f1", "shrinkage"]].isna().all(axis=None)
    assert s.explained_variance < 0.8


def test_a_feature_that_never_fires_is_not_judged():
    planted = PlantedDictionary(np.eye(4), np.array([0.5, 0.5, 0.5, 1e-9]))
    s = scores(relu_sae(np.eye(4)), planted)
    assert s.f1 == 1 and s.features["f1"].isna().tolist() == [False, False, False, True]


# The best that k latents can do -----------------------------------------------------------------------------


def test_topk_explained_variance_by_hand():
    # two features, p 1/2, magnitude 1: variance 1/4 each. k = 1 loses 1 where both fire, k = 0 loses E N = 1
    planted = PlantedDictionary(np.eye(2), np.full(2, 0.5), low=1.0, high=1.0)
    explained = [synthetic.topk_explained_variance(planted, k) for k in (0, 1, 2)]
    assert explained == pytest.approx([1 - 1 / 0.5, 1 - 0.25 / 0.5, 1])


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_a_topk_sae_of_the_truth_reaches_its_closed_form(k):
    planted = plant(20, 24, 4.0, seed=0, orthonormal=True, low=0.2, high=3.0)
    x, _ = planted.sample(50_000, seed=1)
    rows = np.arange(len(x))
    explained = evaluate.quality(synthetic.oracle(planted, k), x, rows, rows * 0).explained_variance
    assert explained == pytest.approx(synthetic.topk_explained_variance(planted, k), abs=0.01)


def test_topk_explained_variance_with_noise_keeps_the_features_only():
    planted = plant(20, 24, 4.0, seed=0, orthonormal=True, noise=0.5)
    x, truth = planted.sample(50_000, seed=1)
    kept = np.where(truth.toarray() >= -np.sort(-truth.toarray(), axis=1)[:, [2]], truth.toarray(), 0)
    lost = ((x - kept @ planted.directions) ** 2).sum() / 50_000
    expected = synthetic.topk_explained_variance(planted, 3)
    assert expected == pytest.approx(1 - lost / planted.total_variance, abs=0.01)
    everything = 1 - 24 * 0.25 / planted.total_variance
    assert synthetic.topk_explained_variance(planted, 20) == pytest.approx(everything)


def test_topk_explained_variance_needs_its_assumptions():
    for settings in ({"orthonormal": True, "branches": 2}, {"orthonormal": False}):
        with pytest.raises(ValueError, match="needs independent firing"):
            synthetic.topk_explained_variance(plant(10, 10, 2.0, 0, **settings), 2)
