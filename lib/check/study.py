"""A study as its params files say it, and what is found wrong with it: every fault, never only the first."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.stage import inputs, io, params

E, H, T, A = "01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation"
#: The stages of the written rule, of explanations and of the second model.
RULE, EXPLAINED, SECOND = "05_validation", "06_explanations", "07_replication"
#: What readers raise for input that they cannot use.
REFUSALS = (ValueError, OSError, KeyError, EOFError, zlib.error)


class Unknown(Exception):
    """A check cannot go on: what it needs is a fault already."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong. file, record: where; actual, wanted: what; change: the parameter to change and its line."""

    file: str
    record: str
    actual: str
    wanted: str
    change: str


@dataclass
class Study:
    """A study's values, stage by stage, and the faults and notes gathered so far.

    values: stage -> name -> value, defaults filled in; a parameter with a fault is not there. entries: of the lines.
    model: what lib.check.model read, None before it and where it has a fault.
    """

    name: str
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    entries: dict[str, dict[str, params.Entry]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model: Any = None

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

    def fault(self, stage: str, name: str, actual: str, wanted: str, file: str = "", record: str = "") -> None:
        """Note a fault that a change of this parameter (or of the file it names) repairs; once."""
        row = Fault(file or params.short(self.file(stage)), record, actual, wanted, self.place(stage, name))
        if row not in self.faults:
            self.faults.append(row)

    def has_fault(self, name: str) -> bool:
        """Whether a fault asks to change a parameter of this name."""
        return any(fault.change.startswith(f"{name} ") for fault in self.faults)

    def lacking(self, what: str, wanted: str, stage: str = "") -> None:
        """Note that a file of the study's folder is not there, or one too many; stage: the one that asks for it."""
        folder = params.short(self.file("x").parent)
        self.faults.append(Fault(folder, "", what, wanted, f"the files of {folder}" + (f", for {stage}" if stage else "")))

    @property
    def door(self) -> str:
        """The stage that makes the corpus, by its number. Raises Unknown without one."""
        for stage in self.values:
            if params.number_of(stage) == "00":
                return stage
        raise Unknown

    @property
    def simulated(self) -> bool:
        """Whether the front door makes the data, so that there are none before it ran; one that has no such parameter does not."""
        if not self.values[self.door] or self.has_fault("simulate"):
            raise Unknown
        return self.values[self.door].get("simulate", False)

    @property
    def no_simulation(self) -> str:
        """Why there are no simulated files, for a fault's `wanted`."""
        return f"{self.door} has simulate: false" if "simulate" in self.values[self.door] else f"{self.door} simulates none"

    def may_be_empty(self, stage: str, name: str) -> bool:
        """Whether "" is a path's way to say that there is none: by its default, or by the comment beside it."""
        notebook = params.notebook_path(stage)
        return params.parameter_ranges(notebook)[name].empty or params.parameter_defaults(notebook)[name] == ""

    def path(self, stage: str, name: str, text: str | None = None) -> Path:
        """The file or folder that a parameter names. Raises Unknown after noting that there is none.

        text: one element of a parameter that is a list.
        """
        text = self(stage, name) if text is None else text
        if text.startswith(inputs.SIMULATED):
            if not self.simulated:
                self.fault(stage, name, repr(text), f"a file of yours, or \"\": {self.no_simulation}")
            raise Unknown
        try:
            if not text:
                raise FileNotFoundError("an empty path")
            return io.data_path(text)
        except FileNotFoundError as error:
            entry = self.entries[stage].get(name)
            cut = f" (YAML left out what follows in that line: {entry.comment!r})" if entry and entry.comment else ""
            message = str(error).removeprefix(f"{text}: ")
            self.fault(stage, name, f"{message}{cut}", "a file or folder that exists", file=text)
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
        """Note what a reader said. A message `…, line 3: found; wanted …` gives file, record, actual and wanted."""
        text = " ".join(message.split())
        record = re.search(r"line \d+|record \S+|\S+:\d+(?:-\d+)?(?=[: ])", text)
        actual, wanted = _halves(re.sub(rf"^{re.escape(str(file))}(?=[:,\s])[:,\s]*", "", text) if file else text)
        self.fault(stage, name, actual, wanted, file=params.short(Path(file)) if file else "", record=record[0] if record else "")


def _halves(text: str) -> tuple[str, str]:
    """A message cut at its last "wanted"."""
    actual, word, wanted = text.rpartition("wanted ")
    return (actual.rstrip(" ,;:("), wanted.rstrip(")")) if word and actual.strip() else (text, "input that can be read")


def attempt(study: Study, one: Callable, *rest: object) -> None:
    """One check, which cannot keep others from running: what a reader refuses is a fault though the check had not expected it."""
    try:
        with suppress(Unknown):
            one(study, *rest)
    except REFUSALS as error:
        text = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        fault = Fault(params.short(study.file("x").parent), "", text, "input that can be read", "the file named")
        study.faults += [fault] if fault not in study.faults else []


def read(name: str) -> Study:
    """A study with what is wrong with its params files. Raises Refused for no such study, or no folder for its outputs.

    Of two files of one number neither is read, and nothing can be said of the stages.
    """
    study, by_number = Study(name), defaultdict(list)
    for file in sorted(params.folder_of(name).glob("*.yaml")):
        by_number[params.number_of(file.stem)].append(file)
    for file in by_number.pop("", ()):
        study.faults.append(Fault(params.short(file), "", "a file of no stage", "NN_name.yaml, NN from 00 to 09", "the file's name"))
    for number, files in by_number.items():
        if len(files) > 1:
            study.lacking(f"{' and '.join(file.name for file in files)}, both of number {number}",
                          "one of them: a study has one stage of a number")
    if any(len(files) > 1 for files in by_number.values()):
        return study
    for stage in params.stages(name):
        _read_stage(study, stage)
    if "00" not in by_number:
        study.lacking(", ".join(f"{stage}.yaml" for stage in study.values) or "no file of a stage",
                      "00_<kind>.yaml beside it: what the study reads, and where its files are")
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
        study.faults.append(Fault(params.short(file), record, f"{problem.name} {problem.actual}".strip(), problem.wanted, name))
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
