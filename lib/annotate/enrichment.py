"""Over-representation of a gene list among gene sets: every set of a stated size is tested, and every test counts.

Adjusting only over the sets that the list hits, as `gseapy.enrich` 1.3.1 does, makes the family smaller the fewer sets are
hit: random lists of 20 genes then find false terms in every run.
Source: one-sided Fisher test, as in Rivals et al. 2007 (Bioinformatics 23:401); Benjamini and Hochberg 1995.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import hypergeom

from lib.annotate import odds
from lib.stats import multiplicity


def over_representation(
    genes: Collection[str], sets: Iterable[tuple[str, Collection[str]]], universe: Collection[str],
    min_size: int = 5, max_size: int = 500,
) -> pd.DataFrame:  # fmt: skip
    """Sets that hold more of `genes` than as many genes drawn from the universe without replacement would.

    p = P(overlap or more), hypergeometric; q by Benjamini and Hochberg over all sets tested, those without a hit
    included. Only genes of the universe count in a set; a set is tested if it then has min_size to max_size of them.

    genes: the list, all of it in the universe; sets: (name, genes) each, as of `dict.items`; universe: every gene that
    could have been in the list. Repeats of a gene count once. Returns one row a set tested, smallest p first: set, size,
    overlap and expected (genes), odds_ratio with or_low and or_high (95 % score interval; infinite or NaN where cells are
    empty), p, q. The odds ratio is that of being in the list, inside the set over outside.
    Raises ValueError for an empty list, genes outside the universe, a set's name given twice, and no set of that size.
    """
    listed, known = set(genes), sorted(set(universe))
    if not listed:
        raise ValueError("the gene list is empty, wanted at least one gene")
    if strange := sorted(listed.difference(known)):
        raise ValueError(f"{len(strange)} of {len(listed)} genes are not in the universe: {', '.join(strange[:10])}")
    names, members = _tested(list(sets), known, min_size, max_size)
    on = sparse.csc_matrix(np.isin(known, list(listed)).astype(np.float32)[:, None])
    size, overlap = np.diff(members.indptr), (members.T @ on).toarray().ravel().astype(int)
    p = hypergeom.sf(overlap - 1, len(known), size, len(listed))
    column = np.arange(len(names))
    low, high = odds.score_intervals(on, members, np.zeros_like(column), column, np.zeros(len(column)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = overlap * (len(known) - size - len(listed) + overlap) / ((size - overlap) * (len(listed) - overlap))
    table = pd.DataFrame({
        "set": names, "size": size, "overlap": overlap, "expected": size * len(listed) / len(known), "odds_ratio": ratio,
        "or_low": low, "or_high": high, "p": p, "q": multiplicity.benjamini_hochberg(p),
    })  # fmt: skip
    return table.sort_values("p", kind="stable", ignore_index=True)


def _tested(
    sets: list[tuple[str, Collection[str]]], known: list[str], min_size: int, max_size: int
) -> tuple[list[str], sparse.csc_matrix]:
    """Names of the sets of the wanted size, and which genes of the universe they hold: [gene, set], ones."""
    if twice := [name for name, n in Counter(name for name, _ in sets).items() if n > 1]:
        raise ValueError(f"{len(twice)} set names are given twice: {', '.join(twice[:10])}")
    row_of = {gene: row for row, gene in enumerate(known)}
    rows = {name: sorted({row_of[gene] for gene in held if gene in row_of}) for name, held in sets}
    kept = {name: members for name, members in rows.items() if min_size <= len(members) <= max_size}
    if not kept:
        raise ValueError(f"none of {len(rows)} sets has {min_size} to {max_size} genes of the {len(known)} of the universe")
    at = np.concatenate(list(kept.values()))
    ends = np.cumsum([0, *map(len, kept.values())])
    return list(kept), sparse.csc_matrix((np.ones(len(at), np.float32), at, ends), shape=(len(known), len(kept)))
