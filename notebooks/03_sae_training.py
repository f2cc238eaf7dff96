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
# # 03 · Which dictionary is good enough to read?
#
# **Question.** Can a sparse dictionary rebuild the model's activations from few latents, on chromosomes it never saw?
#
# **Rule, fixed beforehand.** Target: explained variance at least 0.95 with L0 at most 20. Floor: 0.90 with at most 30. A
# dictionary below the floor is not read, and `decisions.md` says why. The run is chosen on validation chromosomes and
# read once on test chromosomes. Beside it stand what costs the same per token: PCA with as many components as the
# dictionary has active latents, and a random dictionary of the same shape.
#
# Reads `01_extraction` (background units: reference sequence, nobody's genome). Leaves one folder per run.

# %% tags=["parameters"]
study = "demo"
model_path = "params/demo/model"  # the model of 01_extraction, for loss recovered
sae_site = "resid_post.2"         # site to decompose; "best" takes the best block of 02_layer_hunting
validation_contigs = ["sim7"]     # chromosomes on which a run is chosen
test_contigs = ["sim8"]           # chromosomes read once
run_architectures = ["topk", "topk", "standard", "standard"]  # one entry a run
run_expansions = [8, 8, 8, 8]     # d_sae / d_model
run_sparsities = [16.0, 30.0, 0.02, 0.005]  # k for topk, weight of the L1 term for standard
steps = 1500                      # optimiser steps a run
batch = 1024                      # tokens a step
n_boot = 1000                     # bootstrap resamples, over units
loss_units = 64                   # test units on which loss recovered is measured
seed = 0

# %%
import json

import numpy as np
import pandas as pd

from lib import figstyle, io, stats, store
from lib.models import adapter
from lib.sae import evaluate, format
from lib.sae.model import SAEConfig, random_dictionary
from lib.sae.train import TrainConfig, settings, train

stage = io.open_stage(study, "03_sae_training")

# %%
if sae_site == "best":
    import yaml

    hunted = yaml.safe_load(io.stage_path(study, "02_layer_hunting", "layer_hunting_results.yaml").read_text())
    sae_site = next(iter(hunted.values()))["best_block"]
identity = json.loads(io.stage_path(study, "01_extraction", "model.json").read_text())
acts = store.open_store(io.stage_path(study, "01_extraction", "activations.h5"))
units = io.read_table(study, "01_extraction", "units")
x, unit = acts.acts[sae_site], acts.tokens["unit"]
split = store.split_rows(units, unit, validation_contigs, test_contigs)
pd.Series({name: len(rows) for name, rows in split.items()}).to_frame("tokens")

# %% [markdown]
# ## The sweep

# %%
runs, saes, curves = [], {}, []
for architecture, expansion, sparsity in zip(run_architectures, run_expansions, run_sparsities, strict=True):
    config = SAEConfig(architecture, x.shape[1], expansion * x.shape[1], int(sparsity) if architecture == "topk" else 0)
    training = TrainConfig(steps=steps, batch=batch, seed=seed, l1=0.0 if architecture == "topk" else sparsity)
    name = f"{architecture}_x{expansion}_{sparsity:g}"
    saes[name], curve = train(config, training, store.shuffled_batches(x, split["train"], batch, seed), name)
    curves.append(curve.assign(run=name))
    folder = f"{sae_site}/{name}"
    format.save(saes[name], stage.path(f"{folder}/cfg.json").parent, sae_site, identity)
    stage.write_json(f"{folder}/settings.json", settings(config, training))
    runs.append({"run": name, "architecture": architecture, "d_sae": config.d_sae, "sparsity": sparsity})
stage.write_table("curves", pd.concat(curves, ignore_index=True))

# %% [markdown]
# ## Held-out quality, and what the same budget buys otherwise

# %%
rows = []
for run in runs:
    for part in ("validation", "test"):
        q = evaluate.quality(saes[run["run"]], x, split[part], unit)
        e = stats.ratio_interval(q.sse, q.sst, n_boot, seed)
        rows.append({**run, "split": part, "explained_variance": e.value, "low": e.low, "high": e.high, "l0": q.l0,
                     "dead_share": q.dead_share, "n_units": e.n, "n_tokens": len(split[part])})
sweep = pd.DataFrame(rows)
chosen = evaluate.choose_run(sweep[sweep.split == "validation"])
best = sweep[(sweep.run == chosen) & (sweep.split == "test")].iloc[0]
sweep.round(4)

# %%
sae = saes[chosen]
controls = []
random = random_dictionary(sae.config, sae, seed + 1)
q = evaluate.quality(random, x, split["test"], unit)
e = stats.ratio_interval(q.sse, q.sst, n_boot, seed)
controls.append({"control": "random dictionary", "explained_variance": e.value, "low": e.low, "high": e.high, "l0": q.l0})
components = max(1, round(best.l0))
sse, sst = evaluate.pca_quality(x, split["train"], split["test"], unit, components, seed)
e = stats.ratio_interval(sse, sst, n_boot, seed)
controls.append({"control": "PCA", "explained_variance": e.value, "low": e.low, "high": e.high, "l0": components})
controls = pd.DataFrame(controls)
stage.write_table("sweep", sweep)
stage.write_table("controls", controls)
quality = evaluate.quality(sae, x, split["test"], unit)
stage.write_table("latents", pd.DataFrame({"latent": np.arange(sae.config.d_sae), "frequency": quality.frequency}))
stage.write_json("chosen.json", {"site": sae_site, "run": chosen, "folder": f"{sae_site}/{chosen}"})
controls.round(3)

# %% [markdown]
# ## Does the language model still work on the rebuilt activations?

# %%
model = adapter.load(io.data_path(model_path))
texts = io.private_path(study, "01_extraction", "sequences.txt").read_text().split()
test_units = np.unique(unit[split["test"]])[:loss_units]
recovered = evaluate.loss_recovered(sae, model, sae_site, [texts[u] for u in test_units], seed=seed)
stage.write_json("loss_recovered.json", recovered)
recovered

# %% [markdown]
# ## Go or no-go

# %%
verdict = evaluate.go_no_go(best.explained_variance, best.l0)
stage.claim("the chosen dictionary passes the floor (EV >= 0.90 with L0 <= 30) on test chromosomes",
            best.explained_variance, best.low, best.high, int(best.n_units),
            round(float(controls.explained_variance.max()), 4), verdict != "no-go",
            f"L0 {best.l0:.1f}; bootstrap over units; null: best of PCA and random dictionary at that L0")
stage.write_text("decisions.md", f"""# Decision: {verdict}

Study {study}, site {sae_site}, run {chosen}, chosen on {', '.join(validation_contigs)}, read on {', '.join(test_contigs)}.

- Explained variance {best.explained_variance:.4f} (95 % interval {best.low:.4f} to {best.high:.4f}, n = {best.n_units} units).
- L0 {best.l0:.2f}; dead latents {best.dead_share:.1%} of {best.d_sae} over {best.n_tokens} test tokens.
- PCA with {components} components: {controls.explained_variance[1]:.4f}; random dictionary: {controls.explained_variance[0]:.4f}.
- Loss recovered against mean ablation: {recovered['loss_recovered']:.4f} ({recovered['n_tokens']} tokens).
- Target 0.95 at L0 20, floor 0.90 at L0 30.
""")
stage.headline(site=sae_site, run=chosen, EV=round(best.explained_variance, 4), L0=round(best.l0, 2),
               dead=round(best.dead_share, 4), decision=verdict)
verdict

# %%
figure, ax = figstyle.axes(1, 1, height=2.3)
for architecture, group in sweep[sweep.split == "test"].groupby("architecture"):
    figstyle.intervals(ax, group.rename(columns={"explained_variance": "value"}), "l0", figstyle.COLOURS[architecture],
                       architecture, figstyle.MARKERS[architecture])
for c in controls.itertuples():
    ax.plot(c.l0, c.explained_variance, figstyle.MARKERS[c.control], color=figstyle.COLOURS[c.control], label=c.control)
ax.axhline(0.9, color="0.7", lw=0.6)
ax.axvline(30, color="0.7", lw=0.6)
ax.set(xlabel="L0 (active latents per token)", ylabel="explained variance (fraction)", xscale="log")
ax.legend(loc="lower right")
stage.finish()

# %% [markdown]
# **Reading.** Up and left is better. The corner above 0.90 and left of 30 is the floor. The distance to PCA at the
# same number of components is what sparse, token-by-token choice of directions buys.
