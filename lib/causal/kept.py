"""What 05 computes once for the notebooks after it: changes, fitted probes and scores, exact to the bit in one HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from lib.outcome.probe import Probe
from lib.outcome.validate import Repeated


@dataclass(frozen=True)
class Arm:
    """y: [subject]; run: the probes of the chosen site in every repeat and fold; final: the one fitted on everybody."""

    y: np.ndarray
    run: Repeated
    final: Probe


@dataclass(frozen=True)
class Kept:
    """site: where the probes read; moved: [subject, part, latent] float32, f* - f of `ablation.change_at`; groups: [subject]
    of texts, resampled whole, or None; arms: by name, in the study's order."""

    site: str
    moved: np.ndarray
    groups: np.ndarray | None
    arms: dict[str, Arm]


def write(path: Path, kept: Kept) -> None:
    """One group an arm, numbered, since a name may be any text. No times: the file is the same to the byte."""
    with h5py.File(path, "w") as f:
        f.attrs["site"] = kept.site
        _put(f, "moved", kept.moved)
        if kept.groups is not None:
            f.create_dataset("groups", data=[str(g) for g in kept.groups], dtype=h5py.string_dtype(), track_times=False)
        for number, (name, arm) in enumerate(kept.arms.items()):
            group = f.create_group(f"arms/{number}")
            group.attrs["name"] = name
            _put(group, "y", arm.y)
            for part in _ARRAYS:
                _put(group, f"run/{part}", getattr(arm.run, part))
            _put_probes(group, "run/probes", [probe for repeat in arm.run.probes for probe in repeat])
            _put_probes(group, "final", [arm.final])


def read(path: Path) -> Kept:
    """What `write` wrote."""
    with h5py.File(path, "r") as f:
        groups = f["groups"].asstr()[:].astype(object) if "groups" in f else None
        arms = [f[f"arms/{number}"] for number in range(len(f["arms"]))] if "arms" in f else []
        return Kept(str(f.attrs["site"]), f["moved"][()], groups, {str(arm.attrs["name"]): _arm(arm) for arm in arms})


_ARRAYS = [field.name for field in fields(Repeated) if field.name != "probes"]


def _arm(group: h5py.Group) -> Arm:
    arrays = {name: group[f"run/{name}"][()] for name in _ARRAYS}
    probes = _probes(group["run/probes"])
    n_repeats = len(arrays["folds"])
    each = len(probes) // max(n_repeats, 1)
    repeats = [probes[r * each : (r + 1) * each] for r in range(n_repeats)]
    return Arm(group["y"][()], Repeated(**arrays, probes=repeats), _probes(group["final"])[0])


def _put(group: h5py.Group, name: str, values: np.ndarray) -> None:
    values = np.asarray(values)
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size else {}
    group.create_dataset(name, data=values, track_times=False, **packed)


def _put_probes(group: h5py.Group, name: str, probes: list[Probe]) -> None:
    """Probes of one shape, as coef [probe, ...], intercept [probe, ...] and C [probe]."""
    for part in ("coef", "intercept", "C"):
        _put(group, f"{name}/{part}", np.stack([getattr(probe, part) for probe in probes]))


def _probes(group: h5py.Group) -> list[Probe]:
    parts = (group[part][()] for part in ("coef", "intercept", "C"))
    return [Probe(*values) for values in zip(*parts, strict=True)]
