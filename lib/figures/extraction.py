"""Figure 1: what is read, and whether the model knows it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style as fs
from lib.figures.style import put_label, untested


def overview(stage, headline: dict, quality: pd.DataFrame, knowledge: pd.DataFrame, label: str, loss: str = "cross-entropy") -> plt.Figure:
    """Fig. 1: sequences to run, losses of the model against its control, activation norms by site.

    loss: what to call the loss on sequence that was not simulated (`labels.loss`); no panel without a head to have one.
    """
    figure, (a, b, c) = fs.axes(1, 3, height=2.0, width_ratios=[1, 1.25, 0.9])
    counts = [headline["person_haplotype_windows"], headline["units"]]
    bars = a.bar(["person-\nhaplotype\nwindows", "units, with\nbackground"], counts, color=["0.7", fs.COLOURS["SAE"]])
    a.bar_label(bars, [f"{n:,}" for n in counts], fontsize=6)
    a.set(yscale="log", ylabel="sequences (count)", ylim=(1, max(counts) * 4))
    fs.panel(a, "a", "compute per unit")
    row, width = knowledge.iloc[0], 0.38
    if "site" in row:
        where = ["in sites", "background"]
        bars = {"model": [row.site, row.background], "Markov-5": [row.markov_site, row.markov_background]}
        b.set(ylabel="masked cross-entropy\n(nats per base)")
    else:
        where, bars = ["real", "shuffled"], {"model": [row.real, row.shuffled]}
        b.set(ylabel=f"{loss}\n(nats per token)")
    if np.isnan(list(bars.values())).any():
        bars = {}
        untested(b, "the weights hold no language-model head")
    for i, (name, values) in enumerate(bars.items()):
        drawn = b.bar(np.arange(len(where)) + i * width, values, width, color=[fs.COLOURS["SAE"], "0.7"][i], label=name)
        b.bar_label(drawn, [f"{v:.2f}" for v in values], fontsize=6)
    if bars:
        b.set_xticks(np.arange(len(where)) + (len(bars) - 1) * width / 2, where)
        b.set_ylim(0, 1.35 * max(map(max, bars.values())))
        b.legend(loc="upper left", ncols=2, columnspacing=1, handlelength=1)
    fs.panel(b, "b", "model knowledge")
    c.plot(quality["site"].str.removeprefix("resid_post."), quality["norm_median"], "o-", color=fs.COLOURS["SAE"])
    c.set(xlabel="block (resid_post)", ylabel="median norm\n(activation units)", ylim=(0, 1.1 * quality["norm_median"].max()))
    fs.panel(c, "c", "activations")
    put_label(figure, label)
    losses = [{"site": f"{name}, {place}", "loss": v} for name, values in bars.items() for place, v in zip(where, values, strict=True)]
    table = pd.concat([quality, pd.DataFrame(losses, columns=["site", "loss"]),
                       pd.DataFrame({"site": ["person-haplotype windows", "units"], "count": counts})])  # fmt: skip
    fs.save(figure, stage, "fig1_overview", table)
    return figure
