"""What other libraries make of SAEs. Runs in their environment, started by tests/test_interop.py.

`python tests/peer_sae.py FOLDER`: FOLDER holds acts.safetensors (x [token, d_in]) and ours/<library>/<case>/, folders
that we wrote. Writes theirs/<library>/<case>/, folders that the library wrote, and for every folder of both kinds
out/<ours or theirs>/<library>/<case>.safetensors: their latents [token, d_sae], x_hat [token, d_in] and the norms of
their decoder's rows, norm [d_sae]; classes.json names the class that each folder was loaded as.
"""

import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

D_SAE, K = 256, 16
UNCENTRED = {"apply_b_dec_to_input": False}
PLAIN = {"rescale_acts_by_decoder_norm": False}

#: Case: class and settings. Those of a training class are saved as that class saves its result.
SAELENS = {
    "standard": ("StandardSAE", {}),
    "standard_uncentred": ("StandardSAE", UNCENTRED),
    "standard_trained": ("StandardTrainingSAE", {}),
    "gated": ("GatedSAE", {}),
    "gated_uncentred": ("GatedSAE", UNCENTRED),
    "gated_trained": ("GatedTrainingSAE", {}),
    "topk": ("TopKSAE", {"k": K}),
    "topk_rescaled": ("TopKSAE", {"k": K, "rescale_acts_by_decoder_norm": True}),
    "topk_trained": ("TopKTrainingSAE", {"k": K}),
    "jumprelu": ("JumpReLUSAE", {}),
    "jumprelu_uncentred": ("JumpReLUSAE", UNCENTRED),
    "jumprelu_trained": ("JumpReLUTrainingSAE", {}),
    "batchtopk": ("BatchTopKTrainingSAE", {"k": K}),
    "batchtopk_plain": ("BatchTopKTrainingSAE", {"k": K} | PLAIN),
    "matryoshka": ("MatryoshkaBatchTopKTrainingSAE", {"k": K, "matryoshka_widths": [64, D_SAE]}),
}
#: Case: settings, and what the decoder's rows are multiplied by.
SPARSIFY = {
    "topk": ({"num_latents": D_SAE}, 1),
    "expanded": ({"expansion_factor": 2}, 1),
    "long": ({"num_latents": D_SAE}, 3),
}
#: Case: class, what it is made of beside its widths, and the factor of an unfinished run's file.
DICTIONARY_LEARNING = {
    "standard": ("AutoEncoder", (), None),
    "standard_new": ("AutoEncoderNew", (), None),
    "gated": ("GatedAutoEncoder", (), None),
    "topk": ("AutoEncoderTopK", (K,), None),
    "batchtopk": ("BatchTopKSAE", (K,), None),
    "matryoshka": ("MatryoshkaBatchTopKSAE", (K, [64, D_SAE - 64]), None),
    "jumprelu": ("JumpReluAutoEncoder", (), None),
    "gated_unfinished": ("GatedAutoEncoder", (), 7.0),
    "batchtopk_unfinished": ("BatchTopKSAE", (K,), 7.0),
}
THEIRS = {"saelens": SAELENS, "sparsify": SPARSIFY, "dictionary_learning": DICTIONARY_LEARNING}
CENTRES = ("b_dec", "bias", "decoder.bias", "decoder_bias")


@torch.no_grad()
def randomise(module, x, seed: int) -> None:
    """Every tensor random, so that none hides: biases of the data's size, encoders near their decoders."""
    generator = torch.Generator().manual_seed(seed)
    size = x.std()
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name in CENTRES:
            parameter.copy_(x.mean(0) + 0.1 * size * noise)
        elif name == "r_mag":
            parameter.copy_(0.3 * noise)
        elif parameter.ndim == 2:
            parameter.add_(0.1 * noise * parameter.std())
        else:
            parameter.copy_(size * noise)


@torch.no_grad()
def stretch(rows, seed: int) -> None:
    """Multiply rows [d_sae, d_in], in place, by 0.5 to 2 each."""
    generator = torch.Generator().manual_seed(seed)
    rows.mul_(0.5 + 1.5 * torch.rand(len(rows), 1, generator=generator))


# SAELens ---------------------------------------------------------------------------------------------------


def make_saelens(folder: Path, case: str, x, seed: int) -> None:
    import sae_lens

    name, settings = SAELENS[case]
    sae = getattr(sae_lens, name)(
        getattr(sae_lens, name + "Config")(d_in=x.shape[1], d_sae=D_SAE, **settings)
    )
    randomise(sae, x, seed)
    stretch(sae.W_dec.data, seed)
    if hasattr(sae, "topk_threshold"):
        pre = sae.process_sae_in(x) @ sae.W_enc + sae.b_enc
        pre = pre * sae.W_dec.norm(dim=1) if sae.cfg.rescale_acts_by_decoder_norm else pre
        sae.topk_threshold.fill_(pre.quantile(1 - K / D_SAE).item())  # as training would: K latents a token
    (sae.save_inference_model if "Training" in name else sae.save_model)(folder)


def use_saelens(folder: Path, x):
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder)
    latents = sae.encode(x)
    return sae, latents, sae.decode(latents), sae.W_dec.norm(dim=1)


# sparsify --------------------------------------------------------------------------------------------------


def make_sparsify(folder: Path, case: str, x, seed: int) -> None:
    from sparsify import SparseCoder
    from sparsify.config import SparseCoderConfig

    settings, factor = SPARSIFY[case]
    coder = SparseCoder(x.shape[1], SparseCoderConfig(k=K, **settings))
    randomise(coder, x, seed)
    coder.set_decoder_norm_to_unit_norm()
    coder.W_dec.data.mul_(factor)
    coder.save_to_disk(folder)


def use_sparsify(folder: Path, x):
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(folder)
    kept, index, _ = coder.encode(x)
    latents = torch.zeros(len(x), coder.num_latents).scatter(1, index, kept)
    return coder, latents, coder.decode(kept, index), coder.W_dec.norm(dim=1)


# dictionary_learning ---------------------------------------------------------------------------------------


def dictionary_class(name: str) -> type:
    """The library imports nnsight, for text models, wherever one starts; no dictionary uses it."""
    sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))
    from dictionary_learning import dictionary
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

    return next(
        getattr(m, name) for m in (dictionary, top_k, batch_top_k, matryoshka_batch_top_k) if hasattr(m, name)
    )


def rows_of(dictionary):
    return dictionary.W_dec.data if hasattr(dictionary, "W_dec") else dictionary.decoder.weight.data.T


def make_dictionary_learning(folder: Path, case: str, x, seed: int) -> None:
    name, rest, factor = DICTIONARY_LEARNING[case]
    dictionary = dictionary_class(name)(x.shape[1], D_SAE, *rest)
    randomise(dictionary, x, seed)
    if name == "JumpReluAutoEncoder":
        dictionary.threshold.data.sub_(0.5 * x.std())  # most are negative
    elif hasattr(dictionary, "threshold"):
        dictionary.threshold.fill_(2 * x.std().item())
    stretch(rows_of(dictionary), seed)
    folder.mkdir(parents=True)
    config = {"dict_class": name, "activation_dim": x.shape[1], "dict_size": D_SAE}
    (folder / "config.json").write_text(json.dumps({"trainer": config | ({"k": K} if rest else {})}))
    held = dictionary.state_dict()
    if factor:  # saved as it is in training, where activations are divided by the factor
        adam = torch.optim.Adam(dictionary.parameters()).state_dict()
        held = {"step": 9, "ae": held, "optimizer": adam, "config": config, "norm_factor": factor}
    torch.save(held, folder / "ae.pt")


def use_dictionary_learning(folder: Path, x):
    trainer = json.loads((folder / "config.json").read_text())["trainer"]
    made, state = dictionary_class(trainer["dict_class"]), torch.load(folder / "ae.pt", weights_only=True)
    sizes = [trainer["activation_dim"], trainer["dict_size"], *([trainer["k"]] if "k" in trainer else [])]
    held = state.get("ae", state)
    groups = [held["group_sizes"].tolist()] if "group_sizes" in held else []
    dictionary = made(*sizes, *groups)
    dictionary.load_state_dict(held)
    if "ae" in state:
        dictionary.scale_biases(state["norm_factor"])  # what their training does at its end
    latents = dictionary.encode(x)
    return dictionary, latents, dictionary.decode(latents), rows_of(dictionary).norm(dim=1)


# all of them -----------------------------------------------------------------------------------------------


@torch.no_grad()
def main(work: Path) -> None:
    torch.set_num_threads(1)
    x, classes = load_file(work / "acts.safetensors")["x"], {}
    for library, cases in THEIRS.items():
        make, use = globals()[f"make_{library}"], globals()[f"use_{library}"]
        for seed, case in enumerate(cases):
            torch.manual_seed(seed)
            make(work / "theirs" / library / case, case, x, seed)
        for side in ("ours", "theirs"):
            for folder in sorted((work / side / library).iterdir()):
                sae, latents, x_hat, norm = use(folder, x)
                classes[f"{side}/{library}/{folder.name}"] = type(sae).__name__
                out = work / "out" / side / library / f"{folder.name}.safetensors"
                out.parent.mkdir(parents=True, exist_ok=True)
                tensors = {"latents": latents, "x_hat": x_hat, "norm": norm}
                save_file({name: t.float().clone().contiguous() for name, t in tensors.items()}, out)
    (work / "classes.json").write_text(json.dumps(classes, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
