"""Of a VCF that is too large to fetch whole, the records that lie in a study's loci."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.run.download import download
from lib.stage import bed


def cut_vcf(address: str, loci: Path, path: Path) -> None:
    """The records of a VCF that lie in the loci, read by the tabix index at the address: bgzip, with .tbi beside it.

    address: with {contig}, one file a contig. Raises ValueError where the files' samples differ, OSError without a network.
    """
    import pysam

    samples = None
    with pysam.BGZFile(str(path), "wb") as out:
        for contig, regions in _regions(loci).items():
            remote, index = address.format(contig=contig), path.with_name(f"{path.name}.{contig}.tbi")
            download(f"{remote}.tbi", index)
            with pysam.VariantFile(remote, index_filename=str(index)) as vcf:
                if samples is None:
                    samples = list(vcf.header.samples)
                    out.write(str(vcf.header).encode())
                if list(vcf.header.samples) != samples:
                    raise ValueError(f"{remote}: {len(vcf.header.samples)} samples that are not the {len(samples)} of the first file")
                for start, end in regions:
                    for record in vcf.fetch(contig, start, end):
                        out.write(str(record).encode())
            index.unlink()
    pysam.tabix_index(str(path), preset="vcf", force=True)


def _regions(loci: Path) -> dict[str, list[tuple[int, int]]]:
    """Start and end of the loci, merged where they overlap, by contig in the BED's order."""
    import bioframe

    rows = [(row[0], *bed.interval(*row[1:3], f"{loci}, line {number}")) for number, row in bed.bed_rows(loci)]
    table = pd.DataFrame(rows, columns=["contig", "start", "end"])
    merged = bioframe.merge(table, cols=("contig", "start", "end"))
    spans = {contig: list(zip(part.start, part.end)) for contig, part in merged.groupby("contig")}
    return {contig: spans[contig] for contig in table.contig.unique()}
