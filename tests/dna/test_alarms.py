"""Alarms go off when, and only when, they should."""

import numpy as np
import pytest

from lib.dna import alarms
from lib.outcome import transfer, validate
from lib.outcome.metrics import CONTINUOUS
from lib.stats import estimates


def alarms_of(y, nested, dosage, shuffles=(0.48, 0.52), confounders=None, limit=0.8):
    table = alarms.alarms(y, nested, dosage, np.array(shuffles), confounders or {}, limit, 300, 0)
    assert list(table.columns) == ["alarm", "value", "low", "high", "n", "limit", "fired", "note"]
    return table.set_index("alarm")


@pytest.fixture
def scores():
    """Labels and scores of them: one of chance, and ones of AUROC 0.66, 0.76 and 0.92 that share their noise."""
    y, rng = np.arange(600) % 2, np.random.default_rng(0)
    noise = rng.standard_normal(600)
    return y, {"chance": rng.standard_normal(600)} | {s: y * s + noise for s in (0.6, 1.0, 2.0)}


def test_no_alarm_without_a_reason(scores):
    y, s = scores
    quiet = {"principal components": s["chance"], "missing calls": None, "population": s["chance"]}
    table = alarms_of(y, s[0.6], s[0.6], confounders=quiet)
    assert not table.fired.any() and len(table) == 6


@pytest.mark.parametrize("values, fired", [((0.60, 0.52), True), ((0.40, 0.44), True), ((0.40, 0.60), False)])
def test_the_shuffle_alarm_looks_at_the_mean(scores, values, fired):
    y, s = scores
    assert alarms_of(y, s[0.6], s[0.6], values).fired["label shuffle"] == fired


def test_components_that_know_as_much_as_dosage_fire_and_ones_that_know_less_do_not(scores):
    y, s = scores
    assert alarms_of(y, s[1.0], s[1.0], confounders={"principal components": s[1.0]}).fired[
        "principal components"
    ]
    assert not alarms_of(y, s[1.0], s[1.0], confounders={"principal components": s[0.6]}).fired[
        "principal components"
    ]
    assert alarms_of(y, s[1.0], s[1.0], confounders={"population": s[0.6]}).fired["population"]


def test_components_that_the_layer_does_not_beat_fire_and_an_exemption_says_why(scores):
    y, s = scores
    pcs = {"principal components": s[0.6]}
    fires, exempt, quiet = (
        alarms_of(y, layer, s[1.0], confounders=c).loc["principal components"]
        for layer, c in ((s[0.6], pcs), (s[1.0], pcs), (s[1.0], {"principal components": s["chance"]}))
    )
    assert fires.fired and not exempt.fired and not quiet.fired
    assert fires.note == quiet.note == "" and "exempt" in exempt.note
    assert exempt.low > 0.5 and exempt.limit == "0.5, or dosage above it"


def test_every_alarm_has_a_rule_in_words():
    said = {name: alarms.alarm_rule(name) for name in [*alarms.ALARM_RULES, "population", "missing calls"]}
    assert said["population"] == said["missing calls"] == "the AUROC interval reaches 0.5"
    assert len(set(said.values())) == 5


def test_without_a_limit_or_a_true_score_the_ceiling_cannot_fire(scores):
    y, s = scores
    row = alarms_of(y, s[1.0], s[1.0], limit=None).loc["germline ceiling"]
    assert not row.fired and row.limit is None and row.note == alarms.NO_CEILING and row.value > 0.7


def test_a_probe_far_above_dosage_fires_and_one_slightly_above_does_not(scores):
    y, s = scores
    assert alarms_of(y, s[1.0], s[0.6]).fired["probe minus dosage"]
    assert not alarms_of(y, s[1.0], 0.95 * y + (s[1.0] - y)).fired["probe minus dosage"]


def test_the_ceiling_is_a_number_or_the_true_score(scores):
    y, s = scores
    assert alarms_of(y, s[2.0], s[2.0]).fired["germline ceiling"]
    assert not alarms_of(y, s[2.0], s[2.0], limit=s[2.0]).fired["germline ceiling"]
    row = alarms_of(y, s[2.0], s[2.0], limit=s[0.6])
    assert row.fired["germline ceiling"] and row.limit["germline ceiling"] == estimates.auroc(y, s[0.6])


def test_population_structure_without_genetics_sets_off_the_alarm_and_falls_within_populations():
    rng = np.random.default_rng(0)
    group = np.repeat(["a", "b"], 300)
    frequency = np.where(group == "a", 0.2, 0.5)
    dosage = rng.binomial(2, frequency, (40, 600)).T.astype(float)
    y = (rng.random(600) < np.where(group == "a", 0.3, 0.7)).astype(int)
    views = (dosage, (group == "a").astype(float)[:, None])
    of_dosage, of_group = (validate.repeated(X, y, None, 5, 2, [0.1, 1.0], 0) for X in views)
    table = alarms_of(y, of_dosage.score, of_dosage.score, confounders={"population": of_group.score})
    assert table.fired["population"] and table.value["population"] > 0.6
    inside = transfer.left_out_groups(dosage, y, group, of_dosage.score, [0.1], 200, 0).set_index("group")
    assert list(inside.index) == ["a", "b"] and inside.n.tolist() == [300, 300]
    assert estimates.auroc(y, of_dosage.score).mean() > 0.6
    assert (inside.within.to_numpy() < 0.6).all() and (inside.left_out_low < 0.5).all()


@pytest.mark.parametrize("row", [1, 2, 3])
def test_intervals_of_alarms_over_families_are_wider_where_members_are_alike(row):
    y, family, rng = np.repeat(np.arange(60) % 2, 5), np.repeat(np.arange(60), 5), np.random.default_rng(0)
    a, b = (np.repeat(rng.standard_normal(60) + k * y[::5], 5) for k in (1.0, 0.5))
    alone, whole = (alarms.alarms(y, a, b, np.array([0.5]), {"population": b}, 0.9, 500, 0, g).iloc[row] for g in (None, family))
    assert whole.value == alone.value and whole.n == alone.n == 300
    assert whole.high - whole.low > 1.7 * (alone.high - alone.low)


def test_alarms_of_a_number_are_by_r2():
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    knows, half, nothing = y + rng.normal(size=400) * 0.3, 0.5 * y + rng.normal(size=400) * 0.5, rng.normal(size=400) * 0.1
    how = {"n_boot": 200, "seed": 0, "metric": CONTINUOUS}
    quiet = alarms.alarms(y, half, half, np.array([-0.2, -0.1]), {"population": nothing}, 0.9, **how).set_index("alarm")
    assert not quiet.fired.any() and quiet.limit["label shuffle"] == 0.05 and quiet.limit["population"] == 0
    loud = alarms.alarms(y, knows, half, np.array([0.1, 0.2]), {"population": knows}, half, **how).set_index("alarm")
    assert loud.fired.all() and loud.limit["germline ceiling"] == pytest.approx(CONTINUOUS.value(y, half))
