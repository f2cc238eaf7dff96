"""What does a variant change? Latents on the reference against the alternative sequence, same window, same strand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from tqdm.auto import tqdm

from lib import stats
from lib.genome import sequence as sq
from lib.models.adapter import Adapter
from lib.sae.model import SAE

PATHOGENIC = {"Pathogenic", "Likely_pathogenic", "Pathogenic/Likely_pathogenic"}
BENIGN = {"Benign", "Likely_benign", "Benign/Likely_benign"}


def clinvar_label(significance: pd.Series) -> pd.Series:
    """1 for P/LP, 0 for B/LB, NaN for anything else (uncertain, conflicting, drug response)."""
    label = pd.Series(np.nan, index=significance.index)
    label[significance.isin(PATHOGENIC)] = 1.0
    label[significance.isin(BENIGN)] = 0.0
    return label


def windows(variants: pd.DataFrame, reference, window_bp: int) -> pd.DataFrame:
    """Centre a window on each variant. variants: contig, pos (0-based), ref, alt.

    Adds start, offset (of the variant in the window), ref_sequence, alt_sequence. A window that would leave the
    contig is moved inside it. Raises ValueError when REF is not what the genome holds, naming the variant.
    """
    rows = []
    for v in variants.itertuples():
        start = int(np.clip(v.pos - window_bp // 2, 0, reference.lengths[v.contig] - window_bp))
        text = reference.fetch(v.contig, start, start + window_bp)
        offset = v.pos - start
        if text[offset : offset + len(v.ref)] != v.ref:
            raise ValueError(
                f"{v.contig}:{v.pos + 1} {v.ref}>{v.alt}: the genome has "
                f"{text[offset : offset + len(v.ref)]} where the variant says {v.ref}"
            )
        alt = text[:offset] + v.alt + text[offset + len(v.ref) :]
        rows.append((start, offset, text, alt[:window_bp]))
    return pd.concat([variants.reset_index(drop=True),
                      pd.DataFrame(rows, columns=["start", "offset", "ref_sequence", "alt_sequence"])], axis=1)  # fmt: skip


@torch.inference_mode()
def local_states(
    adapter: Adapter, site: str, saes: Sequence[SAE], sequences: Sequence[str], near: np.ndarray, token_budget: int = 8192
) -> tuple[list[sparse.csr_matrix], np.ndarray]:
    """Largest latent, and mean activation, over the tokens that touch bases [near - radius, near + radius).

    near: [sequence, 2] base range. Returns one CSR [sequence, d_sae] per SAE and acts [sequence, d_model].
    """
    parts: list[list[sparse.csr_matrix]] = [[] for _ in saes]
    means = []
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


def blocked_auroc(label: np.ndarray, score: np.ndarray, block: np.ndarray, n_boot: int, seed: int) -> stats.Estimate:
    """AUROC with an interval from resampling whole blocks (genes), since a label follows its gene. All [variant]."""
    rng = np.random.default_rng(seed)
    blocks, code = np.unique(block, return_inverse=True)
    members = [np.flatnonzero(code == b) for b in range(len(blocks))]
    draws = []
    for _ in range(n_boot):
        rows = np.concatenate([members[b] for b in rng.integers(0, len(blocks), len(blocks))])
        if 0 < label[rows].sum() < len(rows):
            draws.append(stats.auroc(label[rows], score[rows]))
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (np.nan, np.nan)
    return stats.Estimate(float(stats.auroc(label, score)), float(low), float(high), len(label))


def read_table(path: Path, reference) -> pd.DataFrame:
    """Labelled variants from a table: contig, pos (0-based), ref, alt, label (0/1), gene. Checks columns and REF."""
    frame = pd.read_csv(path, sep=None, engine="python")
    missing = {"contig", "pos", "ref", "alt", "label", "gene"} - set(frame.columns)
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    for row, v in enumerate(frame.itertuples(), start=2):
        sq.encode(v.ref + v.alt)
        found = reference.fetch(v.contig, v.pos, v.pos + len(v.ref))
        if found != v.ref:
            raise ValueError(f"{path}, line {row}: {v.contig}:{v.pos + 1} REF is {v.ref}, the genome has {found}")
    return frame
