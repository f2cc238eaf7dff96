"""Variants and regions that fine mapping of a disease names: PICS' lists, and tables of regions such as Huang et al. 2017's.

A variant's probability in such a list is a statement about linkage in a cohort, not about a mechanism: the most likely one of a list is
often not causal, and one alone in its list has probability 1 whatever it is. They are weak labels.
Sources: PICS, Farh et al. 2015 (Nature 518:337); regions, Huang et al. 2017 (Nature 547:173), Supplementary Table 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lib.dna import lift
from lib.dna.reference import Reference, bare_name
from lib.stage import lines
from lib.stage.bed import interval

VARIANT, REGION = "fine-mapped variant", "fine-mapped region"
#: Of a PICS list, probability from which a variant is read.
LIKELY = 0.1
#: Share of a list's variants, 10 of them at least, of whose alleles none is the genome's base: then it is of another assembly.
WRONG, FEWEST = 0.2, 10
COLUMNS = ["contig", "start", "end", "concept"]
REGION_COLUMNS = ("chr", "region_start_hg38", "region_end_hg38")


def read(path: Path, chain: Path | None, genome: Reference, report: Counter) -> pd.DataFrame:
    """contig, start, end (0-based, half-open), concept (VARIANT or REGION), each once.

    A name that ends in .pics: PICS' output, seven columns by tabs without a header, of which the second is chr:position:allele:allele
    on GRCh37, which `chain` leads from, and the sixth the probability; single bases of LIKELY and more are read. .csv: a table of regions
    with REGION_COLUMNS, positions from 1, lines of # skipped. .gz is read too. What is left out is counted in report (`lib.dna.report`).
    Raises ValueError with the line for what is none of these, for a list without a chain, for alleles that are not the genome's, and where
    nothing is left.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    if name.endswith(".pics"):
        if chain is None:
            raise ValueError(f"{path}: a PICS list is of GRCh37, wanted a chain file that leads from there under lift_path")
        rows = _variants(path, chain, genome, report)
    elif name.endswith(".csv"):
        rows = _regions(path, genome, report)
    else:
        raise ValueError(f"{path}: wanted a PICS list (.pics) or a table of regions (.csv)")
    if not rows:
        raise ValueError(f"{path}: no variant or region in the file that is on {genome.path}")
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(ignore_index=True)


def _variants(path: Path, chain: Path, genome: Reference, report: Counter) -> list[tuple]:
    lifted, spelled = lift.chain_of(chain), {bare_name(name): name for name in genome.lengths}
    known = {bare_name(name): name for name in lifted.chain_file.chain_index}
    rows, n_read, unlike = [], 0, 0
    for contig, pos, alleles, probability in _listed(path):
        if probability < LIKELY:
            report[path.name, f"variants of a probability below {LIKELY:g}", "left out"] += 1
            continue
        if any(len(allele) != 1 for allele in alleles):
            report[path.name, "fine-mapped variants that are no single bases", "left out"] += 1
            continue
        moved = lift.moved_to(lifted, known.get(bare_name(contig), ""), pos - 1, pos)
        here = spelled.get(bare_name(moved[0])) if moved else None
        if here is None or moved[2] > genome.lengths[here]:
            report[path.name, "fine-mapped variants that do not lift to the genome", "left out"] += 1
            continue
        base = genome.fetch(here, moved[1], moved[2])
        if base == "N":
            report[path.name, "fine-mapped variants where the genome has N", "left out"] += 1
            continue
        n_read, unlike = n_read + 1, unlike + (base not in alleles)
        rows.append((here, moved[1], moved[2], VARIANT) if base in alleles else None)
    if n_read >= FEWEST and unlike > WRONG * n_read:
        raise ValueError(f"{path}: of {n_read} variants {unlike} have no allele that is the genome's base once lifted, wanted positions of "
                         "GRCh37")
    report[path.name, "fine-mapped variants of which no allele is the genome's base", "left out"] += unlike
    return [row for row in rows if row]


def _listed(path: Path) -> Iterator[tuple[str, int, tuple[str, str], float]]:
    """Contig, position from 1, alleles and probability of each row of a PICS list."""
    for number, line in lines.read(path):
        if not line.strip():
            continue
        fields, where = line.rstrip("\r").split("\t"), f"{path}, line {number}"
        if len(fields) != 7:
            raise ValueError(f"{where}: {len(fields)} columns, wanted 7, as PICS writes them")
        parts = fields[1].split(":")
        pos = lines.integer(parts[1]) if len(parts) == 4 else None
        if pos is None or pos < 1 or not all(parts[2:]):
            raise ValueError(f"{where}: {fields[1][:60]!r}, wanted chr:position:allele:allele")
        try:
            probability = float(fields[5])
        except ValueError:
            probability = -1.0
        if not 0 <= probability <= 1:
            raise ValueError(f"{where}: probability {fields[5][:20]!r}, wanted a number from 0 to 1")
        yield parts[0], pos, (parts[2].upper(), parts[3].upper()), probability


def _regions(path: Path, genome: Reference, report: Counter) -> list[tuple]:
    rows, columns, spelled = [], None, {bare_name(name): name for name in genome.lengths}
    for number, line in lines.read(path):
        if not line.strip() or line.startswith("#"):
            continue
        fields, where = [field.strip() for field in line.split(",")], f"{path}, line {number}"
        if columns is None:
            columns = [fields.index(name) if name in fields else -1 for name in REGION_COLUMNS]
            if -1 in columns:
                raise ValueError(f"{where}: columns {', '.join(fields)[:200]}, wanted {', '.join(REGION_COLUMNS)}")
            continue
        if len(fields) <= max(columns):
            raise ValueError(f"{where}: {len(fields)} columns, wanted at least {max(columns) + 1}")
        given, low, high = (fields[column] for column in columns)
        if {"", "NA"} & {low, high}:
            report[path.name, "fine-mapped regions without a place", "left out"] += 1
            continue
        contig = spelled.get(bare_name(given))
        if contig is None:
            report[path.name, "fine-mapped regions on contigs that the genome lacks", "left out"] += 1
            continue
        first, end = interval(low, high, where)
        if not 1 <= first or end > genome.lengths[contig]:
            raise ValueError(f"{where}: {contig}:{first}-{end}, wanted positions from 1 to {genome.lengths[contig]}")
        rows.append((contig, first - 1, end, REGION))
    return rows
