"""Figure 11, last panel: whether what an edit changes separates labelled variants."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style


def variants(separation: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """AUROC of labelled variants by size of change, for latents and their rivals; one group a kind of variant and region.

    Kinds are nested: where one leaves no variant out, its group is that of the kind before, drawn once under both names.
    """
    same = separation.groupby(["region", "n"], sort=False)["variants"]
    separation = separation.assign(named=same.transform(lambda kinds: ": ".join(dict.fromkeys(kinds))))
    separation = separation[separation["variants"] == same.transform("first")]
    groups = list(dict.fromkeys(zip(separation["named"], separation["region"], strict=True)))
    ax.set(title="variants", ylabel="AUROC, labelled variants")
    if not groups:
        style.untested(ax, "no region holds enough labelled variants of each class")
        return ax
    for i, (method, rows) in enumerate(separation.groupby("method", sort=False)):
        at = [groups.index(g) + 0.18 * (i - 1) for g in zip(rows["named"], rows["region"], strict=True)]
        style.intervals(ax, rows.assign(at=at), "at", style.colour(method), method, style.MARKERS.get(method, "^"))
    ax.axhline(0.5, color="0.7", lw=0.6)
    kinds = [kind.replace(": ", ":\n").replace("substitutions", "substi-\ntutions").replace(" in ", "\nin ") for kind, _ in groups]
    regions = ["" if region == "all" else f"\n{region}" for _, region in groups]
    ax.set_xticks(range(len(groups)), [kind + region for kind, region in zip(kinds, regions, strict=True)], fontsize=6)
    ax.set(xlim=(-0.5, len(groups) - 0.5), ylim=(min(0.4, separation["low"].min() - 0.08), None))
    ax.legend(loc="lower center", fontsize=5.5, ncols=3, columnspacing=0.7, handlelength=1.2, handletextpad=0.3)  # below every interval
    return ax
