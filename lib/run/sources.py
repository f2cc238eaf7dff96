"""Where the files come from that a study needs: params/sources.yaml, checked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from lib.run.recast import REWRITES
from lib.stage import io


@dataclass(frozen=True)
class Source:
    """A file or model folder below DATA_DIR and where it comes from; params/sources.yaml says what each field means."""

    name: str
    file: str
    licence: str
    release: str
    what: str
    address: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    cut: str | None = None
    bgzip: bool = False
    rewrite: str | None = None
    hub: str | None = None
    revision: str | None = None
    by_hand: str | None = None


def read_sources(path: Path | None = None) -> dict[str, Source]:
    """The manifest, by name; path: by default params/sources.yaml.

    Raises ValueError naming the source for a field that is unknown or missing, a hash that is none, a file that is outside
    the data folder, or a source that can be had in no way, or in two.
    """
    path = path or io.ROOT / "params" / "sources.yaml"
    known = {f.name for f in fields(Source)}
    sources = {}
    for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        where = f"{path}, {name}"
        if wrong := sorted(set(entry) - known):
            raise ValueError(f"{where}: unknown {', '.join(wrong)}; known are {', '.join(sorted(known - {'name'}))}")
        if absent := [key for key in ("file", "licence", "release", "what") if not entry.get(key)]:
            raise ValueError(f"{where}: no {', '.join(absent)}")
        if sum(bool(entry.get(key)) for key in ("address", "hub", "by_hand")) != 1:
            raise ValueError(f"{where}: wanted one of address, hub, by_hand")
        for key, digits in (("sha256", 64), ("revision", 40)):
            if (text := entry.get(key)) is not None and not _is_hex(text, digits):
                raise ValueError(f"{where}: {key} {text!r}, wanted {digits} hex digits or null")
        if entry.get("rewrite") not in (None, *REWRITES):
            raise ValueError(f"{where}: rewrite {entry['rewrite']!r}, wanted one of {', '.join(REWRITES)}")
        if Path(entry["file"]).is_absolute() or ".." in Path(entry["file"]).parts:
            raise ValueError(f"{where}: file {entry['file']!r} is not below the data folder")
        sources[name] = Source(name, **entry)
    return sources


def _is_hex(text: object, digits: int) -> bool:
    return isinstance(text, str) and len(text) == digits and not set(text) - set("0123456789abcdef")
