"""The simulated study over a grammar: alleles that break, cohorts that share none, diseases of broken pairs and of nothing."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from lib.dna import door, grammar, grammar_demo, grammar_genome, planted, windows
from lib.dna import grammar_variants as gv
from lib.dna import motifs as mt
from lib.dna.genotypes import read_genotypes
from lib.dna.reference import Reference
from lib.models import sequence as sq

SMALL = {"n_people": 60, "n_external": 50, "n_loci": 9, "n_contigs": 4, "n_background": 4, "background_bp": 1024, "n_nulls": 2}
MOTIFS = {motif.name: motif for motif in planted.gut_immune_motifs()}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return grammar_demo.simulate_grammar(tmp_path_factory.mktemp("grammar"), seed=0, **SMALL)


@pytest.fixture(scope="module")
def truth(study):
    names = ("units", "sites", "variants", "genetic")
    return {name: pd.read_csv(study / "truth" / f"{name}.csv", keep_default_na=False) for name in names}


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes(study, tmp_path):
    assert digest(grammar_demo.simulate_grammar(tmp_path / "again", seed=0, **SMALL)) == digest(study)
    other = digest(grammar_demo.simulate_grammar(tmp_path / "other", seed=1, **SMALL))
    assert all(other[name] != digest(study)[name] for name in ("genome.fa", "cohort.vcf.gz", "truth/variants.csv"))


def test_files_read_as_real_data_would(study, truth):
    reference = Reference(study / "genome.fa")
    loci = windows.read_bed(study / "loci.bed", reference)
    for name, n in (("cohort", 60), ("external", 50)):
        genotypes = read_genotypes(study / f"{name}.vcf.gz", reference, loci)  # checks every REF
        own = truth["variants"][truth["variants"].cohort == name].reset_index(drop=True)
        columns = ["contig", "pos", "ref", "alt"]
        pd.testing.assert_frame_equal(genotypes.variants[columns], own[columns])
        assert len(genotypes.samples) == n and (genotypes.dosage.sum(1) > 0).all()


def test_cohorts_share_sites_and_no_breaking_allele(truth):
    table = truth["variants"][truth["variants"].unit >= 0]
    first, second = (table[table.cohort == name] for name in ("cohort", "external"))
    keys = ["contig", "pos", "alt"]
    assert not first.merge(second, on=keys).shape[0]
    both = set(first.unit[first.causal]) & set(second.unit[second.causal])
    assert len(both) >= 0.8 * first.unit[first.causal].nunique() > 5
    assert table.causal.any() and (~table.causal).any()


def test_a_breaking_allele_takes_its_motif_below_the_bound(study, truth):
    reference, units = Reference(study / "genome.fa"), truth["units"].set_index("unit")
    table = truth["variants"][truth["variants"].unit >= 0]
    for row in table.itertuples():
        unit = units.loc[row.unit]
        start, end = (unit.start, unit.end) if row.target == "site" else (unit.partner_start, unit.partner_end)
        codes = sq.encode(reference.fetch(row.contig, start, end)).copy()
        forward = (unit.strand == "+") != (row.target == "partner" and unit.kind == "turned")
        motif, least = MOTIFS[row.destroys_site], grammar.least(MOTIFS[row.destroys_site].matrix_id)
        for after in (False, True):
            codes[row.pos - start] = sq.encode(row.alt if after else row.ref)[0]
            read = codes if forward else 3 - codes[::-1]
            score = mt.log_odds(motif.pwm)[read, np.arange(motif.width)].sum()
            assert (score < least - grammar.BELOW + 1e-6) if after else (score >= least - 1e-6)
        assert row.causal == (unit.kind == "functional") and (row.beta != 0) == row.causal


def test_a_unit_counts_once_a_haplotype_and_the_disease_follows_broken_functional_units():
    rng = np.random.default_rng(0)
    like = {"contig": "c", "ref": "A", "alt": "C", "locus": "l"}
    own = pd.DataFrame({"pos": [1, 2, 9], "unit": 0, "target": ["site", "site", "partner"]}).assign(**like)
    plain = pd.DataFrame({"pos": [30], "unit": [-1], "target": [""]}).assign(**like)
    cohort = gv.people(own, plain, 2, 400, rng)
    carried = cohort.copies[cohort.variants.unit >= 0]
    assert (carried.sum(0) > 1).any()
    assert (cohort.broken[0] == carried.any(0).sum(1)).all() and not cohort.broken[1].any()
    assert 0.1 < carried.any(0).mean() < 0.2
    units = pd.DataFrame({"kind": ["functional", "alone"], "pair": [0, 1], "partner": ["HNF4A", ""]})
    effects = grammar_demo.Effects(units, cohort, 4.0, 1, rng)
    sick, genetic = effects.diseases(0.5, rng)
    assert np.corrcoef(genetic["pairs 1 to 4"], cohort.broken[0])[0, 1] > 0.999
    assert sick["pairs 1 to 4"][cohort.broken[0] == 2].mean() > sick["pairs 1 to 4"][cohort.broken[0] == 0].mean()
    assert not genetic["pairs 5 to 8"].any()


def test_null_diseases_are_of_decoys_of_neutral_variants_and_of_nothing(study):
    table = pd.read_csv(study / "phenotype.csv")
    names = [f"{kind} {i:02d}" for kind in grammar_demo.NULLS for i in (1, 2)]
    assert list(table) == ["sample", *grammar_demo.DISEASES, *names]
    assert (table.drop(columns="sample").sum() == 30).all()


def test_each_disease_is_an_arm_of_the_door(study):
    reference = Reference(study / "genome.fa")
    genotypes = read_genotypes(study / "cohort.vcf.gz", reference, windows.read_bed(study / "loci.bed", reference))
    names = list(grammar_demo.DISEASES)
    arms = door.Arms(names, ["additive"] * 2, [1.0] * 2, [0.0] * 2, 0.5, "simulated:phenotype.csv", study / "phenotype.csv",
                     study / "truth/genetic.csv", ["decoys 01"])  # fmt: skip
    made, table = door.targets(arms, genotypes, None, pd.DataFrame({"sample": genotypes.samples}), 0)
    given = pd.read_csv(study / "phenotype.csv")
    assert [(target.name, target.null) for target in made] == [(names[0], False), (names[1], False), ("decoys 01", True)]
    assert all((table[target.name] == given[target.name]).all() for target in made)
    scores = [f"{name}/{door.TRUE_SCORE}" for name in names]
    assert table[scores].corr().iloc[0, 1] < 0.9
    samples = [f"EXT{i + 1:05d}" for i in range(50)]
    second = door.second_targets(study / "external_phenotype.csv", samples, made, names, True)
    assert (second[names[1]] == pd.read_csv(study / "external_phenotype.csv")[names[1]]).all()


def test_sites_know_their_unit_and_whether_it_works(truth):
    sites, units = truth["sites"], truth["units"].set_index("unit")
    own = sites[sites.unit >= 0]
    assert own.planted.all() and not sites[sites.unit < 0].planted.any()
    kind = units.kind.loc[own.unit].to_numpy()
    assert (own.functional.to_numpy() == (kind == "functional")).all()
    whole = units[units.kind.isin(["functional", "turned", "swapped"])]
    assert set(own.unit[own.role == "site"]) >= set(whole.index) and set(own.unit[own.role == "partner"]) >= set(whole.index)


def test_no_unit_has_a_marker_and_regions_are_of_whole_stretches(truth):
    units = truth["units"]
    in_loci = units.locus.str.startswith("sim_")
    assert not units.marked.any()
    pairs = units[in_loci & (units.kind == "functional")].pair.value_counts()
    assert len(pairs) == len(grammar.PAIRS) and pairs.min() >= 2
    regions = pd.DataFrame({"kind": ["locus"], "locus": ["sim_NOD2"], "contig": ["sim1"], "start": [500], "end": [800]})
    with pytest.raises(ValueError, match="sim_NOD2 has 300 bases, wanted a multiple of 256"):
        grammar_genome.write(regions, np.random.default_rng(0))
