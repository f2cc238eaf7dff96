"""Figure 1: sequences to run, losses beside their control, norms by site."""

import numpy as np
import pandas as pd
import pytest

from lib.figures import extraction
from tests.panels import drawn, lines, named, says, says_why

REAL = pd.DataFrame([{"real": 1.2, "shuffled": 1.4}])
SIMULATED = pd.DataFrame([{"site": 0.8, "background": 1.38, "markov_site": 1.1, "markov_background": 1.4, "n_bases": 8192}])


def heights(ax) -> list[float]:
    return [bar.get_height() for bar in ax.patches]


def test_sequences():
    ax = drawn(extraction.sequences, extraction.counts(480_000, 3_873, "person-haplotype windows"))
    assert heights(ax) == [480_000, 3_873] and says(ax, "480,000", "3,873", "person- haplotype windows", "units, with background")
    assert ax.get_yscale() == "log"


def test_losses_of_simulated_and_of_real_sequence():
    assert extraction.losses(SIMULATED).to_numpy().tolist() == [["model, in sites", 0.8], ["model, background", 1.38],
                                                               ["Markov-5, in sites", 1.1], ["Markov-5, background", 1.4]]  # fmt: skip
    assert extraction.losses(REAL).to_numpy().tolist() == [["model, real", 1.2], ["model, shuffled", 1.4]]


def test_knowledge_beside_its_control():
    ax = drawn(extraction.knowledge, extraction.losses(SIMULATED))
    assert heights(ax) == [0.8, 1.38, 1.1, 1.4] and named(ax) == ["model", "Markov-5"]
    assert says(ax, "masked cross-entropy (nats per base)", "in sites", "background", "0.80")


@pytest.mark.parametrize("loss", ["cross-entropy", "cross-entropy, refitted head"])
def test_the_head_is_called_refitted_only_if_the_model_says_so(loss):
    ax = drawn(extraction.knowledge, extraction.losses(REAL), loss=loss)
    assert heights(ax) == [1.2, 1.4] and says(ax, f"{loss} (nats per token)", "real", "shuffled")
    assert says(ax, "refitted") == ("refitted" in loss)


def test_without_a_head_the_panel_says_so():
    assert says_why(drawn(extraction.knowledge, extraction.losses(REAL * np.nan)), "the weights hold no language-model head")


def test_norms():
    quality = pd.DataFrame({"site": ["resid_post.0", "resid_post.1"], "norm_median": [1.0, 2.0]})
    ax = drawn(extraction.norms, quality)
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0] and says(ax, "0", "1") and not lines(ax)
    assert says(drawn(extraction.norms, quality.iloc[:0]), "could not be tested: no site was read")
