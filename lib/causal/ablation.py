"""Does the phenotype prediction need a latent? Error-preserving ablation, in closed form for a linear probe.

x' = x + sum_i (f_i* - f_i) d_i keeps the SAE's reconstruction error. f* is the latent's value on the reference
haplotype at the same token ("reference"), zero, the latent's mean, or its value in another person ("resample"). When
the probe reads mean-pooled layer activations linearly, the change of person j's score is
w . sum_i d_i mean_t (f*_i - f_i): no forward pass is needed. d_i is what one code adds to the sum over its unit (`SAE.directions`):
of a convolutional dictionary the sum of its kernel's taps, since a code stands only where its whole window lies in the unit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lib.acts import counterparts
from lib.outcome import probe
from lib.sae import convolution
from lib.sae.model import SAE
from lib.sae.parts import parts
from lib.stats import estimates

MODES = ("reference", "zero", "mean", "resample")


@torch.inference_mode()
def reference_change(sae: SAE, acts: np.ndarray, unit: np.ndarray, counterpart: np.ndarray, chunk: int = 16384) -> np.ndarray:
    """mean over a unit's tokens of f* - f, with f* the reference haplotype's: [unit, d_sae] float32.

    acts: [token, d_in]; unit: [token], sorted; counterpart: [token] from `counterparts.aligned`. Of a convolutional dictionary a
    counterpart's code counts where one may stand in the unit itself.
    """
    n_units = int(unit.max()) + 1
    mean = pooled_latents(sae, acts, unit, chunk)
    target = np.zeros_like(mean)
    window = sae.config.window
    stands = convolution.centres(torch.as_tensor(np.asarray(unit)), window)[:, None] if window else None
    for s in range(0, len(unit), chunk):
        for place, given, pick in parts(sae, acts, counterpart[s : s + chunk], unit, chunk):
            latents = sae.encode(*given)[pick]
            if window:
                latents = latents * stands[s : s + chunk][place]
            _add_by_unit(target, latents.numpy(), unit[s : s + chunk][place])
    change = target / np.bincount(unit, minlength=n_units)[:, None] - mean
    change[np.bincount(unit, weights=counterpart != np.arange(len(unit)), minlength=n_units) == 0] = 0  # not rounding
    return change


@torch.inference_mode()
def pooled_latents(sae: SAE, acts: np.ndarray, unit: np.ndarray, chunk: int = 16384) -> np.ndarray:
    """Mean latent over each unit's tokens: [unit, d_sae] float32."""
    n_units = int(unit.max()) + 1
    total = np.zeros((n_units, sae.config.d_sae), dtype=np.float32)
    for place, given, pick in parts(sae, acts, np.arange(len(unit)), unit, chunk):
        _add_by_unit(total, sae.encode(*given)[pick].numpy(), unit[place])
    return total / np.maximum(np.bincount(unit, minlength=n_units), 1)[:, None]


def _add_by_unit(total: np.ndarray, values: np.ndarray, unit: np.ndarray) -> None:
    low = int(unit.min())
    group = sparse.csr_matrix((np.ones(len(unit), dtype=np.float32), (unit - low, np.arange(len(unit)))))
    total[low : low + group.shape[0]] += group @ values


def person_change(
    reference: np.ndarray, latents: np.ndarray, locus_map: sparse.csr_matrix, n_people: int, mode: str, seed: int
) -> np.ndarray:
    """Mean of f* - f of each person at each locus: [person, locus, latent] float32.

    reference: [unit, latent] from `reference_change`; latents: [unit, latent] from `pooled_latents`. "mean" differs from
    "zero" by the same constant for everybody, which no ranking inside a fold sees. "resample" deals the people out
    anew, all loci of a person together.
    """
    def at_locus(values: np.ndarray) -> np.ndarray:
        return np.asarray(locus_map @ values, dtype=np.float32).reshape(n_people, -1, values.shape[1])

    if mode == "reference":
        return at_locus(reference)
    own = at_locus(latents)
    if mode == "zero":
        return -own
    if mode == "mean":
        return own.mean((0, 1)) - own
    if mode == "resample":
        return own[np.random.default_rng(seed).permutation(n_people)] - own
    raise ValueError(f"mode {mode!r}: wanted one of {', '.join(MODES)}")


def change_at(
    sae: SAE, acts: np.ndarray, tokens: dict[str, np.ndarray], units: pd.DataFrame, locus_map: sparse.csr_matrix,
    n_people: int, mode: str = "reference", seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Mean of f* - f of each person, locus and latent: [person, locus, latent] float32, see `person_change`.

    acts: [token, d_in] of the store's tokens; units and tokens as in `counterparts.aligned`; locus_map: [person x locus, unit].
    """
    reference = reference_change(sae, acts, tokens["unit"], counterparts.aligned(tokens, units))
    latents = pooled_latents(sae, acts, tokens["unit"]) if mode != "reference" else reference
    return person_change(reference, latents, locus_map, n_people, mode, seed)


def score_change(change: np.ndarray, decoder: np.ndarray, probes: list[probe.Probe], folds: np.ndarray) -> np.ndarray:
    """Change of each person's out-of-fold score when each latent is ablated alone: [latent, person] float64; of a probe of
    classes [latent, class, person].

    change: [person, locus, latent] from `person_change`; decoder: SAE.directions [latent, d_in]; probes: one a fold, in fold
    order. Centred by the fold's training people, as `probe.cross_validate` centres the scores: a change that moves
    everybody alike must not set the folds apart. With one fold for all, nothing is centred.
    """
    n_people, n_loci, _ = change.shape
    total = change.sum(0, dtype=np.float64)
    out = np.zeros((len(np.atleast_2d(probes[0].coef)), change.shape[2], n_people), dtype=np.float64)
    for fold, fitted in zip(np.unique(folds), probes, strict=True):
        rows = folds == fold
        centre = (total - change[rows].sum(0, dtype=np.float64)) / max((~rows).sum(), 1)  # of the training people
        for moved, coef in zip(out, np.atleast_2d(fitted.coef)):
            reads = coef.reshape(n_loci, -1) @ decoder.T  # [locus, latent]: the probe's weight along each decoder row
            moved[:, rows] = np.einsum("plk,lk->kp", change[rows], reads, optimize=True) - np.einsum("lk,lk->k", centre, reads)[:, None]
    return out[0] if probes[0].coef.ndim == 1 else out.transpose(1, 0, 2)


def repeated_change(change: np.ndarray, decoder: np.ndarray, probes: list[list[probe.Probe]], folds: np.ndarray) -> np.ndarray:
    """`score_change` of every repeat: [repeat, latent, person] float32, or [repeat, latent, class, person].

    probes: a list of folds a repeat; folds: [repeat, person].
    """
    return np.stack([score_change(change, decoder, fitted, f).astype(np.float32) for fitted, f in zip(probes, folds, strict=True)])


def causal_match(drop: np.ndarray, motif: np.ndarray, causal: list[str], n: int, seed: int) -> dict[str, float]:
    """Do latents of causal motifs cost more than latents of other motifs? AUROC of `drop`, permuting motifs.

    drop, motif: [latent]. Which motifs are causal is dealt out anew `n` times; p is one-sided. Returns auroc, low, high (95 % over n
    draws in which the motifs of either side are resampled, each with all its latents), p, null_95 and n (latents); NaN and p = 1 when
    one side is empty, low and high NaN when one has a single motif.
    """
    rng = np.random.default_rng(seed)
    motifs = np.unique(motif)
    member = np.isin(motif, causal)
    k = int(np.isin(motifs, causal).sum())
    if not 0 < member.sum() < len(member):
        return {"auroc": np.nan, "low": np.nan, "high": np.nan, "p": 1.0, "null_95": np.nan, "n": len(drop)}
    observed = float(estimates.auroc(member, drop))
    null = np.array([estimates.auroc(np.isin(motif, rng.choice(motifs, k, replace=False)), drop) for _ in range(n)])
    p = (1 + (null >= observed).sum()) / (1 + n)
    low, high = _over_motifs(drop, motif, member, n, rng)
    return {"auroc": observed, "low": low, "high": high, "p": float(p), "null_95": float(np.quantile(null, 0.95)), "n": len(drop)}


def _over_motifs(drop: np.ndarray, motif: np.ndarray, member: np.ndarray, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the AUROC of members over n draws of whole motifs, as many as there are on either side."""
    sides = [[np.flatnonzero(motif == name) for name in np.unique(motif[side])] for side in (member, ~member)]
    if min(map(len, sides)) < 2:
        return np.nan, np.nan
    drawn = []
    for _ in range(n):
        rows = np.concatenate([side[i] for side in sides for i in rng.integers(0, len(side), len(side))])
        drawn.append(estimates.auroc(member[rows], drop[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
