"""The rule that says which sets of latents a prediction needs, in one function, `judge`.

*Needed*: the fall's lower bound is above 0; its maxT p is below alpha over the number of kinds; it is beyond the
99th percentile of two nulls, of rate-matched controls and of decoder rows dealt out at random; it is above 0 in four
fifths of the folds, and in the second cohort where there is one. *Necessary*: needed, and a fall of at least `bar`.
*Strongly necessary*: its lower bound is. The falls that the nulls bound, and the nulls, are of the first repeat.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lib.causal import ablation, necessity, sets
from lib.causal.falls import deltas
from lib.outcome import validate
from lib.outcome.metrics import BINARY, Metric
from lib.outcome.probe import Probe
from lib.stats.estimates import Estimate

#: The kind whose sets are single latents, and whose rate-matched controls are single latents.
LATENT = "latent"


@dataclass(frozen=True)
class SecondCohort:
    """Subjects that no probe saw, under one fitted on everybody of the first cohort.

    y: [subject]; score: [subject], of `probe`; moved: [subject, part, latent]. For classes score is [class, subject].
    """

    y: np.ndarray
    score: np.ndarray
    probe: Probe
    moved: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What the rule judges in one arm.

    y: [subject], of the metric's target; groups: [subject], resampled whole, or None; run: the probes and their
    out-of-fold scores. moved: [subject, part, latent], f* - f of `ablation.change_at`; decoder: [latent, d_in].
    rate, size: [latent], firing rate (fraction) and mean norm of f d when it fires, by which controls are matched.
    sets: kind -> name of a set -> its latents, as of `sets.by_kind`; those of the kind `LATENT` hold one each.
    Raises ValueError where the latents of these differ in number, or a set of that kind does not hold one.
    """

    arm: str
    y: np.ndarray
    groups: np.ndarray | None
    run: validate.Repeated
    moved: np.ndarray
    decoder: np.ndarray
    rate: np.ndarray
    size: np.ndarray
    sets: dict[str, dict[str, np.ndarray]]
    second: SecondCohort | None = None
    metric: Metric = BINARY

    def __post_init__(self) -> None:
        n_latents = {"decoder": len(self.decoder), "moved": self.moved.shape[2]}
        n_latents |= {"rate": len(self.rate), "size": len(self.size)}
        if self.second is not None:
            n_latents["second.moved"] = self.second.moved.shape[2]
        if len(set(n_latents.values())) > 1:
            raise ValueError(f"arm {self.arm!r}: latents differ in number: {n_latents}")
        if wrong := [name for name, members in self.sets.get(LATENT, {}).items() if len(members) != 1]:
            raise ValueError(
                f"arm {self.arm!r}: sets of kind {LATENT!r} hold one latent each, not so {wrong[:5]}"
            )

    @cached_property
    def change(self) -> np.ndarray:
        """What ablating each latent alone adds to the scores: [repeat, latent, subject] float32."""
        return ablation.repeated_change(self.moved, self.decoder, self.run.probes, self.run.folds)

    @cached_property
    def first_change(self) -> np.ndarray:
        """`change` of the first repeat in float64, which the nulls are compared with: [1, latent, subject]."""
        return _first_change(self, self.moved, self.decoder)[None]

    def first_falls(self, change: np.ndarray) -> np.ndarray:
        """Fall of the first repeat's scores by each change: [set]. change: [1, set, subject]."""
        return deltas(self.y, self.run.score[:1], change, self.metric)


@dataclass(frozen=True)
class Settings:
    """bar: fall, in units of the metric, from which a needed set is necessary. n_boot: bootstrap draws over subjects.
    n_matched: controls of each null, a set. least_matched: rate-matched latents below which a latent has no null.
    alpha: error, split evenly over the kinds, those without a set too. seed: of all that is drawn."""

    bar: float
    n_boot: int
    n_matched: int
    least_matched: int
    alpha: float = 0.05
    seed: int = 0


def judge(evidence: Evidence, settings: Settings) -> pd.DataFrame:
    """The rule on every set: a row each, in the order of `evidence.sets`, with the columns of `necessity.csv`.

    Those of `necessity.measure` but latent; arm, kind, name; latents (how many), movers (subjects in whom any of them
    moves); first_repeat (the fall that the nulls bound); rate_matched_99, random_99, n_rate_matched;
    rate_matched_99_all, of the first step; those of `necessity.verdict`. share is NaN unless the full score's interval
    lies above chance. A set without a null has NaN there and is not needed.

    Every kind but `LATENT` is judged in two steps: sets needed with every latent as a possible control are established;
    their latents are then no controls for the others, or one cause would hide the next.
    """
    kinds = [kind for kind, members in evidence.sets.items() if members]
    table = necessity.verdicts([_judged(evidence, kind, settings) for kind in kinds])
    above_chance = whole(evidence, settings.seed).low > evidence.metric.chance
    return table.assign(share=table["share"].where(np.full(len(table), above_chance)))


def whole(evidence: Evidence, seed: int) -> Estimate:
    """The metric of the scores with nothing ablated, its interval of 1,000 draws over subjects."""
    return validate.estimate(evidence.y, evidence.run.score, 1000, seed, evidence.groups, evidence.metric)


def grades(table: pd.DataFrame, of: dict[str, dict[str, np.ndarray]], n_latents: int) -> pd.Series:
    """Of each latent the best that is said of it: [latent] of "necessary" or "needed" (alone), "necessary family",
    "necessary closure", "needed family", "needed closure", or "". table: rows of `judge` of one arm; of: its sets."""
    out = pd.Series("", index=np.arange(n_latents))
    for word in ("needed", "necessary"):
        for kind in ("closure", "family", LATENT):
            for name in table["name"][(table["kind"] == kind) & table[word]]:
                out[of[kind][name]] = word if kind == LATENT else f"{word} {kind}"
    return out


def catalogue(
    features: pd.DataFrame, table: pd.DataFrame, of: dict[str, dict[str, np.ndarray]], n_latents: int, stopped: bool
) -> pd.DataFrame:  # fmt: skip
    """The features with `faithful`, what `grades` says ("stopped" for what a stop takes away), and each latent's own fall.

    features: a row a latent, in their order. table: rows of `judge` of one arm; of: its sets. New columns delta, delta_low,
    delta_high, p_max_t, NaN for a latent that was not tested.
    """
    graded = grades(table, of, n_latents)
    own = table[table["kind"] == LATENT].assign(latent=lambda t: t["name"].astype(int))
    own = own[["latent", "delta", "low", "high", "p_max_t"]].rename(columns={"low": "delta_low", "high": "delta_high"})
    faithful = graded.mask(graded != "", "stopped") if stopped else graded
    return features.assign(faithful=faithful).merge(own, on="latent", how="left")


def _judged(evidence: Evidence, kind: str, settings: Settings) -> pd.DataFrame:
    """`judge` on the sets of one kind, in two steps unless they are single latents."""
    members = list(evidence.sets[kind].values())
    fall = evidence.first_falls(sets.set_change(evidence.first_change, members))
    matched, n_controls = _matched_falls(evidence, kind, settings)
    strict = necessity.beats(fall, matched)[0]
    table = _measured(evidence, kind, settings).assign(
        arm=evidence.arm, kind=kind, name=list(evidence.sets[kind]), latents=[len(m) for m in members],
        first_repeat=fall, n_rate_matched=n_controls, movers=[_movers(evidence.moved, m) for m in members],
        random_99=necessity.beats(fall, _dealt_falls(evidence, kind, settings))[0],
        rate_matched_99=strict, rate_matched_99_all=strict,
    )  # fmt: skip
    elsewhere = _second_falls(evidence, members)
    first = _verdict(table, evidence, elsewhere, settings)
    if kind == LATENT or not first["needed"].any():
        return first
    established = np.unique(np.concatenate([m for m, needed in zip(members, first["needed"]) if needed]))
    rest = necessity.beats(fall, _matched_falls(evidence, kind, settings, established)[0])[0]
    again = table.assign(rate_matched_99=np.where(first["needed"], strict, rest))
    return _verdict(again, evidence, elsewhere, settings)


def _measured(evidence: Evidence, kind: str, settings: Settings) -> pd.DataFrame:
    """The falls of the sets of a kind with their intervals and tests, over all repeats."""
    change = sets.set_change(evidence.change, list(evidence.sets[kind].values())).astype(np.float32)
    table = necessity.measure(
        evidence.y, evidence.groups, evidence.run.score, change, evidence.run.folds, settings.n_boot, settings.seed,
        evidence.metric,
    )  # fmt: skip
    return table.drop(columns="latent")


def _verdict(
    table: pd.DataFrame, evidence: Evidence, elsewhere: np.ndarray | None, settings: Settings
) -> pd.DataFrame:
    n_folds = len(np.unique(evidence.run.folds))
    alpha = settings.alpha / len(evidence.sets)
    return necessity.verdict(table, settings.bar, elsewhere, n_folds, alpha, evidence.metric)


def _movers(moved: np.ndarray, members: np.ndarray) -> int:
    return int((moved[:, :, members] != 0).any((1, 2)).sum())


def _second_falls(evidence: Evidence, members: list[np.ndarray]) -> np.ndarray | None:
    """Falls of each set in the second cohort, under its one probe: [set], or None without such a cohort."""
    second = evidence.second
    if second is None:
        return None
    change = ablation.score_change(
        second.moved, evidence.decoder, [second.probe], np.zeros(len(second.y), int)
    )
    return deltas(
        second.y, second.score[None], sets.set_change(change[None], members), evidence.metric
    )


def _matched_falls(
    evidence: Evidence, kind: str, settings: Settings, established: Iterable[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Falls of the rate-matched controls of the sets of a kind, and how many there are: [set, n_matched], [set].

    NaN where there is none. established: latents that are no controls for a set. Of single latents any latent is one.
    """
    members, change = list(evidence.sets[kind].values()), evidence.first_change
    how = (evidence.rate, evidence.size, settings.n_matched, settings.seed)
    if kind == LATENT:
        index, n_controls = sets.rate_matched(np.concatenate(members), *how)
        falls = sets.matched_deltas(evidence.first_falls(change), index)
        falls[n_controls < settings.least_matched] = np.nan
        return falls, n_controls
    drawn = [list(sets.matched_sets(m, *how, established)) for m in members]
    changes = (sets.set_change(change, alike)[0] for alike in drawn)
    return _null_falls(evidence, changes, settings.n_matched), np.array([len(alike) for alike in drawn])


def _dealt_falls(evidence: Evidence, kind: str, settings: Settings) -> np.ndarray:
    """Falls of the sets of a kind when each member takes the decoder row of a latent outside: [set, n_matched]."""
    members, decoder = list(evidence.sets[kind].values()), evidence.decoder
    n, rng = settings.n_matched, np.random.default_rng(settings.seed)
    if kind == LATENT:
        orders = [sets.derangement(len(decoder), rng) for _ in range(n)]
        latents = np.concatenate(members)
        changes = (_first_change(evidence, evidence.moved, decoder[order])[None, latents] for order in orders)
        return np.stack([evidence.first_falls(change) for change in changes], axis=1)
    dealt = [sets.dealt_orders(m, len(decoder), n, rng) for m in members]
    changes = (
        np.array(
            [_first_change(evidence, evidence.moved[:, :, m], decoder[order]).sum(0) for order in orders]
        )
        for m, orders in zip(members, dealt)
    )
    return _null_falls(evidence, changes, n)


def _first_change(evidence: Evidence, moved: np.ndarray, decoder: np.ndarray) -> np.ndarray:
    """Change of the first repeat's scores by each latent: [latent, subject].

    moved: [subject, part, latent]; decoder: [latent, d_in], each with the row it is to have.
    """
    return ablation.score_change(moved, decoder, evidence.run.probes[0], evidence.run.folds[0])


def _null_falls(evidence: Evidence, changes: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Falls of the controls of each set: [set, n], NaN where a set has fewer.

    changes: one [control, subject] a set.
    """
    rows = [evidence.first_falls(change[None]) if len(change) else np.empty(0) for change in changes]
    return np.stack([np.pad(row, (0, n - len(row)), constant_values=np.nan) for row in rows])
