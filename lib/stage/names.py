"""What a study or a stage may be called, and what may lie where its files go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path


def check_name(kind: str, name: str) -> str:
    """The name of a study or stage, once it is one. Raises ValueError."""
    number = re.fullmatch(r"[\d_.]+(e-?\d+)?|nan|inf|infinity|true|false", str(name), re.IGNORECASE)
    if not isinstance(name, str) or number or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}", name):
        raise ValueError(f"{name!r} is no name of a {kind}: wanted 1 to 100 letters, digits or any of . _ - @, with a "
                         f"letter, digit or _ first, and no number")
    return name


def check_folders(parent: Path, inside: Iterable[Path], root: Path) -> None:
    """Raise ValueError where `parent`, or a path inside it, is there but no folder, and where one inside is a link out of it.

    root: the project's, left out of what the error says.
    """
    for path in (parent, *inside):
        said = path.relative_to(root).as_posix()
        if os.path.lexists(path) and not path.is_dir():
            raise ValueError(f"{said} is no folder, wanted one to write to: move it away")
        if path != parent and path.is_symlink() and not path.resolve().is_relative_to(parent.resolve()):
            raise ValueError(f"{said} is a link to {path.resolve()}: only the folder {parent.name} as a whole may lie elsewhere")
