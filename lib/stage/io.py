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
import json
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.stage import claims, durable, locks, names, swap
from lib.stage import manifest as manifest_
from lib.stage.plain import plain

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(os.environ.get("SAE_DNA_ROOT") or Path(__file__).resolve().parents[2])
#: Columns of names, as people or files give them: any of them may look like a number, or like a missing value.
TEXT = ("sample", "group", "locus", "contig", "unit_id", "ref", "alt", "gene", "id", "target", "destroys_site", "element", "strand",
        "motif", "matrix_id", "concept", "family", "lost_concept", "gained_concept", "logo", "match", "match_family", "word",
        "name", "kind", "method", "arm", "model", "file")


class Busy(RuntimeError):
    """Another process is writing this stage."""


class Unfinished(FileNotFoundError):
    """A stage has no complete output. reason: why, in a few words; damaged: there is a manifest, but none to read."""

    def __init__(self, study: str, stage: str, reason: str, damaged: bool = False):
        super().__init__(f"{study} has no finished {stage} ({reason}): run `python -m lib.run {study} {stage}` or the notebook to its end")
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
        """Record whether `claim` holds, as a row of claims.csv: see `claims.row`. Never a crash over what was measured."""
        said = {"of": of, "rule": rule, "stopped": stopped, "because": because, "own": words(self.study)}
        self._claims.append(claims.row(claim, value, low, high, n, null, holds, note, **said))

    def headline(self, **numbers: float | str) -> None:
        """The few numbers that say how the stage went; shown in the manifest and in progress.md."""
        self._headline.update(numbers)

    def finish(self) -> None:
        """Write claims.csv and headline.json. Without the runner, commit too.

        A commit from an open notebook is marked "interactive": the runner will run the stage again.
        """
        import pandas as pd
        self.write_table("claims", pd.DataFrame(self._claims, columns=claims.CLAIM_COLUMNS))
        self.write_json("headline.json", self._headline)
        if not _driven():
            commit(self.study, self.name, {"study": self.study, "stage": self.name,
                                           "fingerprint": "interactive", "headline": plain(self._headline)})
            unlock(self.study, self.name)
        unlock(self.study, self.name, kind="kernel")


def commit(study: str, name: str, manifest: dict[str, Any]) -> None:
    """Swap the partial output in, then name it complete: `manifest`, plus the files' hashes, comes last.

    files: SHA-256 of each file's whole content; files_sampled: of the large ones, `hashes.sampled` too; sha256: `manifest.seal`
    of the manifest itself. Everything that needs disk space happens before the first move. `recover` undoes a commit that
    was killed before the manifest. The executed notebook is not hashed, since it carries times.
    """
    trees = _trees(study, name)
    hashed = manifest_.hashed({kind: tree.partial for kind, tree in trees.items()}, without=f"{name}.ipynb")
    whole = plain(manifest | hashed)
    text = json.dumps(whole | {"sha256": manifest_.seal(whole)}, indent=2) + "\n"
    durable.write_synced(trees["outputs"].partial / "manifest.json.new", text.encode())
    for kind, tree in trees.items():                 # outputs first: from here on there is no manifest
        if kind != "figures" or tree.partial.exists():
            swap.bring_in(tree)                      # a stage that draws none leaves another stage's
    output = trees["outputs"].final
    os.replace(output / "manifest.json.new", output / "manifest.json")
    durable.to_disk(output)
    recover(study, name)                             # now it only removes the old copies
    shutil.rmtree(_resume(study, name), ignore_errors=True)


def recover(study: str, name: str) -> None:
    """Tidy after a killed commit: drop the old copies if it had completed, else put them back."""
    trees = _trees(study, name)
    complete = (trees["outputs"].final / "manifest.json").exists()
    for tree in reversed(trees.values()):            # outputs last: its manifest vouches for the others
        (swap.forget_old if complete else swap.put_back)(tree)


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
    return study_dir(study) / ".resume" / names.check_name("stage", name)


def lock(study: str, name: str, kind: str = "run", wait: float = 0.0) -> None:
    """Hold this stage for this process until `unlock` or its end, however it ends. Twice is harmless.

    kind: "run" for who drives the stage, "kernel" for who writes its files. wait: seconds to wait for it.
    Raises Busy when another process holds it.
    """
    if who := locks.hold(_lock_path(study, name, kind), wait):
        raise Busy(f"{study}/{name} is being written by process {who}: wait for it to end, or, if it is a notebook, finish "
                   f"that stage or shut its kernel down")


def unlock(study: str, name: str, kind: str = "run") -> None:
    """Let go of a stage; nothing happens if it is not held."""
    locks.let_go(_lock_path(study, name, kind))


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
        manifest = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=manifest_.no_name_twice)
        wrong = manifest_.damage(manifest)
    except FileNotFoundError:
        raise Unfinished(study, stage, "no output yet") from None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        empty = path.is_file() and not path.stat().st_size
        wrong = "is empty" if empty else f"is no JSON: {error}"
    if wrong:
        raise Unfinished(study, stage, f"{path.relative_to(ROOT).as_posix()} {wrong}", damaged=True)
    return manifest


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
    """What a study counts in words of its own, by its front door's corpus; the gate, which knows COUNTED, takes them for people's."""
    files = sorted(study_dir(study).glob("00_*/corpus.json"))
    corpus = json.loads(files[0].read_text(encoding="utf-8")) if files else {"words": {}, "concept_kinds": {}}
    return [*corpus["words"].values(), *(f"{kind} families" for kind in corpus["concept_kinds"])]


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
    folder = outputs / names.check_name("study", study)
    for parent, inside in ((outputs, (folder, folder / "private")), (figures, (figures / study,))):
        names.check_folders(parent, inside, ROOT)
    return folder


def folders(study: str, name: str) -> dict[str, Path]:
    """The three places of a stage's files, there or not: outputs, private, figures."""
    return {kind: tree.final for kind, tree in _trees(study, name).items()}


def partial_dir(study: str, name: str) -> Path:
    """Where a stage's output is while it is being written."""
    return _trees(study, name)["outputs"].partial


def _driven() -> bool:
    return bool(os.environ.get("SAE_DNA_RUNNER"))


def _trees(study: str, name: str) -> dict[str, swap.Tree]:
    """The three folders a stage may fill; outputs, which holds the manifest, first."""
    outputs, figures, name = study_dir(study), ROOT / "figures", names.check_name("stage", name)
    return {"outputs": swap.tree_of(outputs, name, name), "private": swap.tree_of(outputs / "private", name, name),
            "figures": swap.tree_of(figures, study, f"{study}.{name}")}


def _lock_path(study: str, name: str, kind: str) -> Path:
    return study_dir(study) / (f".lock-{names.check_name('stage', name)}" + ("" if kind == "run" else f"-{kind}"))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _finished(study: str, stage: str, kind: str, name: str) -> Path:
    read_manifest(study, stage)
    path = _trees(study, stage)[kind].final / name
    if not path.exists():
        raise FileNotFoundError(f"{stage} of {study} is finished but has no {kind} file {name}: {path}")
    return path
