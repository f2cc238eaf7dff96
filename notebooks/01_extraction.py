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
# # 01 · What does the model compute on these sequences?
#
# **Question.** Before anything is explained, the model has to be read: which sequences do these people carry, what does
# the model make of each, and does it know enough about DNA to be worth explaining?
#
# **Claim.** A person is a list of units (unique haplotype windows), so the model runs once per *unit*, not once per
# person: fewer forwards by orders of magnitude, and nothing lost. It fails if the units are not far fewer than the
# person-haplotype windows.
#
# Reads the genome, genotypes and loci named in the parameters, and the model folder. Leaves, for the reference
# background, `activations.h5`, `pooled.h5`, `units`, `qc`; and the same for the cohort's haplotypes, with `cohort.h5`,
# under `private/`: a haplotype's tokens are its bases, and most are carried by a handful of people.

# %% tags=["parameters"]
study = "demo"
simulate = True                        # simulate the data first (files named "simulated:…"); False reads your own
simulate_people = 300                  # [4, 1e6] people in the simulated cohort
simulate_external = 500                # [4, 1e6] people in the simulated second cohort
simulate_background_bp = 48000         # [128, 1e8] bases per simulated background region, one region on each of 8 contigs
genome_path = "simulated:genome.fa"    # FASTA with .fai; bgzip (.gz) needs .gzi too
vcf_path = "simulated:cohort.vcf.gz"   # genotypes, bgzip and tabix; phased or not
external_vcf_path = "simulated:external.vcf.gz"  # genotypes of a second cohort, on which nothing is fitted; "" for none
loci_path = "simulated:loci.bed"       # BED: the loci whose haplotypes are read
background_path = "simulated:background.bed"  # BED: reference sequence on which dictionaries are trained
model_path = "params/demo/model"       # folder with config.json, model.safetensors and tokenizer files
sites = ["resid_post.0", "resid_post.1", "resid_post.2", "resid_post.3"]  # where activations are read; one or more, none twice
window_bp = 128                        # [8, 1e6] bases per window; at most the model's context
overlap_bp = 0                         # [0, 1e6] bases that neighbouring windows of a locus share as context; each base is stored once
frames = [0]                           # [0, 63] offsets of the words, for a model of k-mers; every unit is run once a frame; one or more, none twice
max_background_windows = 0             # [0, 1e9] 0 keeps all, else a seeded random subset
subset_units = 1000                    # [0, 1e9] also write a small store of this many background units (0: none)
token_budget = 2048                    # [1, 1e9] tokens per batch, padding included; 1 runs every unit alone
reuse = True                           # copy the rows of units that this study's last extraction holds
audit_share = 0.01                     # [0, 1] share of the rows that are computed again, each unit alone in float32
knowledge_bp = 49152                   # [1024, 1e9] bases of fresh sequence for the knowledge check
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd

from lib.acts import extract, store, work
from lib.dna import haplotypes, knowledge, reference, report, windows
from lib.dna.genotypes import read_genotypes
from lib.dna.people import write_cohort
from lib.figures import labels, style
from lib.models import adapter, conformance, language
from lib.stage import inputs, io
from lib.stats import estimates

stage = io.open_stage(study, "01_extraction")

# %% [markdown]
# ## The data
#
# With `simulate` the inputs are made here, from a seed: a **simulated** genome with human-like composition, motif
# sites of 16 gut and immune factors planted in the promoters and enhancers of 15 loci named after IBD genes, and a
# **simulated** cohort whose disease is driven, by **enlarged** effects, by variants that destroy a planted site. The
# truth is written beside the data. From here on the code does not know whether the files are simulated.

# %%
simulated = stage.private_path("data/README").parent
if simulate:
    from lib.dna import demo

    demo.simulate_demo(simulated, seed=seed, n_people=simulate_people, n_external=simulate_external, background_bp=simulate_background_bp)
genome = reference.Reference(inputs.find(study, genome_path, simulated))
loci = windows.read_bed(inputs.find(study, loci_path, simulated), genome, "locus")
background = windows.read_bed(inputs.find(study, background_path, simulated), genome, "background region")
genotypes = read_genotypes(inputs.find(study, vcf_path, simulated), genome, loci)
f"{len(loci)} loci, {loci.end.sub(loci.start).sum():,} bp; {len(genotypes.samples)} people, {len(genotypes.variants):,} variants"

# %% [markdown]
# ## Units
#
# Cohort windows tile the loci: every base is one window's own, also where windows overlap. Background windows hold reference sequence only, and none that touches
# a locus, so that dictionaries learn from no one's genome and from no sequence they are later tested on.

# %%
cohort_windows = windows.of_loci(loci, genome, window_bp, overlap_bp)
cohort = haplotypes.build_units(cohort_windows, genome, genotypes)
people = {"": (genotypes, cohort)}
if external_vcf_path:
    others = read_genotypes(inputs.find(study, external_vcf_path, simulated), genome, loci)
    if shared := set(others.samples) & set(genotypes.samples):
        raise ValueError(f"{external_vcf_path}: {len(shared)} of its samples are in {vcf_path} too, wanted other people")
    people["external_"] = others, haplotypes.build_units(cohort_windows, genome, others)
tiles = windows.of_background(background, loci, genome, window_bp, max_background_windows, seed)
tiles = tiles.sort_values(["contig", "start"], ignore_index=True)
tiles["window"] = np.arange(len(tiles)) + len(cohort_windows)
plain = haplotypes.build_units(tiles, genome)
summary = pd.Series({
    "person_haplotype_windows": cohort.n_person_haplotype_windows,
    "cohort_units": cohort.n_units,
    "background_units": plain.n_units,
    "overlapping_alleles_dropped": cohort.n_overlapping_dropped,
    "alleles_clipped_at_window_ends": cohort.n_clipped,
})
summary.to_frame("count")

# %% [markdown]
# What was made of the records of these files, counted (`docs/inputs.md` has the rules). Whatever is left out is here.

# %%
taken = [counts for called, part in people.values() for counts in (called.report, part.report)]
input_report = report.table(report.of_genome(genome, loci), *taken)
stage.write_table("input_report", input_report)
input_report

# %%
ratio = cohort.n_person_haplotype_windows / cohort.n_units
stage.claim("units are at least 10 times fewer than person-haplotype windows", ratio, None, None,
            cohort.n_person_haplotype_windows, "1 (one forward per person-haplotype window)", ratio >= 10,
            "a count, so no interval", of="windows", rule="at least 10")
print(f"{ratio:.0f} person-haplotype windows for each unit that the model has to read")

# %% [markdown]
# ## The model, and whether it is read correctly
#
# Public model packages ship with blocks that are not chained and with padding that leaks. The conformance suite runs
# on this very model and on this very sequence before a single activation is kept.

# %%
model = adapter.load(io.data_path(model_path))
checks = conformance.check(model, plain.sequences[:3])
stage.write_table("conformance", checks)
assert checks.passed.all(), f"the adapter misreads this model:\n{checks}"
checks

# %% [markdown]
# ## Does the model know anything?
#
# On simulated DNA we ask what only we can know: is a base inside a planted site easier to predict than background, and
# easier than for an order-5 Markov model, which knows every 6-mer? That model reads leftwards only, so a second one sees
# three bases on each side. On real DNA the control is the same sequence,
# dinucleotide-shuffled. If the model did not beat its control, nothing downstream could be about biology.

# %%
about = labels.of_data(genome_path, vcf_path, io.data_path(model_path))
no_head = "" if model.has_head else "the weights hold no language-model head"
known = {"losses": {"real": np.nan, "shuffled": np.nan}, "gaps": {}}
if simulate:
    if not no_head:
        known = knowledge.planted_knowledge(model, seed=seed + 1, n_bases=knowledge_bp, window_bp=window_bp)
    wanted = {"background minus site (nats)": 0.30, "Markov-5 minus model, in sites (nats)": 0.20,
              "two-sided Markov minus model, in sites (nats)": 0.0}
    note = "fresh simulated sequence, held out; bootstrap over windows"
else:
    if not no_head:
        known = language.shuffle_knowledge(model, plain.sequences[:: max(1, plain.n_units // 200)], seed)
    wanted = {"shuffled minus real (nats per token)": 0.0}
    note = f"{labels.loss(about)}; not held out if the model was pretrained on this genome; bootstrap over windows"
for name, least in wanted.items():
    gap = known["gaps"].get(name, estimates.NOTHING)
    stage.claim(f"model knowledge: {name} above {least:.2f}", *gap, least, gap.low > least, note,
                of="windows", rule=f"the interval lies above {least:.2f}", because=no_head)
stage.write_table("knowledge", pd.DataFrame([known["losses"]]))
pd.Series(known["losses"]).to_frame("value")

# %% [markdown]
# ## Extraction
#
# The forward stops at the deepest site, without the language-model head; only real tokens are kept, each with its
# coordinates. float16 on disk, checked against its range, written while the model runs and read through at the end. Units
# that the study's last extraction holds are copied, so more people cost only the haplotypes not seen before; an extraction
# that was interrupted goes on where it was.

# %%
provenance = {"model": str(model.identity["weights_sha256"]), "study": study}
kept = cohort_windows.set_index("window")[["own_start", "own_end"]]
parts = {"background": (plain, stage.path, "", None)}
for prefix, (_, part) in people.items():
    name = prefix.rstrip("_") or "cohort"
    parts[name] = part, stage.private_path, prefix, kept.loc[part.units.window].to_numpy() if overlap_bp else None
word_bp = getattr(model.tokenizer, "k", 1)
units, totals, audits = {}, [], []
for name, (part, where, prefix, own) in parts.items():
    private = name != "background"
    last = work.earlier(study, "01_extraction", prefix + "activations.h5", private) if reuse else None
    counts = extract.extract(model, part.sequences, part.ref_pos, sites, where(prefix + "activations.h5"), where(prefix + "pooled.h5"),
                             token_budget, provenance, own=own, frames=frames, known=last,
                             work=work.work_dir(study, "01_extraction", name, private))
    print(f"{name}: {counts.computed.sum():,} of {len(counts):,} units run, the others copied")
    units[name] = pd.concat([part.units.assign(frame=part.units.start % word_bp), counts.drop(columns="computed")], axis=1)
    stage.write_table(prefix + "units", units[name], private=private)
    where(prefix + "sequences.txt").write_text("\n".join(part.sequences) + "\n")
    own_bp = part.units.length.sum() if own is None else extract.own_bases(part.ref_pos, own).sum()
    totals.append({"part": name, "units": len(counts)} | counts.drop(columns="computed").sum().to_dict() | {"n_bases": own_bp})
    audits.append(extract.audit(model, part.sequences, part.ref_pos, where(prefix + "activations.h5"), audit_share, seed, own=own,
                                frames=frames).assign(part=name))
for prefix, (called, part) in people.items():
    write_cohort(stage.private_path(prefix + "cohort.h5"), called.samples, called.dosage, part.carriers)
stage.write_table("variants", genotypes.variants, private=True)
stage.write_json("model.json", model.identity)
stage.write_json("study.json", about)  # what the figures may say of these data
if subset_units:
    chosen = np.sort(np.random.default_rng(seed).choice(plain.n_units, min(subset_units, plain.n_units), replace=False))
    store.subset(stage.path("activations.h5"), stage.path("subset.h5"), chosen)
units = pd.concat(units.values(), ignore_index=True)

# %% [markdown]
# ## Quality control
#
# Norms that explode, one direction that dominates (anisotropy), unknown tokens, uncovered bases: each would be seen here.
# So would a batch, padding or a copied row that changed what is stored: some units are computed again, each alone and in
# float32, and compared with their rows. Rounding to float16 alone makes at most 0.00049 of a row's largest value.

# %%
acts = store.open_store(stage.path("activations.h5"))
every_row = store.check(stage.path("activations.h5"))
sample = np.sort(np.random.default_rng(seed).choice(acts.n_tokens, min(20000, acts.n_tokens), replace=False))
rows = []
for name in sites:
    x = acts.acts[name][sample].astype(np.float32)
    norm = np.linalg.norm(x, axis=1)
    direction = x / norm[:, None]
    pairs = np.random.default_rng(seed).permutation(len(x))
    rows.append({"site": name, "norm_median": np.median(norm), "norm_max": norm.max(), "max_abs": every_row[name]["max_abs"],
                 "anisotropy": (direction * direction[pairs]).sum(1).mean(),
                 "outlier_share": (norm > 10 * np.median(norm)).mean(), "n_tokens": len(x)})
quality = pd.DataFrame(rows)
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
from lib.figures import extraction

figure, axes = style.axes(1, 3, height=2.0, width_ratios=[1, 1.25, 0.9])
extraction.sequences(extraction.counts(cohort.n_person_haplotype_windows, len(units)), axes[0])
extraction.knowledge(extraction.losses(pd.DataFrame([known["losses"]])), axes[1], labels.loss(about))
extraction.norms(quality, axes[2]);

# %%
stage.headline(units=len(units), person_haplotype_windows=cohort.n_person_haplotype_windows,
               tokens=int(units.n_tokens.sum()), **{k.split(" (")[0]: round(gap.value, 3) for k, gap in known["gaps"].items()})
work.forget(study, "01_extraction")
stage.finish()

# %% [markdown]
# **Reading.** Left: what a naive loop would run, against what has to be run. Right: activations grow from block to
# block in a residual stream; a jump of orders of magnitude would be a fault.
