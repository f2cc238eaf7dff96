"""What a variant does to transcripts: the part of a gene that it touches, and the change of the protein.

A score that is calibrated on missense variants says nothing of promoters, so each variant gets one class, the most severe over
the transcripts that it touches. What that does to the protein is said as in `lib.dna.protein`, and "p.?" across an exon's edge.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pandas as pd

from lib.dna import genes, hgvs
from lib.dna.hgvs import Change, Transcript
from lib.dna.protein import UNKNOWN, Product, product_of, protein_change
from lib.dna.reference import Reference

#: Classes, the most severe first. A splice window (`genes.DONOR`, `genes.ACCEPTOR`) has intronic and exonic bases, and what it
#: may do to splicing outranks a changed amino acid, but not a protein that ends early, shifts or never starts. "other" is off every
#: transcript and promoter, in an exon of a transcript that codes for nothing, or a codon with an unknown base.
SEVERITY = ("nonsense", "frameshift", "start or stop", "splice window", "inframe indel", "missense", "synonymous",
            "5' UTR", "3' UTR", "promoter", "intron", "other")  # fmt: skip
RANK = {name: rank for rank, name in enumerate(SEVERITY)}
COLUMNS = ["region", "transcript", "gene", "notation", "protein", "exon_distance"]
FLANK_BP = 5000  # around a transcript within which a variant is still named by it. Source: default of Ensembl VEP for up- and downstream


def table(
    variants: pd.DataFrame, transcripts: dict[str, Transcript], reference: Reference, promoters: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Class and change of each variant, on its index: COLUMNS.

    variants: contig, pos (0-based), ref, alt. transcripts: `hgvs.transcripts`. promoters: contig, start, end (0-based, half-open), or
    None. region: of SEVERITY, the most severe of all transcripts within FLANK_BP; transcript, gene: the one it is of (of equals
    the nearest, then the one that codes for most bases, then the first name; of a promoter the one whose first base is nearest), ""
    where none is near. notation: its c. or n. (`hgvs.coding`). protein: p., "" where no coding base is touched. exon_distance:
    bases to the nearest first or last base of any exon, 0 on that base itself, 1 on its neighbours of either side (an intron's first
    base among them); of several bases the nearest, of an insertion the nearer of the two beside it; missing on a contig without exons.
    Raises ValueError, naming the variant, as `hgvs.change`.
    """
    genome = hgvs.Blocks(reference.path)
    rows = [(str(v.contig), int(v.pos), v.ref, v.alt) for v in variants.itertuples()]
    forward: dict[int, Change] = {at: hgvs.change(*rows[at], genome) for at in sorted(range(len(rows)), key=rows.__getitem__)}
    touched = _touched(rows, [forward[at] for at in range(len(rows))])
    in_promoter = _overlaps(touched, promoters)
    backward: dict[int, Change] = {}
    products: dict[str, Product] = {}
    best: dict[int, tuple] = {}  # variant -> how it ranks, transcript, change on its strand, region, protein
    for at, transcript in _near(touched, transcripts):
        if not transcript.forward and at not in backward:
            backward[at] = hgvs.change(*rows[at], genome, forward=False)
        changed = (forward if transcript.forward else backward)[at]
        region, protein = effect(transcript, changed, genome, products)
        if in_promoter[at] and RANK[region] > RANK["promoter"]:
            region = "promoter"
        key = (RANK[region], _distance(transcript, changed, region), -_n_coding(transcript), transcript.name)
        if at not in best or key < best[at][0]:
            best[at] = (key, transcript, changed, region, protein)
    made = []
    for at in range(len(rows)):
        _, transcript, changed, region, protein = best.get(at, (None, None, forward[at], "promoter" if in_promoter[at] else "other", ""))
        named = (transcript.name, transcript.gene, hgvs.notation(transcript, changed).split(":")[1]) if transcript else ("", "", "")
        made.append((region, *named, protein, changed))
    result = pd.DataFrame(made, columns=[*COLUMNS[:-1], "change"], dtype=object)
    distance = _exon_distance(_touched(rows, result.pop("change").tolist()), transcripts)
    return result.assign(exon_distance=distance).set_index(variants.index)


def _touched(rows: list[tuple], changes: list[Change]) -> pd.DataFrame:
    spans = np.array([change.touched for change in changes], dtype=np.int64).reshape(-1, 2)
    return pd.DataFrame({"contig": [row[0] for row in rows], "start": spans[:, 0], "end": spans[:, 1]})


def _overlaps(touched: pd.DataFrame, intervals: pd.DataFrame | None) -> np.ndarray:
    """Which variants touch a base of an interval: [variant] bool."""
    if intervals is None or touched.empty:
        return np.zeros(len(touched), dtype=bool)
    import bioframe

    columns = ("contig", "start", "end")
    return bioframe.count_overlaps(touched, intervals[[*columns]], cols1=columns, cols2=columns)["count"].to_numpy() > 0


def _near(touched: pd.DataFrame, transcripts: dict[str, Transcript]) -> list[tuple[int, Transcript]]:
    """Pairs of a variant's row and a transcript that lies within FLANK_BP of it."""
    if touched.empty or not transcripts:
        return []
    import bioframe

    listed, columns = list(transcripts.values()), ("contig", "start", "end")
    spans = pd.DataFrame([(t.contig, t.exons[0][0] - FLANK_BP, t.exons[-1][1] + FLANK_BP) for t in listed], columns=columns)
    pairs = bioframe.overlap(touched, spans, how="inner", return_index=True, return_input=False, cols1=columns, cols2=columns)
    return [(at, listed[number]) for at, number in zip(pairs["index"].tolist(), pairs["index_"].tolist())]


def _distance(transcript: Transcript, changed: Change, region: str) -> int:
    """Bases to the transcript, 0 inside; of a promoter variant to the transcript's first base."""
    low, high = transcript.along(*changed.touched)
    starts, ends, _ = transcript.blocks
    last = starts[0] + 1 if region == "promoter" else ends[-1]
    return max(starts[0] - high + 1, low - last + 1, 0)


def _n_coding(transcript: Transcript) -> int:
    first, end = transcript.coding or (0, 0)
    return end - first


def _exon_distance(touched: pd.DataFrame, transcripts: dict[str, Transcript]) -> pd.Series:
    """Bases to the nearest first or last base of an exon: [variant], missing where the contig has none."""
    distance = pd.Series(pd.NA, index=touched.index, dtype="Int64")
    edges: dict[str, set[int]] = {}
    for transcript in transcripts.values():
        edges.setdefault(transcript.contig, set()).update(base for start, end in transcript.exons for base in (start, end - 1))
    for contig, part in touched.groupby("contig"):
        if contig not in edges:
            continue
        known = np.array([-np.inf, *sorted(edges[contig]), np.inf])
        low, last = part["start"].to_numpy(), part["end"].to_numpy() - 1
        after = np.searchsorted(known, low)
        nearest = np.minimum(np.maximum(known[after] - last, 0), low - known[after - 1])
        distance[part.index] = nearest.astype(np.int64)
    return distance


def effect(
    transcript: Transcript, changed: Change, genome: Reference, products: dict[str, Product] | None = None
) -> tuple[str, str]:
    """Class (of SEVERITY, promoters apart) and p. ("" where no coding base is touched) of a change on one transcript.

    changed: `hgvs.change` on the transcript's strand. products: what was spliced and translated before, by transcript; filled here.
    """
    starts, ends, before = transcript.blocks
    low, high = transcript.along(*changed.touched)
    if high <= starts[0] or low >= ends[-1] or (not changed.deleted and (low < starts[0] or high > ends[-1])):
        return "other", ""
    in_window = _in_splice_window(transcript, low, high, whole=not changed.deleted)
    places = [transcript.place(transcript.along(x, x + 1)[0]) for x in (low, high - 1)]
    (first, offset), (last, last_offset) = places
    if offset or last_offset or last - first != high - 1 - low:
        return ("splice window" if in_window else "intron"), UNKNOWN if _touches_coding(transcript, low, high) else ""
    first, end = (max(first, 0), min(last + 1, before[-1])) if changed.deleted else (last, last)
    region, protein = _exonic(transcript, first, end, changed, genome, {} if products is None else products)
    return (min(region, "splice window", key=RANK.__getitem__) if in_window else region), protein


def _exonic(
    transcript: Transcript, first: int, end: int, changed: Change, genome: Reference, products: dict[str, Product]
) -> tuple[str, str]:
    """Class and p. of a change of the transcript's bases [first, end), of an insertion before `first` = `end`."""
    if transcript.coding is None:
        return "other", ""
    start, stop = transcript.coding
    if end <= start or first >= stop:
        return ("5' UTR" if end <= start else "3' UTR"), ""
    if transcript.name not in products:
        products[transcript.name] = product_of(transcript, genome)
    return protein_change(products[transcript.name], first, end, hgvs.oriented(changed.inserted, transcript.forward))


def _in_splice_window(transcript: Transcript, low: int, high: int, whole: bool) -> bool:
    """Whether [low, high), counted as `Transcript.along`, touches a splice window, or (whole) lies in one."""
    starts, ends, _ = transcript.blocks
    for exon in range(max(bisect_right(starts, low) - 2, 0), min(bisect_right(starts, high) + 1, len(starts) - 1)):
        if starts[exon + 1] == ends[exon]:
            continue  # no intron between exons that touch
        for at, (before, after) in ((ends[exon], genes.DONOR), (starts[exon + 1], genes.ACCEPTOR)):
            inside = at - before <= low and high <= at + after
            if inside if whole else low < at + after and high > at - before:
                return True
    return False


def _touches_coding(transcript: Transcript, low: int, high: int) -> bool:
    start, stop = transcript.coding or (0, 0)
    for exon_start, exon_end, before in zip(*transcript.blocks):
        first, end = max(low, exon_start) - exon_start + before, min(high, exon_end) - exon_start + before
        if max(first, start) < min(end, stop):
            return True
    return False
