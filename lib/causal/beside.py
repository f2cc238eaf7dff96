"""What stands beside the rule's verdict in one arm: other ablations, what is left, what suffices, refits, set curves, nulls.

Every function takes the arm's `rule.Evidence`; `names` are sets of it, kind -> names, those of largest fall.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.causal import ablation, necessity, refits
from lib.causal.falls import deltas
from lib.causal.rule import Evidence, Settings, whole
from lib.causal.sets import set_change
from lib.outcome import validate
from lib.outcome.metrics import BINARY, Metric

#: Draws over subjects of what is said here.
N_BOOT = 1000


def largest(table: pd.DataFrame, kind: str, n: int) -> list[str]:
    """Names of the n sets of largest fall of a kind. table: rows of `rule.judge` of one arm."""
    return table[table["kind"] == kind].nlargest(n, "delta")["name"].tolist()


def total(evidence: Evidence, seed: int) -> dict[str, float]:
    """The metric in full and with every latent on its reference value, each with its interval: a row of `totals.csv`.

    refit, refit_low, refit_high: what a probe loses that is fitted anew on that, NaN without a refit. No set of latents can be missed much
    more than all of them: where this is small, the dictionary's error tells what the latents do.
    """
    before, metric = whole(evidence, seed), evidence.metric
    everything = evidence.change.sum(1, dtype=np.float64)
    left = validate.estimate(evidence.y, evidence.run.score + everything, N_BOOT, seed, evidence.groups, metric)
    every = [np.arange(len(evidence.decoder))]
    return {
        "arm": evidence.arm, f"{metric.key}_full": before.value, "full_low": before.low, "full_high": before.high,
        f"{metric.key}_all_ablated": left.value, "low": left.low, "high": left.high, "n": left.n,
    } | refits.falls(evidence, every, N_BOOT, seed)[["refit", "refit_low", "refit_high"]].iloc[0].to_dict()  # fmt: skip


def by_mode(evidence: Evidence, modes: dict[str, np.ndarray], names: dict[str, list[str]]) -> pd.DataFrame:
    """Falls of the first repeat with other values of f*: arm, mode, kind, name, delta; a row a mode and set.

    modes: mode -> what it changes, [subject, part, latent], see `ablation.person_change`.
    """
    rows = []
    for mode, moved in modes.items():
        change = ablation.score_change(moved, evidence.decoder, evidence.run.probes[0], evidence.run.folds[0])[None]
        for kind, some in names.items():
            fall = evidence.first_falls(set_change(change, evidence.members(kind, some))) if some else []
            rows += [(evidence.arm, mode, kind, name, delta) for name, delta in zip(some, fall, strict=True)]
    return pd.DataFrame(rows, columns=["arm", "mode", "kind", "name", "delta"])


def sufficiency(evidence: Evidence, names: list[str], kind: str = "closure") -> pd.DataFrame:
    """`necessity.sufficiency` of sets, with arm and a column of their names, called as the kind; no row without a set."""
    table = necessity.sufficiency(
        evidence.y, evidence.run.score, evidence.change, evidence.members(kind, names), evidence.metric
    )
    return table.assign(arm=evidence.arm, **{kind: names})


def set_curve(evidence: Evidence, moving: np.ndarray, n_random: int, seed: int) -> pd.DataFrame:
    """`necessity.set_curve` of the first repeat, in the order of the falls over all repeats. moving: latents that take part."""
    fall = deltas(evidence.y, evidence.run.score, evidence.change[:, moving], evidence.metric)
    order = moving[np.argsort(-fall, kind="stable")]
    curve = necessity.set_curve(
        evidence.y, evidence.run.score[:1], evidence.change[:1], order, n_random, seed=seed, metric=evidence.metric
    )
    return curve.assign(arm=evidence.arm)


def refitted(evidence: Evidence, names: dict[str, list[str]], n_boot: int, seed: int) -> pd.DataFrame:
    """What a probe loses that is fitted anew without a set, beside what the frozen one loses, whether it passes the rest of the rule or
    not: arm, kind, name, frozen, the columns of `refits.falls`, n (subjects)."""
    parts = []
    for kind, some in names.items():
        members = evidence.members(kind, some)
        frozen = evidence.first_falls(set_change(evidence.first_change, members)) if some else []
        rows = pd.DataFrame({"arm": evidence.arm, "kind": kind, "name": some, "frozen": frozen})
        parts.append(pd.concat([rows, refits.falls(evidence, members, n_boot, seed)], axis=1).assign(n=len(evidence.y)))
    return stacked(parts)


NULL_COLUMNS = ["draw", "kind", "auroc", "largest", "needed", "necessary", "tested"]


def null_verdicts(
    draw: int, y: np.ndarray, run: validate.Repeated, like: Evidence, settings: Settings, n_boot: int = N_BOOT,
) -> pd.DataFrame:  # fmt: skip
    """The rule on a target that nothing causes, controls and refits left out, which can only let more through: a row a kind.

    y, run: the target and its probes of one repeat; like: evidence of an arm, for all that is not of the target. Columns
    draw, kind, auroc (or the metric's key), largest (fall), needed, necessary, tested (numbers of sets).
    """
    change = ablation.repeated_change(like.moved, like.decoder, run.probes, run.folds)
    metric, rows = like.metric, []
    for kind, members in like.sets.items():
        if members:
            moves = set_change(change, list(members.values())).astype(np.float32)
            table = necessity.measure(y, like.groups, run.score, moves, run.folds, n_boot, settings.seed, metric)
            table = _without_controls(table, settings, len(np.unique(run.folds)), len(like.sets), metric)
            counts = (int(table["needed"].sum()), int(table["necessary"].sum()), len(table))
            rows.append((draw, kind, table[f"{metric.key}_full"][0], table["delta"].max(), *counts))
    return pd.DataFrame(rows, columns=[name if name != "auroc" else metric.key for name in NULL_COLUMNS])


def _without_controls(
    table: pd.DataFrame, settings: Settings, n_folds: int, n_kinds: int, metric: Metric = BINARY
) -> pd.DataFrame:
    """Verdicts of which no null of controls takes any away, nor a refit."""
    table = table.assign(rate_matched_99=-1.0, n_rate_matched=0, random_99=-1.0, refit=np.inf, refit_low=np.inf)
    return necessity.verdict(table, settings.bar, n_folds, settings.alpha / n_kinds, metric)


def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of several arms as one; those without a row would change what numbers look like, and are left out where one has some."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
