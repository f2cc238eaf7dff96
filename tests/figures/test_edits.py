"""Figure 12: edits, beside labels, background, measurements and the mirror tail."""

import numpy as np
import pandas as pd
import pytest

from lib.figures import edits, style
from tests.panels import drawn, ends, lines, named, points, says, says_why

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


def test_percentiles_count_both_labels_and_draw_label_0_of_the_first_alone():
    table = pd.DataFrame({"method": ["SAE"] * 4 + ["motif score"] * 4, "label": [1, 1, 0, 1] * 2,
                          "percentile": [0.2, 0.4, 0.6, np.nan, 0.1, 0.1, 0.9, np.nan]})  # fmt: skip
    ax = drawn(edits.percentiles, table)
    assert sorted(named(ax)) == ["SAE", "SAE, label 0", "motif score"] and says(ax, "percentile (2 of label 1, 1 of label 0)")
    assert lines(ax)["SAE"][-1] == 1 and says_why(drawn(edits.percentiles, table[:0]), "no variant has enough alleles of its own sort")


CURVE = pd.DataFrame({"region": "promoter", "score": [0.0, 1.0, 2.0], "likelihood_ratio": [0.2, 1.0, 6.0], "low": [0.1, 0.5, 2.0],
                      "high": [0.5, 2.0, np.inf], "posterior": 0.1, "n_pathogenic": [10, 50, 90], "n_benign": [90, 50, 10]})  # fmt: skip
STRENGTHS = pd.DataFrame({"region": "promoter", "code": ["PP3", "PP3", "BP4"], "strength": ["Supporting", "Moderate", "Supporting"],
                          "status": ["met", "not met", "met"], "wanted": [2.4, 5.8, 0.4],
                          "threshold_conservative": [1.7, np.nan, 0.3]})  # fmt: skip


def test_a_curve_has_its_windows_levels_and_only_thresholds_that_count():
    ax = drawn(edits.calibration, CURVE, STRENGTHS)
    assert lines(ax)["promoter, at most 90 P and 90 B a window"] == [0.2, 1.0, 6.0]
    upright = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
    assert upright == [1.7, 0.3] and says(ax, "PP3 Supporting", "PP3 Moderate", "BP4 Supporting") and ax.get_yscale() == "log"
    assert ax.collections[-1].get_sizes().tolist() == [5.0, 5.0, 5.0]  # the labels of a window over 20
    assert says_why(drawn(edits.calibration, CURVE[:0], STRENGTHS[:0]), "no class of regions has enough labels of each kind")


MEASURED = pd.DataFrame({"element": ["F9"] * 3 + ["SORT1"], "place": [7, 7, 9, 3], "change": ["A>C", "A>-", "G>T", "A>C"],
                         "effect": [1.0, 0.5, -2.0, 9.0], "SAE": [3.0, 4.0, 5.0, 6.0]})  # fmt: skip


def test_tracks_hold_an_element_alone_from_its_first_base():
    ax = drawn(edits.track, MEASURED, "F9", "effect")
    assert [collection.get_offsets().data.tolist() for collection in ax.collections[1:]] == [[[0, 1.0], [2, -2.0]], [[0, 0.5]]]
    assert [segment[:, 1].tolist() for segment in ax.collections[0].get_segments()] == [[0, 0.75], [0, -2.0]]
    assert says(ax, "F9, measured", "n = 3", "log2 effect") and says(drawn(edits.track, MEASURED, "F9", "SAE"), "F9, SAE", "size of change")
    assert says_why(drawn(edits.track, pd.DataFrame(), "", "effect"), "no effect of an allele was measured")
    assert edits.shown_elements(MEASURED) == ["F9", "SORT1"] and edits.shown_elements(pd.DataFrame()) == []
    assert edits.shown_elements(pd.concat([MEASURED, MEASURED.assign(element="HNF4A")])) == ["HNF4A", "F9"]


def test_the_mirror_is_drawn_of_what_is_lost():
    tails = pd.DataFrame({"t": [0.0, 1.0, 0.0], "upper": [9, 5, 1], "lower": [8, 2, 1], "null_low": 0.0, "null_high": 3.0, "n": 12,
                          "side": ["lost", "lost", "gained"]})  # fmt: skip
    ax = drawn(edits.mirror, tails)
    assert lines(ax) == {"more at label 1": [9, 5], "more at label 0: the mirror": [8, 2]} and says(ax, "the mirror tail (n = 12 latents)")
    assert says_why(drawn(edits.mirror, tails[2:]), "no latent is lost at enough variants")


def test_the_forest_has_the_least_p_on_top_filled_where_q_is_low():
    table = pd.DataFrame({"side": ["lost"] * 4 + ["gained"], "latent": [1, 2, 3, 4, 5], "family": ["HNF4", None, "x", "x", "x"],
                          "odds_ratio": [4.0, 2.0, np.inf, 0.0, 3.0], "or_low": [2.0, 0.5, 1, 0, 1], "or_high": [8.0, 6.0, 9, 1, 9],
                          "lost_1": 7, "lost_0": 3, "p": [0.001, 0.2, 0.3, 0.4, 0.0001], "q": [0.004, 0.4, 1, 1, 1]})  # fmt: skip
    ax = drawn(edits.forest, table)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2: 7, 3", "1: 7, 3"] and says(ax, "HNF4")
    bars, dots = ax.collections
    assert [segment[:, 0].tolist() for segment in bars.get_segments()] == [[0.5, 6.0], [2.0, 8.0]]
    assert dots.get_facecolor()[0].tolist() == [1, 1, 1, 1] and dots.get_facecolor()[1].tolist() != [1, 1, 1, 1]
    assert says_why(drawn(edits.forest, table[2:]), "no latent is lost at variants of both labels of one gene")
    assert says_why(drawn(edits.forest, pd.DataFrame()), "no latent is lost at variants of both labels of one gene")


def test_snps_of_association_stand_by_method_with_their_loci():
    table = pd.DataFrame({"named": "GWAS lead SNP", "method": ["SAE", "motif score"], "value": [0.6, 0.4], "low": [0.5, 0.2],
                          "high": [0.7, 0.6], "n": 11, "n_loci": 6})  # fmt: skip
    ax = drawn(edits.associations, table)
    assert [y for _, y in points(ax)] == [0.6, 0.4] and ends(ax) == [(0.5, 0.7), (0.2, 0.6)]
    assert says(ax, "GWAS lead SNP 11 in 6 loci")
    assert says_why(drawn(edits.associations, table[:0]), "no SNP of association with others alike is in the study")


def test_every_panel_is_there_whatever_a_study_lacks():
    lacking = {name: pd.DataFrame(columns=TABLE.columns) if name == "separation" else pd.DataFrame() for name in edits.TABLES}
    for tables, n, empty in ((lacking, 3, 6), (lacking | {"mpra_variants": MEASURED}, 5, 6)):
        assert edits.n_rows(tables) == n
        _, axes = style.axes(n, 2, height=9)
        edits.all_panels(tables, axes)
        assert sum(says(ax, "could not be tested") for ax in axes.flat) == empty
