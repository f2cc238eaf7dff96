import numpy as np
import pytest
from scipy import sparse

from lib.sae import coactivity


def tracks(seed, n=3000, k=12, density=0.05):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.random((n, k)) * (rng.random((n, k)) < density))


def test_correlation_is_pearsons():
    a, b = tracks(0, 200, 4, 0.4), tracks(1, 200, 5, 0.4)
    wanted = np.corrcoef(a.toarray().T, b.toarray().T)[:4, 4:]
    assert np.allclose(coactivity.correlation(a, b), wanted)
    silent = sparse.csr_matrix(np.column_stack([a.toarray()[:, 0], np.zeros(200), np.ones(200)]))
    assert np.allclose(coactivity.correlation(silent, b)[1:], 0, atol=1e-9)
    with pytest.raises(ValueError, match="200 and 3000 tokens"):
        coactivity.correlation(a, tracks(0))


def test_the_same_latents_in_another_order_are_all_shared_and_turned_ones_are_not():
    a = tracks(0)
    order = np.random.default_rng(1).permutation(12)
    table = coactivity.match(a, a[:, order])
    assert table.shared.all() and (order[table.partner] == table.latent).all() and np.allclose(table.r, 1)
    pair = coactivity.pairwise({"one": a, "two": a[:, order]}).iloc[0]
    assert pair.shared == 1 and pair.null_shared == 0 and abs(pair.null_r) < 0.1


def test_two_that_compete_for_one_are_not_both_shared_and_the_dead_do_not_count():
    a = tracks(0, k=2)
    twice = sparse.csr_matrix(np.column_stack([a.toarray()[:, 0], a.toarray()[:, 0], a.toarray()[:, 1], np.zeros(3000)]))
    table = coactivity.match(twice, a)
    assert table.latent.tolist() == [0, 1, 2] and table.shared.sum() == 2
    pair = coactivity.pairwise({"twice": twice, "a": a}).iloc[0]
    assert (pair.n_a, pair.n_b) == (3, 2) and pair.shared == pytest.approx(4 / 5)


def test_turning_keeps_each_track_and_moves_tracks_apart():
    a = tracks(0)
    moved = coactivity.turned(a, 0)
    for j in range(3):
        own, other = a.toarray()[:, j], moved.toarray()[:, j]
        assert any(np.array_equal(np.roll(own, s), other) for s in range(3000))
    assert not np.array_equal(moved.toarray(), a.toarray())


def test_codes_of_one_event_at_two_places_agree_once_spread_and_never_across_units():
    unit = np.repeat([0, 1], 10)
    a, b = np.zeros((20, 1)), np.zeros((20, 1))
    a[4], b[6], a[9], a[15], b[14] = 1, 1, 0, 2, 2
    a, b = sparse.csr_matrix(a), sparse.csr_matrix(b)
    assert coactivity.match(a, b).r[0] < 0.1
    assert coactivity.match(*(coactivity.spread(x, unit, 3) for x in (a, b))).r[0] > 0.5
    edge = sparse.csr_matrix(([3.0], ([9], [0])), shape=(20, 1))
    assert coactivity.spread(edge, unit, 2).toarray().ravel().tolist() == [0] * 7 + [3.0] * 3 + [0] * 10
    with pytest.raises(ValueError, match="at least two SAEs, found 1"):
        coactivity.pairwise({"a": a})
