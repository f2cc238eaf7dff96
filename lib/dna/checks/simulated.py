"""A study whose data 00 simulates: what can be wrong before there are any."""

from __future__ import annotations

import inspect
from contextlib import suppress

import numpy as np

from lib.check.study import RULE, H, Study, Unknown
from lib.dna import demo
from lib.dna.checks import data, people, reads
from lib.dna.checks.agreement import D
from lib.models.adapter import Adapter


def check(study: Study, model: Adapter | None) -> None:
    """Every check of this module; each goes on where another stopped."""
    for one in (contigs, regions, cohort):
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
    known = [f"sim{i + 1}" for i in range(inspect.signature(demo.simulate_demo).parameters["n_contigs"].default)]
    for name in ("validation_contigs", "test_contigs"):
        with suppress(Unknown):
            for contig in study(D, name):
                if contig not in known:
                    study.fault(D, name, repr(contig), f"some of the simulated {', '.join(known)}")
    with suppress(Unknown):
        if not set(known) - {*study(D, "validation_contigs"), *study(D, "test_contigs")}:
            study.fault(D, "test_contigs", "no chromosome left to train on", f"fewer of {', '.join(known)}")


def regions(study: Study) -> None:
    """A background region holds a window."""
    if study(D, "simulate_background_bp") < study(D, "window_bp"):
        study.fault(D, "simulate_background_bp", str(study(D, "simulate_background_bp")), f"at least window_bp, {study(D, 'window_bp')}")


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
