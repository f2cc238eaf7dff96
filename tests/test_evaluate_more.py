"""Zero ablation beside mean ablation, and decoder coherence."""

import numpy as np
import pytest
import torch

from lib.sae import evaluate
from tests import helpers

SITE = "resid_post.1"


@pytest.fixture(scope="module", params=["esm_bases", "llama"])
def losses(request, tmp_path_factory):
    """Per-unit losses of a tiny masked and a tiny causal model."""
    adapter = helpers.tiny(request.param, tmp_path_factory.mktemp(request.param))
    sequences = [helpers.random_dna(60, s, n_at=(5,)) for s in range(4)]
    rebuilt = {
        "perfect": lambda x: x,
        "zeros": lambda x: 0 * x,
        "half": lambda x: 0.5 * x,
        "mean": lambda x: x.mean(0, keepdim=True).expand_as(x),  # one batch holds all the tokens
    }
    return evaluate.unit_losses(rebuilt, adapter, SITE, sequences)


def test_zero_ablation_is_the_loss_with_zeros(losses):
    assert list(losses)[:4] == ["n_tokens", "original", "mean ablated", "zero ablated"]
    np.testing.assert_allclose(losses["zero ablated"], losses["zeros"], rtol=1e-6)
    np.testing.assert_allclose(losses["mean ablated"], losses["mean"], rtol=1e-4)
    assert (losses["zero ablated"] - losses["mean ablated"]).abs().max() > 0.05  # two different baselines


def test_loss_recovered_names_its_ablation(losses):
    for ablation, worst in (("mean", "mean"), ("zero", "zeros")):
        for name, value in (("perfect", 1), (worst, 0)):
            e = evaluate.loss_recovered(losses, name, 20, ablation=ablation)
            assert e.value == pytest.approx(value, abs=1e-3)
    total = losses.sum()
    by_hand = (total["zero ablated"] - total["half"]) / (total["zero ablated"] - total["original"])
    assert evaluate.loss_recovered(losses, "half", 20, ablation="zero").value == pytest.approx(by_hand)
    default = evaluate.loss_recovered(losses, "half", 20)
    assert default == evaluate.loss_recovered(losses, "half", 20, ablation="mean")
    assert abs(default.value - by_hand) > 1e-3
    with pytest.raises(ValueError, match="'median': wanted mean or zero"):
        evaluate.loss_recovered(losses, "half", ablation="median")


def test_coherence_by_hand():
    # 0 and 1: cosine 0.6; 2 is the negative of 1, so 0 is at -0.6 to it; 3 is orthogonal to all; 4 is empty
    rows = torch.tensor([[2.0, 0, 0], [0.6, 0.8, 0], [-6, -8, 0], [0, 0, 0.1], [0, 0, 0]])
    assert evaluate.coherence(rows.double()).tolist() == pytest.approx([0.6, 1, 1, 0, 0])


@pytest.mark.parametrize("chunk", [1, 7, 50, 256])
def test_coherence_is_the_same_in_chunks(chunk):
    rows = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = rows / rows.norm(dim=1, keepdim=True)
    cosine = (rows @ rows.T).abs()
    expected = cosine.masked_fill(torch.eye(50, dtype=torch.bool), 0).max(1).values
    torch.testing.assert_close(evaluate.coherence(rows, chunk), expected)
    assert (expected < 1).all() and (expected > 0.5).all()


def test_coherence_holds_one_block_at_a_time():
    """The largest tensor made is a block of cosines or a copy of the rows, never [d_sae, d_sae]."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                self.size = max(self.size, tensor.numel() if torch.is_tensor(tensor) else 0)
            return out

    with Largest() as seen:
        evaluate.coherence(torch.randn(2048, 8), chunk=16)
    assert seen.size == 2048 * 16
