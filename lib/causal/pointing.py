"""Does an explanation point where it should? The windows on which that is asked, and AUROCs of |value| inside sites.

A window's place is where it lies: windows of one place hold almost the same letters, so that places are resampled, whole, and a null
rolls all masks of a place alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lib.causal.attribution import Attribution
from lib.stats import estimates
from lib.stats.estimates import Estimate

PLACE = ["contig", "start", "end"]


# ---- windows --------------------------------------------------------------------------------------------------------


def choose(units: pd.DataFrame, texts: Sequence[str], causes: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """The rows of `units` on which explanations are compared, at most n, in random order.

    Where causes are known, units that lie on one: half of n carry a cause, the others none, references before all. Both are dealt evenly
    over places. Else a sample of references. units: unit, contig, start, end, is_reference; texts: [unit]; causes: contig, start, end,
    letters, what carriers have there. Of a unit that is longer or shorter than its place nobody knows here what it carries: it is left out.
    """
    if causes.empty:
        references = units[units["is_reference"]]
        return references.sample(min(n, len(references)), random_state=seed)
    on, carrying = _carrying(units, texts, causes)
    carriers = _dealt(units[carrying], n // 2, seed)
    others = _dealt(units[on & ~carrying], n - len(carriers), seed)
    return pd.concat([carriers, others]).sample(frac=1, random_state=seed)


def _carrying(units: pd.DataFrame, texts: Sequence[str], causes: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which units lie on a cause, and which have its letters: [unit], [unit]."""
    on, carrying = np.zeros((2, len(units)), dtype=bool)
    lengths = np.array([len(texts[unit]) for unit in units["unit"]])
    readable = (lengths == units["end"] - units["start"]).to_numpy()
    contig, start, end, number = (units[name].to_numpy() for name in [*PLACE, "unit"])
    for cause in causes.itertuples():
        rows = np.flatnonzero(readable & (contig == cause.contig) & (start <= cause.start) & (cause.end <= end))
        on[rows] = True
        for i in rows:
            carrying[i] |= texts[number[i]][cause.start - start[i] : cause.end - start[i]] == cause.letters
    return on, carrying


def _dealt(units: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """n of the units: references first, then in turn one of each place."""
    shuffled = units.sample(frac=1, random_state=seed)
    turn = shuffled.groupby(PLACE, sort=False).cumcount()
    order = np.lexsort([turn, ~shuffled["is_reference"].astype(bool)])
    return shuffled.iloc[order].head(n)


def places(windows: pd.DataFrame) -> np.ndarray:
    """The number of each window's place, in the order of their first windows: [window]."""
    return windows.groupby(PLACE, sort=False).ngroup().to_numpy()


# ---- sites ------------------------------------------------------------------------------------------------------


def site_overlap(
    attributions: Sequence[Attribution], windows: pd.DataFrame, sites: pd.DataFrame, n_boot: int, seed: int, n_null: int = 1000
) -> pd.DataFrame:  # fmt: skip
    """Does an explanation point at sites? AUROC of |value| per base for lying in a site, mean over windows.

    windows: contig, start, end, one a sequence; sites: contig, start, end. Returns method, value, low, high (bootstrap
    over places), n; null, null_95 and p: the same with each window's site mask rolled by random offsets, its mean, 95 %
    quantile and the share as high; and windows left out: unexplained (too short, or all N), no_site, all_site.
    """
    inside, known = site_mask(windows, sites, attributions), common_letters(attributions)
    share = np.array([i[k].mean() if k.any() else np.nan for i, k in zip(inside, known, strict=True)])
    left = {
        "unexplained": int(np.isnan(share).sum()),
        "no_site": int((share == 0).sum()),
        "all_site": int((share == 1).sum()),
    }
    read, rows = (share > 0) & (share < 1), []
    place = places(windows)[read]
    for a in attributions:
        rolled = [rolled_auroc(i[k], np.abs(v[k])) for i, k, v in _of(read, inside, known, a.values)]
        e = estimates.mean_interval(np.array([r[0] for r in rolled]), n_boot, seed, place)
        rows.append({"method": a.method, "value": e.value, "low": e.low, "high": e.high, "n": e.n,
                     **null(rolled, place, e.value, n_null, seed), **left})  # fmt: skip
    return pd.DataFrame(rows)


def _of(read: np.ndarray, *arrays: np.ndarray) -> zip:
    """The rows of each array that are read, side by side."""
    return zip(*(array[read] for array in arrays), strict=True)


def difference(
    attributions: Sequence[Attribution], first: str, second: str, windows: pd.DataFrame, sites: pd.DataFrame, n_boot: int, seed: int
) -> Estimate:  # fmt: skip
    """How much better one method points at sites than another: the difference of their AUROCs in a window, mean over windows, bootstrap
    over places. attributions: of all methods, so that the letters that are read are those of `site_overlap`."""
    inside, known, by = site_mask(windows, sites, attributions), common_letters(attributions), {a.method: a for a in attributions}
    read = (inside & known).any(1) & (~inside & known).any(1)
    both = [[estimates.auroc(i[k], np.abs(v[k])) for i, k, v in _of(read, inside, known, by[m].values)] for m in (first, second)]
    return estimates.mean_interval(np.subtract(*both), n_boot, seed, places(windows)[read])


def rolled_auroc(inside: np.ndarray, score: np.ndarray) -> np.ndarray:
    """AUROC of a score for lying inside, with the mask rolled by 0, 1, ... bases: [base]."""
    masks = rolled_masks(inside)
    ranks = rankdata(score)
    n1 = int(inside.sum())
    return (masks @ ranks - n1 * (n1 + 1) / 2) / (n1 * (len(inside) - n1))


def rolled_masks(mask: np.ndarray) -> np.ndarray:
    """[shift, base]: the mask rolled right by each number of bases."""
    n = len(mask)
    return mask[(np.arange(n) - np.arange(n)[:, None]) % n].astype(float)


def null(rolled: list[np.ndarray], place: np.ndarray, value: float, n_null: int, seed: int) -> dict[str, float]:
    """Mean over windows when each is drawn at a random shift but 0, the same for all of a place, n_null times. rolled: [window][shift]."""
    if not rolled:
        return {"null": np.nan, "null_95": np.nan, "p": np.nan}
    rng, shifts = np.random.default_rng(seed), {}
    for one, r in zip(place, rolled, strict=True):
        if (one, len(r)) not in shifts:
            shifts[one, len(r)] = rng.integers(1, len(r), n_null)
    drawn = np.mean([r[shifts[one, len(r)]] for one, r in zip(place, rolled, strict=True)], axis=0)
    p = (1 + (drawn >= value).sum()) / (1 + n_null)
    return {"null": float(drawn.mean()), "null_95": float(np.quantile(drawn, 0.95)), "p": float(p)}


def site_mask(windows: pd.DataFrame, sites: pd.DataFrame, attributions: Sequence[Attribution]) -> np.ndarray:
    """Whether each base lies in a site: [window, length]. ValueError when windows and sequences differ in number."""
    shape = attributions[0].values.shape
    if len(windows) != shape[0]:
        raise ValueError(f"{len(windows)} windows for {shape[0]} explained sequences: wanted one each")
    inside = np.zeros(shape, dtype=bool)
    for mask, window in zip(inside, windows.itertuples(), strict=True):
        near = sites[
            (sites.contig == window.contig) & (sites.end > window.start) & (sites.start < window.end)
        ]
        for site in near.itertuples():
            mask[max(0, site.start - window.start) : site.end - window.start] = True
    return inside


def common_letters(attributions: Sequence[Attribution]) -> np.ndarray:
    """Bases that every method explains: [sequence, length]. ValueError when shapes differ."""
    shapes = {a.method: a.values.shape for a in attributions}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"explanations of shapes {shapes}: wanted one shape, of the same sequences")
    return np.all([np.isfinite(a.values) for a in attributions], axis=0)
