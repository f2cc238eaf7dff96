"""Figures 5 to 9: what latents respond to."""

from __future__ import annotations

from itertools import product
from string import ascii_lowercase

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from lib.figures import style as fs
from lib.figures.style import legend, put_label, untested

NO_CONCEPT = "no concept has enough instances on validation and test chromosomes"


def concepts(stage, best: pd.DataFrame, label: str, stop: str = "", *, f1_floor: float) -> plt.Figure:
    """Fig. 5: test F1 of the best unit per concept, ranked, for the SAE and its nulls; one panel a kind, a line at `f1_floor`."""
    sizes = best.groupby("kind", sort=False)["concept"].nunique()
    kinds = [kind for kind, n in sizes.items() if n >= 3] or list(sizes.index)  # the CSV holds the others too
    figure, axes = fs.axes(1, max(1, len(kinds)), height=2.7, squeeze=False, sharey=True)
    if not kinds:
        untested(axes[0][0], NO_CONCEPT)
    for ax, kind, letter in zip(axes[0], kinds, ascii_lowercase, strict=False):
        mine = best[best["kind"] == kind]
        n = mine["concept"].nunique()
        for method, group in mine.groupby("method", sort=False):
            values = np.sort(group["f1"])[::-1]
            ax.plot(np.arange(1, len(values) + 1), values, color=fs.COLOURS[method], label=method, ls=fs.LINES.get(method, "-"),
                    marker=fs.MARKERS[method] if n <= 30 else None, ms=3)  # fmt: skip
        ax.axhline(f1_floor, color="0.7", lw=0.6)
        ax.set(xlabel=f"{kind} concepts, ranked (n = {n})", ylim=(0, 1))
        if n > 60:
            ax.set_xscale("log")
        fs.panel(ax, letter, kind)
    axes[0][0].set_ylabel("test F1 of the chosen unit")
    legend(figure, axes[0][:1], ncols=5)
    put_label(figure, label, stop)
    fs.save(figure, stage, "fig5_concepts", best[["method", "kind", "concept", "family", "latent", "f1", "auroc", "q"]])
    return figure


def against_nulls(stage, ladder: pd.DataFrame, curves: pd.DataFrame, label: str, stop: str = "") -> plt.Figure:
    """Fig. 6: share of concepts claimed by the unit chosen on validation, SAE against every null at the same thresholds
    (bars: Wilson 95 %), one panel a kind; last panel, precision and recall of the best pairs."""
    kinds = [kind for kind, n in ladder.groupby("kind", sort=False)["concepts"].max().items() if n >= 10] or list(ladder["kind"].unique())
    figure, axes = fs.axes(1, max(1, len(kinds)) + 1, height=2.4, squeeze=False, width_ratios=[1] * max(1, len(kinds)) + [1.15])
    if not kinds:
        untested(axes[0][0], NO_CONCEPT)
    methods = list(dict.fromkeys(ladder["method"]))
    drawn = ladder.assign(value=ladder["found"] / ladder["concepts"])
    drawn["low"], drawn["high"] = proportion_confint(drawn["found"], drawn["concepts"], method="wilson")
    for ax, kind, letter in zip(axes[0], kinds, ascii_lowercase, strict=False):
        mine = drawn[drawn["kind"] == kind].set_index("method").reindex(methods)
        at = np.arange(len(methods))
        ax.barh(at, mine["value"], color=[fs.COLOURS[m] for m in methods], height=0.7,
                xerr=np.abs(np.stack([mine["value"] - mine["low"], mine["high"] - mine["value"]])), error_kw={"elinewidth": 0.7})  # fmt: skip
        ax.set_yticks(at, methods if ax is axes[0][0] else [""] * len(methods))
        ax.invert_yaxis()
        ax.set(xlabel=f"share of {int(mine['concepts'].max())}", xlim=(0, max(0.05, 1.1 * mine["high"].max())))
        fs.panel(ax, letter, f"{kind} found")
    ax = axes[0][-1]
    for method, name in (("random dictionary", "random dictionary"), ("SAE", "SAE")):
        for i, (_, pair) in enumerate(curves[curves["method"] == method].groupby(["latent", "concept"], sort=False)):
            ax.plot(pair["recall"], pair["precision"], color=fs.COLOURS[method], lw=0.8, alpha=0.8, label=None if i else name)
    ax.set(xlabel="recall of instances", ylabel="precision of tokens", xlim=(0, 1), ylim=(0, 1.02))
    if len(curves):
        ax.legend(loc="lower left")
    else:
        untested(ax, "no latent is claimed for a concept")
    fs.panel(ax, ascii_lowercase[max(1, len(kinds))], "best pairs, test")
    put_label(figure, label, stop)
    fs.save(figure, stage, "fig6_nulls", pd.concat([drawn, curves]))
    return figure


def layer_concepts(stage, cells: pd.DataFrame, label: str, stop: str = "") -> plt.Figure:
    """Fig. 7: test F1 of each concept's latent at each layer, its interval under it; bold where it is claimed and its lower
    bound is above the best null's F1 at that layer."""
    kinds = [kind for kind, n in cells.groupby("kind", sort=False)["concept"].nunique().items() if n >= 5] or list(cells["kind"].unique())
    rows = {kind: list(dict.fromkeys(cells.loc[cells["kind"] == kind, "concept"])) for kind in kinds}
    sites = list(dict.fromkeys(cells["site"]))
    figure, axes = fs.axes(1, max(1, len(kinds)), height=0.8 + 0.23 * max([3, *map(len, rows.values())]), squeeze=False)
    if not kinds:
        untested(axes[0][0], NO_CONCEPT)
    for ax, kind, letter in zip(axes[0], kinds, ascii_lowercase, strict=False):
        mine = cells[cells["kind"] == kind].set_index(["concept", "site"])
        grid = mine["f1"].unstack().reindex(index=rows[kind], columns=sites)
        image = ax.imshow(grid, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (i, concept), (j, site) in product(enumerate(rows[kind]), enumerate(sites)):
            if (concept, site) not in mine.index:
                continue
            cell = mine.loc[(concept, site)]
            colour = "white" if cell["f1"] > 0.6 else "black"
            strong = bool(cell["claimed"]) and cell["low"] > cell["best_null"]
            ax.text(j, i - 0.14, f"{cell['f1']:.2f}", ha="center", va="center", fontsize=5.5, color=colour, fontweight="bold" if strong else None)
            ends = "–".join(f"{cell[end]:.2f}".removeprefix("0") for end in ("low", "high"))
            ax.text(j, i + 0.27, ends, ha="center", va="center", fontsize=4, color=colour)
        ax.set_xticks(range(len(sites)), [site.removeprefix("resid_post.") for site in sites])
        ax.set_yticks(range(len(rows[kind])), [name.replace("site ", "") for name in rows[kind]], fontsize=5)
        ax.set(xlabel="block (resid_post)")
        ax.spines[:].set_visible(False)
        fs.panel(ax, letter, kind)
    if kinds:
        figure.colorbar(image, ax=axes[0][-1], label="test F1", shrink=0.6)
    put_label(figure, label, stop)
    fs.save(figure, stage, "fig7_layer_concepts", cells)
    return figure


def decoder_map(stage, table: pd.DataFrame, label: str, stop: str = "", n_families: int = 8) -> plt.Figure:
    """Fig. 9: decoder directions laid on a plane by UMAP, the commonest claimed families coloured."""
    figure, ax = fs.axes(1, 1, height=2.8)
    known = table[table["plausible"].astype(bool)]
    common = known["family"].value_counts(sort=True).head(n_families).index
    ax.scatter(table["x"], table["y"], s=4, color="0.85", lw=0, label="no claim", rasterized=True)
    other = known[~known["family"].isin(common)]
    ax.scatter(other["x"], other["y"], s=6, color="0.5", lw=0, label="other claims")
    palette = [*dict.fromkeys(fs.COLOURS[m] for m in ("topk", "gated", "batchtopk", "jumprelu", "PCA", "standard", "matryoshka", "random twin"))]
    for family, colour in zip(common, palette, strict=False):
        part = known[known["family"] == family]
        ax.scatter(part["x"], part["y"], s=11, color=colour, lw=0, label=f"{family} ({len(part)})")
    ax.set(xticks=[], yticks=[], xlabel="UMAP 1 (cosine)", ylabel="UMAP 2")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="best claimed family", title_fontsize=6.5, markerscale=1.5)
    put_label(figure, label, stop)
    fs.save(figure, stage, "fig9_decoder_map", table)
    return figure
