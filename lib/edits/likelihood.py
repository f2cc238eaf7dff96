"""The model's own opinion of an edit: how much likelier it finds the alternative than the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from lib.models import forward
from lib.models.adapter import Adapter
from lib.models.tokens import TokenBatch


def log_ratios(adapter: Adapter, table: pd.DataFrame, token_budget: int = 8192) -> np.ndarray:
    """log P(alternative) - log P(reference) in nats, [variant]; all NaN of a model without a language-model head.

    Masked models: the tokens that touch the allele are masked all at once, and what the allele has there is summed. Causal models: all
    tokens of the window. An allele that makes more tokens sums more terms, so indels stand beside indels alone. A sequence whose masked
    input comes again is run once. table: offset, ref, alt, ref_sequence, alt_sequence.
    """
    if not adapter.has_head:
        return np.full(len(table), np.nan)
    offset, length = table["offset"].to_numpy(), np.stack([table[allele].astype(str).str.len() for allele in ("ref", "alt")], 1)
    texts = table[["ref_sequence", "alt_sequence"]].to_numpy().ravel().tolist()  # both alleles of a variant after one another
    reach = np.stack([np.repeat(offset, 2), np.repeat(offset, 2) + length.ravel()], 1)
    total = _sums(adapter, texts, reach, token_budget).reshape(-1, 2)
    return total[:, 1] - total[:, 0]


@torch.inference_mode()
def _sums(adapter: Adapter, texts: list[str], reach: np.ndarray, token_budget: int) -> np.ndarray:
    """Log-probability of the tokens that touch [start, end) of each text, or of all after the first: [text]."""
    out = np.zeros(len(texts))
    if not texts:
        return out
    members = forward.of_size(len(texts), forward.fitting([len(text) for text in texts], token_budget))
    for some, batch in forward.batches(adapter, texts, members):
        if adapter.family.masked:
            row = some[0] + batch.unit
            chosen = torch.zeros(batch.ids.shape, dtype=torch.bool)
            chosen[batch.keep] = torch.from_numpy((batch.end > reach[row, 0]) & (batch.start < reach[row, 1]))
            logits = _logits(adapter, batch, torch.where(chosen, adapter.tokenizer.mask_token_id, batch.ids))
            said, known = torch.log_softmax(logits.float(), -1).gather(2, batch.ids[..., None])[..., 0], chosen
        else:
            logits = torch.log_softmax(adapter.logits(batch)[:, :-1].float(), -1)
            said, known = logits.gather(2, batch.ids[:, 1:, None])[..., 0], batch.keep[:, 1:] & batch.keep[:, :-1]
        out[list(some)] = torch.where(known, said, 0.0).sum(1).double().numpy()
    return out


def _logits(adapter: Adapter, batch: TokenBatch, ids: torch.Tensor) -> torch.Tensor:
    """Logits of a batch with other ids, each row that comes again run once: [row, token, word]."""
    both = torch.cat([ids, batch.mask], 1)
    _, back = torch.unique(both, dim=0, return_inverse=True)
    first = torch.stack([torch.nonzero(back == k)[0, 0] for k in range(int(back.max()) + 1)])
    cut = {name: values[first] for name, values in batch.inputs.items()}
    return adapter.logits(replace(batch, ids=ids[first], mask=batch.mask[first], keep=batch.keep[first], inputs=cut))[back]
