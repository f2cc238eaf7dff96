"""Damaged model folders: an error that names the file, what was found and what was wanted, or a check that fails."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.models import adapter as door
from lib.models import conformance
from tests import helpers
from tests.zoo import ZOO


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, data):
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def cut(name, n_bytes):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:n_bytes])


def as_folder(name):
    def change(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def config(**values):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({k: v for k, v in (json.loads(path.read_text()) | values).items() if v is not ...}))

    return change


def tensors(change):
    def rewrite(folder):
        path = folder / "model.safetensors"
        weights = {name: x.clone() for name, x in load_file(path).items()}
        save_file(change(weights) or weights, path, {"format": "pt"})

    return rewrite


def without_one(weights):
    weights.pop(next(name for name in weights if "1.self_attn.q_proj" in name or "1.attention.self.query.weight" in name))


def half_a_tensor(weights):
    name = next(name for name in weights if "1.mlp.up_proj" in name)
    weights[name] = weights[name][:5]


def no_number(weights):
    next(x for name, x in weights.items() if "1.mlp.up_proj" in name or "1.intermediate.dense.weight" in name)[0] = float("nan")


WORDS = "<cls>\n<pad>\n<eos>\n<unk>\nA\nC\nG\nT\nN\n<mask>\n"
INDEX = "model.safetensors.index.json"

#: name -> kind of model, damage, what the error says
REFUSED = {
    "no vocab.txt": ("esm_bases", remove("vocab.txt"), r"no tokenizer \(wanted one of tokenizer.json, vocab.txt.*found config.json"),
    "no vocab.txt, own port": ("nt_v2", remove("vocab.txt"), "no tokenizer .wanted one of"),
    "no vocab.txt, code instead": ("generator", remove("vocab.txt"), "no vocab.txt of words of bases, and its tokenizer is code"),
    "no tokenizer.json": ("llama", remove("tokenizer.json"), "no tokenizer .wanted one of"),
    "empty vocab.txt": ("esm_bases", write("vocab.txt", ""), "vocab.txt: empty, wanted one word a line"),
    "vocab.txt in UTF-16": ("esm_bases", write("vocab.txt", WORDS.encode("utf-16")), "vocab.txt: not UTF-8"),
    "a word twice": ("esm_bases", write("vocab.txt", WORDS.replace("T", "G")), "vocab.txt: line 8 is 'G', as line 7 is"),
    "vocab.txt a folder": ("esm_bases", as_folder("vocab.txt"), "no tokenizer .wanted one of"),
    "empty tokenizer.json": ("llama", write("tokenizer.json", ""), "tokenizer.json: not JSON"),
    "tokenizer.json cut": ("llama", cut("tokenizer.json", 300), "tokenizer.json: not JSON: Unterminated"),
    "tokenizer.json of something else": ("llama", write("tokenizer.json", "{}"), "tokenizer.json or the tokenizer files.*: cannot be read"),
    "tokenizer_config.json cut": ("llama", write("tokenizer_config.json", "{"), "tokenizer_config.json: not JSON"),
    "no config.json": ("llama", remove("config.json"), "no config.json .wanted config.json"),
    "empty config.json": ("llama", write("config.json", ""), "config.json: not JSON"),
    "config.json a list": ("llama", write("config.json", "[]"), "config.json: not a JSON object but list"),
    "config.json too deep": ("llama", write("config.json", '{"a":' * 99_999), "config.json: not JSON"),
    "config.json in Latin-1": ("llama", write("config.json", b'{"a": "\xe9"}'), "config.json: not JSON"),
    "no model_type": ("llama", config(model_type=...), "model type None has no adapter: known are esm"),
    "model_type unknown": ("llama", config(model_type="lama"), "model type 'lama' has no adapter"),
    "another model_type": ("llama", config(model_type="gpt2"), "model.safetensors: does not fill GPT2LMHeadModel: missing"),
    "BERT for ESM": ("esm_bases", config(model_type="bert"), "model.safetensors: does not fill BertForMaskedLM: missing"),
    "heads that do not divide": (
        "llama",
        config(num_attention_heads=3),
        "config.json: cannot be read.*multiple of the number of attention heads .3",
    ),
    "heads a word": ("llama", config(num_attention_heads="two"), "config.json: cannot be read.*'num_attention_heads' expected int"),
    "activation unknown": ("llama", config(hidden_act="nosuch"), "config.json or its weights: cannot be read.*nosuch"),
    "another width": ("llama", config(hidden_size=32), r"of another shape .*embed_tokens.weight \(60, 16\), wanted \(60, 32\)"),
    "no width": ("llama", config(hidden_size=...), r"of another shape .*\(60, 16\), wanted \(60, 4096\)"),
    "another MLP width": ("llama", config(intermediate_size=48), r"of another shape .*\(16, 32\), wanted \(16, 48\)"),
    "fewer key heads": ("llama", config(num_key_value_heads=2), "of another shape .*k_proj"),
    "one block more": ("llama", config(num_hidden_layers=4), "missing .*layers.3"),
    "one block fewer": ("llama", config(num_hidden_layers=2), "of no use .*layers.2"),
    "fewer words": ("llama", config(vocab_size=20), r"of another shape .*\(60, 16\), wanted \(20, 16\)"),
    "more words": ("llama", config(vocab_size=200), r"of another shape .*\(60, 16\), wanted \(200, 16\)"),
    "no weights": ("llama", remove("model.safetensors"), "no model.safetensors .wanted config.json"),
    "empty weights": ("llama", write("model.safetensors", b""), "model.safetensors: not a whole safetensors file .0 bytes"),
    "weights cut": ("llama", cut("model.safetensors", 9_000), "model.safetensors: cut short or damaged: 9000 bytes, its header promises"),
    "weights of zeros": ("llama", write("model.safetensors", bytes(5000)), "model.safetensors: not a whole safetensors file"),
    "a web page for weights": (
        "llama",
        write("model.safetensors", "<html>no</html>" * 9),
        "not a whole safetensors file.*begins with b'<html>",
    ),
    "a pointer for weights": ("llama", write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid"), "Git LFS pointer"),
    "weights a folder": ("llama", as_folder("model.safetensors"), "no model.safetensors"),
    "one tensor missing": ("llama", tensors(without_one), "missing .*q_proj"),
    "one tensor missing, masked": ("esm_bases", tensors(without_one), "missing .*query"),
    "one tensor missing, own port": ("nt_v2", tensors(without_one), "query"),
    "half a tensor": ("llama", tensors(half_a_tensor), r"of another shape .*up_proj.weight \(5, 16\), wanted \(32, 16\)"),
    "other tensors": ("llama", tensors(lambda _: {"x": torch.zeros(1)}), "does not fill LlamaForCausalLM: missing"),
    "an index without shards": ("llama", lambda f: (remove("model.safetensors")(f), write(INDEX, "{}")(f)), "index.json: no weight_map"),
}

#: name -> kind of model, damage, a check that fails
NAMED = {
    "a weight is no number": ("llama", tensors(no_number), "site_dims"),
    "a weight is no number, masked": ("esm_bases", tensors(no_number), "site_dims"),
    "all weights 0": ("llama", tensors(lambda weights: {name: x * 0 for name, x in weights.items()}), "replace_is_felt"),
    "letters in lower case": ("esm_bases", write("vocab.txt", WORDS.replace("A\nC\nG\nT", "a\nc\ng\nt")), "perturbation_reach"),
    "half the vocabulary": ("esm_bases", write("vocab.txt", WORDS[:28]), "perturbation_reach"),
    "no specials": ("esm_bases", write("vocab.txt", "A\nC\nG\nT\nN\n"), "block_chain"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """kind -> a folder without fault, made once."""
    made = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = helpers.save_model(kind, tmp_path_factory.mktemp("sound") / kind)
        return made[kind]

    return get


def damaged(sound, tmp_path, kind, damage) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(sound(kind), folder)
    damage(folder)
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_folder_is_refused_by_name(sound, tmp_path, name):
    kind, damage, said = REFUSED[name]
    folder = damaged(sound, tmp_path, kind, damage)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(str(folder)) + "(?s:.)*" + said) as refusal:
        door.load(folder)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("name", NAMED)
def test_a_folder_that_loads_and_is_damaged_fails_a_check(sound, tmp_path, name):
    kind, damage, check = NAMED[name]
    folder = damaged(sound, tmp_path, kind, damage)
    table = conformance.check(door.load(folder), ZOO[kind].records).set_index("check")
    assert not table.passed.fillna(True)[check], table.to_string()


@pytest.mark.parametrize("kind", ["esm_bases", "llama", "nt_v2", "generator"])
def test_the_sound_folders_pass(sound, tmp_path, kind):
    table = conformance.check(door.load(sound(kind)), ZOO[kind].records)
    assert table.passed.fillna(True).all(), table.to_string()
