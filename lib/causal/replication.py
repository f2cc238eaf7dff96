"""Does a latent come back with its effect: in other SAE seeds, half the people, other layers, another model?

Every answer stands beside what chance gives. `delta` is the fall of the metric when a latent is ablated, as in
`lib.causal.ablation`; `asked` are the latents asked about, in a study those that it says the prediction needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import ceil

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from lib.outcome.metrics import BINARY, Metric
from lib.outcome.probe import balanced_folds
from lib.sae import stability
from lib.sae.model import SAE

Match = tuple[np.ndarray, np.ndarray]
#: Correlation from which a pair across models counts as the same feature, and below which it is no pair at all.
SAME, POOR = 0.5, 0.1
#: Samples on which a latent must fire to be paired, in each half of the bases.
FEWEST = 10
#: What two models have in common when no latent of one can be paired with one of the other.
UNPAIRED = {
    "mean": np.nan, "mean_null_95": np.nan, "mean_p": 1.0, "share": np.nan, "share_null_95": np.nan, "share_p": 1.0,
}  # fmt: skip


def partners(
    a: SAE, b: SAE, frequency_a: np.ndarray | None = None, frequency_b: np.ndarray | None = None,
    permuted: int | None = None,
) -> Match:  # fmt: skip
    """Partner in b of each latent of a on which the decoder and the encoder matching agree, and the smaller cosine.

    frequency_a, frequency_b: as in `stability.match_latents`. permuted: a seed, to match with the null "permuted
    decoder" of b's live latents instead (`stability.permute`). Returns partner [d_sae] and cosine [d_sae]: -1 and NaN
    where the matchings disagree or the latent is dead.
    """
    if permuted is not None:
        b = _permuted(b, frequency_b, permuted)
    table = stability.match_latents(a, b, frequency_a, frequency_b)
    table = table[table["decoder_partner"] == table["encoder_partner"]]
    partner, cosine = np.full(a.config.d_sae, -1), np.full(a.config.d_sae, np.nan)
    partner[table["latent"]] = table["decoder_partner"]
    cosine[table["latent"]] = table[["decoder_cosine", "encoder_cosine"]].min(axis=1)
    return partner, cosine


@torch.no_grad()
def _permuted(sae: SAE, frequency: np.ndarray | None, seed: int) -> SAE:
    live = (
        torch.arange(sae.config.d_sae) if frequency is None else torch.from_numpy(np.flatnonzero(frequency))
    )
    out = deepcopy(sae)
    decoder, encoder = stability.permute(sae.W_dec[live], sae.W_enc.T[live], seed)
    out.W_dec[live], out.W_enc[:, live] = decoder.to(out.W_dec.dtype), encoder.T.to(out.W_enc.dtype)
    return out


def with_effect(
    asked: Sequence[int], deltas: Sequence[np.ndarray], lows: Sequence[np.ndarray], matches: Sequence[Match],
    null: Sequence[Match] = (), ratio: float | None = None, n: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """In how many SAE seeds is each of the asked latents found, with its effect?

    deltas, lows: one [latent] a seed, the latents' own seed first: fall of AUROC and its lower 95 % bound (NaN where not
    estimated). matches: one a further seed, `partners` of the own seed's latents in it. null: the same with
    permuted decoders.

    Found in a further seed: the partner's cosine is at least SHARED on decoder and encoder, its delta has the same sign,
    and its lower bound is above 0 or, with `ratio`, its delta is within own / ratio and own * ratio. The own seed
    counts as one if its lower bound is above 0. Replicated: found in two thirds of all seeds (2 of 3, 4 of 5).

    One row a latent asked about: latent, delta, low, n_seeds, n_matched (further seeds with such a partner), n_found,
    replicated, null_permuted (replicated with `null`; missing without it) and null_dealt: the share of `n` deals in
    which it is replicated when matched partners are dealt out at random, so that only their effects are left to chance.
    Raises ValueError when the lists do not fit together.
    """
    asked = np.asarray(asked, dtype=int)
    _check_seeds(deltas, lows, matches, null)
    rng, own, enough = np.random.default_rng(seed), deltas[0][asked], ceil(2 * len(deltas) / 3)
    in_own = (lows[0][asked] > 0).astype(int)
    n_matched, n_found, by_deal = np.zeros(len(asked), int), in_own.copy(), np.tile(in_own, (n, 1))
    for delta, low, match in zip(deltas[1:], lows[1:], matches, strict=True):
        partner, has = match[0], match[1] >= stability.SHARED
        n_matched += has[asked]
        n_found += _recovered(asked, own, delta, low, match, ratio)
        if has.any():
            dealt = rng.choice(partner[has], (n, len(asked)))
            by_deal += has[asked] & _same_effect(own, delta[dealt], low[dealt], ratio)
    table = pd.DataFrame({
        "latent": asked, "delta": own, "low": lows[0][asked], "n_seeds": len(deltas), "n_matched": n_matched,
        "n_found": n_found, "replicated": n_found >= enough, "null_dealt": (by_deal >= enough).mean(0),
    })  # fmt: skip
    if null:
        parts = [_recovered(asked, own, *part, ratio) for part in zip(deltas[1:], lows[1:], null, strict=True)]
        table["null_permuted"] = in_own + np.sum(parts, axis=0) >= enough
    return table


def _check_seeds(deltas, lows, matches, null) -> None:
    if (
        len(deltas) < 2
        or len(lows) != len(deltas)
        or len(matches) != len(deltas) - 1
        or len(null) not in (0, len(matches))
    ):
        raise ValueError(
            f"{len(deltas)} deltas, {len(lows)} lows, {len(matches)} matches and {len(null)} null matches: wanted at least "
            "two seeds, a low for each delta, and a match for each seed but the first"
        )
    for match in [*matches, *null]:
        if np.shape(match) != (2, len(deltas[0])):
            raise ValueError(
                f"a match has shape {np.shape(match)}, expected partner and cosine of {len(deltas[0])} latents"
            )


def _recovered(
    asked: np.ndarray, own: np.ndarray, delta: np.ndarray, low: np.ndarray, match: Match, ratio
) -> np.ndarray:
    """Which asked latents have a partner in one further seed, with their effect: [asked] bool."""
    partner, cosine = (part[asked] for part in match)
    return (cosine >= stability.SHARED) & _same_effect(own, delta[partner], low[partner], ratio)


def _same_effect(own: np.ndarray, delta: np.ndarray, low: np.ndarray, ratio: float | None) -> np.ndarray:
    size, other = np.abs(own), np.abs(delta)
    near = False if ratio is None else (size / ratio <= other) & (other <= size * ratio)
    return (np.sign(delta) == np.sign(own)) & ((low > 0) | near)


def split_half(
    y: np.ndarray, full: np.ndarray, change: np.ndarray, groups: np.ndarray | None, n_splits: int, seed: int,
    asked: Sequence[int] = (), metric: Metric = BINARY,
) -> pd.DataFrame:  # fmt: skip
    """Do two halves of the cohort agree on what each latent's ablation costs? Classes, or fifths of a continuous y, spread evenly,
    families kept whole.

    y: [person] of the metric's target; full: [person] out-of-fold scores; change: [latent, person]; groups: [person] family, or None.

    One row a measure: measure, latent (-1 for all), value (mean over splits), low, high (central 95 % of splits), n.
    Over the latents that move anybody (n of them): correlation, of delta in one half with delta in the other;
    spearman_brown, 2 r / (1 + r), the reliability of the whole cohort's deltas; rank_correlation.
    Over the asked latents: same_sign, the share whose deltas have one sign in both halves; same_sign_chance, that share for
    two unrelated latents that move; carried, the share above 0 in one half among as many with the largest deltas in
    the other, which is free of the choice of whom to ask that `same_sign` shares. Then for each asked latent: same_sign,
    the share of splits (no interval: its splits overlap), and delta, of the halves of all splits.
    The halves share the probes: this is the noise of the people tested, not of those trained on.
    With fewer than two latents that move, what compares latents is NaN.
    Raises ValueError when shapes differ, or a class or the families do not fill two halves.
    """
    y, full, change = np.asarray(y), np.asarray(full, dtype=float), np.asarray(change, dtype=float)
    if full.shape != y.shape or change.ndim != 2 or change.shape[1:] != y.shape:
        raise ValueError(
            f"y {y.shape}, full {full.shape}, change {change.shape}: wanted [person] twice and [latent, person]"
        )
    moving = np.flatnonzero(np.ptp(change, axis=1) > 0)
    deltas = np.zeros((n_splits, 2, len(change)))
    for split, state in enumerate(np.random.SeedSequence(seed).generate_state(n_splits)):
        fold = balanced_folds(y, groups, 2, int(state), metric)
        for half in (0, 1):
            deltas[split, half, moving] = _delta(y, full, change[moving], fold == half, metric)
    one, two = deltas[:, 0, moving], deltas[:, 1, moving]
    r = _row_correlation(one, two)
    rank = _row_correlation(rankdata(one, axis=1), rankdata(two, axis=1))
    rows = [("correlation", r), ("spearman_brown", 2 * r / (1 + r)), ("rank_correlation", rank)]
    rows = [_over_splits(name, -1, values, len(moving)) for name, values in rows]
    return pd.DataFrame(
        rows + (_asked_rows(deltas, moving, np.asarray(asked, dtype=int)) if len(asked) else [])
    )


def _delta(y: np.ndarray, full: np.ndarray, change: np.ndarray, people: np.ndarray, metric: Metric) -> np.ndarray:
    y, full = y[people], full[people]
    return metric.value(y, full) - metric.value(y, full + change[:, people])


def _row_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of a with the same row of b: [row]; NaN where one is constant or shorter than two."""
    if a.shape[1] < 2:
        return np.full(len(a), np.nan)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), size, out=np.full(len(a), np.nan), where=size > 0)


def _asked_rows(deltas: np.ndarray, moving: np.ndarray, asked: np.ndarray) -> list[dict]:
    """The rows of `split_half` about the asked latents. deltas: [split, half, latent]."""
    one, two = deltas[:, 0], deltas[:, 1]
    same = (np.sign(one) == np.sign(two)) & (one != 0)
    chance = np.full(len(deltas), np.nan)
    if len(moving) > 1:
        up, down = ([(sign * half[:, moving] > 0).mean(1) for half in (one, two)] for sign in (1, -1))
        chance = up[0] * up[1] + down[0] * down[1]
    carried = (_carried(one, two, len(asked)) + _carried(two, one, len(asked))) / 2
    rows = [
        _over_splits("same_sign", -1, same[:, asked].mean(1), len(asked)),
        _over_splits("same_sign_chance", -1, chance, len(moving)),
        _over_splits("carried", -1, carried, len(asked)),
    ]
    for latent in asked:
        rows.append(
            _over_splits("same_sign", latent, same[:, latent], len(deltas)) | {"low": np.nan, "high": np.nan}
        )
        rows.append(_over_splits("delta", latent, deltas[:, :, latent].ravel(), len(deltas)))
    return rows


def _carried(chosen_in: np.ndarray, tested_in: np.ndarray, k: int) -> np.ndarray:
    top = np.argsort(-chosen_in, axis=1, kind="stable")[:, :k]
    return (np.take_along_axis(tested_in, top, axis=1) > 0).mean(1)


def _over_splits(measure: str, latent: int, values: np.ndarray, n: int) -> dict:
    low, high = np.quantile(values.astype(float), [0.025, 0.975])
    return {
        "measure": measure,
        "latent": int(latent),
        "value": float(np.mean(values)),
        "low": low,
        "high": high,
        "n": n,
    }
