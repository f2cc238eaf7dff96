"""Norms of stored activations, against rows whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

from lib.acts import quality
from lib.acts.store import Store


def stored(**sites: np.ndarray) -> Store:
    return Store(Path("a.h5"), {"unit": np.zeros(len(next(iter(sites.values()))))}, {n: x.astype(np.float16) for n, x in sites.items()}, {})


def test_norms_of_rows_that_are_known():
    one_way = np.tile([3.0, 4.0], (100, 1))
    far = one_way.copy()
    far[7] *= 11  # one row in a hundred
    both_ways = one_way * np.where(np.arange(100) % 2, 1, -1)[:, None]
    table = quality.norms(stored(a=one_way, b=far, c=both_ways), {"a": 4.0, "b": 44.0, "c": 4.0}, 1000, seed=0).set_index("site")
    assert table["norm_median"].tolist() == [5, 5, 5] and table["norm_max"].tolist() == [5, 55, 5]
    assert table["outlier_share"].tolist() == [0, 0.01, 0] and table["max_abs"].tolist() == [4, 44, 4]
    assert table.loc["a", "anisotropy"] == pytest.approx(1) and abs(table.loc["c", "anisotropy"]) < 0.3
    assert set(table["n_tokens"]) == {100}


def test_no_more_rows_than_asked_for_are_read():
    x = np.random.default_rng(0).normal(size=(100, 4))
    assert quality.norms(stored(a=x), {"a": 4.0}, 10, seed=0)["n_tokens"].tolist() == [10]
