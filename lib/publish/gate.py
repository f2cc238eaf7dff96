"""The publishing gate: what of a study may be shown to anyone. It fails closed.

What is published is built, not copied (`publish.build`), behind two walls. Before: a file is refused unless `schemas.yaml` lists it, with
these columns and no others, and its stage's manifest lists it with this hash; it names and singles out nobody: no sample id,
no participant count from 1 to the threshold, none that follows from sums, no sequence but the reference's. Small counts in columns
listed as counts are suppressed. After: what was built is scanned for sample ids in other spellings, and in its numbers. A study without
people says so at its door (`has_people: false`).

    python -m lib.publish --study demo                   into published/demo; exit status: 0 published, 4 refused

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

from lib.publish import about, arrays, build, counts, sealed, typed
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
from lib.publish.scan import TABLES, Ids, read_table, texts_of, without
from lib.publish.sealed import Refused
from lib.publish.suppress import THRESHOLD
from lib.stage import io

CHANGED = "the study changed while it was published: wait for its stages to end"


def check(
    study_folder: Path, samples: list[str], threshold: int = THRESHOLD, schemas: dict | None = None, people: bool = True
) -> list[str]:
    """Why a study may not be published: one line per reason, with the file; empty when it may.

    study_folder: `outputs/<study>`; `figures/<study>` beside it is checked too. `private/` is not read. samples: every
    id that must not appear. threshold: the largest participant count that is suppressed. schemas: what may leave, as in
    schemas.yaml, which is the default; people: whether the study is of any. Small counts that `publish` can suppress are no refusal.
    """
    schemas = read_schemas() if schemas is None else schemas
    ids, refusals = Ids(samples), []
    if threshold < THRESHOLD:
        refusals.append(f"a threshold of {threshold}, wanted {THRESHOLD} or more")
    if not samples and people:
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
        reasons = _check_file(name, path, ids, threshold, schemas, reference, people)
        if path.suffix == ".ipynb" and _schema(name, schemas) is not None:
            own = Path(study_folder).parents[1] / "notebooks" / f"{path.stem}.py"
            reasons += [] if own.is_file() else ["is no notebook of the project"]
        refusals += [f"{without(ids, name)}: {reason}" for reason in dict.fromkeys(reasons)]
    return refusals + damaged + ([] if refusals or damaged or not people else _check_counts(public, threshold, schemas))


def publish(study_folder: Path, out_folder: Path, samples: list[str], threshold: int = THRESHOLD,
            schemas: dict | None = None, people: bool = True) -> dict[str, int]:  # fmt: skip
    """Build what may leave into a new folder: see `publish.build`.

    Returns the number of blanked cells of each file that has any; `published.json` in the folder holds it too.
    Raises Refused with everything `check` says, or ValueError when out_folder exists or lies inside the study; then nothing is written.
    """
    study_folder, out_folder = Path(study_folder), Path(out_folder)
    if out_folder.exists():
        raise ValueError(f"{out_folder} exists, wanted a new folder")
    if out_folder.resolve().is_relative_to(study_folder.resolve()):
        raise ValueError(f"{out_folder} is inside the study, wanted a folder elsewhere")
    schemas = read_schemas() if schemas is None else schemas
    before = _state(study_folder)
    if refusals := check(study_folder, samples, threshold, schemas, people):
        raise Refused(refusals)
    files = {name: path for name, path, *_ in before if not _stays(name, schemas)}
    partial = out_folder.with_name(f".{out_folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        named = {name: _schema(name, schemas) or {} for name in files}
        study = build.Study(study_folder.name, study_folder.parents[1], files, named, about.vocabulary(study_folder, samples), threshold,
                            about.hashes(study_folder), reference_of(study_folder), people)  # fmt: skip
        blanked = build.build(study, partial)
        build.take(partial, study.name, partial / "built")
        if _state(study_folder) != before:
            raise Refused(["the study changed while it was published: wait for its stages to end"])
        if refusals := _scan(partial / "built", Ids(samples)):
            raise Refused(refusals)
        (partial / "built/published.json").write_text(json.dumps({"threshold": threshold, "blanked": blanked}, indent=2) + "\n")
        os.replace(partial / "built", out_folder)
    except typed.Untyped as error:
        if _state(study_folder) != before:
            raise Refused([CHANGED]) from None
        raise Refused([without(Ids(samples), str(error))]) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return blanked


def _scan(built: Path, ids: Ids) -> list[str]:
    """The second wall: sample ids in what was built, in any spelling, and in its numbers. Pictures are of built tables: as text alone."""
    refusals = []
    for path in sorted(p for p in built.rglob("*") if p.is_file()):
        name = path.relative_to(built).as_posix()
        try:
            texts = list(texts_of(path))
        except (ValueError, OSError) as error:
            refusals.append(f"{without(ids, name)}: what was built cannot be scanned: {type(error).__name__}")
            continue
        n = ids.count([name, *texts])
        if path.suffix == ".ipynb":
            texts = [cell["source"] for cell in nbformat.read(path, as_version=4).cells]
        if path.suffix not in (".png", ".pdf", ".bw", ".h5"):
            n += sum(map(ids.n_hidden, [name, *texts]))
        if path.suffix in TABLES:
            table = read_table(path)
            numbers = [pd.to_numeric(table[c], errors="coerce").dropna().to_numpy(np.float64) for c in table]
            n += sum(map(ids.n_in_numbers, numbers)) + ids.n_in_numbers(table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64))
        if path.suffix in (".h5", ".safetensors"):
            n += sum(map(ids.n_in_numbers, arrays.values_of(path)))
        refusals += [f"{without(ids, name)}: what was built spells a sample id"] * bool(n)
    return refusals


def _counted(public: list[tuple[str, Path]], threshold: int, schemas: dict) -> counts.System:
    """The system of a study's counts of people."""
    named = {name: _schema(name, schemas) or {} for name, path in public if path.suffix == ".csv"}
    tables = {name: read_table(path) for name, path in public if "counts" in named.get(name, {})}
    tables = {name: table for name, table in tables.items() if len(table)}
    return counts.system_of(tables, named.get, threshold)


def _check_counts(public: list[tuple[str, Path]], threshold: int, schemas: dict) -> list[str]:
    """No blank count may follow from the rest of the study: neither one left blank by a stage, nor one blanked here."""
    try:
        system = _counted(public, threshold, schemas)
        blank = counts.blank(system, threshold)
    except ValueError:
        return ["a count of people is no whole number"]
    for state, hidden in (("is", np.isnan(system.values)), ("would be", blank)):
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


def _state(study_folder: Path) -> list[tuple[str, Path, int, int, int]]:
    """Name and path of each public file, and what changes when it is written again."""
    files = [(name, path, path.lstat()) for name, path in _public_files(study_folder)]
    return [(name, path, s.st_ino, s.st_size, s.st_mtime_ns) for name, path, s in files]


def _check_file(
    name: str, path: Path, ids: Ids, threshold: int, schemas: dict, reference: dict, people: bool
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
        refusals += small_counts_said(path, texts, threshold) if people else []
        if path.suffix not in TABLES and not schema.get("public_sequence") and any(map(BASES.search, texts)):
            refusals.append("holds sequence, and nothing says that it is the reference's")
        if path.suffix == ".parquet" and "counts" in schema:
            refusals.append("counts people, which only a CSV may: there small counts are suppressed")
        if path.suffix in TABLES:
            refusals += _check_table(read_table(path), schema, threshold, reference, people)
        if path.suffix == ".h5":
            refusals += check_arrays(path, schema)
        if path.suffix in (".h5", ".safetensors") and sum(map(ids.n_in_numbers, arrays.values_of(path))):
            refusals.append("spells a sample id in its numbers")
    except typed.Untyped as error:
        refusals.append(str(error))
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


def _check_table(table: pd.DataFrame, schema: dict, threshold: int, reference: dict, people: bool) -> list[str]:
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
    for rule in (variants, roc, quantiles) if people else ():
        refusals += rule(table, schema, threshold)
    return refusals


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 published, 4 refused and nothing written. What was suppressed is printed."""
    parser = argparse.ArgumentParser(prog="python -m lib.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--study", required=True, help="a folder of outputs/")
    parser.add_argument("--out", type=Path, help="a new folder; published/<study> by default")
    parser.add_argument(
        "--threshold", type=int, default=THRESHOLD, help="largest participant count that is suppressed"
    )
    chosen = parser.parse_args(arguments)
    try:
        folder = io.study_dir(chosen.study)
        chosen.out = chosen.out or io.ROOT / "published" / chosen.study
        if chosen.out.resolve().is_relative_to((io.ROOT / "outputs").resolve()):
            raise ValueError(f"{chosen.out} is inside outputs, which holds what must not leave: give a folder elsewhere")
        samples, people = about.cohort_samples(folder), about.has_people(folder)
        blanked = publish(folder, chosen.out, samples, chosen.threshold, people=people)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 4
    for name, n in blanked.items():
        print(f"{name}: {n} cells suppressed or rounded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
