"""Subjects as later notebooks read them, from what 00 and 01 leave."""

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.causal import subjects
from lib.corpus import corpus

UNITS = pd.DataFrame({"unit": [0, 1, 2], "window": [0, 0, 1], "locus": ["A", "A", "B"], "is_reference": [True, False, True]})
WEIGHTS = sparse.csr_matrix([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def files(tmp_path, monkeypatch):
    UNITS.to_csv(tmp_path / "units.csv", index=False)
    corpus.write_records(tmp_path / "records.parquet", corpus.Records(["ACGT", "AC CT", "GGGG"]))
    corpus.write_readout(tmp_path / "readout.h5", corpus.Readout(WEIGHTS, ["p", "q"], ["A", "B"]))
    with h5py.File(tmp_path / "pooled.h5", "w") as f:
        f.attrs["sites"] = ["resid_post.1"]
        f["resid_post.1"] = np.array([[0.0, 1.0], [4.0, 3.0], [8.0, 8.0]], dtype=np.float32)
    monkeypatch.setattr(subjects.io, "private_path", lambda study, stage, name: tmp_path / name)
    monkeypatch.setattr(subjects.store, "open_store", lambda path: path)
    return tmp_path


def test_features_are_the_means_of_the_units_part_by_part(files):
    made = corpus.Corpus("toy", "00_toy", "toy.kind", "m", {}, {}, {}, [])
    own = subjects.read(made)
    assert own.readout.subjects == ["p", "q"] and own.readout.parts == ["A", "B"] and own.texts == ["ACGT", "AC CT", "GGGG"]
    assert own.features("resid_post.1").tolist() == [[2.0, 2.0, 8.0, 8.0], [0.0, 1.0, 8.0, 8.0]]
    assert own.acts == files / "activations.h5"


def test_a_unit_belongs_to_its_locus_or_to_the_one_part_that_all_are_read_as(files):
    own = subjects.read(corpus.Corpus("toy", "00_toy", "toy.kind", "m", {}, {}, {}, []))
    assert own.part_of().to_dict() == {0: 0, 1: 0, 2: 1}
    whole = replace(own, readout=corpus.Readout(WEIGHTS[::2], ["p", "q"], ["all loci"]))
    assert whole.part_of().to_dict() == {0: 0, 1: 0, 2: 0}
    with pytest.raises(ValueError, match="lacks: .'B'"):
        replace(own, readout=corpus.Readout(WEIGHTS, ["p", "q"], ["A", "C"])).part_of()
