"""Adam on a stack: each member with its own learning rate and gradient norm, decoder rows kept unit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lib.sae import kernels


class Adam:
    """Adam over a stack's parameters, all [member, ...]. State: first and second moment of each, and the step.

    Each step drops the decoder gradient's part along its row, scales each member's whole gradient to norm 1 / d_in at
    most, updates, and makes the decoder's rows unit again. On a CPU it is one pass over memory (float32 master
    weights everywhere). The bound is norm 1 for an error summed over dimensions, as the usual recipes have it; without
    it the large first gradients fill the second moment, and 800 steps of TopK end 0.006 lower in explained variance.
    """

    def __init__(self, stack: nn.Module, lr: Tensor, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        self.stack, self.lr, self.beta1, self.beta2, self.eps = stack, lr, beta1, beta2, eps
        self.clip = 1 / stack.d_in
        self.step_number = 0
        self.first = {name: torch.zeros_like(p) for name, p in stack.named_parameters()}
        self.second = {name: torch.zeros_like(p) for name, p in stack.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        return {f"first.{n}": t for n, t in self.first.items()} | {f"second.{n}": t for n, t in self.second.items()}

    def load(self, state: dict[str, Tensor], step_number: int) -> None:
        self.step_number = step_number
        for name, moment in self.state().items():
            moment.copy_(state[name])

    def without(self, stack: nn.Module, member: int) -> Adam:
        """The same state for a stack without one member."""
        keep = [i for i in range(len(self.lr)) if i != member]
        other = Adam(stack, self.lr[keep], self.beta1, self.beta2, self.eps)
        other.load({name: t[keep] for name, t in self.state().items()}, self.step_number)
        return other

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update at `factor` times the learning rate. Parameters without gradient do not move."""
        self.step_number += 1
        parameters = {n: p for n, p in self.stack.named_parameters() if p.grad is not None}
        on_cpu = self.lr.device.type == "cpu"
        dec = self.stack.dec
        if dec.grad is not None:
            if on_cpu:
                kernels.project(_rows(dec.grad).numpy(), _rows(dec).numpy())
            else:
                dec.grad -= (dec.grad * dec).sum(-1, keepdim=True) * dec
        square = sum(p.grad.view(len(self.lr), -1).square().sum(1) for p in parameters.values())
        scale = (self.clip / square.sqrt().clamp_min(1e-12)).clamp_max(1.0)
        corrections = 1 - self.beta1**self.step_number, 1 - self.beta2**self.step_number
        for name, p in parameters.items():
            update = self._on_cpu if on_cpu else self._anywhere
            update(p, self.first[name], self.second[name], self.lr * factor, scale, corrections, name == "dec")

    def _on_cpu(self, p, first, second, lr, scale, corrections, unit) -> None:
        arrays = [_rows(t).numpy() for t in (p, p.grad, first, second)]
        kernels.adam(*arrays, lr.numpy(), scale.numpy(), self.beta1, self.beta2, *corrections, self.eps, unit)

    def _anywhere(self, p, first, second, lr, scale, corrections, unit) -> None:
        shape = (-1,) + (1,) * (p.dim() - 1)
        grad = p.grad * scale.view(shape)
        first.lerp_(grad, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        p -= lr.view(shape) / corrections[0] * first / (second.sqrt() / math.sqrt(corrections[1]) + self.eps)
        if unit:
            p /= p.norm(dim=-1, keepdim=True).clamp_min(1e-8)


def _rows(t: Tensor) -> Tensor:
    """The memory of [member, a, b] or [member, a] as rows, member-major."""
    t = t.detach()
    return t.view(-1, t.shape[-1]) if t.dim() == 3 else t.view(-1, 1)
