"""Variants in the words of HGVS: g. on a chromosome of GRCh38, c. and n. on a transcript of the exon table.

A variant is first stripped of what REF and ALT share; a deletion or insertion then goes as far 3' as the bases allow, on
the chromosome for g., on the transcript's strand for c. and n. The way leads over the genome, so it may pass from an exon
into the intron behind it (c.123+1del), and never from one exon to the next. Source: den Dunnen et al. 2016 (Hum Mutat
37:564) and hgvs-nomenclature.org. An inverted piece is "inv", repeats are "dup" or "ins", no base follows "del" and "dup".
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lib.dna import alleles
from lib.dna.reference import Reference, bare_name
from lib.models import sequence as sq

#: RefSeq accession and length of the chromosomes of GRCh38.p14. Source: NCBI assembly report of GCF_000001405.40.
GRCH38 = {
    "1": ("NC_000001.11", 248956422), "2": ("NC_000002.12", 242193529), "3": ("NC_000003.12", 198295559),
    "4": ("NC_000004.12", 190214555), "5": ("NC_000005.10", 181538259), "6": ("NC_000006.12", 170805979),
    "7": ("NC_000007.14", 159345973), "8": ("NC_000008.11", 145138636), "9": ("NC_000009.12", 138394717),
    "10": ("NC_000010.11", 133797422), "11": ("NC_000011.10", 135086622), "12": ("NC_000012.12", 133275309),
    "13": ("NC_000013.11", 114364328), "14": ("NC_000014.9", 107043718), "15": ("NC_000015.10", 101991189),
    "16": ("NC_000016.10", 90338345), "17": ("NC_000017.11", 83257441), "18": ("NC_000018.10", 80373285),
    "19": ("NC_000019.10", 58617616), "20": ("NC_000020.11", 64444167), "21": ("NC_000021.9", 46709983),
    "22": ("NC_000022.11", 50818468), "X": ("NC_000023.11", 156040895), "Y": ("NC_000024.10", 57227415),
    "MT": ("NC_012920.1", 16569),
}  # fmt: skip
BLOCK = 1 << 16  # bases of a contig that `Blocks` reads at once
UNLIKE = "transcripts whose CDS is not their exons from its first base to its last"


class Blocks(Reference):
    """A genome whose last blocks of bases stay in memory: variants in genome order read the file once."""

    def __init__(self, path: str | Path):
        super().__init__(path)
        self._block = lru_cache(maxsize=64)(self._read_block)

    def letters(self, contig: str, start: int, end: int) -> str:
        if not 0 <= start < end <= self.lengths.get(contig, -1):
            return super().letters(contig, start, end)  # says what is wrong
        first = start // BLOCK
        text = "".join([self._block(contig, n) for n in range(first, (end - 1) // BLOCK + 1)])
        return text[start - first * BLOCK : end - first * BLOCK]

    def _read_block(self, contig: str, n: int) -> str:
        return super().letters(contig, n * BLOCK, min((n + 1) * BLOCK, self.lengths[contig]))


class Change(NamedTuple):
    """A variant without what REF and ALT share, on the plus strand: bases from `start` (0-based) on that go, and bases
    that come before what is left. duplicated: what comes is a copy of the bases 5' of it on the strand that was asked for."""

    start: int
    deleted: str
    inserted: str
    duplicated: bool = False

    @property
    def touched(self) -> tuple[int, int]:
        """Bases that go, half-open; of an insertion the two beside it."""
        end = self.start + len(self.deleted)
        return (self.start, end) if self.deleted else (self.start - 1, self.start + 1)


def change(contig: str, pos: int, ref: str, alt: str, reference: Reference, forward: bool = True) -> Change:
    """The variant, its deletion or insertion as far 3' as it goes on the plus strand, or (forward=False) on the minus strand.

    pos: 0-based; ref, alt: upper-case bases. An N stops the way. An insertion before a contig's first base or after its last,
    which has no two bases beside it, takes that base along. Raises ValueError, naming the variant, for an unknown contig, an allele
    of other letters, REF that is not the genome's, and ALT that is REF.
    """
    _check(contig, pos, ref, alt, reference)
    if not forward:
        pos, ref, alt = alleles.leftmost(contig, pos, ref, alt, reference)
    start, deleted, inserted = _trimmed(pos, ref, alt)
    if deleted and inserted:
        return Change(start, deleted, inserted)
    if forward:
        start, deleted, inserted = _rightmost(contig, start, deleted, inserted, reference)
    length = reference.lengths[contig]
    low = start - len(inserted) if forward else start
    inside = 0 <= low and low + len(inserted) <= length
    if inserted and inside and reference.fetch(contig, low, low + len(inserted)) == inserted:
        return Change(start, deleted, inserted, duplicated=True)
    if inserted and start in (0, length):
        base = reference.fetch(contig, min(start, length - 1), min(start, length - 1) + 1)
        return Change(0, base, inserted + base) if start == 0 else Change(length - 1, base, base + inserted)
    return Change(start, deleted, inserted)


def _check(contig: str, pos: int, ref: str, alt: str, reference: Reference) -> None:
    where = f"{contig}:{pos + 1} {ref}>{alt}"
    reference.check_contig(contig, where)
    for name, allele in (("REF", ref), ("ALT", alt)):
        if not allele or set(allele) - set("ACGT"):
            raise ValueError(f"{where}: {name} {allele!r}, wanted letters A C G T")
    length = reference.lengths[contig]
    if not 0 <= pos <= length - len(ref):
        raise ValueError(f"{where}: REF from {pos} to {pos + len(ref)} (0-based), wanted it inside 0 to {length}")
    if (bases := reference.fetch(contig, pos, pos + len(ref))) != ref:
        raise ValueError(f"{where}: the genome has {bases} where the variant says {ref}")
    if alt == ref:
        raise ValueError(f"{where}: ALT is REF, wanted another allele")


def _trimmed(pos: int, ref: str, alt: str) -> tuple[int, str, str]:
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while ref and alt and ref[0] == alt[0]:
        pos, ref, alt = pos + 1, ref[1:], alt[1:]
    return pos, ref, alt


def _rightmost(contig: str, start: int, deleted: str, inserted: str, genome: Reference) -> tuple[int, str, str]:
    """A deletion or insertion moves right while the base behind it is its first: the bases turn round by one each step."""
    unit, at, n = deleted or inserted, start + len(deleted), 0
    length = genome.lengths[contig]
    while at < length:
        behind = genome.fetch(contig, at, min(at + alleles.STEP, length))
        steps = next((i for i, base in enumerate(behind) if base != unit[(n + i) % len(unit)]), len(behind))
        n, at = n + steps, at + steps
        if steps < len(behind):
            break
    turned = unit[n % len(unit) :] + unit[: n % len(unit)]
    return start + n, turned if deleted else "", turned if inserted else ""


def genomic(contig: str, pos: int, ref: str, alt: str, reference: Reference) -> str:
    """g. notation (m. on the mitochondrion): NC_000020.11:g.44355644C>A.

    The RefSeq accession stands only where the contig is as long as GRCh38's; else the contig's own name. pos: 0-based.
    Raises ValueError as `change`.
    """
    changed = change(contig, pos, ref, alt, reference)
    bare = bare_name(contig)
    accession, length = GRCH38.get(bare, (contig, -1))
    name = accession if length == reference.lengths[contig] else contig
    return f"{name}:{'m' if bare == 'MT' else 'g'}.{_described(changed, True, lambda base: str(base + 1))}"


@dataclass(frozen=True)
class Transcript:
    """Exons of a transcript and where it codes.

    exons: start, end on the contig (0-based, half-open), in genome order. coding: first coding base and the one after the last
    (stop codon included), counted from the transcript's first base, 0-based; None where it codes for nothing. frame: bases
    from the first coding base to the first whole codon (0 but where the 5' end is not known).
    """

    name: str
    gene: str
    contig: str
    strand: str
    exons: tuple[tuple[int, int], ...]
    coding: tuple[int, int] | None
    frame: int = 0

    @property
    def forward(self) -> bool:
        return self.strand != "-"

    def along(self, low: int, high: int) -> tuple[int, int]:
        """Bases [low, high) of the contig counted 5' to 3' on the transcript's strand: themselves on plus, below 0 on minus."""
        return (low, high) if self.forward else (-high, -low)

    @cached_property
    def blocks(self) -> tuple[list[int], list[int], list[int]]:
        """Starts, ends of the exons 5' to 3' (see `along`), and the transcript's bases before each; one more for all of them."""
        spans = sorted(self.along(*exon) for exon in self.exons)
        before = list(accumulate((end - start for start, end in spans), initial=0))
        return [start for start, _ in spans], [end for _, end in spans], before

    def place(self, base: int) -> tuple[int, int]:
        """Of a base of the contig (0-based): the transcript's base (0-based), and how far it lies from that in an intron.

        The nearest exon counts, and in the middle of an intron the one before it: offset > 0 after that base, < 0 before it. Off
        the transcript's ends the count goes on: below 0 upstream, from its length on downstream.
        """
        starts, ends, before = self.blocks
        x = self.along(base, base + 1)[0]
        exon = max(bisect_right(starts, x) - 1, 0)
        if x < ends[exon] or exon == len(starts) - 1:
            return before[exon] + x - starts[exon], 0
        after, ahead = x - ends[exon] + 1, starts[exon + 1] - x
        return (before[exon + 1] - 1, after) if after <= ahead else (before[exon + 1], -ahead)

    def label(self, base: int) -> str:
        """A base's place in HGVS: -12, 123, 123+4, 124-20, *33."""
        at, offset = self.place(base)
        first, end = self.coding or (0, self.blocks[2][-1])
        text = f"-{first - at}" if at < first else str(at - first + 1) if at < end else f"*{at - end + 1}"
        return f"{text}{offset:+d}" if offset else text


def transcripts(table: pd.DataFrame, report: Counter, name: str = "exons") -> dict[str, Transcript]:
    """The transcripts of an exon table (`genes.read`), by name.

    Those whose CDS is not all of their exons from its first base to its last (ribosomal slippage, exons that were not given) have
    no c. positions: left out, and counted in `report` under `name`, see `lib.dna.report`. Raises ValueError for exons of no transcript.
    """
    if (table["transcript"] == "").any():
        raise ValueError(f"{name}: exons of no transcript, wanted GFF3, or BED with names like gene|transcript|exon|1")
    rows: dict[str, dict[str, list]] = {}
    for row in table.sort_values("start", kind="stable").itertuples():
        parts = rows.setdefault(row.transcript, {"of": (row.gene, row.contig, row.strand), "exon": [], "CDS": []})
        parts[row.feature].append((row.start, row.end, row.phase))
    made = {key: _transcript(key, *parts["of"], parts["exon"], parts["CDS"]) for key, parts in rows.items()}
    report[name, UNLIKE, "left out"] += sum(one is None for one in made.values())
    return {key: one for key, one in made.items() if one is not None}


def _transcript(name: str, gene: str, contig: str, strand: str, exons: list[tuple], cds: list[tuple]) -> Transcript | None:
    """exons, cds: start, end, phase, in genome order."""
    spans = tuple((start, end) for start, end, _ in exons)
    whole = Transcript(name, gene, contig, strand, spans, None)
    if not cds or not spans:
        return whole if spans else None
    low, high = cds[0][0], max(end for _, end, _ in cds)
    inside = [(max(start, low), min(end, high)) for start, end in spans if start < high and end > low]
    if _joined(inside) != _joined([(start, end) for start, end, _ in cds]):
        return None
    ends = sorted(whole.place(base)[0] for base in (low, high - 1))
    return replace(whole, coding=(ends[0], ends[1] + 1), frame=cds[0 if whole.forward else -1][2])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def coding(transcript: Transcript, pos: int, ref: str, alt: str, reference: Reference) -> str:
    """c. notation on a transcript, n. where it codes for nothing: LRG_483t1:c.-161C>A.

    Introns count from the nearest exon (c.123+4, c.124-20), 5' UTR from the start codon (c.-12), 3' UTR from the stop (c.*33). Off
    the transcript's ends the count goes on through the flank, base by base, as literature names promoter variants: the c.-161 above
    lies 157 bases before the first exon. pos: 0-based on the transcript's contig. Raises ValueError as `change`.
    """
    changed = change(transcript.contig, pos, ref, alt, reference, transcript.forward)
    return notation(transcript, changed)


def notation(transcript: Transcript, changed: Change) -> str:
    """`coding` of a `change` that was made on the transcript's strand."""
    kind = "n" if transcript.coding is None else "c"
    return f"{transcript.name}:{kind}.{_described(changed, transcript.forward, transcript.label)}"


def oriented(bases: str, forward: bool) -> str:
    """Bases of the plus strand as that strand, or the other, reads them."""
    return bases if forward or not bases else sq.decode(sq.reverse_complement(sq.encode(bases)))


def _described(changed: Change, forward: bool, label: Callable[[int], str]) -> str:
    """What follows "g." or "c.": label says where a base (0-based on the contig) is."""
    def span(low: int, high: int) -> str:
        ends = [label(low), label(high - 1)][:: 1 if forward else -1]
        return ends[0] if high - low == 1 else "_".join(ends)

    start, inserted = changed.start, oriented(changed.inserted, forward)
    deleted = oriented(changed.deleted, forward)
    if len(deleted) == len(inserted) == 1:
        return f"{label(start)}{deleted}>{inserted}"
    if changed.duplicated:
        low = start - len(inserted) if forward else start
        return f"{span(low, low + len(inserted))}dup"
    where = span(*changed.touched)
    if not deleted or not inserted:
        return f"{where}ins{inserted}" if inserted else f"{where}del"
    return f"{where}inv" if inserted == oriented(deleted, False) else f"{where}delins{inserted}"
