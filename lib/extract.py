"""Run a model over units and leave activations, token coordinates and pooled embeddings on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib import store
from lib.models.adapter import Adapter, Encoded
from lib.progress import tqdm


def plan(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Batches of units of like length, each at most `token_budget` tokens with padding. lengths: [unit]."""
    order = np.argsort(lengths, kind="stable")[::-1]
    batches, current = [], []
    for unit in order:
        widest = lengths[current[0]] if current else lengths[unit]
        if current and widest * (len(current) + 1) > token_budget:
            batches.append(np.array(current))
            current = []
        current.append(unit)
    return [*batches, np.array(current)] if current else batches


def _coordinates(encoded: Encoded, unit: int, ref_pos: np.ndarray) -> dict[str, np.ndarray]:
    start, end = encoded.start[encoded.keep], encoded.end[encoded.keep]
    return {
        "unit": np.full(len(start), unit), "index": np.arange(len(start)), "start": start, "end": end,
        "ref_start": ref_pos[start], "ref_end": ref_pos[end - 1] + 1, "token_id": encoded.ids[encoded.keep],
    }  # fmt: skip


def extract(
    adapter: Adapter,
    sequences: Sequence[str],
    ref_pos,
    sites: Sequence[str],
    acts_path: Path,
    pooled_path: Path,
    token_budget: int = 8192,
    attributes: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Fill `acts_path` (store, rows in unit order) and `pooled_path` ("pooled" [unit, site, d_model], float32 means).

    sequences: one a unit. ref_pos: function unit -> reference position of each base. Returns quality control per
    unit: n_tokens, n_special, n_unknown (tokens dropped as unknown), n_bases_covered. Both files are reopened and checked.
    """
    encoded = [adapter.encode_one(s) for s in tqdm(sequences, desc="tokenise", mininterval=2)]
    n_kept = np.array([e.keep.sum() for e in encoded])
    if (n_kept == 0).any():
        raise ValueError(f"unit {int(np.flatnonzero(n_kept == 0)[0])} has no known token: is it all N?")
    first = np.concatenate([[0], np.cumsum(n_kept)])
    dims = {name: adapter.site(name).dim for name in sites}
    store.create(acts_path, dims, int(first[-1]), attributes or {})
    out = store.open_store(acts_path, "r+")
    for unit, e in enumerate(encoded):
        for name, column in _coordinates(e, unit, ref_pos(unit)).items():
            out.tokens[name][first[unit] : first[unit + 1]] = column
    pooled = np.zeros((len(sequences), len(sites), adapter.d_model), dtype=np.float32)
    batches = plan(np.array([len(e.ids) for e in encoded]), token_budget)
    with tqdm(total=int(first[-1]), unit="token", unit_scale=True, desc="extract", mininterval=2) as bar:
        for units in batches:
            batch = adapter.collate([encoded[u] for u in units], units.tolist())
            bounds = np.concatenate([[0], np.cumsum(n_kept[units])])
            for s, (name, x) in enumerate(adapter.run(batch, sites).items()):
                x = x.float().cpu().numpy()
                half = store.to_float16(x, f"{name}, units {units.min()}-{units.max()}")
                for k, unit in enumerate(units):
                    rows = slice(bounds[k], bounds[k + 1])
                    out.acts[name][first[unit] : first[unit + 1]] = half[rows]
                    pooled[unit, s] = x[rows].mean(0)
            bar.update(batch.n_kept)
    for array in (*out.tokens.values(), *out.acts.values()):
        if isinstance(array, np.memmap):
            array.flush()
    store.write_pooled(pooled_path, pooled, list(sites))
    store.open_store(acts_path)
    unknown = [int((e.ids == adapter.tokenizer.unk_token_id).sum()) for e in encoded]
    special = [len(e.ids) - int(e.keep.sum()) - n for e, n in zip(encoded, unknown)]
    covered = [int((e.end - e.start)[e.keep].sum()) for e in encoded]
    return pd.DataFrame({"n_tokens": n_kept, "n_special": special, "n_unknown": unknown, "n_bases_covered": covered})
