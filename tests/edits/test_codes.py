"""Codes by class: two normals whose likelihood ratio is known, in genes whose labels and scores go together or do not."""

import dataclasses

import bioframe
import numpy as np
import pandas as pd
import pysam
import pytest
from scipy.stats import norm
from sklearn.metrics import class_likelihood_ratios
from statsmodels.stats.proportion import proportion_confint

from lib.dna.labelled import clinvar_label
from lib.edits import acmg, codes, posterior
from tests.helpers import DATA_DIR

SHORT, LONG = 10, 200
GRID = np.arange(-5, 7, 0.02)
TRUE = np.exp(2 * GRID - 2)  # likelihood ratio of a score of `cohort`
TOGETHER = {"independent": (0, 0), "labels": (0.3, 0), "labels and scores": (0.3, 0.3)}


def cohort(seed=0, n_genes=40, per_gene=10, labels=0.0, scores=0.0, distance=2.0, region="promoter") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores N(0, 1) of benign and N(distance, 1) of pathogenic variants, half of each; correlation of labels and of scores in a gene.

    Exon distance says nothing. 500 unlabelled variants, 4.41 % of them pathogenic.
    """
    rng = np.random.default_rng(seed)
    gene = np.repeat(np.arange(n_genes), per_gene)
    share = rng.beta(*[0.5 * (1 - labels) / labels] * 2, n_genes) if labels else np.full(n_genes, 0.5)  # correlation 1 / (a + b + 1)
    label = (rng.random(len(gene)) < share[gene]).astype(int)
    noise = rng.standard_normal(n_genes)[gene] * scores**0.5 + rng.standard_normal(len(gene)) * (1 - scores) ** 0.5
    table = pd.DataFrame({"region": region, "gene": [f"g{g}" for g in gene], "label": label, "score": distance * label + noise,
                          "exon_distance": rng.integers(0, 1000, len(gene))})  # fmt: skip
    unlabelled = rng.standard_normal(500) + distance * (rng.random(500) < 0.0441)
    return table, pd.DataFrame({"region": region, "score": unlabelled})


def new_genes(score: np.ndarray, region="promoter") -> pd.DataFrame:
    return pd.DataFrame({"region": region, "gene": "new", "score": score})


NAMES = {0: "none"} | {sign * points: f"{code}_{name.replace(' ', '_')}" for sign, code in ((1, "PP3"), (-1, "BP4"))
                       for name, points in acmg.STRENGTHS.items()}  # fmt: skip


def short_of(code: pd.Series, true: np.ndarray) -> np.ndarray:
    """Where a code says more than the true likelihood ratio does: [variant] bool."""
    wanted = {f"PP3_{row.strength.replace(' ', '_')}": row.likelihood_ratio for row in acmg.levels().itertuples()}
    least = code.map(wanted | {name.replace("PP3", "BP4"): ratio for name, ratio in wanted.items()})
    return np.where(code.str.startswith("PP3"), true < least, np.where(code == "none", False, 1 / true < least))


def draws(n: int, labels: float, scores: float) -> np.ndarray:
    """Of n cohorts of 40 genes: the share of coded variants of new genes, half pathogenic, whose code says more than is true, by the
    thresholds that count and by the point estimates: [n, 2]."""
    density, shares, seed = norm.pdf(GRID) + norm.pdf(GRID, 2), [], -1
    while len(shares) < n:
        seed += 1
        result = codes.by_class(*_arguments(cohort(seed, 40, 10, labels, scores)), n_folds=2, n_boot=59, seed=seed)
        if result.classes["status"].item() == codes.TOO_FEW:
            continue
        point = result.fits["promoter"].fits[0].calibration
        table = point.table.assign(status=np.where(point.table["threshold"].isna(), "not met", "met"))
        said = acmg.assign(dataclasses.replace(point, table=table.assign(threshold_conservative=table["threshold"])), GRID)
        both = codes.evidence(new_genes(GRID), result)["acmg"], pd.Series(said).map(NAMES)
        shares.append([density[short_of(code, TRUE)].sum() / density[code != "none"].sum() for code in both])
    assert seed < 1.1 * n + 1  # few are refused
    return np.array(shares)


def _arguments(both: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, str, pd.DataFrame]:
    return both[0], "score", both[1]


def test_codes_say_no_more_than_the_true_likelihood_ratio():
    right = (draws(SHORT, *TOGETHER["labels and scores"]) <= 0.05).mean(0)
    assert right[0] >= 0.8 and right[1] <= 0.5  # of 10, 3 wrong ones have a chance of 1 % where 5 % are


@pytest.mark.long
@pytest.mark.parametrize("together", TOGETHER)
def test_codes_say_no_more_than_the_true_likelihood_ratio_in_200_draws(together):
    """A draw is right where at most 5 % of its coded variants have a true likelihood ratio short of what their strength asks for."""
    shares, point = draws(LONG, *TOGETHER[together]).T
    print(f"{together}: right {np.mean(shares <= 0.05):.3f}, without any {np.mean(shares == 0):.3f}, mean share {shares.mean():.4f}; "
          f"by points {np.mean(point <= 0.05):.3f}")  # fmt: skip
    assert np.mean(shares <= 0.05) >= 0.95 > np.mean(point <= 0.05)


# What a variant is told -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known():
    """Two classes, one of them coding, of a good score; and what came of them."""
    (table, population), (coding, more) = cohort(1, 60), cohort(2, region="missense")
    table = pd.concat([table, coding.assign(gene="m" + coding["gene"])], ignore_index=True)
    table.loc[[3, 4], "score"] = np.nan
    population = pd.concat([population, more], ignore_index=True)
    return table, population, codes.by_class(table, "score", population, coding=["missense"], n_folds=3, n_boot=100)


def test_every_variant_has_a_code_or_a_reason_of_the_closed_vocabulary(known):
    table, _, result = known
    asked = pd.concat([table, new_genes(np.linspace(-4, 6, 50)), new_genes([1.0], "intron")], ignore_index=True)
    got = codes.evidence(asked.set_index(np.arange(len(asked)) * 7), result)
    assert got.index.tolist() == [7 * k for k in range(len(asked))]
    assert set(got["acmg"]) <= set(codes.ACMG) and set(got["why"]) <= set(codes.WHY) and set(result.classes["status"]) <= set(codes.STATUS)
    assert (got["why"].eq("") == got["acmg"].ne("none")).all() and (got["points"].ne(0) == got["acmg"].ne("none")).all()
    why = got["why"].to_numpy()
    assert (why[asked["region"] == "missense"] == "coding").all() and (why[[3, 4]] == "not_readable").all()
    assert why[-1] == "too_few_labels" and {"", "between_thresholds"} == set(why[-51:-1])
    assert {"PP3_Supporting", "PP3_Moderate", "BP4_Supporting", "none"} <= set(got["acmg"][-51:])
    assert not {"PP3_Very_strong", "BP4_Very_strong"} & set(got["acmg"])
    quiet = got[got["why"].isin(["coding", "not_readable", "too_few_labels"])]
    assert quiet[["likelihood_ratio", "bound", "posterior", "prior"]].isna().all(axis=None) and (quiet["n_pathogenic"] == 0).all()


def test_the_numbers_beside_a_code_are_those_of_its_window(known):
    table, _, result = known
    rows = table[(table["region"] == "promoter") & table["score"].notna()]
    asked = np.array([-1.0, 0.3, 1.0, 1.7, 2.5])
    got = codes.evidence(new_genes(asked), result)
    fit = result.fits["promoter"].fits[0]
    want = posterior.local_posterior(rows["score"].to_numpy(), rows["label"].to_numpy(), fit.sample.population, asked)
    for row, (at, wide) in zip(got.itertuples(), want[["score", "half_width"]].to_numpy()):
        near = rows[(rows["score"] - at).abs() <= wide]
        assert (row.n_pathogenic, row.n_benign) == ((near["label"] == 1).sum(), (near["label"] == 0).sum())
        ratio = (row.n_pathogenic / (rows["label"] == 1).sum()) / (row.n_benign / (rows["label"] == 0).sum())
        odds = ratio * 0.0441 / (1 - 0.0441)
        assert row.likelihood_ratio == pytest.approx(ratio) and row.posterior == pytest.approx(odds / (1 + odds))
        assert (row.bound < ratio) if ratio > 1 else (row.bound > ratio)
    assert got["points"].tolist() == acmg.assign(fit.calibration, asked).tolist()
    past = codes.evidence(new_genes([-99.0, 99.0]), result)  # further out than any calibrated score: the window at the end
    assert past["acmg"].str.slice(0, 3).tolist() == ["BP4", "PP3"] and (past["n_pathogenic"] + past["n_benign"] >= 50).all()


def test_the_table_of_strengths_is_the_calibration_of_all_genes(known):
    table, population, result = known
    rows = table[(table["region"] == "promoter") & table["score"].notna()]
    got = result.strengths
    assert list(got.columns) == codes.STRENGTH_COLUMNS and list(result.classes.columns) == codes.CLASS_COLUMNS
    assert set(got["region"]) == {"promoter"} and len(got) == 10
    unlabelled = population.loc[population["region"] == "promoter", "score"]
    plain = acmg.calibrate(rows["score"], rows["label"], unlabelled, n_boot=100, groups=rows["gene"]).table
    met = got["status"] == "met"
    assert 4 <= met.sum() < 10 and (plain["status"][met] == "met").all()
    np.testing.assert_array_equal(got["threshold_conservative"][met], plain["threshold_conservative"][met])
    pathogenic, up = got["code"] == "PP3", got["likelihood_ratio"] > 1
    assert (pathogenic[met] == up[met]).all() and (got["prior"] == 0.0441).all()
    np.testing.assert_allclose(np.where(pathogenic, got["wanted"], 1 / got["wanted"]), plain["likelihood_ratio"])
    assert (np.where(pathogenic, got["likelihood_ratio"] >= got["wanted"], got["likelihood_ratio"] <= got["wanted"])[met]).all()
    assert (got.loc[met, "n_pathogenic"] + got.loc[met, "n_benign"] >= 50).all()
    assert got.loc[~met, ["threshold_conservative", "likelihood_ratio", "bound"]].isna().all(axis=None)


# Genes ----------------------------------------------------------------------------------------------------------


def test_genes_widen_the_bounds_where_scores_go_together_in_them():
    at, ratios = np.array([1.0]), {}
    for together in (0.0, 0.6):
        (table, population), widths = cohort(3, 40, 20, 0.0, together), []
        data = table["score"], table["label"], population["score"]
        for groups in (None, np.arange(len(table)), table["gene"]):
            sample = posterior.checked(*data, groups)
            row = posterior.likelihood_ratio(sample, at, posterior.rule_of(sample, 0.01, 300), 0.0441, 300, 0).iloc[0]
            assert row["low"] < row["likelihood_ratio"] < row["high"]
            widths.append(np.log(row["high"] / row["low"]))
        ratios[together] = np.array(widths[1:]) / widths[0]
    assert ratios[0.0] == pytest.approx([1, 1], abs=0.15)  # genes of one variant are variants
    assert ratios[0.6][0] == pytest.approx(1, abs=0.15) and ratios[0.6][1] > 1.4


def test_genes_move_thresholds_outwards():
    moved = []
    for seed in range(6):
        table, population = cohort(seed, 30, 14, 0.3, 0.6)
        data = table["score"], table["label"], population["score"]
        alone, whole = (acmg.calibrate(*data, n_boot=60, groups=g).table.iloc[[0, 5]] for g in (None, table["gene"]))
        np.testing.assert_array_equal(alone["threshold"], whole["threshold"])
        moved.extend((whole["threshold_conservative"] - alone["threshold_conservative"]) * [1, -1])
    assert np.nanmean(moved) > 0.05 and np.nanmin(moved) > -0.1


def test_points_come_from_thresholds_that_never_saw_the_gene():
    table, population = cohort(4, 60)
    one = codes.by_class(table, "score", population, n_folds=3, n_boot=40)
    gene = table["gene"][0]
    changed = table.assign(score=np.where(table["gene"] == gene, -table["score"], table["score"]))
    other = codes.by_class(changed, "score", population, n_folds=3, n_boot=40)
    before, after = one.fits["promoter"], other.fits["promoter"]
    k = before.held_out[gene]
    assert before.held_out == after.held_out and set(before.held_out) == set(table["gene"]) and set(before.held_out.values()) == {1, 2, 3}
    for fold in range(4):
        same = before.fits[fold].calibration.table.equals(after.fits[fold].calibration.table)
        assert same == (fold == k)
    got = codes.evidence(table, one)
    assert got["fold"].tolist() == [before.held_out[g] for g in table["gene"]]
    for fold in (1, 2, 3):
        rows = (got["fold"] == fold).to_numpy()
        assert got["points"][rows].tolist() == acmg.assign(before.fits[fold].calibration, table["score"][rows]).tolist()


def test_realised_likelihood_ratios_are_those_of_held_out_codes(known):
    table, _, result = known
    rows = table[(table["region"] == "promoter") & table["score"].notna()]
    got, n_seen = codes.evidence(rows, result), 0
    for row in result.strengths.itertuples():
        coded = got["acmg"] == f"{row.code}_{row.strength.replace(' ', '_')}"
        assert (row.held_out_pathogenic, row.held_out_benign) == tuple((coded & (rows["label"] == label)).sum() for label in (1, 0))
        if row.held_out_pathogenic and row.held_out_benign:
            want = class_likelihood_ratios(rows["label"], coded.astype(int))[0]
            assert row.held_out == pytest.approx(want) and row.held_out_low < want < row.held_out_high
            n_seen += 1
        elif not row.held_out_pathogenic + row.held_out_benign:
            assert np.isnan(row.held_out)
    assert n_seen >= 2


# Refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 1])
def test_a_class_of_fewer_than_100_of_a_label_earns_no_code(label):
    table, population = cohort(5, 50)
    few = table.drop(table.index[table["label"] == label][::2])  # about 100 are left, of all genes
    few = few.drop(few.index[few["label"] == label][99:])
    assert (few["label"] == label).sum() == 99
    got = codes.by_class(few, "score", population, n_boot=20)
    row = got.classes.iloc[0]
    assert row["status"] == "too_few_labels" and "99" in row["why"] and "wanted 100 of each" in row["why"]
    assert got.strengths.empty and not got.fits
    told = codes.evidence(pd.concat([table, new_genes([9.0, -9.0])]), got)
    assert (told["acmg"] == "none").all() and (told["why"] == "too_few_labels").all()
    one_more = pd.concat([few, few[few["label"] == label].tail(1).assign(gene="g0")])
    assert codes.by_class(one_more, "score", population, n_boot=20, n_folds=2).classes["status"].item() == "calibrated"


def test_labels_of_few_genes_earn_no_code():
    table, population = cohort(5, 29, 20)
    row = codes.by_class(table, "score", population, n_boot=20).classes.iloc[0]
    assert (row["status"], row["why"]) == ("too_few_labels", "pathogenic variants in 29 genes and benign ones in 29, wanted 30 for each")
    one_label = table[table["label"] == 1]
    row = codes.by_class(one_label, "score", population, n_boot=20).classes.iloc[0]
    assert row["status"] == "too_few_labels" and row["n_benign"] == 0 and np.isnan(row["auroc"])


@pytest.mark.parametrize("turned", [1, -1])
def test_location_alone_earns_no_code(turned):
    """The score is the distance from exons, exactly or roughly; a score that knows more is calibrated beside the same distance."""
    table, population = cohort(6)
    rng = np.random.default_rng(0)
    where = table["label"] * 1.5 + rng.standard_normal(len(table))
    table["exon_distance"] = turned * 1000 * where
    table["copy"], table["roughly"] = where, where + 0.5 * rng.standard_normal(len(table))
    table["more"] = where + table["score"]
    population = population.assign(copy=population["score"], roughly=population["score"], more=2 * population["score"])
    for score, status in (("copy", "location"), ("roughly", "location"), ("more", "calibrated")):
        got = codes.by_class(table, score, population, n_folds=2, n_boot=60)
        row = got.classes.iloc[0]
        assert row["status"] == status and row["location"] > 0.75
        assert (row["gain_low"] > 0) == (status == "calibrated") and row["gain"] == pytest.approx(row["auroc"] - row["location"])
        told = codes.evidence(new_genes([9.0]).rename(columns={"score": score}), got)
        assert told["why"].item() == ("" if status == "calibrated" else "location")
        assert (told["acmg"].item() == "none") == (status == "location")


def test_a_constant_score_and_a_useless_one_earn_no_code():
    table, population = cohort(7)
    got = codes.by_class(table.assign(score=0.25), "score", population, n_boot=20)
    assert (got.classes["status"].item(), got.classes["why"].item()) == ("not_met", "the score is 0.25 for every variant")
    assert codes.evidence(new_genes([0.25]), got)[["acmg", "why"]].to_numpy().tolist() == [["none", "not_met"]]
    for seed in range(5):
        nothing, population = cohort(seed, distance=0.0)
        got = codes.by_class(nothing, "score", population, n_folds=2, n_boot=40)
        assert got.classes["status"].item() in ("location", "not_met")
        assert (codes.evidence(nothing, got)["acmg"] == "none").all()


def test_a_direction_without_a_threshold_is_not_met_and_the_other_is_between():
    """Half of the pathogenic variants stand out and half look like benign ones: nothing speaks for benign."""
    table, population = cohort(8, 60)
    hidden = (table["label"] == 1) & (np.arange(len(table)) % 3 > 0)
    table["score"] = np.where(hidden, np.random.default_rng(0).standard_normal(len(table)), table["score"] + 2 * table["label"])
    got = codes.by_class(table, "score", population, n_folds=2, n_boot=60)
    met = got.strengths[got.strengths["status"] == "met"]
    assert set(met["code"]) == {"PP3"}
    told = codes.evidence(new_genes([-2.0, met["threshold_conservative"].min() - 0.05, 4.0]), got)
    assert told["why"].tolist() == ["not_met", "between_thresholds", ""]
    assert told["acmg"].str.startswith("PP3").tolist() == [False, False, True]


def test_strengths_that_no_window_shows_are_not_met():
    """A window without a benign variant is certain in every resample: calibrated alone, 200 of each label earn "Very strong"."""
    alone, gated = 0, 0
    for seed in range(12):
        table, population = cohort(seed)
        data = table["score"], table["label"], population["score"]
        calibration = acmg.calibrate(*data, n_boot=40, groups=table["gene"])
        kept = codes._shown(codes.Fit(calibration, posterior.checked(*data, table["gene"]), 0)).calibration.table
        very = calibration.table["strength"] == "Very strong"
        alone, gated = alone + (calibration.table["status"][very] == "met").any(), gated + (kept["status"][very] == "met").any()
        weak = calibration.table["points"] == 1
        assert kept[weak].equals(calibration.table[weak]) and (kept["status"][weak] == "met").all()
    assert alone >= 3 and gated == 0


def test_exact_bounds_are_clopper_and_pearsons():
    inside = np.array([[0, 5, 100, 80], [100, 95, 0, 20]])
    low, high = posterior.exact_bounds(inside, 0.5)
    least, most = proportion_confint(inside[0], inside.sum(0), alpha=0.10, method="beta")
    np.testing.assert_allclose(low, [0, *(least / (1 - least))[1:] / 0.5])
    np.testing.assert_allclose(high[[0, 1, 3]], most[[0, 1, 3]] / (1 - most[[0, 1, 3]]) / 0.5)
    assert np.isinf(high[2]) and low[2] == pytest.approx(0.05 ** (1 / 100) / (1 - 0.05 ** (1 / 100)) / 0.5)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t, p: (t, ["score", "label"], p, {}), "wanted one column, for PP3 and BP4 have one source"),
        (lambda t, p: (t.drop(columns="gene"), "score", p, {}), "table: no column gene; wanted region, score, gene, label, exon_distance"),
        (lambda t, p: (t, "score", p.drop(columns="region"), {}), "population: no column region"),
        (lambda t, p: (t.assign(label=2), "score", p, {}), "table: label of row 0 is 2, wanted 0 or 1"),
        (lambda t, p: (t.assign(exon_distance=np.nan), "score", p, {}), "table: exon_distance of row 0 is missing"),
        (lambda t, p: (t.assign(gene=None), "score", p, {}), "table: gene of row 0 is missing"),
        (lambda t, p: (t.assign(score=np.inf), "score", p, {}), "table: score of row 0 is infinite, wanted a finite number"),
        (lambda t, p: (t.assign(exon_distance="near"), "score", p, {}), "table: exon_distance is no column of numbers"),
        (lambda t, p: (t, "score", p.assign(region="intron"), {}), "population: no readable variant of class 'promoter', wanted some"),
        (lambda t, p: (t, "score", p, {"n_folds": 1}), "n_folds 1, min_genes 30"),
        (lambda t, p: (t, "score", p, {"n_boot": 0}), "n_boot 0: wanted"),
    ],
)
def test_bad_input_is_refused(change, message):
    table, score, population, options = change(*cohort(9))
    with pytest.raises(ValueError, match=message):
        codes.by_class(table, score, population, **{"n_boot": 5} | options)


def clinvar() -> pd.DataFrame:
    """ClinVar's labelled substitutions in genes of which the exons are known: contig, pos, gene, label, exon_distance."""
    exons = pd.read_csv(DATA_DIR / "lrg_exons.bed.gz", sep="\t", header=None, names=["contig", "start", "end", "name"], usecols=range(4))
    name = exons["name"].str.split("|")
    with pysam.VariantFile(DATA_DIR / "clinvar_loci.vcf.gz") as file:
        rows = [(r.contig, r.start, *(",".join(np.atleast_1d(r.info[key])) for key in ("GENEINFO", "CLNSIG"))) for r in file
                if len(r.ref) == 1 and [*map(len, r.alts)] == [1] and "GENEINFO" in r.info and "CLNSIG" in r.info]  # fmt: skip
    table = pd.DataFrame(rows, columns=["contig", "pos", "gene", "said"])
    table["label"] = clinvar_label(table["said"])
    table = table[table["label"].notna() & table["gene"].isin(name.str[0])].drop_duplicates(["contig", "pos"])
    place = table[["contig"]].assign(start=table["pos"], end=table["pos"] + 1)
    columns = ("contig", "start", "end")
    near = bioframe.closest(place, exons[name.str[2] == "exon"], cols1=columns, cols2=columns).drop_duplicates(["contig", "start"])
    distance = near.set_index(["contig", "start"])["distance"].rename("exon_distance").astype(float)
    return table.join(distance, on=["contig", "pos"]).reset_index(drop=True)


@pytest.mark.skipif(not (DATA_DIR / "clinvar_loci.vcf.gz").exists(), reason=f"no clinvar_loci.vcf.gz in {DATA_DIR}")
def test_clinvars_variants_outside_exons_earn_no_code():
    """Real labels: the distance from exons tells them so well that a score made of it is refused, and far from exons they are too few."""
    table, rng = clinvar(), np.random.default_rng(0)
    table["region"] = np.select([table["exon_distance"] == 0, table["exon_distance"] <= 50], ["exon", "near"], "far")
    table["score"] = -np.log1p(table["exon_distance"]) + 0.1 * rng.standard_normal(len(table))
    got = codes.by_class(table, "score", table[["region", "score"]], coding=["exon"], n_boot=59)
    rows = got.classes.set_index("region")
    assert rows["status"].to_dict() == {"exon": "coding", "far": "too_few_labels", "near": "location"}
    assert rows["location"]["near"] > 0.9 and rows["n_pathogenic"]["far"] < 100 < rows["n_benign"]["far"]
    told = codes.evidence(table, got)
    assert (told["acmg"] == "none").all() and told["why"].tolist() == table["region"].map(rows["status"]).tolist()
    told = codes.by_class(table.assign(score=table["label"] + table["score"]), "score", table[["region", "score"]], n_folds=2, n_boot=19)
    assert told.classes.set_index("region")["status"]["near"] == "calibrated"  # what knows more is not refused


def test_evidence_asks_for_its_columns(known):
    with pytest.raises(ValueError, match="table: no column score; wanted region, score, gene"):
        codes.evidence(pd.DataFrame({"region": ["a"], "gene": ["b"]}), known[2])


def test_curves_are_of_calibrated_classes_alone_at_quantiles_of_their_scores(known):
    table, _, result = known
    got = codes.curves(result, 9)
    assert list(got.columns) == codes.CURVE_COLUMNS and set(got.region) == {"promoter"} and len(got) == 9
    scores = table.loc[(table.region == "promoter") & table.score.notna(), "score"]
    assert got.score.tolist() == pytest.approx(np.quantile(scores, np.linspace(0, 1, 9)).tolist())
    asked = result.fits["promoter"].fits[0].windows(got.score.to_numpy())
    assert (got.low <= got.likelihood_ratio).all() and got.likelihood_ratio.tolist() == asked["likelihood_ratio"].tolist()
    assert codes.curves(dataclasses.replace(result, fits={})).empty
