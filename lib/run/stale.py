"""Which stages of a study would run, and why.

    python -m lib.run.stale [STUDY]          (make dry STUDY=x)
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from lib.run.fingerprint import PARTS, Look, hash_of
from lib.stage import io
from lib.stage.params import Refused, notebook_path, short

SHOWN = 8  # reasons of a stage that are printed


def reasons(look: Look, stage: str) -> list[str]:
    """Why the stage would run, the likeliest to be wanted first; nothing when its output is up to date.

    Raises params.Refused and FileNotFoundError where the stage cannot run: bad params, a missing data file.
    """
    now = look.parts(stage)
    try:
        manifest = io.read_manifest(look.study, stage)
    except io.Unfinished as error:
        return [error.reason]
    if manifest["fingerprint"] == "interactive":
        return ["its output was made in an open notebook, not by the runner"]
    if not all(name in manifest for name in (*PARTS, "sha256")):
        return ["its output was made by an earlier version of the runner, which noted less"]
    why = [line for name in PARTS for line in _changes(name, manifest[name], now[name], stage)]
    if not why and manifest["fingerprint"] != look.fingerprint(stage):
        why = ["manifest.json was edited: its fingerprint is not that of its parts"]
    return why + list(_edited(look, stage, manifest))


def _changes(part: str, old: Any, new: Any, stage: str) -> Iterator[str]:
    """What differs in one of PARTS between the manifest and what lies here, in words."""
    if part == "notebook":
        if old != new:
            yield f"notebook {short(notebook_path(stage).with_suffix('.py'))} changed"
        return
    word = {"params": "parameter", "modules": "module", "inputs": "file", "upstream": "stage"}[part]
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{word} {name} is new" + (f": {new[name]!r}" if part == "params" else "")
        elif name not in new:
            yield f"{word} {name} is gone"
        elif hash_of(old[name]) != hash_of(new[name]):  # == takes 1 for 1.0 and for true
            yield f"{word} {name} " + (f"was {old[name]!r}, is {new[name]!r}" if part == "params" else "changed")


def _edited(look: Look, stage: str, manifest: dict[str, Any]) -> Iterator[str]:
    """Output files that are missing or no longer what the stage wrote."""
    sampled = manifest.get("files_sampled", {})
    for key, whole in manifest["files"].items():
        path = io.output_file(look.study, stage, key)
        if not path.is_file():
            yield f"output {key} is missing"
        elif look.hashes.quick(path) not in (whole, sampled.get(key)) and look.hashes.whole(path) != whole:
            yield f"output {key} was edited"


def main(arguments: list[str] | None = None) -> int:
    """Print a line a stage. Exit status: 0, or 2 when a stage could not start."""
    parser = argparse.ArgumentParser(prog="python -m lib.run.stale", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default=os.environ.get("STUDY", "demo"), help="a folder of params/")
    study, status = parser.parse_args(arguments).study, 0
    try:
        look = Look(study)
    except (ValueError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    width = max(map(len, look.stages))
    for stage in look.stages:
        try:
            why = reasons(look, stage)
        except (Refused, OSError) as error:
            why, status = [f"cannot run: {error}"], 2
        else:
            more = [f"and for {len(why) - SHOWN} more reasons"] if len(why) > SHOWN else []
            why = [f"would run: {line}" for line in [*why[:SHOWN], *more]] or ["up to date"]
        for line in why:
            print(f"{stage:{width}}  {line}")
    look.hashes.save()
    return status


if __name__ == "__main__":
    sys.exit(main())
