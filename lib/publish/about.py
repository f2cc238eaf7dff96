"""What a study says of itself: its words, its people and their ids, its model."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

from lib.corpus.corpus import read_readout
from lib.models import files as files_
from lib.publish import sealed, typed
from lib.publish.rules import FRONT, front_door
from lib.publish.sealed import Refused
from lib.publish.words import Words, words_in
from lib.stage import inputs, io
from lib.stage.hashes import sha256


def cohort_samples(study_folder: Path) -> list[str]:
    """The sample ids of a study: its subjects' names, from the private maps of its front door.

    Raises Refused without any, and when a map that the front door's manifest lists is gone or another. None for a study without people.
    """
    folder = Path(study_folder)
    if not has_people(folder):
        return []
    listed = {name: digest for name, digest in sealed.listed(folder)[0].items() if fnmatch(name, f"private/{FRONT}/*readout.h5")}
    lost = [name for name, digest in listed.items() if not (folder / name).is_file() or sha256(folder / name) != digest]
    maps = sorted(folder.glob(f"private/{FRONT}/*readout.h5"))
    if not any(Path(name).name == "readout.h5" for name in listed):
        lost = [f"private/{FRONT}/readout.h5"]
    lost += [path.relative_to(folder).as_posix() for path in maps if path.relative_to(folder).as_posix() not in listed]
    if lost:
        raise Refused([f"{name} is not there as its stage wrote it: the sample ids to look for are unknown" for name in lost])
    return [sample for path in maps for sample in read_readout(path).subjects]


def vocabulary(study_folder: Path, samples: list[str]) -> Words:
    """The words that a study may publish: its own name, those of its params, and the names that its kind has of public sources."""
    names = [study_folder.name, *typed.sorts()["vocabulary"]]
    for path in sorted((study_folder.parents[1] / "params" / study_folder.name).glob("*.yaml")):
        named = words_in(path.read_text(encoding="utf-8"))
        names += [word for word in named if re.fullmatch(r"[a-z]{2,}\d{0,2}", word)]  # what has digits inside may be a code
    kind, params = _kind(study_folder), _params(study_folder)
    if hasattr(kind, "names"):
        names += kind.names(params, lambda text: _find(study_folder, text))
    return Words(names, samples)


def has_people(study_folder: Path) -> bool:
    """Whether a study is of people: unless its params, its door and its kind all say that it is not."""
    corpus = _corpus(study_folder)
    said = (_params(study_folder).get("has_people", True), corpus.get("has_people", True), getattr(_kind(study_folder), "HAS_PEOPLE", True))
    return any(word is not False for word in said)


def _corpus(study_folder: Path) -> dict[str, Any]:
    door = front_door(study_folder)
    path = door / "corpus.json" if door else None
    return typed.read_document(path) if path and path.is_file() else {}


def _params(study_folder: Path) -> dict[str, Any]:
    """What the door ran with, by its manifest."""
    door = front_door(study_folder)
    path = door / "manifest.json" if door else None
    return typed.read_document(path).get("params", {}) if path and path.is_file() else {}


def _kind(study_folder: Path) -> Any:
    """The module of a study's kind; None without one."""
    name = _corpus(study_folder).get("kind", "")
    return import_module(name) if name else None


def _find(study_folder: Path, text: str) -> Path:
    """The file that a parameter of the door names, there or not."""
    door = front_door(study_folder)
    if text.startswith(inputs.SIMULATED):
        return study_folder / "private" / door.name / "data" / text.removeprefix(inputs.SIMULATED)
    return io.named_path(text)


def hashes(study_folder: Path) -> set[str]:
    """SHA-256 of the study's model, computed anew; none where its folder is not there, and then none is published."""
    model = _corpus(study_folder).get("model", "")
    folder = io.named_path(model) if model else None
    if folder is None or not (folder / "config.json").is_file():
        return set()
    weights = files_.check_weights(folder)
    return {files_.weights_sha256(weights), files_.tokenizer_sha256(folder)}
