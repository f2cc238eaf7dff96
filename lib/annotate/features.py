"""From associations to the catalogue: concept tables from files, one row a latent, and the windows on its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from lib import stats
from lib.annotate.concepts import Concepts
from lib.genome.reference import Reference


def bed_intervals(bed: pd.DataFrame, concept: str, name_contains: str = "", flank_bp: int = 0) -> pd.DataFrame:
    """Intervals of one concept from a BED table, exact repeats dropped (transcripts share exons).

    name_contains: keep only rows whose name holds this text ("" keeps all). flank_bp: widen both sides.
    """
    rows = bed[bed["locus"].str.contains(name_contains, regex=False)]
    table = rows[["contig", "start", "end"]].drop_duplicates(ignore_index=True)
    start = (table["start"] - flank_bp).clip(lower=0)
    return table.assign(start=start, end=table["end"] + flank_bp, concept=concept, family=concept)


def clinvar_intervals(path: Path, genome: Reference, units: pd.DataFrame) -> pd.DataFrame:
    """ClinVar alleles on the background windows: "ClinVar P/LP" and "ClinVar B/LB", one interval an allele."""
    from lib import variants as effects
    from lib.genome import variants

    regions = units[["contig", "start", "end"]]
    sites = variants.read_sites(path, genome, regions, ["CLNSIG"])
    label = effects.clinvar_label(sites["CLNSIG"].astype(str))
    sites = sites[label.notna()].assign(concept=label.map({1.0: "ClinVar P/LP", 0.0: "ClinVar B/LB"}))
    sites = sites.assign(start=sites["pos"], end=sites["pos"] + sites["ref"].str.len(), family="ClinVar")
    return sites[["contig", "start", "end", "concept", "family"]].drop_duplicates(ignore_index=True)


def gwas_intervals(path: Path) -> pd.DataFrame:
    """GWAS Catalog lead SNPs, one base each. Columns chr38 and pos38 (1-based, contig without "chr")."""
    table = pd.read_csv(path, sep="\t", low_memory=False)
    if missing := {"chr38", "pos38"} - set(table.columns):
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    table = table.dropna(subset=["chr38", "pos38"]).drop_duplicates(["chr38", "pos38"])
    start = table["pos38"].astype(int) - 1
    contig = "chr" + table["chr38"].astype(str).str.removesuffix(".0").str.removeprefix("chr")
    return pd.DataFrame({"contig": contig, "start": start, "end": start + 1, "concept": "GWAS lead SNP", "family": "GWAS"})


def disjoint_units(units: pd.DataFrame) -> np.ndarray:
    """Units whose windows overlap no earlier kept one: loci of a BED may overlap, and a base must count once.

    units: unit, contig, start, end. Returns unit numbers, in genome order.
    """
    kept, contig, done = [], None, 0
    for place in units.sort_values(["contig", "start"]).itertuples():
        if place.contig != contig or place.start >= done:
            kept.append(place.unit)
            contig, done = place.contig, place.end
    return np.array(kept)


def token_table(columns: dict[str, np.ndarray], units: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Where tokens are: unit, contig, start and end in the unit, ref_start, ref_end; one row a token of `rows`."""
    table = pd.DataFrame({name: np.asarray(columns[name][rows]) for name in ("unit", "start", "end", "ref_start", "ref_end")})
    return table.assign(contig=units["contig"].to_numpy()[table["unit"]])


def shared(first: Concepts, second: Concepts) -> tuple[Concepts, Concepts]:
    """Keep the concepts that both splits hold, in the same order."""
    names = [c for c in first.table["concept"] if c in set(second.table["concept"])]
    return _select(first, names), _select(second, names)


def of_kind(concepts: Concepts, kind: str) -> Concepts:
    """The concepts of one kind."""
    return _select(concepts, concepts.table.loc[concepts.table["kind"] == kind, "concept"].tolist())


def _select(concepts: Concepts, names: list[str]) -> Concepts:
    position = {name: i for i, name in enumerate(concepts.table["concept"])}
    rows = np.array([position[n] for n in names], dtype=int)
    renumber = np.full(len(concepts.table), -1)
    renumber[rows] = np.arange(len(rows))
    code = renumber[concepts.concept_of]
    keep = code >= 0
    return Concepts(
        concepts.table.iloc[rows].reset_index(drop=True), concepts.tokens[:, rows],
        concepts.instances[np.flatnonzero(keep)], code[keep],
    )  # fmt: skip


def family_interval(difference: pd.Series, family: pd.Series, n_boot: int = 1000, seed: int = 0) -> stats.Estimate:
    """Mean of per-concept differences, bootstrap over families, since members of one share their sites.

    difference, family: indexed by concept. n is the number of families.
    """
    rng = np.random.default_rng(seed)
    known = difference.dropna()
    groups = [g.to_numpy() for _, g in known.groupby(family.reindex(known.index))]
    if not groups:
        return stats.Estimate(np.nan, np.nan, np.nan, 0)
    total, size = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    pick = rng.integers(0, len(groups), (n_boot, len(groups)))
    low, high = np.quantile(total[pick].sum(1) / size[pick].sum(1), [0.025, 0.975])
    return stats.Estimate(float(known.mean()), float(low), float(high), len(groups))


def catalogue(read: pd.DataFrame, latents: pd.DataFrame, f1_floor: float) -> pd.DataFrame:
    """One row a latent: frequency, the best concept over kinds with test numbers, and whether that is plausible.

    read: associations of the SAE, one row a latent and kind. plausible: q < 0.05 and test F1 above the floor. Whether
    the prediction needs the latent stands in 05_validation's `necessity`.
    """
    order = {"true site": 2, "motif": 0, "interval": 1}  # the truth is for scoring: it never names a latent
    named = read[read["kind"].map(order) < 2].sort_values(["latent", "f1"], ascending=[True, False])
    table = named.drop_duplicates("latent").merge(latents, on="latent", how="right").sort_values("latent")
    table["plausible"] = (table["q"] < 0.05) & (table["f1"] > f1_floor)
    columns = ["latent", "frequency", "kind", "concept", "family", "threshold", "largest", "n_fired", "precision",
               "recall", "f1", "auroc", "z", "p", "q", "plausible"]  # fmt: skip
    return table[columns].reset_index(drop=True)


def cards(
    catalogue: pd.DataFrame, latents: sparse.csr_matrix, tokens: pd.DataFrame, units: pd.DataFrame, texts: list[str],
    n_cards: int, n_windows: int,
) -> pd.DataFrame:  # fmt: skip
    """Top reference windows of the most plausible latents, no two of one family: one row a base.

    latents: CSR [token, d_sae], rows as in `tokens` (background units only: the reference, nobody's genome).
    Returns latent, concept, family, rank, contig, position, base, activation.
    """
    motif = catalogue[(catalogue["kind"] == "motif") & (catalogue["q"] < 0.05)]
    picked = motif.sort_values("f1", ascending=False).drop_duplicates("family").head(n_cards)
    columns = latents.tocsc()
    unit = tokens["unit"].to_numpy()
    frames = []
    for card in picked.itertuples():
        column = columns[:, card.latent]
        largest = pd.Series(column.data).groupby(unit[column.indices]).max().nlargest(n_windows, keep="first")
        values = pd.Series(0.0, index=np.arange(len(unit)))
        values.iloc[column.indices] = column.data
        for rank, u in enumerate(largest.index):
            frames.append(_card_rows(card, rank, int(u), tokens, values, units, texts))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _card_rows(card, rank: int, unit: int, tokens: pd.DataFrame, values: pd.Series, units: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    if not units["is_reference"].iat[unit]:
        raise ValueError(f"unit {unit} is a person's haplotype: cards show the reference only")
    rows = np.flatnonzero(tokens["unit"].to_numpy() == unit)
    text = texts[unit]
    activation = np.zeros(len(text))
    for row in rows:
        activation[tokens["start"].iat[row] : tokens["end"].iat[row]] = values.iat[row]
    place = units.iloc[unit]
    return pd.DataFrame({"latent": card.latent, "concept": card.concept, "family": card.family, "rank": rank,
                         "contig": place.contig, "position": place.start + np.arange(len(text)), "base": list(text),
                         "activation": activation})  # fmt: skip
