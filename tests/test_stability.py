"""Seed stability: known answers for copies, strangers, scaled, flipped and dead latents."""

import numpy as np
import pytest
import torch

from lib.sae import stability
from lib.sae.model import SAE, SAEConfig

ROWS = ["decoder", "encoder", "both"]


def untied(seed, d_in=16, d_sae=40) -> SAE:
    """Encoder and decoder independent, and encoder rows of very different lengths."""
    sae = SAE(SAEConfig("standard", d_in, d_sae), seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        scale = torch.rand(d_sae, generator=generator) * 10 + 0.1
        sae.W_enc.copy_(torch.randn(d_in, d_sae, generator=generator) * scale)
    return sae


def shuffled(sae: SAE, order, enc_scale=1.0) -> SAE:
    """Latent i of the result is latent order[i] of sae."""
    copy = SAE(sae.config)
    with torch.no_grad():
        copy.W_dec.copy_(sae.W_dec[order])
        copy.W_enc.copy_(sae.W_enc[:, order] * enc_scale)
    return copy


def test_match_by_hand():
    # greedy would take 0-0 (0.8), leaving 1-1 (cosine 0): 0.8. The best sum is 0-1 and 1-0: 0.6 + 0.6.
    a = torch.tensor([[3.0, 0, 0], [0, 0.5, 0]])
    b = torch.tensor([[0.8, 0.6, 0], [1.2, 0, 1.6]])
    partner, cosine = stability.match(a, b)
    assert partner.tolist() == [1, 0]
    np.testing.assert_allclose(cosine, [0.6, 0.6], rtol=1e-6)
    partner, cosine = stability.match(a, b[:1])
    assert partner.tolist() == [0, -1] and cosine[0] == pytest.approx(0.8) and np.isnan(cosine[1])


def test_match_keeps_the_sign_unless_told():
    a = torch.eye(3)
    b = torch.diag(torch.tensor([-2.0, -1, 1]))
    partner, cosine = stability.match(a, b)  # the own negative (-1) is worse than a stranger (0)
    assert partner.tolist() == [1, 0, 2] and cosine.tolist() == [0, 0, 1]
    partner, cosine = stability.match(a, b, absolute=True)
    assert partner.tolist() == [0, 1, 2] and cosine.tolist() == [1, 1, 1]


def test_match_refuses_other_widths_and_nan():
    with pytest.raises(ValueError, match="width 3 and 4"):
        stability.match(torch.eye(3), torch.eye(4))
    with pytest.raises(ValueError, match="invalid"):
        stability.match(torch.eye(2), torch.full((2, 2), torch.nan))


def test_a_shuffled_copy_shares_everything_whatever_the_encoder_scale():
    a = untied(0)
    order = np.random.default_rng(0).permutation(40)
    scale = torch.logspace(-3, 3, 40)  # a matching on dot products would follow the long rows
    b = shuffled(a, order, scale)
    table = stability.seed_stability(a, b)
    assert table["matching"].tolist() == ROWS
    assert (table[["n_a", "n_b", "n"]] == 40).all(axis=None)
    assert (table["shared"] == 1).all() and table["cosine"].to_numpy() == pytest.approx([1, 1, 1], abs=1e-6)
    assert (table["null_shared"] < 0.5).all()
    latents = stability.match_latents(a, b)
    inverse = np.argsort(order)
    assert latents["latent"].tolist() == list(range(40)) and latents["shared"].all()
    assert (latents["decoder_partner"] == inverse).all() and (latents["encoder_partner"] == inverse).all()


def test_strangers_are_at_the_null():
    a, b = untied(0, 32, 200), untied(1, 32, 200)
    table = stability.seed_stability(a, b).set_index("matching")
    assert (table["shared"] < 0.05).all() and (table["null_shared"] < 0.05).all()
    for kind in ROWS[:2]:  # the best of 200 random cosines in 32 dimensions is far above 0
        assert table.cosine[kind] > 0.3
        assert table.cosine[kind] == pytest.approx(table.null_cosine[kind], abs=0.02)
    assert table.n["both"] < 10  # about one of 200 agrees by chance


def test_both_needs_one_partner_and_both_cosines():
    # decoders equal in order; encoders: 0 and 1 swapped, 2 equal, 3 at cosine 0.6 with its own
    a, b = (SAE(SAEConfig("standard", 4, 4)) for _ in range(2))
    encoder = torch.eye(4)[:, [1, 0, 2, 3]].clone()
    encoder[:, 3] = torch.tensor([0, 0, 0.8, 0.6])
    with torch.no_grad():
        for sae in (a, b):
            sae.W_dec.copy_(torch.eye(4))
            sae.W_enc.copy_(torch.eye(4))
        b.W_enc.copy_(encoder)
    table = stability.seed_stability(a, b).set_index("matching")
    assert table.shared.to_dict() == {"decoder": 1, "encoder": 0.75, "both": 0.25}
    assert table.n.to_dict() == {"decoder": 4, "encoder": 4, "both": 2}
    np.testing.assert_allclose(table.cosine, [1, (1 + 1 + 1 + 0.6) / 4, (1 + 0.6) / 2], rtol=1e-6)
    assert stability.match_latents(a, b)["shared"].tolist() == [False, False, True, False]


def test_a_flipped_latent_is_another_feature():
    a = untied(0)
    b = shuffled(a, np.arange(40))
    with torch.no_grad():
        b.W_dec[:10] *= -1
    table = stability.seed_stability(a, b).set_index("matching")
    assert table.shared.to_dict() == {"decoder": 0.75, "encoder": 1, "both": 0.75}


def test_dead_latents_are_left_out_on_request():
    a, other = untied(0), untied(5)
    b = shuffled(a, np.arange(40))
    with torch.no_grad():  # 8 of b's latents are dead, and so are theirs in a: chance directions
        b.W_dec[:8], b.W_enc[:, :8] = other.W_dec[:8], other.W_enc[:, :8]
    alive = np.where(np.arange(40) < 8, 0, 0.01)

    def shared(*frequency):
        return stability.seed_stability(a, b, *frequency).set_index("matching").shared["both"]

    assert shared() == 0.8 and shared(alive, alive) == 1
    # left out of b only: a has 40, b 32, and 32 pairs are shared: 64 of 72, not all and not 32 / 40
    assert shared(None, alive) == pytest.approx(64 / 72)
    table = stability.match_latents(a, b, None, alive)
    alone = table["decoder_partner"] == -1
    assert alone.sum() == 8 and not table.loc[alone, "shared"].any()
    # numbered as in b, not among its live latents
    assert table.loc[8:, "decoder_partner"].tolist() == list(range(8, 40))
    table = stability.seed_stability(a, b, None, alive)
    assert table[["n_a", "n_b", "n"]].to_numpy().tolist() == [[40, 32, 32]] * 3
    with pytest.raises(ValueError, match="all 40 latents are dead"):
        stability.seed_stability(a, b, np.zeros(40), alive)
    with pytest.raises(ValueError, match="frequency has shape"):
        stability.seed_stability(a, b, alive[:5], alive)


def test_rows_of_zeros_are_shared_with_nothing():
    a = untied(0)
    with torch.no_grad():
        a.W_dec[:4], a.W_enc[:, :4] = 0, 0
    table = stability.seed_stability(a, shuffled(a, np.arange(40))).set_index("matching")
    assert table.shared.to_numpy() == pytest.approx([0.9] * 3)
    assert table.cosine["decoder"] == pytest.approx(0.9)


def test_permute_keeps_dimensions_and_the_tie_and_breaks_latents():
    rows = torch.nn.functional.normalize(untied(0, 8, 300).W_dec.detach(), dim=1)
    decoder, encoder = stability.permute(rows, rows * 5, seed=0)
    torch.testing.assert_close(decoder.norm(dim=1), torch.ones(300))
    torch.testing.assert_close(decoder, encoder)
    # the same entries a dimension, each row divided by one length: a dimension's signs are only reordered
    assert torch.equal((decoder > 0).sum(0), (rows > 0).sum(0))
    assert (decoder * rows).sum(1).abs().mean() < 0.5  # no row is left as it was
    again = stability.permute(rows, rows, seed=0)[0]
    assert torch.equal(again, decoder) and not torch.equal(stability.permute(rows, rows, seed=1)[0], decoder)


def test_the_null_knows_a_direction_that_all_latents_lean_to():
    # strangers with one strong common offset: cosines near 0.9, and the null says that this is worth nothing
    a, b = untied(0, 32, 100), untied(1, 32, 100)
    with torch.no_grad():
        for sae in (a, b):
            sae.W_dec.copy_(torch.nn.functional.normalize(sae.W_dec + 0.5, dim=1))
            sae.W_enc.copy_(sae.W_dec.T)
    table = stability.seed_stability(a, b).set_index("matching")
    assert table.shared["decoder"] == 1 and table.null_shared["decoder"] == 1
    assert table.cosine["decoder"] == pytest.approx(table.null_cosine["decoder"], abs=0.01)
    # tied, both matchings agree: so they must in the null, where separate permutations would give about none
    assert table.shared["both"] == 1 and table.null_shared["both"] == 1


def test_every_pair_of_seeds_once():
    saes = {"seed 0": untied(0), "seed 1": untied(1), "copy": shuffled(untied(0), np.arange(40)[::-1].copy())}
    table = stability.pairwise_stability(saes, {"seed 0": np.r_[0, np.ones(39)]})
    pairs = [("seed 0", "seed 1"), ("seed 0", "copy"), ("seed 1", "copy")]
    found = table[["a", "b", "matching"]].itertuples(index=False, name=None)
    assert list(found) == [(*p, m) for p in pairs for m in ROWS]
    both = table[table.matching == "both"].set_index(["a", "b"])
    assert both.shared["seed 0", "copy"] == pytest.approx(2 * 39 / 79) and both.shared["seed 1", "copy"] < 0.1
    assert both.n_a.tolist() == [39, 39, 40]
    again = stability.pairwise_stability(saes, {"seed 0": np.r_[0, np.ones(39)]})
    assert table.equals(again)


def test_one_shape_and_two_seeds_are_needed():
    with pytest.raises(ValueError, match="d_in, d_sae 16, 40 and 16, 48"):
        stability.seed_stability(untied(0), untied(1, d_sae=48))
    with pytest.raises(ValueError, match="at least two SAEs, found 1"):
        stability.pairwise_stability({"a": untied(0)})
