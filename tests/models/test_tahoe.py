"""Tahoe-x1: bins by hand, the port by its formula, padding, files, and the published class in an environment of its own."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from scipy.special import erf

from lib.models import adapter as door
from lib.models import conformance, genes, tahoe
from lib.models.cells import Cell, read_cells
from tests import peer_cells  # noqa: F401  it must import here too, for the last test
from tests.cell_models import CELLS, DRUGS, GENES, SPECIALS, ask_published, random_cell, save_tahoe
from tests.helpers import DATA_DIR


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tahoe(tmp_path_factory.mktemp("tahoe"))


@pytest.fixture(scope="module")
def model(folder) -> door.Adapter:
    return door.load(folder)


@pytest.fixture(scope="module")
def treated(tmp_path_factory) -> door.Adapter:
    """With drug encoder, drug token and gelu: a small 3B."""
    return door.load(save_tahoe(tmp_path_factory.mktemp("treated"), activation="gelu", drugs=True))


# Bins ------------------------------------------------------------------------------------------------------


def test_bins_by_hand():
    # Four edges, at quantiles 0, 1/3, 2/3, 1 of four counts: the counts themselves. A bin is 1 + the edges below.
    assert genes.quantile_bins([3, 1, 4, 2], 5).tolist() == [3, 1, 4, 2]
    # Sorted 1 1 1 5: edges 1, 1, 1, 5. None is below 1, three are below 5. To the right: three at most 1, four at most 5.
    assert genes.quantile_bins([1, 1, 5, 1], 5).tolist() == [1, 1, 4, 1]
    assert genes.quantile_bins([1, 1, 5, 1], 5, right=True).tolist() == [3, 3, 4, 3]
    # Two counts 1 and 4: edges 1, 2, 3, 4, linear between.
    assert genes.quantile_bins([4, 1], 5).tolist() == [4, 1]
    assert genes.quantile_bins([7], 51).tolist() == [1]
    # Fifty counts 1 to 50: the edges are the counts, but in float32 the eighth is just below 8, so 8 falls into bin 9.
    bins = genes.quantile_bins(np.arange(1, 51), 51)
    assert bins[[0, 6, 7, 49]].tolist() == [1, 7, 9, 50] and (np.abs(bins - np.arange(1, 51)) <= 1).all()


def test_bins_are_shares_of_the_cell_and_keep_order():
    counts = np.random.default_rng(0).geometric(0.02, 5000).astype(np.float32)
    bins = genes.quantile_bins(counts)
    assert bins.min() == 1 and bins.max() == 50 and bins.dtype == np.int32
    order = np.argsort(counts, kind="stable")
    assert (np.diff(bins[order]) >= 0).all() and (np.diff(bins[order])[np.diff(counts[order]) == 0] == 0).all()
    assert (genes.quantile_bins(8 * counts) == bins).all()  # depth does not matter
    assert np.bincount(bins)[1:].max() < 2.5 * 5000 / 50


# Tokens ----------------------------------------------------------------------------------------------------


def test_tokens_are_cls_and_the_known_genes_of_the_row(model):
    cell = Cell("a", np.array(["X", GENES[7], GENES[3], "Y", GENES[5]], dtype=object), np.array([9, 900, 1, 9, 2], dtype=np.float32))
    e = model.encode_one(cell)
    assert model.tokenizer.words(e.ids) == ["<cls>", GENES[7], GENES[3], GENES[5]]
    assert e.keep.tolist() == [False, True, True, True]
    assert e.start.tolist() == [-1, 1, 2, 4] and e.end.tolist() == [-1, 2, 3, 5]
    assert [model.tokenizer.source(cell, s, t) for s, t in zip(e.start[1:], e.end[1:])] == [GENES[7], GENES[3], GENES[5]]
    # Bins over 1, 2 and 900 alone: the highest is 50, the lowest 1; 2 lies at the half, where 25 of 50 edges are below.
    assert e.inputs["values"].tolist() == [-2, 50, 1, 26] and e.inputs["values"].dtype == np.float32
    assert e.columns["bin"][e.keep].tolist() == [50, 1, 26] and e.columns["count"][e.keep].tolist() == [900, 1, 2]
    batch = model.encode([cell, CELLS[0]])
    assert batch.columns["bin"].dtype == np.int32 and batch.columns["count"].dtype == np.float32
    assert batch.token_id[:3].tolist() == [e.ids[1], e.ids[2], e.ids[3]] and batch.n_kept == 3 + 24


def test_a_cell_beyond_the_context_keeps_a_stated_choice_and_its_bins(model):
    cell = random_cell(80, 5, unknown=0)
    everything = dict(zip(cell.genes, genes.quantile_bins(cell.counts)))
    chosen = {}
    for choose in ("sample", "highest"):
        e = model.encode_one(cell, choose=choose)
        assert len(e.ids) == model.max_tokens == 64 and (np.diff(e.start[1:]) > 0).all()
        assert {g: b for g, b in zip(model.tokenizer.words(e.ids[1:]), e.columns["bin"][1:])}.items() <= everything.items()
        chosen[choose] = set(e.start[1:].tolist())
        assert chosen[choose] == set(model.encode_one(cell, choose=choose).start[1:].tolist())
    order = sorted(range(80), key=lambda i: (-cell.counts[i], i))
    assert chosen["highest"] == set(order[:63]) != chosen["sample"]
    other = Cell("another", cell.genes, cell.counts)
    assert set(model.encode_one(other).start[1:].tolist()) != chosen["sample"]
    assert genes.coverage(model.tokenizer, [cell], choose="highest").n_beyond.tolist() == [17]
    with pytest.raises(ValueError, match="choose is 'first': wanted 'sample' or 'highest'"):
        model.encode([CELLS[0]], choose="first")


def test_the_drug_token_is_there_if_drugs_are(treated, tmp_path):
    known, none = random_cell(9, 1, unknown=0, drug="imatinib"), random_cell(9, 1, unknown=0)
    e = treated.encode_one(known)
    assert treated.tokenizer.words(e.ids[:2]) == ["<cls>", "<drug>"] and e.keep.tolist() == [False] * 2 + [True] * 9
    assert e.inputs["drug"].tolist() == [0, DRUGS["imatinib"], *[0] * 9] and e.inputs["values"][:2].tolist() == [-2, -2]
    assert e.columns["bin"][2:].tolist() == genes.quantile_bins(known.counts).tolist()
    first, second = (treated.logits(treated.encode([cell])) for cell in (known, none))
    assert (first - second).abs().max() > 1e-3
    with pytest.raises(ValueError, match="cell cell1: 'wine' is none of the model's 3 drugs"):
        treated.encode_one(random_cell(9, 1, drug="wine"))
    # Without the list of drugs no drug token, and the first gene is binned although the collator keeps two tokens as they are.
    place = save_tahoe(tmp_path, activation="gelu", drugs=True)
    (place / "drugs.json").unlink()
    bare = door.load(place)
    e = bare.encode_one(known)
    assert len(e.ids) == 10 and "drug" not in e.inputs
    assert e.inputs["values"][1:].tolist() == genes.quantile_bins(known.counts).tolist()
    assert bare.logits(bare.encode([known])).isfinite().all()


# The port --------------------------------------------------------------------------------------------------


def by_formula(state: dict, ids, values, heads: int, act, drug: int | None = None, chem=None) -> tuple[np.ndarray, ...]:
    """Last activations, bins, bins from the cell's vector; one cell, float64, a loop over heads."""
    w = {k.removeprefix("model."): v.double().numpy() for k, v in state.items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    gene = norm(w["gene_encoder.embedding.weight"][ids], "gene_encoder.enc_norm")
    hidden = act(linear(np.minimum(values, 512.0)[:, None], "expression_encoder.linear1"))
    x = gene + norm(linear(hidden, "expression_encoder.linear2"), "expression_encoder.norm")
    if drug is not None:
        print_ = w["chem_encoder.embedding.weight"][drug]
        x[1] = norm(linear(chem(linear(print_, "chem_encoder.fc")), "chem_encoder.proj"), "chem_encoder.norm")
    d = x.shape[1] // heads
    for k in range(3):
        at = f"transformer_encoder.layers.{k}"
        q, key, v = np.split(linear(norm(x, f"{at}.norm1"), f"{at}.self_attn.Wqkv"), 3, axis=1)
        mixed = []
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            scores = np.exp(q[:, part] @ key[:, part].T / math.sqrt(d))
            mixed.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        x = x + linear(np.concatenate(mixed, 1), f"{at}.self_attn.out_proj")
        x = x + linear(act(linear(norm(x, f"{at}.norm2"), f"{at}.up_proj")), f"{at}.down_proj")
    x = norm(x, "transformer_encoder.norm")
    decoded = linear(x, "expression_decoder.linear_layers.0")
    bins = linear(np.where(decoded > 0, decoded, 0.01 * decoded), "expression_decoder.out_proj")
    query = 1 / (1 + np.exp(-linear(gene, "mvc_decoder.gene2query")))
    return x, bins, linear(query, "mvc_decoder.W") @ x[0] / math.sqrt(x.shape[1])


@torch.inference_mode()
def test_the_port_is_its_formula(folder, model, treated):
    def relu(x):
        return np.maximum(x, 0)

    def gelu(x):
        return x * 0.5 * (1 + erf(x / math.sqrt(2)))

    cell = random_cell(20, 4, drug="aspirin")
    for ours, act, drug in ((model, relu, None), (treated, gelu, DRUGS["aspirin"])):
        batch = ours.encode([cell])
        state = ours.model.state_dict()
        last, bins, mvc = by_formula(state, batch.ids[0].numpy(), batch.inputs["values"][0].double().numpy(), 4, act, drug, gelu)
        out = ours.model(input_ids=batch.ids, attention_mask=batch.mask, **batch.inputs)
        np.testing.assert_allclose(ours.run_grid(batch, ["final"])["final"][0], last, atol=2e-5)
        np.testing.assert_allclose(out.logits[0], bins, atol=2e-5)
        np.testing.assert_allclose(out.mvc[0], mvc, atol=2e-5)
    high = model.encode([cell])
    high.inputs["values"][0, 3] = 600.0
    same = replace(high, inputs={"values": high.inputs["values"].clamp(max=512)})
    assert torch.equal(model.logits(high), model.logits(same))


def test_sites_add_up_and_have_their_width(model):
    batch = model.encode(CELLS)
    names = [s.name for s in model.sites()]
    acts = model.run(batch, names)
    assert all(acts[s.name].shape == (batch.n_kept, s.dim) for s in model.sites())
    for k in range(3):
        before = acts[f"resid_post.{k - 1}" if k else "embed"]
        torch.testing.assert_close(before + acts[f"mixer_out.{k}"] + acts[f"mlp_out.{k}"], acts[f"resid_post.{k}"])
        assert acts[f"mlp_hidden.{k}"].shape[1] == 128 and (acts[f"mlp_hidden.{k}"] >= 0).all()


def test_the_order_of_genes_does_not_matter(model, treated):
    cell = random_cell(30, 6, unknown=0, drug="aspirin")
    order = np.random.default_rng(0).permutation(30)
    shuffled = Cell(cell.id, cell.genes[order], cell.counts[order], cell.drug)
    for ours in (model, treated):
        first, second = (ours.run(ours.encode([c]), ["resid_post.1", "final"]) for c in (cell, shuffled))
        for name, x in first.items():
            torch.testing.assert_close(x[order], second[name], atol=1e-5, rtol=0)
            assert (x - second[name]).abs().max() > 0.1  # each gene has its own vector


def test_a_hidden_bin_is_not_seen_and_changes_what_is(model):
    batch = model.encode(CELLS[:1])
    hidden = torch.zeros_like(batch.mask, dtype=torch.bool)
    hidden[0, 4] = True
    masked = replace(batch, inputs=batch.inputs | {"masked": hidden})
    values = batch.inputs["values"].clone()
    values[0, 4] = 17.0
    other = replace(batch, inputs={"values": values, "masked": hidden})
    assert torch.equal(model.logits(masked), model.logits(other))
    assert (model.logits(masked) - model.logits(batch)).abs().amax(-1).min() > 1e-6


class Leaky(tahoe.TahoeX1):
    """The published class's defect, put into ours: padding is looked at."""

    def forward(self, input_ids, attention_mask, values):
        return super().forward(input_ids, None, values)


def test_the_suite_catches_padding_that_is_not_masked(folder):
    ours = door.load(folder)
    assert conformance.check(ours, CELLS).passed.all()
    ours.model.__class__ = Leaky
    table = conformance.check(ours, CELLS).set_index("check")
    assert table.index[~table.passed].tolist() == ["padding_invariance"] and table.value["padding_invariance"] > 0.1


def test_half_precision_runs_and_stays_near(folder, model):
    half = door.load(folder, dtype="bfloat16")
    batch = model.encode(CELLS)
    exact, rounded = (m.run(batch, ["final"])["final"].float() for m in (model, half))
    assert 0 < (exact - rounded).norm() / exact.norm() < 0.05


# Files -----------------------------------------------------------------------------------------------------


def test_with_and_without_prefix_and_in_the_folder_of_a_size(folder, model, tmp_path):
    plain = door.load(save_tahoe(tmp_path / "plain", prefix=""))
    sized = save_tahoe(tmp_path / "hub" / "1b-model").parent
    batch = model.encode(CELLS)
    for other in (plain, door.load(sized)):
        assert torch.equal(other.logits(batch), model.logits(batch)) and other.max_tokens == 64
    save_tahoe(tmp_path / "hub" / "70m-model")
    with pytest.raises(ValueError, match="hub: holds 70m-model, 1b-model: give the folder of one size"):
        door.load(sized)


def test_a_model_without_flag_and_cell_decoder_loads(tmp_path, model):
    ours = door.load(save_tahoe(tmp_path, drop=("flag_encoder", "mvc_decoder")))
    batch = model.encode(CELLS)
    assert torch.equal(ours.logits(batch), model.logits(batch))
    assert ours.model(input_ids=batch.ids, attention_mask=batch.mask, **batch.inputs).mvc is None


def test_a_random_twin_is_another_model_of_the_same_shape(folder, model):
    first, again, second = (door.load(folder, random_init=True, seed=seed) for seed in (0, 0, 1))
    batch = model.encode(CELLS)
    assert first.identity["weights_sha256"] == "random-init-0"
    assert first.identity["parameters"] == model.identity["parameters"]
    assert torch.equal(first.logits(batch), again.logits(batch))
    assert min((first.logits(batch) - m.logits(batch)).abs().max() for m in (second, model)) > 0.01
    block = first.blocks[1]
    d = 32  # variance 2 / fan-in; the attention's output over sqrt(2 x 3 layers)
    assert block.up_proj.weight.std().item() == pytest.approx(math.sqrt(2 / d), rel=0.1)
    assert block.self_attn.out_proj.weight.std().item() == pytest.approx(math.sqrt(2 / d / 6), rel=0.1)
    assert not block.up_proj.bias.any() and (block.norm1.weight == 1).all()


def edited(folder: Path, tensors=None, **files) -> str:
    """What loading says after an edit: `tensors` of the weights, or vocab=, model=, collator= of a settings file."""
    names = {"vocab": "vocab.json", "model": "model_config.yml", "collator": "collator_config.yml"}
    for key, change in files.items():
        path = folder / names[key]
        settings = yaml.safe_load(path.read_text())
        change(settings)
        path.write_text(json.dumps(settings) if key == "vocab" else yaml.safe_dump(settings))
    if tensors:
        state = load_file(folder / "model.safetensors")
        tensors(state)
        save_file(state, folder / "model.safetensors")
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        door.load(folder)
    return str(error.value)


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    count = iter(range(100))

    def fresh(**settings) -> Path:
        return save_tahoe(tmp_path / f"m{next(count)}", **settings)

    block = "model.transformer_encoder.layers.1"
    said = edited(fresh(), lambda t: (t.pop(f"{block}.norm1.bias"), t.update({"model.extra": torch.ones(1)})))
    assert "model.safetensors: does not fill TahoeX1: missing ['transformer_encoder.layers.1.norm1.bias']" in said
    assert "unexpected ['extra']" in said
    said = edited(fresh(), lambda t: t.update({f"{block}.down_proj.weight": torch.ones(32, 64)}))
    assert "of another shape ['transformer_encoder.layers.1.down_proj.weight (32, 64), wanted (32, 128)']" in said
    assert "unexpected" in edited(fresh(), model=lambda m: m.update(n_layers=2))
    assert "missing" in edited(fresh(), model=lambda m: m.update(n_layers=4))
    for key, value in {"norm_scheme": "post", "use_glu": True, "cell_emb_style": "avg-pool"}.items():
        said = edited(fresh(), model=lambda m, key=key, value=value: m.update({key: value}))
        assert f"model_config.yml: {key} is {value!r}; computed here is" in said
    assert "norm_config.norm_type is 'rmsnorm'" in edited(fresh(), model=lambda m: m["norm_config"].update(norm_type="rmsnorm"))
    assert "kv_n_heads is 2" in edited(fresh(), model=lambda m: m["attn_config"].update(kv_n_heads=2))
    assert "activation 'swish'" in edited(fresh(), model=lambda m: m.update(transformer_activation="swish"))
    assert "model_config.yml: no d_model" in edited(fresh(), model=lambda m: m.pop("d_model"))
    assert "collator_config.yml: no max_length" in edited(fresh(), collator=lambda c: c.pop("max_length"))
    assert "values are not binned" in edited(fresh(), collator=lambda c: c.update(log_transform=True))
    assert "vocab.json: no <cls>" in edited(fresh(), vocab=lambda v: v.pop("<cls>"))
    assert "vocab.json: id 999 of a model with vocab_size 85" in edited(fresh(), vocab=lambda v: v.update(ENSG9=999))
    for name in ("vocab.json", "collator_config.yml", "model.safetensors"):
        place = fresh()
        (place / name).unlink()
        assert f"no {name} (wanted vocab.json, model_config.yml" in edited(place)
    for name, text in (("model_config.yml", "a: [1"), ("collator_config.yml", "a list")):
        place = fresh()
        (place / name).write_text(text)
        assert f"{name}: not " in edited(place)
    place = fresh()
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[:-10])
    assert "cut short" in edited(place)


def test_drugs_that_do_not_fit_are_refused(tmp_path):
    place = save_tahoe(tmp_path / "a", drugs=True)
    (place / "drugs.json").write_text(json.dumps({"<pad>": 0, "x": 3}))
    assert "drugs.json: wanted <pad>, and numbers below 3" in edited(place)
    place = save_tahoe(tmp_path / "b", drugs=True, drop=("model.chem_encoder",))
    (place / "drugs.json").write_text(json.dumps(DRUGS))
    state = {k: v for k, v in load_file(place / "model.safetensors").items() if "chem_encoder" not in k}
    save_file(state, place / "model.safetensors")
    assert "drugs.json: drugs for a model without drug encoder" in edited(place)


# Real cells ------------------------------------------------------------------------------------------------


def test_real_blood_cells_become_tokens_and_pass(tmp_path):
    path = DATA_DIR / "cells/pbmc3k_500cells_counts.h5ad"
    if not path.is_file():
        pytest.skip(f"NO REAL CELLS at {path}: set DATA_DIR to the folder of shared data")
    cells = list(read_cells(path))
    known = sorted({str(g) for c in cells for g in c.genes if str(g).startswith("ENSG")})

    def widen(settings: dict, size: int) -> dict:
        return settings | {"vocab_size": size}

    place = save_tahoe(tmp_path, layers=2, context=512)
    vocabulary = {word: i for i, word in enumerate([*SPECIALS, *known])}
    (place / "vocab.json").write_text(json.dumps(vocabulary))
    settings = yaml.safe_load((place / "model_config.yml").read_text())
    (place / "model_config.yml").write_text(yaml.safe_dump(settings | {"vocab_size": len(vocabulary)}))
    state = load_file(place / "model.safetensors")
    state["model.gene_encoder.embedding.weight"] = torch.randn(len(vocabulary), 32, generator=torch.Generator().manual_seed(0))
    save_file(state, place / "model.safetensors")
    ours = door.load(place)
    table = genes.coverage(ours.tokenizer, cells)
    assert len(table) == 500 and (table.n_unknown > 0).all() and table.count_share.min() > 0.1
    held = table.n_genes - table.n_unknown - table.n_beyond
    assert held.max() == 511 and held[table.n_beyond > 0].eq(511).all() and 0 < table.n_beyond.gt(0).mean() < 1
    e = ours.encode_one(cells[int(table.n_beyond.argmax())])
    assert len(e.ids) == 512 and e.columns["bin"][1:].min() == 1 and e.columns["bin"].max() == 50
    few = sorted(cells, key=len)[:3]
    assert conformance.check(ours, few).passed.all()


# The published class ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def peers(tmp_path_factory) -> dict:
    """What tests/peer_cells.py found, with the published class on our folders and cells."""
    return json.loads((ask_published(tmp_path_factory.getbasetemp()) / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "treated"])
def test_unpadded_the_port_is_the_published_class(peers, name):
    gaps = peers[name]["parity"]
    assert set(gaps) == {"logits", "mvc", "masked", *(f"resid_post.{k}" for k in range(3)), "final"}
    assert max(gaps.values()) <= 1e-12, gaps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "treated"])
def test_the_suite_fails_the_published_class_and_passes_the_port(peers, name):
    theirs, ours = peers[name]["theirs"], peers[name]["ours"]
    assert set(theirs) == set(ours) == set(conformance.CHECKS)
    assert all(check["passed"] for check in ours.values()), ours
    assert [n for n, check in theirs.items() if check["passed"] is False] == ["padding_invariance"], theirs
    assert theirs["padding_invariance"]["value"] > 1


@pytest.mark.slow
def test_bins_and_tokens_are_the_published_collators(peers):
    assert peers["bins"] == {"rows": 400, "different": 0}
    assert peers["plain"]["tokens"] == {"different": 0, "lacks": [0, 0, 0]}
    # They fix the length before <drug> is added, so that the longest cell of a batch loses a gene at random.
    assert peers["treated"]["tokens"] == {"different": 0, "lacks": [1, 1, 1]}
    # Their setting of the 3B with the drug token off leaves the first gene's raw count where a bin belongs.
    assert peers["trap"] == {"theirs": 900.0, "ours": 50.0}


def test_the_peers_script_needs_no_peer_until_it_runs():
    assert {"helical", "anndata"}.isdisjoint(sys.modules)
