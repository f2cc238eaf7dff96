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
# # 02 · Which layers carry the phenotype?
#
# **Question.** Reading each locus as the mean of its token activations, does a layer predict who is a case, and does it
# know more than the genotypes it was computed from?
#
# **What would change our mind.** Dosage logistic regression on the same variants is the compulsory baseline. A layer more
# than 0.05 AUROC above dosage, with an interval above 0, is an alarm for a leak, to be explained before anything is
# claimed. Less than that is shrinkage towards directions that loci share, not knowledge of people: a layer is computed
# from the same genotypes. A layer at the level of shuffled labels carries nothing. Where the phenotype is simulated, the
# true genetic score stands beside both: what no predictor can honestly beat. Layers are *chosen* on training people only
# (inner cross-validation), so that the nested estimate is not flattered by the hunt.
#
# **The readout.** Primary: loci concatenated, then L2 logistic regression. Beside it, never alone: the distance from the
# reference haplotype, and gated attention over loci. Strength, layer, scaling and components are chosen inside folds.
#
# Reads `01_extraction`. Leaves `layers.csv`, `alarms.csv`, `roc.csv`, `calibration.csv`, `calibration_curve.csv`,
# `claims.csv`, `layer_hunting_results.yaml` and `settings.json`; with populations or sites `groups.csv`, with a second
# cohort `external.csv`. Private: `scores.csv`, one row a person, and `effects.csv` where published effects are matched.

# %% tags=["parameters"]
study = "demo"
phenotype_path = "simulated:phenotype.csv"  # table with sample, phenotype (0/1); "" simulates from published effects
genetic_path = "simulated:truth/liability.csv"  # table with sample, genetic: the true score, "" when unknown
people_path = ""            # table with sample and any of population, family, site, sex; "" when nothing is known
arms = ["simulated, enlarged"]  # names of the phenotype arms, as they appear in every table and figure; one or more, none twice
arm_kinds = ["additive"]    # {additive, nod2, structure, null} how each arm is simulated (unused with phenotype_path); as many as arms
effect_scales = [1.0]       # [0, 100] published log odds are multiplied by this (only when simulating); as many as arms
germline_limits = [0.0]     # [0, 1] AUROC above which an arm is too good for germline; 0 compares with the true genetic score; as many as arms
case_share = 0.5            # (0, 1) share of people who are cases (only when simulating): a cohort, not a population
match_published = False     # match published effects to the variants, for simulating and for the polygenic score
vcf_path = "simulated:cohort.vcf.gz"  # read again only to match published effects to variants
genome_path = "simulated:genome.fa"   # FASTA of the reference
loci_path = "simulated:loci.bed"      # BED of the loci
model_path = "params/demo/model"      # the model of 01_extraction, for its raw embedding and its random twin
token_budget = 2048         # [1, 1e9] tokens per batch of these two
n_folds = 5                 # [2, 50] outer folds over people
n_repeats = 10              # [1, 1000] times that the outer folds are dealt anew
C_grid = [0.01, 0.1, 1.0, 10.0]  # (0, 1e6] inverse L2 strengths tried by inner 3-fold cross-validation; one or more, none twice
kmer_k = 4                  # [1, 6] k-mer baseline: frequencies of 4**k words per locus
composition_k = 1           # [1, 4] composition-matched layers: what 4**k word frequencies of a locus explain is taken away
matched_repeats = 2         # [1, 1000] repeats of the composition-matched layers, which are slower than the others
n_components = 10           # [1, 1000] principal components of the dosages, fitted on training people
attention_seeds = 3         # [1, 100] seeds of the gated attention, on the first repeat's folds
attention_steps = 60        # [1, 1e5] its training steps, full batches
n_shuffles = 20             # [1, 1e5] label permutations for the null, each through the whole hunt, one repeat
n_boot = 1000               # [10, 1e6] bootstrap resamples, over people within class
n_bins = 15                 # [2, 100] bins of equal mass in the calibration figure
external_phenotype_path = "simulated:external_phenotype.csv"  # of the second cohort of 01: the frozen probe's test; "" for none
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.acts import pool
from lib.corpus import corpus
from lib.dna import ancestry, genotypes, kmers, reference, windows
from lib.dna.genotypes import read_genotypes
from lib.dna.people import read_cohort, read_genetic, read_people, read_phenotype
from lib.dna.phenotypes import check_arms, ibd_effects, match_effects, simulate_arm
from lib.figures import labels, style
from lib.models import adapter
from lib.outcome import alarms as alarms_
from lib.outcome import attention as attention_
from lib.outcome import calibration, probe, validate, views
from lib.outcome.alarms import alarm_rule, left_out_groups, transport
from lib.publish import roc, suppress
from lib.stage import inputs, io, stops
from lib.stats import estimates

stage = io.open_stage(study, "02_layer_hunting")

# %%
check_arms(arms, arm_kinds, effect_scales, germline_limits, phenotype_path, genetic_path, match_published)

# %%
pooled, sites = pool.read_pooled(io.private_path(study, "01_extraction", "pooled.h5"))
units = io.read_csv(io.private_path(study, "01_extraction", "units.csv"))
samples, dosage, carriers = read_cohort(io.private_path(study, "01_extraction", "cohort.h5"))
sequences = io.private_path(study, "01_extraction", "sequences.txt").read_text().split()
locus_map, people, loci = corpus.person_locus_map(carriers, units)
assert people == samples, f"carriers name {people[:3]}…, the cohort {samples[:3]}…: wanted the same people in the same order"
filled = np.where(np.isnan(dosage), np.nanmean(dosage, axis=1, keepdims=True), dosage).T  # [person, variant]
f"{len(people)} people, {len(loci)} loci, {pooled.shape[1]} sites of width {pooled.shape[2]}"

# %% [markdown]
# ## Who is related to whom
#
# Families stay whole in every fold, outer and inner. Populations do not: five of them in five folds would leave each
# out in turn, which asks another question (does it transfer?) with another base rate in every fold. That question has
# its own rows, in `groups.csv`; and ancestry has its own alarms. Every interval here resamples families whole, or else
# people inside each class; later notebooks read who belongs together from the column `group` of the private scores.

# %%
known = read_people(io.data_path(people_path), samples) if people_path else pd.DataFrame({"sample": samples})
families = known.family.to_numpy() if "family" in known else None
resampled = "people" if families is None else "families"
population = next((known[name].to_numpy() for name in ("population", "site") if name in known), None)
known.drop(columns="sample").describe() if len(known.columns) > 1 else "nothing is known about these people"

# %% [markdown]
# ## Phenotypes
#
# Either your table, or **simulated**: liability = effects + logistic noise, the top `case_share` are cases. An arm with
# `effect_scales` above 1 is **enlarged**: it asks whether the method can see an effect that it ought to see, not whether
# the disease has one. *nod2* reads the three NOD2 alleles together, not additively. *structure* has no genetic effect,
# only prevalence that follows population: the alarms have to go off. In *null* there is nothing to find.

# %%
phenotypes, genetic, polygenic = {}, {}, None
if match_published:
    genome = reference.Reference(inputs.find(study, genome_path))
    regions = windows.read_bed(inputs.find(study, loci_path), genome)
    genotypes = read_genotypes(inputs.find(study, vcf_path), genome, regions)
    effects = match_effects(ibd_effects(), genotypes, genome)
    stage.write_table("effects", effects, private=True)
    present = effects[effects.status == "present"]
    polygenic = filled[:, present.variant] @ present.beta_alt.to_numpy() if len(present) else None
    print(f"{len(present)} of {len(effects)} published variants are in this cohort: {', '.join(present.gene)}")
if phenotype_path:
    y = read_phenotype(inputs.find(study, phenotype_path), samples)
    phenotypes = {arms[0]: y}
    if genetic_path:
        genetic = {arms[0]: read_genetic(inputs.find(study, genetic_path), samples)}
else:
    for arm, kind, scale in zip(arms, arm_kinds, effect_scales, strict=True):
        simulated = simulate_arm(dosage, present, kind, scale, case_share, seed, population)
        phenotypes[arm] = simulated.phenotype.to_numpy()
        if np.ptp(simulated.genetic) > 0:
            genetic[arm] = simulated.genetic.to_numpy()
limits = dict(zip(arms, germline_limits, strict=True))
for arm, y in phenotypes.items():
    print(f"{arm}: {y.sum()} cases, {(1 - y).sum()} controls")

# %% [markdown]
# ## Layers
#
# Every predictor gets the same folds, the same L2 logistic regression and the same inner choice of its strength.
# People have no more independent features than the model read haplotypes, so that each layer is turned once into its own
# span, where the fits are the same and quick.

# %%
def of_people(values):
    """[unit, d] -> [person, locus * d]."""
    return corpus.features(locus_map, len(people), values)

layers = {site: probe.span(of_people(pooled[:, i])) for i, site in enumerate(sites)}
settings = (families, n_folds, n_repeats, C_grid, seed)
runs = {arm: validate.hunt(layers, y, *settings) for arm, y in phenotypes.items()}
picked, nested = {}, {}
for arm in arms:
    picked[arm], nested[arm] = validate.chosen(runs[arm])
inner = {arm: {s: float(runs[arm][s].inner_auroc.mean()) for s in sites if s.startswith("resid_post")} for arm in arms}
best = {arm: max(inner[arm], key=inner[arm].get) for arm in arms}
pd.DataFrame(inner).round(3)

# %% [markdown]
# ## What stands beside them
#
# Genotypes (dosage); the polygenic score with published effects, where they are known; ancestry and sex, with components
# fitted on training people; k-mers; the model before its first block; and the same site of a randomly initialised twin,
# which shares everything with the model but what it learned. The second view is the distance from the reference
# haplotype: the mean difference itself would be the same features less a constant, and the same probe.

# %%
model = adapter.load(io.data_path(model_path), expect=io.read_json(study, "01_extraction", "model.json"))
embedding = views.pooled_at(model, sequences, ["embed"], token_budget)["embed"]
random_model = adapter.load(io.data_path(model_path), random_init=True, seed=seed)
twin = views.pooled_at(random_model, sequences, sorted(set(best.values())), token_budget)
missing = ancestry.missingness(dosage)
sex = (known.sex == "male").to_numpy(float)[:, None] if "sex" in known else np.zeros((len(people), 0))

def components(train):
    return ancestry.components(dosage, train, n_components)

beside = {
    "dosage": filled,
    f"{kmer_k}-mer": of_people(kmers.kmer_frequencies(sequences, kmer_k)),
    "raw embedding": of_people(embedding),
    "principal components": components,
    "PCs + sex": views.standardised(lambda train: np.hstack([components(train), sex])),
}
if missing.shape[1]:
    beside["missing calls"] = views.standardised(lambda train: missing)
if population is not None:
    beside["population"] = pd.get_dummies(population).to_numpy(float)
for arm, y in phenotypes.items():
    own = {"random twin": of_people(twin[best[arm]]),
           "reference difference": of_people(views.reference_difference(pooled[:, sites.index(best[arm])], units))}
    runs[arm] |= validate.hunt({name: X if callable(X) else probe.span(X) for name, X in {**beside, **own}.items()}, y, *settings)

# %% [markdown]
# Two more curves. **Composition-matched** layers have lost, inside each fold, all that the base composition of each locus
# explains by least squares: what is left is not composition. Longer words would be no match but a wipe: 16 frequencies of
# a locus almost tell its haplotypes apart, and with them goes nearly all variance. The share that stays is printed.
# **Gated attention** weighs the loci itself; it is fitted three times, and no claim rests on it.

# %%
composition = of_people(kmers.kmer_frequencies(sequences, composition_k))
matched, attention = {}, {}
for arm, y in phenotypes.items():
    residual = {site: views.without(layers[site].coords, composition) for site in sites}
    matched[arm] = validate.hunt(residual, y, families, n_folds, matched_repeats, C_grid, seed)
    kept = residual[best[arm]](np.ones(len(people), bool)).var(0).sum() / layers[best[arm]].coords.var(0).sum()
    print(f"{arm}: {kept:.2f} of the variance at {best[arm]} stays without composition")
    by_locus = of_people(pooled[:, sites.index(best[arm])]).reshape(len(people), len(loci), -1)
    attention[arm] = attention_.attention(by_locus, y, nested[arm].folds[0], attention_seeds, attention_steps, seed)

# %% [markdown]
# The shuffle is the alarm for leaks in the pipeline itself: labels are permuted, and the whole hunt is run again, folds,
# strengths and choice of layer.

# %%
shuffles = {arm: validate.shuffled(layers, y, families, n_folds, C_grid, n_shuffles, seed) for arm, y in phenotypes.items()}

# %%
KINDS = dict.fromkeys(sites, "layer") | {"reference difference": "view", "principal components": "confounder",
                                         "PCs + sex": "confounder", "missing calls": "confounder", "population": "confounder"}
rows = []
for arm, y in phenotypes.items():
    scores = [(name, KINDS.get(name, "baseline"), run.score) for name, run in runs[arm].items()]
    scores.append(("layer chosen inside folds", "nested", nested[arm].score))
    scores += [(site, "composition-matched", run.score) for site, run in matched[arm].items()]
    scores.append(("gated attention", "view", attention[arm]))
    if polygenic is not None:
        scores.append(("published polygenic score", "score", polygenic))
    if arm in genetic:
        scores.append(("true genetic score", "oracle", genetic[arm]))
    for name, kind, score in scores:
        rows.append({"arm": arm, "predictor": name, "kind": kind, **validate.estimate(y, score, n_boot, seed, families)._asdict()})
    low, high = np.quantile(shuffles[arm], [0.025, 0.975])
    rows.append({"arm": arm, "predictor": "label shuffle", "kind": "shuffle", "value": shuffles[arm].mean(), "low": low,
                 "high": high, "n": n_shuffles})
table = pd.DataFrame(rows)
stage.write_table("layers", table)
table.pivot(index=["kind", "predictor"], columns="arm", values="value").round(3)

# %% [markdown]
# ## Alarms
#
# Each has its rule, and stops the claims of its arm when it goes off. Shuffled labels: mean AUROC outside 0.45 to 0.55.
# Principal components: AUROC interval above 0.5, unless dosage and the layer are both significantly above them.
# Components of a few loci carry some of the causal alleles, so that they predict without any confounding; dosage, which
# holds ancestry and everything else, then does better, and a layer that reads more than ancestry does too. The column
# `note` says where this exempted an arm. Population or missing calls alone: interval above 0.5. Probe over dosage: more
# than 0.05, interval above 0. Ceiling: an AUROC above the arm's limit, or significantly above the true genetic score
# where that is the limit.

# %%
parts = []
for arm, y in phenotypes.items():
    names = ["principal components", "missing calls"] + ["population"] * (population is not None)
    confounders = {name: runs[arm][name].score if name in runs[arm] else None for name in names}
    ceiling = limits[arm] or genetic.get(arm)  # neither where no published variant is in the cohort
    found = alarms_.alarms(y, nested[arm].score, runs[arm]["dosage"].score, shuffles[arm], confounders, ceiling, n_boot, seed, families)
    parts.append(found.assign(arm=arm))
alarms = pd.concat(parts, ignore_index=True)[["arm", "alarm", "value", "low", "high", "n", "limit", "fired", "note"]]
stage.write_table("alarms", alarms)
alarms[["arm", "alarm", "value", "low", "high", "limit", "fired"]].round(3)

# %%
stopped = stops.of_arms(alarms)

# %% [markdown]
# ## ROC curve
#
# Of the layer chosen inside folds, by each person's mean score over repeats. Thinned to 101 points, so that no step is one
# person; an arm with too few people of a class has none.

# %%
rocs = []
for arm, y in phenotypes.items():
    n_cases, n_controls = int(y.sum()), int((1 - y).sum())
    if min(n_cases, n_controls) > suppress.THRESHOLD:
        rocs.append(roc.thin_roc(y, nested[arm].score.mean(0)).assign(arm=arm, n_cases=n_cases, n_controls=n_controls))
columns = ["arm", "fpr", "tpr", "n_cases", "n_controls"]
stage.write_table("roc", pd.concat(rocs)[columns] if rocs else pd.DataFrame(columns=columns));

# %% [markdown]
# ## Calibration
#
# Of the layer chosen inside folds, before and after Platt scaling; the latter is fitted in each fold on its training
# people's inner out-of-fold log odds. Numbers are means over repeats. Slope below 1: too extreme. The expected
# calibration error is debiased, since binning alone makes a calibrated score look wrong. A score that separates the
# classes has no slope: its row stays empty.

# %%
rows, curves = [], []
for arm, y in phenotypes.items():
    try:
        log_odds = {"before": nested[arm].log_odds, "after Platt": validate.calibrated(y, nested[arm])}
        for name, repeats in log_odds.items():
            rows.append({"arm": arm, "scaling": name, **pd.DataFrame([calibration.summary(y, x) for x in repeats]).mean(), "n": len(y)})
            curves.append(calibration.curve(y, repeats.mean(0), n_bins).assign(arm=arm, scaling=name))
    except ValueError as error:
        print(f"{arm}: not calibrated: {error}")
calibrations = pd.DataFrame(rows, columns=["arm", "scaling", "slope", "intercept", "brier", "log_loss", "ece", "n"])
curves = pd.concat(curves) if curves else pd.DataFrame(columns=["predicted", "observed", "low", "high", "n", "arm", "scaling"])
stage.write_table("calibration", calibrations)
stage.write_table("calibration_curve", curves)
calibrations.round(3)

# %% [markdown]
# ## Other people
#
# Within each population, and for a population that the probe has never seen; and a second cohort, if there is one: the
# probe is fitted on everybody here, frozen, and applied to the other cohort's own extraction. It transports when the
# intervals of the two AUROCs overlap and both lie above 0.5. No families are known there: its interval resamples people.

# %%
if population is not None:
    groups = [left_out_groups(layers[best[arm]].coords, y, population, nested[arm].score, C_grid, n_boot, seed, families).assign(arm=arm)
              for arm, y in phenotypes.items()]
    stage.write_table("groups", pd.concat(groups))
    print(pd.concat(groups).round(3).to_string(index=False))

# %%
if external_phenotype_path:
    there = {name: io.private_path(study, "01_extraction", "external_" + name) for name in ("pooled.h5", "units.csv", "cohort.h5")}
    other_pooled, _ = pool.read_pooled(there["pooled.h5"], sites)
    other_samples, _, other_carriers = read_cohort(there["cohort.h5"])
    other_map, other_people, other_loci = corpus.person_locus_map(other_carriers, io.read_csv(there["units.csv"]))
    assert other_people == other_samples, f"carriers name {other_people[:3]}…, the second cohort {other_samples[:3]}…: wanted the same people in this order"
    if other_loci != loci:
        raise ValueError(f"second cohort: loci {other_loci[:5]}…, wanted {loci[:5]}… in this order")
    other_y = read_phenotype(inputs.find(study, external_phenotype_path), other_people)
    rows = []
    for arm, y in phenotypes.items():
        home = layers[best[arm]]
        frozen = probe.fit(home, y, probe.choose_C(home, y, C_grid, seed, families)[0])
        X = corpus.features(other_map, len(other_people), other_pooled[:, sites.index(best[arm])])
        inside = validate.estimate(y, nested[arm].score, n_boot, seed, families)
        e, slope, holds = transport(inside, other_y, frozen.score(X), n_boot, seed)
        rows.append({"arm": arm, "site": best[arm], **e._asdict(), "slope": slope})
        stage.claim(f"[{arm}] the frozen probe transports to a second cohort", *e, round(inside.value, 3), holds,
                    f"null: AUROC at home; calibration slope there {slope:.2f}; bootstrap over people", of="people",
                    rule="the intervals here and there overlap and both lie above 0.5", stopped=stopped[arm],
                    because="" if e.n else "a class of the second cohort is a single person or nobody")
    stage.write_table("external", pd.DataFrame(rows))

# %% [markdown]
# ## Results for later notebooks

# %%
results, private = {}, {"sample": samples, "group": samples if families is None else families}
for arm, y in phenotypes.items():
    mine = table[(table.arm == arm) & (table.kind == "layer")].sort_values("value", ascending=False)
    left = table[(table.arm == arm) & (table.kind == "composition-matched")]
    shown = ["predictor", "value", "low", "high"]
    results[arm] = {"best_layer_per_fold": picked[arm], "best_block": best[arm], "inner_auroc": inner[arm],
                    "top_layers": mine.head(5)[shown].to_dict("records"), "composition_matched": left[shown].to_dict("records")}
    private[f"{arm}/phenotype"] = y
    private |= {f"{arm}/fold {r}": folds for r, folds in enumerate(nested[arm].folds)}
    private |= {f"{arm}/{site} {r}": score for site in sites for r, score in enumerate(runs[arm][site].score)}
stage.write_yaml("layer_hunting_results.yaml", results)
stage.write_json("arms.json", labels.of_arms(arms, arm_kinds, effect_scales, phenotype_path))  # what the figures may say of them
stage.write_json("settings.json", {"n_folds": n_folds, "n_repeats": n_repeats, "C_grid": C_grid, "seed": seed})  # 05 fits the same probes
stage.write_table("scores", pd.DataFrame(private), private=True);

# %% [markdown]
# ## Verdicts

# %%
for arm, y in phenotypes.items():
    e = validate.estimate(y, nested[arm].score, n_boot, seed, families)
    p = (1 + (shuffles[arm] >= e.value).sum()) / (1 + n_shuffles)
    stage.claim(f"[{arm}] a layer predicts better than shuffled labels", *e, f"{n_shuffles} shuffles, mean {shuffles[arm].mean():.3f}",
                e.low > 0.5 and p <= 0.05, f"mean AUROC of {n_repeats} repeats, layer chosen inside folds; bootstrap over {resampled}; "
                f"permutation p {p:.3f}", of="people", rule="the interval lies above 0.5 and permutation p is at most 0.05", stopped=stopped[arm])
    for name in ("dosage", f"{kmer_k}-mer", "raw embedding", "random twin"):
        over = validate.difference(y, nested[arm].score, runs[arm][name].score, n_boot, seed, families)
        text, note = f"the layer chosen inside folds predicts better than {name}", ""
        if name == "dosage":
            text = "the layer chosen inside folds is above dosage, by no more than 0.05"
            note = "a gain this small is shrinkage towards shared directions, not knowledge of people; "
        stage.claim(f"[{arm}] {text}", *over, 0.0, over.low > 0, f"{note}AUROC difference, paired bootstrap over {resampled}",
                    of="people", rule="the interval of the paired difference lies above 0", stopped=stopped[arm])
    for row in alarms[alarms.arm == arm].itertuples():
        stage.claim(f"[{arm}] no alarm: {row.alarm}", row.value, row.low, row.high, row.n, row.limit, not row.fired, row.note,
                    of="shuffles" if row.alarm == "label shuffle" else "people", rule=alarm_rule(row.alarm),
                    because=row.note if pd.isna(row.limit) else "")
    stage.headline(**{f"{arm} nested": round(e.value, 3), f"{arm} dosage": round(float(estimates.auroc(y, runs[arm]["dosage"].score).mean()), 3),
                      f"{arm} shuffle": round(float(shuffles[arm].mean()), 3), f"{arm} alarms": stopped[arm].removeprefix("alarm: ") or "none"})

# %%
from lib.figures import outcome

figure, axes = style.panels(len(arms), 2.2, sharey=True)
for ax, arm in zip(axes, arms, strict=True):
    outcome.layers(table, ax, arm, stopped[arm])
style.legend(figure, axes[:1], ncols=4)

# %% [markdown]
# **Reading.** Dots: mean out-of-fold AUROC of a layer over repeats; squares: the same layer without composition; bars:
# 95 % bootstrap interval over people, families whole. Dashed: baselines, with their intervals as bands. Dots inside the
# band of dosage carry what the genotypes carry, no more; dots inside the band of the random twin owe nothing to what the
# model learned.

# %%
figure, axes = style.panels(len(arms), 2.0, sharey=True)
for ax, arm in zip(axes, arms, strict=True):
    outcome.calibration(curves, ax, arm)
style.legend(figure, axes, ncols=2)
stage.finish()

# %% [markdown]
# **Reading.** People in bins of equal size by the mean log odds of the repeats; bars: 95 % Wilson interval. On the
# diagonal, of people with a predicted 70 %, seven tenths are cases. The mean over repeats is less extreme than one fit is.
