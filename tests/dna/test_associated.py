"""SNPs that studies of association name: linkage by hand, controls that are alike and apart, and effects that are there or not."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.dna import associated
from lib.dna.genotypes import Genotypes
from lib.edits import matched
from tests import helpers
from tests.dna.test_effect_sizes import TEXT, readers

__all__ = ["readers"]  # a fixture

LOCI = pd.DataFrame({"contig": ["c", "c"], "start": [0, 1000], "end": [1000, 2000], "locus": ["one", "two"]})


def genotypes(dosage: list[list[float]], pos: list[int], ref=None, alt=None) -> Genotypes:
    """Calls with these dosages (0, 1, 2; NaN: missing)."""
    copies = np.array(dosage)
    alleles = np.stack([copies >= 1, copies == 2], 2).astype(np.int8)
    alleles[np.isnan(copies)] = -1
    variants = pd.DataFrame({"contig": "c", "pos": pos, "ref": ref or ["A"] * len(pos), "alt": alt or ["G"] * len(pos), "id": "x"})
    return Genotypes(variants, alleles, np.ones(copies.shape, bool), [f"s{i}" for i in range(copies.shape[1])])


def named(*places: tuple[int, str]) -> pd.DataFrame:
    return pd.DataFrame([("c", pos, pos + 1, concept) for pos, concept in places], columns=["contig", "start", "end", "concept"])


def test_linkage_frequency_and_sets_by_hand():
    a, b = [0, 1, 2, 0, 1, 2, 0, 0], [2, 1, 0, 2, 1, 0, 2, 2]
    calls = genotypes([a, b, [0, 0, 0, 0, 0, 0, 0, 1], a, [0] * 8, [np.nan, 1, 2, 0, 1, 2, 0, 0], a],
                      [10, 20, 30, 1500, 40, 50, 60], alt=["G"] * 6 + ["GT"])  # fmt: skip
    got = associated.snps(calls, LOCI, named((10, associated.LEAD), (30, "fine-mapped region")),
                          pd.DataFrame({"contig": ["c"], "start": [110]}))  # fmt: skip
    # the SNP that does not vary and the insertion are none
    assert got.pos.tolist() == [10, 20, 30, 1500, 50] and got.locus.tolist() == ["one"] * 3 + ["two", "one"]
    assert got.frequency.tolist() == pytest.approx([6 / 16, 6 / 16, 1 / 16, 6 / 16, 6 / 14])
    assert got.proxies.tolist() == [2, 2, 0, 0, 2]  # 10, 20 and 50 go together; the same calls in another locus are no proxy
    assert got.linked.tolist() == [True, True, False, False, True]
    assert got.is_lead.tolist() == [True] + [False] * 4 and got.in_region.tolist() == [False, False, True, False, False]
    assert not got.is_fine_mapped.any() and got.start_distance.iloc[0] == pytest.approx(np.log10(101))
    assert "start_distance" not in associated.snps(calls, LOCI, named(), None)


def cohort(rng: np.random.Generator, n: int = 600) -> pd.DataFrame:
    """SNPs as `associated.snps` gives them: of 30 loci, one lead in each, whose neighbours are linked with it."""
    table = pd.DataFrame({"contig": "c", "pos": np.arange(n), "ref": "A", "alt": "G", "locus": [f"l{i}" for i in np.arange(n) % 30],
                          "frequency": rng.uniform(0.01, 0.5, n), "proxies": rng.poisson(4, n), "start_distance": rng.uniform(1, 5, n),
                          "is_lead": np.arange(n) < 30, "is_fine_mapped": False, "in_region": True})  # fmt: skip
    return table.assign(linked=table.is_lead | (table.pos % 7 == 0), offset=5, ref_sequence="A")


def test_controls_are_unlinked_as_common_and_used_once():
    known = cohort(np.random.default_rng(0))
    got = associated.draw(known, associated.LEAD, 5, 0)
    cases, controls = known[known.is_lead], known.set_index("pos").loc[got.table.pos[got.table.label == 0]]
    assert got.table.label.sum() == len(got.case) <= 30 and got.control.shape == (len(got.case), 5)
    assert not controls.linked.any() and controls.index.is_unique
    assert controls.frequency.between(cases.frequency.min(), cases.frequency.max()).all()
    assert (got.table.label.to_numpy()[got.control] == 0).all() and {"offset", "ref_sequence", "gene"} <= set(got.table)
    assert not {"frequency", "proxies", "linked", *associated.SETS.values()} & set(got.table)  # what counts people stays behind
    assert got.balance.column.tolist() == associated.MATCHED_ON and "cases" not in got.balance
    assert associated.draw(known, "fine-mapped variant", 5, 0) is None  # the cohort has none
    assert associated.draw(known, "fine-mapped region", 5, 0) is None  # and nothing lies outside regions
    without = associated.draw(known.drop(columns="start_distance"), associated.LEAD, 5, 0)
    assert without.balance.column.tolist() == ["frequency", "proxies"]


def sizes(drawn: associated.Drawn, rng: np.random.Generator, shift: float) -> pd.DataFrame:
    n = len(drawn.table)
    columns = {column: rng.normal(size=n) for column in associated.effect_sizes.SCORES.values()}
    columns["latent_change"] += shift * (drawn.table["label"] == 1)
    return pd.DataFrame(columns | {"twin_change": np.nan})


def test_an_effect_that_is_there_beats_every_rival_and_none_beats_none():
    drawn = associated.draw(cohort(np.random.default_rng(0)), associated.LEAD, 9, 0)
    far = associated.compare(drawn, sizes(drawn, np.random.default_rng(1), 2.0), 500, 500, 0).set_index("method")
    assert "random twin" not in far.index and far.loc["SAE", "low"] > 0.7 and far.loc["SAE", "p"] < 0.01
    assert (far.gain_low.drop("SAE") > 0).all() and far.gain["SAE"] == 0 and far.n_loci["SAE"] > 10
    effects = sizes(drawn, np.random.default_rng(1), 2.0)
    own = matched.percentiles(effects.latent_change.to_numpy()[drawn.case], effects.latent_change.to_numpy()[drawn.control])
    assert far.value["SAE"] == pytest.approx(own.mean())
    none = associated.compare(drawn, sizes(drawn, np.random.default_rng(2), 0.0), 500, 500, 0).set_index("method")
    assert none.low["SAE"] < 0.5 < none.high["SAE"] and none.gain_low.drop("SAE").min() < 0


def test_percentiles_count_ties_half():
    assert matched.percentiles(np.array([2.0, 0.0]), np.array([[1, 2, 3, 1], [1, 1, 1, 1]])).tolist() == [0.625, 0.0]


def test_a_cohort_is_read_whole_and_what_is_left_out_is_counted(readers):
    rng = np.random.default_rng(0)
    pos = np.arange(45, 155)
    ref = [TEXT[p] for p in pos]
    known = pd.DataFrame({"contig": "c", "pos": pos, "ref": ref, "alt": ["ACGT".replace(r, "")[0] for r in ref],
                          "locus": [f"l{i}" for i in np.arange(110) % 4], "frequency": rng.uniform(0.1, 0.5, 110), "proxies": 1,
                          "is_lead": np.arange(110) % 10 == 0, "is_fine_mapped": False, "in_region": True})  # fmt: skip
    known["linked"] = known["is_lead"]
    corpus, report = SimpleNamespace(settings={"exon_path": "", "window_bp": 80}, study="x"), Counter()
    rest = associated.Rule(np.ones(24), 0.0, 0.1), 4, 5, 50, 50, 0, report
    got = associated.read(readers, corpus, helpers.Genome(c=TEXT), known, *rest)
    assert set(got.table.named) == {associated.LEAD} and got.table.n.eq(report[associated.LEAD, "matched", "counted"]).all()
    assert list(got.table.method)[:2] == ["SAE", "raw embedding"] and "position" not in set(got.table.method)  # without exons none is near
    assert got.table.value.between(0, 1).all() and set(got.latents.side) <= {"lost", "gained"}
    assert set(got.latents.named) == {associated.LEAD}
    assert report[associated.LEAD, "cases", "counted"] == 11 and (got.latents.n_1 == report[associated.LEAD, "matched", "counted"]).all()
    nobody = known.assign(is_lead=False)
    nothing = associated.read(readers, corpus, helpers.Genome(c=TEXT), nobody, *rest)
    assert all(len(table) == 0 for table in nothing) and list(nothing.table) == associated.COLUMNS
