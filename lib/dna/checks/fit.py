"""How many bases of a genome fit a model's context, and what its tokenizer makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.dna.reference import Reference
from lib.models.adapter import Adapter

SAMPLE = 400  # places looked at for the largest window


def n_tokens(model: Adapter, sequences: list[str]) -> np.ndarray:
    """Tokens of each sequence, specials included: [sequence] int."""
    return np.array([len(model.tokenizer.encode(sequence).ids) for sequence in sequences], dtype=int)


def sequences(windows: pd.DataFrame, genome: Reference) -> list[str]:
    """The reference bases of windows: contig, start, end."""
    return [genome.fetch(c, a, b) for c, a, b in zip(windows.contig, windows.start, windows.end)]


def step(model: Adapter) -> int:
    """Window lengths that a model's words tile: multiples of the word, or of ten bases."""
    return getattr(model.tokenizer, "k", 10)


def largest_window(model: Adapter, genome: Reference, regions: pd.DataFrame, most: int, margin: float = 1.0) -> int:
    """The largest window, in bases, of which a sample of the regions' places fits the context; 0 if none does.

    regions: contig, start, end. most: bases; margin: share of the context that may be filled. A multiple of `step`.
    """
    unit = step(model)
    if model.max_tokens is None:
        return most // unit * unit
    places = _places(regions, most)
    low, high = 0, most // unit
    while low < high:
        middle = (low + high + 1) // 2
        texts = [genome.fetch(c, a, min(a + middle * unit, end)) for c, a, end in places]
        fits = n_tokens(model, texts).max() <= margin * model.max_tokens
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * unit


def _places(regions: pd.DataFrame, most: int) -> list[tuple[str, int, int]]:
    """A seeded sample of where windows may start: contig, start, end of the region."""
    rng = np.random.default_rng(0)
    length = (regions.end - regions.start).to_numpy()
    row = rng.choice(len(regions), SAMPLE, p=length / length.sum())
    start = regions.start.to_numpy()[row] + (rng.random(SAMPLE) * np.maximum(length[row] - most, 1)).astype(int)
    return list(zip(regions.contig.to_numpy()[row], start.tolist(), regions.end.to_numpy()[row].tolist()))
