"""Scores against planted truth: motifs recovered, claims that are false, causal motifs among what is needed, what variants break."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.annotate import association
from lib.annotate.ladder import profile
from lib.corpus.corpus import Corpus
from lib.dna.grammar_demo import DISEASES
from lib.stage import inputs, io
from lib.stats import estimates


def recovery(
    read: pd.DataFrame, best: pd.DataFrame, planted: pd.DataFrame, hits: pd.DataFrame, methods: list[str], n_boot: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Scores against planted truth.

    planted: motif, strand, family, contig, start, end, sites of units and sites by chance alike; hits: FIMO hits of the test units;
    methods: the SAE among them. First table, one row a method: motifs; recovered (either strand's validation-best unit is claimed for
    it); family_right (of these, the unit's best JASPAR pair, on validation, among the claimed is of the planted profile's family);
    gain, gain_low, gain_high: share of motifs that the SAE recovers less this method's, paired, bootstrap over motifs. Second: see
    `false_claims`.
    """
    family = planted.drop_duplicates("motif").set_index("motif")["family"]
    scored = {method: _recovered(read, best, family, method) for method in methods}
    own, rows = scored["SAE"]["recovered"], []
    for method, of in scored.items():
        gain = estimates.mean_interval((own - of["recovered"].reindex(own.index, fill_value=0)).to_numpy(), n_boot, seed)
        counts = {"motifs": len(of), "recovered": int(of["recovered"].sum()), "family_right": int(of["right"].sum())}
        rows.append({"method": method, **counts, "gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})
    return pd.DataFrame(rows), false_claims(read, planted, hits)


def _recovered(read: pd.DataFrame, best: pd.DataFrame, family: pd.Series, method: str) -> pd.DataFrame:
    """Of each planted motif, by its name: whether a method recovers it, and with its family named right, both 0 or 1."""
    sites = best[(best["method"] == method) & (best["kind"] == "true site")]
    sites = sites.assign(motif=profile(sites["concept"]).str.removeprefix("site "))
    won = sites[sites["claimed"].astype(bool)].sort_values("f1_validation", ascending=False).drop_duplicates("motif")
    named = read[(read["method"] == method) & (read["kind"] == "motif") & read["claimed"]]
    named = named.sort_values("f1_validation", ascending=False).drop_duplicates("latent").set_index("latent")["family"]
    right = won.loc[(won["latent"].map(named) == won["motif"].map(family)).to_numpy(), "motif"]
    motifs = pd.Index(sites["motif"].unique(), name="motif")
    return pd.DataFrame({"recovered": motifs.isin(won["motif"]).astype(int), "right": motifs.isin(right).astype(int)}, index=motifs)


def false_claims(read: pd.DataFrame, planted: pd.DataFrame, hits: pd.DataFrame, names: dict[str, str] | None = None) -> pd.DataFrame:
    """Which claimed pairs of an SAE latent and a JASPAR family the planted truth does not bear out; one row a pair.

    Columns: latent, family, concept (its best), f1; true_sites, those with which the latent is associated on test
    chromosomes (q and q_latent below 0.05, adjusted odds ratio with its interval above 1, whatever the F1); false: none of
    them is of a motif of that family, and none holds half of the hits of a claimed profile of the family; false_strict:
    as false, but only sites for which the latent is itself claimed, F1 floor and all, and whose hits it shares, count.
    names: motif -> motif, which the sites of a motif are taken for: dealt at random, the control of this score.
    """
    names = names or {}
    claims, related = read[(read["method"] == "SAE") & read["claimed"]], read[read["method"] == "SAE"]
    related = related[association.claimed(related, f1_floor=-1.0) & (related["kind"] == "true site")]
    near, strict = (_sites_of(table[table["kind"] == "true site"], names) for table in (related, claims))
    motif = claims[claims["kind"] == "motif"]
    sites = planted.assign(concept="site " + planted["motif"] + " " + planted["strand"])
    family_of = planted.drop_duplicates("motif").set_index("motif")["family"].to_dict()
    like = _on_sites(hits[hits["concept"].isin(motif["concept"].unique())], sites)
    rows = []
    for (latent, family), of_family in motif.groupby(["latent", "family"]):
        def alike(true: list[str], of_family: pd.DataFrame = of_family) -> bool:
            return any(like.get((concept, site), 0) >= 0.5 for concept in of_family["concept"] for site in true)

        best, true = of_family.sort_values("f1_validation").iloc[-1], near.get(latent, [])
        named = any(family_of[site.removeprefix("site ")[:-2]] == family for site in true)
        rows.append(
            (latent, family, best["concept"], best["f1"], "; ".join(true), not (named or alike(true)), not alike(strict.get(latent, [])))
        )
    columns = ["latent", "family", "concept", "f1", "true_sites", "false", "false_strict"]
    return pd.DataFrame(rows, columns=columns).astype({"false": bool, "false_strict": bool})


def _sites_of(pairs_read: pd.DataFrame, names: dict[str, str]) -> dict[int, list[str]]:
    """Latent -> its true sites, motifs renamed."""
    bare = profile(pairs_read["concept"]).str.removeprefix("site ")
    renamed = "site " + bare.map(lambda motif: names.get(motif, motif)) + pairs_read["concept"].str[-2:]
    return {latent: sites.tolist() for latent, sites in renamed.groupby(pairs_read["latent"])}


def chance_false(read: pd.DataFrame, planted: pd.DataFrame, hits: pd.DataFrame, n: int = 20, seed: int = 0) -> float:
    """Share of claimed pairs called false when true sites carry another motif's name: near 1 if the score can tell."""
    motifs, rng, shares = planted["motif"].unique(), np.random.default_rng(seed), []
    for _ in range(n):
        turn = rng.permutation(motifs)
        shares.append(false_claims(read, planted, hits, dict(zip(turn, np.roll(turn, 1))))["false"].mean())
    return float(np.mean(shares))


def _on_sites(hits: pd.DataFrame, sites: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Share of each concept's hits with at least half of the shorter of the two on a site, by (concept, site concept)."""
    if not len(hits):
        return {}
    import bioframe

    columns = ("contig", "start", "end")
    hits = hits.reset_index(drop=True)
    overlaps = bioframe.overlap(
        hits, sites[[*columns, "concept"]], how="inner", cols1=columns, cols2=columns, suffixes=("", "_site"), return_index=True
    )
    shared = overlaps[["end", "end_site"]].min(axis=1) - overlaps[["start", "start_site"]].max(axis=1)
    shorter = np.minimum(overlaps["end"] - overlaps["start"], overlaps["end_site"] - overlaps["start_site"])
    overlaps = overlaps[2 * shared >= shorter].drop_duplicates(["index", "concept_site"])
    total = hits["concept"].value_counts()
    return {pair: n / total[pair[0]] for pair, n in overlaps.groupby(["concept", "concept_site"]).size().items()}


def units_of(corpus: Corpus) -> pd.DataFrame | None:
    """Every planted unit, as units.csv of the truth has them; None where no grammar is planted."""
    truth = corpus.settings["truth_path"]
    path = inputs.find(corpus.study, truth).with_name("units.csv") if truth.startswith(inputs.SIMULATED) else None
    return io.read_csv(path) if path is not None and path.exists() else None


def motif_read(associations: pd.DataFrame) -> pd.Series:
    """The planted motif whose sites each latent reads best on validation, among those with q below 0.05: latent -> motif.

    associations: method, kind, concept ("site MOTIF +"), latent, q, f1_validation, as of 04.
    """
    sites = associations[(associations["method"] == "SAE") & (associations["kind"] == "true site") & (associations["q"] < 0.05)]
    sites = sites.sort_values("f1_validation", ascending=False).drop_duplicates("latent")
    return sites.set_index("latent")["concept"].str.removeprefix("site ").str[:-2].rename("motif")


def causal_motifs(variants: pd.DataFrame, arm: str) -> set[str]:
    """The motifs, sites and partners, that the causal variants of an arm break.

    variants: causal, destroys_site and, where the arm is one of `grammar_demo.DISEASES`, pair: of these only those of its own pairs
    count, of any other arm all.
    """
    of_arm = variants[variants["causal"].astype(bool)]
    if arm in DISEASES and "pair" in variants:
        of_arm = of_arm[of_arm["pair"].isin(DISEASES[arm])]
    return set(of_arm["destroys_site"].dropna())


def of_causal(
    arm: str, table: pd.DataFrame, of: dict[str, dict[str, np.ndarray]], motif: pd.Series, causal: set[str]
) -> pd.DataFrame:  # fmt: skip
    """Are the necessary sets those of causal motifs? arm, kind, score (recall over motifs, precision over sets), value, low,
    high (Wilson), k, n, motifs; last, the share of latents of necessary closures that read a site, whose site is causal.

    table: rows of `rule.judge` of that arm; of: kind -> name -> latents; motif: from `motif_read`. A set is right
    if the motif that most of its latents read is causal; a tie with another motif is not right.
    """
    necessary, names, rows = table[table["necessary"]], ", ".join(sorted(causal)), []
    for kind, sets in of.items():
        some = necessary.loc[necessary["kind"] == kind, "name"]
        reads = [set(motif.reindex(sets[name]).mode()) for name in some]
        right = [motifs for motifs in reads if motifs and motifs <= causal]
        for score, k, n in (("recall", len(set().union(*right)), len(causal)), ("precision", len(right), len(reads))):
            rows.append((arm, kind, score, *_share(k, n), names))
    closed = [of["closure"][name] for name in necessary.loc[necessary["kind"] == "closure", "name"]]
    own = motif.reindex(np.unique(np.concatenate([np.zeros(0, int), *closed]))).dropna()
    what = "latents of necessary closures that read a true site"
    rows.append((arm, what, "precision", *_share(int(own.isin(causal).sum()), len(own)), names))
    return pd.DataFrame(rows, columns=["arm", "kind", "score", "value", "low", "high", "k", "n", "motifs"])


def with_all(tables: list[pd.DataFrame], name: str = "all arms") -> pd.DataFrame:
    """Tables of `of_causal`, one an arm, as one; of two or more also their sums, under an arm of that name."""
    table = pd.concat(tables, ignore_index=True)
    if len(tables) < 2:
        return table
    motifs = ", ".join(sorted(set().union(*(names.split(", ") for names in table["motifs"]))))
    sums = table.groupby(["kind", "score"], sort=False)[["k", "n"]].sum().itertuples()
    rows = [(name, *one.Index, *_share(int(one.k), int(one.n)), motifs) for one in sums]
    return pd.concat([table, pd.DataFrame(rows, columns=table.columns)], ignore_index=True)


def broken_by(read: pd.DataFrame, variants: pd.DataFrame, planted: pd.DataFrame) -> pd.DataFrame:
    """What each variant breaks: target ("site", "partner" or ""), broken (family of the motif, or ""), unit_families (those of all whole
    motifs of its planted unit, the broken one's first, joined by "; ").

    read: contig, pos, ref, alt, whose rows and index are kept; variants: the same with destroys_site (a motif, or nothing) and, of a
    grammar, unit and target; an allele of two cohorts counts once. planted: motif, family and, of a grammar, unit. Raises ValueError
    for a motif that no planted site is of.
    """
    allele = ["contig", "pos", "ref", "alt"]
    told = variants.drop_duplicates(allele).reindex(columns=[*allele, "destroys_site", "unit", "target"])
    table = read[allele].merge(told, on=allele, how="left").set_axis(read.index)
    family = planted.drop_duplicates("motif").set_index("motif")["family"]
    if unknown := set(table["destroys_site"].dropna()) - set(family.index):
        raise ValueError(f"{sorted(unknown)} are broken by variants, wanted motifs of planted sites")
    together = planted.groupby("unit")["family"].unique() if "unit" in planted else pd.Series(dtype=object)
    broken = table["destroys_site"].map(family).fillna("")
    others = [together.get(unit, []) if name and unit >= 0 else [] for name, unit in zip(broken, table["unit"].fillna(-1), strict=True)]
    unit = ["; ".join(filter(None, dict.fromkeys([name, *more]))) for name, more in zip(broken, others, strict=True)]
    return table[allele].assign(target=table["target"].fillna(""), broken=broken, unit_families=unit)


def _share(k: int, n: int) -> tuple[float, float, float, int, int]:
    """value, low, high, k, n."""
    e = estimates.share(k, n)
    return e.value, e.low, e.high, k, e.n
