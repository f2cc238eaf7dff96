"""Training a language model: which windows of a real genome it sees, what repeats count, and that it learns and goes on."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import EsmForMaskedLM

from lib.dna import confounders, pretrain, pretrain_genome
from lib.dna.pretrain_genome import CONTEXT, Genome
from lib.models import sequence as sq

RNG = np.random.default_rng(0)
STRETCHES = ["".join(RNG.choice(list("ACGT"), n)) for n in (1500, 900, 700)]


def test_windows_lie_in_one_stretch_on_either_strand_and_hold_no_unknown_base():
    gapped = STRETCHES[0][:600] + "N" * 3 + STRETCHES[0][603:]
    task = Genome([gapped, STRETCHES[1], "ACGT" * 20], [STRETCHES[2]], seed=0)
    batch = task.next(64, torch.Generator().manual_seed(0))
    seen = [sq.decode((row[1:-1] - pretrain.FIRST_BASE).numpy().astype(np.uint8)) for row in batch.ids]
    turned = [sq.decode(3 - sq.encode(text)[::-1]) for text in seen]
    forward, backward = ([any(text in whole for whole in (gapped, STRETCHES[1])) for text in some] for some in (seen, turned))
    assert all(f != b for f, b in zip(forward, backward)) and 15 < sum(forward) < 49
    assert len(seen[0]) == CONTEXT and not any("N" in text for text in seen)
    assert 0.1 < batch.chosen.float().mean() < 0.2 and (batch.inputs[~batch.chosen] == batch.ids[~batch.chosen]).all()


def test_bases_in_repeats_count_a_tenth():
    repeat = "".join(RNG.choice(list("ACGT"), 60))
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


def test_only_chromosomes_that_are_not_held_out_are_read(tmp_path):
    import pysam

    names = {"chr1": STRETCHES[0], "chr2": STRETCHES[1], "chr3": STRETCHES[2].lower()}
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in names.items()))
    pysam.faidx(str(tmp_path / "g.fa"))
    (tmp_path / "b.bed").write_text("chr1\t0\t700\nchr1\t600\t1400\nchr2\t0\t900\nchr3\t0\t700\n")
    read = {"study": "x", "genome_path": str(tmp_path / "g.fa"), "background_path": str(tmp_path / "b.bed"),
            "validation_contigs": ["chr3"], "test_contigs": ["chr2"]}  # fmt: skip
    task = pretrain_genome.of_study(read, 0)
    assert sq.decode(task.codes) == STRETCHES[0][:1400]  # two rows that overlap are one stretch
    assert all(sq.decode(row) in STRETCHES[2] for row in task.held_out[0])


def test_it_learns_says_how_well_and_goes_on_from_a_folder(tmp_path, monkeypatch):
    small, word = pretrain.config, "".join(RNG.choice(list("ACGT"), 7))
    monkeypatch.setattr(pretrain, "config", lambda context: small(32, 1, 2, context))
    monkeypatch.setattr(pretrain_genome, "SHARE", 0.05)
    task = Genome([word * 300], [word * 100], 0)
    settings = {"batch": 4, "lr": 0.01, "matrix_lr": 0.02, "decay": 0.3, "seed": 0, "threads": 1, "report": 20}
    threads = torch.get_num_threads()
    pretrain.train(task, tmp_path / "a", None, 60 * 4 * CONTEXT, **settings)
    told = pd.read_csv(tmp_path / "a/training.csv")
    assert told.tokens.tolist() == [20 * 4 * CONTEXT, 40 * 4 * CONTEXT, 60 * 4 * CONTEXT]
    assert told.loss.iloc[0] > told.loss.iloc[-1] and told.held_out_repeats.iloc[-1] < 1.3  # ln 4 is 1.386
    pretrain.train(task, tmp_path / "b", tmp_path / "a", 4 * CONTEXT, **(settings | {"lr": 0.0, "matrix_lr": 0.0}))
    first, second = (EsmForMaskedLM.from_pretrained(tmp_path / name).state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.set_num_threads(threads)
