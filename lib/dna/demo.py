"""A simulated genome, cohort and phenotype with known truth, written as the files that real data come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from lib.dna import motifs as mt
from lib.dna import planted
from lib.dna.phenotypes import simulate_phenotype
from lib.models import sequence as sq

GENES = [
    "NOD2", "IL23R", "ATG16L1", "IRGM", "CARD9", "PTPN2", "IL10", "HNF4A",
    "JAK2", "STAT3", "TYK2", "SMAD3", "IL12B", "PTGER4", "LRRK2",
]  # fmt: skip
#: Losing a site of the first raises the odds of disease; losing one of the last lowers them. Two, since a family can only be
#: found necessary if its loss costs enough: of k equal families that costs about .08 (k 2), .05 (k 3), .02 (k 6) of AUROC.
CAUSAL_MOTIFS = ["SMAD3", "NFKB1"]
SPACER = 500  # plain bases before each region, and at the end of a contig
README = """Everything in this folder is simulated: sequence, genotypes, phenotype. Nothing comes from a person.
Effects are enlarged (log odds {effect} per allele; published ones are mostly below 0.3).
Seed {seed}. Coordinates are 0-based, half-open.

sites.csv      every site of the {n_motifs} motifs that scores at least the planting threshold
               (chance {p:g} per uniform base), planted or by chance; element it starts in, if any
elements.bed   promoters and enhancers: where sites were planted
variants.csv   each variant: the planted motif it destroys, score drop (bits), causal or not, beta (log odds)
liability.csv  per person: genetic part and liability (log odds)
annotation/    promoters, enhancers (by element), exons (simulated intervals outside elements, no signal)
"""


def simulate_demo(
    out_dir: str | Path,
    seed: int,
    n_people: int = 300,
    n_external: int = 0,
    n_loci: int = 15,
    locus_bp: int = 1024,
    n_contigs: int = 8,
    n_background: int = 8,
    background_bp: int = 60_000,
    density: float = 0.55,
    element_share: float = 0.6,
    variant_bp: int = 75,
    n_destroying: int = 60,
    n_causal: int = 12,
    effect_log_odds: float = 1.3,
    case_share: float = 0.5,
) -> Path:
    """Write a small disease study whose truth is known into out_dir; the same seed gives the same bytes.

    Files: genome.fa (+ .fai), loci.bed, background.bed, cohort.vcf.gz (+ .tbi; unphased), phenotype.csv,
    the same of n_external other people (external.vcf.gz, external_phenotype.csv; none when 0), and truth/ (see
    truth/README.md). Loci and background share contigs sim1, sim2, ..., so that a whole
    contig can be held out.

    locus_bp, background_bp: bases per locus and per background region. density: share of the bases of an
    element that lie in a planted site. element_share: share of a locus within its promoter (half of it) and
    two enhancers. variant_bp: mean bases per variant. n_destroying: variants that take a planted site below
    the planting threshold, all with allele frequency 0.25 to 0.5, so that frequency does not tell which matter;
    n_causal of them, on motifs in CAUSAL_MOTIFS, drive the phenotype, ±effect_log_odds per copy. case_share: share of people who are cases.
    Raises ValueError when there are more loci than names, or too few sites for the variants asked for.
    """
    if not 1 <= n_loci <= len(GENES):
        raise ValueError(f"n_loci is {n_loci}, wanted 1 to {len(GENES)}")
    out = Path(out_dir)
    (out / "truth" / "annotation").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    motifs = planted.gut_immune_motifs()

    regions = _layout(n_loci, locus_bp, n_contigs, n_background, background_bp)
    elements, exons = _elements(regions, element_share, rng)
    genome, sites = _genome(regions, elements, motifs, density, rng)
    loci = regions[regions.kind == "locus"].reset_index(drop=True)
    n_variants = int(loci.end.sub(loci.start).sum() / variant_bp)
    candidates = _destroying_variants(genome, loci, sites, motifs)
    variants = _choose_destroying(candidates, n_destroying, n_causal, effect_log_odds, rng)
    variants = _add_neutral(variants, genome, loci, n_variants - n_destroying, rng)
    variants = _score_drops(variants, genome, sites, motifs)
    copies, variants = _genotypes(variants, n_people, rng)

    _write_genome(out / "genome.fa", genome)
    _write_bed(out / "loci.bed", loci)
    _write_bed(out / "background.bed", regions[regions.kind == "background"])
    people = _write_people(out, "", "SIM", variants, copies, case_share, genome, seed, rng)
    if n_external:
        others, _ = _genotypes(variants, n_external, rng)
        _write_people(out, "external_", "EXT", variants, others, case_share, genome, seed, rng)
    _write_truth(out / "truth", sites, elements, exons, variants, motifs)
    people[["sample", "genetic", "liability"]].round(6).to_csv(out / "truth" / "liability.csv", index=False)
    text = README.format(effect=effect_log_odds, seed=seed, n_motifs=len(motifs), p=planted.SITE_P)
    (out / "truth" / "README.md").write_text(text)
    return out


def _layout(
    n_loci: int, locus_bp: int, n_contigs: int, n_background: int, background_bp: int
) -> pd.DataFrame:
    """Loci, then background regions, dealt over the contigs, a spacer before each."""
    kinds = [("locus", f"sim_{g}", locus_bp) for g in GENES[:n_loci]]
    kinds += [("background", f"background{i + 1}", background_bp) for i in range(n_background)]
    table = pd.DataFrame(kinds, columns=["kind", "locus", "length"])
    rank = np.concatenate([np.arange(n_loci), np.arange(n_background)]) % n_contigs
    table["contig"] = [f"sim{i + 1}" for i in rank]
    table["end"] = table.assign(step=table.length + SPACER).groupby("contig").step.cumsum()
    table["start"] = table.end - table.length
    return table.sort_values(["contig", "start"], ignore_index=True)


def _elements(
    regions: pd.DataFrame, element_share: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Promoters and enhancers of each region, and exons in the gaps between them."""
    elements, exons = [], []
    for region in regions.itertuples():
        if region.kind == "locus":
            pieces = _locus_elements(region.end - region.start, element_share)
        else:
            pieces = _background_elements(region.end - region.start, rng)
        elements += [
            (region.contig, region.start + a, region.start + b, f"{region.locus}_{kind}{i}", kind)
            for i, (a, b, kind) in enumerate(pieces)
        ]
        bounds = [0, *(x for a, b, _ in pieces for x in (a, b)), region.end - region.start]
        gaps = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b - a >= 60]
        gaps = [
            (region.start + a, (b - a) // 4, region.start + b) for a, b in gaps
        ]  # an exon is its middle half
        exons += [
            (region.contig, a + quarter, b - quarter, f"{region.locus}_exon{i}")
            for i, (a, quarter, b) in enumerate(gaps)
        ]
    columns = ["contig", "start", "end", "locus"]
    return pd.DataFrame(elements, columns=[*columns, "kind"]), pd.DataFrame(exons, columns=columns)


def _locus_elements(length: int, share: float) -> list[tuple[int, int, str]]:
    """A promoter with half of the element bases and two enhancers with a quarter each, evenly spaced."""
    widths = [int(length * share / 2), int(length * share / 4), int(length * share / 4)]
    gap = (length - sum(widths)) // 4
    starts = gap + np.cumsum([0, widths[0] + gap, widths[1] + gap])
    kinds = ["promoter", "enhancer", "enhancer"]
    return [(int(a), int(a) + w, k) for a, w, k in zip(starts, widths, kinds, strict=True)]


def _background_elements(
    length: int, rng: np.random.Generator, segment: int = 512, active: float = 0.8, promoters: float = 0.2
) -> list[tuple[int, int, str]]:
    """Of the whole segments a share `active` are elements, and of these a share `promoters` are promoters."""
    on, promoter = rng.random((2, length // segment)) < np.array([[active], [promoters]])
    names = np.where(promoter, "promoter", "enhancer")
    return [(int(i) * segment, int(i + 1) * segment, str(names[i])) for i in np.flatnonzero(on)]


def _genome(
    regions: pd.DataFrame,
    elements: pd.DataFrame,
    motifs: list[mt.Motif],
    density: float,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Codes of each contig, and all of its sites: planted ones and chance ones, with the element they start in."""
    genome, tables = {}, []
    for contig, rows in regions.groupby("contig"):
        codes = planted.background(int(rows.end.max()) + SPACER, rng)
        own = elements[elements.contig == contig]
        drawn = pd.concat(
            [planted.draw_sites(e.start, e.end, density, motifs, rng) for e in own.itertuples()],
            ignore_index=True,
        )
        planted.write_sites(codes, drawn, motifs, rng)
        keys = ["start", "end", "motif", "strand"]
        found = planted.chance_sites(codes, motifs).merge(
            drawn[keys].assign(planted=True), on=keys, how="left"
        )
        found["planted"] = found.planted.eq(True)
        inside = np.searchsorted(own.start, found.start, side="right") - 1
        ends = own.end.to_numpy()[np.maximum(inside, 0)]
        kinds = own.kind.to_numpy()[np.maximum(inside, 0)]
        found["element"] = np.where((inside >= 0) & (found.start < ends), kinds, "")
        genome[contig] = codes
        tables.append(found.assign(contig=contig))
    return genome, pd.concat(tables, ignore_index=True)


def _destroying_variants(
    genome: dict[str, np.ndarray],
    loci: pd.DataFrame,
    sites: pd.DataFrame,
    motifs: list[mt.Motif],
) -> pd.DataFrame:
    """For each planted site of a locus its worst substitution, where that is enough to lose the site."""
    rows = []
    planted_sites = sites[sites.planted]
    for locus in loci.itertuples():
        own = planted_sites[planted_sites.contig == locus.contig]
        own = own[(own.start >= locus.start) & (own.end <= locus.end)]
        for site in own.itertuples():
            pos, alt, drop = _worst_substitution(genome[locus.contig][site.start : site.end], site, motifs)
            if site.score - drop < mt.score_threshold(motifs[site.motif].pwm, planted.SITE_P):
                ref = sq.ALPHABET[genome[locus.contig][pos]]
                rows.append((locus.contig, pos, ref, alt, motifs[site.motif].name, locus.locus))
    table = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "target", "locus"])
    return table.drop_duplicates(["contig", "pos"], ignore_index=True)


def _worst_substitution(codes: np.ndarray, site, motifs: list[mt.Motif]) -> tuple[int, str, float]:
    """Position, base and score drop (bits) of the substitution that costs the site most."""
    motif = motifs[site.motif]
    table = mt.log_odds(motif.pwm if site.strand == "+" else motif.reverse_complement())
    drop = table[codes, np.arange(motif.width)] - table
    alt, column = np.unravel_index(drop.argmax(), drop.shape)
    return int(site.start + column), sq.ALPHABET[alt], float(drop.max())


def _choose_destroying(
    candidates: pd.DataFrame, n: int, n_causal: int, effect: float, rng: np.random.Generator
) -> pd.DataFrame:
    """n of the candidates: first n_causal that are causal, the causal motifs in turn, then any others."""
    order = rng.permutation(len(candidates))
    targets = candidates.target.to_numpy()[order]
    queues = [list(order[targets == name]) for name in CAUSAL_MOTIFS]
    n_possible = sum(map(len, queues))
    if not n_causal <= n <= len(candidates) or n_causal > n_possible:
        raise ValueError(
            f"n_destroying {n} and n_causal {n_causal}: the loci have {len(candidates)} planted sites that one "
            f"base can destroy, {n_possible} of them of causal motifs; wanted n_causal <= n_destroying <= those"
        )
    turns = [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
    causal = np.array(turns[:n_causal], dtype=int)
    others = order[~np.isin(order, causal)][: n - n_causal]
    rows = np.sort(np.concatenate([causal, others]))
    chosen = candidates.iloc[rows].assign(causal=np.isin(rows, causal)).reset_index(drop=True)
    sign = np.where(chosen.target == CAUSAL_MOTIFS[-1], -1.0, 1.0)
    chosen["beta"] = np.where(chosen.causal, sign * effect, 0.0)
    chosen["frequency"] = rng.uniform(0.25, 0.5, n)
    return chosen


def _add_neutral(
    variants: pd.DataFrame,
    genome: dict[str, np.ndarray],
    loci: pd.DataFrame,
    n: int,
    rng: np.random.Generator,
    indel_share: float = 0.07,
    distance: int = 6,
) -> pd.DataFrame:
    """Add n variants anywhere in the loci, some of them indels of 1 to 4 bases, none within `distance` of another."""
    taken = {contig: np.zeros(len(codes) + distance, dtype=bool) for contig, codes in genome.items()}
    for row in variants.itertuples():
        taken[row.contig][row.pos - distance : row.pos + distance] = True
    rows = []
    for _ in range(max(n, 0)):
        locus = loci.iloc[rng.integers(len(loci))]
        free = np.flatnonzero(~taken[locus.contig][locus.start + 1 : locus.end - distance]) + locus.start + 1
        if not len(free):
            continue
        pos = int(rng.choice(free))
        taken[locus.contig][pos - distance : pos + distance] = True
        ref, alt = _random_alleles(genome[locus.contig][pos : pos + 5], rng.random() < indel_share, rng)
        rows.append((locus.contig, pos, ref, alt, "", locus.locus, False, 0.0, np.nan))
    columns = ["contig", "pos", "ref", "alt", "target", "locus", "causal", "beta", "frequency"]
    table = pd.DataFrame([*variants[columns].itertuples(index=False, name=None), *rows], columns=columns)
    return table.sort_values(["contig", "pos"], ignore_index=True)


def _random_alleles(codes: np.ndarray, indel: bool, rng: np.random.Generator) -> tuple[str, str]:
    """REF and ALT at the first of five bases: a substitution, or an insertion or deletion after it."""
    text = sq.decode(codes)
    if not indel:
        return text[0], sq.ALPHABET[(codes[0] + rng.integers(1, 4)) % 4]
    size = int(rng.integers(1, 5))
    if rng.random() < 0.5:
        return text[: size + 1], text[0]
    return text[0], text[0] + sq.decode(rng.integers(0, 4, size))


def _score_drops(
    variants: pd.DataFrame, genome: dict[str, np.ndarray], sites: pd.DataFrame, motifs: list[mt.Motif]
) -> pd.DataFrame:
    """destroys_site: motif of the planted site lost, the largest drop first; score_drop: bits, 0 if none is lost."""
    planted_sites = dict(list(sites[sites.planted].groupby("contig")))
    names, drops = [], []
    for row in variants.itertuples():
        own = planted_sites[row.contig]
        near = own[(own.start < row.pos + len(row.ref)) & (own.end > row.pos)]
        lost = [
            (site.score - _score_after(row, site, genome[row.contig], motifs), site)
            for site in near.itertuples()
        ]
        lost = [
            (drop, motifs[site.motif].name) for drop, site in lost
            if site.score - drop < mt.score_threshold(motifs[site.motif].pwm, planted.SITE_P)
        ]  # fmt: skip
        drop, name = max(lost, default=(0.0, ""))
        names.append(name)
        drops.append(drop)
    return variants.assign(destroys_site=names, score_drop=np.round(drops, 4))


def _score_after(row, site, codes: np.ndarray, motifs: list[mt.Motif]) -> float:
    """Best score of the site's motif where the site was, once the allele is in: its left end, or its right end, kept."""
    motif = motifs[site.motif]
    table = mt.log_odds(motif.pwm if site.strand == "+" else motif.reverse_complement())
    alt = np.concatenate([codes[: row.pos], sq.encode(row.alt), codes[row.pos + len(row.ref) :]])
    starts = {site.start, site.start + len(row.alt) - len(row.ref)}
    return max(float(table[alt[s : s + motif.width], np.arange(motif.width)].sum()) for s in starts)


def _genotypes(
    variants: pd.DataFrame, n_people: int, rng: np.random.Generator
) -> tuple[np.ndarray, pd.DataFrame]:
    """Allele copies [n_variant, n_people, 2] in Hardy-Weinberg proportions, each ALT carried at least once.

    Frequencies that are not set follow the neutral spectrum, density 1/x from 1/(2 n_people) to 0.5.
    """
    low = 1 / (2 * n_people)
    neutral = low * (0.5 / low) ** rng.random(len(variants))
    variants = variants.assign(frequency=variants.frequency.fillna(pd.Series(neutral, index=variants.index)))
    copies = rng.random((len(variants), n_people, 2)) < variants.frequency.to_numpy()[:, None, None]
    empty = np.flatnonzero(~copies.any((1, 2)))
    copies[empty, rng.integers(0, n_people, len(empty)), 0] = True
    return copies.astype(np.int8), variants


def _write_people(
    out: Path, prefix: str, name: str, variants: pd.DataFrame, copies: np.ndarray, case_share: float,
    genome: dict[str, np.ndarray], seed: int, rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Genotypes and phenotypes of a cohort. Returns sample, phenotype, genetic, liability."""
    phenotype = simulate_phenotype(copies.sum(2), variants.beta, case_share, int(rng.integers(2**31)))
    samples = [f"{name}{i + 1:05d}" for i in range(copies.shape[1])]
    _write_vcf(out / f"{prefix.rstrip('_') or 'cohort'}.vcf", variants, copies, samples, genome, seed)
    people = phenotype.assign(sample=samples)
    people[["sample", "phenotype"]].to_csv(out / f"{prefix}phenotype.csv", index=False)
    return people


def _write_genome(path: Path, genome: dict[str, np.ndarray], width: int = 60) -> None:
    with path.open("w") as handle:
        for contig, codes in genome.items():
            text = sq.decode(codes)
            lines = [text[i : i + width] for i in range(0, len(text), width)]
            handle.write("\n".join([f">{contig}", *lines, ""]))
    Path(f"{path}.fai").unlink(missing_ok=True)
    pysam.faidx(str(path))


def _write_bed(path: Path, table: pd.DataFrame) -> None:
    rows = table.assign(score=0, strand=".")[["contig", "start", "end", "locus", "score", "strand"]]
    rows.to_csv(path, sep="\t", header=False, index=False)


def _write_vcf(
    path: Path,
    variants: pd.DataFrame,
    copies: np.ndarray,
    samples: list[str],
    genome: dict[str, np.ndarray],
    seed: int,
) -> None:
    """cohort.vcf.gz and its index; heterozygotes are written 0/1 whichever copy carries the ALT."""
    header = ["##fileformat=VCFv4.2", f"##source=SIMULATED by lib.dna.demo, seed {seed}: no real person"]
    header += ['##FILTER=<ID=PASS,Description="All filters passed">']
    header += [f"##contig=<ID={contig},length={len(codes)}>" for contig, codes in genome.items()]
    header += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype (simulated, unphased)">']
    header += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])]
    calls = np.array(["0/0", "0/1", "1/1"])[copies.sum(2)]
    lines = [
        "\t".join([v.contig, str(v.pos + 1), _name(v), v.ref, v.alt, ".", "PASS", ".", "GT", *call])
        for v, call in zip(variants.itertuples(), calls, strict=True)
    ]
    path.write_text("\n".join([*header, *lines, ""]))
    pysam.tabix_compress(str(path), f"{path}.gz", force=True)
    pysam.tabix_index(f"{path}.gz", preset="vcf", force=True)
    path.unlink()


def _name(variant) -> str:
    return f"{variant.contig}:{variant.pos + 1}:{variant.ref}>{variant.alt}"


def _write_truth(
    folder: Path,
    sites: pd.DataFrame,
    elements: pd.DataFrame,
    exons: pd.DataFrame,
    variants: pd.DataFrame,
    motifs: list[mt.Motif],
) -> None:
    index = sites.motif.to_numpy()
    table = sites.assign(
        motif=np.array([m.name for m in motifs])[index],
        matrix_id=np.array([m.matrix_id for m in motifs])[index],
        family=np.array([m.family for m in motifs])[index],
        score=sites.score.round(4),
    )
    columns = ["contig", "start", "end", "motif", "matrix_id", "family", "strand"]
    columns += ["score", "planted", "element"]
    table[columns].to_csv(folder / "sites.csv", index=False)
    named = variants.assign(
        id=[_name(v) for v in variants.itertuples()], frequency=variants.frequency.round(6)
    )
    columns = ["contig", "pos", "ref", "alt", "id", "locus", "frequency"]
    columns += ["destroys_site", "score_drop", "causal", "beta"]
    named[columns].to_csv(folder / "variants.csv", index=False)
    _write_bed(folder / "elements.bed", elements)
    _write_bed(folder / "annotation" / "promoters.bed", elements[elements.kind == "promoter"])
    _write_bed(folder / "annotation" / "enhancers.bed", elements[elements.kind == "enhancer"])
    _write_bed(folder / "annotation" / "exons.bed", exons)
