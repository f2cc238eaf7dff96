"""What the model will read: do its windows fit the context, and does the tokenizer know their letters?"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd

from lib.check.study import Study, Unknown
from lib.dna import windows
from lib.dna.checks import fit
from lib.dna.checks.agreement import D
from lib.dna.checks.data import Data
from lib.models import sense
from lib.models.adapter import Adapter

TOKENISED = 600  # windows whose tokens are counted
SEEN = 200  # records that the tokenizer's sense is judged by


def looked_at(study: Study, data: Data | None) -> list[str]:
    """Sequences of the length that the model will read: of the loci and the background, or drawn where data are simulated."""
    if data is None:
        rng = np.random.default_rng(0)
        return ["".join(rng.choice(list("ACGT"), study(D, "window_bp"))) for _ in range(SEEN)]
    chosen = []
    for read in (data.cohort_windows, data.tiles):
        with suppress(Unknown):
            chosen.append(windows.sample_windows(read(), TOKENISED, 0))
    if not chosen:
        raise Unknown
    texts = fit.sequences(pd.concat(chosen), data.genome())
    with suppress(Unknown):
        texts += data.haplotypes().sequences[:TOKENISED]  # an insertion makes a window longer
    return texts


def context(study: Study, data: Data | None, model: Adapter) -> None:
    """Windows against the model's context, with the largest that fits."""
    if model.max_tokens is None:
        return
    tokens = fit.n_tokens(model, looked_at(study, data))
    if tokens.max() > model.max_tokens:
        n = int((tokens > model.max_tokens).sum())
        study.fault(D, "window_bp", f"{study(D, 'window_bp')}: {n} of {len(tokens)} windows looked at become more than "
                    f"{model.max_tokens} tokens, the most {tokens.max()}",
                    f"at most {_largest(study, data, model)} bases, the largest that fits")


def _largest(study: Study, data: Data | None, model: Adapter) -> int:
    if data is None:
        return model.max_tokens - int(fit.n_tokens(model, ["A" * 64])[0] - 64 // getattr(model.tokenizer, "k", 1))
    margin = 1.0 if model.tokenizer.fixed_words else 0.9  # words of many lengths: leave room
    return fit.largest_window(model, data.genome(), data.loci(), min(study(D, "window_bp"), 20_000), margin)


def makes_sense(study: Study, data: Data | None, model: Adapter) -> None:
    """What the tokenizer makes of the records."""
    folder = study(D, "model_path")
    with study.reading(D, "model_path", folder):
        table = sense.token_sense(model, looked_at(study, data)[:: 1 + 3 * TOKENISED // SEEN])
    for row in table[~table.passed].itertuples():
        value = f"{row.found:.3f}" if isinstance(row.found, float) else str(row.found)
        study.fault(D, "model_path", f"{row.finding}: {value}", row.wanted, file=folder)
