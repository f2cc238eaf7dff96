import numpy as np
import pytest
import torch

from lib.sae.differences import of_differences, rebuilt_by, rebuilt_by_word, rebuilt_by_words_around, words_around
from lib.sae.model import SAE, SAEConfig


@pytest.fixture
def stored():
    """Units 0 (reference), 1 and 2 of four tokens each; unit 2 is the reference but for one token."""
    rng = np.random.default_rng(0)
    acts = rng.normal(size=(12, 6)).astype(np.float32)
    acts[8:] = acts[:4]
    acts[9] += 1.0
    return acts, np.repeat([0, 1, 2], 4), np.tile(np.arange(4), 3)


def test_what_rebuilds_all_loses_nothing_and_what_rebuilds_the_mean_loses_every_difference(stored):
    acts, unit, counterpart = stored
    error, length = of_differences(lambda a, rows: a[rows], acts, unit, counterpart, np.array([2, 1]))
    assert np.allclose(error, 0) and length[0] == pytest.approx(6.0, rel=1e-5)
    assert length[1] == pytest.approx(((acts[4:8] - acts[:4]) ** 2).sum(), rel=1e-5)
    error, length = of_differences(lambda a, rows: np.ones((len(rows), 6), np.float32), acts, unit, counterpart, np.array([1, 2]))
    assert np.allclose(error, length)


def test_one_axis_is_worth_its_share_of_the_difference_whatever_it_explains_of_the_activations(stored):
    acts, unit, counterpart = stored

    def first_axis(a, rows):
        out = np.zeros((len(rows), 6), np.float32)
        out[:, 0] = a[rows, 0]
        return out

    error, length = of_differences(first_axis, acts, unit, counterpart, np.array([2]))
    assert 1 - error[0] / length[0] == pytest.approx(1 / 6, rel=1e-4)


@pytest.mark.parametrize("config", [SAEConfig("topk", 6, 16, 3), SAEConfig("convolutional", 6, 16, 3, window=3)])
def test_a_dictionary_rebuilds_rows_in_any_order_as_it_does_whole_units(stored, config):
    acts, unit, _ = stored
    sae = SAE(config, seed=1).eval()
    with torch.inference_mode():
        whole = np.concatenate([sae(torch.from_numpy(acts[unit == u]))[0].numpy() for u in range(3)])
    rows = np.array([11, 0, 5, 5, 8])
    assert np.allclose(rebuilt_by(sae, unit)(acts, rows), whole[rows], atol=1e-6)
    few, many = (of_differences(rebuilt_by(sae, unit), acts, unit, np.tile(np.arange(4), 3), np.array([1, 2]), n) for n in (1, 9))
    assert np.allclose(few, many)


def test_a_table_of_words_gives_means_of_what_trains_and_of_all_for_a_word_that_is_new():
    acts = np.array([[1.0, 0], [3, 0], [0, 5], [7, 7]], np.float32)
    table = rebuilt_by_word(np.array([0, 1, 2, 1]), acts, np.array([0, 1, 2]), np.array([0, 0, 1]))
    assert np.allclose(table(acts, np.array([0, 1, 3, 2])), [[2, 0], [0, 5], [0, 5], [4 / 3, 5 / 3]])
    split = rebuilt_by_word(np.array([0, 1, 2, 1]), acts, np.array([0, 1, 2]), np.array([0, 0, 1]), chunk=1)
    assert np.allclose(split(acts, np.arange(4)), table(acts, np.arange(4)))


def test_words_around_are_equal_where_token_and_neighbours_are_and_no_word_reaches_across_units():
    token, unit = np.array([1, 2, 1, 2, 1, 2, 3]), np.array([0, 0, 0, 1, 1, 2, 2])
    word = words_around(token, unit, side=1)
    assert word[1] != word[3]  # 1 2 1 against the beginning of a unit
    same = words_around(np.array([1, 2, 1, 1, 2, 1]), np.array([0, 0, 0, 1, 1, 1]), side=1)
    assert same[:3].tolist() == same[3:].tolist() and len(set(same.tolist())) == 3
    assert words_around(token, unit, side=0).tolist() == [0, 1, 0, 1, 0, 1, 2]


def test_the_table_of_words_gives_means_of_the_rows_it_was_fitted_on():
    acts = np.arange(6, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    tokens = {"token_id": np.array([1, 2, 1, 2, 1, 2]), "unit": np.array([0, 0, 1, 1, 2, 2])}
    others = {"token_id": np.array([1, 2, 2]), "unit": np.array([0, 0, 1])}
    rebuild = rebuilt_by_words_around(acts, tokens, np.array([0, 1, 2, 3]), others, side=1)
    assert rebuild(acts, np.arange(3))[:, 0].tolist() == [1.0, 2.0, 1.5]  # the last word is new: the mean of all
