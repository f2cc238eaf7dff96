"""Training a language model: which windows it sees, what repeats count, that it learns and goes on, and what a study trains."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import EsmForMaskedLM

from lib.dna import confounders, pretrain, pretrain_genome, pretrain_grammar, pretrain_study
from lib.dna.pretrain_genome import CONTEXT, Genome
from lib.models import sequence as sq
from lib.stage import io


def letters(n: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


STRETCHES = [letters(n, seed) for seed, n in enumerate((1500, 900, 700))]
SETTINGS = {"batch": 4, "lr": 0.003, "matrix_lr": 0.02, "decay": 0.3, "seed": 0, "threads": 1, "report": 100}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small(context: int, config=pretrain.config):
    return config(context, 32, 1, 2)


def test_windows_lie_in_one_stretch_on_either_strand_and_hold_no_unknown_base():
    gapped = STRETCHES[0][:600] + "N" * 3 + STRETCHES[0][603:]
    task = Genome([gapped, STRETCHES[1], "ACGT" * 20], [STRETCHES[2]], seed=0)
    batch = task.next(64, torch.Generator().manual_seed(0))
    seen = [sq.decode((row[1:-1] - pretrain.FIRST_BASE).numpy().astype(np.uint8)) for row in batch.ids]
    turned = [sq.decode(sq.reverse_complement(sq.encode(text))) for text in seen]
    forward, backward = ([any(text in whole for whole in (gapped, STRETCHES[1])) for text in some] for some in (seen, turned))
    assert all(f != b for f, b in zip(forward, backward)) and 15 < sum(forward) < 49
    assert len(seen[0]) == CONTEXT and not any("N" in text for text in seen)
    assert 0.1 < batch.chosen.float().mean() < 0.2 and (batch.inputs[~batch.chosen] == batch.ids[~batch.chosen]).all()


def test_bases_in_repeats_count_a_tenth():
    repeat = letters(60, 3)
    text = "".join(STRETCHES[0][i * 100 : i * 100 + 100] + repeat for i in range(6)) + "A" * 30 + STRETCHES[1]
    codes = sq.encode(text)
    marked = pretrain_genome.repeats(codes, confounders.KmerCounts([codes]))
    expected = np.zeros(len(text), bool)
    for i in range(6):
        expected[i * 160 + 100 : i * 160 + 160] = True
    expected[960:990] = True
    assert marked[expected].all() and (marked & ~expected).mean() < 0.03  # bases that join a repeat, or make one, by chance
    batch = pretrain_genome.corrupt(codes[None, :CONTEXT], marked[None, :CONTEXT], torch.Generator().manual_seed(1))
    place = torch.nonzero(batch.chosen)[:, 1] - 1
    assert (batch.weight == torch.where(torch.from_numpy(marked)[place], 0.1, 1.0)).all() and batch.apart.any()


def test_stretches_that_hold_no_window_are_refused():
    with pytest.raises(ValueError, match="none of 1 stretches has 512 bases"):
        Genome(["ACGT" * 20], [], 0)
    with pytest.raises(ValueError, match="no 512 bases in a row"):
        Genome([("ACGT" * 100 + "N") * 3], [], 0)


@pytest.fixture
def read(tmp_path) -> dict:
    """Parameters of a study of three chromosomes."""
    import pysam

    names = {"chr1": STRETCHES[0], "chr2": STRETCHES[1], "chr3": STRETCHES[2].lower()}
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in names.items()))
    pysam.faidx(str(tmp_path / "g.fa"))
    (tmp_path / "b.bed").write_text("chr1\t0\t700\nchr1\t600\t1400\nchr2\t0\t900\nchr3\t0\t700\n")
    return {"study": "x", "genome_path": str(tmp_path / "g.fa"), "background_path": str(tmp_path / "b.bed"),
            "validation_contigs": ["chr3"], "test_contigs": ["chr2"]}  # fmt: skip


def test_only_chromosomes_that_are_not_held_out_are_read(read):
    task = pretrain_genome.of_study(read, 0)
    assert task.about["trained_on"] == ["chr1"] and task.about["held_out"] == ["chr3", "chr2"] and task.about["bases"] == 1400
    assert sq.decode(task.codes) == STRETCHES[0][:1400]  # two rows that overlap are one stretch
    assert len(task.held_out[0]) == min(pretrain_genome.REPORTED, 700 - CONTEXT + 1) == 189
    assert all(sq.decode(row) in STRETCHES[2] for row in task.held_out[0])


def test_a_genome_that_is_held_out_whole_is_refused(read):
    with pytest.raises(ValueError, match=r"b\.bed: has chr1, chr2, chr3, all held out \(to validate on chr1, chr3, to test on chr2\)"):
        pretrain_genome.of_study(read | {"validation_contigs": ["chr1", "chr3"]}, 0)


@pytest.mark.parametrize("held_out", [[], ["ACGT" * 20]])
def test_with_nothing_held_out_no_loss_is_told(tmp_path, held_out):
    told = Genome(STRETCHES[:2], held_out, 0).told(EsmForMaskedLM(small(CONTEXT)), pretrain.tokenizer_in(tmp_path))
    assert list(told) == ["held_out", "held_out_repeats", "held_out_shuffled"] and np.isnan(list(told.values())).all()


def test_starts_of_windows_are_numbers_that_a_whole_genome_fits_in():
    starts = pretrain_genome.whole_windows([sq.encode(text) for text in STRETCHES[:2]])
    assert starts.dtype == np.int64  # 32 bits end at 2.1 Gb
    assert starts.tolist() == [*range(1500 - CONTEXT + 1), *range(1500, 1500 + 900 - CONTEXT + 1)]


def test_batches_of_the_grammar_are_fresh_and_apart_is_what_lies_in_whole_masked_markers(monkeypatch):
    monkeypatch.setattr(pretrain_grammar, "CHUNK", 40)
    task, generator, seen = pretrain_grammar.Windows(0), torch.Generator().manual_seed(0), []
    for _ in range(3):  # the third does not fit in the chunk
        batch = task.next(16, generator)
        assert batch.inputs.shape == batch.ids.shape == batch.chosen.shape == (16, pretrain_grammar.CONTEXT + 2)
        assert batch.weight is None and batch.apart.shape == (batch.chosen.sum(),)
        assert (batch.inputs[~batch.chosen] == batch.ids[~batch.chosen]).all()
        assert (batch.inputs[batch.chosen][batch.apart] == pretrain.MASK).all() and 0 < batch.apart.sum() < len(batch.apart)
        inside = torch.zeros_like(batch.chosen).masked_scatter(batch.chosen, batch.apart)
        numbers = task.numbers[task.cursor - 16 : task.cursor]
        assert not inside[numbers == 0].any()
        shares = [inside[row][numbers[row] == k].float().mean() for row in range(16) for k in numbers[row].unique() if k]
        assert {0.0, 1.0} == {float(share) for share in shares}
        seen.append(batch.ids)
    assert len(torch.cat(seen).unique(dim=0)) == 48


def test_the_grammar_says_what_the_probe_and_the_partner_come_to(tmp_path):
    model = EsmForMaskedLM(small(pretrain_grammar.CONTEXT)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        told = pretrain_grammar.Windows(0).told(model, pretrain.tokenizer_in(tmp_path))
    assert list(told) == ["probe_auroc", "partner_broken"] and 0.3 < told["probe_auroc"] < 0.7


def test_it_learns_says_how_well_and_goes_on_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "config", small)
    monkeypatch.setattr(pretrain_genome, "SHARE", 0.05)
    task = Genome(["AACCGGTT" * 300], ["AACCGGTT" * 100], 0)
    pretrain.train(task, tmp_path / "a", None, 200 * 4 * CONTEXT, **SETTINGS)
    told = pd.read_csv(tmp_path / "a/training.csv")
    assert told.tokens.tolist() == [100 * 4 * CONTEXT, 200 * 4 * CONTEXT]
    assert told.loss.iloc[0] > told.loss.iloc[-1] and told.loss_apart.equals(told.loss)
    assert told.held_out_repeats.iloc[-1] < 0.9  # letters as often as each other: 1.386 without their order
    pretrain.train(task, tmp_path / "b", tmp_path / "a", 4 * CONTEXT, **(SETTINGS | {"lr": 0.0, "matrix_lr": 0.0}))
    data = [json.loads((tmp_path / name / "data.json").read_text()) for name in "ab"]
    assert [d["tokens"] for d in data] == [200 * 4 * CONTEXT, 4 * CONTEXT] and [d["from"] for d in data] == ["random weights", "a"]
    assert data[0]["bases"] == 2400 and data[0]["bases_sha256"] == data[1]["bases_sha256"]
    first, second = (EsmForMaskedLM.from_pretrained(tmp_path / name).state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_with_the_model_of_another_and_too_few_tokens_are_refused_before_anything_is_written(tmp_path):
    task = Genome(STRETCHES[:2], [], 0)
    with pytest.raises(ValueError, match="tokens is 2,047, wanted at least one batch: 4 windows of 512 bases, 2,048"):
        pretrain.train(task, tmp_path / "new", None, 4 * CONTEXT - 1, **SETTINGS)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=f"{tmp_path}: holds config.json and no training.csv.*wanted a folder of our own: give --out"):
        pretrain.train(task, tmp_path, None, 4 * CONTEXT, **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    (tmp_path / "training.csv").write_text("")
    pretrain.check(tmp_path, CONTEXT, 4 * CONTEXT, 4)


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list:
    """What is trained, instead of training it: (task, out, settings). A genome is its parameters and a seed."""
    calls = []
    monkeypatch.setattr(pretrain, "train", lambda task, out, **given: calls.append((task, out, given)))
    monkeypatch.setattr(pretrain_genome, "of_study", lambda read, seed: (read["study"], seed))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return calls


def test_a_study_that_simulates_trains_on_the_grammar_into_its_own_folder(asked):
    assert pretrain_study.main(["demo", "--seed", "3"]) == 0
    [(task, out, given)] = asked
    assert isinstance(task, pretrain_grammar.Windows) and task.seed == given["seed"] == 3
    assert out == io.ROOT / "params/demo/model" and given["init"] is None and given["tokens"] == 60_000_000


def test_a_study_of_a_real_genome_trains_on_it_but_never_over_a_model_that_was_downloaded(asked, tmp_path, capsys):
    folder = tmp_path / "models/mistral-dna-1m-hg38-causal"
    assert pretrain_study.main(["ibd-1kg"]) == 0
    assert asked.pop()[:2] == (("ibd-1kg", 0), folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert pretrain_study.main(["ibd-1kg"]) == 2 and not asked
    assert f"refused, nothing was written: {folder}: holds config.json" in capsys.readouterr().err
    assert pretrain_study.main(["ibd-1kg", "--out", str(tmp_path / "own"), "--seed", "1"]) == 0
    assert asked[0][:2] == (("ibd-1kg", 1), tmp_path / "own")


def test_a_study_that_is_not_known_ends_in_a_sentence(asked, capsys):
    assert pretrain_study.main(["nowhere"]) == 2 and not asked
    assert "nowhere" in capsys.readouterr().err
