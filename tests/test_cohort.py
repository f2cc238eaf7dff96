import numpy as np
import pandas as pd
import pysam
import pytest

from lib import cohort
from lib.genome.reference import Reference
from lib.genome.variants import Genotypes

SAMPLES = ["a", "b", "c"]


def table(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    return tmp_path / "p.csv"


def test_phenotype_in_the_order_of_the_vcf(tmp_path):
    assert cohort.read_phenotype(
        table(tmp_path, "sample,age,phenotype\nc,3,1\na,4,0\nb,5,1\n"), SAMPLES
    ).tolist() == [0, 1, 1]
    assert cohort.read_phenotype(
        table(tmp_path, "phenotype\tsample\n1\ta\n0\tb\n0\tc\n"), SAMPLES
    ).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("sample,disease\na,1\n", "no column .'phenotype'.; found .'sample', 'disease'"),
        ("sample,phenotype\na,1\nb,\nc,0\n", "line 3, sample 'b': phenotype '', wanted 0 or 1"),
        ("sample,phenotype\na,1\nb,2\nc,0\n", "line 3, sample 'b': phenotype '2', wanted 0 or 1"),
        ("sample,phenotype\na,1\nb,1\nc,1\n", "phenotype is 1 for every sample"),
        ("sample,phenotype\na,1\nb,0\na,1\nc,1\n", "line 4: sample 'a' a second time"),
        ("sample,phenotype\na,1\nb,0\nc,1\nz,1\n", "line 5: sample 'z' is not in the VCF"),
        ("sample,phenotype\na,1\n", "no row for 2 VCF samples: b, c"),
    ],
)
def test_bad_phenotype_names_file_and_row(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"p\.csv.*{message}"):
        cohort.read_phenotype(table(tmp_path, text), SAMPLES)


def test_missing_phenotype_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.csv: no such file"):
        cohort.read_phenotype(tmp_path / "no.csv", SAMPLES)


def test_regression_finds_the_simulated_log_odds():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    beta = np.array([0.5, -0.6, 0.7, 0.9])
    dosage = rng.binomial(2, [[0.3], [0.2], [0.45], [0.15]], (4, 20_000)).astype(float)
    people = cohort.simulate_phenotype(dosage, beta, case_share=0.4, seed=2)
    assert people.phenotype.mean() == 0.4
    assert abs(people.genetic.mean()) < 1e-12
    fit = LogisticRegression(C=1e9).fit(dosage.T, people.phenotype)
    np.testing.assert_allclose(fit.coef_[0], beta, rtol=0.10)


def test_simulation_is_seeded_and_missing_counts_as_the_mean():
    dosage = np.array([[0.0, 1.0, 2.0, np.nan]])
    people = cohort.simulate_phenotype(dosage, np.array([2.0]), 0.5, seed=0)
    assert people.genetic.tolist() == [-2, 0, 2, 0]
    pd.testing.assert_frame_equal(people, cohort.simulate_phenotype(dosage, np.array([2.0]), 0.5, seed=0))
    assert not people.liability.equals(
        cohort.simulate_phenotype(dosage, np.array([2.0]), 0.5, seed=1).liability
    )


def test_simulation_refuses_shapes_and_shares():
    with pytest.raises(ValueError, match=r"dosage \(2, 4\) and beta \(3,\)"):
        cohort.simulate_phenotype(np.zeros((2, 4)), np.zeros(3), 0.5, 0)
    with pytest.raises(ValueError, match="case_share 0.01 of 4 people gives 0 cases"):
        cohort.simulate_phenotype(np.zeros((2, 4)), np.zeros(2), 0.01, 0)


@pytest.fixture
def reference(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\nACGTACGTAC\n")
    pysam.faidx(str(tmp_path / "g.fa"))
    return Reference(tmp_path / "g.fa")


def effect(pos, risk, other, odds_ratio=2.0, contig="chr1"):
    row = {
        "rsid": "rs1",
        "contig": contig,
        "pos": pos,
        "risk": risk,
        "other": other,
        "odds_ratio": odds_ratio,
    }
    return pd.DataFrame([row])


def match(reference, effects):
    rows = [("chr1", 2, "G", "A", ""), ("chr1", 4, "A", "C", ""), ("chr1", 6, "G", "GC", "")]
    variants = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt", "id"])
    genotypes = Genotypes(variants, np.zeros((3, 1, 2), dtype=np.int8), np.zeros((3, 1), dtype=bool), ["a"])
    return cohort.match_effects(effects, genotypes, reference).iloc[0]


def test_sign_is_of_the_alt_allele(reference):
    # IL23R R381Q is G>A with risk allele G: the ALT protects, so its log odds are negative
    row = match(reference, effect(3, "G", "A"))
    assert (row.variant, row.status) == (0, "present") and row.beta_alt == -np.log(2)
    row = match(reference, effect(5, "C", "A"))
    assert row.variant == 1 and row.beta_alt == np.log(2)
    assert match(reference, effect(5, "A", "")).beta_alt == -np.log(2)  # other allele not listed
    assert match(reference, effect(7, "GC", "G")).beta_alt == np.log(2)


def test_absent_by_position_or_allele(reference):
    for effects in (effect(4, "T", "C"), effect(5, "T", "A")):
        row = match(reference, effects)
        assert (row.variant, row.status) == (-1, "absent") and np.isnan(row.beta_alt)


def test_effect_on_another_genome_is_refused(reference):
    with pytest.raises(ValueError, match=r"rs1 at chr1:3: .*g\.fa has G, wanted T or C"):
        match(reference, effect(3, "T", "C"))
    with pytest.raises(ValueError, match=r"rs1 at 1:3: contig '1'.*'chr1'"):
        match(reference, effect(3, "G", "A", contig="1"))


def test_published_table():
    effects = cohort.ibd_effects()
    assert len(effects) == 43 and effects.rsid.is_unique and "rs2076756" not in set(effects.rsid)
    assert effects.odds_ratio.between(0.2, 4).all() and effects.contig.str.startswith("chr").all()
    assert (effects.risk != effects.other).all() and effects.raf.dropna().between(0, 1).all()
    il23r = effects.set_index("rsid").loc["rs11209026"]
    assert (il23r.pos, il23r.risk, il23r.other, il23r.odds_ratio) == (67240275, "G", "A", 2.013)


def test_folds_balance_cases_and_never_split_a_group():
    rng = np.random.default_rng(0)
    y, groups = rng.binomial(1, 0.3, 400), rng.integers(0, 80, 400)
    fold = cohort.stratified_folds(y, groups, 5, seed=1)
    assert set(fold) == set(range(5))
    assert pd.Series(fold).groupby(groups).nunique().max() == 1
    assert pd.Series(y).groupby(fold).mean().between(0.2, 0.4).all()
    np.testing.assert_array_equal(fold, cohort.stratified_folds(y, groups, 5, seed=1))
    alone = cohort.stratified_folds(y, None, 5, seed=1)
    assert np.ptp(np.bincount(alone[y == 1])) <= 1
    with pytest.raises(ValueError, match="5 folds from 2 groups"):
        cohort.stratified_folds(y, np.arange(400) % 2, 5, seed=1)
