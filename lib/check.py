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
from contextlib import suppress
from functools import partial

import pandas as pd

from lib import params
from lib.checks import agreement, study
from lib.checks.study import Study, Unknown

COLUMNS = ["file", "record", "found", "wanted", "change"]


def check(name: str) -> Study:
    """A study with all faults and notes. Raises Refused when there is no such study."""
    of = study.read(name)
    agreement.check(of)
    with suppress(Unknown):
        _files(of)
    return of


def _files(of: Study) -> None:
    """The faults that need torch and the readers, which take seconds to import."""
    from lib.checks import annotation, cost, data, model, people, reads

    for one in (model.device, model.followed):
        with suppress(Unknown):
            one(of)
    adapter = None
    with suppress(Unknown):
        adapter = model.read(of)
        model.check(of, adapter)
        model.widths(of, adapter)
    if of.simulated:
        from lib.checks import simulated

        simulated.check(of, adapter)
        return
    files = data.Data(of)
    checks = [data.genome, data.held_out, people.people, people.phenotypes, people.published, people.second_cohort,
              *annotation.files(of), annotation.labelled, annotation.said]
    if adapter is not None:
        checks += [partial(one, model=adapter) for one in (reads.context, reads.makes_sense, cost.check)]
    for one in checks:  # each goes on where another stopped
        with suppress(Unknown):
            one(of, files)


def table(of: Study) -> pd.DataFrame:
    """One row a fault: file, record, found, wanted, change (the parameter, and where it is said)."""
    return pd.DataFrame([[getattr(fault, c) for c in COLUMNS] for fault in of.faults], columns=COLUMNS)


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
