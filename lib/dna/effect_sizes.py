"""How large a variant's effect is, by the dictionary and by each of its rivals, read on the same tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from lib.dna import motif_change
from lib.dna.motifs import Motif
from lib.edits import likelihood
from lib.edits.change import States, differences, of_alleles
from lib.models.adapter import Adapter
from lib.sae.model import SAE

#: Method -> column of `Effects.sizes`. Larger is more of an effect.
SCORES = {"SAE": "latent_change", "raw embedding": "embedding_change", "random dictionary": "random_change", "random twin": "twin_change",
          "motif score": "motif_change", "model likelihood": "likelihood_change", "position": "nearness"}


class Readers(NamedTuple):
    """What reads alleles. sae, random: dictionaries of the model's activations; twin_sae: of those of the twin, a model of random weights;
    all at one site. motifs: profiles."""

    model: Adapter
    twin: Adapter
    site: str
    sae: SAE
    random: SAE
    twin_sae: SAE
    motifs: tuple[Motif, ...]


class Effects(NamedTuple):
    """sizes: a row a variant, the columns of SCORES, log_ratio (nats, alternative over reference) and motif_lost, motif_gained (names
    of the profiles of the largest fall and rise, "" for none); before, after: states of the model, latents of sae and random."""

    sizes: pd.DataFrame
    before: States
    after: States


def of(readers: Readers, table: pd.DataFrame, radius: int) -> Effects:
    """Effects of the variants of `lib.dna.labelled.windows`, on tokens within `radius` bases. table: also exon_distance (bases; NaN: none
    is known), which gives nearness, minus its logarithm."""
    before, after = of_alleles(readers.model, readers.site, [readers.sae, readers.random], table, radius)
    (own, random), moved = differences(before, after)
    (of_twin,), _ = differences(*of_alleles(readers.twin, readers.site, [readers.twin_sae], table, radius))
    motif, ratio = motif_change.changes(table, readers.motifs), likelihood.log_ratios(readers.model, table)
    names = np.array([motif.name for motif in readers.motifs], dtype=object)
    sizes = pd.DataFrame({
        "latent_change": _norm(own), "embedding_change": np.linalg.norm(moved, axis=1), "random_change": _norm(random),
        "twin_change": _norm(of_twin), "motif_change": motif_change.largest(motif), "likelihood_change": np.abs(ratio),
        "nearness": -np.log10(1 + table["exon_distance"].to_numpy(float)), "log_ratio": ratio,
        "motif_lost": _named(names, motif, np.argmin), "motif_gained": _named(names, motif, np.argmax),
    })  # fmt: skip
    return Effects(sizes, before, after)


def _norm(change: sparse.csr_matrix) -> np.ndarray:
    return np.sqrt(np.asarray(change.multiply(change).sum(1), dtype=np.float64).ravel())


def _named(names: np.ndarray, change: np.ndarray, extreme) -> np.ndarray:
    """The profile whose change is the extreme one, "" where that is none or of the other sign."""
    if not change.size:
        return np.full(len(change), "", dtype=object)
    at = extreme(change, axis=1)
    value = change[np.arange(len(change)), at]
    return np.where(value < 0 if extreme is np.argmin else value > 0, names[at], "")
