"""Does a model know DNA? Its loss beside Markov models, planted sites and shuffled sequence."""

from __future__ import annotations

import numpy as np

from lib.models import sequence as sq
from lib.models.adapter import Adapter
from lib.models.language import paired, token_losses


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
    from lib.dna import planted

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
        "background minus site (nats)": paired(_window_means(model.reshape(-1, window_bp), ~inside), site["model"], seed),
        "Markov-5 minus model, in sites (nats)": paired(site["markov"], site["model"], seed),
        "two-sided Markov minus model, in sites (nats)": paired(site["two_sided"], site["model"], seed),
    }
    return {"losses": losses | {"share_in_sites": float(inside.mean()), "n_bases": len(codes)}, "gaps": gaps}


def _window_means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over the masked bases of each window, NaN where there are none. values, mask: [window, base]."""
    known = mask & np.isfinite(values)
    return np.where(known, values, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
