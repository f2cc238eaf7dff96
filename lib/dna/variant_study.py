"""What 08 asks of variants, put together: where they lie, what reads them, and what stands beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from lib.corpus.corpus import Corpus
from lib.dna import allele_background, consequence, effect_sizes, genes, hgvs, labelled, motifs, mpra, windows
from lib.dna.reference import Reference
from lib.edits import diagnostics, enriched, percentiles
from lib.edits.change import of_alleles, readable
from lib.models import adapter
from lib.models.adapter import Adapter
from lib.sae import format
from lib.sae.model import SAE, random_dictionary
from lib.stage import inputs

#: Columns that say where a variant lies; of a study without exons "all", "" and NaN.
PLACE = ["region_class", "transcript", "notation", "protein", "exon_distance"]
#: Classes whose codes are those of predictors of proteins.
CODING = ("missense", "nonsense", "frameshift", "inframe indel", "start or stop")
#: Of a latent, what lists of variants say.
ABOUT = ["concept", "family", "grade", "plausible", "seeds_found", "faithful"]
INDELS = 0.1  # share of background alleles


def located(variants: pd.DataFrame, corpus: Corpus, genome: Reference, report: Counter) -> pd.DataFrame:
    """PLACE of each variant (contig, pos, ref, alt), on its index. report: see `lib.dna.report`.

    region_class: of `consequence.SEVERITY`, by the transcripts of the study's exons and the promoters among its concepts; of exons that
    belong to no transcript "exon" or "other".
    """
    path = corpus.settings["exon_path"]
    nothing = pd.DataFrame({"region_class": "all", "transcript": "", "notation": "", "protein": "", "exon_distance": np.nan},
                           variants.index)  # fmt: skip
    if not path:
        return nothing
    table = genes.read(inputs.find(corpus.study, path), genome, report)
    if not table["transcript"].any():
        return nothing.assign(region_class=np.where(labelled.inside(variants, table), "exon", "other"))
    known = corpus.concepts()
    promoters = known.loc[known["concept"] == "promoter", ["contig", "start", "end"]]
    got = consequence.table(variants, hgvs.transcripts(table, report, Path(path).name), genome, promoters)
    return got.rename(columns={"region": "region_class"})[PLACE].astype({"exon_distance": float})


def readers(corpus: Corpus, model: Adapter, site: str, sae: SAE, l0: float, training: Path, seed: int) -> effect_sizes.Readers:
    """The model with its dictionary, and what stands beside: a random dictionary of as many latents a token, the twin of random weights
    with its own dictionary (of `training`, the folder of 03), and JASPAR's profiles."""
    twin = adapter.load(corpus.model_path(), random_init=True, seed=seed)
    untrained = random_dictionary(sae, max(1, round(l0)), seed + 1)
    return effect_sizes.Readers(model, twin, site, sae, untrained, format.load(training / "twin", site, twin.identity),
                                motifs.vertebrate_motifs())  # fmt: skip


def for_codes(variants: pd.DataFrame) -> pd.DataFrame:
    """Variants as `codes.by_class` and `codes.evidence` want them: region is region_class, and a distance that is not known is the largest,
    so that where none is known location tells nothing."""
    distance = variants["exon_distance"].astype(float)
    gene = variants["gene"] if "gene" in variants else variants["transcript"]
    return variants.assign(region=variants["region_class"], exon_distance=distance.fillna(distance.max()).fillna(0), gene=gene.fillna(""))


def background(
    by: effect_sizes.Readers, corpus: Corpus, genome: Reference, contigs: list[str], n: int, radius: int, seed: int
) -> pd.DataFrame:  # fmt: skip
    """Sizes of the effects of n alleles that nobody chose: contig, pos, ref, alt, the columns of `allele_background.keys`, those of
    `effect_sizes.SCORES`. They lie in the study's background, on these contigs ([]: on all)."""
    places = windows.read_bed(inputs.find(corpus.study, corpus.settings["background_path"]), genome, unique=False)
    places = places[places["contig"].isin(contigs)] if contigs else places

    def region(variants: pd.DataFrame) -> pd.DataFrame:
        return located(variants, corpus, genome, Counter()).rename(columns={"region_class": "region"})

    alleles = allele_background.sample(genome, places.reset_index(drop=True), region, n, INDELS, seed)
    table = labelled.windows(alleles, genome, corpus.settings["window_bp"])
    table = table[readable(table, by.model)].reset_index(drop=True)
    sizes = effect_sizes.of(by, table, radius).sizes[list(effect_sizes.SCORES.values())]
    return pd.concat([table[["contig", "pos", "ref", "alt"]], allele_background.keys(table, genome), sizes], axis=1)


def sorts(variants: pd.DataFrame, genome: Reference) -> pd.DataFrame:
    """What variants (with region_class and exon_distance) are matched inside: region and distance, a bin."""
    return allele_background.keys(variants.assign(region=variants["region_class"]), genome)[["region", "distance"]]


def beside(table: pd.DataFrame, sizes: pd.DataFrame, among: pd.DataFrame, genome: Reference, least: int) -> pd.DataFrame:
    """Percentile of each variant's effect among background alleles of its own sort, a row a variant and method: variant (row of table),
    method, and `percentiles.COLUMNS`. among: of `background`; a method that has no size of the variants is left out."""
    own = allele_background.keys(table.assign(region=table["region_class"]), genome)
    parts = []
    for method, column in effect_sizes.SCORES.items():
        if sizes[column].notna().any():
            got = percentiles.percentiles(sizes[column].to_numpy(), own, among[column].to_numpy(), among, allele_background.LEVELS, least)
            parts.append(got.assign(variant=range(len(got)), method=method))
    return pd.concat(parts, ignore_index=True)[["variant", "method", *percentiles.COLUMNS]]


def measured(
    by: effect_sizes.Readers, corpus: Corpus, genome: Reference, path: Path, least: int, most: int, radius: int, seed: int, report: Counter
) -> tuple[pd.DataFrame, pd.DataFrame, effect_sizes.Effects]:
    """Variants of a saturation MPRA with their windows, their elements, and the effects that are read of them. least: barcodes a row;
    most: variants an element, a seeded sample, 0 for all."""
    table, elements = mpra.read(path, genome, least, report)
    if most:
        kept = table.groupby("element", sort=False).sample(frac=1, random_state=seed).groupby("element", sort=False).head(most).index
        table = table.loc[np.sort(kept)].reset_index(drop=True)
    wide = mpra.windows(table, elements, corpus.settings["window_bp"], genome)
    fits = readable(wide, by.model)
    report[path.name, "variants whose window the tokenizer makes too long for the model", "left out"] += int((~fits).sum())
    wide = wide[fits].reset_index(drop=True)
    return wide, elements, effect_sizes.of(by, wide.assign(exon_distance=np.nan), radius)


def again(
    by: effect_sizes.Readers, table: pd.DataFrame, columns: Sequence[str], genome: Reference, window_bp: int, places: Sequence[float],
    radius: int,
) -> dict[str, tuple[sparse.csr_matrix, sparse.csr_matrix]]:  # fmt: skip
    """Further readings of the variants of a table of `labelled.windows`: name -> latents of both alleles, CSR [variant, d_sae].

    On the other strand, and at other places of the window. columns: those of table that are the variants' own. A variant whose window
    does not fit the model in a reading has none of its latents there.
    """
    own = table[list(columns)]
    wide = {"other strand": labelled.turned(table)}
    wide |= {f"at {place:g} of the window": labelled.windows(own, genome, window_bp, place) for place in places}
    out = {}
    for name, other in wide.items():
        fits = np.flatnonzero(readable(other, by.model))
        states = of_alleles(by.model, by.site, [by.sae], other.iloc[fits].reset_index(drop=True), radius)
        rows = sparse.csr_matrix((np.ones(len(fits), np.float32), (fits, np.arange(len(fits)))), shape=(len(table), len(fits)))
        out[name] = tuple((rows @ of.latents[0]).tocsr() for of in states)
    return out


def cells(variants: pd.DataFrame, sorts: pd.DataFrame) -> np.ndarray:
    """Number of each variant's sort and gene together. [variant]"""
    return sorts.assign(gene=variants["gene"].to_numpy(str)).groupby([*sorts, "gene"]).ngroup().to_numpy()


def enrichment(
    every: pd.DataFrame, variants: pd.DataFrame, sorts: pd.DataFrame, d_sae: int, n_draws: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Latents that variants of label 1 lose, or gain, more often: rows of `enriched.enriched` with side, `lib.edits.diagnostics`' tables
    of both sides, and its tails.

    every: rows of `effects.strongest`, all of them; variants: label, gene; sorts: what is matched inside, a row a variant.
    """
    label, gene = variants["label"].to_numpy(), np.unique(variants["gene"].to_numpy(str), return_inverse=True)[1]
    stratum, cell = sorts.groupby(list(sorts)).ngroup().to_numpy(), cells(variants, sorts)
    tests, told, tails = [], [], [pd.DataFrame(columns=[*diagnostics.TAIL_COLUMNS, "side"])]
    for side in ("lost", "gained"):
        own = every[every["side"] == side]
        amounts = sparse.csr_matrix((own["relative"].abs(), (own["variant"], own["latent"])), shape=(len(variants), d_sae))
        tests.append(enriched.enriched(amounts, label, stratum, gene).assign(side=side))
        latent, real, null = enriched.statistics(amounts, label, cell, n_draws, seed)
        if len(latent) and np.ptp(null, axis=0).min(initial=1) > 0:
            some = [diagnostics.shift(real, null, seed=seed), diagnostics.tail_symmetry(real, null), diagnostics.mirror_fdr(real, null)]
            told.append(pd.concat(some, ignore_index=True).assign(side=side))
            tails.append(diagnostics.tails(real, null).assign(side=side))
    told = told or [pd.DataFrame(columns=[*diagnostics.COLUMNS, "side"])]
    return tuple(pd.concat(some, ignore_index=True) for some in (tests, told, tails[1:] or tails))


def scores(effects: effect_sizes.Effects, features: pd.DataFrame, largest: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """What is held against measured effects, the size of the latents' change first, and which scores are of size alone.

    Signed ones: what latents named by a motif gain, as shares of their largest activation, and the model's log-likelihood ratio. features:
    a row a latent, with kind and plausible; largest: [d_sae]. A method that cannot be asked of these variants is left out.
    """
    sizes = effects.sizes
    out = {method: sizes[column] for method, column in effect_sizes.SCORES.items() if sizes[column].notna().all()}
    unsigned = [method for method in out if method != "model likelihood"]
    named = features.index[features["plausible"].eq(True) & features["kind"].eq("motif")].to_numpy(int)
    named = named[largest[named] > 0]
    gain = (effects.after.latents[0] - effects.before.latents[0])[:, named].multiply(1 / largest[named]) if len(named) else None
    out["motif latents, signed"] = np.asarray(gain.sum(1)).ravel() if gain is not None else np.zeros(len(sizes))
    if "model likelihood" in out:
        out["model likelihood"] = sizes["log_ratio"]
    return pd.DataFrame(out), unsigned
