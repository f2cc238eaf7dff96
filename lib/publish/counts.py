"""One suppression over a whole study: counts of people in all its tables, as one linear system.

A cell is an unknown of the system, and cells that count the same people are one unknown, in whatever table they stand: a cohort's size in
`layers.csv` is the sum of the bins of a calibration curve and of a class's cases and controls in `roc.csv`. What a schema says of a table:

    by, within, sums    which cells add up, as in `suppress`
    cohort              whom a row counts all of: `{subjects: [arm]}`, `{second: [arm]}`, by the columns that tell them apart
    parts_of            the cohort that the rows of one `within` add up to, written likewise
    classes             the count columns that split a row's cohort
    same                the columns that say that two cells of one size count the same people (a group in every arm)
    loose               nothing says whom a row counts: a number that is blank elsewhere is blank here too

Source: complementary suppression as a linear system, Willenborg and de Waal 2001, chapter 5; Fischetti and Salazar 2001.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lib.publish.suppress import THRESHOLD, choose_blank, determined, of_people, people_once, relations_of

Key = tuple[Hashable, ...]


@dataclass
class System:
    """Unknowns of a study and what adds up to what. keys: unknown -> number; values: people of each, NaN where the stage left it blank;
    relations: parts and totals, unknowns each, a total without unknowns being public; cells: table -> unknown of each [row, count]."""

    keys: dict[Key, int] = field(default_factory=dict)
    values: list[float] = field(default_factory=list)
    relations: list[tuple[list[int], list[int]]] = field(default_factory=list)
    cells: dict[str, pd.DataFrame] = field(default_factory=dict)
    loose: set[str] = field(default_factory=set)

    def unknown(self, key: Key, value: float) -> int:
        """The number of an unknown, new or known. A blank is an unknown of its own."""
        key = (*key, value) if not np.isnan(value) else (*key, "blank", len(self.values))
        if key not in self.keys:
            self.keys[key] = len(self.values)
            self.values.append(value)
        return self.keys[key]

    def total(self, whole: Key, parts: list[int]) -> int:
        """The unknown that parts of a cohort add up to: the one of that size, or, where a part is blank, the only one that there is."""
        people = sum(self.values[part] for part in parts)
        sizes = [number for key, number in self.keys.items() if key[:-1] == whole]
        return sizes[0] if np.isnan(people) and len(sizes) == 1 else self.unknown(whole, people)

    def relate(self, parts: list[int], total: list[int]) -> None:
        """Say what adds up to what, once."""
        if (parts, total) not in self.relations:
            self.relations.append((parts, total))

    def matrix(self) -> np.ndarray:
        """[relation, unknown]: 1 at the parts, -1 at the total."""
        rows = np.zeros((len(self.relations), len(self.values)))
        for row, (parts, total) in zip(rows, self.relations, strict=True):
            row[parts] += 1
            row[total] -= 1
        return rows


def system_of(tables: dict[str, pd.DataFrame], schema_of: Callable[[str], dict | None], threshold: int = THRESHOLD) -> System:
    """The system of a study. tables: name -> table as text; schema_of: name -> its schema, None or without counts where it has none."""
    system = System()
    for name, table in tables.items():
        schema = schema_of(name) or {}
        rows, counts = of_people(table, schema)
        if not counts or rows.empty:
            continue
        if schema.get("loose"):
            system.loose.add(name)
        numbers = [[system.unknown(_key(name, i, column, row, schema), float(row[column])) for column in counts]
                   for i, row in enumerate(rows.to_dict("records"))]  # fmt: skip
        system.cells[name] = pd.DataFrame(numbers, index=rows.index, columns=counts)
    for name, cells in system.cells.items():  # after all sizes of cohorts are known
        rows, counts = of_people(tables[name], schema_of(name) or {})
        _relate(system, rows, cells, counts, schema_of(name) or {})
    _absent(system, threshold)
    return system


def _key(name: str, number: int, column: str, row: Mapping, schema: dict) -> Key:
    """Whom a cell counts, as far as the schema says it; else the cell itself."""
    if cohort := _cohort(row, schema.get("cohort", {})):
        return ("classes", *cohort, column) if column in schema.get("classes", []) else cohort
    if "same" in schema:
        return ("same", *schema["same"], *(row[c] for c in schema["same"]), column)
    return (name, number, column)


def _cohort(row: Mapping, cohort: dict[str, list[str]]) -> Key:
    """The cohort that a row counts, all of or a part, by the columns that name it; () for none."""
    return next(((of, *(row[c] for c in columns)) for of, columns in cohort.items()), ())


def _relate(system: System, rows: pd.DataFrame, cells: pd.DataFrame, counts: list[str], schema: dict) -> None:
    """Add what a table's cells add up to: of the table's own sums, and of bins, groups and classes to their cohort."""
    for part in people_once(rows, schema):
        numbers = cells.loc[part.index, counts].to_numpy().ravel()
        whole = _cohort(part.iloc[0], schema.get("parts_of", {}))
        if whole and len(part) == 1 and len(counts) == 1:  # one row that is all of them
            system.relate(numbers.tolist(), [system.total(whole, numbers.tolist())])
        for relation in relations_of(part, counts, schema.get("by", []), schema.get("sums") or {}):
            parts, total = numbers[relation > 0].tolist(), numbers[relation < 0].tolist()
            system.relate(parts, total or [system.total(whole, parts)] * bool(whole))
    if classes := [c for c in schema.get("classes", []) if c in counts]:
        for index, row in rows.iterrows():
            parts = cells.loc[index, classes].tolist()
            system.relate(parts, [system.total(_cohort(row, schema["cohort"]), parts)])


def _absent(system: System, threshold: int) -> None:
    """Cohorts of one door, and a group in every arm, are taken to lie in the largest of them: few who are in that one alone count too."""
    families: dict[Key, list[int]] = {}
    for key, number in list(system.keys.items()):
        if key[0] in ("subjects", "second", "same") and "blank" not in key:
            families.setdefault(key[:1] if key[0] != "same" else key[:-1], []).append(number)
    for members in families.values():
        most = max(members, key=system.values.__getitem__)
        for member in members:
            if 1 <= (lacking := system.values[most] - system.values[member]) <= threshold:
                system.relate([member, system.unknown(("absent", most, member), lacking)], [most])


def blank(system: System, threshold: int = THRESHOLD) -> np.ndarray:
    """Which unknowns of a study may not be shown: those of 1 to threshold people, and as many more as keep them from being derived.

    A total that no table shows counts as public. Returns bool [unknown]. Raises ValueError for a negative or broken count.
    """
    values = np.array(system.values)
    known = values[~np.isnan(values)]
    if (wrong := known[(known < 0) | (known % 1 > 0)]).size:
        raise ValueError(f"a count of people of {wrong[0]:g}, wanted whole numbers")
    return choose_blank(values, system.matrix(), threshold)


def n_derivable(system: System, hidden: np.ndarray) -> int:
    """How many unknowns that are blank the sums shown determine. hidden: bool [unknown]."""
    return int(determined(system.matrix(), hidden).sum())


def hidden_cells(system: System, hidden: np.ndarray) -> dict[str, pd.DataFrame]:
    """Which cells are blank: table -> bool [row, count]. In a loose table, also a number that is hidden elsewhere."""
    values = np.array(system.values)
    elsewhere = list(set(values[hidden & ~np.isnan(values)]))
    out = {}
    for name, cells in system.cells.items():
        numbers = cells.to_numpy()
        shown = hidden[numbers] | (np.isin(values[numbers], elsewhere) if name in system.loose else False)
        out[name] = pd.DataFrame(shown, index=cells.index, columns=cells.columns)
    return out
