"""Figures 3 and 4: explained variance against sparsity, and how often latents fire."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from lib.figures import style

#: What the legend says of the random twin. Its dictionary stands where the target is, since a model that learned nothing says little: it
#: is no rival on this axis.
OF_TWIN = "random twin, of its own activations"
LONGER = ", longer"  # ends the name of the sweep's row of the chosen run, trained longer


def pareto(sweep: pd.DataFrame, ax: plt.Axes, controls: pd.DataFrame) -> plt.Axes:
    """Explained variance against L0 on the test split, with floor and target of the go or no-go; controls at the chosen L0.

    A ring stands around the chosen run as it was trained longer, the one that all later numbers are of.
    """
    test = sweep[sweep["split"] == "test"].rename(columns={"explained_variance": "value"})
    ax.set(xlabel="L0 (active latents per token)", ylabel="explained variance (fraction)")
    if test.empty:
        style.untested(ax, "no dictionary was read on the test split")
        return ax
    for name, group in test.groupby("architecture"):
        style.intervals(ax, group, "l0", style.COLOURS[name], style.NAMES[name], style.MARKERS[name])
    strongest = controls.loc[controls["control"] != "random dictionary", "explained_variance"].min()
    low = max(0.0, min(test["value"].min(), strongest) - 0.05)
    for row in controls.itertuples():
        name = OF_TWIN if row.control == "random twin" else row.control
        below = row.explained_variance < low
        ax.plot(row.l0, row.explained_variance, style.MARKERS[row.control], color=style.COLOURS[row.control], clip_on=below, zorder=3,
                label=f"{name} ({row.explained_variance:.2f}, below)" if below else name)  # fmt: skip
    longer = test[test["run"].str.endswith(LONGER)]
    if len(longer):
        ax.plot(longer["l0"], longer["value"], "o", color="black", mfc="none", ms=9, mew=0.8, label="chosen, trained longer")
    ax.fill_between([0.5, 30], 0.90, 1.0, color="0.5", alpha=0.10, lw=0, label="floor: EV ≥ 0.90, L0 ≤ 30")
    ax.fill_between([0.5, 20], 0.95, 1.0, color="0.5", alpha=0.18, lw=0, label="target: EV ≥ 0.95, L0 ≤ 20")
    ax.set(xscale="log", ylim=(low, 1.0))
    ax.set_xlim(max(1, 0.5 * min(test["l0"].min(), controls["l0"].min())), 2 * test["l0"].max())
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def density(latents: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """How often latents fire on test tokens, and the share of them that never do. latents: frequency."""
    ax.set(xlabel="log10 share of test tokens", ylabel=f"latents (of {len(latents)})")
    ax.set_title(f"firing frequency; never fire: {latents['frequency'].eq(0).mean():.1%}")
    alive = latents.loc[latents["frequency"] > 0, "frequency"]
    if alive.empty:
        style.untested(ax, "no latent fires")
        return ax
    ax.hist(np.log10(alive), bins=40, color=style.COLOURS["SAE"])
    ax.locator_params(axis="x", nbins=6)
    return ax


def training(curves: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Explained variance of the batches as dictionaries train. curves: architecture, run, tokens, explained_variance."""
    ax.set(xlabel="training tokens (millions)", ylabel="explained variance, batch", ylim=(0, 1), title="training")
    if curves.empty:
        style.untested(ax, "no dictionary was trained here")
        return ax
    for architecture, runs in curves.groupby("architecture", sort=False):
        for i, (_, curve) in enumerate(runs.groupby("run", sort=False)):
            ax.plot(curve["tokens"] / 1e6, curve["explained_variance"], color=style.COLOURS[architecture], lw=0.9,
                    label=None if i else style.NAMES[architecture])  # fmt: skip
    ax.legend(loc="best", fontsize=5.5)
    return ax
