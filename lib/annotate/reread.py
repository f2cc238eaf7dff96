"""Units read again by a model, with the latents on their tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lib.models import forward
from lib.models.adapter import Adapter
from lib.sae.model import SAE


def read_units(
    adapter: Adapter, site: str, sae: SAE, texts: dict[int, str], token_budget: int = 16384
) -> tuple[pd.DataFrame, sparse.csr_matrix]:
    """Latents of some sequences: a table of unit, start, end, one row a kept token, and CSR [token, d_sae] beside it.

    texts: unit number -> sequence. Rows are in the order of the units given, and of the tokens in each.
    """
    units = list(texts)
    encoded = [adapter.encode_one(texts[u]) for u in units]
    n = forward.fitting([len(e.ids) for e in encoded], token_budget)
    parts, table = [], []
    with torch.inference_mode():
        for _, batch in forward.batches(adapter, encoded, forward.of_size(len(units), n)):
            parts.append(sparse.csr_matrix(sae.encode(adapter.run(batch, [site])[site].float(), batch.unit).cpu().numpy()))
    for u, e in zip(units, encoded, strict=True):
        table.append(pd.DataFrame({"unit": u, "start": e.start[e.keep], "end": e.end[e.keep]}))
    return pd.concat(table, ignore_index=True), sparse.vstack(parts, format="csr")


def latents_on(adapter: Adapter, site: str, sae: SAE, texts: list[str], tokens: pd.DataFrame) -> sparse.csr_matrix:
    """Latents of texts[unit] at the tokens wanted: CSR [token, d_sae], rows as in `tokens` (unit, start, end).

    A wanted token that the text has (same unit, start, end) is read as it is. Where the text has other tokens, as a BPE
    tokenizer gives a shuffled text, it gets those of the token on its middle base, and nothing where there is none.
    """
    read_tokens, values = read_units(adapter, site, sae, {int(u): texts[u] for u in pd.unique(tokens["unit"])})
    place = _same_token(tokens, read_tokens)
    other = np.flatnonzero(place < 0)
    place[other] = _middle_token(tokens.iloc[other], read_tokens)
    known = np.flatnonzero(place >= 0)
    pick = sparse.csr_matrix((np.ones(len(known), np.float32), (known, place[known])), shape=(len(tokens), len(read_tokens)))
    return (pick @ values).tocsr()


def _same_token(tokens: pd.DataFrame, read_tokens: pd.DataFrame) -> np.ndarray:
    """Row of `read_tokens` with the same unit, start and end; -1 where there is none. [token]"""
    key = ["unit", "start", "end"]
    rows = read_tokens.assign(row=np.arange(len(read_tokens))).drop_duplicates(key)
    return tokens[key].merge(rows, on=key, how="left")["row"].fillna(-1).to_numpy(dtype=int)


def _middle_token(tokens: pd.DataFrame, read_tokens: pd.DataFrame) -> np.ndarray:
    """Last row of `read_tokens` that holds the middle base; -1 where there is none. [token]"""
    span = int(max(read_tokens["end"].max(), tokens["end"].max() if len(tokens) else 0)) + 1
    order = np.lexsort((read_tokens["start"], read_tokens["unit"]))
    start = (read_tokens["unit"].to_numpy(dtype=np.int64) * span + read_tokens["start"].to_numpy())[order]
    end = (read_tokens["unit"].to_numpy(dtype=np.int64) * span + read_tokens["end"].to_numpy())[order]
    middle = tokens["unit"].to_numpy(dtype=np.int64) * span + (tokens["start"].to_numpy() + tokens["end"].to_numpy()) // 2
    at = np.searchsorted(start, middle, side="right") - 1
    return np.where((at >= 0) & (end[np.maximum(at, 0)] > middle), order[np.maximum(at, 0)], -1)
