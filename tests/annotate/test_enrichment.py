"""Over-representation: by hand, against Fisher's exact test, and on random lists, where nothing is to be found."""

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from lib.annotate.enrichment import over_representation
from lib.stats import multiplicity

UNIVERSE = [f"g{i}" for i in range(10)]


def random_sets(seed: int, n_sets: int, n_genes: int, sizes: tuple[int, int]) -> tuple[dict[str, list[str]], list[str]]:
    """n_sets of random genes, with sizes from the first to the last, and the universe."""
    rng = np.random.default_rng(seed)
    universe = [f"g{i}" for i in range(n_genes)]
    size = rng.integers(sizes[0], sizes[1] + 1, n_sets)
    return {f"s{i}": rng.choice(universe, n, replace=False).tolist() for i, n in enumerate(size)}, universe


def test_a_table_by_hand():
    """3 of 10 genes listed. Set a holds 4 genes, 2 of them listed: P(2 or 3) = (6 x 6 + 4 x 1) / 120 = 1/3.

    The cells are 2, 2, 1, 5: odds ratio 2 x 5 / (2 x 1) = 5. Set b holds the other 7: P(0 or more) = 1.
    """
    table = over_representation(UNIVERSE[:3], {"b": UNIVERSE[3:], "a": UNIVERSE[1:5]}.items(), UNIVERSE, 1)
    assert table["set"].tolist() == ["a", "b"]
    assert table[["size", "overlap"]].to_numpy().tolist() == [[4, 2], [7, 0]]
    np.testing.assert_allclose(table["expected"], [1.2, 2.1])
    np.testing.assert_allclose(table["p"], [1 / 3, 1])
    np.testing.assert_allclose(table["q"], [2 / 3, 1])
    np.testing.assert_allclose(table["odds_ratio"], [5, 0])
    assert table["or_low"][0] < 1 and table["or_high"][0] > 5 and table["or_low"][1] == 0


def test_every_set_is_fishers_exact_test():
    sets, universe = random_sets(0, 60, 200, (5, 80))
    genes = sets["s0"][:4] + universe[:30]
    table = over_representation(genes, sets.items(), universe)
    listed, n = set(genes), len(universe)
    assert len(table) == 60 and table["p"].is_monotonic_increasing
    for row in table.itertuples():
        members = set(sets[row.set])
        both = len(members & listed)
        want = fisher_exact([[both, len(members) - both], [len(listed) - both, n - len(members | listed)]], "greater")
        assert row.p == pytest.approx(want.pvalue, rel=1e-9) and row.odds_ratio == pytest.approx(want.statistic)
        assert row.or_low <= row.odds_ratio <= row.or_high


def test_only_the_universe_counts_in_a_set_and_its_size_is_counted_there():
    sets = [("small", ["g0", "g1", "x", "y", "z"]), ("fits", ["g0", "g1", "g2", "g2", "x"]), ("large", UNIVERSE[:6])]
    table = over_representation(["g0"], sets, UNIVERSE, 3, 5)
    assert table[["set", "size"]].to_numpy().tolist() == [["fits", 3]]
    assert table["p"][0] == pytest.approx(0.3)  # one gene, in a set of 3 of 10
    wider = over_representation(["g0"], sets, [*UNIVERSE, "h0", "h1"], 3, 5)
    assert wider["p"][0] == pytest.approx(0.25)


def test_a_planted_set_is_found_among_many():
    sets, universe = random_sets(1, 500, 3000, (5, 30))
    sets["planted"] = universe[:20]
    table = over_representation(universe[:8] + universe[2000:2012], sets.items(), universe)
    assert table["set"][0] == "planted" and table["overlap"][0] == 8
    assert table["q"][0] < 1e-6 and (table["q"][1:] > 0.05).all() and table["or_low"][0] > 10


def test_random_lists_find_nothing_unless_only_sets_with_a_hit_are_counted():
    """200 random lists of 20 genes, 2,000 sets of 5 to 30: the family error is held over all sets, and only over them."""
    sets, universe = random_sets(2, 2000, 15000, (5, 30))
    rng = np.random.default_rng(3)
    ours, hits_only = [], []
    for _ in range(200):
        table = over_representation(rng.choice(universe, 20, replace=False), sets.items(), universe)
        assert len(table) == 2000
        ours.append((table["q"] < 0.05).any())
        hits_only.append((multiplicity.benjamini_hochberg(table.loc[table["overlap"] > 0, "p"].to_numpy()) < 0.05).sum())
    assert np.mean(ours) <= 0.10
    assert np.mean(np.array(hits_only) > 0) > 0.5 and np.mean(hits_only) > 5
    assert binomtest(int(np.sum(ours)), 200, 0.05, "greater").pvalue > 0.01


@pytest.mark.parametrize(
    "change, message",
    [
        ({"genes": []}, "the gene list is empty"),
        ({"genes": ["g1", "NOD2", "IL23R"]}, "2 of 3 genes are not in the universe: IL23R, NOD2"),
        ({"sets": [("a", UNIVERSE), ("b", UNIVERSE), ("a", UNIVERSE[:5])]}, "1 set names are given twice: a"),
        ({"sets": [("a", UNIVERSE[:4])]}, "none of 1 sets has 5 to 500 genes of the 10 of the universe"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"genes": ["g1"], "sets": [("a", UNIVERSE)], "universe": UNIVERSE}
    assert len(over_representation(**good)) == 1
    with pytest.raises(ValueError, match=message):
        over_representation(**(good | change))
