"""The publishing gate: what of a study may be shown to anyone. It fails closed.

A file leaves only if `schemas.yaml` lists it (and not as one that stays), with these columns and no others, and nothing in it names or
singles out a person: no sample id anywhere, no participant count from 1 to the threshold, none that follows from sums,
no sequence but the reference's. Small counts in columns listed as counts are suppressed; anything else is refused, and so is every
file that differs from what its stage's manifest says.

    python -m lib.publish --study demo --out public      exit status: 0 published, 4 refused

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
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import yaml

from lib.corpus.corpus import read_readout
from lib.publish import counts, sealed
from lib.publish.rules import (
    BASES,
    FRONT,
    check_arrays,
    is_personal,
    quantiles,
    reference_of,
    roc,
    small_counts_said,
    variants,
    windows,
)
from lib.publish.scan import TABLES, Ids, read_table, stripped, texts_of, without
from lib.publish.suppress import THRESHOLD, suppress_text
from lib.stage import io
from lib.stage.hashes import sha256


class Refused(ValueError):
    """Something may not be published; `refusals` says what, one line each."""

    def __init__(self, refusals: list[str]):
        super().__init__("refused, nothing was published:\n" + "\n".join(refusals))
        self.refusals = refusals


def check(
    study_folder: Path, samples: list[str], threshold: int = THRESHOLD, schemas: dict | None = None
) -> list[str]:
    """Why a study may not be published: one line per reason, with the file; empty when it may.

    study_folder: `outputs/<study>`; `figures/<study>` beside it is checked too. `private/` is not read. samples: every
    id that must not appear. threshold: the largest participant count that is suppressed. schemas: what may leave, as in
    schemas.yaml, which is the default. Small counts that `publish` can suppress are no refusal.
    """
    schemas = read_schemas() if schemas is None else schemas
    ids, refusals = Ids(samples), []
    if threshold < THRESHOLD:
        refusals.append(f"a threshold of {threshold}, wanted {THRESHOLD} or more")
    if not samples:
        refusals.append("no sample ids were given: nothing can be scanned for them")
    refusals += [f"sample id {i + 1} of {len(samples)} cannot be told from a number or a word: rename the samples"
                 for i in ids.unfit[:1]]  # fmt: skip
    if 0 < len(samples) <= threshold:
        refusals.append(f"a cohort of {len(samples)} people, wanted more than {threshold}")
    reference = reference_of(Path(study_folder))
    if not reference and list(Path(study_folder).glob(f"{FRONT}/records.parquet")):
        refusals.append(f"{FRONT}/records.parquet: does not fit the reference units of {FRONT}/units.csv")
    public = [(name, path) for name, path in _public_files(Path(study_folder)) if not _stays(name, schemas)]
    listed, damaged = sealed.listed(Path(study_folder))
    for name, reason in sealed.differing(listed, public).items():
        damaged.append(f"{without(ids, name)}: {reason}")
    for name, path in public:
        reasons = _check_file(name, path, ids, threshold, schemas, reference)
        if path.suffix == ".ipynb" and _schema(name, schemas) is not None:
            source = _source_of(Path(study_folder), name)
            own = source.is_file()
            reasons += _check_file(name, source, ids, threshold, schemas, reference) if own else ["is no notebook of the project"]
        refusals += [f"{without(ids, name)}: {reason}" for reason in dict.fromkeys(reasons)]
    return refusals + damaged + ([] if refusals or damaged else _check_counts(public, threshold, schemas))


def publish(study_folder: Path, out_folder: Path, samples: list[str], threshold: int = THRESHOLD,
            schemas: dict | None = None) -> dict[str, int]:  # fmt: skip
    """Copy what may leave into a new folder: tables with small counts blank; for executed notebooks the project's own, without outputs.

    Returns the number of blanked cells of each file that has any; `published.json` in the folder holds it too.
    Raises Refused with everything `check` says, or ValueError when out_folder exists or lies inside the study; then nothing is written.
    """
    out_folder = Path(out_folder)
    if out_folder.exists():
        raise ValueError(f"{out_folder} exists, wanted a new folder")
    if out_folder.resolve().is_relative_to(Path(study_folder).resolve()):
        raise ValueError(f"{out_folder} is inside the study, wanted a folder elsewhere")
    schemas = read_schemas() if schemas is None else schemas
    before = _state(Path(study_folder))
    if refusals := check(study_folder, samples, threshold, schemas):
        raise Refused(refusals)
    partial = out_folder.with_name(f".{out_folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    blanked = {}
    tables, system = _counted([(name, path) for name, path, *_ in before if not _stays(name, schemas)], threshold, schemas)
    hidden = counts.hidden_cells(system, counts.blank(system, threshold))
    for name, path, *_ in before:
        if _stays(name, schemas):
            continue
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in tables:
            table, n_blank = suppress_text(tables[name], _schema(name, schemas), hidden.get(name), threshold)
            blanked |= {name: n_blank} if n_blank else {}
            table.to_csv(target, index=False, lineterminator="\n")
        elif path.suffix == ".ipynb":
            target.write_text(stripped(_source_of(Path(study_folder), name)), encoding="utf-8")
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
    """The sample ids of a study: its subjects' names, from the private maps of its front door.

    Raises Refused without any, and when a map that the front door's manifest lists is gone or another.
    """
    folder = Path(study_folder)
    listed = {name: digest for name, digest in sealed.listed(folder)[0].items() if fnmatch(name, f"private/{FRONT}/*readout.h5")}
    lost = [name for name, digest in listed.items() if not (folder / name).is_file() or sha256(folder / name) != digest]
    maps = sorted(folder.glob(f"private/{FRONT}/*readout.h5"))
    if not any(Path(name).name == "readout.h5" for name in listed):
        lost = [f"private/{FRONT}/readout.h5"]
    lost += [path.relative_to(folder).as_posix() for path in maps if path.relative_to(folder).as_posix() not in listed]
    if lost:
        raise Refused([f"{name} is not there as its stage wrote it: the sample ids to look for are unknown" for name in lost])
    return [sample for path in maps for sample in read_readout(path).subjects]


def _counted(public: list[tuple[str, Path]], threshold: int, schemas: dict) -> tuple[dict[str, pd.DataFrame], counts.System]:
    """The tables of a study that count people, and the system of their counts."""
    named = {name: _schema(name, schemas) or {} for name, path in public if path.suffix == ".csv"}
    tables = {name: read_table(path) for name, path in public if "counts" in named.get(name, {})}
    tables = {name: table for name, table in tables.items() if len(table)}
    return tables, counts.system_of(tables, named.get, threshold)


def _check_counts(public: list[tuple[str, Path]], threshold: int, schemas: dict) -> list[str]:
    """No blank count may follow from the rest of the study: neither one left blank by a stage, nor one blanked here."""
    system = _counted(public, threshold, schemas)[1]
    for state, hidden in (("is", np.isnan(system.values)), ("would be", counts.blank(system, threshold))):
        if n := counts.n_derivable(system, hidden):
            return [f"{n} blank participant count{'s' * (n > 1)} {state} derivable from the sums shown in all tables"]
    return []


def read_schemas() -> dict[str, dict[str, Any]]:
    """What may leave: pattern of a path below the study -> its schema. See the head of schemas.yaml."""
    return yaml.safe_load((Path(__file__).parent / "schemas.yaml").read_text(encoding="utf-8"))


def _public_files(study_folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of all that a study shows: its outputs without `private` and hidden folders, and its figures."""
    figures = study_folder.parent.parent / "figures" / study_folder.name
    for folder, prefix in ((study_folder, Path()), (figures, Path("figures"))):
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if "private" in parts or parts[0].startswith(".") or (path.is_dir() and not path.is_symlink()):
                continue
            yield prefix.joinpath(*parts).as_posix(), path


def _source_of(study_folder: Path, name: str) -> Path:
    """The project's own notebook of a stage's executed one, which a run or a reader may have written anything into."""
    return study_folder.parent.parent / "notebooks" / Path(name).name


def _state(study_folder: Path) -> list[tuple[str, Path, int, int, int]]:
    """Name and path of each public file, and what changes when it is written again."""
    files = [(name, path, path.lstat()) for name, path in _public_files(study_folder)]
    return [(name, path, s.st_ino, s.st_size, s.st_mtime_ns) for name, path, s in files]


def _check_file(
    name: str, path: Path, ids: Ids, threshold: int, schemas: dict, reference: dict
) -> list[str]:
    refusals = ["its name holds a sample id"] if ids.count([name]) else []
    if path.is_symlink():
        return [*refusals, "is a link, wanted a file"]
    schema = _schema(name, schemas)
    if schema is None:
        return [*refusals, "is not listed in schemas.yaml"]
    try:
        texts = list(texts_of(path))
        if n := ids.count(texts):
            refusals.append(f"holds {n} sample id{'s' if n > 1 else ''}")
        if path.suffix == ".ipynb":  # published without its outputs
            texts = [cell["source"] for cell in nbformat.read(path, as_version=4).cells]
        refusals += small_counts_said(path, texts, threshold)
        if path.suffix not in TABLES and not schema.get("public_sequence") and any(map(BASES.search, texts)):
            refusals.append("holds sequence, and nothing says that it is the reference's")
        if path.suffix == ".parquet" and "counts" in schema:
            refusals.append("counts people, which only a CSV may: there small counts are suppressed")
        if path.suffix in TABLES:
            refusals += _check_table(read_table(path), schema, threshold, reference)
        if path.suffix == ".h5":
            refusals += check_arrays(path, schema)
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


def _stays(name: str, schemas: dict) -> bool:
    """Whether a file is listed as one that is not published."""
    return bool((_schema(name, schemas) or {}).get("stays"))


def _check_table(table: pd.DataFrame, schema: dict, threshold: int, reference: dict) -> list[str]:
    allowed = [re.compile(c) for c in [*schema.get("columns", []), *schema.get("optional", [])]]
    refusals = [f"column {c!r} is not listed" for c in table if not any(a.fullmatch(c) for a in allowed)]
    refusals += [f"column {c!r} is per person" for c in table if is_personal(c)]
    if table.empty or refusals:
        return refusals
    refusals += [
        f"column {c!r} is lacking"
        for c in schema.get("columns", [])
        if not any(re.fullmatch(c, t) for t in table)
    ]
    if refusals:  # the rules below read these columns
        return refusals
    refusals += windows(table, schema, reference)
    for rule in (variants, roc, quantiles):
        refusals += rule(table, schema, threshold)
    return refusals


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 published, 4 refused and nothing written. What was suppressed is printed."""
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
