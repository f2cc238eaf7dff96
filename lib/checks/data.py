"""A study's genome, loci, people, tables and annotation, read by the readers that the notebooks use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import cohort, structure
from lib.checks import fit, lines
from lib.checks import model as of_model
from lib.checks.agreement import A, E, H, T, V, X
from lib.checks.study import Study, Unknown
from lib.genome import haplotypes, reference, variants, windows
from lib.models import sense
from lib.models.adapter import Adapter

EVERY = 6_000  # background windows up to which each is looked at for N; of more, a seeded sample
TOKENISED = 600  # windows whose tokens are counted
COUNTED = 300  # windows of the loci whose haplotypes are made
SEEN = 200  # records that the tokenizer's sense is judged by


class Data:
    """A study's input files, each read once. Every method raises Unknown where a file has a fault, which it notes."""

    def __init__(self, study: Study):
        self.study = study
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
        value, messages = lines.read(reader, path)
        for message in messages:
            self.study.refusal(stage, name, message, path)
        if messages:
            raise Unknown
        return value

    def genome(self, stage: str = E) -> reference.Reference:
        return self.once(f"genome {self.study(stage, 'genome_path')}", lambda: self.read(stage, "genome_path", reference.Reference))

    def bed(self, stage: str, name: str, what: str, unique: bool = True) -> pd.DataFrame:
        genome = self.genome(E)
        return self.once(f"bed {self.study(stage, name)} {unique}",
                         lambda: self.read(stage, name, lambda path: windows.read_bed(path, genome, what, unique=unique)))

    def loci(self) -> pd.DataFrame:
        return self.bed(E, "loci_path", "locus")

    def genotypes(self, name: str = "vcf_path") -> variants.Genotypes:
        genome, loci = self.genome(), self.loci()
        return self.once(name, lambda: self.read(E, name, lambda path: variants.read_genotypes(path, genome, loci)))

    def cohort_windows(self) -> pd.DataFrame:
        """The windows of the loci, as 01 cuts them."""
        return self.once("cohort windows", self._cohort_windows)

    def _cohort_windows(self) -> pd.DataFrame:
        study, genome, loci = self.study, self.genome(), self.loci()
        with study.reading(E, "window_bp"):
            tiled = windows.tile(loci, study(E, "window_bp"), study(E, "overlap_bp"))
        kept = windows.drop_gaps(tiled, genome)
        if kept.empty:
            study.fault(E, "loci_path", f"{len(loci)} loci, all of them N in the genome", "loci whose sequence is known")
            raise Unknown
        if len(kept) < len(tiled):
            study.notes.append(f"{len(tiled) - len(kept)} of {len(tiled)} windows of the loci are mostly N and left out")
        return kept

    def tiles(self) -> pd.DataFrame:
        """The background windows, as 01 cuts and draws them; of more than `EVERY`, a sample of those it draws from."""
        return self.once("tiles", self._tiles)

    def _tiles(self) -> pd.DataFrame:
        study, genome, window_bp = self.study, self.genome(), self.study(E, "window_bp")
        background = self.bed(E, "background_path", "background region")
        tiled = windows.tile(background, window_bp)
        tiled = windows.outside(tiled[tiled.end - tiled.start == window_bp], self.loci()) if len(tiled) else tiled
        looked_at = windows.drop_gaps(windows.sample_windows(tiled, EVERY, 0), genome, 0.0) if len(tiled) else tiled
        self._kept["share"] = len(tiled) / max(1, min(len(tiled), EVERY))
        if looked_at.empty:
            study.fault(E, "background_path", f"no window of {window_bp} bases without N outside the loci",
                        "regions longer than window_bp that touch no locus", file=study(E, "background_path"))
            raise Unknown
        if most := study(E, "max_background_windows"):
            looked_at = windows.sample_windows(looked_at, most, study(E, "seed"))
        return looked_at

    def haplotypes(self) -> haplotypes.UnitSet:
        """The distinct haplotypes of `COUNTED` windows of the loci."""
        return self.once("haplotypes", self._haplotypes)

    def _haplotypes(self) -> haplotypes.UnitSet:
        some = windows.sample_windows(self.cohort_windows().drop_duplicates(["contig", "start", "end"]), COUNTED, 0)
        return haplotypes.build_units(some, self.genome(), self.genotypes())

    def n_background(self) -> int:
        """Background windows of the whole study, exact up to `EVERY`."""
        n = round(len(self.tiles()) * self._kept["share"])
        return min(n, self.study(E, "max_background_windows") or n)


def check(study: Study, data: Data, model: Adapter | None) -> None:
    """Every check of this module; each goes on where another stopped."""
    checks = [genome, held_out, people, phenotypes, published, second_cohort, *annotation(study), labelled]
    if model is not None:
        checks += [partial(context, model=model), partial(makes_sense, model=model)]
    for one in checks:
        with suppress(Unknown):
            one(study, data)


def genome(study: Study, data: Data) -> None:
    """The files of 01: each is read though another has a fault."""
    for read in (data.genome, data.loci, lambda: data.bed(E, "background_path", "background region"), data.genotypes,
                 data.cohort_windows, data.tiles):
        with suppress(Unknown):
            read()


def held_out(study: Study, data: Data) -> None:
    """Chromosomes to validate, to test and to train on, each with windows of the background."""
    counts = data.tiles().contig.value_counts()
    listed = ", ".join(f"{c} ({n})" for c, n in counts.items())
    for stage in (T, A):
        for name in ("validation_contigs", "test_contigs"):
            with suppress(Unknown):
                for contig in study(stage, name):
                    if contig not in counts:
                        study.fault(stage, name, f"{contig!r}, which has no background window", f"some of {listed}")
    known = {*study(T, "validation_contigs"), *study(T, "test_contigs")}
    training = counts[[c for c in counts.index if c not in known]].sum()
    if not training:
        study.fault(T, "test_contigs", "no chromosome left to train on", f"fewer of {listed}")


def people(study: Study, data: Data) -> None:
    """Folds, tests and components against the number of people."""
    genotypes = data.genotypes()
    n = len(genotypes.samples)
    with suppress(Unknown):
        if study(V, "least_moved") > n:
            study.fault(V, "least_moved", str(study(V, "least_moved")), f"at most the {n} people of the VCF")
    with suppress(Unknown):
        varies = np.nanmax(genotypes.dosage, 1, initial=0) != np.nanmin(genotypes.dosage, 1, initial=2) if n else np.zeros(0)
        of_model.components(study, n, int(varies.sum()))
    with suppress(Unknown):
        if study(H, "people_path"):
            known = data.read(H, "people_path", lambda path: structure.read_people(path, genotypes.samples))
            data.once("people", lambda: known)


def phenotypes(study: Study, data: Data) -> None:
    """Arms and tables of phenotypes, and folds against the smaller class."""
    from lib import hunting

    names = ("arms", "arm_kinds", "effect_scales", "germline_limits", "phenotype_path", "genetic_path", "match_published")
    with suppress(Unknown):
        given = [study(H, name) for name in names]
        if study.has_fault("arms"):
            raise Unknown
        try:
            hunting.check_arms(*given)
        except ValueError as error:
            name = next((n for n in names if str(error).startswith(n)), "arms")
            study.refusal(H, name, str(error))
    genotypes = data.genotypes()
    if study(H, "phenotype_path"):
        y = data.read(H, "phenotype_path", lambda path: cohort.read_phenotype(path, genotypes.samples))
    else:
        y = (np.arange(len(genotypes.samples)) < round(study(H, "case_share") * len(genotypes.samples))).astype(int)
    folds(study, y, data)
    if study(H, "genetic_path"):
        data.read(H, "genetic_path", lambda path: _genetic(path, genotypes.samples))


def _genetic(path: Path, samples: list[str]) -> None:
    """Refuse a table of genetic scores that has no number for somebody."""
    table = cohort.read_rows(path, "genetic")
    number = pd.to_numeric(table.genetic, errors="coerce")
    cohort.refuse_rows(path, table, ~np.isfinite(number), "genetic {genetic!r}, wanted a number")
    cohort.in_order(path, table, samples)


def folds(study: Study, y: np.ndarray, data: Data) -> None:
    """Outer folds, and three inner ones, each with people (and families) of both classes."""
    smallest = int(np.bincount(y, minlength=2).min())
    most, why = smallest, f"the smaller class has {smallest} people"
    known = data._kept.get("people")
    if known is not None and "family" in known and known.family.nunique() < most:
        most, why = known.family.nunique(), f"there are {known.family.nunique()} families"
    inner = smallest - -(-smallest // study(H, "n_folds"))
    if study(H, "n_folds") > most:
        study.fault(H, "n_folds", str(study(H, "n_folds")), f"at most {most}: {why}")
    elif inner < 3:
        study.fault(H, "n_folds", f"{study(H, 'n_folds')}, with {inner} people of the smaller class to train on",
                    "at least 3 of them, for the inner folds: more people, or other folds")


def published(study: Study, data: Data) -> None:
    """Published effects are matched only where genome and cohort have them."""
    if not study(H, "match_published"):
        return
    genotypes, genome = data.genotypes(), data.genome()
    try:
        effects = cohort.match_effects(cohort.ibd_effects(), genotypes, genome)
    except ValueError as error:
        study.fault(H, "match_published", f"true, but {error}", "false, or the genome that the published effects are on (GRCh38)")
        return
    n = int((effects.variant >= 0).sum())
    study.notes.append(f"{n} of {len(effects)} published IBD variants are in this cohort")
    if study(H, "phenotype_path"):
        return
    nod2 = effects[effects.variant >= 0].rsid.isin(cohort.NOD2).any()
    known = data._kept.get("people")
    for kind in set(study(H, "arm_kinds")):
        if kind in ("additive", "nod2") and not n or kind == "nod2" and not nod2:
            study.fault(H, "arm_kinds", repr(kind), "kinds whose published variants are in this cohort: null or structure")
        grouped = known is not None and any(c in known and known[c].nunique() > 1 for c in ("population", "site"))
        if kind == "structure" and not grouped:
            study.fault(H, "arm_kinds", "'structure'", "another kind, or people_path with two populations or more")


def second_cohort(study: Study, data: Data) -> None:
    """Other people, with phenotypes of their own."""
    if not study(E, "external_vcf_path"):
        return
    others = data.genotypes("external_vcf_path")
    with suppress(Unknown):
        if shared := set(others.samples) & set(data.genotypes().samples):
            study.fault(E, "external_vcf_path", f"{len(shared)} of its {len(others.samples)} samples are in vcf_path too",
                        "other people", file=study(E, "external_vcf_path"))
    if study(H, "external_phenotype_path"):
        data.read(H, "external_phenotype_path", lambda path: cohort.read_phenotype(path, others.samples))


def annotation(study: Study) -> list[Callable[[Study, Data], None]]:
    """A check for each annotation file that the study names."""
    readers = {
        "exon_path": _exons,
        "promoter_path": lambda path, genome: windows.read_bed(path, genome, "promoter", unique=False),
        "gwas_path": lambda path, genome: _features().gwas_intervals(path),
    }
    checks = []
    for name, reader in readers.items():
        checks.append(partial(_annotation, name=name, reader=reader))
    return [*checks, _intervals, _clinvar]


def _exons(path: Path, genome: reference.Reference) -> pd.DataFrame:
    """Exons as `features.gene_intervals` reads them, without laying out parts and codons."""
    from lib.annotate import genes

    if path.name.removesuffix(".gz").endswith((".gff3", ".gff")):
        return genes.read_gff3(path, genome)
    bed = windows.read_bed(path, genome, "exon", unique=False)
    named = bed["locus"].str.contains("|exon|", regex=False)
    return genes.from_bed(bed[named]) if named.any() else bed


def _features():
    from lib.annotate import features

    return features


def _annotation(study: Study, data: Data, name: str, reader: Callable) -> None:
    if text := study(A, name):
        genome = data.genome()
        on_genome(study, text, data.read(A, name, lambda path: reader(path, genome)), genome)


def on_genome(study: Study, text: str, table: pd.DataFrame, genome: reference.Reference) -> None:
    """Count the annotation rows off the genome: they are skipped, and no fault."""
    off = int((~table.contig.isin(list(genome.lengths))).sum())
    if off:
        study.notes.append(f"{text}: {off} of {len(table)} intervals are on contigs that the genome lacks, and are skipped")


def _intervals(study: Study, data: Data) -> None:
    from lib.annotate import tracks

    genome = data.genome()
    for text in study(A, "interval_paths"):
        with suppress(Unknown):
            data.read(A, "interval_paths", lambda path: tracks.read(path, genome), text)


def _clinvar(study: Study, data: Data) -> None:
    if study(A, "variant_path"):
        genome, tiles = data.genome(), data.tiles()
        data.read(A, "variant_path", lambda path: _features().clinvar_intervals(path, genome, tiles.iloc[:: 1 + len(tiles) // 100]))


def labelled(study: Study, data: Data) -> None:
    """The variants of 06, and their exons."""
    from lib import variants as effects

    genome = data.genome()
    with suppress(Unknown):
        if study(X, "exon_path"):
            data.bed(X, "exon_path", "exon", unique=False)
    if not study(X, "variants_path"):
        return
    column = study(X, "label_column")
    if column:
        table = data.read(X, "variants_path", lambda path: effects.read_table(path, genome, column))
    else:
        regions = data.bed(X, "loci_path", "locus")
        table = data.read(X, "variants_path", lambda path: effects.read_clinvar(path, genome, regions))
    only = study(X, "test_contigs")
    kept = table[table.contig.isin(only)] if only else table
    study.notes.append(f"06_variants: {(kept.label == 1).sum()} variants of label 1 and {(kept.label == 0).sum()} of label 0"
                       + (f" on {', '.join(only)}" if only else ""))


def looked_at(study: Study, data: Data | None) -> list[str]:
    """Sequences of the length that the model will read: of the loci and the background, or drawn where data are simulated."""
    if data is None:
        rng = np.random.default_rng(0)
        return ["".join(rng.choice(list("ACGT"), study(E, "window_bp"))) for _ in range(SEEN)]
    chosen = []
    for read in (data.cohort_windows, data.tiles):
        with suppress(Unknown):
            chosen.append(windows.sample_windows(read(), TOKENISED, 0))
    if not chosen:
        raise Unknown
    texts = fit.sequences(pd.concat(chosen), data.genome())
    with suppress(Unknown):
        texts += data.haplotypes().sequences[:TOKENISED]  # an insertion makes a window longer
    return texts


def context(study: Study, data: Data | None, model: Adapter) -> None:
    """Windows against the model's context, with the largest that fits."""
    if model.max_tokens is None:
        return
    tokens = fit.n_tokens(model, looked_at(study, data))
    if tokens.max() > model.max_tokens:
        n = int((tokens > model.max_tokens).sum())
        study.fault(E, "window_bp", f"{study(E, 'window_bp')}: {n} of {len(tokens)} windows looked at become more than "
                    f"{model.max_tokens} tokens, the most {tokens.max()}", f"at most {_largest(study, data, model)} bases, the largest that fits")
    with suppress(Unknown):
        _variant_windows(study, data, model)


def _largest(study: Study, data: Data | None, model: Adapter) -> int:
    if data is None:
        return model.max_tokens - int(fit.n_tokens(model, ["A" * 64])[0] - 64 // getattr(model.tokenizer, "k", 1))
    margin = 0.9 if type(model.tokenizer).__name__ == "Tokenizer" else 1.0  # words of many lengths: leave room
    return fit.largest_window(model, data.genome(), data.loci(), min(study(E, "window_bp"), 20_000), margin)


def _variant_windows(study: Study, data: Data | None, model: Adapter) -> None:
    """06 leaves out variants whose window is too long for the model: not most of them."""
    window_bp = study(X, "window_bp")
    if window_bp <= study(E, "window_bp"):
        return
    if data is None:
        texts = ["".join(np.random.default_rng(i).choice(list("ACGT"), window_bp)) for i in range(20)]
    else:
        genome = data.genome()
        loci = data.loci()
        ends = [min(start + window_bp, genome.lengths[contig]) for contig, start in zip(loci.contig, loci.start)]
        texts = fit.sequences(loci.assign(end=ends), genome)
    if np.median(fit.n_tokens(model, texts)) > model.max_tokens:
        study.fault(X, "window_bp", f"{window_bp}: most windows become more than {model.max_tokens} tokens, the most that the model reads",
                    f"at most {_largest(study, data, model)} bases, the largest that fits")


def makes_sense(study: Study, data: Data | None, model: Adapter) -> None:
    """What the tokenizer makes of the records."""
    folder = study(E, "model_path")
    with study.reading(E, "model_path", folder):
        table = sense.token_sense(model, looked_at(study, data)[:: 1 + 3 * TOKENISED // SEEN])
    for row in table[~table.passed].itertuples():
        found = f"{row.found:.3f}" if isinstance(row.found, float) else str(row.found)
        study.fault(E, "model_path", f"{row.finding}: {found}", row.wanted, file=folder)
