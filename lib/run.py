"""Run one notebook of one study when, and only when, something it depends on changed.

    python -m lib.run STUDY STAGE [--force]

What a stage depends on is hashed into its *fingerprint*: params, notebook code, the lib modules it imports,
data files, and the fingerprints of the stages before it. The manifest keeps the fingerprint of the run that
made an output. Comments, docstrings and prose do not count. A module imported by a computed name does not
count either, so `lib` imports by plain statements.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from lib import io

STAGES: dict[str, list[str]] = {
    "01_extraction": [],
    "02_layer_hunting": ["01_extraction"],
    "03_sae_training": ["01_extraction", "02_layer_hunting"],
    "04_annotation": ["01_extraction", "03_sae_training"],
    "05_validation": ["01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation"],
    "06_variants": ["01_extraction", "03_sae_training", "04_annotation"],
    "07_paper_figures": ["01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation",
                         "05_validation", "06_variants"],
}


class Refused(ValueError):
    """The run cannot start: the message says which file, what was found and what was wanted."""


class StageFailed(RuntimeError):
    """The notebook started and did not finish."""


# Running -------------------------------------------------------------------------------------------------


def run_stage(study: str, stage: str, force: bool = False) -> bool:
    """Run a stage unless its output is up to date; True when it ran.

    Raises Refused before any compute (params, notebook pair, an earlier stage missing or out of date),
    io.Busy when another process writes the stage, StageFailed when a cell fails. Only a finished run
    changes what lies in `outputs/<study>/<stage>/`.
    """
    params = stage_params(study, stage)
    check_pair(_notebook(stage))
    io.lock(study, stage)
    try:
        io.recover(study, stage)
        known: dict[str, str] = {}
        fingerprint(study, stage, known)             # of what lies here before the run, not of later edits
        if is_fresh(study, stage, known) and not force:
            print(f"{study}/{stage}: up to date", flush=True)
            return False
        for earlier in STAGES[stage]:
            if not is_fresh(study, earlier, known):
                raise Refused(f"{study}/{stage} needs {earlier}, which is missing or out of date: run "
                              f"`python -m lib.run {study} {earlier}`, or `make study STUDY={study}` for all")
        start, inputs = time.monotonic(), input_hashes(params)
        print(f"{study}/{stage}: running", file=sys.stderr, flush=True)
        executed = _execute(study, stage, params)
        manifest = _manifest(study, stage, params, known, executed) | {
            "inputs": inputs, "wall_seconds": round(time.monotonic() - start, 1)}
        try:
            io.commit(study, stage, manifest)
        except OSError:
            io.discard_partial(study, stage)
            raise
        _failed_notebook(study, stage).unlink(missing_ok=True)
        _note_progress(study, manifest)
        print(f"{study}/{stage}: done in {manifest['wall_seconds']} s", flush=True)
        return True
    finally:
        io.unlock(study, stage)


def is_fresh(study: str, stage: str, known: dict[str, str] | None = None) -> bool:
    """Whether the finished output was made from what lies here now, and all its files are there."""
    try:
        manifest = io.read_manifest(study, stage)
    except FileNotFoundError:
        return False
    return (manifest["fingerprint"] == fingerprint(study, stage, known)
            and all(io.output_file(study, stage, key).exists() for key in manifest["files"]))


def sync_flags(study: str) -> None:
    """Make `outputs/<study>/.done/<stage>` exist exactly for the stages that are up to date."""
    known: dict[str, str] = {}
    for stage in STAGES:
        flag = io.ROOT / "outputs" / study / ".done" / stage
        if is_fresh(study, stage, known):
            flag.parent.mkdir(parents=True, exist_ok=True)
            flag.touch()
        else:
            flag.unlink(missing_ok=True)


def _execute(study: str, stage: str, params: dict[str, Any]) -> Any:
    """Execute the notebook; the partial output then holds all files and the executed notebook.

    Returns the executed notebook. On any failure no partial output stays, and the notebook as far as it
    got is left as `<stage>.failed.ipynb`. Raises StageFailed.
    """
    import papermill
    from traitlets.config import Config

    running = io.ROOT / "outputs" / study / f".{stage}.running.ipynb"
    io.discard_partial(study, stage)
    finished = False
    try:
        with _kernel_environment(), _readable_log(stage), tempfile.TemporaryDirectory(prefix="sae-dna-") as sockets:
            local = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})  # nobody else can listen in
            executed = papermill.execute_notebook(
                str(_notebook(stage)), str(running), parameters=params, kernel_name="python3",
                cwd=str(io.ROOT), progress_bar=False, log_output=True, config=local)
        partial = io.partial_dir(study, stage)
        if not (partial / "headline.json").exists():
            raise StageFailed(f"{stage} ran to its end without stage.finish() for study {study!r}: "
                              f"the notebook has to call io.open_stage(study, {stage!r}) and finish()")
        os.replace(running, partial / f"{stage}.ipynb")
        finished = True
        return executed
    except papermill.PapermillExecutionError as error:
        raise StageFailed(_five_lines(study, stage, error)) from None
    finally:
        if not finished:
            io.discard_partial(study, stage)
            if running.exists():
                os.replace(running, _failed_notebook(study, stage))


@contextlib.contextmanager
def _kernel_environment() -> Iterator[None]:
    """What the kernel inherits: this project first on the path, and finish() leaves the commit to us.

    The MALLOC limits let glibc keep freed blocks, rather than fault them in again at every layer: measured 1.7x on
    forwards of the demo model. OMP's passive waiting keeps a busy machine from stalling torch.
    """
    before = dict(os.environ)
    path = os.pathsep.join(filter(None, [str(io.ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.update(SAE_DNA_ROOT=str(io.ROOT), SAE_DNA_RUNNER="1", PYTHONPATH=path,
                      OMP_WAIT_POLICY="PASSIVE", MALLOC_MMAP_THRESHOLD_=str(2**30), MALLOC_TRIM_THRESHOLD_=str(2**30))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _readable_log(stage: str) -> Iterator[None]:
    """Show on stderr which cell runs and what it prints, without papermill's own chatter."""
    def keep(record: logging.LogRecord) -> bool:
        cell = re.match(r"Executing Cell (\d+)-*$", record.getMessage())
        if cell:
            record.msg, record.args = f"{stage} [{cell[1]}]", ()
        return not re.match(r"(Ending Cell|Input Notebook|Output Notebook|Working directory|Executing notebook)",
                            record.getMessage())
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(keep)
    logger = logging.getLogger("papermill")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _five_lines(study: str, stage: str, error: Any) -> str:
    """The failing cell's error: where, which line, what, and the two places to look."""
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    lines = [match.strip() for match in re.findall(r"^-+> *\d+ (.*)$", trace, re.MULTILINE)]
    left = _failed_notebook(study, stage).relative_to(io.ROOT)
    return "\n".join([f"{study}/{stage} failed in cell [{error.exec_count}]:",
                      f"  {(lines or error.source.splitlines() or [''])[0]}",
                      f"  {error.ename}: {' '.join(error.evalue.split())[:400]}",
                      f"the notebook as far as it got: {left}",
                      f"no output was changed; run again with: python -m lib.run {study} {stage}"])


# Params --------------------------------------------------------------------------------------------------


def stage_params(study: str, stage: str) -> dict[str, Any]:
    """The checked values of params/<study>/<stage>.yaml. Raises Refused."""
    if stage not in STAGES:
        raise Refused(f"unknown stage {stage!r}; stages: {', '.join(STAGES)}")
    folder = io.ROOT / "params" / study
    if not folder.is_dir():
        studies = sorted(p.name for p in folder.parent.glob("*/")) if folder.parent.is_dir() else []
        raise Refused(f"unknown study {study!r}: there is no params/{study}/; studies: {', '.join(studies)}")
    file = folder / f"{stage}.yaml"
    values = check_params(_notebook(stage), file)
    if values.get("study", study) != study:
        raise Refused(f"{_short(file)}: study is {values['study']!r}, wanted {study!r}, the folder's name")
    if "study" not in values and parameter_defaults(_notebook(stage)).get("study", study) != study:
        raise Refused(f"{_short(file)}: study is missing; add `study: {study}`")
    return values


def check_params(notebook: Path, file: Path) -> dict[str, Any]:
    """The values of a params file, once each is known to fit the notebook's `parameters` cell.

    notebook: the .ipynb; file: flat YAML. Raises Refused for an unknown or repeated name, for a type other
    than the default's (an int may stand for a float, a bool never for an int, list elements likewise; any
    type where the default is None), and as in `parameter_defaults`.
    """
    import yaml
    defaults = parameter_defaults(notebook)
    if not file.exists():
        raise Refused(f"there is no {_short(file)}; wanted one line per parameter of {notebook.name}: "
                      f"{', '.join(defaults)}")
    text = file.read_text(encoding="utf-8")
    try:
        root, values = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(f"{_short(file)} is not YAML: {error}") from None
    if root is None:
        return {}
    if not isinstance(values, dict):
        raise Refused(f"{_short(file)}: found a {type(values).__name__}, wanted lines of `name: value`")
    seen: dict[str, int] = {}
    for key, _ in root.value:
        line = key.start_mark.line + 1
        where = f"{_short(file)}, line {line}: {key.value}"
        if key.value in seen:
            raise Refused(f"{where} is there twice, first in line {seen[key.value]}")
        if key.value not in defaults:
            raise Refused(f"{where} is no parameter of {notebook.name}; known: {', '.join(defaults)}")
        seen[key.value] = line
        problem = _misfit(values[key.value], defaults[key.value])
        if problem:
            raise Refused(f"{where} {problem}")
    return values


def parameter_defaults(notebook: Path) -> dict[str, Any]:
    """Name and default of each assignment in the notebook's cell tagged `parameters`.

    Raises Refused without exactly one such cell, or when it holds anything but assignments of literals.
    """
    if not notebook.exists():
        raise Refused(f"there is no notebook {_short(notebook)}")
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
             if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise Refused(f"{_short(notebook)} has {len(cells)} cells tagged `parameters`, wanted one")
    defaults = {}
    for node in ast.parse("".join(cells[0]["source"])).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        try:
            defaults[target.id] = ast.literal_eval(node.value)
        except (AttributeError, TypeError, ValueError):
            raise Refused(f"{_short(notebook)}, parameters cell, line {node.lineno}: found "
                          f"`{ast.unparse(node)}`, wanted `name = literal`") from None
    return defaults


def check_pair(notebook: Path) -> None:
    """Raise Refused unless the .py beside `notebook` has the same cells and tags."""
    import jupytext
    script = notebook.with_suffix(".py")
    for path in (script, notebook):
        if not path.exists():
            raise Refused(f"there is no {_short(path)}; a notebook is a pair: jupytext --sync the other one")
    pair = [[(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in jupytext.read(path).cells]
            for path in (script, notebook)]
    if pair[0] != pair[1]:
        cell = next((i for i, (a, b) in enumerate(zip(*pair)) if a != b), min(map(len, pair)))
        raise Refused(f"{_short(script)} and {notebook.name} disagree from cell {cell + 1} on: "
                      f"jupytext --sync {_short(script)}")


def _misfit(value: Any, default: Any) -> str:
    """Why `value` cannot stand for `default`, or nothing."""
    if default is None:
        return ""
    if isinstance(default, (list, tuple)):
        if not isinstance(value, list):
            return f"is {value!r} ({type(value).__name__}), wanted a list like {list(default)!r}"
        model = next((d for d in default if isinstance(d, float)), default[0] if default else None)
        problems = (f"element {i + 1} {_misfit(v, model)}" for i, v in enumerate(value) if _misfit(v, model))
        return next(problems, "")
    if type(value) is type(default) or (type(default) is float and type(value) is int):
        return ""
    hint = ""
    if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if _is_number(value) else " (text)"
    return (f"is {value!r} ({type(value).__name__}){hint}, wanted {type(default).__name__} "
            f"like the default {default!r}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# Fingerprint ---------------------------------------------------------------------------------------------


def fingerprint(study: str, stage: str, known: dict[str, str] | None = None) -> str:
    """Hash of all that decides this stage's output, as hexadecimal.

    known: fingerprints already computed for this study, which are used and added to. Raises Refused for
    bad params, FileNotFoundError for a missing data file.
    """
    known = {} if known is None else known
    if stage not in known:
        params = stage_params(study, stage)
        script = _notebook(stage).with_suffix(".py")
        source = script.read_text(encoding="utf-8")
        known[stage] = _hash({
            "params": params,
            "notebook": _code_hash(source),
            "modules": {_short(path): _module_hash(path) for path in lib_files(source)},
            "inputs": input_hashes(params),
            "upstream": {earlier: fingerprint(study, earlier, known) for earlier in STAGES[stage]},
        })
    return known[stage]


def lib_files(source: str) -> list[Path]:
    """Files of `lib` that `source` imports, at any depth, plus the .csv tables beside those modules."""
    found: set[Path] = set()
    todo = _imported(source, "")
    while todo:
        module = todo.pop()
        path = _module_file(module)
        if path is None or path in found:
            continue
        found.add(path)
        found.update(path.parent.glob("*.csv"))
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        todo |= _imported(path.read_text(encoding="utf-8"), package)
    return sorted(found)


def input_hashes(params: dict[str, Any]) -> dict[str, str]:
    """Content hash of each file or folder named by a parameter ending in `_path`; empty values skipped.

    So are `simulated:` files: 01_extraction makes them, and its fingerprint stands for them.
    """
    hashes = {}
    for key, value in params.items():
        for text in (value if isinstance(value, list) else [value]) if key.endswith("_path") else []:
            if text and not text.startswith("simulated:"):
                hashes[text] = _data_hash(io.data_path(text))
    return hashes


def _imported(source: str, package: str) -> set[str]:
    """Names of `lib` modules, and of the packages around them, that `source` may import; some are no files."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join(parents + ([node.module] if node.module else []))
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    ours = {name for name in names if name.split(".")[0] == "lib"}
    return {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 2)}


def _module_file(module: str) -> Path | None:
    path = io.ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _module_hash(path: Path) -> str:
    return _code_hash(path.read_text(encoding="utf-8")) if path.suffix == ".py" else io.sha256(path)


def _code_hash(source: str) -> str:
    """Hash of what Python would run: comments, layout, docstrings and other bare texts left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [s for s in block if not _is_bare_text(s)])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_bare_text(node: ast.AST) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


def _data_hash(path: Path) -> str:
    """Content hash of a file, or of all files in a folder; kept in outputs/.hashes.json by size and time."""
    store = io.ROOT / "outputs" / ".hashes.json"
    cache = json.loads(store.read_text()) if store.exists() else {}
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    hashes, changed = {}, False
    for file in files:
        status = file.stat()
        key = f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if key not in cache:
            cache[key], changed = io.sha256(file), True
        hashes[file.relative_to(path).as_posix()] = cache[key]
    if changed:
        io.atomic_write(store, json.dumps(cache, indent=0))
    return _hash(hashes) if path.is_dir() else hashes["."]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


# Manifest ------------------------------------------------------------------------------------------------


def _manifest(study: str, stage: str, params: dict[str, Any], known: dict[str, str],
              executed: Any) -> dict[str, Any]:
    """What a reader needs to trust or repeat the output, but for the inputs and the time it took."""
    unit = 2**20 if sys.platform == "darwin" else 2**10      # ru_maxrss counts bytes there, KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    return {
        "study": study,
        "stage": stage,
        "fingerprint": known[stage],
        "params": params,
        "params_hash": _hash(params)[:12],
        "seed": params.get("seed", parameter_defaults(_notebook(stage)).get("seed")),
        "upstream": {earlier: known[earlier] for earlier in STAGES[stage]},
        "git": _git(),
        "python": sys.version.split()[0],
        "versions": _versions(),
        "import_seconds": _import_seconds(executed),
        "peak_memory_mb": round(peak),
        "headline": json.loads((io.partial_dir(study, stage) / "headline.json").read_text()),
    }


def _git() -> dict[str, Any]:
    """The commit, and whether tracked files differ from it."""
    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", str(io.ROOT), *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": None}


def direct_pins() -> dict[str, str]:
    """Name and version of the direct dependencies: requirements.txt down to the line "# Held"."""
    file = io.ROOT / "requirements.txt"
    text = file.read_text(encoding="utf-8").split("\n# Held")[0] if file.exists() else ""
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE))


def _versions() -> dict[str, str]:
    versions = {}
    for name in direct_pins():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _import_seconds(executed: Any) -> float | None:
    """How long the notebook's first cell with an import took, in seconds."""
    for cell in executed.cells:
        if cell.cell_type == "code" and re.search(r"^(import|from) ", cell.source, re.MULTILINE):
            duration = cell.metadata.get("papermill", {}).get("duration")
            return None if duration is None else round(duration, 1)
    return None


def _note_progress(study: str, manifest: dict[str, Any]) -> None:
    """Add a line to outputs/<study>/progress.md."""
    file = io.ROOT / "outputs" / study / "progress.md"
    head = ("" if file.exists() else "| date | stage | params | wall s | peak MB | headline |\n"
            "|---|---|---|---|---|---|\n")
    headline = ", ".join(f"{key} {value}" for key, value in manifest["headline"].items())
    row = [f"{datetime.now():%Y-%m-%d %H:%M}", manifest["stage"], manifest["params_hash"],
           manifest["wall_seconds"], manifest["peak_memory_mb"], headline.replace("|", "/")]
    with file.open("a", encoding="utf-8") as handle:
        handle.write(head + "| " + " | ".join(map(str, row)) + " |\n")


def _notebook(stage: str) -> Path:
    return io.ROOT / "notebooks" / f"{stage}.ipynb"


def _failed_notebook(study: str, stage: str) -> Path:
    return io.ROOT / "outputs" / study / f"{stage}.failed.ipynb"


def _short(path: Path) -> str:
    """The path as a reader types it: relative to the root when inside."""
    return path.relative_to(io.ROOT).as_posix() if path.is_relative_to(io.ROOT) else str(path)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done or up to date, 1 the notebook failed, 2 it could not start."""
    parser = argparse.ArgumentParser(prog="python -m lib.run", description=__doc__.splitlines()[0])
    parser.add_argument("study", help="a folder of params/")
    parser.add_argument("stage", help=", ".join(STAGES))
    parser.add_argument("--force", action="store_true", help="run even when up to date")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a cancelled job tidies up, too
    try:
        run_stage(chosen.study, chosen.stage, chosen.force)
    except StageFailed as error:
        print(error, file=sys.stderr)
        return 1
    except (Refused, io.Busy, FileNotFoundError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{chosen.study}/{chosen.stage} stopped, no output was changed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
