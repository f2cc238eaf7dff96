"""Is a family of statistics, one a latent, more than its null draws, or only wider? Four diagnostics of dispersion artefacts.

Statistics whose spread is larger than that of their null pass any threshold more often than the null says, on both sides alike; a
count of the latents that pass then looks like signal, the more so the larger the dictionary. What tells the two apart is the side on
which nothing is expected:

- `shift`: P(statistic > its null), 1/2 for an artefact, whatever its spread. A few true latents among many leave it near 1/2 too.
- `tail_symmetry`: latents that pass in the expected tail beside those that pass in the opposite one.
- `mirror_fdr`: false discoveries above t estimated by the latents below -t; the one that decides about single latents. Where some
  latents truly go the other way it calls fewer than it might, never more.
- `scaling`: what passes against dictionary width, beside random subsets of the widest dictionary, which is what size alone gives.

Everywhere the upper tail is the expected one, and row j of `null` is one draw for all latents (one relabelling, one set of random
directions): how latents go together is then in the draws, and what draws give is shown beside the value, since intervals over latents
alone would take them as independent.
The set of four follows the audit anoni4d/sae-satmut-audit, in which 18 % of latents passed at 5 %, and as many in the other tail.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lib.stats import estimates

COLUMNS = ["name", "value", "low", "high", "n", "reading"]


def shift(real: np.ndarray, null: np.ndarray, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """P(real > null), ties counted half: the mean over latents, with its bootstrap over latents, and the same of null draws.

    real: [latent]; null: [null, latent], 3 draws or more. Rows: "P(real > null)"; "the same of null draws": each draw against the
    others, stretched as `_stretched` says, their mean with the range that holds 95 % of them. Reading: "shifted up" (or "down") where
    the interval leaves 1/2 out and the value lies outside the range of null draws, else "not shifted". Raises ValueError as `checked`
    does.
    """
    real, null = checked(real, null)
    above = ((null < real).sum(0) + 0.5 * (null == real).sum(0)) / len(null)
    below, equal = _others(null, _stretched(real, null))
    value, drawn = estimates.mean_interval(above, n_boot, seed), ((below + 0.5 * equal) / (len(null) - 1)).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    up, down = value.low > 0.5 and value.value > high, value.high < 0.5 and value.value < low
    reading = "shifted up" if up else "shifted down" if down else "not shifted"
    return _table(("P(real > null)", *value, reading), ("the same of null draws", drawn.mean(), low, high, len(null), ""))


def tail_symmetry(real: np.ndarray, null: np.ndarray, alpha: float = 0.05) -> pd.DataFrame:
    """How many latents pass at alpha in the expected (upper) tail, and how many in the opposite one.

    A latent passes where (1 + draws at least as far out) / (1 + draws) <= alpha. Rows: "upper tail" and "lower tail", of n latents,
    low and high the range that holds 95 % of null draws (each against the others); "upper share": the upper ones among both, with
    Wilson's interval of n / d latents, d = mean (upper - lower)^2 / mean (upper + lower) over null draws, stretched as `_stretched`
    says, at least 1: how much less even the tails of latents that go together are than those of independent ones (Rao and Scott
    1992). Reading: "more in the upper
    tail" (or "lower") where that interval leaves 1/2 out, else "as many in both tails".
    Raises ValueError as `checked` does, and where alpha cannot be reached by so few draws.
    """
    real, null = checked(real, null)
    if len(null) * alpha < 1 - 1e-9:
        raise ValueError(f"{len(null)} null draws cannot give p <= {alpha}: wanted {int(np.ceil(1 / alpha - 1e-9))} or more")
    counts = np.array([_hits(real, null, alpha).sum(), _hits(-real, -null, alpha).sum()])
    ends = np.quantile(_passing(null, null, alpha), [0.025, 0.975], axis=1).T
    both, wide = counts.sum(), _passing(null, _stretched(real, null), alpha)
    effect = max(1.0, ((wide[0] - wide[1]) ** 2).mean() / max(wide.sum(0).mean(), 1e-300))
    share = _share(counts[0], both, effect)
    reading = "more in the upper tail" if share.low > 0.5 else "more in the lower tail" if share.high < 0.5 else "as many in both tails"
    return _table(("upper tail", counts[0], *ends[0], len(real), ""), ("lower tail", counts[1], *ends[1], len(real), ""),
                  ("upper share", share.value, share.low, share.high, both, reading))  # fmt: skip


def mirror_fdr(real: np.ndarray, null: np.ndarray, level: float = 0.1) -> pd.DataFrame:
    """Latents that pass at a false discovery rate estimated from the opposite tail: it needs no width of the null, only its centre.

    z = (statistic - mean of its draws) / their standard deviation; the threshold is the least t > 0 with
    (1 + #{z <= -t}) / #{z >= t} <= level. Rows: "threshold" (of z, NaN without one; n: latents), "passing" (latents with z >= t; low,
    high: what 95 % of null draws give, each standardised by the others), "estimated FDR" (at t; without one, the least that any t
    gives, at most 1). Reading: "passing at the level" where there is a threshold and more pass than in 97.5 % of null draws, "no more
    than null draws" where not more, "none at the level" without one. Raises ValueError as `checked` does.
    Source: the estimate of knockoff+, Barber and Candes 2015, for statistics that are symmetric about 0 under the null.
    """
    real, null = checked(real, null)
    threshold, passing, rate = _mirror(standardised(real, null), level)
    drawn = [_mirror(z, level)[1] for z in _each_standardised(null)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    reading = "none at the level" if not passing else "passing at the level" if passing > high else "no more than null draws"
    return _table(("threshold", threshold, np.nan, np.nan, len(real), ""), ("passing", passing, low, high, len(real), reading),
                  ("estimated FDR", rate, np.nan, np.nan, len(real), ""))  # fmt: skip


TAIL_COLUMNS = ["t", "upper", "lower", "null_low", "null_high", "n"]


def tails(real: np.ndarray, null: np.ndarray, n: int = 25) -> pd.DataFrame:
    """What `mirror_fdr` reads, threshold by threshold: how many z lie at t or above, how many at -t or below, and the range that holds 95 %
    of null draws (each standardised by the others), for n thresholds from 0 to the largest |z|. Raises ValueError as `mirror_fdr` does."""
    real, null = checked(real, null)
    z, drawn = standardised(real, null), _each_standardised(null)
    t = np.linspace(0, np.abs(z).max(), n)
    upper, lower = (np.array([(side >= at).sum() for at in t]) for side in (z, -z))
    low, high = np.quantile([(drawn >= at).sum(1) for at in t], [0.025, 0.975], axis=1)
    return pd.DataFrame({"t": t, "upper": upper, "lower": lower, "null_low": low, "null_high": high, "n": len(z)})[TAIL_COLUMNS]


def scaling(
    families: Mapping[int, tuple[np.ndarray, np.ndarray]], alpha: float = 0.05, n_subsets: int = 200, n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """How the number of latents that pass grows with the width of the dictionary, beside what size alone gives.

    families: width -> real [latent], null [null, latent], 2 widths or more, latents being those that live; one passes as in
    `tail_symmetry`. Rows: "passing at <width>", with Wilson's interval times n latents; "slope": of log(passing + 1/2) on log(latents),
    least squares, with its bootstrap over the latents of each width; "slope of subsets": the same of random latents of the widest,
    as many as each width has, mean and the range of 95 % of n_subsets. The share that passes being the same at all widths, both are
    near 1, as for a dispersion artefact; a set of mechanisms that all widths hold gives 0. Reading: "steeper than size alone",
    "flatter than size alone" where the two ranges lie apart, else "as size alone". Raises ValueError as `tail_symmetry` does.
    """
    if len(families) < 2:
        raise ValueError(f"families of {len(families)} width, wanted 2 or more")
    rng = np.random.default_rng(seed)
    hit = {width: _hits(*checked(*families[width]), alpha) for width in sorted(families)}
    sizes = np.array([len(passed) for passed in hit.values()])
    if len(set(sizes.tolist())) < 2:
        raise ValueError(f"all widths have {sizes[0]} latents, wanted different numbers")
    widest = hit[max(hit)]
    if sizes.max() > len(widest):
        raise ValueError(f"width {max(hit)} has {len(widest)} latents, fewer than another of {sizes.max()}")
    counts = np.array([passed.sum() for passed in hit.values()])
    resampled = np.stack([rng.binomial(n, k / n, n_boot) for k, n in zip(counts, sizes)], 1)  # a bootstrap of k ones of n
    subsets = np.stack([rng.hypergeometric(widest.sum(), (~widest).sum(), n, n_subsets) for n in sizes], 1)
    slope, (low, high) = _slope(counts[None], sizes)[0], np.quantile(_slope(resampled, sizes), [0.025, 0.975])
    alone = _slope(subsets, sizes)
    least, most = np.quantile(alone, [0.025, 0.975])
    reading = "steeper than size alone" if low > most else "flatter than size alone" if high < least else "as size alone"
    each = [(f"passing at {width}", k, share.low * n, share.high * n, n, "")
            for width, k, n, share in zip(hit, counts, sizes, map(estimates.share, counts, sizes))]
    return _table(*each, ("slope", slope, low, high, len(sizes), reading), ("slope of subsets", alone.mean(), least, most, n_subsets, ""))


def checked(real: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """real [latent] and null [null, latent] as float64. Raises ValueError for unlike lengths, none at all, fewer than 3 draws, and
    for what is not finite, naming the first latent."""
    real, null = np.asarray(real, dtype=float), np.asarray(null, dtype=float)
    if real.ndim != 1 or null.ndim != 2 or null.shape[1] != len(real) or not len(real):
        raise ValueError(f"real has shape {real.shape} and null {null.shape}, wanted [latent] and [null, latent]")
    if len(null) < 3:
        raise ValueError(f"null holds {len(null)} draws, wanted 3 or more")
    if (bad := np.flatnonzero(~(np.isfinite(real) & np.isfinite(null).all(0)))).size:
        raise ValueError(f"latent {bad[0]} has a statistic or a null draw that is not finite ({bad.size} of {len(real)} latents)")
    return real, null


def standardised(real: np.ndarray, null: np.ndarray) -> np.ndarray:
    """(real - mean of its null draws) / their standard deviation (n - 1). [latent] Raises ValueError, naming the first latent, where
    draws are all alike: leave those latents out."""
    spread = null.std(0, ddof=1)
    if (flat := np.flatnonzero(spread <= 1e-12 * np.abs(null).max(0))).size:
        raise ValueError(f"null draws of latent {flat[0]} are all alike ({flat.size} of {len(real)} latents), wanted a spread")
    return (real - null.mean(0)) / spread


def _each_standardised(null: np.ndarray) -> np.ndarray:
    """Each draw standardised by the others: [null, latent]; infinite where those are all alike, and it is not."""
    n, off = len(null), null - null.mean(0)
    rest = np.maximum((off**2).sum(0) - off**2 * n / (n - 1), 0.0)  # squares about the mean of the others
    rest[rest <= 1e-12 * (off**2).sum(0)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(off * n / (n - 1) / np.sqrt(rest / (n - 2)), nan=0.0, posinf=np.inf, neginf=-np.inf)


def _stretched(real: np.ndarray, null: np.ndarray) -> np.ndarray:
    """The null draws as wide as the statistics: each about its latent's mean, times the ratio of the interquartile ranges of both,
    standardised, at least 1. What chance does to latents that go together grows with their spread. [null, latent]"""
    centre, spread = null.mean(0), null.std(0, ddof=1)
    moves = spread > 0
    if not moves.any():
        return null
    z = [((values - centre) / np.where(moves, spread, 1))[..., moves] for values in (real, null)]
    of_real, of_null = (np.subtract(*np.quantile(values, [0.75, 0.25])) for values in z)
    ratio = max(1.0, of_real / of_null) if of_null > 0 else 1.0
    return null if ratio == 1 else centre + ratio * (null - centre)


def _others(null: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of a latent's other draws lie below a value that stands for a draw, and how many equal it: [null, latent] twice."""
    below, upto = np.empty(null.shape, int), np.empty(null.shape, int)
    for latent, ordered in enumerate(np.sort(null, axis=0).T):
        below[:, latent] = np.searchsorted(ordered, values[:, latent])
        upto[:, latent] = np.searchsorted(ordered, values[:, latent], side="right")
    return below - (null < values), upto - below - (null == values)


def _hits(real: np.ndarray, null: np.ndarray, alpha: float) -> np.ndarray:
    return (1 + (null >= real).sum(0)) / (1 + len(null)) <= alpha + 1e-12


def _passing(null: np.ndarray, values: np.ndarray, alpha: float) -> np.ndarray:
    """Latents that pass in the upper tail, and in the lower, of values that stand for each draw, against the other draws: [2, null]."""
    below, equal = _others(null, values)
    n = len(null)
    return np.stack([((n - below) / n <= alpha + 1e-12).sum(1), ((1 + below + equal) / n <= alpha + 1e-12).sum(1)])


def _share(count: int, n: int, effect: float) -> estimates.Estimate:
    """count of n with Wilson's interval of n / effect units; no interval narrower than 0 to 1 of none."""
    if not n:
        return estimates.Estimate(np.nan, 0.0, 1.0, 0)
    return estimates.Estimate(count / n, *estimates.share(count / effect, n / effect)[1:3], n)


def _mirror(z: np.ndarray, level: float) -> tuple[float, int, float]:
    """Threshold, latents at or above it, and the estimated FDR there; NaN, 0 and the least estimate where none meets the level."""
    t = np.unique(z[z > 0])
    upper = len(z) - np.searchsorted(np.sort(z), t)
    rate = (1 + np.searchsorted(np.sort(z), -t, side="right")) / np.maximum(upper, 1)
    met = np.flatnonzero(rate <= level)
    if not met.size:
        return np.nan, 0, float(min(rate.min(initial=1.0), 1.0))
    return float(t[met[0]]), int(upper[met[0]]), float(rate[met[0]])


def _slope(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Least-squares slope of log(count + 1/2) on log(size). counts: [draw, width]. Returns [draw]."""
    x = np.log(sizes) - np.log(sizes).mean()
    return np.log(counts + 0.5) @ x / (x @ x)


def _table(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float, "low": float, "high": float, "n": int})
