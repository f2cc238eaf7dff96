"""The paper's figures, each from tidy tables: layout only, no statistics. Every function saves PDF, PNG and CSV.

label: what the study is (`lib.labels`), said under every figure. stop: what stops the claims that it shows
(`lib.stops`), said above the label, or in a panel where it stops one arm. A figure is always made: an empty table
leaves a panel that says so.
"""

from __future__ import annotations

import re
import textwrap
from itertools import product
from string import ascii_lowercase

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from statsmodels.stats.proportion import proportion_confint

from lib import figstyle as fs

STOPPED = "#B00020"


def _label(figure: plt.Figure, text: str, stop: str = "") -> None:
    said = f"stopped by {stop}\n{text}" if stop else text
    figure.supxlabel(said, fontsize=5.5, color=STOPPED if stop else "0.45", x=0.99, ha="right")


def _stop(ax: plt.Axes, stop: str) -> None:
    """Say inside a panel what stops its claims; nothing when nothing does."""
    if stop:
        said = textwrap.fill(f"stopped by {stop}", 38)
        ax.text(0.5, 0.98, said, transform=ax.transAxes, ha="center", va="top", fontsize=5.5, color=STOPPED,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}, zorder=10)  # fmt: skip


def _untested(ax: plt.Axes, why: str) -> None:
    """A panel without a drawing: the reason in its place."""
    said = textwrap.fill(f"could not be tested: {why}", 34)
    ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center", va="center", fontsize=6, color="0.3")
    ax.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)  # of this panel, where axes are shared


def _legend(figure: plt.Figure, axes, **kwargs) -> None:
    """One legend above the panels, of all that any of them draws; none when nothing is drawn."""
    handles = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", columnspacing=1, **kwargs)


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
        _untested(b, "the weights hold no language-model head")
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
    _label(figure, label)
    losses = [{"site": f"{name}, {place}", "loss": v} for name, values in bars.items() for place, v in zip(where, values, strict=True)]
    table = pd.concat([quality, pd.DataFrame(losses, columns=["site", "loss"]),
                       pd.DataFrame({"site": ["person-haplotype windows", "units"], "count": counts})])  # fmt: skip
    fs.save(figure, stage, "fig1_overview", table)
    return figure


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
        _stop(ax, (stopped or {}).get(arm, ""))
        fs.panel(ax, letter, arm)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, columnspacing=1)
    _label(figure, label)
    fs.save(figure, stage, "fig2_layers", table)
    return figure


def pareto(stage, sweep: pd.DataFrame, controls: pd.DataFrame, label: str) -> plt.Figure:
    """Fig. 3: explained variance against L0 on test chromosomes."""
    figure, ax = fs.axes(1, 1, height=2.3)
    test = sweep[sweep["split"] == "test"].rename(columns={"explained_variance": "value"})
    for name, group in test.groupby("architecture"):
        fs.intervals(ax, group, "l0", fs.COLOURS[name], fs.NAMES[name], fs.MARKERS[name])
    strongest = controls.loc[controls["control"] != "random dictionary", "explained_variance"].min()
    low = max(0.0, min(test["value"].min(), strongest) - 0.05)
    for row in controls.itertuples():
        below = f" ({row.explained_variance:.2f}, below)" if row.explained_variance < low else ""
        ax.plot(row.l0, row.explained_variance, fs.MARKERS[row.control], color=fs.COLOURS[row.control], label=row.control + below)
    ax.fill_between([0.5, 30], 0.90, 1.0, color="0.5", alpha=0.10, lw=0, label="floor: EV ≥ 0.90, L0 ≤ 30")
    ax.fill_between([0.5, 20], 0.95, 1.0, color="0.5", alpha=0.18, lw=0, label="target: EV ≥ 0.95, L0 ≤ 20")
    ax.set(xscale="log", xlabel="L0 (active latents per token)", ylabel="explained variance (fraction)", ylim=(low, 1.0))
    ax.set_xlim(max(1, 0.5 * min(test["l0"].min(), controls["l0"].min())), 2 * test["l0"].max())
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _label(figure, label)
    fs.save(figure, stage, "fig3_sae_pareto", pd.concat([test.assign(control=""), controls]))
    return figure


def density(stage, latents: pd.DataFrame, curves: pd.DataFrame, label: str) -> plt.Figure:
    """Fig. 4: firing frequency of latents, and training curves."""
    figure, (a, b) = fs.axes(1, 2, height=2.0)
    alive = latents.loc[latents["frequency"] > 0, "frequency"]
    a.hist(np.log10(alive), bins=40, color=fs.COLOURS["SAE"])
    dead = (latents["frequency"] == 0).mean()
    a.set(xlabel="log10 share of test tokens", ylabel=f"latents (of {len(latents)})")
    fs.panel(a, "a", f"firing frequency; never fire: {dead:.1%}")
    for architecture, runs in curves.groupby("architecture", sort=False):
        for i, (_, curve) in enumerate(runs.groupby("run", sort=False)):
            b.plot(curve["tokens"] / 1e6, curve["explained_variance"].clip(lower=0), color=fs.COLOURS[architecture],
                   lw=0.9, label=None if i else fs.NAMES[architecture])  # fmt: skip
    b.set(xlabel="training tokens (millions)", ylabel="explained variance, batch", ylim=(0, 1))
    b.legend(loc="lower right", fontsize=5.5)
    fs.panel(b, "b", "training")
    _label(figure, label)
    fs.save(figure, stage, "fig4_density", latents)
    return figure


NO_CONCEPT = "no concept has enough instances on validation and test chromosomes"


def concepts(stage, best: pd.DataFrame, label: str, stop: str = "", *, f1_floor: float) -> plt.Figure:
    """Fig. 5: test F1 of the best unit per concept, ranked, for the SAE and its nulls; one panel a kind, a line at `f1_floor`."""
    sizes = best.groupby("kind", sort=False)["concept"].nunique()
    kinds = [kind for kind, n in sizes.items() if n >= 3] or list(sizes.index)  # the CSV holds the others too
    figure, axes = fs.axes(1, max(1, len(kinds)), height=2.7, squeeze=False, sharey=True)
    if not kinds:
        _untested(axes[0][0], NO_CONCEPT)
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
    _legend(figure, axes[0][:1], ncols=5)
    _label(figure, label, stop)
    fs.save(figure, stage, "fig5_concepts", best[["method", "kind", "concept", "family", "latent", "f1", "auroc", "q"]])
    return figure


def against_nulls(stage, ladder: pd.DataFrame, curves: pd.DataFrame, label: str, stop: str = "") -> plt.Figure:
    """Fig. 6: share of concepts claimed by the unit chosen on validation, SAE against every null at the same thresholds
    (bars: Wilson 95 %), one panel a kind; last panel, precision and recall of the best pairs."""
    kinds = [kind for kind, n in ladder.groupby("kind", sort=False)["concepts"].max().items() if n >= 10] or list(ladder["kind"].unique())
    figure, axes = fs.axes(1, max(1, len(kinds)) + 1, height=2.4, squeeze=False, width_ratios=[1] * max(1, len(kinds)) + [1.15])
    if not kinds:
        _untested(axes[0][0], NO_CONCEPT)
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
        _untested(ax, "no latent is claimed for a concept")
    fs.panel(ax, ascii_lowercase[max(1, len(kinds))], "best pairs, test")
    _label(figure, label, stop)
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
        _untested(axes[0][0], NO_CONCEPT)
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
    _label(figure, label, stop)
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
    _label(figure, label, stop)
    fs.save(figure, stage, "fig9_decoder_map", table)
    return figure


def _aligned_logo(windows: pd.DataFrame, flank: int) -> pd.DataFrame:
    """Base frequencies around each window's peak activation: one row a position, columns A C G T."""
    rows = []
    for _, w in windows.groupby(["contig", "rank"], sort=False):
        peak, text = int(w["activation"].to_numpy().argmax()), "".join(w["base"])
        rows.append("".join(text[i] if 0 <= i < len(text) else "N" for i in range(peak - flank, peak + flank + 1)))
    counts = pd.DataFrame([[column.count(b) for b in "ACGT"] for column in map("".join, zip(*rows, strict=True))], columns=list("ACGT"))
    p = (counts + 0.25) / (counts.sum(axis=1) + 1).to_numpy()[:, None]
    return p.mul(2 + (p * np.log2(p)).sum(axis=1), axis=0)


def cards(stage, table: pd.DataFrame, features: pd.DataFrame, label: str, stop: str = "") -> plt.Figure:
    """Fig. 8: one row a latent: activation along its top window, logo of the top windows, the profile it matches."""
    import logomaker

    from lib.genome import motifs

    shown = list(dict.fromkeys(table["latent"])) if len(table) else []
    figure, axes = fs.axes(max(1, len(shown)), 3, height=max(1.0, 0.95 * len(shown)), squeeze=False,
                           width_ratios=[2.2, 1.2, 1.0])  # fmt: skip
    for (track, logo, profile), latent in zip(axes, shown, strict=False):
        mine = table[table["latent"] == latent]
        top = mine[mine["rank"] == 0].reset_index(drop=True)
        peak = int(top["activation"].to_numpy().argmax())
        part = top.iloc[max(0, peak - 40) : peak + 40]
        track.fill_between(part["position"], part["activation"], step="mid", color=fs.COLOURS["SAE"], lw=0)
        track.set(ylabel="activation", xlim=(part["position"].iloc[0], part["position"].iloc[-1]))
        track.ticklabel_format(axis="x", useOffset=False, style="plain")
        track.locator_params(axis="x", nbins=3)
        row = features.set_index("latent").loc[latent]
        fs.panel(track, f"latent {latent}", f"{top['contig'][0]}; F1 {row['f1']:.2f}, q {row['q']:.2g}")
        logomaker.Logo(_aligned_logo(mine, 10), ax=logo, color_scheme="classic")
        logo.set(ylim=(0, 2), yticks=[0, 1, 2], xticks=[0, 10, 20])
        logo.set_xticklabels(["-10", "0", "10"])
        motif = motifs.motifs_by_id([row["concept"].split()[0]])[0]
        turned = row["concept"].endswith(" -")  # as the latent reads it
        pwm, information = (motif.reverse_complement(), motif.information[::-1]) if turned else (motif.pwm, motif.information)
        bits = pd.DataFrame((pwm * information).T, columns=list("ACGT"))
        logomaker.Logo(bits, ax=profile, color_scheme="classic")
        profile.set(ylim=(0, 2), yticks=[], xticks=[])
        profile.set_title(row["concept"], fontsize=6, fontweight="normal")
    if not shown:
        axes[0][1].text(0.5, 0.5, "no latent matches a motif at q < 0.05", ha="center", transform=axes[0][1].transAxes)
        for ax in axes[0]:
            ax.axis("off")
    else:
        axes[0][1].set_title("top windows, bits", fontsize=6, fontweight="normal")
    _label(figure, label + "; reference sequence only", stop)
    fs.save(figure, stage, "fig8_feature_cards", table)
    return figure


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
        _stop(ax, (stopped or {}).get(arm, ""))
        if not (table["arm"] == arm).any():
            _untested(ax, "no latent is off its reference value in enough people")
        fs.panel(ax, letter, arm)
    _legend(figure, axes, ncols=3)
    _label(figure, label, stop)
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
            _untested(ax, "no window holds a site and other bases too")
        ax.axhline(0.5 if null else 0, color="0.7", lw=0.6)
        ax.set_ylabel("AUROC of |value|" if null else "area over random order\n(RMS of whole replacement)")
        ax.tick_params(axis="x", rotation=20)
        fs.panel(ax, letter, title)
    groups = list(dict.fromkeys(zip(separation["variants"], separation["region"], strict=True)))
    for i, (method, rows) in enumerate(separation.groupby("method", sort=False)):
        at = [groups.index(g) + 0.18 * (i - 1) for g in zip(rows["variants"], rows["region"], strict=True)]
        fs.intervals(d, rows.assign(at=at), "at", fs.COLOURS[method], method, fs.MARKERS.get(method, "^"))
    if not groups:
        _untested(d, "no region holds enough labelled variants of each class")
        groups = [("", "")]
    d.axhline(0.5, color="0.7", lw=0.6)
    d.set_xticks(range(len(groups)), [k.replace("substitutions", "substi-\ntutions").replace(" in ", "\nin ") + ("" if r == "all" else f"\n{r}")
                                         for k, r in groups], fontsize=6)  # fmt: skip
    d.set(ylabel="AUROC, labelled variants", xlim=(-0.5, len(groups) - 0.5), ylim=(min(0.35, separation["low"].min() - 0.02), None))
    if len(separation):
        d.legend(loc="lower left", fontsize=5.5)
    fs.panel(d, "d", "variants")
    _label(figure, label, stop)
    fs.save(figure, stage, "fig11_explanations_variants", pd.concat([scores, separation]))
    return figure


def numbers(study: str, headlines: dict[str, dict]) -> str:
    r"""Headline numbers as LaTeX macros, so that no number is retyped: \demoExtractionUnits and so on."""
    lines = []
    for stage, headline in headlines.items():
        for key, value in headline.items():
            words = re.split(r"[^A-Za-z0-9]+", f"{study} {stage.split('_', 1)[1]} {key}")
            spelled = "".join(w[:1].upper() + w[1:] for w in words if w)
            digits = dict(zip("0123456789", ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"], strict=True))
            name = "".join(digits.get(c, c) for c in spelled)
            lines.append(rf"\newcommand{{\{name[:1].lower() + name[1:]}}}{{{value}}}")
    return "\n".join(lines) + "\n"
