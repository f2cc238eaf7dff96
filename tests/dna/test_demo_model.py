"""The committed demo model: small, read correctly, and in knowledge of the motifs it was never told about."""

from pathlib import Path

import pytest

from lib.dna import knowledge, planted, pretrain
from lib.models import adapter, conformance
from lib.models import sequence as sq

FOLDER = Path(__file__).resolve().parents[2] / "params/demo/model"


@pytest.fixture(scope="module")
def model() -> adapter.Adapter:
    return adapter.load(FOLDER)


def test_it_is_small_and_of_the_class_that_the_command_trains(model):
    assert (FOLDER / "model.safetensors").stat().st_size <= 4 * 2**20
    assert model.identity["class"] == "EsmForMaskedLM"
    for key, value in pretrain.config().to_diff_dict().items():
        if key not in ("dtype", "transformers_version", "architectures"):
            assert getattr(model.model.config, key) == value, key


def test_it_passes_the_conformance_suite(model):
    import numpy as np

    codes = planted.background(300, np.random.default_rng(0))
    checks = conformance.check(model, [sq.decode(codes[:120]), sq.decode(codes[120:248])])
    assert checks.passed.all(), checks


def test_it_knows_the_motifs_and_a_random_twin_does_not(model):
    """Held-out sequence, 32 kb. The bars are the demo's: 0.30 nats below background, 0.20 below order-5 Markov."""
    known = knowledge.planted_knowledge(model, seed=123, n_bases=32_768, window_bp=128)
    known, gaps = known["losses"], known["gaps"]
    assert known["background"] - known["site"] >= 0.30
    assert known["markov_site"] - known["site"] >= 0.20
    assert known["two_sided_site"] > known["site"]
    assert all(g.low > 0 for g in gaps.values())
    twin = adapter.load(FOLDER, random_init=True)
    blank = knowledge.planted_knowledge(twin, seed=123, n_bases=8_192, window_bp=128)["losses"]
    assert blank["background"] - blank["site"] < 0.05
