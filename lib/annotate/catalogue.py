"""The catalogue: one row a latent, with its best concept and what else could explain it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lib.annotate.ladder import best_concepts
from lib.sae import convolution
from lib.sae.model import SAE
from lib.sae.parts import parts


def stacked(parts: dict[str, sparse.csr_matrix]) -> sparse.csr_matrix:
    """Validation tokens, then test tokens."""
    return sparse.vstack([parts["validation"], parts["test"]], format="csr")


@torch.inference_mode()
def variance_share(
    sae: SAE, latents: sparse.csr_matrix, acts: np.ndarray, rows: np.ndarray, unit: np.ndarray | None = None, chunk: int = 4096
) -> np.ndarray:
    """Explained variance lost when a latent alone is set to 0, the others as they are: [latent].

    sum over tokens of |r + f d|^2 - |r|^2, over the sum of |x - mean x|^2; r = x - x_hat, d the latent's decoder row.
    latents: CSR [token, d_sae] of acts[rows]; unit: [token] of acts, for a convolutional dictionary, whose f d is its code spread
    over a window, and whose rows have to be those of whole units.
    """
    if sae.config.window:
        return _share_of_kernels(sae, latents, acts, rows, unit, chunk)
    lost, total, square, n = 0.0, 0.0, 0.0, len(rows)
    decoder = sae.W_dec.double()
    for s in range(0, n, chunk):
        x = torch.from_numpy(np.asarray(acts[rows[s : s + chunk]], dtype=np.float64))
        f = torch.from_numpy(latents[s : s + chunk].toarray()).double()
        r = x - f @ decoder - sae.b_dec.double()
        lost = lost + (f.square() * decoder.square().sum(1) + 2 * f * (r @ decoder.T)).sum(0)
        total, square = total + x.sum(0), square + x.square().sum()
    return (lost / (square - total.square().sum() / n)).numpy()


def _share_of_kernels(sae: SAE, latents: sparse.csr_matrix, acts: np.ndarray, rows: np.ndarray, unit, chunk: int) -> np.ndarray:
    """`variance_share` of a convolutional dictionary."""
    lost, total, square, window = 0.0, 0.0, 0.0, sae.config.window
    kernel, spread = sae.W_dec.double(), convolution.overlaps(sae.W_dec.double(), window)
    for place, (x, of_token), pick in parts(sae, acts, rows, unit, chunk):
        if len(pick) != len(x) or (np.diff(np.sort(pick)) != 1).any():
            raise ValueError("the variance share of a convolutional dictionary needs all tokens of each unit, each once")
        f = torch.zeros(len(x), sae.config.d_sae, dtype=torch.float64)
        f[pick] = torch.from_numpy(latents[place].toarray()).double()
        x, at = x.double(), convolution.centres(of_token, window)
        r = x - convolution.spread(f, kernel, window, at) - sae.b_dec.double()
        lost = lost + 2 * (f * convolution.correlate(r, kernel, window, at)).sum(0) + convolution.energy(f, spread)
        total, square = total + x.sum(0), square + x.square().sum()
    return (lost / (square - total.square().sum() / len(rows))).numpy()


@torch.inference_mode()
def nearest(W_dec: torch.Tensor, k: int = 3, chunk: int = 2048) -> list[str]:
    """For each latent the k others of the largest decoder cosine, as "12 (0.83), 40 (0.71)". W_dec: [d_sae, d_in]."""
    unit = torch.nn.functional.normalize(W_dec.float(), dim=1)
    out = []
    for s in range(0, len(unit), chunk):
        cosine = unit[s : s + chunk] @ unit.T
        cosine[torch.arange(len(cosine)), s + torch.arange(len(cosine))] = -2
        value, index = cosine.topk(min(k, len(unit) - 1), dim=1)
        out += [", ".join(f"{i} ({v:.2f})" for i, v in zip(*row, strict=True)) for row in zip(index.tolist(), value.tolist(), strict=True)]
    return out


#: What the columns of the catalogue mean, of every kind; a kind says some of them in its own words.
COLUMNS = {
    "latent": "number of the latent in the dictionary",
    "density": "share of test tokens on which it fires",
    "coherence": "largest absolute cosine of its decoder row with another's",
    "variance_share": "explained variance that is lost on test tokens when it alone is set to 0",
    "seeds_found": "number of other seeds in which its one-to-one partner fires with it, r above 0.7 over the same test tokens; empty when "
    "no other seed was trained",
    "kind": "kind of its best concept; empty, as all up to plausible, when no pair reached the floor on validation",
    "concept": "concept of the highest F1 on the validation split",
    "family": "family of the concept, which is what we report",
    "threshold": "share of its largest validation activation above which it counts as firing",
    "largest": "its largest activation on validation tokens",
    "f1_validation": "F1 that chose the pair; every number below is from the test split",
    "n_fired": "test tokens on which it fires above the threshold",
    "precision": "share of these inside the concept",
    "recall": "share of the concept's instances with such a token",
    "f1": "harmonic mean of precision and recall",
    "auroc": "AUROC of the activation for tokens inside the concept",
    "odds_ratio": "odds ratio adjusted for the confounders of the kind (Mantel-Haenszel)",
    "or_low": "lower end of its 95 % interval",
    "or_high": "upper end of its 95 % interval",
    "z": "excess of hits over circular shifts, in their standard deviations",
    "p": "one-sided p against circular shifts",
    "q": "Benjamini-Hochberg over all pairs of latents and concepts of the kind",
    "q_latent": "the same over latents, after Simes over a latent's concepts",
    "repeat_share": "share of the test tokens on which it fires above its threshold that lie in repeats, as the kind names them",
    "matched": "the concept whose numbers these are, which is another than `concept` where a latent is called by its repeat",
    "tells": "groups of like-looking instances of which it was chosen on validation to tell those that work from the others "
             "(`contrasts.csv` says how well it does); empty of most",
    "token_identity": "share of its variance that the token's own name explains, held out",
    "confounders": "share of its variance that the confounders of the kind explain, held out",
    "explained_by_identity": "token_identity above 0.5",
    "neighbours": "latents with the nearest decoder rows, and the cosines",
    "plausible": "the pair is claimed: q and q_latent below 0.05, adjusted odds ratio with its interval above 1, F1 above the floor; "
                 "of a latent of repeats only if it is of no kind that names latents",
    "faithful": "whether the prediction needs the latent; empty here: `05_validation/catalogue.csv` has the same columns with it, and the "
                "fall of AUROC",
}  # fmt: skip
HEAD = "# Columns of features.csv and features.parquet\n\nOne row a latent. The truth of simulated data never names a latent; "\
       "`tells` alone reads it.\n\n"


def columns(symmetry: str = "") -> list[str]:
    """Columns of the catalogue, in order. symmetry: of a kind whose latents are compared under one, "" for none."""
    names = list(COLUMNS)
    at = names.index("neighbours")
    return [*names[:at], *filter(None, [symmetry]), *names[at:]]


def catalogue(
    read: pd.DataFrame, latents: pd.DataFrame, share: pd.DataFrame, variance: np.ndarray, neighbours: list[str],
    symmetry: str = "", tells: dict[int, str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a latent, columns as in `columns`.

    read: pairs of the SAE read on test, with claimed; latents: table of 03_sae_training (latent, frequency, coherence,
    seeds_found); share: of `composition.shares`, with a column of the symmetry, where the kind has one; variance, neighbours: [latent];
    tells: of `contrasts.tells`. A latent's concept is that of `best_concepts`.
    """
    table = (
        latents.rename(columns={"frequency": "density"})
        .merge(best_concepts(read), on="latent", how="left")
        .merge(share, on="latent", how="left")
    )
    table = table.sort_values("latent", ignore_index=True).assign(variance_share=variance, neighbours=neighbours, faithful="")
    table["plausible"], table["tells"] = table["claimed"].eq(True), table["latent"].map(tells or {}).fillna("")
    return table.reindex(columns=columns(symmetry))


def write_catalogue(stage, table: pd.DataFrame, own: dict[str, str]) -> None:
    """features.csv, the same as features.parquet, and columns.md. own: column -> what it means, in the words of the kind."""
    stage.write_table("features", table)
    said = COLUMNS | own
    stage.write_text("columns.md", HEAD + "".join(f"- `{name}`: {said[name]}.\n" for name in table))
    table.to_parquet(stage.path("features.parquet"), index=False)
