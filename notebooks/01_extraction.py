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
# # 01 · What does the model compute on these units?
#
# **Question.** Before anything is explained, the model has to be read: is it read correctly, does it know enough about its
# field to be worth explaining, and what does it make of each unit?
#
# **Claims.** The model beats its control (fails if the interval reaches the bar); what is stored is what each unit gives alone,
# in float32 (fails if a batch, padding or a copied row changed it by 1 %).
#
# Reads the corpus of 00 and the model that it names. Leaves, for the background, `activations.h5`, `pooled.h5`, `units`,
# `qc`; and the same for what subjects carry under `private/`.

# %% tags=["parameters"]
study = "demo"
sites = ["resid_post.1", "resid_post.3", "resid_post.4",
         "resid_post.5"]               # {all, ...} where activations are read; all: after every block; one or more, none twice
frames = [0]                           # [0, 63] offsets of a k-mer model's words; every unit is run once a frame; one or more, none twice
subset_units = 1000                    # [0, 1e9] also write a small store of this many background units (0: none)
token_budget = 2048                    # [1, 1e9] tokens per batch, padding included; 1 runs every unit alone
reuse = True                           # copy the rows of units that this study's last extraction holds
audit_share = 0.01                     # [0, 1] share of the rows that are computed again, each unit alone in float32
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.acts import extract, store, work
from lib.acts import quality as qc
from lib.corpus import corpus as corpora
from lib.figures import extraction, labels, style
from lib.models import adapter, conformance, language
from lib.models.sites import stored
from lib.stage import io

stage = io.open_stage(study, "01_extraction")

# %% [markdown]
# ## The model, and whether it is read correctly
#
# Public model packages ship with blocks that are not chained and with padding that leaks. The conformance suite runs
# on this very model and on these very units before a single activation is kept.

# %%
corpus = corpora.load(study)
records = {name: corpus.records(name) for name in corpus.corpora()}
model = adapter.load(corpus.model_path())
sites = stored(sites, [site.name for site in model.sites()])
checks = conformance.check(model, records["background"].texts[:3])
stage.write_table("conformance", checks)
assert checks.passed.all(), f"the adapter misreads this model:\n{checks}"
checks

# %% [markdown]
# ## Does the model know anything?
#
# Beside a control, which the kind of data chooses: its loss on the same sequence shuffled; or, where the truth is planted, whether it
# tells what works from what looks the same, when nothing local does. If the model did not beat its control, nothing downstream could be
# about its field.

# %%
no_head = "" if model.has_head else "the weights hold no language-model head"
known, note = corpus.module.knowledge(model, corpus, seed)
stage.write_table("knowledge", known)
asked = known[known.rule != ""]
for _, row in asked.iterrows():
    kept, rule = language.holds(row)
    stage.claim(f"model knowledge: {row['name']} {row.rule} {row.bound:.2f}", row.value, row.low, row.high, row.n, row.bound, kept, note,
                of=corpus.words["units"], rule=rule, because="" if row.n else no_head)
known.round(3)

# %% [markdown]
# ## Extraction
#
# The forward stops at the deepest site, without the language-model head; only real tokens are kept, each with its
# coordinates. float16 on disk, checked against its range, written while the model runs and read through at the end. Units
# that the study's last extraction holds are copied, so more subjects cost only the units not seen before; an extraction
# that was interrupted goes on where it was.

# %%
provenance = {"model": str(model.identity["weights_sha256"]), "study": study}
word = getattr(model.tokenizer, "k", 1)
units, totals, audits = {}, [], []
for name, read in records.items():
    private, prefix, where = name != "background", corpora.PREFIX[name], stage.private_path if name != "background" else stage.path
    paths = where(prefix + "activations.h5"), where(prefix + "pooled.h5")
    last = work.earlier(study, "01_extraction", prefix + "activations.h5", private) if reuse else None
    counts = extract.extract(model, read.texts, read.place(), sites, *paths, token_budget, provenance, own=read.own, frames=frames,
                             known=last, work=work.work_dir(study, "01_extraction", name, private))
    print(f"{name}: {counts.computed.sum():,} of {len(counts):,} units run, the others copied")
    of_door = corpus.units(name)
    units[name] = pd.concat([of_door.assign(frame=of_door.start % word), counts.drop(columns="computed")], axis=1)
    stage.write_table(prefix + "units", units[name], private=private)
    own_letters = sum(map(len, read.texts)) if read.own is None else extract.own_bases(read.place(), read.own).sum()
    totals.append({"part": name, "units": len(counts)} | counts.drop(columns="computed").sum().to_dict() | {"n_bases": own_letters})
    audits.append(
        extract.audit(model, read.texts, read.place(), paths[0], audit_share, seed, own=read.own, frames=frames).assign(part=name)
    )
stage.write_json("model.json", model.identity);

# %%
if subset_units:
    n = len(records["background"].texts)
    store.subset(
        stage.path("activations.h5"),
        stage.path("subset.h5"),
        np.sort(np.random.default_rng(seed).choice(n, min(subset_units, n), replace=False)),
    )
units = pd.concat(units.values(), ignore_index=True)

# %% [markdown]
# ## Quality control
#
# Norms that explode, one direction that dominates (anisotropy), unknown tokens, uncovered letters: each would be seen here.
# So would a batch, padding or a copied row that changed what is stored: some units are computed again, each alone and in
# float32, and compared with their rows. Rounding to float16 alone makes at most 0.00049 of a row's largest value.

# %%
acts = store.open_store(stage.path("activations.h5"))
every_row = store.check(stage.path("activations.h5"))
quality = qc.norms(acts, {name: every_row[name]["max_abs"] for name in sites}, 20_000, seed)
stage.write_table("qc", quality)
totals = pd.DataFrame(totals)
totals["unknown_share"] = totals.n_unknown / (totals.n_tokens + totals.n_unknown)
totals["covered_share"] = totals.n_bases_covered / (totals.n_bases * len(frames))
stage.write_table("tokens", totals)
quality

# %%
totals

# %%
audit = pd.concat(audits, ignore_index=True)
stage.write_table("audit", audit)
worst = audit.loc[audit.largest_relative_difference.idxmax()]
stage.claim("stored activations are those of each unit alone in float32, within 1 %", worst.largest_relative_difference, None,
            None, int(audit.n_rows.sum()), 0.01, worst.largest_relative_difference < 0.01,
            "largest over rows and sites of max |x - stored| / max |x|; no interval", of="tokens", rule="below 0.01")
audit

# %%
figure, axes = style.axes(1, 2, height=2.0, width_ratios=[1.25, 0.9])
extraction.knowledge(known, axes[0], labels.loss(corpus.about))
extraction.norms(quality, axes[1]);

# %%
stage.headline(
    units=len(units), tokens=int(units.n_tokens.sum()),
    **{row.name.split(" (")[0]: round(row.value, 3) for row in asked.itertuples(index=False)}
)
work.forget(study, "01_extraction")
stage.finish()

# %% [markdown]
# **Reading.** Left: the model against its control, where it has a head (lower is better), or what each gate measures, with an arrow
# at its bound that points to the side that it has to lie on. Right: activations grow from block to block in a
# residual stream; a jump of orders of magnitude would be a fault.
