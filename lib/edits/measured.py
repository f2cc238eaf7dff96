"""How well scores of edits go with their measured effects, beside rivals, a null that keeps order along the sequence, and a ceiling.

Edits of one place are near copies of each other, as are places nearby and elements of one locus (the same bases under another
condition), so a locus has one vote: the Spearman correlation within each element, its mean over the locus' elements, then over loci.
One test, fixed beforehand: is that mean larger than chance? Its mirror tail stands beside it: where both are small, or the mirror is
the smaller, the null is wrong rather than the score right.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import fft
from scipy.stats import rankdata, spearmanr

from lib.stats import estimates

SIZE, SIGNED = "size", "signed"
#: The first knows the measured effects of the element itself: what a rival could reach that knew every place and no edit.
PLACE_MEAN, CHANGE_MEAN, GC = "mean of the place's other edits (in sample)", "mean of the change at other loci", "GC of the window"
#: The sizes of effects that few barcodes tell are large by noise alone, and changes differ in how many they have.
FEW = "fewness of barcodes"
COLUMNS = ["score", "what", "value", "low", "high", "n_variants", "n_loci", "p", "p_mirror", "gain", "gain_low", "gain_high", "ceiling"]
NEEDED = ["locus", "element", "place", "kind", "change", "effect", "barcodes", "ref_sequence"]
_NOISE = 1e-9  # of a correlation, from sums in another order


def compare(
    table: pd.DataFrame, scores: pd.DataFrame, n_boot: int, n_null: int, seed: int, unsigned: Collection[str] = (), tested: str = SIZE,
    smooth_bp: float = 100, min_variants: int = 30,
) -> pd.DataFrame:  # fmt: skip
    """One row a score and question, the baselines last; columns COLUMNS.

    table: a row a variant: locus, element, place (0-based base that changes), kind (what becomes of it, the same few at every place; one
    row an element, place and kind), change (letters, as C>T), effect (measured, signed), barcodes (that tell it), ref_sequence (the
    window). scores: [variant, score], in the rows of table, the score under test first; a variant that a score lacks (NaN) is left out
    for all, n_variants is what remains. unsigned: scores that are of size alone, high = large, and are taken as they are.

    what: "size", Spearman of |score| with |effect|; "signed", of score with effect. value, low, high: the mean over loci, and a 95 %
    bootstrap over loci. gain: the first score's mean minus this one's, paired by locus; NaN where the first is unsigned. p: the share of
    n_null rotations (`rotations`, smooth_bp) whose mean is at least as large, p_mirror at most as large, the one at hand counted among
    them; for rows of the question `tested` alone, NaN in the others. ceiling: of `ceilings`, mean over the loci that have one.
    Raises ValueError naming the element or score for: columns lacking, scores of other rows or infinite, kinds twice at a place, fewer
    variants than min_variants or effects all alike in an element, fewer than two loci.
    """
    if tested not in (SIZE, SIGNED) or smooth_bp <= 0:
        raise ValueError(f"tested {tested!r}, smooth_bp {smooth_bp}: wanted {SIZE!r} or {SIGNED!r}, and a wavelength in bases")
    table, scores = _same_variants(table, scores, unsigned, min_variants)
    if tested == SIGNED and scores.columns[0] in unsigned:
        raise ValueError(f"{scores.columns[0]} is unsigned, so that its sign cannot be tested; wanted tested = {SIZE!r}")
    ceiling, parts = ceilings(table).groupby("what")["value"].mean(), []
    for what in (SIZE, SIGNED):
        effect, values = _asked(table, scores, what, unsigned)
        by_locus = _by_locus(table, effect, values)
        first = by_locus[scores.columns[0]] if scores.columns[0] in by_locus else pd.Series(np.nan, index=by_locus.index)
        tails = _tails(table, effect, values, n_null, seed, smooth_bp) if what == tested else {}
        for score in values:
            alone = estimates.mean_interval(by_locus[score].to_numpy(), n_boot, seed)
            gain = estimates.mean_interval((first - by_locus[score]).to_numpy(), n_boot, seed)
            parts.append((score, what, *alone[:3], len(table), alone.n, *tails.get(score, (np.nan, np.nan)), *gain[:3],
                          ceiling.get(what, np.nan)))  # fmt: skip
    return pd.DataFrame(parts, columns=COLUMNS)


def per_locus(table: pd.DataFrame, scores: pd.DataFrame, unsigned: Collection[str] = (), min_variants: int = 30) -> pd.DataFrame:
    """The correlations that `compare` takes the mean of: score, what, locus, value, n_variants, n_elements, ceiling (NaN: one element)."""
    table, scores = _same_variants(table, scores, unsigned, min_variants)
    counts = table.groupby("locus").agg(n_variants=("element", "size"), n_elements=("element", "nunique")).reset_index()
    ceiling = ceilings(table).rename(columns={"value": "ceiling"})[["locus", "what", "ceiling"]]
    parts = []
    for what in (SIZE, SIGNED):
        values = _by_locus(table, *_asked(table, scores, what, unsigned)).rename_axis(columns="score")
        parts.append(values.unstack().rename("value").reset_index().assign(what=what))
    columns = ["score", "what", "locus", "value", "n_variants", "n_elements", "ceiling"]
    return pd.concat(parts).merge(counts, on="locus", how="left").merge(ceiling, on=["locus", "what"], how="left")[columns]


def baselines(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """What a score has to beat, from `table` of `compare`, no model asked: [variant, baseline].

    PLACE_MEAN: of the measured effects (what = "size": their sizes) of the place's other edits in that element; of all the element's
    others where it has none. In sample: no rival that could be had without the experiment, but how far places alone go. CHANGE_MEAN: the
    mean over the other loci of their mean effect of this change; of all changes where no other has it. GC: share of the window's known
    letters. FEW: minus the barcodes, the equal of a score that only knows where the experiment is noisy. Raises ValueError for fewer than
    two loci.
    """
    if (n := table["locus"].nunique()) < 2:
        raise ValueError(f"{n} locus, wanted 2 or more: a change is judged by the other loci")
    effect = table["effect"].abs() if what == SIZE else table["effect"]
    place, element = (_others(effect, table[keys]) for keys in (["element", "place"], ["element"]))
    per = effect.groupby([table["locus"], table["change"]]).mean().unstack()
    others = (per.sum() - per.fillna(0)) / (per.notna().sum() - per.notna()).replace(0, np.nan)
    others = others.T.fillna(others.mean(axis=1)).T.stack()
    key = pd.MultiIndex.from_frame(table[["locus", "change"]])
    known = {letter: table["ref_sequence"].str.count(letter) for letter in "ACGT"}
    return pd.DataFrame({
        PLACE_MEAN: place.fillna(element), CHANGE_MEAN: others.reindex(key).to_numpy(),
        GC: (known["G"] + known["C"]) / sum(known.values()), FEW: -table["barcodes"].astype(float),
    }, index=table.index)  # fmt: skip


def ceilings(table: pd.DataFrame) -> pd.DataFrame:
    """How well the experiment agrees with itself: locus, what, value, n_pairs, n_variants, for loci of two elements and more.

    value: Spearman between two elements' effects (sizes, signed) of the edits that both measure, mean over pairs. A score that knew the
    truth could do better than that, up to about its square root, since only one side of its correlation has noise.
    """
    rows = []
    for locus, some in table.groupby("locus"):
        wide = some.pivot(index=["place", "change"], columns="element", values="effect")
        pairs = [both for a, b in combinations(wide, 2) if len(both := wide[[a, b]].dropna()) > 2]
        for what in (SIZE, SIGNED) if pairs else ():
            values = [_spearman(*(both.abs() if what == SIZE else both).to_numpy().T) for both in pairs]
            rows.append((locus, what, float(np.mean(values)), len(pairs), sum(map(len, pairs))))
    return pd.DataFrame(rows, columns=["locus", "what", "value", "n_pairs", "n_variants"])


def rotations(score: np.ndarray, effect: np.ndarray, place: np.ndarray, kind: np.ndarray, smooth_bp: float = 100) -> np.ndarray:
    """Rank correlation of score and effect in one element as it is, [0], and with the score turned by 1, 2, ... places: [n_places].

    A circle of the element's places, first to last; kinds keep to themselves, so that what a kind is worth stays. The smooth part of the
    score's ranks (a fit of cosines along the places, of wavelengths of smooth_bp bases and longer) stays where it is and only the rest is
    turned: a score that says where in an element it is, and no more, then meets nulls as good as itself. Turning keeps the order along the
    sequence, which shuffling would lose: neighbours stay neighbours, and the null is as wide as they make it. Ranks are those of the
    element's measured variants; pairs of which one is not measured drop out. 0 where score or effect is all alike.
    Source: circular shifts as for trains of spikes and genomic tracks; a fit kept and the rest moved, Freedman and Lane 1983.
    """
    at, slot = place - place.min(), np.unique(kind, return_inverse=True)[1]
    n = int(at.max()) + 1
    x, y = ((ranks - ranks.mean()) / max(ranks.std(), _NOISE) for ranks in (rankdata(score), rankdata(effect)))
    cosines = np.cos(np.pi * (np.arange(n)[:, None] + 0.5) * np.arange(int(2 * n / smooth_bp) + 1) / n)
    smooth = cosines @ np.linalg.lstsq(cosines[at], x, rcond=None)[0]

    def grid(values: np.ndarray | float) -> np.ndarray:
        out = np.zeros((n, int(slot.max()) + 1))
        out[at, slot] = values
        return out

    def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Sum over places and kinds of a, turned by k, times b: [k]."""
        return fft.irfft((fft.rfft(a, axis=0).conj() * fft.rfft(b, axis=0)).sum(1), n)

    here, rest, y, kept = grid(1), grid(x - smooth[at]), grid(y), smooth[:, None]
    count, x_sum, y_sum = turned(here, here), turned(here, here * kept) + turned(rest, here), turned(here, y)
    xx = turned(here, here * kept**2) + 2 * turned(rest, here * kept) + turned(rest**2, here)
    xy, yy = turned(here, y * kept) + turned(rest, y), turned(here, y**2)
    count = np.maximum(count, 1)
    spread = np.maximum(xx - x_sum**2 / count, 0) * np.maximum(yy - y_sum**2 / count, 0)
    return np.where(spread > _NOISE * count**2, (xy - x_sum * y_sum / count) / np.sqrt(np.maximum(spread, _NOISE)), 0.0)


def _tails(
    table: pd.DataFrame, effect: pd.Series, values: pd.DataFrame, n_null: int, seed: int, smooth_bp: float
) -> dict[str, tuple[float, float]]:
    """p and p_mirror of each score. A draw turns each locus by its own share of the circle, all its elements and all scores alike."""
    by_element = table.groupby(["locus", "element"]).indices
    loci = np.unique(table["locus"])
    share = dict(zip(loci, np.random.default_rng(seed).random((len(loci), n_null)), strict=True))
    place, kind = table["place"].to_numpy(), table["kind"].to_numpy()
    tails = {}
    for score in values:
        drawn, actual = {locus: [] for locus in loci}, {locus: [] for locus in loci}
        for (locus, _), rows in by_element.items():
            all_turns = rotations(values[score].to_numpy()[rows], effect.to_numpy()[rows], place[rows], kind[rows], smooth_bp)
            actual[locus].append(all_turns[0])
            drawn[locus].append(all_turns[(share[locus] * len(all_turns)).astype(int)])
        null, value = (np.mean([np.mean(some, 0) for some in of.values()], 0) for of in (drawn, actual))
        tails[score] = tuple((1 + int(beyond.sum())) / (1 + n_null) for beyond in (null >= value - _NOISE, null <= value + _NOISE))
    return tails


def _by_locus(table: pd.DataFrame, effect: pd.Series, values: pd.DataFrame) -> pd.DataFrame:
    """Spearman of each score with the effect, mean over a locus' elements: [locus, score]."""
    rows = {key: [_spearman(values[score].to_numpy()[at], effect.to_numpy()[at]) for score in values]
            for key, at in table.groupby(["locus", "element"]).indices.items()}  # fmt: skip
    index = pd.MultiIndex.from_tuples(rows, names=["locus", "element"])
    return pd.DataFrame(list(rows.values()), index=index, columns=values.columns).groupby("locus").mean()


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """0 where one is all alike: it ranks nothing."""
    return float(spearmanr(x, y).statistic) if np.ptp(x) and np.ptp(y) else 0.0


def _asked(table: pd.DataFrame, scores: pd.DataFrame, what: str, unsigned: Collection[str]) -> tuple[pd.Series, pd.DataFrame]:
    """Effects and scores of one question, the baselines behind."""
    signed = scores.drop(columns=list(unsigned))
    effect, own = (table["effect"].abs(), scores.assign(**signed.abs())) if what == SIZE else (table["effect"], signed)
    return effect, pd.concat([own, baselines(table, what)], axis=1)


def _others(effect: pd.Series, keys: pd.DataFrame) -> pd.Series:
    """Mean of the others of a variant's group, NaN where it is alone."""
    by = effect.groupby([keys[key] for key in keys])
    n = by.transform("size") - 1
    return (by.transform("sum") - effect) / n.replace(0, np.nan)


def _same_variants(
    table: pd.DataFrame, scores: pd.DataFrame, unsigned: Collection[str], min_variants: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The variants that every score has, refused as `compare` says."""
    if lacking := [name for name in NEEDED if name not in table]:
        raise ValueError(f"table of variants: no column {', '.join(lacking)}; found {list(table)}")
    taken = {PLACE_MEAN, CHANGE_MEAN, GC, FEW}.intersection(scores)
    if not scores.index.equals(table.index) or scores.columns.has_duplicates or scores.columns.empty or taken:
        raise ValueError(f"scores {list(scores)} of {len(scores)} rows: wanted one column a score, none called as a baseline, in the "
                         f"{len(table)} rows of table")  # fmt: skip
    if unknown := set(unsigned) - set(scores):
        raise ValueError(f"unsigned {sorted(unknown)}: wanted some of {list(scores)}")
    infinite = np.isinf(scores.to_numpy(float)).any(0)
    if infinite.any() or not np.isfinite(table["effect"]).all():
        wrong = [*scores.columns[infinite], *(["effect"] if not np.isfinite(table["effect"]).all() else [])]
        raise ValueError(f"{', '.join(wrong)}: not finite, wanted numbers (of a score, NaN where it has none)")
    complete = scores.notna().all(axis=1).to_numpy()
    out = table[complete].reset_index(drop=True)
    if (n := out["locus"].nunique()) < 2:
        raise ValueError(f"{n} loci with variants that every score has, wanted 2 or more")
    twice = out.duplicated(["element", "place", "kind"])
    if twice.any():
        row = out[twice].iloc[0]
        raise ValueError(f"element {row['element']}, place {row['place']}: kind {row['kind']} twice, wanted one row")
    for element in table["element"].unique():
        effect = out.loc[out["element"] == element, "effect"]
        if len(effect) < min_variants or effect.nunique() < 2:
            raise ValueError(f"element {element}: {len(effect)} variants with every score, {effect.nunique()} unlike effects; wanted "
                             f"{min_variants} and 2 at least")  # fmt: skip
    return out, scores[complete].reset_index(drop=True).astype(float)
