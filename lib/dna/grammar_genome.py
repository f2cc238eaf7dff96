"""The simulated genome with a grammar: regions filled with units, and the tables of units and sites that are true of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.dna import grammar, planted
from lib.dna.demo_genome import SPACER
from lib.dna.motifs import Motif

#: Units lie inside stretches of this many bases, which windows of the same size read one by one.
STRETCH = 256
#: Share of the stretches of a background region that hold units; in loci all do.
ACTIVE = 0.9
#: Stretches of a locus that are promoter; the others are enhancers, as all but one in five of the background are.
PROMOTER_STRETCHES, PROMOTERS = 2, 0.2


def write(regions: pd.DataFrame, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], pd.DataFrame, pd.DataFrame]:
    """Bases of each contig; the units (contig, locus, grammar.COLUMNS); the elements (contig, start, end, locus, kind).

    regions: kind ("locus" or "background"), locus, contig, start, end, of whole stretches. No unit has a marker, so that only the
    partner says whether a site works; in loci half of them are functional. Raises ValueError for a region that is no whole number
    of stretches.
    """
    ragged = regions[(regions.end - regions.start) % STRETCH != 0]
    if len(ragged):
        row = ragged.iloc[0]
        raise ValueError(f"{row.locus} has {row.end - row.start} bases, wanted a multiple of {STRETCH}")
    of_loci = grammar.Grammar(rng, marked=0.0), grammar.in_turn(rng)
    of_background = grammar.Grammar(rng, marked=0.0), grammar.at_random(grammar.ONE_TO_THREE, rng)
    genome, units, elements = {}, [], []
    for contig, own in regions.groupby("contig"):
        codes = planted.background(int(own.end.max()) + SPACER, rng)
        for region in own.itertuples():
            of_locus = region.kind == "locus"
            for number, start in enumerate(range(region.start, region.end, STRETCH)):
                promoter = number < PROMOTER_STRETCHES if of_locus else rng.random() < PROMOTERS
                if not of_locus and rng.random() >= ACTIVE:
                    continue
                rows = grammar.plant(codes[start : start + STRETCH], *(of_loci if of_locus else of_background), rng)
                units += [{"contig": contig, "locus": region.locus} | _moved(row, start) for row in rows]
                kind = "promoter" if promoter else "enhancer"
                elements.append((contig, start, start + STRETCH, f"{region.locus}_{kind}{number}", kind))
        genome[contig] = codes
    table = pd.DataFrame(units, columns=["contig", "locus", *grammar.COLUMNS])
    return genome, table, pd.DataFrame(elements, columns=["contig", "start", "end", "locus", "kind"])


def _moved(row: dict, by: int) -> dict:
    return row | {name: row[name] + by for name in grammar.PLACES}


def sites(genome: dict[str, np.ndarray], units: pd.DataFrame, elements: pd.DataFrame, motifs: list[Motif]) -> pd.DataFrame:
    """Every site of the motifs in each contig, planted in a unit or there by chance, as `planted.chance_sites` has them.

    Further columns: contig, planted, element (its kind, "" outside), unit (row of `units`, -1 by chance), role ("site" or
    "partner"; "" by chance), functional (the unit works).
    """
    tables = []
    for contig, codes in genome.items():
        own = _of_units(units[units.contig == contig], [motif.name for motif in motifs])
        all_sites = planted.chance_sites(codes, motifs).merge(own, on=["start", "end", "motif", "strand"], how="left")
        near = elements[elements.contig == contig]
        inside = np.searchsorted(near.start, all_sites.start, side="right") - 1
        known = (inside >= 0) & (all_sites.start.to_numpy() < near.end.to_numpy()[np.maximum(inside, 0)])
        all_sites["element"] = np.where(known, near.kind.to_numpy()[np.maximum(inside, 0)], "")
        tables.append(all_sites.assign(contig=contig))
    table = pd.concat(tables, ignore_index=True)
    table["planted"] = table.unit.notna()
    table["unit"] = table.unit.fillna(-1).astype(int)
    works = np.append(units.kind.eq("functional").to_numpy(), False)  # the last: of no unit
    return table.fillna({"role": ""}).assign(functional=works[table.unit])


def _of_units(units: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The whole motifs of units: start, end, motif (index), strand, unit, role. A partner that is turned lies on the other strand."""
    rows = []
    for unit in units.itertuples():
        other = {"+": "-", "-": "+"}[unit.strand]
        if unit.end > unit.start and unit.kind != "site broken":
            rows.append((unit.start, unit.end, names.index(grammar.PAIRS[unit.pair].site), unit.strand, unit.Index, "site"))
        if unit.partner_end > unit.partner_start and unit.kind != "partner broken":
            strand = other if unit.kind == "turned" else unit.strand
            rows.append((unit.partner_start, unit.partner_end, names.index(unit.partner), strand, unit.Index, "partner"))
    return pd.DataFrame(rows, columns=["start", "end", "motif", "strand", "unit", "role"])
