"""How far a model in half precision is from itself in float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from lib.models.adapter import DTYPES, Adapter
from lib.models.checks.shared import Measurement, NotRun, few_records, grids, stream_names, worst
from lib.models.tokens import TokenBatch


def relative_error_in(dtype: str) -> Callable[[Adapter, Sequence], Measurement]:
    def relative_error(adapter: Adapter, records: Sequence) -> Measurement:
        if next(adapter.model.parameters()).dtype != torch.float32:
            raise NotRun("the model is not in float32 to compare with")
        batch = few_records(adapter, records)
        wanted, routes = _routed(adapter, batch)
        half = copy.deepcopy(adapter, {id(adapter.tokenizer): adapter.tokenizer})
        for parameter in half.model.parameters():  # as `adapter.load` does
            parameter.data = parameter.data.to(DTYPES[dtype])
        try:
            actual, chosen = _routed(half, batch)
        except RuntimeError as error:
            if any(words in str(error) for words in ("not implemented for", "dtype", "scalar type")):
                raise NotRun(f"no {dtype} on {adapter.device}: {str(error).splitlines()[0]}") from error
            raise
        every = worst({name: _relative_error(x, wanted[name], batch.keep) for name, x in actual.items()})
        same = batch.keep & _routed_alike(adapter, batch, routes, chosen)
        if same.equal(batch.keep):
            return every
        share = f"{int(same.sum())} of {batch.n_kept} tokens, those no other choice of expert reaches; over all {every.value:.2g}"
        if not same.any():
            raise NotRun(f"another choice of expert reaches every token; over all {every.value:.2g}")
        alike = worst({name: _relative_error(x, wanted[name], same) for name, x in actual.items()})
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
        return grids(adapter, batch, stream_names(adapter)), chosen


def _routed_alike(adapter: Adapter, batch: TokenBatch, routes: list[Tensor], others: list[Tensor]) -> Tensor:
    """[batch, length] bool: no router chose otherwise at any token that this one can read."""
    turned = torch.zeros_like(batch.keep)
    for a, b in zip(routes, others, strict=True):
        turned |= (a != b).any(-1) & batch.mask.bool()
    return ~turned.any(1, keepdim=True) if adapter.family.masked else turned.cumsum(1) == 0


def _relative_error(actual: Tensor, wanted: Tensor, where: Tensor) -> float:
    actual, wanted = actual[where].double(), wanted[where].double()
    return ((actual - wanted).norm() / wanted.norm()).item()
