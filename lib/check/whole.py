"""Everything that is wrong with a study, before anything is computed.

    python -m lib.check STUDY        (or `make check STUDY=…`)

Reads every params file and every file that they name, with the readers of the notebooks, and prints all faults at
once: file, record, what was found, what was wanted, and the parameter to change. What every study may get wrong is looked
for here; of a study of the kind that 00_<kind>.yaml names, also by `check(study)` of lib/<kind>/check.py, if there is one.
No forward pass is run, nothing is written. `refuse` is the same before the first stage of a run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
from types import ModuleType

from lib.check import agreement, study
from lib.check.study import Study, attempt
from lib.stage import params


def check(name: str) -> Study:
    """A study with all faults and notes. Raises Refused when there is no such study."""
    of = study.read(name)
    attempt(of, agreement.check)
    attempt(of, _training)
    attempt(of, _kind)
    return of


def _training(of: Study) -> None:
    """What needs torch, which takes seconds to import: where dictionaries are trained, and the model."""
    from lib.check import model

    for one in (model.device, model.followed):
        attempt(of, one)
    adapter = model.read(of)
    for one in (model.check, model.widths):
        attempt(of, one, adapter)


def _kind(of: Study) -> None:
    """What only the kind knows."""
    if module := checker(of.door):
        module.check(of)


def checker(door: str) -> ModuleType | None:
    """lib.<kind>.check of the front door 00_<kind>; None where that kind has no such module."""
    kind = door.partition("_")[2]
    if kind.isidentifier() and importlib.util.find_spec(f"lib.{kind}") and importlib.util.find_spec(f"lib.{kind}.check"):
        return importlib.import_module(f"lib.{kind}.check")
    return None


def report(of: Study) -> str:
    """The faults as text, a block each."""
    blocks = []
    for i, fault in enumerate(of.faults, 1):
        where = ", ".join(filter(None, (fault.file, fault.record)))
        blocks.append(f"{i}. {where}\n   found   {fault.actual}\n   wanted  {fault.wanted}\n   change  {fault.change}")
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
