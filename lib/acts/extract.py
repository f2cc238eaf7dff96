"""Run a model over units and leave activations and token coordinates on disk, at the speed of the model.

A forward of one unit (in one frame) is a *read*. A batch is as wide as its reads are long, rounded up to whole WIDTH tokens,
and reads that fill their width run apart from those that need padding, since a model may take another kernel then. On an
accelerator, where the number of rows chooses kernels too, a batch that is not full is filled up with copies. So no kernel
is chosen by a read's companions.

A store that was interrupted is the same, to the byte, as one that was not: it has the same batches. One joined of shards, or
with rows of an earlier store, has other companions in a batch. Measured on a CPU (torch 2.13, AVX-512; products from 12 rows
on), those change nothing where rows fill vector registers (width of the model a multiple of 64, of its heads of 16), else
the last bit of fewer than 0.1 % of the float16 values; so too in mixtures of experts, whose products gather tokens of many
reads. With one read a batch (token_budget 1) nothing has companions, and every store of the same reads is the same to the
byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.acts import pool, store
from lib.acts.plan import Plan, Step, adjacent
from lib.acts.reads import Reads
from lib.models.adapter import Adapter
from lib.models.tokens import Encoded, TokenBatch
from lib.stage import durable
from lib.stage.progress import tqdm

WAITING = 4  # batches that may wait to be written


def extract(
    adapter: Adapter,
    records: Sequence,
    ref_pos: Callable[[int], np.ndarray] | None,
    sites: Sequence[str],
    acts_path: Path,
    pooled_path: Path | None = None,
    token_budget: int = 2048,
    attributes: dict[str, str] | None = None,
    *,
    own: np.ndarray | None = None,
    frames: Sequence[int] = (0,),
    units: slice = slice(None),
    known: Path | None = None,
    work: Path | None = None,
    sync_every: int = 32,
) -> pd.DataFrame:
    """Fill `acts_path` (store, rows in unit order) and `pooled_path` (means over each unit's tokens).

    records: one a unit. ref_pos: function unit -> reference position of each base; None where there is no reference.
    token_budget: tokens of a forward, padding included.
    own: [unit, 2] reference start and end of what a unit has to itself where windows overlap (`windows.tile`). Tokens
        outside are not stored; one across an edge is stored with the bases inside as its coordinates. None: all is its own.
    frames: of a tokenizer of k-mers, run one after the other; with several, a column "frame" tells them apart.
    units: the range that this process extracts, for `store.join`; unit numbers stay those of `records`.
    known: an earlier store. Rows of reads that it holds are copied, if the same model, code and settings computed them.
    work: a folder for this extraction alone, in which one that was interrupted goes on; on the file system of `acts_path`.
    sync_every: batches after which progress is put on the disk, with `work`.

    Returns a row a unit: n_tokens, n_special, n_unknown (tokens dropped as unknown), n_bases_covered, and computed (False:
    its rows were copied). At the end the store is read through: every row was written, every value is finite.
    Raises ValueError naming the unit that has no known token, is longer than the model reads or overflows float16.
    """
    acts_path = Path(acts_path)
    reads = Reads(adapter, records, ref_pos, units, frames, own)
    with contextlib.closing(reads), contextlib.ExitStack() as stack:
        reads.tokenise(acts_path.parent)
        todo = Plan(reads, sites, token_budget, attributes or {}, known)
        folder = Path(work) if work else acts_path.with_name(f".{acts_path.name}.making")
        if not work:
            shutil.rmtree(folder, ignore_errors=True)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _link(_fill(todo, folder, sync_every if work else 0), acts_path)
        if pooled_path:
            pool.pool_units(acts_path, pooled_path)
        return todo.table()


def audit(
    adapter: Adapter,
    records: Sequence,
    ref_pos: Callable[[int], np.ndarray] | None,
    acts_path: Path,
    share: float = 0.01,
    seed: int = 0,
    *,
    own: np.ndarray | None = None,
    frames: Sequence[int] = (0,),
) -> pd.DataFrame:
    """Compute random units again, each alone, unpadded and in float32, and compare with what is stored.

    share: of the rows, at least. Gives a row a site: n_units, n_rows, and over the rows the largest and the median of
    max |x - stored| / max |x|; rounding to float16 alone makes at most 2**-11 = 0.00049 of it.
    """
    whole = store.open_store(acts_path)
    unit, first = np.unique(whole.tokens["unit"], return_index=True)
    n_rows = np.diff(np.append(first, whole.n_tokens))
    order = np.random.default_rng(seed).permutation(len(unit))
    chosen = order[: int(np.searchsorted(np.cumsum(n_rows[order]), share * whole.n_tokens)) + 1]
    errors = {name: [] for name in whole.acts}
    with _float32(adapter.model):
        for k in chosen:
            low, high = int(first[k]), int(first[k] + n_rows[k])
            alone = Reads(adapter, records, ref_pos, slice(int(unit[k]), int(unit[k]) + 1), frames, own)
            runs = [adapter.run(adapter.collate([alone.encode(r)], [0]), list(errors)) for r in range(len(alone))]
            for name, parts in errors.items():
                x = torch.cat([run[name] for run in runs]).float().cpu().numpy()
                off = np.abs(x - whole.read(name, low, high)).max(1)
                parts.append(off / np.maximum(np.abs(x).max(1), np.finfo(np.float32).tiny))
    rows = {name: np.concatenate(parts) for name, parts in errors.items()}
    return pd.DataFrame([
        {"site": name, "n_units": len(chosen), "n_rows": len(x), "largest_relative_difference": x.max(),
         "median_relative_difference": np.median(x)} for name, x in rows.items()
    ])  # fmt: skip


@contextlib.contextmanager
def _float32(model: torch.nn.Module) -> Iterator[None]:
    """The model with its weights in float32, and afterwards as it was."""
    before = [(p, p.dtype) for p in model.parameters()]
    try:
        for p, _ in before:
            p.data = p.data.float()
        yield
    finally:
        for p, dtype in before:
            p.data = p.data.to(dtype)


def own_bases(ref_pos: Callable[[int], np.ndarray], own: np.ndarray) -> np.ndarray:
    """Bases in each unit's own part: [unit]. own: [unit, 2] reference start and end, as in `extract`."""
    return np.array([np.diff(np.searchsorted(ref_pos(u), ends))[0] for u, ends in enumerate(own)], dtype=np.int64)


def _fill(plan: Plan, folder: Path, sync_every: int) -> Path:
    """Run the steps that are not done yet, in `folder`; the finished and checked store."""
    path, reads = folder / "activations.h5", plan.reads
    progress = _begin(plan, folder, plan.key() if sync_every else "")
    with store.Writer(path) as out:
        recorder = _Recorder(plan, out, folder / "progress.json", progress, sync_every)
        tokens = np.array([reads.n_tokens[step.reads].sum() for step in plan.steps], dtype=np.int64)
        done = recorder.done
        with tqdm(total=int(tokens.sum()), initial=int(tokens[:done].sum()), unit="token", unit_scale=True,
                  desc="extract", mininterval=2) as bar, _Background(WAITING) as background:  # fmt: skip
            try:
                for number, step in enumerate(plan.steps[done:], done):
                    if step.rows:
                        background.do(recorder.write, number, *_run(plan, step))
                    else:
                        background.do(recorder.copy, number)
                    bar.update(int(tokens[number]))
                background.finish()
            except BaseException:
                background.stop()
                with contextlib.suppress(OSError):
                    recorder.note()
                raise
        recorder.note()
    _verify(plan, path, recorder)
    return path


def _begin(plan: Plan, folder: Path, key: str) -> dict:
    """What was done already: the progress of an interrupted extraction of this very plan, else of a new, empty store."""
    path = folder / "activations.h5"
    with contextlib.suppress(FileNotFoundError, ValueError):
        progress = json.loads((folder / "progress.json").read_text())
        if progress.get("key") == key and path.is_file():
            return progress
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reads = plan.reads
    store.create(path, plan.dims, int(reads.first[-1]), plan.attributes, reads.columns, len(reads))
    with store.Writer(path) as out:
        units = [reads.unit(r) for r in range(len(reads))]
        for name, values in (("unit", units), ("n_tokens", reads.n_tokens), ("content", reads.content)):
            out.write(f"reads/{name}", 0, np.asarray(values))
    return {"key": key, "done": 0, "n_zero": dict.fromkeys(plan.dims, 0), "rows": 0}


def _run(plan: Plan, step: Step) -> tuple[list[Encoded], dict[str, np.ndarray]]:
    """One batch through the model: what was read, and float16 rows at each site."""
    adapter, reads = plan.reads.adapter, plan.reads
    encoded, units = [reads[r] for r in step.reads], [reads.unit(r) for r in step.reads]
    batch = _shaped(adapter.collate(encoded, units), step.rows, step.width, adapter.tokenizer.pad_token_id or 0)
    where = f"units {min(units)}-{max(units)}"
    return encoded, {name: _half(x, f"{name}, {where}") for name, x in adapter.run(batch, list(plan.dims)).items()}


def _shaped(batch: TokenBatch, rows: int, width: int, pad_id: int) -> TokenBatch:
    """The batch in a given shape: padded to the width, and filled up with copies of its first row that are not kept."""

    def shaped(x: Tensor, value: int) -> Tensor:
        x = F.pad(x, (0, width - x.shape[1]), value=value)
        return torch.cat([x, x[:1].expand(rows - len(x), -1)])

    keep = F.pad(batch.keep, (0, width - batch.keep.shape[1], 0, rows - len(batch.keep)), value=False)
    inputs = {name: shaped(x, 0) for name, x in batch.inputs.items()}
    return replace(batch, ids=shaped(batch.ids, pad_id), mask=shaped(batch.mask, 0), keep=keep, inputs=inputs)


def _half(x: Tensor, where: str) -> np.ndarray:
    """float16, after checking the range."""
    store.check_range(float(x.abs().max()), where)
    return x.half().cpu().numpy()


class _Background:
    """Calls done by one thread in their order, few of them waiting. What a call raises, the next `do` raises."""

    def __init__(self, waiting: int):
        self._pool, self._calls, self._most = ThreadPoolExecutor(1, thread_name_prefix="write"), deque[Future](), waiting

    def do(self, call: Callable, *args) -> None:
        while self._calls and (len(self._calls) >= self._most or self._calls[0].done()):
            self._calls.popleft().result()
        self._calls.append(self._pool.submit(call, *args))

    def finish(self) -> None:
        while self._calls:
            self._calls.popleft().result()

    def stop(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stop()


class _Recorder:
    """Writes steps into the store, in their order only, and what is done into a small file."""

    def __init__(self, plan: Plan, out: store.Writer, path: Path, progress: dict, sync_every: int):
        self.plan, self.out, self.path, self.key, self.sync_every = plan, out, path, progress["key"], sync_every
        self.done, self.n_zero, self.rows = progress["done"], dict(progress["n_zero"]), progress["rows"]

    def write(self, number: int, encoded: list[Encoded], acts: dict[str, np.ndarray]) -> None:
        """The rows of a batch; acts: site -> [kept token, d] float16, in the order of the step's reads."""
        self._expect(number)
        reads, step = self.plan.reads, self.plan.steps[number]
        place = np.concatenate([[0], np.cumsum(reads.n_tokens[step.reads])])
        columns = [reads.coordinates(r, e) for r, e in zip(step.reads, encoded)]
        for a, b in adjacent(step.reads):
            self._write(step.reads[a], columns[a:b], {name: x[place[a] : place[b]] for name, x in acts.items()})
        self._finished(step, {name: _n_zero(x) for name, x in acts.items()})

    def copy(self, number: int) -> None:
        """The rows of known reads, from the earlier store."""
        self._expect(number)
        plan, reads = self.plan, self.plan.reads
        members = plan.steps[number].reads
        row, n = plan.known_row[members], reads.n_tokens[members]
        n_zero = dict.fromkeys(plan.dims, 0)
        for a, b in adjacent(members, row, n):
            low, high = int(row[a]), int(row[b - 1] + n[b - 1])
            acts = {name: plan.known.read(name, low, high) for name in plan.dims}
            self._write(members[a], [reads.coordinates(r, reads[r]) for r in members[a:b]], acts)
            n_zero = {name: n_zero[name] + _n_zero(x) for name, x in acts.items()}
        self._finished(plan.steps[number], n_zero)

    def _expect(self, number: int) -> None:
        if number != self.done:
            raise RuntimeError(f"step {number} of the extraction cannot follow on {self.done} steps: one before it failed")

    def _write(self, read: int, columns: list[dict[str, np.ndarray]], acts: dict[str, np.ndarray]) -> None:
        """Rows of reads that follow each other, from `read` on."""
        row = int(self.plan.reads.first[read])
        for name in columns[0]:
            self.out.write(f"tokens/{name}", row, np.concatenate([c[name] for c in columns]))
        for name, x in acts.items():
            self.out.write(f"acts/{name}", row, x)

    def _finished(self, step: Step, n_zero: dict[str, int]) -> None:
        self.done += 1
        self.rows += int(self.plan.reads.n_tokens[step.reads].sum())
        self.n_zero = {name: n + n_zero[name] for name, n in self.n_zero.items()}
        if self.sync_every and self.done % self.sync_every == 0:
            self.note()

    def note(self) -> None:
        """Put what was written on the disk, and then that it is there, where anyone could go on from it."""
        if not self.sync_every:
            return
        self.out.to_disk()
        state = {"key": self.key, "done": self.done, "n_zero": self.n_zero, "rows": self.rows}
        durable.atomic_write(self.path, json.dumps(state))


def _n_zero(x: np.ndarray) -> int:
    """Rows of nothing but zeros."""
    return int((~x.any(axis=1)).sum())


def _verify(plan: Plan, path: Path, recorder: _Recorder) -> None:
    """Read the store through. Raises RuntimeError when steps or rows are missing, ValueError for a value not finite."""
    n_tokens = int(plan.reads.first[-1])
    if recorder.done != len(plan.steps) or recorder.rows != n_tokens:
        raise RuntimeError(f"{path}: {recorder.done} of {len(plan.steps)} steps, {recorder.rows} of {n_tokens} rows written")
    for name, seen in store.check(path).items():
        if seen["n_zero"] != recorder.n_zero[name]:
            raise RuntimeError(f"{path}: {name}: {seen['n_zero']} rows are zero, {recorder.n_zero[name]} were written so")


def _link(made: Path, path: Path) -> None:
    """Have the finished store at `path` too: the same bytes where the file system can, else a copy."""
    path.unlink(missing_ok=True)
    try:
        os.link(made, path)
    except OSError:
        shutil.copyfile(made, path)
