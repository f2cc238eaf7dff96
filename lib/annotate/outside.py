"""What recurs is named before what is rare: latents of repeats, and concepts read outside repeats only.

A repeat holds the same words everywhere, so that a latent that reads it fits whatever profile has one of them. The kind says which
tokens lie in a repeat, and what it is called (`repeated`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from statsmodels.stats.proportion import proportion_confint

from lib.annotate import association
from lib.annotate.concepts import Concepts, shared

#: Of a latent in the catalogue that is called by its repeat.
KIND = "repeat"


class View(NamedTuple):
    """Part of the tokens, and the concepts that are read there. Dictionaries by part: keep ([token] bool), laid (of `keep`'s tokens)."""

    keep: dict[str, np.ndarray]
    laid: dict[str, Concepts]


def view(laid: dict[str, Concepts], keep: dict[str, np.ndarray], min_instances: int) -> View:
    """Concepts on the kept tokens of each part: instances that lie whole on them, of concepts that have enough on every part."""
    parts = {part: _on(concepts, keep[part], min_instances) for part, concepts in laid.items()}
    first, second = shared(parts["validation"], parts["test"])
    return View(keep, {"validation": first, "test": second})


def _on(concepts: Concepts, keep: np.ndarray, min_instances: int) -> Concepts:
    instances = concepts.instances.tocsr()
    whole = np.flatnonzero(np.asarray(instances @ (~keep).astype(np.float32)).ravel() == 0)
    code, n = concepts.concept_of[whole], len(concepts.table)
    known = np.flatnonzero(np.bincount(code, minlength=n) >= min_instances)
    number = np.full(n, -1)
    number[known] = np.arange(len(known))
    left = number[code] >= 0
    whole, code = whole[left], number[code[left]]
    on_kept = instances[whole][:, np.flatnonzero(keep)]
    member = sparse.csr_matrix((np.ones(len(code), np.float32), (np.arange(len(code)), code)), shape=(len(code), len(known)))
    tokens = (on_kept.T @ member).tocsc()
    tokens.data[:] = 1
    table = concepts.table.iloc[known].assign(n_instances=np.bincount(code, minlength=len(known)), n_tokens=np.diff(tokens.indptr))
    return Concepts(table.reset_index(drop=True), tokens, on_kept.tocsr(), code)


def rows_of(latents: association.Latents, keep: np.ndarray) -> association.Latents:
    """Latents on the kept tokens: of a matrix its rows, of `rivals.Directions` those that read them."""
    return latents[np.flatnonzero(keep)] if sparse.issparse(latents) else latents.at(keep)


def shares(latents: sparse.csr_matrix, limit: np.ndarray, name: np.ndarray, unit: np.ndarray, cut: float) -> pd.DataFrame:
    """How much of each latent's firing lies in repeats: latent, n_fired, units, repeat, share, low, high, background, of_repeats.

    latents: CSR [token, latent]; it fires above limit ([latent]); name: [token] the repeat's, "" outside; unit: [token]. repeat: the
    commonest name where it fires, "" for none; background: share of all tokens that lie in repeats. low, high: 95 % Wilson of the
    share, n the units in which it fires, since tokens of a unit are not looked at independently. of_repeats: the share is
    at least `cut` and low above the background.
    """
    columns, names = latents.tocsc(), np.asarray(name, dtype=object)
    every, code = np.unique(names.astype(str), return_inverse=True)
    inside, rows = names != "", []
    for latent in range(latents.shape[1]):
        here = slice(columns.indptr[latent], columns.indptr[latent + 1])
        on = columns.indices[here][columns.data[here] > limit[latent]]
        times = np.bincount(code[on], minlength=len(every)) * (every != "")
        called = every[times.argmax()] if times.any() else ""
        rows.append((latent, len(on), len(np.unique(unit[on])), called, inside[on].mean() if len(on) else np.nan))
    table = pd.DataFrame(rows, columns=["latent", "n_fired", "units", "repeat", "share"])
    low, high = proportion_confint(table["share"].fillna(0) * table["units"], table["units"].clip(lower=1), method="wilson")
    table = table.assign(low=low, high=high, background=inside.mean() if len(inside) else 0.0)
    return table.assign(of_repeats=(table["share"] >= cut) & (table["low"] > table["background"]))


def limits(read: pd.DataFrame, n_latents: int) -> np.ndarray:
    """Above which each latent fires, by its pair in `read` (latent, threshold, largest; one row a latent): 0 of those without: [latent]."""
    out = np.zeros(n_latents)
    out[read["latent"].to_numpy(int)] = read["threshold"].to_numpy(np.float32) * read["largest"].to_numpy(np.float32)
    return out


def renamed(table: pd.DataFrame, of: pd.DataFrame, kind: str, claim: str = "claimed") -> pd.DataFrame:
    """Best pairs, one row a latent, with repeat_share, and latents of repeats called by their repeat.

    Their numbers stay those of the pair, which `matched` names; one of `kind`, which names latents, is claimed no longer. of: of `shares`;
    claim: the column of claims.
    """
    of = of.set_index("latent").reindex(table["latent"])
    at, called = of["of_repeats"].eq(True).to_numpy(), of["repeat"].to_numpy()
    text = table[["kind", "concept", "family"]].astype(object)
    text.loc[at, "kind"], text.loc[at, "concept"], text.loc[at, "family"] = KIND, called[at], called[at]
    beside = {claim: table[claim].astype(bool) & ~(at & table["kind"].eq(kind)), "matched": table["concept"]}
    return table.assign(repeat_share=of["share"].to_numpy(), **beside, **{name: text[name] for name in text})
