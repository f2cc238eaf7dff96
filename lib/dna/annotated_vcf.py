"""A copy of a user's VCF with what the latents say of each allele in INFO: bgzip and its index, without samples, whole or not at all.

    SAE_LOST, SAE_GAINED   id|family|grade|ref|alt|delta|seeds, a latent; several are joined by "&"
    SAE_PCT                percentile among background variants
    SAE_ACMG, SAE_WHY      code, or why there is none

All are `Number=A`: one value per ALT, "." where nothing is said. "&" joins, as VEP joins its own terms, since "," parts alleles and ";"
parts fields. Names may hold any character: what VCF reserves, "|", "&" and blanks among it, is percent-encoded (VCF 4.3, section 1.2).
"""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pysam

from lib.dna.vcf import FIRST
from lib.dna.vcf_lines import Line, TextVcf
from lib.stage import durable

#: What is said of a latent, in order: its number; its family and grade; activation with REF and with ALT, and their difference; in how
#: many of the seeds it comes again ("4/5").
LATENT = {"id": int, "family": str, "grade": str, "ref": float, "alt": float, "delta": float, "seeds": str}
#: Column of the table -> INFO key, what a value is, description.
INFO = {
    "lost": ("SAE_LOST", list, f"Latents that the allele takes away, joined by &: {'|'.join(LATENT)}; percent-encoded"),
    "gained": ("SAE_GAINED", list, f"Latents that the allele brings, joined by &: {'|'.join(LATENT)}; percent-encoded"),
    "pct": ("SAE_PCT", float, "Percentile of the allele's change among background variants, 0 to 100"),
    "acmg": ("SAE_ACMG", str, "ACMG-AMP code from this predictor alone, or none; percent-encoded"),
    "why": ("SAE_WHY", str, "Why there is no code, or the allele was not read; percent-encoded"),
}
KEYS = {key for key, *_ in INFO.values()}
COLUMNS = ["record", "allele", "contig", "pos", "ref", "alt", *INFO]
USE = "research use only"
DROPPED = ("FORMAT and the genotype columns; header lines other than fileformat, contig, INFO, FILTER, ALT, assembly, fileDate; what names "
           "a sample in descriptions, IDs and INFO")  # fmt: skip
_KEPT = re.compile(r"##(contig|INFO|FILTER|ALT|assembly|fileDate)=")
_APART = re.compile(r"([\s;,=|&/:<>()\[\]\"']+)")  # what parts words, among which a sample's name may be
_NOT_ENCODED = "/+"


class _People:
    """The names of a file's samples, to keep them back. Names are told as whole words."""

    def __init__(self, source: TextVcf):
        self.names = source.names
        self.parted = [name for name in source.names if _APART.search(name)]  # these are no word

    def named_in(self, text: str) -> bool:
        return bool(self.names) and (not self.names.isdisjoint(_APART.split(text)) or any(name in text for name in self.parted))

    def without(self, text: str) -> str:
        for name in self.parted:
            text = text.replace(name, "(sample)")
        return "".join("(sample)" if word in self.names else word for word in _APART.split(text))

    def keys(self, source: TextVcf) -> set[str]:
        """INFO keys under which some record names one of them; those of numbers aside. Reads the file to its end."""
        if not self.names:
            return set()
        numeric = {text.partition("ID=")[2].partition(",")[0] for text in source.meta
                   if text.startswith("##INFO=") and re.search(r"[<,]Type=(Integer|Float)\b", text)}  # fmt: skip
        parts = (part for line in source for part in line.fields[7].split(";"))
        return {key for key in (part.partition("=")[0] for part in parts if self.named_in(part)) if key not in numeric}


def write(vcf_path: str | Path, out_path: str | Path, annotations: pd.DataFrame, *, model: str, sae_hash: str, study: str) -> Path:
    """Write the records of `vcf_path`, in their order and as they are, with INFO fields for the alleles that `annotations` names.

    annotations: a row an allele, of any order: record and allele (numbers from 1, as `user_variants.read` gives them), lost and gained
    (lists of mappings with the keys of LATENT), pct (NaN for none), acmg, why (missing for none); contig, pos, ref and alt, where it has
    them, have to be the record's. A row that says nothing is as no row. model, sae_hash, study: header lines `##SAE_model`, `##SAE_hash`,
    `##SAE_study`, beside `##SAE_use`. FORMAT, genotypes and what names a sample stay behind, which `##SAE_dropped` says; an earlier
    annotation is replaced. Returns the path; the index is beside it, and in place first, so that the file is never there without.

    Raises ValueError, and leaves both files as they were, for: an `out_path` that is the input or does not end in .vcf.gz, values of
    other types, an allele twice or that the file lacks, and what `TextVcf` refuses.
    """
    out, source = _checked_out(Path(out_path), Path(vcf_path)), TextVcf(vcf_path)
    texts, given = _encoded(annotations), _places(annotations)
    people = _People(source)
    hidden = people.keys(source)
    dropped = f"{DROPPED}{''.join(f', {key}' for key in sorted(hidden - people.names))}"
    told = {"model": model, "hash": sae_hash, "use": USE, "study": study, "dropped": dropped}
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    index = new.with_name(f"{new.name}.tbi")
    try:
        with pysam.BGZFile(str(new), "w") as handle:
            for text in _heading(source.meta, told, hidden, people):
                handle.write(f"{text}\n".encode())
            for line in TextVcf(vcf_path):
                handle.write(_annotated(line, texts, given, hidden, people).encode())
        if texts:
            record, allele = next(iter(texts))
            raise ValueError(f"{vcf_path}: annotations have record {record}, allele {allele}, which the file lacks")
        _index(new, index, source.path)
        for path in (new, index):
            durable.to_disk(path)
        _put(new, index, out)
    finally:
        new.unlink(missing_ok=True)
        index.unlink(missing_ok=True)
    durable.to_disk(out.parent)
    return out


def read_annotations(path: str | Path) -> pd.DataFrame:
    """What `write` wrote: COLUMNS, a row for each allele of which anything is said, in the file's order; pos is 0-based.

    lost, gained: lists of dicts as given; missing numbers NaN, missing text None. Raises ValueError for a file without these fields, and,
    naming the record, for values of another number than the ALTs, or of another form.
    """
    vcf = TextVcf(path)
    if lacking := [key for key, *_ in INFO.values() if not any(text.startswith(f"##INFO=<ID={key},") for text in vcf.meta)]:
        raise ValueError(f"{path}: no INFO {', '.join(lacking)} in the header; wanted a file that was annotated here")
    rows = []
    for line in vcf:
        info, n = dict(line.info), len(line.alts)
        values = [info.get(key, ",".join(["."] * n)).split(",") for key, *_ in INFO.values()]
        if line.fields[4] == ".":
            continue
        for (key, *_), value in zip(INFO.values(), values, strict=True):
            if len(value) != n:
                raise ValueError(f"{line.where}: INFO {key} has {len(value)} values, wanted one per ALT allele, {n}")
        for number, said in enumerate(zip(*values, strict=True), 1):
            if any(value != "." for value in said):
                place = [line.number, number, line.contig, line.pos, line.ref.upper(), line.alts[number - 1].upper()]
                rows.append(place + [_value(text, kind, line.where) for (_, kind, _), text in zip(INFO.values(), said, strict=True)])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"record": int, "allele": int, "pos": int, "pct": float})


def _checked_out(out: Path, source: Path) -> Path:
    if not out.name.endswith(".vcf.gz"):
        raise ValueError(f"{out}: wanted a name that ends in .vcf.gz")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent}: no such folder")
    for path in (out, Path(f"{out}.tbi")):
        if path.is_dir():
            raise ValueError(f"{path}: a folder, wanted a file")
        if path.exists() and source.exists() and path.samefile(source):
            raise ValueError(f"{path}: is the input {source}; write to another file")
    return out


def _put(new: Path, index: Path, out: Path) -> None:
    """Both in place, or neither: an index that is of no file, or of the one before, is taken away again."""
    try:
        os.replace(index, f"{out}.tbi")
        os.replace(new, out)
    except BaseException:
        if new.exists():
            Path(f"{out}.tbi").unlink(missing_ok=True)
        raise


def _encoded(annotations: pd.DataFrame) -> dict[tuple[int, int], list[str]]:
    """(record, allele) -> the text of each INFO value, for alleles of which anything is said."""
    if lacking := [name for name in ("record", "allele", *INFO) if name not in annotations]:
        raise ValueError(f"annotations: no column {', '.join(lacking)}")
    texts = {}
    for record, allele, *values in annotations[["record", "allele", *INFO]].itertuples(index=False, name=None):
        where = f"annotations, record {record}, allele {allele}"
        if (record, allele) in texts:
            raise ValueError(f"{where}: there twice, wanted once")
        texts[record, allele] = [_text(value, INFO[name][1], f"{where}, {name}") for name, value in zip(INFO, values, strict=True)]
        pct = dict(zip(INFO, values, strict=True))["pct"]
        if not _missing(pct) and not 0 <= pct <= 100:
            raise ValueError(f"{where}: pct {pct}, wanted 0 to 100")
    return {key: said for key, said in texts.items() if said != ["."] * len(INFO)}


def _places(annotations: pd.DataFrame) -> dict[tuple[int, int], tuple]:
    """(record, allele) -> contig, pos, ref, alt, where the annotations say them."""
    columns = ["contig", "pos", "ref", "alt"]
    if not set(columns) <= set(annotations.columns):
        return {}
    rows = annotations[["record", "allele", *columns]].itertuples(index=False, name=None)
    return {(record, allele): (contig, pos, ref.upper(), alt.upper()) for record, allele, contig, pos, ref, alt in rows}


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value == "" or (isinstance(value, numbers.Real) and math.isnan(value))


def _text(value: Any, kind: type, where: str) -> str:
    """A value as VCF may hold it; "." for a missing one, and for no latent. Floats in the shortest form that reads back the same."""
    if kind is list and isinstance(value, list | tuple):
        return "&".join(_latent(latent, where) for latent in value) or "."
    if kind is not list and _missing(value):
        return "."
    wanted = {int: numbers.Integral, float: numbers.Real, str: str, list: list}[kind]
    fits = isinstance(value, wanted) and not isinstance(value, bool)
    if not fits:
        raise ValueError(f"{where}: {value!r}, wanted {kind.__name__}")
    if kind is not str:
        return repr(kind(value))
    return quote(value, safe=_NOT_ENCODED) if value != "." else "%2E"


def _latent(latent: Mapping[str, Any], where: str) -> str:
    if set(latent) != set(LATENT) or _missing(latent["id"]):
        raise ValueError(f"{where}: a latent with {sorted(latent)}, wanted {', '.join(LATENT)}, and an id")
    return "|".join(_text(latent[key], kind, f"{where}, {key}") for key, kind in LATENT.items())


def _value(text: str, kind: type, where: str) -> Any:
    """What `_text` wrote."""
    if kind is list:
        return [_read_latent(part, where) for part in text.split("&")] if text != "." else []
    if text == ".":
        return math.nan if kind is float else None
    try:
        return unquote(text, errors="strict") if kind is str else kind(text)
    except ValueError as error:
        raise ValueError(f"{where}: {text!r}, wanted {kind.__name__}") from error


def _read_latent(text: str, where: str) -> dict[str, Any]:
    parts = text.split("|")
    if len(parts) != len(LATENT):
        raise ValueError(f"{where}: latent {text!r} has {len(parts)} parts, wanted {'|'.join(LATENT)}")
    return {key: _value(part, kind, where) for (key, kind), part in zip(LATENT.items(), parts, strict=True)}


def _annotated(line: Line, texts: dict, given: dict, hidden: set[str], people: _People) -> str:
    """The record with what is said of its alleles, without what names a sample."""
    fields = list(line.fields)
    fields[2] = "." if people.named_in(fields[2]) else fields[2]
    kept = [part for part in fields[7].split(";") if part and part != "." and part.partition("=")[0] not in KEYS | hidden]
    if fields[4] != ".":
        said = [_said(line, number, texts, given) for number in range(1, len(line.alts) + 1)]
        kept += [f"{key}={','.join(values)}" for (key, *_), values in zip(INFO.values(), zip(*said, strict=True), strict=True)]
    fields[7] = ";".join(kept) or "."
    return "\t".join(fields) + "\n"


def _said(line: Line, number: int, texts: dict, given: dict) -> list[str]:
    """INFO values of an allele, each "." where there is none; they are taken out of `texts`."""
    key, place = (line.number, number), (line.contig, line.pos, line.ref.upper(), line.alts[number - 1].upper())
    if key in texts and given.get(key, place) != place:
        raise ValueError(f"{line.where}: allele {number} is {place}, annotations say {given[key]}: of another file, or numbered otherwise")
    return texts.pop(key, ["."] * len(INFO))


def _heading(meta: list[str], told: dict[str, str], hidden: set[str], people: _People) -> Iterator[str]:
    """The header: of the lines of the input those that say nothing of samples or of where files lay, then what is added."""
    version = [text for text in meta if text.startswith("##fileformat=")]
    yield version[0] if version else "##fileformat=VCFv4.3"
    gone = tuple(f"##INFO=<ID={key}," for key in hidden | KEYS)
    for text in meta:
        if _KEPT.match(text) and not text.startswith(gone):
            yield re.sub(r'"(?:[^"\\]|\\.)*"', lambda quoted: people.without(quoted[0]), text)
    for key, kind, description in INFO.values():
        yield f'##INFO=<ID={key},Number=A,Type={"Float" if kind is float else "String"},Description="{description}">'
    for key, text in told.items():
        if not text or re.search(r"[\r\n]", text):
            raise ValueError(f"SAE_{key}: {text!r}, wanted one line of text")
        yield f"##SAE_{key}={text}"
    yield "\t".join(FIRST)


def _index(path: Path, index: Path, source: Path) -> None:
    try:
        pysam.tabix_index(str(path), preset="vcf", index=str(index), force=True, keep_original=True)
    except OSError as error:
        raise ValueError(f"{source}: tabix cannot index its records ({error})") from error
