"""Tables of people: phenotype, genetic score, family, population, sex; and the private file of a cohort."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from lib.stage import lines


def read_phenotype(path: str | Path, samples: list[str], column: str = "phenotype") -> np.ndarray:
    """Phenotype 0 or 1 of each VCF sample, in the VCF's order: [n_sample] int.

    The table has columns sample and phenotype, or another column's name, separated by tabs or commas (others are ignored).
    Raises FileNotFoundError, or ValueError naming the file and the line or sample for: a missing column,
    a value other than 0 or 1, one value for everybody, a repeated sample, a sample that the VCF lacks,
    and a VCF sample without a row.
    """
    table = read_rows(path, column)
    table["phenotype"] = table[column]
    refuse_rows(path, table, ~table.phenotype.isin(["0", "1"]), column + " {phenotype!r}, wanted 0 or 1")
    refuse_rows(path, table, ~table["sample"].isin(samples), "sample {sample!r} is not in the VCF")
    phenotype = in_order(path, table, samples).phenotype.to_numpy().astype(int)
    if len(np.unique(phenotype)) < 2:
        raise ValueError(f"{path}: {column} is {phenotype[0]} for every sample, wanted both 0 and 1")
    return phenotype


def read_genetic(path: str | Path, samples: list[str], column: str = "genetic") -> np.ndarray:
    """The true score of each VCF sample, in the VCF's order: [n_sample] float.

    The table has columns sample and genetic, or another column's name, a number each, separated by tabs or commas (others are ignored).
    Raises what `read_phenotype` raises, a number that is none or not finite in place of a phenotype that is not 0 or 1.
    """
    table = read_rows(path, column)
    table["genetic"] = table[column]
    score = pd.to_numeric(table.genetic, errors="coerce").astype(float)
    refuse_rows(path, table, ~np.isfinite(score), column + " {genetic!r}, wanted a number")
    refuse_rows(path, table, ~table["sample"].isin(samples), "sample {sample!r} is not in the VCF")
    return in_order(path, table.assign(genetic=score), samples).genetic.to_numpy()


def read_rows(path: str | Path, *columns: str) -> pd.DataFrame:
    """A table of people as text, separated by tabs or commas: column sample, and at least those named.

    The index is the line number in the file. Raises FileNotFoundError, or ValueError naming the file and the line, for a
    repeated sample, and for what `lib.stage.lines.table` refuses.
    """
    table = lines.table(path, "sample", *columns)
    refuse_rows(path, table, table["sample"].duplicated(), "sample {sample!r} a second time")
    return table


def refuse_rows(path: str | Path, table: pd.DataFrame, wrong: pd.Series, message: str) -> None:
    """Raise ValueError with the file, line and sample of the first wrong row. message: with {column} to fill in."""
    if wrong.any():
        at = int(wrong.to_numpy().argmax())
        row = table.iloc[at]
        person = "" if "{sample" in message else f", sample {row['sample']!r}"
        raise ValueError(f"{path}, line {table.index[at]}{person}: {message.format(**row)}")


def in_order(path: str | Path, table: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """The rows of `samples`, in that order. Raises ValueError, naming the file, for samples without a row."""
    given = set(table["sample"])
    absent = [name for name in samples if name not in given]
    if absent:
        raise ValueError(f"{path}: no row for {len(absent)} VCF samples: {', '.join(absent[:10])}")
    return table.set_index("sample").loc[samples].reset_index()


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


COLUMNS = ("population", "family", "site", "sex")
#: What tables write for a missing value, in lower case.
UNKNOWN = ("", ".", "-", "?", "-9", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "unknown")


def read_people(path: str | Path, samples: list[str]) -> pd.DataFrame:
    """Who the people are, one row per VCF sample, in the VCF's order: sample, and what the file has of `COLUMNS`.

    The file has a column sample and at least one of population, family, site, sex (male or female), separated by
    tabs or commas. Other columns, and people who are not in the VCF, are ignored.
    Raises FileNotFoundError, or ValueError naming the file, and the line or sample, for: no such column, an empty
    value or one that says missing (`UNKNOWN`), blanks around a value, family 0, another sex, a repeated sample, and a VCF
    sample without a row.
    """
    table = read_rows(path)
    present = [name for name in COLUMNS if name in table]
    if not present:
        raise ValueError(f"{path}: none of the columns {', '.join(COLUMNS)}; found {list(table.columns)}")
    for name in present:
        text = table[name].str.strip()
        refuse_rows(path, table, text.str.lower().isin(UNKNOWN), f"{name} is empty or missing: {{{name}!r}}")
        refuse_rows(path, table, text != table[name], f"{name} {{{name}!r}} has blanks around it, wanted none")
    if "family" in present:
        refuse_rows(
            path, table, table.family == "0", "family '0', which in PLINK's files says none: give each such person a family of their own"
        )
    if "sex" in present:
        refuse_rows(
            path, table, ~table.sex.isin(["male", "female"]), "sex {sex!r}, wanted male or female"
        )
    return in_order(path, table, samples)[["sample", *present]]
