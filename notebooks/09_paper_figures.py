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
# # 07 · What do we claim?
#
# Eleven figures and one table of claims, drawn from the tables that the earlier notebooks left. Nothing is computed
# here but layout: every number has a row in a CSV beside its figure, and every claim its interval, n and null.
#
# The label under every figure says what was simulated and what came from files, as 01 and 02 wrote it down. What an alarm
# of 02 or a no-go of 03 stops, the figures say in red. A table that holds nothing leaves a panel that says why.

# %% tags=["parameters"]
study = "demo"
data_label = ""  # more words for every figure, after what the study itself says it is
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import pandas as pd

from lib.dna import cards
from lib.figures import annotation, causal, dictionaries, extraction, labels, numbers, outcome
from lib.stage import io, stops

stage = io.open_stage(study, "09_paper_figures")
STAGES = ["01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation", "05_validation", "06_explanations", "07_replication", "08_dna"]
read = {name: io.read_table(study, name, "claims") for name in STAGES}
about, arms, chosen, rule = (io.read_json(study, name, file) for name, file in (
    ("01_extraction", "study.json"), ("02_layer_hunting", "arms.json"), ("03_sae_training", "chosen.json"), ("05_validation", "rule.json")))
alarmed, no_go = stops.of_arms(io.read_table(study, "02_layer_hunting", "alarms")), stops.of_dictionary(chosen)
label = labels.text(about, arms, data_label)
label

# %% [markdown]
# ## Figure 1 · What is read, and whether the model knows it
# Left: units against person-haplotype windows. Right: activation norms by block (median, n tokens in the CSV).

# %%
headline = io.read_manifest(study, "01_extraction")["headline"]
extraction.overview(stage, headline, io.read_table(study, "01_extraction", "qc"),
                 io.read_table(study, "01_extraction", "knowledge"), label, labels.loss(about));

# %% [markdown]
# ## Figure 2 · Layers against genotype dosage
# Mean out-of-fold AUROC of the repeats, bars 95 % bootstrap over people. Dosage is the compulsory baseline; dotted, the true genetic score,
# known only because the phenotype is simulated.

# %%
outcome.layers(stage, io.read_table(study, "02_layer_hunting", "layers"), label, alarmed);

# %% [markdown]
# ## Figure 3 · Explained variance against sparsity
# Test chromosomes, bars 95 % bootstrap over units; PCA and a random dictionary at the chosen run's L0.

# %%
dictionaries.pareto(stage, io.read_table(study, "03_sae_training", "sweep"), io.read_table(study, "03_sae_training", "controls"), label);

# %% [markdown]
# ## Figure 4 · How often latents fire
# Test tokens. A mass at the left would be dead or nearly dead latents; at the right, latents that mean nothing.

# %%
dictionaries.density(stage, io.read_table(study, "03_sae_training", "latents"), io.read_table(study, "03_sae_training", "curves"), label);

# %% [markdown]
# ## Figure 5 · Concepts found, against the same search over nulls
# Test F1 of the unit chosen on validation, per concept, ranked; every rival and null was searched alike.

# %%
annotation.concepts(stage, io.read_table(study, "04_annotation", "best_latents"), label, no_go,
                 f1_floor=io.read_json(study, "04_annotation", "settings.json")["f1_floor"]);

# %% [markdown]
# ## Figure 6 · The trained dictionary against its nulls
# At the same thresholds (q < 0.05 over all pairs, test F1 above the floor): share of concepts that the unit chosen on
# validation is claimed for, bars Wilson 95 %. k-mers and raw neurons are rivals, not only nulls. Right: precision and
# recall of the best pairs on test windows as the threshold falls.

# %%
annotation.against_nulls(stage, io.read_table(study, "04_annotation", "ladder"), io.read_table(study, "04_annotation", "precision_recall"), label, no_go);

# %% [markdown]
# ## Figure 7 · Concepts, layer by layer
# Each layer has a dictionary of its own, trained alike. Small: 95 % bootstrap over windows. Bold: claimed, and the
# lower bound is above the best null or rival at that layer.

# %%
annotation.layer_concepts(stage, io.read_table(study, "04_annotation", "layer_concepts"), label, no_go);

# %% [markdown]
# ## Figure 8 · Feature cards
# Latents with the best motif match, one per family, on reference sequence only: the bases around the peaks, as a logo
# of the top windows aligned at their peak, and the JASPAR profile that the match names. Plausible is not faithful.

# %%
cards.cards(stage, io.read_table(study, "04_annotation", "cards"), io.read_table(study, "04_annotation", "features"), label, no_go);

# %% [markdown]
# ## Figure 9 · Decoder directions
# A plane on which decoder rows with a high cosine lie near each other (UMAP); far distances mean nothing. Colour: family
# of the best claimed concept.

# %%
annotation.decoder_map(stage, io.read_table(study, "04_annotation", "decoder_map"), label, no_go);

# %% [markdown]
# ## Figure 10 · Which latents the prediction needs
# Fall of AUROC when latents are set to their reference value: one, a family as 04 names it, or a closure (a family with what
# moves with it). Bars 95 % BCa interval over people; ticks, the larger of the nulls; dotted, the bar of *necessary*.

# %%
causal.necessity(stage, io.read_table(study, "05_validation", "necessity"), rule["arms"], rule["bar"], label, alarmed, no_go);

# %% [markdown]
# ## Figure 11 · Explanations and variants
# Explanations on the same windows: rank agreement; AUROC of |value| inside sites; how much faster than a random order deleting
# what they name moves the score (bootstrap over windows). Last: AUROC of labelled variants by size of change, bootstrap over genes.

# %%
causal.explanations(stage, *(io.read_table(study, name, table) for name, table in (
    ("06_explanations", "agreement"), ("06_explanations", "explanations"), ("08_dna", "separation"))), label, stops.joined(alarmed[rule["arms"][0]], no_go));

# %% [markdown]
# ## The claims
# Each with its value, interval, what n counts, null, rule and verdict: holds, does not hold, stopped, or could not be tested,
# because. What does not hold stays in.

# %%
claims = pd.concat([t.assign(stage=name) for name, t in read.items()], ignore_index=True)
claims.to_csv(stage.figure_path("claims.csv"), index=False, lineterminator="\n")
stage.figure_path("numbers.tex").write_text(numbers.numbers(study, {s: io.read_manifest(study, s)["headline"] for s in STAGES}))
stage.headline(figures=11, claims=len(claims), hold=int((claims.verdict == "holds").sum()))
stage.finish()
claims[["stage", "claim", "value", "low", "high", "n", "of", "null", "verdict"]].round(3)
