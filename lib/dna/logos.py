"""The logo that a figure shows is earned: base-level attribution of one latent, its seqlets, and a gate before TomTom.

TomTom's p-values are void for flat matrices, so a match counts only for a logo with enough sites, columns and bits, and
only if it is better than the best matches of matrices made of random windows of the same depth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lib.dna.motifs import Motif
from lib.models import forward
from lib.models.adapter import Adapter
from lib.sae.model import SAE
from lib.stage import compiled

#: The gate: flanks below TRIM bits are cut; then at least this many columns, bits and sites.
TRIM, COLUMNS, BITS, SITES = 0.2, 5, 6.0, 20
#: A target is left out when more than this share of its columns hold less than FLAT bits.
FLAT, FLAT_SHARE = 0.25, 0.1
#: A match counts when p x targets, and the share of random matrices that match as well, are both below this.
MATCH = 0.01
Score = Callable[[list[str]], np.ndarray]


def latent_score(adapter: Adapter, site: str, sae: SAE, latent: int, token_budget: int = 16384) -> Score:
    """The function sequences -> largest activation of the latent over a sequence's tokens. [sequence] float32."""

    @torch.inference_mode()
    def score(sequences: list[str]) -> np.ndarray:
        encoded = [adapter.encode_one(s) for s in sequences]
        out = np.zeros(len(sequences), dtype=np.float32)
        n = forward.fitting([len(e.ids) for e in encoded], token_budget)
        for rows, batch in forward.batches(adapter, encoded, forward.of_size(len(encoded), n)):
            values = sae.encode(adapter.run(batch, [site])[site].float(), batch.unit)[:, latent].numpy()
            np.maximum.at(out, rows[0] + batch.unit, values)
        return out

    return score


def mutagenesis(score: Score, sequences: list[str], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Saturation mutagenesis of bases low to high of each sequence: [sequence, longest span], NaN past a span's end.

    Mean over the three substitutions of score(sequence) - score(mutant): positive where the score needs the base.
    """
    span = int((high - low).max())
    values = np.full((len(sequences), span), np.nan, dtype=np.float32)
    for row, (text, a, b) in enumerate(zip(sequences, low, high, strict=True)):
        mutants = [text[:i] + base + text[i + 1 :] for i in range(a, b) for base in "ACGT" if base != text[i]]
        scores = score([text, *mutants])
        values[row, : b - a] = scores[0] - scores[1:].reshape(b - a, 3).mean(1)
    return values


def seqlets(values: np.ndarray, control: np.ndarray, target_fdr: float = 0.1) -> pd.DataFrame:
    """Spans of high attribution (tangermeme's recursive seqlets), at a false discovery rate set by control sequences.

    values, control: [sequence, span], no NaN; control: the same latent on dinucleotide-shuffled sequences. Returns
    sequence, start, end (in the span), attribution; no row where no threshold reaches that rate.
    """
    from tangermeme.seqlet import recursive_seqlets

    own, shuffled = (torch.from_numpy(np.maximum(x, 0)) for x in (values, control))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No threshold reaches")  # the empty table says so, and its reader why it refuses
        spans = recursive_seqlets(own, threshold=0.01, X_control=shuffled, target_fdr=target_fdr)
    names = {"example_idx": "sequence"}
    return spans.rename(columns=names)[["sequence", "start", "end", "attribution"]].reset_index(drop=True)


def stack(windows: np.ndarray, weight: np.ndarray, jitter: int = 5, starts: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Align windows by shifts of at most `jitter` bases and count bases: frequencies [4, width - 2 jitter], shifts [n].

    windows: codes [n, width], 4 for N; weight: [n]. Each of the `starts` heaviest windows is a first consensus to which the
    others are aligned, then the consensus of all, until none moves; the alignment with the most bits is kept. Tokens may
    stand a few bases from what a latent reads; windows stacked as they are would blur it.
    """
    hot = np.concatenate([np.eye(4), np.full((1, 4), 0.25)])[windows]  # [n, width, 4]
    inner = windows.shape[1] - 2 * jitter
    views = np.stack([hot[:, s : s + inner] for s in range(2 * jitter + 1)], axis=1)  # [n, shift, inner, 4]
    tried = [_aligned(views, views[first, jitter] * 4, jitter) for first in np.argsort(-weight, kind="stable")[:starts]]
    ppm, shift = max(tried, key=lambda aligned: information(aligned[0], len(windows)).sum())
    return ppm, shift - jitter


def _aligned(views: np.ndarray, counts: np.ndarray, jitter: int, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and shifts when no window moves any more. counts: [inner, 4], the first consensus."""
    shift = np.full(len(views), -1)
    for _ in range(rounds):
        p = (counts + 0.25) / (counts.sum(1, keepdims=True) + 1)
        new = (views * np.log2(p / 0.25)).sum((2, 3)).argmax(1)
        if (new == shift).all():
            break
        shift = new
        counts = views[np.arange(len(views)), shift].sum(0)
    return counts.T / len(views), shift


def information(ppm: np.ndarray, n_sites: int) -> np.ndarray:
    """Bits per column against uniform bases, a quarter site of each base added. ppm: [4, width]."""
    p = (ppm * n_sites + 0.25) / (n_sites + 1)
    return 2 + (p * np.log2(p)).sum(0)


def trim(ppm: np.ndarray, n_sites: int) -> np.ndarray:
    """Without the flanks below TRIM bits; [4, 0] when nothing is left."""
    kept = np.flatnonzero(information(ppm, n_sites) >= TRIM)
    return ppm[:, kept[0] : kept[-1] + 1] if len(kept) else ppm[:, :0]


def refused(ppm: np.ndarray, n_sites: int) -> str:
    """Why a trimmed logo does not pass the gate; "" when it does."""
    if n_sites < SITES:
        return f"{n_sites} sites, wanted {SITES}"
    if ppm.shape[1] < COLUMNS:
        return f"{ppm.shape[1]} columns, wanted {COLUMNS}"
    bits = information(ppm, n_sites).sum()
    return "" if bits >= BITS else f"{bits:.1f} bits, wanted {BITS:g}"


def firm(motifs: tuple[Motif, ...]) -> list[Motif]:
    """Targets whose columns are not flat: the only ones that a match is claimed with."""
    return [m for m in motifs if (m.information < FLAT).mean() <= FLAT_SHARE]


@dataclass(frozen=True)
class Match:
    """Best target of a logo: its name and family, p x targets, and the share of random matrices that match as well."""

    motif: Motif
    e_value: float
    empirical: float

    @property
    def holds(self) -> bool:
        return self.e_value < MATCH and self.empirical < MATCH


class Matcher:
    """TomTom (memelite) against firm targets, with the best matches of random matrices as null.

    sequences: codes [n, length], from which random windows of `width` bases are drawn, 1,000 matrices of `depth` each.
    """

    def __init__(self, motifs: tuple[Motif, ...], sequences: np.ndarray, depth: int, width: int = 15, n_null: int = 1000, seed: int = 0):
        self.targets = firm(motifs)
        rng = np.random.default_rng(seed)
        row = rng.integers(0, len(sequences), (n_null, depth))
        start = rng.integers(0, sequences.shape[1] - width + 1, (n_null, depth))
        drawn = sequences[row[..., None], start[..., None] + np.arange(width)]
        hot = np.concatenate([np.eye(4), np.full((1, 4), 0.25)])[drawn]
        self.null = np.sort(self._p(list(hot.mean(1).transpose(0, 2, 1))).min(1))

    def _p(self, ppms: list[np.ndarray]) -> np.ndarray:
        """[query, target]"""
        from memelite import tomtom

        compiled.keep("memelite.tomtom")
        return np.asarray(tomtom(ppms, [m.pwm for m in self.targets], n_jobs=1)[0])

    def match(self, ppm: np.ndarray) -> Match:
        """ppm: a trimmed logo that has passed the gate."""
        p = self._p([ppm])[0]
        best = int(p.argmin())
        empirical = (1 + np.searchsorted(self.null, p[best], side="right")) / (1 + len(self.null))
        return Match(self.targets[best], float(p[best] * len(p)), float(empirical))


def insertion(score: Score, backgrounds: list[str], word: str, rng: np.random.Generator) -> np.ndarray:
    """score with the word in the middle, less score with its letters shuffled there: [background]. Dinucleotides of a
    word are too few to shuffle, so letters are."""
    inside, control = [], []
    for text in backgrounds:
        at = (len(text) - len(word)) // 2
        other = shuffled(word, rng)
        inside.append(text[:at] + word + text[at + len(word) :])
        control.append(text[:at] + other + text[at + len(word) :])
    scores = score(inside + control)
    return scores[: len(inside)] - scores[len(inside) :]


def removal(score: Score, sequences: list[str], start: np.ndarray, end: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """score of each sequence, less its score with bases start to end shuffled: [sequence]."""
    without = [t[:a] + shuffled(t[a:b], rng) + t[b:] for t, a, b in zip(sequences, start, end, strict=True)]
    scores = score(sequences + without)
    return scores[: len(sequences)] - scores[len(sequences) :]


def shuffled(word: str, rng: np.random.Generator) -> str:
    """The word's letters in another order: of 20 tries the one with the fewest letters in place."""
    tries = ["".join(rng.permutation(list(word))) for _ in range(20)]
    return min(tries, key=lambda t: sum(a == b for a, b in zip(t, word, strict=True)))


def consensus(ppm: np.ndarray) -> str:
    """The likeliest base of each column."""
    return "".join("ACGT"[i] for i in ppm.argmax(0))
