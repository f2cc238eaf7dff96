"""Which records go through a model together, and the pass over them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lib.models.adapter import Adapter
from lib.models.tokens import Encoded, TokenBatch


def plan(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Batches of records of like length, each at most `token_budget` tokens with padding. lengths: [record]."""
    order = np.argsort(lengths, kind="stable")[::-1]
    batches, current = [], []
    for unit in order:
        widest = lengths[current[0]] if current else lengths[unit]
        if current and widest * (len(current) + 1) > token_budget:
            batches.append(np.array(current))
            current = []
        current.append(unit)
    return [*batches, np.array(current)] if current else batches


def consecutive(encoded: Sequence[Encoded], token_budget: int) -> Iterator[np.ndarray]:
    """Consecutive records whose batch, padded, has at most `token_budget` tokens, or one record."""
    start, widest = 0, 0
    for i, e in enumerate(encoded):
        widest = max(widest, len(e.ids))
        if i > start and widest * (i + 1 - start) > token_budget:
            yield np.arange(start, i)
            start, widest = i, len(e.ids)
    if encoded:
        yield np.arange(start, len(encoded))


def fitting(widths: Sequence[int], token_budget: int) -> int:
    """How many records, all as wide as the widest, a batch of at most `token_budget` tokens holds: one at least."""
    return max(1, token_budget // max(widths))


def of_size(n_records: int, n: int) -> list[range]:
    """Consecutive batches of n records each."""
    return [range(start, min(start + n, n_records)) for start in range(0, n_records, n)]


def batches(adapter: Adapter, records: Sequence, members: Iterable[Sequence[int]]) -> Iterator[tuple[Sequence[int], TokenBatch]]:
    """Each batch with its members, numbers of records as `plan`, `consecutive` and `of_size` give them; it counts its units from 0.

    records: what the adapter's tokenizer reads, or `Encoded` already. A record is tokenised when its batch is asked for.
    """
    for some in members:
        part = [records[k] if isinstance(records[k], Encoded) else adapter.encode_one(records[k]) for k in some]
        yield some, adapter.collate(part, range(len(part)))
