"""What stops a claim, and the four verdicts."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.stage import io, stops
from lib.stage.claims import verdict
from lib.stats import estimates

STAGE = "02_layer_hunting"
ALARMS = pd.DataFrame({
    "arm": ["a", "a", "b", "b", "c"], "alarm": ["population", "label shuffle", "population", "label shuffle", "population"],
    "fired": [True, True, False, False, True],
})  # fmt: skip


@pytest.mark.parametrize("value, holds, stopped, because, said", [
    (0.7, True, "", "", "holds"),
    (0.7, False, "", "", "does not hold"),
    (0.7, np.bool_(True), "alarm: population", "", "stopped"),
    (0.7, False, "alarm: population", "", "stopped"),
    (0.7, True, "", "one seed was trained", "could not be tested"),
    (None, False, "", "", "could not be tested"),
    (float("nan"), False, "alarm: population", "", "could not be tested"),  # nothing is there to be stopped
    (0, False, "", "", "does not hold"),
])  # fmt: skip
def test_the_verdict_of_a_claim(value, holds, stopped, because, said):
    assert verdict(value, holds, stopped, because) == said


def claimed(root, *arguments, **words) -> pd.Series:
    stage = io.open_stage("toy", STAGE)
    stage.claim(*arguments, **({"of": "people", "rule": "above 0.5"} | words))
    stage.finish()
    return io.read_table("toy", STAGE, "claims").iloc[0]


def test_an_alarm_stops_a_claim_and_says_which(root):
    row = claimed(root, "works", *estimates.Estimate(0.7, 0.6, 0.8, 90), 0.5, True, "why", stopped="alarm: population")
    assert (row.verdict, row.note, row.of, row.rule, row.n) == ("stopped", "stopped by alarm: population; why", "people", "above 0.5", 90)
    assert row.value == 0.7  # what was measured stays


def test_what_could_not_be_tested_says_because_and_what_stops_it_too(root):
    row = claimed(root, "works", *estimates.NOTHING, 0.5, False, because="one seed was trained", stopped=stops.NO_GO)
    assert row.verdict == "could not be tested" and np.isnan(row.value)
    assert row.note == "stopped by no-go of 03_sae_training; because one seed was trained"
    assert claimed(root, "works", None, None, None, 0, None, False).note == "because there is no value"


@pytest.mark.parametrize("words, message", [({"of": "cats"}, "counts 'cats', wanted one of people"), ({"rule": ""}, "no rule")])
def test_a_claim_says_what_it_counts_and_its_rule(root, words, message):
    with pytest.raises(ValueError, match=message):
        claimed(root, "works", 0.7, 0.6, 0.8, 90, 0.5, True, **words)


def test_alarms_stop_their_own_arm():
    assert stops.of_arms(ALARMS) == {"a": "alarm: population, label shuffle", "b": "", "c": "alarm: population"}
    assert stops.of_arms(ALARMS[ALARMS.arm == "b"]) == {"b": ""}


@pytest.mark.parametrize("decision, stop", [("no-go", stops.NO_GO), ("go (floor)", ""), ("go (target)", "")])
def test_a_no_go_stops_what_rests_on_the_dictionary(decision, stop):
    assert stops.of_dictionary(json.loads(json.dumps({"decision": decision}))) == stop


def test_reasons_are_joined():
    assert stops.joined("alarm: population", stops.NO_GO) == "alarm: population; no-go of 03_sae_training"
    assert stops.joined("", "") == "" and stops.joined("", stops.NO_GO) == stops.NO_GO
