"""A VCF in any packing as a heading and records of eight columns: what stands behind them, the calls, is cut off unread."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.dna.reference import BGZIP_EOF, check_file
from lib.dna.vcf import FIRST
from lib.stage import lines


@dataclass(frozen=True)
class Line:
    """One record. number: from 1, as they come in the file. pos: 0-based; -1 where POS is 0, a telomere. fields: the first eight, as
    written. alts: as written, ["."] where there is none. where: file, record and place, for errors."""

    number: int
    pos: int
    fields: list[str]
    where: str

    @property
    def contig(self) -> str:
        return self.fields[0]

    @property
    def ref(self) -> str:
        return self.fields[3]

    @property
    def alts(self) -> list[str]:
        return self.fields[4].split(",")

    @property
    def info(self) -> list[tuple[str, str]]:
        """Key and value of each entry, in order; a flag's value is empty."""
        given = self.fields[7]
        return [] if given in (".", "") else [part.partition("=")[::2] for part in given.split(";") if part]


class TextVcf:
    """A VCF, plain, gzip or bgzip, with an index or without.

    meta: its `##` lines. names: those of its samples, held only so that a writer can keep them back; nothing prints them.
    Iterated (once) it gives each `Line`; blank lines are passed over. Raises FileNotFoundError or ValueError, naming file and line or
    record, for: BCF, UTF-16, truncation, no or another `#CHROM` line, too few or too many columns, a POS that is no number, an empty
    field, a heading among records, and records that are not sorted.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        _check_packing(self.path)
        self.meta: list[str] = []
        self._lines = lines.read(self.path)
        columns = self._heading()
        self.names, self._tabs = frozenset(columns[9:]), len(columns) - 1

    def __iter__(self) -> Iterator[Line]:
        number, contig, last, seen = 0, "", -1, set()
        for row, text in self._lines:
            if not text.strip():
                continue
            if text.startswith("#"):
                raise ValueError(f"{self.path}, line {row}: a heading among the records: two files in one? (bcftools concat)")
            number += 1
            line = self._record(number, row, text)
            if (line.contig != contig and line.contig in seen) or (line.contig == contig and line.pos < last):
                raise ValueError(f"{line.where}: unsorted, it comes after {contig}:{last + 1}; bcftools sort")
            contig, last = line.contig, line.pos
            seen.add(contig)
            yield line

    def _heading(self) -> list[str]:
        """Columns of the `#CHROM` line; what stands before goes to `meta`."""
        for number, text in self._lines:
            if text.startswith("##"):
                self.meta.append(text)
                continue
            columns = text.split("\t")
            if columns[: len(FIRST)] != FIRST or columns[len(FIRST) : len(FIRST) + 1] not in ([], ["FORMAT"]):
                same = next((n for n, pair in enumerate(zip(columns, [*FIRST, "FORMAT"])) if pair[0] != pair[1]), len(columns))
                raise ValueError(f"{self.path}, line {number}: column {same + 1} is another; wanted {' '.join(FIRST)}, and FORMAT before "
                                 "any sample, by tabs")
            return columns
        raise ValueError(f"{self.path}: no #CHROM header line")

    def _record(self, number: int, row: int, text: str) -> Line:
        fields, tabs = text.split("\t", len(FIRST))[: len(FIRST)], text.count("\t")
        if tabs != self._tabs:
            raise ValueError(f"{self.path}, line {row}: {tabs + 1} columns, wanted {self._tabs + 1} as in the header")
        pos = lines.integer(fields[1])
        if pos is None or pos < 0:
            raise ValueError(f"{self.path}, line {row}: POS {fields[1]!r}, wanted a number from 1")
        where = f"{self.path}, record {number} ({fields[0]}:{fields[1]})"
        empty = [name for name, field in zip(FIRST, fields) if not field]
        if empty or "" in fields[4].split(","):
            raise ValueError(f"{where}: {(empty or ['ALT'])[0].lstrip('#')} is empty; a missing value is written '.'")
        return Line(number, pos - 1, fields, where)


def contig_lengths(meta: list[str]) -> dict[str, int]:
    """Contig -> bases, of the header's `##contig` lines that say both."""
    told = [(re.search(r"[<,]ID=([^,>]+)", text), re.search(r"[<,]length=(\d+)", text)) for text in meta if text.startswith("##contig=")]
    return {name[1]: int(length[1]) for name, length in told if name and length}


def _check_packing(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as handle:
        head = handle.read(len(BGZIP_EOF))
    packed = head.startswith(lines.GZIP)
    if packed and head[12:14] == b"BC":
        check_file(path)  # of bgzip the closing block tells whether the file is whole
    if packed:
        try:
            with gzip.open(path) as handle:
                head = handle.read(3)
        except (EOFError, OSError):
            return  # `lines.read` says where it is damaged
    if head.startswith(b"BCF"):
        raise ValueError(f"{path}: BCF, wanted VCF text (bcftools view -Oz)")
