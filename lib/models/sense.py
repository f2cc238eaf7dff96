"""Whether a model's tokenizer makes sense of the records it is to read: structure can be right and every base unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.models.adapter import Adapter
from lib.models.genes import GeneTokenizer
from lib.models.mrna import MRNATokenizer
from lib.models.tokens import Encoded

UNKNOWN = 0.01  # largest share of known bases that may come as unknown tokens
UNKNOWN_TEXT = 0.1  # the same of letters of a text, where a rare sign may be unknown
COVERED = 0.9  # least share of known bases that has to lie under a kept token; a frame may leave some out
PADDED = 256  # embedding rows without a word that a vocabulary padded for speed may have


def kind_of(adapter: Adapter) -> str:
    """What the model reads: "cells", "mRNA", "DNA" or "text". A vocabulary of DNA is one that merged nothing but bases."""
    if isinstance(adapter.tokenizer, GeneTokenizer):
        return "cells"
    if isinstance(adapter.tokenizer, MRNATokenizer):
        return "mRNA"
    return "DNA" if adapter.tokenizer.letters else "text"


def token_sense(adapter: Adapter, records: Sequence[str], dna: bool = True) -> pd.DataFrame:
    """What the tokenizer makes of sequences, a row each: finding, found, wanted, passed.

    records: sequences of A C G T N, upper case; an N may be unknown to the model, a base may not. Findings: the share of bases
    under an unknown token, the share under a kept one, tokens that tell the four bases apart, the vocabulary against
    the rows of the embedding, and the alphabet's case. A model only on the meta device is enough. dna: False takes records
    as text, of which only the unknown share and the vocabulary are judged.
    Raises ValueError without records, or for one that the tokenizer refuses.
    """
    if not records:
        raise ValueError("no records to look at")
    encoded = [adapter.tokenizer.encode(record) for record in records]
    unknown, covered = shares(adapter, records, encoded, "N" if dna else "")
    if not dna:
        return _table([("letters under an unknown token (share)", unknown, f"at most {UNKNOWN_TEXT}", unknown <= UNKNOWN_TEXT),
                       _vocabulary(adapter)])
    return _table([
        ("bases under an unknown token (share)", unknown, f"at most {UNKNOWN}", unknown <= UNKNOWN),
        ("bases under a kept token (share)", covered, f"at least {COVERED}", covered >= COVERED),
        _four_bases(adapter),
        _vocabulary(adapter),
        _case(adapter, unknown, records),
    ])


def _table(rows: list[tuple | None]) -> pd.DataFrame:
    return pd.DataFrame([row for row in rows if row], columns=["finding", "found", "wanted", "passed"])


def shares(adapter: Adapter, records: Sequence[str], encoded: Sequence[Encoded], gap: str = "N") -> tuple[float, float]:
    """Of all bases but the gap letter: the share under an unknown token, and the share under a kept one.

    A word with a gap in it may be unknown; the bases that it alone holds are not counted.
    """
    n_bases = n_unknown = n_kept = 0
    for record, e in zip(records, encoded, strict=True):
        base = np.array([letter != gap for letter in record], dtype=bool)
        n_before = np.append(0, (~base).cumsum())
        missing = (e.start >= 0) & (e.ids == adapter.tokenizer.unk_token_id)
        holds_n = (e.start >= 0) & (n_before[e.end] > n_before[e.start])
        kept = _under(e, e.keep & ~missing, len(record))
        unknown = _under(e, missing & ~holds_n, len(record))
        counted = base & (kept | unknown | ~_under(e, missing & holds_n, len(record)))
        n_bases, n_unknown, n_kept = n_bases + counted.sum(), n_unknown + (counted & unknown).sum(), n_kept + (counted & kept).sum()
    return (float(n_unknown / n_bases), float(n_kept / n_bases)) if n_bases else (0.0, 0.0)


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
