"""Checks every adapter must pass, because public model packages have failed each of them.

On the command line: lib.models.check_model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.models.adapter import DTYPES, Adapter
from lib.models.cells import Cell
from lib.models.tokens import Encoded, TokenBatch

SHORT = 16  # tokens: what depends on the site and not on the length is asked of so many, once a site
PADDED = 300  # tokens, padding included, that precision is asked of: some processors compute float16 a hundredfold slower
STILL = 1e-5  # a token that moves by less, as a share of its site's size, has not moved: float32 rounding is 1e-6


class NotRun(Exception):
    """A check that has no meaning for a model, or no means: neither passed nor failed."""


class Found(NamedTuple):
    """What a check measured, and where."""

    value: float
    note: str = ""


class Check(NamedTuple):
    """`function(adapter, records)` holds when its value is `sign` (<=, >= or >) the bound; why: what the bound rests on."""

    function: Callable[[Adapter, Sequence], Found]
    sign: str
    bound: float
    why: str

    def holds(self, value: float) -> bool:
        """False also for a value that is not a number."""
        return bool({"<=": value <= self.bound, ">=": value >= self.bound, ">": value > self.bound}[self.sign])


# What the checks share ------------------------------------------------------------------------------------


def _names(adapter: Adapter) -> list[str]:
    return [site.name for site in adapter.sites()]


def _stream(adapter: Adapter) -> list[str]:
    """The sites of the residual stream, in order."""
    return [name for name in _names(adapter) if name == "embed" or name.startswith("resid_post.")]


def _grids(adapter: Adapter, batch: TokenBatch, names: Sequence[str]) -> dict[str, Tensor]:
    with torch.inference_mode():
        return adapter.run_grid(batch, names)


def _size(x: Tensor) -> float:
    """Root mean square; 1 for a site that is all zero."""
    return x.double().square().mean().sqrt().item() or 1.0


def _gap(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, as a share of the root mean square of `wanted`."""
    return (found - wanted).abs().max().item() / _size(wanted)


def _worst(values: dict[str, float], pick: Callable = np.argmax) -> Found:
    """The largest of named values, or one that is not a number; pick: np.argmin for the smallest."""
    numbers = list(values.values())
    at = int(pick(numbers))  # both take a NaN first
    return Found(float(numbers[at]), f"at {list(values)[at]}")


def _rows(batch: TokenBatch, x: Tensor, unit: int) -> Tensor:
    return x[torch.from_numpy(batch.unit == unit).to(x.device)]


def _short(adapter: Adapter, records: Sequence) -> TokenBatch:
    """The first tokens of two records, `SHORT` and three quarters of them, so that one is padded; specials in front stay."""
    a, b = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))[:2]
    return adapter.collate([_first(b, SHORT), _first(a, SHORT * 3 // 4)], [0, 1])


def _few(adapter: Adapter, records: Sequence) -> TokenBatch:
    """Whole records, the shortest first, as many as make a batch of at most `PADDED` tokens; one at least."""
    encoded = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))
    n = max(n for n in range(1, len(encoded) + 1) if n == 1 or n * len(encoded[n - 1].ids) <= PADDED)
    return adapter.collate(encoded[:n], range(n))


def _need_head(adapter: Adapter) -> None:
    if not adapter.has_head:
        raise NotRun("the weights hold no language-model head")


# The forward: blocks, padding, batches, reach ----------------------------------------------------------------


def block_chain(adapter: Adapter, records: Sequence) -> Found:
    """Largest difference between resid_post.k and what block k + 1, or the last norm, reads."""
    batch, last = adapter.encode(records), _names(adapter)[-1]
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
        written = _grids(adapter, batch, [f"resid_post.{k}" for k in range(len(readers))] + [last])
    return _worst({f"resid_post.{k}": _gap(read[k], written[f"resid_post.{k}"]) for k in range(len(readers))})


def branch_sum(adapter: Adapter, records: Sequence) -> Found:
    """Largest difference, over blocks, between resid_post.k and the block's input + mixer_out.k + mlp_out.k."""
    if not adapter.family.sums:
        raise NotRun("this family norms the stream after each sum")
    x, stream = adapter.run(adapter.encode(records), _names(adapter)), _stream(adapter)
    gaps = {}
    for k, (before, after) in enumerate(pairwise(stream)):
        branches = [x[name] for name in (f"mixer_out.{k}", f"mlp_out.{k}") if name in x]
        if not branches:
            raise NotRun(f"block {k} has no site for what it adds")
        gaps[after] = _gap(x[before] + sum(branches), x[after])
    return _worst(gaps)


def padding_invariance(adapter: Adapter, records: Sequence) -> Found:
    """Largest difference, at any site, of the shortest record alone and padded beside the longest."""
    encoded = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))
    short, long = encoded[0], encoded[-1]
    if len(short.ids) == len(long.ids):
        short = _first(short, (len(short.ids) + 1) // 2)
    batch, names = adapter.collate([short, long], [0, 1]), _names(adapter)
    alone, beside = adapter.run(adapter.collate([short], [0]), names), adapter.run(batch, names)
    found = _worst({name: _gap(_rows(batch, beside[name], 0), alone[name]) for name in names})
    return found._replace(note=f"{found.note}; {len(short.ids)} tokens beside {len(long.ids)}")


def _first(e: Encoded, n: int) -> Encoded:
    """The first n of a record's tokens, or all of them."""

    def cut(columns: dict) -> dict:
        return {name: values[:n] for name, values in columns.items()}

    return Encoded(e.ids[:n], e.start[:n], e.end[:n], e.keep[:n], cut(e.inputs), cut(e.columns))


def batch_invariance(adapter: Adapter, records: Sequence) -> Found:
    """Largest difference, at any site, of the longest record, which is never padded, alone and at any place among others."""
    *others, longest = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))
    names = _names(adapter)
    alone = adapter.run(adapter.collate([longest], [0]), names)
    gaps = dict.fromkeys(names, 0.0)
    for company in ([longest, *others], [*others, longest], [others[0], longest, others[0]]):
        units = [0 if e is longest else 1 for e in company]
        batch = adapter.collate(company, units)
        for name, x in adapter.run(batch, names).items():
            gaps[name] = float(np.maximum(gaps[name], _gap(_rows(batch, x, 0), alone[name])))
    return _worst(gaps)


def perturbation_reach(adapter: Adapter, records: Sequence) -> Found:
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
    names = _names(adapter)
    plain = _grids(adapter, batch, names)
    changed = _grids(adapter, replace(batch, ids=_with(batch.ids, middle, others[0])), names)
    moved = {name: (changed[name] - plain[name]).abs().amax(-1)[0, kept] / _size(plain[name]) for name in names}
    before, felt = kept < middle, moved[_stream(adapter)[-1]] > STILL
    early = torch.stack(list(moved.values())).amax(0) > STILL
    right = felt if adapter.family.masked else torch.where(before, ~early, felt)
    way = "both ways" if adapter.family.masked else "causal"
    return Found(right.float().mean().item(), f"{int(felt.sum())} of {len(kept)} tokens moved; the family reads {way}")


def _shortest(adapter: Adapter, records: Sequence) -> TokenBatch:
    return adapter.collate([min((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))], [0])


def _with(ids: Tensor, place: int, new: Tensor) -> Tensor:
    ids = ids.clone()
    ids[0, place] = new
    return ids


# Reading and writing sites -----------------------------------------------------------------------------------


def site_dims(adapter: Adapter, records: Sequence) -> Found:
    """Number of sites whose activations are not [kept, declared width] of finite numbers."""
    batch = adapter.encode(records)
    found = adapter.run(batch, _names(adapter))
    wrong = [
        f"{s.name} is {tuple(found[s.name].shape)}, declared {s.dim}"
        for s in adapter.sites()
        if found[s.name].shape != (batch.n_kept, s.dim) or not found[s.name].isfinite().all()
    ]
    return Found(len(wrong), "; ".join(wrong[:3]))


def fires_once(adapter: Adapter, records: Sequence) -> Found:
    """Number of sites that are not reached exactly once in a forward, with the language-model head or without."""
    batch, wrong = _short(adapter, records), set()
    for head in (False, True):
        if head and not adapter.has_head:
            continue
        fired = dict.fromkeys(_names(adapter), 0)

        def count(name: str, fired: dict = fired) -> Callable:
            return lambda _: fired.__setitem__(name, fired[name] + 1)

        with ExitStack() as stack, torch.inference_mode():
            for name in fired:
                stack.enter_context(adapter._hook(name, count(name)))
            adapter._forward(batch, head)
        wrong |= {f"{name}: {times}" for name, times in fired.items() if times != 1}
    return Found(len(wrong), "; ".join(sorted(wrong)[:3]))


def early_exit(adapter: Adapter, records: Sequence) -> Found:
    """Largest difference, at any site, of the forward stopped there and the forward run on."""
    batch, names = _short(adapter, records), _names(adapter)
    full = adapter.run(batch, names)
    return _worst({name: _gap(adapter.run(batch, [name])[name], full[name]) for name in names})


def two_runs(adapter: Adapter, records: Sequence) -> Found:
    """Number of sites at which a second run gives other bits."""
    batch, names = adapter.encode(records), _names(adapter)
    first, second = (adapter.run(batch, names) for _ in range(2))
    wrong = [name for name in names if not torch.equal(first[name], second[name])]
    return Found(len(wrong), ", ".join(wrong[:3]))


def identity_replace(adapter: Adapter, records: Sequence) -> Found:
    """Largest change of the logits when a site's activations are replaced by themselves, at any site."""
    _need_head(adapter)
    batch = _short(adapter, records)
    plain = adapter.logits(batch)[batch.keep]
    return _worst({n: _gap(adapter.replace(batch, n, lambda x: x)[batch.keep], plain) for n in _names(adapter)})


def replace_is_felt(adapter: Adapter, records: Sequence) -> Found:
    """Smallest change of the logits when a site is set to zero, at any site."""
    _need_head(adapter)
    batch = _short(adapter, records)
    plain = adapter.logits(batch)[batch.keep]
    gaps = {n: _gap(adapter.replace(batch, n, torch.zeros_like)[batch.keep], plain) for n in _names(adapter)}
    return _worst(gaps, np.argmin)


def stream_is_whole(adapter: Adapter, records: Sequence) -> Found:
    """Largest change of the logits when the ids are others but a site of the stream holds what it held, at any such site.

    Where the site is only a part of the residual stream, the other part carries the difference around it.
    """
    _need_head(adapter)
    batch = _short(adapter, records)
    kept = batch.ids[batch.keep]
    other = batch.ids.clone()
    other[batch.keep] = kept.flip(0) if len(kept.unique()) > 1 else torch.zeros_like(kept)
    other = replace(batch, ids=other)
    names = _stream(adapter) + ["final"] * bool(adapter.family.final)
    with torch.inference_mode():
        held, plain = adapter.run_grid(batch, names), adapter.logits(batch)
        gaps = {}
        for name in names:
            with adapter._hook(name, lambda x, name=name: held[name].clone()):
                gaps[name] = _gap(adapter._forward(other, head=True)[batch.keep], plain[batch.keep])
    return _worst(gaps)


class _Deliberate(Exception):
    pass


def no_state_left(adapter: Adapter, records: Sequence) -> Found:
    """Number of things on the model that reading, replacing, and an exception inside a replacement have changed."""
    batch, name = _short(adapter, records), _stream(adapter)[-1]
    before, first = _state(adapter), adapter.run(batch, [name])[name]

    def fail(_: Tensor) -> Tensor:
        raise _Deliberate

    for site in _names(adapter):
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
    if not changed and not _gap(adapter.run(batch, [name])[name], first) <= STILL:
        changed = [f"what {name} reads"]
    return Found(len(changed), "; ".join(changed[:3]))


def _state(adapter: Adapter) -> dict[str, object]:
    """Hooks, mode and attributes of each module, and a sum for each tensor of the model."""
    found: dict[str, object] = {}
    for name, module in adapter.model.named_modules():
        found[f"hooks of {name}"] = (tuple(module._forward_hooks), tuple(module._forward_pre_hooks))
        found[f"mode and attributes of {name}"] = (module.training, tuple(sorted(vars(module))))
    for name, x in adapter.model.state_dict().items():
        found[name] = (x.dtype, x.double().sum().item())
    return found


# Tokens ------------------------------------------------------------------------------------------------------


def _encodings(adapter: Adapter, record) -> Iterator[Encoded]:
    """A record's tokens, in every frame where the tokenizer has frames."""
    yield adapter.encode_one(record)
    for frame in range(1, getattr(adapter.tokenizer, "k", 1)):
        yield adapter.encode_one(record, frame=frame)


def round_trip(adapter: Adapter, records: Sequence) -> Found:
    """Share of kept tokens, in every frame, whose bases, gene or characters are the record's at their coordinates."""
    right, note = [], ""
    for r, record in enumerate(records):
        for e in _encodings(adapter, record):
            words = adapter.tokenizer.words(e.ids[e.keep].tolist())
            for word, start, end in zip(words, e.start[e.keep].tolist(), e.end[e.keep].tolist(), strict=True):
                source = adapter.tokenizer.source(record, start, end)
                right.append(word == source and 0 <= start < end <= len(record))
                if not right[-1]:
                    note = note or f"record {r}: token {word!r} has {source!r} at {start} to {end} of {len(record)}"
    return Found(float(np.mean(right)), note)


def token_order(adapter: Adapter, records: Sequence) -> Found:
    """Number of kept tokens that stand before the one they follow, or overlap it where the tokenizer does not mean them to.

    A cell's genes have no order: there it is the number of genes that stand twice.
    """
    wrong, note = 0, ""
    for r, record in enumerate(records):
        for e in _encodings(adapter, record):
            spans = np.stack([e.start[e.keep], e.end[e.keep]], 1)
            if isinstance(record, Cell):
                spans = spans[np.argsort(spans[:, 0], kind="stable")]
            for (s0, e0), (s1, e1) in pairwise(spans.tolist()):
                if s1 < s0 or e1 < e0 or (s1 < e0 and not _may_overlap(adapter.tokenizer, record, s1, e0)):
                    wrong += 1
                    note = note or f"record {r}: {s0} to {e0}, then {s1} to {e1}"
    return Found(wrong, note)


def _may_overlap(tokenizer, record, start: int, end: int) -> bool:
    """Whether two tokens may share start to end: words that step by less than their length, and bytes of one letter."""
    steps = getattr(tokenizer, "step", np.inf) < getattr(tokenizer, "k", 0)
    return steps or (isinstance(record, str) and end - start == 1 and not record[start:end].isascii())


def token_accounting(adapter: Adapter, records: Sequence) -> Found:
    """Number of tokens of no account: kept + special + unknown is not all of them, or the batch's mask is not the tokens.

    A token may also stand for nothing in the record, as a codon mark does, if the record is covered without it.
    """
    tokenizer, wrong, notes = adapter.tokenizer, 0, []
    encoded = [adapter.encode_one(r) for r in records]
    for r, (record, e) in enumerate(zip(records, encoded)):
        special = np.isin(e.ids, getattr(tokenizer, "special", ()))
        unknown = e.ids == tokenizer.unk_token_id if tokenizer.unk_token_id is not None else np.zeros_like(e.keep)
        covered = len(set().union(*map(range, e.start[e.keep], e.end[e.keep]))) == len(record)
        lost = ~e.keep & ~special & ~unknown
        twice = e.keep & (special | unknown)
        n = (0 if covered else int(lost.sum())) + int(twice.sum())
        wrong += n
        if n:
            notes.append(f"record {r}: tokens {np.flatnonzero(twice | lost)[:3].tolist()} of {len(e.ids)}")
    batch = adapter.collate(encoded, range(len(encoded)))
    place = np.arange(batch.ids.shape[1])
    real = torch.from_numpy(np.stack([place < len(e.ids) for e in encoded]))
    masked = (batch.mask.bool().cpu() != real).sum().item()
    kept = batch.keep.cpu() != torch.from_numpy(
        np.stack([np.pad(e.keep, (0, len(place) - len(e.keep))) for e in encoded])
    )
    if masked:
        notes.append(f"the mask is wrong at {masked} places of the batch")
    return Found(wrong + masked + kept.sum().item(), "; ".join(notes[:3]))


# Precision ---------------------------------------------------------------------------------------------------


def _precision(dtype: str) -> Callable[[Adapter, Sequence], Found]:
    def relative_error(adapter: Adapter, records: Sequence) -> Found:
        if next(adapter.model.parameters()).dtype != torch.float32:
            raise NotRun("the model is not in float32 to compare with")
        batch = _few(adapter, records)
        wanted, routes = _routed(adapter, batch)
        half = copy.deepcopy(adapter, {id(adapter.tokenizer): adapter.tokenizer})
        for parameter in half.model.parameters():  # as `adapter.load` does
            parameter.data = parameter.data.to(DTYPES[dtype])
        try:
            found, chosen = _routed(half, batch)
        except RuntimeError as error:
            if any(words in str(error) for words in ("not implemented for", "dtype", "scalar type")):
                raise NotRun(f"no {dtype} on {adapter.device}: {str(error).splitlines()[0]}") from error
            raise
        every = _worst({name: _relative_error(x, wanted[name], batch.keep) for name, x in found.items()})
        same = batch.keep & _routed_alike(adapter, batch, routes, chosen)
        if same.equal(batch.keep):
            return every
        share = f"{int(same.sum())} of {batch.n_kept} tokens, those no other choice of expert reaches; over all {every.value:.2g}"
        if not same.any():
            raise NotRun(f"another choice of expert reaches every token; over all {every.value:.2g}")
        alike = _worst({name: _relative_error(x, wanted[name], same) for name, x in found.items()})
        return alike._replace(note=f"{alike.note}; {share}")

    relative_error.__doc__ = f"""Largest relative error, at any site of the stream, of the model in {dtype}.

    Where a router picks an expert by the larger of two near equal scores, rounding can turn its choice: that is another
    computation, so tokens that it reaches are left out of the value, and the note says how many and the error with them.
    """
    return relative_error


def _routed(adapter: Adapter, batch: TokenBatch) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The stream's sites, and the experts that each router chose: [batch, length, chosen], sorted."""
    chosen: list[Tensor] = []

    def listen(_, __, output) -> None:  # transformers' routers give logits, scores, experts
        chosen.append(output[-1].reshape(*batch.ids.shape, -1).sort(-1).values)

    with ExitStack() as stack:
        for module in adapter.model.modules():
            if type(module).__name__.endswith("Router"):
                stack.callback(module.register_forward_hook(listen).remove)
        return _grids(adapter, batch, _stream(adapter)), chosen


def _routed_alike(adapter: Adapter, batch: TokenBatch, routes: list[Tensor], others: list[Tensor]) -> Tensor:
    """[batch, length] bool: no router chose otherwise at any token that this one can read."""
    turned = torch.zeros_like(batch.keep)
    for a, b in zip(routes, others, strict=True):
        turned |= (a != b).any(-1) & batch.mask.bool()
    return ~turned.any(1, keepdim=True) if adapter.family.masked else turned.cumsum(1) == 0


def _relative_error(found: Tensor, wanted: Tensor, where: Tensor) -> float:
    found, wanted = found[where].double(), wanted[where].double()
    return ((found - wanted).norm() / wanted.norm()).item()


CHECKS = {
    "block_chain": Check(block_chain, "<=", 0.0, "the same tensor, handed on"),
    "branch_sum": Check(branch_sum, "<=", 1e-5, "three float32 numbers added in another order"),
    "padding_invariance": Check(padding_invariance, "<=", 1e-4, "longer float32 sums round to about 1e-6; a leak is over 1e-2"),
    "batch_invariance": Check(batch_invariance, "<=", 1e-4, "other matrix kernels for other batches round to about 1e-6"),
    "perturbation_reach": Check(perturbation_reach, ">=", 1.0, "every token, without exception"),
    "site_dims": Check(site_dims, "<=", 0, "a count"),
    "fires_once": Check(fires_once, "<=", 0, "a count"),
    "early_exit": Check(early_exit, "<=", 1e-5, "the same operations; float32 rounding at most"),
    "two_runs": Check(two_runs, "<=", 0, "a count; the same operations give the same bits"),
    "identity_replace": Check(identity_replace, "<=", 1e-5, "the same numbers, in memory laid out otherwise"),
    "replace_is_felt": Check(replace_is_felt, ">", 1e-5, "above what rounding does to the logits"),
    "stream_is_whole": Check(stream_is_whole, "<=", 1e-5, "the same numbers from there on"),
    "round_trip": Check(round_trip, ">=", 1.0, "every token, without exception"),
    "token_order": Check(token_order, "<=", 0, "a count"),
    "token_accounting": Check(token_accounting, "<=", 0, "a count"),
    "float16": Check(_precision("float16"), "<=", 5e-3, "11 bits: 5e-4 a rounding, grown tenfold over the blocks"),
    "bfloat16": Check(_precision("bfloat16"), "<=", 5e-2, "8 bits: 4e-3 a rounding, grown tenfold over the blocks"),
    "no_state_left": Check(no_state_left, "<=", 0, "a count"),  # last, since what it finds left would disturb the others
}  # fmt: skip


def check(adapter: Adapter, records: Sequence) -> pd.DataFrame:
    """Run the suite on at least three records of unlike length, of the kind that the adapter reads.

    One row per check: check, value, wanted, passed (missing where it was not run), note. A check that raises has failed.
    Raises ValueError for fewer than two records.
    """
    if len(records) < 2:
        raise ValueError(f"{len(records)} records: wanted at least 2, better 3, of unlike length")
    rows = []
    for name, c in CHECKS.items():
        try:
            value, note = c.function(adapter, records)
            passed = c.holds(value)
        except NotRun as reason:
            value, passed, note = np.nan, None, f"not run: {reason}"
        except Exception as error:  # noqa: BLE001 - whatever a broken model raises
            value, passed, note = np.nan, False, f"{type(error).__name__}: {error}"
        rows.append((name, value, f"{c.sign} {c.bound:g}", passed, note))
    table = pd.DataFrame(rows, columns=["check", "value", "wanted", "passed", "note"])
    return table.astype({"value": float, "passed": "boolean"})
