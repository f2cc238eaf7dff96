"""Figure 1: sequences to run, losses beside their control, norms by site."""

import numpy as np
import pandas as pd
import pytest

from lib.figures import extraction
from lib.models import language
from tests.panels import drawn, lines, says, says_why

REAL = language.knowledge_rows({"losses": {"real": 1.2, "shuffled": 1.4, "n_sequences": 9}, "gaps": {language.GAP: (0.2, 0.1, 0.3, 9)}})
GATES = pd.DataFrame([("supervised probe, F1", 0.82, 0.8, 0.84, 9, "at least", 0.8),
                      ("one-hot, AUROC", 0.5, np.nan, np.nan, 9, "at most", 0.6)], columns=language.KNOWLEDGE)  # fmt: skip


def heights(ax) -> list[float]:
    return [bar.get_height() for bar in ax.patches]


def test_sequences():
    ax = drawn(extraction.sequences, extraction.counts(480_000, 3_873, 6_144, "person-haplotype windows"))
    assert heights(ax) == [480_000, 3_873, 6_144] and says(ax, "480,000", "3,873", "6,144")
    assert says(ax, "person- haplotype windows", "their units", "background units")  # what subjects carry apart from what nobody does
    assert ax.get_yscale() == "log"


def test_gates_stand_beside_their_bounds():
    ax = drawn(extraction.knowledge, GATES)
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.82, 0.5], [0.8], [0.6]]
    assert [line.get_marker() for line in ax.lines[1:]] == [">", "<"] and says(ax, "supervised probe, F1", "bounds")


def test_the_axis_of_gates_holds_every_interval():
    assert drawn(extraction.knowledge, GATES).get_xlim() == (0, 1)
    ax = drawn(extraction.knowledge, GATES.assign(low=[-0.1, np.nan], high=[1.06, np.nan]))
    left, right = ax.get_xlim()
    assert left < -0.1 and right > 1.06
    assert ax.collections[0].get_segments()[0][:, 0].tolist() == [-0.1, 1.06]


@pytest.mark.parametrize("loss", ["cross-entropy", "cross-entropy, refitted head"])
def test_the_head_is_called_refitted_only_if_the_model_says_so(loss):
    ax = drawn(extraction.knowledge, REAL, loss=loss)
    assert heights(ax) == [1.2, 1.4] and says(ax, f"{loss} (nats per token)", "real", "shuffled")
    assert says(ax, "refitted") == ("refitted" in loss)


def test_without_a_head_the_panel_says_so():
    assert says_why(drawn(extraction.knowledge, language.knowledge_rows(None)), "the weights hold no language-model head")


def test_norms():
    quality = pd.DataFrame({"site": ["resid_post.0", "resid_post.1"], "norm_median": [1.0, 2.0]})
    ax = drawn(extraction.norms, quality)
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0] and says(ax, "0", "1") and not lines(ax)
    assert says(drawn(extraction.norms, quality.iloc[:0]), "could not be tested: no site was read")
