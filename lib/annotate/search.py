"""One search, the same for the latents and for every rival: pairs chosen on validation, read once on test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate import association, ladder, outside, pairs, reread, rivals, shifts
from lib.annotate.concepts import Concepts, lay, of_kind, shared
from lib.models.adapter import Adapter
from lib.sae import evaluate
from lib.sae.model import SAE, random_dictionary

PARTS = ("validation", "test")
Parts = dict[str, association.Latents]


class Ground(NamedTuple):
    """What does not depend on the layer. Dictionaries by part: split (rows of the store), tokens, laid (concepts),
    strata ([token]); texts: [unit]; shuffled: the kind's null of a sequence, (texts, tokens, seed) -> texts; n_shifts, pair_floor,
    f1_floor, seed as in 04_annotation; views: kinds of concepts that are read on part of the tokens alone."""

    split: dict[str, np.ndarray]
    tokens: dict[str, pd.DataFrame]
    laid: dict[str, Concepts]
    strata: dict[str, np.ndarray]
    texts: list[str]
    shuffled: Callable
    n_shifts: int
    pair_floor: float
    f1_floor: float
    seed: int
    views: Mapping[str, outside.View] = MappingProxyType({})

    def on(self, kind: str, part: str) -> tuple[Concepts, np.ndarray]:
        """The concepts of a kind, and the tokens of the part on which they are read: [token] bool."""
        if kind in self.views:
            return self.views[kind].laid[part], self.views[kind].keep[part]
        return of_kind(self.laid[part], kind), np.ones(len(self.tokens[part]), dtype=bool)

    def tested(self, latents: sparse.csr_matrix, kind: str) -> tuple[sparse.csr_matrix, Concepts, np.ndarray]:
        """Latents of the test tokens on which a kind is read, its concepts there, and the unit of each."""
        known, keep = self.on(kind, "test")
        return latents[np.flatnonzero(keep)], known, self.tokens["test"]["unit"].to_numpy()[keep]


#: The SAE's latents against concepts that keep all but what they say.
DECOYS = "decoy concepts"


def of_decoys(ground: Ground, kind: str, places: pd.DataFrame, min_instances: int) -> Ground:
    """The same ground with other places (contig, start, end, concept, family) of one kind, and no other kind."""
    laid = {part: lay(ground.tokens[part], places, kind, DECOYS, min_instances) for part in PARTS}
    laid["validation"], laid["test"] = shared(laid["validation"], laid["test"])
    views = {kind: outside.view(laid, ground.views[kind].keep, min_instances)} if kind in ground.views else {}
    return ground._replace(laid=laid, views=views)


def latents_and_rivals(
    ground: Ground, acts: np.ndarray, model: Adapter, twin: Adapter, site: str, sae: SAE, twin_sae: SAE, l0: float,
    unit: np.ndarray | None = None,
) -> dict[str, Parts]:  # fmt: skip
    """The latents of a site and the null ladder: method -> part -> CSR [token, latent], or blocks of columns.

    acts: [row, d] of the store; l0: latents a token of `sae`; unit: [row], for a convolutional dictionary. "label shuffle" is the SAE's
    own latents: `search` shuffles its concepts.
    """
    texts, tokens, split, seed = ground.texts, ground.tokens, ground.split, ground.seed
    untrained = random_dictionary(sae, max(1, round(l0)), seed + 1)
    train = split["train"][:: max(1, len(split["train"]) // 50000)]
    mean, axes = rivals.principal_axes(acts, train, min(64, acts.shape[1]))
    own = {part: evaluate.latents_of(sae, acts, split[part], unit) for part in PARTS}
    return {
        "SAE": own,
        "random dictionary": {part: evaluate.latents_of(untrained, acts, split[part], unit) for part in PARTS},
        "random twin": {part: reread.latents_on(twin, site, twin_sae, texts, tokens[part]) for part in PARTS},
        "raw neurons": {part: rivals.Directions(acts, split[part], mean) for part in PARTS},
        "PCA": {part: rivals.Directions(acts, split[part], mean, axes) for part in PARTS},
        "rate-matched": {part: rivals.moved_latents(own[part], tokens[part]["unit"].to_numpy(), seed) for part in PARTS},
        "label shuffle": own,
        "shuffled sequence": {
            part: reread.latents_on(model, site, sae, ground.shuffled(texts, tokens[part], seed), tokens[part]) for part in PARTS
        },
    }


def search(methods: dict[str, Parts], ground: Ground, kinds: list[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs read on test, and the validation-best unit of each concept, for every method and kind of concept (all that are laid).

    Columns as in `association.read_pairs` and `ladder.best_pairs`, with method, kind and claimed (see
    `association.claimed`, and F1 above the floor).
    """
    kinds = kinds or list(ground.laid["test"].table["kind"].unique()) or ["no concept"]  # of none no pair, but the columns
    grounds, read, best = {kind: _of_kind(ground, kind) for kind in kinds}, [], []
    for method, latents in methods.items():
        for kind, (known, keep, strata, contig, drawn, unit) in grounds.items():
            if method == "label shuffle":
                known = {part: rivals.shuffle_labels(known[part], strata[part], contig[part], ground.seed) for part in PARTS}
            own = {part: outside.rows_of(latents[part], keep[part]) for part in PARTS} if kind in ground.views else latents
            screened = association.screen(own["validation"], known["validation"])
            reading = association.read_pairs(own["test"], known["test"], screened, drawn, strata["test"], unit, ground.pair_floor)
            read.append(reading.pairs.assign(method=method, kind=kind, n_tests=reading.n_tests))
            best.append(ladder.best_pairs(reading, screened, own["test"], known["test"]).assign(method=method, kind=kind))
    joined = [pd.concat(tables, ignore_index=True) for tables in (read, best)]
    return tuple(table.assign(claimed=association.claimed(table) & (table["f1"] > ground.f1_floor)) for table in joined)


def _of_kind(ground: Ground, kind: str) -> tuple[dict, dict, dict, dict, shifts.Shifts, np.ndarray]:
    """Concepts, tokens, strata and contigs of a kind by part; shifts and units of its test tokens."""
    known, keep = ({part: ground.on(kind, part)[i] for part in PARTS} for i in range(2))
    tokens = {part: ground.tokens[part][keep[part]] for part in PARTS}
    strata, contig = {part: ground.strata[part][keep[part]] for part in PARTS}, {part: tokens[part]["contig"].to_numpy() for part in PARTS}
    drawn = shifts.draw(contig["test"], shifts.least_offset(tokens["test"]), ground.n_shifts, ground.seed)
    return known, keep, strata, contig, drawn, tokens["test"]["unit"].to_numpy()


# ---- what figures need of single pairs --------------------------------------------------------------------------


def f1_intervals(
    best: pd.DataFrame, latents: sparse.csr_matrix, concepts: Concepts, unit: np.ndarray, n_boot: int, seed: int
) -> pd.DataFrame:
    """`best` with low and high: 95 % bootstrap of the test F1 over windows, thresholds frozen.

    best: latent, concept, threshold, largest, one row a pair; latents: CSR [token, latent] on test; unit: [token] window,
    sorted. An instance that lies in two windows counts in the first.
    """
    windows, code = np.unique(unit, return_inverse=True)
    pick = np.random.default_rng(seed).multinomial(len(windows), np.full(len(windows), 1 / len(windows)), n_boot).astype(np.float32)
    row_of = {name: i for i, name in enumerate(concepts.table["concept"])}
    columns, tokens, instances = latents.tocsc(), concepts.tokens.tocsc(), concepts.instances.tocsr()
    low, high = np.full(len(best), np.nan), np.full(len(best), np.nan)
    for i, pair in enumerate(best.itertuples()):
        on = columns[:, [pair.latent]].toarray().ravel() > np.float32(pair.threshold) * np.float32(pair.largest)
        row = row_of[pair.concept]
        of_concept = instances[np.flatnonzero(concepts.concept_of == row)]
        home = code[of_concept.indices[of_concept.indptr[:-1]]]  # the window of an instance's first token
        counts = [np.bincount(where, weights, len(windows)) for where, weights in (
            (code, on), (code, on & (tokens[:, [row]].toarray().ravel() > 0)), (home, None), (home, of_concept @ on > 0))]  # fmt: skip
        fired, hits, total, hit_instances = (pick @ count.astype(np.float32) for count in counts)
        drawn = pairs.harmonic(hits / np.maximum(fired, 1), hit_instances / np.maximum(total, 1))
        low[i], high[i] = np.quantile(drawn, [0.025, 0.975])
    return best.assign(low=low, high=high)


def precision_recall(best: pd.DataFrame, latents: sparse.csr_matrix, concepts: Concepts, n_levels: int = 50) -> pd.DataFrame:
    """Precision of firing tokens against recall of instances at `n_levels` thresholds: one row a pair and level.

    best: latent, concept, one row a pair; latents: CSR [token, latent]. Thresholds are quantiles of the latent's own
    activations. Returns latent, concept, level (share of the firing tokens kept), precision, recall.
    """
    row_of = {name: i for i, name in enumerate(concepts.table["concept"])}
    columns, tokens, instances = latents.tocsc(), concepts.tokens.tocsc(), concepts.instances.tocsr()
    rows = []
    for pair in best.itertuples():
        value = columns[:, [pair.latent]].toarray().ravel()
        row = row_of[pair.concept]
        inside = tokens[:, [row]].toarray().ravel() > 0
        of_concept = instances[np.flatnonzero(concepts.concept_of == row)].tocoo()
        peak = np.zeros(of_concept.shape[0], np.float32)
        np.maximum.at(peak, of_concept.row, value[of_concept.col])
        for kept in np.linspace(1 / n_levels, 1, n_levels):
            if not (value > 0).any():
                break
            cut = np.quantile(value[value > 0], 1 - kept)
            on = (value >= cut) & (value > 0)
            rows.append((pair.latent, pair.concept, kept, inside[on].mean(), ((peak >= cut) & (peak > 0)).mean()))
    return pd.DataFrame(rows, columns=["latent", "concept", "level", "precision", "recall"])
