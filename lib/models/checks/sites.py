"""Checks of reading sites and writing to them, and of what either leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lib.models.adapter import Adapter
from lib.models.checks.shared import (
    STILL,
    Measurement,
    largest_gap,
    need_head,
    short_batch,
    site_names,
    stream_names,
    worst,
)


def site_dims(adapter: Adapter, records: Sequence) -> Measurement:
    """Number of sites whose activations are not [kept, declared width] of finite numbers."""
    batch = adapter.encode(records)
    acts = adapter.run(batch, site_names(adapter))
    wrong = [
        f"{s.name} is {tuple(acts[s.name].shape)}, declared {s.dim}"
        for s in adapter.sites()
        if acts[s.name].shape != (batch.n_kept, s.dim) or not acts[s.name].isfinite().all()
    ]
    return Measurement(len(wrong), "; ".join(wrong[:3]))


def fires_once(adapter: Adapter, records: Sequence) -> Measurement:
    """Number of sites that are not reached exactly once in a forward, with the language-model head or without."""
    batch, wrong = short_batch(adapter, records), set()
    for head in (False, True):
        if head and not adapter.has_head:
            continue
        fired = dict.fromkeys(site_names(adapter), 0)

        def count(name: str, fired: dict = fired) -> Callable:
            return lambda _: fired.__setitem__(name, fired[name] + 1)

        with ExitStack() as stack, torch.inference_mode():
            for name in fired:
                stack.enter_context(adapter._hook(name, count(name)))
            adapter._forward(batch, head)
        wrong |= {f"{name}: {times}" for name, times in fired.items() if times != 1}
    return Measurement(len(wrong), "; ".join(sorted(wrong)[:3]))


def early_exit(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest difference, at any site, of the forward stopped there and the forward run on."""
    batch, names = short_batch(adapter, records), site_names(adapter)
    full = adapter.run(batch, names)
    return worst({name: largest_gap(adapter.run(batch, [name])[name], full[name]) for name in names})


def two_runs(adapter: Adapter, records: Sequence) -> Measurement:
    """Number of sites at which a second run gives other bits."""
    batch, names = adapter.encode(records), site_names(adapter)
    first, second = (adapter.run(batch, names) for _ in range(2))
    wrong = [name for name in names if not torch.equal(first[name], second[name])]
    return Measurement(len(wrong), ", ".join(wrong[:3]))


def identity_replace(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest change of the logits when a site's activations are replaced by themselves, at any site."""
    need_head(adapter)
    batch = short_batch(adapter, records)
    plain = adapter.logits(batch)[batch.keep]
    return worst({n: largest_gap(adapter.replace(batch, n, lambda x: x)[batch.keep], plain) for n in site_names(adapter)})


def replace_is_felt(adapter: Adapter, records: Sequence) -> Measurement:
    """Smallest change of the logits when a site is set to zero, at any site."""
    need_head(adapter)
    batch = short_batch(adapter, records)
    plain = adapter.logits(batch)[batch.keep]
    gaps = {n: largest_gap(adapter.replace(batch, n, torch.zeros_like)[batch.keep], plain) for n in site_names(adapter)}
    return worst(gaps, np.argmin)


def stream_is_whole(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest change of the logits when the ids are others but a site of the stream holds what it held, at any such site.

    Where the site is only a part of the residual stream, the other part carries the difference around it.
    """
    need_head(adapter)
    batch = short_batch(adapter, records)
    kept = batch.ids[batch.keep]
    other = batch.ids.clone()
    other[batch.keep] = kept.flip(0) if len(kept.unique()) > 1 else torch.zeros_like(kept)
    other = replace(batch, ids=other)
    names = stream_names(adapter) + ["final"] * bool(adapter.family.final)
    with torch.inference_mode():
        held, plain = adapter.run_grid(batch, names), adapter.logits(batch)
        gaps = {}
        for name in names:
            with adapter._hook(name, lambda x, name=name: held[name].clone()):
                gaps[name] = largest_gap(adapter._forward(other, head=True)[batch.keep], plain[batch.keep])
    return worst(gaps)


class _Deliberate(Exception):
    pass


def no_state_left(adapter: Adapter, records: Sequence) -> Measurement:
    """Number of things on the model that reading, replacing, and an exception inside a replacement have changed."""
    batch, name = short_batch(adapter, records), stream_names(adapter)[-1]
    before, first = _state(adapter), adapter.run(batch, [name])[name]

    def fail(_: Tensor) -> Tensor:
        raise _Deliberate

    for site in site_names(adapter):
        try:
            if adapter.has_head:
                adapter.replace(batch, site, lambda x: x + 1)
                adapter.replace(batch, site, fail)
            else:
                with torch.inference_mode(), adapter._hook(site, fail):
                    adapter._forward(batch, head=False)
        except _Deliberate:
            pass
    after = _state(adapter)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if not changed and not largest_gap(adapter.run(batch, [name])[name], first) <= STILL:
        changed = [f"what {name} reads"]
    return Measurement(len(changed), "; ".join(changed[:3]))


def _state(adapter: Adapter) -> dict[str, object]:
    """Hooks, mode and attributes of each module, and a sum for each tensor of the model."""
    state: dict[str, object] = {}
    for name, module in adapter.model.named_modules():
        state[f"hooks of {name}"] = (tuple(module._forward_hooks), tuple(module._forward_pre_hooks))
        state[f"mode and attributes of {name}"] = (module.training, tuple(sorted(vars(module))))
    for name, x in adapter.model.state_dict().items():
        state[name] = (x.dtype, x.double().sum().item())
    return state
