"""The change of a protein that the genetic code predicts from a change in one transcript's coding bases, in the words of HGVS.

HGVS writes what is predicted in brackets; here it has none. Three-letter code, Ter for a stop, "=" for no change, p.Met1? where the
start codon changes, fsTer5 and extTer5 with the new stop's place, "?" for a stop that the transcript does not reach, and p.? where a
base that matters is unknown. Source: den Dunnen et al. 2016 (Hum Mutat 37:564) and hgvs-nomenclature.org.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product, takewhile

from lib.dna.hgvs import Transcript, oriented
from lib.dna.reference import Reference, bare_name

UNKNOWN = "p.?"
_CODONS = ["".join(codon) for codon in product("TCAG", repeat=3)]
#: Source: NCBI genetic codes 1 (standard) and 2 (vertebrate mitochondrial), https://www.ncbi.nlm.nih.gov/Taxonomy/Utils/wprintgc.cgi
STANDARD = dict(zip(_CODONS, "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"))
MITOCHONDRIAL = dict(zip(_CODONS, "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIMMTTTTNNKKSS**VVVVAAAADDEEGGGG"))
_NAMES = dict(zip("ARNDCQEGHILKMFPSTWYVU*X", (
    "Ala", "Arg", "Asn", "Asp", "Cys", "Gln", "Glu", "Gly", "His", "Ile", "Leu", "Lys", "Met", "Phe", "Pro", "Ser", "Thr", "Trp", "Tyr",
    "Val", "Sec", "Ter", "Xaa",
)))  # fmt: skip


@dataclass(frozen=True)
class Product:
    """What a transcript codes for. sequence: its spliced bases, 5' to 3'; coding: first coding base and the one after the last;
    start: of the first whole codon; protein: a letter a codon, the stop "*" with them, X where a base is unknown, U (selenocysteine)
    for a TGA before the last codon; code: codon -> letter."""

    sequence: str
    coding: tuple[int, int]
    start: int
    protein: str
    code: dict[str, str]

    def translated(self, bases: str, to_stop: bool = False) -> str:
        """A letter for each whole codon; to_stop: up to the first stop, which is the last letter."""
        letters = (self.code.get(bases[i : i + 3], "X") for i in range(0, len(bases) - 2, 3))
        if not to_stop:
            return "".join(letters)
        before = "".join(takewhile("*".__ne__, letters))
        return before + "*" * (len(before) < len(bases) // 3)


def product_of(transcript: Transcript, genome: Reference) -> Product:
    """Splice and translate a transcript. Raises ValueError for one that codes for nothing."""
    if transcript.coding is None:
        raise ValueError(f"transcript {transcript.name!r} codes for nothing, wanted one with CDS")
    bases = "".join(genome.fetch(transcript.contig, start, end) for start, end in transcript.exons)
    sequence, (first, end) = oriented(bases, transcript.forward), transcript.coding
    start = first + transcript.frame
    made = Product(sequence, transcript.coding, start, "", MITOCHONDRIAL if bare_name(transcript.contig) == "MT" else STANDARD)
    letters = list(made.translated(sequence[start:end]))
    for at, letter in enumerate(letters[:-1]):
        if letter == "*" and sequence[start + 3 * at : start + 3 * at + 3] == "TGA":
            letters[at] = "U"
    return Product(sequence, transcript.coding, start, "".join(letters), made.code)


def protein_change(made: Product, low: int, high: int, inserted: str) -> tuple[str, str]:
    """Class and p. of a change of spliced bases [low, high), 0-based on the transcript, at least one of them coding, to `inserted`;
    of an insertion low = high, inside the coding sequence.

    Class: nonsense, frameshift, start or stop, inframe indel (the protein's length changes), missense, synonymous, or other where
    an unknown base hides it.
    """
    start, protein, whole_start = made.start, made.protein, made.start == made.coding[0]
    if low < start:
        return ("start or stop", "p.Met1?") if whole_start else ("other", UNKNOWN)
    if whole_start and low < start + 3 and (low < high or low > start):
        return "start or stop", "p.Met1?"
    shifted = (len(inserted) - (high - low)) % 3 != 0
    at_stop = protein.endswith("*") and high > start + 3 * len(protein) - 3
    first = (low - start) // 3
    head = made.sequence[start + 3 * first : low] + inserted
    if shifted or at_stop:
        old, new = protein[first:], made.translated(head + made.sequence[high:], to_stop=True)
        at_stop = at_stop and (shifted or len(new) - len(old) != (len(inserted) - (high - low)) // 3)  # else the stop stays a stop
    else:
        after = -(-(high - start) // 3)  # the first codon that stays whole
        old, new = protein[first:after], made.translated(head + made.sequence[high : start + 3 * after])
        new = new[: new.index("*") + 1] if "*" in new else new
    return _compared(protein, first, old, new, shifted, at_stop)


def _compared(protein: str, first: int, old: str, new: str, shifted: bool, at_stop: bool) -> tuple[str, str]:
    """old, new: letters from codon `first` (0-based) on, of the protein and of the changed one."""
    same = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
    at, rest, changed = first + same, old[same:], new[same:]
    unknown = "X" in changed or "X" in (rest[:1] if shifted else old + new)
    if not rest and not changed and not unknown:
        return "synonymous", f"p.{_span(protein, first, first + len(old))}="
    endless = at_stop and not shifted and not changed.endswith("*") and (rest[:1] != "*" or not changed)
    if at >= len(protein) or unknown or endless or (shifted and not changed):
        in_frame = "inframe indel" if len(rest) != len(changed) else "other"
        return ("start or stop" if at_stop else "frameshift" if shifted else in_frame), UNKNOWN
    if changed[:1] == "*":
        return ("synonymous", f"p.{_one(protein, at)}=") if protein[at] == "*" else ("nonsense", f"p.{_one(protein, at)}Ter")
    if rest[:1] == "*" and (shifted or at_stop):
        return "start or stop", f"p.{_one(protein, at)}{_NAMES[changed[0]]}extTer{_stop(changed, 0)}"
    if shifted:
        text = f"p.{_one(protein, at)}{_NAMES[changed[0]]}fsTer{_stop(changed, 1)}"
        return ("start or stop" if at_stop else "frameshift"), text
    return _in_frame(protein, at, rest, changed, at_stop)


def _in_frame(protein: str, at: int, old: str, new: str, at_stop: bool) -> tuple[str, str]:
    """old, new: letters from codon `at` on, the first of them not the same; one may be empty."""
    early = new.endswith("*") and not old.endswith("*") and not at_stop
    while not early and old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    if early:
        region = "nonsense"
    else:
        region = "start or stop" if at_stop else "missense" if len(old) == len(new) else "inframe indel"
    names = "".join(_NAMES[letter] for letter in new)
    if old and new:
        word = "" if len(old) == len(new) == 1 else "delins"
        return region, f"p.{_span(protein, at, at + len(old))}{word}{names}"
    unit, end = old or new, at + len(old)
    steps = 0
    while end + steps < len(protein) and protein[end + steps] == unit[steps % len(unit)]:
        steps += 1
    at, unit = at + steps, unit[steps % len(unit) :] + unit[: steps % len(unit)]
    if old:
        return region, f"p.{_span(protein, at, at + len(old))}del"
    if protein[at - len(unit) : at] == unit and at >= len(unit):
        return region, f"p.{_span(protein, at - len(unit), at)}dup"
    if not 0 < at < len(protein):
        return region, UNKNOWN
    return region, f"p.{_span(protein, at - 1, at + 1)}ins{''.join(_NAMES[letter] for letter in unit)}"


def _one(protein: str, at: int) -> str:
    return f"{_NAMES[protein[at]]}{at + 1}"


def _span(protein: str, low: int, high: int) -> str:
    return _one(protein, low) if high - low == 1 else f"{_one(protein, low)}_{_one(protein, high - 1)}"


def _stop(letters: str, first: int) -> int | str:
    """Where the new stop is, its first letter counted as `first`; "?" where there is none."""
    return letters.index("*") + first if "*" in letters else "?"
