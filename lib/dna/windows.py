"""Loci from BED files, cut into the windows that the model reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lib.dna.reference import Reference
from lib.dna.report import on_genome
from lib.stage.bed import bed_rows, interval

PLACE = ["contig", "start", "end"]
COLUMNS = [*PLACE, "locus", "score", "strand"]


def read_bed(
    path: str | Path, reference: Reference, name: str = "locus", unique: bool = True, report: Counter | None = None
) -> pd.DataFrame:
    """A BED file, plain or gzip: contig, start, end (0-based half-open), locus, score, strand, in file order.

    A file of three columns gets contig:start-end as locus, score 0 and strand ".". `name` is what an
    error calls a row; `unique=False` allows one name on several rows, as in exon tables.
    report: for annotation, which may cover more than the genome: rows on contigs that it lacks are left out and counted
    there (see `lib.dna.report`). Without one, as for loci, they are refused.
    Raises ValueError with the line number for too few columns, a non-integer, start >= end, a contig that
    the genome lacks, a region off its end, a strand other than + - . or a repeated or empty name; also when empty.
    """
    rows, seen = [], {}
    for number, fields in bed_rows(path):
        where = f"{path}, line {number}"
        if report is not None and not on_genome(reference, fields[0], path, where, report):
            continue
        row = _parse(fields, where, reference)
        if unique and row[3] in seen:
            raise ValueError(f"{where}: {name} {row[3]!r} was already used on line {seen[row[3]]}")
        seen[row[3]] = number
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no {name} in the file{'' if report is None else f' that is on {reference.path}'}")
    return pd.DataFrame(rows, columns=COLUMNS)


def _parse(fields: list[str], where: str, reference: Reference) -> list:
    contig, low, high = fields[:3]
    reference.check_contig(contig, where)
    try:
        score = float(fields[4]) if len(fields) > 4 and fields[4] != "." else 0.0
    except ValueError:
        score = np.nan
    if not np.isfinite(score):
        raise ValueError(f"{where}: score {fields[4]!r}, wanted a number as score")
    start, end = interval(low, high, where)
    if start < 0 or end > reference.lengths[contig]:
        raise ValueError(
            f"{where}: {contig}:{start}-{end} is off the contig, which has {reference.lengths[contig]} bases"
        )
    strand = fields[5] if len(fields) > 5 else "."
    if strand not in ("+", "-", "."):
        raise ValueError(f"{where}: strand {strand!r}, wanted + - or .")
    locus = fields[3] if len(fields) > 3 else f"{contig}:{start}-{end}"
    if not locus.strip():
        raise ValueError(f"{where}: the name, in column 4, is empty")
    return [contig, start, end, locus, score, strand]


def merged(regions: pd.DataFrame) -> Iterator[tuple[str, int, int]]:
    """The regions (contig, start, end) as sorted intervals that neither overlap nor touch, contigs in the order of first appearance."""
    for contig, rows in regions.groupby("contig", sort=False):
        start = end = None
        for a, b in sorted(zip(rows.start.tolist(), rows.end.tolist(), strict=True)):
            if end is not None and a <= end:
                end = max(end, b)
                continue
            if end is not None:
                yield contig, start, end
            start, end = a, b
        yield contig, start, end


def tile(loci: pd.DataFrame, window_bp: int, overlap_bp: int = 0) -> pd.DataFrame:
    """Cut each locus into windows of window_bp: window (number), locus, contig, start, end, own_start, own_end.

    Neighbouring windows share overlap_bp, which the model reads twice, as context; none lies inside another, and the last
    window of a locus is the remainder, however short. Each base is one window's own: the seam is the middle of the
    overlap, next window's start + overlap_bp // 2, so a base belongs to the window in which it is further from the edge.
    The own parts of a locus follow each other without gap. Extraction stores the tokens with bases in a unit's own part;
    one across a seam is stored by either window with the bases on its side. No k-mer of unedited sequence lies across a
    seam where window_bp, overlap_bp and overlap_bp // 2 are multiples of k.
    Loci that overlap each other are cut independently. Raises ValueError unless 0 <= overlap_bp < window_bp.
    """
    if not 0 <= overlap_bp < window_bp:
        raise ValueError(f"overlap_bp {overlap_bp} and window_bp {window_bp}: wanted 0 <= overlap_bp < window_bp")
    step, length = window_bp - overlap_bp, (loci.end - loci.start).to_numpy()
    n_windows = 1 + np.maximum(0, -(-(length - window_bp) // step))
    row = np.repeat(np.arange(len(loci)), n_windows)
    rank = np.arange(len(row)) - np.repeat(n_windows.cumsum() - n_windows, n_windows)
    start = loci.start.to_numpy()[row] + rank * step
    end = np.minimum(start + window_bp, loci.end.to_numpy()[row])
    own_start = np.where(rank == 0, start, start + overlap_bp // 2)
    own_end = np.where(rank == n_windows[row] - 1, end, start + step + overlap_bp // 2)
    names, contigs = loci.locus.to_numpy()[row], loci.contig.to_numpy()[row]
    return pd.DataFrame({
        "window": np.arange(len(row)), "locus": names, "contig": contigs, "start": start, "end": end,
        "own_start": own_start, "own_end": own_end,
    })  # fmt: skip


def drop_gaps(windows: pd.DataFrame, reference: Reference, max_n_share: float = 0.5) -> pd.DataFrame:
    """The windows of which at most `max_n_share` (a fraction) of the bases are N; numbers are kept.

    A window whose own part is nothing but N is dropped too.
    """
    places = zip(windows.contig, windows.start, windows.end, strict=True)
    share = np.array([reference.fetch(c, a, b).count("N") / (b - a) for c, a, b in places])
    kept = windows[share <= max_n_share]
    if "own_start" in windows:
        own = zip(kept.contig, kept.own_start, kept.own_end, strict=True)
        kept = kept[np.array([reference.fetch(c, a, b).count("N") < b - a for c, a, b in own], dtype=bool)]
    return kept.reset_index(drop=True)


def of_loci(loci: pd.DataFrame, reference: Reference, window_bp: int, overlap_bp: int = 0) -> pd.DataFrame:
    """The windows of `tile` but those in gaps, see `drop_gaps`.

    Raises ValueError for loci of which none is left, and for two loci that share a window.
    """
    tiled = tile(loci, window_bp, overlap_bp)
    _refuse_shared(tiled, loci, "locus")
    kept = drop_gaps(tiled, reference)
    lost = loci[~loci.locus.isin(kept.locus)]
    if len(lost):
        row = lost.iloc[0]
        raise ValueError(
            f"locus {row.locus!r}, {row.contig}:{row.start}-{row.end}: most bases of each of its windows are N in "
            f"{reference.path}, so are those of {len(lost) - 1} more loci; wanted loci with known sequence"
        )
    return kept


def of_background(
    background: pd.DataFrame, loci: pd.DataFrame, reference: Reference, window_bp: int, most: int = 0, seed: int = 0
) -> pd.DataFrame:
    """The windows of `tile_background` without any N, numbers kept; of more than `most` (0: no limit) a seeded sample.

    A window that two overlapping regions share is there once. Raises ValueError when none is left.
    """
    kept = drop_gaps(tile_background(background, loci, window_bp), reference, 0.0)
    if kept.empty:
        raise ValueError(f"background: each window of {window_bp} bases outside the loci has an N in {reference.path}; "
                         "wanted regions with known sequence")
    drawn = sample_windows(kept, most, seed) if most else kept
    return drawn.drop_duplicates(PLACE, ignore_index=True)


def tile_background(background: pd.DataFrame, loci: pd.DataFrame, window_bp: int) -> pd.DataFrame:
    """The windows of `tile` that are whole and touch no locus, numbers kept.

    Raises ValueError when none is left, and for one region under two names.
    """
    _refuse_shared(background, background, "background region")
    tiled = tile(background, window_bp)
    whole = tiled[tiled.end - tiled.start == window_bp]
    kept = outside(whole, loci) if len(whole) else whole
    if kept.empty:
        raise ValueError(f"background: no window of {window_bp} bases outside the loci; wanted regions at least so long "
                         "that touch no locus")
    return kept


def _refuse_shared(parts: pd.DataFrame, regions: pd.DataFrame, what: str) -> None:
    """Raise ValueError where two regions have a part (contig, start, end, locus) in common: it would be read, and count, twice."""
    again = parts[parts.duplicated(PLACE)]
    if again.empty:
        return
    row = again.iloc[0]
    first = parts[(parts[PLACE] == row[PLACE]).all(axis=1)].iloc[0]
    of = regions.drop_duplicates("locus").set_index("locus")
    one, other = (f"{what} {name!r}, {of.contig[name]}:{of.start[name]}-{of.end[name]}" for name in (row.locus, first.locus))
    raise ValueError(f"{one}: its {row.contig}:{row.start}-{row.end} is read as part of {other}, already; wanted each once: "
                     "leave one of the two out, or join them")


def sample_windows(windows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """`n` windows drawn without replacement, in their old order, numbers kept; all of them if n is larger."""
    if n >= len(windows):
        return windows.reset_index(drop=True)
    chosen = np.random.default_rng(seed).choice(len(windows), n, replace=False)
    return windows.iloc[np.sort(chosen)].reset_index(drop=True)


def outside(windows: pd.DataFrame, loci: pd.DataFrame) -> pd.DataFrame:
    """The windows that overlap no locus. windows, loci: contig, start, end."""
    import bioframe

    columns = ("contig", "start", "end")
    counts = bioframe.count_overlaps(windows, loci, cols1=columns, cols2=columns)["count"].to_numpy()
    return windows[counts == 0].reset_index(drop=True)
