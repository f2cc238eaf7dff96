"""Checkpoints of a training: whole or not there, the last two of them, and only for the sweep that wrote them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from lib.stage import durable


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict) -> None:
    """Write a checkpoint whole, or not at all; keep the last two. state: plain values, the sweep's settings among them."""
    final, partial = folder / f"step_{step:09d}", folder / f".partial_{step:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(tensors, partial / "state.safetensors")
    (partial / "state.json").write_text(json.dumps(state))
    for path in (*partial.iterdir(), partial):
        durable.to_disk(path)
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    durable.to_disk(folder)
    for old in sorted(folder.glob("step_*"))[:-2]:
        shutil.rmtree(old)


def load(checkpoint: Path, settings: dict) -> tuple[dict[str, Tensor], dict]:
    """Tensors and state of a checkpoint. Raises ValueError when it was made with other settings than these."""
    state = json.loads((checkpoint / "state.json").read_text())
    for key, value in json.loads(json.dumps(settings)).items():
        if state[key] != value:
            raise ValueError(f"{checkpoint}: made with other {key}: {state[key]}, wanted {value}; remove the folder to start anew")
    return load_file(checkpoint / "state.safetensors"), state


def newest(folder: Path) -> Path | None:
    """The last checkpoint in a folder that is whole."""
    whole = sorted(p for p in Path(folder).glob("step_*") if (p / "state.json").is_file() and (p / "state.safetensors").is_file())
    return whole[-1] if whole else None
