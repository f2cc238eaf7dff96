"""Ancestry and missing calls: what could predict a phenotype without any biology."""

from __future__ import annotations

import numpy as np


def components(dosage: np.ndarray, train_mask: np.ndarray, n: int) -> np.ndarray:
    """Principal components of ancestry, fitted on the training people and projected for all: [person, n].

    Each variant is centred by 2p and divided by sqrt(2p(1 - p)), p its ALT frequency in the training people; a
    missing call is the mean; a variant that does not vary in them is left out. Projected people lie nearer to 0 than
    training people do, the more so the more variants per person.

    dosage: [variant, person], copies of ALT, 0 to 2, nan where missing; autosomes only, or sex becomes a component.
    train_mask: [person] bool. Raises ValueError for a mask of another length, and when there are not more training
    people, and more varying variants, than components.
    Source: Patterson, Price and Reich 2006.
    """
    from sklearn.decomposition import PCA

    dosage, train = np.asarray(dosage, dtype=float), np.asarray(train_mask, dtype=bool)
    if dosage.ndim != 2 or train.shape != dosage.shape[1:]:
        raise ValueError(
            f"dosage {dosage.shape} and train_mask {train.shape}: wanted [variant, person], [person]"
        )
    called = ~np.isnan(dosage[:, train])
    p = np.where(called, dosage[:, train], 0).sum(1) / np.maximum(2 * called.sum(1), 1)
    varies = (p > 0) & (p < 1)
    most = min(train.sum(), varies.sum()) - 1
    if not 0 < n <= most:
        raise ValueError(
            f"{n} components, wanted 1 to {most}: {train.sum()} training people, {varies.sum()} variants vary"
        )
    p = p[varies, None]
    Z = np.nan_to_num((dosage[varies] - 2 * p) / np.sqrt(2 * p * (1 - p))).T
    return PCA(n, svd_solver="arpack", random_state=0).fit(Z[train]).transform(Z)


def missingness(dosage: np.ndarray, n_blocks: int = 10) -> np.ndarray:
    """Share of calls that a person misses, [person, k]: over all variants, then in each block of neighbours.

    Blocks are `n_blocks` runs of rows, as equal as can be. When nobody misses a call there is nothing to predict
    from, and k is 0. dosage: [variant, person], nan where missing.
    """
    missing = np.isnan(np.asarray(dosage, dtype=float))
    if not missing.any():
        return np.zeros((missing.shape[1], 0))
    blocks = np.array_split(missing, min(n_blocks, len(missing)))
    return np.stack([block.mean(0) for block in [missing, *blocks]], axis=1)
