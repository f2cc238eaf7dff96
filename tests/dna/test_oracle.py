"""What an ideal latent could be missed for: which pairs are broken where, what is taken back, and what a probe then loses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.acts.store import Store
from lib.causal import rule
from lib.causal.subjects import Subjects
from lib.corpus.corpus import Readout
from lib.dna import oracle
from lib.outcome import probe, validate

LENGTH, D = 60, 4
#: One functional pair 1 (site 20 to 26, partner 30 to 34), and a decoy of pair 2 (40 to 46).
PLANTED = pd.DataFrame({"contig": "c", "start": [120, 140], "end": [126, 146], "partner_start": [130, 140], "partner_end": [134, 140],
                        "pair": [1, 2], "kind": ["functional", "alone"]})  # fmt: skip


def with_letter(at):
    return "A" * at + "C" + "A" * (LENGTH - at - 1)


TEXTS = ["A" * LENGTH, with_letter(22), with_letter(33), with_letter(28), with_letter(42)]  # reference, site, partner, gap, decoy
UNITS = pd.DataFrame({"unit": range(5), "window": 0, "contig": "c", "start": 100, "end": 100 + LENGTH,
                      "is_reference": [True] + 4 * [False]})  # fmt: skip


@pytest.fixture
def subjects():
    """The unit of each haplotype but the first is one everywhere, more at its site's middle; a subject a unit."""
    acts = np.repeat([0.0, 1.0, 1.0, 1.0, 1.0], LENGTH)[:, None] * np.ones((1, D))
    acts[LENGTH + 23] = 5.0
    tokens = {"unit": np.repeat(np.arange(5), LENGTH), "ref_start": np.tile(np.arange(100, 100 + LENGTH), 5)}
    readout = Readout(sparse.identity(5, format="csr"), list("abcde"), ["all"])
    return Subjects(Store(Path(), tokens, {"s": acts}, {}), Path(), UNITS, TEXTS, readout)


def test_a_pair_is_broken_by_a_letter_of_its_site_or_partner_and_by_no_other():
    table = oracle.broken(PLANTED, UNITS, TEXTS)
    assert table.to_numpy().tolist() == [[1, 1, 123], [2, 1, 123]]


def test_what_is_taken_back_is_the_difference_near_the_site_or_everywhere(subjects):
    taken = oracle.removed(oracle.broken(PLANTED, UNITS, TEXTS), subjects, "s")
    assert {name: of.shape for name, of in taken.items()} == dict.fromkeys(oracle.AROUND, (8, 5, D))
    assert np.allclose(taken["window"][1], np.array([0, 64, 60, 0, 0])[:, None] / LENGTH)
    assert np.allclose(taken["12 bases"][1], np.array([0, 29, 25, 0, 0])[:, None] / LENGTH)
    assert not taken["window"][[0, *range(2, 8)]].any()


def test_a_probe_misses_what_is_taken_back_and_nothing_else_that_it_can_read():
    """Feature 0 is the disease, feature 1 its copy: taking back one is not missed by a refit, both are, the other pair is not."""
    rng, n = np.random.default_rng(0), 400
    y = (np.arange(n) % 2).astype(int)
    X = np.stack([y + 0.3 * rng.standard_normal(n)] * 2 + [rng.standard_normal(n)] * 2, 1)
    run = validate.repeated(probe.span(X), y, None, 4, 1, [1.0], 0)
    final = probe.final(X, y, [1.0], 0, None)
    one, both = np.zeros((8, n, 4)), np.zeros((8, n, 4))
    one[1, :, 0], both[1, :, :2] = X[:, 0], X[:, :2]
    taken = {"12 bases": one, "window": both}
    second = rule.SecondCohort(y, final.score(X), final, np.zeros((n, 1, 0)), X)
    table = oracle.falls((1, 2), y, run, rule.refit(X, 1, y, None, 4, [1.0], 0), taken, second, taken, 200, 0)
    refit = table.set_index(["pair", "removed"]).refit
    names = [oracle.grammar.PAIRS[pair].name for pair in (1, 2)]
    assert refit[names[0], "12 bases"] == pytest.approx(0, abs=0.01) and refit[names[0], "window"] > 0.3
    assert refit[names[1], "window"] == pytest.approx(0, abs=0.01)
    assert table.set_index(["pair", "removed"]).frozen_second[names[0], "window"] > 0.3
    told = pd.DataFrame({"method": ["SAE", "SAE", "PCA"], "group": [f"{names[0]} +", f"{names[0]} -", f"{names[1]} +"], "score": [7, 3, 9]})
    needed = pd.DataFrame({"name": ["3", "7", "9"], "delta": [0.2, 0.1, 0.9], "refit": [0.1, 0, 0], "external": [0.15, 0.1, 0.9],
                           "necessary": [True, False, True]})  # fmt: skip
    beside = oracle.beside_latents(table, told, needed).set_index("pair")
    assert beside.latent[names[0]] == "3" and beside.necessary.tolist() == [True, False]
    assert beside.share[names[0]] == pytest.approx(0.15 / table.set_index(["pair", "removed"]).frozen_second[names[0], "window"])
