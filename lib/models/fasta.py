"""FASTA read piece by piece, so that a file of whole chromosomes takes no more memory than one of short records."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

SIZE = 2**20  # letters that are read at a time


def pieces(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number (from 0), name and upper-case bases of each record, a long one in pieces that follow each other.

    Plain or gzip. A record without bases gives one empty piece. Raises ValueError for what is not a whole FASTA file.
    """
    number, name = -1, ""
    opened = gzip.open if path.open("rb").read(2) == b"\x1f\x8b" else open
    try:
        with opened(path, "rt", encoding="utf-8") as handle:
            while block := handle.read(SIZE):
                first, *others = re.split("^>", block + handle.readline(SIZE), flags=re.MULTILINE)
                if first.strip() and number < 0:
                    raise ValueError(f"begins with {first.lstrip()[:20]!r}, wanted a line that begins with '>'")
                if first:
                    yield number, name, _bases(first)
                for record in others:
                    header, _, rest = record.partition("\n")
                    number, name = number + 1, (header.split() or [""])[0]
                    yield number, name, _bases(rest)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole FASTA file: {error}") from error


def _bases(lines: str) -> str:
    return "".join(lines.split()).upper()


def heads(path: Path, n: int, most: int) -> Iterator[tuple[str, str]]:
    """Name and bases of the first n records: up to `most`, from the first that is not N where there is one.

    Raises ValueError for what is not a whole FASTA file, as far as it is read.
    """
    for (_, name), record in islice(groupby(pieces(path), key=lambda piece: piece[:2]), n):
        head = ""
        for *_, bases in record:
            head = (head + bases).lstrip("N") or bases
            if len(head) >= most and head[0] != "N":
                break
        yield name, head[:most]
