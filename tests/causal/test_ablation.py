"""Ablation: the closed form against taking every step by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from lib.acts import counterparts
from lib.causal import ablation
from lib.corpus import corpus
from lib.outcome import probe
from lib.stats import estimates
from tests.sae.test_sae import random_sae

D_IN, D_SAE = 6, 20


def cohort(n_people=30, seed=0):
    """Two loci, one window each; units 0 and 3 are the references; every unit has 5 to 9 tokens."""
    rng = np.random.default_rng(seed)
    units = pd.DataFrame({
        "unit": range(6), "window": [0, 0, 0, 1, 1, 1], "locus": list("aaabbb"), "is_reference": [True, False, False] * 2,
    })  # fmt: skip
    n_tokens = np.array([7, 9, 5, 6, 6, 8])
    unit = np.repeat(np.arange(6), n_tokens).astype(np.int32)
    ref_start = np.concatenate([np.sort(rng.choice(9, n, replace=n > 7)) for n in n_tokens])
    ref_start[:7], ref_start[unit == 3] = np.arange(7), np.arange(6)
    acts = rng.standard_normal((len(unit), D_IN)).astype(np.float16)
    rows = [
        (f"p{i}", w, h, int(rng.integers(3 * w, 3 * w + 3)))
        for i in range(n_people)
        for w in (0, 1)
        for h in (0, 1)
    ]
    carriers = pd.DataFrame(rows, columns=["sample", "window", "haplotype", "unit"])
    return (
        units,
        {"unit": unit, "ref_start": ref_start},
        acts,
        carriers,
        rng.permutation(np.arange(n_people) % 2),
        rng.permutation(np.arange(n_people) % 5),
    )


def pooled(acts, unit):
    return np.stack([acts[unit == u].mean(0) for u in range(6)])


@pytest.mark.parametrize("mode", ablation.MODES)
def test_closed_form_equals_replacing_tokens_pooling_and_scoring(mode):
    units, tokens, acts, carriers, y, folds = cohort()
    sae, unit, x = random_sae(), tokens["unit"], acts.astype(np.float32)
    locus_map, people, _ = corpus.person_locus_map(carriers, units)
    n = len(people)
    full = probe.cross_validate(corpus.features(locus_map, n, pooled(x, unit)), y, folds, [1.0], 0)
    counterpart = counterparts.aligned(tokens, units)
    reference = ablation.reference_change(sae, acts, unit, counterpart, chunk=11)
    latents = ablation.pooled_latents(sae, acts, unit, chunk=11)
    decoder = sae.W_dec.detach().numpy()
    change = ablation.change_at(sae, acts, tokens, units, locus_map, n, mode, seed=4)
    in_chunks = ablation.person_change(reference, latents, locus_map, n, mode, seed=4)
    np.testing.assert_allclose(in_chunks, change, atol=1e-5)
    moved = ablation.score_change(change, decoder, full.probes, folds)
    assert moved.shape == (D_SAE, n)
    f = sae.encode(torch.from_numpy(x)).detach().numpy()
    other = np.random.default_rng(4).permutation(n)
    own = corpus.features(locus_map, n, pooled(f, unit)).reshape(n, 2, D_SAE)
    for latent in range(D_SAE):
        if mode == "resample":  # no token stands for the same token of someone else: their locus means change places
            shift = (own[other] - own)[:, :, latent]
            X = corpus.features(locus_map, n, pooled(x, unit)) + np.einsum("pl,d->pld", shift, decoder[latent]).reshape(n, -1)
        else:
            target = {"zero": 0, "mean": own[:, :, latent].mean(), "reference": f[counterpart, latent]}[mode]
            X = corpus.features(locus_map, n, pooled(x + np.outer(target - f[:, latent], decoder[latent]), unit))
        want = np.zeros(n)
        for fold, fitted in enumerate(full.probes):  # the fold's centre, as cross_validate takes it
            want[folds == fold] = fitted.score(X[folds == fold]) - fitted.score(X[folds != fold]).mean()
        np.testing.assert_allclose(full.score + moved[latent], want, atol=1e-4)
    assert np.abs(moved).max() > 0.01
    again = ablation.repeated_change(change, decoder, [full.probes, full.probes], np.stack([folds, folds]))
    np.testing.assert_array_equal(again, np.stack([moved, moved]).astype(np.float32))


def test_mean_ranks_people_as_zero_does():
    units, tokens, acts, carriers, y, folds = cohort()
    locus_map, people, _ = corpus.person_locus_map(carriers, units)
    full = probe.cross_validate(
        corpus.features(locus_map, len(people), pooled(acts.astype(np.float32), tokens["unit"])), y, folds, [1.0], 0
    )
    latents = ablation.pooled_latents(random_sae(), acts, tokens["unit"])
    decoder = random_sae().W_dec.detach().numpy()
    moved = [ablation.score_change(ablation.person_change(latents, latents, locus_map, len(people), m, 0), decoder, full.probes, folds)
             for m in ("zero", "mean")]  # fmt: skip
    np.testing.assert_allclose(*moved, atol=1e-5)


def test_a_latent_that_moves_everybody_alike_is_not_needed():
    # the change is equal for every unit, so no person moves against another, whatever the folds' probes weigh
    units, tokens, acts, carriers, y, folds = cohort()
    locus_map, people, _ = corpus.person_locus_map(carriers, units)
    X = corpus.features(locus_map, len(people), pooled(acts.astype(np.float32), tokens["unit"]))
    full = probe.cross_validate(X, y, folds, [1.0], 0)
    moved = ablation.score_change(np.full((len(people), 2, 1), -50.0), np.eye(D_IN)[:1], full.probes, folds)
    np.testing.assert_allclose(moved, 0, atol=1e-9)
    assert estimates.auroc(y, full.score) == estimates.auroc(y, full.score + moved[0].round(6))


def test_target_equal_to_the_latents_changes_nothing():
    _, tokens, acts, *_ = cohort()
    own = np.arange(len(acts))
    assert (ablation.reference_change(random_sae(), acts, tokens["unit"], own) == 0).all()


def test_reference_units_do_not_change_in_mode_reference():
    units, tokens, acts, *_ = cohort()
    change = ablation.reference_change(random_sae(), acts, tokens["unit"], counterparts.aligned(tokens, units), 8)
    assert (change[[0, 3]] == 0).all() and (np.abs(change[[1, 2, 4, 5]]).max(1) > 0).all()


def test_pooled_latents_are_the_mean_over_tokens_and_other_modes_are_refused():
    _, tokens, acts, *_ = cohort()
    sae, unit = random_sae(), tokens["unit"]
    f = sae.encode(torch.from_numpy(acts.astype(np.float32))).detach().numpy()
    latents = ablation.pooled_latents(sae, acts, unit, 5)
    np.testing.assert_allclose(latents, pooled(f, unit), atol=1e-5)
    with pytest.raises(ValueError, match="mode 'noise': wanted one of reference, zero, mean, resample"):
        ablation.person_change(latents, latents, sparse.identity(6, format="csr"), 6, "noise", 0)


def test_causal_match_finds_motifs_that_cost_more_and_not_others():
    motif = np.repeat(list("abcdefgh"), 4)
    drop = np.where(np.isin(motif, ["a", "b", "c"]), 1.0, 0.0) + np.random.default_rng(0).normal(size=32) * 0.1
    match = ablation.causal_match(drop, motif, ["a", "b", "c"], 500, 0)
    assert match["auroc"] == 1.0 and match["p"] < 0.05 and match["n"] == 32  # 1 of 56 deals is the true one
    assert ablation.causal_match(drop, motif, ["a", "d", "g"], 500, 0)["p"] > 0.1
    assert ablation.causal_match(drop, motif, ["z"], 10, 0)["p"] == 1.0


def test_the_interval_of_a_causal_match_is_over_motifs_not_latents():
    # a causal motif below both others, one above: a draw has 0, 1 or 2 of the upper one, so AUROC is 0, a half or 1
    motif, drop = np.repeat(list("abcd"), 50), np.repeat([0.0, 3.0, 1.0, 2.0], 50)
    match = ablation.causal_match(drop, motif, ["a", "b"], 400, 0)
    assert (match["auroc"], match["low"], match["high"]) == (0.5, 0.0, 1.0)
    assert np.isnan(ablation.causal_match(drop, motif, ["a"], 10, 0)["low"])  # a single motif cannot be resampled


def test_a_person_with_no_window_at_a_locus_does_not_change_there():
    fitted = probe.Probe(np.array([1.0, 10.0]), 0.0, 1.0)  # two loci, width 1
    locus_map = sparse.csr_matrix(
        np.array([[1, 0], [0, 1], [1, 0], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]], dtype=float)
    )
    change = ablation.person_change(np.array([[2.0], [3]]), np.zeros((2, 1)), locus_map, 4, "reference", 0)
    got = ablation.score_change(change, np.array([[1.0]]), [fitted, fitted], np.array([0, 0, 1, 1]))
    # raw changes: 2 + 30 = 32, 2, 32, 32; fold 0 less the mean of people 2 and 3, fold 1 less that of 0 and 1
    np.testing.assert_allclose(got, [[32 - 32, 2 - 32, 32 - 17, 32 - 17]])
    alone = ablation.score_change(change, np.array([[1.0]]), [fitted], np.zeros(4, int))  # a frozen probe, other people
    np.testing.assert_allclose(alone, [[32, 2, 32, 32]])
