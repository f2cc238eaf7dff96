"""Every faulty line of a text file, from a reader that stops at the first."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.check.study import REFUSALS
from lib.stage import lines

MOST = 20  # faults of one file that are reported
LARGE = 2_000_000  # characters of a file of which only the first faulty line is named: reading it again takes seconds


def read(reader: Callable[[Path], Any], path: Path) -> tuple[Any, list[str]]:
    """What the reader gives, and what it says is wrong, line by line: one of the two is empty.

    After a refusal that names its line, the reader gets a copy in which that line is blank, until it is content, refuses
    something else than a line, or `MOST` lines are named. The readers pass over blank lines, so that the others keep
    their numbers.
    """
    try:
        return reader(path), []
    except REFUSALS as error:
        messages = [_said(error)]
    line = _line(messages[0], path)
    text = _lines(path) if line else []
    if line and not text:
        messages[0] += "; the lines after it were not looked at"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name.removesuffix(".gz")
        while line and line <= len(text) and len(messages) < MOST:
            text[line - 1] = ""
            copy.write_text("\n".join([*text, ""]), encoding="utf-8", newline="\n")
            try:
                reader(copy)
                break
            except REFUSALS as error:
                message = _said(error)
            before, line = line, _line(message, copy)
            if line == before:
                break
            if line:
                messages.append(message.replace(str(copy), str(path)))
    return None, messages


def _said(error: Exception) -> str:
    return str(error).strip("'\"")


def _line(message: str, path: Path) -> int:
    """The line of this file that a message names, 0 without one."""
    match = re.match(re.escape(f"{path}, line ") + r"(\d+)", message)
    return int(match[1]) if match else 0


def _lines(path: Path) -> list[str]:
    """The lines as the readers count them; none for a file that is too large to read again, or that cannot be read."""
    text, size = [], 0
    try:
        for _, line in lines.read(path):
            text.append(line)
            size += len(line) + 1
            if size > LARGE:
                return []
    except REFUSALS:
        return []
    return text
