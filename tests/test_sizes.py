"""A module is one idea, a function one step and a cell one thought: none is so long that it cannot be."""

import ast
import io
import itertools
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE, FUNCTION, CELL = 350, 50, 20  # lines; those of a cell without blanks and comments, each statement of `a; b` one
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


def cells(source: str) -> list[int]:
    """How many code lines each code cell of a notebook in percent format has, but for the parameters cell."""
    counts = []
    for cell in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" not in head and '"parameters"' not in head:
            counts.append(code_lines(body))
    return counts


def code_lines(body: str) -> int:
    """Lines that hold code or part of a string, and one more for each statement that follows a `;` on its line."""
    no_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(body).readline) if token.type not in no_code]
    written = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    lines = body.split("\n")
    full = {line for line in written if lines[line - 1].strip()}
    joined = [one for one, after in itertools.pairwise(tokens) if one.string == ";" and one.end[0] == after.start[0]]
    return len(full) + len(joined)


def long_cells(notebooks: Path) -> dict[str, int]:
    """Notebook -> how many of its cells have more than CELL code lines, for those that have one."""
    counts = {p.stem: sum(n > CELL for n in cells(p.read_text(encoding="utf-8"))) for p in sorted(notebooks.glob("*.py"))}
    return {name: n for name, n in counts.items() if n}


def vague_names(folder: Path) -> list[str]:
    """Identifiers of VAGUE, in any case, underscores around them or not, wherever a name is given.

    Not where one is used that is given elsewhere: keyword arguments of calls, and attributes that are read."""
    names = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            vague = [name for name in given(node) if name.lower().strip("_") in VAGUE]
            names += [f"{path.relative_to(folder).as_posix()}, line {node.lineno}: {name}" for name in vague]
    return names


def given(node: ast.AST) -> list[str]:
    """The names that a node itself gives to something, or reads as a variable."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.ClassDef(name=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return names
    return []


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


@pytest.mark.parametrize("line, name", [
    ("import numpy as found", "found"),
    ("from numpy import array as _mine", "_mine"),
    ("try:\n    pass\nexcept ValueError as mine:\n    pass", "mine"),
    ("self.there = 1", "there"),
    ("self.there, other = 1, 2", "there"),
    ("self.found += 1", "found"),
    ("self.mine: int = 1", "mine"),
    ("for self.there in ():\n    pass", "there"),
    ("with opened() as self.Found:\n    pass", "Found"),
    ("match 1:\n    case [*found]:\n        pass", "found"),
    ("match 1:\n    case {**there}:\n        pass", "there"),
    ("match 1:\n    case int() as mine:\n        pass", "mine"),
    ("def f():\n    global found", "found"),
    ("value = [1 for there in ()]", "there"),
    ("value = (mine := 1)", "mine"),
    ("value = lambda found: 1", "found"),
])  # fmt: skip
def test_a_vague_name_is_seen_however_it_is_given(tmp_path, line, name):
    (tmp_path / "a.py").write_text(line)
    assert [said.rpartition(": ")[2] for said in vague_names(tmp_path)] == [name]


@pytest.mark.parametrize("line", [
    "import found", "from there import mine", "table.assign(found=1)", "drawn(there=1)", "print(self.there)", "del row['found']",
    "import found.mine as reader", "try:\n    pass\nexcept ValueError:\n    pass",
])  # fmt: skip
def test_what_others_named_may_be_said(tmp_path, line):
    (tmp_path / "a.py").write_text(line)
    assert vague_names(tmp_path) == []


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
    assert cells(text) == [20, 21, 30]
    assert long_cells(tmp_path) == {"01_a": 2}


@pytest.mark.parametrize("body, n", [
    ('text = """\n# a heading\n\n- a point\n"""\n', 4),
    ("x = 1  # why; and so on\n# x = 1; y = 2\n", 1),
    ("x = 1; y = 2; z = 3\n", 3),
    ("style.save(figure);\nx = 1;  # why\n", 2),
    ("text = 'a; b'\n", 1),
    ("x = [\n    1,  # one\n    # two\n\n    2,\n]\n", 4),
    ("if x:\n    y = 1\n\n    # why\n", 2),
    ('"""One.\n# Two; two.\n"""; x = 1\n', 4),
    ("", 0),
])  # fmt: skip
def test_a_line_of_a_string_and_a_joined_statement_count_and_a_comment_does_not(body, n):
    assert code_lines(body) == n


def test_a_cell_made_short_by_semicolons_or_by_marks_of_comments_is_long(tmp_path):
    (tmp_path / "01_a.py").write_text("# %%\n" + "x = 1; y = 2\n" * 11)
    (tmp_path / "02_b.py").write_text('# %%\ntext = """\n' + "# a heading\n" * 19 + '"""\n')
    (tmp_path / "03_c.py").write_text('# %%\ntext = """\n' + "# a heading\n" * 18 + '"""\n')
    assert long_cells(tmp_path) == {"01_a": 1, "02_b": 1}
