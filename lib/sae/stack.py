"""Train several SAEs of one shape as one: the losses of every architecture, written once for sparse and dense codes.

The decoder's rows are unit vectors throughout. Activations are scaled so that their mean squared distance from their
mean is d_in, and a reconstruction loss is the squared error over d_in: about 1 - explained variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.sae import convolution, kernels
from lib.sae.code import DenseCode, FusedGate, FusedRelu, Jump, SparseCode
from lib.sae.model import SAE, SAEConfig
from lib.sae.runs import Run

#: Above this share of firing latents, dense products are faster than the sparse kernels (measured, two cores).
DENSE_SHARE = 0.05


def group_ends(d_sae: int) -> list[int]:
    """Matryoshka prefixes: 1/32, 1/16, 1/8 and 1/4 of the latents after one another, then all."""
    ends = np.cumsum([d_sae // 32, d_sae // 16, d_sae // 8, d_sae // 4])
    return sorted({int(e) for e in ends if e > 0} | {d_sae})


def _largest(grid: Tensor, k: int) -> Tensor:
    """The k largest of the last dimension, where above 0: bool."""
    mask = torch.zeros_like(grid, dtype=torch.bool).scatter_(-1, grid.topk(k, dim=-1, sorted=False).indices, True)
    return mask & (grid > 0)


@dataclass
class Activation:
    """code, latents: the entries and their values; gate: of a gated SAE; penalty [member]: the sum that the sparsity
    term weighs, or None; count [member]: latents above 0, over all tokens; fired [member, d_sae] bool."""

    code: SparseCode | DenseCode
    latents: Tensor
    gate: Tensor | None
    penalty: Tensor | None
    count: Tensor
    fired: Tensor


class Stack(nn.Module):
    """`members` SAEs of one shape: enc, dec [member, d_sae, d_row]; b_enc [member, d_sae]; b_dec [member, d_in]; and
    threshold (jumprelu), r_mag and b_mag (gated) [member, d_sae], probe (member, d_sae, 1) and probe_b [member, 1].

    auxk: weight of the AuxK term for latents silent for `dead_tokens` tokens, topk family only. bandwidth: of the
    jumprelu's gradient. sparse: list the firing latents rather than multiply by all, on a CPU. A convolutional one reads
    batches of whole crops, of `crop` consecutive tokens each; d_row is window * d_in, and d_in for the others.
    """

    def __init__(self, runs: list[Run], d_in: int, auxk: float = 1 / 32, bandwidth: float = 0.1, sparse: bool = True,
                 crop: int = 0):  # fmt: skip
        super().__init__()
        first = runs[0]
        if any(run.shape != first.shape for run in runs):
            raise ValueError(f"{[run.name for run in runs]} are not of one shape")
        self.runs, self.architecture, self.d_in, self.d_sae = list(runs), first.architecture, d_in, first.d_sae
        self.auxk, self.bandwidth, self.sparse, self.window, self.crop = auxk, bandwidth, sparse, first.window, crop
        self.k = int(first.sparsity) if first.keeps else 0
        if self.window > crop and self.window:
            raise ValueError(f"{first.name}: a window of {self.window} tokens does not fit in crops of {crop}: set crop")
        kind = ("convolutional", d_in, first.d_sae, self.k, "", self.window) if self.window else ("standard", d_in, first.d_sae)
        made = [SAE(SAEConfig(*kind), run.seed) for run in runs]
        self.dec = nn.Parameter(torch.stack([sae.W_dec.detach() for sae in made]))
        if not first.tied:
            self.enc = nn.Parameter(self.dec.detach().clone())
        shape = (len(runs), first.d_sae)
        self.b_enc = nn.Parameter(torch.zeros(shape))
        self.b_dec = nn.Parameter(torch.zeros(len(runs), d_in))
        if self.architecture == "jumprelu":
            self.threshold = nn.Parameter(torch.full(shape, 0.1))
        if self.architecture == "gated":
            self.r_mag, self.b_mag = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))
        if first.probe:
            self.probe, self.probe_b = nn.Parameter(torch.zeros(*shape, 1)), nn.Parameter(torch.zeros(len(runs), 1))
        self.register_buffer("silent", torch.zeros(shape))  # tokens since a latent last fired
        self.register_buffer("running", torch.zeros(len(runs)))  # batchtopk: the running threshold
        self.register_buffer("share", torch.ones(()))  # firing latents of the step before: sparse or dense?

    @property
    def encoder(self) -> Tensor:
        return self.dec if self.runs[0].tied else self.enc

    def weights(self, name: str) -> Tensor:
        """A member's own setting, as a tensor: [member]."""
        return torch.tensor([getattr(run, name) for run in self.runs], dtype=self.dec.dtype, device=self.dec.device)

    def is_sparse(self) -> bool:
        kept = self.k / self.d_sae / max(self.window // 2, 1) if self.k and self.architecture != "jumprelu" else float(self.share)
        return self.sparse and self.dec.device.type == "cpu" and kept < DENSE_SHARE

    # ---- the code -------------------------------------------------------------------------------------------
    @property
    def b_row(self) -> Tensor:
        """b_dec as the encoder subtracts it, from each token of a window: [member, d_row]."""
        return self.b_dec.repeat(1, self.window) if self.window else self.b_dec

    def pre_activations(self, x: Tensor) -> Tensor:
        """[row, d_row] -> [row, member * d_sae]; a row is a token, or a window of tokens."""
        enc = self.encoder
        bias = self.b_enc - torch.bmm(enc, self.b_row[:, :, None])[:, :, 0]
        return torch.addmm(bias.view(-1), x, enc.view(-1, enc.shape[-1]).T)

    def rebuild(self, code: SparseCode | DenseCode, latents: Tensor, b_dec: Tensor) -> Tensor:
        """The sum of rows of dec, and of b_dec [member, d_in]: [token, member, d_in]."""
        if not self.window:
            return code.decode(latents, self.dec, b_dec)
        rows = code.decode(latents, self.dec, b_dec.new_zeros(len(b_dec), self.dec.shape[-1]))
        return convolution.Overlap.apply(rows, self.crop, self.window) + b_dec

    def limits(self, pre: Tensor) -> Tensor:
        """What a pre-activation must exceed to matter: [member, d_sae]."""
        zero = torch.zeros_like(self.b_enc)
        if self.architecture == "jumprelu":
            return (self.threshold - self.bandwidth / 2).detach()
        if self.architecture not in ("batchtopk", "matryoshka"):
            return zero
        kept = self.k * len(pre)
        rows = pre.detach().view(-1, self.d_sae)
        if self.dec.device.type == "cpu":
            least = torch.from_numpy(kernels.kth_largest(rows.numpy(), kept, len(self.runs)))
        else:
            by_member = pre.detach().view(len(pre), len(self.runs), self.d_sae).transpose(0, 1).reshape(len(self.runs), -1)
            least = by_member.topk(kept, dim=1).values[:, -1].clamp_min(0).to(zero.dtype)
        if self.training:
            self.running.copy_(torch.where(self.running > 0, 0.99 * self.running + 0.01 * least, least))
        below = torch.nextafter(least, torch.full_like(least, -math.inf))
        return zero + torch.where(least > 0, below, least)[:, None]  # the k-th itself is kept

    def code(self, pre: Tensor, sparse: bool) -> SparseCode | DenseCode:
        """The entries that the loss can depend on. pre: [row, member * d_sae]."""
        members = len(self.runs)
        if sparse:
            return SparseCode(*self._entries(pre.detach().view(-1, self.d_sae).numpy(), members), members, self.d_sae)
        grid = pre.detach().view(len(pre), members, self.d_sae)
        if self.architecture == "topk":
            return DenseCode(_largest(grid, self.k))
        if self.window:
            grid = grid.transpose(0, 1).view(members, -1, self.crop - self.window + 1, self.d_sae)
            return DenseCode((convolution.chosen(grid, self.k, self.window) > 0).view(members, -1, self.d_sae).transpose(0, 1))
        return DenseCode(grid > self.limits(pre))

    def _entries(self, rows: np.ndarray, members: int) -> tuple[np.ndarray, np.ndarray]:
        """The entries of a sparse code. rows: pre-activations [row * member, d_sae]."""
        if self.architecture == "topk":
            return kernels.top_k(rows, self.k, members)
        if self.window:
            return convolution.entries(rows, self.k, self.crop, self.window, members)
        return kernels.above(rows, self.limits(torch.from_numpy(rows).view(-1, members * self.d_sae)).reshape(-1).numpy(), members)

    def activate(self, x: Tensor, pre: Tensor, sparse: bool) -> Activation:
        """Latents, and what the losses ask of them. pre: [token, member * d_sae], overwritten."""
        if not sparse and pre.device.type == "cpu" and self.architecture in ("standard", "gated"):
            return self._fused(pre)
        code = self.code(pre, sparse)
        u = code.encode(x, self.encoder, self.b_enc, self.b_row, pre)
        if self.architecture == "jumprelu":
            latents, on = Jump.apply(u, code.at(self.threshold), self.bandwidth)
            penalty, gate = code.total(on), None
        elif self.architecture == "gated":
            gate = u.relu()
            latents = (u > 0) * ((u - code.at(self.b_enc)) * code.at(self.r_mag).exp() + code.at(self.b_mag)).relu()
            penalty = code.total(gate)
        else:
            latents = u.relu()
            penalty, gate = code.total(latents) if self.architecture == "standard" else None, None
        with torch.no_grad():
            return Activation(code, latents, gate, penalty, code.total((latents > 0).to(pre.dtype)), code.fired(latents))

    def _fused(self, pre: Tensor) -> Activation:
        """`activate` for dense codes on a CPU, where passes over [token, latent] cost as much as products."""
        shape, grid = self.b_enc.shape, (len(pre), *self.b_enc.shape)
        gate = None
        if self.architecture == "standard":
            latents, total, count = FusedRelu.apply(pre)
        else:
            latents, gate, total, count = FusedGate.apply(pre, *(p.view(-1) for p in (self.b_enc, self.r_mag, self.b_mag)))
            gate = gate.view(grid)
        code = DenseCode(None)
        count = count.view(shape)
        return Activation(code, latents.view(grid), gate, total.view(shape).sum(1), count.sum(1).to(pre.dtype), count > 0)

    # ---- losses -----------------------------------------------------------------------------------------------
    def forward(self, x: Tensor, warm: float = 1.0, dead_tokens: float = math.inf, targets: Tensor | None = None,
                step: int = 0) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """One batch. x: [token, d_in], scaled; warm: factor on the sparsity term; targets: [token] 0/1 for the probe.

        Returns the loss [member] and, without gradient, error (summed squared), l0, fired [member, d_sae].
        """
        sparse = self.is_sparse()
        rows = convolution.windows(x, self.crop, self.window) if self.window else x
        with torch.set_grad_enabled(torch.is_grad_enabled() and not sparse):
            pre = self.pre_activations(rows)
        act = self.activate(rows, pre, sparse)
        code, latents = act.code, act.latents
        n = len(x)
        if self.architecture == "matryoshka":
            ends = group_ends(self.d_sae)
            parts = [x[:, None] - x_hat for x_hat in code.nested(latents, self.dec, self.b_dec, ends)]
            residual = parts[-1]
            loss = sum(part.square().sum((0, 2)) for part in parts) / (len(parts) * n * self.d_in)
        else:
            residual = x[:, None] - self.rebuild(code, latents, self.b_dec)
            loss = residual.square().sum((0, 2)) / (n * self.d_in)
        loss = loss + warm * self.sparsity(act.penalty, n) + self.terms(code, latents, n, targets, step)
        if self.architecture == "gated":  # the gate alone must rebuild x, through a decoder it cannot move
            gate = code.decode(act.gate, self.dec.detach(), self.b_dec.detach())
            loss = loss + (x[:, None] - gate).square().sum((0, 2)) / (n * self.d_in)
        dead = self.silent >= dead_tokens
        if self.auxk and self.architecture in ("topk", "batchtopk", "matryoshka", "convolutional") and dead.any():
            loss = loss + self.auxk * self.aux(rows, pre, residual.detach(), dead, sparse)
        if self.training:
            self.share.copy_(act.count.sum() / (n * act.fired.numel()))
        return loss, {"error": residual.detach().square().sum((0, 2)), "l0": act.count / n, "fired": act.fired}

    def sparsity(self, penalty: Tensor | None, n: int) -> Tensor:
        """The term that makes a code sparse: [member]; zero where the architecture is sparse by construction."""
        if penalty is None:
            return torch.zeros_like(self.b_dec[:, 0])
        if self.architecture == "jumprelu":
            return (penalty / n / self.k - 1).square()
        return self.weights("sparsity") * penalty / n

    def aux(self, x: Tensor, pre: Tensor, residual: Tensor, dead: Tensor, sparse: bool) -> Tensor:
        """AuxK: error of explaining the residual by the d_in / 2 strongest dead latents a token (of kernels, as many a window),
        over the residual's variance.

        residual: [token, member, d_in], detached; dead: [member, d_sae]. [member]; 0 without dead latents. Source:
        Gao 2024 (2406.04093), section A.2.
        """
        k = max(1, min(self.d_in // 2 // max(self.window, 1), int(dead.sum(1).max())))
        grid = pre.view(len(x), *dead.shape)
        alone = torch.where(dead, grid.detach(), 0)
        if sparse:
            entries = kernels.top_k(alone.view(-1, self.d_sae).numpy(), k, len(self.runs))
            code = SparseCode(*entries, len(self.runs), self.d_sae)
        else:
            code = DenseCode(_largest(alone, k))
        u = code.encode(x, self.encoder, self.b_enc, self.b_row, pre).relu()
        error = (residual - self.rebuild(code, u, torch.zeros_like(self.b_dec))).square().sum((0, 2))
        return error / (residual - residual.mean(0)).square().sum((0, 2)).clamp_min(1e-12) * dead.any(1)

    def terms(self, code, latents: Tensor, n: int, targets: Tensor | None, step: int) -> Tensor:
        """The optional terms, each by its weight: [member].

        decorrelation: mean squared cosine of 512 decoder rows, drawn anew each step, with one another. smoothness:
        mean squared change of a latent between the two tokens of each pair (rows 2 i and 2 i + 1), summed over
        latents. probe: cross-entropy of a logistic probe on the latents, trained along.
        """
        total = torch.zeros_like(self.b_dec[:, 0])
        if self.runs[0].decorrelation:
            draw = np.random.default_rng([step, 512]).permutation(self.d_sae)[:512]
            rows = self.dec[:, torch.from_numpy(draw).to(self.dec.device)]
            cosine = torch.bmm(rows, rows.transpose(1, 2)) - torch.eye(len(draw), device=rows.device)
            total = total + self.weights("decorrelation") * cosine.square().sum((1, 2)) / (len(draw) * max(len(draw) - 1, 1))
        if self.runs[0].smoothness:
            if n % 2:
                raise ValueError(f"smoothness reads tokens in pairs, found a batch of {n}")
            grid = code.dense(latents)
            total = total + self.weights("smoothness") * (grid[0::2] - grid[1::2]).square().sum((0, 2)) / (n // 2)
        if self.runs[0].probe:
            if targets is None:
                raise ValueError("a probe term needs a target for each token, found none")
            logit = code.decode(latents, self.probe, self.probe_b)[:, :, 0]
            wanted = targets[:, None].expand_as(logit)
            lost = nn.functional.binary_cross_entropy_with_logits(logit, wanted, reduction="none")
            total = total + self.weights("probe") * lost.mean(0)
        return total

    # ---- keeping it -------------------------------------------------------------------------------------------
    @torch.no_grad()
    def start(self, centre: Tensor) -> None:
        """Begin at the data's centre [d_in], scaled."""
        self.b_dec.copy_(centre.expand_as(self.b_dec))

    @torch.no_grad()
    def note_fired(self, fired: Tensor, n_tokens: int) -> None:
        self.silent.add_(n_tokens).masked_fill_(fired, 0)

    @torch.no_grad()
    def export(self, member: int, scale: float) -> SAE:
        """One member as an SAE that reads raw activations; it was trained on `scale` times those."""
        run, kind = self.runs[member], self.architecture
        inference = {"batchtopk": "jumprelu", "matryoshka": "jumprelu"}.get(kind, kind)
        k = self.k if kind in ("topk", "convolutional") else 0
        config = SAEConfig(inference, self.d_in, self.d_sae, k, kind if kind != inference else "", self.window)
        sae = SAE(config)
        sae.W_enc.copy_(self.encoder[member].T)
        sae.W_dec.copy_(self.dec[member])
        sae.b_enc.copy_(self.b_enc[member] / scale)
        sae.b_dec.copy_(self.b_dec[member] / scale)
        if inference == "jumprelu":
            threshold = self.threshold[member] if kind == "jumprelu" else self.running[member].expand(run.d_sae)
            sae.threshold.copy_(threshold / scale)
        if kind == "gated":
            sae.r_mag.copy_(self.r_mag[member])
            sae.b_mag.copy_(self.b_mag[member] / scale)
        return sae.eval()

    def without(self, member: int) -> Stack:
        """The same stack, state and all, without one member."""
        keep = [i for i in range(len(self.runs)) if i != member]
        other = Stack([self.runs[i] for i in keep], self.d_in, self.auxk, self.bandwidth, self.sparse, self.crop)
        other.load_state_dict({name: value if name == "share" else value[keep] for name, value in self.state_dict().items()})
        return other.to(self.dec.device).train(self.training)
