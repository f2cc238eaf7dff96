"""Every column that may leave has a sort, so that a clean study is never refused for one."""

import itertools
import re

import pytest

from lib.publish import gate, typed


def spelled(pattern: str) -> list[str]:
    """The names that a pattern of alternatives and optional groups stands for; what follows of any length is "x"."""
    parts = re.split(r"(\((?:\?:)?[^()]*\)\??)", pattern.replace(".*", "x"))
    choices = [[*part.strip("()?").split("|"), *([""] if part.endswith("?") else [])] if part.startswith("(") else [part] for part in parts]
    return ["".join(some) for some in itertools.product(*choices)]


SCHEMAS = gate.read_schemas()
COLUMNS = sorted({column for schema in SCHEMAS.values() for column in [*schema.get("columns", []), *schema.get("optional", [])]})


@pytest.mark.parametrize("pattern", COLUMNS)
def test_a_column_of_a_schema_has_a_sort(pattern):
    for column in spelled(pattern):
        typed.sort_of(column)


def test_one_that_no_schema_lists_has_none():
    with pytest.raises(typed.Untyped, match="has no sort"):
        typed.sort_of("height of person")
    assert spelled("(a|b)_x(_low)?") == ["a_x_low", "a_x", "b_x_low", "b_x"]
