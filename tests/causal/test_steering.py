"""Steering: doses against the same push made by hand, and curves of known shape."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.causal import patching, steering
from lib.models import adapter as door
from tests import helpers
from tests.sae.test_sae import random_sae

FOLDER = Path(__file__).resolve().parents[2] / "tests/planted_model"
A, B = "resid_post.1", "resid_post.3"
D, D_SAE = 128, 40
TEXTS = [helpers.random_dna(n, n) for n in (40, 31, 52)]
W = np.random.default_rng(0).standard_normal(D).astype(np.float32)


@pytest.fixture(scope="module")
def demo():
    return door.load(FOLDER)


@pytest.fixture(scope="module")
def sae():
    return random_sae(d_in=D, d_sae=D_SAE, k=8)


@pytest.fixture(scope="module")
def clean(demo):
    return patching.run_clean(demo, TEXTS, A)


def steer(demo, sae, clean, site=B, latents=(3, 17), sd=None, **options):
    sd = np.full(D_SAE, 0.5) if sd is None else sd
    return steering.steer(demo, sae, clean, site, W, latents, sd, **({"n_controls": 2} | options))


def test_a_dose_equals_the_same_push_by_hand(demo, sae, clean):
    sd = np.linspace(1, 6, D_SAE)
    table = steer(demo, sae, clean, sd=sd, doses=(-3, 0, 6))
    ours = table[table.direction == "latent"].set_index(["latent", "eps", "unit"])
    limit = np.quantile(clean.acts.norm(dim=1).numpy(), 0.99)
    for latent in (3, 17):
        push = 6 * sd[latent] * sae.W_dec[latent].detach()
        for unit, text in enumerate(TEXTS):
            batch = demo.encode([text])
            x = demo.run(batch, [A])[A]
            with demo._hook(
                A, lambda h, batch=batch, push=push: h.index_put((batch.keep,), h[batch.keep] + push.float())
            ):
                y, q = demo.run(batch, [B])[B], demo.logits(batch)[batch.keep].log_softmax(-1)
            p = demo.logits(batch)[batch.keep].log_softmax(-1)
            row = ours.loc[(latent, 6.0, unit)]
            assert row.change == pytest.approx((y - demo.run(batch, [B])[B]).mean(0).numpy() @ W, rel=1e-4)
            assert (
                row.kl == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-2) and row.kl > 1e-4
            )
            assert row.norm == pytest.approx((x + push).norm(dim=1).median().item(), rel=1e-5)
            assert row.beyond == (row.norm > limit)
    still = table[table.eps == 0]
    assert still.change.abs().max() < 1e-5 and still.kl.abs().max() < 1e-6 and not still.beyond.any()


def test_a_probe_of_the_sae_site_answers_in_a_straight_line(demo, sae, clean):
    # score(eps) - score(0) = eps sd w . d/|d| there, whatever the unit
    table = steer(demo, sae, clean, site=A, doses=(-8, -2, 0, 4), n_controls=0)
    for row in table.itertuples():
        want = row.eps * 0.5 * (W @ sae.W_dec[row.latent].detach().numpy())
        assert row.change == pytest.approx(want, abs=1e-4)


def test_controls_have_the_norm_of_the_latents_push_and_other_directions(sae):
    with torch.no_grad():
        stretched = random_sae(d_in=D, d_sae=D_SAE, k=8)
        stretched.W_dec *= 3  # rows of any norm: the dose does not follow it
    vectors = steering.directions(stretched, 5, 39, torch.Generator().manual_seed(0))
    assert len(vectors) == 1 + 2 * 39
    for (kind, _), d in vectors.items():
        assert d.norm().item() == pytest.approx(1, abs=1e-5)
        assert kind == "latent" or (d - vectors["latent", 0]).norm() > 0.1
    dealt = torch.stack([d for (kind, _), d in vectors.items() if kind == "shuffled decoder"])
    assert torch.linalg.matrix_rank(dealt) == 39  # each other row once
    with pytest.raises(ValueError, match="fewer than the 40 latents"):
        steering.directions(sae, 5, 40, torch.Generator())


def test_the_table_is_whole_and_its_seed_is_kept(demo, sae, clean):
    first, again = (steer(demo, sae, clean, doses=(-2, 2), seed=s) for s in (1, 1))
    other = steer(demo, sae, clean, doses=(-2, 2), seed=2)
    pd.testing.assert_frame_equal(first, again)
    counts = first.groupby(["latent", "direction"]).size().unstack()
    assert (counts[["latent", "random", "shuffled decoder"]].to_numpy() == [6, 12, 12]).all()
    ours = first.direction == "latent"
    assert (first.change == other.change)[ours].all() and not (first.change == other.change)[~ours].all()
    parts = steer(demo, sae, clean, doses=(-2, 2), seed=1, token_budget=10)  # a unit at a time
    np.testing.assert_allclose(parts.change, first.change, rtol=1e-4, atol=1e-4)


def test_a_push_off_the_clean_norms_is_flagged(demo, sae, clean):
    size = clean.acts.norm(dim=1).quantile(0.99).item()
    table = steer(demo, sae, clean, sd=np.full(D_SAE, size), doses=(0, 0.01, 8), n_controls=0)
    assert table.groupby("eps").beyond.all().to_dict() == {0.0: False, 0.01: False, 8.0: True}


def test_bad_input_is_refused(demo, sae, clean):
    with pytest.raises(ValueError, match=r"latents \[17\] have no spread"):
        steer(demo, sae, clean, sd=np.where(np.arange(D_SAE) == 17, 0, 1.0))
    with pytest.raises(ValueError, match="before"):
        steer(demo, sae, clean, site="resid_post.0")


def test_latent_sd_counts_silent_tokens(sae, clean):
    f = sae.encode(clean.acts).detach().numpy()
    np.testing.assert_allclose(
        steering.latent_sd(sae, clean), np.sqrt((f**2).mean(0) - f.mean(0) ** 2), rtol=1e-3, atol=1e-3
    )


def curve(function, doses=steering.DOSES, beyond=8.5, units=(1.0, 3.0)):
    """A table as `steer` gives it, in which a unit's change is its size times function(eps)."""
    return pd.DataFrame([
        {"latent": 0, "direction": "latent", "draw": 0, "eps": float(e), "unit": u, "change": size * function(e),
         "kl": abs(e) / 10, "norm": 1.0, "beyond": abs(e) > beyond}
        for u, size in enumerate(units) for e in doses
    ])  # fmt: skip


def test_summary_of_curves_by_hand():
    line = steering.summarise(curve(lambda e: 0.5 * e)).iloc[0]  # units of slope 0.5 and 1.5
    assert (line.slope, line.slope_low, line.slope_high) == pytest.approx((1.0, 0.5, 1.5))
    assert (line.spearman, line.saturation, line.kl) == pytest.approx((1.0, 0.0, 0.8))
    # flat from 2 on: 2 units of change over 4 sd in the middle, over 16 sd outside, so 1/4 of the slope is left
    step = steering.summarise(curve(lambda e: -np.clip(e, -2, 2))).iloc[0]
    assert step.saturation == pytest.approx(0.75) and step.slope < 0 and step.spearman < -0.9
    bump = steering.summarise(curve(lambda e: e**2)).iloc[0]
    assert bump.slope == pytest.approx(0, abs=1e-9) and bump.spearman == pytest.approx(0, abs=1e-9)


def test_summary_stops_where_doses_are_beyond():
    whole = curve(lambda e: e if abs(e) <= 4 else 100 * e, beyond=4.5)
    row = steering.summarise(whole).iloc[0]
    assert (row.n_doses, row.eps_low, row.eps_high) == (5, -4, 4)
    assert row.slope == pytest.approx(2.0) and row.saturation == pytest.approx(0)
    none = steering.summarise(curve(lambda e: e, beyond=1)).iloc[0]
    assert none.n_doses == 1 and none.drop(["latent", "direction", "draw", "n_doses"]).isna().all()


def test_a_latent_is_over_its_controls_when_steeper_than_all():
    slopes = [(1, "latent", -3.0), (1, "random", 2.0), (1, "shuffled decoder", -2.5), (2, "latent", 1.0), (2, "random", 2.0),
              (3, "latent", np.nan), (3, "random", 1.0)]  # fmt: skip
    table = steering.against_controls(pd.DataFrame(slopes, columns=["latent", "direction", "slope"]))
    assert table.set_index("latent").over.to_dict() == {1: True, 2: False, 3: False}


def test_no_latent_to_steer_is_an_empty_answer(demo, sae, clean):
    doses = steer(demo, sae, clean, latents=())
    assert len(doses) == 0 and {"latent", "eps", "kl", "beyond"} <= set(doses)
    response = steering.summarise(doses)
    assert "slope" in response and len(steering.against_controls(response)) == 0


def test_without_a_head_scores_are_the_same_and_collateral_is_unknown(demo, sae, clean, monkeypatch):
    whole = steer(demo, sae, clean, latents=(3,))
    monkeypatch.setattr(demo.model, "head_missing", ["lm_head.weight"])
    headless = steer(demo, sae, clean, latents=(3,))
    np.testing.assert_allclose(headless.change, whole.change, rtol=1e-3, atol=1e-4)  # float32: the head chooses another kernel
    assert headless.kl.isna().all() and whole.kl.notna().all()
