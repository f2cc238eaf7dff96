"""What decides a stage's output, as one hash: params, code, data files and the stages before it.

Comments, docstrings and prose do not count. A module imported by a computed name does not count either, so `lib`
imports by plain statements.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

from lib import io
from lib.params import STAGES, notebook_path, short, stage_params


def fingerprint(study: str, stage: str, known: dict[str, str] | None = None) -> str:
    """Hash of all that decides this stage's output, as hexadecimal.

    known: fingerprints already computed for this study, which are used and added to. Raises Refused for
    bad params, FileNotFoundError for a missing data file.
    """
    known = {} if known is None else known
    if stage not in known:
        params = stage_params(study, stage)
        script = notebook_path(stage).with_suffix(".py")
        source = script.read_text(encoding="utf-8")
        known[stage] = hash_of({
            "params": params,
            "notebook": _code_hash(source),
            "modules": {short(path): _module_hash(path) for path in lib_files(source)},
            "inputs": input_hashes(params),
            "upstream": {earlier: fingerprint(study, earlier, known) for earlier in STAGES[stage]},
        })
    return known[stage]


def lib_files(source: str) -> list[Path]:
    """Files of `lib` that `source` imports, at any depth, plus the .csv tables beside those modules."""
    found: set[Path] = set()
    todo = _imported(source, "")
    while todo:
        module = todo.pop()
        path = _module_file(module)
        if path is None or path in found:
            continue
        found.add(path)
        found.update(path.parent.glob("*.csv"))
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        todo |= _imported(path.read_text(encoding="utf-8"), package)
    return sorted(found)


def input_hashes(params: dict[str, Any]) -> dict[str, str]:
    """Content hash of each file or folder named by a parameter ending in `_path`; empty values skipped.

    So are `simulated:` files: 01_extraction makes them, and its fingerprint stands for them.
    """
    hashes = {}
    for key, value in params.items():
        for text in (value if isinstance(value, list) else [value]) if key.endswith("_path") else []:
            if text and not text.startswith("simulated:"):
                hashes[text] = _data_hash(io.data_path(text))
    return hashes


def _imported(source: str, package: str) -> set[str]:
    """Names of `lib` modules, and of the packages around them, that `source` may import; some are no files."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join(parents + ([node.module] if node.module else []))
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    ours = {name for name in names if name.split(".")[0] == "lib"}
    return {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 2)}


def _module_file(module: str) -> Path | None:
    path = io.ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _module_hash(path: Path) -> str:
    return _code_hash(path.read_text(encoding="utf-8")) if path.suffix == ".py" else io.sha256(path)


def _code_hash(source: str) -> str:
    """Hash of what Python would run: comments, layout, docstrings and other bare texts left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [s for s in block if not _is_bare_text(s)])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_bare_text(node: ast.AST) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


def _data_hash(path: Path) -> str:
    """Content hash of a file, or of all files in a folder; kept in outputs/.hashes.json by size and time."""
    store = io.ROOT / "outputs" / ".hashes.json"
    cache = json.loads(store.read_text()) if store.exists() else {}
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    hashes, changed = {}, False
    for file in files:
        status = file.stat()
        key = f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if key not in cache:
            cache[key], changed = io.sha256(file), True
        hashes[file.relative_to(path).as_posix()] = cache[key]
    if changed:
        io.atomic_write(store, json.dumps(cache, indent=0))
    return hash_of(hashes) if path.is_dir() else hashes["."]


def hash_of(value: Any) -> str:
    """Hash of a value by its JSON, keys sorted, as hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
