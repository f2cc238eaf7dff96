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
# # 04 · What do the latents respond to?
#
# **Question.** Does a latent fire where a transcription factor's motif is, or an exon, a promoter, a variant of known
# effect, more than the same latent shifted along the same sequence, more than a raw neuron, more than a random dictionary?
#
# A match is *plausible*, not *faithful*: whether the prediction needs the latent is asked in `05_validation`.
# Pairs and thresholds are chosen on validation chromosomes and read once on test chromosomes. We report motif
# *families*: which member of a family binds cannot be read from sequence.
#
# Reads `01_extraction`, `03_sae_training`; background units only. Leaves `features.csv` (one row a latent), `associations.csv`, `concepts.csv`.

# %% tags=["parameters"]
study = "demo"
genome_path = "simulated:genome.fa"  # FASTA of the reference
validation_contigs = ["sim7"]        # as in 03_sae_training
test_contigs = ["sim8"]              # read once
fimo_p = 0.0001                      # FIMO p-value of a motif hit
truth_path = "simulated:truth/sites.csv"                # planted sites, for scoring only; "" on real data
exon_path = "simulated:truth/annotation/exons.bed"      # BED of exons; "" for none
exon_name = ""                       # keep BED rows whose name holds this text, for files of several features
promoter_path = "simulated:truth/annotation/promoters.bed"  # BED of promoters, or of start sites to widen
promoter_flank_bp = 0                # bases added on both sides of a promoter row
variant_path = ""                    # VCF with CLNSIG (ClinVar); "" for none
gwas_path = ""                       # table with chr38, pos38 (GWAS Catalog lead SNPs); "" for none
min_instances = 15                   # concepts with fewer instances on a split are left out
n_shifts = 1000                      # circular shifts for the null
f1_floor = 0.5                       # a claimed pair has test F1 above this and q below 0.05
n_cards = 6                          # latents for feature cards
card_windows = 5                     # top reference windows on each card
seed = 0

# %%
import json

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from lib import figstyle, inputs, io, store
from lib.annotate import association, concepts, features
from lib.genome import motifs, reference, windows
from lib.sae import evaluate, format
from lib.sae.model import random_dictionary

stage = io.open_stage(study, "04_annotation")

# %%
chosen = json.loads(io.stage_path(study, "03_sae_training", "chosen.json").read_text())
identity = json.loads(io.stage_path(study, "01_extraction", "model.json").read_text())
folder = io.stage_path(study, "03_sae_training", chosen["folder"] + "/cfg.json").parent
sae = format.load(folder, chosen["site"], identity)
acts = store.open_store(io.stage_path(study, "01_extraction", "activations.h5"))
units = io.read_table(study, "01_extraction", "units")
texts = io.stage_path(study, "01_extraction", "sequences.txt").read_text().split()
x = acts.acts[chosen["site"]]
split = store.split_rows(units, acts.tokens["unit"], validation_contigs, test_contigs)
once = features.disjoint_units(units)
split = {part: rows[np.isin(acts.tokens["unit"][rows], once)] for part, rows in split.items()}
print(f"{chosen['run']} at {chosen['site']}; decision: {io.read_manifest(study, '03_sae_training')['headline'].get('decision')}")

# %% [markdown]
# ## Concepts on tokens
#
# All 1,019 JASPAR 2026 vertebrate profiles are scanned, not only the planted ones: the annotation is not told the
# answer. Intervals come from the files named in the parameters.

# %%
genome = reference.Reference(inputs.find(study, genome_path))
intervals = []
for kind, path, name, flank in (("exon", exon_path, exon_name, 0), ("promoter", promoter_path, "", promoter_flank_bp)):
    if path:
        bed = windows.read_bed(inputs.find(study, path), genome, kind, unique=False)
        intervals.append(features.bed_intervals(bed, kind, name, flank))
if variant_path:
    intervals.append(features.clinvar_intervals(inputs.find(study, variant_path), genome, units))
if gwas_path:
    intervals.append(features.gwas_intervals(inputs.find(study, gwas_path)))
intervals = pd.concat(intervals, ignore_index=True)
planted = pd.read_csv(inputs.find(study, truth_path)) if truth_path else None
laid, tokens = {}, {}
for part in ("validation", "test"):
    tokens[part] = features.token_table(acts.tokens, units, split[part])
    mine = units.loc[np.unique(tokens[part].unit)]
    hits = concepts.motif_hits(mine, [texts[u] for u in mine.unit], motifs.vertebrate_motifs(), fimo_p)
    parts = [concepts.lay(tokens[part], hits, "motif", f"{motifs.RELEASE}, FIMO p <= {fimo_p}", min_instances),
             concepts.lay(tokens[part], intervals, "interval", "parameter files", min_instances)]
    if planted is not None:
        true = planted.assign(concept="site " + planted.motif)  # planted, or by chance as strong as a planted one
        parts.append(concepts.lay(tokens[part], true, "true site", "simulation", min_instances))
    laid[part] = concepts.combine(parts)
laid["validation"], laid["test"] = features.shared(laid["validation"], laid["test"])
stage.write_table("concepts", laid["test"].table)
laid["test"].table.groupby("kind").agg(concepts=("concept", "size"), instances=("n_instances", "sum"))

# %% [markdown]
# ## Association, with rivals
#
# The same procedure, blind to which is which: the trained SAE, a random dictionary with the same number of active
# latents, and the raw neurons (both signs of each dimension).

# %%
def by_split(make):
    return {part: make(split[part]) for part in ("validation", "test")}

mean = np.asarray(x[split["train"][:: max(1, len(split["train"]) // 50000)]], dtype=np.float32).mean(0)
untrained = random_dictionary(sae, max(1, round(chosen["l0"])), seed + 1)
methods = {
    "SAE": by_split(lambda rows: evaluate.latents_of(sae, x, rows)),
    "random dictionary": by_split(lambda rows: evaluate.latents_of(untrained, x, rows)),
    "raw neurons": by_split(lambda rows: association.dense_to_latents(x[rows], mean)),
}
read, best = [], []
for method, latents in methods.items():
    for kind in laid["test"].table.kind.unique():
        v, t = features.of_kind(laid["validation"], kind), features.of_kind(laid["test"], kind)
        pairs = association.choose(latents["validation"], v)
        pairs = association.read(latents["test"], t, pairs, n_shifts, seed)
        read.append(pairs.assign(method=method, kind=kind))
        per_concept = association.choose_latents(latents["validation"], v)
        best.append(association.read(latents["test"], t, per_concept, n_shifts, seed).assign(method=method, kind=kind))
read, best = pd.concat(read, ignore_index=True), pd.concat(best, ignore_index=True)
stage.write_table("associations", read.drop(columns="concept_row"))
stage.write_table("best_latents", best.drop(columns="concept_row"));

# %%
claimed = read[(read.q < 0.05) & (read.f1 > f1_floor)]
counts = best.assign(found=(best.q < 0.05) & (best.f1 > f1_floor)).groupby(["kind", "method"]).agg(
    concepts=("concept", "size"), found=("found", "sum"), median_f1=("f1", "median"), best_f1=("f1", "max"))
counts["units_claimed"] = claimed.groupby(["kind", "method"]).size()
counts = counts.fillna({"units_claimed": 0}).reset_index()
stage.write_table("counts", counts)
counts.round(3)

# %% [markdown]
# ## Claims
#
# Trained minus null, one claim a null, with an interval over families (members of a family share their sites). What
# carries a claim is F1 above 0.5 on chromosomes never used for choosing, and the rivals; the shift test only
# removes pairs that clustering alone would give.

# %%
for kind in laid["test"].table.kind.unique():
    wide = best[best.kind == kind].pivot_table(index="concept", columns="method", values="f1")
    family = best[best.kind == kind].drop_duplicates("concept").set_index("concept").family
    for rival in ("random dictionary", "raw neurons"):
        e = features.family_interval(wide["SAE"] - wide[rival], family, seed=seed)
        stage.claim(f"latents match {kind} concepts better than {rival} (test F1, mean difference)", e.value, e.low, e.high,
                    e.n, 0.0, e.low > 0 and e.n >= 10, "bootstrap over families, at least 10 wanted; one SAE seed")

# %%
if planted is not None:
    truth_family = planted.drop_duplicates("motif").set_index("motif").family
    score = {}
    for method in methods:
        mine = best[(best.kind == "true site") & (best.method == method)]
        found = mine[(mine.q < 0.05) & (mine.f1 > f1_floor)]
        named = found.merge(read[(read.method == method) & (read.kind == "motif")][["latent", "family"]], on="latent",
                            suffixes=("", "_named"))
        right = (named.family_named == named.concept.str.removeprefix("site ").map(truth_family)).sum()
        score[method] = (len(found), len(mine), int(right))
    stage.write_table("recovery", pd.DataFrame([{"method": m, "recovered": f, "motifs": n, "family_right": r}
                                                for m, (f, n, r) in score.items()]))
    found, n, right = score["SAE"]
    rival = max(f / m for name, (f, m, _) in score.items() if name != "SAE")
    low, high = proportion_confint(found, n, method="wilson")
    stage.claim("planted motifs recovered by one latent (test F1 above 0.5, q below 0.05)", found / n, low, high, n,
                round(rival, 4), found / n >= 0.8 and found / n > rival,
                "share of motifs, Wilson interval; the bar is 0.8; null: better of raw neurons and random dictionary")
    low, high = proportion_confint(right, found, method="wilson") if found else (np.nan, np.nan)
    rival = max(r / max(f, 1) for name, (f, _, r) in score.items() if name != "SAE")
    stage.claim("motif family named right, of the recovered", right / max(found, 1), low, high, found, round(rival, 4),
                found > 0 and right / found >= 0.9, "best JASPAR family against the planted one, whose profile is in "
                "JASPAR; Wilson interval; the bar is 0.9")
    stage.headline(motifs_recovered=f"{found} of {n}", family_right=f"{right} of {found}")
sae_counts = counts[counts.method == "SAE"].set_index("kind")
stage.headline(**{f"{k} found": int(v) for k, v in sae_counts.found.items()})

# %% [markdown]
# ## The catalogue
#
# One row a latent: how often it fires, its best concept with test F1, AUROC and q, and whether that is *plausible*.

# %%
catalogue = features.catalogue(read[read.method == "SAE"], io.read_table(study, "03_sae_training", "latents"), f1_floor)
stage.write_table("features", catalogue)
cards = features.cards(catalogue, methods["SAE"]["test"], tokens["test"], units, texts, n_cards, card_windows)
stage.write_table("cards", cards)
catalogue.head(12)

# %%
figure, ax = figstyle.axes(1, 1, height=2.3)
kind = "true site" if planted is not None else "motif"
for method in methods:
    values = np.sort(best[(best.kind == kind) & (best.method == method)].f1)[::-1]
    ax.plot(np.arange(1, len(values) + 1), values, color=figstyle.COLOURS[method], label=method)
ax.axhline(f1_floor, color="0.7", lw=0.6)
ax.set(xlabel=f"{kind} concepts, ranked", ylabel="test F1 of the best unit", ylim=(0, 1))
ax.legend()
stage.finish()

# %% [markdown]
# **Reading.** Each curve ranks the concepts by the test F1 of the unit that was best on validation. The gap between
# blue and the rest is what the dictionary adds over the model's own axes and over chance directions.
