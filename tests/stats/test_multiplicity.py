"""Families in which most tests have p = 1 unread: the same numbers as with the ones written out."""

import numpy as np
import pytest

from lib.stats import multiplicity


@pytest.mark.parametrize("n, n_tests", [(5, 5), (40, 900), (1, 30), (0, 12)])
def test_q_is_that_of_the_family_written_out(n, n_tests):
    p = np.random.default_rng(n).random(n) ** 8
    want = multiplicity.benjamini_hochberg(np.concatenate([p, np.ones(n_tests - n)]))[:n]
    np.testing.assert_allclose(multiplicity.benjamini_hochberg(p, n_tests), want, rtol=1e-12)


def test_a_family_smaller_than_its_tests_is_refused():
    with pytest.raises(ValueError, match="family of 3 tests cannot hold 4"):
        multiplicity.benjamini_hochberg(np.ones(4), 3)


def test_simes_by_hand():
    # 5 tests: 5 * .01 / 1 = .05, 5 * .03 / 2 = .075, 5 * .027 / ... sorted .01 .027 .03: 5 * .027 / 2 = .0675, 5 * .03 / 3 = .05
    assert multiplicity.simes(np.array([0.03, 0.01, 0.027]), 5) == pytest.approx(0.05)
    assert multiplicity.simes(np.array([0.012, 0.02]), 4) == pytest.approx(0.04)  # the second of the two decides
    assert multiplicity.simes(np.array([]), 5) == 1 and multiplicity.simes(np.array([0.9]), 5) == 1


def test_two_stages_count_latents_and_pairs_never_read():
    latent, p = np.array([7, 2, 7]), np.array([1e-5, 0.004, 0.3])
    q, table = multiplicity.two_stage(latent, p, n_latents=10, n_concepts=20)
    np.testing.assert_allclose(q, [1e-5 * 200, 0.004 * 200 / 2, 1.0])
    assert table["latent"].tolist() == [2, 7]
    np.testing.assert_allclose(table["p"], [0.08, 2e-4])
    np.testing.assert_allclose(table["q"], [0.08 * 10 / 2, 2e-3])
