"""What does a variant change? Latents on the reference against the alternative sequence, same window, same strand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lib import lines, stats
from lib.genome.reference import Reference
from lib.models.adapter import Adapter
from lib.progress import tqdm
from lib.sae.model import SAE

#: Clear classes, and the two of a kind together, as today's releases spell them ("/") and as those of 2016 do ("_").
PATHOGENIC = {"Pathogenic", "Likely_pathogenic", "Pathogenic/Likely_pathogenic", "Likely_pathogenic_Pathogenic"}
EMPTY = {"", "false", "na", "nan", "n/a", "null", "none", "."}  # values of a label column that are no label, in any case
BENIGN = {"Benign", "Likely_benign", "Benign/Likely_benign", "Benign_Likely_benign"}


def clinvar_label(significance: pd.Series) -> pd.Series:
    """1 for P/LP, 0 for B/LB, NaN for anything else (uncertain, conflicting, drug response)."""
    label = pd.Series(np.nan, index=significance.index)
    label[significance.isin(PATHOGENIC)] = 1.0
    label[significance.isin(BENIGN)] = 0.0
    return label


def windows(variants: pd.DataFrame, reference, window_bp: int) -> pd.DataFrame:
    """Centre a window on each variant. variants: contig, pos (0-based), ref, alt.

    Adds start, offset (of the variant in the window), ref_sequence, alt_sequence. A window that would leave the
    contig is moved inside it; only a deletion of a contig's last bases leaves alt_sequence shorter. Unknown bases (N)
    at a window's ends are cut off: they tell the model nothing, and cost a token each. Raises ValueError when REF
    is not what the genome holds, naming the variant.
    """
    rows = []
    for v in variants.itertuples():
        last = reference.lengths[v.contig] - window_bp - max(len(v.ref) - len(v.alt), 0)  # a deletion reads on
        start = max(min(v.pos - window_bp // 2, last), v.pos + len(v.ref) - window_bp, 0)  # REF stays inside
        text = reference.fetch(v.contig, start, start + window_bp)
        offset = v.pos - start
        if text[offset : offset + len(v.ref)] != v.ref:
            raise ValueError(
                f"{v.contig}:{v.pos + 1} {v.ref}>{v.alt}: the genome has "
                f"{text[offset : offset + len(v.ref)]} where the variant says {v.ref}"
            )
        end = min(start + window_bp + len(v.ref), reference.lengths[v.contig])
        after = reference.fetch(v.contig, v.pos + len(v.ref), end)
        changed = (text[:offset] + v.alt + after)[:window_bp]
        gap = len(text) - len(text.lstrip("N"))  # REF is known, so the gap ends before it
        rows.append((start + gap, offset - gap, text[gap:].rstrip("N"), changed[gap:].rstrip("N")))
    return pd.concat([variants.reset_index(drop=True),
                      pd.DataFrame(rows, columns=["start", "offset", "ref_sequence", "alt_sequence"])], axis=1)  # fmt: skip


def readable(table: pd.DataFrame, adapter: Adapter) -> np.ndarray:
    """Which variants fit the model's context with both alleles: [variant] bool. BPE cuts repeats into short tokens."""
    return np.array([adapter.fits(r) and adapter.fits(a) for r, a in
                     zip(table["ref_sequence"], table["alt_sequence"], strict=True)], dtype=bool)  # fmt: skip


@torch.inference_mode()
def local_states(
    adapter: Adapter, site: str, saes: Sequence[SAE], sequences: Sequence[str], near: np.ndarray, token_budget: int = 8192
) -> tuple[list[sparse.csr_matrix], np.ndarray]:
    """Largest latent, and mean activation, over the tokens that touch bases [near - radius, near + radius).

    near: [sequence, 2] base range. Returns one CSR [sequence, d_sae] per SAE and acts [sequence, d_model].
    """
    parts: list[list[sparse.csr_matrix]] = [[] for _ in saes]
    means = []
    if not len(sequences):
        nothing = np.zeros((0, adapter.site(site).dim), np.float32)
        return [sparse.csr_matrix((0, sae.config.d_sae), dtype=np.float32) for sae in saes], nothing
    step = max(1, token_budget // max(map(len, sequences)))
    for s in tqdm(range(0, len(sequences), step), desc="variants", mininterval=2):
        batch = adapter.encode(sequences[s : s + step])
        x = adapter.run(batch, [site])[site]
        inside = (batch.end > near[s + batch.unit, 0]) & (batch.start < near[s + batch.unit, 1])
        rows = torch.from_numpy(np.flatnonzero(inside))
        group = torch.from_numpy(batch.unit[inside].astype(np.int64))
        n = len(sequences[s : s + step])
        total = torch.zeros(n, x.shape[1]).index_add_(0, group, x[rows].float())
        means.append((total / torch.bincount(group, minlength=n).clamp_min(1)[:, None]).numpy())
        for part, sae in zip(parts, saes, strict=True):
            latents = sae.encode(x[rows].float())
            largest = torch.zeros(n, latents.shape[1]).scatter_reduce_(
                0, group[:, None].expand_as(latents), latents, "amax", include_self=True
            )
            part.append(sparse.csr_matrix(largest.numpy()))
    return [sparse.vstack(p, format="csr") for p in parts], np.concatenate(means)


def differences(
    adapter: Adapter, site: str, saes: Sequence[SAE], table: pd.DataFrame, radius: int
) -> tuple[list[sparse.csr_matrix], np.ndarray]:
    """Alternative minus reference, for each SAE's latents (CSR [variant, d_sae]) and the activations [variant, d]."""
    offset = table["offset"].to_numpy()
    reach = {
        "ref_sequence": np.stack([offset - radius, offset + table["ref"].str.len().to_numpy() + radius], 1),
        "alt_sequence": np.stack([offset - radius, offset + table["alt"].str.len().to_numpy() + radius], 1),
    }
    ref, ref_acts = local_states(adapter, site, saes, table["ref_sequence"].tolist(), reach["ref_sequence"])
    alt, alt_acts = local_states(adapter, site, saes, table["alt_sequence"].tolist(), reach["alt_sequence"])
    return [a - r for a, r in zip(alt, ref, strict=True)], alt_acts - ref_acts


def summarise(table: pd.DataFrame, change: sparse.csr_matrix, acts_change: np.ndarray) -> pd.DataFrame:
    """Per variant: latent_change (L2 norm), embedding_change (L2 norm), the most lost and most gained latent."""
    dense = change.toarray()
    out = table.drop(columns=["ref_sequence", "alt_sequence"]).copy()
    out["latent_change"] = np.sqrt((dense**2).sum(1))
    out["embedding_change"] = np.sqrt((acts_change**2).sum(1))
    out["lost_latent"], out["lost"] = dense.argmin(1), dense.min(1)
    out["gained_latent"], out["gained"] = dense.argmax(1), dense.max(1)
    return out


def blocked_draws(
    label: np.ndarray, scores: np.ndarray, block: np.ndarray, n_boot: int, seed: int
) -> np.ndarray:
    """AUROC of every score on the same resamples of whole blocks (genes), since a label follows its gene.

    label, block: [variant]; scores: [score, variant]. Returns [score, draw]; a draw without both classes is left out,
    and with a single block, which cannot be resampled, there is none.
    """
    rng = np.random.default_rng(seed)
    blocks, code = np.unique(block, return_inverse=True)
    members = [np.flatnonzero(code == b) for b in range(len(blocks))]
    draws = [np.empty((len(scores), 0))]
    for _ in range(n_boot if len(blocks) > 1 else 0):
        rows = np.concatenate([members[b] for b in rng.integers(0, len(blocks), len(blocks))])
        if 0 < label[rows].sum() < len(rows):
            draws.append(stats.auroc(label[rows], scores[:, rows])[:, None])
    return np.concatenate(draws, axis=1)


def separation(table: pd.DataFrame, scores: dict[str, str], n_boot: int, seed: int) -> pd.DataFrame:
    """How well each score tells label 1 from label 0, alone and against the first score, over one set of resamples.

    table: label, gene and the columns of scores; scores: method -> column. One row a method: AUROC value, low, high;
    gain, gain_low, gain_high: AUROC of the first method minus this one's, paired by resample; n, n_positive, n_genes.
    Bounds are NaN when all variants lie in one gene.
    """
    label, values = table["label"].to_numpy(), table[list(scores.values())].to_numpy().T
    found, draws = stats.auroc(label, values), blocked_draws(label, values, table["gene"].to_numpy(), n_boot, seed)
    gain = draws[:1] - draws

    def bounds(x: np.ndarray) -> np.ndarray:
        return np.quantile(x, [0.025, 0.975], axis=1) if x.shape[1] else np.full((2, len(x)), np.nan)

    (low, high), (gain_low, gain_high) = bounds(draws), bounds(gain)
    return pd.DataFrame({
        "method": list(scores), "value": found, "low": low, "high": high, "gain": found[0] - found, "gain_low": gain_low,
        "gain_high": gain_high, "n": len(table), "n_positive": int((label == 1).sum()), "n_genes": table["gene"].nunique(),
    })  # fmt: skip


def read_table(path: Path, reference: Reference, label_column: str) -> pd.DataFrame:
    """Labelled variants from a table: contig, pos (0-based), ref, alt, gene (from a column locus or gene), label.

    The label is 1 where label_column is neither empty (or one of `EMPTY`) nor a zero. Raises ValueError naming the line
    for: a contig that the genome lacks, a position that is no number or off the contig, an allele of other letters than
    A C G T, REF that is not the genome's, ALT that is REF, a variant twice; and what `lib.lines.table` refuses.
    """
    table = lines.table(path)
    table = table if "gene" in table else table.rename(columns={"locus": "gene"})
    if missing := {"contig", "pos", "ref", "alt", "gene", label_column} - set(table.columns):
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    lines_of: dict[tuple, int] = {}
    for row in table.itertuples():
        where = f"{path}, line {row.Index}"
        _check_variant(row, reference, where)
        variant = row.contig, int(row.pos), row.ref, row.alt
        if variant in lines_of:
            raise ValueError(f"{where}: {row.contig}:{row.pos} {row.ref}>{row.alt} is in line {lines_of[variant]} already, wanted once")
        lines_of[variant] = row.Index
    given = table[label_column].str.strip().str.lower()
    nothing = given.isin(EMPTY) | (pd.to_numeric(given, errors="coerce") == 0)
    variants = table[["contig", "pos", "ref", "alt", "gene"]].assign(label=(~nothing).astype(int))
    return variants.astype({"pos": int}).reset_index(drop=True)


def _check_variant(row: Any, reference: Reference, where: str) -> None:
    """row: contig, pos, ref, alt as text. Raises ValueError for what is no substitution, insertion or deletion of this genome."""
    reference.check_contig(row.contig, where)
    length = reference.lengths[row.contig]
    if not re.fullmatch("[0-9]{1,15}", row.pos) or int(row.pos) >= length:
        raise ValueError(f"{where}: pos {row.pos!r}, wanted 0 to {length - 1} (0-based)")
    for name, allele in (("REF", row.ref), ("ALT", row.alt)):
        if not re.fullmatch("[ACGT]+", allele):
            raise ValueError(f"{where}: {name} {allele!r}, wanted letters A C G T")
    pos = int(row.pos)
    bases = reference.fetch(row.contig, pos, min(pos + len(row.ref), length))
    if bases != row.ref:
        raise ValueError(f"{where}: {row.contig}:{pos + 1} REF is {row.ref}, the genome has {bases}")
    if row.alt == row.ref:
        raise ValueError(f"{where}: {row.contig}:{pos + 1} ALT {row.alt} is REF, wanted another allele")


def none() -> pd.DataFrame:
    """No labelled variant: the columns of `read_table` and no row, for a study that has none."""
    columns = {"contig": object, "pos": int, "ref": object, "alt": object, "gene": object, "label": int}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def read_clinvar(path: Path, reference, regions: pd.DataFrame, report: Counter) -> pd.DataFrame:
    """Labelled alleles of a ClinVar VCF inside regions (`clinvar_alleles`), with their gene; without GENEINFO a variant's
    position stands for its gene, for two such variants have nothing in common. report: see `lib.genome.report`."""
    sites = clinvar_alleles(path, reference, regions, ["GENEINFO"], report)
    place = sites["contig"] + ":" + (sites["pos"] + 1).astype(str)
    sites = sites.assign(gene=sites["GENEINFO"].where(sites["GENEINFO"].fillna("") != "", place))
    return sites[["contig", "pos", "ref", "alt", "gene", "label"]]


def clinvar_alleles(path: Path, reference, regions: pd.DataFrame, info_keys: list[str], report: Counter) -> pd.DataFrame:
    """P/LP (label 1) and B/LB (label 0) alleles of a ClinVar VCF inside regions, once each, as `read_sites` gives them.

    An allele with both labels, in one spelling or two, is left out. It is counted, as are alleles that come again and
    those of other significance, by CLNSIG. report: see `lib.genome.report`.
    """
    from lib.genome import alleles, variants

    sites, name = variants.read_sites(path, reference, regions, ["CLNSIG", *info_keys], report), Path(path).name
    sites = sites.assign(label=clinvar_label(sites["CLNSIG"]))
    for significance, n in sites.loc[sites["label"].isna(), "CLNSIG"].fillna("not given").value_counts().items():
        report[name, f"alleles of significance {significance}", "left out"] += int(n)
    sites = sites[sites["label"].notna()].astype({"label": int}).reset_index(drop=True)
    spelled = pd.Series([(v.contig, *alleles.leftmost(v.contig, v.pos, v.ref, v.alt, reference)) for v in sites.itertuples()], dtype=object)
    both, again = sites.groupby(spelled)["label"].transform("nunique") > 1, spelled.duplicated()
    report[name, "labelled alleles with conflicting labels", "left out"] += int(both.sum())
    report[name, "labelled alleles that come again", "left out"] += int((again & ~both).sum())
    return sites[~both & ~again].reset_index(drop=True)


def inside(table: pd.DataFrame, intervals: pd.DataFrame) -> np.ndarray:
    """Which variants overlap an interval: [variant] bool. intervals: contig, start, end (0-based, half-open)."""
    import bioframe

    columns = ("contig", "start", "end")
    place = table[["contig"]].assign(start=table["pos"], end=table["pos"] + table["ref"].str.len())
    return bioframe.count_overlaps(place, intervals, cols1=columns, cols2=columns)["count"].to_numpy() > 0


def exons(path: Path, reference, report: Counter) -> pd.DataFrame:
    """The exons of a GFF3 or BED file, see `genes.read`: contig, start, end. report: see `lib.genome.report`."""
    from lib.annotate import genes

    table = genes.read(path, reference, report)
    return table[table["feature"] == "exon"]


def region(table: pd.DataFrame, exon_path: Path, reference, report: Counter) -> np.ndarray:
    """ "exon" or "other" for each variant, by `exons`. report: see `lib.genome.report`."""
    return np.where(inside(table, exons(exon_path, reference, report)), "exon", "other")


def balanced_sample(labelled: pd.DataFrame, max_per_class: int, seed: int) -> pd.DataFrame:
    """At most max_per_class variants of each label and region, seeded, in genome order."""
    parts = [g.sample(min(len(g), max_per_class), random_state=seed) for _, g in labelled.groupby(["region", "label"])]
    return pd.concat(parts or [labelled]).sort_values(["contig", "pos", "ref", "alt"], ignore_index=True)


def evidence(table: pd.DataFrame, min_calibration: int) -> list[str]:
    """The ACMG-AMP wording a variant's change may carry now: none without a calibration of its region's score."""
    counts = table.groupby(["region", "label"]).size().unstack(fill_value=0).reindex(columns=[0, 1], fill_value=0)
    enough = (counts >= min_calibration).all(axis=1)
    said = {True: "PP3/BP4 not assigned: calibratable, not calibrated here; research use",
            False: "PP3/BP4 not assigned: too few labelled variants to calibrate; research use"}  # fmt: skip
    return [said[bool(enough[r])] for r in table["region"]]


def write_differences(path: Path, change: sparse.csr_matrix, table: pd.DataFrame) -> None:
    """Latent changes as CSR: data float32, indices uint32, indptr int64, and the variants' names, row by row."""
    import h5py

    change = change.tocsr()
    change.sort_indices()
    names = [f"{v.contig}:{v.pos + 1}:{v.ref}>{v.alt}" for v in table.itertuples()]
    with h5py.File(path, "w") as f:
        f.attrs["d_sae"] = change.shape[1]
        for name, data in (("data", change.data.astype(np.float32)), ("indices", change.indices.astype(np.uint32)),
                           ("indptr", change.indptr.astype(np.int64)), ("variant", np.array([n.encode() for n in names], dtype="S"))):  # fmt: skip
            f.create_dataset(name, data=data, track_times=False)
