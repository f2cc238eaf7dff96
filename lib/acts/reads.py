"""What the model reads of each unit: tokens, frames and the bases that a unit has to itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from lib.models.tokens import Encoded
from lib.stage.progress import tqdm


class Reads:
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
