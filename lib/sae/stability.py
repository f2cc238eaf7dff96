"""Seed stability: which latents two SAEs of one shape, trained alike from different seeds, have in common.

A matching pairs the latents of both one to one so that the summed cosine is largest (Hungarian algorithm). A
latent is *shared* when the decoder and the encoder matchings give it the same partner, both with a cosine
above SHARED.

Source: Paulo and Belrose, arXiv 2501.16615; the mean matched cosine as in PW-MCC, Song et al., arXiv
2505.20254.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lib.sae.model import SAE

#: Cosine above which a matched pair counts as the same direction, fixed before any run.
SHARED = 0.7


def match(a: Tensor, b: Tensor, absolute: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one partners of the rows of a among the rows of b, with the largest sum of cosines.

    a: [n_a, d], b: [n_b, d], any row norms; the cosine with a row of zeros is 0. absolute: |cosines| instead.
    Returns partner [n_a], -1 where n_b < n_a leaves none, and cosine [n_a] float32, NaN there.
    The cosines take 4 n_a n_b bytes and the assignment 8 n_a n_b more (52 GB in all at 65,536 rows); its time
    grows with up to the third power of n (unrelated rows: 0.3 s at 2,048).
    Raises ValueError when the widths differ or an entry is not finite.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"rows of width {a.shape[1]} and {b.shape[1]} have no cosine")
    cost = (_unit(a) @ _unit(b).T).cpu()
    cost = (cost.abs_() if absolute else cost).neg_().numpy()
    row, column = linear_sum_assignment(cost)
    partner, cosine = np.full(len(a), -1), np.full(len(a), np.nan, np.float32)
    partner[row], cosine[row] = column, -cost[row, column]
    return partner, cosine


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
    agree); cosine: mean over these pairs (for "both", of the smaller of the two; NaN without a pair); shared:
    2 m / (n_a + n_b) with m the pairs whose cosine (for "both", the smaller one) is above SHARED, so that a
    latent without a partner counts as not shared. null_n, null_cosine, null_shared: the same after `permute`
    of b's live latents.
    Raises ValueError when the shapes differ, a frequency has another length, or no latent is live.
    """
    if (a.config.d_in, a.config.d_sae) != (b.config.d_in, b.config.d_sae):
        raise ValueError(
            f"SAEs of d_in, d_sae {a.config.d_in}, {a.config.d_sae} and {b.config.d_in}, {b.config.d_sae}: "
            "seed stability compares SAEs of one shape"
        )
    live_a, live_b = _live(a, frequency_a), _live(b, frequency_b)
    own, other = _directions(a, live_a), _directions(b, live_b)
    found = _summary(_table(live_a, live_b, own, other), len(live_b))
    null = _summary(_table(live_a, live_b, own, permute(*other, seed=seed)), len(live_b))
    null = null[["n", "cosine", "shared"]].add_prefix("null_")
    return pd.concat([found, null], axis=1)


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
    order = torch.from_numpy(np.random.default_rng(seed).permuted(order, axis=0)).to(decoder.device)
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
    for kind, mine, theirs in zip(("decoder", "encoder"), own, other, strict=True):
        partner, cosine = match(mine, theirs)
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
