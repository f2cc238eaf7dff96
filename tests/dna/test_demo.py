import gzip
import hashlib
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from lib.dna import haplotypes, people, planted, windows
from lib.dna import motifs as mt
from lib.dna.genotypes import read_genotypes
from lib.dna.reference import Reference
from lib.models import sequence as sq
from tests.planted_demo import simulate_demo
from tests.planted_variants import CAUSAL_MOTIFS

SMALL = {"n_people": 40, "n_loci": 9, "n_contigs": 4, "n_background": 4, "background_bp": 2048}
SMALL["n_destroying"] = 40


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return simulate_demo(tmp_path_factory.mktemp("demo"), seed=0, **SMALL)


@pytest.fixture(scope="module")
def truth(demo):
    return {
        name: pd.read_csv(demo / "truth" / f"{name}.csv", keep_default_na=False)
        for name in ("sites", "variants")
    }


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes(demo, tmp_path):
    again = digest(simulate_demo(tmp_path / "again", seed=0, **SMALL))
    assert again == digest(demo)
    other = digest(simulate_demo(tmp_path / "other", seed=1, **SMALL))
    assert all(other[name] != again[name] for name in ("genome.fa", "cohort.vcf.gz", "truth/variants.csv"))


def test_files_read_as_real_data_would(demo, truth):
    reference = Reference(demo / "genome.fa")
    loci = windows.read_bed(demo / "loci.bed", reference)
    genotypes = read_genotypes(demo / "cohort.vcf.gz", reference, loci)  # checks every REF
    y = people.read_phenotype(demo / "phenotype.csv", genotypes.samples)
    assert y.sum() == 20
    columns = ["contig", "pos", "ref", "alt"]
    pd.testing.assert_frame_equal(genotypes.variants[columns], truth["variants"][columns])
    assert not genotypes.phased.any() and (genotypes.dosage.sum(1) > 0).all()
    units = haplotypes.build_units(windows.tile(loci, 512), reference, genotypes)
    assert units.n_overlapping_dropped == 0 and units.n_person_haplotype_windows == 40 * 2 * 18
    for path in ("background.bed", "truth/elements.bed", "truth/annotation/exons.bed"):
        windows.read_bed(demo / path, reference)


def test_background_does_not_touch_loci(demo):
    reference = Reference(demo / "genome.fa")
    both = pd.concat([windows.read_bed(demo / f"{n}.bed", reference) for n in ("loci", "background")])
    both = both.sort_values(["contig", "start"])
    same = both.contig.eq(both.contig.shift())
    assert (both.start[same] >= both.end.shift()[same]).all()


@lru_cache
def motif_and_threshold(name):
    motif = next(m for m in planted.gut_immune_motifs() if m.name == name)
    return motif, mt.score_threshold(motif.pwm, planted.SITE_P)


def site_scores(codes, site):
    motif, threshold = motif_and_threshold(site.motif)
    pwm = motif.pwm if site.strand == "+" else motif.reverse_complement()
    return mt.scan(codes, pwm), threshold


def test_sites_score_what_they_say_and_destroyed_ones_fall_below_the_threshold(demo, truth):
    reference = Reference(demo / "genome.fa")
    sites = truth["sites"]
    n_checked = 0
    for row in truth["variants"][truth["variants"].destroys_site != ""].itertuples():
        own = sites[
            (sites.contig == row.contig) & (sites.start < row.pos + len(row.ref)) & (sites.end > row.pos)
        ]
        drops = []
        for site in own[(own.motif == row.destroys_site) & own.planted].itertuples():
            before, threshold = site_scores(
                sq.encode(reference.fetch(row.contig, site.start, site.end)), site
            )
            assert before[0] == pytest.approx(site.score, abs=1e-3) and before[0] >= threshold - 1e-4
            if len(row.ref) == len(row.alt):
                left = reference.fetch(row.contig, site.start, row.pos) if row.pos > site.start else ""
                right = reference.fetch(row.contig, row.pos + 1, site.end) if row.pos + 1 < site.end else ""
                after, _ = site_scores(sq.encode(left + row.alt + right), site)
                assert after[0] < threshold
                drops.append(before[0] - after[0])
                n_checked += 1
        assert not drops or max(drops) == pytest.approx(row.score_drop, abs=1e-3)
    assert n_checked >= SMALL["n_destroying"]


def test_sites_table_is_complete_and_planted_only_in_elements(demo, truth):
    sites = truth["sites"]
    chance = planted.chance_sites(
        sq.encode(Reference(demo / "genome.fa").fetch("sim2", 0, 5000)), planted.gut_immune_motifs()
    )
    stored = sites[(sites.contig == "sim2") & (sites.end <= 5000)]
    assert len(stored) == len(chance) and stored.start.sum() == chance.start.sum()
    assert (sites[sites.planted].element != "").all()
    assert 0 < (~sites.planted).sum() < len(sites)


def test_causal_variants_are_common_and_on_causal_motifs(truth):
    table = truth["variants"]
    causal = table[table.causal]
    assert len(causal) == 12 and set(causal.destroys_site) <= set(CAUSAL_MOTIFS)
    assert causal.destroys_site.nunique() == 2 and causal.frequency.between(0.25, 0.5).all()
    assert (causal.beta == np.where(causal.destroys_site == CAUSAL_MOTIFS[-1], -1.3, 1.3)).all()
    assert (table.beta[~table.causal] == 0).all()
    indels = (table.ref.str.len() != table.alt.str.len()).mean()
    assert 0 < indels < 0.15 and (table.frequency < 0.05).mean() > 0.2
    decoys = table[~table.causal & (table.frequency >= 0.25)]  # as frequent as the causal ones, or frequency would tell
    assert len(decoys) > len(causal) and decoys.destroys_site.nunique() > 4


def test_truth_says_simulated(demo):
    assert "simulated" in (demo / "truth" / "README.md").read_text()
    assert "##source=SIMULATED" in gzip.decompress((demo / "cohort.vcf.gz").read_bytes()).decode()


def test_causal_odds_are_found_again_in_a_large_cohort(tmp_path):
    from sklearn.linear_model import LogisticRegression

    out = simulate_demo(
        tmp_path, 3, n_people=20_000, n_loci=5, n_background=0, n_destroying=8, n_causal=4, variant_bp=600
    )
    reference = Reference(out / "genome.fa")
    loci = windows.read_bed(out / "loci.bed", reference)
    genotypes = read_genotypes(out / "cohort.vcf.gz", reference, loci)
    y = people.read_phenotype(out / "phenotype.csv", genotypes.samples)
    table = pd.read_csv(out / "truth" / "variants.csv")
    fit = LogisticRegression(C=1e9).fit(genotypes.dosage[table.causal].T, y)
    np.testing.assert_allclose(fit.coef_[0], table.beta[table.causal], rtol=0.10)


@pytest.mark.parametrize(
    "wrong, message", [({"n_loci": 16}, "n_loci is 16"), ({"n_destroying": 3000}, "n_destroying 3000")]
)
def test_impossible_sizes_are_refused(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        simulate_demo(tmp_path, 0, **(SMALL | wrong))
