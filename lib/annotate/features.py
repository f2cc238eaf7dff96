"""From associations to the catalogue: concepts from files, rivals that read the units again, the ladder, one row a latent."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lib import lines, stats
from lib.annotate import association, composition, genes, logos, pairs, tracks
from lib.annotate.concepts import Concepts
from lib.genome import sequence as sq
from lib.genome.reference import Reference, bare_name
from lib.genome.report import on_genome
from lib.models.adapter import Adapter
from lib.sae.model import SAE


def codes_of(texts: list[str]) -> list[np.ndarray]:
    """Each text as small integers, see `sequence.encode`."""
    return [sq.encode(text) for text in texts]


def gene_intervals(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """Parts of genes with their strands, and codon bases, from a GFF3 file or a BED file whose names are gene|transcript|exon|number;
    another BED file gives "exon" alone. Returns contig, start, end, concept, family. report: see `lib.genome.report`."""
    table = genes.read(path, genome, report)
    if not table["transcript"].any():
        return bed_intervals(table, "exon")
    return pd.concat([genes.parts(table), genes.codon_phase(table)], ignore_index=True)


def bed_intervals(bed: pd.DataFrame, concept: str, flank_bp: int = 0) -> pd.DataFrame:
    """Intervals of one concept from a BED table, exact repeats dropped. flank_bp: widen both sides."""
    table = bed[["contig", "start", "end"]].drop_duplicates(ignore_index=True)
    start = (table["start"] - flank_bp).clip(lower=0)
    return table.assign(start=start, end=table["end"] + flank_bp, concept=concept, family=concept)


def clinvar_intervals(path: Path, genome: Reference, units: pd.DataFrame, report: Counter) -> pd.DataFrame:
    """ClinVar alleles on the background windows: "ClinVar P/LP" and "ClinVar B/LB", one interval an allele.
    report: see `lib.genome.report`."""
    from lib import variants

    sites = variants.clinvar_alleles(path, genome, units[["contig", "start", "end"]], [], report)
    sites = sites.assign(concept=sites["label"].map({1: "ClinVar P/LP", 0: "ClinVar B/LB"}))
    sites = sites.assign(start=sites["pos"], end=sites["pos"] + sites["ref"].str.len(), family="ClinVar")
    return sites[["contig", "start", "end", "concept", "family"]].drop_duplicates(ignore_index=True)


def gwas_intervals(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """GWAS Catalog lead SNPs, one base each. Columns chr38 and pos38 (1-based), the contig in any spelling (2, chr2).

    Rows without a place, with several (2;3), and on contigs that the genome lacks, are left out and counted, see
    `lib.genome.report`. Raises ValueError with the line for a position that is no number or off the contig, for what
    `lib.lines.table` refuses, and when no row is left.
    """
    rows, name = [], Path(path).name
    contigs = {bare_name(contig): contig for contig in genome.lengths}
    for row in lines.table(path, "chr38", "pos38").itertuples():
        where = f"{path}, line {row.Index}"
        given, pos = row.chr38.strip().removesuffix(".0"), row.pos38.strip().removesuffix(".0")
        if {given.upper(), pos.upper()} & {"", ".", "NA", "NAN"}:
            report[name, "lead SNPs without a place", "left out"] += 1
            continue
        if re.search(r";| x ", f"{given} {pos}"):
            report[name, "lead SNPs of several places", "left out"] += 1
            continue
        contig = given if given in genome.lengths else contigs.get(bare_name(given), given)
        if not on_genome(genome, contig, path, where, report):
            continue
        end = lines.integer(pos)
        if end is None or not 1 <= end <= genome.lengths[contig]:
            raise ValueError(f"{where}: pos38 {row.pos38[:40]!r}, wanted a position from 1 to {genome.lengths[contig]}")
        rows.append((contig, end - 1, end))
    if not rows:
        raise ValueError(f"{path}: no lead SNP in the file that is on {genome.path}")
    rows = list(dict.fromkeys(rows))
    return pd.DataFrame(rows, columns=["contig", "start", "end"]).assign(concept="GWAS lead SNP", family="GWAS")


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
        return stats.NOTHING
    total, size = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    pick = rng.integers(0, len(groups), (n_boot, len(groups)))
    low, high = np.quantile(total[pick].sum(1) / size[pick].sum(1), [0.025, 0.975])
    return stats.Estimate(float(known.mean()), float(low), float(high), len(groups))


def gains(best: pd.DataFrame, rivals: list[str], n_boot: int = 1000, seed: int = 0) -> dict[str, stats.Estimate]:
    """Mean over concepts of the SAE's test F1 less each rival's, with its interval over families: rival -> estimate.

    best: one row a concept and method, of one kind. Without a concept every estimate is NOTHING.
    """
    if best.empty:
        return dict.fromkeys(rivals, stats.NOTHING)
    wide = best.pivot_table(index="concept", columns="method", values="f1")
    family = best.drop_duplicates("concept").set_index("concept")["family"]
    return {rival: family_interval(wide["SAE"] - wide[rival], family, n_boot, seed) for rival in rivals}


def confounder_codes(traits: dict[str, pd.DataFrame], n_bins: int = 4) -> dict[str, dict[str, np.ndarray]]:
    """Codes of the confounders, the same for all parts: part -> gc, cpg, position, log_tss (in quantile bins), repeat.

    traits: part -> table of `confounders.of_tokens`.
    """
    whole, first = pd.concat(traits.values(), ignore_index=True), 0
    codes = {name: composition.quantile_codes(whole[name], n_bins) for name in ("gc", "cpg", "position", "log_tss")}
    codes["repeat"] = np.unique(whole["repeat"].to_numpy(dtype=str), return_inverse=True)[1]
    out = {}
    for part, table in traits.items():
        out[part] = {name: values[first : first + len(table)] for name, values in codes.items()}
        first += len(table)
    return out


def strata_of(codes: dict[str, np.ndarray]) -> np.ndarray:
    """One number for each combination of codes that occurs. codes: name -> [token]. Returns [token]."""
    return np.unique(np.column_stack(list(codes.values())), axis=0, return_inverse=True)[1].ravel()


# ---- the units read again by a model ----------------------------------------------------------------------------


def read_units(adapter: Adapter, site: str, sae: SAE, texts: dict[int, str], token_budget: int = 16384) -> tuple[pd.DataFrame, sparse.csr_matrix]:
    """Latents of some sequences: a table of unit, start, end, one row a kept token, and CSR [token, d_sae] beside it.

    texts: unit number -> sequence. Rows are in the order of the units given, and of the tokens in each.
    """
    units = list(texts)
    encoded = [adapter.encode_one(texts[u]) for u in units]
    step = max(1, token_budget // max(len(e.ids) for e in encoded))
    parts, table = [], []
    with torch.inference_mode():
        for s in range(0, len(units), step):
            batch = adapter.collate(encoded[s : s + step], units[s : s + step])
            parts.append(sparse.csr_matrix(sae.encode(adapter.run(batch, [site])[site].float()).cpu().numpy()))
    for u, e in zip(units, encoded, strict=True):
        table.append(pd.DataFrame({"unit": u, "start": e.start[e.keep], "end": e.end[e.keep]}))
    return pd.concat(table, ignore_index=True), sparse.vstack(parts, format="csr")


def latents_on(adapter: Adapter, site: str, sae: SAE, texts: list[str], tokens: pd.DataFrame) -> sparse.csr_matrix:
    """Latents of texts[unit] at the tokens wanted: CSR [token, d_sae], rows as in `tokens` (unit, start, end).

    A wanted token that the text has (same unit, start, end) is read as it is. Where the text has other tokens, as a BPE
    tokenizer gives a shuffled text, it gets those of the token on its middle base, and nothing where there is none.
    """
    found, values = read_units(adapter, site, sae, {int(u): texts[u] for u in pd.unique(tokens["unit"])})
    place = _same_token(tokens, found)
    other = np.flatnonzero(place < 0)
    place[other] = _middle_token(tokens.iloc[other], found)
    known = np.flatnonzero(place >= 0)
    pick = sparse.csr_matrix((np.ones(len(known), np.float32), (known, place[known])), shape=(len(tokens), len(found)))
    return (pick @ values).tocsr()


def _same_token(tokens: pd.DataFrame, found: pd.DataFrame) -> np.ndarray:
    """Row of `found` with the same unit, start and end; -1 where there is none. [token]"""
    key = ["unit", "start", "end"]
    rows = found.assign(row=np.arange(len(found))).drop_duplicates(key)
    return tokens[key].merge(rows, on=key, how="left")["row"].fillna(-1).to_numpy(dtype=int)


def _middle_token(tokens: pd.DataFrame, found: pd.DataFrame) -> np.ndarray:
    """Last row of `found` that holds the middle base; -1 where there is none. [token]"""
    span = int(max(found["end"].max(), tokens["end"].max() if len(tokens) else 0)) + 1
    order = np.lexsort((found["start"], found["unit"]))
    start = (found["unit"].to_numpy(dtype=np.int64) * span + found["start"].to_numpy())[order]
    end = (found["unit"].to_numpy(dtype=np.int64) * span + found["end"].to_numpy())[order]
    middle = tokens["unit"].to_numpy(dtype=np.int64) * span + (tokens["start"].to_numpy() + tokens["end"].to_numpy()) // 2
    at = np.searchsorted(start, middle, side="right") - 1
    return np.where((at >= 0) & (end[np.maximum(at, 0)] > middle), order[np.maximum(at, 0)], -1)


def shuffled_texts(texts: list[str], tokens: pd.DataFrame, seed: int) -> list[str]:
    """The null "shuffled sequence": texts with the units of `tokens` dinucleotide-shuffled, the others as they are.

    Every N stays where it is: the stretches between them are shuffled each on its own.
    """
    out, stretches = list(texts), {}
    for unit in pd.unique(tokens["unit"]):
        for found in re.finditer("[ACGT]{3,}", texts[unit]):
            stretches.setdefault(len(found.group()), []).append((unit, found.start(), found.group()))
    for length, mine in sorted(stretches.items()):
        for (unit, start, _), text in zip(mine, logos.dinucleotide_shuffled([m[2] for m in mine], seed), strict=True):
            out[unit] = out[unit][:start] + text + out[unit][start + length :]
    return out


def strand_agreement(adapter: Adapter, site: str, sae: SAE, texts: list[str], tokens: pd.DataFrame, latents: sparse.csr_matrix) -> np.ndarray:
    """Correlation over bases of each latent on the units and on their reverse complements: [latent].

    tokens: unit, start, end of the rows of `latents`. NaN for constant latents, and for tokens that overlap each other.
    """
    if ((tokens["unit"] == tokens["unit"].shift()) & (tokens["start"] < tokens["end"].shift())).any():
        return np.full(latents.shape[1], np.nan)
    turned = {int(u): sq.decode(sq.reverse_complement(sq.encode(texts[u]))) for u in pd.unique(tokens["unit"])}
    table, reverse = read_units(adapter, site, sae, turned)
    bases = composition.shared_bases(tokens, table, {u: len(text) for u, text in turned.items()})
    return composition.strand_agreement(latents, reverse, bases)


# ---- what the ladder says ---------------------------------------------------------------------------------------


def best_pairs(reading: association.Reading, screened: association.Screen, latents: association.Latents, concepts: Concepts) -> pd.DataFrame:
    """For each concept the latent of the highest validation F1, with its test numbers. Choosing never sees the test.

    Adds n_fired, precision, recall, f1, auroc; from the pairs that were read: p, q, q_latent, or_low (p and q 1 where
    the pair was below the floor and not read); n_tests of the reading. One row a concept.
    """
    chosen = screened.rows(screened.f1.argmax(1), np.arange(len(screened.f1)))
    scored, first = [], 0
    for block in [latents] if sparse.issparse(latents) else latents:
        mine = chosen[chosen["latent"].between(first, first + block.shape[1] - 1)]
        if len(mine) or not (scored or len(chosen)):  # without a concept the columns still come from the first block
            scored.append(pd.concat([mine, _scored(block, concepts, mine, mine["latent"].to_numpy() - first)], axis=1))
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
    recall = scores.found[at] / np.maximum(scores.n_instances[row], 1)
    return pd.DataFrame({"n_fired": scores.n_fired[at[1:]], "precision": precision, "recall": recall,
                         "f1": pairs.harmonic(precision, recall), "auroc": scores.auroc[at[:2]]}, index=chosen.index)  # fmt: skip


def profile(concept: pd.Series) -> pd.Series:
    """A concept's name without its strand."""
    return concept.astype(str).str.removesuffix(" +").str.removesuffix(" -")  # of no concept the column has no text


def shown_concepts(best: pd.DataFrame, kind: str, n: int) -> list[str]:
    """At most n concepts of a kind to show: those whose validation-best SAE latent has the highest validation F1, one a
    family where there are more than n. best: one row a concept and method."""
    mine = best[(best["method"] == "SAE") & (best["kind"] == kind)].sort_values("f1_validation", ascending=False, kind="stable")
    return (mine if len(mine) <= n else mine.drop_duplicates("family")).head(n)["concept"].tolist()


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


def recovery(read: pd.DataFrame, best: pd.DataFrame, planted: pd.DataFrame, hits: pd.DataFrame, methods: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores against planted truth.

    planted: motif, strand, family, contig, start, end; hits: FIMO hits of the test units. First table, one row a method:
    motifs; recovered (either strand's validation-best unit is claimed for it); family_right (of these, the unit's best
    JASPAR pair, on validation, among the claimed is of the planted profile's family). Second: see `false_claims`.
    """
    family = planted.drop_duplicates("motif").set_index("motif")["family"]
    rows = []
    for method in methods:
        sites = best[(best["method"] == method) & (best["kind"] == "true site")]
        motif = profile(sites["concept"]).str.removeprefix("site ")
        won = sites.assign(motif=motif)[sites["claimed"]].sort_values("f1_validation", ascending=False).drop_duplicates("motif")
        named = read[(read["method"] == method) & (read["kind"] == "motif") & read["claimed"]]
        named = named.sort_values("f1_validation", ascending=False).drop_duplicates("latent").set_index("latent")["family"]
        right = won["latent"].map(named) == won["motif"].map(family)
        rows.append({"method": method, "motifs": motif.nunique(), "recovered": len(won), "family_right": int(right.sum())})
    return pd.DataFrame(rows), false_claims(read, planted, hits)


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
    for (latent, family), mine in motif.groupby(["latent", "family"]):
        def alike(true: list[str], mine: pd.DataFrame = mine) -> bool:
            return any(like.get((concept, site), 0) >= 0.5 for concept in mine["concept"] for site in true)

        best, true = mine.sort_values("f1_validation").iloc[-1], near.get(latent, [])
        named = any(family_of[site.removeprefix("site ")[:-2]] == family for site in true)
        rows.append((latent, family, best["concept"], best["f1"], "; ".join(true), not (named or alike(true)), not alike(strict.get(latent, []))))
    columns = ["latent", "family", "concept", "f1", "true_sites", "false", "false_strict"]
    return pd.DataFrame(rows, columns=columns).astype({"false": bool, "false_strict": bool})


def _sites_of(pairs_read: pd.DataFrame, names: dict[str, str]) -> dict[int, list[str]]:
    """Latent -> its true sites, motifs renamed."""
    bare = profile(pairs_read["concept"]).str.removeprefix("site ")
    renamed = "site " + bare.map(lambda motif: names.get(motif, motif)) + pairs_read["concept"].str[-2:]
    return {latent: mine.tolist() for latent, mine in renamed.groupby(pairs_read["latent"])}


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
    found = bioframe.overlap(hits, sites[[*columns, "concept"]], how="inner", cols1=columns, cols2=columns, suffixes=("", "_site"), return_index=True)
    shared = found[["end", "end_site"]].min(axis=1) - found[["start", "start_site"]].max(axis=1)
    shorter = np.minimum(found["end"] - found["start"], found["end_site"] - found["start_site"])
    found = found[2 * shared >= shorter].drop_duplicates(["index", "concept_site"])
    total = hits["concept"].value_counts()
    return {pair: n / total[pair[0]] for pair, n in found.groupby(["concept", "concept_site"]).size().items()}


# ---- one row a latent -------------------------------------------------------------------------------------------


def stacked(parts: dict[str, sparse.csr_matrix]) -> sparse.csr_matrix:
    """Validation tokens, then test tokens."""
    return sparse.vstack([parts["validation"], parts["test"]], format="csr")


@torch.inference_mode()
def variance_share(sae: SAE, latents: sparse.csr_matrix, acts: np.ndarray, rows: np.ndarray, chunk: int = 4096) -> np.ndarray:
    """Explained variance lost when a latent alone is set to 0, the others as they are: [latent].

    sum over tokens of |r + f d|^2 - |r|^2, over the sum of |x - mean x|^2; r = x - x_hat, d the latent's decoder row.
    latents: CSR [token, d_sae] of acts[rows].
    """
    lost, total, square, n = 0.0, 0.0, 0.0, len(rows)
    decoder = sae.W_dec.double()
    for s in range(0, n, chunk):
        x = torch.from_numpy(np.asarray(acts[rows[s : s + chunk]], dtype=np.float64))
        f = torch.from_numpy(latents[s : s + chunk].toarray()).double()
        r = x - f @ decoder - sae.b_dec.double()
        lost = lost + (f.square() * decoder.square().sum(1) + 2 * f * (r @ decoder.T)).sum(0)
        total, square = total + x.sum(0), square + x.square().sum()
    return (lost / (square - total.square().sum() / n)).numpy()


@torch.inference_mode()
def nearest(W_dec: torch.Tensor, k: int = 3, chunk: int = 2048) -> list[str]:
    """For each latent the k others of the largest decoder cosine, as "12 (0.83), 40 (0.71)". W_dec: [d_sae, d_in]."""
    unit = torch.nn.functional.normalize(W_dec.float(), dim=1)
    out = []
    for s in range(0, len(unit), chunk):
        cosine = unit[s : s + chunk] @ unit.T
        cosine[torch.arange(len(cosine)), s + torch.arange(len(cosine))] = -2
        value, index = cosine.topk(min(k, len(unit) - 1), dim=1)
        out += [", ".join(f"{i} ({v:.2f})" for i, v in zip(*row, strict=True)) for row in zip(index.tolist(), value.tolist(), strict=True)]
    return out


#: What the columns of the catalogue mean.
COLUMNS = {
    "latent": "number of the latent in the dictionary",
    "density": "share of test tokens on which it fires",
    "coherence": "largest absolute cosine of its decoder row with another's",
    "variance_share": "explained variance that is lost on test tokens when it alone is set to 0",
    "seeds_found": "number of other seeds in which it has the same partner by encoder and decoder, both with cosine above 0.7; empty "
    "when no other seed was trained",
    "kind": "kind of its best concept (motif or interval); empty, as all up to plausible, when no pair reached the floor on validation",
    "concept": "concept of the highest F1 on validation chromosomes; a motif as JASPAR id, name and strand",
    "family": "motif family, which is what we report: the member that binds cannot be read from sequence",
    "threshold": "share of its largest validation activation above which it counts as firing",
    "largest": "its largest activation on validation tokens",
    "f1_validation": "F1 that chose the pair; every number below is from test chromosomes",
    "n_fired": "test tokens on which it fires above the threshold",
    "precision": "share of these inside the concept",
    "recall": "share of the concept's instances with such a token",
    "f1": "harmonic mean of precision and recall",
    "auroc": "AUROC of the activation for tokens inside the concept",
    "odds_ratio": "odds ratio adjusted for GC, CpG, repeats and distance to a start site (Mantel-Haenszel)",
    "or_low": "lower end of its 95 % interval",
    "or_high": "upper end of its 95 % interval",
    "z": "excess of hits over circular shifts, in their standard deviations",
    "p": "one-sided p against circular shifts",
    "q": "Benjamini-Hochberg over all pairs of latents and concepts of the kind",
    "q_latent": "the same over latents, after Simes over a latent's concepts",
    "token_identity": "share of its variance that the token's own name explains, held out",
    "confounders": "share of its variance that composition, repeats, place and distance to a start site explain, held out",
    "explained_by_identity": "token_identity above 0.5",
    "reverse_complement": "correlation over bases of the latent with itself on the reverse complement",
    "neighbours": "latents with the nearest decoder rows, and the cosines",
    "plausible": "the pair is claimed: q and q_latent below 0.05, adjusted odds ratio with its interval above 1, F1 above the floor",
    "faithful": "whether the prediction needs the latent; empty here: `05_validation/catalogue.csv` has the same columns with it, and the fall of AUROC",
}  # fmt: skip

COLUMNS_TEXT = "# Columns of features.csv and features.parquet\n\nOne row a latent. The truth of simulated data never names a latent.\n\n" + "".join(
    f"- `{name}`: {text}.\n" for name, text in COLUMNS.items()
)


def best_concepts(read: pd.DataFrame) -> pd.DataFrame:
    """The pair of each latent with the highest validation F1, motif or interval: true sites are for scoring and never name it."""
    known = read[read["kind"] != "true site"]
    return known.sort_values("f1_validation", ascending=False, kind="stable").drop_duplicates("latent")


def catalogue(read: pd.DataFrame, latents: pd.DataFrame, share: pd.DataFrame, variance: np.ndarray, neighbours: list[str]) -> pd.DataFrame:
    """One row a latent, columns as in `COLUMNS`.

    read: pairs of the SAE read on test, with claimed; latents: table of 03_sae_training (latent, frequency, coherence,
    seeds_found); share: of `composition.shares`, with reverse_complement; variance, neighbours: [latent]. A latent's
    concept is that of `best_concepts`.
    """
    table = latents.rename(columns={"frequency": "density"}).merge(best_concepts(read), on="latent", how="left").merge(share, on="latent", how="left")
    table = table.sort_values("latent", ignore_index=True).assign(variance_share=variance, neighbours=neighbours, faithful="")
    table["plausible"] = table["claimed"].eq(True)
    return table[list(COLUMNS)]


def write_catalogue(stage, table: pd.DataFrame) -> None:
    """features.csv, the same as features.parquet, and columns.md."""
    stage.write_table("features", table)
    stage.write_text("columns.md", COLUMNS_TEXT)
    table.to_parquet(stage.path("features.parquet"), index=False)


def pick_finalists(read: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n motif pairs of the SAE with the highest F1 on validation, one a latent and one a family.

    Returns latent, concept, family, threshold, largest, f1_validation, f1 (test: shown, never used to pick).
    """
    motif = read[(read["method"] == "SAE") & (read["kind"] == "motif")].sort_values("f1_validation", ascending=False, kind="stable")
    picked = motif.drop_duplicates("latent").drop_duplicates("family").head(n)
    return picked[["latent", "concept", "family", "threshold", "largest", "f1_validation", "f1"]].reset_index(drop=True)


def top_windows(latents: sparse.csr_matrix, tokens: pd.DataFrame, units: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n windows of each latent's largest activations: latent, rank, contig, start, end, peak, activation.

    latents: CSR [token, d_sae], rows as in `tokens`, of reference windows only; peak: middle base of the token of the
    largest activation. Raises ValueError when a unit is a person's.
    """
    unit = tokens["unit"].to_numpy()
    if not units["is_reference"].to_numpy()[np.unique(unit)].all():
        raise ValueError("a unit is a person's haplotype: top windows show the reference only")
    middle = (tokens["ref_start"].to_numpy() + tokens["ref_end"].to_numpy() - 1) // 2
    columns, parts = latents.tocsc(), []
    for latent in range(latents.shape[1]):
        rows, values = (a[columns.indptr[latent] : columns.indptr[latent + 1]] for a in (columns.indices, columns.data))
        order = np.argsort(-values, kind="stable")
        _, first = np.unique(unit[rows[order]], return_index=True)
        chosen = order[np.sort(first)[:n]]
        parts.append(pd.DataFrame({"latent": latent, "rank": np.arange(len(chosen)), "token": rows[chosen], "activation": values[chosen]}))
    table = pd.concat(parts, ignore_index=True)
    place = units.iloc[unit[table["token"]]]
    table = table.assign(contig=place["contig"].to_numpy(), start=place["start"].to_numpy(), end=place["end"].to_numpy(), peak=middle[table["token"]])
    return table[["latent", "rank", "contig", "start", "end", "peak", "activation"]]


def write_tracks(stage, catalogue: pd.DataFrame, latents: sparse.csr_matrix, tokens: pd.DataFrame, genome: Reference, n: int) -> list[int]:
    """tracks/latent_<i>.bw, .bedGraph, .bed of the n plausible latents of the highest validation F1, and an IGV session.

    The session names the genome by its file's name, which has to lie beside it or be chosen in IGV. Returns the latents.
    """
    picked = catalogue[catalogue["plausible"]].sort_values("f1_validation", ascending=False, kind="stable").head(n)
    files, columns, locus = {}, latents.tocsc(), ""
    for row in picked.itertuples():
        name = f"latent {row.latent}: {row.concept}"
        steps = tracks.latent_steps(tokens, columns[:, [row.latent]].toarray().ravel())
        path = {suffix: stage.path(f"tracks/latent_{row.latent}.{suffix}") for suffix in ("bw", "bedGraph", "bed")}
        tracks.write_bigwig(path["bw"], steps, genome)
        tracks.write_bedgraph(path["bedGraph"], steps, name)
        tracks.write_bed(path["bed"], steps, f"latent_{row.latent}")
        files[name] = path["bw"].name
        if not locus and len(steps):
            top = steps.loc[steps["value"].idxmax()]
            locus = f"{top['contig']}:{max(1, int(top['start']) - 200)}-{int(top['end']) + 200}"
    if files:
        tracks.write_igv_session(stage.path("tracks/session.xml"), genome.path.name, files, locus)
    return picked["latent"].tolist()


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
    columns = ["latent", "concept", "family", "rank", "contig", "position", "base", "activation"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


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
