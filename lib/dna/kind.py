"""What the shared notebooks ask of DNA: knowledge, rivals, alarms, confounders, words, sites.

`corpus.json` names this module; a kind of another field answers the same questions. docs/house.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import sparse

from lib.corpus.corpus import Corpus
from lib.dna import alarms as alarms_
from lib.dna import ancestry, confounders, door, gates, grammar_demo, held_out, intervals, kmers, motifs, strands, told
from lib.dna import cards as cards_
from lib.dna import names as names_
from lib.dna import repeats as repeats_
from lib.dna.people import read_cohort
from lib.figures import labels, style
from lib.models import language, shuffle
from lib.models.adapter import Adapter
from lib.outcome import views
from lib.outcome.metrics import BINARY, Metric
from lib.stage import inputs, io

HAS_PEOPLE = True       # genotypes are always somebody's
ALPHABET = "ACGT"       # letters that mutagenesis puts in
WORDS = "k-mer"         # the surface rival of latents
SYMMETRY = "reverse_complement"  # column of composition.csv
MATCHED_ON = ("gc", "cpg", "repeat", "log_tss")  # confounders that make strata
COLUMNS = {  # of the catalogue, where DNA says more than every kind
    "kind": "kind of its best concept (motif or interval), or repeat; empty, as most up to plausible, when no pair reached the floor on "
            "validation",
    "concept": "concept of the highest F1 on validation chromosomes; a motif as JASPAR id, name and strand",
    "family": "motif family, which is what we report: the member that binds cannot be read from sequence",
    "repeat_share": "share of the test tokens on which it fires that lie in repeats or low complexity (16-mers that recur, RepeatMasker, "
                    "lower case, runs of one base, tandem repeats); of motifs every other number is read outside them",
    "f1_validation": "F1 that chose the pair; every number below is from test chromosomes",
    "odds_ratio": "odds ratio adjusted for GC, CpG, repeats and distance to a start site (Mantel-Haenszel)",
    "confounders": "share of its variance that composition, repeats, place and distance to a start site explain, held out",
    SYMMETRY: "correlation over bases of the latent with itself on the reverse complement",
}


def knowledge(model: Adapter, corpus: Corpus, seed: int) -> tuple[pd.DataFrame, str]:
    """Does the model know DNA? Rows of `language.KNOWLEDGE`, and a note.

    On simulated DNA: the gates, which ask whether it knows functional sites from decoys and nothing local does. On real DNA the
    control is the same sequence, dinucleotide-shuffled, and, for a model of single bases that says which chromosomes it was trained
    without, the best two-sided Markov model of those it was trained on; a model without a head has no loss.
    """
    of, texts = corpus.settings, corpus.records().texts
    if of["simulate"]:
        rows = gates.gates(model, seed + 1, of["gate_windows"], of["window_bp"], of["letter_windows"])[0]
        return rows, "functional sites against lone decoys of fresh simulated windows; bootstrap over windows"
    if contigs := held_out.contigs(corpus, model):
        return held_out.knowledge(model, corpus, seed), f"on {', '.join(contigs)}, which the model never saw; bootstrap over windows"
    known = language.shuffle_knowledge(model, texts[:: max(1, len(texts) // 200)], seed) if model.has_head else None
    note = f"{labels.loss(corpus.about)}; not held out if the model was pretrained on this genome; bootstrap over windows"
    return language.knowledge_rows(known), note


# ---- of people ------------------------------------------------------------------------------------------------------


def rivals(corpus: Corpus, texts: list[str], features: Callable) -> tuple[dict, dict]:
    """What stands beside a layer: surface (genotypes, k-mers) and confounders, by name: a matrix, or a function of the training
    people. texts: of the subjects' units; features: [unit, d] -> [person, locus * d]."""
    samples, dosage, _ = read_cohort(corpus.path("cohort.h5", private=True))
    people = io.read_csv(corpus.path("people.csv", private=True))
    sex = (people.sex == "male").to_numpy(float)[:, None] if "sex" in people else np.zeros((len(samples), 0))
    missing = ancestry.missingness(dosage)

    def components(train: np.ndarray) -> np.ndarray:
        return ancestry.components(dosage, train, corpus.settings["n_components"])

    surface = {
        "dosage": door.filled(dosage),
        f"{corpus.settings['kmer_k']}-mer": features(kmers.kmer_frequencies(texts, corpus.settings["kmer_k"])),
    }
    beside = {"principal components": components, "PCs + sex": views.standardised(lambda train: np.hstack([components(train), sex]))}
    if missing.shape[1]:
        beside["missing calls"] = views.standardised(lambda train: missing)
    subjects = corpus.subjects()
    if "stratum" in subjects:
        beside["population"] = pd.get_dummies(subjects.stratum.to_numpy()).to_numpy(float)
    return surface, beside


def surface(corpus: Corpus, texts: list[str]) -> np.ndarray:
    """Composition of each unit, which matched layers have lost: [unit, 4**k]."""
    return kmers.kmer_frequencies(texts, corpus.settings["composition_k"])


def over(name: str) -> tuple[str, str]:
    """The claim of the chosen layer against a rival, and its caveat."""
    caveat = "a gain would be shrinkage towards shared directions, not knowledge of people, and above 0.05 an alarm; "
    return f"the layer chosen inside folds predicts better than {name}", caveat if name == "dosage" else ""


def alarms(y, scores: dict, nested, shuffles, limit, n_boot: int, seed: int, groups=None, metric: Metric = BINARY) -> pd.DataFrame:
    """`lib.dna.alarms.alarms` of the scores of all rivals by name."""
    names = ["principal components", "missing calls"] + ["population"] * ("population" in scores)
    beside = {name: scores.get(name) for name in names}
    return alarms_.alarms(y, nested, scores["dosage"], shuffles, beside, limit, n_boot, seed, groups, metric)


alarm_rule = alarms_.alarm_rule


# ---- of tokens ------------------------------------------------------------------------------------------------------


def traits(corpus: Corpus, tokens: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """Confounders of each token: gc, cpg, position, log_tss and repeat."""
    repeats = pd.read_parquet(corpus.path("repeats.parquet"))
    starts = corpus.settings["starts"]
    return confounders.of_tokens(tokens, texts, repeats, pd.read_parquet(corpus.path("starts.parquet")) if starts else None)


def words(corpus: Corpus, tokens: pd.DataFrame, texts: list[str]) -> sparse.csr_matrix:
    """What sequence alone gives: the k-mers that end in each token."""
    return kmers.kmer_latents(tokens, texts, corpus.settings["word_k"])


def repeated(corpus: Corpus, tokens: pd.DataFrame, texts: list[str]) -> np.ndarray:
    """The repeat or stretch of low complexity on each token's middle, "" for none: what a latent that fires there is called."""
    known = corpus.concepts()
    named = repeats_.named(pd.read_parquet(corpus.path("repeats.parquet")), known[known["kind"] == "interval"])
    return confounders.class_of(tokens, named)


def decoys(corpus: Corpus, windows: pd.DataFrame, texts: list[str], names: list[str], seed: int) -> pd.DataFrame:
    """Places of the named profiles with their columns shuffled, on both strands, as `corpus.concepts` under the real names: composition,
    information and the sequence's repeats stay, the word goes. Of each as many as the real one's hits, the best at ten times its p, since
    a word that nothing planted is rarer. windows: units; texts: [unit]."""
    known = motifs.motifs_by_id(list(dict.fromkeys(name.split()[0] for name in names)))
    made = tuple(motifs.columns_shuffled(motif, np.random.default_rng([seed, i])) for i, motif in enumerate(known))
    real = corpus.concepts().query("kind == 'motif'")["concept"].value_counts().to_dict()
    return intervals.motif_hits(windows, [texts[unit] for unit in windows["unit"]], made, 10 * corpus.settings["fimo_p"], real)


shuffled = shuffle.shuffled_texts      # the null of sequence: dinucleotides kept
symmetry = strands.strand_agreement    # of a latent on both strands
contrasts = told.told                  # sites that work against lone decoys of the simulated grammar


def causes(corpus: Corpus, arm: str) -> pd.DataFrame:
    """Variants that truly cause a phenotype, of either cohort: contig, start, end, letters (what carriers have), unit (the truth's, of
    planted sites; -1 for none). No row where nobody knows. An arm of another name than the simulated diseases has all causal variants."""
    path = corpus.settings["truth_variants_path"]
    if not path:
        return pd.DataFrame({"contig": [], "start": [], "end": [], "letters": [], "unit": []})
    table = io.read_csv(inputs.find(corpus.study, path))
    own = table[table["causal"].astype(bool)]
    if arm in grammar_demo.DISEASES and "pair" in own:
        own = own[own["pair"].isin(grammar_demo.DISEASES[arm])]
    places = {"contig": own["contig"], "start": own["pos"], "end": own["pos"] + own["ref"].str.len(), "letters": own["alt"]}
    return pd.DataFrame(places | {"unit": own.get("unit", -1)})


def sites(corpus: Corpus, arm: str, windows: pd.DataFrame, texts: list[str]) -> tuple[pd.DataFrame, str]:
    """Where an explanation of an arm should point, and what that is: sites and partners that its causal variants break, planted sites
    where variants are not known, or strong motif hits in these windows."""
    truth, hit_p = corpus.settings["truth_path"], corpus.settings["hit_p"]
    if not truth:
        return intervals.motif_hits(windows, texts, motifs.vertebrate_motifs(), hit_p), f"JASPAR hits at p <= {hit_p}"
    planted, broken = io.read_csv(inputs.find(corpus.study, truth)), causes(corpus, arm)["unit"]
    if "unit" not in planted or not (broken >= 0).any():
        return planted, "true sites"
    return planted[planted["unit"].isin(broken[broken >= 0])], "sites of causal variants"


# ---- of what is published --------------------------------------------------------------------------------------------

names = names_.names

# ---- of figures -----------------------------------------------------------------------------------------------------


def cards(windows: pd.DataFrame, features: pd.DataFrame) -> plt.Figure:
    """Figure 8: a row a latent: its track, a logo of its top windows, and a profile of the family that names it.

    windows: cards.csv of 04; features: its latents' rows of the catalogue, by latent.
    """
    figure, axes = style.axes(max(1, len(features)), 3, height=max(1.0, 0.95 * len(features)), squeeze=False, width_ratios=[2.2, 1.2, 1.0])
    for i, (latent, feature) in enumerate(features.iterrows()):
        own = windows[windows.latent == latent]
        cards_.track(own, axes[i][0], feature)
        cards_.logo(cards_.window_bits(own), axes[i][1], f"top windows, bits (n = {own['rank'].nunique()})", flank=10)
        cards_.profile(feature, axes[i][2])
    if len(features):
        axes[-1][0].set_xlabel("base on " + " or ".join(dict.fromkeys(windows.contig[windows["rank"] == 0])))
        axes[-1][1].set_xlabel("bases from the peak")
    else:
        cards_.track(windows, axes[0][0])
        axes[0][1].axis("off"), axes[0][2].axis("off")
    return figure
