"""What a study is, in words for its figures: simulated or not, enlarged or not, a refitted head or the model's own.

01 and 02 write what they know (study.json, arms.json); figures say it. Nothing is said by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lib.stage.inputs import SIMULATED

REFIT_REPORT = "refit_report.json"  # lies beside the weights of a model whose language-model head was fitted anew


def of_data(genome_path: str, vcf_path: str, model_folder: Path) -> dict[str, bool | str]:
    """What 01 knows: whether it simulated genome and cohort, and "refitted" or "" for the language-model head.

    A model says that its head was refitted by a REFIT_REPORT in its folder. Without one nothing is said of its head.
    """
    return {
        "genome": genome_path.startswith(SIMULATED),
        "cohort": vcf_path.startswith(SIMULATED),
        "head": "refitted" if (model_folder / REFIT_REPORT).is_file() else "",
    }


def of_arms(
    arms: Sequence[str], kinds: Sequence[str], scales: Sequence[float], phenotype_path: str
) -> dict[str, dict[str, bool]]:
    """What 02 knows of each phenotype: simulated, and with effects enlarged beyond published ones.

    The phenotype that 01 simulates has enlarged effects; a table of the user's is not simulated here. Otherwise it is
    simulated from published effects, enlarged where these are multiplied by more than 1.
    """
    if phenotype_path:
        made = phenotype_path.startswith(SIMULATED)
        return {arm: {"simulated": made, "enlarged": made} for arm in arms}
    return {
        arm: {"simulated": True, "enlarged": kind in ("additive", "nod2") and scale > 1}
        for arm, kind, scale in zip(arms, kinds, scales, strict=True)
    }


def text(data: dict[str, bool | str], arms: dict[str, dict[str, bool]], more: str = "") -> str:
    """The line under every figure, such as "simulated genome, cohort and phenotype; effects enlarged".

    data: from `of_data`; arms: from `of_arms`; more: what the study's owner adds. "From files" is what was not
    simulated here: what a file holds, the study cannot know.
    """
    made = {"genome": data["genome"], "cohort": data["cohort"], "phenotype": any(a["simulated"] for a in arms.values())}
    parts = []
    if given := [name for name, simulated in made.items() if not simulated]:
        parts.append(f"{_listed(given)} from files")
    if simulated := [name for name, is_made in made.items() if is_made]:
        parts.append(f"simulated {_listed(simulated)}")
    if enlarged := [arm for arm, a in arms.items() if a["enlarged"]]:
        parts.append("effects enlarged" + ("" if len(enlarged) == len(arms) else f" in {_listed(enlarged)}"))
    return "; ".join([*parts, more] if more else parts)


def loss(data: dict[str, bool | str]) -> str:
    """What to call the language model's loss: "cross-entropy", with the head's origin where the model says it."""
    return "cross-entropy" + (f", {data['head']} head" if data["head"] else "")


def _listed(names: Sequence[str]) -> str:
    """One name, or "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
