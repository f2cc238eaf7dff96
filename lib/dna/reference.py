"""A reference genome read by coordinate, refused at the door when it is incomplete."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pysam

from lib.models import sequence as sq
from lib.stage.lines import UTF16

#: The empty block that closes every complete bgzip file. Source: SAM specification, section 4.1.2.
BGZIP_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def check_file(path: str | Path) -> bool:
    """True for a complete bgzip file, False for an uncompressed one.

    Raises FileNotFoundError, or ValueError when the file is UTF-16, plain gzip or lacks bgzip's last block.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as handle:
        head = handle.read(18)
        if head.startswith(UTF16):
            raise ValueError(f"{path}: UTF-16 text, wanted ASCII or UTF-8 (iconv -f UTF-16 -t UTF-8)")
        if not head.startswith(b"\x1f\x8b"):
            return False
        if head[12:14] != b"BC":
            raise ValueError(f"{path}: plain gzip, wanted bgzip (gunzip it, then run bgzip)")
        handle.seek(max(path.stat().st_size - len(BGZIP_EOF), 0))
        if handle.read() != BGZIP_EOF:
            raise ValueError(f"{path}: truncated, the closing bgzip block is missing; copy the file again")
    return True


def bare_name(contig: str) -> str:
    """A contig without its spelling: chr2, Chr2, CHR2, 2, NC_000002.12 and CM000664.2 are all "2"; chrM is "MT"."""
    if accession := re.fullmatch(r"NC_0000(\d\d)(\.\d+)?", contig):
        number = int(accession[1])
    elif accession := re.fullmatch(r"CM000(6\d\d)(\.\d+)?", contig):
        number = int(accession[1]) - 662
    else:
        name = re.sub("^chr", "", contig, flags=re.IGNORECASE).upper()
        return {"M": "MT", "NC_012920.1": "MT"}.get(name, name)
    return {23: "X", 24: "Y"}.get(number, str(number))


def other_spelling(contig: str, known: Iterable[str]) -> str | None:
    """The known contig that is the same one in another spelling, if any."""
    return next((name for name in known if name != contig and bare_name(name) == bare_name(contig)), None)


def contig_hint(contig: str, known: Iterable[str]) -> str:
    """What to say when `contig` is unknown: how it is spelled there, or some contigs that are."""
    known = list(known)
    other = other_spelling(contig, known)
    if other in (contig.removeprefix("chr"), "chr" + contig):
        return f"it is spelled {other!r} there: the two differ in the 'chr' prefix"
    if other:
        return f"it is spelled {other!r} there: give both files the same names"
    return f"known: {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"


class Reference:
    """A FASTA file with its index: plain text with .fai, or bgzip with .fai and .gzi.

    lengths: contig -> bases.
    Raises FileNotFoundError for a missing file or index, ValueError for a truncated or plain-gzip one, and for an index
    that is not of this file, as when a contig is there twice (the index leaves the second out) or was added later.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        wanted = [".fai", ".gzi"] if check_file(self.path) else [".fai"]
        for suffix in wanted:
            if not Path(f"{self.path}{suffix}").is_file():
                raise FileNotFoundError(f"{self.path}{suffix}: no index; make it: samtools faidx {self.path}")
        _check_index(self.path, compressed=len(wanted) == 2)
        self._fasta = pysam.FastaFile(str(self.path))
        self.lengths = dict(zip(self._fasta.references, self._fasta.lengths, strict=True))

    def check_contig(self, contig: str, where: str) -> None:
        """Raises ValueError, naming `where` the contig was found, unless the genome has it."""
        if contig not in self.lengths:
            hint = contig_hint(contig, self.lengths)
            raise ValueError(f"{where}: contig {contig!r} is not in {self.path}; {hint}")

    def letters(self, contig: str, start: int, end: int) -> str:
        """[start, end) as the file has it, lower case and IUPAC codes included.

        Raises ValueError for an unknown contig and a region off its end.
        """
        region = f"{contig}:{start}-{end}"
        self.check_contig(contig, f"region {region}")
        if not 0 <= start < end <= self.lengths[contig]:
            raise ValueError(
                f"region {region}: {self.path} has {contig} from 0 to {self.lengths[contig]}; "
                "wanted 0 <= start < end <= length"
            )
        text = self._fasta.fetch(contig, start, end)
        if len(text) != end - start:
            raise ValueError(f"{self.path}, region {region}: found {len(text)} bases, wanted {end - start}")
        return text

    def fetch(self, contig: str, start: int, end: int) -> str:
        """Bases of [start, end), 0-based half-open, as upper-case A C G T N; IUPAC letters become N.

        Raises ValueError for an unknown contig, a region off its end, or a letter that is no base.
        """
        text = self.letters(contig, start, end)
        try:
            return sq.normalise(text)[0]
        except ValueError as error:
            raise ValueError(f"{self.path}, region {contig}:{start}-{end}: {error}") from error


def _check_index(path: Path, compressed: bool) -> None:
    """Refuse an index that is not of this file: one header line, the contig's own, stands before each, and nothing else."""
    contigs = sorted(_read_fai(path), key=lambda row: row[2])
    if not contigs:
        raise ValueError(f"{path}: no contig; wanted FASTA, and an index made of it (samtools faidx)")
    text, end, before = _Bytes(path, compressed), 0, "the file's start"
    for contig, length, offset, bases, width in contigs:
        header = text.read(end, offset - end).strip()
        if not header.startswith(b">") or b"\n" in header or header[1:].split()[:1] != [contig.encode()]:
            first_header = _first_header(header)
            if empty := _empty_contigs(header, contig):
                raise ValueError(f"{path}: contig {empty[0]!r} has no bases, wanted one at least; take its line out, then samtools faidx")
            raise ValueError(
                f"{path}: after {before} comes {first_header}, its index says {contig!r}: "
                "a contig twice, or an index older than the file; make it again: samtools faidx"
            )
        n_lines = (length - 1) // bases if length else 0  # before the last
        end, before = offset + length + n_lines * (width - bases), f"contig {contig!r}"
        if length and not text.read(end - 1, 1):
            raise ValueError(f"{path}: truncated, contig {contig} should end at byte {end}")
    rest = text.read(end, 200).strip()
    if rest:
        raise ValueError(
            f"{path}: after {before}, the index's last, comes {_first_header(rest)}: a contig twice, or an index "
            "older than the file; make it again: samtools faidx"
        )


def _empty_contigs(text: bytes, contig: str) -> list[str]:
    """Contigs named one after another before `contig`, and nothing else: an index leaves out what has no bases."""
    names = [line[1:].split()[0].decode(errors="replace") if line[1:].split() else "" for line in text.splitlines() if line]
    only_headers = all(line.startswith(b">") for line in text.splitlines() if line)
    return names[:-1] if only_headers and names[-1:] == [contig] and names.count(contig) == 1 else []


def _first_header(text: bytes) -> str:
    """The first contig named in these bytes, or what they begin with."""
    names = [line[1:].split()[:1] for line in text.splitlines() if line.startswith(b">")]
    return f"contig {names[-1][0].decode(errors='replace')!r}" if names and names[-1] else f"{text[:20]!r}"


def _read_fai(path: Path) -> list[tuple[str, int, int, int, int]]:
    """contig, length, offset, bases and bytes a line."""
    rows = []
    for number, line in enumerate(Path(f"{path}.fai").read_text(errors="replace").splitlines(), 1):
        contig, *numbers = line.split("\t")
        if len(numbers) != 4 or not all(n.isdecimal() for n in numbers):
            raise ValueError(f"{path}.fai, line {number}: {line[:60]!r}, wanted a name and four numbers; samtools faidx again")
        rows.append((contig, *map(int, numbers)))
    return rows


class _Bytes:
    """Any stretch of a file, plain or bgzip, by its place in the uncompressed text."""

    def __init__(self, path: Path, compressed: bool):
        self.path, self.blocks = path, None
        if compressed:
            pairs = np.fromfile(f"{path}.gzi", dtype="<u8")[1:]
            self.blocks = np.vstack([[[0, 0]], pairs[: len(pairs) // 2 * 2].reshape(-1, 2)]).astype(np.int64)

    def read(self, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        if self.blocks is not None:
            block, first = self.blocks[np.searchsorted(self.blocks[:, 1], start, side="right") - 1].tolist()
            start = block << 16 | (start - first)
        try:
            with self.path.open("rb") if self.blocks is None else pysam.BGZFile(str(self.path), "r") as handle:
                handle.seek(start)
                return handle.read(length)
        except (OSError, OverflowError) as error:
            raise ValueError(f"{self.path}: its index (.fai, .gzi) is not of this file; samtools faidx again") from error
