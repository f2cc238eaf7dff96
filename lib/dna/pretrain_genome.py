"""What a model of real DNA is trained on: windows of a genome, both strands, without the chromosomes that the study holds out.

Repeats would eat a small model's capacity: an Alu is learned by heart long before a splice site. A base in a repeat counts REPEAT in
the loss: in a stretch of 16-mers that come five times or more in what is trained on, a tandem repeat, or a run of one base.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from transformers import EsmForMaskedLM, EsmTokenizer

from lib.dna import confounders
from lib.dna.pretrain import FIRST_BASE, Batch, masked, spans, token_ids
from lib.dna.reference import Reference
from lib.dna.windows import merged, read_bed
from lib.models import sequence as sq
from lib.models.shuffle import dinucleotide_shuffled
from lib.stage import inputs

CONTEXT = 512  # bases a window
#: Share of bases that are masked, and what one in a repeat counts.
SHARE, REPEAT = 0.15, 0.1
#: Windows of the validation chromosomes on which a report reads the model.
REPORTED = 200


class Genome:
    """Endless batches of windows drawn evenly from some stretches. Reports on others, whose letters no batch holds.

    texts, held_out: sequences, those of at least CONTEXT letters are read. Raises ValueError when none is as long, or when
    letters other than A C G T leave no window whole.
    """

    context = CONTEXT

    def __init__(self, texts: list[str], held_out: list[str], seed: int, about: dict | None = None):
        self.rng = np.random.default_rng(seed)
        stretches = [codes for text in texts if len(codes := sq.encode(text)) >= CONTEXT]
        if not stretches:
            raise ValueError(f"none of {len(texts)} stretches has {CONTEXT} bases, the length of a window")
        counts = confounders.KmerCounts(stretches)
        self.codes, self.repeat = np.concatenate(stretches), np.concatenate([repeats(codes, counts) for codes in stretches])
        self.starts = whole_windows(stretches)
        if not len(self.starts):
            raise ValueError(f"no {CONTEXT} bases in a row are all A, C, G or T")
        self.held_out = _drawn(held_out, counts, np.random.default_rng(seed + 1))
        self.about = (about or {}) | {
            "bases": len(self.codes), "bases_sha256": hashlib.sha256(self.codes.tobytes()).hexdigest(), "masked_share": SHARE,
            "repeat_share": round(float(self.repeat.mean()), 4), "repeat_weight": REPEAT,
        }  # fmt: skip

    def next(self, batch: int, generator: torch.Generator) -> Batch:
        """`batch` windows, each on a strand drawn, [batch, CONTEXT + 2] tokens; apart is what lies in repeats."""
        at = self.rng.choice(self.starts, batch)[:, None] + np.arange(CONTEXT)
        codes, repeat = self.codes[at], self.repeat[at]
        turned = self.rng.random(batch) < 0.5
        codes[turned], repeat[turned] = sq.reverse_complement(codes[turned]), repeat[turned][:, ::-1]
        return corrupt(codes, repeat, generator)

    def told(self, model: EsmForMaskedLM, tokenizer: EsmTokenizer) -> dict[str, float]:
        """Masked loss (nats a base) on stretches that are held out, outside repeats and in them, and outside on the same stretches
        shuffled; NaN where no masked base is."""
        codes, repeat = self.held_out
        texts = [sq.decode(row) for row in codes]
        dealt = np.stack([sq.encode(text) for text in dinucleotide_shuffled(texts, 0)]) if texts else codes
        plain, shuffled = (_losses(model, corrupt(x, repeat, torch.Generator().manual_seed(0))) for x in (codes, dealt))
        return {"held_out": plain[0], "held_out_repeats": plain[1], "held_out_shuffled": shuffled[0]}


def of_study(read: dict, seed: int) -> Genome:
    """The background of a study's front door. read: its parameters; chromosomes to validate and to test on are left out, and
    the model is reported on those to validate on.

    Loci of the study are trained on too: nothing else of the background file is left out. Raises ValueError when all of it is held out,
    and as `Genome` and the readers of the genome and of the BED file say.
    """
    validation, test = read["validation_contigs"], read["test_contigs"]
    texts = stretches(read["study"], read["genome_path"], read["background_path"])
    given, told = ([text for contig, some in texts.items() if (contig in validation) is held for text in some if contig not in test]
                   for held in (False, True))  # fmt: skip
    if not given:
        raise ValueError(
            f"{read['background_path']}: has {', '.join(texts)}, all held out (to validate on {', '.join(validation) or 'none'}, "
            f"to test on {', '.join(test) or 'none'}); wanted a contig to train on"
        )
    print(f"{sum(map(len, given)):,} bases of {len(given)} stretches to train on, {sum(map(len, told)):,} to report on", flush=True)
    return Genome(given, told, seed, {"trained_on": [c for c in texts if c not in (*validation, *test)], "held_out": [*validation, *test]})


def stretches(study: str, genome_path: str, background_path: str) -> dict[str, list[str]]:
    """contig -> sequence of what the background's rows cover, those that overlap as one. Paths as in the study's parameters."""
    genome, texts = Reference(inputs.find(study, genome_path)), {}
    for contig, start, end in merged(read_bed(inputs.find(study, background_path), genome, unique=False)):
        texts.setdefault(contig, []).append(sq.normalise(genome.letters(contig, start, end))[0])
    return texts


def repeats(codes: np.ndarray, counts: confounders.KmerCounts) -> np.ndarray:
    """Which bases lie in a repeat: [length] bool."""
    out = np.zeros(len(codes), dtype=bool)
    for find in (counts.repeats, confounders.simple_repeats, confounders.homopolymers):
        for start, end in find(codes):
            out[start:end] = True
    return out


def whole_windows(stretches: list[np.ndarray]) -> np.ndarray:
    """Where in the stretches, one after another, a window starts that lies in one of them and holds no N: int64."""
    starts, offset = [], 0
    for codes in stretches:
        unknown = np.concatenate([[0], np.cumsum(codes > 3)])
        starts.append(offset + np.flatnonzero(unknown[CONTEXT:] == unknown[:-CONTEXT]))
        offset += len(codes)
    return np.concatenate(starts)


def corrupt(codes: np.ndarray, repeat: np.ndarray, generator: torch.Generator) -> Batch:
    """Spans of a window masked, with the weights of their bases. codes, repeat: [window, base]."""
    ids = torch.from_numpy(token_ids(codes))
    chosen = spans(ids.shape, SHARE, generator) & (ids >= FIRST_BASE)
    inside = torch.from_numpy(np.pad(repeat, ((0, 0), (1, 1))))[chosen]
    how = torch.rand(ids.shape, generator=generator)
    return Batch(masked(ids, chosen, how, generator), ids, chosen, torch.where(inside, REPEAT, 1.0), inside)


def _drawn(texts: list[str], counts: confounders.KmerCounts, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """REPORTED windows, and their repeats: both [window, base]. Repeats are those of what is trained on."""
    stretches = [codes for text in texts if len(codes := sq.encode(text)) >= CONTEXT]
    starts = whole_windows(stretches) if stretches else np.empty(0, np.int64)
    at = rng.choice(starts, min(REPORTED, len(starts)), replace=False)[:, None] + np.arange(CONTEXT)
    if not len(at):
        return np.empty((0, CONTEXT), np.uint8), np.empty((0, CONTEXT), bool)
    return np.concatenate(stretches)[at], np.concatenate([repeats(codes, counts) for codes in stretches])[at]


@torch.inference_mode()
def _losses(model: EsmForMaskedLM, batch: Batch) -> tuple[float, float]:
    """Mean loss outside repeats, and inside; NaN where no base is."""
    if not len(batch.ids):
        return np.nan, np.nan
    parts = [model(batch.inputs[i : i + 32]).logits[batch.chosen[i : i + 32]] for i in range(0, len(batch.ids), 32)]
    each = torch.nn.functional.cross_entropy(torch.cat(parts).float(), batch.ids[batch.chosen], reduction="none")
    return tuple(round(each[rows].mean().item(), 4) for rows in (~batch.apart, batch.apart))
