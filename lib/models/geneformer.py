"""Geneformer: BERT over a cell's genes in order of expression, each gene's counts over its median in many cells."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lib.models import files, native
from lib.models.families import NATIVE, Family
from lib.models.genes import RankTokenizer

TOKENS, MEDIANS = "token_dictionary.json", "gene_median.json"
CONVERT = """\
The published dictionaries are pickles, which can run code when they are opened; convert them once, where that is safe:
    import json, pickle
    for old, new, kind in [("{tokens}", "token_dictionary.json", int), ("{medians}", "gene_median.json", float)]:
        with open(old, "rb") as f, open(new, "w") as g:
            json.dump({{str(k): kind(v) for k, v in pickle.load(f).items()}}, g)"""


def recognises(folder: Path) -> bool:
    """A BERT with a dictionary of genes beside it, converted or not."""
    if not (folder / "config.json").is_file() or files.read_config(folder).get("model_type") != "bert":
        return False
    return (folder / TOKENS).is_file() or any(folder.glob("token_dictionary*.pkl"))


def read(folder: Path, random_init: bool, seed: int) -> tuple[nn.Module, RankTokenizer, Family, Path]:
    """A folder of config.json, the weights, token_dictionary.json and gene_median.json.

    Raises FileNotFoundError for dictionaries that are missing or still pickles, ValueError when they do not fit the model.
    """
    for name in (TOKENS, MEDIANS):
        if not (folder / name).is_file():
            pickles = [next((p.name for p in sorted(folder.glob(f"{stem}*.pkl"))), f"{stem}.pkl")
                       for stem in ("token_dictionary", "gene_median")]  # fmt: skip
            raise FileNotFoundError(f"{folder}: no {name}. " + CONVERT.format(tokens=pickles[0], medians=pickles[1]))
    weights, vocabulary = files.check_weights(folder), files.read_json(folder, TOKENS)
    model = native.native_model(folder, NATIVE["bert"], random_init, seed)
    tokenizer = RankTokenizer(vocabulary, files.read_json(folder, MEDIANS), model.config.max_position_embeddings)
    _check(folder, tokenizer, model.config.vocab_size)
    return model, tokenizer, NATIVE["bert"], weights


def _check(folder: Path, tokenizer: RankTokenizer, vocab_size: int) -> None:
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{folder / TOKENS}: no <pad>")
    if (highest := max(tokenizer.names)) >= vocab_size:
        raise ValueError(f"{folder / TOKENS}: token {highest} of a model with {vocab_size}: the dictionary of another version?")
    genes = [gene for gene in tokenizer.vocabulary if not gene.startswith("<")]
    wrong = [gene for gene in genes if not tokenizer.medians.get(gene, 0) > 0]
    if wrong:
        raise ValueError(f"{folder / MEDIANS}: {len(wrong)} of {len(genes)} genes lack a median above 0: {wrong[:3]}")
