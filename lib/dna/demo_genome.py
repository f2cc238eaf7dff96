"""The simulated genome: where loci and background lie, their promoters and enhancers, and the motif sites in them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.dna import motifs as mt
from lib.dna import planted

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


def elements_of(
    regions: pd.DataFrame, element_share: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Promoters and enhancers of each region, and exons in the gaps between them."""
    elements, exons = [], []
    for region in regions.itertuples():
        if region.kind == "locus":
            pieces = _locus_elements(region.end - region.start, element_share)
        else:
            pieces = _background_elements(region.end - region.start, rng)
        elements += [
            (region.contig, region.start + a, region.start + b, f"{region.locus}_{kind}{i}", kind)
            for i, (a, b, kind) in enumerate(pieces)
        ]
        bounds = [0, *(x for a, b, _ in pieces for x in (a, b)), region.end - region.start]
        gaps = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b - a >= 60]
        gaps = [
            (region.start + a, (b - a) // 4, region.start + b) for a, b in gaps
        ]  # an exon is its middle half
        exons += [
            (region.contig, a + quarter, b - quarter, f"{region.locus}_exon{i}")
            for i, (a, quarter, b) in enumerate(gaps)
        ]
    columns = ["contig", "start", "end", "locus"]
    return pd.DataFrame(elements, columns=[*columns, "kind"]), pd.DataFrame(exons, columns=columns)


def _locus_elements(length: int, share: float) -> list[tuple[int, int, str]]:
    """A promoter with half of the element bases and two enhancers with a quarter each, evenly spaced."""
    widths = [int(length * share / 2), int(length * share / 4), int(length * share / 4)]
    gap = (length - sum(widths)) // 4
    starts = gap + np.cumsum([0, widths[0] + gap, widths[1] + gap])
    kinds = ["promoter", "enhancer", "enhancer"]
    return [(int(a), int(a) + w, k) for a, w, k in zip(starts, widths, kinds, strict=True)]


def _background_elements(
    length: int, rng: np.random.Generator, segment: int = 512, active: float = 0.8, promoters: float = 0.2
) -> list[tuple[int, int, str]]:
    """Of the whole segments a share `active` are elements, and of these a share `promoters` are promoters."""
    on, promoter = rng.random((2, length // segment)) < np.array([[active], [promoters]])
    names = np.where(promoter, "promoter", "enhancer")
    return [(int(i) * segment, int(i + 1) * segment, str(names[i])) for i in np.flatnonzero(on)]


def write_bases(
    regions: pd.DataFrame,
    elements: pd.DataFrame,
    motifs: list[mt.Motif],
    density: float,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Codes of each contig, and all of its sites: planted ones and chance ones, with the element they start in."""
    genome, tables = {}, []
    for contig, rows in regions.groupby("contig"):
        codes = planted.background(int(rows.end.max()) + SPACER, rng)
        own = elements[elements.contig == contig]
        drawn = pd.concat(
            [planted.draw_sites(e.start, e.end, density, motifs, rng) for e in own.itertuples()],
            ignore_index=True,
        )
        planted.write_sites(codes, drawn, motifs, rng)
        keys = ["start", "end", "motif", "strand"]
        sites = planted.chance_sites(codes, motifs).merge(
            drawn[keys].assign(planted=True), on=keys, how="left"
        )
        sites["planted"] = sites.planted.eq(True)
        inside = np.searchsorted(own.start, sites.start, side="right") - 1
        ends = own.end.to_numpy()[np.maximum(inside, 0)]
        kinds = own.kind.to_numpy()[np.maximum(inside, 0)]
        sites["element"] = np.where((inside >= 0) & (sites.start < ends), kinds, "")
        genome[contig] = codes
        tables.append(sites.assign(contig=contig))
    return genome, pd.concat(tables, ignore_index=True)
