"""Files of other libraries, by what encode and decode give: formulas worked here, and the libraries themselves.

The libraries run in an environment of their own (`make peers`), on activations of the committed demo model.
"""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.dna import planted
from lib.models import adapter
from lib.models import sequence as sq
from lib.sae import foreign, format
from lib.sae.model import SAE, SAEConfig
from tests import peer_sae

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers/bin/python"
IDENTITY = {"class": "EsmForMaskedLM", "weights_sha256": "a" * 64}
#: What can be saved: architecture at inference, and in training.
KINDS = {
    "standard": ("standard", ""), "gated": ("gated", ""), "topk": ("topk", ""), "jumprelu": ("jumprelu", ""),
    "batchtopk": ("jumprelu", "batchtopk"), "matryoshka": ("jumprelu", "matryoshka"),
}  # fmt: skip


def random_sae(kind: str, x: torch.Tensor, d_sae=peer_sae.D_SAE, k=peer_sae.K, seed=0) -> SAE:
    """Every tensor random, of the size of x [token, d_in], so that none hides."""
    architecture, trained_as = KINDS[kind]
    config = SAEConfig(architecture, x.shape[1], d_sae, k if architecture == "topk" else 0, trained_as)
    sae, generator = SAE(config, seed), torch.Generator().manual_seed(seed)
    size = x.std()
    with torch.no_grad():
        sae.W_enc.add_(0.1 * sae.W_enc.std() * torch.randn(sae.W_enc.shape, generator=generator))
        sae.b_enc.copy_(size * torch.randn(d_sae, generator=generator))
        sae.b_dec.copy_(x.mean(0) + 0.1 * size * torch.randn(x.shape[1], generator=generator))
        if architecture == "gated":
            sae.r_mag.copy_(0.3 * torch.randn(d_sae, generator=generator))
            sae.b_mag.copy_(size * torch.randn(d_sae, generator=generator))
        if architecture == "jumprelu":
            one = torch.ones(d_sae) if trained_as else torch.rand(d_sae, generator=generator)
            sae.threshold.copy_(2 * size * one)
    return sae.eval()


def toy(d_in=6, n=200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return 3 * torch.randn(n, d_in, generator=generator) + torch.arange(d_in)


def same_weights(a: SAE, b: SAE) -> bool:
    return a.config == b.config and all(
        torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


@torch.no_grad()
def clear(sae: SAE, x: torch.Tensor) -> torch.Tensor:
    """[token] bool: no latent of the token stands so near its threshold that rounding could switch it."""
    pre = sae.pre_activations(x)
    if sae.config.architecture == "standard":
        return torch.ones(len(x), dtype=torch.bool)
    if sae.config.architecture == "topk":
        value = pre.topk(sae.config.k + 1, dim=1).values
        margin = value[:, -2] - value[:, -1]
    else:
        margin = (pre - getattr(sae, "threshold", 0)).abs().amin(1)
    return margin > 3e-6 * pre.abs().max()


@torch.no_grad()
def assert_same(sae: SAE, x: torch.Tensor, latents: torch.Tensor, x_hat: torch.Tensor) -> None:
    """Latents and reconstruction equal to 1e-5 of the largest value; decode alone too, on every token."""
    on = clear(sae, x)
    assert on.float().mean() > 0.99
    own = sae.encode(x)
    assert 0.01 < (own > 0).float().mean() < 0.7  # neither empty nor full, or the choice would not be tested
    for got, want in [(own[on], latents[on]), (sae.decode(own)[on], x_hat[on]), (sae.decode(latents), x_hat)]:
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


# Our own folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_comes_back_exactly(tmp_path, kind):
    sae = random_sae(kind, toy(), 20, 3)
    format.save(sae, tmp_path, "resid_post.2", IDENTITY)
    assert same_weights(format.load(tmp_path, "resid_post.2", IDENTITY), sae)
    assert same_weights(format.read_saelens(tmp_path), sae)  # rows of unit norm are left as they are


def test_the_files_are_what_saelens_6_asks_for(tmp_path):
    for kind, names in {
        "gated": {"W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag"},
        "matryoshka": {"W_enc", "W_dec", "b_dec", "b_enc", "threshold"},
    }.items():
        format.save(random_sae(kind, toy(), 20, 3), tmp_path / kind, "resid_post.2", IDENTITY)
        assert load_file(tmp_path / kind / "sae_weights.safetensors").keys() == names
    config = json.loads((tmp_path / "matryoshka/cfg.json").read_text())
    assert config["architecture"] == "jumprelu" and config["metadata"]["sae_lens_version"] == "6.54.12"
    assert config["metadata"]["training_architecture"] == "matryoshka_batchtopk"


def test_what_has_no_counterpart_is_refused_by_name(tmp_path):
    def changed(drop="", **settings):
        format.save(random_sae("gated", toy(), 20), tmp_path, "s", IDENTITY)
        config = json.loads((tmp_path / "cfg.json").read_text())
        config = {key: value for key, value in (config | settings).items() if key != drop}
        (tmp_path / "cfg.json").write_text(json.dumps(config))
        return tmp_path

    with pytest.raises(ValueError, match="architecture 'transcoder': wanted one of standard, gated"):
        format.read_saelens(changed(architecture="transcoder"))
    with pytest.raises(ValueError, match="normalize_activations is 'layer_norm'"):
        format.read_saelens(changed(normalize_activations="layer_norm"))
    for metadata in ({}, None, {"sae_lens_version": "5.10.3"}):
        with pytest.raises(ValueError, match="before SAELens 6"):
            format.read_saelens(changed(metadata=metadata))
    with pytest.raises(ValueError, match="cfg.json: KeyError"):
        format.read_saelens(changed(drop="d_sae"))
    with pytest.raises(ValueError, match="holds W_dec.*b_gate.*wanted W_dec, W_enc, b_dec, b_enc"):
        format.read_saelens(changed(architecture="standard"))
    with pytest.raises(
        ValueError, match=r"W_dec has shape \(20, 6\), wanted \(20, 7\)|W_enc has shape \(6, 20\)"
    ):
        format.read_saelens(changed(d_in=7))
    tensors = load_file(changed() / "sae_weights.safetensors")
    save_file(tensors | {"W_skip": torch.zeros(6, 6)}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(ValueError, match="holds W_dec, W_enc, W_skip"):
        format.read_saelens(tmp_path)


def test_folding_by_hand():
    x = torch.tensor([[1.0, 1]])
    t = {"W_enc": torch.tensor([[1.0, 3], [0, 1]]), "b_enc": torch.tensor([0.5, 0]), "b_dec": torch.tensor([1.0, 0]),
         "W_dec": torch.tensor([[0.0, 2], [0.6, 0.8]]), "threshold": torch.tensor([1.0, -1])}  # fmt: skip
    # it reads x itself: pre = (1 + 0.5, 3 + 1) = (1.5, 4), both above their thresholds; the first row has norm 2
    sae = format.canonical(SAEConfig("jumprelu", 2, 2), t, "here", centred=False)
    torch.testing.assert_close(sae.encode(x), torch.tensor([[3.0, 4]]))
    torch.testing.assert_close(sae(x)[0], torch.tensor([[4 * 0.6 + 1, 1.5 * 2 + 4 * 0.8]]))
    torch.testing.assert_close(sae.threshold.detach(), torch.tensor([2.0, 0]))
    # TopK, k 1: by value it takes the second, 4; by value times norm, now 6 and 4, the first
    t["W_dec"] = torch.tensor([[0.0, 4], [0.6, 0.8]])
    del t["threshold"]
    with pytest.warns(UserWarning, match="here: TopK over rows of unlike norms, kept: 0.4 to 1.6"):
        plain = format.canonical(SAEConfig("topk", 2, 2, 1), t, "here", centred=False)
    rescaled = format.canonical(SAEConfig("topk", 2, 2, 1), t, "here", centred=False, rescaled=True)
    torch.testing.assert_close(plain(x)[0], torch.tensor([[4 * 0.6 + 1, 4 * 0.8]]))
    torch.testing.assert_close(rescaled(x)[0], torch.tensor([[1.0, 1.5 * 4]]))


def test_a_row_of_zeros_stays_and_unlike_shapes_are_refused():
    t = {"W_enc": torch.ones(2, 3), "b_enc": torch.zeros(3), "b_dec": torch.zeros(2),
         "W_dec": torch.tensor([[0.0, 0], [3, 4], [1, 0]])}  # fmt: skip
    sae = format.canonical(SAEConfig("standard", 2, 3), t, "here")
    torch.testing.assert_close(sae.encode(torch.ones(1, 2)), torch.tensor([[2.0, 10, 2]]))
    torch.testing.assert_close(sae.W_dec.detach(), torch.tensor([[0.0, 0], [0.6, 0.8], [1, 0]]))
    for name, shape in {"W_dec": (2, 2), "b_enc": (2,), "b_dec": (3,)}.items():
        with pytest.raises(ValueError, match=f"here: {name} has shape"):
            format.canonical(
                SAEConfig("standard", 2, 3), t | {name: torch.ones(shape)}, "here", centred=False
            )


# dictionary_learning ---------------------------------------------------------------------------------------

# From the classes' source: class, tensors by name and shape (D = d_in, F = d_sae), and latents of x.


def relu(x):
    return x.clip(0)


def over(pre, threshold):
    return relu(pre) * (pre > threshold)


def largest(pre, k):
    return np.where(pre >= np.sort(pre, 1)[:, [-k]], relu(pre), 0)


LINEAR = {"encoder.weight": "FD", "encoder.bias": "F", "decoder.weight": "DF"}
OWN = {"W_enc": "DF", "b_enc": "F", "W_dec": "FD", "b_dec": "D"}
DL = {
    "AutoEncoder": (
        LINEAR | {"bias": "D"},
        lambda s, x: relu((x - s["bias"]) @ s["encoder.weight"].T + s["encoder.bias"]),
    ),
    "AutoEncoderNew": (
        LINEAR | {"decoder.bias": "D"},
        lambda s, x: relu(x @ s["encoder.weight"].T + s["encoder.bias"]),
    ),
    "GatedAutoEncoder": (
        {"encoder.weight": "FD", "decoder.weight": "DF", "decoder_bias": "D", "gate_bias": "F", "mag_bias": "F", "r_mag": "F"},
        lambda s, x: (
            ((x - s["decoder_bias"]) @ s["encoder.weight"].T + s["gate_bias"] > 0)
            * relu(np.exp(s["r_mag"]) * ((x - s["decoder_bias"]) @ s["encoder.weight"].T) + s["mag_bias"])
        ),
    ),
    "AutoEncoderTopK": (
        LINEAR | {"b_dec": "D", "k": "", "threshold": ""},
        lambda s, x: largest((x - s["b_dec"]) @ s["encoder.weight"].T + s["encoder.bias"], 3),
    ),
    "BatchTopKSAE": (
        LINEAR | {"b_dec": "D", "k": "", "threshold": ""},
        lambda s, x: over((x - s["b_dec"]) @ s["encoder.weight"].T + s["encoder.bias"], s["threshold"]),
    ),
    "MatryoshkaBatchTopKSAE": (
        OWN | {"k": "", "threshold": "", "group_sizes": "G"},
        lambda s, x: over((x - s["b_dec"]) @ s["W_enc"] + s["b_enc"], s["threshold"]),
    ),
    "JumpReluAutoEncoder": (OWN | {"threshold": "F"}, lambda s, x: over(x @ s["W_enc"] + s["b_enc"], s["threshold"])),
}  # fmt: skip
SIZES = {"D": 6, "F": 20, "G": 2}


def dl_folder(folder: Path, name: str, unit=True, seed=0, **nested) -> dict:
    """A trainer folder of random tensors; the state dict. nested: what an unfinished run's file holds besides."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        n: torch.randn([SIZES[c] for c in shape], generator=generator) for n, shape in DL[name][0].items()
    }
    if unit:
        dim, rows = ("decoder.weight", 0) if "decoder.weight" in state else ("W_dec", 1)
        state[dim] = state[dim] / state[dim].norm(dim=rows, keepdim=True)
    state |= {"k": torch.tensor(3, dtype=torch.int)} if "k" in state else {}
    state |= {"group_sizes": torch.tensor([8, 12])} if "group_sizes" in state else {}
    state |= {"threshold": state["threshold"].abs()} if "threshold" in state else {}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"ae": state, "step": 9} | nested if nested else state, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name}, "buffer": {}}))
    return state


def dl_forward(name: str, state: dict, x) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and reconstruction, in float64, as if rows had unit norm: latents times the norm."""
    s, x = {n: t.double().numpy() for n, t in state.items()}, x.double().numpy()
    rows = s["decoder.weight"].T if "decoder.weight" in s else s["W_dec"]
    centre = next(s[n] for n in peer_sae.CENTRES if n in s)
    latents = DL[name][1](s, x)
    scaled = latents * np.linalg.norm(rows, axis=1)
    return torch.from_numpy(scaled).float(), torch.from_numpy(latents @ rows + centre).float()


@pytest.mark.parametrize("name", DL)
def test_dictionary_learning_classes_by_formula(tmp_path, name):
    state = dl_folder(tmp_path, name, unit=name == "AutoEncoderTopK")
    sae, x = foreign.read_dictionary_learning(tmp_path), toy()
    assert_same(sae, x, *dl_forward(name, state, x))
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(20))
    assert sae.config.trained_as == {"BatchTopKSAE": "batchtopk", "MatryoshkaBatchTopKSAE": "matryoshka"}.get(
        name, ""
    )


@pytest.mark.parametrize("name", ["AutoEncoder", "GatedAutoEncoder", "BatchTopKSAE"])
def test_an_unfinished_run_is_read_at_the_scale_of_raw_activations(tmp_path, name):
    state = dl_folder(tmp_path, name, norm_factor=4.0)
    sae, x = foreign.read_dictionary_learning(tmp_path), toy()
    latents, x_hat = dl_forward(name, state, x / 4)  # what it was trained on
    assert_same(sae, x, 4 * latents, 4 * x_hat)
    dl_folder(tmp_path, name, norm_factor=None)  # nothing was divided
    assert_same(foreign.read_dictionary_learning(tmp_path), x, *dl_forward(name, state, x))


def test_a_threshold_never_set_keeps_every_positive_latent_and_warns(tmp_path):
    state = dl_folder(tmp_path, "BatchTopKSAE") | {"threshold": torch.tensor(-1.0)}
    torch.save({"ae": state, "norm_factor": 4.0}, tmp_path / "ae.pt")
    with pytest.warns(UserWarning, match="no threshold was set"):
        sae = foreign.read_dictionary_learning(tmp_path)
    assert (sae.threshold == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_dictionary_learning_export(tmp_path, kind):
    x = toy()
    sae = random_sae(kind, x, 20, 3)
    foreign.write_dictionary_learning(sae, tmp_path, "resid_post.2", IDENTITY)
    trainer = json.loads((tmp_path / "config.json").read_text())["trainer"]
    state = torch.load(tmp_path / "ae.pt", weights_only=True)
    shapes = {n: [SIZES[c] for c in shape] for n, shape in DL[trainer["dict_class"]][0].items()}
    assert {n: list(t.shape) for n, t in state.items()} == shapes
    assert (trainer["layer"], trainer["lm_name"], trainer["dict_size"]) == (2, "EsmForMaskedLM", 20)
    assert_same(sae, x, *dl_forward(trainer["dict_class"], state, x))
    back = foreign.read_dictionary_learning(tmp_path)
    with torch.no_grad():
        assert_same(back, x, sae.encode(x), sae(x)[0])
    assert back.config == sae.config


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path):
    state = dl_folder(tmp_path, "AutoEncoder") | {"bias": Harm(tmp_path / "ran")}
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(ValueError, match="ae.pt: not a whole file of tensors alone"):
        foreign.read_dictionary_learning(tmp_path)
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(ValueError, match="ae.pt: not a whole file of tensors alone"):
        foreign.read_dictionary_learning(tmp_path)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "ae.pt", weights_only=False)  # the control: it does run where it may
    assert (tmp_path / "ran").exists()


def test_trainer_folders_that_are_none_are_refused_by_name(tmp_path):
    dl_folder(tmp_path, "AutoEncoder")
    data = (tmp_path / "ae.pt").read_bytes()
    for size in (0, 1, 5, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "ae.pt").write_bytes(data[:size])
        with pytest.raises(ValueError, match="ae.pt: not a whole file"):
            foreign.read_dictionary_learning(tmp_path)
    torch.save([1, 2], tmp_path / "ae.pt")
    with pytest.raises(ValueError, match="ae.pt: holds no state dict"):
        foreign.read_dictionary_learning(tmp_path)
    dl_folder(tmp_path, "AutoEncoder")
    (tmp_path / "config.json").write_text('{"trainer": {"dict_class": "CrossCoder"}}')
    with pytest.raises(ValueError, match="dict_class 'CrossCoder': wanted one of AutoEncoder, "):
        foreign.read_dictionary_learning(tmp_path)
    (tmp_path / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoderTopK"}}')
    with pytest.raises(ValueError, match="holds bias, decoder.weight.*wanted b_dec, decoder.weight"):
        foreign.read_dictionary_learning(tmp_path)
    (tmp_path / "ae.pt").unlink()
    with pytest.raises(FileNotFoundError, match="no ae.pt"):
        foreign.read_dictionary_learning(tmp_path)


# sparsify --------------------------------------------------------------------------------------------------


def test_sparsify_comes_back_exactly_and_by_formula(tmp_path):
    x = toy()
    sae = random_sae("topk", x, 20, 3)
    foreign.write_sparsify(sae, tmp_path)
    assert same_weights(foreign.read_sparsify(tmp_path), sae)
    t = {n: v.double().numpy() for n, v in load_file(tmp_path / "sae.safetensors").items()}
    latents = largest((x.double().numpy() - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"], 3)
    x_hat = latents @ t["W_dec"] + t["b_dec"]
    assert_same(sae, x, torch.from_numpy(latents).float(), torch.from_numpy(x_hat).float())


def test_sparsify_refuses_what_it_or_we_have_not(tmp_path):
    with pytest.raises(ValueError, match="sparsify has TopK only, found gated"):
        foreign.write_sparsify(random_sae("gated", toy(), 20), tmp_path)
    foreign.write_sparsify(random_sae("topk", toy(), 20, 3), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    for settings, message in [
        ({"transcode": True}, "transcode is on"),
        ({"skip_connection": True}, "skip_connection is on"),
        ({"signed": True}, "signed is on"),
        ({"activation": "groupmax"}, "activation 'groupmax': wanted 'topk'"),
        ({"num_latents": 0}, r"W_enc has shape \(6, 20\), wanted \(6, 18\)"),
        ({"k": None}, "cfg.json: TypeError"),
    ]:
        (tmp_path / "cfg.json").write_text(json.dumps(config | settings))
        with pytest.raises(ValueError, match=message):
            foreign.read_sparsify(tmp_path)


# The libraries themselves ----------------------------------------------------------------------------------

WRITERS = {
    "saelens": lambda sae, folder: format.save(sae, folder, "resid_post.2", IDENTITY),
    "sparsify": foreign.write_sparsify,
    "dictionary_learning": lambda sae, folder: foreign.write_dictionary_learning(sae, folder, "resid_post.2", IDENTITY),
}  # fmt: skip
READERS = {
    "saelens": format.read_saelens,
    "sparsify": foreign.read_sparsify,
    "dictionary_learning": foreign.read_dictionary_learning,
}
OURS = [(library, kind) for library in WRITERS for kind in KINDS if library != "sparsify" or kind == "topk"]
THEIRS = [(library, case) for library, cases in peer_sae.THEIRS.items() for case in cases]
#: The class that must have read our folder.
SAELENS_CLASS = {"standard": "StandardSAE", "gated": "GatedSAE", "topk": "TopKSAE", "jumprelu": "JumpReLUSAE"}
#: Training, where it is not what the SAE is at inference.
TRAINED_AS = {"batchtopk", "batchtopk_plain", "batchtopk_unfinished", "matryoshka"}


@pytest.fixture(scope="module")
def acts() -> torch.Tensor:
    """[960, 128]: eight simulated sequences of 120 bases through the demo model, to the middle of it."""
    model = adapter.load(ROOT / "tests/planted_model")
    codes = planted.background(960, np.random.default_rng(0))
    batch = model.encode([sq.decode(codes[start : start + 120]) for start in range(0, 960, 120)])
    return model.run(batch, ["resid_post.2"])["resid_post.2"]


@pytest.fixture(scope="module")
def peers(acts, tmp_path_factory) -> Path:
    """The folder of tests/peer_sae.py, after it ran once over everything."""
    if not PYTHON.is_file():
        pytest.skip("no other library was asked: .venv-peers is missing; `make peers` makes it")
    work = tmp_path_factory.mktemp("peers")
    save_file({"x": acts.contiguous()}, work / "acts.safetensors")
    for library, kind in OURS:
        WRITERS[library](random_sae(kind, acts), work / "ours" / library / kind)
    offline = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    run = [PYTHON, ROOT / "tests/peer_sae.py", work]
    done = subprocess.run(
        run, env=os.environ | offline, cwd=work, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return work


@pytest.mark.slow
@pytest.mark.parametrize(("library", "kind"), OURS)
def test_they_read_what_we_write(peers, acts, library, kind):
    out = load_file(peers / "out/ours" / library / f"{kind}.safetensors")
    assert_same(random_sae(kind, acts), acts, out["latents"], out["x_hat"])
    actual = json.loads((peers / "classes.json").read_text())[f"ours/{library}/{kind}"]
    wanted = {
        "saelens": SAELENS_CLASS,
        "sparsify": {"topk": "SparseCoder"},
        "dictionary_learning": foreign.WRITTEN_AS,
    }[library]
    assert actual == wanted[KINDS[kind][0]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*TopK over rows of unlike norms")
@pytest.mark.parametrize(("library", "case"), THEIRS)
def test_we_read_what_they_write(peers, acts, library, case):
    out = load_file(peers / "out/theirs" / library / f"{case}.safetensors")
    sae = READERS[library](peers / "theirs" / library / case)
    norm = out["norm"]  # of their rows; ours are 1, so our latents are as much larger
    if sae.config.architecture == "topk":
        norm = torch.ones(()) if case == "topk_rescaled" else norm.mean()
    else:
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(sae.config.d_sae))
    assert_same(sae, acts, out["latents"] * norm, out["x_hat"])
    assert sae.config.trained_as == (case.split("_")[0] if case in TRAINED_AS else "")
    format.save(sae, peers / "kept" / library / case, "resid_post.2", IDENTITY)
    assert same_weights(format.load(peers / "kept" / library / case, "resid_post.2", IDENTITY), sae)


def test_the_peers_script_needs_no_peer_until_it_runs():
    assert {"sae_lens", "sparsify", "dictionary_learning", "nnsight"}.isdisjoint(sys.modules)
