"""How much stands behind a latent, in one letter, for reports and lists."""

from __future__ import annotations

import pandas as pd

#: What each letter says; the first that holds is a latent's own.
MEANS = {
    "A": "its name is claimed, it comes again in at least half of the other seeds, and the prediction needs it, refit included",
    "B": "its name is claimed, and it comes again in at least half of the other seeds",
    "C": "its name is claimed, in this seed",
    "D": "it goes with a concept, which is not claimed",
    "E": "it goes with no concept",
}
#: Share of the other seeds in which a latent has to come again.
AGAIN = 0.5


def grades(catalogue: pd.DataFrame, n_others: int) -> pd.Series:
    """The letter of each row of a catalogue with `plausible`, `concept`, `seeds_found` and `faithful` (`lib.causal.rule.catalogue`).

    n_others: seeds besides its own; without any, nothing comes again.
    """
    claimed, named = catalogue["plausible"].eq(True), catalogue["concept"].notna() & catalogue["concept"].ne("")
    again = claimed & (catalogue["seeds_found"].fillna(0) >= max(AGAIN * n_others, 1))
    needed = again & catalogue["faithful"].fillna("").str.startswith("necessary")
    letters = pd.Series("E", index=catalogue.index)
    for letter, holds in {"D": named, "C": claimed, "B": again, "A": needed}.items():
        letters[holds] = letter
    return letters
