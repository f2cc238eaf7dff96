"""Figure 11, last panel: whether what an edit changes separates labelled variants."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style


def percentiles(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Where labelled variants lie among background alleles of their own sort: share of them at most at each percentile.

    table: method, label, percentile; label 1 of every method, label 0 of the SAE alone, broken. A curve under the diagonal changes more.
    """
    ax.set(title="beside alleles that nobody chose", xlabel="percentile among alleles of its sort", ylabel="share of variants")
    table = table[table["percentile"].notna()]
    if table.empty:
        style.untested(ax, "no variant has enough alleles of its own sort")
        return ax
    for (method, label), rows in table.groupby(["method", "label"], sort=False):
        if label == 1 or method == "SAE":
            name = f"{method}, label {label} (n = {len(rows)})"
            ax.ecdf(rows["percentile"], color=style.colour(method), ls="-" if label == 1 else "--", lw=1, label=name)
    ax.axline((0, 0), slope=1, color="0.7", lw=0.6)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="upper left", fontsize=5, handlelength=1.2)
    return ax


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
    n = separation["method"].nunique()
    step = min(0.18, 0.8 / n)
    for i, (method, rows) in enumerate(separation.groupby("method", sort=False)):
        at = [groups.index(g) + step * (i - (n - 1) / 2) for g in zip(rows["named"], rows["region"], strict=True)]
        style.intervals(ax, rows.assign(at=at), "at", style.colour(method), method, style.MARKERS.get(method, "^"))
    ax.axhline(0.5, color="0.7", lw=0.6)
    kinds = [kind.replace(": ", ":\n").replace("substitutions", "substi-\ntutions").replace(" in ", "\nin ") for kind, _ in groups]
    regions = ["" if region == "all" else f"\n{region}" for _, region in groups]
    ax.set_xticks(range(len(groups)), [kind + region for kind, region in zip(kinds, regions, strict=True)], fontsize=6)
    columns = 3 if n <= 3 else 2
    room = 0.08 * -(-n // columns)  # for the legend, below every interval
    ax.set(xlim=(-0.5, len(groups) - 0.5), ylim=(min(0.48, separation["low"].min()) - room, None))
    ax.legend(loc="lower center", fontsize=5.5, ncols=columns, columnspacing=0.7, handlelength=1.2, handletextpad=0.3, labelspacing=0.3)
    return ax
