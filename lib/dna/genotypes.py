"""Variants and genotypes from an indexed VCF, checked against the reference genome."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lib.dna import alleles as spelling
from lib.dna import vcf as files
from lib.dna.reference import Reference

MISSING, ABSENT = -1, -2  # allele not called; no second copy, because the person is haploid there
NO_SET = -1  # a call that names no phase set
_GT = re.compile(r"(?:\.|\d+)(?:[/|](?:\.|\d+))*\Z")


@dataclass(frozen=True)
class Genotypes:
    """Who carries which allele.

    variants: contig, pos (0-based), ref, alt, id; one row per ALT allele, sorted by contig and position.
        A record without an ID is named contig:pos:ref>alt, with the VCF's 1-based position.
    alleles: [n_variant, n_sample, 2] int8. 1 carries this row's ALT, 0 does not, -1 not called,
        -2 no second copy: a haploid call (one allele, as on chrX in men) fills the first copy only.
    phased: [n_variant, n_sample] bool; a haploid call counts as phased.
    phase_set: [n_variant, n_sample] int32, equal numbers where calls are phased with each other (FORMAT PS), -1 where a
        call names no set; None for a file without sets.
    report: what was made of the records, see `lib.dna.report`. source: name of the file.
    """

    variants: pd.DataFrame
    alleles: np.ndarray
    phased: np.ndarray
    samples: list[str]
    phase_set: np.ndarray | None = None
    report: Counter = field(default_factory=Counter)
    source: str = ""

    @property
    def dosage(self) -> np.ndarray:
        """Copies of ALT, [n_variant, n_sample] float: 0 to 2, 0 or 1 where haploid, nan if any copy is missing."""
        copies = (self.alleles == 1).sum(2).astype(float)
        return np.where((self.alleles == MISSING).any(2), np.nan, copies)


def read_genotypes(vcf_path: str | Path, reference: Reference, regions: pd.DataFrame) -> Genotypes:
    """Every spelled-out allele, SNV or indel, that overlaps the regions (contig, start, end; 0-based half-open).

    Multi-allelic records give one row per ALT. A lone "." is a call with both copies missing. A region on
    a contig that the VCF lacks holds no variants, as long as the two share another contig. Records that failed a filter
    and ALT alleles that spell no bases are left out, and counted in `report`. What happens to each kind of record:
    docs/inputs.md.
    Raises FileNotFoundError or ValueError, naming the file and the record, for: no index or another file's, unsorted
    records, truncation, a line of too few or too many columns, another contig naming or contig length than the FASTA, no
    or duplicate samples, a genotype that is none, has more than two copies or an allele that the record lacks, ALT that is
    REF, an allele listed twice in whatever spelling, REF that is not the FASTA's, and a sample without any call.
    """
    with closing(files.Vcf(vcf_path)) as vcf:
        if not vcf.samples:
            raise ValueError(f"{vcf_path}: no samples; wanted a genotype column per person")
        name, report, code = vcf.path.name, Counter(), _CallCodes()
        rows, calls, sets, call_row, alt_index = [], [], [], [], []
        for record in files.records(vcf, reference, regions, report):
            alts, codes = files.spelled(record, name, report), _call_codes(record, code, vcf.samples)
            if not alts:
                continue
            calls.append(codes)
            sets.append(_phase_sets(record))
            for index, alt in alts:
                rows.append(_row(record, alt))
                call_row.append(len(calls) - 1)
                alt_index.append(index)
    samples = vcf.samples
    variants = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "id"])
    _refuse_twice(variants, vcf_path, reference)
    coded = np.array(calls, dtype=np.int32).reshape(-1, len(samples))
    copies, phased = code.tables()
    _refuse_empty((copies == MISSING).all(1)[coded], samples, vcf_path)
    _count_calls(report, name, coded, copies, phased, len(variants))
    row = np.array(call_row, dtype=int)
    called = copies[coded[row]]  # [n_variant, n_sample, 2]: allele index of each copy
    carries = (called == np.array(alt_index).reshape(-1, 1, 1)).astype(np.int8)
    carries = np.where(called < 0, called, carries).astype(np.int8)
    return Genotypes(variants, carries, phased[coded[row]], samples, _numbered(sets, row, report, name), +report, name)


def read_sites(
    vcf_path: str | Path, reference: Reference, regions: pd.DataFrame, info_keys: list[str], report: Counter | None = None
) -> pd.DataFrame:
    """Alleles without genotypes, as in ClinVar: contig, pos (0-based), ref, alt, id, then one column per INFO key.

    An INFO value with one entry per ALT is split; other lists are text with commas; absent is None.
    report: counted in, see `lib.dna.report`.
    Checks and errors as in `read_genotypes`, and ValueError for an INFO key that the header lacks, or a record has twice.
    """
    rows, report = [], Counter() if report is None else report
    with closing(files.Vcf(vcf_path)) as vcf:
        for key in info_keys:
            if key not in vcf.header.info:
                raise ValueError(f"{vcf_path}: no INFO key {key!r}; found {', '.join(vcf.header.info)}")
        readers = [_info_reader(vcf.header.info[key], key) for key in info_keys]
        for record in files.records(vcf, reference, regions, report, annotation=True):
            alts = files.spelled(record, vcf.path.name, report)
            parts = [part.partition("=")[::2] for part in record.info.split(";")] if alts else []
            info, given = dict(parts), Counter(key for key, _ in parts)
            if twice := [key for key in info_keys if given[key] > 1]:
                raise ValueError(f"{record.where}: INFO has {twice[0]} {given[twice[0]]} times, wanted once")
            rows += [_row(record, alt) + [read(info, index, record.where) for read in readers] for index, alt in alts]
    return pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "id", *info_keys])


def _row(record: files.Record, alt: str) -> list:
    name = record.id or f"{record.contig}:{record.start + 1}:{record.ref}>{alt}"
    return [record.contig, record.start, record.ref, alt, name]


def _info_reader(header, key: str) -> Callable:
    """(INFO as a dictionary, number of the ALT from 1, place) -> the key's value, of the type the header says."""
    as_type = {"Integer": int, "Float": float}.get(header.type, str)

    def read(info: dict[str, str], index: int, where: str):
        value = info.get(key, ".")
        if header.type == "Flag":
            return key in info
        if header.number == "A" and value != ".":
            values = value.split(",")
            if index > len(values):
                raise ValueError(f"{where}: INFO {key}={value} has {len(values)} values, wanted one per ALT allele")
            value = values[index - 1]
        try:
            return None if value == "." else as_type(value) if header.number in ("A", 1) else value
        except ValueError as error:
            raise ValueError(f"{where}: INFO {key}={value}, wanted {header.type}") from error

    return read


class _CallCodes(dict):
    """GT text -> small integer, parsed once per distinct text."""

    def __init__(self):
        super().__init__()
        self.copies: list[tuple[int, int]] = []
        self.phased: list[bool] = []

    def __missing__(self, gt: str) -> int:
        if not _GT.match(gt):
            raise ValueError(f"genotype {gt!r}, wanted allele numbers or . with / or |, as 0/1")
        parts = [MISSING if p == "." else int(p) for p in re.split(r"[/|]", gt)]
        if len(parts) > 2:
            raise ValueError(f"genotype {gt!r} has {len(parts)} copies, wanted one or two")
        haploid = len(parts) == 1
        second = ABSENT if haploid and parts[0] != MISSING else parts[-1]
        self.copies.append((parts[0], second))
        self.phased.append("|" in gt or haploid)
        self[gt] = len(self)
        return self[gt]

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Allele index of both copies, [n_code, 2], and whether the call is phased, [n_code] bool."""
        highest = max(map(max, self.copies), default=0)
        kind = np.int8 if highest < 128 else np.int32
        return np.array(self.copies, dtype=kind).reshape(-1, 2), np.array(self.phased, dtype=bool)


def _call_codes(record: files.Record, code: _CallCodes, samples: list[str]) -> np.ndarray:
    """One code per sample, [n_sample]; each distinct text is parsed and checked once."""
    keys = record.form.split(":")
    if keys[0] != "GT":
        raise ValueError(f"{record.where}: FORMAT {record.form!r}, wanted GT first")
    more = next((call for call in record.calls if call.count(":") >= len(keys)), None)
    if more is not None:
        raise ValueError(f"{record.where}: call {more!r} has more fields than FORMAT {record.form!r}")
    calls = [call.split(":", 1)[0] for call in record.calls] if len(keys) > 1 else record.calls
    for gt in dict.fromkeys(calls):
        try:
            highest = max(code.copies[code[gt]])
            if highest > len(record.alts):
                raise ValueError(f"genotype {gt!r} has allele {highest}, wanted 0 to {len(record.alts)}, the ALTs of the record")
        except ValueError as error:
            raise ValueError(f"{record.where}, sample {samples[calls.index(gt)]!r}: {error}") from error
    return np.fromiter(map(code.__getitem__, calls), dtype=np.int32, count=len(calls))


def _phase_sets(record: files.Record) -> list[str] | None:
    """PS of each call, "." where it has none; None for a record without PS."""
    keys = record.form.split(":")
    if "PS" not in keys:
        return None
    at = keys.index("PS")
    values = [call.split(":") for call in record.calls]
    return [value[at] if len(value) > at else "." for value in values]


def _numbered(sets: list[list[str] | None], row: np.ndarray, report: Counter, name: str) -> np.ndarray | None:
    """Phase sets as numbers, [n_variant, n_sample], the same where the text is; None if no record has any."""
    report[name, "records with phase sets", "heterozygotes of a window's first set keep their phase"] += sum(
        s is not None for s in sets
    )
    if not any(sets):
        return None
    none = ["."] * len(next(s for s in sets if s is not None))
    text = np.array([none if s is None else s for s in sets])
    values, number = np.unique(text, return_inverse=True)
    number = np.arange(len(values))[number.reshape(text.shape)]
    return np.where(text == ".", NO_SET, number).astype(np.int32)[row]


def _refuse_twice(variants: pd.DataFrame, path: str | Path, reference: Reference) -> None:
    """One variant on two rows would count twice, also where its spellings differ."""
    seen = {}
    for row in variants.itertuples(index=False):
        allele = row.pos, row.ref, row.alt
        if len(row.ref) > 1 or len(row.alt) > 1:
            allele = spelling.leftmost(row.contig, *allele, reference)
        first = seen.setdefault((row.contig, *allele), row)
        if first is row:
            continue
        where = f"{path}, {row.contig}:{row.pos + 1}: allele {row.ref}>{row.alt}"
        if first[:4] == row[:4]:
            raise ValueError(f"{where} listed twice; keep one (bcftools norm -d exact)")
        raise ValueError(
            f"{where} is {first.contig}:{first.pos + 1} {first.ref}>{first.alt} in another spelling; "
            f"keep one (bcftools norm -f {reference.path}, then bcftools norm -d exact)"
        )


def _refuse_empty(missing: np.ndarray, samples: list[str], path: str | Path) -> None:
    """missing: [n_record, n_sample] bool."""
    empty = missing.all(0)
    if len(missing) and empty.any():
        names = [samples[i] for i in np.flatnonzero(empty)]
        raise ValueError(
            f"{path}: sample {names[0]!r} has no call in any of the {len(missing)} records of the loci"
            f"{f', nor have {len(names) - 1} more' if len(names) > 1 else ''}; leave out who was not genotyped"
        )


def _count_calls(
    report: Counter, name: str, coded: np.ndarray, copies: np.ndarray, phased: np.ndarray, n_variants: int
) -> None:
    """Records by what their calls are like. coded: [n_record, n_sample] numbers of the rows of copies and phased."""
    held = np.zeros((len(coded), len(copies)), dtype=bool)  # whether a record holds a call of this code
    np.put_along_axis(held, coded, True, axis=1)
    missing = copies == MISSING
    both, heterozygous = missing.all(1), (copies[:, 0] != copies[:, 1]) & ~missing.any(1)
    no_call = ~held[:, ~both].any(1)
    report[name, "ALT alleles", "read, one variant each"] += n_variants
    kinds = {
        ("records without any call", "the reference in sequences, no dosage"): no_call,
        ("records with missing calls", "the reference in sequences, no dosage"): held[:, both].any(1) & ~no_call,
        ("records with half calls", "the copy called is in sequences, no dosage"): held[:, missing.any(1) & ~both].any(1),
        ("records with haploid calls", "one copy"): held[:, copies[:, 1] == ABSENT].any(1),
        ("records with unphased heterozygotes", "placed by the cis rule"): held[:, heterozygous & ~phased].any(1),
    }
    for (what, done), which in kinds.items():
        report[name, what, done] += int(which.sum())
