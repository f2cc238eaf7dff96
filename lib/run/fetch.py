"""What a study needs from the world, fetched once on a machine with a network, and the same bytes ever after.

    python -m lib.run.fetch ibd-nt              what params/ibd-nt name below DATA_DIR and is not there
    python -m lib.run.fetch ibd-nt 1kg-30x      and a source of params/sources.yaml that they do not name
    python -m lib.run.fetch ibd-nt --dry        only say what is missing

A download that was cut short goes on where it stopped; a file appears under its name whole, with the hash that was wanted, or
not at all; a file that is there is never overwritten. Where the manifest knows no hash, the first download's is written to
DATA_DIR/sources.lock.json, and every later run holds the file to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lib.run import recast
from lib.run.cut import cut_vcf
from lib.run.download import download
from lib.run.sources import Source, read_sources
from lib.stage import bed, durable, io
from lib.stage.hashes import sha256
from lib.stage.params import front_door, paths_of, stage_params, stages

LOCK = "sources.lock.json"


class Row(NamedTuple):
    """What became of one file; state: there, fetched, or missing; note: what a reader should know."""

    state: str
    file: str
    note: str


def needs(study: str) -> dict[str, str]:
    """What the study's stages would read: value -> "parameter of stage", see `params.paths_of`. Values are as written.

    Raises params.Refused for a study without params, or with params that no stage can start from.
    """
    named: dict[str, str] = {}
    for stage in stages(study):
        for key, value in paths_of(stage_params(study, stage)):
            named.setdefault(value, f"{key} of {stage}")
    return named


def gather(study: str, extra: list[str], sources: dict[str, Source], dry: bool = False) -> list[Row]:
    """One row for every file that the study needs, and for the extra sources, after fetching what is not there.

    dry: fetch and write nothing. Trouble with one file is its row, and the others are still fetched.
    """
    if unknown := sorted(set(extra) - set(sources)):
        raise ValueError(f"no source {unknown[0]!r}: known are {', '.join(sources)}")
    rows, wanted = [], [sources[name] for name in extra]
    for value, where in needs(study).items():
        inside = value.removeprefix("$DATA_DIR/")
        parts = [s for s in sources.values() if s.file == inside or s.file.startswith((f"{inside}.", f"{inside}/"))]
        if value.startswith("$DATA_DIR/") and parts:
            wanted += [s for s in parts if s not in wanted]
            continue
        note = f"{where}: yours" if value.startswith("$DATA_DIR/") else where
        rows.append(Row("there" if io.named_path(value).exists() else "missing", value, note))
    for source in wanted:
        try:
            rows.append(fetch(source, io.data_folder(), dry))
        except (OSError, ValueError) as error:
            rows.append(Row("missing", source.file, str(error)))
    return rows


def people_and_loci(study: str) -> str:
    """How many people and loci the study's files hold, for the user's own screen, and why where it cannot be said.

    Nothing of a study whose front door names no genotypes.
    """
    given = stage_params(study, front_door(study))
    if not {"vcf_path", "loci_path"} <= set(given):
        return ""
    if not given["vcf_path"] or given["vcf_path"].startswith("simulated:"):
        return "no vcf_path: people and sequence are simulated"
    return f"{_count(_people, given['vcf_path'], 'people')} x {_count(_loci, given['loci_path'], 'loci')}"


def _count(count: Callable[[Path], int], value: str, what: str) -> str:
    if not io.named_path(value).is_file():
        return f"{what} not known (no file {value})"
    try:
        return f"{count(io.named_path(value))} {what}"
    except (OSError, ValueError) as error:
        return f"{what} not known ({error})"


def _people(path: Path) -> int:
    import pysam

    with pysam.VariantFile(str(path)) as vcf:
        return len(vcf.header.samples)


def _loci(path: Path) -> int:
    return sum(1 for _ in bed.bed_rows(path))


def fetch(source: Source, folder: Path, dry: bool = False) -> Row:
    """What became of a source; fetched if it is not there and has an address.

    Raises ValueError for a file that is not what it was or should be, OSError without a network.
    """
    path, book = folder / source.file, folder / LOCK
    known = json.loads(book.read_text(encoding="utf-8")) if book.is_file() else {}
    wanted = source.sha256 or known.get(source.name, {}).get("sha256")
    if path.exists():
        return Row("there", source.file, _verified(path, wanted, source))
    if source.by_hand:
        return Row("missing", source.file, f"no address has these bytes: {source.by_hand}")
    if dry:
        return Row("missing", source.file, f"{source.address or source.hub} has it ({source.release}; {source.licence})")
    path.parent.mkdir(parents=True, exist_ok=True)
    revision = _make(source, path, wanted, known.get(source.name, {}).get("revision"))
    digest = _hash(path)
    entry = {"file": source.file, "from": source.address or source.hub, "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
             "bytes": _size(path), "sha256": digest, "release": source.release, "licence": source.licence}  # fmt: skip
    entry |= {"revision": revision} if revision else {}
    durable.atomic_write(book, json.dumps(known | {source.name: entry}, indent=2) + "\n")
    trust = "as wanted" if wanted else f"no hash was known: trusted at first use, and held to it by {LOCK}"
    return Row("fetched", source.file, f"{_size(path):,} bytes, sha256 {digest} ({trust})")


def _verified(path: Path, wanted: str | None, source: Source) -> str:
    if wanted is None:
        return "not verified: the manifest has no hash, and it was not fetched by this command"
    if (digest := _hash(path)) != wanted:
        raise ValueError(f"{path}: sha256 {digest}, wanted {wanted} ({source.release}): move it away to fetch it anew")
    return "sha256 as wanted"


def _make(source: Source, path: Path, wanted: str | None, revision: str | None) -> str | None:
    """Put the source's file or folder in place; a hub's revision."""
    if source.hub:
        return _from_hub(source, path, wanted, source.revision or revision)
    new = path.with_name(f".{path.name}.new")
    if source.cut:
        cut_vcf(source.address, io.ROOT / source.cut, new)
    else:
        download(source.address, new, source.bytes)
        if source.bgzip:
            recast.bgzip_fasta(new)
        if source.rewrite:
            recast.rewrite(source.rewrite, new)
    if wanted and (digest := sha256(new)) != wanted:
        new.unlink()
        raise ValueError(f"{source.address}: sha256 {digest}, wanted {wanted}: not the file of {source.release}; nothing was kept")
    for index in (".fai", ".gzi", ".tbi"):  # before the file itself, whose presence means that all is there
        if (made := new.with_name(new.name + index)).is_file():
            os.replace(made, path.with_name(path.name + index))
    os.replace(new, path)
    return None


def _hash(path: Path) -> str:
    from lib.models import files

    return files.weights_sha256(files.check_weights(path)) if path.is_dir() else sha256(path)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _from_hub(source: Source, path: Path, wanted: str | None, revision: str | None) -> str:
    """A model's folder from the hub at a revision, or at the one that its main branch has now. Returns the revision."""
    import huggingface_hub

    from lib.models import files

    if revision is None:
        revision = huggingface_hub.HfApi().model_info(source.hub).sha
    new = path.with_name(f".{path.name}.new")
    files.fetch(source.hub, revision, into=new)
    if wanted and (digest := _hash(new)) != wanted:
        raise ValueError(f"{source.hub} at {revision}: weights' sha256 {digest}, wanted {wanted}: left in {new}")
    shutil.rmtree(new / ".cache", ignore_errors=True)
    os.replace(new, path)
    return revision


def main(arguments: list[str] | None = None) -> None:
    """Exits with 0 when all is there, 1 when something is missing or differs, 2 for a study or source that is none."""
    parser = argparse.ArgumentParser(prog="python -m lib.run.fetch", description="Fetch what a study needs.")
    parser.add_argument("study", nargs="?", default=os.environ.get("STUDY"), help="folder of params; default: $STUDY")
    parser.add_argument("sources", nargs="*", help="sources of params/sources.yaml to fetch beside")
    parser.add_argument("--dry", action="store_true", help="only say what is missing")
    given = parser.parse_args(arguments)
    try:
        if not given.study:
            raise ValueError("give a study, as an argument or in STUDY")
        rows = gather(given.study, given.sources, read_sources(), given.dry)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for row in rows:
        print(f"{row.state:8} {row.file}: {row.note}")
    missing = sum(row.state == "missing" for row in rows)
    print(f"\n{given.study} in {io.data_folder()}: {len(rows) - missing} of {len(rows)} there, {missing} missing or not as wanted")
    if said := people_and_loci(given.study):
        print(said)
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
