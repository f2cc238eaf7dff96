"""Measured effects of saturation mutagenesis: every base of a regulatory element changed, one at a time, before a reporter (MPRA).

An *element* is one construct under one condition; elements that share bases are one *locus*, so that nothing counts them as
independent. The construct is episomal: beyond its ends lies the plasmid, not the genome. Of the tables of Kircher et al. 2019 (Nature
Communications 10:3583) deletions are of one base, of a run mostly its first.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.dna import labelled
from lib.dna.reference import Reference, bare_name
from lib.stage import lines

#: Columns that are read; each row is one change in one element.
READ = ("Chrom", "Pos", "Ref", "Alt", "Barcodes", "Coefficient", "pValue", "Element", "Release")
PLACE = ["Chrom", "Pos", "Ref", "Alt"]
#: Elements that the table calls by another gene. Source: the promoter at chr22:19723266 (GRCh38) is that of GP1BB.
RENAMED = {"GP1BA": "GP1BB"}
DELETION = "-"
#: What becomes of a base, the same four at every place. Pairs of bases; a pair and its reverse are one kind.
KINDS = {"transition": ("AG", "CT"), "transversion to the complement": ("AT", "CG"), "other transversion": ("AC", "GT")}
_KIND = {a + b: kind for kind, pairs in KINDS.items() for pair in pairs for a, b in (pair, pair[::-1])}


def read(
    path: Path, reference: Reference, min_barcodes: int, report: Counter, release: str = "GRCh38"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measured variants of a table, as `variants` gives them, and the elements that they lie in, as `sequences` does.

    min_barcodes: of a row that is kept, 1 or more; places of rows with fewer still tell an element's sequence. What is left out or read
    otherwise than it is written is counted in report (see `lib.dna.report`). Raises ValueError as `rows` does.
    """
    if min_barcodes < 1:
        raise ValueError(f"min_barcodes {min_barcodes}: wanted 1 or more")
    table, name = rows(path, reference, report, release), Path(path).name
    elements = sequences(table, reference)
    report[name, "bases of elements that no row tells", "filled from the genome"] += int(elements["n_filled"].sum())
    report[name, "bases of elements that neither a row nor the genome tells", "read as N"] += int(elements["n_unknown"].sum())
    enough = table["barcodes"] >= min_barcodes
    report[name, f"rows of fewer than {min_barcodes} barcodes", "left out"] += int((~enough).sum())
    return variants(table[enough], elements, name, report), elements


def rows(path: Path, reference: Reference, report: Counter, release: str = "GRCh38") -> pd.DataFrame:
    """The rows of one release, checked: contig, place (of the base that changes, 0-based), base, alt ("-": deleted), element, locus,
    barcodes, effect (log2 of what the change does to expression), p_value. The index is the line number in the file.

    Contigs are spelled as the genome does, else with "chr". REF is held to the genome, and to the other rows of the place; where the
    genome has N, or lacks the contig, to these alone. Rows of other releases, and rows whose place and alleles are all "NA", are
    counted and left out. Raises ValueError naming the line for: a release without rows, a place, allele or number that is none, REF
    that is not the genome's or another row's, ALT that is REF, a change twice in an element, and an element without a name, on two
    contigs, or of which most bases have no row, as one wrong position makes it; and what `lib.stage.lines.table` refuses.
    """
    every, name = lines.table(path, *READ), Path(path).name
    table = every[every["Release"] == release]
    for other, n in every.drop(index=table.index)["Release"].value_counts().items():
        report[name, f"rows of release {other}", "left out"] += int(n)
    if table.empty:
        raise ValueError(f"{path}: no row of release {release!r}; found {sorted(every['Release'].unique())[:5]}")
    nowhere = (table[PLACE] == "NA").all(axis=1)
    report[name, "rows without a place (NA)", "left out"] += int(nowhere.sum())
    table = table[~nowhere]
    _check_values(table, path)
    spelled = {bare_name(contig): contig for contig in reference.lengths}
    contig = table["Chrom"].map({c: spelled.get(bare_name(c), f"chr{bare_name(c)}") for c in table["Chrom"].unique()})
    table = pd.DataFrame({
        "contig": contig, "place": table["Pos"].astype(int) - 1, "base": table["Ref"], "alt": table["Alt"],
        "element": _renamed(table["Element"], path, report), "barcodes": table["Barcodes"].astype(int),
        "effect": table["Coefficient"].astype(float), "p_value": table["pValue"].astype(float),
    })  # fmt: skip
    _check_places(table, path)
    unknown = pd.concat([_unknown(some, reference, path) for _, some in table.groupby("element", sort=False)])
    report[name, "rows whose REF the genome has too", "read"] += int((~unknown).sum())
    report[name, "rows where the genome has N or no such contig", "read; REF held to the table's own"] += int(unknown.sum())
    return table.assign(locus=_loci(table))


def sequences(table: pd.DataFrame, reference: Reference | None = None) -> pd.DataFrame:
    """The elements, in the order of the table: element, locus, contig, start, end (0-based, half-open), sequence, n_filled, n_unknown.

    table: of `rows`. The sequence is the rows' own REF; what no row tells is the genome's (n_filled bases) where there is one with a
    letter, else N (n_unknown bases).
    """
    elements = []
    for (element, locus), some in table.groupby(["element", "locus"], sort=False):
        contig, start, end = some["contig"].iloc[0], int(some["place"].min()), int(some["place"].max()) + 1
        letters = np.full(end - start, "N")
        letters[some["place"] - start] = some["base"]
        untold = letters == "N"
        if untold.any() and reference is not None and contig in reference.lengths:
            letters = np.where(untold, list(reference.fetch(contig, start, end)), letters)
        n_unknown = int((letters == "N").sum())
        elements.append((element, locus, contig, start, end, "".join(letters), int(untold.sum()) - n_unknown, n_unknown))
    columns = ["element", "locus", "contig", "start", "end", "sequence", "n_filled", "n_unknown"]
    return pd.DataFrame(elements, columns=columns)


def variants(table: pd.DataFrame, elements: pd.DataFrame, name: str, report: Counter) -> pd.DataFrame:
    """Rows as variants: contig, pos (0-based), ref, alt, element, locus, place, change (as C>T, C>-), kind (a key of `KINDS`, or
    "deletion"), barcodes, effect, p_value.

    table: of `rows`; elements: of `sequences`; name: the file's, for report. A deletion is anchored as in VCF, on the base before it, or
    where the element starts or has N there on the base after, as VCF has it at a contig's start, so that a variant lies whole in its
    element (pos is then place, else place - 1); between two unknown bases it is left out. Where an element has several deletions of one
    run, which make the same sequence, all are kept. Both are counted.
    """
    sequence = dict(zip(elements["element"], "N" + elements["sequence"] + "N", strict=True))
    start = dict(zip(elements["element"], elements["start"], strict=True))
    around = [sequence[e][p - start[e] : p - start[e] + 3] for e, p in zip(table["element"], table["place"], strict=True)]
    before, after = (np.array([text[i] for text in around], dtype=object) for i in (0, 2))
    base, deleted = table["base"].to_numpy(), (table["alt"] == DELETION).to_numpy()
    first, lone = deleted & (before == "N"), deleted & (before == "N") & (after == "N")
    anchored = deleted & ~first
    kinds = [_KIND.get(pair, "deletion") for pair in base + table["alt"]]
    out = pd.DataFrame({
        "contig": table["contig"], "pos": table["place"] - anchored,
        "ref": np.select([anchored, first], [before + base, base + after], base),
        "alt": np.select([anchored, first], [before, after], table["alt"]), "element": table["element"], "locus": table["locus"],
        "place": table["place"], "change": base + ">" + table["alt"], "kind": kinds, "barcodes": table["barcodes"],
        "effect": table["effect"], "p_value": table["p_value"],
    })  # fmt: skip
    runs = pd.Series([_run_start(sequence[e], p - start[e] + 1) for e, p in zip(table["element"], table["place"], strict=True)], dtype=int)
    again = pd.DataFrame({"element": table["element"].to_numpy(), "run": runs})[deleted & ~lone].duplicated()
    report[name, "deletions at an element's start, or after N", "anchored on the base after"] += int((first & ~lone).sum())
    report[name, "deletions between unknown bases", "left out"] += int(lone.sum())
    report[name, "deletions that make the same sequence as another of the element", "kept"] += int(again.sum())
    return out[~lone].reset_index(drop=True)


def windows(table: pd.DataFrame, elements: pd.DataFrame, window_bp: int, beyond: Reference | None = None) -> pd.DataFrame:
    """A window around each variant, as `lib.dna.labelled.windows` cuts them from a genome: start, offset, ref_sequence, alt_sequence.

    table: of `variants`; elements: of `sequences`. A window that would leave its element is moved inside it; an element that is
    shorter is given whole, and a deletion there leaves alt_sequence shorter. beyond: a genome that an element is read on in, as far as
    it has letters without a gap; windows of elements where it has none stay as they are, so that loci differ in what a model sees.
    """
    first, texts = {}, {}
    for element in elements.itertuples():
        before, after = _flanks(beyond, element, window_bp) if beyond is not None else ("", "")
        first[element.element], texts[element.element] = element.start - len(before), before + element.sequence + after
    begin = table["element"].map(first).to_numpy(int)
    inside = table.assign(contig=table["element"], pos=table["pos"] - begin)
    cut = labelled.windows(inside, _Elements(texts), window_bp)
    cut = cut.assign(start=cut["start"] + begin)
    return pd.concat([table.reset_index(drop=True), cut[["start", "offset", "ref_sequence", "alt_sequence"]]], axis=1)


class _Elements:
    """Sequences by element, read as the contigs of a genome are."""

    def __init__(self, sequences: dict[str, str]):
        self._sequences = sequences
        self.lengths = {element: len(text) for element, text in sequences.items()}

    def fetch(self, element: str, start: int, end: int) -> str:
        return self._sequences[element][start:end]


def _flanks(genome: Reference, element: Any, bases: int) -> tuple[str, str]:
    """The genome's letters before an element and after it: at most so many, up to the first N. element: a row of `sequences`."""
    length = genome.lengths.get(element.contig, 0)
    before, after = (
        genome.fetch(element.contig, low, high) if low < high <= length else ""
        for low, high in ((max(element.start - bases, 0), element.start), (element.end, min(element.end + bases, length)))
    )
    return before.rpartition("N")[2], after.partition("N")[0]


def _run_start(text: str, at: int) -> int:
    """Where the run of one letter begins that holds text[at]."""
    return len(text[: at + 1].rstrip(text[at]))


def _refuse(wrong: pd.Series, given: pd.Series, path: Path, wanted: str) -> None:
    """Raises ValueError for the first row that is wrong. given: its values, indexed by line, with the name of their column."""
    if wrong.any():
        line = wrong.index[wrong.to_numpy().argmax()]
        raise ValueError(f"{path}, line {line}: {given.name} {given[line]!r}, wanted {wanted}")


def _check_values(table: pd.DataFrame, path: Path) -> None:
    """Each field by itself. table: as text, indexed by line."""
    for column, pattern, wanted in (
        ("Chrom", r"(?!NA$)[\w.]+", "a contig"), ("Pos", "0*[1-9][0-9]{0,11}", "a place from 1"), ("Ref", "[ACGT]", "one of A C G T"),
        ("Alt", f"[ACGT{DELETION}]", f"one of A C G T {DELETION}"), ("Barcodes", "0*[1-9][0-9]{0,11}", "a whole number from 1"),
        ("Element", r"\S(.*\S)?", "a name"),
    ):  # fmt: skip
        _refuse(~table[column].str.fullmatch(pattern), table[column], path, wanted)
    effect, p = (pd.to_numeric(table[column], errors="coerce").astype(float) for column in ("Coefficient", "pValue"))
    _refuse(~np.isfinite(effect), table["Coefficient"], path, "a finite number (log2)")
    _refuse(~p.between(0, 1), table["pValue"], path, "a number from 0 to 1")
    _refuse(table["Alt"] == table["Ref"], table["Alt"], path, "another allele than REF")


def _renamed(element: pd.Series, path: Path, report: Counter) -> pd.Series:
    for old, new in RENAMED.items():
        called = element == old
        if called.any():
            _refuse(element == new, element, path, f"{new} alone, for {old} is read as {new}")
        report[Path(path).name, f"rows of element {old}", f"read as {new}"] += int(called.sum())
    return element.replace(RENAMED)


def _check_places(table: pd.DataFrame, path: Path) -> None:
    """What rows say together: one REF a place, a change once, an element on one contig and mostly covered."""
    line, line_of = table.index.to_series(), ["element", "contig", "place", "alt"]
    for keys, column, why in ((["contig", "place"], "base", "REF {0}, in line {1} it is {2}"),
                              (["element"], "contig", "element {3} on {0}, in line {1} on {2}")):  # fmt: skip
        first, at = (by.groupby([table[key] for key in keys]).transform("first") for by in (table[column], line))
        unlike = first != table[column]
        if unlike.any():
            row = line[unlike].iloc[0]
            said = why.format(table.at[row, column], at[row], first[row], table.at[row, "element"])
            raise ValueError(f"{path}, line {row}: {said}, wanted one")
    again = table.duplicated(line_of)
    if again.any():
        row = line[again].iloc[0]
        at = line[(table[line_of] == table.loc[row, line_of]).all(axis=1)].iloc[0]
        raise ValueError(f"{path}, line {row}: this change of {table.at[row, 'element']} is in line {at} already, wanted once")
    for element, place in table.groupby("element", sort=False)["place"]:
        n, span = place.nunique(), int(place.max() - place.min()) + 1
        if 2 * n <= span:
            raise ValueError(f"{path}, lines {place.idxmin()} and {place.idxmax()}: element {element} has rows for {n} of the {span} bases "
                             f"from {place.min() + 1} to {place.max() + 1}, wanted more than half")  # fmt: skip


def _unknown(some: pd.DataFrame, reference: Reference, path: Path) -> pd.Series:
    """Of which rows of one element the genome has N or no contig: [row] bool. Raises ValueError for REF that is not the genome's."""
    contig, start, end = some["contig"].iloc[0], int(some["place"].min()), int(some["place"].max()) + 1
    if contig not in reference.lengths:
        return pd.Series(True, index=some.index)
    pos = some["place"].add(1).astype(str).rename("Pos")
    _refuse(some["place"] >= reference.lengths[contig], pos, path, f"at most {reference.lengths[contig]}")
    letters = pd.Series(list(reference.fetch(contig, start, end)))[some["place"] - start].set_axis(some.index)
    unlike = (letters != "N") & (letters != some["base"])
    if unlike.any():
        row = unlike.index[unlike.to_numpy().argmax()]
        where = f"{path}, line {row}: {contig}:{some.at[row, 'place'] + 1}"
        raise ValueError(f"{where} REF is {some.at[row, 'base']}, the genome has {letters[row]}")
    return letters == "N"


def _loci(table: pd.DataFrame) -> pd.Series:
    """The locus of each row: what the names of the elements that share bases begin with, or all of them where that is no name."""
    import bioframe

    place = table.groupby("element", sort=False).agg(contig=("contig", "first"), start=("place", "min"), end=("place", "max")).reset_index()
    place["end"] += 1
    place["cluster"] = bioframe.cluster(place, min_dist=None, cols=("contig", "start", "end"))["cluster"].to_numpy()
    members = place.groupby("cluster")["element"].agg(list)
    name = members.map(lambda some: os.path.commonprefix(some).rstrip("-._ ") if len(some) > 1 else some[0])
    unclear = (name == "") | name.duplicated(keep=False)
    name = name.where(~unclear, members.map("+".join))
    return table["element"].map(dict(zip(place["element"], place["cluster"].map(name), strict=True)))
