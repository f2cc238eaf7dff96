# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Which layers carry the target?
#
# **Question.** Reading each part of a subject as the mean of its token activations, does a layer predict the target, and does it
# know more than the surface that it was computed from?
#
# **What would change our mind.** The kind of data names the compulsory baseline (of DNA: dosage, logistic regression on the
# same variants). A layer well above it is an alarm for a leak, to be explained before anything is claimed. A layer at the
# level of shuffled labels carries nothing. A target is a class, read by AUROC, or a number, read by R2 (1 less the squared error of
# out-of-fold predictions over that of the mean) with Spearman's correlation beside it. Where the target is simulated, the true score
# stands beside both: what no predictor can honestly beat. Layers are *chosen* on training subjects only (inner cross-validation), so
# that the nested estimate is not flattered by the hunt.
#
# **The readout.** Primary: parts concatenated, then L2 logistic regression, or ridge for a number. Beside it, never alone: the distance
# from the reference, and gated attention over parts. Strength, layer, scaling and components are chosen inside folds.
#
# Reads 00 and 01. Leaves `layers.csv`, `alarms.csv`, `roc.csv`, `calibration.csv`, `calibration_curve.csv`,
# `claims.csv`, `layer_hunting_results.yaml` and `settings.json`; with numbers `number_curve.csv`, with strata `groups.csv`, with a
# second corpus of subjects `external.csv`. Private: `scores.csv`, one row a subject.

# %% tags=["parameters"]
study = "demo"
token_budget = 2048         # [1, 1e9] tokens per batch of the raw embedding and of the random twin
n_folds = 5                 # [2, 50] outer folds over subjects
n_repeats = 10              # [1, 1000] times that the outer folds are dealt anew
C_grid = [0.01, 0.1, 1.0, 10.0]  # (0, 1e6] inverse L2 strengths tried by inner 3-fold cross-validation; one or more, none twice
matched_repeats = 2         # [1, 1000] repeats of the composition-matched layers, which are slower than the others
attention_seeds = 3         # [1, 100] seeds of the gated attention, on the first repeat's folds
attention_steps = 60        # [1, 1e5] its training steps, full batches
n_shuffles = 20             # [1, 1e5] label permutations for the null, each through the whole hunt, one repeat
n_boot = 1000               # [10, 1e6] bootstrap resamples, over subjects, within class where there are classes
n_bins = 15                 # [2, 100] bins of equal mass in the calibration figure
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.acts import pool
from lib.corpus import corpus as corpora
from lib.figures import outcome, style
from lib.models import adapter
from lib.outcome import attention as attention_
from lib.outcome import calibration, probe, validate, views
from lib.outcome.metrics import METRICS
from lib.outcome.transfer import LEAST, MOST_LOST, left_out_groups, transport
from lib.publish import roc, suppress
from lib.stage import io, stops

stage = io.open_stage(study, "02_layer_hunting")

# %% [markdown]
# ## Subjects
#
# Groups (families) stay whole in every fold, outer and inner. Strata (populations) do not: that asks another question, whether a
# probe transfers, which has its own rows in `groups.csv`. Folds spread classes evenly, or fifths of a number. Every interval here
# resamples groups whole, or else subjects, inside each class where there are classes; later notebooks read who belongs together from the
# column `group` of the private scores.

# %%
corpus = corpora.load(study)
kind, words, readout = corpus.module, corpus.words, corpus.readout()
pooled, sites = pool.read_pooled(io.private_path(study, "01_extraction", "pooled.h5"))
units, texts, subjects = corpus.units("cohort"), corpus.records("cohort").texts, corpus.subjects()
families = subjects.group.to_numpy() if "group" in subjects else None
resampled = words["subjects"] if families is None else words["groups"]
stratum = subjects.stratum.to_numpy() if "stratum" in subjects else None
arms = [target.name for target in corpus.targets]
targets = {arm: subjects[arm].to_numpy() for arm in arms}
metric = {target.name: METRICS[target.type] for target in corpus.targets}
numbers = [target.name for target in corpus.targets if target.type == "continuous"]
for arm, y in targets.items():
    print(f"{arm}:", f"mean {y.mean():.3g}, sd {y.std():.3g}" if arm in numbers else f"{y.sum()} positive, {(1 - y).sum()} negative")
parts = f"{len(readout.parts)} {words['parts']}" if len(readout.parts) > 1 else f"one part ({readout.parts[0]})"
f"{len(subjects)} {words['subjects']}, {parts}, {pooled.shape[1]} sites of width {pooled.shape[2]}"

# %% [markdown]
# ## Layers
#
# Every predictor gets the same folds, the same L2 regression and the same inner choice of its strength.
# Subjects have no more independent features than the model read units, so that each layer is turned once into its own
# span, where the fits are the same and quick.

# %%
layers = {site: probe.span(readout.features(pooled[:, i])) for i, site in enumerate(sites)}
settings = (families, n_folds, n_repeats, C_grid, seed)
runs = {arm: validate.hunt(layers, y, *settings, metric[arm]) for arm, y in targets.items()}
picked, nested = {}, {}
for arm in arms:
    picked[arm], nested[arm] = validate.chosen(runs[arm])
inner = {arm: {s: float(runs[arm][s].inner_auroc.mean()) for s in sites if s.startswith("resid_post")} for arm in arms}
best = {arm: max(inner[arm], key=inner[arm].get) for arm in arms}
pd.DataFrame(inner).round(3)

# %% [markdown]
# ## What stands beside them
#
# What the kind of data names (of DNA: dosage, k-mers; ancestry and sex with components fitted on training people, missing
# calls); the model before its first block; and the same site of a randomly initialised twin, which shares everything with the
# model but what it learned. The second view is the distance from the reference: the mean difference itself would be the same
# features less a constant, and the same probe.

# %%
model = adapter.load(corpus.model_path(), expect=io.read_json(study, "01_extraction", "model.json"))
embedding = views.pooled_at(model, texts, ["embed"], token_budget)["embed"]
random_model = adapter.load(corpus.model_path(), random_init=True, seed=seed)
twin = views.pooled_at(random_model, texts, sorted(set(best.values())), token_budget)
surface, confounders = kind.rivals(corpus, texts, readout.features)
beside = {**surface, "raw embedding": readout.features(embedding), **confounders}
for arm, y in targets.items():
    own = {"random twin": readout.features(twin[best[arm]]),
           "reference difference": readout.features(views.reference_difference(pooled[:, sites.index(best[arm])], units))}
    others = {name: X if callable(X) else probe.span(X) for name, X in {**beside, **own}.items()}
    runs[arm] |= validate.hunt(others, y, *settings, metric[arm])

# %% [markdown]
# Two more curves. **Composition-matched** layers have lost, inside each fold, all that the composition of each part's surface
# explains by least squares: what is left is not composition. The share of variance that stays is printed.
# **Gated attention** weighs the parts itself; it is fitted from `attention_seeds` seeds, and no claim rests on it.

# %%
composition = readout.features(kind.surface(corpus, texts))
matched, attention = {}, {}
for arm, y in targets.items():
    residual = {site: views.without(layers[site].coords, composition) for site in sites}
    matched[arm] = validate.hunt(residual, y, families, n_folds, matched_repeats, C_grid, seed, metric[arm])
    kept = residual[best[arm]](np.ones(len(subjects), bool)).var(0).sum() / layers[best[arm]].coords.var(0).sum()
    print(f"{arm}: {kept:.2f} of the variance at {best[arm]} stays without composition")
    by_part = readout.features(pooled[:, sites.index(best[arm])]).reshape(len(subjects), len(readout.parts), -1)
    how = {"n_seeds": attention_seeds, "n_steps": attention_steps, "seed": seed, "metric": metric[arm]}
    attention[arm] = attention_.attention(by_part, y, nested[arm].folds[0], **how)

# %% [markdown]
# The shuffle is the alarm for leaks in the pipeline itself: labels, or numbers, are permuted, and the whole hunt is run again, folds,
# strengths and choice of layer.

# %%
shuffles = {arm: validate.shuffled(layers, y, families, n_folds, C_grid, n_shuffles, seed, metric=metric[arm])
            for arm, y in targets.items()}

# %%
kinds = dict.fromkeys(sites, "layer") | {"reference difference": "view"} | dict.fromkeys(confounders, "confounder")
rows = []
for target in corpus.targets:
    arm, y = target.name, targets[target.name]
    scores = [(name, kinds.get(name, "baseline"), run.score) for name, run in runs[arm].items()]
    scores.append(("layer chosen inside folds", "nested", nested[arm].score))
    scores += [(site, "composition-matched", run.score) for site, run in matched[arm].items()]
    scores.append(("gated attention", "view", attention[arm]))
    scores += [(name, of, subjects[f"{arm}/{name}"].to_numpy()) for name, of in target.scores.items()]
    said = {"metric": metric[arm].key} if numbers else {}
    for name, of, score in scores:
        values = validate.estimates_of(y, score, n_boot, seed, families, metric[arm])  # with Spearman's correlation of a number
        rows.append({"arm": arm, "predictor": name, "kind": of, **values, **said})
    low, high = np.quantile(shuffles[arm], [0.025, 0.975])
    rows.append({"arm": arm, "predictor": "label shuffle", "kind": "shuffle", "value": shuffles[arm].mean(), "low": low,
                 "high": high, "n": n_shuffles, **said})
table = pd.DataFrame(rows)
stage.write_table("layers", table)
table.pivot(index=["kind", "predictor"], columns="arm", values="value").round(3)

# %% [markdown]
# ## Alarms
#
# Each has its rule, which the kind of data sets (of DNA: `lib/dna/alarms.py`), and stops the claims of its target when it goes
# off. The column `note` says where a rule exempted a target.

# %%
parts = []
for target in corpus.targets:
    arm = target.name
    oracle = next((subjects[f"{arm}/{name}"].to_numpy() for name, of in target.scores.items() if of == "oracle"), None)
    scores = {name: run.score for name, run in runs[arm].items()}
    at = target.limit or oracle
    raised = kind.alarms(targets[arm], scores, nested[arm].score, shuffles[arm], at, n_boot, seed, families, metric[arm])
    parts.append(raised.assign(arm=arm))
alarms = pd.concat(parts, ignore_index=True)[["arm", "alarm", "value", "low", "high", "n", "limit", "fired", "note"]]
stage.write_table("alarms", alarms)
alarms[["arm", "alarm", "value", "low", "high", "limit", "fired"]].round(3)

# %%
stopped = stops.of_arms(alarms)

# %% [markdown]
# ## ROC curve
#
# Of the layer chosen inside folds, by each subject's mean score over repeats. Thinned, so that every step is of more than 20
# subjects of each class; a target with too few of a class has none, and neither has a number.

# %%
rocs, classes = [], {arm: y for arm, y in targets.items() if arm not in numbers}
for arm, y in classes.items():
    n_cases, n_controls = int(y.sum()), int((1 - y).sum())
    if min(n_cases, n_controls) > suppress.THRESHOLD:
        rocs.append(roc.thin_roc(y, nested[arm].score.mean(0)).assign(arm=arm, n_cases=n_cases, n_controls=n_controls))
columns = ["arm", "fpr", "tpr", "n_cases", "n_controls"]
stage.write_table("roc", pd.concat(rocs)[columns] if rocs else pd.DataFrame(columns=columns));

# %% [markdown]
# ## Calibration
#
# Of the layer chosen inside folds, before and after Platt scaling; the latter is fitted in each fold on its training
# subjects's inner out-of-fold log odds. Numbers are means over repeats. Slope below 1: too extreme. The expected
# calibration error is debiased, since binning alone makes a calibrated score look wrong. A score that separates the
# classes has no slope: its row stays empty.

# %%
rows, curves = [], []
for arm, y in classes.items():
    try:
        log_odds = {"before": nested[arm].log_odds, "after Platt": validate.calibrated(y, nested[arm])}
        for name, repeats in log_odds.items():
            rows.append({"arm": arm, "scaling": name, **pd.DataFrame([calibration.summary(y, x) for x in repeats]).mean(), "n": len(y)})
            curves.append(calibration.curve(y, repeats.mean(0), n_bins).assign(arm=arm, scaling=name))
    except ValueError as error:
        print(f"{arm}: not calibrated: {error}")
curves = pd.concat(curves) if curves else pd.DataFrame(columns=["predicted", "observed", "low", "high", "n", "arm", "scaling"])
stage.write_table("calibration_curve", curves);

# %% [markdown]
# Of a number, slope and intercept of the line of the target on its prediction, and the error, in its units; there is nothing to scale.

# %%
lines = []
for arm in numbers:
    try:
        one = pd.DataFrame([calibration.line(targets[arm], x) for x in nested[arm].score]).mean()
        lines.append(calibration.line_curve(targets[arm], nested[arm].score.mean(0), n_bins).assign(arm=arm))
        rows.append({"arm": arm, "scaling": "before", **one, "n": len(subjects)})
    except ValueError as error:
        print(f"{arm}: not calibrated: {error}")
columns = ["arm", "scaling", "slope", "intercept", *["rmse"] * bool(numbers), "brier", "log_loss", "ece", "n"]
calibrations = pd.DataFrame(rows, columns=columns)
stage.write_table("calibration", calibrations)
if numbers:
    lines = pd.concat(lines) if lines else pd.DataFrame(columns=["prediction", "mean", "low", "high", "n", "arm"])
    stage.write_table("number_curve", lines)
calibrations.round(3)

# %% [markdown]
# ## Other subjects
#
# Within each stratum, and for a stratum that the probe has never seen; and a second corpus of subjects, if there is one: the
# probe is fitted on everybody here, frozen, and applied to their own extraction. It transports when the intervals of the two
# AUROCs lie above 0.5 (of a number, R2 above 0), and that of the fall from here to there below 0.05: that the two overlap would be no
# rule, since wide ones always do. No groups are known there: its interval resamples subjects.

# %%
if stratum is not None:
    how = C_grid, n_boot, seed, families
    groups = [left_out_groups(layers[best[arm]].coords, y, stratum, nested[arm].score, *how, metric[arm]).assign(arm=arm)
              for arm, y in targets.items()]
    stage.write_table("groups", pd.concat(groups))
    print(pd.concat(groups).round(3).to_string(index=False))

# %%
few = {"binary": f"a class of the second cohort is a single {words['subject']} or nobody",
       "continuous": f"fewer than {LEAST['continuous']} {words['subjects']} in the second cohort, or one number of them all"}

# %%
if corpus.second_targets:
    other, other_y = corpus.readout("external"), corpus.subjects("external")
    other_pooled, _ = pool.read_pooled(io.private_path(study, "01_extraction", "external_pooled.h5"), sites)
    if other.parts != readout.parts:
        raise ValueError(f"second corpus: {words['parts']} {other.parts[:5]}…, wanted {readout.parts[:5]}… in this order")
    rows = []
    for arm, y in targets.items():
        frozen, by = probe.final(layers[best[arm]], y, C_grid, seed, families, metric[arm]), metric[arm]
        inside = validate.estimate(y, nested[arm].score, n_boot, seed, families, by)
        score = frozen.score(other.features(other_pooled[:, sites.index(best[arm])]))
        moved = transport(inside, other_y[arm].to_numpy(), score, n_boot, seed, metric=by)
        e, fall = moved.external, moved.fall
        rows.append({"arm": arm, "site": best[arm], **moved.row()})
        stage.claim(f"[{arm}] the frozen probe transports to a second cohort", *e, round(inside.value, 3), moved.holds,
                    f"null: {by.name} at home, {fall.value:+.3f} ({fall.low:+.3f} to {fall.high:+.3f}) above this; calibration slope "
                    f"{moved.slope:.2f}; bootstrap over {words['subjects']}, those of the two cohorts independent", of=words["subjects"],
                    rule=f"both intervals lie above {by.chance:g}, and that of the fall from here to there below {MOST_LOST:g}",
                    stopped=stopped[arm], because="" if e.n else few[by.target])
    stage.write_table("external", pd.DataFrame(rows))

# %% [markdown]
# ## Results for later notebooks
#
# Nothing new is estimated here. `layer_hunting_results.yaml` has the layer that each fold picked, and of each target the block
# that is best on training subjects; 03 takes that of the first where its site is "best". With `settings.json` later notebooks fit
# probes as these were fitted; by the private `scores.csv`, the scores of every site and repeat, 05 checks that it did.

# %%
results, private = {}, {"sample": readout.subjects, "group": readout.subjects if families is None else families}
for arm, y in targets.items():
    ranked = table[(table.arm == arm) & (table.kind == "layer")].sort_values("value", ascending=False)
    left = table[(table.arm == arm) & (table.kind == "composition-matched")]
    shown = ["predictor", "value", "low", "high"]
    results[arm] = {"best_layer_per_fold": picked[arm], "best_block": best[arm], f"inner_{metric[arm].key}": inner[arm],
                    "top_layers": ranked.head(5)[shown].to_dict("records"), "composition_matched": left[shown].to_dict("records")}
    private[f"{arm}/phenotype"] = y
    private |= {f"{arm}/fold {r}": folds for r, folds in enumerate(nested[arm].folds)}
    private |= {f"{arm}/{site} {r}": score for site in sites for r, score in enumerate(runs[arm][site].score)}
stage.write_yaml("layer_hunting_results.yaml", results)
stage.write_json("settings.json", {"n_folds": n_folds, "n_repeats": n_repeats, "C_grid": C_grid, "seed": seed})  # 05 fits the same probes
stage.write_table("scores", pd.DataFrame(private), private=True);

# %% [markdown]
# ## Verdicts
#
# Three sorts of claim, of each target. The layer chosen inside folds predicts better than shuffled labels. It predicts better
# than each thing beside it: what the surface gives, the model before its first block, the random twin. No alarm went off.
#
# **Reading.** Each claim has its rule in words. The first needs an AUROC above 0.5, or R2 above 0, with its interval, and a permutation
# p of at most 0.05; the second a paired difference above 0 with its interval. An alarm that went off stops both. A claim that does not
# hold is an answer too.

# %%
reached, rival = {}, next(iter(surface))  # the compulsory baseline
in_ranks = dict.fromkeys(arms, "")  # of a number, Spearman's correlation of the layer chosen inside folds
for row in table[(table.kind == "nested") & table.arm.isin(numbers)].itertuples():
    in_ranks[row.arm] = f"; Spearman {row.spearman:.3f} ({row.spearman_low:.3f} to {row.spearman_high:.3f})"

# %%
for arm, y in targets.items():
    by, run = metric[arm], nested[arm].score
    e = reached[arm] = validate.estimate(y, run, n_boot, seed, families, by)
    p = (1 + (shuffles[arm] >= e.value).sum()) / (1 + n_shuffles)
    stage.claim(f"[{arm}] a layer predicts better than shuffled labels", *e,
                f"{n_shuffles} shuffles, mean {shuffles[arm].mean():.3f}", e.low > by.chance and p <= 0.05,
                f"mean {by.name} of {n_repeats} repeats, layer chosen inside folds; bootstrap over {resampled}; permutation p {p:.3f}"
                + in_ranks[arm], of=words["subjects"], stopped=stopped[arm],
                rule=f"the interval lies above {by.chance:g} and permutation p is at most 0.05")
    for name in (*surface, "raw embedding", "random twin"):
        gain = validate.difference(y, run, runs[arm][name].score, n_boot, seed, families, by)
        text, caveat = kind.over(name)
        stage.claim(f"[{arm}] {text}", *gain, 0.0, gain.low > 0, f"{caveat}{by.name} difference, paired bootstrap over {resampled}",
                    of=words["subjects"], rule="the interval of the paired difference lies above 0", stopped=stopped[arm])
    for row in alarms[alarms.arm == arm].itertuples():
        note, because = ("", row.note) if pd.isna(row.limit) else (row.note, "")  # one without a limit cannot go off
        stage.claim(f"[{arm}] no alarm: {row.alarm}", row.value, row.low, row.high, row.n, row.limit, not row.fired, note,
                    of="shuffles" if row.alarm == "label shuffle" else words["subjects"], rule=kind.alarm_rule(row.alarm), because=because)

# %%
for arm, y in targets.items():
    beside_it = float(metric[arm].value(y, runs[arm][rival].score).mean())
    values = {"nested": reached[arm].value, rival: beside_it, "shuffle": float(shuffles[arm].mean())}
    stage.headline(**{f"{arm} {name}": round(value, 3) for name, value in values.items()},
                   **{f"{arm} alarms": stopped[arm].removeprefix("alarm: ") or "none"})

# %%
one_metric = len(set(metric.values())) == 1
figure, axes = style.panels(len(arms), 2.2, sharey=one_metric)
for ax, arm in zip(axes, arms, strict=True):
    outcome.layers(table, ax, arm, stopped[arm], words["subjects"], metric[arm].name)
style.legend(figure, axes[:1], ncols=4)

# %% [markdown]
# **Reading.** Dots: mean out-of-fold AUROC, or R2, of a layer over repeats; squares: the same layer without composition; bars:
# 95 % bootstrap interval over subjects, groups whole. Dashed: baselines, with their intervals as bands. Dots inside the
# band of the first baseline carry what the surface carries, no more; dots inside the band of the random twin owe nothing to what
# the model learned.

# %%
figure, axes = style.panels(len(arms), 2.0, sharey=not numbers)
for ax, arm in zip(axes, arms, strict=True):
    if arm in numbers:
        outcome.agreement(lines, ax, arm)
    else:
        outcome.calibration(curves, ax, arm)
style.legend(figure, axes, ncols=2)
stage.finish()

# %% [markdown]
# **Reading.** Subjects in bins of equal size by the mean log odds of the repeats; bars: 95 % Wilson interval. On the
# diagonal, of subjects with a predicted 70 %, seven tenths are positive. The mean over repeats is less extreme than one fit is. Of a
# number, its mean in the bin against the prediction; bars: 95 % t interval.
