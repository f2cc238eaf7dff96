"""A module is one idea, a function one step and a cell one thought: none is so long that it cannot be."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE, FUNCTION, CELL = 350, 50, 20  # lines; those of a cell without blanks and comments
VAGUE = {"found", "mine", "there"}  # names that could be anything's


def long_modules(lib: Path) -> list[str]:
    """Modules of more than MODULE lines."""
    lengths = {p.relative_to(lib).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in lib.rglob("*.py")}
    return sorted(name for name, n in lengths.items() if n > MODULE)


def long_functions(lib: Path) -> list[str]:
    """Functions and methods of more than FUNCTION lines, from `def` to their end, the docstring too."""
    names = []
    for path in sorted(lib.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= FUNCTION:
                names.append(f"{path.relative_to(lib).as_posix()}: {node.name}")
    return names


def cells(source: str) -> list[list[str]]:
    """The code lines of each code cell of a notebook in percent format, but for the parameters cell."""
    bodies = []
    for cell in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" not in head and '"parameters"' not in head:
            bodies.append([line for line in body.split("\n") if line.strip() and not line.strip().startswith("#")])
    return bodies


def long_cells(notebooks: Path) -> dict[str, int]:
    """Notebook -> how many of its cells have more than CELL code lines, for those that have one."""
    counts = {p.stem: sum(len(c) > CELL for c in cells(p.read_text(encoding="utf-8"))) for p in sorted(notebooks.glob("*.py"))}
    return {name: n for name, n in counts.items() if n}


def vague_names(folder: Path) -> list[str]:
    """Identifiers of VAGUE, in any case, underscores around them or not: variables, parameters, functions and classes."""
    names = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case (ast.Name(id=name) | ast.arg(arg=name) | ast.ClassDef(name=name) | ast.FunctionDef(name=name)
                      | ast.AsyncFunctionDef(name=name)) if name.lower().strip("_") in VAGUE:  # fmt: skip
                    names.append(f"{path.relative_to(folder).as_posix()}, line {node.lineno}: {name}")
    return names


def test_modules_are_short():
    assert long_modules(ROOT / "lib") == []


def test_functions_are_short():
    assert long_functions(ROOT / "lib") == []


def test_cells_are_short():
    assert long_cells(ROOT / "notebooks") == {}


def test_names_say_what_they_are():
    assert [vague_names(ROOT / folder) for folder in ("lib", "notebooks", "benchmarks")] == [[], [], []]


def test_a_vague_name_is_seen_and_a_column_or_prose_is_not(tmp_path):
    text = """class _Found:
    there: int

def _found(mine, *, n_found=0):
    "What was found there."
    return table.found, table["found"], table.assign(found=n_found)
"""
    (tmp_path / "a.py").write_text(text)
    assert vague_names(tmp_path) == ["a.py, line 1: _Found", "a.py, line 4: _found", "a.py, line 2: there", "a.py, line 4: mine"]


def test_a_long_module_is_seen(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room/just.py").write_text("x = 1\n" * 350)
    (tmp_path / "room/long.py").write_text("x = 1\n" * 351)
    assert long_modules(tmp_path) == ["room/long.py"]


def test_a_long_function_is_seen_wherever_it_is(tmp_path):
    def function(lines: int, indent: str = "") -> str:
        return f"{indent}def f{lines}():\n" + f"{indent}    x = 1\n" * (lines - 1)

    inner = "def around():\n    async def inner():\n" + "        x = 1\n" * 50
    (tmp_path / "a.py").write_text(function(50) + function(51) + "class C:\n" + function(52, "    ") + inner)
    assert sorted(long_functions(tmp_path)) == ["a.py: around", "a.py: f51", "a.py: f52", "a.py: inner"]


def test_a_long_cell_is_seen_and_prose_blanks_comments_and_parameters_do_not_count(tmp_path):
    def cell(head: str, n: int) -> str:
        return f"# %%{head}\n" + "x = 1\n\n# why\n" * n

    text = "# ---\n" + cell(' tags=["parameters"]', 40) + cell(" [markdown]", 40) + cell("", 20) + cell("", 21) + cell(' tags=["hide"]', 30)
    (tmp_path / "01_a.py").write_text(text)
    (tmp_path / "02_b.py").write_text(cell("", 20))
    assert [len(c) for c in cells(text)] == [20, 21, 30]
    assert long_cells(tmp_path) == {"01_a": 2}
