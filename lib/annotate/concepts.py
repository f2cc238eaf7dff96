"""Concepts on tokens: motif hits and genomic intervals, laid on the model's tokens by one written rule.

Overlap rule: a token belongs to an interval when the overlap covers at least half of the token or half of the
interval. Hits must lie whole inside one window, since the model never sees the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from lib.genome import compiled
from lib.genome import sequence as sq
from lib.genome.motifs import Motif

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


def motif_hits(windows: pd.DataFrame, sequences: list[str], motifs: tuple[Motif, ...], p_value: float = 1e-4) -> pd.DataFrame:
    """FIMO hits (memelite) on both strands, each strand a concept of its own: a model reads one strand, and the two of a
    motif that is not its own reverse complement are different words.

    windows: contig, start, end, one row per sequence. Returns contig, start, end, concept (matrix id, name and strand),
    family; one row per hit, whole inside its window.
    """
    import memelite

    compiled.keep("memelite.fimo")
    length = np.array([len(s) for s in sequences])
    longest = length.max()
    codes = np.full((len(sequences), longest), 4, dtype=np.uint8)
    for row, text in enumerate(sequences):
        codes[row, : len(text)] = sq.encode(text)
    names = {f"{m.matrix_id} {m.name}": m for m in motifs}
    found = memelite.fimo({n: m.pwm for n, m in names.items()}, sq.one_hot(codes), threshold=p_value)
    contig, offset = windows["contig"].to_numpy(), windows["start"].to_numpy()
    parts = []
    for name, hits in zip(names, found, strict=True):
        row, start = hits["sequence_name"].to_numpy(int), hits["start"].to_numpy(int)
        width = names[name].width
        whole = start + width <= length[row]  # a short sequence is padded, and a flat motif would hit the padding
        row, start, strand = row[whole], start[whole], hits["strand"].to_numpy()[whole]
        parts.append(pd.DataFrame({"contig": contig[row], "start": offset[row] + start,
                                   "end": offset[row] + start + width, "concept": f"{name} " + pd.Series(strand, dtype=object),
                                   "family": names[name].family}))  # fmt: skip
    return pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)


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
