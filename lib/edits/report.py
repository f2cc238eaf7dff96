"""A report of numbered parts, each of sentences and tables, as plain text and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1rem; margin: 1.4rem 0 .2rem; } p { margin: .2rem 0; }
table { border-collapse: collapse; font-size: .88rem; margin: .4rem 0; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .15rem .7rem .15rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


class Part(NamedTuple):
    """title: without its number; body: sentences, and tables whose empty cells are empty."""

    title: str
    body: Sequence[str | pd.DataFrame]


def text(title: str, parts: Sequence[Part]) -> str:
    """The report as plain text: numbers of parts, sentences one a line, tables in columns."""
    lines = [title, "=" * len(title)]
    for number, part in enumerate(parts, 1):
        lines += ["", f"{number} {part.title.upper()}"]
        for item in part.body:
            if isinstance(item, str):
                lines.append(f"  {item}")
            else:
                lines += ["  " + row.rstrip() for row in _cells(item).to_string(index=False).splitlines()] if len(item) else []
    return "\n".join(lines) + "\n"


def html(title: str, parts: Sequence[Part]) -> str:
    """The report as one HTML page that loads nothing: every letter of the given texts is escaped."""
    body = [f"<h1>{escape(title)}</h1>"]
    for number, part in enumerate(parts, 1):
        body.append(f"<section><h2>{number} {escape(part.title)}</h2>")
        body += [f"<p>{escape(item)}</p>" if isinstance(item, str) else _table(item) for item in part.body]
        body.append("</section>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>{"".join(body)}</body></html>\n'


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """Cells as they are shown: three digits of what is no whole number, nothing for what is missing."""
    return table.map(lambda x: "" if pd.isna(x) else f"{x:.3g}" if isinstance(x, float) and not float(x).is_integer() else
                     str(int(x)) if isinstance(x, float) else str(x))  # fmt: skip


def _table(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    numbers = [pd.api.types.is_numeric_dtype(table[column]) for column in table]
    head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in table)
    rows = ["".join(f"<td{' class=number' if n else ''}>{escape(cell)}</td>" for cell, n in zip(row, numbers, strict=True))
            for row in _cells(table).itertuples(index=False, name=None)]  # fmt: skip
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
