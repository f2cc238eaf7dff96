"""What the shared notebooks ask of dice: a unit is the throws of one game, in which runs of faces were planted."""
import numpy as np
import pandas as pd
from scipy import sparse

from lib.models import language

HAS_PEOPLE = False  # players are simulated
ALPHABET, WORDS = "123456", "last two faces"  # letters that mutagenesis puts in; the surface rival of latents
SYMMETRY, COLUMNS = "", {}
MATCHED_ON = ("place", "sixes")

def knowledge(model, corpus, seed):
    every = corpus.records().texts[::5]
    known = language.shuffle_knowledge(model, every, seed, lambda texts, seed: shuffled(texts, {"unit": range(len(texts))}, seed))
    return language.knowledge_rows(known), "the same throws in another order; bootstrap over games"

def surface(corpus, texts):
    return np.array([[text.count(face) / len(text) for face in ALPHABET] for text in texts])

def rivals(corpus, texts, features):
    return {"face counts": features(surface(corpus, texts))}, {}

def over(name):
    return f"the layer chosen inside folds predicts better than {name}", ""

def alarms(y, scores, nested, shuffles, limit, n_boot, seed, groups, metric):
    low, high = np.quantile(shuffles, [0.025, 0.975])
    return pd.DataFrame([{"alarm": "label shuffle", "value": shuffles.mean(), "low": low, "high": high, "n": len(shuffles),
                          "limit": metric.chance, "fired": metric.chance < low, "note": ""}])  # fmt: skip

def alarm_rule(alarm):
    return "the shuffles reach down to chance"

def traits(corpus, tokens, texts):
    return pd.DataFrame({"place": tokens["start"].to_numpy(), "sixes": [texts[unit].count("6") for unit in tokens["unit"]]})

def words(corpus, tokens, texts):
    code = [6 * int(texts[unit][max(end - 2, 0)]) + int(texts[unit][end - 1]) - 7 for unit, end in zip(tokens["unit"], tokens["end"])]
    return sparse.csr_matrix((np.ones(len(code), np.float32), (np.arange(len(code)), code)), shape=(len(code), 36))

def repeated(corpus, tokens, texts):
    return np.full(len(tokens), "", dtype=object)

def decoys(corpus, windows, texts, names, seed):
    return corpus.concepts()[:0]

def shuffled(texts, tokens, seed):
    rng, units = np.random.default_rng(seed), set(tokens["unit"])
    return ["".join(rng.permutation(list(text))) if unit in units else text for unit, text in enumerate(texts)]

def contrasts(corpus, tokens):
    return {}, {}

def causes(corpus, arm):
    return pd.DataFrame({"contig": [], "start": [], "end": [], "letters": []})

def sites(corpus, arm, windows, texts):
    return corpus.concepts(), "planted runs"
