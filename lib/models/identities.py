"""What a model is: the class and weights that were read, so that two runs can be held to the same one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lib.models import files


def identity_of(
    model: nn.Module, weights: Path, random: str | None, dtype: str, revision: str | None, code: dict[str, str] | None
) -> dict:
    """weights: the file. random: what stands for its hash where the weights were drawn. revision: the hub's commit.
    code: file -> SHA-256 of trusted code that came with the weights; its class's package is a path, so it is left out."""
    return {
        "class": type(model).__name__,
        "module": type(model).__module__ if code is None else type(model).__module__.rpartition(".")[2],
        "model_type": model.config.model_type,
        "weights_sha256": random or files.weights_sha256(weights),
        "tokenizer_sha256": files.tokenizer_sha256(weights.parent),
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": dtype,
        **({"revision": revision} if revision else {}),
        **({"code": code} if code else {}),
    }


def check(identity: dict, expected: dict, where: str | Path) -> None:
    """Raise ValueError naming each part of a model's identity that is not as expected. where: named by the error."""
    names = sorted(identity.keys() | expected.keys())
    wrong = [f"{name} is {identity.get(name)}, wanted {expected.get(name)}" for name in names
             if identity.get(name) != expected.get(name)]  # fmt: skip
    if wrong:
        raise ValueError(f"{where}: not the model that was read before: {'; '.join(wrong)}")
