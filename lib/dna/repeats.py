"""What sequence is before it is a motif: interspersed repeats and low complexity, by the name that a reader knows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.dna import confounders
from lib.dna.reference import Reference

#: Classes of RepeatMasker, as the families of its rows.
INTERSPERSED = ("SINE", "LINE", "LTR", "DNA", "Retroposon", "RC", "Satellite", "Unknown")
LOW = ("Simple_repeat", "Low_complexity")
SOFT, KMERS = "repeat (soft-masked)", "repeat (recurrent 16-mers)"
#: Of what is found in the sequence itself, by family, the surest last; a homopolymer is called by its base. A CpG island is no repeat.
NAMES = {"soft-masked": SOFT, "repeated sequence": KMERS, "Alu": "repeat: Alu", "simple repeat": "low complexity (simple repeat)",
         "homopolymer": "low complexity ({})"}
#: Those that say less than RepeatMasker's rows.
VAGUE = 3
#: Shorter ones may be a site as well (IRF's GAAANNGAAANN has a period): of tandem repeats what Tandem Repeats Finder would score 50, 2 a
#: base; of one base those that are longer than its runs in all profiles of JASPAR but one (ZNF362, ten A).
SHORTEST = {"simple repeat": 25, "homopolymer": 10}
#: Where more than this share of all letters is in lower case, that is how the file is written and masks nothing.
ALL_LOWER = 0.95


def soft_masked(windows: pd.DataFrame, genome: Reference) -> pd.DataFrame:
    """Stretches of lower case in the windows (contig, start, end): contig, start, end, concept, family; no row of an unmasked file."""
    rows, n_lower, n = [], 0, 0
    for place in windows.itertuples():
        lower = np.frombuffer(genome.letters(place.contig, place.start, place.end).encode(), np.uint8) >= ord("a")
        rows += [(place.contig, place.start + s, place.start + e) for s, e in confounders.segments(lower)]
        n_lower, n = n_lower + int(lower.sum()), n + len(lower)
    if n_lower > ALL_LOWER * n:
        rows = []
    table = pd.DataFrame(rows, columns=["contig", "start", "end"])
    return table.assign(concept="soft-masked", family="soft-masked")


def named(repeats: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Intervals by the name of their repeat, where two lie on one base the one to believe last: contig, start, end, concept.

    repeats: those of the sequence itself, families as in `NAMES`, others are left out; intervals: annotation, of which RepeatMasker's
    rows count (family: the class). Its SINE/Alu is "repeat: Alu".
    """
    long = repeats["end"] - repeats["start"] >= repeats["family"].map(SHORTEST).fillna(0)
    own = repeats[repeats["family"].isin(NAMES) & long]
    low, wide = (intervals[intervals["family"].isin(classes)] for classes in (LOW, INTERSPERSED))
    order = {name: i for i, name in enumerate(NAMES)}
    own = own.assign(concept=[NAMES[family].format(concept) for family, concept in zip(own["family"], own["concept"])])
    own = own.sort_values("family", key=lambda f: f.map(order), kind="stable")
    vague = own["family"].map(order) < VAGUE
    parts = [
        own[vague], wide.assign(concept="repeat: " + wide["concept"].str.split("/").str[-1]),
        low.assign(concept="low complexity (" + low["family"].str.lower().str.replace("_", " ") + ")"),
        own[~vague],
    ]  # fmt: skip
    return pd.concat([part[["contig", "start", "end", "concept"]] for part in parts], ignore_index=True)
