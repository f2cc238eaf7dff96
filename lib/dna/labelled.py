"""Labelled variants: ClinVar, tables, their windows and regions."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.dna.reference import Reference
from lib.models import sequence as sq
from lib.stage import lines

#: Clear classes, and the two of a kind together, as today's releases spell them ("/") and as those of 2016 do ("_").
PATHOGENIC = {"Pathogenic", "Likely_pathogenic", "Pathogenic/Likely_pathogenic", "Likely_pathogenic_Pathogenic"}
EMPTY = {"", "false", "na", "nan", "n/a", "null", "none", "."}  # values of a label column that are no label, in any case
BENIGN = {"Benign", "Likely_benign", "Benign/Likely_benign", "Benign_Likely_benign"}


def clinvar_label(significance: pd.Series) -> pd.Series:
    """1 for P/LP, 0 for B/LB, NaN for anything else (uncertain, conflicting, drug response)."""
    label = pd.Series(np.nan, index=significance.index)
    label[significance.isin(PATHOGENIC)] = 1.0
    label[significance.isin(BENIGN)] = 0.0
    return label


def windows(variants: pd.DataFrame, reference, window_bp: int, place: float = 0.5) -> pd.DataFrame:
    """Lay a window on each variant, so that it lies at a share `place` of it. variants: contig, pos (0-based), ref, alt.

    Adds start, offset (of the variant in the window), ref_sequence, alt_sequence. A window that would leave the
    contig is moved inside it; only a deletion of a contig's last bases leaves alt_sequence shorter. Unknown bases (N)
    at a window's ends are cut off: they tell the model nothing, and cost a token each. Raises ValueError when REF
    is not what the genome holds, naming the variant.
    """
    rows = []
    for v in variants.itertuples():
        last = reference.lengths[v.contig] - window_bp - max(len(v.ref) - len(v.alt), 0)  # a deletion reads on
        start = max(min(v.pos - int(window_bp * place), last), v.pos + len(v.ref) - window_bp, 0)  # REF stays inside
        text = reference.fetch(v.contig, start, start + window_bp)
        offset = v.pos - start
        if text[offset : offset + len(v.ref)] != v.ref:
            raise ValueError(
                f"{v.contig}:{v.pos + 1} {v.ref}>{v.alt}: the genome has "
                f"{text[offset : offset + len(v.ref)]} where the variant says {v.ref}"
            )
        end = min(start + window_bp + len(v.ref), reference.lengths[v.contig])
        after = reference.fetch(v.contig, v.pos + len(v.ref), end)
        changed = (text[:offset] + v.alt + after)[:window_bp]
        gap = len(text) - len(text.lstrip("N"))  # REF is known, so the gap ends before it
        rows.append((start + gap, offset - gap, text[gap:].rstrip("N"), changed[gap:].rstrip("N")))
    return pd.concat([variants.reset_index(drop=True),
                      pd.DataFrame(rows, columns=["start", "offset", "ref_sequence", "alt_sequence"])], axis=1)  # fmt: skip


def turned(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `windows` on the other strand: sequences and alleles are reverse complements, offset is that of the reference's
    allele in its own, and alt_offset that of the alternative's, which differs where an indel makes its window end elsewhere."""
    out = table.copy()
    for column in ("ref", "alt", "ref_sequence", "alt_sequence"):
        out[column] = [sq.decode(sq.reverse_complement(sq.encode(text))) for text in table[column]]
    for column, allele in (("alt_offset", "alt"), ("offset", "ref")):
        out[column] = table[f"{allele}_sequence"].str.len() - table["offset"] - table[allele].str.len()
    return out


def read_table(path: Path, reference: Reference, label_column: str, report: Counter) -> pd.DataFrame:
    """Labelled variants from a table: contig, pos (0-based), ref, alt, gene (from a column locus or gene), label.

    The label is 1 where label_column is neither empty (or one of `EMPTY`) nor a zero. A variant that comes again under the same
    label, as one that two cohorts carry may, is read once, and counted (report: see `lib.dna.report`). Raises ValueError naming the
    line for: a contig that the genome lacks, a position that is no number or off the contig, an allele of other letters than
    A C G T, REF that is not the genome's, ALT that is REF, a variant under both labels; and what `lib.stage.lines.table` refuses.
    """
    table = lines.table(path)
    table = table if "gene" in table else table.rename(columns={"locus": "gene"})
    if missing := {"contig", "pos", "ref", "alt", "gene", label_column} - set(table.columns):
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    given = table[label_column].str.strip().str.lower()
    nothing = given.isin(EMPTY) | (pd.to_numeric(given, errors="coerce") == 0)
    table = table.assign(label=(~nothing).astype(int))
    first: dict[tuple, Any] = {}
    for row in table.itertuples():
        where = f"{path}, line {row.Index}"
        _check_variant(row, reference, where)
        before = first.setdefault((row.contig, int(row.pos), row.ref, row.alt), row)
        if before.label != row.label:
            raise ValueError(f"{where}: {row.contig}:{row.pos} {row.ref}>{row.alt} has label {row.label}, in line {before.Index} "
                             f"{before.label}, wanted one")
    report[Path(path).name, "labelled alleles that come again", "left out"] += len(table) - len(first)
    once = table.loc[[row.Index for row in first.values()], ["contig", "pos", "ref", "alt", "gene", "label"]]
    return once.astype({"pos": int}).reset_index(drop=True)


def _check_variant(row: Any, reference: Reference, where: str) -> None:
    """row: contig, pos, ref, alt as text. Raises ValueError for what is no substitution, insertion or deletion of this genome."""
    reference.check_contig(row.contig, where)
    length = reference.lengths[row.contig]
    if not re.fullmatch("[0-9]{1,15}", row.pos) or int(row.pos) >= length:
        raise ValueError(f"{where}: pos {row.pos!r}, wanted 0 to {length - 1} (0-based)")
    for name, allele in (("REF", row.ref), ("ALT", row.alt)):
        if not re.fullmatch("[ACGT]+", allele):
            raise ValueError(f"{where}: {name} {allele!r}, wanted letters A C G T")
    pos = int(row.pos)
    bases = reference.fetch(row.contig, pos, min(pos + len(row.ref), length))
    if bases != row.ref:
        raise ValueError(f"{where}: {row.contig}:{pos + 1} REF is {row.ref}, the genome has {bases}")
    if row.alt == row.ref:
        raise ValueError(f"{where}: {row.contig}:{pos + 1} ALT {row.alt} is REF, wanted another allele")


def none() -> pd.DataFrame:
    """No labelled variant: the columns of `read_table` and no row, for a study that has none."""
    columns = {"contig": object, "pos": int, "ref": object, "alt": object, "gene": object, "label": int}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def read_clinvar(path: Path, reference, regions: pd.DataFrame, report: Counter) -> pd.DataFrame:
    """Labelled alleles of a ClinVar VCF inside regions (`clinvar_alleles`), with their gene; without GENEINFO a variant's
    position stands for its gene, for two such variants have nothing in common. report: see `lib.dna.report`."""
    sites = clinvar_alleles(path, reference, regions, ["GENEINFO"], report)
    place = sites["contig"] + ":" + (sites["pos"] + 1).astype(str)
    sites = sites.assign(gene=sites["GENEINFO"].where(sites["GENEINFO"].fillna("") != "", place))
    return sites[["contig", "pos", "ref", "alt", "gene", "label"]]


def clinvar_alleles(path: Path, reference, regions: pd.DataFrame, info_keys: list[str], report: Counter) -> pd.DataFrame:
    """P/LP (label 1) and B/LB (label 0) alleles of a ClinVar VCF inside regions, once each, as `read_sites` gives them.

    An allele with both labels, in one spelling or two, is left out. It is counted, as are alleles that come again and
    those of other significance, by CLNSIG. report: see `lib.dna.report`.
    """
    from lib.dna import alleles, genotypes

    sites, name = genotypes.read_sites(path, reference, regions, ["CLNSIG", *info_keys], report), Path(path).name
    sites = sites.assign(label=clinvar_label(sites["CLNSIG"]))
    for significance, n in sites.loc[sites["label"].isna(), "CLNSIG"].fillna("not given").value_counts().items():
        report[name, f"alleles of significance {significance}", "left out"] += int(n)
    sites = sites[sites["label"].notna()].astype({"label": int}).reset_index(drop=True)
    spelled = pd.Series([(v.contig, *alleles.leftmost(v.contig, v.pos, v.ref, v.alt, reference)) for v in sites.itertuples()], dtype=object)
    both, again = sites.groupby(spelled)["label"].transform("nunique") > 1, spelled.duplicated()
    report[name, "labelled alleles with conflicting labels", "left out"] += int(both.sum())
    report[name, "labelled alleles that come again", "left out"] += int((again & ~both).sum())
    return sites[~both & ~again].reset_index(drop=True)


def inside(table: pd.DataFrame, intervals: pd.DataFrame) -> np.ndarray:
    """Which variants overlap an interval: [variant] bool. intervals: contig, start, end (0-based, half-open)."""
    import bioframe

    columns = ("contig", "start", "end")
    place = table[["contig"]].assign(start=table["pos"], end=table["pos"] + table["ref"].str.len())
    return bioframe.count_overlaps(place, intervals, cols1=columns, cols2=columns)["count"].to_numpy() > 0


def exons(path: Path, reference, report: Counter) -> pd.DataFrame:
    """The exons of a GFF3 or BED file, see `genes.read`: contig, start, end. report: see `lib.dna.report`."""
    from lib.dna import genes

    table = genes.read(path, reference, report)
    return table[table["feature"] == "exon"]


def region(table: pd.DataFrame, exon_path: Path, reference, report: Counter) -> np.ndarray:
    """ "exon" or "other" for each variant, by `exons`. report: see `lib.dna.report`."""
    return np.where(inside(table, exons(exon_path, reference, report)), "exon", "other")


def balanced_sample(labelled: pd.DataFrame, max_per_class: int, seed: int) -> pd.DataFrame:
    """At most max_per_class variants of each label and region, seeded, in genome order."""
    parts = [g.sample(min(len(g), max_per_class), random_state=seed) for _, g in labelled.groupby(["region", "label"])]
    return pd.concat(parts or [labelled]).sort_values(["contig", "pos", "ref", "alt"], ignore_index=True)
