"""Shares of composition against scikit-learn on dense data, best identity sets by trying them, strands base by base."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from lib.annotate import composition

N = 4000
FIT, HELD = np.arange(0, 2500), np.arange(2500, N)


@pytest.fixture(scope="module")
def case():
    """Latent 0 is token identity, 1 follows GC bins, 2 is noise, 3 silent, 4 is on one identity seen only held out."""
    rng = np.random.default_rng(0)
    identity, gc, position = rng.integers(0, 40, N), rng.integers(0, 8, N), np.arange(N) % 50
    identity[3000:3100] = 99
    dense = rng.random((N, 5)) * (rng.random((N, 5)) < 0.3)
    dense[:, 0] = (identity % 5 == 0) * (1 + 0.1 * rng.random(N))
    dense[:, 1] = np.maximum(gc - 3, 0) + 0.1 * rng.random(N)
    dense[:, 3] = 0
    dense[:, 4] = identity == 99
    return sparse.csr_matrix(dense.astype(np.float32)), dense.astype(np.float32), identity, {"gc": gc, "position": position}


def test_share_of_one_code_is_the_r2_of_group_means(case):
    latents, dense, identity, _ = case
    got = composition.share_by_code(latents, identity, FIT, HELD)
    for latent in range(5):
        mean = pd.Series(dense[FIT, latent].astype(float)).groupby(identity[FIT]).mean()
        predicted = pd.Series(identity[HELD]).map(mean).fillna(dense[FIT, latent].mean())
        if latent == 3:
            assert np.isnan(got[latent])
        else:
            assert got[latent] == pytest.approx(r2_score(dense[HELD, latent], predicted), abs=1e-6)
    assert got[0] > 0.95 and abs(got[2]) < 0.05 and got[4] < 0


def test_share_of_all_is_held_out_linear_regression(case):
    latents, dense, _, codes = case
    got = composition.share_by_all(latents, codes, FIT, HELD)
    design = pd.get_dummies(pd.DataFrame({k: pd.Categorical(v) for k, v in codes.items()})).to_numpy(float)
    for latent in (0, 1, 2):
        model = LinearRegression().fit(design[FIT], dense[FIT, latent])
        assert got[latent] == pytest.approx(r2_score(dense[HELD, latent], model.predict(design[HELD])), abs=1e-5)
    assert got[1] > 0.95


def test_best_identity_set_is_the_best_of_all_cuts(case):
    latents, dense, identity, _ = case
    limit = np.array([0, 2.5, 0, 0, 0], dtype=np.float32)
    got = composition.identity_match(latents, identity, FIT, HELD, limit)
    for latent in (0, 1, 2):
        on = dense[:, latent] > limit[latent]
        rate = pd.Series(on[FIT].astype(float)).groupby(identity[FIT]).mean()
        order = rate.sort_values(ascending=False).index
        scores = [f1_score(on[FIT], np.isin(identity[FIT], order[:k])) for k in range(1, len(order) + 1)]
        # equally good cuts exist: the F1 of ours must be one of theirs
        best = [k + 1 for k, s in enumerate(scores) if s == pytest.approx(max(scores))]
        assert got["n_identities"][latent] in best
        held = [f1_score(on[HELD], np.isin(identity[HELD], order[:k])) for k in best]
        assert got["f1"][latent] == pytest.approx(held[best.index(got["n_identities"][latent])])
        score = pd.Series(identity[HELD]).map(rate).fillna(0)
        assert got["auroc"][latent] == pytest.approx(roc_auc_score(on[HELD], score))
    assert got["f1"][0] == 1 and got["auroc"][0] == 1
    assert got.loc[[3, 4], ["f1", "auroc"]].isna().all(None)  # silent; silent on the tokens of the fit


def test_the_table_and_its_verdict(case):
    latents, _, identity, codes = case
    table = composition.shares(latents, identity, codes, FIT, HELD)
    assert table.columns.tolist() == ["latent", "token_identity", "gc", "position", "confounders", "identity_f1",
                                      "identity_auroc", "explained_by_identity"]  # fmt: skip
    assert table["explained_by_identity"].tolist() == [True, False, False, False, False]
    assert table["gc"][1] > 0.95 and abs(table["gc"][0]) < 0.05


def test_quantile_codes():
    codes = composition.quantile_codes(np.array([0, 0, 0, 1, 2, 3, np.nan]), 3)
    assert codes.tolist() == [1, 1, 1, 1, 2, 2, 3]  # edges 0 and 4/3; the missing one last
    even = composition.quantile_codes(np.random.default_rng(0).random(1000), 10)
    assert np.bincount(even).tolist() == [100] * 10


def spread(latents: np.ndarray, tokens: pd.DataFrame, unit: int, length: int) -> np.ndarray:
    """[base, latent], NaN where no token of the unit holds the base."""
    out = np.full((length, latents.shape[1]), np.nan)
    for row in np.flatnonzero(tokens["unit"] == unit):
        out[tokens["start"].iat[row] : tokens["end"].iat[row]] = latents[row]
    return out


@pytest.mark.parametrize("cut", [6, 1])
def test_strand_agreement_is_the_correlation_over_bases(cut):
    rng = np.random.default_rng(0)
    length = {0: 100, 1: 64, 5: 30}

    def tokens(step):
        return pd.DataFrame([(u, s, s + step) for u, n in length.items() for s in range(0, n - step + 1, step)],
                            columns=["unit", "start", "end"])  # fmt: skip

    forward, reverse = tokens(cut), tokens(4)
    reverse = reverse[reverse["unit"] != 5].sample(frac=1, random_state=0)  # a unit read once only; any order
    bases = composition.shared_bases(forward, reverse, length)
    f = (rng.random((len(forward), 4)) * (rng.random((len(forward), 4)) < 0.5)).astype(np.float32)
    r = (rng.random((len(reverse), 4)) * (rng.random((len(reverse), 4)) < 0.5)).astype(np.float32)
    f[:, 3] = 0
    forward_bases = np.concatenate([spread(f, forward, u, n) for u, n in length.items()])
    reverse_bases = np.concatenate([spread(r, reverse, u, n)[::-1] for u, n in length.items()])
    both = ~np.isnan(forward_bases[:, 0]) & ~np.isnan(reverse_bases[:, 0])
    assert bases.sum() == both.sum() > 100
    got = composition.strand_agreement(sparse.csr_matrix(f), sparse.csr_matrix(r), bases)
    for latent in range(3):
        want = np.corrcoef(forward_bases[both, latent], reverse_bases[both, latent])[0, 1]
        assert got[latent] == pytest.approx(want, abs=1e-6)
    assert np.isnan(got[3])


def test_a_latent_that_reads_both_strands_alike_agrees():
    rng = np.random.default_rng(1)
    tokens = pd.DataFrame({"unit": 0, "start": np.arange(200), "end": np.arange(1, 201)})
    f = sparse.csr_matrix((rng.random((200, 2)) * (rng.random((200, 2)) < 0.2)).astype(np.float32))
    mirrored = sparse.csr_matrix(f.toarray()[::-1])
    bases = composition.shared_bases(tokens, tokens, np.array([200]))
    np.testing.assert_allclose(composition.strand_agreement(f, mirrored, bases), 1, atol=1e-6)
    assert (np.abs(composition.strand_agreement(f, f, bases)) < 0.3).all()
    with pytest.raises(ValueError, match="do not fit shared bases"):
        composition.strand_agreement(f, f[:100], bases)
