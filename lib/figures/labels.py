"""What a study is, in words for its figures: simulated or not, enlarged or not, a refitted head or the model's own.

The front door writes what it knows into the corpus; figures say it. Nothing is said by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.corpus.corpus import Corpus

REFIT_REPORT = "refit_report.json"  # lies beside the weights of a model whose language-model head was fitted anew


def of_data(simulated: dict[str, bool], model_folder: Path) -> dict[str, Any]:
    """What a door knows, for `Corpus.about`: which of its data it simulated, by name, and "refitted" or "" for the model's head.

    A model says that its head was refitted by a REFIT_REPORT in its folder. Without one nothing is said of its head.
    """
    return {"simulated": simulated, "head": "refitted" if (model_folder / REFIT_REPORT).is_file() else ""}


def text(corpus: Corpus, more: str = "") -> str:
    """The line under every figure, such as "simulated genome, cohort and phenotype; effects enlarged".

    more: what the study's owner adds. "From files" is what was not simulated here: what a file holds, the study cannot know.
    """
    targets = corpus.targets
    made = corpus.about["simulated"] | {corpus.words["target"]: any(target.simulated for target in targets)}
    parts = []
    if given := [name for name, simulated in made.items() if not simulated]:
        parts.append(f"{_listed(given)} from files")
    if simulated := [name for name, is_made in made.items() if is_made]:
        parts.append(f"simulated {_listed(simulated)}")
    if enlarged := [target.name for target in targets if target.enlarged]:
        parts.append("effects enlarged" + ("" if len(enlarged) == len(targets) else f" in {_listed(enlarged)}"))
    return "; ".join([*parts, more] if more else parts)


def loss(about: dict[str, Any]) -> str:
    """What to call the language model's loss: "cross-entropy", with the head's origin where the model says it."""
    return "cross-entropy" + (f", {about['head']} head" if about["head"] else "")


def _listed(names: Sequence[str]) -> str:
    """One name, or "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
