"""Does a convolutional dictionary make one code of an event that a TopK splits, and what does a step of it cost?

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PYTHONPATH=. python benchmarks/convolution.py

Writes nothing; `convolution.md` holds what it printed. Less than a minute on one core.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lib.sae.model import SAE
from lib.sae.optimise import Adam
from lib.sae.stack import Run, Stack
from lib.sae.train import TrainConfig, train

D, SPAN, TYPES, UNITS, LENGTH, CROP, BATCH = 64, 12, 8, 400, 160, 64, 1024


@dataclass(frozen=True)
class Events:
    """x [unit, token, D]; of each event its unit, first token and type: [event]."""

    x: np.ndarray
    unit: np.ndarray
    start: np.ndarray
    kind: np.ndarray

    @property
    def of_token(self) -> torch.Tensor:
        return torch.arange(UNITS).repeat_interleave(LENGTH)


def planted(seed: int, noise: float = 0.1) -> Events:
    """Units with an event of SPAN tokens every 40 or so, each type a fixed run of random directions at a size in 1 .. 2, noise
    everywhere, and on every other token one of 200 directions at a size in 0 .. 2."""
    rng = np.random.default_rng(seed)
    runs, pool = rng.standard_normal((TYPES, SPAN, D)), rng.standard_normal((200, D))
    runs, pool = runs / np.linalg.norm(runs, axis=2, keepdims=True), pool / np.linalg.norm(pool, axis=1, keepdims=True)
    x, free, events = noise * rng.standard_normal((UNITS, LENGTH, D)), np.ones((UNITS, LENGTH), dtype=bool), []
    for unit in range(UNITS):
        last = -SPAN
        for start in np.sort(rng.choice(LENGTH - SPAN, LENGTH // 40, replace=False)):
            if start >= last + SPAN:
                last, kind = start, rng.integers(TYPES)
                x[unit, start : start + SPAN] += rng.uniform(1, 2) * runs[kind]
                free[unit, start : start + SPAN] = False
                events.append((unit, start, kind))
    x += (free * rng.uniform(0, 2, free.shape))[..., None] * pool[rng.integers(0, len(pool), free.shape)]
    return Events(x.astype(np.float32), *np.array(events).T)


def crops(x: np.ndarray) -> Callable[[int], Iterator[np.ndarray]]:
    """Batches of random crops, each known from its step alone."""

    def batches(first: int) -> Iterator[np.ndarray]:
        for step in itertools.count(first):
            rng, n = np.random.default_rng([7, step]), BATCH // CROP
            unit, start = rng.integers(0, len(x), n), rng.integers(0, x.shape[1] - CROP + 1, n)
            yield np.concatenate([x[u, s : s + CROP] for u, s in zip(unit, start, strict=True)])

    return batches


@torch.inference_mode()
def recovery(sae: SAE, events: Events) -> dict[str, float]:
    """How the dictionary tells of the events that lie a window from their unit's ends.

    f1: mean over types of the best latent's, read at the offset from an event's first token where it is largest; least: the
    worst type's. codes: on an event's tokens, of any latent; own: of the best latent. latents: that fire on over half of a
    type's events. l0: codes a token.
    """
    x = torch.from_numpy(events.x.reshape(-1, D))
    x_hat, latents = sae(x, events.of_token)
    fires, margin = (latents > 0).numpy(), max(sae.config.window // 2, 7)
    inside = (events.start >= margin) & (events.start + SPAN <= LENGTH - margin)
    rows = []
    for kind in range(TYPES):
        of_kind = events.kind == kind
        first = (events.unit * LENGTH + events.start)[inside & of_kind]
        f1 = np.stack([2 * fires[first + at].sum(0) / (len(first) + np.maximum(fires.sum(0), 1)) for at in range(-6, SPAN + 6)])
        on_event = np.stack([fires[s : s + SPAN].sum(0) for s in first])
        best = int(f1.max(0).argmax())
        rows.append({"f1": f1.max(), "codes": on_event.sum(1).mean(), "own": on_event[:, best].mean(),
                     "latents": ((on_event > 0).mean(0) > 0.5).sum()})  # fmt: skip
    table = pd.DataFrame(rows)
    explained = 1 - (x - x_hat).square().sum() / (x - x.mean(0)).square().sum()
    return table.mean().to_dict() | {"least": table["f1"].min(), "l0": fires.sum(1).mean(), "ev": float(explained)}


def trained(runs: list[Run], events: Events, steps: int = 500) -> dict[str, SAE]:
    config = TrainConfig(steps=steps, batch=BATCH, crop=CROP, warm_up=20, log_every=steps)
    return train(runs, config, crops(events.x)).saes


def step_time(architecture: str, d_in: int, d_sae: int, k: int, batch: int, crop: int, window: int, n: int = 5) -> float:
    """Milliseconds of a step: forward, backward and update; the fastest of n."""
    stack = Stack([Run("a", architecture, d_sae, k, window=window)], d_in, crop=crop)
    adam, x = Adam(stack, torch.tensor([1e-3])), torch.randn(batch, d_in, generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(n + 2):
        begun = time.perf_counter()
        loss, _ = stack(x)
        for p in stack.parameters():
            p.grad = None
        loss.sum().backward()
        adam.step(1.0)
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times[2:])


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for seed in (0, 1):
        events = planted(seed)
        runs = [Run(f"convolutional k {k}", "convolutional", 64, k, seed, lr=3e-3, window=15) for k in (1, 2)]
        runs.append(Run("topk k 1", "topk", 64, 1, seed, lr=3e-3))
        rows += [{"seed": seed, "dictionary": name} | recovery(sae, events) for name, sae in trained(runs, events).items()]
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    rows = []
    for d_in, d_sae, k, batch, crop, window in [(64, 64, 1, 1024, 64, 15), (128, 512, 16, 1024, 64, 15), (128, 512, 16, 1024, 64, 25),
                                                (128, 1024, 8, 4096, 128, 15)]:  # fmt: skip
        ms = {kind: step_time(kind, d_in, d_sae, k, batch, crop, window if kind != "topk" else 0) for kind in ("convolutional", "topk")}
        rows.append({"d_in": d_in, "d_sae": d_sae, "k": k, "batch": batch, "crop": crop, "window": window} | ms)
    table = pd.DataFrame(rows)
    print(table.assign(ratio=table["convolutional"] / table["topk"]).round(1).to_string(index=False))


if __name__ == "__main__":
    main()
