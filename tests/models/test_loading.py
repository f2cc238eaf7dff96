"""Where a model comes from: folders whole or not, shards, pickles, the hub, and code that came with the weights."""

import hashlib
import json
import pickle
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.models import adapter as door
from lib.stage.hashes import sha256
from tests import helpers

REVISION = "0123456789abcdef0123456789abcdef01234567"


def residual(adapter, site: str = "resid_post.1") -> torch.Tensor:
    return adapter.run(adapter.encode(["ACGTACGTTGCA"]), [site])[site]



def test_folder_without_weights_config_only_or_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such model folder"):
        door.load(tmp_path / "nowhere")
    folder = helpers.save_model("llama", tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="llama: no model.safetensors.*found config.json"):
        door.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="llama: no config.json"):
        door.load(folder)


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.01, 0.3, 0.7, 0.999])
def test_weights_cut_short_are_refused_by_name(tmp_path, share):
    weights = helpers.save_model("esm_bases", tmp_path) / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="model.safetensors: (not a whole|cut short)"):
        door.load(tmp_path)


def test_weights_one_byte_off_or_of_another_kind_are_refused(tmp_path):
    weights = helpers.save_model("esm_bases", tmp_path) / "model.safetensors"
    data = weights.read_bytes()
    for wrong in (data[:-1], data + b"\0", (2).to_bytes(8, "little") + b"[]", b"not tensors at all"):
        weights.write_bytes(wrong)
        with pytest.raises(ValueError, match="model.safetensors: "):
            door.load(tmp_path)


@pytest.mark.parametrize("text", ['{"model_type": "t5"}', '{"model_type": "nonesuch"}', "{}", '{"model_ty'])
def test_unknown_family_or_broken_config_is_refused_by_name(tmp_path, text):
    (helpers.save_model("esm_bases", tmp_path / "model") / "config.json").write_text(text)
    with pytest.raises(ValueError, match=str(tmp_path / "model")):
        door.load(tmp_path / "model")


def test_weights_that_do_not_fill_the_trunk_are_refused(tmp_path):
    folder = helpers.save_model("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(ValueError, match="model.safetensors: does not fill LlamaForCausalLM.*layers.3"):
        door.load(folder)


def test_random_twin_differs_and_is_seeded(tmp_path):
    folder = helpers.save_model("esm_bases", tmp_path, seed=5)
    real = door.load(folder)
    twins = [door.load(folder, random_init=True, seed=seed) for seed in (0, 0, 1)]
    batch = real.encode(["ACGTACGT"])
    x = [a.run(batch, ["resid_post.1"])["resid_post.1"] for a in (real, *twins)]
    assert torch.equal(x[1], x[2])
    assert (x[0] - x[1]).abs().max() > 0.01 and (x[1] - x[3]).abs().max() > 0.01
    hashes = [a.identity["weights_sha256"] for a in (real, *twins)]
    assert hashes[1] == hashes[2] and len(set(hashes)) == 3  # an SAE of one is refused by another
    assert real.identity == door.load(folder).identity and real.identity["class"] == "EsmForMaskedLM"


def test_a_file_with_more_blocks_than_the_model_is_refused(tmp_path):
    folder = helpers.save_model("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ValueError, match="does not fill LlamaForCausalLM: of no use .*layers.2"):
        door.load(folder)


# Shards ----------------------------------------------------------------------------------------------------


def shard(folder):
    """Cut a folder's weights in two, as large models come."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({k: tensors[k] for k in keys}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: file for file, keys in parts.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("kind", ["llama", "nt_v2"])
def test_shards_give_the_same_model(tmp_path, kind):
    whole = door.load(helpers.save_model(kind, tmp_path / "whole"))
    parts = door.load(shard(helpers.save_model(kind, tmp_path / "parts")))
    assert torch.equal(residual(whole), residual(parts))


def test_one_byte_in_any_shard_changes_the_identity(tmp_path):
    folder = shard(helpers.save_model("llama", tmp_path))
    seen = {door.load(folder).identity["weights_sha256"]}
    for file in sorted(folder.glob("model-*.safetensors")):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        seen.add(door.load(folder).identity["weights_sha256"])
    assert len(seen) == 3


def test_a_shard_missing_cut_short_or_with_too_little_is_refused_by_name(tmp_path):
    folder = shard(helpers.save_model("llama", tmp_path))
    second = folder / "model-00002-of-00002.safetensors"
    data = second.read_bytes()
    second.write_bytes(data[:-1])
    with pytest.raises(ValueError, match="model-00002-of-00002.safetensors: cut short"):
        door.load(folder)
    tensors = load_file(folder / "model-00001-of-00002.safetensors")
    save_file(tensors, second, {"format": "pt"})
    with pytest.raises(ValueError, match="00002-of-00002.safetensors: lacks .*index.json promises"):
        door.load(folder)
    second.unlink()
    with pytest.raises(FileNotFoundError, match="no model-00002-of-00002.safetensors"):
        door.load(folder)


@pytest.mark.parametrize("text, said", [
    ("{}", "no weight_map"),
    ('{"weight_map": {"a": "../model.safetensors"}}', "not a file name of this folder"),
    ('{"weight_', "not JSON"),
])  # fmt: skip
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, text, said):
    folder = shard(helpers.save_model("llama", tmp_path))
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=f"index.json: .*{said}"):
        door.load(folder)


# Pickles ---------------------------------------------------------------------------------------------------


def as_pickle(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def test_a_pickle_of_tensors_loads(tmp_path):
    whole = door.load(helpers.save_model("llama", tmp_path / "whole"))
    other = door.load(as_pickle(helpers.save_model("llama", tmp_path / "pickle")))
    assert torch.equal(residual(whole), residual(other))
    assert whole.identity["weights_sha256"] != other.identity["weights_sha256"]


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, zipped):
    folder, mark = as_pickle(helpers.save_model("llama", tmp_path / "model")), tmp_path / "the code ran"
    file = folder / "pytorch_model.bin"
    torch.save({"model.norm.weight": Attack(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="pytorch_model.bin: .*more than tensors"):
        door.load(folder)
    assert not mark.exists()
    torch.load(file, weights_only=False)["model.norm.weight"].close()
    assert mark.exists()  # the attack is a real one


def test_a_damaged_pickle_is_refused_by_name(tmp_path):
    folder = as_pickle(helpers.save_model("llama", tmp_path))
    file = folder / "pytorch_model.bin"
    data = file.read_bytes()
    for wrong in (data[: len(data) // 2], b"", b"not a pickle", pickle.dumps([1, 2])):
        file.write_bytes(wrong)
        with pytest.raises(ValueError, match="pytorch_model.bin: "):
            door.load(folder)


# Precision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "nt_v2", "gpt_neox", "nt_v1", "modernbert"])
@pytest.mark.parametrize("dtype, share", [("bfloat16", 0.05), ("float16", 0.01)])
def test_lower_precision_is_near_and_keeps_the_positions_exact(tmp_path, kind, dtype, share):
    folder = helpers.save_model(kind, tmp_path)
    exact, low = door.load(folder), door.load(folder, dtype=dtype)
    assert {p.dtype for p in low.model.parameters()} == {getattr(torch, dtype)}
    for (name, a), (_, b) in zip(exact.model.named_buffers(), low.model.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    a, b = residual(exact), residual(low)
    assert b.dtype == getattr(torch, dtype)
    assert 0 < (a - b.float()).norm() / a.norm() < share
    assert (exact.identity["dtype"], low.identity["dtype"]) == ("float32", dtype)
    assert exact.identity["weights_sha256"] == low.identity["weights_sha256"]


def test_weights_stored_in_lower_precision_are_computed_in_float32(tmp_path):
    folder = helpers.save_model("gemma", tmp_path, hidden_size=24)
    tensors = {k: v.bfloat16() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    adapter = door.load(folder)
    assert {p.dtype for p in adapter.model.parameters()} == {torch.float32} and residual(adapter).dtype == torch.float32
    buffers = dict(adapter.model.named_buffers())
    scale = buffers["model.embed_tokens.embed_scale"]
    assert scale.item() == pytest.approx(24**0.5, rel=1e-7)  # bfloat16 would make it 4.906
    assert buffers["model.rotary_emb.inv_freq"].dtype == torch.float32


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dtype 'int8': wanted one of float32, bfloat16, float16"):
        door.load(helpers.save_model("llama", tmp_path), dtype="int8")


# The hub ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine that serves tmp_path / "org" / "name"; the real client asks it. Gives the paths asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            asked.append(path)
            kind, _, name = path.removeprefix("/api/models").removeprefix("/org/name/").partition("/")
            revision, _, name = name.partition("/")
            if revision != REVISION:
                self.send_error(404)
                return
            folder = tmp_path / "org" / "name"
            if kind == "tree":
                entries = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in folder.iterdir()]
                data = json.dumps(entries).encode()
            else:
                data = (folder / name).read_bytes()
            self.send_response(200)
            for key, value in {
                "Content-Type": "application/json", "Content-Length": len(data), "X-Repo-Commit": REVISION,
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            }.items():  # fmt: skip
                self.send_header(key, str(value))
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ours = partial(
        huggingface_hub.snapshot_download, endpoint=f"http://127.0.0.1:{server.server_port}", cache_dir=tmp_path / "cache"
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", ours)
    yield asked
    server.shutdown()
    server.server_close()


def test_a_hub_model_at_a_pinned_revision(tmp_path, hub):
    folder = helpers.save_model("nt_v2", tmp_path / "org" / "name")
    (folder / "modeling_esm.py").write_text("raise RuntimeError('this code must not run')\n")
    (folder / "pytorch_model.bin").write_bytes(b"not asked for")
    adapter = door.load("org/name", revision=REVISION)
    assert torch.equal(residual(adapter), residual(door.load(folder)))
    assert adapter.identity["revision"] == REVISION
    assert adapter.identity == door.load(folder).identity | {"revision": REVISION}
    fetched = {path.rsplit("/", 1)[1] for path in hub if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "vocab.txt"} <= fetched
    assert not fetched & {"modeling_esm.py", "pytorch_model.bin"}
    hub.clear()
    door.load("org/name", revision=REVISION)
    assert not [path for path in hub if "/resolve/" in path]  # from the cache


@pytest.mark.parametrize("revision", [None, "main", "v1.0", REVISION[:-1], REVISION.upper(), REVISION + "\n"])
def test_a_hub_model_without_a_pinned_revision_is_refused(revision):
    with pytest.raises(ValueError, match="org/name: no such folder, and a hub model needs revision= the 40 hex digits"):
        door.load("org/name", revision=revision)


def test_a_hub_that_cannot_be_reached_is_one_clear_error(tmp_path, hub):
    said = "org/name at f{40}: neither in the local hub cache nor.*config.json, .* model.safetensors.*give the folder"
    with pytest.raises(FileNotFoundError, match=said):
        door.load("org/name", revision="f" * 40)


def test_a_folder_has_no_revision_and_is_never_looked_for_on_the_hub(tmp_path, hub):
    folder = helpers.save_model("llama", tmp_path / "model")
    with pytest.raises(ValueError, match="a folder has no revision"):
        door.load(folder, revision=REVISION)
    for absent in (tmp_path / "no" / "model", "/no/model", "./no/model", "model"):
        with pytest.raises(FileNotFoundError, match="no such model folder"):
            door.load(absent)
    assert hub == []


# Code that came with the weights ---------------------------------------------------------------------------

MODELING = """
from transformers import LlamaForCausalLM
from .scaling import FACTOR


class ScaledForCausalLM(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.model.norm.register_forward_hook(lambda module, args, output: output * FACTOR)
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """Where transformers copies code before it runs it; one place a process, since Python remembers packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield


@pytest.fixture
def remote(tmp_path, modules):
    """A folder whose class is code of its own, in two files."""
    folder = helpers.save_model("llama", tmp_path / "remote")
    (folder / "modeling_scaled.py").write_text(MODELING)
    (folder / "scaling.py").write_text("FACTOR = 3.0\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoModelForCausalLM": "modeling_scaled.ScaledForCausalLM"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    return folder


def hashes(folder) -> dict[str, str]:
    return {p.name: sha256(p) for p in sorted(folder.glob("*.py"))}


def test_trusted_code_runs_and_is_recorded(remote):
    adapter, plain = door.load(remote, trust=hashes(remote)), door.load(remote)
    assert plain.identity["class"] == "LlamaForCausalLM" and "code" not in plain.identity
    assert adapter.identity["class"] == "ScaledForCausalLM" and adapter.identity["module"] == "modeling_scaled"
    assert adapter.identity["code"] == hashes(remote)
    batch = adapter.encode(["ACGTACGT"])
    torch.testing.assert_close(adapter.logits(batch), 3 * plain.logits(batch))


def test_code_is_refused_without_its_hash_or_with_another(remote):
    trust = hashes(remote)
    with pytest.raises(ValueError, match="remote/modeling_scaled.py: code that trust does not name"):
        door.load(remote, trust={})
    with pytest.raises(ValueError, match="remote/scaling.py: code that trust does not name"):
        door.load(remote, trust={"modeling_scaled.py": trust["modeling_scaled.py"]})
    with pytest.raises(ValueError, match=f"remote/scaling.py: SHA-256 is {trust['scaling.py']}, trusted was 0000"):
        door.load(remote, trust=trust | {"scaling.py": "0000"})
    with pytest.raises(ValueError, match="no other.py, which trust names"):
        door.load(remote, trust=trust | {"other.py": "0000"})
    (remote / "sub").mkdir()
    (remote / "sub" / "hidden.py").write_text("pass\n")
    with pytest.raises(ValueError, match="sub/hidden.py: code that trust does not name"):
        door.load(remote, trust=trust)


def test_code_that_changed_after_it_was_trusted_is_refused(remote):
    trust = hashes(remote)
    door.load(remote, trust=trust)
    (remote / "scaling.py").write_text("FACTOR = 5.0\n")
    with pytest.raises(ValueError, match="scaling.py: SHA-256 is"):
        door.load(remote, trust=trust)
    changed = door.load(remote, trust=hashes(remote))
    batch = changed.encode(["ACGTACGT"])
    torch.testing.assert_close(changed.logits(batch), 5 * door.load(remote).logits(batch))  # not what a cache kept


def test_code_of_another_repository_is_refused(remote):
    config = json.loads((remote / "config.json").read_text())
    config["auto_map"]["AutoModelForCausalLM"] = "org/name--modeling_scaled.ScaledForCausalLM"
    (remote / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="takes code from another repository: org/name--modeling_scaled"):
        door.load(remote, trust=hashes(remote))


def test_trust_where_the_class_is_no_code_of_the_folder_is_refused(tmp_path):
    folder = helpers.save_model("llama", tmp_path)
    with pytest.raises(ValueError, match="LlamaForCausalLM came from modeling_llama.py, which is none of the trusted"):
        door.load(folder, trust={})


def test_a_class_of_its_own_that_no_adapter_knows_is_refused_and_does_not_run(remote):
    config = json.loads((remote / "config.json").read_text())
    (remote / "config.json").write_text(json.dumps(config | {"model_type": "scaled"}))
    (remote / "modeling_scaled.py").write_text("raise RuntimeError('this code must not run')\n")
    with pytest.raises(ValueError, match="model type 'scaled' has no adapter.*modeling_scaled.ScaledForCausalLM"):
        door.load(remote)


def test_a_hub_model_with_trusted_code(tmp_path, hub, remote):
    shutil.copytree(remote, tmp_path / "org" / "name")
    adapter = door.load("org/name", revision=REVISION, trust=hashes(remote))
    assert adapter.identity["code"] == hashes(remote) and adapter.identity["revision"] == REVISION
    with pytest.raises(ValueError, match="needs revision="):
        door.load("org/name", revision="main", trust=hashes(remote))


# A vocabulary with a hole, an adapter without its base ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["esm_bases", "esm_6mers", "nt_v2", "generator"])
@pytest.mark.parametrize("line", ["", "  "])
def test_a_line_of_the_vocabulary_without_a_word_is_refused(tmp_path, kind, line):
    """Each word after it would have another id, and every base another row of the embedding."""
    words = helpers.save_model(kind, tmp_path) / "vocab.txt"
    lines = words.read_text().splitlines()
    words.write_text("\n".join([*lines[:4], line, *lines[4:], ""]))
    with pytest.raises(ValueError, match=r"vocab.txt: line 5 is empty, wanted one word a line"):
        door.load(tmp_path)


@pytest.mark.parametrize("kind", ["llama", "nt_v2"])
def test_an_adapter_on_top_of_a_model_is_refused(tmp_path, kind):
    helpers.save_model(kind, tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ValueError, match=r"adapter_config.json: an adapter on top of another model .* merge the adapter"):
        door.load(tmp_path)
