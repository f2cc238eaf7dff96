"""What a probe loses that is fitted anew without a set of latents: nothing, where other features carry the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.causal.evidence import Evidence, without
from lib.causal.falls import bootstrap, deltas, jackknife
from lib.causal.necessity import bca
from lib.stats.estimates import draws


def scores(evidence: Evidence, members: list[np.ndarray]) -> np.ndarray:
    """Out-of-fold scores of one repeat, on the folds of the first, of probes fitted without each set: [set, subject].

    Strengths are chosen anew. Raises ValueError where the evidence has no refit.
    """
    if evidence.refit is None:
        raise ValueError(f"arm {evidence.arm!r}: evidence has no refit")
    X = evidence.refit.X
    fitted = [evidence.refit.again(without(X, evidence.moved, evidence.decoder, m)).score[0] for m in members]
    return np.stack(fitted) if fitted else np.zeros((0, *evidence.run.score.shape[1:]))


def falls(evidence: Evidence, members: list[np.ndarray], n_boot: int, seed: int) -> pd.DataFrame:
    """A row a set: refit, its fall from the first repeat's score; refit_low, refit_high, 95 % BCa over the draws that the frozen
    falls have; where a second cohort has features, refit_second, the fall there of the probe fitted on everybody without the set.

    NaN where the evidence has no refit.
    """
    columns = ["refit", "refit_low", "refit_high"]
    if evidence.second is not None and evidence.second.X is not None:
        columns.append("refit_second")
    if evidence.refit is None or not members:
        return pd.DataFrame(np.nan, range(len(members)), columns)
    fall, low, high = lost(evidence, evidence.run.score[0], scores(evidence, members), n_boot, seed)
    table = pd.DataFrame({"refit": fall, "refit_low": low, "refit_high": high})
    return table.assign(refit_second=_second(evidence, members)) if "refit_second" in columns else table


def lost(
    evidence: Evidence, full: np.ndarray, left: np.ndarray, n_boot: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What other scores lose against `full` [subject]: fall, and its paired 95 % BCa interval, each [set]. left: [set, subject]."""
    y, groups, metric = evidence.y, evidence.groups, evidence.metric
    change = (left - full)[None]
    fall, drawn = bootstrap(y, full[None], change, draws(y, groups, n_boot, seed, metric.target), metric)
    return fall, *bca(fall, drawn, jackknife(y, full[None], change, groups, metric))


def _second(evidence: Evidence, members: list[np.ndarray]) -> np.ndarray:
    """Falls in the second cohort of probes fitted on everybody of the first without each set: [set]."""
    second, refit = evidence.second, evidence.refit
    left = []
    for m in members:
        fitted = refit.final(without(refit.X, evidence.moved, evidence.decoder, m))
        left.append(fitted.score(without(second.X, second.moved, evidence.decoder, m)))
    return deltas(second.y, second.score[None], (np.stack(left) - second.score)[None], evidence.metric)
