"""What stops a claim: an alarm of 02 stops its arm's, a no-go of 03 all that rest on the dictionary."""

from __future__ import annotations

import pandas as pd

NO_GO = "no-go of 03_sae_training"


def of_arms(alarms: pd.DataFrame) -> dict[str, str]:
    """arm -> "alarm: population, label shuffle", or "" where none fired. alarms: columns arm, alarm, fired."""
    fired = alarms[alarms["fired"].astype(bool)].groupby("arm")["alarm"].agg(", ".join)
    return {arm: f"alarm: {fired[arm]}" if arm in fired else "" for arm in dict.fromkeys(alarms["arm"])}


def of_dictionary(chosen: dict) -> str:
    """NO_GO, or "" when the dictionary passed. chosen: chosen.json of 03_sae_training, with its decision."""
    return NO_GO if chosen["decision"] == "no-go" else ""


def joined(*stops: str) -> str:
    """Several reasons as one; "" when there is none."""
    return "; ".join(filter(None, stops))
