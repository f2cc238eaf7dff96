"""Sites that params name by a word, `all` or `top5`: which they are."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from lib.stage import io

ALL, TOP5 = "all", "top5"
BLOCKS = "resid_post."  # what names of a block's residual output begin with


def is_word(given: str | Sequence[str], word: str) -> bool:
    """Whether a parameter is this word: papermill passes it as it stands, the runner as a list of one."""
    return ([given] if isinstance(given, str) else list(given)) == [word]


def stored(given: str | Sequence[str], known: Sequence[str]) -> list[str]:
    """The sites that 01 reads: those given, or of `all` the residual stream after every block.

    known: names of the model's sites, in the order of a forward. Raises TypeError for another bare text.
    """
    if is_word(given, ALL):
        return [site for site in known if site.startswith(BLOCKS)]
    return _listed(given, ALL)


def trained(given: str | Sequence[str], stored: Sequence[str], sae_site: str, top: Sequence[str]) -> list[str]:
    """The sites where 03 trains its chosen run: those given; of `all` every stored block; of `top5` the five best layers of 02.

    By either word the dictionary's own site is among them, and they stand in the order of `stored`.
    stored: sites of the store; top: of `hunted`, best first. Raises TypeError for another bare text.
    """
    if is_word(given, ALL):
        return [site for site in stored if site.startswith(BLOCKS) or site == sae_site]
    if is_word(given, TOP5):
        return [site for site in stored if site in top[:5] or site == sae_site]
    return _listed(given, f"{ALL} or {TOP5}")


def hunted(study: str) -> tuple[str, list[str]]:
    """The best block and the top layers, best first, that 02 has for its first target. Raises FileNotFoundError without 02."""
    file = io.stage_path(study, "02_layer_hunting", "layer_hunting_results.yaml")
    first = next(iter(yaml.safe_load(file.read_text()).values()))
    return first["best_block"], [layer["predictor"] for layer in first["top_layers"]]


def _listed(given: str | Sequence[str], words: str) -> list[str]:
    if isinstance(given, str):
        raise TypeError(f"sites are {given!r}, wanted a list of names, or {words}")
    return list(given)
