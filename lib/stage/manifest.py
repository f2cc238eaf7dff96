"""What a manifest must be to be believed: whole, of the right types, and as it was sealed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lib.stage.hashes import is_large, sampled, sha256


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest but for its own `sha256`, as hexadecimal: whether it is as it was written."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


#: Parts of a manifest that are tables, and those of them whose values are texts.
_TABLES = ("params", "modules", "inputs", "inputs_whole", "upstream", "files", "files_sampled", "headline")
_OF_TEXTS = _TABLES[1:-1]


def damage(manifest: Any) -> str:
    """What keeps a manifest from being used, in words; "" for one that is whole."""
    wanted = ("stage", "fingerprint", "files")
    if missing := [name for name in wanted if not isinstance(manifest, dict) or name not in manifest]:
        return f"lacks {missing}"
    for name in _TABLES:
        table = manifest.get(name, {})
        if not isinstance(table, dict):
            return f"has {name} {str(table)[:40]!r}, wanted a table"
        if name in _OF_TEXTS and not all(isinstance(value, str) for value in table.values()):
            return f"has {name} whose values are no texts"
    for key in (*manifest["files"], *manifest.get("files_sampled", {})):
        if not key or key.startswith("/") or ".." in key.split("/"):
            return f"lists the file {key!r}, wanted one of the stage's own"
    if manifest.get("sha256", edited := seal(manifest)) != edited:
        return "was edited: its sha256 is not that of the rest"
    return ""


def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The table of a JSON object, for `json.loads`. Raises ValueError for a name that is there twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"one of {', '.join(table)} is there twice"[:200])
    return table


def hashed(trees: dict[str, Path], without: str) -> dict[str, dict[str, str]]:
    """`files`, and of the large ones `files_sampled`: hashes of what lies in the folders of a stage.

    trees: kind -> folder; a file is listed by its place in its folder, with the kind before it but for "outputs".
    without: the one that is left out.
    """
    files, large = {}, {}
    for kind, folder in trees.items():
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            key = file.relative_to(folder).as_posix()
            if key != without:
                key = key if kind == "outputs" else f"{kind}/{key}"
                files[key] = sha256(file)
                large |= {key: sampled(file)} if is_large(file) else {}
    return {"files": files, "files_sampled": large}
