"""Figures 5 to 7: what latents respond to."""

from __future__ import annotations

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style

NO_CONCEPT = "no concept has enough instances on validation and on test"


def kinds(table: pd.DataFrame, at_least: int) -> list[str]:
    """The kinds of concepts that get a panel: those of at least so many concepts, or all where no kind has as many.

    Without any concept there is one of no name, whose panel says why. table: kind, and concept or (of a ladder) concepts.
    """
    of = table.groupby("kind", sort=False)
    sizes = of["concept"].nunique() if "concept" in table else of["concepts"].max()
    return [kind for kind, n in sizes.items() if n >= at_least] or list(sizes.index) or [""]


def concepts(best: pd.DataFrame, ax: plt.Axes, kind: str, f1_floor: float) -> plt.Axes:
    """Test F1 of the best unit per concept of a kind, ranked, for the SAE and its nulls; a line at `f1_floor`. n: of concepts searched,
    without decoys."""
    of_kind = best[best["kind"] == kind]
    n = of_kind.loc[of_kind["method"] != "decoy concepts", "concept"].nunique()
    ax.set(xlabel=f"concepts, ranked (n = {n})", ylabel="test F1 of the chosen latent or rival", ylim=(0, 1), title=kind)
    ax.label_outer()
    if of_kind.empty:
        style.untested(ax, NO_CONCEPT)
        return ax
    for method, group in of_kind.groupby("method", sort=False):
        values = np.sort(group["f1"])[::-1]
        ax.plot(np.arange(1, len(values) + 1), values, color=style.colour(method), label=method, ls=style.LINES.get(method, "-"),
                marker=style.marker(method) if n <= 30 else None, ms=3)  # fmt: skip
    ax.axhline(f1_floor, color="0.7", lw=0.6)
    if n > 60:
        ax.set_xscale("log")
    return ax


def claimed_share(ladder: pd.DataFrame, ax: plt.Axes, kind: str) -> plt.Axes:
    """Share of a kind's concepts claimed by the unit chosen on validation: the SAE against every null at the same thresholds.

    ladder: kind, method, concepts, and the share with its interval as value, low, high (`annotate.ladder.shares`).
    """
    ax.set(title=f"{kind or 'concepts'} found")
    of_kind = ladder[ladder["kind"] == kind]
    if of_kind.empty:
        style.untested(ax, NO_CONCEPT)
        return ax
    methods = list(dict.fromkeys(ladder["method"]))  # of all kinds, so that panels side by side have the same rows
    of_kind = of_kind.set_index("method").reindex(methods)
    at = np.arange(len(methods))
    error = np.abs(np.stack([of_kind["value"] - of_kind["low"], of_kind["high"] - of_kind["value"]]))
    ax.barh(at, of_kind["value"], color=[style.colour(m) for m in methods], height=0.7,
            xerr=error, error_kw={"elinewidth": 0.7})  # fmt: skip
    ax.set_yticks(at, methods)
    ax.invert_yaxis()
    ax.set(xlabel=f"share of {int(of_kind['concepts'].max())}", xlim=(0, max(0.05, 1.1 * of_kind["high"].max())))
    ax.label_outer()
    return ax


def precision_recall(curves: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Precision against recall of the best pairs as the threshold falls. curves: method, latent, concept, recall, precision."""
    ax.set(xlabel="recall of instances", ylabel="precision of tokens", xlim=(0, 1), ylim=(0, 1.02), title="best pairs, test")
    if curves.empty:
        style.untested(ax, "no latent is claimed for a concept")
        return ax
    for method in ("random dictionary", "SAE"):
        for i, (_, pair) in enumerate(curves[curves["method"] == method].groupby(["latent", "concept"], sort=False)):
            ax.plot(pair["recall"], pair["precision"], color=style.COLOURS[method], lw=0.8, alpha=0.8, label=None if i else method)
    ax.legend(loc="lower left")
    return ax


def told_apart(means: pd.DataFrame, ax: plt.Axes, floor: float) -> plt.Axes:
    """Mean test F1 with which each method tells what works from what looks the same; a line at `floor`, dotted that of always yes.

    means: method, f1, low, high, always, n_groups, n_units, a row a method (`annotate.contrasts.told_apart`).
    """
    ax.set(title="what works told from what looks the same", xlim=(0, 1))
    if means.empty:
        style.untested(ax, "no group has instances that work and others")
        return ax
    for at, row in enumerate(means.itertuples()):
        error = [[max(0, row.f1 - row.low)], [max(0, row.high - row.f1)]]
        ax.errorbar(row.f1, at, xerr=error, fmt=style.marker(row.method), color=style.colour(row.method), capsize=2, elinewidth=0.9)
    ax.axvline(floor, color="0.7", lw=0.6, label=f"bar, {floor:g}")
    ax.axvline(means["always"].iloc[0], color="0.3", lw=0.8, ls=":", label="always yes")
    ax.set_yticks(range(len(means)), means["method"])
    ax.set(ylim=(len(means) - 0.5, -0.5), xlabel=f"mean test F1 ({means['n_groups'].iloc[0]} groups, {means['n_units'].iloc[0]} units)")
    ax.legend(loc="lower right")
    return ax


def layer_concepts(cells: pd.DataFrame, ax: plt.Axes, kind: str) -> plt.Axes:
    """Test F1 of each concept's latent at each layer, its interval under it; bold where it is claimed and its lower bound is
    above the best null's F1 at that layer."""
    of_kind = cells[cells["kind"] == kind]
    ax.set(title=kind, xlabel="block (resid_post)")
    if of_kind.empty:
        style.untested(ax, NO_CONCEPT)
        return ax
    rows, sites = list(dict.fromkeys(of_kind["concept"])), list(dict.fromkeys(cells["site"]))
    at = of_kind.set_index(["concept", "site"])
    ax.imshow(at["f1"].unstack().reindex(index=rows, columns=sites), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, concept), (j, site) in product(enumerate(rows), enumerate(sites)):
        if (concept, site) not in at.index:
            continue
        cell = at.loc[(concept, site)]
        colour = "white" if cell["f1"] > 0.6 else "black"
        weight = "bold" if cell["claimed"] and cell["low"] > cell["best_null"] else None
        ax.text(j, i - 0.14, f"{cell['f1']:.2f}", ha="center", va="center", fontsize=5.5, color=colour, fontweight=weight)
        ends = "–".join(f"{cell[end]:.2f}".removeprefix("0") for end in ("low", "high"))
        ax.text(j, i + 0.27, ends, ha="center", va="center", fontsize=4, color=colour)
    ax.set_xticks(range(len(sites)), [site.removeprefix("resid_post.") for site in sites])
    ax.set_yticks(range(len(rows)), [name.replace("site ", "") for name in rows], fontsize=5)
    ax.spines[:].set_visible(False)
    return ax
