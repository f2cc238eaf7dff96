"""A user's own data, small: a genome of six chromosomes, three loci, forty people, a phenotype; and a project around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pysam

from lib.stage import io

REPO = Path(__file__).resolve().parent.parent
CONTIGS = [f"chr{i + 1}" for i in range(6)]
LENGTH = 3000  # bases of each chromosome
LOCI = [("chr1", 200, 800, "A"), ("chr2", 400, 1000, "B"), ("chr4", 1000, 1500, "C")]
PEOPLE = [f"P{i:02d}" for i in range(40)]


def write(folder: Path, seed: int = 0) -> Path:
    """genome.fa, cohort.vcf.gz, loci.bed, phenotype.tsv, people.tsv and exons.bed in a folder, which is made."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    genome = {contig: "".join(rng.choice(list("ACGT"), LENGTH)) for contig in CONTIGS}
    (folder / "genome.fa").write_text("".join(f">{c}\n{s}\n" for c, s in genome.items()))
    pysam.faidx(str(folder / "genome.fa"))
    (folder / "loci.bed").write_text("".join("\t".join(map(str, row)) + "\n" for row in LOCI))
    (folder / "exons.bed").write_text("chr1\t250\t300\te1\nchr5\t100\t220\te2\n")
    dosage = _write_vcf(folder, genome, rng)
    case = dosage.sum(0) + rng.normal(size=len(PEOPLE)) > np.median(dosage.sum(0))
    (folder / "phenotype.tsv").write_text("sample\tphenotype\n" + "".join(f"{p}\t{int(y)}\n" for p, y in zip(PEOPLE, case)))
    (folder / "people.tsv").write_text("sample\tpopulation\n" + "".join(f"{p}\t{'XY'[i % 2]}\n" for i, p in enumerate(PEOPLE)))
    return folder


def _write_vcf(folder: Path, genome: dict[str, str], rng: np.random.Generator) -> np.ndarray:
    """Eight substitutions a locus; copies of ALT [variant, person]."""
    lines = ["##fileformat=VCFv4.2", *(f"##contig=<ID={c},length={LENGTH}>" for c in CONTIGS),
             '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
             "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"] + PEOPLE)]  # fmt: skip
    copies = []
    for contig, start, end, _ in LOCI:
        for position in sorted(rng.choice(np.arange(start, end), 8, replace=False).tolist()):
            ref = genome[contig][position]
            calls = rng.random((2, len(PEOPLE))) < 0.4
            copies.append(calls.sum(0))
            alt = {"A": "G", "C": "T", "G": "A", "T": "C"}[ref]
            row = [contig, position + 1, ".", ref, alt, ".", ".", ".", "GT", *(f"{int(a)}|{int(b)}" for a, b in calls.T)]
            lines.append("\t".join(map(str, row)))
    (folder / "cohort.vcf").write_text("\n".join(lines) + "\n")
    pysam.tabix_compress(str(folder / "cohort.vcf"), str(folder / "cohort.vcf.gz"), force=True)
    pysam.tabix_index(str(folder / "cohort.vcf.gz"), preset="vcf", force=True)
    return np.array(copies)


def project(root: Path, monkeypatch) -> Path:
    """A project root with the real notebooks and the demo's model, taken for the real one."""
    (root / "params/demo").mkdir(parents=True)
    (root / "notebooks").symlink_to(REPO / "notebooks")
    (root / "params/demo/model").symlink_to(REPO / "params/demo/model")
    monkeypatch.setattr(io, "ROOT", root)
    return root
