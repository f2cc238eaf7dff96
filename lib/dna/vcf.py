"""The records of an indexed VCF or BCF, each field checked, so that what is wrong has a place and a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pysam

from lib.dna import vcf_index as index_files
from lib.dna.reference import Reference, check_file, contig_hint, other_spelling
from lib.dna.windows import merged
from lib.models import sequence as sq
from lib.stage import lines

FIRST = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
_SPELLED = re.compile(r"[A-Za-z]+\Z")


@dataclass(frozen=True)
class Record:
    """One line. start: 0-based. ref: upper case, IUPAC codes as N, checked against the genome. alts: as written.
    info, form: text; calls: one text per sample. where: file, contig and position, for errors."""

    contig: str
    start: int
    id: str | None
    ref: str
    alts: list[str]
    info: str
    form: str
    calls: list[str]
    where: str


def sort_of(alt: str) -> str:
    """What an ALT is: "spelled" (bases), "symbolic", "breakend", "* (deleted by another record)", or "" if none of these."""
    if _SPELLED.match(alt):
        return "spelled"
    if alt == "*":
        return "* (deleted by another record)"
    if alt.startswith("<") and alt.endswith(">"):
        return "symbolic"
    bracket = "[" in alt or "]" in alt
    return "breakend" if bracket or (len(alt) > 1 and (alt[0] == ".") != (alt[-1] == ".")) else ""


class Vcf:
    """An open file, after the checks that need no record.

    header: pysam's. samples: names, in order. indexed: contigs with a record, says the index.
    Raises FileNotFoundError or ValueError, naming the file, for: no index, or one that is not of this file; UTF-16, no
    bgzip, truncation; a header that cannot be read, with other columns, or with a sample twice.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        compressed, self.is_bcf = check_file(self.path), self.path.name.endswith(".bcf")
        if compressed and not self.is_bcf:
            _check_header(self.path)
        index = next((Path(f"{path}{end}") for end in (".tbi", ".csi") if Path(f"{path}{end}").is_file()), None)
        if index is None:
            raise FileNotFoundError(f"{path}: no index (.tbi or .csi). {index_files.unsorted(self.path, compressed)}")
        if not compressed:
            raise ValueError(f"{path}: not compressed, though it has an index; bgzip, then tabix -p vcf")
        index_files.check(self.path, index, self.is_bcf)
        try:
            self.file = pysam.VariantFile(str(path), index_filename=str(index))
            rows = None if self.is_bcf else pysam.TabixFile(str(path), index=str(index), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: not a readable VCF ({error})") from error
        self.header, self.samples, self._lines = self.file.header, list(self.file.header.samples), rows
        self.indexed = set(self.file.index) if rows is None else set(rows.contigs)

    def close(self) -> None:
        self.file.close()
        if self._lines is not None:
            self._lines.close()

    def rows(self, contig: str, start: int, end: int) -> Iterator[list[str]]:
        """The fields of each line that overlaps [start, end). Raises ValueError for what is no VCF line."""
        wanted, last = len(FIRST) + (1 + len(self.samples) if self.samples else 0), f"{contig}:{start}"
        try:
            for line in (self._lines or self.file).fetch(contig, start, end):
                fields = str(line).rstrip("\r\n").split("\t")
                last = ":".join(fields[:2])
                if len(fields) != wanted and not (not self.samples and len(fields) == wanted + 1):
                    raise ValueError(
                        f"{self.path}, {last}: {len(fields)} columns, wanted {wanted} for {len(self.samples)} samples"
                    )
                yield fields
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.path}: the line after {last} cannot be read ({error})") from error


def records(
    vcf: Vcf, reference: Reference, regions: pd.DataFrame, report: Counter, annotation: bool = False
) -> Iterator[Record]:
    """Each record that overlaps a region, once, that passed its filters (PASS or "."); the others are counted.

    report: counted in, see `lib.dna.report`. annotation: the file may lack all contigs of the regions. Raises ValueError, naming file and
    record, as `read_genotypes` says.
    """
    if regions.empty:
        raise ValueError(f"{vcf.path}: no regions asked for")
    shared = _check_contigs(vcf, reference, regions, annotation)
    name = vcf.path.name
    without = ~regions.contig.isin(shared)
    report[name, "loci on contigs without a record", "read as the reference"] += int(without.sum())
    done: dict[str, int] = {}  # contig -> end of the last region read
    for contig, start, end in merged(regions):
        bases = reference.letters(contig, start, end).upper()
        if contig not in shared:
            continue
        last = 0
        for fields in vcf.rows(contig, start, end):
            where = f"{vcf.path}, {contig}:{fields[1]}"
            begin = index_files.position(fields[1], where)
            if begin < last:
                raise ValueError(
                    f"{vcf.path}: unsorted, {contig}:{begin + 1} comes after {contig}:{last + 1}; "
                    "bcftools sort, then index again"
                )
            last = begin
            if begin < done.get(contig, 0):
                continue  # it also overlaps the region before, and was read there
            if fields[6] not in ("PASS", "."):
                report[name, f"records of FILTER {fields[6]}", "left out"] += 1
                continue
            report[name, "records in the loci", "read"] += 1
            ref = _checked_ref(fields[3], begin, where, contig, reference, bases, start)
            yield Record(contig, begin, None if fields[2] == "." else fields[2], ref, _alts(fields[4], where), fields[7],
                         fields[8] if len(fields) > 8 else "", fields[9:], where)  # fmt: skip
        done[contig] = end


def spelled(record: Record, name: str, report: Counter) -> list[tuple[int, str]]:
    """The ALTs that spell their bases, as (number from 1, upper-case bases, IUPAC codes as N); the others are counted.

    Raises ValueError for an ALT of no known kind, one that is REF, and more than one base to a letter.
    """
    out = []
    for index, alt in enumerate(record.alts, 1):
        sort = sort_of(alt)
        if not sort:
            raise ValueError(f"{record.where}: ALT {alt!r}, wanted bases, *, <a symbol> or a breakend")
        if sort != "spelled":
            report[name, f"ALT alleles, {sort}", "left out; who carries one has the reference there"] += 1
            continue
        bases, n_iupac = _bases(alt, record.where, "ALT")
        if bases == record.ref:
            raise ValueError(f"{record.where}: ALT {alt} is REF; remove the record, or name the allele that was seen")
        report[name, "ALT alleles with IUPAC codes", "kept, the codes read as N"] += n_iupac > 0
        out.append((index, bases))
    if not record.alts:
        report[name, "records without an ALT allele", "nothing to read"] += 1
    return out


def _alts(given: str, where: str) -> list[str]:
    alts = [] if given == "." else given.split(",")
    twice = [alt for alt, n in Counter(alts).items() if n > 1]
    if twice:
        raise ValueError(f"{where}: ALT {given}: allele {twice[0]} listed twice")
    return alts


def _bases(given: str, where: str, what: str) -> tuple[str, int]:
    if not given:
        raise ValueError(f"{where}: {what} is empty, wanted bases")
    try:
        return sq.normalise(given)
    except ValueError as error:
        raise ValueError(f"{where}: {what} {given}: {error}") from error


def _checked_ref(given: str, begin: int, where: str, contig: str, reference: Reference, bases: str, start: int) -> str:
    """REF as A C G T N, after it was compared letter by letter. bases: the region's, upper case, from `start`."""
    end = begin + len(given)
    ref, _ = _bases(given, where, "REF")
    if end > reference.lengths[contig]:
        raise ValueError(f"{where}: REF {given} runs off the end of {contig}")
    inside = start <= begin and end <= start + len(bases)
    fasta = bases[begin - start : end - start] if inside else reference.letters(contig, begin, end).upper()
    if given.upper() != fasta:
        raise ValueError(f"{where}: REF {given.upper()}, but {reference.path} has {fasta}: another genome build?")
    return ref


def _check_contigs(vcf: Vcf, reference: Reference, regions: pd.DataFrame, annotation: bool) -> set[str]:
    """Contigs with regions and records. Raises ValueError on another spelling or another build."""
    known = [*vcf.header.contigs, *vcf.indexed]
    in_header = set()
    for contig in regions.contig.unique():
        reference.check_contig(contig, "regions")
        other = other_spelling(contig, vcf.indexed if contig in known else known)
        if other and contig not in vcf.indexed:
            hint = contig_hint(contig, [other])
            raise ValueError(f"{vcf.path}: no contig {contig!r} with records, which {reference.path} has; {hint}")
        if contig not in known:
            continue
        in_header.add(contig)
        length = vcf.header.contigs[contig].length if contig in vcf.header.contigs else None
        if length and length != reference.lengths[contig]:
            raise ValueError(
                f"{vcf.path}: header says {contig} has {length} bases, {reference.path} has "
                f"{reference.lengths[contig]}: another genome build?"
            )
    if not in_header and not annotation:
        raise ValueError(f"{vcf.path}: holds none of the regions' contigs ({', '.join(regions.contig.unique())})")
    return in_header & vcf.indexed


def _check_header(path: Path) -> None:
    for number, line in lines.read(path):
        if line.startswith("#CHROM"):
            columns = line.split("\t")
            if columns[: len(FIRST)] != FIRST or columns[len(FIRST) : len(FIRST) + 1] not in ([], ["FORMAT"]):
                raise ValueError(f"{path}, line {number}: columns {columns[:9]}, wanted {' '.join(FIRST)} FORMAT, by tabs")
            names = Counter(columns[9:])
            twice = [name for name, count in names.items() if count > 1]
            if twice:
                raise ValueError(f"{path}: duplicate sample {', '.join(twice)} in the header")
            if "" in names:
                raise ValueError(f"{path}, line {number}: a sample without a name")
            return
        if not line.startswith("#"):
            break
    raise ValueError(f"{path}: no #CHROM header line")
