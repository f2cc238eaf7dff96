"""Alleles that nobody chose: substitutions and indels of the reference, beside which a variant's effect is large or is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from lib.dna.reference import Reference
from lib.models import sequence as sq

#: Edges of the bins of distance to an exon, in bases.
DISTANCE = (0, 3, 10, 50, 250, 2500)
#: Longest indel with a bin of its own.
LONGEST = 10
#: What has to be equal, the finest first: kind of region, bin of distance, and letters with their neighbours, or the letters alone.
LEVELS = (("region", "distance", "context"), ("region", "distance", "edit"), ("region", "context"), ("region", "edit"), ("context",),
          ("edit",))
#: Of the alleles that are drawn before strata are evened out, so many for each that is kept.
DRAWN = 8


def keys(variants: pd.DataFrame, genome: Reference) -> pd.DataFrame:
    """What sort of edit each variant is: region, distance (bin), edit, context. variants: contig, pos (0-based), ref, alt, region and
    exon_distance (bases; NaN where no exon is known).

    edit: "C>T", of complementary ones the one whose reference is C or T; "del 3", "ins 1", "ins 10+"; "delins" for what else.
    context: edit with the bases on both sides, on that strand, "ACG>ATG"; of others the edit.
    """
    edits, contexts = [], []
    for v in variants.itertuples():
        if len(v.ref) == len(v.alt) == 1:
            edit, context = _substitution(v, genome)
        else:
            edit = context = _indel(v.ref, v.alt)
        edits.append(edit), contexts.append(context)
    distance = np.digitize(variants["exon_distance"].fillna(np.inf), DISTANCE[1:])
    return pd.DataFrame({"region": variants["region"].to_numpy(), "distance": distance, "edit": edits, "context": contexts})


def sample(
    genome: Reference, places: pd.DataFrame, region: Callable[[pd.DataFrame], pd.DataFrame], n: int, indels: float, seed: int
) -> pd.DataFrame:  # fmt: skip
    """n alleles of the reference, evenly of every region: contig, pos, ref, alt, region, exon_distance.

    places: contig, start, end, where they may lie; region: (variants) -> table with region and exon_distance, a row each, as
    `lib.dna.hgvs` gives them. indels: share of insertions and deletions, of 1 to LONGEST bases, the short ones oftener; what is
    inserted is drawn from the bases' own frequencies there. A region with too few alleles gives all it has, and the others more.
    Places whose reference is not A C G T are passed by. Raises ValueError where no place holds a known base.
    """
    rng = np.random.default_rng(seed)
    drawn = _drawn(genome, places, DRAWN * n, indels, rng)
    if drawn.empty:
        raise ValueError(f"{genome.path}: none of {len(places)} places holds a known base, wanted alleles of the reference")
    drawn = pd.concat([drawn, region(drawn)[["region", "exon_distance"]].reset_index(drop=True)], axis=1)
    kept = _evenly(drawn["region"].to_numpy(), n)
    return drawn[kept].sort_values(["contig", "pos", "ref", "alt"], ignore_index=True)


def _drawn(genome: Reference, places: pd.DataFrame, n: int, indels: float, rng: np.random.Generator) -> pd.DataFrame:
    length = (places["end"] - places["start"]).to_numpy()
    place = rng.choice(len(places), n, p=length / length.sum())
    offset = (rng.random(n) * length[place]).astype(int)
    size = np.where(rng.random(n) < indels, np.minimum(rng.geometric(0.4, n), LONGEST), 0)
    gains, rows = rng.random(n) < 0.5, []
    ends = np.minimum(places["end"] + LONGEST, places["contig"].map(genome.lengths))
    texts = [sq.normalise(genome.letters(*place))[0] for place in zip(places["contig"], places["start"], ends, strict=True)]
    for i in range(n):
        p, at = places.iloc[place[i]], offset[i]
        ref, alt = _allele(texts[place[i]], at, int(size[i]), bool(gains[i]), rng)
        if ref:
            rows.append((p["contig"], int(p["start"]) + int(at), ref, alt))
    table = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"])
    return table.drop_duplicates(ignore_index=True)


def _allele(text: str, at: int, size: int, gains: bool, rng: np.random.Generator) -> tuple[str, str]:
    """One allele at a place of a text, anchored as in a VCF file; two empty ones where it cannot be."""
    ref = text[at : at + 1 + (0 if gains else size)]
    if "N" in ref or len(ref) < 1 + (0 if gains else size):
        return "", ""
    if not size:
        return ref, "ACGT".replace(ref, "")[rng.integers(3)]
    if not gains:
        return ref, ref[0]
    near = text[max(0, at - 50) : at + 50].replace("N", "")
    return ref, ref + "".join(near[k] for k in rng.integers(0, len(near), size))


def _evenly(region: np.ndarray, n: int) -> np.ndarray:
    """Which of the rows to keep, n in all and as evenly over regions as they allow: [row] bool. Rows are in a drawn order."""
    names, code, count = np.unique(region, return_inverse=True, return_counts=True)
    share, left = np.zeros(len(names), int), n
    while left > 0 and (share < count).any():
        open_ = share < count
        more = max(1, left // int(open_.sum()))
        for k in np.flatnonzero(open_):
            step = min(more, count[k] - share[k], left)
            share[k], left = share[k] + step, left - step
    rank = pd.Series(code).groupby(code).cumcount().to_numpy()
    return rank < share[code]


def _substitution(v, genome: Reference) -> tuple[str, str]:
    around = genome.fetch(v.contig, max(0, v.pos - 1), min(v.pos + 2, genome.lengths[v.contig])).upper()
    left = around[0] if v.pos > 0 else "N"
    right = around[-1] if v.pos + 1 < genome.lengths[v.contig] else "N"
    ref, alt = v.ref, v.alt
    if ref in "AG":
        ref, alt, left, right = (_complement(base) for base in (ref, alt, right, left))
    return f"{ref}>{alt}", f"{left}{ref}{right}>{left}{alt}{right}"


def _indel(ref: str, alt: str) -> str:
    if len(ref) == len(alt) or not (ref.startswith(alt) or alt.startswith(ref)):
        return "delins"
    size = abs(len(alt) - len(ref))
    return f"{'ins' if len(alt) > len(ref) else 'del'} {size if size < LONGEST else f'{LONGEST}+'}"


def _complement(base: str) -> str:
    return "TGCAN"["ACGTN".index(base)]
