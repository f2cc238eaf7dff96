"""Where an extraction finds the last one's rows, and keeps its own until it is whole."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from lib.stage import hashes, io


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
