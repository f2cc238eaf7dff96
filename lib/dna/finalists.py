"""A few latents examined closely: is the logo earned, and does the latent follow its motif in and out?

Each step asks the model again: saturation mutagenesis of the latent around its peaks, the same on dinucleotide-shuffled
windows, seqlets, a logo that has to pass the gate of `logos` before a match counts, and insertion and removal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate import reread
from lib.dna import logos
from lib.dna.motifs import Motif
from lib.models import sequence as sq
from lib.models import shuffle
from lib.models.adapter import Adapter
from lib.sae.model import SAE
from lib.stats import multiplicity

#: Bases on either side of a peak that are mutated; width of a logo and bases by which its windows may be moved.
REACH, WIDTH, JITTER = 15, 21, 5


@dataclass(frozen=True)
class Examined:
    """table: one row a finalist; logos: latent, position, A, C, G, T (frequencies), bits, earned; one row a column."""

    table: pd.DataFrame
    logos: pd.DataFrame


def pick_finalists(read: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n motif pairs of the SAE with the highest F1 on validation, one a latent and one a family.

    Returns latent, concept, family, threshold, largest, f1_validation, f1 (test: shown, never used to pick).
    """
    motif = read[(read["method"] == "SAE") & (read["kind"] == "motif")].sort_values("f1_validation", ascending=False, kind="stable")
    picked = motif.drop_duplicates("latent").drop_duplicates("family").head(n)
    return picked[["latent", "concept", "family", "threshold", "largest", "f1_validation", "f1"]].reset_index(drop=True)


def examine(
    picked: pd.DataFrame, adapter: Adapter, site: str, sae: SAE, latents: sparse.csr_matrix, tokens: pd.DataFrame, texts: list[str],
    motifs: tuple[Motif, ...], n_windows: int, n_backgrounds: int, seed: int = 0, n_null: int = 1000,
) -> Examined:  # fmt: skip
    """Logo, match, insertion and removal of each latent of `picked` (latent, concept, family; see `pick_finalists`).

    latents: CSR [token, d_sae], rows as in `tokens`; motifs: the targets of a match, among them the picked concepts'.
    Columns added: n_windows, n_seqlets (windows with one), refused (why the gate refused, or ""), logo (its consensus),
    match, match_family, e_value, empirical (see `logos.Match`), match_holds, family_agrees (with the picked concept's, in
    any part of a compound name), all five empty for a refused logo, as is the rest for a latent that is silent here; word and word_from
    (logo or JASPAR); insertion (activation with the word less with its letters shuffled, mean over n_backgrounds), its bootstrap interval,
    insertion_p (one-sided, bootstrap) and insertion_q (Benjamini-Hochberg over finalists); removal, the same for the peak's seqlets
    shuffled in their own windows; peak, the mean activation of these windows.
    """
    named, columns = {m.matrix_id: m for m in motifs}, latents.tocsc()
    matchers: dict[int, logos.Matcher] = {}
    rows, drawn = [], []
    for i, row in enumerate(picked.itertuples()):
        rng = np.random.default_rng([seed, i])
        score = logos.latent_score(adapter, site, sae, row.latent)
        peaks = _peaks(columns[:, [row.latent]].toarray().ravel(), tokens, texts)
        top = peaks[peaks["activation"] > 0].head(n_windows)
        if not len(top):
            rows.append({**picked.iloc[i].to_dict(), "n_windows": 0, "refused": "silent on these windows", "insertion_p": 1.0})
            continue
        seqlets = _seqlets(score, top, texts, adapter, site, sae, row.latent, seed + i)
        ppm, refused = _logo(seqlets, top, texts)
        known = {"n_windows": len(top), "n_seqlets": len(seqlets), "refused": refused, "logo": logos.consensus(ppm)}
        if not refused:
            known |= _match(ppm, len(seqlets), row.family, motifs, texts, peaks, matchers, n_null, seed)
        word, word_from = _word(ppm, refused, row.concept, named)
        backgrounds = _backgrounds(peaks, top, texts, n_backgrounds, rng)
        known |= {"word": word, "word_from": word_from, "n_backgrounds": len(backgrounds), "peak": float(top["activation"].mean())}
        known |= _effect("insertion", logos.insertion(score, backgrounds, word, rng), seed)
        if len(seqlets):
            inside = [texts[u] for u in seqlets["unit"]]
            known |= _effect("removal", logos.removal(score, inside, seqlets["start"].to_numpy(), seqlets["end"].to_numpy(), rng), seed)
        rows.append({**picked.iloc[i].to_dict(), **known})
        drawn.append(_long(row.latent, ppm, len(seqlets), not refused))
    table = pd.DataFrame(rows)
    if len(table):
        table["insertion_q"] = multiplicity.benjamini_hochberg(table["insertion_p"].to_numpy())
    return Examined(table, pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame())


def _peaks(values: np.ndarray, tokens: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """Largest activation of each window without N, largest first: unit, activation, middle base of its token."""
    table = pd.DataFrame({"unit": tokens["unit"].to_numpy(), "activation": values,
                          "middle": (tokens["start"].to_numpy() + tokens["end"].to_numpy()) // 2})  # fmt: skip
    table = table.sort_values("activation", ascending=False, kind="stable").drop_duplicates("unit")
    return table[[not set(texts[u]) - set("ACGT") for u in table["unit"]]].reset_index(drop=True)


def _around(middle: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spans of 2 REACH bases around each middle, moved inside the window. Raises ValueError for a shorter window."""
    if (length < 2 * REACH).any():
        raise ValueError(f"a window of {length.min()} bases: a finalist's peak needs {2 * REACH}")
    low = np.clip(middle - REACH, 0, length - 2 * REACH)
    return low, low + 2 * REACH


def _seqlets(score, top: pd.DataFrame, texts: list[str], adapter: Adapter, site: str, sae: SAE, latent: int, seed: int) -> pd.DataFrame:
    """The strongest seqlet of each top window: unit, start, end in the window, attribution. The false discovery rate is set
    by the same windows shuffled, around the latent's own peaks there."""
    units = top["unit"].tolist()
    texts_in = [texts[u] for u in units]
    low, high = _around(top["middle"].to_numpy(), np.array([len(t) for t in texts_in]))
    shuffled = _shuffled(texts_in, seed)
    where, latents = reread.read_units(adapter, site, sae, dict(enumerate(shuffled)))
    theirs = _peaks(latents[:, [latent]].toarray().ravel(), where, shuffled).sort_values("unit")
    low_c, high_c = _around(theirs["middle"].to_numpy(), np.array([len(t) for t in shuffled]))
    values, control = logos.mutagenesis(score, texts_in, low, high), logos.mutagenesis(score, shuffled, low_c, high_c)
    if not (values > 0).any():
        return pd.DataFrame(columns=["unit", "start", "end", "attribution"])
    seqlets = logos.seqlets(values, control).sort_values("attribution", ascending=False).drop_duplicates("sequence").sort_values("sequence")
    row = seqlets["sequence"].to_numpy(dtype=int)
    return pd.DataFrame({
        "unit": np.array(units, dtype=int)[row], "start": low[row] + seqlets["start"].to_numpy(dtype=int),
        "end": low[row] + seqlets["end"].to_numpy(dtype=int), "attribution": seqlets["attribution"].to_numpy(),
    })  # fmt: skip


def _shuffled(texts: list[str], seed: int) -> list[str]:
    """Dinucleotide-shuffled texts of any lengths."""
    return shuffle.shuffled_texts(texts, pd.DataFrame({"unit": np.arange(len(texts))}), seed)


def _logo(seqlets: pd.DataFrame, top: pd.DataFrame, texts: list[str]) -> tuple[np.ndarray, str]:
    """Frequencies [4, width] of the aligned seqlets, flanks trimmed, and why the gate refuses them, or ""."""
    if not len(seqlets):
        return np.empty((4, 0)), "no seqlet at a false discovery rate of 0.1"
    half = WIDTH // 2 + JITTER
    middle = (seqlets["start"].to_numpy() + seqlets["end"].to_numpy()) // 2
    windows = np.full((len(seqlets), 2 * half + 1), 4, dtype=np.uint8)
    for row, (unit, at) in enumerate(zip(seqlets["unit"], middle, strict=True)):
        codes = sq.encode(texts[unit])
        low, high = max(at - half, 0), min(at + half + 1, len(codes))
        windows[row, low - at + half : high - at + half] = codes[low:high]
    ppm, _ = logos.stack(windows, seqlets["attribution"].to_numpy(), JITTER, starts=min(20, len(seqlets)))
    ppm = logos.trim(ppm, len(seqlets))
    return ppm, logos.refused(ppm, len(seqlets))


def _match(ppm, n_sites: int, family: str, motifs, texts, peaks: pd.DataFrame, matchers: dict, n_null: int, seed: int) -> dict:
    if n_sites not in matchers:
        length = min(len(texts[u]) for u in peaks["unit"])
        codes = np.stack([sq.encode(texts[u][:length]) for u in peaks["unit"]])
        matchers[n_sites] = logos.Matcher(motifs, codes, n_sites, n_null=n_null, seed=seed)
    match = matchers[n_sites].match(ppm)
    agrees = bool(set(match.motif.family.split("::")) & set(family.split("::")))
    return {"match": f"{match.motif.matrix_id} {match.motif.name}", "match_family": match.motif.family, "e_value": match.e_value,
            "empirical": match.empirical, "match_holds": match.holds, "family_agrees": agrees}  # fmt: skip


def _word(ppm: np.ndarray, refused: str, concept: str, named: dict[str, Motif]) -> tuple[str, str]:
    if not refused:
        return logos.consensus(ppm), "logo"
    motif = named[concept.split()[0]]
    return logos.consensus(motif.reverse_complement() if concept.endswith(" -") else motif.pwm), "JASPAR"


def _backgrounds(peaks: pd.DataFrame, top: pd.DataFrame, texts: list[str], n: int, rng: np.random.Generator) -> list[str]:
    """Up to n windows of the half on which the latent fires least, each the one left whose GC is nearest to that of a top
    window drawn at random."""
    def gc(unit):
        return (texts[unit].count("G") + texts[unit].count("C")) / len(texts[unit])

    quiet = rng.permutation(peaks["unit"].to_numpy()[len(peaks) // 2 :])
    free, share = np.ones(len(quiet), dtype=bool), np.array([gc(u) for u in quiet])
    chosen = []
    for unit in rng.choice(top["unit"].to_numpy(), min(n, len(quiet))):
        at = int(np.where(free, abs(share - gc(unit)), np.inf).argmin())
        free[at] = False
        chosen.append(texts[quiet[at]])
    return chosen


def _effect(name: str, values: np.ndarray, seed: int, n_boot: int = 2000) -> dict:
    """Mean with its paired bootstrap interval, and the one-sided bootstrap p that it is above 0."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), (n_boot, len(values)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = (1 + (drawn <= 0).sum()) / (1 + n_boot)
    return {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high), f"{name}_p": float(p)}


def _long(latent: int, ppm: np.ndarray, n_sites: int, earned: bool) -> pd.DataFrame:
    table = pd.DataFrame(ppm.T, columns=list("ACGT"))
    bits = logos.information(ppm, n_sites)
    return table.assign(latent=latent, position=np.arange(len(table)), bits=bits, earned=earned)[
        ["latent", "position", *"ACGT", "bits", "earned"]
    ]
