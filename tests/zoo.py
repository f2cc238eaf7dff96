"""A tiny seeded model of every family, as a folder that the one door loads. One line here and a family is tested."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests import helpers


@dataclass(frozen=True)
class Kind:
    """save(folder, seed) writes a model folder and gives it back; records: at least three of unlike length."""

    save: Callable[..., Path]
    records: list


DNA = [
    helpers.random_dna(60, 1, n_at=(10, 11, 40)),
    helpers.random_dna(90, 2),
    helpers.random_dna(73, 3, n_at=(0, 72)),
]

ZOO = {kind: Kind(partial(helpers.save_model, kind), DNA) for kind in helpers.KINDS}
