"""Which latent fires on which concept: every pair screened on one set of chromosomes, read once on another.

`screen` fixes each pair's threshold and each latent's scale; `read_pairs` tests the screened pairs on other tokens
against circular shifts, with every pair of the run in the family; `claimed` applies the written bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate import odds, pairs, shifts
from lib.annotate.concepts import Concepts
from lib.annotate.pairs import THRESHOLDS
from lib.stats import multiplicity

#: Latents as CSR [token, latent], or the same in blocks of columns, for rivals too dense to hold at once.
Latents = sparse.csr_matrix | Iterable[sparse.csr_matrix]


@dataclass(frozen=True)
class Screen:
    """What the validation chromosomes decided. largest: [latent] scale; f1, threshold: [concept, latent] best F1 over
    thresholds and where it was reached; table: the concepts, as in `Concepts`."""

    table: pd.DataFrame
    largest: np.ndarray
    threshold: np.ndarray
    f1: np.ndarray

    def above(self, floor: float) -> pd.DataFrame:
        """Pairs with F1 of at least `floor`: latent, concept_row, threshold, largest, f1_validation; best first."""
        row, latent = np.nonzero(self.f1 >= floor)
        return self.rows(latent, row).sort_values("f1_validation", ascending=False, kind="stable", ignore_index=True)

    def rows(self, latent: np.ndarray, concept_row: np.ndarray) -> pd.DataFrame:
        """The named pairs, with concept, kind and family."""
        named = self.table.iloc[concept_row].reset_index(drop=True)
        return pd.DataFrame({
            "latent": latent, "concept_row": concept_row, "threshold": self.threshold[concept_row, latent],
            "f1_validation": self.f1[concept_row, latent], "largest": self.largest[latent],
            "concept": named["concept"], "kind": named["kind"], "family": named["family"],
        })  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What the test chromosomes said. pairs: one row a screened pair; latents: one row a latent with such a pair;
    n_tests: pairs in the family, read or not; blocks: where shifts were drawn (`Shifts.table`)."""

    pairs: pd.DataFrame
    latents: pd.DataFrame
    n_tests: int
    blocks: pd.DataFrame


def _blocks(latents: Latents) -> Iterator[tuple[int, sparse.csr_matrix]]:
    first = 0
    for block in [latents] if sparse.issparse(latents) else latents:
        yield first, block
        first += block.shape[1]


def screen(latents: Latents, concepts: Concepts, thresholds: tuple[float, ...] = THRESHOLDS) -> Screen:
    """Best F1 of every pair over the thresholds, the lowest threshold on ties. Run this on the validation chromosomes."""
    largest, threshold, f1 = [], [], []
    for _, block in _blocks(latents):
        largest.append(pairs.largest_of(block))
        every = pairs.score_pairs(block, concepts, largest[-1], thresholds=thresholds).f1
        threshold.append(np.asarray(thresholds)[every.argmax(-1)].astype(np.float32))
        f1.append(every.max(-1))
    return Screen(concepts.table, np.concatenate(largest), np.hstack(threshold), np.hstack(f1))


def read_pairs(
    latents: Latents, concepts: Concepts, screened: Screen, drawn: shifts.Shifts, strata: np.ndarray, unit: np.ndarray,
    floor: float = 0.1,
) -> Reading:  # fmt: skip
    """Read every pair of validation F1 >= `floor`, thresholds and scales frozen. Run this once, on the test chromosomes.

    latents, concepts: on the test tokens, latents and concepts as screened. strata: [token] confounder stratum.
    unit: [token] window. Pairs below the floor are not read: they keep p = 1 and count in the family, which is every
    latent times every concept. Columns of `pairs`: those of `Screen.above`; n_fired, hits, precision, recall, f1,
    auroc; odds_ratio (Mantel-Haenszel over strata) with or_low, or_high (95 % score interval, `odds`,
    which takes tokens as independent); those of `shift_null`; q over the family, q_latent (Simes over a latent's concepts,
    Benjamini-Hochberg over latents). Raises ValueError when the concepts are not those screened.
    """
    if not np.array_equal(screened.table["concept"], concepts.table["concept"]):
        raise ValueError("the concepts are not those screened, or not in their order: see features.shared")
    chosen, parts = screened.above(floor), []
    for first, block in _blocks(latents):
        in_block = chosen[chosen["latent"].between(first, first + block.shape[1] - 1)].reset_index(drop=True)
        if parts and not len(in_block):
            continue
        local = in_block["latent"].to_numpy() - first
        null = shifts.shift_null(block, concepts, local, in_block["concept_row"].to_numpy(), _limit(in_block), drawn, strata, unit)
        parts.append(pd.concat([in_block, _score(block, concepts, in_block, local, strata), null], axis=1))
    table = pd.concat(parts, ignore_index=True)
    n_concepts, n_latents = screened.f1.shape
    table["q"], by_latent = multiplicity.two_stage(table["latent"].to_numpy(), table["p"].to_numpy(), n_latents, n_concepts)
    table = table.merge(by_latent[["latent", "q"]].rename(columns={"q": "q_latent"}), on="latent", how="left")
    return Reading(table, by_latent, n_latents * n_concepts, drawn.table())


def claimed(
    table: pd.DataFrame, rival: pd.Series | None = None, alpha: float = 0.05, f1_floor: float = 0.5, auroc_floor: float = 0.7,
    margin: float = 0.05,
) -> pd.Series:  # fmt: skip
    """Whether a pair read on test may be claimed: q and q_latent below alpha, adjusted odds ratio with interval above 1,
    F1 above its floor or AUROC at least its own, and, given the best F1 of a rival by concept, F1 that much above it."""
    significant = (table["q"] < alpha) & (table["q_latent"] < alpha) & (table["or_low"] > 1)
    large = (table["f1"] > f1_floor) | (table["auroc"] >= auroc_floor)
    if rival is not None:
        large &= table["f1"] - table["concept"].map(rival).fillna(0) >= margin
    return significant & large


def _limit(chosen: pd.DataFrame) -> np.ndarray:
    return chosen["largest"].to_numpy(np.float32) * chosen["threshold"].to_numpy(np.float32)


def _score(block, concepts: Concepts, chosen: pd.DataFrame, latent: np.ndarray, strata: np.ndarray) -> pd.DataFrame:
    """Counts, AUROC and odds ratio of the chosen pairs, one row each. latent: their columns in `block`."""
    used, column = np.unique(latent, return_inverse=True)
    largest = np.zeros(len(used), np.float32)
    largest[column] = chosen["largest"]
    levels, level = np.unique(chosen["threshold"].to_numpy(np.float32), return_inverse=True)
    scores = pairs.score_pairs(block[:, used], concepts, largest, strata, tuple(levels.tolist()))
    at = (chosen["concept_row"].to_numpy(), column, level)
    n_fired, hits = scores.n_fired[at[1:]], scores.hits[at]
    precision, recall = hits / np.maximum(n_fired, 1), scores.hit_instances[at] / np.maximum(scores.n_instances[at[0]], 1)
    low, high = odds.score_intervals(
        block.tocsc(), concepts.tokens.tocsc(), latent, chosen["concept_row"].to_numpy(), _limit(chosen), strata
    )
    with np.errstate(over="ignore"):
        ratio = {"odds_ratio": np.exp(scores.log_odds[at].astype(float)), "or_low": low, "or_high": high}
    return pd.DataFrame({
        "n_fired": n_fired, "hits": hits, "precision": precision, "recall": recall, "f1": pairs.harmonic(precision, recall),
        "auroc": scores.auroc[at[:2]], **ratio,
    })  # fmt: skip
