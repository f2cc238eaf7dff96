"""Does a latent say the same of both strands?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate import composition
from lib.annotate.reread import read_units
from lib.models import sequence as sq
from lib.models.adapter import Adapter
from lib.sae.model import SAE


def strand_agreement(
    adapter: Adapter, site: str, sae: SAE, texts: list[str], tokens: pd.DataFrame, latents: sparse.csr_matrix
) -> np.ndarray:
    """Correlation over bases of each latent on the units and on their reverse complements: [latent].

    tokens: unit, start, end of the rows of `latents`. NaN for constant latents, and for tokens that overlap each other.
    """
    if ((tokens["unit"] == tokens["unit"].shift()) & (tokens["start"] < tokens["end"].shift())).any():
        return np.full(latents.shape[1], np.nan)
    turned = {int(u): sq.decode(sq.reverse_complement(sq.encode(texts[u]))) for u in pd.unique(tokens["unit"])}
    table, reverse = read_units(adapter, site, sae, turned)
    bases = composition.shared_bases(tokens, table, {u: len(text) for u, text in turned.items()})
    return composition.strand_agreement(latents, reverse, bases)
