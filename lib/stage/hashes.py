"""Hashes of files: whole below LARGE bytes; above it by size, time and samples, so that a study of 100 GB is looked at in seconds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

LARGE = 50_000_000  # bytes from which a file is sampled
BLOCK = 2**16  # bytes of a sample
INSIDE = 62  # samples at seeded places, besides head and tail
SETTLED = 2.0  # seconds a file has to be unchanged before its hash is kept: clocks of file systems are coarse


def sha256(path: Path) -> str:
    """SHA-256 of a file's whole content, as hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sampled(path: Path) -> str:
    """"sampled:<size>:<mtime ns>:<SHA-256 of samples>": head, tail, and INSIDE blocks at places that the size seeds."""
    status = path.stat()
    places = random.Random(status.st_size)
    last = max(status.st_size - BLOCK, 0)
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for start in [0, last, *sorted(places.randint(0, last) for _ in range(INSIDE))]:
            handle.seek(start)
            digest.update(handle.read(BLOCK))
    return f"sampled:{status.st_size}:{status.st_mtime_ns}:{digest.hexdigest()}"


def only_time_differs(one: str, other: str | None) -> bool:
    """Whether two of `sampled` have the same size and samples, and not the same time."""
    a, b = one.split(":"), (other or "").split(":")
    return one != other and len(a) == len(b) == 4 and (a[:2], a[3]) == (b[:2], b[3])


def is_large(path: Path) -> bool:
    """Whether a file is looked at by samples."""
    return path.stat().st_size >= LARGE


class Hashes:
    """Hashes of files that do not change, kept in a JSON file from one look to the next.

    A file is known again by size, both its times and its inode: its time of change (ctime) cannot be set by hand, as that
    of modification can. `store` may be damaged, absent or read-only: then files are hashed anew.
    """

    def __init__(self, store: Path):
        self.store = store
        self._changed = False
        self._kept: dict[str, dict] = {}
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(store.read_text(encoding="utf-8"))
            self._kept = {k: v for k, v in kept.items() if isinstance(v, dict)} if isinstance(kept, dict) else {}

    def quick(self, path: Path) -> str:
        """`sha256` below LARGE bytes, `sampled` from there on. Raises OSError."""
        return self._get(path, "sampled", sampled) if is_large(path) else self.whole(path)

    def whole(self, path: Path) -> str:
        """`sha256`. Raises OSError."""
        return self._get(path, "sha256", sha256)

    def once(self, path: Path, what: str, make: Callable[[Path], str]) -> str:
        """make(path), kept under `what` for as long as the file does not change. Raises what `make` and `stat` raise."""
        return self._get(path, what, make)

    def save(self) -> None:
        """Keep what was learnt; nothing happens where that cannot be written."""
        if not self._changed:
            return
        kept = {name: entry for name, entry in self._kept.items() if os.path.exists(name)}
        temporary = self.store.with_name(f"{self.store.name}.{os.getpid()}.new")
        with contextlib.suppress(OSError):
            self.store.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_text(json.dumps(kept, indent=0), encoding="utf-8")
                os.replace(temporary, self.store)
            finally:
                temporary.unlink(missing_ok=True)
        self._changed = False

    def _get(self, path: Path, kind: str, make) -> str:
        name, status = str(path.resolve()), path.stat()
        seen = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        entry = self._kept.get(name, {})
        if entry.get("seen") == seen and isinstance(entry.get(kind), str):
            return entry[kind]
        digest = make(path)
        if time.time_ns() - max(seen[1:3]) > SETTLED * 1e9:
            self._kept[name] = (entry if entry.get("seen") == seen else {"seen": seen}) | {kind: digest}
            self._changed = True
        return digest
