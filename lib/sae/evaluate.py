"""How much a dictionary keeps, on tokens it never saw. Every number here has one written definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from lib.sae.model import SAE


@dataclass(frozen=True)
class Quality:
    """Held-out sums, so that intervals can resample units.

    sse, sst: [unit] float64, squared error and squared deviation from the per-dimension mean over all the tokens.
    n_active: [unit] non-zero latents; n_tokens: [unit]; frequency: [d_sae] share of tokens on which a latent fires.
    """

    sse: np.ndarray
    sst: np.ndarray
    n_active: np.ndarray
    n_tokens: np.ndarray
    frequency: np.ndarray

    @property
    def explained_variance(self) -> float:
        """1 - sum (x - x_hat)^2 / sum (x - mean x)^2: one ratio of two float64 sums."""
        return float(1 - self.sse.sum() / self.sst.sum())

    @property
    def l0(self) -> float:
        """Mean number of non-zero latents a token."""
        return float(self.n_active.sum() / self.n_tokens.sum())

    @property
    def dead_share(self) -> float:
        """Share of latents that never fire on these tokens."""
        return float((self.frequency == 0).mean())


@torch.inference_mode()
def quality(sae: SAE, acts: np.ndarray, rows: np.ndarray, unit: np.ndarray, chunk: int = 16384) -> Quality:
    """Evaluate on acts[rows]. acts: [token, d_in], mapped; unit: [token] unit of each token. Streams in chunks."""
    parts = [rows[s : s + chunk] for s in range(0, len(rows), chunk)]
    mean = sum(np.asarray(acts[p], dtype=np.float64).sum(0) for p in parts) / len(rows)
    units, position = np.unique(unit[rows], return_inverse=True)
    sse, sst, active, fired = np.zeros(len(units)), np.zeros(len(units)), np.zeros(len(units)), 0
    for s, part in zip(range(0, len(rows), chunk), parts, strict=True):
        x = torch.from_numpy(np.asarray(acts[part], dtype=np.float32))
        x_hat, latents = sae(x)
        where = position[s : s + chunk]
        error = (x.double() - x_hat.double()).square().sum(1).numpy()
        spread = ((x.double().numpy() - mean) ** 2).sum(1)
        count = (latents > 0).sum(1).double().numpy()
        for total, value in ((sse, error), (sst, spread), (active, count)):
            total += np.bincount(where, weights=value, minlength=len(units))
        fired = fired + (latents > 0).sum(0).numpy()
    return Quality(sse, sst, active, np.bincount(position, minlength=len(units)), fired / len(rows))


@torch.inference_mode()
def latents_of(sae: SAE, acts: np.ndarray, rows: np.ndarray, chunk: int = 16384) -> sparse.csr_matrix:
    """Latents of acts[rows], sparse: CSR [token, d_sae] float32."""
    parts = []
    for s in range(0, len(rows), chunk):
        x = torch.from_numpy(np.asarray(acts[rows[s : s + chunk]], dtype=np.float32))
        parts.append(sparse.csr_matrix(sae.encode(x).numpy()))
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, sae.config.d_sae), dtype=np.float32)


@torch.inference_mode()
def loss_recovered(sae: SAE, adapter, site: str, sequences: list[str], share: float = 0.15, seed: int = 0) -> dict:
    """(L_mean - L_sae) / (L_mean - L_original): how much of the site's use to the language model the SAE keeps.

    L_mean replaces every token's activation by the mean over these tokens. Masked models: cross-entropy (nats) at
    masked tokens; causal models: next-token cross-entropy. Returns the three losses, the ratio and n tokens.
    """
    from dataclasses import replace

    torch_rng = torch.Generator().manual_seed(seed)
    batch = adapter.encode(sequences)
    target = batch.ids.clone()
    if adapter.family.masked:
        scored = (torch.rand(batch.ids.shape, generator=torch_rng) < share) & batch.keep
        batch = replace(batch, ids=torch.where(scored, adapter.tokenizer.mask_token_id, batch.ids))
    else:
        target = torch.roll(target, -1, dims=1)
        scored = batch.keep & torch.roll(batch.keep, -1, dims=1)
        scored[:, -1] = False

    def loss(logits: torch.Tensor) -> float:
        return torch.nn.functional.cross_entropy(logits[scored].float(), target[scored]).item()

    original = loss(adapter.logits(batch))
    spliced = loss(adapter.replace(batch, site, lambda x: sae(x.float())[0]))
    ablated = loss(adapter.replace(batch, site, lambda x: x.mean(0, keepdim=True).expand_as(x)))
    return {
        "loss_original": original, "loss_sae": spliced, "loss_mean_ablated": ablated,
        "loss_recovered": (ablated - spliced) / (ablated - original), "n_tokens": int(scored.sum()),
    }  # fmt: skip


#: (explained variance at least, L0 at most), fixed before any run.
TARGET, FLOOR = (0.95, 20.0), (0.90, 30.0)


def go_no_go(explained_variance: float, l0: float) -> str:
    """ "go (target)", "go (floor)" or "no-go"."""
    for name, (least, most) in (("go (target)", TARGET), ("go (floor)", FLOOR)):
        if explained_variance >= least and l0 <= most:
            return name
    return "no-go"


def choose_run(sweep) -> str:
    """The run to read, from validation numbers: best verdict first, then the lowest L0 that earns it; without any
    verdict, the highest explained variance among runs with L0 at most 30, or overall."""
    rank = {"go (target)": 0, "go (floor)": 1, "no-go": 2}
    table = sweep.assign(rank=[rank[go_no_go(e, l)] for e, l in zip(sweep["explained_variance"], sweep["l0"], strict=True)])
    best = table[table["rank"] == table["rank"].min()]
    if best["rank"].iloc[0] < 2:
        return best.sort_values("l0", kind="stable")["run"].iloc[0]
    sparse_enough = best[best["l0"] <= FLOOR[1]]
    pool = sparse_enough if len(sparse_enough) else best
    return pool.sort_values("explained_variance", ascending=False, kind="stable")["run"].iloc[0]


def pca_quality(
    acts: np.ndarray, train: np.ndarray, test: np.ndarray, unit: np.ndarray, components: int, seed: int, n_fit: int = 50_000
) -> tuple[np.ndarray, np.ndarray]:
    """The null "PCA": per-unit squared error and squared deviation on test tokens with `components` directions.

    Fitted on at most n_fit training tokens. Returns sse, sst: [test unit] float64.
    """
    pick = np.sort(np.random.default_rng(seed).choice(train, min(n_fit, len(train)), replace=False))
    fit = np.asarray(acts[pick], dtype=np.float64)
    centre = fit.mean(0)
    _, vectors = np.linalg.eigh((fit - centre).T @ (fit - centre))
    basis = vectors[:, ::-1][:, :components]
    units, position = np.unique(unit[test], return_inverse=True)
    sse, sst = np.zeros(len(units)), np.zeros(len(units))
    mean = np.mean([np.asarray(acts[p], dtype=np.float64).mean(0) for p in np.array_split(test, 16)], axis=0)
    for part, where in zip(np.array_split(test, 16), np.array_split(position, 16), strict=True):
        x = np.asarray(acts[part], dtype=np.float64)
        residual = (x - centre) - (x - centre) @ basis @ basis.T
        sse += np.bincount(where, weights=(residual**2).sum(1), minlength=len(units))
        sst += np.bincount(where, weights=((x - mean) ** 2).sum(1), minlength=len(units))
    return sse, sst
