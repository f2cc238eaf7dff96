"""Figures 10 and 11: falls of AUROC by the bar and the nulls, explanations side by side, doses of steering."""

import numpy as np
import pandas as pd
import pytest

from lib.figures import causal
from tests.panels import drawn, ends, lines, named, points, says, says_why


def necessity_table(*arms: str, n: int = 1) -> pd.DataFrame:
    row = {"low": 0.01, "high": 0.06, "rate_matched_99": 0.01, "nearest_99": np.nan, "random_99": np.nan, "needed": True,
           "rate_matched_99_all": 0.01, "nearest_99_all": np.nan, "refit": np.nan}  # fmt: skip
    return pd.DataFrame([row | {"arm": arm, "kind": kind, "name": str(i), "delta": 0.04 + i / 1000}
                         for arm in arms for kind in ("latent", "family", "closure") for i in range(n)])  # fmt: skip


def test_the_largest_falls_of_each_kind_and_arm():
    table = necessity_table("b", "a", n=4)
    falls = causal.largest_falls(table, ["a", "b"], 2)
    assert falls["arm"].tolist() == ["a"] * 6 + ["b"] * 6
    assert falls["kind"].tolist()[:6] == ["latent"] * 2 + ["family"] * 2 + ["closure"] * 2
    assert falls["name"].tolist() == ["3", "2"] * 6 and list(falls.columns) == list(table.columns)
    assert len(causal.largest_falls(table, ["a"])) == 12 and causal.largest_falls(table.iloc[:0], ["a"]).empty


def test_necessity_draws_every_fall_beside_its_null_and_the_bar():
    table = necessity_table("a", n=2).assign(needed=[True, False] * 3)
    table.loc[0, "random_99"] = 0.03
    ax = drawn(causal.necessity, table, "a", 0.05)
    assert sorted(points(ax)) == [(0, 0.04), (1, 0.041), (4, 0.04), (5, 0.041), (8, 0.04), (9, 0.041)] and set(ends(ax)) == {(0.01, 0.06)}
    nulls = [line.get_ydata().tolist() for line in ax.lines if line.get_label().startswith("largest null")]
    assert nulls == [[0.03, 0.01], [0.01, 0.01], [0.01, 0.01]]  # the largest
    assert lines(ax)["bar, 0.05"] == [0.05, 0.05] and {"latent, needed", "family, needed", "not shown to be needed"} <= set(named(ax))
    assert says(ax, "latents", "families", "closures") and not says(ax, "stopped")


def test_necessity_draws_the_refit_the_nulls_of_the_first_step_and_the_largest_rival():
    table = necessity_table("a", n=2).assign(refit=[0.02, np.nan] * 3)
    table.loc[3, "nearest_99_all"] = 0.05
    rivals = pd.DataFrame({"arm": ["a", "a", "b"], "kind": ["latent", "group", "latent"], "delta": [0.011, 0.07, 9.0]})
    ax = drawn(causal.necessity, table, "a", 0.05, "", rivals)
    of = {label: [line for line in ax.lines if line.get_label() == label] for label in named(ax)}
    assert [line.get_ydata()[0] for line in of["fall on refit"]] == [0.02] * 3
    (first,) = of["with established latents among controls"]
    assert first.get_xydata().tolist() == [[5, 0.05]]
    across = [drawing for drawing in ax.collections if drawing.get_label() == "largest fall of a rival"]
    dashed = [segment[0][1] for drawing in across for segment in drawing.get_segments()]
    assert dashed == [0.011, 0.07, 0.07]


def test_a_stop_is_said_in_the_panel_of_its_arm():
    assert says(drawn(causal.necessity, necessity_table("a"), "a", 0.05, "alarm: label shuffle"), "stopped by alarm: label shuffle")


def test_an_arm_without_a_row_has_a_panel_that_says_why():
    for table in (necessity_table("a"), pd.DataFrame(columns=necessity_table("a").columns)):  # the last as an empty CSV is read
        assert says_why(drawn(causal.necessity, table, "b", 0.03), "no latent is off its reference value in enough subjects")


def dose_table() -> pd.DataFrame:
    directions = (("latent", 1), ("random", 2), ("shuffled decoder", 1))
    rows = [(latent, direction, draw, eps) for latent in (1, 2) for direction, draws in directions
            for draw in range(draws) for eps in (-8.0, 0.0, 8.0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["latent", "direction", "draw", "eps"])
    return table.assign(change=table["eps"] * table["latent"], kl=table["eps"] ** 2)


@pytest.mark.parametrize("column, said, heights", [
    ("change", "change of score (log odds)", [-16, 0, 16]), ("kl", "collateral (nats per token)", [64, 0, 64]),
])  # fmt: skip
def test_doses_of_the_latents_asked_for(column, said, heights):
    ax = drawn(causal.doses, dose_table(), column, [2])
    assert [line.get_ydata().tolist() for line in ax.lines] == [heights] * 4 and says(ax, said, "dose (sd of the latent)")
    assert named(ax) == ["another latent's row", "random direction", "latent"]
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths[-1] > max(widths[:-1])
    assert says_why(drawn(causal.doses, dose_table(), column, []), "no latent of large fall varies on these units")


def test_agreement_is_a_symmetrical_matrix():
    table = pd.DataFrame({"first": ["ISM", "ISM", "integrated gradients"], "second": ["integrated gradients", *["SAE latents"] * 2],
                          "spearman": [0.3, -0.7, -0.001]})  # fmt: skip
    ax = drawn(causal.agreement, table)
    assert np.asarray(ax.images[0].get_array()).tolist() == [[1, 0.3, -0.7], [0.3, 1, -0.001], [-0.7, -0.001, 1]]
    assert says(ax, "IG", "-0.70", "0.00") and not says(ax, "-0.00")
    assert says_why(drawn(causal.agreement, table.iloc[:0]), "there are no two explanations to compare")


def scores(**values: float) -> pd.DataFrame:
    columns = {"auroc": 0.6, "low": 0.55, "high": 0.65, "null_95": 0.52, "deletion": 1.5, "deletion_low": 1.0, "deletion_high": 2.0,
               "sanity": 0.3, "sanity_low": 0.2, "sanity_high": 0.4, "sanity_null": 0.1} | values  # fmt: skip
    return pd.DataFrame([columns | {"method": method} for method in ("ISM", "integrated gradients")])


@pytest.mark.parametrize("draw, column, interval, null, chance", [
    (causal.inside_sites, "auroc", (0.55, 0.65), {"null, 95 %": [0.52, 0.52]}, 0.5), (causal.deletion, "deletion", (1.0, 2.0), {}, 0),
    (causal.sanity, "sanity", (0.2, 0.4), {"null": [0.1, 0.1]}, 0),
])  # fmt: skip
def test_each_score_with_its_own_interval_and_null(draw, column, interval, null, chance):
    table = scores()
    ax = drawn(draw, table)
    assert [y for _, y in points(ax)] == table[column].tolist() and ends(ax) == [interval] * 2 and lines(ax) == null
    assert [chance, chance] in [list(line.get_ydata()) for line in ax.lines] and says(ax, "ISM", "IG")
    assert says(drawn(draw, scores(**{column: np.nan})), "could not be tested: no unit")
    assert says(drawn(draw, table.iloc[:0]), "could not be tested: no unit")


def test_which_sites_is_said_where_it_is_known():
    assert says(drawn(causal.inside_sites, scores(), "true sites"), "AUROC of |value|, true sites")
