"""Rival explanations on the same sequences: in-silico mutagenesis, integrated gradients, attention, latents.

The score of one window is the probe's weight on its mean-pooled layer activations: score(x) = w . mean_t x_t.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.genome import sequence as sq
from lib.models.adapter import Adapter
from lib.models.tokens import TokenBatch


@dataclass(frozen=True)
class Attribution:
    """values: [sequence, length] per base, NaN past a sequence's end; seconds: wall time; delta: convergence error."""

    method: str
    values: np.ndarray
    seconds: float
    delta: np.ndarray | None = None


class WindowScore(nn.Module):
    """One-hot X [batch, 4, length] -> score [batch, 1]: the model up to a site, mean-pooled, times a direction."""

    def __init__(self, adapter: Adapter, site: str, direction: np.ndarray, token_budget: int = 8192):
        super().__init__()
        self.adapter, self.site = adapter, site
        self.token_budget = token_budget
        self.register_buffer("direction", torch.from_numpy(np.asarray(direction, dtype=np.float32)))

    def score(self, sequences: list[str]) -> Tensor:
        """[sequence]; the mean over kept tokens, so padding and special tokens do not count."""
        encoded = [self.adapter.encode_one(s) for s in sequences]
        widest = max(len(e.ids) for e in encoded)
        step = max(1, self.token_budget // widest)
        parts = []
        for s in range(0, len(encoded), step):
            batch = self.adapter.collate(encoded[s : s + step], range(len(encoded[s : s + step])))
            parts.append(pooled_score(self.adapter.run_grid(batch, [self.site])[self.site], batch.keep, self.direction))
        return torch.cat(parts)

    def forward(self, X: Tensor) -> Tensor:
        codes = torch.where(X.sum(1) > 0, X.argmax(1), 4).to(torch.uint8).cpu().numpy()
        texts = [sq.decode(row) for row in codes]
        distinct = list(dict.fromkeys(texts))  # saturation holds the unchanged sequence once a position
        place = {text: i for i, text in enumerate(distinct)}
        return self.score(distinct)[[place[text] for text in texts], None]


def pooled_score(x: Tensor, keep: Tensor, direction: Tensor) -> Tensor:
    """x: [batch, length, d]; keep: [batch, length] -> [batch]."""
    weight = keep.to(x.dtype)
    return ((x @ direction) * weight).sum(1) / weight.sum(1)


def mutagenesis(scorers: list[WindowScore], sequences: list[str], span: int) -> Attribution:
    """Saturation mutagenesis (tangermeme) of the central `span` bases: mean over the three substitutions of
    score(reference) - score(mutant), so a positive base is one the score needs. scorers: one a sequence."""
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    started = time.perf_counter()
    values = np.full((len(sequences), max(map(len, sequences))), np.nan, dtype=np.float32)
    for row, (scorer, text) in enumerate(zip(scorers, sequences, strict=True)):
        X = torch.from_numpy(sq.one_hot(sq.encode(text)[None], np.float32))
        start = max(0, (len(text) - span) // 2)
        end = min(len(text), start + span)
        with torch.inference_mode():
            raw = saturation_mutagenesis(
                scorer, X, start=start, end=end, batch_size=256, raw_outputs=True, device="cpu", fast=False
            )
        # y_hat: [1, 4, span, 1], the sequence itself included, where the change is 0
        change = (raw.y0.reshape(()) - raw.y_hat.reshape(4, end - start)).numpy()
        values[row, start:end] = change.sum(0) / 3
    return Attribution("ISM", values, time.perf_counter() - started)


def integrated_gradients(
    scorers: list[WindowScore], sequences: list[str], n_steps: int = 50
) -> Attribution:
    """LayerIntegratedGradients (captum) on the token embedding; the baseline is <mask>, or unknown without one
    (or where the model rescales by the share of <mask>).

    A token's value is spread evenly over its bases. delta: |sum of values - (score - baseline score)| / |score -
    baseline score|, per sequence.
    """
    from captum.attr import LayerIntegratedGradients

    started = time.perf_counter()
    values = np.full((len(sequences), max(map(len, sequences))), np.nan, dtype=np.float32)
    deltas = np.zeros(len(sequences))
    for row, (scorer, text) in enumerate(zip(scorers, sequences, strict=True)):
        adapter = scorer.adapter
        batch = adapter.encode([text])
        tokenizer = adapter.tokenizer
        # with token_dropout a model rescales its embeddings by the share of <mask>, so a <mask> baseline is off the path
        maskable = adapter.family.masked and not getattr(adapter.model.config, "token_dropout", False)
        blank = tokenizer.mask_token_id if maskable else tokenizer.unk_token_id
        baseline = torch.where(batch.keep, blank, batch.ids)

        def forward(
            ids: Tensor, mask: Tensor, keep: Tensor, scorer: WindowScore = scorer, batch: TokenBatch = batch
        ) -> Tensor:
            from dataclasses import replace

            x = scorer.adapter.run_grid(replace(batch, ids=ids, mask=mask, keep=keep), [scorer.site])[scorer.site]
            return pooled_score(x, keep, scorer.direction)

        method = LayerIntegratedGradients(forward, adapter.embedding)
        given, delta = method.attribute(
            batch.ids, baselines=baseline, additional_forward_args=(batch.mask, batch.keep), n_steps=n_steps,
            method="gausslegendre", internal_batch_size=16, return_convergence_delta=True,
        )  # fmt: skip
        per_token = given.sum(-1)[0].detach().numpy()[batch.keep[0].numpy()]
        values[row, : len(text)] = spread(per_token, batch.start, batch.end, len(text))
        with torch.no_grad():
            whole = forward(batch.ids, batch.mask, batch.keep) - forward(baseline, batch.mask, batch.keep)
        deltas[row] = abs(delta.item()) / max(abs(whole.item()), 1e-12)
    return Attribution("integrated gradients", values, time.perf_counter() - started, deltas)


def attention_rollout(scorers: list[WindowScore], sequences: list[str]) -> Attribution:
    """Attention rollout up to the scored layer (Abnar and Zuidema 2020): 0.5 A + 0.5 I, heads averaged, multiplied
    over blocks, averaged over the kept query tokens; a token's value is spread evenly over its bases."""
    started = time.perf_counter()
    values = np.full((len(sequences), max(map(len, sequences))), np.nan, dtype=np.float32)
    for row, (scorer, text) in enumerate(zip(scorers, sequences, strict=True)):
        batch = scorer.adapter.encode([text])
        weights = scorer.adapter.attentions(batch)[:, 0].mean(1)  # [block, query, key]
        depth = int(scorer.site.rsplit(".", 1)[1]) + 1 if "." in scorer.site else len(weights)
        rollout = torch.eye(weights.shape[-1])
        for block in weights[:depth]:
            rollout = (0.5 * block + 0.5 * torch.eye(len(block))) @ rollout
        keep = batch.keep[0]
        values[row, : len(text)] = spread(rollout[keep].mean(0)[keep].numpy(), batch.start, batch.end, len(text))
    return Attribution("attention rollout", values, time.perf_counter() - started)


def spread(per_token: np.ndarray, start: np.ndarray, end: np.ndarray, length: int) -> np.ndarray:
    """A token's value, divided evenly among its bases: [length]. Bases under no token get 0."""
    out = np.zeros(length, dtype=np.float32)
    width = end - start
    base = np.repeat(start, width) + np.arange(width.sum()) - np.repeat(np.cumsum(width) - width, width)
    out[base] = np.repeat(per_token / np.maximum(width, 1), width)
    return out


def write(path, attributions: list[Attribution], attributes: dict[str, str]) -> None:
    """One HDF5 group a method: values [sequence, length], wall time in seconds, convergence error."""
    import h5py

    with h5py.File(path, "w") as f:
        for key, value in attributes.items():
            f.attrs[key] = value
        for a in attributions:
            group = f.create_group(a.method)
            group.create_dataset("values", data=a.values, track_times=False)
            group.attrs["wall_seconds"] = a.seconds
            if a.delta is not None:
                group.create_dataset("convergence_delta", data=a.delta, track_times=False)


def latent_attribution(scorers: list[WindowScore], sequences: list[str], sae) -> Attribution:
    """What each token's latents add to the score: sum_i f_i (d_i . w) / n tokens, spread evenly over its bases."""
    started = time.perf_counter()
    values = np.full((len(sequences), max(map(len, sequences))), np.nan, dtype=np.float32)
    with torch.inference_mode():
        for row, (scorer, text) in enumerate(zip(scorers, sequences, strict=True)):
            batch = scorer.adapter.encode([text])
            x = scorer.adapter.run(batch, [scorer.site])[scorer.site].float()
            given = sae.encode(x) @ (sae.W_dec @ scorer.direction) / batch.n_kept
            values[row, : len(text)] = spread(given.numpy(), batch.start, batch.end, len(text))
    return Attribution("SAE latents", values, time.perf_counter() - started)


def agreement(attributions: list[Attribution]) -> list[dict]:
    """Rank agreement of two methods: the Spearman correlation of |value| over bases, median over sequences."""
    from scipy.stats import spearmanr

    rows = []
    for i, a in enumerate(attributions):
        for b in attributions[i + 1 :]:
            rho = []
            for u, v in zip(np.abs(a.values), np.abs(b.values), strict=True):
                both = np.isfinite(u) & np.isfinite(v)
                if both.sum() > 2 and u[both].std() > 0 and v[both].std() > 0:
                    rho.append(spearmanr(u[both], v[both]).statistic)
            rows.append({"first": a.method, "second": b.method, "spearman": float(np.median(rho)), "n": len(rho)})
    return rows


def site_overlap(attributions: list[Attribution], windows, sites, n_boot: int, seed: int) -> list[dict]:
    """Does an explanation point at sites? AUROC of |value| per base for lying in a site, mean over windows.

    Only bases that every method explains are used. windows: contig, start, end, one a sequence; sites: contig, start,
    end. Windows all inside or all outside are left out. Returns method, value, low, high (bootstrap over windows),
    n, and null: the same with the site mask rolled by a random offset inside its window.
    """
    from lib import stats

    rows, rng = [], np.random.default_rng(seed)
    common = np.all([np.isfinite(a.values) for a in attributions], axis=0)
    for a in attributions:
        values, null = [], []
        for window, track, known in zip(windows.itertuples(), np.abs(a.values), common, strict=True):
            near = sites[(sites.contig == window.contig) & (sites.end > window.start) & (sites.start < window.end)]
            inside = np.zeros(len(track), dtype=bool)
            for site in near.itertuples():
                inside[max(0, site.start - window.start) : site.end - window.start] = True
            mask = inside[known]
            if 0 < mask.sum() < len(mask):
                values.append(stats.auroc(mask, track[known]))
                null.append(stats.auroc(np.roll(mask, rng.integers(1, len(mask))), track[known]))
        e = stats.mean_interval(np.array(values), n_boot, seed)
        rows.append({"method": a.method, "value": e.value, "low": e.low, "high": e.high, "n": e.n,
                     "null": float(np.mean(null)) if null else np.nan})  # fmt: skip
    return rows
