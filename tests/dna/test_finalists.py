"""Finalists: a latent that reads one word earns its logo, follows the word in and out, and one that reads nothing does not."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.dna import finalists, logos, planted
from lib.dna import motifs as mt
from lib.models import sequence as sq

WORD = "CAAGGTCATG"
N, LENGTH = 60, 60


def background(n, seed):
    codes = planted.background(n * LENGTH, np.random.default_rng(seed))
    return [sq.decode(row) for row in codes.reshape(n, LENGTH)]


def fits(text):
    """Share of the letters of WORD that fit at each base where it could start, above a half, squared."""
    share = [sum(a == b for a, b in zip(text[i:], WORD)) / len(WORD) for i in range(len(text) - len(WORD) + 1)]
    return (np.maximum(np.array(share) - 0.5, 0) ** 2).astype(np.float32)


def tokens_of(texts):
    """One token a base; the word fires on its fifth."""
    table = pd.DataFrame([(u, i, i + 1) for u, t in enumerate(texts) for i in range(len(t))], columns=["unit", "start", "end"])
    values = np.concatenate([np.concatenate([np.zeros(4), fits(t), np.zeros(len(WORD) - 5)]) for t in texts])
    return table, sparse.csr_matrix(values[:, None].astype(np.float32))


@pytest.fixture
def reader(monkeypatch):
    """A model whose only latent reads WORD: stands where the adapter and the SAE would be asked."""
    monkeypatch.setattr(logos, "latent_score", lambda *_: lambda texts: np.array([fits(t).max() for t in texts]))

    def read_units(_, __, ___, texts):
        table, values = tokens_of(list(texts.values()))
        return table.assign(unit=np.array(list(texts))[table["unit"]]), values

    monkeypatch.setattr(finalists.reread, "read_units", read_units)


def texts_with_words(share=0.6, seed=0):
    rng = np.random.default_rng(seed)
    texts = background(N, seed)
    for u in range(int(share * N)):
        at = int(rng.integers(3, LENGTH - len(WORD) - 3))
        texts[u] = texts[u][:at] + WORD + texts[u][at + len(WORD) :]
    return texts


def target(name, word, family):
    pwm = np.full((4, len(word)), 0.02)
    pwm[sq.encode(word), np.arange(len(word))] = 0.94
    return mt.Motif(name, name, family, pwm)


PICKED = pd.DataFrame({"latent": [0], "concept": ["M1 M1 -"], "family": ["fa::fx"]})


def targets():
    turned = sq.decode(sq.reverse_complement(sq.encode(WORD)))
    return (target("M1", turned, "fa"), target("M2", "TTTTTCCCCC", "fb"))


def examine(texts, n_windows=30, picked=PICKED, seed=0):
    table, values = tokens_of(texts)
    return finalists.examine(picked, None, "site", None, values, table, texts, targets(), n_windows, 20, seed, n_null=200)


def test_a_word_is_found_named_and_followed(reader):
    got = examine(texts_with_words())
    row = got.table.iloc[0]
    assert row.refused == "" and row.n_seqlets >= 20 and WORD in row.logo and row.word_from == "logo"
    assert row.match == "M1 M1" and row.family_agrees
    assert row.insertion > 0.15 and row.insertion_low > 0 and row.insertion_q < 0.05 and row.n_backgrounds == 20
    assert row.removal > 0.15 and row.removal_low > 0
    assert "".join("ACGT"[i] for i in got.logos[list("ACGT")].to_numpy().argmax(1)) == row.logo
    assert got.logos["earned"].all() and (got.logos["bits"] <= 2).all()


def test_too_few_windows_are_refused_and_the_profile_is_put_in_on_its_strand(reader):
    got = examine(texts_with_words(), n_windows=12).table.iloc[0]
    assert "sites" in got.refused or "seqlet" in got.refused
    assert got.word_from == "JASPAR" and got.word == WORD  # M1 holds the other strand; the concept is its minus strand
    assert "match" not in got.index


def test_a_latent_that_reads_another_word_does_not_follow_the_profile(reader):
    other = PICKED.assign(concept="M2 M2 +")
    row = examine(texts_with_words(), n_windows=12, picked=other).table.iloc[0]
    assert row.word == "TTTTTCCCCC" and row.insertion < 0.1 and row.insertion_q > 0.01


def test_backgrounds_are_quiet_distinct_and_as_rich_in_gc_as_the_top():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.permutation(list("G" * k + "A" * (20 - k)))) for k in rng.integers(2, 18, 80)]
    peaks = pd.DataFrame({"unit": np.arange(80), "activation": np.arange(80)[::-1] / 80, "middle": 5})
    top = pd.DataFrame({"unit": [u for u in range(40) if texts[u].count("G") >= 13][:5]})
    got = finalists._backgrounds(peaks, top, texts, 8, np.random.default_rng(0))
    quiet = texts[40:]
    assert len(got) == 8 and set(got) <= set(quiet)
    gc = np.array([t.count("G") for t in got])
    assert gc.mean() > np.mean([t.count("G") for t in quiet]) + 2


def test_windows_with_n_have_no_peak():
    table, values = tokens_of(["ACGT" * 5 + "N" + "ACGT" * 5, "ACGT" * 10 + "A"])
    peaks = finalists._peaks(values.toarray().ravel(), table, ["ACGT" * 5 + "N" + "ACGT" * 5, "ACGT" * 10 + "A"])
    assert peaks["unit"].tolist() == [1]


def test_a_span_stays_in_its_window_and_short_windows_are_refused():
    low, high = finalists._around(np.array([2, 50, 98]), np.array([100, 100, 100]))
    assert low.tolist() == [0, 35, 70] and high.tolist() == [30, 65, 100]
    with pytest.raises(ValueError, match="a window of 20 bases"):
        finalists._around(np.array([2]), np.array([20]))


def test_effects_are_means_with_their_intervals():
    values = np.random.default_rng(0).normal(1, 1, 200)
    got = finalists._effect("x", values, 0)
    assert got["x"] == pytest.approx(values.mean()) and got["x_p"] < 0.001
    assert got["x_high"] - got["x_low"] == pytest.approx(4 * 1 / np.sqrt(200), rel=0.15)
    assert finalists._effect("x", values - values.mean(), 0)["x_p"] > 0.2


def test_a_silent_latent_is_said_to_be_silent(reader):
    texts = texts_with_words()
    table, values = tokens_of(texts)
    got = finalists.examine(PICKED, None, "site", None, 0 * values, table, texts, targets(), 30, 20, 0)
    assert got.table.loc[0, ["refused", "insertion_q"]].tolist() == ["silent on these windows", 1] and not len(got.logos)
