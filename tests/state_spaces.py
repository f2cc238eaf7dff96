"""Tiny seeded models of the families without attention, or with little, and records for them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from lib.models import helix, hyena
from lib.models.mrna import MRNA
from tests import helpers

HYENA = hyena.HyenaConfig(
    d_model=16, n_layer=3, d_inner=32, max_seq_len=130, emb_dim=5, filter_order=8, activation_freq=10,
    initializer_range=0.1, tie_word_embeddings=False,
)  # fmt: skip
#: Four chunks and more for every record, so that the state crosses their borders.
HELIX = {
    "architectures": ["HelixmRNAForCausalLM"], "model_type": "mamba2", "hidden_size": 16, "num_hidden_layers": 6,
    "layers_block_type": "M+*MM+", "num_heads": 4, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 16,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 14, "use_cache": False,
    "initializer_range": 1.0, "pad_token_id": 1, "max_position_embeddings": 256,
}  # fmt: skip


def random_rna(length: int, seed: int, letters: str = "ACGU") -> str:
    return "".join(np.random.default_rng(seed).choice(list(letters), length))


#: A coding region between two untranslated ones; none known; coding from end to end, written as cDNA.
MRNAS = [
    MRNA("middle", random_rna(80, 1, "ACGUN"), (13, 61)),
    MRNA("unknown", random_rna(110, 2)),
    MRNA("whole", random_rna(66, 3, "ACGT"), (0, 66)),
]
RNA = [mrna.sequence.replace("T", "U") for mrna in MRNAS]


def save(model: torch.nn.Module, config: dict, folder: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """Write config.json and model.safetensors in the layout of a public checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {k: v.clone() for k, v in model.state_dict().items() if not k.endswith(leave_out or ("/",))}
    save_file(tensors, folder / "model.safetensors")
    return folder


def save_hyena(folder: Path, seed: int = 0, **overrides) -> Path:
    """As published: of the sine's frequencies, one tensor for all layers, only the first name is in the file."""
    config = hyena.HyenaConfig(**(asdict(HYENA) | overrides))
    torch.manual_seed(seed)
    twice = tuple(f"implicit_filter.{2 * i + 1}.freq" for i in range(1, config.num_inner_mlps + 1))
    settings = {"model_type": "hyenadna", "architectures": ["HyenaDNAForCausalLM"], "auto_map": {"AutoConfig": "x.Y"}}
    return save(hyena.HyenaDNA(config), asdict(config) | settings, folder, twice)


def published(name: str, pattern: str) -> str:
    """The checkpoint's name of one of our tensors."""
    parts = name.split(".")
    if parts[1] == "layers" and pattern[int(parts[2])] in "*+":
        attention = pattern[int(parts[2])] == "*"
        parts[3] = {"mixer": "self_attn", "norm": "input_layernorm"}.get(parts[3], parts[3])
        if parts[3] == "pre_ff_layernorm" and not attention:
            parts[3] = "input_layernorm"
    return ".".join(parts)


def save_helix(folder: Path, seed: int = 0, **overrides) -> Path:
    """As published: other names for norms and attention, and a config that calls itself mamba2."""
    folder.mkdir(parents=True, exist_ok=True)
    config = HELIX | overrides
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = helix.HelixMRNA(helix.config_of(folder))
    tensors = {published(k, config["layers_block_type"]): v.clone() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def _rna_tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    words = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "A", "C", "G", "U", "N"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    raw.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )


def save_native(family: str, folder: Path, seed: int = 0) -> Path:
    """transformers' own state spaces over single nucleotides: mamba2, or nemotron_h with attention and MLP between."""
    own = {"hybrid_override_pattern": "M-M*M-M-"} if family == "nemotron_h" else {}
    helpers.real_model(family, 9, seed, rescale_prenorm_residual=False, **own).save_pretrained(folder)
    _rna_tokenizer().save_pretrained(folder)
    return folder
