"""Which families does a variant silence, and is that of the motif it breaks among them?

A *named* latent is one that the catalogue claims for a motif. It is *lost* at a variant where it fires on the reference, above
its floor, and the alternative takes a stated share of that peak away. Each lost latent speaks for its family with what it lost, as a
share of its largest activation, times its precision: the share of its firing, above its threshold, that lies inside the concept which
names it, on the test tokens of 04. The family with the most said for it is named, and any with a stated share of that. Whatever lies
elsewhere than near the variant is not seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.stats import estimates

#: What counts as a right name: the family of the broken motif alone, or of any whole motif of its planted unit.
RIGHT = {"broken motif": "broken", "its planted unit": "unit_families"}
COLUMNS = ["variants", "score", "right", "value", "low", "high", "k", "n", "n_genes", "null", "null_95"]


def namers(features: pd.DataFrame, least: float) -> pd.DataFrame:
    """The latents that name: latent, family, largest, precision, floor (activation units).

    features: latent, kind, family, plausible, threshold (share of largest from which the latent's name was read), largest (its largest
    activation on validation), precision (share of its firing inside the concept that names it). floor: that threshold, or the share
    `least` of largest where it is lower, so that noise does not count.
    """
    some = features[features["plausible"].astype(bool) & (features["kind"] == "motif")]
    floor = some["largest"] * some["threshold"].clip(lower=least)
    return some[["latent", "family", "largest", "precision"]].assign(floor=floor).reset_index(drop=True)


def lost(before: sparse.csr_matrix, after: sparse.csr_matrix, named: pd.DataFrame, share: float) -> np.ndarray:
    """What each variant takes from named latents, for their families: [variant, named] float64, 0 where a latent is not lost, else
    the peak's fall as a share of the latent's largest activation, times its precision.

    before, after: largest activation near the variant with the reference and the alternative allele, CSR [variant, d_sae]; named: of
    `namers`; share: of the reference's peak that has to be gone, above 0 and at most 1. Raises ValueError for unlike shapes.
    """
    if before.shape != after.shape:
        raise ValueError(f"after has shape {after.shape}, expected {before.shape}")
    columns = named["latent"].to_numpy(int)
    peak, left = (states.tocsc()[:, columns].toarray() for states in (before, after))
    gone = (peak > 0) & (peak >= named["floor"].to_numpy()) & (peak - left >= share * peak)
    return np.where(gone, (peak - left) / named["largest"].to_numpy() * named["precision"].to_numpy(), 0.0)


def naming(said: np.ndarray, family: pd.Series, truth: pd.DataFrame, share: float) -> pd.DataFrame:
    """`truth` with what each variant names: named (families, joined by "; "), n_named, right and right_unit, how many of them are of
    the broken motif, and of its unit.

    said: [variant, named] of `lost`; family: [named]; truth: a row a variant, with broken (a family, or "") and unit_families
    (joined by "; "), as `lib.dna.truth.broken_by` gives them; share: in (0, 1], of what is said for the first family.
    """
    names, member = _one_hot(family)
    hit = _families(said, member, share)
    own = {column: hit & _told(truth[column], names) for column in RIGHT.values()}
    joined = ["; ".join(names[row]) for row in hit]
    return truth.assign(named=joined, n_named=hit.sum(1), right=own["broken"].sum(1), right_unit=own["unit_families"].sum(1))


def scores(
    said: np.ndarray, family: pd.Series, truth: pd.DataFrame, share: float, n_boot: int = 1000, n_null: int = 200, seed: int = 0
) -> pd.DataFrame:  # fmt: skip
    """How well variants are named, one row a kind of variant, score and meaning of right; columns COLUMNS.

    truth: broken, unit_families, target, gene (what is resampled), first (family of the latent that loses most, "" where that names
    nothing) and in_site (whether the variant lies in a true site, planted or by chance).

    Of variants that break a motif, all and by target: recall, the share with a right family among those named; precision, the share of
    pairs of a variant and a family named that are right; reachable, the share whose broken family some latent bears; first, the share
    of which the latent that loses most alone is right. Of the others, false alarm: the share of which any family is named. low, high: the
    wider of a bootstrap over genes and Wilson's, which speaks where all draws are alike; NaN with one gene. null, null_95: mean and
    95th percentile over n_null deals of the families among the latents.
    """
    names, member = _one_hot(family)
    told = {right: _told(truth[column], names) for right, column in RIGHT.items()}
    rng = np.random.default_rng(seed)
    dealt = [_families(said, member[rng.permutation(len(member))], share) for _ in range(n_null)]
    hit, first, rows = _families(said, member, share), _told(truth["first"], names), []

    def row(kind: str, score: str, right: str, some: np.ndarray, counted: tuple[np.ndarray, np.ndarray], null: list[float] = ()) -> None:
        part, whole = (values[some] for values in counted)
        rows.append((kind, score, right, *_over(part, whole, truth["gene"].to_numpy()[some], n_boot, seed), *_summary(null)))

    each, kinds = np.ones(len(truth)), _kinds(truth)
    for kind in [name for name in kinds if name.startswith("break a")]:
        some = kinds[kind]
        for right, own in told.items():
            for score, count in {"recall": _recall, "precision": _precision}.items():
                row(kind, score, right, some, count(hit, own), [_value(*count(deal[some], own[some])) for deal in dealt])
        row(kind, "reachable", "broken motif", some, (told["broken motif"].any(1), each))
        row(kind, "first", "broken motif", some, _recall(first, told["broken motif"]))
    for kind in [name for name in kinds if name.startswith("break no")]:
        row(kind, "false alarm", "", kinds[kind], (hit.any(1), each))
    return pd.DataFrame(rows, columns=COLUMNS)


def _kinds(truth: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which variants are of each kind: [variant] bool."""
    breaks, outside = truth["broken"].ne("").to_numpy(), ~truth["in_site"].to_numpy(bool)
    of_target = {f"break a {target}": breaks & truth["target"].eq(target).to_numpy() for target in ("site", "partner")}
    return {"break a motif": breaks, **of_target, "break no motif": ~breaks, "break no motif, outside every site": ~breaks & outside}


def _one_hot(family: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Families in order, and which latent is of which: [named, family] bool."""
    names, code = np.unique(family.to_numpy(str), return_inverse=True)
    return names.astype(object), code[:, None] == np.arange(len(names))


def _families(said: np.ndarray, member: np.ndarray, share: float) -> np.ndarray:
    """Which families are named at each variant: [variant, family] bool. member: [named, family]."""
    total = said.astype(np.float64) @ member.astype(np.float64)
    return (total > 0) & (total >= share * total.max(1, keepdims=True, initial=0) * (1 - 1e-12))


def _told(joined: pd.Series, names: np.ndarray) -> np.ndarray:
    """Which of the named families the truth has: [variant, family] bool."""
    return np.array([np.isin(names, text.split("; ")) for text in joined], dtype=bool).reshape(len(joined), len(names))


def _recall(hit: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (hit & own).any(1).astype(float), np.ones(len(hit))


def _precision(hit: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (hit & own).sum(1).astype(float), hit.sum(1).astype(float)


def _value(part: np.ndarray, whole: np.ndarray) -> float:
    return part.sum() / whole.sum() if whole.sum() else np.nan


def _over(part: np.ndarray, whole: np.ndarray, genes: np.ndarray, n_boot: int, seed: int) -> tuple[float, float, float, int, int, int]:
    """value, low, high, k, n, n_genes of sum(part) / sum(whole); with one gene, which cannot be resampled, no interval."""
    per = pd.DataFrame({"part": part, "whole": whole}).groupby(genes).sum().query("whole > 0")
    k, n = int(per["part"].sum()), int(per["whole"].sum())
    wilson = estimates.share(k, n)
    if len(per) < 2:
        return wilson.value, np.nan, np.nan, k, n, len(per)
    drawn = estimates.ratio_interval((per["whole"] - per["part"]).to_numpy(), per["whole"].to_numpy(), n_boot, seed)
    return wilson.value, min(drawn.low, wilson.low), max(drawn.high, wilson.high), k, n, len(per)


def _summary(null: list[float]) -> tuple[float, float]:
    values = np.array(null)[np.isfinite(null)]
    return (float(values.mean()), float(np.quantile(values, 0.95))) if len(values) else (np.nan, np.nan)
