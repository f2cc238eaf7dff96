"""The index of a VCF or BCF: whether it is of this file as it is now, and what to do where there is none."""

from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path

import numpy as np
import pysam

from lib.stage import lines


def check(path: Path, index: Path, is_bcf: bool) -> None:
    """Refuse an index that does not cover the file's records, or points at other ones.

    Nothing may follow the last record that it knows, and each contig has to begin where it says. An index older than its
    file is made again, in a temporary folder, and has to be the same: content decides, since copying changes times.
    """
    names, chunks = _read_index(index)
    again = f"an index of another file; make it again: {'bcftools index -f' if is_bcf else 'tabix -f -p vcf'} {path}"
    try:
        after = _line_at(path, max((int(rows[:, 1].max()) for rows in chunks if len(rows)), default=0))
        first = [_line_at(path, int(rows[:, 0].min())) if len(rows) and not is_bcf else b"" for rows in chunks]
    except (OSError, OverflowError) as error:
        raise ValueError(f"{index}: points at places that the file does not have: {again}") from error
    if after and (any(map(len, chunks)) or not is_bcf):
        what = "a record" if is_bcf else ":".join(_text(after).split("\t")[:2])
        raise ValueError(f"{index}: the file goes on after the last record it knows, with {what}: {again}")
    for name, line in zip(names, first):
        if line and _text(line).split("\t")[0] != name:
            raise ValueError(f"{index}: {name} should begin where {_text(line)[:40]!r} is: {again}")
    if index.stat().st_mtime_ns < path.stat().st_mtime_ns and not is_bcf and not _same_index(path, index, chunks):
        raise ValueError(f"{index}: older than the file, and another than it has now: {again}")


def unsorted(path: Path, compressed: bool) -> str:
    """What to do about a missing index: sort first when a record is out of order, else compress and index."""
    if path.name.endswith(".bcf"):
        return f"Make it: bcftools index {path}"
    seen, last = set(), ("", 0)
    for number, line in lines.read(path):
        if line.startswith("#"):
            continue
        contig, *rest = line.split("\t", 2)
        pos = position(rest[0] if rest else "", f"{path}, line {number}") + 1
        if (contig != last[0] and contig in seen) or (contig == last[0] and pos < last[1]):
            return (
                f"It is unsorted: {contig}:{pos} comes after {last[0]}:{last[1]}; "
                "make both: bcftools sort, then tabix -p vcf"
            )
        seen.add(contig)
        last = (contig, pos)
    return f"Make it: {'' if compressed else 'bgzip, then '}tabix -p vcf {path}"


def position(given: str, where: str) -> int:
    """A POS as 0-based position. Raises ValueError."""
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"{where}: POS {given!r}, wanted a number from 1")
    return int(given) - 1


def _text(line: bytes) -> str:
    return line.decode(errors="replace")


def _line_at(path: Path, offset: int) -> bytes:
    """The first line from a virtual offset on that is no heading and not blank; nothing at the file's end."""
    with pysam.BGZFile(str(path), "r") as handle:
        handle.seek(offset)
        return next((line for line in iter(handle.readline, b"") if line.strip() and not line.startswith(b"#")), b"")


def _same_index(path: Path, index: Path, chunks: list[np.ndarray]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/made{index.suffix}"
        try:
            pysam.tabix_index(str(path), preset="vcf", index=made, force=True, keep_original=True, csi=index.suffix == ".csi")
        except OSError as error:
            raise ValueError(f"{path}: no index can be made of it. {unsorted(path, True)}") from error
        again = _read_index(Path(made))[1]
    return len(again) == len(chunks) and all(map(np.array_equal, again, chunks))


def _read_index(path: Path) -> tuple[list[str], list[np.ndarray]]:
    """Contig names (none in a BCF's index), and of each contig its chunks: [chunk, 2] virtual offsets, in file order.

    Source: tabix and CSIv1 specifications (samtools/hts-specs). The pseudo-bin with counts is left out.
    """
    try:
        with gzip.open(path, "rb") as handle:
            data = handle.read()
        kind, at = data[:4], 4
        if kind == b"TBI\1":
            n_contigs, *_, length = struct.unpack_from("<8i", data, at)
            names, at, pseudo, head = data[at + 32 : at + 32 + length], at + 32 + length, 37450, 4
        elif kind == b"CSI\1":
            _, depth, length = struct.unpack_from("<3i", data, at)
            names, at = data[at + 12 + 28 : at + 12 + length], at + 12 + length
            (n_contigs,), at = struct.unpack_from("<i", data, at), at + 4
            pseudo, head = ((1 << (depth + 1) * 3) - 1) // 7 + 1, 12
        else:
            raise ValueError("no tabix or CSI index")
        chunks = []
        for _ in range(n_contigs):
            (n_bins,), at, rows = struct.unpack_from("<i", data, at), at + 4, []
            for _ in range(n_bins):
                (number,), (n_chunks,) = struct.unpack_from("<I", data, at), struct.unpack_from("<i", data, at + head)
                at += head + 4
                if number != pseudo:
                    rows.append(np.frombuffer(data, "<u8", 2 * n_chunks, at).reshape(-1, 2))
                at += 16 * n_chunks
            if kind == b"TBI\1":
                at += 4 + 8 * struct.unpack_from("<i", data, at)[0]
            rows = np.concatenate(rows) if rows else np.empty((0, 2), "<u8")
            chunks.append(rows[np.argsort(rows[:, 0], kind="stable")])
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise ValueError(f"{path}: not a whole index ({error}); make it again: tabix -f -p vcf") from error
    return [name.decode(errors="replace") for name in names.split(b"\0")[:-1]], chunks
