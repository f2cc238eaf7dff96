"""What a parameter may be, as the comment beside its default says it.

    n_boot = 1000                # [10, 1e6] bootstrap resamples, over people
    case_share = 0.5             # (0, 1) share of people who are cases
    device = "cpu"               # {cpu, cuda, mps} where dictionaries are trained
    effect_scales = [1.0]        # [0, 100] multiples of published effects; as many as arms
    sites = ["resid_post.0"]     # {all, ...} where activations are read; one or more, none twice

A square bracket includes its end, a round one does not. Of a list, the range is that of each element. Braces that end in `...` give
words that may stand for the whole list, bare or as its one element, beside lists of other texts.
"""

from __future__ import annotations

import io
import math
import re
import tokenize
from dataclasses import dataclass
from typing import Any

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_INTERVAL = re.compile(rf"([\[(])\s*({_NUMBER})\s*,\s*({_NUMBER})\s*([\])])\s")
_CHOICES = re.compile(r"\{([^{}]+)\}")
_AS_MANY = re.compile(r"\bas many as (\w+)")


@dataclass(frozen=True)
class Range:
    """What one parameter may be.

    interval: its text, ends and which ends count, of a number; choices: of a text; None where the comment names none.
    as_many: the list that this one is as long as. filled: a list may not be empty. distinct: nothing in it comes twice.
    empty: the comment says what "" means, so that it is a value too. words: texts that stand for a whole list.
    """

    interval: tuple[str, float, float, bool, bool] | None = None
    choices: tuple[str, ...] | None = None
    as_many: str = ""
    filled: bool = False
    distinct: bool = False
    empty: bool = False
    words: tuple[str, ...] = ()

    def wanted(self, value: Any) -> str:
        """What was wanted instead of one number or text, "" where it fits."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                return "a finite number"
            if self.interval is not None:
                text, low, high, closed_low, closed_high = self.interval
                above = value >= low if closed_low else value > low
                below = value <= high if closed_high else value < high
                return "" if above and below else f"a number in {text}"
        if isinstance(value, str) and self.choices is not None and value not in self.choices:
            return f"one of {', '.join(c or repr(c) for c in self.choices)}"
        return ""


def of_comment(comment: str) -> Range:
    """The range that a comment, without its #, begins with, and what it says of a list."""
    interval, choices = _INTERVAL.match(comment + " "), _CHOICES.match(comment)
    many = _AS_MANY.search(comment)
    words = tuple(word.strip().strip('"') for word in choices[1].split(",")) if choices else None
    bounds, whole = None, ()
    if words and words[-1] == "...":
        words, whole = None, words[:-1]
    if interval:
        left, low, high, right = interval.groups()
        bounds = (interval[0].strip(), float(low), float(high), left == "[", right == "]")
    return Range(bounds, words, many[1] if many else "", "one or more" in comment, "none twice" in comment, '""' in comment, whole)


def of_source(source: str) -> dict[str, Range]:
    """Name -> range of each assignment at a line's start; a comment belongs to the line on which the assignment ends."""
    ranges, name = {}, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.start[1] == 0:
            name = token.string
            ranges[name] = Range()
        elif token.type == tokenize.COMMENT and name and token.start[1] > 0:
            ranges[name] = of_comment(token.string.lstrip("# "))
    return ranges
