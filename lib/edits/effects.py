"""What an edit does to latents, and whether other readings of it say the same: the other strand, another place in the window.

A reading is a table of both alleles' sequences (`lib.dna.labelled.windows`); one effect is read in several. The first is the one
that is reported, the others say whether it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from lib.edits.change import States
from lib.models.adapter import Adapter

#: A reading agrees where it changes a latent the same way, by at least this share of what the first reading says.
SAME = 0.5
COLUMNS = ["variant", "side", "rank", "latent", "ref", "alt", "change", "relative"]


def mean_of(readings: Sequence[States]) -> States:
    """The states of a variant's allele averaged over readings, as of both strands. Raises ValueError without one."""
    if not readings:
        raise ValueError("no reading, wanted one at least")
    n, first = len(readings), readings[0]
    latents = [sum((of.latents[i] for of in readings[1:]), first.latents[i]) / n for i in range(len(first.latents))]
    return States([x.tocsr() for x in latents], sum(of.acts for of in readings) / n)


def strongest(before: sparse.csr_matrix, after: sparse.csr_matrix, largest: np.ndarray, floor: float, share: float, n: int) -> pd.DataFrame:
    """Latents that each variant takes away and brings, at most n of each side: COLUMNS, the largest first.

    before, after: [variant, d_sae] activations of the two alleles; largest: [d_sae] of each latent elsewhere (0: never fired, and never
    listed). A latent is lost where the reference's value is at least `floor` of its largest and the alternative takes `share` of that
    value away; gained is the same with the alleles exchanged. rank: by |change| / largest, which is `relative`, with its sign.
    """
    if before.shape != after.shape or before.shape[1] != len(largest):
        raise ValueError(f"before {before.shape}, after {after.shape}, largest {len(largest)}: wanted [variant, d_sae] twice and [d_sae]")
    change = (after - before).tocoo()
    variant, latent = change.row, change.col
    ref, alt = (_at(states, variant, latent) for states in (before, after))
    top, peak = np.asarray(largest, float)[latent], np.maximum(ref, alt)
    listed = (top > 0) & (peak >= floor * top) & (np.abs(alt - ref) >= share * peak) & (alt != ref)
    table = pd.DataFrame({"variant": variant, "side": np.where(alt < ref, "lost", "gained"), "latent": latent, "ref": ref, "alt": alt,
                          "change": alt - ref, "relative": (alt - ref) / np.where(top > 0, top, 1)})[listed]  # fmt: skip
    order = table["relative"].abs()
    table = table.assign(size=order).sort_values(["variant", "side", "size", "latent"], ascending=[True, False, False, True])
    table["rank"] = table.groupby(["variant", "side"]).cumcount() + 1
    return table.loc[table["rank"] <= n, COLUMNS].reset_index(drop=True)


def agreement(table: pd.DataFrame, readings: dict[str, tuple[sparse.csr_matrix, sparse.csr_matrix]]) -> pd.DataFrame:
    """Of each row of `strongest` in how many readings it comes again: n_readings, n_agree, and disagree, the names of the others.

    readings: name -> (before, after), as those that the table is of, the reported one left out.
    """
    agree = {}
    for name, (before, after) in readings.items():
        moved = _at(after, table["variant"], table["latent"]) - _at(before, table["variant"], table["latent"])
        agree[name] = np.sign(table["change"]) * moved >= SAME * table["change"].abs()
    each = pd.DataFrame(agree, index=table.index, dtype=bool)
    names = np.array(list(readings), dtype=object)
    against = [", ".join(names[~row]) for row in each.to_numpy(bool)] if len(names) else [""] * len(table)
    return table.assign(n_readings=len(names), n_agree=each.sum(axis=1).astype(int) if len(names) else 0, disagree=against)


def moved_tokens(adapter: Adapter, table: pd.DataFrame, radius: int) -> np.ndarray:
    """Share of the tokens near each variant that the alternative cuts elsewhere: [variant], 0 of a model that reads single bases.

    Of the reference's tokens that touch bases within `radius` of the allele and lie outside it: those without a token of the same place
    in the alternative, by reference coordinates. An effect of such a variant may be that of other words for the same bases. NaN where no
    token lies near. table: offset, ref, alt, ref_sequence, alt_sequence.
    """
    shares = np.full(len(table), np.nan)
    for i, v in enumerate(table.itertuples()):
        end, longer = v.offset + len(v.ref), len(v.alt) - len(v.ref)
        own, other = (adapter.encode_one(text) for text in (v.ref_sequence, v.alt_sequence))
        near = own.keep & (own.end > v.offset - radius) & (own.start < end + radius)
        near &= (own.end <= v.offset) | (own.start >= end)
        before = {(s, e) for s, e in zip(other.start[other.keep].tolist(), other.end[other.keep].tolist()) if e <= v.offset}
        after = {(s - longer, e - longer) for s, e in zip(other.start[other.keep].tolist(), other.end[other.keep].tolist())
                 if s >= v.offset + len(v.alt)}  # fmt: skip
        places = list(zip(own.start[near].tolist(), own.end[near].tolist()))
        if places:
            shares[i] = np.mean([place not in before and place not in after for place in places])
    return shares


def _at(states: sparse.csr_matrix, row, column) -> np.ndarray:
    if not len(row):
        return np.zeros(0)
    return np.asarray(states[np.asarray(row, int), np.asarray(column, int)], dtype=np.float64).ravel()
