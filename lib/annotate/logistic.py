"""Adjusted odds ratios of candidate pairs from a logistic model with continuous confounders."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate.concepts import Concepts


def adjusted_odds(
    latents: sparse.csr_matrix, concepts: Concepts, pairs: pd.DataFrame, covariates: pd.DataFrame, unit: np.ndarray,
    n_each: int = 20_000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Concept membership of a token on the latent's activation and the confounders: one logistic model a pair.

    latents: CSR [token, latent]; pairs: columns latent, concept_row; covariates: [token] numbers (GC, CpG observed
    over expected, repeat class as 0/1 columns, log distance to a start site), standardised here; unit: [token] window.
    At most `n_each` tokens of each class are drawn: sampling by outcome leaves all coefficients but the intercept as
    they are. Returns, one row a pair: logit_or (odds ratio per standard deviation of the activation), logit_low,
    logit_high (95 %, errors clustered by unit), logit_p (two-sided), n_model (tokens), converged; NaN where the model
    has no finite answer. Raises ValueError on missing covariates.
    """
    if bad := covariates.columns[~np.isfinite(covariates.to_numpy(dtype=float)).all(0)].tolist():
        raise ValueError(f"covariates {bad} have missing or infinite values")
    rng, columns, tokens = np.random.default_rng(seed), latents.tocsc(), concepts.tokens.tocsc()
    z = _standard(covariates.to_numpy(dtype=float))
    rows = []
    for latent, concept in zip(pairs["latent"], pairs["concept_row"]):
        member = np.zeros(latents.shape[0], dtype=bool)
        member[tokens.indices[tokens.indptr[concept] : tokens.indptr[concept + 1]]] = True
        both = [np.flatnonzero(member), np.flatnonzero(~member)]
        drawn = np.sort(np.concatenate([rng.choice(side, min(n_each, len(side)), replace=False) for side in both]))
        activation = np.zeros(latents.shape[0])
        activation[columns.indices[columns.indptr[latent] : columns.indptr[latent + 1]]] = columns[:, [latent]].data
        sd = activation.std()
        x = np.column_stack([np.ones(len(drawn)), (activation / (sd if sd > 0 else 1))[drawn], z[drawn]])
        rows.append(_fit(member[drawn].astype(float), x, unit[drawn]))
    return pd.DataFrame(rows, columns=["logit_or", "logit_low", "logit_high", "logit_p", "n_model", "converged"])


def _standard(x: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; constant ones left out, the intercept holds them."""
    sd = x.std(0)
    return ((x - x.mean(0)) / np.where(sd > 0, sd, 1))[:, sd > 0]


def _fit(y: np.ndarray, x: np.ndarray, unit: np.ndarray) -> tuple:
    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import (
        ConvergenceWarning,
        PerfectSeparationError,
        PerfectSeparationWarning,
    )

    nothing = (np.nan, np.nan, np.nan, np.nan, len(y), False)
    if y.min() == y.max() or x[:, 1].min() == x[:, 1].max():
        return nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            found = Logit(y, x).fit(disp=0, maxiter=100, cov_type="cluster", cov_kwds={"groups": unit})
        except (ConvergenceWarning, PerfectSeparationWarning, PerfectSeparationError, np.linalg.LinAlgError):
            return nothing
    low, high = found.conf_int()[1]
    with np.errstate(over="ignore"):
        odds = np.exp([found.params[1], low, high])
    return (*odds.tolist(), float(found.pvalues[1]), len(y), bool(found.mle_retvals["converged"]))
