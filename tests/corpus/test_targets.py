"""Targets at the door: 0 and 1, or numbers that vary, of every subject."""

import numpy as np
import pandas as pd
import pytest

from lib.corpus import targets


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"subject": ["ann", "bo", "cy", "di"], "ill": [0, 1, 1, 0], "age": [1.5, 2.0, -3.0, 2.0]} | columns)


TYPES = {"ill": "binary", "age": "continuous"}


def test_what_a_probe_can_be_fitted_on_is_taken():
    targets.check_targets("t", table(), TYPES)
    targets.check_targets("t", table(ill=True), TYPES, second=True)  # one class: nothing is fitted there
    targets.check_targets("t", table(other=[5, 6, 7, 8]), TYPES, ["other"])
    assert targets.type_of(np.array([0, 1, 1])) == "binary" and targets.type_of(np.array([0.0, 0.5])) == "continuous"


@pytest.mark.parametrize(("column", "values", "message"), [
    ("age", [1, np.nan, np.inf, 2], "t: target 'age': bo, the first of 2, has nan, wanted a finite number"),
    ("age", [1, 2, 3, "old"], "target 'age': di has old, wanted a finite number"),
    ("age", ["1", "2", "3", "4"], "wanted numbers"),
    ("age", [1, 2, 2, 1], "target 'age' is 1 and 2 of all 4 subjects, wanted three values or more of a continuous target"),
    ("ill", [0, 1, 2, 0], "target 'ill': cy has 2, wanted 0 or 1 of a binary target"),
    ("ill", [3, 1, 2, 4], "target 'ill': ann, the first of 3, has 3, wanted 0 or 1 of a binary target; of 4 values: declare it continuous"),
    ("ill", [1, 1, 1, 1], "target 'ill' is 1 of all 4 subjects, wanted some of 0 and some of 1"),
])  # fmt: skip
def test_another_is_refused_by_table_target_and_subject(column, values, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        targets.check_targets("t", table(**{column: values}), TYPES)


def test_a_target_without_a_column_is_refused():
    with pytest.raises(ValueError, match="t: no column 'null', wanted one of each target"):
        targets.check_targets("t", table(), TYPES, ["null"])
