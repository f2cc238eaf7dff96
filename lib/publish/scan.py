"""Texts and sample ids in files of any kind."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from PIL import Image

TABLES = {".csv", ".parquet"}
TEXTS = {".csv", ".txt", ".md", ".tex", ".bed", ".bedGraph", ".xml", ".meme"}


class Ids:
    """Sample ids, found in text where no letter or digit touches them, in either case."""

    def __init__(self, samples: list[str]):
        self.parts = {s: frozenset(re.findall(r"[^\W_]+", s.lower())) for s in samples}
        self.unfit = [i for i, s in enumerate(samples) if len(s) < 3 or not re.search(r"[^\W\d_]", s)]

    def count(self, texts: list[str]) -> int:
        """How many of the ids the texts hold."""
        return len(self.which(texts))

    def which(self, texts: list[str]) -> list[str]:
        words = set().union(*(re.findall(r"[^\W_]+", t.lower()) for t in texts)) if texts else set()
        near = [s for s, parts in self.parts.items() if parts and parts <= words]
        return [
            s
            for s in near
            if any(re.search(rf"(?<![^\W_]){re.escape(s)}(?![^\W_])", t, re.IGNORECASE) for t in texts)
        ]


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


def stripped(path: Path) -> str:
    """A notebook's prose and code, built anew: no outputs, attachments, ids or notes of a run."""
    notebook = nbformat.read(path, as_version=4)
    cells = []
    for n, cell in enumerate(notebook.cells):
        new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        tags = [tag for tag in cell.metadata.get("tags", []) if tag == "parameters"]
        cells.append(new(cell.source, id=f"cell-{n}", metadata={"tags": tags} if tags else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}))
