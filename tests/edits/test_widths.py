"""Dictionaries of several widths: which run stands for each, and mechanisms that all hold beside chance that grows with size."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.edits import diagnostics, widths
from lib.edits.change import States
from lib.sae.model import SAE, SAEConfig


def sweep(*rows: tuple[str, int, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["architecture", "d_sae", "l0"])
    table["run"] = [f"{row.architecture} {row.d_sae} {row.l0:g}" for row in table.itertuples()]
    return pd.concat([table.assign(split="validation"), table.assign(split="test", l0=0.0)])


def test_one_run_a_width_of_the_architecture_or_of_that_with_most():
    rows = ("topk", 8, 4.0), ("topk", 8, 16.0), ("topk", 16, 30.0), ("gated", 8, 5.0), ("gated", 16, 5.0), ("gated", 32, 5.0)
    assert widths.of_sweep(sweep(*rows), "topk", 15) == {8: "topk 8 16", 16: "topk 16 30"}
    assert widths.of_sweep(sweep(*rows), "jumprelu", 15) == {8: "gated 8 5", 16: "gated 16 5", 32: "gated 32 5"}
    assert widths.of_sweep(sweep(("topk", 8, 4.0), ("gated", 16, 5.0)), "topk", 4) == {}


def test_lost_by_hand():
    before, after = sparse.csr_matrix([[4.0, 4.0, 0.0, 2.0]]), sparse.csr_matrix([[3.0, 3.1, 1.0, 0.0]])
    assert widths.lost(before, after, 0.25).toarray().tolist() == [[1.0, 0.0, 0.0, 2.0]]


def told(monkeypatch, mechanisms: dict[int, int], chance: float = 0.3) -> pd.DataFrame:
    """The table of widths 40 and 400, of whose latents so many are lost at label 1 alone, the others at random."""
    rng, n = np.random.default_rng(0), 200
    label = np.arange(n) % 2
    states = []
    for width, real in mechanisms.items():
        fell = rng.random((n, width)) < chance
        fell[:, :real] = label[:, None] == 1
        states.append(sparse.csr_matrix(fell * (1 + rng.random((n, width)))))
    nothing = [state * 0 for state in states]
    monkeypatch.setattr(widths, "of_alleles", lambda *_: (States(states, None), States(nothing, None)))
    saes = {width: SAE(SAEConfig("topk", 8, width, 2), 0) for width in mechanisms}
    return widths.scaling(None, "x", saes, None, label, np.zeros(n, int), 0.25, 5, 99, 0)


def test_mechanisms_of_every_width_grow_less_than_size_and_chance_grows_as_it_does(monkeypatch):
    same = told(monkeypatch, {40: 20, 400: 20}).set_index("name")
    assert same.reading["slope"] == "flatter than size alone" and same.value["passing at 40"] >= 20
    grows = told(monkeypatch, {40: 4, 400: 40}).set_index("name")
    assert grows.reading["slope"] == "as size alone"


@pytest.mark.parametrize("mechanisms", [{40: 5}, {40: 5, 41: 5}])
def test_one_width_cannot_be_asked(monkeypatch, mechanisms):
    got = told(monkeypatch, mechanisms)
    assert list(got.columns) == diagnostics.COLUMNS and (len(got) > 0) == (len(mechanisms) > 1)
