"""Unique haplotype windows: each distinct sequence is one unit, and a person is a list of units."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from os.path import commonprefix

import numpy as np
import pandas as pd

from lib.dna.genotypes import ABSENT, Genotypes
from lib.dna.reference import Reference

UNIT_COLUMNS = [
    "unit", "unit_id", "window", "locus", "contig", "start", "end", "is_reference", "n_alt", "length",
]  # fmt: skip


@dataclass(frozen=True)
class UnitSet:
    """What the model reads, and who carries it.

    units: unit (row number), unit_id (16 hex), window, locus, contig, start, end (0-based half-open, on the
        reference), is_reference, n_alt (ALT alleles applied), length (bases). Reference first in a window.
    sequences: one per unit, upper-case A C G T N.
    edits: the applied alleles: unit, variant (row of Genotypes.variants), pos, ref, alt, where `pos` and the
        alleles have lost the prefix they share: G>GC at 7 becomes ""->"C" at 8.
    carriers: sample, window, haplotype (0 or 1), unit. Private: never published.
    n_person_haplotype_windows: rows of carriers. n_overlapping_dropped: allele copies (one per person,
        haplotype and window) dropped because an earlier allele overlaps. n_clipped: (allele, window) pairs
        skipped because the allele reaches over the window's end. report: the same as alleles, see `lib.dna.report`.
    """

    units: pd.DataFrame
    sequences: list[str]
    edits: pd.DataFrame
    carriers: pd.DataFrame
    n_person_haplotype_windows: int
    n_overlapping_dropped: int
    n_clipped: int
    report: Counter

    @property
    def n_units(self) -> int:
        return len(self.units)

    def ref_pos(self, i: int) -> np.ndarray:
        """Reference position of each base of unit i: [length] int64, exact across indels.

        An inserted base takes the position of its anchor, the last reference base before it.
        """
        low, high = np.searchsorted(self.edits.unit.to_numpy(), [i, i + 1])
        rows = self.edits.iloc[low:high]
        done, stop = int(self.units.start.iat[i]), int(self.units.end.iat[i])
        parts = []
        for pos, ref, alt in zip(rows.pos, rows.ref, rows.alt, strict=True):
            parts.append(np.arange(done, pos))
            # base j of ALT stands for base j of REF; those beyond REF are inserted after its last base
            parts.append(np.minimum(pos + np.arange(len(alt)), pos + len(ref) - 1))
            done = pos + len(ref)
        return np.concatenate([*parts, np.arange(done, stop)]).astype(np.int64)


def unit_id(contig: str, start: int, end: int, sequence: str) -> str:
    """Content hash of what the model sees and where: 16 hex digits of BLAKE2b over contig:start-end and bases."""
    return blake2b(f"{contig}:{start}-{end}\n{sequence}".encode(), digest_size=8).hexdigest()


def build_units(windows: pd.DataFrame, reference: Reference, genotypes: Genotypes | None = None) -> UnitSet:
    """The distinct sequences that people carry in each window, the reference always among them.

    windows: window, locus, contig, start, end, as `lib.dna.windows.tile` gives. Rules:

    - Phase. Phased calls are honoured as written. Homozygous ALT goes on both haplotypes. Unphased
      heterozygous ALT alleles of a window all go on haplotype 1, and haplotype 0 keeps the reference there
      (the cis rule); but of two that overlap, as 1/2 split into 0/1 and 0/1, the first goes on haplotype 0, for
      one haplotype cannot carry both. A call of two different ALTs, as 1/2, keeps its written order.
    - Phase sets. Calls of two sets (FORMAT PS) are not phased with each other: in a window, a person's heterozygotes of
      another set than the first one's are unphased. Calls without PS are a set of their own.
    - Missing alleles are reference.
    - A person with haploid calls only in a locus has haplotype 0 only there.
    - Overlap. Alleles lose the prefix they share with REF (so an indel does not claim its anchor base),
      then apply by position; one that overlaps an applied allele, or inserts at the same place, is dropped.
    - Clipping. An allele whose changed bases reach over a window's end is skipped. An insertion
      belongs to the window of its anchor.

    Raises ValueError when two windows cover the same interval.
    """
    twice = windows.duplicated(["contig", "start", "end"])
    if twice.any():
        row = windows[twice].iloc[0]
        raise ValueError(f"window {row.window}: {row.contig}:{row.start}-{row.end} is a window already")
    people = _People(genotypes) if genotypes is not None else _Nobody()
    builder = _UnitBuilder(people)
    places = windows.itertuples(index=False)
    unit_of = [builder.in_window(place, reference.fetch(place.contig, place.start, place.end)) for place in places]
    carriers = _carriers(windows, people, np.array(unit_of))
    return UnitSet(
        units=pd.DataFrame(builder.units, columns=UNIT_COLUMNS),
        sequences=builder.sequences,
        edits=pd.DataFrame(builder.edits, columns=["unit", "variant", "pos", "ref", "alt"]),
        carriers=carriers,
        n_person_haplotype_windows=len(carriers),
        n_overlapping_dropped=builder.n_dropped,
        n_clipped=builder.n_clipped,
        report=builder.report(),
    )


class _UnitBuilder:
    """The units of windows, as these are gone through, and what had to be left out of them."""

    def __init__(self, people: _People | _Nobody):
        self.people = people
        self.units, self.sequences, self.edits = [], [], []
        self.dropped, self.clipped, self.rephased = set(), set(), set()  # rows of variants
        self.n_dropped = self.n_clipped = 0

    def in_window(self, place, bases: str) -> np.ndarray:
        """Add the units of one window; the unit of each haplotype, [2 * n_sample] int32. bases: of the reference."""
        rows, over_the_end = self.people.rows_in(place.contig, place.start, place.end)
        patterns, pattern_of, in_another_set = self.people.patterns(rows)
        known, unit_of_pattern = {}, []
        for number, pattern in enumerate(patterns):
            applied = self.people.without_overlaps(pattern)
            if len(applied) < len(pattern):
                self.dropped |= set(pattern.tolist()) - {edit[0] for edit in applied}
                self.n_dropped += (len(pattern) - len(applied)) * int((pattern_of == number).sum())
            text = _apply(bases, place.start, applied)
            if text not in known:
                known[text] = unit = len(self.sequences)
                self.sequences.append(text)
                self.units.append(_unit_row(unit, place, text, len(known) == 1, len(applied)))
                self.edits += [(unit, *edit) for edit in applied]
            unit_of_pattern.append(known[text])
        self.n_clipped += len(over_the_end)
        self.clipped |= set(over_the_end.tolist())
        self.rephased |= set(in_another_set.tolist())
        return np.array(unit_of_pattern, dtype=np.int32)[pattern_of]

    def report(self) -> Counter:
        source = self.people.source
        return +Counter({
            (source, "ALT alleles over another of the same haplotype", "the later one left out of the sequence"): len(self.dropped),
            (source, "ALT alleles over a window's end", "left out of that window"): len(self.clipped),
            (source, "ALT alleles of a window's second phase set", "unphased there"): len(self.rephased),
        })  # fmt: skip


def _unit_row(unit: int, place, text: str, is_reference: bool, n_alt: int) -> tuple:
    name = unit_id(place.contig, place.start, place.end, text)
    where = (place.window, place.locus, place.contig, place.start, place.end)
    return (unit, name, *where, is_reference, n_alt, len(text))


def _carriers(windows: pd.DataFrame, people: _People | _Nobody, unit_of: np.ndarray) -> pd.DataFrame:
    """One row per window, person and haplotype. unit_of: [n_window, 2 * n_sample]."""
    n_people = len(people.samples)
    present = np.ones((len(windows), n_people, 2), dtype=bool)
    for _, rows in windows.groupby("locus", sort=False):
        haploid = people.haploid(rows.contig.iat[0], rows.start.min(), rows.end.max())
        present[windows.index.get_indexer(rows.index), :, 1] = ~haploid
    window, person, haplotype = np.nonzero(present)
    return pd.DataFrame(
        {
            "sample": pd.Categorical.from_codes(person, categories=people.samples),
            "window": windows.window.to_numpy()[window],
            "haplotype": haplotype.astype(np.int8),
            "unit": unit_of.reshape(present.shape)[window, person, haplotype],
        }
    )


def trim(pos: int, ref: str, alt: str) -> tuple[int, str, str]:
    """The allele without the prefix REF and ALT share: the bases it changes. (7, "GCC", "G") -> (8, "CC", "")."""
    shared = len(commonprefix([ref, alt]))
    return pos + shared, ref[shared:], alt[shared:]


def _apply(bases: str, start: int, edits: list[tuple[int, int, str, str]]) -> str:
    """Window sequence with trimmed, sorted, non-overlapping edits (variant, pos, ref, alt)."""
    parts, done = [], 0
    for _, pos, ref, alt in edits:
        parts += [bases[done : pos - start], alt]
        done = pos - start + len(ref)
    return "".join([*parts, bases[done:]])


def _two_alts(genotypes: Genotypes) -> np.ndarray:
    """Calls of two different ALTs at one position, as 1/2, whose order is kept: [variant, sample] bool."""
    carried = genotypes.alleles == 1
    record = genotypes.variants.groupby(["contig", "pos"], sort=False).ngroup().to_numpy()
    if not len(record) or np.bincount(record).max() == 1:
        return np.zeros(carried.shape[:2], dtype=bool)
    any_alt = np.zeros((record.max() + 1, *carried.shape[1:]), dtype=bool)
    np.logical_or.at(any_alt, record, carried)
    return any_alt.all(2)[record]


class _Nobody:
    """No genotypes: every window holds the reference, and nobody carries it."""

    samples: tuple[str, ...] = ()
    source = ""

    def rows_in(self, contig: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(0, dtype=int), np.empty(0, dtype=int)

    def patterns(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        return [rows], np.empty(0, dtype=int), rows

    def without_overlaps(self, pattern: np.ndarray) -> list:
        return []

    def haploid(self, contig: str, start: int, end: int) -> np.ndarray:
        return np.empty(0, dtype=bool)


class _People:
    """Genotypes as two haplotypes per person, ready to be asked window by window."""

    def __init__(self, genotypes: Genotypes):
        variants = genotypes.variants
        self.samples, self.source = genotypes.samples, genotypes.source
        self.copies = genotypes.alleles
        self.allele = [trim(*row) for row in zip(variants.pos, variants.ref, variants.alt, strict=True)]
        self.carried = self.copies == 1
        self.ordered = _two_alts(genotypes)
        self.phased, self.phase_set = genotypes.phased, genotypes.phase_set
        self.low = low = np.array([pos for pos, _, _ in self.allele], dtype=np.int64)
        self.n_ref = np.array([len(ref) for _, ref, _ in self.allele], dtype=np.int64)
        self.first = low - (self.n_ref == 0)  # an insertion stands on its anchor
        self.last = low + self.n_ref - 1
        self.by_contig = variants.groupby("contig").indices

    def rows_in(self, contig: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Carried variants inside the window, in the order they apply, and those that it clips."""
        rows = self.by_contig.get(contig, np.empty(0, dtype=int))
        rows = rows[(self.first[rows] < end) & (self.last[rows] >= start)]
        rows = rows[self.carried[rows].any((1, 2))]
        inside = (self.first[rows] >= start) & (self.last[rows] < end) & (self.n_ref[rows] < end - start)
        order = sorted((self.allele[row][0], self.n_ref[row], row) for row in rows[inside])
        return np.array([row for _, _, row in order], dtype=int), rows[~inside]

    def patterns(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Distinct sets of variants on one haplotype, the empty set first, and which one each haplotype has.

        Returns the variant rows of each pattern; pattern numbers, [n_sample * 2]; rows with calls of a second phase set.
        """
        n_haplotypes = 2 * len(self.samples)
        if not len(rows):
            return [rows], np.zeros(n_haplotypes, dtype=int), rows
        second = self._of_a_second_set(rows)
        carried = self._placed(rows, second).reshape(len(rows), n_haplotypes).T
        carried = np.concatenate([np.zeros((1, len(rows)), dtype=bool), carried])  # the empty set sorts first
        bits, inverse = np.unique(np.packbits(carried, axis=1), axis=0, return_inverse=True)
        distinct = np.unpackbits(bits, axis=1, count=len(rows)).astype(bool)
        return [rows[pattern] for pattern in distinct], inverse.reshape(-1)[1:], rows[second.any(1)]

    def _of_a_second_set(self, rows: np.ndarray) -> np.ndarray:
        """Phased heterozygotes of another phase set than the person's first in the window: [row, sample] bool."""
        if self.phase_set is None:
            return np.zeros((len(rows), len(self.samples)), dtype=bool)
        carried, number = self.carried[rows], self.phase_set[rows]
        phased = (carried[..., 0] != carried[..., 1]) & self.phased[rows] & (self.copies[rows][..., 1] != ABSENT)
        first = np.take_along_axis(number, phased.argmax(0)[None], axis=0)
        return phased & (number != first) & ~self.ordered[rows]

    def _placed(self, rows: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether each haplotype carries each ALT, after the phase rules of `build_units`: [row, sample, 2]."""
        carried = self.carried[rows]
        free = (carried[..., 0] != carried[..., 1]) & ~self.phased[rows] & ~self.ordered[rows] | second
        carried[free] = (False, True)
        overlap = self._overlaps(rows)
        for i in np.flatnonzero(overlap.any(1))[::-1]:
            # those of its neighbours that stand: all that had no choice, and the later ones, which had theirs
            stands = carried[overlap[i]] & (~free[overlap[i]] | (np.flatnonzero(overlap[i]) > i)[:, None])[..., None]
            zero, one = stands.any(0).T
            carried[i, free[i] & one & ~zero] = (True, False)
        return carried

    def _overlaps(self, rows: np.ndarray) -> np.ndarray:
        """Pairs of alleles that cannot both be on one haplotype: [row, row] bool. rows: in the order they apply."""
        pos, n_ref = self.low[rows], self.n_ref[rows]
        follows = np.arange(len(rows))[:, None] < np.arange(len(rows))
        over = pos < (pos + n_ref)[:, None]
        both_insert = (pos == pos[:, None]) & (n_ref == 0) & (n_ref == 0)[:, None]
        pairs = follows & (over | both_insert)
        return pairs | pairs.T

    def without_overlaps(self, pattern: np.ndarray) -> list[tuple[int, int, str, str]]:
        """(variant, pos, ref, alt) of the pattern in order, less those that overlap one already kept."""
        kept, done, inserted_at = [], -1, -1
        for row in pattern.tolist():
            pos, ref, alt = self.allele[row]
            if pos < done or (not ref and pos == inserted_at):
                continue
            kept.append((row, pos, ref, alt))
            done = pos + len(ref)
            inserted_at = inserted_at if ref else pos
        return kept

    def haploid(self, contig: str, start: int, end: int) -> np.ndarray:
        """[n_sample] bool: people called in the interval, and with one copy only at every call."""
        rows = self.by_contig.get(contig, np.empty(0, dtype=int))
        copies = self.copies[rows[(self.last[rows] >= start) & (self.first[rows] < end)]]
        absent = copies[:, :, 1] == ABSENT
        return absent.any(0) & ~(copies[:, :, 1] >= 0).any(0)
