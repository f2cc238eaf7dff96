"""What a figure says of its study is what the study wrote down, and nothing else."""

import pytest

from lib.figures import labels

DEMO = {"genome": True, "cohort": True, "head": ""}
OWN = {"genome": False, "cohort": False, "head": ""}


@pytest.mark.parametrize("data, arms, said", [
    (DEMO, labels.of_arms(["a"], ["additive"], [1.0], "simulated:phenotype.csv"), "simulated genome, cohort and phenotype; effects enlarged"),
    (OWN, labels.of_arms(["ibd"], ["additive"], [1.0], "mine.csv"), "genome, cohort and phenotype from files"),
    (OWN, labels.of_arms(["published"], ["additive"], [1.0], ""), "genome and cohort from files; simulated phenotype"),
    (OWN, labels.of_arms(["published", "3x", "8x", "structure"], ["additive", "additive", "nod2", "structure"], [1.0, 3.0, 8.0, 2.0], ""),
     "genome and cohort from files; simulated phenotype; effects enlarged in 3x and 8x"),
    (OWN | {"genome": True}, labels.of_arms(["ibd"], ["additive"], [5.0], "mine.csv"), "cohort and phenotype from files; simulated genome"),
])  # fmt: skip
def test_the_label(data, arms, said):
    assert labels.text(data, arms) == said
    assert labels.text(data, arms, "tiny numbers") == f"{said}; tiny numbers"


def test_what_01_knows(tmp_path):
    assert labels.of_data("simulated:genome.fa", "simulated:cohort.vcf.gz", tmp_path) == DEMO
    assert labels.of_data("/data/hg38.fa", "mine.vcf.gz", tmp_path) == OWN


def test_only_a_model_that_says_so_has_a_refitted_head(tmp_path):
    assert labels.loss(labels.of_data("a.fa", "a.vcf.gz", tmp_path)) == "cross-entropy"
    (tmp_path / labels.REFIT_REPORT).write_text("{}")
    assert labels.loss(labels.of_data("a.fa", "a.vcf.gz", tmp_path)) == "cross-entropy, refitted head"
