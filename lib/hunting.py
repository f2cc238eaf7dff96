"""The hunt for a layer: repeated nested cross-validation, what stands beside it, and the alarms that stop a claim."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from lib import calibration, probe, stats
from lib.outcome.metrics import BINARY, Metric
from lib.stats import Estimate

EXEMPT = "exempt: above 0.5, as components of a few loci carry causal alleles, but dosage and the layer are above it"

NO_CEILING = "no limit is given, and nothing in this cohort has a true genetic effect"


@dataclass(frozen=True)
class Repeated:
    """Cross-validation repeated over random folds.

    score: [repeat, person] out-of-fold, centred by the training people. folds: [repeat, person] int. probes: the one
    of each fold, in a list a repeat. fold_auroc, inner_auroc: [repeat, fold], on held-out people and inside the
    training people. log_odds: [repeat, person], score before centring. inner_log_odds: [repeat, fold, person] float32,
    of the training people out of inner folds, nan for the held-out. As in `probe.CrossValidated`, for classes [class,
    person] stands where [person] does, fold_auroc and inner_auroc are of the metric, and a continuous score is uncentred.
    """

    score: np.ndarray
    folds: np.ndarray
    probes: list[list[probe.Probe]]
    fold_auroc: np.ndarray
    inner_auroc: np.ndarray
    log_odds: np.ndarray
    inner_log_odds: np.ndarray


def repeated(
    X: probe.Features,
    y: np.ndarray,
    groups: np.ndarray | None,
    n_folds: int,
    n_repeats: int,
    grid: list[float],
    seed: int,
    metric: Metric = BINARY,
) -> Repeated:
    """Nested cross-validation of an L2 probe, `n_repeats` times; repeat r has the folds of seed + r.

    The strength is chosen by inner 3-fold cross-validation, and nothing is fitted outside its fold; groups stay whole
    in both. Equal y, groups and seed give equal folds, so that predictors are compared on the same ones.
    X: [person, feature], its span, or a function of the training people (bool mask) that gives features for all.
    y: [person] of the metric's target; groups: [person] or None. Raises ValueError for fewer people of a class, or
    groups, than folds.
    """
    folds = np.stack([probe.balanced_folds(y, groups, n_folds, seed + r, metric) for r in range(n_repeats)])
    whole = X if callable(X) or isinstance(X, probe.Span) else probe.span(X)
    runs = [probe.cross_validate(whole, y, f, grid, seed + r, groups, metric) for r, f in enumerate(folds)]
    return Repeated(
        score=np.stack([run.score for run in runs]),
        folds=folds,
        probes=[run.probes for run in runs],
        fold_auroc=np.stack([run.fold_auroc for run in runs]),
        inner_auroc=np.stack([run.inner_auroc for run in runs]),
        log_odds=np.stack([run.log_odds for run in runs]),
        inner_log_odds=np.stack([run.inner_log_odds for run in runs]).astype(np.float32),
    )


def hunt(features: dict[str, probe.Features], *arguments, n_jobs: int = -1) -> dict[str, Repeated]:
    """`repeated` for several predictors on the same folds, one process each. n_jobs: -1 for all cores."""
    jobs = (delayed(repeated)(X, *arguments) for X in features.values())
    return dict(zip(features, Parallel(n_jobs)(jobs), strict=True))


def chosen(runs: dict[str, Repeated]) -> tuple[list[list[str]], Repeated]:
    """Each fold's choice between predictors, by its training people alone, and the run that these choices make.

    Returns names, a list of folds a repeat, and the honest estimate when the layer is hunted too.
    Raises ValueError unless all have the same folds.
    """
    names, every = list(runs), list(runs.values())
    folds = every[0].folds
    if not all(np.array_equal(run.folds, folds) for run in every):
        raise ValueError(f"{', '.join(names)} were cross-validated on different folds")
    best = np.stack([run.inner_auroc for run in every]).argmax(0)  # [repeat, fold]
    n_repeats, n_folds = best.shape
    row, fold = np.arange(n_repeats)[:, None], np.arange(n_folds)
    winner, person = np.take_along_axis(best, folds, axis=1), np.arange(folds.shape[1])

    def of_winner(scores: list[np.ndarray]) -> np.ndarray:
        by_person = np.moveaxis(np.stack(scores), -1, 2)  # classes, where there are, last
        return np.moveaxis(by_person[winner, row, person], 1, -1)

    run = Repeated(
        score=of_winner([run.score for run in every]),
        folds=folds,
        probes=[[every[b].probes[r][f] for f, b in enumerate(best[r])] for r in range(n_repeats)],
        fold_auroc=np.stack([run.fold_auroc for run in every])[best, row, fold],
        inner_auroc=np.stack([run.inner_auroc for run in every])[best, row, fold],
        log_odds=of_winner([run.log_odds for run in every]),
        inner_log_odds=np.stack([run.inner_log_odds for run in every])[best, row, fold],
    )
    return [[names[b] for b in picks] for picks in best], run


def shuffled(
    layers: dict[str, probe.Features],
    y: np.ndarray,
    groups: np.ndarray | None,
    n_folds: int,
    grid: list[float],
    n_shuffles: int,
    seed: int,
    n_jobs: int = -1,
    metric: Metric = BINARY,
) -> np.ndarray:
    """AUROC, or other metric, [n_shuffles] of the whole hunt, layer chosen inside folds, on permuted labels: one repeat each."""

    def once(permuted: np.ndarray) -> float:
        runs = {name: repeated(X, permuted, groups, n_folds, 1, grid, seed, metric) for name, X in layers.items()}
        return float(metric.value(permuted, chosen(runs)[1].score[0]))

    rng = np.random.default_rng(seed)
    return np.array(Parallel(n_jobs)(delayed(once)(rng.permutation(y)) for _ in range(n_shuffles)))


# Phenotype arms ------------------------------------------------------------------------------------------


#: What pandas reads as a missing value: no name of an arm.
MISSING = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>", "#N/A", "-NaN", "-nan"}


def check_arms(
    arms: list[str],
    arm_kinds: list[str],
    effect_scales: list[float],
    germline_limits: list[float],
    phenotype_path: str,
    genetic_path: str,
    match_published: bool,
) -> None:
    """Refuse parameters of phenotype arms that contradict each other, with a ValueError naming parameter and want."""
    for name, values in (
        ("arm_kinds", arm_kinds),
        ("effect_scales", effect_scales),
        ("germline_limits", germline_limits),
    ):
        if len(values) != len(arms):
            raise ValueError(
                f"{name} has {len(values)} values, wanted {len(arms)}, one for each of arms {arms}"
            )
    if broken := [arm for arm in arms if "/" in arm or arm in MISSING]:
        raise ValueError(f"arms has {broken[0]!r}, wanted names without '/' that no table reads as a missing value")
    if phenotype_path and len(arms) != 1:
        raise ValueError(
            f"arms are {arms} with phenotype_path {phenotype_path!r}, wanted one arm for one table"
        )
    if not phenotype_path and not match_published:
        raise ValueError(
            "phenotype_path is '' with match_published false, wanted a table of phenotypes, or match_published true: "
            "effects are then simulated from published ones"
        )
    for arm, kind, limit in zip(arms, arm_kinds, germline_limits):
        scored = genetic_path if phenotype_path else kind in ("additive", "nod2")
        if not limit and not scored:
            raise ValueError(
                f"germline_limits has 0 for {arm!r}, which has no true genetic score: wanted an AUROC"
            )


# Estimates -----------------------------------------------------------------------------------------------


def estimate(
    y: np.ndarray,
    score: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> Estimate:
    """Mean over repeats of the AUROC, or other metric, with its interval over people.

    score: [repeat, person] or [person]; of classes [repeat, class, person] or [class, person]. The bootstrap resamples
    people inside each class, or groups [person] whole, the same ones in every repeat: repeats narrow the error of random
    folds but not that of having n people. Raises ValueError as `stats.draws` does; so do all below that take groups.
    """
    drawn = metric.resampled(y, score, stats.draws(y, groups, n_boot, seed, metric.target)).mean(0)
    return Estimate(float(metric.value(y, score).mean()), *np.quantile(drawn, [0.025, 0.975]).tolist(), len(y))


def difference(
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
    metric: Metric = BINARY,
) -> Estimate:
    """Mean AUROC, or other metric, of a minus that of b, paired over people or groups. a, b: as score of `estimate`."""
    weights = stats.draws(y, groups, n_boot, seed, metric.target)
    drawn = np.subtract(*(metric.resampled(y, s, weights).mean(0) for s in (a, b)))
    value = metric.value(y, a).mean() - metric.value(y, b).mean()
    return Estimate(float(value), *np.quantile(drawn, [0.025, 0.975]).tolist(), len(y))


def calibrated(y: np.ndarray, run: Repeated) -> np.ndarray:
    """Out-of-fold log odds of a binary y after Platt scaling, fitted in each fold on its training people's inner log odds.

    Returns [repeat, person]. Raises ValueError as `calibration.platt` does.
    """
    out = np.zeros_like(run.log_odds)
    for r, folds in enumerate(run.folds):
        for i, fold in enumerate(np.unique(folds)):
            train, test = folds != fold, folds == fold
            slope, intercept = calibration.platt(run.inner_log_odds[r, i, train], y[train])
            out[r, test] = slope * run.log_odds[r, test] + intercept
    return out


# Views of a person -------------------------------------------------------------------------------------------


def reference_difference(pooled: np.ndarray, units: pd.DataFrame) -> np.ndarray:
    """Distance of each unit's mean activation from its window's reference, per dimension: |x - x_ref|, [unit, d].

    Averaged over a person's haplotypes, this counts departures whichever way they go; without the absolute value it
    would be the mean activation itself less a constant. pooled: [unit, d]; units: unit, window, is_reference.
    Raises ValueError naming a window without a reference unit.
    """
    reference = units[units.is_reference].drop_duplicates("window").set_index("window").unit
    at = units.window.map(reference)
    if at.isna().any():
        raise ValueError(f"window {units.window[at.isna()].iloc[0]} has no reference unit")
    out = np.zeros_like(pooled)
    out[units.unit] = np.abs(pooled[units.unit] - pooled[at.astype(int)])
    return out


def without(X: np.ndarray, composition: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Features less what composition explains of them, by least squares fitted on the training people.

    X: [person, feature]; composition: [person, k], such as k-mer frequencies. For `repeated`.
    """

    def residual(train: np.ndarray) -> np.ndarray:
        K = composition - composition[train].mean(0)
        return X - K @ np.linalg.lstsq(K[train], X[train] - X[train].mean(0), rcond=1e-6)[0]

    return residual


def standardised(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Columns of unlike units, each divided by its standard deviation in the training people. For `repeated`."""

    def scaled(train: np.ndarray) -> np.ndarray:
        X = make(train)
        sd = X[train].std(0)
        return (X - X[train].mean(0)) / np.where(sd > 0, sd, 1)

    return scaled


def pooled_at(
    model, sequences: list[str], sites: Sequence[str], token_budget: int, chunk: int = 2048
) -> dict[str, np.ndarray]:
    """Mean over the tokens of each sequence, of a model that no store holds: site -> [sequence, d] float32.

    `chunk` sequences at a time, so that the disk never holds more activations than theirs.
    """
    from lib import extract, store

    parts = []
    for start in range(0, len(sequences), chunk):
        with tempfile.TemporaryDirectory() as folder:
            acts, pooled = Path(folder) / "activations.h5", Path(folder) / "pooled.h5"
            extract.extract(model, sequences[start : start + chunk], None, sites, acts, pooled, token_budget)
            parts.append({site: store.read_pooled(pooled, [site])[0][:, 0] for site in sites})
    return {site: np.concatenate([part[site] for part in parts]) for site in sites}


# Gated attention over loci -----------------------------------------------------------------------------------


def attention(
    X: np.ndarray, y: np.ndarray, folds: np.ndarray, n_seeds: int, n_steps: int, seed: int, width: int = 16
) -> np.ndarray:
    """Out-of-fold log odds of a gated-attention pool over loci, centred per fold: [seed, person].

    A locus h (less its mean, in 2 * width principal components that all loci share, fitted on the training people;
    plus a learned vector that names it) gets the weight softmax(w . (tanh(V h) * sigmoid(U h))); the weighted mean is
    read linearly. X: [person, locus, d]. AdamW, full batches, `n_steps` steps.
    Source: Ilse, Tomczak and Welling 2018.
    """
    out = np.zeros((n_seeds, len(y)))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        Z = _locus_components(X, train, 2 * width)
        for s in range(n_seeds):
            log_odds = _attend(Z, y, train, n_steps, seed + s, width)
            out[s, test] = log_odds[test] - log_odds[train].mean()
    return out


def _locus_components(X: np.ndarray, train: np.ndarray, n: int) -> np.ndarray:
    """X [person, locus, d] on the n strongest directions of the training people's loci, each at unit variance."""
    Z = X - X[train].mean(0)
    values, vectors = np.linalg.eigh(
        np.einsum("plc,pld->cd", Z[train], Z[train]) / (train.sum() * X.shape[1])
    )
    kept = values[-n:] > values[-1] * 1e-6
    return (Z @ (vectors[:, -n:][:, kept] / np.sqrt(values[-n:][kept]))).astype(np.float32)


def _attend(
    Z: np.ndarray, y: np.ndarray, train: np.ndarray, n_steps: int, seed: int, width: int
) -> np.ndarray:
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _, n_loci, d = Z.shape
        parts = nn.ModuleDict({"V": nn.Linear(d, width), "U": nn.Linear(d, width), "w": nn.Linear(width, 1)})
        parts["read"] = nn.Linear(d, 1)
        name = nn.Parameter(0.1 * torch.randn(n_loci, d))

        def log_odds(x: torch.Tensor) -> torch.Tensor:
            h = x + name
            gate = parts["w"](torch.tanh(parts["V"](h)) * torch.sigmoid(parts["U"](h)))
            return parts["read"]((torch.softmax(gate, dim=1) * h).sum(1))[:, 0]

        x, labels = torch.from_numpy(Z), torch.from_numpy(y.astype(np.float32))
        inside = torch.from_numpy(train)
        optimiser = torch.optim.AdamW([*parts.parameters(), name], lr=1e-2, weight_decay=1e-1)
        for _ in range(n_steps):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(log_odds(x[inside]), labels[inside])
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return log_odds(x).double().numpy()


# Alarms and transport ------------------------------------------------------------------------------------


def alarms(
    y: np.ndarray,
    nested: np.ndarray,
    dosage: np.ndarray,
    shuffles: np.ndarray,
    confounders: dict[str, np.ndarray],
    germline_limit: float | np.ndarray | None,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> pd.DataFrame:
    """What would betray a leak or a confounder, a row each: alarm, value, low, high, n, limit, fired, note.

    label shuffle             the mean AUROC of the shuffles leaves 0.45 to 0.55; low, high: their 95 % quantiles
    principal components      AUROC interval above 0.5, unless all genotypes (dosage), which hold ancestry and everything
                              else, and the layer (nested) are both significantly above it; the note then says so
    any other confounder      AUROC interval above 0.5
    probe minus dosage        AUROC difference above 0.05 with an interval above 0
    germline ceiling          AUROC above the limit, a number; or, where the true genetic score [person] is given,
                              significantly above its AUROC (paired); None: cannot fire, and the note says why

    Scores are [repeat, person] or [person]; a confounder of no column is None and cannot fire. shuffles: [n_shuffles];
    groups: [person], resampled whole.
    """
    resampling = (n_boot, seed, groups)
    rows = [("label shuffle", Estimate(float(shuffles.mean()), *np.quantile(shuffles, [0.025, 0.975]), len(shuffles)),
             "0.45-0.55", not 0.45 <= shuffles.mean() <= 0.55, "")]  # fmt: skip
    for name, score in confounders.items():
        e = Estimate(0.5, 0.5, 0.5, len(y)) if score is None else estimate(y, score, *resampling)
        fired, limit, note = e.low > 0.5, 0.5, ""
        if name == "principal components":
            limit = "0.5, or dosage above it"
            if fired and all(difference(y, s, score, *resampling).low > 0 for s in (dosage, nested)):
                fired, note = False, EXEMPT
        rows.append((name, e, limit, fired, note))
    gap = difference(y, nested, dosage, *resampling)
    rows.append(("probe minus dosage", gap, 0.05, gap.value > 0.05 and gap.low > 0, ""))
    reached = estimate(y, nested, *resampling)
    if germline_limit is None:
        limit, fired = None, False
    elif np.ndim(germline_limit):
        limit = float(stats.auroc(y, germline_limit))
        fired = difference(y, nested, germline_limit, *resampling).low > 0
    else:
        limit, fired = germline_limit, reached.value > germline_limit
    rows.append(("germline ceiling", reached, limit, fired, NO_CEILING if limit is None else ""))
    return pd.DataFrame([
        {"alarm": name, **e._asdict(), "limit": limit, "fired": bool(fired), "note": note}
        for name, e, limit, fired, note in rows
    ])  # fmt: skip


#: When each alarm goes off, in words; of any other confounder, as of population.
ALARM_RULES = {
    "label shuffle": "the mean AUROC of the shuffles lies within 0.45 to 0.55",
    "principal components": "the AUROC interval reaches 0.5, or dosage and the layer are both significantly above them",
    "probe minus dosage": "the AUROC difference is at most 0.05, or its interval reaches 0",
    "germline ceiling": "the AUROC is at most the limit, or not significantly above the true genetic score",
}


def alarm_rule(alarm: str) -> str:
    """In words, when an alarm stays silent."""
    return ALARM_RULES.get(alarm, "the AUROC interval reaches 0.5")


def left_out_groups(
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    nested: np.ndarray,
    grid: list[float],
    n_boot: int,
    seed: int,
    families: np.ndarray | None = None,
) -> pd.DataFrame:
    """Does the probe hold within a group, and in one that it never saw? A row a group whose cases, and controls,
    are in two families or more; none when fewer than two groups are such, or when without one of them fewer than three
    families of cases or of controls are left to fit on.

    group, n; within: AUROC among its people of the nested scores [repeat, person]; left_out: AUROC of a probe fitted
    on the other groups' people; each with _low and _high. X: [person, feature]; groups, families: [person];
    families are resampled whole.
    """
    names, number = np.unique(groups, return_inverse=True)
    columns = ["group", "n", *(k + end for k in ("within", "left_out") for end in ("", "_low", "_high"))]
    family = np.arange(len(y)) if families is None else families
    mixed = [
        i
        for i in range(len(names))
        if all(len(np.unique(family[(number == i) & (y == c)])) > 1 for c in (0, 1))
    ]
    kept = np.isin(number, mixed)
    left = [
        len(np.unique(family[kept & (number != i) & (y == c)])) for i in mixed for c in (0, 1)
    ]  # whom a probe is fitted on when a group is left out
    if len(mixed) < 2 or min(left) < 3:
        return pd.DataFrame(columns=columns)
    unseen = np.zeros(len(y))
    unseen[kept] = probe.cross_validate(X[kept], y[kept], number[kept], grid, seed, family[kept]).score
    rows = []
    for i in mixed:
        mine, name = number == i, names[i]
        row = {"group": name, "n": int(mine.sum())}
        for kind, score in (("within", nested[:, mine]), ("left_out", unseen[mine])):
            e = estimate(y[mine], score, n_boot, seed, family[mine])
            row |= {kind: e.value, f"{kind}_low": e.low, f"{kind}_high": e.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def transport(
    inside: Estimate,
    y: np.ndarray,
    log_odds: np.ndarray,
    n_boot: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> tuple[Estimate, float, bool]:
    """A frozen probe in another cohort: its AUROC there, its calibration slope, and whether it transports.

    It does when the AUROC's interval overlaps the one at home and both lie above 0.5. The slope is NaN where the
    score is constant or separates the classes. With fewer than 2 people of a class there, nothing can be said of it:
    stats.NOTHING, NaN, False.
    inside: the nested AUROC at home. y, log_odds: [person] of the other cohort; groups: [person], resampled whole.
    """
    if min(np.sum(y == 1), np.sum(y == 0)) < 2:
        return stats.NOTHING, np.nan, False
    there = estimate(y, log_odds, n_boot, seed, groups)
    overlap = there.low <= inside.high and inside.low <= there.high
    try:
        slope = calibration.platt(log_odds, y)[0]
    except ValueError:
        slope = np.nan
    return there, slope, bool(overlap and min(there.low, inside.low) > 0.5)
