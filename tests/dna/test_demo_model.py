"""The committed demo model: small, and read correctly. What it knows is asked in test_grammar."""

from pathlib import Path

import pytest

from lib.dna import planted, pretrain, pretrain_grammar
from lib.models import adapter, conformance
from lib.models import sequence as sq

FOLDER = Path(__file__).resolve().parents[2] / "params/demo/model"


@pytest.fixture(scope="module")
def model() -> adapter.Adapter:
    return adapter.load(FOLDER)


def test_it_is_small_and_of_the_class_that_the_command_trains(model):
    assert (FOLDER / "model.safetensors").stat().st_size <= 4 * 2**20
    assert model.identity["class"] == "EsmForMaskedLM"
    for key, value in pretrain.config(pretrain_grammar.CONTEXT).to_diff_dict().items():
        if key not in ("dtype", "transformers_version", "architectures"):
            assert getattr(model.model.config, key) == value, key


def test_it_passes_the_conformance_suite(model):
    import numpy as np

    codes = planted.background(300, np.random.default_rng(0))
    checks = conformance.check(model, [sq.decode(codes[:120]), sq.decode(codes[120:248])])
    assert checks.passed.all(), checks

