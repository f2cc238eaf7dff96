"""Values that fit a user's files, each with its reason: windows, sites, split, dictionaries, folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.check.study import EXPLAINED, RULE, SECOND, A, E, H, T
from lib.dna import haplotypes, windows
from lib.dna.checks import fit
from lib.dna.checks.agreement import D, X
from lib.dna.given import Given, Seen
from lib.models.adapter import Adapter

MOST_BP = 6000  # bases of a window, where the model's context sets no lower limit
MOST_WINDOWS = 8000  # background windows read: about two million tokens, minutes on a CPU
MOST_SITES = 6
PASSES = 10  # times that a dictionary's training reads its tokens
BATCH = 1024
#: architecture, L0 or weight of the L1 term: those of the demo
RUNS = [("topk", 16.0), ("topk", 30.0), ("batchtopk", 16.0), ("jumprelu", 16.0), ("matryoshka", 16.0),
        ("standard", 0.01), ("standard", 0.02), ("gated", 0.01), ("gated", 0.02)]  # fmt: skip

Choices = dict[str, tuple[Any, str]]  # name -> value, reason


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


def choose(given: Given, seen: Seen, background: pd.DataFrame, text: str, size: tuple[int, str]) -> dict[str, Choices]:
    """Every value that is not the notebook's default, stage by stage, with its reason ("" where it is given)."""
    window_bp, stored = size[0], sites(seen.model)
    validation, test = split(background.groupby("contig").size() * window_bp)
    held_out: Choices = {
        "validation_contigs": (validation, "the next smallest, with a tenth of the background's bases"),
        "test_contigs": (test, "the smallest chromosomes that together hold a fifth of the background's bases"),
    }
    tokens: Choices = {"token_budget": (8192, "tokens a batch, for a few GB of memory")}
    every = "the output of every block"
    chosen = [
        (D, _files(given, text, background, size) | held_out | _people(given, seen) | _annotation(given)),
        (E, {"sites": (stored, every if len(stored) < MOST_SITES else "outputs of blocks at even steps, the last among them")} | tokens),
        (H, tokens | {"n_folds": folds(seen)}),
        (T, _training(seen, stored, background, test + validation, window_bp)),
        (A, {}),
        (RULE, _rule(seen)),
        (EXPLAINED, _explanations(stored, window_bp)),
        (SECOND, {}),
        (X, _variants(given)),
        ("09_paper_figures", {"data_label": (f"model {Path(given.model).name}", "said on every figure; add what your data are")}),
    ]
    by_stage: dict[str, Choices] = {}
    for stage, choices in chosen:
        by_stage[stage] = by_stage.get(stage, {}) | choices
    return by_stage


def _files(given: Given, background: str, tiles: pd.DataFrame, size: tuple[int, str]) -> Choices:
    n = len(tiles)
    few, drawn = n <= MOST_WINDOWS, "drawn from the genome: without N, outside the loci, the same from every chromosome"
    return {
        "model_path": (given.model, ""),
        "simulate": (False, "your own data"),
        "genome_path": (given.genome, ""),
        "loci_path": (given.loci, ""),
        "background_path": (background, "" if given.background else drawn),
        "vcf_path": (given.vcf, ""),
        "external_vcf_path": ("", "no second cohort"),
        "window_bp": size,
        "overlap_bp": (0, "windows tile the loci"),
        "pooled_over": ("locus", "a locus has an effect of its own"),
        "max_background_windows": (0, f"all {n}") if few else (MOST_WINDOWS, f"of {n}: about two million tokens are enough to train on"),
    }


def _people(given: Given, seen: Seen) -> Choices:
    n_people = len(seen.genotypes.samples)
    varies = int((np.nan_to_num(seen.genotypes.dosage).std(1) > 0).sum())
    components = max(1, min(10, varies - 1, n_people // 2 - 1))
    name = Path(given.phenotype).name.split(".")[0]
    suspect = "above what germline scores reach as published, 0.75 for Crohn's disease and 0.70 for colitis, by 0.05: more is suspect"
    return {
        "phenotype_path": (given.phenotype, ""),
        "external_phenotype_path": ("", "no second cohort"),
        "genetic_path": ("", "the true genetic score is not known"),
        "people_path": (given.people, "" if given.people else "nothing is known of families and populations"),
        "arms": ([name], "the phenotype's name in tables and figures: its file's"),
        "arm_kinds": (["additive"], "not used: the phenotype is real"),
        "effect_scales": ([1.0], "not used: the phenotype is real"),
        "germline_limits": ([0.8], suspect),
        "null_arms": ([], "no column of a phenotype that nothing named causes"),
        "match_published": (seen.published > 0, f"{seen.published} published IBD variants are in this cohort on this genome"),
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
        "long_steps": (2 * steps, "twice that for the run that is read"),
        "sweep_seeds": (1, "which latents come again is asked of the chosen run"),
        "n_seeds": (3, "to see which latents come again"),
        "batch": (batch, "tokens a step"),
        "lr": (0.004, "for trainings of a few thousand steps"),
        "device": ("cuda" if cuda else "cpu", "what torch has on this machine"),
        "bf16": (cuda, "for GPUs"),
    }


def _annotation(given: Given) -> Choices:
    nothing, planted = "none given", "nothing is planted in real data"
    return {
        "exon_path": (given.exons, "" if given.exons else nothing),
        "promoter_path": ("", nothing),
        "variant_path": (given.variants, "" if given.variants else nothing),
        "label_column": ("", "a VCF has no label column: CLNSIG is the label"),
        "gwas_path": ("", nothing),
        "truth_path": ("", planted),
        "truth_variants_path": ("", planted),
    }


def _rule(seen: Seen) -> Choices:
    n_people = len(seen.genotypes.samples)
    return {"least_moved": (min(21, max(2, n_people // 5)), f"of {n_people} people; counts below 21 are not published")}


def _explanations(stored: list[str], window_bp: int) -> Choices:
    less = {
        "n_patch_units": (40, "windows here are long"),
        "n_steer_units": (4, "windows here are long"),
        "n_sequences": (24, "windows here are long"),
        "n_checked": (8, "of these"),
        "ism_span": (48, f"of {window_bp} bases: all would take {window_bp // 48} times as long"),
    }
    return {
        "patch_site": (stored[-1], "the last stored site, not before the dictionary's"),
        **(less if window_bp > 300 else {"ism_span": (window_bp, "the whole window")}),
    }


def _variants(given: Given) -> Choices:
    split = bool(given.variants and given.exons)
    return {
        "held_out_only": (bool(given.variants), "those that the dictionary never saw" if given.variants else "no labelled variants given"),
        "split_exons": (split, "by your exons" if split else "exons or variants are not given"),
    }
