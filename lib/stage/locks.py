"""Files that this process holds, so that no other process holds them: a lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TextIO

_HELD: dict[Path, TextIO] = {}  # what this process holds, so that a cell can be run twice


def hold(path: Path, wait: float = 0.0) -> str | None:
    """Hold a file, made if need be, until `let_go` or the end of this process. Twice is harmless.

    wait: seconds to wait for it. Returns None once it is held, else the number of the process that holds it.
    """
    if path in _HELD:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+")
    give_up = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= give_up:
                handle.seek(0)
                who = handle.read().strip() or "unknown"
                handle.close()
                return who
            time.sleep(0.2)
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    _HELD[path] = handle
    return None


def let_go(path: Path) -> None:
    """Let go of a file; nothing happens if it is not held."""
    if handle := _HELD.pop(path, None):
        handle.close()


def let_go_of_all() -> None:
    """Let go of every file that this process holds."""
    for path in list(_HELD):
        let_go(path)
