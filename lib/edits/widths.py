"""Does what latents say of labelled edits grow with the width of the dictionary by more, or by less, than size alone gives?

One run of a sweep stands for each width. Sets of mechanisms that every width holds stay as many; chance passes in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from lib.edits import diagnostics, enriched
from lib.edits.change import of_alleles
from lib.models.adapter import Adapter
from lib.sae.model import SAE


def of_sweep(sweep: pd.DataFrame, architecture: str, l0: float) -> dict[int, str]:
    """Width -> run, the least width first; {} where no architecture has runs of two widths.

    Of the architecture, or where it has one width only, of that with the most (the first by name); of each width the run whose L0 on
    validation is nearest to l0. sweep: run, architecture, d_sae, split, l0.
    """
    rows = sweep[sweep["split"] == "validation"]
    n = rows.groupby("architecture")["d_sae"].nunique()
    if n.max() < 2:
        return {}
    rows = rows[rows["architecture"] == (architecture if n.get(architecture, 0) > 1 else n.idxmax())]
    nearest = rows.assign(off=(rows["l0"] - l0).abs()).sort_values(["d_sae", "off", "run"]).drop_duplicates("d_sae")
    return dict(zip(nearest["d_sae"].astype(int), nearest["run"], strict=True))


def lost(before: sparse.csr_matrix, after: sparse.csr_matrix, share: float) -> sparse.csr_matrix:
    """How far each latent falls where it loses `share` of its value or more, 0 elsewhere: CSR [edit, d_sae]."""
    fall = (before - after).tocoo()
    value = np.asarray(before.tocsr()[fall.row, fall.col]).ravel()
    kept = (fall.data > 0) & (fall.data >= share * value)
    return sparse.csr_matrix((fall.data[kept], (fall.row[kept], fall.col[kept])), shape=fall.shape)


def scaling(
    adapter: Adapter, site: str, saes: Mapping[int, SAE], table: pd.DataFrame, label: np.ndarray, cell: np.ndarray, share: float,
    radius: int, n_draws: int, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """`diagnostics.scaling` of latents that edits of label 1 lose more than others of their cell; no row where it cannot be asked.

    saes: width -> dictionary; table: of windows, as `change.of_alleles` reads it; label: [edit] 0 or 1; cell: [edit], inside which labels
    are dealt anew. It can be asked where two widths or more have latents that are lost at 10 edits, unlike many, most of the widest.
    """
    families = {}
    if len(saes) > 1 and len(set(np.asarray(label).tolist())) == 2:
        before, after = of_alleles(adapter, site, list(saes.values()), table, radius)
        for width, first, second in zip(saes, before.latents, after.latents, strict=True):
            latent, real, null = enriched.statistics(lost(first, second, share), label, cell, n_draws, seed)
            if len(latent):
                families[width] = real, null
    sizes = [len(real) for real, _ in families.values()]
    if len(set(sizes)) < 2 or len(families[max(families)][0]) < max(sizes):
        return pd.DataFrame(columns=diagnostics.COLUMNS)
    return diagnostics.scaling(families, seed=seed)
