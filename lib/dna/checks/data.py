"""A study's genome, loci, background and genotypes, each file read once by the reader that the notebooks use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from lib.check import every_line
from lib.check.study import Study, Unknown
from lib.dna import genotypes, haplotypes, people, reference, windows
from lib.dna.checks.agreement import D

EVERY = 6_000  # background windows up to which each is looked at for N; of more, a seeded sample
COUNTED = 300  # windows of the loci whose haplotypes are made


class Data:
    """A study's input files, each read once. Every method raises Unknown where a file has a fault, which it notes."""

    def __init__(self, study: Study):
        self.study = study
        self.left_out: Counter = Counter()  # of annotation, see lib.dna.report
        self._kept: dict[str, Any] = {}

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """make(), once; Unknown each time if it was Unknown at first."""
        if key not in self._kept:
            self._kept[key] = None
            self._kept[key] = make()
        if self._kept[key] is None:
            raise Unknown
        return self._kept[key]

    def read(self, stage: str, name: str, reader: Callable[[Path], Any], text: str | None = None) -> Any:
        """The file of a parameter, by its reader; every faulty line of it is noted."""
        path = self.study.path(stage, name, text)
        value, messages = every_line.read(reader, path)
        for message in messages:
            self.study.refusal(stage, name, message, path)
        if messages:
            raise Unknown
        return value

    def genome(self, stage: str = D) -> reference.Reference:
        return self.once(f"genome {self.study(stage, 'genome_path')}", lambda: self.read(stage, "genome_path", reference.Reference))

    def bed(self, stage: str, name: str, what: str, unique: bool = True) -> pd.DataFrame:
        genome = self.genome(D)
        return self.once(f"bed {self.study(stage, name)} {unique}",
                         lambda: self.read(stage, name, lambda path: windows.read_bed(path, genome, what, unique=unique)))

    def loci(self) -> pd.DataFrame:
        return self.bed(D, "loci_path", "locus")

    def genotypes(self, name: str = "vcf_path") -> genotypes.Genotypes:
        genome, loci = self.genome(), self.loci()
        return self.once(name, lambda: self.read(D, name, lambda path: genotypes.read_genotypes(path, genome, loci)))

    def people(self) -> pd.DataFrame | None:
        """What people_path says of the people of the VCF, None without one."""
        if not self.study(D, "people_path"):
            return None
        samples = self.genotypes().samples
        return self.once("people", lambda: self.read(D, "people_path", lambda path: people.read_people(path, samples)))

    def cohort_windows(self) -> pd.DataFrame:
        """The windows of the loci, as 00 cuts them."""
        return self.once("cohort windows", self._cohort_windows)

    def _cohort_windows(self) -> pd.DataFrame:
        study, genome, loci = self.study, self.genome(), self.loci()
        with study.reading(D, "window_bp"):
            tiled = windows.tile(loci, study(D, "window_bp"), study(D, "overlap_bp"))
        with study.reading(D, "loci_path"):
            kept = windows.of_loci(loci, genome, study(D, "window_bp"), study(D, "overlap_bp"))
        if len(kept) < len(tiled):
            study.notes.append(f"{len(tiled) - len(kept)} of {len(tiled)} windows of the loci are mostly N and left out")
        return kept

    def tiles(self) -> pd.DataFrame:
        """The background windows, as 00 cuts and draws them; of more than `EVERY`, a sample of those it draws from."""
        return self.once("tiles", self._tiles)

    def _tiles(self) -> pd.DataFrame:
        study, genome = self.study, self.genome()
        tiled = self._every_tile()
        with study.reading(D, "genome_path"):
            looked_at = windows.drop_gaps(windows.sample_windows(tiled, EVERY, 0), genome, 0.0)
        if looked_at.empty:
            study.fault(D, "background_path", f"no window of {study(D, 'window_bp')} bases without N outside the loci",
                        "regions with known sequence", file=study(D, "background_path"))
            raise Unknown
        if most := study(D, "max_background_windows"):
            looked_at = windows.sample_windows(looked_at, most, study(D, "seed"))
        return looked_at

    def _every_tile(self) -> pd.DataFrame:
        """The windows that the background is cut into, though some hold an N."""
        return self.once("every tile", self._cut_background)

    def _cut_background(self) -> pd.DataFrame:
        background, loci = self.bed(D, "background_path", "background region"), self.loci()
        with self.study.reading(D, "background_path", self.study(D, "background_path")):
            return windows.tile_background(background, loci, self.study(D, "window_bp"))

    def haplotypes(self) -> haplotypes.UnitSet:
        """The distinct haplotypes of `COUNTED` windows of the loci."""
        return self.once("haplotypes", self._haplotypes)

    def _haplotypes(self) -> haplotypes.UnitSet:
        some = windows.sample_windows(self.cohort_windows(), COUNTED, 0)
        return haplotypes.build_units(some, self.genome(), self.genotypes())

    def n_background(self) -> int:
        """Background windows of the whole study, exact up to `EVERY`."""
        n = round(len(self.tiles()) * max(1, len(self._every_tile()) / EVERY))
        return min(n, self.study(D, "max_background_windows") or n)


def genome(study: Study, data: Data) -> None:
    """The files of 00: each is read though another has a fault."""
    for read in (data.genome, data.loci, lambda: data.bed(D, "background_path", "background region"), data.genotypes,
                 data.cohort_windows, data.tiles):
        with suppress(Unknown):
            read()


def held_out(study: Study, data: Data) -> None:
    """Chromosomes to validate, to test and to train on, each with windows of the background."""
    counts = data.tiles().contig.value_counts()
    listed = ", ".join(f"{c} ({n})" for c, n in counts.items())
    for name in ("validation_contigs", "test_contigs"):
        with suppress(Unknown):
            for contig in study(D, name):
                if contig not in counts:
                    study.fault(D, name, f"{contig!r}, which has no background window", f"some of {listed}")
    known = {*study(D, "validation_contigs"), *study(D, "test_contigs")}
    training = counts[[c for c in counts.index if c not in known]].sum()
    if not training:
        study.fault(D, "test_contigs", "no chromosome left to train on", f"fewer of {listed}")
