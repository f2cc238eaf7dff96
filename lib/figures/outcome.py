"""Figure 2: layers against what stands beside them; and calibration, of log odds or of numbers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style

#: What is drawn of a block, by its kind: shift along x, so that equal values do not hide each other, colour, name and marker.
READ = {"layer": (-0.13, style.COLOURS["model"], "layer", "o"),
        "composition-matched": (0.13, "0.45", "layer, composition-matched", "s"),
        "nested": (0, "black", "layer chosen inside folds", "D")}  # fmt: skip


def layers(table: pd.DataFrame, ax: plt.Axes, arm: str, stop: str = "", subjects: str = "subjects", metric: str = "AUROC") -> plt.Axes:
    """AUROC, or other metric, of one arm by layer, with baselines, the random twin and shuffled labels as bands.

    table: arm, predictor, kind, value, low, high, n. stop: what stops the arm. subjects: the corpus's word for them. metric: its name.
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
    sites = list(dict.fromkeys(t.loc[t["kind"] == "layer", "predictor"]))
    for kind, (shift, colour, name, marker) in READ.items():
        rows = t[t["kind"] == kind]
        at = [sites.index(site) + shift if site in sites else len(sites) for site in rows["predictor"]]
        style.intervals(ax, rows.assign(at=at), "at", colour, name, marker)
    ax.set_xticks(range(len(sites) + 1), [*(site.removeprefix("resid_post.") for site in sites), "in\nfolds"])
    ax.set_ylabel(f"{metric} (n = {int(t['n'].max())} {subjects})")
    style.outer(ax)
    style.put_stop(ax, stop)
    return ax


def calibration(table: pd.DataFrame, ax: plt.Axes, arm: str) -> plt.Axes:
    """Share of cases against predicted probability of one arm, before and after Platt scaling; on the diagonal, calibrated.

    table: arm, scaling, predicted, observed, low, high; one row a bin.
    """
    t = table[table["arm"] == arm].rename(columns={"observed": "value"})
    ax.set(title=arm, xlabel="predicted probability", ylabel="share of cases", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    style.outer(ax)
    if t.empty:
        style.untested(ax, "no score of this target could be calibrated")
        return ax
    ax.axline((0.5, 0.5), slope=1, color="0.6", lw=0.8, ls="--")
    for scaling, colour, marker in (("before", "0.4", "s"), ("after Platt", style.COLOURS["model"], "o")):
        style.intervals(ax, t[t["scaling"] == scaling], "predicted", colour, scaling, marker)
    return ax


def agreement(table: pd.DataFrame, ax: plt.Axes, arm: str) -> plt.Axes:
    """Mean of a continuous target against its prediction, in bins of equal size; on the diagonal, calibrated. Both in units of the target.

    table: arm, prediction, mean, low, high; one row a bin.
    """
    t = table[table["arm"] == arm].rename(columns={"mean": "value"})
    ax.set(title=arm, xlabel="prediction", ylabel="mean observed")
    style.outer(ax)
    if t.empty:
        style.untested(ax, "no prediction of this target varies")
        return ax
    ax.axline((t["prediction"].mean(),) * 2, slope=1, color="0.6", lw=0.8, ls="--")
    return style.intervals(ax, t, "prediction", style.COLOURS["model"])
