"""Whether a study's model is whole and has the sites that the params name."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

import torch

from lib.check.study import EXPLAINED, SECOND, E, Study, T, Unknown
from lib.models import adapter, files
from lib.models import sites as words
from lib.models.adapter import Adapter

REAL_BYTES = 200e6  # weights up to this size are loaded; of larger ones only the headers are read


def load(folder: Path) -> Adapter:
    """The model of a folder: with its weights where they are small, else its structure alone, after reading their headers.

    Raises what `adapter.load` raises.
    """
    size = sum(file.stat().st_size for file in files.shards(files.check_weights(folder)))
    if size <= REAL_BYTES:
        return adapter.load(folder)
    with torch.device("meta"):
        return adapter.load(folder, device="meta", random_init=True)


def read(study: Study) -> Adapter:
    """The study's model. Raises Unknown after noting why it cannot be had."""
    folder = study.path(study.door, "model_path")
    with study.reading(study.door, "model_path", folder):
        study.model = load(folder)
    return study.model


def check(study: Study, model: Adapter) -> None:
    """Sites, the order of those that are patched, the head, frames, and the second model."""
    for one in (sites, patching, head, frames, second):
        with suppress(Unknown):
            one(study, model)


def sites(study: Study, model: Adapter) -> None:
    """Every site that a stage names, not by a word that stands for several, is one of the model's."""
    known = [site.name for site in model.sites()]
    for stage, name in ((E, "sites"), (T, "sae_site"), (T, "layer_sites"), (EXPLAINED, "patch_site")):
        with suppress(Unknown):
            value = study(stage, name)
            if value == [words.ALL] or name == "layer_sites" and value == [words.TOP5]:
                continue
            for site in [value] if isinstance(value, str) else value:
                if site not in known and not (name == "sae_site" and site == "best"):
                    study.fault(stage, name, repr(site), f"one of the model's: {', '.join(known)}")


def patching(study: Study, model: Adapter) -> None:
    """The forward restarts at the dictionary's site and a later one is read."""
    known = [site.name for site in model.sites()]
    stored = [site for site in words.stored(study(E, "sites"), known) if site in known]
    blocks = [site for site in stored if site.startswith("resid_post.")]
    chosen, later = study(T, "sae_site"), study(EXPLAINED, "patch_site")
    if chosen != "best" and not chosen.startswith("resid_post.") and chosen in known:
        study.fault(T, "sae_site", repr(chosen), f"a site of the residual stream, where {EXPLAINED[:2]} restarts: {', '.join(blocks)}")
    if chosen == "best" and blocks:
        chosen = max(blocks, key=known.index)
    if chosen in known and later in known and known.index(later) < known.index(chosen):
        after = [site for site in stored if known.index(site) >= known.index(chosen)]
        study.fault(EXPLAINED, "patch_site", repr(later), f"a site not before {chosen}, the last that may be chosen: {', '.join(after)}")


def head(study: Study, model: Adapter) -> None:
    """Without a language-model head there is no loss to read: what needs one is left out, and said."""
    if not model.has_head:
        study.notes.append(f"{model.no_head}: what needs the model's loss cannot be tested")


def frames(study: Study, model: Adapter) -> None:
    """Frames shift the words of a model of k-mers; other models have none."""
    word_bp, given = getattr(model.tokenizer, "k", 1), study(E, "frames")
    if wrong := [frame for frame in given if frame >= word_bp]:
        study.fault(E, "frames", f"a list with {wrong[0]}", f"0 to {word_bp - 1}: a word of this model is {word_bp} bases")


def second(study: Study, model: Adapter) -> None:
    """The second model, its site and its dictionary."""
    if not study(SECOND, "second_model_path"):
        return
    folder = study.path(SECOND, "second_model_path")
    with study.reading(SECOND, "second_model_path", folder):
        other = adapter.load(folder)
    known = [site.name for site in other.sites()]
    if study(SECOND, "second_site") not in known:
        study.fault(SECOND, "second_site", repr(study(SECOND, "second_site")), f"one of the second model's: {', '.join(known)}")
        raise Unknown
    from lib.sae import format

    dictionary = study.path(SECOND, "second_sae_path")
    with study.reading(SECOND, "second_sae_path", dictionary):
        format.load(dictionary, study(SECOND, "second_site"), other.identity)


def widths(study: Study, model: Adapter) -> None:
    """A run keeps no more latents than it has, and a device that torch has trains it."""
    with suppress(Unknown):
        known = {site.name: site.dim for site in model.sites()}
        dim = known.get(study(T, "sae_site"), model.d_model)
        runs = zip(study(T, "run_architectures"), study(T, "run_expansions"), study(T, "run_sparsities"))
        for i, (kind, expansion, sparsity) in enumerate(runs, 1):
            if kind not in ("standard", "gated") and sparsity > expansion * dim:
                study.fault(T, "run_sparsities", f"{sparsity} for run {i}, {kind}",
                            f"at most d_sae, {expansion} x {dim} = {expansion * dim}")


def device(study: Study) -> None:
    """The device is one that torch has here."""
    wanted = study(T, "device")
    have = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    if wanted not in have:
        study.fault(T, "device", repr(wanted), f"what torch {torch.__version__} has on this machine: {', '.join(have)}")


def followed(study: Study) -> None:
    """The package that the training is to be followed with is installed."""
    name = study(T, "log_to")
    if name and importlib.util.find_spec(name) is None:
        study.fault(T, "log_to", f"{name!r}, which is not installed", f'"" for no log, or the package: pip install {name}')
