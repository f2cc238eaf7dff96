"""What a study's outputs hold, part by part, so that two runs can be compared whatever moved between them.

    python tests/content.py list STUDY [--root FOLDER] > content.json     a hash of every column, dataset and tensor
    python tests/content.py compare before.json after.json [--map moves.txt]

A part is a column of a CSV or Parquet table, a dataset or attribute of an HDF5 file, a tensor of a safetensors file, a
value of a JSON or YAML file, a text, or a picture; of claims, which are one pool whatever stage records them, a part is a
claim. What tells of the run and not of the result is left out: manifests, executed notebooks, wall times, progress, and which
code made a store. `tests/expected/<study>.json` is the list that a change which moves walls is compared with.
`--map`: lines `old path -> new path` (or `old prefix/ -> new prefix/`), of files that moved. Exit status 1 when anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import yaml
from safetensors import safe_open

CLAIMS = "claims.csv"
OF_THE_RUN = {"manifest.json", "progress.md", "timings.csv"}
OF_THE_CODE = {"computed_by"}  # attributes of a store


def content(root: Path, study: str) -> dict[str, dict[str, str]]:
    """File below `outputs/<study>` or `figures/<study>` -> part -> hash."""
    held = files(root, study)
    listed = {path.relative_to(root).as_posix(): {part: _hash(value) for part, value in parts(path)}
              for path in held if path.name != CLAIMS}
    for pool in ("outputs", "figures"):
        tables = [path for path in held if path.name == CLAIMS and path.relative_to(root).parts[0] == pool]
        if tables:
            listed[f"{pool}/{study}/*/{CLAIMS}"] = {part: _hash(value) for part, value in claims(tables)}
    return listed


def claims(tables: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Every claim of some tables with what it says, but for the stage that it is of; one that is there twice is numbered."""
    seen: Counter[str] = Counter()
    for path in tables:
        for row in _frame(path).drop(columns="stage", errors="ignore").to_dict("records"):
            seen[row["claim"]] += 1
            name = f"claim {row['claim']}" + (f" ({seen[row['claim']]})" if seen[row["claim"]] > 1 else "")
            yield name, json.dumps(row, sort_keys=True).encode()


def files(root: Path, study: str) -> list[Path]:
    """The files of a study that hold results, sorted."""
    folders = [root / "outputs" / study, root / "figures" / study]
    every = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in every if path.suffix != ".ipynb" and path.name not in OF_THE_RUN
            and not any(part.startswith(".") for part in path.relative_to(root).parts)]


def parts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each part of a file."""
    if path.suffix in (".csv", ".parquet"):
        yield from _table(path)
    elif path.suffix == ".h5":
        yield from _arrays(path)
    elif path.suffix == ".safetensors":
        with safe_open(path, "numpy") as tensors:
            for name in sorted(tensors.keys()):
                yield f"tensor {name}", tensors.get_tensor(name).tobytes()
    elif path.suffix in (".json", ".yaml"):
        read = json.loads if path.suffix == ".json" else yaml.safe_load
        yield from _values(read(path.read_text()))
    else:
        yield "bytes", path.read_bytes()


def _table(path: Path) -> Iterator[tuple[str, bytes]]:
    frame = _frame(path)
    yield "rows", str(len(frame)).encode()
    for name in frame:
        yield f"column {name}", "\n".join(map(str, frame[name])).encode()


def _frame(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.read_text().strip() else pd.DataFrame()


def _arrays(path: Path) -> Iterator[tuple[str, bytes]]:
    contents: list[tuple[str, bytes]] = []

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            values = node[()]
            plain = values.tobytes() if values.dtype != object else "\n".join(map(str, values.ravel())).encode()
            contents.append((f"dataset {name}", f"{node.dtype} {node.shape} ".encode() + plain))
        contents.extend((f"attribute {name}.{key}", str(value).encode()) for key, value in node.attrs.items() if key not in OF_THE_CODE)

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    yield from contents


def _values(value: Any, name: str = "") -> Iterator[tuple[str, bytes]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _values(inner, f"{name}.{key}" if name else str(key))
    else:
        yield f"value {name}", json.dumps(value, default=str).encode()


def _hash(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]


def differences(before: dict, after: dict, moves: list[tuple[str, str]] = ()) -> list[str]:
    """What is not the same, one line each; `before` is read through the map of paths first."""
    before = {_moved(name, moves): held for name, held in before.items()}
    lines = [f"gone: {name}" for name in before if name not in after]
    lines += [f"new: {name}" for name in after if name not in before]
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name], after[name]
        lines += [f"gone: {name}: {part}" for part in old if part not in new]
        lines += [f"new: {name}: {part}" for part in new if part not in old]
        lines += [f"changed: {name}: {part}" for part in old if part in new and old[part] != new[part]]
    return lines


def _moved(name: str, moves: list[tuple[str, str]]) -> str:
    """The last fitting line of the map wins; a prefix ends in a slash."""
    for old, new in reversed(moves):
        if name == old:
            return new
        if old.endswith("/") and name.startswith(old):
            return new + name.removeprefix(old)
    return name


def read_moves(path: Path) -> list[tuple[str, str]]:
    """Lines `old -> new` of a map; empty lines and comments are left out."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [tuple(part.strip() for part in line.split("->")) for line in lines if line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list")
    listing.add_argument("study")
    listing.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--map", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "list":
        print(json.dumps(content(chosen.root, chosen.study), indent=0, sort_keys=True))
        return 0
    moves = read_moves(chosen.map) if chosen.map else []
    lines = differences(json.loads(chosen.before.read_text()), json.loads(chosen.after.read_text()), moves)
    print("\n".join(lines) or "equal")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
