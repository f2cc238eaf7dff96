"""Which files of `lib`, or of a kind beside it, a piece of code uses, and a hash of what they do.

Comments, docstrings and layout do not count. A module imported by a computed name does not count either, so `lib` imports
by plain statements. A table or schema of `lib` counts for the modules that name it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[2]  # the root of the code that runs


class _Source(NamedTuple):
    """hash: of what Python would run. imports: (level, module, names). texts: every text it holds, but for those that stand alone."""

    hash: str
    imports: frozenset[tuple[int, str, tuple[str, ...]]]
    texts: frozenset[str]


def used_by(source: str, root: Path, file: str = "<code>") -> list[Path]:
    """Files below root that `source` imports, at any depth, with the tables that those modules name.

    file: that of `source`, for errors. Raises SyntaxError with file and line for code that does not parse.
    """
    return _walk(_names(_parse(source, file), "", root), (), root)


def behind(modules: Iterable[str], without: Iterable[str] = (), root: Path = HERE) -> list[Path]:
    """Files of the modules and of all that they import, but for the modules of `without` and what only those import.

    modules, without: names, as "lib.acts.extract". Raises ModuleNotFoundError for one of `modules` that is not there.
    """
    names = set(modules)
    for name in names:
        if _file(name, root) is None:
            raise ModuleNotFoundError(f"{name} is no module below {root}")
    return _walk(names | {p for name in names for p in _packages(name)}, without, root)


def code_hash(source: str) -> str:
    """Hash of what Python would run of `source`: comments, layout, docstrings and other bare texts left out."""
    return _parse(source).hash


def file_hash(path: Path) -> str:
    """`code_hash` of a .py file, SHA-256 of the content of any other."""
    content = path.read_bytes()
    return code_hash(content.decode()) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()


def hash_of_files(paths: Iterable[Path], root: Path = HERE) -> str:
    """One hash for the `file_hash` and place of each."""
    lines = sorted(f"{path.relative_to(root).as_posix()} {file_hash(path)}" for path in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def tables(root: Path) -> dict[str, list[Path]]:
    """The files of root/lib that are no code, by name."""
    by_name: dict[str, list[Path]] = {}
    for path in sorted((root / "lib").rglob("*.*")):
        if path.suffix != ".py" and path.parent.name != "__pycache__" and path.is_file():
            by_name.setdefault(path.name, []).append(path)
    return by_name


def _walk(todo: set[str], without: Iterable[str], root: Path) -> list[Path]:
    files: set[Path] = set()
    beside, without = tables(root), set(without)
    while todo:
        module = todo.pop()
        path = None if module in without else _file(module, root)
        if path is None or path in files:
            continue
        source = _parse(path.read_text(encoding="utf-8"), str(path))
        files.add(path)
        files.update(table for text in source.texts for table in beside.get(text.rpartition("/")[2], ()))
        todo |= _names(source, module if path.name == "__init__.py" else module.rpartition(".")[0], root)
    return sorted(files)


def _names(source: _Source, package: str, root: Path) -> set[str]:
    """Names of modules below root, and of the packages around them, that `source` may import; some are no files."""
    names: set[str] = set()
    for level, base, imported in source.imports:
        if level:
            parents = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join(parents + ([base] if base else []))
        names.update([base, *(f"{base}.{name}" for name in imported)])
    ours = {name for name in names if name and ((root / (top := name.split(".")[0])).is_dir() or (root / f"{top}.py").is_file())}
    return ours | {package for name in ours for package in _packages(name)}


def _packages(module: str) -> list[str]:
    """The packages around a module: "lib" and "lib.sae" of "lib.sae.train"."""
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


@cache
def _parse(source: str, file: str = "<code>") -> _Source:
    """file: its name, for errors. Raises SyntaxError."""
    tree = ast.parse(source, file)
    imports: set[tuple[int, str, tuple[str, ...]]] = set()
    texts: set[str] = set()
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [s for s in block if not _is_bare_text(s)])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update((0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imports.add((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Source(digest, frozenset(imports), frozenset(texts))


def _is_bare_text(node: ast.AST) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))
