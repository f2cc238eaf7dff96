"""Simulated phenotypes with a known answer, from published effects."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from lib.dna.genotypes import Genotypes
from lib.dna.reference import Reference
from lib.outcome.null import highest


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
    return _affected(beta @ _centred(dosage), case_share, seed)


def _centred(dosage: np.ndarray) -> np.ndarray:
    """Each row minus its mean over the people called; nan becomes 0, the mean. [..., person] -> the same."""
    called = ~np.isnan(dosage)
    mean = np.where(called, dosage, 0).sum(-1, keepdims=True) / np.maximum(called.sum(-1, keepdims=True), 1)
    return np.where(called, dosage - mean, 0)


def _affected(
    genetic: np.ndarray, case_share: float, seed: int, shift: np.ndarray | float = 0
) -> pd.DataFrame:
    """The `case_share` of highest liability = genetic + shift + logistic noise, all log odds. genetic: [person]."""
    liability = genetic + shift + np.random.default_rng(seed).logistic(size=len(genetic))
    return pd.DataFrame({"phenotype": highest(liability, case_share), "genetic": genetic, "liability": liability})


ARMS = ("additive", "nod2", "structure", "null")
NOD2 = ("rs2066844", "rs2066845", "rs2066847")  # R702W, G908R, L1007fs
NOD2_ODDS = np.array([1, 2.4, 6.7, 9.0])  # no risk allele, heterozygote, homozygote, compound heterozygote


def simulate_arm(
    dosage: np.ndarray,
    effects: pd.DataFrame,
    kind: str,
    scale: float,
    case_share: float,
    seed: int,
    groups: np.ndarray | None = None,
) -> pd.DataFrame:
    """A simulated phenotype with a known answer, one of four arms.

    additive   scale * beta_alt per copy of ALT: see `simulate_phenotype`.
    nod2       the same, but the three NOD2 alleles are read together: scale * log odds ratio of 2.4 for a
               heterozygote, 6.7 for a homozygote, 9.0 with two different alleles.
    structure  no genetic effect (genetic is 0): scale * log odds from -1 to 1, evenly over the sorted groups,
               so that prevalence follows ancestry. What a leak alarm has to find.
    null       no effect at all; every finding must vanish.

    dosage: [variant, person], copies of ALT, nan where missing (read as the mean). effects: rsid, variant (row of
    dosage; rows with -1 are left out) and beta_alt (log odds ratio per copy of ALT), as from `match_effects`.
    groups: [person], a label each, such as population; for "structure" only. Returns one row per person: phenotype
    (0, 1; the `case_share` of highest liability), genetic and liability (log odds).
    Raises ValueError for an unknown kind, "nod2" when none of the three alleles is in the cohort, "structure" without
    two groups or without a group for each person, and what `simulate_phenotype` refuses.
    Source of the NOD2 odds ratios: Yazdanyar 2009.
    """
    if kind not in ARMS:
        raise ValueError(f"unknown kind {kind!r}, wanted one of {', '.join(ARMS)}")
    dosage = np.asarray(dosage, dtype=float)
    if kind == "structure":
        shift = scale * _group_shift(groups, dosage.shape[1])
        return _affected(np.zeros(len(shift)), case_share, seed, shift)
    present = effects[effects.variant >= 0]
    if kind == "nod2":
        return _simulate_nod2(dosage, present, scale, case_share, seed)
    beta = scale * present.beta_alt.to_numpy() if kind == "additive" else np.zeros(len(present))
    return simulate_phenotype(dosage[present.variant], beta, case_share, seed)


def _group_shift(groups: np.ndarray | None, n_people: int) -> np.ndarray:
    """-1 for the first of the sorted groups, 1 for the last, evenly between: [person]."""
    n_given = 0 if groups is None else len(groups)
    names, number = np.unique([] if groups is None else groups, return_inverse=True)
    if n_given != n_people or len(names) < 2:
        raise ValueError(f"{n_given} people in {len(names)} groups, wanted {n_people} people in two or more")
    return np.linspace(-1, 1, len(names))[number]


def _simulate_nod2(
    dosage: np.ndarray, present: pd.DataFrame, scale: float, case_share: float, seed: int
) -> pd.DataFrame:
    in_nod2 = present.rsid.isin(NOD2)
    if not in_nod2.any():
        raise ValueError(f"none of the NOD2 alleles {', '.join(NOD2)} is in the cohort")
    three, others = present[in_nod2], present[~in_nod2]
    copies = dosage[three.variant]
    copies = np.where(three.beta_alt.to_numpy()[:, None] > 0, copies, 2 - copies)  # copies of the risk allele
    state = np.where((copies > 0).sum(0) > 1, 3, np.nan_to_num(copies).max(0).astype(int))
    nod2 = np.where(np.isnan(copies).any(0), np.nan, np.log(NOD2_ODDS[state]))
    additive = others.beta_alt.to_numpy() @ _centred(dosage[others.variant])
    return _affected(scale * (additive + _centred(nod2)), case_share, seed)


def ibd_effects() -> pd.DataFrame:
    """Published effects of 43 IBD variants on GRCh38: one row per variant, its first listed odds ratio.

    rsid, gene, contig, pos (1-based), risk (the allele that the odds ratio is of; at rs141992399 it
    protects, at 0.29), other ("" where not listed), raf (frequency of `risk`, nan if unknown), odds_ratio
    per copy, trait (IBD, CD Crohn's disease, UC ulcerative colitis), source. The intron tag rs2076756 is
    left out, since it tags the three NOD2 alleles that are in.
    Source: GWAS Catalog e90 (2017-11-27), and the papers in the `source` column.
    """
    return pd.read_csv(files("lib.dna") / "ibd_effects.csv", dtype={"other": str}).fillna({"other": ""})


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


#: What pandas reads as a missing value: no name of an arm.
MISSING = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>", "#N/A", "-NaN", "-nan"}


def check_arms(
    arms: list[str],
    arm_kinds: list[str],
    effect_scales: list[float],
    germline_limits: list[float],
    phenotype_path: str,
    genetic_path: str,
    match_published: bool,
    null_arms: Sequence[str] = (),
) -> None:
    """Refuse parameters of phenotype arms that contradict each other, with a ValueError naming parameter and want."""
    for name, values in (
        ("arm_kinds", arm_kinds),
        ("effect_scales", effect_scales),
        ("germline_limits", germline_limits),
    ):
        if len(values) != len(arms):
            raise ValueError(
                f"{name} has {len(values)} values, wanted {len(arms)}, one for each of arms {arms}"
            )
    if broken := [arm for arm in arms if "/" in arm or arm in MISSING]:
        raise ValueError(f"arms has {broken[0]!r}, wanted names without '/' that no table reads as a missing value")
    if clash := [arm for arm in null_arms if arm in arms or "/" in arm or arm in MISSING]:
        raise ValueError(f"null_arms has {clash[0]!r}, wanted other names than those of arms, without '/', that no table reads as missing")
    if null_arms and not phenotype_path:
        raise ValueError(f"null_arms are {list(null_arms)} with phenotype_path '', wanted a table with a column of each")
    if not phenotype_path and not match_published:
        raise ValueError(
            "phenotype_path is '' with match_published false, wanted a table of phenotypes, or match_published true: "
            "effects are then simulated from published ones"
        )
    for arm, kind, limit in zip(arms, arm_kinds, germline_limits):
        scored = genetic_path if phenotype_path else kind in ("additive", "nod2")
        if not limit and not scored:
            raise ValueError(
                f"germline_limits has 0 for {arm!r}, which has no true genetic score: wanted an AUROC"
            )
