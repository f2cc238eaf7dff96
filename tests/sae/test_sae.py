"""Sparse autoencoders: identities, gradients, training on a known dictionary, files."""

import json

import numpy as np
import pytest
import torch

from lib.sae import evaluate, format
from lib.sae.model import SAE, SAEConfig, random_dictionary

IDENTITY = {"class": "EsmForMaskedLM", "weights_sha256": "a" * 64}


def random_sae(architecture="topk", d_in=6, d_sae=20, k=3, seed=0) -> SAE:
    """All four tensors random, so that no bias hides."""
    sae = SAE(SAEConfig(architecture, d_in, d_sae, k if architecture == "topk" else 0), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (sae.W_enc, sae.b_enc, sae.b_dec):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return sae.eval()


def planted_data(n=20000, d_in=16, d_true=24, active=3, seed=0):
    """Sums of `active` unit directions out of d_true, with sizes in 1 .. 2, and an offset. Returns x, directions."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((d_true, d_in))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    which = np.argsort(rng.random((n, d_true)), axis=1)[:, :active]
    x = (directions[which] * rng.uniform(1, 2, (n, active, 1))).sum(1)
    return (x + 0.5).astype(np.float32), directions


# The model -------------------------------------------------------------------------------------------------


def test_encode_by_hand():
    sae = SAE(SAEConfig("topk", 2, 3, 2))
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0, 2], [0, 1, 2]]))
        sae.b_enc.copy_(torch.tensor([0.0, 1, -1]))
        sae.b_dec.copy_(torch.tensor([1.0, 1]))
    # x - b_dec = (2, -1): pre = (2, -1 + 1, 4 - 2 - 1) = (2, 0, 1); the two largest are 2 and 1
    torch.testing.assert_close(sae.pre_activations(torch.tensor([[3.0, 0]])), torch.tensor([[2.0, 0, 1]]))
    assert sae.encode(torch.tensor([[3.0, 0]])).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("k", [1, 3, 20])
def test_topk_keeps_at_most_k_and_the_largest(k):
    sae = random_sae(k=k)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    latents, pre = sae.encode(x), sae.pre_activations(x)
    assert (latents >= 0).all() and ((latents > 0).sum(1) <= k).all()
    want = torch.where(pre >= pre.sort(1, descending=True).values[:, [k - 1]], pre.relu(), 0.0)
    torch.testing.assert_close(latents, want)


def test_standard_is_relu():
    sae = random_sae("standard")
    x = torch.randn(50, 6)
    torch.testing.assert_close(sae.encode(x), sae.pre_activations(x).clamp_min(0))


@pytest.mark.parametrize("wrong", [("topk", 4, 8, 0), ("topk", 4, 8, 9), ("softmax", 4, 8, 2)])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="k <= d_sae|architecture 'softmax'"):
        SAEConfig(*wrong)


def test_decoding_one_unit_latent_gives_its_row_plus_b_dec():
    sae = random_sae()
    torch.testing.assert_close(sae.decode(torch.eye(20)), sae.W_dec + sae.b_dec)


@pytest.mark.parametrize("architecture", ["topk", "standard"])
def test_random_dictionary_has_the_centre_other_unit_rows_and_the_given_l0(architecture):
    like = random_sae(architecture)
    null = random_dictionary(like, 4, 3)
    torch.testing.assert_close(null.b_dec, like.b_dec)
    torch.testing.assert_close(null.W_dec.norm(dim=1), torch.ones(20))
    assert (null.W_dec - like.W_dec).abs().max() > 0.1
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    assert ((null.encode(x) > 0).sum(1) == 4).float().mean() > 0.9  # an untrained ReLU would keep about 10 of 20


# Quality ---------------------------------------------------------------------------------------------------


class Fixed(SAE):
    """Reconstructs to order, so that the definition of explained variance shows."""

    def __init__(self, d_in, reconstruct):
        super().__init__(SAEConfig("topk", d_in, 2 * d_in, 1))
        self.reconstruct = reconstruct

    def forward(self, x):
        return self.reconstruct(x), self.encode(x)


def ev(x, reconstruct, chunk=16384):
    n = len(x)
    return evaluate.quality(
        Fixed(x.shape[1], reconstruct), x, np.arange(n), np.arange(n) // 10, chunk
    ).explained_variance


def test_explained_variance_is_one_ratio_about_the_mean():
    x = np.random.default_rng(0).standard_normal((400, 3)).astype(np.float32) * [1, 2, 5] + [10, 0, -3]
    x = x.astype(np.float32)
    mean = torch.from_numpy(x.mean(0))
    assert ev(x, lambda x: x) == 1
    assert ev(x, lambda x: mean.expand_as(x)) == pytest.approx(0, abs=1e-6)
    # a constant offset is error here; a rival that centres the residual would call it 1
    shift = torch.tensor([2.0, 0, 0])
    assert ev(x, lambda x: x + shift) == pytest.approx(1 - 4 / x.var(0).sum(), rel=1e-5)
    # the second moment, not the variance, below would give more than 0 for zeros; ours is far below 0
    assert ev(x, torch.zeros_like) == pytest.approx(1 - (x**2).sum() / (x.var(0).sum() * 400), rel=1e-4)
    # only the first dimension lost: var_0 / sum of var, where a mean over dimensions would give 2/3
    lost = torch.tensor([0.0, 1, 1])
    assert ev(x, lambda x: x * lost + mean * (1 - lost)) == pytest.approx(
        1 - x.var(0)[0] / x.var(0).sum(), rel=1e-5
    )
    assert ev(x, lambda x: 0.5 * x) == pytest.approx(ev(x, lambda x: 0.5 * x, chunk=37), rel=1e-9)


def test_quality_counts_by_unit():
    sae = random_sae(k=2)
    x = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    unit, rows = np.repeat([3, 8], [20, 30]), np.arange(5, 45)
    q = evaluate.quality(sae, x, rows, unit, chunk=7)
    with torch.no_grad():
        x_hat, latents = sae(torch.from_numpy(x[rows]))
    on = (latents > 0).numpy()
    error = ((x[rows] - x_hat.numpy()) ** 2).sum(1)
    assert q.n_tokens.tolist() == [15, 25] and q.n_active.tolist() == [on[:15].sum(), on[15:].sum()]
    np.testing.assert_allclose(q.sse, [error[:15].sum(), error[15:].sum()], rtol=1e-5)
    np.testing.assert_allclose(q.frequency, on.mean(0))
    assert q.l0 == on.sum() / 40 and q.dead_share == (on.sum(0) == 0).mean()
    sparse = evaluate.latents_of(sae, x, rows, chunk=7)
    np.testing.assert_allclose(sparse.toarray(), latents.numpy(), atol=1e-6)
    assert sparse.nnz == on.sum()


@pytest.mark.parametrize("kind", ["esm_bases", "llama"])
def test_loss_recovered_is_one_for_a_perfect_sae_and_zero_for_the_mean(tmp_path, kind):
    from tests import helpers

    adapter = helpers.tiny(kind, tmp_path)
    sequences = [helpers.random_dna(60, s, n_at=(5,)) for s in range(4)]
    rebuilt = {"perfect": lambda x: x, "mean": lambda x: x.mean(0, keepdim=True).expand_as(x), "noisy": lambda x: 0.9 * x}
    losses = evaluate.unit_losses(rebuilt, adapter, "resid_post.1", sequences)
    assert len(losses) == 4 and abs((losses["mean ablated"] - losses["original"]).sum()) > 0.1
    e = evaluate.loss_recovered(losses, "perfect", 50)
    assert (e.value, e.low, e.high, e.n) == pytest.approx((1, 1, 1, 4), abs=1e-3)
    assert evaluate.loss_recovered(losses, "mean", 50).value == pytest.approx(0, abs=1e-4)
    if kind == "llama":  # nothing is drawn: the same numbers whatever the batch
        apart = evaluate.unit_losses({"noisy": rebuilt["noisy"]}, adapter, "resid_post.1", sequences, units_a_batch=3)
        np.testing.assert_allclose(apart, losses[apart.columns], rtol=1e-4)
        # next-token loss at kept tokens whose next token is kept too, by hand
        batch = adapter.encode(sequences)
        logits = adapter.logits(batch).log_softmax(-1)
        for r in range(len(sequences)):
            by_hand = [-logits[r, t, batch.ids[r, t + 1]].item() for t in range(batch.ids.shape[1] - 1)
                       if batch.keep[r, t] and batch.keep[r, t + 1]]  # fmt: skip
            assert losses["n_tokens"][r] == len(by_hand)
            assert losses["original"][r] == pytest.approx(np.sum(by_hand), rel=1e-5)


def test_pca_sums_follow_the_units_of_quality():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((300, 6)) * [9, 5, 1, 1, 1, 1] + 3).astype(np.float32)
    unit, rows = np.repeat([7, 2, 5], 100), np.arange(20, 290)
    centre, basis = evaluate.pca_basis(x, np.arange(300), 2, 0)
    sse, sst = evaluate.pca_quality(x, rows, unit, centre, basis, chunk=37)
    q = evaluate.quality(random_sae(), x, rows, unit)
    np.testing.assert_allclose(sst, q.sst, rtol=1e-5)
    assert sse.sum() < 0.06 * sst.sum()  # 4 of 110 parts of the variance lie outside
    whole = evaluate.pca_quality(x, rows, unit, *evaluate.pca_basis(x, np.arange(300), 6, 0))[0]
    np.testing.assert_allclose(whole, 0, atol=1e-6)


def test_paired_gain_is_the_difference_of_two_explained_variances():
    rng = np.random.default_rng(0)
    sst = rng.uniform(1, 30, 40)  # units differ far more than methods do
    own, rival = 0.10 * sst, 0.12 * sst
    e = evaluate.paired_gain(own, rival, sst, 200, 0)
    assert e.value == pytest.approx((1 - own.sum() / sst.sum()) - (1 - rival.sum() / sst.sum()))
    assert (e.low, e.high, e.n) == pytest.approx((0.02, 0.02, 40))  # paired: the spread over units cancels
    back = evaluate.paired_gain(rival, own, sst, 200, 0)
    assert back.value == pytest.approx(-e.value) and back.high < 0


# Files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["topk", "standard"])
def test_save_and_load_are_exact(tmp_path, architecture):
    sae = random_sae(architecture)
    format.save(sae, tmp_path / "sae", "resid_post.2", IDENTITY)
    back = format.load(tmp_path / "sae", "resid_post.2", IDENTITY)
    assert back.config == sae.config and not back.training
    for name in format.TENSORS:
        assert torch.equal(getattr(back, name), getattr(sae, name))
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert (
        config["architecture"] == architecture
        and config["apply_b_dec_to_input"]
        and "k" in config
        or architecture != "topk"
    )
    assert sorted(p.name for p in (tmp_path / "sae").iterdir()) == ["cfg.json", "sae_weights.safetensors"]


def test_an_sae_of_another_model_or_site_is_refused(tmp_path):
    format.save(random_sae(), tmp_path / "sae", "resid_post.2", IDENTITY)
    with pytest.raises(ValueError, match="sae: trained on site resid_post.2, asked for resid_post.1"):
        format.load(tmp_path / "sae", "resid_post.1", IDENTITY)
    with pytest.raises(
        ValueError, match="sae: trained on EsmForMaskedLM aaaa.*asked for EsmForMaskedLM bbbb"
    ):
        format.load(tmp_path / "sae", "resid_post.2", IDENTITY | {"weights_sha256": "b" * 64})


def test_damaged_folders_are_refused_by_name(tmp_path):
    def fresh():
        format.save(random_sae(), tmp_path / "sae", "s", IDENTITY)
        return tmp_path / "sae" / "sae_weights.safetensors", tmp_path / "sae" / "cfg.json"

    weights, config = fresh()
    data = weights.read_bytes()
    for size in (0, 5, 100, len(data) // 2, len(data) - 1):
        weights.write_bytes(data[:size])
        with pytest.raises(ValueError, match="sae_weights.safetensors: (not a whole|cut short)"):
            format.load(tmp_path / "sae", "s", IDENTITY)
    for name in ("sae_weights.safetensors", "cfg.json"):
        fresh()
        (tmp_path / "sae" / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"sae: no {name}"):
            format.load(tmp_path / "sae", "s", IDENTITY)
    fresh()
    text = config.read_text()
    for wrong in (text[: len(text) // 2], "{}", text.replace('"d_sae": 20', '"d_sae": 21')):
        config.write_text(wrong)
        with pytest.raises(ValueError, match=str(tmp_path / "sae")):
            format.load(tmp_path / "sae", "s", IDENTITY)
