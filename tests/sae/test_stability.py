"""Seed stability: known answers for copies, strangers, scaled, flipped and dead latents."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

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
    for wrong in (torch.nan, torch.inf):
        for dense in (2, 1):
            with pytest.raises(ValueError, match=r"b \[2, 2\] has entries that are not finite"):
                stability.match(torch.eye(2), torch.full((2, 2), wrong), dense=dense)


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
    keys = table[["a", "b", "matching"]].itertuples(index=False, name=None)
    assert list(keys) == [(*p, m) for p in pairs for m in ROWS]
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


# Large dictionaries ---------------------------------------------------------------------------------------


def planted_pair(n, d, share, lean=0.0, seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit rows of two dictionaries, in unlike orders. A share of the rows of the second are those of the first with noise
    of 0 to 1.2 times their length, so at cosines from 1 down to 0.6; lean: an offset that all rows have in common."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.nn.functional.normalize(torch.randn(n, d, generator=generator) + lean, dim=1) for _ in range(2))
    size = 1.2 * torch.rand(int(share * n), 1, generator=generator) / d**0.5
    b[: len(size)] = a[: len(size)] + size * torch.randn(len(size), d, generator=generator)
    return a, torch.nn.functional.normalize(b[torch.randperm(n, generator=generator)], dim=1)


def test_sparse_match_by_hand():
    # cosines of rows 0, 1, 2 of a with rows of b: 0 has 0.8 and 0.6, 1 has 0.6 and none, 2 has none above 0.5.
    # 0-1 and 1-0 (0.6 + 0.6) against 0-0 and 1 alone, which counts 0.5 (0.8 + 0.5): row 1 stays alone
    a = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    b = torch.tensor([[0.8, 0.6, 0, 0], [0.6, 0, 0.4, 0.48**0.5], [0, 0, 0.5, 0.75**0.5]])
    row, column, cosine = stability.candidates(a, b)
    assert list(zip(row.tolist(), column.tolist())) == [(0, 0), (0, 1), (1, 0)]
    assert cosine.tolist() == pytest.approx([0.8, 0.6, 0.6])
    partner, cosine = stability.match(a, b, dense=0)
    assert partner.tolist() == [0, -1, -1] and cosine[0] == pytest.approx(0.8) and np.isnan(cosine[1:]).all()
    # with row 1 at 0.78 in place of 0.6, both together are worth more than the 0.8 and one alone
    b[0, :2] = torch.tensor([0.62, 0.78])
    b[0] = torch.nn.functional.normalize(b[0], dim=0)
    b[1, :3] = torch.tensor([0.61, 0, 0.4])
    partner, _ = stability.match(a, torch.nn.functional.normalize(b, dim=1), dense=0)
    assert partner.tolist() == [1, 0, -1]


@pytest.mark.parametrize("absolute", [False, True])
def test_sparse_match_is_the_best_for_cosines_cut_at_the_floor(absolute):
    a, b = planted_pair(300, 12, 0.5)  # in 12 dimensions every row has some 20 candidates
    b[::7] *= -1
    partner, cosine = stability.match(a, b, absolute, dense=299)
    full = (a @ b.T).numpy().astype(np.float64)
    full = np.maximum(np.abs(full) if absolute else full, stability.FLOOR)
    row, column = linear_sum_assignment(full, maximize=True)
    assert np.nansum(cosine - stability.FLOOR) == pytest.approx((full[row, column] - stability.FLOOR).sum(), rel=1e-5)
    paired = partner >= 0
    assert len(set(partner[paired])) == paired.sum() > 250
    np.testing.assert_allclose(cosine[paired], full[paired, partner[paired]], rtol=1e-5)


@pytest.mark.parametrize("n, d, lean, off", [(1500, 64, 0.0, 0.0), (1500, 64, 0.3, 0.002), (1500, 32, 0.0, 0.002)])
def test_sparse_and_dense_find_the_same_share(n, d, lean, off):
    a, b = planted_pair(n, d, 0.5, lean)
    dense, sparse = (stability.match(a, b, dense=most) for most in (n, n - 1))
    share = [(cosine > stability.SHARED).mean() for _, cosine in (dense, sparse)]
    assert share[0] == pytest.approx(share[1], abs=off) and 0.3 < share[0] < 0.5
    pairs = dense[1] > stability.SHARED
    assert (dense[0][pairs] == sparse[0][pairs]).mean() > (0.99 if off else 0.9999)
    assert (sparse[0] < 0).any() and (dense[0] >= 0).all()  # the control: these were two ways


def test_blocks_change_nothing_and_a_row_has_so_many_candidates(monkeypatch):
    a, b = planted_pair(200, 8, 0.5)
    whole = stability.candidates(a, b)
    monkeypatch.setattr(stability, "BLOCK", 200 * 7)
    for one, other in zip(whole, stability.candidates(a, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    monkeypatch.setattr(stability, "CANDIDATES", 5)
    row, _, cosine = stability.candidates(a, b)
    cosines = (a @ b.T).numpy()
    assert np.bincount(row).max() == 5 < np.bincount(whole[0]).max()
    for i in range(200):
        best = np.sort(cosines[i][cosines[i] > stability.FLOOR])[-5:]
        np.testing.assert_allclose(np.sort(cosine[row == i]), best, rtol=1e-5)


def test_seed_stability_of_large_dictionaries(monkeypatch):
    a, b = untied(0, 32, 200), untied(1, 32, 200)
    order = np.random.default_rng(0).permutation(200)
    with torch.no_grad():
        b.W_dec[:120], b.W_enc[:, :120] = a.W_dec[order[:120]], a.W_enc[:, order[:120]]
    dense = stability.seed_stability(a, b)
    monkeypatch.setattr(stability, "DENSE", 100)
    sparse = stability.seed_stability(a, b)
    assert sparse["shared"].tolist() == dense["shared"].tolist() == [0.6] * 3
    assert (sparse["n"] < dense["n"]).any() and (sparse[["n_a", "n_b"]] == 200).all(axis=None)
    none = stability.seed_stability(untied(0, 64, 200), untied(1, 64, 200)).set_index("matching")
    assert (none["shared"] == 0).all() and none["n"]["both"] == 0 and np.isnan(none["cosine"]["both"])


LARGE = """
import torch
from pathlib import Path
from lib.sae import stability
from tests.sae.test_stability import planted_pair

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

a, b = planted_pair(20_000, 48, 0.5)
stability.match(a[:64], b[:64], dense=0)
before = peak()
_, cosine = stability.match(a, b)
print((cosine > stability.SHARED).mean(), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc/self/status on this machine: peak memory cannot be read")
def test_memory_of_a_large_matching_is_bounded():
    root = Path(stability.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True, cwd=root, env=environment)
    share, used = map(float, done.stdout.split())
    assert 0.4 < share < 0.6
    assert used < 150, used  # MiB; all cosines would be 1,526 and their assignment twice that again
