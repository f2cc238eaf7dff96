"""A study whose data 00 simulates: what can be wrong before there are any."""

from __future__ import annotations

import inspect
from contextlib import suppress

import numpy as np

from lib.check.study import RULE, H, Study, Unknown
from lib.dna import grammar_demo, grammar_genome
from lib.dna.checks import data, people, reads
from lib.dna.checks.agreement import D
from lib.models.adapter import Adapter
from lib.stage.inputs import SIMULATED


def check(study: Study, model: Adapter | None) -> None:
    """Every check of this module; each goes on where another stopped."""
    for one in (contigs, regions, diseases, cohort):
        with suppress(Unknown):
            one(study)
    with suppress(Unknown):
        if model is not None:
            reads.context(study, None, model)
    with suppress(Unknown):
        if model is not None:
            reads.makes_sense(study, None, model)


def contigs(study: Study) -> None:
    """The chromosomes that will be there."""
    known = [f"sim{i + 1}" for i in range(inspect.signature(grammar_demo.simulate_grammar).parameters["n_contigs"].default)]
    for name in ("validation_contigs", "test_contigs"):
        with suppress(Unknown):
            for contig in study(D, name):
                if contig not in known:
                    study.fault(D, name, repr(contig), f"some of the simulated {', '.join(known)}")
    with suppress(Unknown):
        if not set(known) - {*study(D, "validation_contigs"), *study(D, "test_contigs")}:
            study.fault(D, "test_contigs", "no chromosome left to train on", f"fewer of {', '.join(known)}")


def regions(study: Study) -> None:
    """A background region holds whole stretches, and a window."""
    bp, window = study(D, "simulate_background_bp"), study(D, "window_bp")
    if bp % grammar_genome.STRETCH:
        study.fault(D, "simulate_background_bp", str(bp), f"a multiple of {grammar_genome.STRETCH}, in which units lie")
    elif bp < window:
        study.fault(D, "simulate_background_bp", str(bp), f"at least window_bp, {window}")


def diseases(study: Study) -> None:
    """The columns of the table of phenotypes that will be there, where it is simulated."""
    if not study(D, "phenotype_path").startswith(SIMULATED):
        return
    nulls = [f"{null} {i + 1:02d}" for null in grammar_demo.NULLS for i in range(study(D, "simulate_nulls"))]
    for name, known in (("arms", list(grammar_demo.DISEASES)), ("null_arms", nulls)):
        if wrong := [arm for arm in study(D, name) if arm not in known]:
            study.fault(D, name, repr(wrong[0]), f"some of {', '.join(known) or 'none'}")


def cohort(study: Study) -> None:
    """Folds and tests against the people that will be there, half of them cases."""
    n = study(D, "simulate_people")
    with suppress(Unknown):
        if study(RULE, "least_moved") > n:
            study.fault(RULE, "least_moved", str(study(RULE, "least_moved")), f"at most simulate_people, {n}")
    with suppress(Unknown):
        people.folds(study, np.arange(n) % 2, data.Data(study))
    with suppress(Unknown):
        if study(D, "n_components") >= n - -(-n // study(H, "n_folds")):
            study.fault(D, "n_components", str(study(D, "n_components")), f"fewer than the people of a training fold, of {n}")
