"""What one table may show: its columns, counts, windows and quantiles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml

from lib.publish.scan import read_table
from lib.publish.suppress import numbers_of

PERSONAL = {"sample", "samples", "person", "persons", "haplotype", "haplotypes", "carrier", "carriers", "donor", "individual",
            "dosage", "genotype", "genotypes", "phenotype"}  # fmt: skip
PEOPLE = "people|persons?|participants?|individuals|patients?|cases?|controls|carriers?"
FEW = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
       "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]  # fmt: skip
NUMBER = rf"(?<![\d.])(\d+|{'|'.join(FEW)})(?:\.0+)?"
#: A number of people in words: "7 cases", "seven people", "2/60 people", "people: 7".
SAID_COUNT = [re.compile(pattern, re.IGNORECASE) for pattern in (
    rf"{NUMBER}(?:\s*(?:/|of|out of)\s*\d+)?\s+(?:{PEOPLE})\b", rf"\b(?:{PEOPLE})\s*[:=]\s*{NUMBER}(?![\d.]*\d)")]  # fmt: skip
#: A share of people in words, which with the cohort's size is a number of them.
SAID_SHARE = re.compile(rf"\d(?:\.\d+)?\s?(?:%|per ?cent)\s+(?:of\s+)?(?:the\s+|all\s+)?(?:{PEOPLE})\b", re.IGNORECASE)
COUNT_NAME = re.compile(rf"(?:.*[\W_])?(?:{PEOPLE})(?:[\W_].*)?", re.IGNORECASE)
CARRIER_COUNT = re.compile(
    r"n_?(carriers?|hets?|homs?|alleles?)|carrier_?count|allele_?count|ac", re.IGNORECASE
)
QUANTILE = re.compile(r"(.*_)?([pq]\d+|quantile.*|percentile.*|median|min(imum)?|max(imum)?)", re.IGNORECASE)
RSID = re.compile(r"\brs\d{3,}\b", re.IGNORECASE)
FRONT = "00_*"  # the stage that made the corpus, whatever its kind
BASES = re.compile(r"[ACGTN]{20,}", re.IGNORECASE)  # long enough to tell one haplotype from another


def windows(table: pd.DataFrame, schema: dict, reference: dict[tuple[str, int], str]) -> list[str]:
    """Windows and sequence of the reference only: flagged, or found among the published reference units."""
    if "is_reference" in table:
        n = int((table["is_reference"] != "True").sum())
        return [f"{n} rows are not the reference's"] if n else []
    if "windows" in schema:
        groups = table.groupby(schema["windows"] or table.index)
        n = sum(not _is_reference(window, reference) for _, window in groups)
        return [f"{n} windows are not the reference's in {FRONT}/records.parquet"] if n else []
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


def front_door(study_folder: Path) -> Path | None:
    """The folder of the stage that made the corpus; None where there is none, or more than one."""
    doors = [path for path in sorted(study_folder.glob(FRONT)) if path.is_dir()]
    return doors[0] if len(doors) == 1 else None


def reference_of(study_folder: Path) -> dict[tuple[str, int], str]:
    """Sequence of each published unit, by contig and start; nothing unless all are the reference's and the files agree."""
    folder = front_door(study_folder)
    if folder is None or not (folder / "units.csv").is_file() or not (folder / "records.parquet").is_file():
        return {}
    units = read_table(folder / "units.csv")
    try:
        texts = pd.read_parquet(folder / "records.parquet", columns=["record"])["record"].tolist()
    except (ValueError, OSError, KeyError):
        return {}
    if not {"contig", "start", "length", "is_reference"} <= set(units) or set(units["is_reference"]) != {
        "True"
    }:
        return {}
    if units["length"].tolist() != [str(len(t)) for t in texts]:
        return {}
    return {(c, int(s)): text for c, s, text in zip(units["contig"], units["start"], texts)}


def variants(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """No variant that few people carry."""
    counted = [c for c in table if CARRIER_COUNT.fullmatch(c)]
    if any(table[c].str.contains(RSID).any() for c in table):
        counted += [c for c in schema.get("counts", []) if c in table and c not in counted]
    numbers = numbers_of(table, counted)[counted]
    n = int(((numbers >= 1) & (numbers <= threshold)).any(axis=1).sum())
    return [f"{n} variant rows with a count of 1 to {threshold} in {counted}"] if n else []


def roc(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """Of enough people a class, and no step of few."""
    if not {"fpr", "tpr"} <= set(table):
        return []
    if not {"n_cases", "n_controls"} <= set(table):
        return ["a ROC curve without columns n_cases and n_controls"]
    people = ["n_cases", "n_controls"]
    numbers = numbers_of(table, [*people, "fpr", "tpr"]).fillna({c: 0 for c in people})
    if (numbers[people] <= threshold).any(axis=None):
        return [f"a ROC curve of {threshold} people a class or fewer"]
    for _, curve in numbers.groupby([c for c in table if c not in ("fpr", "tpr")], dropna=False):
        points = np.vstack([[0, 0], curve[["fpr", "tpr"]].to_numpy(), [1, 1]])
        steps = np.diff(points, axis=0) * curve[["n_controls", "n_cases"]].to_numpy()[0]
        steps = steps[~(np.abs(steps) <= 1e-6).all(axis=1)]
        if not (steps > threshold + 0.5).all():  # a point that is no number is none either
            return [f"a ROC curve with a step of {threshold} people or fewer of a class"]
    return []


def quantiles(table: pd.DataFrame, schema: dict, threshold: int) -> list[str]:
    """No quantile of an arm of few people, where it may be one person's value."""
    shown = [c for c in table if QUANTILE.fullmatch(c)]
    if "arm" not in table or not shown:
        return []
    counts = [c for c in schema.get("counts", []) if c in table]
    few = numbers_of(table, counts)[counts].fillna(0) <= threshold
    return (
        [f"quantiles {shown} of arms of {threshold} people or fewer"]
        if not counts or few.any(axis=None)
        else []
    )


def check_arrays(path: Path, schema: dict) -> list[str]:
    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    allowed = schema.get("datasets", [])
    refusals = [f"dataset {n!r} is not listed" for n in names if not any(fnmatch(n, a) for a in allowed)]
    return refusals + [f"dataset {n!r} is per person" for n in names if is_personal(n)]


def is_personal(column: str) -> bool:
    words = re.split(r"[^a-z]+", column.lower())
    return bool(PERSONAL & set(words)) and words[0] != "n"


def small_counts_said(path: Path, texts: list[str], threshold: int) -> list[str]:
    """Participant counts and shares in words ("7 cases"), or counts under a name ("n_cases: 7"), where nothing can be blanked."""
    said = [m[0] for text in texts for pattern in SAID_COUNT for m in pattern.finditer(text) if 1 <= _number(m[1]) <= threshold]
    said += [m[0] for text in texts for m in SAID_SHARE.finditer(text)]
    if path.suffix in (".json", ".yaml"):
        said += [f"{key}: {value}" for key, value in _leaves(yaml.safe_load(path.read_text(encoding="utf-8")))
                 if COUNT_NAME.fullmatch(key) and not isinstance(value, bool) and 1 <= _number(value) <= threshold]  # fmt: skip
    return [f"says {said[0]!r}"] if said else []


def _number(value: Any) -> float:
    """The number that a text begins with, or spells; 0 for none."""
    if str(value).lower() in FEW:
        return FEW.index(str(value).lower()) + 1
    begins = re.match(r"\s*(\d+(?:\.\d+)?)(?![\w.])", str(value))
    return float(begins[1]) if begins else 0.0


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
