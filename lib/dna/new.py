"""Params for a study of your own data that fit it, each choice with its reason beside it.

    python -m lib.dna.new STUDY --model FOLDER --genome FASTA --vcf VCF --loci BED --phenotype TABLE
        [--background BED] [--people TABLE] [--exons BED or GFF3] [--variants VCF with CLNSIG]

Writes params/STUDY/, one file a notebook, and then looks for faults as `python -m lib.check STUDY` does. An option may
also come as an environment variable of its name in capitals, as `make new` gives them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lib.check import whole
from lib.dna import background as drawn
from lib.dna import choices, windows
from lib.dna.checks import fit
from lib.dna.given import Given, Seen, look
from lib.stage import io
from lib.stage.names import check_name


def new(study: str, given: Given) -> Path:
    """Write params/<study>/ and give it back. Raises ValueError, or FileExistsError for a study that is there."""
    check_name("study", study)
    folder = io.ROOT / "params" / study
    if folder.exists():
        raise FileExistsError(f"params/{study} is there already; choose another name, or remove it first")
    seen = look(given)
    partial = folder.with_name(f".{study}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        size, background, text = _windows(study, given, seen, partial)
        for stage, chosen in choices.choose(given, seen, background, text, size).items():
            (partial / f"{stage}.yaml").write_text(_yaml(study, chosen), encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _windows(study: str, given: Given, seen: Seen, folder: Path) -> tuple[tuple[int, str], pd.DataFrame, str]:
    """Bases per window with the reason, the background's windows, and its path: all of them fit the context."""
    most = choices.MOST_BP
    while True:
        size = choices.window(seen, most)
        background, text = _background(study, given, seen, size[0], folder)
        read = windows.sample_windows(background, choices.MOST_WINDOWS, 0)
        longest = fit.n_tokens(seen.model, fit.sequences(read, seen.genome)).max()
        if seen.model.max_tokens is None or longest <= seen.model.max_tokens:
            return size, background, text
        most = size[0] - max(fit.step(seen.model), size[0] // 20)


def _background(study: str, given: Given, seen: Seen, window_bp: int, folder: Path) -> tuple[pd.DataFrame, str]:
    """Windows of the background, and the path that params give for it."""
    if given.background:
        regions, text = windows.read_bed(io.data_path(given.background), seen.genome, "background region"), given.background
    else:
        regions, text = drawn.draw(seen.genome, seen.loci, window_bp, choices.MOST_WINDOWS, 0), f"params/{study}/background.bed"
        regions.to_csv(folder / "background.bed", sep="\t", header=False, index=False)
        regions = regions.assign(locus="")
    return windows.of_background(regions, seen.loci, seen.genome, window_bp), text


def _yaml(study: str, chosen: choices.Choices) -> str:
    """A params file: a line each, with its reason as a comment."""
    lines = [f"# {study}: written by rule from the files that it names; change what you like, then check again"]
    for name, (value, reason) in chosen.items():
        line = f"{name}: {_scalar(value)}"
        lines.append(f"{line}   # {reason}" if reason else line)
    return "\n".join([*lines, "seed: 0", ""])


def _scalar(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return '""' if value == "" else text.removesuffix("...\n").strip()


def _as_param(text: str) -> str:
    """A path as params say it: relative to the project, under $DATA_DIR, or absolute."""
    if not text or text.startswith("$DATA_DIR"):
        return text
    path = Path(text).absolute()
    if not path.exists() and (io.ROOT / text).exists():
        path = io.ROOT / text
    if path.is_relative_to(io.ROOT):
        return path.relative_to(io.ROOT).as_posix()
    if path.is_relative_to(io.data_folder()):
        return "$DATA_DIR/" + path.relative_to(io.data_folder()).as_posix()
    return str(path)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written and nothing wrong, 1 written with faults to repair, 2 nothing written."""
    parser = argparse.ArgumentParser(prog="python -m lib.dna.new", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default=os.environ.get("STUDY"), help="name of the new folder in params/")
    for field in fields(Given):
        parser.add_argument(f"--{field.name}", default=os.environ.get(field.name.upper(), ""))
    chosen = parser.parse_args(arguments)
    absent = [n.upper() for n in ("study", "model", "genome", "vcf", "loci", "phenotype") if not getattr(chosen, n)]
    if absent:
        parser.error(f"give {', '.join(absent)}")
    given = Given(**{field.name: _as_param(getattr(chosen, field.name)) for field in fields(Given)})
    try:
        folder = new(chosen.study, given)
    except (ValueError, OSError) as error:
        print(f"refused, nothing was written:\n{error}", file=sys.stderr)
        return 2
    print(f"wrote {folder.relative_to(io.ROOT)}: read the reasons beside its values, then run `make study STUDY={chosen.study}`")
    return whole.main([chosen.study])


if __name__ == "__main__":
    sys.exit(main())
