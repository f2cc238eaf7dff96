"""Tokens of text: spans of characters for byte-level (GPT-2, Pythia, Phi, Llama 3) and SentencePiece (Gemma) vocabularies."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lib.models.tokens import Encoded, Tokenizer, decoder_of, refuse_letters

_SPACE = "\u2581"  # how SentencePiece writes a space


class TextTokenizer(Tokenizer):
    """Spans counted in the tokens' own bytes, since the offsets of tokenizers leave out spaces as their settings say.

    A token's span is every character of which it holds a byte, so tokens that share a character overlap in it. Where the
    tokenizer puts a space of its own in front of a text, a token's first space is outside its span, unless it is all of it.
    """

    def __init__(self, hub):
        super().__init__(hub)
        decoder = decoder_of(hub)
        self.byte_of = _byte_alphabet() if '"ByteLevel"' in decoder else None
        self.added = {i: token.content.encode() for i, token in hub.added_tokens_decoder.items()}
        self._pieces: dict[int, bytes] = {}
        first = hub("a", add_special_tokens=False)["input_ids"][0]
        self.invents = self.piece(first).startswith(b" ")

    def piece(self, i: int) -> bytes:
        """The bytes of text that a token stands for."""
        if i not in self._pieces:
            self._pieces[i] = self.added[i] if i in self.added else self._bytes(self.hub.convert_ids_to_tokens(i))
        return self._pieces[i]

    def _bytes(self, token: str) -> bytes:
        if self.byte_of is not None:
            return bytes(self.byte_of[letter] for letter in token)
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace(_SPACE, " ").encode()

    def encode(self, record: str) -> Encoded:
        """Tokens of one text, with spans in characters. Raises ValueError where the tokenizer reads another text."""
        if self.letters:
            refuse_letters(record, self.letters)
        encoding = self.hub(record).encodings[0]
        ids = np.array(encoding.ids, dtype=np.int32)
        inserted = np.array(encoding.special_tokens_mask, dtype=bool)
        pieces = [b"" if own else self.piece(i) for i, own in zip(encoding.ids, inserted)]
        if self.unk_token_id is not None and self.byte_of is None:
            for t in np.flatnonzero((ids == self.unk_token_id) & ~inserted):
                pieces[t] = record[slice(*encoding.offsets[t])].encode()
        text, read = record.encode(), b"".join(pieces)
        own_space = np.array([self._own_space(p) for p in pieces])
        if self.invents and read == b" " + text:
            first = next(t for t, p in enumerate(pieces) if p)
            pieces[first], own_space[first] = pieces[first][1:], 0
        elif read != text:
            raise ValueError(_difference(record, read.decode(errors="replace")))
        length = np.array([len(p) for p in pieces])
        end = np.cumsum(length)
        start = end - length + own_space
        keep = ~np.isin(ids, self.special) & (end > start)
        letter = _character_of_byte(text)
        spans = np.full((2, len(ids)), -1, dtype=np.int32)
        spans[0, keep], spans[1, keep] = letter[start[keep]], letter[end[keep] - 1] + 1
        return Encoded(ids, spans[0], spans[1], keep)

    def words(self, ids: Sequence[int]) -> list[str]:
        """The characters that each token of a sequence holds a byte of; a lone part of a character reads as \ufffd."""
        pieces = [p[self._own_space(p) :] for p in map(self.piece, ids)]
        text = b"".join(pieces)
        letter = _character_of_byte(text)
        first = np.append(np.flatnonzero(np.diff(letter, prepend=-1)), len(text))  # byte at which a character starts
        end = np.cumsum([len(p) for p in pieces])
        return [
            text[first[letter[e - len(p)]] : first[letter[e - 1] + 1]].decode(errors="replace") if p else ""
            for p, e in zip(pieces, end)
        ]

    def _own_space(self, piece: bytes) -> int:
        """How many bytes in front of a token's text are outside its span: 1 or 0."""
        return int(self.invents and len(piece) > 1 and piece.startswith(b" "))


def _byte_alphabet() -> dict[str, int]:
    """How a byte-level vocabulary writes bytes as letters, the other way round."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def _character_of_byte(text: bytes) -> np.ndarray:
    """The number of the character that each byte of UTF-8 belongs to: [byte]. Stray bytes in front belong to the first."""
    starts = (np.frombuffer(text, dtype=np.uint8) & 0xC0) != 0x80
    return np.maximum(np.cumsum(starts) - 1, 0)


def _difference(record: str, read: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(record, read)) if a != b), min(len(record), len(read)))
    return (
        f"the tokenizer reads {read[at : at + 10]!r} where the text has {record[at : at + 10]!r} (character {at}): "
        "write the text the way the model reads it (normalised, cased), or spans would be wrong"
    )


def wrap(hub) -> Tokenizer | None:
    """Ours for a byte-level or SentencePiece vocabulary; None for another."""
    decoder = decoder_of(hub)
    known = '"ByteLevel"' in decoder or '"Metaspace"' in decoder or f'"{_SPACE}"' in decoder
    return TextTokenizer(hub) if known else None
