"""The two-sided Markov model: against counts by hand, what it can learn, and what it leaves out."""

import numpy as np
import pytest

from lib.dna import markov
from lib.models import sequence as sq


def letters(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, n).astype(np.uint8)


def test_counts_are_those_of_both_strands_by_hand():
    text = "ACGTTGCATACCN" + "GATTACAGATTA"
    tables = markov.counts([sq.encode(text)], 2)
    assert [t.shape for t in tables] == [(1, 4), (16, 4), (256, 4)]
    expected = {}
    for strand in (text, sq.decode(sq.reverse_complement(sq.encode(text)))):
        for i in range(2, len(strand) - 2):
            word = strand[i - 2 : i + 3]
            if "N" not in word:
                expected[word] = expected.get(word, 0) + 1
    for word, n in expected.items():
        a, b, base, c, d = sq.encode(word).tolist()
        assert tables[2][(b * 4 + c) + 16 * (a * 4 + d), base] == n
    assert tables[2].sum() == tables[1].sum() == tables[0].sum() == sum(expected.values())


def test_the_loss_is_the_shrunk_share_of_counts():
    tables = markov.counts([letters(3000, 0)], 1)
    codes = np.array([[0, 1, 2, 3, 3]], np.uint8)
    loss = markov.losses(tables, codes, 1, 10.0)
    assert np.isnan(loss[0, [0, 4]]).all() and loss.shape == codes.shape
    for at in (1, 2, 3):
        left, base, right = codes[0, at - 1 : at + 2]
        plain = (tables[0][0, base] + 10 * 0.25) / (tables[0].sum() + 10)
        own = tables[1][left * 4 + right]
        assert loss[0, at] == pytest.approx(-np.log((own[base] + 10 * plain) / (own.sum() + 10)))


def test_probabilities_of_the_four_bases_sum_to_one():
    tables = markov.counts([letters(5000, 1)], 3)
    row = letters(7, 2)
    four = np.repeat(row[None], 4, 0)
    four[:, 3] = range(4)
    assert np.exp(-markov.losses(tables, four, 3, 3.0)[:, 3]).sum() == pytest.approx(1)


def test_a_base_that_its_neighbours_give_is_learned_and_noise_is_not():
    rng, noise = np.random.default_rng(3), letters(40_000, 4)
    ruled = noise.copy()
    middle = np.arange(2, len(ruled) - 2, 5)
    ruled[middle] = (ruled[middle - 1].astype(int) + ruled[middle + 1]) % 4
    held = rng.integers(0, 4, (50, 40)).astype(np.uint8)
    tables = markov.counts([noise], 4)
    k, shrink = markov.chosen(tables, held)
    assert k == 0 or shrink == max(markov.SHRINK)  # nothing to know: as little of the context as there is
    assert np.nanmean(markov.losses(tables, held, k, shrink)) == pytest.approx(np.log(4), abs=0.01)
    assert np.nanmean(markov.losses(tables, held, 4, 1)) > np.log(4) + 0.1  # what a context of single counts costs
    rows = ruled[: 40_000 // 40 * 40].reshape(-1, 40)
    tables = markov.counts([row for row in np.split(ruled[:30_000], 3)], 4)
    k, shrink = markov.chosen(tables, rows[750:875])
    assert k >= 1 and np.nanmean(markov.losses(tables, rows[875:], k, shrink)) < np.log(4) - 0.05


def test_unknown_bases_near_by_are_left_out():
    tables = markov.counts([letters(2000, 5)], 2)
    row = letters(20, 6)[None]
    row[0, 10] = 4
    loss = markov.losses(tables, row, 1, 1.0)
    assert np.isnan(loss[0]).nonzero()[0].tolist() == [0, 1, 8, 9, 10, 11, 12, 18, 19]
