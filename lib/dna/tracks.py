"""Files of intervals that others made, and tracks of latents for IGV and the UCSC browser."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd
import pybigtools
from scipy import sparse

from lib.dna import windows
from lib.dna.reference import Reference
from lib.dna.report import on_genome
from lib.stage import lines
from lib.stage.bed import interval


def write_tracks(stage, catalogue: pd.DataFrame, latents: sparse.csr_matrix, tokens: pd.DataFrame, genome: Reference, n: int) -> list[int]:
    """tracks/latent_<i>.bw, .bedGraph, .bed of the n plausible latents of the highest validation F1, and an IGV session.

    The session names the genome as IGV does where it is hg38 or hg19 (`assembly`), and opens as it is; another by its file's name, which
    has to lie beside it. Returns the latents.
    """
    picked = catalogue[catalogue["plausible"]].sort_values("f1_validation", ascending=False, kind="stable").head(n)
    files, columns, locus = {}, latents.tocsc(), ""
    for row in picked.itertuples():
        name = f"latent {row.latent}: {row.concept}"
        steps = latent_steps(tokens, columns[:, [row.latent]].toarray().ravel())
        path = {suffix: stage.path(f"tracks/latent_{row.latent}.{suffix}") for suffix in ("bw", "bedGraph", "bed")}
        write_bigwig(path["bw"], steps, genome)
        write_bedgraph(path["bedGraph"], steps, name)
        write_bed(path["bed"], steps, f"latent_{row.latent}")
        files[name] = path["bw"].name
        if not locus and len(steps):
            top = steps.loc[steps["value"].idxmax()]
            locus = f"{top['contig']}:{max(1, int(top['start']) - 200)}-{int(top['end']) + 200}"
    if files:
        write_igv_session(stage.path("tracks/session.xml"), assembly(genome.lengths) or genome.path.name, files, locus)
    return picked["latent"].tolist()


def assembly(lengths: dict[str, int]) -> str:
    """hg38 or hg19, where contigs (contig -> bases) bear names of its chromosomes, chr1 or 1, and each is as long; "" for neither."""
    import bioframe

    named = {f"chr{contig.removeprefix('chr')}": length for contig, length in lengths.items()}
    for name in ("hg38", "hg19"):
        known = bioframe.assembly_info(name).chromsizes.to_dict()
        if (shared := named.keys() & known) and all(named[contig] == known[contig] for contig in shared):
            return name
    return ""


COLUMNS = ["contig", "start", "end", "concept", "family"]
#: How tables call their contigs, starts and ends.
TABLE = (("contig", "chrom", "region"), ("start",), ("end",))


def read(path: str | Path, genome: Reference, report: Counter, concept: str = "") -> pd.DataFrame:
    """Intervals of a BED, bigBed, RepeatMasker .out file or table (.csv): contig, start, end, concept, family.

    report: counts what lies on contigs that the genome lacks, see `lib.dna.report`.
    concept: what all rows are; "" takes a row's own name (of a repeat, its class as family; of a table, the file's). Raises
    ValueError with the line or record that does not fit the genome, and for a file of another kind.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    if name.endswith((".bb", ".bigBed")):
        table = _read_bigbed(path, genome, report)
    elif name.endswith(".out"):
        table = _read_repeatmasker(path, genome, report)
    elif name.endswith(".bed"):
        bed = windows.read_bed(path, genome, "interval", unique=False, report=report)
        table = bed.rename(columns={"locus": "concept"}).assign(family=bed["locus"])
    elif name.endswith(".csv"):
        table = _read_table(path, genome, report).assign(concept=name.removesuffix(".csv"), family=name.removesuffix(".csv"))
    else:
        raise ValueError(f"{path}: wanted .bed, .bb, .bigBed, .csv or RepeatMasker's .out, .gz allowed for text")
    table = table[COLUMNS] if not concept else table.assign(concept=concept, family=concept)[COLUMNS]
    return table.drop_duplicates(ignore_index=True)


def _open(path: Path, kind: str):
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return pybigtools.open(str(path))
    except (pybigtools.BBIReadError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a whole {kind} file: {error}") from error


def _same_build(lengths: dict[str, int], genome: Reference, path: Path) -> None:
    """Contig lengths are the build: one that differs means other coordinates."""
    for contig in lengths.keys() & genome.lengths.keys():
        if lengths[contig] != genome.lengths[contig]:
            raise ValueError(f"{path}: {contig} has {lengths[contig]} bases, in {genome.path} {genome.lengths[contig]}: another build?")
    if not lengths.keys() & genome.lengths.keys():
        genome.check_contig(next(iter(lengths)), str(path))


def _read_bigbed(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    with _open(path, "bigBed") as handle:
        lengths, rows = handle.chroms(), []
        _same_build(lengths, genome, path)
        for contig in sorted(lengths.keys() - genome.lengths.keys()):
            for _ in handle.records(contig, 0, lengths[contig]):
                on_genome(genome, contig, path, str(path), report)
        for contig in sorted(lengths.keys() & genome.lengths.keys()):
            for start, end, *rest in handle.records(contig, 0, genome.lengths[contig]):
                rows.append((contig, start, end, rest[0] if rest else path.stem))
    table = pd.DataFrame(rows, columns=COLUMNS[:4])
    return table.assign(family=table["concept"])


def _read_table(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """A comma-separated table with columns region (or contig, chrom), start, end; 0-based."""
    rows, columns = [], None
    for number, line in lines.read(path):
        fields, where = line.rstrip("\r\n").split(","), f"{path}, line {number}"
        if columns is None:
            columns = [next((fields.index(n) for n in names if n in fields), None) for names in TABLE]
            if None in columns:
                raise ValueError(f"{where}: columns {', '.join(fields)}, wanted region (or contig, chrom), start and end")
            continue
        if len(fields) <= max(columns):
            raise ValueError(f"{where}: {len(fields)} columns, wanted at least {max(columns) + 1}")
        contig, low, high = (fields[column] for column in columns)
        if on_genome(genome, contig, path, where, report):
            start, end = interval(low, high, where)
            if start < 0 or end > genome.lengths[contig]:
                raise ValueError(f"{where}: {contig}:{start}-{end} is off the contig, which has {genome.lengths[contig]} bases")
            rows.append((contig, start, end))
    return pd.DataFrame(rows, columns=COLUMNS[:3])


def _read_repeatmasker(path: Path, genome: Reference, report: Counter) -> pd.DataFrame:
    """RepeatMasker's table: three lines of heading, columns by white space, 1-based closed coordinates."""
    rows = []
    for number, line in lines.read(path):
        fields, where = line.split(), f"{path}, line {number}"
        if not fields or not fields[0].isdecimal():
            if number > 3 and fields:
                raise ValueError(f"{where}: wanted a score first, found {fields[0]!r}")
            continue
        if len(fields) < 14:
            raise ValueError(f"{where}: {len(fields)} columns, wanted at least 14")
        contig, low, high = fields[4:7]
        if on_genome(genome, contig, path, where, report):  # these files cover whole assemblies, unplaced contigs too
            if not (low.isdecimal() and high.isdecimal()) or not 1 <= int(low) <= int(high) <= genome.lengths[contig]:
                raise ValueError(f"{where}: {contig}:{low}-{high}, wanted 1 <= start <= end <= {genome.lengths[contig]}")
            rows.append((contig, int(low) - 1, int(high), fields[10], fields[10].split("/")[0]))
    if not rows:
        raise ValueError(f"{path}: no repeat on the contigs of {genome.path}")
    return pd.DataFrame(rows, columns=COLUMNS)


def latent_steps(tokens: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    """A latent's activation on the reference as disjoint, sorted steps: contig, start, end, value, zeros left out.

    tokens: contig, ref_start, ref_end; values: [token]. Where tokens overlap, the later one begins where the earlier ends.
    """
    table = pd.DataFrame({"contig": tokens["contig"].to_numpy(), "start": tokens["ref_start"].to_numpy(),
                          "end": tokens["ref_end"].to_numpy(), "value": values})  # fmt: skip
    table = table[table["value"] > 0].sort_values(["contig", "start"], ignore_index=True)
    done = table.groupby("contig")["end"].transform(lambda e: e.cummax().shift(fill_value=0))
    table["start"] = np.maximum(table["start"], done)
    return table[table["start"] < table["end"]].reset_index(drop=True)


def write_bigwig(path: Path, steps: pd.DataFrame, genome: Reference) -> None:
    """steps: of `latent_steps`. A latent that never fires gives a file of one zero, since the format cannot be empty."""
    contigs = {c: genome.lengths[c] for c in dict.fromkeys(steps["contig"])} or dict([next(iter(genome.lengths.items()))])
    order = sorted(contigs)
    rows = [(r.contig, int(r.start), int(r.end), float(r.value)) for c in order for r in steps[steps["contig"] == c].itertuples()]
    writer = pybigtools.open(str(path), "w")
    writer.write(contigs, iter(rows or [(order[0], 0, 1, 0.0)]))
    writer.close()
    _open(path, "bigWig").close()  # the writer does not raise


def write_bedgraph(path: Path, steps: pd.DataFrame, name: str) -> None:
    """A bedGraph with a track line, for the UCSC browser."""
    head = f'track type=bedGraph name="{name}" visibility=full autoScale=on\n'
    path.write_text(head + steps.to_csv(sep="\t", header=False, index=False, float_format="%.5g"))


def write_bed(path: Path, steps: pd.DataFrame, name: str) -> None:
    """Stretches on which a latent fires, touching steps joined: BED with its largest activation, 0 to 1000, as score."""
    new = (steps["contig"] != steps["contig"].shift()) | (steps["start"] > steps["end"].shift())
    joined = steps.groupby(new.cumsum()).agg(contig=("contig", "first"), start=("start", "min"), end=("end", "max"), value=("value", "max"))
    score = (1000 * joined["value"] / max(joined["value"].max(), 1e-12)).round().astype(int) if len(joined) else joined["value"]
    rows = joined[["contig", "start", "end"]].assign(name=name, score=score, strand=".")
    path.write_text(rows.to_csv(sep="\t", header=False, index=False))


def write_igv_session(path: Path, genome: str, tracks: dict[str, str], locus: str) -> None:
    """An IGV session. genome: an IGV genome id such as hg38, or a FASTA's path; tracks: name -> file beside the session."""
    resources = "".join(f"    <Resource path={quoteattr(file)}/>\n" for file in tracks.values())
    shown = "".join(f"    <Track id={quoteattr(file)} name={quoteattr(name)} autoScale=\"true\"/>\n" for name, file in tracks.items())
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<Session genome={quoteattr(genome)} locus={quoteattr(locus)} version="8">\n'
                    f"  <Resources>\n{resources}  </Resources>\n  <Panel>\n{shown}  </Panel>\n</Session>\n")  # fmt: skip
