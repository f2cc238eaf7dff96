"""Checks of tokens: what they say of the record, their order, and that none is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch

from lib.models.adapter import Adapter
from lib.models.cells import Cell
from lib.models.checks.shared import Measurement
from lib.models.tokens import Encoded


def _encodings(adapter: Adapter, record) -> Iterator[Encoded]:
    """A record's tokens, in every frame where the tokenizer has frames."""
    yield adapter.encode_one(record)
    for frame in range(1, getattr(adapter.tokenizer, "k", 1)):
        yield adapter.encode_one(record, frame=frame)


def round_trip(adapter: Adapter, records: Sequence) -> Measurement:
    """Share of kept tokens, in every frame, whose bases, gene or characters are the record's at their coordinates."""
    right, note = [], ""
    for r, record in enumerate(records):
        for e in _encodings(adapter, record):
            words = adapter.tokenizer.words(e.ids[e.keep].tolist())
            for word, start, end in zip(words, e.start[e.keep].tolist(), e.end[e.keep].tolist(), strict=True):
                source = adapter.tokenizer.source(record, start, end)
                right.append(word == source and 0 <= start < end <= len(record))
                if not right[-1]:
                    note = note or f"record {r}: token {word!r} has {source!r} at {start} to {end} of {len(record)}"
    return Measurement(float(np.mean(right)), note)


def token_order(adapter: Adapter, records: Sequence) -> Measurement:
    """Number of kept tokens that stand before the one they follow, or overlap it where the tokenizer does not mean them to.

    A cell's genes have no order: there it is the number of genes that stand twice.
    """
    wrong, note = 0, ""
    for r, record in enumerate(records):
        for e in _encodings(adapter, record):
            spans = np.stack([e.start[e.keep], e.end[e.keep]], 1)
            if isinstance(record, Cell):
                spans = spans[np.argsort(spans[:, 0], kind="stable")]
            for (s0, e0), (s1, e1) in pairwise(spans.tolist()):
                if s1 < s0 or e1 < e0 or (s1 < e0 and not _may_overlap(adapter.tokenizer, record, s1, e0)):
                    wrong += 1
                    note = note or f"record {r}: {s0} to {e0}, then {s1} to {e1}"
    return Measurement(wrong, note)


def _may_overlap(tokenizer, record, start: int, end: int) -> bool:
    """Whether two tokens may share start to end: words that step by less than their length, and bytes of one letter."""
    steps = getattr(tokenizer, "step", np.inf) < getattr(tokenizer, "k", 0)
    return steps or (isinstance(record, str) and end - start == 1 and not record[start:end].isascii())


def token_accounting(adapter: Adapter, records: Sequence) -> Measurement:
    """Number of tokens of no account: kept + special + unknown is not all of them, or the batch's mask is not the tokens.

    A token may also stand for nothing in the record, as a codon mark does, if the record is covered without it.
    """
    tokenizer, wrong, notes = adapter.tokenizer, 0, []
    encoded = [adapter.encode_one(r) for r in records]
    for r, (record, e) in enumerate(zip(records, encoded)):
        special = np.isin(e.ids, getattr(tokenizer, "special", ()))
        unknown = e.ids == tokenizer.unk_token_id if tokenizer.unk_token_id is not None else np.zeros_like(e.keep)
        covered = len(set().union(*map(range, e.start[e.keep], e.end[e.keep]))) == len(record)
        lost = ~e.keep & ~special & ~unknown
        twice = e.keep & (special | unknown)
        n = (0 if covered else int(lost.sum())) + int(twice.sum())
        wrong += n
        if n:
            notes.append(f"record {r}: tokens {np.flatnonzero(twice | lost)[:3].tolist()} of {len(e.ids)}")
    batch = adapter.collate(encoded, range(len(encoded)))
    place = np.arange(batch.ids.shape[1])
    real = torch.from_numpy(np.stack([place < len(e.ids) for e in encoded]))
    masked = (batch.mask.bool().cpu() != real).sum().item()
    kept = batch.keep.cpu() != torch.from_numpy(
        np.stack([np.pad(e.keep, (0, len(place) - len(e.keep))) for e in encoded])
    )
    if masked:
        notes.append(f"the mask is wrong at {masked} places of the batch")
    return Measurement(wrong + masked + kept.sum().item(), "; ".join(notes[:3]))
