"""Every latent against every concept at once: counts, AUROC and stratified odds ratios, in one pass over the hits.

Only tokens inside a concept and latents that fire on them are touched, so the work is (concept tokens) x L0, whatever
the number of tokens or latents. All counts are integers: results do not depend on the number of threads.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

from lib.annotate.concepts import Concepts

#: Activation thresholds, as shares of the latent's largest activation on the validation chromosomes (InterPLM).
THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)
_BITS = 3  # of a packed entry: latent << _BITS | number of thresholds passed
_BLOCK = 64  # concepts a round; bounds the scratch memory

_PARALLEL = {"parallel": True, "cache": True}


@dataclass(frozen=True)
class PairScores:
    """Every concept against every latent at every threshold. Arrays of pairs: [concept, latent, threshold].

    hits: tokens of the concept on which the latent fires; hit_instances: instances of the concept with such a token.
    auroc: [concept, latent], of the activation itself. log_odds: Mantel-Haenszel log odds ratio over strata, NaN where
    undefined, infinite where no stratum has a token that speaks against the association; its interval is in
    `lib.annotate.odds`. n_fired: [latent, threshold]; n_tokens, n_instances: [concept].
    """

    thresholds: tuple[float, ...]
    hits: np.ndarray
    hit_instances: np.ndarray
    auroc: np.ndarray
    log_odds: np.ndarray
    n_fired: np.ndarray
    n_tokens: np.ndarray
    n_instances: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Share of the firing tokens that lie in the concept; 0 where the latent is silent. float32."""
        return self.hits / np.maximum(self.n_fired, 1)[None].astype(np.float32)

    @property
    def recall(self) -> np.ndarray:
        """Share of the concept's instances on which the latent fires at least once; 0 without instances. float32."""
        return self.hit_instances / np.maximum(self.n_instances, 1)[:, None, None].astype(np.float32)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision (of tokens) and recall (of instances); 0 where both are. float32."""
        f1 = np.empty(self.hits.shape, dtype=np.float32)
        for concept in range(len(f1)):
            f1[concept] = harmonic(
                self.hits[concept] / np.maximum(self.n_fired, 1), self.hit_instances[concept] / max(self.n_instances[concept], 1)
            )
        return f1


def harmonic(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """2 p r / (p + r), 0 where both are 0."""
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def checked(latents: sparse.csr_matrix) -> sparse.csr_matrix:
    """Latents as float32 CSR [token, latent], each entry once. Raises ValueError on a negative or non-finite one."""
    latents = sparse.csr_matrix(latents)
    if not latents.has_canonical_format:
        latents = latents.copy()
        latents.sum_duplicates()
    data = latents.data.astype(np.float32, copy=False)
    if len(data) and not (data.min() >= 0 and data.max() < np.inf):
        raise ValueError(f"latents range from {data.min()} to {data.max()}, expected finite and not negative")
    return sparse.csr_matrix((data, latents.indices, latents.indptr), shape=latents.shape, copy=False)


def largest_of(latents: sparse.csr_matrix) -> np.ndarray:
    """Largest activation of each latent, 0 where silent. [latent] float32."""
    latents = checked(latents)
    return _largest(latents.indices, latents.data, latents.shape[1])


def limits_of(largest: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS) -> np.ndarray:
    """A latent fires above these activations. [latent, threshold] float32."""
    return np.asarray(largest, dtype=np.float32)[:, None] * np.asarray(thresholds, dtype=np.float32)[None]


def score_pairs(
    latents: sparse.csr_matrix, concepts: Concepts, largest: np.ndarray | None = None, strata: np.ndarray | None = None,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> PairScores:  # fmt: skip
    """Score every pair at every threshold; a latent fires where its activation > threshold x largest.

    latents: CSR [token, latent], not negative. largest: [latent], the frozen scale; by default of these tokens.
    strata: [token] stratum of each token's confounders, for the odds ratio; by default one stratum.
    thresholds: ascending, at most 7. Raises ValueError on shapes that differ and on negative activations.
    Sources: F1 as InterPLM; odds ratio Mantel and Haenszel 1959.
    """
    latents = checked(latents)
    n, n_latents = latents.shape
    largest = _largest(latents.indices, latents.data, n_latents) if largest is None else np.asarray(largest)
    stratum, n_strata = dense_codes(strata, n)
    if concepts.tokens.shape[0] != n or len(largest) != n_latents:
        raise ValueError(f"concepts on {concepts.tokens.shape[0]} tokens and {len(largest)} scales for latents {latents.shape}")
    if len(thresholds) >= 1 << _BITS or any(np.diff(thresholds) <= 0):
        raise ValueError(f"thresholds {thresholds}: expected at most {(1 << _BITS) - 1}, ascending")
    packed = _pack(latents.indices, latents.data, limits_of(largest, thresholds))
    excess, n_zero = _rank_excess(latents.indices, latents.data, n, n_latents)
    fired = _suffix_sum(_fired(
        latents.indptr, packed, stratum, n_strata, n_latents, len(thresholds), numba.get_num_threads()))
    in_stratum = np.bincount(stratum, minlength=n_strata)
    tokens = concepts.tokens.tocsc()
    counted = _count_all(tokens, latents.indptr, packed, excess, stratum, in_stratum, fired)
    hits, rank, log_odds = counted
    by_concept = np.argsort(concepts.concept_of, kind="stable")
    first = np.searchsorted(concepts.concept_of[by_concept], np.arange(tokens.shape[1] + 1))
    instances = concepts.instances.tocsr()
    hit_instances = _hit_instances(
        first, by_concept, instances.indptr, instances.indices, latents.indptr, packed, n_latents, len(thresholds)
    )
    n_tokens = np.diff(tokens.indptr).astype(np.int64)
    return PairScores(
        tuple(thresholds), hits, hit_instances, _auroc(rank, n_tokens, n_zero, n), log_odds,
        fired.sum(0, dtype=np.int64), n_tokens, np.diff(first),
    )  # fmt: skip


def dense_codes(codes: np.ndarray | None, n: int) -> tuple[np.ndarray, int]:
    """Codes renumbered 0, 1, ... without gaps, and how many there are; one code for all when None. [n] int32."""
    if codes is None:
        return np.zeros(n, dtype=np.int32), 1
    if len(codes) != n:
        raise ValueError(f"{len(codes)} codes for {n} tokens")
    values, code = np.unique(codes, return_inverse=True)
    return code.astype(np.int32).ravel(), len(values)


def members_by_stratum(tokens: sparse.csc_matrix, stratum: np.ndarray, n_strata: int) -> np.ndarray:
    """Tokens of each concept in each stratum. [concept, stratum] float64."""
    n_concepts = tokens.shape[1]
    cell = np.repeat(np.arange(n_concepts), np.diff(tokens.indptr)) * n_strata + stratum[tokens.indices]
    return np.bincount(cell, minlength=n_concepts * n_strata).reshape(n_concepts, n_strata).astype(float)


def _count_all(tokens, indptr, packed, excess, stratum, in_stratum, fired) -> tuple[np.ndarray, ...]:
    """hits [C, L, T], rank sums over the silent rank, doubled [C, L], and log odds ratios [C, L, T]."""
    n_strata, n_latents, n_levels = fired.shape
    n_concepts = tokens.shape[1]
    shape = (n_concepts, n_latents, n_levels)
    hits, rank = np.zeros(shape, np.int32), np.zeros(shape[:2], np.int64)
    log_odds = np.empty(shape, np.float32)
    members = members_by_stratum(tokens, stratum, n_strata)
    inside = in_stratum.astype(float)
    flat = fired.reshape(n_strata, -1).astype(float)
    for start in range(0, n_concepts, _BLOCK):
        part = slice(start, start + _BLOCK)
        share = members[part] / inside
        base_s = share @ flat  # the sum over strata of S had no firing token been a member: n1 m1 / n
        _count(
            tokens.indptr[start : start + len(share) + 1], tokens.indices, indptr, packed, excess, stratum, inside, members[part],
            fired, base_s.reshape(len(share), n_latents, n_levels), hits[part], rank[part], log_odds[part],
        )  # fmt: skip
    return hits, rank, log_odds


def _auroc(rank: np.ndarray, n_tokens: np.ndarray, n_zero: np.ndarray, n: int) -> np.ndarray:
    """AUROC from doubled rank sums over the silent rank, which is (n_zero + 1) / 2; NaN without both classes."""
    auroc = np.full(rank.shape, np.nan, dtype=np.float32)
    for concept in np.flatnonzero((n_tokens > 0) & (n_tokens < n)):
        n1 = int(n_tokens[concept])
        twice = rank[concept] + n1 * (n_zero + 1) - n1 * (n1 + 1)
        auroc[concept] = twice / (2.0 * n1 * (n - n1))
    return auroc


def _suffix_sum(counts: np.ndarray) -> np.ndarray:
    """Tokens that pass exactly so many thresholds -> tokens that pass at least each. Last axis."""
    return np.ascontiguousarray(np.cumsum(counts[..., ::-1], axis=-1, dtype=counts.dtype)[..., ::-1])


@numba.njit(cache=True)
def _largest(indices, data, n_latents):
    largest = np.zeros(n_latents, np.float32)
    for i in range(len(indices)):
        largest[indices[i]] = max(largest[indices[i]], data[i])
    return largest


@numba.njit(**_PARALLEL)
def _pack(indices, data, limits):
    """Each entry's latent and the number of thresholds it passes, in one int32."""
    packed = np.empty(len(indices), np.int32)
    for i in numba.prange(len(indices)):
        latent, level = indices[i], 0
        while level < limits.shape[1] and data[i] > limits[latent, level]:
            level += 1
        packed[i] = latent << _BITS | level
    return packed


def _rank_excess(indices: np.ndarray, data: np.ndarray, n: int, n_latents: int) -> tuple[np.ndarray, np.ndarray]:
    """Twice an entry's midrank among the latent's n tokens, less twice the midrank of its silent tokens, of which
    there are n_zero. [entry] int32, [latent] int64."""
    first, keys = _by_latent(indices, data.view(np.uint32), n_latents)
    for start, end in itertools.pairwise(first):
        keys[start:end].sort()  # numpy's sort has vector instructions
    return _walk_ranks(first, keys, len(indices), n), n - np.diff(first)


@numba.njit(cache=True)
def _by_latent(indices, bits, n_latents):
    """Positive entries grouped by latent, each as activation bits << 32 | entry: such keys sort by activation."""
    n_positive = np.zeros(n_latents + 1, np.int64)
    for i in range(len(indices)):
        n_positive[indices[i] + 1] += bits[i] > 0
    first = np.cumsum(n_positive)
    at, keys = first[:-1].copy(), np.empty(first[-1], np.uint64)
    for i in range(len(indices)):
        if bits[i] > 0:
            keys[at[indices[i]]] = np.uint64(bits[i]) << np.uint64(32) | np.uint64(i)
            at[indices[i]] += 1
    return first, keys


@numba.njit(**_PARALLEL)
def _walk_ranks(first, keys, n_entries, n):
    excess = np.zeros(n_entries, np.int32)
    for latent in numba.prange(len(first) - 1):
        low, end = first[latent], first[latent + 1]
        while low < end:
            high = low
            while high < end and keys[high] >> np.uint64(32) == keys[low] >> np.uint64(32):
                high += 1
            twice = n - (end - first[latent]) + (low - first[latent]) + (high - first[latent])
            for at in range(low, high):
                excess[keys[at] & np.uint64(0xFFFFFFFF)] = twice
            low = high
    return excess


@numba.njit(**_PARALLEL)
def _fired(indptr, packed, stratum, n_strata, n_latents, n_levels, n_parts):
    """Tokens by stratum, latent and number of thresholds passed (from 1), in n_parts parallel parts. [S, L, T] int32."""
    parts = np.zeros((n_parts, n_strata, n_latents, n_levels), np.int32)
    n = len(stratum)
    for part in numba.prange(n_parts):
        for token in range(part * n // n_parts, (part + 1) * n // n_parts):
            counts = parts[part, stratum[token]]
            for i in range(indptr[token], indptr[token + 1]):
                level = packed[i] & 7
                if level:
                    counts[packed[i] >> _BITS, level - 1] += 1
    for part in range(1, n_parts):
        parts[0] += parts[part]
    return parts[0]


@numba.njit(**_PARALLEL)
def _count(
    first, token, indptr, packed, excess, stratum, inside, members, fired, base_s, hits, rank, log_odds
):  # fmt: skip
    """One block of concepts; fills hits, rank, log_odds.

    In a stratum of n tokens, n1 of them in the concept and m1 firing, a of them both: R = a (n - n1 - m1 + a) / n,
    S = (n1 - a)(m1 - a) / n, and the odds ratio is sum R / sum S. Strata with a = 0 are in base_s; those with a > 0 are
    corrected as they are met.
    """
    n_latents, n_levels = hits.shape[1:]
    for c in numba.prange(len(members)):
        tokens = token[first[c] : first[c + 1]]
        tokens = tokens[np.argsort(stratum[tokens], kind="mergesort")]
        here = np.zeros((n_latents, n_levels), np.int32)
        seen = np.full(n_latents, -1, np.int32)
        touched = np.empty(n_latents, np.int32)
        sums = np.zeros((n_latents, n_levels, 2))  # R, S - base
        at = 0
        while at < len(tokens):
            s, n_touched = stratum[tokens[at]], 0
            while at < len(tokens) and stratum[tokens[at]] == s:
                for i in range(indptr[tokens[at]], indptr[tokens[at] + 1]):
                    latent, level = packed[i] >> _BITS, packed[i] & 7
                    rank[c, latent] += excess[i]
                    if level:
                        if seen[latent] != s:
                            seen[latent] = s
                            touched[n_touched] = latent
                            n_touched += 1
                        here[latent, level - 1] += 1
                at += 1
            per, n1 = 1 / inside[s], members[c, s]
            rest = inside[s] - n1
            for latent in touched[:n_touched]:
                a = 0
                for t in range(n_levels - 1, -1, -1):
                    a += here[latent, t]
                    here[latent, t] = 0
                    if a == 0:
                        continue
                    hits[c, latent, t] += a
                    m1 = float(fired[s, latent, t])
                    sums[latent, t, 0] += a * (rest - m1 + a) * per
                    sums[latent, t, 1] += a * (a - n1 - m1) * per
        for latent in range(n_latents):
            for t in range(n_levels):
                log_odds[c, latent, t] = _log_ratio(sums[latent, t, 0], sums[latent, t, 1], base_s[c, latent, t])


@numba.njit(cache=True)
def _log_ratio(r, s_less_base, base_s):
    """log(r / s); NaN for 0 / 0, infinite where one of the two is 0."""
    s = base_s + s_less_base
    if s < 1e-12 * base_s:
        s = 0.0  # what rounding left of a difference of equals
    if r > 0 and s > 0:
        return np.log(r / s)
    return np.nan if r == s else (np.inf if r > 0 else -np.inf)


@numba.njit(**_PARALLEL)
def _hit_instances(first, by_concept, instance_ptr, instance_token, indptr, packed, n_latents, n_levels):
    """Instances with a firing token. [C, L, T] int32."""
    counts = np.zeros((len(first) - 1, n_latents, n_levels), np.int32)
    for c in numba.prange(len(first) - 1):
        best, touched = np.zeros(n_latents, np.int8), np.empty(n_latents, np.int32)
        for instance in by_concept[first[c] : first[c + 1]]:
            n_touched = 0
            for token in instance_token[instance_ptr[instance] : instance_ptr[instance + 1]]:
                for i in range(indptr[token], indptr[token + 1]):
                    latent, level = packed[i] >> _BITS, packed[i] & 7
                    if level > best[latent]:
                        if best[latent] == 0:
                            touched[n_touched] = latent
                            n_touched += 1
                        best[latent] = level
            for latent in touched[:n_touched]:
                counts[c, latent, best[latent] - 1] += 1
                best[latent] = 0
        for latent in range(n_latents):
            for t in range(n_levels - 2, -1, -1):
                counts[c, latent, t] += counts[c, latent, t + 1]
    return counts
