"""Checks every adapter must pass, because public model packages have failed each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from lib.models.adapter import Adapter
from lib.models.tokens import TokenBatch


def _grid(adapter: Adapter, batch: TokenBatch, name: str) -> torch.Tensor:
    with torch.inference_mode():
        return adapter.run_grid(batch, [name])[name]


def block_chain(adapter: Adapter, sequences: list[str]) -> float:
    """Largest difference between block k's output and block k + 1's input: 0 when blocks are chained."""
    inputs, outputs, handles = {}, {}, []
    for k, block in enumerate(adapter.blocks):
        handles.append(
            block.register_forward_pre_hook(
                lambda _, args, kwargs, k=k: inputs.__setitem__(k, args[0] if args else kwargs["hidden_states"]),
                with_kwargs=True,
            )
        )
        handles.append(
            block.register_forward_hook(
                lambda _, __, out, k=k: outputs.__setitem__(k, out[0] if isinstance(out, tuple) else out)
            )
        )
    try:
        adapter.logits(adapter.encode(sequences))
    finally:
        for handle in handles:
            handle.remove()
    gaps = [(inputs[k + 1] - outputs[k]).abs().max().item() for k in range(len(adapter.blocks) - 1)]
    return max(gaps, default=0.0)  # one block has nothing to be chained to


def padding_invariance(adapter: Adapter, sequences: list[str]) -> float:
    """Largest difference of a short unit's activations alone and padded beside a longer one."""
    short, long = sequences[0][: len(sequences[0]) // 2], sequences[1]
    name = adapter.sites()[-1].name
    alone = adapter.run(adapter.encode([short]), [name])[name]
    beside = adapter.run(adapter.encode([short, long]), [name])[name][: len(alone)]
    return (alone - beside).abs().max().item()


def batch_invariance(adapter: Adapter, sequences: list[str]) -> float:
    """Largest difference of a unit's activations when its neighbours in the batch are reversed."""
    name = adapter.sites()[-1].name
    forward, backward = adapter.encode(sequences), adapter.encode(sequences[::-1])
    first = adapter.run(forward, [name])[name][forward.unit == 0]
    last = adapter.run(backward, [name])[name][backward.unit == len(sequences) - 1]
    return (first - last).abs().max().item()


def perturbation_reach(adapter: Adapter, sequences: list[str]) -> float:
    """Share of the tokens that must feel a changed middle token, and do: 1 when masked reach both ways, causal after.

    Returns 0 when a token that must not change (before it, in a causal model) moves by more than rounding.
    """
    batch = adapter.encode(sequences[:1])
    kept = torch.nonzero(batch.keep[0])[:, 0]
    middle = int(kept[len(kept) // 2])
    changed = batch.ids.clone()
    others = torch.unique(batch.ids[batch.keep])
    changed[0, middle] = others[others != batch.ids[0, middle]][0]
    name = adapter.sites()[-2].name
    moved = (_grid(adapter, batch, name) - _grid(adapter, replace(batch, ids=changed), name)).abs().amax(-1)[0]
    before, after = moved[kept[kept < middle]], moved[kept[kept >= middle]]
    if adapter.family.masked:
        return (torch.cat([before, after]) > 0).float().mean().item()
    return 0.0 if (before > 1e-5).any() else (after > 0).float().mean().item()


def early_exit(adapter: Adapter, sequences: list[str]) -> float:
    """Largest difference between a site read with the forward stopped there and with the forward run on."""
    batch = adapter.encode(sequences)
    names = [s.name for s in adapter.sites()]
    full = adapter.run(batch, names)
    return max((adapter.run(batch, [n])[n] - full[n]).abs().max().item() for n in names)


def identity_replace(adapter: Adapter, sequences: list[str]) -> float:
    """Largest change of the logits when a site's activations are replaced by themselves."""
    batch = adapter.encode(sequences)
    plain = adapter.logits(batch)
    names = [s.name for s in adapter.sites()]
    return max((adapter.replace(batch, n, lambda x: x) - plain).abs().max().item() for n in names)


def round_trip(adapter: Adapter, sequences: list[str]) -> float:
    """Share of kept tokens whose text equals the source at their coordinates."""
    batch = adapter.encode(sequences)
    words = adapter.tokenizer.words(batch.token_id.tolist())
    places = zip(batch.unit, batch.start, batch.end, strict=True)
    source = [adapter.tokenizer.source(sequences[u], s, e) for u, s, e in places]
    return float(np.mean([w == s for w, s in zip(words, source, strict=True)]))


#: check -> (function, holds when the value is at most / at least this)
CHECKS = {
    "block_chain": (block_chain, "<=", 0.0),
    "padding_invariance": (padding_invariance, "<=", 1e-4),
    "batch_invariance": (batch_invariance, "<=", 1e-4),
    "perturbation_reach": (perturbation_reach, ">=", 1.0),
    "early_exit": (early_exit, "<=", 1e-5),
    "identity_replace": (identity_replace, "<=", 1e-5),
    "round_trip": (round_trip, ">=", 1.0),
}


def check(adapter: Adapter, sequences: list[str]) -> pd.DataFrame:
    """Run the suite on at least two sequences. One row per check: check, value, wanted, passed."""
    rows = []
    for name, (function, sign, bound) in CHECKS.items():
        value = function(adapter, sequences)
        passed = value <= bound if sign == "<=" else value >= bound
        rows.append({"check": name, "value": value, "wanted": f"{sign} {bound:g}", "passed": passed})
    return pd.DataFrame(rows)
