"""A cell's genes as tokens: what the single-cell tokenizers share, and one for each way of giving the counts.

`BinTokenizer` (Tahoe-x1) gives a gene its count's bin as a value; `RankTokenizer` (Geneformer) gives it a place in the order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from lib.models.cells import Cell
from lib.models.tokens import Encoded

TARGET_SUM = 10_000


class GeneTokenizer:
    """A vocabulary of genes over cells: what the families' tokenizers share. They add `encode`.

    Tokens keep the gene's place in the cell's row: start is the index into cell.genes, end = start + 1; specials have -1.
    pad_token_id, unk_token_id, mask_token_id as in lib.models.tokens.Tokenizer: a gene outside the vocabulary is no token.
    """

    unk_token_id = None

    def __init__(self, vocabulary: dict[str, int]):
        self.vocabulary = vocabulary
        self.names = {number: name for name, number in vocabulary.items()}
        self.special = np.array(sorted(i for w, i in vocabulary.items() if w.startswith("<")), dtype=np.int32)
        self.pad_token_id, self.mask_token_id = vocabulary.get("<pad>"), vocabulary.get("<mask>")

    def known(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """Places in the row, and vocabulary ids, of the genes that the vocabulary knows. Raises ValueError."""
        ids = np.fromiter((self.vocabulary.get(gene, -1) for gene in cell.genes), dtype=np.int32, count=len(cell))
        place = np.flatnonzero(ids >= 0).astype(np.int32)
        if len(place) == 0:
            raise ValueError(
                f"cell {cell.id}: none of its {len(cell)} genes ({cell.genes[0]}, ...) is in the vocabulary of "
                f"{len(self.vocabulary)}: wanted Ensembl ids of the model's species"
            )
        if len(np.unique(ids[place])) < len(place):
            raise ValueError(f"cell {cell.id}: a gene stands in its row twice")
        return place, ids[place]

    def placed(self, place: np.ndarray, ids: np.ndarray, before: Sequence[int], after: Sequence[int] = ()) -> Encoded:
        """Genes between special tokens, without inputs and columns."""
        keep = np.repeat([False, True, False], [len(before), len(ids), len(after)])
        start = np.full(len(keep), -1, dtype=np.int32)
        start[keep] = place
        end = np.where(keep, start + 1, -1).astype(np.int32)
        return Encoded(np.concatenate([before, ids, after]).astype(np.int32), start, end, keep)

    def words(self, ids: Sequence[int]) -> list[str]:
        """The gene or special that each token stands for."""
        return [self.names[i] for i in ids]

    def source(self, record: Cell, start: int, end: int) -> str:
        """The gene at a token's place in the row."""
        return " ".join(record.genes[start:end])


def quantile_bins(counts: np.ndarray, n_bins: int = 51, right: bool = False) -> np.ndarray:
    """Counts above 0 of one cell as bins 1 to n_bins - 1 of equal share, ties together: int32 [gene].

    Edges are the cell's own quantiles at n_bins - 1 even steps from 0 to 1, linear between counts, in float32 by
    torch.quantile: an edge that falls beside a count by rounding moves it to another bin, so the arithmetic has to be the
    published one. A count's bin is 1 + the number of edges below it (right: the number of edges at or below it).
    Source: tahoebio/tahoe-x1, tahoe_x1/data/collator.py (binning).
    """
    row = torch.from_numpy(np.asarray(counts, dtype=np.float32))
    edges = torch.quantile(row, torch.linspace(0, 1, n_bins - 1, dtype=torch.float32))
    return (torch.bucketize(row, edges, right=right) + (not right)).numpy().astype(np.int32)


class BinTokenizer(GeneTokenizer):
    """<cls>, <drug> if `drugs` are known, then the cell's genes in order of its row, each with its bin as value.

    Bins are over all genes that the vocabulary knows, before any is left out. Inputs: values float32, the bins, pad_value at
    specials; drug int64. Columns: bin int32, count float32.
    """

    def __init__(self, vocabulary: dict[str, int], collator: dict, context: int, drugs: dict[str, int] | None = None):
        super().__init__(vocabulary)
        self.mask_token_id = None  # a gene is hidden by the model's `masked`, never by another id
        self.pad_value, self.context, self.drugs = float(collator["pad_value"]), context, drugs
        self.n_bins, self.right = collator.get("num_bins", 51), collator.get("right_binning", False)

    def encode(self, record: Cell, choose: str = "sample") -> Encoded:
        """Tokens of one cell.

        choose: what a cell with more genes than the context keeps: "sample", a random choice as in training, seeded by the
        cell's id; or "highest", its highest counts, of equal ones those first in the row.
        """
        before = ["<cls>"] if self.drugs is None else ["<cls>", "<drug>"]
        place, ids = self.known(record)
        bins = quantile_bins(record.counts[place], self.n_bins, self.right)
        kept = _choice(record, place, self.context - len(before), choose)
        placed = self.placed(place[kept], ids[kept], [self.vocabulary[w] for w in before])
        special = np.zeros(len(before))
        inputs = {"values": np.concatenate([special + self.pad_value, bins[kept]]).astype(np.float32)}
        if self.drugs is not None:
            inputs["drug"] = np.where(np.arange(len(placed.ids)) == 1, self._drug(record), 0).astype(np.int64)
        columns = {
            "bin": np.concatenate([special, bins[kept]]).astype(np.int32),
            "count": np.concatenate([special, record.counts[place[kept]]]).astype(np.float32),
        }
        return replace(placed, inputs=inputs, columns=columns)

    def _drug(self, cell: Cell) -> int:
        name = cell.drug or "<pad>"
        if name not in self.drugs:
            raise ValueError(f"cell {cell.id}: {name!r} is none of the model's {len(self.drugs)} drugs: '' for an unknown one")
        return self.drugs[name]


def _choice(cell: Cell, place: np.ndarray, room: int, choose: str) -> np.ndarray:
    """Which of the known genes stay: all, or as many as there is room for, in order of the row."""
    if choose not in ("sample", "highest"):
        raise ValueError(f"choose is {choose!r}: wanted 'sample' or 'highest'")
    if len(place) <= room:
        return np.arange(len(place))
    if choose == "highest":
        return np.sort(np.argsort(-cell.counts[place], kind="stable")[:room])
    seed = int.from_bytes(hashlib.sha256(cell.id.encode()).digest()[:8], "little")
    return np.sort(np.random.default_rng(seed).choice(len(place), room, replace=False))


class RankTokenizer(GeneTokenizer):
    """Genes by falling count / (total of the cell) x 10,000 / median of the gene; equal values in order of the row.

    The total is over all genes of the cell, known or not. Genes beyond the context are the lowest, and left out. <cls> and
    <eos> stand around where the dictionary has them (V2). Columns: count float32; rank int32, 0 the highest; value float32,
    what they are ranked by.
    """

    def __init__(self, vocabulary: dict[str, int], medians: dict[str, float], context: int):
        super().__init__(vocabulary)
        self.medians, self.context = medians, context
        both = {"<cls>", "<eos>"} <= set(vocabulary)
        self.before, self.after = ([vocabulary["<cls>"]], [vocabulary["<eos>"]]) if both else ([], [])

    def encode(self, record: Cell) -> Encoded:
        """Tokens of one cell."""
        place, ids = self.known(record)
        median = np.array([self.medians[gene] for gene in record.genes[place]])
        value = record.counts[place].astype(np.float64) / record.counts.sum(dtype=np.float64) * TARGET_SUM / median
        order = np.argsort(-value, kind="stable")[: self.context - len(self.before) - len(self.after)]
        placed = self.placed(place[order], ids[order], self.before, self.after)
        columns = {name: np.zeros(len(placed.ids), dtype=t) for name, t in (("count", "f4"), ("rank", "i4"), ("value", "f4"))}
        columns["count"][placed.keep] = record.counts[place[order]]
        columns["rank"][placed.keep] = np.arange(len(order))
        columns["value"][placed.keep] = value[order]
        return replace(placed, columns=columns)


def coverage(tokenizer: GeneTokenizer, cells: Iterable[Cell], **options) -> pd.DataFrame:
    """What a model reads of each cell, with the options of `encode`.

    Columns: cell; n_genes; n_unknown, genes outside the vocabulary; n_beyond, known genes left out because the context is
    full; count_share, share of the cell's counts that its tokens carry.
    """
    rows = []
    for cell in cells:
        known = len(tokenizer.known(cell)[0])
        encoded = tokenizer.encode(cell, **options)
        held = encoded.start[encoded.keep]
        rows.append((cell.id, len(cell), len(cell) - known, known - len(held), cell.counts[held].sum() / cell.counts.sum()))
    return pd.DataFrame(rows, columns=["cell", "n_genes", "n_unknown", "n_beyond", "count_share"])
