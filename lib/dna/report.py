"""What the readers of files made of their records: counted, so that nothing is left out in silence.

A report is a Counter of (file name, what, what was done). It counts records, alleles and loci, never people, so that it
may be published.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from lib.dna.reference import Reference, other_spelling
from lib.models.sequence import IUPAC

COLUMNS = ["file", "what", "count", "done"]


def table(*reports: Counter) -> pd.DataFrame:
    """One row per file, kind of record and what was done: file, what, count, done; counts of 0 are left out."""
    total = sum(reports, Counter())
    return pd.DataFrame([(file, what, count, done) for (file, what, done), count in total.items()], columns=COLUMNS)


def of_genome(genome: Reference, loci: pd.DataFrame) -> Counter:
    """Bases of the loci (contig, start, end) that are not read as they are written: unknown, IUPAC, lower case."""
    letters = Counter()
    for place in loci.itertuples():
        letters += Counter(genome.letters(place.contig, place.start, place.end))
    name = Path(genome.path).name
    return +Counter({
        (name, "bases of the loci", "read"): letters.total(),
        (name, "bases of the loci that are N", "kept; windows that are mostly N are left out"): letters["N"] + letters["n"],
        (name, "bases of the loci that are IUPAC codes", "read as N"): sum(letters[c] + letters[c.lower()] for c in IUPAC),
        (name, "bases of the loci in lower case", "read as upper case"): sum(n for c, n in letters.items() if c.islower()),
    })  # fmt: skip


def on_genome(genome: Reference, contig: str, path: str | Path, where: str, report: Counter) -> bool:
    """Whether annotation lies on a contig of the genome; what does not is counted, for files of annotation cover more.

    where: file and record, for errors. Raises ValueError for a contig in another spelling: the whole file would be left out.
    """
    if contig in genome.lengths:
        return True
    if other_spelling(contig, genome.lengths):
        genome.check_contig(contig, where)
    report[Path(path).name, "intervals on contigs that the genome lacks", "left out"] += 1
    return False
