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
# # 09 · What do we claim?
#
# Ten figures and one table of claims, drawn from the tables that the earlier notebooks left, by the functions of
# `lib/figures`, most of which drew them there. Nothing is computed here but layout, and Wilson intervals of counts that a table
# holds: every number has a row in a CSV beside its figure, and every claim its interval, n and null.
#
# The label under every figure says what was simulated and what came from files, as the front door wrote it down. What an alarm
# of 02 or a no-go of 03 stops, the figures say in red. A table that holds nothing leaves a panel that says why. There is no figure 9: on
# a map of decoder rows, neighbours shared a family no more often than with families dealt out anew.

# %% tags=["parameters"]
study = "demo"
data_label = ""  # more words for every figure, after what the study itself says it is
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import pandas as pd

from lib.annotate import ladder as ladder_
from lib.causal import rivals
from lib.corpus import corpus as corpora
from lib.figures import annotation, causal, dictionaries, edits, extraction, labels, numbers, outcome, style
from lib.outcome.metrics import METRICS
from lib.stage import io, params, stops

stage = io.open_stage(study, "09_paper_figures")
corpus = corpora.load(study)
stages = params.stages(study)["09_paper_figures"]
chosen, rule = io.read_json(study, "03_sae_training", "chosen.json"), io.read_json(study, "05_validation", "rule.json")
alarmed, no_go = stops.of_arms(io.read_table(study, "02_layer_hunting", "alarms")), stops.of_dictionary(chosen)
metric = {target.name: METRICS[target.type].name for target in corpus.targets}
label = labels.text(corpus, data_label)
label

# %% [markdown]
# ## Figure 1 · What is read, and whether the model knows it
# Left: the readings that a loop over the subjects of the first corpus would cost, against the units that they carry; background units,
# which nobody carries, are read beside them. Middle: the model against its control. Right: activation norms by block (median, n tokens
# in the CSV).

# %%
n_units = io.read_table(study, "01_extraction", "tokens").set_index("part").units
carried, background = n_units[corpora.SUBJECTS], n_units[corpora.BACKGROUND]
counts = extraction.counts(corpus.about.get("readings", carried), carried, background, corpus.words.get("reading", "readings"))
known = io.read_table(study, "01_extraction", "knowledge")
quality = io.read_table(study, "01_extraction", "qc")
figure, axes = style.axes(1, 3, height=2.0, width_ratios=[1.2, 1.25, 0.9])
extraction.sequences(counts, axes[0])
extraction.knowledge(known, axes[1], labels.loss(corpus.about))
extraction.norms(quality, axes[2])
style.letters(axes)
style.save(stage, "fig1_overview", figure, label, quality, known, counts);

# %% [markdown]
# ## Figure 2 · Layers against what the surface gives
# Mean out-of-fold AUROC, or R2, of the repeats, bars 95 % bootstrap over subjects. The first baseline is compulsory (of DNA: dosage);
# dotted, the true score, known only where the target is simulated.

# %%
layers = io.read_table(study, "02_layer_hunting", "layers")
hunted = list(dict.fromkeys(layers.arm))
figure, axes = style.panels(len(hunted), 2.2, sharey=len(set(metric.values())) == 1)
for ax, arm in zip(axes, hunted, strict=True):
    outcome.layers(layers, ax, arm, alarmed[arm], corpus.words["subjects"], metric[arm])
style.letters(axes)
style.legend(figure, axes[:1], ncols=4)
style.save(stage, "fig2_layers", figure, label, layers);

# %% [markdown]
# ## Figure 3 · Explained variance against sparsity
# Test split, bars 95 % bootstrap over units; in the ring the chosen run, trained longer; PCA and a random dictionary at its L0.

# %%
sweep, controls = (io.read_table(study, "03_sae_training", name) for name in ("sweep", "controls"))
figure, ax = style.axes(1, 1, height=2.3)
dictionaries.pareto(sweep, ax, controls)
on_test = sweep[sweep.split == "test"].rename(columns={"explained_variance": "value"})
style.save(stage, "fig3_sae_pareto", figure, label, on_test.assign(control=""), controls);

# %% [markdown]
# ## Figure 4 · How often latents fire
# Test tokens, the chosen run trained longer. A mass at the left would be dead or nearly dead latents; at the right, latents that mean
# nothing.

# %%
latents = io.read_table(study, "03_sae_training", "latents")
figure, axes = style.axes(1, 2, height=2.0)
dictionaries.density(latents, axes[0])
dictionaries.training(io.read_table(study, "03_sae_training", "curves"), axes[1])
style.letters(axes)
style.save(stage, "fig4_density", figure, label, latents);

# %% [markdown]
# ## Figure 5 · Concepts found, against the same search over nulls
# Test F1 of the latent or rival chosen on validation, per concept, ranked; every rival and null was searched alike, the first kind of
# concepts outside repeats. Decoy concepts are fewer, one a family.

# %%
best = io.read_table(study, "04_annotation", "best_latents")
settings = io.read_json(study, "04_annotation", "settings.json")
kinds = annotation.kinds(best, 3)  # the CSV holds the others too
figure, axes = style.axes(1, len(kinds), height=2.7, squeeze=False, sharey=True)
for ax, kind in zip(axes[0], kinds, strict=True):
    annotation.concepts(best, ax, kind, settings["f1_floor"])
style.letters(axes[0])
style.legend(figure, axes[0][:1], ncols=5)
columns = ["method", "kind", "concept", "family", "latent", "f1", "auroc", "q"]
style.save(stage, "fig5_concepts", figure, label, best[columns], stop=no_go);

# %% [markdown]
# ## Figure 6 · The trained dictionary against its nulls
# At the same thresholds (q < 0.05 over all pairs, test F1 above the floor): share of concepts for which the latent or
# rival chosen on validation is claimed, bars Wilson 95 %. Words and raw neurons are rivals, not only nulls. The first kind is
# read outside repeats (with them in: `…_everywhere` in the CSV); shares of decoy concepts are of one a family. Right: precision and recall
# of the best pairs on test units as the threshold falls. Below, where truth is planted: mean test F1 with which each method tells
# instances that work from those that look the same nearby, bars 95 % bootstrap over units.

# %%
ladder = ladder_.shares(io.read_table(study, "04_annotation", "ladder"))
curves, means = (io.read_table(study, "04_annotation", name) for name in ("precision_recall", "contrast_means"))
kinds = annotation.kinds(ladder, 10)
widths = [1] * len(kinds) + [1.15]
if len(means):
    figure, axes, below = style.above(len(widths), 2.4, 1.7, width_ratios=widths)
    annotation.told_apart(means, below, settings["contrast_floor"])
else:
    figure, (axes,) = style.axes(1, len(widths), height=2.4, squeeze=False, width_ratios=widths)
for ax, kind in zip(axes, kinds, strict=False):
    annotation.claimed_share(ladder, ax, kind)
annotation.precision_recall(curves, axes[-1])
style.letters(figure.axes)
style.save(stage, "fig6_nulls", figure, label, ladder, curves, *[means] * (len(means) > 0), stop=no_go);

# %% [markdown]
# ## Figure 7 · Concepts, layer by layer
# Each layer has a dictionary of its own, by one recipe; that of the chosen site is trained longer than the others. Small: 95 %
# bootstrap over units. Bold: claimed, and the lower bound is above the best null or rival at that layer.

# %%
cells = io.read_table(study, "04_annotation", "layer_concepts")
kinds = annotation.kinds(cells, 5)
tallest = max(3, *(cells[cells.kind == kind].concept.nunique() for kind in kinds))
figure, axes = style.axes(1, len(kinds), height=0.8 + 0.23 * tallest, squeeze=False)
for ax, kind in zip(axes[0], kinds, strict=True):
    annotation.layer_concepts(cells, ax, kind)
style.letters(axes[0])
if len(cells):
    figure.colorbar(ax.images[0], ax=ax, label="test F1", shrink=0.6)
style.save(stage, "fig7_layer_concepts", figure, label, cells, stop=no_go);

# %% [markdown]
# ## Figure 8 · Feature cards
# Latents with the best match on validation, one per family, then latents of repeats, on reference units only, drawn as the kind draws
# them (of DNA: a logo of n top windows aligned at their peak, and a JASPAR profile of the family). Plausible is not faithful.

# %%
windows, features = (io.read_table(study, "04_annotation", name) for name in ("cards", "features"))
named = features.set_index("latent").loc[list(dict.fromkeys(windows.latent))]
if hasattr(corpus.module, "cards"):
    style.save(stage, "fig8_feature_cards", corpus.module.cards(windows, named), f"{label}; reference units only", windows, stop=no_go)

# %% [markdown]
# ## Figure 10 · Which latents the prediction needs
# Fall of AUROC, or R2, when latents are set to their reference value: one, a family as 04 names it, or a closure (a family with what
# moves with it). Bars 95 % BCa interval over subjects; crosses, the fall on refit, of what passes all else; ticks, the largest null (paler,
# where established latents among the controls make it larger); dashed, the largest fall of a rival (PCA, neurons, random dictionary),
# its unit beside latents and its group beside sets (not asked of arms declared null); dotted, the bar of *necessary*.

# %%
falls = causal.largest_falls(io.read_table(study, "05_validation", "necessity"), rule["arms"])
of_rivals = rivals.largest([io.read_table(study, "05_validation", "rivals")])
figure, axes = style.panels(len(rule["arms"]), 2.5, sharey=len(set(metric.values())) == 1)
for ax, arm in zip(axes, rule["arms"], strict=True):
    causal.necessity(falls, ax, arm, rule["bar"], alarmed[arm], of_rivals, metric[arm])
style.letters(axes)
style.legend(figure, axes, ncols=3)
style.save(stage, "fig10_necessity", figure, label, falls, of_rivals, stop=no_go);

# %% [markdown]
# ## Figure 11 · Explanations
# On the same units: rank agreement; AUROC of |value| inside sites; how much faster than a random order deleting what they name moves
# the score (bootstrap over places); how far each changes when the model's weights are drawn anew.

# %%
scores = io.read_table(study, "06_explanations", "explanations")
figure, axes = style.axes(2, 2, height=4.2)
causal.agreement(io.read_table(study, "06_explanations", "agreement"), axes[0][0])
causal.inside_sites(scores, axes[0][1])
causal.deletion(scores, axes[1][0])
causal.sanity(scores, axes[1][1])
style.letters(axes.flat)
style.save(stage, "fig11_explanations", figure, label, scores, stop=stops.joined(alarmed[rule["arms"][0]], no_go));

# %% [markdown]
# ## Figure 12 · Edits
# Of a study with labelled edits: AUROC by size of change, bootstrap over groups (kinds that hold the same edits are drawn once), and where
# those of label 1 lie among others of their sort; local likelihood ratios with their thresholds, and edits that other studies name; two
# series of measured effects, above, and what the latents do, below; what is beyond a threshold in the tail where nothing is expected; odds
# of being lost, with 95 % intervals.

# %%
of_edits = {name: io.stage_path(study, name, "claims.csv").parent for name in stages if name.startswith("08_")}
of_edits = [(name, folder) for name, folder in of_edits.items() if (folder / "separation.csv").exists()]
if of_edits:
    (name_8, folder), *_ = of_edits
    held = {path.stem for path in folder.glob("*.csv")}
    drawn = {name: io.read_table(study, name_8, name) if name in held else pd.DataFrame() for name in edits.TABLES}
    figure, axes = style.axes(edits.n_rows(drawn), 2, height=1.8 * edits.n_rows(drawn))
    edits.all_panels(drawn, axes)
    style.letters(axes.flat)
    style.save(stage, "fig12_variants", figure, label, *(table.assign(table=name) for name, table in drawn.items()), stop=no_go)

# %% [markdown]
# ## The claims
# Each with its value, interval, what n counts, null, rule and verdict: holds, does not hold, stopped, or could not be tested,
# because. What does not hold stays in.

# %%
read = {name: io.read_table(study, name, "claims") for name in stages}
claims = pd.concat([table.assign(stage=name) for name, table in read.items()], ignore_index=True)
claims.to_csv(stage.figure_path("claims.csv"), index=False, lineterminator="\n")
stage.figure_path("numbers.tex").write_text(numbers.numbers(study, {name: io.read_manifest(study, name)["headline"] for name in stages}))
stage.headline(
    figures=len(list(stage.figure_path("x").parent.glob("fig*.pdf"))), claims=len(claims), hold=int((claims.verdict == "holds").sum())
)
stage.finish()
claims[["stage", "claim", "value", "low", "high", "n", "of", "null", "verdict"]].round(3)
