"""How well a model predicts sequence: cross-entropy per token, held out from its own input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lib import stats
from lib.genome import sequence as sq
from lib.models.adapter import Adapter


@torch.inference_mode()
def token_losses(
    adapter: Adapter, sequences: Sequence[str], share: float = 0.15, seed: int = 0, token_budget: int = 8192, once: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cross-entropy (nats) of every kept token, with its sequence number and start offset.

    Masked models: each token is masked exactly once, a random `share` of a sequence's tokens at a time. Causal
    models: predicted from the tokens before it; a sequence's first kept token is left out. once: of a masked model's
    tokens only the first such share, in one forward.
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
            for index in range(1 if once else parts):
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


def neighbour_losses(train: np.ndarray, test: np.ndarray, side: int = 3, pseudocount: float = 0.5) -> np.ndarray:
    """Cross-entropy (nats) of each base given the `side` bases before and after it, as a masked model sees them.

    train, test: codes 0-3. Bases within `side` of an end get NaN. Returns [len(test)].
    """
    width = 2 * side + 1
    power = 4 ** np.r_[np.arange(width - 1, side, -1), 0, np.arange(side, 0, -1)]  # the middle base counts last

    def words(codes: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(codes.astype(np.int64), width) @ power

    counts = np.bincount(words(train), minlength=4**width).reshape(-1, 4) + pseudocount
    log_p = np.log(counts / counts.sum(1, keepdims=True)).ravel()
    edge = np.full(side, np.nan)
    return np.concatenate([edge, -log_p[words(test)], edge])


def planted_knowledge(adapter: Adapter, seed: int, n_bases: int, window_bp: int) -> dict:
    """Does a model of simulated DNA know the planted motifs? Losses (nats) on fresh simulated sequence.

    A chance match that scores as high as a planted site counts as a site. Returns "losses": means for the model, the
    order-5 and the two-sided Markov models (fitted on 2 Mb of other fresh sequence), inside sites and on background;
    "gaps": name -> Estimate, the difference of window means, bootstrap over windows.
    """
    from lib.genome import planted

    rng = np.random.default_rng(seed)
    motifs = planted.gut_immune_motifs()
    train, _ = planted.mosaic(2_097_152, motifs, rng)
    codes, _ = planted.mosaic(n_bases // window_bp * window_bp, motifs, rng)
    inside = site_mask(planted.chance_sites(codes, motifs), len(codes)).reshape(-1, window_bp)
    texts = [sq.decode(w) for w in codes.reshape(-1, window_bp)]
    loss, unit, start = token_losses(adapter, texts, seed=seed)
    model = np.full(len(codes), np.nan)
    model[unit * window_bp + start] = loss
    rivals = {"model": model, "markov": markov_losses(train, codes), "two_sided": neighbour_losses(train, codes)}
    rivals = {name: values.reshape(-1, window_bp) for name, values in rivals.items()}
    losses = {}
    for name, values in rivals.items():
        prefix = "" if name == "model" else f"{name}_"
        losses |= {f"{prefix}site": float(np.nanmean(values[inside])), f"{prefix}background": float(np.nanmean(values[~inside]))}
    site = {name: _window_means(values, inside) for name, values in rivals.items()}
    gaps = {
        "background minus site (nats)": _paired(_window_means(model.reshape(-1, window_bp), ~inside), site["model"], seed),
        "Markov-5 minus model, in sites (nats)": _paired(site["markov"], site["model"], seed),
        "two-sided Markov minus model, in sites (nats)": _paired(site["two_sided"], site["model"], seed),
    }
    return {"losses": losses | {"share_in_sites": float(inside.mean()), "n_bases": len(codes)}, "gaps": gaps}


def _window_means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over the masked bases of each window, NaN where there are none. values, mask: [window, base]."""
    known = mask & np.isfinite(values)
    return np.where(known, values, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def _paired(first: np.ndarray, second: np.ndarray, seed: int) -> stats.Estimate:
    difference = first - second
    return stats.mean_interval(difference[np.isfinite(difference)], seed=seed)


def shuffle_knowledge(adapter: Adapter, sequences: Sequence[str], seed: int) -> dict:
    """Loss (nats per token) on real sequence against the same sequence dinucleotide-shuffled (tangermeme).

    "losses": real, shuffled; "gaps": the paired difference, bootstrap over sequences. Sequences must be N-free and of
    one length.
    """
    from tangermeme.ersatz import dinucleotide_shuffle

    X = torch.from_numpy(sq.one_hot(np.stack([sq.encode(s) for s in sequences]), np.float32))
    mixed = dinucleotide_shuffle(X, n=1, random_state=seed)[:, 0]
    shuffled = [sq.decode(row) for row in mixed.argmax(1).to(torch.uint8).numpy()]
    means = {}
    for name, texts in (("real", sequences), ("shuffled", shuffled)):
        loss, unit, _ = token_losses(adapter, texts, seed=seed)
        means[name] = np.bincount(unit, loss, len(sequences)) / np.bincount(unit, minlength=len(sequences))
    gap = _paired(means["shuffled"], means["real"], seed)
    losses = {name: float(values.mean()) for name, values in means.items()}
    return {"losses": losses | {"n_sequences": len(sequences)}, "gaps": {"shuffled minus real (nats per token)": gap}}
