"""One variant has many spellings; this is the one that bcftools norm gives."""

from __future__ import annotations

from lib.dna.reference import Reference

STEP = 200  # bases read at once when an allele moves left


def leftmost(contig: str, pos: int, ref: str, alt: str, genome: Reference) -> tuple[int, str, str]:
    """Position (0-based) and alleles, left-aligned and parsimonious: both as short as can be, with one base at least.

    "AA>A" in a run of A is the deletion of the run's first A, anchored on the base before it. ref, alt: upper-case
    bases, different. An N, of which nobody knows what it is, stops the way to the left.
    Source: Tan, Abecasis and Kang 2015, algorithm 1; the same as `bcftools norm -f genome`.
    """
    before, low = "", pos  # the bases of [low, pos) that were read so far
    while ref[-1] == alt[-1] and ref[-1] != "N":
        if min(len(ref), len(alt)) > 1:
            ref, alt = ref[:-1], alt[:-1]
            continue
        if pos == 0:
            break
        if not before:
            low = max(0, pos - STEP)
            before = genome.fetch(contig, low, pos)
        base, before, pos = before[-1], before[:-1], pos - 1
        ref, alt = base + ref[:-1], base + alt[:-1]
    while min(len(ref), len(alt)) > 1 and ref[0] == alt[0]:
        pos, ref, alt = pos + 1, ref[1:], alt[1:]
    return pos, ref, alt
