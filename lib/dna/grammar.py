"""Simulated DNA with a grammar: a site works only beside its partner, and what it does shows 50 bases away, or nowhere.

A planted *unit*, drawn on either strand, is, from its 5' end,

    marker (10)   far (50)   SITE   gap (17 to 29)   PARTNER          or          marker   far, with PARTNER and gap in it   SITE

It is *functional* when site and partner are both whole, at the distance of their pair, in its order and orientation. The marker is
a short run rich in G in a functional unit and rich in A in any other; half of the units have none. A model that fills in a marker
has to look whether the pair is whole; nothing within 40 bases of a site says so but its partner. In a unit without a marker the
partner alone does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from lib.dna import motifs as mt
from lib.dna import planted

MARKER, FAR = 10, 50  # bases
WORKS, IDLE = 2, 0    # letters of the marker: G, A
#: Share of a marker's bases that have its letter; the others are uniform over the other three.
PURITY = 0.925
#: A whole instance scores at least as high as this share of what its profile draws; a broken one lies BELOW bits lower still.
WEAKEST, BELOW = 0.1, 2.0


@dataclass(frozen=True)
class Pair:
    """site, partners: names of motifs, the partners redundant, any of them will do; gap: bases between site and partner, edge to
    edge; either: whether the partner may also lie upstream."""

    site: str
    partners: tuple[str, ...]
    gap: int
    either: bool = False

    @property
    def name(self) -> str:
        """Site and partners: "STAT3+SPI1/IRF8"."""
        return f"{self.site}+{'/'.join(self.partners)}"


#: Sites may be palindromes, partners are not: a partner that is turned round is no partner.
PAIRS = (
    Pair("HNF1A", ("HNF4A",), 17), Pair("NFKB1", ("IRF8",), 29), Pair("STAT3", ("SPI1", "IRF8"), 20), Pair("BACH2", ("CTCF",), 26),
    Pair("CEBPB", ("KLF5",), 18), Pair("SMAD3", ("CDX1", "KLF5"), 23), Pair("XBP1", ("TCF7L2",), 28, either=True),
    Pair("RFX5", ("RXRA::VDR",), 21, either=True),
)  # fmt: skip

#: What a unit that is not functional is, and how often. The first four hold a whole site: lone decoys.
OTHERS = {"alone": 0.19, "turned": 0.14, "partner broken": 0.29, "swapped": 0.09, "site broken": 0.19, "partner alone": 0.10}
DECOYS = tuple(OTHERS)[:4]
#: Share of functional units at which whole sites that work stand to lone decoys as one to three.
ONE_TO_THREE = 0.19
PLACES = ("start", "end", "partner_start", "partner_end", "marker_start")
COLUMNS = (*PLACES, "strand", "pair", "partner", "kind", "marked")


class Grammar:
    """Draws units. pool: instances of each motif drawn beforehand, from which units take theirs; marked: share of units with
    a marker."""

    def __init__(self, rng: np.random.Generator, pool: int = 20_000, marked: float = 0.5):
        self.motifs, self.marked = {motif.name: motif for motif in planted.gut_immune_motifs()}, marked
        self.pool = {name: _whole(motif, pool, rng) for name, motif in self.motifs.items()}

    def broken(self, name: str, rng: np.random.Generator) -> np.ndarray:
        """An instance of the motif that one changed base has broken: [width] codes. Strong ones that no base breaks are passed over."""
        while True:
            codes = self.instance(name, rng)
            if (changed := broken(self.motifs[name], codes, rng)) is not None:
                return changed

    def instance(self, name: str, rng: np.random.Generator) -> np.ndarray:
        return self.pool[name][rng.integers(len(self.pool[name]))]

    def unit(self, kind: str, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict]:
        """A unit of pair `number` on the forward strand: codes, a mask of the bases that it sets, and its row of COLUMNS.

        "swapped", where either order works, becomes "alone".
        """
        pair = PAIRS[number]
        name = pair.partners[rng.integers(len(pair.partners))]
        kind = "alone" if kind == "swapped" and pair.either else kind
        site = self.broken(pair.site, rng) if kind == "site broken" else self.instance(pair.site, rng)
        partner = self.broken(name, rng) if kind == "partner broken" else self.instance(name, rng)
        partner = 3 - partner[::-1] if kind == "turned" else partner
        upstream = kind == "swapped" or pair.either and kind != "alone" and rng.random() < 0.5
        return self._written(kind, number, name, site, partner, upstream, rng)

    def _written(self, kind, number, name, site, partner, upstream, rng) -> tuple[np.ndarray, np.ndarray, dict]:
        gap, width, at = PAIRS[number].gap, len(site), MARKER + FAR
        length = at + width + gap + len(partner)  # the same for every kind: what follows a site must not say what it is
        end, partner = at + width * (kind != "partner alone"), partner[: len(partner) * (kind != "alone")]
        partner_at = at - gap - len(partner) if upstream else at + width + gap * (kind != "alone")
        marked = bool(rng.random() < self.marked)
        pieces = [(0, run(WORKS if kind == "functional" else IDLE, MARKER, rng))] * marked
        pieces += [(at, site[: end - at]), (partner_at, partner)]
        codes, mask = np.zeros(length, dtype=np.uint8), np.zeros(length, dtype=bool)
        for start, piece in pieces:
            codes[start : start + len(piece)], mask[start : start + len(piece)] = piece, True
        row = (at, end, partner_at, partner_at + len(partner), 0, "+", number, name, kind, marked)  # what is not there is an empty interval
        return codes, mask, dict(zip(COLUMNS, row, strict=True))


def run(letter: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n bases rich in a letter: [n] codes."""
    other = (letter + rng.integers(1, 4, n)) % 4
    return np.where(rng.random(n) < PURITY, letter, other).astype(np.uint8)


def breaking(motif: mt.Motif, codes: np.ndarray) -> np.ndarray:
    """Which substitutions break an instance of a motif on its forward strand: [width, 4] bool."""
    table, columns = mt.log_odds(motif.pwm), np.arange(motif.width)
    score = table[codes, columns].sum() - table[codes, columns] + table
    return (score < least(motif.matrix_id) - BELOW).T


def broken(motif: mt.Motif, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The instance with one base changed that breaks it; None when no base does."""
    columns, letters = np.nonzero(breaking(motif, codes))
    if not len(columns):
        return None
    out, pick = codes.copy(), rng.integers(len(columns))
    out[columns[pick]] = letters[pick]
    return out


@cache
def least(matrix_id: str) -> float:
    """Score (bits) from which an instance of a profile is whole: that of its WEAKEST share of 20,000 draws."""
    motif = mt.motifs_by_id([matrix_id])[0]
    return float(np.quantile(_scores(motif, planted.sample_sites(motif, 20_000, np.random.default_rng(0))), WEAKEST))


def _scores(motif: mt.Motif, codes: np.ndarray) -> np.ndarray:
    """Log-odds of instances [n, width], in bits: [n]."""
    return mt.log_odds(motif.pwm)[codes, np.arange(motif.width)].sum(1)


def _whole(motif: mt.Motif, n: int, rng: np.random.Generator) -> np.ndarray:
    """About n whole instances: [n, width] codes."""
    drawn = planted.sample_sites(motif, n, rng)
    return drawn[_scores(motif, drawn) >= least(motif.matrix_id)]


def turned(codes: np.ndarray, mask: np.ndarray, row: dict) -> tuple[np.ndarray, np.ndarray, dict]:
    """A unit on the other strand."""
    n, out = len(codes), dict(row, strand="-")
    for start, end in (("start", "end"), ("partner_start", "partner_end")):
        out[start], out[end] = n - row[end], n - row[start]
    out["marker_start"] = n - row["marker_start"] - MARKER
    return 3 - codes[::-1], mask[::-1], out


def at_random(functional: float, rng: np.random.Generator) -> Iterator[tuple[int, bool]]:
    """Pairs without end, and whether their unit is to be functional, as a share `functional` of them is."""
    while True:
        yield int(rng.integers(len(PAIRS))), rng.random() < functional


def in_turn(rng: np.random.Generator) -> Iterator[tuple[int, bool]]:
    """The same, each pair as often functional as not: all 2 x pairs in a random order, again and again."""
    while True:
        for number in rng.permutation(2 * len(PAIRS)):
            yield int(number) // 2, bool(number % 2)


def plant(codes: np.ndarray, grammar: Grammar, dealt: Iterator[tuple[int, bool]], rng: np.random.Generator, lead: int = 40) -> list[dict]:
    """Overwrite a stretch of background, in place, with units one after another, each of them whole inside it.

    codes: [n]. dealt: the pair of each unit, and whether it works. lead: bases, at most, before the first; 2 to 19 lie between
    two. Returns a row of COLUMNS a unit, positions in `codes`.
    """
    at, rows = int(rng.integers(0, lead)), []
    kinds, shares = list(OTHERS), np.cumsum(list(OTHERS.values()))
    for number, functional in dealt:
        kind = "functional" if functional else kinds[int(np.searchsorted(shares, rng.random() * shares[-1]))]
        unit, mask, row = grammar.unit(kind, number, rng)
        if rng.random() < 0.5:
            unit, mask, row = turned(unit, mask, row)
        if at + len(unit) > len(codes):
            break
        codes[at : at + len(unit)][mask] = unit[mask]
        rows.append(row | {name: row[name] + at for name in PLACES})
        at += len(unit) + int(rng.integers(2, 20))
    return rows


def windows(n: int, length: int, grammar: Grammar, functional: float, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """n windows of units in human-like background. Returns codes [n, length] and a row a unit: window, and COLUMNS."""
    codes = planted.background(n * length, rng).reshape(n, length)
    dealt = at_random(functional, rng)
    rows = [{"window": w} | row for w in range(n) for row in plant(codes[w], grammar, dealt, rng)]
    return codes, pd.DataFrame(rows, columns=["window", *COLUMNS])
