"""Train the demo's DNA language model: an ESM masked model (Nucleotide Transformer's class) on simulated sequence.

The model is told nothing but sequence. `make model` trains it again, in two runs: 19.5 million tokens at a constant
learning rate, then 10 million with the rate falling to 0 (about an hour on two cores). Threads and compiled kernels
round differently between machines, so a new model is equal in its losses, not in its bytes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

from lib.dna import knowledge, planted
from lib.models.adapter import Adapter
from lib.models.families import NATIVE
from lib.models.wrap import wrap

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", "A", "C", "G", "T", "N", "<mask>"]
CLS, PAD, EOS, FIRST_BASE, MASK = 0, 1, 2, 4, 9
CONTEXT = 128  # bases a window; rotary positions leave room for the inserted bases of a haplotype


def config(width: int = 128, layers: int = 4, heads: int = 4, context: int = CONTEXT) -> EsmConfig:
    return EsmConfig(
        vocab_size=len(VOCABULARY), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=context + 32, position_embedding_type="rotary",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, token_dropout=False,
        emb_layer_norm_before=False, pad_token_id=PAD, mask_token_id=MASK, tie_word_embeddings=True,
    )  # fmt: skip


def token_ids(codes: np.ndarray) -> np.ndarray:
    """Windows as token ids with <cls> and <eos>: [n, base] -> [n, base + 2] int64."""
    return np.pad(codes.astype(np.int64) + FIRST_BASE, ((0, 0), (1, 1)), constant_values=((0, 0), (CLS, EOS)))


def windows(codes: np.ndarray) -> np.ndarray:
    """Cut codes into windows of CONTEXT bases, as token ids: [n, CONTEXT + 2]."""
    n = len(codes) // CONTEXT
    return token_ids(codes[: n * CONTEXT].reshape(n, CONTEXT))


def corrupt(ids: torch.Tensor, share: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT masking of a share of the bases, each by itself. Returns ids, chosen."""
    chosen = (torch.rand(ids.shape, generator=generator) < share) & (ids >= FIRST_BASE)
    return masked(ids, chosen, torch.rand(ids.shape, generator=generator), generator), chosen


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


def masked_loss(model: EsmForMaskedLM, hidden: torch.Tensor, chosen: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (nats) at the chosen positions only: the head is run nowhere else."""
    logits = model.lm_head(hidden[chosen])
    return torch.nn.functional.cross_entropy(logits.float(), ids[chosen])


def schedule(step: int, steps: int, decay: float, warm_up: int = 300) -> float:
    """Linear warm-up, plateau, linear decay over the last share `decay` of the run (0: none). Dimensionless."""
    falling = (steps - step) / (decay * steps) if decay else 1.0
    return min(1.0, (step + 1) / warm_up, max(0.02, falling))


def train(
    out: Path, init: Path | None, tokens: int, batch: int, lr: float, decay: float, share: float, seed: int,
    threads: int, report: int,
) -> None:  # fmt: skip
    """Train for `tokens` tokens and save the model, its tokenizer and `training.csv` (held-out losses) into `out`.

    init: a folder to go on from (weights only, with a fresh optimiser), or None to start from random weights. decay:
    last share of the run over which the learning rate falls to 0. report: steps between held-out losses.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = EsmForMaskedLM(config()) if init is None else EsmForMaskedLM.from_pretrained(init)
    model.train()
    trunk = torch.compile(model.esm, dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, betas=(0.9, 0.98))
    steps = tokens // (batch * CONTEXT)
    tokenizer = tokenizer_in(out)
    log = (out / "training.csv").open("w")
    log.write("tokens,seconds,train_loss,site,background,markov_site\n")
    motifs = planted.gut_immune_motifs()
    data, cursor, started, running = torch.empty(0), 0, time.time(), []
    for step in range(steps):
        if cursor + batch > len(data):
            codes, _ = planted.mosaic(4_194_304, motifs, rng)
            data, cursor = torch.from_numpy(windows(codes)), 0
        ids = data[cursor : cursor + batch]
        cursor += batch
        inputs, chosen = corrupt(ids, share, generator)
        loss = masked_loss(model, trunk(inputs).last_hidden_state, chosen, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, steps, decay)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running.append(loss.item())
        if (step + 1) % report == 0 or step + 1 == steps:
            losses = _held_out(model, tokenizer, seed)
            seen, seconds = (step + 1) * batch * CONTEXT, time.time() - started
            row = f"{seen},{seconds:.0f},{np.mean(running):.4f},{losses}"
            log.write(row + "\n")
            log.flush()
            print(row, flush=True)
            running = []
            model.save_pretrained(out)


def _held_out(model: EsmForMaskedLM, tokenizer: EsmTokenizer, seed: int) -> str:
    """Losses (nats) at sites and in the background of sequence that is not trained on, and a Markov model's at sites."""
    model.eval()
    adapter = Adapter(model, wrap(tokenizer), {}, "cpu", NATIVE["esm"])
    losses = knowledge.planted_knowledge(adapter, 10_000 + seed, 65_536, CONTEXT)["losses"]
    model.train()
    return ",".join(f"{losses[name]:.4f}" for name in ("site", "background", "markov_site"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("params/demo/model"))
    parser.add_argument("--init", type=Path, help="go on from this folder's weights")
    parser.add_argument("--tokens", type=int, default=30_000_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--decay", type=float, default=0.35, help="last share of the run with a falling rate")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=500)
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
