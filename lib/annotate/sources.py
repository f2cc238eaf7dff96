"""Public annotation, fetched once on a machine with a network, and the same bytes ever after.

    python -m lib.annotate.sources clinvar --to data

What a file was (address, time, size, sha256) stands in `sources.json` beside it. A file that is there and matches is not
fetched again; one that does not match is refused, never overwritten.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from lib import io

#: name -> address, licence. Addresses without a release in them change under the same name: hence sources.json.
SOURCES = {
    "encode-ccre": ("https://downloads.wenglab.org/V4/GRCh38-cCREs.bed", "ENCODE, free to use with citation"),
    "clinvar": ("https://ftp.ncbi.nlm.nih.gov/pub/clinvar/vcf_GRCh38/clinvar.vcf.gz", "public domain"),
    "clinvar-index": ("https://ftp.ncbi.nlm.nih.gov/pub/clinvar/vcf_GRCh38/clinvar.vcf.gz.tbi", "public domain"),
    "gwas-catalog": ("https://www.ebi.ac.uk/gwas/api/search/downloads/full", "EBI terms of use"),
    "repeatmasker": ("https://hgdownload.soe.ucsc.edu/goldenPath/hg38/bigZips/hg38.fa.out.gz", "free to use"),
}  # fmt: skip
NAMES = {"gwas-catalog": "gwas_catalog.tsv"}


def fetch(name: str, folder: Path, wanted_sha256: str | None = None, address: str | None = None) -> Path:
    """The file of a source, fetched by pooch if it is not there. address: another mirror.

    wanted_sha256: what it has to be; without one, what `sources.json` says it was, and at the first time whatever comes.
    Raises KeyError for an unknown source, ValueError for a file that is not what it was, OSError without a network.
    """
    if name not in SOURCES:
        raise KeyError(f"no source {name!r}: known are {', '.join(SOURCES)}")
    url, licence = SOURCES[name]
    url = address or url
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAMES.get(name, url.rsplit("/", 1)[1])
    book = folder / "sources.json"
    known = json.loads(book.read_text()) if book.is_file() else {}
    wanted = wanted_sha256 or known.get(name, {}).get("sha256")
    if not path.is_file():
        _download(url, path, wanted)
    found = io.sha256(path)
    if wanted and found != wanted:
        raise ValueError(f"{path}: sha256 {found}, wanted {wanted}: move it away to fetch it anew")
    if known.get(name, {}).get("sha256") != found:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known[name] = {"url": url, "fetched": now, "bytes": path.stat().st_size, "sha256": found, "licence": licence}
        io.atomic_write(book, json.dumps(known, indent=2) + "\n")
    return path


def _download(url: str, path: Path, wanted: str | None) -> None:
    import pooch

    try:
        pooch.retrieve(url, known_hash=f"sha256:{wanted}" if wanted else None, fname=path.name, path=path.parent)
    except ValueError as error:  # pooch removes what does not match
        raise ValueError(f"{url}: not the file that was wanted: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch a public annotation file.")
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("--to", type=Path, default=Path("data"), help="folder")
    parser.add_argument("--sha256", help="what the file has to be")
    given = parser.parse_args()
    print(fetch(given.name, given.to, given.sha256))


if __name__ == "__main__":
    main()
