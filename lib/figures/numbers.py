"""Headline numbers as LaTeX macros."""

from __future__ import annotations

import re


def numbers(study: str, headlines: dict[str, dict]) -> str:
    r"""Headline numbers as LaTeX macros, so that no number is retyped: \demoExtractionUnits and so on."""
    lines = []
    for stage, headline in headlines.items():
        for key, value in headline.items():
            words = re.split(r"[^A-Za-z0-9]+", f"{study} {stage.split('_', 1)[1]} {key}")
            spelled = "".join(w[:1].upper() + w[1:] for w in words if w)
            digits = dict(zip("0123456789", ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"], strict=True))
            name = "".join(digits.get(c, c) for c in spelled)
            written = re.sub(r"([_%&#$])", r"\\\1", str(value))
            lines.append(rf"\newcommand{{\{name[:1].lower() + name[1:]}}}{{{written}}}")
    return "\n".join(lines) + "\n"
