"""Figures 10 and 11: what the prediction needs, and how explanations compare."""

from __future__ import annotations

from itertools import product
from string import ascii_lowercase

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style as fs
from lib.figures.style import legend, put_label, put_stop, untested


def necessity(
    stage, table: pd.DataFrame, arms: list[str], bar: float, label: str, stopped: dict[str, str] | None = None, stop: str = "", n_shown: int = 8
) -> plt.Figure:  # fmt: skip
    """Fig. 10: fall of AUROC per ablated latent, family and closure, largest first, with nulls and the bar. stopped: arm -> by what."""
    figure, axes = fs.panels(len(arms), 2.5, sharey=True)
    drawn = []
    for ax, arm, letter in zip(axes, arms, ascii_lowercase, strict=False):
        at, ticks = 0, []
        for kind, colour, marker in (("latent", "SAE", "o"), ("family", "gated", "s"), ("closure", "jumprelu", "D")):
            mine = table[(table["arm"] == arm) & (table["kind"] == kind)].sort_values("delta", ascending=False, kind="stable").head(n_shown)
            place = at + np.arange(len(mine))
            ticks.append((at + (len(mine) - 1) / 2, {"family": "families"}.get(kind, kind + "s")))
            for flag, shade, name in ((True, fs.COLOURS[colour], f"{kind}, needed"), (False, "0.7", "not shown to be needed")):
                part = mine.assign(value=mine["delta"], at=place)[mine["needed"].astype(bool).to_numpy() == flag]
                if len(part):
                    fs.intervals(ax, part, "at", shade, name, marker)
            ax.plot(place, mine[["rate_matched_99", "random_99"]].max(axis=1), "_", color="0.2", ms=5, label="null, 99th percentile")
            drawn.append(mine)
            at += len(mine) + 2
        ax.axhline(bar, color="0.3", lw=0.7, ls=":", label=f"bar, {bar}")
        ax.axhline(0, color="0.85", lw=0.6)
        ax.set_xticks(*zip(*ticks, strict=True))
        ax.set(ylabel="fall of AUROC when ablated")
        ax.label_outer()
        ax.tick_params(labelbottom=True)
        put_stop(ax, (stopped or {}).get(arm, ""))
        if not (table["arm"] == arm).any():
            untested(ax, "no latent is off its reference value in enough people")
        fs.panel(ax, letter, arm)
    legend(figure, axes, ncols=3)
    put_label(figure, label, stop)
    fs.save(figure, stage, "fig10_necessity", pd.concat(drawn))
    return figure


def explanations(stage, agreement: pd.DataFrame, scores: pd.DataFrame, separation: pd.DataFrame, label: str, stop: str = "") -> plt.Figure:
    """Fig. 11: rank agreement of explanations; what they point at and what they move; AUROC of labelled variants."""
    figure, axes = fs.axes(2, 2, height=4.2)
    (a, b), (c, d) = axes
    names = list(dict.fromkeys([*agreement["first"], *agreement["second"]]))
    short = {n: n.replace("integrated gradients", "IG").replace("attention rollout", "rollout") for n in names}
    matrix = np.eye(len(names))
    for row in agreement.itertuples():
        i, j = names.index(row.first), names.index(row.second)
        matrix[i, j] = matrix[j, i] = row.spearman
    a.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for i, j in product(range(len(names)), repeat=2):
        a.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize=6, color="white" if abs(matrix[i, j]) > 0.6 else "black")
    a.set_xticks(range(len(names)), short.values(), rotation=30)
    a.set_yticks(range(len(names)), short.values())
    fs.panel(a, "a", "rank agreement")
    for ax, letter, title, value, ends, null in (
        (b, "b", "inside sites", "auroc", ("low", "high"), "null_95"), (c, "c", "deletion", "deletion", ("deletion_low", "deletion_high"), None)):  # fmt: skip
        drawn = scores.assign(value=scores[value], low=scores[ends[0]], high=scores[ends[1]], name=scores["method"].map(short))
        for row in drawn.itertuples():
            fs.intervals(ax, drawn.loc[[row.Index]], "name", fs.COLOURS[row.method])
        if null:
            ax.plot(drawn["name"], drawn[null], "_", color="0.2", ms=9, label="null, 95 %")
            ax.margins(y=0.2)
            ax.legend(loc="upper center")  # over integrated gradients, far from the intervals: its sample looks like a null
        if drawn["value"].isna().all():
            untested(ax, "no window holds a site and other bases too")
        ax.axhline(0.5 if null else 0, color="0.7", lw=0.6)
        ax.set_ylabel("AUROC of |value|" if null else "area over random order\n(RMS of whole replacement)")
        ax.tick_params(axis="x", rotation=20)
        fs.panel(ax, letter, title)
    groups = list(dict.fromkeys(zip(separation["variants"], separation["region"], strict=True)))
    for i, (method, rows) in enumerate(separation.groupby("method", sort=False)):
        at = [groups.index(g) + 0.18 * (i - 1) for g in zip(rows["variants"], rows["region"], strict=True)]
        fs.intervals(d, rows.assign(at=at), "at", fs.COLOURS[method], method, fs.MARKERS.get(method, "^"))
    if not groups:
        untested(d, "no region holds enough labelled variants of each class")
        groups = [("", "")]
    d.axhline(0.5, color="0.7", lw=0.6)
    d.set_xticks(range(len(groups)), [k.replace("substitutions", "substi-\ntutions").replace(" in ", "\nin ") + ("" if r == "all" else f"\n{r}")
                                         for k, r in groups], fontsize=6)  # fmt: skip
    d.set(ylabel="AUROC, labelled variants", xlim=(-0.5, len(groups) - 0.5), ylim=(min(0.35, separation["low"].min() - 0.02), None))
    if len(separation):
        d.legend(loc="lower left", fontsize=5.5)
    fs.panel(d, "d", "variants")
    put_label(figure, label, stop)
    fs.save(figure, stage, "fig11_explanations_variants", pd.concat([scores, separation]))
    return figure
