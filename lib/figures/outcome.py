"""Figure 2: layers against what stands beside them; and calibration."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style


def layers(table: pd.DataFrame, ax: plt.Axes, arm: str, stop: str = "", subjects: str = "subjects") -> plt.Axes:
    """AUROC of one arm by layer, with baselines, the random twin and shuffled labels as bands.

    table: arm, predictor, kind, value, low, high, n. stop: what stops the arm. subjects: the corpus's word for them.
    """
    t = table[table["arm"] == arm]
    ax.set(xlabel="block (resid_post)", title=arm)
    if t.empty:
        style.untested(ax, "no layer was read for this target")
        return ax
    for row in t[t["kind"] == "oracle"].itertuples():
        ax.axhline(row.value, color="black", lw=0.8, ls=":", label=row.predictor)
    for row in t[t["kind"].isin(["baseline", "shuffle"]) & (t["predictor"] != "raw embedding")].itertuples():
        style.band(ax, row.value, row.low, row.high, style.colour(row.predictor), row.predictor)
    block = t.assign(block=t["predictor"].str.removeprefix("resid_post."))
    style.intervals(ax, block[block["kind"] == "layer"], "block", style.COLOURS["model"], "layer")
    style.intervals(ax, block[block["kind"] == "composition-matched"], "block", "0.45", "layer, composition-matched", "s")
    style.intervals(ax, block[block["kind"] == "nested"].assign(block="in\nfolds"), "block", "black", "layer chosen inside folds", "D")
    ax.set_ylabel(f"AUROC (n = {int(t['n'].max())} {subjects})")
    ax.label_outer()
    style.put_stop(ax, stop)
    return ax


def calibration(table: pd.DataFrame, ax: plt.Axes, arm: str) -> plt.Axes:
    """Share of cases against predicted probability of one arm, before and after Platt scaling; on the diagonal, calibrated.

    table: arm, scaling, predicted, observed, low, high; one row a bin.
    """
    t = table[table["arm"] == arm].rename(columns={"observed": "value"})
    ax.set(title=arm, xlabel="predicted probability", ylabel="share of cases", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.label_outer()
    if t.empty:
        style.untested(ax, "no score of this target could be calibrated")
        return ax
    ax.axline((0.5, 0.5), slope=1, color="0.6", lw=0.8, ls="--")
    for scaling, colour, marker in (("before", "0.4", "s"), ("after Platt", style.COLOURS["model"], "o")):
        style.intervals(ax, t[t["scaling"] == scaling], "predicted", colour, scaling, marker)
    return ax
