"""The contract between a front door and the stages behind it: what there is to read, and what would count as knowing it.

A door, 00_<kind>, turns the world's files into one corpus and says once which model reads it, how it is split and what its
units are called. Later stages read all of that here and name no file of the world again.

| file of 00 | holds |
|---|---|
| `corpus.json` | the fields of `Corpus` |
| `units.csv` | of the background: unit, unit_id, locus (its part), contig (space), start, end, window, is_reference, the kind's own |
| `records.parquet` | of the background: record (what the model reads), positions (of its letters, if the kind knows them) |
| `concepts.parquet` | intervals: contig, start, end, concept, family, kind |
| `private/<prefix>units.csv`, `records.parquet` | the same of what subjects carry |
| `private/<prefix>readout.h5` | weights [subject x part, unit], names of subjects and parts |
| `private/<prefix>targets.parquet` | subject, group and stratum where known, a column a target, `<target>/<score>` for scores beside it |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from lib.corpus.targets import TYPES, check_targets
from lib.stage import io, params

BACKGROUND, SUBJECTS, SECOND = "background", "cohort", "external"
#: corpus -> prefix of its files, and whether they are private
PREFIX = {BACKGROUND: "", SUBJECTS: "", SECOND: "external_"}


@dataclass(frozen=True)
class Target:
    """What a prediction is of. name; type: of `TYPES`, what the notebooks read, others raise ValueError; limit: score (AUROC, or R2 of
    a number) above which it is suspect, 0 for that of the oracle; simulated, enlarged: said under every figure; scores: name -> kind of
    the scores that stand beside it, in units of the target where that is a number; null: whether nothing that is named causes it, so
    that the whole rule runs on it and nothing may be called needed."""

    name: str
    type: str = "binary"
    limit: float = 0.0
    simulated: bool = False
    enlarged: bool = False
    scores: dict[str, str] = field(default_factory=dict)
    null: bool = False

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"target {self.name!r} is {self.type!r}: wanted {' or '.join(TYPES)}, which is what the notebooks read")


@dataclass(frozen=True)
class Records:
    """texts: what the model reads, one a unit; positions: of each letter in the unit's space, None where unknown;
    own: [unit, 2] start and end of what is a unit's own, None where all is."""

    texts: list[str]
    positions: list[np.ndarray] | None = None
    own: np.ndarray | None = None

    def place(self) -> Callable[[int], np.ndarray] | None:
        """Positions of a unit's letters, by its number."""
        return None if self.positions is None else self.positions.__getitem__


@dataclass(frozen=True)
class Readout:
    """weights: [subject x part, unit], part fastest, each row a mean; subjects, parts: their names."""

    weights: sparse.csr_matrix
    subjects: list[str]
    parts: list[str]

    def features(self, values: np.ndarray) -> np.ndarray:
        """values: [unit, d] -> [subject, part * d], the concatenation of means over each part."""
        return features(self.weights, len(self.subjects), values)


@dataclass(frozen=True)
class Corpus:
    """door: the stage that made it; kind: module that answers what only the field knows; model: its path, as written.

    words: of this field, by the shared one: unit, subject, subjects, part, space, spaces, reference. split: "validation" and
    "test" -> names of spaces, all others train. about: what figures say of the data. concept_kinds: kind -> source. has_second,
    second_targets: whether there is a second corpus of subjects, and what is to be predicted of it. null_targets: further columns of
    the targets' tables, which nothing that is named causes and 05 alone reads; one of 0 and 1 is binary, any other a number. settings:
    the kind's own. has_people: whether subjects are people, or what people can be known by, whom the publishing gate then guards.
    """

    study: str
    door: str
    kind: str
    model: str
    words: dict[str, str]
    split: dict[str, list[str]]
    about: dict[str, Any]
    targets: list[Target]
    concept_kinds: dict[str, str] = field(default_factory=dict)
    has_second: bool = False
    second_targets: bool = False
    null_targets: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    has_people: bool = True

    @property
    def module(self) -> ModuleType:
        """The kind."""
        return import_module(self.kind)

    def path(self, name: str, private: bool = False) -> Path:
        """A file that the door left."""
        return (io.private_path if private else io.stage_path)(self.study, self.door, name)

    def model_path(self) -> Path:
        """The model's folder."""
        return io.data_path(self.model)

    def file(self, corpus: str, name: str) -> Path:
        """A file of one corpus: of the background it is public, of subjects private."""
        return self.path(PREFIX[corpus] + name, corpus != BACKGROUND)

    def units(self, corpus: str = BACKGROUND) -> pd.DataFrame:
        """One row a unit, as the door wrote them."""
        return io.read_csv(self.file(corpus, "units.csv"))

    def records(self, corpus: str = BACKGROUND) -> Records:
        """What the model reads. Raises ValueError for a damaged file."""
        return read_records(self.file(corpus, "records.parquet"))

    def readout(self, corpus: str = SUBJECTS) -> Readout:
        """From units to subjects."""
        return read_readout(self.file(corpus, "readout.h5"))

    def subjects(self, corpus: str = SUBJECTS) -> pd.DataFrame:
        """The private table of targets: one row a subject, in the order of the readout. Raises ValueError as `check_targets` does."""
        path = self.file(corpus, "targets.parquet")
        table = pd.read_parquet(path)
        check_targets(path.name, table, {target.name: target.type for target in self.targets}, self.null_targets, corpus == SECOND)
        return table

    def concepts(self) -> pd.DataFrame:
        """Intervals that a latent may respond to."""
        return pd.read_parquet(self.path("concepts.parquet"))

    def corpora(self) -> list[str]:
        """Those that there are, in the order in which the model reads them."""
        return [BACKGROUND, SUBJECTS, *[SECOND] * self.has_second]


def load(study: str) -> Corpus:
    """The corpus of a study. Raises Refused without one front door, FileNotFoundError before it ran."""
    stored = io.read_json(study, params.front_door(study), "corpus.json")
    return Corpus(**{**stored, "targets": [Target(**t) for t in stored["targets"]]})


def save(stage: io.Stage, corpus: Corpus) -> None:
    """Write corpus.json; `has_people` is in it only where it is false. Raises ValueError when it is and the kind does not say so too."""
    if not corpus.has_people and getattr(corpus.module, "HAS_PEOPLE", True):
        raise ValueError(f"has_people is false, but {corpus.kind} is of people (HAS_PEOPLE): wanted true")
    stored = asdict(corpus)
    stage.write_json("corpus.json", {name: value for name, value in stored.items() if name != "has_people" or value is False})


def write_units(stage: io.Stage, corpus: str, units: pd.DataFrame, records: Records) -> None:
    """Write one corpus' units.csv and records.parquet where `Corpus.file` finds them: those of subjects are private."""
    name, private = PREFIX[corpus], corpus != BACKGROUND
    stage.write_table(name + "units", units, private=private)
    write_records((stage.private_path if private else stage.path)(name + "records.parquet"), records)


def write_targets(stage: io.Stage, corpus: str, table: pd.DataFrame, targets: list[Target], null_targets: Sequence[str] = ()) -> None:
    """Write one corpus' private targets.parquet where `Corpus.file` finds it. table: subject, and a column a target.

    Raises ValueError as `check_targets` does.
    """
    name = f"{PREFIX[corpus]}targets.parquet"
    check_targets(name, table, {target.name: target.type for target in targets}, null_targets, corpus == SECOND)
    table.to_parquet(stage.private_path(name), index=False)


def write_records(path: Path, records: Records) -> None:
    """Write what the model reads as Parquet, so that no white space tears it."""
    table = pd.DataFrame({"record": records.texts})
    if records.positions is not None:
        table["positions"] = [np.asarray(p, np.int32) for p in records.positions]
    if records.own is not None:
        table["own_start"], table["own_end"] = np.asarray(records.own).T
    table.to_parquet(path, index=False, compression="zstd")


def read_records(path: Path) -> Records:
    """What `write_records` wrote."""
    table = pd.read_parquet(path)
    own = table[["own_start", "own_end"]].to_numpy() if "own_start" in table else None
    positions = [p.astype(np.int64) for p in table["positions"]] if "positions" in table else None
    return Records(table["record"].tolist(), positions, own)


def write_readout(path: Path, readout: Readout) -> None:
    """Write the map from units to subjects."""
    with h5py.File(path, "w") as f:
        f.attrs["shape"] = readout.weights.shape
        for name in ("data", "indices", "indptr"):
            f.create_dataset(name, data=getattr(readout.weights, name), track_times=False)
        for name in ("subjects", "parts"):
            f.create_dataset(name, data=np.array([n.encode() for n in getattr(readout, name)], dtype="S"), track_times=False)


def read_readout(path: Path) -> Readout:
    """What `write_readout` wrote."""
    with h5py.File(path, "r") as f:
        weights = sparse.csr_matrix(tuple(f[name][:] for name in ("data", "indices", "indptr")), shape=tuple(f.attrs["shape"]))
        subjects, parts = ([text.decode() for text in f[name][:]] for name in ("subjects", "parts"))
    return Readout(weights, subjects, parts)


def person_locus_map(
    carriers: pd.DataFrame, units: pd.DataFrame
) -> tuple[sparse.csr_matrix, list[str], list[str]]:
    """Average over windows and haplotypes: features[person, locus] = M @ unit values.

    carriers: sample, window, haplotype, unit. units: unit, locus. Returns M [person x locus, unit] (locus fastest),
    the people and the loci. Every weight is 1 / (number of the person's haplotype windows at that locus).
    """
    people = list(dict.fromkeys(carriers["sample"]))
    loci = list(dict.fromkeys(units["locus"]))
    locus_of = units.set_index("unit")["locus"].map({name: i for i, name in enumerate(loci)})
    person_of = {name: i for i, name in enumerate(people)}
    row = carriers["sample"].map(person_of).to_numpy() * len(loci) + locus_of.loc[carriers["unit"]].to_numpy()
    shape = (len(people) * len(loci), int(units["unit"].max()) + 1)
    counts = sparse.csr_matrix((np.ones(len(row)), (row, carriers["unit"].to_numpy())), shape=shape)
    total = np.asarray(counts.sum(1)).ravel()
    return sparse.diags(1 / np.maximum(total, 1)) @ counts, people, loci


def features(locus_map: sparse.csr_matrix, n_people: int, values: np.ndarray) -> np.ndarray:
    """values: [unit, d] -> [person, locus * d], the concatenation of per-locus means."""
    return (locus_map @ values).reshape(n_people, -1)
