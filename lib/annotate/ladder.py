"""What is found beside every null: the ladder of methods, and family intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from statsmodels.stats.proportion import proportion_confint

from lib.annotate import association, pairs
from lib.annotate.concepts import Concepts
from lib.stats import estimates


def family_interval(difference: pd.Series, family: pd.Series, n_boot: int = 1000, seed: int = 0) -> estimates.Estimate:
    """Mean of per-concept differences, bootstrap over families, since members of one share their sites.

    difference, family: indexed by concept. n is the number of families.
    """
    rng = np.random.default_rng(seed)
    known = difference.dropna()
    groups = [g.to_numpy() for _, g in known.groupby(family.reindex(known.index))]
    if not groups:
        return estimates.NOTHING
    total, size = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    pick = rng.integers(0, len(groups), (n_boot, len(groups)))
    low, high = np.quantile(total[pick].sum(1) / size[pick].sum(1), [0.025, 0.975])
    return estimates.Estimate(float(known.mean()), float(low), float(high), len(groups))


def gains(best: pd.DataFrame, rivals: list[str], n_boot: int = 1000, seed: int = 0) -> dict[str, estimates.Estimate]:
    """Mean over concepts of the SAE's test F1 less each rival's, with its interval over families: rival -> estimate.

    best: one row a concept and method, of one kind. Without a concept every estimate is NOTHING.
    """
    if best.empty:
        return dict.fromkeys(rivals, estimates.NOTHING)
    wide = best.pivot_table(index="concept", columns="method", values="f1")
    family = best.drop_duplicates("concept").set_index("concept")["family"]
    return {rival: family_interval(wide["SAE"] - wide[rival], family, n_boot, seed) for rival in rivals}


def best_pairs(
    reading: association.Reading, screened: association.Screen, latents: association.Latents, concepts: Concepts
) -> pd.DataFrame:
    """For each concept the latent of the highest validation F1, with its test numbers. Choosing never sees the test.

    Adds n_fired, precision, recall, f1, auroc; from the pairs that were read: p, q, q_latent, or_low (p and q 1 where
    the pair was below the floor and not read); n_tests of the reading. One row a concept.
    """
    chosen = screened.rows(screened.f1.argmax(1), np.arange(len(screened.f1)))
    scored, first = [], 0
    for block in [latents] if sparse.issparse(latents) else latents:
        in_block = chosen[chosen["latent"].between(first, first + block.shape[1] - 1)]
        if len(in_block) or not (scored or len(chosen)):  # without a concept the columns still come from the first block
            scored.append(pd.concat([in_block, _scored(block, concepts, in_block, in_block["latent"].to_numpy() - first)], axis=1))
        first += block.shape[1]
    table = pd.concat(scored).sort_index()
    key = ["latent", "concept_row"]
    table = table.merge(reading.pairs[[*key, "p", "q", "q_latent", "or_low"]], on=key, how="left")
    ones = dict.fromkeys(("p", "q", "q_latent"), 1.0)
    return table.fillna(ones).drop(columns="concept_row").assign(n_tests=reading.n_tests)


def _scored(block: sparse.csr_matrix, concepts: Concepts, chosen: pd.DataFrame, latent: np.ndarray) -> pd.DataFrame:
    """Test numbers of one pair a row, thresholds and scales frozen. latent: columns of `block`."""
    used, column = np.unique(latent, return_inverse=True)
    largest = np.zeros(len(used), np.float32)
    largest[column] = chosen["largest"]
    levels, level = np.unique(chosen["threshold"].to_numpy(np.float32), return_inverse=True)
    row = chosen["concept_row"].to_numpy()
    scores = pairs.score_pairs(block[:, used], concepts, largest, thresholds=tuple(levels.tolist()))
    at = (row, column, level)
    precision = scores.hits[at] / np.maximum(scores.n_fired[at[1:]], 1)
    recall = scores.hit_instances[at] / np.maximum(scores.n_instances[row], 1)
    return pd.DataFrame({"n_fired": scores.n_fired[at[1:]], "precision": precision, "recall": recall,
                         "f1": pairs.harmonic(precision, recall), "auroc": scores.auroc[at[:2]]}, index=chosen.index)  # fmt: skip


def profile(concept: pd.Series) -> pd.Series:
    """A concept's name without its strand."""
    return concept.astype(str).str.removesuffix(" +").str.removesuffix(" -")  # of no concept the column has no text


def shown_concepts(best: pd.DataFrame, kind: str, n: int) -> list[str]:
    """At most n concepts of a kind to show: those whose validation-best SAE latent has the highest validation F1, one a
    family where there are more than n. best: one row a concept and method."""
    of_kind = best[(best["method"] == "SAE") & (best["kind"] == kind)].sort_values("f1_validation", ascending=False, kind="stable")
    return (of_kind if len(of_kind) <= n else of_kind.drop_duplicates("family")).head(n)["concept"].tolist()


def ladder(read: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """One row a kind and method: what was found by the unit that was best on validation, and how many units were claimed.

    read: pairs read on test; best: one row a concept; both with kind, method, claimed. Columns: concepts; found
    (concepts whose validation-best unit is claimed), profiles_found (the same, strands counted once), families_found,
    latents_claimed (units with any claimed pair), median_f1, best_f1, n_tests.
    """
    counts = best.assign(name=profile(best["concept"])).groupby(["kind", "method"], sort=False)
    table = counts.agg(concepts=("concept", "size"), found=("claimed", "sum"), median_f1=("f1", "median"), best_f1=("f1", "max"),
                       n_tests=("n_tests", "first"))  # fmt: skip
    known = best[best["claimed"]].assign(name=lambda t: profile(t["concept"])).groupby(["kind", "method"])
    table["profiles_found"], table["families_found"] = known["name"].nunique(), known["family"].nunique()
    table["latents_claimed"] = read[read["claimed"]].groupby(["kind", "method"])["latent"].nunique()
    table = table.fillna({"profiles_found": 0, "families_found": 0, "latents_claimed": 0}).reset_index()
    whole = ["profiles_found", "families_found", "latents_claimed"]
    columns = ["kind", "method", "concepts", "found", *whole, "median_f1", "best_f1", "n_tests"]
    return table.astype(dict.fromkeys(whole, int))[columns]


def beside(table: pd.DataFrame, everywhere: pd.DataFrame) -> pd.DataFrame:
    """A ladder with the counts of another under the same names and _everywhere: NaN for kinds and methods that it lacks."""
    counts = ["concepts", "found", "profiles_found", "families_found", "latents_claimed"]
    return table.merge(everywhere[["kind", "method", *counts]], on=["kind", "method"], how="left", suffixes=("", "_everywhere"))


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """A ladder with the share of its concepts that are found: value, and its 95 % Wilson interval as low and high."""
    low, high = proportion_confint(table["found"], table["concepts"], method="wilson")
    return table.assign(value=table["found"] / table["concepts"], low=low, high=high)


def best_concepts(read: pd.DataFrame) -> pd.DataFrame:
    """The pair of each latent with the highest validation F1: true sites are for scoring and never name it."""
    known = read[read["kind"] != "true site"]
    return known.sort_values("f1_validation", ascending=False, kind="stable").drop_duplicates("latent")
