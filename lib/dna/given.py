"""What a user has, and what those files hold as far as a choice of params depends on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.check import model as of_model
from lib.check.study import REFUSALS
from lib.dna import phenotypes, reference, windows
from lib.dna.genotypes import Genotypes, read_genotypes
from lib.dna.people import read_people, read_phenotype
from lib.models.adapter import Adapter
from lib.stage import io


@dataclass(frozen=True)
class Given:
    """What the user has, as params say it (relative to the project, under $DATA_DIR, or absolute); "" for none."""

    model: str
    genome: str
    vcf: str
    loci: str
    phenotype: str
    background: str = ""
    people: str = ""
    exons: str = ""
    variants: str = ""


@dataclass(frozen=True)
class Seen:
    """What the files hold, as far as a choice depends on it. known: people, or None. published: variants in the cohort."""

    model: Adapter
    genome: reference.Reference
    loci: pd.DataFrame
    genotypes: Genotypes
    phenotype: np.ndarray
    known: pd.DataFrame | None
    published: int


def look(given: Given) -> Seen:
    """Read the files. Raises ValueError with what is wrong in any of them, a line each."""
    wrong: list[str] = []

    def read(reader, *inputs):
        if any(x is None for x in inputs):
            return None
        try:
            return reader(*inputs)
        except REFUSALS as error:
            wrong.append(" ".join(str(error).strip("'\"").split()))
            return None

    model = read(lambda: of_model.load(io.data_path(given.model)))
    genome = read(lambda: reference.Reference(io.data_path(given.genome)))
    loci = read(lambda genome: windows.read_bed(io.data_path(given.loci), genome), genome)
    genotypes = read(lambda genome, loci: read_genotypes(io.data_path(given.vcf), genome, loci), genome, loci)
    phenotype = read(lambda g: read_phenotype(io.data_path(given.phenotype), g.samples), genotypes)
    known = read(lambda g: read_people(io.data_path(given.people), g.samples), genotypes) if given.people else None
    if wrong:
        raise ValueError("\n".join(wrong))
    try:
        published = int((phenotypes.match_effects(phenotypes.ibd_effects(), genotypes, genome).variant >= 0).sum())
    except ValueError:
        published = 0  # another genome, or a part of one
    return Seen(model, genome, loci, genotypes, phenotype, known, published)
