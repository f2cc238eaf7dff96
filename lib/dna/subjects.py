"""The people of a study as later notebooks read them: stored activations, and how units average to a person's loci."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from lib.acts import store
from lib.acts.pool import read_pooled
from lib.causal import ablation
from lib.corpus import corpus
from lib.dna.people import read_cohort
from lib.sae.model import SAE
from lib.stage import io


@dataclass(frozen=True)
class Subjects:
    """acts: the store; pooled: file of each unit's mean; units: a row a unit, with its locus; texts: the bases of each unit;
    part_map: [subject x part, unit]; names: of subjects; parts: of what their features are concatenated from."""

    acts: store.Store
    pooled: Path
    units: pd.DataFrame
    texts: list[str]
    part_map: sparse.csr_matrix
    names: list[str]
    parts: list[str]

    def features(self, site: str) -> np.ndarray:
        """Pooled activations at a site: [subject, part * d]."""
        return corpus.features(self.part_map, len(self.names), read_pooled(self.pooled, [site])[0][:, 0])

    def changes(self, sae: SAE, site: str, mode: str = "reference", seed: int = 0) -> np.ndarray:
        """What each latent of a dictionary of that site is off the value that `mode` sets it to: see `ablation.change_at`."""
        how = (self.units, self.part_map, len(self.names), mode, seed)
        return ablation.change_at(sae, self.acts.acts[site], self.acts.tokens, *how)


def read(study: str, prefix: str = "") -> Subjects:
    """What 01_extraction left about its people, or with prefix "external_" those of its second cohort.

    Raises ValueError where carriers and genotypes name people in another order.
    """
    names = ("activations.h5", "pooled.h5", "units.csv", "sequences.txt", "cohort.h5")
    acts, pooled, units, texts, cohort = (io.private_path(study, "01_extraction", prefix + name) for name in names)
    table, (samples, _, carriers) = io.read_csv(units), read_cohort(cohort)
    part_map, people, loci = corpus.person_locus_map(carriers, table)
    if people != samples:
        raise ValueError("people of carriers and of genotypes differ in order")
    return Subjects(store.open_store(acts), pooled, table, texts.read_text().split(), part_map, people, loci)
