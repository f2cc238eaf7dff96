"""Latents of repeats by hand, and concepts read outside repeats alone: what is kept, what is dropped, what is claimed."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.annotate import ladder, outside, rivals, search
from lib.models import shuffle
from tests import null_tracks
from tests.null_tracks import lay


def test_shares_of_firing_in_repeats_by_hand():
    # 40 tokens in 10 units of 4; the first 8 lie in an Alu, the next 4 in poly-A: the background is .3
    name = np.array(["Alu"] * 8 + ["poly-A"] * 4 + [""] * 28, dtype=object)
    unit = np.arange(40) // 4
    dense = np.zeros((40, 5), np.float32)
    dense[[0, 1, 2, 4, 8, 39], 0] = 1     # 5 of 6 in repeats, mostly Alu, in 4 units
    dense[[20, 30], 1] = 1                # none
    dense[::4, 2] = 1                     # 3 of 10: as the background
    dense[[8, 9], 3], dense[20:30, 3] = 5, 1   # above its limit only in poly-A, in one unit
    got = outside.shares(sparse.csr_matrix(dense), np.array([0, 0, 0, 2, 0]), name, unit, cut=0.3)
    assert got["n_fired"].tolist() == [6, 2, 10, 2, 0] and got["units"].tolist() == [4, 2, 10, 1, 0]
    assert got["repeat"].tolist() == ["Alu", "", "Alu", "poly-A", ""]
    np.testing.assert_allclose(got["share"], [5 / 6, 0, 0.3, 1, np.nan])
    assert (got["background"] == 0.3).all()
    # Wilson, n = 4 units, p = 5/6, z² = 3.8415: (p + z²/2n - z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    z2 = 3.841459
    low = (5 / 6 + z2 / 8 - np.sqrt(z2) * np.sqrt(5 / 36 / 4 + z2 / 64)) / (1 + z2 / 4)
    assert got["low"][0] == pytest.approx(low, abs=1e-6) and low > 0.3
    assert got["of_repeats"].tolist() == [True, False, False, False, False]  # one unit says too little: the third is at the cut, no more
    assert not outside.shares(sparse.csr_matrix(dense), np.zeros(5), name, unit, cut=0.9)["of_repeats"].any()
    none = outside.shares(sparse.csr_matrix(dense), np.zeros(5), np.full(40, "", dtype=object), unit, cut=0.0)
    assert (none["background"] == 0).all() and not none["of_repeats"].any() and (none["repeat"] == "").all()


def test_a_latent_of_repeats_is_called_by_them_and_not_claimed():
    table = pd.DataFrame({"latent": range(4), "kind": ["motif", "motif", "interval", np.nan], "concept": ["A +", "B -", "exon", np.nan],
                          "family": ["a", "b", "exon", np.nan], "plausible": [True, True, True, False]})  # fmt: skip
    of = pd.DataFrame({"latent": range(4), "repeat": ["Alu", "", "Alu", "Alu"], "share": [0.9, 0.1, 0.9, 0.8],
                       "of_repeats": [True, False, True, True]})  # fmt: skip
    got = outside.renamed(table, of, "motif", "plausible")
    assert got["kind"].tolist() == ["repeat", "motif", "repeat", "repeat"]
    assert got["concept"].tolist() == ["Alu", "B -", "Alu", "Alu"] and got["family"].tolist() == ["Alu", "b", "Alu", "Alu"]
    assert got["plausible"].tolist() == [False, True, True, False]  # that of an interval stays: `matched` says of which
    assert got["repeat_share"].tolist() == [0.9, 0.1, 0.9, 0.8]
    assert got["matched"].fillna("").tolist() == ["A +", "B -", "exon", ""]


def test_a_view_keeps_instances_that_lie_whole_outside_and_concepts_that_have_enough():
    known = lay([[(0, 2), (4, 6), (8, 10)], [(3, 5), (10, 12)]], 12)
    keep = np.ones(12, dtype=bool)
    keep[[4, 11]] = False
    got = outside.view({"validation": known, "test": known}, dict.fromkeys(search.PARTS, keep), 1).laid["test"]
    # c0 loses its second instance, c1 both; tokens are numbered anew without 4 and 11
    assert got.table["concept"].tolist() == ["c0"] and got.table[["n_instances", "n_tokens"]].to_numpy().tolist() == [[2, 4]]
    assert [row.indices.tolist() for row in got.instances] == [[0, 1], [7, 8]] and got.tokens.shape == (10, 1)
    assert np.flatnonzero(got.tokens.toarray()[:, 0]).tolist() == [0, 1, 7, 8]
    none = outside.view({"validation": known, "test": known}, dict.fromkeys(search.PARTS, keep), 3).laid["validation"]
    assert none.table.empty and none.tokens.shape == (10, 0)


def test_directions_on_some_tokens_are_those_rows():
    acts, rows = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32), np.arange(10, 40)
    keep = np.arange(30) % 3 == 0
    whole = rivals.Directions(acts, rows, acts.mean(0), width=2)
    some = outside.rows_of(whole, keep)
    np.testing.assert_array_equal(sparse.hstack(list(some)).toarray(), sparse.hstack(list(whole)).toarray()[keep])
    matrix = sparse.csr_matrix(acts)
    np.testing.assert_array_equal(outside.rows_of(matrix, np.arange(50) < 5).toarray(), acts[:5])


def part(seed: int, n: int = 6000):
    """Two concepts, half of their instances in repeats. Latent 0 reads c0 everywhere; latent 1 reads the repeats, which c1 fits."""
    rng = np.random.default_rng(seed)
    unit = np.arange(n) // null_tracks.WINDOW
    repeat = unit % 5 == 0
    start = np.arange(0, n, null_tracks.WINDOW)
    inside, free = start[::5], np.sort(rng.choice(np.delete(start, slice(None, None, 5)), 40, replace=False))
    known = lay([[(s + at, s + at + 3) for s in np.sort(np.r_[inside, own])] for at, own in ((30, free[:20]), (10, free[20:]))], n)
    known.table["kind"] = "motif"
    dense = np.zeros((n, 2), np.float32)
    dense[:, 0] = known.tokens[:, [0]].toarray().ravel()
    dense[:, 1] = known.tokens[:, [1]].toarray().ravel() * repeat
    tokens = pd.DataFrame({"contig": "c", "unit": unit, "ref_start": 2 * np.arange(n), "ref_end": 2 * np.arange(n) + 2})
    return sparse.csr_matrix(dense), known, tokens, np.zeros(n, int), ~repeat


def test_a_latent_of_repeats_is_claimed_with_them_and_not_outside():
    parts = dict(zip(search.PARTS, (part(0), part(1))))
    latents, laid, tokens, strata, keep = ({name: p[i] for name, p in parts.items()} for i in range(5))
    views = {"motif": outside.view(laid, keep, 5)}
    ground = search.Ground({}, tokens, laid, strata, [], shuffle.shuffled_texts, 200, 0.05, 0.5, 0, views)
    read, best = search.search({"SAE": latents, "label shuffle": latents}, ground)
    assert read.loc[read["claimed"], ["method", "latent", "concept"]].to_numpy().tolist() == [["SAE", 0, "c0"]]
    everywhere = search.search({"SAE": latents, "label shuffle": latents}, ground._replace(views={}), ["motif"])
    table = ladder.beside(ladder.ladder(read, best), ladder.ladder(*everywhere)).set_index("method")
    assert table.loc["SAE", ["latents_claimed", "latents_claimed_everywhere"]].tolist() == [1, 2]
    assert table.loc["label shuffle", ["latents_claimed", "latents_claimed_everywhere"]].tolist() == [0, 0]
    columns, known, unit = ground.tested(latents["test"], "motif")
    assert columns.shape[0] == len(unit) == known.tokens.shape[0] == keep["test"].sum()


def test_decoys_are_found_by_the_same_rule_and_are_not():
    parts = dict(zip(search.PARTS, (part(0), part(1))))
    latents, laid, tokens, strata, keep = ({name: p[i] for name, p in parts.items()} for i in range(5))
    views = {"motif": outside.View(dict.fromkeys(search.PARTS, keep["test"]), {})}
    on_test = dict.fromkeys(search.PARTS, tokens["test"])
    ground = search.Ground({}, on_test, laid, strata, [], shuffle.shuffled_texts, 200, 0.05, 0.5, 0, views)
    start = np.arange(70, 12_000, 400)
    dealt = pd.DataFrame({"contig": "c", "start": start, "end": start + 6, "concept": "c0", "family": "f"})
    rows = [row.indices for row in laid["test"].instances[laid["test"].concept_of == 0]]
    true = pd.DataFrame({"start": [2 * r.min() for r in rows], "end": [2 * r.max() + 2 for r in rows]})
    true = true.assign(contig="c", concept="c0", family="f")
    for places, n_found in ((dealt, 0), (true, 1)):  # the true places are found again, those of a decoy are not
        others = search.of_decoys(ground, "motif", places, 5)
        read, best = search.search({search.DECOYS: dict.fromkeys(search.PARTS, latents["test"])}, others, ["motif"])
        assert ladder.ladder(read, best)["found"].tolist() == [n_found] and best["concept"].tolist() == ["c0"]
