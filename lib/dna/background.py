"""Reference sequence away from the loci, drawn by rule where a study brings no background of its own."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from lib.dna import windows
from lib.dna.reference import Reference

PIECE_BP = 1_000_000  # a contig is looked at in pieces of this length, in a seeded order, until it has given its share
PIECES = 32  # known ones of a contig that are looked at where they have enough: a genome is not read whole for a sample
STRETCH = 10  # windows side by side


def draw(genome: Reference, loci: pd.DataFrame, window_bp: int, n_windows: int, seed: int) -> pd.DataFrame:
    """Stretches of up to `STRETCH` windows without N that touch no locus: contig, start, end, in genome order.

    Every chromosome gives the same number of windows, n_windows or a few more in all, as far as it has them;
    chromosomes are contigs named 1 to 22, X or Y, with or without "chr", or all contigs where fewer than three are. Raises
    ValueError when nothing is left.
    """
    contigs = _chromosomes(genome, window_bp)
    share = -(-n_windows // max(1, len(contigs)))
    parts = [_of_contig(genome, loci, contig, window_bp, share, seed + i) for i, contig in enumerate(contigs)]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise ValueError(f"{genome.path}: no {window_bp} known bases in a row outside the loci; give a background of your own")
    return pd.concat(parts).sort_values(["contig", "start"], ignore_index=True)


def _chromosomes(genome: Reference, window_bp: int) -> list[str]:
    long = [contig for contig, length in genome.lengths.items() if length >= window_bp]
    named = [contig for contig in long if re.fullmatch(r"(chr)?([1-9]|1\d|2[0-2]|X|Y)", contig)]
    return named if len(named) >= 3 else long


def _of_contig(genome: Reference, loci: pd.DataFrame, contig: str, window_bp: int, share: int, seed: int) -> pd.DataFrame:
    """`share` windows of a contig in stretches, fewer where its pieces have fewer: spread over the pieces first, then the rest."""
    rng = np.random.default_rng(seed)
    pieces = rng.permutation(-(-genome.lengths[contig] // PIECE_BP)) * PIECE_BP
    each = max(STRETCH, 2 * share // max(1, len(pieces)))  # windows that a piece gives at first, so that they are spread
    parts, n_first, n_all = [], 0, 0
    for start in pieces.tolist():
        part = _stretches(genome, loci, contig, start, window_bp, rng)
        if len(part):
            parts.append(part.assign(first=_before(part) < each))
            n_first += int(part.n[parts[-1]["first"]].sum())
            n_all += int(part.n.sum())
        if n_first >= share or len(parts) >= PIECES and n_all >= share:
            break
    if not parts:
        return pd.DataFrame()
    drawn = pd.concat(parts).sort_values("first", ascending=False, kind="stable")
    n = np.minimum(drawn.n, share - _before(drawn))
    return drawn.assign(end=drawn.start + n * window_bp)[n > 0][["contig", "start", "end"]]


def _before(stretches: pd.DataFrame) -> pd.Series:
    """Windows in the stretches before each one."""
    return stretches.n.cumsum() - stretches.n


def _stretches(
    genome: Reference, loci: pd.DataFrame, contig: str, start: int, window_bp: int, rng: np.random.Generator
) -> pd.DataFrame:
    """A piece's stretches outside the loci, in random order: contig, start, end, n (windows)."""
    known = _known(genome, contig, start, min(start + PIECE_BP, genome.lengths[contig]), window_bp)
    outside = windows.outside(known, loci) if len(known) else known
    if outside.empty:
        return outside
    return outside.sample(frac=1, random_state=int(rng.integers(2**31))).assign(n=lambda x: (x.end - x.start) // window_bp)


def _known(genome: Reference, contig: str, start: int, end: int, window_bp: int) -> pd.DataFrame:
    """The piece's runs of A C G T, cut into stretches of whole windows: contig, start, end."""
    letters = np.frombuffer(genome.letters(contig, start, end).upper().encode(), dtype=np.uint8)
    known = np.isin(letters, list(b"ACGT"))
    runs = np.flatnonzero(np.diff(known, prepend=False, append=False)).reshape(-1, 2)
    rows = []
    for first, last in runs[runs[:, 1] - runs[:, 0] >= window_bp].tolist():
        for low in range(first, last - window_bp + 1, STRETCH * window_bp):
            whole = min(STRETCH, (last - low) // window_bp)
            rows.append((contig, start + low, start + low + whole * window_bp))
    return pd.DataFrame(rows, columns=["contig", "start", "end"]).astype({"start": np.int64, "end": np.int64})
