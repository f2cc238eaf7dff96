"""FIMO hits: a planted consensus is found where it was planted, on both strands, and never past a window's end."""

import numpy as np
import pandas as pd
import pytest

from lib.dna import intervals
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
