"""Sets of latents against planted causal motifs, and what variants break, by hand."""

import numpy as np
import pandas as pd
import pytest

from lib.dna import grammar
from lib.dna.grammar_demo import DISEASES
from lib.dna.truth import broken_by, causal_motifs, motif_read, of_causal, with_all

OF = {
    "latent": {"0": np.array([0]), "4": np.array([4])},
    "closure": {"A": np.array([0, 1, 2]), "B": np.array([3, 4]), "C": np.array([5, 6]), "D": np.array([7])},
}
MOTIF = pd.Series({0: "TAL", 1: "TAL", 2: "SMAD", 3: "SMAD", 4: "ETS", 5: "SMAD", 6: "TAL"}, name="motif")  # 7 reads no site


def judged(**necessary):
    rows = [(kind, name, name in necessary.get(kind, ())) for kind, sets in OF.items() for name in sets]
    return pd.DataFrame(rows, columns=["kind", "name", "necessary"])


def rows(table):
    return table.set_index(["kind", "score"])


def test_a_set_is_right_by_what_most_of_its_latents_read():
    # A: TAL, twice of three: right. B: a tie with ETS, which is not causal: wrong. C: a tie of two causal motifs: right, both found.
    # D reads nothing: wrong. The latent 4 reads ETS: wrong.
    table = rows(of_causal("arm", judged(latent=["4"], closure=["A", "B", "C", "D"]), OF, MOTIF, {"TAL", "SMAD", "GATA", "RUNX"}))
    assert table.loc[("closure", "recall"), ["k", "n"]].tolist() == [2, 4]
    assert table.loc[("closure", "precision"), ["k", "n"]].tolist() == [2, 4]
    assert table.loc[("latent", "precision"), ["k", "n", "value"]].tolist() == [0, 1, 0.0]
    # seven latents of these closures read a site; ETS alone is not causal
    assert table.loc["latents of necessary closures that read a true site"].iloc[0][["k", "n"]].tolist() == [6, 7]
    assert (table["arm"] == "arm").all() and (table["motifs"] == "GATA, RUNX, SMAD, TAL").all()
    low, high = table.loc[("closure", "recall"), ["low", "high"]]
    assert (low, high) == pytest.approx((0.150, 0.850), abs=1e-3)  # Wilson, 2 of 4


def test_without_a_necessary_set_there_is_no_precision_and_no_recall():
    table = rows(of_causal("arm", judged(), OF, MOTIF, {"TAL"}))
    assert table.loc[("closure", "recall"), ["k", "n", "value"]].tolist() == [0, 1, 0.0]
    assert np.isnan(table.loc[("closure", "precision"), "value"]) and table.loc[("closure", "precision"), "n"] == 0


def test_a_latent_reads_the_motif_of_its_best_site_on_validation():
    read = pd.DataFrame(
        [(1, "SAE", "true site", "site TAL +", 0.01, 0.3), (1, "SAE", "true site", "site SMAD -", 0.01, 0.6),
         (1, "SAE", "true site", "site ETS +", 0.2, 0.9), (2, "SAE", "motif", "MA1 ETS +", 0.01, 0.9),
         (3, "PCA", "true site", "site ETS +", 0.01, 0.9)],
        columns=["latent", "method", "kind", "concept", "q", "f1_validation"])  # fmt: skip
    assert motif_read(read).to_dict() == {1: "SMAD"}


VARIANTS = pd.DataFrame(
    [("c", 5, "A", "G", "HNF1A", 0, 0, "site", True), ("c", 25, "A", "G", "HNF4A", 0, 0, "partner", True),
     ("c", 90, "C", "T", "CEBPB", 1, 4, "site", True), ("c", 95, "C", "T", "SPI1", 2, 2, "partner", False),
     ("c", 60, "C", "T", np.nan, -1, -1, np.nan, False), ("c", 60, "C", "T", np.nan, -1, -1, np.nan, False)],
    columns=["contig", "pos", "ref", "alt", "destroys_site", "unit", "pair", "target", "causal"],
)  # fmt: skip


def test_an_arms_causal_motifs_are_those_of_its_own_pairs():
    assert causal_motifs(VARIANTS, "pairs 1 to 4") == {"HNF1A", "HNF4A"}  # the broken SPI1 is of a decoy
    assert causal_motifs(VARIANTS, "pairs 5 to 8") == {"CEBPB"}
    for every in (causal_motifs(VARIANTS, "simulated"), causal_motifs(VARIANTS.drop(columns="pair"), "pairs 1 to 4")):
        assert every == {"HNF1A", "HNF4A", "CEBPB"}
    # the diseases part the pairs of the grammar
    assert sorted(pair for pairs in DISEASES.values() for pair in pairs) == list(range(len(grammar.PAIRS)))


def test_arms_are_summed_each_against_its_own_motifs():
    causal = {"x": {"TAL", "SMAD"}, "y": {"ETS", "GATA", "SMAD"}}
    one, two = (of_causal(arm, judged(closure=["A", "B"]), OF, MOTIF, motifs) for arm, motifs in causal.items())
    table = with_all([one, two])
    rows_of = table.set_index(["arm", "kind", "score"])
    # A reads TAL, right in x; B is a tie of SMAD and ETS, right in y alone
    assert rows_of.loc[("x", "closure", "recall"), ["k", "n"]].tolist() == [1, 2]
    assert rows_of.loc[("y", "closure", "recall"), ["k", "n"]].tolist() == [2, 3]
    assert rows_of.loc[("all arms", "closure", "recall"), ["k", "n", "value"]].tolist() == [3, 5, 0.6]
    assert rows_of.loc[("all arms", "closure", "precision"), ["k", "n"]].tolist() == [2, 4]
    assert rows_of.loc[("all arms", "closure", "recall"), "motifs"] == "ETS, GATA, SMAD, TAL"
    pd.testing.assert_frame_equal(with_all([one]), one)


PLANTED = pd.DataFrame(
    [("HNF1A", "POU", 0), ("HNF4A", "NR2", 0), ("CEBPB", "CEBP", 1), ("SPI1", "Ets", 2), ("SPI1", "Ets", -1), ("STAT3", "STAT", 2),
     ("BACH2", "Jun", -1)],
    columns=["motif", "family", "unit"],
)  # fmt: skip


def test_what_a_variant_breaks_and_what_else_its_unit_holds():
    read = VARIANTS.iloc[[4, 1, 2, 3]][["contig", "pos", "ref", "alt"]]
    other = pd.DataFrame({"contig": ["c"], "pos": [5], "ref": ["A"], "alt": ["C"]}, index=[77])  # another allele of a known place
    table = broken_by(pd.concat([read, other]), VARIANTS, PLANTED)
    assert table.index.tolist() == [4, 1, 2, 3, 77]
    assert table.broken.tolist() == ["", "NR2", "CEBP", "Ets", ""] and table.target.tolist() == ["", "partner", "site", "partner", ""]
    assert table.unit_families.tolist() == ["", "NR2; POU", "CEBP", "Ets; STAT", ""]


def test_truth_without_units_knows_the_broken_motif_alone_and_unknown_motifs_are_refused():
    plain = broken_by(VARIANTS, VARIANTS.drop(columns=["unit", "target", "pair"]), PLANTED.drop(columns="unit"))
    assert plain.broken.tolist() == plain.unit_families.tolist() == ["POU", "NR2", "CEBP", "Ets", "", ""]
    with pytest.raises(ValueError, match=r"\['CEBPB'\] are broken by variants, wanted motifs of planted sites"):
        broken_by(VARIANTS, VARIANTS, PLANTED[PLANTED.motif != "CEBPB"])
