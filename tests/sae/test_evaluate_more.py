"""Zero ablation beside mean ablation, decoder coherence, and architectures side by side at one L0."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from lib.figures import style
from lib.sae import evaluate
from tests import helpers

SITE = "resid_post.1"


@pytest.fixture(scope="module", params=["esm_bases", "llama"])
def losses(request, tmp_path_factory):
    """Per-unit losses of a tiny masked and a tiny causal model."""
    adapter = helpers.tiny(request.param, tmp_path_factory.mktemp(request.param))
    sequences = [helpers.random_dna(60, s, n_at=(5,)) for s in range(4)]
    rebuilt = {
        "perfect": lambda x: x,
        "zeros": lambda x: 0 * x,
        "half": lambda x: 0.5 * x,
        "mean": lambda x: x.mean(0, keepdim=True).expand_as(x),  # one batch holds all the tokens
    }
    return evaluate.unit_losses(rebuilt, adapter, SITE, sequences)


def test_zero_ablation_is_the_loss_with_zeros(losses):
    assert list(losses)[:4] == ["n_tokens", "original", "mean ablated", "zero ablated"]
    np.testing.assert_allclose(losses["zero ablated"], losses["zeros"], rtol=1e-6)
    np.testing.assert_allclose(losses["mean ablated"], losses["mean"], rtol=1e-4)
    assert (losses["zero ablated"] - losses["mean ablated"]).abs().max() > 0.05  # two different baselines


def test_loss_recovered_names_its_ablation(losses):
    for ablation, worst in (("mean", "mean"), ("zero", "zeros")):
        for name, value in (("perfect", 1), (worst, 0)):
            e = evaluate.loss_recovered(losses, name, 20, ablation=ablation)
            assert e.value == pytest.approx(value, abs=1e-3)
    total = losses.sum()
    by_hand = (total["zero ablated"] - total["half"]) / (total["zero ablated"] - total["original"])
    assert evaluate.loss_recovered(losses, "half", 20, ablation="zero").value == pytest.approx(by_hand)
    default = evaluate.loss_recovered(losses, "half", 20)
    assert default == evaluate.loss_recovered(losses, "half", 20, ablation="mean")
    assert abs(default.value - by_hand) > 1e-3
    with pytest.raises(ValueError, match="'median': wanted mean or zero"):
        evaluate.loss_recovered(losses, "half", ablation="median")


def test_coherence_by_hand():
    # 0 and 1: cosine 0.6; 2 is the negative of 1, so 0 is at -0.6 to it; 3 is orthogonal to all; 4 is empty
    rows = torch.tensor([[2.0, 0, 0], [0.6, 0.8, 0], [-6, -8, 0], [0, 0, 0.1], [0, 0, 0]])
    assert evaluate.coherence(rows.double()).tolist() == pytest.approx([0.6, 1, 1, 0, 0])


@pytest.mark.parametrize("chunk", [1, 7, 50, 256])
def test_coherence_is_the_same_in_chunks(chunk):
    rows = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = rows / rows.norm(dim=1, keepdim=True)
    cosine = (rows @ rows.T).abs()
    expected = cosine.masked_fill(torch.eye(50, dtype=torch.bool), 0).max(1).values
    torch.testing.assert_close(evaluate.coherence(rows, chunk), expected)
    assert (expected < 1).all() and (expected > 0.5).all()


def test_coherence_holds_one_block_at_a_time():
    """The largest tensor made is a block of cosines or a copy of the rows, never [d_sae, d_sae]."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                self.size = max(self.size, tensor.numel() if torch.is_tensor(tensor) else 0)
            return out

    with Largest() as seen:
        evaluate.coherence(torch.randn(2048, 8), chunk=16)
    assert seen.size == 2048 * 16


# Architectures at one L0 ------------------------------------------------------------------------------------


def swept(*runs) -> pd.DataFrame:
    """A sweep from (run, architecture, d_sae, L0, explained variance), intervals 0.01 down and 0.02 up."""
    table = pd.DataFrame(runs, columns=["run", "architecture", "d_sae", "l0", "explained_variance"])
    return table.assign(low=table["explained_variance"] - 0.01, high=table["explained_variance"] + 0.02)


def at(table, target) -> dict:
    """The single row for one architecture and target."""
    (row,) = evaluate.matched_l0(table, [target]).to_dict("records")
    return row


def test_matched_l0_interpolates_in_log_l0():
    # 16 is halfway from 8 to 32 in log L0: 0.85, where halfway in L0 itself would be 20, and 16 would give 0.8333
    row = at(swept(("b", "gated", 64, 32.0, 0.9), ("a", "gated", 64, 8.0, 0.8)), 16)
    assert row["explained_variance"] == pytest.approx(0.85) and row["l0"] == row["target_l0"] == 16
    assert (row["low"], row["high"]) == pytest.approx((0.84, 0.87))
    assert (row["how"], row["runs"]) == ("interpolated", "a; b")


def test_matched_l0_reads_the_two_nearest_of_one_architecture_and_width():
    table = swept(("far", "gated", 64, 2.0, 0.1), ("a", "gated", 64, 8.0, 0.8), ("b", "gated", 64, 32.0, 0.9),
                  ("farther", "gated", 64, 64.0, 0.99), ("other", "standard", 64, 15.0, 0.3),
                  ("wide", "gated", 128, 17.0, 0.95))  # fmt: skip
    matched = evaluate.matched_l0(table, [16, 30])
    assert matched[["architecture", "d_sae", "target_l0"]].to_numpy().tolist() == [
        [a, d, t] for a, d in (("gated", 64), ("standard", 64), ("gated", 128)) for t in (16, 30)]  # fmt: skip
    assert matched["runs"].tolist() == ["a; b", "a; b", "other", "", "wide", ""]
    # one run at 15, 6.25 % off, and one at 17: each stands for 16, at its own L0, but not for 30
    assert matched["how"].tolist() == ["interpolated", "interpolated", "nearest", "missing", "nearest", "missing"]
    assert matched["l0"].tolist()[2] == 15 and matched["explained_variance"].tolist()[2] == 0.3


@pytest.mark.parametrize("l0, how", [(14.5, "nearest"), (14.3, "missing"), (17.5, "nearest"), (17.7, "missing"), (16.0, "exact")])
def test_matched_l0_never_extrapolates(l0, how):
    below = l0 < 16
    table = swept(("near", "topk", 64, l0, 0.7), ("far", "topk", 64, 4.0 if below else 40.0, 0.9))
    row = at(table, 16)
    assert row["how"] == how
    if how == "missing":
        assert row["runs"] == "" and np.isnan([row[c] for c in ("explained_variance", "low", "high", "l0")]).all()
    else:
        assert (row["runs"], row["l0"], row["explained_variance"]) == ("near", l0, 0.7)


def test_matched_l0_reads_a_run_at_the_target_alone():
    row = at(swept(("a", "topk", 64, 8.0, 0.5), ("b", "topk", 64, 16.0, 0.7), ("c", "topk", 64, 17.0, 0.9)), 16)
    assert (row["how"], row["runs"], row["explained_variance"]) == ("exact", "b", 0.7)


def test_matched_l0_refuses_what_has_no_logarithm():
    table = swept(("a", "topk", 64, 0.0, 0.5))
    with pytest.raises(ValueError, match="an L0 is not above 0: targets .16., runs .0.0."):
        evaluate.matched_l0(table, [16])
    with pytest.raises(ValueError, match="an L0 is not above 0"):
        evaluate.matched_l0(table.assign(l0=3.0), [0])
    with pytest.raises(ValueError, match="an L0 is not above 0"):
        evaluate.matched_l0(table.assign(l0=np.nan), [16])
    with pytest.raises(ValueError, match="no column low: found run, "):
        evaluate.matched_l0(table.drop(columns="low"), [16])


# Their colours ----------------------------------------------------------------------------------------------

#: What dichromats see of linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])


def linear(colour) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb) -> np.ndarray:
    """CIELAB under D65 of linear RGB."""
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other) -> float:
    """The smallest CIELAB distance of two colours over kinds of vision."""
    return min(np.linalg.norm(lab(m @ linear(one)) - lab(m @ linear(other))) for m in map(np.array, VISION.values()))


def test_architectures_have_colours_that_are_seen_and_told_apart():
    colours = {name: style.COLOURS[name] for name in style.NAMES}
    for name, colour in colours.items():
        contrast = 1.05 / (TO_XYZ[1] @ linear(colour) + 0.05)
        assert contrast > 2, f"{name}: contrast {contrast:.1f} with white"
    for one, other in itertools.combinations(colours, 2):
        assert apart(colours[one], colours[other]) > 15, (one, other)
    for control in ("PCA", "random dictionary", "random twin"):
        assert apart(colours["matryoshka"], style.COLOURS[control]) > 15, control
    assert len({style.MARKERS[name] for name in style.NAMES}) == len(style.NAMES)
