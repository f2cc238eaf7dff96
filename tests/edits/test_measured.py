"""Scores beside measured effects: planted ones, artefacts of place, the null and its mirror, and each number by another way."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lib.edits import measured
from tests.helpers import DATA_DIR, random_dna

CHANGES = ("a", "b", "c", "-")
WINDOWS = [random_dna(40, seed) for seed in range(50)]


def smooth_noise(rng, n, width):
    """Noise with neighbours alike: white noise under a moving mean, of variance 1."""
    return np.convolve(rng.normal(size=n + width - 1), np.ones(width) / np.sqrt(width), "valid")


def elements(rng, n_loci=6, n=200, twice=(), drop=0.1):
    """Variants of elements of n places, four kinds each, of which a share is not measured; loci in `twice` have two elements."""
    parts = []
    for k in range(n_loci):
        for element in range(1 + (k in twice)):
            place, kind = np.divmod(np.arange(4 * n), 4)
            some = pd.DataFrame({"locus": f"L{k}", "element": f"L{k}.{element}", "place": place + 1000 * k, "kind": kind})
            parts.append(some[rng.random(4 * n) >= drop])
    table = pd.concat(parts, ignore_index=True)
    return table.assign(change=[CHANGES[k] for k in table["kind"]], effect=rng.normal(size=len(table)),
                        barcodes=rng.integers(10, 99, len(table)), ref_sequence=rng.choice(WINDOWS, len(table)))  # fmt: skip


def by_place(table, rng, width):
    """A value a place, smooth over width places, the same for all kinds and elements of a locus: [variant]."""
    value = pd.Series(dtype=float)
    for _, some in table.groupby("locus"):
        places = np.unique(some["place"])
        value = pd.concat([value, pd.Series(smooth_noise(rng, len(places), width), index=places)])
    return value[table["place"]].to_numpy()


def compared(table, n_boot=200, n_null=99, seed=0, **scores):
    options = {key: scores.pop(key) for key in ("unsigned", "tested", "smooth_bp", "min_variants") if key in scores}
    out = measured.compare(table, pd.DataFrame(scores, index=table.index), n_boot, n_null, seed, **options)
    return out.set_index(["what", "score"])


def test_the_mean_over_loci_is_that_of_pandas_rank_correlations():
    rng = np.random.default_rng(0)
    table = elements(rng, twice=(0, 3))
    table["effect"] = table["effect"].round(1)  # ties
    score, rival = table["effect"] + rng.normal(size=len(table)), pd.Series(rng.normal(size=len(table)))
    out = compared(table, own=score, rival=rival)
    for what, way in (("size", np.abs), ("signed", lambda x: x)):
        frame = pd.DataFrame({"own": way(score), "rival": way(rival), "effect": way(table["effect"])})
        rho = frame.groupby([table["locus"], table["element"]]).apply(lambda f: f.corr(method="spearman")["effect"]).groupby("locus").mean()
        row = out.loc[(what, "own")]
        assert row["value"] == pytest.approx(rho["own"].mean()) and (row["n_variants"], row["n_loci"]) == (len(table), 6)
        assert row["low"] < row["value"] < row["high"] and row["gain"] == 0 == row["gain_low"] == row["gain_high"]
        drawn = np.random.default_rng(0).integers(0, 6, (200, 6))  # the paired bootstrap, again
        gains = (rho["own"] - rho["rival"]).to_numpy()
        assert out.loc[(what, "rival"), "gain"] == pytest.approx(gains.mean())
        np.testing.assert_allclose(out.loc[(what, "rival"), ["gain_low", "gain_high"]].astype(float),
                                   np.quantile(gains[drawn].mean(1), [0.025, 0.975]))  # fmt: skip
        loci = measured.per_locus(table, pd.DataFrame({"own": score, "rival": rival})).set_index(["what", "score", "locus"]).sort_index()
        np.testing.assert_allclose(loci.loc[(what, "own"), "value"], rho["own"])
        assert loci.loc[(what, "own"), "n_elements"].tolist() == [2, 1, 1, 2, 1, 1]
    assert list(out.reset_index()[measured.COLUMNS]) == measured.COLUMNS and len(out) == 12


def test_a_planted_correlation_is_recovered_and_beats_the_null():
    rng = np.random.default_rng(1)
    table = elements(rng, n_loci=5)
    out = compared(table, score=0.5 * table["effect"] + rng.normal(size=len(table)), noise=rng.normal(size=len(table)), tested="signed")
    row = out.loc[("signed", "score")]
    # Pearson .5 / sqrt(1.25) = .447; of normal variables Spearman is 6 / pi asin(r / 2)
    assert row["value"] == pytest.approx(6 / np.pi * np.arcsin(0.4472 / 2), abs=0.03)
    assert row["p"] == 0.01 and row["p_mirror"] == 1.0  # 1 of 100, itself
    assert out.loc[("signed", "noise"), "p"] > 0.05 and out.loc[("signed", "noise"), "gain_low"] > 0.3
    assert out.loc["size"]["p"].isna().all() and out.loc["signed"]["p"].notna().all()
    against = compared(table, score=-table["effect"], tested="signed").loc[("signed", "score")]
    assert (against["value"], against["p"], against["p_mirror"]) == (pytest.approx(-1), 1.0, 0.01)


def rotated(table, score, effect, smooth_bp):
    """`rotations`, the long way: dictionaries of places and kinds."""
    x, y = score.rank(), effect.rank()
    at = (table["place"] - table["place"].min()).to_numpy()
    n = at.max() + 1
    waves = np.column_stack([np.cos(np.pi * (np.arange(n) + 0.5) * j / n) for j in range(int(2 * n / smooth_bp) + 1)])
    smooth = waves @ np.linalg.solve(waves[at].T @ waves[at], waves[at].T @ x.to_numpy())
    rest = {(p, k): v - smooth[p] for p, k, v in zip(at, table["kind"], x, strict=True)}
    goal = {(p, k): v for p, k, v in zip(at, table["kind"], y, strict=True)}
    for turn in range(n):
        pairs = [(smooth[p] + rest[(p - turn) % n, k], v) for (p, k), v in goal.items() if ((p - turn) % n, k) in rest]
        yield np.corrcoef(np.array(pairs).T)[0, 1]


@pytest.mark.parametrize("smooth_bp", [25, 1e9])
def test_rotations_are_those_of_a_loop(smooth_bp):
    rng = np.random.default_rng(2)
    table = elements(rng, n_loci=1, n=61, drop=0.2)
    score = pd.Series(by_place(table, rng, 5)) + 0.3 * rng.normal(size=len(table))
    fast = measured.rotations(score.to_numpy(), table["effect"].to_numpy(), table["place"].to_numpy(), table["kind"].to_numpy(), smooth_bp)
    np.testing.assert_allclose(fast, list(rotated(table, score, table["effect"], smooth_bp)), atol=1e-9)
    assert fast[0] == pytest.approx(score.corr(table["effect"], method="spearman"))
    constant = measured.rotations(np.ones(len(table)), table["effect"].to_numpy(), table["place"].to_numpy(), table["kind"].to_numpy())
    assert (constant == 0).all()


def test_a_smooth_function_of_place_does_not_pass_though_it_goes_with_the_effects():
    """Effects are larger in the middle of every element, and the score says where the middle is: true, and nothing of any variant."""
    rng = np.random.default_rng(3)
    table = elements(rng, n_loci=8)
    inside = (table["place"] % 1000) / 200
    table["effect"] *= 1 + 3 * np.exp(-(((inside - 0.5) / 0.15) ** 2))
    bump, knows = 1 - (inside - 0.5) ** 2, table["effect"] + 2 * rng.normal(size=len(table))
    out = compared(table, bump=bump, knows=knows, slope=inside).loc["size"]
    assert out.loc["bump", "low"] > 0.2 and out.loc["bump", "p"] > 0.1
    assert out.loc["slope", "p"] > 0.1 and out.loc["knows", "p"] == 0.01
    unguarded = compared(table, bump=bump, smooth_bp=1e9).loc["size"]  # control: turned whole, the same score passes
    assert unguarded.loc["bump", "p"] == 0.01


@pytest.fixture(scope="module")
def chance():
    """200 scores that know nothing, of places and neighbours alike as the effects are: their tails, and their mean over three loci (of
    which one has two elements) in standard deviations of a null that shuffles variants, 1 / sqrt(n - 1) an element."""
    rng, tails, shuffled = np.random.default_rng(4), [], []
    for seed in range(200):
        table = elements(rng, n_loci=3, n=150, twice=(1,), drop=0.05)
        table["effect"] = by_place(table, rng, 8) + 0.5 * table["effect"]
        values = pd.DataFrame({"score": by_place(table, rng, 8) + 0.5 * rng.normal(size=len(table))})
        tails.append(measured._tails(table, table["effect"], values, 99, seed, 100)["score"])
        variance = table.groupby(["locus", "element"]).size().rsub(1).rdiv(-1).groupby("locus").agg(lambda of: of.mean() / len(of))
        shuffled.append(measured._by_locus(table, table["effect"], values)["score"].mean() / np.sqrt(variance.sum() / 9))
    return np.array(tails), np.array(shuffled)


def test_both_tails_are_calibrated_for_scores_and_effects_of_alike_neighbours(chance):
    tails, shuffled = chance
    for tail in tails.T:  # 200 of p uniform: binomial, .05 +- 3 x .0154 and .5 +- 3 x .035
        assert (tail <= 0.05).mean() < 0.1 and 0.39 < (tail <= 0.5).mean() < 0.61
    np.testing.assert_allclose(tails.sum(1), 1.01, atol=0.05)  # the two share only ties and the one at hand
    assert (shuffled > 1.645).mean() > 0.2  # control: a null of shuffled variants calls many of these


def test_places_and_changes_are_judged_by_others_by_hand():
    table = pd.DataFrame({
        "locus": ["x", "x", "x", "x", "y", "y", "z", "z"], "element": ["x1", "x1", "x1", "x1", "y1", "y1", "z1", "z1"],
        "place": [5, 5, 5, 6, 1, 2, 1, 2], "change": ["A>C", "A>G", "A>T", "C>T", "A>C", "C>G", "A>C", "C>T"],
        "effect": [1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0], "barcodes": [1, 2, 3, 4, 5, 6, 7, 8],
        "ref_sequence": ["ACGT", "AATT", "GGNN", "GCGC", "A", "C", "G", "T"],
    })  # fmt: skip
    size, signed = (measured.baselines(table, what) for what in ("size", "signed"))
    # the other two of place 5; 6 is alone: the other three of the element; y and z have one a place
    assert size[measured.PLACE_MEAN].tolist() == [2.5, 2, 1.5, 2, 6, 5, 8, 7]
    assert signed[measured.PLACE_MEAN].tolist() == [0.5, 2, -0.5, pytest.approx(2 / 3), 6, -5, 8, 7]
    # A>C of x: y has 5, z has 7. A>G nowhere else: the mean of what the others say of A>C (6), C>G (6), C>T (8). C>T of x: z.
    assert size[measured.CHANGE_MEAN].tolist()[:4] == [6, pytest.approx(20 / 3), pytest.approx(20 / 3), 8]
    assert signed[measured.CHANGE_MEAN].tolist()[:4] == [1, 5, 5, 8]
    assert size[measured.CHANGE_MEAN].tolist()[4] == 4 and size[measured.CHANGE_MEAN].tolist()[7] == 4
    assert size[measured.GC].tolist() == [0.5, 0, 1, 1, 0, 1, 1, 0] and size[measured.FEW].tolist() == [-1, -2, -3, -4, -5, -6, -7, -8]
    with pytest.raises(ValueError, match="1 locus, wanted 2"):
        measured.baselines(table[:4], "size")


def test_a_variant_is_never_judged_by_its_own_effect():
    rng = np.random.default_rng(5)
    table = elements(rng, n_loci=3, n=30)
    before = measured.baselines(table, "signed")
    for row in (0, 40, 150):
        other = table.assign(effect=table["effect"].where(table.index != row, 99.0))
        after = measured.baselines(other, "signed")
        assert after.loc[row, measured.PLACE_MEAN] == pytest.approx(before.loc[row, measured.PLACE_MEAN])
        own = table["locus"] == table.loc[row, "locus"]
        pd.testing.assert_series_equal(after.loc[own, measured.CHANGE_MEAN], before.loc[own, measured.CHANGE_MEAN])


def test_the_ceiling_is_what_two_elements_of_a_locus_agree_on():
    rng = np.random.default_rng(6)
    table = elements(rng, n_loci=3, twice=(1, 2))
    true = pd.Series(rng.normal(size=12_000), index=pd.MultiIndex.from_product([range(3000), range(4)]))
    table["effect"] = true[pd.MultiIndex.from_frame(table[["place", "kind"]])].to_numpy() + rng.normal(size=len(table))
    ceiling = measured.ceilings(table).set_index(["locus", "what"])
    assert set(ceiling.index.get_level_values(0)) == {"L1", "L2"}
    one, two = (table[table["element"] == f"L1.{k}"].set_index(["place", "kind"])["effect"] for k in (0, 1))
    both = pd.concat([one, two], axis=1, join="inner")
    assert ceiling.loc[("L1", "signed"), "value"] == pytest.approx(both.corr(method="spearman").iloc[0, 1])
    assert ceiling.loc[("L1", "size"), "value"] == pytest.approx(both.abs().corr(method="spearman").iloc[0, 1])
    assert ceiling.loc[("L1", "signed"), ["n_pairs", "n_variants"]].tolist() == [1, len(both)]
    truth = true[pd.MultiIndex.from_frame(table[["place", "kind"]])].to_numpy()
    out = compared(table, truth=truth).loc["signed"]
    mean = ceiling.xs("signed", level="what")["value"].mean()
    assert out["ceiling"].to_numpy() == pytest.approx(np.full(5, mean))
    assert mean < out.loc["truth", "value"] < np.sqrt(mean) + 0.05  # as the docstring says


def test_scores_meet_on_the_same_variants_and_the_unsigned_are_asked_for_size_alone():
    rng = np.random.default_rng(7)
    table = elements(rng, n_loci=3)
    score, rival = pd.Series(rng.normal(size=len(table))), pd.Series(rng.normal(size=len(table)) - 9)
    score[:50], rival[20:80] = np.nan, np.nan
    out = compared(table, score=score, rival=rival, unsigned=["rival"])
    assert (out["n_variants"] == len(table) - 80).all() and ("signed", "rival") not in out.index
    kept = table[80:].reset_index(drop=True)
    alone = compared(kept, rival=rival[80:].reset_index(drop=True), unsigned=["rival"])
    columns = ["value", "p", "p_mirror"]
    pd.testing.assert_series_equal(alone.loc[("size", "rival"), columns], out.loc[("size", "rival"), columns])
    pairs = pd.DataFrame({"rival": rival[80:].set_axis(kept.index), "size": kept["effect"].abs()})
    rho = np.mean([some.corr(method="spearman").iloc[0, 1] for _, some in pairs.groupby(kept["locus"])])
    assert out.loc[("size", "rival"), "value"] == pytest.approx(rho)  # -9 is taken as it is: high = large
    assert alone.loc["signed", "gain"].isna().all() and alone.loc["size", "gain"].notna().all()
    assert compared(table, flat=np.ones(len(table))).loc[("size", "flat"), "value"] == 0


def test_the_same_seed_gives_the_same_table():
    table = elements(np.random.default_rng(8), n_loci=3, n=60)
    score = pd.Series(np.arange(len(table)) % 7.0)
    assert compared(table, score=score, seed=1).equals(compared(table, score=score, seed=1))
    assert not compared(table, score=score, seed=1)["p"].equals(compared(table, score=score, seed=2)["p"])


@pytest.mark.parametrize("change, fault", [
    (lambda table, scores: (table.drop(columns=["barcodes", "kind"]), scores), "no column kind, barcodes; found"),
    (lambda table, scores: (table, scores.replace(0, np.inf)), "score: not finite"),
    (lambda table, scores: (table.assign(effect=table["effect"].where(table.index != 3)), scores), "effect: not finite"),
    (lambda table, scores: (table.assign(kind=0), scores), "element L0.0, place 0: kind 0 twice"),
    (lambda table, scores: (table.assign(effect=table["effect"].where(table["locus"] != "L0", 1.0)), scores),
     r"element L0.0: \d+ variants with every score, 1 unlike effects; wanted 30 and 2"),
    (lambda table, scores: (table, scores.where(table["locus"] == "L1")), "1 loci with variants that every score has, wanted 2"),
    (lambda table, scores: (table, scores.where((table["locus"] == "L1") | (table.index < 5))), "element L0.0: 5 variants with every"),
    (lambda table, scores: (table, scores[1:]), "rows: wanted one column a score"),
    (lambda table, scores: (table, scores[[]]), "wanted one column a score"),
    (lambda table, scores: (table, scores.rename(columns={"score": measured.GC})), "none called as a baseline"),
])  # fmt: skip
def test_faults_are_refused(change, fault):
    table = elements(np.random.default_rng(9), n_loci=2)
    scores = pd.DataFrame({"score": np.arange(len(table)) % 5.0})
    measured.compare(table, scores, 10, 9, 0)
    with pytest.raises(ValueError, match=fault):
        measured.compare(*change(table, scores), 10, 9, 0)


@pytest.mark.parametrize("options, fault", [
    ({"unsigned": ["other"]}, r"unsigned \['other'\]: wanted some of \['score'\]"),
    ({"tested": "both"}, "tested 'both', smooth_bp 100: wanted 'size' or 'signed'"),
    ({"smooth_bp": 0}, "smooth_bp 0: wanted .* a wavelength in bases"),
    ({"min_variants": 800}, "element L0.0: .* wanted 800 and 2 at least"),
    ({"tested": "signed", "unsigned": ["score"]}, "score is unsigned, so that its sign cannot be tested"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, fault):
    table = elements(np.random.default_rng(9), n_loci=2)
    with pytest.raises(ValueError, match=fault):
        compared(table, score=np.arange(len(table)) % 5.0, **options)


@pytest.fixture(scope="module")
def real():
    from lib.dna import mpra
    from lib.dna.reference import Reference

    path, genome = DATA_DIR / "variants/kircher2019_mpra_saturation.tsv.gz", DATA_DIR / "GRCh38_loci.fa.gz"
    if not (path.is_file() and genome.is_file()):
        pytest.skip(f"no {path}")
    table, elements = mpra.read(path, Reference(genome), 10, Counter())
    return mpra.windows(table, elements, 128)


def test_on_the_real_table_places_tell_and_noise_and_the_middle_do_not_pass(real):
    rng = np.random.default_rng(10)
    of = real.groupby("element")["place"]
    middle = -(((real["place"] - of.transform("min")) / (of.transform("max") - of.transform("min")) - 0.5) ** 2)
    scores = pd.DataFrame({"noise": rng.normal(size=len(real)), "middle": middle})
    out = measured.compare(real, scores, 100, 199, 0, unsigned=["middle"]).set_index(["what", "score"])
    assert (out["n_variants"] == 41_724).all() and (out["n_loci"] == 21).all()
    size = out.loc["size"]
    assert size.loc[measured.PLACE_MEAN, "low"] > 0.1 and size.loc[measured.PLACE_MEAN, "p"] == 0.005
    assert size.loc["middle", "low"] > 0 and size.loc["middle", "p"] > 0.05  # effects are larger in the middle of elements
    assert size.loc["noise", "low"] < 0 < size.loc["noise", "high"] and size.loc["noise", "p"] > 0.01
    ceiling = measured.ceilings(real).set_index(["locus", "what"])["value"].unstack()
    assert set(ceiling.index) == {"LDLR", "PKLR", "SORT1", "TERT", "ZRSh-13"} and (ceiling > 0.5).all(axis=None)
    pair = real[real["element"].str.startswith("PKLR")].pivot(index=["place", "change"], columns="element", values="effect").dropna()
    assert ceiling.loc["PKLR", "signed"] == pytest.approx(pair.corr(method="spearman").iloc[0, 1])
