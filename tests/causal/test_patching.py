"""Patching: the restarted forward against the whole one, exact changes against the closed form and hooks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.acts import counterparts
from lib.causal import ablation, patching
from lib.models import adapter as door
from tests import helpers
from tests.sae.test_sae import random_sae
from tests.zoo import ZOO

FOLDER = Path(__file__).resolve().parents[2] / "tests/planted_model"
A, B = "resid_post.1", "resid_post.3"
D, D_SAE = 128, 40


@pytest.fixture(scope="module")
def demo():
    return door.load(FOLDER)


@pytest.fixture(scope="module")
def sae():
    return random_sae(d_in=D, d_sae=D_SAE, k=8)


def haplotypes():
    """Two windows of three haplotypes, the first of each the reference; substitutions, and one deletion of two bases."""
    texts = []
    for window, length in enumerate((40, 52)):
        reference = helpers.random_dna(length, window)
        change = {"A": "C", "C": "G", "G": "T", "T": "A"}
        texts += [
            reference,
            reference[:9] + change[reference[9]] + reference[10:],
            reference[:20] + reference[22:],
        ]
    return texts


def tables(clean):
    """The token and unit tables of `haplotypes`, as the store keeps them."""
    unit = np.repeat(np.arange(6), np.diff(clean.first))
    start = np.concatenate([e.start[e.keep] for e in clean.encoded])
    deleted = (unit % 3 == 2) & (start >= 20)
    units = pd.DataFrame(
        {"unit": range(6), "window": [0, 0, 0, 1, 1, 1], "is_reference": [True, False, False] * 2}
    )
    return {"unit": unit, "ref_start": start + 2 * deleted}, units


@pytest.fixture(scope="module")
def cohort(demo, sae):
    clean = patching.run_clean(demo, haplotypes(), A)
    tokens, units = tables(clean)
    targets = {
        "reference": patching.reference_target(tokens, units),
        "resample": patching.resample_target(tokens, units, seed=0),
        "zero": patching.zero_target(sae),
        "mean": patching.mean_target(sae, clean.acts),
    }
    return clean, tokens, units, targets


def direction(seed=0, n=None):
    return np.random.default_rng(seed).standard_normal((n, D) if n else D).astype(np.float32)


def relative(actual, wanted):
    return ((actual - wanted).abs().max() / wanted.square().mean().sqrt()).item()


@pytest.mark.parametrize("site", ["embed", "resid_post.0", A, B])
def test_a_restarted_forward_equals_the_whole_one(demo, site):
    batch = demo.encode(haplotypes())
    with torch.no_grad():
        whole = demo.run_grid(batch, list({site, B, "final"}))
        for later in (B, "final"):
            restarted = patching.downstream(demo, batch, whole[site], site, later)
            assert relative(restarted[batch.keep], whole[later][batch.keep]) < 1e-5
        with demo.restart(site, whole[site]):
            logits = demo.logits(batch)
    assert relative(logits[batch.keep], demo.logits(batch)[batch.keep]) < 1e-5


@pytest.mark.parametrize("kind", list(ZOO))
def test_every_family_restarts_from_each_block(kind, tmp_path):
    adapter = door.load(ZOO[kind].save(tmp_path / "model"))
    batch = adapter.encode(ZOO[kind].records)
    stream = [s.name for s in adapter.sites() if s.name == "embed" or s.name.startswith("resid_post.")]
    with torch.no_grad():
        whole = adapter.run_grid(batch, stream)
        for k, site in enumerate(stream):
            restarted = patching.downstream(adapter, batch, whole[site], site, stream[-1])
            assert relative(restarted[batch.keep], whole[stream[-1]][batch.keep]) < 1e-4, site
            if k + 1 < len(stream):  # and what stands at the site is what is read
                moved = patching.downstream(adapter, batch, whole[site] * 2, site, stream[k + 1])
                assert relative(moved[batch.keep], whole[stream[k + 1]][batch.keep]) > 1e-3, site


def test_a_restart_skips_the_blocks_before_and_leaves_nothing_behind(demo):
    batch, ran = demo.encode(haplotypes()), []
    with torch.no_grad():
        x = demo.run_grid(batch, [A])[A]
        before = demo.run_grid(batch, [B])[B]
        handles = [
            b.attention.register_forward_hook(lambda *_, k=k: ran.append(k))
            for k, b in enumerate(demo.blocks)
        ]
        patching.downstream(demo, batch, x, A, B)
        for handle in handles:
            handle.remove()
        assert ran == [2, 3]
        with pytest.raises(RuntimeError, match="on purpose"), demo.restart(A, x):
            raise RuntimeError("on purpose")
        assert torch.equal(demo.run_grid(batch, [B])[B], before)


def test_sites_that_cannot_be_restarted_from_are_refused(demo):
    batch = demo.encode(haplotypes())
    x = demo.run_grid(batch, [A])[A]
    with pytest.raises(ValueError, match="mlp_out.1.*resid_post"):
        patching.downstream(demo, batch, x, "mlp_out.1", B)
    with pytest.raises(ValueError, match="before"):
        patching.downstream(demo, batch, x, B, A)


@pytest.mark.parametrize("mode", ["reference", "zero"])
def test_a_probe_of_the_sae_site_gives_the_closed_form(demo, sae, cohort, mode):
    clean, tokens, units, targets = cohort
    w = direction(n=6)
    actual = patching.exact_change(demo, sae, clean, A, w, np.arange(D_SAE), targets[mode])
    acts, counterpart = clean.acts.numpy(), counterparts.aligned(tokens, units)
    pooled = -ablation.pooled_latents(sae, acts, tokens["unit"])
    if mode == "reference":
        pooled += ablation.pooled_latents(sae, acts[counterpart], tokens["unit"])
    wanted = pooled * (w @ sae.W_dec.detach().numpy().T)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(actual, wanted, atol=1e-4)


@pytest.mark.parametrize("mode", ["reference", "resample", "zero", "mean"])
def test_exact_change_equals_a_hooked_whole_forward_on_each_unit_alone(demo, sae, cohort, mode):
    clean, _, _, targets = cohort
    w, latents, chosen, target = direction(), np.array([3, 17, 5, 30]), np.array([5, 1, 3]), targets[mode]
    exact = patching.exact_change(demo, sae, clean, B, w, latents, target, chosen, token_budget=120)
    f, first = sae.encode(clean.acts).detach(), clean.first
    goal = f[torch.from_numpy(target.row)] if target.row is not None else target.latents.expand_as(f)
    for r, unit in enumerate(chosen):
        rows, batch = slice(first[unit], first[unit + 1]), demo.encode([haplotypes()[unit]])
        for c, latent in enumerate(latents):
            edit = (goal - f)[rows, latent, None] * sae.W_dec[latent].detach()
            with demo._hook(
                A, lambda x, edit=edit, batch=batch: x.index_put((batch.keep,), x[batch.keep] + edit)
            ):
                y = demo.run(batch, [B])[B]
            change = y.mean(0) - demo.run(batch, [B])[B].mean(0)
            assert exact[r, c] == pytest.approx((change.numpy() @ w).item(), abs=1e-4)
    assert np.abs(exact).max() > 1e-2


def test_a_patch_that_moves_nothing_changes_nothing(demo, sae, cohort):
    clean, tokens, _, targets = cohort
    still = patching.Target(np.arange(len(tokens["unit"])))
    assert (patching.exact_change(demo, sae, clean, B, direction(), np.arange(9), still) == 0).all()
    given, error = patching.attribution_change(demo, sae, clean, B, direction(), still)
    assert np.abs(given).max() == 0 and np.abs(error).max() < 1e-5
    exact = patching.exact_change(demo, sae, clean, B, direction(), np.arange(D_SAE), targets["reference"])
    assert (exact[[0, 3]] == 0).all() and (exact[[1, 2, 4, 5]] != 0).any(1).all()  # references do not move


def test_resampling_takes_another_unit_of_the_window_and_the_token_over_the_same_base(cohort):
    _, tokens, units, targets = cohort
    row, unit, start = targets["resample"].row, tokens["unit"], tokens["ref_start"]
    assert (unit[row] != unit).all() and (unit[row] // 3 == unit // 3).all()
    lost = (unit[row] % 3 == 2) & np.isin(start, [20, 21])  # bases that the other unit lacks
    assert (start[row] == start)[~lost].all() and (start[row][lost] == 19).all()
    with pytest.raises(ValueError, match="window 1 has one unit"):
        patching.resample_target({k: v[unit < 4] for k, v in tokens.items()}, units[:4], seed=0)


def test_constant_targets_stand_for_the_mean_activation_and_for_the_bias(sae, cohort):
    clean, _, _, targets = cohort
    at = {m: (sae.decode(targets[m].latents[None])[0] + targets[m].error).detach() for m in ("mean", "zero")}
    torch.testing.assert_close(at["mean"], clean.acts.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at["zero"], sae.b_dec.detach())


@pytest.mark.parametrize("mode", ["reference", "mean"])
def test_attribution_of_latents_and_error_adds_up_to_the_change_of_the_score(demo, sae, cohort, mode):
    """Patching all latents and the error makes x* of x, whatever the model does between."""
    clean, tokens, _, targets = cohort
    w, target = direction(), targets[mode]
    given, error = patching.attribution_change(demo, sae, clean, B, w, target, np.array([1, 5]), n_steps=100)
    assert given.shape == (2, D_SAE) and error.shape == (2,)
    with torch.no_grad():
        f = sae.encode(clean.acts)
        x_to = (
            clean.acts[target.row]
            if target.row is not None
            else sae.decode(target.latents.expand_as(f)) + target.error
        )
        batch = demo.encode(haplotypes())
        x = demo.run_grid(batch, [A])[A]
        before = patching.downstream(demo, batch, x, A, B)[batch.keep]
        x[batch.keep] = x_to
        after = patching.downstream(demo, batch, x, A, B)[batch.keep]
    change = (after - before).numpy() @ w
    wanted = (np.bincount(tokens["unit"], change) / np.diff(clean.first))[[1, 5]]
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(given.sum(1) + error, wanted, atol=0.03 * np.abs(wanted).max())


def test_attribution_to_a_probe_of_the_sae_site_is_exact(demo, sae, cohort):
    # the score is linear there, so the gradient is the change, at any number of steps
    clean, _, _, targets = cohort
    exact = patching.exact_change(demo, sae, clean, A, direction(), np.arange(D_SAE), targets["zero"])
    for n_steps in (1, 10):
        given, _ = patching.attribution_change(
            demo, sae, clean, A, direction(), targets["zero"], n_steps=n_steps
        )
        np.testing.assert_allclose(given, exact, atol=1e-4)


def test_one_step_is_the_gradient_at_the_clean_run(demo, sae, cohort):
    """By autograd through decode(f) + e of one unit, where the latents are leaves."""
    clean, _, _, targets = cohort
    w = direction()
    given, error = patching.attribution_change(
        demo, sae, clean, B, w, targets["mean"], np.array([4]), n_steps=1
    )
    batch, x = demo.encode([haplotypes()[4]]), clean.grids[4][None].clone()
    f = sae.encode(x[batch.keep]).detach()
    e = (x[batch.keep] - sae.decode(f)).detach()
    f, e = f.requires_grad_(), e.requires_grad_()
    moved = x.index_put((batch.keep,), sae.decode(f) + e)
    score = patching.downstream(demo, batch, moved, A, B)[batch.keep].mean(0) @ torch.from_numpy(w)
    for_f, for_e = torch.autograd.grad(score, [f, e])
    np.testing.assert_allclose(
        given[0], ((targets["mean"].latents - f) * for_f).sum(0).detach(), rtol=1e-4, atol=1e-4
    )
    assert error[0] == pytest.approx(((targets["mean"].error - e) * for_e).sum().item(), rel=1e-4)


def test_batches_do_not_change_the_answer(demo, sae, cohort):
    clean, _, _, targets = cohort
    for function, options in (
        (patching.exact_change, {"latents": np.arange(6)}),
        (patching.attribution_change, {}),
    ):
        many, few = (
            function(
                demo, sae, clean, B, direction(n=6), target=targets["reference"], token_budget=b, **options
            )
            for b in (60, 8192)
        )
        for a, b in zip(np.atleast_2d(*many), np.atleast_2d(*few)):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_shapes_that_do_not_fit_are_refused(demo, sae, cohort):
    clean, _, _, targets = cohort
    with pytest.raises(ValueError, match=r"\(127,\): wanted \(128,\)"):
        patching.exact_change(demo, sae, clean, B, np.zeros(127), np.arange(3), targets["zero"])
    for function, more in ((patching.exact_change, (np.arange(3),)), (patching.attribution_change, ())):
        with pytest.raises(ValueError, match="3 rows"):
            function(demo, sae, clean, B, direction(), *more, patching.Target(np.arange(3)))


def test_top_latents_by_hand():
    attributed = np.array([[1.0, 0.0, -4.0, 0.5, 2.0], [1.0, 0.0, -2.0, 0.5, -2.0]])
    assert patching.top_latents(attributed).tolist() == [2, 0, 3]  # 1 never moves, 4 cancels
    assert patching.top_latents(attributed, 1).tolist() == [2]


def test_check_by_hand():
    exact = np.arange(30.0)
    noise = np.random.default_rng(0).standard_normal(30)
    good = patching.check((exact**3)[None], exact[None])  # the same ranks
    assert (good.spearman.value, good.spearman.low, good.trusted, good.spearman.n) == (1, 1, True, 30)
    bad = patching.check(noise[None], exact[None])
    assert bad.spearman.low < 0 < bad.spearman.high and not bad.trusted
    # ranks of 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 * 4 / (5 * 24) = 0.8, at the threshold
    edge = patching.check(np.array([[1.0, 2, 3, 4, 5]]), np.array([[2.0, 1, 4, 3, 5]]))
    assert edge.spearman.value == pytest.approx(0.8) and edge.trusted
    two = patching.check(np.ones((2, 2)), np.ones((2, 2)))  # no ranks to compare
    assert np.isnan(two.spearman.value) and two.spearman.n == 2 and not two.trusted
    with pytest.raises(ValueError, match="the same units and latents"):
        patching.check(np.ones((2, 4)), np.ones((2, 5)))


def test_units_are_drawn_with_the_reference_of_their_windows(cohort):
    _, _, units, _ = cohort
    part = patching.sample_units(units, 1, seed=0)
    drawn = part[~part.is_reference]
    assert len(drawn) == 1 and part.unit.tolist() == sorted(part.unit)
    assert part[part.is_reference].window.tolist() == drawn.window.tolist()  # of that window alone
    assert patching.sample_units(units, 9, seed=0).unit.tolist() == list(range(6))
    alone = patching.sample_units(units[units.is_reference], 1, seed=0)  # nobody differs
    assert alone.unit.tolist() == [0]


def test_tokens_of_some_units_are_numbered_anew(cohort):
    _, tokens, units, targets = cohort
    some, part = patching.tokens_of(tokens, units.loc[[3, 5]])
    assert part.unit.tolist() == [0, 1] and part.window.tolist() == [1, 1]
    for new, old in ((0, 3), (1, 5)):
        assert np.array_equal(some["ref_start"][some["unit"] == new], tokens["ref_start"][tokens["unit"] == old])
    every, _ = patching.tokens_of(tokens, units)
    assert np.array_equal(patching.reference_target(every, units).row, targets["reference"].row)
