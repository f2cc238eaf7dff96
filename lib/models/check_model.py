"""The conformance suite on one model, from the command line: `python -m lib.models.check_model MODEL`."""

from __future__ import annotations

import argparse
import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from lib.models import adapter as door
from lib.models import conformance, fasta, knowledge_check, sense
from lib.models.adapter import Adapter
from lib.models.cells import read_cells
from lib.models.mrna import MRNA

MOST = 6  # records taken from a file
BASES = 50_000  # read of each of them, from the first that is not N
TOKENS = 4096  # of each of them, where the context holds more
LENGTHS = (300, 500, 420)  # bases of the random sequences
TEXTS = (
    "A short line.",
    "Natalia sold 48/2 = 24 clips in May, so 48 + 24 = 72 in all;\nthe answer is 72.",
    "  Two spaces first, a caf\u00e9 at 21 \u20ac, \u65e5\u672c\u8a9e and \U0001f9ec: some letters are more than one byte.",
)


def records_for(adapter: Adapter, path: Path | None = None, seed: int = 0) -> list:
    """Records for the suite: of a file, and random ones for models of sequence. Raises ValueError or FileNotFoundError.

    path: FASTA (plain or gzip) for DNA and mRNA, lines for text, .h5ad of raw counts for cells, which need one.
    """
    kind = sense.kind_of(adapter)
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if kind == "cells":
        if path is None:
            raise ValueError("this model reads cells: give an .h5ad file of raw counts as RECORDS")
        return _enough(path, list(islice(read_cells(path), MOST)), "cells")
    if kind == "text":
        return list(TEXTS) if path is None else _enough(path, _lines(path), "lines of text")
    random = _random_mrnas(adapter, seed) if kind == "mRNA" else _random_sequences(adapter, seed)
    from_file = [] if path is None else [_readable(adapter, kind, path, *r) for r in _fasta(path)]
    return random + from_file


def _enough(path: Path, records: list, what: str) -> list:
    if len(records) < 3:
        raise ValueError(f"{path}: {len(records)} {what}, wanted at least 3")
    return records


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    return [line for line in lines if line.strip()][:MOST]


def _random_mrnas(adapter: Adapter, seed: int) -> list[MRNA]:
    """Uniform A C G U N, a third of it coding; the second without a coding region."""
    records = []
    for i, length in enumerate(LENGTHS):
        letters = "".join(np.random.default_rng(seed + i).choice(list("ACGUN"), length))
        record = None
        while record is None or not adapter.fits(record):
            part = len(letters) // 9 * 3
            record = MRNA(f"random-{i}", letters, None if i == 1 else (part, 2 * part))
            letters = letters[: len(letters) * 9 // 10]
        records.append(record)
    return records


def _random_sequences(adapter: Adapter, seed: int) -> list[str]:
    """Uniform letters with runs of N, at the ends too; without N for a model that cannot read it."""
    letters = sorted(set(adapter.tokenizer.letters) - {"N"})
    sequences = []
    for i, length in enumerate(LENGTHS):
        bases = np.random.default_rng(seed + i).choice(letters, length)
        known = "".join(bases)
        for start, stop in ((0, 0), (7, 10), (length - 3, length))[: i + 1]:
            bases[start:stop] = "N"
        sequences.append(_cut(adapter, _known(adapter, "".join(bases), known)))
    return sequences


def _known(adapter: Adapter, sequence: str, without_n: str) -> str:
    try:
        adapter.tokenizer.encode(sequence)
    except ValueError:
        return without_n
    return sequence


def _cut(adapter: Adapter, sequence: str) -> str:
    """As much of a sequence as the model's context holds, and at most TOKENS tokens; to a tenth."""
    most = min(adapter.max_tokens or TOKENS, TOKENS)
    while (n := len(adapter.tokenizer.encode(sequence).ids)) > most:
        sequence = sequence[: min(len(sequence) * 9 // 10, 8 * len(sequence) * most // n)]
    return sequence


def _fasta(path: Path) -> list[tuple[str, str]]:
    """Name and upper-case bases of the first records, as far as a model is asked about. Raises ValueError."""
    records = list(fasta.heads(path, MOST, BASES))
    if not records or not all(sequence for _, sequence in records):
        raise ValueError(f"{path}: not a FASTA file, or one with an empty record")
    return records


def _readable(adapter: Adapter, kind: str, path: Path, name: str, sequence: str) -> str | MRNA:
    try:
        if kind == "mRNA":
            record = MRNA(name, sequence[: adapter.max_tokens - 1])
            adapter.encode_one(record)
            return record
        return _cut(adapter, sequence)
    except ValueError as error:
        raise ValueError(f"{path}: record {name}: {error}") from error


def site_table(adapter: Adapter) -> pd.DataFrame:
    """Columns site, dim, module, hook, hidden_states: transformers' usual index, k + 1, for humans to compare with."""
    rows = []
    for site in adapter.sites():
        block = re.fullmatch(r"resid_post\.(\d+)", site.name)
        index = "0" if site.name == "embed" else str(int(block[1]) + 1) if block else ""
        rows.append((site.name, site.dim, site.module, site.when, index))
    return pd.DataFrame(rows, columns=["site", "dim", "module", "hook", "hidden_states"])


def report(adapter: Adapter, records: list) -> bool:
    """Print identity, sites and checks; whether no check failed."""
    for name, value in adapter.identity.items():
        print(f"{name:16}{value}")
    print(f"{'records':16}{len(records)} of {sense.kind_of(adapter)}, {[len(adapter.encode_one(r).ids) for r in records]} tokens\n")
    print(site_table(adapter).to_string(index=False), "\n")
    table = conformance.check(adapter, records)
    shown = table.assign(
        value=table.value.map("{:.3g}".format),
        passed=table.passed.map({True: "yes", False: "NO"}).astype(object).fillna("not run"),
    )
    print(shown.to_string(index=False), "\n")
    passed, failed, missing = table.passed.sum(), (~table.passed).sum(), table.passed.isna().sum()
    print(f"{passed} passed, {failed} failed, {missing} not run")
    return (failed == 0) & _makes_sense(adapter, records)


def _makes_sense(adapter: Adapter, records: list) -> bool:
    """Print what the tokenizer makes of DNA or text; whether that is sense. Other records are not judged."""
    if (kind := sense.kind_of(adapter)) not in ("DNA", "text"):
        return True
    table = sense.token_sense(adapter, records, dna=kind == "DNA")
    print("\n" + table.assign(passed=table.passed.map({True: "yes", False: "NO"})).to_string(index=False))
    return bool(table.passed.all())


def main(arguments: list[str] | None = None) -> None:
    """Exits with 0 when no check failed and the records raised no alarm, 1 when one did, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m lib.models.check_model", description=__doc__)
    parser.add_argument("model", help="a folder, or a hub id org/name with --revision")
    parser.add_argument("--revision", help="the 40 hex digits of the hub's commit")
    parser.add_argument(
        "--records", type=Path, help=f"FASTA for DNA and mRNA (of {MOST} records, up to {BASES:,} bases), lines for text, .h5ad for cells"
    )
    given = parser.parse_args(arguments)
    try:
        adapter = door.load(given.model, given.revision)
        records = records_for(adapter, given.records)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sound = report(adapter, records)
    if given.records and sense.kind_of(adapter) == "DNA":
        print()
        sound &= knowledge_check.report(adapter, given.records)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
