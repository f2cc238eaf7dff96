"""DeepLIFT's rules: by hand, against captum where it has them, and summation to delta on what transformers are made of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.causal import attribution, deeplift
from lib.models import adapter as models
from tests import helpers, zoo

DEMO = Path(__file__).resolve().parents[2] / "params/demo/model"


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def missing_of(f, *shape: int) -> float:
    """The largest share of f(x) - f(reference) that contributions miss."""
    x, x0 = 2 * normal(4, *shape, seed=1), normal(4, *shape, seed=2)
    _, missing = deeplift.contributions(f, x, x0)
    return (missing / (f(x) - f(x0))).abs().max().item()


def test_of_a_linear_model_it_is_gradient_by_change():
    w, x, x0 = normal(3), normal(2, 3, seed=1), normal(2, 3, seed=2)
    given, missing = deeplift.contributions(lambda x: x @ w + 5, x, x0)
    torch.testing.assert_close(given, w * (x - x0))
    torch.testing.assert_close(missing, torch.zeros(2, dtype=torch.float64))


def test_rescale_by_hand():
    # relu(a + b - 1) from (0, 0) to (2, 1): in changes by 3, from -1 to 2; out by 2. The gradient at the input would give 2 and 1
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    given, _ = deeplift.contributions(lambda x: F.relu(x.sum(1) - 1), x, torch.zeros(1, 2, dtype=torch.float64))
    np.testing.assert_allclose(given, [[4 / 3, 2 / 3]])


def test_a_product_gives_each_factor_half_of_what_both_do():
    # a b from (1, 2) to (3, 5): 2 * 3.5 + 3 * 2 = 13 = 15 - 2
    x, x0 = torch.tensor([[3.0, 5.0]], dtype=torch.float64), torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    given, missing = deeplift.contributions(lambda x: x[:, 0] * x[:, 1], x, x0)
    assert given.tolist() == [[7, 6]] and missing.tolist() == [0]


def test_softmax_by_hand():
    # of two logits, from even to 3 : 1: log p change by l1 = log 1.5 and l2 = log .5, means m1 = .25 / l1, m2 = -.25 / l2;
    # p1 changes by m1 (dz1 - dlse), dlse = (m1 dz1 + m2 dz2) / (m1 + m2), and all that moves is z1, so that it gives all of .25
    z, z0 = torch.tensor([[np.log(3), 0.0]]), torch.tensor([[0.0, 0.0]]).double()
    given, _ = deeplift.contributions(lambda z: torch.softmax(z, 1)[:, 0], z, z0)
    np.testing.assert_allclose(given, [[0.25, 0]], atol=1e-12)
    # both move by log 3: nothing changes, and what one gives the other takes
    given, _ = deeplift.contributions(lambda z: F.softmax(z, -1)[:, 0], z0 + np.log(3), z0)
    np.testing.assert_allclose(given, [[0.25 * np.log(3), -0.25 * np.log(3)]], atol=1e-12)


def test_nets_of_modules_are_those_of_captum():
    from captum.attr import DeepLift

    torch.manual_seed(0)
    for between in (nn.ReLU, nn.Softplus, nn.Tanh):
        net = nn.Sequential(nn.Linear(5, 8), between(), nn.Linear(8, 6), between(), nn.Linear(6, 1)).double().requires_grad_(False)
        x, x0 = normal(4, 5, seed=1), normal(4, 5, seed=2)
        given, _ = deeplift.contributions(lambda x, net=net: net(x)[:, 0], x, x0)
        torch.testing.assert_close(given, DeepLift(net).attribute(x.requires_grad_(), x0).detach())


def test_a_function_spelt_out_is_the_function():
    x, x0, w = normal(3, 7, seed=1), normal(3, 7, seed=2), normal(7, seed=3)
    for one, spelt in (
        (F.gelu, lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))), (F.silu, lambda x: x / (1 + (-x).exp())),
        (lambda x: F.layer_norm(x, (7,)), lambda x: (c := x - x.mean(1, True)) * ((c * c).mean(1, keepdim=True) + 1e-5) ** -0.5),
    ):  # fmt: skip
        both = [deeplift.contributions(lambda x, f=f: f(x) @ w, x, x0)[0] for f in (one, spelt)]
        torch.testing.assert_close(*both)


HEADS = 2 * normal(3, 8, 8, seed=5)


def attended(x: torch.Tensor, **options) -> torch.Tensor:
    """A block's attention on x [n, length, 8], by the kernel."""
    return F.scaled_dot_product_attention(*(x @ w for w in HEADS), **options).flatten(1).sum(1)


def by_hand(x: torch.Tensor) -> torch.Tensor:
    q, k, v = (x @ w for w in HEADS)
    return (torch.softmax(q @ k.transpose(1, 2) / 8**0.5, -1) @ v).flatten(1).sum(1)


@pytest.mark.parametrize("f", [
    lambda x: F.gelu(x).sum((1, 2)), lambda x: (x**3).sum((1, 2)), lambda x: torch.einsum("nij,nkj->n", x, x.tanh()),
    lambda x: (x[:, 0] / (1 + x[:, 1] ** 2)).sum(1), lambda x: (2 / (1 + x.exp())).sum((1, 2)),
    lambda x: F.layer_norm(x, (8,), HEADS[0, 0], HEADS[0, 1])[:, :, 0].sum(1), lambda x: F.rms_norm(x, (8,))[:, :, 0].sum(1),
    by_hand, attended, lambda x: attended(x, is_causal=True),
    lambda x: attended(x, attn_mask=torch.tensor([True] * 4 + [False])[None, None]),
])  # fmt: skip
def test_contributions_sum_to_delta_and_gradients_do_not(f):
    assert missing_of(f, 5, 8) < 1e-9
    x, x0 = (2 * normal(4, 5, 8, seed=1)).requires_grad_(), normal(4, 5, 8, seed=2)
    by_gradient = (torch.autograd.grad(f(x).sum(), x)[0] * (x - x0)).flatten(1).sum(1)
    assert ((by_gradient / (f(x) - f(x0)) - 1).abs() > 0.01).all()


def test_the_kernel_is_the_attention_spelt_out():
    x, x0 = normal(4, 5, 8, seed=1), normal(4, 5, 8, seed=2)
    torch.testing.assert_close(*(deeplift.contributions(f, x, x0)[0] for f in (attended, by_hand)))


def test_what_does_not_change_gives_nothing_and_small_changes_are_no_noise():
    x = normal(2, 5, 8).float()
    given, _ = deeplift.contributions(attended32, x, x)
    assert (given == 0).all()
    near, _ = deeplift.contributions(attended32, x + 1e-4, x)
    x = x.requires_grad_()
    slope = torch.autograd.grad(attended32(x).sum(), x)[0].detach()
    np.testing.assert_allclose(near / 1e-4, slope, atol=0.02 * slope.abs().max())


def attended32(x: torch.Tensor) -> torch.Tensor:
    q, k, v = (x @ w.float() for w in HEADS)
    return F.gelu(torch.softmax(F.layer_norm(q, (8,)) @ k.transpose(1, 2) / 8, -1) @ v).flatten(1).sum(1)


def test_an_op_without_a_rule_is_named():
    with pytest.raises(NotImplementedError, match="no rule for topk"):
        deeplift.contributions(lambda x: x.topk(2).values.sum(1), normal(2, 3), normal(2, 3, seed=1))
    with pytest.raises(NotImplementedError, match="first axis, here of shape"):
        deeplift.contributions(lambda x: F.gelu(x.T[:3]).sum(0), normal(2, 3), normal(2, 3, seed=1))
    with pytest.raises(NotImplementedError, match="no rule for relu_"):
        deeplift.contributions(lambda x: (x + 1).relu_().sum(1), normal(2, 3), normal(2, 3, seed=1))


# ---- of models ------------------------------------------------------------------------------------------------------


def explained(adapter: models.Adapter, texts: list, seed: int = 0) -> attribution.Attribution:
    direction = np.random.default_rng(seed).standard_normal(adapter.d_model)
    return attribution.deeplift([attribution.WindowScore(adapter, adapter.sites()[-1].name, direction)] * len(texts), texts)


@pytest.mark.parametrize("kind", ["esm_6mers", "nt_v1", "nt_v2", "dnabert", "modernbert", "gpt2", "gpt_neox", "llama", "gemma2", "helix",
                                  "hyena", "mamba2_rna"])  # fmt: skip
def test_sums_to_delta_on_families(tmp_path, kind):
    of = zoo.ZOO[kind]
    got = explained(models.load(of.save(tmp_path, 0)), of.records)
    assert got.delta.max() < 1e-3 and np.nanmax(np.abs(got.values)) > 0


def test_sums_to_delta_on_the_demo_model_and_leaves_it_as_it_was():
    model, texts = models.load(DEMO), [helpers.random_dna(n, n) for n in (40, 256)]
    asked = [p.requires_grad for p in model.model.parameters()]
    direction = np.random.default_rng(0).standard_normal(128)
    scorers = [attribution.WindowScore(model, "resid_post.4", direction)] * 2
    got = attribution.deeplift(scorers, texts)
    assert got.delta.max() < 1e-5
    assert [p.requires_grad for p in model.model.parameters()] == asked
    for row, text in enumerate(texts):
        batch = model.encode([text])
        batch.ids[batch.keep] = model.tokenizer.mask_token_id
        baseline = (model.run(batch, ["resid_post.4"])["resid_post.4"].double().numpy() @ direction).mean()
        assert np.nansum(got.values[row]) == pytest.approx(scorers[row].score([text])[0] - baseline, rel=1e-3)
    alone = attribution.deeplift(scorers[:1], texts[:1]).values[0]
    np.testing.assert_allclose(got.values[0, :40], alone, atol=1e-4)
    assert np.isnan(got.values[0, 40:]).all()


def test_a_model_with_an_op_without_a_rule_has_no_deeplift_and_the_reason(tmp_path):
    model, texts = helpers.tiny("mixtral", tmp_path), zoo.DNA[:2]
    with pytest.raises(NotImplementedError, match="no rule for topk"):
        explained(model, texts)
