"""Which latents fire where, and the two linear maps of an SAE on just those: with gradients, sparse or dense.

A *stack* holds `members` SAEs of one shape that read the same tokens; a member never sees another. Both codes offer
the same few operations, so that a loss is written once:

- `SparseCode`, on a CPU: the entries that can fire, as a list. Decoding, its gradient and the encoder's weight
  gradient touch those only (numba kernels);
- `DenseCode`, anywhere: every latent of every token, in batched products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lib.sae import kernels


@dataclass
class SparseCode:
    """indptr [token * member + 1], latent [entry] (member * d_sae + latent), as in `kernels`."""

    indptr: np.ndarray
    latent: np.ndarray
    members: int
    d_sae: int
    _turned: tuple | None = field(default=None, repr=False)

    @property
    def turned(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The entries by latent, worked out once: the gradients of encoder and decoder both need it."""
        if self._turned is None:
            self._turned = kernels.by_latent(self.indptr, self.latent, self.members * self.d_sae)
        return self._turned

    @property
    def n_tokens(self) -> int:
        return (len(self.indptr) - 1) // self.members

    def encode(self, x: Tensor, enc: Tensor, b_enc: Tensor, b_dec: Tensor, pre: Tensor) -> Tensor:
        """(x - b_dec) . enc + b_enc at the entries, taken from `pre` [token, members * d_sae]: [entry]."""
        return _Encode.apply(x, enc, b_enc, b_dec, pre, self)

    def at(self, parameter: Tensor) -> Tensor:
        """parameter [member, d_sae] at each entry: [entry]."""
        return _At.apply(parameter, self)

    def decode(self, values: Tensor, dec: Tensor, b_dec: Tensor) -> Tensor:
        """values [entry], dec [member, d_sae, d], b_dec [member, d] -> [token, member, d]."""
        return _Decode.apply(values, dec, b_dec, self)

    def total(self, values: Tensor) -> Tensor:
        """Sum over tokens and latents: [member]."""
        if self.members == 1:
            return values.sum()[None]
        member = torch.from_numpy(self.latent // self.d_sae).long()
        return values.new_zeros(self.members).index_add(0, member, values)

    def nested(self, values: Tensor, dec: Tensor, b_dec: Tensor, ends: list[int]) -> Iterator[Tensor]:
        """The reconstructions [token, member, d] from latents 0 to end - 1 of each member, for each end."""
        local, first, so_far = self.latent % self.d_sae, 0, b_dec
        for last in ends:
            keep = (local >= first) & (local < last)
            before = np.concatenate([[0], np.cumsum(keep)])
            part = SparseCode(before[self.indptr], self.latent[keep], self.members, self.d_sae)
            so_far = so_far + part.decode(values[torch.from_numpy(keep)], dec, torch.zeros_like(b_dec))
            first = last
            yield so_far

    def fired(self, values: Tensor) -> Tensor:
        """Whether a latent is above 0 on any token: [member, d_sae] bool."""
        out = np.zeros(self.members * self.d_sae, bool)
        out[self.latent[(values.detach() > 0).numpy()]] = True
        return torch.from_numpy(out).view(self.members, self.d_sae)

    def dense(self, values: Tensor) -> Tensor:
        """[token, member, d_sae], zeros included."""
        row = torch.from_numpy(np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr)))
        out = values.new_zeros(len(self.indptr) - 1, self.d_sae)
        out = out.index_put((row, torch.from_numpy(self.latent % self.d_sae).long()), values)
        return out.view(self.n_tokens, self.members, self.d_sae)


@dataclass
class DenseCode:
    """mask [token, member, d_sae] bool: the entries that can fire, or None where the values say it. Values are dense."""

    mask: Tensor | None

    def encode(self, x: Tensor, enc: Tensor, b_enc: Tensor, b_dec: Tensor, pre: Tensor) -> Tensor:
        return pre.view(self.mask.shape).masked_fill(~self.mask, -1e9)  # far below every gate and threshold

    def at(self, parameter: Tensor) -> Tensor:
        return parameter[None]

    def decode(self, values: Tensor, dec: Tensor, b_dec: Tensor) -> Tensor:
        return torch.bmm(values.transpose(0, 1), dec).transpose(0, 1) + b_dec

    def total(self, values: Tensor) -> Tensor:
        return values.sum((0, 2))

    def nested(self, values: Tensor, dec: Tensor, b_dec: Tensor, ends: list[int]) -> Iterator[Tensor]:
        first, so_far = 0, b_dec
        for last in ends:
            so_far = so_far + self.decode(values[..., first:last], dec[:, first:last], torch.zeros_like(b_dec))
            first = last
            yield so_far

    def fired(self, values: Tensor) -> Tensor:
        return (values.detach() > 0).any(0)

    def dense(self, values: Tensor) -> Tensor:
        return values


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, enc, b_enc, b_dec, pre, code):
        ctx.save_for_backward(x, enc, b_dec)
        ctx.code = code
        rows = pre.numpy().reshape(-1, code.d_sae)
        return torch.from_numpy(kernels.pick(rows, code.indptr, code.latent))

    @staticmethod
    def backward(ctx, given):
        x, enc, b_dec = ctx.saved_tensors
        start, row, entry = ctx.code.turned
        given = given.contiguous().numpy()
        b = torch.from_numpy(kernels.sums(start, entry, given)).view(enc.shape[:2])
        weight = torch.from_numpy(kernels.gather(start, row, entry, given, x.numpy(), ctx.code.members)).view(enc.shape)
        weight.baddbmm_(b[:, :, None], b_dec[:, None, :], alpha=-1)  # the encoder reads x - b_dec
        return None, weight, b, -torch.bmm(b[:, None, :], enc)[:, 0], None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, dec, b_dec, code):
        ctx.save_for_backward(values, dec)
        ctx.code = code
        flat = dec.detach().contiguous().view(-1, dec.shape[-1])
        out = kernels.decode(code.indptr, code.latent, values.detach().numpy(), flat.numpy(), b_dec.detach().numpy())
        return torch.from_numpy(out).view(-1, code.members, dec.shape[-1])

    @staticmethod
    def backward(ctx, given):
        values, dec = ctx.saved_tensors
        code, flat = ctx.code, given.contiguous().view(-1, dec.shape[-1]).numpy()
        for_values = for_dec = for_b = None
        if ctx.needs_input_grad[0]:
            rows = dec.view(-1, dec.shape[-1]).numpy()
            for_values = torch.from_numpy(kernels.dots(code.indptr, code.latent, flat, rows))
        if ctx.needs_input_grad[1]:
            start, row, entry = code.turned
            for_dec = torch.from_numpy(kernels.gather(start, row, entry, values.numpy(), flat, 1)).view(dec.shape)
        if ctx.needs_input_grad[2]:
            for_b = given.sum(0)
        return for_values, for_dec, for_b, None


class _At(torch.autograd.Function):
    @staticmethod
    def forward(ctx, parameter, code):
        ctx.code, ctx.shape = code, parameter.shape
        return parameter.detach().reshape(-1)[torch.from_numpy(code.latent).long()]

    @staticmethod
    def backward(ctx, given):
        start, _, entry = ctx.code.turned
        return torch.from_numpy(kernels.sums(start, entry, given.contiguous().numpy())).view(ctx.shape), None


class Jump(torch.autograd.Function):
    """pre where pre > threshold, else 0; and its step function. Straight-through gradients of the threshold with a
    rectangle kernel of width `bandwidth` (Rajamanoharan 2024, 2407.14435, section 4)."""

    @staticmethod
    def forward(ctx, pre, threshold, bandwidth):
        ctx.save_for_backward(pre, threshold.expand_as(pre))
        ctx.bandwidth, ctx.shape = bandwidth, threshold.shape
        on = (pre > threshold).to(pre.dtype)
        return pre * on, on

    @staticmethod
    def backward(ctx, for_value, for_step):
        pre, threshold = ctx.saved_tensors
        near = ((pre - threshold).abs() < ctx.bandwidth / 2).to(pre.dtype) / ctx.bandwidth
        given = -near * (threshold * for_value + for_step)
        return for_value * (pre > threshold), given.sum_to_size(ctx.shape), None


class FusedRelu(torch.autograd.Function):
    """pre [token, latent], overwritten -> ReLU, its sum over tokens [latent], tokens on which it fires [latent]."""

    @staticmethod
    def forward(ctx, pre):
        total, count = (torch.from_numpy(a) for a in kernels.relu(pre.numpy()))
        ctx.mark_dirty(pre)
        ctx.mark_non_differentiable(count)
        ctx.save_for_backward(pre)
        return pre, total, count

    @staticmethod
    def backward(ctx, given, for_total, _):
        (latents,) = ctx.saved_tensors
        given = given.contiguous()
        kernels.relu_gradient(given.numpy(), latents.numpy(), for_total.contiguous().numpy())
        return given


class FusedGate(torch.autograd.Function):
    """u [token, latent], overwritten, and b_enc, r_mag, b_mag [latent] -> latents, gate ReLU(u), the gate's sum over
    tokens [latent], tokens on which the latent fires [latent]."""

    @staticmethod
    def forward(ctx, u, b_enc, r_mag, b_mag):
        stretch = r_mag.exp()
        latents, total, count = (torch.from_numpy(a) for a in kernels.gate(u.numpy(), b_enc.numpy(), stretch.numpy(), b_mag.numpy()))
        ctx.mark_dirty(u)
        ctx.mark_non_differentiable(count)
        ctx.save_for_backward(u, latents, b_enc, stretch)
        return latents, u, total, count

    @staticmethod
    def backward(ctx, for_latents, for_gate, for_total, _):
        u, latents, b_enc, stretch = ctx.saved_tensors
        for_u = for_gate.contiguous()
        given = [t.contiguous().numpy() for t in (for_latents, for_u, u, latents, b_enc, stretch, for_total)]
        return for_u, *(torch.from_numpy(g) for g in kernels.gate_gradient(*given))
