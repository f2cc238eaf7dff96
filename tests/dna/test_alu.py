"""Alu elements: those that have drifted from the consensus, on both strands, and nothing else."""

import numpy as np
import pytest

from lib.dna import alu
from lib.models import sequence as sq

ELEMENT = sq.encode(alu.CONSENSUS)


def letters(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, n).astype(np.uint8)


def drifted(share: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    moved = rng.random(len(ELEMENT)) < share
    return np.where(moved, (ELEMENT + rng.integers(1, 4, len(ELEMENT))) % 4, ELEMENT).astype(np.uint8)


@pytest.mark.parametrize("turned", [False, True])
def test_elements_up_to_an_eighth_from_the_consensus_lie_where_they_were_put(turned):
    inside, covered = [], []
    for seed in range(20):
        element = drifted(0.125, seed)
        codes = np.concatenate([letters(700, seed), sq.reverse_complement(element) if turned else element, letters(700, seed + 100)])
        truth = np.zeros(len(codes), bool)
        truth[700 : 700 + len(element)] = True
        marked = np.zeros(len(codes), bool)
        for start, end in alu.elements(codes):
            marked[start:end] = True
        covered.append(marked[truth].mean())
        inside.append(truth[marked].mean() if marked.any() else 1.0)
    assert np.mean(covered) > 0.8 and np.mean(inside) > 0.95


def test_other_sequence_holds_none():
    assert len(alu.elements(letters(300_000, 0))) == 0
    assert len(alu.elements(np.random.default_rng(1).permutation(np.tile(ELEMENT, 300)))) == 0  # its composition without its words
    assert len(alu.elements(np.zeros(500, np.uint8))) == 0 and len(alu.elements(np.full(500, 4, np.uint8))) == 0
    assert alu.elements(letters(5, 0)).shape == (0, 2)


def test_two_elements_apart_are_two():
    codes = np.concatenate([letters(300, 2), ELEMENT, letters(300, 3), ELEMENT, letters(300, 4)])
    (a, b), (c, d) = alu.elements(codes)
    n = len(ELEMENT)
    assert (a, b) == pytest.approx((300, 300 + n), abs=8) and (c, d) == pytest.approx((600 + n, 600 + 2 * n), abs=8)
