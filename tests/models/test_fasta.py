"""FASTA read piece by piece: the same records whatever the size of a piece, and memory of a piece."""

import gzip
import itertools
import tracemalloc

import numpy as np
import pytest

from lib.models import fasta

TEXT = ">a one\nacgt\nNNNACG\n\n>empty\n>b\nTTTT>T\r\nGG\n>n\nNNNN\n>c\n" + "NNNNNNNNNN\n" * 9 + "NNACGTNACGT\n" * 3
RECORDS = [("a", "ACGTNNNACG"), ("empty", ""), ("b", "TTTT>TGG"), ("n", "NNNN"), ("c", "N" * 90 + "NNACGTNACGT" * 3)]


def whole(path):
    groups = itertools.groupby(fasta.pieces(path), key=lambda piece: piece[:2])
    return [(name, "".join(bases for *_, bases in record)) for (_, name), record in groups]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 1000])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_records_are_the_same_in_pieces_of_any_size(tmp_path, monkeypatch, size, end):
    """Lines longer than a piece aside, in which a '>' could be taken for the start of one."""
    path = tmp_path / f"g.fa{end}"
    (gzip.open if end else open)(path, "wt", newline="").write(TEXT)
    monkeypatch.setattr(fasta, "SIZE", max(size, 13))
    assert whole(path) == RECORDS
    assert list(fasta.heads(path, 9, 6)) == [("a", "ACGTNN"), ("empty", ""), ("b", "TTTT>T"), ("n", "NNNN"), ("c", "ACGTNA")]
    assert list(fasta.heads(path, 2, 100)) == RECORDS[:2]


@pytest.mark.parametrize("content, said", [
    (b"ACGT\n>a\nACGT\n", "begins with 'ACGT"), (b"@read\nACGT\n+\nIIII\n", "begins with '@read"), (b">a\n\xff\xfe\n", "utf-8"),
    (gzip.compress(b">a\nACGT\n", mtime=0)[:-9], "end-of-stream"), (b"\x1f\x8b" + b"none" * 9, "compression method"),
])
def test_what_is_no_fasta_file_is_refused(tmp_path, content, said):
    (tmp_path / "g.fa").write_bytes(content)
    with pytest.raises(ValueError, match=f"g.fa: not a whole FASTA file: .*{said}"):
        list(fasta.pieces(tmp_path / "g.fa"))


@pytest.mark.parametrize("width", [60, 50_000_000])
def test_a_chromosome_takes_little_memory(tmp_path, width):
    """50 Mb, the first 10 of them N, in lines of 60 bases and in one."""
    bases = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), 50_000_000)
    bases[:10_000_000] = ord("N")
    known = bytes(bases[10_000_000 : 10_000_100]).decode()
    with (tmp_path / "g.fa").open("wb") as file:
        file.write(b">chr\n")
        lines = bases[: len(bases) // width * width].reshape(-1, width)
        file.write(np.column_stack([lines, np.full(len(lines), 10, np.uint8)]).tobytes())
        file.write(b">next\nACGT\n")
    del bases, lines
    tracemalloc.start()
    heads = list(fasta.heads(tmp_path / "g.fa", 6, 50_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [name for name, _ in heads] == ["chr", "next"] and heads[0][1].startswith(known) and len(heads[0][1]) == 50_000
    assert peak < 40e6                               # bytes; the file is 50e6
