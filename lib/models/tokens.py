"""Tokens with coordinates: what a record becomes before a model reads it, and where in the record each token stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """One record's tokens, specials included.

    ids, start, end: int32 [length]; start and end are offsets in the record (bases, nucleotides, characters, or genes of
    an expression row), 0-based, half-open, of no meaning where keep is False. keep: bool [length], real tokens only: no
    special, padding or unknown token. inputs: what the model reads beside ids, name -> [length]. columns: what is known
    of a token beside its place (gene, bin, region, frame), name -> [length].
    """

    ids: np.ndarray
    start: np.ndarray
    end: np.ndarray
    keep: np.ndarray
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenBatch:
    """Model inputs, right-padded, and where each kept token came from.

    ids, mask: [batch, length]; inputs: name -> [batch, length]. keep: [batch, length] bool. unit, index, start, end,
    token_id: int32 [kept], in row-major order of `keep`; columns: name -> [kept].
    """

    ids: Tensor
    mask: Tensor
    keep: Tensor
    unit: np.ndarray
    index: np.ndarray
    start: np.ndarray
    end: np.ndarray
    token_id: np.ndarray
    inputs: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_kept(self) -> int:
        return len(self.unit)


def collate(encoded: Sequence[Encoded], units: Sequence[int], pad_id: int | None, device: str = "cpu") -> TokenBatch:
    """Right-pad encoded records into one batch; `units` are the numbers that their kept tokens will carry."""
    shape = len(encoded), max(len(e.ids) for e in encoded)
    ids = np.full(shape, pad_id or 0, dtype=np.int64)
    mask, keep = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    inputs = {name: np.zeros(shape, dtype=values.dtype) for name, values in encoded[0].inputs.items()}
    for row, e in enumerate(encoded):
        n = len(e.ids)
        ids[row, :n], mask[row, :n], keep[row, :n] = e.ids, 1, e.keep
        for name, values in e.inputs.items():
            inputs[name][row, :n] = values
    kept = [int(e.keep.sum()) for e in encoded]
    index = np.concatenate([np.arange(n, dtype=np.int32) for n in kept])

    def column(get) -> np.ndarray:
        return np.concatenate([get(e)[e.keep] for e in encoded])

    return TokenBatch(
        *(torch.from_numpy(a).to(device) for a in (ids, mask, keep)),
        np.repeat(np.asarray(units, dtype=np.int32), kept), index,
        *(column(get).astype(np.int32) for get in (lambda e: e.start, lambda e: e.end, lambda e: e.ids)),
        {name: torch.from_numpy(values).to(device) for name, values in inputs.items()},
        {name: column(lambda e, name=name: e.columns[name]) for name in encoded[0].columns},
    )  # fmt: skip


class Tokenizer:
    """What an adapter asks of a tokenizer. This one wraps any of transformers' that marks offsets, or whose words are DNA.

    pad_token_id, unk_token_id, mask_token_id: None where the vocabulary has none. letters: what a record may be made of,
    None where anything may come. fixed_words: whether all words are as long, so that a record's length says its tokens.
    """

    fixed_words = False

    def __init__(self, hub):
        self.hub = hub
        self.special = np.array(sorted(set(hub.all_special_ids)), dtype=np.int32)
        self.pad_token_id, self.unk_token_id = hub.pad_token_id, hub.unk_token_id
        self.mask_token_id = hub.mask_token_id
        self.prefix = "##" if '"WordPiece"' in decoder_of(hub) else ""
        self.letters = DNA if is_dna(source_words(hub)) else None

    def encode(self, record) -> Encoded:
        """Tokens of one record with their source offsets. Raises ValueError for a letter the model does not read."""
        if self.letters:
            refuse_letters(record, self.letters)
        return self._offsets(record) if self.hub.is_fast else self._words(record)

    def words(self, ids: Sequence[int]) -> list[str]:
        """The source text that each token of a sequence stands for."""
        return [w.removeprefix(self.prefix) for w in self.hub.convert_ids_to_tokens(list(ids))]

    def source(self, record, start: int, end: int) -> str:
        """What stands in the record at a token's coordinates: equal to the token's word, or the coordinates are wrong."""
        return record[start:end]

    def _offsets(self, text: str) -> Encoded:
        out = self.hub(text, return_offsets_mapping=True)
        ids = np.array(out["input_ids"], dtype=np.int32)
        offsets = np.array(out["offset_mapping"], dtype=np.int32).reshape(-1, 2)
        keep = ~np.isin(ids, self.special) & (offsets[:, 1] > offsets[:, 0])
        return Encoded(ids, offsets[:, 0], offsets[:, 1], keep)

    def _words(self, text: str) -> Encoded:
        ids = np.array(self.hub(text)["input_ids"], dtype=np.int32)
        special = np.isin(ids, self.special)
        length = np.where(special, 0, [len(w) for w in self.words(ids.tolist())])
        end = np.cumsum(length).astype(np.int32)
        if end[-1] != len(text):
            raise ValueError(f"the tokenizer reads {end[-1]} of {len(text)} bases: unknown letters in the sequence?")
        return Encoded(ids, (end - length).astype(np.int32), end, ~special)


class BaseTokenizer(Tokenizer):
    """A vocabulary of single bases, vectorised: the ids of the wrapped tokenizer, base by base."""

    fixed_words = True

    def __init__(self, hub):
        super().__init__(hub)
        words, vocabulary = source_words(hub), hub.get_vocab()
        self.letters = "".join(sorted(set(words) | {"N"}))
        self.table = np.full(256, -1, dtype=np.int32)
        self.table[ord("N")] = -1 if hub.unk_token_id is None else hub.unk_token_id
        for word in words:
            self.table[ord(word)] = vocabulary[word]
        around = hub("ACGT")["input_ids"]
        first = around.index(self.table[ord("A")])
        self.before, self.after = around[:first], around[first + 4 :]

    def encode(self, record: str) -> Encoded:
        """Tokens of one sequence; N is not kept where the vocabulary lacks it. Raises ValueError for another letter."""
        body = self.table[np.frombuffer(record.encode("latin-1", "replace"), dtype=np.uint8)]
        if (body < 0).any():
            refuse_letters(record, self.letters if self.unk_token_id is not None else self.letters.replace("N", ""))
        ids = np.concatenate([self.before, body, self.after]).astype(np.int32)
        start = np.full(len(ids), -1, dtype=np.int32)
        inner = slice(len(self.before), len(self.before) + len(body))
        start[inner] = np.arange(len(body))
        keep = np.zeros(len(ids), dtype=bool)
        keep[inner] = body != self.unk_token_id
        return Encoded(ids, start, np.where(start >= 0, start + 1, -1).astype(np.int32), keep)


DNA = "ACGTN"


def refuse_letters(record: str, letters: str) -> None:
    """Raise ValueError with the first letter of the record that is none of `letters`, and its place."""
    wrong = record.translate(dict.fromkeys(map(ord, letters)))
    if wrong:
        at = record.index(wrong[0])
        raise ValueError(
            f"letter {wrong[0]!r} at position {at} (0-based) of {len(record)}: the model reads {' '.join(letters)} only; "
            "soft-masked bases have to be upper-cased and ambiguity codes made N before"
        )


def source_words(hub) -> list[str]:
    """A vocabulary without its specials: those declared, and those written <like this> or [LIKE THIS]."""
    special = set(hub.all_special_ids)
    return [w for w, i in hub.get_vocab().items() if i not in special and not (len(w) > 2 and w[0] + w[-1] in "<>[]")]


def decoder_of(hub) -> str:
    """How a fast tokenizer turns tokens into text, as JSON; "" for a slow tokenizer or one that only joins them."""
    decoder = hub.backend_tokenizer.decoder if hub.is_fast else None
    return decoder.__getstate__().decode() if decoder is not None else ""


def is_dna(words: Sequence[str]) -> bool:
    """Whether a vocabulary merged nothing but bases: it was made of DNA. Single characters may be a byte alphabet."""
    merged = [word.lstrip("\u0120\u2581#") for word in words if len(word) > 1]
    return any(merged) and all(set(word) <= set(DNA) for word in merged)
