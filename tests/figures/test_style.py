"""A figure is saved with its label under it and its tables beside it; letters and legends."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lib.figures import style
from lib.stage import io, stops
from tests.panels import says, texts

LABEL = "genome, cohort and phenotype from files"


@pytest.fixture
def stage(root):
    yield io.open_stage("toy", "07_paper_figures")
    plt.close("all")


def test_a_figure_is_saved_with_its_label_and_its_tables_one_below_the_other(stage):
    figure, ax = style.axes()
    ax.plot([0, 1], [0, 1])
    path = style.save(stage, "fig0_toy", figure, LABEL, pd.DataFrame({"a": [0.1, 2.0]}), pd.DataFrame({"b": ["x"]}))
    assert path == stage.figure_path("fig0_toy.csv") and path.read_text() == "a,b\n0.1,\n2.0,\n,x\n"
    assert all(stage.figure_path(f"fig0_toy.{kind}").stat().st_size > 1000 for kind in ("pdf", "png"))
    assert says(figure, LABEL) and not says(figure, "stopped")


def test_what_stops_a_figure_stands_above_its_label_in_red(stage):
    figure, _ = style.axes()
    style.save(stage, "fig0_toy", figure, LABEL, pd.DataFrame({"a": [1]}), stop=stops.NO_GO)
    assert says(figure, f"stopped by {stops.NO_GO} {LABEL}") and figure._supxlabel.get_color() == style.STOPPED


def test_a_long_label_stays_inside_its_figure(stage):
    label = ("genome and cohort from files; simulated phenotype; effects enlarged in enlarged 3x and enlarged 8x; "
             "sequence GRCh38, genotypes of 1000 Genomes; language-model head refitted")  # fmt: skip
    figure, _ = style.axes()
    style.save(stage, "fig0_toy", figure, label, pd.DataFrame({"a": [1]}))
    figure.draw_without_rendering()
    drawn = figure._supxlabel.get_window_extent(figure.canvas.get_renderer())
    assert drawn.x0 >= 0 and drawn.x1 <= figure.bbox.width and says(figure, label)


def test_equal_drawings_have_equal_bytes(stage):
    saved = []
    for _ in range(2):
        figure, ax = style.axes()
        ax.plot([0, 1], [0, 1])
        style.save(stage, "fig0_toy", figure, LABEL, pd.DataFrame({"a": [1]}))
        saved.append([stage.figure_path(f"fig0_toy.{kind}").read_bytes() for kind in ("pdf", "png", "csv")])
    assert saved[0] == saved[1]


def test_letters_go_before_titles():
    _, axes = style.axes(1, 3)
    axes[0].set_title("one")
    axes[2].set_title("three")
    style.letters(axes)
    assert [ax.get_title(loc="left") for ax in axes] == ["a  one", "", "c  three"]


def test_one_legend_of_what_any_panel_draws():
    figure, axes = style.axes(1, 2)
    style.legend(figure, axes)
    assert not figure.legends
    for ax, names in zip(axes, (["x", "y"], ["y", "z"]), strict=True):
        for name in names:
            ax.plot([0, 1], [0, 1], label=name)
    style.legend(figure, axes, ncols=3)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["x", "y", "z"]


def test_a_stop_is_said_only_where_something_stops():
    _, (a, b) = style.axes(1, 2)
    style.put_stop(a, "")
    style.put_stop(b, "alarm: population")
    assert texts(a) == [t for t in texts(a) if "stopped" not in t] and says(b, "stopped by alarm: population")
