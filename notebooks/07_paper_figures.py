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
# Eight figures and one table of claims, drawn from the tables that the earlier notebooks left. Nothing is computed
# here but layout: every number has a row in a CSV beside its figure, and every claim its interval, n and null.
#
# The label on every figure says what is simulated.

# %% tags=["parameters"]
study = "demo"
data_label = "simulated genome, cohort and phenotype; enlarged effects"  # said on every figure
seed = 0  # [0, 4e9] of all that is drawn at random

# %%

import pandas as pd

from lib import figures, io

stage = io.open_stage(study, "07_paper_figures")
STAGES = ["01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation", "05_validation", "06_variants"]
read = {name: io.read_table(study, name, "claims") for name in STAGES}

# %% [markdown]
# ## Figure 1 · What is read, and whether the model knows it
# Left: units against person-haplotype windows. Right: activation norms by block (median, n tokens in the CSV).

# %%
headline = io.read_manifest(study, "01_extraction")["headline"]
figures.overview(stage, headline, io.read_table(study, "01_extraction", "qc"),
                 io.read_table(study, "01_extraction", "knowledge"), data_label);

# %% [markdown]
# ## Figure 2 · Layers against genotype dosage
# Mean out-of-fold AUROC of the repeats, bars 95 % bootstrap over people. Dosage is the compulsory baseline; dotted, the true genetic score,
# known only because the phenotype is simulated.

# %%
figures.layers(stage, io.read_table(study, "02_layer_hunting", "layers"), data_label);

# %% [markdown]
# ## Figure 3 · Explained variance against sparsity
# Test chromosomes, bars 95 % bootstrap over units; PCA and a random dictionary at the chosen run's L0.

# %%
figures.pareto(stage, io.read_table(study, "03_sae_training", "sweep"), io.read_table(study, "03_sae_training", "controls"), data_label);

# %% [markdown]
# ## Figure 4 · How often latents fire
# Test tokens. A mass at the left would be dead or nearly dead latents; at the right, latents that mean nothing.

# %%
figures.density(stage, io.read_table(study, "03_sae_training", "latents"), io.read_table(study, "03_sae_training", "curves"), data_label);

# %% [markdown]
# ## Figure 5 · Concepts found, against the same search over nulls
# Test F1 of the unit chosen on validation, per concept, ranked; every rival and null was searched alike.

# %%
figures.concepts(stage, io.read_table(study, "04_annotation", "best_latents"), data_label);

# %% [markdown]
# ## Figure 6 · The trained dictionary against its nulls
# At the same thresholds (q < 0.05 over all pairs, test F1 above the floor): share of concepts that the unit chosen on
# validation is claimed for, bars Wilson 95 %. k-mers and raw neurons are rivals, not only nulls. Right: precision and
# recall of the best pairs on test windows as the threshold falls.

# %%
figures.against_nulls(stage, io.read_table(study, "04_annotation", "ladder"), io.read_table(study, "04_annotation", "precision_recall"), data_label);

# %% [markdown]
# ## Figure 7 · Concepts, layer by layer
# Each layer has a dictionary of its own, trained alike. Small: 95 % bootstrap over windows. Bold: claimed, and the
# lower bound is above the best null or rival at that layer.

# %%
figures.layer_concepts(stage, io.read_table(study, "04_annotation", "layer_concepts"), data_label);

# %% [markdown]
# ## Figure 8 · Feature cards
# Latents with the best motif match, one per family, on reference sequence only: the bases around the peaks, as a logo
# of the top windows aligned at their peak, and the JASPAR profile that the match names. Plausible is not faithful.

# %%
cards_path = io.stage_path(study, "04_annotation", "cards.csv")
figures.cards(stage, pd.read_csv(cards_path) if cards_path.stat().st_size > 1 else pd.DataFrame(),
              io.read_table(study, "04_annotation", "features"), data_label);

# %% [markdown]
# ## Figure 9 · Decoder directions
# A plane on which decoder rows with a high cosine lie near each other (UMAP); far distances mean nothing. Colour: family
# of the best claimed concept.

# %%
figures.decoder_map(stage, io.read_table(study, "04_annotation", "decoder_map"), data_label);

# %% [markdown]
# ## Figure 10 · Which latents the prediction needs
# Fall of AUROC when latents are set to their reference value: one, a family as 04 names it, or a closure (a family with what
# moves with it). Bars 95 % BCa interval over people; ticks, the larger of the nulls; dotted, the bar of 0.03.

# %%
figures.necessity(stage, io.read_table(study, "05_validation", "necessity"), data_label);

# %% [markdown]
# ## Figure 11 · Explanations and variants
# Explanations on the same windows: rank agreement; AUROC of |value| inside sites; how much faster than a random order deleting
# what they name moves the score (bootstrap over windows). Last: AUROC of labelled variants by size of change, bootstrap over genes.

# %%
figures.explanations(stage, io.read_table(study, "05_validation", "agreement"), io.read_table(study, "05_validation", "explanations"), io.read_table(study, "06_variants", "separation"), data_label);

# %% [markdown]
# ## The claims
# Each with its value, interval, n, null and verdict. What does not hold stays in.

# %%
claims = pd.concat([t.assign(stage=name) for name, t in read.items()], ignore_index=True)
claims.to_csv(stage.figure_path("claims.csv"), index=False, lineterminator="\n")
stage.figure_path("numbers.tex").write_text(figures.numbers(study, {s: io.read_manifest(study, s)["headline"] for s in STAGES}))
stage.headline(figures=11, claims=len(claims), hold=int((claims.verdict == "holds").sum()))
stage.finish()
claims[["stage", "claim", "value", "low", "high", "n", "null", "verdict"]].round(3)
