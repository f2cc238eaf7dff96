"""Figures 10 and 11: what the prediction needs, how explanations compare; and what steering moves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style

#: What is ablated: colour (of style.COLOURS) and marker.
ABLATED = {"latent": ("SAE", "o"), "family": ("gated", "s"), "closure": ("jumprelu", "D")}
RIVAL = "#CC79A7"
SHORT = {"integrated gradients": "IG", "attention rollout": "rollout"}
#: What a table of doses calls its directions: colour and a name for the legend, drawn in this order.
DIRECTIONS = {"shuffled decoder": ("0.8", "another latent's row"), "random": ("0.6", "random direction"),
              "latent": (style.COLOURS["SAE"], "latent")}  # fmt: skip
DOSED = {"change": "change of score ({unit})", "kl": "collateral (nats per token)"}


def largest_falls(table: pd.DataFrame, arms: Sequence[str], n: int = 8) -> pd.DataFrame:
    """The rows that `necessity` draws: of each arm the n of largest fall of each kind, largest first."""
    parts = [table[(table["arm"] == arm) & (table["kind"] == kind)] for arm, kind in product(arms, ABLATED)]
    return pd.concat([part.sort_values("delta", ascending=False, kind="stable").head(n) for part in parts])


def necessity(
    falls: pd.DataFrame, ax: plt.Axes, arm: str, bar: float, stop: str = "", rivals: pd.DataFrame | None = None, metric: str = "AUROC"
) -> plt.Axes:
    """Fall of AUROC, or other metric, per ablated latent, family and closure of one arm, in the order given, and on refit, with the nulls
    and the bar.

    falls: from `largest_falls`; bar: of *necessary*, as 05 set it (rule.json); stop: what stops the arm; rivals: from
    `lib.causal.rivals.largest`: the largest unit stands beside latents, the largest group beside families and closures; metric: its name.
    """
    of_arm, at, ticks = falls[falls["arm"] == arm], 0, []
    ax.set(ylabel=f"fall of {metric} when ablated", title=arm)
    style.outer(ax)
    style.put_stop(ax, stop)
    if of_arm.empty:
        style.untested(ax, "no latent is off its reference value in enough subjects")
        return ax
    for kind, (colour, marker) in ABLATED.items():
        rows = of_arm[of_arm["kind"] == kind]
        place = at + np.arange(len(rows))
        ticks.append((at + (len(rows) - 1) / 2, {"family": "families"}.get(kind, kind + "s")))
        for flag, shade, name in ((True, style.COLOURS[colour], f"{kind}, needed"), (False, "0.7", "not shown to be needed")):
            part = rows.assign(value=rows["delta"], at=place)[rows["needed"].astype(bool).to_numpy() == flag]
            if len(part):
                style.intervals(ax, part, "at", shade, name, marker)
        _nulls(ax, rows, place)
        if rows["refit"].notna().any():
            ax.plot(place, rows["refit"], "x", color="0.2", ms=3, mew=0.8, label="fall on refit")
        if rivals is not None and len(rows):
            _rival(ax, rivals[(rivals["arm"] == arm) & (rivals["kind"] == ("latent" if kind == "latent" else "group"))], place)
        at += len(rows) + 2
    ax.axhline(bar, color="0.3", lw=0.7, ls=":", label=f"bar, {bar}")
    ax.axhline(0, color="0.85", lw=0.6)
    ax.set_xticks(*zip(*ticks, strict=True))
    ax.tick_params(labelbottom=True)
    return ax


#: Nulls that a fall is held to; those of the first step, in which established sets were among the controls.
NULLS, FIRST_NULLS = ["rate_matched_99", "nearest_99", "random_99"], ["rate_matched_99_all", "nearest_99_all"]


def _nulls(ax: plt.Axes, rows: pd.DataFrame, place: np.ndarray) -> None:
    """Ticks at the largest null of each row, and paler ones at the first step's where it is larger."""
    held, first = (rows[names].astype(float).max(axis=1).to_numpy() for names in (NULLS, FIRST_NULLS))
    ax.plot(place, held, "_", color="0.2", ms=5, label="largest null, 99th percentile")
    if (higher := first > held).any():
        ax.plot(place[higher], first[higher], "_", color="0.6", ms=5, label="with established latents among controls")


def _rival(ax: plt.Axes, best: pd.DataFrame, place: np.ndarray) -> None:
    """A line across a kind at the largest fall of a rival."""
    if len(best):
        height = float(best["delta"].iloc[0])
        ax.hlines(height, place[0] - 0.6, place[-1] + 0.6, color=RIVAL, lw=0.9, ls="--", label="largest fall of a rival")


def doses(table: pd.DataFrame, ax: plt.Axes, column: str, latents: Sequence[int], unit: str = "log odds") -> plt.Axes:
    """What steering moves, by dose: `column` is "change" of the score or "kl", the collateral. Thick, the rows of `latents`;
    thin, controls of equal norm. table: steering_doses.csv, one row a latent, direction, draw and eps; unit: of the score."""
    drawn = table[table["latent"].isin(latents)]
    ax.set(xlabel="dose (sd of the latent)", ylabel=DOSED[column].format(unit=unit))
    if drawn.empty:
        style.untested(ax, "no latent of large fall varies on these units")
        return ax
    for direction, (colour, name) in DIRECTIONS.items():
        own = direction == "latent"
        for i, (_, line) in enumerate(drawn[drawn["direction"] == direction].groupby(["latent", "draw"], sort=False)):
            ax.plot(line["eps"], line[column], color=colour, lw=1.2 if own else 0.5, zorder=2 if own else 1, label=None if i else name)
    return ax


def agreement(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Rank agreement of explanations. table: first, second, spearman."""
    ax.set_title("rank agreement")
    if table.empty:
        style.untested(ax, "there are no two explanations to compare")
        return ax
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    matrix = np.eye(len(names))
    for row in table.itertuples():
        i, j = names.index(row.first), names.index(row.second)
        matrix[i, j] = matrix[j, i] = row.spearman
    ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for i, j in product(range(len(names)), repeat=2):
        ax.text(j, i, f"{matrix[i, j]:z.2f}", ha="center", va="center", fontsize=6, color="white" if abs(matrix[i, j]) > 0.6 else "black")
    short = [SHORT.get(name, name) for name in names]
    ax.set_xticks(range(len(names)), short, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), short)
    return ax


def inside_sites(scores: pd.DataFrame, ax: plt.Axes, sites: str = "") -> plt.Axes:
    """AUROC of an explanation's |value| inside sites, beside its null. scores: explanations.csv; sites: which, in words."""
    ax.set(title="inside sites", ylabel="AUROC of |value|" + (f",\n{sites}" if sites else ""))
    return _scores(scores, ax, ("auroc", "low", "high"), "null_95", "null, 95 %", 0.5, "no unit holds a site and other letters too")


def deletion(scores: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """How much faster than a random order deleting what an explanation names moves the score. scores: explanations.csv."""
    ax.set(title="deletion", ylabel="area over random order\n(RMS of whole replacement)")
    return _scores(scores, ax, ("deletion", "deletion_low", "deletion_high"), "", "", 0, "no unit was explained")


def sanity(scores: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """What of an explanation stays with random weights: |rank correlation|, beside its null. scores: explanations.csv."""
    ax.set(title="random weights", ylabel="|rank correlation| with\nthe trained model's")
    return _scores(scores, ax, ("sanity", "sanity_low", "sanity_high"), "sanity_null", "null", 0, "no unit was explained twice")


def _scores(scores: pd.DataFrame, ax: plt.Axes, columns: tuple[str, str, str], null: str, said: str, chance: float, why: str) -> plt.Axes:
    """A score of each explanation with its interval; columns: value, low, high; null: a column, or "" for none, called `said`."""
    if scores[columns[0]].isna().all():
        style.untested(ax, why)
        return ax
    drawn = pd.DataFrame(dict(zip(("value", "low", "high"), (scores[c] for c in columns), strict=True)))
    drawn = drawn.assign(method=scores["method"], name=[SHORT.get(name, name) for name in scores["method"]])
    for row in drawn.itertuples():
        style.intervals(ax, drawn.loc[[row.Index]], "name", style.colour(row.method))
    if null:
        ax.plot(drawn["name"], scores[null], "_", color="0.2", ms=7, label=said)
        ax.margins(y=0.2)
        ax.legend(loc="upper center")  # far from the intervals: its sample looks like a null
    ax.axhline(chance, color="0.7", lw=0.6)
    ax.set_xticks(range(len(drawn)), drawn["name"], rotation=30, ha="right", rotation_mode="anchor")
    return ax
