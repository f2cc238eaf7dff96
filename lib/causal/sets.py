"""Sets of latents that are tested together, and the sets that stand beside them as controls.

A dictionary splits one motif over many latents: families, redundancy groups and closures are the blocks in which
it may be needed. Controls are rate-matched latents or sets, and orders that deal the decoder's rows out anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform


def set_change(change: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Change of scores when all latents of a set are ablated, the sum of theirs under a linear probe.

    members: latents of each set, as indices or as a mask. Returns [repeat, set, person].
    """
    if not len(members):
        return np.zeros((len(change), 0, *change.shape[2:]))
    return np.stack([change[:, m].sum(1, dtype=np.float64) for m in members], axis=1)


def moving(moved: np.ndarray, least: int) -> np.ndarray:
    """Latents, sorted, that are off their reference value in at least `least` subjects. moved: [subject, part, latent]."""
    return np.flatnonzero((moved != 0).any(1).sum(0) >= least)


def rate_and_norm(active: sparse.csr_matrix, decoder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What controls are matched on: firing rate (fraction of tokens) and mean norm of f d when it fires, 0 for a latent that never
    does. active: latents [token, latent]; decoder: [latent, d_model]."""
    fired = np.asarray((active > 0).sum(0)).ravel()
    mean = np.asarray(active.sum(0)).ravel() / np.maximum(fired, 1)
    return fired / active.shape[0], mean * np.linalg.norm(decoder, axis=1)


def by_kind(
    moved: np.ndarray, tested: np.ndarray, family: pd.Series, at_least: float
) -> dict[str, dict[str, np.ndarray]]:
    """The sets that the rule tests: kind (latent, family, closure, group) -> name of a set -> its latents.

    moved: [subject, part, latent], what each latent is off its reference value; tested: latents, sorted; family:
    name, indexed by latent, of those that have one; at_least: as in `redundancy_groups`, to which only the latents
    tested come. A family is its tested latents, a closure as in `closures`, a group has two latents or more.
    No label of a subject comes in.
    """
    family = family[family.index.isin(tested)]
    kept = np.isin(np.arange(moved.shape[2]), tested)[None, :, None]
    groups = redundancy_groups(np.where(kept, moved.transpose(1, 2, 0), 0), at_least)
    closed = closures(groups, family, np.linalg.norm(moved, axis=(0, 1)))
    together = {
        f"group {g}": np.intersect1d(np.flatnonzero(groups == g), tested) for g in np.unique(groups[tested])
    }
    return {
        "latent": {str(i): np.array([i]) for i in tested},
        "family": {str(name): rows.index.to_numpy() for name, rows in family.groupby(family)},
        "closure": {name: inside for name, m in closed.items() if len(inside := np.intersect1d(m, tested))},
        "group": {name: members for name, members in together.items() if len(members) > 1},
    }


def redundancy_groups(change: np.ndarray, at_least: float = 0.5) -> np.ndarray:
    """Group number of each latent: those that move together over people, which may matter only together. [latent].

    change: [part, latent, person], of activity by locus (no label in it) or of scores by repeat. Average linkage on
    1 - |r|, r the correlation over people inside each part; groups are cut where the mean |r| between two falls below
    `at_least`. A latent that moves nobody is alone.
    """
    rows = change.transpose(1, 0, 2).astype(np.float64)
    rows = (rows - rows.mean(2, keepdims=True)).reshape(len(rows), -1)
    length = np.linalg.norm(rows, axis=1)
    moving = np.flatnonzero(length > 0)
    out = np.arange(len(rows))
    if len(moving) > 1:
        rows = rows[moving] / length[moving, None]
        distance = 1 - np.abs(rows @ rows.T).clip(0, 1)
        np.fill_diagonal(distance, 0)
        tree = linkage(squareform(distance, checks=False), method="average")
        out[moving] = len(out) + fcluster(tree, 1 - at_least, criterion="distance")
    return pd.factorize(out)[0]


def closures(groups: np.ndarray, family: pd.Series, mass: np.ndarray) -> dict[str, np.ndarray]:
    """Latents of each family, with all that move together with them: family -> latents.

    groups: [latent] from `redundancy_groups`; family: indexed by latent, those that have a name; mass: [latent], how much
    each moves. A group belongs to the family with the largest mass among its named members; a group without any to none.
    """
    table = pd.DataFrame({"group": groups, "mass": mass, "family": family.reindex(np.arange(len(groups)))})
    share = table.dropna().groupby(["group", "family"])["mass"].sum().reset_index()
    owner = (
        share.sort_values("mass", ascending=False, kind="stable")
        .drop_duplicates("group")
        .set_index("group")["family"]
    )
    of = table["group"].map(owner)
    return {str(name): rows.index.to_numpy() for name, rows in table.groupby(of)}


#: How near a rate-matched control lies in rate, and a strict one in norm too: this share of what it stands for.
NEAR = 0.1


def rate_matched(
    candidate: np.ndarray, rate: np.ndarray, norm: np.ndarray, n: int = 100, seed: int = 0, near_norm: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Control latents for each candidate: index int64 [candidate, n], padded by -1, and how many there are.

    Other latents within 10 % of the candidate's firing rate, and within the share `near_norm` of its norm; of these the n nearest in
    log norm, ties at random. A candidate of rate 0 has none: what is as silent costs nothing.
    rate, norm: [latent], firing rate (fraction) and mean norm of f_i d_i.
    """
    rng, index = np.random.default_rng(seed), np.full((len(candidate), n), -1)
    size = np.log(np.maximum(norm, np.finfo(float).tiny))
    for row, c in enumerate(candidate):
        near = rng.permutation(np.flatnonzero(_near(c, rate, norm, near_norm)))
        near = near[np.argsort(np.abs(size[near] - size[c]), kind="stable")][:n]
        index[row, : len(near)] = near
    return index, (index >= 0).sum(1)


def _near(one: int, rate: np.ndarray, norm: np.ndarray, near_norm: float) -> np.ndarray:
    """Whether each latent but this one may be its control: [latent] bool."""
    near = (np.abs(rate - rate[one]) <= NEAR * rate[one]) & (rate > 0)
    if np.isfinite(near_norm):
        near &= np.abs(norm - norm[one]) <= near_norm * norm[one]
    near[one] = False
    return near


def matched_deltas(delta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Deltas of the controls from `rate_matched`: [candidate, n], NaN where there is none."""
    return np.where(index >= 0, delta[index], np.nan)


def matched_sets(
    members: np.ndarray, rate: np.ndarray, norm: np.ndarray, n: int, seed: int, left_out: Sequence[int] = (), n_near: int = 50
) -> np.ndarray:  # fmt: skip
    """Control sets of a set's size: int64 [n, member]. Each member is replaced by one of the n_near latents outside the set
    that are nearest in log rate and log norm (both in their standard deviations); no latent twice in a set. No set at all,
    [0, member], when fewer latents fire outside the set than it has members: it is too large to be matched.

    rate, norm: [latent], firing rate and mean norm of f_i d_i when it fires; latents of rate 0, and those left_out, are no
    controls.
    """
    rng, live = np.random.default_rng(seed), np.flatnonzero(rate > 0)
    outside = np.setdiff1d(live, np.union1d(members, np.asarray(left_out, dtype=int)))
    if len(outside) < len(members):
        return np.empty((0, len(members)), dtype=np.int64)
    place = np.log(np.stack([np.maximum(rate, rate[live].min()), np.maximum(norm, norm[live].min())], axis=1))
    place /= np.maximum(place[live].std(0), 1e-12)
    distance = ((place[members][:, None] - place[outside]) ** 2).sum(2)
    nearest = np.argsort(distance, axis=1, kind="stable")
    out = np.empty((n, len(members)), dtype=np.int64)
    for i in range(n):
        free = np.ones(len(outside), dtype=bool)
        for j in rng.permutation(len(members)):
            near = nearest[j][free[nearest[j]]][:n_near]
            out[i, j] = pick = near[rng.integers(len(near))]
            free[pick] = False
    return outside[out]


def strict_sets(
    members: np.ndarray, rate: np.ndarray, norm: np.ndarray, n: int, seed: int, left_out: Iterable[int] = ()
) -> np.ndarray:
    """Control sets of a set's size, all different: int64 [at most n, member]. Each member is replaced by a latent outside the set
    within 10 % of its rate and of its norm; no latent twice in a set.

    None, [0, member], where a member has no such latent. Otherwise 3 n draws, those that run out of latents left out.
    rate, norm, left_out: as in `matched_sets`.
    """
    rng, outside = np.random.default_rng(seed), np.ones(len(rate), dtype=bool)
    outside[np.union1d(members, np.asarray(list(left_out), dtype=int))] = False
    near = [np.flatnonzero(_near(m, rate, norm, NEAR) & outside) for m in members]
    scarce = np.array([len(some) for some in near])
    drawn: dict[tuple[int, ...], np.ndarray] = {}  # by its latents in order
    for _ in range(3 * n if scarce.min() else 0):
        if len(drawn) < n and (one := _drawn_once(near, scarce, rng)) is not None:
            drawn.setdefault(tuple(np.sort(one)), one)
    return np.array(list(drawn.values()), dtype=np.int64).reshape(-1, len(members))


def _drawn_once(near: list[np.ndarray], scarce: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """One latent from each of `near`, none twice, the scarcest first; None where that runs out."""
    out, taken = np.empty(len(near), dtype=np.int64), set()
    for j in np.lexsort([rng.random(len(near)), scarce]):
        free = [latent for latent in near[j] if latent not in taken]
        if not free:
            return None
        out[j] = free[rng.integers(len(free))]
        taken.add(out[j])
    return out


def dealt_orders(members: np.ndarray, n_latents: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Latents outside a set whose decoder rows its members take in their stead: int64 [n, member].

    No order at all, [0, member], when fewer than that many lie outside.
    """
    outside = np.setdiff1d(np.arange(n_latents), members)
    if len(outside) < len(members):
        return np.empty((0, len(members)), dtype=np.int64)
    return np.stack([rng.permutation(outside)[: len(members)] for _ in range(n)])


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of n in which nothing keeps its place: [n] int64. (A single random cycle.)"""
    order, out = rng.permutation(n), np.empty(n, dtype=np.int64)
    out[order] = np.roll(order, 1)
    return out
