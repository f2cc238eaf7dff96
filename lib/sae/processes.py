"""Several processes that train one sweep, under `torchrun`; one alone without it."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from lib.sae.stack import Stack


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part(x: np.ndarray, crop: int = 0) -> np.ndarray:
    """This process' part of a batch [token, ...]: every world()-th token, or crop of tokens."""
    crops = x.reshape(-1, max(crop, 1), *x.shape[1:])[rank() :: world()]
    return np.ascontiguousarray(crops.reshape(-1, *x.shape[1:]))


def share(stack: Stack, seen: dict[str, Tensor]) -> None:
    """Mean gradients, summed errors and the union of what fired, over processes."""
    if world() == 1:
        return
    for p in stack.parameters():
        if p.grad is not None:
            dist.all_reduce(p.grad)
            p.grad /= world()
    fired = seen["fired"].to(torch.int32)
    dist.all_reduce(fired, op=dist.ReduceOp.MAX)
    seen["fired"] = fired.bool()
    for buffer in (stack.running, stack.share):
        mean_over_processes(buffer)


def mean_over_processes(tensor: Tensor) -> Tensor:
    """In place."""
    if world() > 1:
        dist.all_reduce(tensor)
        tensor /= world()
    return tensor
