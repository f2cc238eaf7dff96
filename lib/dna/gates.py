"""Gates before any dictionary: does the model know which sites work, and does nothing local give it away?

All of them tell functional sites from lone decoys (`grammar.DECOYS`), three to one, pair by pair, on fresh simulated windows: the
first half fits and chooses, the second is scored. Saying yes to every site has F1 0.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lib.dna import grammar, planted
from lib.models import sequence as sq
from lib.models.adapter import Adapter

#: What each gate has to reach: its bound, and whether from below. All are F1 or AUROC but the last, a share.
BOUNDS = {
    "one-hot +-12, F1": (0.50, False), "one-hot +-12, AUROC": (0.60, False), "best 8-mer, F1": (0.45, False),
    "supervised probe, F1": (0.80, True), "best latent of a random dictionary, F1": (0.55, False),
    "partner broken by one base, share of the probe's gap lost": (0.5, True),
}  # fmt: skip
SIDE, WORD = 12, 8


@dataclass(frozen=True)
class Sites:
    """Sites of fresh windows. codes [window, base]; units: rows of grammar.COLUMNS with window, those of whole sites; works:
    [site] bool; fitted: [site] bool, in the half that fits and chooses."""

    codes: np.ndarray
    units: pd.DataFrame
    works: np.ndarray
    fitted: np.ndarray


def sample(seed: int, n: int, length: int) -> Sites:
    """Sites of n fresh windows of `length` bases, none with a marker."""
    rng = np.random.default_rng(seed)
    codes, units = grammar.windows(n, length, grammar.Grammar(rng, marked=0), grammar.ONE_TO_THREE, rng)
    units = units[units.kind.isin(("functional", *grammar.DECOYS))].reset_index(drop=True)
    return Sites(codes, units, (units.kind == "functional").to_numpy(), (units.window < n // 2).to_numpy())


def pairs(sites: Sites) -> list[np.ndarray]:
    """The sites of each pair, as row numbers."""
    return [np.flatnonzero(sites.units.pair == number) for number in range(len(grammar.PAIRS))]


def told_apart(score: np.ndarray, sites: Sites) -> dict[str, float]:
    """f1 and auroc on the second half, means over pairs; thresholds are best on the first. score: [site]."""
    f1s, aurocs = [], []
    for rows in pairs(sites):
        fit, test = rows[sites.fitted[rows]], rows[~sites.fitted[rows]]
        f1s.append(f1(score[test] >= best_cut(score[fit], sites.works[fit]), sites.works[test]))
        aurocs.append(roc_auc_score(sites.works[test], score[test]))
    return {"f1": float(np.mean(f1s)), "auroc": float(np.mean(aurocs))}


def best_cut(score: np.ndarray, works: np.ndarray) -> float:
    """The threshold of largest F1."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(works[order])
    value = 2 * hits / (np.arange(1, len(order) + 1) + works.sum())
    last = np.r_[np.diff(score[order]) != 0, True]  # equal scores are taken together
    return float(score[order][np.flatnonzero(last)[value[last].argmax()]])


def f1(yes: np.ndarray, works: np.ndarray) -> float:
    return float(2 * (yes & works).sum() / max(yes.sum() + works.sum(), 1))


# ---- what stands beside the model -------------------------------------------------------------------------------------


def flanked(sites: Sites, side: int = SIDE) -> list[np.ndarray]:
    """Letters of each site and `side` bases around it, read on the strand on which its unit reads; -1 outside the window."""
    padded = np.pad(sites.codes.astype(np.int8), ((0, 0), (side, side)), constant_values=-1)
    out = []
    for row in sites.units.itertuples():
        letters = padded[row.window, row.start : row.end + 2 * side]
        out.append(letters if row.strand == "+" else np.where(letters < 0, -1, 3 - letters)[::-1])
    return out


def one_hot(letters: list[np.ndarray]) -> np.ndarray:
    """[site, 4 * width] of sites of one width."""
    return (np.stack(letters)[:, :, None] == np.arange(4)).reshape(len(letters), -1).astype(np.float32)


def linear(X: np.ndarray, sites: Sites, rows: np.ndarray, C: float = 0.02) -> np.ndarray:
    """Score of each row under a logistic regression fitted on the sites `rows` of one pair that lie in the first half: [len(X)].
    X: [len(rows) or more, d], the sites' own rows first."""
    fit = np.flatnonzero(sites.fitted[rows])
    centre, spread = X[fit].mean(0), X[fit].std(0) + 1e-6
    Z = (X - centre) / spread
    return LogisticRegression(C=C, max_iter=500).fit(Z[fit], sites.works[rows][fit]).decision_function(Z)


def words(letters: list[np.ndarray], k: int = WORD) -> list[set[int]]:
    """The k-mers in each site's letters, as numbers."""
    power = 4 ** np.arange(k)
    out = []
    for row in letters:
        view = np.lib.stride_tricks.sliding_window_view(row.astype(np.int64), k)
        out.append(set((view[(view >= 0).all(1)] @ power).tolist()))
    return out


def present(inside: list[set[int]], sites: Sites, rows: np.ndarray) -> np.ndarray:
    """Whether each site of one pair holds the word that tells best on the first half: [len(rows)] 0 or 1."""
    fit = sites.fitted[rows]
    works = sites.works[rows]
    total: dict[int, list[int]] = {}
    for has, yes in zip([w for w, f in zip(inside, fit) if f], works[fit], strict=True):
        for word in has:
            total.setdefault(word, [0, 0])[int(yes)] += 1
    best = max(total, key=lambda word: 2 * total[word][1] / (sum(total[word]) + works[fit].sum()))
    return np.array([best in has for has in inside], dtype=float)


# ---- what the model says ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def site_means(adapter: Adapter, codes: np.ndarray, units: pd.DataFrame, layers: list[str], budget: int = 16384) -> dict[str, np.ndarray]:
    """Mean over each site's tokens, of a model that reads one base a token: layer -> [site, d]."""
    out = {layer: np.zeros((len(units), adapter.site(layer).dim), np.float32) for layer in layers}
    step = max(1, budget // codes.shape[1])
    window, first, last = (units[name].to_numpy() for name in ("window", "start", "end"))
    for start in range(0, len(codes), step):
        texts = [sq.decode(row) for row in codes[start : start + step]]
        ran = adapter.run(adapter.encode(texts), layers)
        for layer in layers:
            x = ran[layer].float().cpu().numpy().reshape(len(texts), codes.shape[1], -1)
            for i in np.flatnonzero((window >= start) & (window < start + step)):
                out[layer][i] = x[window[i] - start, first[i] : last[i]].mean(0)
    return out


def partner_broken(sites: Sites, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows with the partner of each functional unit broken by one base, where one base does: [window, base]; and of which
    sites that is so: [site] bool."""
    rng, codes, done = np.random.default_rng(seed), sites.codes.copy(), np.zeros(len(sites.works), bool)
    motifs = {motif.name: motif for motif in planted.gut_immune_motifs()}
    for row in sites.units[sites.works].itertuples():
        own = codes[row.window, row.partner_start : row.partner_end]
        letters = own if row.strand == "+" else 3 - own[::-1]
        changed = grammar.broken(motifs[row.partner], letters.copy(), rng)
        if changed is not None:
            codes[row.window, row.partner_start : row.partner_end] = changed if row.strand == "+" else 3 - changed[::-1]
            done[row.Index] = True
    return codes, done


def probed(adapter: Adapter, sites: Sites, seed: int) -> pd.DataFrame:
    """A linear probe a pair on the mean over the site's tokens, layer by layer, averaged over pairs: layer, f1, auroc, and lost,
    the share of its gap between functional sites and decoys that functional ones lose when their partner is broken by one base."""
    layers = [site.name for site in adapter.sites() if site.name.startswith("resid_post")]
    plain = site_means(adapter, sites.codes, sites.units, layers)
    codes, changed = partner_broken(sites, seed)
    broken = site_means(adapter, codes, sites.units, layers)
    rows = []
    for layer in layers:
        scores, lost = np.zeros(len(sites.works)), []
        for of_pair in pairs(sites):
            both = linear(np.concatenate([plain[layer][of_pair], broken[layer][of_pair]]), sites, of_pair)
            scores[of_pair], after = np.split(both, 2)
            test = ~sites.fitted[of_pair]
            decoys, hit = test & ~sites.works[of_pair], test & changed[of_pair]
            if hit.any():
                before = scores[of_pair][hit].mean()
                lost.append((before - after[hit].mean()) / (before - scores[of_pair][decoys].mean()))
        told = told_apart(scores, sites)
        rows.append((layer, told["f1"], told["auroc"], float(np.mean(lost))))
    return pd.DataFrame(rows, columns=["layer", "f1", "auroc", "lost"])


def told_by_random_dictionary(adapter: Adapter, sites: Sites, layer: str, seed: int, k: int = 8, width: int = 4) -> np.ndarray:
    """Largest activation over each site of the latent of a random dictionary that tells its pair best on the first half: [site].

    width: latents, in multiples of d; k: active a token, the largest of the centred activation's products with random directions.
    """
    d = adapter.site(layer).dim
    rows = np.random.default_rng(seed).standard_normal((width * d, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    most = site_peaks(adapter, sites, layer, torch.from_numpy(rows), k)
    out = np.zeros(len(sites.works))
    for of_pair in pairs(sites):
        fit = of_pair[sites.fitted[of_pair]]
        works = sites.works[fit]
        scores = [f1(most[fit, j] >= best_cut(most[fit, j], works), works) for j in range(len(rows))]
        out[of_pair] = most[of_pair, int(np.argmax(scores))]
    return out


@torch.inference_mode()
def site_peaks(adapter: Adapter, sites: Sites, layer: str, rows: torch.Tensor, k: int, budget: int = 16384) -> np.ndarray:
    """Largest activation over each site's tokens of each latent of TopK with these directions: [site, latent]."""
    first, last, window = (sites.units[name].to_numpy() for name in ("start", "end", "window"))
    out, centre = np.zeros((len(window), len(rows)), np.float32), None
    step = max(1, budget // sites.codes.shape[1])
    for start in range(0, len(sites.codes), step):
        texts = [sq.decode(row) for row in sites.codes[start : start + step]]
        x = adapter.run(adapter.encode(texts), [layer])[layer].float().cpu()
        centre = x.mean(0) if centre is None else centre  # of the first batch
        value, index = ((x - centre) @ rows.T).topk(k, dim=-1)
        latents = torch.zeros(len(x), len(rows)).scatter_(-1, index, value.relu()).numpy().reshape(len(texts), -1, len(rows))
        for i in np.flatnonzero((window >= start) & (window < start + step)):
            out[i] = latents[window[i] - start, first[i] : last[i]].max(0)
    return out


# ---- the gates --------------------------------------------------------------------------------------------------------


def scores(adapter: Adapter, sites: Sites, seed: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """What each method says of each site, name -> [site], and the table of `probed`."""
    letters = flanked(sites)
    local, word = np.zeros(len(sites.works)), np.zeros(len(sites.works))
    for of_pair in pairs(sites):
        own = [letters[i] for i in of_pair]
        local[of_pair] = linear(one_hot(own), sites, of_pair)
        word[of_pair] = present(words(own), sites, of_pair)
    layers = probed(adapter, sites, seed)
    best = str(layers.layer[layers.f1.idxmax()])
    return {"one-hot +-12": local, "best 8-mer": word, "random dictionary": told_by_random_dictionary(adapter, sites, best, seed)}, layers


def gates(adapter: Adapter, seed: int, n: int, length: int) -> pd.DataFrame:
    """All gates on n fresh windows: gate, value, bound, from_below, passed; a row for each of BOUNDS.

    The probe and what breaking the partner takes are of the layer of largest F1 of the probe.
    """
    sites = sample(seed, n, length)
    said, layers = scores(adapter, sites, seed)
    told = {name: told_apart(score, sites) for name, score in said.items()}
    best = layers.loc[layers.f1.idxmax()]
    local, word, chance = (told[name] for name in ("one-hot +-12", "best 8-mer", "random dictionary"))
    values, rows = [local["f1"], local["auroc"], word["f1"], best.f1, chance["f1"], best.lost], []
    for (gate, (bound, from_below)), value in zip(BOUNDS.items(), values, strict=True):
        rows.append((gate, float(value), bound, from_below, bool(value >= bound if from_below else value <= bound)))
    return pd.DataFrame(rows, columns=["gate", "value", "bound", "from_below", "passed"])
