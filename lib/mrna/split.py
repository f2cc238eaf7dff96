"""Splits by sequence: what is alike lies on one side, or a test would ask what training saw."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SPACES = ("train", "validation", "test")
#: Two sequences are alike that share this many bases in a row, or, of shorter ones, all but these many edits at the ends.
WORD = 20


def clusters(sequences: list[str], word: int = WORD) -> np.ndarray:
    """Number of each sequence's cluster: [sequence]. Those that share a word of `word` bases are alike, and so is what is alike to either;
    a sequence shorter than that is alike to those that hold it, or that it is equal to.

    Of two random sequences of 50 bases one in a thousand million shares a word of 20; an allele of one base keeps 24 bases or more
    on one side of it.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(sequences):
        for at in range(max(1, len(text) - word + 1)):
            holders[text[at : at + word]].append(i)
    short = {text for text in sequences if len(text) < word}
    for i, text in enumerate(sequences):
        if short and len(text) >= word:
            for other in short:
                if other in text:
                    holders[other].append(i)
    pairs = [(some[0], other) for some in holders.values() for other in some[1:]]
    a, b = np.array(pairs, dtype=int).reshape(-1, 2).T
    n = len(sequences)
    return connected_components(coo_matrix((np.ones(len(a), bool), (a, b)), shape=(n, n)), directed=False)[1]


def spaces(sequences: list[str], shares: tuple[float, float], seed: int, word: int = WORD) -> np.ndarray:
    """train, validation or test of each sequence, whole clusters at a time: [sequence] of text. shares: of validation and test.

    By a hash of the cluster's first sequence in the alphabet, so that order and other records change nothing. Raises ValueError for shares
    that leave nothing to train on.
    """
    validation, test = shares
    if min(shares) < 0 or validation + test >= 1:
        raise ValueError(f"shares of validation and test are {validation:g} and {test:g}, wanted 0 or more, and less than 1 together")
    number = clusters(sequences, word)
    first: dict[int, str] = {}
    for text, of in zip(sequences, number, strict=True):
        first[of] = min(text, first.get(of, text))
    place = {of: int(hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:12], 16) / 16**12 for of, text in first.items()}
    at = np.array([place[of] for of in number])
    return np.select([at < validation, at < validation + test], SPACES[1:], SPACES[0]).astype(object)
