"""What a language model knows of sequence, on the demo's own model, whose knowledge is planted."""

import numpy as np
import pytest

from lib.dna import planted
from lib.models import adapter
from lib.models import sequence as sq
from lib.models.language import shuffle_knowledge
from lib.stage import io


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    codes, _ = planted.mosaic(4096, planted.gut_immune_motifs(), np.random.default_rng(3))
    return [sq.decode(window) for window in codes.reshape(-1, 128)]


def gap(sequences, **options):
    model = adapter.load(io.ROOT / "tests/planted_model", **options.pop("load", {}))
    return shuffle_knowledge(model, sequences, 0, **options)


def test_a_model_that_knows_motifs_loses_more_on_shuffled_sequence(sequences):
    known = gap(sequences)
    (difference,) = known["gaps"].values()
    assert difference.low > 0.05 and difference.n == len(sequences) == known["losses"]["n_sequences"]
    assert known["losses"]["shuffled"] - known["losses"]["real"] == pytest.approx(difference.value)


def test_random_weights_and_a_shuffle_that_changes_nothing_show_no_knowledge(sequences):
    (untrained,) = gap(sequences, load={"random_init": True})["gaps"].values()
    assert untrained.high < 0.05
    (same,) = gap(sequences, shuffled=lambda texts, seed: list(texts))["gaps"].values()
    assert same.value == 0
