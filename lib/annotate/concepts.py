"""Concepts on tokens: motif hits and genomic intervals, laid on the model's tokens by one written rule.

Overlap rule: a token belongs to an interval when the overlap covers at least half of the token or half of the
interval. Hits must lie whole inside one window, since the model never sees the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

_CONTIG_SPAN = 10**10  # contig number x this + position: one sortable coordinate


@dataclass(frozen=True)
class Concepts:
    """Concepts laid on a set of tokens.

    table: one row per concept: concept, kind, family, source, n_instances, n_tokens. tokens: bool CSC
    [token, concept]. instances: bool CSR [instance, token]; concept_of: [instance] row of `table`.
    """

    table: pd.DataFrame
    tokens: sparse.csc_matrix
    instances: sparse.csr_matrix
    concept_of: np.ndarray


def linear(contig: pd.Series | np.ndarray, position: np.ndarray, contigs: list[str]) -> np.ndarray:
    """One sortable int64 coordinate for (contig, position)."""
    code = pd.Categorical(contig, categories=contigs).codes.astype(np.int64)
    return code * _CONTIG_SPAN + np.asarray(position, dtype=np.int64)


def overlaps(
    token_start: np.ndarray, token_end: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (interval, token) that meet the overlap rule. Tokens sorted and disjoint; all in linear coordinates."""
    first = np.searchsorted(token_end, start, side="right")
    last = np.searchsorted(token_start, end, side="left")
    count = np.maximum(last - first, 0)
    interval = np.repeat(np.arange(len(start)), count)
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    token = np.repeat(first, count) + offset
    shared = np.minimum(token_end[token], end[interval]) - np.maximum(token_start[token], start[interval])
    enough = (2 * shared >= token_end[token] - token_start[token]) | (2 * shared >= (end - start)[interval])
    return interval[enough], token[enough]


def lay(
    tokens: pd.DataFrame, intervals: pd.DataFrame, kind: str, source: str, min_instances: int = 25
) -> Concepts:
    """Lay intervals (contig, start, end, concept, family) on tokens (contig, ref_start, ref_end, sorted, disjoint).

    Concepts with fewer than `min_instances` instances on these tokens are left out: their F1 would be noise.
    """
    contigs = sorted(set(tokens["contig"]) | set(intervals["contig"]))
    token_start = linear(tokens["contig"], tokens["ref_start"], contigs)
    token_end = linear(tokens["contig"], tokens["ref_end"], contigs)
    if (np.diff(token_start) < 0).any():
        raise ValueError("tokens must be sorted by contig (in name order) and position")
    start = linear(intervals["contig"], intervals["start"], contigs)
    end = linear(intervals["contig"], intervals["end"], contigs)
    interval, token = overlaps(token_start, token_end, start, end)
    touched = np.unique(interval)
    counts = intervals.iloc[touched]["concept"].value_counts()
    names = sorted(counts[counts >= min_instances].index)
    code = pd.Categorical(intervals["concept"], categories=names).codes
    keep = code[interval] >= 0
    interval, token = interval[keep], token[keep]
    instance, row = np.unique(interval, return_inverse=True)
    shape = (len(instance), len(tokens))
    incidence = sparse.csr_matrix((np.ones(len(row), dtype=np.float32), (row, token)), shape=shape)
    on_token = sparse.csc_matrix(
        (np.ones(len(row), dtype=np.float32), (token, code[interval])), shape=(len(tokens), len(names))
    )
    on_token.data[:] = 1
    family = intervals.drop_duplicates("concept").set_index("concept")["family"].reindex(names)
    table = pd.DataFrame({
        "concept": names, "kind": kind, "family": family.to_numpy(), "source": source,
        "n_instances": np.bincount(code[instance], minlength=len(names)),
        "n_tokens": np.asarray((on_token > 0).sum(0)).ravel().astype(int),
    })  # fmt: skip
    return Concepts(table, on_token, incidence, code[instance].astype(int))


def combine(parts: list[Concepts]) -> Concepts:
    """Concepts of several kinds on the same tokens, side by side."""
    offset = np.cumsum([0, *[len(p.table) for p in parts[:-1]]])
    return Concepts(
        pd.concat([p.table for p in parts], ignore_index=True),
        sparse.hstack([p.tokens for p in parts], format="csc"),
        sparse.vstack([p.instances for p in parts], format="csr"),
        np.concatenate([p.concept_of + o for p, o in zip(parts, offset, strict=True)]),
    )


def disjoint_units(units: pd.DataFrame) -> np.ndarray:
    """Units whose windows overlap no earlier kept one: loci of a BED may overlap, and a base must count once.

    units: unit, contig, start, end. Returns unit numbers, in genome order.
    """
    kept, contig, done = [], None, 0
    for place in units.sort_values(["contig", "start"]).itertuples():
        if place.contig != contig or place.start >= done:
            kept.append(place.unit)
            contig, done = place.contig, place.end
    return np.array(kept)


def token_table(columns: dict[str, np.ndarray], units: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Where tokens are: unit, contig, start and end in the unit, ref_start, ref_end; one row a token of `rows`."""
    table = pd.DataFrame({name: np.asarray(columns[name][rows]) for name in ("unit", "start", "end", "ref_start", "ref_end")})
    return table.assign(contig=units["contig"].to_numpy()[table["unit"]])


def shared(first: Concepts, second: Concepts) -> tuple[Concepts, Concepts]:
    """Keep the concepts that both splits hold, in the same order."""
    names = [c for c in first.table["concept"] if c in set(second.table["concept"])]
    return _select(first, names), _select(second, names)


def of_kind(concepts: Concepts, kind: str) -> Concepts:
    """The concepts of one kind."""
    return _select(concepts, concepts.table.loc[concepts.table["kind"] == kind, "concept"].tolist())


def _select(concepts: Concepts, names: list[str]) -> Concepts:
    position = {name: i for i, name in enumerate(concepts.table["concept"])}
    rows = np.array([position[n] for n in names], dtype=int)
    renumber = np.full(len(concepts.table), -1)
    renumber[rows] = np.arange(len(rows))
    code = renumber[concepts.concept_of]
    keep = code >= 0
    return Concepts(
        concepts.table.iloc[rows].reset_index(drop=True), concepts.tokens[:, rows],
        concepts.instances[np.flatnonzero(keep)], code[keep],
    )  # fmt: skip
