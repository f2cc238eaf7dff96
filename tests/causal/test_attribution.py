"""Rival attributions, each against the slow and obvious way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.causal import attribution
from lib.models import adapter as models
from lib.models import sequence as sq
from lib.sae.model import SAE, SAEConfig
from tests import helpers

SITE = "resid_post.1"
DEMO = Path(__file__).resolve().parents[2] / "tests/planted_model"
DIRECTION = np.random.default_rng(0).standard_normal(16)


@pytest.fixture(scope="module")
def esm(tmp_path_factory):
    return helpers.tiny("esm_bases", tmp_path_factory.mktemp("esm"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return helpers.tiny("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def demo():
    return models.load(DEMO)


def direct(adapter, text, direction=DIRECTION):
    """The mean over kept tokens of x . direction, one sequence at a time."""
    return (adapter.run(adapter.encode([text]), [SITE])[SITE].numpy() @ direction).mean()


def test_window_score_equals_direct_computation(esm, llama):
    texts = [helpers.random_dna(n, n, n_at=(3,)) for n in (30, 24, 40)]
    for adapter in (esm, llama):
        scorer = attribution.WindowScore(adapter, SITE, DIRECTION, token_budget=64)  # several batches
        np.testing.assert_allclose(scorer.score(texts), [direct(adapter, t) for t in texts], atol=1e-5)


def test_each_sequence_has_its_own_direction_and_equal_texts_run_once(esm, monkeypatch):
    W, texts = (
        np.random.default_rng(1).standard_normal((2, 16)),
        [helpers.random_dna(20, 1), helpers.random_dna(15, 2)],
    )
    scorers = [attribution.WindowScore(esm, SITE, w) for w in W]
    want = [[direct(esm, texts[0], W[0]), direct(esm, texts[1], W[0])], [direct(esm, texts[0], W[1])] * 3]
    run, ran = esm.run_grid, []
    monkeypatch.setattr(esm, "run_grid", lambda batch, names: ran.append(len(batch.ids)) or run(batch, names))
    got = attribution.score_each(scorers, [texts, [texts[0]] * 3])
    for scores, values in zip(got, want, strict=True):
        np.testing.assert_allclose(scores, values, atol=1e-5)
    assert sum(ran) == 2


def test_scorers_of_two_sites_or_of_other_number_are_refused(esm):
    scorers = [attribution.WindowScore(esm, site, DIRECTION) for site in (SITE, "resid_post.0")]
    with pytest.raises(ValueError, match="resid_post.0, resid_post.1"):
        attribution.mutagenesis(scorers, ["ACGT"] * 2, span=2)
    with pytest.raises(ValueError, match="2 scorers for 1"):
        attribution.attention_rollout(scorers, ["ACGT"])
    with pytest.raises(ValueError, match="span 0"):
        attribution.mutagenesis(scorers[:1], ["ACGT"], span=0)


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


def test_mutagenesis_of_many_is_that_of_each(esm, llama):
    texts = [helpers.random_dna(n, n, n_at=(8,)) for n in (20, 14, 17)]
    for adapter in (esm, llama):
        scorers = [
            attribution.WindowScore(adapter, SITE, w)
            for w in np.random.default_rng(2).standard_normal((3, 16))
        ]
        together = attribution.mutagenesis(scorers, texts, span=10).values
        for row, text in enumerate(texts):
            alone = attribution.mutagenesis(scorers[row : row + 1], [text], span=10).values[0]
            np.testing.assert_allclose(together[row, : len(text)], alone, atol=1e-5)
            assert (
                np.isnan(together[row, 8]) and np.isfinite(together[row]).sum() == 9
            )  # the N is no base to mutate


def test_mutagenesis_equals_tangermeme_on_the_demo_model(demo):
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    scorer, text = (
        attribution.WindowScore(demo, SITE, np.random.default_rng(3).standard_normal(128)),
        helpers.random_dna(128, 3),
    )

    class Model(torch.nn.Module):
        def forward(self, X):
            return torch.from_numpy(
                scorer.score([sq.decode(c) for c in X.argmax(1).to(torch.uint8).numpy()])
            )[:, None]

    X = torch.from_numpy(sq.one_hot(sq.encode(text)[None], np.float32))
    raw = saturation_mutagenesis(Model(), X, start=60, end=68, raw_outputs=True, device="cpu")
    want = (raw.y0.reshape(()) - raw.y_hat.reshape(4, 8)).sum(0) / 3  # the base itself changes nothing
    got = attribution.mutagenesis([scorer], [text], span=8).values[0]
    np.testing.assert_allclose(got[60:68], want, atol=1e-4)  # float32 scores of about 100
    assert np.abs(got[60:68]).min() > 1e-3


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


def test_integrated_gradients_take_more_steps_where_they_must(esm):
    texts = [helpers.random_dna(20, seed) for seed in range(6)]
    scorers = [attribution.WindowScore(esm, SITE, DIRECTION)] * 6
    few = attribution.integrated_gradients(scorers, texts, n_steps=1, max_steps=1)
    more = attribution.integrated_gradients(scorers, texts, n_steps=1)
    assert (few.delta >= 0.05).any() and (more.delta < 0.05).all(), (few.delta, more.delta)
    done = few.delta < 0.05
    np.testing.assert_array_equal(few.values[done], more.values[done])


def test_integrated_gradients_of_many_are_those_of_each(esm):
    texts = [helpers.random_dna(n, n) for n in (20, 14, 17)]
    scorers = [
        attribution.WindowScore(esm, SITE, w) for w in np.random.default_rng(2).standard_normal((3, 16))
    ]
    for method in (attribution.integrated_gradients, attribution.attention_rollout):
        together = method(scorers, texts).values
        for row, text in enumerate(texts):
            np.testing.assert_allclose(
                together[row, : len(text)], method(scorers[row : row + 1], [text]).values[0], atol=1e-4
            )


def test_latents_their_bias_and_the_error_add_up_to_the_score(esm):
    sae = SAE(SAEConfig("topk", 16, 40, 4)).eval()
    sae.b_dec.data += torch.randn(16, generator=torch.Generator().manual_seed(0))
    texts, W = (
        [helpers.random_dna(20, 5), helpers.random_dna(14, 6)],
        np.random.default_rng(2).standard_normal((2, 16)),
    )
    scorers = [attribution.WindowScore(esm, SITE, w) for w in W]
    got = attribution.latent_attribution(scorers, texts, sae).values
    for row, (text, w) in enumerate(zip(texts, W, strict=True)):
        x = esm.run(esm.encode([text]), [SITE])[SITE]
        with torch.no_grad():
            error = (x - sae(x)[0]).numpy() @ w
        rest = sae.b_dec.detach().numpy() @ w + error.mean()
        assert np.nansum(got[row]) + rest == pytest.approx(direct(esm, text, w), abs=1e-4)
        assert np.nansum(got[row]) != pytest.approx(0, abs=1e-3)


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


def test_rollout_stops_at_the_scored_site(esm):
    assert [attribution.depth(site, 3) for site in ("embed", "mixer_out.0", "resid_post.1", "final")] == [
        0,
        1,
        2,
        3,
    ]
    got = attribution.attention_rollout(
        [attribution.WindowScore(esm, "embed", DIRECTION)], ["ACGTACGT"]
    ).values[0]
    np.testing.assert_allclose(got, 1 / 8, atol=1e-6)  # nothing has been mixed yet


def test_spread_conserves_the_sum_by_hand():
    got = attribution.spread(np.array([6.0, 1, -4]), np.array([0, 3, 5]), np.array([3, 4, 7]), 8)
    assert got.tolist() == [2, 2, 2, 1, 0, -2, -2, 0]
    overlapping = attribution.spread(np.array([3.0, 6]), np.array([0, 1]), np.array([3, 4]), 4)
    assert overlapping.tolist() == [1, 3, 3, 2]
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
        assert f["IG/convergence_delta"][0] == 0.01 and "convergence_delta" not in f["ISM"]
    slower = [replace(a, seconds=a.seconds + 1.5) for a in both]
    attribution.write(tmp_path / "b.h5", slower, {"site": SITE})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_all_methods_at_once_are_each_alone(esm, monkeypatch):
    texts = [helpers.random_dna(20, 5), helpers.random_dna(20, 6)]
    scorers = [attribution.WindowScore(esm, SITE, DIRECTION)] * 2
    torch.manual_seed(0)
    sae = SAE(SAEConfig("topk", 16, 40, 4)).eval()
    got, why_not = attribution.explain(scorers, texts, sae, 8, 20)
    alone = [attribution.mutagenesis(scorers, texts, 8), attribution.integrated_gradients(scorers, texts, 20),
             attribution.deeplift(scorers, texts),
             attribution.latent_attribution(scorers, texts, sae), attribution.attention_rollout(scorers, texts)]  # fmt: skip
    assert why_not == {} and [a.method for a in got] == [a.method for a in alone]
    assert all(np.array_equal(a.values, b.values, equal_nan=True) for a, b in zip(got, alone))

    def without_attention(*arguments):
        raise NotImplementedError("this model has no attention")

    monkeypatch.setattr(attribution, "attention_rollout", without_attention)
    got, why_not = attribution.explain(scorers, texts, sae, 8, 20)
    assert len(got) == 4 and why_not == {"attention rollout": "this model has no attention"}
