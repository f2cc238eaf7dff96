"""Does a model of DNA make sense of the user's own sequence: three questions that a sound structure cannot answer.

Each is answered by the difference of two losses on the same windows, with its bootstrap interval over windows. A model that
knows too little to tell gets "cannot tell": that is no pass.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.models import fasta, language
from lib.models.adapter import Adapter
from lib.stats import estimates

LENGTHS = (1200, 900, 600, 300, 240, 180, 120, 60)  # bases of a window, the longest that gives at most TOKENS tokens
TOKENS = 160
LARGE = 30_000_000  # parameters: from here on fewer windows and letters, so that a CPU answers within a minute or two
N_WINDOWS = (96, 16)  # of a small and a large model; half of them choose a rival, half compare it
BASES = 5_000_000  # bases without N that are read of a genome before windows are drawn
LITTLE = 0.002  # nats: a smaller difference is none; random weights showed up to 0.0016 between values of rope_theta
THETAS = (0.01, 0.1, 10.0, 100.0)  # times the model's own


class Answer(NamedTuple):
    """gap: loss of what should be worse - loss of what should be better, nats per base, so positive is sound."""

    question: str
    verdict: str
    gap: estimates.Estimate
    note: str


def n_windows(adapter: Adapter) -> int:
    return N_WINDOWS[_is_large(adapter)]


def _is_large(adapter: Adapter) -> bool:
    return sum(p.numel() for p in adapter.model.parameters()) > LARGE


def windows_of(adapter: Adapter, path: Path, seed: int = 0) -> list[str]:
    """Windows without N, of one length that the model reads, drawn from a FASTA file (plain, gzip or bgzip).

    Upper-cased. Raises ValueError where the file holds too little for them.
    """
    texts, n_bases = [], 0
    for _, _, bases in fasta.pieces(path):
        known = re.findall(f"[ACGT]{{{LENGTHS[-1]},}}", bases)
        texts += known
        n_bases += sum(map(len, known))
        if n_bases >= BASES:
            break
    return draw(adapter, texts, n_windows(adapter), seed, str(path))


def draw(adapter: Adapter, texts: Sequence[str], n: int, seed: int, where: str = "the records") -> list[str]:
    """n windows of one length from texts of A C G T, anywhere in them, longer texts more often; two may overlap, none is another.

    Their length is the first of `LENGTHS` for which there is enough. Raises ValueError where there is for none.
    """
    length, long = _enough(adapter, texts, n, where)
    room = np.array([len(t) - length + 1 for t in long])
    end = room.cumsum()
    places = np.random.default_rng(seed).choice(end[-1], n, replace=False)
    rows = np.searchsorted(end, places, side="right")
    starts = places - (end - room)[rows]
    return [long[row][start : start + length] for row, start in zip(rows, starts)]


def _enough(adapter: Adapter, texts: Sequence[str], n: int, where: str) -> tuple[int, list[str]]:
    """The first of `LENGTHS` that the model reads in at most `TOKENS` tokens, with the texts that are as long.

    They hold half of the n windows' bases or more, and n places or more. Raises ValueError.
    """
    longest = max(texts, key=len, default="")
    if len(longest) < LENGTHS[-1]:
        raise ValueError(f"{where}: the longest stretch of A C G T has {len(longest)} bases, wanted at least {LENGTHS[-1]}")
    for length in (size for size in LENGTHS if size <= len(longest)):
        long = [t for t in texts if len(t) >= length]
        bases = sum(map(len, long))
        enough = bases >= n * length / 2 and bases - len(long) * (length - 1) >= n
        if enough and adapter.fits(longest[:length]) and len(adapter.encode_one(longest[:length]).ids) <= TOKENS:
            return length, long
    raise ValueError(f"{where}: {bases} bases in {len(long)} stretches of A C G T, wanted {n * length // 2} or more for {n} windows of "
                     f"{length}, and a model that reads so many in at most {TOKENS} tokens")  # fmt: skip


def losses(adapter: Adapter, windows: Sequence[str], seed: int = 0) -> np.ndarray:
    """Loss of each window, nats per base it has: [window]. Masked models: of a random 15 % of tokens, scaled to all."""
    loss, unit, _ = language.token_losses(adapter, windows, seed=seed, once=True)
    mean = np.bincount(unit, loss, len(windows)) / np.maximum(np.bincount(unit, minlength=len(windows)), 1)
    n_tokens = np.array([adapter.encode_one(w).keep.sum() for w in windows])
    return mean * n_tokens / np.array([len(w) for w in windows])


def knowledge(adapter: Adapter, windows: Sequence[str], seed: int = 0) -> Answer:
    """Does the model predict the windows better than the same windows with their dinucleotides shuffled?

    "knows": the interval is above 0. "does not know": it is below `LITTLE`. Else "cannot tell". Per token, not per base, since
    a vocabulary of long words alone, without any model, reads real sequence in fewer tokens.
    """
    measured = language.shuffle_knowledge(adapter, windows, seed)
    gap = measured["gaps"]["shuffled minus real (nats per token)"]
    verdict = "knows" if gap.low > 0 else "does not know" if gap.high < LITTLE else "cannot tell"
    real, shuffled = (measured["losses"][name] for name in ("real", "shuffled"))
    return Answer("sequence", verdict, gap, f"{real:.4f} real, {shuffled:.4f} dinucleotides shuffled, nats per token")


def letters(adapter: Adapter, windows: Sequence[str], seed: int = 0) -> Answer:
    """Does the model predict the windows better as they are than with A C G T renamed?

    A vocabulary whose letters were swapped reads renamed sequence better. The best of the other 23 names (of the 6 swaps of two
    letters and the complement for a large model) is chosen on every other window and compared on the rest.
    """
    others = [dict(zip("ACGT", p)) for p in itertools.permutations("ACGT") if "".join(p) != "ACGT"]
    if _is_large(adapter):
        others = [o for o in others if sum(o[x] != x for x in "ACGT") == 2 or o == dict(zip("ACGT", "TGCA"))]
    tables = {"".join(o.values()): str.maketrans(o) for o in others}

    def of(name: str, part: Sequence[str]) -> np.ndarray:
        return losses(adapter, [w.translate(tables[name]) for w in part], seed)

    gap, best = _rival(windows, lambda part: losses(adapter, part, seed), of, list(tables), seed)
    return Answer("letters", _sound(gap), gap, f"best of {len(tables)} other names of A C G T: {best}")


def positions(adapter: Adapter, windows: Sequence[str], seed: int = 0) -> Answer | None:
    """Does the model predict the windows better with its own rotary frequencies than with those of another rope_theta?

    The rivals: `THETAS` times its own, chosen and compared as letters are. None for a model without rotary positions.
    """
    if not list(_frequencies(adapter)):
        return None

    def of(name: str, part: Sequence[str]) -> np.ndarray:
        with rope_theta_times(adapter, float(name)):
            return losses(adapter, part, seed)

    gap, best = _rival(windows, lambda part: losses(adapter, part, seed), of, [f"{t:g}" for t in THETAS], seed)
    return Answer("rope_theta", _sound(gap), gap, f"best of {len(THETAS)} other values: {best} times the model's own")


def _rival(windows: Sequence[str], own, of, names: list[str], seed: int) -> tuple[estimates.Estimate, str]:
    """Loss of the best rival - the model's own, on windows that did not choose the rival; and the rival."""
    choose, compare = windows[::2], windows[1::2]
    best = min(names, key=lambda name: of(name, choose).mean())
    return estimates.mean_interval(of(best, compare) - own(compare), seed=seed), best


def _sound(gap: estimates.Estimate) -> str:
    """Beyond `LITTLE`: names and positions make some difference to random weights too, and a steady one."""
    return "as written" if gap.low > LITTLE else "ANOTHER FITS BETTER" if gap.high < -LITTLE else "cannot tell"


def _frequencies(adapter: Adapter) -> Iterator:
    """The rotary frequencies of a model: every module's own, since some classes hold them once and some once a block."""
    for module in adapter.model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name.endswith("inv_freq") and not name.startswith("original"):
                yield buffer


@contextmanager
def rope_theta_times(adapter: Adapter, factor: float) -> Iterator[None]:
    """Inside, the model's rotary frequencies are those of `factor` times its rope_theta: theta^(-2i/d) for pair i."""
    import torch

    before = [(buffer, buffer.clone()) for buffer in _frequencies(adapter)]
    try:
        for buffer, own in before:
            share = torch.arange(len(own), device=own.device, dtype=own.dtype) / len(own)
            buffer.copy_(own * factor**-share)
        yield
    finally:
        for buffer, own in before:
            buffer.copy_(own)


def sense(adapter: Adapter, windows: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """All questions: question, verdict, gap, low, high (nats), n (windows), note. windows: A C G T, of one length.

    Raises ValueError for a model whose weights hold no language-model head, which has no loss.
    """
    if not adapter.has_head:
        raise ValueError(f"{adapter.no_head}, so there is no loss to compare")
    answers = [question(adapter, windows, seed) for question in (knowledge, letters, positions)]
    rows = [(a.question, a.verdict, a.gap.value, a.gap.low, a.gap.high, a.gap.n, a.note) for a in answers if a is not None]
    return pd.DataFrame(rows, columns=["question", "verdict", "gap", "low", "high", "n", "note"])


def report(adapter: Adapter, path: Path, seed: int = 0) -> bool:
    """Print what `sense` says on a FASTA file; whether there is no alarm. What cannot be asked is said and is no alarm."""
    try:
        table = sense(adapter, windows_of(adapter, path, seed), seed)
    except ValueError as reason:
        print(f"sense of the records: not asked: {reason}\n")
        return True
    shown = table.assign(**{name: table[name].map("{:.4f}".format) for name in ("gap", "low", "high")})
    print(shown.to_string(index=False), "\n")
    raised = alarms(table)
    print("\n".join(f"ALARM: {sentence}" for sentence in raised) + "\n" * bool(raised), end="")
    return not raised


def alarms(table: pd.DataFrame) -> list[str]:
    """The answers of `sense` that are trouble, one sentence each; "cannot tell" is none."""
    said = {"letters": "the letters of the vocabulary look swapped", "rope_theta": "rope_theta of config.json looks wrong"}
    wrong = table[table.verdict == "ANOTHER FITS BETTER"]
    raised = [f"{said[r.question]}: {r.note} fits better by {-r.gap:.3g} nats per base" for r in wrong.itertuples()]
    if (table.verdict == "does not know").any():
        raised.append("the model predicts these records no better than shuffled ones")
    return raised
