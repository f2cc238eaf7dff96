"""Variants and genotypes from an indexed VCF, checked against the reference genome."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from lib.genome import sequence as sq
from lib.genome.reference import Reference, check_file, contig_hint

MISSING, ABSENT = -1, -2  # allele not called; no second copy, because the person is haploid there
_LITERAL = re.compile(r"[A-Za-z]+\Z")  # an ALT that spells its bases: not <DEL>, a breakend or *


@dataclass(frozen=True)
class Genotypes:
    """Who carries which allele.

    variants: contig, pos (0-based), ref, alt, id; one row per ALT allele, sorted by contig and position.
        A record without an ID is named contig:pos:ref>alt, with the VCF's 1-based position.
    alleles: [n_variant, n_sample, 2] int8. 1 carries this row's ALT, 0 does not, -1 not called,
        -2 no second copy: a haploid call (one allele, as on chrX in men) fills the first copy only.
    phased: [n_variant, n_sample] bool; a haploid call counts as phased.
    n_symbolic: ALT alleles skipped because they do not spell their bases (<DEL>, breakends, *).
    """

    variants: pd.DataFrame
    alleles: np.ndarray
    phased: np.ndarray
    samples: list[str]
    n_symbolic: int = 0

    @property
    def dosage(self) -> np.ndarray:
        """Copies of ALT, [n_variant, n_sample] float: 0 to 2, 0 or 1 where haploid, nan if any copy is missing."""
        copies = (self.alleles == 1).sum(2).astype(float)
        return np.where((self.alleles == MISSING).any(2), np.nan, copies)


def read_genotypes(vcf_path: str | Path, reference: Reference, regions: pd.DataFrame) -> Genotypes:
    """Every spelled-out allele, SNV or indel, that overlaps the regions (contig, start, end; 0-based half-open).

    Multi-allelic records give one row per ALT. A lone "." is a call with both copies missing. A region on
    a contig that the VCF lacks holds no variants, as long as the two share another contig.
    Raises FileNotFoundError or ValueError, naming the file and the record, for: no index, unsorted
    records, truncation, another contig naming or contig length than the FASTA, no or duplicate samples,
    an allele listed twice, a call of more than two copies, and REF that is not the FASTA's.
    """
    with _open(vcf_path) as vcf:
        samples = list(vcf.header.samples)
        if not samples:
            raise ValueError(f"{vcf_path}: no samples; wanted a genotype column per person")
        rows, calls, call_row, alt_index, n_symbolic = [], [], [], [], 0
        code = _CallCodes(vcf_path)
        for record, ref in _records(vcf, vcf_path, reference, regions):
            spelled = [(i, a) for i, a in enumerate(record.alts or (), 1) if _LITERAL.match(a)]
            n_symbolic += len(record.alts or ()) - len(spelled)
            if not spelled:
                continue
            calls.append(_call_codes(record, code))
            for index, alt in spelled:
                rows.append(_row(record, ref, sq.normalise(alt)[0]))
                call_row.append(len(calls) - 1)
                alt_index.append(index)
    variants = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "id"])
    _refuse_twice(variants, vcf_path)
    coded = np.array(calls, dtype=np.int32).reshape(-1, len(samples))[np.array(call_row, dtype=int)]
    copies, phased = code.tables()
    called = copies[coded]  # [n_variant, n_sample, 2]: allele index of each copy
    carries = (called == np.array(alt_index).reshape(-1, 1, 1)).astype(np.int8)
    return Genotypes(variants, np.where(called < 0, called, carries), phased[coded], samples, n_symbolic)


def read_sites(
    vcf_path: str | Path, reference: Reference, regions: pd.DataFrame, info_keys: list[str]
) -> pd.DataFrame:
    """Alleles without genotypes, as in ClinVar: contig, pos (0-based), ref, alt, id, then one column per INFO key.

    An INFO value with one entry per ALT is split; other lists are joined with commas; absent is None.
    Checks and errors as in `read_genotypes`, and ValueError for an INFO key that the header lacks.
    """
    rows = []
    with _open(vcf_path) as vcf:
        for key in info_keys:
            if key not in vcf.header.info:
                raise ValueError(f"{vcf_path}: no INFO key {key!r}; found {', '.join(vcf.header.info)}")
        per_alt = {key: vcf.header.info[key].number == "A" for key in info_keys}
        for record, ref in _records(vcf, vcf_path, reference, regions):
            for index, alt in enumerate(record.alts or ()):
                if _LITERAL.match(alt):
                    row = _row(record, ref, sq.normalise(alt)[0])
                    rows.append(row + [_info(record, key, index, per_alt[key]) for key in info_keys])
    return pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "id", *info_keys])


def _row(record: pysam.VariantRecord, ref: str, alt: str) -> list:
    name = record.id or f"{record.contig}:{record.pos}:{ref}>{alt}"
    return [record.contig, record.start, ref, alt, name]


def _info(record: pysam.VariantRecord, key: str, index: int, per_alt: bool):
    value = record.info.get(key)
    if not isinstance(value, tuple):
        return value
    return value[index] if per_alt else ",".join("." if v is None else str(v) for v in value)


class _CallCodes(dict):
    """GT text -> small integer, parsed once per distinct text."""

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = path
        self.copies: list[tuple[int, int]] = []
        self.phased: list[bool] = []

    def __missing__(self, gt: str) -> int:
        parts = [MISSING if p == "." else int(p) for p in re.split(r"[/|]", gt)]
        if len(parts) > 2:
            raise ValueError(f"{self.path}: genotype {gt!r} has {len(parts)} copies, wanted one or two")
        haploid = len(parts) == 1
        second = ABSENT if haploid and parts[0] != MISSING else parts[-1]
        self.copies.append((parts[0], second))
        self.phased.append("|" in gt or haploid)
        self[gt] = len(self)
        return self[gt]

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Allele index of both copies, [n_code, 2] int8, and whether the call is phased, [n_code] bool."""
        return np.array(self.copies, dtype=np.int8).reshape(-1, 2), np.array(self.phased, dtype=bool)


def _call_codes(record: pysam.VariantRecord, code: _CallCodes) -> np.ndarray:
    """One code per sample, [n_sample]. Splitting the record's text is ten times faster than pysam's sample objects."""
    fields = str(record).rstrip("\n").split("\t")
    keys = fields[8].split(":") if len(fields) > 8 else [""]
    if keys[0] != "GT":
        raise ValueError(f"{code.path}, {record.contig}:{record.pos}: FORMAT {fields[8]!r}, wanted GT first")
    calls = fields[9:]
    if len(keys) > 1:
        calls = [call.split(":", 1)[0] for call in calls]
    return np.fromiter(map(code.__getitem__, calls), dtype=np.int32, count=len(calls))


def _refuse_twice(variants: pd.DataFrame, path: str | Path) -> None:
    twice = variants.duplicated(["contig", "pos", "ref", "alt"])
    if twice.any():
        row = variants[twice].iloc[0]
        raise ValueError(
            f"{path}, {row.contig}:{row.pos + 1}: allele {row.ref}>{row.alt} listed twice; "
            "keep one (bcftools norm -d exact)"
        )


def _open(path: str | Path) -> pysam.VariantFile:
    """An indexed VCF or BCF, after the checks that need no record."""
    path = Path(path)
    compressed = check_file(path)
    if compressed and not path.name.endswith(".bcf"):
        _check_samples(path)
    if not any(Path(f"{path}{suffix}").is_file() for suffix in (".tbi", ".csi")):
        raise FileNotFoundError(f"{path}: no index (.tbi or .csi). {_unsorted(path, compressed)}")
    try:
        return pysam.VariantFile(str(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable VCF ({error})") from error


def _check_samples(path: Path) -> None:
    with gzip.open(path, "rt") as handle:
        for line in handle:
            if line.startswith("#CHROM"):
                names = Counter(line.rstrip("\n").split("\t")[9:])
                twice = [name for name, count in names.items() if count > 1]
                if twice:
                    raise ValueError(f"{path}: duplicate sample {', '.join(twice)} in the header")
                return
            if not line.startswith("#"):
                break
    raise ValueError(f"{path}: no #CHROM header line")


def _unsorted(path: Path, compressed: bool) -> str:
    """What to do about a missing index: sort first when a record is out of order, else compress and index."""
    seen, last = set(), ("", 0)
    with gzip.open(path, "rt") if compressed else path.open() as handle:
        for line in handle:
            if line.startswith("#"):
                continue
            contig, pos = line.split("\t", 2)[:2]
            back = contig != last[0] and contig in seen
            if back or (contig == last[0] and int(pos) < last[1]):
                return (
                    f"It is unsorted: {contig}:{pos} comes after {last[0]}:{last[1]}; "
                    "make both: bcftools sort, then tabix -p vcf"
                )
            seen.add(contig)
            last = (contig, int(pos))
    return f"Make it: {'' if compressed else 'bgzip, then '}tabix -p vcf {path}"


def _merge(regions: pd.DataFrame) -> Iterator[tuple[str, int, int]]:
    """The regions as sorted, non-overlapping intervals, contigs in the order of first appearance."""
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


def _check_contigs(
    vcf: pysam.VariantFile, path: str | Path, reference: Reference, regions: pd.DataFrame
) -> set[str]:
    """Contigs that the VCF and the regions share. Raises ValueError on another naming or another build."""
    found = set(vcf.index) if vcf.index is not None else set(vcf.header.contigs)
    known = [*vcf.header.contigs, *found]
    shared = set()
    for contig in regions.contig.unique():
        reference.check_contig(contig, "regions")
        if contig not in known:
            hint = contig_hint(contig, known)
            if "'chr' prefix" in hint:
                raise ValueError(f"{path}: no contig {contig!r}, which {reference.path} has; {hint}")
            continue
        shared.add(contig)
        length = vcf.header.contigs[contig].length if contig in vcf.header.contigs else None
        if length and length != reference.lengths[contig]:
            raise ValueError(
                f"{path}: header says {contig} has {length} bases, {reference.path} has "
                f"{reference.lengths[contig]}: another genome build?"
            )
    if not shared:
        raise ValueError(f"{path}: holds none of the regions' contigs ({', '.join(regions.contig.unique())})")
    return shared & found


def _records(
    vcf: pysam.VariantFile, path: str | Path, reference: Reference, regions: pd.DataFrame
) -> Iterator[tuple[pysam.VariantRecord, str]]:
    """Each record that overlaps a region, once, with its REF after it was checked against the FASTA."""
    if regions.empty:
        raise ValueError(f"{path}: no regions asked for")
    shared = _check_contigs(vcf, path, reference, regions)
    done: dict[str, int] = {}  # contig -> end of the last region read
    for contig, start, end in _merge(regions):
        bases = reference.fetch(contig, start, end)
        if contig not in shared:
            continue
        last = 0
        for record in vcf.fetch(contig, start, end):
            if record.start < last:
                raise ValueError(
                    f"{path}: unsorted, {contig}:{record.pos} comes after {contig}:{last + 1}; "
                    "bcftools sort, then index again"
                )
            last = record.start
            if record.start < done.get(contig, 0):
                continue  # it also overlaps the region before, and was read there
            yield record, _checked_ref(record, path, reference, bases, start)
        done[contig] = end


def _checked_ref(
    record: pysam.VariantRecord, path: str | Path, reference: Reference, bases: str, start: int
) -> str:
    ref = sq.normalise(record.ref)[0]
    low, high = record.start - start, record.start - start + len(ref)
    inside = low >= 0 and high <= len(bases)
    where = f"{path}, {record.contig}:{record.pos}"
    if record.start + len(ref) > reference.lengths[record.contig]:
        raise ValueError(f"{where}: REF {ref} runs off the end of {record.contig}")
    fasta = (
        bases[low:high] if inside else reference.fetch(record.contig, record.start, record.start + len(ref))
    )
    if ref != fasta:
        raise ValueError(f"{where}: REF {ref}, but {reference.path} has {fasta}: another genome build?")
    return ref
