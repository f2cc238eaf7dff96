"""Composition and repeats, by hand and against slow counting."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lib.dna import confounders as cf
from lib.models import sequence as sq
from tests import helpers


def spans(intervals):
    return [tuple(map(int, row)) for row in intervals]


def test_runs_by_hand():
    codes = sq.encode("ACAAAAAAGTNNNNNNNNNNNNNN")
    assert spans(cf.homopolymers(codes)) == [(2, 8)]  # N is no base
    assert spans(cf.homopolymers(codes, 7)) == []
    text = "G" + "CA" * 7 + "TTG"
    assert spans(cf.simple_repeats(sq.encode(text))) == [(1, 15)]
    assert spans(cf.simple_repeats(sq.encode("ACGTTG" * 2))) == [(0, 12)]  # period 6, twice
    assert spans(cf.simple_repeats(sq.encode("A" * 30))) == []  # one base is a homopolymer


def test_cpg_island_is_found_and_depleted_sequence_is_not():
    island, plain = "CG" * 150, "CTAG" * 100  # as rich in G and C, but no CpG
    islands = spans(cf.cpg_islands(sq.encode("AT" * 300 + island + "AT" * 300)))
    assert len(islands) == 1 and islands[0][0] < 600 + 60 and islands[0][1] > 900 - 60
    assert spans(cf.cpg_islands(sq.encode(plain + plain))) == [] == spans(cf.cpg_islands(sq.encode("CG" * 50)))


def reverse_complement(text):
    return sq.decode(sq.reverse_complement(sq.encode(text)))


@pytest.mark.parametrize("k", [3, 8, 16])
def test_counts_are_those_of_a_slow_count_on_both_strands(k):
    texts = [helpers.random_dna(n, n, at) for n, at in ((300, (5, 60)), (200, ()), (k, ()), (k - 1, ()))]
    slow = Counter(min(w, reverse_complement(w)) for t in texts for w in (t[i : i + k] for i in range(len(t) - k + 1)) if "N" not in w)
    counts = cf.KmerCounts([sq.encode(t) for t in texts], k)
    for text in texts:
        want = [slow[min(w, reverse_complement(w))] if "N" not in w else 0 for w in (text[i : i + k] for i in range(len(text) - k + 1))]
        assert counts.at(sq.encode(text)).tolist() == want
    assert counts.at(sq.encode("A" * 40)).max() == slow["A" * k]


def test_a_sequence_scattered_over_the_genome_is_a_repeat_on_either_strand_and_unique_sequence_is_not():
    element = helpers.random_dna(120, 7)
    texts = []
    for i in range(8):
        copy = element if i % 2 else reverse_complement(element)
        copy = copy[:60] + "ACGT"["ACGT".index(copy[60]) - 1] + copy[61:]  # one base changed: a gap of k is closed
        texts.append(helpers.random_dna(300, 50 + i) + copy + helpers.random_dna(200, 90 + i))
    counts = cf.KmerCounts([sq.encode(t) for t in texts])
    for text in texts:
        (start, end), = counts.repeats(sq.encode(text))
        assert abs(start - 300) < 12 and abs(end - 420) < 12
    assert spans(counts.repeats(sq.encode(helpers.random_dna(600, 1)))) == []


def test_intervals_are_in_genome_coordinates():
    windows = pd.DataFrame({"contig": ["c1", "c2"], "start": [100, 0]})
    table = cf.sequence_concepts(windows, ["ACAAAAAAGT", "TTTTTTTTG"], None)
    assert table.values.tolist() == [["c1", 102, 108, "poly-A", "homopolymer"], ["c2", 0, 8, "poly-T", "homopolymer"]]


def test_confounders_of_tokens_by_hand():
    texts = ["GCGCGCATATATATATATAT", "AAAAAAAAAAAAAAAAAAAA"]
    tokens = pd.DataFrame({"unit": [0, 0, 1], "start": [2, 15, 10], "end": [3, 16, 11], "contig": ["c", "c", "d"],
                           "ref_start": [1002, 1015, 10], "ref_end": [1003, 1016, 11]})  # fmt: skip
    repeats = pd.DataFrame({"contig": ["c", "d"], "start": [1010, 0], "end": [1020, 5], "concept": ["simple repeat", "x"]})
    sites = pd.DataFrame({"contig": ["c", "c"], "start": [2000, 1000]})
    table = cf.of_tokens(tokens, texts, repeats, sites, around=2)
    assert table["gc"].tolist() == [1.0, 0.0, 0.0]
    assert table["cpg"].tolist() == [1 * 4 / (2 * 2), 0, 0]  # GCGC: one CG in four bases, two of each
    assert table["position"].tolist() == [0.1, 0.75, 0.5]
    assert table["repeat"].tolist() == ["", "simple repeat", ""]
    np.testing.assert_allclose(table["log_tss"], np.log10([3, 16, 1e9 + 1]))
    assert cf.of_tokens(tokens, texts, repeats, None)["log_tss"].tolist() == [0, 0, 0]
