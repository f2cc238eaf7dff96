"""A toy project: two or three notebooks that take no time, in a folder of their own."""

import shutil
from pathlib import Path
from unittest.mock import patch

import jupytext

from lib.stage import io, params

HEADER = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""


def write_pair(root: Path, stage: str, text: str) -> Path:
    """Write notebooks/<stage>.py and .ipynb from percent-format text; the .ipynb's path."""
    script = root / "notebooks" / f"{stage}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(HEADER + text)
    notebook = jupytext.reads(script.read_text(), fmt="py:percent")
    jupytext.write(notebook, script.with_suffix(".ipynb"))
    return script.with_suffix(".ipynb")


def write_params(root: Path, stage: str, text: str, study: str = "toy") -> Path:
    """Write params/<study>/<stage>.yaml; its path."""
    file = root / "params" / study / f"{stage}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def copy_lib(root: Path) -> None:
    """Give the toy project its own lib, for kernels and commands that start there."""
    for name in ("__init__.py", "stage", "run"):
        source = Path(io.__file__).parents[1] / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (root / "lib").mkdir(parents=True, exist_ok=True)
        copy(source, root / "lib" / name)


def toy_stages(stages: dict[str, list[str]]):
    """The stages of a toy project, in a `with`: which reads which, by their numbers."""
    return patch.dict(params.UPSTREAM, {name[:2]: tuple(n[:2] for n in upstream) for name, upstream in stages.items()}, clear=True)
