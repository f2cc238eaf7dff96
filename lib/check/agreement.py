"""Whether the params of a study's stages say the same, and nothing that contradicts itself. No data are read."""

from __future__ import annotations

from contextlib import suppress

from lib.check.study import Study, Unknown
from lib.stage import inputs, io

E, H, T, A, V, P, R, X = ("01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation", "05_validation",
                          "06_explanations", "07_replication", "08_dna")  # fmt: skip
#: name -> the stages that have to say the same, the first of them rules
SAME = {
    "model_path": (E, H, T, A, P, R, X),
    "genome_path": (E, H, A, X),
    "vcf_path": (E, H),
    "loci_path": (E, H),
    "validation_contigs": (T, A),
    "test_contigs": (T, A),
    "external_phenotype_path": (H, V),
}
#: paths that "" switches off
OPTIONAL = {
    E: ("external_vcf_path",),
    H: ("phenotype_path", "genetic_path", "people_path", "external_phenotype_path"),
    A: ("truth_path", "exon_path", "promoter_path", "variant_path", "gwas_path"),
    V: ("truth_variants_path", "external_phenotype_path"),
    P: ("truth_path",),
    R: ("second_model_path", "second_sae_path"),
    X: ("truth_path", "exon_path", "variants_path"),
}


def check(study: Study) -> None:
    """Every check of this module; each goes on where another stopped."""
    for one in (same, simulated, paths, held_out, sites, dictionaries, second_cohort, second_model, arms, counts):
        with suppress(Unknown):
            one(study)


def same(study: Study) -> None:
    """One name, one meaning: the same value in every stage that has it. A file that is not there is left to `paths`."""
    for name, stages in SAME.items():
        said = [stage for stage in stages if _usable(study, stage, name)]
        for stage in said[1:]:
            if study(stage, name) != study(said[0], name):
                study.fault(stage, name, repr(study(stage, name)), f"{study(said[0], name)!r}, as in {said[0]}")


def _usable(study: Study, stage: str, name: str) -> bool:
    """Whether a parameter has a value that fits and, where it is a path, a file that is there."""
    value = study.values.get(stage, {}).get(name)
    if not name.endswith("_path") or value is None or value.startswith(inputs.SIMULATED):
        return value is not None
    if not value:
        return name in OPTIONAL.get(stage, ())
    try:
        return bool(io.data_path(value))
    except FileNotFoundError:
        return False


def simulated(study: Study) -> None:
    """Files named simulated: are there only where 01 simulates."""
    if study.simulated:
        return
    for stage, values in study.values.items():
        for name, value in values.items():
            if isinstance(value, str) and value.startswith(inputs.SIMULATED):
                off = ', or "" for none' if name in OPTIONAL.get(stage, ()) else ""
                study.fault(stage, name, repr(value), f"a file of yours{off}: 01_extraction has simulate: false")


def paths(study: Study) -> None:
    """Every file and folder that is named is there; one that is missing is named once."""
    missing = set()
    for stage, values in study.values.items():
        for name, value in values.items():
            texts = value if isinstance(value, list) else [value]
            for text in texts if name.endswith(("_path", "_paths")) else []:
                if text in missing or not text and name in OPTIONAL.get(stage, ()):
                    continue
                if not (isinstance(text, str) and text.startswith(inputs.SIMULATED)):
                    try:
                        study.path(stage, name, text)
                    except Unknown:
                        missing.add(text)


def held_out(study: Study) -> None:
    """Validation and test chromosomes are different ones, and 06 reads no chromosome that 03 trained on."""
    for stage in (T, A):
        with suppress(Unknown):
            both = set(study(stage, "validation_contigs")) & set(study(stage, "test_contigs"))
            if both:
                study.fault(stage, "validation_contigs", f"{', '.join(sorted(both))}, also in test_contigs", "other chromosomes")
    trained_on = [c for c in study(X, "test_contigs") if c not in study(T, "test_contigs")]
    if trained_on:
        study.fault(X, "test_contigs", f"{', '.join(trained_on)}, which is not in 03's test_contigs",
                    f"some of {', '.join(study(T, 'test_contigs'))}, or [] for all variants")


def sites(study: Study) -> None:
    """A site that a later stage reads has to be one that 01 stores."""
    stored = study(E, "sites")
    wanted = f"one of the sites that 01_extraction stores: {', '.join(stored)}"
    with suppress(Unknown):
        if study(T, "sae_site") not in [*stored, "best"]:
            study.fault(T, "sae_site", repr(study(T, "sae_site")), wanted + ', or "best"')
    with suppress(Unknown):
        for site in study(T, "layer_sites"):
            if site not in stored:
                study.fault(T, "layer_sites", f"a list with {site!r}", wanted)
    with suppress(Unknown):
        if study(P, "patch_site") not in stored:
            study.fault(P, "patch_site", repr(study(P, "patch_site")), wanted)
    if not any(site.startswith("resid_post.") for site in stored):
        study.fault(E, "sites", f"{', '.join(stored)}", "at least one resid_post.k: 02 chooses among those")


def dictionaries(study: Study) -> None:
    """Each run of the sweep is one of its own, with as many latents as its rule allows."""
    kinds, expansions, sparsities = (study(T, f"run_{what}") for what in ("architectures", "expansions", "sparsities"))
    seen = {}
    for i, run in enumerate(zip(kinds, expansions, sparsities), 1):
        if run in seen:
            study.fault(T, "run_architectures", f"run {i} {run}, which is run {seen[run]} again", "runs that differ")
        seen.setdefault(run, i)
        if run[0] not in ("standard", "gated") and run[2] != int(run[2]):
            study.fault(T, "run_sparsities", f"{run[2]} for run {i}, {run[0]}", "a whole number of latents (k)")


def second_cohort(study: Study) -> None:
    """A second cohort has genotypes and phenotypes, or neither."""
    genotypes, phenotypes = study(E, "external_vcf_path"), study(H, "external_phenotype_path")
    if phenotypes and not genotypes:
        study.fault(H, "external_phenotype_path", repr(phenotypes), '"", since external_vcf_path of 01_extraction is ""')


def second_model(study: Study) -> None:
    """The second model comes with its dictionary and site, or not at all."""
    names = ("second_model_path", "second_sae_path", "second_site")
    given, absent = ([name for name in names if bool(study(R, name)) is said] for said in (True, False))
    if given and absent:
        study.fault(R, given[0], f"{study(R, given[0])!r} without {' and '.join(absent)}", 'all three, or "" for all three')


def arms(study: Study) -> None:
    """One table of phenotypes is one arm."""
    if study(H, "phenotype_path") and len(study(H, "arms")) != 1:
        study.fault(H, "arms", f"{len(study(H, 'arms'))} arms, {study(H, 'arms')}", "one, for the one phenotype of phenotype_path")


def counts(study: Study) -> None:
    """Counts of a part are not above those of the whole, and lengths fit the windows."""
    for stage, part, whole in ((P, "n_checked", "n_sequences"), (V, "least_matched", "n_matched"), (H, "matched_repeats", "n_repeats")):
        with suppress(Unknown):
            if study(stage, part) > study(stage, whole):
                study.fault(stage, part, str(study(stage, part)), f"at most {whole}, {study(stage, whole)}")
    with suppress(Unknown):
        if study(E, "overlap_bp") >= study(E, "window_bp"):
            study.fault(E, "overlap_bp", str(study(E, "overlap_bp")), f"less than window_bp, {study(E, 'window_bp')}")
    with suppress(Unknown):
        if study(P, "ism_span") > study(E, "window_bp"):
            study.fault(P, "ism_span", str(study(P, "ism_span")), f"at most window_bp of 01_extraction, {study(E, 'window_bp')}")
    with suppress(Unknown):
        if study(X, "radius_bp") > study(X, "window_bp"):
            study.fault(X, "radius_bp", str(study(X, "radius_bp")), f"at most window_bp, {study(X, 'window_bp')}")
