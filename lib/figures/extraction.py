"""Figure 1: what is read, and whether the model knows it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lib.figures import style

WIDTH = 0.38  # of a bar, of two side by side
METHODS = {"model": style.COLOURS["SAE"], "Markov-5": "0.7"}


def counts(readings: int, units: int, reading: str = "readings") -> pd.DataFrame:
    """The rows that `sequences` draws: readings of a naive loop over subjects, by their word, and units that the model reads."""
    return pd.DataFrame({"site": [reading, "units"], "count": [readings, units]})


def losses(knowledge: pd.DataFrame) -> pd.DataFrame:
    """The losses of knowledge.csv, one row each, as `knowledge` draws them: site ("model, in sites"), loss; none without a head."""
    row = knowledge.iloc[0]
    places = {"model": {"in sites": "site", "background": "background"},
              "Markov-5": {"in sites": "markov_site", "background": "markov_background"}}  # fmt: skip
    if "site" not in row:
        places = {"model": {"real": "real", "shuffled": "shuffled"}}
    rows = [{"site": f"{method}, {place}", "loss": row[column]} for method, of in places.items() for place, column in of.items()]
    table = pd.DataFrame(rows, columns=["site", "loss"])
    return table.iloc[:0] if table["loss"].isna().any() else table


def sequences(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Sequences to run: those of a naive loop beside those that are read. table: from `counts`."""
    names = [{"units": "units, with\nbackground"}.get(name, name.replace("-", "-\n").replace(" ", "\n")) for name in table["site"]]
    bars = ax.bar(names, table["count"], color=["0.7", style.COLOURS["SAE"]])
    ax.bar_label(bars, [f"{n:,}" for n in table["count"]], fontsize=6)
    ax.set(yscale="log", ylabel="sequences (count)", ylim=(1, max(table["count"], default=1) * 4), title="compute per unit")
    return ax


def knowledge(table: pd.DataFrame, ax: plt.Axes, loss: str = "cross-entropy") -> plt.Axes:
    """Losses of the model against its control. table: from `losses`; loss: what to call that on sequence that was not
    simulated (`labels.loss`)."""
    named = table["site"].str.split(", ", n=1, expand=True).reindex(columns=[0, 1])
    places = list(dict.fromkeys(named[1]))
    ax.set(ylabel="masked cross-entropy\n(nats per base)" if "in sites" in places else f"{loss}\n(nats per token)", title="model knowledge")
    if table.empty:
        style.untested(ax, "the weights hold no language-model head")
        return ax
    for i, (method, rows) in enumerate(table.groupby(named[0], sort=False)):
        at = [places.index(place) + i * WIDTH for place in named.loc[rows.index, 1]]
        bars = ax.bar(at, rows["loss"], WIDTH, color=METHODS[method], label=method)
        ax.bar_label(bars, [f"{v:.2f}" for v in rows["loss"]], fontsize=6)
    ax.set_xticks([i + (named[0].nunique() - 1) * WIDTH / 2 for i in range(len(places))], places)
    ax.set_ylim(0, 1.35 * table["loss"].max())
    ax.legend(loc="upper left", ncols=2, columnspacing=1, handlelength=1)
    return ax


def norms(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Median norm of the activations at each site. table: site, norm_median."""
    ax.plot(table["site"].str.removeprefix("resid_post."), table["norm_median"], "o-", color=style.COLOURS["SAE"])
    ax.set(xlabel="block (resid_post)", ylabel="median norm\n(activation units)", title="activations")
    if table.empty:
        style.untested(ax, "no site was read")
    else:
        ax.set_ylim(0, 1.1 * table["norm_median"].max())
    return ax
