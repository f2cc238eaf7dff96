"""Headline numbers become LaTeX macros: a name that LaTeX takes, of letters alone, and the value as it was said."""

import re

from lib.figures.numbers import numbers


def test_each_headline_is_a_macro_named_after_study_stage_and_key():
    made = numbers("demo", {"01_extraction": {"units": 120, "gap": 0.25}, "05_validation": {"needed": "3 of 7"}})
    assert made == (
        "\\newcommand{\\demoExtractionUnits}{120}\n"
        "\\newcommand{\\demoExtractionGap}{0.25}\n"
        "\\newcommand{\\demoValidationNeeded}{3 of 7}\n"
    )


def test_digits_and_signs_are_spelled_or_dropped_since_a_macro_has_letters_only():
    made = numbers("ibd-1kg", {"02_layer_hunting": {"auroc_at 0.95 (best)": 0.8}})
    assert made == "\\newcommand{\\ibdOnekgLayerHuntingAurocAtZeroNineFiveBest}{0.8}\n"
    every = numbers("s", {"03_sae_training": {"k_0123456789": 1}})
    assert every == "\\newcommand{\\sSaeTrainingKZeroOneTwoThreeFourFiveSixSevenEightNine}{1}\n"
    assert re.fullmatch(r"\\newcommand\{\\[A-Za-z]+\}\{1\}\n", every)


def test_a_key_keeps_the_capitals_that_it_has_and_the_macro_starts_small():
    assert numbers("Demo", {"03_sae_training": {"meanL0_ofSAE": 8}}) == "\\newcommand{\\demoSaeTrainingMeanLZeroOfSAE}{8}\n"
    assert numbers("7th", {"03_sae_training": {"n": 8}}) == "\\newcommand{\\seventhSaeTrainingN}{8}\n"


def test_values_are_written_as_python_says_them():
    values = {"none": None, "yes": True, "small": 1e-7, "whole": 3.0, "missing": float("nan")}
    lines = numbers("s", {"06_explanations": values}).splitlines()
    assert [line.rpartition("{")[2] for line in lines] == ["None}", "True}", "1e-07}", "3.0}", "nan}"]


def test_a_study_without_headlines_is_an_empty_line():
    assert numbers("demo", {}) == numbers("demo", {"01_extraction": {}}) == "\n"


def test_what_latex_would_read_as_a_command_of_its_own_is_escaped():
    made = numbers("s", {"03_sae_training": {"site": "resid_post.2", "share": "5 %"}}).splitlines()
    assert made == [r"\newcommand{\sSaeTrainingSite}{resid\_post.2}", r"\newcommand{\sSaeTrainingShare}{5 \%}"]
