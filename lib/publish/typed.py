"""Tables, documents and texts, built cell by cell: what is no cell of its column's sort is refused, and nothing else is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lib.publish import words as words_
from lib.publish.words import Words

#: Sorts that are one form of text.
FORMS = {
    "base": r"[ACGTN]",
    "alleles": r"[ACGTN]{1,64}",
    "context": r"[ACGTN]{1,7}>[ACGTN]{1,7}|(ins|del) \d{1,3}",
    "notation": r"([cgnp]\.)?[(\[]?[\w*+>_=?;:.-]{1,40}[)\]]?",
    "transcript": r"ENST\d{11}(\.\d{1,2})?|N[MR]_\d{6,9}(\.\d{1,2})?|[A-Za-z]{2,5}_?[A-Z0-9]{1,8}",
    "name_of_variant": r"\d{1,9}|rs\d{1,10}|VCV\d{9}",
    "motif_word": r"[ACGTNRYSWKMBDHVacgtnryswkmbdhv.-]{1,40}",
}
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}(\+cpu|\+cu\d{2,3}|rc\d)?", re.ASCII)
TEXT = {"words", "notation", "transcript", "file"}  # sorts that the vocabulary reads


class Untyped(ValueError):
    """Something is not of its sort; the message says where, and repeats none of it."""


@lru_cache(maxsize=1)
def sorts() -> dict[str, Any]:
    """Sort -> patterns of columns: see the head of sorts.yaml."""
    return yaml.safe_load((Path(__file__).parent / "sorts.yaml").read_text(encoding="utf-8"))


@cache
def sort_of(column: str) -> str:
    """The sort of a column by its name. Raises Untyped for one that has none."""
    for sort, patterns in sorts().items():
        if sort != "vocabulary" and any(column == p or re.fullmatch(p, column) for p in patterns):
            return sort
    raise Untyped(f"column {column!r} has no sort in sorts.yaml")


def table(frame: pd.DataFrame, known: Words, counts: list[str], digests: dict[tuple, str]) -> pd.DataFrame:
    """A table as text with every cell of its column's sort, as it is shown. counts: columns of people, whole numbers; digests: what
    identifies a unit, by contig and start. Raises Untyped."""
    out = {}
    for column in frame:
        sort = "people" if column in counts else sort_of(column)
        if sort == "digest":
            places = zip(frame["contig"], frame["start"].astype(int), strict=True)
            out[column] = [digests.get(place, "") for place in places]
            continue
        cells = {text: cell(text, sort, known) for text in frame[column].unique()}
        if wrong := [text for text, shown in cells.items() if shown is None]:
            row = frame.index[frame[column] == wrong[0]][0]
            raise Untyped(f"row {row + 1} of column {column!r} is no {sort}: it holds what no vocabulary knows" if sort in TEXT
                          else f"row {row + 1} of column {column!r} is no {sort}")  # fmt: skip
        out[column] = frame[column].map(cells)
    return pd.DataFrame(out, columns=frame.columns)


def cell(text: str, sort: str, known: Words) -> str | None:
    """One cell as it is shown; None where it is not of this sort."""
    if text == "" or (sort == "people" and re.fullmatch(r"\d{1,9}(\.0)?", text, re.ASCII)):
        return text.removesuffix(".0")
    if sort == "people":
        return None
    if sort == "flag":
        return text if text in ("True", "False") else None
    if sort == "words":
        return known.shown(text)
    if sort == "file":
        return known.shown(text) or "a file"
    if sort in FORMS:
        return text if re.fullmatch(FORMS[sort], text, re.ASCII) else None
    shown = words_.number(text)
    if sort == "share" and shown not in (None, "nan", "True", "False"):
        return shown if -1e-9 <= float(shown) <= 1 + 1e-9 else None
    return shown


def digest(contig: str, start: int, end: int, text: str) -> str:
    """What identifies a unit: 16 hexadecimal digits of BLAKE2b over contig:start-end and what the model reads, as the door computes it."""
    return blake2b(f"{contig}:{start}-{end}\n{text}".encode(), digest_size=8).hexdigest()


def document(value: Any, known: Words, hashes: set[str], where: str = "") -> Any:
    """A JSON or YAML document with known words and short numbers alone. hashes: the SHA-256 that may be shown, computed anew by the gate;
    others, and revisions, are left out. Raises Untyped with the names above what is wrong, as far as they are known."""
    if isinstance(value, dict):
        if any(not isinstance(name, str) or known.shown(name) is None for name in value):
            raise Untyped(f"a name below {where or 'the top'} holds what no vocabulary knows")
        return {known.shown(name): document(child, known, hashes, f"{where}/{name}") for name, child in value.items()
                if not _unknown_hash(child, hashes)}  # fmt: skip
    if isinstance(value, list):
        return [document(child, known, hashes, where) for child in value]
    if isinstance(value, bool) or value is None or value in hashes:
        return value
    if isinstance(value, int | float):
        shown = words_.number(str(value))
        if shown in ("nan", "inf", "-inf", None):
            return None
        return int(shown) if isinstance(value, int) and "." not in shown else float(shown)
    shown = known.shown(value) if isinstance(value, str) else None
    if shown is None:
        raise Untyped(f"{where or 'the top'} holds what no vocabulary knows")
    return shown


def _unknown_hash(value: Any, hashes: set[str]) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{32,}", value)) and value not in hashes


def text(content: str, known: Words) -> str:
    """A text whose every line is of known words. Raises Untyped with the first line that is not."""
    lines = []
    for number, line in enumerate(content.split("\n"), 1):
        shown = known.shown(line)
        if shown is None:
            raise Untyped(f"line {number} holds what no vocabulary knows")
        lines.append(shown)
    return "\n".join(lines).rstrip("\n") + "\n"


def read_document(path: Path) -> Any:
    """What a JSON or YAML file holds; a name that is there twice is refused. Raises ValueError."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return yaml.safe_load(content)
    return json.loads(content, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise Untyped("a name is there twice")
    return dict(pairs)


def write_document(path: Path, value: Any) -> None:
    """Write a document as stages do."""
    written = yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if path.suffix == ".yaml" else json.dumps(value, indent=2) + "\n"
    path.write_text(written, encoding="utf-8", newline="\n")


#: suffix of a track for genome browsers -> sorts of its columns
TRACKS = {".bed": ("words", "number", "number", "words", "number", "words"), ".bedGraph": ("words", "number", "number", "number")}
HEAD = re.compile(r'track type=bedGraph name="([^"]*)" visibility=full autoScale=on')


def track(path: Path, known: Words) -> str:
    """A BED or bedGraph file with every field of its sort. Raises Untyped."""
    return "".join(f"{line}\n" for line in _track_lines(path, known))


def _track_lines(path: Path, known: Words) -> Iterator[str]:
    sorts_ = TRACKS[path.suffix]
    for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if row == 1 and path.suffix == ".bedGraph" and (head := HEAD.fullmatch(line)) and known.shown(head[1]) is not None:
            yield line
            continue
        fields = line.split("\t")
        shown = [cell(field, sort, known) for field, sort in zip(fields, sorts_, strict=False)]
        if len(fields) != len(sorts_) or None in shown:
            raise Untyped(f"line {row} is no line of {path.suffix}")
        yield "\t".join(shown)
