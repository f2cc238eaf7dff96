"""The report of one variant: eleven parts, honest words, nothing left blank."""

import numpy as np
import pandas as pd
import pytest

from lib.dna import variant_report
from lib.edits import codes, report

PLACE = {"contig": "chr20", "pos": 44355643, "ref": "C", "alt": "A", "af": np.nan, "genomic": "NC_000020.11:g.44355644C>A", "gene": "HNF4A",
         "region_class": "promoter", "transcript": "LRG_483t1", "notation": "c.-161C>A", "protein": "", "exon_distance": 157.0}  # fmt: skip
LISTED = pd.DataFrame([("lost", 1247, 9.0, 2.0, -7.0, -0.5, 3, 2, "HNF4", "HNF4A +", "B", True, 3, "")],
                      columns=["side", "latent", "ref", "alt", "change", "relative", "n_readings", "n_agree", "family", "concept", "grade",
                               "plausible", "seeds_found", "faithful"])  # fmt: skip
RANKS = pd.DataFrame([("SAE", 0.98, 0.95, 0.99, 812, "region + distance + context"), ("motif score", 0.9, 0.87, 0.92, 9, "region + edit")],
                     columns=["method", "percentile", "low", "high", "n", "matched_on"])  # fmt: skip
NO_CODE = pd.Series({"acmg": codes.NONE, "why": codes.TOO_FEW})
CLASS = pd.Series({"why": "24 pathogenic and 221 benign variants, wanted 100 of each"})
AROUND = {"repeat": "", "cpg": "", "moved_tokens": 0.0, "readable": True}
ABOUT = variant_report.About("ibd", "mistral", "ab" * 32, 512, "resid_post.4", ["chr1"], "9 variants", 4, True, "GRCh38.fa")
NOTHING = pd.DataFrame(columns=["element", "effect", "p_value", "barcodes"])


def text(**changed):
    asked = variant_report.Asked(PLACE, LISTED, RANKS, NO_CODE, CLASS, NOTHING, AROUND)._replace(**changed)
    return report.text(variant_report.title(asked), variant_report.parts(asked, ABOUT))


def test_all_parts_are_there_in_their_words():
    said = text()
    for number, word in enumerate(("WHAT", "ANSWER", "LATENTS", "SIZE", "RIVALS", "CALIBRATED", "FREQUENCY", "MEASURED", "OTHERWISE",
                                   "LIMITS", "PRIVACY"), 1):  # fmt: skip
        assert f"\n{number} {word}\n" in said
    assert "LRG_483t1:c.-161C>A (HNF4A)" in said and "NC_000020.11:g.44355644C>A" in said and "chr20:44355644 C>A" in said
    assert "consistent with HNF4, grade B" in said and "2 of 3 further readings agree" in said and "3 of 4" in said
    assert "24 pathogenic and 221 benign" in said and "larger than 98.0 % (95 % interval 95.0 to 99.0) of 812 alleles" in said
    assert "not looked up" in said and "never PS3" in said and "chr20 is not among" in said
    assert "nan" not in said.lower().replace("nanc", "") and "disrupts" not in said and "pathogenic latent" not in said


@pytest.mark.parametrize("why", [reason for reason in codes.WHY if reason])
def test_every_reason_has_its_sentence(why):
    assert f"No ACMG code: {variant_report.WHY[why]}" in text(evidence=pd.Series({"acmg": codes.NONE, "why": why}))


def test_a_code_comes_with_its_numbers():
    row = pd.Series({"acmg": "PP3_Supporting", "why": "", "n_pathogenic": 60, "n_benign": 40, "likelihood_ratio": 3.1, "bound": 2.5,
                     "posterior": 0.12, "prior": 0.0441, "points": 1})  # fmt: skip
    said = text(evidence=row)
    assert "Consistent with PP3 Supporting" in said and "60 pathogenic and 40 benign" in said and "bound 2.50" in said


def test_what_else_could_explain_it_and_what_was_measured_are_said():
    near = PLACE | {"exon_distance": 3.0, "protein": "p.Arg702Trp", "alt": "CA", "af": 0.07}
    around = {"repeat": "repeat: Alu", "cpg": "makes a CpG", "moved_tokens": 0.25, "readable": True}
    seen = pd.DataFrame([("HNF4A", -0.29, 3e-16, 360)], columns=NOTHING.columns)
    said = text(place=near, around=around, measured=seen)
    for word in ("splicing is not excluded", "p.Arg702Trp", "makes a CpG", "repeat: Alu", "25 % of the tokens", "+1 bases", "BA1", "-0.29",
                 "360 barcodes"):  # fmt: skip
        assert word in said


def test_what_the_model_cannot_read_says_so():
    said = text(listed=LISTED[:0], percentiles=RANKS[:0], around=AROUND | {"readable": False},
                evidence=pd.Series({"acmg": codes.NONE, "why": codes.NOT_READABLE}), classed=None)  # fmt: skip
    assert "cannot read this variant" in said and "no percentile" in said
