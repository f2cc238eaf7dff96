"""Rivals keep what they should keep, and lose what they should lose."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from lib.annotate import association, pairs, rivals
from lib.dna import kmers
from tests import null_tracks


def test_instances_are_moved_whole_within_block_and_stratum():
    rng = np.random.default_rng(0)
    where = null_tracks.track(rng, 600)
    known, strata, block = null_tracks.concepts(rng, where, 4, (10, 40)), where.strata, where.block
    got = rivals.shuffle_labels(known, strata, block, seed=1)

    def spans(concepts):
        return [(row.indices.min(), row.indices.max(), row.nnz) for row in concepts.instances]

    moved = 0
    for (a, b, n), (c, d, m) in zip(spans(known), spans(got), strict=True):
        assert m == n and d - c == b - a  # the same tokens side by side
        assert block[a] == block[c] == block[d]
        middle, to = (sorted(range(x, x + n))[n // 2] for x in (a, c))
        edge = c in (0, 300) or d in (299, 599)  # moved inward where the block ends
        assert edge or n != b - a + 1 or strata[middle] == strata[to]
        moved += a != c
    assert moved > 0.8 * len(known.concept_of)
    union = np.stack([got.instances[np.flatnonzero(got.concept_of == c)].toarray().max(0) for c in range(4)], axis=1)
    np.testing.assert_array_equal(union, got.tokens.toarray())
    assert got.table["n_tokens"].tolist() == union.sum(0).tolist()
    np.testing.assert_array_equal(rivals.shuffle_labels(known, strata, block, 1).tokens.toarray(), union)
    assert (rivals.shuffle_labels(known, strata, block, 2).tokens.toarray() != union).any()
    alone = rivals.shuffle_labels(known, np.arange(600), block, seed=1)
    np.testing.assert_array_equal(alone.tokens.toarray(), known.tokens.toarray())


def test_without_association_the_label_shuffle_reads_what_a_track_elsewhere_reads():
    """Runs of 12 tokens and instances of 12, each on 6 % of the tokens, unrelated. A run meets an instance's tokens by chance alone,
    so F1 is that of the same track turned round; tokens dealt out one by one are met in most instances, and F1 is far above."""
    rng, n, k = np.random.default_rng(0), 20_000, 100
    place = np.sort(rng.choice(n // 12, k, replace=False)) * 12
    known = null_tracks.lay([[(s, s + 12) for s in place]], n)
    on = np.zeros(n, np.float32)
    for s in rng.choice(n // 12, k, replace=False) * 12 + 5:
        on[s : s + 12] = 1
    strata, block = np.zeros(n, int), np.zeros(n, int)

    def f1(concepts, track):
        return pairs.score_pairs(sparse.csr_matrix(track[:, None]), concepts, np.ones(1), thresholds=(0.0,)).f1[0, 0, 0]

    shuffled = [f1(rivals.shuffle_labels(known, strata, block, seed), on) for seed in range(20)]
    turned = [f1(known, np.roll(on, by)) for by in rng.integers(100, n - 100, 200)]
    order = rng.permutation(n)
    scattered = f1(replace(known, tokens=known.tokens[order], instances=known.instances[:, np.argsort(order)]), on)
    assert np.mean(shuffled) == pytest.approx(np.mean(turned), abs=0.01) and np.mean(shuffled) < 0.10
    assert scattered > np.mean(turned) + 0.01  # precision is the same 6 %, recall half


def both_signs(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    centred = x.astype(np.float32) - mean
    return np.concatenate([np.maximum(centred, 0), np.maximum(-centred, 0)], axis=1)


@pytest.mark.parametrize("width", [1, 3, 64])
def test_directions_in_blocks_are_the_dense_rival(width):
    rng = np.random.default_rng(0)
    acts, rows = rng.standard_normal((200, 7)).astype(np.float16), rng.permutation(200)[:90]
    mean = acts.astype(np.float32).mean(0)
    blocks = list(rivals.Directions(acts, rows, mean, width=width))
    assert max(b.shape[1] for b in blocks) <= width
    whole = sparse.hstack(blocks)
    assert whole.shape == rivals.Directions(acts, rows, mean).shape == (90, 14)
    np.testing.assert_array_equal(whole.toarray(), both_signs(acts[rows], mean))


def test_principal_axes_are_scikit_learns_both_signs():
    rng = np.random.default_rng(0)
    acts = (rng.standard_normal((3000, 6)) @ rng.standard_normal((6, 6)) + 3).astype(np.float32)
    mean, axes = rivals.principal_axes(acts, np.arange(2000), 4, chunk=300)
    theirs = PCA(4).fit(acts[:2000].astype(float))
    np.testing.assert_allclose(mean, theirs.mean_, rtol=1e-4)
    sign = np.sign((axes.T * theirs.components_).sum(1))
    np.testing.assert_allclose(axes.T, sign[:, None] * theirs.components_, atol=1e-4)
    assert (axes[np.abs(axes).argmax(0), np.arange(4)] > 0).all()
    got = sparse.hstack(list(rivals.Directions(acts, np.arange(2000, 2500), mean, axes, width=3))).toarray()
    score = (acts[2000:2500] - mean) @ axes
    np.testing.assert_allclose(got, np.concatenate([np.maximum(score, 0), np.maximum(-score, 0)], axis=1), atol=1e-4)


def test_a_screen_of_blocks_is_the_screen_of_the_whole():
    rng = np.random.default_rng(0)
    where = null_tracks.track(rng, 500)
    known, acts = null_tracks.concepts(rng, where, 3, (10, 40)), rng.standard_normal((500, 5)).astype(np.float32)
    mean = acts.mean(0)
    in_blocks = association.screen(rivals.Directions(acts, np.arange(500), mean, width=2), known)
    whole = association.screen(sparse.csr_matrix(both_signs(acts, mean)), known)
    for name in ("largest", "threshold", "f1"):
        np.testing.assert_array_equal(getattr(in_blocks, name), getattr(whole, name))


def column(word: str) -> int:
    return sum("ACGT".index(base) * 4 ** (len(word) - 1 - i) for i, base in enumerate(word))


@pytest.mark.parametrize("covering", [False, True])
@pytest.mark.parametrize("token, k", [(1, 3), (6, 4), (3, 3), (2, 6)])
def test_kmers_at_tokens_are_those_one_reads(token, k, covering):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGTN"), n, p=[0.24] * 4 + [0.04])) for n in (30, 23)]
    tokens = pd.DataFrame([(u, s, min(s + token, len(t))) for u, t in enumerate(texts) for s in range(0, len(t), token)],
                          columns=["unit", "start", "end"])  # fmt: skip
    got = kmers.kmer_latents(tokens, texts, k, covering)
    assert got.shape == (len(tokens), 4**k)
    for row, t in enumerate(tokens.itertuples()):
        want = set()
        for at in range(len(texts[t.unit]) - k + 1):
            word, last = texts[t.unit][at : at + k], at + k - 1
            here = (at < t.end and last >= t.start) if covering else t.start <= last < t.end
            if here and "N" not in word:
                want.add(column(word))
        assert set(got[row].indices) == want and (got[row].data == 1).all()


def test_moved_latents_keep_rate_values_and_clusters_and_lose_place():
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(60), np.where(np.arange(60) % 3, 50, 30))
    where = null_tracks.Track(unit * 0, unit, rng.standard_normal(len(unit)))
    latents = null_tracks.latents(rng, where, 5, (20, 60))
    got = rivals.moved_latents(latents, unit, seed=3)
    before, after = latents.toarray(), got.toarray()
    for latent in range(5):
        np.testing.assert_array_equal(np.sort(after[:, latent]), np.sort(before[:, latent]))
        windows = [
            sorted(_turns(dense[unit == u, latent]) for u in range(60)) for dense in (before, after)
        ]  # a window up to a turn
        assert windows[0] == windows[1]
        as_is = [sorted(tuple(dense[unit == u, latent]) for u in range(60)) for dense in (before, after)]
        assert as_is[0] != as_is[1]
        assert np.corrcoef(before[:, latent], after[:, latent])[0, 1] < 0.2
    pattern = [[_turns(after[unit == u, latent]) == _turns(before[unit == u, latent]) for u in range(60)] for latent in range(5)]
    assert len({tuple(p) for p in pattern}) > 1  # each latent moves on its own
    np.testing.assert_array_equal(rivals.moved_latents(latents, unit, 3).toarray(), after)


def _turns(x: np.ndarray) -> tuple:
    """The same for every rotation of x."""
    return max(tuple(np.roll(x, k)) for k in range(len(x)))
