"""Save and load SAEs as SAELens v6 folders: cfg.json and sae_weights.safetensors. No pickles."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lib.models.adapter import check_safetensors
from lib.sae.model import SAE, SAEConfig

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def save(sae: SAE, folder: Path, site: str, model: dict) -> None:
    """Write the folder. model: the adapter's identity; it and the site are checked again at every use."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": sae.config.architecture, "d_in": sae.config.d_in, "d_sae": sae.config.d_sae,
        "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": site, "model_name": model["class"], "model": model},
    }  # fmt: skip
    if sae.config.architecture == "topk":
        config |= {"k": sae.config.k, "rescale_acts_by_decoder_norm": False}
    tensors = {name: getattr(sae, name).detach().contiguous() for name in TENSORS}
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder: Path, site: str, model: dict) -> SAE:
    """Read an SAE for use on `site` of `model`. Raises ValueError when it was trained on another, or is damaged."""
    folder = Path(folder)
    for name in ("cfg.json", "sae_weights.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name}")
    check_safetensors(folder / "sae_weights.safetensors")
    try:
        config = json.loads((folder / "cfg.json").read_text())
        trained, _ = config["metadata"], config["metadata"]["model"]["weights_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'cfg.json'}: no SAE of ours: {error!r}") from error
    if trained["hook_name"] != site:
        raise ValueError(f"{folder}: trained on site {trained['hook_name']}, asked for {site}")
    if trained["model"]["weights_sha256"] != model["weights_sha256"]:
        raise ValueError(
            f"{folder}: trained on {trained['model']['class']} {trained['model']['weights_sha256'][:16]}, "
            f"asked for {model['class']} {model['weights_sha256'][:16]}"
        )
    sae = SAE(SAEConfig(config["architecture"], config["d_in"], config["d_sae"], config.get("k", 0)))
    tensors = load_file(folder / "sae_weights.safetensors")
    with torch.no_grad():
        for name in TENSORS:
            if tensors[name].shape != getattr(sae, name).shape:
                raise ValueError(f"{folder}: {name} has shape {tuple(tensors[name].shape)}")
            getattr(sae, name).copy_(tensors[name])
    return sae.eval()
