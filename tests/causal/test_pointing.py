"""Which windows are explained, and what of one place is counted once."""

import numpy as np
import pandas as pd
import pytest

from lib.causal import pointing
from lib.causal.attribution import Attribution

NOBODY_KNOWS = pd.DataFrame({"contig": [], "start": [], "end": [], "letters": []})
CAUSES = pd.DataFrame({"contig": "c", "start": [3, 14, 93], "end": [4, 15, 94], "letters": ["T", "G", "T"]})


def units_of(n_places: int = 5, n_haplotypes: int = 6) -> tuple[pd.DataFrame, list[str]]:
    """Places of 10 letters A, the first of whose haplotypes is the reference; each other has a C, odd ones T at 3 too."""
    rows, texts = [], []
    for place in range(n_places):
        for haplotype in range(n_haplotypes):
            rows.append((len(texts), "c", 10 * place, 10 * place + 10, place, haplotype == 0))
            text = ["C" if haplotype and i == haplotype + 3 else "A" for i in range(10)]
            texts.append("".join([*text[:3], "T" if haplotype % 2 else text[3], *text[4:]]))
    return pd.DataFrame(rows, columns=["unit", "contig", "start", "end", "window", "is_reference"]), texts


def test_half_carry_a_cause_and_the_others_lie_on_one_and_carry_none():
    units, texts = units_of()
    got = pointing.choose(units, texts, CAUSES, 4, 0)
    # of the places, 0 holds a cause whose letters odd haplotypes have, 1 one that nobody has, and none of 2 to 4 any
    assert got.start.isin([0, 10]).all()
    carries = got.unit.map(lambda unit: texts[unit][3] == "T") & (got.start == 0)
    assert carries.tolist().count(True) == 2
    assert got[~carries].is_reference.all() and set(got[~carries].start) == {0, 10}
    pd.testing.assert_frame_equal(got, pointing.choose(units, texts, CAUSES, 4, 0))
    assert len(pointing.choose(units, texts, CAUSES, 100, 0)) == 3 + 3 + 6  # all carriers of 0, the others of 0, and 1


def test_they_are_dealt_over_places_references_first():
    units, texts = units_of()
    everywhere = pd.DataFrame({"contig": "c", "start": np.arange(5) * 10 + 3, "end": np.arange(5) * 10 + 4, "letters": "T"})
    got = pointing.choose(units, texts, everywhere, 20, 1)
    assert (got.start.value_counts() == 4).all() and got.is_reference.sum() == 5
    few = pointing.choose(units, texts, everywhere, 10, 1)
    assert (few.start.value_counts() == 2).all() and few.is_reference.sum() == 5


def test_of_a_unit_of_another_length_nobody_knows_what_it_carries():
    units, texts = units_of()
    texts[1] = texts[1] + "A"
    assert 1 not in set(pointing.choose(units, texts, CAUSES, 100, 0).unit)


def test_where_no_cause_is_known_references_are_sampled():
    units, texts = units_of()
    got = pointing.choose(units, texts, NOBODY_KNOWS, 3, 0)
    assert got.is_reference.all() and len(got) == 3
    assert len(pointing.choose(units, texts, NOBODY_KNOWS, 100, 0)) == 5


def explained(name: str, values) -> Attribution:
    return Attribution(name, np.asarray(values, dtype=np.float32), 1.0)


def test_copies_of_a_place_narrow_no_interval_and_no_null():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((8, 30))
    windows = pd.DataFrame({"contig": "c", "start": np.arange(8) * 30, "end": np.arange(8) * 30 + 30})
    sites = pd.DataFrame({"contig": "c", "start": np.arange(8) * 30 + 5, "end": np.arange(8) * 30 + 9})
    once = pointing.site_overlap([explained("a", values)], windows, sites, 500, 0, 200).iloc[0]
    copied = pd.concat([windows] * 9, ignore_index=True)
    often = pointing.site_overlap([explained("a", np.tile(values, (9, 1)))], copied, sites, 500, 0, 200).iloc[0]
    assert often.n == 72 and once.n == 8
    assert once[["value", "low", "high", "null", "null_95", "p"]].tolist() == pytest.approx(
        often[["value", "low", "high", "null", "null_95", "p"]].tolist()
    )


def test_the_difference_is_taken_in_each_window():
    # sites on letters 0 and 1: a has them first (1), b second (0) of window 0, and both alike of window 1: differences 1 and 0
    windows = pd.DataFrame({"contig": "c", "start": [0, 4, 8], "end": [4, 8, 12]})
    sites = pd.DataFrame({"contig": "c", "start": [0, 4], "end": [2, 6]})
    a = explained("a", [[4, -3, 2, 1], [4, 3, 2, 1], [1, 2, 3, 4]])
    b = explained("b", [[1, 2, -3, 4], [4, 3, 2, 1], [1, 2, 3, 4]])
    got = pointing.difference([a, b], "a", "b", windows, sites, 200, 0)
    assert (got.value, got.n) == (0.5, 2) and (got.low, got.high) == (0, 1)
    assert pointing.difference([a, b], "a", "a", windows, sites, 200, 0)[:3] == (0, 0, 0)
    assert pointing.difference([a, b], "a", "b", windows, sites[:0], 200, 0).n == 0
