"""ClinVar's own c. and p. of the shared alleles, and what a c. notation says is changed, read without `lib.dna.hgvs.change`."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import NamedTuple

import pandas as pd
import pysam
import pytest

from lib.dna import genes, hgvs
from tests.helpers import DATA_DIR

NEEDED = {name: DATA_DIR / name for name in ("GRCh38_loci.fa.gz", "lrg_exons.bed.gz", "clinvar_loci.vcf.gz")}
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_PLACE = r"([-*]?\d+(?:[+-]\d+)?)"
_EDIT = re.compile(rf"{_PLACE}(?:_{_PLACE})?(del|dup|ins|inv)([ACGT]*)(?:\d*)(?:ins([ACGT]+))?|{_PLACE}([ACGT])>([ACGT])")


class Shared(NamedTuple):
    """The shared genome, its LRG transcripts (all, and by contig), and ClinVar's alleles with a c.: contig, pos, ref, alt, c, p."""

    genome: hgvs.Blocks
    transcripts: dict[str, hgvs.Transcript]
    on: dict[str, list[hgvs.Transcript]]
    alleles: pd.DataFrame

    def near(self, contig: str, pos: int, flank: int = 5000) -> list[hgvs.Transcript]:
        return [t for t in self.on[contig] if t.exons[0][0] - flank <= pos < t.exons[-1][1] + flank]


@cache
def shared() -> Shared:
    if lacking := [str(path) for path in NEEDED.values() if not path.is_file()]:
        pytest.skip(f"NO REAL DATA at {', '.join(lacking)}: set DATA_DIR to the folder of shared data")
    genome, report = hgvs.Blocks(NEEDED["GRCh38_loci.fa.gz"]), Counter()
    transcripts = hgvs.transcripts(genes.read(NEEDED["lrg_exons.bed.gz"], genome, report), report)
    on: dict[str, list[hgvs.Transcript]] = {}
    for one in transcripts.values():
        on.setdefault(one.contig, []).append(one)
    rows = []
    with pysam.VariantFile(str(NEEDED["clinvar_loci.vcf.gz"])) as vcf:
        for record in vcf:
            c, p = (",".join(record.info.get(key, ("-",))) for key in ("CLNHGVS", "PROTHGVS"))
            if ":c." in c:
                rows.append((record.contig, record.pos - 1, record.ref, record.alts[0], c, p))
    return Shared(genome, transcripts, on, pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "c", "p"]))


def bare(notation: str) -> str:
    """What follows "c.", without the bases or their number that old notations put behind del and dup."""
    return re.sub(r"(del|dup)[ACGT\d]+(?=ins|$)", r"\1", notation.split(":")[-1].partition(".")[2])


def edit(text: str, transcript: hgvs.Transcript, genome, near: int) -> tuple[int, int, str] | None:
    """What a c. notation changes: bases [start, end) of the contig become the third, on the plus strand; None where its places are not
    within 300 bases of `near` on the transcript, or it does not say its bases."""
    where = {transcript.label(base): base for base in range(max(near - 300, 0), min(near + 300, genome.lengths[transcript.contig]))}
    match = _EDIT.fullmatch(text)
    if not match:
        return None
    first, last, kind, bases, replaced, lone, _, alt = match.groups()
    ends = sorted(where.get(place, -1) for place in (lone or first, lone or last or first))
    if ends[0] < 0 or (kind == "ins" and (ends[1] - ends[0] != 1 or not bases)):
        return None
    low, high = ends[0], ends[1] + 1
    new = alt or replaced or (bases if kind == "ins" else "")
    new = new if transcript.forward else new.translate(_COMPLEMENT)[::-1]
    if kind == "dup":
        at = high if transcript.forward else low  # a copy behind or before is the same; 3' as the transcript has it
        return at, at, genome.fetch(transcript.contig, low, high)
    if kind == "inv":
        return low, high, genome.fetch(transcript.contig, low, high).translate(_COMPLEMENT)[::-1]
    return (low + 1, low + 1, new) if kind == "ins" else (low, high, new)


def edited(genome, contig: str, low: int, high: int, start: int, end: int, new: str) -> str:
    """Bases [low, high) of the contig after [start, end) became `new`."""
    text = genome.fetch(contig, low, high)
    return text[: start - low] + new + text[end - low :]
