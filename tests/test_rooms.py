"""What the rooms of `lib` may know of each other: arrows point down, and no shared room knows a kind of study."""

import ast
import re
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib"
NOTEBOOKS = LIB.parent / "notebooks"
#: The shared rooms, lowest first: one may import from those before it, and from itself.
ROOMS = ("stage", "stats", "corpus", "models", "acts", "sae", "outcome", "annotate", "causal", "edits", "figures",
         "publish", "check", "run")  # fmt: skip
KINDS = ("dna", "mrna")  # a kind may import from any shared room


def arrows(lib: Path) -> dict[str, set[str]]:
    """Module of `lib` -> the modules of `lib` that it imports anywhere, also inside a function."""
    names = {".".join(("lib", *path.relative_to(lib).with_suffix("").parts)) for path in lib.rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in names}
    return {name: _imported(lib, name, names) for name in names}


def _imported(lib: Path, name: str, names: set[str]) -> set[str]:
    path = lib.joinpath(*name.split(".")[1:])
    package = name if path.is_dir() else name.rpartition(".")[0]
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    said = {_known(one, names) for one in imports(text, package)}
    return {one for one in said if one in names and one != "lib"} - {name}


def imports(text: str, package: str = "") -> set[str]:
    """What a text imports, names of modules among it: `from a import b` is a.b. package: that of the text, for relative imports."""
    said = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            said |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            said |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and (called := _called_for(node)):
            said.add(_absolute(called, package))
    return said


def _called_for(node: ast.Call) -> str:
    """The literal name that `import_module` is called for, under whatever module it is called, or ""."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    named = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "name")]
    literal = [arg.value for arg in named if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return literal[0] if function == "import_module" and literal else ""


def _absolute(name: str, package: str) -> str:
    """A name as it is said inside a package: one dot is the package itself, each further one a level up."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    above = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*above, *filter(None, [name[level:]])])


def _known(name: str, names: set[str]) -> str:
    """`a.b` is a module, or a name in the module `a`."""
    return name if name in names else name.rpartition(".")[0]


def of_kinds(folder: Path) -> list[str]:
    """What shared notebooks import from the room of a kind: `notebook: module`. 00 and 08 are the kinds' own doors."""
    shared = sorted(file for file in folder.glob("*.py") if not file.name.startswith(("00", "08")))
    said = [(file.name, one) for file in shared for one in sorted(imports(file.read_text(encoding="utf-8")))]
    return [f"{name}: {one}" for name, one in said if (one + ".").startswith(tuple(f"lib.{kind}." for kind in KINDS))]


def wrong(graph: dict[str, set[str]]) -> list[str]:
    """The arrows that point up, into a kind from outside it, or from one kind to another."""
    arrows = []
    for name, targets in graph.items():
        for target in targets:
            here, that = name.split(".")[1], target.split(".")[1]
            if here == that or (here in KINDS and that in ROOMS):
                continue
            if that in KINDS or here in KINDS or ROOMS.index(that) > ROOMS.index(here):
                arrows.append(f"{name} -> {target}")
    return sorted(arrows)


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules that reach themselves."""
    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    return sorted(name for name in graph if name in reached(name))


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return {name: targets for name, targets in arrows(LIB).items() if name != "lib"}


def test_every_module_is_in_a_room_that_is_named(graph):
    assert {name.split(".")[1] for name in graph} == {*ROOMS, *KINDS}
    assert len(graph) > 100


def test_arrows_point_down_and_no_shared_room_knows_a_kind(graph):
    assert wrong(graph) == []


def test_no_module_reaches_itself(graph):
    assert circles(graph) == []


def test_no_shared_notebook_imports_from_the_room_of_a_kind():
    assert len(list(NOTEBOOKS.glob("0[1-79]*.py"))) == 8
    assert of_kinds(NOTEBOOKS) == []


def test_an_import_of_a_kind_is_seen_in_a_shared_notebook_and_not_in_a_door(tmp_path):
    text = """# %%
from lib.corpus import dna
from lib import corpus
import lib.dna_like

def late():
    from lib.dna.windows import cut
    from lib import dna
    import lib.dna.motifs as read, lib.stage
    return importlib.import_module("lib.dna.kind")
"""
    (tmp_path / "00_dna.py").write_text(text)
    (tmp_path / "08_dna.py").write_text(text)
    (tmp_path / "04_annotation.py").write_text(text)
    (tmp_path / "09_paper_figures.py").write_text("# %% [markdown]\n# from lib.dna import motifs\n")
    seen = ["lib.dna", "lib.dna.kind", "lib.dna.motifs", "lib.dna.windows.cut"]
    assert of_kinds(tmp_path) == [f"04_annotation.py: {one}" for one in seen]


def test_tests_lie_in_the_rooms_of_what_they_test():
    rooms = {path.parent.name for path in Path(__file__).parent.glob("*/test_*.py")}
    assert rooms <= {*ROOMS, *KINDS}


@pytest.mark.parametrize("module, line", [
    ("stage/io.py", "from lib.acts import store"),
    ("annotate/search.py", "def late():\n    from lib.dna import motifs\n"),
    ("publish/gate.py", "import lib.dna.people"),
    ("stats/estimates.py", "from ..run import notebook"),
])  # fmt: skip
def test_a_wrong_arrow_is_seen(tmp_path, module, line):
    (tmp_path / "lib").mkdir()
    for path in LIB.rglob("*.py"):
        copy = tmp_path / "lib" / path.relative_to(LIB)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    changed = tmp_path / "lib" / module
    changed.write_text(changed.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    graph = arrows(tmp_path / "lib")
    graph.pop("lib")
    assert len(wrong(graph)) == 1
    assert wrong(graph)[0].startswith("lib." + module.removesuffix(".py").replace("/", "."))


@pytest.fixture
def toy(tmp_path) -> Path:
    """A tree of a room of two modules, with an empty package of a kind."""
    for module in ("__init__", "sae/__init__", "sae/model", "sae/inner/__init__", "sae/inner/deep", "dna/__init__", "dna/people"):
        file = tmp_path / f"lib/{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return tmp_path / "lib"


@pytest.mark.parametrize("module, line, target", [
    ("sae/__init__.py", "from .model import SAE", "lib.sae.model"),
    ("sae/__init__.py", "from . import model", "lib.sae.model"),
    ("sae/__init__.py", "from ..dna import people", "lib.dna.people"),
    ("sae/inner/__init__.py", "from .deep import x", "lib.sae.inner.deep"),
    ("sae/inner/__init__.py", "from ..model import SAE", "lib.sae.model"),
    ("sae/model.py", "from .inner import deep", "lib.sae.inner.deep"),
    ("sae/model.py", "from .inner import other", "lib.sae.inner"),
    ("sae/inner/deep.py", "from ...dna.people import read", "lib.dna.people"),
])  # fmt: skip
def test_a_relative_import_is_followed_from_its_own_package(toy, module, line, target):
    (toy / module).write_text(line)
    graph = arrows(toy)
    assert {name: targets for name, targets in graph.items() if targets} == {
        "lib." + module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): {target}
    }


@pytest.mark.parametrize("line, targets", [
    ("import importlib\nimportlib.import_module('lib.dna.people')", {"lib.dna.people"}),
    ("from importlib import import_module\ndef late():\n    return import_module(name='lib.dna')", {"lib.dna"}),
    ("import importlib\nimportlib.import_module('..dna.people', __package__)", {"lib.dna.people"}),
    ("from importlib import import_module\nimport_module(kind), import_module('numpy'), other('lib.dna')", set()),
])  # fmt: skip
def test_a_module_imported_by_a_literal_name_is_seen(toy, line, targets):
    (toy / "sae/model.py").write_text(line)
    graph = arrows(toy)
    assert graph["lib.sae.model"] == targets
    graph.pop("lib")
    assert wrong(graph) == sorted(f"lib.sae.model -> {one}" for one in targets)


def figure_rows(readme: str) -> list[str]:
    """The rows of README's table of figures."""
    return [row for row in readme.split("\n") if re.match(r"\| (fig\d|all eleven)", row)]


def untested(row: str, tests: Path) -> list[str]:
    """Functions of a row's fourth column that no test named in its fifth uses, and tests of a room that use none of them.

    A test outside the rooms runs whole notebooks, and calls no function by its name."""
    by, where = row.split("|")[4:6]
    functions = re.findall(r"`\w+/\w+\.(\w+)`", by)
    used = {name: identifiers((tests / name).read_text(encoding="utf-8")) for name in re.findall(r"`([\w/]*test_\w+\.py)`", where)}
    lone = [one for one in functions if not any(one in names for names in used.values())]
    idle = [name for name, names in used.items() if "/" in name and names.isdisjoint(functions)]
    return [*lone, *idle]


def identifiers(text: str) -> set[str]:
    """The names that code uses, not those that its prose mentions."""
    nodes = list(ast.walk(ast.parse(text)))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_the_readme_names_code_and_tests_that_are_there():
    """Of every figure: the function that computes it, its test and the function that draws it."""
    rows = figure_rows((LIB.parent / "README.md").read_text(encoding="utf-8"))
    assert len(rows) == 12
    for row in rows:
        functions, tests = re.findall(r"`(\w+/\w+)\.(?!py`)(\w+)`", row), re.findall(r"`([\w/]*test_\w+\.py)`", row)
        assert functions and tests
        for module, name in functions:
            assert re.search(rf"^def {name}\(", (LIB / f"{module}.py").read_text(encoding="utf-8"), re.MULTILINE), (module, name)
        for name in tests:
            assert (LIB.parent / "tests" / name).is_file(), name


def test_the_tests_that_the_readme_names_use_the_functions_beside_them():
    rows = figure_rows((LIB.parent / "README.md").read_text(encoding="utf-8"))
    assert len(rows) == 12
    assert [(row.split("|")[1].strip(), one) for row in rows for one in untested(row, LIB.parent / "tests")] == []


def test_a_test_that_does_not_use_the_function_beside_it_is_seen(tmp_path):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae/test_a.py").write_text('"""Tiny numbers of tune."""\n\ndef test_it():\n    assert train.train() == tuned\n')
    (tmp_path / "test_chain.py").write_text('"""Tiny numbers."""\n')
    row = "| fig3 | what | 03 | `sae/train.train` | `sae/test_a.py` | `figures/a.numbers` |"
    assert untested(row, tmp_path) == []
    assert untested(row.replace("sae/test_a.py", "test_chain.py"), tmp_path) == ["train"]
    assert untested(row.replace("train.train`", "train.train`, `sae/train.tune`"), tmp_path) == ["tune"]
    assert untested(row.replace("train.train`", "train.tune`"), tmp_path) == ["tune", "sae/test_a.py"]
    assert untested(row.replace("sae/test_a.py`", "sae/test_a.py`, `test_chain.py`"), tmp_path) == []


def test_a_circle_is_seen():
    graph = {"lib.sae.a": {"lib.sae.b"}, "lib.sae.b": {"lib.sae.a"}, "lib.sae.c": {"lib.sae.a"}}
    assert circles(graph) == ["lib.sae.a", "lib.sae.b"]
