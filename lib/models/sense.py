"""Whether a model's tokenizer makes sense of the records it is to read: structure can be right and every base unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.models.adapter import Adapter
from lib.models.tokens import Encoded

UNKNOWN = 0.01  # largest share of known bases that may come as unknown tokens
COVERED = 0.9  # least share of known bases that has to lie under a kept token; a frame may leave some out
PADDED = 256  # embedding rows without a word that a vocabulary padded for speed may have


def token_sense(adapter: Adapter, records: Sequence[str]) -> pd.DataFrame:
    """What the tokenizer makes of sequences, a row each: finding, found, wanted, passed.

    records: sequences of A C G T N, upper case; an N may be unknown to the model, a base may not. Findings: the share of bases
    under an unknown token, the share under a kept one, tokens that tell the four bases apart, the vocabulary against
    the rows of the embedding, and the alphabet's case. A model only on the meta device is enough.
    Raises ValueError without records, or for one that the tokenizer refuses.
    """
    if not records:
        raise ValueError("no records to look at")
    encoded = [adapter.tokenizer.encode(record) for record in records]
    unknown, covered = shares(adapter, records, encoded)
    rows = [
        ("bases under an unknown token (share)", unknown, f"at most {UNKNOWN}", unknown <= UNKNOWN),
        ("bases under a kept token (share)", covered, f"at least {COVERED}", covered >= COVERED),
        _four_bases(adapter),
        _vocabulary(adapter),
        _case(adapter, unknown, records),
    ]
    return pd.DataFrame([row for row in rows if row], columns=["finding", "found", "wanted", "passed"])


def shares(adapter: Adapter, records: Sequence[str], encoded: Sequence[Encoded]) -> tuple[float, float]:
    """Of all bases that are not N: the share under an unknown token, and the share under a kept one."""
    n_bases = n_unknown = n_kept = 0
    for record, e in zip(records, encoded, strict=True):
        base = np.frombuffer(record.encode("latin-1", "replace"), dtype=np.uint8) != ord("N")
        placed = e.start >= 0
        missing = placed & (e.ids == adapter.tokenizer.unk_token_id)
        n_bases += int(base.sum())
        n_unknown += int((base & _under(e, missing, len(record))).sum())
        n_kept += int((base & _under(e, e.keep & ~missing, len(record))).sum())
    return (n_unknown / n_bases, n_kept / n_bases) if n_bases else (0.0, 0.0)


def _under(e: Encoded, tokens: np.ndarray, length: int) -> np.ndarray:
    """Whether each base lies under one of the tokens: [length] bool."""
    edges = np.zeros(length + 1, dtype=int)
    np.add.at(edges, e.start[tokens], 1)
    np.add.at(edges, e.end[tokens], -1)
    return edges[:-1].cumsum() > 0


def _four_bases(adapter: Adapter) -> tuple:
    """Whether runs of A, C, G and T become four different rows of tokens."""
    runs = {tuple(adapter.tokenizer.encode(base * 36).ids.tolist()) for base in "ACGT"}
    return "runs of A, C, G, T told apart", len(runs), "4", len(runs) == 4


def _vocabulary(adapter: Adapter) -> tuple:
    """Whether every word of the tokenizer has a row, and whether most rows have a word."""
    rows = adapter.embedding.weight.shape[0]
    words = 1 + max(adapter.tokenizer.hub.get_vocab().values()) if hasattr(adapter.tokenizer, "hub") else rows
    fits = words <= rows and (rows - words < PADDED or rows < 2 * words)
    return "words of the tokenizer", words, f"about the {rows} rows of the embedding, and no more", fits


def _case(adapter: Adapter, unknown: float, records: Sequence[str]) -> tuple | None:
    """Whether a tokenizer that does not know ACGT knows acgt; None where nothing is unknown."""
    hub = getattr(adapter.tokenizer, "hub", None)
    if unknown <= UNKNOWN or hub is None:
        return None
    text = records[0].replace("N", "")[:200].lower()
    ids = np.array(hub(text, add_special_tokens=False)["input_ids"])
    lower = bool(len(ids)) and (ids == hub.unk_token_id).mean() < min(unknown, 0.5)
    return "alphabet", "acgt" if lower else "neither ACGT nor acgt", "ACGT", False
