"""Dictionaries of other libraries through the command itself: in, out, and what is refused before anything is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.models import adapter
from lib.sae import exchange, foreign, format
from lib.sae.model import SAE
from lib.stage import io
from tests import helpers
from tests.sae.test_interop import KINDS, assert_same, random_sae, same_weights

ROOT = Path(__file__).resolve().parents[2]
SITE = "resid_post.1"
FILES = {
    "saelens": {"cfg.json", "sae_weights.safetensors"},
    "sparsify": {"cfg.json", "sae.safetensors"},
    "dictionary_learning": {"config.json", "ae.pt"},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Two tiny models of one shape and other weights."""
    folder = tmp_path_factory.mktemp("models")
    return {name: helpers.save_model("esm_bases", folder / name, seed) for seed, name in enumerate(("own", "other"))}


@pytest.fixture(scope="module")
def acts(models) -> torch.Tensor:
    """[token, d_in] of SITE, on random DNA."""
    model = adapter.load(models["own"])
    return model.run(model.encode([helpers.random_dna(60, seed) for seed in range(20)]), [SITE])[SITE].float()


@pytest.fixture
def ours(tmp_path, models, acts):
    """Makes one of our folders, of SITE of the first model."""

    def make(kind: str) -> tuple[SAE, Path]:
        sae = random_sae(kind, acts, 40, 3)
        format.save(sae, tmp_path / "ours", SITE, adapter.load(models["own"]).identity)
        return sae, tmp_path / "ours"

    return make


def command(way: str, **given) -> int:
    return exchange.main([way, *(f"--{name.removesuffix('_')}={value}" for name, value in given.items())])


@pytest.mark.parametrize("kind, library", [
    *((kind, library) for kind in KINDS for library in ("saelens", "dictionary_learning")), ("topk", "sparsify"),
])  # fmt: skip
def test_out_and_in_again(tmp_path, models, acts, ours, kind, library):
    sae, folder = ours(kind)
    assert command("export", from_=folder, to=tmp_path / "theirs", as_=library) == 0
    assert {file.name for file in (tmp_path / "theirs").iterdir()} == FILES[library]
    assert command("import", from_=tmp_path / "theirs", to=tmp_path / "back", site=SITE, model=models["own"]) == 0
    identity = adapter.load(models["own"]).identity
    back = format.load(tmp_path / "back", SITE, identity)
    assert back.config == sae.config and format.trained_on(tmp_path / "back") == (SITE, identity)
    with torch.no_grad():
        assert_same(back, acts, sae.encode(acts), sae(acts)[0])
    assert not list(tmp_path.glob(".*.partial"))


def test_make_passes_the_values_and_the_refusal(tmp_path, models, ours):
    sae, folder = ours("topk")
    theirs, back = tmp_path / "of theirs; touch X", tmp_path / "back"

    def make(target: str, **given) -> subprocess.CompletedProcess:
        run = ["make", "-s", target, f"VENV={Path(sys.executable).parent.parent}", *(f"{n}={v}" for n, v in given.items())]
        return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)

    done = make("export-sae", FROM=folder, TO=theirs, AS="sparsify")
    assert done.returncode == 0 and f"{theirs}: topk, {sae.config.d_in} -> 40, of {SITE}, written as sparsify" in done.stdout
    done = make("import-sae", FROM=theirs, TO=back, SITE=SITE, MODEL=models["own"])
    assert done.returncode == 0 and "read as sparsify; its own words: site not named" in done.stdout, done.stderr
    assert same_weights(format.load(back, SITE, adapter.load(models["own"]).identity), sae)
    done = make("export-sae", FROM=folder, TO=tmp_path / "none")
    assert done.returncode == 2 and "give AS" in done.stderr and not (tmp_path / "none").exists()


def test_what_a_stranger_calls_its_site_is_said(tmp_path, models, acts, capsys):
    foreign.write_dictionary_learning(random_sae("gated", acts, 40), tmp_path / "theirs", "resid_post_layer_1", {"class": "gpt2"})
    assert command("import", from_=tmp_path / "theirs", to=tmp_path / "kept", site=SITE, model=models["own"]) == 0
    said = capsys.readouterr().out
    assert "dictionary_learning; its own words: site resid_post_layer_1, model gpt2" in said
    assert f"gated, {acts.shape[1]} -> 40, of {SITE} of EsmForMaskedLM" in said


def test_what_is_changed_on_the_way_is_said(tmp_path, models, acts, capsys):
    """Rows of unlike norms in a TopK: kept, with a line instead of Python's own warning."""
    foreign.write_sparsify(random_sae("topk", acts, 40, 3), tmp_path / "theirs")
    state = load_file(tmp_path / "theirs/sae.safetensors")
    state["W_dec"][0] *= 2
    save_file(state, tmp_path / "theirs/sae.safetensors")
    assert command("import", from_=tmp_path / "theirs", to=tmp_path / "kept", site=SITE, model=models["own"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and "TopK over rows of unlike norms" in said and "exchange.py" not in said


def changed(path: Path, **settings) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def infinite(folder: Path) -> None:
    state = load_file(folder / "sae_weights.safetensors")
    state["W_enc"][0, 0] = np.nan
    save_file(state, folder / "sae_weights.safetensors")


#: What is done to our folder, what is asked for, and what is said.
REFUSED = {
    "a site of the same model that it is not of": (
        None, {"site": "resid_post.0"}, "says that it is of site resid_post.1, asked for resid_post.0"),
    "a site that no model has": (None, {"site": "resid_post.9"}, "no site 'resid_post.9': this model has embed, "),
    "other weights": (None, {"model": "other"}, "ours: trained on EsmForMaskedLM .* asked for EsmForMaskedLM "),
    "no model": (None, {"model": "none"}, "none: no such model folder"),
    "no folder": (None, {"from_": "none"}, "none: no such folder"),
    "a file": (None, {"from_": "ours/cfg.json"}, "cfg.json: no such folder"),
    "an empty folder": (
        lambda f: [file.unlink() for file in f.iterdir()], {}, "ours: not one dictionary: holds nothing; wanted one of cfg.json and"),
    "a model's folder": (None, {"from_": "own"}, "not one dictionary: holds config.json, .*wanted one of .*ae.pt .dictionary_learning."),
    "half a folder": (lambda f: (f / "cfg.json").unlink(), {}, "not one dictionary: holds sae_weights.safetensors; wanted one of"),
    "two formats at once": (
        lambda f: (f / "sae.safetensors").touch(), {}, "not one dictionary: holds files of saelens and sparsify; wanted one of"),
    "weights cut short": (lambda f: (f / "sae_weights.safetensors").write_bytes(b"\0" * 20), {}, "sae_weights.safetensors"),
    "no numbers": (infinite, {}, "ours: W_enc: not all numbers are finite"),
    "an architecture without counterpart": (
        lambda f: changed(f / "cfg.json", architecture="transcoder"), {}, "'transcoder': wanted one of"),
    "metadata that are text": (lambda f: changed(f / "cfg.json", metadata="x"), {}, "ours: metadata is 'x', wanted an object"),
    "a version in words": (lambda f: changed(f / "cfg.json", metadata={"sae_lens_version": "new"}), {}, "before SAELens 6"),
    "a target that exists": (None, {"to": "own"}, "own is there already; choose another name"),
    "a target in outputs": (None, {"to": "outputs/smoke/sae"}, "is inside outputs, which only stages write"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_import_is_refused_in_words_and_writes_nothing(tmp_path, models, ours, capsys, monkeypatch, case):
    monkeypatch.setattr(io, "ROOT", tmp_path)
    folder = ours("jumprelu")[1]
    (tmp_path / "own").symlink_to(models["own"])
    harm, asked, said = REFUSED[case]
    if harm:
        harm(folder)
    given = {"from_": folder, "to": tmp_path / "kept", "site": SITE, "model": models["own"]}
    asked = {name: models.get(value, tmp_path / value) if name == "model" else value if name == "site" else tmp_path / value
             for name, value in asked.items()}  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    assert command("import", **(given | asked)) == 2
    assert_refused(capsys.readouterr().err, said)
    assert sorted(tmp_path.rglob("*")) == before


def assert_refused(err: str, said: str) -> None:
    assert err.startswith("refused, nothing was written: ") and err.count("\n") == 1
    with pytest.raises(ValueError, match=said):
        raise ValueError(err)


@pytest.mark.parametrize("library", FILES)
def test_a_width_that_is_not_the_sites_is_refused_in_every_format(tmp_path, models, capsys, library):
    d_in = adapter.load(models["own"]).site(SITE).dim
    narrow = random_sae("topk", torch.randn(50, d_in - 1), 20, 3)
    exchange.WRITERS[library](narrow, tmp_path / "theirs", "blocks.1.hook_resid_post", {"class": "x", "weights": "y"})
    assert command("import", from_=tmp_path / "theirs", to=tmp_path / "kept", site=SITE, model=models["own"]) == 2
    assert_refused(capsys.readouterr().err, f"theirs: reads {d_in - 1} numbers a token, {SITE} of EsmForMaskedLM has {d_in}; "
                                            f"its sites of {d_in - 1}: none")  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == ["theirs"]


def test_another_site_of_that_width_is_offered(tmp_path, models, acts, capsys):
    model = adapter.load(models["own"])
    wide = next(site for site in model.sites() if site.dim != acts.shape[1])
    foreign.write_sparsify(random_sae("topk", acts, 40, 3), tmp_path / "theirs")
    assert command("import", from_=tmp_path / "theirs", to=tmp_path / "kept", site=wide.name, model=models["own"]) == 2
    assert_refused(capsys.readouterr().err, f"its sites of {acts.shape[1]}: embed, .*{SITE}")


@pytest.mark.parametrize("library, kind, said", [
    ("pickle", "topk", "format 'pickle': wanted one of saelens, dictionary_learning, sparsify"),
    ("sparsify", "gated", "sparsify has TopK only, found gated"),
])  # fmt: skip
def test_an_export_is_refused_in_words_and_writes_nothing(tmp_path, ours, capsys, library, kind, said):
    folder = ours(kind)[1]
    assert command("export", from_=folder, to=tmp_path / "theirs", as_=library) == 2
    assert_refused(capsys.readouterr().err, said)
    assert [file.name for file in tmp_path.iterdir()] == ["ours"]


def test_only_ours_goes_out(tmp_path, acts, capsys):
    foreign.write_sparsify(random_sae("topk", acts, 40, 3), tmp_path / "theirs")
    assert command("export", from_=tmp_path / "theirs", to=tmp_path / "out", as_="saelens") == 2
    assert_refused(capsys.readouterr().err, "theirs: of sparsify, wanted one of ours: import it first")
    format.save(random_sae("topk", acts, 40, 3), tmp_path / "bare", "s", {"class": "x"})
    assert command("export", from_=tmp_path / "bare", to=tmp_path / "out", as_="sparsify") == 2
    assert_refused(capsys.readouterr().err, "bare/cfg.json: no SAE of ours: KeyError.'weights_sha256'.")


def test_what_is_not_given_is_named(capsys):
    with pytest.raises(SystemExit):
        command("import", from_="a", site=SITE)
    assert "give TO, MODEL" in capsys.readouterr().err


def test_a_write_that_breaks_leaves_nothing(tmp_path):
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "cfg.json").write_text("{}")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        exchange._write(tmp_path / "out", write)
    assert list(tmp_path.iterdir()) == []
