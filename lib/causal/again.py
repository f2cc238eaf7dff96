"""What a dictionary's latents cost under probes that were fitted already, and which closures cost it in other seeds too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.causal import ablation, necessity
from lib.causal.sets import by_kind, set_change
from lib.outcome.metrics import BINARY, Metric
from lib.outcome.validate import Repeated


@dataclass(frozen=True)
class Cost:
    """moved: [subject, part, latent]; change: of the first repeat's scores by each latent, [1, latent, subject] float32;
    table: `necessity.measure` of each latent."""

    moved: np.ndarray
    change: np.ndarray
    table: pd.DataFrame


@dataclass(frozen=True)
class Target:
    """y: [subject]; groups: [subject], resampled whole, or None; run: probes, of which the first repeat is used;
    n_boot: draws over subjects; seed: of these."""

    y: np.ndarray
    groups: np.ndarray | None
    run: Repeated
    n_boot: int = 2000
    seed: int = 0
    metric: Metric = BINARY

    def measure(self, change: np.ndarray) -> pd.DataFrame:
        """`necessity.measure` of the first repeat. change: [1, set, subject]."""
        run = self.run
        how = (self.n_boot, self.seed, self.metric)
        return necessity.measure(self.y, self.groups, run.score[:1], change, run.folds[:1], *how)


def cost(moved: np.ndarray, decoder: np.ndarray, target: Target) -> Cost:
    """What each latent of a dictionary costs. moved: [subject, part, latent], of `ablation.change_at`; decoder: [latent, d]."""
    change = ablation.repeated_change(moved, decoder, target.run.probes[:1], target.run.folds[:1])
    return Cost(moved, change, target.measure(change))


def closures(
    asked: pd.DataFrame, own: str, others: dict[str, Cost], named: pd.DataFrame, target: Target, least_moved: int, together: float
) -> pd.DataFrame:  # fmt: skip
    """The closures asked about in each further seed, with its own dictionary and names: family, seed, latents, delta, low,
    high, p_max_t. The first rows are those of the own seed.

    asked: rows of `rule.judge`, a closure each; others: seed -> its latents' cost; named: seed, latent, family, q: what 04 calls
    the latents of each seed. A seed that has no closure of that name has no row.
    """
    rows = [asked.rename(columns={"name": "family"}).assign(seed=own)]
    for seed, one in others.items():
        tested = np.flatnonzero((one.moved != 0).any(1).sum(0) >= least_moved)
        family = named[(named["seed"] == seed) & (named["q"] < 0.05)].set_index("latent")["family"]
        members = by_kind(one.moved, tested, family, together)["closure"]
        if members:
            change = set_change(one.change, list(members.values())).astype(np.float32)
            sizes = [len(m) for m in members.values()]
            rows.append(target.measure(change).drop(columns="latent").assign(family=list(members), seed=seed, latents=sizes))
    table = pd.concat(rows)
    return table.loc[table["family"].isin(asked["name"]), ["family", "seed", "latents", "delta", "low", "high", "p_max_t"]]


def times_seen(table: pd.DataFrame, asked: list[str], own: str, bar: float) -> pd.Series:
    """In how many further seeds the lower bound of each closure's fall is `bar` or more: [closure]. table: `closures`."""
    again = table[(table["seed"] != own) & (table["low"] >= bar)]
    return again.groupby("family")["seed"].nunique().reindex(asked, fill_value=0)
