import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from lib.corpus import splits
from lib.dna import ancestry, phenotypes
from lib.dna.people import read_people
from lib.outcome import validate
from lib.stats import estimates
from tests.helpers import DATA_DIR


def two_populations(fst, n_variants=400, n_people=600, seed=0):
    """Dosage [variant, person] whose halves drifted from one ancestor (Balding-Nichols), and who is in which."""
    rng = np.random.default_rng(seed)
    ancestor = rng.uniform(0.1, 0.9, n_variants)
    groups = np.arange(n_people) % 2
    drift = (1 - fst) / max(fst, 1e-9)  # fst 0: one population
    own = rng.beta(ancestor * drift, (1 - ancestor) * drift, (2, n_variants))
    return rng.binomial(2, own[groups].T).astype(float), groups


def test_components_are_those_of_the_standardised_matrix():
    # three copies of a variant of frequency 1/2 and two of another of 1/4, uncorrelated, so 2p(1 - p) is 1/2 and 3/8
    a, b = np.tile([0, 1, 1, 2.0], 4), np.repeat([0, 0, 1, 1.0], 4)
    dosage = np.stack([a, a, a, b, b])
    pc = ancestry.components(dosage, np.ones(16, dtype=bool), 2)
    expected = np.stack(
        [np.sqrt(3) * (a - 1) / np.sqrt(1 / 2), np.sqrt(2) * (b - 0.5) / np.sqrt(3 / 8)], axis=1
    )
    np.testing.assert_allclose(np.abs(pc), np.abs(expected), atol=1e-9)


def test_held_out_people_are_projected_and_never_fitted():
    dosage, _ = two_populations(0.1)
    train = np.arange(600) < 400
    pc = ancestry.components(dosage, train, 3)
    changed = dosage.copy()
    changed[:, 599] = 2 - changed[:, 599]
    np.testing.assert_array_equal(ancestry.components(changed, train, 3)[:599], pc[:599])
    twin = dosage.copy()
    twin[:, 599] = dosage[:, 7]  # a held-out person with the genotypes of a training person
    np.testing.assert_allclose(ancestry.components(twin, train, 3)[599], pc[7], atol=1e-9)


def test_first_component_separates_drifted_populations():
    dosage, groups = two_populations(0.1)
    train = np.arange(600) < 400
    pc = ancestry.components(dosage, train, 2)
    apart = estimates.auroc(groups[~train], pc[~train, 0])
    assert max(apart, 1 - apart) > 0.99


def test_missing_calls_are_the_mean_and_fixed_variants_nothing():
    dosage, _ = two_populations(0.1)
    train = np.arange(600) < 400
    pc = ancestry.components(dosage, train, 2)
    fixed = np.vstack([dosage, np.full(600, 2.0), np.zeros(600), np.full(600, np.nan), train == 0])
    np.testing.assert_allclose(ancestry.components(fixed, train, 2), pc, atol=1e-9)
    dosage[:, 599] = np.nan
    np.testing.assert_allclose(ancestry.components(dosage, train, 2)[599], 0, atol=1e-9)
    dosage[0, :300] = np.nan  # the frequency is that of the people called
    by_hand = dosage.copy()
    by_hand[0, :300] = dosage[0, 300:400].mean()
    by_hand[:, 599] = dosage[:, :400].mean(1)
    by_hand[0, 599] = dosage[0, 300:400].mean()
    np.testing.assert_allclose(
        ancestry.components(dosage, train, 2), ancestry.components(by_hand, train, 2), atol=1e-9
    )


@pytest.mark.parametrize(
    "train, n, message",
    [
        (np.ones(5, dtype=bool), 1, r"dosage .4, 6. and train_mask .5,.: wanted .variant, person., .person."),
        (np.ones(6, dtype=bool), 2, "2 components, wanted 1 to 1: 6 training people, 2 variants vary"),
        (np.ones(6, dtype=bool), 0, "0 components"),
        (np.arange(6) > 4, 1, "1 components, wanted 1 to -1: 1 training people, 0 variants vary"),
    ],
)
def test_components_refuse(train, n, message):
    dosage = np.array([[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 0], [0] * 6, [2] * 6])
    with pytest.raises(ValueError, match=message):
        ancestry.components(dosage, train, n)


def pc_only(dosage, phenotype):
    """Out-of-fold scores of a phenotype from two components, each fold fitted on its training people."""
    folds = splits.stratified_folds(phenotype, None, 5, seed=0)
    score = np.zeros(len(phenotype))
    for fold in range(5):
        train = folds != fold
        pc = ancestry.components(dosage, train, 2)
        score[~train] = LogisticRegression().fit(pc[train], phenotype[train]).decision_function(pc[~train])
    return validate.estimate(phenotype, score, 1000, 0)


def test_alarm_of_ancestry_rings_under_structure_and_not_without():
    for fst, rings in ((0.05, True), (0.0, False)):
        dosage, groups = two_populations(fst)
        people = phenotypes.simulate_arm(
            dosage, pd.DataFrame(columns=["variant"]), "structure", 1, 0.5, 1, groups
        )
        alarm = pc_only(dosage, people.phenotype.to_numpy())
        assert (alarm.low > 0.5) == rings, (fst, alarm)


def test_missing_calls_overall_and_by_block():
    dosage = np.zeros((4, 3))
    assert ancestry.missingness(dosage).shape == (3, 0)
    dosage[0, 0] = dosage[1, 0] = dosage[3, 2] = np.nan
    expected = [[0.5, 1, 0], [0, 0, 0], [0.25, 0, 0.5]]
    np.testing.assert_array_equal(ancestry.missingness(dosage, n_blocks=2), expected)
    assert ancestry.missingness(dosage).shape == (3, 5)  # no more blocks than variants


def people_file(tmp_path, text):
    (tmp_path / "who.tsv").write_text(text)
    return tmp_path / "who.tsv"


def test_people_in_the_order_of_the_vcf(tmp_path):
    path = people_file(tmp_path, "sex,sample,age,population\nmale,c,3,FIN\nfemale,a,4,GBR\nmale,z,5,FIN\n")
    people = read_people(path, ["a", "c"])
    assert people.to_dict("list") == {
        "sample": ["a", "c"],
        "population": ["GBR", "FIN"],
        "sex": ["female", "male"],
    }
    families = read_people(people_file(tmp_path, "sample\tfamily\na\tF1\n"), ["a"])
    assert families.to_dict("list") == {"sample": ["a"], "family": ["F1"]}


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,sex\na,male\n", "no column .'sample'."),
        ("sample,age\na,1\n", "none of the columns population, family, site, sex; found .'sample', 'age'"),
        ("sample,population\na,FIN\nb, \n", "line 3, sample 'b': population is empty"),
        ("sample,sex\na,male\nb,f\n", "line 3, sample 'b': sex 'f', wanted male or female"),
        ("sample,sex\na,male\nb,male\na,male\n", "line 4: sample 'a' a second time"),
        ("sample,sex\na,male\n", "no row for 1 VCF samples: b"),
    ],
)
def test_bad_people_name_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"who\.tsv.*{message}"):
        read_people(people_file(tmp_path, text), ["a", "b"])
    with pytest.raises(FileNotFoundError, match=r"no\.tsv: no such file"):
        read_people(tmp_path / "no.tsv", ["a"])


def test_real_people():
    path = DATA_DIR / "cohort_1kg_eur.samples.tsv"
    if not path.is_file():
        pytest.skip(f"NO COHORT at {path}: set DATA_DIR to the folder of shared data")
    samples = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    people = read_people(path, samples[::-1])
    assert people["sample"].tolist() == samples[::-1]
    assert set(people.population) == {"CEU", "FIN", "GBR", "IBS", "TSI"} and people.sex.nunique() == 2
