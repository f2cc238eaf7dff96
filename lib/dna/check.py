"""What can be wrong with a study of DNA alone: its files, its people and what its model makes of their letters."""

from __future__ import annotations

from functools import partial

from lib.check.study import Study, Unknown, attempt
from lib.dna.checks import agreement, annotation, cost, data, people, reads, simulated
from lib.dna.checks.agreement import D
from lib.models import sense
from lib.models.adapter import Adapter


def check(of: Study) -> None:
    """Note every fault; each check goes on where another stopped."""
    attempt(of, agreement.check)
    attempt(of, _has_people)
    model = _of_dna(of)
    try:
        made_here = of.simulated
    except Unknown:
        return
    if made_here:
        attempt(of, simulated.check, model)
        return
    files = data.Data(of)
    checks = [data.genome, data.held_out, people.people, people.phenotypes, people.published, people.second_cohort,
              *annotation.files(of), annotation.labelled, annotation.said]
    if model is not None:
        checks += [partial(one, model=model) for one in (reads.context, reads.makes_sense, cost.check)]
    for one in checks:
        attempt(of, one, files)


def _has_people(of: Study) -> None:
    """Genotypes are always somebody's, simulated or not: the publishing gate guards them."""
    if not of(D, "has_people"):
        of.fault(D, "has_people", "false", "true, which every study of DNA is: the publishing gate guards people by it")


def _of_dna(of: Study) -> Adapter | None:
    """The study's model if it reads DNA; None after noting what it reads, and where it has another fault."""
    if of.model is None or (kind := sense.kind_of(of.model)) == "DNA":
        return of.model
    of.fault(D, "model_path", f"a model of {kind}, by its tokenizer", "a model of DNA", file=str(of.path(D, "model_path")))
    return None
