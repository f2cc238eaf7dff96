"""What a probe of a later site loses when a latent is patched: exactly, and by attribution patching.

The SAE sits at one site of the residual stream and the probe reads a later one: score(u) = w . mean_t x_t there. The
forward restarts from the SAE's site, so one run up to it serves every latent. The SAE's error is kept throughout:
x' = x + (f* - f) d, where f* is what a `Target` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lib.acts import counterparts
from lib.models import forward
from lib.models.adapter import Adapter
from lib.models.tokens import Encoded, TokenBatch
from lib.sae import convolution
from lib.sae.model import SAE
from lib.sae.parts import encode_all
from lib.stats import estimates


@dataclass(frozen=True)
class Clean:
    """Records run once up to a site. encoded: one a unit; grids: their activations there, specials included, [length, d]."""

    site: str
    encoded: list[Encoded]
    grids: list[Tensor]

    @property
    def acts(self) -> Tensor:
        """The kept tokens' activations, in unit order: [token, d] float32."""
        return torch.cat(
            [x[torch.from_numpy(e.keep)] for x, e in zip(self.grids, self.encoded, strict=True)]
        ).float()

    @property
    def first(self) -> np.ndarray:
        """The row of each unit's first kept token, and the number of rows: [unit + 1]."""
        return np.concatenate([[0], np.cumsum([e.keep.sum() for e in self.encoded])])

    @property
    def unit(self) -> np.ndarray:
        """The number of each kept token's unit: [token]."""
        return np.repeat(np.arange(len(self.encoded)), np.diff(self.first))


@dataclass(frozen=True)
class Target:
    """What latents and the SAE's error are set to: their values at token row [token], or constants [d_sae] and [d]."""

    row: np.ndarray | None = None
    latents: Tensor | None = None
    error: Tensor | None = None


def sample_units(units: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """At most n units that are not the reference, drawn at random, and the reference units of their windows; by unit.

    units: unit, window, is_reference. Where nobody differs from the reference, it alone: the first n units' windows.
    """
    others = units[~units["is_reference"]]
    pool = others.sample(min(n, len(others)), random_state=seed)
    windows = pool["window"] if len(pool) else units["window"].head(n)
    return pd.concat([pool, units[units["is_reference"] & units["window"].isin(windows)]]).sort_values("unit")


def tokens_of(tokens: dict[str, np.ndarray], part: pd.DataFrame) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The tokens (unit, ref_start) of some units and these units, both numbered anew from 0 in the order of `part`."""
    starts = [tokens["ref_start"][tokens["unit"] == u] for u in part["unit"]]
    unit = np.repeat(np.arange(len(part)), [len(s) for s in starts])
    return {"unit": unit, "ref_start": np.concatenate(starts)}, part.assign(unit=np.arange(len(part)))


def reference_target(tokens: dict[str, np.ndarray], units: pd.DataFrame) -> Target:
    """The reference haplotype's token over the same base; tables as in `counterparts.aligned`."""
    return Target(counterparts.aligned(tokens, units))


def resample_target(tokens: dict[str, np.ndarray], units: pd.DataFrame, seed: int) -> Target:
    """The token over the same base of another unit of the window, drawn at random once a unit.

    Raises ValueError for a window of one unit.
    """
    rng = np.random.default_rng(seed)
    partner = np.zeros(len(units), dtype=np.int64)
    for window, group in units.groupby("window")["unit"]:
        members = rng.permutation(group.to_numpy())
        if len(members) < 2:
            raise ValueError(f"window {window} has one unit: resampling needs another one")
        partner[members] = np.roll(members, 1)
    unit, start = np.asarray(tokens["unit"]), np.asarray(tokens["ref_start"])
    first = np.searchsorted(unit, np.arange(len(units) + 1))
    row = np.empty(len(unit), dtype=np.int64)
    for u, p in enumerate(partner):
        theirs = start[first[p] : first[p + 1]]
        place = np.searchsorted(theirs, start[first[u] : first[u + 1]], side="right") - 1
        row[first[u] : first[u + 1]] = first[p] + np.clip(place, 0, len(theirs) - 1)
    return Target(row)


def zero_target(sae: SAE) -> Target:
    """No latent and no error: what is left is the SAE's bias."""
    return Target(latents=torch.zeros(sae.config.d_sae), error=torch.zeros(sae.config.d_in))


@torch.no_grad()
def mean_target(sae: SAE, acts: Tensor) -> Target:
    """The mean latents and the mean error over the training people's tokens. acts: [token, d]."""
    if sae.config.window:
        raise ValueError("patching to a mean has no convolutional form: a code at every token is no code of this dictionary")
    latents = sae.encode(acts).mean(0)
    return Target(latents=latents, error=acts.mean(0) - sae.decode(latents[None])[0])


@torch.no_grad()
def run_clean(adapter: Adapter, records: Sequence, site: str, token_budget: int = 8192) -> Clean:
    """Run records up to a site of the residual stream."""
    encoded, grids = [adapter.encode_one(r) for r in records], []
    for chunk, batch in forward.batches(adapter, encoded, forward.consecutive(encoded, token_budget)):
        x = adapter.run_grid(batch, [site])[site].cpu()
        grids += [row[: len(encoded[u].ids)] for u, row in zip(chunk, x, strict=True)]
    return Clean(site, encoded, grids)


def grid(adapter: Adapter, clean: Clean, units: Sequence[int]) -> tuple[TokenBatch, Tensor]:
    """The batch of some units and what stands at the clean runs' site: [batch, length, d]."""
    batch = adapter.collate([clean.encoded[u] for u in units], units)
    return batch, pad_sequence([clean.grids[u] for u in units], batch_first=True).to(adapter.device)


def downstream(adapter: Adapter, batch: TokenBatch, x: Tensor, site_from: str, site_to: str) -> Tensor:
    """Activations at a later site (or the same), restarting from x at `site_from`; both [batch, length, d].

    Keeps gradients if enabled. Raises ValueError when `site_to` comes before `site_from`.
    """
    check_order(adapter, site_from, site_to)
    with adapter.restart(site_from, x):
        return adapter.run_grid(batch, [site_to])[site_to]


def check_order(adapter: Adapter, site_from: str, site_to: str) -> None:
    """Raise ValueError for a site that a restarted forward no longer reaches."""
    order = [s.name for s in adapter.sites()]
    if order.index(adapter.site(site_to).name) < order.index(adapter.site(site_from).name):
        raise ValueError(f"site_to {site_to!r} comes before site_from {site_from!r}")


def pooled(y: Tensor, keep: Tensor, w: Tensor) -> Tensor:
    """w . mean over kept tokens: y [batch, length, d], w [batch, d] -> [batch]."""
    weight = keep.to(y.dtype)
    return (torch.einsum("bld,bd->bl", y, w.to(y)) * weight).sum(1) / weight.sum(1)


def probe_rows(w: np.ndarray, n_units: int, d: int) -> Tensor:
    """The probe of each unit, [unit, d], from one for all, [d], or one each. Raises ValueError for another shape."""
    w = torch.as_tensor(np.asarray(w, dtype=np.float32))
    if w.shape not in ((d,), (n_units, d)):
        raise ValueError(f"w has shape {tuple(w.shape)}: wanted {(d,)} or {(n_units, d)}")
    return w.expand(n_units, d)


@torch.inference_mode()
def exact_change(
    adapter: Adapter, sae: SAE, clean: Clean, site_to: str, w: np.ndarray, latents: np.ndarray, target: Target,
    units: np.ndarray | None = None, token_budget: int = 8192,
) -> np.ndarray:  # fmt: skip
    """Change of each unit's score when one latent alone is set to its target at every token: [unit, latent].

    clean: at the SAE's site; latents: those to patch; units: those to score, all where None (the others still serve as
    targets); w: [d] or [unit, d], the probe of each scored unit. One forward from the SAE's site for each pair of unit
    and latent in which a token moves; the other pairs are exactly 0. Raises ValueError for shapes that do not fit.
    """
    units = np.arange(len(clean.encoded)) if units is None else np.asarray(units)
    w = probe_rows(w, len(units), sae.config.d_in)
    latents = torch.as_tensor(latents)
    moves = _moves(sae, clean, target, latents)
    moves = [
        moves[s:e] for s, e in zip(clean.first[units], clean.first[units + 1])
    ]  # a unit: [token, latent]

    def scores(pairs: np.ndarray) -> np.ndarray:
        """After each edit: pairs of (row of units, column of latents), column -1 for none."""
        out = []
        for c in forward.consecutive([clean.encoded[units[u]] for u, _ in pairs], token_budget):
            batch, x = grid(adapter, clean, units[pairs[c, 0]])
            edits = [_edit(sae, moves[u][:, i], latents[i]) * (i >= 0) for u, i in pairs[c]]
            x[batch.keep] += torch.cat(edits).to(x)
            y = downstream(adapter, batch, x, clean.site, site_to)
            out.append(pooled(y, batch.keep, w[pairs[c, 0]]).double().cpu().numpy())
        return np.concatenate(out)

    change = np.zeros((len(units), len(latents)))
    pairs = np.argwhere(np.stack([(m != 0).any(0).numpy() for m in moves]))
    if len(pairs):
        base = scores(np.stack([np.arange(len(units)), np.full(len(units), -1)], 1))
        change[*pairs.T] = scores(pairs) - base[pairs[:, 0]]
    return change


def _moves(sae: SAE, clean: Clean, target: Target, latents: Tensor) -> Tensor:
    """f* - f: [token, latent]; of a convolutional dictionary where a code may stand."""
    f = encode_all(sae, clean.acts, clean.unit, latents)
    moves = target.latents[latents] - f if target.row is None else f[_rows(target, len(f))] - f
    return moves * _stands(sae, clean.unit) if sae.config.window else moves


def _edit(sae: SAE, move: Tensor, latent: Tensor) -> Tensor:
    """What a change of one latent adds to each token of a unit: [token] -> [token, d]."""
    if not sae.config.window:
        return move[:, None] * sae.W_dec[latent]
    at = convolution.centres(torch.zeros(len(move)), sae.config.window)
    return convolution.spread(move[:, None], sae.W_dec[latent][None], sae.config.window, at)


def _stands(sae: SAE, unit: np.ndarray) -> Tensor:
    return convolution.centres(torch.from_numpy(unit), sae.config.window)[:, None]


def _rows(target: Target, n_tokens: int) -> Tensor:
    if len(target.row) != n_tokens:
        raise ValueError(
            f"the target has {len(target.row)} rows: wanted one for each of {n_tokens} kept tokens"
        )
    return torch.from_numpy(target.row)


def attribution_change(
    adapter: Adapter, sae: SAE, clean: Clean, site_to: str, w: np.ndarray, target: Target,
    units: np.ndarray | None = None, n_steps: int = 10, token_budget: int = 8192,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Attribution patching with integrated gradients: [unit, d_sae] for the latents and [unit] for the SAE's error.

    sum_t (f* - f) . g, g the score's gradient averaged over f(a) = (1 - a) f + a f* and the same path of the error e, at
    a = 0, 1/n, ..., (n - 1)/n; n_steps = 1 is plain attribution patching. As x = f W_dec + b_dec + e, one gradient by x
    a step gives all: W_dec g by latents, g by the error. Latents and error sum to score(x*) - score(x) as n grows.
    Arguments as in `exact_change`.
    Source: Marks et al. 2024 (sparse feature circuits), saprmarks/feature-circuits, attribution.py (_pe_ig).
    """
    units = np.arange(len(clean.encoded)) if units is None else np.asarray(units)
    w = probe_rows(w, len(units), sae.config.d_in)
    acts, latents, error = clean.acts, [], []
    codes = encode_all(sae, acts, clean.unit).detach() if sae.config.window else None
    for c in forward.consecutive([clean.encoded[u] for u in units], token_budget):
        batch, x = grid(adapter, clean, units[c])
        token = torch.cat([torch.arange(*clean.first[u : u + 2]) for u in units[c]])
        with torch.no_grad():
            f, (f_to, x_to) = _coded(sae, acts, token, codes), _patched(sae, acts, target, token, codes)
        g = _mean_gradient(adapter, batch, x, x_to, clean.site, site_to, w[c], n_steps).cpu()
        with torch.no_grad():
            move, of_token = f_to - f, clean.unit[token.numpy()]
            by_latent = move * _reads(sae, g, of_token)
            by_error = ((x_to - acts[token] - sae.added(move, of_token)) * g).sum(1)
        lengths = batch.keep.sum(1).tolist()
        latents += [v.double().sum(0) for v in by_latent.split(lengths)]
        error += [v.double().sum() for v in by_error.split(lengths)]
    return torch.stack(latents).numpy(), torch.stack(error).numpy()


def _patched(sae: SAE, acts: Tensor, target: Target, token: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Target latents and activations of some tokens: [token, d_sae], [token, d]."""
    if target.row is not None:
        rows = _rows(target, len(acts))[token]
        return _coded(sae, acts, rows, codes), acts[rows]
    f = target.latents.expand(len(token), -1)
    return f, sae.decode(f) + target.error


def _coded(sae: SAE, acts: Tensor, rows: Tensor, codes: Tensor | None) -> Tensor:
    """Latents of some tokens; from those of all, where a window of tokens makes them."""
    return sae.encode(acts[rows]) if codes is None else codes[rows]


def _reads(sae: SAE, g: Tensor, unit: np.ndarray) -> Tensor:
    """The score's gradient by each latent, from that by the activations: [token, d] -> [token, d_sae]."""
    if not sae.config.window:
        return g @ sae.W_dec.T
    at = convolution.centres(torch.from_numpy(unit), sae.config.window)
    return convolution.correlate(g, sae.W_dec, sae.config.window, at)


def _mean_gradient(
    adapter: Adapter, batch: TokenBatch, x: Tensor, x_to: Tensor, site_from: str, site_to: str, w: Tensor, n_steps: int
) -> Tensor:  # fmt: skip
    """The score's gradient by the kept tokens' activations, averaged on the way from x to x_to: [kept, d]."""
    total, step = 0.0, (x_to.to(x) - x[batch.keep]) / n_steps
    for k in range(n_steps):
        moved = x.index_put((batch.keep,), x[batch.keep] + k * step).requires_grad_()
        score = pooled(downstream(adapter, batch, moved, site_from, site_to), batch.keep, w)
        total = (
            total + torch.autograd.grad(score.sum(), moved)[0][batch.keep].float()
        )  # a unit's score is its own
    return total / n_steps


def top_latents(attributed: np.ndarray, n: int = 200) -> np.ndarray:
    """The latents of largest |mean attribution over units|, at most n, none that is 0. attributed: [unit, latent]."""
    size = np.abs(attributed.mean(0))
    return np.argsort(-size, kind="stable")[: min(n, int((size > 0).sum()))]


@dataclass(frozen=True)
class Check:
    """spearman: with its interval over latents; trusted: whether its value reaches the threshold."""

    spearman: estimates.Estimate
    trusted: bool


def check(
    attributed: np.ndarray, exact: np.ndarray, threshold: float = 0.8, n_boot: int = 2000, seed: int = 0
) -> Check:
    """Does attribution rank latents as exact patching does? Both [unit, latent], over the same latents, the top 200.

    Spearman's correlation over latents of the two means over units; bootstrap over latents. With fewer than 3 latents
    there is no rank correlation: NOTHING but their number, and no trust.
    Raises ValueError for unlike shapes.
    """
    if attributed.shape != exact.shape:
        raise ValueError(
            f"attributed is {attributed.shape}, exact {exact.shape}: wanted the same units and latents"
        )
    n = exact.shape[1]
    if n < 3:
        return Check(estimates.NOTHING._replace(n=n), False)
    a, b = attributed.mean(0), exact.mean(0)
    pick = np.random.default_rng(seed).integers(0, n, (n_boot, n))
    value = float(_spearman(a[None], b[None])[0])
    low, high = np.nanquantile(_spearman(a[pick], b[pick]), [0.025, 0.975])
    return Check(estimates.Estimate(value, float(low), float(high), n), value >= threshold)


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By row: [row, n], [row, n] -> [row]; NaN where a row is constant."""
    a, b = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (a, b))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
