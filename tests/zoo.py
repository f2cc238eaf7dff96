"""A tiny seeded model of every family, as a folder that the one door loads. One line here and a family is tested."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests import cell_models, helpers, state_spaces


@dataclass(frozen=True)
class Kind:
    """save(folder, seed) writes a model folder and gives it back; records: at least three of unlike length."""

    save: Callable[..., Path]
    records: list


DNA = [
    helpers.random_dna(60, 1, n_at=(10, 11, 40)),
    helpers.random_dna(90, 2),
    helpers.random_dna(73, 3, n_at=(0, 72)),
]

DNA_KINDS = ("nt_v1", "nt_v2", "dnabert", "generator", "modernbert", "gpt_neox", "mistral", "gemma", "gemma2", "phi")
TEXT_KINDS = ("gpt2_text", "gpt_neox_text", "gemma_text", "gemma2_text", "llama_text", "phi_text")

ZOO = {kind: Kind(partial(helpers.save_model, kind), DNA) for kind in (*helpers.KINDS, *DNA_KINDS)}
ZOO |= {kind: Kind(partial(helpers.save_model, kind), helpers.TEXTS) for kind in TEXT_KINDS}
ZOO["tahoe"] = Kind(cell_models.save_tahoe, cell_models.CELLS)
ZOO["geneformer"] = Kind(cell_models.save_geneformer, cell_models.CELLS)
ZOO |= {
    "hyena": Kind(state_spaces.save_hyena, DNA),
    "helix": Kind(state_spaces.save_helix, state_spaces.MRNAS),
    "mamba2_rna": Kind(partial(state_spaces.save_native, "mamba2"), state_spaces.RNA),
    "nemotron_h_rna": Kind(partial(state_spaces.save_native, "nemotron_h"), state_spaces.RNA),
}
