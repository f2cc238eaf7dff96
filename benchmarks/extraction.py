"""Tokens per second of our extraction against the usual loop, same model and sequences, in one run.

Usual: the full model with its head, padded to the longest, output_hidden_states=True. Ours: batches of like length,
headless, stopped at the deepest site. Prints the median of paired repeats and their ratio; the limit beside it is a
bare forward of the same blocks. `python benchmarks/extraction.py [model folder]`
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from lib.extract import plan
from lib.genome import planted
from lib.genome import sequence as sq
from lib.models import adapter

ROOT = Path(__file__).resolve().parent.parent
REPEATS, BUDGET = 5, 8192


def main(folder: str) -> None:
    model = adapter.load(folder)
    rng = np.random.default_rng(0)
    codes = planted.background(60_000, rng)
    lengths = rng.integers(40, 128, 400)
    texts = [sq.decode(codes[s : s + n]) for s, n in zip(rng.integers(0, 59_000, 400), lengths, strict=True)]
    encoded = [model.encode_one(t) for t in texts]
    sites = [f"resid_post.{k}" for k in range(len(model.blocks) // 2 + 1)]
    n_tokens = sum(int(e.keep.sum()) for e in encoded)
    batches = [model.collate([encoded[u] for u in b], b.tolist()) for b in plan(np.array([len(e.ids) for e in encoded]), BUDGET)]
    plain = [model.collate(encoded[s : s + 64], range(64)) for s in range(0, len(encoded) - 63, 64)]
    plain.append(model.collate(encoded[len(encoded) // 64 * 64 :], range(len(encoded) % 64)))

    def ours() -> None:
        for b in batches:
            model.run(b, sites)

    def bare() -> None:
        with torch.inference_mode():
            for b in batches:
                model.run_grid(b, sites[-1:])

    def usual() -> None:
        with torch.inference_mode():
            for b in plain:
                model.model(input_ids=b.ids, attention_mask=b.mask, output_hidden_states=True)

    seconds = {f.__name__: [] for f in (ours, bare, usual)}
    for _ in range(REPEATS + 1):  # the first warms up
        for f in (ours, bare, usual):
            started = time.perf_counter()
            f()
            seconds[f.__name__].append(time.perf_counter() - started)
    rate = {name: n_tokens / np.median(s[1:]) for name, s in seconds.items()}
    print(f"{n_tokens} tokens, {len(sites)} sites, {torch.get_num_threads()} threads; median of {REPEATS}")
    for name, r in rate.items():
        print(f"  {name:6} {r:10,.0f} tokens/s")
    print(f"  ours / usual {rate['ours'] / rate['usual']:.2f}; ours / bare forward {rate['ours'] / rate['bare']:.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "params/demo/model"))
