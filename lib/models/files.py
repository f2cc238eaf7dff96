"""A model's files on disk: what has to be there, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_config(folder: Path) -> dict:
    """The folder's config.json. Raises FileNotFoundError, or ValueError when it is not JSON."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such model folder")
    path = wanted(folder, "config.json")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def wanted(folder: Path, name: str) -> Path:
    """A file of the folder. Raises FileNotFoundError with what is there instead."""
    if not (folder / name).is_file():
        held = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise FileNotFoundError(f"{folder}: no {name} (wanted config.json and model.safetensors; found {held})")
    return folder / name


def check_weights(folder: Path) -> Path:
    """The folder's weights file, whole. Raises FileNotFoundError or ValueError."""
    weights = wanted(folder, "model.safetensors")
    check_safetensors(weights)
    return weights


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is shorter or longer than its header says. Raises ValueError."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(8)
        header_size = int.from_bytes(head, "little") if len(head) == 8 else 0
        text = handle.read(header_size) if 0 < header_size <= size else b""
    try:
        header = json.loads(text)
        end = 8 + header_size + max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({size} bytes, unreadable header)") from error
    if end != size:
        raise ValueError(f"{path}: cut short or damaged: {size} bytes, its header promises {end}")
