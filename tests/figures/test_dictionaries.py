"""Figures 3 and 4: explained variance against sparsity, firing frequency, training."""

import numpy as np
import pandas as pd

from lib.figures import dictionaries
from tests.panels import drawn, ends, lines, named, points, says, says_why

SWEEP = pd.DataFrame({"run": ["t16", "t16", "g"], "architecture": ["topk", "topk", "gated"], "split": ["validation", "test", "test"],
                      "explained_variance": [0.97, 0.96, 0.92], "low": [0.96, 0.95, 0.91], "high": [0.98, 0.97, 0.93],
                      "l0": [16.0, 17.0, 12.0]})  # fmt: skip
CONTROLS = pd.DataFrame({"control": ["random dictionary", "PCA", "random twin"], "explained_variance": [0.2, 0.8, 0.9], "l0": 16.0})


def test_the_test_split_is_drawn_with_its_controls():
    ax = drawn(dictionaries.pareto, SWEEP, CONTROLS)
    assert points(ax) == [(12.0, 0.92), (17.0, 0.96)] and ends(ax) == [(0.91, 0.93), (0.95, 0.97)]
    assert lines(ax)["PCA"] == [0.8] and lines(ax)["random twin, of its own activations"] == [0.9]
    assert "random dictionary (0.20, below)" in named(ax) and ax.get_ylim() == (0.75, 1.0)  # 0.05 below PCA
    assert ax.get_xscale() == "log" and {"floor: EV ≥ 0.90, L0 ≤ 30", "target: EV ≥ 0.95, L0 ≤ 20"} <= set(named(ax))


def test_the_chosen_run_has_a_ring_where_it_was_trained_longer():
    assert "chosen, trained longer" not in named(drawn(dictionaries.pareto, SWEEP, CONTROLS))
    longer = pd.DataFrame({"run": ["t16, longer"] * 2, "architecture": "topk", "split": ["validation", "test"], "explained_variance": 0.98,
                           "low": 0.97, "high": 0.99, "l0": [16.0, 16.5]})  # fmt: skip
    ax = drawn(dictionaries.pareto, pd.concat([SWEEP, longer]), CONTROLS)
    (ring,) = [line for line in ax.lines if line.get_label() == "chosen, trained longer"]
    assert ring.get_xydata().tolist() == [[16.5, 0.98]] and ring.get_markerfacecolor() == "none" and (16.5, 0.98) in points(ax)


def test_no_dictionary_on_test():
    assert says_why(drawn(dictionaries.pareto, SWEEP.head(1), CONTROLS), "no dictionary was read on the test split")


def test_density_counts_latents_that_fire_and_says_how_many_do_not():
    latents = pd.DataFrame({"latent": range(5), "frequency": [0.0, 0.01, 0.01, 0.1, 0.1]})
    ax = drawn(dictionaries.density, latents)
    assert sum(bar.get_height() for bar in ax.patches) == 4 and says(ax, "firing frequency; never fire: 20.0%", "latents (of 5)")
    edges = [bar.get_x() for bar in ax.patches if bar.get_height()]
    assert np.isclose(edges[0], -2) and -1.05 < edges[1] < -1
    assert says_why(drawn(dictionaries.density, latents.head(1)), "no latent fires")


def test_training_curves_are_drawn_as_they_are():
    curves = pd.DataFrame({"architecture": ["topk"] * 4 + ["gated"] * 2, "run": ["a", "a", "b", "b", "c", "c"],
                           "tokens": [0, 1_000_000] * 3,
                           "explained_variance": [0.1, 0.8, 0.2, 0.9, -3.0, 0.7]})  # fmt: skip
    ax = drawn(dictionaries.training, curves)
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.1, 0.8], [0.2, 0.9], [-3.0, 0.7]]
    assert ax.lines[0].get_xdata().tolist() == [0.0, 1.0] and named(ax) == ["TopK", "gated"] and ax.get_ylim() == (0, 1)
    assert says_why(drawn(dictionaries.training, curves.iloc[:0]), "no dictionary was trained here")
