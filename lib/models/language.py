"""How well a model predicts sequence: cross-entropy per token, held out from its own input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from lib.models import forward
from lib.models.adapter import Adapter
from lib.models.shuffle import dinucleotide_shuffled
from lib.stats import estimates


@torch.inference_mode()
def token_losses(
    adapter: Adapter, sequences: Sequence[str], share: float = 0.15, seed: int = 0, token_budget: int = 8192, once: bool = False,
    apart: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cross-entropy (nats) of every kept token, with its sequence number and start offset.

    Masked models: each token is masked exactly once, a random `share` of a sequence's tokens at a time. Causal
    models: predicted from the tokens before it; a sequence's first kept token is left out. once: of a masked model's
    tokens only the first such share, in one forward. apart: a share is not drawn, its tokens lie 1 / share tokens apart, so that
    each has its neighbours.
    """
    rng = np.random.default_rng(seed)
    members = forward.of_size(len(sequences), forward.fitting([len(s) for s in sequences], token_budget))
    losses, units, starts = [], [], []
    for some, batch in forward.batches(adapter, sequences, members):
        value = torch.full(batch.ids.shape, torch.nan)
        if adapter.family.masked:
            parts = round(1 / share)
            place = torch.arange(batch.ids.shape[1]).expand(batch.ids.shape)
            part = place % parts if apart else torch.from_numpy(rng.integers(0, parts, batch.ids.shape))
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
        units.append(batch.unit[known] + some[0])
        starts.append(batch.start[known])
    return np.concatenate(losses), np.concatenate(units), np.concatenate(starts)


def paired(first: np.ndarray, second: np.ndarray, seed: int) -> estimates.Estimate:
    """Mean of the paired difference of two losses, those that both have, with its bootstrap interval."""
    difference = first - second
    return estimates.mean_interval(difference[np.isfinite(difference)], seed=seed)


def shuffle_knowledge(
    adapter: Adapter, sequences: Sequence[str], seed: int, shuffled: Callable[[Sequence[str], int], list[str]] = dinucleotide_shuffled
) -> dict:  # fmt: skip
    """Loss (nats per token) on real sequence against the same sequence shuffled, by default with its dinucleotides kept.

    "losses": real, shuffled; "gaps": the paired difference, bootstrap over sequences. shuffled: (sequences, seed) -> as many;
    the default wants them N-free and of one length.
    """
    means = {}
    for name, texts in (("real", sequences), ("shuffled", shuffled(sequences, seed))):
        loss, unit, _ = token_losses(adapter, texts, seed=seed)
        means[name] = np.bincount(unit, loss, len(sequences)) / np.bincount(unit, minlength=len(sequences))
    gap = paired(means["shuffled"], means["real"], seed)
    losses = {name: float(values.mean()) for name, values in means.items()}
    return {"losses": losses | {"n_sequences": len(sequences)}, "gaps": {GAP: gap}}


#: What a model's knowledge of real sequence is measured by.
GAP = "shuffled minus real (nats per token)"
#: Columns of knowledge.csv: a row a measurement. rule: "above", "at least" or "at most" the bound, "" for what nothing is asked of.
KNOWLEDGE = ["name", "value", "low", "high", "n", "rule", "bound"]


def knowledge_rows(known: dict | None) -> pd.DataFrame:
    """`shuffle_knowledge` as rows of KNOWLEDGE: both losses, and the gap, which has to lie above 0. None: of a model without a head."""
    losses = known["losses"] if known else {"real": np.nan, "shuffled": np.nan, "n_sequences": 0}
    rows = [(name, losses[name], np.nan, np.nan, losses["n_sequences"], "", np.nan) for name in ("real", "shuffled")]
    rows.append((GAP, *(known["gaps"][GAP] if known else estimates.NOTHING), "above", 0.0))
    return pd.DataFrame(rows, columns=KNOWLEDGE)


def holds(row: pd.Series) -> tuple[bool, str]:
    """Whether a row of KNOWLEDGE keeps its rule by its interval, or by its value where it has none; and that rule in words."""
    known = np.isfinite(row["low"])
    low, high, what = (row["low"], row["high"], "the interval lies") if known else (row["value"], row["value"], "the value lies")
    kept = {"above": low > row["bound"], "at least": low >= row["bound"], "at most": high <= row["bound"]}[row["rule"]]
    words = {"above": "above", "at least": "at or above", "at most": "at or below"}[row["rule"]]
    return bool(kept), f"{what} {words} {row['bound']:.2f}"
