"""Nucleotide Transformer v2 as a native class: what its repository's own code computes, without running that code.

It is transformers' ESM with another MLP: one linear layer without bias to twice the hidden width, silu of the first half
times the second, and an output layer without bias. Its config.json has `add_bias_fnn: false` and an `auto_map`, and
often no `model_type`.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

from lib.models import files, native
from lib.models.families import NATIVE, Family
from lib.models.tokens import Tokenizer
from lib.models.wrap import wrap

#: Entries a checkpoint may have or lack: rotary frequencies, which follow from the width, and what no output depends on.
OPTIONAL = re.compile(
    r"esm\.(encoder\.layer\.(\d+|\*)\.attention\.self\.)?rotary_embeddings\.inv_freq"
    r"|esm\.embeddings\.position_(embeddings\.weight|ids)|esm\.contact_head\.regression\.(weight|bias)"
)


class NTv2Config(EsmConfig):
    add_bias_fnn: bool = False


class GatedIntermediate(nn.Module):
    """silu(a) * b of one linear map to (a, b), without bias."""

    def __init__(self, config: NTv2Config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.add_bias_fnn)

    def forward(self, hidden_states: Tensor) -> Tensor:
        first, second = self.dense(hidden_states).chunk(2, dim=-1)
        return silu(first) * second


class NTv2ForMaskedLM(EsmForMaskedLM):
    config_class = NTv2Config

    def __init__(self, config: NTv2Config):
        super().__init__(config)
        for layer in self.esm.encoder.layer:
            layer.intermediate = GatedIntermediate(config)
            layer.output.dense = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.add_bias_fnn)
        self.post_init()


def recognises(folder: Path) -> bool:
    """Whether a folder's config.json is of Nucleotide Transformer v2."""
    config = files.read_config(folder) if (folder / "config.json").is_file() else {}
    return config.get("model_type") in (None, "esm") and config.get("add_bias_fnn") is False


def config_of(folder: Path) -> NTv2Config:
    """The model's settings. Raises ValueError for settings the port does not have."""
    settings = files.read_config(folder)
    settings = {k: v for k, v in settings.items() if k not in ("auto_map", "model_type", "torch_dtype", "dtype")}
    if settings.get("position_embedding_type") != "rotary":
        embedding_type = settings.get("position_embedding_type")
        raise ValueError(f"{folder / 'config.json'}: position_embedding_type is {embedding_type!r}, NT v2 has 'rotary'")
    return NTv2Config(**settings)


def read(folder: Path, random_init: bool, seed: int) -> tuple[nn.Module, Tokenizer, Family, Path]:
    """The model filled from the folder, or seeded. Raises ValueError for weights that do not fit, naming them."""
    weights, config = files.check_weights(folder), config_of(folder)
    check_fit(config, weights)
    with native.naming(files.check_tokenizer(folder), "or the tokenizer files beside it"):
        tokenizer = wrap(EsmTokenizer.from_pretrained(folder, local_files_only=True))
    if random_init:
        torch.manual_seed(seed)
        return NTv2ForMaskedLM(config), tokenizer, NATIVE["esm"], weights
    native.quiet()
    model = NTv2ForMaskedLM.from_pretrained(folder, config=config, dtype=torch.float32, local_files_only=True)
    return model, tokenizer, NATIVE["esm"], weights


def check_fit(config: NTv2Config, weights: Path) -> None:
    """Raise ValueError where names or shapes in the weights file are not the model's."""
    with torch.device("meta"):
        wanted = {name: tuple(x.shape) for name, x in NTv2ForMaskedLM(config).state_dict().items()}
    actual = {_present_name(name): shape for name, shape in files.shapes(weights).items()}
    if config.tie_word_embeddings and "lm_head.decoder.weight" not in actual:
        wanted.pop("lm_head.decoder.weight")
    wrong = {
        "missing": sorted(k for k in wanted.keys() - actual.keys() if not OPTIONAL.fullmatch(k)),
        "of no use": sorted(k for k in actual.keys() - wanted.keys() if not OPTIONAL.fullmatch(k)),
        "of another shape (found, wanted)": [
            (k, actual[k], wanted[k]) for k in sorted(wanted.keys() & actual.keys()) if actual[k] != wanted[k]
        ],
    }
    if any(wrong.values()):
        said = "; ".join(f"{what}: {_few(names)}" for what, names in wrong.items() if names)
        raise ValueError(f"{weights}: not the weights of Nucleotide Transformer v2 of {_size(config)}: {said}")


def _present_name(name: str) -> str:
    """What a norm's gamma and beta are called today; transformers writes them so when it saves this class."""
    return re.sub(r"(?<=LayerNorm)\.(gamma|beta)$", lambda m: {"gamma": ".weight", "beta": ".bias"}[m[1]], name)


def _size(config: NTv2Config) -> str:
    return f"{config.num_hidden_layers} layers, width {config.hidden_size}, MLP {config.intermediate_size}"


def _few(names: list, limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more
