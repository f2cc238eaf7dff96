"""A reference genome read by coordinate, refused at the door when it is incomplete."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pysam

from lib.genome import sequence as sq

#: The empty block that closes every complete bgzip file. Source: SAM specification, section 4.1.2.
BGZIP_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def check_file(path: str | Path) -> bool:
    """True for a complete bgzip file, False for an uncompressed one.

    Raises FileNotFoundError, or ValueError when the file is plain gzip or lacks bgzip's last block.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as handle:
        head = handle.read(18)
        if not head.startswith(b"\x1f\x8b"):
            return False
        if head[12:14] != b"BC":
            raise ValueError(f"{path}: plain gzip, wanted bgzip (gunzip it, then run bgzip)")
        handle.seek(max(path.stat().st_size - len(BGZIP_EOF), 0))
        if handle.read() != BGZIP_EOF:
            raise ValueError(f"{path}: truncated, the closing bgzip block is missing; copy the file again")
    return True


def contig_hint(contig: str, known: Iterable[str]) -> str:
    """What to say when `contig` is unknown: names the spelling that differs by "chr" only, or some that exist."""
    known = list(known)
    other = contig[3:] if contig.startswith("chr") else "chr" + contig
    if other in known:
        return f"it is spelled {other!r} there: the two differ in the 'chr' prefix"
    return f"known: {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"


class Reference:
    """A FASTA file with its index: plain text with .fai, or bgzip with .fai and .gzi.

    lengths: contig -> bases. n_ambiguous: IUPAC letters that `fetch` has turned into N so far.
    Raises FileNotFoundError for a missing file or index, ValueError for a truncated or plain-gzip one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        wanted = [".fai", ".gzi"] if check_file(self.path) else [".fai"]
        for suffix in wanted:
            if not Path(f"{self.path}{suffix}").is_file():
                raise FileNotFoundError(f"{self.path}{suffix}: no index; make it: samtools faidx {self.path}")
        if wanted == [".fai"]:
            _check_length(self.path)
        self._fasta = pysam.FastaFile(str(self.path))
        self.lengths = dict(zip(self._fasta.references, self._fasta.lengths, strict=True))
        self.n_ambiguous = 0

    def check_contig(self, contig: str, where: str) -> None:
        """Raises ValueError, naming `where` the contig was found, unless the genome has it."""
        if contig not in self.lengths:
            hint = contig_hint(contig, self.lengths)
            raise ValueError(f"{where}: contig {contig!r} is not in {self.path}; {hint}")

    def fetch(self, contig: str, start: int, end: int) -> str:
        """Bases of [start, end), 0-based half-open, as upper-case A C G T N; IUPAC letters become N.

        Raises ValueError for an unknown contig, a region off its end, or a letter that is no base.
        """
        region = f"{contig}:{start}-{end}"
        self.check_contig(contig, f"region {region}")
        if not 0 <= start < end <= self.lengths[contig]:
            raise ValueError(
                f"region {region}: {self.path} has {contig} from 0 to {self.lengths[contig]}; "
                "wanted 0 <= start < end <= length"
            )
        try:
            text, n_ambiguous = sq.normalise(self._fasta.fetch(contig, start, end))
        except ValueError as error:
            raise ValueError(f"{self.path}, region {region}: {error}") from error
        if len(text) != end - start:
            raise ValueError(f"{self.path}, region {region}: found {len(text)} bases, wanted {end - start}")
        self.n_ambiguous += n_ambiguous
        return text


def _check_length(path: Path) -> None:
    """Refuse an uncompressed FASTA that ends before its index says its last base is."""
    for line in Path(f"{path}.fai").read_text().splitlines():
        contig, *numbers = line.split("\t")
        length, offset, bases, width = map(int, numbers[:4])
        end = offset + length // bases * width + length % bases if bases else offset
        if end - (width - bases) > path.stat().st_size:
            raise ValueError(
                f"{path}: truncated, contig {contig} should end at byte {end}, "
                f"the file has {path.stat().st_size}"
            )
