"""Texts and sample ids in files of any kind."""

from __future__ import annotations

import base64
import codecs
import json
import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from PIL import Image

SHORTEST = 6  # letters and digits of an id that is searched for in other spellings: shorter ones are anywhere
TABLES = {".csv", ".parquet"}
TEXTS = {".csv", ".txt", ".md", ".tex", ".bed", ".bedGraph", ".xml", ".meme"}


_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT = re.compile("|".join(_DIGITS))


class Ids:
    """Sample ids, found in text where no letter or digit touches them, in either case."""

    def __init__(self, samples: list[str]):
        self.parts = {s: frozenset(re.findall(r"[^\W_]+", s.lower())) for s in samples}
        self.unfit = [i for i, s in enumerate(samples) if len(s) < 3 or not re.search(r"[^\W\d_]", s)]
        self.forms = {form for s in samples for form in _forms(s) if len(form) >= SHORTEST}
        shapes = defaultdict(set)  # by length, so that of those that begin at one letter none hides another
        for form in self.forms:
            shapes[len(form)].add(re.sub(r"[0-9]", "[0-9]", form))
        self.shapes = [re.compile(f"(?=({'|'.join(sorted(some))}))") for some in shapes.values()]

    def count(self, texts: list[str]) -> int:
        """How many of the ids the texts hold."""
        return len(self.which(texts))

    def which(self, texts: list[str]) -> list[str]:
        """The ids that the texts hold."""
        words = set().union(*(re.findall(r"[^\W_]+", t.lower()) for t in texts)) if texts else set()
        near = [s for s, parts in self.parts.items() if parts and parts <= words]
        return [
            s
            for s in near
            if any(re.search(rf"(?<![^\W_]){re.escape(s)}(?![^\W_])", t, re.IGNORECASE) for t in texts)
        ]

    def n_hidden(self, text: str) -> int:
        """How many spellings of ids a text holds, whatever stands between their letters: as they are, backwards, turned by 13 letters,
        in hexadecimal, base32, base64 or as numbers of letters."""
        near = re.sub(r"[^a-z0-9]", "", _DIGIT.sub(lambda word: str(_DIGITS.index(word[0])), unicodedata.normalize("NFKC", text).lower()))
        return len({match[1] for shape in self.shapes for match in shape.finditer(near)} & self.forms)

    def n_in_numbers(self, values: np.ndarray) -> int:
        """How many ids an array spells: in its bytes, or by numbers that are letters' numbers, along any axis."""
        if not self.shapes or not values.size:
            return 0
        texts = [b" ".join(re.findall(rb"[ -~]{3,}", values.tobytes())).decode("ascii")]
        if values.dtype.kind in "fiu":
            whole = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
            letters = np.where((whole >= 32) & (whole < 127) & (whole % 1 == 0), whole, 10).astype(np.uint8)
            lines = [letters.ravel(), *([letters.T.ravel()] if letters.ndim == 2 else [])]
            texts += [" ".join(re.findall(r"[ -~]{3,}", line.tobytes().decode("ascii"))) for line in lines]
        return sum(map(self.n_hidden, texts))


def _forms(sample: str) -> Iterator[str]:
    """An id's letters and digits in every spelling that is searched for, in lower case."""
    own = sample.encode()
    codes = [tuple(f"{byte:{form}}" for byte in own) for form in ("d", "o", "03o", "08b")]
    places = (str(ord(c) - 64) if c.isalpha() else c for c in sample.upper())
    for text in (sample, sample[::-1], codecs.encode(sample, "rot13"), own.hex(), base64.b32encode(own).decode().rstrip("="),
                 "".join(places), *map("".join, codes)):  # fmt: skip
        yield re.sub(r"[^a-z0-9]", "", text.lower())
    for before in range(3):  # base64 of an id that begins anywhere in three bytes
        cut = base64.b64encode(b"\0" * before + own).decode().rstrip("=")[(0, 2, 3)[before]:]
        yield re.sub(r"[^a-z0-9]", "", cut[: len(cut) - 1].lower())


def without(ids: Ids, name: str) -> str:
    """A file's name, fit for a message that others may read."""
    for sample in ids.which([name]):
        name = re.sub(re.escape(sample), "…", name, flags=re.IGNORECASE)
    return name


def texts_of(path: Path) -> Iterator[str]:
    """Everything in a file that could spell a name. Raises ValueError for a kind of file that is not known."""
    suffix = path.suffix
    if suffix in TEXTS:
        yield path.read_text(encoding="utf-8")
    elif suffix in (".json", ".yaml", ".ipynb"):  # as written, and with escapes read
        text = path.read_text(encoding="utf-8")
        yield text
        yield json.dumps(
            yaml.safe_load(text) if suffix == ".yaml" else json.loads(text), ensure_ascii=False, default=str
        )
    elif suffix == ".h5":
        yield from _h5_texts(path)
    elif suffix == ".parquet":
        yield from _parquet_texts(path)
    elif suffix == ".png":
        with Image.open(path) as image:
            image.load()
            yield from (f"{k} {v}" for k, v in [*image.info.items(), *image.getexif().items()])
    elif suffix == ".pdf":
        yield from _pdf_texts(path.read_bytes())
    elif suffix == ".safetensors":  # eight bytes say how long the header with names and metadata is
        with path.open("rb") as file:
            yield file.read(int.from_bytes(file.read(8), "little")).decode("utf-8")
    elif suffix == ".bw":
        yield path.read_bytes().decode("latin-1")
    else:
        raise ValueError(f"{suffix} is no kind of file that can be scanned")


def _h5_texts(path: Path) -> Iterator[str]:
    with h5py.File(path) as file:
        items: list = [file]
        file.visititems(lambda name, item: items.append(item))
        for item in items:
            yield item.name
            for key, value in item.attrs.items():
                yield f"{key} {_plain_text(value)}"
            if isinstance(item, h5py.Dataset) and (item.dtype.kind in "SUO" or item.dtype.names):
                yield _plain_text(item[()])


def _parquet_texts(path: Path) -> Iterator[str]:
    """Cells, names, notes of the file and of its columns, and categories, used or not."""
    table = pq.ParquetFile(path).read()
    yield table.schema.to_string(truncate_metadata=False)
    frame = table.to_pandas(ignore_metadata=True)
    yield frame.to_csv(index=False)
    for column in frame.select_dtypes("category"):
        yield " ".join(map(str, frame[column].cat.categories))


def _plain_text(value: Any) -> str:
    """A string, bytes, or any nesting of them, as one text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
        return _plain_text(value)
    return " ".join(map(_plain_text, value)) if isinstance(value, list | tuple) else str(value)


def _pdf_texts(data: bytes) -> Iterator[str]:
    """A PDF's own strings (UTF-16 too), and the text that its compressed pages draw, kerning removed."""
    yield data.decode("latin-1")
    yield data.replace(b"\0", b"").decode("latin-1")
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            page = zlib.decompress(stream).replace(b"\0", b"").decode("latin-1")
        except zlib.error:  # an image or a font, stored otherwise
            continue
        yield page
        yield "\n".join(
            "".join(re.findall(r"\((.*?)\)", shown))
            for shown in re.findall(r"\[(.*?)\]\s*TJ", page, re.DOTALL)
        )


def read_table(path: Path) -> pd.DataFrame:
    """Every cell as it is written; an empty file is an empty table. An index in a Parquet file is a column."""
    source: Any = path
    if path.suffix == ".parquet":
        frame = pq.ParquetFile(path).read().to_pandas(ignore_metadata=True)
        source = StringIO(frame.to_csv(index=False))
    try:
        return pd.read_csv(source, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
