"""Domains of proteins as intervals of the genome: residues of a table, through the coding exons of the gene's transcripts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from lib.stage import lines

#: Domains that come with the code: those that a report of IBD genes asks for first.
OWN = Path(__file__).with_name("protein_domains.csv")
COLUMNS = ["gene", "domain", "first", "last"]


def read(path: str | Path) -> pd.DataFrame:
    """gene, domain, first, last (residues, 1-based, both included) of a table with these columns, such as rows of UniProt's or Pfam's.

    Raises ValueError with the line for a residue that is no number, and a domain that ends before it begins; and as `lines.table`.
    """
    table = lines.table(Path(path), *COLUMNS)
    for row in table.itertuples():
        first, last = lines.integer(row.first), lines.integer(row.last)
        if first is None or last is None or not 1 <= first <= last:
            raise ValueError(f"{path}, line {row.Index}: residues {row.first!r} to {row.last!r}, wanted 1 <= first <= last")
    return table.astype({"first": int, "last": int})[COLUMNS].reset_index(drop=True)


def intervals(domains: pd.DataFrame, genes: pd.DataFrame, report: Counter) -> pd.DataFrame:
    """Where the domains lie: contig, start, end, concept ("domain: NOD2 leucine-rich repeats"), family; one row a coding exon's part.

    domains: of `read`; genes: of `lib.dna.genes.read`, transcripts with coding sequence. A domain is laid on every transcript of its
    gene that codes so many residues; parts that are the same are one. report: counts the domains that no transcript holds.
    """
    coding = {gene: part for gene, part in genes[genes["feature"] == "CDS"].groupby("gene")}
    rows = []
    for domain in domains.itertuples():
        own = coding.get(domain.gene, genes[:0]).groupby("transcript")
        laid = [place for _, cds in own for place in _laid(cds, domain.first, domain.last)]
        if not laid:
            report["protein domains", "domains of no transcript of these genes", "left out"] += 1
        rows += [(*place, f"domain: {domain.gene} {domain.domain}", domain.domain) for place in laid]
    return pd.DataFrame(rows, columns=["contig", "start", "end", "concept", "family"]).drop_duplicates(ignore_index=True)


def _laid(cds: pd.DataFrame, first: int, last: int) -> list[tuple[str, int, int]]:
    """Parts of one transcript's coding exons that code residues first to last; none where it codes fewer."""
    minus = cds["strand"].iat[0] == "-"
    cds = cds.sort_values("start", ascending=not minus)
    length = (cds["end"] - cds["start"]).to_numpy()
    before = np.cumsum(length) - length
    low, high = 3 * (first - 1), 3 * last
    if length.sum() < high:
        return []
    out = []
    for exon, at, n in zip(cds.itertuples(), before, length, strict=True):
        a, b = max(low, at) - at, min(high, at + n) - at
        if a < b:
            start, end = (exon.end - b, exon.end - a) if minus else (exon.start + a, exon.start + b)
            out.append((exon.contig, int(start), int(end)))
    return out
