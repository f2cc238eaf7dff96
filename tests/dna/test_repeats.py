"""What a stretch of sequence is called before it is a motif."""

import numpy as np
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
    own = pd.DataFrame([("c", 0, 40, "homopolymer"), ("c", 50, 56, "homopolymer"), ("c", 0, 100, "repeated sequence"),
                        ("c", 0, 300, "CpG island"), ("c", 0, 200, "soft-masked"), ("c", 60, 85, "simple repeat"),
                        ("c", 86, 100, "simple repeat")],
                       columns=["contig", "start", "end", "concept"])  # fmt: skip
    masker = pd.DataFrame([("c", 100, 200, "SINE/Alu", "SINE"), ("c", 200, 230, "Simple_repeat", "Simple_repeat"),
                           ("c", 0, 300, "exon", "exon"), ("c", 230, 260, "LINE/L1", "LINE")],
                          columns=["contig", "start", "end", "concept", "family"])  # fmt: skip
    got = repeats.named(own, masker)
    assert got[["start", "end", "concept"]].to_numpy().tolist() == [
        [0, 200, repeats.SOFT], [0, 100, repeats.KMERS], [100, 200, "repeat: Alu"], [230, 260, "repeat: L1"],
        [200, 230, "low complexity (simple repeat)"], [60, 85, "low complexity (simple repeat)"], [0, 40, "homopolymer"],
    ]  # fmt: skip
    text = "A" * 20 + "T" * 20 + "ACGT" * 65
    middle = np.array([5, 30, 52, 70, 90, 150, 190, 210, 240, 280])
    tokens = pd.DataFrame({"unit": 0, "start": middle, "end": middle + 1, "contig": "c", "ref_start": middle, "ref_end": middle + 1})
    low = "low complexity (simple repeat)"
    assert repeats.of_tokens(tokens, [text], got).tolist() == [
        "low complexity (poly-A)", "low complexity (poly-T)", repeats.KMERS, low, repeats.KMERS, "repeat: Alu", "repeat: Alu", low,
        "repeat: L1", "",
    ]  # fmt: skip
