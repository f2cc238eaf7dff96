"""A dictionary that reads windows, wherever dictionaries are used: whole units are given, whatever is wanted of them."""

import numpy as np
import pytest
import torch
from scipy import sparse

from lib.acts import counterparts
from lib.annotate import catalogue, reread
from lib.causal import ablation, across, attribution, patching, replication, steering
from lib.dna import logos
from lib.edits import change
from lib.sae import convolution, evaluate, stability
from lib.sae.model import SAE, SAEConfig
from lib.sae.parts import encode_all, parts
from tests.causal.test_patching import A, B, D, cohort, demo, direction, haplotypes, sae  # noqa: F401 the fixtures

LENGTHS = [30, 2, 9, 40, 7]  # two shorter than the window
UNIT = np.repeat([0, 1, 3, 4, 7], LENGTHS)
X = np.random.default_rng(0).standard_normal((len(UNIT), 6)).astype(np.float32)


def windowed(d_in=6, d_sae=20, k=3, window=9, seed=0) -> SAE:
    made = SAE(SAEConfig("convolutional", d_in, d_sae, k, window=window), seed)
    with torch.no_grad():
        made.W_enc.add_(0.05 * torch.randn(made.W_enc.shape, generator=torch.Generator().manual_seed(seed)))
        made.b_dec.copy_(torch.randn(d_in, generator=torch.Generator().manual_seed(seed)))
    return made.eval()


@pytest.fixture
def small():
    return windowed()


@pytest.fixture
def whole(small):
    """Reconstruction and latents of all of X, in one go."""
    with torch.no_grad():
        return tuple(t.numpy() for t in small(torch.from_numpy(X), torch.from_numpy(UNIT)))


ROWS = [np.arange(len(UNIT)), np.array([3, 4, 29, 33, 50, 60, 87]), np.array([70, 15, 15, 45, 8, 0])]


@pytest.mark.parametrize("chunk", [1, 35, 10_000])
@pytest.mark.parametrize("rows", ROWS, ids=["all", "some", "in another order, one twice"])
def test_whatever_rows_are_wanted_whole_units_are_read(small, whole, rows, chunk):
    latents = evaluate.latents_of(small, X, rows, UNIT, chunk)
    np.testing.assert_allclose(latents.toarray(), whole[1][rows], atol=1e-5)
    assert latents.nnz > 0 and evaluate.latents_of(small, X, rows[:0], UNIT).shape == (0, 20)
    reads = [set(of_unit.tolist()) for _, (_, of_unit), _ in parts(small, X, rows, UNIT, chunk)]
    assert sum(len(some) for some in reads) == len(np.unique(UNIT[rows]))  # each unit once


@pytest.mark.parametrize("chunk", [35, 10_000])
def test_quality_is_that_of_whole_units(small, whole, chunk):
    rows = np.r_[5:25, 35:75]
    q = evaluate.quality(small, X, rows, UNIT, chunk)
    error = ((X - whole[0]) ** 2).sum(1)[rows]
    np.testing.assert_allclose(q.sse, [error[UNIT[rows] == u].sum() for u in np.unique(UNIT[rows])], rtol=1e-4)
    np.testing.assert_allclose(q.frequency, (whole[1][rows] > 0).mean(0))


def test_without_units_it_is_refused(small):
    for use in (lambda: evaluate.latents_of(small, X, ROWS[0]), lambda: encode_all(small, torch.from_numpy(X))):
        with pytest.raises(ValueError, match="a convolutional dictionary reads whole units: give the unit of each token"):
            use()


def test_the_share_of_variance_is_what_is_lost_without_the_latent(small, whole):
    latents = sparse.csr_matrix(whole[1])
    for chunk in (35, 10_000):
        got = catalogue.variance_share(small, latents, X, ROWS[0], UNIT, chunk)
        for latent in range(20):
            without = torch.from_numpy(whole[1]).clone()
            without[:, latent] = 0
            with torch.no_grad():
                lost = ((X - small.decode(without, UNIT).numpy()) ** 2).sum() - ((X - whole[0]) ** 2).sum()
            assert got[latent] == pytest.approx(lost / ((X - X.mean(0)) ** 2).sum(), abs=1e-5)
    assert np.abs(got).max() > 0.003
    with pytest.raises(ValueError, match="needs all tokens of each unit"):
        catalogue.variance_share(small, latents[:20], X, np.arange(20), UNIT)


# Ablation: the closed form is what the reconstruction itself loses ---------------------------------------------


def test_ablating_a_latent_moves_the_pooled_activation_by_its_direction(small, whole):
    """x' = x + what f* - f writes; the mean over a unit moves by mean (f* - f) times the direction, kernel and all."""
    unit = np.repeat([0, 1, 2], [30, 28, 30])
    x = X[: len(unit)]
    counterpart = np.concatenate([np.arange(30), np.r_[0:10, 12:30], np.arange(58, 88)])  # unit 1 lacks two tokens of unit 0
    with torch.no_grad():
        f = small.encode(torch.from_numpy(x), unit)
        move = f[counterpart] - f
        written = torch.zeros(20, len(unit), 6)
        for j in range(20):
            alone = torch.zeros_like(move)
            alone[:, j] = move[:, j]
            written[j] = small.added(alone, unit)
    for chunk in (20, 10_000):
        got = ablation.reference_change(small, x, unit, counterpart, chunk)
        assert (got[[0, 2]] == 0).all() and np.abs(got[1]).max() > 0.01
        for u in range(3):
            wanted = written[:, unit == u].mean(1).numpy()
            np.testing.assert_allclose(got[u][:, None] * small.directions.detach().numpy(), wanted, atol=1e-5)
        np.testing.assert_allclose(ablation.pooled_latents(small, x, unit, chunk), [f[unit == u].mean(0) for u in range(3)], atol=1e-6)


# In a model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_model():
    return windowed(D, 40, 3, 5)


def codes(dictionary, model, texts, site=A):
    """Latents of each text alone."""
    with torch.no_grad():
        return [dictionary.encode(model.run(model.encode([text]), [site])[site].float()) for text in texts]


def test_units_that_are_read_again(demo, in_model):  # noqa: F811
    table, latents = reread.read_units(demo, A, in_model, dict(enumerate(haplotypes())))
    alone = torch.cat(codes(in_model, demo, haplotypes()))
    np.testing.assert_allclose(latents.toarray(), alone.numpy(), atol=1e-4)
    assert len(table) == len(alone)
    score = logos.latent_score(demo, A, in_model, 7)(haplotypes())
    np.testing.assert_allclose(score, [f[:, 7].max() for f in codes(in_model, demo, haplotypes())], atol=1e-4)
    ends = across.on_letters(demo, in_model, A, haplotypes())
    np.testing.assert_allclose(ends.latents.toarray(), alone.numpy(), atol=1e-4)


def test_what_an_edit_changes(demo, in_model):  # noqa: F811
    texts, near = haplotypes(), np.array([[8, 14]] * 6)
    (latents,), _ = change.local_states(demo, A, [in_model], texts, near)
    for row, f in enumerate(codes(in_model, demo, texts)):
        encoded = demo.encode_one(texts[row])
        inside = (encoded.end[encoded.keep] > 8) & (encoded.start[encoded.keep] < 14)
        np.testing.assert_allclose(latents[row].toarray()[0], f[inside].amax(0).numpy(), atol=1e-4)


@pytest.mark.parametrize("mode", ["reference", "resample", "zero"])
def test_patching_at_the_sae_site_is_the_closed_form(demo, in_model, cohort, mode):  # noqa: F811
    clean, tokens, units, targets = cohort
    target = targets[mode] if mode != "zero" else patching.zero_target(in_model)
    w = direction(n=6)
    exact = patching.exact_change(demo, in_model, clean, A, w, np.arange(40), target)
    attributed, error = patching.attribution_change(demo, in_model, clean, A, w, target, n_steps=1)
    np.testing.assert_allclose(attributed, exact, atol=1e-4)  # linear, so the gradient says all
    acts, unit = clean.acts.numpy(), tokens["unit"]
    moved = -ablation.pooled_latents(in_model, acts, unit)
    if mode == "reference":
        moved = ablation.reference_change(in_model, acts, unit, counterparts.aligned(tokens, units))
    if mode != "resample":
        np.testing.assert_allclose(exact, moved * (w @ in_model.directions.detach().numpy().T), atol=1e-4)
    assert np.abs(exact).max() > 0.01
    x = clean.acts
    x_to = x[target.row] if target.row is not None else in_model.b_dec.detach().expand_as(x)
    whole_move = [((x_to - x)[unit == u].mean(0).detach().numpy() @ w[u]) for u in range(6)]
    np.testing.assert_allclose(attributed.sum(1) + error, whole_move, atol=1e-3)


def test_later_sites_can_be_patched_and_a_mean_cannot(demo, in_model, cohort):  # noqa: F811
    clean, _, _, targets = cohort
    exact = patching.exact_change(demo, in_model, clean, B, direction(), np.array([1, 7]), targets["reference"])
    assert exact.shape == (6, 2) and np.isfinite(exact).all()
    with pytest.raises(ValueError, match="patching to a mean has no convolutional form"):
        patching.mean_target(in_model, clean.acts)


def test_steering_pushes_along_the_sum_of_the_taps(demo, in_model, cohort):  # noqa: F811
    clean, *_ = cohort
    f = torch.cat(codes(in_model, demo, haplotypes()))
    np.testing.assert_allclose(steering.latent_sd(in_model, clean), f.std(0, correction=0), atol=1e-4)
    vectors = steering.directions(in_model, 7, 2, torch.Generator().manual_seed(0))
    row = in_model.W_dec[7].view(5, D).sum(0)
    torch.testing.assert_close(vectors["latent", 0], row / row.norm())


def test_attributions_lie_where_a_code_writes(demo, in_model):  # noqa: F811
    text, w = haplotypes()[0], direction()
    scorer = attribution.WindowScore(demo, A, w)
    got = np.nansum(attribution.latent_attribution([scorer], [text], in_model).values[0])
    f = codes(in_model, demo, [text])[0]
    assert got == pytest.approx(float(f.sum(0) @ in_model.directions.detach() @ torch.from_numpy(w)) / len(f), abs=1e-4) and got != 0


def test_the_language_models_loss_on_whole_units(demo, in_model):  # noqa: F811
    rebuilt = {"given": in_model, "one by one": lambda x: in_model(x.float())[0]}
    texts = haplotypes()[:2]
    losses = evaluate.unit_losses(rebuilt, demo, A, texts, units_a_batch=1)  # a batch is one unit: both are alike
    np.testing.assert_allclose(losses["given"], losses["one by one"], rtol=1e-5)
    together = evaluate.unit_losses({"given": in_model}, demo, A, texts, units_a_batch=2)
    assert np.isfinite(together).all(axis=None)


# Between dictionaries -------------------------------------------------------------------------------------------


def test_kernels_are_compared_as_they_are():
    a, order = windowed(), np.random.default_rng(0).permutation(20)
    b = windowed()
    with torch.no_grad():
        b.W_dec.copy_(a.W_dec[order])
        b.W_enc.copy_(a.W_enc[:, order])
    table = stability.match_latents(a, b)
    assert (order[table["decoder_partner"]] == np.arange(20)).all() and table["shared"].all()
    partner, _ = replication.partners(a, b)
    assert (order[partner] == np.arange(20)).all()
    assert (replication.partners(a, b, permuted=0)[0] != partner).mean() > 0.5
    with pytest.raises(ValueError, match="one shape"):
        stability.seed_stability(a, windowed(window=7))


def test_energy_by_hand():
    # window 3, kernel (1, 2, 1): codes 1 at tokens 1 and 2 write (1, 2, 1, 0) + (0, 1, 2, 1) = (1, 3, 3, 1): 20
    rows = torch.tensor([[1.0, 2, 1]])
    codes = torch.tensor([[0.0], [1], [1], [0]])
    assert convolution.overlaps(rows, 3).ravel().tolist() == [6, 4, 1]
    assert convolution.energy(codes, convolution.overlaps(rows, 3)).tolist() == [20]
