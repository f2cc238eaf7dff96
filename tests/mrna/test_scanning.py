"""Simulated load: elements move it, decoys do not, and the same seed gives the same on every machine."""

import hashlib

import numpy as np
import pytest

from lib.mrna import elements as el
from lib.mrna import scanning

CODING = "ATGGGCGAA"
PLAIN = "CCACCACCACCACCACCACCACCACCACCACCACCACCACCACCACCACC"  # no element, start in strong context


def load(utr: str) -> float:
    return scanning.load(utr + CODING, len(utr))


def put(word: str, at: int = 10) -> str:
    return PLAIN[:at] + word + PLAIN[at + len(word) :]


def test_without_an_element_all_reach_the_start():
    assert load(PLAIN) == pytest.approx(scanning.LEAST + scanning.SPAN * 0.95)
    assert load(PLAIN[:-3] + "CCC") == pytest.approx(scanning.LEAST + scanning.SPAN * 0.75)


@pytest.mark.parametrize(("word", "reaches"), [
    ("CCCATGCC", 0.7),                # weak context, out of frame, overlapping
    ("ACCATGGC", 0.25),               # strong
    ("CTTTTTTC", 0.8), ("CGGGGC", 0.75), ("CGCGCGAAAACGCGCG", 0.6),
    ("CCCATGCCCTAAC", 0.7 + 0.4 * 0.3),  # closed: some start again
    ("ACCCTGGC", 0.8),
])  # fmt: skip
def test_each_element_lets_its_share_pass(word, reaches):
    at = 12 if word in ("CCCATGCC", "ACCATGGC", "CCCATGCCCTAAC", "ACCCTGGC") else 10
    assert load(put(word, at)) == pytest.approx(scanning.LEAST + scanning.SPAN * 0.95 * reaches)


def test_in_frame_without_a_stop_what_it_makes_counts():
    frame0 = put("CCCATGCC", 8)
    assert el.open_frames(frame0 + CODING, 50)[0].frame == 0
    assert load(frame0) == pytest.approx(scanning.LEAST + scanning.SPAN * (0.3 + 0.7 * 0.95))


@pytest.mark.parametrize("word", ["CTAACC", "CAAAAAAC", "ATATATCCCCATATAT", "CGTAC"])
def test_a_decoy_does_nothing(word):
    assert {e.family for e in el.elements(put(word) + CODING, 50)} == {"decoy"} and load(put(word)) == load(PLAIN)


def test_every_element_is_named_in_many_utrs_and_noise_is_of_replicates():
    got = scanning.simulate(3000, 50, CODING, 0.5, 0)
    held = el.table(got.records, 50).groupby("concept")["unit"].nunique()
    assert len(scanning.CAUSAL) == 12 and len(scanning.DECOYS) == 4 and held[scanning.CAUSAL + scanning.DECOYS].min() > 50
    assert np.std(got.table.rl_1 - got.table.rl_2) == pytest.approx(scanning.NOISE * 2**0.5, rel=0.05)
    assert got.table.true_load.between(scanning.LEAST, scanning.LEAST + scanning.SPAN).all()
    digest = hashlib.sha256("".join(got.table.sequence).encode()).hexdigest()
    assert digest == hashlib.sha256("".join(scanning.simulate(3000, 50, CODING, 0.5, 0).table.sequence).encode()).hexdigest()
    with pytest.raises(ValueError, match="wanted a coding region from its ATG on"):
        scanning.simulate(3, 50, "GGG", 0.5, 0)
