"""Is what lies there what the stages wrote? Every public file against the manifest of its stage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lib.stage.hashes import sha256
from lib.stage.manifest import damage

MANIFEST = "manifest.json"


class Refused(ValueError):
    """Something may not be published; `refusals` says what, one line each."""

    def __init__(self, refusals: list[str]):
        super().__init__("refused, nothing was published:\n" + "\n".join(refusals))
        self.refusals = refusals


def listed(study_folder: Path) -> tuple[dict[str, str], list[str]]:
    """What the manifests of a study list, as name below the study (`figures/…` for its figures): SHA-256; and what is amiss.

    study_folder: `outputs/<study>`. Private files are listed as `private/<stage>/…`. Of a manifest that is damaged nothing is listed.
    """
    files: dict[str, str] = {}
    refusals = []
    for path in sorted(Path(study_folder).glob(f"[!.]*/{MANIFEST}")):
        stage = path.parent.name
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            manifest = None
        if said := damage(manifest):
            refusals.append(f"{stage}/{MANIFEST}: {said}")
            continue
        for name, digest in manifest["files"].items():
            kind, _, rest = name.partition("/")
            files[f"private/{stage}/{rest}" if kind == "private" else name if kind == "figures" else f"{stage}/{name}"] = digest
    return files, refusals


def differing(files: dict[str, str], public: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Which public files no manifest lists, or lists with another hash: name -> why. files: from `listed`."""
    why = {}
    for name, path in public:
        stage, _, rest = name.partition("/")
        if path.is_symlink():  # refused as what it is
            continue
        if rest in (MANIFEST, f"{stage}.ipynb"):  # the one is whole, or `listed` said so; for the other the project's own is published
            continue
        if name not in files:
            why[name] = "is in no manifest: no stage wrote it"
        elif sha256(path) != files[name]:
            why[name] = "is not what its stage wrote: its hash differs from the manifest's"
    return why
