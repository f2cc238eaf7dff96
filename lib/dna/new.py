"""Params for a study of your own data that fit it, each choice with its reason beside it.

    python -m lib.dna.new STUDY --model FOLDER --genome FASTA --vcf VCF --loci BED --phenotype TABLE
        [--background BED] [--people TABLE] [--exons BED or GFF3] [--variants VCF with CLNSIG]

Writes params/STUDY/, one file a notebook, and then looks for faults as `python -m lib.check STUDY` does. An option may
also come as an environment variable of its name in capitals, as `make new` gives them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lib.check import model as of_model
from lib.check.study import REFUSALS
from lib.dna import background as drawn
from lib.dna import check, haplotypes, phenotypes, reference, windows
from lib.dna.checks import fit
from lib.dna.genotypes import Genotypes, read_genotypes
from lib.dna.people import read_people, read_phenotype
from lib.models.adapter import Adapter
from lib.stage import io

MOST_BP = 6000  # bases of a window, where the model's context sets no lower limit
MOST_WINDOWS = 8000  # background windows read: about two million tokens, minutes on a CPU
MOST_SITES = 6
PASSES = 10  # times that a dictionary's training reads its tokens
BATCH = 1024
#: architecture, L0 or weight of the L1 term: those of the demo
RUNS = [("topk", 16.0), ("topk", 30.0), ("batchtopk", 16.0), ("jumprelu", 16.0), ("matryoshka", 16.0),
        ("standard", 0.01), ("standard", 0.02), ("gated", 0.01), ("gated", 0.02)]  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What the user has, as params say it (relative to the project, under $DATA_DIR, or absolute); "" for none."""

    model: str
    genome: str
    vcf: str
    loci: str
    phenotype: str
    background: str = ""
    people: str = ""
    exons: str = ""
    variants: str = ""


@dataclass(frozen=True)
class Seen:
    """What the files hold, as far as a choice depends on it. known: people, or None. published: variants in the cohort."""

    model: Adapter
    genome: reference.Reference
    loci: pd.DataFrame
    genotypes: Genotypes
    phenotype: np.ndarray
    known: pd.DataFrame | None
    published: int


Choices = dict[str, tuple[Any, str]]  # name -> value, reason


def new(study: str, given: Given) -> Path:
    """Write params/<study>/ and give it back. Raises ValueError, or FileExistsError for a study that is there."""
    io.check_name("study", study)
    folder = io.ROOT / "params" / study
    if folder.exists():
        raise FileExistsError(f"params/{study} is there already; choose another name, or remove it first")
    seen = look(given)
    partial = folder.with_name(f".{study}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        size, background, text = _windows(study, given, seen, partial)
        for stage, choices in choose(given, seen, background, text, size).items():
            (partial / f"{stage}.yaml").write_text(_yaml(study, choices), encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def look(given: Given) -> Seen:
    """Read the files. Raises ValueError with what is wrong in any of them, a line each."""
    wrong: list[str] = []

    def read(reader, *inputs):
        if any(x is None for x in inputs):
            return None
        try:
            return reader(*inputs)
        except REFUSALS as error:
            wrong.append(" ".join(str(error).strip("'\"").split()))
            return None

    model = read(lambda: of_model.load(io.data_path(given.model)))
    genome = read(lambda: reference.Reference(io.data_path(given.genome)))
    loci = read(lambda genome: windows.read_bed(io.data_path(given.loci), genome), genome)
    genotypes = read(lambda genome, loci: read_genotypes(io.data_path(given.vcf), genome, loci), genome, loci)
    phenotype = read(lambda g: read_phenotype(io.data_path(given.phenotype), g.samples), genotypes)
    known = read(lambda g: read_people(io.data_path(given.people), g.samples), genotypes) if given.people else None
    if wrong:
        raise ValueError("\n".join(wrong))
    try:
        published = int((phenotypes.match_effects(phenotypes.ibd_effects(), genotypes, genome).variant >= 0).sum())
    except ValueError:
        published = 0  # another genome, or a part of one
    return Seen(model, genome, loci, genotypes, phenotype, known, published)


def _windows(study: str, given: Given, seen: Seen, folder: Path) -> tuple[tuple[int, str], pd.DataFrame, str]:
    """Bases per window with the reason, the background's windows, and its path: all of them fit the context."""
    most = MOST_BP
    while True:
        size = window(seen, most)
        background, text = _background(study, given, seen, size[0], folder)
        read = windows.sample_windows(background, MOST_WINDOWS, 0)
        longest = fit.n_tokens(seen.model, fit.sequences(read, seen.genome)).max()
        if seen.model.max_tokens is None or longest <= seen.model.max_tokens:
            return size, background, text
        most = size[0] - max(fit.step(seen.model), size[0] // 20)


def window(seen: Seen, most: int = MOST_BP) -> tuple[int, str]:
    """Bases per window, `most` at most, and why: the largest whose haplotypes all fit the model's context."""
    model, unit = seen.model, fit.step(seen.model)
    most = min(most, max(unit, int((seen.loci.end - seen.loci.start).max())))
    size = fit.largest_window(model, seen.genome, seen.loci, most)
    while size >= unit:
        size -= size % (unit if unit != 10 or size < 1000 else 50)
        tiled = windows.of_loci(seen.loci, seen.genome, size)
        units = haplotypes.build_units(tiled, seen.genome, seen.genotypes)
        tokens = fit.n_tokens(model, units.sequences)
        room = 1.0 if model.tokenizer.fixed_words else 0.95  # for background, whose words may be shorter
        if model.max_tokens is None:
            return size, f"the model has no limit; at most {MOST_BP}, and no longer than the longest locus"
        if tokens.max() <= room * model.max_tokens:
            return size, f"the largest that fits: haplotypes here are up to {tokens.max()} tokens, the model reads {model.max_tokens}"
        size -= max(unit, size // 20)
    raise ValueError(f"no window of {unit} bases or more fits the model's {model.max_tokens} tokens")


def sites(model: Adapter) -> list[str]:
    """Every block's output, or `MOST_SITES` of them at even steps with the last."""
    n = len(model.blocks)
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_SITES)).round().astype(int))
    return [f"resid_post.{k}" for k in chosen]


def split(bp: pd.Series) -> tuple[list[str], list[str]]:
    """Chromosomes for validation and for test, the smallest first: test 20 % of the bases or more, validation 10 %.

    bp: contig -> bases of background. Raises ValueError for fewer than three chromosomes.
    """
    if len(bp) < 3:
        raise ValueError(f"background on {len(bp)} chromosomes ({', '.join(bp.index)}), wanted three or more: to train, "
                         "to validate and to test on")  # fmt: skip
    order = bp.sort_values(kind="stable")
    test, rest = _first(order, 0.2 * bp.sum(), len(order) - 2)
    validation, _ = _first(rest, 0.1 * bp.sum(), len(rest) - 1)
    return list(validation.index), list(test.index)


def _first(order: pd.Series, wanted: float, most: int) -> tuple[pd.Series, pd.Series]:
    """The first contigs that hold the wanted bases, at most so many, and the others."""
    n = min(most, int((order.cumsum() < wanted).sum()) + 1)
    return order.iloc[:n], order.iloc[n:]


def folds(seen: Seen) -> tuple[int, str]:
    """Outer folds over people, and why."""
    smallest = int(np.bincount(seen.phenotype, minlength=2).min())
    n_families = seen.known.family.nunique() if seen.known is not None and "family" in seen.known else smallest
    n = max(2, min(5, smallest // 4, n_families))
    return n, f"{smallest} people in the smaller class" + (f", {n_families} families" if n_families < smallest else "")


def _background(study: str, given: Given, seen: Seen, window_bp: int, folder: Path) -> tuple[pd.DataFrame, str]:
    """Windows of the background, and the path that params give for it."""
    if given.background:
        regions, text = windows.read_bed(io.data_path(given.background), seen.genome, "background region"), given.background
    else:
        regions, text = drawn.draw(seen.genome, seen.loci, window_bp, MOST_WINDOWS, 0), f"params/{study}/background.bed"
        regions.to_csv(folder / "background.bed", sep="\t", header=False, index=False)
        regions = regions.assign(locus="")
    return windows.of_background(regions, seen.loci, seen.genome, window_bp), text


def choose(given: Given, seen: Seen, background: pd.DataFrame, text: str, size: tuple[int, str]) -> dict[str, Choices]:
    """Every value that is not the notebook's default, stage by stage, with its reason ("" where it is given)."""
    window_bp, stored = size[0], sites(seen.model)
    validation, test = split(background.groupby("contig").size() * window_bp)
    held_out: Choices = {
        "validation_contigs": (validation, "the next smallest, with a tenth of the background's bases"),
        "test_contigs": (test, "the smallest chromosomes that together hold a fifth of the background's bases"),
    }
    model: Choices = {"model_path": (given.model, "")}
    genome: Choices = {"genome_path": (given.genome, "")}
    return {
        "01_extraction": _extraction(given, text, stored, background, size),
        "02_layer_hunting": _hunting(given, seen) | genome | model,
        "03_sae_training": model | held_out | _training(seen, stored, background, test + validation, window_bp),
        "04_annotation": model | genome | held_out | _annotation(given),
        "05_validation": _validation(seen),
        "06_explanations": model | _explanations(stored, window_bp),
        "07_replication": model,
        "08_dna": model | genome | _variants(given, test, size),
        "09_paper_figures": {"data_label": (f"model {Path(given.model).name}", "said on every figure; add what your data are")},
    }


def _extraction(given: Given, background: str, stored: list[str], tiles: pd.DataFrame, size: tuple[int, str]) -> Choices:
    n = len(tiles)
    few = n <= MOST_WINDOWS
    return {
        "simulate": (False, "your own data"),
        "genome_path": (given.genome, ""),
        "vcf_path": (given.vcf, ""),
        "external_vcf_path": ("", "no second cohort"),
        "loci_path": (given.loci, ""),
        "background_path": (background, "" if given.background else "drawn from the genome: without N, outside the loci, the same from every chromosome"),
        "model_path": (given.model, ""),
        "sites": (stored, "the output of every block" if len(stored) < MOST_SITES else "outputs of blocks at even steps, the last among them"),
        "window_bp": size,
        "overlap_bp": (0, "windows tile the loci"),
        "max_background_windows": (0 if few else MOST_WINDOWS, f"all {n}" if few else f"of {n}: about two million tokens are enough to train on"),
        "token_budget": (8192, "tokens a batch, for a few GB of memory"),
    }


def _hunting(given: Given, seen: Seen) -> Choices:
    n_people, n_folds = len(seen.genotypes.samples), folds(seen)
    varies = int((np.nan_to_num(seen.genotypes.dosage).std(1) > 0).sum())
    components = max(1, min(10, varies - 1, n_people // 2 - 1))
    name = Path(given.phenotype).name.split(".")[0]
    return {
        "phenotype_path": (given.phenotype, ""),
        "genetic_path": ("", "the true genetic score is not known"),
        "people_path": (given.people, "" if given.people else "nothing is known of families and populations"),
        "external_phenotype_path": ("", "no second cohort"),
        "arms": ([name], "the phenotype's name in tables and figures: its file's"),
        "arm_kinds": (["additive"], "not used: the phenotype is real"),
        "effect_scales": ([1.0], "not used: the phenotype is real"),
        "germline_limits": ([0.8], "above what germline scores reach as published, 0.75 for Crohn's disease and 0.70 for colitis, by 0.05: more is suspect"),
        "match_published": (seen.published > 0, f"{seen.published} published IBD variants are in this cohort on this genome"),
        "vcf_path": (given.vcf, ""),
        "loci_path": (given.loci, ""),
        "token_budget": (8192, "as in 01_extraction"),
        "n_folds": n_folds,
        "n_components": (components, f"{n_people} people, {varies} variants that vary"),
    }


def _training(seen: Seen, stored: list[str], tiles: pd.DataFrame, held_out: list[str], window_bp: int) -> Choices:
    import torch

    some = windows.sample_windows(tiles, 200, 0)
    per_window = float(fit.n_tokens(seen.model, fit.sequences(some, seen.genome)).mean())
    share = float((~tiles.contig.isin(held_out)).mean())
    tokens = int(min(len(tiles), MOST_WINDOWS) * share * per_window)
    expansion = 8 if tokens >= 500_000 else 4
    batch = min(BATCH, max(16, tokens // 4))
    steps = int(np.clip(round(PASSES * tokens / batch, -2), 300, 2500))
    cuda = torch.cuda.is_available()
    return {
        "sae_site": (stored[-2] if len(stored) > 1 else stored[-1], "the last stored site before the one that feeds the output"),
        "layer_sites": (stored, "all that are stored"),
        "run_architectures": ([kind for kind, _ in RUNS], "every architecture once or twice, as in the demo"),
        "run_expansions": ([expansion] * len(RUNS), f"d_sae {expansion * seen.model.d_model} for {tokens:,} training tokens"),
        "run_sparsities": ([value for _, value in RUNS], "L0 for the first five, weight of the L1 term for the others"),
        "steps": (steps, f"about {steps * batch / max(tokens, 1):.0f} passes over {tokens:,} tokens"),
        "batch": (batch, "tokens a step"),
        "lr": (0.004, "for trainings of a few thousand steps"),
        "device": ("cuda" if cuda else "cpu", "what torch has on this machine"),
        "bf16": (cuda, "for GPUs"),
    }


def _annotation(given: Given) -> Choices:
    nothing = "none given"
    return {
        "truth_path": ("", "nothing is planted in real data"),
        "exon_path": (given.exons, "" if given.exons else nothing),
        "promoter_path": ("", nothing),
        "variant_path": (given.variants, "" if given.variants else nothing),
        "gwas_path": ("", nothing),
    }


def _validation(seen: Seen) -> Choices:
    n_people = len(seen.genotypes.samples)
    return {
        "truth_variants_path": ("", "nothing is planted in real data"),
        "external_phenotype_path": ("", "no second cohort"),
        "least_moved": (min(21, max(2, n_people // 5)), f"of {n_people} people; counts below 21 are not published"),
    }


def _explanations(stored: list[str], window_bp: int) -> Choices:
    long = window_bp > 300
    less = {
        "n_patch_units": (40, "windows here are long"),
        "n_steer_units": (4, "windows here are long"),
        "n_sequences": (24, "windows here are long"),
        "n_checked": (8, "of these"),
        "ism_span": (48, f"of {window_bp} bases: all would take {window_bp // 48} times as long"),
    }
    return {
        "truth_path": ("", "nothing is planted in real data"),
        "patch_site": (stored[-1], "the last stored site, not before the dictionary's"),
        **(less if long else {"ism_span": (window_bp, "the whole window")}),
    }


def _variants(given: Given, test: list[str], size: tuple[int, str]) -> Choices:
    return {
        "variants_path": (given.variants, "" if given.variants else "no labelled variants given"),
        "label_column": ("", "a VCF has no label column: CLNSIG is the label"),
        "truth_path": ("", "nothing is planted in real data"),
        "test_contigs": (test if given.variants else [], "those that the dictionary never saw" if given.variants else "no labelled variants given"),
        "loci_path": (given.loci, ""),
        "exon_path": (given.exons, "" if given.exons else "none given"),
        "window_bp": (size[0], "as in 01_extraction"),
    }


def _yaml(study: str, choices: Choices) -> str:
    """A params file: a line each, with its reason as a comment."""
    lines = [f"# {study}: written by rule from the files that it names; change what you like, then check again"]
    for name, (value, reason) in choices.items():
        line = f"{name}: {_scalar(value)}"
        lines.append(f"{line}   # {reason}" if reason else line)
    return "\n".join([*lines, "seed: 0", ""])


def _scalar(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return '""' if value == "" else text.removesuffix("...\n").strip()


def _as_param(text: str) -> str:
    """A path as params say it: relative to the project, under $DATA_DIR, or absolute."""
    if not text or text.startswith("$DATA_DIR"):
        return text
    path = Path(text).absolute()
    if not path.exists() and (io.ROOT / text).exists():
        path = io.ROOT / text
    if path.is_relative_to(io.ROOT):
        return path.relative_to(io.ROOT).as_posix()
    if path.is_relative_to(io.data_folder()):
        return "$DATA_DIR/" + path.relative_to(io.data_folder()).as_posix()
    return str(path)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written and nothing wrong, 1 written with faults to repair, 2 nothing written."""
    parser = argparse.ArgumentParser(prog="python -m lib.dna.new", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default=os.environ.get("STUDY"), help="name of the new folder in params/")
    for field in fields(Given):
        parser.add_argument(f"--{field.name}", default=os.environ.get(field.name.upper(), ""))
    chosen = parser.parse_args(arguments)
    absent = [n.upper() for n in ("study", "model", "genome", "vcf", "loci", "phenotype") if not getattr(chosen, n)]
    if absent:
        parser.error(f"give {', '.join(absent)}")
    given = Given(**{field.name: _as_param(getattr(chosen, field.name)) for field in fields(Given)})
    try:
        folder = new(chosen.study, given)
    except (ValueError, OSError) as error:
        print(f"refused, nothing was written:\n{error}", file=sys.stderr)
        return 2
    print(f"wrote {folder.relative_to(io.ROOT)}: read the reasons beside its values, then run `make study STUDY={chosen.study}`")
    return check.main([chosen.study])


if __name__ == "__main__":
    sys.exit(main())
