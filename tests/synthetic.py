"""Planted truth: activations made of known features, and how much of them an SAE finds.

x = sum_i z_i m_i d_i + noise: feature i fires (z_i) with probability p_i at a uniform magnitude m_i along a
unit direction d_i. What an SAE should reach is known in closed form, so a score says how far it is from the
truth, not only from a rival.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import poisson_binom

from lib.sae import evaluate, stability
from lib.sae.model import SAE, SAEConfig


@dataclass(frozen=True, eq=False)
class PlantedDictionary:
    """True features. Each fires with its probability, whatever the structure, at an independent magnitude.

    directions: [n_features, d_in] unit rows. probability: [n_features] in 0 < p <= 1, of firing on a token.
    low, high: magnitudes are uniform in low .. high, 0 < low <= high, activation units. noise: sd of
    independent Gaussian noise in every dimension. At most one structure:

    - parent: [n_features] int, an earlier feature or -1; a feature fires only where its parent does, given
      that independently of all else, with p_i <= p_parent;
    - group: [n_features] int, with `correlation` in 0 .. 1: feature i fires where a standard Gaussian lies
      below the p_i quantile; the Gaussians of one group correlate by that much.

    Raises ValueError on values outside these.
    """

    directions: np.ndarray
    probability: np.ndarray
    low: float = 1.0
    high: float = 2.0
    noise: float = 0.0
    parent: np.ndarray | None = None
    group: np.ndarray | None = None
    correlation: float = 0.0

    def __post_init__(self) -> None:
        p, n = self.probability, len(self.directions)
        if not np.allclose(np.linalg.norm(self.directions, axis=1), 1, atol=1e-6):
            raise ValueError("directions need unit rows")
        for name in ("probability", "parent", "group"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != (n,):
                raise ValueError(f"{name} has shape {np.shape(value)}, expected {(n,)}")
        if not ((p > 0) & (p <= 1)).all():
            raise ValueError("probability: wanted 0 < p <= 1")
        if not (0 < self.low <= self.high and self.noise >= 0 and 0 <= self.correlation <= 1):
            raise ValueError("wanted 0 < low <= high, noise >= 0 and 0 <= correlation <= 1")
        if self.parent is not None and self.group is not None:
            raise ValueError("parent and group exclude each other: probabilities would not be those stated")
        if self.parent is not None:
            child = np.flatnonzero(self.parent >= 0)
            if (self.parent[child] >= child).any() or (p[child] > p[self.parent[child]]).any():
                raise ValueError("parent: wanted an earlier feature that fires at least as often")

    @property
    def l0(self) -> float:
        """Expected number of features firing on a token: sum p."""
        return float(self.probability.sum())

    @property
    def second_moment(self) -> float:
        """E m^2 of a magnitude: (low^2 + low high + high^2) / 3."""
        return (self.low**2 + self.low * self.high + self.high**2) / 3

    @property
    def total_variance(self) -> float:
        """Variance of x summed over dimensions: sum_i (p_i E m^2 - p_i^2 (E m)^2) + d_in noise^2.

        Exact where features fire independently or directions are orthogonal; otherwise raises ValueError.
        """
        if not (self.independent or self.orthogonal):
            raise ValueError("no closed form: firing is dependent, and directions are not orthogonal")
        p, mean = self.probability, (self.low + self.high) / 2
        own = p * self.second_moment - p**2 * mean**2
        return float(own.sum() + self.directions.shape[1] * self.noise**2)

    @property
    def independent(self) -> bool:
        """Whether features fire independently of each other."""
        return (self.parent is None or bool((self.parent < 0).all())) and (
            self.group is None or self.correlation == 0
        )

    @property
    def orthogonal(self) -> bool:
        """Whether directions are orthonormal, to 1e-6."""
        gram = self.directions @ self.directions.T
        return np.allclose(gram, np.eye(len(gram)), atol=1e-6)

    def sample(self, n: int, seed: int) -> tuple[np.ndarray, sparse.csr_matrix]:
        """n >= 1 tokens: x [n, d_in] float32, and truth, CSR [n, n_features] float32: z_i m_i.

        Draws firing densely in chunks of 32 MiB.
        """
        rng = np.random.default_rng(seed)
        size = max(1, 2**22 // len(self.directions))
        x, parts = np.empty((n, self.directions.shape[1]), np.float32), []
        for s in range(0, n, size):
            part = self._truth(min(size, n - s), rng)
            noise = self.noise * rng.standard_normal((part.shape[0], x.shape[1])) if self.noise else 0
            x[s : s + size] = part @ self.directions + noise
            parts.append(part.astype(np.float32))
        return x, sparse.vstack(parts, format="csr")

    def _truth(self, n: int, rng: np.random.Generator) -> sparse.csr_matrix:
        """CSR [n, n_features] float64."""
        firing = sparse.csr_matrix(self._firing(n, rng), dtype=np.float64)
        firing.data = rng.uniform(self.low, self.high, firing.nnz)
        return firing

    def _firing(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """[n, n_features] bool."""
        p = self.probability
        if self.group is not None:
            _, group = np.unique(self.group, return_inverse=True)
            common = rng.standard_normal((n, group.max() + 1))[:, group]
            own = rng.standard_normal((n, len(p)))
            return np.sqrt(self.correlation) * common + np.sqrt(1 - self.correlation) * own < ndtri(p)
        if self.parent is None:
            return rng.random((n, len(p))) < p
        has = self.parent >= 0
        firing = rng.random((n, len(p))) < np.where(has, p / p[self.parent], p)
        for child in np.flatnonzero(has):  # parents come first, so theirs is final
            firing[:, child] &= firing[:, self.parent[child]]
        return firing


def plant(
    n_features: int, d_in: int, l0: float, seed: int, *, zipf: float = 1.0, orthonormal: bool = False,
    branches: int = 0, n_groups: int = 0, correlation: float = 0.0, **settings: float,
) -> PlantedDictionary:  # fmt: skip
    """A planted dictionary with random directions and Zipf-like firing.

    Directions are uniform on the sphere, or orthonormal (n_features <= d_in). Feature r = 1, 2, ... fires
    with probability min(1/2, c r^-zipf), c such that the sum is l0. branches: above 0, the first `branches`
    features are roots and every feature has as many children. n_groups: above 0, features fall into groups in
    turn, correlated inside. settings: low, high, noise of `PlantedDictionary`.
    Raises ValueError when l0 is not in 0 .. n_features / 2 or orthonormal directions do not fit.
    """
    if not 0 < l0 < n_features / 2:
        raise ValueError(f"l0 {l0}: wanted more than 0 and less than n_features / 2 = {n_features / 2}")
    if orthonormal and n_features > d_in:
        raise ValueError(f"{n_features} orthonormal directions do not fit in {d_in} dimensions")
    rows = np.random.default_rng(seed).standard_normal((n_features, d_in))
    rows = np.linalg.qr(rows.T)[0].T if orthonormal else rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rank, index = np.arange(1, n_features + 1.0) ** -zipf, np.arange(n_features)
    c = brentq(lambda c: np.minimum(0.5, c * rank).sum() - l0, 0, 1 / rank[-1])
    parent = np.maximum(index // branches - 1, -1) if branches else None
    group = index % n_groups if n_groups else None
    p = np.minimum(0.5, c * rank)
    return PlantedDictionary(rows, p, parent=parent, group=group, correlation=correlation, **settings)


def oracle(planted: PlantedDictionary, k: int = 0) -> SAE:
    """The SAE made of the truth: rows of W_dec and columns of W_enc are the directions, biases 0.

    Without k, JumpReLU with the threshold low / 2, so that rounding fires nothing; with k, TopK. On
    orthonormal directions without noise the latents of the first are the truth, and the second keeps each
    token's k largest features, with the explained variance of `topk_explained_variance`.
    """
    n, d_in = planted.directions.shape
    sae = SAE(SAEConfig("topk" if k else "jumprelu", d_in, n, k))
    with torch.no_grad():
        sae.W_dec.copy_(torch.from_numpy(planted.directions))
        sae.W_enc.copy_(torch.from_numpy(planted.directions.T))
        if not k:
            sae.threshold.fill_(planted.low / 2)
    return sae.eval()


def topk_explained_variance(planted: PlantedDictionary, k: int) -> float:
    """Explained variance expected of keeping each token's k largest true features and nothing else.

    1 - (sum_n P(N = n) sum_{j <= n - k} E u_(j)^2 + d_in noise^2) / total variance, where N, the number of
    features firing, is Poisson binomial, and the j-th smallest of n magnitudes, u_(j), is distributed as
    low + (high - low) Beta(j, n + 1 - j). Magnitudes are kept without their noise.
    Raises ValueError unless features fire independently along orthonormal directions.
    """
    if not (planted.independent and planted.orthogonal):
        raise ValueError("needs independent firing along orthonormal directions")
    pmf = poisson_binom(planted.probability).pmf(np.arange(len(planted.directions) + 1))
    n = np.flatnonzero(pmf > 1e-15)[:, None]
    j = np.arange(1, n.max() + 1)
    width = planted.high - planted.low
    first, second = j / (n + 1), j * (j + 1) / ((n + 1) * (n + 2))  # E B and E B^2 of Beta(j, n + 1 - j)
    square = planted.low**2 + 2 * planted.low * width * first + width**2 * second
    left_out = np.where(j <= n - k, square, 0).sum(1)
    noise = planted.directions.shape[1] * planted.noise**2
    return float(1 - (pmf[n[:, 0]] @ left_out + noise) / planted.total_variance)


@dataclass(frozen=True, eq=False)
class Scores:
    """What an SAE finds of a planted truth.

    mcc: mean |cosine| of true directions with their one-to-one matched decoder rows, over min(n_features,
    d_sae) pairs. mmcs: mean over features of the largest |cosine| with any row. uniqueness: share of features
    whose best row (by |cosine|) is no other feature's best. f1: mean over matched features that fire.
    explained_variance, l0, dead_share: as in `evaluate.Quality`; true_l0: features firing a token. shrinkage:
    sum l m / sum m^2, the slope through the origin of matched latents l on true magnitudes m, where both are
    above 0: 1 keeps magnitudes, below 1 shrinks them. features: one row a feature: latent (-1 unmatched),
    cosine, n_true and n_latent (tokens on which it and its latent fire), precision, recall, f1 and shrinkage,
    each NaN where unmatched or the feature never fires.
    """

    mcc: float
    mmcs: float
    uniqueness: float
    f1: float
    explained_variance: float
    l0: float
    true_l0: float
    dead_share: float
    shrinkage: float
    features: pd.DataFrame


def score(sae: SAE, planted: PlantedDictionary, x: np.ndarray, truth: sparse.csr_matrix) -> Scores:
    """Scores of an SAE on tokens from `planted.sample`: x [token, d_in], truth CSR [token, n_features].

    The |cosine| of mcc is blind to sign, f1 is not: a latent reading the opposite direction matches and never
    fires. Holds the cosines [n_features, d_sae] once, and the latents as CSR.
    Source: Chanin and Garriga-Alonso, arXiv 2602.14687 (there uniqueness and F1 go over latents, here over
    features).
    """
    every = np.arange(len(x))
    quality = evaluate.quality(sae, x, every, np.zeros_like(every))
    latents = evaluate.latents_of(sae, x, every)
    directions = torch.from_numpy(planted.directions).float()
    latent, cosine = stability.match(directions, sae.W_dec, absolute=True)
    largest, best = _best(directions, sae.W_dec)
    features, part, whole = _by_feature(latents, truth, latent)
    return Scores(
        mcc=float(np.nanmean(cosine)),
        mmcs=float(largest.mean()),
        uniqueness=float((np.bincount(best)[best] == 1).mean()),
        f1=float(features["f1"].mean()),
        explained_variance=quality.explained_variance,
        l0=quality.l0,
        true_l0=truth.nnz / len(x),
        dead_share=quality.dead_share,
        shrinkage=float(part.sum() / whole.sum()) if whole.any() else np.nan,
        features=features.assign(cosine=cosine)[["latent", "cosine", *features.columns.drop("latent")]],
    )


@torch.inference_mode()
def _best(directions: torch.Tensor, W_dec: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Largest |cosine| of each direction with any row, and that row: [n_features] each."""
    rows = torch.nn.functional.normalize(W_dec, dim=1)
    largest, best = (directions @ rows.T).abs_().max(1)
    return largest.numpy(), best.numpy()


def _by_feature(
    latents: sparse.csr_matrix, truth: sparse.csr_matrix, latent: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Firing and magnitudes of matched latents; sum l m and sum m^2 where both fire: [n_features] each.

    latents: CSR [token, d_sae]; truth: CSR [token, n_features]; latent: [n_features], -1 for none.
    """
    has_latent, truth = latent >= 0, truth.astype(np.float64)
    matched = latents.astype(np.float64)[:, np.where(has_latent, latent, 0)].multiply(has_latent)
    fires, is_true = matched != 0, truth != 0
    n_true, n_latent, n_both = (_column_sums(m) for m in (is_true, fires, fires.multiply(is_true)))
    part, whole = _column_sums(matched.multiply(truth)), _column_sums(fires.multiply(truth.power(2)))
    judged = has_latent & (n_true > 0)

    def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
        return np.where(judged, over / np.maximum(under, 1), np.nan)

    table = pd.DataFrame({
        "latent": latent, "n_true": n_true, "n_latent": n_latent, "precision": ratio(n_both, n_latent),
        "recall": ratio(n_both, n_true), "f1": ratio(2 * n_both, n_true + n_latent),
        "shrinkage": np.divide(part, whole, out=np.full(len(latent), np.nan), where=whole > 0),
    })  # fmt: skip
    return table, part, whole


def _column_sums(matrix: sparse.spmatrix) -> np.ndarray:
    return np.asarray(matrix.sum(0)).ravel()
