"""Geneformer: ranks by hand, dictionaries that fit or are refused, and the published tokenizer."""

import json
import pickle
import re

import numpy as np
import pytest
import torch

from lib.models import adapter as door
from lib.models import conformance, geneformer, genes
from lib.models.cells import Cell, read_cells
from tests.cell_models import CELLS, GENES, PUBLISHED_COUNTS, ask_published, random_cell, save_geneformer
from tests.helpers import DATA_DIR, save_model


@pytest.fixture(scope="module", params=[1, 2])
def model(request, tmp_path_factory) -> door.Adapter:
    return door.load(save_geneformer(tmp_path_factory.mktemp(f"v{request.param}"), version=request.param))


def test_ranks_by_hand():
    vocabulary = {"<pad>": 0, "<mask>": 1, **{g: i for i, g in enumerate(GENES[:4], 2)}}
    medians = dict(zip(GENES, [1.0, 10.0, 0.5, 2.0]))
    tokenizer = genes.RankTokenizer(vocabulary, medians, context=8)
    cell = Cell("a", np.array([*GENES[:4], "unknown"], dtype=object), np.array([4, 20, 1, 4, 71], dtype=np.float32))
    # Total 100, unknown gene included. Over medians: 4/1, 20/10, 1/0.5, 4/2 = 4, 2, 2, 2: the first leads, ties keep the
    # row's order. Times 10,000 / 100: 400, 200, 200, 200.
    e = tokenizer.encode(cell)
    assert tokenizer.words(e.ids) == GENES[:4] and e.start.tolist() == [0, 1, 2, 3] and e.keep.all()
    assert e.columns["value"].tolist() == [400, 200, 200, 200] and e.columns["rank"].tolist() == [0, 1, 2, 3]
    assert e.columns["count"].tolist() == [4, 20, 1, 4]
    tokenizer.medians[GENES[3]] = 0.1  # 4/0.1 = 40
    e = tokenizer.encode(cell)
    assert tokenizer.words(e.ids) == [GENES[3], *GENES[:3]] and e.start.tolist() == [3, 0, 1, 2]
    assert genes.RankTokenizer(vocabulary, medians, context=2).encode(cell).start.tolist() == [3, 0]


def test_version_two_has_specials_within_the_context(model):
    tokenizer, cell = model.tokenizer, random_cell(80, 1)
    e = model.encode_one(cell)
    words = tokenizer.words(e.ids)
    specials = [words[0], words[-1]] == ["<cls>", "<eos>"]
    assert specials == ("<cls>" in tokenizer.vocabulary) and len(e.ids) == model.max_tokens == 64
    assert e.keep.sum() == (62 if specials else 64) and e.keep[1:-1].all() and e.keep[0] == (not specials)
    assert (np.diff(e.columns["value"][e.keep]) <= 0).all()
    assert e.columns["rank"][e.keep].tolist() == list(range(e.keep.sum()))
    assert genes.coverage(tokenizer, [cell]).n_beyond.tolist() == [18 if specials else 16]


def test_both_versions_pass_the_suite(model):
    assert conformance.check(model, CELLS).passed.all()
    assert model.identity["class"] == "BertForMaskedLM" and model.family.masked


def test_depth_does_not_change_the_tokens(model):
    cell = CELLS[1]
    deeper = Cell(cell.id, cell.genes, 3 * cell.counts)
    assert (model.encode_one(cell).ids == model.encode_one(deeper).ids).all()


def test_a_random_twin_keeps_the_tokenizer(tmp_path):
    place = save_geneformer(tmp_path)
    real, twin = door.load(place), door.load(place, random_init=True, seed=3)
    batch, other = real.encode(CELLS), twin.encode(CELLS)
    assert torch.equal(batch.ids, other.ids) and not torch.allclose(real.logits(batch), twin.logits(batch))


def test_a_bert_without_gene_dictionary_is_none(tmp_path):
    assert geneformer.recognises(save_geneformer(tmp_path / "g"))
    (tmp_path / "g/token_dictionary.json").unlink()
    assert not geneformer.recognises(tmp_path / "g")
    assert not geneformer.recognises(save_model("esm_bases", tmp_path / "e")) and not geneformer.recognises(tmp_path)


def test_pickles_are_never_opened_and_the_note_converts_them(tmp_path):
    place = save_geneformer(tmp_path)
    wanted = {name: json.loads((place / name).read_text()) for name in ("token_dictionary.json", "gene_median.json")}
    for name, file in zip(wanted, ("token_dictionary_gc104M.pkl", "gene_median_dictionary_gc104M.pkl")):
        values = {k: np.float64(v) if "median" in name else np.int64(v) for k, v in wanted[name].items()}
        (place / file).write_bytes(pickle.dumps(values))
        (place / name).unlink()
    with pytest.raises(FileNotFoundError, match="no token_dictionary.json. The published dictionaries are pickles") as error:
        door.load(place)
    code = "\n".join(line.strip("\n")[4:] for line in str(error.value).splitlines()[1:])
    work = {name: str(place / name) for name in re.findall(r'"([\w.]+)"', code) if "." in name}
    for name, full in work.items():
        code = code.replace(f'"{name}"', repr(full))
    exec(code, {})  # noqa: S102  the note itself, on the files that it names
    assert {name: json.loads((place / name).read_text()) for name in wanted} == wanted
    assert door.load(place).encode(CELLS).n_kept > 0


def test_dictionaries_that_do_not_fit_are_refused(tmp_path):
    def said(name: str, change) -> str:
        place = save_geneformer(tmp_path)
        settings = json.loads((place / name).read_text())
        change(settings)
        (place / name).write_text(json.dumps(settings))
        with pytest.raises(ValueError) as error:
            door.load(place)
        return str(error.value)

    assert "token_dictionary.json: token 999 of a model with 84" in said("token_dictionary.json", lambda d: d.update(ENSG1=999))
    assert "token_dictionary.json: no <pad>" in said("token_dictionary.json", lambda d: d.pop("<pad>"))
    text = "gene_median.json: 2 of 80 genes lack a median above 0: ['ENSG00000000100', 'ENSG00000000101']"
    assert text in said("gene_median.json", lambda d: (d.pop(GENES[0]), d.update({GENES[1]: 0.0})))
    (tmp_path / "gene_median.json").unlink()
    with pytest.raises(FileNotFoundError, match="no gene_median.json"):
        door.load(tmp_path)


def test_real_blood_cells_are_ranked():
    path = DATA_DIR / "cells/pbmc3k_500cells_counts.h5ad"
    if not path.is_file():
        pytest.skip(f"NO REAL CELLS at {path}: set DATA_DIR to the folder of shared data")
    cells = list(read_cells(path))
    names = sorted({g for c in cells for g in c.genes if g.startswith("ENSG")})
    seen: dict[str, list] = {g: [] for g in names}
    for cell in cells:
        for gene, count in zip(cell.genes, cell.counts / cell.counts.sum() * 1e4):
            if gene in seen:
                seen[gene].append(count)
    medians = {g: float(np.median(v)) for g, v in seen.items()}
    tokenizer = genes.RankTokenizer({"<pad>": 0} | {g: i for i, g in enumerate(names, 1)}, medians, 2048)
    for cell in cells[:50]:
        e = tokenizer.encode(cell)
        value = e.columns["value"]
        assert (np.diff(value) <= 0).all() and tokenizer.words(e.ids) == [cell.genes[s] for s in e.start]
        again = cell.counts[e.start] / cell.counts.sum() * 1e4 / [medians[cell.genes[s]] for s in e.start]
        np.testing.assert_allclose(value, again, rtol=1e-5)


# The published tokenizer ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_genes_are_in_the_published_order(tmp_path_factory):
    work = ask_published(tmp_path_factory.getbasetemp())
    ours, published = door.load(work / "geneformer"), json.loads((work / "ranks.json").read_text())
    for row, tokens in zip(PUBLISHED_COUNTS, published["tokens"], strict=True):
        at = np.flatnonzero(row)
        cell = Cell("a", np.array(published["genes"], dtype=object)[at], row[at])
        assert ours.encode_one(cell).ids.tolist() == tokens and len(tokens) > 10
