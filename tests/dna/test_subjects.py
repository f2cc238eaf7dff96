"""People as later notebooks read them, from the files that 01_extraction leaves."""

import h5py
import numpy as np
import pandas as pd
import pytest

from lib.dna import subjects
from lib.dna.people import write_cohort

UNITS = pd.DataFrame({"unit": [0, 1, 2], "window": [0, 0, 1], "locus": ["A", "A", "B"], "is_reference": [True, False, True]})
CARRIERS = pd.DataFrame({"sample": ["p", "p", "p", "p", "q", "q", "q", "q"], "window": [0, 0, 1, 1] * 2, "haplotype": [0, 1] * 4,
                         "unit": [0, 1, 2, 2, 0, 0, 2, 2]})  # fmt: skip


@pytest.fixture
def files(tmp_path, monkeypatch):
    UNITS.to_csv(tmp_path / "units.csv", index=False)
    (tmp_path / "sequences.txt").write_text("ACGT\nACCT\nGGGG\n")
    write_cohort(tmp_path / "cohort.h5", ["p", "q"], np.zeros((1, 2)), CARRIERS)
    with h5py.File(tmp_path / "pooled.h5", "w") as f:
        f.attrs["sites"] = ["resid_post.1"]
        f["resid_post.1"] = np.array([[0.0, 1.0], [4.0, 3.0], [8.0, 8.0]], dtype=np.float32)
    monkeypatch.setattr(subjects.io, "private_path", lambda study, stage, name: tmp_path / name)
    monkeypatch.setattr(subjects.store, "open_store", lambda path: path)
    return tmp_path


def test_features_are_the_means_of_both_haplotypes_locus_by_locus(files):
    people = subjects.read("toy")
    assert people.names == ["p", "q"] and people.parts == ["A", "B"] and people.texts == ["ACGT", "ACCT", "GGGG"]
    assert people.features("resid_post.1").tolist() == [[2.0, 2.0, 8.0, 8.0], [0.0, 1.0, 8.0, 8.0]]
    assert people.acts == files / "activations.h5"


def test_people_in_another_order_are_refused(files):
    write_cohort(files / "cohort.h5", ["q", "p"], np.zeros((1, 2)), CARRIERS)
    with pytest.raises(ValueError, match="differ in order"):
        subjects.read("toy")
