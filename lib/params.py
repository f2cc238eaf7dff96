"""Params of a study: one flat YAML file a stage, checked against the notebook's `parameters` cell."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from lib import io

STAGES: dict[str, list[str]] = {
    "01_extraction": [],
    "02_layer_hunting": ["01_extraction"],
    "03_sae_training": ["01_extraction", "02_layer_hunting"],
    "04_annotation": ["01_extraction", "03_sae_training"],
    "05_validation": ["01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation"],
    "06_variants": ["01_extraction", "03_sae_training", "04_annotation"],
    "07_paper_figures": ["01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation",
                         "05_validation", "06_variants"],
}


class Refused(ValueError):
    """The run cannot start: the message says which file, what was found and what was wanted."""


def stage_params(study: str, stage: str) -> dict[str, Any]:
    """Every value that a stage's notebook runs with: its defaults, over them those of params/<study>/<stage>.yaml.

    `study` is the folder's name; the file need not say it. Raises Refused.
    """
    try:
        io.study_dir(study)
    except ValueError as error:
        raise Refused(str(error)) from None
    if stage not in STAGES:
        raise Refused(f"unknown stage {stage!r}; stages: {', '.join(STAGES)}")
    folder = io.ROOT / "params" / study
    if not folder.is_dir():
        studies = sorted(p.name for p in folder.parent.glob("*/")) if folder.parent.is_dir() else []
        raise Refused(f"unknown study {study!r}: there is no params/{study}/; studies: {', '.join(studies)}")
    file = folder / f"{stage}.yaml"
    values = check_params(notebook_path(stage), file)
    if values.get("study", study) != study:
        raise Refused(f"{short(file)}: study is {values['study']!r}, wanted {study!r}, the folder's name")
    defaults = parameter_defaults(notebook_path(stage))
    return defaults | values | ({"study": study} if "study" in defaults else {})


def check_params(notebook: Path, file: Path) -> dict[str, Any]:
    """The values of a params file, once each is known to fit the notebook's `parameters` cell.

    notebook: the .ipynb; file: flat YAML. Raises Refused for an unknown or repeated name, for a type other
    than the default's (an int may stand for a float, a bool never for an int, list elements likewise; any
    type where the default is None), and as in `parameter_defaults`.
    """
    import yaml
    defaults = parameter_defaults(notebook)
    if not file.exists():
        raise Refused(f"there is no {short(file)}; wanted one line per parameter of {notebook.name}: "
                      f"{', '.join(defaults)}")
    text = file.read_text(encoding="utf-8")
    try:
        root, values = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(f"{short(file)} is not YAML: {error}") from None
    if root is None:
        return {}
    if not isinstance(values, dict):
        raise Refused(f"{short(file)}: found a {type(values).__name__}, wanted lines of `name: value`")
    seen: dict[str, int] = {}
    for key, _ in root.value:
        line = key.start_mark.line + 1
        where = f"{short(file)}, line {line}: {key.value}"
        if key.value in seen:
            raise Refused(f"{where} is there twice, first in line {seen[key.value]}")
        if key.value not in defaults:
            raise Refused(f"{where} is no parameter of {notebook.name}; known: {', '.join(defaults)}")
        seen[key.value] = line
        problem = _misfit(values[key.value], defaults[key.value])
        if problem:
            raise Refused(f"{where} {problem}")
    return values


def parameter_defaults(notebook: Path) -> dict[str, Any]:
    """Name and default of each assignment in the notebook's cell tagged `parameters`.

    Raises Refused without exactly one such cell, or when it holds anything but assignments of literals.
    """
    if not notebook.exists():
        raise Refused(f"there is no notebook {short(notebook)}")
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
             if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise Refused(f"{short(notebook)} has {len(cells)} cells tagged `parameters`, wanted one")
    defaults = {}
    for node in ast.parse("".join(cells[0]["source"])).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        try:
            defaults[target.id] = ast.literal_eval(node.value)
        except (AttributeError, TypeError, ValueError):
            raise Refused(f"{short(notebook)}, parameters cell, line {node.lineno}: found "
                          f"`{ast.unparse(node)}`, wanted `name = literal`") from None
    return defaults


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


def _misfit(value: Any, default: Any) -> str:
    """Why `value` cannot stand for `default`, or nothing."""
    if default is None:
        return ""
    if isinstance(default, (list, tuple)):
        if not isinstance(value, list):
            return f"is {value!r} ({type(value).__name__}), wanted a list like {list(default)!r}"
        model = next((d for d in default if isinstance(d, float)), default[0] if default else None)
        problems = (f"element {i + 1} {_misfit(v, model)}" for i, v in enumerate(value) if _misfit(v, model))
        return next(problems, "")
    if type(value) is type(default) or (type(default) is float and type(value) is int):
        return ""
    hint = ""
    if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if _is_number(value) else " (text)"
    return (f"is {value!r} ({type(value).__name__}){hint}, wanted {type(default).__name__} "
            f"like the default {default!r}")


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
