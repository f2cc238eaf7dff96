"""What stands beside a dictionary in the rule: other units, through the same grouping, nulls, refits and bars.

A rival is evidence of its own: what its units are off the reference, and the direction that each writes. PCA and neurons are signed
coordinates of the activations, so that their ablation moves the activation itself along a direction; a random dictionary is
ablated as the trained one is. A rival of another model would bring probes and features of its own: `beside` takes whatever evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from lib.causal import refits
from lib.causal.evidence import LATENT, Evidence, Settings, without
from lib.causal.sets import by_kind, moving, set_change
from lib.outcome.metrics import BINARY, Metric
from lib.stats import estimates

#: What the claims compare: one unit, and the blocks that no name makes.
COMPARED = (LATENT, "group")
#: Sets of largest frozen fall that are refitted, to find the one that a refit misses most.
TRIED = 3


@dataclass(frozen=True)
class Rival:
    """moved: [subject, part, unit], f* - f; decoder: [unit, d_in]; rate, size: [unit], as in `Evidence`; second: moved of the second
    cohort, None where there is none."""

    moved: np.ndarray
    decoder: np.ndarray
    rate: np.ndarray
    size: np.ndarray
    second: np.ndarray | None = None


def shift(acts: np.ndarray, unit: np.ndarray, counterpart: np.ndarray, chunk: int = 16384) -> np.ndarray:
    """Mean over a unit's tokens of x* - x, with x* the reference's at the same token: [unit, d_in] float32, exactly 0 where they agree.

    acts: [token, d_in]; unit: [token], sorted; counterpart: [token] from `counterparts.aligned`.
    """
    total = np.zeros((int(unit.max()) + 1, acts.shape[1]))
    for s in range(0, len(unit), chunk):
        rows = unit[s : s + chunk]
        x = np.asarray(acts[s : s + chunk], dtype=np.float32)
        off = np.asarray(acts[counterpart[s : s + chunk]], dtype=np.float32) - x
        total[rows[0] : rows[-1] + 1] += _sums(off, rows - rows[0])
    return (total / np.maximum(np.bincount(unit, minlength=len(total)), 1)[:, None]).astype(np.float32)


def _sums(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return sparse.csr_matrix((np.ones(len(group), np.float32), (group, np.arange(len(group))))) @ values


def coordinates(
    directions: np.ndarray, tokens: np.ndarray, shifted: np.ndarray, second: np.ndarray | None = None
) -> Rival:
    """Signed coordinates along orthonormal directions as units: a unit counts as firing where it is off its mean by more than one
    standard deviation, and its size is the mean |z| there. [unit, d_in].

    tokens: [token, d_in], on which rates are counted; shifted: [subject, part, d_in], mean x* - x; second: that of the second cohort.
    """
    z = (tokens - tokens.mean(0)) @ directions.T
    fired = np.abs(z) > z.std(0)
    size = (np.abs(z) * fired).sum(0) / np.maximum(fired.sum(0), 1)
    moved, elsewhere = (None if off is None else (off @ directions.T).astype(np.float32) for off in (shifted, second))
    return Rival(moved, directions, fired.mean(0), size, elsewhere)


def components(tokens: np.ndarray, n: int) -> np.ndarray:
    """The n leading principal directions of tokens [token, d_in], at most d_in: [component, d_in]."""
    x = np.asarray(tokens, dtype=np.float64) - tokens.mean(0)
    return np.linalg.eigh(x.T @ x)[1][:, ::-1].T[:n].copy()


def evidence(like: Evidence, rival: Rival, least_moved: int, together: float) -> Evidence:
    """The evidence of a rival under the probes of a dictionary's: its units, its groups, and no family or closure, since nothing named
    them. Kinds without a set count in alpha as they do for the dictionary."""
    made = by_kind(rival.moved, moving(rival.moved, least_moved), pd.Series(dtype=object), together)
    second = None if like.second is None else replace(like.second, moved=rival.second)
    return replace(like, moved=rival.moved, decoder=rival.decoder, rate=rival.rate, size=rival.size, sets=made, second=second)


@dataclass(frozen=True)
class Contender:
    """The set that speaks for a method: its name, how many units it has, the share of the features' variance that its ablation takes
    away, its frozen and refit falls, whether it is needed, and the scores [1, subject] of the refitted probe."""

    name: str
    units: int
    removed: float
    frozen: float
    refit: float
    needed: bool
    score: np.ndarray


def contender(one: Evidence, table: pd.DataFrame, kind: str, of_needed: bool = False) -> Contender | None:
    """The set of a kind that a probe fitted anew misses most, of the `TRIED` of largest fall and of those needed; None without one.

    table: rows of `rule.judge` of this evidence; of_needed: of those needed alone, where there are. A set of more than half of the units
    cannot be tested, and is none.
    """
    rows = table[(table["kind"] == kind) & table["random_99"].notna()].sort_values("delta", ascending=False, kind="stable")
    needed = rows["needed"].to_numpy(bool)
    rows = rows[needed] if of_needed and needed.any() else rows[(np.arange(len(rows)) < TRIED) | needed]
    if rows.empty:
        return None
    members = one.members(kind, rows["name"])
    scores = refits.scores(one, members)
    full, left = one.metric.value(one.y, one.run.score[0]), [float(one.metric.value(one.y, score)) for score in scores]
    best = int(np.argmin(left))
    X = one.refit.X
    change = without(X, one.moved, one.decoder, members[best]) - X
    return Contender(
        str(rows["name"].iloc[best]), len(members[best]), float(change.var(0).sum() / X.var(0).sum()),
        float(one.first_falls(set_change(one.first_change, [members[best]]))[0]), float(full - left[best]),
        bool(rows["needed"].iloc[best]), scores[best],
    )  # fmt: skip


def gains(own: tuple[Evidence, pd.DataFrame], rivals: dict[str, tuple[Evidence, pd.DataFrame]], settings: Settings) -> pd.DataFrame:
    """What a dictionary's best set loses on refit beyond each rival's best: a row a kind of `COMPARED` and rival.

    own, rivals: evidence, and its rows of `rule.judge`. The best are of `contender`, the dictionary's of those needed where there are:
    arm, kind, and of each, the rival's with rival_ before: name, units, removed (share of variance), frozen, refit, needed; method
    of the rival; gain, low, high (paired BCa over subjects), n. A kind of which either has no set has no row.
    """
    like, rows, said = own[0], [], ("name", "units", "removed", "frozen", "refit", "needed")
    for kind in COMPARED:
        best = contender(*own, kind, of_needed=True)
        for method, judged in rivals.items() if best else ():
            if other := contender(*judged, kind):
                values = {name: getattr(best, name) for name in said} | {f"rival_{name}": getattr(other, name) for name in said}
                (gain,), (low,), (high,) = refits.lost(like, other.score, best.score[None], settings.n_boot, settings.seed)
                rows.append({"arm": like.arm, "kind": kind, "method": method} | values)
                rows[-1] |= {"gain": gain, "low": low, "high": high, "n": len(like.y)}
    columns = ["arm", "kind", "method", *said, *[f"rival_{name}" for name in said], "gain", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def largest(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Of each arm and kind the row of largest fall among all rivals, but for sets of more than half of the units, which cannot be
    tested. tables: rows of `rule.judge`, with method."""
    every = pd.concat(list(tables), ignore_index=True)
    every = every[every["random_99"].notna()].reset_index(drop=True)
    return every.loc[every.groupby(["arm", "kind"], sort=False)["delta"].idxmax()].reset_index(drop=True)


def decisive(table: pd.DataFrame, subjects: str = "subjects", metric: Metric = BINARY) -> tuple[estimates.Estimate, bool, str]:
    """Of some rows of `gains`, of one arm and kind, the one of smallest lower bound: the gain, whether it holds against all, and a note.

    It holds where the dictionary's set is needed and the smallest lower bound is above 0. subjects: what the field calls them.
    """
    if table.empty:
        return estimates.NOTHING, False, ""
    worst = table.loc[table["low"].idxmin()]
    note = (
        f"fall of {metric.name} on refit of {worst['name']}, {worst['refit']:.4f}, less that of {worst['rival_name']} of "
        f"{worst['method']}, {worst['rival_refit']:.4f}: of {len(table)} rivals the one of smallest lower bound; paired BCa over {subjects}"
    )
    holds = bool(worst["needed"] and worst["low"] > 0)
    return estimates.Estimate(worst["gain"], worst["low"], worst["high"], int(worst["n"])), holds, note
