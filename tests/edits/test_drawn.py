"""Windows in draws: the fast path gives the numbers of growing each window anew, to the last digit."""

import numpy as np
import pytest

from lib.edits import posterior
from lib.edits.drawn import Sorted


def sample(rng: np.random.Generator, n: int, m: int, digits: int, groups: bool) -> posterior.Sample:
    """Scores with ties where they are rounded."""
    label = rng.random(n) < rng.uniform(0.2, 0.8)
    label[:2] = True, False
    score = np.round(rng.normal(label * 1.0, rng.uniform(0.1, 3)), digits)
    return posterior.checked(score, label, np.round(rng.normal(0, 2, m), digits), rng.integers(0, 12, n) if groups else None)


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_a_draw_s_windows_are_those_of_its_sorted_scores(seed, groups):
    rng = np.random.default_rng(seed)
    own = sample(rng, int(rng.integers(5, 200)), int(rng.integers(1, 300)), int(rng.integers(0, 6)), groups)
    increment = None if seed % 3 else float(rng.choice([0.1, 1 / 16, 0.7]))
    rule = posterior.rule_of(own, increment, int(rng.integers(1, 60)), float(rng.uniform(0, 0.3)))
    at = posterior.candidate_thresholds(own.score, own.population)
    at = at if seed % 2 else rng.permutation(at)  # of any order
    by_score = Sorted(own)
    for labelled, unlabelled, w in posterior.resamples(own, 0.1, 8, seed):
        kind = np.repeat(own.label, labelled)
        anew = posterior.ordered(np.repeat(own.score, labelled), kind, np.repeat(own.population, unlabelled))
        slow = posterior.windows(at, anew, rule)[1]
        fast = by_score.inside(at, by_score.cumulated(labelled, unlabelled), rule, posterior._EDGE)
        np.testing.assert_array_equal(fast, slow)
        np.testing.assert_array_equal(w, posterior.weight(kind if groups else own.label, 0.1))


def test_draws_are_those_of_whole_groups_in_the_order_of_the_generator():
    own = sample(np.random.default_rng(0), 60, 9, 2, True)
    rng = np.random.default_rng(7)
    for labelled, unlabelled, _ in posterior.resamples(own, 0.1, 5, 7):
        rows = np.concatenate([np.flatnonzero(own.group == g) for g in rng.integers(0, own.group.max() + 1, own.group.max() + 1)])
        assert labelled.tolist() == np.bincount(rows, minlength=60).tolist()
        assert unlabelled.tolist() == np.bincount(rng.integers(0, 9, 9), minlength=9).tolist()
