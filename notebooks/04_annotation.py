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
# # 04 · What do the latents respond to?
#
# **Question.** Does a latent fire where a transcription factor's motif is, or an exon, a splice site, a variant of known
# effect: more than its composition explains, more than the same track moved along the sequence, more than a raw neuron,
# a k-mer, a random dictionary, or a dictionary of a model that learned nothing?
#
# A match is *plausible*, not *faithful*: whether the prediction needs the latent is asked in `05_validation`.
# Pairs and thresholds are chosen on validation chromosomes and read once on test chromosomes. We report motif
# *families*: which member of a family binds cannot be read from sequence.
#
# Reads `01_extraction`, `03_sae_training`; background units only. Leaves:
#
# - the catalogue: `features.csv` and the same as `features.parquet` (one row a latent, columns described in `columns.md`),
#   `top_windows.csv`, `cards.csv`, `decoder_map.csv`, `precision_recall.csv`, `tracks/`
# - every pair read on test: `associations.csv`; the best latent of each concept, by method: `best_latents.csv`; what was
#   looked for: `concepts.csv`
# - found beside the rivals: `ladder.csv`; layer by layer: `layer_ladder.csv`, `layer_concepts.csv`; in other seeds:
#   `seed_ladder.csv`, `seed_latents.csv`; against planted truth, where there is one: `recovery.csv`, `false_claims.csv`
# - what composition explains: `composition.csv`; logos earned by mutagenesis: `finalists.csv`, `logos.csv`

# %% tags=["parameters"]
study = "demo"
model_path = "params/demo/model"     # the model of 01_extraction
genome_path = "simulated:genome.fa"  # FASTA of the reference
validation_contigs = ["sim7"]        # as in 03_sae_training; one or more, none twice
test_contigs = ["sim8"]              # read once; one or more, none twice
fimo_p = 0.0001                      # (0, 0.01] FIMO p-value of a motif hit
truth_path = "simulated:truth/sites.csv"                # planted sites, for scoring only; "" on real data
exon_path = "simulated:truth/annotation/exons.bed"      # exons: BED (names gene|transcript|exon|n give the parts of genes), or GFF3; "" for none
promoter_path = "simulated:truth/annotation/promoters.bed"  # BED of promoters, or of start sites to widen
promoter_flank_bp = 0                # [0, 1e5] bases added on both sides of a promoter row
interval_paths = []                  # more BED, bigBed or RepeatMasker .out files; a row's name is its concept; none twice
variant_path = ""                    # VCF with CLNSIG (ClinVar); "" for none
gwas_path = ""                       # table with chr38, pos38 (GWAS Catalog lead SNPs); "" for none
min_instances = 15                   # [1, 1e6] concepts with fewer instances on a split are left out
n_shifts = 1000                      # [10, 1e6] circular shifts for the null
pair_floor = 0.3                     # [0, 1] pairs with a lower F1 on validation are not read; they count as tests
f1_floor = 0.5                       # [0, 1] a claimed pair has test F1 above this, and q below 0.05
kmer_k = 6                           # [1, 8] width of the k-mer rivals
n_boot = 1000                        # [10, 1e6] bootstrap resamples, over windows or families
n_layer_concepts = 16                # [1, 1000] concepts of a kind shown layer by layer
n_finalists = 3                      # [0, 1000] latents whose logo has to be earned by mutagenesis (0: none)
finalist_windows = 30                # [1, 1e4] top windows of each, and as many shuffled ones
n_backgrounds = 100                  # [1, 1e4] backgrounds into which a finalist's motif is put
n_tracks = 10                        # [0, 1e4] latents with browser tracks
n_cards = 6                          # [0, 100] latents for feature cards
card_windows = 5                     # [1, 100] top reference windows on each card
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
from collections import Counter

import numpy as np
import pandas as pd

from lib.acts import store
from lib.annotate import catalogue as catalogue_
from lib.annotate import composition, concepts, search
from lib.annotate import ladder as ladder_
from lib.annotate import shown as shown_
from lib.annotate.catalogue import nearest, stacked, variance_share, write_catalogue
from lib.annotate.ladder import best_concepts, pick_finalists, shown_concepts
from lib.annotate.shown import top_windows
from lib.annotate.strata import confounder_codes, strata_of
from lib.corpus import splits
from lib.dna import confounders, finalists, kmers, motifs, reference, report, strands, tracks, truth, windows
from lib.dna.intervals import (
    bed_intervals,
    clinvar_intervals,
    codes_of,
    gene_intervals,
    gwas_intervals,
    motif_hits,
)
from lib.figures import style
from lib.models import adapter
from lib.sae import evaluate, format
from lib.stage import inputs, io, stops
from lib.stats import estimates

stage = io.open_stage(study, "04_annotation")

# %%
chosen = io.read_json(study, "03_sae_training", "chosen.json")
identity = io.read_json(study, "01_extraction", "model.json")
site = chosen["site"]
sae = format.load(io.stage_path(study, "03_sae_training", chosen["folder"] + "/cfg.json").parent, site, identity)
acts = store.open_store(io.stage_path(study, "01_extraction", "activations.h5"))
units = io.read_table(study, "01_extraction", "units")
texts = io.stage_path(study, "01_extraction", "sequences.txt").read_text().split()
x = acts.acts[site]
split = splits.split_rows(units, acts.tokens["unit"], validation_contigs, test_contigs)
once = concepts.disjoint_units(units)
split = {part: rows[np.isin(acts.tokens["unit"][rows], once)] for part, rows in split.items()}
stopped = stops.of_dictionary(chosen)  # every claim here rests on it
print(f"{chosen['run']} at {site}; decision: {chosen['decision']}")

# %% [markdown]
# ## Concepts on tokens
#
# All 1,019 JASPAR 2026 vertebrate profiles are scanned, not only the planted ones: the annotation is not told the
# answer. Each strand is a concept of its own. Homopolymers, simple repeats, CpG islands and repeated sequence are found from the
# sequence itself; the other intervals come from the files named in the parameters.

# %%
genome = reference.Reference(inputs.find(study, genome_path))
counted = Counter()
starts = windows.read_bed(inputs.find(study, promoter_path), genome, "promoter", False, counted) if promoter_path else None
counts = confounders.KmerCounts(codes_of(texts))
repeats = confounders.sequence_concepts(units, texts, counts)
intervals = [repeats]
if exon_path:
    intervals.append(gene_intervals(inputs.find(study, exon_path), genome, counted))
if promoter_path:
    intervals.append(bed_intervals(starts, "promoter", promoter_flank_bp))
if interval_paths:
    intervals += [tracks.read(inputs.find(study, path), genome, counted) for path in interval_paths]
if variant_path:
    intervals.append(clinvar_intervals(inputs.find(study, variant_path), genome, units, counted))
if gwas_path:
    intervals.append(gwas_intervals(inputs.find(study, gwas_path), genome, counted))
intervals = pd.concat(intervals, ignore_index=True)
stage.write_table("input_report", report.table(counted))
planted = io.read_csv(inputs.find(study, truth_path)) if truth_path else None
laid, tokens, found_hits = {}, {}, {}
for part in ("validation", "test"):
    tokens[part] = concepts.token_table(acts.tokens, units, split[part])
    mine = units.loc[np.unique(tokens[part].unit)]
    found_hits[part] = motif_hits(mine, [texts[u] for u in mine.unit], motifs.vertebrate_motifs(), fimo_p)
    parts = [concepts.lay(tokens[part], found_hits[part], "motif", f"{motifs.RELEASE}, FIMO p <= {fimo_p}", min_instances),
             concepts.lay(tokens[part], intervals, "interval", "sequence and parameter files", min_instances)]
    if planted is not None:
        # planted, or by chance as strong as a planted one
        true = planted.assign(concept="site " + planted.motif + " " + planted.strand)
        parts.append(concepts.lay(tokens[part], true, "true site", "simulation", min_instances))
    laid[part] = concepts.combine(parts)
laid["validation"], laid["test"] = concepts.shared(laid["validation"], laid["test"])
stage.write_table("concepts", laid["test"].table)
kinds = laid["test"].table.kind.unique().tolist()
laid["test"].table.groupby("kind").agg(concepts=("concept", "size"), instances=("n_instances", "sum"))

# %% [markdown]
# ## What else could explain a latent
#
# Composition and place of every token. A pair counts only if its odds ratio, adjusted for GC, CpG, repeats and distance
# to a start site (Mantel-Haenszel over strata), is above 1 with its interval.

# %%
codes = confounder_codes({part: confounders.of_tokens(tokens[part], texts, repeats, starts) for part in tokens})
strata = {part: strata_of({name: mine[name] for name in ("gc", "cpg", "repeat", "log_tss")}) for part, mine in codes.items()}
print(f"{len(np.unique(strata['test']))} strata of {len(tokens['test']):,} test tokens")

# %% [markdown]
# ## Association, with the null ladder
#
# The same procedure, blind to which is which. *Random dictionary*: unit directions, the same number active. *Random twin*: the
# same architecture with random weights and a dictionary trained on it. *Raw neurons* and *PCA*: both signs of each axis. *k-mers*:
# each word that ends in the token. *Rate-matched*: each latent's own track, its windows dealt out anew. *Label shuffle*: the SAE
# against concepts permuted within strata. *Shuffled sequence*: the SAE on dinucleotide-shuffled windows.

# %%
model = adapter.load(io.data_path(model_path), expect=identity)
twin = adapter.load(io.data_path(model_path), random_init=True, seed=seed)
ground = search.Ground(split, tokens, laid, strata, texts, n_shifts, pair_floor, f1_floor, seed)
training = io.stage_path(study, "03_sae_training", "chosen.json").parent

def methods_at(where):
    """The latents of a site with the null ladder, from the dictionaries that 03 trained there."""
    there = chosen["layers"][where]
    own, of_twin = (format.load(training / there[name], where, m.identity) for name, m in (("sae", model), ("twin", twin)))
    return search.latents_and_rivals(ground, acts.acts[where], model, twin, where, own, of_twin, there["l0"])

methods = methods_at(site)
own = methods["SAE"]
words = {"k-mer": {part: kmers.kmer_latents(tokens[part], texts, kmer_k) for part in search.PARTS}}  # the same at every layer
read, best = (pd.concat(tables, ignore_index=True) for tables in zip(search.search(methods, ground), search.search(words, ground)))
methods |= words
stage.write_table("associations", read.drop(columns="concept_row"))
stage.write_table("best_latents", best)
stage.write_json("settings.json", {"f1_floor": f1_floor});  # for the figure

# %%
ladder = ladder_.ladder(read, best)
stage.write_table("ladder", ladder)
ladder.round(3)

# %% [markdown]
# ## Layer by layer
#
# The same search at every layer with a dictionary of its own, all nulls beside it (k-mers know no layer). A cell of the
# heat map is one concept at one layer: test F1 of the latent that was best on validation, with its interval over windows.

# %%
at_layer = {site: (read, best, own)}
for other in [name for name in acts.acts if name in chosen["layers"] and name != site]:
    found = methods_at(other)
    at_layer[other] = (*search.search(found, ground), found["SAE"])
by_layer, cells = [], []
for where in [name for name in acts.acts if name in at_layer]:
    read_there, best_there, latents_there = at_layer[where]
    if where != site:
        read_there, best_there = (pd.concat([t, mine[mine.method == "k-mer"]]) for t, mine in ((read_there, read), (best_there, best)))
    by_layer.append(ladder_.ladder(read_there, best_there).assign(site=where))
    for kind in kinds:
        shown = shown_concepts(best, kind, n_layer_concepts)
        mine = best_there[(best_there.method == "SAE") & best_there.concept.isin(shown)]
        null = best_there[(best_there.method != "SAE") & best_there.concept.isin(shown)].groupby("concept").f1.max()
        part = search.f1_intervals(mine, latents_there["test"], laid["test"], tokens["test"].unit.to_numpy(), n_boot, seed)
        cells.append(part.assign(site=where, best_null=part.concept.map(null)))
columns = ["site", "kind", "concept", "family", "latent", "f1", "low", "high", "claimed", "best_null"]
layer_ladder, cells = pd.concat(by_layer, ignore_index=True), pd.concat(cells)[columns] if cells else pd.DataFrame(columns=columns)
stage.write_table("layer_ladder", layer_ladder)
stage.write_table("layer_concepts", cells)
layer_ladder.pivot_table(index=["kind", "method"], columns="site", values="profiles_found", sort=False)

# %% [markdown]
# ## Other seeds of the dictionary
#
# The same search on dictionaries that differ by their seed alone: what is found has to be more than one training's luck.

# %%
again = {name: format.load(training / folder, site, model.identity) for name, folder in chosen["seeds"].items() if folder != chosen["folder"]}
again = {name: {part: evaluate.latents_of(other, x, split[part]) for part in search.PARTS} for name, other in again.items()}
seed_read, seed_best = search.search(again, ground) if again else (read[:0], best[:0])
first = next(iter(chosen["seeds"]))
by_seed = pd.concat([ladder[ladder.method == "SAE"].assign(method=first), ladder_.ladder(seed_read, seed_best)], ignore_index=True)
stage.write_table("seed_ladder", by_seed.rename(columns={"method": "seed"}))
seed_names = pd.concat([best_concepts(rows).assign(seed=name) for name, rows in seed_read.groupby("method")] or [best_concepts(seed_read).assign(seed="")])
stage.write_table("seed_latents", seed_names[["seed", "latent", "concept", "kind", "family", "f1_validation", "f1", "q", "claimed"]])
by_seed.pivot_table(index="kind", columns="method", values="profiles_found", sort=False)

# %% [markdown]
# ## Claims
#
# Trained minus null, one claim a null, with an interval over families (members of a family share their sites). The strongest rival is
# the one whose interval reaches lowest: that claim holds only if latents beat every one.

# %%
named = [] if planted is None else ["true site"]
for kind in ["motif", "interval", *named]:
    gains = ladder_.gains(best[best.kind == kind], [m for m in methods if m != "SAE"], n_boot, seed)
    strongest = min(gains, key=lambda rival: gains[rival].low)
    for rival, e in [*gains.items(), (None, gains[strongest])]:
        stage.claim(f"latents match {kind} concepts better than {rival or 'the strongest rival'} (test F1, mean difference)", *e,
                    0.0 if rival else strongest, e.low > 0 and e.n >= 10, "bootstrap over families; one SAE seed, the others in seed_ladder.csv",
                    of="motif families", rule="the interval of the paired difference lies above 0, with at least 10 families", stopped=stopped,
                    because="" if e.n else f"no {kind} has {min_instances} instances on validation and on test")
sae_ladder = ladder[ladder.method == "SAE"].set_index("kind")
stage.headline(**{f"{k} found": int(v) for k, v in sae_ladder.profiles_found.items()})

# %% [markdown]
# On the demo the truth is known. A planted motif is *recovered* when one latent, chosen on validation, is claimed for it on
# either strand. Its family is named *right* when the best JASPAR profile of that latent is of the planted profile's family.
# A claimed pair of a latent and a JASPAR family is *false* when no planted motif with whose true sites the latent is associated is of
# that family, or holds half of the hits of the profile. *Strictly* false: only true sites for which the latent is itself claimed
# count, and sharing hits is the only way. The control gives true sites another motif's name.

# %%
if planted is not None:
    recovery, false = truth.recovery(read, best, planted, found_hits["test"], list(methods))
    stage.write_table("recovery", recovery)
    stage.write_table("false_claims", false)
    score = recovery.set_index("method")
    mine, rest, twin_row = score.loc["SAE"], score.drop(index="SAE"), score.loc["random twin"]
    untested = "" if mine.motifs else f"no planted motif has {min_instances} sites on validation and on test"
    e, strongest = estimates.share(mine.recovered, mine.motifs), estimates.share(rest.recovered.max(), mine.motifs)
    stage.claim(f"planted motifs recovered by one latent (test F1 above {f1_floor}, q below 0.05)", *e, round(strongest.value, 4), e.value >= 0.8,
                f"share of motifs, Wilson interval; null: best of {', '.join(rest.index)}", of="motifs", rule="at least 0.8", stopped=stopped,
                because=untested)
    e = estimates.share(twin_row.recovered, twin_row.motifs)
    stage.claim("at most 5 % of planted motifs are recovered on the random twin", e.value, None, None, e.n, 0.05, e.value <= 0.05,
                "its own dictionary, same procedure", of="motifs", rule="at most 0.05", stopped=stopped, because=untested)
    e = estimates.share(mine.family_right, mine.recovered)
    stage.claim("motif family named right, of the recovered", *e, 0.9, e.value >= 0.9, "best JASPAR family against the planted one; Wilson interval",
                of="motifs", rule="at least 0.9", stopped=stopped, because="" if e.n else "no planted motif is recovered")
    e = estimates.share(false["false"].sum(), len(false))
    stage.claim("claimed latent-family pairs that are false against truth", *e, 0.05, e.value <= 0.05, "share of claimed pairs of the SAE, Wilson "
                f"interval; with the sites under other names {truth.chance_false(read, planted, found_hits['test'], seed=seed):.2f} would be false; "
                f"strictly false {false['false_strict'].mean():.3f}", of="pairs", rule="at most 0.05", stopped=stopped,
                because="" if e.n else "no pair of a latent and a JASPAR family is claimed")
    stage.headline(motifs_recovered=f"{int(mine.recovered)} of {int(mine.motifs)}", family_right=f"{int(mine.family_right)} of {int(mine.recovered)}",
                   false_claims=f"{int(false['false'].sum())} of {len(false)}")
    print(recovery.to_string())
    print(false[false["false"]].to_string())

# %% [markdown]
# ## How much of a latent is composition?
#
# Held-out R² of each latent on token identity and on the confounders, and its agreement with itself on the reverse complement.

# %%
both = {name: np.concatenate([codes[part][name] for part in ("validation", "test")]) for name in codes["test"]}
token_id = np.concatenate([acts.tokens["token_id"][split[part]] for part in ("validation", "test")])
n_validation = len(tokens["validation"])
rows = np.arange(len(token_id))
share = composition.shares(stacked(own), token_id, both, rows[:n_validation], rows[n_validation:])
share["reverse_complement"] = strands.strand_agreement(model, site, sae, texts, tokens["test"], own["test"])
stage.write_table("composition", share)
share.describe().loc[["mean", "50%", "max"]].round(3)

# %% [markdown]
# ## The logo is earned
#
# For a few latents, chosen on validation: saturation mutagenesis of the latent itself around its peak in its top test windows, the same on
# shuffled windows, seqlets at a false discovery rate of 0.1, and a logo that has to pass a gate before TomTom may name it. Then motif in, motif
# out. The truth has no part in this.

# %%
picked = pick_finalists(read, n_finalists)
follows = "finalists fire on their motif put into matched backgrounds (BH over finalists)"
rule = "every finalist's q is below 0.05"
if n_finalists and picked.empty:
    stage.claim(follows, None, None, None, 0, 0, False, of="latents", rule=rule, stopped=stopped,
                because=f"no latent reaches an F1 of {pair_floor} for a motif on validation")
elif n_finalists:
    earned = finalists.examine(picked, model, site, sae, own["test"], tokens["test"], texts, motifs.vertebrate_motifs(), finalist_windows,
                               n_backgrounds, seed)
    stage.write_table("finalists", earned.table)
    stage.write_table("logos", earned.logos)
    inside = earned.table.insertion_q < 0.05
    stage.claim(follows, int(inside.sum()), None, None, len(inside), 0, bool(inside.all()),
                "a count of finalists; paired against its shuffled letters, bootstrap over backgrounds", of="latents", rule=rule, stopped=stopped)
    print(earned.table.round(3).T.to_string())

# %% [markdown]
# ## The catalogue
#
# One row a latent: how often it fires, its best concept with test F1, AUROC, q and adjusted odds, what composition explains, and whether that is
# *plausible*. *faithful* stays empty: whether the prediction needs a latent is asked in `05_validation`, which writes `catalogue.csv`, the same
# columns with *faithful* and the fall of AUROC without the latent.

# %%
catalogue = catalogue_.catalogue(read[read.method == "SAE"], io.read_table(study, "03_sae_training", "latents"), share,
                               variance_share(sae, own["test"], x, split["test"]), nearest(sae.W_dec))
write_catalogue(stage, catalogue)
cards = shown_.cards(catalogue, own["test"], tokens["test"], units, texts, n_cards, card_windows)
stage.write_table("cards", cards)
claims_of = catalogue[catalogue.plausible].sort_values("f1_validation", ascending=False, kind="stable").drop_duplicates("family").head(n_cards)
curves = []
for method in ("SAE", "random dictionary"):
    pairs_shown = claims_of if method == "SAE" else best[(best.method == method) & best.concept.isin(claims_of.concept)]
    curves.append(search.precision_recall(pairs_shown, methods[method]["test"], laid["test"]).assign(method=method))
stage.write_table("precision_recall", pd.concat(curves, ignore_index=True))
plane = search.decoder_map(sae.W_dec.detach().numpy(), seed)
stage.write_table("decoder_map", catalogue[["latent", "density", "kind", "concept", "family", "plausible"]].assign(x=plane[:, 0], y=plane[:, 1]))
stage.write_table("top_windows", top_windows(own["test"], tokens["test"], units, 10))
tracks.write_tracks(stage, catalogue, own["test"], tokens["test"], genome, n_tracks)
catalogue.head(12)

# %%
from lib.figures import annotation

figure, ax = style.axes(1, 1, height=2.3)
annotation.concepts(best, ax, "true site" if planted is not None else "motif", f1_floor)
style.legend(figure, [ax], ncols=5)
stage.finish()

# %% [markdown]
# **Reading.** Each curve ranks the concepts by the test F1 of the unit that was best on validation. The gap between
# the SAE and the rest is what the dictionary adds over the model's own axes, over chance directions, and over sequence alone.
