"""Rows of BED files, as text and as intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lib.stage import lines


def bed_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns, three or more, of each row of a BED file, plain or gzip; all of it text.

    Raises ValueError with the line number for too few columns, and what `lib.stage.lines.read` raises.
    """
    for number, line in lines.read(path):
        if not line.strip() or re.match(r"#|(track|browser)(\s|$)", line):
            continue
        fields = line.split("\t")
        if len(fields) < 3:
            raise ValueError(f"{path}, line {number}: {len(fields)} tab-separated columns, wanted contig, start, end")
        yield number, fields


def interval(low: str, high: str, where: str) -> tuple[int, int]:
    """Start and end of a BED row. where: file and line, for errors. Raises ValueError unless integers, start below end."""
    start, end = lines.integer(low), lines.integer(high)
    if start is None or end is None:
        raise ValueError(f"{where}: start {low[:40]!r} and end {high[:40]!r}, wanted integer start and end")
    if start >= end:
        raise ValueError(f"{where}: start {start} is not below end {end}")
    return start, end
