"""Activations turned to their principal components, and scaled by them, before a dictionary is trained; folded back into it after.

A dictionary of what came out reads and rebuilds raw activations: the change of coordinates is in its weights. `recipes.md` says
what that bought on the demo: nothing, so that no notebook does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from lib.sae import evaluate
from lib.sae.model import SAE, SAEConfig


class Coordinates(NamedTuple):
    """z = (x - centre) @ into, x = z @ back + centre on the components kept. centre [d_in]; into [d_in, p]; back [p, d_in]."""

    centre: np.ndarray
    into: np.ndarray
    back: np.ndarray

    def of(self, x: np.ndarray) -> np.ndarray:
        """float32 [token, d_in] -> [token, p]."""
        return ((x - self.centre.astype(np.float32)) @ self.into.astype(np.float32)).astype(np.float32)


def fitted(acts: np.ndarray, train: np.ndarray, components: int, power: float, seed: int) -> Coordinates:
    """Leading components of training tokens, each divided by its standard deviation to a power: 1 whitens, 0 leaves the lengths.

    Raises ValueError for a power outside [0, 1], components outside 1 to d_in, and for components without variance to divide by.
    """
    if not 0 <= power <= 1 or not 0 < components <= acts.shape[1]:
        raise ValueError(f"power {power:g}, components {components}: wanted 0 to 1, and 1 to {acts.shape[1]}")
    centre, basis = evaluate.pca_basis(acts, train, components, seed)
    pick = np.sort(np.random.default_rng(seed).choice(train, min(50_000, len(train)), replace=False))
    deviation = ((np.asarray(acts[pick], dtype=np.float64) - centre) @ basis).std(0)
    if power and (weak := int((deviation < 1e-5 * deviation[0]).sum())):
        raise ValueError(f"{weak} of {components} components hold no variance: wanted at most {components - weak}")
    size = deviation**power
    return Coordinates(centre, basis / size, (basis * size).T)


def turned(batches: Callable[[int], Iterator[np.ndarray]], to: Coordinates) -> Callable[[int], Iterator[np.ndarray]]:
    """Batches in other coordinates."""
    return lambda step: map(to.of, batches(step))


@torch.no_grad()
def folded(sae: SAE, to: Coordinates) -> SAE:
    """The dictionary of activations whose coordinates `sae` [p] reads: the same latents, scaled so that rows keep length 1.

    Raises ValueError for TopK, which chooses by size over all latents (BatchTopK has a threshold for each), and for a convolutional one.
    """
    if sae.config.architecture in ("topk", "convolutional"):
        raise ValueError(f"{sae.config.architecture} does not survive a change of coordinates: its choice compares latents by size")
    into, back, centre = (torch.from_numpy(np.asarray(a)).float() for a in (to.into, to.back, to.centre))
    c = sae.config
    out = SAE(SAEConfig(c.architecture, len(centre), c.d_sae, c.k, c.trained_as))
    rows = sae.W_dec @ back
    length = rows.norm(dim=1).clamp_min(1e-12)
    out.W_dec.copy_(rows / length[:, None])
    out.W_enc.copy_(into @ sae.W_enc * length)
    out.b_enc.copy_(sae.b_enc * length)
    out.b_dec.copy_(centre + sae.b_dec @ back)
    for name in ("threshold", "b_mag"):
        if hasattr(sae, name):
            getattr(out, name).copy_(getattr(sae, name) * length)
    if hasattr(sae, "r_mag"):
        out.r_mag.copy_(sae.r_mag)
    return out
