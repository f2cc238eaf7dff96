"""What a dictionary is given of stored activations: chunks of rows, or, where it reads windows, whole units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lib.sae.model import SAE

Part = tuple[slice | np.ndarray, tuple[Tensor, ...], slice | np.ndarray]


def parts(sae: SAE, acts: np.ndarray, rows: np.ndarray, unit: np.ndarray | None = None, chunk: int = 16384) -> Iterator[Part]:
    """acts[rows] piece by piece, about `chunk` tokens each: (place, given, pick).

    given: the arguments of `sae` and `sae.encode`; rows[place] are [pick] of what these return. A convolutional dictionary is
    given the whole units of the rows, whatever rows are wanted of them; places together are all of rows, in any order.
    acts: [token, d_in], mapped; unit: [token], a unit's tokens side by side, of all of acts; only a convolutional one asks.
    Raises ValueError where a convolutional one has no unit.
    """
    if not sae.config.window:
        for s in range(0, len(rows), chunk):
            yield slice(s, s + chunk), (_read(acts, rows[s : s + chunk]),), slice(None)
        return
    unit = np.asarray(_needed(unit))
    first = np.append(np.flatnonzero(np.diff(unit, prepend=unit[:1] - 1)), len(unit))
    run = np.searchsorted(first, rows, side="right") - 1
    order = np.argsort(run, kind="stable")
    wanted, begin = np.unique(run[order], return_index=True)
    group = np.cumsum(first[wanted + 1] - first[wanted]) // chunk
    for some in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(group)) + 1) if len(wanted) else []:
        place = order[begin[some[0]] : begin[some[-1] + 1] if some[-1] + 1 < len(begin) else len(order)]
        read = np.concatenate([np.arange(first[r], first[r + 1]) for r in wanted[some]])
        yield place, (_read(acts, read), torch.from_numpy(unit[read])), np.searchsorted(read, rows[place])


def encode_all(sae: SAE, x: Tensor, unit: np.ndarray | None = None, latents: Tensor | slice = slice(None)) -> Tensor:
    """Some latents of all tokens, piece by piece: [token, latent]. x: [token, d_in]; unit: as in `parts`."""
    if not sae.config.window:
        return torch.cat([sae.encode(part)[:, latents] for part in x.split(16384)])
    return torch.cat([sae.encode(*given)[:, latents] for _, given, _ in parts(sae, x.numpy(), np.arange(len(x)), unit)])


def _needed(unit: np.ndarray | None) -> np.ndarray:
    if unit is None:
        raise ValueError("a convolutional dictionary reads whole units: give the unit of each token")
    return unit


def _read(acts: np.ndarray, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(acts[rows], dtype=np.float32))
