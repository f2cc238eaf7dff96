"""Tahoe-x1 (70M, 1.3B, 3B): a transformer over a cell's genes and their binned counts, in any order.

Written anew from the published state-dict keys and arithmetic (tahoebio/tahoe-x1, Apache-2.0), because the published class
needs GPU packages to be imported and, with PyTorch attention, lets padding into every token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models import files
from lib.models.families import Family
from lib.models.genes import BinTokenizer

VOCABULARY, MODEL, COLLATOR = "vocab.json", "model_config.yml", "collator_config.yml"
SIZES = ("70m-model", "1b-model", "3b-model")
FAMILY = Family("", "transformer_encoder.layers", "transformer_encoder.norm", True, "self_attn", "down_proj", "down_proj")
ACTIVATIONS = {f.__name__: f for f in (F.relu, F.gelu, F.leaky_relu, F.silu, torch.sigmoid)}
#: Settings that change the arithmetic: where, default, what is computed here.
FIXED = {
    "norm_scheme": ("pre", ("pre",)),
    "use_glu": (False, (False,)),
    "cell_emb_style": ("cls", ("cls",)),
    "norm_config.norm_type": ("layernorm", ("layernorm", "low_precision_layernorm")),
    "attn_config.kv_n_heads": (None, (None,)),
    "expression_encoder.input_emb_style": ("continuous", ("continuous",)),
    "gene_encoder.embeddings": (None, (None, {})),
    "mvc.arch_style": ("inner product", ("inner product",)),
}


@dataclass(frozen=True)
class Config:
    """model: model_config.yml; drugs: shape of the fingerprint table, None without drug token; the rest for the adapter."""

    model: dict
    drugs: tuple[int, int] | None
    flags: bool
    mvc: bool
    pad_token_id: int
    drug_token_id: int | None
    max_position_embeddings: int
    model_type: str = "tahoe_x1"

    def get(self, key: str, default):
        """A setting of model_config.yml, "section.key" for a nested one."""
        return _get(self.model, key, default)

    @property
    def hidden_size(self) -> int:
        return self.model["d_model"]


@dataclass(frozen=True)
class Output:
    """logits: [batch, length, 1], each gene's bin from its own last activation; mvc: [batch, length], from <cls>'s."""

    logits: Tensor
    mvc: Tensor | None


class GeneEncoder(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.embedding = nn.Embedding(c.model["vocab_size"], c.hidden_size, padding_idx=c.pad_token_id)
        self.enc_norm = nn.LayerNorm(c.hidden_size) if c.get("gene_encoder.use_norm", False) else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        return self.enc_norm(self.embedding(ids))


class ValueEncoder(nn.Module):
    """A bin, which may be any number, as a vector."""

    def __init__(self, c: Config):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(1, c.hidden_size), nn.Linear(c.hidden_size, c.hidden_size)
        self.norm = nn.LayerNorm(c.hidden_size) if c.get("expression_encoder.use_norm", False) else nn.Identity()
        self.activation = _activation(c.get("expression_encoder.activation", "relu"))
        self.most = c.get("expression_encoder.max_value", 512)

    def forward(self, values: Tensor) -> Tensor:
        x = values.to(self.linear1.weight.dtype).clamp(max=self.most).unsqueeze(-1)
        return self.norm(self.linear2(self.activation(self.linear1(x))))


class ChemEncoder(nn.Module):
    """A drug's fingerprint as a vector."""

    def __init__(self, c: Config):
        super().__init__()
        self.embedding = nn.Embedding(*c.drugs)
        self.fc, self.proj = nn.Linear(c.drugs[1], c.hidden_size), nn.Linear(c.hidden_size, c.hidden_size)
        self.norm = nn.LayerNorm(c.hidden_size)
        self.activation = _activation(c.get("chemical_encoder.activation", "leaky_relu"))

    def forward(self, drug: Tensor) -> Tensor:
        return self.norm(self.proj(self.activation(self.fc(self.embedding(drug)))))


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.heads = c.model["n_heads"]
        self.Wqkv = nn.Linear(c.hidden_size, 3 * c.hidden_size)
        self.out_proj = nn.Linear(c.hidden_size, c.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: [batch, length, d]; mask: [batch, 1, 1, length] bool, True where a key may be looked at."""
        q, k, v = self.Wqkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        width, eps = int(c.hidden_size * c.model["expansion_ratio"]), c.get("norm_config.eps", 1e-5)
        self.norm1, self.norm2 = (nn.LayerNorm(c.hidden_size, eps=eps) for _ in range(2))
        self.self_attn = Attention(c)
        self.up_proj, self.down_proj = nn.Linear(c.hidden_size, width), nn.Linear(width, c.hidden_size)
        self.activation = _activation(c.get("transformer_activation", "gelu"))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.norm1(x), mask)
        return x + self.down_proj(self.activation(self.up_proj(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.layers = nn.ModuleList(Block(c) for _ in range(c.model["n_layers"]))
        self.norm = nn.LayerNorm(c.hidden_size, eps=c.get("norm_config.eps", 1e-5))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class ExpressionDecoder(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        d = c.hidden_size
        self.linear_layers = nn.ModuleList(nn.Linear(d, d) for _ in range(c.get("expression_decoder.n_layers", 2)))
        self.out_proj = nn.Linear(d, c.get("expression_decoder.n_outputs", 1))
        self.activation = _activation(c.get("expression_decoder.activation", "leaky_relu"))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.linear_layers:
            x = self.activation(layer(x))
        return self.out_proj(x)


class CellDecoder(nn.Module):
    """What the cell's vector says of each gene's bin."""

    def __init__(self, c: Config):
        super().__init__()
        self.gene2query = nn.Linear(c.hidden_size, c.hidden_size)
        self.W = nn.Linear(c.hidden_size, c.hidden_size, bias=False)
        self.activation = _activation(c.get("mvc.query_activation", "sigmoid"))
        self.scale = math.sqrt(c.hidden_size) if c.get("mvc.scaled_dot_product", False) else 1.0

    def forward(self, cell: Tensor, genes: Tensor) -> Tensor:
        """cell: [batch, d]; genes: [batch, length, d], as embedded. Returns [batch, length]."""
        return (self.W(self.activation(self.gene2query(genes))) @ cell.unsqueeze(-1)).squeeze(-1) / self.scale


class TahoeX1(nn.Module):
    """The whole model. Its submodules bear the published names; flags, drugs and mvc are there if their weights are."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.gene_encoder, self.expression_encoder = GeneEncoder(config), ValueEncoder(config)
        if config.flags:
            self.flag_encoder = nn.Embedding(2, config.hidden_size)
        if config.drugs:
            self.chem_encoder = ChemEncoder(config)
        self.transformer_encoder, self.expression_decoder = Encoder(config), ExpressionDecoder(config)
        if config.mvc:
            self.mvc_decoder = CellDecoder(config)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.gene_encoder.embedding

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        values: Tensor,
        drug: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> Output:
        """All [batch, length]. input_ids: genes; attention_mask: 1 at real tokens, 0 at padding; values: bins.

        drug: its number, read where the token is <drug>. masked: bool, genes whose bin is hidden, to be predicted.
        """
        genes = self.gene_encoder(input_ids)
        value = self.expression_encoder(values)
        if masked is not None:
            value = torch.where(masked.unsqueeze(-1), self.flag_encoder.weight[1], value)
        x = genes + value
        if drug is not None:
            x = torch.where((input_ids == self.config.drug_token_id).unsqueeze(-1), self.chem_encoder(drug), x)
        some = attention_mask is not None and not bool(attention_mask.all())
        x = self.transformer_encoder(x, attention_mask[:, None, None, :].bool() if some else None)
        mvc = self.mvc_decoder(x[:, 0], genes) if self.config.mvc else None
        return Output(self.expression_decoder(x), mvc)


def _activation(name: str):
    if name not in ACTIVATIONS:
        raise ValueError(f"{MODEL}: activation {name!r}: known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _get(settings: dict, key: str, default):
    for part in key.split("."):
        settings = (settings or {}).get(part)
    return default if settings is None else settings


def recognises(folder: Path) -> bool:
    """A folder with model_config.yml, or with the published folder of one size in it."""
    return any((place / MODEL).is_file() for place in (folder, *(folder / size for size in SIZES)))


def read(folder: Path, random_init: bool, seed: int) -> tuple[nn.Module, BinTokenizer, Family, Path]:
    """vocab.json, model_config.yml, collator_config.yml and model.safetensors, as published, in `folder` or below it.

    The drug token of the 3B is used where the file that collator_config.yml names as drug_to_id_path lies beside them;
    else it is left out, as published inference does. Raises FileNotFoundError or ValueError.
    """
    folder = _size_folder(folder)
    weights, vocabulary = files.check_weights(folder), files.read_json(folder, VOCABULARY)
    model, collator = _settings(folder, MODEL), _settings(folder, COLLATOR)
    shapes = {k.removeprefix("model."): shape for k, shape in files.shapes(weights).items()}
    config = _config(folder, model, collator, vocabulary, shapes)
    tokenizer = BinTokenizer(vocabulary, collator, config.max_position_embeddings, _drugs(folder, collator, config))
    with torch.device("meta"):
        empty = TahoeX1(config)
    _check_keys(weights, {k: tuple(v.shape) for k, v in empty.state_dict().items()}, shapes)
    if random_init:
        return initialise(empty.to_empty(device="cpu"), seed), tokenizer, FAMILY, weights
    empty.load_state_dict({k.removeprefix("model."): x for k, x in load_file(weights).items()}, assign=True)
    return empty, tokenizer, FAMILY, weights


def _size_folder(folder: Path) -> Path:
    folders = [place for place in (folder, *(folder / size for size in SIZES)) if (place / MODEL).is_file()]
    if len(folders) > 1:
        raise ValueError(f"{folder}: holds {', '.join(p.name for p in folders)}: give the folder of one size")
    for name in (VOCABULARY, COLLATOR, "model.safetensors"):
        if not (folders[0] / name).is_file():
            held = ", ".join(sorted(p.name for p in folders[0].iterdir()))
            raise FileNotFoundError(
                f"{folders[0]}: no {name} (wanted {VOCABULARY}, {MODEL}, {COLLATOR}, model.safetensors; found {held})"
            )
    return folders[0]


def _settings(folder: Path, name: str) -> dict:
    try:
        settings = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{folder / name}: not YAML: {error}") from error
    if type(settings) is not dict:
        raise ValueError(f"{folder / name}: not a mapping but {type(settings).__name__}")
    return settings


def _config(folder: Path, model: dict, collator: dict, vocabulary: dict, shapes: dict) -> Config:
    needs = [(MODEL, model, k) for k in ("vocab_size", "d_model", "n_layers", "n_heads", "expansion_ratio")]
    needs += [(COLLATOR, collator, k) for k in ("pad_token_id", "pad_value", "max_length")]
    for name, settings, key in needs:
        if settings.get(key) is None:
            raise ValueError(f"{folder / name}: no {key}")
    for key, (default, computed) in FIXED.items():
        if (value := _get(model, key, default)) not in computed and not (key.endswith("heads") and value == model["n_heads"]):
            raise ValueError(f"{folder / MODEL}: {key} is {value!r}; computed here is {computed[0]!r} only")
    if not collator.get("do_binning", True) or collator.get("log_transform", False):
        raise ValueError(f"{folder / COLLATOR}: values are not binned; computed here are bins only")
    for name in ("<cls>", "<pad>"):
        if name not in vocabulary:
            raise ValueError(f"{folder / VOCABULARY}: no {name}")
    if (highest := max(vocabulary.values())) >= model["vocab_size"]:
        raise ValueError(f"{folder / VOCABULARY}: id {highest} of a model with vocab_size {model['vocab_size']}")
    drugs = shapes.get("chem_encoder.embedding.weight")
    flags, mvc = "flag_encoder.weight" in shapes, "mvc_decoder.W.weight" in shapes
    drug_token = vocabulary.get("<drug>")
    return Config(model, drugs, flags, mvc, collator["pad_token_id"], drug_token, collator["max_length"])


def _drugs(folder: Path, collator: dict, config: Config) -> dict[str, int] | None:
    """Drug name -> row of the fingerprint table, or None where the file is not there."""
    place = collator.get("drug_to_id_path")
    name = Path(str(place.get("local", "") if isinstance(place, dict) else place or "")).name
    if not name or not (folder / name).is_file():
        return None
    drugs = files.read_json(folder, name)
    if config.drugs is None or config.drug_token_id is None:
        raise ValueError(f"{folder / name}: drugs for a model without {'drug encoder' if config.drugs is None else '<drug>'}")
    if "<pad>" not in drugs or max(drugs.values()) >= config.drugs[0]:
        raise ValueError(f"{folder / name}: wanted <pad>, and numbers below {config.drugs[0]}")
    return drugs


def _check_keys(weights: Path, wanted: dict[str, tuple], actual: dict[str, tuple]) -> None:
    missing, unexpected = sorted(set(wanted) - set(actual)), sorted(set(actual) - set(wanted))
    shapes = [f"{k} {actual[k]}, wanted {wanted[k]}" for k in wanted if k in actual and actual[k] != wanted[k]]
    if missing or unexpected or shapes:
        parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        raise ValueError(f"{weights}: does not fill TahoeX1: " + "; ".join(f"{n} {p[:5]}" for n, p in parts if p))


@torch.no_grad()
def initialise(model: TahoeX1, seed: int) -> TahoeX1:
    """Random weights as before training: normal of variance 2 / fan-in, attention outputs over sqrt(2 layers), biases 0."""
    torch.manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("self_attn.out_proj"):
                module.weight /= math.sqrt(2 * len(model.transformer_encoder.layers))
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    return model
