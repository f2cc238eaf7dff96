"""The rule that says which sets of latents a prediction needs, in one function, `judge`.

*Needed*: the fall's lower bound is above 0; its maxT p is below alpha over the number of kinds; it is beyond the
99th percentile of rate-matched controls, the larger of the strict and the nearest ones', and of decoder rows dealt out at
random; it is above 0 in four fifths of the folds, and in the second cohort where there is one; and a probe that is fitted anew
without the set falls too: the lower bound of that fall is above 0. *Necessary*: needed, both falls at least `bar`, and the
refitted probe falls in the second cohort. *Strongly necessary*: both lower bounds are at least `bar`.

The falls that the nulls bound, the nulls and the refits are of the first repeat. Only sets that pass all else are refitted:
the others are not needed anyway, and have NaN there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.causal import ablation, necessity, nulls, refits, sets
from lib.causal.evidence import LATENT, Evidence, Refit, SecondCohort, Settings, refit, without
from lib.causal.falls import deltas
from lib.outcome import validate
from lib.stats.estimates import Estimate

__all__ = ["LATENT", "Evidence", "Refit", "SecondCohort", "Settings", "catalogue", "grades", "judge", "refit", "whole", "without"]


def judge(evidence: Evidence, settings: Settings) -> pd.DataFrame:
    """The rule on every set: a row each, in the order of `evidence.sets`, with the columns of `necessity.csv`.

    Those of `necessity.measure` but latent; arm, kind, name; latents (how many), movers (subjects in whom any of them
    moves); first_repeat (the fall that the nulls bound); rate_matched_99 and n_rate_matched, of strict controls; nearest_99 and
    n_nearest, of the nearest; random_99, of dealt rows; rate_matched_99_all and nearest_99_all, of the first step; refit, refit_low,
    refit_high, and refit_second, of `refits.falls`; those of `necessity.verdict`. share is NaN unless the full score's interval
    lies above chance. A set has NaN where a null cannot speak; without any rate-matched one, or dealt rows, it is not needed.

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
    matched = _rate_matched(evidence, kind, settings, fall)
    table = _measured(evidence, kind, settings).assign(
        arm=evidence.arm, kind=kind, name=list(evidence.sets[kind]), latents=[len(m) for m in members],
        first_repeat=fall, movers=[_movers(evidence.moved, m) for m in members],
        random_99=necessity.beats(fall, nulls.dealt(evidence, kind, settings))[0],
        **matched, **{f"{name}_all": matched[name] for name in necessity.MATCHED},
    )  # fmt: skip
    if (elsewhere := _second_falls(evidence, members)) is not None:
        table = table.assign(external=elsewhere)
    first = _verdict(table, evidence, kind, settings)
    if kind == LATENT or not first["needed"].any():
        return first
    established = np.unique(np.concatenate([m for m, needed in zip(members, first["needed"]) if needed]))
    rest = _rate_matched(evidence, kind, settings, fall, established)
    again = first.assign(**{name: np.where(first["needed"], first[name], values) for name, values in rest.items()})
    return _verdict(again, evidence, kind, settings)


def _rate_matched(
    evidence: Evidence, kind: str, settings: Settings, fall: np.ndarray, established: np.ndarray = ()
) -> dict[str, np.ndarray]:
    """99th percentiles and numbers of both sorts of rate-matched controls, by their columns: [set]."""
    columns = {}
    for (name, number), null in zip(necessity.MATCHED.items(), (nulls.strict, nulls.nearest), strict=True):
        falls, columns[number] = null(evidence, kind, settings, established)
        columns[name] = necessity.beats(fall, falls)[0]
    return columns


def _measured(evidence: Evidence, kind: str, settings: Settings) -> pd.DataFrame:
    """The falls of the sets of a kind with their intervals and tests, over all repeats."""
    change = sets.set_change(evidence.change, list(evidence.sets[kind].values())).astype(np.float32)
    table = necessity.measure(
        evidence.y, evidence.groups, evidence.run.score, change, evidence.run.folds, settings.n_boot, settings.seed,
        evidence.metric,
    )  # fmt: skip
    return table.drop(columns="latent")


def _verdict(table: pd.DataFrame, evidence: Evidence, kind: str, settings: Settings) -> pd.DataFrame:
    """The verdicts, after those sets are refitted that pass all else and were not refitted yet."""
    how = (len(np.unique(evidence.run.folds)), settings.alpha / len(evidence.sets))
    missing = table["refit"].isna() if "refit" in table else pd.Series(True, table.index)
    asked = np.flatnonzero(necessity.passes(table, *how) & missing)
    fresh = refits.falls(evidence, evidence.members(kind, table["name"].iloc[asked]), settings.n_boot, settings.seed)
    for column in fresh:
        values = table[column].to_numpy(copy=True) if column in table else np.full(len(table), np.nan)
        values[asked] = fresh[column]
        table = table.assign(**{column: values})
    return necessity.verdict(table, settings.bar, *how, evidence.metric)


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
