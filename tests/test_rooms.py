"""What the rooms of `lib` may know of each other: arrows point down, and no shared room knows a kind of study."""

import ast
import re
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib"
#: The shared rooms, lowest first: one may import from those before it, and from itself.
ROOMS = ("stage", "stats", "corpus", "models", "acts", "sae", "outcome", "annotate", "causal", "edits", "figures",
         "publish", "check", "run")  # fmt: skip
KINDS = ("dna",)  # a kind may import from any shared room


def arrows(lib: Path) -> dict[str, set[str]]:
    """Module of `lib` -> the modules of `lib` that it imports anywhere, also inside a function."""
    names = {".".join(("lib", *path.relative_to(lib).with_suffix("").parts)) for path in lib.rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in names}
    return {name: _imported(lib, name, names) for name in names}


def _imported(lib: Path, name: str, names: set[str]) -> set[str]:
    path = lib.joinpath(*name.split(".")[1:])
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    said = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            said |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *filter(None, [node.module])])
            said |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base for alias in node.names}
    return {one for one in said if one in names and one != "lib"} - {name}


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


def test_the_readme_names_code_and_tests_that_are_there():
    """Of every figure: the function that computes it, its test and the function that draws it."""
    text = (LIB.parent / "README.md").read_text(encoding="utf-8")
    rows = [row for row in text.split("\n") if re.match(r"\| (fig\d|all eleven)", row)]
    assert len(rows) == 13
    for row in rows:
        functions, tests = re.findall(r"`(\w+/\w+)\.(?!py`)(\w+)`", row), re.findall(r"`([\w/]*test_\w+\.py)`", row)
        assert functions and tests
        for module, name in functions:
            assert re.search(rf"^def {name}\(", (LIB / f"{module}.py").read_text(encoding="utf-8"), re.MULTILINE), (module, name)
        for name in tests:
            assert (LIB.parent / "tests" / name).is_file(), name


def test_a_circle_is_seen():
    graph = {"lib.sae.a": {"lib.sae.b"}, "lib.sae.b": {"lib.sae.a"}, "lib.sae.c": {"lib.sae.a"}}
    assert circles(graph) == ["lib.sae.a", "lib.sae.b"]
