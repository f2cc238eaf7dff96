"""A cohort before it is run: people, phenotypes, folds, published effects and the second cohort."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd

from lib.check.study import RULE, H, Study, Unknown
from lib.dna import people as of_people
from lib.dna import phenotypes as of_arms
from lib.dna.checks.agreement import D
from lib.dna.checks.data import Data
from lib.dna.door import column


def people(study: Study, data: Data) -> None:
    """Folds, tests and components against the number of people."""
    genotypes = data.genotypes()
    n = len(genotypes.samples)
    with suppress(Unknown):
        if study(RULE, "least_moved") > n:
            study.fault(RULE, "least_moved", str(study(RULE, "least_moved")), f"at most the {n} people of the VCF")
    with suppress(Unknown):
        varies = np.nanmax(genotypes.dosage, 1, initial=0) != np.nanmin(genotypes.dosage, 1, initial=2) if n else np.zeros(0)
        if varies.sum() < 2:
            study.fault(D, "vcf_path", f"{len(varies)} variants passed their filters in the regions of loci_path, {varies.sum()} of "
                        "which differ between people", "at least 2 that differ: other files, or other loci", file=study(D, "vcf_path"))
            raise Unknown
        components(study, n, int(varies.sum()))
    data.people()


def components(study: Study, n_people: int, n_varying: int) -> None:
    """Components are fitted on the people of a training fold."""
    training = n_people - -(-n_people // study(H, "n_folds"))
    most = min(training, n_varying) - 1
    if study(D, "n_components") > most:
        study.fault(D, "n_components", str(study(D, "n_components")),
                    f"at most {most}: {training} people in a training fold, {n_varying} variants vary")


def phenotypes(study: Study, data: Data) -> None:
    """Arms and tables of phenotypes, and folds against the smaller class."""

    names = ("arms", "arm_kinds", "effect_scales", "germline_limits", "phenotype_path", "genetic_path", "match_published",
             "null_arms")
    with suppress(Unknown):
        given = [study(D, name) for name in names]
        if study.has_fault("arms"):
            raise Unknown
        try:
            of_arms.check_arms(*given)
        except ValueError as error:
            name = next((n for n in names if str(error).startswith(n)), "arms")
            study.refusal(D, name, str(error))
    genotypes = data.genotypes()
    if study(D, "phenotype_path"):
        for name in _columns(study, "phenotype").values():
            y = data.read(D, "phenotype_path", lambda path, name=name: of_people.read_phenotype(path, genotypes.samples, name))
    else:
        y = (np.arange(len(genotypes.samples)) < round(study(D, "case_share") * len(genotypes.samples))).astype(int)
    folds(study, y, data)
    if study(D, "genetic_path"):
        for name in _columns(study, "genetic").values():
            data.read(D, "genetic_path", lambda path, name=name: of_people.read_genetic(path, genotypes.samples, name))


def _columns(study: Study, alone: str) -> dict[str, str]:
    """Arm -> its column in a table: `alone`, where there is one arm."""
    arms = study(D, "arms")
    return {arm: column(arms, arm, alone) for arm in arms}


def folds(study: Study, y: np.ndarray, data: Data) -> None:
    """Outer folds, and three inner ones, each with people (and families) of both classes."""
    smallest = int(np.bincount(y, minlength=2).min())
    most, why = smallest, f"the smaller class has {smallest} people"
    known = _known(data)
    if known is not None and "family" in known and known.family.nunique() < most:
        most, why = known.family.nunique(), f"there are {known.family.nunique()} families"
    if known is not None and "family" in known:
        for label, name in ((1, "cases"), (0, "controls")):
            if known.family[y == label].nunique() == 1:
                study.fault(D, "people_path", f"all {name} in one family", "two families of each class or more, to resample",
                            file=study(D, "people_path"))
    inner = smallest - -(-smallest // study(H, "n_folds"))
    if study(H, "n_folds") > most:
        study.fault(H, "n_folds", str(study(H, "n_folds")), f"at most {most}: {why}")
    elif inner < 3:
        study.fault(H, "n_folds", f"{study(H, 'n_folds')}, with {inner} people of the smaller class to train on",
                    "at least 3 of them, for the inner folds: more people, or other folds")


def _known(data: Data) -> pd.DataFrame | None:
    """The people's table, None where there is none or it has a fault, which is said already."""
    with suppress(Unknown):
        return data.people()
    return None


def published(study: Study, data: Data) -> None:
    """Published effects are matched only where genome and cohort have them."""
    if not study(D, "match_published"):
        return
    genotypes, genome = data.genotypes(), data.genome()
    try:
        effects = of_arms.match_effects(of_arms.ibd_effects(), genotypes, genome)
    except ValueError as error:
        study.fault(D, "match_published", f"true, but {error}", "false, or the genome that the published effects are on (GRCh38)")
        return
    n = int((effects.variant >= 0).sum())
    study.notes.append(f"{n} of {len(effects)} published IBD variants are in this cohort")
    if study(D, "phenotype_path"):
        return
    nod2 = effects[effects.variant >= 0].rsid.isin(of_arms.NOD2).any()
    known = _known(data)
    for kind in set(study(D, "arm_kinds")):
        if kind in ("additive", "nod2") and not n or kind == "nod2" and not nod2:
            study.fault(D, "arm_kinds", repr(kind), "kinds whose published variants are in this cohort: null or structure")
        grouped = known is not None and any(c in known and known[c].nunique() > 1 for c in ("population", "site"))
        if kind == "structure" and not grouped:
            study.fault(D, "arm_kinds", "'structure'", "another kind, or people_path with two populations or more")


def second_cohort(study: Study, data: Data) -> None:
    """Other people, with phenotypes of their own."""
    if not study(D, "external_vcf_path"):
        return
    others = data.genotypes("external_vcf_path")
    with suppress(Unknown):
        if shared := set(others.samples) & set(data.genotypes().samples):
            study.fault(D, "external_vcf_path", f"{len(shared)} of its {len(others.samples)} samples are in vcf_path too",
                        "other people", file=study(D, "external_vcf_path"))
    if study(D, "external_phenotype_path"):
        of_table = study(D, "phenotype_path")
        for name in _columns(study, "phenotype").values() if of_table else ["phenotype"]:
            data.read(D, "external_phenotype_path", lambda path, name=name: of_people.read_phenotype(path, others.samples, name))
