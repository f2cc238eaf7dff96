"""What figures say: labels and stops, read from the drawing itself; and empty tables, which still make a figure."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib.dna import cards
from lib.figures import annotation, causal, extraction, outcome
from lib.stage import io, stops

LABEL = "genome, cohort and phenotype from files"
QUALITY = pd.DataFrame({"site": ["resid_post.0", "resid_post.1"], "norm_median": [1.0, 2.0]})
HEADLINE = {"person_haplotype_windows": 1000, "units": 100}
REAL = pd.DataFrame([{"real": 1.2, "shuffled": 1.4}])


@pytest.fixture
def stage(root):
    yield io.open_stage("toy", "09_paper_figures")
    plt.close("all")


def texts(figure: plt.Figure) -> list[str]:
    """Everything written in a figure, line breaks of a panel's width undone."""
    figure.draw_without_rendering()
    return [t.get_text().replace("\n", " ") for t in figure.findobj(plt.Text) if t.get_text()]


def says(figure: plt.Figure, *words: str) -> bool:
    return all(any(word in text for text in texts(figure)) for word in words)


def layers_table(*arms: str) -> pd.DataFrame:
    row = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 90}
    kinds = [("resid_post.0", "layer"), ("dosage", "baseline"), ("layer chosen inside folds", "nested")]
    return pd.DataFrame([row | {"arm": arm, "predictor": name, "kind": kind} for arm in arms for name, kind in kinds])


@pytest.mark.parametrize("loss", ["cross-entropy", "cross-entropy, refitted head"])
def test_the_head_is_called_refitted_only_if_the_model_says_so(stage, loss):
    figure = extraction.overview(stage, HEADLINE, QUALITY, REAL, LABEL, loss)
    assert says(figure, f"{loss} (nats per token)", LABEL)
    assert says(figure, "refitted") == ("refitted" in loss) and not says(figure, "stopped")


def test_without_a_head_the_panel_says_so(stage):
    figure = extraction.overview(stage, HEADLINE, QUALITY, REAL * np.nan, LABEL)
    assert says(figure, "could not be tested: the weights hold no language-model head")


def test_an_alarm_is_said_in_the_panel_of_its_arm(stage):
    stopped = {"a": "", "b": "alarm: population"}
    figure = outcome.layers(stage, layers_table("a", "b"), LABEL, stopped)
    a, b = figure.axes[:2]
    assert [t.get_text() for t in b.texts] == ["stopped by alarm: population"] and not a.texts
    assert not says(outcome.layers(stage, layers_table("a", "b"), LABEL), "stopped")


def necessity_table(*arms: str) -> pd.DataFrame:
    row = {"delta": 0.04, "low": 0.01, "high": 0.06, "rate_matched_99": 0.01, "random_99": np.nan, "needed": True}
    return pd.DataFrame([row | {"arm": arm, "kind": kind} for arm in arms for kind in ("latent", "family", "closure")])


def test_necessity_says_its_bar_and_stops(stage):
    stopped = {"a": "", "b": "alarm: label shuffle"}
    figure = causal.necessity(stage, necessity_table("a", "b"), ["a", "b"], 0.05, LABEL, stopped, stops.NO_GO)
    assert says(figure, "bar, 0.05", "stopped by alarm: label shuffle", f"stopped by {stops.NO_GO} {LABEL}")
    assert [t.get_text() for t in figure.axes[0].texts] == []


def test_an_arm_without_a_row_has_a_panel_that_says_why(stage):
    figure = causal.necessity(stage, necessity_table("a"), ["a", "b"], 0.03, LABEL)
    panels = [" ".join(t.get_text() for t in ax.texts) for ax in figure.axes[:2]]
    assert panels[0] == "" and panels[1].startswith("could not be tested")


EMPTY = {
    "fig5_concepts": (partial(annotation.concepts, f1_floor=0.5), [["method", "kind", "concept", "family", "latent", "f1", "auroc", "q"]]),
    "fig6_nulls": (annotation.against_nulls, [["kind", "method", "concepts", "found"], ["latent", "concept", "level", "precision", "recall", "method"]]),
    "fig7_layer_concepts": (annotation.layer_concepts, [["site", "kind", "concept", "family", "latent", "f1", "low", "high", "claimed", "best_null"]]),
    "fig8_feature_cards": (cards.cards, [["latent", "concept", "family", "rank", "contig", "position", "base", "activation"], ["latent"]]),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_table_still_makes_a_figure_that_says_so(stage, name):
    draw, columns = EMPTY[name]
    figure = draw(stage, *(pd.DataFrame(columns=c) for c in columns), LABEL, stops.NO_GO)
    assert says(figure, f"stopped by {stops.NO_GO} {LABEL}" if name != "fig8_feature_cards" else f"{LABEL}; reference sequence only")
    assert says(figure, "no latent matches a motif" if name == "fig8_feature_cards" else "could not be tested")
    assert all(stage.figure_path(f"{name}.{kind}").is_file() for kind in ("pdf", "png", "csv"))


def test_concepts_are_held_against_the_floor_that_04_used(stage):
    best = pd.DataFrame({"method": "SAE", "kind": "motif", "concept": ["a", "b"], "family": "f", "latent": [1, 2], "f1": [0.9, 0.2],
                         "auroc": 0.5, "q": 0.01})  # fmt: skip
    lines = annotation.concepts(stage, best, LABEL, f1_floor=0.3).axes[0].lines
    assert [0.3, 0.3] in [list(line.get_ydata()) for line in lines]


def test_no_claim_on_the_map_and_no_arm_at_all(stage):
    plane = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "plausible": [False, False], "family": [np.nan, np.nan]})
    assert says(annotation.decoder_map(stage, plane, LABEL, stops.NO_GO), stops.NO_GO)
    table = pd.DataFrame(columns=necessity_table("a").columns)  # as an empty CSV is read
    assert says(causal.necessity(stage, table, ["a"], 0.03, LABEL), "could not be tested")


def explained(**values: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    numbers = dict.fromkeys(["auroc", "low", "high", "null_95", "deletion", "deletion_low", "deletion_high"], 0.5) | values
    scores = pd.DataFrame([numbers | {"method": method} for method in ("ISM", "SAE latents")])
    return pd.DataFrame([{"first": "ISM", "second": "SAE latents", "spearman": 0.3}]), scores


def test_explanations_without_sites_or_variants(stage):
    none = pd.DataFrame(columns=["variants", "region", "method", "value", "low", "high"])
    figure = causal.explanations(stage, *explained(auroc=np.nan, low=np.nan, high=np.nan), none, LABEL, "alarm: population")
    assert says(figure, "could not be tested: no region holds enough labelled variants of each class", "stopped by alarm: population")
    assert says(figure, "could not be tested: no window holds a site")
    one = pd.DataFrame([{"variants": "all", "region": "all", "method": "SAE", "value": 0.6, "low": 0.5, "high": 0.7}])
    assert not says(causal.explanations(stage, *explained(), one, LABEL), "could not be tested")
