"""Kernels over consecutive tokens: what a shift-invariant dictionary reads and writes, on whole units and on crops of them.

A motif is read by a transformer as a run of different directions, one a position. A dictionary of directions gives it a
latent an offset; one of kernels K_j [window, d] gives it a latent, and one code where it stands:

    pre[t, j] = sum over tau of x[t + tau] . E_j[tau];   x_hat[t] = sum over tau and j of z[t - tau, j] K_j[tau]

for tau = -h to h, h = (window - 1) / 2. A kernel is kept as one row [window * d], tau ascending: the tokens of a window lie
beside each other in memory, so that a window is such a row too. A code stands at a *centre*, a token whose whole window lies
inside its unit, and only there: no code reads or writes across units, and each adds its whole kernel to the sum over its unit.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.sae import kernels


def centres(unit: Tensor, window: int) -> Tensor:
    """Which tokens have their whole window inside their unit: [token] bool. unit: [token], a unit's tokens side by side."""
    out, half = torch.zeros(len(unit), dtype=torch.bool, device=unit.device), window // 2
    if len(unit) >= window:
        run = torch.cumsum(torch.diff(unit, prepend=unit[:1]) != 0, 0)
        out[half : len(unit) - half] = run[window - 1 :] == run[: len(run) - window + 1]
    return out


def profile(window: int) -> Tensor:
    """A Hann window without its zeros: [window], 1 in the middle."""
    return torch.hann_window(window + 2, periodic=False)[1:-1]


def correlate(x: Tensor, rows: Tensor, window: int, at: Tensor) -> Tensor:
    """sum over tau of x[t + tau] . E_j[tau] at centres, 0 elsewhere: [token, latent].

    x: [token, d]; rows: E, [latent, window * d]; at: `centres` of the tokens.
    """
    (n, d), out = x.shape, x.new_zeros(len(x), len(rows))
    inner = out[window // 2 : n - window // 2]
    for tap in range(window if n >= window else 0):
        inner.addmm_(x[tap : tap + len(inner)], rows[:, tap * d : (tap + 1) * d].T)
    return out.mul_(at[:, None])


def spread(codes: Tensor, rows: Tensor, window: int, at: Tensor) -> Tensor:
    """sum over tau and j of z[t - tau, j] K_j[tau]: [token, d].

    codes: z, [token, latent], read at centres only; rows: K, [latent, window * d]; at: `centres` of the tokens.
    """
    n, d = len(codes), rows.shape[1] // window
    out = codes.new_zeros(n, d)
    inner = (codes * at[:, None])[window // 2 : n - window // 2]
    for tap in range(window if n >= window else 0):
        out[tap : tap + len(inner)].addmm_(inner, rows[:, tap * d : (tap + 1) * d])
    return out


def overlaps(rows: Tensor, window: int) -> Tensor:
    """sum over tau of K_j[tau] . K_j[tau + lag], of lag 0 to window - 1: [window, latent]. rows: K, [latent, window * d]."""
    taps = rows.view(len(rows), window, -1)
    return torch.stack([(taps[:, : window - lag] * taps[:, lag:]).sum((1, 2)) for lag in range(window)])


def energy(codes: Tensor, overlap: Tensor) -> Tensor:
    """The squared norm of what each latent writes, alone: [latent]. codes: [token, latent], at centres of units only, so that
    no two nearer than a window are of two units; overlap: `overlaps` of the kernels."""
    lags = [(codes[: len(codes) - lag] * codes[lag:]).sum(0) * overlap[lag] for lag in range(min(len(overlap), len(codes)))]
    return 2 * sum(lags) - lags[0]


def chosen(pre: Tensor, k: int, window: int) -> Tensor:
    """pre where a code stands, 0 elsewhere: [..., token, latent].

    A code is above 0, the largest of its latent within half a window on either side (of equals the first), and among the k
    largest of all such there; so one event makes one code, and about k codes write to a token. pre: -inf where none may stand.
    """
    own, half = peaks(pre.detach(), window // 2).clamp_min(0), window // 2
    best = own.topk(min(k, own.shape[-1]), dim=-1).values.transpose(-1, -2)  # no code is less than k at its own token
    around = functional.pad(best, (half, half)).unfold(-1, window, 1).transpose(-3, -2).flatten(-2)
    least = around.topk(k, dim=-1).values[..., -1:]
    return torch.where((own > 0) & (own >= least), pre, 0)


def peaks(pre: Tensor, reach: int) -> Tensor:
    """pre where it is the largest of its latent within `reach` tokens on either side (of equals the first), else 0.

    pre: [..., token, latent].
    """
    before, after = torch.full_like(pre, -torch.inf), torch.full_like(pre, -torch.inf)
    for step in range(1, min(reach, pre.shape[-2] - 1) + 1):
        torch.maximum(before[..., step:, :], pre[..., :-step, :], out=before[..., step:, :])
        torch.maximum(after[..., :-step, :], pre[..., step:, :], out=after[..., :-step, :])
    return torch.where((pre > before) & (pre >= after), pre, 0)


# Crops: a batch of `crop` consecutive tokens of one unit after another, each crop on its own -------------------------


def windows(x: Tensor, crop: int, window: int) -> Tensor:
    """The windows of each crop, one a centre: [crops * (crop - window + 1), window * d]. x: [crops * crop, d]."""
    d, x = x.shape[1], x.contiguous()
    return x.as_strided((len(x) // crop, crop - window + 1, window * d), (crop * d, d, 1)).reshape(-1, window * d)


def entries(pre: np.ndarray, k: int, crop: int, window: int, members: int) -> tuple[np.ndarray, np.ndarray]:
    """`chosen` as the CSR code of `kernels`. pre: [centre * member, d_sae]."""
    rows, width = pre.shape
    grid = pre.reshape(-1, crop - window + 1, members * width)
    indptr, latent = kernels.top_k(_peaks(grid, window // 2).reshape(rows, width), k, members)
    keep = _among(indptr, kernels.pick(pre, indptr, latent), k, crop - window + 1, window // 2, members)
    before = np.concatenate([[0], np.cumsum(keep)])
    return before[indptr], latent[keep]


@numba.njit(parallel=True, cache=True)
def _peaks(pre: np.ndarray, reach: int) -> np.ndarray:
    """The positive part of `peaks`. pre: [crop, token, latent]."""
    crops, tokens, width = pre.shape
    out = np.empty_like(pre)
    zero = pre.dtype.type(0)
    for r in numba.prange(crops * tokens):
        c, t = r // tokens, r % tokens
        own, kept = pre[c, t], out[c, t]
        for j in range(width):
            kept[j] = max(zero, own[j])
        for s in range(max(0, t - reach), t):
            other = pre[c, s]
            for j in range(width):
                kept[j] = kept[j] if own[j] > other[j] else zero
        for s in range(t + 1, min(tokens, t + reach + 1)):
            other = pre[c, s]
            for j in range(width):
                kept[j] = kept[j] if own[j] >= other[j] else zero
    return out


@numba.njit(parallel=True, cache=True)
def _among(indptr: np.ndarray, value: np.ndarray, k: int, tokens: int, reach: int, members: int) -> np.ndarray:
    """Whether fewer than k entries of its member within `reach` tokens, in the same crop of `tokens`, are larger: [entry]."""
    keep = np.empty(len(value), np.bool_)
    for r in numba.prange(len(indptr) - 1):
        t = (r // members) % tokens
        low, high = max(t - reach, 0) - t, min(t + reach, tokens - 1) - t
        for e in range(indptr[r], indptr[r + 1]):
            larger = 0
            for step in range(low, high + 1):
                for other in range(indptr[r + step * members], indptr[r + step * members + 1]):
                    larger += value[other] > value[e]
            keep[e] = larger < k
    return keep


class Overlap(torch.autograd.Function):
    """Windows written over each other: [centres, member, window * d] -> [tokens, member, d], the transpose of `windows`."""

    @staticmethod
    def forward(ctx, y, crop, window):
        ctx.crop, ctx.window = crop, window
        members, d, n = y.shape[1], y.shape[2] // window, crop - window + 1
        grid = y.view(-1, n, members, window, d)
        out = y.new_zeros(len(grid), crop, members, d)
        for tap in range(window):
            out[:, tap : tap + n] += grid[:, :, :, tap]
        return out.view(-1, members, d)

    @staticmethod
    def backward(ctx, given):
        members, d, n = given.shape[1], given.shape[2], ctx.crop - ctx.window + 1
        grid = given.view(-1, ctx.crop, members, d)
        out = given.new_empty(len(grid), n, members, ctx.window, d)
        for tap in range(ctx.window):
            out[:, :, :, tap] = grid[:, tap : tap + n]
        return out.view(-1, members, ctx.window * d), None, None
