"""Helix-mRNA: state-space, attention and MLP blocks over single nucleotides, causal and without positions.

Written from the paper (Wood et al. 2025, arXiv:2502.13785) and the names in the checkpoint, with transformers' Mamba-2
mixer. The released package (helical, AGPL-3.0; 2.2.0 was tried) is not used, because it computes another function:
every block reads the embedding instead of the block before, and padding on the left enters the state; without CUDA
kernels its state space also reads what comes later, once a sequence is longer than one chunk, and raises small time
steps. Tests show each.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from lib.models import files, state
from lib.models.families import Family
from lib.models.mrna import MRNATokenizer
from lib.models.tokens import Tokenizer

FAMILY = Family("backbone", "layers", "norm_f", False, "mixer", "feed_forward", "feed_forward.down_proj")
CONTEXT = 12288  # tokens, codon marks and [SEP] included
VOCABULARY = 14
KINDS = {"M": "state space", "*": "attention and MLP", "+": "MLP"}


class Attention(nn.Module):
    """Causal attention whose keys and values are shared by groups of heads; no positions."""

    def __init__(self, config: Mamba2Config):
        super().__init__()
        d, self.heads, self.shared = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        width = d // self.heads * self.shared
        self.q_proj, self.o_proj = (nn.Linear(d, d, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (nn.Linear(d, width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for project, heads in ((self.q_proj, self.heads), (self.k_proj, self.shared), (self.v_proj, self.shared))
        )
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """silu(gate) * up, four times as wide as the model, whatever config.json calls intermediate_size."""

    def __init__(self, config: Mamba2Config):
        super().__init__()
        d = config.hidden_size
        self.gate_proj, self.up_proj = (nn.Linear(d, 4 * d, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(4 * d, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """A mixer (M, *), an MLP (+), or one after the other (*), each on the normed stream and added to it."""

    def __init__(self, config: Mamba2Config, k: int):
        super().__init__()
        kind, d, eps = config.layers_block_type[k], config.hidden_size, config.layer_norm_epsilon
        self.mixer = self.feed_forward = None
        if kind in "M*":
            self.norm = nn.RMSNorm(d, eps)
            self.mixer = Mamba2Mixer(config, k) if kind == "M" else Attention(config)
        if kind in "*+":
            self.pre_ff_layernorm, self.feed_forward = nn.RMSNorm(d, eps), FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream, [batch, length, d], float32 whatever the weights are."""
        x = x.float()
        if self.mixer is not None:
            x = x + self.mixer(self.norm(x.to(self.norm.weight.dtype)))
        if self.feed_forward is not None:
            x = x + self.feed_forward(self.pre_ff_layernorm(x.to(self.pre_ff_layernorm.weight.dtype)))
        return x


class Backbone(nn.Module):
    def __init__(self, config: Mamba2Config):
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, k) for k in range(config.num_hidden_layers))
        self.norm_f = nn.RMSNorm(config.hidden_size, config.layer_norm_epsilon)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """attention_mask is not read: a causal model without positions does not see what is padded on the right."""
        x = self.embeddings(input_ids)
        for block in self.layers:
            x = block(x)
        return self.norm_f(x.to(self.norm_f.weight.dtype))


class HelixMRNA(nn.Module):
    """The checkpoint's causal language model. Seed torch before for seeded random weights."""

    def __init__(self, config: Mamba2Config):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        nn.init.normal_(self.backbone.embeddings.weight, std=config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.backbone(input_ids)))


def recognises(folder: Path) -> bool:
    """By the architecture's name: config.json calls itself mamba2, which is another model."""
    if not (folder / "config.json").is_file():
        return False
    return any(name.startswith("HelixmRNA") for name in files.read_config(folder).get("architectures") or [])


def read(folder: Path, random_init: bool, seed: int) -> tuple[nn.Module, Tokenizer, Family, Path]:
    """The model filled from the folder, or seeded. Raises ValueError for settings or weights that do not fit."""
    weights, config = files.check_weights(folder), config_of(folder)
    torch.manual_seed(seed)
    model = HelixMRNA(config)
    if not random_init:
        tensors = {_name(name, config): tensor for name, tensor in files.read_tensors(weights).items()}
        if "lm_head.weight" not in tensors:
            model.head_missing = ["lm_head.weight"]
            tensors["lm_head.weight"] = model.lm_head.weight.detach()
        state.fill(model, tensors, weights)
    return model, MRNATokenizer(), FAMILY, weights


def config_of(folder: Path) -> Mamba2Config:
    """The model's settings. Raises ValueError for those that the checkpoint does not have, and this port neither."""
    files.read_config(folder)  # refuses what is not there or not JSON
    settings, _ = Mamba2Config.get_config_dict(folder, local_files_only=True)
    pattern = settings.pop("layers_block_type", None) or settings.pop("layers_block_type_string", None) or ""
    for name in ("layers_block_type_string", "architectures", "auto_map", "model_type", "torch_dtype", "dtype"):
        settings.pop(name, None)
    layers = settings.get("num_hidden_layers")
    wrong = {
        "layers_block_type": (pattern, f"{layers} of M, * and +", len(pattern) == layers and set(pattern) <= set(KINDS)),
        "n_groups": (settings.get("n_groups"), "1", settings.get("n_groups") == 1),
        "vocab_size": (settings.get("vocab_size"), VOCABULARY, settings.get("vocab_size") == VOCABULARY),
        "hidden_act": (settings.get("hidden_act", "silu"), "silu", settings.get("hidden_act", "silu") == "silu"),
    }
    for name, (value, wanted, good) in wrong.items():
        if not good:
            raise ValueError(f"{folder / 'config.json'}: {name} is {value!r}, wanted {wanted}")
    defaults = {"max_position_embeddings": CONTEXT, "num_attention_heads": 32, "num_key_value_heads": 8}
    try:
        return Mamba2Config(**(defaults | settings), layers_block_type=pattern)
    except StrictDataclassError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error


def _name(name: str, config: Mamba2Config) -> str:
    """The name here of a tensor of a checkpoint, saved with its head or without."""
    name = re.sub(r"^(backbone\.)?embeddings?\.", "backbone.embeddings.", name)
    name = name if name.startswith(("backbone.", "lm_head.")) else f"backbone.{name}"
    match = re.fullmatch(r"backbone\.layers\.(\d+)\.(\w+)\.(.+)", name)
    if not match or int(match[1]) >= config.num_hidden_layers:
        return name
    norm = "norm" if config.layers_block_type[int(match[1])] == "*" else "pre_ff_layernorm"
    module = {"self_attn": "mixer", "input_layernorm": norm}.get(match[2], match[2])
    return f"backbone.layers.{match[1]}.{module}.{match[3]}"
