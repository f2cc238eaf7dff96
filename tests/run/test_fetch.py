"""Downloads, from a server on this machine: whole or not at all, gone on with, checked ever after."""

import functools
import gzip
import hashlib
import http.server
import json
import multiprocessing
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pysam
import pytest
import yaml

from lib.dna import windows
from lib.dna.reference import Reference
from lib.run import download, fetch
from lib.run.sources import Source, read_sources
from lib.stage import io
from tests import helpers
from tests.projects import toy_stages, write_pair, write_params

BODY = bytes(range(256)) * 5000  # 1.28 MB, so that it comes in more than one chunk
SHA = hashlib.sha256(BODY).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with ranges and versions, and the ways in which a download goes wrong."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        server.seen.append((name, self.headers.get("Range")))
        path = Path(self.directory) / name
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        version = f'"{hashlib.sha1(data).hexdigest()}"'
        start, stop, asked = 0, len(data), self.headers.get("Range")
        if asked and self.headers.get("If-Range", version) == version:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else len(data)
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{min(stop, len(data)) - 1}/{len(data)}")
        else:
            self.send_response(200)
        part = data[start:stop]
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", version)
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)

    def do_HEAD(self):
        self.send_error(405)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "x.bin").write_bytes(BODY)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "www"))
    server.seen, server.breaks, server.www = [], 0, tmp_path / "www"
    server.at = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def source(server, **fields) -> Source:
    given = {"name": "x", "file": "sub/x.bin", "licence": "none", "release": "1", "what": "a test"}
    return Source(**(given | {"address": f"{server.at}/x.bin"} | fields))


def left(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# One file ------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_written_down(server, folder):
    row = fetch.fetch(source(server, sha256=SHA, bytes=len(BODY)), folder)
    assert row.state == "fetched" and SHA in row.note and "as wanted" in row.note
    assert (folder / "sub/x.bin").read_bytes() == BODY and len(server.seen) == 1
    book = json.loads((folder / fetch.LOCK).read_text())["x"]
    assert book["sha256"] == SHA and book["bytes"] == len(BODY) and book["licence"] == "none"
    assert fetch.fetch(source(server, sha256=SHA), folder) == fetch.Row("there", "sub/x.bin", "sha256 as wanted")
    assert len(server.seen) == 1 and left(folder) == [fetch.LOCK, "sub/x.bin"]


def test_without_a_hash_the_first_download_is_trusted_aloud_and_held_to(server, folder):
    row = fetch.fetch(source(server), folder)
    assert "no hash was known: trusted at first use" in row.note
    (folder / "sub/x.bin").unlink()
    (server.www / "x.bin").write_bytes(b"another release")
    with pytest.raises(ValueError, match=f"x.bin: sha256 .*, wanted {SHA}.*nothing was kept"):
        fetch.fetch(source(server), folder)
    assert left(folder) == [fetch.LOCK]


def test_a_file_that_was_there_before_is_not_called_verified(server, folder):
    (folder / "sub").mkdir()
    (folder / "sub/x.bin").write_bytes(b"mine")
    assert fetch.fetch(source(server), folder).note.startswith("not verified")
    assert not server.seen and (folder / "sub/x.bin").read_bytes() == b"mine"


def test_a_file_that_differs_is_named_and_never_overwritten(server, folder):
    (folder / "sub").mkdir()
    (folder / "sub/x.bin").write_bytes(b"edited")
    digest = hashlib.sha256(b"edited").hexdigest()
    with pytest.raises(ValueError, match=f"sub/x.bin: sha256 {digest}, wanted {SHA}.*move it away"):
        fetch.fetch(source(server, sha256=SHA), folder)
    assert (folder / "sub/x.bin").read_bytes() == b"edited" and not server.seen


@pytest.mark.parametrize("fields, said", [
    ({"sha256": "0" * 64}, f"sha256 {SHA}, wanted 0000"),
    ({"bytes": 7}, "1,280,000 bytes, wanted 7"),
])  # fmt: skip
def test_another_file_than_wanted_leaves_nothing(server, folder, fields, said):
    with pytest.raises(ValueError, match=said):
        fetch.fetch(source(server, **fields), folder)
    assert left(folder) == []


def test_what_the_server_lacks_is_named(server, folder):
    with pytest.raises(OSError, match="y.bin: the server says 404"):
        fetch.fetch(source(server, address=f"{server.at}/y.bin"), folder)
    assert left(folder) == [] and len(server.seen) == 1  # a 404 is not asked for again


def test_a_download_that_breaks_off_is_gone_on_with(server, folder):
    server.breaks = 2
    fetch.fetch(source(server, sha256=SHA), folder)
    first, second, third = (int((r or "bytes=0-").removeprefix("bytes=").rstrip("-")) for _, r in server.seen)
    near = 1 << 16  # bytes in flight that a break may lose
    assert first == 0 and 0 <= len(BODY) // 2 - second < near and 0 <= len(BODY) * 3 // 4 - third < 2 * near
    assert (folder / "sub/x.bin").read_bytes() == BODY


def test_after_too_many_breaks_the_part_is_kept_and_the_next_run_goes_on(server, folder):
    server.breaks = download.TRIES
    with pytest.raises(OSError, match="bytes came and are kept; run again to go on"):
        fetch.fetch(source(server, sha256=SHA), folder)
    assert not (folder / "sub/x.bin").exists() and not (folder / fetch.LOCK).exists()
    held = (folder / "sub/.x.bin.new.part").stat().st_size
    assert 0 < held < len(BODY)
    server.seen.clear()
    fetch.fetch(source(server, sha256=SHA), folder)
    assert server.seen == [("x.bin", f"bytes={held}-")] and left(folder) == [fetch.LOCK, "sub/x.bin"]


def test_a_part_of_another_release_is_not_gone_on_with(server, folder):
    server.breaks = download.TRIES
    with pytest.raises(OSError):
        fetch.fetch(source(server), folder)
    (server.www / "x.bin").write_bytes(BODY[::-1])
    fetch.fetch(source(server), folder)
    assert (folder / "sub/x.bin").read_bytes() == BODY[::-1]


def test_no_server_is_an_error_that_names_the_address(folder):
    gone = Source("x", "x.bin", "none", "1", "a test", address="http://127.0.0.1:9/x.bin")
    with pytest.raises(OSError, match="127.0.0.1:9/x.bin: nothing came"):
        fetch.fetch(gone, folder)


# Files that are made of what came --------------------------------------------------------------------------------


def test_a_gzip_genome_becomes_bgzip_with_its_indexes(server, folder):
    (server.www / "g.fa.gz").write_bytes(gzip.compress(b">chr1 first\n" + b"ACGTACGTAC\n" * 20 + b">chr2\nGGCC\n"))
    fetch.fetch(source(server, address=f"{server.at}/g.fa.gz", file="g.fa.gz", bgzip=True), folder)
    assert left(folder) == ["g.fa.gz", "g.fa.gz.fai", "g.fa.gz.gzi", fetch.LOCK]
    with pysam.FastaFile(str(folder / "g.fa.gz")) as genome:
        assert list(genome.references) == ["chr1", "chr2"]
        assert genome.fetch("chr1", 190, 200) == "ACGTACGTAC" and genome.fetch("chr2") == "GGCC"


def test_a_genome_that_is_no_gzip_is_refused_and_nothing_is_left(server, folder):
    with pytest.raises(ValueError, match="not a whole gzip file"):
        fetch.fetch(source(server, bgzip=True), folder)
    assert left(folder) == []


def test_a_bed_with_spaces_gets_tabs(server, folder):
    """As EPDnew writes it: read_bed refuses it before, and reads it after."""
    text = "track name=x y\nchr1 10 70 NOC2L_1 900 - 20 30\nchr1  80 140 KLHL17_1   900 + 90 91\n"
    (server.www / "p.bed").write_text(text)
    (folder / "g.fa").write_text(">chr1\n" + "ACGT" * 50 + "\n")
    pysam.faidx(str(folder / "g.fa"))
    genome = Reference(folder / "g.fa")
    with pytest.raises(ValueError, match="line 2: 1 tab-separated columns"):
        windows.read_bed(server.www / "p.bed", genome)
    fetch.fetch(source(server, address=f"{server.at}/p.bed", file="p.bed", rewrite="tabs"), folder)
    table = windows.read_bed(folder / "p.bed", genome)
    assert table.values.tolist() == [["chr1", 10, 70, "NOC2L_1", 900.0, "-"], ["chr1", 80, 140, "KLHL17_1", 900.0, "+"]]
    assert left(folder) == ["g.fa", "g.fa.fai", "p.bed", fetch.LOCK]


def test_a_vcf_with_numbered_contigs_is_named_as_the_genome_and_indexed(server, folder):
    """ClinVar's header names no contigs; another file's does. Other names than numbers, X, Y and MT stay."""
    rows = [f"{c}\t{p}\t.\tA\tG\t.\t.\tCLNSIG=1\n" for c in ("1", "10", "X", "MT", "NW_9.1") for p in (5, 9)]
    head = "##fileformat=VCFv4.1\n##contig=<ID=1,length=50>\n##contig=<ID=MT>\n##x=<ID=1,length=50>\n"
    body = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "".join(rows)
    (server.www / "c.vcf.gz").write_bytes(gzip.compress((head + body).encode()))
    fetch.fetch(source(server, address=f"{server.at}/c.vcf.gz", file="c.vcf.gz", rewrite="chr"), folder)
    with gzip.open(folder / "c.vcf.gz", "rt") as file:
        lines = file.read().splitlines()
    assert lines[1:4] == ["##contig=<ID=chr1,length=50>", "##contig=<ID=chrM>", "##x=<ID=1,length=50>"]
    assert [line.split("\t")[0] for line in lines[5::2]] == ["chr1", "chr10", "chrX", "chrM", "NW_9.1"]
    with pysam.TabixFile(str(folder / "c.vcf.gz")) as file:
        assert [row.split("\t")[1] for row in file.fetch("chr10", 0, 8)] == ["5"]
    assert left(folder) == ["c.vcf.gz", "c.vcf.gz.tbi", fetch.LOCK]


def test_a_file_that_cannot_be_written_again_leaves_nothing(server, folder):
    (server.www / "c.vcf.gz").write_bytes(gzip.compress(b"1\t5\n" * 1000)[:-12])
    with pytest.raises(ValueError, match="damaged gzip after line"):
        fetch.fetch(source(server, address=f"{server.at}/c.vcf.gz", file="c.vcf.gz", rewrite="chr"), folder)
    assert left(folder) == []


HEADER = """##fileformat=VCFv4.2
##contig=<ID=chr1,length=100000>
##contig=<ID=chr2,length=100000>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{samples}
"""


def write_vcf(path: Path, contig: str, samples: str = "a\tb") -> None:
    rows = [f"{contig}\t{p}\t.\tA\tG\t.\tPASS\t.\tGT\t0|1\t1|1\n" for p in range(10, 90_000, 10)]
    path.write_text(HEADER.format(samples=samples) + "".join(rows))
    pysam.tabix_index(str(path), preset="vcf", force=True)


def _serve(pipe, www: Path, log: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=www))
    server.breaks, server.seen = 0, Log(log)
    pipe.send(server.server_port)
    server.serve_forever()


class Log:
    """Requests, one a line, where another process can read them."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, request: tuple[str, str | None]) -> None:
        with self.path.open("a") as out:
            out.write(f"{request[0]} {request[1] or ''}\n")


@pytest.fixture
def other(tmp_path):
    """The server in a process of its own: htslib holds this one's interpreter while it waits for an answer."""
    (tmp_path / "www").mkdir()
    receiver, sender = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(sender, tmp_path / "www", tmp_path / "log"), daemon=True
    )
    process.start()
    assert receiver.poll(60)
    yield SimpleNamespace(at=f"http://127.0.0.1:{receiver.recv()}", www=tmp_path / "www", log=tmp_path / "log")
    process.terminate()
    process.join()


@pytest.fixture
def panel(other, tmp_path, monkeypatch):
    """A project with a BED, and a cohort on the server, one file a contig."""
    monkeypatch.setattr(io, "ROOT", tmp_path)
    (tmp_path / "loci.bed").write_text("# comment\nchr2\t50000\t50100\tx\nchr2\t50050\t50200\ty\nchr1\t0\t25\tz\n")
    for contig in ("chr1", "chr2"):
        write_vcf(other.www / f"{contig}.vcf", contig)
    return source(other, address=other.at + "/{contig}.vcf.gz", file="cohort.vcf.gz", cut="loci.bed")


def test_a_cohort_is_cut_to_the_loci_by_its_index(panel, other, folder):
    fetch.fetch(panel, folder)
    with pysam.VariantFile(str(folder / "cohort.vcf.gz")) as vcf:
        assert list(vcf.header.samples) == ["a", "b"]
        records = [(r.chrom, r.pos) for r in vcf]
        assert [r.samples["b"]["GT"] for r in vcf.fetch("chr1", 0, 25)] == [(1, 1)] * 2
    assert records == [("chr2", p) for p in range(50010, 50201, 10)] + [("chr1", 10), ("chr1", 20)]  # overlap once
    assert left(folder) == ["cohort.vcf.gz", "cohort.vcf.gz.tbi", fetch.LOCK]
    assert re.search(r"chr2.vcf.gz bytes=[1-9]\d{2,}-", other.log.read_text())  # read by place, not from the front


def test_a_cohort_whose_files_have_other_samples_is_refused(panel, other, folder):
    write_vcf(other.www / "chr1.vcf", "chr1", "a\tc")
    with pytest.raises(ValueError, match="chr1.vcf.gz: 2 samples that are not the 2 of the first file"):
        fetch.fetch(panel, folder)
    assert not (folder / "cohort.vcf.gz").exists()


@pytest.mark.parametrize("fault", ["cut short", "no index", "no file"])
def test_a_cohort_that_cannot_be_read_whole_leaves_no_cohort(panel, other, folder, fault):
    data, name = other.www / "chr2.vcf.gz", "chr2.vcf.gz"
    if fault == "cut short":
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 3])
    else:
        (other.www / (name + ".tbi" if fault == "no index" else name)).unlink()
    with pytest.raises((OSError, ValueError)):
        fetch.fetch(panel, folder)
    assert not (folder / "cohort.vcf.gz").exists() and not (folder / fetch.LOCK).exists()


# A study ---------------------------------------------------------------------------------------------------------


FIRST = """# %% tags=["parameters"]
study = "toy"
vcf_path = "simulated:cohort.vcf.gz"
loci_path = "simulated:loci.bed"
truth_path = ""
other_path = ""
model_path = "params/toy/model"
"""
SECOND = """# %% tags=["parameters"]
interval_paths = []
vcf_path = ""
"""


@pytest.fixture
def project(server, root, monkeypatch):
    """A study that names one file of a source, one of the user's, one that is simulated, and two of the project."""
    write_pair(root, "00_dna", FIRST)
    write_pair(root, "04_annotation", SECOND)
    loci = root / "params/toy/loci.bed"
    write_params(root, "00_dna", "vcf_path: $DATA_DIR/my.vcf.gz\nloci_path: params/toy/loci.bed\ntruth_path: simulated:x\n")
    write_params(root, "04_annotation", "interval_paths: [$DATA_DIR/sub/x.bin]\nvcf_path: $DATA_DIR/my.vcf.gz\n")
    loci.write_text("#h\nchr1\t0\t10\ta\nchr1\t20\t30\tb\n")
    entry = {"file": "sub/x.bin", "address": f"{server.at}/x.bin", "licence": "l", "release": "r", "what": "w", "sha256": SHA}
    entries = {"x": entry, "index": entry | {"file": "sub/x.bin.tbi", "address": f"{server.at}/none"}, "extra": entry | {"file": "z.bin"}}
    (root / "params" / "sources.yaml").write_text(yaml.safe_dump(entries))
    monkeypatch.setenv("DATA_DIR", str(root / "data"))
    with toy_stages({"00_dna": [], "04_annotation": ["00_dna"]}):
        yield entries


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        fetch.main(list(arguments))
    return end.value.code


def test_a_study_fetches_what_it_names_and_says_what_is_missing(project, capsys, folder):
    assert run("toy") == 1
    out = capsys.readouterr().out
    assert "fetched  sub/x.bin: 1,280,000 bytes" in out
    assert "missing  $DATA_DIR/my.vcf.gz: vcf_path of 00_dna: yours" in out
    assert "missing  params/toy/model: model_path of 00_dna" in out  # a default that the params do not name
    assert "missing  sub/x.bin.tbi: http" in out and "404" in out  # the index belongs to the file that is named
    assert "z.bin" not in out and "truth" not in out and "2 of 5 there" in out
    assert "people not known (no file $DATA_DIR/my.vcf.gz) x 2 loci" in out


def test_people_are_counted_from_the_vcf(project, capsys, folder, server):
    write_vcf(folder / "my.vcf", "chr1")
    assert run("toy", "extra") == 1
    out = capsys.readouterr().out
    assert "2 people x 2 loci" in out and "fetched  z.bin" in out


def test_dry_fetches_nothing_and_names_all(project, capsys, root, server):
    assert run("toy", "--dry") == 1
    assert "missing  sub/x.bin: http" in capsys.readouterr().out and not server.seen and not (root / "data").exists()


@pytest.mark.parametrize("name, content, said", [
    ("loci.bed", gzip.compress(b"#h\nchr1\t0\t10\ta\n", mtime=0), "x 1 loci"),
    ("loci.bed", b"track name=a\nchr1\t0\t10\ta\n\ntracked\t0\t5\tb\n", "x 2 loci"),
    ("loci.bed", "chr1\t0\t10\ta\n".encode("utf-16"), "x loci not known ("),
    ("loci.bed", b"chr1 0 10 a\n", "line 1: 1 tab-separated columns, wanted contig, start, end)"),
    ("my.vcf.gz", b"no VCF", "people not known ("),
], ids=["gzip", "track", "UTF-16", "spaces", "no VCF"])  # fmt: skip
def test_whatever_the_loci_and_people_are_the_rows_are_printed(project, capsys, root, folder, name, content, said):
    (root / ("params/toy" if name == "loci.bed" else "data") / name).write_bytes(content)
    assert run("toy", "--dry") == 1
    out = capsys.readouterr().out
    assert "missing  sub/x.bin: http" in out and said in out.splitlines()[-1]


def test_the_study_can_come_from_the_environment(project, capsys, monkeypatch):
    monkeypatch.setenv("STUDY", "toy")
    assert run("--dry") == 1 and "toy in" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, said", [
    (["none"], "unknown study 'none': there is no params/none/"),
    (["../params/toy"], "is no name of a study"),
    (["toy", "typo"], "no source 'typo': known are x, index, extra"),
])  # fmt: skip
def test_a_study_or_source_that_is_none_is_refused(project, capsys, arguments, said):
    assert run(*arguments) == 2 and said in capsys.readouterr().err.replace("extra, index, x", "x, index, extra")


@pytest.mark.parametrize("change, said", [
    ({"sha265": SHA}, "unknown sha265; known are"),
    ({"licence": ""}, "no licence"),
    ({"hub": "org/name"}, "wanted one of address, hub, by_hand"),
    ({"address": None}, "wanted one of address, hub, by_hand"),
    ({"sha256": "abc"}, "sha256 'abc', wanted 64 hex digits or null"),
    ({"rewrite": "upper"}, "rewrite 'upper', wanted one of tabs, chr"),
    ({"file": "../x"}, "file '../x' is not below the data folder"),
])  # fmt: skip
def test_a_manifest_with_a_fault_is_refused(project, root, change, said):
    (root / "params" / "sources.yaml").write_text(yaml.safe_dump({"x": project["x"] | change}))
    with pytest.raises(ValueError, match=f"sources.yaml, x: {said}"):
        read_sources()


# Ours ------------------------------------------------------------------------------------------------------------


def test_our_manifest_is_whole_and_honest():
    sources = read_sources()
    assert set(sources) >= {"genome", "gencode", "clinvar", "ccre", "gwas-catalog", "repeatmasker", "1kg-30x", "mistral-dna"}
    assert len({s.file for s in sources.values()}) == len(sources)
    for s in sources.values():
        assert s.by_hand or s.hub or s.address.startswith("https://")
        assert not s.cut or (Path(fetch.__file__).parents[2] / s.cut).is_file()
    assert [s.name for s in sources.values() if s.sha256 and not s.by_hand] == []  # README: no address has been tried yet


def test_our_hashes_are_those_of_the_files_at_hand():
    hashed = [s for s in read_sources().values() if s.sha256 and (helpers.DATA_DIR / s.file).exists()]
    if not hashed:
        pytest.skip(f"NO REAL DATA at {helpers.DATA_DIR}: set DATA_DIR to the folder of shared data")
    for s in hashed:
        assert fetch.fetch(s, helpers.DATA_DIR, dry=True).note == "sha256 as wanted"
        assert s.bytes == fetch._size(helpers.DATA_DIR / s.file)


@pytest.mark.parametrize("study, yours", [
    ("ibd-1kg", set()), ("ibd-nt", {"cohort.phased.vcf.gz", "background.bed", "phenotype.tsv", "people.tsv"}),
])  # fmt: skip
def test_our_studies_name_only_files_with_a_source_or_the_users_own(study, yours):
    files = {s.file for s in read_sources().values()}
    named = {v.removeprefix("$DATA_DIR/") for v in fetch.needs(study) if v.startswith("$DATA_DIR/")}
    assert named - files == yours


def test_of_a_door_without_genotypes_no_people_are_counted(project, capsys, root):
    write_pair(root, "00_dna", FIRST.replace("vcf_path", "cells_path"))
    write_params(root, "00_dna", "cells_path: $DATA_DIR/my.h5ad\nloci_path: params/toy/loci.bed\n")
    assert run("toy", "--dry") == 1
    out = capsys.readouterr().out
    assert "cells_path of 00_dna: yours" in out and "loci\n" not in out and "simulated" not in out
