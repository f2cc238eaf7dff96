"""Import and export SAEs of two other libraries: dictionary_learning and sparsify.

Neither format names the model's weights: keep what is read with `format.save`, naming model and site.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lib.sae import format
from lib.sae.model import SAE, SAEConfig


@dataclass(frozen=True)
class Layout:
    """architecture: ours. names: theirs for each of our tensors; encoder.weight and decoder.weight are transposed.
    centred: their encoder reads x - b_dec, as ours does. extra: what else the file holds. trained_as: as in
    SAEConfig."""

    architecture: str
    names: dict[str, str]
    centred: bool = True
    extra: tuple[str, ...] = ()
    trained_as: str = ""


_PLAIN = {name: name for name in (*format.TENSORS, "threshold")}
_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "b_dec"}
_GATE = {"b_enc": "gate_bias", "b_dec": "decoder_bias", "r_mag": "r_mag", "b_mag": "mag_bias"}
#: dictionary_learning's classes.
CLASSES = {
    "AutoEncoder": Layout("standard", _LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": Layout("standard", _LINEAR | {"b_dec": "decoder.bias"}, centred=False),
    "GatedAutoEncoder": Layout("gated", _LINEAR | _GATE),
    "AutoEncoderTopK": Layout("topk", _LINEAR, extra=("k", "threshold")),
    "BatchTopKSAE": Layout("jumprelu", _LINEAR | {"threshold": "threshold"}, True, ("k",), "batchtopk"),
    "MatryoshkaBatchTopKSAE": Layout("jumprelu", _PLAIN, True, ("k", "group_sizes"), "matryoshka"),
    "JumpReluAutoEncoder": Layout("jumprelu", _PLAIN, centred=False),
}
#: The class that each of our architectures is written as: an SAE at inference has no k or groups of training to give.
WRITTEN_AS = {"standard": "AutoEncoder", "gated": "GatedAutoEncoder", "topk": "AutoEncoderTopK",
              "jumprelu": "JumpReluAutoEncoder"}  # fmt: skip
SPARSIFY = Layout("topk", _LINEAR | {"W_dec": "W_dec"})


# dictionary_learning ---------------------------------------------------------------------------------------


def read_dictionary_learning(folder: Path) -> SAE:
    """Read a trainer folder, ae.pt and config.json. Reconstructs as theirs; latents as `format.canonical` says.

    ae.pt is a pickle: it is read with torch's weights_only loader, which runs no code from it. It holds a state
    dict, or, written during a run, one under "ae" beside a norm_factor by which biases and thresholds are then
    multiplied, as their library does at the end of a run. BatchTopK and Matryoshka become jumprelu with their
    threshold; where training ended before one was set, every positive latent is kept, as by theirs, with a warning.
    Raises FileNotFoundError, and ValueError for a class that is not one of CLASSES or for tensors that it lacks.
    """
    folder = Path(folder)
    trainer = format.part(format.read_json(folder / "config.json"), "trainer", folder)
    if (name := trainer.get("dict_class")) not in CLASSES:
        raise ValueError(f"{folder}: dict_class {name!r}: wanted one of {', '.join(CLASSES)}")
    layout, (state, scale) = CLASSES[name], _read_state(folder / "ae.pt")
    optional = {n: state[n] for n in layout.extra if n in state}
    format.check_names(state.keys() - optional.keys(), layout.names.values(), folder)
    tensors = {ours: tensor * _grows(ours, tensor, scale) for ours, tensor in _to_ours(state, layout).items()}
    d_in, d_sae = tensors["W_enc"].shape
    if "threshold" in tensors:
        if layout.trained_as and tensors["threshold"].max() < 0:
            warnings.warn(
                f"{folder}: no threshold was set in training: every positive latent is kept", stacklevel=2
            )
        tensors["threshold"] = tensors["threshold"].expand(d_sae)
    k = int(optional.get("k", trainer.get("k") or 0)) if layout.architecture == "topk" else 0
    trained_as = layout.trained_as or trainer.get("training_architecture")
    trained_as = format.training_name(trained_as, layout.architecture)
    config = SAEConfig(layout.architecture, d_in, d_sae, k, trained_as)
    return format.canonical(config, tensors, folder, layout.centred)


def write_dictionary_learning(sae: SAE, folder: Path, site: str, model: dict) -> None:
    """Write ae.pt and config.json. site, model: as in format.save, kept as names only.

    ae.pt is torch's pickle of a state dict, since that is their format: to keep or share an SAE safely, use
    format.save. A jumprelu, whatever it was trained as, becomes a JumpReluAutoEncoder, which does not subtract b_dec.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = WRITTEN_AS[sae.config.architecture]
    layer = re.search(r"\.(\d+)$", site)
    trainer = {
        "dict_class": name, "activation_dim": sae.config.d_in, "dict_size": sae.config.d_sae, "device": "cpu",
        "layer": int(layer[1]) if layer else None, "lm_name": model["class"], "submodule_name": site,
        "training_architecture": sae.config.trained_as,
    }  # fmt: skip
    state = _to_theirs(sae, CLASSES[name])
    if sae.config.architecture == "topk":
        trainer["k"] = sae.config.k
        state |= {"k": torch.tensor(sae.config.k, dtype=torch.int), "threshold": torch.tensor(-1.0)}
    torch.save(state, folder / "ae.pt")
    config = {"trainer": trainer, "buffer": {"d_submodule": sae.config.d_in, "io": "out", "ctx_len": None}}
    (folder / "config.json").write_text(json.dumps(config, indent=4) + "\n")


def _read_state(path: Path) -> tuple[dict[str, Tensor], float]:
    """Tensors by their names, and the factor that their biases still lack. Raises ValueError for anything else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: no {path.name}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: not a whole file of tensors alone: {repr(error)[:200]}") from error
    nested = isinstance(held, dict) and "ae" in held
    state = held["ae"] if nested else held
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(f"{path}: holds no state dict")
    return state, float(held.get("norm_factor") or 1.0) if nested else 1.0


def _grows(name: str, tensor: Tensor, scale: float) -> Tensor | float:
    """What to multiply by when activations grow by `scale`: biases and set thresholds grow, weights do not."""
    if name == "threshold":
        return torch.where(tensor < 0, 1.0, scale)
    return scale if name in ("b_enc", "b_dec", "b_mag") else 1.0


# sparsify --------------------------------------------------------------------------------------------------


def read_sparsify(folder: Path) -> SAE:
    """Read one hook point's folder, cfg.json and sae.safetensors: a TopK. Latents as `format.canonical` says.

    Raises FileNotFoundError, and ValueError for a transcoder, a skip connection, an activation other than "topk"
    (signed latents of early versions included), or tensors that are not those of a TopK.
    """
    folder = Path(folder)
    config = format.read_json(folder / "cfg.json")
    for name in ("transcode", "skip_connection", "signed"):
        if config.get(name):
            raise ValueError(f"{folder}: {name} is on: that is no autoencoder of kind TopK")
    if (activation := config.get("activation", "topk")) != "topk":
        raise ValueError(f"{folder}: activation {activation!r}: wanted 'topk'")
    state = format.read_safetensors(folder / "sae.safetensors")
    format.check_names(state, SPARSIFY.names.values(), folder)
    tensors = _to_ours(state, SPARSIFY)
    try:
        d_in, k = int(config["d_in"]), int(config["k"])
        d_sae = int(config.get("num_latents") or d_in * config["expansion_factor"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'cfg.json'}: {error!r}") from error
    return format.canonical(SAEConfig("topk", d_in, d_sae, k), tensors, folder)


def write_sparsify(sae: SAE, folder: Path) -> None:
    """Write cfg.json and sae.safetensors. Raises ValueError unless the SAE is a TopK, the one kind it has."""
    if sae.config.architecture != "topk":
        raise ValueError(f"sparsify has TopK only, found {sae.config.architecture}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    d_in, d_sae = sae.config.d_in, sae.config.d_sae
    config = {
        "activation": "topk", "expansion_factor": max(d_sae // d_in, 1), "normalize_decoder": True,
        "num_latents": d_sae, "k": sae.config.k, "multi_topk": False, "skip_connection": False, "transcode": False,
        "d_in": d_in,
    }  # fmt: skip
    save_file(_to_theirs(sae, SPARSIFY), folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config) + "\n")


# names and orientation -------------------------------------------------------------------------------------


def _turn(name: str, tensor: Tensor) -> Tensor:
    """Their linear layers keep [out, in], we keep [in, out]; the same turn both ways."""
    return tensor.T if name.endswith(".weight") else tensor


def _to_ours(state: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    return {ours: _turn(theirs, state[theirs]) for ours, theirs in layout.names.items()}


def _to_theirs(sae: SAE, layout: Layout) -> dict[str, Tensor]:
    """Every tensor by their name, in memory of its own; b_dec W_enc leaves the bias where they read x itself."""
    tensors = {name: getattr(sae, name).detach().double().cpu() for name in layout.names}
    if not layout.centred:
        tensors["b_enc"] = tensors["b_enc"] - tensors["b_dec"] @ tensors["W_enc"]
    return {
        theirs: _turn(theirs, tensors[ours]).float().contiguous() for ours, theirs in layout.names.items()
    }
