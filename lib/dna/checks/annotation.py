"""Annotation before it is run: what lies off the genome is counted, since it is skipped, and is no fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from lib.check.study import Study, Unknown
from lib.dna import domains, genes, intervals, mpra, windows
from lib.dna import labelled as of_variants
from lib.dna.checks.agreement import D, X
from lib.dna.checks.data import Data


def files(study: Study) -> list[Callable[[Study, Data], None]]:
    """A check for each annotation file that the study names."""
    readers = {
        "exon_path": genes.read,
        "promoter_path": lambda path, genome, left_out: windows.read_bed(path, genome, "promoter", unique=False, report=left_out),
        "gwas_path": lambda path, genome, left_out: intervals.gwas_intervals(path, genome, left_out),
        "mpra_path": lambda path, genome, left_out: mpra.read(path, genome, 1, left_out),
    }
    checks = []
    for name, reader in readers.items():
        checks.append(partial(_annotation, name=name, reader=reader))
    return [*checks, _domains, _intervals, _clinvar]


def _annotation(study: Study, data: Data, name: str, reader: Callable) -> None:
    if study(D, name):
        genome = data.genome()
        data.read(D, name, lambda path: reader(path, genome, data.left_out))


def _domains(study: Study, data: Data) -> None:
    if not study(D, "domain_path"):
        return
    if not study(D, "exon_path"):
        study.fault(D, "exon_path", "no exons", "those that the protein domains of domain_path are laid on")
        return
    data.read(D, "domain_path", domains.read)


def _intervals(study: Study, data: Data) -> None:
    from lib.dna import fine_mapped, lift, tracks

    genome = data.genome()
    for text in study(D, "interval_paths"):
        with suppress(Unknown):
            data.read(D, "interval_paths", lambda path: tracks.read(path, genome, data.left_out), text)
    lists = study(D, "fine_mapped_paths")
    of_37 = [text for text in lists if text.removesuffix(".gz").endswith(".pics")]
    if (study(D, "lifted_paths") or of_37) and not study(D, "lift_path"):
        name = "lifted_paths" if study(D, "lifted_paths") else "fine_mapped_paths"
        study.fault(D, "lift_path", "no chain file", f"the one that leads from the assembly of {name} to this one")
        return
    chain = data.read(D, "lift_path", Path) if study(D, "lifted_paths") or of_37 else None
    for text in lists:
        with suppress(Unknown):
            data.read(D, "fine_mapped_paths", lambda path: fine_mapped.read(path, chain, genome, data.left_out), text)
    for text in study(D, "lifted_paths"):
        with suppress(Unknown):
            data.read(D, "lifted_paths", lambda path: lift.read(path, chain, genome, data.left_out), text)


def _clinvar(study: Study, data: Data) -> None:
    if study(D, "variant_path") and not study(D, "label_column"):
        genome, tiles = data.genome(), data.tiles()
        data.read(D, "variant_path", lambda path: intervals.clinvar_intervals(
            path, genome, tiles.iloc[:: 1 + len(tiles) // 100], Counter()))


def labelled(study: Study, data: Data) -> None:
    """The variants of 08, and their exons."""

    genome = data.genome()
    with suppress(Unknown):
        if study(X, "split_exons") and study(D, "exon_path"):
            data.read(D, "exon_path", lambda path: of_variants.exons(path, genome, Counter()))
    if not study(D, "variant_path"):
        return
    column = study(D, "label_column")
    if column:
        table = data.read(D, "variant_path", lambda path: of_variants.read_table(path, genome, column, Counter()))
    else:
        regions = data.bed(D, "background_path", "background region")
        table = data.read(D, "variant_path", lambda path: of_variants.read_clinvar(path, genome, regions, Counter()))
    only = study(D, "test_contigs") if study(X, "held_out_only") else []
    kept = table[table.contig.isin(only)] if only else table
    study.notes.append(f"08_dna: {(kept.label == 1).sum()} variants of label 1 and {(kept.label == 0).sum()} of label 0"
                       + (f" on {', '.join(only)}" if only else ""))


def said(study: Study, data: Data) -> None:
    """What the annotation files have off the genome, as notes."""
    for (file, what, done), count in data.left_out.items():
        if count and done == "left out":
            study.notes.append(f"{file}: {count} {what}, {done}")
