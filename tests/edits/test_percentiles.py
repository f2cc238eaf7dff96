"""How large an effect is beside others of its sort."""

import numpy as np
import pandas as pd
import pytest

from lib.edits.percentiles import percentiles

LEVELS = (("region", "edit"), ("edit",))


def test_the_finest_sort_with_enough_is_taken_and_ties_count_half():
    background = np.array([1.0, 2, 3, 4, 10, 20, 30, 40, 50, np.nan])
    keys = pd.DataFrame({"region": ["a"] * 4 + ["b"] * 6, "edit": "x"})
    own = pd.DataFrame({"region": ["a", "b", "c", "a", "a"], "edit": ["x", "x", "x", "y", "x"]})
    got = percentiles(np.array([3.0, 100.0, 10.0, 3.0, np.nan]), own, background, keys, LEVELS, least=4)
    assert got["percentile"].tolist()[:3] == [2.5 / 4, 1.0, 4.5 / 9] and got["percentile"].isna().tolist() == [False] * 3 + [True] * 2
    assert got["n"].tolist() == [4, 5, 9, 0, 0]
    assert got["matched_on"].tolist() == ["region + edit", "region + edit", "edit", "", ""]
    assert (got["low"][:3] <= got["percentile"][:3]).all() and (got["percentile"][:3] <= got["high"][:3]).all()


def test_of_edits_drawn_from_the_background_percentiles_are_even_whatever_the_sorts_differ_by():
    rng = np.random.default_rng(0)
    sort = rng.integers(0, 3, 6000)
    score = rng.normal(size=6000) * np.array([1, 5, 25])[sort]
    keys = pd.DataFrame({"region": sort.astype(str), "edit": "x"})
    got = percentiles(score[:3000], keys[:3000], score[3000:], keys[3000:], LEVELS)
    counts = np.histogram(got["percentile"], bins=10, range=(0, 1))[0]
    assert counts.min() > 220 and counts.max() < 380
    assert np.corrcoef(got["percentile"], sort[:3000])[0, 1] == pytest.approx(0, abs=0.05)


def test_wrong_shapes_and_columns_are_named():
    keys = pd.DataFrame({"region": ["a"]})
    with pytest.raises(ValueError, match="keys has no column edit"):
        percentiles(np.zeros(1), keys, np.zeros(1), keys, LEVELS)
    with pytest.raises(ValueError, match="background_keys has 1 rows, wanted 2, one a score"):
        percentiles(np.zeros(1), keys.assign(edit="x"), np.zeros(2), keys.assign(edit="x"), LEVELS)
