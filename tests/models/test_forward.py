"""Batches: every record once, within the budget, and the same values as alone."""

import numpy as np
import pytest
import torch

from lib.models import forward
from lib.models.tokens import Encoded
from tests import helpers
from tests.zoo import DNA


@pytest.mark.parametrize("budget", [1, 64, 100, 10**6])
def test_plan_covers_every_unit_once_within_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 60, 50)
    batches = forward.plan(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(50))
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= budget
    assert forward.plan(np.array([], dtype=int), 10) == []
    # 5 5 | 4 4: 3 x 5 would pass 12
    assert [lengths.tolist() for lengths in forward.plan(np.array([4, 5, 4, 5]), 12)] == [[3, 1], [2, 0]]


def record_of(n: int) -> Encoded:
    at = np.arange(n, dtype=np.int32)
    return Encoded(at, at, at + 1, np.ones(n, bool))


@pytest.mark.parametrize("budget", [1, 200, 10**6])
def test_consecutive_batches_keep_the_order_within_the_budget(budget):
    encoded = [record_of(n) for n in np.random.default_rng(1).integers(1, 60, 50)]
    batches = list(forward.consecutive(encoded, budget))
    assert np.concatenate(batches).tolist() == list(range(50))
    for batch in batches:
        assert len(batch) == 1 or max(len(encoded[k].ids) for k in batch) * len(batch) <= budget
    assert list(forward.consecutive([], budget)) == []


def test_batches_of_one_size_and_what_fits():
    assert forward.of_size(5, 2) == [range(2), range(2, 4), range(4, 5)] and forward.of_size(0, 2) == []
    assert forward.fitting([3, 10], 39) == 3 and forward.fitting([100], 39) == 1


def test_a_batch_counts_its_units_from_0_and_gives_what_a_record_gives_alone(tmp_path):
    model = helpers.tiny("mixtral", tmp_path)
    encoded = [model.encode_one(record) for record in DNA]
    for records in (DNA, encoded):  # tokenised here, or before
        for some, batch in forward.batches(model, records, [[2, 0], [1]]):
            x = model.run(batch, ["resid_post.0"])["resid_post.0"]
            assert np.unique(batch.unit).tolist() == list(range(len(some)))
            for unit, k in enumerate(some):
                alone = model.run(model.encode([DNA[k]]), ["resid_post.0"])["resid_post.0"]
                torch.testing.assert_close(x[batch.unit == unit], alone, rtol=1e-4, atol=1e-5)
