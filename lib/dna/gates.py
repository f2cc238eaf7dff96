"""Gates before any dictionary: does the model know which sites work, and does nothing local give it away?

All of them tell functional sites from lone decoys (`grammar.DECOYS`), three to one, pair by pair, on fresh simulated windows: a
third of them fits what is fitted, a third chooses (thresholds, latents, layers), a third is scored. Yes to every site has F1 0.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression

from lib.annotate import contrasts
from lib.dna import grammar, kmers, planted
from lib.models import language
from lib.models import sequence as sq
from lib.models.adapter import Adapter
from lib.stats import estimates

#: What each gate has to reach. All are F1 or AUROC but the last, a share.
BOUNDS = {
    "one-hot +-12, F1": ("at most", 0.50), "one-hot +-12, AUROC": ("at most", 0.60), "best 8-mer, F1": ("at most", 0.45),
    "supervised probe, F1": ("at least", 0.80), "best latent of a random dictionary, F1": ("at most", 0.55),
    "partner broken by one base, share of calls lost": ("at least", 0.5),
}  # fmt: skip
SIDE, WORD = 12, 8


@dataclass(frozen=True)
class Sites:
    """Sites of fresh windows. codes [window, base]; units: rows of grammar.COLUMNS with window, those of whole sites; works:
    [site] bool; part: [site], "fit", "validation" or "test", by window."""

    codes: np.ndarray
    units: pd.DataFrame
    works: np.ndarray
    part: np.ndarray


def sample(seed: int, n: int, length: int) -> Sites:
    """Sites of n fresh windows of `length` bases, none with a marker. Raises ValueError where a third lacks sites of both sorts."""
    rng = np.random.default_rng(seed)
    codes, units = grammar.windows(n, length, grammar.Grammar(rng, marked=0), grammar.ONE_TO_THREE, rng)
    units = units[units.kind.isin(("functional", *grammar.DECOYS))].reset_index(drop=True)
    part = np.array(["fit", "validation", "test"])[3 * units.window.to_numpy() // n]
    works = (units.kind == "functional").to_numpy()
    both = pd.DataFrame({"pair": units.pair, "part": part, "works": works}).groupby(["pair", "part"]).works.nunique()
    if (both < 2).any() or len(both) < 3 * len(grammar.PAIRS):
        raise ValueError(f"{n} windows are too few for sites that work and decoys of every pair in each third: wanted some hundred")
    return Sites(codes, units, works, part)


def pairs(sites: Sites) -> list[np.ndarray]:
    """The sites of each pair, as row numbers."""
    return [np.flatnonzero(sites.units.pair == number) for number in range(len(grammar.PAIRS))]


def instances(sites: Sites) -> dict[str, pd.DataFrame]:
    """Validation and test as `contrasts.told_apart` asks for them: pairs are groups, windows units."""
    table = pd.DataFrame({"group": sites.units.pair, "positive": sites.works, "unit": sites.units.window})
    return {part: table[sites.part == part].reset_index(drop=True) for part in contrasts.PARTS}


def parted(scores: np.ndarray, sites: Sites) -> dict[str, np.ndarray]:
    """Scores [site] or [site, score] of validation and test: [.., score]."""
    scores = scores.reshape(len(scores), -1)
    return {part: scores[sites.part == part] for part in contrasts.PARTS}


def auroc(score: np.ndarray, sites: Sites) -> float:
    """Mean over pairs, on test. score: [site]."""
    rows = [of_pair[sites.part[of_pair] == "test"] for of_pair in pairs(sites)]
    return float(np.mean([estimates.auroc(sites.works[test], score[test]) for test in rows]))


def auroc_interval(score: np.ndarray, sites: Sites, n_boot: int, seed: int) -> tuple[float, float, float]:
    """`auroc`, and the 95 % of it over draws of windows."""
    times, drawn = _times(sites, n_boot, seed), []
    for of_pair in pairs(sites):
        test = of_pair[sites.part[of_pair] == "test"]
        drawn.append(estimates.resampled_auroc(sites.works[test], score[test], times[sites.units.window.to_numpy()[test]]))
    return auroc(score, sites), *np.nanquantile(np.mean(drawn, axis=0), [0.025, 0.975]).tolist()


def _times(sites: Sites, n_boot: int, seed: int) -> np.ndarray:
    """How often each draw takes each window: [window, n_boot]."""
    n = len(sites.codes)
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_boot).T


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
    """Score of each row under a logistic regression fitted on the sites `rows` of one pair that are to fit: [len(X)].
    X: [len(rows) or more, d], the sites' own rows first."""
    fit = np.flatnonzero(sites.part[rows] == "fit")
    centre, spread = X[fit].mean(0), X[fit].std(0) + 1e-6
    Z = (X - centre) / spread
    return LogisticRegression(C=C, max_iter=500).fit(Z[fit], sites.works[rows][fit]).decision_function(Z)


def words(letters: list[np.ndarray], k: int = WORD) -> list[set[int]]:
    """The k-mers in each site's letters, as numbers."""
    codes = [kmers.kmer_codes(np.where(row < 0, 4, row), k) for row in letters]
    return [set(row[row >= 0].tolist()) for row in codes]


def present(inside: list[set[int]], sites: Sites, rows: np.ndarray, chosen_on: tuple[str, ...]) -> np.ndarray:
    """Whether each site of one pair holds the word that tells best on the parts `chosen_on`: [len(rows)] 0 or 1."""
    fit = np.isin(sites.part[rows], chosen_on)
    works = sites.works[rows]
    total: dict[int, list[int]] = {}
    for has, yes in zip([w for w, f in zip(inside, fit) if f], works[fit], strict=True):
        for word in has:
            total.setdefault(word, [0, 0])[int(yes)] += 1
    best = max(total, key=lambda word: 2 * total[word][1] / (sum(total[word]) + works[fit].sum()))
    return np.array([best in has for has in inside], dtype=float)


def local(sites: Sites, word_on: tuple[str, ...] = ("fit", "validation")) -> dict[str, np.ndarray]:
    """What letters within SIDE bases say of each site: a linear model of them, and the best word. Name -> [site].

    The model is fitted on "fit", the word chosen on the parts `word_on`. A pair whose sites to fit all work, or none, has 0 throughout.
    """
    letters = flanked(sites)
    linear_, word = np.zeros(len(sites.works)), np.zeros(len(sites.works))
    for of_pair in pairs(sites):
        if len(np.unique(sites.works[of_pair[sites.part[of_pair] == "fit"]])) < 2:
            continue
        own = [letters[i] for i in of_pair]
        linear_[of_pair] = linear(one_hot(own), sites, of_pair)
        word[of_pair] = present(words(own), sites, of_pair, word_on)
    return {"one-hot +-12": linear_, "best 8-mer": word}


# ---- what the model says ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def site_means(adapter: Adapter, codes: np.ndarray, units: pd.DataFrame, layers: list[str], budget: int = 16384) -> dict[str, np.ndarray]:
    """Mean over the tokens that touch each site: layer -> [site, d]."""
    out = {layer: np.zeros((len(units), adapter.site(layer).dim), np.float32) for layer in layers}
    for ran, some, first, last in _read(adapter, codes, units, layers, budget):
        for layer in layers:
            x = ran[layer].float().cpu().numpy()
            for i, a, b in zip(some, first, last, strict=True):
                out[layer][i] = x[a:b].mean(0)
    return out


def _read(adapter: Adapter, codes: np.ndarray, units: pd.DataFrame, layers: list[str], budget: int) -> Iterator[tuple]:
    """Windows batch by batch: activations of the layers, the sites in them, and the first and last tokens, half-open, that touch each.
    Raises ValueError for a site that no token touches."""
    window, length = units["window"].to_numpy(), codes.shape[1]
    step = max(1, budget // length)
    for start in range(0, len(codes), step):
        batch = adapter.encode([sq.decode(row) for row in codes[start : start + step]])
        some = np.flatnonzero((window >= start) & (window < start + step))
        place = (window[some] - start) * (length + 1)
        first = np.searchsorted(batch.unit * (length + 1) + batch.end, place + units["start"].to_numpy()[some], side="right")
        last = np.searchsorted(batch.unit * (length + 1) + batch.start, place + units["end"].to_numpy()[some])
        if (last <= first).any():
            raise ValueError("a site that the model has no token for: wanted a tokenizer that knows A C G T")
        yield adapter.run(batch, layers), some, first, last


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


def probed(adapter: Adapter, sites: Sites, seed: int, n_boot: int = 200) -> tuple[np.ndarray, pd.DataFrame]:
    """A linear probe a pair and layer, on the mean over a site's tokens: scores [site, layer], and layer, auroc, lost, low, high.

    lost: how much less often a functional site is called so when its partner is broken by one base, in shares of how much less
    often decoys are; a mean over pairs. low, high: the 95 % of it over draws of windows.
    """
    layers = [site.name for site in adapter.sites() if site.name.startswith("resid_post")]
    codes, changed = partner_broken(sites, seed)
    plain, broken = (site_means(adapter, letters, sites.units, layers) for letters in (sites.codes, codes))
    scores, rows = np.zeros((len(sites.works), len(layers))), []
    times = np.hstack([np.ones((len(sites.codes), 1)), _times(sites, n_boot, seed)])  # the first: as it is
    for j, layer in enumerate(layers):
        lost = [_lost(plain[layer][own], broken[layer][own], changed, sites, own, scores[:, j], times) for own in pairs(sites)]
        known = np.isfinite(lost)
        drawn = np.where(known.any(0), np.where(known, lost, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
        rows.append((layer, auroc(scores[:, j], sites), drawn[0], *np.nanquantile(drawn[1:], [0.025, 0.975])))
    return scores, pd.DataFrame(rows, columns=["layer", "auroc", "lost", "low", "high"])


def _lost(plain, broken, changed: np.ndarray, sites: Sites, rows: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Fit the probe of one pair, write its scores, and say what breaking the partner takes in each draw of windows (NaN where nothing
    can be broken, or where functional sites are not called more often than decoys). times: [window, draw]."""
    scores[rows], after = np.split(linear(np.concatenate([plain, broken]), sites, rows), 2)
    told, test = sites.part[rows] == "validation", sites.part[rows] == "test"
    hit, decoys = test & changed[rows], test & ~sites.works[rows]
    cut = contrasts.best_cuts(scores[rows][told, None], sites.works[rows][told])[0][0]
    weights = times[sites.units.window.to_numpy()[rows]]
    asked = ((scores[rows], hit), (after, hit), (scores[rows], decoys))
    before, now, never = ((x >= cut)[of] @ weights[of] / np.maximum(weights[of].sum(0), 1) for x, of in asked)
    return np.where((weights[hit].sum(0) > 0) & (before > never), (before - now) / np.where(before > never, before - never, 1), np.nan)


@torch.inference_mode()
def site_peaks(adapter: Adapter, sites: Sites, layer: str, rows: torch.Tensor, k: int, budget: int = 16384) -> np.ndarray:
    """Largest activation over each site's tokens of each latent of TopK with these directions: [site, latent]."""
    out, centre = np.zeros((len(sites.units), len(rows)), np.float32), None
    for ran, some, first, last in _read(adapter, sites.codes, sites.units, [layer], budget):
        x = ran[layer].float().cpu()
        centre = x.mean(0) if centre is None else centre  # of the first batch
        value, index = ((x - centre) @ rows.T).topk(k, dim=-1)
        latents = torch.zeros(len(x), len(rows)).scatter_(-1, index, value.relu()).numpy()
        for i, a, b in zip(some, first, last, strict=True):
            out[i] = latents[a:b].max(0)
    return out


# ---- the gates --------------------------------------------------------------------------------------------------------


def gates(adapter: Adapter, seed: int, n: int, length: int, n_local: int = 20_000, n_boot: int = 1000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All gates on fresh windows, n for the model and n_local for letters alone, which need no model and many sites to be fitted on.

    First table: `language.KNOWLEDGE` and passed, a row for each of BOUNDS; second: the probe by layer. A gate is
    passed by its value; low and high are of draws over windows. The probe's layer is each pair's best on
    validation; the random dictionary, and what breaking takes, are of the layer whose probe tells all sites best there.
    """
    sites, wide = sample(seed, n, length), sample(seed + 1, n_local, length)
    probe, layers = probed(adapter, sites, seed, n_boot)
    validation = sites.part == "validation"
    best = int(contrasts.best_cuts(probe[validation], sites.works[validation])[1].argmax())
    layer = layers.layer[best]
    chance = site_peaks(adapter, sites, layer, random_directions(adapter.site(layer).dim, seed), 8)
    letters = local(wide)
    of_model = _told({"supervised probe": probe, "random dictionary": chance}, sites, n_boot, seed)
    told = pd.concat([of_model, _told(letters, wide, n_boot, seed)])
    values = [told.loc["one-hot +-12"], auroc_interval(letters["one-hot +-12"], wide, n_boot, seed), told.loc["best 8-mer"],
              told.loc["supervised probe"], told.loc["random dictionary"], layers.loc[best, ["lost", "low", "high"]]]  # fmt: skip
    rows = []
    for (gate, (rule, bound)), (value, low, high) in zip(BOUNDS.items(), values, strict=True):
        tested = (n_local if gate.split(",")[0] in letters else n) // 3
        passed = bool(value >= bound if rule == "at least" else value <= bound)
        rows.append((gate, float(value), low, high, tested, rule, bound, passed))
    return pd.DataFrame(rows, columns=[*language.KNOWLEDGE, "passed"]), layers


def _told(scores: dict[str, np.ndarray], sites: Sites, n_boot: int, seed: int) -> pd.DataFrame:
    """f1, low, high of each method, by its name. scores: method -> [site] or [site, score]."""
    means = contrasts.told_apart({name: parted(x, sites) for name, x in scores.items()}, instances(sites), n_boot, seed)[1]
    return means.set_index("method")[["f1", "low", "high"]]


def random_directions(d: int, seed: int, width: int = 4) -> torch.Tensor:
    """width * d random unit directions: [latent, d]."""
    rows = np.random.default_rng(seed).standard_normal((width * d, d)).astype(np.float32)
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))
