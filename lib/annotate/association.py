"""Which latent fires on which concept: every pair at once by sparse products, chosen on one set of chromosomes, read
once on another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from lib import stats
from lib.annotate.concepts import Concepts

#: Activation thresholds, as shares of the latent's largest activation on the validation chromosomes (InterPLM).
THRESHOLDS = (0.0, 0.15, 0.5, 0.8)


@dataclass(frozen=True)
class PairScores:
    """Every latent against every concept at one threshold: [latent, concept] float32."""

    precision: np.ndarray  # share of the firing tokens that lie in the concept
    recall: np.ndarray  # share of the concept's instances on which the latent fires at least once
    f1: np.ndarray  # their harmonic mean


def fires(latents: sparse.csr_matrix, largest: np.ndarray, threshold: float) -> sparse.csr_matrix:
    """1 where latent / largest > threshold. latents: CSR [token, latent]; largest: [latent]."""
    on = latents.copy()
    on.data = (on.data > threshold * largest[on.indices]).astype(np.float32)
    on.eliminate_zeros()
    return on


def score_pairs(on: sparse.csr_matrix, concepts: Concepts) -> PairScores:
    """Precision per token, recall per instance, F1. on: 0/1 CSR [token, latent]."""
    n_fired = np.maximum(np.asarray(on.sum(0)).ravel(), 1)[:, None]
    hits = (concepts.tokens.T @ on).toarray().T
    touched = concepts.instances @ on
    touched.data[:] = 1
    n_concepts = len(concepts.table)
    member = sparse.csr_matrix(
        (np.ones(len(concepts.concept_of), dtype=np.float32), (concepts.concept_of, np.arange(len(concepts.concept_of)))),
        shape=(n_concepts, len(concepts.concept_of)),
    )
    found = (member @ touched).toarray().T
    precision = hits / n_fired
    recall = found / np.maximum(concepts.table["n_instances"].to_numpy(), 1)[None, :]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return PairScores(precision.astype(np.float32), recall.astype(np.float32), f1.astype(np.float32))


def _best(latents: sparse.csr_matrix, concepts: Concepts, axis: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Highest F1 over the thresholds, for each latent (axis 1) or for each concept (axis 0)."""
    largest = latents.max(0).toarray().ravel()
    n = len(concepts.table) if axis == 0 else latents.shape[1]
    best = pd.DataFrame({"partner": np.zeros(n, dtype=int), "threshold": 0.0, "f1": -1.0})
    for threshold in THRESHOLDS:
        f1 = score_pairs(fires(latents, largest, threshold), concepts).f1
        value, partner = f1.max(axis), f1.argmax(axis)
        better = value > best["f1"].to_numpy()
        best.loc[better, "partner"] = partner[better]
        best.loc[better, "threshold"] = threshold
        best.loc[better, "f1"] = value[better]
    return best, largest


def _named(latent: np.ndarray, concept_row: np.ndarray, best: pd.DataFrame, largest: np.ndarray, concepts: Concepts) -> pd.DataFrame:
    named = concepts.table.iloc[concept_row].reset_index(drop=True)
    return pd.DataFrame({
        "latent": latent, "concept_row": concept_row, "threshold": best["threshold"], "f1_validation": best["f1"],
        "largest": largest[latent], "concept": named["concept"], "kind": named["kind"], "family": named["family"],
    })  # fmt: skip


def choose(latents: sparse.csr_matrix, concepts: Concepts) -> pd.DataFrame:
    """For each latent, the concept and threshold of the highest F1. Run this on the validation chromosomes.

    Returns latent, concept_row, threshold, f1_validation, largest, concept, kind, family; one row a latent.
    """
    best, largest = _best(latents, concepts, axis=1)
    return _named(np.arange(latents.shape[1]), best["partner"].to_numpy(), best, largest, concepts)


def choose_latents(latents: sparse.csr_matrix, concepts: Concepts) -> pd.DataFrame:
    """For each concept, the latent and threshold of the highest F1. Columns as in `choose`; one row a concept."""
    best, largest = _best(latents, concepts, axis=0)
    return _named(best["partner"].to_numpy(), np.arange(len(concepts.table)), best, largest, concepts)


def read(latents: sparse.csr_matrix, concepts: Concepts, chosen: pd.DataFrame, n_shifts: int, seed: int, tested_f1: float = 0.1) -> pd.DataFrame:
    """Score the chosen pairs, thresholds frozen. Run this once, on the test chromosomes.

    Adds n_fired, precision, recall, f1, auroc, and from circular shifts of the activation track along the tokens
    (by at least 1/20 of them): precision expected, z, one-sided p, q (Benjamini-Hochberg over latents that fire).
    A pair with F1 below `tested_f1` can claim nothing: it is not shifted and keeps p = 1, still counted as a test.
    """
    rng = np.random.default_rng(seed)
    n = latents.shape[0]
    shifts = rng.integers(n // 20, n - n // 20, n_shifts)
    columns = latents.tocsc()
    members: dict[int, np.ndarray] = {}
    instances: dict[int, sparse.csr_matrix] = {}
    rows = []
    for pair in chosen.itertuples():
        c = pair.concept_row
        if c not in members:
            members[c] = concepts.tokens[:, c].toarray().ravel() > 0
            instances[c] = concepts.instances[np.flatnonzero(concepts.concept_of == c)]
        column = columns[:, pair.latent]
        at, value = column.indices, column.data
        on = at[value > pair.threshold * pair.largest]
        fired = np.zeros(n, dtype=np.float32)
        fired[on] = 1
        precision = members[c][on].mean() if len(on) else 0.0
        recall = ((instances[c] @ fired) > 0).mean()
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        row = {"n_fired": len(on), "precision": precision, "recall": recall, "f1": f1,
               "auroc": _sparse_auroc(at, value, members[c])}  # fmt: skip
        rows.append(row | _shift_null(on if f1 >= tested_f1 else on[:0], members[c], shifts))
    out = pd.concat([chosen.reset_index(drop=True), pd.DataFrame(rows)], axis=1)
    alive = (out["n_fired"] > 0).to_numpy()
    q = np.ones(len(out))
    q[alive] = stats.benjamini_hochberg(out["p"].to_numpy()[alive])
    return out.assign(q=q)


def _sparse_auroc(at: np.ndarray, value: np.ndarray, member: np.ndarray) -> float:
    """AUROC of a mostly zero track for a boolean concept: zeros tie at the bottom."""
    n, n1 = len(member), int(member.sum())
    if n1 == 0 or n1 == n:
        return float("nan")
    from scipy.stats import rankdata

    n_zero = n - len(at)
    inside = member[at]
    ranks = n_zero + rankdata(value) if len(at) else np.empty(0)
    rank_sum = ranks[inside].sum() + (n1 - inside.sum()) * (n_zero + 1) / 2
    return float((rank_sum - n1 * (n1 + 1) / 2) / (n1 * (n - n1)))


def _shift_null(on: np.ndarray, member: np.ndarray, shifts: np.ndarray) -> dict[str, float]:
    """Where the firing tokens land when the track is shifted along the sequence, its own clustering kept.

    p is empirical, (b + 1) / (n + 1): no smaller than the number of shifts can support. z is descriptive.
    """
    if not len(on):
        return {"precision_null": np.nan, "z": np.nan, "p": 1.0}
    observed = member[on].mean()
    null = np.array([member[(on + s) % len(member)].mean() for s in shifts])
    sd = null.std(ddof=1)
    z = (observed - null.mean()) / sd if sd > 0 else np.nan
    return {"precision_null": null.mean(), "z": z, "p": (1 + (null >= observed).sum()) / (1 + len(null))}


def dense_to_latents(x: np.ndarray, mean: np.ndarray) -> sparse.csr_matrix:
    """Raw dimensions as rival "latents": the positive and the negative part of each centred dimension.

    x: [token, d]; mean: [d]. Returns CSR [token, 2 d]. The null "raw neurons".
    """
    centred = np.asarray(x, dtype=np.float32) - mean
    return sparse.csr_matrix(np.concatenate([np.maximum(centred, 0), np.maximum(-centred, 0)], axis=1))
