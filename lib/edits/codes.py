"""PP3 and BP4 codes of one score, class of regions by class: a code with its window's numbers, or none with the reason.

`acmg.calibrate` sets the thresholds, by bootstraps of whole genes. A class gets none where labels are few, where the score says no more
than how far a variant lies from an exon, or where its codes are another predictor's to give. Variants of genes that a calibration saw
get their codes from one that did not. PP3 has one source only: a table holds one score, and nothing here combines two.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep

from lib.corpus import splits
from lib.edits import acmg, separation
from lib.edits import posterior as local
from lib.stats import estimates

NONE = "none"
#: All that `evidence` may say of a variant. "+3" has no word in the guidelines.
ACMG = (NONE, *(f"{code}_{strength.replace(' ', '_')}" for code in acmg.CODES.values() for strength in acmg.STRENGTHS))
TOO_FEW, LOCATION, CODING, NOT_MET = "too_few_labels", "location", "coding", "not_met"
BETWEEN, NOT_READABLE = "between_thresholds", "not_readable"
#: Why a variant has no code; "" where it has one.
WHY = ("", TOO_FEW, BETWEEN, NOT_MET, CODING, NOT_READABLE, LOCATION)
CALIBRATED = "calibrated"
#: What became of a class.
STATUS = (CALIBRATED, TOO_FEW, NOT_MET, CODING, LOCATION)
STRENGTH_COLUMNS = ["region", "code", "strength", "points", "status", "prior", "wanted", "threshold", "threshold_conservative",
                    "n_pathogenic", "n_benign", "likelihood_ratio", "bound", "posterior", "held_out", "held_out_low", "held_out_high",
                    "held_out_pathogenic", "held_out_benign"]  # fmt: skip
_AUROC = ["auroc", "auroc_low", "auroc_high", "location", "location_low", "location_high", "gain", "gain_low", "gain_high"]
CLASS_COLUMNS = ["region", "status", "why", "n_pathogenic", "n_benign", "n_genes", "n_genes_pathogenic", "n_genes_benign",
                 "n_not_readable", "n_population", *_AUROC]  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """A calibration with what it was made of."""

    calibration: acmg.Calibration
    sample: local.Sample
    seed: int

    def windows(self, at: np.ndarray) -> pd.DataFrame:
        """`posterior.likelihood_ratio` at scores [k], with the resamples of the calibration."""
        c = self.calibration
        return local.likelihood_ratio(self.sample, at, local.rule_of(self.sample, c.increment), c.alpha, c.n_boot, self.seed)


@dataclass(frozen=True)
class ClassFit:
    """fits[0] saw all genes of a class, fits[k] all but those that held_out says k for."""

    fits: tuple[Fit, ...]
    held_out: dict[str, int]


@dataclass(frozen=True)
class Codes:
    """What `by_class` made of one score.

    strengths: a row a calibrated class, code and strength: status ("met", "not met"), points, prior, wanted (likelihood ratio; ratios
    are of pathogenic over benign, so below 1 for BP4), threshold, threshold_conservative (the one that counts), and of the window
    there n_pathogenic, n_benign, likelihood_ratio, bound (one-sided 5 %, towards 1) and posterior of pathogenicity. held_out,
    held_out_low, held_out_high, held_out_pathogenic, held_out_benign: the likelihood ratio of having just that code when thresholds
    never saw the variant's gene, its 95 % interval, and how many variants have it.
    classes: a row a class: region, status (of STATUS), why (in words), n_pathogenic, n_benign, n_genes, n_genes_pathogenic and
    n_genes_benign (of readable variants), n_not_readable, n_population, AUROC of the score and of the location with 95 % intervals by
    gene, and the paired gain of the first over the second.
    """

    strengths: pd.DataFrame
    classes: pd.DataFrame
    score: str
    coding: frozenset[str]
    fits: dict[str, ClassFit]


def by_class(
    table: pd.DataFrame, score: str, population: pd.DataFrame, location: str = "exon_distance", coding: Collection[str] = (),
    alpha: float = 0.0441, increment: float | None = None, min_label: int = 100, min_genes: int = 30, n_folds: int = 5,
    n_boot: int = 1000, seed: int = 0,
) -> Codes:  # fmt: skip
    """Calibrate one score in each class of regions, or say why not.

    table: labelled variants: region, gene, label (0 or 1), the column `score` (high = pathogenic; NaN: not readable), and the column
    `location`, a number. population: unlabelled variants with region and `score`. coding: classes whose codes another predictor gives.

    No code where a label has fewer than min_label readable variants or lies in fewer than min_genes genes (draws of few genes say too
    little: with scores that go together within genes, thresholds from 10 genes were too weak in 6 to 20 % of samples, not 5 %); where
    the score is constant; and where its AUROC does not exceed that of location, turned the way that separates better, with the whole
    paired interval. A strength is met as in `acmg.calibrate`, and if some window at or beyond its threshold shows it by
    `posterior.exact_bounds`. Whole genes are dealt into n_folds, and each fold gets thresholds from the others. Classes are refused by
    all their genes at once. Time grows with n_boot, n_folds + 1 and the number of distinct scores, those of the population too.
    Raises ValueError for more than one score, missing columns and values, and a class to calibrate without a population.
    """
    if np.ndim(score):
        raise ValueError(f"scores {list(score)}: wanted one column, for PP3 and BP4 have one source")
    if not 2 <= n_folds <= min_genes or n_boot < 1:
        raise ValueError(f"n_folds {n_folds}, min_genes {min_genes}, n_boot {n_boot}: wanted 2 folds or more, and no fewer genes and draws")
    _check("table", table, score, ["gene", "label", location])
    _check("population", population, score, [])
    fits, classes, strengths = {}, [], []
    for region, rows in table.groupby("region", observed=True):
        readable, unlabelled = rows[rows[score].notna()], population.loc[population["region"] == region, score].dropna().to_numpy()
        told = _counts(region, rows, readable, len(unlabelled)) | _against_location(readable, score, location, n_boot, seed)
        status, why = _refusal(told, readable[score], coding, min_label, min_genes)
        if not status:
            if not len(unlabelled):
                raise ValueError(f"population: no readable variant of class {region!r}, wanted some beside its labelled {len(readable)}")
            fitted = _fit(readable, score, unlabelled, alpha, increment, n_folds, n_boot, seed)
            status, why = _outcome(fitted.fits[0].calibration)
            if status != TOO_FEW:
                fits[region] = fitted
                strengths.append(_strengths(region, fitted, readable, score, n_boot, seed))
        classes.append(told | {"status": status, "why": why})
    return Codes(pd.concat(strengths or [pd.DataFrame(columns=STRENGTH_COLUMNS)], ignore_index=True),
                 pd.DataFrame(classes, columns=CLASS_COLUMNS), score, frozenset(coding), fits)  # fmt: skip


def evidence(table: pd.DataFrame, result: Codes) -> pd.DataFrame:
    """The code of each variant, or why it has none: one row each, with the index of `table`.

    table: region, gene and the column result.score. Returns acmg (of ACMG), why (of WHY), points (below 0 for BP4), likelihood_ratio,
    bound (one-sided 5 %, towards 1), posterior, prior, n_pathogenic, n_benign (of the window around the score), fold: 0 where the
    thresholds are those of all genes, k where its gene is one of the calibration's, and they are those that never saw it. A window
    without benign variants has an infinite ratio, and a finite bound. A score that neither code claims, or both do, is
    "between_thresholds"; "not_met" where its direction has no threshold at all.
    """
    _check("table", table, result.score, ["gene"])
    score, region = table[result.score].to_numpy(float), table["region"].to_numpy()
    status = dict(zip(result.classes["region"], result.classes["status"]))
    why = [CODING if r in result.coding else NOT_READABLE if np.isnan(s) else status.get(r, TOO_FEW) for r, s in zip(region, score)]
    out = pd.DataFrame({"acmg": NONE, "why": why, "points": 0, "likelihood_ratio": np.nan, "bound": np.nan, "posterior": np.nan,
                        "prior": np.nan, "n_pathogenic": 0, "n_benign": 0, "fold": 0})  # fmt: skip
    for name, fitted in result.fits.items():
        rows = np.flatnonzero((region == name) & ~np.isnan(score))
        fold = np.array([fitted.held_out.get(gene, 0) for gene in table["gene"].iloc[rows]], dtype=int)
        for k in np.unique(fold):
            told = _told(fitted.fits[k], score[rows[fold == k]]).assign(fold=k)
            out.loc[rows[fold == k], told.columns] = told.to_numpy(object)
    types = {"points": int, "n_pathogenic": int, "n_benign": int, "fold": int}
    floats = dict.fromkeys(["likelihood_ratio", "bound", "posterior", "prior"], float)
    return out.astype(types | floats).set_index(table.index)


CURVE_COLUMNS = ["region", "score", "posterior", "likelihood_ratio", "low", "high", "n_pathogenic", "n_benign"]


def curves(result: Codes, n: int = 40) -> pd.DataFrame:
    """The local likelihood ratio along the scores of each calibrated class, with its one-sided 5 % bounds: CURVE_COLUMNS, a row each of n
    quantiles of its labelled scores; no row of a class without a calibration."""
    parts = [pd.DataFrame(columns=CURVE_COLUMNS)]
    for region, fitted in result.fits.items():
        at = np.unique(np.quantile(fitted.fits[0].sample.score, np.linspace(0, 1, n)))
        parts.append(fitted.fits[0].windows(at).assign(region=region)[CURVE_COLUMNS])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _check(name: str, table: pd.DataFrame, score: str, columns: list[str]) -> None:
    if missing := [c for c in ("region", score, *columns) if c not in table]:
        raise ValueError(f"{name}: no column {', '.join(missing)}; wanted region, {', '.join([score, *columns])}")
    for column in ("region", *columns):
        if table[column].isna().any():
            raise ValueError(f"{name}: {column} of row {table.index[table[column].isna()][0]} is missing, wanted a value in every row")
    for column in [score, *(c for c in columns if c not in ("gene", "label"))]:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"{name}: {column} is no column of numbers, but of {table[column].dtype}")
        if (endless := np.isinf(table[column].to_numpy(float))).any():
            raise ValueError(f"{name}: {column} of row {table.index[endless][0]} is infinite, wanted a finite number")
    if "label" in columns and not table["label"].isin([0, 1]).all():
        at = table.index[~table["label"].isin([0, 1])][0]
        raise ValueError(f"{name}: label of row {at} is {table.loc[at, 'label']}, wanted 0 or 1")


def _counts(region: str, rows: pd.DataFrame, readable: pd.DataFrame, n_population: int) -> dict:
    labelled = {name: readable[readable["label"] == label] for name, label in (("pathogenic", 1), ("benign", 0))}
    return ({"region": region} | {f"n_{name}": len(those) for name, those in labelled.items()} | {"n_genes": readable["gene"].nunique()}
            | {f"n_genes_{name}": those["gene"].nunique() for name, those in labelled.items()}
            | {"n_not_readable": len(rows) - len(readable), "n_population": n_population})  # fmt: skip


def _against_location(readable: pd.DataFrame, score: str, location: str, n_boot: int, seed: int) -> dict:
    """AUROC of both and the gain of the score, with intervals by gene; NaN where a label is missing."""
    if readable["label"].nunique() < 2:
        return dict.fromkeys(_AUROC, np.nan)
    away = readable[location].to_numpy(float)
    turned = away if estimates.auroc(readable["label"].to_numpy(), away) >= 0.5 else -away
    both = pd.DataFrame({"label": readable["label"], "gene": readable["gene"], "score": readable[score], "location": turned})
    first, second = separation.separation(both, {"score": "score", "location": "location"}, n_boot, seed).to_dict("records")
    values = [one[key] for one in (first, second) for key in ("value", "low", "high")]
    return dict(zip(_AUROC, [*values, second["gain"], second["gain_low"], second["gain_high"]]))


def _refusal(told: dict, score: pd.Series, coding: Collection[str], min_label: int, min_genes: int) -> tuple[str, str]:
    """Status and why, in words, of a class that is not to be calibrated, else two empty texts."""
    if told["region"] in coding:
        return CODING, "its codes are those of a predictor of coding variants"
    if min(told["n_pathogenic"], told["n_benign"]) < min_label:
        return TOO_FEW, f"{told['n_pathogenic']} pathogenic and {told['n_benign']} benign variants, wanted {min_label} of each"
    if min(n_genes := (told["n_genes_pathogenic"], told["n_genes_benign"])) < min_genes:
        return TOO_FEW, f"pathogenic variants in {n_genes[0]} genes and benign ones in {n_genes[1]}, wanted {min_genes} for each"
    if score.nunique() < 2:
        return NOT_MET, f"the score is {score.iloc[0]:g} for every variant"
    if not told["gain_low"] > 0:
        return LOCATION, (f"AUROC {told['auroc']:.3f} against {told['location']:.3f} of location: gain {told['gain']:+.3f} "
                          f"({told['gain_low']:.3f} to {told['gain_high']:.3f}), wanted above 0")  # fmt: skip
    return "", ""


def _fit(
    readable: pd.DataFrame, score: str, population: np.ndarray, alpha: float, increment: float | None, n_folds: int, n_boot: int, seed: int
) -> ClassFit:
    fold = splits.stratified_folds(readable["label"], readable["gene"], n_folds, seed) + 1
    fits = []
    for k in range(n_folds + 1):
        seen = readable[fold != k]
        data = seen[score].to_numpy(float), seen["label"].to_numpy(), population
        calibration = acmg.calibrate(*data, alpha, increment, n_boot=n_boot, seed=seed + k, groups=seen["gene"])
        fits.append(_shown(Fit(calibration, local.checked(*data, seen["gene"]), seed + k)))
    return ClassFit(tuple(fits), dict(zip(readable["gene"], fold.tolist())))


def _shown(fit: Fit) -> Fit:
    """The fit without strengths that no window at or beyond their threshold shows by exact bounds."""
    sample, table = fit.sample, fit.calibration.table.copy()
    at = local.candidate_thresholds(sample.score, sample.population)
    inside = local.windows(at, local.ordered(*sample[:3]), local.rule_of(sample, fit.calibration.increment))[1]
    low, high = local.exact_bounds(inside, sample.label.sum() / (~sample.label).sum())
    for row in table[table["status"] == "met"].itertuples():
        up = row.code == "PP3"
        beyond = at >= row.threshold_conservative if up else at <= row.threshold_conservative
        if not ((low if up else 1 / high)[beyond] >= row.likelihood_ratio).any():
            table.loc[row.Index, ["status", "threshold_conservative"]] = "not met", np.nan
    return replace(fit, calibration=replace(fit.calibration, table=table))


def _outcome(calibration: acmg.Calibration) -> tuple[str, str]:
    """Status and why of a class by the calibration of all its genes."""
    if calibration.status != CALIBRATED:
        return TOO_FEW, calibration.status
    met = (calibration.table["status"] == "met").any()
    return (CALIBRATED, "") if met else (NOT_MET, "no strength reaches its level in 95 % of the draws of genes")


def _strengths(region: str, fitted: ClassFit, readable: pd.DataFrame, score: str, n_boot: int, seed: int) -> pd.DataFrame:
    fit, up = fitted.fits[0], fitted.fits[0].calibration.table["code"] == "PP3"
    table, met = fit.calibration.table, fit.calibration.table["status"] == "met"
    wanted = np.where(up, table["likelihood_ratio"], 1 / table["likelihood_ratio"])
    at = fit.windows(table.loc[met, "threshold_conservative"].to_numpy()).set_index(table.index[met]).reindex(table.index)
    held_out = _realised(_held_out_points(fitted, readable, score), table["points"] * np.where(up, 1, -1), readable, n_boot, seed)
    return table.assign(
        region=region, prior=fit.calibration.alpha, wanted=wanted, likelihood_ratio=at["likelihood_ratio"],
        bound=np.where(up, at["low"], at["high"]), posterior=at["posterior"],
        **at[["n_pathogenic", "n_benign"]].fillna(0).astype(int), **held_out,
    )[STRENGTH_COLUMNS]  # fmt: skip


def _held_out_points(fitted: ClassFit, readable: pd.DataFrame, score: str) -> np.ndarray:
    """Points of labelled variants by the thresholds that never saw their gene: [variant]."""
    values, fold = readable[score].to_numpy(float), readable["gene"].map(fitted.held_out).to_numpy()
    points = np.zeros(len(values), dtype=int)
    for k in range(1, len(fitted.fits)):
        points[fold == k] = acmg.assign(fitted.fits[k].calibration, values[fold == k])
    return points


def _realised(points: np.ndarray, strengths: pd.Series, readable: pd.DataFrame, n_boot: int, seed: int) -> pd.DataFrame:
    """Likelihood ratio of having just each of `strengths`, signed points; its 95 % interval and counts, one row each.

    The interval is the wider of the bootstrap over genes and that of the log of the ratio with half a variant added to each count
    (Walter 1975), since no draw of genes knows more benign variants than the sample has.
    """
    label = readable["label"].to_numpy() == 1
    gene, n_genes = pd.factorize(readable["gene"])[0], readable["gene"].nunique()
    drawn = np.random.default_rng(seed).multinomial(n_genes, np.full(n_genes, 1 / n_genes), n_boot)
    all_drawn = [drawn @ np.bincount(gene[kind], minlength=n_genes) for kind in (label, ~label)]
    rows = []
    for signed in strengths:
        coded = [(points == signed) & kind for kind in (label, ~label)]
        p, b = (int(one.sum()) for one in coded)
        if not p + b:
            rows.append((np.nan, np.nan, np.nan, 0, 0))
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = [drawn @ np.bincount(gene[one], minlength=n_genes) / n for one, n in zip(coded, all_drawn)]
            ratios, value = shares[0] / shares[1], np.float64(p / label.sum()) / (b / (~label).sum())
        ratios = np.sort(ratios[~np.isnan(ratios)])
        low, high = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf") if len(ratios) else (np.nan, np.nan)
        least, most = confint_proportions_2indep(p, label.sum(), b, (~label).sum(), method="log-adjusted", compare="ratio")
        rows.append((value, np.fmin(low, least), np.fmax(high, most), p, b))
    names = ["held_out", "held_out_low", "held_out_high", "held_out_pathogenic", "held_out_benign"]
    return pd.DataFrame(rows, columns=names, index=strengths.index)


def _told(fit: Fit, score: np.ndarray) -> pd.DataFrame:
    """What `evidence` says of scores of one class by one fit."""
    calibration = fit.calibration
    if calibration.status != CALIBRATED:
        return pd.DataFrame({"why": [TOO_FEW] * len(score)})
    distinct, back = np.unique(score, return_inverse=True)
    at, points = fit.windows(distinct).iloc[back].reset_index(drop=True), acmg.assign(calibration, score)
    up = np.where(points == 0, at["likelihood_ratio"] > 1, points > 0)
    met = set(calibration.table.loc[calibration.table["status"] == "met", "code"])
    names = {signed * value: f"{code}_{strength.replace(' ', '_')}" for signed, code in ((1, "PP3"), (-1, "BP4"))
             for strength, value in acmg.STRENGTHS.items()} | {0: NONE}  # fmt: skip
    why = [BETWEEN if ("PP3" if u else "BP4") in met else NOT_MET for u in up]
    return pd.DataFrame({
        "acmg": [names[p] for p in points], "why": np.where(points == 0, why, ""), "points": points,
        "bound": np.where(up, at["low"], at["high"]), "prior": calibration.alpha,
    }).join(at[["likelihood_ratio", "posterior", "n_pathogenic", "n_benign"]])  # fmt: skip
