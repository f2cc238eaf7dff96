"""What the demo's language model is trained on: simulated sequence with a grammar, masked so that a pair has to be looked for.

The model sees nothing but sequence; where masks fall it is helped. Spans of 1 to 6 bases are masked anywhere, and markers, whose
places the simulation knows, as a whole: half of a masked marker would give away the rest.
"""

from __future__ import annotations

import numpy as np
import torch

from lib.dna import gates, grammar
from lib.dna.pretrain import FIRST_BASE, Batch, masked, read_by, spans, token_ids

CONTEXT = 256  # bases a window; rotary positions leave room for the inserted bases of a haplotype
CHUNK = 1024   # windows simulated at a time
#: Half of the units of the genome that is trained on are functional.
FUNCTIONAL = 0.5


def markers(units, shape: tuple[int, int], rng: np.random.Generator, most: int = 3) -> torch.Tensor:
    """Number of the marker, from 1 in each window, at its tokens and at up to `most` beside it; 0 elsewhere. units: rows of
    `grammar.windows`. int8 [n, base + 2]."""
    out = np.zeros(shape, np.int8)
    for number, row in units[units.marked].groupby("window").cumcount().items():
        window, start = units.at[number, "window"], units.at[number, "marker_start"] + 1
        wider = rng.integers(0, most + 1, 2)
        out[window, max(1, start - wider[0]) : min(shape[1] - 1, start + grammar.MARKER + wider[1])] = row + 1
    return torch.from_numpy(out)


def corrupt(
    ids: torch.Tensor, numbers: torch.Tensor, generator: torch.Generator, share: float = 0.08, whole: float = 0.65
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, the positions to predict, and those of them in a whole marker.

    Spans of 1 to 6 bases cover about `share` of them, masked as by `masked`. Of the markers a share `whole` is masked, all of it.
    """
    chosen = spans(ids.shape, share, generator)
    hidden = torch.rand((len(ids), int(numbers.max()) + 1), generator=generator) < whole
    inside = hidden.gather(1, numbers.long()) & (numbers > 0)
    chosen = (chosen | inside) & (ids >= FIRST_BASE)
    inside &= chosen
    how = torch.rand(ids.shape, generator=generator).masked_fill(inside, 0)
    return masked(ids, chosen, how, generator), chosen, inside


class Windows:
    """Endless batches of fresh windows, simulated CHUNK at a time. Reports the loss in whole markers, and how far the gates are."""

    context = CONTEXT

    def __init__(self, seed: int):
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.grammar = grammar.Grammar(self.rng)
        self.ids, self.numbers, self.cursor = torch.empty(0), torch.empty(0), 0
        self.about = {"simulated": "windows of lib/dna/grammar.py, drawn anew for every batch"}

    def next(self, batch: int, generator: torch.Generator) -> Batch:
        """`batch` windows that no batch before had, [batch, CONTEXT + 2] tokens; apart is what lies in markers that are masked whole."""
        if self.cursor + batch > len(self.ids):
            codes, units = grammar.windows(CHUNK, CONTEXT, self.grammar, FUNCTIONAL, self.rng)
            self.ids, self.cursor = torch.from_numpy(token_ids(codes)), 0
            self.numbers = markers(units, tuple(self.ids.shape), self.rng)
        rows = slice(self.cursor, self.cursor + batch)
        self.cursor += batch
        inputs, chosen, inside = corrupt(self.ids[rows], self.numbers[rows], generator)
        return Batch(inputs, self.ids[rows], chosen, None, inside[chosen])

    def told(self, model, tokenizer) -> dict[str, float]:
        """AUROC of the probe on the best layer, and what breaking the partner takes there, on fresh windows."""
        sites = gates.sample(10_000 + self.seed, 600, CONTEXT)
        best = gates.probed(read_by(model, tokenizer), sites, self.seed, n_boot=1)[1].nlargest(1, "auroc").iloc[0]
        return {"probe_auroc": round(best.auroc, 4), "partner_broken": round(best.lost, 4)}
