"""Rival attributions, each against the slow and obvious way."""

import numpy as np
import pytest
import torch

from lib.causal import attribution
from lib.genome import sequence as sq
from tests import helpers

SITE = "resid_post.1"
DIRECTION = np.random.default_rng(0).standard_normal(16)


@pytest.fixture(scope="module")
def esm(tmp_path_factory):
    return helpers.tiny("esm_bases", tmp_path_factory.mktemp("esm"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return helpers.tiny("llama", tmp_path_factory.mktemp("llama"))


def direct(adapter, text, direction=DIRECTION):
    """The mean over kept tokens of x . direction, one sequence at a time."""
    return (adapter.run(adapter.encode([text]), [SITE])[SITE].numpy() @ direction).mean()


def test_window_score_equals_direct_computation(esm, llama):
    texts = [helpers.random_dna(n, n, n_at=(3,)) for n in (30, 24, 40)]
    for adapter in (esm, llama):
        scorer = attribution.WindowScore(adapter, SITE, DIRECTION, token_budget=64)  # several batches
        with torch.no_grad():
            np.testing.assert_allclose(scorer.score(texts), [direct(adapter, t) for t in texts], atol=1e-5)
            X = torch.from_numpy(sq.one_hot(sq.encode(texts[0])[None], np.float32))
            assert scorer(X).shape == (1, 1)
            assert scorer(X).item() == pytest.approx(direct(adapter, texts[0]), abs=1e-5)


def test_mutagenesis_equals_mutate_and_rescore(esm, llama):
    text = helpers.random_dna(13, 4)
    for adapter in (esm, llama):
        got = attribution.mutagenesis(
            [attribution.WindowScore(adapter, SITE, DIRECTION)], [text], span=6
        ).values[0]
        assert np.isnan(got).tolist() == [not 3 <= i < 9 for i in range(13)]  # the central six of thirteen
        for i in range(3, 9):
            mutants = [text[:i] + base + text[i + 1 :] for base in "ACGT" if base != text[i]]
            want = np.mean([direct(adapter, text) - direct(adapter, m) for m in mutants])
            assert got[i] == pytest.approx(want, abs=1e-5)
        assert np.nanmax(np.abs(got)) > 1e-3


def test_a_score_that_reads_nothing_has_no_attribution(esm):
    scorer = attribution.WindowScore(esm, SITE, np.zeros(16))
    got = attribution.mutagenesis([scorer], ["ACGTACGT"], span=8)
    assert (got.values == 0).all()
    assert (attribution.integrated_gradients([scorer], ["ACGTACGT"], 10).values == 0).all()


def test_integrated_gradients_add_up(esm, llama):
    texts = [helpers.random_dna(20, 5), helpers.random_dna(14, 6)]
    for adapter in (esm, llama):
        scorers = [attribution.WindowScore(adapter, SITE, DIRECTION)] * 2
        got = attribution.integrated_gradients(scorers, texts, n_steps=100)
        assert (got.delta < 0.05).all(), got.delta
        assert np.isnan(got.values[1, 14:]).all() and not np.isnan(got.values[1, :14]).any()
        blank = adapter.tokenizer.mask_token_id if adapter.family.masked else adapter.tokenizer.unk_token_id
        for row, text in enumerate(texts):
            batch = adapter.encode([text])
            batch.ids[batch.keep] = blank
            baseline = (adapter.run(batch, [SITE])[SITE].numpy() @ DIRECTION).mean()
            total = direct(adapter, text) - baseline
            assert np.nansum(got.values[row]) == pytest.approx(total, rel=0.05)


def test_integrated_gradients_add_up_with_token_dropout(tmp_path):
    # Nucleotide Transformer v1: its embedding blanks <mask> and rescales by the share of it, off the path's end
    adapter = helpers.tiny("esm_bases", tmp_path, token_dropout=True)
    scorer = attribution.WindowScore(adapter, SITE, DIRECTION)
    got = attribution.integrated_gradients([scorer], [helpers.random_dna(20, 5)], n_steps=100)
    assert got.delta[0] < 0.05, got.delta


def test_rollout_is_a_distribution_over_tokens(esm):
    text = helpers.random_dna(20, 5)
    batch = esm.encode([text])
    A = esm.attentions(batch)[:, 0].mean(1).numpy()
    eye = np.eye(22)
    by_hand = ((0.5 * A[1] + 0.5 * eye) @ (0.5 * A[0] + 0.5 * eye))[1:-1].mean(0)[1:-1]  # blocks 0 and 1 only
    got = attribution.attention_rollout([attribution.WindowScore(esm, SITE, DIRECTION)], [text])
    np.testing.assert_allclose(got.values[0], by_hand, atol=1e-6)
    np.testing.assert_allclose(A.sum(-1), 1, atol=1e-5)


def test_spread_conserves_the_sum_by_hand():
    got = attribution.spread(np.array([6.0, 1, -4]), np.array([0, 3, 5]), np.array([3, 4, 7]), 8)
    assert got.tolist() == [2, 2, 2, 1, 0, -2, -2, 0]
    assert attribution.spread(np.empty(0), np.empty(0, int), np.empty(0, int), 3).tolist() == [0, 0, 0]


def test_written_file_holds_everything(tmp_path):
    import h5py

    values = np.array([[1.0, np.nan]], dtype=np.float32)
    both = [
        attribution.Attribution("ISM", values, 2.0),
        attribution.Attribution("IG", values, 1.0, np.array([0.01])),
    ]
    attribution.write(tmp_path / "a.h5", both, {"site": SITE})
    with h5py.File(tmp_path / "a.h5") as f:
        assert f.attrs["site"] == SITE and set(f) == {"ISM", "IG"}
        np.testing.assert_array_equal(f["ISM/values"][:], values)
        assert f["ISM"].attrs["wall_seconds"] == 2 and f["IG/convergence_delta"][0] == 0.01
        assert "convergence_delta" not in f["ISM"]
