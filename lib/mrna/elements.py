"""Elements of a 5'UTR that a scanning ribosome may meet: upstream starts by frame and context, open frames, near starts, stems, runs.

Sequences are in the sense direction with T for U; names say U, as the field does. Places are 0-based, half-open, in the record: the
UTR and the first bases of the coding region, whose start codon begins at `start`.
Sources: context of a start, Kozak 1986 (Cell 44:283); leaky scanning and reinitiation, Hinnebusch et al. 2016 (Science 352:1413); load
of random 5'UTRs, Sample et al. 2019 (Nature Biotechnology 37:803).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

STOPS = ("TAA", "TAG", "TGA")
STRONG, WEAK = "strong", "weak"
#: Least length of a run of U or A; of one of G.
RUN, G_RUN = 5, 4
#: A stem's pairs, and bases of its loop, least and most; least G and C among the bases of one arm of a GC stem.
STEM, LOOP, GC = 6, (4, 8), 5
PAIRS = {"A": "T", "T": "A", "G": "C", "C": "G"}


class Element(NamedTuple):
    """concept, family: names. start, end: places in the record."""

    concept: str
    family: str
    start: int
    end: int


class OpenFrame(NamedTuple):
    """An upstream start codon at `start` (ATG or CTG). frame: 0 that of the coding region, 1, 2: bases by which it is off it. context:
    STRONG or WEAK. stop: where its first stop codon ends, None where it has none before the coding region starts."""

    codon: str
    start: int
    frame: int
    context: str
    stop: int | None


def context(text: str, at: int) -> str:
    """STRONG where the start codon at `at` has A or G three bases before and G right behind; WEAK otherwise, off the record too."""
    return STRONG if at >= 3 and text[at - 3] in "AG" and text[at + 3 : at + 4] == "G" else WEAK


def open_frames(text: str, start: int, codon: str = "ATG") -> list[OpenFrame]:
    """Upstream start codons, from 5' to 3', that end before the coding region starts."""
    out = []
    for match in re.finditer(f"(?={codon})", text[:start]):
        at = match.start()
        if at + 3 <= start:
            stops = (i + 3 for i in range(at + 3, start - 2, 3) if text[i : i + 3] in STOPS)
            out.append(OpenFrame(codon, at, (start - at) % 3, context(text, at), next(stops, None)))
    return out


def stems(text: str, gc: bool = True) -> list[tuple[int, int]]:
    """Hairpins of STEM Watson-Crick pairs around a loop, of GC-rich arms or of others: start and end, none inside another.

    Of those that overlap the first is kept, from 5' to 3', the shorter loop first. No energy is computed: a stand-in for folding.
    """
    out, least = [], 0
    for at in range(len(text) - 2 * STEM - LOOP[0] + 1):
        arm = text[at : at + STEM]
        if at < least or (sum(base in "GC" for base in arm) >= GC) is not gc:
            continue
        wanted = "".join(PAIRS.get(base, "N") for base in reversed(arm))
        for loop in range(LOOP[0], LOOP[1] + 1):
            if text[at + STEM + loop : at + 2 * STEM + loop] == wanted:
                out.append((at, at + 2 * STEM + loop))
                least = at + 2 * STEM + loop
                break
    return out


def elements(text: str, start: int) -> list[Element]:
    """All elements of one record, in the order of this list.

    uAUG, frame f, c context   an upstream ATG by frame and context                                family uAUG
    uORF body, closed          from behind such a codon to its stop                                family uORF
    uORF body, overlapping     from behind one without a stop, out of frame, to the coding region  family uORF
    stop in frame              the stop codon that closes one                                      family uORF stop
    stop, no frame             a stop codon of the UTR that closes none                            family decoy
    near-cognate CUG           a CTG in strong context                                             family near-cognate
    start context, weak        the six bases before the coding region's start, where it is weak    family start context
    oligo-U, oligo-A           runs of RUN and more                                                family oligo-U, decoy
    G run                      runs of G_RUN and more                                              family G run
    GC stem, AU stem           hairpins                                                            family stem, decoy
    GUA word                   the start codon backwards                                           family decoy
    """
    utr, out = text[:start], []
    frames = open_frames(text, start)
    closing = {frame.stop for frame in frames if frame.stop}
    for f in frames:
        out.append(Element(f"uAUG, frame {f.frame}, {f.context} context", "uAUG", f.start, f.start + 3))
        if f.stop:
            out.append(Element("uORF body, closed", "uORF", f.start + 3, f.stop))
        elif f.frame:
            out.append(Element("uORF body, overlapping", "uORF", f.start + 3, start))
    out += [Element("stop in frame", "uORF stop", end - 3, end) for end in sorted(closing)]
    stops = (m.start() + 3 for m in re.finditer(f"(?={'|'.join(STOPS)})", utr))
    out += [Element("stop, no frame", "decoy", end - 3, end) for end in stops if end not in closing and end <= start]
    near = (f.start for f in open_frames(text, start, "CTG") if f.context == STRONG)
    out += [Element("near-cognate CUG", "near-cognate", at, at + 3) for at in near]
    if start_is_weak(text, start):
        out.append(Element("start context, weak", "start context", max(0, start - 6), start))
    return out + list(_runs(utr)) + list(_hairpins(utr))


def start_is_weak(text: str, start: int) -> bool:
    """Whether the base three before the coding region's start is neither A nor G."""
    return start < 3 or text[start - 3] not in "AG"


def _runs(utr: str) -> Iterator[Element]:
    for name, family, pattern in (("oligo-U", "oligo-U", f"T{{{RUN},}}"), ("oligo-A", "decoy", f"A{{{RUN},}}"),
                                  ("G run", "G run", f"G{{{G_RUN},}}"), ("GUA word", "decoy", "GTA")):  # fmt: skip
        for match in re.finditer(pattern, utr):
            yield Element(name, family, match.start(), match.end())


def _hairpins(utr: str) -> Iterator[Element]:
    for name, family, gc in (("GC stem", "stem", True), ("AU stem", "decoy", False)):
        for start, end in stems(utr, gc):
            yield Element(name, family, start, end)


def table(texts: list[str], start: int) -> pd.DataFrame:
    """Elements of many records: unit (row of texts), start, end, concept, family."""
    rows = [(unit, e.start, e.end, e.concept, e.family) for unit, text in enumerate(texts) for e in elements(text, start)]
    return pd.DataFrame(rows, columns=["unit", "start", "end", "concept", "family"])
