"""SNPs of the cohort that studies of association or fine mapping name, beside SNPs of the same loci that they do not.

A lead SNP stands for all that it is in linkage with, so most of those named do nothing themselves; that weakens every effect here and
makes none. Controls are alike in what an effect could hide behind: how common the allele is, how many SNPs it stands for, and how far a
gene starts. SNPs of one locus are one witness, whatever their number.
Source: matching as of TraitGym (Benegas et al. 2025), there 9 controls each; r^2 of dosages, Rogers and Huff 2009 (Genetics 182:839).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.corpus.corpus import Corpus
from lib.dna import confounders, effect_sizes, fine_mapped, labelled, variant_study
from lib.dna.genotypes import Genotypes
from lib.dna.intervals import gwas_intervals
from lib.dna.reference import Reference
from lib.edits import diagnostics, effects, enriched, matched
from lib.edits.change import readable
from lib.stats import estimates

LEAD = "GWAS lead SNP"
#: What a SNP may be, and the column that says so.
SETS = {LEAD: "is_lead", fine_mapped.VARIANT: "is_fine_mapped", fine_mapped.REGION: "in_region"}
#: r^2 from which one SNP is another's proxy, and up to which it says nothing of it.
PROXY, APART = 0.8, 0.2
NONE = "no SNP of the cohort is one, or there are not as many others alike"
MATCHED_ON = ["frequency", "proxies", "start_distance"]
BALANCE_COLUMNS = ["column", "difference", "difference_pool", "named", "n"]
COLUMNS = ["named", "method", "value", "low", "high", "p", "p_flips", "gain", "gain_low", "gain_high", "n", "n_matched", "n_loci"]


class Rule(NamedTuple):
    """When a latent is lost or gained: see `lib.edits.effects.strongest`. largest: [d_sae]"""

    largest: np.ndarray
    floor: float
    share: float


class Associations(NamedTuple):
    """table: of `compare`, of every set; balance: column, difference, difference_pool, named, n; latents, diagnostics: of
    `variant_study.enrichment`, with named."""

    table: pd.DataFrame
    balance: pd.DataFrame
    latents: pd.DataFrame
    diagnostics: pd.DataFrame


class Drawn(NamedTuple):
    """SNPs of one set with their controls. table: rows of the SNPs with named, label (1: of the set), gene (their locus), each once;
    case: [set], control: [set, k] rows of table; balance: of `matched.Matched`, without means, which are of few people; counts."""

    table: pd.DataFrame
    case: np.ndarray
    control: np.ndarray
    balance: pd.DataFrame
    counts: dict[str, int]


def places(gwas: Path | None, lists: Sequence[Path], chain: Path | None, genome: Reference, report: Counter) -> pd.DataFrame:
    """All that is named: contig, start, end, concept (a key of SETS). report: see `lib.dna.report`."""
    parts = [gwas_intervals(gwas, genome, report)[fine_mapped.COLUMNS]] if gwas else []
    parts += [fine_mapped.read(path, chain, genome, report) for path in lists]
    return pd.concat(parts or [pd.DataFrame(columns=fine_mapped.COLUMNS)], ignore_index=True)


def snps(genotypes: Genotypes, loci: pd.DataFrame, named: pd.DataFrame, starts: pd.DataFrame | None) -> pd.DataFrame:
    """The cohort's SNPs that vary: contig, pos, ref, alt, locus, frequency (of the rarer allele), proxies (other alleles of the locus with
    r^2 of PROXY or more), start_distance (log10 of 1 + bases to the nearest of starts; without starts there is no such column), the
    columns of SETS, and linked: whether a lead SNP or fine-mapped variant, or one in linkage with it above APART.

    named: of `places`; loci: contig, start, end, locus. Private, since frequencies of rare alleles count people.
    """
    all_of, dosage = genotypes.variants, genotypes.dosage
    kept = (all_of["ref"].str.len().eq(1) & all_of["alt"].str.len().eq(1)).to_numpy()
    with np.errstate(invalid="ignore"):
        share = np.nanmean(dosage, axis=1) / 2
    kept &= (share > 0) & (share < 1)
    table = all_of.loc[kept, ["contig", "pos", "ref", "alt"]].reset_index(drop=True)
    place = table[["contig"]].assign(start=table["pos"], end=table["pos"] + 1)
    table["locus"] = _locus(place, loci)
    table["frequency"] = np.minimum(share, 1 - share)[kept]
    for concept, column in SETS.items():
        some = named.loc[named["concept"] == concept, ["contig", "start", "end"]]
        table[column] = labelled.inside(table, some) if len(some) else False
    if starts is not None:
        table["start_distance"] = confounders.log_distance(place.rename(columns={"start": "ref_start", "end": "ref_end"}), starts)
    table["proxies"], table["linked"] = _linkage(table, dosage[kept])
    return table


def _locus(place: pd.DataFrame, loci: pd.DataFrame) -> np.ndarray:
    out = np.full(len(place), "", dtype=object)
    for row in loci.itertuples():
        out[((place["contig"] == row.contig) & (place["start"] >= row.start) & (place["start"] < row.end)).to_numpy()] = row.locus
    return out


def _linkage(table: pd.DataFrame, dosage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """proxies and linked of each SNP, within its locus; a missing call counts as the SNP's mean."""
    centred = np.nan_to_num(dosage - np.nanmean(dosage, axis=1, keepdims=True))
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    proxies, linked = np.zeros(len(table), int), np.zeros(len(table), bool)
    own = (table[SETS[LEAD]] | table[SETS[fine_mapped.VARIANT]]).to_numpy()
    for rows in table.groupby("locus").indices.values():
        square = (unit[rows] @ unit[rows].T) ** 2
        proxies[rows] = (square >= PROXY).sum(1) - (np.diagonal(square) >= PROXY)
        linked[rows] = own[rows] | (square[:, own[rows]] > APART).any(1)
    return proxies, linked


def draw(known: pd.DataFrame, name: str, k: int, seed: int) -> Drawn | None:
    """The SNPs of a set, each with k controls (`matched.matched`), as common as some of the set; None where there is no SNP or no pool.

    Controls are in no set of variants nor linked with one; of REGION they lie in no region, of the others wherever the cohort has SNPs.
    """
    column = SETS[name]
    cases = known[known[column]].reset_index(drop=True)
    free = ~known["linked"] & ~known[column]
    pool = known[free & known["frequency"].between(cases["frequency"].min(), cases["frequency"].max())].reset_index(drop=True)
    if cases.empty or len(pool) < k:
        return None
    got = matched.matched(cases, pool, [one for one in MATCHED_ON if one in known], k, seed=seed)
    if not len(got.case):
        return None
    n, private = len(got.case), ["proxies", "frequency", "start_distance", "linked", *SETS.values()]
    table = pd.concat([cases.loc[got.case], pool.loc[got.control.ravel()]], ignore_index=True).drop(columns=private, errors="ignore")
    table = table.rename(columns={"locus": "gene"}).assign(named=name, label=np.repeat([1, 0], [n, got.control.size]))
    balance = got.balance[["column", "difference", "difference_pool"]].assign(named=name, n=n)
    return Drawn(table, np.arange(n), n + np.arange(got.control.size).reshape(n, k), balance, got.summary())


def compare(drawn: Drawn, sizes: pd.DataFrame, n_draws: int, n_boot: int, seed: int) -> pd.DataFrame:
    """A row a method; columns COLUMNS: do the set's SNPs change more than their own controls?

    sizes: [row of drawn.table], columns of `effect_sizes.SCORES`; a method that lacks a size is left out. value, low, high, p, p_flips: of
    `matched.exceeds`, the mean percentile of a SNP among its controls. gain: the percentile of the first method less this one's, paired by
    SNP, 95 % bootstrap over loci.
    """
    gene, rows, first = drawn.table["gene"].to_numpy()[drawn.case], [], None
    for method, column in effect_sizes.SCORES.items():
        values = sizes[column].to_numpy(float)
        if not np.isfinite(values).all():
            continue
        case, control = values[drawn.case], values[drawn.control]
        told = matched.exceeds(case, control, gene, n_draws, n_boot, seed).set_index("name").loc["percentile"]
        own = matched.percentiles(case, control)
        first = own if first is None else first
        gain = estimates.mean_interval(first - own, n_boot, seed, gene)
        ends = (gain.low, gain.high) if told.n_clusters > 1 else (np.nan, np.nan)
        rows.append((drawn.table["named"].iloc[0], method, told.value, told.low, told.high, told.p, told.p_flips, gain.value, *ends,
                     int(told.n), drawn.control.size, int(told.n_clusters)))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def read(
    by: effect_sizes.Readers, corpus: Corpus, genome: Reference, known: pd.DataFrame, rule: Rule, k: int, radius: int, n_draws: int,
    n_boot: int, seed: int, report: Counter,
) -> Associations:  # fmt: skip
    """What the SNPs of each set do to latents, beside k controls each. known: of `snps`; report: see `lib.dna.report`.

    Latents are asked inside loci (`variant_study.enrichment`): which ones the named SNPs lose, or gain, more often than their controls do.
    """
    wide = labelled.windows(known, genome, corpus.settings["window_bp"])
    fits = readable(wide, by.model)
    report["cohort", "SNPs whose window the tokenizer makes too long for the model", "left out"] += int((~fits).sum())
    wide, d_sae, parts = wide[fits].reset_index(drop=True), by.sae.config.d_sae, []
    for name in SETS:
        drawn = draw(wide, name, k, seed)
        if drawn is None:
            continue
        for what, n in drawn.counts.items():
            report[name, what, "counted"] += n
        placed = variant_study.located(drawn.table, corpus, genome, Counter())
        table = drawn.table.assign(exon_distance=placed["exon_distance"])
        ran = effect_sizes.of(by, table, radius)
        every = effects.strongest(ran.before.latents[0], ran.after.latents[0], *rule, d_sae)
        latents, told, _ = variant_study.enrichment(every, table, table[["named"]], d_sae, n_draws, seed)
        parts.append((compare(drawn, ran.sizes, n_draws, n_boot, seed), drawn.balance, latents.assign(named=name), told.assign(named=name)))
    nothing = (pd.DataFrame(columns=columns) for columns in (COLUMNS, BALANCE_COLUMNS, [*enriched.COLUMNS, "side", "named"],
                                                             [*diagnostics.COLUMNS, "side", "named"]))  # fmt: skip
    return Associations(*(pd.concat(some, ignore_index=True) for some in zip(*parts, strict=True))) if parts else Associations(*nothing)
