"""What the falls of sets are compared with: falls of rate-matched controls, strict and nearest, and of decoder rows dealt out anew.

Strict controls are within 10 % of the rate and of the norm of what they stand for; the nearest are there where no latent is that near.
All are of the first repeat. A null is the falls of the controls of each set, [set, control], NaN where there is none, and how many
controls each set has, [set].
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lib.causal import sets
from lib.causal.evidence import LATENT, Evidence, Settings

Null = tuple[np.ndarray, np.ndarray]


def strict(evidence: Evidence, kind: str, settings: Settings, established: Iterable[int] = ()) -> Null:
    """Controls within 10 % of the rate and 10 % of the norm: latents of a latent; of a set, sets each of whose members is that near
    to the one it stands for. No null where fewer than `least_matched` are that near.

    established: latents that are no controls for a set. Of single latents any latent is one.
    """
    how = (evidence.rate, evidence.size, settings.n_matched, settings.seed)
    if kind == LATENT:
        return _of_latents(evidence, settings, *sets.rate_matched(_latents(evidence), *how, near_norm=sets.NEAR))
    members = list(evidence.sets[kind].values())
    return _of_sets(evidence, [sets.strict_sets(m, *how, established) for m in members], settings, settings.least_matched)


def nearest(evidence: Evidence, kind: str, settings: Settings, established: Iterable[int] = ()) -> Null:
    """Controls of a latent: within 10 % of its rate, the nearest in norm; of a set, sets each of whose members is among the 50 nearest in
    rate and norm to the one it stands for, however far they are. established: as in `strict`."""
    how = (evidence.rate, evidence.size, settings.n_matched, settings.seed)
    if kind == LATENT:
        return _of_latents(evidence, settings, *sets.rate_matched(_latents(evidence), *how))
    members = list(evidence.sets[kind].values())
    return _of_sets(evidence, [sets.matched_sets(m, *how, list(established)) for m in members], settings)


def dealt(evidence: Evidence, kind: str, settings: Settings) -> np.ndarray:
    """Falls of the sets of a kind when each member takes the decoder row of a latent outside: [set, n_matched].

    Of subjects with one part, zeros: what a latent adds to a score is then its activity times one number, and a dealt row is another
    number, of either sign and any size. Such a fall shows the size of the probe's weights, and of no direction. NaN for a set of more
    than half of the latents, which has none to deal.
    """
    members, decoder = list(evidence.sets[kind].values()), evidence.decoder
    n, rng = settings.n_matched, np.random.default_rng(settings.seed)
    if evidence.moved.shape[1] == 1:
        too_large = np.array([len(m) > len(decoder) // 2 for m in members], dtype=bool)
        return np.repeat(np.where(too_large, np.nan, 0.0)[:, None], n, axis=1)
    if kind == LATENT:
        orders = [sets.derangement(len(decoder), rng) for _ in range(n)]
        latents = np.concatenate(members)
        changes = (evidence.changed(evidence.moved, decoder[order])[None, latents] for order in orders)
        return np.stack([evidence.first_falls(change) for change in changes], axis=1)
    orders = [sets.dealt_orders(m, len(decoder), n, rng) for m in members]
    changes = (
        np.array([evidence.changed(evidence.moved[:, :, m], decoder[order]).sum(0) for order in some])
        for m, some in zip(members, orders)
    )
    return _falls(evidence, changes, n)


def _latents(evidence: Evidence) -> np.ndarray:
    return np.concatenate(list(evidence.sets[LATENT].values()))


def _of_latents(evidence: Evidence, settings: Settings, index: np.ndarray, n_controls: np.ndarray) -> Null:
    falls = sets.matched_deltas(evidence.first_falls(evidence.first_change), index)
    falls[n_controls < settings.least_matched] = np.nan
    return falls, n_controls


def _of_sets(evidence: Evidence, drawn: list[np.ndarray], settings: Settings, least: int = 0) -> Null:
    """drawn: control sets [control, member] of each set; a set with fewer than `least` of them has no null."""
    kept = [list(alike) if len(alike) >= least else [] for alike in drawn]
    changes = (sets.set_change(evidence.first_change, alike)[0] for alike in kept)
    return _falls(evidence, changes, settings.n_matched), np.array([len(alike) for alike in drawn])


def _falls(evidence: Evidence, changes: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Falls of the controls of each set: [set, n], NaN where a set has fewer.

    changes: one [control, subject] a set.
    """
    rows = [evidence.first_falls(change[None]) if len(change) else np.empty(0) for change in changes]
    return np.stack([np.pad(row, (0, n - len(row)), constant_values=np.nan) for row in rows])
