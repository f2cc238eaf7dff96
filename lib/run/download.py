"""The bytes at an address, gone on with where an earlier download of them stopped."""

from __future__ import annotations

import os
from pathlib import Path

TRIES = 5  # how often a download that breaks off is taken up again


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
        size = part.stat().st_size
        part.unlink()
        mark.unlink(missing_ok=True)
        raise ValueError(f"{address}: {size:,} bytes, wanted {n_bytes:,}; nothing was kept")
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
