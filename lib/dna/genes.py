"""Parts of genes as intervals: coding sequence, untranslated regions, splice sites, codon phase.

Everything that a model could tell from one strand's sequence carries its strand: a donor on the minus strand reads AC
where one on the plus strand reads GT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from lib.dna.reference import Reference
from lib.dna.report import on_genome
from lib.dna.windows import read_bed
from lib.stage import lines

#: Bases before and after the end of an exon that make a donor, and before and after the start of one that make an
#: acceptor: the windows of MaxEntScan (Yeo and Burge 2004).
DONOR, ACCEPTOR = (3, 6), (20, 3)
COLUMNS = ["contig", "start", "end", "strand", "gene", "transcript", "feature", "phase"]


def read(path: str | Path, reference: Reference, report: Counter) -> pd.DataFrame:
    """Exons and coding sequence: of a GFF3 file (`read_gff3`), of a BED file with names as `from_bed` wants them, or of
    another BED file, whose every row is an exon of no transcript ("").

    Rows with other names in a BED file that has such names are left out and counted, see `lib.dna.report`.
    """
    path = Path(path)
    if is_gff3(path):
        return read_gff3(path, reference, report)
    bed = read_bed(path, reference, "exon", unique=False, report=report)
    if not bed["locus"].str.contains("|exon|", regex=False).any():
        return bed.assign(gene="", transcript="", feature="exon", phase=-1)[COLUMNS]
    table = from_bed(bed, path)
    others = ~bed["locus"].str.split("|").str[2].isin(["exon", "coding_region"])
    if others.any():
        report[path.name, "rows whose name says neither exon nor coding_region", "left out"] += int(others.sum())
    return table


def is_gff3(path: Path) -> bool:
    """By its name; anything else is BED."""
    return path.name.removesuffix(".gz").endswith((".gff3", ".gff"))


def from_bed(bed: pd.DataFrame, path: str | Path = "exons") -> pd.DataFrame:
    """Exons and coding sequence from a BED table whose names are gene|transcript|exon|number and
    gene|transcript|coding_region| (from the first to the last coding base, introns included).

    Returns COLUMNS; feature is "exon" or "CDS"; phase: bases to skip to the next codon's start, as in GFF3, -1 for exons.
    Raises ValueError, naming `path` and the row, for a row without strand or transcript, and transcripts as `read_gff3`
    refuses them.
    """
    fields = bed["locus"].str.split("|", expand=True)
    if fields.shape[1] < 3 or not {"exon"} <= set(fields[2]):
        raise ValueError(f"names like gene|transcript|exon|1 wanted, found {bed['locus'].iloc[0]!r}")
    table = bed.assign(gene=fields[0], transcript=fields[1], feature=fields[2], phase=-1)
    table = table[table["feature"].isin(["exon", "coding_region"])].reset_index(drop=True)

    def place(row: int) -> str:
        return f"{path}, {'|'.join(table.loc[row, ['gene', 'transcript', 'feature']])} at {table.contig[row]}:{table.start[row]}"

    for wrong, wanted in ((table["strand"] == ".", "strand '.', wanted + or -"), (table["transcript"] == "", "no transcript in the name")):
        if wrong.any():
            raise ValueError(f"{place(int(wrong.argmax()))}: {wanted}")
    _check_transcripts(table, place)
    exons = table.loc[table["feature"] == "exon", COLUMNS]
    coding = table[table["feature"] == "coding_region"].groupby("transcript").agg(low=("start", "min"), high=("end", "max"))
    inside = exons.merge(coding, left_on="transcript", right_index=True)
    inside["start"], inside["end"] = inside[["start", "low"]].max(axis=1), inside[["end", "high"]].min(axis=1)
    cds = inside[inside["start"] < inside["end"]]
    parts = [exons, *(_phased(part) for _, part in cds.groupby("transcript"))]
    return pd.concat([p[COLUMNS] for p in parts], ignore_index=True)


def _phased(cds: pd.DataFrame) -> pd.DataFrame:
    """One transcript's coding parts with their phases, counted from its first coding base."""
    ordered = cds.sort_values("start", ascending=cds["strand"].iat[0] != "-")
    length = (ordered["end"] - ordered["start"]).to_numpy()
    before = np.cumsum(length) - length
    return ordered.assign(feature="CDS", phase=-before % 3)


def read_gff3(path: str | Path, reference: Reference, report: Counter) -> pd.DataFrame:
    """Exons and coding sequence of a GFF3 file, plain or gzip: the same table as `from_bed`.

    Rows on contigs that the genome lacks are left out and counted, see `lib.dna.report`.
    Raises ValueError with the line for too few columns, a contig in another spelling, a start or end that is no integer,
    off the contig, a strand that is not + or -, a CDS without phase, a row without Parent or with one that is empty, has
    blanks or comes twice; a transcript on two contigs or strands, and one whose exons overlap or come twice: all would make
    false splice sites. Also when there are no exons.
    """
    rows, at = [], []
    for number, line in lines.read(path):
        if line.startswith("##FASTA"):
            break
        if not line.strip() or line.startswith("#"):
            continue
        fields, where = line.split("\t"), f"{path}, line {number}"
        if len(fields) != 9:
            raise ValueError(f"{where}: {len(fields)} tab-separated columns, wanted 9")
        if fields[2] in ("exon", "CDS") and on_genome(reference, fields[0], path, where, report):
            rows += _gff_rows(fields, where, reference)
            at += [number] * (len(rows) - len(at))
    if not any(row[6] == "exon" for row in rows):
        raise ValueError(f"{path}: no exon in the file that is on {reference.path}")
    table = pd.DataFrame(rows, columns=COLUMNS)
    _check_transcripts(table, lambda row: f"{path}, line {at[row]}")
    return table


def _check_transcripts(table: pd.DataFrame, place: Callable[[int], str]) -> None:
    """Refuse a transcript in two places, and one whose exons overlap. table: rows numbered from 0; place: number -> where."""
    first = table.groupby("transcript")[["contig", "strand"]].transform("first")
    moved = (table["contig"] != first["contig"]) | (table["strand"] != first["strand"])
    if moved.any():
        row = int(moved.argmax())
        is_on, was_on = (f"{t.contig[row]} {t.strand[row]}" for t in (table, first))
        raise ValueError(
            f"{place(row)}: transcript {table.transcript[row]!r} is on {is_on}, before on {was_on}; wanted one contig and strand"
        )
    exons = table[table["feature"] == "exon"].sort_values(["transcript", "start", "end"], kind="stable")
    before = exons.shift()
    overlaps = np.flatnonzero((exons["transcript"] == before["transcript"]) & (exons["start"] < before["end"]))
    if len(overlaps):
        two = exons.iloc[overlaps[0] - 1 : overlaps[0] + 1].sort_index()
        spans = [f"{e.contig}:{e.start + 1}-{e.end}" for e in two.itertuples()]
        what = "is there twice" if spans[0] == spans[1] else f"overlaps {spans[0]}"
        raise ValueError(f"{place(two.index[1])}: exon {spans[1]} {what} in transcript {two.transcript.iat[0]!r}, wanted exons apart")


def _gff_rows(fields: list[str], where: str, reference: Reference) -> list[list]:
    contig, _, feature, low, high, _, strand, phase, text = fields
    start, end = lines.integer(low), lines.integer(high)
    if start is None or end is None or not 1 <= start <= end <= reference.lengths[contig]:
        raise ValueError(f"{where}: {contig}:{low[:40]}-{high[:40]}, wanted 1 <= start <= end <= {reference.lengths[contig]}")
    if strand not in ("+", "-"):
        raise ValueError(f"{where}: strand {strand!r}, wanted + or -")
    if feature == "CDS" and phase not in ("0", "1", "2"):
        raise ValueError(f"{where}: CDS with phase {phase!r}, wanted 0, 1 or 2")
    items = [item.split("=", 1) for item in text.strip(";").split(";") if "=" in item]
    attributes = dict(items)
    if "Parent" not in attributes:
        raise ValueError(f"{where}: {feature} without Parent, wanted the transcript that it is of")
    parents = attributes["Parent"].split(",")
    if any(p != p.strip() or not p for p in parents) or [key for key, _ in items].count("Parent") > 1:
        raise ValueError(f"{where}: Parent in {text[:80]!r}, wanted it once, names apart by commas, none empty or with blanks")
    number = int(phase) if feature == "CDS" else -1
    gene = unquote(attributes.get("gene", parents[0]))
    return [[contig, start - 1, end, strand, gene, parent, feature, number] for parent in parents]


def parts(table: pd.DataFrame) -> pd.DataFrame:
    """Intervals of the parts of genes: contig, start, end, concept, family; repeats over transcripts dropped.

    Concepts: exon, CDS, 5' UTR, 3' UTR, intron, splice donor, splice acceptor, each with its strand but exon. table: as of `from_bed`.
    """
    exons, cds = table[table["feature"] == "exon"], table[table["feature"] == "CDS"]
    intervals = [exons.assign(concept="exon"), _stranded(cds, "CDS")]
    intervals += _untranslated(exons, cds)
    ordered = exons.sort_values(["transcript", "start"])
    same = ordered["transcript"] == ordered["transcript"].shift()
    follows = (same & (ordered["start"] > ordered["end"].shift())).to_numpy()  # exons that touch have no intron between them
    leads = np.r_[follows[1:], False]
    left, right = ordered[follows], ordered[leads]  # exons with an intron before them, and after them, on the plus strand
    plus = {"left": left["strand"] != "-", "right": right["strand"] != "-"}
    intervals += [
        _edges(right[plus["right"]], "end", DONOR, "splice donor"), _edges(left[~plus["left"]], "start", DONOR[::-1], "splice donor"),
        _edges(left[plus["left"]], "start", ACCEPTOR, "splice acceptor"),
        _edges(right[~plus["right"]], "end", ACCEPTOR[::-1], "splice acceptor"),
        _stranded(left.assign(start=right["end"].to_numpy(), end=left["start"].to_numpy()), "intron"),
    ]  # fmt: skip
    whole = pd.concat([f[["contig", "start", "end", "concept"]] for f in intervals], ignore_index=True)
    family = whole["concept"].str.removesuffix(" +").str.removesuffix(" -")
    return whole.assign(family=family).drop_duplicates(ignore_index=True)


def _stranded(rows: pd.DataFrame, concept: str) -> pd.DataFrame:
    return rows.assign(concept=concept + " " + rows["strand"])


def _edges(exons: pd.DataFrame, edge: str, around: tuple[int, int], concept: str) -> pd.DataFrame:
    at = exons[edge]
    return _stranded(exons.assign(start=(at - around[0]).clip(lower=0), end=at + around[1]), concept)


def _untranslated(exons: pd.DataFrame, cds: pd.DataFrame) -> list[pd.DataFrame]:
    """Exonic bases before the first and after the last coding base of a transcript."""
    coding = cds.groupby("transcript").agg(low=("start", "min"), high=("end", "max"))
    inside = exons.merge(coding, left_on="transcript", right_index=True)
    before = inside.assign(end=inside[["end", "low"]].min(axis=1))
    after = inside.assign(start=inside[["start", "high"]].max(axis=1))
    minus = inside["strand"] == "-"
    five, three = pd.concat([before[~minus], after[minus]]), pd.concat([after[~minus], before[minus]])
    return [_stranded(part[part["start"] < part["end"]], name) for name, part in (("5' UTR", five), ("3' UTR", three))]


def codon_phase(table: pd.DataFrame) -> pd.DataFrame:
    """Every coding base with its place in its codon, one row a base: contig, start, end, concept "codon base 1 +" to 3.

    A base on which transcripts disagree is left out. table: as of `from_bed`.
    """
    cds = table[table["feature"] == "CDS"].drop_duplicates(["contig", "start", "end", "strand", "phase"])
    length = (cds["end"] - cds["start"]).to_numpy()
    row = np.repeat(np.arange(len(cds)), length)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    minus = (cds["strand"] == "-").to_numpy()[row]
    position = np.where(minus, cds["end"].to_numpy()[row] - 1 - offset, cds["start"].to_numpy()[row] + offset)
    base = (offset - cds["phase"].to_numpy()[row]) % 3 + 1
    bases = pd.DataFrame({"contig": cds["contig"].to_numpy()[row], "start": position, "end": position + 1,
                          "concept": "codon base " + pd.Series(base).astype(str) + " " + cds["strand"].to_numpy()[row]})  # fmt: skip
    bases = bases.drop_duplicates()
    once = ~bases.duplicated(["contig", "start"], keep=False)
    return bases[once].assign(family="codon phase").reset_index(drop=True)
