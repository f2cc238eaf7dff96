"""Figure 8: what a latent reads, as a logo of its top windows beside a profile of the family that names it."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.annotate import outside
from lib.dna import motifs
from lib.figures import style

NAME = 22  # characters of a family's name that fit a line above its profile
LEAST_Q = 1e-10  # smaller ones are said to be below it: so far out a p-value says how many sites there were, and no more
NO_CARD = "no latent matches a motif at q < 0.05"


def window_bits(windows: pd.DataFrame, flank: int = 10) -> pd.DataFrame:
    """Bits of each base around the peaks of one latent's top windows: one row a position, -flank to flank; columns A C G T.

    windows: contig, rank, base, activation, one row a base in order. A share is (count + 1/4) / (n + 1), of n bases that are
    known there; a column's height is its information, 2 + the sum of p log2 p. No rows of no window.
    """
    rows = []
    for _, w in windows.groupby(["contig", "rank"], sort=False):
        peak, text = int(w["activation"].to_numpy().argmax()), "".join(w["base"])
        rows.append("".join(text[i] if 0 <= i < len(text) else "N" for i in range(peak - flank, peak + flank + 1)))
    counts = pd.DataFrame([[column.count(b) for b in "ACGT"] for column in map("".join, zip(*rows, strict=True))], columns=list("ACGT"))
    p = (counts + 0.25) / (counts.sum(axis=1) + 1).to_numpy()[:, None]
    return p.mul(2 + (p * np.log2(p)).sum(axis=1), axis=0)


def profile_bits(concept: str) -> pd.DataFrame:
    """Bits of each base of the profile that a concept names ("MA0105.4 NFKB1 -"), as the latent reads it: columns A C G T."""
    motif = motifs.motifs_by_id([concept.split()[0]])[0]
    turned = concept.endswith(" -")
    pwm, information = (motif.reverse_complement(), motif.information[::-1]) if turned else (motif.pwm, motif.information)
    return pd.DataFrame((pwm * information).T, columns=list("ACGT"))


def said(feature: pd.Series) -> str:
    """What stands beside a latent: of a family its test F1, and q where that is claimed; of a repeat how much of its firing is there."""
    if feature["kind"] == outside.KIND:
        return f"; {feature['repeat_share']:.0%} in repeats"
    q = f"q < {LEAST_Q:g}" if feature["q"] < LEAST_Q else f"q {feature['q']:.2g}"
    return f"; F1 {feature['f1']:.2f}, " + (q if feature["plausible"] else "not claimed")


def profile(feature: pd.Series, ax: plt.Axes) -> plt.Axes:
    """A profile of the family that names the latent, under the family's name: which member binds cannot be told. Of a repeat its name."""
    if feature["kind"] == outside.KIND:
        ax.axis("off")
        ax.text(0.5, 0.5, textwrap.fill(feature["family"], NAME), ha="center", va="center", fontsize=6, transform=ax.transAxes)
        return ax
    return logo(profile_bits(feature["concept"]), ax, textwrap.fill(feature["family"], NAME))


def track(windows: pd.DataFrame, ax: plt.Axes, feature: pd.Series | None = None) -> plt.Axes:
    """Activation of one latent along the 80 bases around the peak of its top window. feature: its row of the catalogue."""
    top = windows[windows["rank"] == 0].reset_index(drop=True)
    if top.empty:
        style.untested(ax, NO_CARD)
        return ax
    peak = int(top["activation"].to_numpy().argmax())
    part = top.iloc[max(0, peak - 40) : peak + 40]
    ax.fill_between(part["position"], part["activation"], step="mid", color=style.COLOURS["SAE"], lw=0)
    ax.set(ylabel="activation", xlim=(part["position"].iloc[0], part["position"].iloc[-1]))
    ax.ticklabel_format(axis="x", useOffset=False, style="plain")
    ax.locator_params(axis="x", nbins=3)
    match = "" if feature is None else said(feature)
    ax.set_title(f"latent {top['latent'][0]}  {top['contig'][0]}{match}")
    return ax


def logo(bits: pd.DataFrame, ax: plt.Axes, title: str = "", flank: int = 0) -> plt.Axes:
    """Bases as high as their bits: columns A C G T. flank: positions on each side of the middle, for the axis; 0 for no axis."""
    import logomaker

    if bits.empty:
        style.untested(ax, NO_CARD)
        return ax
    logomaker.Logo(bits, ax=ax, color_scheme="classic")
    ax.set(ylim=(0, 2), yticks=[0, 1, 2] if flank else [], xticks=[0, flank, 2 * flank] if flank else [])
    if flank:
        ax.set_xticklabels([f"-{flank}", "0", str(flank)])
    ax.set_title(title, fontsize=6, fontweight="normal")
    return ax
