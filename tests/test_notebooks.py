"""The notebooks, each a pair that agrees, without outputs, and with params that fit in every study."""

import json
from pathlib import Path

import pytest

from lib.stage import io, params
from tests.projects import write_pair, write_params


def problems(root: Path) -> list[str]:
    """What is wrong with the notebooks under `root`, one line each."""
    folder = root / "notebooks"
    wrong = []
    for suffix in (".py", ".ipynb"):
        names = sorted(p.stem for p in folder.glob(f"*{suffix}"))
        wanted = sorted({stage for study in (root / "params").iterdir() if study.is_dir() for stage in params.stages(study.name)})
        if names != wanted:
            wrong.append(f"notebooks/*{suffix}: found {names}, wanted those of the studies, {wanted}")
    for notebook in sorted(folder.glob("*.ipynb")):
        for check in (params.check_pair, params.parameter_defaults):
            try:
                check(notebook)
            except params.Refused as error:
                wrong.append(str(error))
        cells = json.loads(notebook.read_text())["cells"]
        if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
            wrong.append(f"{notebook.name} has outputs or execution counts: strip them")
    return wrong


def params_problems(root: Path) -> list[str]:
    """What does not fit in any study's params, one line each."""
    wrong = []
    for folder in sorted(p for p in (root / "params").iterdir() if p.is_dir()):
        wrong += [f"params/{folder.name}/{p.name} is no stage" for p in folder.glob("*.yaml") if not params.number_of(p.stem)]
        for stage in params.stages(folder.name):
            try:
                params.stage_params(folder.name, stage)
            except params.Refused as error:
                wrong.append(str(error))
    return wrong


def test_the_notebooks():
    assert problems(io.ROOT) == []


def test_the_params_of_every_study():
    assert params_problems(io.ROOT) == []


# The checks themselves, on a toy tree --------------------------------------------------------------------


SEVEN = [f"{number}_stage" for number in ("00", "01", "02", "03", "04", "05", "09")]


@pytest.fixture
def seven(root):
    for stage in SEVEN:
        write_pair(root, stage, '# %% [markdown]\n# # Why?\n\n# %% tags=["parameters"]\nn = 1\n\n# %%\nprint(n)\n')
        write_params(root, stage, "n: 2\n")
    return root


def test_a_good_tree_passes(seven):
    assert problems(seven) == [] and params_problems(seven) == []


def test_six_pairs_are_not_seven(seven):
    (seven / "notebooks/04_stage.py").unlink()
    (seven / "notebooks/04_stage.ipynb").unlink()
    assert len(problems(seven)) == 2
    assert any("no notebook notebooks/04_stage.ipynb" in p for p in params_problems(seven))


@pytest.mark.parametrize("old, new, message", [
    ("print(n)", "print(n + 1)", "disagree from cell 3 on"),
    ("# # Why?", "# # How?", "disagree from cell 1 on"),
    ('# %%\nprint', '# %% tags=["x"]\nprint', "disagree from cell 3 on"),
    ("print(n)\n", "print(n)\n\n# %%\nprint(2)\n", "disagree from cell 4 on"),
])
def test_a_disagreeing_pair_is_found(seven, old, new, message):
    script = seven / "notebooks/02_stage.py"
    assert old in script.read_text()
    script.write_text(script.read_text().replace(old, new))
    assert len(problems(seven)) == 1 and message in problems(seven)[0]


def test_outputs_are_found(seven):
    notebook = seven / "notebooks/03_stage.ipynb"
    content = json.loads(notebook.read_text())
    content["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    notebook.write_text(json.dumps(content))
    assert problems(seven) == ["03_stage.ipynb has outputs or execution counts: strip them"]


def test_params_that_do_not_fit_are_found(seven):
    write_params(seven, "09_stage", "n: 1e-3\n", study="toy")
    write_params(seven, "varients", "n: 1\n", study="toy")
    problems = params_problems(seven)
    assert len(problems) == 2 and "is no stage" in problems[0] and "write 1.0e-3" in problems[1]
