"""Which run of a sweep is read: the verdict first, then the mean rank by four things, then sparsity."""

import numpy as np
import pandas as pd
import pytest

from lib.sae import evaluate

COLUMNS = ["run", "l0", *evaluate.EVIDENCE]


@pytest.mark.parametrize("rows, wanted", [
    ([("a", 16, 0.96, 0.90, 0.3, 0.9), ("b", 8, 0.955, 0.94, 0.5, 0.8), ("c", 4, 0.92, 0.99, 0.9, 0.99)], "b"),  # c misses the target
    ([("a", 25, 0.93, 0.9, 0.3, 0.9), ("b", 29, 0.94, 0.8, 0.2, 0.8)], "a"),                                     # both earn the floor
    ([("a", 40, 0.97, 0.9, 0.9, 0.9), ("b", 8, 0.8, 0.5, 0.1, 0.1)], "b"),       # none earns a verdict: L0 first
    ([("a", 16, 0.96, 0.9, 0.1, 0.9), ("b", 8, 0.96, 0.9, 0.1, 0.9)], "b"),      # equal: the sparser
    ([("a", 16, 0.96, 0.9, np.nan, 0.9), ("b", 8, 0.955, 0.89, 0.9, 0.8)], "a"),  # what is unknown of one counts for none
])  # fmt: skip
def test_the_choice(rows, wanted):
    assert evaluate.choose_run(pd.DataFrame(rows, columns=COLUMNS)) == wanted
