"""Checks of the forward: blocks that are chained, padding, company in a batch, and how far a token reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lib.models.adapter import Adapter
from lib.models.checks.shared import (
    STILL,
    Measurement,
    NotRun,
    first_tokens,
    grids,
    largest_gap,
    rows_of,
    site_names,
    size_of,
    stream_names,
    worst,
)
from lib.models.tokens import TokenBatch


def block_chain(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest difference between resid_post.k and what block k + 1, or the last norm, reads."""
    batch, last = adapter.encode(records), site_names(adapter)[-1]
    readers = [adapter.blocks[k] for k in range(1, len(adapter.blocks))]
    if adapter.family.final:
        readers.append(adapter.trunk.get_submodule(adapter.family.final))
    if not readers:
        raise NotRun("one block, and nothing after it")
    read: dict[int, Tensor] = {}

    def reader(k: int) -> Callable:
        return lambda _, args, kwargs: read.__setitem__(k, args[0] if args else kwargs["hidden_states"])

    with ExitStack() as stack:
        for k, module in enumerate(readers):
            handle = module.register_forward_pre_hook(reader(k), with_kwargs=True)
            stack.callback(handle.remove)
        written = grids(adapter, batch, [f"resid_post.{k}" for k in range(len(readers))] + [last])
    return worst({f"resid_post.{k}": largest_gap(read[k], written[f"resid_post.{k}"]) for k in range(len(readers))})


def branch_sum(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest difference, over blocks, between resid_post.k and the block's input + mixer_out.k + mlp_out.k."""
    if not adapter.family.sums:
        raise NotRun("this family norms the stream after each sum")
    x, stream = adapter.run(adapter.encode(records), site_names(adapter)), stream_names(adapter)
    gaps = {}
    for k, (before, after) in enumerate(pairwise(stream)):
        branches = [x[name] for name in (f"mixer_out.{k}", f"mlp_out.{k}") if name in x]
        if not branches:
            raise NotRun(f"block {k} has no site for what it adds")
        gaps[after] = largest_gap(x[before] + sum(branches), x[after])
    return worst(gaps)


def padding_invariance(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest difference, at any site, of the shortest record alone and padded beside the longest."""
    encoded = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))
    short, long = encoded[0], encoded[-1]
    if len(short.ids) == len(long.ids):
        short = first_tokens(short, (len(short.ids) + 1) // 2)
    batch, names = adapter.collate([short, long], [0, 1]), site_names(adapter)
    alone, beside = adapter.run(adapter.collate([short], [0]), names), adapter.run(batch, names)
    gap = worst({name: largest_gap(rows_of(batch, beside[name], 0), alone[name]) for name in names})
    return gap._replace(note=f"{gap.note}; {len(short.ids)} tokens beside {len(long.ids)}")


def batch_invariance(adapter: Adapter, records: Sequence) -> Measurement:
    """Largest difference, at any site, of the longest record, which is never padded, alone and at any place among others."""
    *others, longest = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))
    names = site_names(adapter)
    alone = adapter.run(adapter.collate([longest], [0]), names)
    gaps = dict.fromkeys(names, 0.0)
    for company in ([longest, *others], [*others, longest], [others[0], longest, others[0]]):
        units = [0 if e is longest else 1 for e in company]
        batch = adapter.collate(company, units)
        for name, x in adapter.run(batch, names).items():
            gaps[name] = float(np.maximum(gaps[name], largest_gap(rows_of(batch, x, 0), alone[name])))
    return worst(gaps)


def perturbation_reach(adapter: Adapter, records: Sequence) -> Measurement:
    """Share of tokens that behave as the family's causal flag says when the shortest record's middle token is another one.

    After it every token must move at the end of the stream; before it too in a masked model, and at no site in a causal.
    Only ids change; other inputs, such as expression values, stay.
    """
    batch, used = _shortest(adapter, records), adapter.encode(records)
    kept = torch.nonzero(batch.keep[0])[:, 0]
    middle = int(kept[len(kept) // 2])
    others = torch.unique(used.ids[used.keep])
    others = others[others != batch.ids[0, middle]]
    if not len(others):
        raise NotRun("the records hold one kind of token only")
    names = site_names(adapter)
    plain = grids(adapter, batch, names)
    changed = grids(adapter, replace(batch, ids=_with(batch.ids, middle, others[0])), names)
    moved = {name: (changed[name] - plain[name]).abs().amax(-1)[0, kept] / size_of(plain[name]) for name in names}
    before, felt = kept < middle, moved[stream_names(adapter)[-1]] > STILL
    early = torch.stack(list(moved.values())).amax(0) > STILL
    right = felt if adapter.family.masked else torch.where(before, ~early, felt)
    way = "both ways" if adapter.family.masked else "causal"
    return Measurement(right.float().mean().item(), f"{int(felt.sum())} of {len(kept)} tokens moved; the family reads {way}")


def _shortest(adapter: Adapter, records: Sequence) -> TokenBatch:
    return adapter.collate([min((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))], [0])


def _with(ids: Tensor, place: int, new: Tensor) -> Tensor:
    ids = ids.clone()
    ids[0, place] = new
    return ids
