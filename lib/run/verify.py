"""Hash every input and output of a study's finished stages whole, and say which is not what it was.

    python -m lib.run.verify [STUDY]         (make verify STUDY=x)

`make` looks at large files by size, time and samples; this reads every byte and trusts no time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from lib.run.fingerprint import input_files
from lib.stage import io
from lib.stage.hashes import sha256
from lib.stage.params import Refused, stages


def differences(study: str, stage: str) -> tuple[int, list[str]]:
    """Files hashed, and a line for each that differs, is missing, or is among the outputs and in no manifest.

    Raises io.Unfinished when the stage has no finished output, or a damaged manifest.
    """
    manifest = io.read_manifest(study, stage)
    wanted = {f"output {key}": (io.output_file(study, stage, key), digest) for key, digest in manifest["files"].items()}
    lines = list(_unlisted(study, stage, manifest["files"]))
    try:
        lying = input_files(manifest.get("params", {}))
    except FileNotFoundError as error:
        lying = None
        lines.append(f"input {error}")
    inputs = manifest.get("inputs", {}) | manifest.get("inputs_whole", {})
    if lying is not None:
        wanted |= {f"input {name}": (lying.get(name), digest) for name, digest in inputs.items()}
        lines += [f"input {name} was not there when the stage ran" for name in lying if name not in inputs]
    for name, (path, digest) in wanted.items():
        if path is None or not path.is_file():
            lines.append(f"{name} is missing")
        elif (seen := sha256(path)) != digest:
            lines.append(f"{name} differs: found {seen[:16]}, wanted {digest[:16]}")
    return len(wanted), lines


def _unlisted(study: str, stage: str, files: dict[str, Any]) -> Iterator[str]:
    """Files among a stage's outputs that its manifest does not list; the executed notebook and the manifest are not."""
    for kind, folder in io.folders(study, stage).items():
        if kind == "figures" and not any(key.startswith("figures/") for key in files):
            continue                                 # another stage drew them
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            own = kind == "outputs" and name in ("manifest.json", f"{stage}.ipynb")
            key = name if kind == "outputs" else f"{kind}/{name}"
            if not own and key not in files:
                yield f"output {key} is in no manifest"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when every byte is what it was, 1 when one is not, 2 when there is nothing to verify."""
    parser = argparse.ArgumentParser(prog="python -m lib.run.verify", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default=os.environ.get("STUDY", "demo"), help="a folder of outputs/")
    study = parser.parse_args(arguments).study
    finished, bad = 0, 0
    try:
        known = stages(study)
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    for stage in known:
        try:
            n, lines = differences(study, stage)
        except io.Unfinished as error:
            print(f"{stage}: {error.reason}")
            bad += error.damaged
            continue
        finished, bad = finished + 1, bad + len(lines)
        print("\n".join([f"{stage}: {n} files hashed whole, {len(lines)} differences",
                         *(f"{stage}: {line}" for line in lines)]))
    return 1 if bad else 0 if finished else 2


if __name__ == "__main__":
    sys.exit(main())
