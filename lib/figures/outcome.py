"""Figure 2: layers against what stands beside them."""

from __future__ import annotations

from string import ascii_lowercase

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style as fs
from lib.figures.style import put_label, put_stop


def layers(stage, table: pd.DataFrame, label: str, stopped: dict[str, str] | None = None) -> plt.Figure:
    """Fig. 2: AUROC by layer, with dosage, k-mers, the random twin and shuffled labels as bands. stopped: arm -> by what."""
    arms = list(dict.fromkeys(table["arm"]))
    figure, axes = fs.panels(len(arms), 2.2, sharey=True)
    for ax, arm, letter in zip(axes, arms, ascii_lowercase, strict=False):
        t = table[table["arm"] == arm]
        for row in t[t["kind"] == "oracle"].itertuples():
            ax.axhline(row.value, color="black", lw=0.8, ls=":", label="true genetic score")
        for row in t[t["predictor"].isin(["dosage", "random twin", "label shuffle"]) | t["predictor"].str.endswith("-mer")].itertuples():
            name = "k-mer" if row.predictor.endswith("-mer") else row.predictor
            fs.band(ax, row.value, row.low, row.high, fs.COLOURS[name], row.predictor)
        block = t.assign(block=t["predictor"].str.removeprefix("resid_post."))
        fs.intervals(ax, block[block["kind"] == "layer"], "block", fs.COLOURS["model"], "layer")
        fs.intervals(ax, block[block["kind"] == "composition-matched"], "block", "0.45", "layer, composition-matched", "s")
        fs.intervals(ax, block[block["kind"] == "nested"].assign(block="in\nfolds"), "block", "black", "layer chosen inside folds", "D")
        ax.set(xlabel="block (resid_post)", ylabel=f"AUROC (n = {int(t['n'].max())} people)")
        ax.label_outer()
        put_stop(ax, (stopped or {}).get(arm, ""))
        fs.panel(ax, letter, arm)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, columnspacing=1)
    put_label(figure, label)
    fs.save(figure, stage, "fig2_layers", table)
    return figure
