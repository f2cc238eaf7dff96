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
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

from lib.stage import bed, durable, io, lines
from lib.stage.hashes import sha256
from lib.stage.params import STAGES, paths_of, stage_params

TRIES = 5  # how often a download that breaks off is taken up again
LOCK = "sources.lock.json"


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


class Row(NamedTuple):
    """What became of one file; state: there, fetched, or missing; note: what a reader should know."""

    state: str
    file: str
    note: str


def read_sources(path: Path | None = None) -> dict[str, Source]:
    """The manifest, by name; path: by default params/sources.yaml.

    Raises ValueError naming the source for a field that is unknown or missing, a hash that is none, a file that is outside
    the data folder, or a source that can be had in no way, or in two.
    """
    path = path or io.ROOT / "params" / "sources.yaml"
    known = {f.name for f in fields(Source)}
    found = {}
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
        found[name] = Source(name, **entry)
    return found


def _is_hex(text: object, digits: int) -> bool:
    return isinstance(text, str) and len(text) == digits and not set(text) - set("0123456789abcdef")


def needs(study: str) -> dict[str, str]:
    """What the study's stages would read: value -> "parameter of stage", see `params.paths_of`. Values are as written.

    Raises params.Refused for a study without params, or with params that no stage can start from.
    """
    named: dict[str, str] = {}
    for stage in STAGES:
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
    """How many people and loci the study's files hold, for the user's own screen, and why where it cannot be said."""
    given = stage_params(study, "01_extraction")
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
    found = _hash(path)
    entry = {"file": source.file, "from": source.address or source.hub, "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
             "bytes": _size(path), "sha256": found, "release": source.release, "licence": source.licence}  # fmt: skip
    entry |= {"revision": revision} if revision else {}
    durable.atomic_write(book, json.dumps(known | {source.name: entry}, indent=2) + "\n")
    trust = "as wanted" if wanted else f"no hash was known: trusted at first use, and held to it by {LOCK}"
    return Row("fetched", source.file, f"{_size(path):,} bytes, sha256 {found} ({trust})")


def _verified(path: Path, wanted: str | None, source: Source) -> str:
    if wanted is None:
        return "not verified: the manifest has no hash, and it was not fetched by this command"
    if (found := _hash(path)) != wanted:
        raise ValueError(f"{path}: sha256 {found}, wanted {wanted} ({source.release}): move it away to fetch it anew")
    return "sha256 as wanted"


def _make(source: Source, path: Path, wanted: str | None, revision: str | None) -> str | None:
    """Put the source's file or folder in place; a hub's revision."""
    if source.hub:
        return _from_hub(source, path, wanted, source.revision or revision)
    new = path.with_name(f".{path.name}.new")
    if source.cut:
        _cut(source.address, io.ROOT / source.cut, new)
    else:
        download(source.address, new, source.bytes)
        if source.bgzip:
            _bgzip_fasta(new)
        if source.rewrite:
            _rewrite(source.rewrite, new)
    if wanted and (found := sha256(new)) != wanted:
        new.unlink()
        raise ValueError(f"{source.address}: sha256 {found}, wanted {wanted}: not the file of {source.release}; nothing was kept")
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


def download(address: str, path: Path, n_bytes: int | None = None) -> None:
    """The bytes at an address, into a file that appears when all have come; an earlier part is gone on with.

    The part waits beside it as .part, with the server's mark of the version (ETag or date) it belongs to; another version
    starts anew. n_bytes: how many are wanted, None: as many as the server says. Raises OSError, ValueError for another size.
    """
    import requests

    part, mark = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.version")
    for attempt in range(TRIES):
        try:
            _go_on(address, part, mark)
            break
        except requests.HTTPError as error:
            if error.response.status_code == 416:  # the part is longer than the file: start anew
                part.unlink(missing_ok=True)
            elif error.response.status_code < 500 or attempt == TRIES - 1:
                raise OSError(f"{address}: the server says {error.response.status_code} {error.response.reason}") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout) as error:
            if attempt == TRIES - 1:
                held = f"{part.stat().st_size:,} bytes came and are kept; run again to go on" if part.is_file() else "nothing came"
                raise OSError(f"{address}: {held} ({error})") from error
    if not part.is_file():
        raise OSError(f"{address}: nothing came")
    if n_bytes is not None and part.stat().st_size != n_bytes:
        found = part.stat().st_size
        part.unlink()
        mark.unlink(missing_ok=True)
        raise ValueError(f"{address}: {found:,} bytes, wanted {n_bytes:,}; nothing was kept")
    os.replace(part, path)
    mark.unlink(missing_ok=True)


def _go_on(address: str, part: Path, mark: Path) -> None:
    """Add to the part what it lacks, if the server still has the version that it is of."""
    import requests

    held = part.stat().st_size if part.is_file() and mark.is_file() else 0
    ask = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-", "If-Range": mark.read_text()} if held else {})
    with requests.get(address, headers=ask, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version and not version.startswith("W/"):
            mark.write_text(version)
        else:
            mark.unlink(missing_ok=True)
        with part.open("ab" if answer.status_code == 206 else "wb") as out:
            for chunk in answer.iter_content(1 << 16):
                out.write(chunk)


def _bgzip_fasta(path: Path) -> None:
    """Write a gzip FASTA again as bgzip, with .fai and .gzi beside it, so that it can be read by place."""
    import gzip

    import pysam

    plain = path.with_name(f"{path.name}.plain")
    try:
        with gzip.open(path) as source, plain.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        pysam.tabix_compress(str(plain), str(path), force=True)
    except (OSError, EOFError) as error:
        path.unlink(missing_ok=True)
        raise ValueError(f"{path}: not a whole gzip file: {error}; it was removed") from error
    finally:
        plain.unlink(missing_ok=True)
    pysam.faidx(str(path))


def _tabs(line: str) -> str:
    """A BED row with tabs between its columns."""
    return line if re.match(r"#|(track|browser)\s", line) else "\t".join(line.split())


def _chr(line: str) -> str:
    """A VCF line with its contig named as UCSC does: 1 is chr1, MT is chrM; other names stay."""
    return re.sub(r"^(##contig=<ID=)?(\d+|X|Y|MT)(?=[\t,>])", lambda m: f"{m[1] or ''}chr{m[2].replace('MT', 'M')}", line)


REWRITES = {"tabs": _tabs, "chr": _chr}


def _rewrite(how: str, path: Path) -> None:
    """Write a file again, each line by one of `REWRITES`: a BED as plain text, a VCF as bgzip with .tbi beside it."""
    import pysam

    again = path.with_name(f"{path.name}.again")
    try:
        with pysam.BGZFile(str(again), "wb") if how == "chr" else again.open("wb") as out:
            for _, line in lines.read(path):
                out.write(f"{REWRITES[how](line)}\n".encode())
        os.replace(again, path)
        if how == "chr":
            pysam.tabix_index(str(path), preset="vcf", force=True)
    except (OSError, ValueError):
        path.unlink(missing_ok=True)
        raise
    finally:
        again.unlink(missing_ok=True)


def _cut(address: str, loci: Path, path: Path) -> None:
    """The records of a VCF that lie in the loci, read by the tabix index at the address: bgzip, with .tbi beside it.

    address: with {contig}, one file a contig. Raises ValueError where the files' samples differ, OSError without a network.
    """
    import pysam

    samples = None
    with pysam.BGZFile(str(path), "wb") as out:
        for contig, regions in _regions(loci).items():
            remote, index = address.format(contig=contig), path.with_name(f"{path.name}.{contig}.tbi")
            download(f"{remote}.tbi", index)
            with pysam.VariantFile(remote, index_filename=str(index)) as vcf:
                if samples is None:
                    samples = list(vcf.header.samples)
                    out.write(str(vcf.header).encode())
                if list(vcf.header.samples) != samples:
                    raise ValueError(f"{remote}: {len(vcf.header.samples)} samples that are not the {len(samples)} of the first file")
                for start, end in regions:
                    for record in vcf.fetch(contig, start, end):
                        out.write(str(record).encode())
            index.unlink()
    pysam.tabix_index(str(path), preset="vcf", force=True)


def _regions(loci: Path) -> dict[str, list[tuple[int, int]]]:
    """Start and end of the loci, merged where they overlap, by contig in the BED's order."""
    import bioframe

    rows = [(row[0], *bed.interval(*row[1:3], f"{loci}, line {number}")) for number, row in bed.bed_rows(loci)]
    table = pd.DataFrame(rows, columns=["contig", "start", "end"])
    merged = bioframe.merge(table, cols=("contig", "start", "end"))
    spans = {contig: list(zip(part.start, part.end)) for contig, part in merged.groupby("contig")}
    return {contig: spans[contig] for contig in table.contig.unique()}


def _from_hub(source: Source, path: Path, wanted: str | None, revision: str | None) -> str:
    """A model's folder from the hub at a revision, or at the one that its main branch has now. Returns the revision."""
    import huggingface_hub

    from lib.models import files

    if revision is None:
        revision = huggingface_hub.HfApi().model_info(source.hub).sha
    new = path.with_name(f".{path.name}.new")
    files.fetch(source.hub, revision, into=new)
    if wanted and (found := _hash(new)) != wanted:
        raise ValueError(f"{source.hub} at {revision}: weights' sha256 {found}, wanted {wanted}: left in {new}")
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
    print(people_and_loci(given.study))
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
