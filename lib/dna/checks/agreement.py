"""Whether what a study of DNA says once, in 00_dna, contradicts itself or what a later stage says. No data are read."""

from __future__ import annotations

from contextlib import suppress

from lib.check.study import EXPLAINED, Study, Unknown

D, X = "00_dna", "08_dna"


def check(study: Study) -> None:
    """Every check of this module; each goes on where another stopped."""
    for one in (held_out, second_cohort, lengths, exons):
        with suppress(Unknown):
            one(study)


def held_out(study: Study) -> None:
    """Validation and test chromosomes are different ones."""
    both = set(study(D, "validation_contigs")) & set(study(D, "test_contigs"))
    if both:
        study.fault(D, "validation_contigs", f"{', '.join(sorted(both))}, also in test_contigs", "other chromosomes")


def second_cohort(study: Study) -> None:
    """A second cohort has genotypes and phenotypes, or no phenotypes either."""
    genotypes, phenotypes = study(D, "external_vcf_path"), study(D, "external_phenotype_path")
    if phenotypes and not genotypes:
        study.fault(D, "external_phenotype_path", repr(phenotypes), '"", since external_vcf_path is ""')


def lengths(study: Study) -> None:
    """Lengths fit the windows."""
    with suppress(Unknown):
        if study(D, "overlap_bp") >= study(D, "window_bp"):
            study.fault(D, "overlap_bp", str(study(D, "overlap_bp")), f"less than window_bp, {study(D, 'window_bp')}")
    for stage, name in ((EXPLAINED, "ism_span"), (X, "radius_bp")):
        with suppress(Unknown):
            if study(stage, name) > study(D, "window_bp"):
                study.fault(stage, name, str(study(stage, name)), f"at most window_bp of {D}, {study(D, 'window_bp')}")


def exons(study: Study) -> None:
    """Variants are split into exon and other only where exons are known."""
    if study(X, "split_exons") and study(D, "variant_path") and not study(D, "exon_path"):
        study.fault(X, "split_exons", "true, without exons", f"false, or exon_path of {D}")
