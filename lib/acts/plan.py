"""Which reads are run together, and which rows an earlier store already holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lib.acts import store
from lib.acts.reads import Reads
from lib.models.adapter import Adapter
from lib.stage import modules

WIDTH = 8  # tokens, specials aside, of which a batch is a whole multiple wide
#: Imported here, but no row's values depend on them.
MOVERS = ("lib.stage.durable", "lib.stage.io", "lib.acts.rows", "lib.acts.store", "lib.stage.progress", "lib.stage.modules")
COPY_BYTES = 8 << 20  # of one site's rows, taken from an earlier store at a time


def computed_by(adapter: Adapter, token_budget: int) -> str:
    """JSON of all that activations depend on beside the record: rows of two stores may be mixed only if it is equal."""
    import transformers  # here, since it takes half a second, and a plan needs its version only

    code = modules.hash_of_files({*modules.behind(["lib.acts.extract"], without={*MOVERS, "lib.models.adapter"}), *adapter.code()})
    device = torch.device(adapter.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return json.dumps({"model": adapter.identity, "device": f"{device.type} {name}", "torch": torch.__version__,
                       "transformers": transformers.__version__, "token_budget": token_budget,
                       "code": code[:16]})  # fmt: skip


class Step(NamedTuple):
    """Reads whose rows are copied from the earlier store (rows 0), or run in one batch of so many rows and so wide."""

    reads: np.ndarray
    rows: int = 0
    width: int = 0


class Plan:
    """The steps of an extraction, in their order, and all that its bytes depend on."""

    def __init__(self, reads: Reads, sites: Sequence[str], token_budget: int, attributes: dict[str, str], known: Path | None):
        self.reads, self.dims = reads, {name: reads.adapter.site(name).dim for name in sites}
        self.attributes = attributes | {"computed_by": computed_by(reads.adapter, token_budget)}
        self.known, self.known_row = self._find(known)
        self.copied = self.known_row >= 0
        self.steps = [*self._copies(), *self._batches(token_budget)]

    def _find(self, path: Path | None) -> tuple[store.Store | None, np.ndarray]:
        """The earlier store, and its row at which each read begins, -1 for one that it lacks."""
        nowhere = np.full(len(self.reads), -1, dtype=np.int64)
        if path is None or not Path(path).is_file():
            return None, nowhere
        known = store.open_store(path)
        dims = {name: acts.shape[1] for name, acts in known.acts.items()}
        if not (known.reads and self.dims.items() <= dims.items()) or (
            known.attributes.get("computed_by") != self.attributes["computed_by"]
        ):
            return None, nowhere
        row = np.concatenate([[0], np.cumsum(known.reads["n_tokens"], dtype=np.int64)]).tolist()
        at = {content.tobytes(): r for content, r in zip(np.asarray(known.reads["content"]), row)}
        return known, np.array([at.get(content.tobytes(), -1) for content in self.reads.content], dtype=np.int64)

    def _copies(self) -> Iterator[Step]:
        copied, tokens = np.flatnonzero(self.copied), max(COPY_BYTES // (2 * max(self.dims.values())), 1)
        chunk = np.cumsum(self.reads.n_tokens[copied]) // tokens
        yield from (Step(part) for part in np.split(copied, np.flatnonzero(np.diff(chunk)) + 1) if len(part))

    def _batches(self, token_budget: int) -> Iterator[Step]:
        """Widest first; reads as wide as their batch apart from those that need padding."""
        n_ids, special = self.reads.n_ids, self.reads.n_special
        width = special - (special - n_ids) // WIDTH * WIDTH
        if self.reads.adapter.max_tokens is not None:
            width = np.minimum(width, self.reads.adapter.max_tokens)
        shape = 2 * width + (n_ids == width)
        fill = _fills_up(self.reads.adapter)
        for kind in np.unique(shape[~self.copied])[::-1].tolist():
            same_shape, rows = np.flatnonzero((shape == kind) & ~self.copied), max(token_budget // (kind // 2), 1)
            for s in range(0, len(same_shape), rows):
                part = same_shape[s : s + rows]
                yield Step(part, rows if fill else len(part), kind // 2)

    def key(self) -> str:
        """A hash of all that the store's bytes depend on."""
        reads = self.reads
        columns = {name: str(dtype) for name, dtype in reads.columns.items()}
        digest = sha256(json.dumps([self.dims, self.attributes, str(reads.units), reads.frames, columns]).encode())
        for array in (reads.content, self.copied, *([] if reads.own is None else [reads.own])):
            digest.update(np.ascontiguousarray(array))
        for unit in reads.units if reads.ref_pos else ():
            digest.update(np.ascontiguousarray(reads.ref_pos(unit)))
        return digest.hexdigest()

    def table(self) -> pd.DataFrame:
        reads, n = self.reads, len(self.reads.units)
        counts = {"n_tokens": reads.n_tokens, "n_special": reads.n_special, "n_unknown": reads.n_unknown,
                  "n_bases_covered": reads.n_bases}  # fmt: skip
        table = {name: values.reshape(n, -1).sum(1) for name, values in counts.items()}
        return pd.DataFrame(table | {"computed": ~self.copied.reshape(n, -1).all(1)}, index=pd.RangeIndex(n))


def _fills_up(adapter: Adapter) -> bool:
    """Whether the number of a batch's rows chooses kernels."""
    return torch.device(adapter.device).type != "cpu"


def adjacent(reads: np.ndarray, row: np.ndarray | None = None, n: np.ndarray | None = None) -> Iterator[tuple[int, int]]:
    """Stretches a to b of reads whose rows follow each other in the store, and from `row` on, n each, in the other one."""
    apart = np.diff(reads) != 1
    if row is not None:
        apart |= row[1:] != row[:-1] + n[:-1]
    cuts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(reads)]
    yield from pairwise(cuts)
