"""Params of a study: one flat YAML file a stage, checked against the notebook's `parameters` cell."""

from __future__ import annotations

import ast
import difflib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.stage import flat_yaml, io, ranges
from lib.stage.flat_yaml import Entry, Problem
from lib.stage.ranges import Range

#: number of a stage -> numbers of the stages that it may read, whatever their names. A study has those for which it has a file.
UPSTREAM: dict[str, tuple[str, ...]] = {
    "00": (),
    "01": ("00",),
    "02": ("00", "01"),
    "03": ("00", "01", "02"),
    "04": ("00", "01", "03"),
    "05": ("00", "01", "02", "03", "04"),
    "06": ("00", "01", "02", "03", "04", "05"),
    "07": ("00", "01", "02", "03", "04", "05"),
    "08": ("00", "01", "02", "03", "04", "05"),
    "09": ("00", "01", "02", "03", "04", "05", "06", "07", "08"),
}


class Refused(ValueError):
    """The run cannot start: the message says which file, what was found and what was wanted."""


def stages(study: str) -> dict[str, list[str]]:
    """The stages of a study, in order: each NN_name.yaml of its folder -> those of its stages that it may read.

    Raises Refused for no study, and for two files of one number.
    """
    folder = folder_of(study)
    by_number: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        number = number_of(file.stem)
        if number in by_number:
            raise Refused(f"params/{study} holds {by_number[number]}.yaml and {file.name}, wanted one stage of number {number}")
        if number:
            by_number[number] = file.stem
    return {name: [by_number[n] for n in UPSTREAM[number] if n in by_number] for number, name in by_number.items()}


def folder_of(study: str) -> Path:
    """params/<study>. Raises Refused for no study."""
    try:
        io.study_dir(study)
    except ValueError as error:
        raise Refused(str(error)) from None
    folder = io.ROOT / "params" / study
    if not folder.is_dir():
        studies = sorted(p.name for p in folder.parent.glob("*/")) if folder.parent.is_dir() else []
        raise Refused(f"unknown study {study!r}: there is no params/{study}/; studies: {', '.join(studies)}")
    return folder


def front_door(study: str) -> str:
    """The stage that makes a study's corpus, the one of number 00. Raises Refused where it has none."""
    for stage in stages(study):
        if number_of(stage) == "00":
            return stage
    raise Refused(f"params/{study} holds no 00_<kind>.yaml, wanted one: its kind, and where its files are")


def number_of(stage: str) -> str:
    """The number of a stage, "03" of "03_sae_training"; empty for what is no stage's name."""
    number, _, name = stage.partition("_")
    return number if number in UPSTREAM and name else ""


def stage_params(study: str, stage: str) -> dict[str, Any]:
    """Every value that a stage's notebook runs with: its defaults, over them those of params/<study>/<stage>.yaml.

    `study` is the folder's name; the file need not say it. Raises Refused.
    """
    known = stages(study)
    if stage not in known:
        raise Refused(f"unknown stage {stage!r}: there is no params/{study}/{stage}.yaml; stages: {', '.join(known)}")
    file = io.ROOT / "params" / study / f"{stage}.yaml"
    values = check_params(notebook_path(stage), file)
    if values.get("study", study) != study:
        raise Refused(f"{short(file)}: study is {values['study']!r}, wanted {study!r}, the folder's name")
    defaults = parameter_defaults(notebook_path(stage))
    values = defaults | values | ({"study": study} if "study" in defaults else {})
    return {name: _as_default(value, defaults[name]) for name, value in values.items()}


def _as_default(value: Any, default: Any) -> Any:
    """`value`, its whole numbers made floats where the default, or an element of it, is a float: 1 and 1.0 are one value."""
    if isinstance(value, list) and isinstance(default, (list, tuple)):
        return [_as_default(v, next((d for d in default if isinstance(d, float)), None)) for v in value]
    return float(value) if type(value) is int and type(default) is float else value


def check_params(notebook: Path, file: Path) -> dict[str, Any]:
    """The values of a params file, once each is known to fit the notebook's `parameters` cell.

    notebook: the .ipynb; file: flat YAML. Raises Refused with every problem that `read_params` names, a line each.
    """
    entries, problems = read_params(notebook, file)
    if problems:
        raise Refused("\n".join(sentence(file, problem) for problem in problems))
    return {entry.name: entry.value for entry in entries}


def read_params(notebook: Path, file: Path) -> tuple[list[Entry], list[Problem]]:
    """The entries of a params file that fit, and all that is wrong with the others.

    Wrong is an unknown or repeated name; a type other than the default's (an int may stand for a float, a bool never for
    an int, list elements likewise; elements of a list that is empty by default are texts; any type where the default is
    None); a value outside the range that the notebook's comment gives (lib.stage.ranges); and what YAML reads other than it
    looks (lib.stage.flat_yaml). A bare word that the comment lets stand for a list becomes the list of that one. Raises Refused
    as `parameter_defaults` does, and when there is no such file.
    """
    defaults, allowed = parameter_defaults(notebook), parameter_ranges(notebook)
    if not file.exists():
        raise Refused(f"there is no {short(file)}; wanted one line per parameter of {notebook.name}: "
                      f"{', '.join(defaults)}")
    entries, problems = flat_yaml.read(file)
    values = defaults | {entry.name: entry.value for entry in entries if entry.name in defaults}
    fitting = []
    for entry in entries:
        if entry.name not in defaults:
            actual, wanted = f"no parameter of {notebook.name}", _nearest(entry.name, defaults)
        else:
            entry = _one_word(entry, defaults[entry.name], allowed[entry.name])
            actual, wanted = _misfit(entry.value, defaults[entry.name])
            if wanted and allowed[entry.name].words and not isinstance(entry.value, list):
                wanted += f", or {' or '.join(allowed[entry.name].words)}"
            if not wanted:
                actual, wanted = _out_of_range(entry.value, allowed[entry.name], values)
        if wanted:
            problems.append(Problem(entry.line, entry.name, actual, wanted))
        else:
            fitting.append(entry)
    return fitting, sorted(problems, key=lambda problem: problem.line)


def _one_word(entry: Entry, default: Any, allowed: Range) -> Entry:
    """The entry, a word that may stand for a list as the list of it, so that bare or not it is one value."""
    bare = isinstance(default, list) and isinstance(entry.value, str) and entry.value in allowed.words
    return replace(entry, value=[entry.value]) if bare else entry


def sentence(file: Path, problem: Problem) -> str:
    """A problem as one sentence with its place."""
    where = f"{short(file)}, line {problem.line}" if problem.line else short(file)
    what = f"{problem.name} is" if problem.name else "found"
    return f"{where}: {what} {problem.actual}, wanted {problem.wanted}"


def parameter_defaults(notebook: Path) -> dict[str, Any]:
    """Name and default of each assignment in the notebook's cell tagged `parameters`.

    Raises Refused without exactly one such cell, or when it holds anything but assignments of literals.
    """
    defaults = {}
    try:
        body = ast.parse(_parameters_cell(notebook)).body
    except SyntaxError as error:
        raise Refused(f"{short(notebook)}, parameters cell, line {error.lineno}: {error.msg}; wanted Python") from None
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        try:
            defaults[target.id] = ast.literal_eval(node.value)
        except (AttributeError, TypeError, ValueError):
            raise Refused(f"{short(notebook)}, parameters cell, line {node.lineno}: found "
                          f"`{ast.unparse(node)}`, wanted `name = literal`") from None
    return defaults


def _parameters_cell(notebook: Path) -> str:
    if not notebook.exists():
        raise Refused(f"there is no notebook {short(notebook)}")
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"{short(notebook)} is no JSON: {error}; wanted a notebook (jupytext --sync the .py)") from None
    cells = [cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise Refused(f"{short(notebook)} has {len(cells)} cells tagged `parameters`, wanted one")
    return "".join(cells[0]["source"])


def parameter_ranges(notebook: Path) -> dict[str, Range]:
    """Name and range of each parameter, by the comments of the notebook's `parameters` cell. Raises Refused."""
    return ranges.of_source(_parameters_cell(notebook))


def paths_of(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Parameter and text of every path that a stage's values name, by parameters that end in `_path` or `_paths`.

    Empty ones are left out, and so are `simulated:` files, which the front door makes.
    """
    for name, value in values.items():
        for text in value if isinstance(value, (list, tuple)) else [value]:
            if name.endswith(("_path", "_paths")) and text and not str(text).startswith("simulated:"):
                yield name, str(text)


def check_pair(notebook: Path) -> None:
    """Raise Refused unless the .py beside `notebook` has the same cells and tags."""
    import jupytext
    script = notebook.with_suffix(".py")
    for path in (script, notebook):
        if not path.exists():
            raise Refused(f"there is no {short(path)}; a notebook is a pair: jupytext --sync the other one")
    pair = [[(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in jupytext.read(path).cells]
            for path in (script, notebook)]
    if pair[0] != pair[1]:
        cell = next((i for i, (a, b) in enumerate(zip(*pair)) if a != b), min(map(len, pair)))
        raise Refused(f"{short(script)} and {notebook.name} disagree from cell {cell + 1} on: "
                      f"jupytext --sync {short(script)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    return (f"{near[0]}, if that was meant; " if near else "") + f"known: {', '.join(known)}"


def _misfit(value: Any, default: Any) -> tuple[str, str]:
    """What was found and wanted where `value` cannot stand for `default`, else two empty texts."""
    if default is None:
        return "", ""
    if isinstance(default, (list, tuple)):
        if not isinstance(value, list):
            return f"{value!r} ({type(value).__name__})", f"a list like {list(default)!r}"
        model = next((d for d in default if isinstance(d, float)), default[0] if default else "text")
        wrong = ((f"a list with element {i + 1} {actual}", wanted)
                 for i, (actual, wanted) in enumerate(_misfit(v, model) for v in value) if wanted)
        return next(wrong, ("", ""))
    fits_float = type(default) is float and type(value) is int and abs(value) <= sys.float_info.max
    if type(value) is type(default) or fits_float:
        return "", ""
    hint = ""
    if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if _is_number(value) else " (text)"
    return f"{value!r} ({type(value).__name__}){hint}", f"{type(default).__name__} like the default {default!r}"


def _out_of_range(value: Any, allowed: Range, values: dict[str, Any]) -> tuple[str, str]:
    """What was found and wanted where a value of the right type is not in its range, else two empty texts.

    values: those of the other parameters, for a list that has to be as long as another.
    """
    if not isinstance(value, list):
        return (repr(value), allowed.wanted(value)) if allowed.wanted(value) else ("", "")
    for i, element in enumerate(value):
        if wanted := allowed.wanted(element):
            return f"a list with element {i + 1} {element!r}", wanted
    if allowed.filled and not value:
        return "an empty list", "one element or more"
    if allowed.distinct and len(set(value)) < len(value):
        twice = next(v for i, v in enumerate(value) if v in value[:i])
        return f"a list with {twice!r} twice", "each element once"
    if len(value) > 1 and (words := [word for word in allowed.words if word in value]):
        return f"a list with {words[0]!r} among others", f"{words[0]} alone, or a list without it"
    other = values.get(allowed.as_many)
    if isinstance(other, list) and len(value) != len(other):
        return f"a list of {len(value)}", f"{len(other)} elements, one for each of {allowed.as_many}"
    return "", ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def notebook_path(stage: str) -> Path:
    """The notebook of a stage."""
    return io.ROOT / "notebooks" / f"{stage}.ipynb"


def short(path: Path) -> str:
    """The path as a reader types it: relative to the root when inside."""
    return path.relative_to(io.ROOT).as_posix() if path.is_relative_to(io.ROOT) else str(path)
