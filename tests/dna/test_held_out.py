"""What a model knows of sequence that it never saw: when that can be asked, of which bases, and beside what."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
from transformers import EsmForMaskedLM

from lib.dna import held_out, pretrain
from lib.models import language

BP = 64


def ruled(n: int, seed: int) -> str:
    """Letters of which every fourth is that before it plus that after it."""
    codes = np.random.default_rng(seed).integers(0, 4, n)
    at = np.arange(1, n - 1, 4)
    codes[at] = (codes[at - 1] + codes[at + 1]) % 4
    return "".join("ACGT"[c] for c in codes)


class Corpus(SimpleNamespace):
    def units(self):
        return self.table

    def records(self):
        return SimpleNamespace(texts=self.texts)

    def concepts(self):
        return self.known

    def model_path(self):
        return self.folder


@pytest.fixture
def corpus(tmp_path):
    letters = {"c1": ruled(20_000, 0), "c2": ruled(64 * 30, 1), "c3": ruled(64 * 40, 2)}
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in letters.items()))
    pysam.faidx(str(tmp_path / "g.fa"))
    (tmp_path / "b.bed").write_text("".join(f"{name}\t0\t{len(text)}\n" for name, text in letters.items()))
    places = [(name, start) for name in ("c2", "c3") for start in range(0, len(letters[name]), BP)]
    texts = [letters[name][start : start + BP] for name, start in places]
    table = pd.DataFrame(places, columns=["contig", "start"]).assign(unit=range(len(places)))
    known = pd.DataFrame([("c3", 0, 200, "intron +", "intron"), ("c3", 60, 90, "Alu", "Alu"), ("c3", 80, 100, "exon", "exon"),
                          ("c3", 95, 104, "splice donor +", "splice donor"), ("c3", 300, 400, "promoter", "promoter")],
                         columns=["contig", "start", "end", "concept", "family"]).assign(kind="interval")  # fmt: skip
    settings = {"genome_path": str(tmp_path / "g.fa"), "background_path": str(tmp_path / "b.bed"), "window_bp": BP}
    return Corpus(study="x", folder=tmp_path, table=table.assign(end=table.start + BP), texts=texts, known=known, settings=settings,
                  split={"validation": ["c2"], "test": ["c3"]})  # fmt: skip


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    net = EsmForMaskedLM(pretrain.config(BP, 32, 1, 2)).eval()
    return pretrain.read_by(net, pretrain.tokenizer_in(tmp_path / "model"))


@pytest.mark.parametrize("told, expected", [(None, []), (["c3"], []), (["c2", "c3", "c9"], ["c3"])])
def test_only_a_model_that_says_what_it_was_trained_without_is_asked(corpus, model, told, expected):
    if told is not None:
        (corpus.folder / pretrain.DATA).write_text(json.dumps({"held_out": told}))
    assert held_out.contigs(corpus, model) == expected


def test_a_model_that_reads_words_is_not_asked(corpus, model):
    (corpus.folder / pretrain.DATA).write_text(json.dumps({"held_out": ["c2", "c3"]}))
    words = SimpleNamespace(has_head=True, tokenizer=SimpleNamespace(encode=lambda text: SimpleNamespace(keep=np.ones(3, bool))))
    assert held_out.contigs(corpus, words) == []
    assert held_out.contigs(corpus, SimpleNamespace(has_head=False, tokenizer=model.tokenizer)) == []


def test_a_base_is_the_last_of_the_classes_that_lie_on_it(corpus):
    windows = pd.DataFrame({"contig": ["c3", "c3"], "start": [64, 256]})
    names = held_out.classes(corpus, windows, BP)
    expected = ["Alu"] * 16 + ["exon"] * 15 + ["splice window"] * 9 + ["intron"] * 24
    assert names[0].tolist() == expected and set(names[1]) == {"other"}  # a promoter is none of them


def test_every_base_is_masked_once_and_its_neighbours_stay(corpus, model, monkeypatch):
    seen = []
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda batch: (seen.append(batch.ids == model.tokenizer.mask_token_id), logits(batch))[1])
    loss = held_out.base_losses(model, corpus.texts[:3], 0)
    assert np.isfinite(loss).all() and loss.shape == (3, BP)
    masks = torch.stack(seen)
    assert (masks.sum(0)[:, 1:-1] == 1).all() and len(seen) == held_out.EVERY
    at = [torch.nonzero(row).ravel() for row in masks.flatten(0, 1)]
    assert min(int(x.diff().min()) for x in at if len(x) > 1) == held_out.EVERY


def test_a_model_that_knows_nothing_loses_to_what_stands_next_to_a_base(corpus, model):
    table = held_out.knowledge(model, corpus, 0).set_index("name")
    assert table.loc["real", "value"] == pytest.approx(np.log(len(pretrain.VOCABULARY)), abs=0.1)
    assert table.filter(like="Markov, ", axis=0)["value"].item() < np.log(4) - 0.05  # a fourth of the bases can be told
    gap, beside = table.loc[language.GAP], table.loc[held_out.MARKOV]
    assert abs(gap.value) < 0.05 and not language.holds(gap)[0]
    assert beside.high < 0 and not language.holds(beside)[0] and beside.n == 40
    each = table.filter(like=held_out.MARKOV + ":", axis=0)
    assert each.index.str.split(": ").str[1].tolist() == ["intron", "Alu", "exon", "CpG island", "splice window", "other"]
    assert each["n"].tolist() == [4, 1, 1, 0, 1, 37] and each["value"].isna().sum() == 1  # no CpG island here


def test_without_a_whole_window_nothing_can_be_asked(corpus):
    corpus.texts = [text[:-1] + "N" for text in corpus.texts]
    with pytest.raises(ValueError, match="no background window of c3 is whole and without N"):
        held_out.sampled(corpus, "test", 0)
