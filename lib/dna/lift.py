"""Intervals that were made on another assembly, moved to the study's by a chain file (UCSC's or Ensembl's)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
from pyliftover import LiftOver

from lib.dna.reference import Reference, bare_name
from lib.stage.bed import bed_rows, interval

#: A lifted interval is kept where its length changes by this share of it at most.
STRETCH = 0.1
LIFTED, LOST = "intervals of another assembly", "intervals that do not lift whole to a contig of the genome"


def read(path: Path, chain: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """A BED file of another assembly on this one: contig, start, end, concept, family (both its name, or the file's).

    Both ends of a row have to lift to one contig, on one strand, a length apart that differs by STRETCH at most; what does not is left
    out, and counted in report. Contigs may be spelled otherwise than the genome's, with or without "chr". Raises ValueError with the line
    of a row that is no interval, for a chain that is none, and where no row of the file lifts.
    """
    lift, spelled = chain_of(chain), {bare_name(name): name for name in genome.lengths}
    known = {bare_name(name): name for name in lift.chain_file.chain_index}
    rows, lost = [], 0
    for number, fields in bed_rows(path):
        start, end = interval(fields[1], fields[2], f"{path}, line {number}")
        moved = moved_to(lift, known.get(bare_name(fields[0]), ""), start, end)
        contig = spelled.get(bare_name(moved[0])) if moved else None
        if contig is None or moved[2] > genome.lengths[contig]:
            lost += 1
            continue
        rows.append((contig, moved[1], moved[2], fields[3] if len(fields) > 3 else path.name.split(".")[0]))
    if not rows:
        raise ValueError(f"{path}: none of {lost} intervals lifts by {chain}: wanted those of the assembly that the chain starts from")
    report[path.name, LIFTED, f"lifted by {chain.name}"] += len(rows)
    report[path.name, LOST, "left out"] += lost
    table = pd.DataFrame(rows, columns=["contig", "start", "end", "concept"])
    return table.assign(family=table["concept"]).drop_duplicates(ignore_index=True)


def chain_of(path: Path) -> LiftOver:
    """The chains of a file. Raises ValueError where it is none."""
    try:
        lift = LiftOver(str(path))
    except Exception as error:  # the library asserts, splits and casts as it reads
        raise ValueError(f"{path}: not a chain file: {error}") from error
    if not lift.chain_file.chain_index:
        raise ValueError(f"{path}: not a chain file: it holds no chain")
    return lift


def moved_to(lift: LiftOver, contig: str, start: int, end: int) -> tuple[str, int, int] | None:
    """The interval on the other assembly, or None. A position is lifted by the chain of the highest score that holds it."""
    ends = [lift.convert_coordinate(contig, position) for position in (start, end - 1)]
    if not all(ends):
        return None
    (contig_a, a, strand_a, _), (contig_b, b, strand_b, _) = (places[0] for places in ends)
    low, high = min(a, b), max(a, b) + 1
    same = contig_a == contig_b and strand_a == strand_b and abs((high - low) - (end - start)) <= STRETCH * (end - start)
    return (contig_a, low, high) if same else None
