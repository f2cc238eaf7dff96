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
# # 07 · Does it come again?
#
# **Question.** What 05 found rests on one dictionary, one set of subjects, one layer and one model. Does it come again in other seeds of
# the dictionary (matched one to one on decoder and encoder, cosine at least 0.7, and with its fall), in the halves of the cohort, at other
# layers, and in another model? The latents asked about are those of the largest fall, in the first arm.
#
# **Claims.** Latents of largest fall come again in two thirds of the seeds more often than with permuted decoders, and than with effects
# dealt out (it fails unless the share's interval lies above both). Necessary closures cost the bar in every further seed, by the
# lower bound of each fall, with its own dictionary and names (one miss is a failure). Falls rank alike in two halves of the cohort (it
# fails unless the central 95 % of splits lies above 0). Layers and models are described beside their nulls, and claim nothing.
#
# Reads 00 to 05, and fits probes at layers other than the dictionary's. Leaves `replication_seeds.csv`, `replication_families.csv`,
# `replication_halves.csv`, `replication_layers.csv`, `replication_models.csv`.

# %% tags=["parameters"]
study = "demo"
second_model_path = ""            # a second model for the comparison across models, with an SAE of its own; "" for none
second_sae_path = ""              # folder of that SAE (cfg.json, sae_weights.safetensors)
second_site = ""                  # its site
n_splits = 50                     # [1, 1e4] random halves of the cohort
n_tokens = 20000                  # [100, 1e9] tokens on which firing rates are counted, and letters on which two models are paired
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.causal import ablation, across, again, beside, kept, necessity, replication
from lib.causal import subjects as stored
from lib.corpus import corpus as corpora
from lib.models import adapter
from lib.outcome import validate
from lib.outcome.metrics import METRICS
from lib.sae import evaluate, format
from lib.stage import io, stops
from lib.stats import estimates

stage = io.open_stage(study, "07_replication")

# %%
corpus = corpora.load(study)
settings = io.read_json(study, "02_layer_hunting", "settings.json")  # the probes are those of 02
rule = io.read_json(study, "05_validation", "rule.json") | io.read_json(study, "05_validation", "settings.json")
chosen = io.read_json(study, "03_sae_training", "chosen.json")
site, arm = chosen["site"], rule["arms"][0]
training = io.stage_path(study, "03_sae_training", "chosen.json").parent
identity = io.read_json(study, "01_extraction", "model.json")
sae = format.load(training / chosen["folder"], site, identity)
necessary = necessity.verdicts([io.read_table(study, "05_validation", "necessity")])
of_arm = necessary[necessary.arm == arm]
claimed = np.array(beside.largest(of_arm, "latent", rule["n_claimed"]), dtype=int)  # the latents asked about
alarmed, no_go = stops.of_arms(io.read_table(study, "02_layer_hunting", "alarms")), stops.of_dictionary(chosen)
stopped = stops.joined(alarmed[arm], no_go)

# %% [markdown]
# What 01 read and 05 fitted: all that is known of subjects here comes from this cell.

# %%
subjects, background = stored.read(corpus), corpus.records().texts
fitted = kept.read(io.private_path(study, "05_validation", "kept.h5"))
y, run = fitted.arms[arm].y, fitted.arms[arm].run
metric = METRICS[next(of.type for of in corpus.targets if of.name == arm)]
target = again.Target(y, fitted.groups, run, seed=seed, metric=metric)

# %% [markdown]
# ## In other seeds
#
# A latent comes again in a seed if its partner there has its fall too. The null: partners among permuted decoders.

# %%
seeds = {name: format.load(training / folder, site, identity) for name, folder in chosen["seeds"].items()}
first, *others = seeds
own = {name: folder == chosen["folder"] for name, folder in chosen["seeds"].items()}
moved = {name: fitted.moved if own[name] else subjects.changes(other, site) for name, other in seeds.items()}
costs = {name: again.cost(moved[name], other.directions.detach().numpy(), target) for name, other in seeds.items()}

# %%
replicated = pd.DataFrame()
rule_of_seeds = "the interval lies above the larger of the shares with permuted decoders and with effects dealt out"
if not others:
    stage.claim(f"[{arm}] latents of largest fall come again in other seeds, with their fall, more often than by chance",
                None, None, None, 0, None, False, of="latents", rule=rule_of_seeds, stopped=stopped, because="03 trained one seed")
else:
    matches = [replication.partners(sae, seeds[name]) for name in others]
    by_chance = [replication.partners(sae, seeds[name], permuted=seed) for name in others]
    deltas, lows = ([one.table[column].to_numpy() for one in costs.values()] for column in ("delta", "low"))
    replicated = replication.with_effect(claimed, deltas, lows, matches, by_chance, seed=seed)
    stage.write_table("replication_seeds", replicated)
    e = estimates.share(int(replicated.replicated.sum()), len(replicated))
    by_luck = float(replicated[["null_permuted", "null_dealt"]].astype(float).mean().max())  # the stronger null
    stage.claim(f"[{arm}] latents of largest fall come again in two thirds of {len(seeds)} seeds, "
                "with their fall, more often than by chance", *e, round(by_luck, 4), e.low > by_luck,
                "share; Wilson interval; null: the larger of permuted decoders and effects dealt out", of="latents", rule=rule_of_seeds,
                stopped=stopped, because="" if e.n else "no latent can be tested")
replicated.round(4)

# %% [markdown]
# **Reading.** `n_found` of `n_seeds`, the own seed among them; `null_dealt` leaves the matching and deals out the effects alone.
#
# ## Closures, under the names of each seed
#
# A block that the prediction needs should be needed whatever dictionary splits it: each further seed has its own latents, named anew by
# 04, and its own closures.

# %%
asked = of_arm[(of_arm.kind == "closure") & of_arm.necessary]
closures_again = f"[{arm}] necessary closures cost {rule['bar']} or more in every further seed too, with its own dictionary and names"
if asked.empty or not others:
    stage.claim(closures_again, None, None, None, 0, 1.0, False, of="pairs", rule="all of them, by the lower bound of each fall",
                stopped=stopped, because="no closure is necessary" if others else "03 trained one seed")
else:
    seed_latents = io.read_table(study, "04_annotation", "seed_latents")
    further = {name: costs[name] for name in others}
    table = again.closures(asked, first, further, seed_latents, target, rule["least_moved"], rule["together"])
    stage.write_table("replication_families", table)
    seen = again.times_seen(table, asked.name.tolist(), first, rule["bar"])
    e = estimates.share(int(seen.sum()), len(seen) * len(others))
    stage.claim(closures_again, *e, 1.0, e.value == 1,
                "share of closures and seeds whose fall has a lower bound of that or more, probes as they are: "
                + "; ".join(f"{name}: {k} of {len(others)}" for name, k in seen.items()) + "; Wilson interval",
                of="pairs", rule="all of them, by the lower bound of each fall", stopped=stopped)
    print(table[["family", "seed", "latents", "delta", "low", "high"]].round(4).to_string(index=False))

# %% [markdown]
# **Reading.** A row a seed in which the closure's name comes again; one that is not listed was not named there.
#
# ## In the halves of the cohort

# %%
change = ablation.repeated_change(fitted.moved, sae.directions.detach().numpy(), run.probes[:1], run.folds[:1])[0]
halves = replication.split_half(y, run.score[0], change, fitted.groups, n_splits, seed, claimed, metric)
stage.write_table("replication_halves", halves)
half = halves[halves.latent < 0].set_index("measure")
ranked = half.loc["rank_correlation"]
stage.claim(f"[{arm}] falls rank alike in two halves of the cohort", ranked.value, ranked.low, ranked.high, int(ranked.n), 0.0,
            ranked.low > 0, f"Spearman over latents, central 95 % of {n_splits} splits; Pearson, which the few large ones carry, "
            f"gives {half.value['spearman_brown']:.2f} (Spearman-Brown); "
            f"of the largest in one half {half.value.get('carried', np.nan):.2f} fall in the other", of="latents",
            rule="the central 95 % of splits lies above 0", stopped=stopped,
            because="" if ranked.n > 1 else "fewer than two latents move anybody")
half.round(3)

# %% [markdown]
# **Reading.** `carried`: of as many latents as are asked about, chosen in one half, the share whose fall is above 0 in the other. The
# halves share the probes: this is the noise of those tested, not of those trained on.
#
# ## At other layers
#
# Each layer has a dictionary and probes of its own. Of each latent asked about, the latent that goes most with it over subjects.

# %%
n_stored = len(subjects.acts.tokens["unit"])
sampled = np.sort(np.random.default_rng(seed).choice(n_stored, min(n_tokens, n_stored), replace=False))
profiles, deltas, rates, how = {}, {}, {}, (settings["n_folds"], 1, settings["C_grid"], settings["seed"])
for where, held in chosen["layers"].items():
    own = where == site
    other = sae if own else format.load(training / held["sae"], where, identity)
    of_layer = run if own else validate.repeated(subjects.features(where), y, fitted.groups, *how, metric)
    moves = fitted.moved if own else subjects.changes(other, where)
    cost = again.cost(moves, other.directions.detach().numpy(), again.Target(y, fitted.groups, of_layer, seed=seed, metric=metric))
    profiles[where], deltas[where] = cost.change[0], cost.table.delta.to_numpy()
    of_layer_latents = evaluate.latents_of(other, subjects.acts.acts[where], sampled, subjects.acts.tokens["unit"])
    rates[where] = np.asarray((of_layer_latents > 0).mean(0)).ravel()
if len(profiles) > 1:
    layers = across.across_layers(profiles, deltas, rates, {site: claimed}, seed=seed)
    stage.write_table("replication_layers", layers)
    print(layers.groupby("other_site")[["correlation", "null_95", "peers", "partner_delta"]].mean().round(3).to_string())

# %% [markdown]
# **Reading.** A correlation above `null_95` is easily had, since one difference of letters moves many latents together; above `peers` it
# is not.
#
# ## In another model
#
# The same units, latents spread from tokens to letters, paired one to one on one half of the letters and
# measured on the other, against 1,000 random pairings. The twin of random weights is the floor; a second model is compared if
# the parameters name one.

# %%
shared = np.random.default_rng(seed).permutation(len(background))[: max(8, n_tokens // max(1, len(background[0])))]
sequences = [background[u] for u in shared]
model = adapter.load(corpus.model_path(), expect=identity)
untrained = adapter.load(corpus.model_path(), random_init=True, seed=seed)
others = {"twin of random weights": (untrained, format.load(training / "twin", site, untrained.identity), site)}
if second_model_path:
    second = adapter.load(io.data_path(second_model_path))
    second_sae = format.load(io.data_path(second_sae_path), second_site, second.identity)
    others[second_model_path.rsplit("/", 1)[-1]] = second, second_sae, second_site
ours = across.on_letters(model, sae, site, sequences)
rows = [{"model": name} | across.compare_models(ours, across.on_letters(*other, sequences), 1000, seed) for name, other in others.items()]
models = pd.DataFrame(rows)
stage.write_table("replication_models", models)
models.round(3)

# %% [markdown]
# **Reading.** `share`: pairs of correlation 0.5 or more, of the smaller number of latents; a second model says something if it is above
# both its null and the twin.

# %%
stage.finish()
