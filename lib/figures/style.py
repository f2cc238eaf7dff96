"""The one place for the look of figures: sizes, fonts, colours, and saving a figure with the numbers drawn.

The other modules of this room draw one panel each: given a tidy table and an ax, they return the ax, compute nothing that is
a result and save nothing. Notebooks lay the panels out; `save` puts the label under a figure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

WIDTH = 5.5  # inches, a full NeurIPS text width
#: Okabe and Ito's colour-blind-safe palette, one colour and marker a method, the same in every figure; Matryoshka has the
#: wine and the convolutional the indigo of Paul Tol's "muted", since their yellow is hardly seen on white.
COLOURS = {
    "SAE": "#0072B2", "topk": "#0072B2", "standard": "#56B4E9", "gated": "#009E73", "batchtopk": "#E69F00", "jumprelu": "#D55E00",
    "matryoshka": "#882255", "convolutional": "#332288", "raw neurons": "#E69F00",
    "random dictionary": "#999999", "PCA": "#CC79A7", "dosage": "#009E73", "k-mer": "#D55E00",
    "label shuffle": "#999999", "random direction": "#999999", "random twin": "#000000", "model": "#0072B2",
    "rate-matched": "#56B4E9", "shuffled sequence": "#009E73", "decoy concepts": "#882255",
    "ISM": "#D55E00", "SAE latents": "#0072B2", "integrated gradients": "#009E73", "attention rollout": "#CC79A7",
    "DeepLIFT": "#882255", "raw embedding": "#E69F00", "motif score": "#882255", "model likelihood": "#CC79A7", "position": "#56B4E9",
}  # fmt: skip
MARKERS = {"SAE": "o", "topk": "o", "standard": "s", "gated": "P", "batchtopk": "^",
           "jumprelu": "v", "matryoshka": "p", "convolutional": "h", "random twin": "*", "raw neurons": "^",
           "random dictionary": "x", "PCA": "D",
           "dosage": "D", "k-mer": "v", "label shuffle": "+", "rate-matched": "s", "shuffled sequence": "P",
           "decoy concepts": "p", "raw embedding": "^", "motif score": "p", "model likelihood": "D", "position": "s"}  # fmt: skip
#: Nulls that keep the trained model or its latents and break something else are dashed; all else is solid.
LINES = {"rate-matched": "--", "label shuffle": "--", "shuffled sequence": "--", "decoy concepts": "--", "random twin": ":"}
SURFACE = COLOURS["k-mer"]  # of what a kind puts beside layers and latents, when it has no colour of its own
LABEL = 120  # characters of the line under a figure that fit its width
#: Architectures as a figure names them.
NAMES = {"standard": "ReLU + L1", "gated": "gated", "topk": "TopK", "batchtopk": "BatchTopK", "jumprelu": "JumpReLU",
         "matryoshka": "Matryoshka", "convolutional": "convolutional"}  # fmt: skip
RC = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 7, "axes.labelsize": 7,
    "axes.titlesize": 7.5, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 6.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "lines.linewidth": 1.2, "lines.markersize": 4, "legend.frameon": False,
    "pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 300, "figure.dpi": 120, "svg.hashsalt": "sae-dna",
    "figure.constrained_layout.use": True, "axes.titlelocation": "left", "axes.titleweight": "bold",
}  # fmt: skip


def colour(name: str) -> str:
    """The colour of a method or rival."""
    return COLOURS.get(name, SURFACE)


def marker(name: str) -> str:
    """The marker of a method or rival."""
    return MARKERS.get(name, MARKERS["k-mer"])


def apply() -> None:
    """Use the house style in this process."""
    mpl.rcParams.update(RC)


def axes(rows: int = 1, columns: int = 1, height: float = 2.2, **kwargs) -> tuple[plt.Figure, np.ndarray]:
    """A figure of the full text width. Returns the figure and its axes, as an array when more than one."""
    apply()
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **kwargs)


def panels(n: int, height: float, most: int = 3, **kwargs) -> tuple[plt.Figure, list[plt.Axes]]:
    """A figure of n panels, at most `most` a row. height: of a row, inches."""
    columns, rows = min(n, most), -(-n // most)
    figure, grid = axes(rows, columns, height=height * rows, squeeze=False, **kwargs)
    for ax in grid.ravel()[n:]:
        ax.axis("off")
    return figure, list(grid.ravel()[:n])


def outer(ax: plt.Axes) -> plt.Axes:
    """Ticks and labels of axes at the edge of a grid of panels alone: on the x axis, of the last panel of each column, whatever its row.
    Panels that do not share the y axis, as those of targets with other metrics, keep its ticks and label each."""
    x, y, place = ax.get_xlabel(), ax.get_ylabel(), ax.get_subplotspec()
    ax.label_outer()
    if len(ax.get_shared_y_axes().get_siblings(ax)) == 1:
        ax.set_ylabel(y)
        ax.tick_params(labelleft=True)
    under = [other.get_subplotspec() for other in ax.figure.axes if other.axison]
    if not any(spec.colspan == place.colspan and spec.rowspan.start == place.rowspan.stop for spec in under):
        ax.set_xlabel(x)
        ax.tick_params(labelbottom=True)
    return ax


def above(columns: int, height: float, below: float, **kwargs) -> tuple[plt.Figure, np.ndarray, plt.Axes]:
    """A row of panels above one that is as wide as the text. height, below: of the two rows, inches. Returns the figure, the axes of the
    row as an array, and the one below; other arguments are those of the row."""
    apply()
    figure = plt.figure(figsize=(WIDTH, height + below))
    top, bottom = figure.subfigures(2, 1, height_ratios=[height, below])
    return figure, top.subplots(1, columns, squeeze=False, **kwargs)[0], bottom.subplots()


def intervals(ax: plt.Axes, table: pd.DataFrame, x: str, colour: str, label: str | None = None, marker: str = "o") -> plt.Axes:
    """Points with their intervals. table: columns x, value, low, high."""
    error = np.abs(np.stack([table["value"] - table["low"], table["high"] - table["value"]]))
    ax.errorbar(table[x], table["value"], yerr=error, fmt=marker, color=colour, label=label, capsize=2, elinewidth=0.9, ls="none")
    return ax


def band(ax: plt.Axes, value: float, low: float, high: float, colour: str, label: str) -> plt.Axes:
    """A horizontal estimate with its interval as a band."""
    ax.axhline(value, color=colour, lw=1, ls="--", label=label)
    ax.axhspan(low, high, color=colour, alpha=0.12, lw=0)
    return ax


def letters(axes) -> None:
    """a, b, c before the titles of panels, in order; a panel without a title gets none."""
    for ax, letter in zip(axes, ascii_lowercase, strict=False):
        if title := ax.get_title(loc="left"):
            ax.set_title(f"{letter}  {title}", loc="left")


STOPPED = "#B00020"


def save(stage, name: str, figure: plt.Figure, label: str, *tables: pd.DataFrame, stop: str = "") -> Path:
    """Vector PDF with embedded fonts, PNG, and the CSV of what was drawn, into figures/<study>/; `label` under the drawing.

    tables: what was drawn, one below the other in the CSV; stop: what stops all that the figure claims, said in red, or "".
    Equal data give equal bytes: no creation date is written.
    """
    said = "\n".join(textwrap.fill(line, LABEL) for line in ([f"stopped by {stop}"] if stop else []) + [label])
    figure.supxlabel(said, fontsize=5.5, color=STOPPED if stop else "0.45", x=0.99, ha="right")
    figure.savefig(stage.figure_path(f"{name}.pdf"), metadata={"CreationDate": None})
    figure.savefig(stage.figure_path(f"{name}.png"), metadata={"Software": None})
    path = stage.figure_path(f"{name}.csv")
    _below(tables).to_csv(path, index=False, lineterminator="\n")
    return path


def _below(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One below the other, with the columns of all in the order they come; what is empty decides no column's type."""
    columns = list(dict.fromkeys(column for table in tables for column in table))
    filled = [table.dropna(axis=1, how="all") for table in tables if len(table)]
    return (pd.concat(filled) if filled else pd.DataFrame()).reindex(columns=columns)


def put_stop(ax: plt.Axes, stop: str) -> None:
    """Say inside a panel what stops its claims; nothing when nothing does."""
    if stop:
        said = textwrap.fill(f"stopped by {stop}", 38)
        ax.text(0.5, 0.98, said, transform=ax.transAxes, ha="center", va="top", fontsize=5.5, color=STOPPED,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}, zorder=10)  # fmt: skip


def untested(ax: plt.Axes, why: str) -> None:
    """A panel without a drawing: the reason in its place."""
    said = textwrap.fill(f"could not be tested: {why}", 26, break_on_hyphens=False)
    ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center", va="center", fontsize=6, color="0.3")
    ax.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)  # of this panel, where axes are shared


def legend(figure: plt.Figure, axes, **kwargs) -> None:
    """One legend above the panels, of all that any of them draws; none when nothing is drawn."""
    handles = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", columnspacing=1, **kwargs)
