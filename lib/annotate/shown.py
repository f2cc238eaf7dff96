"""What a reader is shown of a latent: top windows, tracks and cards."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate import outside


def top_windows(latents: sparse.csr_matrix, tokens: pd.DataFrame, units: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n windows of each latent's largest activations: latent, rank, contig, start, end, peak, activation.

    latents: CSR [token, d_sae], rows as in `tokens`, of reference windows only; peak: middle base of the token of the
    largest activation. Raises ValueError when a unit is a person's.
    """
    unit = tokens["unit"].to_numpy()
    if not units["is_reference"].to_numpy()[np.unique(unit)].all():
        raise ValueError("a unit is a subject's own: top windows show the reference only")
    middle = (tokens["ref_start"].to_numpy() + tokens["ref_end"].to_numpy() - 1) // 2
    columns, parts = latents.tocsc(), []
    for latent in range(latents.shape[1]):
        rows, values = (a[columns.indptr[latent] : columns.indptr[latent + 1]] for a in (columns.indices, columns.data))
        order = np.argsort(-values, kind="stable")
        _, first = np.unique(unit[rows[order]], return_index=True)
        chosen = order[np.sort(first)[:n]]
        parts.append(pd.DataFrame({"latent": latent, "rank": np.arange(len(chosen)), "token": rows[chosen], "activation": values[chosen]}))
    table = pd.concat(parts, ignore_index=True)
    place = units.iloc[unit[table["token"]]]
    table = table.assign(
        contig=place["contig"].to_numpy(), start=place["start"].to_numpy(), end=place["end"].to_numpy(), peak=middle[table["token"]]
    )
    return table[["latent", "rank", "contig", "start", "end", "peak", "activation"]]


def cards(
    catalogue: pd.DataFrame, kind: str, latents: sparse.csr_matrix, tokens: pd.DataFrame, units: pd.DataFrame, texts: list[str],
    n_cards: int, n_windows: int, letter: str = "base",
) -> pd.DataFrame:  # fmt: skip
    """Top reference units of the latents that best match a kind of concepts, no two of one family: one row a letter.

    Validation chooses: the highest F1 there among pairs with q below 0.05. Where fewer than n_cards are left, those of
    repeats follow, the most in repeats first (of these a name each, too).

    latents: CSR [token, d_sae], rows as in `tokens` (background units only: the reference, nobody's genome).
    letter: the field's word for one. Returns latent, concept, family, rank, contig, position, a column of that word, activation.
    """
    matched = catalogue[(catalogue["kind"] == kind) & (catalogue["q"] < 0.05)]
    of_repeats = catalogue[catalogue["kind"] == outside.KIND]
    picked = pd.concat([
        matched.sort_values("f1_validation", ascending=False, kind="stable"),
        of_repeats.sort_values("repeat_share", ascending=False, kind="stable"),
    ]).drop_duplicates("family").head(n_cards)  # fmt: skip
    columns = latents.tocsc()
    unit = tokens["unit"].to_numpy()
    frames = []
    for card in picked.itertuples():
        column = columns[:, card.latent]
        largest = pd.Series(column.data).groupby(unit[column.indices]).max().nlargest(n_windows, keep="first")
        values = pd.Series(0.0, index=np.arange(len(unit)))
        values.iloc[column.indices] = column.data
        for rank, u in enumerate(largest.index):
            frames.append(_card_rows(card, rank, int(u), tokens, values, units, texts, letter))
    columns = ["latent", "concept", "family", "rank", "contig", "position", letter, "activation"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _card_rows(
    card, rank: int, unit: int, tokens: pd.DataFrame, values: pd.Series, units: pd.DataFrame, texts: list[str], letter: str
) -> pd.DataFrame:
    if not units["is_reference"].iat[unit]:
        raise ValueError(f"unit {unit} is a subject's own: cards show the reference only")
    rows = np.flatnonzero(tokens["unit"].to_numpy() == unit)
    text = texts[unit]
    activation = np.zeros(len(text))
    for row in rows:
        activation[tokens["start"].iat[row] : tokens["end"].iat[row]] = values.iat[row]
    place = units.iloc[unit]
    return pd.DataFrame({"latent": card.latent, "concept": card.concept, "family": card.family, "rank": rank,
                         "contig": place.contig, "position": place.start + np.arange(len(text)), letter: list(text),
                         "activation": activation})  # fmt: skip
