"""Figure 12: what edits change, beside labels, background, measurements and the tail on which nothing is expected."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style


def percentiles(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Where labelled variants lie among background alleles of their own sort: share of them at most at each percentile.

    table: method, label, percentile; label 1 of every method, label 0 of the SAE alone, broken. A curve under the diagonal changes more.
    """
    ax.set(title="beside alleles of their sort", xlabel="percentile", ylabel="share of variants")
    table = table[table["percentile"].notna()] if len(table) else table
    if table.empty:
        style.untested(ax, "no variant has enough alleles of its own sort")
        return ax
    for (method, label), rows in table.groupby(["method", "label"], sort=False):
        if label == 1 or method == "SAE":
            name = method if label == 1 else f"{method}, label 0"
            ax.ecdf(rows["percentile"], color=style.colour(method), ls="-" if label == 1 else "--", lw=1, label=name)
    ax.axline((0, 0), slope=1, color="0.7", lw=0.6)
    n = table[table["method"] == table["method"].iloc[0]]["label"].value_counts()
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"percentile ({n.get(1, 0)} of label 1, {n.get(0, 0)} of label 0)")
    ax.legend(loc="upper left", fontsize=4.5, handlelength=1, labelspacing=0.2, borderaxespad=0)
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
    bottom, top = min(0.48, separation["low"].min()), separation["high"].max()
    room = max(0.08, 0.2 * (top - bottom)) * -(-n // columns)  # for the legend, below every interval
    ax.set(xlim=(-0.5, len(groups) - 0.5), ylim=(bottom - room, None))
    ax.legend(loc="lower center", fontsize=5.5, ncols=columns, columnspacing=0.7, handlelength=1.2, handletextpad=0.3, labelspacing=0.3)
    return ax


#: Elements of measured effects that are shown, where they are there; else the first ones.
ELEMENTS = ("HNF4A", "F9")
#: Strengths whose levels are drawn beside a curve.
NAMED_LEVELS = ("Supporting", "Moderate", "Strong")


def calibration(curves: pd.DataFrame, ax: plt.Axes, strengths: pd.DataFrame) -> plt.Axes:
    """Local likelihood ratio along the score of each calibrated class, with its one-sided 5 % bounds; a point a window, its size the labels
    in it; levels of PP3 and BP4 dotted, thresholds that count as ticks below the curve's axis.

    curves: of `codes.curves`; strengths: region, code, strength, status, wanted, threshold_conservative.
    """
    ax.set(title="calibration of PP3 and BP4", xlabel="size of change", ylabel="likelihood ratio")
    if curves.empty:
        style.untested(ax, "no class of regions has enough labels of each kind")
        return ax
    for k, (region, rows) in enumerate(curves.groupby("region", sort=False)):
        ratio = rows["likelihood_ratio"].replace(0, np.nan)
        n, p, b = rows["n_pathogenic"] + rows["n_benign"], rows["n_pathogenic"].max(), rows["n_benign"].max()
        ax.plot(rows["score"], ratio, color=f"C{k}", lw=1, label=f"{region}, at most {p} P and {b} B a window")
        ax.fill_between(rows["score"], rows["low"].clip(lower=1e-3), rows["high"].clip(upper=1e4), color=f"C{k}", alpha=0.12, lw=0)
        ax.scatter(rows["score"], ratio, s=n / 20, color=f"C{k}", zorder=3, lw=0)
        own = strengths[(strengths["region"] == region) & (strengths["status"] == "met")]
        for row in own.itertuples():
            ax.axvline(row.threshold_conservative, color=f"C{k}", lw=0.7, ls="--" if row.code == "PP3" else "-.")
    for row in strengths[strengths["strength"].isin(NAMED_LEVELS)].drop_duplicates(["code", "strength"]).itertuples():
        ax.axhline(row.wanted, color="0.7", lw=0.5, ls=":")
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "fontsize": 4.5}
        ax.annotate(f"{row.code} {row.strength}", (1, row.wanted), **place)
    ax.set(yscale="log")
    ax.legend(loc="lower right", fontsize=5)
    return ax


def shown_elements(measured: pd.DataFrame) -> list[str]:
    """The two elements that tracks show. measured: element."""
    known = list(dict.fromkeys(measured["element"])) if len(measured) else []
    return [*(e for e in ELEMENTS if e in known), *(e for e in known if e not in ELEMENTS)][:2]


def track(measured: pd.DataFrame, ax: plt.Axes, element: str, what: str) -> plt.Axes:
    """One score along an element: a point an allele, a line the mean over a place's alleles.

    measured: element, place (0-based base that changes), change, and the column `what`: "effect" (log2), or a method's size of change.
    """
    rows = measured[measured["element"] == element] if len(measured) else measured
    of_effect = what == "effect"
    ax.set(title=f"{element or 'element'}, {'measured' if of_effect else what}", xlabel="base of the element",
           ylabel="log2 effect" if of_effect else "size of change")  # fmt: skip
    if rows.empty:
        style.untested(ax, "no effect of an allele was measured")
        return ax
    at, mean = rows["place"] - rows["place"].min(), rows.groupby(rows["place"] - rows["place"].min())[what].mean()
    colour = "0.25" if of_effect else style.colour(what)
    ax.vlines(mean.index, 0, mean, color=colour, lw=0.5, alpha=0.6)
    gone = rows["change"].str.endswith("-")
    ax.scatter(at[~gone], rows.loc[~gone, what], s=1.5, color=colour, lw=0, label="substitution")
    ax.scatter(at[gone], rows.loc[gone, what], s=5, marker="x", color=style.COLOURS["jumprelu"], lw=0.5, label="deletion")
    ax.axhline(0, color="0.7", lw=0.5)
    ax.annotate(f"n = {len(rows)}", (0.99, 0.99), xycoords="axes fraction", ha="right", va="top", fontsize=5)
    return ax


def mirror(tails: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """How many latents lie beyond a threshold in the expected tail, beside the opposite one and what 95 % of null draws give.

    tails: of `diagnostics.tails` with side; what is lost is drawn. Where both curves go together, the spread is wider than the null's and
    nothing more.
    """
    ax.set(title="the tail where nothing is expected", xlabel="threshold of z", ylabel="latents beyond it")
    rows = tails[tails["side"] == "lost"] if len(tails) else tails
    if rows.empty:
        style.untested(ax, "no latent is lost at enough variants")
        return ax
    ax.fill_between(rows["t"], rows["null_low"], rows["null_high"], color="0.85", lw=0, label="95 % of labels dealt anew")
    ax.plot(rows["t"], rows["upper"], color=style.COLOURS["SAE"], label="more at label 1")
    ax.plot(rows["t"], rows["lower"], color=style.COLOURS["jumprelu"], ls="--", label="more at label 0: the mirror")
    ax.set(yscale="symlog", ylim=(0, 5 * rows["n"].iloc[0]), title=f"the mirror tail (n = {rows['n'].iloc[0]} latents)")
    ax.legend(loc="upper right", fontsize=5)
    return ax


def forest(enrichment: pd.DataFrame, ax: plt.Axes, most: int = 10) -> plt.Axes:
    """Odds of being lost at label 1 over label 0, of the latents of the least p, with 95 % intervals; filled where q is below 0.05.

    enrichment: side, latent, family, odds_ratio, or_low, or_high, lost_1, lost_0, p, q. Ratios of 0, infinity or none are left out.
    """
    ax.set(title="latents lost at labelled variants", xlabel="odds ratio, label 1 over 0")
    rows = enrichment[enrichment["side"] == "lost"] if len(enrichment) else enrichment
    rows = rows[np.isfinite(rows["odds_ratio"].astype(float)) & (rows["odds_ratio"] > 0)] if len(rows) else rows
    if rows.empty:
        style.untested(ax, "no latent is lost at variants of both labels of one gene")
        return ax
    rows = rows.nsmallest(most, "p").iloc[::-1]
    at, low, high = range(len(rows)), rows["or_low"].clip(lower=1e-2), rows["or_high"].clip(upper=1e2)
    ax.hlines(at, low, high, color=style.COLOURS["SAE"], lw=0.9)
    ax.scatter(rows["odds_ratio"], at, s=12, edgecolor=style.COLOURS["SAE"], zorder=3, lw=0.8,
               facecolor=np.where(rows["q"] < 0.05, style.COLOURS["SAE"], "white"))  # fmt: skip
    ax.axvline(1, color="0.7", lw=0.6)
    ax.set_yticks(at, [f"{row.latent}: {row.lost_1}, {row.lost_0}" for row in rows.itertuples()], fontsize=5)
    for y, family in zip(at, rows["family"].fillna(""), strict=True):
        ax.annotate(family, (1, y + 0.15), xycoords=("axes fraction", "data"), ha="right", fontsize=4.5)
    ax.set(xscale="log", xlim=(min(0.5, low.min()), max(2, high.max())), ylabel="latent: lost at label 1, 0")
    return ax


def associations(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Mean percentile of SNPs that studies of association name, among matched others, by method; 95 % intervals over loci.

    table: named, method, value, low, high, n, n_loci.
    """
    ax.set(title="SNPs of association", ylabel="percentile among controls")
    if table.empty:
        style.untested(ax, "no SNP of association with others alike is in the study")
        return ax
    groups = list(dict.fromkeys(table["named"]))
    n = table["method"].nunique()
    for i, (method, rows) in enumerate(table.groupby("method", sort=False)):
        at = [groups.index(name) + 0.11 * (i - (n - 1) / 2) for name in rows["named"]]
        style.intervals(ax, rows.assign(at=at), "at", style.colour(method), method, style.MARKERS.get(method, "^"))
    counts = table.drop_duplicates("named").set_index("named")
    ax.set_xticks(range(len(groups)), [f"{g}\n{counts.n[g]} in {counts.n_loci[g]} loci" for g in groups], fontsize=6)
    ax.axhline(0.5, color="0.7", lw=0.6)
    ax.set(ylim=(-0.6, 1), xlim=(-0.5, len(groups) - 0.5), yticks=[0, 0.5, 1])
    ax.legend(loc="lower center", fontsize=5, ncols=2, columnspacing=0.7, handletextpad=0.3, labelspacing=0.2)
    return ax


#: What figure 12 is drawn from, of those that a study has.
TABLES = ("separation", "percentiles", "code_curves", "code_strengths", "associated", "mpra_variants", "tails", "enrichment")


def n_rows(tables: dict[str, pd.DataFrame]) -> int:
    """Rows of figure 12: five, or three of a study without measured effects, which has no tracks."""
    return 5 if len(tables["mpra_variants"]) else 3


def all_panels(tables: dict[str, pd.DataFrame], axes: np.ndarray) -> np.ndarray:
    """Figure 12: every panel, row by row. tables: of TABLES, empty ones for those that a study lacks; axes: [`n_rows`, 2]."""
    variants(tables["separation"], axes[0][0])
    percentiles(tables["percentiles"], axes[0][1])
    calibration(tables["code_curves"], axes[1][0], tables["code_strengths"])
    associations(tables["associated"], axes[1][1])
    if len(tables["mpra_variants"]):
        for k, element in enumerate([*shown_elements(tables["mpra_variants"]), ""][:2]):
            track(tables["mpra_variants"], axes[2][k], element, "effect")
            track(tables["mpra_variants"], axes[3][k], element, "SAE")
    mirror(tables["tails"], axes[-1][0])
    forest(tables["enrichment"], axes[-1][1])
    return axes
