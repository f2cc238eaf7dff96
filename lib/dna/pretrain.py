"""Train the demo's DNA language model: an ESM masked model (Nucleotide Transformer's class) on simulated sequence with a grammar.

The model sees nothing but sequence; where masks fall it is helped. Spans of 1 to 6 bases are masked anywhere, and markers, whose
places the simulation knows, as a whole: half of a masked marker would give away the rest. `python -m lib.dna.pretrain`
trains it (hours on two cores; `--init` goes on from a folder). Threads and compiled kernels round differently between machines,
so a new model is equal in its gates, not in its bytes.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

from lib.dna import gates, grammar
from lib.models.adapter import Adapter
from lib.models.families import NATIVE
from lib.models.wrap import wrap

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", "A", "C", "G", "T", "N", "<mask>"]
CLS, PAD, EOS, FIRST_BASE, MASK = 0, 1, 2, 4, 9
CONTEXT = 256  # bases a window; rotary positions leave room for the inserted bases of a haplotype
CHUNK = 1024   # windows simulated at a time
#: Half of the units of the genome that is trained on are functional.
FUNCTIONAL = 0.5


def config(width: int = 128, layers: int = 6, heads: int = 4, context: int = CONTEXT) -> EsmConfig:
    """Six blocks, since a motif, its partner and the marker are found one after another."""
    return EsmConfig(
        vocab_size=len(VOCABULARY), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=context + 34, position_embedding_type="rotary",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, token_dropout=False,
        emb_layer_norm_before=False, pad_token_id=PAD, mask_token_id=MASK, tie_word_embeddings=True,
    )  # fmt: skip


def token_ids(codes: np.ndarray) -> np.ndarray:
    """Windows as token ids with <cls> and <eos>: [n, base] -> [n, base + 2] int64."""
    return np.pad(codes.astype(np.int64) + FIRST_BASE, ((0, 0), (1, 1)), constant_values=((0, 0), (CLS, EOS)))


def markers(units, shape: tuple[int, int], rng: np.random.Generator, most: int = 3) -> torch.Tensor:
    """Number of the marker, from 1 in each window, at its tokens and at up to `most` beside it; 0 elsewhere. units: rows of
    `grammar.windows`. int8 [n, base + 2]."""
    out = np.zeros(shape, np.int8)
    for number, row in units[units.marked].groupby("window").cumcount().items():
        window, start = units.at[number, "window"], units.at[number, "marker_start"] + 1
        wider = rng.integers(0, most + 1, 2)
        out[window, max(1, start - wider[0]) : min(shape[1] - 1, start + grammar.MARKER + wider[1])] = row + 1
    return torch.from_numpy(out)


def corrupt(
    ids: torch.Tensor, numbers: torch.Tensor, generator: torch.Generator, share: float = 0.08, whole: float = 0.65
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, the positions to predict, and those of them in a whole marker.

    Spans of 1 to 6 bases cover about `share` of them, masked as by `masked`. Of the markers a share `whole` is masked, all of it.
    """
    n, length = ids.shape
    place = torch.arange(length)[None]
    chosen = torch.zeros(ids.shape, dtype=torch.bool)
    for _ in range(max(1, round(share * length / 3.5))):
        start, size = torch.randint(-5, length, (n, 1), generator=generator), torch.randint(1, 7, (n, 1), generator=generator)
        chosen |= (place >= start) & (place < start + size)
    hidden = torch.rand((n, int(numbers.max()) + 1), generator=generator) < whole
    inside = hidden.gather(1, numbers.long()) & (numbers > 0)
    chosen = (chosen | inside) & (ids >= FIRST_BASE)
    inside &= chosen
    how = torch.rand(ids.shape, generator=generator).masked_fill(inside, 0)
    return masked(ids, chosen, how, generator), chosen, inside


def masked(ids: torch.Tensor, chosen: torch.Tensor, how: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
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


class Windows:
    """Endless batches of fresh windows, simulated CHUNK at a time: token ids and numbers of markers, both [batch, base + 2]."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.grammar = grammar.Grammar(self.rng)
        self.ids, self.numbers, self.cursor = torch.empty(0), torch.empty(0), 0

    def next(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.cursor + batch > len(self.ids):
            codes, units = grammar.windows(CHUNK, CONTEXT, self.grammar, FUNCTIONAL, self.rng)
            self.ids, self.cursor = torch.from_numpy(token_ids(codes)), 0
            self.numbers = markers(units, tuple(self.ids.shape), self.rng)
        rows = slice(self.cursor, self.cursor + batch)
        self.cursor += batch
        return self.ids[rows], self.numbers[rows]


def train(
    out: Path, init: Path | None, tokens: int, batch: int, lr: float, matrix_lr: float, decay: float, seed: int, threads: int,
    report: int,
) -> None:  # fmt: skip
    """Train for `tokens` tokens and save the model, its tokenizer and `training.csv` (losses and gates) into `out`.

    init: a folder to go on from (weights only, with fresh optimisers), or None to start from random weights. decay: last share
    of the run over which the rates fall to 0. report: steps between gates, each of which saves the model.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    generator, data = torch.Generator().manual_seed(seed), Windows(seed)
    model = EsmForMaskedLM(config()) if init is None else EsmForMaskedLM.from_pretrained(init, dtype=torch.float32)
    trunk, steppers = torch.compile(model.train().esm, dynamic=False), optimisers(model, lr, matrix_lr)
    rates, steps = (matrix_lr, lr), tokens // (batch * CONTEXT)
    tokenizer = tokenizer_in(out)
    log, started, running = (out / "training.csv").open("w"), time.time(), []
    log.write("tokens,seconds,loss,marker_loss,probe_auroc,partner_broken\n")
    for step in range(steps):
        ids, numbers = data.next(batch)
        inputs, chosen, inside = corrupt(ids, numbers, generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.lm_head(trunk(inputs).last_hidden_state[chosen])
        each = torch.nn.functional.cross_entropy(logits.float(), ids[chosen], reduction="none")
        each.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper, rate in zip(steppers, rates, strict=True):
            stepper.param_groups[0]["lr"] = rate * schedule(step / steps, decay)
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        running.append((each.mean().item(), each.detach()[inside[chosen]].mean().item()))
        if (step + 1) % report == 0 or step + 1 == steps:
            known = _gated(model.eval(), tokenizer, seed)
            row = ((step + 1) * batch * CONTEXT, round(time.time() - started), *np.nanmean(running, 0).round(4), *known)
            log.write(",".join(map(str, row)) + "\n")
            log.flush()
            print(*row, flush=True)
            running = []
            save(model.train(), out)


def save(model: EsmForMaskedLM, out: Path) -> None:
    """The weights in bfloat16, half the bytes; whoever loads them computes in float32."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)


def _gated(model: EsmForMaskedLM, tokenizer: EsmTokenizer, seed: int) -> tuple[float, float]:
    """AUROC of the probe on the best layer, and what breaking the partner takes there, on fresh windows."""
    adapter = Adapter(model, wrap(tokenizer), {}, "cpu", NATIVE["esm"])
    best = gates.probed(adapter, gates.sample(10_000 + seed, 600, CONTEXT), seed)[1].nlargest(1, "auroc").iloc[0]
    return round(best.auroc, 4), round(best.lost, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/pretrain"))
    parser.add_argument("--init", type=Path, help="go on from this folder's weights")
    parser.add_argument("--tokens", type=int, default=60_000_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--matrix_lr", type=float, default=0.01)
    parser.add_argument("--decay", type=float, default=0.3, help="last share of the run with falling rates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=500)
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
