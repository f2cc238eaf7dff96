"""Latents that are lost, or gained, at more variants of label 1 than of label 0, inside matched strata and clusters.

Given how many variants of a cell bear label 1 and at how many the latent is lost, the number of both is hypergeometric where the two
have nothing to do with each other, whatever the cells' own rates are; the sum over cells is a convolution, so p is exact and as small
as a family of thousands of latents asks for, which draws are not: 4,096 latents would need over 80,000 of them.

Variants of one cluster (a gene, a locus) are no independent draws: a label follows its cluster, and so does what is lost there. Cells
of strata alone take them for such, and call chance significant. Clusters of unlike sizes cannot be exchanged for each other, so no
permutation of whole clusters is valid either. Cells of a stratum *and* a cluster ask of variants of one cluster only, and stand
whatever a cluster does to its labels and to its losses. That p decides; the other is shown beside it. What is paid: a latent that is
lost in clusters of one label only has nothing to say (`free` = 0, p = 1), and counts in the family all the same.

Sources: Gart 1970 (exact test of a common odds ratio), Mantel and Haenszel 1959, Simes 1986, Benjamini and Hochberg 1995.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import hypergeom

from lib.annotate import odds
from lib.annotate.strata import strata_of
from lib.stats import multiplicity

COLUMNS = ["latent", "lost_1", "lost_0", "n_1", "n_0", "n_clusters", "free", "expected_1", "odds_ratio", "or_low", "or_high", "p",
           "p_strata", "q"]  # fmt: skip


def enriched(
    lost: sparse.spmatrix | np.ndarray, label: np.ndarray, stratum: np.ndarray, cluster: np.ndarray | None, least: int = 10
) -> pd.DataFrame:  # fmt: skip
    """One row a latent that is lost at `least` or more variants, in order of latents; columns COLUMNS.

    lost: [variant, latent], bool or amounts; a latent is lost where its entry is above 0. The same call with what is gained asks of
    gains. label: [variant], 0 or 1; stratum: [variant], whole numbers; cluster: [variant], None where every variant is its own matter.

    lost_1, lost_0: variants of each label at which it is lost, of n_1 and n_0; n_clusters: in which it is lost; free: those of its lost
    variants whose cell of stratum and cluster leaves a choice; expected_1: what the cells let one expect of lost_1; odds_ratio: of
    being lost, label 1 over label 0, of Mantel and Haenszel over those cells, with its 95 % score interval (NaN where nothing is free);
    p: one-sided exact, over those cells; p_strata: the same over strata alone, which takes all variants as independent; q: of p, by
    Benjamini and Hochberg over all rows. Raises ValueError for unlike lengths, for labels, strata and amounts that are none of these,
    for labels of one kind only, and for `least` below 1.
    """
    entries, label, stratum, cluster = _checked(lost, label, stratum, cluster, least)
    n_lost = np.diff(entries.indptr)
    latent = np.flatnonzero(n_lost >= least)
    entries = entries[:, latent]
    cell = stratum if cluster is None else strata_of({"stratum": stratum, "cluster": cluster})
    tables = _tables(entries, label, cell)
    low, high = _interval(entries, label, cell)
    lost_1 = (label @ entries).astype(int)
    p = _exact(tables, len(latent))
    return pd.DataFrame({
        "latent": latent, "lost_1": lost_1, "lost_0": n_lost[latent] - lost_1, "n_1": int(label.sum()), "n_0": int((1 - label).sum()),
        "n_clusters": n_lost[latent] if cluster is None else _held(entries, cluster),
        "free": _by_latent(tables, tables["lost"].where(tables["low"] < tables["high"], 0), len(latent)).astype(int),
        "expected_1": _by_latent(tables, tables["lost"] * tables["ones"] / tables["size"], len(latent)),
        "odds_ratio": _odds_ratio(tables, len(latent)), "or_low": low, "or_high": high, "p": p,
        "p_strata": p if cluster is None else _exact(_tables(entries, label, stratum), len(latent)),
        "q": multiplicity.benjamini_hochberg(p),
    }, columns=COLUMNS)  # fmt: skip


def statistics(
    lost: sparse.spmatrix, label: np.ndarray, cell: np.ndarray, n_null: int, seed: int, least: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """latent, real [latent], null [n_null, latent]: how much more each latent loses at variants of label 1, for `lib.edits.diagnostics`.

    The sum over variants of what is lost times (label - mean label of its cell), over latents that are lost at `least` or more; null:
    labels dealt anew inside cells, alike for all latents. lost: [variant, latent] amounts; label: 0 or 1; cell: whole numbers.
    """
    entries, label = sparse.csc_matrix(lost, dtype=np.float64), np.asarray(label, float)
    latent = np.flatnonzero(entries.getnnz(axis=0) >= least)
    entries = entries[:, latent]
    code = np.unique(cell, return_inverse=True)[1]
    mean = np.bincount(code, label) / np.bincount(code)
    rng, order = np.random.default_rng(seed), np.argsort(code, kind="stable")
    dealt = np.empty((n_null, len(label)))
    for row in dealt:  # a random order, stable by cell: labels move inside cells alone
        mixed = rng.permutation(len(label))
        row[order] = label[mixed[np.argsort(code[mixed], kind="stable")]]
    return latent, (label - mean[code]) @ entries, (dealt - mean[code]) @ entries


def either(lost: pd.DataFrame, gained: pd.DataFrame) -> pd.DataFrame:
    """One p a latent from its losses and its gains, and q over all latents that were tested for either.

    lost, gained: of `enriched`, of the same variants. Returns latent, p_lost and p_gained (NaN where not tested), p (Simes over those
    of the two that were tested: which these are, no label decides), q (Benjamini and Hochberg). A variant that loses a latent does
    not gain it, so the two pull apart; then Simes errs at most alpha^2 beyond alpha.
    """
    both = pd.merge(lost[["latent", "p"]], gained[["latent", "p"]], on="latent", how="outer", suffixes=("_lost", "_gained"))
    pairs = both[["p_lost", "p_gained"]].to_numpy(float)
    tested = ~np.isnan(pairs)
    p = np.array([multiplicity.simes(row[these], int(these.sum())) for row, these in zip(pairs, tested, strict=True)])
    return both.assign(p=p, q=multiplicity.benjamini_hochberg(p)).sort_values("latent", ignore_index=True)


def _checked(lost, label, stratum, cluster, least):
    """The entries above 0 as ones, CSC [variant, latent], and the codes of each variant."""
    lost = sparse.csc_matrix(lost)
    if not lost.has_canonical_format:
        lost = lost.copy()
        lost.sum_duplicates()
    amounts = lost.data.astype(float)
    if not np.isfinite(amounts).all() or (amounts < 0).any():
        raise ValueError(f"lost ranges from {amounts.min()} to {amounts.max()}, wanted finite amounts that are not negative")
    named = {"label": label, "stratum": stratum} | ({} if cluster is None else {"cluster": cluster})
    for name, values in named.items():
        if np.shape(values) != lost.shape[:1]:
            raise ValueError(f"{name} has shape {np.shape(values)}, expected {lost.shape[:1]}, one a variant")
        if (absent := np.flatnonzero(pd.isna(values))).size:
            raise ValueError(f"{name} of variant {absent[0]} is missing ({absent.size} of {len(values)}), wanted one for each")
    label, stratum = np.asarray(label), np.asarray(stratum)
    if set(np.unique(label).tolist()) != {0, 1}:
        raise ValueError(f"label holds {np.unique(label)[:5]}, wanted 0 and 1, both of them")
    if not np.issubdtype(stratum.dtype, np.integer):
        raise ValueError(f"stratum is of type {stratum.dtype}, wanted whole numbers")
    if least < 1:
        raise ValueError(f"least is {least}, wanted 1 variant or more")
    ones = sparse.csc_matrix((amounts > 0, lost.indices, lost.indptr), shape=lost.shape).astype(np.float32)
    ones.eliminate_zeros()
    codes = [None if values is None else np.unique(values, return_inverse=True)[1] for values in (stratum, cluster)]
    return ones, label.astype(int), *codes


def _columns(entries: sparse.csc_matrix) -> np.ndarray:
    """Column of each entry."""
    return np.repeat(np.arange(entries.shape[1]), np.diff(entries.indptr))


def _held(entries: sparse.csc_matrix, cluster: np.ndarray) -> np.ndarray:
    """In how many clusters each column has an entry."""
    pairs = np.unique(np.stack([_columns(entries), cluster[entries.indices]]), axis=1)
    return np.bincount(pairs[0], minlength=entries.shape[1])


def _tables(entries: sparse.csc_matrix, label: np.ndarray, cell: np.ndarray) -> pd.DataFrame:
    """One row a cell in which a latent is lost, latents in order: latent (column of entries), size (variants of the cell), ones (of
    label 1), lost, hits (both), low and high (the least and the most hits that these allow)."""
    size, ones = np.bincount(cell), np.bincount(cell, weights=label).astype(int)
    key, at = np.unique(_columns(entries) * len(size) + cell[entries.indices], return_inverse=True)
    latent, cell = np.divmod(key, len(size))
    table = pd.DataFrame({"latent": latent, "size": size[cell], "ones": ones[cell], "lost": np.bincount(at, minlength=len(key)),
                          "hits": np.bincount(at, label[entries.indices], len(key)).astype(int)})  # fmt: skip
    low = (table["ones"] + table["lost"] - table["size"]).clip(lower=0)
    return table.assign(low=low, high=np.minimum(table["ones"], table["lost"]))


def _by_latent(tables: pd.DataFrame, values: pd.Series, n: int) -> np.ndarray:
    """Sum of each latent's cells. [latent]"""
    return np.bincount(tables["latent"], weights=values, minlength=n)


def _exact(tables: pd.DataFrame, n: int) -> np.ndarray:
    """P(as many hits or more), given the margins of all cells; 1 where they leave no choice. [latent]"""
    free = tables[tables["low"] < tables["high"]]
    width = (free["high"] - free["low"] + 1).to_numpy()
    start = np.cumsum(width) - width
    above = np.arange(width.sum()) - np.repeat(start, width)  # hits beyond the least, cell by cell
    size, ones, lost, low = (np.repeat(free[name].to_numpy(), width) for name in ("size", "ones", "lost", "low"))
    terms = np.split(hypergeom.pmf(low + above, size, ones, lost), start[1:])
    surplus = _by_latent(free, free["hits"] - free["low"], n).astype(int)
    ends = np.searchsorted(free["latent"], np.arange(n + 1))
    p = np.ones(n)
    for latent in np.flatnonzero(np.diff(ends)):
        p[latent] = reduce(np.convolve, terms[ends[latent] : ends[latent + 1]])[surplus[latent] :].sum()
    return np.minimum(p, 1.0)


def _odds_ratio(tables: pd.DataFrame, n: int) -> np.ndarray:
    """Mantel-Haenszel over cells; infinite without a pair that speaks against, NaN without any. [latent]"""
    size, ones, lost, hits = (tables[name] for name in ("size", "ones", "lost", "hits"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _by_latent(tables, hits * (size - ones - lost + hits) / size, n) / _by_latent(
            tables, (ones - hits) * (lost - hits) / size, n)  # fmt: skip


def _interval(entries: sparse.csc_matrix, label: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    column = np.arange(entries.shape[1])
    members = sparse.csc_matrix(label[:, None].astype(np.float32))
    return odds.score_intervals(entries, members, column, np.zeros_like(column), np.zeros(len(column)), cell)
