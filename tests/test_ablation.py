"""Ablation: the closed form against taking every step by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from lib import probe, stats
from lib.causal import ablation
from tests.test_sae import random_sae

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
    locus_map, people, _ = probe.person_locus_map(carriers, units)
    full = probe.cross_validate(probe.features(locus_map, len(people), pooled(x, unit)), y, folds, [1.0], 0)
    counterpart = ablation.align_to_reference(tokens, units)
    change = ablation.pooled_change(sae, acts, unit, counterpart, mode, chunk=11)
    decoder = sae.W_dec.detach().numpy()
    moved = ablation.score_change(change, decoder, locus_map, len(people), full.probes, folds)
    assert moved.shape == (D_SAE, len(people))
    f = sae.encode(torch.from_numpy(x)).detach().numpy()
    target = {
        "zero": np.zeros_like(f),
        "reference": f[counterpart],
    }[mode]
    for latent in range(D_SAE):
        edited = x + np.outer(target[:, latent] - f[:, latent], decoder[latent])
        X = probe.features(locus_map, len(people), pooled(edited, unit))
        want = np.zeros(len(people))
        for fold, fitted in enumerate(full.probes):  # the fold's centre, as cross_validate takes it
            want[folds == fold] = fitted.score(X[folds == fold]) - fitted.score(X[folds != fold]).mean()
        np.testing.assert_allclose(full.score + moved[latent], want, atol=1e-4)
    assert np.abs(moved).max() > 0.01


def test_a_latent_that_moves_everybody_alike_is_not_needed():
    # the change is equal for every unit, so no person moves against another, whatever the folds' probes weigh
    units, tokens, acts, carriers, y, folds = cohort()
    locus_map, people, _ = probe.person_locus_map(carriers, units)
    X = probe.features(locus_map, len(people), pooled(acts.astype(np.float32), tokens["unit"]))
    full = probe.cross_validate(X, y, folds, [1.0], 0)
    moved = ablation.score_change(
        np.full((6, 1), -50.0), np.eye(D_IN)[:1], locus_map, len(people), full.probes, folds
    )
    np.testing.assert_allclose(moved, 0, atol=1e-9)
    assert stats.auroc(y, full.score) == stats.auroc(y, full.score + moved[0].round(6))


def test_target_equal_to_the_latents_changes_nothing():
    _, tokens, acts, *_ = cohort()
    own = np.arange(len(acts))
    assert (ablation.pooled_change(random_sae(), acts, tokens["unit"], own, "reference") == 0).all()


def test_reference_units_do_not_change_in_mode_reference():
    units, tokens, acts, *_ = cohort()
    change = ablation.pooled_change(
        random_sae(), acts, tokens["unit"], ablation.align_to_reference(tokens, units), "reference", 8
    )
    assert (change[[0, 3]] == 0).all() and (np.abs(change[[1, 2, 4, 5]]).max(1) > 0).all()


def test_zero_mode_is_minus_the_mean_latent_and_other_modes_are_refused():
    _, tokens, acts, *_ = cohort()
    sae, unit = random_sae(), tokens["unit"]
    f = sae.encode(torch.from_numpy(acts.astype(np.float32))).detach().numpy()
    zero = ablation.pooled_change(sae, acts, unit, np.arange(len(unit)), "zero", 5)
    np.testing.assert_allclose(zero, -pooled(f, unit), atol=1e-5)
    with pytest.raises(ValueError, match="mode 'noise': wanted one of reference, zero"):
        ablation.pooled_change(sae, acts, unit, np.arange(len(unit)), "noise")


def test_alignment_across_an_insertion_and_a_deletion_by_hand():
    units = pd.DataFrame(
        {
            "unit": [0, 1, 2, 3, 4],
            "window": [7, 7, 7, 9, 9],
            "is_reference": [True, False, False, True, False],
        }
    )
    rows = [
        (0, [10, 11, 12, 13]),  # rows 0-3
        (1, [10, 11, 11, 11, 12, 13]),  # two bases inserted after 11: they take their anchor's token, row 1
        (2, [10, 13]),  # 11 and 12 deleted
        (3, [20, 26, 32]),  # rows 12-14: six-base tokens
        (4, [20, 25, 31, 37]),  # shifted by an edit: 25 lies in 20-26, 31 in 26-32, 37 past the last start
    ]
    unit = np.repeat([u for u, _ in rows], [len(p) for _, p in rows])
    got = ablation.align_to_reference(
        {"unit": unit, "ref_start": np.concatenate([p for _, p in rows])}, units
    )
    assert got.tolist() == [0, 1, 2, 3, 0, 1, 1, 1, 2, 3, 0, 3, 12, 13, 14, 12, 12, 13, 14]


def test_necessity_by_hand():
    y = np.array([1, 1, 0, 0] * 10)
    full = np.tile([4.0, 3, 2, 1], 10)
    # latent 0 changes nothing; latent 1 turns the order round: AUROC 1 -> 0; latent 2 swaps the middle: 1 -> 0.75
    change = np.stack([0 * full, 5 - 2 * full, np.tile([0.0, -1.5, 0, 0], 10)])
    table = ablation.necessity(y, full, change, 200, 0, n_candidates=2)
    np.testing.assert_allclose(table["drop"], [0, 1, 0.25])
    assert np.isnan(table["low"][0]) and table["low"][1] == pytest.approx(1) == table["high"][1]
    assert table["low"][2] < 0.25 < table["high"][2]


def planted_need(strength: float):
    """People whose phenotype follows one latent's change: 60 people, one locus, 6 latents on orthogonal rows."""
    rng = np.random.default_rng(3)
    n, k = 60, 6
    change = rng.normal(size=(n, k)) * 0.1  # one unit a person
    y = (np.arange(n) % 2).astype(int)
    change[:, 2] -= strength * y
    decoder = np.eye(k)
    fitted = probe.Probe(np.array([0.0, 0, 1, 0, 0, 0]), 0.0, 1.0)  # reads latent 2 only
    full = -change[:, 2] + 0.01 * rng.normal(size=n)
    return y, full, change, decoder, sparse.identity(n, format="csr"), [fitted], np.zeros(n, dtype=int)


def test_the_bound_by_chance_is_the_largest_over_latents_and_dealt_directions_reach_it():
    """Probe reads one row: whichever latent is dealt that row moves the score, so the maximum is of real size."""
    y, full, change, decoder, locus_map, probes, folds = planted_need(1.0)
    got = ablation.largest_by_chance(y, full, change, decoder, locus_map, probes, folds, 40, 0)
    drop = stats.auroc(y, full) - stats.auroc(y, full + ablation.score_change(change, decoder, locus_map, 60, probes, folds))
    assert drop.argmax() == 2 and drop[2] > 0.35
    assert got.shape == (40,) and got.max() == pytest.approx(drop[2])  # sometimes latent 2 keeps its own row
    assert np.quantile(got, 0.5) < drop[2] / 2
    again = ablation.largest_by_chance(y, full, change, decoder, locus_map, probes, folds, 40, 0)
    np.testing.assert_array_equal(got, again)
    with pytest.raises(ValueError, match="no latent differs"):
        ablation.largest_by_chance(y, full, 0 * change, decoder, locus_map, probes, folds, 2, 0)


def test_causal_match_finds_motifs_that_cost_more_and_not_others():
    motif = np.repeat(list("abcdefgh"), 4)
    drop = np.where(np.isin(motif, ["a", "b", "c"]), 1.0, 0.0) + np.random.default_rng(0).normal(size=32) * 0.1
    match = ablation.causal_match(drop, motif, ["a", "b", "c"], 500, 0)
    assert match["auroc"] == 1.0 and match["p"] < 0.05 and match["n"] == 32  # 1 of 56 deals is the true one
    assert ablation.causal_match(drop, motif, ["a", "d", "g"], 500, 0)["p"] > 0.1
    assert ablation.causal_match(drop, motif, ["z"], 10, 0)["p"] == 1.0


def test_a_person_with_no_window_at_a_locus_does_not_change_there():
    fitted = probe.Probe(np.array([1.0, 10.0]), 0.0, 1.0)  # two loci, width 1
    locus_map = sparse.csr_matrix(
        np.array([[1, 0], [0, 1], [1, 0], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]], dtype=float)
    )
    folds = np.array([0, 0, 1, 1])
    got = ablation.score_change(
        np.array([[2.0], [3]]), np.array([[1.0]]), locus_map, 4, [fitted, fitted], folds
    )
    # raw changes: 2 + 30 = 32, 2, 32, 32; fold 0 less the mean of people 2 and 3, fold 1 less that of 0 and 1
    np.testing.assert_allclose(got, [[32 - 32, 2 - 32, 32 - 17, 32 - 17]])
