"""What the checks of `lib.models.conformance` share: batches to ask with, and sizes of what differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.models.adapter import Adapter
from lib.models.tokens import Encoded, TokenBatch

SHORT = 16  # tokens: what depends on the site and not on the length is asked of so many, once a site
PADDED = 300  # tokens, padding included, that precision is asked of: some processors compute float16 a hundredfold slower
STILL = 1e-5  # a token that moves by less, as a share of its site's size, has not moved: float32 rounding is 1e-6


class NotRun(Exception):
    """A check that has no meaning for a model, or no means: neither passed nor failed."""


class Measurement(NamedTuple):
    """What a check measured, and where."""

    value: float
    note: str = ""


def site_names(adapter: Adapter) -> list[str]:
    return [site.name for site in adapter.sites()]


def stream_names(adapter: Adapter) -> list[str]:
    """The sites of the residual stream, in order."""
    return [name for name in site_names(adapter) if name == "embed" or name.startswith("resid_post.")]


def grids(adapter: Adapter, batch: TokenBatch, names: Sequence[str]) -> dict[str, Tensor]:
    with torch.inference_mode():
        return adapter.run_grid(batch, names)


def size_of(x: Tensor) -> float:
    """Root mean square; 1 for a site that is all zero."""
    return x.double().square().mean().sqrt().item() or 1.0


def largest_gap(actual: Tensor, wanted: Tensor) -> float:
    """Largest difference, as a share of the root mean square of `wanted`."""
    return (actual - wanted).abs().max().item() / size_of(wanted)


def worst(values: dict[str, float], pick: Callable = np.argmax) -> Measurement:
    """The largest of named values, or one that is not a number; pick: np.argmin for the smallest."""
    numbers = list(values.values())
    at = int(pick(numbers))  # both take a NaN first
    return Measurement(float(numbers[at]), f"at {list(values)[at]}")


def rows_of(batch: TokenBatch, x: Tensor, unit: int) -> Tensor:
    return x[torch.from_numpy(batch.unit == unit).to(x.device)]


def short_batch(adapter: Adapter, records: Sequence) -> TokenBatch:
    """The first tokens of two records, `SHORT` and three quarters of them, so that one is padded; specials in front stay."""
    a, b = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))[:2]
    return adapter.collate([first_tokens(b, SHORT), first_tokens(a, SHORT * 3 // 4)], [0, 1])


def few_records(adapter: Adapter, records: Sequence) -> TokenBatch:
    """Whole records, the shortest first, as many as make a batch of at most `PADDED` tokens; one at least."""
    encoded = sorted((adapter.encode_one(r) for r in records), key=lambda e: len(e.ids))
    n = max(n for n in range(1, len(encoded) + 1) if n == 1 or n * len(encoded[n - 1].ids) <= PADDED)
    return adapter.collate(encoded[:n], range(n))


def need_head(adapter: Adapter) -> None:
    if not adapter.has_head:
        raise NotRun("the weights hold no language-model head")


def first_tokens(e: Encoded, n: int) -> Encoded:
    """The first n of a record's tokens, or all of them."""

    def cut(columns: dict) -> dict:
        return {name: values[:n] for name, values in columns.items()}

    return Encoded(e.ids[:n], e.start[:n], e.end[:n], e.keep[:n], cut(e.inputs), cut(e.columns))
