"""About how much disk, memory and time a study takes: an estimate from counts, never a measurement."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from lib.check.study import E, H, Study, T, Unknown
from lib.dna.checks import fit
from lib.dna.checks.agreement import D
from lib.dna.checks.data import Data
from lib.dna.checks.reads import looked_at
from lib.models import sites
from lib.models.adapter import Adapter
from lib.stage import io

FLOPS = {"cpu": 20e9, "cuda": 5e12, "mps": 1e12}  # products a second that a notebook gets, measured on two cores for the CPU
OTHERS = 2.0  # the other notebooks together, in times of extraction and training


@dataclass(frozen=True)
class Cost:
    """units, tokens: of loci and background. disk, memory: bytes. seconds: of 01, of 03."""

    units: int
    tokens: int
    disk: float
    memory: float
    seconds: tuple[float, float]

    def __str__(self) -> str:
        first, third = (f"{s / 60:.0f} min" if s < 5400 else f"{s / 3600:.0f} h" for s in self.seconds)
        rest = sum(self.seconds) * OTHERS / 60
        return (f"estimate: {self.units:,} units, {self.tokens:,} tokens; {self.disk / 1e9:.1f} GB of disk, {self.memory / 1e9:.1f} GB "
                f"of memory; 01 about {first}, 03 about {third}, the others about {rest:.0f} min")


def estimate(study: Study, data: Data, model: Adapter) -> Cost:
    """The cost of a study. Raises Unknown where a file that it depends on has a fault."""
    n_people = len(data.genotypes().samples)
    counted = data.haplotypes()
    n_cohort = round(counted.n_units / counted.units.window.nunique() * len(data.cohort_windows()))
    n_background = data.n_background()
    tokens = round((n_cohort + n_background) * fit.n_tokens(model, looked_at(study, data)[::10]).mean())
    tokens *= len(study(E, "frames"))
    dims = {site.name: site.dim for site in model.sites()}
    stored = sites.stored(study(E, "sites"), list(dims))
    width = sum(dims.get(site, 0) for site in stored)
    pooled = 4 * (n_cohort + n_background) * width
    n_loci = len(data.loci())
    memory = 1.5e9 + pooled + 4 * 4 * n_people * n_loci * model.d_model + 4.0 * model.identity["parameters"] * 3
    forward = 2.0 * model.identity["parameters"] * tokens
    dim = dims.get(study(T, "sae_site"), model.d_model)
    layers = sites.trained(study(T, "layer_sites"), stored, study(T, "sae_site"), stored)  # of top5 any five: each costs the same
    extra = (study(T, "n_seeds") - 1 + 2 * len(layers)) * max(study(T, "run_expansions"))
    train = 6.0 * study(T, "steps") * study(T, "batch") * dim * dim * (sum(study(T, "run_expansions")) + extra)
    return Cost(n_cohort + n_background, tokens, 2.0 * tokens * width * 1.1 + pooled, memory,
                (forward / FLOPS["cpu"] + 30, train / FLOPS[study(T, "device")] + 30))


def check(study: Study, data: Data, model: Adapter) -> None:
    """Note the estimate, and faults where the machine has not what is wanted."""
    with suppress(Unknown):
        cost = estimate(study, data, model)
        study.notes.append(str(cost))
        free = shutil.disk_usage(io.ROOT).free
        if cost.disk > free:
            study.fault(D, "max_background_windows", f"about {cost.disk / 1e9:.1f} GB wanted, {free / 1e9:.1f} GB free on this disk",
                        "fewer windows or sites, or a larger disk")
        here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if cost.memory > here:
            study.fault(E, "sites", f"about {cost.memory / 1e9:.1f} GB of memory wanted, this machine has {here / 1e9:.1f} GB",
                        "fewer sites or windows, or a larger machine")
        validation = {*study(D, "validation_contigs"), *study(D, "test_contigs")}
        tiles = data.tiles()
        share = float(np.mean(~tiles.contig.isin(validation)))
        per_window = cost.tokens / max(cost.units, 1)
        training = int(share * data.n_background() * per_window)
        if training < study(T, "batch"):
            study.fault(T, "batch", str(study(T, "batch")), f"at most about {training}, the tokens to train on")
        if study(H, "n_boot") < 200:
            study.notes.append("02_layer_hunting: n_boot below 200 gives rough intervals")
