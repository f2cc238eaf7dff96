"""Where each family of models keeps its parts, as attribute paths."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Family:
    """Attribute paths of a model's parts.

    trunk: from the model, the part that runs without the language-model head. blocks, final: from the trunk; final is
    None where no norm follows the last block. mixer_out, mlp_out: from a block, the module whose output is added to the
    residual stream; mlp_hidden: the module whose input is the hidden layer of the MLP. A block that lacks the module lacks
    the site. masked: reads both ways; a causal model reads only what comes before. sums: block output = input + mixer_out +
    mlp_out. options: arguments of every forward.
    """

    trunk: str
    blocks: str
    final: str | None
    masked: bool
    mixer_out: str | None = None
    mlp_out: str | None = None
    mlp_hidden: str | None = None
    sums: bool = True
    options: dict = field(default_factory=dict)


def _causal(trunk: str, blocks: str, final: str, mixer: str | None, mlp: str | None, hidden: str | None, sums: bool = True) -> Family:
    return Family(trunk, blocks, final, False, mixer, mlp, hidden, sums, {"use_cache": False})


_LLAMA = _causal("model", "layers", "norm", "self_attn", "mlp", "mlp.down_proj")

#: transformers' model_type -> family
NATIVE = {
    "esm": Family("esm", "encoder.layer", "encoder.emb_layer_norm_after", True,
                  "attention.output.dense", "output.dense", "output.dense"),
    "bert": Family("bert", "encoder.layer", None, True,
                   "attention.output.dense", "output.dense", "output.dense", sums=False),  # norms after each sum
    "modernbert": Family("model", "layers", "final_norm", True, "attn", "mlp", "mlp.Wo"),
    "gpt2": _causal("transformer", "h", "ln_f", "attn", "mlp", "mlp.c_proj"),
    "gpt_neox": _causal("gpt_neox", "layers", "final_layer_norm", "attention", "mlp", "mlp.dense_4h_to_h"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _causal("model", "layers", "norm", "post_attention_layernorm", "post_feedforward_layernorm", "mlp.down_proj"),
    "mixtral": _causal("model", "layers", "norm", "self_attn", "mlp", None),
    "phi": _causal("model", "layers", "final_layernorm", "self_attn", "mlp", "mlp.fc2"),
    "mamba2": _causal("backbone", "layers", "norm_f", "mixer", None, None),
    "nemotron_h": _causal("model", "layers", "norm_f", "mixer", None, "mixer.down_proj"),
}  # fmt: skip
