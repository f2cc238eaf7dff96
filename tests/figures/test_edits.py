"""Figure 11, last panel: labelled variants."""

import pandas as pd
import pytest

from lib.figures import edits
from tests.panels import drawn, ends, named, points, says, says_why

TABLE = pd.DataFrame({"variants": ["all", "all", "substitutions in sites"], "region": ["all", "all", "coding"],
                      "method": ["SAE", "raw embedding", "SAE"],
                      "n": [40, 40, 30], "value": [0.7, 0.6, 0.55], "low": [0.6, 0.5, 0.45], "high": [0.8, 0.7, 0.65]})  # fmt: skip


def test_variants_stand_in_groups_by_method():
    ax = drawn(edits.variants, TABLE)
    assert [y for _, y in points(ax)] == [0.7, 0.55, 0.6] and ends(ax) == [(0.6, 0.8), (0.45, 0.65), (0.5, 0.7)]
    assert [x for x, _ in points(ax)] == pytest.approx([-0.09, 0.91, 0.09])  # one group a kind and region, methods side by side
    assert named(ax) == ["SAE", "raw embedding"] and says(ax, "all", "substi- tutions in sites coding")
    assert ax.get_ylim()[0] < 0.4  # room for the legend below every interval


def test_kinds_that_hold_the_same_variants_are_drawn_once_under_both_names():
    every = TABLE.head(2)
    ax = drawn(edits.variants, pd.concat([every, every.assign(variants="substitutions")]))
    assert [y for _, y in points(ax)] == [0.7, 0.6] and len(ax.get_xticks()) == 1 and says(ax, "all: substi- tutions")
    fewer = every.assign(variants="substitutions", n=39)
    assert len(points(drawn(edits.variants, pd.concat([every, fewer])))) == 4
    elsewhere = every.assign(region="coding")
    assert len(points(drawn(edits.variants, pd.concat([every, elsewhere])))) == 4


def test_without_labelled_variants_the_panel_says_so():
    assert says_why(drawn(edits.variants, TABLE.iloc[:0]), "no region holds enough labelled variants of each class")
