"""Adjusted odds of candidate pairs: scikit-learn's and a planted answer, and a confounder that is taken out."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from lib.annotate.concepts import Concepts
from lib.annotate.logistic import adjusted_odds

N = 6000


def one_concept(member: np.ndarray) -> Concepts:
    n = len(member)
    return Concepts(pd.DataFrame({"concept": ["c"]}), sparse.csc_matrix(member[:, None].astype(np.float32)),
                    sparse.csr_matrix((1, n), dtype=np.float32), np.array([0]))  # fmt: skip


@pytest.fixture(scope="module")
def case():
    """Latent 0 raises the odds of membership by exp(0.8) a standard deviation; 1 only shares GC with it; 2 is silent;
    3 is the concept itself."""
    rng = np.random.default_rng(1)
    gc, cpg = rng.standard_normal(N), rng.standard_normal(N)
    dense = np.zeros((N, 4), dtype=np.float32)
    dense[:, 0] = np.maximum(rng.standard_normal(N), 0)
    dense[:, 1] = np.maximum(gc + rng.standard_normal(N), 0)
    member = rng.random(N) < 1 / (1 + np.exp(-(-2 + 0.8 * dense[:, 0] / dense[:, 0].std() + gc)))
    dense[:, 3] = member
    covariates = pd.DataFrame({"gc": gc, "cpg": cpg, "constant": 1.0})
    pairs = pd.DataFrame({"latent": [0, 1, 2, 3], "concept_row": 0})
    return sparse.csr_matrix(dense), one_concept(member), pairs, covariates, np.arange(N) // 50


def test_planted_odds_are_recovered_and_shared_composition_is_not(case):
    got = adjusted_odds(*case)
    assert got["logit_low"][0] < np.exp(0.8) < got["logit_high"][0] and got["logit_p"][0] < 1e-20
    assert got["logit_low"][1] < 1 < got["logit_high"][1]
    raw = adjusted_odds(*case[:3], case[3][["cpg"]], case[4])
    assert raw["logit_low"][1] > 1.2  # without GC it would pass
    assert got["converged"].tolist() == [True, True, False, False]  # silent; and perfectly separated
    assert got.loc[[2, 3], "logit_or"].isna().all()
    latents, concepts, _, covariates, _ = case
    x = np.column_stack([latents[:, [0]].toarray() / latents[:, [0]].toarray().std(), covariates[["gc", "cpg"]]])
    theirs = LogisticRegression(C=1e9, tol=1e-8).fit(x, concepts.tokens.toarray().ravel())
    assert np.log(got["logit_or"][0]) == pytest.approx(theirs.coef_[0, 0], rel=1e-3)


def test_drawing_tokens_by_class_keeps_the_coefficient(case):
    whole, drawn = adjusted_odds(*case), adjusted_odds(*case, n_each=800, seed=1)
    assert drawn["n_model"][0] == 1600
    assert np.log(drawn["logit_or"][0]) == pytest.approx(np.log(whole["logit_or"][0]), abs=0.15)
    pd.testing.assert_frame_equal(drawn, adjusted_odds(*case, n_each=800, seed=1))


def test_clustered_tokens_widen_the_interval():
    """Tokens copied ten times inside a unit hold no more evidence than one: the interval must not shrink."""
    rng = np.random.default_rng(0)
    x, member = rng.random(600), rng.random(600) < 0.4
    pairs, covariates = pd.DataFrame({"latent": [0], "concept_row": 0}), rng.standard_normal(600)
    width = []
    for copies in (1, 10):
        found = adjusted_odds(
            sparse.csr_matrix(np.repeat(x, copies)[:, None].astype(np.float32)), one_concept(np.repeat(member, copies)), pairs,
            pd.DataFrame({"gc": np.repeat(covariates, copies)}), np.repeat(np.arange(600), copies),
        )  # fmt: skip
        width.append(np.log(found["logit_high"][0] / found["logit_low"][0]))
    assert width[1] == pytest.approx(width[0], rel=0.02)


def test_missing_covariates_are_refused(case):
    with pytest.raises(ValueError, match="'gc'.*missing"):
        adjusted_odds(*case[:3], case[3].assign(gc=np.nan), case[4])
