"""Where a study's input files are: the user's own, or the ones that 01_extraction simulated."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from lib import io

SIMULATED = "simulated:"


def find(study: str, text: str, simulated: Path | None = None) -> Path:
    """A `_path` parameter as a file: `simulated:genome.fa` is what 01_extraction made, anything else the user's.

    simulated: the folder of simulated files while 01_extraction itself is running.
    """
    if not text.startswith(SIMULATED):
        return io.data_path(text)
    name = text.removeprefix(SIMULATED)
    return simulated / name if simulated is not None else io.private_path(study, "01_extraction", f"data/{name}")


def write_cohort(path: Path, samples: list[str], dosage: np.ndarray, carriers: pd.DataFrame) -> None:
    """Per-person data, private: samples (in UTF-8), dosage [variant, sample], and the person -> unit map."""
    order = {name: i for i, name in enumerate(samples)}
    with h5py.File(path, "w") as f:
        f.create_dataset("samples", data=np.array([name.encode() for name in samples], dtype="S"), track_times=False)
        f.create_dataset("dosage", data=dosage.astype(np.float32), track_times=False)
        f.create_dataset("sample", data=carriers["sample"].map(order).to_numpy(np.int32), track_times=False)
        for name in ("window", "haplotype", "unit"):
            f.create_dataset(name, data=carriers[name].to_numpy(np.int32), track_times=False)


def read_cohort(path: Path) -> tuple[list[str], np.ndarray, pd.DataFrame]:
    """Returns samples, dosage [variant, sample] (NaN where missing), carriers: sample, window, haplotype, unit."""
    with h5py.File(path, "r") as f:
        samples = [s.decode() for s in f["samples"][:]]
        carriers = pd.DataFrame({name: f[name][:] for name in ("sample", "window", "haplotype", "unit")})
        carriers["sample"] = np.array(samples, dtype=object)[carriers["sample"]]
        return samples, f["dosage"][:], carriers
