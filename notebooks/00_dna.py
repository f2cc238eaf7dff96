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
# # 00 · What is there to read, and what would count as knowing it?
#
# **The front door of DNA.** Genome, genotypes, phenotypes and annotation become one corpus: units (haplotype windows), a map
# from units to people, targets, concepts. Later notebooks read that corpus and no file of the world; what is said here
# (model, split, names) is said once.
#
# **Claim.** A person is a list of units (unique haplotype windows), so the model runs once per *unit*, not once per
# person: many times fewer forwards, of the same sequences. It fails if the units are not far fewer than the
# person-haplotype windows. That loses nothing, but phase that a file does not hold cannot be had back: unphased heterozygotes of a
# window are placed on one haplotype (the cis rule), and counted.
#
# Leaves `corpus.json`, and of the reference background `units.csv`, `records.parquet`, `concepts.parquet`; of people, under
# `private/`, the same with `readout.h5`, `targets.parquet` and `cohort.h5`: a haplotype's letters are its bases, and most
# are carried by a handful of people. What was left out of the files is in `input_report.csv` and `annotation_report.csv`.

# %% tags=["parameters"]
study = "demo"
model_path = "params/demo/model"       # folder with config.json, model.safetensors and tokenizer files
simulate = True                        # simulate the data first (files named "simulated:…"); False reads your own
simulate_people = 2000                 # [4, 1e6] people in the simulated cohort
simulate_external = 1000               # [4, 1e6] people in the simulated second cohort, who have other breaking alleles
simulate_background_bp = 196608        # [256, 1e8] bases per simulated background region, one on each of 8 contigs; a multiple of 256
simulate_nulls = 1                     # [0, 1000] further diseases of each sort that no functional pair causes: decoys, neutral, nothing
genome_path = "simulated:genome.fa"    # FASTA with .fai; bgzip (.gz) needs .gzi too
loci_path = "simulated:loci.bed"       # BED: the loci whose haplotypes are read
background_path = "simulated:background.bed"  # BED: reference sequence on which dictionaries are trained
vcf_path = "simulated:cohort.vcf.gz"   # genotypes, bgzip and tabix; phased or not
external_vcf_path = "simulated:external.vcf.gz"  # genotypes of a second cohort, on which nothing is fitted; "" for none
window_bp = 256                        # [8, 1e6] bases per window; at most the model's context
pooled_over = "genome"                 # {locus, genome} what a person's activations are averaged over; genome shares a probe's weights
overlap_bp = 0                         # [0, 1e6] bases that neighbouring windows of a locus share as context; each base is stored once
max_background_windows = 0             # [0, 1e9] 0 keeps all, else a seeded random subset
validation_contigs = ["sim7"]          # chromosomes on which runs, pairs and thresholds are chosen; one or more, none twice
test_contigs = ["sim8"]                # chromosomes read once; one or more, none twice
phenotype_path = "simulated:phenotype.csv"  # table with sample, phenotype (0/1); "" simulates from published effects
external_phenotype_path = "simulated:external_phenotype.csv"  # of the second cohort: the frozen probe's test; "" for none
genetic_path = "simulated:truth/genetic.csv"  # table with sample and true scores: genetic, or a column an arm; "" when unknown
people_path = ""                       # table with sample and any of population, family, site, sex; "" when nothing is known
null_arms = ["decoys 01", "neutral 01", "nothing 01"]  # more columns of the phenotypes, which nothing named causes; none twice
null_targets = []                      # patterns of still more such columns, which only 05 reads ("decoys *"); none twice
arms = ["pairs 1 to 4", "pairs 5 to 8"]  # names of the phenotype arms, as they appear in every table and figure; one or more, none twice
arm_kinds = ["additive", "additive"]   # {additive, nod2, structure, null} how an arm is simulated (no phenotype_path); as many as arms
effect_scales = [1.0, 1.0]             # [0, 100] published log odds are multiplied by this (only when simulating); as many as arms
germline_limits = [0.0, 0.0]           # [0, 1] AUROC too good for germline; 0 compares with the true genetic score; as many as arms
case_share = 0.5                       # (0, 1) share of people who are cases (only when simulating): a cohort, not a population
match_published = False                # match published effects to the variants, for simulating and for the polygenic score
exon_path = ""                         # BED (names gene|transcript|exon|n give the parts of genes), or GFF3; "" for none
domain_path = ""                       # table of gene, domain, first, last (residues): protein domains, laid on exon_path; "" for none
promoter_path = "simulated:truth/annotation/promoters.bed"  # BED of promoters, or of start sites to widen; "" for none
promoter_flank_bp = 0                  # [0, 1e5] bases added on both sides of a promoter row
interval_paths = []                    # more BED, bigBed, RepeatMasker .out or .csv files; a row's name is its concept; none twice
lifted_paths = []                      # BED files of another assembly, moved to this one by lift_path; none twice
lift_path = ""                         # chain file from that assembly to this one; "" for none
variant_path = "simulated:truth/variants.csv"  # VCF with CLNSIG and GENEINFO (ClinVar), or a table with a label; "" for none
label_column = "destroys_site"         # column of that table (contig, pos, ref, alt, …) that is the label when not empty; "" for a VCF
gwas_path = ""                         # table with chr38, pos38 (GWAS Catalog lead SNPs); "" for none
fine_mapped_paths = []                 # PICS lists (.pics, of GRCh37: lifted by lift_path), tables of regions on GRCh38 (.csv); none twice
mpra_path = ""                         # table of a saturation MPRA (Kircher 2019): measured effects of alleles; "" for none
truth_path = "simulated:truth/sites.csv"  # planted sites, for scoring only; "" on real data
truth_variants_path = "simulated:truth/variants.csv"  # causal variants and the motif each destroys; "" on real data
fimo_p = 0.0001                        # (0, 0.01] FIMO p-value of a motif hit
hit_p = 1e-6                           # (0, 0.01] FIMO hits that serve as sites for explanations where no truth is planted
gate_windows = 2000                    # [300, 1e6] fresh windows on which a model of simulated sequence is asked what it knows
letter_windows = 12000                 # [300, 1e7] and those for letters alone, which learn from more
kmer_k = 4                             # [1, 6] k-mer baseline of people: frequencies of 4**k words per locus
composition_k = 1                      # [1, 4] composition-matched layers: what 4**k word frequencies of a locus explain is taken away
word_k = 6                             # [1, 8] width of the k-mer rivals of latents
n_components = 10                      # [1, 1000] principal components of the dosages, fitted on training people
has_people = True                      # whether genotypes are of people, whom the publishing gate guards; of DNA they always are
seed = 0  # [0, 4e9] of all that is drawn at random

# %%
from collections import Counter

import numpy as np
import pandas as pd

from lib.corpus import corpus
from lib.dna import associated, door, haplotypes, motifs, reference, report, windows
from lib.dna.genotypes import read_genotypes
from lib.dna.people import read_people, write_cohort
from lib.dna.phenotypes import check_arms
from lib.figures import labels
from lib.stage import inputs, io

stage = io.open_stage(study, "00_dna")
check_arms(arms, arm_kinds, effect_scales, germline_limits, phenotype_path, genetic_path, match_published, null_arms)

# %% [markdown]
# ## The data
#
# With `simulate` the inputs are made here, from a seed: a **simulated** genome with human-like composition and a grammar, in which a
# site of a gut or immune factor works only beside its partner (`lib/dna/grammar.py`); 15 loci named after IBD genes; and two
# **simulated** cohorts that share no breaking allele. Two diseases are driven, by **enlarged** effects, by functional units that are
# broken, of four pairs each; the null diseases by broken decoys, by neutral variants, or by nothing. The truth is written beside the
# data. From here on the code does not know whether the files are simulated.

# %%
simulated = stage.private_path("data/README").parent
if simulate:
    from lib.dna import grammar_demo

    grammar_demo.simulate_grammar(simulated, seed, simulate_people, simulate_external, background_bp=simulate_background_bp,
                                  n_nulls=simulate_nulls)


def given(path):
    """The file of a path, None for none."""
    return inputs.find(study, path, simulated) if path else None


genome = reference.Reference(given(genome_path))
loci = windows.read_bed(given(loci_path), genome, "locus")
background = windows.read_bed(given(background_path), genome, "background region")
genotypes = read_genotypes(given(vcf_path), genome, loci)
f"{len(loci)} loci, {loci.end.sub(loci.start).sum():,} bp; {len(genotypes.samples)} people, {len(genotypes.variants):,} variants"

# %% [markdown]
# ## Units
#
# Cohort windows tile the loci: every base is one window's own, also where windows overlap. Background windows hold reference sequence
# only, and none that touches a locus, so that dictionaries learn from no one's genome and from no sequence they are later tested on.

# %%
cohort_windows = windows.of_loci(loci, genome, window_bp, overlap_bp)
cohort = haplotypes.build_units(cohort_windows, genome, genotypes)
people = {corpus.SUBJECTS: (genotypes, cohort)}
if external_vcf_path:
    others = read_genotypes(given(external_vcf_path), genome, loci)
    if shared := set(others.samples) & set(genotypes.samples):
        raise ValueError(f"{external_vcf_path}: {len(shared)} of its samples are in {vcf_path} too, wanted other people")
    people[corpus.SECOND] = others, haplotypes.build_units(cohort_windows, genome, others)
tiles = windows.of_background(background, loci, genome, window_bp, max_background_windows, seed)
tiles = tiles.sort_values(["contig", "start"], ignore_index=True)
tiles["window"] = np.arange(len(tiles)) + len(cohort_windows)
plain = haplotypes.build_units(tiles, genome)
summary = {
    "person_haplotype_windows": cohort.n_person_haplotype_windows,
    "cohort_units": cohort.n_units,
    "background_units": plain.n_units,
    "overlapping_alleles_dropped": cohort.n_overlapping_dropped,
    "alleles_clipped_at_window_ends": cohort.n_clipped,
}
pd.Series(summary).to_frame("count")

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

# %%
own = cohort_windows.set_index("window")[["own_start", "own_end"]] if overlap_bp else None
corpus.write_units(stage, corpus.BACKGROUND, plain.units, door.records(plain))
for name, (called, part) in people.items():
    prefix = corpus.PREFIX[name]
    corpus.write_units(stage, name, part.units, door.records(part, own))
    write_cohort(stage.private_path(prefix + "cohort.h5"), called.samples, called.dosage, part.carriers)
    corpus.write_readout(stage.private_path(prefix + "readout.h5"), door.readout(called.samples, part, pooled_over))
stage.write_table("variants", genotypes.variants, private=True);

# %% [markdown]
# ## Who is related to whom
#
# Families stay whole in every fold, outer and inner. Populations do not: five of them in five folds would leave each
# out in turn, which asks another question (does it transfer?) with another base rate in every fold. That question has
# its own rows, in `groups.csv` of 02; and ancestry has its own alarms.

# %%
known = read_people(io.data_path(people_path), genotypes.samples) if people_path else pd.DataFrame({"sample": genotypes.samples})
stage.write_table("people", known, private=True)
known.drop(columns="sample").describe() if len(known.columns) > 1 else "nothing is known about these people"

# %% [markdown]
# ## Phenotypes
#
# Either your table, or **simulated**: liability = effects + logistic noise, the top `case_share` are cases. An arm with
# `effect_scales` above 1 is **enlarged**: it asks whether the method can see an effect that it ought to see, not whether
# the disease has one. *nod2* reads the three NOD2 alleles together, not additively. *structure* has no genetic effect,
# only prevalence that follows population: the alarms have to go off. In *null* there is nothing to find. Columns of your table that
# `null_arms` names are targets that have causes, but none that is named (decoys, neutral variants): the whole rule of 05 runs on
# each, as on *null* and *structure*, and nothing may be called needed. Those that fit `null_targets` come into 05 alone, at its end.

# %%
effects = None
if match_published:
    effects = door.published(genotypes, genome)
    stage.write_table("effects", effects, private=True)
wanted = door.Arms(arms, arm_kinds, effect_scales, germline_limits, case_share, phenotype_path, given(phenotype_path), given(genetic_path),
                   null_arms, door.named_columns(given(phenotype_path), null_targets, [*arms, *null_arms]))
targets, table = door.targets(wanted, genotypes, effects, known, seed)
corpus.write_targets(stage, corpus.SUBJECTS, table, targets, wanted.null_targets)
if external_phenotype_path:
    second = door.second_targets(given(external_phenotype_path), others.samples, targets, arms, bool(phenotype_path), wanted.null_targets)
    corpus.write_targets(stage, corpus.SECOND, second, targets, wanted.null_targets)
for target in targets:
    print(f"{target.name}: {table[target.name].sum()} cases, {(1 - table[target.name]).sum()} controls")

# %% [markdown]
# ## Concepts
#
# All 1,019 JASPAR 2026 vertebrate profiles are scanned on the held-out chromosomes, not only the planted ones: the annotation
# is not told the answer. Each strand is a concept of its own. Homopolymers, simple repeats, CpG islands, repeated sequence and what the
# file has in lower case are read from the sequence itself; the other intervals come from the files named in the parameters.

# %%
counted = Counter()
starts = windows.read_bed(given(promoter_path), genome, "promoter", False, counted) if promoter_path else None
repeats = door.repeats(plain, genome)
files = door.Annotation(  # of labelled variants, a VCF gives intervals too
    given(exon_path), starts, promoter_flank_bp, list(map(given, interval_paths)), given("" if label_column else variant_path),
    given(gwas_path), list(map(given, lifted_paths)), given(lift_path), given(domain_path))
intervals = door.intervals(files, repeats, genome, plain.units, counted)
stage.write_table("annotation_report", report.table(counted))
hits = door.hits(plain, validation_contigs, test_contigs, fimo_p)
planted = io.read_csv(given(truth_path)) if truth_path else None
concepts = door.concepts(hits, intervals, planted)
concepts.to_parquet(stage.path("concepts.parquet"), index=False)
repeats.to_parquet(stage.path("repeats.parquet"), index=False)
if starts is not None:
    starts[["contig", "start", "end"]].to_parquet(stage.path("starts.parquet"), index=False)
concepts.groupby("kind", sort=False).agg(concepts=("concept", "nunique"), intervals=("concept", "size"))

# %% [markdown]
# SNPs of this cohort that studies of association or fine mapping name are read in 08, beside others as common, with as many proxies and
# as far from a start. How common a rare allele is counts people, so the table is private.

# %%
if gwas_path or fine_mapped_paths:
    named = associated.places(given(gwas_path), list(map(given, fine_mapped_paths)), given(lift_path), genome, associations := Counter())
    stage.write_table("association_report", report.table(associations))
    snps = associated.snps(genotypes, loci, named, starts)
    snps.to_parquet(stage.private_path("snps.parquet"), index=False)
    print(snps[list(associated.SETS.values())].sum().to_string(), f"\nof {len(snps):,} SNPs that vary")

# %% [markdown]
# ## What is said once

# %%
sources = {"motif": f"{motifs.RELEASE}, FIMO p <= {fimo_p}", "interval": "sequence and parameter files"}
settings = {name: globals()[name] for name in (
    "simulate", "genome_path", "truth_path", "truth_variants_path", "variant_path", "label_column", "exon_path", "mpra_path", "loci_path",
    "background_path", "window_bp", "fimo_p", "hit_p", "gate_windows", "letter_windows", "kmer_k", "composition_k", "word_k",
    "n_components")}
simulated = {"genome": genome_path.startswith(inputs.SIMULATED), "cohort": vcf_path.startswith(inputs.SIMULATED)}
about = labels.of_data(simulated, io.data_path(model_path))
made = corpus.Corpus(
    study, "00_dna", "lib.dna.kind", model_path, door.WORDS, {"validation": validation_contigs, "test": test_contigs},
    about | {"readings": cohort.n_person_haplotype_windows}, targets, sources | ({"true site": "simulation"} if truth_path else {}),
    bool(external_vcf_path), bool(external_phenotype_path), list(wanted.null_targets), settings | {"starts": starts is not None},
    has_people)
corpus.save(stage, made)
stage.headline(**summary)
stage.finish()
