"""From units to subjects: the readout."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse


def person_locus_map(
    carriers: pd.DataFrame, units: pd.DataFrame
) -> tuple[sparse.csr_matrix, list[str], list[str]]:
    """Average over windows and haplotypes: features[person, locus] = M @ unit values.

    carriers: sample, window, haplotype, unit. units: unit, locus. Returns M [person x locus, unit] (locus fastest),
    the people and the loci. Every weight is 1 / (number of the person's haplotype windows at that locus).
    """
    people = list(dict.fromkeys(carriers["sample"]))
    loci = list(dict.fromkeys(units["locus"]))
    locus_of = units.set_index("unit")["locus"].map({name: i for i, name in enumerate(loci)})
    person_of = {name: i for i, name in enumerate(people)}
    row = carriers["sample"].map(person_of).to_numpy() * len(loci) + locus_of.loc[carriers["unit"]].to_numpy()
    shape = (len(people) * len(loci), int(units["unit"].max()) + 1)
    counts = sparse.csr_matrix((np.ones(len(row)), (row, carriers["unit"].to_numpy())), shape=shape)
    total = np.asarray(counts.sum(1)).ravel()
    return sparse.diags(1 / np.maximum(total, 1)) @ counts, people, loci


def features(locus_map: sparse.csr_matrix, n_people: int, values: np.ndarray) -> np.ndarray:
    """values: [unit, d] -> [person, locus * d], the concatenation of per-locus means."""
    return (locus_map @ values).reshape(n_people, -1)
