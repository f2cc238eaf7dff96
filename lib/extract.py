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
from hashlib import blake2b, sha256
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from lib import hashes, io, modules, store
from lib.models.adapter import Adapter
from lib.models.tokens import Encoded, TokenBatch
from lib.progress import tqdm

WIDTH = 8  # tokens, specials aside, of which a batch is a whole multiple wide
WAITING = 4  # batches that may wait to be written
MOVERS = ("lib.io", "lib.store", "lib.progress", "lib.modules")  # imported here, but no row's values depend on them
COPY_BYTES = 8 << 20  # of one site's rows, taken from an earlier store at a time


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
    reads = _Reads(adapter, records, ref_pos, units, frames, own)
    with contextlib.closing(reads), contextlib.ExitStack() as stack:
        reads.tokenise(acts_path.parent)
        todo = _Plan(reads, sites, token_budget, attributes or {}, known)
        folder = Path(work) if work else acts_path.with_name(f".{acts_path.name}.making")
        if not work:
            shutil.rmtree(folder, ignore_errors=True)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _link(_fill(todo, folder, sync_every if work else 0), acts_path)
        if pooled_path:
            store.pool_units(acts_path, pooled_path)
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
    found = {name: [] for name in whole.acts}
    with _float32(adapter.model):
        for k in chosen:
            low, high = int(first[k]), int(first[k] + n_rows[k])
            alone = _Reads(adapter, records, ref_pos, slice(int(unit[k]), int(unit[k]) + 1), frames, own)
            runs = [adapter.run(adapter.collate([alone.encode(r)], [0]), list(found)) for r in range(len(alone))]
            for name, parts in found.items():
                x = torch.cat([run[name] for run in runs]).float().cpu().numpy()
                off = np.abs(x - whole.read(name, low, high)).max(1)
                parts.append(off / np.maximum(np.abs(x).max(1), np.finfo(np.float32).tiny))
    rows = {name: np.concatenate(parts) for name, parts in found.items()}
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


def plan(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Batches of records of like length, each at most `token_budget` tokens with padding. lengths: [record]."""
    order = np.argsort(lengths, kind="stable")[::-1]
    batches, current = [], []
    for unit in order:
        widest = lengths[current[0]] if current else lengths[unit]
        if current and widest * (len(current) + 1) > token_budget:
            batches.append(np.array(current))
            current = []
        current.append(unit)
    return [*batches, np.array(current)] if current else batches


def computed_by(adapter: Adapter, token_budget: int) -> str:
    """JSON of all that activations depend on beside the record: rows of two stores may be mixed only if it is equal."""
    code = modules.hash_of_files({*modules.behind(["lib.extract"], without={*MOVERS, "lib.models.adapter"}), *adapter.code()})
    device = torch.device(adapter.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return json.dumps({"model": adapter.identity, "device": f"{device.type} {name}", "torch": torch.__version__,
                       "transformers": transformers.__version__, "token_budget": token_budget,
                       "code": code[:16]})  # fmt: skip


def earlier(study: str, stage: str, name: str, private: bool = False) -> Path | None:
    """A file of the stage's last complete output, whole as its manifest names it; None where there is none."""
    with contextlib.suppress(FileNotFoundError):
        path = (io.private_path if private else io.stage_path)(study, stage, name)
        files = io.read_manifest(study, stage)["files"]
        if files.get(f"private/{name}" if private else name) == hashes.sha256(path):
            return path
    return None


def work_dir(study: str, stage: str, part: str, private: bool = False) -> Path:
    """Where a part of a stage is extracted, to go on after an interruption. private: beside the per-person outputs.

    The commit of the stage removes it; `forget` what is private before.
    """
    public = io.resume_dir(study, stage, part)
    return public.parents[2] / "private" / ".resume" / stage / part if private else public


def forget(study: str, stage: str) -> None:
    """Remove the private folders of `work_dir`."""
    folder = work_dir(study, stage, "any", private=True).parent
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # it holds another stage's, or is gone
        folder.parent.rmdir()


# Reads -----------------------------------------------------------------------------------------------------


class _Reads:
    """What the model reads: read r is unit r // n_frames in frame r % n_frames. Tokenised once, into a scratch file."""

    def __init__(self, adapter, records, ref_pos, units: slice, frames: Sequence[int], own: np.ndarray | None):
        if not len(frames) or len(set(frames)) < len(frames):
            raise ValueError(f"frames {list(frames)}: wanted at least one, each once")
        if own is not None and (np.shape(own) != (len(records), 2) or ref_pos is None):
            raise ValueError(f"own has shape {np.shape(own)}: wanted ({len(records)}, 2), start and end a unit, and ref_pos")
        if any(frames) and not hasattr(adapter.tokenizer, "k"):
            raise ValueError(f"frames {list(frames)}: this model's tokens are no k-mers, so there is frame 0 only")
        self.adapter, self.records, self.ref_pos = adapter, records, ref_pos
        self.units, self.frames, self.own = range(len(records))[units], tuple(frames), own
        n = len(self)
        self.content, self._at = np.zeros((n, 2), dtype=np.uint64), np.zeros(n, dtype=np.int64)
        self.n_ids, self.n_special, self.n_unknown, self.n_tokens, self.n_bases = np.zeros((5, n), dtype=np.int64)
        self._file, self._kinds = None, []

    def __len__(self) -> int:
        return len(self.units) * len(self.frames)

    def tokenise(self, scratch: Path) -> None:
        self._file = TemporaryFile(dir=scratch)  # noqa: SIM115 (until `close`)
        for r in tqdm(range(len(self)), desc="tokenise", mininterval=2):
            self._keep(r, self.encode(r))
        self._file.flush()
        self.first = np.concatenate([[0], np.cumsum(self.n_tokens)])

    def close(self) -> None:
        if self._file:
            self._file.close()

    def unit(self, r: int) -> int:
        return self.units[r // len(self.frames)]

    def frame(self, r: int) -> int:
        return self.frames[r % len(self.frames)]

    def encode(self, r: int) -> Encoded:
        """Tokens of a read, those outside the unit's own part not kept. Raises ValueError naming the unit."""
        unit, frame = self.unit(r), self.frame(r)
        try:
            encoded = self.adapter.encode_one(self.records[unit], **({"frame": frame} if frame else {}))
        except ValueError as error:
            raise ValueError(f"unit {unit}: {error}") from error
        self.n_special[r] = (encoded.end <= encoded.start).sum()
        if self.own is not None:
            encoded = _inside(encoded, *np.searchsorted(self.ref_pos(unit), self.own[unit]))
        if not encoded.keep.any():
            where = "" if self.own is None else " in its own part of the window"
            raise ValueError(f"unit {unit} has no known token{where}: is it all N?")
        return encoded

    def _keep(self, r: int, e: Encoded) -> None:
        source = e.end > e.start
        self.n_ids[r], self.n_tokens[r], self.n_bases[r] = len(e.ids), e.keep.sum(), (e.end - e.start)[e.keep].sum()
        self.n_unknown[r] = (source & (e.ids == self.adapter.tokenizer.unk_token_id)).sum()
        digest = blake2b(digest_size=16)
        for array in (e.ids.astype(np.int64), e.keep, *(e.inputs[name] for name in sorted(e.inputs))):
            digest.update(np.ascontiguousarray(array))
        self.content[r] = np.frombuffer(digest.digest(), dtype=np.uint64)
        arrays = _arrays(e)
        kinds = [(*key, array.dtype) for key, array in arrays.items()]
        if self._kinds and kinds != self._kinds:
            raise ValueError(f"unit {self.unit(r)}: its tokens have {kinds}, those before {self._kinds}")
        self._kinds, self._at[r] = kinds, self._file.tell()
        for array in arrays.values():
            self._file.write(np.ascontiguousarray(array))

    def __getitem__(self, r: int) -> Encoded:
        """Read r as it was tokenised."""
        parts, at = {"": {}, "inputs": {}, "columns": {}}, int(self._at[r])
        for part, name, dtype in self._kinds:
            raw = os.pread(self._file.fileno(), int(self.n_ids[r]) * dtype.itemsize, at)  # by two threads
            parts[part][name], at = np.frombuffer(raw, dtype), at + len(raw)
        return Encoded(**parts.pop(""), **parts)

    @property
    def columns(self) -> dict[str, np.dtype]:
        """Token columns beside those that every store has."""
        given = {name: dtype for part, name, dtype in self._kinds if part == "columns"}
        return given | ({"frame": np.dtype(np.int8)} if len(self.frames) > 1 else {})

    def coordinates(self, r: int, e: Encoded) -> dict[str, np.ndarray]:
        """Columns of a read's kept tokens."""
        start, end, n = e.start[e.keep], e.end[e.keep], int(self.n_tokens[r])
        pos = self.ref_pos(self.unit(r)) if self.ref_pos else None
        columns = {
            "unit": np.full(n, self.unit(r)), "index": np.arange(n), "start": start, "end": end,
            "ref_start": start if pos is None else pos[start], "ref_end": end if pos is None else pos[end - 1] + 1,
            "token_id": e.ids[e.keep], **{name: values[e.keep] for name, values in e.columns.items()},
        }  # fmt: skip
        return columns | ({"frame": np.full(n, self.frame(r))} if len(self.frames) > 1 else {})


def _inside(e: Encoded, low: int, high: int) -> Encoded:
    """The tokens that have bases in low to high, without the bases they have outside."""
    start, end = np.clip(e.start, low, high), np.clip(e.end, low, high)
    return replace(e, start=start.astype(e.start.dtype), end=end.astype(e.end.dtype), keep=e.keep & (end > start))


def _arrays(e: Encoded) -> dict[tuple[str, str], np.ndarray]:
    """An Encoded's arrays by part and name."""
    own = {("", name): getattr(e, name) for name in ("ids", "start", "end", "keep")}
    return own | {(part, name): a for part in ("inputs", "columns") for name, a in sorted(getattr(e, part).items())}


# The plan --------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """Reads whose rows are copied from the earlier store (rows 0), or run in one batch of so many rows and so wide."""

    reads: np.ndarray
    rows: int = 0
    width: int = 0


class _Plan:
    """The steps of an extraction, in their order, and all that its bytes depend on."""

    def __init__(self, reads: _Reads, sites: Sequence[str], token_budget: int, attributes: dict[str, str], known: Path | None):
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

    def _copies(self) -> Iterator[_Step]:
        mine, tokens = np.flatnonzero(self.copied), max(COPY_BYTES // (2 * max(self.dims.values())), 1)
        chunk = np.cumsum(self.reads.n_tokens[mine]) // tokens
        yield from (_Step(part) for part in np.split(mine, np.flatnonzero(np.diff(chunk)) + 1) if len(part))

    def _batches(self, token_budget: int) -> Iterator[_Step]:
        """Widest first; reads as wide as their batch apart from those that need padding."""
        n_ids, special = self.reads.n_ids, self.reads.n_special
        width = special - (special - n_ids) // WIDTH * WIDTH
        if self.reads.adapter.max_tokens is not None:
            width = np.minimum(width, self.reads.adapter.max_tokens)
        shape = 2 * width + (n_ids == width)
        fill = _fills_up(self.reads.adapter)
        for kind in np.unique(shape[~self.copied])[::-1].tolist():
            mine, rows = np.flatnonzero((shape == kind) & ~self.copied), max(token_budget // (kind // 2), 1)
            for s in range(0, len(mine), rows):
                part = mine[s : s + rows]
                yield _Step(part, rows if fill else len(part), kind // 2)

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


# Filling the store -----------------------------------------------------------------------------------------


def _fill(plan: _Plan, folder: Path, sync_every: int) -> Path:
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


def _begin(plan: _Plan, folder: Path, key: str) -> dict:
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
        for name, values in (("unit", [reads.unit(r) for r in range(len(reads))]), ("n_tokens", reads.n_tokens), ("content", reads.content)):
            out.write(f"reads/{name}", 0, np.asarray(values))
    return {"key": key, "done": 0, "n_zero": dict.fromkeys(plan.dims, 0), "rows": 0}


def _fills_up(adapter: Adapter) -> bool:
    """Whether the number of a batch's rows chooses kernels."""
    return torch.device(adapter.device).type != "cpu"


def _run(plan: _Plan, step: _Step) -> tuple[list[Encoded], dict[str, np.ndarray]]:
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

    def __init__(self, plan: _Plan, out: store.Writer, path: Path, progress: dict, sync_every: int):
        self.plan, self.out, self.path, self.key, self.sync_every = plan, out, path, progress["key"], sync_every
        self.done, self.n_zero, self.rows = progress["done"], dict(progress["n_zero"]), progress["rows"]

    def write(self, number: int, encoded: list[Encoded], acts: dict[str, np.ndarray]) -> None:
        """The rows of a batch; acts: site -> [kept token, d] float16, in the order of the step's reads."""
        self._expect(number)
        reads, step = self.plan.reads, self.plan.steps[number]
        place = np.concatenate([[0], np.cumsum(reads.n_tokens[step.reads])])
        columns = [reads.coordinates(r, e) for r, e in zip(step.reads, encoded)]
        for a, b in _adjacent(step.reads):
            self._write(step.reads[a], columns[a:b], {name: x[place[a] : place[b]] for name, x in acts.items()})
        self._finished(step, {name: _n_zero(x) for name, x in acts.items()})

    def copy(self, number: int) -> None:
        """The rows of known reads, from the earlier store."""
        self._expect(number)
        plan, reads = self.plan, self.plan.reads
        members = plan.steps[number].reads
        row, n = plan.known_row[members], reads.n_tokens[members]
        n_zero = dict.fromkeys(plan.dims, 0)
        for a, b in _adjacent(members, row, n):
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

    def _finished(self, step: _Step, n_zero: dict[str, int]) -> None:
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
        io.atomic_write(self.path, json.dumps(state))


def _n_zero(x: np.ndarray) -> int:
    """Rows of nothing but zeros."""
    return int((~x.any(axis=1)).sum())


def _adjacent(reads: np.ndarray, row: np.ndarray | None = None, n: np.ndarray | None = None) -> Iterator[tuple[int, int]]:
    """Stretches a to b of reads whose rows follow each other in the store, and from `row` on, n each, in the other one."""
    apart = np.diff(reads) != 1
    if row is not None:
        apart |= row[1:] != row[:-1] + n[:-1]
    cuts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(reads)]
    yield from pairwise(cuts)


def _verify(plan: _Plan, path: Path, recorder: _Recorder) -> None:
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
