"""Run one notebook of one study when, and only when, something it depends on changed.

    python -m lib.run STUDY STAGE [--force]

What a stage depends on is hashed into its *fingerprint* (lib.run.fingerprint). The manifest keeps that of the run that made
an output, part by part, and the output's own hashes; lib.run.stale says what differs from what lies here now.
"""

from __future__ import annotations

import argparse
import contextlib
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
from importlib import import_module
from pathlib import Path
from typing import Any

from lib.run.fingerprint import Look, hash_of
from lib.run.stale import reasons
from lib.stage import io
from lib.stage.params import Refused, notebook_path, number_of, short, stage_params


class StageFailed(RuntimeError):
    """The notebook started and did not finish."""


def run_stage(study: str, stage: str, force: bool = False) -> bool:
    """Run a stage unless its output is up to date; True when it ran.

    Raises Refused before any compute (params, notebook pair, an earlier stage missing or out of date),
    io.Busy when another process writes the stage, StageFailed when a cell fails. Only a finished run
    changes what lies in `outputs/<study>/<stage>/`.
    """
    params = stage_params(study, stage)
    io.lock(study, stage)
    try:
        io.recover(study, stage)
        look = Look(study)                           # at what lies here before the run, not at later edits
        why = ["--force"] if force else reasons(look, stage)
        look.hashes.save()
        if not why:
            print(f"{study}/{stage}: up to date", flush=True)
            return False
        for earlier in look.stages[stage]:
            if not is_fresh(look, earlier):
                raise Refused(f"{study}/{stage} needs {earlier}, which is missing or out of date: run "
                              f"`python -m lib.run {study} {earlier}`, or `make study STUDY={study}` for all")
        _refuse_faults(look, stage)
        start, inputs = time.monotonic(), look.parts(stage) | {"inputs_whole": look.whole_inputs(stage)}
        look.hashes.save()
        print(f"{study}/{stage}: running: {'; '.join(why[:3])}", file=sys.stderr, flush=True)
        executed = _execute(study, stage, params)
        manifest = _manifest(study, stage, look, executed) | inputs | {
            "wall_seconds": round(time.monotonic() - start, 1)}
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


def _refuse_faults(look: Look, stage: str) -> None:
    """Before a front door runs, raise Refused with everything that is wrong with the whole study, if the kind has a check."""
    kind = stage.partition("_")[2]
    if number_of(stage) == "00" and (io.ROOT / "lib" / kind / "check.py").is_file():
        import_module(f"lib.{kind}.check").refuse(look.study)


def is_fresh(look: Look, stage: str) -> bool:
    """Whether the finished output was made from what lies here now, and all its files are as the stage wrote them."""
    return not reasons(look, stage)


def sync_flags(study: str) -> None:
    """Make `outputs/<study>/.done/<stage>` exist exactly for the stages that are up to date.

    A stage that cannot run gets none: running it says why. Raises Refused for no study, OSError when there is something to
    run and outputs cannot be written.
    """
    look = Look(study)
    for stage in look.stages:
        flag = io.study_dir(study) / ".done" / stage
        try:
            fresh = is_fresh(look, stage)
        except (Refused, FileNotFoundError):
            fresh = False
        if not fresh or not flag.exists():
            _writable(flag.parent)
        if fresh and not flag.exists():
            flag.touch()
        elif not fresh:
            flag.unlink(missing_ok=True)
    look.hashes.save()


def _writable(folder: Path) -> None:
    """Make a folder of a study. Raises OSError, naming the study's, where one of the two cannot be written."""
    why = "no permission"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = all(os.access(path, os.W_OK | os.X_OK, effective_ids=True) for path in (folder.parent, folder))
    except OSError as error:
        writable, why = False, error.strerror
    if not writable:
        raise OSError(f"{short(folder.parent)} cannot be written ({why}): make room there, or let outputs be a link to another disk")


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
                str(notebook_path(stage)), str(running), parameters=params, kernel_name="python3",
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


def _manifest(study: str, stage: str, look: Look, executed: Any) -> dict[str, Any]:
    """What a reader needs to trust or repeat the output, but for what it was made from and the time it took."""
    unit = 2**20 if sys.platform == "darwin" else 2**10      # ru_maxrss counts bytes there, KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    return {
        "study": study,
        "stage": stage,
        "fingerprint": look.fingerprint(stage),
        "params_hash": hash_of(look.parts(stage)["params"])[:12],
        "seed": look.parts(stage)["params"].get("seed"),
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


def _failed_notebook(study: str, stage: str) -> Path:
    return io.ROOT / "outputs" / study / f"{stage}.failed.ipynb"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done or up to date, 1 the notebook failed, 2 it could not start."""
    parser = argparse.ArgumentParser(prog="python -m lib.run", description=__doc__.splitlines()[0])
    parser.add_argument("study", help="a folder of params/")
    parser.add_argument("stage", help="one of its NN_name.yaml files")
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
