"""Figures 3 and 4: explained variance against sparsity, and how often latents fire."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from lib.figures import style as fs
from lib.figures.style import put_label


def pareto(stage, sweep: pd.DataFrame, controls: pd.DataFrame, label: str) -> plt.Figure:
    """Fig. 3: explained variance against L0 on test chromosomes."""
    figure, ax = fs.axes(1, 1, height=2.3)
    test = sweep[sweep["split"] == "test"].rename(columns={"explained_variance": "value"})
    for name, group in test.groupby("architecture"):
        fs.intervals(ax, group, "l0", fs.COLOURS[name], fs.NAMES[name], fs.MARKERS[name])
    strongest = controls.loc[controls["control"] != "random dictionary", "explained_variance"].min()
    low = max(0.0, min(test["value"].min(), strongest) - 0.05)
    for row in controls.itertuples():
        below = f" ({row.explained_variance:.2f}, below)" if row.explained_variance < low else ""
        ax.plot(row.l0, row.explained_variance, fs.MARKERS[row.control], color=fs.COLOURS[row.control], label=row.control + below)
    ax.fill_between([0.5, 30], 0.90, 1.0, color="0.5", alpha=0.10, lw=0, label="floor: EV ≥ 0.90, L0 ≤ 30")
    ax.fill_between([0.5, 20], 0.95, 1.0, color="0.5", alpha=0.18, lw=0, label="target: EV ≥ 0.95, L0 ≤ 20")
    ax.set(xscale="log", xlabel="L0 (active latents per token)", ylabel="explained variance (fraction)", ylim=(low, 1.0))
    ax.set_xlim(max(1, 0.5 * min(test["l0"].min(), controls["l0"].min())), 2 * test["l0"].max())
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    put_label(figure, label)
    fs.save(figure, stage, "fig3_sae_pareto", pd.concat([test.assign(control=""), controls]))
    return figure


def density(stage, latents: pd.DataFrame, curves: pd.DataFrame, label: str) -> plt.Figure:
    """Fig. 4: firing frequency of latents, and training curves."""
    figure, (a, b) = fs.axes(1, 2, height=2.0)
    alive = latents.loc[latents["frequency"] > 0, "frequency"]
    a.hist(np.log10(alive), bins=40, color=fs.COLOURS["SAE"])
    dead = (latents["frequency"] == 0).mean()
    a.set(xlabel="log10 share of test tokens", ylabel=f"latents (of {len(latents)})")
    fs.panel(a, "a", f"firing frequency; never fire: {dead:.1%}")
    for architecture, runs in curves.groupby("architecture", sort=False):
        for i, (_, curve) in enumerate(runs.groupby("run", sort=False)):
            b.plot(curve["tokens"] / 1e6, curve["explained_variance"].clip(lower=0), color=fs.COLOURS[architecture],
                   lw=0.9, label=None if i else fs.NAMES[architecture])  # fmt: skip
    b.set(xlabel="training tokens (millions)", ylabel="explained variance, batch", ylim=(0, 1))
    b.legend(loc="lower right", fontsize=5.5)
    fs.panel(b, "b", "training")
    put_label(figure, label)
    fs.save(figure, stage, "fig4_density", latents)
    return figure
