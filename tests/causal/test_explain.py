"""Scores of explanations: worked by hand, on explanations that know the truth, and once through on the demo model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.causal import attribution, explain, pointing
from lib.causal.attribution import Attribution
from lib.dna import planted
from lib.models import adapter
from lib.models import sequence as sq
from lib.sae.model import SAE, SAEConfig
from tests import helpers

DEMO, SITE = Path(__file__).resolve().parents[2] / "tests/planted_model", "resid_post.1"


def windows_of(n, length):
    return pd.DataFrame({"contig": "c", "start": np.arange(n) * length, "end": (np.arange(n) + 1) * length})


def sites_at(*places):
    return pd.DataFrame([("c", a, b) for a, b in places], columns=["contig", "start", "end"])


def explained(name, values):
    return Attribution(name, np.asarray(values, dtype=np.float32), 1.0)


def truth_and_noise(n=30, length=60, seed=0):
    """Windows with one site of 8 bases each; |value| large in it; and an explanation of noise."""
    rng = np.random.default_rng(seed)
    start = np.arange(n) * length + rng.integers(10, 40, n)
    noise = rng.standard_normal((n, length))
    knows = rng.standard_normal((n, length))
    for row, at in enumerate(start - np.arange(n) * length):
        knows[row, at : at + 8] -= 6
    return (
        explained("knows", knows),
        explained("noise", noise),
        windows_of(n, length),
        sites_at(*zip(start, start + 8)),
    )


def test_overlap_by_hand_and_the_windows_left_out():
    # window 0: site on bases 1, 2 of |value| 1 3 2 0 -> pairs won 4 of 4; window 1: no site; 2: all site; 3: unexplained
    a = explained("a", [[1, -3, 2, 0], [1, 2, 3, 4], [1, 2, 3, 4], [np.nan] * 4])
    got = pointing.site_overlap([a], windows_of(4, 4), sites_at((1, 3), (8, 12)), 10, 0).iloc[0]
    assert got.value == 1 and got.n == 1
    assert (got.unexplained, got.no_site, got.all_site) == (1, 1, 1)


def test_rolled_auroc_equals_rolling_and_counting():
    rng = np.random.default_rng(0)
    mask, score = rng.random(12) < 0.4, rng.integers(0, 5, 12).astype(float)
    got = pointing.rolled_auroc(mask, score)
    for shift in range(12):
        inside = np.roll(mask, shift)
        case, control = score[inside][:, None], score[~inside][None]
        assert got[shift] == pytest.approx(((case > control) + 0.5 * (case == control)).mean())


def test_an_explanation_that_knows_the_sites_beats_its_null_and_noise_does_not():
    knows, noise, windows, sites = truth_and_noise()
    got = pointing.site_overlap([knows, noise], windows, sites, 200, 0).set_index("method")
    assert got.loc["knows", "low"] > 0.9 and got.loc["knows", "p"] < 0.01 and got.loc["knows", "null"] < 0.6
    assert got.loc["noise", "low"] < 0.5 < got.loc["noise", "high"] and got.loc["noise", "p"] > 0.05
    summary = explain.seqlets([knows, noise], windows, sites).set_index("method")
    assert summary.loc["knows", "seqlets"] >= 20 and summary.loc["knows", "seqlet_share"] > 0.8
    assert summary.loc["knows", "seqlet_p"] < 0.01 < summary.loc["noise", "seqlet_p"]
    assert summary.loc["knows", "seqlet_null"] < 0.4


def test_seqlets_lie_where_the_values_are_whatever_a_windows_scale_is():
    knows = truth_and_noise()[0]
    known = np.ones(knows.values.shape, dtype=bool)
    spans = explain.call_seqlets(knows.values, known)
    scaled = explain.call_seqlets(knows.values * np.geomspace(1, 1e3, 30)[:, None].astype(np.float32), known)
    pd.testing.assert_frame_equal(spans[["window", "start", "end"]], scaled[["window", "start", "end"]])
    assert (spans.end - spans.start).between(4, 25).all()


def test_seqlets_are_called_where_explained_bases_have_no_gap():
    knows, _, windows, sites = truth_and_noise()
    knows.values[0, 30] = np.nan  # an N in the middle
    knows.values[1, -1] = np.nan  # another length
    knows.values[2] = 0
    got = explain.seqlets([knows], windows, sites).iloc[0]
    assert got.seqlet_windows == 27
    assert not set(explain.call_seqlets(knows.values, np.isfinite(knows.values)).window) & {0, 1, 2}


def test_agreement_is_the_rank_correlation_of_sizes():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((20, 50))
    same, other = explained("cube", -(base**3)), explained("other", rng.standard_normal((20, 50)))
    got = explain.agreement([explained("base", base), same, other], 200, 0).set_index(["first", "second"])
    assert got.loc[("base", "cube"), "spearman"] == pytest.approx(1)
    assert got.loc[("base", "other"), "low"] < 0 < got.loc[("base", "other"), "high"]
    assert (got.n == 20).all()


def test_sanity_is_one_for_a_method_that_ignores_the_weights():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((20, 64))
    before = [explained("blind", base), explained("sane", base)]
    after = [explained("blind", -base), explained("sane", rng.standard_normal((20, 64)))]
    got = explain.sanity(before, after, 200, 0).set_index("method")
    assert got.loc["blind", "sanity"] == pytest.approx(1)
    assert (
        got.loc["sane", "sanity"] < 0.25
        and abs(got.loc["sane", "sanity"] - got.loc["sane", "sanity_null"]) < 0.1
    )
    assert got.loc["blind", "sanity_null"] < 0.25
    with pytest.raises(ValueError, match="wanted \\['blind', 'sane'\\]"):
        explain.sanity(before, after[::-1])


def test_other_shapes_are_refused():
    a, b = explained("a", np.ones((2, 4))), explained("b", np.ones((2, 5)))
    with pytest.raises(ValueError, match="wanted one shape"):
        explain.agreement([a, b])
    with pytest.raises(ValueError, match="3 windows for 2"):
        pointing.site_overlap([a], windows_of(3, 4), sites_at((0, 2)), 10, 0)


def test_curves_by_hand(tmp_path):
    model = helpers.tiny("esm_bases", tmp_path)
    scorer = attribution.WindowScore(model, SITE, np.random.default_rng(0).standard_normal(16))
    text = helpers.random_dna(40, 0)
    values = np.full((1, 40), np.nan, dtype=np.float32)
    values[0, 4:8] = [1, 4, -9, 2]  # order: 5, 7, 4, 6
    got = explain.curves([Attribution("a", values, 0)], [scorer], [text], n_backgrounds=1, n_steps=2, seed=3)
    other = explain.shuffled_texts([text], pd.DataFrame({"unit": [0]}), 3)[0]

    def mixed(at):
        return "".join(other[i] if i in at else base for i, base in enumerate(text))

    scores = scorer.score([text, mixed({5, 7}), mixed({4, 6}), mixed({4, 5, 6, 7})]).astype(float)
    total = scores[0] - scores[3]
    changes = got[got.method == "a"].set_index("kind").groupby("kind").change.apply(list)
    assert changes["deletion"] == pytest.approx(
        [0, (scores[0] - scores[1]) / abs(total), np.sign(total)], abs=1e-4
    )
    assert changes["insertion"] == pytest.approx(
        [0, (scores[2] - scores[3]) / abs(total), np.sign(total)], abs=1e-4
    )


def test_areas_by_hand():
    fraction = [0, 0.5, 1]
    rows = [("a", "deletion", [0, 2, 1]), ("random order", "deletion", [0, 0, 1]),
            ("a", "insertion", [0, 0, 1]), ("random order", "insertion", [0, 1, 1])]  # fmt: skip
    table = pd.concat(
        pd.DataFrame({"window": 7, "method": m, "kind": k, "fraction": fraction, "change": c})
        for m, k, c in rows
    )
    got = explain.areas(table, 10, 0).iloc[0]
    assert got.deletion == pytest.approx(1.25 - 0.25) and got.insertion == pytest.approx(0.25 - 0.75)


def test_compare_on_the_demo_model():
    """Three windows of planted sites, a direction that points at sites: mutagenesis must beat a random order."""
    n, length, span = 3, 128, 20
    codes, sites = planted.mosaic(
        16 * length, planted.gut_immune_motifs(), np.random.default_rng(0), active=1
    )
    texts = [sq.decode(codes[i : i + length]) for i in range(0, 16 * length, length)]
    model, blank = adapter.load(DEMO), adapter.load(DEMO, random_init=True)
    inside = pointing.site_mask(
        windows_of(16, length), sites.assign(contig="c"), [explained("", np.ones((16, length)))]
    )
    x, inside = model.run(model.encode(texts[n:]), [SITE])[SITE].numpy(), inside[n:].ravel()
    direction = x[inside].mean(0) - x[~inside].mean(0)
    sae = SAE(SAEConfig("topk", 128, 256, 8)).eval()
    attributions = []
    for one in (model, blank):
        scorers = [attribution.WindowScore(one, SITE, direction)] * n
        attributions.append([
            attribution.mutagenesis(scorers, texts[:n], span), attribution.integrated_gradients(scorers, texts[:n]),
            attribution.attention_rollout(scorers, texts[:n]), attribution.latent_attribution(scorers, texts[:n], sae),
        ])  # fmt: skip
    scorers = [attribution.WindowScore(model, SITE, direction)] * n
    causes = sites.assign(contig="c", end=sites.start + 1)
    got = explain.compare(
        attributions[0], attributions[1], scorers, texts[:n], windows_of(n, length), sites.assign(contig="c"), 50, 50, causes=causes
    )
    assert got.method.tolist() == ["ISM", "integrated gradients", "attention rollout", "SAE latents"]
    numbers = ["auroc", "low", "high", "n", "null", "seqlets", "deletion", "insertion", "sanity", "seconds"]
    assert np.isfinite(got[numbers].to_numpy(float)).all()
    ism = got.set_index("method").loc["ISM"]
    assert ism.deletion_low > 0 and ism.insertion_low > 0
    assert got.letters_n.gt(0).all() and got.letters_auroc.between(0, 1).all() and (got.letters_auroc != got.auroc).all()
    assert got["delta"].notna().tolist() == [False, True, False, False] and got.not_converged.sum() == 0
