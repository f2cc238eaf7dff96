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
# # 08 · What does DNA ask of its latents?
#
# **The back door of DNA.** Three questions that only this field asks: is a latent's motif *earned* (a logo by mutagenesis,
# motif in, motif out)? Where truth is planted, are the motifs recovered and named right? And what does a variant disrupt: put
# the alternative allele into the reference window, which latents are lost, which gained; are those that are lost named for the motif
# that it breaks; and does the size of the change tell pathogenic from benign, better than the model's raw embedding or a random
# dictionary does?
#
# **Scope.** In ACMG-AMP terms a feature change is at most computational evidence (PP3 or BP4), never functional (PS3).
# It gets a code only after calibration on at least 100 labelled variants a class and region; without it the evidence
# column says so. On simulated data the label is "destroys a planted site", and is called simulated in every claim.
# On real data only variants on the test chromosomes are read: the dictionary never trained there. (The language
# model itself may have; so has its raw embedding, the rival.)
#
# Reads 00 to 05. Leaves `finalists.csv`, `logos.csv`, `tracks/`; with planted truth `recovery.csv`, `false_claims.csv`, `planted.csv`,
# `naming.csv`, `naming_scores.csv`, `oracle.csv`, `oracle_latents.csv`; `input_report.csv`, `variants.csv`, `differences.h5`,
# `separation.csv`.

# %% tags=["parameters"]
study = "demo"
n_finalists = 3                      # [0, 1000] latents whose logo has to be earned by mutagenesis (0: none)
finalist_windows = 30                # [1, 1e4] top windows of each, and as many shuffled ones
n_backgrounds = 100                  # [1, 1e4] backgrounds into which a finalist's motif is put
n_tracks = 10                        # [0, 1e4] latents with browser tracks
held_out_only = False                # read variants on the test chromosomes of 00 alone, which no dictionary trained on
split_exons = False                  # split variants into exon and other, by the exons of 00
places = [0.25, 0.75]                # [0.05, 0.95] further places of a variant in its window, as shares of it; none twice
n_listed = 5                         # [1, 100] latents of each variant that are listed, lost and gained each
n_background = 20000                 # [0, 1e6] alleles of the reference that nobody chose, beside which effects are large or not (0: none)
least_background = 100               # [10, 1e6] of them that a sort has to have
mpra_barcodes = 10                   # [1, 1e6] barcodes that a measured variant has to have, where 00 names measurements
mpra_per_element = 0                 # [0, 1e6] variants read of each element, a seeded sample (0: all)
n_matched = 9                        # [1, 100] SNPs drawn beside each one that studies of association name
n_draws = 1000                       # [100, 1e6] draws of the nulls of what is measured, and of labels dealt anew
radius_bp = 10                       # [1, 1e5] tokens within this many bases of the variant are compared
lost_share = 0.25                    # (0, 1] a latent is lost if the alternative takes this share of its peak nearby; chosen on the demo
named_share = 0.5                    # (0, 1] a family is named with this share of what is said for the first; chosen on the demo
lost_floor = 0.15                    # [0, 1] and that peak is at least this share of its largest activation on validation
max_per_class = 500                  # [1, 1e6] labelled variants per class, a seeded sample
n_boot = 1000                        # [10, 1e6] bootstrap resamples, over genes
min_per_class = 10                   # [2, 1e6] labelled variants a class needed before a group is read at all
min_calibration = 100                # [2, 1e6] labelled variants a class needed before a code may be given
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
from collections import Counter

import numpy as np
import pandas as pd

from lib.acts import store
from lib.annotate import concepts, grade, outside
from lib.causal import ablation, kept, necessity
from lib.causal import sets as latent_sets
from lib.causal import subjects as stored
from lib.corpus import corpus as corpora
from lib.corpus import splits
from lib.dna import associated, effect_sizes, finalists, labelled, motifs, oracle, reference, report, tracks, truth, windows
from lib.dna import variant_study as of_variants
from lib.edits import codes, measured, naming, percentiles, separation, widths
from lib.edits import effects as effects_of
from lib.edits.change import differences, readable, summarise, write_differences
from lib.figures import edits, style
from lib.models import adapter
from lib.sae import evaluate, format
from lib.stage import inputs, io, stops
from lib.stats import estimates

# %%
stage = io.open_stage(study, "08_dna")
corpus = corpora.load(study)
chosen, settings = io.read_json(study, "03_sae_training", "chosen.json"), io.read_json(study, "04_annotation", "settings.json")
site, stopped = chosen["site"], stops.of_dictionary(chosen)  # every claim here rests on the dictionary
model = adapter.load(corpus.model_path(), expect=io.read_json(study, "01_extraction", "model.json"))
training = io.stage_path(study, "03_sae_training", "chosen.json").parent
sae = format.load(training / chosen["folder"], site, model.identity)
acts, units, texts = store.open_store(io.stage_path(study, "01_extraction", "activations.h5")), corpus.units(), corpus.records().texts
rows = splits.split_rows(units, acts.tokens["unit"], corpus.split["validation"], corpus.split["test"])["test"]
rows = rows[np.isin(acts.tokens["unit"][rows], concepts.disjoint_units(units))]
tokens, latents = concepts.token_table(acts.tokens, units, rows), evaluate.latents_of(sae, acts.acts[site], rows, acts.tokens["unit"])
read = io.read_table(study, "04_annotation", "associations")
genome = reference.Reference(inputs.find(study, corpus.settings["genome_path"]))
truth_path = corpus.settings["truth_path"]
planted = io.read_csv(inputs.find(study, truth_path)) if truth_path else None

# %% [markdown]
# ## Is the logo earned?
#
# For a few latents, chosen on validation and not of repeats: saturation mutagenesis of the latent itself around its peak in its top
# test windows, the same on shuffled windows, seqlets at a false discovery rate of 0.1, and a logo that has to pass a gate before TomTom
# may name it: at least 20 sites (one a window at most, so that no logo passes where `finalist_windows` is smaller), 5 columns and 6
# bits. Then motif in, motif out. The word put in is the consensus of a logo that passed; of any other it is that of the JASPAR profile
# that 04 matched (`word_from`), and shows that the latent follows the profile. The truth has no part in this.

# %%
features = io.read_table(study, "04_annotation", "features")
of_repeats = features.latent[features.kind == outside.KIND]
picked = finalists.pick_finalists(read[~read.latent.isin(of_repeats)], n_finalists)
follows = "finalists fire on their motif put into matched backgrounds (BH over finalists)"
rule = "every finalist's q is below 0.05"
if n_finalists and picked.empty:
    stage.claim(follows, None, None, None, 0, 0, False, of="latents", rule=rule, stopped=stopped,
                because=f"no latent reaches an F1 of {settings['pair_floor']} for a motif on validation")
elif n_finalists:
    earned = finalists.examine(picked, model, site, sae, latents, tokens, texts, motifs.vertebrate_motifs(), finalist_windows,
                               n_backgrounds, seed)
    stage.write_table("finalists", earned.table)
    stage.write_table("logos", earned.logos)
    fires, kept_logos = earned.table.insertion_q < 0.05, int(earned.table.refused.eq("").sum())
    stage.claim(follows, *estimates.share(int(fires.sum()), len(fires)), 1.0, bool(fires.all()),
                f"share of finalists, {int(fires.sum())} of {len(fires)}, Wilson interval; each paired against its shuffled letters, "
                f"bootstrap over backgrounds; {kept_logos} of the logos passed their gate, the word of the others "
                "is their profile's consensus",
                of="latents", rule=rule, stopped=stopped)
    print(earned.table.round(3).T.to_string())

# %%
tracks.write_tracks(stage, features, latents, tokens, genome, n_tracks);

# %% [markdown]
# ## Planted truth
#
# On simulated data the truth is known. A planted motif is *recovered* when one latent, chosen on validation, is claimed for it on
# either strand; rivals are held to the same, and compared motif by motif. Its family is named *right* when the best JASPAR profile of
# that latent is of the planted profile's family. A claimed pair of a latent and a JASPAR family is *false* when no planted motif with
# whose true sites the latent is associated is of that family, or holds half of the hits of the profile. *Strictly* false: only true
# sites for which the latent is itself claimed count, and sharing hits is the only way. The control gives true sites another motif's
# name. A share keeps to its bar with its whole interval; of so few motifs that even all, or none, would not, nothing is tested.

# %%
if planted is not None:
    intervals = corpus.concepts()
    hits = intervals[(intervals.kind == "motif") & intervals.contig.isin(corpus.split["test"])]
    best = io.read_table(study, "04_annotation", "best_latents")
    recovery, false = truth.recovery(read, best, planted, hits, settings["methods"], n_boot, seed)
    stage.write_table("recovery", recovery)
    stage.write_table("false_claims", false)
    print(recovery.to_string())
    print(false[false["false"]].to_string())

# %%
if planted is not None:
    score = recovery.set_index("method")
    of_sae, twin_row, n_motifs = score.loc["SAE"], score.loc["random twin"], int(score.motifs["SAE"])
    name = score.drop(index="SAE").gain_low.astype(float).idxmin() if n_motifs else score.index[-1]  # the strongest rival
    rival, few = score.loc[name], "" if n_motifs else "no planted motif has enough sites on validation and on test"
    e = estimates.share(int(of_sae.recovered), n_motifs)
    stage.claim(f"planted motifs recovered by one latent (test F1 above {settings['f1_floor']}, q below 0.05)", *e, 0.8,
                e.low >= 0.8 and rival.gain_low > 0, "share of motifs, Wilson interval; strongest rival, whose paired difference reaches "
                f"lowest: {name}, {int(rival.recovered)} of {n_motifs}; the SAE {rival.gain:+.3f} "
                f"({rival.gain_low:.3f} to {rival.gain_high:.3f}), bootstrap over motifs", of="motifs", stopped=stopped,
                rule="the interval lies at or above 0.8, and that of the paired difference above 0 for every rival",
                because=few or estimates.too_few(e, 0.8, "motifs"))
    e = estimates.share(int(twin_row.recovered), n_motifs)
    stage.claim("at most 5 % of planted motifs are recovered on the random twin", *e, 0.05, e.high <= 0.05,
                "its own dictionary, same procedure; Wilson interval", of="motifs", rule="the interval lies at or below 0.05",
                stopped=stopped, because=few or estimates.too_few(e, 0.05, "motifs", at_most=True))

# %%
if planted is not None:
    e = estimates.share(int(of_sae.family_right), int(of_sae.recovered))
    stage.claim("motif family named right, of the recovered", *e, 0.9, e.low >= 0.9,
                "best JASPAR family against the planted one; Wilson interval", of="motifs", rule="the interval lies at or above 0.9",
                stopped=stopped, because=estimates.too_few(e, 0.9, "recovered motifs"))
    wilson = estimates.share(int(false.false_strict.sum()), len(false))
    e = estimates.mean_interval(false.false_strict.astype(float), n_boot, seed, false.latent.to_numpy())
    e = wilson._replace(low=min(wilson.low, e.low), high=max(wilson.high, e.high))

# %%
if planted is not None:
    stage.claim("claimed latent-family pairs that are false against truth", *e, 0.05, e.high <= 0.05,
                "share of claimed pairs of the SAE that are strictly false; the wider of Wilson and a bootstrap over "
                f"{false.latent.nunique()} latents; with the sites under other names "
                f"{truth.chance_false(read, planted, hits, seed=seed):.2f} would be false; "
                f"in the wider sense of true, false {false['false'].mean():.3f}", of="pairs", rule="the interval lies at or below 0.05",
                stopped=stopped, because=estimates.too_few(e, 0.05, "claimed pairs of a latent and a JASPAR family", at_most=True))
    stage.headline(motifs_recovered=f"{int(of_sae.recovered)} of {n_motifs}",
                   family_right=f"{int(of_sae.family_right)} of {int(of_sae.recovered)}",
                   false_claims=f"{int(false.false_strict.sum())} of {len(false)}")

# %% [markdown]
# ## Is what is necessary what was planted?
#
# A necessary set is right if the true sites that its latents read are of a causal motif, in each arm of its own: the sites and partners
# that the causal variants of its pairs break. Arms declared null have none. These cells are skipped where no truth is known.

# %%
scored, truth_variants = pd.DataFrame(), corpus.settings["truth_variants_path"]
rule, fitted = (io.read_json(study, "05_validation", name) for name in ("rule.json", "settings.json"))
null_arms = {target.name for target in corpus.targets if target.null}
arms = [arm for arm in rule["arms"] if arm not in null_arms]
necessary = necessity.verdicts([io.read_table(study, "05_validation", "necessity")])
alarmed = stops.of_arms(io.read_table(study, "02_layer_hunting", "alarms"))
stopped_of = {arm: stops.joined(alarmed[arm], stopped) for arm in arms}
stopped_of["all arms"] = stops.joined(*dict.fromkeys(alarmed[arm] for arm in arms), stopped)
told = io.read_csv(inputs.find(study, truth_variants)) if truth_variants else None

# %%
if told is not None:
    causal = {arm: truth.causal_motifs(told, arm) for arm in arms}
    moved = kept.read(io.private_path(study, "05_validation", "kept.h5")).moved
    moving, named = latent_sets.moving(moved, fitted["least_moved"]), features[features.q < 0.05]
    sets = latent_sets.by_kind(moved, moving, named.set_index("latent").family, fitted["together"])
    motif = truth.motif_read(read)
    scored = truth.with_all([truth.of_causal(arm, necessary[necessary.arm == arm], sets, motif, causal[arm]) for arm in arms])
    stage.write_table("planted", scored)
    print(scored.round(3).to_string(index=False))

# %%
for row in scored[scored.kind == "closure"].itertuples() if len(scored) else []:
    what, counted = ("motifs", "causal motifs") if row.score == "recall" else ("sets", "necessary closures")
    few = estimates.too_few(estimates.Estimate(row.value, row.low, row.high, row.n), 0.8, counted)
    stage.claim(f"[{row.arm}] {row.score} of planted causal motifs among necessary closures is at least 0.8",
                row.value, row.low, row.high, row.n, 0.8, row.low >= 0.8, f"{row.k} of {row.n}, Wilson interval; causal: {row.motifs}; "
                "the demo's motifs and `together` were chosen on its seed 0, demo-1 is another seed",
                of=what, rule="the interval lies at or above 0.8", stopped=stopped_of[row.arm], because=few)

# %%
for arm in arms if told is not None else []:
    tested = necessary[(necessary.arm == arm) & (necessary.kind == "latent")]
    tested = tested.assign(latent=tested.name.astype(int)).merge(motif.reset_index(), on="latent")
    match = ablation.causal_match(tested.delta.to_numpy(), tested.motif.to_numpy(), sorted(causal[arm]), 1000, seed)
    why = "" if np.isfinite(match["auroc"]) else "latents of causal motifs, or of others, are missing among those tested"
    alone = "" if np.isfinite(match["low"]) else "of causal motifs, or of others, only one has latents that are tested"
    stage.claim(f"[{arm}] ablating latents of causal motifs costs more than ablating latents of other motifs", match["auroc"],
                match["low"], match["high"], match["n"], round(match["null_95"], 4), match["low"] > 0.5 and match["p"] <= 0.05,
                f"AUROC of the fall, bootstrap over motifs; null: 95 % of motifs dealt out anew, p {match['p']:.3f}", of="latents",
                rule="the interval lies above 0.5, and the permutation p is at most 0.05", stopped=stopped_of[arm], because=why or alone)

# %% [markdown]
# ## What an ideal latent could be missed for
#
# Of each planted pair, all that breaking it does to the activations is taken back: of tokens within 12 or 40 bases of its site, or of
# the whole window; then a probe is fitted anew. What near the site is not missed, no latent that reads a site can be missed for: the
# model has written it elsewhere too, and the probe reads it there. Beside the whole window stands the latent of 05 that tells the pair.

# %%
oracles = pd.DataFrame()
planted_units = truth.units_of(corpus)
if planted_units is not None:
    probes = io.read_json(study, "02_layer_hunting", "settings.json")
    people = {name: stored.read(corpus, name) for name in corpus.corpora()[1:]}
    taken_back = {name: oracle.removed(oracle.broken(planted_units, of.units, of.texts), of, site) for name, of in people.items()}
    X = {name: of.features(site) for name, of in people.items()}
    fits = kept.read(io.private_path(study, "05_validation", "kept.h5"))
    second_y = corpus.subjects(corpora.SECOND) if corpus.second_targets else None
    n_parts = len(people[corpora.SUBJECTS].readout.parts)
    ideal = {arm: oracle.of_arm(arm, fits.arms[arm], fits.groups, X, taken_back, n_parts, probes, second_y, n_boot, seed)
             for arm in arms if arm in oracle.DISEASES}

# %%
if planted_units is not None:
    oracles = pd.concat(ideal.values(), ignore_index=True)
    stage.write_table("oracle", oracles)
    contrasted, latents_of = io.read_table(study, "04_annotation", "contrasts"), necessary[necessary.kind == "latent"]
    own = pd.concat([oracle.beside_latents(table, contrasted, latents_of[latents_of.arm == arm]) for arm, table in ideal.items()])
    stage.write_table("oracle_latents", own)
    print(oracles.round(3).to_string(index=False), "\n", own.round(3).to_string(index=False))

# %%
if len(oracles):
    k, n, share = int(own.necessary.sum()), len(own), own["share"].median()
    stage.claim("causal pairs with a latent of their own that is necessary (fall of the bar or more, refit and second cohort included)",
                *estimates.share(k, n), 0.75, k >= 0.75 * n, f"{k} of {n}, Wilson interval beside; the ideal whole window is missed by "
                f"the bar on refit in {int((own.refit >= rule['bar']).sum())}; median share of its fall in the second cohort {share:.2f}",
                of="pairs", rule="at least three quarters of the pairs", stopped=stopped_of["all arms"])

# %%
if len(oracles):
    near = oracles[oracles.removed == "40 bases"]
    stage.claim("taking back all within 40 bases of the sites of a pair is missed by a refit", near.refit.mean(), near.low.min(),
                near.high.max(), len(near), 0.0, bool((near.low > 0).all()), "mean fall of AUROC over pairs; lowest and highest end of the "
                "pairs' paired intervals", of="pairs", rule="the interval of every pair lies above 0")

# %% [markdown]
# **Reading.** `refit` with its interval: what a probe fitted anew loses in the first cohort, out of fold; `refit_second`: in the second,
# whose breaking alleles no probe saw; `frozen_second`: there, under the probe as it was. `share`: the latent's fall in the second
# cohort over `frozen_second` of the whole window.
#
# ## Labelled variants

# %%
taken = Counter()
variants_path, label_column = corpus.settings["variant_path"], corpus.settings["label_column"]
if not variants_path:
    variants = labelled.none()
elif label_column:
    variants = labelled.read_table(inputs.find(study, variants_path), genome, label_column, taken)
else:
    regions = windows.read_bed(inputs.find(study, corpus.settings["background_path"]), genome)
    variants = labelled.read_clinvar(inputs.find(study, variants_path), genome, regions, taken)
label_kind = "simulated: destroys a planted site" if label_column else "ClinVar P/LP against B/LB"
if held_out_only:
    variants = variants[variants.contig.isin(corpus.split["test"])].reset_index(drop=True)
variants["region"] = labelled.region(variants, inputs.find(study, corpus.settings["exon_path"]), genome, taken) if split_exons else "all"
stage.write_table("input_report", report.table(taken))
sample = labelled.balanced_sample(variants, max_per_class, seed)
sample.groupby(["region", "label"]).size().rename("variants").reset_index()

# %% [markdown]
# ## Reference against alternative
#
# Same window, same strand. A latent's change is the difference of its largest activation on tokens near the variant.
# The rivals see exactly the same tokens.

# %%
table = labelled.windows(sample, genome, corpus.settings["window_bp"])
fits = readable(table, model)
table = table[fits].reset_index(drop=True)
print(f"{(~fits).sum()} of {len(fits)} variants lie in windows that the tokenizer makes too long for the model: left out")
table = table.join(of_variants.located(table, corpus, genome, Counter()))
readers = of_variants.readers(corpus, model, site, sae, chosen["l0"], training, seed)
effects = effect_sizes.of(readers, table, radius_bp)
before, after, sizes = effects.before, effects.after, effects.sizes
(change, _), moved = differences(before, after)
out = summarise(table, change, moved).assign(label_kind=label_kind)
out[["random_change", "log_ratio", "motif_lost", "motif_gained"]] = sizes[["random_change", "log_ratio", "motif_lost", "motif_gained"]]
out["moved_tokens"] = effects_of.moved_tokens(model, table, radius_bp)

# %%
features = io.read_table(study, "05_validation", "catalogue").set_index("latent")
features["grade"] = grade.grades(features, len(chosen["seeds"]) - 1)
for side in ("lost", "gained"):
    out[f"{side}_concept"] = features.concept.reindex(out[f"{side}_latent"]).to_numpy()
    out[f"{side}_plausible"] = features.plausible.reindex(out[f"{side}_latent"]).to_numpy()
write_differences(stage.path("differences.h5"), change, out)
out.sort_values("lost").head(8)[["contig", "pos", "ref", "alt", "gene", "label", "lost_latent", "lost", "lost_concept"]]

# %% [markdown]
# ## Which latents, and do they say so again?
#
# A latent is *lost* where it fires on the reference, at `lost_floor` of its largest activation or more, and the alternative takes
# `lost_share` of that away; *gained* the other way round. The same variant is read again on the other strand and from other places in
# its window: a reading agrees where it changes the latent the same way by half as much or more (one that does not fit the model does
# not agree). `grade`: what stands behind a latent (`lib/annotate/grade.py`).

# %%
largest = np.maximum(latents.max(axis=0).toarray().ravel(), features.largest.reindex(range(sae.config.d_sae)).fillna(0))
again = of_variants.again(readers, table, sample.columns, genome, corpus.settings["window_bp"], places, radius_bp)
every = effects_of.strongest(before.latents[0], after.latents[0], largest, lost_floor, lost_share, sae.config.d_sae)
listed = effects_of.agreement(every[every["rank"] <= n_listed], again)
listed = listed.rename(columns={"ref": "ref_value", "alt": "alt_value"}).join(features[of_variants.ABOUT], on="latent")
listed = out[["contig", "pos", "ref", "alt", "gene", "label"]].merge(listed, left_index=True, right_on="variant")
stage.write_table("mechanisms", listed)
stage.write_table("scale", pd.DataFrame({"latent": range(sae.config.d_sae), "largest": largest}))
stage.write_json("settings.json", {"radius_bp": radius_bp, "places": places, "lost_floor": lost_floor, "lost_share": lost_share,
                                   "n_listed": n_listed, "least_background": least_background, "min_calibration": min_calibration,
                                   "n_boot": n_boot, "seed": seed})
first = listed[(listed["rank"] == 1) & (listed.side == "lost")]
print(f"of {len(first)} variants that take a latent away, the one most lost says so in {first.n_agree.mean():.2f} of "
      f"{len(again)} further readings on average; {(out.moved_tokens > 0).mean():.2f} of variants move words")
first.head(8)

# %% [markdown]
# ## Is the motif that a variant breaks named?
#
# Only where truth is planted. A latent that 04 claims for a motif bears its family; at a variant it is *lost* where it fires on the
# reference and the alternative takes `lost_share` of its peak away. It speaks for its family with what it lost times its precision;
# the family with the most said for it is named, and any with `named_share` of that. *Recall*: of variants that break a planted motif,
# those with its family among the families named; *precision*: of pairs of a variant and a family named, those of the broken motif.
# Beside them what counts any whole motif of the same planted unit as right, since a broken partner may well silence latents of its
# site; false alarms, of variants that break nothing; the latent that loses most, alone; and families dealt out anew among the latents.
# Latents that fire farther than `radius_bp` from the variant are not seen.

# %%
if told is not None and planted is not None:
    named = naming.namers(features.reset_index(), lost_floor)
    silenced = naming.lost(before.latents[0], after.latents[0], named, lost_share)
    broken = truth.broken_by(out, told, planted).assign(gene=out.gene, in_site=labelled.inside(out, planted))
    broken["first"] = out.lost_latent.map(named.set_index("latent").family).fillna("")
    named_by = naming.naming(silenced, named.family, broken, named_share)
    how_well = naming.scores(silenced, named.family, broken, named_share, n_boot, seed=seed)
    stage.write_table("naming", named_by)
    stage.write_table("naming_scores", how_well)
    print(how_well.round(3).to_string(index=False))

# %%
if told is not None and planted is not None:
    row_of = how_well.set_index(["variants", "score", "right"])
    first, alarm = row_of.value["break a motif", "first", "broken motif"], row_of.loc[("break no motif", "false alarm", "")]
for score, what in {"recall": "variants", "precision": "pairs"}.items() if told is not None and planted is not None else []:
    strict, loose = (row_of.loc[("break a motif", score, right)] for right in naming.RIGHT)
    e = estimates.Estimate(strict.value, strict.low, strict.high, int(strict.n))
    counted = "variants that break a planted motif" if score == "recall" else "pairs of such a variant and a family named"
    why = estimates.too_few(e, 0.8, counted) or ("" if strict.n_genes > 1 else "all of them lie in one gene")
    stage.claim(f"[simulated] {score} of the families of broken motifs among those named by lost latents is at least 0.8",
                *e, 0.8, strict.low >= 0.8 and strict.low > strict.null_95,
                f"{strict.k:.0f} of {e.n}, bootstrap over {strict.n_genes:.0f} genes, or Wilson's where wider; families dealt out anew: "
                f"{strict.null:.3f}, 95 % {strict.null_95:.3f}; any motif of the unit counted: {loose.value:.3f}; the latent that loses "
                f"most, alone: {first:.3f}; variants that break nothing of which a family is named: {alarm.k:.0f} of {alarm.n:.0f}",
                of=what, rule="the interval lies at or above 0.8, and above 95 % of families dealt out anew", stopped=stopped,
                because=why)
    stage.headline(**{f"naming {score}": f"{strict.k:.0f} of {e.n}"})

# %% [markdown]
# ## Does size of change separate the classes?
#
# Resampled by gene, because a label follows its gene; every method is read on the same resamples, so that a difference
# between two is paired. A deletion changes more tokens than a substitution, whatever it means, so single-base
# substitutions are also read alone. Where sites are planted, only variants inside one can destroy it, so location alone
# would tell the classes apart; the third row therefore keeps substitutions inside planted sites, destroying or not. Where a study has
# none there that leaves its site whole, that row cannot be tested, and the others may say no more than where variants lie.

# %%
scores = {method: column for method, column in effect_sizes.SCORES.items() if sizes[column].notna().all() and len(sizes)}
both = pd.concat([out.drop(columns=list(scores.values()), errors="ignore"), sizes[list(scores.values())]], axis=1)

# %%
snv = ((out.ref.str.len() == 1) & (out.alt.str.len() == 1)).to_numpy()
kinds = {"all": np.ones(len(out), bool), "substitutions": snv}
if truth_path:
    kinds["substitutions in sites"] = snv & labelled.inside(out, planted[planted.planted.astype(bool)])
columns = ["variants", "region", "method", "value", "low", "high", "gain", "gain_low", "gain_high", "n", "n_positive",
           "n_genes", "label_kind"]
tables, skipped = [pd.DataFrame(columns=columns)], []
for kind, keep in kinds.items():
    for region in out.region.unique():
        group = both[keep & (both.region == region).to_numpy()]
        if min((group.label == 1).sum(), (group.label == 0).sum()) < min_per_class:
            skipped.append((kind, region))
            continue
        table_of = separation.separation(group, scores, n_boot, seed)
        tables.append(table_of.assign(variants=kind, region=region, label_kind=label_kind)[columns])
separated = pd.concat(tables[1:] or tables, ignore_index=True)
stage.write_table("separation", separated)
separated.round(3)

# %%
prefix, located = "[simulated label] " if label_column else "", ""
if truth_path:
    inside = pd.Series(labelled.inside(out, planted[planted.planted.astype(bool)])).groupby(out.label.to_numpy()).mean()
    located = "".join(f"; of label {label} {share:.2f} lie in planted sites" for label, share in inside.items())
    alone = bool(inside.max() >= 0.95 and inside.min() <= 0.05)
by_place = "whether a variant lies in a planted site tells the labels apart, by itself" if truth_path and alone else ""

# %% [markdown]
# ## How large, beside alleles that nobody chose?
#
# A change may be large because of where it is and of which letters: alleles of the reference are sampled, evenly over classes of regions,
# and each variant is placed among those of its own class, bin of distance to an exon, letters and neighbours, or of the finest sort that
# has `least_background` of them (`matched_on`). The same for every rival, on the same tokens. Among alleles of its own sort a variant of
# no effect has any percentile.

# %%
contigs = corpus.split["test"] if held_out_only else []
among, beside = pd.DataFrame(), pd.DataFrame(columns=["variant", "method", *percentiles.COLUMNS])
if n_background and len(out):
    among = of_variants.background(readers, corpus, genome, contigs, n_background, radius_bp, seed)
    among.to_parquet(stage.path("background.parquet"), index=False)
    beside = of_variants.beside(out, sizes, among, genome, least_background)
placed = out[["contig", "pos", "ref", "alt", "gene", "label"]].merge(beside, left_index=True, right_on="variant")
stage.write_table("percentiles", placed.drop(columns="variant"))
placed.groupby(["method", "label"], sort=False)["percentile"].agg(["count", "mean", "median"]).round(3)

# %%
ranks = placed.pivot(index="variant", columns="method", values="percentile").reindex(columns=list(dict.fromkeys(placed.method)))
ranks, ill = ranks.dropna(), out.label.eq(1)
own = ranks[ill.reindex(ranks.index)]
if n_background and len(out):
    e = estimates.mean_interval(own["SAE"].to_numpy() if len(own) else np.zeros(0), n_boot, seed, out.gene.reindex(own.index).to_numpy())
    rivals = {name: estimates.mean_interval((own["SAE"] - own[name]).to_numpy(), n_boot, seed, out.gene.reindex(own.index).to_numpy())
              for name in own.columns.drop("SAE")} if len(own) else {}
    strongest = min(rivals, key=lambda name: rivals[name].low) if rivals else ""
    stage.claim(f"{prefix}variants of label 1 change latents more than alleles of their own sort",
                *e, 0.5, e.low > 0.5 and all(gain.low > 0 for gain in rivals.values()),
                f"mean percentile among {len(among)} alleles; of label 0 {ranks[~ill.reindex(ranks.index)]['SAE'].mean():.3f}; " + (
                    f"strongest rival {strongest} {own[strongest].mean():.3f}, the difference {rivals[strongest].value:+.3f} "
                    f"({rivals[strongest].low:.3f} to {rivals[strongest].high:.3f})" if strongest else "") + "; bootstrap over genes",
                of="variants", rule="the interval lies above 0.5, and that of the paired difference above 0 for every rival",
                stopped=stopped, because=by_place if e.n else "no variant of label 1 has enough alleles of its own sort")

# %% [markdown]
# ## Is that evidence in the words of ACMG-AMP?
#
# PP3 and BP4, class of regions by class, calibrated by a local posterior with draws of whole genes. No class, no code: one needs
# `min_calibration` labels of each kind, in 30 genes each, and a score that says more than how far a variant lies from an exon; codes of
# changed proteins are left to predictors of proteins. A variant's gene is never among those that set its thresholds. Research use.

# %%
asked = of_variants.for_codes(out)
population = among[["region", "latent_change"]] if len(among) else pd.DataFrame({"region": [], "latent_change": np.zeros(0)})
known = asked[asked.region.isin(population.region)]
coded = codes.by_class(known, "latent_change", population, coding=of_variants.CODING, min_label=min_calibration, n_boot=n_boot, seed=seed)
given = codes.evidence(asked, coded)
out[["acmg", "why"]] = given[["acmg", "why"]]
stage.write_table("code_classes", coded.classes)
stage.write_table("code_strengths", coded.strengths)
stage.write_table("code_curves", codes.curves(coded))
stage.write_table("evidence", pd.concat([out[["contig", "pos", "ref", "alt", "gene", "label", "region_class"]], given], axis=1))
stage.headline(codes=f"{(given.acmg != codes.NONE).sum()} of {len(given)} variants")
coded.classes[["region", "status", "n_pathogenic", "n_benign", "n_genes", "auroc", "location", "why"]].round(3)

# %% [markdown]
# ## Which latents do variants of label 1 take away?
#
# Inside classes of regions, bins of distance and genes, exactly (`lib/edits/enriched.py`). Then four questions that a spread of chance
# would fail: are all statistics shifted, is one tail longer than the other, what does the other tail say of the false discovery rate.

# %%
enriched_, told_apart, tails = pd.DataFrame(), pd.DataFrame(), pd.DataFrame()
sorts = of_variants.sorts(out, genome)
if out.label.nunique() == 2:
    enriched_, told_apart, tails = of_variants.enrichment(every, out, sorts, sae.config.d_sae, n_draws, seed)
    enriched_ = enriched_.join(features[["concept", "family", "grade"]], on="latent")
    stage.write_table("enrichment", enriched_)
    stage.write_table("diagnostics", told_apart)
    stage.write_table("tails", tails)
    lost_more = enriched_[enriched_.side == "lost"]
    said = told_apart[told_apart.reading != ""] if len(told_apart) else told_apart
    stage.claim(f"{prefix}some latent is lost at more variants of label 1 than of label 0",
                int((lost_more.q < 0.05).sum()), None, None, len(lost_more), 0, bool((lost_more.q < 0.05).any()),
                "; ".join(said.side + ", " + said["name"] + ": " + said.reading),
                of="latents", rule="q below 0.05 inside classes, bins of distance and genes", stopped=stopped,
                because=by_place if len(lost_more) else "no latent is lost at 10 variants")
enriched_.nsmallest(8, "p") if len(enriched_) else "labels of one kind only"

# %% [markdown]
# A fourth: of one architecture of 03's sweep, one run a width, does what passes grow as the dictionary does? Chance passes in proportion,
# as random latents of the widest do; mechanisms that every width holds stay as many.

# %%
sweep = io.read_table(study, "03_sae_training", "sweep")
run_of = widths.of_sweep(sweep, sae.config.architecture, chosen["l0"])
dictionaries = {width: format.load(training / site / run, site, model.identity) for width, run in run_of.items()}
scaled = widths.scaling(model, site, dictionaries, table, out.label.to_numpy(), of_variants.cells(out, sorts), lost_share, radius_bp,
                        n_draws, seed)
stage.write_table("scaling", scaled)
by_name = scaled.set_index("name")
if len(scaled):
    slope, alone = by_name.loc["slope"], by_name.loc["slope of subsets"]
    stage.claim(f"{prefix}latents that variants of label 1 take away grow less with the dictionary than size alone gives",
                slope.value, slope.low, slope.high, len(run_of), round(float(alone.value), 4), bool(slope.high < alone.low),
                f"slope of log latents that pass at 5 % on log latents; bootstrap over latents; random latents of the widest "
                f"{alone.value:.2f} ({alone.low:.2f} to {alone.high:.2f})", of="runs",
                rule="the interval lies below that of random latents of the widest", stopped=stopped, because=by_place)
scaled.round(3) if len(scaled) else "no architecture of the sweep has two widths whose latents can be asked"

# %% [markdown]
# ## SNPs that studies of association name
#
# Lead SNPs and fine-mapped variants of this cohort, where 00 names such files, each beside `n_matched` others of the same loci: as common,
# with as many proxies, as far from a start (`lib/dna/associated.py`). A lead SNP mostly stands for others, so little is to be seen even by
# a reader that knew. Loci are the witnesses; most cohorts have few. No dictionary was trained on these loci.

# %%
associations = None
if io.stage_path(study, "00_dna", "corpus.json").with_name("association_report.csv").exists():
    snps, taken = pd.read_parquet(io.private_path(study, "00_dna", "snps.parquet")), Counter()
    associations = associated.read(readers, corpus, genome, snps, associated.Rule(largest, lost_floor, lost_share), n_matched, radius_bp,
                                   n_draws, n_boot, seed, taken)
    stage.write_table("matched_report", report.table(taken))
    stage.write_table("associated", associations.table)
    stage.write_table("associated_balance", associations.balance)
    stage.write_table("associated_latents", associations.latents.join(features[["concept", "family", "grade"]], on="latent"))
    stage.write_table("associated_diagnostics", associations.diagnostics)
    print(associations.table.round(3).to_string(index=False), "\n", associations.balance.round(3).to_string(index=False))

# %%
for named_as in associated.SETS if associations else []:
    by = associations.table[associations.table.named == named_as].set_index("method")
    rule = "the interval lies above 0.5, p is at most 0.05, and every paired difference's interval lies above 0"
    what = f"{named_as}s of the cohort change latents more than SNPs alike that are not named"
    if by.empty:
        stage.claim(what, None, None, None, 0, 0.5, False, of="variants", rule=rule, stopped=stopped, because=associated.NONE)
        continue
    s, rivals = by.loc["SAE"], by.drop(index="SAE")
    strongest = rivals.gain_low.astype(float).fillna(-1).idxmin()
    r, one = rivals.loc[strongest], "" if s.n_loci > 1 else "all of them lie in one locus"
    stage.claim(what, s.value, s.low, s.high, int(s.n), 0.5,
                bool(s.low > 0.5 and s.p <= 0.05 and (rivals.gain_low > 0).all()),
                f"mean percentile among {int(s.n_matched)} matched SNPs, bootstrap over {int(s.n_loci)} loci; p {s.p:.3f}; strongest "
                f"rival {strongest} {r.value:.3f}, the difference {r.gain:+.3f} ({r.gain_low:.3f} to {r.gain_high:.3f})",
                of="variants", rule=rule, stopped=stopped, because=one)

# %% [markdown]
# ## What is claimed
#
# Against chance: the interval stays above 0.5. Against each rival: that, and the paired difference stays above 0.

# %%
stage.write_table("variants", out);

# %%
for (kind, region), group in separated.groupby(["variants", "region"], sort=False):
    by = group.set_index("method")
    s, counted = by.loc["SAE"], f"{by.n_positive['SAE']} of label 1; bootstrap over {by.n_genes['SAE']} genes{located}"
    above_chance = bool(s.low > 0.5)
    stage.claim(f"{prefix}latent change separates labelled variants ({kind}, {region}) better than chance",
                s.value, s.low, s.high, int(s.n), 0.5, above_chance, f"AUROC; {counted}", of="variants",
                rule="the interval lies above 0.5", stopped=stopped, because=by_place)
    for rival, r in by.drop(index="SAE").iterrows():
        stage.claim(f"{prefix}latent change separates labelled variants ({kind}, {region}) better than the {rival}",
                    r.gain, r.gain_low, r.gain_high, int(r.n), 0, above_chance and bool(r.gain_low > 0),
                    f"AUROC {s.value:.3f} against {r.value:.3f}; {counted}", of="variants", stopped=stopped, because=by_place,
                    rule="the interval of the paired difference lies above 0, and the AUROC's above 0.5")
    stage.headline(**{f"AUROC {kind} {region}": round(float(s.value), 3)})

# %%
for kind, region in skipped if len(separated) else []:
    stage.claim(f"{prefix}latent change separates labelled variants ({kind}, {region}) better than chance", None, None, None, 0, 0.5, False,
                of="variants", rule="the interval lies above 0.5", stopped=stopped,
                because=f"there are not {min_per_class} labelled variants of each class")
if separated.empty:
    stage.claim(f"{prefix}latent change separates labelled variants", None, None, None, len(out), 0.5, False, of="variants",
                rule="the interval lies above 0.5", stopped=stopped,
                because=f"no region holds {min_per_class} labelled variants of each class")
    stage.headline(AUROC="too few labelled variants")

# %% [markdown]
# ## Measured effects
#
# A saturation MPRA says what each allele of an element does to expression, in another cell and off the chromosome. One question, fixed
# beforehand: over loci, does the size of what changes in the latents go with the size of the measured effect (Spearman in each
# element, mean over loci)? p: places turned round each element; its mirror tail beside it. A size goes with noise as well: claims have to
# beat every rival, how few barcodes tell an effect and the change's own letters among them. Last, what the experiment repeats of itself.

# %%
mpra_path, by_size = corpus.settings["mpra_path"], pd.DataFrame()
if mpra_path:
    taken = Counter()
    mpra_table, elements, read_effects = of_variants.measured(readers, corpus, genome, inputs.find(study, mpra_path), mpra_barcodes,
                                                                mpra_per_element, radius_bp, seed, taken)
    stage.write_table("mpra_report", report.table(taken))
    scores_of, unsigned = of_variants.scores(read_effects, features, largest)
    by_size = measured.compare(mpra_table, scores_of, n_boot, n_draws, seed, unsigned)
    stage.write_table("mpra", by_size)
    stage.write_table("mpra_loci", measured.per_locus(mpra_table, scores_of, unsigned))
    stage.write_table("mpra_variants", pd.concat([mpra_table[["element", "locus", "place", "change", "effect"]], scores_of], axis=1))
    print(by_size.round(3).to_string(index=False))

# %%
if mpra_path:
    rows = by_size[by_size.what == measured.SIZE].set_index("score")
    s, rivals = rows.loc["SAE"], rows.drop(index=["SAE", measured.PLACE_MEAN])  # what knows the place's own measurements is no rival
    strongest = rivals.gain_low.astype(float).idxmin()
    stage.claim("sizes of latent changes go with measured effects better than every rival", s.value, s.low, s.high, int(s.n_loci), 0.0,
                bool(s.low > 0 and s.p <= 0.05 and (rivals.gain_low > 0).all()),
                f"Spearman, mean over loci of {int(s.n_variants)} variants; p {s.p:.3f}, mirror {s.p_mirror:.3f}; strongest rival "
                f"{strongest} {rivals.value[strongest]:.3f}, the difference {rivals.gain[strongest]:+.3f} "
                f"({rivals.gain_low[strongest]:.3f} to {rivals.gain_high[strongest]:.3f}); the experiment with itself {s.ceiling:.3f}",
                of="loci", stopped=stopped, rule="the interval and that of each paired difference lie above 0, and p is at most 0.05")

# %%
drawn = {"separation": separated, "percentiles": placed, "code_curves": codes.curves(coded), "code_strengths": coded.strengths,
         "associated": associations.table if associations else pd.DataFrame(), "tails": tails, "enrichment": enriched_,
         "mpra_variants": pd.DataFrame()}
if mpra_path:
    drawn["mpra_variants"] = pd.concat([mpra_table[["element", "place", "change", "effect"]], scores_of], axis=1)
figure, axes = style.axes(edits.n_rows(drawn), 2, height=1.8 * edits.n_rows(drawn))
edits.all_panels(drawn, axes)
stage.finish()

# %% [markdown]
# **Reading.** Bars reaching 0.5 separate nothing. A blue dot no higher than the others says that the dictionary adds no
# discrimination over the embedding it decomposes; what it adds then is only the name of what changed. Bars of two
# methods may overlap although their paired difference is clear of 0, or the reverse: the difference is what is claimed.
# Few genes make intervals too narrow; their number stands with every claim. Where all variants are substitutions, one group is both.
