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
# column says so. On simulated data the label is "destroys a planted site", and is called simulated in every claim.
# On real data only variants on the test chromosomes of 03 are read: the dictionary never trained there. (The language
# model itself may have; so has its raw embedding, the rival.)
#
# Reads `01_extraction`, `03_sae_training`, `04_annotation`. Leaves `variants.csv`, `differences.h5`, `separation.csv`.

# %% tags=["parameters"]
study = "demo"
model_path = "params/demo/model"     # the model of 01_extraction
genome_path = "simulated:genome.fa"  # FASTA of the reference
variants_path = "simulated:truth/variants.csv"  # VCF with CLNSIG and GENEINFO, or a table with contig, pos, ref, alt, …; "" for none
label_column = "destroys_site"       # column of a table that is the label when not empty; "" for a VCF
truth_path = "simulated:truth/sites.csv"  # planted sites, for the row "substitutions in sites"; "" on real data
test_contigs = []                    # chromosomes whose variants are read, e.g. those the SAE never saw; empty: all; none twice
loci_path = "simulated:loci.bed"     # regions of the VCF that are read
exon_path = ""                       # exons, BED or GFF3: variants are split into exon and other; "" leaves them together
window_bp = 128                      # [8, 1e6] window around a variant; at most the model's context
radius_bp = 10                       # [1, 1e5] tokens within this many bases of the variant are compared
max_per_class = 500                  # [1, 1e6] labelled variants per class, a seeded sample
n_boot = 1000                        # [10, 1e6] bootstrap resamples, over genes
min_per_class = 10                   # [2, 1e6] labelled variants a class needed before a group is read at all
min_calibration = 100                # [2, 1e6] labelled variants a class needed before a code may be given
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
from collections import Counter

import numpy as np
import pandas as pd

from lib.dna import labelled as labelled_
from lib.dna import reference, report, windows
from lib.dna.labelled import balanced_sample, inside, none, read_clinvar, read_table
from lib.edits import separation as separation_
from lib.edits.change import differences, readable, summarise, write_differences
from lib.edits.separation import evidence
from lib.figures import style
from lib.models import adapter
from lib.sae import format
from lib.sae.model import random_dictionary
from lib.stage import inputs, io, stops

stage = io.open_stage(study, "06_variants")

# %%
chosen = io.read_json(study, "03_sae_training", "chosen.json")
model = adapter.load(io.data_path(model_path), expect=io.read_json(study, "01_extraction", "model.json"))
sae = format.load(io.stage_path(study, "03_sae_training", chosen["folder"] + "/cfg.json").parent, chosen["site"], model.identity)
genome = reference.Reference(inputs.find(study, genome_path))
loci = windows.read_bed(inputs.find(study, loci_path), genome)
taken = Counter()
stopped = stops.of_dictionary(chosen)  # every claim here rests on it
if not variants_path:
    labelled = none()
elif label_column:
    labelled = read_table(inputs.find(study, variants_path), genome, label_column)
else:
    labelled = read_clinvar(inputs.find(study, variants_path), genome, loci, taken)
label_kind = "simulated: destroys a planted site" if label_column else "ClinVar P/LP against B/LB"
if test_contigs:
    labelled = labelled[labelled.contig.isin(test_contigs)].reset_index(drop=True)
labelled["region"] = labelled_.region(labelled, inputs.find(study, exon_path), genome, taken) if exon_path else "all"
stage.write_table("input_report", report.table(taken))
sample = balanced_sample(labelled, max_per_class, seed)
assert not test_contigs or set(sample.contig) <= set(test_contigs)
sample.groupby(["region", "label"]).size().rename("variants").reset_index()

# %% [markdown]
# ## Reference against alternative
#
# Same window, same strand. A latent's change is the difference of its largest activation on tokens near the variant.
# The rivals see exactly the same tokens.

# %%
table = labelled_.windows(sample, genome, window_bp)
fits = readable(table, model)
table = table[fits].reset_index(drop=True)
print(f"{(~fits).sum()} of {len(fits)} variants lie in windows that the tokenizer makes too long for the model: left out")
untrained = random_dictionary(sae, max(1, round(chosen["l0"])), seed + 1)   # as many latents a token as the trained one
(change, rival), moved = differences(model, chosen["site"], [sae, untrained], table, radius_bp)
out = summarise(table, change, moved).assign(label_kind=label_kind)
out["random_change"] = np.sqrt(np.asarray(rival.multiply(rival).sum(1)).ravel())
features = io.read_table(study, "04_annotation", "features").set_index("latent")
for side in ("lost", "gained"):
    out[f"{side}_concept"] = features.concept.reindex(out[f"{side}_latent"]).to_numpy()
    out[f"{side}_plausible"] = features.plausible.reindex(out[f"{side}_latent"]).to_numpy()
write_differences(stage.path("differences.h5"), change, out)
out.sort_values("lost").head(8)[["contig", "pos", "ref", "alt", "gene", "label", "lost_latent", "lost", "lost_concept"]]

# %% [markdown]
# ## Does size of change separate the classes?
#
# Resampled by gene, because a label follows its gene; every method is read on the same resamples, so that a difference
# between two is paired. A deletion changes more tokens than a substitution, whatever it means, so single-base
# substitutions are also read alone. Where sites are planted, only variants inside one can destroy it, so location alone
# would tell the classes apart; the third row therefore keeps substitutions inside planted sites, destroying or not.

# %%
scores = {"SAE": "latent_change", "raw embedding": "embedding_change", "random dictionary": "random_change"}
snv = ((out.ref.str.len() == 1) & (out.alt.str.len() == 1)).to_numpy()
kinds = {"all": np.ones(len(out), bool), "substitutions": snv}
if truth_path:
    sites = io.read_csv(inputs.find(study, truth_path))
    kinds["substitutions in sites"] = snv & inside(out, sites[sites.planted.astype(bool)])
columns = ["variants", "region", "method", "value", "low", "high", "gain", "gain_low", "gain_high", "n", "n_positive",
           "n_genes", "label_kind"]
tables = [pd.DataFrame(columns=columns)]
for kind, keep in kinds.items():
    for region in out.region.unique():
        mine = out[keep & (out.region == region).to_numpy()]
        if min((mine.label == 1).sum(), (mine.label == 0).sum()) < min_per_class:
            continue
        found = separation_.separation(mine, scores, n_boot, seed)
        tables.append(found.assign(variants=kind, region=region, label_kind=label_kind)[columns])
separation = pd.concat(tables[1:] or tables, ignore_index=True)
stage.write_table("separation", separation)
separation.round(3)

# %% [markdown]
# ## What is claimed
#
# Against chance: the interval stays above 0.5. Against each rival: that, and the paired difference stays above 0.

# %%
out["evidence"] = evidence(out, min_calibration)
stage.write_table("variants", out)
said = "[simulated label] " if label_column else ""
for (kind, region), group in separation.groupby(["variants", "region"], sort=False):
    by = group.set_index("method")
    s, counted = by.loc["SAE"], f"{by.n_positive['SAE']} of label 1; bootstrap over {by.n_genes['SAE']} genes"
    above_chance = bool(s.low > 0.5)
    stage.claim(f"{said}latent change separates labelled variants ({kind}, {region}) better than chance",
                s.value, s.low, s.high, int(s.n), 0.5, above_chance, f"AUROC; {counted}", of="variants",
                rule="the interval lies above 0.5", stopped=stopped)
    for rival, r in by.drop(index="SAE").iterrows():
        stage.claim(f"{said}latent change separates labelled variants ({kind}, {region}) better than the {rival}",
                    r.gain, r.gain_low, r.gain_high, int(r.n), 0, above_chance and bool(r.gain_low > 0),
                    f"AUROC {s.value:.3f} against {r.value:.3f}; {counted}", of="variants", stopped=stopped,
                    rule="the interval of the paired difference lies above 0, and the AUROC's above 0.5")
    stage.headline(**{f"AUROC {kind} {region}": round(float(s.value), 3)})
if separation.empty:
    stage.claim(f"{said}latent change separates labelled variants", None, None, None, len(out), 0.5, False, of="variants",
                rule="the interval lies above 0.5", stopped=stopped,
                because=f"no region holds {min_per_class} labelled variants of each class")
    stage.headline(AUROC="too few labelled variants")

# %%
from lib.figures import edits

figure, ax = style.axes(1, 1, height=2.2)
edits.variants(separation, ax)
stage.finish()

# %% [markdown]
# **Reading.** Bars reaching 0.5 separate nothing. A blue dot no higher than the others says that the dictionary adds no
# discrimination over the embedding it decomposes; what it adds then is only the name of what changed. Bars of two
# methods may overlap although their paired difference is clear of 0, or the reverse: the difference is what is claimed.
# Few genes make intervals too narrow; their number stands with every claim.
