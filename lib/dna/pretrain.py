"""Train a DNA language model of single bases: an ESM masked model (Nucleotide Transformer's class), small enough to commit.

What it is trained on is a `Task`: simulated sequence with a grammar (`pretrain_grammar`) or a real genome (`pretrain_genome`); the
command is `pretrain_study`. Threads and compiled kernels round differently between machines, so a new model is equal in what it knows,
not in its bytes.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

from lib.models.adapter import Adapter
from lib.models.families import NATIVE
from lib.models.wrap import wrap

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", "A", "C", "G", "T", "N", "<mask>"]
CLS, PAD, EOS, FIRST_BASE, MASK = 0, 1, 2, 4, 9
DATA = "data.json"  # beside the weights: what they were trained on, and what was held out


def config(context: int, width: int = 128, layers: int = 6, heads: int = 4) -> EsmConfig:
    """For windows of `context` bases. Six blocks, since a motif, its partner and the marker are found one after another."""
    return EsmConfig(
        vocab_size=len(VOCABULARY), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=context + 34, position_embedding_type="rotary",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, token_dropout=False,
        emb_layer_norm_before=False, pad_token_id=PAD, mask_token_id=MASK, tie_word_embeddings=True,
    )  # fmt: skip


def token_ids(codes: np.ndarray) -> np.ndarray:
    """Windows as token ids with <cls> and <eos>: [n, base] -> [n, base + 2] int64."""
    return np.pad(codes.astype(np.int64) + FIRST_BASE, ((0, 0), (1, 1)), constant_values=((0, 0), (CLS, EOS)))


def spans(shape: torch.Size, share: float, generator: torch.Generator) -> Tensor:
    """Spans of 1 to 6 tokens that cover about a share of a grid: bool [n, length]."""
    n, length = shape
    place = torch.arange(length)[None]
    chosen = torch.zeros(shape, dtype=torch.bool)
    for _ in range(max(1, round(share * length / 3.5))):
        start, size = torch.randint(-5, length, (n, 1), generator=generator), torch.randint(1, 7, (n, 1), generator=generator)
        chosen |= (place >= start) & (place < start + size)
    return chosen


def masked(ids: Tensor, chosen: Tensor, how: Tensor, generator: torch.Generator) -> Tensor:
    """Of the chosen bases 80 % become <mask>, 10 % stay, 10 % a random base, as `how` in [0, 1) says of each."""
    random_base = torch.randint(FIRST_BASE, FIRST_BASE + 4, ids.shape, generator=generator)
    out = torch.where(chosen & (how < 0.8), MASK, ids)
    return torch.where(chosen & (how >= 0.9), random_base, out)


def tokenizer_in(folder: Path) -> EsmTokenizer:
    """The tokenizer, written into a folder that is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = EsmTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def optimisers(model: EsmForMaskedLM, lr: float, matrix_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the encoder, AdamW for all else."""
    matrices = [p for p in model.esm.encoder.parameters() if p.ndim == 2]
    known = set(map(id, matrices))
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(matrices, lr=matrix_lr, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=lr, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def schedule(done: float, decay: float, warm_up: float = 0.01) -> float:
    """Factor on the rates after a share `done` of the run: linear warm-up, plateau, linear decay over the last share `decay`."""
    return min(1.0, (done + 1e-4) / warm_up, max(0.02, (1 - done) / decay) if decay else 1.0)


class Batch(NamedTuple):
    """inputs, ids: [window, token], with and without masks; chosen: the same, bool, what is predicted; weight: [chosen] of the loss, or
    None; apart: [chosen] bool, whose loss is reported by itself."""

    inputs: Tensor
    ids: Tensor
    chosen: Tensor
    weight: Tensor | None
    apart: Tensor


class Task(Protocol):
    """What a model is trained on. context: bases a window; about: what is written beside the weights of it, as JSON."""

    context: int
    about: dict

    def next(self, batch: int, generator: torch.Generator) -> Batch:
        """`batch` windows with masks, [batch, context + 2] tokens. generator: draws the masks."""

    def told(self, model: EsmForMaskedLM, tokenizer: EsmTokenizer) -> dict[str, float]:
        """What a report says of the model beside its losses, name -> value; NaN for what cannot be asked."""


def check(out: Path, context: int, tokens: int, batch: int) -> None:
    """Raises ValueError for a folder that holds a model without the `training.csv` of one trained here, which would be lost, and for
    fewer tokens than one batch of windows of `context` bases."""
    if (out / "config.json").exists() and not (out / "training.csv").exists():
        raise ValueError(
            f"{out}: holds config.json and no training.csv, so its model was not trained here and would be lost; "
            "wanted a folder of our own: give --out"
        )
    if tokens < batch * context:
        raise ValueError(f"tokens is {tokens:,}, wanted at least one batch: {batch} windows of {context} bases, {batch * context:,}")


def train(
    task: Task, out: Path, init: Path | None, tokens: int, batch: int, lr: float, matrix_lr: float, decay: float, seed: int, threads: int,
    report: int,
) -> None:  # fmt: skip
    """Train for `tokens` tokens and save the model, its tokenizer, `training.csv` (losses, and what the task tells) and `data.json` (what
    it was trained on, and how) into `out`.

    init: a folder to go on from (weights only, with fresh optimisers), or None to start from random weights. decay: last share
    of the run over which the rates fall to 0. report: steps between reports, each of which saves the model. Sets torch's
    threads and seed. Raises ValueError before anything is written, as `check` says.
    """
    check(out, task.context, tokens, batch)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = EsmForMaskedLM(config(task.context)) if init is None else EsmForMaskedLM.from_pretrained(init, dtype=torch.float32)
    model.set_attn_implementation("eager")  # compiled, a third faster on two cores than the fused kernel: benchmarks/recipes.md
    trunk, steppers = torch.compile(model.train().esm, dynamic=False), optimisers(model, lr, matrix_lr)
    rates, steps = (matrix_lr, lr), tokens // (batch * task.context)
    tokenizer, rows, started, running = tokenizer_in(out), [], time.time(), []
    how = {"tokens": steps * batch * task.context, "batch": batch, "lr": lr, "matrix_lr": matrix_lr, "decay": decay, "seed": seed}
    (out / DATA).write_text(json.dumps(task.about | how | {"from": "random weights" if init is None else init.name}, indent=1) + "\n")
    for step in range(steps):
        running.append(_step(model, trunk, task.next(batch, generator)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper, rate in zip(steppers, rates, strict=True):
            stepper.param_groups[0]["lr"] = rate * schedule(step / steps, decay)
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        if (step + 1) % report == 0 or step + 1 == steps:
            loss, apart = np.nanmean(running, 0).round(4)
            row = {"tokens": (step + 1) * batch * task.context, "seconds": round(time.time() - started), "loss": loss, "loss_apart": apart}
            rows.append(row | task.told(model.eval(), tokenizer))
            pd.DataFrame(rows).to_csv(out / "training.csv", index=False)
            print(*rows[-1].values(), flush=True)
            running = []
            save(model.train(), out)


def _step(model: EsmForMaskedLM, trunk, batch: Batch) -> tuple[float, float]:
    """Gradients of one batch; its loss, without weights, and that of what is apart (nats)."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.lm_head(trunk(batch.inputs).last_hidden_state[batch.chosen])
    each = torch.nn.functional.cross_entropy(logits.float(), batch.ids[batch.chosen], reduction="none")
    (each.mean() if batch.weight is None else (each * batch.weight).sum() / batch.weight.sum()).backward()
    return each.mean().item(), each.detach()[batch.apart].mean().item()


def read_by(model: EsmForMaskedLM, tokenizer: EsmTokenizer) -> Adapter:
    """The model as the notebooks read it."""
    return Adapter(model, wrap(tokenizer), {}, "cpu", NATIVE["esm"])


def save(model: EsmForMaskedLM, out: Path) -> None:
    """The weights in bfloat16, half the bytes; whoever loads them computes in float32."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
