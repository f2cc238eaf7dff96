"""What a training sends of its runs to TensorBoard or W&B while it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import pandas as pd

from lib.sae import processes
from lib.sae.stack import Run

#: What a log is sent of each run, and the module that each log needs.
LOGGED = ("explained_variance", "l0", "dead_share", "loss", "tokens_s")
LOGS = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


class Sweep(Protocol):
    """What a log reads of a training (`train.Sweep`)."""

    runs: list[Run]
    rows: list[pd.DataFrame]

    def settings(self) -> dict: ...


def opener(name: str | None, folder: Path | None) -> Callable:
    """Opens the log for a sweep, as a context that gives the function to send rows of the curve with. The package is
    imported here, so that one that is missing is known before the first step."""
    if name is None:
        return lambda sweep: nullcontext(lambda rows: None)
    if name not in LOGS:
        raise ValueError(f"log {name!r}: wanted one of {', '.join(LOGS)}, or None")
    if folder is None:
        raise ValueError(f"log {name!r} needs a log_folder")
    try:
        module = importlib.import_module(LOGS[name])
    except ImportError as error:
        raise ImportError(f"log {name!r} needs the package {name}, which is not installed: pip install {name}, "
                          "or ask for no log") from error  # fmt: skip
    if processes.rank():
        return lambda sweep: nullcontext(lambda rows: None)
    return partial({"tensorboard": _tensorboard, "wandb": _wandb}[name], module, Path(folder))


@contextmanager
def _tensorboard(module, folder: Path, sweep: Sweep) -> Iterator[Callable]:
    """One folder a run, so that runs lie over each other in a plot. Events of an earlier, interrupted call are hidden."""
    writers = {run.name: module.SummaryWriter(str(folder / run.name), purge_step=0) for run in sweep.runs}

    def send(rows: pd.DataFrame) -> None:
        for run, step, values in _logged(rows):
            for key, value in values.items():
                writers[run].add_scalar(key, value, step)

    try:
        for rows in sweep.rows:
            send(rows)
        yield send
    finally:
        for writer in writers.values():
            writer.close()


@contextmanager
def _wandb(module, folder: Path, sweep: Sweep) -> Iterator[Callable]:
    """One W&B run for the sweep, its keys "<run>/<what>"; where to is W&B's own to say (WANDB_MODE, WANDB_PROJECT)."""
    folder.mkdir(parents=True, exist_ok=True)
    session = module.init(dir=str(folder), config=sweep.settings())

    def send(rows: pd.DataFrame) -> None:
        for step, together in groupby(_logged(rows), key=itemgetter(1)):
            session.log({f"{run}/{key}": value for run, _, values in together for key, value in values.items()}, step=step)

    try:
        for rows in sweep.rows:
            send(rows)
        yield send
    finally:
        session.finish()


def _logged(rows: pd.DataFrame) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Run, step and what is sent of it, for each row of a curve."""
    keys = [key for key in LOGGED if key in rows]
    for row in rows.to_dict("records"):
        yield row["run"], int(row["step"]), {key: float(row[key]) for key in keys}
