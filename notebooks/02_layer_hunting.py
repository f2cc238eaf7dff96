# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
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
# **What would change our mind.** Dosage logistic regression on the same variants is the compulsory baseline. A layer
# significantly above dosage is an alarm for a leak, to be explained before anything is claimed; a layer at the level of
# shuffled labels carries nothing. Where the phenotype is simulated, the true genetic score stands beside both: what
# no predictor can honestly beat. Layers are *chosen* on training people only (inner
# cross-validation), so that the nested estimate is not flattered by the hunt.
#
# Reads `01_extraction`. Leaves `layers.csv`, `layer_hunting_results.yaml`; per-person scores stay private.

# %% tags=["parameters"]
study = "demo"
phenotype_path = "simulated:phenotype.csv"  # table with sample, phenotype (0/1); "" simulates from published effects
genetic_path = "simulated:truth/liability.csv"  # table with sample, genetic: the true score, "" when unknown
arms = ["simulated, enlarged"]  # names of the phenotype arms, as they appear in every table and figure
effect_scales = [1.0]       # published log odds are multiplied by this, one value an arm (only when simulating)
case_share = 0.5            # share of people who are cases (only when simulating): a cohort, not a population
vcf_path = "simulated:cohort.vcf.gz"  # read again only to match published effects to variants
genome_path = "simulated:genome.fa"   # FASTA of the reference
loci_path = "simulated:loci.bed"      # BED of the loci
n_folds = 5                 # outer folds over people
C_grid = [0.01, 0.1, 1.0]   # inverse L2 strengths tried by inner 3-fold cross-validation
kmer_k = 4                  # k-mer baseline: frequencies of 4**k words per locus
n_shuffles = 20             # label permutations for the null, each through the whole hunt
n_boot = 1000               # bootstrap resamples, over people within class
seed = 0

# %%
import numpy as np
import pandas as pd

from lib import cohort, figstyle, inputs, io, probe, stats, store
from lib.genome import reference, variants, windows
from lib.progress import tqdm

stage = io.open_stage(study, "02_layer_hunting")

# %%
pooled, sites = store.read_pooled(io.private_path(study, "01_extraction", "pooled.h5"))
units = pd.read_csv(io.private_path(study, "01_extraction", "units.csv"))
samples, dosage, carriers = inputs.read_cohort(io.private_path(study, "01_extraction", "cohort.h5"))
sequences = io.private_path(study, "01_extraction", "sequences.txt").read_text().split()
locus_map, people, loci = probe.person_locus_map(carriers, units)
assert people == samples
f"{len(people)} people, {len(loci)} loci, {pooled.shape[1]} sites of width {pooled.shape[2]}"

# %% [markdown]
# ## Phenotypes
#
# Either your table, or **simulated**: liability = sum of log odds x dosage + logistic noise, the top `case_share` are
# cases. An arm with `effect_scales` above 1 is **enlarged**: it asks whether the method can see an effect that it
# ought to see, not whether the disease has one.

# %%
phenotypes, genetic = {}, {}
if phenotype_path:
    y = cohort.read_phenotype(inputs.find(study, phenotype_path), samples)
    phenotypes = {arm: y for arm in arms}
    if genetic_path:
        known = pd.read_csv(inputs.find(study, genetic_path)).set_index("sample").genetic
        genetic = {arm: known.loc[samples].to_numpy() for arm in arms}
else:
    genome = reference.Reference(inputs.find(study, genome_path))
    regions = windows.read_bed(inputs.find(study, loci_path), genome)
    genotypes = variants.read_genotypes(inputs.find(study, vcf_path), genome, regions)
    effects = cohort.match_effects(cohort.ibd_effects(), genotypes, genome)
    present = effects[effects.status == "present"]
    stage.write_table("effects", effects, private=True)
    for arm, scale in zip(arms, effect_scales, strict=True):
        simulated = cohort.simulate_phenotype(dosage[present.variant], scale * present.beta_alt.to_numpy(), case_share, seed)
        phenotypes[arm], genetic[arm] = simulated["phenotype"].to_numpy(), simulated["genetic"].to_numpy()
    print(f"{len(present)} of {len(effects)} published variants are in this cohort: {', '.join(present.gene)}")
for arm, y in phenotypes.items():
    print(f"{arm}: {y.sum()} cases, {(1 - y).sum()} controls")

# %% [markdown]
# ## Layers, baselines, shuffles
#
# Each predictor gets the same folds, the same L2 logistic regression and the same inner choice of its strength.

# %%
filled = np.where(np.isnan(dosage), np.nanmean(dosage, axis=1, keepdims=True), dosage).T
kmers = probe.features(locus_map, len(people), probe.kmer_frequencies(sequences, kmer_k))
layers = {s: probe.compact(probe.features(locus_map, len(people), pooled[:, i])) for i, s in enumerate(sites)}
baselines = {"dosage": filled, f"{kmer_k}-mer": probe.compact(kmers)}

rows, found, private = [], {}, {"sample": samples}
for arm, y in phenotypes.items():
    folds = cohort.stratified_folds(y, None, n_folds, seed)
    runs = {name: probe.cross_validate(X, y, folds, C_grid, seed) for name, X in {**layers, **baselines}.items()}
    picked, nested = probe.nested_choice({s: runs[s] for s in sites}, folds)
    scores = {name: run.score for name, run in runs.items()} | {"layer chosen inside folds": nested}
    if arm in genetic:
        scores["true genetic score"] = genetic[arm]
    kinds = dict.fromkeys(sites, "layer") | {"layer chosen inside folds": "nested", "true genetic score": "oracle"}
    for name, score in scores.items():
        estimate = stats.auroc_interval(y, score, n_boot, seed)
        kind = kinds.get(name, "baseline")
        rows.append({"arm": arm, "predictor": name, "kind": kind, "value": estimate.value, "low": estimate.low,
                     "high": estimate.high, "n": estimate.n})
    gain = stats.auroc_drop(y, nested, runs["dosage"].score[None], n_boot, seed)
    found[arm] = {"best_layer_per_fold": picked, "runs": runs, "over_dosage": stats.Estimate(*(float(v[0]) for v in gain), len(y))}
    private |= {f"{arm}/phenotype": y, f"{arm}/fold": folds} | {f"{arm}/{s}": runs[s].score for s in sites}

# %% [markdown]
# The shuffle is the alarm for leaks in the pipeline itself: labels are permuted, and the whole hunt is run again, folds,
# strengths and choice of layer. The mean AUROC has to stay between 0.45 and 0.55.

# %%
rng = np.random.default_rng(seed)
shuffles = {}
for arm, y in phenotypes.items():
    values = []
    for _ in tqdm(range(n_shuffles), desc=f"shuffles, {arm}", mininterval=5):
        permuted = rng.permutation(y)
        folds = cohort.stratified_folds(permuted, None, n_folds, seed)
        runs = {s: probe.cross_validate(layers[s], permuted, folds, C_grid, seed) for s in sites}
        values.append(float(stats.auroc(permuted, probe.nested_choice(runs, folds)[1])))
    shuffles[arm] = np.array(values)
    low, high = np.quantile(values, [0.025, 0.975])
    rows.append({"arm": arm, "predictor": "label shuffle", "kind": "shuffle", "value": np.mean(values), "low": low,
                 "high": high, "n": n_shuffles})
table = pd.DataFrame(rows)
stage.write_table("layers", table)
stage.write_table("scores", pd.DataFrame(private), private=True)
table.round(3)

# %%
results = {}
for arm in phenotypes:
    mine = table[(table.arm == arm) & (table.kind == "layer")].sort_values("value", ascending=False)
    inner = {s: float(found[arm]["runs"][s].inner_auroc.mean()) for s in sites if s.startswith("resid_post")}
    results[arm] = {"best_layer_per_fold": found[arm]["best_layer_per_fold"], "best_block": max(inner, key=inner.get),
                    "inner_auroc": inner,
                    "top_layers": mine.head(5)[["predictor", "value", "low", "high"]].to_dict("records")}
stage.write_yaml("layer_hunting_results.yaml", results);

# %% [markdown]
# ## Verdicts

# %%
for arm in phenotypes:
    t = table[table.arm == arm].set_index("predictor")
    nested, shuffle, dose = t.loc["layer chosen inside folds"], t.loc["label shuffle"], t.loc["dosage"]
    p = (1 + (shuffles[arm] >= nested.value).sum()) / (1 + n_shuffles)
    over = found[arm]["over_dosage"]
    stage.claim(f"[{arm}] a layer predicts better than shuffled labels", nested.value, nested.low,
                nested.high, int(nested.n), f"{n_shuffles} shuffles, mean {shuffle.value:.3f}", nested.low > 0.5 and p <= 0.05,
                f"AUROC, layer chosen inside folds; bootstrap over people, assumed unrelated; permutation p {p:.3f}")
    stage.claim(f"[{arm}] the layer chosen inside folds is not above dosage (leak alarm)", over.value, over.low, over.high,
                over.n, 0.0, not over.low > 0, "AUROC difference, paired bootstrap over people")
    stage.claim(f"[{arm}] label-shuffle AUROC lies in 0.45 to 0.55", shuffle.value, shuffle.low, shuffle.high,
                int(shuffle.n), 0.5, 0.45 <= shuffle.value <= 0.55, "quantiles of the shuffles")
    stage.headline(**{f"{arm} nested": round(nested.value, 3), f"{arm} dosage": round(dose.value, 3),
                      f"{arm} shuffle": round(shuffle.value, 3)})

# %%
figure, axes = figstyle.axes(1, len(phenotypes), height=2.1, squeeze=False, sharey=True)
for ax, arm in zip(axes[0], phenotypes, strict=True):
    t = table[table.arm == arm]
    figstyle.intervals(ax, t[t.kind == "layer"], "predictor", figstyle.COLOURS["model"])
    for name, colour in (("dosage", "dosage"), (f"{kmer_k}-mer", "k-mer"), ("label shuffle", "label shuffle")):
        row = t[t.predictor == name].iloc[0]
        figstyle.band(ax, row.value, row.low, row.high, figstyle.COLOURS[colour], name)
    ax.set(title=arm, ylabel="AUROC")
    ax.tick_params(axis="x", rotation=30)
axes[0][-1].legend(loc="lower right")
stage.finish()

# %% [markdown]
# **Reading.** Dots: out-of-fold AUROC of a layer; bars: 95 % bootstrap interval over people. Dashed: baselines, with
# their intervals as bands. Dots inside the band of dosage carry what the genotypes carry, no more.
