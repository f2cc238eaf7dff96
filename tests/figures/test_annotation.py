"""Figures 5 to 7: concepts beside their nulls, shares claimed, layers."""

import numpy as np
import pandas as pd
import pytest

from lib.figures import annotation, style
from tests.panels import drawn, lines, named, points, says, says_why

BEST = pd.DataFrame({"method": ["SAE", "SAE", "k-mer", "k-mer", "SAE"], "kind": ["motif"] * 4 + ["interval"],
                     "concept": ["a", "b", "a", "b", "c"],
                     "family": "f", "latent": [1, 2, 3, 4, 5], "f1": [0.2, 0.9, 0.4, 0.3, 0.6]})  # fmt: skip
LADDER = pd.DataFrame({"kind": ["motif", "motif", "interval"], "method": ["SAE", "PCA", "SAE"], "concepts": [10, 10, 4], "found": [6, 2, 1],
                       "value": [0.6, 0.2, 0.25], "low": [0.3, 0.1, 0.05], "high": [0.8, 0.5, 0.7]})  # fmt: skip
MEANS = pd.DataFrame({"method": ["SAE", "8-mers"], "f1": [0.8, 0.41], "low": [0.7, 0.3], "high": [0.85, 0.5], "always": [0.4, 0.4],
                      "n_groups": [16, 16], "n_units": [120, 120]})  # fmt: skip
CELLS = pd.DataFrame({"site": ["resid_post.0", "resid_post.1", "resid_post.1"], "kind": ["motif", "motif", "interval"],
                      "concept": ["a", "a", "c"],
                      "f1": [0.3, 0.9, 0.5], "low": [0.2, 0.8, 0.4], "high": [0.4, 1.0, 0.6], "claimed": [True, True, False],
                      "best_null": [0.5, 0.7, 0.1]})  # fmt: skip


def test_kinds_with_enough_concepts_get_a_panel():
    assert annotation.kinds(BEST, 2) == ["motif"] and annotation.kinds(BEST, 1) == ["motif", "interval"]
    assert annotation.kinds(BEST, 9) == ["motif", "interval"]  # rather all than none
    assert annotation.kinds(LADDER, 10) == ["motif"] and annotation.kinds(BEST.iloc[:0], 1) == annotation.kinds(LADDER.iloc[:0], 1) == [""]


def test_concepts_are_ranked_and_held_against_the_floor_that_04_used():
    ax = drawn(annotation.concepts, BEST, "motif", f1_floor=0.3)
    assert lines(ax) == {"SAE": [0.9, 0.2], "k-mer": [0.4, 0.3]}
    assert [0.3, 0.3] in [list(line.get_ydata()) for line in ax.lines] and says(ax, "concepts, ranked (n = 2)")
    decoys = pd.DataFrame({"method": "decoy concepts", "kind": "motif", "concept": ["y", "z"], "family": "f", "latent": 9, "f1": 0.1})
    ax = drawn(annotation.concepts, pd.concat([BEST, decoys]), "motif", f1_floor=0.3)
    assert says(ax, "concepts, ranked (n = 2)") and lines(ax)["decoy concepts"] == [0.1, 0.1]  # n: of concepts searched
    many = pd.DataFrame({"method": "SAE", "kind": "motif", "concept": map(str, range(61)), "f1": np.linspace(0, 1, 61)})
    assert drawn(annotation.concepts, many, "motif", f1_floor=0.3).get_xscale() == "log"


def test_shares_claimed_with_their_intervals():
    ax = drawn(annotation.claimed_share, LADDER, "motif")
    assert [bar.get_width() for bar in ax.patches] == [0.6, 0.2] and says(ax, "motif found", "share of 10", "SAE", "PCA")
    assert np.allclose([s[:, 0] for s in ax.collections[0].get_segments()], [[0.3, 0.8], [0.1, 0.5]])
    assert drawn(annotation.claimed_share, LADDER, "interval").patches[0].get_width() == 0.25  # PCA's row stays, empty


def test_precision_against_recall_of_every_pair():
    curves = pd.DataFrame({"method": ["SAE"] * 4 + ["random dictionary"] * 2, "latent": [1, 1, 2, 2, 9, 9],
                           "concept": ["a", "a", "b", "b", "a", "a"],
                           "recall": [0.1, 0.9] * 3, "precision": [1.0, 0.8, 1.0, 0.7, 0.6, 0.5]})  # fmt: skip
    ax = drawn(annotation.precision_recall, curves)
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.6, 0.5], [1.0, 0.8], [1.0, 0.7]]
    assert named(ax) == ["random dictionary", "SAE"]


def test_layer_concepts_are_bold_where_claimed_above_the_best_null():
    ax = drawn(annotation.layer_concepts, CELLS, "motif")
    assert np.asarray(ax.images[0].get_array()).tolist() == [[0.3, 0.9]]
    weights = {t.get_text(): t.get_fontweight() for t in ax.texts}
    assert weights["0.90"] == "bold" and weights["0.30"] != "bold" and ".20–.40" in weights
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1"]


def test_a_layer_without_a_concept_leaves_its_cell_open():
    ax = drawn(annotation.layer_concepts, CELLS, "interval")
    assert [t.get_text() for t in ax.texts] == ["0.50", ".40–.60"]


def test_what_is_told_apart_stands_beside_its_bar_and_always_yes():
    ax = drawn(annotation.told_apart, MEANS, 0.75)
    assert points(ax) == [(0.8, 0.0), (0.41, 1.0)]
    across = [s[:, 0] for bars in ax.containers for s in bars.lines[2][0].get_segments()]
    assert np.allclose(across, [[0.7, 0.85], [0.3, 0.5]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["SAE", "8-mers"] and says(ax, "mean test F1 (16 groups, 120 units)")
    at = {line.get_label(): (line.get_xdata()[0], line.get_linestyle()) for line in ax.lines}
    assert at["bar, 0.75"] == (0.75, "-") and at["always yes"] == (0.4, ":")


def test_one_panel_lies_below_a_row_of_others(tmp_path):
    figure, row, below = style.above(3, 2.0, 1.5, width_ratios=[1, 1, 2])
    assert len(row) == 3 and figure.axes == [*row, below]
    row[0].set(xlabel="share", title="a"), below.set(title="b")
    row[0].label_outer()
    figure.draw_without_rendering()
    assert row[0].get_xlabel() == "share"  # it is the last of its own row
    assert below.get_position().width > 0 and below.get_window_extent().width > 1.5 * row[2].get_window_extent().width
    assert below.get_window_extent().y1 < row[0].get_window_extent().y0


@pytest.mark.parametrize("draw, table, rest, why", [
    (annotation.told_apart, MEANS, (0.75,), "no group has instances that work and others"),
    (annotation.concepts, BEST, ("", 0.5), annotation.NO_CONCEPT), (annotation.claimed_share, LADDER, ("",), annotation.NO_CONCEPT),
    (annotation.layer_concepts, CELLS, ("",), annotation.NO_CONCEPT),
    (annotation.precision_recall, pd.DataFrame(columns=["method", "latent", "concept", "recall", "precision"]), (),
     "no latent is claimed for a concept"),
])  # fmt: skip
def test_an_empty_table_says_why(draw, table, rest, why):
    assert says_why(drawn(draw, table.iloc[:0], *rest), why)
