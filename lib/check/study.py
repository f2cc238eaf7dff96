"""A study as its params files say it, and what is found wrong with it: every fault, never only the first."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.stage import inputs, io, params
from lib.stage.names import check_name

#: What readers raise for input that they cannot use.
REFUSALS = (ValueError, OSError, KeyError, EOFError, zlib.error)


class Unknown(Exception):
    """A check cannot go on: what it needs is a fault already."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong. file, record: where; found, wanted: what; change: the parameter to change and its line."""

    file: str
    record: str
    found: str
    wanted: str
    change: str


@dataclass
class Study:
    """A study's values, stage by stage, and the faults and notes gathered so far.

    values: stage -> name -> value, defaults filled in; a parameter with a fault is not there. entries: of the lines.
    """

    name: str
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    entries: dict[str, dict[str, params.Entry]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __call__(self, stage: str, name: str) -> Any:
        """A parameter's value. Raises Unknown where it has a fault."""
        if name not in self.values.get(stage, {}):
            raise Unknown
        return self.values[stage][name]

    def place(self, stage: str, name: str) -> str:
        """Where a parameter is said."""
        file = params.short(self.file(stage))
        entry = self.entries.get(stage, {}).get(name)
        return f"{name} ({file}, line {entry.line})" if entry else f"{name} ({file}: not there, so the default)"

    def file(self, stage: str) -> Path:
        """The params file of a stage."""
        return io.ROOT / "params" / self.name / f"{stage}.yaml"

    def fault(self, stage: str, name: str, found: str, wanted: str, file: str = "", record: str = "") -> None:
        """Note a fault that a change of this parameter (or of the file it names) repairs; once."""
        row = Fault(file or params.short(self.file(stage)), record, found, wanted, self.place(stage, name))
        if row not in self.faults:
            self.faults.append(row)

    def has_fault(self, name: str) -> bool:
        """Whether a fault asks to change a parameter of this name."""
        return any(fault.change.startswith(f"{name} ") for fault in self.faults)

    @property
    def simulated(self) -> bool:
        """Whether 01 makes the data, so that there are none before it ran."""
        return self("01_extraction", "simulate")

    def path(self, stage: str, name: str, text: str | None = None) -> Path:
        """The file or folder that a parameter names. Raises Unknown after noting that there is none.

        text: one element of a parameter that is a list.
        """
        text = self(stage, name) if text is None else text
        if text.startswith(inputs.SIMULATED):
            if not self.simulated:
                self.fault(stage, name, repr(text), "a file of yours, or \"\": 01_extraction has simulate: false")
            raise Unknown
        try:
            if not text:
                raise FileNotFoundError("an empty path")
            return io.data_path(text)
        except FileNotFoundError as error:
            entry = self.entries[stage].get(name)
            cut = f" (YAML left out what follows in that line: {entry.comment!r})" if entry and entry.comment else ""
            found = str(error).removeprefix(f"{text}: ")
            self.fault(stage, name, f"{found}{cut}", "a file or folder that exists", file=text)
            raise Unknown from None

    @contextmanager
    def reading(self, stage: str, name: str, file: str | Path = "") -> Iterator[None]:
        """Inside, a reader's refusal becomes a fault of this parameter, and Unknown is raised."""
        try:
            yield
        except REFUSALS as error:
            self.refusal(stage, name, str(error).strip("'\""), file)
            raise Unknown from None

    def refusal(self, stage: str, name: str, message: str, file: str | Path = "") -> None:
        """Note what a reader said. A message `…, line 3: found; wanted …` gives file, record, found and wanted."""
        text = " ".join(message.split())
        record = re.search(r"line \d+|record \S+|\S+:\d+(?:-\d+)?(?=[: ])", text)
        found, wanted = _halves(re.sub(rf"^{re.escape(str(file))}(?=[:,\s])[:,\s]*", "", text) if file else text)
        self.fault(stage, name, found, wanted, file=params.short(Path(file)) if file else "", record=record[0] if record else "")


def _halves(text: str) -> tuple[str, str]:
    """A message cut at its last "wanted"."""
    found, word, wanted = text.rpartition("wanted ")
    return (found.rstrip(" ,;:("), wanted.rstrip(")")) if word and found.strip() else (text, "input that can be read")


def read(name: str) -> Study:
    """A study with what is wrong with its params files. Raises Refused for no such study, or no folder for its outputs."""
    try:
        io.study_dir(name)
    except ValueError as error:
        raise params.Refused(str(error)) from None
    study = Study(name)
    try:
        folder = io.ROOT / "params" / check_name("study", name)
    except ValueError as error:
        raise params.Refused(str(error)) from None
    if not folder.is_dir():
        params.stage_params(name, next(iter(params.STAGES)))  # says which studies there are
    for file in sorted(folder.glob("*.yaml")):
        if file.stem not in params.STAGES:
            study.faults.append(Fault(params.short(file), "", "a file of no stage", f"one of {', '.join(params.STAGES)}",
                                      "the file's name"))
    for stage in params.STAGES:
        _read_stage(study, stage)
    return study


def _read_stage(study: Study, stage: str) -> None:
    file, notebook = study.file(stage), params.notebook_path(stage)
    study.entries[stage], study.values[stage] = {}, {}
    try:
        entries, problems = params.read_params(notebook, file)
    except params.Refused as error:
        study.faults.append(Fault(params.short(file), "", str(error), "a params file that fits its notebook", "the file"))
        return
    for problem in problems:
        record = f"line {problem.line}" if problem.line else ""
        name = f"{problem.name} ({params.short(file)}, line {problem.line})"
        study.faults.append(Fault(params.short(file), record, f"{problem.name} {problem.found}".strip(), problem.wanted, name))
    study.entries[stage] = {entry.name: entry for entry in entries}
    broken = {problem.name for problem in problems}
    if "" in broken:
        return  # not even its names are known
    values = params.parameter_defaults(notebook) | {entry.name: entry.value for entry in entries}
    study.values[stage] = {key: value for key, value in values.items() if key not in broken}
    if not problems:
        try:
            params.stage_params(study.name, stage)
        except params.Refused as error:
            study.fault(stage, "study", str(error), "the folder's name")
