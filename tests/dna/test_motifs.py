"""FIMO hits: a planted consensus is found where it was planted, on both strands, and never past a window's end."""

import numpy as np
import pandas as pd
import pytest

from lib.dna import intervals, motifs
from lib.dna.motifs import Motif

SITE = "GATTACAGGC"  # not its own reverse complement
REVERSED = "GCCTGTAATC"


def motif(consensus, name="TOY", flat=0):
    """97 % consensus; `flat` columns of 1/4 after it."""
    pwm = np.full((4, len(consensus) + flat), 0.01)
    for column, base in enumerate(consensus):
        pwm["ACGT".index(base), column] = 0.97
    pwm[:, len(consensus) :] = 0.25
    return Motif("MA0000.1", name, "toys", pwm)


@pytest.fixture(scope="module")
def hits():
    # the strands in windows of chr1 and chr2; a window that ends where a motif with flat columns would go on
    windows = pd.DataFrame(
        {"contig": ["chr1", "chr2", "chr2"], "start": [1000, 50, 500], "end": [1060, 110, 540]}
    )
    blank = "T" * 60
    sequences = [
        blank[:20] + SITE + blank[30:45] + "N" * 5 + blank[50:],
        blank[:7] + REVERSED + blank[17:],
        "T" * 30 + SITE,
    ]
    table = intervals.motif_hits(
        windows, sequences, (motif(SITE), motif(SITE, "WIDE", flat=3), motif("ACGCGTACGCGT", "PALINDROME"))
    )
    return table


def test_both_strands_with_the_right_coordinates(hits):
    toy = hits[hits["concept"].str.startswith("MA0000.1 TOY")]
    assert sorted(toy[["contig", "start", "end", "concept"]].itertuples(index=False, name=None)) == [
        ("chr1", 1020, 1030, "MA0000.1 TOY +"), ("chr2", 57, 67, "MA0000.1 TOY -"), ("chr2", 530, 540, "MA0000.1 TOY +"),
    ]  # fmt: skip
    assert set(toy["family"]) == {"toys"}


def test_a_reverse_hit_takes_its_flat_columns_from_the_left_and_none_leaves_its_window(hits):
    wide = hits[hits["concept"].str.startswith("MA0000.1 WIDE")]
    # forward: site and 3 bases to its right; reverse: 3 to its left; in the short window the 3 would be outside
    assert sorted(wide[["contig", "start", "end"]].itertuples(index=False, name=None)) == [
        ("chr1", 1020, 1033), ("chr2", 54, 67),
    ]  # fmt: skip


def test_what_is_not_there_is_not_found(hits):
    assert not hits["concept"].str.contains("PALINDROME").any()


def test_a_palindrome_counts_once_a_strand():
    window = pd.DataFrame({"contig": ["chr1"], "start": [0], "end": [40]})
    table = intervals.motif_hits(window, ["T" * 10 + "ACGCGTACGCGT" + "T" * 18], (motif("ACGCGTACGCGT"),))
    assert table[["start", "end", "concept"]].to_numpy().tolist() == [
        [10, 22, "MA0000.1 TOY +"],
        [10, 22, "MA0000.1 TOY -"],
    ]


def test_shuffled_columns_keep_composition_and_information_and_lose_the_word():
    real = next(m for m in motifs.vertebrate_motifs() if m.name == "NFKB1")
    got = motifs.columns_shuffled(real, np.random.default_rng(0))
    assert sorted(map(tuple, got.pwm.T)) == sorted(map(tuple, real.pwm.T)) and (got.matrix_id, got.family) == (real.matrix_id, real.family)
    assert got.information.sum() == pytest.approx(real.information.sum())
    assert motifs.score_threshold(got.pwm) == pytest.approx(motifs.score_threshold(real.pwm), abs=0.1)  # as rare by chance
    best = real.pwm.argmax(0), real.reverse_complement().argmax(0)
    assert all((got.pwm.argmax(0) == word).mean() < 0.6 for word in best)
    assert (motifs.columns_shuffled(real, np.random.default_rng(0)).pwm == got.pwm).all()


def test_the_best_hits_are_kept():
    """Of three sites on the plus strand the one with an error is left out; none is kept of a concept that is not named."""
    texts = ["TTTTT" + SITE + "TTTTT" + SITE + "TTTTT" + SITE[:-1] + "A" + "TTTTT"]
    windows = pd.DataFrame({"contig": ["c"], "start": [100], "end": [100 + len(texts[0])]})
    every = intervals.motif_hits(windows, texts, (motif(SITE),), 1e-3)
    assert (every["concept"] == "MA0000.1 TOY +").sum() == 3
    best = intervals.motif_hits(windows, texts, (motif(SITE),), 1e-3, {"MA0000.1 TOY +": 2})
    assert best["start"].tolist() == [105, 120] and intervals.motif_hits(windows, texts, (motif(SITE),), 1e-3, {}).empty
