"""A fetched file written again in the form that it is read in, with its index."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from pathlib import Path

from lib.stage import lines


def bgzip_fasta(path: Path) -> None:
    """Write a gzip FASTA again as bgzip, with .fai and .gzi beside it, so that it can be read by place."""
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


def rewrite(how: str, path: Path) -> None:
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
