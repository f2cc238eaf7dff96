"""Losses of every architecture: gradients against finite differences in float64, sparse against dense, by hand."""

import math

import numpy as np
import pytest
import torch

from lib.sae import kernels
from lib.sae import stack as stacks
from lib.sae.code import DenseCode
from lib.sae.stack import Run, Stack

KINDS = {"standard": 0.02, "gated": 0.02, "topk": 4, "batchtopk": 4, "matryoshka": 4, "jumprelu": 4}
D_IN, D_SAE, TOKENS = 8, 24, 16


def make(architecture, monkeypatch, sparse=True, members=2, auxk=0.0, **settings) -> Stack:
    """A small float64 stack with nothing at its initial value, unit rows, and either path forced."""
    runs = [Run(f"run {i}", architecture, D_SAE, KINDS[architecture], seed=i, **settings) for i in range(members)]
    stack = Stack(runs, D_IN, auxk=auxk, bandwidth=0.5, sparse=sparse).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if architecture == "jumprelu":
            stack.threshold.abs_()
        stack.dec /= stack.dec.norm(dim=-1, keepdim=True)
    stack.share.fill_(0.0)
    monkeypatch.setattr(stacks, "DENSE_SHARE", 2.0 if sparse else 0.0)
    assert stack.is_sparse() == sparse
    return stack


def tokens(seed=2, n=TOKENS):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(stack, loss) -> dict[str, torch.Tensor]:
    stack.zero_grad(set_to_none=True)
    loss().sum().backward()
    return {name: p.grad.clone() for name, p in stack.named_parameters() if p.grad is not None}


def numeric(stack, name, loss, step=1e-6) -> torch.Tensor:
    """Central differences of the summed loss by every number of one parameter."""
    parameter = dict(stack.named_parameters())[name]
    flat, out = parameter.data.view(-1), torch.zeros(parameter.numel(), dtype=torch.float64)
    with torch.no_grad():
        for i in range(len(flat)):
            keep = flat[i].item()
            flat[i] = keep + step
            up = loss().sum()
            flat[i] = keep - step
            out[i] = (up - loss().sum()) / (2 * step)
            flat[i] = keep
    return out.view(parameter.shape)


def check(stack, loss, names=None, atol=1e-7):
    grads = gradients(stack, loss)
    for name in names or grads:
        torch.testing.assert_close(grads[name], numeric(stack, name, loss), atol=atol, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    return grads


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("architecture", ["standard", "topk", "batchtopk", "matryoshka"])
def test_every_parameter_gets_its_gradient(architecture, sparse, monkeypatch):
    stack, x = make(architecture, monkeypatch, sparse), tokens()
    grads = check(stack, lambda: stack(x)[0])
    assert set(grads) == {"dec", "enc", "b_enc", "b_dec"}
    assert all(g.abs().max() > 1e-3 for g in grads.values())


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_a_tied_sae_gets_both_gradients_in_one(sparse, monkeypatch):
    stack, x = make("standard", monkeypatch, sparse, tied=True), tokens()
    assert set(check(stack, lambda: stack(x)[0])) == {"dec", "b_enc", "b_dec"}


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_gated_gradients_with_the_decoder_frozen_in_the_gates_own_loss(sparse, monkeypatch):
    stack, x = make("gated", monkeypatch, sparse), tokens()
    frozen = {name: getattr(stack, name).detach().clone() for name in ("dec", "b_dec")}
    check(stack, lambda: stack(x)[0], ["enc", "b_enc", "r_mag", "b_mag"])
    grads = gradients(stack, lambda: stack(x)[0])

    def with_frozen_copy():  # the loss written out, the gate's decoder held where it was
        u = torch.einsum("tmd,mfd->tmf", x[:, None] - stack.b_dec, stack.enc) + stack.b_enc
        f = (u > 0) * ((u - stack.b_enc) * stack.r_mag.exp() + stack.b_mag).relu()
        lost = sum((x[:, None] - torch.einsum("tmf,mfd->tmd", a, d) - b).square().sum((0, 2))
                   for a, d, b in ((f, stack.dec, stack.b_dec), (u.relu(), frozen["dec"], frozen["b_dec"])))
        return lost / (TOKENS * D_IN) + 0.02 * u.relu().sum((0, 2)) / TOKENS

    torch.testing.assert_close(stack(x)[0], with_frozen_copy())
    for name, value in gradients(stack, with_frozen_copy).items():
        torch.testing.assert_close(grads[name], value, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_jumprelu_weights_by_differences_and_threshold_by_its_straight_through_rule(sparse, monkeypatch):
    stack, x = make("jumprelu", monkeypatch, sparse), tokens()
    grads = check(stack, lambda: stack(x)[0], ["dec", "enc", "b_enc", "b_dec"])
    with torch.no_grad():  # 2407.14435, equations 11 and 12
        u = torch.einsum("tmd,mfd->tmf", x[:, None] - stack.b_dec, stack.enc) + stack.b_enc
        on = (u > stack.threshold).double()
        residual = x[:, None] - torch.einsum("tmf,mfd->tmd", u * on, stack.dec) - stack.b_dec
        for_latent = -2 * torch.einsum("tmd,mfd->tmf", residual, stack.dec) / (TOKENS * D_IN)
        for_step = (2 * (on.sum((0, 2)) / TOKENS / 4 - 1) / 4 / TOKENS)[:, None]
        near = ((u - stack.threshold).abs() < 0.25) / 0.5
        wanted = -(near * (stack.threshold * for_latent + for_step)).sum(0)
    assert wanted.abs().max() > 1e-2
    torch.testing.assert_close(grads["threshold"], wanted)


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_auxk_reaches_the_encoder_of_dead_latents_and_no_other(architecture, sparse, monkeypatch):
    stack, x = make(architecture, monkeypatch, sparse), tokens()
    dead = torch.zeros(2, D_SAE, dtype=torch.bool)
    dead[:, ::3] = True
    with torch.no_grad():
        stack.b_enc[dead] += 2  # positive somewhere: ReLU passes nothing on below 0
    residual = torch.stack([tokens(5), tokens(6)], 1)
    grads = check(stack, lambda: stack.aux(x, stack.pre_activations(x), residual, dead, sparse))
    for name in ("enc", "b_enc", "dec"):
        g = grads[name].abs().view(2, D_SAE, -1).sum(-1)
        assert (g[dead] > 0).all() and (g[~dead] == 0).all(), name


def test_auxk_by_hand(monkeypatch):
    stack = Stack([Run("a", "topk", 4, 1)], 2).double()
    with torch.no_grad():
        stack.dec.copy_(torch.tensor([[[1.0, 0], [0, 1], [-1, 0], [0, -1]]]))
    pre = torch.tensor([[9.0, 2, 1, -1], [9, -3, 1, 2]], dtype=torch.float64)
    residual = torch.tensor([[[0.0, 3]], [[-2, -1]]], dtype=torch.float64)
    dead = torch.tensor([[False, True, True, True]])
    # d_in / 2 = 1 latent a token: token 0 takes latent 1 (2): error (0, 2 - 3), 1; token 1 takes latent 3 (2): (2, -2 + 1), 5
    # variance: mean residual (-1, 1): deviations (1, 2), (-1, -2): 10 in all
    x = torch.zeros(2, 2, dtype=torch.float64)
    for sparse in (True, False):
        assert stack.aux(x, pre, residual, dead, sparse).tolist() == [6 / 10]
        assert stack.aux(x, pre, residual, torch.zeros_like(dead), sparse).tolist() == [0]


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("term", ["decorrelation", "smoothness", "probe"])
@pytest.mark.parametrize("architecture", ["standard", "topk", "gated"])
def test_each_optional_term_adds_its_gradient(architecture, term, sparse, monkeypatch):
    stack, x = make(architecture, monkeypatch, sparse, **{term: 0.5}), tokens()
    targets = (torch.arange(TOKENS) % 3 == 0).double()

    def loss():
        pre = stack.pre_activations(x)
        act = stack.activate(x, pre.detach() if sparse else pre, sparse)
        return stack.terms(act.code, act.latents, TOKENS, targets, 3)

    grads = check(stack, loss, atol=1e-6)
    reached = {"decorrelation": {"dec"}, "smoothness": {"enc", "b_enc", "b_dec"}, "probe": {"probe", "probe_b", "enc", "b_enc", "b_dec"}}
    wanted = reached[term] - ({"b_enc"} if architecture == "gated" else set())  # there the gate's own bias alone
    assert {n for n, g in grads.items() if g.abs().max() > 1e-9} >= wanted


def test_terms_by_hand():
    stack = Stack([Run("a", "standard", 2, 0.0, decorrelation=1.0, smoothness=1.0)], 2, sparse=False)
    with torch.no_grad():
        stack.dec.copy_(torch.tensor([[[1.0, 0], [0.6, 0.8]]]))
    latents = torch.tensor([[[1.0, 0]], [[3, 0]], [[0, 5]], [[0, 4]]])  # pairs change by 2 and by 1: (4 + 1) / 2
    got = stack.terms(DenseCode(None), latents, 4, None, 0)
    assert got.tolist() == pytest.approx([2 * 0.36 / (2 * 1) + 2.5])
    with pytest.raises(ValueError, match="pairs, found a batch of 3"):
        stack.terms(DenseCode(None), latents[:3], 3, None, 0)


def same_by_both_codes(make, x):
    """Loss, what was seen and every gradient are the same. make: whether it is sparse -> a stack."""
    by_code = {}
    for sparse in (True, False):
        stack = make(sparse)
        stack.silent[:, ::3] = 1e9
        loss, seen = stack(x, 0.7, 1e6)
        loss.sum().backward()
        by_code[sparse] = [loss.detach(), *seen.values(), *(p.grad for p in stack.parameters())]
    for a, b in zip(*by_code.values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("architecture", list(KINDS))
def test_sparse_and_dense_codes_are_the_same_loss(architecture, monkeypatch):
    same_by_both_codes(lambda sparse: make(architecture, monkeypatch, sparse, auxk=1 / 32), tokens())


@pytest.mark.parametrize("architecture", list(KINDS))
def test_an_exported_member_is_what_was_trained(architecture, monkeypatch):
    stack, x = make(architecture, monkeypatch), tokens(n=400)
    stack.train()
    with torch.no_grad():
        _, seen = stack(x)  # sets batchtopk's running threshold to that of this batch
        for member in range(2):
            sae = stack.export(member, scale=4.0).double()
            x_hat, latents = sae(x / 4)  # raw activations
            error = (x - 4 * x_hat).square().sum()
            torch.testing.assert_close(error, seen["error"][member], rtol=2e-3, atol=0)  # the k-th itself falls to the threshold
            assert (latents > 0).sum() / 400 == pytest.approx(float(seen["l0"][member]), abs=0.01)
            assert torch.equal((latents > 0).any(0), seen["fired"][member]) or architecture in ("batchtopk", "matryoshka")


def test_topk_keeps_the_largest_positive_and_batchtopk_k_a_token_on_average(monkeypatch):
    x = tokens(n=50)
    for architecture in ("topk", "batchtopk"):
        stack = make(architecture, monkeypatch)
        pre = stack.pre_activations(x).detach()
        code = stack.code(pre.clone(), True)
        grid = pre.view(50, 2, D_SAE).numpy()
        for r in range(100):
            t, m = divmod(r, 2)
            kept = code.latent[code.indptr[r] : code.indptr[r + 1]] - m * D_SAE
            row = grid[t, m]
            if architecture == "topk":
                wanted = [j for j in sorted(np.argsort(-row)[:4]) if row[j] > 0]
            else:
                least = max(0, np.sort(grid[:, m].ravel())[-4 * 50])
                wanted = [j for j in range(D_SAE) if row[j] >= least]
            assert kept.tolist() == wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kth_largest_is_exact(dtype):
    rng = np.random.default_rng(0)
    pre = rng.standard_normal((60, 40)).astype(dtype)
    pre[7, 3] = pre[9, 5]  # a tie
    for k in (1, 17, 500):
        wanted = [max(0, np.sort(pre[m::3].ravel())[-k]) for m in range(3)]
        assert kernels.kth_largest(pre, k, 3).tolist() == wanted
    assert kernels.kth_largest(-np.abs(pre), 5, 3).tolist() == [0, 0, 0]


def test_matryoshka_prefixes_and_its_loss_by_hand(monkeypatch):
    assert stacks.group_ends(1024) == [32, 96, 224, 480, 1024] and stacks.group_ends(8) == [1, 3, 8]
    stack, x = make("matryoshka", monkeypatch), tokens()
    with torch.no_grad():
        latents = stack.code(stack.pre_activations(x), False).mask
        u = stack.pre_activations(x).view(TOKENS, 2, D_SAE) * latents
        errors = [(x[:, None] - torch.einsum("tmf,mfd->tmd", u[..., :e], stack.dec[:, :e]) - stack.b_dec).square().sum((0, 2))
                  for e in stacks.group_ends(D_SAE)]
    torch.testing.assert_close(stack(x)[0].detach(), sum(errors) / len(errors) / (TOKENS * D_IN))


@pytest.mark.parametrize("wrong", [
    {"architecture": "softmax"}, {"sparsity": 0}, {"sparsity": 99}, {"sparsity": 2.5}, {"tied": True},
    {"architecture": "standard", "sparsity": -1.0},
])  # fmt: skip
def test_impossible_runs_are_refused(wrong):
    with pytest.raises(ValueError, match="a: "):
        Run(**({"name": "a", "architecture": "topk", "d_sae": 24, "sparsity": 4} | wrong))
    assert math.isclose(Run("a", "topk", 16384, 4).learning_rate, 2e-4)
