"""Where a study's input files are: the user's own, or the ones that its front door simulated."""

from __future__ import annotations

from pathlib import Path

from lib.stage import io, params

SIMULATED = "simulated:"


def find(study: str, text: str, simulated: Path | None = None) -> Path:
    """A `_path` parameter as a file: `simulated:genome.fa` is what the front door made, anything else the user's.

    simulated: the folder of simulated files while the door itself is running.
    """
    if not text.startswith(SIMULATED):
        return io.data_path(text)
    name = text.removeprefix(SIMULATED)
    return simulated / name if simulated is not None else io.private_path(study, params.front_door(study), f"data/{name}")
