"""Checks every adapter must pass, because public model packages have failed each of them.

On the command line: lib.models.check_model. The checks themselves: `lib.models.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.models.adapter import Adapter
from lib.models.checks import forward, sites, tokens
from lib.models.checks.precision import relative_error_in
from lib.models.checks.shared import Measurement, NotRun


class Check(NamedTuple):
    """`function(adapter, records)` holds when its value is `sign` (<=, >= or >) the bound; why: what the bound rests on."""

    function: Callable[[Adapter, Sequence], Measurement]
    sign: str
    bound: float
    why: str

    def holds(self, value: float) -> bool:
        """False also for a value that is not a number."""
        return bool({"<=": value <= self.bound, ">=": value >= self.bound, ">": value > self.bound}[self.sign])


CHECKS = {
    "block_chain": Check(forward.block_chain, "<=", 0.0, "the same tensor, handed on"),
    "branch_sum": Check(forward.branch_sum, "<=", 1e-5, "three float32 numbers added in another order"),
    "padding_invariance": Check(forward.padding_invariance, "<=", 1e-4, "longer float32 sums round to about 1e-6; a leak is over 1e-2"),
    "batch_invariance": Check(forward.batch_invariance, "<=", 1e-4, "other matrix kernels for other batches round to about 1e-6"),
    "perturbation_reach": Check(forward.perturbation_reach, ">=", 1.0, "every token, without exception"),
    "site_dims": Check(sites.site_dims, "<=", 0, "a count"),
    "fires_once": Check(sites.fires_once, "<=", 0, "a count"),
    "early_exit": Check(sites.early_exit, "<=", 1e-5, "the same operations; float32 rounding at most"),
    "two_runs": Check(sites.two_runs, "<=", 0, "a count; the same operations give the same bits"),
    "identity_replace": Check(sites.identity_replace, "<=", 1e-5, "the same numbers, in memory laid out otherwise"),
    "replace_is_felt": Check(sites.replace_is_felt, ">", 1e-5, "above what rounding does to the logits"),
    "stream_is_whole": Check(sites.stream_is_whole, "<=", 1e-5, "the same numbers from there on"),
    "round_trip": Check(tokens.round_trip, ">=", 1.0, "every token, without exception"),
    "token_order": Check(tokens.token_order, "<=", 0, "a count"),
    "token_accounting": Check(tokens.token_accounting, "<=", 0, "a count"),
    "float16": Check(relative_error_in("float16"), "<=", 5e-3, "11 bits: 5e-4 a rounding, grown tenfold over the blocks"),
    "bfloat16": Check(relative_error_in("bfloat16"), "<=", 5e-2, "8 bits: 4e-3 a rounding, grown tenfold over the blocks"),
    "no_state_left": Check(sites.no_state_left, "<=", 0, "a count"),  # last, since what it finds left would disturb the others
}  # fmt: skip


def check(adapter: Adapter, records: Sequence) -> pd.DataFrame:
    """Run the suite on at least three records of unlike length, of the kind that the adapter reads.

    One row per check: check, value, wanted, passed (missing where it was not run), note. A check that raises has failed.
    Raises ValueError for fewer than two records.
    """
    if len(records) < 2:
        raise ValueError(f"{len(records)} records: wanted at least 2, better 3, of unlike length")
    rows = []
    for name, c in CHECKS.items():
        try:
            value, note = c.function(adapter, records)
            passed = c.holds(value)
        except NotRun as reason:
            value, passed, note = np.nan, None, f"not run: {reason}"
        except Exception as error:  # noqa: BLE001 - whatever a broken model raises
            value, passed, note = np.nan, False, f"{type(error).__name__}: {error}"
        rows.append((name, value, f"{c.sign} {c.bound:g}", passed, note))
    table = pd.DataFrame(rows, columns=["check", "value", "wanted", "passed", "note"])
    return table.astype({"value": float, "passed": "boolean"})
