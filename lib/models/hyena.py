"""HyenaDNA: single bases, causal, mixed by convolutions as long as the sequence instead of attention.

Written from the papers (Poli et al. 2023, arXiv:2302.10866; Nguyen et al. 2023, arXiv:2306.15794) and the names in the
public checkpoints, so that no code of theirs has to be trusted. In the original code a block gives a branch and a
residual apart, and neither is the residual stream; here a block's output is the stream, their sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from lib.models import files, state
from lib.models.families import Family
from lib.models.tokens import BaseTokenizer, Tokenizer

FAMILY = Family("hyena.backbone", "layers", "ln_f", False, "mixer", "mlp", "mlp.fc2")
#: The vocabulary of every public checkpoint; N is a word of it.
WORDS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]", "A", "C", "G", "T", "N")
EMBEDDING, HEAD = "hyena.backbone.embeddings.word_embeddings.weight", "lm_head.weight"


@dataclass(frozen=True)
class HyenaConfig:
    """config.json, with the public class's defaults. max_seq_len: longest input and filter, in tokens, [SEP] included."""

    vocab_size: int = 12
    pad_vocab_size_multiple: int = 8
    d_model: int = 256
    d_inner: int | None = None
    n_layer: int = 12
    max_seq_len: int = 1024
    hyena_order: int = 2
    short_filter_order: int = 3
    filter_order: int = 64
    emb_dim: int = 3
    num_inner_mlps: int = 2
    activation_freq: float = 1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    model_type = "hyenadna"

    @property
    def hidden_size(self) -> int:
        return self.d_model

    @property
    def max_position_embeddings(self) -> int:
        return self.max_seq_len

    @property
    def rows(self) -> int:
        """Rows of the embedding: the vocabulary, filled up to a multiple."""
        return math.ceil(self.vocab_size / self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple


class Positions(nn.Module):
    """Buffers t [1, L, 1] from 0 to 1, and z [1, L, emb_dim]: t, then cosines and negative sines of the bands."""

    def __init__(self, config: HyenaConfig):
        super().__init__()
        length, bands = config.max_seq_len, (config.emb_dim - 1) // 2
        t = torch.linspace(0, 1, length)[None, :, None]
        angle = 2 * math.pi * torch.arange(length)[None, :, None] / length * torch.linspace(1e-4, bands - 1, bands)
        self.register_buffer("t", t)
        self.register_buffer("z", torch.cat([t, angle.cos(), -angle.sin()], dim=-1))


class Window(nn.Module):
    """h * (exp(-t |deltas|) + 0.05): channels decay to 1 % between 0.3 and 1.5 of the longest input."""

    def __init__(self, config: HyenaConfig):
        super().__init__()
        rate = math.log(0.01)
        self.register_buffer("deltas", torch.linspace(rate / 1.5, rate / 0.3, config.d_model)[None, None])

    def forward(self, t: Tensor, h: Tensor) -> Tensor:
        return h * (torch.exp(-t * self.deltas.abs()) + 0.05)


class Sine(nn.Module):
    def __init__(self, config: HyenaConfig):
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, config.filter_order), float(config.activation_freq)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class Filter(nn.Module):
    """A convolution's kernel as a function of position, and the convolution."""

    def __init__(self, config: HyenaConfig):
        super().__init__()
        width, sine = config.filter_order, Sine(config)  # one sine with one set of frequencies, used after every layer
        inner = [m for _ in range(config.num_inner_mlps) for m in (nn.Linear(width, width), sine)]
        self.pos_emb, self.modulation = Positions(config), Window(config)
        self.implicit_filter = nn.Sequential(
            nn.Linear(config.emb_dim, width), sine, *inner, nn.Linear(width, config.d_model, bias=False)
        )
        self.bias = nn.Parameter(torch.randn(config.d_model))

    def kernel(self, length: int) -> Tensor:
        """[d, length]"""
        z, t = self.pos_emb.z[:, :length], self.pos_emb.t[:, :length]
        return self.modulation(t, self.implicit_filter(z.to(self.bias.dtype)))[0].T

    def forward(self, x: Tensor) -> Tensor:
        """Causal convolution of x [batch, d, length] with the kernel, plus bias * x; by FFT, in float32."""
        length = x.shape[-1]
        spectrum = torch.fft.rfft(self.kernel(length).float(), n=2 * length)
        y = torch.fft.irfft(torch.fft.rfft(x.float(), n=2 * length) * spectrum, n=2 * length)[..., :length]
        return (y + x * self.bias[:, None]).to(x.dtype)


class Mixer(nn.Module):
    """The Hyena operator of order 2: filter(v * a) * b, of three projections b, a, v convolved over 3 tokens each."""

    def __init__(self, config: HyenaConfig):
        super().__init__()
        d = config.d_model
        self.in_proj, self.out_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.short_filter = nn.Conv1d(3 * d, 3 * d, 3, padding=2, groups=3 * d)
        self.filter_fn = Filter(config)

    def forward(self, x: Tensor) -> Tensor:
        b, a, v = self.short_filter(self.in_proj(x).mT)[..., : x.shape[1]].chunk(3, dim=1)
        return self.out_proj((self.filter_fn(v * a) * b).mT)


class Mlp(nn.Module):
    def __init__(self, config: HyenaConfig):
        super().__init__()
        inner = config.d_inner or 4 * config.d_model
        self.fc1, self.fc2 = nn.Linear(config.d_model, inner), nn.Linear(inner, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: HyenaConfig):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(config.d_model, config.layer_norm_epsilon) for _ in range(2))
        self.mixer, self.mlp = Mixer(config), Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream, [batch, length, d], float32 whatever the weights are."""
        dtype = self.norm1.weight.dtype
        x = x.float() + self.mixer(self.norm1(x.to(dtype)))
        return x + self.mlp(self.norm2(x.to(dtype)))


class Backbone(nn.Module):
    def __init__(self, config: HyenaConfig):
        super().__init__()
        self.embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(config.rows, config.d_model)})
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """attention_mask is not read: a causal model without positions does not see what is padded on the right."""
        x = self.embeddings["word_embeddings"](input_ids)
        for block in self.layers:
            x = block(x)
        return self.ln_f(x.to(self.ln_f.weight.dtype))


class HyenaDNA(nn.Module):
    """The public checkpoints' causal language model. Seed torch before for seeded random weights."""

    def __init__(self, config: HyenaConfig):
        super().__init__()
        self.config = config
        self.hyena = nn.ModuleDict({"backbone": Backbone(config)})
        self.lm_head = nn.Linear(config.d_model, config.rows, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.get_submodule(EMBEDDING.removesuffix(".weight"))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.hyena["backbone"](input_ids)))


def recognises(folder: Path) -> bool:
    return (folder / "config.json").is_file() and files.read_config(folder).get("model_type") == HyenaConfig.model_type


def read(folder: Path, random_init: bool, seed: int) -> tuple[nn.Module, Tokenizer, Family, Path]:
    """The model filled from the folder, or seeded. Raises ValueError for settings or weights that do not fit."""
    weights, config = files.check_weights(folder), config_of(folder)
    torch.manual_seed(seed)
    model = HyenaDNA(config)
    if not random_init:
        tensors = {k: v for k, v in files.read_tensors(weights).items() if k.startswith(("hyena.", HEAD))}
        _share(tensors, config)
        if HEAD not in tensors:
            model.head_missing = [HEAD]
            tensors[HEAD] = model.lm_head.weight.detach()
        state.fill(model, tensors, weights)
    return model, tokenizer(), FAMILY, weights


def config_of(folder: Path) -> HyenaConfig:
    """The model's settings. Raises ValueError for those that no public checkpoint has, and this port neither."""
    settings = files.read_config(folder)
    config = HyenaConfig(**{f.name: settings[f.name] for f in fields(HyenaConfig) if f.name in settings})
    for name, wanted in {"hyena_order": 2, "short_filter_order": 3, "vocab_size": len(WORDS)}.items():
        if getattr(config, name) != wanted:
            raise ValueError(f"{folder / 'config.json'}: {name} is {getattr(config, name)}, HyenaDNA has {wanted}")
    return config


def _share(tensors: dict[str, Tensor], config: HyenaConfig) -> None:
    """Give each name its tensor where one tensor was saved for several names: sine frequencies, and a tied head."""
    for block in range(config.n_layer):
        at = f"hyena.backbone.layers.{block}.mixer.filter_fn.implicit_filter."
        names = [f"{at}{2 * i + 1}.freq" for i in range(config.num_inner_mlps + 1)]
        held = [name for name in names if name in tensors]
        tensors |= {name: tensors[held[0]] for name in names if held and name not in tensors}
    if HEAD not in tensors and EMBEDDING in tensors and config.tie_word_embeddings:
        tensors[HEAD] = tensors[EMBEDDING]


def tokenizer() -> Tokenizer:
    """Single bases and [SEP] after them, as the public checkpoints were trained on them."""
    from tokenizers import Regex, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 1)])
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "mask", "cls", "sep")}
    return BaseTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **names))
