"""Nucleic acids with their composition and without their order."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from lib.models import sequence as sq


def dinucleotide_shuffled(sequences: Sequence[str], seed: int) -> list[str]:
    """Each sequence with its dinucleotides kept and its order lost (tangermeme). Sequences of one length, without N."""
    from tangermeme.ersatz import dinucleotide_shuffle

    X = torch.from_numpy(sq.one_hot(np.stack([sq.encode(s) for s in sequences]), np.float32))
    mixed = dinucleotide_shuffle(X, n=1, random_state=seed)[:, 0]
    return [sq.decode(row) for row in mixed.argmax(1).to(torch.uint8).numpy()]


def shuffled_texts(texts: list[str], tokens: pd.DataFrame, seed: int) -> list[str]:
    """The null "shuffled sequence": texts with the units of `tokens` dinucleotide-shuffled, the others as they are.

    Every N stays where it is: the stretches between them are shuffled each on its own.
    """
    out, stretches = list(texts), {}
    for unit in pd.unique(tokens["unit"]):
        for stretch in re.finditer("[ACGT]{3,}", texts[unit]):
            stretches.setdefault(len(stretch.group()), []).append((unit, stretch.start(), stretch.group()))
    for length, same_length in sorted(stretches.items()):
        for (unit, start, _), text in zip(same_length, dinucleotide_shuffled([m[2] for m in same_length], seed), strict=True):
            out[unit] = out[unit][:start] + text + out[unit][start + length :]
    return out
