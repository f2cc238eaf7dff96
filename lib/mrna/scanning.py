"""Simulated mean ribosome load of 5'UTRs by leaky scanning: twelve elements with an effect, four decoys without any.

Ribosomes enter at the cap and scan. At an upstream start a share initiates. Where its frame is that of the coding region and holds no
stop, what it makes counts as the main product; where it has a stop, a share starts again behind it; else it is lost. GC stems, G runs
and runs of U let fewer pass. At the coding region's start a share initiates, fewer in weak context. Numbers are ours, of the order that
measurements of random 5'UTRs suggest; nothing here was fitted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.mrna import elements as el

#: Share that initiates at an upstream start: of ATG by context, of CTG in strong context.
INITIATES = {("ATG", el.STRONG): 0.75, ("ATG", el.WEAK): 0.3, ("CTG", el.STRONG): 0.2, ("CTG", el.WEAK): 0.0}
#: Share that scans on behind a closed upstream frame.
AGAIN = 0.4
#: Share that passes an element.
PASSES = {"GC stem": 0.6, "G run": 0.75, "oligo-U": 0.8}
#: Share that initiates at the coding region's start, by context.
MAIN = {False: 0.95, True: 0.75}
#: Load without a ribosome on the main product, and what one share of 1 adds.
LEAST, SPAN = 2.0, 6.0
#: Standard deviation of one replicate about the truth.
NOISE = 0.45
#: Elements whose removal changes the load, and those that are named alike and do nothing.
CAUSAL = [f"uAUG, frame {frame}, {context} context" for frame in range(3) for context in (el.STRONG, el.WEAK)] + [
    "stop in frame", "near-cognate CUG", "oligo-U", "GC stem", "G run", "start context, weak"]  # fmt: skip
DECOYS = ["stop, no frame", "oligo-A", "AU stem", "GUA word"]


class Simulated(NamedTuple):
    """table: sequence (UTR alone), true_load, rl_1, rl_2 (replicates), rl (their mean). record: UTR and coding start of each."""

    table: pd.DataFrame
    records: list[str]


def load(text: str, start: int) -> float:
    """Mean ribosome load of one record without noise."""
    free, main = 1.0, 0.0
    events = [(f.start, f) for codon in ("ATG", "CTG") for f in el.open_frames(text, start, codon)]
    events += [(e.start, e.concept) for e in el.elements(text, start) if e.concept in PASSES]
    back: dict[int, float] = {}  # place -> share that scans on from there
    for at, event in sorted(events, key=lambda one: one[0]):
        free += sum(back.pop(place) for place in [p for p in back if p <= at])
        if isinstance(event, str):
            free *= PASSES[event]
            continue
        caught = free * INITIATES[event.codon, event.context]
        free -= caught
        if event.stop:
            back[event.stop] = back.get(event.stop, 0.0) + AGAIN * caught
        elif event.frame == 0:
            main += caught
    free += sum(back.values())
    return LEAST + SPAN * (main + free * MAIN[el.start_is_weak(text, start)])


def simulate(n: int, length: int, coding: str, planted: float, seed: int) -> Simulated:
    """n random UTRs of `length` bases, in each of which rare elements are planted with the probability `planted`, and their loads.

    coding: the first bases of the coding region, the same of all. The same on every machine: integers of numpy's PCG64 alone.
    Raises ValueError for a coding region that starts with no ATG.
    """
    if not coding.startswith("ATG"):
        raise ValueError(f"coding is {coding[:12]!r}, wanted a coding region from its ATG on")
    rng = np.random.default_rng(seed)
    texts = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, length))]]
    texts = [_planted(text, rng) if rng.random() < planted else text for text in texts]
    records = [text + coding for text in texts]
    truth = np.array([load(record, length) for record in records])
    noise = rng.standard_normal((2, n)) * NOISE
    table = pd.DataFrame({"sequence": texts, "true_load": truth, "rl_1": truth + noise[0], "rl_2": truth + noise[1]})
    return Simulated(table.assign(rl=(table["rl_1"] + table["rl_2"]) / 2), records)


def _planted(text: str, rng: np.random.Generator) -> str:
    """The UTR with one element that chance brings too seldom, at a place of its own."""
    arm = "".join(rng.choice(list("GC"), el.STEM)) if rng.random() < 0.5 else "".join(rng.choice(list("AT"), el.STEM))
    loop = "".join(rng.choice(list("ACGT"), int(rng.integers(el.LOOP[0], el.LOOP[1] + 1))))
    stem = arm + loop + "".join(el.PAIRS[base] for base in reversed(arm))
    word = [stem, "T" * int(rng.integers(5, 9)), "A" * int(rng.integers(5, 9)), "G" * int(rng.integers(4, 7))][int(rng.integers(4))]
    at = int(rng.integers(0, len(text) - len(word) + 1))
    return text[:at] + word + text[at + len(word) :]
