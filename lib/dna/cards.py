"""Figure 8: what a latent reads, as logos of its top windows beside the profile that names it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import style as fs
from lib.figures.style import put_label


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

    from lib.dna import motifs

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
    put_label(figure, label + "; reference sequence only", stop)
    fs.save(figure, stage, "fig8_feature_cards", table)
    return figure
