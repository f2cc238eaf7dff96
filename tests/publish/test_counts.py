"""Counts of a whole study are one system: an attack on 200 simulated studies gets no count of 1 to 20 back."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from lib.publish import counts, gate
from lib.publish.suppress import suppress_text

HUNT = "02_layer_hunting"
SCHEMAS = gate.read_schemas()


def schema_of(name: str) -> dict:
    return SCHEMAS[name]


def as_text(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype(str)


def study(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Tables of 02 and 05 of one to three arms: a person lacks an arm now and then; bins and groups hold anyone."""
    n, n_arms = int(rng.integers(45, 400)), int(rng.integers(1, 4))
    share = rng.dirichlet(np.full(int(rng.integers(2, 6)), rng.choice([0.5, 3.0])))
    group = rng.choice(len(share), n, p=share)
    rows: dict[str, list[dict]] = {name: [] for name in ("layers", "calibration", "calibration_curve", "groups", "roc", "totals")}
    for arm in [f"arm {i}" for i in range(n_arms)]:
        here = rng.random(n) >= rng.choice([0, 0, 0.03])
        y = rng.permutation(np.arange(n) < n * rng.uniform(0.15, 0.5))[here]
        total = int(here.sum())
        rows["layers"] += [{"arm": arm, "predictor": p, "kind": "layer", "value": 0.6, "low": 0.5, "high": 0.7, "n": total} for p in "ab"]
        rows["roc"] += [{"arm": arm, "fpr": x, "tpr": x, "n_cases": int(y.sum()), "n_controls": int((~y).sum())} for x in (0, 1)]
        rows["totals"] += [dict.fromkeys(SCHEMAS["05_validation/totals.csv"]["columns"], 0.5) | {"arm": arm, "n": total}]
        for scaling in ("before", "after Platt"):
            rows["calibration"] += [dict.fromkeys(SCHEMAS[f"{HUNT}/calibration.csv"]["columns"], 0.5)
                                    | {"arm": arm, "scaling": scaling, "n": total}]  # fmt: skip
            bins = rng.multinomial(total, rng.dirichlet(np.full(5, 1.0)))
            of = {"low": 0.1, "high": 0.9, "arm": arm, "scaling": scaling}
            shares = [rng.binomial(k, 0.4) / max(k, 1) for k in bins]
            rows["calibration_curve"] += [of | {"predicted": i / 10, "observed": x, "n": k} for i, (x, k) in enumerate(zip(shares, bins))]
        for name, k in zip(*np.unique(group[here], return_counts=True), strict=True):
            rows["groups"] += [dict.fromkeys(SCHEMAS[f"{HUNT}/groups.csv"]["columns"], 0.5) | {"group": f"g{name}", "n": k, "arm": arm}]
    place = {"totals": "05_validation"}
    return {f"{place.get(name, HUNT)}/{name}.csv": as_text(table) for name, table in rows.items()}


def published(tables: dict[str, pd.DataFrame]) -> tuple[counts.System, np.ndarray, dict[str, pd.DataFrame]]:
    system = counts.system_of(tables, schema_of)
    hidden = counts.blank(system)
    cells = counts.hidden_cells(system, hidden)
    return system, hidden, {name: suppress_text(table, schema_of(name), cells.get(name), 20)[0] for name, table in tables.items()}


def attack(tables: dict[str, pd.DataFrame]) -> dict[tuple, tuple[float, float]]:
    """What an attacker knows who knows how tables belong together, and reads nothing but them: the least and the most that each blank
    cell may hold. The system is set up here anew: an unknown a cell, a cohort's size an unknown too, all of them 0 or more."""
    names: dict[tuple, int] = {}

    def unknown(*key) -> int:
        return names.setdefault(key, len(names))

    equations: list[tuple[dict[int, int], float]] = []

    def say(parts: list[int], total: int | None, constant: float = 0.0) -> None:
        row: dict[int, int] = {}
        for part in parts:
            row[part] = row.get(part, 0) + 1
        if total is not None:
            row[total] = row.get(total, 0) - 1
        equations.append((row, constant))

    def seen(key: tuple, text: str) -> int:
        number = unknown(*key)
        if text:
            say([number], None, float(text))
        return number

    for name in (f"{HUNT}/layers.csv", f"{HUNT}/calibration.csv", "05_validation/totals.csv"):
        for row in tables[name].to_dict("records"):
            seen(("cohort", row["arm"]), row["n"])
    for row in tables[f"{HUNT}/roc.csv"].to_dict("records"):
        classes = [seen((c, row["arm"]), row[c]) for c in ("n_cases", "n_controls")]
        say(classes, unknown("cohort", row["arm"]))
    for name, by in ((f"{HUNT}/calibration_curve.csv", ["arm", "scaling"]), (f"{HUNT}/groups.csv", ["arm"])):
        for _, part in tables[name].groupby(by):
            cells = [seen((name, i), row["n"]) for i, row in zip(part.index, part.to_dict("records"), strict=True)]
            say(cells, unknown("cohort", part["arm"].iloc[0]))
    matrix = np.zeros((len(equations), len(names)))
    for line, (row, _) in zip(matrix, equations, strict=True):
        line[list(row)] = list(row.values())
    known = np.array([constant for _, constant in equations])
    ranges = {}
    for key, number in names.items():
        if (name := key[0]) in tables and tables[name].loc[key[1], "n"] == "":
            goal = np.eye(len(names))[number]
            solved = [linprog(sign * goal, A_eq=matrix, b_eq=known) for sign in (1, -1)]
            assert all(result.status in (0, 3) for result in solved)  # 3: no bound
            ranges[key] = tuple(sign * result.fun if result.status == 0 else sign * -np.inf
                                for sign, result in zip((1, -1), solved, strict=True))  # fmt: skip
    return ranges


@pytest.mark.parametrize("seed", range(200))
def test_no_count_of_1_to_20_is_recovered(seed: int) -> None:
    tables = study(np.random.default_rng(seed))
    system, hidden, shown = published(tables)
    assert counts.n_derivable(system, hidden) == 0
    for key, (least, most) in attack(shown).items():
        truth = int(tables[key[0]].loc[key[1], "n"])
        assert most - least > 0.5, (key, truth, least, most)
    for name, table in tables.items():
        for column in SCHEMAS[name]["counts"]:
            small = table[column].astype(int).between(1, 20)
            assert (shown[name].loc[small, column] == "").all()
            kept = shown[name][column] != ""
            assert (shown[name].loc[kept, column] == table.loc[kept, column]).all()
    sizes = {k: set(t["n"]) - {""} for k, t in shown[f"{HUNT}/layers.csv"].groupby("arm")}
    whole = [int(n) for sizes_ in sizes.values() for n in sizes_]
    assert all(not 1 <= a - b <= 20 for a in whole for b in whole), "the sizes of two arms differ by few people"


def test_the_attack_finds_what_one_table_alone_lets_through() -> None:
    """Each bin's table hides one bin, and layers.csv says what is left: the attack has to see it, or it would pass by seeing nothing."""
    tables = study(np.random.default_rng(3))
    bare = {name: table.copy() for name, table in tables.items()}
    curve = bare[f"{HUNT}/calibration_curve.csv"]
    one = curve.index[curve["n"].astype(int) > 0][0]
    curve.loc[one, "n"] = ""
    (least, most), = attack(bare).values()
    assert least == pytest.approx(most) == int(tables[f"{HUNT}/calibration_curve.csv"].loc[one, "n"])


def test_a_group_hidden_in_one_arm_is_hidden_in_every_arm() -> None:
    """45 people beside 15 are blank in one arm; 45 of the same group beside 25 in another would say how many these 15 are."""
    rows = [("a", "p", 45), ("b", "p", 15), ("c", "p", 50), ("a", "q", 45), ("b", "q", 65)]
    rows = [dict.fromkeys(SCHEMAS[f"{HUNT}/groups.csv"]["columns"], 0.5) | {"group": g, "arm": arm, "n": n} for g, arm, n in rows]
    shown = published({f"{HUNT}/groups.csv": as_text(rows)})[2][f"{HUNT}/groups.csv"]
    assert shown["n"].tolist() == ["", "", "50", "", ""]


def test_few_people_without_an_arm_hide_its_size_and_with_it_a_bin() -> None:
    layer = {"predictor": "a", "kind": "layer", "value": 0.6, "low": 0.5, "high": 0.7}
    layers = as_text([layer | {"arm": arm, "n": n} for arm, n in (("p", 100), ("q", 93), ("r", 60))])
    row = {"low": 0.1, "high": 0.9, "scaling": "before", "observed": 0.5}
    curve = as_text([row | {"arm": "q", "n": n, "predicted": i / 10} for i, n in enumerate((50, 43))])
    shown = published({f"{HUNT}/layers.csv": layers, f"{HUNT}/calibration_curve.csv": curve})[2]
    assert shown[f"{HUNT}/layers.csv"]["n"].tolist() == ["100", "", "60"]
    assert shown[f"{HUNT}/calibration_curve.csv"]["n"].tolist() == ["50", ""]


def test_a_claim_does_not_say_what_another_table_hides() -> None:
    row = dict.fromkeys(SCHEMAS[f"{HUNT}/groups.csv"]["columns"], 0.5) | {"arm": "p"}
    rows = [row | {"group": g, "n": n} for g, n in (("a", 45), ("b", 15))]
    claim = dict.fromkeys(SCHEMAS["0?_*/claims.csv"]["columns"], "") | {"of": "people"}
    tables = {f"{HUNT}/groups.csv": as_text(rows), "0?_*/claims.csv": as_text([claim | {"n": n} for n in (45, 60)])}
    assert published(tables)[2]["0?_*/claims.csv"]["n"].tolist() == ["", "60"]
