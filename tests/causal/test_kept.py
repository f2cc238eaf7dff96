"""What is kept comes back to the bit: another notebook may not fit, or round, again."""

import numpy as np
import pytest

from lib.causal import ablation, kept
from lib.outcome import probe, validate
from lib.outcome.metrics import BINARY, CLASS
from tests.subjects import people, targets


@pytest.fixture(params=[None, "families", "classes"])
def whole(request):
    rng, n = np.random.default_rng(0), 60
    metric = CLASS if request.param == "classes" else BINARY
    X, y = targets(CLASS, n, 6) if metric is CLASS else people(n, 6, strength=2.0)
    groups = np.array([f"family {i // 2}" for i in range(n)], dtype=object) if request.param == "families" else None
    run = validate.repeated(X, y, groups, 3, 2, [0.1, 1.0], 0, metric)
    final = probe.fit(X, y, 0.1, metric)
    moved = rng.standard_normal((n, 2, 5)).astype(np.float32) * (rng.random((n, 2, 5)) < 0.2)
    return kept.Kept("resid_post.1", moved, groups, {"scale 3": kept.Arm(y, run, final), "a.b - c": kept.Arm(1 - y, run, final)})


def same(a, b):
    return np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")


def test_all_comes_back_to_the_bit(whole, tmp_path):
    kept.write(tmp_path / "kept.h5", whole)
    again = kept.read(tmp_path / "kept.h5")
    assert again.site == whole.site and list(again.arms) == list(whole.arms)  # not in the order of the alphabet
    assert same(again.moved, whole.moved) and again.moved.dtype == np.float32
    assert again.groups is None if whole.groups is None else list(again.groups) == list(whole.groups)
    for name, arm in whole.arms.items():
        other = again.arms[name]
        assert same(arm.y, other.y)
        for part in ("score", "folds", "fold_auroc", "inner_auroc", "log_odds", "inner_log_odds"):
            assert same(getattr(arm.run, part), getattr(other.run, part)), part
        assert [len(repeat) for repeat in other.run.probes] == [3, 3]
        one, two = ([a.final, *(probe for repeat in a.run.probes for probe in repeat)] for a in (arm, other))
        assert all(same(a.coef, b.coef) and same(a.intercept, b.intercept) and a.C == b.C for a, b in zip(one, two, strict=True))


def test_what_is_computed_from_it_is_the_same(whole, tmp_path):
    kept.write(tmp_path / "kept.h5", whole)
    again = kept.read(tmp_path / "kept.h5")
    decoder = np.random.default_rng(1).standard_normal((5, 3))
    runs = [(k.moved, k.arms["a.b - c"].run) for k in (whole, again)]
    changes = [ablation.repeated_change(moved, decoder, run.probes, run.folds) for moved, run in runs]
    assert np.array_equal(*changes) and np.abs(changes[0]).max() > 0


def test_the_file_is_the_same_to_the_byte(whole, tmp_path):
    for name in ("a.h5", "b.h5"):
        kept.write(tmp_path / name, whole)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
