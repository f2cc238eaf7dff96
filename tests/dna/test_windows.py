import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import windows
from lib.dna.reference import Reference


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">chr16\n" + "ACGTACGTAC" * 4 + "\n" + "N" * 40 + "\n>chrX\nACGT\n")
    pysam.faidx(str(path))
    return Reference(path)


def bed(tmp_path, text):
    (tmp_path / "l.bed").write_text(text)
    return tmp_path / "l.bed"


def test_read_bed(tmp_path, reference):
    text = "#comment\nchr16\t0\t10\tNOD2\t1000\t+\n\nchr16\t5\t20\n"
    table = windows.read_bed(bed(tmp_path, text), reference)
    assert table.values.tolist() == [
        ["chr16", 0, 10, "NOD2", 1000.0, "+"],
        ["chr16", 5, 20, "chr16:5-20", 0.0, "."],
    ]


@pytest.mark.parametrize(
    "line, message",
    [
        ("chr16\t70\t81\tb", "chr16:70-81 is off the contig, which has 80 bases"),
        ("chr16\t-1\t5\tb", "chr16:-1-5 is off the contig"),
        ("chr16\t9\t9\tb", "start 9 is not below end 9"),
        ("chr16\t1.5\t9\tb", "'1.5'.*wanted integer"),
        ("chr16\t1\t9\tb\thigh", "'high'.*number as score"),
        ("chr16\t1", "2 tab-separated columns, wanted"),
        ("16\t1\t9\tb", "contig '16'.*'chr16'.*prefix"),
        ("chr16\t1\t9\tb\t0\tx", "strand 'x'"),
        ("chr16\t1\t9\ta", "gene 'a' was already used on line 1"),
    ],
)
def test_bad_line_is_named(tmp_path, reference, line, message):
    path = bed(tmp_path, f"chr16\t0\t5\ta\n{line}\n")
    with pytest.raises(ValueError, match=rf"l\.bed, line 2: .*{message}"):
        windows.read_bed(path, reference, "gene")


def test_empty_and_missing(tmp_path, reference):
    with pytest.raises(ValueError, match=r"l\.bed: no locus"):
        windows.read_bed(bed(tmp_path, "#nothing\n"), reference)
    with pytest.raises(FileNotFoundError, match=r"no\.bed"):
        windows.read_bed(tmp_path / "no.bed", reference)


def test_repeated_names_when_allowed(tmp_path, reference):
    path = bed(tmp_path, "chr16\t0\t5\ta\nchr16\t7\t9\ta\n")
    assert len(windows.read_bed(path, reference, unique=False)) == 2


LOCI = pd.DataFrame(
    {"contig": ["c", "d", "d"], "start": [100, 5, 9], "end": [125, 15, 12], "locus": list("xyz")}
)


def test_tile_covers_each_base_once():
    tiles = windows.tile(LOCI, 10)
    assert tiles[["locus", "start", "end"]].values.tolist() == [
        ["x", 100, 110], ["x", 110, 120], ["x", 120, 125], ["y", 5, 15], ["z", 9, 12],
    ]  # fmt: skip
    assert tiles.window.tolist() == [0, 1, 2, 3, 4]


def test_regions_that_overlap_or_touch_are_one_and_contigs_keep_their_order():
    rows = [("b", 5, 9), ("a", 30, 40), ("b", 0, 5), ("a", 0, 20), ("a", 2, 4), ("a", 10, 25), ("b", 11, 12)]
    regions = pd.DataFrame(rows, columns=windows.PLACE)
    assert list(windows.merged(regions)) == [("b", 0, 9), ("b", 11, 12), ("a", 0, 25), ("a", 30, 40)]


def test_tile_with_overlap():
    # 25 bases, windows of 10 that share 6: starts 0 4 8 12 16, the last one reaching the end at 26 > 25; seams 3 later
    tiles = windows.tile(LOCI[:1], 10, 6)
    assert tiles.start.tolist() == [100, 104, 108, 112, 116]
    assert tiles.end.tolist() == [110, 114, 118, 122, 125]
    assert tiles.own_start.tolist() == [100, 107, 111, 115, 119]
    assert tiles.own_end.tolist() == [107, 111, 115, 119, 125]


@pytest.mark.parametrize("window_bp, overlap_bp", [(10, 0), (10, 3), (10, 9), (7, 1), (30, 29)])
def test_each_base_is_one_windows_own_and_further_from_its_edge(window_bp, overlap_bp):
    tiles = windows.tile(LOCI, window_bp, overlap_bp)
    for locus, in_locus in tiles.groupby("locus"):
        low, high = LOCI.set_index("locus").loc[locus, ["start", "end"]]
        own = np.concatenate([np.arange(t.own_start, t.own_end) for t in in_locus.itertuples()])
        assert own.tolist() == list(range(low, high))
        for t, u in zip(in_locus.itertuples(), in_locus.iloc[1:].itertuples()):  # bases that both read
            for base in range(u.start, t.end):
                t_is_further = t.end - 1 - base >= base - u.start
                assert (base < t.own_end) == t_is_further or t.end - 1 - base == base - u.start
    assert ((tiles.start <= tiles.own_start) & (tiles.own_start < tiles.own_end) & (tiles.own_end <= tiles.end)).all()


@pytest.mark.parametrize("overlap", [-1, 10])
def test_tile_refuses_overlaps_that_leave_gaps_or_stand_still(overlap):
    with pytest.raises(ValueError, match=f"overlap_bp {overlap} and window_bp 10"):
        windows.tile(LOCI, 10, overlap)


def test_a_window_that_has_only_n_to_itself_is_dropped(reference):
    # 40 bases, then N: of 28-48 a 0.4 share is N, but all of its own part, 40-48
    table = pd.DataFrame({"window": [0, 1], "contig": "chr16", "start": [20, 28], "end": [40, 48],
                          "own_start": [20, 40], "own_end": [40, 48]})  # fmt: skip
    assert windows.drop_gaps(table, reference).window.tolist() == [0]
    assert windows.drop_gaps(table.drop(columns=["own_start", "own_end"]), reference).window.tolist() == [0, 1]


def test_drop_gaps(reference):
    # the contig is 40 bases and then 40 N
    table = pd.DataFrame(
        {"window": range(4), "contig": "chr16", "start": [0, 30, 31, 40], "end": [10, 50, 51, 60]}
    )
    assert windows.drop_gaps(table, reference).window.tolist() == [0, 1]  # N share 0, 0.5, 0.55, 1


def test_sample_windows_is_seeded():
    table = windows.tile(pd.DataFrame({"contig": ["c"], "start": [0], "end": [1000], "locus": ["x"]}), 10)
    one, two = windows.sample_windows(table, 30, 1), windows.sample_windows(table, 30, 2)
    pd.testing.assert_frame_equal(one, windows.sample_windows(table, 30, 1))
    assert len(one) == 30 and one.window.is_unique and one.window.is_monotonic_increasing
    assert not np.array_equal(one.window, two.window)
    assert len(windows.sample_windows(table, 500, 1)) == 100


def regions(*rows):
    return pd.DataFrame(rows, columns=["contig", "start", "end", "locus"])


def test_of_background_is_whole_known_and_outside_the_loci(reference):
    """chr16: known to 40, N from there. Of the windows at 0, 10, 20, 30 and 35: one touches the locus, one has an N, and the
    remainder of the second region, 25 to 30, is no whole window; numbers are those of the tiles."""
    background = regions(("chr16", 0, 20, "a"), ("chr16", 20, 30, "b"), ("chr16", 35, 45, "c"), ("chr16", 21, 25, "d"))
    loci = regions(("chr16", 9, 10, "x"))
    assert windows.of_background(background, loci, reference, 10)[["window", "start"]].values.tolist() == [[1, 10], [2, 20]]
    assert windows.tile_background(background, loci, 10).start.tolist() == [10, 20, 35]


def test_of_background_has_a_window_of_two_overlapping_regions_once(reference):
    background, loci = regions(("chr16", 0, 30, "a"), ("chr16", 20, 40, "b")), regions(("chrX", 0, 1, "x"))
    assert windows.of_background(background, loci, reference, 10).start.tolist() == [0, 10, 20, 30]
    drawn = windows.of_background(background, loci, reference, 10, most=2, seed=1)
    assert drawn.equals(windows.sample_windows(windows.tile(background, 10), 2, 1))


@pytest.mark.parametrize("rows, message", [
    ([("chr16", 0, 9, "a")], "no window of 10 bases outside the loci; wanted regions at least so long"),
    ([("chr16", 0, 10, "a")], "no window of 10 bases outside the loci"),  # the locus is there
    ([("chr16", 45, 60, "a")], "each window of 10 bases outside the loci has an N in .*g.fa"),
    ([("chr16", 10, 30, "a"), ("chrX", 0, 4, "b"), ("chr16", 10, 30, "c")],
     "background region 'c', chr16:10-30: its chr16:10-30 is read as part of background region 'a', chr16:10-30, already"),
])  # fmt: skip
def test_background_that_gives_no_window_or_a_region_twice(reference, rows, message):
    with pytest.raises(ValueError, match=message):
        windows.of_background(regions(*rows), regions(("chr16", 5, 9, "x")), reference, 10)


@pytest.mark.parametrize("second", [(0, 20), (10, 25)])
def test_loci_that_share_a_window(reference, second):
    """Read twice, its haplotypes would count twice; loci that overlap without one are cut independently."""
    loci = regions(("chr16", 0, 20, "a"), ("chr16", *second, "b"))
    with pytest.raises(
        ValueError, match=rf"locus 'b', chr16:{second[0]}-{second[1]}: its chr16:{second[0]}-.* is read as part of locus 'a', chr16:0-20"
    ):
        windows.of_loci(loci, reference, 10)
    assert len(windows.of_loci(regions(("chr16", 0, 20, "a"), ("chr16", 5, 25, "b")), reference, 10)) == 4
