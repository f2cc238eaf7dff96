import numpy as np
import pandas as pd
import pysam
import pytest

from lib.corpus import splits
from lib.dna import phenotypes
from lib.dna.genotypes import Genotypes
from lib.dna.people import read_phenotype
from lib.dna.reference import Reference
from lib.stats import estimates
from tests.helpers import DATA_DIR

SAMPLES = ["a", "b", "c"]


def table(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    return tmp_path / "p.csv"


def test_phenotype_in_the_order_of_the_vcf(tmp_path):
    assert read_phenotype(
        table(tmp_path, "sample,age,phenotype\nc,3,1\na,4,0\nb,5,1\n"), SAMPLES
    ).tolist() == [0, 1, 1]
    assert read_phenotype(
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
        read_phenotype(table(tmp_path, text), SAMPLES)


def test_missing_phenotype_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.csv: no such file"):
        read_phenotype(tmp_path / "no.csv", SAMPLES)


def test_regression_finds_the_simulated_log_odds():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    beta = np.array([0.5, -0.6, 0.7, 0.9])
    dosage = rng.binomial(2, [[0.3], [0.2], [0.45], [0.15]], (4, 20_000)).astype(float)
    people = phenotypes.simulate_phenotype(dosage, beta, case_share=0.4, seed=2)
    assert people.phenotype.mean() == 0.4
    assert abs(people.genetic.mean()) < 1e-12
    fit = LogisticRegression(C=1e9).fit(dosage.T, people.phenotype)
    np.testing.assert_allclose(fit.coef_[0], beta, rtol=0.10)


def test_simulation_is_seeded_and_missing_counts_as_the_mean():
    dosage = np.array([[0.0, 1.0, 2.0, np.nan]])
    people = phenotypes.simulate_phenotype(dosage, np.array([2.0]), 0.5, seed=0)
    assert people.genetic.tolist() == [-2, 0, 2, 0]
    pd.testing.assert_frame_equal(people, phenotypes.simulate_phenotype(dosage, np.array([2.0]), 0.5, seed=0))
    assert not people.liability.equals(
        phenotypes.simulate_phenotype(dosage, np.array([2.0]), 0.5, seed=1).liability
    )


def test_simulation_refuses_shapes_and_shares():
    with pytest.raises(ValueError, match=r"dosage \(2, 4\) and beta \(3,\)"):
        phenotypes.simulate_phenotype(np.zeros((2, 4)), np.zeros(3), 0.5, 0)
    with pytest.raises(ValueError, match="case_share 0.01 of 4 people gives 0 cases"):
        phenotypes.simulate_phenotype(np.zeros((2, 4)), np.zeros(2), 0.01, 0)


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
    return phenotypes.match_effects(effects, genotypes, reference).iloc[0]


def test_sign_is_of_the_alt_allele(reference):
    # IL23R R381Q is G>A with risk allele G: the ALT protects, so its log odds are negative
    row = match(reference, effect(3, "G", "A"))
    assert (row.variant, row.status) == (0, "present") and row.beta_alt == -np.log(2)
    row = match(reference, effect(5, "C", "A"))
    assert row.variant == 1 and row.beta_alt == np.log(2)
    assert match(reference, effect(5, "A", "")).beta_alt == -np.log(2)  # other allele not listed
    assert match(reference, effect(7, "GC", "G")).beta_alt == np.log(2)


def test_the_published_il23r_allele_protects(reference):
    # rs11209026: REF G, ALT A, and the published odds ratio 2.013 is of G
    il23r = phenotypes.ibd_effects().query("rsid == 'rs11209026'")
    row = match(
        reference, il23r.assign(contig="chr1", pos=3)
    )  # a G on the toy genome, with ALT A in the cohort
    assert (row.status, row.beta_alt) == ("present", -np.log(2.013))
    people = phenotypes.simulate_arm(
        np.array([[0, 1, 2]]), pd.DataFrame([row.to_dict()]), "additive", 1, 0.34, seed=0
    )
    assert people.genetic.is_monotonic_decreasing


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
    effects = phenotypes.ibd_effects()
    assert len(effects) == 43 and effects.rsid.is_unique and "rs2076756" not in set(effects.rsid)
    assert effects.odds_ratio.between(0.2, 4).all() and effects.contig.str.startswith("chr").all()
    assert (effects.risk != effects.other).all() and effects.raf.dropna().between(0, 1).all()
    il23r = effects.set_index("rsid").loc["rs11209026"]
    assert (il23r.pos, il23r.risk, il23r.other, il23r.odds_ratio) == (67240275, "G", "A", 2.013)


def test_folds_balance_cases_and_never_split_a_group():
    rng = np.random.default_rng(0)
    y, groups = rng.binomial(1, 0.3, 400), rng.integers(0, 80, 400)
    fold = splits.stratified_folds(y, groups, 5, seed=1)
    assert set(fold) == set(range(5))
    assert pd.Series(fold).groupby(groups).nunique().max() == 1
    assert pd.Series(y).groupby(fold).mean().between(0.2, 0.4).all()
    np.testing.assert_array_equal(fold, splits.stratified_folds(y, groups, 5, seed=1))
    alone = splits.stratified_folds(y, None, 5, seed=1)
    assert np.ptp(np.bincount(alone[y == 1])) <= 1
    with pytest.raises(ValueError, match="5 folds from 2 groups"):
        splits.stratified_folds(y, np.arange(400) % 2, 5, seed=1)


NOD2 = pd.DataFrame(
    {"rsid": phenotypes.NOD2, "gene": "NOD2", "variant": [0, 1, 2], "beta_alt": np.log([2.2, 2.6, 3.8])}
)
OTHER = pd.DataFrame({"rsid": ["rs1"], "gene": ["X"], "variant": [3], "beta_alt": [0.5]})


def test_additive_arm_scales_the_betas_of_the_variants_present():
    dosage = np.random.default_rng(0).binomial(2, 0.3, (5, 40))
    absent = OTHER.assign(variant=-1, beta_alt=np.nan)
    people = phenotypes.simulate_arm(dosage, pd.concat([NOD2, absent, OTHER]), "additive", 3, 0.5, seed=1)
    beta = np.append(3 * NOD2.beta_alt, [1.5, 0])  # the fifth variant has no effect
    pd.testing.assert_frame_equal(people, phenotypes.simulate_phenotype(dosage, beta, 0.5, seed=1))


def test_nod2_alleles_are_read_together():
    # one column a person: nobody, a heterozygote, a homozygote, two different alleles, one call missing, another locus
    dosage = np.array([[0, 1, 0, 1, np.nan, 0], [0, 0, 0, 0, 0, 0], [0, 0, 2, 1, 0, 0], [0, 0, 0, 0, 0, 2.0]])
    genetic = phenotypes.simulate_arm(dosage, pd.concat([NOD2, OTHER]), "nod2", 1, 0.5, seed=0).genetic
    np.testing.assert_allclose(np.exp(genetic[:4] - genetic[0]), [1, 2.4, 6.7, 9.0])
    known = np.log([1, 2.4, 6.7, 9.0, 1])  # a person with a missing call has the mean of the others
    np.testing.assert_allclose(genetic[4] - genetic[0], known.mean())
    np.testing.assert_allclose(genetic[5] - genetic[0], 2 * 0.5)
    enlarged = phenotypes.simulate_arm(dosage, pd.concat([NOD2, OTHER]), "nod2", 3, 0.5, seed=0).genetic
    np.testing.assert_allclose(enlarged, 3 * genetic)
    flipped = NOD2.assign(beta_alt=-NOD2.beta_alt)  # a cohort whose REF is the risk allele
    turned = phenotypes.simulate_arm(2 - dosage, pd.concat([flipped, OTHER]), "nod2", 1, 0.5, seed=0).genetic
    np.testing.assert_allclose(turned[:5] - turned[0], genetic[:5] - genetic[0])


def test_structure_arm_moves_prevalence_and_no_gene():
    groups = np.repeat(["b", "c", "a"], 20_000)
    people = phenotypes.simulate_arm(np.zeros((1, 60_000)), OTHER, "structure", 2, 0.5, 0, groups)
    assert (people.genetic == 0).all() and people.phenotype.mean() == 0.5
    share = people.groupby(groups).phenotype.mean()
    np.testing.assert_allclose(np.log(share / (1 - share)), [-2, 0, 2], atol=0.06)


def test_null_arm_is_noise_alone():
    dosage = np.random.default_rng(0).binomial(2, 0.3, (4, 50))
    people = phenotypes.simulate_arm(dosage, OTHER, "null", 3, 0.5, seed=4)
    assert (people.genetic == 0).all()
    again = phenotypes.simulate_arm(dosage[:, ::-1], OTHER, "null", 3, 0.5, seed=4)
    pd.testing.assert_frame_equal(people, again)  # whoever the people are


@pytest.mark.parametrize(
    "kind, groups, message",
    [
        ("dominant", None, "unknown kind 'dominant', wanted one of additive, nod2, structure, null"),
        ("nod2", None, "none of the NOD2 alleles rs2066844, rs2066845, rs2066847 is in the cohort"),
        ("structure", None, "0 people in 0 groups, wanted 4 people in two or more"),
        ("structure", ["a"] * 4, "4 people in 1 groups"),
        ("structure", ["a", "b"], "2 people in 2 groups, wanted 4"),
    ],
)
def test_arms_refuse(kind, groups, message):
    effects = pd.concat([OTHER, NOD2.assign(variant=-1)])
    with pytest.raises(ValueError, match=message):
        phenotypes.simulate_arm(np.zeros((4, 4)), effects, kind, 1, 0.5, 0, groups)


@pytest.fixture(scope="module")
def crohn():
    """Published effects on Crohn's disease at 73 loci: 70 of Franke 2010, and the three NOD2 alleles."""
    path = DATA_DIR / "gwas" / "ibd_gwas_hits_GRCh38.tsv"
    if not path.is_file():
        pytest.skip(f"NO GWAS TABLE at {path}: set DATA_DIR to the folder of shared data")
    names = {
        "SNPS": "rsid",
        "REPORTED GENE(S)": "gene",
        "RISK ALLELE FREQUENCY": "raf",
        "OR or BETA": "odds_ratio",
    }
    franke = pd.read_csv(path, sep="\t").query("PUBMEDID == 21102463").rename(columns=names)
    nod2 = phenotypes.ibd_effects().query("rsid in @phenotypes.NOD2")
    effects = pd.concat([franke, nod2])[list(names.values())].astype({"raf": float, "odds_ratio": float})
    assert len(effects) == 73 and effects.rsid.is_unique
    return effects.assign(variant=np.arange(73), beta_alt=np.log(effects.odds_ratio))


@pytest.fixture(scope="module")
def genotyped(crohn):
    """Risk allele copies of 150,000 people in Hardy-Weinberg proportions, and their phenotype: 1 in 20 has it."""
    dosage = np.random.default_rng(1).binomial(2, crohn.raf.to_numpy()[:, None], (73, 150_000))
    return dosage, phenotypes.simulate_arm(dosage, crohn, "additive", 1, 0.05, seed=2)


def cross_validated_auroc(X, y):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    model = LogisticRegression(solver="newton-cholesky")
    return estimates.auroc(y, cross_val_predict(model, X, y, method="decision_function"))


def test_dosage_predicts_crohn_as_well_as_published_effects_allow(genotyped):
    dosage, people = genotyped
    cases, controls = (np.flatnonzero(people.phenotype == value) for value in (1, 0))
    sample = np.append(cases, controls[: len(cases)])
    X, y = np.ascontiguousarray(dosage[:, sample].T, dtype=float), people.phenotype.to_numpy()[sample]
    assert 0.73 < cross_validated_auroc(X, y) < 0.76
    assert 0.45 < cross_validated_auroc(X, np.random.default_rng(3).permutation(y)) < 0.55


def test_one_locus_of_crohn_costs_less_than_the_bar(crohn, genotyped):
    # rs2076756 tags the three NOD2 alleles, so with them it counts once; no locus alone reaches a drop of 0.03
    crohn = crohn[crohn.rsid != "rs2076756"]
    people = phenotypes.simulate_arm(genotyped[0], crohn, "additive", 1, 0.05, seed=2)
    full = estimates.auroc(people.phenotype, people.genetic)

    def drop(lost):
        rest = crohn[~lost]
        return full - estimates.auroc(people.phenotype, rest.beta_alt.to_numpy() @ genotyped[0][rest.variant])

    assert 0.013 < drop(crohn.rsid.isin(phenotypes.NOD2)) < 0.028
    assert 0 < drop(crohn.gene == "ATG16L1") < drop(crohn.gene == "IL23R") < 0.013
