"""Alleles that nobody chose: of the reference, evenly of every region, and the sorts they fall in."""

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import allele_background as background
from lib.dna.reference import Reference
from tests import helpers

TEXT = helpers.random_dna(3000, 0) + "N" * 200 + helpers.random_dna(800, 1).lower()


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("g") / "g.fa"
    path.write_text(f">c1\n{TEXT}\n>c2\nACGT\n")
    pysam.faidx(str(path))
    return Reference(path)


PLACES = pd.DataFrame({"contig": ["c1", "c1"], "start": [0, 2900], "end": [2000, 4000]})


def region(variants):
    near = variants["pos"] < 100
    return pd.DataFrame({"region": np.where(near, "exon", np.where(variants["pos"] < 2000, "intron", "other")),
                         "exon_distance": (variants["pos"] - 100).clip(lower=0).astype(float)})  # fmt: skip


def test_alleles_are_of_the_reference_even_over_regions_and_the_same_again(genome):
    table = background.sample(genome, PLACES, region, 900, 0.2, seed=3)
    assert len(table) == 900 and table.equals(background.sample(genome, PLACES, region, 900, 0.2, seed=3))
    assert not table.equals(background.sample(genome, PLACES, region, 900, 0.2, seed=4))
    for v in table.itertuples():
        assert TEXT[v.pos : v.pos + len(v.ref)].upper() == v.ref and v.alt != v.ref and set(v.ref + v.alt) <= set("ACGT")
        assert any(p.start <= v.pos < p.end for p in PLACES.itertuples())
    counts = table["region"].value_counts()
    assert counts["intron"] == pytest.approx(counts["other"], abs=1) and counts["exon"] < 250  # a hundred bases are not drawn often
    indel = table["ref"].str.len() != table["alt"].str.len()
    assert indel.mean() == pytest.approx(0.2, abs=0.06)
    assert not table.duplicated(["contig", "pos", "ref", "alt"]).any()
    one = table[~indel]
    assert one.groupby("alt").size().min() > 0.2 * len(one)


def test_sorts_by_hand(genome):
    at = 500
    left, ref, right = TEXT[at - 1], TEXT[at], TEXT[at + 1]
    alt = "ACGT"[("ACGT".index(ref) + 1) % 4]
    rows = [("c1", at, ref, alt), ("c1", at, TEXT[at : at + 4], ref), ("c1", at, ref, ref + "G" * 12),
            ("c1", at, TEXT[at : at + 2], "GATTACA"), ("c2", 0, "A", "G"), ("c2", 3, "T", "C")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"]).assign(region="intron", exon_distance=[0, 2, 3, 60, np.nan, 1e6])
    got = background.keys(table, genome)
    assert got["distance"].tolist() == [0, 0, 1, 3, 5, 5] and set(got["region"]) == {"intron"}
    turned = str.maketrans("ACGT", "TGCA")
    if ref in "AG":
        left, ref, right, alt = right.translate(turned), ref.translate(turned), left.translate(turned), alt.translate(turned)
    assert got["context"][0] == f"{left}{ref}{right}>{left}{alt}{right}" and got["edit"][0] == f"{ref}>{alt}"
    assert got["edit"].tolist()[1:] == ["del 3", "ins 10+", "delins", "T>C", "T>C"]
    assert got["context"].tolist()[1:] == ["del 3", "ins 10+", "delins", "GTN>GCN", "GTN>GCN"]  # both at an end of ACGT


def test_places_without_known_bases_are_refused(genome):
    with pytest.raises(ValueError, match="none of 1 places holds a known base"):
        background.sample(genome, pd.DataFrame({"contig": ["c1"], "start": [3000], "end": [3100]}), region, 10, 0.2, 0)
