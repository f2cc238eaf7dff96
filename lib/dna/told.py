"""Sites of the simulated grammar that work against lone decoys: where they are among the tokens, and what letters nearby say of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.annotate import concepts, contrasts
from lib.corpus.corpus import Corpus
from lib.dna import gates, grammar, truth
from lib.models import sequence as sq

#: What stands beside latents, by the names of `gates.local`.
SURFACE = {"best 8-mer": "8-mers", "one-hot +-12": "one-hot +-12"}


def told(corpus: Corpus, tokens: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, np.ndarray]]]:
    """Sites that work and lone decoys of the background, and what stands beside latents there; two empty ones where no grammar is planted.

    tokens: part ("validation", "test") -> table of unit, contig, ref_start, ref_end, sorted and disjoint. Only whole sites of units without
    a marker: in a unit without one the partner alone says whether a site works. First, part -> first, last (rows of the part's tokens that
    touch the site, half-open), group ("HNF1A+HNF4A -": site, partners, strand), positive (it works), unit. Second, method ->
    part -> scores [instance, 1], fitted on the chromosomes of neither part.
    """
    planted = truth.units_of(corpus)
    if planted is None:
        return {}, {}
    planted = planted[planted["kind"].isin(("functional", *grammar.DECOYS)) & ~planted["marked"]]
    windows = corpus.units()
    windows = windows[windows["unit"].isin(concepts.disjoint_units(windows))].reset_index(drop=True)
    sites = _sites(planted, windows, corpus.records().texts, _parts(windows, corpus.split, tokens))
    scores = gates.local(sites, word_on=("fit",))
    beside = {name: gates.parted(scores[gate], sites) for gate, name in SURFACE.items()}
    return {part: _instances(sites, windows, part, tokens[part]) for part in contrasts.PARTS}, beside


def _parts(windows: pd.DataFrame, split: dict[str, list[str]], tokens: dict[str, pd.DataFrame]) -> np.ndarray:
    """What each window is for: "fit", "validation", "test"; "" for one of a part whose tokens are not read: [window]."""
    part = np.full(len(windows), "fit", dtype=object)
    for name in contrasts.PARTS:
        own = windows["contig"].isin(split[name])
        part[own] = np.where(windows["unit"][own].isin(tokens[name]["unit"]), name, "")
    return part


def _sites(planted: pd.DataFrame, windows: pd.DataFrame, texts: list[str], part: np.ndarray) -> gates.Sites:
    """The sites that lie whole in one window, places in it. units: window is the row of `windows`."""
    contigs = sorted({*windows["contig"], *planted["contig"]})
    begin = concepts.linear(windows["contig"], windows["start"], contigs)
    order = np.argsort(begin)
    at = np.searchsorted(begin[order], concepts.linear(planted["contig"], planted["start"], contigs), side="right") - 1
    window = order[np.maximum(at, 0)]
    of = windows.iloc[window]
    inside = (of["contig"].to_numpy() == planted["contig"].to_numpy()) & (at >= 0) & (part[window] != "")
    inside &= planted["end"].to_numpy() <= of["end"].to_numpy()
    moved = {name: planted[name].to_numpy() - of["start"].to_numpy() for name in ("start", "end")}
    units = planted.assign(window=window, **moved)[inside].reset_index(drop=True)
    letters = [sq.encode(texts[unit]) for unit in windows["unit"]]
    codes = np.full((len(letters), max(map(len, letters))), 4, dtype=np.uint8)  # a shorter window ends in N
    for row, own in zip(codes, letters, strict=True):
        row[: len(own)] = own
    return gates.Sites(codes, units, units["kind"].eq("functional").to_numpy(), part[units["window"].to_numpy()])


def _instances(sites: gates.Sites, windows: pd.DataFrame, part: str, tokens: pd.DataFrame) -> pd.DataFrame:
    """first, last, group, positive, unit of the sites of one part, in their order."""
    units = sites.units[sites.part == part]
    of = windows.iloc[units["window"]]
    contigs = sorted({*windows["contig"]})
    start, end = (concepts.linear(of["contig"], of["start"].to_numpy() + units[name].to_numpy(), contigs) for name in ("start", "end"))
    token_start, token_end = (concepts.linear(tokens["contig"], tokens[name], contigs) for name in ("ref_start", "ref_end"))
    first, last = np.searchsorted(token_end, start, side="right"), np.searchsorted(token_start, end)
    if (last <= first).any():
        raise ValueError(f"{int((last <= first).sum())} planted sites of {part} have no token: wanted tokens of every base of a window")
    group = [f"{grammar.PAIRS[row.pair].name} {row.strand}" for row in units.itertuples()]
    return pd.DataFrame({"first": first, "last": last, "group": group, "positive": sites.works[sites.part == part],
                         "unit": of["unit"].to_numpy()})  # fmt: skip
