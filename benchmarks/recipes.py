"""Do whitened or reduced input, and the optional terms, make a better dictionary? On validation of a study that has run up to 03.

    OMP_WAIT_POLICY=PASSIVE PYTHONPATH=. python benchmarks/recipes.py demo

Writes nothing; `recipes.md` holds what it printed. The chosen run of 03, with each change alone, 800 steps, two seeds.
A TopK cannot be folded, see `whiten.folded`. About ten minutes on two cores.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from benchmarks import whiten
from lib.acts import counterparts, store
from lib.corpus import corpus as corpora
from lib.corpus import splits
from lib.models import adapter
from lib.sae import coactivity, data, differences, evaluate
from lib.sae.stack import Run
from lib.sae.train import TrainConfig, train
from lib.stage import io
from lib.stats import estimates

STEPS, BATCH, SEED = 800, 1024, 0
#: name -> components (a share of d_in) and power of the input.
INPUTS = {"raw": (0.0, 0.0), "whitened": (1.0, 1.0), "half whitened": (1.0, 0.5), "half of the components": (0.5, 0.0),
          "half of them, whitened": (0.5, 1.0)}  # fmt: skip
#: Terms on raw input, in pairs of neighbouring tokens, with the same without a term beside them.
TERMS = {"pairs of tokens": {}, "decorrelation 0.1": {"decorrelation": 0.1}, "decorrelation 1": {"decorrelation": 1.0},
         "smoothness 0.001": {"smoothness": 0.001}, "smoothness 0.01": {"smoothness": 0.01}}  # fmt: skip


def main(study: str) -> None:
    """Print a row a recipe."""
    corpus, chosen = corpora.load(study), io.read_json(study, "03_sae_training", "chosen.json")
    site, path = chosen["site"], io.stage_path(study, "01_extraction", "activations.h5")
    acts, units = store.open_store(path), io.read_table(study, "01_extraction", "units")
    x, unit = acts.acts[site], acts.tokens["unit"]
    split = splits.split_rows(units, unit, corpus.split["validation"], corpus.split["test"])
    settings = io.read_json(study, "03_sae_training", f"{site}/{chosen['run']}/settings.json")
    if settings["architecture"] in ("topk", "convolutional"):
        raise SystemExit(f"03 chose {chosen['run']}: wanted another than {settings['architecture']}, which cannot be folded")
    run = Run(**{name: settings[name] for name in ("name", "architecture", "d_sae", "sparsity", "lr")})
    config, judged = TrainConfig(steps=STEPS, batch=BATCH), Judge(study, corpus, site, acts, split["validation"])
    rows = []
    for name, (share, power) in INPUTS.items():
        to = whiten.fitted(x, split["train"], round(share * x.shape[1]), power, SEED) if share else None
        of_site = partial(data.batches, data.StoreSource(path, site, split["train"]), BATCH, SEED)
        pair = [replace(run, name=str(seed), seed=seed) for seed in (0, 1)]
        saes = train(pair, config, whiten.turned(of_site, to) if to else of_site).saes
        rows.append(judged.row(name, [whiten.folded(sae, to) if to else sae for sae in saes.values()]))
    of_pairs = partial(data.batches, data.StoreSource(path, site, split["train"], unit=unit), BATCH, SEED, crop=2)
    for name, terms in TERMS.items():
        pair = [replace(run, name=str(seed), seed=seed, **terms) for seed in (0, 1)]
        rows.append(judged.row(name, list(train(pair, replace(config, crop=2), of_pairs).saes.values())))
    print(pd.DataFrame(rows).round(4).to_markdown(index=False))


class Judge:
    """The four things by which 03 chooses, and L0, on validation."""

    def __init__(self, study, corpus, site: str, acts, rows: np.ndarray):
        self.site, self.x, self.unit, self.rows = site, acts.acts[site], acts.tokens["unit"], rows
        self.own = store.open_store(io.private_path(study, "01_extraction", "activations.h5"))
        table = io.read_csv(io.private_path(study, "01_extraction", "units.csv"))
        self.counterpart = counterparts.aligned(self.own.tokens, table)
        edited = table[~table.is_reference & table.contig.isin(corpus.split["validation"])]
        self.edited = np.sort(edited.sample(frac=1, random_state=SEED).unit.to_numpy()[:300])
        self.some = np.sort(np.random.default_rng(SEED).permutation(rows)[:20_000])
        texts = corpus.records().texts
        self.texts = [texts[u] for u in np.unique(self.unit[rows])[:64]]
        self.model = adapter.load(corpus.model_path())

    def row(self, name: str, saes: list) -> dict:
        """Of the first of two dictionaries, and of how much of it comes again in the second."""
        q = evaluate.quality(saes[0], self.x, self.rows, self.unit)
        moved = differences.of_differences(differences.rebuilt_by(saes[0], self.own.tokens["unit"]), self.own.acts[self.site],
                                           self.own.tokens["unit"], self.counterpart, self.edited)  # fmt: skip
        fired = {str(i): evaluate.latents_of(sae, self.x, self.some, self.unit) for i, sae in enumerate(saes)}
        lost = evaluate.unit_losses({"SAE": saes[0]}, self.model, self.site, self.texts, seed=SEED)
        return {"recipe": name, "L0": q.l0, "explained_variance": q.explained_variance,
                "differences": estimates.ratio_interval(*moved, 200, SEED).value,
                "comes_again": coactivity.pairwise(fired, SEED).shared[0],
                "loss_recovered": evaluate.loss_recovered(lost, "SAE", 200, SEED).value, "dead": q.dead_share}  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
