"""What a figure says of its study is what the study's front door wrote down, and nothing else."""

import pytest

from lib.corpus.corpus import Corpus, Target
from lib.dna import door
from lib.figures import labels

DEMO, OWN, GENOME = ({"genome": genome, "cohort": cohort} for genome, cohort in ((True, True), (False, False), (True, False)))


def corpus(simulated, arms, kinds, scales, phenotype_path, folder):
    """A corpus of which the door would say so much."""
    said = door.said_of(door.Arms(arms, kinds, scales, [], 0.5, phenotype_path, None, None))
    return Corpus(
        "x", "00_dna", "lib.dna.kind", "m", door.WORDS, {}, labels.of_data(simulated, folder), [Target(arm, **said[arm]) for arm in arms]
    )


@pytest.mark.parametrize("simulated, arms, said", [
    (DEMO, (["a"], ["additive"], [1.0], "simulated:phenotype.csv"), "simulated genome, cohort and phenotype; effects enlarged"),
    (OWN, (["ibd"], ["additive"], [1.0], "own.csv"), "genome, cohort and phenotype from files"),
    (OWN, (["published"], ["additive"], [1.0], ""), "genome and cohort from files; simulated phenotype"),
    (OWN, (["published", "3x", "8x", "structure"], ["additive", "additive", "nod2", "structure"], [1.0, 3.0, 8.0, 2.0], ""),
     "genome and cohort from files; simulated phenotype; effects enlarged in 3x and 8x"),
    (GENOME, (["ibd"], ["additive"], [5.0], "own.csv"), "cohort and phenotype from files; simulated genome"),
])  # fmt: skip
def test_the_label(simulated, arms, said, tmp_path):
    made = corpus(simulated, *arms, tmp_path)
    assert labels.text(made) == said
    assert labels.text(made, "tiny numbers") == f"{said}; tiny numbers"


def test_only_a_model_that_says_so_has_a_refitted_head(tmp_path):
    assert labels.loss(labels.of_data(OWN, tmp_path)) == "cross-entropy"
    (tmp_path / labels.REFIT_REPORT).write_text("{}")
    assert labels.loss(labels.of_data(OWN, tmp_path)) == "cross-entropy, refitted head"
