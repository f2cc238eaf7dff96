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
# # 06 · What moves the score?
#
# **Question.** 05 asked which latents the prediction needs, in closed form, at the dictionary's own site. What else moves the score,
# and does it say the same? Three answers: patching, where the probe reads a later site; steering, the other way round; and
# the letters that five methods of attribution name.
#
# **Claims.** Attribution patching ranks latents as exact patching does (it fails unless the interval of Spearman's correlation lies at or
# above 0.8). Steering a latent
# of large fall moves the score more than every control of equal norm (it fails unless the share's interval lies above 1 in 11).
# Each method is larger inside sites than outside, and what it names, deleted, moves the score faster than a random order (each fails
# unless its interval lies above 0.5 and its null, or above 0). The latents point at sites no worse than exact mutagenesis by more than
# 0.03 of AUROC (it fails unless the interval of the difference lies at or above -0.03). All are of the first arm.
#
# Reads 00 to 05, and fits one probe, at `patch_site`. Leaves `patching.csv`, `steering.csv`, `steering_doses.csv`, `explanations.csv`,
# `timings.csv`, `agreement.csv`, `attributions.h5` and `attribution_windows.csv` (of references; of all under `private/`).

# %% tags=["parameters"]
study = "demo"
patch_site = "resid_post.5"       # later site whose probe is read when the forward restarts from the cached layer
n_patch_units = 64                # [2, 1e5] units patched
n_exact = 200                     # [2, 1e5] latents patched exactly, to check attribution patching
n_steer_units = 16                # [1, 1e4] units steered
n_sequences = 100                 # [2, 1e5] units on which explanations are compared; half carry a cause where causes are known
n_checked = 30                    # [1, 1e5] of these, the units for deletion, insertion and the model of random weights
ism_span = 256                    # [1, 1e6] central letters of a unit that are mutated in silico
ig_steps = 20                     # [1, 1e4] first number of steps of integrated gradients; doubled until it converges
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.causal import attribution, beside, explain, kept, necessity, patching, pointing, steering
from lib.causal import subjects as stored
from lib.corpus import corpus as corpora
from lib.figures import causal, style
from lib.models import adapter
from lib.outcome import probe
from lib.outcome.metrics import METRICS
from lib.sae import format
from lib.stage import io, stops
from lib.stats import estimates

stage = io.open_stage(study, "06_explanations")

# %%
corpus = corpora.load(study)
kind, words = corpus.module, corpus.words
settings = io.read_json(study, "02_layer_hunting", "settings.json")  # the probes are those of 02
rule = io.read_json(study, "05_validation", "rule.json") | io.read_json(study, "05_validation", "settings.json")
chosen = io.read_json(study, "03_sae_training", "chosen.json")
site, arm = chosen["site"], rule["arms"][0]
model = adapter.load(corpus.model_path(), expect=io.read_json(study, "01_extraction", "model.json"))
sae = format.load(io.stage_path(study, "03_sae_training", chosen["folder"]), site, model.identity)
patching.check_order(model, site, patch_site)
named = io.read_table(study, "04_annotation", "features")
necessary = necessity.verdicts([io.read_table(study, "05_validation", "necessity")])
largest = np.array(beside.largest(necessary[necessary.arm == arm], "latent", rule["n_claimed"]), dtype=int)  # latents of largest fall
alarmed, no_go = stops.of_arms(io.read_table(study, "02_layer_hunting", "alarms")), stops.of_dictionary(chosen)
stopped = stops.joined(alarmed[arm], no_go)  # what is said of latents rests on the dictionary; rival explanations do not

# %% [markdown]
# What 01 read, 05 fitted, and where sites are: all that is known of subjects here comes from this cell.

# %%
subjects = stored.read(corpus)
fitted = kept.read(io.private_path(study, "05_validation", "kept.h5"))
y, units, n_parts = fitted.arms[arm].y, subjects.units, len(subjects.readout.parts)
part_of = subjects.part_of()

# %% [markdown]
# ## A probe further on: patching from the cached layer
#
# The closed form needs a probe on the dictionary's own site. Where the probe reads a later site, the forward restarts
# from the stored layer. Attribution patching screens all latents at once; it is used only if it ranks the top latents
# as exact patching does (Spearman at least 0.8).

# %%
metric = METRICS[next(of.type for of in corpus.targets if of.name == arm)]
further = probe.final(subjects.features(patch_site), y, settings["C_grid"], settings["seed"], fitted.groups, metric)
weight = further.coef.reshape(n_parts, -1)
part = patching.sample_units(units, n_patch_units, seed)
clean = patching.run_clean(model, [subjects.texts[u] for u in part.unit], site)
target = patching.reference_target(*patching.tokens_of(subjects.acts.tokens, part))
w = weight[part_of.loc[part.unit]]
attributed, _ = patching.attribution_change(model, sae, clean, patch_site, w, target)
chosen_latents = patching.top_latents(attributed, n_exact)
exact = patching.exact_change(model, sae, clean, patch_site, w, chosen_latents, target)
check = patching.check(attributed[:, chosen_latents], exact, seed=seed)
patched = pd.DataFrame({"latent": chosen_latents, "attribution": attributed[:, chosen_latents].mean(0), "exact": exact.mean(0)})
stage.write_table("patching", patched.merge(named[["latent", "concept", "family"]], on="latent", how="left"))
stage.claim(f"[{arm}] attribution patching ranks latents as exact patching does", *check.spearman, 0.8, check.spearman.low >= 0.8,
            f"Spearman over the {len(chosen_latents)} latents of largest attribution, {len(part)} {words['units']}, probe at {patch_site}; "
            "bootstrap over latents", of="latents", rule="the interval lies at or above 0.8", stopped=stopped,
            because="" if check.spearman.n > 2 else f"{check.spearman.n} latents are attributed anything, too few to rank")
check

# %% [markdown]
# **Reading.** The correlation of the two means over units, with its interval over latents. Below 0.8 the screen does not rank, and only
# the column `exact` may be read.

# %% [markdown]
# ## Steering
#
# The other way round: push every token along a latent's decoder row, from -8 to 8 of its standard deviations, and read the
# score. Controls of equal norm: random directions, and the rows of other latents. Doses that take the tokens' norm beyond
# its clean 99th percentile do not count; collateral is the divergence of the model's own output.

# %%
few = part[part.is_reference].head(n_steer_units)
still = patching.run_clean(model, [subjects.texts[u] for u in few.unit], site)
sd = steering.latent_sd(sae, clean)
steered = largest[sd[largest] > 0]
doses = steering.steer(model, sae, still, patch_site, weight[part_of.loc[few.unit]], steered, sd, n_controls=5, seed=seed)
means = doses.groupby(["latent", "direction", "draw", "eps"], as_index=False)[["change", "kl", "norm", "beyond"]].mean()
stage.write_table("steering_doses", means)
response = steering.summarise(doses)
stage.write_table("steering", response)
steep = steering.against_controls(response)
e = estimates.share(int(steep.over.sum()), len(steep))
stage.claim(f"[{arm}] steering a latent of large fall moves the score more than every control of equal norm", *e, 1 / 11, e.low > 1 / 11,
            f"share of latents whose slope beats 5 random and 5 other rows; probe at {patch_site}; Wilson interval, latents not "
            "independent; by chance 1 in 11", of="latents", rule="the interval lies above 1 in 11", stopped=stopped,
            because="" if e.n else f"no latent tested varies on these {words['units']}")
steep.round(4)

# %%
figure, axes = style.axes(1, 2, height=2.1)
for ax, column in zip(axes, ("change", "kl"), strict=True):
    causal.doses(means, ax, column, steered[:3], "log odds" if metric.target == "binary" else "units of the target")
style.legend(figure, axes, ncols=3)

# %% [markdown]
# **Reading.** Blue: the three latents of largest fall; grey: random directions and other latents' rows of equal norm. A
# straight blue line steeper than the grey ones is a direction that the probe reads; collateral says what else it moved.
#
# ## Explanations compared
#
# Same units, same score (a unit's pull on the prediction), same letters, same seqlet caller: in-silico mutagenesis (exact),
# integrated gradients, DeepLIFT, the latents' own contributions, and attention rollout, which does not know the score. A
# method is worth something if it points at sites, if deleting what it names moves the score, and if it says
# something else on a model of random weights. Where it is known what causes the target, the units lie on causes: half carry one, half
# carry none, references before others; sites are those that causes break. Else they are a sample of references.

# %%
spelt = np.array([set(text) <= set(kind.ALPHABET) for text in subjects.texts])  # another letter cannot be substituted
print(f"{int((~spelt).sum())} of {len(units)} {words['units']} with letters outside of the alphabet are left out")
causes = kind.causes(corpus, arm)
picked = pointing.choose(units[spelt], subjects.texts, causes, n_sequences, seed)
sequences = [subjects.texts[u] for u in picked.unit]
place = pointing.places(picked)
print(f"{len(picked)} {words['units']} of {len(set(place))} places, {int(picked.is_reference.sum())} of the reference")
sites, what = kind.sites(corpus, arm, picked, sequences)

# %%
weights = fitted.arms[arm].final.coef.reshape(n_parts, -1)
untrained = adapter.load(corpus.model_path(), random_init=True, seed=seed)


def explained_by(model, sequences):
    scorers = [attribution.WindowScore(model, site, weights[part_of[u]]) for u in picked.unit.head(len(sequences))]
    return scorers, *attribution.explain(scorers, sequences, sae, ism_span, ig_steps, kind.ALPHABET)


scorers, explained, left_out = explained_by(model, sequences)
_, twins, _ = explained_by(untrained, sequences[:n_checked])
print({a.method: f"{a.seconds:.1f} s" for a in explained})

# %% [markdown]
# What a subject carries stays private, and so does what is said of each of its letters.

# %%
for private, rows in ((False, picked.is_reference.to_numpy(bool)), (True, np.ones(len(picked), bool))):
    path = (stage.private_path if private else stage.path)("attributions.h5")
    attribution.write(path, attribution.rows_of(explained, rows), {"site": site, "arm": arm, "sequences": str(int(rows.sum()))})
    stage.write_table("attribution_windows", picked.loc[rows, ["contig", "start", "end", "locus"]], private=private)

# %%
explanations = explain.compare(explained, twins, scorers, sequences, picked, sites, 1000, 1000, seed, kind.shuffled, causes)
agreement = explain.agreement(explained, 1000, seed, place)
stage.write_table("explanations", explanations.drop(columns="seconds"))
seconds = explanations.set_index("method").seconds
timings = seconds.reset_index().assign(units=len(sequences), letters=ism_span, of_ism=(seconds / seconds["ISM"]).to_numpy())
stage.write_table("timings", timings)
stage.write_table("agreement", agreement)
print(timings.round(4).to_string(index=False))
explanations.set_index("method").T.round(3)

# %% [markdown]
# `of_ism` is a method's time by that of exact mutagenesis, on the same machine and units; a time is no claim, since no two runs agree on
# it. `letters_auroc` is as `auroc`, inside the letters that cause the target.

# %%
limit, few = 0.05 / len(explanations), "" if n_checked >= 10 else f"{n_checked} {words['units']} are fewer than 10"
points = f"the interval lies above 0.5 and above 95 % of the rolled masks, and p is at most {limit:.4g}"
for row in explanations.itertuples():
    stop = stopped if row.method == "SAE latents" else alarmed[arm]  # the others read model and probe alone
    stage.claim(f"[{arm}] {row.method} is larger inside sites than outside", row.auroc, row.low, row.high, row.n,
                round(row.null_95, 4), row.low > max(0.5, row.null_95) and row.p <= limit,
                f"{what}; AUROC of |value| per {words['letter']}, mean over {words['units']}; bootstrap over places; "
                f"null: 95 % of site masks rolled inside their {words['unit']}, p {row.p:.4f}, {len(explanations)} methods (Bonferroni)",
                of=words["units"], rule=points, stopped=stop,
                because="" if row.n else f"no {words['unit']} explained is part site, part not")
    stage.claim(f"[{arm}] deleting what {row.method} names moves the score faster than a random order", row.deletion,
                row.deletion_low, row.deletion_high, len(twins[0].values), 0.0, row.deletion_low > 0, "area between the curves, in units "
                f"of the whole replacement; bootstrap over places; one of {len(explanations)} methods, not corrected",
                of=words["units"], rule="the interval lies above 0", stopped=stop, because=few)
    stage.claim(f"[{arm}] {row.method} says something else on a model of random weights", row.sanity, row.sanity_low, row.sanity_high,
                int(row.sanity_n), 0.5, row.sanity_high <= 0.5, "rank correlation of |value| with the same method on a model of random "
                f"weights, mean over {words['units']}; bootstrap over places; rolled by half a {words['unit']}: {row.sanity_null:.3f}",
                of=words["units"], rule="the interval lies at or below 0.5", stopped=stop, because=few)

# %%
gap = pointing.difference(explained, "SAE latents", "ISM", picked, sites, 1000, seed)
stage.claim(f"[{arm}] latents point at {what} no worse than ISM by more than 0.03 AUROC", *gap, -0.03, gap.low >= -0.03,
            f"AUROC of |value| per {words['letter']}, latents less ISM in the same {words['unit']}, mean over {words['units']}; "
            "bootstrap over places", of=words["units"], rule="the interval lies at or above -0.03", stopped=stopped,
            because="" if gap.n else f"no {words['unit']} explained is part site, part not")
for method, why in left_out.items():
    stage.claim(f"[{arm}] {method} is larger inside sites than outside", None, None, None, 0, None, False, of=words["units"],
                rule=points, stopped=alarmed[arm], because=why)
gap

# %%
figure, axes = style.axes(1, 3, height=2.2)
causal.inside_sites(explanations, axes[0], what)
causal.deletion(explanations, axes[1])
causal.sanity(explanations, axes[2])
agreement.round(3)

# %% [markdown]
# **Reading.** A dot a method, with its 95 % bootstrap interval over places; ticks: the null; grey line: chance, 0.5 on the left and 0
# elsewhere. Left: above its tick it points at sites. Middle, without ticks: above 0 it names letters that the score depends on. Right: near
# its tick it depends on what the model has learnt; far above, it says much the same of random weights. The table: the rank agreement of
# two methods.

# %%
stage.finish()
