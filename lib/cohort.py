"""Phenotypes: read from a table, or simulated from genotypes and effect sizes; and folds over people."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from lib.genome.reference import Reference
from lib.genome.variants import Genotypes


def read_phenotype(path: str | Path, samples: list[str]) -> np.ndarray:
    """Phenotype 0 or 1 of each VCF sample, in the VCF's order: [n_sample] int.

    The table has columns sample and phenotype, separated by tabs or commas (others are ignored).
    Raises FileNotFoundError, or ValueError naming the file and the line or sample for: a missing column,
    a value other than 0 or 1, one value for everybody, a repeated sample, a sample that the VCF lacks,
    and a VCF sample without a row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open() as handle:
        separator = "\t" if "\t" in handle.readline() else ","
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=False)
    lacking = {"sample", "phenotype"} - set(table.columns)
    if lacking:
        raise ValueError(f"{path}: no column {sorted(lacking)}; found {list(table.columns)}")
    line = pd.Series(np.arange(len(table)) + 2, index=table.index)
    _refuse(path, table, line, ~table.phenotype.isin(["0", "1"]), "phenotype {phenotype!r}, wanted 0 or 1")
    _refuse(path, table, line, table["sample"].duplicated(), "sample {sample!r} a second time")
    _refuse(path, table, line, ~table["sample"].isin(samples), "sample {sample!r} is not in the VCF")
    given = set(table["sample"])
    absent = [name for name in samples if name not in given]
    if absent:
        raise ValueError(f"{path}: no row for {len(absent)} VCF samples: {', '.join(absent[:10])}")
    phenotype = table.set_index("sample").phenotype.loc[samples].to_numpy().astype(int)
    if len(np.unique(phenotype)) < 2:
        raise ValueError(f"{path}: phenotype is {phenotype[0]} for every sample, wanted both 0 and 1")
    return phenotype


def _refuse(path: Path, table: pd.DataFrame, line: pd.Series, wrong: pd.Series, message: str) -> None:
    if wrong.any():
        row = table[wrong].iloc[0]
        person = "" if "{sample" in message else f", sample {row['sample']!r}"
        raise ValueError(f"{path}, line {line[wrong].iloc[0]}{person}: {message.format(**row)}")


def simulate_phenotype(dosage: np.ndarray, beta: np.ndarray, case_share: float, seed: int) -> pd.DataFrame:
    """A simulated phenotype on the log-odds scale, so that regression finds `beta` again.

    genetic = Σ beta (dosage − mean dosage); liability = genetic + logistic noise (sd π/√3). Cases are the
    `case_share` with the highest liability. For a person, P(case) = 1 / (1 + exp(t − genetic)), with t the
    liability where the cases begin: a threshold of this cohort, not a population prevalence.

    dosage: [n_variant, n_sample], copies of ALT, nan where missing (read as the mean). beta: [n_variant],
    log odds ratio per copy. Returns one row per sample: phenotype (0, 1), genetic, liability (log odds).
    Raises ValueError when shapes differ or case_share leaves no case or no control.
    """
    dosage, beta = np.asarray(dosage, dtype=float), np.asarray(beta, dtype=float)
    if dosage.ndim != 2 or beta.shape != dosage.shape[:1]:
        raise ValueError(f"dosage {dosage.shape} and beta {beta.shape}: wanted [variant, sample], [variant]")
    n_people = dosage.shape[1]
    n_cases = round(case_share * n_people)
    if not 0 < n_cases < n_people:
        raise ValueError(f"case_share {case_share} of {n_people} people gives {n_cases} cases")
    called = ~np.isnan(dosage)
    mean = np.where(called, dosage, 0).sum(1) / np.maximum(called.sum(1), 1)
    genetic = beta @ np.where(called, dosage - mean[:, None], 0)
    liability = genetic + np.random.default_rng(seed).logistic(size=n_people)
    phenotype = np.zeros(n_people, dtype=int)
    phenotype[np.argsort(-liability, kind="stable")[:n_cases]] = 1
    return pd.DataFrame({"phenotype": phenotype, "genetic": genetic, "liability": liability})


def ibd_effects() -> pd.DataFrame:
    """Published effects of 43 IBD variants on GRCh38: one row per variant, its first listed odds ratio.

    rsid, gene, contig, pos (1-based), risk (the allele that the odds ratio is of; at rs141992399 it
    protects, at 0.29), other ("" where not listed), raf (frequency of `risk`, nan if unknown), odds_ratio
    per copy, trait (IBD, CD Crohn's disease, UC ulcerative colitis), source. The intron tag rs2076756 is
    left out, since it tags the three NOD2 alleles that are in.
    Source: GWAS Catalog e90 (2017-11-27), and the papers in the `source` column.
    """
    return pd.read_csv(files("lib") / "ibd_effects.csv", dtype={"other": str}).fillna({"other": ""})


def match_effects(effects: pd.DataFrame, genotypes: Genotypes, reference: Reference) -> pd.DataFrame:
    """The published effects on this cohort's variants, by position and alleles; strands are never flipped.

    Returns `effects` with three more columns: variant (row of genotypes.variants, or -1), beta_alt (log
    odds ratio per ALT copy: log(odds_ratio) when ALT is the risk allele, its negative when REF is; nan if
    absent) and status, "present" or "absent".
    Raises ValueError, naming the variant, when the reference has neither of its two alleles.
    """
    at = genotypes.variants.groupby(["contig", "pos"]).indices
    rows, betas = [], []
    for effect in effects.itertuples(index=False):
        _check_allele(effect, reference)
        row, beta = -1, np.nan
        for candidate in at.get((effect.contig, effect.pos - 1), []):
            ref, alt = genotypes.variants.ref.iat[candidate], genotypes.variants.alt.iat[candidate]
            if effect.risk == alt and effect.other in ("", ref):
                row, beta = candidate, np.log(effect.odds_ratio)
            elif effect.risk == ref and effect.other in ("", alt):
                row, beta = candidate, -np.log(effect.odds_ratio)
        rows.append(row)
        betas.append(beta)
    status = np.where(np.array(rows) >= 0, "present", "absent")
    return effects.assign(variant=rows, beta_alt=betas, status=status)


def _check_allele(effect, reference: Reference) -> None:
    """Refuse a table whose alleles are not on this genome. Where the genome is N, or one is unlisted: no check."""
    where = f"{effect.rsid} at {effect.contig}:{effect.pos}"
    reference.check_contig(effect.contig, where)
    alleles = [allele for allele in (effect.risk, effect.other) if allele]
    start = effect.pos - 1
    bases = [reference.fetch(effect.contig, start, start + len(allele)) for allele in alleles]
    if len(alleles) == 2 and "N" not in "".join(bases) and not any(map(str.__eq__, alleles, bases)):
        raise ValueError(f"{where}: {reference.path} has {bases[1]}, wanted {effect.risk} or {effect.other}")


def stratified_folds(y: np.ndarray, groups: np.ndarray | None, n_folds: int, seed: int) -> np.ndarray:
    """Fold number of each person, [n_sample] int: cases spread evenly, and a group (family, site) never split.

    Raises ValueError when a class, or the groups, are fewer than the folds.
    Source: scikit-learn StratifiedGroupKFold; StratifiedKFold without groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    y = np.asarray(y)
    smallest = np.unique(y, return_counts=True)[1].min()
    n_groups = len(y) if groups is None else len(np.unique(groups))
    if min(smallest, n_groups) < n_folds:
        raise ValueError(f"{n_folds} folds from {n_groups} groups and a smallest class of {smallest} people")
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    fold = np.empty(len(y), dtype=int)
    splits = splitter(n_folds, shuffle=True, random_state=seed).split(np.zeros((len(y), 1)), y, groups)
    for number, (_, held_out) in enumerate(splits):
        fold[held_out] = number
    return fold
