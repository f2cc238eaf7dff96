"""Drawing one panel, with what every drawing function promises; and what it shows, read from the drawing itself."""

from __future__ import annotations

import os
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style


def drawn(draw, table: pd.DataFrame, *rest, **named) -> plt.Axes:
    """The panel that `draw` makes of a table: it returns the same ax, leaves its tables as they were and opens no file to write."""
    plt.close("all")
    _, ax = style.axes()
    tables = [one for one in (table, *rest, *named.values()) if isinstance(one, pd.DataFrame)]
    before, opened, real = [one.copy(deep=True) for one in tables], [], open

    def watched(file, mode="r", *more, **other):
        opened.extend([file] * bool(set(mode) & set("wax+")))
        return real(file, mode, *more, **other)

    saved = mock.patch.object(plt.Figure, "savefig", side_effect=AssertionError("a panel saves nothing"))
    with mock.patch("builtins.open", watched), saved:
        assert draw(table, ax, *rest, **named) is ax
    assert not [name for name in opened if str(name) != os.devnull]
    for one, copy in zip(tables, before, strict=True):
        pd.testing.assert_frame_equal(one, copy)
    return ax


def points(ax: plt.Axes) -> list[tuple[float, float]]:
    """Where markers with intervals stand, in the order drawn."""
    return [(float(x), float(y)) for bars in ax.containers if hasattr(bars, "has_yerr") for x, y in bars.lines[0].get_xydata()]


def ends(ax: plt.Axes) -> list[tuple[float, float]]:
    """Lower and upper end of each interval, in the order drawn."""
    segments = [s for bars in ax.containers if hasattr(bars, "has_yerr") for s in bars.lines[2][0].get_segments()]
    return [tuple(np.round(s[:, 1], 9).tolist()) for s in segments]


def lines(ax: plt.Axes) -> dict[str, list[float]]:
    """Heights along each line, by its name in the legend; lines without a name are left out."""
    return {line.get_label(): np.asarray(line.get_ydata(), float).tolist() for line in ax.lines if not line.get_label().startswith("_")}


def named(ax: plt.Axes) -> list[str]:
    """What the legend of a panel would hold."""
    return ax.get_legend_handles_labels()[1]


def texts(where: plt.Figure | plt.Axes) -> list[str]:
    """Everything written in a figure or a panel, line breaks of a panel's width undone."""
    where.get_figure().draw_without_rendering()
    return [t.get_text().replace("\n", " ") for t in where.findobj(plt.Text) if t.get_text()]


def says(where: plt.Figure | plt.Axes, *words: str) -> bool:
    return all(any(word in text for text in texts(where)) for word in words)


def says_why(ax: plt.Axes, why: str) -> bool:
    """Whether a panel holds nothing but the reason for that."""
    return says(ax, f"could not be tested: {why}") and not (ax.lines or ax.containers or ax.images or ax.collections)
