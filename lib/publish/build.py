"""What is published of a study, built into a new folder file by file: typed tables, documents, arrays, then manifests, figures, notebooks.

Nothing is copied. The folder is a project of its own with the study in it, so that the figure notebook runs there as it does at home.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lib.publish import arrays, counts, drawn, typed
from lib.publish.scan import read_table
from lib.publish.suppress import suppress_text
from lib.publish.typed import Untyped
from lib.publish.words import Words
from lib.stage import manifest as manifest_

DOCUMENTS = {".json", ".yaml"}
FIGURES = "figures"
#: What of corpus.json the figure notebook reads; the rest stays at home.
CORPUS = ("study", "door", "kind", "words", "split", "about", "targets", "concept_kinds", "has_second", "second_targets", "null_targets")


@dataclass
class Study:
    """What there is to publish. name: of the study; project: the root it lies in; files: name below the study -> file; schemas: name ->
    schema; known: the vocabulary; hashes: SHA-256 that the gate computed; reference: contig and start -> sequence of a unit;
    people: whether the study is of any, whose counts are suppressed."""

    name: str
    project: Path
    files: dict[str, Path]
    schemas: dict[str, dict]
    known: Words
    threshold: int
    hashes: set[str] = field(default_factory=set)
    reference: dict[tuple[str, int], str] = field(default_factory=dict)
    people: bool = True

    @property
    def stages(self) -> list[str]:
        """Stages with a manifest, in order."""
        return sorted(name.partition("/")[0] for name in self.files if name.endswith("/manifest.json"))


def build(study: Study, root: Path) -> dict[str, int]:
    """Build all of a study below root: `outputs/<study>/…` and `figures/<study>/…`.

    Returns the number of blanked cells of each table that has any. Raises Untyped with the file's name before the reason.
    """
    tables = {name: read_table(path) for name, path in study.files.items() if path.suffix in (".csv", ".parquet")}
    tables = {name: table for name, table in tables.items() if not name.startswith(f"{FIGURES}/")}
    counted = {name: table for name, table in tables.items() if "counts" in study.schemas[name] and len(table)} if study.people else {}
    system = counts.system_of(counted, study.schemas.get, study.threshold)
    hidden = counts.hidden_cells(system, counts.blank(system, study.threshold))
    digests = {place: typed.digest(place[0], place[1], place[1] + len(text), text) for place, text in study.reference.items()}
    blanked = {}
    for name, path in study.files.items():
        if name.startswith(f"{FIGURES}/") or path.name == "manifest.json" or path.suffix == ".ipynb":
            continue
        target = root / "outputs" / study.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if name in tables:
                table, n_blank = suppress_text(tables[name], study.schemas[name], hidden.get(name), study.threshold)
                blanked |= {name: n_blank} if n_blank else {}
                _write_table(study, name, table, target, digests)
            else:
                _write(study, name, path, target)
        except Untyped as error:
            raise Untyped(f"{name}: {error}") from None
    for stage in study.stages:
        _write_manifest(study, stage, root)
    _draw(study, root)
    return blanked


def _write_table(study: Study, name: str, table: pd.DataFrame, target: Path, digests: dict) -> None:
    shown = typed.table(table, study.known, study.schemas[name].get("counts", []), digests)
    if target.suffix == ".parquet":
        arrays.parquet(target, shown, study.files[name])
    elif len(table.columns):
        shown.to_csv(target, index=False, lineterminator="\n", encoding="utf-8")
    else:
        target.write_text("\n")


def _write(study: Study, name: str, path: Path, target: Path) -> None:
    """One file that is no table. Raises Untyped for a kind of file that cannot be built."""
    if path.suffix in DOCUMENTS:
        typed.write_document(target, typed.document(typed.read_document(path), study.known, study.hashes))
    elif path.suffix == ".h5":
        arrays.hdf5(path, target, study.schemas[name], study.known, len(study.reference) if study.people else None)
    elif path.suffix == ".safetensors":
        arrays.safetensors(path, target)
    elif path.suffix == ".bw":
        arrays.bigwig(path, target, study.known)
    elif path.suffix in typed.TRACKS:
        target.write_text(typed.track(path, study.known), encoding="utf-8", newline="\n")
    elif path.suffix in (".md", ".xml"):
        target.write_text(typed.text(path.read_text(encoding="utf-8"), study.known), encoding="utf-8", newline="\n")
    else:
        raise Untyped(f"{path.suffix} is no kind of file that can be built")


def _write_manifest(study: Study, stage: str, root: Path) -> None:
    """A manifest of what was built: parameters but for places on a machine, versions, headline, and hashes of the files built."""
    given = typed.read_document(study.files[f"{stage}/manifest.json"])
    folder = root / "outputs" / study.name / stage
    folder.mkdir(parents=True, exist_ok=True)
    params = {k: v for k, v in given.get("params", {}).items() if not k.endswith(drawn.PATHS)}
    told = {"params": params, "headline": given.get("headline", {})}
    try:
        told = typed.document(told, study.known, set())
        versions = {k: v for k, v in given.get("versions", {}).items() if study.known.shown(k) == k and typed.VERSION.fullmatch(str(v))}
    except Untyped as error:
        raise Untyped(f"{stage}/manifest.json: {error}") from None
    whole = {"study": study.name, "stage": stage, "fingerprint": "published", "versions": versions, **told,
             **manifest_.hashed({"outputs": folder}, "manifest.json")}  # fmt: skip
    whole["sha256"] = manifest_.seal(whole)
    (folder / "manifest.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    file = root / "params" / study.name / f"{stage}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(told["params"] | {"study": study.name}, sort_keys=False), encoding="utf-8")


def _draw(study: Study, root: Path) -> None:
    """Figures, by the stage that drew them at home, then every stage's notebook. Raises Untyped for a figure that is not drawn again."""
    figures, wanted = root / FIGURES / study.name, {Path(name).name for name in study.files if name.startswith(f"{FIGURES}/")}
    if wanted:
        stage = next((s for s in study.stages if drawn_by(study.files[f"{s}/manifest.json"])), "")
        script = study.project / "notebooks" / f"{stage}.py"
        if not script.is_file():
            raise Untyped(f"{FIGURES}: no notebook of the project draws them")
        _write_corpus(study, root)
        try:
            shutil.move(drawn.draw(root, study.name, stage, script, study.project), figures)
        except Untyped as error:
            raise Untyped(f"{FIGURES}: {error}") from None
        for left in [*root.glob(f"outputs/{study.name}/00_*/corpus.json"), *root.glob(f"outputs/{study.name}/.*")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        if lacking := sorted(wanted - {path.name for path in figures.iterdir()}):
            raise Untyped(f"{FIGURES}: {len(lacking)} of {len(wanted)} are not drawn by {stage}: {', '.join(lacking)[:120]}")
    for name, path in study.files.items():
        if path.suffix == ".ipynb":
            stage, folder = name.partition("/")[0], root / "outputs" / study.name / name.partition("/")[0]
            script = study.project / "notebooks" / f"{path.stem}.py"
            claims, given = folder / "claims.csv", json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            text = drawn.notebook(script, given["params"], given["headline"], read_table(claims) if claims.is_file() else pd.DataFrame(),
                                  figures if drawn_by(study.files[f"{stage}/manifest.json"]) and wanted else None)  # fmt: skip
            (folder / path.name).write_text(text, encoding="utf-8", newline="\n")


def drawn_by(path: Path) -> bool:
    """Whether the stage of a manifest drew the study's figures."""
    return any(name.startswith(f"{FIGURES}/") for name in json.loads(path.read_text(encoding="utf-8"))["files"])


def _write_corpus(study: Study, root: Path) -> None:
    """What the figure notebook reads of the study's corpus, typed; it is taken away again."""
    for door in (study.project / "outputs" / study.name).glob("00_*/corpus.json"):
        given = typed.read_document(door)
        kept: dict[str, Any] = {name: given[name] for name in CORPUS if name in given}
        target = root / "outputs" / study.name / door.parent.name / "corpus.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            typed.write_document(target, typed.document(kept, study.known, set()) | {"model": "", "settings": {}})
        except Untyped as error:
            raise Untyped(f"{door.parent.name}/corpus.json: {error}") from None


def take(root: Path, name: str, out: Path) -> None:
    """Move what was built to where it is published: the study's folders, and its figures among them."""
    (root / "outputs" / name).mkdir(parents=True, exist_ok=True)
    shutil.move(root / "outputs" / name, out)
    if (root / FIGURES / name).is_dir():
        shutil.move(root / FIGURES / name, out / FIGURES)


