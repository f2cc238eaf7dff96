"""Do latents come again at other layers and in other models?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from lib.causal import patching
from lib.causal.replication import FEWEST, POOR, SAME, UNPAIRED
from lib.models.adapter import Adapter
from lib.sae import evaluate
from lib.sae.model import SAE

Latents = np.ndarray | sparse.csr_matrix


def correlation(a: Latents, b: Latents) -> np.ndarray:
    """Pearson correlation over samples of every column of a with every column of b; 0 where one is constant.

    a: [sample, n_a], b: [sample, n_b], dense or sparse. Returns [n_a, n_b] float64.
    Raises ValueError when the samples differ in number.
    """
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"a has {a.shape[0]} samples and b {b.shape[0]}: nothing to correlate")
    a, b = a.astype(np.float64), b.astype(np.float64)
    product = a.T @ b
    (mean_a, sd_a), (mean_b, sd_b) = _moments(a), _moments(b)
    covariance = (product.toarray() if sparse.issparse(product) else product) / a.shape[0] - np.outer(
        mean_a, mean_b
    )
    size = np.outer(sd_a, sd_b)
    return np.divide(covariance, size, out=np.zeros_like(covariance), where=size > 0).clip(-1, 1)


def _moments(x: Latents) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column; a deviation within rounding of the mean is 0."""
    mean = np.asarray(x.mean(0)).ravel()
    square = np.asarray((x.multiply(x) if sparse.issparse(x) else x * x).mean(0)).ravel()
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-12 * square, variance, 0))


def across_layers(
    profiles: dict[str, np.ndarray], deltas: dict[str, np.ndarray], rates: dict[str, np.ndarray],
    asked: dict[str, Sequence[int]], n: int = 1000, n_peers: int = 100, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The latent of every other site that goes most with each one asked about, and what its ablation costs.

    profiles: site -> [latent, sample], dense or sparse: the change over people, or the activation over tokens, on the
    same samples at all sites. deltas: site -> [latent], fall of AUROC. rates: site -> [latent], share of tokens on which
    a latent fires. asked: site -> latents.

    One row a latent asked about and other site: site, latent, delta, other_site, partner, correlation (Pearson, signed, the
    largest over the other site's latents), partner_delta. null_95, p: of that largest correlation when the
    latent's values are dealt out anew over samples `n` times, which keeps its rate. peers, p_peers: mean largest
    correlation of the n_peers other latents of its site, not asked about, nearest in log rate, and the share of them, the latent
    itself counted in, that reach its own. One variant moves many latents together, and neighbouring tokens are alike, so
    the shuffle is easily beaten; the peers are not.
    No row when no latent is asked about.
    Raises ValueError when sites, latents or samples do not fit together.
    """
    names = ["site", "latent", "delta", "other_site", "partner", "correlation", "partner_delta", "null_95", "p", "peers", "p_peers"]
    _check_sites(profiles, deltas, rates, asked)
    rng, rows = np.random.default_rng(seed), []
    columns = {
        site: sparse.csr_matrix(p).T.tocsc() if sparse.issparse(p) else np.asarray(p).T
        for site, p in profiles.items()
    }
    for site, latents in asked.items():
        for other in (name for name in profiles if name != site):
            correlations = correlation(columns[site], columns[other])
            best = correlations.max(1)
            moves = _moments(columns[site].astype(np.float64))[1] > 0
            free = np.setdiff1d(np.flatnonzero(moves), latents)
            for latent in latents:
                peers = best[_nearest(rates[site], latent, free, n_peers)]
                null = correlation(_shuffles(columns[site][:, [latent]], n, rng), columns[other]).max(1)
                partner = int(correlations[latent].argmax())
                rows.append({
                    "site": site, "latent": int(latent), "delta": deltas[site][latent], "other_site": other,
                    "partner": partner, "correlation": best[latent], "partner_delta": deltas[other][partner],
                    "null_95": np.quantile(null, 0.95), "p": (1 + (null >= best[latent]).sum()) / (1 + n),
                    "peers": peers.mean() if len(peers) else np.nan,
                    "p_peers": (1 + (peers >= best[latent]).sum()) / (1 + len(peers)),
                })  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def _check_sites(profiles, deltas, rates, asked) -> None:
    if len(profiles) < 2 or not set(asked) <= set(profiles):
        raise ValueError(
            f"latents of sites {list(asked)} of {list(profiles)}: wanted two sites or more, and latents of these"
        )
    samples = {site: p.shape[1] for site, p in profiles.items()}
    if len(set(samples.values())) > 1:
        raise ValueError(f"samples per site {samples}: wanted the same samples at all sites")
    for site, profile in profiles.items():
        shapes = np.shape(deltas[site]), np.shape(rates[site])
        if shapes != (profile.shape[:1],) * 2:
            raise ValueError(
                f"site {site}: deltas and rates have shapes {shapes}, expected {profile.shape[:1]}"
            )


def _nearest(rate: np.ndarray, latent: int, free: np.ndarray, n: int) -> np.ndarray:
    log = np.log(np.maximum(rate, np.finfo(float).tiny))
    return free[np.argsort(np.abs(log[free] - log[latent]), kind="stable")[:n]]


def _shuffles(column: Latents, n: int, rng: np.random.Generator) -> Latents:
    """The values of one latent dealt out anew over samples, n times: [sample, n]. column: [sample, 1]."""
    if not sparse.issparse(column):
        return rng.permuted(np.tile(column, n), axis=0)
    values = column.tocsc().data
    places = np.concatenate([rng.choice(column.shape[0], len(values), replace=False) for _ in range(n)])
    return sparse.csc_matrix(
        (np.tile(values, n), places, np.arange(n + 1) * len(values)), shape=(column.shape[0], n)
    )


def onto_bases(latents: Latents, spans: np.ndarray, n_bases: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Latents of tokens on the bases that the tokens cover; where tokens overlap, their mean.

    latents: [token, latent]; spans: [token, 2] start and end, 0-based half-open, on an axis of n_bases on which all
    sequences lie end to end. Returns [base, latent] and covered [base] bool.
    Raises ValueError on a span that is empty or leaves the axis.
    """
    spans = np.asarray(spans)
    if spans.shape != (latents.shape[0], 2):
        raise ValueError(f"spans has shape {spans.shape}, expected {(latents.shape[0], 2)}")
    length = spans[:, 1] - spans[:, 0]
    if len(spans) and (length.min() < 1 or spans.min() < 0 or spans.max() > n_bases):
        raise ValueError(
            f"spans from {spans.min()} to {spans.max()}, shortest {length.min()}: wanted 1 or more in 0 to {n_bases}"
        )
    token = np.repeat(np.arange(len(spans)), length)
    base = np.repeat(spans[:, 0] - np.cumsum(length) + length, length) + np.arange(length.sum())
    depth = np.bincount(base, minlength=n_bases)
    onto = sparse.csr_matrix((1 / depth[base], (base, token)), shape=(n_bases, len(spans)))
    return (onto @ sparse.csr_matrix(latents)).tocsr(), depth > 0


def across_models(
    latents_a: Latents, spans_a: np.ndarray, latents_b: Latents, spans_b: np.ndarray, n_bases: int,
    n_random: int = 1000, seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, float]]:  # fmt: skip
    """Latents of two models paired by how their activations go together over bases, against random pairings.

    latents_a, latents_b: [token, latent], at least 0; spans_a, spans_b, n_bases: as in `onto_bases`, on the same sequences.
    Of the bases that both models cover, the first half makes the pairs: the one-to-one choice with the largest sum of
    correlations (Hungarian algorithm), less pairs below POOR. The second half measures them. Latents firing on fewer
    than FEWEST bases of either half are left out.

    Returns the pairs (a, b, fitted, correlation: on the first and the second half), and: n_a, n_b (latents that fire),
    n_pairs, mean (correlation of the pairs), share (pairs of correlation SAME or more, of the smaller of n_a and n_b),
    share_many (of a's latents, with the partner of largest correlation, which latents may share); and for mean and
    share null_95 and p, over n_random ways to deal out the pairs' partners.
    With no pair left, or less than two latents that fire in one model, the table is empty, mean and share are NaN, and p is 1.
    Source: Lan et al., arXiv 2410.06981; one to one and held-out bases instead of the best partner on all.
    """
    a, covered_a = onto_bases(latents_a, spans_a, n_bases)
    b, covered_b = onto_bases(latents_b, spans_b, n_bases)
    bases = np.flatnonzero(covered_a & covered_b)
    halves = np.array_split(bases, 2)
    live_a, live_b = (_firing(x, halves) for x in (a, b))
    if min(len(live_a), len(live_b)) < 2:
        few = {"n_a": len(live_a), "n_b": len(live_b), "n_pairs": 0, "share_many": np.nan}
        return pd.DataFrame(columns=["a", "b", "fitted", "correlation"]), few | UNPAIRED
    fit, test = (correlation(a[half][:, live_a], b[half][:, live_b]) for half in halves)
    row, column = linear_sum_assignment(fit, maximize=True)
    good = fit[row, column] >= POOR
    row, column = row[good], column[good]
    correlations, n_least = test[row, column], min(test.shape)
    rng = np.random.default_rng(seed)
    random = np.stack([test[row, rng.permutation(column)] for _ in range(n_random)])
    many = test[np.arange(len(fit)), fit.argmax(1)]
    share_many = float((many >= SAME).mean())
    summary = {"n_a": len(live_a), "n_b": len(live_b), "n_pairs": len(row), "share_many": share_many}
    if len(row):
        summary |= _beside_null("mean", correlations.mean(), random.mean(1))
        summary |= _beside_null("share", (correlations >= SAME).sum() / n_least, (random >= SAME).sum(1) / n_least)
    else:
        summary |= UNPAIRED
    pairs = pd.DataFrame(
        {"a": live_a[row], "b": live_b[column], "fitted": fit[row, column], "correlation": correlations}
    )
    return pairs, summary


def _firing(latents: sparse.csr_matrix, halves: list[np.ndarray]) -> np.ndarray:
    return np.flatnonzero(np.min([latents[half].getnnz(axis=0) for half in halves], axis=0) >= FEWEST)


def _beside_null(name: str, value: float, null: np.ndarray) -> dict[str, float]:
    p = (1 + (null >= value).sum()) / (1 + len(null))
    return {name: float(value), f"{name}_null_95": float(np.quantile(null, 0.95)), f"{name}_p": float(p)}


@dataclass(frozen=True)
class OnBases:
    """One model on sequences that lie end to end: latents [token, latent], acts [token, d], spans [token, 2] on that axis."""

    latents: Latents
    acts: np.ndarray
    spans: np.ndarray
    n_bases: int


def on_letters(adapter: Adapter, sae: SAE, site: str, sequences: Sequence[str]) -> OnBases:
    """Run a model over sequences up to a site, and its dictionary over their tokens."""
    clean = patching.run_clean(adapter, sequences, site)
    start = np.concatenate([[0], np.cumsum([len(text) for text in sequences])])
    spans = [np.stack([e.start[e.keep], e.end[e.keep]], 1) + at for e, at in zip(clean.encoded, start[:-1], strict=True)]
    x = clean.acts.numpy()
    return OnBases(evaluate.latents_of(sae, x, np.arange(len(x)), clean.unit), x, np.concatenate(spans), int(start[-1]))


def compare_models(a: OnBases, b: OnBases, n_random: int, seed: int, most: int = 5000) -> dict[str, float]:
    """cka of the activations on the first `most` bases that both cover, n_bases of these, and the summary of `across_models`."""
    _, summary = across_models(a.latents, a.spans, b.latents, b.spans, a.n_bases, n_random, seed)
    (x, covered_x), (y, covered_y) = (onto_bases(m.acts, m.spans, a.n_bases) for m in (a, b))
    both = np.flatnonzero(covered_x & covered_y)[:most]
    return {"cka": debiased_cka(x[both].toarray(), y[both].toarray()), "n_bases": len(both)} | summary


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA from unbiased estimates of HSIC: 1 for equal representations, near 0 for independent ones of any width.

    HSIC(K, L) = [tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K L1] / (n (n - 3)), K = x x' and L = y y' with
    zeros on the diagonal; CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)). Rotations, shifts and one scale change nothing.

    x: [sample, d_x], y: [sample, d_y], the same samples. Can be a little below 0; NaN for fewer than 4 samples, or where
    all are equally far apart (or all alike) in one of the two. Raises ValueError when their numbers differ.
    Source: Song et al., JMLR 13 (2012), equation 5; Kornblith et al., arXiv 1905.00414.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} samples: wanted the same")
    if len(x) < 4:
        return np.nan
    x, y = (_centred(np.asarray(z, dtype=np.float64)) for z in (x, y))
    own = [_hsic(z, z) for z in (x, y)]
    if any(h <= 1e-12 * (z**2).sum() ** 2 for h, z in zip(own, (x, y))):
        return np.nan
    return float(_hsic(x, y) / np.sqrt(own[0] * own[1]))


def _centred(x: np.ndarray) -> np.ndarray:
    x = x - x[0]  # exact where a column is constant
    return x - x.mean(0)


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    """n (n - 3) times the unbiased HSIC of centred x and y, without n by n matrices unless these are the smaller ones."""
    n = len(x)
    square_x, square_y = (x**2).sum(1), (y**2).sum(1)
    narrow = x.shape[1] * y.shape[1] < n * n
    inner = ((x.T @ y) ** 2).sum() if narrow else ((x @ x.T) * (y @ y.T)).sum()
    trace = inner - square_x @ square_y
    # rows of K and L sum to minus their diagonals, since x and y are centred
    return trace + square_x.sum() * square_y.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (square_x @ square_y)
