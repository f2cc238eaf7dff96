"""Suppression of small counts of people, and of what gives them away."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.linalg import null_space

THRESHOLD = 20  # the largest participant count that is suppressed
MARGINS = ("all", "total")  # what a `by` column says in a row that sums over it


def suppress(table: pd.DataFrame, count_columns: list[str], by: list[str], threshold: int = THRESHOLD,
             sums: dict[str, list[str]] | None = None) -> pd.DataFrame:  # fmt: skip
    """The table with participant counts from 1 to threshold blank, and as many more as keep them from being derived.

    count_columns: whole numbers, NaN where already blank. by: columns that split the same people into the rows; "all" or
    "total" there is a margin, and the sum of all cells counts as public even without one. Empty: rows are separate
    statements. sums: count column -> the count columns that add up to it. The smallest counts go first, totals after
    their parts, zeros last. Also blanked: cells whose sum, derived as one, is 1 to threshold.
    Raises ValueError for a negative or broken count, or when `by` does not tell the rows apart.
    """
    counts = table[count_columns].astype(float).to_numpy()
    if (wrong := (counts < 0) | (counts % 1 > 0)).any():
        raise ValueError(f"{count_columns} hold {counts[wrong][0]:g}, wanted whole numbers of people")
    values = counts.ravel()
    blank = choose_blank(values, relations_of(table, count_columns, by, sums or {}), threshold)
    return table.assign(**dict(zip(count_columns, np.where(blank, np.nan, values).reshape(counts.shape).T)))


def choose_blank(values: np.ndarray, relations: np.ndarray, threshold: int) -> np.ndarray:
    """Which cells go: bool [cell]. values: people of each, NaN where already blank; relations: [relation, cell], see `relations_of`."""
    blank = np.isnan(values) | ((values >= 1) & (values <= threshold))
    related = np.flatnonzero(relations.any(0))
    relations, inner, of = relations[:, related], blank[related], values[related]
    total, added = (relations < 0).any(0), []
    while (near := _exposed(relations, inner, of, threshold) & ~inner).any():
        added.append(min(np.flatnonzero(near), key=lambda cell: (of[cell] == 0, total[cell], of[cell])))
        inner[added[-1]] = True
    for cell in added:  # what those after it have made needless is shown again
        inner[cell] = False
        inner[cell] = _exposed(relations, inner, of, threshold).any()
    blank[related] = inner
    return blank


def derivable(table: pd.DataFrame, count_columns: list[str], by: list[str],
              sums: dict[str, list[str]] | None = None) -> pd.DataFrame:  # fmt: skip
    """Which blank counts the published sums determine: bool [row, count column].

    Arguments as in `suppress`. A blank cell is determined when its coordinate is zero in the whole null space of the
    sums that hold blank cells, whatever the numbers are.
    """
    blank = table[count_columns].isna().to_numpy(dtype=bool).ravel()
    known = determined(relations_of(table, count_columns, by, sums or {}), blank)
    return pd.DataFrame(known.reshape(len(table), -1), index=table.index, columns=count_columns)


def relations_of(
    table: pd.DataFrame, counts: list[str], by: list[str], sums: dict[str, list[str]]
) -> np.ndarray:
    """Sums among cells, [relation, cell]: 1 at the parts, −1 at their total, which is public where no cell holds it."""
    if by and table.duplicated(by).any():
        raise ValueError(
            f"rows repeat {by}: {table.loc[table.duplicated(by), by].iloc[0].to_dict()}, wanted one row each"
        )
    cell = np.arange(len(table) * len(counts)).reshape(len(table), len(counts))
    related: list[tuple[np.ndarray, np.ndarray]] = []
    margin = table[by].isin(MARGINS).to_numpy()
    for i, name in enumerate(by):
        rest = [b for b in by if b != name]
        groups = (
            table.reset_index().groupby(rest, dropna=False).indices.values()
            if rest
            else [np.arange(len(table))]
        )
        for rows in groups:
            if margin[rows, i].any():
                related += zip(cell[rows[~margin[rows, i]]].T, cell[rows[margin[rows, i]]].T)
    inner = cell[~margin.any(1)]
    if by and len(inner) > 1:
        related += [(column, column[:0]) for column in inner.T]
    for total, parts in sums.items():
        related += zip(cell[:, [counts.index(p) for p in parts]], cell[:, [counts.index(total)]])
    relations = np.zeros((len(related), cell.size))
    for row, (parts, total) in zip(relations, related):
        row[parts], row[total] = 1, -1
    return relations


def determined(relations: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Blank cells with one possible value, bool [cell]."""
    known, unknown = np.zeros(len(blank), dtype=bool), blank & relations.any(0)
    system = relations[:, unknown]
    system = system[system.any(1)]
    if len(system):
        known[unknown] = (np.abs(null_space(system)) < 1e-9).all(1)
    return known


def _exposed(relations: np.ndarray, blank: np.ndarray, values: np.ndarray, threshold: int) -> np.ndarray:
    """Cells in a sum that gives a blank cell away, or a sum of blank cells which is itself too small: bool [cell]."""
    gives_away = (relations[:, determined(relations, blank)] != 0).any(1)
    hidden = np.where(blank, np.nan_to_num(values), 0)
    together = (relations > 0) @ hidden
    total_shown = ~((relations < 0) & blank).any(1)
    small = total_shown & (together >= 1) & (together <= threshold)
    return (relations[gives_away | small] != 0).any(0)


def of_people(table: pd.DataFrame, schema: dict) -> tuple[pd.DataFrame, list[str]]:
    """The rows that count people, counts as numbers, and the columns that do; `unless` says which rows count something else."""
    counts = [c for c in schema.get("counts", []) if c in table]
    counted = np.ones(len(table), dtype=bool)
    for column, values in schema.get("unless", {}).items():
        counted &= ~table[column].isin(values).to_numpy()
    return numbers_of(table[counted], counts), counts


def numbers_of(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The table with these columns as numbers, NaN where blank. Raises ValueError for other text."""
    return table.assign(**{c: pd.to_numeric(table[c].replace("", np.nan)).astype(float) for c in columns})


def people_once(rows: pd.DataFrame, schema: dict) -> list[pd.DataFrame]:
    """Parts of a table in each of which nobody is counted twice: `within` names the columns that tell the parts apart."""
    within = [c for c in schema.get("within", []) if c in rows]
    return [part for _, part in rows.groupby(within, dropna=False)] if within else [rows]


def small_shares(rows: pd.DataFrame, schema: dict, threshold: int) -> pd.Series:
    """Rows where a share times its count is 1 to threshold people, or leaves so few: bool [row]."""
    few = pd.Series(False, index=rows.index)
    for column, count in schema.get("shares", {}).items():
        part = pd.to_numeric(rows[column].replace("", np.nan)) * rows[count]
        for people in (part, rows[count] - part):
            few |= (people > 0.5) & (people < threshold + 0.5)
    return few


def suppress_text(table: pd.DataFrame, schema: dict, hidden: pd.DataFrame | None, threshold: int) -> tuple[pd.DataFrame, int]:
    """The table with suppressed counts blank, the `of_people` of their rows too, as those of `small_shares`; shares of few people rounded.

    hidden: bool [row that counts people, count column], of `counts.hidden_cells`; None where no row does. Rows with one of the values of
    `unless` (column: values) count something else. Returns it with the number of blanked cells.
    """
    if hidden is None:
        return table, 0
    rows, counts = of_people(table, schema)
    hidden = hidden & rows[counts].notna()
    out, too_few = table.copy(), (hidden & (rows[counts] <= threshold)).any(axis=1) | small_shares(rows, schema, threshold)
    for column in counts:
        out.loc[hidden.index[hidden[column]], column] = ""
    for column in [c for c in (*schema.get("of_people", []), *schema.get("shares", {})) if c in table]:
        out.loc[too_few.index[too_few], column] = ""
    for column, count in schema.get("shares", {}).items():
        few = rows.index[(rows[count] < 100) & ~too_few]
        out.loc[few, column] = out.loc[few, column].map(lambda share: share and f"{float(share):.2f}")
    return out, int((out != table).to_numpy().sum())
