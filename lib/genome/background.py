"""Reference sequence away from the loci, drawn by rule where a study brings no background of its own."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from lib.genome import windows
from lib.genome.reference import Reference

PIECE_BP = 1_000_000  # a contig is looked at in pieces of this length, in a seeded order, until it has given its share
STRETCH = 10  # windows side by side


def draw(genome: Reference, loci: pd.DataFrame, window_bp: int, n_windows: int, seed: int) -> pd.DataFrame:
    """Stretches of up to `STRETCH` windows without N that touch no locus: contig, start, end, in genome order.

    Every chromosome gives the same number of windows, as far as it has them; chromosomes are contigs named 1 to 22, X or Y,
    with or without "chr", or all contigs where fewer than three are. Raises ValueError when nothing is left.
    """
    contigs = _chromosomes(genome, window_bp)
    share = -(-n_windows // max(1, len(contigs)))
    parts = [_of_contig(genome, loci, contig, window_bp, share, seed + i) for i, contig in enumerate(contigs)]
    drawn = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if drawn.empty:
        raise ValueError(f"{genome.path}: no {window_bp} known bases in a row outside the loci; give a background of your own")
    return drawn.sort_values(["contig", "start"], ignore_index=True)


def _chromosomes(genome: Reference, window_bp: int) -> list[str]:
    long = [contig for contig, length in genome.lengths.items() if length >= window_bp]
    named = [contig for contig in long if re.fullmatch(r"(chr)?([1-9]|1\d|2[0-2]|X|Y)", contig)]
    return named if len(named) >= 3 else long


def _of_contig(genome: Reference, loci: pd.DataFrame, contig: str, window_bp: int, share: int, seed: int) -> pd.DataFrame:
    """Up to `share` windows of a contig, in stretches."""
    rng = np.random.default_rng(seed)
    length = genome.lengths[contig]
    pieces = rng.permutation(-(-length // PIECE_BP)) * PIECE_BP
    each = max(STRETCH, 2 * share // max(1, len(pieces)))  # windows a piece gives at most, so that they are spread
    taken, n = [], 0
    for start in pieces.tolist():
        stretches = _known(genome, contig, start, min(start + PIECE_BP, length), window_bp)
        stretches = windows.outside(stretches, loci) if len(stretches) else stretches
        stretches = stretches.sample(frac=1, random_state=int(rng.integers(2**31)))
        sizes = (stretches.end - stretches.start) // window_bp
        taken.append(stretches[sizes.cumsum() - sizes < min(each, share - n)])
        n += int(sizes.iloc[: len(taken[-1])].sum())
        if n >= share:
            break
    return pd.concat(taken, ignore_index=True)


def _known(genome: Reference, contig: str, start: int, end: int, window_bp: int) -> pd.DataFrame:
    """The piece's runs without N, cut into stretches of whole windows: contig, start, end."""
    rows = []
    for run in re.finditer(f"[ACGT]{{{window_bp},}}", genome.fetch(contig, start, end)):
        for low in range(run.start(), run.end() - window_bp + 1, STRETCH * window_bp):
            whole = min(STRETCH, (run.end() - low) // window_bp)
            rows.append((contig, start + low, start + low + whole * window_bp))
    return pd.DataFrame(rows, columns=["contig", "start", "end"]).astype({"start": np.int64, "end": np.int64})
