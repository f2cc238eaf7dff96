"""What a stretch of sequence is called before it is a motif."""

import pandas as pd

from lib.dna import repeats


class Letters:
    """Of a genome only what is asked."""

    def __init__(self, text: str):
        self.text = text

    def letters(self, contig, start, end):
        return self.text[start:end]


WINDOWS = pd.DataFrame({"contig": ["c", "c"], "start": [0, 8], "end": [8, 16]})


def test_lower_case_is_a_mask_unless_all_is_lower():
    got = repeats.soft_masked(WINDOWS, Letters("ACgtnACGTTaaaaaC"))
    assert got[["start", "end"]].to_numpy().tolist() == [[2, 5], [10, 15]] and set(got["concept"]) == {"soft-masked"}
    assert repeats.soft_masked(WINDOWS, Letters("acgtacgtacgtacgt")).empty and repeats.soft_masked(WINDOWS, Letters("ACGT" * 4)).empty


def test_repeats_have_the_name_that_a_reader_knows_the_surest_last():
    own = pd.DataFrame([("c", 0, 20, "poly-A", "homopolymer"), ("c", 20, 40, "poly-T", "homopolymer"),
                        ("c", 50, 56, "poly-A", "homopolymer"),
                        *[("c", start, end, name, name) for start, end, name in (
                            (40, 60, "Alu"), (0, 100, "repeated sequence"), (0, 300, "CpG island"), (0, 200, "soft-masked"),
                            (60, 85, "simple repeat"), (86, 100, "simple repeat"))]],
                       columns=["contig", "start", "end", "concept", "family"])  # fmt: skip
    masker = pd.DataFrame([("c", 100, 200, "SINE/Alu", "SINE"), ("c", 200, 230, "Simple_repeat", "Simple_repeat"),
                           ("c", 0, 300, "exon", "exon"), ("c", 230, 260, "LINE/L1", "LINE")],
                          columns=["contig", "start", "end", "concept", "family"])  # fmt: skip
    low = "low complexity (simple repeat)"
    assert repeats.named(own, masker)[["start", "end", "concept"]].to_numpy().tolist() == [
        [0, 200, repeats.SOFT], [0, 100, repeats.KMERS], [40, 60, "repeat: Alu"], [100, 200, "repeat: Alu"], [230, 260, "repeat: L1"],
        [200, 230, low], [60, 85, low], [0, 20, "low complexity (poly-A)"], [20, 40, "low complexity (poly-T)"],
    ]  # fmt: skip
