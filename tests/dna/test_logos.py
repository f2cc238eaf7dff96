"""Logos: seqlets of a score that reads one word, alignment under jitter, and a gate that noise does not pass."""

import numpy as np
import pytest

from lib.dna import logos, planted
from lib.dna import motifs as mt
from lib.models import sequence as sq
from lib.models.shuffle import dinucleotide_shuffled

WORD = "GATTACAGG"


def score(sequences):
    """What a latent that reads WORD would do: share of the letters of its best place that fit, above a half."""
    out = []
    for text in sequences:
        fits = max(sum(a == b for a, b in zip(text[i:], WORD)) for i in range(len(text) - len(WORD) + 1))
        out.append(max(fits / len(WORD) - 0.5, 0))
    return np.array(out, dtype=np.float32)


def background(n, length, seed):
    codes = planted.background(n * length, np.random.default_rng(seed))
    return [sq.decode(row) for row in codes.reshape(n, length)]


def with_word(texts, at):
    return [t[:a] + WORD + t[a + len(WORD) :] for t, a in zip(texts, at)]


def test_mutagenesis_points_at_the_word_and_nowhere_else():
    at = np.array([12, 20])
    values = logos.mutagenesis(score, with_word(background(2, 40, 0), at), at - 5, at + len(WORD) + 5)
    assert values.shape == (2, len(WORD) + 10)
    np.testing.assert_allclose(values[:, 5:-5], 1 / len(WORD), atol=1e-6)  # each base of the word counts once
    assert (values[:, :5] == 0).all() and (values[:, -5:] == 0).all()


def test_seqlets_are_the_words_and_shuffled_sequences_give_none():
    rng = np.random.default_rng(1)
    at = rng.integers(5, 25, 40)
    texts = with_word(background(40, 40, 2), at)
    zero = np.zeros(40, dtype=int)
    noise = rng.normal(0, 0.01, (2, 40, 40)).astype(np.float32)
    values = logos.mutagenesis(score, texts, zero, zero + 40) + noise[0]
    control = logos.mutagenesis(score, dinucleotide_shuffled(texts, 0), zero, zero + 40) + noise[1]
    seqlets = logos.seqlets(values, control)
    start = at[seqlets["sequence"]]
    inside = (seqlets["end"] > start) & (seqlets["start"] < start + len(WORD))
    assert inside.mean() > 0.9 and seqlets["sequence"].nunique() > 30
    assert len(logos.seqlets(control, values)) < 5


def test_shuffled_sequences_keep_their_dinucleotides():
    texts = background(3, 60, 5)
    mixed = dinucleotide_shuffled(texts, 0)
    pairs = [sorted(t[i : i + 2] for i in range(59)) for t in (texts[0], mixed[0])]
    assert pairs[0] == pairs[1] and texts[0] != mixed[0]


def jittered(n, seed, jitter):
    rng = np.random.default_rng(seed)
    shift = rng.integers(-jitter, jitter + 1, n)
    texts = with_word(background(n, 30, seed), 10 + shift)
    return np.stack([sq.encode(t) for t in texts])


def test_windows_are_aligned_before_they_are_counted():
    windows = jittered(60, 0, 4)
    ppm, _ = logos.stack(windows, np.ones(60))
    trimmed = logos.trim(ppm, 60)
    assert WORD in logos.consensus(ppm) and logos.refused(trimmed, 60) == ""
    blurred = np.eye(5)[windows][..., :4].mean(0).T
    assert logos.information(blurred, 60).max() < 1.0
    assert logos.information(ppm, 60).max() > 1.8


def random_ppms(n, depth, width=20, gc=0.41, seed=0):
    p = np.array([(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2])
    return [np.eye(4)[np.random.default_rng(seed + i).choice(4, (depth, width), p=p)].mean(0).T for i in range(n)]


@pytest.fixture(scope="module")
def jaspar():
    return mt.vertebrate_motifs()


def test_the_gate_stops_noise_that_tomtom_alone_would_name(jaspar):
    from memelite import tomtom

    ppms = [p for depth in (20, 100, 300, 500) for p in random_ppms(50, depth, seed=depth)]
    depths = np.repeat([20, 100, 300, 500], 50)
    p = np.asarray(tomtom(ppms, [m.pwm for m in jaspar], n_jobs=1)[0]).min(1)
    assert (p * len(jaspar) < 0.01).mean() > 0.95  # what a figure without the gate would claim
    assert all(logos.refused(logos.trim(ppm, d), d) for ppm, d in zip(ppms, depths))


@pytest.mark.parametrize("columns, n, said", [(12, 19, "19 sites"), (4, 50, "4 columns"), (12, 50, "")])
def test_the_gate_says_why(columns, n, said):
    ppm = np.eye(4)[:, np.arange(columns) % 4]
    assert logos.refused(ppm, n).startswith(said) and bool(logos.refused(ppm, n)) == bool(said)
    assert "bits" in logos.refused(np.full((4, 8), 0.25), 50)


def test_flat_targets_are_left_out(jaspar):
    kept = logos.firm(jaspar)
    assert 900 < len(kept) < len(jaspar) and "MA1929.2" not in {m.matrix_id for m in kept}


def test_an_earned_logo_is_named_by_family_and_a_random_matrix_is_not(jaspar):
    sequences = np.stack([sq.encode(t) for t in background(400, 60, 9)])
    matcher = logos.Matcher(jaspar, sequences, depth=60, n_null=300)
    (motif,) = mt.motifs_by_id([planted.GUT_IMMUNE["HNF4A"]])
    sites = planted.sample_sites(motif, 60, np.random.default_rng(0))
    match = matcher.match(logos.trim(np.eye(4)[sites].mean(0).T, 60))
    assert match.holds and match.motif.family == motif.family
    noise = [matcher.match(p) for p in random_ppms(20, 60, width=15, seed=3)]
    assert not any(m.holds for m in noise)


def test_motif_in_and_out_of_a_score_that_reads_it():
    rng = np.random.default_rng(0)
    texts = background(30, 50, 4)
    assert logos.insertion(score, texts, WORD, rng).mean() > 0.15
    assert abs(logos.insertion(score, texts, "CCTTCTCCT", rng).mean()) < 0.05
    at = np.full(30, 20)
    gone = logos.removal(score, with_word(texts, at), at, at + len(WORD), rng)
    assert gone.mean() > 0.15
    assert abs(logos.removal(score, with_word(texts, at), at + 15, at + 24, rng).mean()) < 0.02
