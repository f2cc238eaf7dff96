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
# # 05 · Does the prediction need them?
#
# **Question.** A latent that looks like a motif is plausible. Is it *needed*: does the prediction of unseen people fall
# when the latent, and only the latent, is set to what it is on the reference haplotype?
#
# Ablation keeps the dictionary's error: x' = x + sum (f* - f) d. With a linear probe on mean-pooled activations every
# latent's ablation has a closed form, so all are tested, in every fold of every repeat, with the fold's own frozen probe.
#
# **Rule, written before the test was opened.** *Needed*: the lower 95 % bound of the fall of AUROC is above 0 (bias-corrected
# bootstrap, paired, inside classes, families of people whole); its p is below 0.05 after correction for every set of
# its kind (step-down maxT: the largest standardised falls of the joint bootstrap) and for the four kinds (Bonferroni); the fall is
# beyond the 99th percentile of rate-matched latents (but those established already) and of directions dealt out at random; it has the same sign in 4 of 5 folds,
# and in the second cohort where there is one. *Necessary*: needed, and the fall is at least `bar`. *Strongly*: its lower bound is.
#
# **What is tested, four kinds.** Latents; families of latents, as 04 named them from sequence alone; redundancy groups, latents that
# move together over people; and closures, a family with the whole groups in which it moves most: where an allele breaks a SMAD site,
# the SMAD latents fall silent, others start, and all of them tell. A dictionary splits one motif over many latents, a
# position and a context each; then none is necessary alone, and what is needed is the block. Its name is the family's; what
# moves with it may not be. No phenotype is used to make a family, group or closure.
#
# **Warning.** With published effects, losing all of NOD2 costs 0.013 to 0.028 of AUROC. An arm without a necessary latent is an answer.
#
# Reads 01 to 04. Leaves `necessity.csv`, `totals.csv`, `modes.csv`, `sufficiency.csv`, `refits.csv`, `set_curves.csv`,
# `null_phenotypes.csv`, `planted.csv`, `rule.json`, `catalogue.csv` (plausible and faithful), `patching.csv`, `steering.csv`, `explanations.csv`,
# `agreement.csv`, `attributions.h5`, `replication_*.csv` (seeds, families, halves, layers, models), `decisions.md`.

# %% tags=["parameters"]
study = "demo"
model_path = "params/demo/model"  # the model of 01_extraction
truth_path = "simulated:truth/sites.csv"  # planted sites, to score explanations; "" on real data, where motif hits serve
truth_variants_path = "simulated:truth/variants.csv"  # causal variants and the motif each destroys; "" on real data
external_phenotype_path = "simulated:external_phenotype.csv"  # phenotype of 01's second cohort; "" for none
bar = 0.03                        # [0, 0.5] fall of AUROC from which a needed latent is called necessary
n_boot = 10000                    # [10, 1e6] bootstrap draws over people, shared by all latents of an arm
n_matched = 100                  # [1, 1e4] rate-matched latents, and random directions, for each latent
n_null = 20                       # [0, 1e4] phenotypes without any effect, each through the whole rule
least_moved = 21                  # [1, 1e6] a latent is tested if it is off its reference value in at least this many people
least_matched = 10               # [1, 1e4] rate-matched latents below which that null cannot speak
together = 0.35                   # [0, 1] mean |correlation| of activity over people at which latents are one redundancy group; chosen on the demo
n_claimed = 10                    # [1, 1000] latents of largest fall that are refitted without, steered and looked for elsewhere
patch_site = "resid_post.3"       # later site whose probe is read when the forward restarts from the cached layer
n_patch_units = 64                # [2, 1e5] haplotype windows patched
n_exact = 200                     # [2, 1e5] latents patched exactly, to check attribution patching
n_steer_units = 16                # [1, 1e4] windows steered
n_sequences = 100                 # [2, 1e5] reference windows on which explanations are compared
n_checked = 30                    # [1, 1e5] of these, the windows for deletion, insertion and the model of random weights
ism_span = 128                    # [1, 1e6] central bases of a window that are mutated in silico
ig_steps = 20                     # [1, 1e4] first number of steps of integrated gradients; doubled until it converges
hit_p = 1e-6                      # (0, 0.01] FIMO hits that serve as sites where no truth is planted
second_model_path = ""            # a second model for the comparison across models, with an SAE of its own; "" for none
second_sae_path = ""              # folder of that SAE (cfg.json, sae_weights.safetensors)
second_site = ""                  # its site
n_splits = 50                     # [1, 1e4] random halves of the cohort
n_tokens = 20000                  # [100, 1e9] tokens on which firing rates are counted, and bases on which two models are paired
seed = 0  # [0, 4e9] of all that is drawn at random

# %%

import numpy as np
import pandas as pd

from lib.acts import store
from lib.acts.pool import read_pooled
from lib.causal import ablation, attribution, explain, falls, necessity, patching, replication, rule, steering
from lib.causal.across import across_layers, across_models, debiased_cka, onto_bases
from lib.causal.sets import by_kind, set_change
from lib.corpus import corpus
from lib.dna import intervals, motifs
from lib.dna.people import read_cohort, read_phenotype
from lib.dna.phenotypes import simulate_phenotype
from lib.figures import style
from lib.models import adapter
from lib.outcome import probe, validate
from lib.sae import evaluate, format
from lib.stage import inputs, io, stops
from lib.stats import estimates

stage = io.open_stage(study, "05_validation")

# %%
settings = io.read_json(study, "02_layer_hunting", "settings.json")  # the probes are those of 02
chosen = io.read_json(study, "03_sae_training", "chosen.json")
training = io.stage_path(study, "03_sae_training", "chosen.json").parent
site = chosen["site"]
model = adapter.load(io.data_path(model_path), expect=io.read_json(study, "01_extraction", "model.json"))
sae = format.load(training / chosen["folder"], site, model.identity)
decoder = sae.W_dec.detach().numpy()
scores = io.read_csv(io.private_path(study, "02_layer_hunting", "scores.csv"))
alarms = io.read_table(study, "02_layer_hunting", "alarms")
arms = list(dict.fromkeys(c.split("/")[0] for c in scores.columns if "/" in c))
patching.check_order(model, site, patch_site)
phenotypes = {arm: scores[f"{arm}/phenotype"].to_numpy() for arm in arms}
families = scores.group.to_numpy() if scores.group.duplicated().any() else None  # people of one family are resampled together


def read_people(prefix=""):
    """Stored activations, the file of pooled ones, units, sequences, and the map from units to people and loci."""
    names = ("activations.h5", "pooled.h5", "units.csv", "sequences.txt", "cohort.h5")
    acts, pooled, units, texts, cohort_path = (io.private_path(study, "01_extraction", prefix + name) for name in names)
    units, (samples, _, carriers) = io.read_csv(units), read_cohort(cohort_path)
    locus_map, people, loci = corpus.person_locus_map(carriers, units)
    if people != samples:
        raise ValueError("people of carriers and of genotypes differ in order")
    return store.open_store(acts), pooled, units, texts.read_text().split(), locus_map, people, loci


acts, pooled_path, units, texts, locus_map, people, loci = read_people()
n_people = len(people)


def probed(where, y, n_repeats):
    """The probes of 02 at a site."""
    X = corpus.features(locus_map, n_people, read_pooled(pooled_path, [where])[0][:, 0])
    return validate.repeated(X, y, families, settings["n_folds"], n_repeats, settings["C_grid"], settings["seed"])


runs = {arm: probed(site, y, settings["n_repeats"]) for arm, y in phenotypes.items()}
for arm, run in runs.items():
    assert np.allclose(run.score[0], scores[f"{arm}/{site} 0"], atol=1e-4), "02_layer_hunting fitted another probe"

# %% [markdown]
# ## What each latent changes, haplotype by haplotype
#
# The counterfactual is the reference haplotype at the same token, found through coordinates, so that indels and BPE
# tokens line up. Most latents of most people are where the reference has them: they change nothing. Zero, the mean and
# another person's value are rows beside it; zero and the mean differ by a constant, so they rank people alike.

# %%
moved = ablation.change_at(sae, acts.acts[site], acts.tokens, units, locus_map, n_people)
movers = (moved != 0).any(1).sum(0)  # people in whom a latent is not what it is on the reference
moving = np.flatnonzero(movers >= least_moved)
f"{(movers > 0).sum()} of {len(decoder)} latents differ from the reference in somebody, {len(moving)} in at least {least_moved} people: these are tested"

# %% [markdown]
# ## Families and redundancy groups
#
# A **family** is made of the latents that 04 associates with it (best concept by validation F1, q below 0.05 on test
# chromosomes). **Redundancy groups**: mean absolute correlation of activity over people, inside loci, of at least `together`.

# %%
named = io.read_table(study, "04_annotation", "features")
sets = by_kind(moved, moving, named[named.q < 0.05].set_index("latent").family, together)
pd.Series({f"{kind}: sets": len(members) for kind, members in sets.items()} | {"latents in a family": sum(map(len, sets["family"].values()))})

# %% [markdown]
# ## The test
#
# Directions at random are the dictionary's own rows, dealt out anew so that nothing keeps its own: a stronger null than isotropic
# ones, most of whose length no probe reads. Rate-matched: of a latent, all latents within 10 % of its firing rate, at most
# `n_matched`; fewer than `least_matched` cannot speak, and the latent is not called needed. Of a set, sets of
# as many latents, each near a member in rate and norm; a set too large for its null cannot be tested. Nulls and the fall they bound are of the first repeat. Two steps for sets: those that
# pass with every latent as a possible control are established; their latents are then no controls for the others, or one
# cause would hide the next (`rate_matched_99_all` has the first step). All of it is `judge` of `lib/causal/rule.py`.

# %%
sampled = np.sort(np.random.default_rng(seed).choice(len(acts.tokens["unit"]), min(n_tokens, len(acts.tokens["unit"])), replace=False))
active = evaluate.latents_of(sae, acts.acts[site], sampled)
fired = np.asarray((active > 0).sum(0)).ravel()
rate = fired / len(sampled)
size = np.asarray(active.sum(0)).ravel() / np.maximum(fired, 1) * np.linalg.norm(decoder, axis=1)  # mean norm of f d when it fires
if external_phenotype_path:
    other = read_people("external_")
    if other[-1] != loci:
        raise ValueError(f"second cohort: loci {other[-1][:5]}..., wanted {loci[:5]}... in this order")
    other_y = read_phenotype(inputs.find(study, external_phenotype_path), other[5])
    other_X = corpus.features(other[4], len(other_y), read_pooled(other[1], [site])[0][:, 0])
    other_moved = ablation.change_at(sae, other[0].acts[site], other[0].tokens, other[2], other[4], len(other_y))


def final_probe(where, y):
    """The probe fitted on everybody here."""
    X = corpus.features(locus_map, n_people, read_pooled(pooled_path, [where])[0][:, 0])
    return probe.fit(X, y, probe.choose_C(X, y, settings["C_grid"], settings["seed"], families)[0])


def second_cohort(y):
    """The second cohort with the scores of the probe fitted on everybody here; None where there is none."""
    if not external_phenotype_path:
        return None
    frozen = final_probe(site, y)
    return rule.SecondCohort(other_y, frozen.score(other_X), frozen, other_moved)


# %%
limits = rule.Settings(bar, n_boot, n_matched, least_matched, seed=seed)
evidence = {arm: rule.Evidence(arm, y, families, runs[arm], moved, decoder, rate, size, sets, second_cohort(y)) for arm, y in phenotypes.items()}
necessary = necessity.verdicts([rule.judge(e, limits) for e in evidence.values()])
stage.write_table("necessity", necessary)
stage.write_json("rule.json", {"arms": arms, "bar": bar})  # for the figure
counts = necessary.groupby(["arm", "kind"], sort=False)[["needed", "necessary", "strongly_necessary"]].sum()
counts["tested"] = necessary.groupby(["arm", "kind"], sort=False).size()
counts["largest"] = necessary.groupby(["arm", "kind"], sort=False).delta.max().round(4)
counts

# %%
shown = ["arm", "kind", "name", "latents", "delta", "low", "high", "p_max_t", "rate_matched_99", "random_99", "same_sign", "share", "needed", "necessary"]
top = necessary.sort_values("delta", ascending=False).groupby(["arm", "kind"], sort=False).head(4)
top[shown].sort_values(["arm", "kind", "delta"], ascending=[True, True, False]).round(4)

# %% [markdown]
# ## What else the ablation could have been
#
# The same sets with other values of f*; what is left with every latent on its reference value (the dictionary's error, and what
# no latent holds); what a set alone still carries; and the probe fitted anew without it, which finds what is redundant.

# %%
modes = {mode: ablation.change_at(sae, acts.acts[site], acts.tokens, units, locus_map, n_people, mode, seed) for mode in ablation.MODES[1:]}
rows, totals, kept, refits, curves = [], [], [], [], []
whole = {arm: rule.whole(e, seed) for arm, e in evidence.items()}
for arm, y in phenotypes.items():
    run, mine = runs[arm], necessary[necessary.arm == arm]
    first = run.score[:1]
    everything = evidence[arm].change.sum(1, dtype=np.float64)
    left = validate.estimate(y, run.score + everything, 1000, seed, families)
    totals.append({"arm": arm, "auroc_full": whole[arm].value, "full_low": whole[arm].low, "full_high": whole[arm].high, "auroc_all_ablated": left.value, "low": left.low, "high": left.high, "n": left.n})
    best = {kind: mine[mine.kind == kind].nlargest(n_claimed, "delta").name.tolist() for kind in ("latent", "family", "closure")}
    for mode, by_person in modes.items():
        own = ablation.score_change(by_person, decoder, run.probes[0], run.folds[0])[None]
        for kind, names in best.items():
            fall = falls.deltas(y, first, set_change(own, [sets[kind][name] for name in names])) if names else []
            rows += [{"arm": arm, "mode": mode, "kind": kind, "name": name, "delta": d} for name, d in zip(names, fall, strict=True)]
    members = [sets["closure"][name] for name in best["closure"]]
    if members:
        kept.append(necessity.sufficiency(y, run.score, evidence[arm].change, members).assign(arm=arm, closure=best["closure"]))
    order = moving[np.argsort(-falls.deltas(y, run.score, evidence[arm].change[:, moving]), kind="stable")]
    curves.append(necessity.set_curve(y, run.score[:1], evidence[arm].change[:1], order, 20, seed=seed).assign(arm=arm))
    X = corpus.features(locus_map, n_people, read_pooled(pooled_path, [site])[0][:, 0])
    for kind in ("latent", "closure"):
        for name in best[kind][:3]:
            m = sets[kind][name]
            without = X + np.einsum("plm,md->pld", moved[:, :, m], decoder[m]).reshape(n_people, -1)
            again = validate.repeated(without, y, families, settings["n_folds"], 1, settings["C_grid"], settings["seed"])
            frozen = falls.deltas(y, first, set_change(evidence[arm].change[:1], [m]))[0]
            lost = validate.difference(y, first, again.score, 1000, seed, families)
            refits.append({"arm": arm, "kind": kind, "name": name, "frozen": frozen, "refit": lost.value, "low": lost.low, "high": lost.high, "n": lost.n})
totals, curves = pd.DataFrame(totals), pd.concat(curves)
modes_table = pd.DataFrame(rows, columns=["arm", "mode", "kind", "name", "delta"])
kept = pd.concat(kept) if kept else pd.DataFrame(columns=["n", "auroc_full", "auroc_none", "auroc", "recovered", "arm", "closure"])
refits = pd.DataFrame(refits, columns=["arm", "kind", "name", "frozen", "refit", "low", "high", "n"])
for name, table in {"totals": totals, "modes": modes_table, "sufficiency": kept, "refits": refits, "set_curves": curves}.items():
    stage.write_table(name, table)
print(totals.round(3).to_string(index=False), "\n", refits.round(4).to_string(index=False))
modes_table.pivot_table(index=["arm", "kind", "name"], columns="mode", values="delta", sort=False).round(4).groupby(["arm", "kind"], sort=False).head(2)

# %% [markdown]
# ## Phenotypes that nothing causes
#
# The whole rule on phenotypes simulated with every effect at 0, folds and strengths chosen anew. The controls are left
# out here, which can only let more through.

# %%
null = []
for i in range(n_null):
    y = simulate_phenotype(np.zeros((1, n_people)), np.zeros(1), 0.5, seed + 1000 + i).phenotype.to_numpy()
    run = probed(site, y, 1)
    own = ablation.repeated_change(moved, decoder, run.probes, run.folds)
    for kind, members in ((kind, members) for kind, members in sets.items() if members):
        table = necessity.measure(y, families, run.score, set_change(own, list(members.values())).astype(np.float32), run.folds, 1000, seed)
        table = necessity.verdict(table.assign(rate_matched_99=-1.0, n_rate_matched=0, random_99=-1.0), bar, None, settings["n_folds"], limits.alpha / len(sets))
        null.append({"draw": i, "kind": kind, "auroc": table.auroc_full[0], "largest": table.delta.max(), "needed": int(table.needed.sum()),
                     "necessary": int(table.necessary.sum()), "tested": len(table)})
null = pd.DataFrame(null, columns=["draw", "kind", "auroc", "largest", "needed", "necessary", "tested"])
stage.write_table("null_phenotypes", null)
null.groupby("kind", sort=False).agg(phenotypes=("draw", "size"), auroc=("auroc", "mean"), largest=("largest", "max"), needed=("needed", "sum"),
                                     necessary=("necessary", "sum"), tested=("tested", "sum")).round(4)

# %% [markdown]
# ## Verdicts
#
# Plausible and faithful are counted apart; `catalogue.csv` has both columns, the second for the first arm ("stopped", where an alarm or a no-go stops its claims). Where the truth is planted, a necessary family is
# right if the true sites that its latents read are of a causal motif.

# %%
alarmed, no_go = stops.of_arms(alarms), stops.of_dictionary(chosen)
stopped = {arm: stops.joined(alarmed[arm], no_go) for arm in arms}  # what is said here rests on the dictionary, but for rival explanations
needs = (f"the fall's lower bound is above 0, maxT p below {limits.alpha / len(sets):g}, beyond both nulls' 99th percentiles, and above 0 in four fifths of the folds"
         + (" and in the second cohort" if external_phenotype_path else ""))

for arm in arms:
    for kind in sets:
        mine = necessary[(necessary.arm == arm) & (necessary.kind == kind)]
        e, null_99, note = necessity.strongest(mine)
        stage.claim(f"[{arm}] some {kind} is needed", e.value, e.low, e.high, n_people, null_99, mine.needed.any(), note, of="people", rule=needs,
                    stopped=stopped[arm], because=necessity.untested(mine, kind))
    mine = necessary[(necessary.arm == arm) & (necessary.kind == "latent")]
    stage.claim(f"[{arm}] 25 latents are necessary, each with a fall of {bar} or more", int(mine.necessary.sum()), None, None, len(mine), 25, mine.necessary.sum() >= 25,
                "a count of latents", of="latents", rule="at least 25", stopped=stopped[arm], because=necessity.untested(mine, "latent"))
    total = totals[totals.arm == arm].iloc[0]
    most = 0.5 + (total.auroc_full - 0.5) / 4
    stage.claim(f"[{arm}] with every latent on its reference value three quarters of the prediction are gone", total.auroc_all_ablated, total.low, total.high, total.n,
                round(most, 4), total.full_low > 0.5 and total.high <= most, f"AUROC, of {total.auroc_full:.3f}; what is left is carried by the dictionary's error; "
                "null: three quarters of the way to 0.5", of="people", rule="the full AUROC's interval lies above 0.5, and the interval left at or below the null", stopped=stopped[arm])
    stage.headline(**{f"{arm} {kind} necessary": int(necessary[(necessary.arm == arm) & (necessary.kind == kind)].necessary.sum()) for kind in sets})
if n_null:
    wrong = null.groupby("draw")[["needed", "necessary"]].sum() > 0
    e = estimates.share(int(wrong.needed.sum()), len(wrong))
    stage.claim("phenotypes without effects in which anything is called needed", *e, 0.05, e.value <= 0.05,
                f"share of phenotypes; necessary in {int(wrong.necessary.sum())}; {int(null.tested.sum())} tests, controls left out; Wilson interval",
                of="phenotypes", rule="at most 0.05", stopped=no_go, because="" if e.n else "no set of latents can be tested")

# %%
if truth_variants_path:
    truth = io.read_csv(inputs.find(study, truth_variants_path))
    causal = set(truth.loc[truth.causal.astype(bool), "destroys_site"])
    read = io.read_table(study, "04_annotation", "associations")
    sites = read[(read.method == "SAE") & (read.kind == "true site") & (read.q < 0.05)].sort_values("f1_validation", ascending=False).drop_duplicates("latent")
    motif = sites.set_index("latent").concept.str.removeprefix("site ").str[:-2]
    scored = []
    for arm, kind in [(arms[0], kind) for kind in sets]:
        found = necessary[(necessary.arm == arm) & (necessary.kind == kind) & necessary.necessary]
        reads = {row["name"]: motif.reindex(sets[kind][row["name"]]).mode() for _, row in found.iterrows()}
        right = {name: set(m) for name, m in reads.items() if len(m) and set(m) <= causal}  # a tie with another motif is not right
        hit, n = sum(map(bool, right.values())), len(found)
        for what, k, of in (("recall", len(set().union(*right.values())) if right else 0, len(causal)), ("precision", hit, n)):
            scored.append({"arm": arm, "kind": kind, "score": what, **estimates.share(k, of)._asdict(), "k": k, "motifs": ", ".join(sorted(causal))})
    scored = pd.DataFrame(scored)[["arm", "kind", "score", "value", "low", "high", "k", "n", "motifs"]]
    inside = np.unique(np.concatenate([np.zeros(0, int), *(sets["closure"][name] for name in necessary.name[(necessary.arm == arms[0]) & (necessary.kind == "closure") & necessary.necessary])]))
    own_site = motif.reindex(inside).dropna()
    e = estimates.share(int(own_site.isin(causal).sum()), len(own_site))
    scored.loc[len(scored)] = [arms[0], "latents of necessary closures that read a true site", "precision", e.value, e.low, e.high,
                               int(own_site.isin(causal).sum()), e.n, ", ".join(sorted(causal))]
    stage.write_table("planted", scored)
    for row in scored[scored.kind == "closure"].itertuples():
        stage.claim(f"[{row.arm}] {row.score} of planted causal motifs among necessary closures is at least 0.8", row.value, row.low, row.high, row.n, 0.8, row.value >= 0.8,
                    f"{row.k} of {row.n}, Wilson interval; causal: {row.motifs}; the demo's motifs and `together` were chosen on its seed 0, demo-1 is another seed",
                    of="motifs" if row.score == "recall" else "sets", rule="at least 0.8", stopped=stopped[row.arm],
                    because="" if row.n else "no closure is necessary" if row.score == "precision" else "no motif is causal")
    latents = necessary[(necessary.arm == arms[0]) & (necessary.kind == "latent")].assign(latent=lambda t: t.name.astype(int)).merge(
        motif.rename("motif").reset_index(), on="latent")
    match = ablation.causal_match(latents.delta.to_numpy(), latents.motif.to_numpy(), sorted(causal), 1000, seed)
    stage.claim(f"[{arms[0]}] ablating latents of causal motifs costs more than ablating latents of other motifs", match["auroc"], None, None, match["n"],
                round(match["null_95"], 4), match["p"] <= 0.05, f"AUROC of the fall; null: 95 % of motifs dealt out anew, p {match['p']:.3f}", of="latents",
                rule="permutation p at most 0.05", stopped=stopped[arms[0]],
                because="" if np.isfinite(match["auroc"]) else "latents of causal motifs, or of others, are missing among those tested")
    print(scored.round(3).to_string(index=False))

# %%
grades = rule.grades(necessary[necessary.arm == arms[0]], sets, len(decoder))
catalogue = named.assign(faithful=grades.mask(grades != "", "stopped") if stopped[arms[0]] else grades)
own = necessary[(necessary.arm == arms[0]) & (necessary.kind == "latent")].assign(latent=lambda t: t.name.astype(int))
catalogue = catalogue.merge(own[["latent", "delta", "low", "high", "p_max_t"]].rename(columns={"low": "delta_low", "high": "delta_high"}), on="latent", how="left")
stage.write_table("catalogue", catalogue)
pd.crosstab(catalogue.plausible, catalogue.faithful.replace("", "no evidence"))

# %% [markdown]
# ## A probe further on: patching from the cached layer
#
# The closed form needs a probe on the dictionary's own site. Where the probe reads a later site, the forward restarts
# from the stored layer. Attribution patching screens all latents at once; it is used only if it ranks the top latents
# as exact patching does (Spearman at least 0.8).

# %%
arm = arms[0]
y = phenotypes[arm]
locus_of = {name: i for i, name in enumerate(loci)}
weight = final_probe(patch_site, y).coef.reshape(len(loci), -1)
pool = units[~units.is_reference].sample(min(n_patch_units, int((~units.is_reference).sum())), random_state=seed)
windows = pool.window if len(pool) else units.window.head(n_patch_units)  # where nobody differs from the reference, it alone
part = pd.concat([pool, units[units.is_reference & units.window.isin(windows)]]).sort_values("unit")
clean = patching.run_clean(model, [texts[u] for u in part.unit], site)
renumbered = part.assign(unit=np.arange(len(part)))
tokens = {"unit": np.repeat(renumbered.unit, part.n_tokens).to_numpy(),
          "ref_start": np.concatenate([acts.tokens["ref_start"][acts.tokens["unit"] == u] for u in part.unit])}
target = patching.reference_target(tokens, renumbered)
w = weight[part.locus.map(locus_of)]
attributed, _ = patching.attribution_change(model, sae, clean, patch_site, w, target)
chosen_latents = patching.top_latents(attributed, n_exact)
exact = patching.exact_change(model, sae, clean, patch_site, w, chosen_latents, target)
check = patching.check(attributed[:, chosen_latents], exact, seed=seed)
patched = pd.DataFrame({"latent": chosen_latents, "attribution": attributed[:, chosen_latents].mean(0), "exact": exact.mean(0)})
stage.write_table("patching", patched.merge(named[["latent", "concept", "family"]], on="latent", how="left"))
stage.claim(f"[{arm}] attribution patching ranks latents as exact patching does", *check.spearman, 0.8, check.trusted,
            f"Spearman over the {len(chosen_latents)} latents of largest attribution, {len(part)} windows, probe at {patch_site}; bootstrap over latents",
            of="latents", rule="Spearman at least 0.8", stopped=stopped[arm],
            because="" if check.spearman.n > 2 else f"{check.spearman.n} latents are attributed anything, too few to rank")
check

# %% [markdown]
# ## Steering
#
# The other way round: push every token along a latent's decoder row, from -8 to 8 of its standard deviations, and read the
# score. Controls of equal norm: random directions, and the rows of other latents. Doses that take the tokens' norm beyond
# its clean 99th percentile do not count; collateral is the divergence of the model's own output.

# %%
steered = necessary[(necessary.arm == arm) & (necessary.kind == "latent")].nlargest(n_claimed, "delta").name.astype(int).to_numpy()
few = part[part.is_reference].head(n_steer_units)
still = patching.run_clean(model, [texts[u] for u in few.unit], site)
sd = steering.latent_sd(sae, clean.acts)
steered = steered[sd[steered] > 0]
doses = steering.steer(model, sae, still, patch_site, weight[few.locus.map(locus_of)], steered, sd, n_controls=5, seed=seed)
stage.write_table("steering_doses", doses.groupby(["latent", "direction", "draw", "eps"], as_index=False)[["change", "kl", "norm", "beyond"]].mean())
response = steering.summarise(doses)
stage.write_table("steering", response)
steep = steering.against_controls(response)
e = estimates.share(int(steep.over.sum()), len(steep))
stage.claim(f"[{arm}] steering a latent of large fall moves the score more than every control of equal norm", *e, 1 / 11, e.low > 1 / 11,
            f"share of latents whose slope beats 5 random and 5 other rows; probe at {patch_site}; Wilson interval, latents not independent; by chance 1 in 11",
            of="latents", rule="the interval lies above 1 in 11", stopped=stopped[arm], because="" if e.n else "no latent tested varies on these windows")
steep.round(4)

# %%
figure, axes = style.axes(1, 2, height=2.1)
for _, group in doses[doses.latent.isin(steered[:3])].groupby("latent", sort=False):
    for direction, colour in (("shuffled decoder", "0.8"), ("random", "0.6"), ("latent", style.COLOURS["SAE"])):
        for _, draw in group[group.direction == direction].groupby("draw"):
            mean = draw.groupby("eps")[["change", "kl"]].mean()
            for ax, column in zip(axes, ("change", "kl"), strict=True):
                ax.plot(mean.index, mean[column], color=colour, lw=1.2 if direction == "latent" else 0.5, zorder=2 if direction == "latent" else 1)
axes[0].set(xlabel="dose (sd of the latent)", ylabel="change of score (log odds)")
axes[1].set(xlabel="dose (sd of the latent)", ylabel="collateral (nats per token)");

# %% [markdown]
# **Reading.** Blue: the three latents of largest fall; grey: random directions and other latents' rows of equal norm. A
# straight blue line steeper than the grey ones is a direction that the probe reads; collateral says what else it moved.
#
# ## Explanations compared
#
# Same windows, same score (a window's pull on the prediction), same bases, same seqlet caller: in-silico mutagenesis (exact),
# integrated gradients, the latents' own contributions, and attention rollout, which does not know the score. A
# method is worth something if it points at sites, if deleting what it names moves the score, and if it says
# something else on a model of random weights.

# %%
weights = final_probe(site, y).coef.reshape(len(loci), -1)
candidates = units[units.is_reference & ~pd.Series(texts).str.contains("N").to_numpy()]
picked = candidates.sample(min(n_sequences, len(candidates)), random_state=seed)
sequences = [texts[u] for u in picked.unit]


def explained_by(model, sequences, windows):
    scorers = [attribution.WindowScore(model, site, weights[locus_of[locus]]) for locus in windows.locus]
    found = [attribution.mutagenesis(scorers, sequences, ism_span), attribution.integrated_gradients(scorers, sequences, ig_steps),
             attribution.latent_attribution(scorers, sequences, sae)]
    try:
        return scorers, [*found, attribution.attention_rollout(scorers, sequences)], ""
    except NotImplementedError as error:  # a model without attention
        return scorers, found, str(error)


scorers, explained, no_attention = explained_by(model, sequences, picked)
untrained = adapter.load(io.data_path(model_path), random_init=True, seed=seed)
_, twins, _ = explained_by(untrained, sequences[:n_checked], picked.head(n_checked))
attribution.write(stage.path("attributions.h5"), explained, {"site": site, "arm": arm, "sequences": str(len(sequences))})
stage.write_table("attribution_windows", picked[["contig", "start", "end", "locus"]])
print({a.method: f"{a.seconds:.1f} s" for a in explained})

# %%
if truth_path:
    sites_table, what = io.read_csv(inputs.find(study, truth_path)), "true sites"
else:
    sites_table, what = intervals.motif_hits(picked, sequences, motifs.vertebrate_motifs(), hit_p), f"JASPAR hits at p <= {hit_p}"
explanations = explain.compare(explained, twins, scorers, sequences, picked, sites_table, 1000, 1000, seed)
agreement = explain.agreement(explained, 1000, seed)
stage.write_table("explanations", explanations.drop(columns="seconds"))
stage.write_table("timings", explanations[["method", "seconds"]].assign(windows=len(sequences), bases=ism_span))
stage.write_table("agreement", agreement)
for row in explanations.itertuples():
    stop = stopped[arm] if row.method == "SAE latents" else alarmed[arm]  # the others read model and probe alone
    stage.claim(f"[{arm}] {row.method} is larger inside sites than outside", row.auroc, row.low, row.high, row.n, round(row.null_95, 4), row.low > 0.5 and row.p <= 0.0125,
                f"{what}; AUROC of |value| per base, mean over windows; bootstrap over windows; null: 95 % of site masks rolled inside their window, "
                f"p {row.p:.4f}, four methods (Bonferroni)", of="windows", rule="the interval lies above 0.5, and p is at most 0.0125", stopped=stop,
                because="" if row.n else "no window explained is part site, part not")
    stage.claim(f"[{arm}] deleting what {row.method} names moves the score faster than a random order", row.deletion, row.deletion_low, row.deletion_high,
                len(twins[0].values), 0.0, row.deletion_low > 0, "area between the curves, in units of the whole replacement; bootstrap over windows; one of "
                "four methods, not corrected", of="windows", rule="the interval lies above 0", stopped=stop)
if no_attention:
    stage.claim(f"[{arm}] attention rollout is larger inside sites than outside", None, None, None, 0, None, False, of="windows",
                rule="the interval lies above 0.5, and p is at most 0.0125", stopped=alarmed[arm], because=no_attention)
explanations.set_index("method").T.round(3)

# %%
figure, axes = style.axes(1, 3, height=2.2, sharey=True)
for ax, (value, low, high, chance, title) in zip(axes, [("auroc", "low", "high", "null", f"AUROC, {what}"), ("deletion", "deletion_low", "deletion_high", None, "deletion area"),
                                                      ("sanity", "sanity_low", "sanity_high", "sanity_null", "|rank r| with random weights")], strict=True):
    for i, row in explanations.iterrows():
        ax.errorbar(row[value], i, xerr=[[row[value] - row[low]], [row[high] - row[value]]], fmt="o", color=style.COLOURS.get(row.method, style.COLOURS["SAE"]), capsize=2)
        if chance:
            ax.plot(row[chance], i, "|", color="0.3", ms=9)
    ax.set(xlabel=title)
axes[0].set_yticks(range(len(explanations)), explanations.method)
axes[0].invert_yaxis()
agreement.round(3)

# %% [markdown]
# **Reading.** Dots with 95 % bootstrap intervals over windows; upright bars: the null. Right of the bar in the left panel
# points at sites; right of 0 in the middle names bases that the score depends on; near the bar on the right depends on what
# the model has learnt.
#
# ## Does it come again?
#
# In other seeds of the dictionary (matched one to one on decoder and encoder, cosine at least 0.7, and with its fall), in the
# halves of the cohort, at other layers, and in another model. The latents asked about are those of the largest fall.

# %%
claimed = necessary[(necessary.arm == arm) & (necessary.kind == "latent")].nlargest(n_claimed, "delta").name.astype(int).to_numpy()
run = runs[arm]


def falls(other_sae, where, fitted):
    by_person = ablation.change_at(other_sae, acts.acts[where], acts.tokens, units, locus_map, n_people)
    mine = ablation.repeated_change(by_person, other_sae.W_dec.detach().numpy(), fitted.probes[:1], fitted.folds[:1])
    return mine, necessity.measure(y, families, fitted.score[:1], mine, fitted.folds[:1], 2000, seed)


seeds = {name: format.load(training / folder, site, model.identity) for name, folder in chosen["seeds"].items()}
tables = {name: falls(other, site, run) for name, other in seeds.items()}
first, *others = seeds
replicated = pd.DataFrame()
again_rule = "the interval lies above the share with permuted decoders"
if not others:
    stage.claim(f"[{arm}] latents of largest fall come again in other seeds, with their fall, more often than by chance", None, None, None, 0, None, False,
                of="latents", rule=again_rule, stopped=stopped[arm], because="03 trained one seed")
else:
    matches = [replication.partners(sae, seeds[name]) for name in others]
    by_chance = [replication.partners(sae, seeds[name], permuted=seed) for name in others]
    measured = [tables[name][1] for name in seeds]
    replicated = replication.with_effect(claimed, [t.delta.to_numpy() for t in measured], [t.low.to_numpy() for t in measured], matches, by_chance, seed=seed)
    stage.write_table("replication_seeds", replicated)
    e, by_luck = estimates.share(int(replicated.replicated.sum()), len(replicated)), float(replicated.null_permuted.mean())
    stage.claim(f"[{arm}] latents of largest fall come again in two thirds of {len(seeds)} seeds, with their fall, more often than by chance", *e, round(by_luck, 4),
                e.low > by_luck, "share; Wilson interval; null: permuted decoders", of="latents", rule=again_rule, stopped=stopped[arm],
                because="" if e.n else "no latent can be tested")
asked = necessary[(necessary.arm == arm) & (necessary.kind == "closure") & necessary.necessary]
closures_again = f"[{arm}] necessary closures cost {bar} or more in every further seed too, with its own dictionary and names"
if asked.empty or not others:
    stage.claim(closures_again, None, None, None, 0, 1.0, False, of="pairs", rule="all of them", stopped=stopped[arm],
                because="no closure is necessary" if others else "03 trained one seed")
else:
    seed_latents = io.read_table(study, "04_annotation", "seed_latents")
    rows = [asked.rename(columns={"name": "family"}).assign(seed=first)]
    for name in others:
        by_person = ablation.change_at(seeds[name], acts.acts[site], acts.tokens, units, locus_map, n_people)
        tested = np.flatnonzero((by_person != 0).any(1).sum(0) >= least_moved)
        of_seed = seed_latents[(seed_latents.seed == name) & (seed_latents.q < 0.05)].set_index("latent").family
        found = by_kind(by_person, tested, of_seed, together)["closure"]
        if found:
            table = necessity.measure(y, families, run.score[:1], set_change(tables[name][0], list(found.values())).astype(np.float32), run.folds[:1], 2000, seed)
            rows.append(table.assign(family=list(found), seed=name, latents=[len(m) for m in found.values()]))
    again = pd.concat(rows)
    again = again[again.family.isin(asked.name)]
    stage.write_table("replication_families", again[["family", "seed", "latents", "delta", "low", "high", "p_max_t"]])
    seen = again[(again.seed != first) & (again.low > 0) & (again.delta >= bar)].groupby("family").seed.nunique().reindex(asked.name, fill_value=0)
    e = estimates.share(int(seen.sum()), len(seen) * len(others))
    stage.claim(closures_again, *e, 1.0, e.value == 1,
                "share of closures and seeds with that fall and a lower bound above 0: "
                + "; ".join(f"{name}: {k} of {len(others)}" for name, k in seen.items()) + "; Wilson interval", of="pairs", rule="all of them", stopped=stopped[arm])
    print(again[["family", "seed", "latents", "delta", "low", "high"]].round(4).to_string(index=False))
halves = replication.split_half(y, run.score[0], evidence[arm].change[0], families, n_splits, seed, claimed)
stage.write_table("replication_halves", halves)
half = halves[halves.latent < 0].set_index("measure")
ranked = half.loc["rank_correlation"]
stage.claim(f"[{arm}] falls rank alike in two halves of the cohort", ranked.value, ranked.low, ranked.high, int(ranked.n), 0.0, ranked.low > 0,
            f"Spearman over latents, central 95 % of {n_splits} splits; Pearson, which the few large ones carry, gives {half.value['spearman_brown']:.2f} "
            f"(Spearman-Brown); of the largest in one half {half.value.get('carried', np.nan):.2f} fall in the other", of="latents",
            rule="the central 95 % of splits lies above 0", stopped=stopped[arm], because="" if ranked.n > 1 else "fewer than two latents move anybody")
print(half.round(3).to_string())
replicated.round(4)

# %%
layers = {}
for where, there in chosen["layers"].items():
    fitted = run if where == site else probed(where, y, 1)
    other = sae if where == site else format.load(training / there["sae"], where, model.identity)
    fires = np.asarray((evaluate.latents_of(other, acts.acts[where], sampled) > 0).mean(0)).ravel()
    mine, table = falls(other, where, fitted)
    layers[where] = mine[0], table.delta.to_numpy(), fires
if len(layers) > 1:
    across = across_layers(*({where: part[i] for where, part in layers.items()} for i in range(3)), {site: claimed}, seed=seed)
    stage.write_table("replication_layers", across)
    print(across.groupby("other_site")[["correlation", "null_95", "peers", "partner_delta"]].mean().round(3).to_string())

# %% [markdown]
# Another model: the same units, latents spread from tokens to bases, paired one to one on one half of the bases and
# measured on the other, against 1,000 random pairings. The twin of random weights is the floor; a second model is compared if
# the parameters name one.

# %%
background = io.stage_path(study, "01_extraction", "sequences.txt").read_text().split()
shared = np.random.default_rng(seed).permutation(len(background))[: max(8, n_tokens // max(1, len(background[0])))]


def on_bases(model, sae, where):
    """Latents and activations of the shared units, with each token's place on one axis of bases."""
    clean = patching.run_clean(model, [background[u] for u in shared], where)
    offset = np.concatenate([[0], np.cumsum([len(background[u]) for u in shared])])
    spans = np.concatenate([np.stack([e.start[e.keep], e.end[e.keep]], 1) + o for e, o in zip(clean.encoded, offset, strict=False)])
    x = clean.acts.numpy()
    return evaluate.latents_of(sae, x, np.arange(len(x))), x, spans, int(offset[-1])


others = {"twin of random weights": (untrained, format.load(training / "twin", site, untrained.identity), site)}
if second_model_path:
    second = adapter.load(io.data_path(second_model_path))
    others[second_model_path.rsplit("/", 1)[-1]] = second, format.load(io.data_path(second_sae_path), second_site, second.identity), second_site
ours, x, spans, n_bases = on_bases(model, sae, site)
rows = []
for name, (other, other_sae, where) in others.items():
    theirs, other_x, other_spans, _ = on_bases(other, other_sae, where)
    _, summary = across_models(ours, spans, theirs, other_spans, n_bases, 1000, seed)
    (a, covered_a), (b, covered_b) = onto_bases(x, spans, n_bases), onto_bases(other_x, other_spans, n_bases)
    both = np.flatnonzero(covered_a & covered_b)[:5000]
    rows.append({"model": name, "cka": debiased_cka(a[both].toarray(), b[both].toarray()), "n_bases": len(both)} | summary)
models = pd.DataFrame(rows)
stage.write_table("replication_models", models)
models.round(3)

# %% [markdown]
# ## What the prediction needs

# %%
figure, axes = style.panels(len(arms), 2.3, sharey=True)
for ax, arm in zip(axes, arms, strict=True):
    at = 0
    for kind, colour in (("latent", "SAE"), ("family", "gated"), ("closure", "jumprelu")):
        mine = necessary[(necessary.arm == arm) & (necessary.kind == kind)].nlargest(8, "delta")
        place = at + np.arange(len(mine))
        style.intervals(ax, mine.assign(value=mine.delta, at=place), "at", style.COLOURS[colour], kind)
        ax.plot(place, mine[["rate_matched_99", "random_99"]].max(axis=1), "_", color="0.3", ms=6)
        at += len(mine) + 2
    ax.axhline(bar, color="0.4", lw=0.6, ls=":")
    ax.axhline(0, color="0.8", lw=0.6)
    ax.set(xticks=[], title=arm)
axes[0].set_ylabel("fall of AUROC")
axes[0].legend(loc="upper left");

# %% [markdown]
# **Reading.** The eight of largest fall of each kind; bars 95 % BCa interval over people; ticks: the larger of the
# two nulls; dotted: the bar of *necessary*. Latents below the line with a closure above it: a block of latents that move
# together is needed, and no single one. That the block bears a family's name does not show that its other members read the motif.

# %%
sound = necessary[necessary.necessary & ~necessary.arm.isin([arm for arm in arms if stopped[arm]])]
lines = [f"# Decision: {'something is necessary' if len(sound) else 'nothing is necessary'} at a fall of {bar}, in the arms that nothing stops", "",
         "Written by 05_validation from `necessity.csv`; the rule is in the notebook.", "",
         "| arm | AUROC | kind | tested | needed | necessary | strongly | largest fall (95 %) |", "|---|---|---|---|---|---|---|---|"]
for (arm, kind), mine in necessary.groupby(["arm", "kind"], sort=False):
    best = mine.loc[mine.delta.idxmax()]
    lines.append(f"| {arm} | {best.auroc_full:.3f} | {kind} | {len(mine)} | {mine.needed.sum()} | {mine.necessary.sum()} | {mine.strongly_necessary.sum()} | "
                 f"{best['name']} {best.delta:.4f} ({best.low:.4f} to {best.high:.4f}) |")
lines += ["", *[f"- {arm}: {'claims stopped by ' + stopped[arm] if stopped[arm] else 'no alarm fired'}" for arm in arms]]
if n_null:
    lines.append(f"- {n_null} phenotypes without effects: {int(null.necessary.sum())} necessary, {int(null.needed.sum())} needed of {int(null.tested.sum())} tests")
stage.write_text("decisions.md", "\n".join(lines) + "\n")
stage.finish()
