"""What DNA answers where the truth is planted: which variants cause a disease, and which sites they break."""

from types import SimpleNamespace

import pandas as pd
import pytest

from lib.dna import kind

VARIANTS = pd.DataFrame(
    [("c1", 5, "A", "G", "cohort", 0, 0, True), ("c1", 9, "A", "T", "external", 0, 0, True), ("c1", 40, "C", "G", "cohort", 1, 5, True),
     ("c1", 44, "C", "G", "cohort", 2, 0, False), ("c2", 7, "C", "G", "cohort", -1, -1, False)],
    columns=["contig", "pos", "ref", "alt", "cohort", "unit", "pair", "causal"],
)  # fmt: skip
SITES = pd.DataFrame([("c1", 2, 12, 0), ("c1", 20, 28, 0), ("c1", 38, 46, 1), ("c2", 0, 9, 2), ("c2", 30, 39, -1)],
                     columns=["contig", "start", "end", "unit"])  # fmt: skip


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    VARIANTS.to_csv(tmp_path / "variants.csv", index=False)
    SITES.to_csv(tmp_path / "sites.csv", index=False)
    monkeypatch.setattr(kind.inputs, "find", lambda study, name: tmp_path / name)
    return SimpleNamespace(study="s", settings={"truth_path": "sites.csv", "truth_variants_path": "variants.csv", "hit_p": 1e-6})


def test_causes_are_the_causal_variants_of_a_disease_in_either_cohort(corpus):
    got = kind.causes(corpus, "pairs 1 to 4")
    assert got.values.tolist() == [["c1", 5, 6, "G", 0], ["c1", 9, 10, "T", 0]]
    assert kind.causes(corpus, "pairs 5 to 8").unit.tolist() == [1]
    assert kind.causes(corpus, "another name").unit.tolist() == [0, 0, 1]
    corpus.settings["truth_variants_path"] = ""
    assert kind.causes(corpus, "pairs 1 to 4").empty


def test_an_explanation_should_point_at_what_causal_variants_break_both_site_and_partner(corpus):
    sites, what = kind.sites(corpus, "pairs 1 to 4", SITES[:0], [])
    assert sites.start.tolist() == [2, 20] and what == "sites of causal variants"
    corpus.settings["truth_variants_path"] = ""
    sites, what = kind.sites(corpus, "pairs 1 to 4", SITES[:0], [])
    assert len(sites) == 5 and what == "true sites"
