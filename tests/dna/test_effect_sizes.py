"""Sizes of effects by every method, on tiny models of the real classes."""

import numpy as np
import pandas as pd
import pytest

from lib.dna import effect_sizes, labelled, motif_change, motifs
from lib.edits import likelihood
from lib.edits.change import of_alleles
from lib.sae.model import SAE, SAEConfig
from tests import helpers

TEXT = helpers.random_dna(200, 7)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    model, twin = (helpers.tiny("esm_bases", folder / name) for name in ("a", "b"))
    saes = [SAE(SAEConfig("topk", 16, 24, 3), seed).eval() for seed in range(3)]
    return effect_sizes.Readers(model, twin, "resid_post.1", *saes, tuple(motifs.vertebrate_motifs()[::50]))


def test_sizes_are_those_of_each_method_alone(readers):
    rows = [("c", p, TEXT[p], "ACGT".replace(TEXT[p], "")[0]) for p in (50, 90, 120)] + [("c", 100, TEXT[100], TEXT[100])]
    table = labelled.windows(pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"]), helpers.Genome(c=TEXT), 80)
    table = table.assign(exon_distance=[0, 9, 99, np.nan])
    sizes, before, after = effect_sizes.of(readers, table, 5)
    assert set(effect_sizes.SCORES.values()) <= set(sizes.columns) and len(sizes) == 4
    ref, alt = of_alleles(readers.model, "resid_post.1", [readers.sae], table, 5)
    expected = np.linalg.norm((alt.latents[0] - ref.latents[0]).toarray(), axis=1)
    np.testing.assert_allclose(sizes["latent_change"], expected, atol=1e-5)
    np.testing.assert_allclose(sizes["embedding_change"], np.linalg.norm(alt.acts - ref.acts, axis=1), atol=1e-5)
    ratio = likelihood.log_ratios(readers.model, table)
    np.testing.assert_allclose(sizes["log_ratio"], ratio, atol=1e-5)
    np.testing.assert_allclose(sizes["likelihood_change"], abs(ratio), atol=1e-5)
    change = motif_change.changes(table, readers.motifs)
    np.testing.assert_allclose(sizes["motif_change"], abs(change).max(1), atol=1e-5)
    np.testing.assert_allclose(sizes["nearness"][:3], [0, -1, -2])
    assert np.isnan(sizes["nearness"][3]) and sizes.loc[3, list(effect_sizes.SCORES.values())[:6]].abs().max() < 1e-5
    assert sizes.loc[3, ["motif_lost", "motif_gained"]].tolist() == ["", ""]
    for i in range(3):
        lost = sizes["motif_lost"][i]
        assert lost == ("" if change[i].min() >= 0 else readers.motifs[change[i].argmin()].name)
    assert len(before.latents) == len(after.latents) == 2
    assert not np.allclose(sizes["twin_change"][:3], sizes["latent_change"][:3])


def test_no_variants_make_an_empty_table(readers):
    table = labelled.windows(pd.DataFrame([("c", 50, TEXT[50], "A")], columns=["contig", "pos", "ref", "alt"]), helpers.Genome(c=TEXT), 80)
    assert len(effect_sizes.of(readers, table.assign(exon_distance=0.0)[:0], 5).sizes) == 0
