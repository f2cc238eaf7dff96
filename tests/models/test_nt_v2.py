"""Nucleotide Transformer v2: the port computes what the architecture says, and reads only weights that are its own."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file
from scipy.special import erf, softmax

from lib.models import adapter as door
from lib.models import files, nt_v2
from tests import helpers

SEQUENCE = helpers.random_dna(64, 3, n_at=(20, 21))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return helpers.save_nt_v2(tmp_path_factory.mktemp("nt_v2"))


@pytest.fixture
def copy(tmp_path):
    """A folder of one's own, and how to write other weights into it: `copy(change)`, change: tensors -> tensors."""
    folder = helpers.save_nt_v2(tmp_path)

    def write(change):
        tensors = change(load_file(folder / "model.safetensors"))
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder

    return write


# The arithmetic --------------------------------------------------------------------------------------------


def norm(x: np.ndarray, w: dict, at: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * w[f"{at}.weight"] + w[f"{at}.bias"]


def linear(x: np.ndarray, w: dict, at: str) -> np.ndarray:
    return x @ w[f"{at}.weight"].T + w.get(f"{at}.bias", 0)


def turn(x: np.ndarray) -> np.ndarray:
    """Rotary positions: channels i and i + d/2 turn together by position / 10000^(2i/d). x: [token, d]."""
    half = x.shape[1] // 2
    angle = np.arange(len(x))[:, None] / 10_000 ** (np.arange(half) / half)
    a, b = x[:, :half], x[:, half:]
    return np.hstack([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])


def block(x: np.ndarray, w: dict, at: str, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """One block by hand: attention over normed input, then silu(a) * b. Returns its output and the hidden layer."""
    inner = norm(x, w, f"{at}.attention.LayerNorm")
    q, k, v = (linear(inner, w, f"{at}.attention.self.{name}") for name in ("query", "key", "value"))
    d = x.shape[1] // heads
    parts = []
    for h in range(heads):
        head = slice(h * d, (h + 1) * d)
        scores = turn(q[:, head] / np.sqrt(d)) @ turn(k[:, head]).T
        parts.append(softmax(scores, axis=-1) @ v[:, head])
    x = x + linear(np.hstack(parts), w, f"{at}.attention.output.dense")
    gate, value = np.split(linear(norm(x, w, f"{at}.LayerNorm"), w, f"{at}.intermediate.dense"), 2, axis=-1)
    hidden = gate / (1 + np.exp(-gate)) * value
    return x + linear(hidden, w, f"{at}.output.dense"), hidden


def by_hand(folder, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Every site and the logits of one sequence, from the file's arrays in float64."""
    w = {name: x.astype(np.float64) for name, x in load_arrays(folder / "model.safetensors").items()}
    settings = json.loads((folder / "config.json").read_text())
    x = w["esm.embeddings.word_embeddings.weight"][ids]
    out = {"embed": x}
    for k in range(settings["num_hidden_layers"]):
        x, out[f"mlp_hidden.{k}"] = block(x, w, f"esm.encoder.layer.{k}", settings["num_attention_heads"])
        out[f"resid_post.{k}"] = x
    out["final"] = norm(x, w, "esm.encoder.emb_layer_norm_after")
    y = linear(out["final"], w, "lm_head.dense")
    y = norm(y * 0.5 * (1 + erf(y / np.sqrt(2))), w, "lm_head.layer_norm")
    out["logits"] = linear(y, w, "lm_head.decoder") + w["lm_head.bias"]
    return out


def test_every_site_and_the_logits_equal_the_hand_written_forward(tmp_path):
    # norms and biases start as ones and zeros: random ones tell a forgotten norm or bias from a right one
    folder = helpers.save_nt_v2(tmp_path)
    draw = torch.Generator().manual_seed(1)
    tensors = load_file(folder / "model.safetensors")
    for name, x in tensors.items():
        if x.ndim == 1 and "inv_freq" not in name:
            x += 0.2 * torch.randn(x.shape, generator=draw)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    adapter = door.load(folder)
    adapter.model.double()
    batch = adapter.encode([SEQUENCE])
    wanted = by_hand(folder, batch.ids[0].numpy())
    seen = adapter.run_grid(batch, [name for name in wanted if name != "logits"])
    seen["logits"] = adapter.logits(batch)
    for name, x in wanted.items():
        # the class turns queries and keys in float32, so float64 agrees to its rounding
        np.testing.assert_allclose(seen[name][0].detach().numpy(), x, rtol=0, atol=2e-6, err_msg=name)
        assert np.abs(x).max() > 0.1, name


def test_the_hidden_site_is_as_wide_as_the_config_says_and_the_halves_are_in_order(folder):
    adapter = door.load(folder)
    assert adapter.site("mlp_hidden.0").dim == 24
    assert adapter.model.esm.encoder.layer[0].intermediate.dense.weight.shape == (48, 16)
    names = [n for n, _ in adapter.model.named_parameters() if n.endswith("bias")]
    assert not [n for n in names if "intermediate" in n or n.endswith("layer.0.output.dense.bias")]


# The folder ------------------------------------------------------------------------------------------------


def test_the_folder_is_laid_out_as_on_the_hub(folder):
    config = files.read_config(folder)
    assert "model_type" not in config and config["add_bias_fnn"] is False and "auto_map" in config
    keys = set(load_file(folder / "model.safetensors"))
    assert "esm.encoder.layer.2.attention.self.rotary_embeddings.inv_freq" in keys
    assert "esm.embeddings.position_embeddings.weight" in keys
    assert "esm.encoder.layer.0.intermediate.dense.bias" not in keys


@pytest.mark.parametrize("model_type", [None, "esm"])
def test_the_port_takes_it_and_nothing_is_lost(tmp_path, model_type):
    folder = helpers.save_nt_v2(tmp_path, **({"model_type": model_type} if model_type else {}))
    adapter = door.load(folder)
    assert adapter.identity["class"] == "NTv2ForMaskedLM" and adapter.identity["module"] == "lib.models.nt_v2"
    stored, held = load_file(folder / "model.safetensors"), adapter.model.state_dict()
    dropped = {k for k in stored if not (k in held and torch.equal(stored[k], held[k]))}
    assert {nt_v2.OPTIONAL.fullmatch(k) is not None for k in dropped} == {True} and len(dropped) == 3 + 1
    assert {k for k in held if k not in stored} == {"esm.rotary_embeddings.inv_freq"}
    assert adapter.max_tokens == 128  # 2050 rows of the real config are 2,048 tokens


def test_saved_by_transformers_and_loaded_again(folder, tmp_path):
    adapter = door.load(folder)
    adapter.model.save_pretrained(tmp_path)
    adapter.tokenizer.hub.save_pretrained(tmp_path)
    again = door.load(tmp_path)
    batch = adapter.encode([SEQUENCE])
    assert torch.equal(adapter.logits(batch), again.logits(again.encode([SEQUENCE])))


def test_transformers_own_class_refuses_these_weights(folder):
    """Why the port exists: the plain class has another MLP."""
    from transformers import EsmConfig, EsmForMaskedLM

    settings = {k: v for k, v in files.read_config(folder).items() if k != "auto_map"}
    with pytest.raises(RuntimeError, match="size mismatch|mismatched"):
        EsmForMaskedLM.from_pretrained(folder, config=EsmConfig(**settings))


def test_the_door_refuses_them_too_without_the_port(tmp_path, monkeypatch):
    folder = helpers.save_nt_v2(tmp_path, model_type="esm")
    monkeypatch.setattr(door, "ports", tuple)
    with pytest.raises(ValueError, match="does not fill EsmForMaskedLM.*output.dense.bias.*intermediate.dense.weight"):
        door.load(folder)


def test_plain_esm_is_not_taken_for_v2(tmp_path):
    assert not nt_v2.recognises(helpers.save_model("esm_6mers", tmp_path))


def test_weights_without_the_optional_entries_are_the_same_model(folder, copy):
    lean = copy(lambda tensors: {k: v for k, v in tensors.items() if not nt_v2.OPTIONAL.fullmatch(k)})
    assert len(load_file(lean / "model.safetensors")) == len(load_file(folder / "model.safetensors")) - 3 - 1 - 2
    full, lean = door.load(folder), door.load(lean)
    batch = full.encode([SEQUENCE])
    assert torch.equal(full.logits(batch), lean.logits(batch))


@pytest.mark.parametrize("change, said", [
    (lambda t: {k: v for k, v in t.items() if k != "esm.encoder.layer.1.output.dense.weight"},
     "missing: esm.encoder.layer.1.output.dense.weight$"),
    (lambda t: t | {"esm.encoder.layer.0.output.dense.bias": torch.zeros(16)},
     "of no use: esm.encoder.layer.0.output.dense.bias$"),
    (lambda t: t | {"esm.encoder.layer.0.intermediate.dense.weight": torch.zeros(24, 16)},
     r"of another shape .found, wanted.: .'esm.encoder.layer.0.intermediate.dense.weight', .24, 16., .48, 16"),
    (lambda t: {k.replace("esm.encoder.layer.2.", "esm.encoder.layer.3."): v for k, v in t.items()},
     "missing: esm.encoder.layer.2.* and 6 more; of no use: esm.encoder.layer.3.* and 6 more$"),
])  # fmt: skip
def test_weights_that_do_not_fit_are_refused_with_their_names(copy, change, said):
    with pytest.raises(ValueError, match=f"(?s)model.safetensors: not the weights of Nucleotide Transformer v2.*{said}"):
        door.load(copy(change))


def test_other_positions_are_refused(tmp_path):
    folder = helpers.save_nt_v2(tmp_path)
    config = files.read_config(folder)
    (folder / "config.json").write_text(json.dumps(config | {"position_embedding_type": "absolute"}))
    with pytest.raises(ValueError, match="config.json: position_embedding_type is 'absolute', NT v2 has 'rotary'"):
        door.load(folder)


# Real sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers, width, parameters, with_table", [
    (12, 512, 54_855_372, 55_904_972),  # v2-50m: 55.9 M with the unused position table
    (22, 512, 96_839_532, 97_889_132),
    (24, 768, 233_546_380, 235_120_780),
    (29, 1024, 496_246_236, 498_345_436),  # v2-500m: 498.3 M
])  # fmt: skip
def test_the_published_sizes(layers, width, parameters, with_table):
    config = nt_v2.NTv2Config(
        num_hidden_layers=layers, hidden_size=width, intermediate_size=4 * width, num_attention_heads=16, vocab_size=4107,
        pad_token_id=1, mask_token_id=2, max_position_embeddings=2050, position_embedding_type="rotary",
        tie_word_embeddings=False, add_bias_fnn=False,
    )  # fmt: skip
    with torch.device("meta"):
        model = nt_v2.NTv2ForMaskedLM(config)
    count = sum(p.numel() for p in model.parameters())
    assert count == parameters and count + 2050 * width == with_table
    # by hand: attention 4 d^2 + 4 d, MLP 12 d^2, two norms 4 d; head d^2 + d + 2 d + vocabulary (d + 1); final norm 2 d
    d, v = width, 4107
    blocks = layers * (4 * d * d + 4 * d + 12 * d * d + 4 * d)
    assert count == v * d + blocks + 2 * d + (16 * layers + 1) + (d * d + d + 2 * d + v * d + v)
