"""Sets of latents against planted causal motifs, by hand."""

import numpy as np
import pandas as pd
import pytest

from lib.dna.truth import motif_read, of_causal

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
