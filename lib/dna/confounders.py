"""What explains most latents of most models before biology does: composition, repeats, place in the window."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from lib.models import sequence as sq

#: CpG islands (Gardiner-Garden and Frommer 1987): at least this long, this share of G and C, this observed over expected.
ISLAND_BP, ISLAND_GC, ISLAND_CPG = 200, 0.5, 0.6


def homopolymers(codes: np.ndarray, shortest: int = 6) -> np.ndarray:
    """Runs of one base: [n, 2] start and end. codes: [length] 0-3, 4 for N."""
    return _runs_of_period(codes, 1, shortest)


def simple_repeats(codes: np.ndarray, shortest: int = 12, longest_period: int = 6) -> np.ndarray:
    """Tandem repeats of 2 to 6 bases that go on for at least `shortest` bases and two periods: [n, 2], disjoint, sorted."""
    inside = np.zeros(len(codes), dtype=bool)
    for period in range(2, longest_period + 1):
        for start, end in _runs_of_period(codes, period, max(shortest, 2 * period)):
            inside[start:end] = True
    for start, end in homopolymers(codes, shortest):
        inside[start:end] = False
    return segments(inside)


def _runs_of_period(codes: np.ndarray, period: int, shortest: int) -> np.ndarray:
    """Stretches in which every base equals the one `period` before it. [n, 2]"""
    same = (codes[period:] == codes[:-period]) & (codes[period:] < 4) & (codes[:-period] < 4)
    runs = segments(same)
    runs[:, 1] += period
    return runs[runs[:, 1] - runs[:, 0] >= shortest]


def segments(inside: np.ndarray) -> np.ndarray:
    edge = np.diff(np.concatenate([[0], inside.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)], axis=1)


def cpg_islands(codes: np.ndarray) -> np.ndarray:
    """Stretches every base of which lies in a window of ISLAND_BP that meets the island rule: [n, 2]."""
    if len(codes) < ISLAND_BP:
        return np.empty((0, 2), dtype=int)
    c, g = codes == 1, codes == 2
    both = np.r_[c[:-1] & g[1:], False]
    n_c, n_g, n_cg = (_window_sum(x, ISLAND_BP) for x in (c, g, both))
    rule = (n_c + n_g >= ISLAND_GC * ISLAND_BP) & (n_cg * ISLAND_BP >= ISLAND_CPG * n_c * n_g)
    inside = np.zeros(len(codes) + 1, dtype=int)
    starts = np.flatnonzero(rule)
    np.add.at(inside, starts, 1)
    np.add.at(inside, starts + ISLAND_BP, -1)
    return segments(np.cumsum(inside)[:-1] > 0)


def _window_sum(x: np.ndarray, width: int) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(x)])
    return total[width:] - total[:-width]


class KmerCounts:
    """How often each k-mer occurs on either strand of some sequences: repeats of a genome, found from itself.

    k: at most 31; 16 occurs 0.02 times by chance in 39 Mb.
    """

    def __init__(self, sequences: Iterable[np.ndarray], k: int = 16):
        self.k = k
        words = np.concatenate([w[known] for w, known in (self._words(codes) for codes in sequences)])
        self.words, self.counts = np.unique(words, return_counts=True)

    def _words(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Canonical k-mer at each start, and whether it holds no N."""
        n = len(codes) - self.k + 1
        if n <= 0:
            return np.empty(0, dtype=np.uint64), np.empty(0, dtype=bool)
        forward, reverse = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.uint64)
        for i in range(self.k):
            base = codes[i : i + n].astype(np.uint64)
            forward |= (base & np.uint64(3)) << np.uint64(2 * (self.k - 1 - i))
            reverse |= (np.uint64(3) - (base & np.uint64(3))) << np.uint64(2 * i)
        return np.minimum(forward, reverse), _window_sum(codes > 3, self.k) == 0

    def at(self, codes: np.ndarray) -> np.ndarray:
        """Count of the k-mer that starts at each base; 0 where it holds an N or was never counted. [length - k + 1]"""
        words, known = self._words(codes)
        place = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        return np.where(known & (self.words[place] == words), self.counts[place], 0)

    def repeats(self, codes: np.ndarray, least: int = 5, shortest: int = 30, join: int = 20) -> np.ndarray:
        """Stretches covered by k-mers that occur at least `least` times, gaps up to `join` bases closed: [n, 2]."""
        inside = np.zeros(len(codes), dtype=bool)
        for start, end in segments(self.at(codes) >= least):
            inside[start : end + self.k - 1] = True
        for start, end in segments(~inside):
            if end - start <= join and start > 0 and end < len(codes):
                inside[start:end] = True
        runs = segments(inside)
        return runs[runs[:, 1] - runs[:, 0] >= shortest]


def sequence_concepts(windows: pd.DataFrame, sequences: list[str], counts: KmerCounts | None) -> pd.DataFrame:
    """Intervals that need no file: contig, start, end, concept, family. windows: contig, start; one row a sequence.

    A homopolymer is called by its base, "poly-A". counts: of the whole background, for interspersed repeats; None when a RepeatMasker
    file gives them.
    """
    finders = {"simple repeat": simple_repeats, "CpG island": cpg_islands}
    if counts is not None:
        finders["repeated sequence"] = counts.repeats
    rows = []
    for contig, offset, text in zip(windows["contig"], windows["start"], sequences, strict=True):
        codes = sq.encode(text)
        rows += [(contig, offset + s, offset + e, f"poly-{text[s]}", "homopolymer") for s, e in homopolymers(codes)]
        rows += [(contig, offset + s, offset + e, name, name) for name, find in finders.items() for s, e in find(codes)]
    return pd.DataFrame(rows, columns=["contig", "start", "end", "concept", "family"])


def of_tokens(tokens: pd.DataFrame, texts: list[str], repeats: pd.DataFrame, sites: pd.DataFrame | None, around: int = 50) -> pd.DataFrame:
    """Confounders of each token: one row a token.

    tokens: unit, start, end (in the unit), contig, ref_start, ref_end; texts: unit -> sequence. repeats: intervals with
    concept. sites: transcription starts (contig, start), or None. around: bases on each side over which composition is
    taken, within the unit. Returns gc (fraction), cpg (observed over expected), repeat (name or ""), position (fraction of
    the window), log_tss (log10 of 1 + bases to the nearest start; 0 without sites).
    """
    gc, cpg, position = (np.zeros(len(tokens)) for _ in range(3))
    for unit, rows in tokens.groupby("unit").indices.items():
        codes = sq.encode(texts[unit])
        middle = (tokens["start"].to_numpy()[rows] + tokens["end"].to_numpy()[rows]) // 2
        gc[rows], cpg[rows] = _composition(codes, np.maximum(middle - around, 0), np.minimum(middle + around, len(codes)))
        position[rows] = middle / len(codes)
    table = pd.DataFrame({"gc": gc, "cpg": cpg, "position": position, "repeat": class_of(tokens, repeats)})
    return table.assign(log_tss=0.0 if sites is None else log_distance(tokens, sites))


def _composition(codes: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c, g = codes == 1, codes == 2
    sums = [np.concatenate([[0], np.cumsum(x)]) for x in (c, g, np.r_[c[:-1] & g[1:], False])]
    n_c, n_g = (s[high] - s[low] for s in sums[:2])
    n_cg = sums[2][np.maximum(high - 1, low)] - sums[2][low]
    length = np.maximum(high - low, 1)
    return (n_c + n_g) / length, n_cg * length / np.maximum(n_c * n_g, 1)


def class_of(tokens: pd.DataFrame, repeats: pd.DataFrame) -> np.ndarray:
    """Name of the last of the repeats that touches each token's middle, "" for none."""
    name = np.full(len(tokens), "", dtype=object)
    middle = (tokens["ref_start"].to_numpy() + tokens["ref_end"].to_numpy()) // 2
    for contig, rows in tokens.groupby("contig").indices.items():
        order = rows[np.argsort(middle[rows], kind="stable")]
        for r in repeats[repeats["contig"] == contig].itertuples():
            low, high = np.searchsorted(middle[order], [r.start, r.end])
            name[order[low:high]] = r.concept
    return name


def log_distance(tokens: pd.DataFrame, sites: pd.DataFrame) -> np.ndarray:
    """log10 of 1 + bases from each middle to the nearest site. tokens: contig, ref_start, ref_end; sites: contig, start; on a contig
    without one 9. [token]"""
    out = np.zeros(len(tokens))
    for contig, rows in tokens.groupby("contig").indices.items():
        at = np.sort(sites.loc[sites["contig"] == contig, "start"].to_numpy())
        middle = (tokens["ref_start"].to_numpy()[rows] + tokens["ref_end"].to_numpy()[rows]) // 2
        if len(at):
            place = np.searchsorted(at, middle)
            left, right = at[np.maximum(place - 1, 0)], at[np.minimum(place, len(at) - 1)]
            out[rows] = np.log10(1 + np.minimum(abs(middle - left), abs(middle - right)))
        else:
            out[rows] = np.log10(1 + 1e9)
    return out
