"""Elements of a 5'UTR, by hand."""

import pytest

from lib.mrna import elements as el

CODING = "ATGGGCGAA"


def of(utr: str) -> list[tuple[str, int, int]]:
    return [(e.concept, e.start, e.end) for e in el.elements(utr + CODING, len(utr))]


def names(utr: str) -> set[str]:
    return {concept for concept, *_ in of(utr)}


@pytest.mark.parametrize(("behind", "frame"), [("CCCCCC", 0), ("CCCCCCC", 1), ("CCCCCCCC", 2)])
def test_an_upstream_start_has_its_frame_and_context(behind, frame):
    weak, strong = names(f"CCCATG{behind}"), names(f"ACCATGG{behind[1:]}")
    assert f"uAUG, frame {frame}, weak context" in weak and f"uAUG, frame {frame}, strong context" in strong


def test_a_stop_in_its_frame_closes_it_and_another_does_not():
    closed = of("CCATGCCCTAACCCACC")
    assert ("uORF body, closed", 5, 11) in closed and ("stop in frame", 8, 11) in closed
    assert not {"uORF body, overlapping", "stop, no frame"} & names("CCATGCCCTAACCCACC")
    open_ = of("CCATGCCCCTAACCACC")  # off its frame by one
    assert ("stop, no frame", 9, 12) in open_ and "stop in frame" not in {c for c, *_ in open_}
    assert "uORF body, overlapping" not in names("ATGCCC")  # in frame it goes on into the coding region


def test_a_start_that_runs_into_the_coding_region_is_none():
    assert not any("uAUG" in name for name in names("CCCCAT"))  # AT|ATG: no ATG ends before it


def test_runs_stems_and_words():
    assert ("oligo-U", 1, 6) in of("CTTTTTCACC") and "oligo-U" not in names("CTTTTCCACC")
    assert ("G run", 1, 5) in of("CGGGGCCACC") and ("oligo-A", 1, 6) in of("CAAAAACACC") and ("GUA word", 2, 5) in of("CCGTACACC")
    assert el.stems("CGCGCGAAAACGCGCGT") == [(0, 16)] and el.stems("CGCGCGAAAACGCGCGT", gc=False) == []
    assert el.stems("ATATATCCCCATATATC", gc=False) == [(0, 16)]
    assert ("near-cognate CUG", 3, 6) in of("ACCCTGGCCACC") and "near-cognate CUG" not in names("CCCCTGGCCACC")


def test_the_start_s_own_context():
    assert ("start context, weak", 4, 10) in of("CCCCCCCCCC") and "start context, weak" not in names("CCCCCCCACC")


def test_a_table_of_records_names_the_unit():
    got = el.table(["CTTTTTCACC" + CODING, "CCCCCCCACC" + CODING], 10)
    assert got.unit.tolist() == [0] and list(got.columns) == ["unit", "start", "end", "concept", "family"]
