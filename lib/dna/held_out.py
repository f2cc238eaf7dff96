"""What a model of single bases knows of real sequence that it never saw: its loss beside what the bases next to a base say of it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from lib.annotate.concepts import disjoint_units
from lib.corpus.corpus import Corpus
from lib.dna import confounders, markov, pretrain, pretrain_genome
from lib.models import language
from lib.models import sequence as sq
from lib.models.adapter import Adapter
from lib.models.shuffle import dinucleotide_shuffled
from lib.stats import estimates

#: Windows of each split, at most; of the bases of a window one in EVERY is masked at a time, so that each has its neighbours.
WINDOWS, EVERY = 300, 16
#: What a base is, as families of concepts, of several the last; "other" where it is none of them.
CLASSES = {"intron": "intron", "Alu": "Alu", "exon": "exon", "CpG island": "CpG island", "splice donor": "splice window",
           "splice acceptor": "splice window"}
MARKOV = "two-sided Markov minus real (nats per token)"


def contigs(corpus: Corpus, model: Adapter) -> list[str]:
    """Those to test on, where the model's `data.json` says that it was trained without these and those to validate on, and where it
    reads single bases and has a head; else none."""
    path, split = corpus.model_path() / pretrain.DATA, corpus.split
    told = set(json.loads(path.read_text()).get("held_out", [])) if path.is_file() else set()
    encoded = model.tokenizer.encode("ACGTACGTACGT")
    single = int(encoded.keep.sum()) == 12
    return split["test"] if single and model.has_head and {*split["test"], *split["validation"]} <= told else []


def knowledge(model: Adapter, corpus: Corpus, seed: int) -> pd.DataFrame:
    """Rows of `language.KNOWLEDGE`: mean losses on real and on dinucleotide-shuffled windows of the chromosomes to test on, and of the
    Markov model that is best on those to validate on; the two gaps, which have to lie above 0; and both by what a base is.

    All are of the same bases, those far enough from a window's ends for the longest context. Intervals: bootstrap over windows.
    """
    windows, texts = sampled(corpus, "test", seed)
    real, dealt = (base_losses(model, some, seed) for some in (texts, dinucleotide_shuffled(texts, seed)))
    beside, (k, _) = of_neighbours(corpus, texts, seed)
    read = np.isfinite(beside) & np.isfinite(real) & np.isfinite(dealt)
    rows = [(name, float(loss[read].mean()), np.nan, np.nan, len(texts), "", np.nan)
            for name, loss in (("real", real), ("shuffled", dealt), (f"Markov, {k} bases a side", beside))]  # fmt: skip
    names, window = classes(corpus, windows, len(texts[0])), np.repeat(np.arange(len(texts)), len(texts[0])).reshape(real.shape)
    for gap, other in ((language.GAP, dealt), (MARKOV, beside)):
        rows.append((gap, *_gap(other, real, window, read, seed), "above", 0.0))
        rows += [(f"{gap}: {name}", *_gap(other, real, window, read & (names == name), seed), "", np.nan)
                 for name in (*dict.fromkeys(CLASSES.values()), "other")]  # fmt: skip
    return pd.DataFrame(rows, columns=language.KNOWLEDGE)


def sampled(corpus: Corpus, split: str, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Background units of a split, drawn among those without an N and of full length that overlap no other, and their letters.

    Raises ValueError where there is none.
    """
    units, texts = corpus.units(), corpus.records().texts
    own = units[units["contig"].isin(corpus.split[split])]
    own = own[own["unit"].isin(disjoint_units(own))]
    own = own[[len(texts[u]) == corpus.settings["window_bp"] and "N" not in texts[u] for u in own["unit"]]]
    if own.empty:
        raise ValueError(f"no background window of {', '.join(corpus.split[split])} is whole and without N: wanted one to ask the model on")
    picked = np.sort(np.random.default_rng(seed).permutation(len(own))[:WINDOWS])
    own = own.iloc[picked].reset_index(drop=True)
    return own, [texts[u] for u in own["unit"]]


def base_losses(model: Adapter, texts: list[str], seed: int) -> np.ndarray:
    """Masked loss (nats) of each base, its neighbours unmasked: [text, base]. texts: of one length."""
    loss, unit, start = language.token_losses(model, texts, 1 / EVERY, seed, apart=True)
    out = np.full((len(texts), len(texts[0])), np.nan)
    out[unit, start] = loss
    return out


def of_neighbours(corpus: Corpus, texts: list[str], seed: int) -> tuple[np.ndarray, tuple[int, float]]:
    """Loss (nats) of each base by the Markov model of the chromosomes that are trained on, [text, base], and what was chosen on those
    to validate on: bases a side, and shrinkage."""
    of, split = corpus.settings, corpus.split
    whole = pretrain_genome.stretches(corpus.study, of["genome_path"], of["background_path"])
    given = (sq.encode(text) for contig, some in whole.items() if contig not in (*split["test"], *split["validation"]) for text in some)
    tables = markov.counts(given)
    codes, held = (np.stack([sq.encode(text) for text in some]) for some in (texts, sampled(corpus, "validation", seed)[1]))
    how = markov.chosen(tables, held)
    return markov.losses(tables, codes, *how), how


def classes(corpus: Corpus, windows: pd.DataFrame, length: int) -> np.ndarray:
    """What each base is, one of the values of CLASSES or "other": [window, base]. windows: contig, start."""
    concepts = corpus.concepts()
    own = concepts[(concepts["kind"] == "interval") & concepts["family"].isin(CLASSES)]
    order = {name: i for i, name in enumerate(CLASSES)}
    own = own.sort_values("family", key=lambda f: f.map(order), kind="stable").assign(concept=own["family"].map(CLASSES))
    at = (windows["start"].to_numpy()[:, None] + np.arange(length)).ravel()
    bases = pd.DataFrame({"contig": np.repeat(windows["contig"].to_numpy(), length), "ref_start": at, "ref_end": at + 1})
    name = confounders.class_of(bases, own)
    return np.where(name == "", "other", name).reshape(len(windows), length)


def _gap(other: np.ndarray, real: np.ndarray, window: np.ndarray, rows: np.ndarray, seed: int) -> estimates.Estimate:
    """Mean of other minus real over the bases of `rows`, with its bootstrap over windows, whose number is n."""
    groups = window[rows]
    return estimates.mean_interval((other - real)[rows], seed=seed, groups=groups)._replace(n=len(np.unique(groups)))
