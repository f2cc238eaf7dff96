"""Downloads, from a server on this machine: fetched once, checked ever after."""

import functools
import http.server
import json
import threading

import pytest

from lib.annotate import sources


@pytest.fixture
def server(tmp_path):
    """(address, list of requests) of a folder with one file."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "clinvar.vcf.gz").write_bytes(b"first")
    seen = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            seen.append(args)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "www"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/clinvar.vcf.gz", seen
    server.shutdown()


def test_a_source_is_fetched_once_and_written_down(tmp_path, server):
    address, seen = server
    path = sources.fetch("clinvar", tmp_path / "data", address=address)
    assert path.read_bytes() == b"first" and len(seen) == 1
    book = json.loads((tmp_path / "data" / "sources.json").read_text())["clinvar"]
    assert book["sha256"] == "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
    assert book["bytes"] == 5 and book["url"] == address and book["licence"] == "public domain"
    assert sources.fetch("clinvar", tmp_path / "data", address=address) == path and len(seen) == 1


def test_a_file_that_changed_is_refused_and_kept(tmp_path, server):
    address, _ = server
    path = sources.fetch("clinvar", tmp_path / "data", address=address)
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match="clinvar.vcf.gz: sha256 .*, wanted a7937b64"):
        sources.fetch("clinvar", tmp_path / "data", address=address)
    assert path.read_bytes() == b"other"


def test_a_server_that_gives_another_file_is_refused_and_nothing_is_left(tmp_path, server):
    with pytest.raises(ValueError, match="not the file that was wanted"):
        sources.fetch("clinvar", tmp_path / "data", wanted_sha256="0" * 64, address=server[0])
    assert not (tmp_path / "data" / "clinvar.vcf.gz").exists()


def test_unknown_sources_and_missing_files_are_refused(tmp_path, server):
    with pytest.raises(KeyError, match="no source 'x': known are encode-ccre"):
        sources.fetch("x", tmp_path)
    with pytest.raises(OSError, match="404"):
        sources.fetch("clinvar", tmp_path / "data", address=server[0] + "x")
    assert not list((tmp_path / "data").glob("*vcf*"))


def test_every_source_has_an_address_and_a_licence():
    assert set(sources.SOURCES) >= {"encode-ccre", "clinvar", "gwas-catalog", "repeatmasker"}
    assert all(url.startswith("https://") and licence for url, licence in sources.SOURCES.values())
