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
# **Question.** A latent that looks like a concept is plausible. Is it *needed*: does the prediction of unseen subjects fall
# when the latent, and only the latent, is set to what it is on the reference?
#
# Ablation keeps the dictionary's error: x' = x + sum (f* - f) d. With a linear probe on mean-pooled activations every
# latent's ablation has a closed form, so all are tested, in every fold of every repeat, with the fold's own frozen probe.
#
# **Rule, written before the test was opened.** *Needed*: the lower 95 % bound of the fall of AUROC is above 0 (bias-corrected
# bootstrap, paired, inside classes, groups of subjects whole); its p is below 0.05 after correction for every set of
# its kind (step-down maxT: the largest standardised falls of the joint bootstrap) and for the four kinds (Bonferroni); the fall is
# beyond the 99th percentile of rate-matched latents (but those established already) and of directions dealt out at random; it has the same
# sign in 4 of 5 folds, and in the second cohort where there is one. *Necessary*: needed, and the fall is at
# least `bar`. *Strongly*: its lower bound is.
#
# **What is tested, four kinds.** Latents; families of latents, as 04 named them from records alone; redundancy groups, latents that
# move together over subjects; and closures, a family with the whole groups in which it moves most: where a change breaks what the
# family reads, its latents fall silent, others start, and all of them tell. A dictionary splits one concept over many latents, a
# position and a context each; then none is necessary alone, and what is needed is the block. Its name is the family's; what
# moves with it may not be. No target is used to make a family, group or closure.
#
# **Warning.** Real effects cost little (of DNA: losing all of NOD2, 0.013 to 0.028 of AUROC in IBD). A target without a necessary latent is
# an answer.
#
# Reads 00 to 04. Leaves `necessity.csv`, `totals.csv`, `modes.csv`, `sufficiency.csv`, `refits.csv`, `set_curves.csv`,
# `null_phenotypes.csv`, `rule.json`, `settings.json`, `catalogue.csv` (plausible and faithful), `decisions.md`; for `06_explanations` and
# `07_replication`, under `private/`, `kept.h5`: what each latent changes, and every probe fitted here.

# %% tags=["parameters"]
study = "demo"
bar = 0.03                        # [0, 0.5] fall of AUROC from which a needed latent is called necessary
n_boot = 10000                    # [10, 1e6] bootstrap draws over subjects, shared by all latents of an arm
n_matched = 100                  # [1, 1e4] rate-matched latents, and random directions, for each latent
n_null = 20                       # [0, 1e4] targets without any effect, each through the whole rule
least_moved = 21                  # [1, 1e6] a latent is tested if it is off its reference value in at least this many subjects
least_matched = 10               # [1, 1e4] rate-matched latents below which that null cannot speak
together = 0.35                   # [0, 1] mean |correlation| of activity over subjects at which latents are one group; chosen on the demo
n_claimed = 10                    # [1, 1000] latents of largest fall: refitted without here, steered in 06, looked for elsewhere in 07
n_tokens = 20000                  # [100, 1e9] tokens on which firing rates are counted
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.causal import ablation, beside, kept, necessity, rule
from lib.causal import sets as latent_sets
from lib.causal import subjects as stored
from lib.corpus import corpus as corpora
from lib.figures import causal, style
from lib.outcome import null, probe, validate
from lib.sae import evaluate, format
from lib.stage import io, stops
from lib.stats import estimates

stage = io.open_stage(study, "05_validation")

# %%
corpus = corpora.load(study)
words = corpus.words
settings = io.read_json(study, "02_layer_hunting", "settings.json")  # the probes are those of 02
chosen = io.read_json(study, "03_sae_training", "chosen.json")
site = chosen["site"]
folder = io.stage_path(study, "03_sae_training", chosen["folder"])
sae = format.load(folder, site, io.read_json(study, "01_extraction", "model.json"))
decoder = sae.W_dec.detach().numpy()
scores = io.read_csv(io.private_path(study, "02_layer_hunting", "scores.csv"))
alarms = io.read_table(study, "02_layer_hunting", "alarms")
arms = list(dict.fromkeys(c.split("/")[0] for c in scores.columns if "/" in c))
targets = {arm: scores[f"{arm}/phenotype"].to_numpy() for arm in arms}
families = scores.group.to_numpy() if scores.group.duplicated().any() else None  # subjects of one group are resampled together
subjects = stored.read(corpus)
n_subjects = len(subjects.readout.subjects)
X = subjects.features(site)


def probed(X, y, n_repeats):
    """The probes of 02."""
    return validate.repeated(X, y, families, settings["n_folds"], n_repeats, settings["C_grid"], settings["seed"])


# %%
runs = {arm: probed(X, y, settings["n_repeats"]) for arm, y in targets.items()}
final = {arm: probe.final(X, y, settings["C_grid"], settings["seed"], families) for arm, y in targets.items()}
for arm, run in runs.items():
    assert np.allclose(run.score[0], scores[f"{arm}/{site} 0"], atol=1e-4), "02_layer_hunting fitted another probe"

# %% [markdown]
# ## What each latent changes, unit by unit
#
# The counterfactual is the reference at the same token, found through coordinates, so that insertions and long
# tokens line up. Most latents of most subjects are where the reference has them: they change nothing. Zero, the mean and
# another subject's value are rows beside it; zero and the mean differ by a constant, so they rank subjects alike.

# %%
moved = subjects.changes(sae, site)
movers = (moved != 0).any(1).sum(0)  # subjects in whom a latent is not what it is on the reference
moving = latent_sets.moving(moved, least_moved)
(f"{(movers > 0).sum()} of {len(decoder)} latents differ from the reference in somebody, "
 f"{len(moving)} in at least {least_moved} {words['subjects']}: these are tested")

# %% [markdown]
# What 06 and 07 read instead of fitting it again: the changes, the target of each arm, its probes of every repeat and fold with
# their scores, and its probe fitted on everybody.

# %%
every = {arm: kept.Arm(y, runs[arm], final[arm]) for arm, y in targets.items()}
kept.write(stage.private_path("kept.h5"), kept.Kept(site, moved, families, every))
stage.write_json("settings.json", {"bar": bar, "least_moved": least_moved, "together": together, "n_claimed": n_claimed});

# %% [markdown]
# ## Families and redundancy groups
#
# A **family** is made of the latents that 04 associates with it (best concept by validation F1, q below 0.05 on the
# test split). **Redundancy groups**: mean absolute correlation of activity over subjects, inside parts, of at least `together`.

# %%
named = io.read_table(study, "04_annotation", "features")
sets = latent_sets.by_kind(moved, moving, named[named.q < 0.05].set_index("latent").family, together)
n_sets = {f"{kind}: sets": len(members) for kind, members in sets.items()}
pd.Series(n_sets | {"latents in a family": sum(map(len, sets["family"].values()))})

# %% [markdown]
# ## The test
#
# Directions at random are the dictionary's own rows, dealt out anew so that nothing keeps its own: a stronger null than isotropic
# ones, most of whose length no probe reads. Rate-matched: of a latent, all latents within 10 % of its firing rate, at most
# `n_matched`; fewer than `least_matched` cannot speak, and the latent is not called needed. Of a set, sets of
# as many latents, each near a member in rate and norm; a set too large for its null cannot be tested. Nulls and the fall they bound
# are of the first repeat. Two steps for sets: those that pass with every latent as a possible control are established; their latents are
# then no controls for the others, or one cause would hide the next (`rate_matched_99_all` has the first step). All of it is `judge` of
# `lib/causal/rule.py`.

# %%
n_stored = len(subjects.acts.tokens["unit"])
sampled = np.sort(np.random.default_rng(seed).choice(n_stored, min(n_tokens, n_stored), replace=False))
active = evaluate.latents_of(sae, subjects.acts.acts[site], sampled)
rate, size = latent_sets.rate_and_norm(active, decoder)

# %%
second = dict.fromkeys(arms)  # the second cohort under the probe fitted on everybody here, where there is one
if corpus.second_targets:
    other, other_y = stored.read(corpus, corpora.SECOND), corpus.subjects(corpora.SECOND)
    if other.readout.parts != subjects.readout.parts:
        raise ValueError(f"second cohort: {other.readout.parts[:5]}..., wanted {subjects.readout.parts[:5]}... in this order")
    other_X, other_moved = other.features(site), other.changes(sae, site)
    second = {arm: rule.SecondCohort(other_y[arm].to_numpy(), frozen.score(other_X), frozen, other_moved) for arm, frozen in final.items()}

# %%
limits = rule.Settings(bar, n_boot, n_matched, least_matched, seed=seed)
evidence = {arm: rule.Evidence(arm, y, families, runs[arm], moved, decoder, rate, size, sets, second[arm]) for arm, y in targets.items()}
necessary = necessity.verdicts([rule.judge(e, limits) for e in evidence.values()])
stage.write_table("necessity", necessary)
stage.write_json("rule.json", {"arms": arms, "bar": bar})  # for the figure
counts = necessary.groupby(["arm", "kind"], sort=False)[["needed", "necessary", "strongly_necessary"]].sum()
counts["tested"] = necessary.groupby(["arm", "kind"], sort=False).size()
counts["largest"] = necessary.groupby(["arm", "kind"], sort=False).delta.max().round(4)
counts

# %%
shown = ["arm", "kind", "name", "latents", "delta", "low", "high", "p_max_t", "rate_matched_99", "random_99", "same_sign", "share"]
shown += ["needed", "necessary"]
top = necessary.sort_values("delta", ascending=False).groupby(["arm", "kind"], sort=False).head(4)
top[shown].sort_values(["arm", "kind", "delta"], ascending=[True, True, False]).round(4)

# %% [markdown]
# ## What else the ablation could have been
#
# The same sets with other values of f*; what is left with every latent on its reference value (the dictionary's error, and what
# no latent holds); what a set alone still carries; and the probe fitted anew without it, which finds what is redundant.

# %%
modes = {mode: subjects.changes(sae, site, mode, seed) for mode in ablation.MODES[1:]}
of_arm = {arm: necessary[necessary.arm == arm] for arm in arms}
largest = {arm: {kind: beside.largest(of_arm[arm], kind, n_claimed) for kind in ("latent", "family", "closure")} for arm in arms}
totals = pd.DataFrame([beside.total(e, seed) for e in evidence.values()])
modes_table = beside.stacked([beside.by_mode(e, modes, largest[arm]) for arm, e in evidence.items()])
alone = beside.stacked([beside.sufficiency(e, largest[arm]["closure"]) for arm, e in evidence.items()])
curves = beside.stacked([beside.set_curve(e, moving, 20, seed) for e in evidence.values()])
first = {arm: {kind: names[kind][:3] for kind in ("latent", "closure")} for arm, names in largest.items()}
again = [beside.refits(e, X, lambda Z, arm=arm: probed(Z, targets[arm], 1), first[arm], seed) for arm, e in evidence.items()]
refits = beside.stacked(again)
for name, table in {"totals": totals, "modes": modes_table, "sufficiency": alone, "refits": refits, "set_curves": curves}.items():
    stage.write_table(name, table)
print(totals.round(3).to_string(index=False), "\n", refits.round(4).to_string(index=False))
wide = modes_table.pivot_table(index=["arm", "kind", "name"], columns="mode", values="delta", sort=False).round(4)
wide.groupby(["arm", "kind"], sort=False).head(2)

# %% [markdown]
# **Reading.** First, AUROC in full and with every latent on its reference value. Then the refits: `frozen` is the fall under the probes
# as they are, `refit` what a probe loses that is fitted anew without the set. A small `refit` beside a large `frozen`: other features
# carry the same. Last, the falls with other values of f*, of the first repeat as the refits are.
#
# Not shown: `sufficiency.csv` has the AUROC with one closure kept and all else ablated; `recovered` is the share of the whole fall
# that it saves. `set_curves.csv` has the AUROC after the first k latents are ablated, largest fall first, beside 20 random orders
# (95 % band). That order comes from the same falls: the curve describes, and tests nothing.

# %% [markdown]
# ## Targets that nothing causes
#
# The whole rule on targets simulated with every effect at 0, folds and strengths chosen anew. The controls are left
# out here, which can only let more through.

# %%
tables, like = [], evidence[arms[0]]
for i in range(n_null):
    y = null.null_target(n_subjects, 0.5, seed + 1000 + i)
    tables.append(beside.null_verdicts(i, y, probed(X, y, 1), like, limits))
nulls = beside.stacked(tables or [pd.DataFrame(columns=beside.NULL_COLUMNS)])
stage.write_table("null_phenotypes", nulls)
by_kind_of_set = nulls.groupby("kind", sort=False)
by_kind_of_set.agg(targets=("draw", "size"), auroc=("auroc", "mean"), largest=("largest", "max"), needed=("needed", "sum"),
                   necessary=("necessary", "sum"), tested=("tested", "sum")).round(4)

# %% [markdown]
# ## Verdicts
#
# Four sorts of claim. In each arm, some set of each kind is needed; 25 latents are necessary; with every latent on its reference value
# three quarters of the prediction are gone. Of targets that nothing causes, at most one in twenty has anything called needed.
#
# **Reading.** The first has the numbers of its largest needed set, or else of the largest fall; n counts subjects, and the note has
# how many were needed and tested. The third asks whether the latents carry the prediction, or the dictionary's error does. A kind
# without a set or without a null could not be tested, which is not the same as not needed.
#
# Plausible and faithful are counted apart; `catalogue.csv` has both columns, the second for the first arm ("stopped", where an
# alarm or a no-go stops its claims).

# %%
alarmed, no_go = stops.of_arms(alarms), stops.of_dictionary(chosen)
stopped = {arm: stops.joined(alarmed[arm], no_go) for arm in arms}  # all that is said here rests on the dictionary
needs = (f"the fall's lower bound is above 0, maxT p below {limits.alpha / len(sets):g}, beyond both nulls' 99th percentiles, "
         "and above 0 in four fifths of the folds"
         + (" and in the second cohort" if corpus.second_targets else ""))

# %%
for arm in arms:
    for kind in sets:
        of_kind = necessary[(necessary.arm == arm) & (necessary.kind == kind)]
        e, null_99, note = necessity.strongest(of_kind, words["subjects"])
        stage.claim(f"[{arm}] some {kind} is needed", e.value, e.low, e.high, n_subjects, null_99, of_kind.needed.any(), note,
                    of=words["subjects"], rule=needs, stopped=stopped[arm], because=necessity.untested(of_kind, kind, words["subjects"]))

# %%
for arm in arms:
    latents = necessary[(necessary.arm == arm) & (necessary.kind == "latent")]
    count = int(latents.necessary.sum())
    stage.claim(f"[{arm}] 25 latents are necessary, each with a fall of {bar} or more", count, None, None, len(latents), 25, count >= 25,
                "a count of latents", of="latents", rule="at least 25", stopped=stopped[arm],
                because=necessity.untested(latents, "latent", words["subjects"]))
    total = totals[totals.arm == arm].iloc[0]
    most = 0.5 + (total.auroc_full - 0.5) / 4
    stage.claim(f"[{arm}] with every latent on its reference value three quarters of the prediction are gone", total.auroc_all_ablated,
                total.low, total.high, total.n, round(most, 4), total.full_low > 0.5 and total.high <= most,
                f"AUROC, of {total.auroc_full:.3f}; what is left is carried by the dictionary's error; "
                "null: three quarters of the way to 0.5", of=words["subjects"], stopped=stopped[arm],
                rule="the full AUROC's interval lies above 0.5, and the interval left at or below the null")
    own = of_arm[arm]
    stage.headline(**{f"{arm} {kind} necessary": int(own[own.kind == kind].necessary.sum()) for kind in sets})

# %%
if n_null:
    wrong = nulls.groupby("draw")[["needed", "necessary"]].sum() > 0
    e = estimates.share(int(wrong.needed.sum()), len(wrong))
    stage.claim(f"{words['targets']} without effects in which anything is called needed", *e, 0.05, e.value <= 0.05,
                f"share of {words['targets']}; necessary in {int(wrong.necessary.sum())}; {int(nulls.tested.sum())} tests, controls "
                "left out; Wilson interval",
                of=words["targets"], rule="at most 0.05", stopped=no_go, because="" if e.n else "no set of latents can be tested")

# %%
catalogue = rule.catalogue(named, of_arm[arms[0]], sets, len(decoder), bool(stopped[arms[0]]))
stage.write_table("catalogue", catalogue)
pd.crosstab(catalogue.plausible, catalogue.faithful.replace("", "no evidence"))

# %% [markdown]
# ## What the prediction needs

# %%
figure, axes = style.panels(len(arms), 2.3, sharey=True)
falls = causal.largest_falls(necessary, arms)
for ax, arm in zip(axes, arms, strict=True):
    causal.necessity(falls, ax, arm, bar, stopped[arm])
style.legend(figure, axes, ncols=3)

# %% [markdown]
# **Reading.** Of latents, families and closures the eight of largest fall each; redundancy groups, the fourth kind, are tested and not
# drawn. Bars: 95 % BCa interval over subjects; ticks: the larger of the two nulls; dotted: the bar of *necessary*. Latents below
# the line with a closure above it: a block of latents that move together is needed, and no single one. That the block bears a family's
# name does not show that its other members read what it names.

# %%
sound = necessary[necessary.necessary & ~necessary.arm.isin([arm for arm in arms if stopped[arm]])]
what = "something is necessary" if len(sound) else "nothing is necessary"
lines = [f"# Decision: {what} at a fall of {bar}, in the arms that nothing stops", "",
         "Written by 05_validation from `necessity.csv`; the rule is in `lib/causal/rule.py`.", "",
         "| arm | AUROC | kind | tested | needed | necessary | strongly | largest fall (95 %) |", "|---|---|---|---|---|---|---|---|"]
for (arm, kind), tested in necessary.groupby(["arm", "kind"], sort=False):
    best = tested.loc[tested.delta.idxmax()]
    lines.append(f"| {arm} | {best.auroc_full:.3f} | {kind} | {len(tested)} | {tested.needed.sum()} | {tested.necessary.sum()} | "
                 f"{tested.strongly_necessary.sum()} | {best['name']} {best.delta:.4f} ({best.low:.4f} to {best.high:.4f}) |")
lines += ["", *[f"- {arm}: {'claims stopped by ' + stopped[arm] if stopped[arm] else 'no alarm fired'}" for arm in arms]]
if n_null:
    n_necessary, n_needed, n_tested = nulls[["necessary", "needed", "tested"]].sum().astype(int)
    lines.append(f"- {n_null} {words['targets']} without effects: {n_necessary} necessary, {n_needed} needed of {n_tested} tests")
stage.write_text("decisions.md", "\n".join(lines) + "\n");

# %%
stage.finish()
