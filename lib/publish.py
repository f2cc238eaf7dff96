"""The publishing gate: what of a study may be shown to anyone. It fails closed.

A file leaves only if `publish_schemas.yaml` lists it, with these columns and no others, and nothing in it names or
singles out a person: no sample id anywhere, no participant count from 1 to the threshold, none that follows from sums,
no sequence but the reference's. Small counts in columns listed as counts are suppressed; anything else is refused.

    python -m lib.publish --study demo --out public      0 published, 3 published with cells suppressed, 4 refused

Source of the rules: All of Us Research Program, data and statistics dissemination policy (counts 1 to 20, and what they
can be derived from, percentages included); complementary suppression as in Willenborg and de Waal 2001.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from PIL import Image
from scipy.linalg import null_space

from lib import inputs, io

THRESHOLD = 20  # the largest participant count that is suppressed
MARGINS = ("all", "total")  # what a `by` column says in a row that sums over it
ROC_POINTS = 101
PERSONAL = {"sample", "samples", "person", "persons", "haplotype", "haplotypes", "carrier", "carriers", "donor", "individual",
            "dosage", "genotype", "genotypes", "phenotype"}  # fmt: skip
PEOPLE = "people|persons?|participants?|individuals|patients?|cases?|controls|carriers?"
SAID_COUNT = re.compile(rf"(?<![\d.])(\d+) (?:{PEOPLE})\b", re.IGNORECASE)
COUNT_NAME = re.compile(rf"(?:.*[\W_])?(?:{PEOPLE})(?:[\W_].*)?", re.IGNORECASE)
CARRIER_COUNT = re.compile(
    r"n_?(carriers?|hets?|homs?|alleles?)|carrier_?count|allele_?count|ac", re.IGNORECASE
)
QUANTILE = re.compile(r"(.*_)?([pq]\d+|quantile.*|percentile.*|median|min(imum)?|max(imum)?)", re.IGNORECASE)
RSID = re.compile(r"\brs\d{3,}\b", re.IGNORECASE)
BASES = re.compile(r"[ACGTN]{20,}", re.IGNORECASE)  # long enough to tell one haplotype from another
TABLES = {".csv", ".parquet"}
TEXTS = {".csv", ".txt", ".md", ".tex", ".bed", ".bedGraph", ".xml", ".meme"}


class Refused(ValueError):
    """Something may not be published; `refusals` says what, one line each."""

    def __init__(self, refusals: list[str]):
        super().__init__("refused, nothing was published:\n" + "\n".join(refusals))
        self.refusals = refusals


# The gate ------------------------------------------------------------------------------------------------


def check(
    study_folder: Path, samples: list[str], threshold: int = THRESHOLD, schemas: dict | None = None
) -> list[str]:
    """Why a study may not be published: one line per reason, with the file; empty when it may.

    study_folder: `outputs/<study>`; `figures/<study>` beside it is checked too. `private/` is not read. samples: every
    id that must not appear. threshold: the largest participant count that is suppressed. schemas: what may leave, as in
    publish_schemas.yaml, which is the default. Small counts that `publish` can suppress are no refusal.
    """
    schemas = read_schemas() if schemas is None else schemas
    ids, refusals = _Ids(samples), []
    if not samples:
        refusals.append("no sample ids were given: nothing can be scanned for them")
    refusals += [f"sample id {i + 1} of {len(samples)} cannot be told from a number or a word: rename the samples"
                 for i in ids.unfit[:1]]  # fmt: skip
    if 0 < len(samples) <= threshold:
        refusals.append(f"a cohort of {len(samples)} people, wanted more than {threshold}")
    reference = _reference(Path(study_folder))
    if not reference and (Path(study_folder) / "01_extraction" / "sequences.txt").exists():
        refusals.append(
            "01_extraction/sequences.txt: does not fit the reference units of 01_extraction/units.csv"
        )
    for name, path in _public_files(Path(study_folder)):
        found = _check_file(name, path, ids, threshold, schemas, reference)
        refusals += [f"{_without(ids, name)}: {reason}" for reason in found]
    return refusals


def publish(study_folder: Path, out_folder: Path, samples: list[str], threshold: int = THRESHOLD,
            schemas: dict | None = None) -> dict[str, int]:  # fmt: skip
    """Copy what may leave into a new folder: tables with small counts blank, notebooks without their outputs.

    Returns the number of blanked cells of each file that has any; `published.json` in the folder holds it too.
    Raises Refused with everything `check` says, or ValueError when out_folder exists; then nothing is written.
    """
    out_folder = Path(out_folder)
    if out_folder.exists():
        raise ValueError(f"{out_folder} exists, wanted a new folder")
    schemas = read_schemas() if schemas is None else schemas
    before = _state(Path(study_folder))
    if refusals := check(study_folder, samples, threshold, schemas):
        raise Refused(refusals)
    partial = out_folder.with_name(f".{out_folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    blanked = {}
    for name, path, *_ in before:
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv" and len(table := _read_table(path)):
            table, n_blank = _suppress_text(table, _schema(name, schemas), threshold)
            blanked |= {name: n_blank} if n_blank else {}
            table.to_csv(target, index=False, lineterminator="\n")
        elif path.suffix == ".ipynb":
            target.write_text(_stripped(path), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    if _state(Path(study_folder)) != before:
        shutil.rmtree(partial)
        raise Refused(["the study changed while it was published: wait for its stages to end"])
    (partial / "published.json").write_text(
        json.dumps({"threshold": threshold, "blanked": blanked}, indent=2) + "\n"
    )
    os.replace(partial, out_folder)
    return blanked


def cohort_samples(study_folder: Path) -> list[str]:
    """The sample ids of a study, from its private cohort files. Raises Refused when there is none."""
    folder = Path(study_folder) / "private" / "01_extraction"
    if not (folder / "cohort.h5").is_file():
        raise Refused([f"{folder / 'cohort.h5'} does not exist: the sample ids to look for are unknown"])
    return [sample for path in sorted(folder.glob("*cohort.h5")) for sample in inputs.read_cohort(path)[0]]


def read_schemas() -> dict[str, dict[str, Any]]:
    """What may leave: pattern of a path below the study -> its schema. See the head of publish_schemas.yaml."""
    return yaml.safe_load((Path(__file__).parent / "publish_schemas.yaml").read_text(encoding="utf-8"))


# Suppression ---------------------------------------------------------------------------------------------


def suppress(table: pd.DataFrame, count_columns: list[str], by: list[str], threshold: int = THRESHOLD,
             sums: dict[str, list[str]] | None = None) -> pd.DataFrame:  # fmt: skip
    """The table with participant counts from 1 to threshold blank, and as many more as keep them from being derived.

    count_columns: whole numbers, NaN where already blank. by: columns that split the same people into the rows; "all" or
    "total" there is a margin, and the sum of all cells counts as public even without one. Empty: rows are separate
    statements. sums: count column -> the count columns that add up to it. The smallest counts go first, totals after
    their parts, zeros last. Also blanked: cells whose sum, derived as one, is 1 to threshold.
    Raises ValueError for a negative or broken count, or when `by` does not tell the rows apart.
    """
    counts = table[count_columns].astype(float).to_numpy()
    if (wrong := (counts < 0) | (counts % 1 > 0)).any():
        raise ValueError(f"{count_columns} hold {counts[wrong][0]:g}, wanted whole numbers of people")
    values = counts.ravel()
    blank = np.isnan(values) | ((values >= 1) & (values <= threshold))
    relations = _relations(table, count_columns, by, sums or {})
    total = (relations < 0).any(0)
    while (near := _exposed(relations, blank, values, threshold) & ~blank).any():
        next_cell = min(np.flatnonzero(near), key=lambda cell: (values[cell] == 0, total[cell], values[cell]))
        blank[next_cell] = True
    return table.assign(**dict(zip(count_columns, np.where(blank, np.nan, values).reshape(counts.shape).T)))


def derivable(table: pd.DataFrame, count_columns: list[str], by: list[str],
              sums: dict[str, list[str]] | None = None) -> pd.DataFrame:  # fmt: skip
    """Which blank counts the published sums determine: bool [row, count column].

    Arguments as in `suppress`. A blank cell is determined when its coordinate is zero in the whole null space of the
    sums that hold blank cells, whatever the numbers are.
    """
    blank = table[count_columns].isna().to_numpy(dtype=bool).ravel()
    found = _determined(_relations(table, count_columns, by, sums or {}), blank)
    return pd.DataFrame(found.reshape(len(table), -1), index=table.index, columns=count_columns)


def _relations(
    table: pd.DataFrame, counts: list[str], by: list[str], sums: dict[str, list[str]]
) -> np.ndarray:
    """Sums among cells, [relation, cell]: 1 at the parts, −1 at their total, which is public where no cell holds it."""
    if by and table.duplicated(by).any():
        raise ValueError(
            f"rows repeat {by}: {table.loc[table.duplicated(by), by].iloc[0].to_dict()}, wanted one row each"
        )
    cell = np.arange(len(table) * len(counts)).reshape(len(table), len(counts))
    related: list[tuple[np.ndarray, np.ndarray]] = []
    margin = table[by].isin(MARGINS).to_numpy()
    for i, name in enumerate(by):
        rest = [b for b in by if b != name]
        groups = (
            table.reset_index().groupby(rest, dropna=False).indices.values()
            if rest
            else [np.arange(len(table))]
        )
        for rows in groups:
            if margin[rows, i].any():
                related += zip(cell[rows[~margin[rows, i]]].T, cell[rows[margin[rows, i]]].T)
    inner = cell[~margin.any(1)]
    if by and len(inner) > 1:
        related += [(column, column[:0]) for column in inner.T]
    for total, parts in sums.items():
        related += zip(cell[:, [counts.index(p) for p in parts]], cell[:, [counts.index(total)]])
    relations = np.zeros((len(related), cell.size))
    for row, (parts, total) in zip(relations, related):
        row[parts], row[total] = 1, -1
    return relations


def _determined(relations: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Blank cells with one possible value, bool [cell]."""
    determined = np.zeros(len(blank), dtype=bool)
    system = relations[:, blank]
    system = system[system.any(1)]
    if len(system):
        determined[blank] = (np.abs(null_space(system)) < 1e-9).all(1)
    return determined


def _exposed(relations: np.ndarray, blank: np.ndarray, values: np.ndarray, threshold: int) -> np.ndarray:
    """Cells in a sum that gives a blank cell away, or a sum of blank cells which is itself too small: bool [cell]."""
    determined = (relations[:, _determined(relations, blank)] != 0).any(1)
    hidden = np.where(blank, np.nan_to_num(values), 0)
    together = (relations > 0) @ hidden
    total_shown = ~((relations < 0) & blank).any(1)
    small = total_shown & (together >= 1) & (together <= threshold)
    return (relations[determined | small] != 0).any(0)


def thin_roc(y: np.ndarray, score: np.ndarray, threshold: int = THRESHOLD) -> pd.DataFrame:
    """A ROC curve that shows no single person: fpr 0, 0.01, …, 1, and tpr, the most reached at no more than that fpr.

    y: [n] 0 or 1; score: [n]. tpr is rounded to 0.01 below 100 cases. Returns [101] rows of fpr, tpr.
    Raises ValueError when y holds anything else or a class has no more than threshold people.
    """
    from sklearn.metrics import roc_curve

    y = np.asarray(y)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y holds {sorted(set(y.tolist()))[:5]}, wanted 0 and 1")
    n_cases, n_controls = int((y == 1).sum()), int((y == 0).sum())
    if min(n_cases, n_controls) <= threshold:
        raise ValueError(f"{n_cases} cases and {n_controls} controls, wanted more than {threshold} of each")
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    grid = np.linspace(0, 1, ROC_POINTS)
    reached = tpr[np.searchsorted(fpr, grid + 1e-9, side="right") - 1]
    return pd.DataFrame({"fpr": grid, "tpr": np.round(reached, 2) if n_cases < 100 else reached})


# One file ------------------------------------------------------------------------------------------------


def _public_files(study_folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of all that a study shows: its outputs without `private` and hidden folders, and its figures."""
    figures = study_folder.parent.parent / "figures" / study_folder.name
    for folder, prefix in ((study_folder, Path()), (figures, Path("figures"))):
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if "private" in parts or parts[0].startswith(".") or (path.is_dir() and not path.is_symlink()):
                continue
            yield prefix.joinpath(*parts).as_posix(), path


def _state(study_folder: Path) -> list[tuple[str, Path, int, int, int]]:
    """Name and path of each public file, and what changes when it is written again."""
    files = [(name, path, path.lstat()) for name, path in _public_files(study_folder)]
    return [(name, path, s.st_ino, s.st_size, s.st_mtime_ns) for name, path, s in files]


def _check_file(
    name: str, path: Path, ids: _Ids, threshold: int, schemas: dict, reference: dict
) -> list[str]:
    refusals = ["its name holds a sample id"] if ids.found([name]) else []
    if path.is_symlink():
        return [*refusals, "is a link, wanted a file"]
    schema = _schema(name, schemas)
    if schema is None:
        return [*refusals, "is not listed in publish_schemas.yaml"]
    try:
        texts = list(_texts(path))
        if n := ids.found(texts):
            refusals.append(f"holds {n} sample id{'s' if n > 1 else ''}")
        if path.suffix == ".ipynb":  # published without its outputs
            texts = [cell["source"] for cell in nbformat.read(path, as_version=4).cells]
        refusals += _small_counts_said(path, texts, threshold)
        if path.suffix not in TABLES and not schema.get("public_sequence") and any(map(BASES.search, texts)):
            refusals.append("holds sequence, and nothing says that it is the reference's")
        if path.suffix == ".parquet" and "counts" in schema:
            refusals.append("counts people, which only a CSV may: there small counts are suppressed")
        if path.suffix in TABLES:
            refusals += _check_table(_read_table(path), schema, threshold, reference)
        if path.suffix == ".h5":
            refusals += _check_arrays(path, schema)
    except (ValueError, OSError, KeyError, yaml.YAMLError) as error:
        refusals.append(f"cannot be read: {type(error).__name__}")
    return refusals


def _schema(name: str, schemas: dict) -> dict | None:
    """The schema of the first pattern that fits, part by part, so that `*` stays inside one folder."""
    parts = name.split("/")
    for pattern, schema in schemas.items():
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(map(fnmatch, parts, wanted)):
            return schema or {}
    return None


def _check_table(table: pd.DataFrame, schema: dict, threshold: int, reference: dict) -> list[str]:
    allowed = [re.compile(c) for c in [*schema.get("columns", []), *schema.get("optional", [])]]
    refusals = [f"column {c!r} is not listed" for c in table if not any(a.fullmatch(c) for a in allowed)]
    refusals += [f"column {c!r} is per person" for c in table if _is_personal(c)]
    if table.empty or refusals:
        return refusals
    refusals += [
        f"column {c!r} is lacking"
        for c in schema.get("columns", [])
        if not any(re.fullmatch(c, t) for t in table)
    ]
    if refusals:  # the rules below read these columns
        return refusals
    refusals += _windows(table, schema, reference)
    for rule in (_counts, _variants, _roc, _quantiles):
        refusals += rule(table, schema, threshold)
    return refusals


def _windows(table: pd.DataFrame, schema: dict, reference: dict[tuple[str, int], str]) -> list[str]:
    """Windows and sequence of the reference only: flagged, or found among the published reference units."""
    if "is_reference" in table:
        n = int((table["is_reference"] != "True").sum())
        return [f"{n} rows are not the reference's"] if n else []
    if "windows" in schema:
        groups = table.groupby(schema["windows"] or table.index)
        n = sum(not _is_reference(window, reference) for _, window in groups)
        return [f"{n} windows are not the reference's in 01_extraction"] if n else []
    shown = [c for c in table if c in ("sequence", "base") or table[c].str.contains(BASES).any()]
    if shown and not schema.get("public_sequence"):
        return [f"column {shown[0]!r} holds sequence, and nothing says that it is the reference's"]
    return []


def _is_reference(window: pd.DataFrame, reference: dict[tuple[str, int], str]) -> bool:
    """Whether a window, one row with start and end or one row a base, is a reference unit with these very bases."""
    contig = window["contig"].iloc[0]
    if "base" not in window:
        start, end = int(window["start"].iloc[0]), int(window["end"].iloc[0])
        return len(reference.get((contig, start), "")) == end - start
    return reference.get((contig, int(window["position"].iloc[0]))) == "".join(window["base"])


def _reference(study_folder: Path) -> dict[tuple[str, int], str]:
    """Sequence of each published unit, by contig and start; nothing unless all are the reference's and the files agree."""
    folder = study_folder / "01_extraction"
    if not (folder / "units.csv").is_file() or not (folder / "sequences.txt").is_file():
        return {}
    units, texts = (
        _read_table(folder / "units.csv"),
        (folder / "sequences.txt").read_text(encoding="utf-8").split(),
    )
    if not {"contig", "start", "length", "is_reference"} <= set(units) or set(units["is_reference"]) != {
        "True"
    }:
        return {}
    if units["length"].tolist() != [str(len(t)) for t in texts]:
        return {}
    return {(c, int(s)): text for c, s, text in zip(units["contig"], units["start"], texts)}


def _counts(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """No blank count may follow from the rest: neither one left blank by the stage, nor one blanked here."""
    given, counts = _of_people(table, schema)
    if given.empty:  # nothing here counts people
        return []
    by, sums = schema.get("by", []), schema.get("sums", {})
    for state, shown in (("is", given), ("would be", suppress(given, counts, by, threshold, sums))):
        if n := int(derivable(shown, counts, by, sums).to_numpy().sum()):
            return [f"{n} blank participant count{'s' * (n > 1)} {state} derivable from the sums shown"]
    return []


def _of_people(table: pd.DataFrame, schema: dict) -> tuple[pd.DataFrame, list[str]]:
    """The rows that count people, counts as numbers, and the columns that do; `unless` says which rows count something else."""
    counts = [c for c in schema.get("counts", []) if c in table]
    counted = np.ones(len(table), dtype=bool)
    for column, values in schema.get("unless", {}).items():
        counted &= ~table[column].isin(values).to_numpy()
    return _numbers(table[counted], counts), counts


def _variants(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """No variant that few people carry."""
    counted = [c for c in table if CARRIER_COUNT.fullmatch(c)]
    if any(table[c].str.contains(RSID).any() for c in table):
        counted += [c for c in schema.get("counts", []) if c in table and c not in counted]
    numbers = _numbers(table, counted)[counted]
    n = int(((numbers >= 1) & (numbers <= threshold)).any(axis=1).sum())
    return [f"{n} variant rows with a count of 1 to {threshold} in {counted}"] if n else []


def _roc(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """Thinned, and of enough people a class."""
    if not {"fpr", "tpr"} <= set(table):
        return []
    if not {"n_cases", "n_controls"} <= set(table):
        return ["a ROC curve without columns n_cases and n_controls"]
    people = _numbers(table, ["n_cases", "n_controls"])[["n_cases", "n_controls"]].fillna(0)
    refusals = (
        [f"a ROC curve of {threshold} people a class or fewer"]
        if (people <= threshold).any(axis=None)
        else []
    )
    curve = [c for c in table if c not in ("fpr", "tpr")]
    longest = table.groupby(curve, dropna=False).size().max()
    return refusals + (
        [f"a ROC curve of {longest} points, wanted at most {ROC_POINTS}"] if longest > ROC_POINTS else []
    )


def _quantiles(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """No quantile of an arm of few people, where it may be one person's value."""
    shown = [c for c in table if QUANTILE.fullmatch(c)]
    if "arm" not in table or not shown:
        return []
    counts = [c for c in schema.get("counts", []) if c in table]
    few = _numbers(table, counts)[counts].fillna(0) <= threshold
    return (
        [f"quantiles {shown} of arms of {threshold} people or fewer"]
        if not counts or few.any(axis=None)
        else []
    )


def _check_arrays(path: Path, schema: dict) -> list[str]:
    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    allowed = schema.get("datasets", [])
    refusals = [f"dataset {n!r} is not listed" for n in names if not any(fnmatch(n, a) for a in allowed)]
    return refusals + [f"dataset {n!r} is per person" for n in names if _is_personal(n)]


def _is_personal(column: str) -> bool:
    words = re.split(r"[^a-z]+", column.lower())
    return bool(PERSONAL & set(words)) and words[0] != "n"


def _small_counts_said(path: Path, texts: list[str], threshold: int) -> list[str]:
    """Participant counts in words ("7 cases"), or under a name ("n_cases: 7"), where nothing can be blanked."""
    said = [m[0] for text in texts for m in SAID_COUNT.finditer(text) if 1 <= int(m[1]) <= threshold]
    if path.suffix in (".json", ".yaml"):
        said += [f"{key}: {value}" for key, value in _leaves(yaml.safe_load(path.read_text(encoding="utf-8")))
                 if COUNT_NAME.fullmatch(key) and type(value) is int and 1 <= value <= threshold]  # fmt: skip
    return [f"says {said[0]!r}"] if said else []


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value of a JSON or YAML document, with the last name above it."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _leaves(child, str(name))
    elif isinstance(value, list):
        for child in value:
            yield from _leaves(child, key)
    else:
        yield key, value


# Text of a file, and sample ids in it --------------------------------------------------------------------


class _Ids:
    """Sample ids, found in text where no letter or digit touches them, in either case."""

    def __init__(self, samples: list[str]):
        self.parts = {s: frozenset(re.findall(r"[^\W_]+", s.lower())) for s in samples}
        self.unfit = [i for i, s in enumerate(samples) if len(s) < 3 or not re.search(r"[^\W\d_]", s)]

    def found(self, texts: list[str]) -> int:
        """How many of the ids the texts hold."""
        return len(self.which(texts))

    def which(self, texts: list[str]) -> list[str]:
        words = set().union(*(re.findall(r"[^\W_]+", t.lower()) for t in texts)) if texts else set()
        near = [s for s, parts in self.parts.items() if parts and parts <= words]
        return [
            s
            for s in near
            if any(re.search(rf"(?<![^\W_]){re.escape(s)}(?![^\W_])", t, re.IGNORECASE) for t in texts)
        ]


def _without(ids: _Ids, name: str) -> str:
    """A file's name, fit for a message that others may read."""
    for sample in ids.which([name]):
        name = re.sub(re.escape(sample), "…", name, flags=re.IGNORECASE)
    return name


def _texts(path: Path) -> Iterator[str]:
    """Everything in a file that could spell a name. Raises ValueError for a kind of file that is not known."""
    suffix = path.suffix
    if suffix in TEXTS:
        yield path.read_text(encoding="utf-8")
    elif suffix in (".json", ".yaml", ".ipynb"):  # as written, and with escapes read
        text = path.read_text(encoding="utf-8")
        yield text
        yield json.dumps(
            yaml.safe_load(text) if suffix == ".yaml" else json.loads(text), ensure_ascii=False, default=str
        )
    elif suffix == ".h5":
        yield from _h5_texts(path)
    elif suffix == ".parquet":
        yield from _parquet_texts(path)
    elif suffix == ".png":
        with Image.open(path) as image:
            image.load()
            yield from (f"{k} {v}" for k, v in [*image.info.items(), *image.getexif().items()])
    elif suffix == ".pdf":
        yield from _pdf_texts(path.read_bytes())
    elif suffix == ".safetensors":  # eight bytes say how long the header with names and metadata is
        with path.open("rb") as file:
            yield file.read(int.from_bytes(file.read(8), "little")).decode("utf-8")
    elif suffix == ".bw":
        yield path.read_bytes().decode("latin-1")
    else:
        raise ValueError(f"{suffix} is no kind of file that can be scanned")


def _h5_texts(path: Path) -> Iterator[str]:
    with h5py.File(path) as file:
        items: list = [file]
        file.visititems(lambda name, item: items.append(item))
        for item in items:
            yield item.name
            for key, value in item.attrs.items():
                yield f"{key} {_plain_text(value)}"
            if isinstance(item, h5py.Dataset) and (item.dtype.kind in "SUO" or item.dtype.names):
                yield _plain_text(item[()])


def _parquet_texts(path: Path) -> Iterator[str]:
    """Cells, names, notes of the file and of its columns, and categories, used or not."""
    table = pq.ParquetFile(path).read()
    yield table.schema.to_string(truncate_metadata=False)
    frame = table.to_pandas(ignore_metadata=True)
    yield frame.to_csv(index=False)
    for column in frame.select_dtypes("category"):
        yield " ".join(map(str, frame[column].cat.categories))


def _plain_text(value: Any) -> str:
    """A string, bytes, or any nesting of them, as one text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
        return _plain_text(value)
    return " ".join(map(_plain_text, value)) if isinstance(value, list | tuple) else str(value)


def _pdf_texts(data: bytes) -> Iterator[str]:
    """A PDF's own strings (UTF-16 too), and the text that its compressed pages draw, kerning removed."""
    yield data.decode("latin-1")
    yield data.replace(b"\0", b"").decode("latin-1")
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            page = zlib.decompress(stream).replace(b"\0", b"").decode("latin-1")
        except zlib.error:  # an image or a font, stored otherwise
            continue
        yield page
        yield "\n".join(
            "".join(re.findall(r"\((.*?)\)", shown))
            for shown in re.findall(r"\[(.*?)\]\s*TJ", page, re.DOTALL)
        )


# Tables and notebooks as they leave ----------------------------------------------------------------------


def _read_table(path: Path) -> pd.DataFrame:
    """Every cell as it is written; an empty file is an empty table. An index in a Parquet file is a column."""
    source: Any = path
    if path.suffix == ".parquet":
        frame = pq.ParquetFile(path).read().to_pandas(ignore_metadata=True)
        source = StringIO(frame.to_csv(index=False))
    try:
        return pd.read_csv(source, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _numbers(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The table with these columns as numbers, NaN where blank. Raises ValueError for other text."""
    return table.assign(**{c: pd.to_numeric(table[c].replace("", np.nan)).astype(float) for c in columns})


def _suppress_text(table: pd.DataFrame, schema: dict, threshold: int) -> tuple[pd.DataFrame, int]:
    """The table with suppressed counts blank, the `of_people` of their rows too, and `shares` of few people rounded.

    Rows with one of the values of `unless` (column: values) count something else. Returns it with the number of blanked cells.
    """
    rows, counts = _of_people(table, schema)
    if rows.empty:
        return table, 0
    hidden = suppress(rows, counts, schema.get("by", []), threshold, schema.get("sums")).isna() & rows.notna()
    out, too_few = table.copy(), (hidden[counts] & (rows[counts] <= threshold)).any(axis=1)
    for column in counts:
        out.loc[hidden.index[hidden[column]], column] = ""
    for column in [c for c in (*schema.get("of_people", []), *schema.get("shares", {})) if c in table]:
        out.loc[too_few.index[too_few], column] = ""
    for column, count in schema.get("shares", {}).items():
        few = rows.index[(rows[count] < 100) & ~too_few]
        out.loc[few, column] = out.loc[few, column].map(lambda share: share and f"{float(share):.2f}")
    return out, int((out != table).to_numpy().sum())


def _stripped(path: Path) -> str:
    """A notebook's prose and code, without outputs and what the run noted."""
    notebook = nbformat.read(path, as_version=4)
    kept = {k: v for k, v in notebook.metadata.items() if k in ("kernelspec", "language_info")}
    notebook.metadata = nbformat.from_dict(kept)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.get("tags", [])})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(notebook)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 published, 3 published with cells suppressed, 4 refused and nothing written."""
    parser = argparse.ArgumentParser(prog="python -m lib.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--study", required=True, help="a folder of outputs/")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument(
        "--threshold", type=int, default=THRESHOLD, help="largest participant count that is suppressed"
    )
    chosen = parser.parse_args(arguments)
    try:
        folder = io.study_dir(chosen.study)
        if chosen.out.resolve().is_relative_to((io.ROOT / "outputs").resolve()):
            raise ValueError(f"{chosen.out} is inside outputs, which holds what must not leave: give a folder elsewhere")
        blanked = publish(folder, chosen.out, cohort_samples(folder), chosen.threshold)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 4
    for name, n in blanked.items():
        print(f"{name}: {n} cells suppressed or rounded")
    return 3 if blanked else 0


if __name__ == "__main__":
    sys.exit(main())
