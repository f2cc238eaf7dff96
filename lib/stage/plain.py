"""Values of numpy and torch as what JSON and YAML know."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """`value` in what JSON and YAML know: numpy becomes numbers and lists, NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):                     # numpy and torch, scalars and arrays
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
