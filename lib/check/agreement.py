"""Whether the params of a study's stages contradict each other, whatever they read. No data are read."""

from __future__ import annotations

from contextlib import suppress

from lib.check.study import EXPLAINED, RULE, SECOND, E, H, Study, T, Unknown
from lib.models import sites as words
from lib.stage import inputs, params

#: number of a stage -> numbers of the stages that it cannot do without
NEEDED = {"01": ("00",), "02": ("00", "01"), "03": ("00", "01"), "04": ("00", "01", "03"), "05": ("00", "01", "02", "03", "04"),
          "06": ("05",), "07": ("05",), "08": ("00", "01", "02", "03", "04", "05"),
          "09": ("00", "01", "02", "03", "04", "05", "06")}  # fmt: skip


def check(study: Study) -> None:
    """Every check of this module; each goes on where another stopped."""
    for one in (stages, simulated, paths, sites, dictionaries, second_model, counts):
        with suppress(Unknown):
            one(study)


def stages(study: Study) -> None:
    """A stage has the stages before it that it needs; without a front door, that alone is said."""
    present = {params.number_of(stage): stage for stage in study.values}
    for number, stage in present.items():
        for needed in NEEDED.get(number, ()):
            if needed not in present and needed != "00":
                study.lacking(f"{stage}.yaml, which needs a stage {needed}", f"{needed}_<name>.yaml beside it, or no {stage}.yaml", stage)


def simulated(study: Study) -> None:
    """Files named simulated: are there only where the front door simulates."""
    if study.simulated:
        return
    for stage, values in study.values.items():
        for name, value in values.items():
            if isinstance(value, str) and value.startswith(inputs.SIMULATED):
                off = ', or "" for none' if study.may_be_empty(stage, name) else ""
                study.fault(stage, name, repr(value), f"a file of yours{off}: {study.no_simulation}")


def paths(study: Study) -> None:
    """Every file and folder that is named is there; one that is missing is named once."""
    missing = set()
    for stage, values in study.values.items():
        for name, value in values.items():
            texts = value if isinstance(value, list) else [value]
            for text in texts if name.endswith(("_path", "_paths")) else []:
                if text in missing or not text and study.may_be_empty(stage, name):
                    continue
                if not (isinstance(text, str) and text.startswith(inputs.SIMULATED)):
                    try:
                        study.path(stage, name, text)
                    except Unknown:
                        missing.add(text)


def sites(study: Study) -> None:
    """A site that a later stage reads has to be one that 01 stores, and the best one is known after 02."""
    stored = study(E, "sites")
    every = words.is_word(stored, words.ALL)  # which blocks the model has is asked of the model
    wanted = f"one of the sites that 01_extraction stores: {f'{words.BLOCKS}k of every block' if every else ', '.join(stored)}"

    def lacks(site: str) -> bool:
        return not site.startswith(words.BLOCKS) if every else site not in stored

    with suppress(Unknown):
        if study(T, "sae_site") != "best" and lacks(study(T, "sae_site")):
            study.fault(T, "sae_site", repr(study(T, "sae_site")), wanted + ', or "best"')
        if study(T, "sae_site") == "best" and H not in study.values:
            study.fault(T, "sae_site", f"'best', which {H} chooses, without {H}.yaml", wanted)
    with suppress(Unknown):
        given = study(T, "layer_sites")
        top = words.is_word(given, words.TOP5)
        if top and H not in study.values:
            study.fault(T, "layer_sites", f"{words.TOP5}, which {H} ranks, without {H}.yaml", f"{words.ALL}, or a list of such: {wanted}")
        for site in [] if top or words.is_word(given, words.ALL) else given:
            if lacks(site):
                study.fault(T, "layer_sites", f"a list with {site!r}", wanted)
    with suppress(Unknown):
        if lacks(study(EXPLAINED, "patch_site")):
            study.fault(EXPLAINED, "patch_site", repr(study(EXPLAINED, "patch_site")), wanted)
    if H in study.values and not every and not any(site.startswith(words.BLOCKS) for site in stored):
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


def second_model(study: Study) -> None:
    """The second model comes with its dictionary and site, or not at all."""
    names = ("second_model_path", "second_sae_path", "second_site")
    given = [name for name in names if study(SECOND, name)]
    absent = [name for name in names if name not in given]
    if given and absent:
        study.fault(SECOND, given[0], f"{study(SECOND, given[0])!r} without {' and '.join(absent)}", 'all three, or "" for all three')


def counts(study: Study) -> None:
    """Counts of a part are not above those of the whole."""
    parts = ((EXPLAINED, "n_checked", "n_sequences"), (RULE, "least_matched", "n_matched"), (H, "matched_repeats", "n_repeats"))
    for stage, part, whole in parts:
        with suppress(Unknown):
            if study(stage, part) > study(stage, whole):
                study.fault(stage, part, str(study(stage, part)), f"at most {whole}, {study(stage, whole)}")
