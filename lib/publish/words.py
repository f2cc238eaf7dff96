"""Words and numbers that may be shown: every text that is published is made of these, whoever wrote it.

The vocabulary is closed: words of the project's own code and notebooks, names of its public sources that a kind answers (`names`: profiles,
genes, chromosomes, loci), and names in the study's own params. A word that is in none of them is refused, so no id is shown
in any spelling: not reversed, spaced, in letters of another alphabet, in hexadecimal or base64. Numbers keep six digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGITS = 6  # significant, of a number that is no count: one holds 20 bits at most
LARGEST = 10**9  # whole numbers below are kept as they are
MOST = 15  # digits of a whole number: one of more is none
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
OTHER = {"nan", "inf", "-inf", "True", "False", ""}
#: Marks beside words, and those beyond ASCII that the project writes.
MARKS = re.compile(r"[A-Za-z0-9 \n_.,:;()\[\]{}<>=+*/%|?!'\"`#&$@~^\\−–·≤≥±×→…-]*")
TOKEN = re.compile(r"[A-Za-z0-9]+")
IN_TEXT = re.compile(r"(?<![A-Za-z0-9_.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z0-9_])")
APART = re.compile(r"(?<![A-Za-z0-9])(?=[0-9]?[^A-Za-z0-9]*[A-Za-z])(?:[A-Za-z0-9][^A-Za-z0-9]+){3,}[A-Za-z0-9](?![A-Za-z0-9])")  # S I M 0
SIGNS = re.compile(r"(?:[.\-_~=*+]+ ){3,}|(?<![\w.])[-+]?\d+(?:[^\w.]+[-+]?\d+){5,}(?![\w.])")  # Morse; six whole numbers in a row
PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def number(text: str) -> str | None:
    """A number as it is shown: a whole one below LARGEST as it is, any other with DIGITS digits; None for what is none."""
    if text in OTHER or (WHOLE.fullmatch(text) and len(text) > MOST):
        return text if text in OTHER else None
    if WHOLE.fullmatch(text) and abs(int(text[:40])) < LARGEST:
        return str(int(text))
    return repr(float(f"{float(text):.{DIGITS}g}")) if NUMBER.fullmatch(text) else None


@lru_cache(maxsize=1)
def of_project() -> frozenset[str]:
    """Words of the project's own code, notebooks, tables and list of libraries, in lower case."""
    files = [*ROOT.glob("lib/**/*.py"), *ROOT.glob("lib/**/*.csv"), *ROOT.glob("lib/**/*.yaml"), *ROOT.glob("notebooks/*.py"),
             ROOT / "requirements.txt"]  # fmt: skip
    return frozenset().union(*(words_in(path.read_text(encoding="utf-8")) for path in files))


def words_in(text: str) -> frozenset[str]:
    """The words of a text, whole and, where they are joined by capitals, in parts; in lower case. No bare number is one."""
    tokens = TOKEN.findall(text)
    parts = [part for token in tokens for part in PARTS.findall(token)]
    return frozenset(word.lower() for word in (*tokens, *parts) if not word.isdigit())


class Words:
    """A closed vocabulary. names: further texts whose words are known; without: texts, none of which may be a word (ids of samples)."""

    def __init__(self, names: Iterable[str] = (), without: Iterable[str] = ()):
        own = frozenset().union(*map(words_in, names)) if names else frozenset()
        self.known = (of_project() | own) - {text.lower() for text in without}

    def shown(self, text: str) -> str | None:
        """A text as it is shown: long numbers cut, runs of blanks closed; None where it holds a mark or a word that is not known."""
        if number(text) is not None:
            return number(text)
        if not MARKS.fullmatch(text) or APART.search(text) or SIGNS.search(text):
            return None
        numbers = [match[0] for match in IN_TEXT.finditer(text)]
        if any("." not in n and (len(n) > DIGITS + 3 or re.match("0[0-9]{2}", n)) for n in numbers):
            return None
        text = IN_TEXT.sub(lambda match: match[0] if len(match[0]) <= DIGITS + 2 else number(match[0]), text)
        if not all(map(self._is_known, TOKEN.findall(IN_TEXT.sub(" ", text)))):
            return None
        return "\n".join(re.sub(" +", " ", line).rstrip() if line[:1] != " " else line.rstrip() for line in text.split("\n"))

    def _is_known(self, token: str) -> bool:
        """A word of the vocabulary, one with a short number at an end (F1, x16, 8mer), or known words joined by capitals."""
        if token.lower() in self.known or (token.isdigit() and len(token) <= DIGITS):
            return True
        if match := re.fullmatch(r"([A-Za-z]\d{1,3})|(\d{1,3})?([A-Za-z]+)(\d{1,2})?", token):
            return bool(match[1]) or (match[3].lower() in self.known and (bool(match[2]) or bool(match[4])))
        parts = PARTS.findall(token)
        return token.isalpha() and len(parts) > 1 and all(len(p) > 2 and p.lower() in self.known for p in parts)
