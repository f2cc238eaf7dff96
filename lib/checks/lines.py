"""Every faulty line of a text file, from a reader that stops at the first."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.checks.study import REFUSALS

MOST = 20  # faults of one file that are reported


def read(reader: Callable[[Path], Any], path: Path) -> tuple[Any, list[str]]:
    """What the reader gives, and what it says is wrong, line by line: one of the two is empty.

    After a refusal that names its line, the reader gets a copy without that line, until it is content, refuses
    something else than a line, or `MOST` lines are named. Lines keep their numbers in the messages.
    """
    try:
        return reader(path), []
    except REFUSALS as error:
        message = str(error).strip("'\"")
    messages = [message]
    try:
        lines = _text(path).splitlines(keepends=True) if _place(message) else []
    except REFUSALS:
        return None, messages
    numbers = list(range(1, len(lines) + 1))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name.removesuffix(".gz")
        while (place := _place(message)) and place <= len(numbers) and len(messages) < MOST:
            del lines[place - 1], numbers[place - 1]
            copy.write_text("".join(lines), encoding="utf-8")
            try:
                reader(copy)
                break
            except REFUSALS as error:
                message = str(error).strip("'\"")
            if (place := _place(message)) and place <= len(numbers):
                messages.append(message.replace(str(copy), str(path)).replace(f"line {place}", f"line {numbers[place - 1]}", 1))
    return None, messages


def _place(message: str) -> int:
    """The line that a message names, 0 without one."""
    match = re.search(r"\bline (\d+)", message)
    return int(match[1]) if match else 0


def _text(path: Path) -> str:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as handle:
        return handle.read()
