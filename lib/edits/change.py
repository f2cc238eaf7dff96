"""What an edit changes: latents of the alternative less those of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lib.models import forward
from lib.models.adapter import Adapter
from lib.sae.model import SAE
from lib.stage.progress import tqdm


def readable(table: pd.DataFrame, adapter: Adapter) -> np.ndarray:
    """Which variants fit the model's context with both alleles: [variant] bool. BPE cuts repeats into short tokens."""
    return np.array([adapter.fits(r) and adapter.fits(a) for r, a in
                     zip(table["ref_sequence"], table["alt_sequence"], strict=True)], dtype=bool)  # fmt: skip


@torch.inference_mode()
def local_states(
    adapter: Adapter, site: str, saes: Sequence[SAE], sequences: Sequence[str], near: np.ndarray, token_budget: int = 8192
) -> tuple[list[sparse.csr_matrix], np.ndarray]:
    """Largest latent, and mean activation, over the tokens that touch bases [near - radius, near + radius).

    near: [sequence, 2] base range. A code of a convolutional dictionary lies on its middle token. Returns one CSR
    [sequence, d_sae] per SAE and acts [sequence, d_model].
    """
    parts: list[list[sparse.csr_matrix]] = [[] for _ in saes]
    means = []
    if not len(sequences):
        nothing = np.zeros((0, adapter.site(site).dim), np.float32)
        return [sparse.csr_matrix((0, sae.config.d_sae), dtype=np.float32) for sae in saes], nothing
    members = forward.of_size(len(sequences), forward.fitting([len(s) for s in sequences], token_budget))
    for some, batch in tqdm(forward.batches(adapter, sequences, members), total=len(members), desc="variants", mininterval=2):
        x, row = adapter.run(batch, [site])[site], some[0] + batch.unit
        inside = (batch.end > near[row, 0]) & (batch.start < near[row, 1])
        rows = torch.from_numpy(np.flatnonzero(inside))
        group = torch.from_numpy(batch.unit[inside].astype(np.int64))
        n = len(some)
        total = torch.zeros(n, x.shape[1]).index_add_(0, group, x[rows].float())
        means.append((total / torch.bincount(group, minlength=n).clamp_min(1)[:, None]).numpy())
        for part, sae in zip(parts, saes, strict=True):
            latents = sae.encode(x.float(), batch.unit)[rows] if sae.config.window else sae.encode(x[rows].float())
            largest = torch.zeros(n, latents.shape[1]).scatter_reduce_(
                0, group[:, None].expand_as(latents), latents, "amax", include_self=True
            )
            part.append(sparse.csr_matrix(largest.numpy()))
    return [sparse.vstack(p, format="csr") for p in parts], np.concatenate(means)


class States(NamedTuple):
    """What a model makes of one allele of each variant, on the tokens near it. latents: of each SAE, the largest activation, CSR
    [variant, d_sae]; acts: the mean activation, [variant, d_model]."""

    latents: list[sparse.csr_matrix]
    acts: np.ndarray


def of_alleles(adapter: Adapter, site: str, saes: Sequence[SAE], table: pd.DataFrame, radius: int) -> tuple[States, States]:
    """The reference's states and the alternative's, of the tokens within `radius` bases of each variant.

    table: offset, ref, alt, ref_sequence, alt_sequence, as `lib.dna.labelled.windows` gives them; alt_offset where it differs.
    """
    states = []
    for allele in ("ref", "alt"):
        offset = table.get(f"{allele}_offset", table["offset"]).to_numpy()
        reach = np.stack([offset - radius, offset + table[allele].astype(str).str.len().to_numpy() + radius], 1)
        states.append(States(*local_states(adapter, site, saes, table[f"{allele}_sequence"].tolist(), reach)))
    return states[0], states[1]


def differences(reference: States, alternative: States) -> tuple[list[sparse.csr_matrix], np.ndarray]:
    """Alternative minus reference, for each SAE's latents (CSR [variant, d_sae]) and the activations [variant, d_model]."""
    latents = [a - r for a, r in zip(alternative.latents, reference.latents, strict=True)]
    return latents, alternative.acts - reference.acts


def summarise(table: pd.DataFrame, change: sparse.csr_matrix, acts_change: np.ndarray) -> pd.DataFrame:
    """Per variant: latent_change (L2 norm), embedding_change (L2 norm), the most lost and most gained latent."""
    dense = change.toarray()
    out = table.drop(columns=["ref_sequence", "alt_sequence"]).copy()
    out["latent_change"] = np.sqrt((dense**2).sum(1))
    out["embedding_change"] = np.sqrt((acts_change**2).sum(1))
    out["lost_latent"], out["lost"] = dense.argmin(1), dense.min(1)
    out["gained_latent"], out["gained"] = dense.argmax(1), dense.max(1)
    return out


def write_differences(path: Path, change: sparse.csr_matrix, table: pd.DataFrame) -> None:
    """Latent changes as CSR: data float32, indices uint32, indptr int64, and the variants' names, row by row."""
    import h5py

    change = change.tocsr()
    change.sort_indices()
    names = [f"{v.contig}:{v.pos + 1}:{v.ref}>{v.alt}" for v in table.itertuples()]
    with h5py.File(path, "w") as f:
        f.attrs["d_sae"] = change.shape[1]
        for name, data in (("data", change.data.astype(np.float32)), ("indices", change.indices.astype(np.uint32)),
                           ("indptr", change.indptr.astype(np.int64)),
                           ("variant", np.array([n.encode() for n in names], dtype="S"))):  # fmt: skip
            f.create_dataset(name, data=data, track_times=False)
