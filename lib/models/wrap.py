"""Which of our tokenizers reads a tokenizer's files."""

from __future__ import annotations

from lib.models import kmers, text
from lib.models.tokens import BaseTokenizer, Tokenizer, source_words


def wrap(hub) -> Tokenizer:
    """The tokenizer of ours that gives the ids of one of transformers', with coordinates."""
    words = source_words(hub)
    if all(len(w) == 1 and w == w.upper() for w in words) and set("ACGT") <= set(words):
        return BaseTokenizer(hub)
    return kmers.wrap(hub) or text.wrap(hub) or Tokenizer(hub)
