"""The subjects of a study as 05 to 07 read them: stored activations, and how units average to a subject's parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.acts import counterparts, store
from lib.acts.pool import read_pooled
from lib.causal import ablation, rivals
from lib.corpus.corpus import PREFIX, SUBJECTS, Corpus, Readout
from lib.sae.model import SAE
from lib.stage import io


@dataclass(frozen=True)
class Subjects:
    """acts: the store; pooled: file of each unit's mean; units: a row a unit, with its part (locus); texts: what the model reads
    of each; readout: from units to subjects."""

    acts: store.Store
    pooled: Path
    units: pd.DataFrame
    texts: list[str]
    readout: Readout

    def features(self, site: str) -> np.ndarray:
        """Pooled activations at a site: [subject, part * d]."""
        return self.readout.features(read_pooled(self.pooled, [site])[0][:, 0])

    def part_of(self) -> pd.Series:
        """unit -> number of the part that it belongs to, the only one where all loci are read together. ValueError for an unknown locus."""
        parts = {name: number for number, name in enumerate(self.readout.parts)}
        numbers = self.units.set_index("unit")["locus"].map(parts if len(parts) > 1 else lambda _: 0)
        if numbers.isna().any():
            raise ValueError(f"units of loci that the readout lacks: {self.units.locus[numbers.isna().to_numpy()].unique()[:5]}")
        return numbers.astype(int)

    def changes(self, sae: SAE, site: str, mode: str = "reference", seed: int = 0) -> np.ndarray:
        """What each latent of a dictionary of that site is off the value that `mode` sets it to: see `ablation.change_at`."""
        how = (self.units, self.readout.weights, len(self.readout.subjects), mode, seed)
        return ablation.change_at(sae, self.acts.acts[site], self.acts.tokens, *how)

    def shifts(self, site: str) -> np.ndarray:
        """Activations of the reference less each subject's own, mean over a part: [subject, part, d], see `rivals.shift`."""
        tokens = self.acts.tokens
        off = rivals.shift(self.acts.acts[site], tokens["unit"], counterparts.aligned(tokens, self.units))
        return self.readout.features(off).reshape(len(self.readout.subjects), len(self.readout.parts), -1)


def read(corpus: Corpus, name: str = SUBJECTS) -> Subjects:
    """What 00 and 01 left about the subjects, or about those of the second corpus."""
    acts, pooled, units = (io.private_path(corpus.study, "01_extraction", PREFIX[name] + file)
                           for file in ("activations.h5", "pooled.h5", "units.csv"))
    return Subjects(store.open_store(acts), pooled, io.read_csv(units), corpus.records(name).texts, corpus.readout(name))
