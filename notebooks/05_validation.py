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
# **Rule.** *Needed*: the lower 95 % bound of the fall of AUROC, or of a number's R2, is above 0 (bias-corrected bootstrap, paired,
# inside classes, groups of subjects whole); its p is below 0.05 after correction for every set of its kind (step-down maxT: the largest
# standardised falls of the joint bootstrap) and for the four kinds (Bonferroni); the fall is beyond the 99th percentile of rate-matched
# controls, strict (10 % of rate and norm) or nearest, whichever is larger, and of directions dealt out at random; it has the same sign
# in 4 of 5 folds, and in the second cohort where there is one; and **a probe that is fitted anew without the set falls too**: the lower
# bound of that fall is above 0. *Necessary*: needed, both falls are at least `bar`, and the refitted probe falls in the second cohort.
# *Strongly*: both lower bounds are at least `bar`. (First written without the refit and the strict controls, before the
# test was opened: a frozen fall shows what one probe happens to weight, and other latents may carry the same.)
#
# **What is tested, four kinds.** Latents; families of latents, as 04 named them from records alone; redundancy groups, latents that
# move together over subjects; and closures, a family with the whole groups in which it moves most: where a change breaks what the
# family reads, its latents fall silent, others start, and all of them tell. A dictionary splits one concept over many latents, a
# position and a context each; then none is necessary alone, and what is needed is the block. Its name is the family's; what
# moves with it may not be. No target is used to make a family, group or closure.
#
# **Rivals.** Principal components, neurons and a random dictionary of the same L0 go through the same grouping and the same rule. A
# claim that the dictionary is special has to beat the strongest of them, on refit.
#
# **Warning.** Real effects cost little (of DNA: losing all of NOD2, 0.013 to 0.028 of AUROC in IBD). A target without a necessary
# latent is an answer.
#
# Reads 00 to 04. Leaves `necessity.csv`, `rivals.csv`, `rival_gains.csv`, `totals.csv`, `modes.csv`, `sufficiency.csv`, `refits.csv`,
# `set_curves.csv`, `null_phenotypes.csv`, `null_targets.csv`, `rule.json`, `settings.json`, `catalogue.csv` (plausible and faithful),
# `decisions.md`; for `06_explanations` and `07_replication`, under `private/`, `kept.h5`: what each latent changes, and every probe
# fitted here.

# %% tags=["parameters"]
study = "demo"
bar = 0.03                        # [0, 0.5] fall of AUROC, or R2, from which a needed latent is called necessary
n_boot = 10000                    # [10, 1e6] bootstrap draws over subjects, shared by all latents of an arm
n_matched = 100                  # [1, 1e4] controls of each null, of each set: strict, nearest, and dealt directions
n_null = 80                       # [0, 1e4] targets without any effect, each through the rule; 73 free of verdicts show at most 1 in 20
least_moved = 21                  # [1, 1e6] a latent is tested if it is off its reference value in at least this many subjects
least_matched = 10               # [1, 1e4] rate-matched controls below which that null cannot speak
together = 0.35                   # [0, 1] mean |correlation| of activity over subjects at which latents are one group; chosen on the demo
n_claimed = 10                    # [1, 1000] latents of largest fall: refitted without here, steered in 06, looked for elsewhere in 07
n_tokens = 20000                  # [100, 1e9] tokens on which firing rates are counted
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
from dataclasses import replace

import numpy as np
import pandas as pd

from lib.causal import ablation, beside, kept, necessity, rivals, rule
from lib.causal import sets as latent_sets
from lib.causal import subjects as stored
from lib.corpus import corpus as corpora
from lib.corpus.targets import type_of
from lib.figures import causal, style
from lib.outcome import null, probe, validate
from lib.outcome.metrics import METRICS
from lib.sae import evaluate, format
from lib.sae.model import random_dictionary
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
decoder = sae.directions.detach().numpy()
scores = io.read_csv(io.private_path(study, "02_layer_hunting", "scores.csv"))
alarms = io.read_table(study, "02_layer_hunting", "alarms")
null_arms = {target.name for target in corpus.targets if target.null}  # of which nothing may be needed
arms = sorted(dict.fromkeys(c.split("/")[0] for c in scores.columns if "/" in c), key=null_arms.__contains__)  # those last
asked = [arm for arm in arms if arm not in null_arms]
targets = {arm: scores[f"{arm}/phenotype"].to_numpy() for arm in arms}
metric = {target.name: METRICS[target.type] for target in corpus.targets}
families = scores.group.to_numpy() if scores.group.duplicated().any() else None  # subjects of one group are resampled together
subjects, subject_table = stored.read(corpus), corpus.subjects()
n_subjects = len(subjects.readout.subjects)
n_parts, X = len(subjects.readout.parts), subjects.features(site)
span = probe.span(X)  # of the subjects, in which every probe is fitted


# %%
def probed(y, n_repeats, by):
    """The probes of 02."""
    return validate.repeated(span, y, families, settings["n_folds"], n_repeats, settings["C_grid"], settings["seed"], by)


def refit(y, by):
    """The same, fitted anew on what is left of the features."""
    return rule.refit(X, n_parts, y, families, settings["n_folds"], settings["C_grid"], settings["seed"], by)


runs = {arm: probed(y, settings["n_repeats"], metric[arm]) for arm, y in targets.items()}
final = {arm: probe.final(X, y, settings["C_grid"], settings["seed"], families, metric[arm]) for arm, y in targets.items()}
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
# Directions at random are the dictionary's own rows, dealt out anew so that nothing keeps its own: a stronger null than isotropic ones,
# most of whose length no probe reads. Where subjects have one part (of DNA: features pooled over the genome), a direction is one number
# to the probe, a dealt row another of any size and sign, and this null is 0. Rate-matched controls are of two sorts, at most `n_matched`
# of each. *Strict* (column `rate_matched_99`): within 10 % of the firing rate and 10 % of the norm, of a set member by member. *Nearest*
# (`nearest_99`): of a latent, within 10 % of its rate and nearest in norm; of a set, each of the 50 nearest in both. Fewer than
# `least_matched` cannot speak; a fall is held to the larger of those that can, and without any, or without dealt directions (a set of
# more than half of the dictionary), it is not called needed. Nulls and the fall they bound are of the first repeat. Two steps for sets:
# those needed with every latent as a possible control are established; their latents are then no controls for the others, or one cause
# would hide the next (`rate_matched_99_all` and `nearest_99_all` have the first step).
#
# **The refit** comes last: only what passes all else is fitted anew, with its latents on their reference value, in the folds of the
# first repeat and with strengths chosen anew; what fails before has NaN there, and is not needed anyway. In the second cohort the
# refitted probe is one fitted on everybody of the first. All of it is `judge` of `lib/causal/rule.py`.

# %%
n_stored = len(subjects.acts.tokens["unit"])
sampled = np.sort(np.random.default_rng(seed).choice(n_stored, min(n_tokens, n_stored), replace=False))
active = evaluate.latents_of(sae, subjects.acts.acts[site], sampled, subjects.acts.tokens["unit"])
rate, size = latent_sets.rate_and_norm(active, decoder)

# %%
second = dict.fromkeys(arms)  # the second cohort under the probe fitted on everybody here, where there is one
if corpus.second_targets:
    other, other_y = stored.read(corpus, corpora.SECOND), corpus.subjects(corpora.SECOND)
    if other.readout.parts != subjects.readout.parts:
        raise ValueError(f"second cohort: {other.readout.parts[:5]}..., wanted {subjects.readout.parts[:5]}... in this order")
    other_X, other_moved = other.features(site), other.changes(sae, site)
    second = {arm: rule.SecondCohort(other_y[arm].to_numpy(), frozen.score(other_X), frozen, other_moved, other_X)
              for arm, frozen in final.items()}

# %%
limits = rule.Settings(bar, n_boot, n_matched, least_matched, seed=seed)
evidence = {arm: rule.Evidence(arm, y, families, runs[arm], moved, decoder, rate, size, sets, second[arm], metric[arm],
                               refit(y, metric[arm])) for arm, y in targets.items()}
necessary = necessity.verdicts([rule.judge(e, limits) for e in evidence.values()])
of_arm = {arm: necessary[necessary.arm == arm] for arm in arms}
stage.write_table("necessity", necessary)
stage.write_json("rule.json", {"arms": arms, "bar": bar})  # for the figure
counts = necessary.groupby(["arm", "kind"], sort=False)[["needed", "necessary", "strongly_necessary"]].sum()
counts["tested"] = necessary.groupby(["arm", "kind"], sort=False).size()
counts["largest"] = necessary.groupby(["arm", "kind"], sort=False).delta.max().round(4)
counts

# %%
shown = ["arm", "kind", "name", "latents", "delta", "low", "high", "p_max_t", "rate_matched_99", "nearest_99", "random_99", "same_sign"]
shown += ["share", "refit", "refit_low", "refit_high", "needed", "necessary"]
top = necessary.sort_values("delta", ascending=False).groupby(["arm", "kind"], sort=False).head(4)
top[shown].sort_values(["arm", "kind", "delta"], ascending=[True, True, False]).round(4)

# %% [markdown]
# ## Rivals through the same rule
#
# Principal components of the subjects' own activations (as many as the dictionary has latents, at most the width: stronger than
# those of the background, which a dictionary is trained on), the neurons themselves, and random directions with as many active a
# token. Components and neurons are signed: their ablation puts the activation's coordinate on the reference's, and they count as
# firing where a token is off the mean by more than a standard deviation. Nothing named them, so they have latents and groups, no
# family or closure. From here on to the targets that nothing causes, arms declared null are left out (unless all are).
#
# Not here: the random twin's dictionary on the twin's own activations, which needs every unit of every subject read by the twin, and
# probes of its own; `rivals.gains` would take such evidence as it takes these.

# %%
tokens, width = np.asarray(subjects.acts.acts[site][sampled], dtype=np.float64), decoder.shape[1]
off, other_off = subjects.shifts(site), other.shifts(site) if corpus.second_targets else None
chance = random_dictionary(sae, max(1, round(chosen["l0"])), seed + 1)
rows = chance.directions.detach().numpy()
fired = evaluate.latents_of(chance, subjects.acts.acts[site], sampled, subjects.acts.tokens["unit"])
of_chance = latent_sets.rate_and_norm(fired, rows)
other_chance = other.changes(chance, site) if corpus.second_targets else None
compared = {"PCA": rivals.coordinates(rivals.components(tokens, min(len(decoder), width)), tokens, off, other_off),
            "neurons": rivals.coordinates(np.eye(width), tokens, off, other_off),
            "random dictionary": rivals.Rival(subjects.changes(chance, site), rows, *of_chance, other_chance)}

# %%
judged, gained = [], []
caused = {arm: evidence[arm] for arm in asked or arms}
for arm, e in caused.items():
    others = {method: rivals.evidence(e, rival, least_moved, together) for method, rival in compared.items()}
    tables = {method: rule.judge(one, limits) for method, one in others.items()}
    gained.append(rivals.gains((e, of_arm[arm]), {method: (others[method], tables[method]) for method in others}, limits))
    judged += [table.assign(method=method) for method, table in tables.items()]
of_rivals, gains = beside.stacked(judged), beside.stacked(gained)
stage.write_table("rivals", of_rivals)
stage.write_table("rival_gains", gains)
print(of_rivals.groupby(["arm", "method", "kind"], sort=False)[["needed", "necessary"]].sum().T.to_string())
gains.round(4)

# %% [markdown]
# **Reading.** A row a kind and rival. The dictionary's set is the one that a refit misses most among those needed (else among the
# three of largest fall); the rival's, among its three of largest fall and those needed. `removed`: the share of the features'
# variance that the ablation takes away, `gain`: the difference of the two refit falls.
#
# ## What else the ablation could have been
#
# The same sets with other values of f*; what is left with every latent on its reference value (the dictionary's error, and what
# no latent holds); what a set alone still carries; and the probe fitted anew without it, which finds what is redundant.

# %%
modes = {mode: subjects.changes(sae, site, mode, seed) for mode in ablation.MODES[1:]}
largest = {arm: {kind: beside.largest(of_arm[arm], kind, n_claimed) for kind in ("latent", "family", "closure")} for arm in caused}
totals = pd.DataFrame([beside.total(e, seed) for e in caused.values()])
modes_table = beside.stacked([beside.by_mode(e, modes, largest[arm]) for arm, e in caused.items()])
alone = beside.stacked([beside.sufficiency(e, largest[arm]["closure"]) for arm, e in caused.items()])
curves = beside.stacked([beside.set_curve(e, moving, 20, seed) for e in caused.values()])
first = {arm: {kind: beside.largest(of_arm[arm], kind, 3) for kind in sets} for arm in caused}
refits = beside.stacked([beside.refitted(e, first[arm], n_boot, seed) for arm, e in caused.items()])
for name, table in {"totals": totals, "modes": modes_table, "sufficiency": alone, "refits": refits, "set_curves": curves}.items():
    stage.write_table(name, table)
print(totals.round(3).to_string(index=False), "\n", refits.round(4).to_string(index=False))
wide = modes_table.pivot_table(index=["arm", "kind", "name"], columns="mode", values="delta", sort=False).round(4)
wide.groupby(["arm", "kind"], sort=False).head(2)

# %% [markdown]
# **Reading.** First, AUROC, or R2, in full and with every latent on its reference value; its `refit` is what a probe loses that is fitted
# anew on what is left then: the dictionary's error. No set can be missed much more than all latents. Where that is small, the error
# tells subjects apart as the latents do, however little variance it has, and no set can be necessary. Then the refits: `frozen` is
# the fall under the probes as they are, `refit` what a probe loses that is fitted anew without the set, of the three largest of
# each kind, whether they pass the rest of the rule or not. A small `refit` beside a large `frozen`: other features carry the same.
# A refit can gain by an ablation too, by as much as some hundredths: what it misses is held to `bar` where something is called necessary,
# and to 0 where it is called needed. Last, the falls with other values of f*, of the first repeat as the refits are.
#
# Not shown: `sufficiency.csv` has the same with one closure kept and all else ablated; `recovered` is the share of the whole fall
# that it saves. `set_curves.csv` has it after the first k latents are ablated, largest fall first, beside 20 random orders
# (95 % band). That order comes from the same falls: the curve describes, and tests nothing.

# %% [markdown]
# ## Targets that nothing causes
#
# The rule on targets simulated with every effect at 0 (numbers: those of the first arm, dealt out anew), folds and strengths chosen anew.
# Controls and refits are left out here, which can only let more through. Arms that the study declares null (`null_arms` of the front
# door: decoys cause disease, say) have been through the whole rule above, as every arm.

# %%
tables, like, by = [], evidence[arms[0]], metric[arms[0]]
for i in range(n_null):
    at = seed + 1000 + i
    y = null.dealt(targets[arms[0]], at) if by.target == "continuous" else null.null_target(n_subjects, 0.5, at)
    tables.append(beside.null_verdicts(i, y, probed(y, 1, by), like, limits))
nulls = beside.stacked(tables or [pd.DataFrame(columns=beside.NULL_COLUMNS)])
stage.write_table("null_phenotypes", nulls)
by_kind_of_set = nulls.groupby("kind", sort=False)
by_kind_of_set.agg(targets=("draw", "size"), **{by.key: (by.key if tables else "auroc", "mean")}, largest=("largest", "max"),
                   needed=("needed", "sum"), necessary=("necessary", "sum"), tested=("tested", "sum")).round(4)

# %% [markdown]
# *Null targets* of the front door (of DNA: diseases that broken decoys, neutral variants or nothing cause) go through the whole rule, with
# their own probes, second cohort and refits, of one repeat and 1,000 draws. `telling`: needed sets that hold a latent of 04's `tells`,
# which reads what works: called functional, where nothing functional causes the target.

# %%
telling = np.flatnonzero(named.tells.fillna("") != "") if "tells" in named else np.empty(0, int)

def telling_sets(table, of):
    """Which sets are needed and hold a latent that tells what works. table: of the rule; of: its sets."""
    hold = [np.isin(of[row.kind][row.name], telling).any() for row in table[["kind", "name"]].itertuples(index=False, name="Set")]
    return table.needed.to_numpy(bool) & np.array(hold, dtype=bool)

# %%
brief, rows = replace(limits, n_boot=1000), []
for name in corpus.null_targets:
    y, elsewhere = subject_table[name].to_numpy(), None
    by = METRICS[type_of(y)]
    frozen = probe.final(X, y, settings["C_grid"], settings["seed"], families, by)
    if corpus.second_targets:
        elsewhere = rule.SecondCohort(other_y[name].to_numpy(), frozen.score(other_X), frozen, other_moved, other_X)
    one = rule.Evidence(name, y, families, probed(y, 1, by), moved, decoder, rate, size, sets, elsewhere, by, refit(y, by))
    table = rule.judge(one, brief)
    counts = len(table), int(table.needed.sum()), int(table.necessary.sum()), int(telling_sets(table, one.sets).sum())
    counts = dict(zip(("tested", "needed", "necessary", "telling"), counts, strict=True))
    rows.append({"target": name, by.key: table[f"{by.key}_full"].iloc[0] if len(table) else np.nan, **counts})
null_targets = pd.DataFrame(rows or None, columns=None if rows else ["target", "auroc", "tested", "needed", "necessary", "telling"])
stage.write_table("null_targets", null_targets)
null_targets.round(4)

# %% [markdown]
# ## Verdicts
#
# Seven sorts of claim. In each arm, some set of each kind is needed; its best latent, and its best group, are missed more by a refit
# than those of every rival; 10 latents are strongly necessary, and 25; with every latent on its reference value three quarters of the
# prediction are gone, and a refit misses the latents all together by the bar, without which no set of them can be necessary. Of
# targets that nothing causes, at most one in twenty has anything called needed, and in an arm declared null nothing is. Of null targets
# at most one in ten has anything needed, and none anything necessary, or a latent needed that tells what works.
#
# **Reading.** The first has the numbers of its largest needed set, or else of the largest fall; n counts subjects, and the note has
# how many were needed and tested. Those of all latents ask whether they carry the prediction, or the dictionary's error does. A
# kind without a set or without a null could not be tested, which is not the same as not needed.
#
# Plausible and faithful are counted apart; `catalogue.csv` has both columns, the second for the first arm ("stopped", where an
# alarm or a no-go stops its claims).

# %%
alarmed, no_go = stops.of_arms(alarms), stops.of_dictionary(chosen)
stopped = {arm: stops.joined(alarmed[arm], no_go) for arm in arms}  # all that is said here rests on the dictionary
needs = (f"the fall's lower bound is above 0, maxT p below {limits.alpha / len(sets):g}, beyond the 99th percentiles of rate-matched "
         "controls (the larger of strict and nearest) and of dealt directions, above 0 in four fifths of the folds"
         + (" and in the second cohort" if corpus.second_targets else "") + ", and a refit's lower bound is above 0")

# %%
for arm in asked:
    for kind in sets:
        of_kind = necessary[(necessary.arm == arm) & (necessary.kind == kind)]
        e, null_99, note = necessity.strongest(of_kind, words["subjects"], metric[arm])
        stage.claim(f"[{arm}] some {kind} is needed", e.value, e.low, e.high, n_subjects, null_99, of_kind.needed.any(), note,
                    of=words["subjects"], rule=needs, stopped=stopped[arm], because=necessity.untested(of_kind, kind, words["subjects"]))

# %%
for arm in asked:
    for kind in rivals.COMPARED:
        of_kind = gains[(gains.arm == arm) & (gains.kind == kind)]
        e, holds, note = rivals.decisive(of_kind, words["subjects"], metric[arm])
        stage.claim(f"[{arm}] a refit misses the dictionary's best {kind} more than that of every rival", *e, 0.0, holds, note,
                    of=words["subjects"], stopped=stopped[arm],
                    rule="the set is needed, and the interval of the paired difference lies above 0 for every rival",
                    because="" if e.n else f"the dictionary or its rivals have no {kind} that can be tested")

# %%
for arm in asked:
    latents = of_arm[arm][of_arm[arm].kind == "latent"]
    count, strong = int(latents.necessary.sum()), int(latents.strongly_necessary.sum())
    of_sets = of_arm[arm].groupby("kind").strongly_necessary.sum().reindex(["family", "closure"], fill_value=0)
    tried = int(necessity.matched(latents).notna().sum())
    missed = totals.set_index("arm").refit[arm]
    for least in (10, 25):
        stage.claim(f"[{arm}] {least} latents are necessary, each with falls of {bar} or more", strong, None, None, tried, least,
                    strong >= least, f"a count of latents; {count} with falls, {strong} with lower bounds of {bar} or more; beside them "
                    f"{of_sets['family']} families and {of_sets['closure']} closures; a refit misses all latents together by {missed:.3f}, "
                    "and where that is less than the bar none can be necessary", of="latents",
                    rule=f"of at least {least} both lower bounds, frozen and on refit, are at least the bar", stopped=stopped[arm],
                    because=necessity.untested(latents, "latent", words["subjects"]))

# %%
for arm in asked:
    total, by = totals[totals.arm == arm].iloc[0], metric[arm]
    full, left = total[f"{by.key}_full"], total[f"{by.key}_all_ablated"]
    most = by.chance + (full - by.chance) / 4
    stage.claim(f"[{arm}] with every latent on its reference value three quarters of the prediction are gone", left, total.low, total.high,
                total.n, round(most, 4), total.full_low > by.chance and total.high <= most,
                f"{by.name}, of {full:.3f}; what is left is carried by the dictionary's error; "
                f"null: three quarters of the way to {by.chance:g}", of=words["subjects"], stopped=stopped[arm],
                rule=f"the full {by.name}'s interval lies above {by.chance:g}, and the interval left at or below the null")
    missed = total.refit, total.refit_low, total.refit_high, total.n
    stage.claim(f"[{arm}] a refit misses the latents all together by {bar} or more", *missed, bar, total.refit_low >= bar,
                f"fall of {by.name} on refit with every latent on its reference value; BCa over "
                f"{words['subjects']}; what it keeps is read from the dictionary's error", of=words["subjects"], stopped=stopped[arm],
                rule="the interval lies at or above the bar")
    own = of_arm[arm]
    stage.headline(**{f"{arm} {kind} necessary": int(own[own.kind == kind].necessary.sum()) for kind in sets})

# %%
for arm in sorted(null_arms.intersection(arms), key=arms.index):
    n_needed, n_sets = int(of_arm[arm].needed.sum()), len(of_arm[arm])
    of_function = int(telling_sets(of_arm[arm], evidence[arm].sets).sum())
    said = {"of": "sets", "stopped": stopped[arm], "because": "" if n_sets else "no set of latents can be tested"}
    stage.claim(f"[{arm}] nothing is called needed of a target that nothing named causes", *estimates.share(n_needed, n_sets), 0.0,
                n_needed == 0, f"share of sets through the whole rule, {n_needed} needed; Wilson interval, sets not independent; where "
                "something else causes the target and the probe reads it, a set may be needed rightly",
                rule="none of the sets is needed", **said)
    if len(telling):
        stage.claim(f"[{arm}] nothing that tells what works is called needed of a target that nothing named causes",
                    *estimates.share(of_function, n_sets), 0.0, of_function == 0, "share of sets that are needed and hold such a latent "
                    f"({len(telling)} of the dictionary); Wilson interval, sets not independent", rule="none of the sets is", **said)

# %%
if n_null:
    wrong = nulls.groupby("draw")[["needed", "necessary"]].sum() > 0
    e = estimates.share(int(wrong.needed.sum()), len(wrong))
    few = f"of {n_null} {words['targets']} not even none shows at most 0.05" if estimates.share(0, n_null).high > 0.05 else ""
    stage.claim(f"{words['targets']} without effects in which anything is called needed", *e, 0.05, e.high <= 0.05,
                f"share of {words['targets']}; necessary in {int(wrong.necessary.sum())}; {int(nulls.tested.sum())} tests, controls "
                "and refits left out; Wilson interval", of=words["targets"], rule="the interval lies at or below 0.05", stopped=no_go,
                because=few if e.n else "no set of latents can be tested")

# %%
n, said = len(null_targets), {"of": words["targets"], "stopped": no_go}
note = f"share of {words['targets']} that nothing named causes, through the whole rule; Wilson interval"
for column, text, most in (("needed", "anything is called needed", 0.1), ("necessary", "anything is called necessary", 0.0),
                           ("telling", "a latent that tells what works is called needed", 0.0)):
    e = estimates.share(int((null_targets[column] > 0).sum()), n)
    stage.claim(f"null {words['targets']} in which {text}", *e, most, e.value <= most, note, **said,
                rule="in at most one in ten" if most else "in none of them", because="" if n else "the front door names no null target")

# %%
catalogue = rule.catalogue(named, of_arm[arms[0]], sets, len(decoder), bool(stopped[arms[0]]))
stage.write_table("catalogue", catalogue)
pd.crosstab(catalogue.plausible, catalogue.faithful.replace("", "no evidence"))

# %% [markdown]
# ## What the prediction needs

# %%
figure, axes = style.panels(len(arms), 2.3, sharey=len(set(metric.values())) == 1)
falls, best_rivals = causal.largest_falls(necessary, arms), rivals.largest(judged)
for ax, arm in zip(axes, arms, strict=True):
    causal.necessity(falls, ax, arm, bar, stopped[arm], best_rivals, metric[arm].name)
style.legend(figure, axes, ncols=3)

# %% [markdown]
# **Reading.** Of latents, families and closures the eight of largest fall each; redundancy groups, the fourth kind, are tested and not
# drawn. Bars: 95 % BCa interval over subjects; crosses: the fall on refit, of what passes all else; ticks: the largest null that the
# fall is held to, and where it is larger still, paler, that of the first step; dashed: the largest fall of a rival's unit, or group
# (not asked of arms declared null); dotted: the bar of *necessary*. Latents below the line with a coloured closure above it: a block of
# latents that move together is needed, and no single one; a grey closure above the line is not shown to be needed, however large its
# fall. That the block bears a family's name does not show that its other members read what it names.

# %%
sound = necessary[necessary.necessary & necessary.arm.isin([arm for arm in asked if not stopped[arm]])]
what = "something is necessary" if len(sound) else "nothing is necessary"
by_metric = " or ".join(dict.fromkeys(by.name for by in metric.values()))
lines = [f"# Decision: {what} at a fall of {bar}, in the arms that nothing stops", "",
         "Written by 05_validation from `necessity.csv`; the rule is in `lib/causal/rule.py`.", "",
         f"| arm | {by_metric} | kind | tested | needed | necessary | strongly | largest fall (95 %) | that set on refit |",
         "|---|---|---|---|---|---|---|---|---|"]
for (arm, kind), tested in necessary.groupby(["arm", "kind"], sort=False):
    best, whole = tested.loc[tested.delta.idxmax()], f"{metric[arm].key}_full"
    on_refit = "not refitted" if np.isnan(best.refit) else f"{best.refit:.4f}"
    lines.append(f"| {arm} | {best[whole]:.3f} | {kind} | {len(tested)} | {tested.needed.sum()} | {tested.necessary.sum()} | "
                 f"{tested.strongly_necessary.sum()} | {best['name']} {best.delta:.4f} ({best.low:.4f} to {best.high:.4f}) | "
                 f"{on_refit} |")
lines += ["", "By the rule only what passes all else is refitted; `refits.csv` asks the three largest falls of each kind, of no null arm."]
lines += ["", *[f"- {arm}: {'claims stopped by ' + stopped[arm] if stopped[arm] else 'no alarm fired'}" for arm in arms]]
if n_null:
    n_necessary, n_needed, n_tested = nulls[["necessary", "needed", "tested"]].sum().astype(int)
    lines.append(f"- {n_null} {words['targets']} without effects: {n_necessary} necessary, {n_needed} needed of {n_tested} tests")
stage.write_text("decisions.md", "\n".join(lines) + "\n");

# %%
stage.finish()
