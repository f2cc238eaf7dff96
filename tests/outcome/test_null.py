"""Targets that nothing causes."""

import numpy as np
import pytest

from lib.dna.phenotypes import simulate_phenotype
from lib.outcome.null import highest, null_target


def test_the_highest_are_one_and_ties_go_to_the_first():
    assert highest(np.array([0.1, 3.0, 2.0, 2.0, -1.0]), 0.4).tolist() == [0, 1, 1, 0, 0]


def test_nobody_on_one_side_is_refused():
    with pytest.raises(ValueError, match="case_share 0.1 of 4 people gives 0 cases"):
        null_target(4, 0.1, 0)


@pytest.mark.parametrize("n, seed", [(40, 1000), (405, 1003)])
def test_it_is_the_phenotype_without_an_effect(n, seed):
    without = simulate_phenotype(np.zeros((1, n)), np.zeros(1), 0.5, seed).phenotype.to_numpy()
    drawn = null_target(n, 0.5, seed)
    assert drawn.dtype == without.dtype and np.array_equal(drawn, without)
    # worked anew: the upper half of n draws of the logistic distribution
    noise = np.random.default_rng(seed).logistic(size=n)
    assert np.array_equal(drawn == 1, noise >= np.sort(noise)[-round(n / 2)])
