"""What a stage claims: whether it holds, in one row of claims.csv, whichever way it went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

CLAIM_COLUMNS = ["claim", "value", "low", "high", "n", "of", "null", "rule", "verdict", "note"]
#: What the n of a claim may count. "families" are of people; both are suppressed when few (schemas.yaml).
COUNTED = ("people", "families", "windows", "units", "tokens", "latents", "sets", "pairs", "concepts",
           "motif families", "interval families", "true site families", "motifs", "variants", "phenotypes", "runs", "shuffles",
           "places", "loci")
VERDICTS = ("holds", "does not hold", "stopped", "could not be tested")


def verdict(value: float | None, holds: bool, stopped: str = "", because: str = "") -> str:
    """One of VERDICTS. What has a reason against testing, or no value, is not tested, whatever stops it too."""
    if because or value is None or math.isnan(value):
        return VERDICTS[3]
    return VERDICTS[2] if stopped else VERDICTS[0] if holds else VERDICTS[1]


def row(claim: str, value: float | None, low: float | None, high: float | None, n: int, null: str | float | None, holds: bool,
        note: str = "", *, of: str, rule: str, stopped: str = "", because: str = "",
        own: Sequence[str] = ()) -> dict[str, Any]:  # fmt: skip
    """The row of a claim, by CLAIM_COLUMNS.

    value, low, high: estimate and interval in the claim's unit; n: how many were counted, of: of what, one
    of COUNTED or of the study's own words; null: the strongest null or rival, as a value or a name; rule: when it holds, in words; note:
    the kind of interval, what was resampled. stopped: what stops it ("alarm: population"), or "". because:
    why it could not be tested, or "". Raises ValueError for another `of`, or without a rule.
    """
    if of not in COUNTED and of not in own:
        raise ValueError(f"claim {claim!r} counts {of!r}, wanted one of {', '.join([*COUNTED, *own])}")
    if not rule:
        raise ValueError(f"claim {claim!r} has no rule, wanted in words when it holds")
    said = verdict(value, holds, stopped, because)
    reasons = [stopped and f"stopped by {stopped}"]
    reasons += [f"because {because or 'there is no value'}"] if said == VERDICTS[3] else []
    note = "; ".join(filter(None, [*reasons, note]))
    return dict(zip(CLAIM_COLUMNS, [claim, value, low, high, n, of, null, rule, said, note]))
