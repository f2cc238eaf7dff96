"""What decides a stage's output, part by part, and as one hash: params, code, data files and the stages before it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.stage import io, modules
from lib.stage.hashes import Hashes, only_time_differs
from lib.stage.params import (
    Refused,
    check_pair,
    notebook_path,
    number_of,
    paths_of,
    short,
    stage_params,
    stages,
)
from lib.stage.plain import plain

PARTS = ("params", "notebook", "modules", "inputs", "upstream")
INDEXES = (".fai", ".gzi", ".tbi", ".csi")  # what a reader looks for beside a FASTA, VCF or BED file


class Look:
    """One look at a study as it lies here: what was read for one stage is not read again for the next.

    stages: those of the study, in order, each with those that it reads. Raises params.Refused for no study.
    """

    def __init__(self, study: str):
        self.stages = stages(study)
        self.study = io.study_dir(study).name
        self.hashes = Hashes(io.ROOT / "outputs" / ".hashes.json")
        self._parts: dict[str, dict[str, Any]] = {}

    def parts(self, stage: str) -> dict[str, Any]:
        """All that decides a stage's output, by the names of PARTS.

        params: every value that the notebook runs with; notebook: hash of its code, the cell of parameters aside; modules: file of lib ->
        hash; inputs: file of `input_files` -> `Hashes.quick`, or the finished output's where `_inputs` finds the same bytes; upstream:
        stage before it -> fingerprint. Raises params.Refused for bad params, for code that is no Python and for a notebook whose two files
        disagree, FileNotFoundError for a missing data file.
        """
        if stage not in self._parts:
            params = stage_params(self.study, stage)
            script = notebook_path(stage).with_suffix(".py")
            self._check_pair(notebook_path(stage), script)
            source = script.read_text(encoding="utf-8")
            used = sorted({*_used_by(source, script), *self._kind(stage)})
            self._parts[stage] = plain({
                "params": params,
                "notebook": modules.code_hash(_without_parameters(source)),
                "modules": {short(path): modules.file_hash(path) for path in used},
                "inputs": self._inputs(stage, params),
                "upstream": {earlier: self.fingerprint(earlier) for earlier in self.stages[stage]},
            })
        return self._parts[stage]

    def _kind(self, stage: str) -> list[Path]:
        """Files of the kind's module, which shared notebooks import by the name that corpus.json gives; none before there is one.

        Raises params.Refused where that module is not there, or is no Python.
        """
        door = next((name for name in self.stages if number_of(name) == "00"), stage)
        if stage == door:
            return []
        try:
            kind = io.read_json(self.study, door, "corpus.json")["kind"]
            return _parsed(modules.behind, [kind], root=io.ROOT)
        except FileNotFoundError:
            return []
        except ModuleNotFoundError as error:
            raise Refused(f"{door} of {self.study} names a kind that is not there: {error}") from None

    def _check_pair(self, notebook: Path, script: Path) -> None:
        """`params.check_pair`, once for two files as they are: it takes seconds to import what reads them."""
        if script.exists() and notebook.exists():
            self.hashes.once(notebook, f"as {self.hashes.whole(script)}", lambda path: check_pair(path) or "checked")
        else:
            check_pair(notebook)

    def fingerprint(self, stage: str) -> str:
        """Hash of all that decides this stage's output, as hexadecimal. Raises as `parts` does."""
        return hash_of(self.parts(stage))

    def _inputs(self, stage: str, params: dict[str, Any]) -> dict[str, str]:
        """Hashes of the input files; of a large one that was only touched or copied, that which the finished output has.

        Where the time alone differs from what the manifest notes, the whole file is hashed and compared, once.
        """
        noted, whole = self._noted(stage)
        seen = {}
        for name, path in input_files(params).items():
            seen[name] = self.hashes.quick(path)
            if only_time_differs(seen[name], noted.get(name)) and self.hashes.whole(path) == whole.get(name):
                seen[name] = noted[name]
        return seen

    def _noted(self, stage: str) -> tuple[dict[str, str], dict[str, str]]:
        """The inputs of the finished output, and the whole hashes of those that were sampled; empty where there is none."""
        try:
            manifest = io.read_manifest(self.study, stage)
        except io.Unfinished:
            return {}, {}
        tables = (manifest.get(name) for name in ("inputs", "inputs_whole"))
        inputs, whole = (table if isinstance(table, dict) else {} for table in tables)
        return inputs, whole

    def whole_inputs(self, stage: str) -> dict[str, str]:
        """SHA-256 of the whole content of those inputs that `parts` knows by samples."""
        files, known = input_files(self.parts(stage)["params"]), self.parts(stage)["inputs"]
        return {name: self.hashes.whole(path) for name, path in files.items() if known[name].startswith("sampled:")}


def input_files(params: dict[str, Any]) -> dict[str, Path]:
    """Every file that the parameters name, see `params.paths_of`: as written there -> where it lies.

    With each file come the index files beside it; a folder stands for the files in it, hidden ones left out. For simulated
    files the fingerprint of the front door stands. Raises FileNotFoundError for a missing one.
    """
    files = {}
    for _, text in paths_of(params):
        path = io.data_path(text)
        if path.is_dir():
            files |= {f"{text.rstrip('/')}/{p.relative_to(path).as_posix()}": p for p in _shown(path)}
        else:
            beside = {f"{text}{end}": path.with_name(path.name + end) for end in INDEXES}
            files |= {text: path} | {name: p for name, p in beside.items() if p.is_file()}
    return files


def hash_of(value: Any) -> str:
    """Hash of a value by its JSON, keys sorted, as hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _used_by(source: str, notebook: Path) -> list[Path]:
    """`modules.used_by` of a notebook. Raises params.Refused with file and line for code that does not parse."""
    return _parsed(modules.used_by, source, io.ROOT, str(notebook))


def _parsed(walk: Callable[..., list[Path]], *given: Any, **named: Any) -> list[Path]:
    """What a walk over code gives. Raises params.Refused with file and line for code that does not parse."""
    try:
        return walk(*given, **named)
    except SyntaxError as error:
        raise Refused(f"{short(Path(error.filename))}, line {error.lineno}: {error.msg}; wanted Python") from None


def _without_parameters(source: str) -> str:
    """A notebook's percent-format text but for its cell of parameters, for which their values stand."""
    cells = re.split(r"^(?=# %%)", source, flags=re.MULTILINE)
    return "".join(cell for cell in cells if not re.match(r'# %%.*tags=\[[^\]]*"parameters"', cell))


def _shown(folder: Path) -> list[Path]:
    """Files of a folder at any depth, but for hidden ones."""
    return sorted(p for p in folder.rglob("*") if p.is_file()
                  and not any(part.startswith(".") for part in p.relative_to(folder).parts))
