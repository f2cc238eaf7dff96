"""UTRs with labels, as people have them: a table (CSV, TSV), FASTA, or the JSON of SAE_Helix_mRNA's preparation.

A label that is not given stays missing: it is never 0. Two records of one id are one if they say the same.
Source of the JSON: records of sequence, annotations (functional, structural, regulatory) and metadata, in a list or chunks of one.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from lib.models import fasta

ID, SEQUENCE = "id", "sequence"
#: Groups of a JSON record's annotations, and the labels of each.
JSON = {
    "functional": ("mrl", "te", "expression_level"),
    "structural": ("gc_content", "gc", "length", "mfe", "dot_bracket", "structure"),
    "regulatory": ("uorf_count", "uaug_count", "codon_usage"),
}
TOP, METADATA = {"sequence", "annotations", "metadata", "id", *JSON}, ("source", "cell_line", "data_type")
MISSING = {"", "na", "nan", "null", "none", "n/a", "."}


def read(path: Path, sequence: str, labels: list[str], name: str = "", report: Counter | None = None) -> pd.DataFrame:
    """id, sequence (upper case, T for U) and a column a label (float, NaN where it is not given), in the file's order.

    sequence, labels: columns of a table, or of a JSON record's annotations; name: column of the ids, "" for the rows' numbers. FASTA has
    no labels. report: what was left out, see `lib.dna.report`. Raises ValueError, naming file and record, for letters other than A C G T
    U N, for U and T in one sequence, for an empty one, for a label that is no number or is infinite, for an id with two sequences or
    labels, for a column or key that is not known, and for a file without a record.
    """
    path, report = Path(path), Counter() if report is None else report
    suffix = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    readers = {"csv": _table, "tsv": _table, "txt": _table, "json": _json, "fa": _fasta, "fasta": _fasta, "fna": _fasta}
    if suffix not in readers:
        raise ValueError(f"{path}: wanted a table (.csv, .tsv), FASTA (.fa, .fasta) or JSON (.json), plain or .gz")
    rows: dict[str, tuple] = {}
    for where, own, text, given in readers[suffix](path, sequence, labels, name):
        row = _sequence(text, where), *(_number(given.get(label), label, where) for label in labels)
        if own in rows and not _same(rows[own], row):
            raise ValueError(f"{where}: id {own!r} came before with another sequence or label, wanted one record an id")
        report[path.name, "records that came before, word for word", "left out"] += own in rows
        rows.setdefault(own, row)
    if not rows:
        raise ValueError(f"{path}: no record")
    return pd.DataFrame([(own, *row) for own, row in rows.items()], columns=[ID, SEQUENCE, *labels])


def _table(path: Path, sequence: str, labels: list[str], name: str) -> Iterator[tuple[str, str, str, dict]]:
    table = pd.read_csv(path, sep="," if ".csv" in path.name.lower() else "\t", dtype=str, keep_default_na=False)
    if lacking := [column for column in (sequence, *labels, *([name] if name else [])) if column not in table]:
        raise ValueError(f"{path}: no column {lacking[0]!r}, has {', '.join(map(str, table.columns))[:200]}")
    for number, row in enumerate(table.to_dict("records"), start=2):
        yield f"{path}, line {number}", row[name] if name else str(number - 1), row[sequence], row


def _fasta(path: Path, sequence: str, labels: list[str], name: str) -> Iterator[tuple[str, str, str, dict]]:
    if labels:
        raise ValueError(f"{path}: FASTA has no labels, wanted a table or JSON with {', '.join(labels)}")
    for (number, own), pieces in groupby(fasta.pieces(path), key=lambda piece: piece[:2]):
        yield f"{path}, record {number + 1}", own or str(number + 1), "".join(piece[2] for piece in pieces), {}


def _json(path: Path, sequence: str, labels: list[str], name: str) -> Iterator[tuple[str, str, str, dict]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as handle:
            records = json.load(handle)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no JSON: {error}") from error
    if not isinstance(records, list):
        raise ValueError(f"{path}: {type(records).__name__}, wanted a list of records")  # noqa: TRY004 a fault of the file
    known = {label for group in JSON.values() for label in group}
    if lacking := [label for label in labels if label not in known]:
        raise ValueError(f"{path}: label {lacking[0]!r} is none of {', '.join(sorted(known))}")
    for number, record in enumerate(records, start=1):
        where = f"{path}, record {number}"
        if not isinstance(record, dict) or not isinstance(record.get("sequence"), str):
            raise ValueError(f"{where}: wanted an object with a text under 'sequence'")  # noqa: TRY004 a fault of the file
        _refuse(set(record) - TOP, where, "")
        _refuse(set(record.get("metadata") or {}) - set(METADATA), where, "metadata.")
        yield where, str(record.get(name or "id") or number), record["sequence"], _annotations(record, where)


def _annotations(record: dict, where: str) -> dict[str, Any]:
    """Labels of one JSON record, whether its groups lie under annotations or at the top."""
    given = {**{group: record[group] for group in JSON if group in record}, **(record.get("annotations") or {})}
    _refuse(set(given) - set(JSON), where, "annotations.")
    out: dict[str, Any] = {}
    for group, values in given.items():
        if not isinstance(values, dict | None):
            raise ValueError(f"{where}: {group} is {type(values).__name__}, wanted an object")  # noqa: TRY004 a fault of the file
        _refuse(set(values or {}) - set(JSON[group]), where, f"{group}.")
        out |= values or {}
    return out


def _refuse(unknown: set[str], where: str, under: str) -> None:
    if unknown:
        raise ValueError(f"{where}: unknown key {under}{min(unknown)}")


def _sequence(text: str, where: str) -> str:
    text = text.strip().upper()
    if not text:
        raise ValueError(f"{where}: the sequence is empty")
    if wrong := set(text) - set("ACGTUN"):
        raise ValueError(f"{where}: sequence with {', '.join(sorted(wrong))[:40]}, wanted A C G U (or T) N")
    if "U" in text and "T" in text:
        raise ValueError(f"{where}: sequence with both U and T, wanted one of the two")
    return text.replace("U", "T")


def _number(value: Any, label: str, where: str) -> float:
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {label} is {str(value)[:40]!r}, wanted a number or nothing") from None
    if math.isinf(number):
        raise ValueError(f"{where}: {label} is infinite, wanted a number or nothing")
    return number


def _same(a: tuple, b: tuple) -> bool:
    return a[0] == b[0] and all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a[1:], b[1:], strict=True))
