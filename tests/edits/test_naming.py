"""Which families a variant silences, and whether they are right, worked by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.edits import naming

FEATURES = pd.DataFrame(
    [(0, "motif", "A", True, 0.5, 10.0, 1.0), (1, "motif", "A", True, 0.0, 10.0, 0.5), (2, "motif", "B", True, 0.15, 4.0, 1.0),
     (3, "motif", "C", False, 0.5, 1.0, 1.0), (4, "interval", "exon", True, 0.5, 1.0, 1.0), (5, "motif", "C", True, 0.0, 1.0, 0.75)],
    columns=["latent", "kind", "family", "plausible", "threshold", "largest", "precision"],
)  # fmt: skip


def test_only_latents_claimed_for_a_motif_name_and_the_floor_is_never_below_the_least():
    named = naming.namers(FEATURES, 0.2)
    assert named[["latent", "family"]].values.tolist() == [[0, "A"], [1, "A"], [2, "B"], [5, "C"]]
    assert named.floor.tolist() == pytest.approx([5.0, 2.0, 0.8, 0.2])  # half of 10; then 0.2 of largest, above thresholds 0 and 0.15


def test_a_latent_is_lost_when_it_fires_on_the_reference_and_half_of_its_peak_goes():
    named = naming.namers(FEATURES, 0.2)
    before = sparse.csr_matrix([[6.0, 4, 1, 9, 9, 0], [4.9, 4, 1, 0, 0, 1], [6, 0, 0, 0, 0, 1]])
    after = sparse.csr_matrix([[3.0, 2.1, 0.6, 0, 0, 0], [0, 0, 0, 0, 0, 0.4], [9, 5, 1, 0, 0, 0.6]])
    # first: 6 to 3 is half; 4 to 2.1 and 1 to 0.6 are less than half; 3 and 4 name nothing; 5 was silent
    # second: 4.9 is below the floor of 5. third: gained, and 1 to 0.6
    # what is gone, of the largest activation, times precision: 3 / 10 x 1; 4 / 10 x 0.5; 1 / 4 x 1; 0.6 / 1 x 0.75
    np.testing.assert_allclose(naming.lost(before, after, named, 0.5), [[0.3, 0, 0, 0], [0, 0.2, 0.25, 0.45], [0, 0, 0, 0]])
    assert (naming.lost(before, after, named, 0.4)[:, 3] > 0).tolist() == [False, True, True]
    assert not naming.lost(before * 0, after, naming.namers(FEATURES, 0.0), 0.5).any()  # who was silent loses nothing
    with pytest.raises(ValueError, match=r"after has shape \(2, 6\), expected \(3, 6\)"):
        naming.lost(before, after[:2], named, 0.5)


FAMILY = pd.Series(["A", "A", "B", "C"])
TRUTH = pd.DataFrame(
    [("A", "A; B", "site", "g1", "A", True), ("A", "A; B", "partner", "g1", "B", True), ("B", "B", "site", "g2", "", True),
     ("D", "D; A", "site", "g2", "C", True), ("", "", "", "g1", "A", False), ("", "", "", "g2", "", True)],
    columns=["broken", "unit_families", "target", "gene", "first", "in_site"],
)  # fmt: skip
LOST = np.array([
    [1, 1, 0, 0],  # A, twice: once right
    [0, 0, 1, 1],  # B of the unit, C of nothing
    [0, 0, 0, 0],  # nothing
    [1, 0, 0, 0],  # A of the unit; no latent bears D
    [0, 0, 1, 0],  # nothing is broken, B lost
    [0, 0, 0, 0],
], dtype=bool)  # fmt: skip


def test_names_of_a_variant_count_a_family_once():
    table = naming.naming(LOST, FAMILY, TRUTH, 0.5)
    assert table.named.tolist() == ["A", "B; C", "", "A", "B", ""]
    assert table.n_named.tolist() == [1, 2, 0, 1, 1, 0]
    assert table.right.tolist() == [1, 0, 0, 0, 0, 0] and table.right_unit.tolist() == [1, 1, 0, 1, 0, 0]


def test_the_family_with_the_most_said_for_it_is_named_and_any_near_it():
    said = np.array([[0.3, 0.2, 0.2, 0.25], [0.0, 0.1, 0.4, 0.2]])  # A .5, B .2, C .25; A .1, B .4, C .2
    assert naming.naming(said, FAMILY, TRUTH[:2], 0.5).named.tolist() == ["A; C", "B; C"]
    assert naming.naming(said, FAMILY, TRUTH[:2], 0.51).named.tolist() == ["A", "B"]
    assert naming.naming(said, FAMILY, TRUTH[:2], 0.2).named.tolist() == ["A; B; C", "A; B; C"]


def test_a_family_near_the_first_counts_against_precision():
    said, truth = np.array([[0.3, 0.2, 0.2, 0.25], [0.0, 0.1, 0.4, 0.2]]), TRUTH[:2].assign(broken=["A", "B"])
    for share, pairs in ((0.5, 4), (0.51, 2)):
        table = naming.scores(said, FAMILY, truth, share, 20, 3).set_index(["variants", "score", "right"])
        assert table.loc[("break a motif", "precision", "broken motif"), ["k", "n"]].tolist() == [2, pairs]


def rows(**more):
    return naming.scores(LOST, FAMILY, TRUTH, 0.5, **{"n_boot": 200, "n_null": 50} | more).set_index(["variants", "score", "right"])


def test_recall_counts_variants_and_precision_pairs():
    table = rows()
    counts = {index: (row.k, row.n) for index, row in table.iterrows()}
    assert counts["break a motif", "recall", "broken motif"] == (1, 4)
    assert counts["break a motif", "precision", "broken motif"] == (1, 4)  # A, B, C, A
    assert counts["break a motif", "recall", "its planted unit"] == counts["break a motif", "precision", "its planted unit"] == (3, 4)
    assert counts["break a site", "recall", "its planted unit"] == (2, 3)
    assert counts["break a partner", "precision", "its planted unit"] == (1, 2)
    assert counts["break a motif", "reachable", "broken motif"] == (3, 4)  # no latent bears D
    assert counts["break a motif", "first", "broken motif"] == (1, 4)
    assert counts["break no motif", "false alarm", ""] == (1, 2)
    assert counts["break no motif, outside every site", "false alarm", ""] == (1, 1)
    assert table.value["break a motif", "recall", "its planted unit"] == 0.75 and list(table.reset_index().columns) == naming.COLUMNS


def test_the_interval_is_the_wider_of_genes_and_wilson():
    # every variant right: all draws are 1, Wilson of 4 in 4 is 1 / (1 + 1.96² / 4)
    sure = rows_of(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool), ["A", "A", "B", "B"], ["g1", "g1", "g2", "g2"])
    assert sure.low == pytest.approx(4 / (4 + 1.959964**2)) and sure.high == 1
    # one gene all right, one all wrong, of 100 each: Wilson is narrow, the genes are not
    lost = np.repeat([[True, False]], 200, 0)
    split = rows_of(lost, ["A"] * 100 + ["B"] * 100, ["g1"] * 100 + ["g2"] * 100)
    assert (split.value, split.low, split.high) == (0.5, 0.0, 1.0)
    alone = rows_of(lost, ["A"] * 100 + ["B"] * 100, ["g1"] * 200)
    assert alone.value == 0.5 and np.isnan(alone.low) and alone.n_genes == 1


def rows_of(lost, broken, gene):
    truth = pd.DataFrame({"broken": broken, "unit_families": broken, "target": "site", "gene": gene, "first": "", "in_site": True})
    table = naming.scores(lost, pd.Series(["A", "B"]), truth, 0.5, 300, 5)
    return table.set_index(["variants", "score", "right"]).loc["break a motif", "recall", "broken motif"]


def test_dealing_families_anew_leaves_chance_and_naming_everything_is_no_merit():
    rng = np.random.default_rng(0)
    family = pd.Series(list("ABCDEFGHIJ"))
    broken = rng.choice(family, 300)
    truth = pd.DataFrame({"broken": broken, "unit_families": broken, "target": "site", "gene": np.arange(300) % 10, "first": "",
                          "in_site": True})  # fmt: skip
    right = (broken[:, None] == family.to_numpy()[None])
    recall = ("break a motif", "recall", "broken motif")
    good = naming.scores(right, family, truth, 0.5, 50, 200).set_index(["variants", "score", "right"]).loc[recall]
    assert good.value == 1 and good.null == pytest.approx(0.1, abs=0.03) and good.null_95 < 0.4
    every = naming.scores(np.ones_like(right), family, truth, 0.5, 50, 20).set_index(["variants", "score", "right"])
    assert every.loc[recall].value == every.loc[recall].null_95 == 1  # names all families: so would any deal
    assert every.loc[("break a motif", "precision", "broken motif")].value == pytest.approx(0.1)


def test_no_variant_and_no_named_latent_are_counted_as_nothing():
    none = naming.scores(LOST[:0], FAMILY, TRUTH[:0], 0.5, 10, 3)
    assert (none.n == 0).all() and none.value.isna().all() and naming.naming(LOST[:0], FAMILY, TRUTH[:0], 0.5).empty
    nobody = naming.scores(LOST[:, :0], FAMILY[:0], TRUTH, 0.5, 10, 3).set_index(["variants", "score", "right"])
    assert nobody.loc[("break a motif", "recall", "broken motif"), ["k", "n"]].tolist() == [0, 4]
    assert nobody.loc[("break a motif", "precision", "broken motif"), "n"] == 0
    assert naming.naming(LOST[:, :0], FAMILY[:0], TRUTH, 0.5).named.eq("").all()
