"""Tokenizers of DNA words of one length, vectorised: the ids of the wrapped tokenizer, hundreds of times faster."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from lib.models import files
from lib.models.tokens import DNA, Encoded, Tokenizer, refuse_letters, source_words

_REFUSED = 255
#: letter -> A C G T N = 0 1 2 3 4
_CODES = bytes(DNA.index(chr(i)) if chr(i) in DNA else _REFUSED for i in range(256))


def _codes(record: str) -> np.ndarray:
    """A C G T N = 0 1 2 3 4, uint8 [base]. Raises ValueError for another letter."""
    codes = np.frombuffer(record.encode("latin-1", "replace").translate(_CODES), dtype=np.uint8)
    if len(codes) and codes.max() == _REFUSED:
        refuse_letters(record, DNA)
    return codes


class KmerTokenizer(Tokenizer):
    """What words of k bases have in common.

    word_ids: id of each k-mer, A C G T = 0 1 2 3 read as a number of base 4, [4^k]. before, after: the ids that the
    wrapped tokenizer puts around a sequence.
    """

    fixed_words = True

    def __init__(self, hub, k: int):
        super().__init__(hub)
        self.k, self.letters = k, DNA
        vocabulary = hub.get_vocab()
        words = ["".join(word) for word in itertools.product("ACGT", repeat=k)]
        self.word_ids = np.array([vocabulary[word] for word in words], dtype=np.int32)
        empty, one = hub("")["input_ids"], hub(words[0])["input_ids"]
        shared = next((i for i, (a, b) in enumerate(zip(empty, one)) if a != b), len(empty))
        self.before, self.after = empty[:shared], empty[shared:]

    def _encoded(self, ids: np.ndarray, start: np.ndarray, length, keep: np.ndarray) -> Encoded:
        """Tokens with the specials around. ids, start, keep: [token]; length: [token] or one number."""
        n, first = len(self.before) + len(ids) + len(self.after), len(self.before)
        inner = slice(first, first + len(ids))
        out = Encoded(*(np.full(n, -1, dtype=np.int32) for _ in range(3)), np.zeros(n, dtype=bool))
        out.ids[:first], out.ids[inner], out.ids[inner.stop :] = self.before, ids, self.after
        out.start[inner], out.end[inner], out.keep[inner] = start, start + length, keep
        return out


class BlockTokenizer(KmerTokenizer):
    """Nucleotide Transformer's rule: split at N, words of k bases left to right, the bases left over one by one."""

    def __init__(self, hub, k: int):
        super().__init__(hub, k)
        vocabulary = hub.get_vocab()
        self.base_ids = np.array([vocabulary.get(base, hub.unk_token_id) for base in DNA], dtype=np.int32)

    def encode(self, record: str, frame: int = 0) -> Encoded:
        """Tokens of one sequence. frame: how many bases come singly before the first word, to shift the words."""
        codes = _codes(record)
        if not 0 <= frame <= len(codes):
            raise ValueError(f"frame {frame} of a sequence of {len(codes)} bases: wanted 0 to {self.k - 1}")
        length = self._lengths(codes[frame:])
        if frame:
            length = np.concatenate([np.ones(frame, dtype=length.dtype), length])
        end = np.cumsum(length, dtype=np.int32)
        start = end - length
        whole = length == self.k
        ids = np.empty(len(length), dtype=np.int32)
        at = start[whole]
        number = np.zeros(len(at), dtype=np.int32)
        for j in range(self.k):
            number = (number << 2) + codes[at + j]
        ids[whole] = self.word_ids[number]
        single = ~whole
        ids[single] = self.base_ids[codes[start[single]]]
        keep = ids != self.unk_token_id if self.unk_token_id is not None else np.ones(len(ids), dtype=bool)
        return self._encoded(ids, start, length, keep)

    def _lengths(self, codes: np.ndarray) -> np.ndarray:
        """How many bases each token takes, int32 [token]."""
        stop = np.append(np.flatnonzero(codes == 4), len(codes))  # where a run without N ends
        run = np.diff(stop, prepend=-1) - 1
        times = np.empty(2 * len(run), dtype=np.int64)
        times[::2] = run // self.k
        times[1::2] = run % self.k + 1  # the rest, and the N after it
        times[-1] -= 1  # the last run ends with the sequence
        return np.repeat(np.tile(np.array([self.k, 1], dtype=np.int32), len(run)), times)


class StepTokenizer(KmerTokenizer):
    """A word of k bases every `step` bases: overlapping at 1 (DNABERT), side by side at k (GENERator, codons).

    A word with N is unknown and not kept. Bases after the last whole word are left out.
    """

    def __init__(self, hub, k: int, step: int):
        super().__init__(hub, k)
        self.step = step

    def encode(self, record: str, frame: int = 0) -> Encoded:
        """Tokens of one sequence. frame: bases left out in front. Raises ValueError when no word fits."""
        codes = _codes(record)
        start = np.arange(frame, len(codes) - self.k + 1, self.step, dtype=np.int32)
        if not len(start):
            raise ValueError(f"a sequence of {len(codes)} bases from frame {frame} holds no word of {self.k} bases")
        number, unknown = np.zeros(len(start), dtype=np.int32), np.zeros(len(start), dtype=bool)
        for j in range(self.k):
            letter = codes[frame + j : start[-1] + j + 1 : self.step]
            number = (number << 2) + (letter & 3)
            unknown |= letter == 4
        if unknown.any() and self.unk_token_id is None:
            refuse_letters(record, "ACGT")
        ids = self.word_ids[number]
        if unknown.any():
            ids[unknown] = self.unk_token_id
        return self._encoded(ids, start, self.k, ~unknown)


_PROBE = "ACGTTGCAAGTCCATGANNCAGTACGGATTCAGANCGATNTTAGCCATGCGA"


def wrap(hub) -> Tokenizer | None:
    """Ours for a vocabulary of all words of one length; None for another, or one whose rule is none of the three."""
    words = set(source_words(hub))
    longer = words - set(DNA)
    k = len(next(iter(longer), ""))
    if not 1 < k < 10 or longer != {"".join(word) for word in itertools.product("ACGT", repeat=k)}:
        return None
    if "A" not in words:
        return StepTokenizer(hub, k, 1 if "Bert" in type(hub).__name__ else k)
    ours = BlockTokenizer(hub, k)
    return ours if ours.encode(_PROBE).ids.tolist() == hub(_PROBE)["input_ids"] else None


def from_vocabulary(folder: Path) -> Tokenizer | None:
    """A tokenizer for a folder whose own is code (GENERator), from its vocab.txt of words of one length alone.

    Puts <s> in front and </s> after as tokenizer_config.json says (`add_bos_token`, true unless it says otherwise;
    `add_eos_token`, false). None where the folder has no such vocabulary.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if not (folder / "vocab.txt").is_file():
        return None
    words = (folder / "vocab.txt").read_text().split()
    names = {"unk_token": "<oov>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}
    if not set(names.values()) <= set(words):
        return None
    settings = files.read_json(folder, "tokenizer_config.json")
    backend = Backend(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<oov>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    front = "<s> " * bool(settings.get("add_bos_token", True))
    back = " </s>" * bool(settings.get("add_eos_token", False))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{front}$A{back}", special_tokens=[(w, words.index(w)) for w in ("<s>", "</s>")]
    )
    return wrap(PreTrainedTokenizerFast(tokenizer_object=backend, **names))
