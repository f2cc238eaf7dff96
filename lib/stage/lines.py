"""Text files that people made, one record a line, and tables of such lines: plain or gzip, UTF-8."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

import pandas as pd

GZIP = b"\x1f\x8b"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and each line without its end; gzip is told by its first bytes, whatever the name.

    Raises FileNotFoundError, or ValueError naming the file and the line, for: UTF-16, a zip (or Excel) archive, a
    byte that is not UTF-8 (as Latin-1 has), a NUL byte, and gzip that ends early.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as raw:
        head = raw.read(4)
        raw.seek(0)
        if head.startswith(UTF16):
            raise ValueError(f"{path}: UTF-16 text, wanted UTF-8 (iconv -f UTF-16 -t UTF-8)")
        if head == b"PK\x03\x04":
            raise ValueError(f"{path}: a zip archive or Excel file, wanted text")
        number = 0
        try:
            with gzip.GzipFile(fileobj=raw) if head.startswith(GZIP) else raw as handle:
                for number, line in enumerate(TextIOWrapper(handle, "utf-8-sig", errors="surrogateescape"), 1):
                    _check(line, f"{path}, line {number}")
                    yield number, line.rstrip("\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip after line {number} ({error}); copy the file again") from error


def table(path: str | Path, *columns: str) -> pd.DataFrame:
    """A table with a header, separated by tabs or commas (whichever the header has), all of it text, blank lines left out.

    columns: those that must be there. The index is the line number in the file. Raises what `read` raises, and ValueError
    naming the file and the line for: a missing column, a column twice, a row of more or fewer fields than the header, and
    a quotation mark that is not closed.
    """
    rows = ((number, line) for number, line in read(path) if line.strip())
    first, header = next(rows, (1, ""))
    separator = "\t" if "\t" in header else ","
    names = _fields(header, separator, f"{path}, line {first}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}, line {first}: column {twice[0]!r} is there {names.count(twice[0])} times, wanted once")
    if lacking := set(columns) - set(names):
        raise ValueError(f"{path}: no column {sorted(lacking)}; found {names}")
    numbers, values = [], []
    for number, line in rows:
        fields = _fields(line, separator, f"{path}, line {number}")
        if len(fields) != len(names):
            raise ValueError(f"{path}, line {number}: {len(fields)} fields, wanted {len(names)} as in the header")
        numbers.append(number)
        values.append(fields)
    return pd.DataFrame(values, columns=names, index=pd.Index(numbers, dtype=int), dtype=object)


def integer(text: str) -> int | None:
    """The integer that these digits 0 to 9 spell, or None: Python would also take "1_0", and stop at thousands of digits."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,15}", text) else None


def _fields(line: str, separator: str, where: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise ValueError(f"{where}: {error}; wanted fields separated by {separator!r}") from error


def _check(line: str, where: str) -> None:
    if "\0" in line:
        raise ValueError(f"{where}: a NUL byte, wanted UTF-8 text (UTF-16 without its mark, or no text at all)")
    if not line.isascii():
        wrong = [c for c in line if "\udc80" <= c <= "\udcff"]
        if wrong:
            raise ValueError(f"{where}: byte 0x{ord(wrong[0]) - 0xDC00:02x} is not UTF-8 (iconv -f LATIN1 -t UTF-8)")
