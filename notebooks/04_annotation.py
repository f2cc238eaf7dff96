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
# **Question.** Does a latent fire where a concept of its field is (of DNA: a factor's motif, an exon, a splice site, a variant
# of known effect): more than its composition explains, more than the same track moved along, more than a raw neuron,
# the surface (of DNA: k-mers), a random dictionary, or a dictionary of a model that learned nothing?
#
# A match is *plausible*, not *faithful*: whether the prediction needs the latent is asked in `05_validation`.
# Pairs and thresholds are chosen on the validation split and read once on the test split. We report *families*: which
# member of a family a latent reads cannot be told.
#
# Reads 00, 01 and 03; background units only. Leaves:
#
# - the catalogue: `features.csv` and the same as `features.parquet` (one row a latent, columns described in `columns.md`),
#   `top_windows.csv`, `cards.csv`, `precision_recall.csv`; how much of each latent's firing lies in repeats: `repeats.csv`
# - every pair read on test: `associations.csv`; the best latent of each concept, by method: `best_latents.csv`; what was
#   looked for: `concepts.csv`
# - what tells instances that work from those that look the same: `contrasts.csv`, and its means `contrast_means.csv`
# - beside the rivals: `ladder.csv`; layer by layer: `layer_ladder.csv`, `layer_concepts.csv`; in other seeds:
#   `seed_ladder.csv`, `seed_latents.csv`; what composition explains: `composition.csv`

# %% tags=["parameters"]
study = "demo"
min_instances = 15                   # [1, 1e6] concepts with fewer instances on a split are left out
n_shifts = 1000                      # [10, 1e6] circular shifts for the null
pair_floor = 0.3                     # [0, 1] pairs with a lower F1 on validation are not read; they count as tests
f1_floor = 0.5                       # [0, 1] a claimed pair has test F1 above this, and q below 0.05
contrast_floor = 0.75                # [0, 1] what works is told from what looks the same where test F1 is at least this
n_boot = 1000                        # [10, 1e6] bootstrap resamples, over units or families
repeat_cut = 0.5                     # [0, 1] a latent with this share of its firing in repeats, and more than background, is called by them
n_layer_concepts = 16                # [1, 1000] concepts of a kind shown layer by layer
n_cards = 6                          # [0, 100] latents for feature cards
card_windows = 5                     # [1, 100] top reference units on each card
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.acts import store
from lib.annotate import catalogue as catalogue_
from lib.annotate import composition, concepts, contrasts, outside, search
from lib.annotate import ladder as ladder_
from lib.annotate import shown as shown_
from lib.annotate.catalogue import nearest, stacked, variance_share, write_catalogue
from lib.annotate.ladder import best_concepts, shown_concepts
from lib.annotate.shown import top_windows
from lib.annotate.strata import confounder_codes, strata_of
from lib.corpus import corpus as corpora
from lib.corpus import splits
from lib.figures import annotation, style
from lib.models import adapter
from lib.sae import evaluate, format
from lib.stage import io, stops
from lib.stats import estimates

stage = io.open_stage(study, "04_annotation")

# %%
corpus = corpora.load(study)
kind, words = corpus.module, corpus.words
chosen = io.read_json(study, "03_sae_training", "chosen.json")
identity = io.read_json(study, "01_extraction", "model.json")
site = chosen["site"]
sae = format.load(io.stage_path(study, "03_sae_training", chosen["folder"] + "/cfg.json").parent, site, identity)
acts = store.open_store(io.stage_path(study, "01_extraction", "activations.h5"))
units = io.read_table(study, "01_extraction", "units")
texts = corpus.records().texts
x = acts.acts[site]
split = splits.split_rows(units, acts.tokens["unit"], corpus.split["validation"], corpus.split["test"])
once = concepts.disjoint_units(units)
split = {part: rows[np.isin(acts.tokens["unit"][rows], once)] for part, rows in split.items()}
stopped = stops.of_dictionary(chosen)  # every claim here rests on it
print(f"{chosen['run']} at {site}; decision: {chosen['decision']}")

# %% [markdown]
# ## Concepts on tokens
#
# The intervals of 00, laid on tokens: a token belongs to one that covers half of it, or half of which it covers. Concepts with too few
# instances on either split are left out.

# %%
intervals = corpus.concepts()
laid, tokens = {}, {}
for part in search.PARTS:
    tokens[part] = concepts.token_table(acts.tokens, units, split[part])
    laid[part] = concepts.combine(
        [
            concepts.lay(tokens[part], intervals[intervals.kind == name].drop(columns="kind"), name, source, min_instances)
            for name, source in corpus.concept_kinds.items()
        ]
    )
laid["validation"], laid["test"] = concepts.shared(laid["validation"], laid["test"])
stage.write_table("concepts", laid["test"].table)
kinds = laid["test"].table.kind.unique().tolist()
laid["test"].table.groupby("kind").agg(concepts=("concept", "size"), instances=("n_instances", "sum"))

# %% [markdown]
# ## What else could explain a latent
#
# Composition and place of every token. A pair counts only if its odds ratio, adjusted for what the kind of
# data names (of DNA: GC, CpG, repeats, distance to a start site; Mantel-Haenszel over strata), is above 1 with its interval.

# %%
codes = confounder_codes({part: kind.traits(corpus, tokens[part], texts) for part in tokens})
strata = {part: strata_of({name: coded[name] for name in kind.MATCHED_ON}) for part, coded in codes.items()}
print(f"{len(np.unique(strata['test']))} strata of {len(tokens['test']):,} test tokens")

# %% [markdown]
# ## What recurs
#
# A repeat holds the same words everywhere (of DNA: an Alu, a run of A), so that a latent that reads it fits whatever profile has one
# of them. The first kind of concepts is therefore read on tokens outside repeats alone, by the latents and by every rival, and a
# concept counts there if it has enough instances; with repeats in, it is counted beside, in the columns `…_everywhere` of `ladder.csv`.

# %%
named = next(iter(corpus.concept_kinds), "")  # the kind that names latents
recurs = {part: kind.repeated(corpus, tokens[part], texts) for part in search.PARTS}
free = {part: recurs[part] == "" for part in search.PARTS}
whole = {part: concepts.of_kind(laid[part], named) for part in search.PARTS}
views = {named: outside.view(whole, free, min_instances)} if named in kinds and not all(map(np.all, free.values())) else {}
for name, seen in views.items():
    print(f"{name}: {len(seen.laid['test'].table)} of {len(whole['test'].table)} concepts have {min_instances} instances outside repeats")
pd.Series(recurs["test"][~free["test"]], dtype=object).value_counts().div(len(recurs["test"])).rename("share of test tokens").to_frame()

# %% [markdown]
# ## Association, with the null ladder
#
# The same procedure, blind to which is which. *Random dictionary*: unit directions, the same number active. *Random twin*: the
# same architecture with random weights and a dictionary trained on it. *Raw neurons* and *PCA*: both signs of each axis. *Words* (of DNA:
# k-mers): the surface at the token. *Rate-matched*: each latent's own track, its units dealt out anew. *Label shuffle*: the SAE against
# concepts whose instances are moved whole inside chromosome and stratum. *Shuffled sequence*: the SAE on shuffled units.

# %%
model = adapter.load(corpus.model_path(), expect=identity)
twin = adapter.load(corpus.model_path(), random_init=True, seed=seed)
ground = search.Ground(split, tokens, laid, strata, texts, kind.shuffled, n_shifts, pair_floor, f1_floor, seed, views)
training = io.stage_path(study, "03_sae_training", "chosen.json").parent

def methods_at(where):
    """The latents of a site with the null ladder, from the dictionaries that 03 trained there."""
    trained = chosen["layers"][where]
    of_model, of_twin = (format.load(training / trained[name], where, m.identity) for name, m in (("sae", model), ("twin", twin)))
    return search.latents_and_rivals(ground, acts.acts[where], model, twin, where, of_model, of_twin, trained["l0"],
                                     acts.tokens["unit"])

methods = methods_at(site)
own = methods["SAE"]
surface = {kind.WORDS: {part: kind.words(corpus, tokens[part], texts) for part in search.PARTS}}  # the same at every layer
read, best = (pd.concat(tables, ignore_index=True) for tables in zip(search.search(methods, ground), search.search(surface, ground)))
methods |= surface

# %% [markdown]
# *Decoy concepts* (of DNA: one profile a family with its columns shuffled, as many of its best hits as the real one has): the SAE against
# places that keep composition, information and repeats, but not the word. As many as families, to save time, under the real names.

# %%
decoys = pd.DataFrame()
if named in kinds:
    one_each = ground.on(named, "validation")[0].table.sort_values("n_instances", ascending=False, kind="stable").drop_duplicates("family")
    held_out = units[units.unit.isin(pd.concat(tokens.values()).unit)]
    decoys = kind.decoys(corpus, held_out, texts, one_each.concept.tolist(), seed)
if len(decoys):
    of_decoys = search.search({search.DECOYS: own}, search.of_decoys(ground, named, decoys, min_instances), [named])
    read, best = (pd.concat(tables, ignore_index=True) for tables in zip((read, best), of_decoys))

# %%
stage.write_table("associations", read.drop(columns="concept_row"))
stage.write_table("best_latents", best)
settings = {"f1_floor": f1_floor, "pair_floor": pair_floor, "contrast_floor": contrast_floor, "methods": list(methods)}
stage.write_json("settings.json", settings);  # for figures and later stages

# %%
everywhere = ladder_.ladder(*search.search(methods, ground._replace(views={}), list(views)) if views else (read[:0], best[:0]))
ladder = ladder_.beside(ladder_.ladder(read, best), everywhere)
stage.write_table("ladder", ladder)
ladder.round(3)

# %% [markdown]
# **Reading.** A row a kind of concept and method. `found`: concepts whose latent or rival, chosen on validation, is claimed on test;
# `profiles_found`: the same, both orientations of a concept counted once (of DNA: both strands); `latents_claimed`: how many latents or
# rivals have any claimed pair; `…_everywhere`: the same with repeats in, where the row is read outside them. The SAE says something by
# its height above the other rows. *Label shuffle* and *rate-matched* say what the same search claims by composition or by firing rate
# alone.

# %% [markdown]
# ## Told apart
#
# A concept says where something lies, not whether it works there. Where the truth is planted, instances that work stand beside others
# that look the same nearby, and only what lies further off tells them (of DNA: a site of the simulated grammar and its partner; lone
# decoys lack a whole partner in its place). Of each method and group of instances, the latent and the threshold that tell best are
# chosen on validation, by the largest activation over an instance, and read once on test. Beside them stands what letters nearby
# say, fitted on the training split.

# %%
instances, nearby = kind.contrasts(corpus, tokens)
scores = {name: contrasts.peaks_of(latents, instances) for name, latents in methods.items() if name not in contrasts.PLACELESS} | nearby
told, means = contrasts.told_apart(scores, instances, n_boot, seed)
stage.write_table("contrasts", told)
stage.write_table("contrast_means", means)
told.pivot_table(index="group", columns="method", values="f1", sort=False).round(3)

# %%
means.round(3)

# %% [markdown]
# **Reading.** Mean test F1 over groups, 95 % bootstrap over units; `always`: that of calling every instance one that works; `gain`: the
# SAE less the method, paired. A method that reads only what is nearby cannot be far above `always`. The truth chooses latents
# here, so that `tells` of the catalogue is no discovery.

# %%
planted = "true site" in corpus.concept_kinds  # without a truth nothing is asked
empty = "" if len(told) else "nothing is planted that differs by its partner alone"
said = {"of": words["units"], "stopped": stopped, "because": empty}
if planted:
    e, gains = contrasts.mean_f1(means, "SAE"), contrasts.gains(means, [name for name in scores if name != "SAE"])
    strongest = min(gains, key=lambda rival: gains[rival].low)
    by = f"bootstrap over {words['units']}; one SAE seed"
    stage.claim("the best latent tells what works from what looks the same (mean test F1)", *e, contrast_floor, e.low >= contrast_floor, by,
                rule=f"the interval of the mean over groups lies at or above {contrast_floor:g}", **said)
    for rival, e in [*gains.items(), (None, gains[strongest])]:
        stage.claim(
            f"latents tell what works from what looks the same better than {rival or 'the strongest rival'} (test F1, mean difference)",
            *e, 0.0 if rival else strongest, e.low > 0, by, rule="the interval of the paired difference lies above 0", **said)

# %%
shares = contrasts.recovered(told, contrast_floor) or dict.fromkeys(scores, estimates.NOTHING)
if planted:
    e, strongest = shares["SAE"], max((name for name in shares if name != "SAE"), key=lambda rival: shares[rival].value)
    most = shares[strongest].value
    stage.claim(
        f"contrasts that a latent tells on either orientation (share, test F1 at least {contrast_floor:g})",
        *e, most, e.value >= 0.8 and e.value - most >= 0.25,
        f"95 % Wilson, shown beside and not asked for, since few are planted; strongest rival: {strongest}", **(said | {"of": "pairs"}),
        rule="the share is at least 0.8, and that of the strongest rival at least 0.25 lower")

# %% [markdown]
# ## Layer by layer
#
# The same search at every layer with a dictionary of its own, all nulls beside it (words know no layer). A cell of the
# heat map is one concept at one layer: test F1 of the latent that was best on validation, with its interval over units.

# %%
at_layer = {site: (read, best, own)}
for other in [name for name in acts.acts if name in chosen["layers"] and name != site]:
    at_other = methods_at(other)
    at_layer[other] = (*search.search(at_other, ground), at_other["SAE"])
by_layer, cells = [], []
for where in [name for name in acts.acts if name in at_layer]:
    read_at, best_at, latents_at = at_layer[where]
    if where != site:
        read_at, best_at = (pd.concat([t, at_site[at_site.method == kind.WORDS]]) for t, at_site in ((read_at, read), (best_at, best)))
    by_layer.append(ladder_.ladder(read_at, best_at).assign(site=where))
    for name in kinds:
        of_sae, shown = best_at.method == "SAE", best_at.concept.isin(shown_concepts(best, name, n_layer_concepts))
        null = best_at[~of_sae & shown].groupby("concept").f1.max()
        part = search.f1_intervals(best_at[of_sae & shown], *ground.tested(latents_at["test"], name), n_boot, seed)
        cells.append(part.assign(site=where, best_null=part.concept.map(null)))
columns = ["site", "kind", "concept", "family", "latent", "f1", "low", "high", "claimed", "best_null"]
layer_ladder, cells = pd.concat(by_layer, ignore_index=True), pd.concat(cells)[columns] if cells else pd.DataFrame(columns=columns)
stage.write_table("layer_ladder", layer_ladder)
stage.write_table("layer_concepts", cells)
layer_ladder.pivot_table(index=["kind", "method"], columns="site", values="profiles_found", sort=False)

# %% [markdown]
# **Reading.** Concepts found, orientations counted once; a row a kind and method, a column a layer. The SAE is compared with its nulls
# inside a column. Across columns its dictionaries differ too, in L0 and in explained variance (`layers.csv` of 03).

# %% [markdown]
# ## Other seeds of the dictionary
#
# The same search on dictionaries that differ by their seed alone: what is found has to be more than one training's luck.

# %%
def of_repeats(latents, rows):
    """How much of each latent's firing above its threshold lies in repeats. rows: its pairs."""
    limits = outside.limits(best_concepts(rows), latents["test"].shape[1])
    return outside.shares(latents["test"], limits, recurs["test"], tokens["test"].unit.to_numpy(), repeat_cut)

# %%
again = {
    name: format.load(training / folder, site, model.identity) for name, folder in chosen["seeds"].items() if folder != chosen["folder"]
}
again = {name: {part: evaluate.latents_of(other, x, split[part], acts.tokens["unit"]) for part in search.PARTS}
         for name, other in again.items()}
seed_read, seed_best = search.search(again, ground) if again else (read[:0], best[:0])
first = next(iter(chosen["seeds"]))
own_ladder = ladder[ladder.method == "SAE"].assign(method=first)
by_seed = pd.concat([own_ladder, ladder_.ladder(seed_read, seed_best)], ignore_index=True, join="inner")
stage.write_table("seed_ladder", by_seed.rename(columns={"method": "seed"}))
names = [
    outside.renamed(best_concepts(rows), of_repeats(again[other], rows), named).assign(seed=other)
    for other, rows in seed_read.groupby("method")
]
seed_names = pd.concat(names or [best_concepts(seed_read).assign(seed="")])
stage.write_table("seed_latents", seed_names[["seed", "latent", "concept", "kind", "family", "f1_validation", "f1", "q", "claimed"]])
by_seed.pivot_table(index="kind", columns="method", values="profiles_found", sort=False)

# %% [markdown]
# **Reading.** Concepts found, orientations counted once; a column a seed, first the dictionary that is read everywhere else. Like counts
# say that the number is not one training's luck. They do not say that the same latents came back: that is asked in 03.

# %% [markdown]
# ## Claims
#
# Trained minus null, one claim a null, with an interval over families (members of a family share their sites). The strongest rival is
# the one whose interval reaches lowest: that claim holds only if latents beat every one.

# %%
of_own, with_repeats = (table[table.method == "SAE"].set_index("kind") for table in (ladder, everywhere))
beside = {
    name: f"; outside repeats: {of_own.families_found.get(name, 0)} families found, {with_repeats.families_found.get(name, 0)} with them"
    for name in views
}

# %%
for name in corpus.concept_kinds:
    of_name = best[best.kind == name]
    gains = ladder_.gains(of_name, [m for m in (*methods, *{*of_name.method} - {*methods}) if m != "SAE"], n_boot, seed)
    strongest = min(gains, key=lambda rival: gains[rival].low)
    for rival, e in [*gains.items(), (None, gains[strongest])]:
        stage.claim(
            f"latents match {name} concepts better than {rival or 'the strongest rival'} (test F1, mean difference)",
            *e,
            0.0 if rival else strongest,
            e.low > 0 and e.n >= 10,
            "bootstrap over families; one SAE seed, the others in seed_ladder.csv" + beside.get(name, ""),
            of=f"{name} families",
            rule="the interval of the paired difference lies above 0, with at least 10 families",
            stopped=stopped,
            because="" if e.n >= 10 else f"{e.n} {name} families have {min_instances} instances on validation and on test",
        )
stage.headline(**{f"{k} found": int(v) for k, v in of_own.profiles_found.items()})

# %% [markdown]
# ## How much of a latent is composition?
#
# Held-out R² of each latent on token identity and on the confounders, and its agreement with itself under the symmetry of its kind
# (of DNA: the reverse complement).

# %%
both = {name: np.concatenate([codes[part][name] for part in ("validation", "test")]) for name in codes["test"]}
token_id = np.concatenate([acts.tokens["token_id"][split[part]] for part in ("validation", "test")])
n_validation = len(tokens["validation"])
rows = np.arange(len(token_id))
share = composition.shares(stacked(own), token_id, both, rows[:n_validation], rows[n_validation:])
if kind.SYMMETRY:
    share[kind.SYMMETRY] = kind.symmetry(model, site, sae, texts, tokens["test"], own["test"])
stage.write_table("composition", share)
share.describe().loc[["mean", "50%", "max"]].round(3)

# %% [markdown]
# **Reading.** Mean, median and largest over latents of R², fitted on validation and read on test. `token_identity` near 1: the latent is
# its token's name; `confounders`: all of them at once; below 0 the fit does not carry over. `identity_f1` and `identity_auroc` say how
# well a set of tokens imitates when the latent fires. The agreement under the symmetry, where the kind has one, is a correlation.

# %% [markdown]
# ## The catalogue
#
# One row a latent: how often it fires, its best concept with test F1, AUROC, q and adjusted odds, what composition explains, and
# whether that is *plausible*. *faithful* stays empty: whether the prediction needs a latent is asked in `05_validation`, which
# writes `catalogue.csv`, the same columns with *faithful* and the fall of AUROC without the latent.

# %%
of_sae = read[read.method == "SAE"]
in_repeats = of_repeats(own, of_sae)
stage.write_table("repeats", in_repeats)
explained = variance_share(sae, own["test"], x, split["test"], acts.tokens["unit"])
catalogue = catalogue_.catalogue(of_sae, io.read_table(study, "03_sae_training", "latents"), share, explained, nearest(sae.W_dec),
                                 kind.SYMMETRY, contrasts.tells(told, "SAE"))
catalogue = outside.renamed(catalogue, in_repeats, named, "plausible")
write_catalogue(stage, catalogue, kind.COLUMNS)
stage.headline(**{"latents of repeats": int(in_repeats.of_repeats.sum())})
called = catalogue[catalogue.kind == outside.KIND].groupby("family")
called.agg(latents=("latent", "size"), repeat_share=("repeat_share", "median")).assign(background=in_repeats.background[0]).round(3)

# %% [markdown]
# **Reading.** Latents that are called by a repeat: where they fire, `repeat_cut` or more of the test tokens lie in one, and the lower end
# of that share (95 % Wilson, over units) is above the `background`, the share of all test tokens. The concept that they match best is in
# `matched`; one of the first kind is not claimed for them.

# %% [markdown]
# How many are plausible, at two sizes; latents of repeats are not counted. Several may read one family, so that families stand beside
# them. A count has no interval, and rivals have such latents too: it holds only above the largest of theirs. Do the plausible ones
# come back in other seeds, by when they fire?

# %%
ranked = catalogue[catalogue.plausible & (catalogue.kind != outside.KIND)].sort_values("f1_validation", ascending=False, kind="stable")
of_families = ", ".join(f"{n} {name} families" for name, n in ranked.groupby("kind").family.nunique().items()) or "no family"
no_concept = "" if len(best) else f"no concept has {min_instances} instances on validation and on test"
others = ladder[(ladder.kind == named) & (ladder.method != "SAE")].set_index("method").latents_claimed
most, of_rival = (others.idxmax(), int(others.max())) if len(others) else ("no rival", 0)
for least in (50, 100):
    stage.claim(f"{least} latents are plausible", len(ranked), None, None, len(catalogue), max(least, of_rival),
                len(ranked) >= least and len(ranked) > of_rival, f"a count of latents, of {of_families}; latents of repeats are left out; "
                f"one SAE seed; of {most}, claimed for a {named}: {of_rival}", of="latents",
                rule=f"at least {least}, and more than of any rival", stopped=stopped, because=no_concept)

# %%
n_others = len(chosen["seeds"]) - 1
e = estimates.mean_interval(ranked.seeds_found.dropna() / max(n_others, 1), n_boot, seed)
all_that_fire = catalogue.seeds_found[catalogue.density > 0].mean() / max(n_others, 1)
stage.claim("plausible latents come back in 90 % of other seeds by when they fire (r above 0.7)", *e, 0.9, e.low >= 0.9,
            f"mean over latents of the share of {n_others} other seeds with such a partner; bootstrap over latents of one seed, which are "
            f"not independent; of all that fire on test {all_that_fire:.3f}", of="latents", rule="the interval lies at or above 0.9",
            stopped=stopped, because="" if e.n else no_concept or ("no latent is plausible" if n_others else "one seed was trained"))

# %%
cards = shown_.cards(catalogue, named, own["test"], tokens["test"], units, texts, n_cards, card_windows, words["letter"])
stage.write_table("cards", cards)
claims_of = ranked.drop_duplicates("family").head(n_cards)
curves = []
for method in ("SAE", "random dictionary"):
    pairs_shown = claims_of if method == "SAE" else best[(best.method == method) & best.concept.isin(claims_of.concept)]
    for name in dict.fromkeys([named, *pairs_shown.kind]):
        latents_on, known, _ = ground.tested(methods[method]["test"], name)
        curves.append(search.precision_recall(pairs_shown[pairs_shown.kind == name], latents_on, known).assign(method=method))
stage.write_table("precision_recall", pd.concat([c for c in curves if len(c)] or curves, ignore_index=True))
stage.write_table("top_windows", top_windows(own["test"], tokens["test"], units, 10))
catalogue.head(12)

# %% [markdown]
# **Reading.** The first twelve latents by number, not the best; `columns.md` says what each column is. *Plausible*: the pair of highest
# F1 on validation is claimed on test. A latent without a concept had no pair that reached `pair_floor` there.

# %%
figure, ax = style.axes(1, 1, height=2.3)
annotation.concepts(best, ax, list(corpus.concept_kinds)[-1 if "true site" in corpus.concept_kinds else 0], f1_floor)
style.legend(figure, [ax], ncols=5)
stage.finish()

# %% [markdown]
# **Reading.** Each curve ranks the concepts by the test F1 of the latent or rival that was best on validation. The gap between
# the SAE and the rest is what the dictionary adds over the model's own axes, over chance directions, and over the surface alone.
