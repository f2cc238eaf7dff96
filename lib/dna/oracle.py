"""What an ideal latent could be missed for: all that breaking a planted pair does is taken back, near its site or in its whole window.

A probe that is fitted anew reads whatever is left, however little, since activations have no noise. If it misses nothing when all
activations within 40 bases of a broken site are those of the reference, then what the model knows of the pair lies elsewhere too,
and no latent that reads a site can be necessary by the refit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.acts import counterparts
from lib.causal.evidence import Refit, SecondCohort, refit
from lib.causal.kept import Arm
from lib.causal.subjects import Subjects
from lib.corpus.corpus import SECOND, SUBJECTS
from lib.dna import grammar
from lib.dna.grammar_demo import DISEASES
from lib.outcome import validate
from lib.stats import estimates

#: What is taken back: tokens within so many bases of the site's middle, all of the window for None.
AROUND: dict[str, int | None] = {"12 bases": 12, "40 bases": 40, "window": None}


def broken(planted: pd.DataFrame, units: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """Which functional pairs are broken in which units: unit, pair, middle (of the site, a position), a row each.

    planted: contig, start, end, partner_start, partner_end, pair, kind, of the reference; units: unit, window, contig, start, end,
    is_reference; texts: of each unit, as long as its reference. A pair is broken where a letter of its site or partner differs.
    """
    works, rows = planted[planted["kind"] == "functional"], []
    reference = units[units["is_reference"]].set_index("window")["unit"]
    for (contig, start, end, window), own in units[~units["is_reference"]].groupby(["contig", "start", "end", "window"]):
        inside = works[(works["contig"] == contig) & (works[["start", "partner_start"]].min(axis=1) >= start)
                       & (works[["end", "partner_end"]].max(axis=1) <= end)]  # fmt: skip
        whole = texts[reference[window]]
        for pair in inside.itertuples():
            places = [slice(a - start, b - start) for a, b in ((pair.start, pair.end), (pair.partner_start, pair.partner_end))]
            hit = [u for u in own["unit"] if any(texts[u][place] != whole[place] for place in places)]
            rows += [(u, pair.pair, (pair.start + pair.end) // 2) for u in hit]
    return pd.DataFrame(rows, columns=["unit", "pair", "middle"])


def removed(table: pd.DataFrame, subjects: Subjects, site: str) -> dict[str, np.ndarray]:
    """What breaking each pair adds to subjects' features, by AROUND: name -> [pair, subject, part * d].

    table: from `broken`. Of each unit in it the activations less the reference's, summed over the tokens near the site's middle, over the
    number of all its tokens, and averaged to subjects as features are.
    """
    acts, tokens, units = subjects.acts.acts[site], subjects.acts.tokens, subjects.units
    other, ends = counterparts.aligned(tokens, units), np.searchsorted(tokens["unit"], np.arange(len(units) + 1))
    out = {name: np.zeros((len(grammar.PAIRS), len(units), acts.shape[1])) for name in AROUND}
    for unit, own in table.groupby("unit"):
        rows = np.arange(ends[unit], ends[unit + 1])
        moved = np.asarray(acts[rows], np.float64) - acts[other[rows]]
        far = np.abs(tokens["ref_start"][rows][None] - own["middle"].to_numpy()[:, None])
        for name, around in AROUND.items():
            for pair, of_pair in own.reset_index(drop=True).groupby("pair"):
                near = (far[of_pair.index] <= (np.inf if around is None else around)).any(0)
                out[name][pair, unit] = moved[near].sum(0) / len(rows)
    return {name: np.stack([subjects.readout.features(of_pair) for of_pair in values]) for name, values in out.items()}


def falls(
    pairs: tuple[int, ...], y: np.ndarray, run: validate.Repeated, anew: Refit, taken: dict[str, np.ndarray],
    second: SecondCohort | None, taken_second: dict[str, np.ndarray] | None, n_boot: int, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """What probes lose when a pair's effect is taken back: a row a pair and name of AROUND.

    y: [subject]; run, anew, second: of the rule, second with X; taken, taken_second: of `removed`, [pair, subject, part * d].
    Columns: pair (its name), removed, refit, low, high (AUROC of a probe fitted anew, less than in full; 95 % paired bootstrap over
    subjects, first repeat's folds), n; where there is a second cohort frozen_second (its fall under the probe of the first as it is) and
    refit_second (under one fitted anew on all of the first).
    """
    rows = []
    for pair in pairs:
        for name, features in taken.items():
            left = anew.X - features[pair]
            e = validate.difference(y, run.score[:1], anew.again(left).score[:1], n_boot, seed)
            row = {"pair": grammar.PAIRS[pair].name, "removed": name, "refit": e.value, "low": e.low, "high": e.high, "n": e.n}
            if second is not None:
                others = second.X - taken_second[name][pair]
                full = estimates.auroc(second.y, second.score)
                for how, probe in (("frozen", second.probe), ("refit", anew.final(left))):
                    row[f"{how}_second"] = float(full - estimates.auroc(second.y, probe.score(others)))
            rows.append(row)
    return pd.DataFrame(rows)


def of_arm(
    arm: str, fit: Arm, groups: np.ndarray | None, X: dict[str, np.ndarray], taken: dict[str, dict[str, np.ndarray]], n_parts: int,
    probes: dict, second_y: pd.DataFrame | None, n_boot: int, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """`falls` of the pairs of a disease, with arm. fit, groups: of kept.h5; X, taken: features and `removed`, by corpus; probes: settings
    of 02; second_y: targets of the second cohort, None without."""
    second = None
    if second_y is not None:
        other = X[SECOND]
        second = SecondCohort(second_y[arm].to_numpy(), fit.final.score(other), fit.final, np.zeros((len(other), n_parts, 0)), other)
    again = refit(X[SUBJECTS], n_parts, fit.y, groups, probes["n_folds"], probes["C_grid"], probes["seed"])
    return falls(DISEASES[arm], fit.y, fit.run, again, taken[SUBJECTS], second, taken.get(SECOND), n_boot, seed).assign(arm=arm)


def beside_latents(table: pd.DataFrame, told: pd.DataFrame, necessary: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole windows of `falls`, each beside the latent of its pair with the largest fall: latent, delta, latent_refit,
    necessary, share (its fall in the second cohort over the ideal one's under the same probe; NaN without).

    told: contrasts.csv, whose latents tell a pair; necessary: necessity.csv of the arm, kind latent.
    """
    of_sae = told[told["method"] == "SAE"]
    own = of_sae.assign(pair=of_sae["group"].str[:-2], name=of_sae["score"].astype(str))[["pair", "name"]].drop_duplicates()
    best = own.merge(necessary.astype({"name": str}), on="name").sort_values("delta", ascending=False).drop_duplicates("pair")
    best = best.rename(columns={"name": "latent", "refit": "latent_refit"}).reindex(
        columns=["pair", "latent", "delta", "latent_refit", "external", "necessary"])  # fmt: skip
    beside = table[table["removed"] == "window"].merge(best, on="pair", how="left")
    ideal = beside.get("frozen_second", np.nan)
    return beside.assign(share=beside["external"] / ideal, necessary=beside["necessary"].eq(True)).drop(columns="external")
