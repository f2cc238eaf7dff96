"""Latents lost at more variants of one label: against scipy, statsmodels, every relabelling, and labels that mean nothing."""

import gzip
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import fisher_exact
from statsmodels.stats.contingency_tables import StratifiedTable

from lib.dna.labelled import clinvar_label
from lib.edits.enriched import COLUMNS, either, enriched, statistics
from tests.helpers import DATA_DIR


def tables_of(lost: np.ndarray, label: np.ndarray, cell: np.ndarray) -> list[np.ndarray]:
    """2 x 2 of each cell: lost or not, label 1 or 0."""
    return [np.array([[(lost & (label == one) & (cell == c)).sum() for one in (1, 0)],
                      [(~lost & (label == one) & (cell == c)).sum() for one in (1, 0)]]) for c in np.unique(cell)]  # fmt: skip


def test_one_stratum_is_the_test_of_fisher():
    rng = np.random.default_rng(0)
    lost, label = rng.random((60, 12)) < rng.random(12), rng.random(60) < 0.3
    got = enriched(lost, label.astype(int), np.zeros(60, int), None, 1)
    want = [fisher_exact(tables_of(column, label, np.zeros(60))[0], alternative="greater").pvalue for column in lost.T]
    np.testing.assert_allclose(got.p, want, rtol=1e-9)
    assert (got.lost_1 + got.lost_0).tolist() == lost.sum(0).tolist() and set(got.n_1) == {label.sum()}
    np.testing.assert_allclose(got.expected_1, lost.sum(0) * label.mean())
    assert got.p.equals(got.p_strata)


def test_p_is_the_share_of_all_relabellings_of_the_cells_that_hold_as_many():
    # two strata, and two clusters across them: cells of 4, 3, 2 and 1 variants
    stratum, cluster = np.array([0] * 4 + [1] * 3 + [0] * 2 + [1]), np.array(list("aaaaaaabbb"))
    label, lost = np.array([1, 0, 1, 0, 1, 0, 0, 1, 0, 1]), np.array([1, 1, 1, 0, 1, 1, 0, 1, 0, 1], bool)
    got = enriched(lost[:, None], label, stratum, cluster, 1).iloc[0]

    def share(cells: list[list[int]]) -> float:
        hits = []
        for chosen in itertools.product(*(itertools.combinations(c, int(label[c].sum())) for c in cells)):
            hits.append(lost[list(itertools.chain(*chosen))].sum())
        return np.mean(np.array(hits) >= (lost & (label == 1)).sum())

    assert got.p == pytest.approx(share([[0, 1, 2, 3], [4, 5, 6], [7, 8], [9]]))
    assert got.p_strata == pytest.approx(share([[0, 1, 2, 3, 7, 8], [4, 5, 6, 9]]))
    assert got.p != pytest.approx(got.p_strata)
    assert got.free == 6 and got.n_clusters == 2 and got.lost_1 == 5  # the seventh lost variant is alone in its cell
    assert got.expected_1 == pytest.approx(3 * 2 / 4 + 2 * 1 / 3 + 1 / 2 + 1)


def test_the_odds_ratio_is_that_of_mantel_and_haenszel_over_the_cells():
    rng = np.random.default_rng(1)
    label, stratum, cluster = rng.integers(0, 2, 400), rng.integers(0, 3, 400), rng.integers(0, 4, 400)
    lost = rng.random((400, 6)) < 0.2 + 0.1 * label[:, None] * np.arange(6)[None] / 2
    got = enriched(sparse.csr_matrix(lost * 0.7), label, stratum, cluster, 1)  # amounts: above 0 is lost
    cell = stratum * 4 + cluster
    tables = [StratifiedTable(tables_of(column, label, cell)) for column in lost.T]
    np.testing.assert_allclose(got.odds_ratio, [t.oddsratio_pooled for t in tables])
    assert ((got.or_low < got.odds_ratio) & (got.odds_ratio < got.or_high)).all()
    # the interval leaves 1 out where the Mantel-Haenszel test does, and the exact p goes with it
    refused = [t.test_null_odds(correction=False).pvalue < 0.05 for t in tables]
    assert ((got.or_low > 1) | (got.or_high < 1)).tolist() == refused and 0 < sum(refused) < 6
    assert (got.p[np.array(refused)] < 0.05).all()


def clustered(rng: np.random.Generator, n_latents: int, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
    """lost, label, stratum, cluster: a cluster has its own rates of label 1 and of every loss; the two have nothing in common."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    stratum = rng.integers(0, 2, len(cluster))
    label = rng.random(len(cluster)) < 1 / (1 + np.exp(-2 * rng.standard_normal(len(sizes))[cluster] - stratum))
    odds = 2 * rng.standard_normal((len(sizes), n_latents))[cluster] - 1.5 + stratum[:, None]
    return rng.random(odds.shape) < 1 / (1 + np.exp(-odds)), label.astype(int), stratum, cluster


def test_p_is_that_of_labels_that_mean_nothing_though_clusters_have_their_own_rates():
    rng = np.random.default_rng(2)
    runs = [enriched(*clustered(rng, 60, rng.integers(5, 60, 30)), 20) for _ in range(10)]
    p, strata = (np.concatenate([run[name] for run in runs]) for name in ("p", "p_strata"))
    assert len(p) > 550
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p <= alpha) <= alpha + 2.6 * np.sqrt(alpha * (1 - alpha) / len(p))
    assert np.mean(p <= 0.5) > 0.35  # not empty of power: an exact p is only a little too large
    assert np.mean(strata <= 0.05) > 0.15  # who takes the variants of a cluster as independent calls chance significant
    assert sum(run.q.min() <= 0.05 for run in runs) <= 2  # of ten families, each with a chance of at most 0.05


def test_losses_dealt_anew_inside_cells_give_a_uniform_p():
    rng = np.random.default_rng(3)
    first, label, stratum, cluster = clustered(rng, 1, rng.integers(40, 80, 12))
    cell, dealt = stratum * 100 + cluster, np.empty((len(label), 400), bool)
    for c in np.unique(cell):
        dealt[cell == c] = rng.permuted(np.tile(first[cell == c], (1, 400)), axis=0)
    p = enriched(dealt, label, stratum, cluster).p
    assert [(p <= a).mean() for a in (0.1, 0.5, 0.9)] == pytest.approx([0.1, 0.5, 0.9], abs=0.07)


def test_planted_latents_are_recovered_and_no_other():
    rng = np.random.default_rng(4)
    lost, label, stratum, cluster = clustered(rng, 200, rng.integers(10, 60, 60))
    lost[:, :5] |= (rng.random((len(label), 5)) < 0.25) & (label == 1)[:, None]
    lost[:, 5] &= label == 0  # the other way: lost less at label 1
    got = enriched(lost, label, stratum, cluster)
    assert (got.q[:5] <= 1e-3).all() and (got.q[5:] <= 0.05).sum() <= 1 and got.q[5:].min() > 0.01
    assert (got.or_low[:5] > 1).all() and got.p[5] > 0.99 and got.or_high[5] < 1


def test_a_stratum_with_more_of_both_gives_no_enrichment():
    rng = np.random.default_rng(5)
    stratum = np.repeat([0, 1], 1500)
    label, lost = rng.random(3000) < np.where(stratum, 0.8, 0.1), rng.random(3000) < np.where(stratum, 0.4, 0.05)
    cluster = rng.integers(0, 20, 3000)
    crude = fisher_exact(tables_of(lost, label, np.zeros(3000))[0], alternative="greater").pvalue
    got = enriched(lost[:, None], label.astype(int), stratum, cluster).iloc[0]
    assert crude < 1e-20 and got.p > 0.05 and got.p_strata > 0.05
    assert got.or_low < 1 < got.or_high


def test_who_has_nothing_to_say_is_tested_and_counts():
    # latent 0: lost in a cluster of label 1 only; 1: lost at the label-1 variants of mixed clusters; 2: at one variant
    label, cluster = np.array([1] * 10 + [1, 0] * 10), np.array([0] * 10 + list(range(1, 11)) * 2)
    cluster[10:] = np.repeat(np.arange(1, 11), 2)
    lost = np.zeros((30, 4), bool)
    lost[:10, 0], lost[10:, 1], lost[0, 2] = True, label[10:] == 1, True
    got = enriched(lost, label, np.zeros(30, int), cluster, 10)
    assert got.latent.tolist() == [0, 1] and got.free.tolist() == [0, 10]
    assert got.p.tolist() == [1.0, pytest.approx(2.0**-10)] and got.q[1] == pytest.approx(2.0**-9)
    assert np.isnan(got.odds_ratio[0]) and np.isinf(got.odds_ratio[1]) and np.isnan(got.or_low[0]) and got.or_low[1] > 1
    assert got.p_strata[0] < 0.02  # ten variants of one cluster taken for ten witnesses
    empty = enriched(lost, label, np.zeros(30, int), cluster, 31)
    assert empty.empty and list(empty) == COLUMNS


def test_losses_and_gains_make_one_p_by_simes():
    lost = pd.DataFrame({"latent": [2, 5, 7], "p": [0.01, 0.5, 0.04]})
    gained = pd.DataFrame({"latent": [5, 7, 1], "p": [0.4, 0.05, 0.02]})
    got = either(lost, gained)
    # 7: min(2 x 0.04, 0.05); 5: min(2 x 0.4, 0.5); 1 and 2 were tested once
    assert got.latent.tolist() == [1, 2, 5, 7] and got.p.tolist() == pytest.approx([0.02, 0.01, 0.5, 0.05])
    assert got.q.tolist() == pytest.approx([0.04, 0.04, 0.5, 0.05 * 4 / 3])
    assert np.isnan(got.p_lost[0]) and np.isnan(got.p_gained[1])
    assert either(lost[:0], gained[:0]).empty


@pytest.mark.parametrize("change, message", [
    ({"label": [0, 1, 2]}, r"label holds \[0 1 2\], wanted 0 and 1"),
    ({"label": [1, 1, 1]}, "both of them"),
    ({"label": [0, 1]}, r"label has shape \(2,\), expected \(3,\)"),
    ({"label": [0, np.nan, 1]}, "label of variant 1 is missing"),
    ({"stratum": [0.5, 1, 1]}, "stratum is of type float64"),
    ({"cluster": ["a", None, "b"]}, "cluster of variant 1 is missing"),
    ({"lost": np.array([[-1.0], [0], [1]])}, "lost ranges from -1.0 to 1.0"),
    ({"lost": np.array([[np.nan], [0], [1]])}, "wanted finite"),
    ({"least": 0}, "least is 0"),
])  # fmt: skip
def test_bad_input_is_refused(change, message):
    given = {"lost": np.ones((3, 1)), "label": [0, 1, 1], "stratum": [0, 0, 0], "cluster": ["a", "a", "a"], "least": 1} | change
    with pytest.raises(ValueError, match=message):
        enriched(given["lost"], *(np.array(given[name]) for name in ("label", "stratum", "cluster")), given["least"])


def test_real_variants_of_splice_sites_are_pathogenic_and_deeper_ones_are_not():
    """Latents: offsets into introns, as ClinVar's c. names give them; strata: donor or acceptor side."""
    path = DATA_DIR / "clinvar_loci.vcf.gz"
    if not path.is_file():
        pytest.skip(f"NO CLINVAR at {path}: set DATA_DIR to the folder of shared data")
    text = gzip.decompress(path.read_bytes()).decode()
    rows = re.findall(r"CLNSIG=([^;]+);.*GENEINFO=([^;]+);.*c\.\d+([+-])(\d+)[ACGT]>", text)
    table = pd.DataFrame(rows, columns=["said", "gene", "side", "depth"]).assign(label=lambda t: clinvar_label(t["said"]))
    table = table[table["label"].notna()].astype({"depth": int}).query("depth <= 20")
    offset = table["side"] + table["depth"].astype(str)
    names, at = np.unique(offset, return_inverse=True)
    got = enriched(at[:, None] == np.arange(len(names)), table["label"].to_numpy(int), (table["side"] == "+").to_numpy(int),
                   table["gene"].to_numpy()).assign(offset=names)  # fmt: skip
    assert set(got.offset[got.q <= 1e-6]) == {"+1", "+2", "-1", "-2"}
    assert (got.p[got.offset.str.lstrip("+-").astype(int) >= 10] > 0.05).all()


# Statistics for the diagnostics ----------------------------------------------------------------------------


def test_statistics_and_their_null_keep_every_cell():
    rng = np.random.default_rng(0)
    cell, label = rng.integers(0, 7, 400), rng.integers(0, 2, 400)
    lost = sparse.random(400, 30, 0.2, random_state=1, format="csr")
    latent, real, null = statistics(lost, label, cell, 200, 3)
    mean = np.array([label[cell == c].mean() for c in range(7)])[cell]
    np.testing.assert_allclose(real, (label - mean) @ lost.toarray()[:, latent])
    assert null.shape == (200, len(latent)) and abs(null.mean(0)).max() < 5 * null.std(0).max() / np.sqrt(200)
    one = sparse.csr_matrix((cell == 2)[:, None].astype(float))  # lost at a whole cell: nothing to tell
    _, real, null = statistics(one, label, cell, 50, 0)
    np.testing.assert_allclose(real, 0, atol=1e-9)
    np.testing.assert_allclose(null, 0, atol=1e-9)
