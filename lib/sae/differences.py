"""Does a dictionary keep what an edit changes? Explained variance of differences from the counterpart, token by token.

A dictionary may rebuild almost all of an activation and lose the small part by which an allele moves it; ablation sees no more of
an allele than what the dictionary keeps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lib.sae.model import SAE
from lib.sae.parts import parts

#: What rebuilds acts[rows]: (acts, rows) -> [row, d_in].
Rebuild = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rebuilt_by(sae: SAE, unit: np.ndarray) -> Rebuild:
    """A dictionary as a `Rebuild`. unit: [token] of the store."""

    @torch.inference_mode()
    def rebuild(acts: np.ndarray, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), acts.shape[1]), np.float32)
        for place, given, pick in parts(sae, acts, rows, unit):
            out[place] = sae(*given)[0][pick].numpy()
        return out

    return rebuild


def rebuilt_by_word(word: np.ndarray, acts: np.ndarray, rows: np.ndarray, train_word: np.ndarray, chunk: int = 16384) -> Rebuild:
    """The rival that knows words alone: each token is the mean activation of its word, of acts[rows] that train; of a word that none
    of them has, the mean of all. word: [token] int of the store that is rebuilt, from 0; train_word: [row] int."""
    n = int(max(word.max(initial=0), train_word.max(initial=0))) + 1
    total, count = np.zeros((n, acts.shape[1])), np.bincount(train_word, minlength=n)
    for s in range(0, len(rows), chunk):
        np.add.at(total, train_word[s : s + chunk], np.asarray(acts[rows[s : s + chunk]], np.float64))
    table = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], total.sum(0) / max(len(rows), 1)).astype(np.float32)
    return lambda _, some: table[word[some]]


def words_around(token_id: np.ndarray, unit: np.ndarray, side: int = 2) -> np.ndarray:
    """A number for each token and the `side` tokens before and after it in its unit: [token] int64, equal for equal words.

    token_id, unit: [token], a unit's tokens side by side. Beyond a unit's ends stands a letter of its own.
    """
    size, code = int(token_id.max(initial=0)) + 2, np.zeros(len(token_id), np.int64)
    for step in range(-side, side + 1):
        at = np.arange(len(token_id)) + step
        inside = (at >= 0) & (at < len(token_id))
        inside[inside] = unit[at[inside]] == unit[inside]
        code = np.unique(code * size + np.where(inside, token_id[np.clip(at, 0, len(token_id) - 1)], size - 1), return_inverse=True)[1]
    return code


def rebuilt_by_words_around(
    acts: np.ndarray, tokens: dict[str, np.ndarray], rows: np.ndarray, others: dict[str, np.ndarray], side: int = 2
) -> Rebuild:  # fmt: skip
    """`rebuilt_by_word` of tokens with `side` neighbours, fitted on acts[rows] of one store, for rows of another of the same model.

    tokens, others: the token tables of the two stores, with token_id and unit.
    """
    n = len(tokens["unit"])
    unit = np.concatenate([tokens["unit"], others["unit"] + int(tokens["unit"].max(initial=0)) + 1])
    word = words_around(np.concatenate([tokens["token_id"], others["token_id"]]), unit, side)
    return rebuilt_by_word(word[n:], acts, rows, word[:n][rows])


def of_differences(
    rebuild: Rebuild, acts: np.ndarray, unit: np.ndarray, counterpart: np.ndarray, units: np.ndarray, at_once: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Squared error of x - x* rebuilt, and its squared length, summed over the tokens of each of `units`: [unit], [unit] float64.

    x*: the counterpart's activation, of `counterparts.aligned`; the difference is rebuilt as the difference of what is rebuilt.
    1 - the sum of the first over that of the second is the explained variance of differences, about zero and not about a mean.
    acts: [token, d_in]; unit, counterpart: [token]; units: of these only, in this order.
    """
    first = np.searchsorted(unit, np.append(units, 0)[:-1])
    last = np.searchsorted(unit, units, side="right")
    error, length = np.zeros(len(units)), np.zeros(len(units))
    for s in range(0, len(units), at_once):
        some = range(s, min(s + at_once, len(units)))
        rows = np.concatenate([np.arange(first[i], last[i]) for i in some])
        place = np.repeat(list(some), [last[i] - first[i] for i in some])
        other = counterpart[rows]
        true = np.asarray(acts[rows], np.float64) - acts[other]
        made = rebuild(acts, rows).astype(np.float64) - rebuild(acts, other)
        error += np.bincount(place, ((true - made) ** 2).sum(1), len(units))
        length += np.bincount(place, (true**2).sum(1), len(units))
    return error, length
