"""Training in other coordinates: a folded dictionary gives raw activations what the unfolded one gives their coordinates."""

import numpy as np
import pytest
import torch

from benchmarks import whiten
from lib.sae.model import SAE, SAEConfig

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((4000, 12)) * np.geomspace(10, 0.1, 12) @ np.linalg.qr(RNG.standard_normal((12, 12)))[0] + 3).astype(np.float32)
ROWS = np.arange(3000)


def test_power_one_whitens_and_power_zero_only_turns():
    white, plain = (whiten.fitted(X, ROWS, 12, power, 0).of(X[ROWS]) for power in (1.0, 0.0))
    np.testing.assert_allclose(np.cov(white.T), np.eye(12), atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), np.linalg.norm(X[ROWS] - X[ROWS].mean(0), axis=1), rtol=1e-3)


def test_coordinates_lead_back_but_for_the_components_left_out():
    to = whiten.fitted(X, ROWS, 12, 0.5, 0)
    np.testing.assert_allclose(to.of(X) @ to.back + to.centre, X, atol=1e-3)
    few = whiten.fitted(X, ROWS, 4, 0.5, 0)
    left = X - (few.of(X) @ few.back + few.centre)
    assert 0 < np.square(left).sum() < 0.1 * np.square(X - X.mean(0)).sum() and few.into.shape == (12, 4)


def test_batches_are_turned_one_by_one():
    to = whiten.fitted(X, ROWS, 4, 1.0, 0)
    got = whiten.turned(lambda step: iter([X[step : step + 2], X[:1]]), to)(3)
    np.testing.assert_allclose(next(got), to.of(X[3:5]))
    assert next(got).shape == (1, 4)


@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu"])
@pytest.mark.parametrize("components", [12, 5])
def test_a_folded_dictionary_rebuilds_the_same_from_raw_activations(architecture, components):
    to = whiten.fitted(X, ROWS, components, 1.0, 0)
    sae = SAE(SAEConfig(architecture, components, 30), seed=1)
    with torch.no_grad():
        for name, p in sae.named_parameters():
            if name != "W_dec":
                p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).abs())
    z, x = torch.from_numpy(to.of(X[:200])), torch.from_numpy(X[:200])
    raw = whiten.folded(sae, to)
    (z_hat, of_z), (x_hat, of_x) = sae(z), raw(x)
    back, centre = torch.from_numpy(to.back).float(), torch.from_numpy(to.centre).float()
    torch.testing.assert_close(x_hat, z_hat @ back + centre, atol=2e-3, rtol=1e-3)
    assert ((of_x > 0) == (of_z > 0)).float().mean() > 0.999 and 0 < (of_z > 0).float().mean() < 1
    torch.testing.assert_close(raw.W_dec.norm(dim=1), torch.ones(30))


def test_what_cannot_be_folded_or_fitted_is_refused():
    with pytest.raises(ValueError, match="topk does not survive"):
        whiten.folded(SAE(SAEConfig("topk", 12, 30, 3)), whiten.fitted(X, ROWS, 12, 1.0, 0))
    flat = np.hstack([X, np.ones((len(X), 1), np.float32)])
    with pytest.raises(ValueError, match="1 of 13 components hold no variance: wanted at most 12"):
        whiten.fitted(flat, ROWS, 13, 1.0, 0)
    with pytest.raises(ValueError, match="components 13: wanted"):
        whiten.fitted(X, ROWS, 13, 1.0, 0)
    with pytest.raises(ValueError, match="power 2"):
        whiten.fitted(X, ROWS, 4, 2.0, 0)
