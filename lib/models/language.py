"""How well a model predicts sequence: cross-entropy per token, held out from its own input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lib.genome import sequence as sq
from lib.models.adapter import Adapter


@torch.inference_mode()
def token_losses(
    adapter: Adapter, sequences: Sequence[str], share: float = 0.15, seed: int = 0, token_budget: int = 8192
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cross-entropy (nats) of every kept token, with its sequence number and start offset.

    Masked models: each token is masked exactly once, a random `share` of a sequence's tokens at a time. Causal
    models: predicted from the tokens before it; a sequence's first kept token is left out.
    """
    rng = np.random.default_rng(seed)
    step = max(1, token_budget // max(map(len, sequences)))
    losses, units, starts = [], [], []
    for s in range(0, len(sequences), step):
        batch = adapter.encode(sequences[s : s + step])
        value = torch.full(batch.ids.shape, torch.nan)
        if adapter.family.masked:
            parts = round(1 / share)
            part = torch.from_numpy(rng.integers(0, parts, batch.ids.shape))
            for index in range(parts):
                chosen = (part == index) & batch.keep
                masked = torch.where(chosen, adapter.tokenizer.mask_token_id, batch.ids)
                logits = adapter.logits(replace(batch, ids=masked))[chosen]
                value[chosen] = torch.nn.functional.cross_entropy(logits.float(), batch.ids[chosen], reduction="none")
        else:
            logits = adapter.logits(batch)[:, :-1].transpose(1, 2).float()
            after = torch.nn.functional.cross_entropy(logits, batch.ids[:, 1:], reduction="none")
            predicted = batch.keep[:, 1:] & batch.keep[:, :-1]
            value[:, 1:] = torch.where(predicted, after, torch.nan)
        kept = value[batch.keep].numpy()
        known = np.isfinite(kept)
        losses.append(kept[known])
        units.append(batch.unit[known] + s)
        starts.append(batch.start[known])
    return np.concatenate(losses), np.concatenate(units), np.concatenate(starts)


def markov_losses(train: np.ndarray, test: np.ndarray, order: int = 5, pseudocount: float = 1.0) -> np.ndarray:
    """Cross-entropy (nats) of each base of `test` given the `order` bases before it: the rival that knows k-mers.

    train, test: codes 0-3, no N. The first `order` bases of `test` get NaN. Returns [len(test)].
    """
    if max(train.max(), test.max()) > 3:
        raise ValueError("a Markov model here reads A C G T only, and found N")
    power = 4 ** np.arange(order + 1)[::-1]

    def words(codes: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(codes.astype(np.int64), order + 1) @ power

    counts = np.bincount(words(train), minlength=4 ** (order + 1)).reshape(-1, 4) + pseudocount
    log_p = np.log(counts / counts.sum(1, keepdims=True)).ravel()
    return np.concatenate([np.full(order, np.nan), -log_p[words(test)]])


def site_mask(sites, length: int) -> np.ndarray:
    """True on bases inside any site. sites: table with start and end; returns [length] bool."""
    edge = np.zeros(length + 1, dtype=np.int64)
    np.add.at(edge, sites["start"].to_numpy(), 1)
    np.add.at(edge, sites["end"].to_numpy(), -1)
    return edge.cumsum()[:length] > 0


def planted_knowledge(adapter: Adapter, seed: int, n_bases: int, window_bp: int) -> dict[str, float]:
    """Does a model of simulated DNA know the planted motifs? Losses (nats) on fresh simulated sequence.

    A chance match that scores as high as a planted site counts as a site. Keys: site and background (the model),
    markov_site and markov_background (order 5, fitted on 2 Mb of other fresh sequence), share_in_sites, n (tokens scored).
    """
    from lib.genome import planted

    rng = np.random.default_rng(seed)
    motifs = planted.gut_immune_motifs()
    train, _ = planted.mosaic(2_097_152, motifs, rng)
    codes, _ = planted.mosaic(n_bases // window_bp * window_bp, motifs, rng)
    inside = site_mask(planted.chance_sites(codes, motifs), len(codes))
    texts = [sq.decode(w) for w in codes.reshape(-1, window_bp)]
    loss, unit, start = token_losses(adapter, texts, seed=seed)
    here = inside[unit * window_bp + start]
    markov = markov_losses(train, codes)
    return {
        "site": float(loss[here].mean()), "background": float(loss[~here].mean()),
        "markov_site": float(np.nanmean(markov[inside])), "markov_background": float(np.nanmean(markov[~inside])),
        "share_in_sites": float(inside.mean()), "n": len(loss),
    }  # fmt: skip


def shuffle_knowledge(adapter: Adapter, sequences: Sequence[str], seed: int) -> dict[str, float]:
    """Loss (nats per token) on real sequence against the same sequence dinucleotide-shuffled (tangermeme).

    Keys: real, shuffled, n (tokens of real sequence scored). Sequences must be N-free and of one length.
    """
    from tangermeme.ersatz import dinucleotide_shuffle

    X = torch.from_numpy(sq.one_hot(np.stack([sq.encode(s) for s in sequences]), np.float32))
    mixed = dinucleotide_shuffle(X, n=1, random_state=seed)[:, 0]
    shuffled = [sq.decode(row) for row in mixed.argmax(1).to(torch.uint8).numpy()]
    real, other = token_losses(adapter, sequences, seed=seed)[0], token_losses(adapter, shuffled, seed=seed)[0]
    return {"real": float(real.mean()), "shuffled": float(other.mean()), "n": len(real)}
