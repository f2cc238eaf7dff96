"""Tensors of a weights file into a module written here: every name and shape has to agree."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn


def fill(model: nn.Module, tensors: dict[str, Tensor], weights: Path) -> None:
    """Copy tensors into the model. Raises ValueError naming what is missing, of no use, or of another shape."""
    wanted = model.state_dict()
    wrong = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "of no use": sorted(tensors.keys() - wanted.keys()),
        "of another shape (found, wanted)": [
            f"{k} {tuple(tensors[k].shape)} {tuple(wanted[k].shape)}"
            for k in sorted(wanted.keys() & tensors.keys())
            if tensors[k].shape != wanted[k].shape
        ],
    }
    if any(wrong.values()):
        said = "; ".join(f"{what}: {', '.join(names[:5])}" for what, names in wrong.items() if names)
        raise ValueError(f"{weights}: does not fill {type(model).__name__}: {said}")
    model.load_state_dict(tensors)
