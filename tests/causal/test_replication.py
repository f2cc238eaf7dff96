"""Replication: planted latents come back, planted strangers do not, and each null is where chance puts it."""

import numpy as np
import pytest
import torch
from scipy import sparse

from lib.causal import across
from lib.causal import replication as rep
from lib.corpus import splits
from lib.models import adapter
from lib.outcome.metrics import BINARY, CONTINUOUS
from lib.sae import stability
from lib.sae.model import SAE, SAEConfig
from lib.stage import io
from lib.stats import estimates

HIGH = stability.SHARED


def copy_with(sae: SAE, order: np.ndarray, strange: np.ndarray, seed: int) -> SAE:
    """Latent i of the result is latent order[i] of sae, but for those of `strange`, which point anywhere."""
    out, generator = SAE(sae.config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        out.W_dec.copy_(sae.W_dec[order])
        out.W_enc.copy_(sae.W_enc[:, order])
        out.W_dec[strange] = torch.randn(len(strange), sae.config.d_in, generator=generator)
        out.W_enc[:, strange] = torch.randn(sae.config.d_in, len(strange), generator=generator)
    return out


# SAE seeds -------------------------------------------------------------------------------------------------


def test_partners_follow_a_shuffled_copy_and_a_permuted_one_has_none():
    a = SAE(SAEConfig("standard", 32, 64), 0)
    order = np.random.default_rng(0).permutation(64)
    b = copy_with(a, order, np.arange(5), 1)
    before = b.W_dec.detach().clone()
    partner, cosine = rep.partners(a, b)
    kept = ~np.isin(np.arange(64), order[:5])
    assert (partner[kept] == np.argsort(order)[kept]).all() and (cosine[kept] > 0.999).all()
    assert not (cosine[~kept] >= HIGH).any()
    alive = np.where(np.arange(64) < 40, 0.1, 0)
    partner, _ = rep.partners(a, b, None, alive)  # dead latents of b are nobody's partner
    assert partner.max() < 40 and (partner >= 0).sum() > 20
    _, cosine = rep.partners(a, b, None, alive, permuted=3)
    assert not (cosine >= HIGH).any()
    torch.testing.assert_close(b.W_dec.detach(), before, rtol=0, atol=0)


def test_partners_agree_in_decoder_and_encoder():
    a = SAE(SAEConfig("standard", 4, 4))
    with torch.no_grad():
        a.W_dec.copy_(torch.eye(4))
        a.W_enc.copy_(torch.eye(4))
    b = copy_with(a, np.arange(4), np.array([], int), 0)
    with torch.no_grad():  # encoders of 0 and 1 swapped, that of 3 at cosine 0.6 with its own
        b.W_enc.copy_(torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0.8], [0, 0, 0, 0.6]]))
    partner, cosine = rep.partners(a, b)
    assert partner.tolist() == [-1, -1, 2, 3]
    np.testing.assert_allclose(cosine, [np.nan, np.nan, 1, 0.6], rtol=1e-6)


def test_permuting_leaves_the_entries_of_dead_latents_out():
    sae = SAE(SAEConfig("standard", 4, 6), 0)
    with torch.no_grad():
        sae.W_dec[3:] = 0
    null = rep._permuted(sae, np.array([1, 1, 1, 0, 0, 0]), 0)
    assert (null.W_dec[:3] != 0).all() and (null.W_dec[3:] == 0).all()


def test_with_effect_by_hand():
    # all of four latents asked about; three seeds; partner of i is i + 1 (mod 4) in the second, i in the third
    cosine = np.array([0.9, 0.9, 0.9, 0.6])
    matches = [(np.array([1, 2, 3, 0]), cosine), (np.arange(4), cosine)]
    deltas = [np.full(4, 0.1), np.array([0.1, 0.1, 0.08, -0.1]), np.array([0.1, 0.1, -0.1, 0.1])]
    lows = [np.full(4, 0.05), np.array([0.05, 0.01, -0.01, np.nan]), np.array([-0.1, -0.1, 0.05, 0.05])]
    table = rep.with_effect(range(4), deltas, lows, matches, n=10)
    # 0: partner 1 holds (low 0.01), partner 0 has low < 0: own + 1. 1: both lows < 0. 2: wrong signs. 3: cosine 0.6
    assert table.n_found.tolist() == [2, 1, 1, 1] and table.n_matched.tolist() == [2, 2, 2, 0]
    assert table.replicated.tolist() == [True, False, False, False] and (table.n_seeds == 3).all()
    assert "null_permuted" not in table
    # by size alone: 0.08 and 0.1 are within 1.3 of 0.1; a sign is not
    wide = rep.with_effect(range(4), deltas, lows, matches, ratio=1.3, n=10)
    assert wide.n_found.tolist() == [3, 3, 1, 1]
    assert rep.with_effect(range(4), deltas, lows, matches, ratio=1.2, n=10).n_found.tolist() == [3, 2, 1, 1]
    # a claim without an effect of its own needs both others
    own = rep.with_effect([0], deltas, [np.full(4, np.nan), *lows[1:]], matches, n=10)
    assert own.n_found.tolist() == [1] and not own.replicated.any()


def test_five_seeds_need_four():
    match = (np.arange(2), np.ones(2))
    deltas, lows = [np.ones(2)] * 5, [np.ones(2)] * 3 + [np.array([1.0, -1])] * 2
    table = rep.with_effect([0, 1], deltas, lows, [match] * 4, n=5)
    assert table.n_found.tolist() == [5, 3] and table.replicated.tolist() == [True, False]


def test_planted_latents_replicate_beside_both_nulls():
    """Latents 0-9 have the effect in every seed; of them 0-4 are found again, 5-9 are replaced by strangers."""
    a, rng = SAE(SAEConfig("standard", 32, 100), 0), np.random.default_rng(0)
    deltas, lows, matches, null = [np.where(np.arange(100) < 10, 0.1, 0.0)], [], [], []
    for seed in (1, 2):
        order = rng.permutation(100)
        b = copy_with(a, order, np.flatnonzero(np.isin(order, np.arange(5, 10))), seed)
        matches.append(rep.partners(a, b))
        null.append(rep.partners(a, b, permuted=seed))
        deltas.append(deltas[0][order])
    lows = [d - 0.05 for d in deltas]
    table = rep.with_effect(range(10), deltas, lows, matches, null, n=4000)
    assert table.replicated.tolist() == [True] * 5 + [False] * 5
    assert not table.null_permuted.any()
    # of the 95 matched partners of a seed 5 have an effect; one of two deals must hit: 1 - (1 - 5/95)^2
    np.testing.assert_allclose(table.null_dealt[:5], 1 - (90 / 95) ** 2, atol=0.02)
    assert (table.null_dealt[5:] == 0).all()  # no partner, whatever is dealt


def test_with_effect_refuses_lists_that_do_not_fit():
    match, one = (np.arange(3), np.ones(3)), np.ones(3)
    with pytest.raises(ValueError, match="1 deltas, 1 lows, 0 matches"):
        rep.with_effect([0], [one], [one], [])
    with pytest.raises(ValueError, match="2 deltas, 2 lows, 2 matches"):
        rep.with_effect([0], [one] * 2, [one] * 2, [match] * 2)
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected partner and cosine of 3"):
        rep.with_effect([0], [one] * 2, [one] * 2, [(np.arange(2), np.ones(2))])


# Half the people -------------------------------------------------------------------------------------------


def planted_cohort(n_people: int, n_latents: int, n_real: int, seed: int):
    """Scores made of latents 0 to n_real - 1 and noise; the others only add noise to them. Two people a family."""
    rng = np.random.default_rng(seed)
    y, change = np.arange(n_people) % 2, rng.normal(size=(n_latents, n_people)) * 0.4
    size = np.linspace(1, 2, n_real)
    change[:n_real] -= size[:, None] * y
    full = -change[:n_real].sum(0) + 4 * rng.normal(size=n_people)
    return y, full, change, np.arange(n_people) // 2


def rows(table, latent=-1):
    return table[table.latent == latent].set_index("measure")


def test_split_half_finds_planted_latents_and_is_at_chance_without_any():
    y, full, change, family = planted_cohort(400, 60, 6, 0)
    agreement = rows(rep.split_half(y, full, change, family, 10, 0, asked=range(6)))
    assert 0.6 < agreement.value["correlation"] < agreement.value["spearman_brown"]
    assert agreement.value["same_sign"] == 1 and agreement.value["carried"] == 1
    assert (agreement.low <= agreement.value).all() and (agreement.value <= agreement.high).all()
    assert agreement.n["correlation"] == 60 and agreement.n["same_sign"] == 6
    # nothing planted, labels that nothing knows: halves agree on nothing
    rng = np.random.default_rng(1)
    change = rng.normal(size=(200, 400))
    none = rows(rep.split_half(y, rng.normal(size=400), change, family, 10, 0, asked=range(40)))
    assert abs(none.value["spearman_brown"]) < 0.25 and abs(none.value["carried"] - 0.5) < 0.15
    assert none.value["same_sign"] == pytest.approx(none.value["same_sign_chance"], abs=0.12)


def test_split_half_one_split_by_hand():
    y, full, change, family = planted_cohort(80, 12, 1, 2)
    change[11] = 0.7  # moves everybody alike: out of the correlation
    table = rep.split_half(y, full, change, family, 1, 5, asked=[0, 11])
    fold = splits.stratified_folds(y, family, 2, int(np.random.SeedSequence(5).generate_state(1)[0]))
    assert all(len(set(fold[family == f])) == 1 for f in range(40))
    one, two = (
        estimates.auroc(y[fold == h], full[fold == h]) - estimates.auroc(y[fold == h], (full + change)[:, fold == h])
        for h in (0, 1)
    )
    r = np.corrcoef(one[:11], two[:11])[0, 1]
    assert rows(table).value["correlation"] == pytest.approx(r)
    assert rows(table).value["spearman_brown"] == pytest.approx(2 * r / (1 + r))
    assert rows(table).n["correlation"] == 11
    assert rows(table, 0).value["delta"] == pytest.approx((one[0] + two[0]) / 2)
    assert rows(table, 11).value.to_dict() == {"same_sign": 0, "delta": 0}  # no effect is no agreement
    assert rows(table).value["same_sign"] == (np.sign(one[0]) == np.sign(two[0])) / 2
    top_one, top_two = np.argsort(-one)[:2], np.argsort(-two)[:2]
    assert rows(table).value["carried"] == ((two[top_one] > 0).mean() + (one[top_two] > 0).mean()) / 2
    up, down = ((s * one[:11] > 0).mean() * (s * two[:11] > 0).mean() for s in (1, -1))
    assert rows(table).value["same_sign_chance"] == pytest.approx(up + down)


def test_spearman_brown_foresees_the_reliability_of_twice_the_people():
    """Halves of 800 people step up to what two cohorts of 800 agree on."""
    rng, y = np.random.default_rng(3), np.arange(1600) % 2
    effect = rng.normal(size=(100, 1)) * 0.05
    change, full = rng.normal(size=(100, 1600)) * 0.4 + effect * y, y + rng.normal(size=1600)
    half = np.arange(1600) < 800
    agreement = rows(rep.split_half(y[half], full[half], change[:, half], None, 10, 0)).value
    one, two = (rep._delta(y, full, change, part, BINARY) for part in (half, ~half))
    assert agreement["spearman_brown"] == pytest.approx(np.corrcoef(one, two)[0, 1], abs=0.1)
    assert agreement["correlation"] < agreement["spearman_brown"] - 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_moving", [0, 1])
def test_split_half_of_latents_that_hardly_move_says_nan(n_moving):
    y, full, change, family = planted_cohort(40, 4, 1, 0)
    change[n_moving:] = 0
    table = rep.split_half(y, full, change, family, 2, 0, asked=[0, 3])
    agreement = rows(table)
    between = ["correlation", "spearman_brown", "rank_correlation", "same_sign_chance"]
    assert (
        agreement.loc[between, ["value", "low", "high"]].isna().all(axis=None)
        and (agreement.n[between] == n_moving).all()
    )
    assert rows(table, 3).value.to_dict() == {"same_sign": 0, "delta": 0}
    assert (rows(table, 0).value["delta"] != 0) == bool(n_moving)


def test_split_half_refuses():
    y, full, change, family = planted_cohort(40, 4, 1, 0)
    with pytest.raises(ValueError, match=r"change \(4, 39\)"):
        rep.split_half(y, full, change[:, :39], family, 2, 0)
    with pytest.raises(ValueError, match="2 folds from 1 groups"):
        rep.split_half(y, full, change, 0 * family, 2, 0)


# Layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_correlation_is_numpys_dense_or_sparse(kind):
    rng = np.random.default_rng(0)
    a, b = rng.exponential(size=(50, 3)) * (rng.random((50, 3)) < 0.3), rng.normal(size=(50, 2)) + 5
    a[:, 1] = 0.1  # constant
    got = across.correlation(kind(a.astype(np.float32)), kind(b))
    want = [np.corrcoef(a.T, b.T)[i, 3:] if i != 1 else [0, 0] for i in (0, 2)]
    np.testing.assert_allclose(got[[0, 2]], want, atol=1e-6)
    assert (got[1] == 0).all()
    flat = np.tile(np.linspace(0.1, 9, 40), (50, 1))  # rounding gives some of these a variance
    assert (across.correlation(kind(flat), kind(b)) == 0).all()
    with pytest.raises(ValueError, match="50 samples and b 49"):
        across.correlation(a, b[:49])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_across_layers_finds_the_planted_partner_and_no_other(kind):
    rng = np.random.default_rng(0)
    low, high = (rng.exponential(size=(40, 400)) * (rng.random((40, 400)) < 0.1) for _ in range(2))
    high[7] = low[3] * 2 + 0.1 * high[7]
    high[9] = -3 * low[3]  # opposed: not a partner, however strong
    profiles = {"low": kind(low), "high": kind(high)}
    deltas = {"low": np.arange(40) / 100, "high": np.arange(40) / 10}
    rates = {site: (p != 0).mean(1) for site, p in (("low", low), ("high", high))}
    table = across.across_layers(profiles, deltas, rates, {"low": [3, 5]}, n=200, n_peers=20)
    real, stranger = table.iloc[0], table.iloc[1]
    assert (real.latent, real.other_site, real.partner) == (3, "high", 7)
    assert real.correlation == pytest.approx(np.corrcoef(low[3], high[7])[0, 1])
    assert (real.delta, real.partner_delta) == (0.03, 0.7)
    assert real.p == 1 / 201 and real.null_95 < 0.4 and real.p_peers == 1 / 21
    assert stranger.p > 0.05 and stranger.p_peers > 0.05 and stranger.correlation < 0.4
    back = across.across_layers(profiles, deltas, rates, {"high": [7]}, n=20)
    assert back.partner[0] == 3 and back.partner_delta[0] == 0.03


def test_where_everything_is_linked_the_peers_tell_and_the_shuffle_does_not():
    """One variant moves all latents of both sites: any of them has a partner, so a partner says nothing."""
    rng = np.random.default_rng(0)
    carrier = rng.random(300) < 0.3
    low, high = (carrier * rng.uniform(1, 2, (30, 1)) + 0.05 * rng.normal(size=(30, 300)) for _ in range(2))
    none = {"low": np.zeros(30), "high": np.zeros(30)}
    table = across.across_layers({"low": low, "high": high}, none, none, {"low": range(5)}, n=100, n_peers=25)
    assert (table.p == 1 / 101).all() and table.p_peers.mean() > 0.3 and (table.peers > 0.9).all()


def test_peers_are_the_nearest_in_rate():
    rate = np.array([0.1, 0.001, 0.12, 0.5, 0.09, 0.0])
    assert across._nearest(rate, 0, np.array([1, 2, 3, 4, 5]), 2).tolist() == [4, 2]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_matrix])
def test_shuffles_keep_the_values(kind):
    column = np.array([0, 3, 0, 1, 0, 0, 2.0])[:, None]
    dealt = across._shuffles(kind(column), 50, np.random.default_rng(0))
    dealt = dealt.toarray() if sparse.issparse(dealt) else dealt
    assert dealt.shape == (7, 50) and (np.sort(dealt, axis=0)[-4:] == np.array([[0], [1], [2], [3]])).all()
    assert len(np.unique(dealt, axis=1).T) > 30


def test_across_layers_refuses():
    x, one = np.ones((3, 5)), np.ones(3)
    with pytest.raises(ValueError, match=r"latents of sites \['c'\] of \['a', 'b'\]"):
        across.across_layers({"a": x, "b": x}, {}, {}, {"c": [0]})
    with pytest.raises(ValueError, match="'b': 4"):
        across.across_layers({"a": x, "b": x[:, :4]}, {}, {}, {"a": [0]})
    with pytest.raises(ValueError, match=r"site b: .* expected \(3,\)"):
        across.across_layers({"a": x, "b": x}, {"a": one, "b": one}, {"a": one, "b": one[:2]}, {"a": [0]})


# Models ----------------------------------------------------------------------------------------------------


def test_onto_bases_by_hand():
    # tokens over bases 0-2, 2-4 (they share base 2), 5; base 4 of 7 and base 6 are bare
    bases, covered = across.onto_bases(
        np.array([[1.0, 0], [3, 2], [0, 5]]), np.array([[0, 3], [2, 4], [5, 6]]), 7
    )
    want = [[1, 0], [1, 0], [2, 1], [3, 2], [0, 0], [0, 5], [0, 0]]
    np.testing.assert_allclose(bases.toarray(), want)
    assert covered.tolist() == [True, True, True, True, False, True, False]
    for spans in ([[0, 8]], [[-1, 2]], [[3, 3]]):
        with pytest.raises(ValueError, match="wanted 1 or more in 0 to 7"):
            across.onto_bases(np.ones((1, 1)), np.array(spans), 7)
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected \(1, 2\)"):
        across.onto_bases(np.ones((1, 1)), np.array([[0, 1], [1, 2]]), 7)


def two_tokenisers(n_shared: int, n_latents: int, n_bases: int = 12000, seed: int = 0):
    """Tracks over bases read by tokens of six bases and by single bases; the first n_shared are of both models.

    Latent i of one is latent order[i] of the other.
    """
    rng = np.random.default_rng(seed)

    def tracks(n):
        starts = rng.random((n_bases // 12, n)) < 0.05
        return np.repeat(starts * rng.uniform(1, 2, starts.shape), 12, axis=0)

    shared = tracks(n_shared)
    one, two = (np.concatenate([shared, tracks(n_latents - n_shared)], axis=1) for _ in range(2))
    order = rng.permutation(n_latents)
    six = np.arange(0, n_bases, 6)[:, None] + np.array([0, 6])
    single = np.arange(n_bases)[:, None] + np.array([0, 1])
    return (one.reshape(-1, 6, n_latents).mean(1), six, two[:, order], single, n_bases), order


def test_across_models_pairs_what_is_shared_across_tokenisers():
    inputs, order = two_tokenisers(12, 20)
    pairs, summary = across.across_models(*inputs, n_random=200)
    real = pairs[pairs.correlation >= rep.SAME]
    assert (
        sorted(real.a) == list(range(12))
        and (order[real.b] == real.a).all()
        and (real.correlation > 0.99).all()
    )
    assert summary["share"] == 12 / 20 == summary["share_many"] and (summary["n_a"], summary["n_b"]) == (
        20,
        20,
    )
    assert summary["share_p"] == 1 / 201 and summary["mean_p"] == 1 / 201
    assert summary["share_null_95"] <= 3 / 20 and summary["mean_null_95"] < summary["mean"] / 2
    assert (
        not pairs.a.duplicated().any() and not pairs.b.duplicated().any() and (pairs.fitted >= rep.POOR).all()
    )


def test_models_without_a_common_latent_are_at_chance_on_letters_that_made_no_pair():
    inputs, _ = two_tokenisers(0, 60, 2400)
    pairs, summary = across.across_models(*inputs, n_random=400)
    assert pairs.fitted.mean() > 0.15  # the best of many looks like something where it was chosen
    assert abs(summary["mean"]) < 0.06 and summary["mean_p"] > 0.02 and summary["share"] <= 3 / 60


def test_latents_that_hardly_fire_are_left_out_and_too_few_make_no_pair():
    latents, spans, others, other_spans, n_bases = two_tokenisers(4, 6)[0]
    latents[:, 1] = 0
    latents[[0, -1], 1] = 1  # six bases of each half
    pairs, summary = across.across_models(latents, spans, others, other_spans, n_bases, n_random=10)
    assert summary["n_a"] == 5 and 1 not in set(pairs.a)
    pairs, summary = across.across_models(0 * latents, spans, others, other_spans, n_bases)
    assert pairs.empty and (summary["n_a"], summary["n_b"], summary["n_pairs"], summary["mean_p"]) == (0, 6, 0, 1)
    assert np.isnan([summary["mean"], summary["share"], summary["share_many"]]).all()


def test_models_of_opposed_latents_have_no_pair():
    on, single = np.tile([[0.0], [1.0]], (50, 2)), np.arange(100)[:, None] + np.array([0, 1])
    pairs, summary = across.across_models(on, single, 1 - on, single, 100, n_random=10)
    assert pairs.empty and list(pairs) == ["a", "b", "fitted", "correlation"]
    assert (summary["n_a"], summary["n_b"], summary["n_pairs"], summary["share_many"]) == (2, 2, 0, 0)
    assert np.isnan([summary[f"{name}{end}"] for name in ("mean", "share") for end in ("", "_null_95")]).all()
    assert summary["mean_p"] == summary["share_p"] == 1
    assert set(summary) == set(across.across_models(on, single, on, single, 100, n_random=10)[1])


def plain_cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def hsic_by_definition(x, y):
    """Song et al. 2012, equation 5, on n by n matrices."""
    k, m, n = x @ x.T, y @ y.T, len(x)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return (np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()) / (
        n * (n - 3)
    )


@pytest.mark.parametrize("width", [3, 200])  # feature products, then n by n ones
def test_debiased_cka_is_its_definition(width):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, width)) + 4
    y = x[:, :2] @ rng.normal(size=(2, width)) + rng.normal(size=(30, width))
    want = hsic_by_definition(x, y) / np.sqrt(hsic_by_definition(x, x) * hsic_by_definition(y, y))
    assert across.debiased_cka(x, y) == pytest.approx(want, abs=1e-10) and 0.1 < want < 0.99


def test_debiased_cka_sees_through_width_where_plain_cka_does_not():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2000)), rng.normal(size=(60, 2000))
    assert plain_cka(x, y) > 0.9 and abs(across.debiased_cka(x, y)) < 0.05
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    z = rng.normal(size=(100, 20)) * np.linspace(1, 3, 20)
    assert across.debiased_cka(z, 5 * z @ rotation + 7) == pytest.approx(1)
    assert (
        across.debiased_cka(z, z @ rng.normal(size=(20, 20)) * np.linspace(0, 9, 20)) < 0.95
    )  # not any linear map


def test_debiased_cka_is_undefined_for_few_or_flat_samples():
    x = np.random.default_rng(0).normal(size=(8, 3))
    with pytest.raises(ValueError, match="8 and 7 samples"):
        across.debiased_cka(x, x[:7])
    assert np.isnan(across.debiased_cka(x[:3], x[:3]))
    for flat in (np.full((8, 2), 0.1), np.eye(8)):
        assert np.isnan(across.debiased_cka(x, flat))


def test_neighbouring_sites_of_the_demo_model_share_their_dimensions():
    """The residual stream carries dimension i on to the next block, so there dimension i is the partner of i."""
    model = adapter.load(io.ROOT / "tests/planted_model")
    letters = np.random.default_rng(0).choice(list("ACGT"), (16, 150))
    batch = model.encode(["".join(row) for row in letters])
    sites = [s.name for s in model.sites() if s.name.startswith("resid_post")][-2:]
    acts = {name: x.numpy() for name, x in model.run(batch, sites).items()}
    spans = np.stack([batch.start, batch.end], axis=1) + 150 * np.asarray(batch.unit)[:, None]
    a, b = (np.maximum(acts[name], 0) for name in sites)
    pairs, summary = across.across_models(a, spans, b[:, ::-1], spans, 2400, n_random=100)
    same = pairs.a == b.shape[1] - 1 - pairs.b
    assert same.mean() > 0.8 and summary["share"] > 0.5 and summary["share_p"] == 1 / 101
    x, y = acts.values()
    shuffled = np.random.default_rng(1).permutation(y)
    assert across.debiased_cka(x, y) > 0.5 and abs(across.debiased_cka(x, shuffled)) < 0.05


def test_a_model_is_itself_on_the_same_sequences():
    model = adapter.load(io.ROOT / "tests/planted_model")
    letters = np.random.default_rng(0).choice(list("ACGT"), (16, 150))
    texts, site = ["".join(row) for row in letters], "resid_post.2"
    torch.manual_seed(0)
    sae = SAE(SAEConfig(d_in=model.d_model, d_sae=48, architecture="topk", k=8))
    one = across.on_letters(model, sae, site, texts)
    assert one.n_bases == 16 * 150 and one.latents.shape == (len(one.acts), 48) and len(one.spans) == len(one.acts)
    batch = model.encode(texts)
    assert np.array_equal(one.spans, np.stack([batch.start, batch.end], axis=1) + 150 * np.asarray(batch.unit)[:, None])
    same = across.compare_models(one, one, 50, 0, most=300)
    assert same["n_bases"] == 300 and same["cka"] == pytest.approx(1) and same["mean"] == pytest.approx(1)
    twin = adapter.load(io.ROOT / "tests/planted_model", random_init=True, seed=0)
    other = across.compare_models(one, across.on_letters(twin, sae, site, texts), 50, 0, most=300)
    assert other["cka"] < 0.9 and list(other)[:2] == ["cka", "n_bases"]


def test_split_half_of_a_number_is_by_r2():
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    change = rng.normal(size=(30, 400)) * 0.1
    change[:4] -= np.linspace(0.2, 0.4, 4)[:, None] * y
    full = -change[:4].sum(0) + 0.3 * rng.normal(size=400)
    table = rep.split_half(y, full, change, None, 5, 0, range(4), CONTINUOUS)
    assert rows(table).value["carried"] > 0.8 and rows(table).value["correlation"] > 0.6
    halves = [np.mean([r.value for r in table.itertuples() if r.latent == k and r.measure == "delta"]) for k in range(4)]
    whole = CONTINUOUS.value(y, full) - CONTINUOUS.value(y, full + change[:4])
    np.testing.assert_allclose(halves, whole, atol=0.05)
