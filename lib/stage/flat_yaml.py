"""Params files: lines of `name: value`, read so that nothing means other than what it looks like.

YAML reads 010 as 8, 1:30 as 90, no as false, 2024-01-01 as a date, .nan as a number, and ends a text at " #". Here each
of these is a problem with its line, and so are repeated names, anchors, tags, and anything deeper than one list.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_DECIMAL = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?")
_KIND = "tag:yaml.org,2002:"
_TYPES = {"date": "a date", "datetime": "a time", "dict": "a mapping", "set": "a set", "bytes": "bytes"}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file. line: from 1, or 0 for the file; name: the parameter, or ""."""

    line: int
    name: str
    actual: str
    wanted: str


@dataclass(frozen=True)
class Entry:
    """One `name: value` and its line. comment: the text after the first " #" of that line, "" without one."""

    name: str
    value: Any
    line: int
    comment: str = ""


def read(path: Path) -> tuple[list[Entry], list[Problem]]:
    """The entries of a file in order, and its problems. An entry with a problem is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return [], [Problem(0, "", f"what cannot be read ({error.strerror})", "a file of lines of `name: value`")]
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return [], [Problem(line, "", f"bytes that are not UTF-8 ({error.reason})", "a text file in UTF-8")]
    try:
        if problems := _forbidden(text):
            return [], problems
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        return [], [_unreadable(error, text)]
    if root is None:
        return [], []
    if not isinstance(root, yaml.MappingNode):
        kind = {"seq": "a list", "str": "text"}.get(root.tag.removeprefix(_KIND), root.tag.removeprefix(_KIND))
        return [], [Problem(root.start_mark.line + 1, "", kind, "lines of `name: value`")]
    return _entries(root, text.splitlines())


def _unreadable(error: Exception, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else 0
    tab = "\t" in "".join(text.splitlines()[max(line - 1, 0) : line])
    said = getattr(error, "problem", None) or str(error)
    return Problem(line, "", f"what is not YAML ({said})", "spaces, not tabs" if tab else "lines of `name: value`")


def _forbidden(text: str) -> list[Problem]:
    """Anchors, aliases, tags and depth, seen before anything is built from them."""
    problems, depth = [], 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return [*problems, Problem(line, "", f"an alias, *{event.anchor}", "the value itself")]
        if getattr(event, "anchor", None):
            return [*problems, Problem(line, "", f"an anchor, &{event.anchor}", "the value without it")]
        if getattr(event, "tag", None):
            return [*problems, Problem(line, "", f"a tag, {event.tag}", "the value without it")]
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > 2:
                return [*problems, Problem(line, "", "a list or mapping inside another", "a number, a text or one list")]
        depth -= isinstance(event, yaml.CollectionEndEvent)
    return problems


def _entries(root: yaml.MappingNode, lines: list[str]) -> tuple[list[Entry], list[Problem]]:
    entries, problems, seen = [], [], {}
    for key, node in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(line, "", "a list or mapping as a name", "lines of `name: value`"))
        elif key.value in seen:
            problems.append(Problem(line, key.value, f"there twice, first in line {seen[key.value]}", "one line a name"))
        else:
            seen[key.value] = line
            value, problem = _value(node, lines)
            if problem:
                problems.append(Problem(line, key.value, *problem))
            else:
                entries.append(Entry(key.value, value, line, _comment(node, lines)))
    return entries, problems


def _value(node: yaml.Node, lines: list[str]) -> tuple[Any, tuple[str, str] | None]:
    """A node's value, and what was found and wanted where it does not mean what it looks like."""
    if isinstance(node, yaml.SequenceNode):
        values = [_value(item, lines) for item in node.value]
        first = next(((i, p) for i, (_, p) in enumerate(values) if p), None)
        return [v for v, _ in values], first and (f"element {first[0] + 1}: {first[1][0]}", first[1][1])
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        return None, (f"what is not YAML ({' '.join(str(error).split())})", "a number, a text or a list")
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        return value, _odd(node.value, value) or _cut(node, lines)
    return value, _foreign(value)


def _odd(text: str, value: Any) -> tuple[str, str] | None:
    """A plain word that YAML reads as something other than it looks like."""
    if isinstance(value, bool):
        if text in ("true", "false"):
            return None
        return f"{text}, which YAML reads as {str(value).lower()}", 'true or false, or the word in quotes ("no")'
    if isinstance(value, float) and not math.isfinite(value):
        return f"{text} ({value})", "a finite number"
    if isinstance(value, int | float) and not _DECIMAL.fullmatch(text):
        return f"{text}, which YAML reads as {value}", "a plain decimal number, or the text in quotes"
    return _foreign(value)


def _foreign(value: Any) -> tuple[str, str] | None:
    """A value of a kind that no parameter has."""
    if type(value).__name__ in _TYPES:
        return f"{_TYPES[type(value).__name__]}, {value}", "a number, a text or a list; a text in quotes"
    return None


def _comment(node: yaml.Node, lines: list[str]) -> str:
    """What follows the value on its last line."""
    mark = node.end_mark
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    return rest.strip() if "#" in rest else ""


def _cut(node: yaml.ScalarNode, lines: list[str]) -> tuple[str, str] | None:
    """A text that ends at ` #x`, where YAML takes the rest for a comment; a comment is `# x`."""
    rest = _comment(node, lines)
    if node.tag == f"{_KIND}str" and re.match(r"#[^\s#]", rest):
        return (f"{node.value!r}: YAML ends it before {rest!r}",
                "quotes around a text with ' #', or a space after the # of a comment")
    return None
