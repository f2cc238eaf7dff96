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
# # 06 · What does a variant disrupt, and how strong is that evidence?
#
# **Question.** Put the alternative allele into the reference window: which latents are lost, which gained, and does the
# size of the change tell pathogenic from benign, better than the model's raw embedding or a random dictionary does?
#
# **Scope.** In ACMG-AMP terms a feature change is at most computational evidence (PP3 or BP4), never functional (PS3).
# It gets a code only after calibration on at least 100 labelled variants a class and region; without it the evidence
# column says so. On simulated data the label is "destroys a planted site", and is called simulated.
#
# Reads `01_extraction`, `03_sae_training`, `04_annotation`. Leaves `variants.csv`, `differences.h5`, `separation.csv`.

# %% tags=["parameters"]
study = "demo"
model_path = "params/demo/model"     # the model of 01_extraction
genome_path = "simulated:genome.fa"  # FASTA of the reference
variants_path = "simulated:truth/variants.csv"  # VCF with CLNSIG and GENEINFO, or a table with contig, pos, ref, alt, …
label_column = "destroys_site"       # column of a table that is the label when not empty; "" for a VCF
loci_path = "simulated:loci.bed"     # regions of the VCF that are read
exon_path = ""                       # BED of exons: variants are split into exon and other; "" leaves them together
window_bp = 128                      # window around a variant; at most the model's context
radius_bp = 10                       # tokens within this many bases of the variant are compared
max_per_class = 500                  # labelled variants per class, a seeded sample
n_boot = 1000                        # bootstrap resamples, over genes
min_calibration = 100                # labelled variants a class needed before a code may be given
seed = 0

# %%
import json

import numpy as np
import pandas as pd

from lib import figstyle, inputs, io, variants
from lib.genome import reference, windows
from lib.models import adapter
from lib.sae import format
from lib.sae.model import random_dictionary

stage = io.open_stage(study, "06_variants")

# %%
chosen = json.loads(io.stage_path(study, "03_sae_training", "chosen.json").read_text())
model = adapter.load(io.data_path(model_path))
sae = format.load(io.stage_path(study, "03_sae_training", chosen["folder"] + "/cfg.json").parent, chosen["site"], model.identity)
genome = reference.Reference(inputs.find(study, genome_path))
loci = windows.read_bed(inputs.find(study, loci_path), genome)
path = inputs.find(study, variants_path)
if label_column:
    labelled = variants.read_table(path, genome, label_column)
else:
    labelled = variants.read_clinvar(path, genome, loci)
labelled["region"] = variants.region(labelled, inputs.find(study, exon_path), genome) if exon_path else "all"
sample = variants.balanced_sample(labelled, max_per_class, seed)
sample.groupby(["region", "label"]).size().rename("variants").reset_index()

# %% [markdown]
# ## Reference against alternative
#
# Same window, same strand. A latent's change is the difference of its largest activation on tokens near the variant.
# The rivals see exactly the same tokens.

# %%
table = variants.windows(sample, genome, window_bp)
untrained = random_dictionary(sae.config, sae, seed + 1)
(change, rival), moved = variants.differences(model, chosen["site"], [sae, untrained], table, radius_bp)
out = variants.summarise(table, change, moved)
out["random_change"] = np.sqrt(np.asarray(rival.multiply(rival).sum(1)).ravel())
features = io.read_table(study, "04_annotation", "features").set_index("latent")
for side in ("lost", "gained"):
    out[f"{side}_concept"] = features.concept.reindex(out[f"{side}_latent"]).to_numpy()
    out[f"{side}_plausible"] = features.plausible.reindex(out[f"{side}_latent"]).to_numpy()
variants.write_differences(stage.path("differences.h5"), change, out)
out.sort_values("lost").head(8)[["contig", "pos", "ref", "alt", "gene", "label", "lost_latent", "lost", "lost_concept"]]

# %% [markdown]
# ## Does size of change separate the classes?
#
# Resampled by gene, because a label follows its gene. A deletion changes more tokens than a substitution, whatever it
# means, so single-base substitutions are also read alone.

# %%
scores = {"SAE": "latent_change", "raw embedding": "embedding_change", "random dictionary": "random_change"}
snv = (out.ref.str.len() == 1) & (out.alt.str.len() == 1)
rows = []
for kind, keep in (("all", np.ones(len(out), bool)), ("substitutions", snv.to_numpy())):
    for region in out.region.unique():
        mine = out[keep & (out.region == region).to_numpy()]
        if min((mine.label == 1).sum(), (mine.label == 0).sum()) < 10:
            continue
        for name, column in scores.items():
            e = variants.blocked_auroc(mine.label.to_numpy(), mine[column].to_numpy(), mine.gene.to_numpy(), n_boot, seed)
            rows.append({"variants": kind, "region": region, "method": name, "value": e.value, "low": e.low, "high": e.high,
                         "n": e.n, "n_positive": int((mine.label == 1).sum()), "n_genes": mine.gene.nunique()})
separation = pd.DataFrame(rows)
stage.write_table("separation", separation)
separation.round(3)

# %%
out["evidence"] = variants.evidence(out, min_calibration)
stage.write_table("variants", out)
for (kind, region), group in separation.groupby(["variants", "region"], sort=False):
    by = group.set_index("method")
    rival_auroc = by.drop(index="SAE").value.max()
    s = by.loc["SAE"]
    stage.claim(f"latent change separates labelled variants ({kind}, {region}) better than chance and its rivals",
                s.value, s.low, s.high, int(s.n), round(float(rival_auroc), 4), s.low > 0.5 and s.value > rival_auroc,
                "AUROC; bootstrap over genes; null: better of raw embedding and random dictionary")
    stage.headline(**{f"AUROC {kind} {region}": round(float(s.value), 3)})

# %%
figure, ax = figstyle.axes(1, 1, height=2.2)
groups = list(separation.groupby(["variants", "region"], sort=False))
for i, name in enumerate(scores):
    mine = pd.concat([g[g.method == name] for _, g in groups]).reset_index(drop=True)
    figstyle.intervals(ax, mine.assign(at=np.arange(len(mine)) + 0.15 * (i - 1)), "at", figstyle.COLOURS[name], name,
                       figstyle.MARKERS.get(name, "o"))
ax.set_xticks(range(len(groups)), [f"{k}\n{r}" for (k, r), _ in groups])
ax.axhline(0.5, color="0.7", lw=0.6)
ax.set(ylabel="AUROC, labelled variants")
ax.legend()
stage.finish()

# %% [markdown]
# **Reading.** Bars reaching 0.5 separate nothing. A blue dot no higher than the others says that the dictionary adds no
# discrimination over the embedding it decomposes; what it adds then is only the name of what changed.
