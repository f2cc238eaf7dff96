"""Train one SAE on a stream of activation batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib.sae.model import SAE, SAEConfig


@dataclass(frozen=True)
class TrainConfig:
    """steps of `batch` tokens. l1: weight of the L1 term (standard). auxk: weight of the AuxK term (topk).

    lr 0 takes the known scaling 2e-4 / sqrt(d_sae / 16384). warm_up: steps. decay: last share of steps with a linear
    fall to 0. dead_tokens: a latent silent for this many tokens is dead to AuxK.
    """

    steps: int
    batch: int = 1024
    l1: float = 0.0
    auxk: float = 1 / 32
    lr: float = 0.0
    warm_up: int = 100
    decay: float = 0.2
    dead_tokens: int = 200_000
    seed: int = 0


def geometric_median(x: Tensor, iterations: int = 50) -> Tensor:
    """The point with the least summed distance to the rows of x (Weiszfeld). x: [n, d] -> [d]."""
    point = x.mean(0)
    for _ in range(iterations):
        weight = 1 / (x - point).norm(dim=1).clamp_min(1e-6)
        new = (weight[:, None] * x).sum(0) / weight.sum()
        if (new - point).norm() < 1e-6 * point.norm().clamp_min(1e-6):
            return new
        point = new
    return point


@torch.no_grad()
def remove_parallel_gradient(sae: SAE) -> None:
    """Drop the part of the decoder's gradient along each row, which the unit norm would undo anyway."""
    grad, rows = sae.W_dec.grad, sae.W_dec
    grad -= (grad * rows).sum(1, keepdim=True) * rows


@torch.no_grad()
def unit_rows(sae: SAE) -> None:
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-8))


def auxk_loss(sae: SAE, pre: Tensor, residual: Tensor, dead: Tensor, k_aux: int) -> Tensor:
    """Error of explaining the residual by the k_aux strongest dead latents, over the residual's variance.

    pre: [token, d_sae]; residual: [token, d_in], detached; dead: [d_sae] bool. Zero when none is dead.
    Source: Gao 2024, section A.2.
    """
    k = min(k_aux, int(dead.sum()))
    if k == 0:
        return pre.new_zeros(())
    value, index = pre[:, dead].topk(k, dim=-1, sorted=False)
    latents = torch.zeros_like(pre[:, dead]).scatter(-1, index, value.relu())
    error = (latents @ sae.W_dec[dead] - residual).square().sum(1).mean()
    variance = (residual - residual.mean(0)).square().sum(1).mean()
    return error / variance.clamp_min(1e-12)


def schedule(step: int, steps: int, warm_up: int, decay: float) -> float:
    """Linear warm-up, plateau, linear decay to 0 over the last share `decay`. Dimensionless."""
    return min(1.0, (step + 1) / max(warm_up, 1), (steps - step) / max(decay * steps, 1))


def train(config: SAEConfig, training: TrainConfig, batches: Iterator[np.ndarray], name: str = "") -> tuple[SAE, pd.DataFrame]:
    """Train on float32 batches [batch, d_in]. Returns the SAE, reading raw activations, and its curve.

    Activations are multiplied by one factor so that their mean squared distance from their mean is d_in; it is folded
    back at the end.
    Raises ValueError on a first batch without variance or not finite, FloatingPointError on a loss that is not finite.
    """
    torch.manual_seed(training.seed)
    first = torch.from_numpy(next(batches))
    centred = first - first.mean(0)
    if not 0 < (variance := centred.square().sum(1).mean().item()) < math.inf:
        raise ValueError(f"the activations' variance is {variance:g}, wanted finite and above 0: nothing to learn")
    scale = math.sqrt(config.d_in / variance)
    sae = SAE(config, training.seed)
    with torch.no_grad():
        sae.b_dec.copy_(geometric_median(first * scale))
    lr = training.lr or 2e-4 / math.sqrt(config.d_sae / 16384)
    optimizer = torch.optim.Adam(sae.parameters(), lr=lr, betas=(0.9, 0.999))
    silent = torch.zeros(config.d_sae)
    curve = []
    bar = tqdm(range(training.steps), desc=name or config.architecture, mininterval=5)
    for step in bar:
        x = torch.from_numpy(next(batches)) * scale
        pre = sae.pre_activations(x)
        latents = sae.activate(pre)
        residual = x - sae.decode(latents)
        loss = residual.square().sum(1).mean() / config.d_in
        if config.architecture == "standard":
            loss = loss + training.l1 * min(1.0, (step + 1) / max(0.05 * training.steps, 1)) * latents.sum(1).mean()
        elif training.auxk and silent.max() >= training.dead_tokens:
            dead = silent >= training.dead_tokens
            loss = loss + training.auxk * auxk_loss(sae, pre, residual.detach(), dead, config.d_in // 2)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}: try a lower learning rate than {lr:.2g}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        remove_parallel_gradient(sae)
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, training.steps, training.warm_up, training.decay)
        optimizer.step()
        unit_rows(sae)
        with torch.no_grad():
            fired = (latents > 0).any(0)
            silent = torch.where(fired, torch.zeros_like(silent), silent + len(x))
        if step % 50 == 0 or step + 1 == training.steps:
            row = _progress(step, x, residual, latents, silent, training)
            curve.append(row)
            bar.set_postfix(ev=f"{row['explained_variance']:.3f}", l0=f"{row['l0']:.1f}", dead=f"{row['dead_share']:.2f}")
    fold_scale(sae, scale)
    return sae.eval(), pd.DataFrame(curve)


@torch.no_grad()
def _progress(step: int, x: Tensor, residual: Tensor, latents: Tensor, silent: Tensor, training: TrainConfig) -> dict:
    total = (x - x.mean(0)).square().sum()
    return {
        "step": step, "tokens": (step + 1) * training.batch,
        "explained_variance": 1 - (residual.square().sum() / total).item(),
        "l0": (latents > 0).sum(1).float().mean().item(),
        "dead_share": (silent >= training.dead_tokens).float().mean().item(),
    }  # fmt: skip


@torch.no_grad()
def fold_scale(sae: SAE, scale: float) -> None:
    """Make an SAE trained on `scale` times the activations read raw ones. ReLU and TopK are homogeneous, so only
    the biases change."""
    sae.b_enc.div_(scale)
    sae.b_dec.div_(scale)


def settings(config: SAEConfig, training: TrainConfig) -> dict:
    return {**asdict(config), **asdict(training)}
