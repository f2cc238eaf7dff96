"""Everything that is wrong with a study, before anything is computed.

    python -m lib.check STUDY        (or `make check STUDY=…`)

Reads every params file and every file that they name, with the readers of the notebooks, and prints all faults at
once: file, record, what was found, what was wanted, and the parameter to change. No forward pass is run, nothing is
written. `refuse` is the same before the first stage of a run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from lib.check import agreement, study
from lib.check.study import REFUSALS, Fault, Study, Unknown
from lib.stage import params


def check(name: str) -> Study:
    """A study with all faults and notes. Raises Refused when there is no such study."""
    of = study.read(name)
    agreement.check(of)
    _run(of, _files)
    return of


def _run(of: Study, one: Callable, *rest: object) -> None:
    """One check, which cannot keep others from running: what a reader refuses is a fault though the check had not expected it."""
    try:
        with suppress(Unknown):
            one(of, *rest)
    except REFUSALS as error:
        text = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        fault = Fault(params.short(of.file("01_extraction").parent), "", text, "input that can be read", "the file named")
        of.faults += [fault] if fault not in of.faults else []


def _files(of: Study) -> None:
    """The faults that need torch and the readers, which take seconds to import."""
    from lib.check import model
    from lib.dna.checks import annotation, cost, data, people, reads

    for one in (model.device, model.followed):
        _run(of, one)
    adapter = None
    with suppress(Unknown):
        adapter = model.read(of)
        _run(of, model.check, adapter)
        _run(of, model.widths, adapter)
    if of.simulated:
        from lib.dna.checks import simulated

        simulated.check(of, adapter)
        return
    files = data.Data(of)
    checks = [data.genome, data.held_out, people.people, people.phenotypes, people.published, people.second_cohort,
              *annotation.files(of), annotation.labelled, annotation.said]
    if adapter is not None:
        checks += [partial(one, model=adapter) for one in (reads.context, reads.makes_sense, cost.check)]
    for one in checks:
        _run(of, one, files)


def report(of: Study) -> str:
    """The faults as text, a block each."""
    blocks = []
    for i, fault in enumerate(of.faults, 1):
        where = ", ".join(filter(None, (fault.file, fault.record)))
        blocks.append(f"{i}. {where}\n   found   {fault.found}\n   wanted  {fault.wanted}\n   change  {fault.change}")
    return "\n".join(blocks)


def refuse(name: str) -> None:
    """Raise Refused with all faults of a study, if it has any."""
    of = check(name)
    if of.faults:
        raise params.Refused(f"study {name} has {_count(of)}, all of them here; nothing was run\n{report(of)}")


def _count(of: Study) -> str:
    return f"{len(of.faults)} fault{'s' * (len(of.faults) != 1)}"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 nothing wrong, 1 faults, 2 no such study."""
    parser = argparse.ArgumentParser(prog="python -m lib.check", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default=os.environ.get("STUDY"), help="a folder of params/")
    chosen = parser.parse_args(arguments)
    if not chosen.study:
        parser.error("give a study, or set STUDY")
    start = time.monotonic()
    try:
        of = check(chosen.study)
    except params.Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    if of.faults:
        print(report(of))
    for note in of.notes:
        print(f"-  {note}")
    print(f"study {of.name}: {_count(of) if of.faults else 'nothing wrong'}; looked for {time.monotonic() - start:.0f} s")
    return int(bool(of.faults))


if __name__ == "__main__":
    sys.exit(main())
