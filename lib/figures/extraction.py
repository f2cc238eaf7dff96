"""Figure 1: what is read, and whether the model knows it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style


def counts(readings: int, units: int, background: int, reading: str = "readings") -> pd.DataFrame:
    """The rows that `sequences` draws: readings of a naive loop over subjects, by their word, the units that these subjects carry, and
    background units, which are read beside them."""
    return pd.DataFrame({"site": [reading, "their units", "background units"], "count": [readings, units, background]})


def sequences(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Sequences to run: those of a naive loop beside those that are read in their place, and the background. table: from `counts`."""
    names = [name.replace("-", "-\n").replace(" ", "\n") for name in table["site"]]
    bars = ax.bar(names, table["count"], color=["0.7", style.COLOURS["SAE"], style.COLOURS["standard"]])
    ax.bar_label(bars, [f"{n:,}" for n in table["count"]], fontsize=6)
    ax.set(yscale="log", ylabel="sequences (count)", ylim=(1, max(table["count"], default=1) * 4), title="compute per unit")
    return ax


def knowledge(table: pd.DataFrame, ax: plt.Axes, loss: str = "cross-entropy") -> plt.Axes:
    """What the model knows, of knowledge.csv: its losses as bars, or without any the gates, each with its bound.

    loss: what to call the loss on sequence that was not simulated (`labels.loss`).
    """
    asked = table["rule"].fillna("") != ""
    ax.set(title="model knowledge")
    if not table["value"].notna().any():
        style.untested(ax, "the weights hold no language-model head")
    elif asked.all():
        gates(table, ax)
    else:
        means = table[~asked & table["low"].isna()]  # the others are gaps with intervals
        bars = ax.bar(means["name"].str.replace(", ", ",\n"), means["value"], color=style.COLOURS["SAE"])
        ax.bar_label(bars, [f"{v:.2f}" for v in means["value"]], fontsize=6)
        ax.set(ylabel=f"{loss}\n(nats per token)", ylim=(0, 1.2 * means["value"].max()))
    return ax


def gates(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Each gate's value with its interval, and its bound as a tick that points to the side that it has to lie on.

    The axis is that of shares, longer where an interval is: a share that is a ratio of estimates may pass 1.
    """
    at = range(len(table))[::-1]
    ends = table[["low", "high"]].fillna({"low": table["value"], "high": table["value"]})
    left, right = min(0, ends["low"].min() - 0.02), max(1, ends["high"].max() + 0.02)
    ax.hlines(at, ends["low"], ends["high"], color=style.COLOURS["SAE"], lw=1)
    ax.plot(table["value"], at, "o", color=style.COLOURS["SAE"])
    for y, rule, bound in zip(at, table["rule"], table["bound"], strict=True):
        ax.plot(bound, y, ">" if rule == "at least" else "<", color="0.45", ms=4)
    for y, name in zip(at, table["name"], strict=True):  # above its row: beside it, long names would leave no room for the panels
        ax.text(left + 0.01, y + 0.22, name, fontsize=5.5, va="bottom")
    ax.set(xlim=(left, right), ylim=(-0.5, len(table) - 0.2), yticks=[], xlabel="F1, AUROC or share; arrows: bounds")
    return ax


def norms(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Median norm of the activations at each site. table: site, norm_median."""
    ax.plot(table["site"].str.removeprefix("resid_post."), table["norm_median"], "o-", color=style.COLOURS["SAE"])
    ax.set(xlabel="block (resid_post)", ylabel="median norm\n(activation units)", title="activations")
    if table.empty:
        style.untested(ax, "no site was read")
    else:
        ax.set_ylim(0, 1.1 * table["norm_median"].max())
    return ax
