"""Seed stability: which latents two SAEs of one shape, trained alike from different seeds, have in common.

Of a convolutional SAE the rows are kernels, flattened: two that hold one motif at two shifts have no high cosine.
A matching pairs the latents of both one to one so that the summed cosine is largest: the Hungarian algorithm, or
above DENSE latents a sparse one over the pairs that can matter. A latent is *shared* when the decoder and the
encoder matchings give it the same partner, both with a cosine above SHARED.

Source: Paulo and Belrose, arXiv 2501.16615; the mean matched cosine as in PW-MCC, Song et al., arXiv
2505.20254.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from lib.sae.model import SAE

#: Cosine above which a matched pair counts as the same direction, fixed before any run.
SHARED = 0.7
#: Rows up to which all cosines are matched, 768 MiB at 8,192; above, those above FLOOR, at most CANDIDATES a row.
DENSE, FLOOR, CANDIDATES = 8192, 0.5, 128
#: Cosines of one block of rows, in numbers: 16 MiB.
BLOCK = 2**22


def match(a: Tensor, b: Tensor, absolute: bool = False, dense: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one partners of the rows of a among the rows of b, with the largest sum of cosines.

    a: [n_a, d], b: [n_b, d], any row norms; the cosine with a row of zeros is 0. absolute: |cosines| instead.
    Returns partner [n_a], -1 where there is none, and cosine [n_a] float32, NaN there.

    Up to `dense` rows (default DENSE) in a and in b this is the Hungarian algorithm on all cosines, which take 4 n_a n_b
    bytes and the assignment 8 n_a n_b more; its time grows with up to the third power of n (unrelated rows: 0.3 s at
    2,048).
    Above, memory grows with n, not n^2 (`candidates`, `match_sparse`), and the matching departs from that one:
    cosines of FLOOR or less count as FLOOR, and of a row's cosines above FLOOR the CANDIDATES largest count; rows left
    with none of these have no partner, so a mean over pairs is one over pairs above FLOOR. A partner above SHARED can
    differ only where several rows compete for it.
    Raises ValueError when the widths differ or an entry is not finite.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"rows of width {a.shape[1]} and {b.shape[1]} have no cosine")
    for name, rows in (("a", a), ("b", b)):
        if not torch.isfinite(rows).all():
            raise ValueError(f"{name} [{rows.shape[0]}, {rows.shape[1]}] has entries that are not finite: no cosines")
    partner, cosine = np.full(len(a), -1), np.full(len(a), np.nan, np.float32)
    if max(len(a), len(b)) > (DENSE if dense is None else dense):
        row, column, value = match_sparse(*candidates(a, b, absolute), len(a), len(b), FLOOR)
    else:
        cosines = (_unit(a) @ _unit(b).T).cpu()
        cost = (cosines.abs_() if absolute else cosines).neg_().numpy()
        row, column = linear_sum_assignment(cost)
        value = -cost[row, column]
    partner[row], cosine[row] = column, value
    return partner, cosine


def candidates(a: Tensor, b: Tensor, absolute: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of rows with a cosine above FLOOR, for each row of a the CANDIDATES largest at most.

    a, b, absolute: as in `match`. Returns row of a, row of b (int64) and cosine (float32): [pair] each, by row of a.
    Holds one block of BLOCK cosines at a time, and at most CANDIDATES n_a pairs of 20 bytes. Nothing made in a block is
    kept but these: small arrays kept between large ones that go would leave holes in memory that are never used again.
    """
    own, other = _unit(a), _unit(b).T.contiguous()
    size, n = max(1, BLOCK // other.shape[1]), 0
    room = own.new_empty(min(size, len(own)), other.shape[1])
    flags = torch.empty_like(room, dtype=torch.bool)
    most = min(CANDIDATES, other.shape[1]) * len(own)
    pairs = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32)
    for s in range(0, len(own), size):
        rows = own[s : s + size]
        cosine, above = room[: len(rows)], flags[: len(rows)]
        torch.mm(rows, other, out=cosine)
        torch.gt(cosine.abs_() if absolute else cosine, FLOOR, out=above)
        row, column = _at_most(above, cosine)
        part = slice(n, n + len(row))
        for kept, new in zip(pairs, (row + s, column, cosine[row, column]), strict=True):
            kept[part] = new.cpu().numpy()
        n = part.stop
    return tuple(kept[:n] for kept in pairs)


def _at_most(above: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true entries of above [row, column], at most the CANDIDATES of largest cosine a row."""
    row, column = torch.nonzero(above, as_tuple=True)
    full = torch.nonzero(torch.bincount(row, minlength=len(above)) > CANDIDATES).flatten().tolist()
    if not full:
        return row, column
    for i in full:
        above[i] = False
        above[i, cosine[i].topk(CANDIDATES).indices] = True
    return torch.nonzero(above, as_tuple=True)


def match_sparse(
    row: np.ndarray, column: np.ndarray, cosine: np.ndarray, n_a: int, n_b: int, alone: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The one-to-one choice among some pairs with the largest sum over rows, where a row left alone counts `alone`.

    row, column, cosine: [pair], cosine above -1, no pair twice; n_a, n_b: rows and columns there are; alone: above -1.
    Returns those three of the chosen pairs. Each row gets a column of its own with cosine `alone`, so that every row
    can be matched; all weights are raised by 1, since a stored 0 is no edge.
    """
    every = np.arange(n_a)
    entries = np.concatenate([cosine, np.full(n_a, alone)]) + 1.0
    places = np.concatenate([row, every]), np.concatenate([column, n_b + every])
    graph = sparse.csr_matrix((entries, places), shape=(n_a, n_b + n_a))
    chosen_row, chosen = min_weight_full_bipartite_matching(graph, maximize=True)
    paired = chosen < n_b
    key, wanted = row * n_b + column, (chosen_row * np.int64(n_b) + chosen)[paired]
    order = np.argsort(key)
    pair = order[np.searchsorted(key, wanted, sorter=order)]
    return row[pair], column[pair], cosine[pair]


def match_latents(
    a: SAE, b: SAE, frequency_a: np.ndarray | None = None, frequency_b: np.ndarray | None = None
) -> pd.DataFrame:
    """Partners in b of the latents of a.

    One row a latent: latent, decoder_partner, decoder_cosine, encoder_partner, encoder_cosine, shared.
    The sign counts: latents are at least 0, so opposite directions are different features. frequency_a,
    frequency_b: [d_sae] share of tokens on which a latent fires; where given, latents of that SAE at 0 are
    left out. A latent without a partner (fewer live ones in b) has partner -1 and cosine NaN.
    Raises ValueError when d_in differs, a frequency has another length, or no latent is live.
    """
    live_a, live_b = _live(a, frequency_a), _live(b, frequency_b)
    return _table(live_a, live_b, _directions(a, live_a), _directions(b, live_b))


def seed_stability(
    a: SAE, b: SAE, frequency_a: np.ndarray | None = None, frequency_b: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """What two SAEs share, beside a null; one row a matching, "decoder", "encoder" and "both".

    n_a, n_b: live latents, as in `match_latents`; n: pairs (for "both", those on which the two matchings
    agree); cosine: mean over these pairs (for "both", of the smaller of the two; NaN without a pair; above DENSE
    latents only pairs above FLOOR are made, see `match`); shared:
    2 m / (n_a + n_b) with m the pairs whose cosine (for "both", the smaller one) is above SHARED, so that a
    latent without a partner counts as not shared. null_n, null_cosine, null_shared: the same after `permute`
    of b's live latents.
    Raises ValueError when the shapes differ, a frequency has another length, or no latent is live.
    """
    one, two = ((sae.config.d_in, sae.config.d_sae, *filter(None, [sae.config.window])) for sae in (a, b))
    if one != two:
        said = " and ".join(", ".join(map(str, shape)) for shape in (one, two))
        raise ValueError(f"SAEs of d_in, d_sae {said}: seed stability compares SAEs of one shape, and of one window where they have any")
    live_a, live_b = _live(a, frequency_a), _live(b, frequency_b)
    own, other = _directions(a, live_a), _directions(b, live_b)
    observed = _summary(_table(live_a, live_b, own, other), len(live_b))
    null = _summary(_table(live_a, live_b, own, permute(*other, seed=seed)), len(live_b))
    null = null[["n", "cosine", "shared"]].add_prefix("null_")
    return pd.concat([observed, null], axis=1)


def pairwise_stability(
    saes: dict[str, SAE], frequency: dict[str, np.ndarray] | None = None, seed: int = 0
) -> pd.DataFrame:
    """`seed_stability` of every pair of SAEs of one shape, with columns a and b (names) before its own.

    saes: name -> SAE, at least two; frequency: name -> [d_sae], to leave out dead latents. The pairs of one
    SAE are not independent of each other: show them, and do not count them as units.
    Raises ValueError as `seed_stability`, and on fewer than two.
    """
    if len(saes) < 2:
        raise ValueError(f"seed stability needs at least two SAEs, found {len(saes)}")
    frequency = frequency or {}
    parts = []
    for one, two in combinations(saes, 2):
        part = seed_stability(saes[one], saes[two], frequency.get(one), frequency.get(two), seed)
        part.insert(0, "a", one)
        part.insert(1, "b", two)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def permute(decoder: Tensor, encoder: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The null "permuted decoder": each dimension's entries permuted over latents, then unit rows again.

    Keeps every dimension's distribution over latents, and with it any direction all latents lean to; takes
    away which entries make up one latent. Encoder and decoder get the same permutations, so that a latent's
    two directions stay as alike as they were and "both" has a null of its own. decoder, encoder: [latent,
    d_in], read with unit rows.
    """
    order = np.tile(np.arange(len(decoder))[:, None], (1, decoder.shape[1]))
    order = torch.from_numpy(np.random.default_rng(seed).permuted(order, axis=0, out=order)).to(decoder.device)
    return _unit(_unit(decoder).gather(0, order)), _unit(_unit(encoder).gather(0, order))


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.detach().float(), dim=1)


def _live(sae: SAE, frequency: np.ndarray | None) -> np.ndarray:
    """Latents to compare: [n] indices."""
    if frequency is None:
        return np.arange(sae.config.d_sae)
    if np.shape(frequency) != (sae.config.d_sae,):
        raise ValueError(f"frequency has shape {np.shape(frequency)}, expected {(sae.config.d_sae,)}")
    live = np.flatnonzero(np.asarray(frequency) > 0)
    if not len(live):
        raise ValueError(f"all {sae.config.d_sae} latents are dead: nothing to match")
    return live


def _directions(sae: SAE, live: np.ndarray) -> tuple[Tensor, Tensor]:
    """Decoder and encoder directions of some latents: [n, d_in] each."""
    live = torch.from_numpy(live).to(sae.W_dec.device)
    return sae.W_dec.detach()[live], sae.W_enc.detach().T[live]


def _table(live_a: np.ndarray, live_b: np.ndarray, own: tuple, other: tuple) -> pd.DataFrame:
    """The columns of `match_latents` from (decoder, encoder) directions [n_a, d_in] and [n_b, d_in]."""
    columns = {"latent": live_a}
    for kind, a, b in zip(("decoder", "encoder"), own, other, strict=True):
        partner, cosine = match(a, b)
        columns[f"{kind}_partner"] = np.where(partner < 0, -1, live_b[partner])
        columns[f"{kind}_cosine"] = cosine
    table = pd.DataFrame(columns)
    smaller = table[["decoder_cosine", "encoder_cosine"]].min(axis=1)
    return table.assign(shared=_agree(table) & (smaller > SHARED))


def _agree(table: pd.DataFrame) -> pd.Series:
    """Latents whose two matchings give them the same partner."""
    return (table["decoder_partner"] == table["encoder_partner"]) & (table["decoder_partner"] >= 0)


def _summary(table: pd.DataFrame, n_b: int) -> pd.DataFrame:
    """The rows of `seed_stability`, without its null, from those of `match_latents`."""
    agreed = table.loc[_agree(table), ["decoder_cosine", "encoder_cosine"]].min(axis=1)
    cosines = {kind: table[f"{kind}_cosine"].dropna() for kind in ("decoder", "encoder")} | {"both": agreed}
    rows = [
        {"matching": kind, "n_a": len(table), "n_b": n_b, "n": len(cosine), "cosine": float(cosine.mean()),
         "shared": 2 * float((cosine > SHARED).sum()) / (len(table) + n_b)}
        for kind, cosine in cosines.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)
