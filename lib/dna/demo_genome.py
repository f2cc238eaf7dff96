"""The simulated genome: where loci and background lie."""

from __future__ import annotations

import numpy as np
import pandas as pd

GENES = [
    "NOD2", "IL23R", "ATG16L1", "IRGM", "CARD9", "PTPN2", "IL10", "HNF4A",
    "JAK2", "STAT3", "TYK2", "SMAD3", "IL12B", "PTGER4", "LRRK2",
]  # fmt: skip
SPACER = 500  # plain bases before each region, and at the end of a contig


def layout(n_loci: int, locus_bp: int, n_contigs: int, n_background: int, background_bp: int) -> pd.DataFrame:
    """Loci, then background regions, dealt over the contigs, a spacer before each."""
    kinds = [("locus", f"sim_{g}", locus_bp) for g in GENES[:n_loci]]
    kinds += [("background", f"background{i + 1}", background_bp) for i in range(n_background)]
    table = pd.DataFrame(kinds, columns=["kind", "locus", "length"])
    rank = np.concatenate([np.arange(n_loci), np.arange(n_background)]) % n_contigs
    table["contig"] = [f"sim{i + 1}" for i in rank]
    table["end"] = table.assign(step=table.length + SPACER).groupby("contig").step.cumsum()
    table["start"] = table.end - table.length
    return table.sort_values(["contig", "start"], ignore_index=True)
