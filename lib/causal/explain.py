"""How good is an explanation? Sites, seqlets, deletion and insertion, agreement, and models with random weights.

Every score reads the same bases for every method: those of a window that all methods explain. Attributions come from
`lib.causal.attribution`; importance is |value|, except where a score is to be lowered or raised, which needs the sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from lib.causal.attribution import Attribution, WindowScore, rows_of, score_each
from lib.causal.pointing import common_letters, null, places, rolled_masks, site_mask, site_overlap
from lib.models.shuffle import shuffled_texts
from lib.stage import compiled
from lib.stats import estimates

#: p-value below which a span is a seqlet, for every method.
SEQLET_P = 0.01


def compare(
    attributions: Sequence[Attribution], twins: Sequence[Attribution], scorers: Sequence[WindowScore], sequences: Sequence[str],
    windows: pd.DataFrame, sites: pd.DataFrame, n_boot: int = 1000, n_null: int = 1000, seed: int = 0, shuffled: Callable = shuffled_texts,
    causes: pd.DataFrame | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a method, with the columns of `site_overlap`, `seqlets`, `areas` and `sanity`, and beside them seconds and
    delta (median convergence error, with not_converged, windows at 5 % or more; NaN and 0 for methods without one); and
    letters_auroc, letters_low, letters_high, letters_n: AUROC, as of sites, inside the letters that causes name.

    twins: the same methods on the model with random weights, in the same order, on all sequences or on the first n; curves,
    which cost as many forwards, are made on those too. windows: contig, start, end, one a sequence; sites: contig, start, end.
    shuffled: as in `curves`. causes: as sites, no row where nobody knows. Intervals are bootstraps over places.
    """
    n, place = len(twins[0].values), places(windows)
    first = rows_of(attributions, np.arange(n))
    parts = [
        site_overlap(attributions, windows, sites, n_boot, seed, n_null).rename(columns={"value": "auroc"}),
        seqlets(attributions, windows, sites, n_null, seed),
        _inside_letters(attributions, windows, sites[:0] if causes is None else causes, n_boot, seed),
        areas(curves(first, scorers[:n], sequences[:n], seed=seed, shuffled=shuffled), n_boot, seed, place[:n]),
        sanity(first, twins, n_boot, seed, place[:n]),
    ]
    table = pd.DataFrame({"method": [a.method for a in attributions]})
    for part in parts:
        table = table.merge(part, on="method", how="left", validate="one_to_one")
    deltas = [np.full(1, np.nan) if a.delta is None else a.delta for a in attributions]
    return table.assign(
        seconds=[a.seconds for a in attributions],
        delta=[float(np.median(d)) for d in deltas],
        not_converged=[int((d >= 0.05).sum()) for d in deltas],
    )


def _inside_letters(attributions: Sequence[Attribution], windows: pd.DataFrame, causes: pd.DataFrame, n_boot: int, seed: int):
    table = site_overlap(attributions, windows, causes, n_boot, seed, 1)[["method", "value", "low", "high", "n"]]
    return table.set_axis(["method", "letters_auroc", "letters_low", "letters_high", "letters_n"], axis=1)


# ---- seqlets ----------------------------------------------------------------------------------------------------


def seqlets(
    attributions: Sequence[Attribution], windows: pd.DataFrame, sites: pd.DataFrame, n_null: int = 1000, seed: int = 0
) -> pd.DataFrame:  # fmt: skip
    """Spans of high |value| (tangermeme's recursive seqlets at p < SEQLET_P), and the share that sites explain.

    Each window's |value| is divided by its mean, so that windows of large weights do not set the null. Only windows whose
    explained bases are contiguous and of the commonest length are read. Returns method, seqlets, seqlet_windows (read),
    seqlet_bases (median length), seqlet_share (at least half inside a site), seqlet_null, seqlet_null_95 and seqlet_p,
    the share with the site mask rolled inside each window.
    """
    inside, known = site_mask(windows, sites, attributions), common_letters(attributions)
    at, rows = places(windows), []
    for a in attributions:
        spans, masks = call_seqlets(a.values, known), []
        for s in spans.itertuples():
            mask = inside[s.window][known[s.window]]
            masks.append(rolled_masks(mask)[:, s.start : s.end].mean(1) >= 0.5)
        share = float(np.mean([m[0] for m in masks])) if masks else np.nan
        rows.append({
            "method": a.method, "seqlets": len(spans), "seqlet_windows": len(_readable(a.values, known)),
            "seqlet_bases": float((spans.end - spans.start).median()), "seqlet_share": share,
            **{f"seqlet_{k}": v for k, v in _null_by_place(masks, at[spans.window], share, n_null, seed).items()},
        })  # fmt: skip
    return pd.DataFrame(rows)


def _null_by_place(masks: list[np.ndarray], place: np.ndarray, value: float, n_null: int, seed: int) -> dict[str, float]:
    """As `pointing.null`, with the seqlets of one place drawn at the same shift and weighted by their number."""
    ones = np.unique(place)
    sums = [np.sum([m for m, p in zip(masks, place, strict=True) if p == one], axis=0) for one in ones]
    scale = len(sums) / max(len(masks), 1)
    return null([s * scale for s in sums], ones, value, n_null, seed)


def call_seqlets(values: np.ndarray, known: np.ndarray) -> pd.DataFrame:
    """window, start, end (counted in the window's explained bases), attribution. values, known: [window, length]."""
    from tangermeme.seqlet import recursive_seqlets

    compiled.keep("tangermeme.seqlet")
    rows = _readable(values, known)
    empty = pd.DataFrame({c: np.empty(0, dtype=int) for c in ("window", "start", "end", "attribution")})
    if not len(rows):
        return empty
    X = np.abs(np.stack([values[row][known[row]] for row in rows]))
    spans = recursive_seqlets(torch.from_numpy(X / X.mean(1, keepdims=True)), threshold=SEQLET_P)
    return spans.assign(window=rows[spans["example_idx"].to_numpy(dtype=int)])[
        list(empty.columns)
    ].reset_index(drop=True)


def _readable(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Windows whose explained bases are contiguous, of the commonest length, and not all 0."""
    width = known.sum(1)
    contiguous = (np.diff(np.pad(known, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(1) == 1
    if not contiguous.any():
        return np.empty(0, dtype=int)
    heavy = np.where(known, np.abs(values), 0).sum(1) > 0
    return np.flatnonzero(contiguous & heavy & (width == np.bincount(width[contiguous]).argmax()))


# ---- deletion and insertion -------------------------------------------------------------------------------------


def curves(
    attributions: Sequence[Attribution], scorers: Sequence[WindowScore], sequences: Sequence[str],
    n_backgrounds: int = 3, n_steps: int = 8, seed: int = 0, shuffled: Callable = shuffled_texts,
) -> pd.DataFrame:  # fmt: skip
    """How fast a score falls when bases are replaced, largest value first (deletion), and rises when they are put back
    (insertion): window, method, kind, fraction of bases, change.

    Replaced bases come from the window's own shuffles, by default of its dinucleotides; shuffled: the kind's null of order,
    (texts, tokens, seed) -> texts of the same lengths. Change is the mean over shuffles. Deletion: score(window) -
    score(replaced so far); insertion: score(put back so far) - score(all replaced); both run from 0 to the same total,
    and the faster the better. Unit: the root mean square of that total over windows and shuffles. "random order" is
    the method that knows nothing: another order for each shuffle. Only bases that all methods explain are replaced.
    """
    known = common_letters(attributions)
    steps = np.linspace(0, 1, n_steps + 1)
    shuffles = [
        shuffled(list(sequences), pd.DataFrame({"unit": np.arange(len(sequences))}), seed + b)
        for b in range(n_backgrounds)
    ]
    rng, names = np.random.default_rng(seed), [*(a.method for a in attributions), "random order"]
    used = np.flatnonzero(known.any(1))
    scores = []
    for row in used:
        at = np.flatnonzero(known[row])
        counts = np.rint(steps * len(at)).astype(int)
        texts = []
        for other in (shuffle[row] for shuffle in shuffles):
            orders = [at[np.argsort(-a.values[row][at], kind="stable")] for a in attributions]
            for order in [*orders, rng.permutation(at)]:
                texts += [_mixed(sequences[row], other, order[:k]) for k in counts]
                texts += [_mixed(sequences[row], other, order[k:]) for k in counts]
        score = score_each([scorers[row]], [texts])[0].astype(float)
        scores.append(score.reshape(n_backgrounds, len(names), 2, len(counts)))
    y = np.stack(scores) if scores else np.empty((0, n_backgrounds, len(names), 2, n_steps + 1))
    change = np.stack([y[..., 0, :1] - y[..., 0, :], y[..., 1, :] - y[..., 1, :1]], axis=3)
    unit = np.sqrt(np.mean(change[..., -1] ** 2)) if len(y) else 1.0
    change = change.mean(1) / (unit or 1.0)  # [window, method, kind, step]
    index = pd.MultiIndex.from_product(
        [used, names, ["deletion", "insertion"], steps], names=["window", "method", "kind", "fraction"]
    )
    return pd.DataFrame({"change": change.ravel()}, index=index).reset_index()


def _mixed(text: str, other: str, at: np.ndarray) -> str:
    """The text, with the bases of another at these offsets."""
    mixed = list(text)
    for i in at:
        mixed[i] = other[i]
    return "".join(mixed)


def areas(table: pd.DataFrame, n_boot: int = 1000, seed: int = 0, place: np.ndarray | None = None) -> pd.DataFrame:
    """Area between a method's curve and the random order's, fractions 0 to 1, mean over windows: above 0 is better than
    random. Returns method, and deletion and insertion with their _low, _high (bootstrap over places). table: `curves`;
    place: of each window, as `pointing.places`, None where each has its own."""
    wide = table.pivot(index=["kind", "method", "window"], columns="fraction", values="change")
    area = pd.Series(np.trapezoid(wide.to_numpy(), wide.columns.to_numpy(float), axis=1), wide.index)
    rows = []
    for method in [m for m in table.method.unique() if m != "random order"]:
        row = {"method": method}
        for kind in ("deletion", "insertion"):
            gain = area[kind, method] - area[kind, "random order"]
            e = estimates.mean_interval(gain.to_numpy(), n_boot, seed, None if place is None else place[gain.index])
            row |= {kind: e.value, f"{kind}_low": e.low, f"{kind}_high": e.high}
        rows.append(row)
    return pd.DataFrame(rows)


# ---- ranks ------------------------------------------------------------------------------------------------------


def agreement(attributions: Sequence[Attribution], n_boot: int = 1000, seed: int = 0, place: np.ndarray | None = None) -> pd.DataFrame:
    """Rank agreement of two methods: the Spearman correlation of |value| over a window's bases that all methods explain,
    mean over windows. Returns first, second, spearman, low, high (bootstrap over places, as in `areas`), n; constant windows are
    left out."""
    known, rows = common_letters(attributions), []
    for i, a in enumerate(attributions):
        for b in attributions[i + 1 :]:
            given, at = _correlations(np.abs(a.values), np.abs(b.values), known)
            e = estimates.mean_interval(given, n_boot, seed, None if place is None else place[at])
            rows.append({"first": a.method, "second": b.method, "spearman": e.value, "low": e.low, "high": e.high, "n": e.n})
    return pd.DataFrame(rows)


def sanity(
    attributions: Sequence[Attribution], twins: Sequence[Attribution], n_boot: int = 1000, seed: int = 0, place: np.ndarray | None = None
) -> pd.DataFrame:
    """Does an explanation depend on what the model has learnt (Adebayo et al. 2018)? |Spearman| over a window's bases of the
    values from the trained model and from its twin of random weights, mean over windows: a sane method's is near its null.

    twins: the same methods in the same order. Returns method, sanity, sanity_low, sanity_high (bootstrap over places, as in
    `areas`), n as sanity_n, and sanity_null: the same with the twin's values rolled by half a window, which keeps their smoothness.
    """
    if [a.method for a in attributions] != [t.method for t in twins]:
        raise ValueError(f"twins are {[t.method for t in twins]}: wanted {[a.method for a in attributions]}")
    known, rows = common_letters([*attributions, *twins]), []
    for a, twin in zip(attributions, twins, strict=True):
        given, at = _correlations(a.values, twin.values, known)
        e = estimates.mean_interval(np.abs(given), n_boot, seed, None if place is None else place[at])
        rolled = np.abs(_correlations(a.values, twin.values, known, rolled=True)[0])
        rows.append({"method": a.method, "sanity": e.value, "sanity_low": e.low, "sanity_high": e.high, "sanity_n": e.n,
                     "sanity_null": float(rolled.mean()) if len(rolled) else np.nan})  # fmt: skip
    return pd.DataFrame(rows)


def _correlations(
    first: np.ndarray, second: np.ndarray, known: np.ndarray, rolled: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Spearman correlation of each window in which both vary, and which windows these are: [at most window], the same."""
    out, at = [], []
    for row, (u, v, k) in enumerate(zip(first, second, known, strict=True)):
        u, v = u[k], v[k]
        if len(u) > 2 and np.ptp(u) > 0 and np.ptp(v) > 0:
            out.append(spearmanr(u, np.roll(v, len(v) // 2) if rolled else v).statistic)
            at.append(row)
    return np.array(out), np.array(at, dtype=int)
