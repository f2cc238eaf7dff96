"""Run in the environment of comparison libraries: helical's own HyenaDNA and Helix-mRNA beside ours, on tiny weights.

Its files are read one by one from where it is installed: the package itself imports single-cell libraries that neither
model needs, and rewires the root logger. Writes what was found as JSON: `python -m tests.peer_models hyena out.json`.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import types
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from lib.models import adapter, conformance, helix
from lib.models.mrna import MRNA, MRNATokenizer
from tests import helpers, state_spaces


def helical(name: str) -> types.ModuleType:
    """A module of helical without what its packages import beside it."""
    root = Path(metadata.distribution("helical").locate_file("helical"))
    parents = name.split(".")[:-1]
    for i in range(len(parents) + 1):
        bare = types.ModuleType(".".join(["helical", *parents[:i]]))
        bare.__path__ = [str(root.joinpath(*parents[:i]))]
        sys.modules.setdefault(bare.__name__, bare)
    return importlib.import_module(f"helical.{name}")


def randomise(model: nn.Module, names: tuple[str, ...] = ()) -> None:
    """Noise on every parameter, and on the buffers of these names, so that none can hide behind its initial value."""
    held = dict(model.named_parameters())
    held |= {name: tensor for name, tensor in model.named_buffers() if name.endswith(names)}
    with torch.no_grad():
        for tensor in held.values():
            tensor.add_(0.1 * tensor.abs().mean() * torch.randn_like(tensor))


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def failed(model: adapter.Adapter, records: list) -> list[str]:
    table = conformance.check(model, records)
    return sorted(table["check"][~table["passed"].fillna(True)])


# HyenaDNA --------------------------------------------------------------------------------------------------


@torch.inference_mode()
def compare_hyena(work: Path) -> dict:
    """Ours reads what theirs saved. The largest differences of every block's stream and of the output."""
    ours = state_spaces.HYENA
    layer = {
        "emb_dim": ours.emb_dim, "filter_order": ours.filter_order, "l_max": ours.max_seq_len, "w": ours.activation_freq,
        "modulate": True, "lr_pos_emb": 0.0,
    }  # fmt: skip
    torch.manual_seed(1)
    theirs = helical("models.hyena_dna.standalone_hyenadna").HyenaDNAModel(
        ours.d_model, ours.n_layer, ours.d_inner, ours.vocab_size, layer=layer, residual_in_fp32=True,
        pad_vocab_size_multiple=ours.pad_vocab_size_multiple, initializer_cfg={"initializer_range": 0.1},
    ).eval()  # fmt: skip
    randomise(theirs, ("pos_emb.z", "pos_emb.t", "deltas"))
    tensors = {f"hyena.{k}": v.clone() for k, v in theirs.state_dict().items()}
    tensors["lm_head.weight"] = torch.randn(ours.rows, ours.d_model)
    (work / "config.json").write_text(json.dumps(asdict(ours) | {"model_type": "hyenadna"}))
    save_file(tensors, work / "model.safetensors")

    model = adapter.load(work)
    batch = model.encode([helpers.random_dna(n, n, n_at=(3,)) for n in (100, 100)])
    seen: list[tuple] = []
    for block in theirs.backbone.layers:
        block.register_forward_hook(lambda _, __, output: seen.append(output))
    output = theirs(batch.ids)
    names = [f"resid_post.{k}" for k in range(ours.n_layer)]
    streams = model.run_grid(batch, [*names, "final"])
    return {
        "output": gap(streams["final"], output),
        "size": output.abs().max().item(),
        "returns": [[type(y).__name__ for y in x] for x in seen],
        "sum": [gap(streams[name], x[0] + x[1]) for name, x in zip(names, seen)],
        "first": [gap(streams[name], x[0]) for name, x in zip(names, seen)],
        "second": [gap(streams[name], x[1]) for name, x in zip(names, seen)],
    }


# Helix-mRNA ------------------------------------------------------------------------------------------------


class Shipped(nn.Module):
    """The released model under a head, run by its own forward."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.backbone, self.config = model, model.config
        self.config.model_type = "helix"
        self.lm_head = nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.embeddings

    def forward(self, **inputs):
        return types.SimpleNamespace(logits=self.lm_head(self.backbone(**inputs)[0]))


def drive(model: nn.Module, input_ids=None, attention_mask=None, **_) -> tuple:
    """The released blocks, each fed with the output of the one before."""
    x = model.embeddings(input_ids)
    for block in model.layers:
        x = block(x, use_cache=False)[0]
    return (model.norm_f(x),)


def released(chunk_size: int, time_step_min: float | None = None) -> nn.Module:
    """helical's class on the settings of our tiny model. time_step_min: None leaves the step sizes as released."""
    modelling = helical("models.helix_mrna.modeling_helix_mrna")
    settings = {k: v for k, v in state_spaces.HELIX.items() if k not in ("architectures", "model_type")}
    config = helical("models.helix_mrna.helix_mrna_pretrained_config").HelixmRNAPretrainedConfig(
        **(settings | {"chunk_size": chunk_size})
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(2)
    model = modelling.HelixmRNAPretrainedModel(config).eval()
    randomise(model)
    for block in model.layers:
        if hasattr(block, "mixer"):
            block.mixer.dt_bias.data[::2] -= 5  # some steps below the 0.001 that the released code raises them to
            block.mixer.time_step_min = block.mixer.time_step_min if time_step_min is None else time_step_min
    return model


def opened(model: nn.Module, driven: bool) -> adapter.Adapter:
    if driven:
        model.forward = partial(drive, model)
    family = replace(helix.FAMILY, sums=False)  # their attention, whose module has another name, is no site here
    return adapter.Adapter(Shipped(model), MRNATokenizer(), {}, "cpu", family)


def marked(mrna: MRNA) -> str:
    """The string that helical's documentation asks for: an E before each codon."""
    start, end = mrna.cds or (0, 0)
    codons = "".join("E" + mrna.sequence[i : i + 3] for i in range(start, end, 3))
    return mrna.sequence[:start] + codons + mrna.sequence[end:]


def padded_left(model: nn.Module, short: torch.Tensor, long: torch.Tensor) -> float:
    """Largest difference of a short sequence's stream, alone and padded on the left, with the masks of its own forward."""
    n = long.shape[1] - short.shape[1]
    ids = torch.cat([torch.cat([torch.ones(1, n, dtype=torch.long), short], dim=1), long])
    mask = torch.ones_like(ids)
    mask[0, :n] = 0
    x = model.embeddings(ids)
    causal = model._update_causal_mask(mask, x, torch.arange(ids.shape[1]))
    for block in model.layers:
        x = block(x, attention_mask=mask if hasattr(block, "mixer") else causal, use_cache=False)[0]
    return gap(drive(model, short)[0], model.norm_f(x)[:1, n:])


@torch.inference_mode()
def compare_helix(work: Path) -> dict:
    """Released and ours: the same weights, the same function inside one chunk; what fails as released."""
    whole, cut, records = 128, state_spaces.HELIX["chunk_size"], state_spaces.MRNAS
    released(whole).save_pretrained(work)
    ours = adapter.load(work)
    tokenizer = helical("models.helix_mrna.helix_mrna_tokenizer").CharTokenizer(model_max_length=512)
    short, long = (ours.encode([record]).ids for record in (records[2], records[1]))
    final = ours.run_grid(ours.encode(records[1:2]), ["final"])["final"]
    return {
        "ids": [ours.encode_one(r).ids.tolist() == tokenizer(marked(r))["input_ids"] for r in records],
        "size": final.abs().max().item(),
        "one chunk, any step": gap(drive(released(whole, 0.0), long)[0], final),
        "one chunk, steps of 0.001 and more": gap(drive(released(whole), long)[0], final),
        "many chunks, any step": gap(drive(released(cut, 0.0), long)[0], final),
        "padded left": padded_left(released(whole), short, long),
        "padded right": gap(drive(released(whole), torch.cat([short, short], 1))[0][:, : short.shape[1]],
                            drive(released(whole), short)[0]),
        "failed": {
            "driven, one chunk": failed(opened(released(whole), True), records),
            "driven, many chunks": failed(opened(released(cut), True), records),
            "as released, one chunk": failed(opened(released(whole), False), records),
        },
    }  # fmt: skip


if __name__ == "__main__":
    compare = {"hyena": compare_hyena, "helix": compare_helix}[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        Path(sys.argv[2]).write_text(json.dumps(compare(Path(folder)), indent=1))
