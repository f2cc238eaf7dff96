"""Where things live on disk, and how a stage's output appears there whole or not at all.

A stage writes into hidden `.….partial` folders; `commit` swaps them in and puts `manifest.json` down last,
so a manifest means a complete output. A stage killed at any moment leaves its old complete output or none
with a manifest; the next `open_stage` (or run) tidies up.

    outputs/<study>/<stage>/           tables, arrays, claims.csv, headline.json, manifest.json
    outputs/<study>/private/<stage>/   anything per person; never published
    figures/<study>/                   what the figure stage drew, swapped as a whole

Nothing is written elsewhere. `outputs` and `figures` may be links to another disk; what is in them may not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from lib.stage.hashes import is_large, sampled, sha256

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(os.environ.get("SAE_DNA_ROOT") or Path(__file__).resolve().parents[2])
CLAIM_COLUMNS = ["claim", "value", "low", "high", "n", "of", "null", "rule", "verdict", "note"]
#: What the n of a claim may count. "families" are of people; both are suppressed when few (schemas.yaml).
COUNTED = ("people", "families", "windows", "units", "tokens", "latents", "sets", "pairs", "concepts",
           "motif families", "motifs", "variants", "phenotypes", "runs", "shuffles")
#: Columns of names, as people or files give them: any of them may look like a number, or like a missing value.
TEXT = ("sample", "group", "locus", "contig", "unit_id", "ref", "alt", "gene", "id", "target", "destroys_site", "element", "strand",
        "motif", "matrix_id", "concept", "family", "lost_concept", "gained_concept", "logo", "match", "match_family", "word",
        "name", "kind", "method", "arm", "model", "file")
_LOCKS: dict[Path, TextIO] = {}          # locks this process holds, so that a cell can be run twice


class Busy(RuntimeError):
    """Another process is writing this stage."""


class Unfinished(FileNotFoundError):
    """A stage has no complete output. reason: why, in a few words; damaged: there is a manifest, but none to read."""

    def __init__(self, study: str, stage: str, reason: str, damaged: bool = False):
        super().__init__(f"{study} has no finished {stage} ({reason}): run `python -m lib.run {study} {stage}`, or that "
                         f"notebook to its end")
        self.reason, self.damaged = reason, damaged


def open_stage(study: str, name: str) -> Stage:
    """Start writing stage `name` of `study`, in an empty partial folder.

    Leftovers of a killed run are tidied first. Raises Busy when another process writes the same stage.
    """
    if not _driven():
        lock(study, name)
    lock(study, name, kind="kernel", wait=15.0)      # seconds; the kernel of a killed runner dies within a few
    recover(study, name)
    discard_partial(study, name)
    stage = Stage(study, name, partial_dir(study, name))
    stage.dir.mkdir(parents=True)
    return stage


@dataclass
class Stage:
    """An output being written. `dir` is its partial folder; nothing shows elsewhere until the commit."""

    study: str
    name: str
    dir: Path
    _claims: list[dict[str, Any]] = field(default_factory=list)
    _headline: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """File `name` of this output; may contain folders ("layer_03/sae/cfg.json"), which are made."""
        return _made(self.dir / name)

    def private_path(self, name: str) -> Path:
        """File `name` among the per-person files, found later with `io.private_path`."""
        return _made(_trees(self.study, self.name)["private"].partial / name)

    def figure_path(self, name: str) -> Path:
        """File `name` of `figures/<study>/`, which one stage of a study draws and replaces as a whole.

        Raises ValueError when another stage's figures are there.
        """
        for path in sorted(study_dir(self.study).glob("*/manifest.json")):
            other = path.parent.name
            with contextlib.suppress(Unfinished):
                files = read_manifest(self.study, other)["files"]
                if other != self.name and any(f.startswith("figures/") for f in files):
                    raise ValueError(f"figures/{self.study} belongs to {other}: "
                                     f"{self.name} would replace it whole; use stage.path instead")
        return _made(_trees(self.study, self.name)["figures"].partial / name)

    def write_table(self, name: str, frame: pd.DataFrame, private: bool = False) -> Path:
        """Write `name`.csv: no index, floats in the shortest form that reads back the same, "\\n" ends."""
        path = self.private_path(f"{name}.csv") if private else self.path(f"{name}.csv")
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write `name` (with its suffix). Numpy values become plain ones; NaN and infinity become null."""
        return self.write_text(name, json.dumps(plain(value), indent=2) + "\n")

    def write_yaml(self, name: str, value: Any) -> Path:
        """Write `name` (with its suffix), converted as in `write_json`, keys in the order given."""
        import yaml
        return self.write_text(name, yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True))

    def write_text(self, name: str, text: str) -> Path:
        """Write `name` as UTF-8."""
        path = self.path(name)
        path.write_text(text, encoding="utf-8", newline="\n")
        return path

    def claim(self, claim: str, value: float | None, low: float | None, high: float | None, n: int,
              null: str | float | None, holds: bool, note: str = "", *, of: str, rule: str, stopped: str = "",
              because: str = "") -> None:
        """Record whether `claim` holds: a row of claims.csv, and never a crash over what was measured.

        value, low, high: estimate and interval in the claim's unit; n: how many were counted, of: of what, one of
        COUNTED or of the study's own `words`; null: the strongest null or rival, as a value or a name; rule: when it
        holds, in words; note: the kind of interval, what was resampled. stopped: what stops it ("alarm: population"),
        or "". because: why it could not be tested, or "". Raises ValueError for another `of`, or without a rule.
        """
        if of not in COUNTED and of not in (own := words(self.study)):
            raise ValueError(f"claim {claim!r} counts {of!r}, wanted one of {', '.join([*COUNTED, *own])}")
        if not rule:
            raise ValueError(f"claim {claim!r} has no rule, wanted in words when it holds")
        said = verdict(value, holds, stopped, because)
        reasons = [stopped and f"stopped by {stopped}"]
        reasons += [f"because {because or 'there is no value'}"] if said == VERDICTS[3] else []
        note = "; ".join(filter(None, [*reasons, note]))
        row = [claim, value, low, high, n, of, null, rule, said, note]
        self._claims.append(dict(zip(CLAIM_COLUMNS, row)))

    def headline(self, **numbers: float | str) -> None:
        """The few numbers that say how the stage went; shown in the manifest and in progress.md."""
        self._headline.update(numbers)

    def finish(self) -> None:
        """Write claims.csv and headline.json. Without the runner, commit too.

        A commit from an open notebook is marked "interactive": the runner will run the stage again.
        """
        import pandas as pd
        self.write_table("claims", pd.DataFrame(self._claims, columns=CLAIM_COLUMNS))
        self.write_json("headline.json", self._headline)
        if not _driven():
            commit(self.study, self.name, {"study": self.study, "stage": self.name,
                                           "fingerprint": "interactive", "headline": plain(self._headline)})
            unlock(self.study, self.name)
        unlock(self.study, self.name, kind="kernel")


VERDICTS = ("holds", "does not hold", "stopped", "could not be tested")


def verdict(value: float | None, holds: bool, stopped: str = "", because: str = "") -> str:
    """One of VERDICTS. What has a reason against testing, or no value, is not tested, whatever stops it too."""
    if because or value is None or math.isnan(value):
        return VERDICTS[3]
    return VERDICTS[2] if stopped else VERDICTS[0] if holds else VERDICTS[1]


def commit(study: str, name: str, manifest: dict[str, Any]) -> None:
    """Swap the partial output in, then name it complete: `manifest`, plus the files' hashes, comes last.

    files: SHA-256 of each file's whole content; files_sampled: of the large ones, `hashes.sampled` too; sha256: `seal`
    of the manifest itself. Everything that needs disk space happens before the first move. `recover` undoes a commit that
    was killed before the manifest. The executed notebook is not hashed, since it carries times.
    """
    trees = _trees(study, name)
    files, large = {}, {}
    for kind, tree in trees.items():
        for file in _files(tree.partial):
            key = file.relative_to(tree.partial).as_posix()
            if key != f"{name}.ipynb":
                key = key if kind == "outputs" else f"{kind}/{key}"
                files[key] = sha256(file)
                large |= {key: sampled(file)} if is_large(file) else {}
    whole = plain(manifest | {"files": files, "files_sampled": large})
    text = json.dumps(whole | {"sha256": seal(whole)}, indent=2) + "\n"
    _write_synced(trees["outputs"].partial / "manifest.json.new", text.encode())
    for kind, tree in trees.items():                 # outputs first: from here on there is no manifest
        if kind == "figures" and not tree.partial.exists():
            continue                                 # this stage draws none: another stage's stay
        _move_away(tree)
        if tree.partial.exists():
            os.replace(tree.partial, tree.final)
    output = trees["outputs"].final
    os.replace(output / "manifest.json.new", output / "manifest.json")
    to_disk(output)
    recover(study, name)                             # now it only removes the old copies
    shutil.rmtree(_resume(study, name), ignore_errors=True)


def recover(study: str, name: str) -> None:
    """Tidy after a killed commit: drop the old copies if it had completed, else put them back."""
    trees = _trees(study, name)
    complete = (trees["outputs"].final / "manifest.json").exists()
    for tree in reversed(trees.values()):            # outputs last: its manifest vouches for the others
        if not tree.old.exists():
            continue
        if complete:
            shutil.rmtree(tree.old)
            continue
        shutil.rmtree(tree.final, ignore_errors=True)
        os.replace(tree.old, tree.final)
        if not any(tree.final.iterdir()):            # there was none before that commit
            tree.final.rmdir()


def discard_partial(study: str, name: str) -> None:
    """Remove what an unfinished run of this stage wrote."""
    for tree in _trees(study, name).values():
        shutil.rmtree(tree.partial, ignore_errors=True)


def resume_dir(study: str, name: str, key: str) -> Path:
    """Where a stage keeps what lets long work go on after an interruption; gone once the stage is committed.

    key: a hash of all that the work depends on, so that other work never finds it. Nothing per person belongs here.
    """
    return _made(_resume(study, name) / key)


def _resume(study: str, name: str) -> Path:
    return study_dir(study) / ".resume" / check_name("stage", name)


def lock(study: str, name: str, kind: str = "run", wait: float = 0.0) -> None:
    """Hold this stage for this process until `unlock` or its end, however it ends. Twice is harmless.

    kind: "run" for who drives the stage, "kernel" for who writes its files. wait: seconds to wait for it.
    Raises Busy when another process holds it.
    """
    path = _lock_path(study, name, kind)
    if path in _LOCKS:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+")
    give_up = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= give_up:
                handle.seek(0)
                who = handle.read().strip() or "unknown"
                handle.close()
                raise Busy(f"{study}/{name} is being written by process {who}: wait for it to end, or, if "
                           f"it is a notebook, finish that stage or shut its kernel down") from None
            time.sleep(0.2)
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    _LOCKS[path] = handle


def unlock(study: str, name: str, kind: str = "run") -> None:
    """Let go of a stage; nothing happens if it is not held."""
    handle = _LOCKS.pop(_lock_path(study, name, kind), None)
    if handle:
        handle.close()


def data_path(text: str) -> Path:
    """The existing file or folder a params value names.

    `$DATA_DIR/…` is in `data_folder`, an absolute path stays, anything else is relative to the project root.
    Raises FileNotFoundError.
    """
    path, hint = named_path(text), "write it relative to the project root, or as $DATA_DIR/…"
    if _in_data_folder(text):
        hint = "set the environment variable DATA_DIR to the data folder"
        if not data_folder().is_dir():
            raise FileNotFoundError(f"{text}: there is no data folder {data_folder()}; {hint}")
    if not path.exists():
        raise FileNotFoundError(f"{text}: {path} does not exist; {hint}")
    return path


def named_path(text: str) -> Path:
    """The file or folder a params value names, as `data_path` finds it, there or not."""
    return data_folder() / text[len("$DATA_DIR"):].lstrip("/") if _in_data_folder(text) else ROOT / text


def data_folder() -> Path:
    """The folder that `$DATA_DIR` in params stands for, there or not: the environment variable, or shared/data beside the project."""
    return Path(os.environ.get("DATA_DIR") or ROOT.parent / "shared" / "data").absolute()


def _in_data_folder(text: str) -> bool:
    return text == "$DATA_DIR" or text.startswith("$DATA_DIR/")


def read_manifest(study: str, stage: str) -> dict[str, Any]:
    """The manifest of a finished stage, each part of the type that `commit` gives it.

    Raises Unfinished naming the stage to run, also for a damaged manifest and for one that was edited: not as sealed.
    """
    path = _trees(study, stage)["outputs"].final / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_name_twice)
        wrong = _damage(manifest)
    except FileNotFoundError:
        raise Unfinished(study, stage, "no output yet") from None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        empty = path.is_file() and not path.stat().st_size
        wrong = "is empty" if empty else f"is no JSON: {error}"
    if wrong:
        raise Unfinished(study, stage, f"{_below_root(path)} {wrong}", damaged=True)
    return manifest


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest but for its own `sha256`, as hexadecimal: whether it is as it was written."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


#: Parts of a manifest that are tables, and those of them whose values are texts.
_TABLES = ("params", "modules", "inputs", "inputs_whole", "upstream", "files", "files_sampled", "headline")
_OF_TEXTS = _TABLES[1:-1]


def _damage(manifest: Any) -> str:
    """What keeps a manifest from being used, in words; "" for one that is whole."""
    wanted = ("stage", "fingerprint", "files")
    if missing := [name for name in wanted if not isinstance(manifest, dict) or name not in manifest]:
        return f"lacks {missing}"
    for name in _TABLES:
        table = manifest.get(name, {})
        if not isinstance(table, dict):
            return f"has {name} {str(table)[:40]!r}, wanted a table"
        if name in _OF_TEXTS and not all(isinstance(value, str) for value in table.values()):
            return f"has {name} whose values are no texts"
    for key in (*manifest["files"], *manifest.get("files_sampled", {})):
        if not key or key.startswith("/") or ".." in key.split("/"):
            return f"lists the file {key!r}, wanted one of the stage's own"
    if manifest.get("sha256", edited := seal(manifest)) != edited:
        return "was edited: its sha256 is not that of the rest"
    return ""


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"one of {', '.join(table)} is there twice"[:200])
    return table


def stage_path(study: str, stage: str, name: str) -> Path:
    """File or folder `name` of a finished stage. Raises FileNotFoundError."""
    return _finished(study, stage, "outputs", name)


def private_path(study: str, stage: str, name: str) -> Path:
    """Per-person file `name` of a finished stage. Raises FileNotFoundError."""
    return _finished(study, stage, "private", name)


def read_table(study: str, stage: str, name: str) -> pd.DataFrame:
    """Table `name`.csv of a finished stage, see `read_csv`. Raises FileNotFoundError."""
    return read_csv(stage_path(study, stage, f"{name}.csv"))


def words(study: str) -> list[str]:
    """What a study counts in words of its own, by the corpus of its front door: none before there is one. The gate, which knows
    only COUNTED, takes each of them for a word of people."""
    for file in sorted(study_dir(study).glob("00_*/corpus.json")):
        corpus = json.loads(file.read_text(encoding="utf-8"))
        return [*corpus["words"].values(), *(f"{kind} families" for kind in corpus["concept_kinds"])]
    return []


def read_csv(path: Path) -> pd.DataFrame:
    """A table as `Stage.write_table` writes it: columns of `TEXT` as written, floats exactly, an empty cell missing.

    Left to guess, pandas reads contig "01" as the number 1, and a locus called NA as missing.
    """
    import pandas as pd
    as_written = dict.fromkeys(TEXT, lambda cell: cell or math.nan)
    return pd.read_csv(path, converters=as_written, float_precision="round_trip")


def read_json(study: str, stage: str, name: str) -> Any:
    """What JSON file `name` of a finished stage holds. Raises FileNotFoundError."""
    return json.loads(stage_path(study, stage, name).read_text(encoding="utf-8"))


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one step: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        _write_synced(temporary, content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain(value: Any) -> Any:
    """`value` in what JSON and YAML know: numpy becomes numbers and lists, NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):                     # numpy and torch, scalars and arrays
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def output_file(study: str, name: str, key: str) -> Path:
    """Where the file that a manifest lists as `key` lies."""
    kind, _, rest = key.partition("/")
    trees = _trees(study, name)
    return trees[kind].final / rest if kind in ("private", "figures") else trees["outputs"].final / key


def study_dir(study: str) -> Path:
    """outputs/<study>, there or not.

    Raises ValueError for what is no name; where outputs, figures or a study's folder in them is no folder; and where the
    study's, or its `private`, is a link out of them.
    """
    outputs, figures = ROOT / "outputs", ROOT / "figures"
    folder = outputs / check_name("study", study)
    for parent, inside in ((outputs, (folder, folder / "private")), (figures, (figures / study,))):
        for path in (parent, *inside):
            if os.path.lexists(path) and not path.is_dir():
                raise ValueError(f"{_below_root(path)} is no folder, wanted one to write to: move it away")
            if path != parent and path.is_symlink() and not path.resolve().is_relative_to(parent.resolve()):
                raise ValueError(f"{_below_root(path)} is a link to {path.resolve()}: only the folder {parent.name} as a "
                                 f"whole may lie elsewhere")
    return folder


def check_name(kind: str, name: str) -> str:
    """The name of a study or stage, once it is one. Raises ValueError."""
    number = re.fullmatch(r"[\d_.]+(e-?\d+)?|nan|inf|infinity|true|false", str(name), re.IGNORECASE)
    if not isinstance(name, str) or number or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}", name):
        raise ValueError(f"{name!r} is no name of a {kind}: wanted 1 to 100 letters, digits or any of . _ - @, with a "
                         f"letter, digit or _ first, and no number")
    return name


def folders(study: str, name: str) -> dict[str, Path]:
    """The three places of a stage's files, there or not: outputs, private, figures."""
    return {kind: tree.final for kind, tree in _trees(study, name).items()}


def partial_dir(study: str, name: str) -> Path:
    """Where a stage's output is while it is being written."""
    return _trees(study, name)["outputs"].partial


def _driven() -> bool:
    return bool(os.environ.get("SAE_DNA_RUNNER"))


class _Tree(NamedTuple):
    """One of the folders a stage may fill: its place, where it is written, where its old copy waits."""

    final: Path
    partial: Path
    old: Path


def _trees(study: str, name: str) -> dict[str, _Tree]:
    """The three folders a stage may fill; outputs, which holds the manifest, first."""
    outputs, figures, name = study_dir(study), ROOT / "figures", check_name("stage", name)
    return {"outputs": _tree(outputs, name, name), "private": _tree(outputs / "private", name, name),
            "figures": _tree(figures, study, f"{study}.{name}")}


def _tree(parent: Path, final: str, hidden: str) -> _Tree:
    return _Tree(parent / final, parent / f".{hidden}.partial", parent / f".{hidden}.old")


def _move_away(tree: _Tree) -> None:
    """Set the old copy aside; an empty one stands for none, so that `recover` can tell."""
    tree.old.parent.mkdir(parents=True, exist_ok=True)
    if tree.final.exists():
        os.replace(tree.final, tree.old)
    else:
        tree.old.mkdir()


def _lock_path(study: str, name: str, kind: str) -> Path:
    return study_dir(study) / (f".lock-{check_name('stage', name)}" + ("" if kind == "run" else f"-{kind}"))


def _below_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _finished(study: str, stage: str, kind: str, name: str) -> Path:
    read_manifest(study, stage)
    path = _trees(study, stage)[kind].final / name
    if not path.exists():
        raise FileNotFoundError(f"{stage} of {study} is finished but has no {kind} file {name}: {path}")
    return path


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
