"""Figure 2: layers of one arm, beside baselines and nulls; and its calibration."""

import pandas as pd

from lib.figures import outcome, style
from tests.panels import drawn, ends, lines, named, points, says, says_why


def layers_table(*arms: str) -> pd.DataFrame:
    row = {"low": 0.5, "high": 0.7, "n": 90}
    kinds = [("resid_post.0", "layer", 0.6), ("resid_post.1", "layer", 0.62), ("dosage", "baseline", 0.64), ("4-mer", "baseline", 0.55),
             ("true genetic score", "oracle", 0.9), ("layer chosen inside folds", "nested", 0.61)]  # fmt: skip
    return pd.DataFrame([row | {"arm": arm, "predictor": name, "kind": kind, "value": value}
                         for arm in arms for name, kind, value in kinds])  # fmt: skip


def test_layers_of_one_arm_with_their_intervals_and_bands():
    table = layers_table("a", "b")
    table.loc[table["arm"] == "b", "value"] = 0.1
    ax = drawn(outcome.layers, table, "a")
    assert [y for _, y in points(ax)] == [0.6, 0.62, 0.61] and set(ends(ax)) == {(0.5, 0.7)}
    assert lines(ax)["dosage"] == [0.64, 0.64] and lines(ax)["4-mer"] == [0.55, 0.55] and lines(ax)["true genetic score"] == [0.9, 0.9]
    assert says(ax, "a", "AUROC (n = 90 subjects)", "in folds") and not says(ax, "stopped")
    assert {"layer", "layer chosen inside folds"} <= set(named(ax))


def test_an_alarm_is_said_in_the_panel_of_its_arm():
    ax = drawn(outcome.layers, layers_table("b"), "b", "alarm: population")
    assert [t.get_text() for t in ax.texts] == ["stopped by alarm: population"]


def test_an_arm_without_a_layer_says_so():
    assert says_why(drawn(outcome.layers, layers_table("a"), "b"), "no layer was read for this target")


def test_calibration_before_and_after():
    table = pd.DataFrame({"arm": ["a", "a", "a", "b"], "scaling": ["before", "before", "after Platt", "before"],
                          "predicted": [0.2, 0.8, 0.7, 0.5],
                          "observed": [0.1, 0.9, 0.75, 0.5], "low": 0.05, "high": 0.95, "n": 30})  # fmt: skip
    ax = drawn(outcome.calibration, table, "a")
    assert points(ax) == [(0.2, 0.1), (0.8, 0.9), (0.7, 0.75)] and named(ax) == ["before", "after Platt"]
    assert says_why(drawn(outcome.calibration, table, "c"), "no score of this target could be calibrated")


def test_panels_side_by_side_name_their_axis_once():
    _, axes = style.panels(2, 2.0, sharey=True)
    for ax, arm in zip(axes, "ab", strict=True):
        outcome.layers(layers_table("a", "b"), ax, arm)
    assert [ax.get_ylabel() for ax in axes] == ["AUROC (n = 90 subjects)", ""]


def test_a_layer_stands_beside_its_composition_matched_twin():
    table = layers_table("a")
    matched = table[table["kind"] == "layer"].assign(kind="composition-matched")
    ax = drawn(outcome.layers, pd.concat([table, matched]), "a")
    layer, other = points(ax)[:2], points(ax)[2:4]
    assert [y for _, y in layer] == [y for _, y in other]
    assert [round(x) for x, _ in layer] == [round(x) for x, _ in other] == [0, 1] and layer[0][0] < 0 < other[0][0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "1", "in\nfolds"] and points(ax)[4][0] == 2


def test_a_panel_with_none_below_it_names_its_blocks():
    figure, axes = style.panels(5, 2.0, sharey=True)
    for ax, arm in zip(axes, "abcde", strict=True):
        outcome.layers(layers_table(*"abcde"), ax, arm)
    figure.draw_without_rendering()
    labelled = [any(tick.label1.get_visible() for tick in ax.xaxis.get_major_ticks()) for ax in axes]
    assert labelled == [False, False, True, True, True] == [bool(ax.get_xlabel()) for ax in axes]


def test_panels_of_other_metrics_keep_their_own_axes():
    figure, axes = style.panels(2, 2.0, sharey=False)
    for ax, arm, metric in zip(axes, "ab", ("AUROC", "R²"), strict=True):
        outcome.layers(layers_table("a", "b"), ax, arm, metric=metric)
    figure.draw_without_rendering()
    assert [ax.get_ylabel() for ax in axes] == ["AUROC (n = 90 subjects)", "R² (n = 90 subjects)"]
    assert all(any(tick.label1.get_visible() for tick in ax.yaxis.get_major_ticks()) for ax in axes)


def test_a_number_s_bins_stand_at_their_mean_with_their_intervals():
    table = pd.DataFrame({"arm": "a", "prediction": [1.0, 3.0], "mean": [1.5, 2.5], "low": [1.0, 2.0], "high": [2.0, 3.0], "n": 30})
    ax = drawn(outcome.agreement, table, "a")
    assert points(ax) == [(1.0, 1.5), (3.0, 2.5)] and ends(ax) == [(1.0, 2.0), (2.0, 3.0)]
    assert says_why(drawn(outcome.agreement, table, "b"), "no prediction of this target varies")
