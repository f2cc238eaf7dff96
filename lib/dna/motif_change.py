"""What a variant does to motif hits: the rival that needs no model."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
import torch

from lib.dna.motifs import Motif, log_odds, score_threshold
from lib.models import sequence as sq

#: Variants scored at a time: 256 of them make 30 MB of scores.
CHUNK = 256


def changes(table: pd.DataFrame, motifs: tuple[Motif, ...], p_value: float = 1e-4) -> np.ndarray:
    """Change of each profile's best site near each variant, alternative less reference, in bits: float32 [variant, profile].

    Of both strands, among sites that touch the allele. A site below the score of FIMO's `p_value` counts as that score, so that only
    hits come and go; a profile too short or flat to have such a hit changes nothing. table: offset, ref, alt, ref_sequence,
    alt_sequence. An allele too near a window's end for a profile's site is read on what lies there.
    """
    out = np.zeros((len(table), len(motifs)), np.float32)
    for width, rows, floor in _by_width(motifs, p_value):
        kernels = torch.from_numpy(np.stack([m for k in rows for m in _both(motifs[k])])).float()
        for start in range(0, len(table), CHUNK):
            some = table.iloc[start : start + CHUNK]
            best = [_best(some, allele, width, kernels, floor) for allele in ("ref", "alt")]
            out[start : start + len(some), rows] = best[1] - best[0]
    return out


def largest(change: np.ndarray) -> np.ndarray:
    """Size of the change of the profile that changes most: [variant]."""
    return np.abs(change).max(1, initial=0)


def _best(some: pd.DataFrame, allele: str, width: int, kernels: torch.Tensor, floor: np.ndarray) -> np.ndarray:
    """Score of each profile's best site that touches the allele, at least its floor: [variant, profile]."""
    texts, length = [], some[allele].str.len().to_numpy()
    longest = int(length.max()) + 2 * (width - 1)
    for text, offset, n in zip(some[f"{allele}_sequence"], some["offset"], length):
        low, high = max(0, offset - width + 1), offset + n + width - 1
        texts.append(text[low:high].ljust(longest, "N"))
    hot = torch.from_numpy(sq.one_hot(np.stack([sq.encode(text) for text in texts]), np.float32))
    score = torch.conv1d(hot, kernels)
    unknown = torch.conv1d(1 - hot.sum(1, keepdim=True), torch.ones(1, 1, width)) > 0.5  # a site with an N, or past the end
    score = score.masked_fill(unknown, -torch.inf).amax(2).reshape(len(some), -1, 2).amax(2)
    return np.maximum(score.numpy(), floor)


def _by_width(motifs: tuple[Motif, ...], p_value: float) -> list[tuple[int, list[int], np.ndarray]]:
    """Profiles of each width that can have a hit, and the scores that make one."""
    rows: dict[int, list[int]] = defaultdict(list)
    floors: dict[int, list[float]] = defaultdict(list)
    for k, motif in enumerate(motifs):
        try:
            floor = score_threshold(motif.pwm, p_value)
        except ValueError:  # too short or too flat for a hit
            continue
        rows[motif.width].append(k)
        floors[motif.width].append(floor)
    return [(width, rows[width], np.array(floors[width], np.float32)) for width in sorted(rows)]


def _both(motif: Motif) -> tuple[np.ndarray, np.ndarray]:
    return log_odds(motif.pwm), log_odds(motif.reverse_complement())
