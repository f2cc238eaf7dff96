"""Save and load SAEs as SAELens v6 folders: cfg.json and sae_weights.safetensors. No pickles.

A convolutional SAE is kept alike, but SAELens cannot read it, and its cfg.json says so. Whoever has to read it elsewhere unrolls it:
each centre's `window` tokens side by side are one input of window * d_in numbers, and on these W_enc [window * d_in, d_sae],
W_dec [d_sae, window * d_in] and b_enc are those of an SAE, b_dec being repeated for each token of the window. What it decodes are
windows: added up where they overlap (b_dec counted once), they are the reconstruction. Which codes stand is a rule over
neighbouring windows that no other library has (lib/sae/convolution.py, `chosen`).
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib.models.files import read_header
from lib.sae.model import ARCHITECTURES, INFERENCE, SAE, SAEConfig

#: What every SAE has, and what some have besides.
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
BESIDES = {"jumprelu": ("threshold",), "gated": ("r_mag", "b_mag")}
#: Where SAELens says it otherwise.
THEIR_TRAINING = {"matryoshka": "matryoshka_batchtopk"}
VERSION = "6.54.12"
#: What the cfg.json of a convolutional SAE says of itself.
ONLY_HERE = "SAE-DNA only: SAELens has no convolutional SAE; lib/sae/format.py says how to unroll it"
#: Row norms this near to 1 are 1: what float32 leaves after a division by the norm.
UNIT = 1e-5


def save(sae: SAE, folder: Path, site: str, model: dict) -> None:
    """Write the folder. model: the adapter's identity; it and the site are checked again at every use."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": sae.config.architecture, "d_in": sae.config.d_in, "d_sae": sae.config.d_sae,
        "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": VERSION, "hook_name": site, "model_name": model["class"], "model": model},
    }  # fmt: skip
    if sae.config.window:
        config |= {"k": sae.config.k, "window": sae.config.window}
        config["metadata"] = {"readable_by": ONLY_HERE} | {k: v for k, v in config["metadata"].items() if k != "sae_lens_version"}
    if sae.config.architecture == "topk":
        config |= {"k": sae.config.k, "rescale_acts_by_decoder_norm": False}
    if trained_as := sae.config.trained_as:
        config["metadata"]["training_architecture"] = THEIR_TRAINING.get(trained_as, trained_as)
    names = _names(sae.config.architecture)
    tensors = {theirs: getattr(sae, ours).detach().float().cpu() for ours, theirs in names.items()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder: Path, site: str, model: dict) -> SAE:
    """Read an SAE for use on `site` of `model`. Raises ValueError when it was trained on another, or is damaged."""
    where, trained = trained_on(folder)
    if where != site:
        raise ValueError(f"{folder}: trained on site {where}, asked for {site}")
    if trained["weights_sha256"] != model["weights_sha256"]:
        said, wanted = (f"{m['class']} {m['weights_sha256'][:16]}" for m in (trained, model))
        raise ValueError(f"{folder}: trained on {said}, asked for {wanted}")
    tokenizers = [m["tokenizer_sha256"] for m in (trained, model) if "tokenizer_sha256" in m]
    if len(set(tokenizers)) > 1:
        raise ValueError(f"{folder}: trained with tokenizer {tokenizers[0][:16]}, asked for {tokenizers[1][:16]}")
    config = _config(_read_config(folder), folder)
    return build(config, _read_tensors(folder, config.architecture), folder)


def trained_on(folder: Path) -> tuple[str, dict]:
    """Site and model identity that one of our folders names. Raises ValueError for a folder that names none."""
    config = _read_config(folder)
    try:
        site, model = config["metadata"]["hook_name"], config["metadata"]["model"]
        if not all(isinstance(text, str) for text in (site, model["class"], model["weights_sha256"])):
            raise TypeError("site, class or weights_sha256 is no text")
    except (KeyError, TypeError) as error:
        raise ValueError(f"{Path(folder) / 'cfg.json'}: no SAE of ours: {error!r}") from error
    return site, model


def read_saelens(folder: Path) -> SAE:
    """Read a folder that SAELens 6 wrote, whatever model it was trained on; keep it with `save`, naming that model.

    Its encoder may leave b_dec alone, and its rows may have any norm: `canonical` says what becomes of either.
    Raises FileNotFoundError where a file is missing, and ValueError for a folder from before SAELens 6, an
    architecture with no counterpart here, normalised activations, or a damaged file.
    """
    settings = _read_config(folder)
    if settings.get("architecture") == "convolutional":
        raise ValueError(f"{folder}: a convolutional SAE, which SAELens does not write: it is ours already")
    config, metadata = _config(settings, folder), part(settings, "metadata", folder)
    version = str(metadata.get("sae_lens_version") or settings.get("sae_lens_version") or 0)
    if not (major := version.split(".")[0]).isdecimal() or int(major) < 6:
        raise ValueError(f"{folder}: written before SAELens 6; load and save it once with SAELens {VERSION}")
    if (normalised := settings.get("normalize_activations", "none")) != "none":
        raise ValueError(
            f"{folder}: normalize_activations is {normalised!r}, wanted 'none': fold it into the weights first"
        )
    centred = settings.get("apply_b_dec_to_input", True)
    rescaled = settings.get("rescale_acts_by_decoder_norm", False)
    return canonical(config, _read_tensors(folder, config.architecture), folder, centred, rescaled)


def canonical(config: SAEConfig, tensors: dict[str, Tensor], where, centred=True, rescaled=False) -> SAE:
    """The SAE, in our convention, that reconstructs as one of another library does.

    tensors: ours by name; W_dec [d_sae, d_in] may have any row norms n [d_sae]. centred: whether its encoder reads
    x - b_dec; where it reads x, b_dec W_enc [d_sae] goes into the bias of every path. Rows then get unit norm and
    latents n times their value; a row of zeros stays. `rescaled`: a TopK that chooses by latent times n, so that
    its latents are the chosen products already. A TopK that chooses by the bare latent would choose others, so
    its rows and latents are scaled by one number, the mean of n, and a warning gives the norms that stay.

    Computed in float64, kept in float32. where: named by errors. Raises ValueError as `build` does.
    """
    check_shapes(config, tensors, where)
    t = {name: tensor.cpu().double() for name, tensor in tensors.items()}
    if not centred:
        shift = t["b_dec"] @ t["W_enc"]
        t["b_enc"] = t["b_enc"] + shift
        if config.architecture == "gated":
            t["b_mag"] = t["b_mag"] + shift * t["r_mag"].exp()
    norm = t["W_dec"].norm(dim=1)
    norm = torch.where(norm == 0, 1.0, norm)
    if (norm - 1).abs().max() > UNIT:
        if config.architecture == "topk" and not rescaled:
            norm = _one_norm(norm, where)
        t["W_dec"] = t["W_dec"] / norm[:, None]
        for name in t.keys() & {"W_enc", "b_enc", "b_mag", "threshold"}:
            t[name] = t[name] * norm
    if config.architecture == "jumprelu":
        t["threshold"] = t["threshold"].clamp_min(0)  # below it, their ReLU decides
    return build(config, t, where)


def build(config: SAEConfig, tensors: dict[str, Tensor], where) -> SAE:
    """The SAE of these tensors, by our names, ready for use. Raises ValueError as `check_shapes` does."""
    check_shapes(config, tensors, where)
    sae = SAE(config)
    with torch.no_grad():
        for name, tensor in tensors.items():
            getattr(sae, name).copy_(tensor)
    return sae.eval()


def check_shapes(config: SAEConfig, tensors: dict[str, Tensor], where) -> None:
    """Raises ValueError, naming `where`, when a tensor's shape is not the one that config asks for."""
    d_row, d_sae = config.d_row, config.d_sae
    shapes = {"W_enc": (d_row, d_sae), "W_dec": (d_sae, d_row), "b_dec": (config.d_in,)}
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != (wanted := shapes.get(name, (d_sae,))):
            raise ValueError(f"{where}: {name} has shape {tuple(tensor.shape)}, wanted {wanted}")


def training_name(theirs: str | None, architecture: str) -> str:
    """SAEConfig.trained_as from a file's word for it: "" where that is the architecture itself, or unknown."""
    ours = next((ours for ours, name in THEIR_TRAINING.items() if name == theirs), theirs)
    return ours if ours in ARCHITECTURES and ours != architecture else ""


def check_names(actual, wanted, where) -> None:
    """Raises ValueError when tensors are missing, or when some are there that would go unread."""
    if set(actual) != set(wanted):
        raise ValueError(f"{where}: holds {', '.join(sorted(actual))}; wanted {', '.join(sorted(wanted))}")


def read_json(path: Path) -> dict:
    """Raises FileNotFoundError, or ValueError when it holds no JSON object."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: no {path.name}")
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no JSON object: {error}") from error


def part(config: dict, name: str, where) -> dict:
    """The object inside a JSON object, {} where there is none. Raises ValueError for anything else."""
    try:
        return dict(config.get(name) or {})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {name} is {str(config[name])[:40]!r}, wanted an object") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Raises FileNotFoundError, or ValueError when it is not whole."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: no {path.name}")
    read_header(path)
    return load_file(path)


def _names(architecture: str) -> dict[str, str]:
    """SAELens' name of each of our tensors: they differ for the gate's bias."""
    ours = TENSORS + BESIDES.get(architecture, ())
    return {name: "b_gate" if architecture == "gated" and name == "b_enc" else name for name in ours}


def _read_config(folder: Path) -> dict:
    """cfg.json, once both files are there and the weights are whole."""
    folder = Path(folder)
    config = read_json(folder / "cfg.json")
    if not (folder / "sae_weights.safetensors").is_file():
        raise FileNotFoundError(f"{folder}: no sae_weights.safetensors")
    read_header(folder / "sae_weights.safetensors")
    return config


def _config(config: dict, folder: Path) -> SAEConfig:
    """Ours from cfg.json. Raises ValueError for an architecture or widths that make no SAE of ours."""
    if (architecture := config.get("architecture")) not in INFERENCE:
        raise ValueError(f"{folder}: architecture {architecture!r}: wanted one of {', '.join(INFERENCE)}")
    trained_as = training_name(part(config, "metadata", folder).get("training_architecture"), architecture)
    try:
        widths = int(config["d_in"]), int(config["d_sae"])
        return SAEConfig(architecture, *widths, int(config.get("k", 0)), trained_as, int(config.get("window", 0)))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{Path(folder) / 'cfg.json'}: {error!r}") from error


def _read_tensors(folder: Path, architecture: str) -> dict[str, Tensor]:
    """By our names. Raises ValueError for tensors that the architecture does not have."""
    tensors, names = read_safetensors(Path(folder) / "sae_weights.safetensors"), _names(architecture)
    check_names(tensors, names.values(), folder)
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def _one_norm(norm: Tensor, where) -> Tensor:
    """[d_sae] -> its mean [d_sae]; warns when rows are not of one norm."""
    mean = norm.mean().expand_as(norm)
    if (norm / mean - 1).abs().max() > 1e-3:
        low, high = (norm / mean).aminmax()
        warnings.warn(f"{where}: TopK over rows of unlike norms, kept: {low:.3g} to {high:.3g}", stacklevel=4)
    return mean
